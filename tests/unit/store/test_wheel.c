/* This file tests the timing wheel against a plain list of deadlines. */
#include "src/store/wheel.h"

#include "src/base/mem.h"
#include "src/base/random.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(wheel);

#define START_MS    UINT64_C(1700000000000)
#define RECORDS_MAX 400
#define STEPS_MAX   1000000

struct bench {
    struct nadb_wheel *wheel;
    struct nadb_rec *recs[RECORDS_MAX]; /* NULL: not armed */
    struct nadb_rng rng;
    uint64_t now_ms;
};

static struct nadb_rec *rec_new(uint64_t expire_ms)
{
    return nadb_rec_new(
        &(struct nadb_rec_parts){.key = NADB_SLICE("some key"), .expire_ms = expire_ms});
}

static void bench_init(struct bench *bench, uint64_t seed)
{
    *bench = (struct bench){.wheel = nadb_wheel_new(START_MS), .now_ms = START_MS};
    nadb_rng_seed(&bench->rng, seed);
}

static void bench_fini(struct bench *bench)
{
    for (size_t i = 0; i < RECORDS_MAX; i++) {
        if (bench->recs[i] != NULL) {
            nadb_wheel_cancel(bench->recs[i]);
            nadb_rec_free(bench->recs[i]);
        }
    }
    nadb_wheel_free(bench->wheel);
}

/* Near, far, and everything between: as many of each power of two. */
static uint64_t some_delay(struct bench *bench)
{
    uint64_t limit = (uint64_t)1 << nadb_rng_below(&bench->rng, 42);
    return nadb_rng_below(&bench->rng, limit + 1);
}

static void arm(struct bench *bench, size_t i, uint64_t expire_ms)
{
    bench->recs[i] = rec_new(expire_ms);
    nadb_wheel_arm(bench->wheel, bench->recs[i]);
}

static void forget(struct bench *bench, struct nadb_rec *rec)
{
    for (size_t i = 0; i < RECORDS_MAX; i++) {
        if (bench->recs[i] == rec) {
            nadb_rec_free(rec);
            bench->recs[i] = NULL;
            return;
        }
    }
    cr_assert_fail("the wheel handed out a record that was not armed");
}

/* Steps until nothing is due at bench->now_ms; how many were. */
static size_t run_due(struct bench *bench)
{
    size_t due = 0;
    for (size_t steps = 0; steps < STEPS_MAX; steps++) {
        struct nadb_rec *rec = NULL;
        switch (nadb_wheel_step(&bench->wheel, bench->now_ms, &rec)) {
        case NADB_WHEEL_IDLE:
            return due;
        case NADB_WHEEL_DUE:
            cr_assert_leq(nadb_rec_expire_ms(rec), bench->now_ms, "handed out too early");
            cr_assert_null(nadb_rec_ttl_part(rec)->pprev, "handed out and still in a list");
            forget(bench, rec);
            due++;
            break;
        case NADB_WHEEL_MOVED:
            break;
        }
    }
    cr_assert_fail("the wheel never came to rest");
    return 0;
}

static uint64_t first_deadline(const struct bench *bench)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < RECORDS_MAX; i++) {
        uint64_t expire_ms = bench->recs[i] == NULL ? first : nadb_rec_expire_ms(bench->recs[i]);
        first = expire_ms < first ? expire_ms : first;
    }
    return first;
}

static void check_rest(const struct bench *bench)
{
    uint64_t first = first_deadline(bench);
    cr_assert(first == UINT64_MAX || first > bench->now_ms, "something was due and not handed out");
    cr_assert_leq(nadb_wheel_next_ms(bench->wheel), first, "would be called too late");
}

Test(wheel, an_empty_wheel_has_nothing_to_do)
{
    struct bench bench;
    bench_init(&bench, 1);
    cr_assert_eq(nadb_wheel_next_ms(bench.wheel), UINT64_MAX);
    cr_assert_eq(run_due(&bench), 0);
    bench_fini(&bench);
}

Test(wheel, a_record_is_due_in_its_millisecond_and_not_before)
{
    const uint64_t delays[] = {1, 2, 63, 64, 65, 4095, 4096, 4097, 86400000, UINT64_C(1) << 40};
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        struct bench bench;
        bench_init(&bench, 1);
        arm(&bench, 0, START_MS + delays[i]);
        bench.now_ms = START_MS + delays[i] - 1;
        cr_assert_eq(run_due(&bench), 0, "%llu ms", (unsigned long long)delays[i]);
        bench.now_ms++;
        cr_assert_eq(run_due(&bench), 1, "%llu ms", (unsigned long long)delays[i]);
        bench_fini(&bench);
    }
}

Test(wheel, a_deadline_in_the_past_is_due_at_once)
{
    struct bench bench;
    bench_init(&bench, 1);
    arm(&bench, 0, 1);
    arm(&bench, 1, START_MS);
    cr_assert_eq(nadb_wheel_next_ms(bench.wheel), 0);
    cr_assert_eq(run_due(&bench), 2);
    bench_fini(&bench);
}

Test(wheel, a_cancelled_record_never_comes)
{
    struct bench bench;
    bench_init(&bench, 1);
    for (size_t i = 0; i < 3; i++) {
        arm(&bench, i, START_MS + 100);
    }
    nadb_wheel_cancel(bench.recs[1]);
    nadb_wheel_cancel(bench.recs[1]);
    bench.now_ms += 1000;
    cr_assert_eq(run_due(&bench), 2);
    cr_assert_not_null(bench.recs[1]);
    bench_fini(&bench);
}

Test(wheel, random_arming_cancelling_and_stepping_is_never_early_and_never_late)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct bench bench;
        bench_init(&bench, seed);
        for (int round = 0; round < 2000; round++) {
            size_t i = nadb_rng_below(&bench.rng, RECORDS_MAX);
            switch (nadb_rng_below(&bench.rng, 4)) {
            case 0:
                bench.now_ms += some_delay(&bench) >> nadb_rng_below(&bench.rng, 20);
                (void)run_due(&bench);
                check_rest(&bench);
                break;
            case 1:
                if (bench.recs[i] != NULL) {
                    nadb_wheel_cancel(bench.recs[i]);
                    nadb_rec_free(bench.recs[i]);
                    bench.recs[i] = NULL;
                }
                break;
            default:
                if (bench.recs[i] == NULL) {
                    arm(&bench, i, bench.now_ms + some_delay(&bench));
                }
                break;
            }
        }
        bench_fini(&bench);
    }
}

Test(wheel, when_the_clock_goes_back_deadlines_follow_the_clock)
{
    struct bench bench;
    bench_init(&bench, 1);
    arm(&bench, 0, START_MS + 10000);
    bench.now_ms += 9999;
    cr_assert_eq(run_due(&bench), 0);
    bench.now_ms -= 8000;
    cr_assert_eq(run_due(&bench), 0);
    arm(&bench, 1, bench.now_ms + 5);
    bench.now_ms += 5;
    cr_assert_eq(run_due(&bench), 1);
    cr_assert_null(bench.recs[1]);
    bench.now_ms = START_MS + 9999;
    cr_assert_eq(run_due(&bench), 0);
    bench.now_ms++;
    cr_assert_eq(run_due(&bench), 1);
    bench_fini(&bench);
}

Test(wheel, random_jumps_of_the_clock_both_ways_lose_no_deadline)
{
    for (uint64_t seed = 100; seed < 130; seed++) {
        struct bench bench;
        bench_init(&bench, seed);
        for (int round = 0; round < 1000; round++) {
            size_t i = nadb_rng_below(&bench.rng, RECORDS_MAX);
            uint64_t jump_ms = some_delay(&bench) >> 4;
            struct nadb_rec *rec = NULL;
            switch (nadb_rng_below(&bench.rng, 6)) {
            case 0:
                bench.now_ms += jump_ms;
                break;
            case 1:
                bench.now_ms -= jump_ms < bench.now_ms / 2 ? jump_ms : 0;
                break;
            case 2: /* only one step, so that wheels pile up */
                if (nadb_wheel_step(&bench.wheel, bench.now_ms, &rec) == NADB_WHEEL_DUE) {
                    cr_assert_leq(nadb_rec_expire_ms(rec), bench.now_ms);
                    forget(&bench, rec);
                }
                break;
            case 3:
                (void)run_due(&bench);
                check_rest(&bench);
                break;
            default:
                if (bench.recs[i] == NULL) {
                    arm(&bench, i, bench.now_ms + some_delay(&bench));
                } else {
                    nadb_wheel_cancel(bench.recs[i]);
                    nadb_rec_free(bench.recs[i]);
                    bench.recs[i] = NULL;
                }
                break;
            }
        }
        (void)run_due(&bench);
        check_rest(&bench);
        bench_fini(&bench);
    }
}
