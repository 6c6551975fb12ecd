/* One key's record in memory.
 *
 * A million small records are most of the server's memory, so the layout is tight: 32 bytes of
 * header, the parts that only some records have, then key and value, in one allocation. With a
 * 16-byte key and a 64-byte value that is 112 bytes, a size class of the allocator.
 *
 *     offset  size  field
 *          0     8  version (48 bits), low 16 bits of the key's length
 *          8     8  created_ms (42 bits), low half of the place (22 bits)
 *         16     8  updated_ms (42 bits), high half of the place (22 bits)
 *         24     8  value length (30 bits), accessed_s (25 bits), bit 16 of the key's length, flags
 *         32    24  NADB_REC_HAS_TTL: struct nadb_rec_ttl
 *          .    16  NADB_REC_HAS_TAGS: struct nadb_rec_tags
 *          .     8  NADB_REC_HAS_BLOB: struct nadb_blob * with the value
 *          .     .  key
 *          .     .  value, unless in a blob or cold
 *
 * The place is, while NADB_REC_IS_DIRTY, the record's index in the write buffer, and otherwise its
 * location in the backend. Accessed times are kept in seconds modulo 2^25 (a year and 23 days):
 * exact as long as the record was read or written within that time.
 *
 * Invariants:
 *   1. A dirty record whose version is not above that of the flush in flight is frozen: a worker
 *      reads it, nobody writes to it. A change makes a new one; the old one lives until the flush
 *      has ended. Nothing in the record says so, so that freezing a buffer costs nothing.
 *   2. HAS_DISK says that the backend holds, or may be about to hold, some version of the key, so
 *      that its removal must be written too.
 *
 * Thread: loop; a worker may read a frozen record. */
#ifndef NADB_STORE_RECORD_H
#define NADB_STORE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "src/base/assert.h"
#include "src/base/slice.h"

/* The last bytes of a usual record: it lies across three cache lines as often as across two. */
#define NADB_REC_USUAL_LAST 104u

enum nadb_rec_flag {
    NADB_REC_HAS_TTL = 1 << 0,
    NADB_REC_HAS_TAGS = 1 << 1,
    NADB_REC_HAS_BLOB = 1 << 2,
    NADB_REC_HAS_DISK = 1 << 3,
    NADB_REC_IS_DIRTY = 1 << 4,    /* in the write buffer or in the flush in flight */
    NADB_REC_IS_COLD = 1 << 5,     /* the value is in the backend only; see cold.c */
    NADB_REC_IS_FETCHING = 1 << 6, /* ... and is being read */
    NADB_REC_IS_FETCHED = 1 << 7,  /* it has been read for somebody who has not seen it yet */
};

#define NADB_REC_VERSION_BITS  48
#define NADB_REC_ACCESSED_BITS 25

/* Longer values live in a blob of their own, so that they grow in place and are never copied when
 * only the rest of the record changes. */
#define NADB_REC_INLINE_MAX 2048u

struct nadb_rec {
    uint64_t version : 48;
    uint64_t key_len_low : 16;
    uint64_t created_ms : 42;
    uint64_t place_low : 22;
    uint64_t updated_ms : 42;
    uint64_t place_high : 22;
    uint64_t value_len : 30;
    uint64_t accessed_s : 25;
    uint64_t key_len_high : 1;
    uint64_t flags : 8;
};

_Static_assert(sizeof(struct nadb_rec) == 32, "four words");
_Static_assert(NADB_LOC_BITS == 22 + 22, "a location fills both halves of the place");

/* Links into the timing wheel; `pprev` is NULL while the record is in no slot. */
struct nadb_rec_ttl {
    uint64_t expire_ms : 48;
    uint64_t keyspace : 16; /* number of the space that the record is or was in */
    struct nadb_rec *next;
    struct nadb_rec **pprev;
};

_Static_assert(sizeof(struct nadb_rec_ttl) == 24, "three words");

/* The packed tags, and the record's number in the tag index while it is linked in. */
struct nadb_rec_tags {
    struct nadb_blob *blob;
    uint32_t id;
    uint32_t unused;
};

_Static_assert(sizeof(struct nadb_rec_tags) == 16, "two words");

/* Counted bytes, shared by a record, its successor and a flush. */
struct nadb_blob {
    uint32_t refs;
    uint32_t len; /* tags: bytes used; values keep theirs in the record */
    uint64_t cap;
    char data[];
};

static inline size_t nadb_rec_key_len(const struct nadb_rec *rec)
{
    return (size_t)rec->key_len_low | (size_t)rec->key_len_high << 16;
}

static inline struct nadb_rec_ttl *nadb_rec_ttl_part(const struct nadb_rec *rec)
{
    return (struct nadb_rec_ttl *)(uintptr_t)(rec + 1);
}

static inline size_t nadb_rec_tags_offset(const struct nadb_rec *rec)
{
    return sizeof(*rec) + ((rec->flags & NADB_REC_HAS_TTL) ? sizeof(struct nadb_rec_ttl) : 0);
}

static inline size_t nadb_rec_blob_offset(const struct nadb_rec *rec)
{
    return nadb_rec_tags_offset(rec) +
           ((rec->flags & NADB_REC_HAS_TAGS) ? sizeof(struct nadb_rec_tags) : 0);
}

static inline size_t nadb_rec_key_offset(const struct nadb_rec *rec)
{
    return nadb_rec_blob_offset(rec) + ((rec->flags & NADB_REC_HAS_BLOB) ? sizeof(void *) : 0);
}

static inline struct nadb_rec_tags *nadb_rec_tags_part(const struct nadb_rec *rec)
{
    return (struct nadb_rec_tags *)((uintptr_t)rec + nadb_rec_tags_offset(rec));
}

static inline struct nadb_blob **nadb_rec_blob_part(const struct nadb_rec *rec)
{
    return (struct nadb_blob **)((uintptr_t)rec + nadb_rec_blob_offset(rec));
}

/* The key; borrowed from the record. */
static inline struct nadb_slice nadb_rec_key(const struct nadb_rec *rec)
{
    return nadb_slice_of((const char *)rec + nadb_rec_key_offset(rec), nadb_rec_key_len(rec));
}

static inline bool nadb_rec_is_cold(const struct nadb_rec *rec)
{
    return NADB_UNLIKELY(rec->flags & NADB_REC_IS_COLD);
}

/* The value, which must not be cold; borrowed from the record, until the next call that changes
 * the store. */
static inline struct nadb_slice nadb_rec_value(const struct nadb_rec *rec)
{
    NADB_ASSERT(!nadb_rec_is_cold(rec));
    if (rec->flags & NADB_REC_HAS_BLOB) {
        return nadb_slice_of((*nadb_rec_blob_part(rec))->data, rec->value_len);
    }
    return nadb_slice_of(
        (const char *)rec + nadb_rec_key_offset(rec) + nadb_rec_key_len(rec), rec->value_len);
}

/* The tags, packed as in struct nadb_entry; empty when untagged. */
static inline struct nadb_slice nadb_rec_tags(const struct nadb_rec *rec)
{
    if (!(rec->flags & NADB_REC_HAS_TAGS)) {
        return nadb_slice_of(NULL, 0);
    }
    const struct nadb_blob *tags = nadb_rec_tags_part(rec)->blob;
    return nadb_slice_of(tags->data, tags->len);
}

/* Unix time in ms at which the key is gone; 0 = never. */
static inline uint64_t nadb_rec_expire_ms(const struct nadb_rec *rec)
{
    return (rec->flags & NADB_REC_HAS_TTL) ? nadb_rec_ttl_part(rec)->expire_ms : 0;
}

static inline uint64_t nadb_rec_place(const struct nadb_rec *rec)
{
    return (uint64_t)rec->place_low | (uint64_t)rec->place_high << 22;
}

static inline void nadb_rec_set_place(struct nadb_rec *rec, uint64_t place)
{
    rec->place_low = place & 0x3fffff;
    rec->place_high = (place >> 22) & 0x3fffff;
}

/* When the record was last read or written, Unix seconds, given the time now. */
static inline uint64_t nadb_rec_accessed_s(const struct nadb_rec *rec, uint64_t now_s)
{
    uint64_t period = (uint64_t)1 << NADB_REC_ACCESSED_BITS;
    uint64_t age = (now_s - rec->accessed_s) & (period - 1);
    uint64_t accessed_s = age < now_s ? now_s - age : now_s;
    uint64_t updated_s = rec->updated_ms / 1000;
    return accessed_s < updated_s ? updated_s : accessed_s;
}

/* What a new record is made of. */
struct nadb_rec_parts {
    struct nadb_slice key;
    size_t value_len;
    struct nadb_blob *blob; /* taken; NULL: the value is inline */
    struct nadb_blob *tags; /* taken; NULL: untagged */
    bool is_cold;           /* no room for the value */
    uint64_t expire_ms;     /* 0: no TTL part */
    uint16_t keyspace;      /* of the TTL part */
};

/* Allocations are multiples of this, so that a value may change its length a little in place. */
#define NADB_REC_SIZE_ROUND 16u

static inline size_t nadb_rec_rounded(size_t size)
{
    return (size + NADB_REC_SIZE_ROUND - 1) & ~(size_t)(NADB_REC_SIZE_ROUND - 1);
}

/* The header's times and version, the place and an inline value are the caller's to fill. */
struct nadb_rec *nadb_rec_new(const struct nadb_rec_parts *parts);
void nadb_rec_free(struct nadb_rec *rec);

/* One reference, `cap` bytes uninitialised; NULL when memory is exhausted. */
struct nadb_blob *nadb_blob_new(size_t cap);
void nadb_blob_unref(struct nadb_blob *blob);

/* Bytes of the record's own allocation as its layout needs them, blobs not counted. */
static inline size_t nadb_rec_size(const struct nadb_rec *rec)
{
    return nadb_rec_key_offset(rec) + nadb_rec_key_len(rec) +
           ((rec->flags & (NADB_REC_HAS_BLOB | NADB_REC_IS_COLD)) ? 0 : (size_t)rec->value_len);
}

#endif
