/* This file turns text into numbers and numbers into text. */
#include "src/base/parse.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool nadb_parse_u64(struct nadb_slice text, uint64_t *ret)
{
    if (text.len == 0 || (text.data[0] == '0' && text.len > 1)) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.data[i])) {
            return false;
        }
        unsigned digit = (unsigned)(text.data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

bool nadb_parse_i64(struct nadb_slice text, int64_t *ret)
{
    bool is_negative = text.len > 0 && text.data[0] == '-';
    uint64_t magnitude;
    if (is_negative) {
        text = nadb_slice_of(text.data + 1, text.len - 1);
    }
    if (!nadb_parse_u64(text, &magnitude)) {
        return false;
    }
    if (!is_negative) {
        if (magnitude > INT64_MAX) {
            return false;
        }
        *ret = (int64_t)magnitude;
        return true;
    }
    if (magnitude == 0 || magnitude > (uint64_t)INT64_MAX + 1) {
        return false;
    }
    *ret = -(int64_t)(magnitude - 1) - 1; /* INT64_MIN has no positive twin to negate */
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool nadb_parse_long_double(struct nadb_slice text, long double *ret)
{
    char copy[NADB_LONG_DOUBLE_TEXT_MAX];
    if (text.len == 0 || text.len >= sizeof(copy) || is_blank(text.data[0])) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    char *end;
    errno = 0;
    long double value = strtold(copy, &end);
    if (end != copy + text.len || isnan(value) || errno == EINVAL) {
        return false;
    }
    /* A number near the smallest that only lost digits is kept, as Redis keeps it. */
    if (errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO)) {
        return false;
    }
    *ret = value;
    return true;
}

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* Parses digits followed by one of the suffixes; the empty suffix is a unit as any other. */
static bool parse_with_unit(
    struct nadb_slice text, const struct unit *units, size_t unit_count, uint64_t *ret)
{
    size_t digits = 0;
    while (digits < text.len && is_digit(text.data[digits])) {
        digits++;
    }
    uint64_t number;
    if (!nadb_parse_u64(nadb_slice_of(text.data, digits), &number)) {
        return false;
    }
    struct nadb_slice suffix = nadb_slice_of(text.data + digits, text.len - digits);
    for (size_t i = 0; i < unit_count; i++) {
        if (nadb_slice_eq_nocase(suffix, nadb_slice_cstr(units[i].suffix))) {
            if (__builtin_mul_overflow(number, units[i].factor, &number)) {
                return false;
            }
            *ret = number;
            return true;
        }
    }
    return false;
}

bool nadb_parse_size(struct nadb_slice text, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        {"", 1},
        {"b", 1},
        {"k", 1000},
        {"kb", 1024},
        {"m", 1000 * 1000},
        {"mb", 1024 * 1024},
        {"g", 1000 * 1000 * 1000},
        {"gb", 1024 * 1024 * 1024},
    };
    return parse_with_unit(text, units, NADB_ARRAY_LEN(units), ret_bytes);
}

bool nadb_parse_duration(struct nadb_slice text, uint64_t unit_ms, uint64_t *ret_ms)
{
    const struct unit units[] = {
        {"", unit_ms},
        {"ms", 1},
        {"s", 1000},
        {"m", 60 * 1000},
        {"h", 60 * 60 * 1000},
        {"d", 24 * 60 * 60 * 1000},
    };
    return parse_with_unit(text, units, NADB_ARRAY_LEN(units), ret_ms);
}

bool nadb_parse_bool(struct nadb_slice text, bool *ret)
{
    bool is_yes = nadb_slice_eq_nocase(text, NADB_SLICE("yes"));
    if (!is_yes && !nadb_slice_eq_nocase(text, NADB_SLICE("no"))) {
        return false;
    }
    *ret = is_yes;
    return true;
}

int nadb_hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char nadb_escaped_char(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

size_t nadb_format_u64(char *out, uint64_t value)
{
    static const char pairs[] = "00010203040506070809"
                                "10111213141516171819"
                                "20212223242526272829"
                                "30313233343536373839"
                                "40414243444546474849"
                                "50515253545556575859"
                                "60616263646566676869"
                                "70717273747576777879"
                                "80818283848586878889"
                                "90919293949596979899";
    char digits[NADB_I64_TEXT_MAX];
    size_t at = sizeof(digits);
    while (value >= 100) {
        at -= 2;
        memcpy(digits + at, pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + value * 2, 2);
    } else {
        digits[--at] = (char)('0' + value);
    }
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

size_t nadb_format_i64(char *out, int64_t value)
{
    if (value >= 0) {
        return nadb_format_u64(out, (uint64_t)value);
    }
    out[0] = '-';
    return 1 + nadb_format_u64(out + 1, 0 - (uint64_t)value);
}

size_t nadb_format_long_double(char *out, long double value)
{
    if (isinf(value)) {
        struct nadb_slice text = value > 0 ? NADB_SLICE("inf") : NADB_SLICE("-inf");
        memcpy(out, text.data, text.len);
        return text.len;
    }
    /* 17 digits and not more: enough for a double, and 0.1 does not show its tail. The longest
     * number has 4933 digits before the point, so nothing is ever cut. */
    size_t len = (size_t)snprintf(out, NADB_LONG_DOUBLE_TEXT_MAX, "%.17Lf", value);
    if (memchr(out, '.', len) != NULL) {
        while (out[len - 1] == '0') {
            len--;
        }
        len -= out[len - 1] == '.';
    }
    if (len == 2 && memcmp(out, "-0", 2) == 0) {
        out[0] = '0';
        len = 1;
    }
    return len;
}

void nadb_format_human(char *out, size_t out_cap, uint64_t bytes)
{
    if (bytes < 1024) {
        snprintf(out, out_cap, "%uB", (unsigned)bytes);
        return;
    }
    static const char units[] = "KMGTPE";
    double amount = (double)bytes / 1024;
    size_t unit = 0;
    for (; amount >= 1024 && unit + 2 < sizeof(units); unit++) {
        amount /= 1024;
    }
    snprintf(out, out_cap, "%.2f%c", amount, units[unit]);
}
