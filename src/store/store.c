/* This file is the store's front: its life, its turns, reading, and what it tells of itself. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/random.h"
#include "src/store/store_internal.h"

#define SCAN_RECORDS 32u
#define STEP_SHARES  8

#define RETIRE_CHUNK 64u
#define RANDOM_TRIES 100u

struct nadb_store *nadb_store_new(const struct nadb_store_opts *opts)
{
    NADB_ASSERT(opts->databases >= 1 && opts->databases < NADB_KEYSPACE_COUNT_MAX);
    struct nadb_store *store = nadb_mem_zalloc(sizeof(*store));
    store->magic = NADB_STORE_MAGIC;
    store->clock = opts->clock;
    store->executor = opts->executor;
    store->events = opts->events;
    store->events_ctx = opts->events_ctx;
    store->backend_ops = opts->backend_ops;
    store->backend = opts->backend;
    store->is_volatile =
        (opts->backend_ops->caps & (NADB_BACKEND_VOLATILE | NADB_BACKEND_SHARED)) != 0;
    store->databases = opts->databases;
    store->namespaces_max = opts->namespaces_max;
    store->durability = store->durability_next = opts->durability;
    store->hash_key = (struct nadb_hash_key){opts->hash_seed[0], opts->hash_seed[1]};
    if (opts->hash_seed[0] == 0 && opts->hash_seed[1] == 0) {
        store->hash_key = nadb_hash_key_random();
    }
    nadb_store_set_buffer(store, opts->buffer_size_bytes, opts->flush_interval_ms);
    store->epochs_max = NADB_EPOCHS_MAX_DEFAULT;
    store->invalidate_few = NADB_INVALIDATE_FEW;
    nadb_flight__init(store);
    nadb_cold__init(store);
    nadb_backup__init(store);
    nadb_verify__init(store);
    nadb_hinter__init(store);
    nadb_compact__init(store);
    nadb_pace__look(store);
    nadb_evict__init(store);
    if (opts->backend_ops->caps & NADB_BACKEND_SHARED) {
        nadb_shared__init(store, opts->shared_runs);
        store->may_wait = opts->may_wait;
    }
    nadb_store_turn_begin(store);
    store->wheel = nadb_wheel_new(store->now_ms);
    for (uint64_t db = 0; db < store->databases; db++) {
        (void)nadb_store_keyspace(store, db, nadb_slice_of(NULL, 0), true);
    }
    return store;
}

void nadb_store_open(struct nadb_store *store)
{
    NADB_ASSERT(store->phase == NADB_STORE_NEW);
    store->phase = NADB_STORE_OPENING;
    nadb_store_turn_begin(store);
    nadb_replay__start(store);
}

void nadb_store_give_up(struct nadb_store *store)
{
    store->is_giving_up = true;
}

bool nadb_store_is_open(const struct nadb_store *store)
{
    return store->phase == NADB_STORE_OPEN;
}

unsigned nadb_store_open_percent(const struct nadb_store *store)
{
    return nadb_replay__percent(store);
}

void nadb_store_close(struct nadb_store *store, bool discard_buffer)
{
    NADB_ASSERT(store->phase != NADB_STORE_NEW && store->phase != NADB_STORE_OPENING);
    if (store->phase == NADB_STORE_OPEN) {
        store->phase = NADB_STORE_CLOSING;
        store->is_discarding = discard_buffer;
        nadb_flight__start_if_due(store);
    }
}

void nadb_store_free(struct nadb_store *store)
{
    if (store == NULL) {
        return;
    }
    NADB_ASSERT(store->watches.count == 0);
    nadb_replay__free(store);
    nadb_compact__fini(store);
    nadb_cold__fini(store);
    nadb_backup__fini(store);
    nadb_verify__fini(store);
    nadb_hinter__fini(store);
    nadb_shared__fini(store);
    nadb_flight__fini(store);
    nadb_undo__fini(store);
    nadb_usage__fini(store);
    while (store->garbage != NULL) {
        struct nadb_garbage *garbage = store->garbage;
        store->garbage = garbage->next;
        nadb_space__free_index(&garbage->index, garbage->cursor);
        while (garbage->tags != NULL && nadb_tagindex_drain(garbage->tags, &garbage->tags_cursor)) {
        }
        nadb_mem_free(garbage);
    }
    for (size_t i = 0; i < store->keyspace_count; i++) {
        struct nadb_keyspace *keyspace = store->keyspaces[i];
        nadb_space__free(keyspace->space);
        nadb_mem_free(keyspace->name);
        nadb_mem_free(keyspace);
    }
    nadb_mem_free(store->keyspaces);
    nadb_mem_free(store->spaces);
    nadb_wheel_free(store->wheel);
    store->backend_ops->free(store->backend);
    store->magic = 0;
    nadb_mem_free(store);
}

/* ---- the turn ---- */

void nadb_store_turn_begin(struct nadb_store *store)
{
    store->now_ms = nadb_clock_wall_ms(store->clock);
    store->now_us = nadb_clock_mono_us(store->clock);
    store->turn_version = store->version;
}

void nadb_store_client_end(struct nadb_store *store)
{
    if (NADB_UNLIKELY(store->shared != NULL)) {
        nadb_shared__client_end(store);
    }
}

void nadb_store_turn_end(struct nadb_store *store)
{
    nadb_cold__submit(store);
    if (NADB_UNLIKELY(store->shared != NULL)) {
        nadb_shared__submit(store);
    }
    NADB_ASSERT(!store->cmd_is_open);
    bool is_quiet = store->version == store->turn_version;
    store->flight.quiet_turns = is_quiet ? store->flight.quiet_turns + 1 : 0;
    if (store->phase == NADB_STORE_OPEN || store->phase == NADB_STORE_CLOSING) {
        nadb_flight__start_if_due(store);
    }
}

uint64_t nadb_store_now_ms(const struct nadb_store *store)
{
    return store->now_ms;
}

bool nadb_store_retire(struct nadb_store *store, uint64_t budget_us)
{
    uint64_t begin_us = 0;
    for (unsigned steps = 1;; steps++) {
        struct nadb_rec *rec = NULL;
        switch (nadb_wheel_step(&store->wheel, store->now_ms, &rec)) {
        case NADB_WHEEL_IDLE:
            return false;
        case NADB_WHEEL_DUE:
            nadb_change__expire(store, rec);
            break;
        case NADB_WHEEL_MOVED:
            break;
        }
        if (begin_us == 0) {
            begin_us = nadb_clock_mono_us(store->clock);
        }
        if (steps % RETIRE_CHUNK == 0 && nadb_store__elapsed_us(store, begin_us) >= budget_us) {
            return true;
        }
    }
}

/* In the order of urgency. Each works for about the time it is given and says whether there is
 * more. */
static const struct {
    bool (*step)(struct nadb_store *store, uint64_t budget_us);
    bool is_for_close; /* goes on while the store is closing: something waits for it then */
} background[] = {
    {nadb_flight__land, true},
    {nadb_store_retire, false},
    {nadb_evict__step, false},
    {nadb_dying__sweep, false},
    {nadb_space__sweep, true},
    {nadb_compact__step, true},
    {nadb_backup__step, true},
    {nadb_verify__step, true},
    {nadb_hinter__step, false},
    {nadb_shared__step, true},
};

bool nadb_store__may_close(struct nadb_store *store)
{
    return nadb_compact__may_close(store) && nadb_list_is_empty(&store->cold.running) &&
           store->backup.state == NADB_BACKUP_IDLE && store->verify->state == NADB_VERIFY_IDLE &&
           store->hinter.state == NADB_HINTER_IDLE && nadb_shared__is_idle(store);
}

bool nadb_store_step(struct nadb_store *store, uint64_t budget_us)
{
    NADB_ASSERT(!store->cmd_is_open);
    if (store->phase == NADB_STORE_OPENING) {
        return nadb_replay__step(store, budget_us);
    }
    if (store->phase != NADB_STORE_OPEN && store->phase != NADB_STORE_CLOSING) {
        return false;
    }
    bool has_more = false;
    for (size_t i = 0; i < NADB_ARRAY_LEN(background); i++) {
        /* Who comes behind one that used the budget up gets enough to go on. */
        uint64_t share_us = has_more ? budget_us / STEP_SHARES : budget_us;
        if (store->phase == NADB_STORE_OPEN || background[i].is_for_close) {
            has_more |= background[i].step(store, share_us);
        }
    }
    return has_more;
}

uint64_t nadb_store_next_due_ms(struct nadb_store *store, uint64_t max_ms)
{
    uint64_t due_ms = max_ms;
    if (store->phase != NADB_STORE_OPEN && store->phase != NADB_STORE_CLOSING) {
        return max_ms;
    }
    uint64_t flush_ms = nadb_flight__due_in_ms(store);
    due_ms = flush_ms < due_ms ? flush_ms : due_ms;
    uint64_t expire_ms = nadb_wheel_next_ms(store->wheel);
    if (expire_ms != UINT64_MAX) { /* one that step has left although it is due is no hurry */
        uint64_t in_ms = expire_ms > store->now_ms ? expire_ms - store->now_ms : 1;
        due_ms = in_ms < due_ms ? in_ms : due_ms;
    }
    return due_ms;
}

/* ---- around a command ---- */

void nadb_store_command_begin(struct nadb_store *store)
{
    NADB_ASSERT(!store->cmd_is_open);
    store->cmd_is_open = true;
    store->cmd_wrote = false;
    store->cmd_hold = 0;
}

uint64_t nadb_store_command_end(struct nadb_store *store)
{
    NADB_ASSERT(store->cmd_is_open);
    store->cmd_is_open = false;
    return nadb_store_command_hold(store);
}

uint64_t nadb_store_command_hold(const struct nadb_store *store)
{
    if (store->is_volatile) {
        return 0;
    }
    uint64_t hold = store->cmd_hold;
    if (store->cmd_wrote && store->durability == NADB_DURABILITY_ALWAYS) {
        hold = store->version;
    }
    return hold > store->durable ? hold : 0;
}

uint64_t nadb_store_durable(const struct nadb_store *store)
{
    return store->durable;
}

/* ---- reading ---- */

struct nadb_key nadb_store_key(const struct nadb_store *store, struct nadb_slice name)
{
    return (struct nadb_key){.name = name, .hash = nadb_hash(store->hash_key, name)};
}

void nadb_store_prefetch_slot(const struct nadb_keyspace *keyspace, uint64_t hash)
{
    nadb_index_prefetch_slot(&keyspace->space->index, hash);
}

void nadb_store_prefetch_record(const struct nadb_keyspace *keyspace, uint64_t hash)
{
    nadb_index_prefetch_rec(&keyspace->space->index, hash);
}

uint64_t nadb_store_count(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    if (store->shared != NULL) {
        return nadb_shared__count(store, keyspace);
    }
    nadb_store__note_seen_all(store);
    return nadb_keyspace_count(keyspace);
}

static struct nadb_rec *look_up(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    nadb_index_slot slot = nadb_change__find_live(store, keyspace->space, key);
    return slot == NULL ? NULL : nadb_index_rec(slot);
}

const struct nadb_rec *nadb_store_peek(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    return look_up(store, keyspace, key);
}

const struct nadb_rec *nadb_store_read(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    struct nadb_rec *rec = look_up(store, keyspace, key);
    if (rec == NULL) {
        store->stats.misses++;
        return NULL;
    }
    store->stats.hits++;
    if (NADB_UNLIKELY(rec->flags & NADB_REC_IS_FETCHED)) {
        rec->flags = rec->flags & (0xffu & ~(unsigned)NADB_REC_IS_FETCHED);
    }
    uint32_t now_s = (uint32_t)(store->now_ms / 1000) & ((1u << NADB_REC_ACCESSED_BITS) - 1);
    if (rec->accessed_s != now_s && !nadb_store__is_frozen(store, rec)) {
        rec->accessed_s = now_s & ((1u << NADB_REC_ACCESSED_BITS) - 1);
    }
    return rec;
}

struct scan {
    const struct nadb_store *store;
    const struct nadb_space *space;
    nadb_store_visit_fn *visit;
    void *ctx;
};

static void scan_record(void *ctx, struct nadb_rec *rec)
{
    const struct scan *scan = ctx;
    uint64_t expire_ms = nadb_rec_expire_ms(rec);
    if ((expire_ms == 0 || expire_ms > scan->store->now_ms) &&
        !nadb_space__is_dying(scan->space, rec)) {
        scan->visit(scan->ctx, rec);
    }
}

/* Positions end in zeros, so a cursor is half of one and fits every client's signed integers. */
uint64_t nadb_store_scan(struct nadb_store *store, struct nadb_keyspace *keyspace, uint64_t cursor,
    nadb_store_visit_fn *visit, void *ctx)
{
    if (store->shared != NULL) {
        return nadb_shared__scan(store, keyspace, cursor, visit, ctx);
    }
    nadb_store__note_seen_all(store);
    struct scan scan = {store, keyspace->space, visit, ctx};
    return nadb_index_visit(
               &keyspace->space->index, cursor << 1, SCAN_RECORDS, scan_record, &scan) >>
           1;
}

const struct nadb_rec *nadb_store_random(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    if (store->shared != NULL) {
        return nadb_shared__random(store, keyspace);
    }
    nadb_store__note_seen_all(store);
    for (unsigned i = 0; i < RANDOM_TRIES; i++) {
        uint64_t at = 0;
        nadb_random_bytes(&at, sizeof(at));
        const struct nadb_rec *rec = nadb_index_at(&keyspace->space->index, at);
        if (rec == NULL) {
            return NULL;
        }
        uint64_t expire_ms = nadb_rec_expire_ms(rec);
        if ((expire_ms == 0 || expire_ms > store->now_ms) &&
            !nadb_space__is_dying(keyspace->space, rec)) {
            return rec;
        }
    }
    return NULL;
}

/* ---- settings and statistics ---- */

void nadb_store_set_maxmemory(struct nadb_store *store, uint64_t bytes)
{
    store->maxmemory_bytes = bytes;
}

void nadb_store_stats(const struct nadb_store *store, struct nadb_store_stats *ret)
{
    *ret = store->stats;
    ret->cold_keys = store->cold.count;
    ret->dropped_values = store->cold.dropped;
    ret->fetched_values = store->cold.fetched;
    ret->fetch_failures = store->cold.fetch_failures;
    ret->buffer_entries = store->buf.count;
    ret->buffer_bytes = store->buf.bytes;
    ret->buffer_size_bytes = store->buffer_size_bytes;
    ret->is_flushing = store->flight.state == NADB_FLIGHT_RUNNING;
    if (store->flight.state != NADB_FLIGHT_IDLE && store->flight.state != NADB_FLIGHT_LANDING) {
        ret->buffer_bytes += store->flight.buf.bytes;
    }
    ret->flush_started_ms = store->flight.started_ms;
    ret->state = store->state;
    ret->version = store->version;
    for (size_t i = 0; i < store->keyspace_count; i++) {
        ret->keys += nadb_keyspace_count(store->keyspaces[i]);
        ret->index_bytes += store->keyspaces[i]->space->index.bytes;
    }
}

void nadb_store_stats_reset(struct nadb_store *store)
{
    store->stats.hits = store->stats.misses = 0;
    store->stats.expired = store->stats.evicted = 0;
}

enum nadb_durability nadb_store_durability(const struct nadb_store *store)
{
    return store->durability_next;
}

const char *nadb_storage_state_name(enum nadb_storage_state state)
{
    switch (state) {
    case NADB_STORAGE_OK:
        return "ok";
    case NADB_STORAGE_DEGRADED:
        return "degraded";
    case NADB_STORAGE_FAILED:
        return "failed";
    }
    return "unknown";
}
