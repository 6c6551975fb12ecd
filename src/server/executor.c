/* This file runs jobs on the threads of two lanes and brings their ends back to the loop. */
#include "src/server/executor.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define WORK_MAGIC 0x574f524bu

/* How much the quiet threads yield. At 10 one of them gets about a tenth of a processor that the
 * loop wants for itself, which is what a flush needs to keep up with SETs in pipelines; and it
 * weighs so little in the scheduler's account that the loop may have the processor back at once. */
#define QUIET_NICE 10

/* A job between submit and its end. */
struct work {
    unsigned magic;
    struct nadb_job *job;
    bool is_discarded;
    struct nadb_list in_list; /* of queued or ended; none while it runs */
};

static struct work *take_first(struct nadb_list *list)
{
    struct work *work = NADB_LIST_FIRST(list, struct work, in_list);
    if (work != NULL) {
        NADB_ASSERT(work->magic == WORK_MAGIC);
        nadb_list_remove(&work->in_list);
    }
    return work;
}

/* ---- workers ---- */

/* Hands the work back to the loop. Any thread. */
static void report_end(struct nadb_uv_executor *executor, struct work *work)
{
    uv_mutex_lock(&executor->ended_lock);
    bool is_first = nadb_list_is_empty(&executor->ended);
    nadb_list_append(&executor->ended, &work->in_list);
    uv_mutex_unlock(&executor->ended_lock);
    if (is_first) {
        uint64_t one = 1;
        ssize_t written = write(executor->ended_fd, &one, sizeof(one));
        NADB_ASSERT(written == (ssize_t)sizeof(one)); /* the counter does not come near its end */
    }
}

/* A quiet thread takes the processor from nobody when it wakes up, and gets less of it. Where that
 * is not allowed it is one like others; whoever chose another policy has thought of it. */
static void be_quiet(int nice)
{
    if (sched_getscheduler(0) == SCHED_OTHER) {
        const struct sched_param none = {0};
        (void)sched_setscheduler(0, SCHED_BATCH, &none);
    }
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), nice);
}

/* A thread's life. */
static void live(void *arg)
{
    struct nadb_uv_lane *lane = arg;
    if (lane->nice != 0) {
        be_quiet(lane->nice);
    }
    uv_mutex_lock(&lane->lock);
    while (!lane->is_ending) {
        struct work *work = take_first(&lane->queued);
        if (work == NULL) {
            uv_cond_wait(&lane->has_queued, &lane->lock);
            continue;
        }
        uv_mutex_unlock(&lane->lock);
        work->job->ops->run(work->job);
        report_end(lane->executor, work);
        uv_mutex_lock(&lane->lock);
    }
    uv_mutex_unlock(&lane->lock);
}

/* ---- loop ---- */

/* The job may be gone, or submitted again, when this returns. */
static void end_work(struct nadb_uv_executor *executor, struct work *work)
{
    struct nadb_job *job = work->job;
    bool is_discarded = work->is_discarded;
    job->executor_private = NULL;
    work->magic = 0;
    nadb_mem_free(work);
    if (--executor->count == 0) {
        uv_unref((uv_handle_t *)&executor->poll);
    }
    if (executor->before_done != NULL) {
        executor->before_done(executor->ctx);
    }
    if (is_discarded) {
        job->ops->discard(job);
    } else {
        job->ops->done(job);
    }
}

/* The descriptor is read before the list is emptied, so what is added behind is told of again; it
 * has its end in another turn, however fast jobs are that are submitted again. */
static void on_ended(uv_poll_t *poll, int status, int events)
{
    (void)status; /* whatever is wrong with an eventfd shows when it is read */
    (void)events;
    struct nadb_uv_executor *executor = NADB_CONTAINER_OF(poll, struct nadb_uv_executor, poll);
    uint64_t times;
    ssize_t got = read(executor->ended_fd, &times, sizeof(times));
    NADB_ASSERT(got == (ssize_t)sizeof(times) || errno == EAGAIN);
    struct nadb_list these;
    nadb_list_init(&these);
    struct work *work;
    uv_mutex_lock(&executor->ended_lock);
    while ((work = take_first(&executor->ended)) != NULL) {
        nadb_list_append(&these, &work->in_list);
    }
    uv_mutex_unlock(&executor->ended_lock);
    while ((work = take_first(&these)) != NULL) {
        end_work(executor, work);
    }
}

static void start_threads(struct nadb_uv_lane *lane)
{
    while (lane->thread_count < lane->thread_max) {
        int rc = uv_thread_create(&lane->threads[lane->thread_count], live, lane);
        NADB_ASSERT(rc == 0); /* without threads no job would ever end */
        lane->thread_count++;
    }
}

static void submit(struct nadb_executor *base, struct nadb_job *job)
{
    struct nadb_uv_executor *executor = NADB_CONTAINER_OF(base, struct nadb_uv_executor, base);
    NADB_ASSERT(job->executor_private == NULL);
    struct work *work = nadb_mem_zalloc(sizeof(*work));
    work->magic = WORK_MAGIC;
    work->job = job;
    job->executor_private = work;
    if (executor->count++ == 0) {
        uv_ref((uv_handle_t *)&executor->poll);
    }
    if (executor->is_stopping) {
        work->is_discarded = true;
        report_end(executor, work);
        return;
    }
    struct nadb_uv_lane *lane = job->lane == NADB_JOB_SLOW ? &executor->slow : &executor->fast;
    start_threads(lane);
    uv_mutex_lock(&lane->lock);
    nadb_list_append(&lane->queued, &work->in_list);
    uv_cond_signal(&lane->has_queued);
    uv_mutex_unlock(&lane->lock);
}

/* ---- life ---- */

static void lane_init(
    struct nadb_uv_lane *lane, struct nadb_uv_executor *executor, unsigned threads, int nice)
{
    lane->executor = executor;
    lane->thread_max = threads;
    lane->nice = nice;
    nadb_list_init(&lane->queued);
    int rc = uv_mutex_init(&lane->lock);
    NADB_ASSERT(rc == 0); /* they need nothing that could be missing */
    rc = uv_cond_init(&lane->has_queued);
    NADB_ASSERT(rc == 0);
}

static void lane_stop(struct nadb_uv_lane *lane)
{
    uv_mutex_lock(&lane->lock);
    for (struct work *work; (work = take_first(&lane->queued)) != NULL;) {
        work->is_discarded = true;
        report_end(lane->executor, work);
    }
    uv_mutex_unlock(&lane->lock);
}

static void lane_fini(struct nadb_uv_lane *lane)
{
    uv_mutex_lock(&lane->lock);
    lane->is_ending = true;
    uv_cond_broadcast(&lane->has_queued);
    uv_mutex_unlock(&lane->lock);
    for (unsigned i = 0; i < lane->thread_count; i++) {
        (void)uv_thread_join(&lane->threads[i]); /* fails only for a thread that is not one */
    }
    uv_cond_destroy(&lane->has_queued);
    uv_mutex_destroy(&lane->lock);
}

enum nadb_err nadb_uv_executor_init(struct nadb_uv_executor *executor, uv_loop_t *uv,
    unsigned threads, void (*before_done)(void *ctx), void *ctx, struct nadb_error *reterr)
{
    NADB_ASSERT(threads > 0 && threads <= NADB_EXECUTOR_THREADS_MAX);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        return nadb_error_set(reterr, NADB_EIO, errno, "eventfd of the worker threads");
    }
    *executor = (struct nadb_uv_executor){
        .base.submit = submit,
        .uv = uv,
        .before_done = before_done,
        .ctx = ctx,
        .ended_fd = fd,
    };
    int rc = uv_poll_init(uv, &executor->poll, fd);
    if (rc != 0) {
        (void)close(fd); /* nothing has been written there */
        return nadb_error_set(reterr, NADB_EIO, -rc, "eventfd of the worker threads");
    }
    nadb_list_init(&executor->ended);
    rc = uv_mutex_init(&executor->ended_lock);
    NADB_ASSERT(rc == 0); /* needs nothing that could be missing */
    lane_init(&executor->fast, executor, threads, 0);
    lane_init(&executor->slow, executor, NADB_EXECUTOR_QUIET_THREADS, QUIET_NICE);
    rc = uv_poll_start(&executor->poll, UV_READABLE, on_ended);
    NADB_ASSERT(rc == 0); /* fails only for a handle that is being closed */
    uv_unref((uv_handle_t *)&executor->poll);
    return NADB_OK;
}

void nadb_uv_executor_stop(struct nadb_uv_executor *executor)
{
    executor->is_stopping = true;
    lane_stop(&executor->fast);
    lane_stop(&executor->slow);
}

bool nadb_uv_executor_is_idle(const struct nadb_uv_executor *executor)
{
    return executor->count == 0;
}

void nadb_uv_executor_fini(struct nadb_uv_executor *executor)
{
    NADB_ASSERT(nadb_uv_executor_is_idle(executor));
    lane_fini(&executor->fast);
    lane_fini(&executor->slow);
    uv_close((uv_handle_t *)&executor->poll, NULL);
    (void)uv_run(executor->uv, UV_RUN_DEFAULT); /* until it is closed */
    (void)close(executor->ended_fd);            /* nothing is written there */
    uv_mutex_destroy(&executor->ended_lock);
}
