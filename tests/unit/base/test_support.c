/* This file tests the tests' own helpers: an executor that lies proves nothing. */
#include "tests/support/inline_executor.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

NADB_TEST_SUITE(support);

/* A job that writes a letter for each call into a trace. */
struct traced_job {
    struct nadb_job job;
    char name;
    struct nadb_executor *resubmit_to; /* once, from done */
};

static struct {
    char text[64];
    size_t len;
} trace;

static void put_trace(struct nadb_job *job, char event)
{
    cr_assert_lt(trace.len + 2, sizeof(trace.text));
    trace.text[trace.len++] = NADB_CONTAINER_OF(job, struct traced_job, job)->name;
    trace.text[trace.len++] = event;
    trace.text[trace.len] = '\0';
}

static void run_traced(struct nadb_job *job)
{
    put_trace(job, 'r');
}

static void done_traced(struct nadb_job *job)
{
    put_trace(job, 'd');
    struct traced_job *traced = NADB_CONTAINER_OF(job, struct traced_job, job);
    if (traced->resubmit_to != NULL) {
        struct nadb_executor *executor = traced->resubmit_to;
        traced->resubmit_to = NULL;
        nadb_executor_submit(executor, job);
    }
}

static void discard_traced(struct nadb_job *job)
{
    put_trace(job, 'x');
}

static const struct nadb_job_ops traced_ops = {
    .name = "traced",
    .run = run_traced,
    .done = done_traced,
    .discard = discard_traced,
};

static void submit_three(struct nadb_inline_executor *exec, struct traced_job *jobs)
{
    nadb_inline_executor_init(exec);
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct traced_job){.name = (char)('a' + i)};
        nadb_job_init(&jobs[i].job, &traced_ops, NADB_JOB_FAST);
        nadb_executor_submit(&exec->executor, &jobs[i].job);
    }
    cr_assert_eq(nadb_inline_executor_pending(exec), 3);
    cr_assert_eq(trace.len, 0, "submit calls nothing");
}

Test(support, jobs_run_in_order_one_at_a_time_or_all)
{
    struct nadb_inline_executor exec;
    struct traced_job jobs[3];
    submit_three(&exec, jobs);
    cr_assert(nadb_inline_executor_run_one(&exec));
    cr_assert_str_eq(trace.text, "arad");
    cr_assert_eq(nadb_inline_executor_run_all(&exec), 2);
    cr_assert_str_eq(trace.text, "aradbrbdcrcd");
    cr_assert_not(nadb_inline_executor_run_one(&exec));
}

Test(support, the_halves_of_a_job_can_be_called_apart_and_out_of_order)
{
    struct nadb_inline_executor exec;
    struct traced_job jobs[3];
    submit_three(&exec, jobs);
    nadb_inline_executor_run_worker_half(&exec, 2);
    nadb_inline_executor_run_worker_half(&exec, 0);
    nadb_inline_executor_finish(&exec, 2);
    cr_assert_str_eq(trace.text, "crarcd");
    cr_assert(nadb_inline_executor_run_one(&exec));
    cr_assert_str_eq(trace.text, "crarcdad", "the first half is not repeated");
    cr_assert_eq(nadb_inline_executor_run_all(&exec), 1);
    cr_assert_str_eq(trace.text, "crarcdadbrbd");
}

Test(support, a_job_may_be_submitted_again_from_its_done)
{
    struct nadb_inline_executor exec;
    struct traced_job jobs[3];
    submit_three(&exec, jobs);
    jobs[0].resubmit_to = &exec.executor;
    cr_assert_eq(nadb_inline_executor_run_all(&exec), 4);
    cr_assert_str_eq(trace.text, "aradbrbdcrcdarad");
}

Test(support, a_shutdown_finishes_what_has_run_and_discards_the_rest)
{
    struct nadb_inline_executor exec;
    struct traced_job jobs[3];
    submit_three(&exec, jobs);
    nadb_inline_executor_run_worker_half(&exec, 1);
    nadb_inline_executor_discard_all(&exec);
    cr_assert_str_eq(trace.text, "braxbdcx");
    cr_assert_eq(nadb_inline_executor_pending(&exec), 0);
}

Test(support, a_job_submitted_twice_is_caught, .signal = SIGABRT)
{
    struct nadb_inline_executor exec;
    struct traced_job jobs[3];
    submit_three(&exec, jobs);
    nadb_executor_submit(&exec.executor, &jobs[0].job);
}

Test(support, a_pointer_with_the_wrong_magic_is_caught, .signal = SIGABRT)
{
    struct nadb_job job = {.magic = NADB_JOB_MAGIC + 1};
    void *pointer = &job;
    struct nadb_job *recovered;
    NADB_CAST(recovered, pointer, NADB_JOB_MAGIC);
    cr_assert_null(recovered);
}

Test(support, a_directory_is_removed_with_all_that_is_in_it)
{
    struct nadb_tmpdir dir, other;
    nadb_tmpdir_make(&dir);
    nadb_tmpdir_make(&other);
    cr_assert_str_neq(dir.path, other.path);
    FILE *file = fopen(nadb_tmpdir_file(&other, "keep"), "w");
    cr_assert_not_null(file);
    fclose(file);
    cr_assert_eq(mkdir(nadb_tmpdir_file(&dir, "sub"), 0700), 0);
    cr_assert_eq(symlink(other.path, nadb_tmpdir_file(&dir, "sub/link")), 0);
    cr_assert_eq(chmod(nadb_tmpdir_file(&dir, "sub"), 0500), 0);
    char path[NADB_TMPDIR_PATH_MAX];
    memcpy(path, dir.path, sizeof(path));
    nadb_tmpdir_remove(&dir);
    cr_assert_eq(access(path, F_OK), -1);
    cr_assert_eq(access(nadb_tmpdir_file(&other, "keep"), F_OK), 0, "links are not followed");
    nadb_tmpdir_remove(&other);
}
