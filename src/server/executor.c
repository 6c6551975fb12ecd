/* This file runs jobs on libuv's thread pool and on the quiet threads, and brings their ends back
 * to the loop. */
#include "src/server/executor.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/mem.h"

#define WORK_MAGIC 0x574f524bu

/* How much the quiet threads yield. At 3 one of them gets about a third of a processor that the
 * loop wants for itself: enough for a flush to keep up, and the loop never waits for it. */
#define QUIET_NICE 3

/* A job between submit and its end. */
struct work {
    unsigned magic;
    uv_work_t req; /* a fast one's */
    struct nadb_uv_executor *executor;
    struct nadb_job *job;
    bool is_discarded;
    struct nadb_list in_list; /* of fast, queued or ended; none while it runs on a quiet thread */
};

static void free_work(struct work *work)
{
    work->job->executor_private = NULL;
    work->magic = 0;
    nadb_mem_free(work);
}

/* The job may be gone, or submitted again, when this returns. */
static void end_work(struct work *work)
{
    struct nadb_uv_executor *executor = work->executor;
    struct nadb_job *job = work->job;
    bool is_discarded = work->is_discarded;
    free_work(work);
    if (executor->before_done != NULL) {
        executor->before_done(executor->ctx);
    }
    if (is_discarded) {
        job->ops->discard(job);
    } else {
        job->ops->done(job);
    }
}

/* ---- the fast lane ---- */

/* Worker. */
static void run_fast(uv_work_t *req)
{
    struct work *work;
    NADB_CAST(work, req->data, WORK_MAGIC);
    work->job->ops->run(work->job);
}

static void end_fast(uv_work_t *req, int status)
{
    struct work *work;
    NADB_CAST(work, req->data, WORK_MAGIC);
    nadb_list_remove(&work->in_list);
    work->executor->fast_count--;
    work->is_discarded = status == UV_ECANCELED;
    end_work(work);
}

static void submit_fast(struct nadb_uv_executor *executor, struct work *work)
{
    nadb_list_append(&executor->fast, &work->in_list);
    executor->fast_count++;
    work->req.data = work;
    int rc = uv_queue_work(executor->uv, &work->req, run_fast, end_fast);
    NADB_ASSERT(rc == 0); /* fails only without a callback */
    if (executor->is_stopping) {
        (void)uv_cancel((uv_req_t *)&work->req); /* one that has begun just ends */
    }
}

/* ---- the slow lane ---- */

static struct work *take_first(struct nadb_list *list)
{
    struct work *work = NADB_LIST_FIRST(list, struct work, in_list);
    if (work != NULL) {
        nadb_list_remove(&work->in_list);
    }
    return work;
}

/* Hands the work back to the loop. Any thread; under the lock. */
static void report_end(struct nadb_uv_executor *executor, struct work *work)
{
    nadb_list_append(&executor->ended, &work->in_list);
    int rc = uv_async_send(&executor->slow_ended);
    NADB_ASSERT(rc == 0); /* fails only for another kind of handle */
}

/* A quiet thread's life. */
static void be_quiet(void *arg)
{
    struct nadb_uv_executor *executor = arg;
    /* Where it is not allowed, they are threads like others. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), QUIET_NICE);
    uv_mutex_lock(&executor->lock);
    while (!executor->is_ending) {
        struct work *work = take_first(&executor->queued);
        if (work == NULL) {
            uv_cond_wait(&executor->has_queued, &executor->lock);
            continue;
        }
        uv_mutex_unlock(&executor->lock);
        work->job->ops->run(work->job);
        uv_mutex_lock(&executor->lock);
        report_end(executor, work);
    }
    uv_mutex_unlock(&executor->lock);
}

static void end_slow(struct nadb_uv_executor *executor, struct work *work)
{
    if (--executor->slow_count == 0) {
        uv_unref((uv_handle_t *)&executor->slow_ended);
    }
    end_work(work);
}

static void on_slow_ended(uv_async_t *async)
{
    struct nadb_uv_executor *executor =
        NADB_CONTAINER_OF(async, struct nadb_uv_executor, slow_ended);
    for (;;) {
        uv_mutex_lock(&executor->lock);
        struct work *work = take_first(&executor->ended);
        uv_mutex_unlock(&executor->lock);
        if (work == NULL) {
            return;
        }
        end_slow(executor, work);
    }
}

static void start_threads(struct nadb_uv_executor *executor)
{
    while (executor->thread_count < NADB_EXECUTOR_QUIET_THREADS) {
        int rc = uv_thread_create(&executor->threads[executor->thread_count], be_quiet, executor);
        NADB_ASSERT(rc == 0); /* as libuv does for its own */
        executor->thread_count++;
    }
}

static void submit_slow(struct nadb_uv_executor *executor, struct work *work)
{
    if (executor->slow_count++ == 0) {
        uv_ref((uv_handle_t *)&executor->slow_ended);
    }
    start_threads(executor);
    uv_mutex_lock(&executor->lock);
    if (executor->is_stopping) {
        work->is_discarded = true;
        report_end(executor, work);
    } else {
        nadb_list_append(&executor->queued, &work->in_list);
        uv_cond_signal(&executor->has_queued);
    }
    uv_mutex_unlock(&executor->lock);
}

/* ---- both ---- */

static void submit(struct nadb_executor *base, struct nadb_job *job)
{
    struct nadb_uv_executor *executor = NADB_CONTAINER_OF(base, struct nadb_uv_executor, base);
    NADB_ASSERT(job->executor_private == NULL);
    struct work *work = nadb_mem_zalloc(sizeof(*work));
    work->magic = WORK_MAGIC;
    work->executor = executor;
    work->job = job;
    job->executor_private = work;
    if (job->lane == NADB_JOB_SLOW) {
        submit_slow(executor, work);
    } else {
        submit_fast(executor, work);
    }
}

void nadb_uv_executor_init(struct nadb_uv_executor *executor, uv_loop_t *uv, unsigned threads,
    void (*before_done)(void *ctx), void *ctx)
{
    NADB_ASSERT(threads > 0);
    *executor = (struct nadb_uv_executor){
        .base.submit = submit,
        .uv = uv,
        .before_done = before_done,
        .ctx = ctx,
    };
    nadb_list_init(&executor->fast);
    nadb_list_init(&executor->queued);
    nadb_list_init(&executor->ended);
    int rc = uv_mutex_init(&executor->lock);
    NADB_ASSERT(rc == 0); /* they need nothing that could be missing */
    rc = uv_cond_init(&executor->has_queued);
    NADB_ASSERT(rc == 0);
    rc = uv_async_init(uv, &executor->slow_ended, on_slow_ended);
    NADB_ASSERT(rc == 0); /* a loop that could be made has what the first one takes */
    uv_unref((uv_handle_t *)&executor->slow_ended);
    /* libuv's only way to be told; read when the pool is first used. */
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", threads);
    (void)setenv("UV_THREADPOOL_SIZE", text, 1);
}

void nadb_uv_executor_stop(struct nadb_uv_executor *executor)
{
    executor->is_stopping = true;
    for (;;) {
        uv_mutex_lock(&executor->lock);
        struct work *work = take_first(&executor->queued);
        uv_mutex_unlock(&executor->lock);
        if (work == NULL) {
            break;
        }
        work->is_discarded = true;
        end_slow(executor, work);
    }
    for (struct nadb_list *node = executor->fast.next; node != &executor->fast; node = node->next) {
        struct work *work = NADB_CONTAINER_OF(node, struct work, in_list);
        (void)uv_cancel((uv_req_t *)&work->req); /* one that has begun just ends */
    }
}

bool nadb_uv_executor_is_idle(const struct nadb_uv_executor *executor)
{
    return executor->fast_count == 0 && executor->slow_count == 0;
}

void nadb_uv_executor_fini(struct nadb_uv_executor *executor)
{
    NADB_ASSERT(nadb_uv_executor_is_idle(executor));
    uv_mutex_lock(&executor->lock);
    executor->is_ending = true;
    uv_cond_broadcast(&executor->has_queued);
    uv_mutex_unlock(&executor->lock);
    for (unsigned i = 0; i < executor->thread_count; i++) {
        (void)uv_thread_join(&executor->threads[i]); /* fails only for a thread that is not one */
    }
    uv_close((uv_handle_t *)&executor->slow_ended, NULL);
    (void)uv_run(executor->uv, UV_RUN_DEFAULT); /* until it is closed */
    uv_cond_destroy(&executor->has_queued);
    uv_mutex_destroy(&executor->lock);
}
