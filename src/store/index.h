/* The map from key to record: extendible hashing over small segments.
 *
 *     hash   | directory bits |      16 bits: the tag       | ...           |
 *            '-- picks a segment       '-- picks a slot in it
 *
 * The directory's top bits of the hash choose a segment; a segment is an open-addressing table of
 * 8-byte slots: 48 bits of pointer and a 16-bit tag, the hash bits that follow the segment's own
 * depth. Slots are kept sorted by tag (linear probing from `tag * homes / 2^16`), so a lookup
 * stops at the first greater tag, hit or miss, and removal shifts back without touching a record.
 * A full segment grows through sizes that the allocator has, then splits in two by one more bit of
 * the hash; only then are its keys hashed again. No operation ever touches more than one segment,
 * so there is no pause when the map grows.
 *
 * Because segments and slots are in the order of the hash, a position in the map is a hash value.
 * That makes SCAN's cursor stateless and its guarantee exact, whatever grows, splits or shrinks in
 * between.
 *
 * Invariants:
 *   1. In a segment, tags do not decrease from slot to slot (gaps aside), no element is before its
 *      home, and between its home and itself there is no gap.
 *   2. The last slot of a segment is empty: every probe ends.
 *   3. A directory entry holds the segment's address, depth and size, so that the home of a key is
 *      known, and can be prefetched, without touching the segment.
 *
 * Thread: loop. */
#ifndef NADB_STORE_INDEX_H
#define NADB_STORE_INDEX_H

#include "src/base/hash.h"
#include "src/store/record.h"

#define NADB_INDEX_DEPTH_MAX 40u /* beyond 10^15 keys */
#define NADB_INDEX_CLASSES   9u

struct nadb_index {
    uint64_t *dir; /* 2^dir_bits entries: address | depth << 48 | class << 54; NULL while empty */
    unsigned dir_bits;
    uint64_t count;
    uint64_t bytes;                       /* directory and segments */
    const struct nadb_hash_key *hash_key; /* borrowed */
};

/* A place in the map: valid until the next insert, remove or fini. */
typedef uint64_t *nadb_index_slot;

void nadb_index_init(struct nadb_index *index, const struct nadb_hash_key *hash_key);
void nadb_index_fini(struct nadb_index *index); /* frees the map, not the records */

/* Parts an empty map as if `count` keys were in it, so that loading them splits nothing. Costs
 * about half a byte for each that does not come. */
void nadb_index_reserve(struct nadb_index *index, uint64_t count);

/* NULL when there is no such key. */
nadb_index_slot nadb_index_find(
    const struct nadb_index *index, struct nadb_slice key, uint64_t hash);

/* The record with this version among those whose keys have this hash, NULL when there is none. */
struct nadb_rec *nadb_index_find_version(
    const struct nadb_index *index, uint64_t hash, uint64_t version);

/* `rec`'s key must not be in the map. */
void nadb_index_insert(struct nadb_index *index, struct nadb_rec *rec, uint64_t hash);
void nadb_index_remove(struct nadb_index *index, nadb_index_slot slot, uint64_t hash);

static inline struct nadb_rec *nadb_index_rec(nadb_index_slot slot)
{
    return (struct nadb_rec *)(uintptr_t)(*slot & 0xffffffffffff);
}

/* Another record of the same key takes the slot. */
static inline void nadb_index_replace(nadb_index_slot slot, struct nadb_rec *rec)
{
    *slot = (*slot & ~(uint64_t)0xffffffffffff) | (uint64_t)(uintptr_t)rec;
}

void nadb_index_prefetch_slot(const struct nadb_index *index, uint64_t hash);
void nadb_index_prefetch_rec(const struct nadb_index *index, uint64_t hash);

/* Calls `visit` for records in the order of their hashes, from position `at` on: for about `max`
 * of them, or fewer, or none in a stretch that is nearly empty. Returns the position to go on
 * from; 0 = that was all. `visit` must not change the map. Records with equal leading hash bits are
 * never parted, so nothing is left out. */
typedef void nadb_index_visit_fn(void *ctx, struct nadb_rec *rec);
uint64_t nadb_index_visit(
    const struct nadb_index *index, uint64_t at, size_t max, nadb_index_visit_fn *visit, void *ctx);

/* The first record at or after position `at`, from the front again at the end; NULL if empty. */
struct nadb_rec *nadb_index_at(const struct nadb_index *index, uint64_t at);

/* Frees the segment that follows `*cursor` (0 at first) after handing its records to `visit`;
 * false when none is left, and then the map is empty. In between it can only be drained. */
bool nadb_index_drain(
    struct nadb_index *index, size_t *cursor, nadb_index_visit_fn *visit, void *ctx);

/* For tests: are the invariants kept? */
bool nadb_index__check(const struct nadb_index *index, const char **ret_reason);

#endif
