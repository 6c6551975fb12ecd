/* The executor of the daemon: jobs on worker threads, in two lanes.
 *
 *     submit FAST ----------> uv_queue_work ---------------> run -> done
 *     submit SLOW -> queue -> one of a few quiet threads --> run -> done
 *
 * The quiet threads are the executor's own and yield to every other thread of the process: work
 * that nobody waits for takes the time that the loop leaves.
 *
 * Thread: loop; only the jobs' run functions are called on workers. */
#ifndef NADB_SERVER_EXECUTOR_H
#define NADB_SERVER_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "src/base/job.h"
#include "src/base/list.h"

/* As many as there are kinds of slow jobs, each one at a time: flush, compaction, backup,
 * verification, hints. */
#define NADB_EXECUTOR_QUIET_THREADS 5u

struct nadb_uv_executor {
    struct nadb_executor base; /* public: for those that submit */
    /* private; loop */
    uv_loop_t *uv;
    void (*before_done)(void *ctx);
    void *ctx;
    size_t fast_count, slow_count; /* submitted, and not ended */
    struct nadb_list fast;         /* those in libuv's pool */
    bool is_stopping;
    uv_async_t slow_ended; /* keeps the loop alive while slow_count is not 0 */
    unsigned thread_count; /* started with the first slow job */
    uv_thread_t threads[NADB_EXECUTOR_QUIET_THREADS];
    /* under lock */
    uv_mutex_t lock;
    uv_cond_t has_queued;
    struct nadb_list queued, ended; /* slow ones */
    bool is_ending;
};

/* Must come before anything else in the process uses libuv's pool, which gets `threads` threads.
 * `before_done` (NULL allowed) is called on the loop before each done or discard. */
void nadb_uv_executor_init(struct nadb_uv_executor *executor, uv_loop_t *uv, unsigned threads,
    void (*before_done)(void *ctx), void *ctx);

/* Discards every job that has not begun, now and from now on; those that run end with done, later,
 * so the loop must run on until the executor is idle. */
void nadb_uv_executor_stop(struct nadb_uv_executor *executor);

/* No job is queued or under way. */
bool nadb_uv_executor_is_idle(const struct nadb_uv_executor *executor);

/* Ends the quiet threads of an idle executor. Runs the loop, which has nothing else left. */
void nadb_uv_executor_fini(struct nadb_uv_executor *executor);

#endif
