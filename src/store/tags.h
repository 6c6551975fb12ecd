/* Tags as commands see them: the tags of a key, what carries a tag, invalidation, epochs.
 *
 * As in store.h: all on the loop thread, nothing blocks, changes only inside a command, keys and
 * tags within their bounds (nadb_selector_check_tag). What counts or lists is exact only when
 * nadb_store_retire has returned false in the same turn.
 *
 * Invalidation. A few keys are deleted there and then. Many are taken out of sight at once: their
 * ids become the space's `dying` set, which every look at a record asks; the log gets one entry
 * with the selector, which recovery runs again at the same place of the log; and memory is freed
 * in slices. So it is atomic to every reader and after every crash, whatever its size.
 *
 * Epochs. The store's epoch counts invalidations and clearings. It starts at the wall clock in
 * microseconds, so no restart ever gives a number twice. Each keyspace remembers for a bounded
 * number of tags when they were last invalidated; of those that it has forgotten it knows that it
 * was not after its horizon. Every answer errs towards "invalidated". */
#ifndef NADB_STORE_TAGS_H
#define NADB_STORE_TAGS_H

#include "src/store/selector.h"
#include "src/store/store.h"

/* ---- the tags of a key ---- */

/* The key's tags are these now (packed, without duplicates); value and deadline stay. False: no
 * such key, or *ret_err is NADB_ENOMEM and nothing changed. */
NADB_MUST_CHECK bool nadb_store_set_tags(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, struct nadb_slice packed, enum nadb_err *ret_err);

/* ---- tags ---- */

/* How many live keys carry the tag. O(1), while an invalidation is being worked off O(members). */
uint64_t nadb_store_tag_count(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag);

/* Visits tags of the next stretch (tens of them), each with its count, as nadb_store_scan does with
 * records: 0 begins, and ends. */
typedef void nadb_tag_visit_fn(void *ctx, struct nadb_slice tag, uint64_t count);
uint64_t nadb_store_tag_scan(struct nadb_store *store, struct nadb_keyspace *keyspace,
    uint64_t cursor, nadb_tag_visit_fn *visit, void *ctx);

/* ---- queries ---- */

/* What a selector selected, to be walked through in slices. A record that belongs to it from begin
 * to the end of the walk is visited exactly once, none that does not belong to it when it is
 * visited. Embedded in its owner. */
struct nadb_query {
    const struct nadb_space *space;
    struct nadb_bitmap *ids; /* owned; of records not changed after `version` */
    bool is_inverted;
    uint64_t version;
    uint64_t at;               /* next id, or position in the map */
    struct nadb_store *remote; /* shared backends: what is selected is the engine's to say */
    const struct nadb_selector *selector; /* then; borrowed for the call that began it */
};

/* NADB_ETOOMANY: the selector is too costly. On success fini must follow. */
NADB_MUST_CHECK enum nadb_err nadb_query_init(struct nadb_query *query, struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_selector *selector,
    struct nadb_error *reterr);
void nadb_query_fini(struct nadb_query *query); /* again: no harm */

/* How many records it selects: right in the turn of init. */
uint64_t nadb_query_count(const struct nadb_query *query, struct nadb_keyspace *keyspace);

/* Visits about `max` records more of the selection, which the same selector still describes; false
 * when that was all. `visit` must not change the store. */
bool nadb_query_visit(struct nadb_query *query, struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_selector *selector, size_t max,
    nadb_store_visit_fn *visit, void *ctx);

/* Where a walk stands, as a number that a later walk with the same selector can go on from; 0 is
 * the beginning. False: it is no such number. */
uint64_t nadb_query_cursor(const struct nadb_query *query);
NADB_MUST_CHECK bool nadb_query_seek(struct nadb_query *query, uint64_t cursor);

/* ---- invalidation ---- */

struct nadb_invalidation; /* one under way; NULL at first */

enum nadb_invalidate_outcome {
    NADB_INVALIDATE_DONE,  /* *ret_count keys are gone */
    NADB_INVALIDATE_AGAIN, /* call again in a later turn, nothing has happened yet */
    NADB_INVALIDATE_ERROR,
};

struct nadb_invalidate_opts {
    const struct nadb_selector *selector;
    struct nadb_slice pattern; /* for keys; data NULL: all */
    bool is_dry_run;           /* only counts */
    bool may_yield;            /* AGAIN is allowed */
    uint64_t budget_us;
};

/* Removes what is selected. `*progress` is the call's between AGAIN and the next call, which has
 * the same options; nadb_invalidation_free ends one that is given up. */
NADB_MUST_CHECK enum nadb_invalidate_outcome nadb_store_invalidate(struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_invalidate_opts *opts,
    struct nadb_invalidation **progress, uint64_t *ret_count, struct nadb_error *reterr);
void nadb_invalidation_free(struct nadb_invalidation *invalidation);

/* ---- epochs ---- */

uint64_t nadb_store_epoch(struct nadb_store *store);

/* Was, or may have been, one of the packed tags or everything invalidated after `epoch`, as far as
 * it concerns `key`? Counts the fills that it refuses. */
bool nadb_store_is_stale(struct nadb_store *store, struct nadb_keyspace *keyspace,
    struct nadb_slice key, uint64_t epoch, struct nadb_slice packed_tags);

/* Unix ms of the tag's last invalidation, or of the horizon; 0: never. */
uint64_t nadb_store_tag_time(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag);

#define NADB_EPOCHS_MAX_DEFAULT 100000u

/* Of each keyspace. */
void nadb_store_set_epochs_max(struct nadb_store *store, uint64_t entries);

/* ---- statistics ---- */

struct nadb_tag_stats {
    uint64_t tags, memberships, tagged_keys; /* of all keyspaces; dying ones included */
    uint64_t index_bytes;
    uint64_t epoch, horizon, log_entries;
    uint64_t invalidations, invalidated_keys, refused_fills;
    uint64_t dying_keys;
};

void nadb_store_tag_stats(const struct nadb_store *store, struct nadb_tag_stats *ret);

#endif
