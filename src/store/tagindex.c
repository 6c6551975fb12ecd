/* This file keeps the tag index in step with the records: ids, names and memberships. */
#include "src/store/tagindex.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/packed.h"

#define CHUNKS_FIRST  16u
#define LOOKUP_GROUP  8u  /* tags whose slots are warmed together */
#define DIFF_TAGS_MAX 64u /* above, replacing removes all and adds all */
#define FREE_END      UINT32_MAX

/* Entries of the id array: a record's address, which is even, or a free id's successor. */
#define FREE_ENTRY(next) ((uint64_t)(next) << 1 | 1)

struct nadb_tagindex *nadb_tagindex_new(const struct nadb_hash_key *hash_key)
{
    struct nadb_tagindex *index = nadb_mem_zalloc(sizeof(*index));
    nadb_index_init(&index->names, hash_key);
    index->free_first = FREE_END;
    return index;
}

static void free_tag(void *ctx, struct nadb_rec *rec)
{
    (void)ctx;
    nadb_tag_free(nadb_tag_of(rec));
}

bool nadb_tagindex_drain(struct nadb_tagindex *index, size_t *cursor)
{
    if (nadb_index_drain(&index->names, cursor, free_tag, NULL)) {
        return true;
    }
    *cursor = 0; /* the map is gone, and another call says so again */
    if (index->chunk_count > 0) {
        nadb_mem_free(index->ids[--index->chunk_count]);
        return true;
    }
    nadb_mem_free(index->ids);
    nadb_mem_free(index);
    return false;
}

void nadb_tagindex_free(struct nadb_tagindex *index)
{
    size_t cursor = 0;
    while (index != NULL && nadb_tagindex_drain(index, &cursor)) {
    }
}

/* ---- ids ---- */

static uint64_t *id_entry(const struct nadb_tagindex *index, uint32_t id)
{
    return &index->ids[id / NADB_TAG_IDS_CHUNK][id % NADB_TAG_IDS_CHUNK];
}

static void add_chunk(struct nadb_tagindex *index)
{
    size_t count = index->chunk_count;
    bool is_full = count >= CHUNKS_FIRST && (count & (count - 1)) == 0;
    if (count == 0 || is_full) {
        size_t cap = count == 0 ? CHUNKS_FIRST : count * 2;
        index->ids = nadb_mem_realloc(index->ids, cap * sizeof(uint64_t *));
    }
    index->ids[index->chunk_count++] = nadb_mem_alloc(NADB_TAG_IDS_CHUNK * sizeof(uint64_t));
    index->bytes += NADB_TAG_IDS_CHUNK * sizeof(uint64_t);
}

static uint32_t take_id(struct nadb_tagindex *index)
{
    if (index->free_first != FREE_END) {
        uint32_t id = index->free_first;
        index->free_first = (uint32_t)(*id_entry(index, id) >> 1);
        index->free_count--;
        return id;
    }
    NADB_ASSERT(index->id_limit < FREE_END);
    if (index->id_limit == index->chunk_count * NADB_TAG_IDS_CHUNK) {
        add_chunk(index);
    }
    return index->id_limit++;
}

static void give_id(struct nadb_tagindex *index, uint32_t id)
{
    *id_entry(index, id) = FREE_ENTRY(index->free_first);
    index->free_first = id;
    index->free_count++;
}

struct nadb_rec *nadb_tagindex_rec(const struct nadb_tagindex *index, uint32_t id)
{
    if (id >= index->id_limit) {
        return NULL;
    }
    uint64_t entry = *id_entry(index, id);
    return (entry & 1) ? NULL : (struct nadb_rec *)(uintptr_t)entry;
}

static void set_rec(struct nadb_tagindex *index, uint32_t id, struct nadb_rec *rec)
{
    *id_entry(index, id) = (uint64_t)(uintptr_t)rec;
    nadb_rec_tags_part(rec)->id = id;
}

/* ---- memberships ---- */

static void add_member(
    struct nadb_tagindex *index, struct nadb_slice name, uint64_t hash, uint32_t id)
{
    nadb_index_slot slot = nadb_index_find(&index->names, name, hash);
    struct nadb_tag *tag;
    if (slot == NULL) {
        tag = nadb_tag_new(name);
        nadb_index_insert(&index->names, &tag->rec, hash);
    } else {
        tag = nadb_tag_of(nadb_index_rec(slot));
        index->bytes -= nadb_tag_bytes(tag);
    }
    nadb_tag_add(tag, id);
    index->bytes += nadb_tag_bytes(tag);
    index->memberships++;
}

static void remove_member(
    struct nadb_tagindex *index, struct nadb_slice name, uint64_t hash, uint32_t id)
{
    nadb_index_slot slot = nadb_index_find(&index->names, name, hash);
    NADB_ASSERT(slot != NULL);
    struct nadb_tag *tag = nadb_tag_of(nadb_index_rec(slot));
    index->bytes -= nadb_tag_bytes(tag);
    index->memberships--;
    if (tag->count == 1) {
        nadb_index_remove(&index->names, slot, hash);
        nadb_tag_free(tag);
        return;
    }
    nadb_tag_remove(tag, id);
    index->bytes += nadb_tag_bytes(tag);
}

typedef void member_fn(
    struct nadb_tagindex *index, struct nadb_slice name, uint64_t hash, uint32_t id);

/* Calls `fn` for each of the tags that is not among `but`. */
static void for_names(struct nadb_tagindex *index, struct nadb_slice packed, struct nadb_slice but,
    uint32_t id, member_fn *fn)
{
    struct nadb_slice names[LOOKUP_GROUP];
    uint64_t hashes[LOOKUP_GROUP];
    size_t at = 0;
    size_t count;
    do {
        for (count = 0; count < LOOKUP_GROUP && nadb_packed_next(packed, &at, &names[count]);) {
            if (but.len > 0 && nadb_packed_has(but, names[count])) {
                continue;
            }
            hashes[count] = nadb_hash(*index->names.hash_key, names[count]);
            nadb_index_prefetch_slot(&index->names, hashes[count]);
            count++;
        }
        for (size_t i = 0; i < count; i++) {
            nadb_index_prefetch_rec(&index->names, hashes[i]);
        }
        for (size_t i = 0; i < count; i++) {
            fn(index, names[i], hashes[i], id);
        }
    } while (at < packed.len);
}

static const struct nadb_slice no_names = {NULL, 0};

void nadb_tagindex_add(struct nadb_tagindex *index, struct nadb_rec *rec)
{
    uint32_t id = take_id(index);
    set_rec(index, id, rec);
    index->tagged++;
    for_names(index, nadb_rec_tags(rec), no_names, id, add_member);
}

void nadb_tagindex_remove(struct nadb_tagindex *index, struct nadb_rec *rec)
{
    uint32_t id = nadb_rec_tags_part(rec)->id;
    NADB_ASSERT(nadb_tagindex_rec(index, id) == rec);
    for_names(index, nadb_rec_tags(rec), no_names, id, remove_member);
    index->tagged--;
    give_id(index, id);
}

void nadb_tagindex_replace(struct nadb_tagindex *index, struct nadb_rec *old, struct nadb_rec *rec)
{
    uint32_t id = nadb_rec_tags_part(old)->id;
    NADB_ASSERT(nadb_tagindex_rec(index, id) == old);
    set_rec(index, id, rec);
    struct nadb_slice before = nadb_rec_tags(old);
    struct nadb_slice after = nadb_rec_tags(rec);
    if (nadb_slice_eq(before, after)) {
        return;
    }
    if (nadb_packed_count(before) <= DIFF_TAGS_MAX && nadb_packed_count(after) <= DIFF_TAGS_MAX) {
        for_names(index, after, before, id, add_member);
        for_names(index, before, after, id, remove_member);
    } else {
        for_names(index, before, no_names, id, remove_member);
        for_names(index, after, no_names, id, add_member);
    }
}

const struct nadb_tag *nadb_tagindex_find(const struct nadb_tagindex *index, struct nadb_slice name)
{
    uint64_t hash = nadb_hash(*index->names.hash_key, name);
    nadb_index_slot slot = nadb_index_find(&index->names, name, hash);
    return slot == NULL ? NULL : nadb_tag_of(nadb_index_rec(slot));
}

static void add_bitmap_bytes(void *ctx, struct nadb_rec *rec)
{
    const struct nadb_tag *tag = nadb_tag_of(rec);
    if (tag->cap == NADB_TAG_IS_BITMAP) {
        *(uint64_t *)ctx += nadb_bitmap_bytes(tag->set.bitmap);
    }
}

uint64_t nadb_tagindex_bytes(const struct nadb_tagindex *index)
{
    uint64_t bytes = sizeof(*index) + index->names.bytes + index->bytes;
    uint64_t at = 0;
    do {
        at = nadb_index_visit(&index->names, at, SIZE_MAX, add_bitmap_bytes, &bytes);
    } while (at != 0);
    return bytes;
}

/* ---- checking ---- */

struct check {
    const struct nadb_tagindex *index;
    uint64_t memberships;
    const char *reason;
};

static void check_tag(void *ctx, struct nadb_rec *rec)
{
    struct check *check = ctx;
    const struct nadb_tag *tag = nadb_tag_of(rec);
    check->memberships += tag->count;
    bool is_own;
    struct nadb_bitmap *members = nadb_tag_bitmap(tag, &is_own);
    if (tag->count == 0 || nadb_bitmap_count(members) != tag->count) {
        check->reason = "count of a tag's members";
    }
    uint32_t id = 0;
    for (uint32_t from = 0; nadb_bitmap_read(members, from, &id, 1) == 1; from = id + 1) {
        const struct nadb_rec *member = nadb_tagindex_rec(check->index, id);
        if (member == NULL || !nadb_packed_has(nadb_rec_tags(member), nadb_tag_name(tag))) {
            check->reason = "a tag holds a record that does not carry it";
        }
    }
    if (!is_own) {
        nadb_bitmap_free(members);
    }
}

bool nadb_tagindex__check(const struct nadb_tagindex *index, const char **ret_reason)
{
    struct check check = {.index = index};
    if (!nadb_index__check(&index->names, ret_reason)) {
        return false;
    }
    uint64_t at = 0;
    do {
        at = nadb_index_visit(&index->names, at, SIZE_MAX, check_tag, &check);
    } while (at != 0);
    uint64_t tagged = 0;
    uint64_t memberships = 0;
    for (uint32_t id = 0; id < index->id_limit; id++) {
        const struct nadb_rec *rec = nadb_tagindex_rec(index, id);
        if (rec != NULL) {
            tagged++;
            memberships += nadb_packed_count(nadb_rec_tags(rec));
            check.reason =
                nadb_rec_tags_part(rec)->id != id ? "a record with another's id" : check.reason;
        }
    }
    if (check.reason == NULL &&
        (tagged != index->tagged || tagged + index->free_count != index->id_limit ||
            memberships != index->memberships || check.memberships != index->memberships)) {
        check.reason = "counts of records or memberships";
    }
    *ret_reason = check.reason;
    return check.reason == NULL;
}
