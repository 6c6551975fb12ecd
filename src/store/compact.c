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
 * Of a run in which no record is left, and of which every record went because something newer of
 * its key is further on in the log, nothing is needed: it is skipped without being read. Under a
 * load that overwrites everything again and again that is how most segments end, so those that are
 * dying fast are let die, as long as all together takes no more room than NADB_PACE_BUFFERS write
 * buffers, or not much is dead.
 *
 * What is dead? A PUT is needed exactly while the index has its key with its version. A dead PUT
 * may still be what keeps an older one from coming back, when the key went by expiry or by an
 * INVALIDATE that the older one would not match: it becomes a DELETE, unless nothing older can be
 * left. That is so when the key has a newer record, which is further on in the log, and for
 * versions below the run's horizon. Every segment remembers the version at which it was compacted
 * last: each of its PUTs was live then. The horizon is the lowest of those of all segments in front
 * of the run: had a key a dead entry of a lower version in the run, then no PUT of it was left in
 * front. Below the horizon DELETE, CLEAR and INVALIDATE are not needed either. NAME and DROP stay:
 * they say which keyspace an entry belongs to.
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
#include "src/store/store_internal.h"

#define JUDGE_CHUNK 256u
#define SLOTS_AHEAD 32u /* memory is asked for the slots of the index so far ahead, */
#define RECS_AHEAD  16u /* and for the records */
#define MOVES_FIRST 1024u
/* One part in so many of everything that was written is dead. */
#define URGENT_PARTS 5u

/* When it is one in so many, a run may become so many segments' worth: it waits for a flush however
 * long it is. Not before, because until its end it takes room besides what it replaces. */
#define PRESSING_PARTS    2u
#define PRESSING_SEGMENTS 4u

/* A segment is dying fast when it lost one part in so many of what was live between two looks, and
 * for some looks after that: loads come in bursts. */
#define DYING_PARTS 4u
#define DYING_LOOKS 8u

#define LOOK_US   UINT64_C(1000000)  /* between looks for something to do */
#define RETRY_US  UINT64_C(30000000) /* after a failure */
#define USE_SHARE 64u /* segments with less than a full one over this are not looked at */

/* So many small neighbours are put together even if nothing of them is dead. */
#define SMALL_RUN   8u
#define SMALL_SHARE 8u /* small: less than a full segment over this */

enum step {
    STEP_LIST,
    STEP_COPY,
    STEP_FINISH,
    STEP_PUBLISH,
    STEP_END,
};

/* Where a record goes. */
struct move {
    uint64_t hash;
    uint64_t version : NADB_REC_VERSION_BITS;
    uint64_t space : 16;
    uint64_t loc;
};

struct part {
    struct nadb_replay_chunk chunk;
    uint8_t *verdicts;
    uint64_t *hashes;
    uint64_t *locs; /* new ones */
};

/* A wish for a pass over all that is dead. */
struct wish {
    uint64_t pass; /* 0: none */
    bool is_scoped;
    uint16_t space;
};

/* Of all segments. */
struct sums {
    uint64_t total, needed, kept;
};

struct nadb_compact {
    struct nadb_job job;
    struct nadb_store *store;
    enum nadb_compact_state state;
    bool is_busy; /* a worker has it */
    bool must_stop;
    uint64_t due_us;  /* nothing is begun unasked before that */
    bool has_failed;  /* that is why */
    uint64_t look_us; /* when dying was looked at last */
    struct sums sums; /* when it was last decided what to do */

    /* the pass */
    struct wish wish, next_wish;
    uint64_t passes; /* asked for */
    uint64_t segments_seen;
    uint64_t pass_end_id; /* segments from this one on came later; UINT64_MAX: not known yet */
    uint64_t started_us;
    uint64_t budget_from_us, budget_bytes; /* of the run: for the rate */
    bool is_urgent;                        /* ... which does not hold then */
    struct nadb_compact_report report, last;

    /* the run */
    struct nadb_segment_info *list; /* owned */
    size_t list_count, at, count;
    uint64_t begin_version, horizon, judged_version, moved_version;
    struct nadb_compaction *compaction;
    struct nadb_compression compression;
    struct part part, next; /* a worker's during COPY, as moves and the totals are */
    size_t judged;
    struct move *moves;
    size_t move_count, move_cap, moved;
    uint32_t out_number;
    bool has_out;
    bool is_skipping;  /* nothing of the run is needed */
    bool is_exchanged; /* the backend was told to publish: there is no way back */
    uint64_t retry_us; /* not before that is it told again */
    bool must_move_again;
    struct nadb_error abort_error; /* why the run was given up */
    uint64_t out_total, out_kept;
    uint64_t part_dead; /* in what was written last */

    /* the worker's */
    enum step step;
    bool must_close, is_published; /* for it */
    bool was_last;                 /* the part that was written */
    enum nadb_err err;
    struct nadb_error error;
    struct nadb_compact_result result;
};

static const struct nadb_compact_ops *ops_of(const struct nadb_compact *c)
{
    return c->store->backend_ops->compact;
}

static void part_free(struct nadb_compact *c, struct part *part)
{
    if (part->verdicts == NULL) {
        return; /* nothing was read */
    }
    c->store->backend_ops->replay_free(&part->chunk);
    nadb_mem_free(part->verdicts);
    nadb_mem_free(part->hashes);
    nadb_mem_free(part->locs);
    *part = (struct part){.verdicts = NULL};
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
    c->moves[c->move_count++] = (struct move){
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
    case STEP_LIST:
        c->err = ops->list(c->store->backend, c->must_close, &c->list, &c->list_count, &c->error);
        break;
    case STEP_COPY:
        c->err = copy(c);
        break;
    case STEP_FINISH:
        c->err = ops->compact->finish(c->compaction, &c->result, &c->error);
        break;
    case STEP_PUBLISH:
        c->err = ops->compact->publish(c->compaction, &c->error);
        break;
    case STEP_END:
        ops->compact->end(c->compaction, c->is_published);
        c->err = NADB_OK;
        break;
    }
}

/* ---- the loop's half ---- */

static void submit(struct nadb_compact *c, enum step step, enum nadb_compact_state state)
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
    struct wish wish = c->wish;
    c->state = NADB_COMPACT_IDLE;
    c->wish = (struct wish){0};
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
        submit(c, STEP_END, NADB_COMPACT_ABORT);
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

/* ---- which segments ---- */

static uint64_t dead_of(const struct nadb_segment_use *use)
{
    uint64_t needed = use->live + use->kept;
    return use->total > needed ? use->total - needed : 0;
}

/* Is nothing of it needed, whatever is in front of it? */
static bool is_gone(const struct nadb_segment_use *use)
{
    return use->total > 0 && use->live == 0 && use->kept == 0 && !use->has_bare;
}

static bool may_skip(struct nadb_compact *c, const struct nadb_segment_info *info)
{
    return is_gone(nadb_usage__of(c->store, info->number)) && !info->has_guests;
}

/* A look at every number that there ever was: once for a decision, not once for a segment. */
static void sum_up(struct nadb_compact *c)
{
    struct sums sums = {0};
    for (size_t i = 0; i < c->store->use_cap; i++) {
        const struct nadb_segment_use *use = &c->store->use[i];
        sums.total += use->total;
        sums.needed += use->live + use->kept;
        sums.kept += use->kept;
    }
    c->sums = sums;
}

static bool is_dead_part(const struct nadb_compact *c, uint64_t parts)
{
    return c->sums.total / parts > c->sums.needed / (parts - 1);
}

/* May those that are dying fast be waited for? */
static bool is_patient(const struct nadb_compact *c)
{
    uint64_t buffers = NADB_PACE_BUFFERS * c->store->buffer_size_bytes;
    return c->sums.total <= buffers || !is_dead_part(c, URGENT_PARTS);
}

/* Notes which segments are dying fast. */
static void look_at_dying(struct nadb_compact *c)
{
    if (c->store->now_us - c->look_us < LOOK_US) {
        return;
    }
    c->look_us = c->store->now_us;
    for (size_t i = 0; i < c->store->use_cap; i++) {
        struct nadb_segment_use *use = &c->store->use[i];
        bool is_fast = use->live_seen - use->live_seen / DYING_PARTS >= use->live;
        use->dying = is_fast ? DYING_LOOKS : use->dying > 0 ? use->dying - 1 : 0;
        use->live_seen = use->live;
    }
}

/* How much of a segment must be dead: less when writers wait because so much is of all. */
static uint64_t wanted_percent(const struct nadb_store *store)
{
    const struct nadb_compaction_rules *rules = &store->compaction;
    bool is_less = store->pace.is_waited_for && rules->stall_percent < rules->dead_percent;
    return is_less ? rules->stall_percent : rules->dead_percent;
}

static bool is_worth_it(const struct nadb_compact *c, const struct nadb_segment_use *use)
{
    const struct nadb_store *store = c->store;
    return store->compaction.dead_percent > 0 &&
           use->total >= store->compaction.segment_bytes / USE_SHARE &&
           dead_of(use) * 100 >= use->total * wanted_percent(store) &&
           !(use->dying > 0 && !is_gone(use) && is_patient(c));
}

/* About what the segment's needed part takes on the disk. */
static uint64_t needed_bytes(struct nadb_compact *c, const struct nadb_segment_info *info)
{
    const struct nadb_segment_use *use = nadb_usage__of(c->store, info->number);
    uint64_t needed = use->live + use->kept;
    return use->total == 0 || needed >= use->total
               ? info->bytes
               : (uint64_t)((double)info->bytes * ((double)needed / (double)use->total));
}

static bool is_free(const struct nadb_compact *c, const struct nadb_segment_info *info)
{
    return info->is_closed && !info->is_pinned && info->last_seq <= c->store->batch_seq;
}

/* How many segments from `at` on go well into one; those that can be skipped are not mixed with
 * others. */
static size_t run_from(struct nadb_compact *c, size_t at, bool is_pass)
{
    uint64_t bytes = 0;
    size_t count = 0;
    bool is_run_gone = false;
    uint64_t limit = c->store->compaction.segment_bytes *
                     (is_dead_part(c, PRESSING_PARTS) ? PRESSING_SEGMENTS : 1);
    while (at + count < c->list_count && count < NADB_COMPACT_RUN_MAX) {
        const struct nadb_segment_info *info = &c->list[at + count];
        const struct nadb_segment_use *use = nadb_usage__of(c->store, info->number);
        uint64_t needed = needed_bytes(c, info);
        bool is_small = info->bytes < c->store->compaction.segment_bytes / SMALL_SHARE;
        bool is_wanted = is_pass ? info->id < c->pass_end_id : is_small || is_worth_it(c, use);
        bool has_room = count == 0 || bytes + needed <= limit;
        bool is_alike = count == 0 || may_skip(c, info) == is_run_gone;
        if (!is_free(c, info) || !is_wanted || !has_room || !is_alike) {
            break;
        }
        is_run_gone = may_skip(c, info);
        bytes += needed;
        count++;
    }
    return count;
}

/* The pass takes what was there at its begin, from the first to the last. */
static bool pick_of_pass(struct nadb_compact *c)
{
    for (c->at = 0; c->at < c->list_count; c->at++) {
        c->count = run_from(c, c->at, true);
        if (c->count > 0) {
            return true;
        }
    }
    return false;
}

/* Where most is dead; or where many small ones are. What can be skipped costs nothing and comes
 * first. */
static bool pick_best(struct nadb_compact *c)
{
    uint64_t best = 0;
    bool is_found = false;
    for (size_t i = 0; i < c->list_count;) {
        size_t count = run_from(c, i, false);
        uint64_t dead = 0;
        for (size_t k = 0; k < count; k++) {
            const struct nadb_segment_use *use = nadb_usage__of(c->store, c->list[i + k].number);
            dead += is_worth_it(c, use) ? dead_of(use) : 0;
        }
        if (dead > 0 && may_skip(c, &c->list[i])) {
            dead = UINT64_MAX;
        }
        bool is_candidate = dead > 0 || count >= SMALL_RUN;
        if (is_candidate && (!is_found || dead > best)) {
            is_found = true;
            best = dead;
            c->at = i;
            c->count = count;
        }
        i += count > 0 ? count : 1;
    }
    return is_found;
}

static uint64_t horizon_of(struct nadb_compact *c)
{
    uint64_t horizon = UINT64_MAX;
    for (size_t i = 0; i < c->at; i++) {
        uint64_t cleaned = nadb_usage__of(c->store, c->list[i].number)->cleaned;
        horizon = cleaned < horizon ? cleaned : horizon;
    }
    return horizon;
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
    c->horizon = horizon_of(c);
    c->compression = store->compression;
    c->is_exchanged = c->must_move_again = false;
    c->retry_us = 0;
    c->out_total = c->out_kept = 0;
    c->part_dead = 0;
    c->budget_from_us = store->now_us;
    c->budget_bytes = 0;
    c->is_urgent = is_dead_part(c, URGENT_PARTS);
    c->is_skipping = may_skip(c, &c->list[c->at]);
    for (size_t i = 0; c->is_skipping && i < c->count; i++) {
        c->report.dropped_overwritten += c->list[c->at + i].records;
    }
    submit(c, STEP_COPY, NADB_COMPACT_COPY);
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
    sum_up(c);
    if (is_pass ? pick_of_pass(c) : pick_best(c)) {
        begin_copy(c);
        return;
    }
    count_segments(c, &c->report.segments_after, &c->report.records_after, &c->report.bytes_after);
    forget_run(c);
    end_pass(c, NULL);
}

/* ---- judging ---- */

/* NULL: it has been dropped since the entry was written. */
static const struct nadb_space *space_of(const struct nadb_store *store, uint16_t number)
{
    return number < store->spaces_cap ? store->spaces[number] : NULL;
}

/* Memory is asked for what is looked at soon: the slot of a key's record, and, when that is there,
 * the record. */
static void ask_for_slot(const struct nadb_store *store, uint16_t number, uint64_t hash)
{
    const struct nadb_space *space = space_of(store, number);
    if (space != NULL) {
        nadb_index_prefetch_slot(&space->index, hash);
    }
}

static void ask_for_rec(const struct nadb_store *store, uint16_t number, uint64_t hash)
{
    const struct nadb_space *space = space_of(store, number);
    if (space != NULL) {
        nadb_index_prefetch_rec(&space->index, hash);
    }
}

/* The key's record, if the log has something of it, or will have whatever becomes of it. One that
 * was never written may go without a trace. One that was invalidated is gone, although it has not
 * been swept yet: the INVALIDATE that it is gone by may be dropped next. */
static const struct nadb_rec *find_rec(
    const struct nadb_store *store, const struct nadb_entry *entry, uint64_t hash)
{
    const struct nadb_space *space = space_of(store, entry->keyspace);
    nadb_index_slot slot = space == NULL ? NULL : nadb_index_find(&space->index, entry->key, hash);
    const struct nadb_rec *rec = slot == NULL ? NULL : nadb_index_rec(slot);
    bool is_there =
        rec != NULL && (rec->flags & NADB_REC_HAS_DISK) && !nadb_space__is_dying(space, rec);
    return is_there ? rec : NULL;
}

static enum nadb_verdict judge_put(
    struct nadb_compact *c, const struct nadb_entry *entry, uint64_t hash)
{
    const struct nadb_rec *rec = find_rec(c->store, entry, hash);
    if (rec != NULL && rec->version == entry->version && !(rec->flags & NADB_REC_IS_DIRTY)) {
        return NADB_VERDICT_KEEP;
    }
    if (rec != NULL) {
        c->report.dropped_overwritten++;
        return NADB_VERDICT_DROP;
    }
    bool has_expired = entry->expire_ms != 0 && entry->expire_ms <= c->store->now_ms;
    c->report.dropped_expired += has_expired;
    c->report.dropped_deleted += !has_expired;
    return entry->version < c->horizon ? NADB_VERDICT_DROP : NADB_VERDICT_BURY;
}

static enum nadb_verdict judge(
    struct nadb_compact *c, const struct nadb_entry *entry, uint64_t hash)
{
    if (c->wish.is_scoped && entry->keyspace != c->wish.space) {
        return NADB_VERDICT_KEEP;
    }
    switch (entry->kind) {
    case NADB_ENTRY_PUT:
        return judge_put(c, entry, hash);
    case NADB_ENTRY_DELETE:
        if (find_rec(c->store, entry, hash) != NULL || entry->version < c->horizon) {
            return NADB_VERDICT_DROP;
        }
        return NADB_VERDICT_KEEP;
    case NADB_ENTRY_CLEAR:
    case NADB_ENTRY_INVALIDATE:
        return entry->version < c->horizon ? NADB_VERDICT_DROP : NADB_VERDICT_KEEP;
    case NADB_ENTRY_NAME:
    case NADB_ENTRY_DROP:
        break;
    }
    return NADB_VERDICT_KEEP;
}

/* Before the entry at `at` is judged. */
static void look_ahead(const struct nadb_compact *c, size_t at)
{
    const struct nadb_replay_chunk *chunk = &c->part.chunk;
    size_t slot = at + SLOTS_AHEAD;
    size_t rec = at + RECS_AHEAD;
    if (slot < chunk->count) {
        ask_for_slot(c->store, chunk->entries[slot].keyspace, c->part.hashes[slot]);
    }
    if (rec < chunk->count) {
        ask_for_rec(c->store, chunk->entries[rec].keyspace, c->part.hashes[rec]);
    }
}

/* For about `budget_us`; true when there is more. */
static bool judge_some(struct nadb_compact *c, uint64_t budget_us)
{
    uint64_t begin_us = nadb_clock_mono_us(c->store->clock);
    const struct nadb_replay_chunk *chunk = &c->part.chunk;
    while (c->judged < chunk->count) {
        size_t end = c->judged + JUDGE_CHUNK;
        end = end < chunk->count ? end : chunk->count;
        for (; c->judged < end; c->judged++) {
            look_ahead(c, c->judged);
            c->part.verdicts[c->judged] =
                (uint8_t)judge(c, &chunk->entries[c->judged], c->part.hashes[c->judged]);
        }
        if (nadb_store__elapsed_us(c->store, begin_us) >= budget_us) {
            break;
        }
    }
    return c->judged < chunk->count;
}

/* ---- moving ---- */

static void move_one(struct nadb_store *store, const struct move *move)
{
    const struct nadb_space *space = space_of(store, move->space);
    struct nadb_rec *rec =
        space == NULL ? NULL : nadb_index_find_version(&space->index, move->hash, move->version);
    if (rec == NULL || (rec->flags & NADB_REC_IS_DIRTY)) {
        return;
    }
    uint64_t cost = nadb_wbuf__cost(rec);
    nadb_usage__drop(store, nadb_rec_place(rec), cost, true);
    nadb_rec_set_place(rec, move->loc);
    nadb_usage__take(store, move->loc, cost);
}

/* Before the move at `at`. */
static void look_ahead_of_move(const struct nadb_compact *c, size_t at)
{
    size_t slot = at + SLOTS_AHEAD;
    size_t rec = at + RECS_AHEAD;
    if (slot < c->move_count) {
        ask_for_slot(c->store, c->moves[slot].space, c->moves[slot].hash);
    }
    if (rec < c->move_count) {
        ask_for_rec(c->store, c->moves[rec].space, c->moves[rec].hash);
    }
}

static bool move_some(struct nadb_compact *c, uint64_t budget_us)
{
    uint64_t begin_us = nadb_clock_mono_us(c->store->clock);
    while (c->moved < c->move_count) {
        size_t end = c->moved + JUDGE_CHUNK;
        end = end < c->move_count ? end : c->move_count;
        for (; c->moved < end; c->moved++) {
            look_ahead_of_move(c, c->moved);
            move_one(c->store, &c->moves[c->moved]);
        }
        if (nadb_store__elapsed_us(c->store, begin_us) >= budget_us) {
            break;
        }
    }
    return c->moved < c->move_count;
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
        submit(c, STEP_FINISH, NADB_COMPACT_FINISH);
        return;
    }
    c->part = c->next;
    c->next = (struct part){.verdicts = NULL};
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
        c->retry_us = store->now_us + LOOK_US;
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
    submit(c, STEP_LIST, NADB_COMPACT_LIST);
}

static void done(struct nadb_job *job)
{
    struct nadb_compact *c = NADB_CONTAINER_OF(job, struct nadb_compact, job);
    struct nadb_store *store = c->store;
    c->is_busy = false;
    if (c->step == STEP_END) {
        end_done(c);
    } else if (c->step == STEP_PUBLISH) {
        publish_done(c);
    } else if (c->state == NADB_COMPACT_ABORT) {
        give_up(c);
    } else if (c->err != NADB_OK || c->must_stop) {
        c->abort_error = c->err != NADB_OK ? c->error : stopped;
        give_up(c);
    } else if (c->step == STEP_LIST) {
        choose(c);
    } else if (c->step == STEP_COPY && c->is_skipping) {
        submit(c, STEP_FINISH, NADB_COMPACT_FINISH);
    } else if (c->step == STEP_COPY) {
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
    submit(c, STEP_LIST, NADB_COMPACT_LIST);
}

/* Is there something to do that nobody has asked for? */
static bool is_called_for(struct nadb_compact *c)
{
    struct nadb_store *store = c->store;
    bool is_found = false;
    sum_up(c);
    for (uint32_t i = 0; i < store->use_cap; i++) {
        const struct nadb_segment_use *use = &store->use[i];
        is_found = is_found || (i != store->use_active && is_worth_it(c, use));
    }
    uint64_t segments = store->stats.backend.segments;
    if (segments >= c->segments_seen + SMALL_RUN || segments < c->segments_seen) {
        c->segments_seen = segments;
        is_found = true;
    }
    if (store->compaction.dead_percent > 0 && c->sums.total >= store->compaction.segment_bytes &&
        c->sums.kept * 100 >= c->sums.total * store->compaction.dead_percent) {
        c->next_wish.pass = ++c->passes; /* only a pass gets rid of what had to be kept */
    }
    return is_found && store->compaction.dead_percent > 0;
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
        c->next_wish = (struct wish){0};
        c->pass_end_id = UINT64_MAX;
        begin_list(c, true);
    } else if (is_due) {
        c->due_us = store->now_us + LOOK_US;
        c->has_failed = false;
        if (is_called_for(c) && c->next_wish.pass == 0) {
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
        submit(c, STEP_PUBLISH, NADB_COMPACT_PUBLISH);
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
    submit(c, STEP_END, NADB_COMPACT_END);
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
    look_at_dying(c);
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
        if (judge_some(c, budget_us)) {
            return true;
        }
        if (store->now_us >= rate_due_us(c)) {
            submit(c, STEP_COPY, NADB_COMPACT_COPY);
        }
        return false;
    case NADB_COMPACT_SETTLE:
        go_on_settled(c);
        return false;
    case NADB_COMPACT_MOVE:
        if (move_some(c, budget_us)) {
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

bool nadb_compact__wants(struct nadb_store *store, uint32_t number)
{
    const struct nadb_segment_use *use = nadb_usage__of(store, number);
    return use->dying > 0 || is_worth_it(store->compact, use);
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
    struct wish *next = &c->next_wish;
    if (next->pass == 0) {
        *next = (struct wish){
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
