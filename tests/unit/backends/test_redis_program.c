/* This file holds selectors as the redis backend reads them against the store's. */
#include "backends/redis/program.h"

#include "src/base/random.h"
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

/* The arguments that the script gets, one a line. */
static void expect_arguments(const char *text, const char *pattern, const char *expected)
{
    struct nadb_buf packed;
    struct nadb_redis_program program;
    struct nadb_redis_out out;
    pack(&packed, text, pattern);
    cr_assert(nadb_redis_program_read(nadb_buf_slice(&packed), &program));
    nadb_redis_out_init(&out);
    nadb_redis_program_write_pattern(&program, &out);
    nadb_redis_program_write(&program, &out);
    cr_expect(nadb_slice_eq(nadb_buf_slice(&out.buf), nadb_slice_cstr(expected)), "%s: %.*s", text,
        (int)out.buf.len, out.buf.data);
    nadb_redis_out_fini(&out);
    nadb_buf_fini(&packed);
}

Test(redis_program, is_written_as_arguments_operands_first)
{
    expect_arguments("a", NULL, "$0\r\n\r\n$2\r\nta\r\n");
    expect_arguments("a & !b", "", "$1\r\n=\r\n$2\r\nta\r\n$2\r\ntb\r\n$1\r\n!\r\n$1\r\n&\r\n");
    expect_arguments("a | *", "x*", "$3\r\n=x*\r\n$2\r\nta\r\n$1\r\n*\r\n$1\r\n|\r\n");
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
            struct nadb_redis_out out;
            nadb_redis_out_init(&out);
            nadb_redis_program_write(&program, &out); /* goes through all of it */
            nadb_redis_out_fini(&out);
        }
        packed.data[at] = old;
    }
    nadb_buf_fini(&packed);
}
