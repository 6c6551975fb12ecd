/* This file tests which keys go when memory is short, and that they are gone for good. */
#include <stdio.h>

#include "src/base/mem.h"
#include "src/store/store_internal.h"
#include "tests/support/test.h"
#include "tests/unit/store/store_support.h"

NADB_TEST_SUITE(evict);

#define KEYS       400
#define SHORT_BY   6000u
#define VALUE_TEXT "a value of some sixty bytes, as caches have them, more or less"

static const char *key_name(unsigned i)
{
    static char name[24];
    (void)snprintf(name, sizeof(name), "key:%06u", i); /* fits: a number */
    return name;
}

static void fill(struct bench *bench)
{
    for (unsigned i = 0; i < KEYS; i++) {
        (void)bench_put(bench, key_name(i), VALUE_TEXT);
    }
    bench_settle(bench);
}

/* With all values on disk only the keys are left to go. */
static void chill(struct bench *bench)
{
    nadb_store_turn_begin(bench->store);
    while (nadb_cold__drop_some(bench->store)) {
    }
    nadb_store_turn_end(bench->store);
    cr_assert_eq(bench->store->cold.count, KEYS);
}

/* Makes memory short and lets background work see to it. */
static void press(struct bench *bench, enum nadb_eviction policy, uint64_t short_by)
{
    nadb_store_set_eviction(bench->store, policy, NADB_EVICT_SAMPLES_MAX);
    nadb_store_set_maxmemory(bench->store, nadb_mem_used() - short_by);
    nadb_store_turn_begin(bench->store);
    while (nadb_store_step(bench->store, 1000)) {
    }
    nadb_store_turn_end(bench->store);
}

static uint64_t evicted(const struct bench *bench)
{
    struct nadb_store_stats stats;
    nadb_store_stats(bench->store, &stats);
    return stats.evicted;
}

Test(evict, nothing_goes_while_there_is_room_or_no_policy)
{
    struct bench *bench = bench_new_volatile();
    fill(bench);
    press(bench, NADB_EVICT_NOTHING, SHORT_BY);
    cr_assert_eq(evicted(bench), 0);
    struct nadb_error error;
    cr_assert_eq(nadb_store_admit(bench->store, true, &error), NADB_ADMIT_REFUSE);
    cr_assert_eq(error.code, NADB_ENOMEM);
    cr_assert_eq(nadb_store_admit(bench->store, false, &error), NADB_ADMIT);
    nadb_store_set_eviction(bench->store, NADB_EVICT_ALL_LRU, 5);
    nadb_store_set_maxmemory(bench->store, nadb_mem_used() + (1u << 20));
    cr_assert_eq(nadb_store_admit(bench->store, true, &error), NADB_ADMIT);
    cr_assert_eq(evicted(bench), 0);
    bench_free(bench);
}

Test(evict, as_many_keys_go_as_room_is_needed)
{
    struct bench *bench = bench_new_volatile();
    fill(bench);
    press(bench, NADB_EVICT_ALL_RANDOM, SHORT_BY);
    cr_assert_not(nadb_evict__is_over(bench->store));
    uint64_t count = evicted(bench);
    cr_assert_gt(count, SHORT_BY / 200);
    cr_assert_lt(count, SHORT_BY / 20);
    cr_assert_eq(nadb_keyspace_count(bench->db), KEYS - count);
    bench_free(bench);
}

Test(evict, a_command_that_grows_makes_the_room_it_finds_missing)
{
    struct bench *bench = bench_new_volatile();
    fill(bench);
    nadb_store_set_eviction(bench->store, NADB_EVICT_ALL_LRU, 5);
    nadb_store_set_maxmemory(bench->store, nadb_mem_used() - 1);
    struct nadb_error error;
    cr_assert_eq(nadb_store_admit(bench->store, true, &error), NADB_ADMIT);
    cr_assert_geq(evicted(bench), 1);
    cr_assert_not(nadb_evict__is_over(bench->store));
    bench_free(bench);
}

/* What has been written can be dropped as soon as it has its place: a write waits for that. */
Test(evict, nobody_is_refused_while_a_flush_learns_its_places)
{
    struct bench *bench = bench_new(NADB_DURABILITY_INTERVAL);
    fill(bench);
    (void)bench_flush(bench); /* nobody waits */
    bench_settle(bench);
    bench->store->flight.state = NADB_FLIGHT_LANDING; /* it passes in an instant by this clock */
    nadb_store_set_maxmemory(bench->store, nadb_mem_used() / 2);
    struct nadb_error error;
    cr_assert_eq(nadb_store_admit(bench->store, true, &error), NADB_ADMIT_WAIT);
    bench->store->flight.state = NADB_FLIGHT_IDLE;
    nadb_store_set_maxmemory(bench->store, 0);
    bench_free(bench);
}

Test(evict, nothing_goes_for_what_background_work_gives_back_again)
{
    struct bench *bench = bench_new_volatile();
    fill(bench);
    nadb_store_set_eviction(bench->store, NADB_EVICT_ALL_RANDOM, 5);
    nadb_store_set_maxmemory(bench->store, nadb_mem_used() + (1u << 20));
    void *chunk = nadb_mem_alloc(3u << 20);
    bench->store->hinter.state = NADB_HINTER_HINT;
    struct nadb_error error;
    cr_assert_eq(nadb_store_admit(bench->store, true, &error), NADB_ADMIT);
    cr_assert_eq(evicted(bench), 0);
    bench->store->hinter.state = NADB_HINTER_IDLE;
    (void)nadb_store_admit(bench->store, true, &error); /* only what goes counts here */
    cr_assert_gt(evicted(bench), 0);
    nadb_mem_free(chunk);
    bench_free(bench);
}

Test(evict, lru_spares_what_was_read_last)
{
    struct bench *bench = bench_new_volatile();
    fill(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 60000);
    for (unsigned i = 0; i < KEYS; i += 2) {
        (void)bench_get_hold(bench, key_name(i));
    }
    press(bench, NADB_EVICT_ALL_LRU, SHORT_BY);
    cr_assert_gt(evicted(bench), 10);
    for (unsigned i = 0; i < KEYS; i += 2) {
        cr_assert(bench_has(bench, key_name(i), VALUE_TEXT), "%s was read last", key_name(i));
    }
    bench_free(bench);
}

Test(evict, volatile_policies_spare_keys_without_a_deadline_and_then_refuse)
{
    struct bench *bench = bench_new_volatile();
    fill(bench);
    for (unsigned i = 0; i < 20; i++) {
        (void)bench_put_ttl(bench, key_name(KEYS + i), VALUE_TEXT, 1000000);
    }
    press(bench, NADB_EVICT_VOLATILE_LRU, 100000);
    cr_assert_eq(evicted(bench), 20);
    cr_assert_eq(nadb_keyspace_count(bench->db), KEYS);
    struct nadb_error error;
    cr_assert_eq(nadb_store_admit(bench->store, true, &error), NADB_ADMIT_REFUSE);
    bench_free(bench);
}

Test(evict, the_first_to_expire_goes_first)
{
    struct bench *bench = bench_new_volatile();
    for (unsigned i = 0; i < 40; i++) {
        (void)bench_put_ttl(bench, key_name(i), VALUE_TEXT, 1000000 + i * 1000);
    }
    press(bench, NADB_EVICT_VOLATILE_TTL, 500);
    uint64_t count = evicted(bench);
    cr_assert(count > 0 && count < 20);
    for (unsigned i = 0; i < 40; i++) {
        bool is_there = bench_has(bench, key_name(i), VALUE_TEXT);
        cr_assert_eq(is_there, i >= count, "key %u of which the first %u went", i, (unsigned)count);
    }
    bench_free(bench);
}

Test(evict, a_deadline_among_very_many_keys_is_found)
{
    struct bench *bench = bench_new_volatile();
    for (unsigned i = 0; i < 20000; i++) {
        (void)bench_put(bench, key_name(i), "v");
    }
    (void)bench_put_ttl(bench, "rare", VALUE_TEXT, 1000000);
    press(bench, NADB_EVICT_VOLATILE_RANDOM, 1);
    cr_assert_eq(evicted(bench), 1);
    cr_assert(bench_has(bench, "rare", NULL));
    bench_free(bench);
}

Test(evict, watched_keys_that_go_are_touched)
{
    struct bench *bench = bench_new_volatile();
    (void)bench_put(bench, "k", VALUE_TEXT);
    struct nadb_watcher watcher = {0};
    struct nadb_key key = bench_key(bench, "k");
    nadb_store_watch(bench->store, &watcher, bench->db, &key);
    press(bench, NADB_EVICT_ALL_RANDOM, 1);
    cr_assert(nadb_store_watch_is_dirty(bench->store, &watcher));
    nadb_store_unwatch(bench->store, &watcher);
    bench_free(bench);
}

Test(evict, what_went_is_gone_after_a_restart_too)
{
    struct bench *bench = bench_new(NADB_DURABILITY_INTERVAL);
    fill(bench);
    (void)bench_flush(bench);
    bench_settle(bench);
    chill(bench);
    press(bench, NADB_EVICT_ALL_RANDOM, SHORT_BY);
    uint64_t count = evicted(bench);
    cr_assert_gt(count, 10);
    nadb_store_set_maxmemory(bench->store, 0);
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, NADB_DURABILITY_INTERVAL);
    cr_assert_eq(nadb_keyspace_count(bench->db), KEYS - count);
    bench_free(bench);
}

Test(evict, no_more_goes_than_the_next_flush_will_give_back)
{
    struct bench *bench = bench_new(NADB_DURABILITY_ALWAYS);
    fill(bench);
    chill(bench);
    uint64_t used = nadb_mem_used();
    press(bench, NADB_EVICT_ALL_RANDOM, SHORT_BY);
    uint64_t count = evicted(bench);
    cr_assert_gt(nadb_mem_used(), used - SHORT_BY, "the undo log still has them");
    cr_assert_gt(count, SHORT_BY / 200);
    cr_assert_lt(count, SHORT_BY / 20);
    struct nadb_error error;
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(nadb_store_admit(bench->store, true, &error), NADB_ADMIT);
        (void)nadb_store_step(bench->store, 1000);
    }
    cr_assert_leq(evicted(bench), count + 1, "they are owed, not missing");
    nadb_store_set_maxmemory(bench->store, 0); /* the disk of this test is in memory, too */
    bench_settle(bench);
    cr_assert_eq(bench->store->evict.owed + bench->store->evict.owed_by_flight, 0);
    bench_free(bench);
}

Test(evict, a_failed_flush_brings_them_back_in_durability_always)
{
    struct bench *bench = bench_new(NADB_DURABILITY_ALWAYS);
    fill(bench);
    chill(bench);
    bench->disk.fail_writes = 1;
    bench->disk.fail_err = NADB_ENOSPC;
    press(bench, NADB_EVICT_ALL_RANDOM, 1000);
    cr_assert_gt(evicted(bench), 0);
    nadb_store_set_maxmemory(bench->store, 0);
    bench_settle(bench);
    cr_assert_eq(nadb_keyspace_count(bench->db), KEYS);
    bench_check(bench);
    bench_free(bench);
}
