/* An executor without threads: jobs wait until the test runs them, in whole or by halves.
 *
 * The worker half (`run`) and the loop half (`done`) can be called apart, so that a test can put
 * any work of the loop between them, or finish jobs in another order than they were submitted.
 * Pending jobs are numbered from 0, the oldest; the numbers move down as jobs finish.
 * Thread: the test's. */
#ifndef NADB_TESTS_SUPPORT_INLINE_EXECUTOR_H
#define NADB_TESTS_SUPPORT_INLINE_EXECUTOR_H

#include "src/base/job.h"

#include <stdbool.h>

#define NADB_INLINE_EXECUTOR_JOBS_MAX 1024

struct nadb_inline_executor {
    struct nadb_executor executor; /* give &inline_executor->executor to the code under test */
    struct nadb_inline_executor_entry {
        struct nadb_job *job;
        bool has_run; /* the worker half is behind it */
    } pending[NADB_INLINE_EXECUTOR_JOBS_MAX];
    size_t count;
};

void nadb_inline_executor_init(struct nadb_inline_executor *exec);

/* Jobs submitted and not yet done or discarded. */
size_t nadb_inline_executor_pending(const struct nadb_inline_executor *exec);

/* Finishes the oldest job (both halves, or the second if the first is behind it). False if there
 * is none. */
bool nadb_inline_executor_run_one(struct nadb_inline_executor *exec);

/* Until none is pending, those that jobs submit while finishing included. Returns how many. */
size_t nadb_inline_executor_run_all(struct nadb_inline_executor *exec);

/* The halves of job `idx`. The second needs the first. */
void nadb_inline_executor_run_worker_half(struct nadb_inline_executor *exec, size_t idx);
void nadb_inline_executor_finish(struct nadb_inline_executor *exec, size_t idx);

/* What a shutdown does: `done` for jobs that have run, `discard` for the others. */
void nadb_inline_executor_discard_all(struct nadb_inline_executor *exec);

#endif
