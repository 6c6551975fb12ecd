/* This file keeps the map from keys to records; see index.h for its shape and invariants. */
#include "src/store/index.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

struct segment {
    uint32_t count;
    uint8_t depth;
    uint8_t size_class;
    uint16_t unused_16;
    uint64_t unused_64; /* slots start at a multiple of 16 */
    uint64_t slots[];
};

/* Sizes that allocators have, in bytes. A record's home is among the first `homes`; the slots after
 * those take what is displaced at the end, and the last one stays empty. */
#define SLOTS(bytes) (((bytes) - sizeof(struct segment)) / sizeof(uint64_t))
static const struct {
    uint16_t bytes, slots, homes, count_max;
} classes[NADB_INDEX_CLASSES] = {
#define CLASS(bytes, slack)                                                                        \
    {                                                                                              \
        bytes, SLOTS(bytes), SLOTS(bytes) - (slack), SLOTS(bytes) * 9 / 10                         \
    }
    CLASS(512, 16),
    CLASS(1024, 24),
    CLASS(2048, 32),
    CLASS(4096, 48),
    CLASS(8192, 64),
    CLASS(10240, 64),
    CLASS(12288, 64),
    CLASS(14336, 64),
    CLASS(16384, 64),
};
#undef CLASS

#define ADDRESS_BITS   48u
#define ADDRESS_MASK   (((uint64_t)1 << ADDRESS_BITS) - 1)
#define CLASS_SHIFT    54u
#define DEPTH_MASK     63u
#define SHRINK_DIVISOR 8u /* a segment this sparse moves to a smaller size */
#define SPLIT_PREFETCH 8u

/* Keys that a segment is expected to hold in the end, and how far reserve goes. */
#define RESERVE_PER_SEGMENT 1200u
#define RESERVE_BITS_MAX    20u

/* Segments that one visit looks into, should most of them be empty. */
#define VISIT_SEGMENTS_MAX 256u

static uint64_t dir_entry(const struct segment *segment)
{
    return (uint64_t)(uintptr_t)segment | (uint64_t)segment->depth << ADDRESS_BITS |
           (uint64_t)segment->size_class << CLASS_SHIFT;
}

static struct segment *entry_segment(uint64_t entry)
{
    return (struct segment *)(uintptr_t)(entry & ADDRESS_MASK);
}

static unsigned entry_depth(uint64_t entry)
{
    return (unsigned)(entry >> ADDRESS_BITS) & DEPTH_MASK;
}

/* Shifts in two steps, because the directory may have no bits at all. */
static size_t dir_position(const struct nadb_index *index, uint64_t hash)
{
    return (size_t)((hash >> 1) >> (63 - index->dir_bits));
}

static uint64_t tag_of(uint64_t hash, unsigned depth)
{
    return (hash << depth) >> 48;
}

static size_t home_of(uint64_t tag, unsigned size_class)
{
    return (size_t)((tag * classes[size_class].homes) >> 16);
}

static struct nadb_rec *slot_rec(uint64_t slot)
{
    return (struct nadb_rec *)(uintptr_t)(slot & ADDRESS_MASK);
}

static uint64_t make_slot(const struct nadb_rec *rec, uint64_t tag)
{
    return (uint64_t)(uintptr_t)rec | tag << ADDRESS_BITS;
}

static struct segment *segment_new(struct nadb_index *index, unsigned depth, unsigned size_class)
{
    struct segment *segment = nadb_mem_zalloc(classes[size_class].bytes);
    NADB_ASSERT(((uintptr_t)segment & ~(uintptr_t)ADDRESS_MASK) == 0);
    segment->depth = (uint8_t)depth;
    segment->size_class = (uint8_t)size_class;
    index->bytes += classes[size_class].bytes;
    return segment;
}

static void segment_free(struct nadb_index *index, struct segment *segment)
{
    index->bytes -= classes[segment->size_class].bytes;
    nadb_mem_free(segment);
}

/* False, and nothing changed, when the segment must grow first. */
static bool segment_insert(struct segment *segment, uint64_t slot)
{
    unsigned size_class = segment->size_class;
    if (segment->count >= classes[size_class].count_max) {
        return false;
    }
    size_t last = classes[size_class].slots - 1u;
    uint64_t tag = slot >> ADDRESS_BITS;
    size_t at = home_of(tag, size_class);
    while (segment->slots[at] != 0 && segment->slots[at] >> ADDRESS_BITS <= tag) {
        at++;
    }
    size_t gap = at;
    while (segment->slots[gap] != 0) {
        gap++;
    }
    if (gap >= last) {
        return false;
    }
    memmove(&segment->slots[at + 1], &segment->slots[at], (gap - at) * sizeof(uint64_t));
    segment->slots[at] = slot;
    segment->count++;
    return true;
}

/* Makes the directory's entries for `segment`, which covers `hash`, point to it. */
static void dir_set(struct nadb_index *index, uint64_t hash, const struct segment *segment)
{
    size_t span = (size_t)1 << (index->dir_bits - segment->depth);
    size_t first = dir_position(index, hash) & ~(span - 1);
    uint64_t entry = dir_entry(segment);
    for (size_t i = 0; i < span; i++) {
        index->dir[first + i] = entry;
    }
}

static void dir_double(struct nadb_index *index)
{
    NADB_ASSERT(index->dir_bits < NADB_INDEX_DEPTH_MAX);
    size_t count = (size_t)1 << index->dir_bits;
    uint64_t *dir = nadb_mem_alloc(count * 2 * sizeof(*dir));
    for (size_t i = 0; i < count; i++) {
        dir[2 * i] = dir[2 * i + 1] = index->dir[i];
    }
    nadb_mem_free(index->dir);
    index->dir = dir;
    index->dir_bits++;
    index->bytes += count * sizeof(*dir);
}

/* Puts a slot behind all that are in the segment already; false when it must grow first. `*next` is
 * the first place behind them. */
static bool segment_append(struct segment *segment, size_t *next, uint64_t slot)
{
    unsigned size_class = segment->size_class;
    size_t home = home_of(slot >> ADDRESS_BITS, size_class);
    size_t at = home > *next ? home : *next;
    if (segment->count >= classes[size_class].count_max || at >= classes[size_class].slots - 1u) {
        return false;
    }
    segment->slots[at] = slot;
    segment->count++;
    *next = at + 1;
    return true;
}

/* Moves the segment's records into one of another size; false when they do not fit there. */
static bool segment_resize(
    struct nadb_index *index, uint64_t hash, struct segment *old, unsigned size_class)
{
    struct segment *segment = segment_new(index, old->depth, size_class);
    size_t next = 0;
    for (size_t i = 0; i < classes[old->size_class].slots; i++) {
        if (old->slots[i] != 0 && !segment_append(segment, &next, old->slots[i])) {
            segment_free(index, segment);
            return false;
        }
    }
    dir_set(index, hash, segment);
    segment_free(index, old);
    return true;
}

/* Parts the segment by the next bit of the hash. */
static void segment_split(struct nadb_index *index, uint64_t hash, struct segment *old)
{
    unsigned depth = old->depth + 1u;
    if (depth > index->dir_bits) {
        dir_double(index);
    }
    /* The halves are seldom equal: one that outgrows its size takes the next. */
    unsigned size_class = old->size_class;
    while (size_class > 0 && old->count / 2 < classes[size_class - 1].count_max * 19u / 20u) {
        size_class--;
    }
    struct segment *half[2] = {
        segment_new(index, depth, size_class), segment_new(index, depth, size_class)};
    size_t slots = classes[old->size_class].slots;
    uint64_t prefix_bit = (uint64_t)1 << (64 - depth);
    uint64_t prefix = hash & ~(prefix_bit | (prefix_bit - 1));
    dir_set(index, prefix, half[0]);
    dir_set(index, prefix | prefix_bit, half[1]);
    for (size_t i = 0; i < slots; i++) {
        if (i + SPLIT_PREFETCH < slots) {
            NADB_PREFETCH(slot_rec(old->slots[i + SPLIT_PREFETCH]));
        }
        if (old->slots[i] == 0) {
            continue;
        }
        struct nadb_rec *rec = slot_rec(old->slots[i]);
        uint64_t rec_hash = nadb_hash(*index->hash_key, nadb_rec_key(rec));
        unsigned which = (unsigned)(rec_hash >> (64 - depth)) & 1u;
        uint64_t slot = make_slot(rec, tag_of(rec_hash, depth));
        while (!segment_insert(half[which], slot)) {
            unsigned larger = half[which]->size_class + 1u;
            NADB_ASSERT(larger < NADB_INDEX_CLASSES);
            (void)segment_resize(index, rec_hash, half[which], larger);
            half[which] = entry_segment(index->dir[dir_position(index, rec_hash)]);
        }
    }
    segment_free(index, old);
}

static void segment_grow(struct nadb_index *index, uint64_t hash, struct segment *segment)
{
    for (unsigned larger = segment->size_class + 1u; larger < NADB_INDEX_CLASSES; larger++) {
        if (segment_resize(index, hash, segment, larger)) {
            return;
        }
    }
    segment_split(index, hash, segment);
}

void nadb_index_init(struct nadb_index *index, const struct nadb_hash_key *hash_key)
{
    *index = (struct nadb_index){.hash_key = hash_key};
}

void nadb_index_reserve(struct nadb_index *index, uint64_t count)
{
    unsigned bits = 0;
    while (bits < RESERVE_BITS_MAX && count >> bits > RESERVE_PER_SEGMENT) {
        bits++;
    }
    if (index->dir != NULL || bits == 0) {
        return;
    }
    size_t segments = (size_t)1 << bits;
    index->dir = nadb_mem_alloc(segments * sizeof(*index->dir));
    index->dir_bits = bits;
    index->bytes += segments * sizeof(*index->dir);
    for (size_t i = 0; i < segments; i++) {
        index->dir[i] = dir_entry(segment_new(index, bits, 0));
    }
}

void nadb_index_fini(struct nadb_index *index)
{
    size_t cursor = 0;
    while (nadb_index_drain(index, &cursor, NULL, NULL)) {
    }
}

nadb_index_slot nadb_index_find(
    const struct nadb_index *index, struct nadb_slice key, uint64_t hash)
{
    if (NADB_UNLIKELY(index->dir == NULL)) {
        return NULL;
    }
    uint64_t entry = index->dir[dir_position(index, hash)];
    uint64_t tag = tag_of(hash, entry_depth(entry));
    uint64_t *slot = entry_segment(entry)->slots + home_of(tag, (unsigned)(entry >> CLASS_SHIFT));
    for (; *slot != 0; slot++) {
        uint64_t slot_tag = *slot >> ADDRESS_BITS;
        if (slot_tag < tag) {
            continue;
        }
        if (slot_tag > tag) {
            break;
        }
        if (nadb_slice_eq(nadb_rec_key(slot_rec(*slot)), key)) {
            return slot;
        }
    }
    return NULL;
}

struct nadb_rec *nadb_index_find_version(
    const struct nadb_index *index, uint64_t hash, uint64_t version)
{
    if (index->dir == NULL) {
        return NULL;
    }
    uint64_t entry = index->dir[dir_position(index, hash)];
    uint64_t tag = tag_of(hash, entry_depth(entry));
    uint64_t *slot = entry_segment(entry)->slots + home_of(tag, (unsigned)(entry >> CLASS_SHIFT));
    for (; *slot != 0 && *slot >> ADDRESS_BITS <= tag; slot++) {
        if (*slot >> ADDRESS_BITS == tag && slot_rec(*slot)->version == version) {
            return slot_rec(*slot);
        }
    }
    return NULL;
}

void nadb_index_insert(struct nadb_index *index, struct nadb_rec *rec, uint64_t hash)
{
    NADB_ASSERT(((uintptr_t)rec & ~(uintptr_t)ADDRESS_MASK) == 0);
    if (NADB_UNLIKELY(index->dir == NULL)) {
        index->dir = nadb_mem_alloc(sizeof(*index->dir));
        index->dir_bits = 0;
        index->bytes += sizeof(*index->dir);
        index->dir[0] = dir_entry(segment_new(index, 0, 0));
    }
    for (;;) {
        uint64_t entry = index->dir[dir_position(index, hash)];
        struct segment *segment = entry_segment(entry);
        if (segment_insert(segment, make_slot(rec, tag_of(hash, entry_depth(entry))))) {
            index->count++;
            return;
        }
        segment_grow(index, hash, segment);
    }
}

void nadb_index_remove(struct nadb_index *index, nadb_index_slot slot, uint64_t hash)
{
    struct segment *segment = entry_segment(index->dir[dir_position(index, hash)]);
    unsigned size_class = segment->size_class;
    size_t at = (size_t)(slot - segment->slots);
    NADB_ASSERT(at < classes[size_class].slots && *slot != 0);
    size_t end = at + 1;
    while (segment->slots[end] != 0 &&
           home_of(segment->slots[end] >> ADDRESS_BITS, size_class) < end) {
        end++;
    }
    memmove(&segment->slots[at], &segment->slots[at + 1], (end - at - 1) * sizeof(uint64_t));
    segment->slots[end - 1] = 0;
    segment->count--;
    index->count--;
    if (size_class > 0 && segment->count < classes[size_class].slots / SHRINK_DIVISOR) {
        (void)segment_resize(index, hash, segment, size_class > 4 ? 3 : size_class - 1u);
    }
}

void nadb_index_prefetch_slot(const struct nadb_index *index, uint64_t hash)
{
    if (index->dir != NULL) {
        uint64_t entry = index->dir[dir_position(index, hash)];
        uint64_t tag = tag_of(hash, entry_depth(entry));
        const uint64_t *slot =
            entry_segment(entry)->slots + home_of(tag, (unsigned)(entry >> CLASS_SHIFT));
        NADB_PREFETCH(slot);
        NADB_PREFETCH(slot + 7);
    }
}

void nadb_index_prefetch_rec(const struct nadb_index *index, uint64_t hash)
{
    if (index->dir == NULL) {
        return;
    }
    uint64_t entry = index->dir[dir_position(index, hash)];
    uint64_t tag = tag_of(hash, entry_depth(entry));
    const uint64_t *slot =
        entry_segment(entry)->slots + home_of(tag, (unsigned)(entry >> CLASS_SHIFT));
    while (*slot != 0 && *slot >> ADDRESS_BITS < tag) {
        slot++;
    }
    if (*slot != 0 && *slot >> ADDRESS_BITS == tag) {
        const char *rec = (const char *)slot_rec(*slot);
        NADB_PREFETCH(rec);
        NADB_PREFETCH(rec + 64);
        NADB_PREFETCH(rec + NADB_REC_USUAL_LAST);
    }
}

/* The hash position right behind the segment that covers `at`; 0 = the end. */
static uint64_t position_after(uint64_t at, unsigned depth)
{
    if (depth == 0) {
        return 0;
    }
    return ((at >> (64 - depth)) + 1) << (64 - depth);
}

uint64_t nadb_index_visit(
    const struct nadb_index *index, uint64_t at, size_t max, nadb_index_visit_fn *visit, void *ctx)
{
    if (index->dir == NULL) {
        return 0;
    }
    size_t visited = 0;
    unsigned segments = 0;
    do {
        uint64_t entry = index->dir[dir_position(index, at)];
        const struct segment *segment = entry_segment(entry);
        unsigned depth = segment->depth;
        uint64_t tag_min = tag_of(at, depth);
        uint64_t tag_last = UINT64_MAX;
        for (size_t i = home_of(tag_min, segment->size_class);
             i < classes[segment->size_class].slots; i++) {
            uint64_t slot = segment->slots[i];
            uint64_t tag = slot >> ADDRESS_BITS;
            if (slot == 0 || tag < tag_min) {
                continue;
            }
            if (visited >= max && tag != tag_last) {
                uint64_t prefix = depth == 0 ? 0 : at >> (64 - depth) << (64 - depth);
                return prefix | (tag << 48) >> depth;
            }
            visit(ctx, slot_rec(slot));
            visited++;
            tag_last = tag;
        }
        at = position_after(at, depth);
    } while (at != 0 && visited < max && ++segments < VISIT_SEGMENTS_MAX);
    return at;
}

static void note_record(void *ctx, struct nadb_rec *rec)
{
    struct nadb_rec **first = ctx;
    if (*first == NULL) {
        *first = rec;
    }
}

struct nadb_rec *nadb_index_at(const struct nadb_index *index, uint64_t at)
{
    struct nadb_rec *rec = NULL;
    for (int round = 0; round < 2 && rec == NULL; round++) {
        do {
            at = nadb_index_visit(index, at, 1, note_record, &rec);
        } while (at != 0 && rec == NULL);
    }
    return rec;
}

bool nadb_index_drain(
    struct nadb_index *index, size_t *cursor, nadb_index_visit_fn *visit, void *ctx)
{
    if (index->dir == NULL || *cursor >= (size_t)1 << index->dir_bits) {
        return false;
    }
    struct segment *segment = entry_segment(index->dir[*cursor]);
    *cursor += (size_t)1 << (index->dir_bits - segment->depth);
    size_t slots = classes[segment->size_class].slots;
    for (size_t i = 0; visit != NULL && i < slots; i++) {
        if (i + SPLIT_PREFETCH < slots) {
            NADB_PREFETCH(slot_rec(segment->slots[i + SPLIT_PREFETCH]));
        }
        if (segment->slots[i] != 0) {
            visit(ctx, slot_rec(segment->slots[i]));
        }
    }
    index->count -= segment->count;
    segment_free(index, segment);
    if (*cursor == (size_t)1 << index->dir_bits) {
        nadb_mem_free(index->dir);
        *index = (struct nadb_index){.hash_key = index->hash_key};
    }
    return true;
}

static bool check_segment(const struct nadb_index *index, const struct segment *segment,
    size_t dir_at, const char **ret_reason)
{
    uint64_t count = 0;
    uint64_t tag_last = 0;
    for (size_t i = 0; i < classes[segment->size_class].slots; i++) {
        uint64_t slot = segment->slots[i];
        if (slot == 0) {
            continue;
        }
        uint64_t tag = slot >> ADDRESS_BITS;
        size_t home = home_of(tag, segment->size_class);
        uint64_t hash = nadb_hash(*index->hash_key, nadb_rec_key(slot_rec(slot)));
        *ret_reason = tag_of(hash, segment->depth) != tag ? "tag is not of the hash"
                      : dir_position(index, hash) >> (index->dir_bits - segment->depth) !=
                              dir_at >> (index->dir_bits - segment->depth)
                          ? "wrong segment"
                      : home > i       ? "before its home"
                      : tag < tag_last ? "tags not sorted"
                                       : NULL;
        for (size_t j = home; *ret_reason == NULL && j < i; j++) {
            *ret_reason = segment->slots[j] == 0 ? "gap after the home" : NULL;
        }
        if (*ret_reason != NULL) {
            return false;
        }
        tag_last = tag;
        count++;
    }
    *ret_reason = count != segment->count                                       ? "segment count"
                  : segment->slots[classes[segment->size_class].slots - 1] != 0 ? "last slot taken"
                                                                                : NULL;
    return *ret_reason == NULL;
}

bool nadb_index__check(const struct nadb_index *index, const char **ret_reason)
{
    *ret_reason = NULL;
    uint64_t count = 0;
    for (size_t at = 0; index->dir != NULL && at < (size_t)1 << index->dir_bits;) {
        const struct segment *segment = entry_segment(index->dir[at]);
        size_t span = (size_t)1 << (index->dir_bits - segment->depth);
        for (size_t i = 0; i < span; i++) {
            if (index->dir[at + i] != dir_entry(segment)) {
                *ret_reason = "directory entry differs from its segment";
                return false;
            }
        }
        if (!check_segment(index, segment, at, ret_reason)) {
            return false;
        }
        count += segment->count;
        at += span;
    }
    *ret_reason = count == index->count ? NULL : "count";
    return *ret_reason == NULL;
}
