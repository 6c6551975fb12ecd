/* This file tests what the store makes of compaction, over the fs backend. That nothing is lost and
 * nothing comes back, whatever happens meanwhile, is the simulation's to show. */
#include <stdio.h>

#include "src/store/store_internal.h"
#include "tests/support/test.h"
#include "tests/unit/store/store_support.h"

NADB_TEST_SUITE(compact);

#define KEYS      30u
#define VALUE_LEN 400u /* so that the keys fill several segments */

static void value_of(char *out, unsigned key, unsigned generation)
{
    int len = snprintf(out, VALUE_LEN, "%u of %u ", generation, key);
    memset(out + len, 'v', VALUE_LEN - (size_t)len - 1);
    out[VALUE_LEN - 1] = '\0';
}

static void flush(struct bench *bench)
{
    (void)bench_flush(bench); /* nobody waits */
    bench_settle(bench);
}

static void write_all(struct bench *bench, unsigned generation, uint64_t ttl_ms)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        char value[VALUE_LEN];
        (void)snprintf(key, sizeof(key), "key:%u", i);
        value_of(value, i, generation);
        (void)bench_put_ttl(bench, key, value, ttl_ms); /* as above */
        if (i % 8 == 7) {
            flush(bench);
        }
    }
    flush(bench);
}

static void expect_all(struct bench *bench, unsigned generation)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        char value[VALUE_LEN];
        (void)snprintf(key, sizeof(key), "key:%u", i);
        value_of(value, i, generation);
        cr_assert(bench_has(bench, key, value), "%s", key);
    }
}

static void set_rules(struct bench *bench, uint64_t dead_percent, uint64_t stall_percent)
{
    const struct nadb_compaction_rules rules = {
        .dead_percent = dead_percent,
        .stall_percent = stall_percent,
        .segment_bytes = BENCH_SEGMENT_BYTES,
    };
    nadb_store_set_compaction(bench->store, &rules);
}

static struct bench *new_bench(void)
{
    struct bench *bench = bench_new_fs(NADB_DURABILITY_INTERVAL);
    set_rules(bench, 0, 0);
    return bench;
}

static struct nadb_compact_report compact(struct bench *bench)
{
    struct nadb_compact_report report;
    nadb_store_turn_begin(bench->store);
    uint64_t pass = nadb_store_compact(bench->store, NULL);
    bench_settle(bench);
    cr_assert(nadb_store_compact_report(bench->store, pass, &report), "it is still going on");
    cr_assert(!report.is_failed, "%s", report.error.text);
    return report;
}

Test(compact, a_pass_needs_no_time_to_go_by)
{
    struct bench *bench = new_bench();
    write_all(bench, 1, 0);
    write_all(bench, 2, 0);
    struct nadb_compact_report report = compact(bench);
    cr_assert_eq(report.dropped_overwritten, KEYS);
    cr_assert_lt(report.bytes_after, report.bytes_before);
    expect_all(bench, 2);
    bench_restart(bench, NADB_DURABILITY_INTERVAL);
    expect_all(bench, 2);
    bench_free(bench);
}

Test(compact, segments_that_were_overwritten_whole_are_not_read)
{
    struct bench *bench = new_bench();
    for (unsigned generation = 1; generation <= 4; generation++) {
        write_all(bench, generation, 0);
    }
    (void)compact(bench);
    cr_assert_gt(bench->store->stats.skipped_segments, 2);
    expect_all(bench, 4);
    bench_restart(bench, NADB_DURABILITY_INTERVAL);
    expect_all(bench, 4);
    bench_free(bench);
}

/* What went without anything newer of its key has to be looked at: there may be older ones. */
Test(compact, segments_whose_records_expired_are_read)
{
    struct bench *bench = new_bench();
    write_all(bench, 1, 50);
    nadb_fake_clock_advance_ms(&bench->clock, 100);
    bench_settle(bench);
    struct nadb_compact_report report = compact(bench);
    cr_assert_eq(report.dropped_expired, KEYS);
    cr_assert_eq(bench->store->stats.skipped_segments, 0);
    bench_restart(bench, NADB_DURABILITY_INTERVAL);
    cr_assert_eq(nadb_store_count(bench->store, bench->db), 0);
    bench_free(bench);
}

Test(compact, nothing_is_done_unasked_when_it_is_switched_off)
{
    struct bench *bench = new_bench();
    for (unsigned generation = 1; generation <= 6; generation++) {
        write_all(bench, generation, 0);
        nadb_fake_clock_advance_ms(&bench->clock, 5000);
        bench_settle(bench);
    }
    cr_assert_eq(bench->store->stats.compactions, 0);
    bench_free(bench);
}

Test(compact, what_is_dead_goes_by_itself)
{
    struct bench *bench = new_bench();
    set_rules(bench, 40, 0);
    for (unsigned generation = 1; generation <= 6; generation++) {
        write_all(bench, generation, 0);
        nadb_fake_clock_advance_ms(&bench->clock, 5000);
        bench_settle(bench);
    }
    cr_assert_gt(bench->store->stats.compactions, 0);
    expect_all(bench, 6);
    bench_free(bench);
}
