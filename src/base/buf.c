/* This file grows, fills and empties owned byte buffers. */
#include "src/base/buf.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

#include <string.h>

/* The first allocation, so that a buffer filled byte by byte does not start at one byte. */
#define BUF_CAP_FIRST 64

void nadb_buf_init(struct nadb_buf *buf, size_t cap_max)
{
    *buf = (struct nadb_buf){.cap_max = cap_max};
}

void nadb_buf_fini(struct nadb_buf *buf)
{
    nadb_mem_free(buf->data);
    nadb_buf_init(buf, buf->cap_max);
}

bool nadb_buf_grow(struct nadb_buf *buf, size_t extra)
{
    NADB_ASSERT(buf->len <= buf->cap && buf->cap <= buf->cap_max);
    if (extra > buf->cap_max - buf->len) {
        return false;
    }
    size_t needed = buf->len + extra;
    if (needed <= buf->cap) {
        return true;
    }
    size_t cap = buf->cap > buf->cap_max / 2 ? buf->cap_max : buf->cap * 2;
    cap = cap > BUF_CAP_FIRST ? cap : BUF_CAP_FIRST;
    cap = cap > needed ? cap : needed;
    cap = cap < buf->cap_max ? cap : buf->cap_max;
    char *data = nadb_mem_try_realloc(buf->data, cap);
    if (data == NULL) {
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

bool nadb_buf_append(struct nadb_buf *buf, const void *data, size_t len)
{
    if (len == 0) {
        return true; /* memcpy to or from NULL is undefined even for no bytes */
    }
    if (!nadb_buf_reserve(buf, len)) {
        return false;
    }
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    return true;
}

void nadb_buf_consume(struct nadb_buf *buf, size_t count)
{
    NADB_ASSERT(count <= buf->len);
    if (count == 0) {
        return;
    }
    buf->len -= count;
    memmove(buf->data, buf->data + count, buf->len);
}

void nadb_buf_shrink_empty(struct nadb_buf *buf, size_t cap_keep)
{
    if (buf->len == 0 && buf->cap > cap_keep) {
        nadb_buf_fini(buf);
    }
}
