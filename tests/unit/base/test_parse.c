/* This file tests text to numbers and back. */
#include "src/base/parse.h"

#include "src/base/random.h"
#include "tests/support/test.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

NADB_TEST_SUITE(parse);

Test(parse, i64_takes_what_redis_takes)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"1", 1},
        {"-1", -1},
        {"10", 10},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"-9223372036854775807", INT64_MIN + 1},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        int64_t value = 77;
        cr_assert(nadb_parse_i64(nadb_slice_cstr(cases[i].text), &value), "%s", cases[i].text);
        cr_assert_eq(value, cases[i].value, "%s", cases[i].text);
    }
}

Test(parse, i64_refuses_the_rest_and_leaves_the_result_alone)
{
    static const char *const cases[] = {"", "-", "+", "+1", "-0", "00", "01", "-01", " 1", "1 ",
        "1\n", "1a", "a", "0x10", "1.0", "1e3", "--1", "9223372036854775808",
        "-9223372036854775809", "18446744073709551616", "99999999999999999999999999"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        int64_t value = 77;
        cr_assert_not(nadb_parse_i64(nadb_slice_cstr(cases[i]), &value), "'%s'", cases[i]);
        cr_assert_eq(value, 77, "'%s'", cases[i]);
    }
    int64_t value = 77;
    cr_assert_not(nadb_parse_i64(nadb_slice_of("1\0", 2), &value), "a NUL is a byte as any other");
    cr_assert(nadb_parse_i64(nadb_slice_of("123", 2), &value), "the length ends the text");
    cr_assert_eq(value, 12);
}

Test(parse, u64_takes_digits_up_to_its_maximum)
{
    uint64_t value = 77;
    cr_assert(nadb_parse_u64(NADB_SLICE("0"), &value));
    cr_assert_eq(value, 0);
    cr_assert(nadb_parse_u64(NADB_SLICE("18446744073709551615"), &value));
    cr_assert_eq(value, UINT64_MAX);
    static const char *const refused[] = {
        "", "-1", "+1", "00", "18446744073709551616", "18446744073709551620", "1 ", "/", ":"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(refused); i++) {
        value = 77;
        cr_assert_not(nadb_parse_u64(nadb_slice_cstr(refused[i]), &value), "'%s'", refused[i]);
        cr_assert_eq(value, 77);
    }
}

Test(parse, long_double_takes_what_redis_takes)
{
    static const struct {
        const char *text;
        long double value;
    } cases[] = {
        {"0", 0}, {"3.0e3", 3000}, {"-1.5", -1.5L}, {"+2", 2}, {".5", 0.5L}, {"5.", 5},
        {"0x10", 16}, {"1e-3", 0.001L}, {"007", 7}, {"inf", INFINITY}, {"+inf", INFINITY},
        {"-INF", -INFINITY}, {"Infinity", INFINITY},
        {"1e-4940", 1e-4940L}, /* loses digits, but is not 0 */
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        long double value = 77;
        cr_assert(
            nadb_parse_long_double(nadb_slice_cstr(cases[i].text), &value), "%s", cases[i].text);
        cr_assert(value == cases[i].value, "%s", cases[i].text);
    }
}

Test(parse, long_double_refuses_the_rest_and_leaves_the_result_alone)
{
    static const char *const cases[] = {"", " 1", "1 ", "\t1", "1\n", "nan", "-nan", "nan(1)",
        "abc", "1.5x", "1,5", "--1", "1e5000", "-1e5000", "1e-5000", "-1e-5000", ".", "e5", "infx"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        long double value = 77;
        cr_assert_not(nadb_parse_long_double(nadb_slice_cstr(cases[i]), &value), "'%s'", cases[i]);
        cr_assert(value == 77, "'%s'", cases[i]);
    }
    long double value = 77;
    cr_assert_not(nadb_parse_long_double(nadb_slice_of("1\0", 2), &value));
    cr_assert_not(nadb_parse_long_double(nadb_slice_of("1.5\0x", 5), &value));
    cr_assert(value == 77);
}

Test(parse, long_double_is_bounded_in_length)
{
    char text[NADB_LONG_DOUBLE_TEXT_MAX];
    memset(text, '0', sizeof(text));
    long double value = 77;
    cr_assert_not(nadb_parse_long_double(nadb_slice_of(text, sizeof(text)), &value));
    cr_assert(nadb_parse_long_double(nadb_slice_of(text, sizeof(text) - 1), &value));
    cr_assert(value == 0);
}

Test(parse, size_knows_decimal_and_binary_units)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"64", 64},
        {"64b", 64},
        {"1k", 1000},
        {"1kb", 1024},
        {"2M", 2000000},
        {"2mB", 2097152},
        {"1g", 1000000000},
        {"3GB", UINT64_C(3221225472)},
        {"17179869183gb", UINT64_C(17179869183) << 30},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        uint64_t bytes = 77;
        cr_assert(nadb_parse_size(nadb_slice_cstr(cases[i].text), &bytes), "%s", cases[i].text);
        cr_assert_eq(bytes, cases[i].bytes, "%s", cases[i].text);
    }
    static const char *const refused[] = {
        "", "k", "kb", "-1k", "1 kb", "1kbs", "1.5mb", "01k", "1t", "17179869184gb", "1kb "};
    for (size_t i = 0; i < NADB_ARRAY_LEN(refused); i++) {
        uint64_t bytes = 77;
        cr_assert_not(nadb_parse_size(nadb_slice_cstr(refused[i]), &bytes), "'%s'", refused[i]);
        cr_assert_eq(bytes, 77);
    }
}

Test(parse, duration_knows_units_and_takes_a_bare_number_in_the_options_unit)
{
    static const struct {
        const char *text;
        uint64_t unit_ms, ms;
    } cases[] = {
        {"100", 1, 100},
        {"100", 1000, 100000},
        {"100ms", 1000, 100},
        {"1s", 1, 1000},
        {"5M", 1, 300000},
        {"2h", 1, 7200000},
        {"1d", 1000, 86400000},
        {"0", 1000, 0},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        uint64_t ms = 77;
        cr_assert(nadb_parse_duration(nadb_slice_cstr(cases[i].text), cases[i].unit_ms, &ms));
        cr_assert_eq(ms, cases[i].ms, "%s", cases[i].text);
    }
    static const char *const refused[] = {
        "", "s", "-1s", "1 s", "1w", "1.5h", "213503982335d", "18446744073709551615s"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(refused); i++) {
        uint64_t ms = 77;
        cr_assert_not(nadb_parse_duration(nadb_slice_cstr(refused[i]), 1, &ms), "'%s'", refused[i]);
        cr_assert_eq(ms, 77);
    }
    uint64_t ms = 77;
    cr_assert_not(nadb_parse_duration(NADB_SLICE("18446744073709551615"), 1000, &ms));
}

Test(parse, bool_is_yes_or_no)
{
    bool value = false;
    cr_assert(nadb_parse_bool(NADB_SLICE("yes"), &value) && value);
    cr_assert(nadb_parse_bool(NADB_SLICE("No"), &value) && !value);
    cr_assert(nadb_parse_bool(NADB_SLICE("YES"), &value) && value);
    static const char *const refused[] = {"", "y", "n", "true", "1", "on", "yes ", "noo"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(refused); i++) {
        cr_assert_not(nadb_parse_bool(nadb_slice_cstr(refused[i]), &value), "'%s'", refused[i]);
        cr_assert(value);
    }
}

static void check_i64_round_trip(int64_t value)
{
    char expected[32], got[NADB_I64_TEXT_MAX];
    size_t len = (size_t)snprintf(expected, sizeof(expected), "%" PRId64, value);
    cr_assert_eq(nadb_format_i64(got, value), len);
    cr_assert_eq(memcmp(got, expected, len), 0, "%s", expected);
    int64_t back;
    cr_assert(nadb_parse_i64(nadb_slice_of(got, len), &back));
    cr_assert_eq(back, value);
}

Test(parse, integers_of_every_length_survive_a_round_trip)
{
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 3);
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t bits = nadb_rng_next(&rng) >> i % 64;
        check_i64_round_trip((int64_t)bits);
        check_i64_round_trip(-(int64_t)(bits >> 1));
    }
    for (int64_t power = 1; power <= INT64_MAX / 10; power *= 10) {
        check_i64_round_trip(power - 1);
        check_i64_round_trip(power);
        check_i64_round_trip(-power);
    }
    check_i64_round_trip(INT64_MAX);
    check_i64_round_trip(INT64_MIN);
    char out[NADB_I64_TEXT_MAX];
    cr_assert_eq(nadb_format_u64(out, UINT64_MAX), 20);
    cr_assert_eq(memcmp(out, "18446744073709551615", 20), 0);
}

Test(parse, long_double_is_written_as_redis_stores_it)
{
    static const struct {
        long double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0L, "0"},
        {-1e-30L, "0"},
        {10.5L, "10.5"},
        {10.6L, "10.6"},
        {5000, "5000"},
        {100, "100"},
        {-3.25L, "-3.25"},
        {0.1L, "0.1"},
        {3.3L, "3.3"},
        {1e20L, "100000000000000000000"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        char out[NADB_LONG_DOUBLE_TEXT_MAX];
        size_t len = nadb_format_long_double(out, cases[i].value);
        struct nadb_slice got = nadb_slice_of(out, len);
        cr_assert(nadb_slice_eq(got, nadb_slice_cstr(cases[i].text)), "'%.*s' is not '%s'",
            (int)len, out, cases[i].text);
    }
}

Test(parse, the_longest_long_double_fits_and_comes_back)
{
    char out[NADB_LONG_DOUBLE_TEXT_MAX];
    size_t len = nadb_format_long_double(out, -LDBL_MAX);
    cr_assert_eq(len, 4934); /* the sign and 4933 digits */
    long double back;
    cr_assert(nadb_parse_long_double(nadb_slice_of(out, len), &back));
    cr_assert(back == -LDBL_MAX);
}

Test(parse, human_sizes_look_as_in_info)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0B"},
        {1023, "1023B"},
        {1024, "1.00K"},
        {1536, "1.50K"},
        {12939427, "12.34M"},
        {UINT64_C(1) << 30, "1.00G"},
        {UINT64_C(5) << 40, "5.00T"},
        {UINT64_C(5) << 50, "5.00P"},
        {UINT64_MAX, "16.00E"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        char out[16];
        nadb_format_human(out, sizeof(out), cases[i].bytes);
        cr_assert_str_eq(out, cases[i].text);
    }
    char tight[4];
    nadb_format_human(tight, sizeof(tight), 12939427);
    cr_assert_str_eq(tight, "12.", "cut and terminated");
}

Test(parse, hexadecimal_digits_have_their_value_and_nothing_else_has_one)
{
    for (int c = -128; c < 128; c++) {
        const char *digits = "0123456789abcdef";
        int lower = c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c;
        const char *at = c == 0 ? NULL : strchr(digits, lower);
        cr_assert_eq(nadb_hex_digit((char)c), at == NULL ? -1 : (int)(at - digits));
    }
}

Test(parse, escapes_are_those_of_redis_and_other_characters_stand_for_themselves)
{
    const char *from = "nrtbax\\\"";
    const char *to = "\n\r\t\b\ax\\\"";
    for (size_t i = 0; from[i] != '\0'; i++) {
        cr_assert_eq(nadb_escaped_char(from[i]), to[i]);
    }
}
