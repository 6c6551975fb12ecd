/* This file runs jobs when the test says so. */
#include "tests/support/inline_executor.h"

#include <string.h>

/* A job that submits another for ever is a defect of the code under test: stop and say so. */
#define RUNS_MAX 1000000

static void submit_job(struct nadb_executor *executor, struct nadb_job *job)
{
    struct nadb_inline_executor *exec =
        NADB_CONTAINER_OF(executor, struct nadb_inline_executor, executor);
    NADB_ASSERT(job->executor_private == NULL); /* submitted twice */
    NADB_ASSERT(exec->count < NADB_INLINE_EXECUTOR_JOBS_MAX);
    job->executor_private = exec;
    exec->pending[exec->count++] = (struct nadb_inline_executor_entry){.job = job};
}

/* Removes entry `idx` and gives its job back to the submitter. */
static struct nadb_job *take_job(struct nadb_inline_executor *exec, size_t idx)
{
    NADB_ASSERT(idx < exec->count);
    struct nadb_inline_executor_entry *entry = &exec->pending[idx];
    struct nadb_job *job = entry->job;
    exec->count--;
    memmove(entry, entry + 1, (exec->count - idx) * sizeof(*entry));
    NADB_ASSERT(job->magic == NADB_JOB_MAGIC && job->executor_private == exec);
    job->executor_private = NULL;
    return job;
}

void nadb_inline_executor_init(struct nadb_inline_executor *exec)
{
    exec->executor.submit = submit_job;
    exec->count = 0;
}

size_t nadb_inline_executor_pending(const struct nadb_inline_executor *exec)
{
    return exec->count;
}

void nadb_inline_executor_run_worker_half(struct nadb_inline_executor *exec, size_t idx)
{
    NADB_ASSERT(idx < exec->count && !exec->pending[idx].has_run);
    exec->pending[idx].has_run = true;
    struct nadb_job *job = exec->pending[idx].job;
    job->ops->run(job);
}

void nadb_inline_executor_finish(struct nadb_inline_executor *exec, size_t idx)
{
    NADB_ASSERT(idx < exec->count && exec->pending[idx].has_run);
    struct nadb_job *job = take_job(exec, idx);
    job->ops->done(job); /* may free the job, and may submit */
}

bool nadb_inline_executor_run_one(struct nadb_inline_executor *exec)
{
    if (exec->count == 0) {
        return false;
    }
    if (!exec->pending[0].has_run) {
        nadb_inline_executor_run_worker_half(exec, 0);
    }
    nadb_inline_executor_finish(exec, 0);
    return true;
}

size_t nadb_inline_executor_run_all(struct nadb_inline_executor *exec)
{
    size_t runs = 0;
    while (nadb_inline_executor_run_one(exec)) {
        runs++;
        NADB_ASSERT(runs < RUNS_MAX);
    }
    return runs;
}

void nadb_inline_executor_discard_all(struct nadb_inline_executor *exec)
{
    for (size_t runs = 0; exec->count > 0; runs++) {
        NADB_ASSERT(runs < RUNS_MAX);
        bool has_run = exec->pending[0].has_run;
        struct nadb_job *job = take_job(exec, 0);
        if (has_run) {
            job->ops->done(job);
        } else {
            job->ops->discard(job);
        }
    }
}
