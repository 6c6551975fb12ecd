/* This file tests that writers do not run away from compaction. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "src/store/store_internal.h"
#include "tests/support/faulty_io.h"
#include "tests/support/test.h"
#include "tests/unit/store/store_support.h"

NADB_TEST_SUITE(pace);

#define KEYS         64u
#define VALUE_LEN    500u
#define SMALL_BUFFER 1000u
#define WRITES_MAX   (20 * KEYS)

static struct bench *new_bench(uint64_t dead_percent, uint64_t stall_percent)
{
    struct bench *bench = bench_new_fs(NADB_DURABILITY_INTERVAL);
    const struct nadb_compaction_rules rules = {
        .dead_percent = dead_percent,
        .stall_percent = stall_percent,
        .segment_bytes = BENCH_SEGMENT_BYTES,
    };
    nadb_store_set_buffer(bench->store, SMALL_BUFFER, BENCH_INTERVAL_MS);
    nadb_store_set_compaction(bench->store, &rules);
    return bench;
}

static enum nadb_admission admit(struct bench *bench)
{
    struct nadb_error error;
    return nadb_store_admit(bench->store, true, &error);
}

/* Writes all keys, then overwrites one in `step` again and again, and has each flushed, until a
 * writer must wait or enough has been written. No time goes by: nothing is compacted unless
 * somebody waits. How many writes. */
static unsigned write_some_until_wait(struct bench *bench, unsigned step)
{
    char value[VALUE_LEN + 1];
    memset(value, 'v', VALUE_LEN);
    value[VALUE_LEN] = '\0';
    unsigned count = 0;
    while (count < WRITES_MAX && admit(bench) == NADB_ADMIT) {
        char key[16];
        unsigned number = count < KEYS ? count : count * step;
        (void)snprintf(key, sizeof(key), "key:%u", number % KEYS);
        count++;
        (void)bench_put(bench, key, value); /* nobody waits for the reply */
        (void)bench_flush(bench);           /* likewise */
        bench_finish_job(bench);
    }
    return count;
}

static unsigned write_until_wait(struct bench *bench)
{
    return write_some_until_wait(bench, 1);
}

Test(pace, writers_wait_when_too_much_is_dead_and_go_on_when_it_has_been_compacted)
{
    struct bench *bench = new_bench(40, 50);
    unsigned count = write_until_wait(bench);
    cr_assert_geq(count, 3 * KEYS / 2, "less than half of all is dead");
    cr_assert_leq(count, 3 * KEYS, "more than half of all is dead");
    cr_assert_eq(bench->store->stats.compactions, 0);
    unsigned told = bench->told.admit;
    bench_settle(bench);
    cr_assert_gt(bench->store->stats.compactions, 0, "who waits has one begun");
    cr_assert_eq(bench->store->stats.compaction_stalls, 1);
    cr_assert_gt(bench->told.admit, told);
    cr_assert_eq(admit(bench), NADB_ADMIT);
    bench_free(bench);
}

Test(pace, what_a_compaction_has_worked_off_counts_before_its_end)
{
    struct bench *bench = new_bench(25, 25); /* segments are half dead, none is wholly */
    cr_assert_lt(write_some_until_wait(bench, 2), WRITES_MAX);
    unsigned told = bench->told.admit;
    for (int i = 0; i < 100 && bench->told.admit == told; i++) {
        nadb_store_turn_begin(bench->store);
        (void)nadb_store_step(bench->store, 0);
        nadb_store_turn_end(bench->store);
        (void)nadb_inline_executor_run_one(&bench->exec); /* mostly there is one */
    }
    cr_assert_gt(bench->told.admit, told);
    cr_assert_eq(admit(bench), NADB_ADMIT);
    cr_assert(nadb_store_is_compacting(bench->store));
    cr_assert_eq(bench->store->stats.compactions, 0);
    bench_free(bench);
}

Test(pace, nobody_waits_for_a_compaction_that_does_not_come)
{
    struct bench *bench = new_bench(40, 50);
    cr_assert_lt(write_until_wait(bench), WRITES_MAX);
    unsigned told = bench->told.admit;
    nadb_store_turn_begin(bench->store);
    cr_assert_neq(nadb_store_backup(bench->store, NADB_SLICE("/copy"), nadb_slice_of(NULL, 0)), 0);
    (void)nadb_store_step(bench->store, 0);
    nadb_store_turn_end(bench->store);
    cr_assert_gt(bench->told.admit, told, "there is none while a backup is made");
    cr_assert_eq(admit(bench), NADB_ADMIT);
    cr_assert_eq(bench->store->stats.compactions, 0);
    bench_settle(bench);
    bench_free(bench);
}

Test(pace, who_waits_has_segments_compacted_that_are_less_dead)
{
    struct bench *bench = new_bench(60, 25); /* half of each segment is dead */
    cr_assert_lt(write_some_until_wait(bench, 2), WRITES_MAX);
    bench_settle(bench);
    cr_assert_gt(bench->store->stats.compactions, 0);
    cr_assert_eq(admit(bench), NADB_ADMIT);
    bench_free(bench);
}

Test(pace, a_compaction_that_fails_lets_writers_go_on)
{
    struct bench *bench = new_bench(40, 50);
    cr_assert_lt(write_until_wait(bench), WRITES_MAX);
    nadb_faulty_fail(bench->faulty, NADB_FAULTY_READ, 1, 0, EIO);
    bench_settle(bench);
    cr_assert_gt(bench->store->stats.compaction_failures, 0);
    cr_assert_eq(admit(bench), NADB_ADMIT);
    nadb_faulty_fail(bench->faulty, NADB_FAULTY_READ, 0, 0, 0);
    bench_free(bench);
}

Test(pace, a_small_store_may_be_mostly_dead)
{
    struct bench *bench = new_bench(40, 50);
    nadb_store_set_buffer(bench->store, BENCH_BUFFER_BYTES * 100, BENCH_INTERVAL_MS);
    cr_assert_eq(write_until_wait(bench), WRITES_MAX);
    bench_free(bench);
}

Test(pace, without_a_bound_nobody_waits)
{
    struct bench *bench = new_bench(40, 0);
    cr_assert_eq(write_until_wait(bench), WRITES_MAX);
    bench_free(bench);
}

Test(pace, lifting_the_bound_lets_those_go_on_who_wait)
{
    struct bench *bench = new_bench(40, 50);
    cr_assert_lt(write_until_wait(bench), WRITES_MAX);
    unsigned told = bench->told.admit;
    const struct nadb_compaction_rules rules = {
        .dead_percent = 40, .segment_bytes = BENCH_SEGMENT_BYTES};
    nadb_store_set_compaction(bench->store, &rules);
    cr_assert_gt(bench->told.admit, told);
    cr_assert_eq(admit(bench), NADB_ADMIT);
    bench_free(bench);
}
