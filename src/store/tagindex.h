/* Which records carry which tags, exactly: one index for each space, none while nothing is tagged.
 *
 *     name --nadb_index--> tag: count, set of ids          id --array--> record
 *
 * A tagged record has an id, a number that is unique in its space, dense, and used again when the
 * record is gone. A tag's members are a set of ids: up to two in the tag itself, then a sorted
 * array, then a compressed bitmap. So a query is algebra on bitmaps and visits no record.
 *
 * Untagged records have no id. They need none: to an expression over tags they all look alike, so a
 * selector's result is a set of ids and one bit that says whether the untagged belong to it. The
 * same bit says how to read the set: a result that holds the untagged holds all the tagged, too,
 * but those in the set (nadb_tag_result).
 *
 * Invariants:
 *   1. A record that is linked into its space's map and carries tags has an id, and by id the array
 *      gives that record; each of its tags holds the id, and no other tag does.
 *   2. A tag exists while it has a member.
 *   3. A record that takes another's place under the same key takes its id along, so what walks
 *      ids in order meets a key once however often it is written.
 *
 * Thread: loop. */
#ifndef NADB_STORE_TAGINDEX_H
#define NADB_STORE_TAGINDEX_H

#include "src/base/bitmap.h"
#include "src/store/index.h"
#include "src/store/selector.h"
#include "src/store/tag.h"

/* Ids come in chunks, so that the array never moves. */
#define NADB_TAG_IDS_CHUNK 8192u

struct nadb_tagindex {
    struct nadb_index names;
    uint64_t **ids;     /* chunks of entries: a record's address, or the next free id and 1 */
    size_t chunk_count; /* allocated */
    uint32_t id_limit;  /* above every id so far */
    uint32_t free_first, free_count;
    uint64_t tagged;      /* records with ids */
    uint64_t memberships; /* of all tags */
    uint64_t bytes;       /* of all this, bitmaps apart */
};

/* `hash_key` stays borrowed. */
struct nadb_tagindex *nadb_tagindex_new(const struct nadb_hash_key *hash_key);
void nadb_tagindex_free(struct nadb_tagindex *index); /* NULL allowed; the records are left alone */

/* Frees a part, a few hundred tags or a chunk of ids; false when nothing is left and the index
 * itself is freed. Nothing else may be done with it in between. */
bool nadb_tagindex_drain(struct nadb_tagindex *index, size_t *cursor);

/* The record, which carries tags and has no id, is linked in. */
void nadb_tagindex_add(struct nadb_tagindex *index, struct nadb_rec *rec);

/* The record, which has an id, is being unlinked. */
void nadb_tagindex_remove(struct nadb_tagindex *index, struct nadb_rec *rec);

/* `rec` takes the place of `old`; both carry tags, `old` has the id. */
void nadb_tagindex_replace(struct nadb_tagindex *index, struct nadb_rec *old, struct nadb_rec *rec);

/* The record of the id; NULL when nobody has it. */
struct nadb_rec *nadb_tagindex_rec(const struct nadb_tagindex *index, uint32_t id);

/* NULL when no key carries it. */
const struct nadb_tag *nadb_tagindex_find(
    const struct nadb_tagindex *index, struct nadb_slice name);

/* What a selector selects. */
struct nadb_tag_result {
    struct nadb_bitmap *ids; /* owned */
    bool is_inverted;        /* the untagged, and the tagged but those in `ids` */
};

/* Runs a selector. */
void nadb_tagindex_select(const struct nadb_tagindex *index, const struct nadb_selector *selector,
    struct nadb_tag_result *ret);

#define NADB_TAG_COST_MAX ((size_t)256 << 20) /* bytes of sets; some tens of milliseconds */

/* About how many bytes of sets a selector reads; it stops counting above NADB_TAG_COST_MAX. */
size_t nadb_tagindex_cost(const struct nadb_tagindex *index, const struct nadb_selector *selector);

/* How many tagged records the result holds. */
uint64_t nadb_tag_result_count(
    const struct nadb_tagindex *index, const struct nadb_tag_result *result);

/* Does it hold this record (which has an id if it is tagged)? */
bool nadb_tag_result_has(const struct nadb_tag_result *result, const struct nadb_rec *rec);

/* Bytes of memory, bitmaps included. O(tags with bitmaps). */
uint64_t nadb_tagindex_bytes(const struct nadb_tagindex *index);

/* For tests: are the invariants kept? O(everything). */
bool nadb_tagindex__check(const struct nadb_tagindex *index, const char **ret_reason);

#endif
