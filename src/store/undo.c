/* This file takes changes back when a batch of `durability always` could not be written.
 *
 * The log owns every record that was replaced or removed since the last durable batch, and every
 * space that was cleared. When a batch is durable, its part of the log is forgotten and what it
 * owns is freed. When a batch fails, the whole log is walked from its newest entry to its oldest:
 * the failed batch, and what was done meanwhile on top of it. After that the store is as the
 * backend has it, and the write buffer holds nothing.
 *
 * Rolling back a cleared space arms the deadlines of its records again, one by one: the only
 * operation whose time grows with the keyspace, after a FLUSHALL that met a failing disk. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define LOG_FIRST 64u

static struct nadb_undo *item_at(const struct nadb_undo_log *log, size_t index)
{
    return &log->items[(log->first + index) & (log->cap - 1)];
}

void nadb_undo__push(struct nadb_store *store, const struct nadb_undo *undo)
{
    struct nadb_undo_log *log = &store->undo;
    if (log->count == log->cap) {
        size_t cap = log->cap == 0 ? LOG_FIRST : log->cap * 2;
        struct nadb_undo *items = nadb_mem_alloc(cap * sizeof(*items));
        for (size_t i = 0; i < log->count; i++) {
            items[i] = *item_at(log, i);
        }
        nadb_mem_free(log->items);
        *log = (struct nadb_undo_log){.items = items, .count = log->count, .cap = cap};
    }
    log->count++;
    *item_at(log, log->count - 1) = *undo;
}

/* The flush that the record was in when it left the index has counted it. */
static void forget_place(struct nadb_store *store, const struct nadb_undo *undo)
{
    if (undo->left_dirty && nadb_store__is_placed(undo->old)) {
        nadb_usage__drop(
            store, nadb_rec_place(undo->old), nadb_wbuf__cost(undo->old), undo->rec != NULL);
    }
}

void nadb_undo__forget(struct nadb_store *store, uint64_t version)
{
    struct nadb_undo_log *log = &store->undo;
    while (log->count > 0 && item_at(log, 0)->version <= version) {
        struct nadb_undo *undo = item_at(log, 0);
        if (undo->old != NULL) {
            forget_place(store, undo);
            nadb_rec_free(undo->old);
        }
        if (undo->saved != NULL) {
            nadb_space__discard(store, undo->saved);
            nadb_mem_free(undo->saved);
        }
        log->first = (log->first + 1) & (log->cap - 1);
        log->count--;
    }
}

/* Does the backend have the record, or will it, whatever is taken back? If it has expired it has
 * been reported as gone, and stays so. */
static bool is_backends(const struct nadb_store *store, const struct nadb_rec *rec)
{
    bool is_kept = store->flight.durability != NADB_DURABILITY_ALWAYS;
    return !(rec->flags & NADB_REC_IS_DIRTY) || (is_kept && nadb_store__is_frozen(store, rec));
}

static void undo_record(struct nadb_store *store, const struct nadb_undo *undo)
{
    struct nadb_index *index = &undo->space->index;
    const struct nadb_rec *any = undo->rec != NULL ? undo->rec : undo->old;
    uint64_t hash = nadb_hash(store->hash_key, nadb_rec_key(any));
    if (undo->old != NULL) {
        forget_place(store, undo);
    }
    bool is_dead = undo->dead_by != 0 && undo->dead_by <= store->durable;
    if (is_dead || (undo->is_expiry && is_backends(store, undo->old))) {
        nadb_flight__dispose(store, undo->old, false);
        return;
    }
    nadb_watch__touch(store, undo->space->owner, hash);
    if (undo->rec != NULL) {
        nadb_index_slot slot = nadb_index_find(index, nadb_rec_key(undo->rec), hash);
        NADB_ASSERT(slot != NULL && nadb_index_rec(slot) == undo->rec);
        nadb_change__exchange(store, undo->space, undo->rec, undo->old);
        if (undo->old != NULL) {
            nadb_index_replace(slot, undo->old);
        } else {
            nadb_index_remove(index, slot, hash);
        }
        nadb_rec_free(undo->rec);
    } else {
        nadb_index_insert(index, undo->old, hash);
        nadb_change__exchange(store, undo->space, NULL, undo->old);
    }
}

static void arm_again(void *ctx, struct nadb_rec *rec)
{
    struct nadb_store *store = ctx;
    if ((rec->flags & NADB_REC_HAS_TTL) && nadb_rec_ttl_part(rec)->pprev == NULL) {
        nadb_wheel_arm(store->wheel, rec);
    }
}

static void undo_clear(struct nadb_store *store, const struct nadb_undo *undo)
{
    struct nadb_space *space = undo->space;
    NADB_ASSERT(space->index.count == 0);
    nadb_pass__restart(space);
    nadb_index_fini(&space->index);
    nadb_tagindex_free(space->tags);
    space->index = undo->saved->index;
    space->tags = undo->saved->tags;
    space->dying = undo->saved->dying;
    space->expires = undo->saved->expires;
    space->expires_sum_s = undo->saved->expires_sum_s;
    uint64_t at = 0;
    do {
        at = nadb_index_visit(&space->index, at, SIZE_MAX, arm_again, store);
    } while (at != 0);
    nadb_watch__touch_spaces(store, space->owner, NULL);
    nadb_mem_free(undo->saved);
}

/* What went out of sight is seen again, but for what has been buried: that comes back, or not, by
 * its own entry of the log. */
static void undo_invalidate(struct nadb_store *store, const struct nadb_undo *undo)
{
    NADB_ASSERT(undo->space->dying != NULL && undo->space->dying->version == undo->version);
    nadb_pass__restart(undo->space);
    nadb_watch__touch_dying(store, undo->space->owner);
    nadb_dying__free(undo->space->dying);
    undo->space->dying = NULL;
    store->dying_count--;
}

void nadb_undo__roll_back(struct nadb_store *store)
{
    struct nadb_undo_log *log = &store->undo;
    for (; log->count > 0; log->count--) {
        const struct nadb_undo *undo = item_at(log, log->count - 1);
        switch (undo->kind) {
        case NADB_UNDO_RECORD:
            undo_record(store, undo);
            break;
        case NADB_UNDO_CLEAR:
            undo_clear(store, undo);
            break;
        case NADB_UNDO_NAME:
            nadb_space__unset_id(store, undo->space);
            break;
        case NADB_UNDO_DROP:
            nadb_space__set_id(store, undo->space, undo->id);
            break;
        case NADB_UNDO_INVALIDATE:
            undo_invalidate(store, undo);
            break;
        case NADB_UNDO_SWAP:
            nadb_keyspace__exchange(store, undo->db_a, undo->db_b);
            break;
        }
    }
    /* Tombstones and controls are the buffer's own; the records it names are freed already. */
    for (size_t i = 0; i < store->buf.count; i++) {
        nadb_wbuf__drop_entry(store->buf.entries[i]);
    }
    store->buf.count = 0;
    store->buf.bytes = 0;
    memset(store->touched, 0, sizeof(store->touched));
    store->unsure = store->unsure_all = 0;
    nadb_compact__rolled_back(store);
}

void nadb_undo__fini(struct nadb_store *store)
{
    struct nadb_undo_log *log = &store->undo;
    for (size_t i = 0; i < log->count; i++) {
        struct nadb_undo *undo = item_at(log, i);
        if (undo->old != NULL) {
            nadb_rec_free(undo->old);
        }
        if (undo->saved != NULL) {
            nadb_space__free(undo->saved);
        }
    }
    nadb_mem_free(log->items);
    *log = (struct nadb_undo_log){0};
}
