/* This file holds selectors as the redis backend reads them against the store's. */
#include "backends/redis/program.h"

#include "src/base/random.h"
#include "src/store/packed.h"
#include "src/store/selector.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(redis_program);

static void pack(struct nadb_buf *out, const char *text, const char *pattern)
{
    struct nadb_selector selector;
    nadb_buf_init(out, 1 << 20);
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, nadb_slice_cstr(text), NULL, 0, NULL), NADB_OK);
    cr_assert(nadb_selector_pack(
        &selector, pattern == NULL ? nadb_slice_of(NULL, 0) : nadb_slice_cstr(pattern), out));
    nadb_selector_fini(&selector);
}

Test(redis_program, selects_what_the_store_selects)
{
    const char *texts[] = {
        "a", "!a", "a & b", "a | b", "a & !(b | c)", "*", "!*", "a & b & c | !a"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct nadb_buf packed;
        struct nadb_redis_program program;
        struct nadb_selector selector;
        struct nadb_slice pattern;
        pack(&packed, texts[i], NULL);
        nadb_selector_init(&selector);
        cr_assert(nadb_selector_unpack(&selector, nadb_buf_slice(&packed), &pattern));
        cr_assert(nadb_redis_program_read(nadb_buf_slice(&packed), &program));
        for (unsigned set = 0; set < 8; set++) {
            struct nadb_buf tags;
            nadb_buf_init(&tags, 1000);
            for (unsigned tag = 0; tag < 3; tag++) {
                cr_assert(
                    (set >> tag & 1) == 0 || nadb_packed_add(&tags, nadb_slice_of(&"abc"[tag], 1)));
            }
            cr_assert_eq(
                nadb_redis_program_matches(&program, NADB_SLICE("k"), nadb_buf_slice(&tags)),
                nadb_selector_matches(&selector, nadb_buf_slice(&tags)), "%s", texts[i]);
            nadb_buf_fini(&tags);
        }
        nadb_selector_fini(&selector);
        nadb_buf_fini(&packed);
    }
}

Test(redis_program, a_prefix_is_a_simple_pattern_and_others_are_not)
{
    const struct {
        const char *pattern;
        bool is_simple;
        const char *prefix;
    } cases[] = {{NULL, true, ""}, {"*", true, ""}, {"abc*", true, "abc"}, {"abc", false, ""},
        {"", false, ""}, {"a*b*", false, ""}, {"a?*", false, ""}, {"a[b]*", false, ""},
        {"a\\*", false, ""}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct nadb_buf packed;
        struct nadb_redis_program program;
        pack(&packed, "a", cases[i].pattern);
        cr_assert(nadb_redis_program_read(nadb_buf_slice(&packed), &program));
        cr_assert_eq(nadb_redis_program_is_simple(&program), cases[i].is_simple, "%zu", i);
        cr_assert(
            nadb_slice_eq(nadb_redis_program_prefix(&program), nadb_slice_cstr(cases[i].prefix)));
        nadb_buf_fini(&packed);
    }
}

Test(redis_program, what_is_cut_or_changed_is_refused_or_still_whole)
{
    struct nadb_buf packed;
    struct nadb_rng rng;
    pack(&packed, "a & !(b | c) | *", "pat*");
    nadb_rng_seed(&rng, 1);
    for (size_t len = 0; len < packed.len; len++) {
        struct nadb_redis_program program;
        cr_assert_not(nadb_redis_program_read(nadb_slice_of(packed.data, len), &program));
    }
    for (int i = 0; i < 20000; i++) {
        struct nadb_redis_program program;
        size_t at = (size_t)nadb_rng_below(&rng, packed.len);
        char old = packed.data[at];
        packed.data[at] = (char)nadb_rng_next(&rng);
        if (nadb_redis_program_read(nadb_buf_slice(&packed), &program)) {
            (void)nadb_redis_program_matches(&program, NADB_SLICE("k"), NADB_SLICE("\1\0a"));
        }
        packed.data[at] = old;
    }
    nadb_buf_fini(&packed);
}
