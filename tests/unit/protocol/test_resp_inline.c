/* This file tests how inline commands are split into words. */
#include <string.h>

#include "protocol/resp_inline.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(resp_inline);

#define LINE_MAX  128
#define WORDS_MAX 8

struct split {
    enum nadb_resp_inline_status last; /* never NADB_RESP_INLINE_WORD */
    size_t count;
    struct nadb_slice words[WORDS_MAX];
    char line[LINE_MAX];
};

static void split_line(struct split *split, struct nadb_slice text)
{
    cr_assert(text.len <= LINE_MAX);
    memcpy(split->line, text.data, text.len);
    struct nadb_resp_inline line = {.at = split->line, .end = split->line + text.len};
    split->count = 0;
    for (;;) {
        struct nadb_slice word = {.data = NULL, .len = 0};
        split->last = nadb_resp_inline_next(&line, &word);
        if (split->last != NADB_RESP_INLINE_WORD) {
            return;
        }
        cr_assert(split->count < WORDS_MAX);
        split->words[split->count++] = word;
    }
}

static void expect_words(struct nadb_slice text, const struct nadb_slice *words, size_t count)
{
    struct split split;
    split_line(&split, text);
    cr_assert(split.last == NADB_RESP_INLINE_END, "'%.*s' is balanced", (int)text.len, text.data);
    cr_assert(split.count == count, "'%.*s' has %zu words", (int)text.len, text.data, split.count);
    for (size_t i = 0; i < count; i++) {
        cr_assert(nadb_slice_eq(split.words[i], words[i]), "word %zu of '%.*s' is '%.*s'", i,
            (int)text.len, text.data, (int)split.words[i].len, split.words[i].data);
    }
}

#define EXPECT_WORDS(text, ...)                                                                    \
    expect_words(NADB_SLICE(text), (const struct nadb_slice[]){__VA_ARGS__},                       \
        NADB_ARRAY_LEN(((const struct nadb_slice[]){__VA_ARGS__})))

static void expect_unbalanced(const char *text)
{
    struct split split;
    split_line(&split, nadb_slice_cstr(text));
    cr_assert(split.last == NADB_RESP_INLINE_UNBALANCED, "'%s' is unbalanced", text);
}

Test(resp_inline, blanks_separate_words_and_are_dropped_at_both_ends)
{
    EXPECT_WORDS("PING", NADB_SLICE("PING"));
    EXPECT_WORDS(" \tSET  k\tv \v\f", NADB_SLICE("SET"), NADB_SLICE("k"), NADB_SLICE("v"));
}

Test(resp_inline, blank_line_has_no_words)
{
    expect_words(NADB_SLICE(""), NULL, 0);
    expect_words(NADB_SLICE(" \t\r\v\f "), NULL, 0);
}

Test(resp_inline, vertical_tab_and_form_feed_stay_inside_a_word)
{
    EXPECT_WORDS("a\vb c\fd", NADB_SLICE("a\vb"), NADB_SLICE("c\fd"));
}

Test(resp_inline, nul_is_a_byte_like_any_other)
{
    EXPECT_WORDS("a\0b \0", NADB_SLICE("a\0b"), NADB_SLICE("\0"));
}

Test(resp_inline, double_quotes_resolve_escapes)
{
    EXPECT_WORDS("\"\\n\\r\\t\\b\\a\\\\\\\"\\q\"", NADB_SLICE("\n\r\t\b\a\\\"q"));
    EXPECT_WORDS("\"\\x00\\xfF\\x4a.\"", NADB_SLICE("\0\xff\x4a."));
}

Test(resp_inline, incomplete_hex_escape_is_the_letter_x)
{
    EXPECT_WORDS(
        "\"\\x4\" \"\\x4g\" \"\\x\"", NADB_SLICE("x4"), NADB_SLICE("x4g"), NADB_SLICE("x"));
}

Test(resp_inline, single_quotes_only_know_the_escaped_quote)
{
    EXPECT_WORDS("'it\\'s' '\\n \"'", NADB_SLICE("it's"), NADB_SLICE("\\n \""));
}

Test(resp_inline, quotes_hold_blanks_and_empty_words)
{
    EXPECT_WORDS("\"a b\" '' \"\" 'c\td'", NADB_SLICE("a b"), NADB_SLICE(""), NADB_SLICE(""),
        NADB_SLICE("c\td"));
}

Test(resp_inline, quote_may_open_inside_a_word)
{
    EXPECT_WORDS("key:\"a b\" x'y z'", NADB_SLICE("key:a b"), NADB_SLICE("xy z"));
}

Test(resp_inline, backslash_outside_of_quotes_is_plain)
{
    EXPECT_WORDS("a\\nb \\", NADB_SLICE("a\\nb"), NADB_SLICE("\\"));
}

Test(resp_inline, open_quote_is_unbalanced)
{
    expect_unbalanced("\"");
    expect_unbalanced("SET k 'v");
    expect_unbalanced("SET k \"v\\\"");
    expect_unbalanced("SET k \"v\\");
    expect_unbalanced("SET k 'v\\'");
}

Test(resp_inline, closing_quote_must_end_the_word)
{
    expect_unbalanced("'a'b");
    expect_unbalanced("\"a\"b");
    expect_unbalanced("\"a\"'b'");
}
