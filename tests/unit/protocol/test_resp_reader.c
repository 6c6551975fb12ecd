/* This file tests how commands are found in bytes, whatever way the bytes arrive. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "protocol/resp_reader.h"
#include "src/base/mem.h"
#include "tests/support/resp_feed.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(resp_reader);

#define TEXT_MAX      (4u << 20)
#define SPLIT_LEN_MAX 256u /* longer inputs are not cut at every byte */

static const struct nadb_resp_limits open_limits = {
    .bulk_len_max = 512u << 20,
    .args_max = NADB_RESP_ARGS_MAX,
};

static const struct nadb_resp_limits unauthenticated_limits = {
    .bulk_len_max = 16384,
    .args_max = 10,
    .is_unauthenticated = true,
};

static void expect_fed(
    const struct nadb_resp_feed *feed, struct nadb_slice input, const char *expected)
{
    struct nadb_buf text;
    nadb_buf_init(&text, TEXT_MAX);
    nadb_resp_feed(feed, input, &text);
    cr_assert(nadb_slice_eq(nadb_buf_slice(&text), nadb_slice_cstr(expected)),
        "first %zu, then %zu bytes: got '%.*s', not '%s'", feed->first_len, feed->chunk_len,
        (int)text.len, text.len > 0 ? text.data : "", expected);
    nadb_buf_fini(&text);
}

/* `input` comes out as `expected` (see resp_feed.h) whole, byte by byte and cut in two anywhere. */
static void expect_limited(
    const struct nadb_resp_limits *limits, struct nadb_slice input, const char *expected)
{
    struct nadb_resp_feed feed = {.limits = *limits};
    expect_fed(&feed, input, expected);
    for (size_t i = 1; input.len <= SPLIT_LEN_MAX && i < input.len; i++) {
        feed.first_len = i;
        expect_fed(&feed, input, expected);
    }
    feed.chunk_len = feed.first_len = input.len <= SPLIT_LEN_MAX ? 1 : 1000;
    expect_fed(&feed, input, expected);
    feed.heeds_want = true;
    expect_fed(&feed, input, expected);
}

#define EXPECT(literal, expected) expect_limited(&open_limits, NADB_SLICE(literal), (expected))

/* A reader and a group, for tests of single calls. */
struct parser {
    struct nadb_resp_reader reader;
    struct nadb_resp_group group;
    size_t used;
};

static void open_parser(struct parser *parser)
{
    nadb_resp_reader_init(&parser->reader);
    nadb_resp_group_init(&parser->group);
}

static void close_parser(struct parser *parser)
{
    nadb_resp_reader_fini(&parser->reader);
    nadb_resp_group_fini(&parser->group);
}

static enum nadb_resp_status parse(struct parser *parser, char *input, size_t len)
{
    return nadb_resp_reader_parse(
        &parser->reader, &open_limits, input, len, &parser->group, &parser->used);
}

/* `head` and then `count` times `item`. The caller frees the buffer. */
static struct nadb_buf repeat(const char *head, const char *item, size_t count)
{
    struct nadb_buf bytes;
    nadb_buf_init(&bytes, 16u << 20);
    cr_assert(nadb_buf_append(&bytes, head, strlen(head)));
    for (size_t i = 0; i < count; i++) {
        cr_assert(nadb_buf_append(&bytes, item, strlen(item)));
    }
    return bytes;
}

Test(resp_reader, arrays_of_bulk_strings_are_commands)
{
    EXPECT("*1\r\n$4\r\nPING\r\n", "[PING]");
    EXPECT("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nvalue-value-\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        "[SET|k|value-value-][GET|k]");
}

Test(resp_reader, arguments_are_binary_and_may_be_empty)
{
    EXPECT("*3\r\n$0\r\n\r\n$4\r\n\r\n\0\xff\r\n$2\r\n*1\r\n", "[|\\x0d\\x0a\\x00\\xff|*1]");
}

Test(resp_reader, lengths_of_every_number_of_digits_are_read)
{
    static const size_t lens[] = {1, 9, 10, 99, 100, 999, 1000, 9999, 10000, 100000};
    for (size_t i = 0; i < NADB_ARRAY_LEN(lens); i++) {
        char head[32];
        (void)snprintf(head, sizeof(head), "*1\r\n$%zu\r\n", lens[i]);
        struct nadb_buf input = repeat(head, "x", lens[i]);
        cr_assert(nadb_buf_append(&input, "\r\n", 2));
        struct nadb_buf expected = repeat("[", "x", lens[i]);
        cr_assert(nadb_buf_append(&expected, "]", 2));
        expect_limited(&open_limits, nadb_buf_slice(&input), expected.data);
        nadb_buf_fini(&input);
        nadb_buf_fini(&expected);
    }
}

Test(resp_reader, empty_commands_and_blank_lines_are_skipped)
{
    EXPECT("*0\r\n*-1\r\n*-77\r\n\r\n\n  \t\r\n*1\r\n$4\r\nPING\r\n", "[PING]");
    EXPECT("*0\r\n\r\n", "");
}

Test(resp_reader, inline_commands_end_with_a_line_feed)
{
    EXPECT("PING\r\nSET k  'a b'\n", "[PING][SET|k|a\\x20b]");
    EXPECT("PING \"\\x41\\n\"\r\r\n", "[PING|A\\x0a]");
}

Test(resp_reader, inline_commands_and_arrays_mix)
{
    EXPECT("PING\r\n*1\r\n$4\r\nECHO\r\nPING\n*1\r\n$4\r\nQUIT\r\n", "[PING][ECHO][PING][QUIT]");
}

Test(resp_reader, partial_command_is_left_in_the_input)
{
    EXPECT("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$5\r\nab", "[PING]+19");
    EXPECT("*1\r\n$4\r\nPING\r\n*", "[PING]+1");
    EXPECT("*1\r\n$4\r\nPING\r", "+13");
    EXPECT("*1\r\n$4\r", "+7");
    EXPECT("PING\r", "+5");
}

Test(resp_reader, bad_multibulk_length_is_an_error)
{
    static const char expected[] = "!Protocol error: invalid multibulk length";
    EXPECT("*\r\n", expected);
    EXPECT("*a\r\n", expected);
    EXPECT("*1a\r\n", expected);
    EXPECT("* 1\r\n", expected);
    EXPECT("*+1\r\n", expected);
    EXPECT("*-0\r\n", expected);
    EXPECT("*-\r\n", expected);
    EXPECT("*01\r\n$4\r\nPING\r\n", expected);
    EXPECT("*1\0\r\n", expected);
    EXPECT("*1048577\r\n", expected);
    EXPECT("*9223372036854775808\r\n", expected);
    EXPECT("*1\rX$4\r\nPING\r\n", expected);
    EXPECT("*1\n\r\n", expected);
}

Test(resp_reader, bad_bulk_length_is_an_error)
{
    static const char expected[] = "!Protocol error: invalid bulk length";
    EXPECT("*1\r\n$\r\n", expected);
    EXPECT("*1\r\n$-1\r\n", expected);
    EXPECT("*1\r\n$4x\r\nPING\r\n", expected);
    EXPECT("*1\r\n$04\r\nPING\r\n", expected);
    EXPECT("*1\r\n$536870913\r\n", expected);
    EXPECT("*1\r\n$9223372036854775807\r\n", expected);
    EXPECT("*1\r\n$18446744073709551615\r\n", expected);
    EXPECT("*1\r\n$4\rXPING\r\n", expected);
}

Test(resp_reader, anything_but_a_bulk_string_in_an_array_is_an_error)
{
    EXPECT("*1\r\n:1\r\n", "!Protocol error: expected '$', got ':'");
    EXPECT("*1\r\n*1\r\n$4\r\nPING\r\n", "!Protocol error: expected '$', got '*'");
    EXPECT("*2\r\n$4\r\nPING\r\nX", "!Protocol error: expected '$', got 'X'");
}

Test(resp_reader, unprintable_byte_is_not_echoed)
{
    EXPECT("*1\r\n\r\n", "!Protocol error: expected '$', got ' '");
    EXPECT("*1\r\n\0", "!Protocol error: expected '$', got ' '");
    EXPECT("*1\r\n\xff", "!Protocol error: expected '$', got ' '");
    EXPECT("*1\r\n\x7f", "!Protocol error: expected '$', got ' '");
}

Test(resp_reader, bulk_string_must_end_with_crlf)
{
    EXPECT("*1\r\n$4\r\nPINGxx", "!Protocol error: expected CRLF after bulk");
    EXPECT("*1\r\n$4\r\nPING\rx", "!Protocol error: expected CRLF after bulk");
    EXPECT("*1\r\n$3\r\nPING\r\n*1\r\n", "!Protocol error: expected CRLF after bulk");
    EXPECT("*1\r\n$0\r\nPING\r\n", "!Protocol error: expected CRLF after bulk");
}

Test(resp_reader, unbalanced_quotes_are_an_error)
{
    EXPECT("SET k 'v\r\n", "!Protocol error: unbalanced quotes in request");
    EXPECT("SET k \"v\"w\r\n", "!Protocol error: unbalanced quotes in request");
}

Test(resp_reader, commands_before_an_error_are_delivered)
{
    EXPECT("*1\r\n$4\r\nPING\r\nECHO\n*1\r\n$-1\r\n",
        "[PING][ECHO]!Protocol error: invalid bulk length");
}

Test(resp_reader, error_leaves_used_at_the_bad_command)
{
    char input[] = "*1\r\n$4\r\nPING\r\n*1\r\n:1\r\n";
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, input, sizeof(input) - 1) == NADB_RESP_BAD);
    cr_assert(parser.group.count == 1);
    cr_assert(parser.used == 14);
    close_parser(&parser);
}

Test(resp_reader, endless_lines_are_cut_off)
{
    static const struct {
        const char *head, *expected;
    } cases[] = {
        {"", "!Protocol error: too big inline request"},
        {"*", "!Protocol error: too big mbulk count string"},
        {"*1\r\n$", "!Protocol error: too big bulk count string"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_buf input = repeat(cases[i].head, "1", NADB_RESP_INLINE_MAX + 1);
        expect_limited(&open_limits, nadb_buf_slice(&input), cases[i].expected);
        /* An end of line that comes too late is no remedy, even if it is there at once. */
        cr_assert(nadb_buf_append(&input, "\r\n", 2));
        expect_limited(&open_limits, nadb_buf_slice(&input), cases[i].expected);
        nadb_buf_fini(&input);
    }
}

Test(resp_reader, inline_command_may_have_as_many_bytes_as_the_limit_says)
{
    struct nadb_buf input = repeat("", "x", NADB_RESP_INLINE_MAX);
    struct nadb_buf expected = repeat("[", "x", NADB_RESP_INLINE_MAX);
    cr_assert(nadb_buf_append(&input, "\n", 1));
    cr_assert(nadb_buf_append(&expected, "]", 2));
    expect_limited(&open_limits, nadb_buf_slice(&input), expected.data);
    nadb_buf_fini(&input);
    nadb_buf_fini(&expected);
}

Test(resp_reader, limits_of_the_unauthenticated_have_errors_of_their_own)
{
    expect_limited(&unauthenticated_limits, NADB_SLICE("*11\r\n"),
        "!Protocol error: unauthenticated multibulk length");
    expect_limited(&unauthenticated_limits, NADB_SLICE("*1\r\n$16385\r\n"),
        "!Protocol error: unauthenticated bulk length");
    expect_limited(&unauthenticated_limits, NADB_SLICE("*1\r\n$-1\r\n"),
        "!Protocol error: invalid bulk length");
    expect_limited(&unauthenticated_limits, NADB_SLICE("a b c d e f g h i j k\r\n"),
        "!Protocol error: too big inline request");
    expect_limited(&unauthenticated_limits, NADB_SLICE("a b c d e f g h i j\r\n*1\r\n$1\r\na\r\n"),
        "[a|b|c|d|e|f|g|h|i|j][a]");
}

Test(resp_reader, limits_hold_for_short_commands)
{
    struct nadb_resp_limits limits = {.bulk_len_max = 4, .args_max = 2};
    expect_limited(&limits, NADB_SLICE("*2\r\n$4\r\nECHO\r\n$4\r\nabcd\r\n"), "[ECHO|abcd]");
    expect_limited(&limits, NADB_SLICE("*2\r\n$4\r\nECHO\r\n$5\r\nabcde\r\n"),
        "!Protocol error: invalid bulk length");
    limits.bulk_len_max = 5000;
    expect_limited(&limits, NADB_SLICE("*3\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n"),
        "!Protocol error: invalid multibulk length");
    struct nadb_buf input = repeat("*1\r\n$5001\r\n", "x", 5001);
    cr_assert(nadb_buf_append(&input, "\r\n", 2));
    expect_limited(&limits, nadb_buf_slice(&input), "!Protocol error: invalid bulk length");
    nadb_buf_fini(&input);
}

Test(resp_reader, byte_after_the_digits_is_no_digit)
{
    static const char *const heads[] = {
        "*1\r\n$:\r\n", "*1\r\n$1:\r\n", "*1\r\n$10:\r\n", "*1\r\n$/\r\n", "*1\r\n$100:\r\n"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(heads); i++) {
        /* ':' follows '9': taken for ten, it would announce exactly what is there. */
        static const size_t lens[] = {10, 20, 110, 0, 1010};
        struct nadb_buf input = repeat(heads[i], "x", lens[i]);
        cr_assert(nadb_buf_append(&input, "\r\n", 2));
        expect_limited(
            &open_limits, nadb_buf_slice(&input), "!Protocol error: invalid bulk length");
        nadb_buf_fini(&input);
    }
}

Test(resp_reader, group_of_the_unauthenticated_is_one_command)
{
    char input[] = "AUTH pw\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    struct parser parser;
    open_parser(&parser);
    cr_assert(nadb_resp_reader_parse(&parser.reader, &unauthenticated_limits, input,
                  sizeof(input) - 1, &parser.group, &parser.used) == NADB_RESP_READY);
    cr_assert(parser.group.count == 1);
    cr_assert(parser.used == 9);
    close_parser(&parser);
}

Test(resp_reader, full_group_is_ready_and_the_next_call_goes_on)
{
    struct nadb_buf input = repeat("", "*1\r\n$4\r\nPING\r\n", NADB_RESP_GROUP_MAX + 1);
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, input.data, input.len) == NADB_RESP_READY);
    cr_assert(parser.group.count == NADB_RESP_GROUP_MAX);
    cr_assert(parser.used == input.len - 14);
    size_t used = parser.used;
    cr_assert(parse(&parser, input.data + used, input.len - used) == NADB_RESP_MORE);
    cr_assert(parser.group.count == 1);
    cr_assert(parser.used == 14);
    close_parser(&parser);
    nadb_buf_fini(&input);
}

Test(resp_reader, group_ends_when_it_has_many_arguments)
{
    struct nadb_buf input = repeat("*999\r\n", "$1\r\nx\r\n", 999);
    struct nadb_slice one = nadb_buf_slice(&input);
    struct nadb_buf all;
    nadb_buf_init(&all, TEXT_MAX);
    for (int i = 0; i < 3; i++) {
        cr_assert(nadb_buf_append(&all, one.data, one.len));
    }
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, all.data, all.len) == NADB_RESP_READY);
    cr_assert(parser.group.count == 2);
    cr_assert(parser.used == 2 * one.len);
    close_parser(&parser);
    nadb_buf_fini(&input);
    nadb_buf_fini(&all);
}

Test(resp_reader, group_ends_when_it_has_exactly_as_many_arguments_as_it_may)
{
    struct nadb_buf one = repeat("*512\r\n", "$1\r\nx\r\n", 512);
    struct nadb_buf all;
    nadb_buf_init(&all, TEXT_MAX);
    for (int i = 0; i < 3; i++) {
        cr_assert(nadb_buf_append(&all, one.data, one.len));
    }
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, all.data, all.len) == NADB_RESP_READY);
    cr_assert(parser.group.count == NADB_RESP_GROUP_ARGS_MAX / 512);
    close_parser(&parser);
    nadb_buf_fini(&one);
    nadb_buf_fini(&all);
}

Test(resp_reader, commands_tell_where_their_bytes_are)
{
    char input[] = "\r\n*1\r\n$4\r\nPING\r\n*0\r\nECHO a\r\n";
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, input, sizeof(input) - 1) == NADB_RESP_MORE);
    cr_assert(parser.group.count == 2);
    cr_assert(parser.group.cmds[0].begin == 2);
    cr_assert(parser.group.cmds[0].end == 16);
    cr_assert(parser.group.cmds[0].argv[0].data == input + 10);
    cr_assert(parser.group.cmds[1].begin == 20);
    cr_assert(parser.group.cmds[1].end == 28);
    cr_assert(parser.group.cmds[1].argv[1].data == input + 25);
    close_parser(&parser);
}

Test(resp_reader, inline_command_keeps_its_first_byte)
{
    static const char *const lines[] = {"\"*1\" a\n", "'*1' a\n", "\"\\x2a1\" a\n"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(lines); i++) {
        char input[16];
        size_t len = strlen(lines[i]);
        memcpy(input, lines[i], len);
        struct parser parser;
        open_parser(&parser);
        cr_assert(parse(&parser, input, len) == NADB_RESP_MORE);
        cr_assert(nadb_slice_eq(parser.group.cmds[0].argv[0], NADB_SLICE("*1")));
        cr_assert(input[0] == lines[i][0]);
        close_parser(&parser);
    }
}

Test(resp_reader, earlier_commands_survive_one_that_makes_the_group_grow)
{
    struct nadb_buf input =
        repeat("*1\r\n$4\r\nPING\r\nECHO a\r\n*20000\r\n", "$1\r\nx\r\n", 20000);
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, input.data, input.len) == NADB_RESP_READY);
    const struct nadb_resp_cmd *cmds = parser.group.cmds;
    cr_assert(parser.group.count == 3);
    cr_assert(nadb_slice_eq(cmds[0].argv[0], NADB_SLICE("PING")));
    cr_assert(nadb_slice_eq(cmds[1].argv[0], NADB_SLICE("ECHO")));
    cr_assert(nadb_slice_eq(cmds[1].argv[1], NADB_SLICE("a")));
    cr_assert(cmds[2].argc == 20000);
    cr_assert(nadb_slice_eq(cmds[2].argv[19999], NADB_SLICE("x")));
    close_parser(&parser);
    nadb_buf_fini(&input);
}

Test(resp_reader, memory_for_many_arguments_is_given_back)
{
    struct nadb_buf input = repeat("*100000\r\n", "$1\r\nx\r\n", 100000);
    struct parser parser;
    open_parser(&parser);
    size_t before = nadb_mem_used();
    cr_assert(parse(&parser, input.data, input.len) == NADB_RESP_READY);
    cr_assert(nadb_mem_used() >= before + 50000 * sizeof(struct nadb_slice));
    cr_assert(parse(&parser, input.data, 0) == NADB_RESP_MORE);
    cr_assert(nadb_mem_used() <= before + 1024);
    close_parser(&parser);
    nadb_buf_fini(&input);
}

Test(resp_reader, announced_lengths_allocate_nothing)
{
    char input[] = "*1048576\r\n$536870912\r\nx";
    struct parser parser;
    open_parser(&parser);
    size_t before = nadb_mem_used();
    cr_assert(parse(&parser, input, sizeof(input) - 1) == NADB_RESP_MORE);
    cr_assert(nadb_mem_used() == before);
    close_parser(&parser);
}

Test(resp_reader, want_is_the_length_that_completes_a_bulk_string)
{
    char input[] = "*2\r\n$3\r\nGET\r\n$1000\r\nabc";
    struct parser parser;
    open_parser(&parser);
    cr_assert(parser.reader.want == 1);
    cr_assert(parse(&parser, input, sizeof(input) - 1) == NADB_RESP_MORE);
    cr_assert(parser.used == 0);
    cr_assert(parser.reader.want == 20 + 1000 + 2);
    close_parser(&parser);
}

Test(resp_reader, want_counts_from_the_partial_command_and_is_1_between_commands)
{
    char input[] = "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI";
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, input, sizeof(input) - 1) == NADB_RESP_MORE);
    cr_assert(parser.used == 14);
    cr_assert(parser.reader.want == 14);
    char rest[] = "*1\r\n$4\r\nPING\r\n";
    cr_assert(parse(&parser, rest, sizeof(rest) - 1) == NADB_RESP_MORE);
    cr_assert(parser.used == 14);
    cr_assert(parser.reader.want == 1);
    close_parser(&parser);
}

Test(resp_reader, reset_forgets_the_partial_command)
{
    char partial[] = "*2\r\n$3\r\nGET\r\n$5";
    char whole[] = "*1\r\n$4\r\nPING\r\n";
    struct parser parser;
    open_parser(&parser);
    cr_assert(parse(&parser, partial, sizeof(partial) - 1) == NADB_RESP_MORE);
    nadb_resp_reader_reset(&parser.reader);
    cr_assert(parser.reader.want == 1);
    cr_assert(parse(&parser, whole, sizeof(whole) - 1) == NADB_RESP_MORE);
    cr_assert(parser.group.count == 1);
    cr_assert(parser.group.cmds[0].argc == 1);
    close_parser(&parser);
}

Test(resp_reader, exhausted_memory_is_an_error_at_every_allocation)
{
    struct nadb_buf input = repeat("*3000\r\n", "$1\r\nx\r\n", 3000);
    struct parser parser;
    enum nadb_resp_status status = NADB_RESP_BAD;
    unsigned long nth = 0;
    while (status == NADB_RESP_BAD) {
        nth++;
        open_parser(&parser);
        nadb_mem_fail_at(nth);
        status = parse(&parser, input.data, input.len);
        nadb_mem_fail_at(0);
        if (status == NADB_RESP_BAD) {
            cr_assert(parser.group.count == 0);
            cr_assert(strstr(parser.reader.error, "not enough memory") != NULL);
        }
        close_parser(&parser);
    }
    cr_assert(status == NADB_RESP_READY);
    cr_assert(nth > 2, "some allocation failed before");
    nadb_buf_fini(&input);
}
