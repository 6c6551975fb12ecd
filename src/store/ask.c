/* This file takes operations to a shared backend and their outcomes back.
 *
 * What is asked for gathers until the end of the turn; then all of it goes out as one job, if one
 * of the jobs is free, and gathers further if not: the longer the engine takes, the more goes at
 * once. Another job sweeps the engine's indexes from time to time. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/shared_internal.h"

#define GATHERED_FIRST 256u
#define TEND_MORE_MS   50u /* between slices while there is something to sweep */

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
    shared->job_count = runs;
    shared->jobs = nadb_mem_zalloc(runs * sizeof(*shared->jobs));
    for (size_t i = 0; i < runs; i++) {
        nadb_job_init(&shared->jobs[i].job, &job_ops, NADB_JOB_FAST);
        shared->jobs[i].store = store;
    }
    nadb_job_init(&shared->tend_job, &tend_ops, NADB_JOB_SLOW);
    nadb_tell__init(shared);
    store->shared = shared;
}

void nadb_shared__fini(struct nadb_store *store)
{
    struct nadb_shared *shared = store->shared;
    if (shared == NULL) {
        return;
    }
    NADB_ASSERT(!shared->is_tending && !shared->is_listening);
    nadb_buf_fini(&shared->heard);
    /* What gathered after the last job: its owners are gone. */
    size_t count = shared->gathered_count;
    shared->gathered_count = 0;
    for (size_t i = 0; i < count; i++) {
        shared->gathered[i]->err = NADB_EIO;
        end_op(shared->gathered[i]);
    }
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
    nadb_mem_free(shared->gathered);
    nadb_mem_free(shared);
    store->shared = NULL;
}

void nadb_ask__send(struct nadb_store *store, struct nadb_ask *ask)
{
    struct nadb_shared *shared = store->shared;
    NADB_ASSERT(ask->state != NADB_ASK_UNDER_WAY);
    if (shared->gathered_count == shared->gathered_cap) {
        shared->gathered_cap =
            shared->gathered_cap == 0 ? GATHERED_FIRST : shared->gathered_cap * 2;
        shared->gathered =
            nadb_mem_realloc(shared->gathered, shared->gathered_cap * sizeof(struct nadb_op *));
    }
    if (shared->gathered_count == 0) {
        shared->gathered_since_us = store->now_us;
    }
    shared->gathered[shared->gathered_count++] = &ask->op;
    ask->state = NADB_ASK_UNDER_WAY;
    ask->attempt->pending++;
}

static struct nadb_shared_job *free_job(const struct nadb_shared *shared)
{
    for (size_t i = 0; i < shared->job_count; i++) {
        if (!shared->jobs[i].is_running) {
            return &shared->jobs[i];
        }
    }
    return NULL;
}

void nadb_shared__submit(struct nadb_store *store)
{
    struct nadb_shared *shared = store->shared;
    if (shared->gathered_count == 0) {
        return;
    }
    struct nadb_shared_job *job = free_job(shared);
    if (job == NULL) {
        return;
    }
    struct nadb_op **ops = job->ops;
    size_t cap = job->cap;
    job->ops = shared->gathered;
    job->count = shared->gathered_count;
    job->cap = shared->gathered_cap;
    shared->gathered = ops;
    shared->gathered_cap = cap;
    shared->gathered_count = 0;
    shared->batch++;
    job->settings = (struct nadb_shared_settings){
        .compression = store->compression,
        .epochs_max = store->epochs_max,
        .waited_ms = (nadb_clock_mono_us(store->clock) - shared->gathered_since_us) / 1000,
    };
    job->is_running = true;
    nadb_executor_submit(store->executor, &job->job);
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
    bool is_running = shared->is_tending || shared->is_listening || shared->gathered_count > 0;
    for (size_t i = 0; i < shared->job_count; i++) {
        is_running |= shared->jobs[i].is_running;
    }
    return !is_running;
}

bool nadb_shared__is_busy(const struct nadb_store *store)
{
    return store->shared->gathered_count >= NADB_ASK_MAX;
}

bool nadb_store_shared_stats(const struct nadb_store *store, struct nadb_shared_stats *ret)
{
    if (store->shared == NULL) {
        return false;
    }
    store->backend_ops->shared->stats(store->backend, ret);
    return true;
}
