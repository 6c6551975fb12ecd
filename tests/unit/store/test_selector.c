/* This file tests selectors: the grammar, its errors, and their form in the log. */
#include "src/store/selector.h"

#include <stdio.h>

#include "backends/backend.h"
#include "src/base/codec.h"
#include "src/base/random.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(selector);

/* The program as text: "a b & !" and so on. */
static const char *show(const struct nadb_selector *selector)
{
    static char text[1024];
    size_t len = 0;
    for (size_t i = 0; i < selector->count; i++) {
        const struct nadb_selector_op *op = &selector->ops[i];
        const char *word = op->kind == NADB_SELECTOR_ALL   ? "*"
                           : op->kind == NADB_SELECTOR_NOT ? "!"
                           : op->kind == NADB_SELECTOR_AND ? "&"
                                                           : "|";
        int written =
            op->kind == NADB_SELECTOR_TAG
                ? snprintf(text + len, sizeof(text) - len, "%s%.*s", i > 0 ? " " : "",
                      (int)op->tag.len, op->tag.data)
                : snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? " " : "", word);
        len += (size_t)written;
        cr_assert_lt(len, sizeof(text));
    }
    text[len] = '\0';
    return text;
}

static const struct nadb_slice args[] = {{"A A", 3}, {"B", 1}};

/* The program of an expression with `arg_count` of the arguments, or the error. */
static const char *parse(const char *text, size_t arg_count)
{
    static char result[1200];
    struct nadb_selector selector;
    struct nadb_error error;
    nadb_selector_init(&selector);
    enum nadb_err err =
        nadb_selector_parse(&selector, nadb_slice_cstr(text), args, arg_count, &error);
    if (err == NADB_OK) {
        cr_assert_eq(selector.depth, 1);
        (void)snprintf(result, sizeof(result), "%s", show(&selector));
    } else {
        (void)snprintf(result, sizeof(result), "%s %s", nadb_err_prefix(err), error.text);
    }
    nadb_selector_fini(&selector);
    return result;
}

Test(selector, operators_bind_as_the_grammar_says)
{
    static const struct {
        const char *text, *program;
    } cases[] = {
        {"a", "a"},
        {" a ", "a"},
        {"*", "*"},
        {"a&b", "a b &"},
        {"a & b | c", "a b & c |"},
        {"a | b & c", "a b c & |"},
        {"a | b | c", "a b | c |"},
        {"!a & b", "a ! b &"},
        {"!(a & b)", "a b & !"},
        {"!!a", "a ! !"},
        {"(a | b) & !c", "a b | c ! &"},
        {"((a))", "a"},
        {"a:b.c-d/e=f", "a:b.c-d/e=f"},
        {"\"a & \\\"b\\\\\" | \"\\x41\"", "a & \"b\\ A |"},
        {"* & !\"x\"", "* x ! &"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        cr_expect_str_eq(parse(cases[i].text, 0), cases[i].program, "%s", cases[i].text);
    }
}

Test(selector, arguments_are_taken_by_number_and_all_of_them)
{
    cr_expect_str_eq(parse("$1 | !$2", 2), "A A B ! |");
    cr_expect_str_eq(parse("$2&$1&$2", 2), "B A A & B &");
    cr_expect_str_eq(parse("$1", 2), "BADEXPR 2 arguments, of which 1 are used");
    cr_expect_str_eq(parse("$3", 2), "BADEXPR at byte 0: no such argument");
    cr_expect_str_eq(parse("a | $0", 2), "BADEXPR at byte 4: no such argument");
    cr_expect_str_eq(parse("$", 1), "BADEXPR at byte 0: no such argument");
    cr_expect_str_eq(parse("$99999999999999999999", 1), "BADEXPR at byte 0: no such argument");
}

Test(selector, errors_name_the_byte)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "BADEXPR at byte 0: tag expected"},
        {"   ", "BADEXPR at byte 3: tag expected"},
        {"a & b |", "BADEXPR at byte 7: tag expected"},
        {"& a", "BADEXPR at byte 0: tag expected"},
        {"a | | b", "BADEXPR at byte 4: tag expected"},
        {"()", "BADEXPR at byte 1: tag expected"},
        {"!", "BADEXPR at byte 1: tag expected"},
        {"a b", "BADEXPR at byte 2: operator expected"},
        {"a !b", "BADEXPR at byte 2: operator expected"},
        {"(a) (b)", "BADEXPR at byte 4: operator expected"},
        {"a)", "BADEXPR at byte 1: unbalanced parenthesis"},
        {"(a", "BADEXPR at byte 2: unbalanced parenthesis"},
        {"a & \"b", "BADEXPR at byte 4: unbalanced quotes"},
        {"\"\\n\"", "BADEXPR at byte 1: unknown escape"},
        {"\"\\x4\"", "BADEXPR at byte 1: unknown escape"},
        {"a & \"\"", "BADTAG empty"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        cr_expect_str_eq(parse(cases[i].text, 0), cases[i].error, "%s", cases[i].text);
    }
}

/* `count` of `open`, a tag, `count` of `close`. */
static enum nadb_err parse_nested(size_t count, char open, const char *close)
{
    static char text[1024];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        text[len++] = open;
    }
    text[len++] = 'a';
    for (size_t i = 0; close[0] != '\0' && i < count; i++) {
        text[len++] = close[0];
    }
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    enum nadb_err err = nadb_selector_parse(&selector, nadb_slice_of(text, len), NULL, 0, NULL);
    nadb_selector_fini(&selector);
    return err;
}

Test(selector, sixty_four_levels_are_allowed_and_one_more_is_not)
{
    cr_expect_eq(parse_nested(NADB_SELECTOR_DEPTH_MAX, '(', ")"), NADB_OK);
    cr_expect_eq(parse_nested(NADB_SELECTOR_DEPTH_MAX + 1, '(', ")"), NADB_EBADEXPR);
    cr_expect_eq(parse_nested(NADB_SELECTOR_DEPTH_MAX, '!', ""), NADB_OK);
    cr_expect_eq(parse_nested(NADB_SELECTOR_DEPTH_MAX + 1, '!', ""), NADB_EBADEXPR);
}

Test(selector, the_deepest_expression_fits_the_stack)
{
    static char text[4096];
    size_t len = 0;
    for (size_t i = 0; i < NADB_SELECTOR_DEPTH_MAX; i++) {
        memcpy(text + len, "a|b&(", 5);
        len += 5;
    }
    memcpy(text + len, "a|b&c", 5);
    len += 5;
    memset(text + len, ')', NADB_SELECTOR_DEPTH_MAX);
    len += NADB_SELECTOR_DEPTH_MAX;
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, nadb_slice_of(text, len), NULL, 0, NULL), NADB_OK);
    cr_expect(nadb_selector_matches(&selector, nadb_slice_of("\1\0a", 3)));
    cr_expect_not(nadb_selector_matches(&selector, nadb_slice_of("\1\0b", 3)));
    nadb_selector_fini(&selector);
}

Test(selector, text_and_tags_have_a_longest_length)
{
    static char text[NADB_SELECTOR_TEXT_MAX + 1];
    struct nadb_selector selector;
    memset(text, 'a', sizeof(text));
    nadb_selector_init(&selector);
    cr_expect_eq(nadb_selector_parse(&selector, nadb_slice_of(text, sizeof(text)), NULL, 0, NULL),
        NADB_EBADEXPR);
    cr_expect_eq(
        nadb_selector_parse(&selector, nadb_slice_of(text, NADB_TAG_LEN_MAX + 1), NULL, 0, NULL),
        NADB_EBADTAG);
    cr_expect_eq(
        nadb_selector_parse(&selector, nadb_slice_of(text, NADB_TAG_LEN_MAX), NULL, 0, NULL),
        NADB_OK);
    nadb_selector_fini(&selector);
}

Test(selector, lists_are_joined_by_one_operator)
{
    static const struct nadb_slice tags[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_list(&selector, true, tags, 3, NULL), NADB_OK);
    cr_expect_str_eq(show(&selector), "a b & c &");
    nadb_selector_fini(&selector);
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_list(&selector, false, tags, 2, NULL), NADB_OK);
    cr_expect_str_eq(show(&selector), "a b |");
    nadb_selector_fini(&selector);
}

/* ---- in the log ---- */

static void pack(const char *text, struct nadb_slice pattern, struct nadb_buf *out)
{
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    nadb_buf_init(out, NADB_VALUE_LEN_MAX);
    cr_assert_eq(nadb_selector_parse(&selector, nadb_slice_cstr(text), NULL, 0, NULL), NADB_OK);
    cr_assert(nadb_selector_pack(&selector, pattern, out));
    nadb_selector_fini(&selector);
}

Test(selector, what_was_packed_is_unpacked)
{
    static const struct nadb_slice patterns[] = {{NULL, 0}, {"", 0}, {"user:*", 6}};
    for (size_t i = 0; i < NADB_ARRAY_LEN(patterns); i++) {
        struct nadb_buf packed;
        pack("a & !(b | *) | \"c c\"", patterns[i], &packed);
        struct nadb_selector selector;
        struct nadb_slice pattern;
        nadb_selector_init(&selector);
        cr_assert(nadb_selector_unpack(&selector, nadb_buf_slice(&packed), &pattern));
        cr_expect_str_eq(show(&selector), "a b * | ! & c c |");
        cr_expect_eq(pattern.data == NULL, patterns[i].data == NULL);
        cr_expect(nadb_slice_eq(pattern, patterns[i]));
        nadb_selector_fini(&selector);
        nadb_buf_fini(&packed);
    }
}

Test(selector, damaged_bytes_give_a_whole_program_or_none)
{
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 7);
    struct nadb_buf packed;
    pack("a & !(b | *) | ccccc", NADB_SLICE("k*"), &packed);
    for (int round = 0; round < 20000; round++) {
        char bytes[256];
        memcpy(bytes, packed.data, packed.len);
        bytes[nadb_rng_below(&rng, packed.len)] = (char)nadb_rng_next(&rng);
        size_t len = nadb_rng_below(&rng, 4) == 0 ? nadb_rng_below(&rng, packed.len) : packed.len;
        struct nadb_selector selector;
        struct nadb_slice pattern;
        nadb_selector_init(&selector);
        if (nadb_selector_unpack(&selector, nadb_slice_of(bytes, len), &pattern)) {
            cr_assert_eq(selector.depth, 1);
            (void)nadb_selector_matches(&selector, nadb_slice_of("\1\0a", 3)); /* does not crash */
        }
        nadb_selector_fini(&selector);
    }
    nadb_buf_fini(&packed);
}
