/* This file answers what commands ask about tags, and keeps the epochs. */
#include "src/store/tags.h"
#include "src/store/attempt.h"

#include "src/base/assert.h"
#include "src/store/packed.h"
#include "src/store/store_internal.h"

#define SCAN_TAGS  32u
#define US_OF_A_MS 1000u

/* ---- selecting ---- */

void nadb_space__select(const struct nadb_space *space, const struct nadb_selector *selector,
    struct nadb_tag_result *ret)
{
    if (space->tags != NULL) {
        nadb_tagindex_select(space->tags, selector, ret);
        return;
    }
    /* All that is not there is untagged, too. */
    ret->ids = nadb_bitmap_new();
    ret->is_inverted = nadb_selector_matches(selector, nadb_slice_of(NULL, 0));
}

enum nadb_err nadb_space__check_cost(
    const struct nadb_space *space, const struct nadb_selector *selector, struct nadb_error *reterr)
{
    if (space->tags == NULL || nadb_tagindex_cost(space->tags, selector) <= NADB_TAG_COST_MAX) {
        return NADB_OK;
    }
    return nadb_error_set(reterr, NADB_ETOOMANY, 0,
        "the selector reads more than %zu MB of the tag index", NADB_TAG_COST_MAX >> 20);
}

/* ---- tags ---- */

static uint64_t visible_count(const struct nadb_space *space, const struct nadb_tag *tag)
{
    uint64_t count = tag->count;
    return space->dying == NULL ? count : count - nadb_tag_count_in(tag, space->dying->ids);
}

uint64_t nadb_store_tag_count(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag_name)
{
    if (store->shared != NULL) {
        return nadb_shared__tag_count(store, keyspace, tag_name);
    }
    nadb_store__note_seen_all(store);
    const struct nadb_space *space = keyspace->space;
    const struct nadb_tag *tag =
        space->tags == NULL ? NULL : nadb_tagindex_find(space->tags, tag_name);
    return tag == NULL ? 0 : visible_count(space, tag);
}

struct tag_scan {
    const struct nadb_space *space;
    nadb_tag_visit_fn *visit;
    void *ctx;
};

static void scan_tag(void *ctx, struct nadb_rec *rec)
{
    const struct tag_scan *scan = ctx;
    const struct nadb_tag *tag = nadb_tag_of(rec);
    uint64_t count = visible_count(scan->space, tag);
    if (count > 0) {
        scan->visit(scan->ctx, nadb_tag_name(tag), count);
    }
}

uint64_t nadb_store_tag_scan(struct nadb_store *store, struct nadb_keyspace *keyspace,
    uint64_t cursor, nadb_tag_visit_fn *visit, void *ctx)
{
    if (store->shared != NULL) {
        return nadb_shared__tag_scan(store, keyspace, cursor, visit, ctx);
    }
    nadb_store__note_seen_all(store);
    struct tag_scan scan = {keyspace->space, visit, ctx};
    if (keyspace->space->tags == NULL) {
        return 0;
    }
    /* As with keys, positions end in zeros, and half of one fits every client's integers. */
    return nadb_index_visit(
               &keyspace->space->tags->names, cursor << 1, SCAN_TAGS, scan_tag, &scan) >>
           1;
}

/* ---- epochs ---- */

void nadb_epochs__open(struct nadb_store *store, uint64_t wall_ms, bool was_empty)
{
    uint64_t ms = store->now_ms > wall_ms ? store->now_ms : wall_ms;
    store->epoch = ms * US_OF_A_MS;
    store->horizon_opened =
        (struct nadb_epoch){.number = store->epoch, .ms = was_empty ? 0 : store->now_ms};
}

static struct nadb_epochs *epochs_of(struct nadb_store *store, struct nadb_space *space)
{
    if (space->epochs == NULL) {
        space->epochs = nadb_epochs_new(&store->hash_key, store->horizon_opened);
    }
    return space->epochs;
}

void nadb_space__note_epoch(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_selector *selector)
{
    struct nadb_epochs *epochs = epochs_of(store, space);
    struct nadb_epoch now = {.number = ++store->epoch, .ms = store->now_ms};
    if (selector == NULL) {
        epochs->everything = now;
        return;
    }
    for (size_t i = 0; i < selector->count; i++) {
        if (selector->ops[i].kind == NADB_SELECTOR_TAG) {
            nadb_epochs_note(epochs, selector->ops[i].tag, now, store->epochs_max);
        }
    }
}

uint64_t nadb_store_epoch(struct nadb_store *store)
{
    return store->shared != NULL ? nadb_shared__epoch(store) : store->epoch;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool is_stale(const struct nadb_store *store, const struct nadb_space *space, uint64_t epoch,
    struct nadb_slice packed_tags)
{
    const struct nadb_epochs *epochs = space->epochs;
    /* Numbers that this store never gave out are some other's, or made up. */
    if (epoch > store->epoch || epoch < store->horizon_opened.number) {
        return true;
    }
    if (epochs == NULL || epochs->everything.number > epoch) {
        return epochs != NULL;
    }
    struct nadb_slice tag;
    for (size_t at = 0; nadb_packed_next(packed_tags, &at, &tag);) {
        if (nadb_epochs_of(epochs, tag).number > epoch) {
            return true;
        }
    }
    return false;
}

bool nadb_store_is_stale(struct nadb_store *store, struct nadb_keyspace *keyspace,
    struct nadb_slice key, uint64_t epoch, struct nadb_slice packed_tags)
{
    bool is_refused = store->shared != NULL
                          ? nadb_shared__is_stale(store, keyspace, key, epoch, packed_tags)
                          : is_stale(store, keyspace->space, epoch, packed_tags);
    if (!is_refused) {
        return false;
    }
    store->tag_stats.refused_fills += !nadb_store_lacks(store);
    return true;
}

uint64_t nadb_store_tag_time(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag)
{
    if (store->shared != NULL) {
        return nadb_shared__tag_time(store, keyspace, tag);
    }
    const struct nadb_epochs *epochs = keyspace->space->epochs;
    if (epochs == NULL) {
        return store->horizon_opened.ms;
    }
    return later(nadb_epochs_of(epochs, tag).ms, epochs->everything.ms);
}

void nadb_store_set_epochs_max(struct nadb_store *store, uint64_t entries)
{
    store->epochs_max = entries;
}

/* ---- statistics ---- */

void nadb_store_tag_stats(const struct nadb_store *store, struct nadb_tag_stats *ret)
{
    *ret = store->tag_stats;
    ret->epoch = store->epoch;
    ret->horizon = store->horizon_opened.number;
    for (size_t i = 0; i < store->keyspace_count; i++) {
        const struct nadb_space *space = store->keyspaces[i]->space;
        if (space->tags != NULL) {
            ret->tags += space->tags->names.count;
            ret->memberships += space->tags->memberships;
            ret->tagged_keys += space->tags->tagged;
            ret->index_bytes += nadb_tagindex_bytes(space->tags);
        }
        if (space->epochs != NULL) {
            ret->log_entries += space->epochs->names.count;
            ret->horizon = later(ret->horizon, space->epochs->horizon.number);
        }
        ret->dying_keys += space->dying == NULL ? 0 : space->dying->count;
    }
}
