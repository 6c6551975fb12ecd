/* This file takes operations to a shared backend and their outcomes back.
 *
 * What is asked for gathers until the end of the turn, or until it is enough for a job; then all of
 * it goes out, if one of the jobs is free, and gathers further if not: the longer the engine takes,
 * the more goes at once. So while the engine works on what some clients asked, the loop reads what
 * others ask, and neither waits for the other. What may take the engine long (invalidations, whole
 * listings) has a job of its own, one at a time, so that nobody else waits for it. Another job
 * sweeps the engine's indexes from time to time. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/shared_internal.h"

#define GATHERED_FIRST 256u

/* So much goes out before the turn is over. With less a job costs more than what it spares; with
 * much more all clients are answered at once, ask again at once, and engine and loop take turns. */
#define GATHERED_ENOUGH 256u

#define TEND_MORE_MS 50u /* between slices while there is something to sweep */

struct nadb_shared_job {
    struct nadb_job job;
    struct nadb_store *store;
    bool is_running;
    struct nadb_shared_settings settings;
    struct nadb_op **ops;
    size_t count, cap;
};

static struct nadb_ask *ask_of(struct nadb_op *op)
{
    return NADB_CONTAINER_OF(op, struct nadb_ask, op);
}

static void end_op(struct nadb_op *op)
{
    struct nadb_ask *ask = ask_of(op);
    NADB_ASSERT(ask->state == NADB_ASK_UNDER_WAY && ask->attempt->pending > 0);
    ask->state = NADB_ASK_ENDED;
    ask->attempt->pending--;
    nadb_attempt__ended(ask);
}

/* ---- the job ---- */

static void job_run(struct nadb_job *base)
{
    struct nadb_shared_job *job = NADB_CONTAINER_OF(base, struct nadb_shared_job, job);
    job->store->backend_ops->shared->run(job->store->backend, &job->settings, job->ops, job->count);
}

static void job_over(struct nadb_shared_job *job)
{
    struct nadb_store *store = job->store;
    job->is_running = false;
    size_t count = job->count;
    job->count = 0;
    for (size_t i = 0; i < count; i++) {
        end_op(job->ops[i]);
    }
    store->events->admit(store->events_ctx);
    store->events->wake(store->events_ctx);
}

static void job_done(struct nadb_job *base)
{
    job_over(NADB_CONTAINER_OF(base, struct nadb_shared_job, job));
}

static void job_discard(struct nadb_job *base)
{
    struct nadb_shared_job *job = NADB_CONTAINER_OF(base, struct nadb_shared_job, job);
    for (size_t i = 0; i < job->count; i++) {
        job->ops[i]->err = nadb_error_set(
            &job->ops[i]->error, NADB_EIO, 0, "backend down: the server is shutting down");
    }
    job_over(job);
}

static const struct nadb_job_ops job_ops = {
    .name = "shared", .run = job_run, .done = job_done, .discard = job_discard};

/* ---- sweeping ---- */

static void tend_run(struct nadb_job *base)
{
    struct nadb_shared *shared = NADB_CONTAINER_OF(base, struct nadb_shared, tend_job);
    struct nadb_store *store = shared->store;
    shared->tended = store->backend_ops->shared->tend(store->backend);
}

static void tend_done(struct nadb_job *base)
{
    struct nadb_shared *shared = NADB_CONTAINER_OF(base, struct nadb_shared, tend_job);
    shared->is_tending = false;
    shared->store->stats.expired += shared->tended;
    if (shared->tended > 0) {
        shared->tend_due_us = shared->store->now_us + TEND_MORE_MS * 1000;
    }
}

static void tend_discard(struct nadb_job *base)
{
    NADB_CONTAINER_OF(base, struct nadb_shared, tend_job)->is_tending = false;
}

static const struct nadb_job_ops tend_ops = {
    .name = "tend", .run = tend_run, .done = tend_done, .discard = tend_discard};

/* ---- for the store ---- */

void nadb_shared__init(struct nadb_store *store, unsigned runs)
{
    NADB_ASSERT(runs > 0);
    struct nadb_shared *shared = nadb_mem_zalloc(sizeof(*shared));
    shared->store = store;
    shared->job_count = runs + 1;
    shared->jobs = nadb_mem_zalloc(shared->job_count * sizeof(*shared->jobs));
    for (size_t i = 0; i < shared->job_count; i++) {
        nadb_job_init(&shared->jobs[i].job, &job_ops, NADB_JOB_FAST);
        shared->jobs[i].store = store;
    }
    nadb_job_init(&shared->tend_job, &tend_ops, NADB_JOB_SLOW);
    nadb_tell__init(shared);
    store->shared = shared;
}

/* What gathered after the last job: its owners are gone. */
static void give_up(struct nadb_gathering *gathering)
{
    for (size_t i = 0; i < gathering->count; i++) {
        gathering->ops[i]->err = NADB_EIO;
        end_op(gathering->ops[i]);
    }
    nadb_mem_free(gathering->ops);
    *gathering = (struct nadb_gathering){.ops = NULL};
}

void nadb_shared__fini(struct nadb_store *store)
{
    struct nadb_shared *shared = store->shared;
    if (shared == NULL) {
        return;
    }
    NADB_ASSERT(!shared->is_tending && !shared->is_listening);
    nadb_buf_fini(&shared->heard);
    give_up(&shared->gathering);
    give_up(&shared->lengthy);
    for (size_t i = 0; i < shared->job_count; i++) {
        NADB_ASSERT(!shared->jobs[i].is_running);
        nadb_mem_free(shared->jobs[i].ops);
    }
    while (shared->spare != NULL) {
        struct nadb_attempt *attempt = shared->spare;
        shared->spare = attempt->next_spare;
        nadb_mem_free(attempt);
    }
    nadb_mem_free(shared->jobs);
    nadb_mem_free(shared);
    store->shared = NULL;
}

/* A packed selector up to which counting is quickly done, in bytes: some dozen tags. */
#define SELECTOR_SHORT_LEN 1024u

static bool is_lengthy(const struct nadb_op *op)
{
    bool is_short = !op->wants_records && op->selector.len <= SELECTOR_SHORT_LEN;
    return op->kind == NADB_OP_INVALIDATE || op->kind == NADB_OP_CLEAR ||
           (op->kind == NADB_OP_SELECT && !is_short) ||
           (op->kind == NADB_OP_SCAN && op->count == NADB_SCAN_ALL);
}

void nadb_ask__send(struct nadb_store *store, struct nadb_ask *ask)
{
    struct nadb_shared *shared = store->shared;
    struct nadb_gathering *to = is_lengthy(&ask->op) ? &shared->lengthy : &shared->gathering;
    NADB_ASSERT(ask->state != NADB_ASK_UNDER_WAY);
    if (to->count == to->cap) {
        to->cap = to->cap == 0 ? GATHERED_FIRST : to->cap * 2;
        to->ops = nadb_mem_realloc(to->ops, to->cap * sizeof(struct nadb_op *));
    }
    if (to->count == 0) {
        to->since_us = store->now_us;
    }
    to->ops[to->count++] = &ask->op;
    ask->state = NADB_ASK_UNDER_WAY;
    ask->attempt->pending++;
}

/* Gives the job what has gathered, and takes its room in exchange. */
static void send(struct nadb_store *store, struct nadb_gathering *from, struct nadb_shared_job *job)
{
    struct nadb_op **ops = job->ops;
    size_t cap = job->cap;
    job->ops = from->ops;
    job->count = from->count;
    job->cap = from->cap;
    job->settings = (struct nadb_shared_settings){
        .compression = store->compression,
        .epochs_max = store->epochs_max,
        .waited_ms = (nadb_clock_mono_us(store->clock) - from->since_us) / 1000,
    };
    *from = (struct nadb_gathering){.ops = ops, .cap = cap};
    job->is_running = true;
    nadb_executor_submit(store->executor, &job->job);
}

static struct nadb_shared_job *free_job(const struct nadb_shared *shared)
{
    for (size_t i = 0; i + 1 < shared->job_count; i++) {
        if (!shared->jobs[i].is_running) {
            return &shared->jobs[i];
        }
    }
    return NULL;
}

void nadb_shared__submit(struct nadb_store *store)
{
    struct nadb_shared *shared = store->shared;
    struct nadb_shared_job *lengthy = &shared->jobs[shared->job_count - 1];
    if (shared->lengthy.count > 0 && !lengthy->is_running) {
        shared->lengthy.since_us = store->now_us; /* for those before it nobody can be blamed */
        send(store, &shared->lengthy, lengthy);
    }
    struct nadb_shared_job *job = shared->gathering.count > 0 ? free_job(shared) : NULL;
    if (job != NULL) {
        shared->batch++;
        send(store, &shared->gathering, job);
    }
}

void nadb_shared__client_end(struct nadb_store *store)
{
    if (store->shared->gathering.count >= GATHERED_ENOUGH) {
        nadb_shared__submit(store);
    }
}

bool nadb_shared__step(struct nadb_store *store, uint64_t budget_us)
{
    (void)budget_us;
    struct nadb_shared *shared = store->shared;
    if (shared == NULL) {
        return false;
    }
    nadb_tell__step(store);
    if (store->phase == NADB_STORE_OPEN && !shared->is_tending &&
        store->now_us >= shared->tend_due_us) {
        shared->is_tending = true;
        shared->tend_due_us = store->now_us + NADB_SHARED_TEND_MS * 1000;
        nadb_executor_submit(store->executor, &shared->tend_job);
    }
    return false;
}

bool nadb_shared__is_idle(const struct nadb_store *store)
{
    const struct nadb_shared *shared = store->shared;
    if (shared == NULL) {
        return true;
    }
    bool is_running = shared->is_tending || shared->is_listening || shared->gathering.count > 0 ||
                      shared->lengthy.count > 0;
    for (size_t i = 0; i < shared->job_count; i++) {
        is_running |= shared->jobs[i].is_running;
    }
    return !is_running;
}

bool nadb_shared__is_busy(const struct nadb_store *store)
{
    return store->shared->gathering.count >= NADB_ASK_MAX;
}

bool nadb_store_shared_stats(const struct nadb_store *store, struct nadb_shared_stats *ret)
{
    if (store->shared == NULL) {
        return false;
    }
    store->backend_ops->shared->stats(store->backend, ret);
    return true;
}
