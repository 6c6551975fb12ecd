/* One tag: its name and the set of its members' ids.
 *
 *     up to NADB_TAG_FEW       in the tag itself
 *     up to NADB_TAG_ARRAY_MAX a sorted array, as large as it must be
 *     above                    a compressed bitmap; an array again below half of that
 *
 * Most tags have a handful of members, for which a bitmap would cost twenty times as much as an
 * array. Tags live in a map of the same kind as the keys, so each holds a record's header, of which
 * only the parts that make the name are used. Thread: loop. */
#ifndef NADB_STORE_TAG_H
#define NADB_STORE_TAG_H

#include "src/base/bitmap.h"
#include "src/store/record.h"

#define NADB_TAG_FEW       2u
#define NADB_TAG_ARRAY_MAX 1024u
#define NADB_TAG_IS_BITMAP UINT32_MAX

struct nadb_tag {
    union {
        uint32_t few[NADB_TAG_FEW]; /* sorted, as the array */
        uint32_t *array;            /* owned */
        struct nadb_bitmap *bitmap; /* owned */
    } set;
    uint32_t count;
    uint32_t cap;        /* of the array; 0: few; or NADB_TAG_IS_BITMAP */
    struct nadb_rec rec; /* its key is the name, which follows it */
};

/* Without members. */
struct nadb_tag *nadb_tag_new(struct nadb_slice name);
void nadb_tag_free(struct nadb_tag *tag);

/* Of the tag and its array; a bitmap is not counted. */
size_t nadb_tag_bytes(const struct nadb_tag *tag);

void nadb_tag_add(struct nadb_tag *tag, uint32_t id);    /* which it does not hold */
void nadb_tag_remove(struct nadb_tag *tag, uint32_t id); /* which it holds */
bool nadb_tag_has(const struct nadb_tag *tag, uint32_t id);

/* How many members are in `ids`. */
uint64_t nadb_tag_count_in(const struct nadb_tag *tag, const struct nadb_bitmap *ids);

/* The members as a bitmap: the tag's own (*ret_is_own), or made for the caller, who frees it. */
struct nadb_bitmap *nadb_tag_bitmap(const struct nadb_tag *tag, bool *ret_is_own);

static inline struct nadb_slice nadb_tag_name(const struct nadb_tag *tag)
{
    return nadb_rec_key(&tag->rec);
}

static inline struct nadb_tag *nadb_tag_of(struct nadb_rec *rec)
{
    return NADB_CONTAINER_OF(rec, struct nadb_tag, rec);
}

#endif
