/* zlib's deflate over whole values (the zlib format, RFC 1950). This is the only door to zlib.
 * Thread: a compressor is used by one thread at a time; nadb_decompress by any. */
#ifndef NADB_BASE_COMPRESS_H
#define NADB_BASE_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/slice.h"

#define NADB_COMPRESS_LEVEL_MIN 1
#define NADB_COMPRESS_LEVEL_MAX 9

/* No input expands to more than this many times its length and a little (RFC 1951: a match of 258
 * bytes takes 2 bits at least). */
#define NADB_COMPRESS_RATIO_MAX 1032u

/* The state of a stream, kept from one value to the next. All zero: new. */
struct nadb_compressor {
    void *stream; /* owned; NULL: none yet */
    int level;
};

void nadb_compressor_fini(struct nadb_compressor *compressor); /* again: no harm */

/* Compresses `in` into `out`. Returns the length, or 0 when it does not fit `cap` or there is no
 * memory: the value stays as it is then. */
size_t nadb_compress(
    struct nadb_compressor *compressor, int level, struct nadb_slice in, char *out, size_t cap);

/* Expands `in` to exactly `len` bytes of `out`; false, and `out` is garbage, when `in` is anything
 * else than that. */
bool nadb_decompress(struct nadb_slice in, char *out, size_t len);

#endif
