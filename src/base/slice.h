/* Borrowed bytes: a pointer and a length, never NUL-terminated, never owned. */
#ifndef NADB_BASE_SLICE_H
#define NADB_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct nadb_slice {
    const char *data; /* may be NULL when len is 0 */
    size_t len;
};

/* A slice over a string literal. */
#define NADB_SLICE(literal) ((struct nadb_slice){.data = "" literal, .len = sizeof(literal) - 1})

static inline struct nadb_slice nadb_slice_of(const char *data, size_t len)
{
    return (struct nadb_slice){.data = data, .len = len};
}

static inline struct nadb_slice nadb_slice_cstr(const char *text)
{
    return (struct nadb_slice){.data = text, .len = strlen(text)};
}

static inline bool nadb_slice_eq(struct nadb_slice a, struct nadb_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Copies the bytes to *at, which moves behind them. */
static inline struct nadb_slice nadb_slice_copy_to(char **at, struct nadb_slice bytes)
{
    struct nadb_slice copy = nadb_slice_of(*at, bytes.len);
    if (bytes.len > 0) {
        memcpy(*at, bytes.data, bytes.len);
    }
    *at += bytes.len;
    return copy;
}

/* Equal but for ASCII case; independent of the locale. */
bool nadb_slice_eq_nocase(struct nadb_slice a, struct nadb_slice b);

/* Order of unsigned bytes, then length; <0, 0, >0 as memcmp. */
int nadb_slice_cmp(struct nadb_slice a, struct nadb_slice b);

#endif
