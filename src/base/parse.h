/* The only code that turns text into numbers, and numbers into text. All of it is strict: no
 * leading or trailing blanks, no sign but '-', no leading zeros, no overflow; false leaves *ret
 * untouched. Independent of the locale. Thread: any. */
#ifndef NADB_BASE_PARSE_H
#define NADB_BASE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/compiler.h"
#include "src/base/slice.h"

/* Decimal integers exactly as Redis accepts them for INCR and for option values. */
NADB_MUST_CHECK bool nadb_parse_i64(struct nadb_slice text, int64_t *ret);
NADB_MUST_CHECK bool nadb_parse_u64(struct nadb_slice text, uint64_t *ret);

/* A finite or infinite (`inf`, `+inf`, `-inf`, `infinity`) number as Redis accepts it for
 * INCRBYFLOAT: what strtold takes, so here a '+', leading zeros and hexadecimal pass too. NaN,
 * and what overflows or vanishes, is refused. */
NADB_MUST_CHECK bool nadb_parse_long_double(struct nadb_slice text, long double *ret);

/* `64`, `64b`, `1k` (1000), `1kb` (1024), `1m`, `1mb`, `1g`, `1gb`, any case, in bytes. */
NADB_MUST_CHECK bool nadb_parse_size(struct nadb_slice text, uint64_t *ret_bytes);

/* `100ms`, `1s`, `5m`, `2h`, `1d`; a bare number counts in `unit_ms` (1 for ms, 1000 for s). */
NADB_MUST_CHECK bool nadb_parse_duration(
    struct nadb_slice text, uint64_t unit_ms, uint64_t *ret_ms);

/* `yes` and `no`, any case. */
NADB_MUST_CHECK bool nadb_parse_bool(struct nadb_slice text, bool *ret);

/* The value of a hexadecimal digit, -1 for anything else. */
int nadb_hex_digit(char c);

/* What `\c` stands for in a quoted string of Redis's: \n \r \t \b \a, else c itself. */
char nadb_escaped_char(char c);

#define NADB_I64_TEXT_MAX         21
#define NADB_LONG_DOUBLE_TEXT_MAX 5120

/* Writes decimal digits without a NUL; returns how many (at most NADB_I64_TEXT_MAX). */
size_t nadb_format_i64(char *out, int64_t value);
size_t nadb_format_u64(char *out, uint64_t value);

/* The text INCRBYFLOAT stores: fixed notation, 17 digits after the point, trailing zeros cut.
 * `out` has NADB_LONG_DOUBLE_TEXT_MAX bytes; no NUL; returns the length. */
size_t nadb_format_long_double(char *out, long double value);

/* Human sizes as INFO prints them: `1.00K`, `12.34M`; NUL-terminated. */
void nadb_format_human(char *out, size_t out_cap, uint64_t bytes);

#endif
