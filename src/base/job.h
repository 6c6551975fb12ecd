/* Work that may block, and who runs it.
 *
 * A job is handed immutable input and returns output. The submitter owns it before submit and
 * again from `done` or `discard` on; in between the worker owns it alone. It sees no structure of
 * the loop's and takes no lock.
 *
 *     IDLE -> QUEUED            [nadb_executor_submit, loop]
 *     QUEUED -> RUNNING         [worker: ops->run]
 *     RUNNING -> IDLE           [loop: ops->done]
 *     QUEUED -> IDLE            [loop: ops->discard, only while shutting down]
 *
 * Invariants: exactly one of done and discard is called for every submit, on the loop thread,
 * never from inside submit. After submit the loop does not touch the job until then. */
#ifndef NADB_BASE_JOB_H
#define NADB_BASE_JOB_H

#include "src/base/assert.h"

#define NADB_JOB_MAGIC 0x4a4f4221u

struct nadb_job;

typedef void nadb_job_fn(struct nadb_job *job);

struct nadb_job_ops {
    const char *name;     /* for logs and statistics */
    nadb_job_fn *run;     /* worker thread */
    nadb_job_fn *done;    /* loop thread, after run */
    nadb_job_fn *discard; /* loop thread, instead of run and done */
};

enum nadb_job_lane {
    NADB_JOB_FAST, /* somebody waits for it: cold reads, synced writes */
    NADB_JOB_SLOW, /* nobody does: it takes the time that is left */
};

struct nadb_job {
    unsigned magic;
    enum nadb_job_lane lane;
    const struct nadb_job_ops *ops;
    void *executor_private; /* the executor's, from submit to done */
};

struct nadb_executor {
    void (*submit)(struct nadb_executor *executor, struct nadb_job *job);
};

static inline void nadb_job_init(
    struct nadb_job *job, const struct nadb_job_ops *ops, enum nadb_job_lane lane)
{
    *job = (struct nadb_job){.magic = NADB_JOB_MAGIC, .lane = lane, .ops = ops};
}

/* Thread: loop. Never fails, never calls back before it returns. */
static inline void nadb_executor_submit(struct nadb_executor *executor, struct nadb_job *job)
{
    NADB_ASSERT(job->magic == NADB_JOB_MAGIC);
    executor->submit(executor, job);
}

#endif
