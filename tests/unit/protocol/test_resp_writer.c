/* This file tests the bytes of every kind of reply in both versions of the protocol. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "protocol/resp_writer.h"
#include "src/base/mem.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(resp_writer);

#define CAP_MAX (1u << 20)

static struct nadb_resp_writer new_writer(uint8_t proto)
{
    struct nadb_resp_writer writer;
    nadb_resp_writer_init(&writer, CAP_MAX);
    writer.proto = proto;
    return writer;
}

/* What was written so far is `bytes`; starts over. */
static void expect_bytes(struct nadb_resp_writer *writer, struct nadb_slice bytes)
{
    cr_assert(!writer->is_full);
    cr_assert(nadb_slice_eq(nadb_buf_slice(&writer->buf), bytes), "got '%.*s', not '%.*s'",
        (int)writer->buf.len, writer->buf.data, (int)bytes.len, bytes.data);
    writer->buf.len = 0;
}

#define EXPECT(writer, literal) expect_bytes((writer), NADB_SLICE(literal))

Test(resp_writer, new_writer_speaks_version_2_and_holds_no_memory)
{
    struct nadb_resp_writer writer;
    nadb_resp_writer_init(&writer, CAP_MAX);
    cr_assert(writer.proto == 2);
    cr_assert(writer.buf.cap == 0);
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, types_of_version_2_are_the_same_in_both)
{
    for (uint8_t proto = 2; proto <= 3; proto++) {
        struct nadb_resp_writer writer = new_writer(proto);
        nadb_resp_simple(&writer, NADB_SLICE("PONG"));
        EXPECT(&writer, "+PONG\r\n");
        nadb_resp_ok(&writer);
        EXPECT(&writer, "+OK\r\n");
        nadb_resp_error(&writer, "ERR no %s for '%.*s'", "key", 2, "abc");
        EXPECT(&writer, "-ERR no key for 'ab'\r\n");
        nadb_resp_bulk(&writer, NADB_SLICE("a\r\n\0b"));
        EXPECT(&writer, "$5\r\na\r\n\0b\r\n");
        nadb_resp_bulk(&writer, (struct nadb_slice){.data = NULL, .len = 0});
        EXPECT(&writer, "$0\r\n\r\n");
        nadb_resp_bulk_cstr(&writer, "text");
        EXPECT(&writer, "$4\r\ntext\r\n");
        nadb_resp_bulk_printf(&writer, "%d-%d", 12, 34);
        EXPECT(&writer, "$5\r\n12-34\r\n");
        nadb_resp_bulk_u64(&writer, UINT64_MAX);
        EXPECT(&writer, "$20\r\n18446744073709551615\r\n");
        nadb_resp_array(&writer, 0);
        nadb_resp_array(&writer, 1000000);
        EXPECT(&writer, "*0\r\n*1000000\r\n");
        nadb_resp_raw(&writer, NADB_SLICE(""));
        nadb_resp_raw(&writer, NADB_SLICE(":1\r\n"));
        EXPECT(&writer, ":1\r\n");
        nadb_resp_writer_fini(&writer);
    }
}

Test(resp_writer, version_2_has_substitutes_for_the_types_of_version_3)
{
    struct nadb_resp_writer writer = new_writer(2);
    nadb_resp_null(&writer);
    EXPECT(&writer, "$-1\r\n");
    nadb_resp_null_array(&writer);
    EXPECT(&writer, "*-1\r\n");
    nadb_resp_bool(&writer, true);
    nadb_resp_bool(&writer, false);
    EXPECT(&writer, ":1\r\n:0\r\n");
    nadb_resp_double(&writer, 2.5);
    EXPECT(&writer, "$3\r\n2.5\r\n");
    nadb_resp_verbatim(&writer, NADB_SLICE("a\nb"));
    EXPECT(&writer, "$3\r\na\nb\r\n");
    nadb_resp_map(&writer, 7);
    EXPECT(&writer, "*14\r\n");
    nadb_resp_set(&writer, 7);
    EXPECT(&writer, "*7\r\n");
    nadb_resp_push(&writer, 3);
    EXPECT(&writer, "*3\r\n");
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, version_3_has_types_of_its_own)
{
    struct nadb_resp_writer writer = new_writer(3);
    nadb_resp_null(&writer);
    EXPECT(&writer, "_\r\n");
    nadb_resp_null_array(&writer);
    EXPECT(&writer, "_\r\n");
    nadb_resp_bool(&writer, true);
    nadb_resp_bool(&writer, false);
    EXPECT(&writer, "#t\r\n#f\r\n");
    nadb_resp_double(&writer, 2.5);
    EXPECT(&writer, ",2.5\r\n");
    nadb_resp_verbatim(&writer, NADB_SLICE("a\nb"));
    EXPECT(&writer, "=7\r\ntxt:a\nb\r\n");
    nadb_resp_map(&writer, 7);
    EXPECT(&writer, "%7\r\n");
    nadb_resp_set(&writer, 7);
    EXPECT(&writer, "~7\r\n");
    nadb_resp_push(&writer, 3);
    EXPECT(&writer, ">3\r\n");
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, integers_are_written_in_full_range)
{
    struct nadb_resp_writer writer = new_writer(2);
    static const int64_t values[] = {0, 9, 10, 99, 100, 12345, -1, -10, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < NADB_ARRAY_LEN(values); i++) {
        nadb_resp_integer(&writer, values[i]);
    }
    EXPECT(&writer, ":0\r\n:9\r\n:10\r\n:99\r\n:100\r\n:12345\r\n:-1\r\n:-10\r\n"
                    ":9223372036854775807\r\n:-9223372036854775808\r\n");
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, every_small_length_has_its_digits)
{
    struct nadb_resp_writer writer = new_writer(2);
    for (int i = 0; i < 1100; i++) {
        char text[16];
        int len = snprintf(text, sizeof(text), "*%d\r\n", i);
        nadb_resp_array(&writer, (size_t)i);
        expect_bytes(&writer, nadb_slice_of(text, (size_t)len));
    }
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, doubles_have_17_digits_and_named_extremes)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, ",0\r\n"},
        {-0.0, ",-0\r\n"},
        {0.1, ",0.10000000000000001\r\n"},
        {3, ",3\r\n"},
        {1e300, ",1.0000000000000001e+300\r\n"},
        {-5e-324, ",-4.9406564584124654e-324\r\n"},
        {INFINITY, ",inf\r\n"},
        {-INFINITY, ",-inf\r\n"},
        {NAN, ",nan\r\n"},
        {-NAN, ",nan\r\n"},
    };
    struct nadb_resp_writer writer = new_writer(3);
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        nadb_resp_double(&writer, cases[i].value);
        expect_bytes(&writer, nadb_slice_cstr(cases[i].text));
    }
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, error_cannot_split_the_reply)
{
    struct nadb_resp_writer writer = new_writer(2);
    nadb_resp_error(&writer, "ERR '%s'%c.", "a\r\n+OK\r\n\x1b[0m\x7f\xc3\xa4", '\0');
    EXPECT(&writer, "-ERR 'a  +OK   [0m \xc3\xa4' .\r\n");
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, error_is_cut_at_512_bytes)
{
    struct nadb_resp_writer writer = new_writer(2);
    nadb_resp_error(&writer, "ERR %600s", "x");
    cr_assert(writer.buf.len == 1 + 512 + 2);
    cr_assert(memcmp(writer.buf.data + 1 + 512, "\r\n", 2) == 0);
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, reply_that_does_not_fit_is_dropped_whole_and_so_are_later_ones)
{
    static const char big[100];
    struct nadb_resp_writer writer;
    nadb_resp_writer_init(&writer, 100);
    nadb_resp_ok(&writer);
    nadb_resp_bulk(&writer, nadb_slice_of(big, sizeof(big)));
    cr_assert(writer.is_full);
    nadb_resp_ok(&writer);
    nadb_resp_integer(&writer, 1);
    nadb_resp_array(&writer, 1);
    cr_assert(nadb_slice_eq(nadb_buf_slice(&writer.buf), NADB_SLICE("+OK\r\n")));
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, exhausted_memory_makes_it_full)
{
    struct nadb_resp_writer writer = new_writer(2);
    nadb_mem_fail_at(1);
    nadb_resp_ok(&writer);
    nadb_mem_fail_at(0);
    cr_assert(writer.is_full);
    cr_assert(writer.buf.len == 0);
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, deferred_headers_go_before_their_elements_and_nest)
{
    struct nadb_resp_writer writer = new_writer(3);
    nadb_resp_ok(&writer);
    size_t outer = nadb_resp_deferred_begin(&writer);
    nadb_resp_integer(&writer, 1);
    size_t map = nadb_resp_deferred_begin(&writer);
    nadb_resp_integer(&writer, 2);
    nadb_resp_integer(&writer, 3);
    nadb_resp_deferred_map(&writer, map, 1);
    size_t set = nadb_resp_deferred_begin(&writer);
    nadb_resp_deferred_set(&writer, set, 0);
    nadb_resp_deferred_array(&writer, outer, 3);
    EXPECT(&writer, "+OK\r\n*3\r\n:1\r\n%1\r\n:2\r\n:3\r\n~0\r\n");
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, deferred_headers_of_version_2_are_arrays)
{
    struct nadb_resp_writer writer = new_writer(2);
    size_t map = nadb_resp_deferred_begin(&writer);
    nadb_resp_deferred_map(&writer, map, 60);
    size_t set = nadb_resp_deferred_begin(&writer);
    nadb_resp_deferred_set(&writer, set, 5);
    EXPECT(&writer, "*120\r\n*5\r\n");
    nadb_resp_writer_fini(&writer);
}

Test(resp_writer, deferred_header_that_does_not_fit_leaves_the_elements_alone)
{
    struct nadb_resp_writer writer;
    nadb_resp_writer_init(&writer, 64);
    size_t mark = nadb_resp_deferred_begin(&writer);
    static const char digits[61];
    nadb_resp_raw(&writer, nadb_slice_of(digits, sizeof(digits)));
    cr_assert(!writer.is_full);
    nadb_resp_deferred_array(&writer, mark, 1);
    cr_assert(writer.is_full);
    cr_assert(writer.buf.len == sizeof(digits));
    nadb_resp_writer_fini(&writer);
}
