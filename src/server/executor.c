/* This file runs jobs on libuv's thread pool and brings their ends back to the loop. */
#include "src/server/executor.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"

#define WORK_MAGIC 0x574f524bu

/* A job between submit and its end. */
struct work {
    unsigned magic;
    uv_work_t req;
    struct nadb_uv_executor *executor;
    struct nadb_job *job;
    struct nadb_list in_queue; /* of slow_queue, or of pool */
};

static void fill_slow_lane(struct nadb_uv_executor *executor);

/* Worker. */
static void run_work(uv_work_t *req)
{
    struct work *work;
    NADB_CAST(work, req->data, WORK_MAGIC);
    work->job->ops->run(work->job);
}

static void free_work(struct work *work)
{
    work->job->executor_private = NULL;
    work->magic = 0;
    nadb_mem_free(work);
}

static void end_work(uv_work_t *req, int status)
{
    struct work *work;
    NADB_CAST(work, req->data, WORK_MAGIC);
    struct nadb_uv_executor *executor = work->executor;
    struct nadb_job *job = work->job;
    nadb_list_remove(&work->in_queue);
    executor->pool_count--;
    if (job->lane == NADB_JOB_SLOW) {
        executor->slow_count--;
    }
    free_work(work);
    if (executor->before_done != NULL) {
        executor->before_done(executor->ctx);
    }
    /* The job may be gone, or submitted again, once either has been called. */
    if (status == UV_ECANCELED) {
        job->ops->discard(job);
    } else {
        job->ops->done(job);
    }
    fill_slow_lane(executor);
}

static void hand_to_pool(struct nadb_uv_executor *executor, struct work *work)
{
    nadb_list_append(&executor->pool, &work->in_queue);
    executor->pool_count++;
    if (work->job->lane == NADB_JOB_SLOW) {
        executor->slow_count++;
    }
    int rc = uv_queue_work(executor->uv, &work->req, run_work, end_work);
    NADB_ASSERT(rc == 0); /* fails only without a callback */
    if (executor->is_stopping) {
        (void)uv_cancel((uv_req_t *)&work->req); /* one that has begun just ends */
    }
}

static void fill_slow_lane(struct nadb_uv_executor *executor)
{
    while (executor->slow_count < executor->slow_max) {
        struct work *work = NADB_LIST_FIRST(&executor->slow_queue, struct work, in_queue);
        if (work == NULL) {
            return;
        }
        nadb_list_remove(&work->in_queue);
        hand_to_pool(executor, work);
    }
}

static void submit(struct nadb_executor *base, struct nadb_job *job)
{
    struct nadb_uv_executor *executor = NADB_CONTAINER_OF(base, struct nadb_uv_executor, base);
    NADB_ASSERT(job->executor_private == NULL);
    struct work *work = nadb_mem_zalloc(sizeof(*work));
    work->magic = WORK_MAGIC;
    work->req.data = work;
    work->executor = executor;
    work->job = job;
    nadb_list_init(&work->in_queue);
    job->executor_private = work;
    if (job->lane == NADB_JOB_SLOW && executor->slow_count >= executor->slow_max &&
        !executor->is_stopping) {
        nadb_list_append(&executor->slow_queue, &work->in_queue);
    } else {
        hand_to_pool(executor, work);
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
        .slow_max = threads > 1 ? threads / 2 : 1,
    };
    nadb_list_init(&executor->slow_queue);
    nadb_list_init(&executor->pool);
    /* libuv's only way to be told; read when the pool is first used. */
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", threads);
    (void)setenv("UV_THREADPOOL_SIZE", text, 1);
}

void nadb_uv_executor_stop(struct nadb_uv_executor *executor)
{
    executor->is_stopping = true;
    struct work *work;
    while ((work = NADB_LIST_FIRST(&executor->slow_queue, struct work, in_queue)) != NULL) {
        struct nadb_job *job = work->job;
        nadb_list_remove(&work->in_queue);
        free_work(work);
        job->ops->discard(job);
    }
    for (struct nadb_list *node = executor->pool.next; node != &executor->pool; node = node->next) {
        work = NADB_CONTAINER_OF(node, struct work, in_queue);
        (void)uv_cancel((uv_req_t *)&work->req); /* one that has begun just ends */
    }
}

bool nadb_uv_executor_is_idle(const struct nadb_uv_executor *executor)
{
    return executor->pool_count == 0 && nadb_list_is_empty(&executor->slow_queue);
}
