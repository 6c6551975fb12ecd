/* Packed tags: each tag as u16 length (little-endian) and bytes, one behind the other, as records
 * and the log have them. Everything here trusts its input: what comes from a wire or a disk has
 * been checked before. Thread: any. */
#ifndef NADB_STORE_PACKED_H
#define NADB_STORE_PACKED_H

#include "src/base/buf.h"
#include "src/base/codec.h"

/* The tag at *at (0 at first), which moves behind it; false at the end. */
static inline bool nadb_packed_next(struct nadb_slice packed, size_t *at, struct nadb_slice *ret)
{
    if (*at >= packed.len) {
        return false;
    }
    size_t len = nadb_get_u16(packed.data + *at);
    *ret = nadb_slice_of(packed.data + *at + sizeof(uint16_t), len);
    *at += sizeof(uint16_t) + len;
    return true;
}

static inline bool nadb_packed_has(struct nadb_slice packed, struct nadb_slice tag)
{
    struct nadb_slice other;
    for (size_t at = 0; nadb_packed_next(packed, &at, &other);) {
        if (other.len == tag.len && memcmp(other.data, tag.data, tag.len) == 0) {
            return true;
        }
    }
    return false;
}

static inline size_t nadb_packed_count(struct nadb_slice packed)
{
    size_t count = 0;
    struct nadb_slice tag;
    for (size_t at = 0; nadb_packed_next(packed, &at, &tag);) {
        count++;
    }
    return count;
}

/* False, with `packed` as it was, when there is no room. */
NADB_MUST_CHECK static inline bool nadb_packed_add(struct nadb_buf *packed, struct nadb_slice tag)
{
    char len[sizeof(uint16_t)];
    nadb_put_u16(len, (uint16_t)tag.len);
    return nadb_buf_reserve(packed, sizeof(len) + tag.len) &&
           nadb_buf_append(packed, len, sizeof(len)) && nadb_buf_append(packed, tag.data, tag.len);
}

#endif
