/* This file tests how changes reach the backend, what replies wait for, and what happens when the
 * backend fails. */
#include <stdio.h>

#include "src/store/store_internal.h"
#include "tests/support/test.h"
#include "tests/unit/store/store_support.h"

NADB_TEST_SUITE(flush);

#define ALWAYS   NADB_DURABILITY_ALWAYS
#define INTERVAL NADB_DURABILITY_INTERVAL
#define BUFFERED NADB_DURABILITY_BUFFERED

static void fail_next(struct bench *bench, unsigned count, enum nadb_err err)
{
    bench->disk.fail_writes = count;
    bench->disk.fail_err = err;
}

static uint64_t durable(const struct bench *bench)
{
    return nadb_store_durable(bench->store);
}

static struct nadb_store_stats stats_of(const struct bench *bench)
{
    struct nadb_store_stats stats;
    nadb_store_stats(bench->store, &stats);
    return stats;
}

static enum nadb_admission admit(struct bench *bench, bool is_growing)
{
    struct nadb_error error;
    nadb_store_turn_begin(bench->store);
    return nadb_store_admit(bench->store, is_growing, &error);
}

/* ---- the good path ---- */

Test(flush, in_interval_a_key_changed_often_is_written_once_and_only_when_the_time_has_come)
{
    struct bench *bench = bench_new(INTERVAL);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(bench_put(bench, "a", i % 2 == 0 ? "short" : "a longer value than that"), 0);
        cr_assert_eq(bench_append(bench, "a", "+"), 0);
    }
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS - 1);
    bench_settle(bench);
    cr_assert_eq(bench->disk.writes, 0);
    nadb_fake_clock_advance_ms(&bench->clock, 1);
    bench_settle(bench);
    cr_assert_eq(bench->disk.writes, 1);
    cr_assert_eq(bench_puts_on_disk(bench, "a"), 1);
    cr_assert_eq(durable(bench), stats_of(bench).version);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has(bench, "a", "a longer value than that+"));
    bench_free(bench);
}

Test(flush, a_full_buffer_is_written_at_once)
{
    struct bench *bench = bench_new(INTERVAL);
    static char value[BENCH_BUFFER_BYTES + 1];
    memset(value, 'v', BENCH_BUFFER_BYTES);
    (void)bench_put(bench, "a", value);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1);
    bench_settle(bench);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has(bench, "a", value));
    bench_free(bench);
}

/* Entries of the arrays that are kept for the next flight. */
static size_t kept_entries(const struct bench *bench)
{
    const struct nadb_flight *flight = &bench->store->flight;
    return flight->buf.cap + bench->store->buf.cap + flight->locs_cap + flight->stale_cap;
}

static void put_many(struct bench *bench, size_t count)
{
    char key[32];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(key, sizeof(key), "key:%zu", i);
        (void)bench_put(bench, key, "value");
    }
}

/* The flight is over, and what came meanwhile still waits. */
static void finish_flight(struct bench *bench)
{
    (void)nadb_inline_executor_run_one(&bench->exec);
    while (nadb_store_step(bench->store, UINT64_MAX)) {
    }
}

Test(flush, room_for_many_entries_is_kept_while_many_come_and_given_back_when_few_do)
{
    struct bench *bench = bench_new(INTERVAL);
    nadb_store_set_buffer(bench->store, UINT64_C(1) << 30, BENCH_INTERVAL_MS);
    put_many(bench, 100000);
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
    bench_turn(bench);
    put_many(bench, 50000); /* meanwhile */
    finish_flight(bench);
    cr_assert_geq(kept_entries(bench), 300000, "two buffers and the places");

    /* It dies down slowly, and there is always something that waits. */
    static const size_t meanwhile[] = {20000, 2000, 200, 20, 20};
    for (size_t i = 0; i < NADB_ARRAY_LEN(meanwhile); i++) {
        nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
        bench_turn(bench);
        put_many(bench, meanwhile[i]);
        finish_flight(bench);
    }
    cr_assert_leq(kept_entries(bench), 4 * 65536);
    bench_settle(bench);
    bench_free(bench);
}

Test(flush, a_key_that_comes_and_goes_before_a_flush_is_never_written)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "stays", "1");
    (void)bench_put(bench, "goes", "1");
    (void)bench_del(bench, "goes");
    (void)bench_put_ttl(bench, "expires", "1", 10);
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
    bench_settle(bench);
    const struct nadb_log_batch *last = nadb_log_disk_last(&bench->disk);
    cr_assert_eq(nadb_log_batch_count(last, NADB_ENTRY_PUT, NULL), 1);
    cr_assert_eq(nadb_log_batch_count(last, NADB_ENTRY_DELETE, NULL), 0);
    bench_free(bench);
}

Test(flush, a_change_during_a_flush_goes_with_the_next_one_and_leaves_the_flight_as_it_was)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "old");
    (void)bench_put(bench, "b", "old");
    (void)bench_put(bench, "c", "old");
    (void)bench_flush(bench);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1);
    (void)bench_put(bench, "a", "new");
    (void)bench_del(bench, "b");
    (void)bench_pexpire(bench, "c", 100000);
    bench_check(bench);
    bench_finish_job(bench);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has(bench, "a", "old"));
    cr_assert(bench_has(bench, "b", "old"));
    bench_free(bench);

    bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "old");
    (void)bench_put(bench, "b", "old");
    (void)bench_flush(bench);
    (void)bench_put(bench, "a", "new");
    (void)bench_del(bench, "b");
    bench_finish_job(bench);
    bench_check(bench);
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has(bench, "a", "new"));
    cr_assert(bench_has(bench, "b", NULL));
    bench_free(bench);
}

Test(flush, deleting_what_the_backend_has_writes_a_tombstone_also_when_it_was_put_again)
{
    struct bench *bench = bench_new(ALWAYS);
    (void)bench_put(bench, "a", "1");
    bench_settle(bench);
    nadb_store_set_durability(bench->store, INTERVAL);
    (void)bench_del(bench, "a");
    (void)bench_put(bench, "a", "2");
    (void)bench_del(bench, "a");
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has(bench, "a", NULL));
    bench_free(bench);
}

/* ---- holds ---- */

Test(flush, in_always_a_write_is_held_until_its_batch_is_durable)
{
    struct bench *bench = bench_new(ALWAYS);
    uint64_t hold = bench_put(bench, "a", "1");
    cr_assert_gt(hold, durable(bench));
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1, "written at once");
    uint64_t second = bench_put(bench, "b", "1");
    cr_assert_gt(second, hold);
    bench_finish_job(bench);
    cr_assert_eq(bench->told.durable, 1);
    cr_assert(durable(bench) >= hold && durable(bench) < second);
    bench_finish_job(bench);
    cr_assert_geq(durable(bench), second);
    cr_assert_eq(bench_get_hold(bench, "a"), 0);
    bench_free(bench);
}

Test(flush, in_always_a_read_of_what_is_not_durable_is_held_too_and_other_reads_are_not)
{
    struct bench *bench = bench_new(ALWAYS);
    (void)bench_put(bench, "old", "1");
    bench_settle(bench);
    cr_assert_eq(bench_get_hold(bench, "old"), 0);
    uint64_t hold = bench_put(bench, "new", "1");
    cr_assert_eq(bench_get_hold(bench, "new"), hold);
    cr_assert_eq(bench_get_hold(bench, "old"), 0);
    uint64_t second = bench_del(bench, "old");
    cr_assert_eq(bench_get_hold(bench, "old"), second, "that it is gone is an effect too");
    cr_assert_eq(bench_del(bench, "old"), second, "as is that there is nothing to delete");
    cr_assert_eq(bench_pexpire(bench, "old", 5), second);
    bench_settle(bench);
    cr_assert_eq(bench_get_hold(bench, "old"), 0);
    bench_free(bench);
}

Test(flush, in_always_counts_and_aborted_transactions_wait_for_what_they_show)
{
    struct bench *bench = bench_new(ALWAYS);
    struct nadb_watcher watcher = {0};
    struct nadb_key key = bench_key(bench, "a");
    nadb_store_watch(bench->store, &watcher, bench->db, &key);
    uint64_t hold = bench_put(bench, "a", "1");
    nadb_store_command_begin(bench->store);
    cr_assert_eq(nadb_store_count(bench->store, bench->db), 1);
    cr_assert_eq(nadb_store_command_end(bench->store), hold);
    nadb_store_command_begin(bench->store);
    cr_assert(nadb_store_watch_is_dirty(bench->store, &watcher));
    cr_assert_eq(nadb_store_command_end(bench->store), hold);
    nadb_store_unwatch(bench->store, &watcher);
    hold = bench_clear(bench);
    cr_assert_eq(bench_clear(bench), hold, "it was empty already");
    bench_settle(bench);
    cr_assert_eq(bench_clear(bench), 0);
    bench_free(bench);
}

/* Ten clients were answered a moment ago, after a batch that took so long. */
static struct bench *bench_of_ten(uint64_t took_ms)
{
    struct bench *bench = bench_new(ALWAYS);
    (void)bench_put(bench, "name", "makes the keyspace known");
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    (void)bench_put(bench, "first", "1");
    for (char key[2] = "0"; key[0] <= '9'; key[0]++) {
        (void)bench_put(bench, key, "1");
    }
    bench_finish_job(bench);
    nadb_fake_clock_advance_ms(&bench->clock, took_ms);
    bench_finish_job(bench);
    cr_assert_eq(nadb_log_disk_last(&bench->disk)->count, 10);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 0);
    return bench;
}

Test(flush, in_always_a_batch_waits_for_most_of_those_just_answered)
{
    struct bench *bench = bench_of_ten(1);
    for (char key[2] = "a"; key[0] <= 'h'; key[0]++) {
        cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 0, "others may come back soon");
        (void)bench_put(bench, key, "1");
    }
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1, "eight of ten are there");
    (void)bench_put(bench, "i", "1");
    (void)nadb_inline_executor_run_one(&bench->exec);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 0, "who was late waits for the rest");
    bench_free(bench);
}

Test(flush, in_always_a_batch_does_not_wait_for_those_who_do_not_come)
{
    struct bench *bench = bench_of_ten(1);
    (void)bench_put(bench, "a", "1");
    for (int turns = 0; turns < 100 && nadb_inline_executor_pending(&bench->exec) == 0; turns++) {
        cr_assert_eq(nadb_store_next_due_ms(bench->store, 1000), 0, "the loop must not sleep");
        bench_turn(bench);
    }
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1, "nobody came");
    bench_finish_job(bench);
    (void)bench_put(bench, "b", "1");
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1, "and nobody is waited for");
    bench_settle(bench);
    bench_free(bench);
}

/* A few come by and by, after a batch that took so long: the next one goes when that time is up. */
static void expect_cut_after(uint64_t took_ms, uint64_t limit_ms)
{
    struct bench *bench = bench_of_ten(took_ms);
    (void)bench_put(bench, "a", "1");
    nadb_fake_clock_advance_ms(&bench->clock, limit_ms - 1);
    (void)bench_put(bench, "b", "1");
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 0);
    nadb_fake_clock_advance_ms(&bench->clock, 1);
    (void)bench_put(bench, "c", "1");
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1);
    bench_settle(bench);
    bench_free(bench);
}

Test(flush, in_always_a_batch_waits_half_as_long_as_the_last_one_took_at_most)
{
    expect_cut_after(4, 2);
}

Test(flush, in_always_a_batch_waits_ten_milliseconds_at_most_however_slow_the_disk)
{
    expect_cut_after(1000, 10);
}

Test(flush, in_always_swapping_what_is_empty_waits_for_nothing)
{
    struct bench *bench = bench_new(ALWAYS);
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
    nadb_store_swap(bench->store, 2, 3);
    cr_assert_eq(nadb_store_command_end(bench->store), 0, "there is nothing to write");
    nadb_store_turn_end(bench->store);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 0);
    bench_free(bench);
}

Test(flush, in_interval_and_buffered_only_flush_is_held)
{
    const enum nadb_durability modes[] = {INTERVAL, BUFFERED};
    for (size_t i = 0; i < 2; i++) {
        struct bench *bench = bench_new(modes[i]);
        cr_assert_eq(bench_flush(bench), 0, "there was nothing to write");
        cr_assert_eq(bench_put(bench, "a", "1"), 0);
        cr_assert_eq(bench_get_hold(bench, "a"), 0);
        uint64_t hold = bench_flush(bench);
        cr_assert_gt(hold, durable(bench));
        bench_finish_job(bench);
        cr_assert_geq(durable(bench), hold);
        cr_assert(nadb_log_disk_last(&bench->disk)->is_sync);
        bench_free(bench);
    }
}

Test(flush, a_flush_during_a_flight_waits_for_the_next_one)
{
    struct bench *bench = bench_new(BUFFERED);
    (void)bench_put(bench, "a", "1");
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
    bench_turn(bench);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1);
    uint64_t hold = bench_flush(bench);
    cr_assert_gt(hold, 0);
    bench_finish_job(bench);
    cr_assert_lt(durable(bench), hold, "that one was not synced");
    bench_finish_job(bench);
    cr_assert_geq(durable(bench), hold);
    nadb_log_disk_power_cut(&bench->disk);
    bench_restart(bench, BUFFERED);
    cr_assert(bench_has(bench, "a", "1"));
    bench_free(bench);
}

#define MANY 1500

static const char *many_key(int number, char text[16])
{
    (void)snprintf(text, 16, "k%d", number);
    return text;
}

/* With no time for it a step lands a portion only. */
static void land_portion(struct bench *bench)
{
    nadb_store_turn_begin(bench->store);
    cr_assert(nadb_store_step(bench->store, 0), "the whole batch has landed at once");
    bench_check(bench);
}

/* A large batch is written, and of each portion of it that lands some keys change before and some
 * after that. */
static void check_portions(enum nadb_durability durability)
{
    struct bench *bench = bench_new(durability);
    char text[16];
    nadb_store_turn_begin(bench->store);
    for (int i = 0; i < MANY; i++) {
        struct nadb_key key = bench_key(bench, many_key(i, text));
        struct nadb_put put = {.value = NADB_SLICE("old")};
        nadb_store_command_begin(bench->store);
        cr_assert_eq(nadb_store_put(bench->store, bench->db, &key, &put), NADB_OK);
        (void)nadb_store_command_end(bench->store);
    }
    nadb_store_flush_start(bench->store);
    nadb_store_turn_end(bench->store);
    bench_finish_job(bench);
    for (int round = 0; round < 2; round++) {
        for (int i = round; i < MANY; i += 10) {
            (void)bench_put(bench, many_key(i, text), "new");
            (void)bench_del(bench, many_key(i + 2, text));
            (void)bench_append(bench, many_key(i + 4, text), "er");
            (void)bench_put_ttl(bench, many_key(i + 6, text), "expires", 10000);
        }
        land_portion(bench);
    }
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 10000);
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, durability);
    for (int i = 0; i < MANY; i++) {
        const char *now[] = {"new", "new", NULL, NULL, "older", "older", NULL, NULL, "old", "old"};
        cr_assert(bench_has(bench, many_key(i, text), now[i % 10]), "key %d", i);
    }
    bench_free(bench);
}

Test(flush, a_large_batch_lands_in_portions_and_its_keys_may_change_meanwhile)
{
    check_portions(INTERVAL);
    check_portions(BUFFERED);
    check_portions(ALWAYS);
}

/* ---- failures ---- */

Test(flush, in_always_a_failed_write_is_taken_back_with_all_that_came_after)
{
    struct bench *bench = bench_new(ALWAYS);
    (void)bench_put(bench, "kept", "1");
    (void)bench_put_ttl(bench, "removed", "1", 50000);
    (void)bench_put(bench, "grown", "1");
    bench_settle(bench);
    fail_next(bench, 1, NADB_ENOSPC);
    uint64_t hold = bench_put(bench, "new", "1");
    (void)bench_del(bench, "removed");
    (void)bench_append(bench, "grown", "2");
    (void)bench_put(bench, "kept", "2");
    (void)bench_put(bench, "new", "2");
    bench_finish_job(bench);
    cr_assert_eq(bench->told.undone, 1);
    cr_assert_eq(bench->told.undone_error.code, NADB_ENOSPC);
    cr_assert_lt(durable(bench), hold);
    cr_assert(bench_has(bench, "kept", "1"));
    cr_assert(bench_has(bench, "removed", "1"));
    cr_assert(bench_has(bench, "grown", "1"));
    cr_assert(bench_has(bench, "new", NULL));
    bench_check(bench);
    bench_settle(bench);
    cr_assert_eq(stats_of(bench).state, NADB_STORAGE_DEGRADED);
    cr_assert_eq(admit(bench, true), NADB_ADMIT, "the next write is the try");
    cr_assert_gt(bench_put(bench, "later", "1"), durable(bench));
    bench_settle(bench);
    cr_assert_eq(stats_of(bench).state, NADB_STORAGE_OK);
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has(bench, "kept", "1"));
    cr_assert(bench_has(bench, "removed", "1"));
    cr_assert(bench_has(bench, "new", NULL));
    cr_assert(bench_has(bench, "later", "1"));
    bench_free(bench);
}

Test(flush, in_always_a_failed_write_takes_back_clear_swap_drop_and_names)
{
    struct bench *bench = bench_new(ALWAYS);
    struct nadb_keyspace *named = bench_keyspace(bench, 1, "named");
    nadb_keyspace_ref(named);
    (void)bench_put_ttl(bench, "a", "0", 60000);
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
    struct nadb_key key = bench_key(bench, "a");
    struct nadb_put put = {.value = NADB_SLICE("named")};
    cr_assert_eq(nadb_store_put(bench->store, named, &key, &put), NADB_OK);
    (void)nadb_store_command_end(bench->store);
    bench_settle(bench);

    fail_next(bench, 1, NADB_ENOSPC);
    nadb_store_command_begin(bench->store);
    nadb_store_swap(bench->store, 0, 1);
    cr_assert_eq(nadb_store_clear(bench->store, bench_keyspace(bench, 1, "")), 1);
    cr_assert_eq(nadb_store_drop(bench->store, bench_keyspace(bench, 0, "named")), 1);
    cr_assert_eq(
        nadb_store_put(bench->store, bench_keyspace(bench, 2, "fresh"), &key, &put), NADB_OK);
    (void)nadb_store_command_end(bench->store);
    bench_check(bench);
    bench_settle(bench);
    cr_assert_eq(bench->told.undone, 1);
    cr_assert(bench_has(bench, "a", "0"));
    cr_assert(bench_has_in(bench, named, "a", "named"));
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 2, "fresh"), "a", NULL));
    nadb_fake_clock_advance_ms(&bench->clock, 60000);
    cr_assert(bench_has(bench, "a", NULL));
    bench_settle(bench);
    nadb_keyspace_unref(bench->store, named);
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has(bench, "a", NULL));
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 1, "named"), "a", "named"));
    bench_free(bench);
}

/* The swap has nothing to write: what it exchanges is empty, until the drop is taken back. */
Test(flush, in_always_a_swap_of_what_was_dropped_is_taken_back_with_the_drop)
{
    struct bench *bench = bench_new(ALWAYS);
    struct nadb_keyspace *named = bench_keyspace(bench, 1, "named");
    nadb_keyspace_ref(named);
    struct nadb_key key = bench_key(bench, "a");
    struct nadb_put put = {.value = NADB_SLICE("named")};
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
    cr_assert_eq(nadb_store_put(bench->store, named, &key, &put), NADB_OK);
    (void)nadb_store_command_end(bench->store);
    bench_settle(bench);

    fail_next(bench, 1, NADB_ENOSPC);
    nadb_store_command_begin(bench->store);
    cr_assert_eq(nadb_store_drop(bench->store, named), 1);
    uint64_t hold = nadb_store_command_end(bench->store);
    nadb_store_command_begin(bench->store);
    nadb_store_swap(bench->store, 1, 2);
    cr_assert_eq(nadb_store_command_end(bench->store), hold, "it has seen the drop");
    bench_settle(bench);
    cr_assert_eq(bench->told.undone, 1);
    cr_assert(bench_has_in(bench, named, "a", "named"));
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 2, "named"), "a", NULL));
    nadb_keyspace_unref(bench->store, named);
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 1, "named"), "a", "named"));
    bench_free(bench);
}

/* The swap is of a time when nothing is taken back: what came on top is kept, and so is it. */
Test(flush, a_swap_of_interval_is_not_taken_back_with_a_flight_that_is_kept)
{
    struct bench *bench = bench_new(ALWAYS);
    struct nadb_key key = bench_key(bench, "a");
    struct nadb_put put = {.value = NADB_SLICE("1")};
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
    cr_assert_eq(
        nadb_store_put(bench->store, bench_keyspace(bench, 1, "named"), &key, &put), NADB_OK);
    (void)nadb_store_command_end(bench->store);
    bench_settle(bench);

    nadb_store_command_begin(bench->store);
    cr_assert_eq(nadb_store_drop(bench->store, bench_keyspace(bench, 1, "named")), 1);
    (void)nadb_store_command_end(bench->store);
    nadb_store_set_durability(bench->store, INTERVAL);
    bench_turn(bench);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1, "the drop is on its way");
    (void)bench_put(bench, "elsewhere", "1");
    nadb_store_command_begin(bench->store);
    nadb_store_swap(bench->store, 1, 2);
    (void)nadb_store_command_end(bench->store);
    bench_finish_job(bench);

    nadb_store_command_begin(bench->store);
    cr_assert_eq(
        nadb_store_put(bench->store, bench_keyspace(bench, 2, "named"), &key, &put), NADB_OK);
    (void)nadb_store_command_end(bench->store);
    nadb_store_set_durability(bench->store, ALWAYS);
    fail_next(bench, 1, NADB_ENOSPC);
    bench_turn(bench);
    bench_finish_job(bench);
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 2, "named"), "a", "1"));
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
    bench_settle(bench);
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 2, "named"), "a", "1"));
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 2, "named"), "a", "1"));
    bench_free(bench);
}

Test(flush, in_always_after_a_failed_sync_writes_are_refused_until_one_succeeds)
{
    struct bench *bench = bench_new(ALWAYS);
    (void)bench_put(bench, "a", "1");
    bench_settle(bench);
    fail_next(bench, 2, NADB_ESYNC);
    (void)bench_put(bench, "a", "2");
    bench_finish_job(bench);
    cr_assert_eq(bench->told.undone_error.code, NADB_ESYNC);
    cr_assert_eq(stats_of(bench).state, NADB_STORAGE_FAILED);
    cr_assert(bench_has(bench, "a", "1"), "reads of durable data go on");
    struct nadb_error error;
    cr_assert_eq(nadb_store_admit(bench->store, false, &error), NADB_ADMIT_REFUSE);
    cr_assert_eq(error.code, NADB_ENOSPC, "nothing of the refused command was tried");
    bench_settle(bench);
    cr_assert_eq(bench->disk.writes, 2, "not at once again");
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    bench_settle(bench);
    cr_assert_eq(stats_of(bench).state, NADB_STORAGE_OK);
    cr_assert_eq(admit(bench, true), NADB_ADMIT);
    bench_free(bench);
}

Test(flush, a_batch_of_unknown_outcome_is_there_whole_or_not_at_all)
{
    for (int does_keep = 0; does_keep < 2; does_keep++) {
        struct bench *bench = bench_new(ALWAYS);
        (void)bench_put(bench, "a", "1");
        bench_settle(bench);
        bench->disk.does_fail_keep = does_keep != 0;
        fail_next(bench, 1, NADB_ESYNC);
        (void)bench_put(bench, "a", "2");
        bench_finish_job(bench);
        bench_restart(bench, ALWAYS);
        cr_assert(bench_has(bench, "a", does_keep ? "2" : "1"));
        bench_free(bench);
    }
}

Test(flush, in_interval_a_failed_write_is_kept_and_tried_again)
{
    const enum nadb_err errs[] = {NADB_ENOSPC, NADB_ESYNC};
    for (size_t i = 0; i < 2; i++) {
        struct bench *bench = bench_new(INTERVAL);
        (void)bench_put(bench, "a", "1");
        (void)bench_put(bench, "b", "1");
        fail_next(bench, 1, errs[i]);
        uint64_t hold = bench_flush(bench);
        bench_finish_job(bench);
        cr_assert_eq(bench->told.undone, 1, "the reply to FLUSH is an error");
        cr_assert_lt(durable(bench), hold);
        cr_assert(bench_has(bench, "a", "1"));
        bench_check(bench);
        (void)bench_put(bench, "a", "2");
        (void)bench_del(bench, "b");
        bench_settle(bench);
        cr_assert_eq(bench->disk.count, 0);
        nadb_fake_clock_advance_ms(&bench->clock, 1000);
        bench_settle(bench);
        nadb_fake_clock_advance_ms(&bench->clock, 1000);
        bench_settle(bench);
        cr_assert_eq(durable(bench), stats_of(bench).version);
        cr_assert_eq(stats_of(bench).state, NADB_STORAGE_OK);
        bench_restart(bench, INTERVAL);
        cr_assert(bench_has(bench, "a", "2"));
        cr_assert(bench_has(bench, "b", NULL));
        bench_free(bench);
    }
}

Test(flush, writes_wait_when_the_buffer_is_twice_its_size_and_go_on_after_the_flush)
{
    struct bench *bench = bench_new(INTERVAL);
    static char value[BENCH_BUFFER_BYTES + 1];
    memset(value, 'v', BENCH_BUFFER_BYTES);
    (void)bench_put(bench, "a", value);
    cr_assert_eq(admit(bench, true), NADB_ADMIT);
    (void)bench_put(bench, "b", value);
    (void)bench_put(bench, "c", value);
    cr_assert_eq(admit(bench, true), NADB_ADMIT_WAIT);
    cr_assert_eq(admit(bench, false), NADB_ADMIT, "a delete needs little");
    bench_settle(bench);
    cr_assert_eq(bench->told.admit, 1);
    cr_assert_eq(admit(bench, true), NADB_ADMIT);
    bench_free(bench);
}

Test(flush, writes_are_refused_when_the_backlog_is_full_and_the_disk_fails)
{
    struct bench *bench = bench_new(INTERVAL);
    static char value[BENCH_BUFFER_BYTES + 1];
    memset(value, 'v', BENCH_BUFFER_BYTES);
    fail_next(bench, 1000, NADB_ENOSPC);
    (void)bench_put(bench, "a", value);
    bench_settle(bench);
    (void)bench_put(bench, "b", value);
    (void)bench_put(bench, "c", value);
    cr_assert_eq(admit(bench, true), NADB_ADMIT_REFUSE);
    bench->disk.fail_writes = 0;
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    bench_settle(bench);
    cr_assert_eq(admit(bench, true), NADB_ADMIT);
    cr_assert(bench_has(bench, "c", value));
    bench_free(bench);
}

Test(flush, in_interval_nothing_stays_undurable_for_longer_than_two_intervals)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "1");
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
    bench_turn(bench);
    cr_assert_eq(admit(bench, true), NADB_ADMIT);
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS + 1);
    cr_assert_eq(admit(bench, true), NADB_ADMIT_WAIT, "the disk hangs");
    bench_settle(bench);
    cr_assert_eq(bench->told.admit, 1);
    cr_assert_eq(admit(bench, true), NADB_ADMIT);
    bench_free(bench);
}

/* ---- modes ---- */

Test(flush, a_new_durability_takes_over_between_two_batches)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "1");
    nadb_store_set_durability(bench->store, ALWAYS);
    cr_assert_eq(nadb_store_durability(bench->store), ALWAYS);
    (void)bench_put(bench, "b", "1");
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1);
    uint64_t hold = bench_put(bench, "a", "2");
    cr_assert_gt(hold, 0);
    bench_settle(bench);
    cr_assert_geq(durable(bench), hold);
    nadb_store_set_durability(bench->store, BUFFERED);
    cr_assert_eq(bench_put(bench, "a", "3"), 0);
    bench_settle(bench);
    bench_free(bench);
}

Test(flush, a_flight_of_interval_that_fails_under_always_is_kept_and_only_the_rest_taken_back)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "1");
    (void)bench_put(bench, "b", "1");
    nadb_store_set_durability(bench->store, ALWAYS);
    bench_turn(bench);
    fail_next(bench, 1, NADB_ENOSPC);
    (void)bench_put(bench, "a", "2");
    (void)bench_del(bench, "b");
    bench_finish_job(bench);
    cr_assert_eq(bench->told.undone, 1);
    cr_assert(bench_has(bench, "a", "1"));
    cr_assert(bench_has(bench, "b", "1"));
    bench_check(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    bench_settle(bench);
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has(bench, "a", "1"));
    cr_assert(bench_has(bench, "b", "1"));
    bench_free(bench);
}

Test(flush, a_flight_of_always_that_fails_after_the_switch_is_of_unknown_outcome_and_kept)
{
    struct bench *bench = bench_new(ALWAYS);
    fail_next(bench, 1, NADB_ENOSPC);
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
    struct nadb_key key = bench_key(bench, "a");
    struct nadb_put put = {.value = NADB_SLICE("1")};
    cr_assert_eq(nadb_store_put(bench->store, bench->db, &key, &put), NADB_OK);
    cr_assert_gt(nadb_store_command_end(bench->store), 0);
    nadb_store_set_durability(bench->store, INTERVAL);
    nadb_store_turn_end(bench->store);
    (void)bench_put(bench, "a", "2");
    bench_finish_job(bench);
    cr_assert_eq(bench->told.undone_error.code, NADB_ESYNC, "it has not been taken back");
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    bench_settle(bench);
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has(bench, "a", "2"));
    bench_free(bench);
}

/* ---- closing ---- */

Test(flush, closing_makes_everything_durable_in_every_mode)
{
    const enum nadb_durability modes[] = {ALWAYS, INTERVAL, BUFFERED};
    for (size_t i = 0; i < 3; i++) {
        struct bench *bench = bench_new(modes[i]);
        (void)bench_put(bench, "a", "1");
        (void)bench_put(bench, "b", "1");
        nadb_store_close(bench->store, false);
        nadb_store_close(bench->store, false);
        (void)nadb_inline_executor_run_all(&bench->exec);
        cr_assert_eq(bench->told.closed, 1);
        cr_assert_eq(bench->told.closed_err, NADB_OK);
        cr_assert(bench->disk.is_clean);
        nadb_log_disk_power_cut(&bench->disk);
        bench_restart(bench, modes[i]);
        cr_assert(bench_has(bench, "a", "1") && bench_has(bench, "b", "1"));
        bench_free(bench);
    }
}

Test(flush, closing_without_the_buffer_drops_what_is_not_durable)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "1");
    (void)bench_flush(bench);
    bench_settle(bench);
    (void)bench_put(bench, "a", "2");
    nadb_store_close(bench->store, true);
    (void)nadb_inline_executor_run_all(&bench->exec);
    cr_assert_eq(bench->told.closed, 1);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has(bench, "a", "1"));
    bench_free(bench);
}

Test(flush, closing_without_the_buffer_does_not_spin_while_a_backup_holds_it_up)
{
    struct bench *bench = bench_new_fs(ALWAYS);
    (void)bench_put(bench, "a", "1");
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    nadb_store_turn_begin(bench->store);
    (void)nadb_store_backup(bench->store, NADB_SLICE("/copy"), nadb_slice_of(NULL, 0));
    nadb_store_turn_end(bench->store);
    (void)nadb_store_step(bench->store, UINT64_MAX);
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 1, "it is being made");
    (void)bench_put(bench, "b", "1");
    cr_assert_eq(nadb_inline_executor_pending(&bench->exec), 2);
    (void)bench_put(bench, "c", "1");
    nadb_inline_executor_run_worker_half(&bench->exec, 1);
    nadb_inline_executor_finish(&bench->exec, 1);
    nadb_store_close(bench->store, true);
    bench_turn(bench);
    cr_assert_eq(bench->told.closed, 0);
    cr_assert_gt(nadb_store_next_due_ms(bench->store, 1000), 0, "there is nothing to do but wait");
    bench_settle(bench);
    cr_assert_eq(bench->told.closed, 1);
    bench_free(bench);
}

Test(flush, when_the_last_flush_fails_the_store_goes_on_and_can_be_closed_later)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "1");
    fail_next(bench, 1, NADB_ENOSPC);
    nadb_store_close(bench->store, false);
    (void)nadb_inline_executor_run_all(&bench->exec);
    cr_assert_eq(bench->told.closed, 1);
    cr_assert_eq(bench->told.closed_err, NADB_ENOSPC);
    cr_assert(bench_has(bench, "a", "1"));
    cr_assert_eq(admit(bench, true), NADB_ADMIT);
    (void)bench_put(bench, "b", "1");
    nadb_store_close(bench->store, false);
    (void)nadb_inline_executor_run_all(&bench->exec);
    cr_assert_eq(bench->told.closed, 2);
    cr_assert_eq(bench->told.closed_err, NADB_OK);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has(bench, "a", "1") && bench_has(bench, "b", "1"));
    bench_free(bench);
}

/* ---- expiry and the backend ---- */

Test(flush, an_expired_key_needs_no_tombstone_but_a_mark_within_an_interval)
{
    struct bench *bench = bench_new(ALWAYS);
    (void)bench_put_ttl(bench, "a", "1", 5000);
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 5000);
    bench_settle(bench);
    cr_assert(bench_has(bench, "a", NULL));
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
    bench_settle(bench);
    cr_assert_eq(bench->disk.count, 2);
    cr_assert_eq(nadb_log_disk_last(&bench->disk)->count, 0);
    bench->clock.wall_ms = NADB_FAKE_CLOCK_WALL_MS;
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has(bench, "a", NULL), "the clock went back and it is there again");
    bench_free(bench);
}

Test(flush, an_expired_key_stays_gone_when_the_clock_goes_back_before_the_mark)
{
    const enum nadb_durability modes[] = {ALWAYS, INTERVAL, BUFFERED};
    for (size_t i = 0; i < 3; i++) {
        struct bench *bench = bench_new(modes[i]);
        (void)bench_put_ttl(bench, "a", "1", 5000);
        (void)bench_flush(bench);
        bench_settle(bench);
        nadb_fake_clock_advance_ms(&bench->clock, 5000);
        cr_assert(bench_has(bench, "a", NULL));
        bench->clock.wall_ms = NADB_FAKE_CLOCK_WALL_MS;
        cr_assert(bench_has(bench, "a", NULL));
        (void)bench_put_ttl(bench, "b", "1", 1000);
        (void)bench_flush(bench);
        bench_settle(bench);
        nadb_fake_clock_advance_ms(&bench->clock, 10);
        bench_settle(bench);
        bench_restart(bench, modes[i]);
        cr_assert(bench_has(bench, "a", NULL));
        cr_assert(bench_has(bench, "b", "1"), "the mark of a later time took it along");
        bench_free(bench);
    }
}

Test(flush, in_always_an_expiry_is_not_taken_back_with_a_failed_write)
{
    struct bench *bench = bench_new(ALWAYS);
    (void)bench_put_ttl(bench, "a", "1", 5000);
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 5000);
    cr_assert(bench_has(bench, "a", NULL));
    fail_next(bench, 1, NADB_ENOSPC);
    (void)bench_put(bench, "b", "1");
    bench->clock.wall_ms = NADB_FAKE_CLOCK_WALL_MS;
    bench_settle(bench);
    cr_assert_eq(bench->told.undone, 1);
    cr_assert(bench_has(bench, "a", NULL));
    nadb_fake_clock_advance_ms(&bench->clock, 2000);
    bench_settle(bench);
    bench_restart(bench, ALWAYS);
    cr_assert(bench_has(bench, "a", NULL));
    bench_free(bench);
}
