/* This file brings the write buffer to the backend: when, in what portions, and what follows.
 *
 *     IDLE -> RUNNING      [cut: the buffer becomes the flight, a job writes it]
 *     RUNNING -> LANDING   [landed_job: written]
 *     RUNNING -> IDLE      [landed_job: failed, durability always: everything is taken back]
 *     RUNNING -> RETRY     [landed_job: failed, otherwise: kept, and written again later]
 *     RETRY -> RUNNING     [nadb_flight__start_if_due]
 *     LANDING -> IDLE      [nadb_flight__land: every record knows where it is]
 *
 * There is one flight at a time; what changes meanwhile gathers in the buffer, so a slow disk makes
 * batches larger, not more of them. Cutting costs nothing: the buffer is exchanged for an empty
 * one, and every record in it is frozen by its version (frozen_version). The worker reads the
 * frozen records themselves; nothing is copied on the loop.
 *
 * Invariants:
 *   1. While RUNNING the loop touches neither flight.buf nor flight.batch.
 *   2. durable never passes a version whose batch was not synced after it was written.
 *   3. Batches that were written before a sync are made durable by it: they are in one log. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

/* What a batch waits for in durability always, see is_gathered: of ten that may come so many, and
 * how long. The least time is what some dozens of clients need to be answered and heard. */
#define GATHER_TENTHS 8u
#define GATHER_TURNS  8u
#define GATHER_US_MIN 500u
#define GATHER_US_MAX 10000u

#define BUFFER_SHARE 16u /* of maxmemory, at most, before it is written */
#define BUFFER_MIN   65536u

#define STALE_FIRST   64u
#define LAND_CHUNK    512u
#define LAND_PREFETCH 8u
#define READ_PREFETCH 8u

/* What a flight leaves is kept for the next if it is for few entries, or if at least this share of
 * what it has room for came in while the flight went. */
#define SPARE_CAP_MAX (1u << 16)
#define STEADY_SHARE  16u

/* ---- the worker's half ---- */

static void batch_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct nadb_flight *flight = batch->entry_ctx;
    if (index + READ_PREFETCH < flight->buf.count) {
        const char *ahead = (const char *)(uintptr_t)(flight->buf.entries[index + READ_PREFETCH] &
                                                      NADB_WBUF_ADDRESS_MASK);
        NADB_PREFETCH(ahead);
        NADB_PREFETCH(ahead + 64);
        NADB_PREFETCH(ahead + NADB_REC_USUAL_LAST);
    }
    nadb_wbuf__describe(flight->buf.entries[index], batch->wall_ms / 1000, ret);
}

/* Takes the holes out, so that the backend sees entries only. Thread: worker. */
static void pack(struct nadb_wbuf *buf)
{
    size_t kept = 0;
    for (size_t i = 0; i < buf->count; i++) {
        if (buf->entries[i] != 0) {
            buf->entries[kept++] = buf->entries[i];
        }
    }
    buf->count = kept;
}

/* Thread: worker. */
static void flight_run(struct nadb_job *job)
{
    struct nadb_flight *flight = NADB_CONTAINER_OF(job, struct nadb_flight, job);
    struct nadb_store *store = NADB_CONTAINER_OF(flight, struct nadb_store, flight);
    pack(&flight->buf);
    flight->batch.count = flight->buf.count;
    if (flight->locs_cap < flight->buf.count) {
        nadb_mem_free(flight->locs);
        flight->locs_cap = flight->buf.cap;
        flight->locs = nadb_mem_alloc(flight->locs_cap * sizeof(uint64_t));
    }
    flight->batch.locs = flight->locs;
    flight->err = store->backend_ops->write(store->backend, &flight->batch, &flight->error);
}

/* ---- cutting ---- */

static void submit(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    flight->state = NADB_FLIGHT_RUNNING;
    flight->started_us = nadb_clock_mono_us(store->clock);
    flight->started_ms = store->now_ms;
    flight->job.lane = flight->durability == NADB_DURABILITY_ALWAYS ? NADB_JOB_FAST : NADB_JOB_SLOW;
    nadb_executor_submit(store->executor, &flight->job);
}

static void cut(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    NADB_ASSERT(flight->state == NADB_FLIGHT_IDLE && !store->cmd_is_open);
    uint64_t wall_ms = store->now_ms;
    if (store->needs_mark && store->mark_ms > wall_ms) {
        wall_ms = store->mark_ms;
    }
    /* The clock has gone back since something expired: its mark goes ahead in a batch of its own,
     * or it would take along what the buffer has with deadlines of the new time. */
    bool is_mark_only = wall_ms > store->now_ms && store->buf.count > 0;
    if (!is_mark_only) {
        struct nadb_wbuf spare = flight->buf;
        flight->buf = store->buf;
        store->buf = spare;
        store->pace.cut_bytes += flight->buf.bytes;
        store->evict.owed_by_flight = store->evict.owed;
        store->evict.owed = 0;
    }
    flight->durability = store->durability;
    flight->mark_ms = store->needs_mark ? store->mark_ms : 0;
    bool is_sync = store->durability != NADB_DURABILITY_BUFFERED || store->is_sync_wanted ||
                   store->phase == NADB_STORE_CLOSING;
    flight->batch = (struct nadb_batch){
        .seq = ++store->batch_seq,
        .last_version = is_mark_only ? store->written : store->version,
        .wall_ms = wall_ms,
        .is_sync = is_sync,
        .compression = store->compression,
        .entry = batch_entry,
        .entry_ctx = flight,
        .stats = store->stats.backend,
    };
    if (flight->buf.count == 0) {
        flight->buf.first_us = store->now_us;
    }
    store->frozen_version = flight->batch.last_version;
    store->needs_mark = false;
    flight->landed = 0;
    if (!is_mark_only) {
        store->durability = store->durability_next;
        store->is_flush_wanted = store->is_sync_wanted = false;
        store->stats.changes_unsaved = 0;
    }
    submit(store);
}

/* What may gather: with little memory less, because what is dirty cannot be dropped. */
static uint64_t buffer_size(const struct nadb_store *store)
{
    uint64_t size = store->buffer_size_bytes;
    if (store->maxmemory_bytes > 0 && size > store->maxmemory_bytes / BUFFER_SHARE) {
        size = store->maxmemory_bytes / BUFFER_SHARE;
    }
    return size < BUFFER_MIN && size < store->buffer_size_bytes ? BUFFER_MIN : size;
}

static uint64_t age_us(const struct nadb_store *store, uint64_t since_us)
{
    return store->now_us > since_us ? store->now_us - since_us : 0;
}

/* In durability always a batch waits for those who were answered a moment ago: they are about to
 * send their next command, and who misses a batch waits for a whole one. Otherwise clients fall
 * into two groups that take turns, and there are twice as many syncs; on a fast disk these are what
 * the time goes to, on a slow one each client waits for two of them. Not for the last of them: who
 * is heard while the batch is written is among the first of the next. It is cut when most have
 * changed something, when several turns on end brought nothing, and at the latest after half of
 * what the last batch took, or the nearer of the two bounds. */
static bool is_gathered(const struct nadb_store *store)
{
    const struct nadb_flight *flight = &store->flight;
    uint64_t limit_us = store->stats.flush_last_duration_us / 2;
    limit_us = limit_us < GATHER_US_MIN ? GATHER_US_MIN : limit_us;
    limit_us = limit_us > GATHER_US_MAX ? GATHER_US_MAX : limit_us;
    return store->durability == NADB_DURABILITY_ALWAYS &&
           (store->buf.count * 10 >= flight->gather_count * GATHER_TENTHS ||
               flight->quiet_turns >= GATHER_TURNS || age_us(store, flight->landed_us) >= limit_us);
}

/* How long until a flush is due, were none in flight. */
static uint64_t due_in_us(const struct nadb_store *store)
{
    bool has_work = store->buf.count > 0;
    bool is_urgent = store->is_flush_wanted || store->phase == NADB_STORE_CLOSING ||
                     store->durability != store->durability_next ||
                     (has_work && is_gathered(store)) || store->buf.bytes >= buffer_size(store) ||
                     store->buf.bytes >= NADB_BATCH_BYTES_MAX;
    if (is_urgent) {
        return 0;
    }
    uint64_t due_us = UINT64_MAX;
    if (has_work) {
        uint64_t age = age_us(store, store->buf.first_us);
        due_us = age >= store->flush_interval_us ? 0 : store->flush_interval_us - age;
    }
    if (store->needs_mark) {
        uint64_t age = age_us(store, store->mark_us);
        uint64_t mark_us = age >= store->flush_interval_us ? 0 : store->flush_interval_us - age;
        due_us = mark_us < due_us ? mark_us : due_us;
    }
    return due_us;
}

static bool has_anything(const struct nadb_store *store)
{
    return store->buf.count > 0 || store->durable < store->version || store->needs_mark ||
           store->state != NADB_STORAGE_OK;
}

static void close_run(struct nadb_job *job)
{
    struct nadb_store *store = NADB_CONTAINER_OF(job, struct nadb_store, close_job);
    store->close_err = store->backend_ops->close(store->backend, &store->close_error);
}

static void close_done(struct nadb_job *job)
{
    struct nadb_store *store = NADB_CONTAINER_OF(job, struct nadb_store, close_job);
    store->events->closed(store->events_ctx, store->close_err, &store->close_error);
}

static const struct nadb_job_ops close_ops = {
    .name = "close", .run = close_run, .done = close_done, .discard = close_done};

static void start_close(struct nadb_store *store)
{
    if (!nadb_store__may_close(store)) {
        return; /* it comes back */
    }
    NADB_ASSERT(store->flight.state == NADB_FLIGHT_IDLE || store->is_discarding);
    store->phase = NADB_STORE_CLOSED;
    nadb_job_init(&store->close_job, &close_ops, NADB_JOB_FAST);
    nadb_executor_submit(store->executor, &store->close_job);
}

void nadb_flight__start_if_due(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    if (store->is_volatile) {
        if (store->phase == NADB_STORE_CLOSING) {
            start_close(store);
        }
        return;
    }
    bool is_discarding = store->phase == NADB_STORE_CLOSING && store->is_discarding;
    if (flight->state == NADB_FLIGHT_RETRY && is_discarding) {
        start_close(store);
        return;
    }
    if (flight->state == NADB_FLIGHT_RETRY &&
        (store->now_us >= flight->retry_us || store->is_flush_wanted ||
            store->phase == NADB_STORE_CLOSING)) {
        flight->batch.is_sync |= store->is_sync_wanted || store->phase == NADB_STORE_CLOSING;
        submit(store);
        return;
    }
    if (flight->state != NADB_FLIGHT_IDLE) {
        return;
    }
    if (is_discarding || (store->phase == NADB_STORE_CLOSING && !has_anything(store))) {
        start_close(store);
    } else if (due_in_us(store) == 0) {
        cut(store);
    } else if (store->state == NADB_STORAGE_FAILED && store->now_us >= flight->retry_us) {
        cut(store);
    }
}

uint64_t nadb_flight__due_in_ms(const struct nadb_store *store)
{
    const struct nadb_flight *flight = &store->flight;
    if (store->is_volatile || flight->state == NADB_FLIGHT_RUNNING) {
        return UINT64_MAX;
    }
    if (flight->state == NADB_FLIGHT_LANDING) {
        return 0;
    }
    if (store->durability == NADB_DURABILITY_ALWAYS && store->buf.count > 0 &&
        flight->state == NADB_FLIGHT_IDLE && store->phase == NADB_STORE_OPEN) {
        return 0; /* gathering: turns go on without sleep */
    }
    uint64_t due_us = flight->state == NADB_FLIGHT_IDLE ? due_in_us(store) : UINT64_MAX;
    if (flight->state == NADB_FLIGHT_RETRY || store->state == NADB_STORAGE_FAILED) {
        uint64_t retry_us = flight->retry_us > store->now_us ? flight->retry_us - store->now_us : 0;
        due_us = retry_us < due_us ? retry_us : due_us;
    }
    if (due_us == 0) {
        return 1; /* it waits for something else to end: no reason to spin */
    }
    return due_us == UINT64_MAX ? UINT64_MAX : (due_us + 999) / 1000;
}

/* ---- landing ---- */

void nadb_flight__dispose(struct nadb_store *store, struct nadb_rec *rec, bool is_superseded)
{
    struct nadb_flight *flight = &store->flight;
    if (!nadb_store__is_frozen(store, rec)) {
        nadb_rec_free(rec);
        return;
    }
    if (flight->stale_count == flight->stale_cap) {
        flight->stale_cap = flight->stale_cap == 0 ? STALE_FIRST : flight->stale_cap * 2;
        flight->stale =
            nadb_mem_realloc(flight->stale, flight->stale_cap * sizeof(struct nadb_rec *));
    }
    flight->stale[flight->stale_count++] = rec;
    flight->has_bare_stale |= !is_superseded;
}

/* Whether an array of `cap` is far larger than what goes on needs. */
static bool is_oversized(size_t cap, size_t needed)
{
    return cap > SPARE_CAP_MAX && cap / STEADY_SHARE > needed;
}

static void free_buffer_if_oversized(struct nadb_wbuf *buf, size_t needed)
{
    if (buf->count == 0 && is_oversized(buf->cap, needed)) {
        nadb_mem_free(buf->entries);
        *buf = (struct nadb_wbuf){0};
    }
}

static void free_arrays(struct nadb_flight *flight)
{
    nadb_mem_free(flight->locs);
    flight->locs = NULL;
    flight->locs_cap = 0;
    nadb_mem_free(flight->stale);
    flight->stale = NULL;
    flight->stale_cap = 0;
}

/* What the next flight will need shows in what came while this one went. */
static void shrink(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    size_t needed = store->buf.count;
    free_buffer_if_oversized(&flight->buf, needed);
    free_buffer_if_oversized(&store->buf, needed);
    if (is_oversized(flight->locs_cap, needed) || is_oversized(flight->stale_cap, needed)) {
        free_arrays(flight);
    }
}

/* Nothing is frozen any more. */
static void end_flight(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    for (size_t i = 0; i < flight->stale_count; i++) {
        struct nadb_rec *rec = flight->stale[i];
        if (i + LAND_PREFETCH < flight->stale_count) {
            NADB_PREFETCH(flight->stale[i + LAND_PREFETCH]);
        }
        if (nadb_store__is_placed(rec)) {
            nadb_usage__drop(
                store, nadb_rec_place(rec), nadb_wbuf__cost(rec), !flight->has_bare_stale);
        }
        nadb_rec_free(rec);
    }
    flight->stale_count = 0;
    flight->has_bare_stale = false;
    flight->buf.count = 0;
    flight->buf.bytes = 0;
    shrink(store);
    store->frozen_version = 0;
    store->evict.owed_by_flight = 0;
    flight->state = NADB_FLIGHT_IDLE;
}

void nadb_flight__admit_waiters(struct nadb_store *store)
{
    if (store->has_waiters) {
        store->has_waiters = false;
        store->events->admit(store->events_ctx);
    }
}

static void land_entry(struct nadb_store *store, uint64_t entry, uint64_t loc)
{
    if ((entry & 7) == NADB_WBUF_PUT) {
        struct nadb_rec *rec = (struct nadb_rec *)(uintptr_t)(entry & NADB_WBUF_ADDRESS_MASK);
        rec->flags = (rec->flags & (0xffu & ~(unsigned)NADB_REC_IS_DIRTY)) | NADB_REC_HAS_DISK;
        nadb_rec_set_place(rec, loc);
        nadb_usage__wrote(store, loc, nadb_wbuf__cost(rec), true);
    } else {
        nadb_usage__wrote(store, loc, NADB_WBUF_ENTRY_COST, false);
        nadb_wbuf__drop_entry(entry);
    }
}

bool nadb_flight__land(struct nadb_store *store, uint64_t budget_us)
{
    struct nadb_flight *flight = &store->flight;
    if (flight->state != NADB_FLIGHT_LANDING) {
        return false;
    }
    uint64_t begin_us = nadb_clock_mono_us(store->clock);
    const uint64_t *entries = flight->buf.entries;
    while (flight->landed < flight->buf.count) {
        size_t end = flight->landed + LAND_CHUNK;
        end = end < flight->buf.count ? end : flight->buf.count;
        for (; flight->landed < end; flight->landed++) {
            size_t at = flight->landed;
            if (at + LAND_PREFETCH < end) {
                __builtin_prefetch(
                    (const void *)(uintptr_t)(entries[at + LAND_PREFETCH] & NADB_WBUF_ADDRESS_MASK),
                    1);
            }
            land_entry(store, entries[at], flight->batch.locs[at]);
        }
        if (flight->landed < flight->buf.count &&
            nadb_store__elapsed_us(store, begin_us) >= budget_us) {
            return true;
        }
    }
    uint64_t version = flight->batch.last_version;
    if (flight->buf.count > 0) {
        store->use_active = nadb_loc_segment(flight->batch.locs[flight->buf.count - 1]);
    }
    end_flight(store);
    nadb_undo__forget(store, version);
    nadb_cold__note_landed(store);
    nadb_compact__flight_ended(store);
    nadb_pace__flight_ended(store);
    nadb_flight__admit_waiters(store);
    nadb_flight__start_if_due(store);
    return false;
}

static void note_success(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    struct nadb_store_stats *stats = &store->stats;
    stats->flushes++;
    stats->flush_last_ms = flight->started_ms;
    stats->flush_last_duration_us = nadb_store__elapsed_us(store, flight->started_us);
    stats->flush_last_entries = flight->batch.count;
    stats->flush_last_bytes = flight->buf.bytes;
    stats->flush_last_err = NADB_OK;
    flight->landed_us = nadb_clock_mono_us(store->clock);
    flight->quiet_turns = 0;
    flight->gather_count = flight->batch.count + store->buf.count;
    stats->backend = flight->batch.stats;
    if (store->state != NADB_STORAGE_OK) {
        store->state = NADB_STORAGE_OK;
        store->events->notice(store->events_ctx, false, "the disk takes writes again");
    }
}

/* What was promised durable before the reply is taken back: the whole undo log, which is what came
 * since the flight was cut and, if the flight was cut in the same mode, the flight. A flight of
 * another mode has been answered already, or its records have been changed in place since: it is
 * kept and goes out again. */
static void take_back_or_keep(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    bool is_always = store->durability == NADB_DURABILITY_ALWAYS;
    if (is_always) {
        nadb_undo__roll_back(store);
        store->evict.owed = 0; /* the keys are back */
    }
    if (!is_always || flight->durability != NADB_DURABILITY_ALWAYS) {
        flight->state = NADB_FLIGHT_RETRY;
        return;
    }
    /* The index has let go of the flight's records; its tombstones and controls are left. */
    for (size_t i = 0; i < flight->buf.count; i++) {
        nadb_wbuf__drop_entry(flight->buf.entries[i]);
    }
    end_flight(store);
    if (flight->mark_ms != 0) {
        store->mark_ms = store->needs_mark && store->mark_ms > flight->mark_ms ? store->mark_ms
                                                                               : flight->mark_ms;
        store->needs_mark = true;
        store->mark_us = store->now_us;
    }
    /* A batch that certainly is not in the log leaves its number to the next. */
    if (flight->err != NADB_ESYNC) {
        store->batch_seq--;
    }
}

/* The error as clients read it. */
static void set_state_error(struct nadb_store *store)
{
    const struct nadb_flight *flight = &store->flight;
    bool is_unknown = flight->err == NADB_ESYNC;
    const char *reason =
        flight->error.sys_errno != 0 ? strerror(flight->error.sys_errno) : flight->error.text;
    (void)nadb_error_set(&store->state_error, is_unknown ? NADB_ESYNC : NADB_ENOSPC, 0,
        "%s: %.200s", is_unknown ? "outcome unknown" : "disk write failed", reason);
}

static void note_failure(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    store->stats.flush_failures++;
    store->stats.flush_last_err = flight->err;
    store->stats.backend = flight->batch.stats;
    set_state_error(store);
    enum nadb_storage_state state =
        flight->err == NADB_ESYNC ? NADB_STORAGE_FAILED : NADB_STORAGE_DEGRADED;
    if (store->state != state) {
        store->state = state;
        store->events->notice(store->events_ctx, true, flight->error.text);
    }
    flight->retry_us = store->now_us + NADB_RETRY_US;
    /* Who asked for this flush gets an answer now; the next attempt comes by itself. */
    store->is_flush_wanted = store->is_sync_wanted = false;
    take_back_or_keep(store);
    struct nadb_error error = store->state_error;
    if (flight->state == NADB_FLIGHT_RETRY && flight->durability == NADB_DURABILITY_ALWAYS) {
        error.code = NADB_ESYNC; /* the mode has changed meanwhile: its writes are kept */
    }
    store->events->undone(store->events_ctx, &error);
    nadb_flight__admit_waiters(store);
}

static void flight_done(struct nadb_job *job)
{
    struct nadb_flight *flight = NADB_CONTAINER_OF(job, struct nadb_flight, job);
    struct nadb_store *store = NADB_CONTAINER_OF(flight, struct nadb_store, flight);
    NADB_ASSERT(flight->state == NADB_FLIGHT_RUNNING);
    if (flight->err != NADB_OK) {
        note_failure(store);
        if (store->phase == NADB_STORE_CLOSING && !store->is_discarding) {
            store->phase = NADB_STORE_OPEN;
            store->events->closed(store->events_ctx, store->state_error.code, &store->state_error);
        } else if (store->phase == NADB_STORE_CLOSING) {
            start_close(store);
        }
        return;
    }
    note_success(store);
    flight->state = NADB_FLIGHT_LANDING;
    store->written = flight->batch.last_version;
    if (flight->batch.is_sync) {
        store->durable = flight->batch.last_version;
        if (store->unsure <= store->durable) {
            store->unsure = 0;
        }
        store->events->durable(store->events_ctx);
    }
    /* A small batch, as those of durability always are, lands at once. */
    if (flight->buf.count <= LAND_CHUNK) {
        (void)nadb_flight__land(store, 0);
    } else {
        store->events->wake(store->events_ctx);
    }
}

static void flight_discard(struct nadb_job *job)
{
    struct nadb_flight *flight = NADB_CONTAINER_OF(job, struct nadb_flight, job);
    flight->state = NADB_FLIGHT_RETRY;
}

static const struct nadb_job_ops flight_ops = {
    .name = "flush", .run = flight_run, .done = flight_done, .discard = flight_discard};

void nadb_flight__init(struct nadb_store *store)
{
    nadb_job_init(&store->flight.job, &flight_ops, NADB_JOB_FAST);
}

void nadb_flight__fini(struct nadb_store *store)
{
    struct nadb_flight *flight = &store->flight;
    NADB_ASSERT(flight->state != NADB_FLIGHT_RUNNING);
    /* What has landed already is no longer the entries'. */
    for (size_t i = 0; i < flight->landed && i < flight->buf.count; i++) {
        flight->buf.entries[i] = 0;
    }
    for (size_t i = 0; i < flight->stale_count; i++) {
        nadb_rec_free(flight->stale[i]);
    }
    free_arrays(flight);
    nadb_wbuf__fini(&flight->buf);
    nadb_wbuf__fini(&store->buf);
}

/* ---- durability for callers ---- */

void nadb_store_flush(struct nadb_store *store)
{
    NADB_ASSERT(store->cmd_is_open);
    if (store->is_volatile || !(has_anything(store) || store->flight.state != NADB_FLIGHT_IDLE)) {
        return;
    }
    if (store->durable < store->version) {
        store->is_flush_wanted = store->is_sync_wanted = true;
        store->cmd_hold = store->version;
    }
}

void nadb_store_flush_start(struct nadb_store *store)
{
    if (!store->is_volatile && has_anything(store)) {
        store->is_flush_wanted = store->is_sync_wanted = true;
    }
}

void nadb_store_set_durability(struct nadb_store *store, enum nadb_durability durability)
{
    store->durability_next = durability;
    if (store->is_volatile || (store->buf.count == 0 && store->flight.state == NADB_FLIGHT_IDLE &&
                                  store->undo.count == 0)) {
        store->durability = durability;
    }
}

void nadb_store_set_compression(
    struct nadb_store *store, const struct nadb_compression *compression)
{
    store->compression = *compression;
}

void nadb_store_set_buffer(struct nadb_store *store, uint64_t size_bytes, uint64_t interval_ms)
{
    store->buffer_size_bytes = size_bytes;
    store->flush_interval_us = interval_ms * 1000;
}

/* ---- admission ---- */

static enum nadb_admission wait_or_refuse(struct nadb_store *store, struct nadb_error *reterr)
{
    if (store->state == NADB_STORAGE_OK) {
        store->has_waiters = true;
        return NADB_ADMIT_WAIT;
    }
    /* Nothing of this command has been tried, whatever became of the batch that failed. */
    const char *reason = strstr(store->state_error.text, ": ");
    (void)nadb_error_set(reterr, NADB_ENOSPC, 0, "disk write failed%s", reason);
    return NADB_ADMIT_REFUSE;
}

/* The oldest change that is not durable is older than two intervals. */
static bool is_overdue(const struct nadb_store *store)
{
    uint64_t oldest_us = store->buf.count > 0 ? store->buf.first_us : store->now_us;
    if (store->flight.state != NADB_FLIGHT_IDLE && store->flight.state != NADB_FLIGHT_LANDING &&
        store->flight.buf.first_us < oldest_us) {
        oldest_us = store->flight.buf.first_us;
    }
    return store->durability == NADB_DURABILITY_INTERVAL &&
           age_us(store, oldest_us) > 2 * store->flush_interval_us;
}

/* What only deletes or dates records gets half as much again, so that it can still follow. */
bool nadb_store_is_batch_full(const struct nadb_store *store, bool is_growing)
{
    return store->buf.bytes >= (is_growing ? NADB_BATCH_BYTES_MAX : NADB_BATCH_BYTES_MAX / 2 * 3);
}

enum nadb_admission nadb_store_admit(
    struct nadb_store *store, bool is_growing, struct nadb_error *reterr)
{
    if (store->shared != NULL && nadb_shared__is_busy(store)) {
        (void)nadb_error_set(reterr, NADB_EBUSY, 0, "too much waits for the engine");
        return NADB_ADMIT_REFUSE;
    }
    if (is_growing && store->maxmemory_bytes > 0 && store->shared == NULL) {
        enum nadb_room room = nadb_evict__make_room(store);
        if (room == NADB_ROOM_NONE) {
            (void)nadb_error_set(
                reterr, NADB_ENOMEM, 0, "command not allowed when used memory > 'maxmemory'.");
            return NADB_ADMIT_REFUSE;
        }
        if (room == NADB_ROOM_SOON) {
            return wait_or_refuse(store, reterr);
        }
    }
    if (store->is_volatile) {
        return NADB_ADMIT;
    }
    if (store->phase != NADB_STORE_OPEN) {
        (void)nadb_error_set(reterr, NADB_EUSAGE, 0, "the server is shutting down");
        return NADB_ADMIT_REFUSE;
    }
    if (NADB_UNLIKELY(store->state == NADB_STORAGE_FAILED)) {
        return wait_or_refuse(store, reterr);
    }
    uint64_t limit =
        buffer_size(store) * (is_growing ? NADB_BACKLOG_FACTOR : 2 * NADB_BACKLOG_FACTOR);
    if (NADB_UNLIKELY(store->buf.bytes >= limit) ||
        NADB_UNLIKELY(nadb_store_is_batch_full(store, is_growing)) ||
        (NADB_UNLIKELY(is_overdue(store)) && (is_growing || store->state == NADB_STORAGE_OK)) ||
        (is_growing && NADB_UNLIKELY(nadb_pace__must_wait(store)))) {
        return wait_or_refuse(store, reterr);
    }
    return NADB_ADMIT;
}
