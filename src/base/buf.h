/* Owned, growable bytes with a named maximum. Grows by doubling, never beyond cap_max.
 * Thread: whoever owns the buffer. */
#ifndef NADB_BASE_BUF_H
#define NADB_BASE_BUF_H

#include <stdbool.h>

#include "src/base/compiler.h"
#include "src/base/slice.h"

struct nadb_buf {
    char *data;
    size_t len;     /* bytes used */
    size_t cap;     /* bytes allocated */
    size_t cap_max; /* reserve beyond this is refused */
};

void nadb_buf_init(struct nadb_buf *buf, size_t cap_max); /* allocates nothing */
void nadb_buf_fini(struct nadb_buf *buf);                 /* frees; the struct is as after init */

/* Slow path of nadb_buf_reserve. */
NADB_MUST_CHECK bool nadb_buf_grow(struct nadb_buf *buf, size_t extra);

/* Room for `extra` more bytes after len; false (buffer unchanged) when that passes cap_max or
 * memory is exhausted. */
NADB_MUST_CHECK static inline bool nadb_buf_reserve(struct nadb_buf *buf, size_t extra)
{
    return NADB_LIKELY(buf->cap - buf->len >= extra) || nadb_buf_grow(buf, extra);
}

/* Appends; false and unchanged when there is no room. */
NADB_MUST_CHECK bool nadb_buf_append(struct nadb_buf *buf, const void *data, size_t len);

/* Removes the first `count` bytes (count <= len) by moving the rest down. */
void nadb_buf_consume(struct nadb_buf *buf, size_t count);

/* Frees capacity above `cap_keep` when the buffer is empty; otherwise does nothing. */
void nadb_buf_shrink_empty(struct nadb_buf *buf, size_t cap_keep);

static inline struct nadb_slice nadb_buf_slice(const struct nadb_buf *buf)
{
    return nadb_slice_of(buf->data, buf->len);
}

#endif
