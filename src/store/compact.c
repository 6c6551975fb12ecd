/* This file frees the disk of what is no longer needed.
 *
 * The backend rewrites a run of neighbouring segments as one; the store says of each entry whether
 * it is needed, because the index is the authority:
 *
 *     IDLE -> LIST -> COPY <-> JUDGE -> FINISH -> SETTLE -> PUBLISH -> MOVE -> REST -> END
 *                       ^                                                             |
 *                       '-------------------- the next run of the pass ---------------'
 *
 *     LIST     job: the segments in the order of the log; the loop picks a run
 *     COPY     job: writes what was judged, reads the next part
 *     JUDGE    loop, in slices: a verdict for each entry of the part
 *     FINISH   job: the new segment is whole and stable
 *     SETTLE   waits until all that the verdicts were based on is durable
 *     PUBLISH  job: the new segment takes the run's place; tried again until it succeeds
 *     MOVE     loop, in slices: records learn their new places
 *     REST     waits until nothing that the undo log could bring back, or that was cleared and is
 *              yet to be freed, has an old place
 *     END      job: the run's files are removed
 *
 * Which segments are a run says compact_pick.c, and what of them is needed compact_judge.c.
 *
 * Invariants:
 *   1. A segment is taken only when the flight is idle and all of its batches have landed: a record
 *      whose entry is in the run and that is dirty has changed since.
 *   2. Nothing is published before the newest version at the end of JUDGE is durable; a roll back
 *      before that ends the run. So what was judged dead stays dead.
 *   3. The run's files stay until no record that can be found, or be brought back, has a place in
 *      them; a roll back in MOVE or REST begins MOVE again.
 *   4. A run that fails changes nothing but the time of the next try. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/compact_internal.h"

#define MOVES_FIRST 1024u
#define RETRY_US    UINT64_C(30000000) /* after a failure */

static const struct nadb_compact_ops *ops_of(const struct nadb_compact *c)
{
    return c->store->backend_ops->compact;
}

static void part_free(struct nadb_compact *c, struct nadb_compact_part *part)
{
    if (part->verdicts == NULL) {
        return; /* nothing was read */
    }
    c->store->backend_ops->replay_free(&part->chunk);
    nadb_mem_free(part->verdicts);
    nadb_mem_free(part->hashes);
    nadb_mem_free(part->locs);
    *part = (struct nadb_compact_part){.verdicts = NULL};
}

/* ---- the worker's half ---- */

static enum nadb_err read_next(struct nadb_compact *c)
{
    struct nadb_replay_chunk *chunk = &c->next.chunk;
    enum nadb_err err = ops_of(c)->read(c->compaction, chunk, &c->error);
    if (err != NADB_OK) {
        return err;
    }
    c->next.verdicts = nadb_mem_zalloc(chunk->count + 1);
    c->next.hashes = nadb_mem_alloc((chunk->count + 1) * sizeof(*c->next.hashes));
    c->next.locs = nadb_mem_zalloc((chunk->count + 1) * sizeof(*c->next.locs));
    for (size_t i = 0; i < chunk->count; i++) {
        c->next.hashes[i] = nadb_hash(c->store->hash_key, chunk->entries[i].key);
    }
    return NADB_OK;
}

static enum nadb_err begin_run(struct nadb_compact *c)
{
    uint64_t ids[NADB_COMPACT_RUN_MAX];
    for (size_t i = 0; i < c->count; i++) {
        ids[i] = c->list[c->at + i].id;
    }
    return ops_of(c)->begin(
        c->store->backend, ids, c->count, &c->compression, &c->compaction, &c->error);
}

static uint64_t cost_of(const struct nadb_entry *entry)
{
    size_t value_len = entry->codec == NADB_CODEC_RAW ? entry->value.len : entry->raw_len;
    return entry->key.len + value_len + entry->tags.len + NADB_WBUF_ENTRY_COST;
}

static void add_move(struct nadb_compact *c, size_t at)
{
    const struct nadb_entry *entry = &c->part.chunk.entries[at];
    if (c->move_count == c->move_cap) {
        c->move_cap = c->move_cap == 0 ? MOVES_FIRST : c->move_cap * 2;
        c->moves = nadb_mem_realloc(c->moves, c->move_cap * sizeof(*c->moves));
    }
    c->moves[c->move_count++] = (struct nadb_compact_move){
        .hash = c->part.hashes[at],
        .version = entry->version & (((uint64_t)1 << NADB_REC_VERSION_BITS) - 1),
        .space = entry->keyspace,
        .loc = c->part.locs[at],
    };
}

/* The part has been written: what becomes of its records. */
static void note_moves(struct nadb_compact *c)
{
    for (size_t i = 0; i < c->part.chunk.count; i++) {
        const struct nadb_entry *entry = &c->part.chunk.entries[i];
        enum nadb_verdict verdict = (enum nadb_verdict)c->part.verdicts[i];
        c->budget_bytes += cost_of(entry);
        if (verdict == NADB_VERDICT_DROP) {
            c->part_dead += cost_of(entry);
            continue;
        }
        bool is_put = entry->kind == NADB_ENTRY_PUT && verdict == NADB_VERDICT_KEEP;
        uint64_t cost = is_put ? cost_of(entry) : entry->key.len + NADB_WBUF_ENTRY_COST;
        c->out_total += cost;
        c->out_kept += is_put ? 0 : cost;
        if (is_put) {
            add_move(c, i);
        }
    }
}

static enum nadb_err copy(struct nadb_compact *c)
{
    enum nadb_err err = NADB_OK;
    if (c->is_skipping) {
        err = begin_run(c);
        return err == NADB_OK ? ops_of(c)->skip(c->compaction, &c->error) : err;
    }
    c->was_last = c->part.chunk.is_last;
    if (c->compaction == NULL) {
        err = begin_run(c);
    } else if (c->part.chunk.count > 0 || c->part.chunk.backend_private != NULL) {
        err = ops_of(c)->write(
            c->compaction, &c->part.chunk, c->part.verdicts, c->part.locs, &c->error);
    }
    if (err == NADB_OK) {
        note_moves(c);
        part_free(c, &c->part);
    }
    return err == NADB_OK && !c->was_last ? read_next(c) : err;
}

/* Thread: worker. */
static void run(struct nadb_job *job)
{
    struct nadb_compact *c = NADB_CONTAINER_OF(job, struct nadb_compact, job);
    const struct nadb_backend_ops *ops = c->store->backend_ops;
    switch (c->step) {
    case NADB_COMPACT_STEP_LIST:
        c->err = ops->list(c->store->backend, c->must_close, &c->list, &c->list_count, &c->error);
        break;
    case NADB_COMPACT_STEP_COPY:
        c->err = copy(c);
        break;
    case NADB_COMPACT_STEP_FINISH:
        c->err = ops->compact->finish(c->compaction, &c->result, &c->error);
        break;
    case NADB_COMPACT_STEP_PUBLISH:
        c->err = ops->compact->publish(c->compaction, &c->error);
        break;
    case NADB_COMPACT_STEP_END:
        ops->compact->end(c->compaction, c->is_published);
        c->err = NADB_OK;
        break;
    }
}

/* ---- the loop's half ---- */

static void submit(
    struct nadb_compact *c, enum nadb_compact_step step, enum nadb_compact_state state)
{
    c->step = step;
    c->state = state;
    c->is_busy = true;
    nadb_executor_submit(c->store->executor, &c->job);
}

static void forget_run(struct nadb_compact *c)
{
    part_free(c, &c->part);
    part_free(c, &c->next);
    nadb_mem_free(c->moves);
    nadb_mem_free(c->list);
    c->moves = NULL;
    c->move_count = c->move_cap = c->moved = 0;
    c->list = NULL;
    c->compaction = NULL;
    c->is_published = false;
}

/* `error` NULL: well. */
static void end_pass(struct nadb_compact *c, const struct nadb_error *error)
{
    struct nadb_store *store = c->store;
    struct nadb_compact_wish wish = c->wish;
    c->state = NADB_COMPACT_IDLE;
    c->wish = (struct nadb_compact_wish){0};
    if (wish.pass != 0) {
        c->report.is_failed = error != NULL;
        if (error != NULL) {
            c->report.error = *error;
        }
        c->report.duration_us = nadb_store__elapsed_us(store, c->started_us);
        c->report.pass = wish.pass;
        c->last = c->report;
        store->events->admit(store->events_ctx);
    }
    if (error != NULL && !c->must_stop) {
        store->stats.compaction_failures++;
        store->events->notice(store->events_ctx, true, error->text);
    }
    c->has_failed = error != NULL;
    c->due_us = store->now_us + (error == NULL ? 0 : RETRY_US);
    nadb_pace__go_on(store);
}

/* Ends the run without a trace, for the reason in abort_error. */
static void give_up(struct nadb_compact *c)
{
    if (c->compaction != NULL) {
        c->is_published = false;
        submit(c, NADB_COMPACT_STEP_END, NADB_COMPACT_ABORT);
        return;
    }
    forget_run(c);
    end_pass(c, &c->abort_error);
}

static void give_up_for(struct nadb_compact *c, enum nadb_err err, const char *why)
{
    (void)nadb_error_set(&c->abort_error, err, 0, "compaction: %s", why);
    give_up(c);
}

static void count_segments(
    const struct nadb_compact *c, uint64_t *segments, uint64_t *records, uint64_t *bytes)
{
    *segments = c->list_count;
    *records = *bytes = 0;
    for (size_t i = 0; i < c->list_count; i++) {
        *records += c->list[i].records;
        *bytes += c->list[i].bytes;
    }
}

static void begin_pass(struct nadb_compact *c)
{
    c->pass_end_id = 0;
    for (size_t i = 0; i < c->list_count; i++) {
        uint64_t behind = c->list[i].is_closed ? c->list[i].id + 1 : 0;
        c->pass_end_id = behind > c->pass_end_id ? behind : c->pass_end_id;
    }
    count_segments(
        c, &c->report.segments_before, &c->report.records_before, &c->report.bytes_before);
}

static void begin_copy(struct nadb_compact *c)
{
    struct nadb_store *store = c->store;
    c->begin_version = store->version;
    c->horizon = nadb_compact__horizon(c);
    c->compression = store->compression;
    c->is_exchanged = c->must_move_again = false;
    c->retry_us = 0;
    c->out_total = c->out_kept = 0;
    c->part_dead = 0;
    c->budget_from_us = store->now_us;
    c->budget_bytes = 0;
    c->is_urgent = nadb_compact__is_urgent(c);
    c->is_skipping = nadb_compact__may_skip(c, &c->list[c->at]);
    for (size_t i = 0; c->is_skipping && i < c->count; i++) {
        c->report.dropped_overwritten += c->list[c->at + i].records;
    }
    submit(c, NADB_COMPACT_STEP_COPY, NADB_COMPACT_COPY);
}

/* The list is here: the next run, or the end. */
static void choose(struct nadb_compact *c)
{
    bool is_pass = c->wish.pass != 0;
    if (is_pass && c->pass_end_id == UINT64_MAX) {
        begin_pass(c);
    }
    if (c->store->flight.state != NADB_FLIGHT_IDLE) {
        c->state = NADB_COMPACT_HOLD; /* invariant 1 */
        return;
    }
    if (nadb_compact__pick(c)) {
        begin_copy(c);
        return;
    }
    count_segments(c, &c->report.segments_after, &c->report.records_after, &c->report.bytes_after);
    forget_run(c);
    end_pass(c, NULL);
}

/* ---- the machine ---- */

/* The next part may be copied when the rate allows it. */
static uint64_t rate_due_us(const struct nadb_compact *c)
{
    uint64_t rate = c->wish.pass != 0 || c->is_urgent ? 0 : c->store->compaction.rate_bytes;
    return rate == 0 ? 0
                     : c->budget_from_us + (uint64_t)((double)c->budget_bytes / (double)rate * 1e6);
}

static void want_durable(struct nadb_store *store)
{
    nadb_store_flush_start(store);
}

static void part_done(struct nadb_compact *c)
{
    nadb_pace__gained(c->store, c->part_dead);
    c->part_dead = 0;
    if (c->was_last) {
        submit(c, NADB_COMPACT_STEP_FINISH, NADB_COMPACT_FINISH);
        return;
    }
    c->part = c->next;
    c->next = (struct nadb_compact_part){.verdicts = NULL};
    c->judged = 0;
    c->state = NADB_COMPACT_JUDGE;
}

static void finish_done(struct nadb_compact *c)
{
    c->report.compressed_values += c->result.packed_values;
    c->has_out = c->result.bytes > 0;
    c->out_number = c->result.number;
    c->judged_version = c->store->version;
    c->state = NADB_COMPACT_SETTLE;
    want_durable(c->store);
}

static void publish_done(struct nadb_compact *c)
{
    struct nadb_store *store = c->store;
    if (c->err != NADB_OK) {
        c->state = NADB_COMPACT_SETTLE; /* again */
        c->retry_us = store->now_us + NADB_COMPACT_LOOK_US;
        store->stats.compaction_failures++;
        return;
    }
    if (c->has_out) {
        struct nadb_segment_use *use = nadb_usage__of(store, c->out_number);
        *use = (struct nadb_segment_use){
            .total = c->out_total,
            .kept = c->out_kept,
            .cleaned = c->wish.is_scoped ? 0 : c->begin_version,
            .has_bare = true, /* what went since it was judged may have left nothing newer */
        };
    }
    c->is_published = true;
    c->moved = 0;
    c->state = NADB_COMPACT_MOVE;
}

static const struct nadb_error stopped = {
    .code = NADB_EUSAGE, .text = "compaction: the server is shutting down"};

static void end_done(struct nadb_compact *c)
{
    bool was_aborted = c->state == NADB_COMPACT_ABORT;
    if (!was_aborted) {
        c->store->stats.compactions++;
        c->store->stats.skipped_segments += c->is_skipping ? c->count : 0;
    }
    forget_run(c);
    nadb_pace__compacted(c->store);
    if (was_aborted || c->must_stop) {
        end_pass(c, was_aborted ? &c->abort_error : &stopped);
        return;
    }
    c->must_close = false;
    submit(c, NADB_COMPACT_STEP_LIST, NADB_COMPACT_LIST);
}

static void done(struct nadb_job *job)
{
    struct nadb_compact *c = NADB_CONTAINER_OF(job, struct nadb_compact, job);
    struct nadb_store *store = c->store;
    c->is_busy = false;
    if (c->step == NADB_COMPACT_STEP_END) {
        end_done(c);
    } else if (c->step == NADB_COMPACT_STEP_PUBLISH) {
        publish_done(c);
    } else if (c->state == NADB_COMPACT_ABORT) {
        give_up(c);
    } else if (c->err != NADB_OK || c->must_stop) {
        c->abort_error = c->err != NADB_OK ? c->error : stopped;
        give_up(c);
    } else if (c->step == NADB_COMPACT_STEP_LIST) {
        choose(c);
    } else if (c->step == NADB_COMPACT_STEP_COPY && c->is_skipping) {
        submit(c, NADB_COMPACT_STEP_FINISH, NADB_COMPACT_FINISH);
    } else if (c->step == NADB_COMPACT_STEP_COPY) {
        part_done(c);
    } else {
        finish_done(c);
    }
    store->events->wake(store->events_ctx);
}

/* The process is ending without waiting for anything. */
static void discard(struct nadb_job *job)
{
    struct nadb_compact *c = NADB_CONTAINER_OF(job, struct nadb_compact, job);
    c->is_busy = false;
    c->state = NADB_COMPACT_IDLE;
}

static const struct nadb_job_ops job_ops = {
    .name = "compact", .run = run, .done = done, .discard = discard};

void nadb_compact__init(struct nadb_store *store)
{
    store->compact = nadb_mem_zalloc(sizeof(*store->compact));
    store->compact->store = store;
    nadb_job_init(&store->compact->job, &job_ops, NADB_JOB_SLOW);
}

void nadb_compact__fini(struct nadb_store *store)
{
    struct nadb_compact *c = store->compact;
    NADB_ASSERT(!c->is_busy);
    if (c->compaction != NULL) {
        ops_of(c)->end(c->compaction, false);
    }
    forget_run(c);
    nadb_mem_free(c);
    store->compact = NULL;
}

/* ---- when ---- */

static void begin_list(struct nadb_compact *c, bool must_close)
{
    c->must_close = must_close;
    c->started_us = c->store->now_us;
    c->report = (struct nadb_compact_report){0};
    submit(c, NADB_COMPACT_STEP_LIST, NADB_COMPACT_LIST);
}

static void begin_if_due(struct nadb_compact *c)
{
    struct nadb_store *store = c->store;
    if (store->phase != NADB_STORE_OPEN || store->state != NADB_STORAGE_OK ||
        store->backup.state != NADB_BACKUP_IDLE) {
        nadb_pace__go_on(store);
        return;
    }
    bool is_due = store->now_us >= c->due_us || (store->pace.is_waited_for && !c->has_failed);
    if (c->next_wish.pass != 0) {
        c->wish = c->next_wish;
        c->next_wish = (struct nadb_compact_wish){0};
        c->pass_end_id = UINT64_MAX;
        begin_list(c, true);
    } else if (is_due) {
        c->due_us = store->now_us + NADB_COMPACT_LOOK_US;
        c->has_failed = false;
        if (nadb_compact__is_called_for(c) && c->next_wish.pass == 0) {
            begin_list(c, false);
        }
    }
    if (!c->is_busy) {
        nadb_pace__go_on(store);
    }
}

static void go_on_settled(struct nadb_compact *c)
{
    struct nadb_store *store = c->store;
    if (store->durable >= c->judged_version && store->now_us >= c->retry_us) {
        c->is_exchanged = true;
        submit(c, NADB_COMPACT_STEP_PUBLISH, NADB_COMPACT_PUBLISH);
    } else if (store->durable < c->judged_version) {
        want_durable(store);
    }
}

/* The run's numbers are given to others as soon as its files are gone: what was counted for them
 * is forgotten before. */
static void submit_end(struct nadb_compact *c)
{
    for (size_t i = 0; i < c->count; i++) {
        nadb_usage__forget(c->store, c->list[c->at + i].number);
    }
    submit(c, NADB_COMPACT_STEP_END, NADB_COMPACT_END);
}

static void go_on_resting(struct nadb_compact *c)
{
    struct nadb_store *store = c->store;
    bool is_discarding = store->phase == NADB_STORE_CLOSING && store->is_discarding;
    if (c->must_move_again) {
        c->must_move_again = false;
        c->moved = 0;
        c->state = NADB_COMPACT_MOVE;
    } else if (store->garbage != NULL) {
        return; /* of what has been cleared, some may be in the run, and is counted there */
    } else if (store->undo.count == 0 || store->durable >= c->moved_version || is_discarding) {
        submit_end(c);
    } else {
        want_durable(store);
    }
}

bool nadb_compact__step(struct nadb_store *store, uint64_t budget_us)
{
    struct nadb_compact *c = store->compact;
    if (store->backend_ops->compact == NULL) {
        return false;
    }
    nadb_compact__look_at_dying(c);
    if (c->is_busy) {
        return false;
    }
    switch (c->state) {
    case NADB_COMPACT_IDLE:
        c->must_stop = false;
        begin_if_due(c);
        return false;
    case NADB_COMPACT_HOLD:
        if (store->flight.state == NADB_FLIGHT_IDLE) {
            choose(c);
        }
        return false;
    case NADB_COMPACT_JUDGE:
        if (nadb_compact__judge_some(c, budget_us)) {
            return true;
        }
        if (store->now_us >= rate_due_us(c)) {
            submit(c, NADB_COMPACT_STEP_COPY, NADB_COMPACT_COPY);
        }
        return false;
    case NADB_COMPACT_SETTLE:
        go_on_settled(c);
        return false;
    case NADB_COMPACT_MOVE:
        if (nadb_compact__move_some(c, budget_us)) {
            return true;
        }
        c->moved_version = store->version;
        c->state = NADB_COMPACT_REST;
        go_on_resting(c);
        return false;
    case NADB_COMPACT_REST:
        go_on_resting(c);
        return false;
    case NADB_COMPACT_LIST:
    case NADB_COMPACT_COPY:
    case NADB_COMPACT_FINISH:
    case NADB_COMPACT_PUBLISH:
    case NADB_COMPACT_END:
    case NADB_COMPACT_ABORT:
        break;
    }
    return false;
}

void nadb_compact__flight_ended(struct nadb_store *store)
{
    if (store->compact->state == NADB_COMPACT_HOLD) {
        choose(store->compact);
    }
}

void nadb_compact__rolled_back(struct nadb_store *store)
{
    struct nadb_compact *c = store->compact;
    switch (c->state) {
    case NADB_COMPACT_JUDGE:
    case NADB_COMPACT_SETTLE:
        if (!c->is_exchanged) {
            give_up_for(c, NADB_ENOSPC, "a write was taken back");
        }
        break;
    case NADB_COMPACT_COPY:
    case NADB_COMPACT_FINISH:
        (void)nadb_error_set(&c->abort_error, NADB_ENOSPC, 0, "compaction: a write was taken back");
        c->state = NADB_COMPACT_ABORT; /* when the worker is done */
        break;
    case NADB_COMPACT_MOVE:
    case NADB_COMPACT_REST:
    case NADB_COMPACT_PUBLISH:
        c->must_move_again = true;
        break;
    case NADB_COMPACT_IDLE:
    case NADB_COMPACT_LIST:
    case NADB_COMPACT_HOLD:
    case NADB_COMPACT_END:
    case NADB_COMPACT_ABORT:
        break;
    }
}

bool nadb_compact__may_close(struct nadb_store *store)
{
    struct nadb_compact *c = store->compact;
    if (c->state == NADB_COMPACT_IDLE) {
        return true;
    }
    c->must_stop = true;
    bool is_waiting = c->state == NADB_COMPACT_HOLD || c->state == NADB_COMPACT_JUDGE ||
                      c->state == NADB_COMPACT_SETTLE; /* exchanged: closing publishes it */
    if (!c->is_busy && is_waiting) {
        give_up_for(c, NADB_EUSAGE, "the server is shutting down");
    }
    return c->state == NADB_COMPACT_IDLE;
}

/* ---- for callers ---- */

uint64_t nadb_store_compact(struct nadb_store *store, const struct nadb_keyspace *only)
{
    struct nadb_compact *c = store->compact;
    const struct nadb_space *space = only == NULL ? NULL : only->space;
    bool is_scoped = space != NULL && space->has_id;
    struct nadb_compact_wish *next = &c->next_wish;
    if (next->pass == 0) {
        *next = (struct nadb_compact_wish){
            .pass = ++c->passes, .is_scoped = is_scoped, .space = is_scoped ? space->id : 0};
    } else if (!is_scoped || next->space != space->id) {
        next->is_scoped = false; /* one pass serves both */
    }
    return next->pass;
}

bool nadb_store_compact_report(
    const struct nadb_store *store, uint64_t pass, struct nadb_compact_report *ret)
{
    const struct nadb_compact *c = store->compact;
    if (store->backend_ops->compact == NULL) {
        *ret = (struct nadb_compact_report){.pass = pass};
        return true;
    }
    if (c->last.pass < pass) {
        return false;
    }
    *ret = c->last;
    return true;
}

bool nadb_store_is_compacting(const struct nadb_store *store)
{
    return store->compact->state != NADB_COMPACT_IDLE;
}

void nadb_store_set_compaction(struct nadb_store *store, const struct nadb_compaction_rules *rules)
{
    store->compaction = *rules;
    nadb_pace__look(store);
}
