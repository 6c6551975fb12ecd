/* This file keeps the keyspaces: databases and their namespaces, and what is done to one as a
 * whole.
 *
 * A keyspace is a name; what it holds is its space. On disk a space goes by a number, which it gets
 * with its first record; a NAME entry tells which keyspace the number is. So SWAPDB exchanges
 * spaces and writes names, and clients keep pointing at their keyspace. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define KEYSPACES_FIRST 32u
#define IDLE_FACTOR     2u /* keyspaces with the idle ones, in limits for the others */

/* ---- spaces ---- */

static struct nadb_space *space_new(struct nadb_store *store, struct nadb_keyspace *owner)
{
    struct nadb_space *space = nadb_mem_zalloc(sizeof(*space));
    space->owner = owner;
    nadb_index_init(&space->index, &store->hash_key);
    return space;
}

void nadb_space__set_id(struct nadb_store *store, struct nadb_space *space, uint16_t id)
{
    if (id >= store->spaces_cap) {
        size_t cap = (size_t)id + KEYSPACES_FIRST;
        store->spaces = nadb_mem_realloc(store->spaces, cap * sizeof(struct nadb_space *));
        memset(&store->spaces[store->spaces_cap], 0,
            (cap - store->spaces_cap) * sizeof(struct nadb_space *));
        store->spaces_cap = cap;
    }
    NADB_ASSERT(store->spaces[id] == NULL && !space->has_id);
    store->spaces[id] = space;
    space->id = id;
    space->has_id = true;
}

void nadb_space__unset_id(struct nadb_store *store, struct nadb_space *space)
{
    NADB_ASSERT(space->has_id && store->spaces[space->id] == space);
    store->spaces[space->id] = NULL;
    space->has_id = false;
}

/* There are fewer keyspaces than numbers, so one is free. */
static uint16_t free_id(const struct nadb_store *store)
{
    size_t id = 0;
    while (id < store->spaces_cap && store->spaces[id] != NULL) {
        id++;
    }
    NADB_ASSERT(id < NADB_KEYSPACE_COUNT_MAX);
    return (uint16_t)id;
}

void nadb_space__name(struct nadb_store *store, struct nadb_space *space)
{
    if (NADB_LIKELY(space->has_id)) {
        return;
    }
    nadb_space__set_id(store, space, free_id(store));
    if (store->is_volatile) {
        return;
    }
    uint64_t version = ++store->version;
    nadb_wbuf__control(store, space, NADB_ENTRY_NAME, version);
    if (store->durability == NADB_DURABILITY_ALWAYS) {
        nadb_undo__push(
            store, &(struct nadb_undo){.kind = NADB_UNDO_NAME, .version = version, .space = space});
    }
}

uint64_t nadb_space__next_version(struct nadb_store *store)
{
    NADB_ASSERT(store->cmd_is_open);
    uint64_t version = ++store->version;
    store->cmd_wrote = true;
    if (store->durability == NADB_DURABILITY_ALWAYS) {
        store->unsure = store->unsure_all = version;
    }
    return version;
}

static void free_rec(void *ctx, struct nadb_rec *rec)
{
    (void)ctx;
    nadb_rec_free(rec);
}

void nadb_space__free_index(struct nadb_index *index, size_t cursor)
{
    while (nadb_index_drain(index, &cursor, free_rec, NULL)) {
    }
}

void nadb_space__free(struct nadb_space *space)
{
    nadb_pass__forget_space(space);
    nadb_space__free_index(&space->index, 0);
    nadb_tagindex_free(space->tags);
    nadb_dying__free(space->dying);
    nadb_epochs_free(space->epochs);
    nadb_mem_free(space);
}

void nadb_space__discard(struct nadb_store *store, struct nadb_space *space)
{
    nadb_pass__restart(space);
    if (space->dying != NULL) {
        nadb_dying__free(space->dying);
        space->dying = NULL;
        store->dying_count--;
    }
    if (space->index.dir != NULL || space->tags != NULL) {
        struct nadb_garbage *garbage = nadb_mem_zalloc(sizeof(*garbage));
        garbage->index = space->index;
        garbage->tags = space->tags;
        garbage->next = store->garbage;
        store->garbage = garbage;
        store->events->wake(store->events_ctx);
    }
    nadb_index_init(&space->index, &store->hash_key);
    space->tags = NULL;
    space->expires = 0;
    space->expires_sum_s = 0;
}

static void free_discarded(void *ctx, struct nadb_rec *rec)
{
    struct nadb_store *store = ctx;
    if (rec->flags & NADB_REC_HAS_TTL) {
        nadb_wheel_cancel(rec);
    }
    bool is_dirty = (rec->flags & NADB_REC_IS_DIRTY) != 0;
    if (is_dirty && !nadb_store__is_frozen(store, rec)) {
        nadb_wbuf__replace(store, rec, NULL, NADB_WBUF_PUT);
    }
    store->cold.count -= nadb_rec_is_cold(rec);
    if (nadb_store__is_placed(rec)) {
        nadb_usage__drop(store, nadb_rec_place(rec), nadb_wbuf__cost(rec), false);
    }
    nadb_flight__dispose(store, rec, false);
}

bool nadb_space__sweep(struct nadb_store *store, uint64_t budget_us)
{
    if (NADB_LIKELY(store->garbage == NULL)) {
        return false;
    }
    uint64_t begin_us = nadb_clock_mono_us(store->clock);
    while (store->garbage != NULL) {
        struct nadb_garbage *garbage = store->garbage;
        if (!nadb_index_drain(&garbage->index, &garbage->cursor, free_discarded, store) &&
            (garbage->tags == NULL || !nadb_tagindex_drain(garbage->tags, &garbage->tags_cursor))) {
            store->garbage = garbage->next;
            nadb_mem_free(garbage);
        }
        if (nadb_store__elapsed_us(store, begin_us) >= budget_us) {
            return store->garbage != NULL;
        }
    }
    return false;
}

void nadb_space__count_ttl(struct nadb_space *space, const struct nadb_rec *rec)
{
    space->expires++;
    space->expires_sum_s += nadb_rec_expire_ms(rec) / 1000;
}

void nadb_space__uncount_ttl(struct nadb_space *space, const struct nadb_rec *rec)
{
    space->expires--;
    space->expires_sum_s -= nadb_rec_expire_ms(rec) / 1000;
}

/* ---- keyspaces ---- */

static struct nadb_keyspace *find(
    const struct nadb_store *store, uint64_t db, struct nadb_slice name)
{
    for (size_t i = 0; i < store->keyspace_count; i++) {
        struct nadb_keyspace *keyspace = store->keyspaces[i];
        if (keyspace->db == db && nadb_slice_eq(nadb_keyspace_name(keyspace), name)) {
            return keyspace;
        }
    }
    return NULL;
}

static struct nadb_keyspace *create(struct nadb_store *store, uint64_t db, struct nadb_slice name)
{
    struct nadb_keyspace *keyspace = nadb_mem_zalloc(sizeof(*keyspace));
    *keyspace = (struct nadb_keyspace){
        .magic = NADB_KEYSPACE_MAGIC, .db = db, .name_len = name.len, .name = NULL};
    if (name.len > 0) {
        keyspace->name = nadb_mem_alloc(name.len);
        memcpy(keyspace->name, name.data, name.len);
    }
    keyspace->space = space_new(store, keyspace);
    if (store->keyspace_count == store->keyspace_cap) {
        store->keyspace_cap = store->keyspace_cap == 0 ? KEYSPACES_FIRST : store->keyspace_cap * 2;
        store->keyspaces = nadb_mem_realloc(
            store->keyspaces, store->keyspace_cap * sizeof(struct nadb_keyspace *));
    }
    store->keyspaces[store->keyspace_count++] = keyspace;
    return keyspace;
}

/* A namespace that nobody uses, that holds nothing and that the backend knows nothing of. */
static bool is_idle(const struct nadb_keyspace *keyspace)
{
    return keyspace->refs == 0 && keyspace->name_len > 0 && !keyspace->space->has_id &&
           keyspace->space->index.count == 0;
}

static void forget(struct nadb_store *store, size_t at)
{
    struct nadb_keyspace *keyspace = store->keyspaces[at];
    nadb_space__free(keyspace->space);
    nadb_mem_free(keyspace->name);
    keyspace->magic = 0;
    nadb_mem_free(keyspace);
    store->keyspaces[at] = store->keyspaces[--store->keyspace_count];
}

/* The undo log may point at spaces; then nothing is forgotten. */
void nadb_keyspace__forget_idle(struct nadb_store *store)
{
    for (size_t i = store->keyspace_count; i-- > 0 && store->undo.count == 0;) {
        if (is_idle(store->keyspaces[i])) {
            forget(store, i);
        }
    }
}

static uint64_t count_busy(const struct nadb_store *store)
{
    uint64_t count = 0;
    for (size_t i = 0; i < store->keyspace_count; i++) {
        count += is_idle(store->keyspaces[i]) ? 0 : 1;
    }
    return count;
}

/* Namespaces that nobody uses and that hold nothing give their numbers back. */
static void drop_empty(struct nadb_store *store)
{
    for (size_t i = 0; i < store->keyspace_count && store->cmd_is_open; i++) {
        struct nadb_keyspace *keyspace = store->keyspaces[i];
        if (keyspace->refs == 0 && keyspace->name_len > 0 && keyspace->space->has_id &&
            keyspace->space->index.count == 0) {
            (void)nadb_store_drop(store, keyspace);
        }
    }
}

struct nadb_keyspace *nadb_store_keyspace(
    struct nadb_store *store, uint64_t db, struct nadb_slice name, bool create_it)
{
    NADB_ASSERT(db < store->databases && name.len <= NADB_NAMESPACE_LEN_MAX);
    struct nadb_keyspace *keyspace = find(store, db, name);
    if (keyspace != NULL || !create_it) {
        return keyspace;
    }
    uint64_t limit = store->databases + store->namespaces_max;
    if (store->keyspace_count >= limit) {
        drop_empty(store);
        nadb_keyspace__forget_idle(store);
    }
    if (store->keyspace_count >= IDLE_FACTOR * limit || count_busy(store) >= limit) {
        return NULL;
    }
    return create(store, db, name);
}

void nadb_keyspace_ref(struct nadb_keyspace *keyspace)
{
    keyspace->refs++;
}

void nadb_keyspace_unref(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    NADB_ASSERT(keyspace->magic == NADB_KEYSPACE_MAGIC && keyspace->refs > 0);
    keyspace->refs--;
    if (is_idle(keyspace)) {
        nadb_keyspace__forget_idle(store);
    }
}

uint64_t nadb_keyspace_db(const struct nadb_keyspace *keyspace)
{
    return keyspace->db;
}

struct nadb_slice nadb_keyspace_name(const struct nadb_keyspace *keyspace)
{
    return nadb_slice_of(keyspace->name, keyspace->name_len);
}

uint64_t nadb_keyspace_count(const struct nadb_keyspace *keyspace)
{
    return nadb_space__count(keyspace->space) + keyspace->space->survey.keys;
}

uint64_t nadb_keyspace_expires(const struct nadb_keyspace *keyspace)
{
    return keyspace->space->expires + keyspace->space->survey.expires;
}

uint64_t nadb_keyspace_ttl_avg_ms(
    const struct nadb_store *store, const struct nadb_keyspace *keyspace)
{
    const struct nadb_space *space = keyspace->space;
    if (space->survey.expires > 0) {
        return space->survey.ttl_sum_ms / space->survey.expires;
    }
    if (space->expires == 0) {
        return 0;
    }
    uint64_t deadline_ms = space->expires_sum_s / space->expires * 1000;
    return deadline_ms > store->now_ms ? deadline_ms - store->now_ms : 0;
}

struct nadb_keyspace *nadb_store_keyspace_next(
    const struct nadb_store *store, const struct nadb_keyspace *previous)
{
    size_t at = 0;
    while (previous != NULL && store->keyspaces[at++] != previous) {
        NADB_ASSERT(at < store->keyspace_count);
    }
    for (; at < store->keyspace_count; at++) {
        struct nadb_keyspace *keyspace = store->keyspaces[at];
        if (keyspace->name_len == 0 || keyspace->refs > 0 || nadb_keyspace_count(keyspace) > 0) {
            return keyspace;
        }
    }
    return NULL;
}

/* Takes everything out of the space; in durability always the undo log keeps it. */
static void empty_space(struct nadb_store *store, struct nadb_space *space, uint64_t version)
{
    if (store->durability != NADB_DURABILITY_ALWAYS || store->is_volatile) {
        nadb_space__discard(store, space);
        return;
    }
    nadb_pass__restart(space);
    struct nadb_space *saved = nadb_mem_zalloc(sizeof(*saved));
    saved->index = space->index;
    saved->tags = space->tags;
    saved->dying = space->dying;
    saved->expires = space->expires;
    saved->expires_sum_s = space->expires_sum_s;
    nadb_index_init(&space->index, &store->hash_key);
    space->tags = NULL;
    space->dying = NULL;
    space->expires = 0;
    space->expires_sum_s = 0;
    nadb_undo__push(
        store, &(struct nadb_undo){
                   .kind = NADB_UNDO_CLEAR, .version = version, .space = space, .saved = saved});
}

uint64_t nadb_store_clear(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    NADB_ASSERT(store->cmd_is_open);
    if (store->shared != NULL) {
        return nadb_shared__clear(store, keyspace);
    }
    struct nadb_space *space = keyspace->space;
    uint64_t count = nadb_space__count(space);
    nadb_space__note_epoch(store, space, NULL);
    if (count == 0) {
        nadb_store__note_seen_all(store);
        return 0;
    }
    nadb_watch__touch_spaces(store, keyspace, NULL);
    uint64_t version = nadb_space__next_version(store);
    store->stats.changes_unsaved += count;
    empty_space(store, space, version);
    if (!store->is_volatile) {
        nadb_wbuf__control(store, space, NADB_ENTRY_CLEAR, version);
    }
    return count;
}

uint64_t nadb_store_drop(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    uint64_t count = nadb_store_clear(store, keyspace);
    struct nadb_space *space = keyspace->space;
    if (keyspace->name_len == 0 || !space->has_id || store->shared != NULL) {
        return count;
    }
    uint64_t version = nadb_space__next_version(store);
    if (!store->is_volatile) {
        nadb_wbuf__control(store, space, NADB_ENTRY_DROP, version);
        if (store->durability == NADB_DURABILITY_ALWAYS) {
            nadb_undo__push(store,
                &(struct nadb_undo){
                    .kind = NADB_UNDO_DROP, .version = version, .space = space, .id = space->id});
        }
    }
    nadb_space__unset_id(store, space);
    return count;
}

/* ---- exchanging spaces ---- */

static void exchange_spaces(struct nadb_keyspace *a, struct nadb_keyspace *b)
{
    struct nadb_space *space = a->space;
    a->space = b->space;
    b->space = space;
    a->space->owner = a;
    b->space->owner = b;
}

/* The namesake of `keyspace` in database `db`; made if need be, over the limit if need be. */
static struct nadb_keyspace *namesake(
    struct nadb_store *store, const struct nadb_keyspace *keyspace, uint64_t db)
{
    struct nadb_keyspace *other = find(store, db, nadb_keyspace_name(keyspace));
    return other != NULL ? other : create(store, db, nadb_keyspace_name(keyspace));
}

void nadb_keyspace__exchange(struct nadb_store *store, uint64_t db_a, uint64_t db_b)
{
    size_t count = store->keyspace_count;
    for (size_t i = 0; i < count; i++) {
        struct nadb_keyspace *keyspace = store->keyspaces[i];
        if (keyspace->db == db_b && find(store, db_a, nadb_keyspace_name(keyspace)) == NULL) {
            exchange_spaces(keyspace, namesake(store, keyspace, db_a));
        } else if (keyspace->db == db_a) {
            exchange_spaces(keyspace, namesake(store, keyspace, db_b));
        }
    }
}

/* True if the log knows a keyspace of either database. */
static bool is_any_stored(const struct nadb_store *store, uint64_t db_a, uint64_t db_b)
{
    for (size_t i = 0; i < store->keyspace_count; i++) {
        const struct nadb_keyspace *keyspace = store->keyspaces[i];
        if ((keyspace->db == db_a || keyspace->db == db_b) && keyspace->space->has_id) {
            return true;
        }
    }
    return false;
}

static void note_swap(struct nadb_store *store, uint64_t version, uint64_t db_a, uint64_t db_b)
{
    nadb_undo__push(
        store, &(struct nadb_undo){
                   .kind = NADB_UNDO_SWAP, .version = version, .db_a = db_a, .db_b = db_b});
}

void nadb_store_swap(struct nadb_store *store, uint64_t db_a, uint64_t db_b)
{
    NADB_ASSERT(store->cmd_is_open && db_a < store->databases && db_b < store->databases &&
                store->shared == NULL);
    if (db_a == db_b) {
        return;
    }
    for (size_t i = 0; i < store->keyspace_count; i++) {
        struct nadb_keyspace *keyspace = store->keyspaces[i];
        if (keyspace->db == db_a || keyspace->db == db_b) {
            uint64_t other_db = keyspace->db == db_a ? db_b : db_a;
            nadb_watch__touch_spaces(
                store, keyspace, find(store, other_db, nadb_keyspace_name(keyspace)));
        }
    }
    bool is_stored = is_any_stored(store, db_a, db_b);
    nadb_keyspace__exchange(store, db_a, db_b);
    if (!store->is_volatile && !is_stored) {
        /* Nothing to write. But perhaps they are empty only until a change is taken back. */
        nadb_store__note_seen_all(store);
        if (store->durability == NADB_DURABILITY_ALWAYS && store->undo.count > 0) {
            note_swap(store, store->version, db_a, db_b);
        }
        return;
    }
    uint64_t version = nadb_space__next_version(store);
    if (store->is_volatile) {
        return;
    }
    if (store->durability == NADB_DURABILITY_ALWAYS) {
        note_swap(store, version, db_a, db_b);
    }
    for (size_t i = 0; i < store->keyspace_count; i++) {
        struct nadb_keyspace *keyspace = store->keyspaces[i];
        if ((keyspace->db == db_a || keyspace->db == db_b) && keyspace->space->has_id) {
            nadb_wbuf__control(store, keyspace->space, NADB_ENTRY_NAME, version);
        }
    }
}

void nadb_keyspace__bind(struct nadb_store *store, uint16_t id, uint64_t db, struct nadb_slice name)
{
    struct nadb_keyspace *keyspace = find(store, db, name);
    if (keyspace == NULL) {
        keyspace = create(store, db, name);
    }
    struct nadb_space *space = id < store->spaces_cap ? store->spaces[id] : NULL;
    if (space != NULL) {
        exchange_spaces(space->owner, keyspace);
    } else if (!keyspace->space->has_id) {
        nadb_space__set_id(store, keyspace->space, id);
    }
}
