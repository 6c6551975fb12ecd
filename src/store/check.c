/* This file checks the store's invariants for tests: everything, from the front to the back. */
#include "src/base/mem.h"
#include "src/store/store_internal.h"

struct check {
    const struct nadb_store *store;
    const struct nadb_space *space;
    uint64_t expires, expires_sum_s, dirty;
    uint64_t tagged, dying;
    uint64_t *live; /* by segment */
    const char *reason;
};

static bool is_at(const struct nadb_wbuf *buf, const struct nadb_rec *rec)
{
    uint64_t place = nadb_rec_place(rec);
    return place < buf->count &&
           (buf->entries[place] & NADB_WBUF_ADDRESS_MASK) == (uint64_t)(uintptr_t)rec;
}

/* A flight that a worker has packs its entries: their places are not known then. */
static const char *check_dirty(const struct check *check, const struct nadb_rec *rec)
{
    const struct nadb_store *store = check->store;
    if (store->is_volatile) {
        return "dirty without a backend";
    }
    if (nadb_store__is_frozen(store, rec)) {
        return store->flight.state == NADB_FLIGHT_IDLE ? "frozen without a flight" : NULL;
    }
    return is_at(&store->buf, rec) ? NULL : "dirty but not in the buffer";
}

static void check_rec(void *ctx, struct nadb_rec *rec)
{
    struct check *check = ctx;
    const char *reason = NULL;
    if (rec->flags & NADB_REC_HAS_TTL) {
        const struct nadb_rec_ttl *ttl = nadb_rec_ttl_part(rec);
        check->expires++;
        check->expires_sum_s += ttl->expire_ms / 1000;
        reason = ttl->pprev == NULL                                    ? "deadline not armed"
                 : *ttl->pprev != rec                                  ? "wheel links"
                 : check->store->spaces[ttl->keyspace] != check->space ? "deadline of another space"
                                                                       : NULL;
    }
    if (reason == NULL && (rec->flags & NADB_REC_IS_DIRTY)) {
        check->dirty++;
        reason = check_dirty(check, rec);
    }
    if (reason == NULL && rec->version > check->store->version) {
        reason = "version from the future";
    }
    if (rec->flags & NADB_REC_HAS_TAGS) {
        check->tagged++;
        if (reason == NULL &&
            nadb_tagindex_rec(check->space->tags, nadb_rec_tags_part(rec)->id) != rec) {
            reason = "tagged without an id";
        }
    }
    check->dying += nadb_space__is_dying(check->space, rec) ? 1 : 0;
    if (nadb_store__is_placed(rec)) {
        uint32_t number = nadb_loc_segment(nadb_rec_place(rec));
        if (number >= check->store->use_cap) {
            reason = "place in an unknown segment";
        } else {
            check->live[number] += nadb_wbuf__cost(rec);
        }
    }
    if (check->reason == NULL) {
        check->reason = reason;
    }
}

static const char *check_tags(const struct check *check)
{
    const struct nadb_space *space = check->space;
    const char *reason = NULL;
    if (space->tags != NULL && !nadb_tagindex__check(space->tags, &reason)) {
        return reason;
    }
    uint64_t tagged = space->tags == NULL ? 0 : space->tags->tagged;
    uint64_t dying = space->dying == NULL ? 0 : space->dying->count;
    return tagged != check->tagged ? "tagged records that are not in the index"
           : dying != check->dying ? "count of the dying"
                                   : NULL;
}

/* Records that wait to be freed, or that the undo log has, are counted until they are gone. */
static const char *check_usage(const struct check *check)
{
    const struct nadb_store *store = check->store;
    if (store->garbage != NULL || store->undo.count > 0 ||
        store->flight.state != NADB_FLIGHT_IDLE) {
        return NULL;
    }
    for (size_t i = 0; i < store->use_cap; i++) {
        if (store->use[i].live != check->live[i]) {
            return "bytes of a segment that are needed";
        }
    }
    return NULL;
}

static void check_all(struct check *check, const char **ret_reason)
{
    const struct nadb_store *store = check->store;
    for (size_t i = 0; i < store->keyspace_count; i++) {
        const struct nadb_keyspace *keyspace = store->keyspaces[i];
        const struct nadb_space *space = keyspace->space;
        check->space = space;
        check->expires = check->expires_sum_s = check->tagged = check->dying = 0;
        if (!nadb_index__check(&space->index, ret_reason)) {
            return;
        }
        for (uint64_t at = nadb_index_visit(&space->index, 0, SIZE_MAX, check_rec, check);
             at != 0;) {
            at = nadb_index_visit(&space->index, at, SIZE_MAX, check_rec, check);
        }
        if (check->reason == NULL) {
            check->reason = check_tags(check);
        }
        if (check->reason == NULL &&
            (check->expires != space->expires || check->expires_sum_s != space->expires_sum_s)) {
            check->reason = "counters of deadlines";
        }
        if (check->reason == NULL &&
            (space->owner != keyspace || (space->index.count > 0 && !space->has_id) ||
                (space->has_id && store->spaces[space->id] != space))) {
            check->reason = "space and keyspace do not know each other";
        }
    }
    *ret_reason = check->reason;
}

bool nadb_store__check(struct nadb_store *store, const char **ret_reason)
{
    struct check check = {.store = store};
    check.live = nadb_mem_zalloc((store->use_cap + 1) * sizeof(*check.live));
    *ret_reason = NULL;
    check_all(&check, ret_reason);
    if (*ret_reason == NULL) {
        *ret_reason = check_usage(&check);
    }
    nadb_mem_free(check.live);
    return *ret_reason == NULL;
}
