/* The executor of the daemon: jobs on worker threads, in two lanes.
 *
 *     submit -> queue of the lane -> one of its threads: run -> list of the ended -> loop: done
 *
 * The threads of the slow lane yield to every other thread of the process: work that nobody waits
 * for takes the time that the loop leaves.
 *
 * Not libuv's pool, although it would do for the fast lane: the loop is told of an end through
 * uv_async_t there, and where it wakes up so promptly that the worker is still inside
 * uv_async_send, libuv 1.44 spins and then gives the processor away, to that worker, for a whole
 * slice: a millisecond for every client. An eventfd that is polled has nothing to spin for.
 *
 * Thread: loop; only the jobs' run functions are called on workers. */
#ifndef NADB_SERVER_EXECUTOR_H
#define NADB_SERVER_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "src/base/err.h"
#include "src/base/job.h"
#include "src/base/list.h"

/* As many as there are kinds of slow jobs, each one at a time: flush, compaction, backup,
 * verification, hints. */
#define NADB_EXECUTOR_QUIET_THREADS 5u

#define NADB_EXECUTOR_THREADS_MAX 128u /* of the fast lane */

/* Threads, and the jobs that wait for one of them. */
struct nadb_uv_lane {
    /* private; loop */
    unsigned thread_count, thread_max; /* started with the first job */
    uv_thread_t threads[NADB_EXECUTOR_THREADS_MAX];
    int nice;
    struct nadb_uv_executor *executor;
    /* under lock */
    uv_mutex_t lock;
    uv_cond_t has_queued;
    struct nadb_list queued;
    bool is_ending;
};

struct nadb_uv_executor {
    struct nadb_executor base; /* public: for those that submit */
    /* private; loop */
    uv_loop_t *uv;
    void (*before_done)(void *ctx);
    void *ctx;
    size_t count; /* submitted, and not ended */
    bool is_stopping;
    uv_poll_t poll; /* of ended_fd; keeps the loop alive while count is not 0 */
    struct nadb_uv_lane fast, slow;
    /* any thread */
    int ended_fd; /* an eventfd: readable while there is something new in ended */
    uv_mutex_t ended_lock;
    struct nadb_list ended; /* under ended_lock */
};

/* `threads` of the fast lane: 1 to NADB_EXECUTOR_THREADS_MAX. `before_done` (NULL allowed) is
 * called on the loop before each done or discard. Fails when the kernel has no descriptor to give:
 * then there is nothing to end. */
NADB_MUST_CHECK enum nadb_err nadb_uv_executor_init(struct nadb_uv_executor *executor,
    uv_loop_t *uv, unsigned threads, void (*before_done)(void *ctx), void *ctx,
    struct nadb_error *reterr);

/* Discards every job that has not begun, now and from now on; those that run end with done, later,
 * so the loop must run on until the executor is idle. */
void nadb_uv_executor_stop(struct nadb_uv_executor *executor);

/* No job is queued or under way. */
bool nadb_uv_executor_is_idle(const struct nadb_uv_executor *executor);

/* Ends the threads of an idle executor. Runs the loop, which has nothing else left. */
void nadb_uv_executor_fini(struct nadb_uv_executor *executor);

#endif
