/* This file walks through what a selector selects.
 *
 * The selection is made once, as a set of ids; the walk goes through it in slices, while keys
 * change. A record that has not changed since the walk began belongs to the selection exactly if
 * its id does. One that has changed is asked itself: ids are used again, and keys get other tags.
 * When the ids mean nothing any more, because the space was exchanged or its tag index made anew,
 * all are asked. */
#include "src/base/assert.h"
#include "src/store/store_internal.h"

#define IDS_CHUNK 64u

/* Cursors of walks by id are even, of walks through the map odd: positions there end in zeros. */
#define CURSOR_BY_INDEX ((uint64_t)1)

enum nadb_err nadb_query_init(struct nadb_query *query, struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_selector *selector, struct nadb_error *reterr)
{
    struct nadb_space *space = keyspace->space;
    if (store->shared != NULL) {
        *query = (struct nadb_query){.space = space, .remote = store, .selector = selector};
        return NADB_OK;
    }
    enum nadb_err err = nadb_space__check_cost(space, selector, reterr);
    if (err != NADB_OK) {
        return err;
    }
    nadb_store__note_seen_all(store);
    struct nadb_tag_result result;
    nadb_space__select(space, selector, &result);
    if (space->dying != NULL && result.is_inverted) {
        nadb_bitmap_or(result.ids, space->dying->ids);
    } else if (space->dying != NULL) {
        nadb_bitmap_and_not(result.ids, space->dying->ids);
    }
    *query = (struct nadb_query){
        .space = space,
        .ids = result.ids,
        .is_inverted = result.is_inverted,
        .version = store->version,
    };
    return NADB_OK;
}

void nadb_query_fini(struct nadb_query *query)
{
    if (query->ids != NULL) {
        nadb_bitmap_free(query->ids);
        query->ids = NULL;
    }
}

/* Dying ids are in an inverted set, and free ones may be among them: they are not counted twice. */
uint64_t nadb_query_count(const struct nadb_query *query, struct nadb_keyspace *keyspace)
{
    if (query->remote != NULL) {
        return nadb_shared__query_count(query->remote, keyspace, query->selector);
    }
    const struct nadb_space *space = keyspace->space;
    uint64_t count = nadb_bitmap_count(query->ids);
    if (!query->is_inverted) {
        return count;
    }
    if (space->dying == NULL) {
        return space->index.count - count;
    }
    uint64_t dying_selected = nadb_bitmap_and_count(query->ids, space->dying->ids);
    return nadb_space__count(space) - (count - dying_selected);
}

static bool is_selected(const struct nadb_query *query, const struct nadb_space *space,
    const struct nadb_selector *selector, const struct nadb_rec *rec)
{
    if (space != query->space || rec->version > query->version) {
        return nadb_selector_matches(selector, nadb_rec_tags(rec));
    }
    const struct nadb_tag_result result = {query->ids, query->is_inverted};
    return nadb_tag_result_has(&result, rec);
}

struct walk {
    const struct nadb_query *query;
    const struct nadb_store *store;
    const struct nadb_space *space;
    const struct nadb_selector *selector;
    nadb_store_visit_fn *visit;
    void *ctx;
};

static void visit_rec(void *ctx, struct nadb_rec *rec)
{
    const struct walk *walk = ctx;
    uint64_t expire_ms = nadb_rec_expire_ms(rec);
    bool is_live = (expire_ms == 0 || expire_ms > walk->store->now_ms) &&
                   !nadb_space__is_dying(walk->space, rec);
    if (is_live && is_selected(walk->query, walk->space, walk->selector, rec)) {
        walk->visit(walk->ctx, rec);
    }
}

static bool visit_by_id(struct nadb_query *query, struct walk *walk, size_t max)
{
    uint32_t ids[IDS_CHUNK];
    while (query->at <= UINT32_MAX && walk->space->tags != NULL) {
        size_t want = max < IDS_CHUNK ? max : IDS_CHUNK;
        size_t got = nadb_bitmap_read(query->ids, (uint32_t)query->at, ids, want);
        struct nadb_rec *recs[IDS_CHUNK];
        for (size_t i = 0; i < got; i++) {
            recs[i] = nadb_tagindex_rec(walk->space->tags, ids[i]);
            NADB_PREFETCH(recs[i]);
        }
        for (size_t i = 0; i < got; i++) {
            if (recs[i] != NULL) {
                visit_rec(walk, recs[i]);
            }
        }
        if (got < want) {
            break;
        }
        query->at = (uint64_t)ids[got - 1] + 1;
        max -= got;
        if (max == 0) {
            return true;
        }
    }
    query->at = UINT64_MAX;
    return false;
}

bool nadb_query_visit(struct nadb_query *query, struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_selector *selector, size_t max,
    nadb_store_visit_fn *visit, void *ctx)
{
    if (query->remote != NULL) {
        return nadb_shared__query_visit(store, keyspace, selector, &query->at, max, visit, ctx);
    }
    nadb_store__note_seen_all(store);
    struct walk walk = {query, store, keyspace->space, selector, visit, ctx};
    if (!query->is_inverted) {
        return query->at != UINT64_MAX && visit_by_id(query, &walk, max);
    }
    if (query->at == UINT64_MAX) {
        return false;
    }
    query->at = nadb_index_visit(&keyspace->space->index, query->at, max, visit_rec, &walk);
    if (query->at == 0) {
        query->at = UINT64_MAX;
        return false;
    }
    return true;
}

uint64_t nadb_query_cursor(const struct nadb_query *query)
{
    if (query->at == UINT64_MAX) {
        return 0;
    }
    return query->is_inverted ? query->at >> 1 | CURSOR_BY_INDEX : query->at << 1;
}

bool nadb_query_seek(struct nadb_query *query, uint64_t cursor)
{
    if (cursor == 0) {
        query->at = 0;
        return true;
    }
    if (query->remote != NULL) {
        query->at = cursor >> 1;
        return (cursor & CURSOR_BY_INDEX) == 0 && cursor >> 63 == 0;
    }
    if (query->is_inverted != ((cursor & CURSOR_BY_INDEX) != 0) || cursor >> 63 != 0 ||
        (!query->is_inverted && cursor >> 1 > UINT32_MAX)) {
        return false;
    }
    query->at = query->is_inverted ? (cursor & ~CURSOR_BY_INDEX) << 1 : cursor >> 1;
    return true;
}
