/* The executor of the daemon: jobs on libuv's thread pool, in two lanes.
 *
 *     submit FAST ------------------------------> uv_queue_work -> run -> done
 *     submit SLOW -> queue -> at most slow_max -> uv_queue_work -> run -> done
 *
 * Thread: loop; only the jobs' run functions are called on workers. */
#ifndef NADB_SERVER_EXECUTOR_H
#define NADB_SERVER_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "src/base/job.h"
#include "src/base/list.h"

struct nadb_uv_executor {
    struct nadb_executor base; /* public: for those that submit */
    /* private */
    uv_loop_t *uv;
    void (*before_done)(void *ctx);
    void *ctx;
    unsigned slow_max, slow_count; /* SLOW jobs that the pool may have, and has */
    struct nadb_list slow_queue;   /* those that it has not */
    size_t pool_count;             /* jobs of both lanes that the pool has */
    struct nadb_list pool;
    bool is_stopping;
};

/* Must come before anything else in the process uses the pool, which gets `threads` threads.
 * `before_done` (NULL allowed) is called on the loop before each done or discard. */
void nadb_uv_executor_init(struct nadb_uv_executor *executor, uv_loop_t *uv, unsigned threads,
    void (*before_done)(void *ctx), void *ctx);

/* Discards every job that has not begun, now and from now on; those that run end with done, later,
 * so the loop must run on until the executor is idle. */
void nadb_uv_executor_stop(struct nadb_uv_executor *executor);

/* No job is queued or under way. */
bool nadb_uv_executor_is_idle(const struct nadb_uv_executor *executor);

#endif
