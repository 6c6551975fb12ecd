/* This file tests that jobs run on workers and end on the loop, once each, lane by lane. */
#include "src/server/executor.h"

#include "tests/support/test.h"

#include <string.h>
#include <sys/resource.h>

NADB_TEST_SUITE(executor);

#define THREADS 2u

struct bench {
    uv_loop_t uv;
    struct nadb_uv_executor executor;
    uv_thread_t loop_thread;
    uv_sem_t gate; /* what gated jobs wait for */
    int turns;     /* calls of before_done */
};

struct probe {
    struct nadb_job job;
    struct bench *bench;
    bool is_gated;
    bool opens_gate;
    int resubmits;
    int runs, dones, discards; /* runs: worker while under way, loop afterwards */
    bool ran_elsewhere;
    bool ended_on_loop;
};

static struct probe *probe_of(struct nadb_job *job)
{
    return NADB_CONTAINER_OF(job, struct probe, job);
}

static bool is_loop_thread(struct bench *bench)
{
    uv_thread_t self = uv_thread_self();
    return uv_thread_equal(&self, &bench->loop_thread) != 0;
}

static void run(struct nadb_job *job)
{
    struct probe *probe = probe_of(job);
    probe->runs++;
    probe->ran_elsewhere = !is_loop_thread(probe->bench);
    if (probe->is_gated) {
        uv_sem_wait(&probe->bench->gate);
    }
}

static void done(struct nadb_job *job)
{
    struct probe *probe = probe_of(job);
    probe->dones++;
    probe->ended_on_loop = is_loop_thread(probe->bench);
    if (probe->opens_gate) {
        uv_sem_post(&probe->bench->gate);
    }
    if (probe->resubmits > 0) {
        probe->resubmits--;
        nadb_executor_submit(&probe->bench->executor.base, job);
    }
}

static void discard(struct nadb_job *job)
{
    struct probe *probe = probe_of(job);
    probe->discards++;
    probe->ended_on_loop = is_loop_thread(probe->bench);
}

static const struct nadb_job_ops ops = {
    .name = "probe", .run = run, .done = done, .discard = discard};

static void count_turn(void *ctx)
{
    struct bench *bench = ctx;
    bench->turns++;
}

static void setup(struct bench *bench)
{
    *bench = (struct bench){.loop_thread = uv_thread_self()};
    cr_assert_eq(uv_loop_init(&bench->uv), 0);
    cr_assert_eq(uv_sem_init(&bench->gate, 0), 0);
    struct nadb_error error = {0};
    cr_assert_eq(
        nadb_uv_executor_init(&bench->executor, &bench->uv, THREADS, count_turn, bench, &error),
        NADB_OK);
}

static void teardown(struct bench *bench)
{
    nadb_uv_executor_fini(&bench->executor);
    uv_sem_destroy(&bench->gate);
    cr_assert_eq(uv_loop_close(&bench->uv), 0);
}

static void submit(struct bench *bench, struct probe *probe, enum nadb_job_lane lane)
{
    probe->bench = bench;
    nadb_job_init(&probe->job, &ops, lane);
    nadb_executor_submit(&bench->executor.base, &probe->job);
}

Test(executor, a_job_runs_on_a_worker_and_ends_once_on_the_loop)
{
    struct bench bench;
    setup(&bench);
    struct probe probe = {0};
    submit(&bench, &probe, NADB_JOB_FAST);
    cr_assert_eq(probe.dones, 0, "never from inside submit");
    cr_assert(!nadb_uv_executor_is_idle(&bench.executor));
    (void)uv_run(&bench.uv, UV_RUN_DEFAULT);
    cr_assert_eq(probe.runs, 1);
    cr_assert_eq(probe.dones, 1);
    cr_assert_eq(probe.discards, 0);
    cr_assert(probe.ran_elsewhere);
    cr_assert(probe.ended_on_loop);
    cr_assert_eq(bench.turns, 1);
    cr_assert_null(probe.job.executor_private);
    teardown(&bench);
}

Test(executor, a_job_may_be_submitted_again_when_it_is_done)
{
    struct bench bench;
    setup(&bench);
    struct probe fast = {.resubmits = 3};
    struct probe slow = {.resubmits = 3};
    submit(&bench, &fast, NADB_JOB_FAST);
    submit(&bench, &slow, NADB_JOB_SLOW);
    (void)uv_run(&bench.uv, UV_RUN_DEFAULT);
    cr_assert_eq(fast.dones, 4);
    cr_assert_eq(slow.dones, 4);
    teardown(&bench);
}

/* Had the lanes the same threads, the gated jobs would fill them, and the job that opens the gate
 * would never run. */
Test(executor, slow_jobs_leave_room_for_fast_ones, .timeout = 60)
{
    struct bench bench;
    setup(&bench);
    struct probe slow[THREADS + NADB_EXECUTOR_QUIET_THREADS] = {0};
    for (size_t i = 0; i < NADB_ARRAY_LEN(slow); i++) {
        slow[i].is_gated = true;
        slow[i].opens_gate = true; /* for the next one */
        submit(&bench, &slow[i], NADB_JOB_SLOW);
    }
    struct probe fast = {.opens_gate = true};
    submit(&bench, &fast, NADB_JOB_FAST);
    (void)uv_run(&bench.uv, UV_RUN_DEFAULT);
    cr_assert_eq(fast.dones, 1);
    for (size_t i = 0; i < NADB_ARRAY_LEN(slow); i++) {
        cr_assert_eq(slow[i].dones, 1, "slow job %zu", i);
    }
    teardown(&bench);
}

Test(executor, stop_discards_what_has_not_begun_and_waits_for_the_rest, .timeout = 60)
{
    struct bench bench;
    setup(&bench);
    struct probe gated[2 * (NADB_EXECUTOR_QUIET_THREADS + THREADS + 3)] = {0};
    for (size_t i = 0; i < NADB_ARRAY_LEN(gated); i++) {
        gated[i].is_gated = true;
        submit(&bench, &gated[i], i % 2 == 0 ? NADB_JOB_SLOW : NADB_JOB_FAST);
    }
    nadb_uv_executor_stop(&bench.executor);
    for (size_t i = 0; i < NADB_ARRAY_LEN(gated); i++) {
        uv_sem_post(&bench.gate);
    }
    (void)uv_run(&bench.uv, UV_RUN_DEFAULT);
    size_t ended = 0;
    for (size_t i = 0; i < NADB_ARRAY_LEN(gated); i++) {
        cr_assert_eq(gated[i].dones + gated[i].discards, 1, "job %zu", i);
        cr_assert_eq(gated[i].runs, gated[i].dones, "job %zu", i);
        cr_assert(gated[i].ended_on_loop);
        ended += (size_t)gated[i].dones;
    }
    cr_assert_leq(
        ended, THREADS + NADB_EXECUTOR_QUIET_THREADS, "more began than there are threads");
    teardown(&bench);
}

Test(executor, what_is_submitted_after_stop_ends_later_and_once)
{
    struct bench bench;
    setup(&bench);
    nadb_uv_executor_stop(&bench.executor);
    struct probe probes[4] = {0};
    for (size_t i = 0; i < NADB_ARRAY_LEN(probes); i++) {
        submit(&bench, &probes[i], i % 2 == 0 ? NADB_JOB_FAST : NADB_JOB_SLOW);
        cr_assert_eq(probes[i].dones + probes[i].discards, 0, "never from inside submit");
    }
    (void)uv_run(&bench.uv, UV_RUN_DEFAULT);
    for (size_t i = 0; i < NADB_ARRAY_LEN(probes); i++) {
        cr_assert_eq(probes[i].dones + probes[i].discards, 1, "job %zu", i);
    }
    teardown(&bench);
}

/* Many jobs that end at the same time are told of once; none may be forgotten. */
Test(executor, every_one_of_many_short_jobs_ends_whatever_meets, .timeout = 60)
{
    struct bench bench;
    setup(&bench);
    static struct probe probes[200];
    for (size_t i = 0; i < NADB_ARRAY_LEN(probes); i++) {
        probes[i] = (struct probe){.resubmits = 50};
        submit(&bench, &probes[i], i % 3 == 0 ? NADB_JOB_SLOW : NADB_JOB_FAST);
    }
    (void)uv_run(&bench.uv, UV_RUN_DEFAULT);
    for (size_t i = 0; i < NADB_ARRAY_LEN(probes); i++) {
        cr_assert_eq(probes[i].dones, 51, "job %zu", i);
    }
    cr_assert(nadb_uv_executor_is_idle(&bench.executor));
    teardown(&bench);
}

Test(executor, without_a_descriptor_it_says_so)
{
    uv_loop_t uv;
    cr_assert_eq(uv_loop_init(&uv), 0);
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct nadb_uv_executor executor;
    struct nadb_error error = {0};
    enum nadb_err err = nadb_uv_executor_init(&executor, &uv, THREADS, NULL, NULL, &error);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(err, NADB_EIO);
    cr_assert_not_null(strstr(error.text, "eventfd of the worker threads"));
    cr_assert_eq(uv_loop_close(&uv), 0);
}
