/* This file tests invalidation: at once to readers, in slices to memory, exact after every end. */
#include <stdio.h>

#include "src/store/store_internal.h"
#include "tests/support/test.h"
#include "tests/unit/store/store_support.h"

NADB_TEST_SUITE(invalidate);

#define TAGS_X  ((struct nadb_slice){"\1\0x", 3})
#define TAGS_Y  ((struct nadb_slice){"\1\0y", 3})
#define TAGS_XY ((struct nadb_slice){"\1\0x\1\0y", 6})
#define NO_TAGS ((struct nadb_slice){NULL, 0})

/* A store to which more than `few` keys are many. */
static struct bench *new_bench(enum nadb_durability durability, uint64_t few)
{
    struct bench *bench = bench_new(durability);
    bench->store->invalidate_few = few;
    return bench;
}

static void begin(struct bench *bench)
{
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
}

static uint64_t end(struct bench *bench)
{
    uint64_t hold = nadb_store_command_end(bench->store);
    nadb_store_turn_end(bench->store);
    bench_check(bench);
    return hold;
}

static void put(struct bench *bench, const char *key, struct nadb_slice tags)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    const struct nadb_put put = {.value = NADB_SLICE("v"), .tags = tags};
    cr_assert_eq(nadb_store_put(bench->store, bench->db, &k, &put), NADB_OK);
    (void)end(bench); /* nobody waits */
}

static void put_many(struct bench *bench, unsigned count, struct nadb_slice tags)
{
    for (unsigned i = 0; i < count; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "key:%u", i);
        put(bench, key, tags);
    }
}

static uint64_t invalidate_matching(
    struct bench *bench, const char *expression, struct nadb_slice pattern)
{
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    enum nadb_err err = nadb_selector_parse(&selector, nadb_slice_cstr(expression), NULL, 0, NULL);
    cr_assert_eq(err, NADB_OK);
    const struct nadb_invalidate_opts opts = {.selector = &selector, .pattern = pattern};
    struct nadb_invalidation *progress = NULL;
    uint64_t count = 0;
    cr_assert_eq(nadb_store_invalidate(bench->store, bench->db, &opts, &progress, &count, NULL),
        NADB_INVALIDATE_DONE);
    nadb_selector_fini(&selector);
    return count;
}

static uint64_t invalidate(struct bench *bench, const char *expression)
{
    begin(bench);
    uint64_t count = invalidate_matching(bench, expression, NO_TAGS);
    (void)end(bench); /* nobody waits */
    return count;
}

static bool exists(struct bench *bench, const char *key)
{
    return !bench_has(bench, key, NULL);
}

static uint64_t tag_count(struct bench *bench, const char *tag)
{
    begin(bench);
    uint64_t count = nadb_store_tag_count(bench->store, bench->db, nadb_slice_cstr(tag));
    (void)end(bench); /* nobody waits */
    return count;
}

Test(invalidate, many_keys_go_out_of_sight_at_once_and_are_freed_later)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 500, TAGS_X);
    put(bench, "other", TAGS_Y);
    cr_assert_eq(invalidate(bench, "x"), 500);
    cr_assert_eq(bench->db->space->index.count, 501, "nothing is freed yet");
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    cr_assert_eq(tag_count(bench, "x"), 0);
    cr_assert_eq(tag_count(bench, "y"), 1);
    cr_assert_not(exists(bench, "key:7"));
    cr_assert_eq(bench->db->space->index.count, 500, "who looks for one takes it out");
    bench_settle(bench);
    cr_assert_eq(bench->db->space->index.count, 1);
    cr_assert_null(bench->db->space->dying);
    cr_assert_eq(bench->store->dying_count, 0);
    bench_free(bench);
}

Test(invalidate, it_is_one_entry_of_the_log_however_many_keys_go)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 500, TAGS_X);
    (void)bench_flush(bench);
    bench_settle(bench);
    cr_assert_eq(invalidate(bench, "x"), 500);
    bench_settle(bench);
    (void)bench_flush(bench);
    bench_settle(bench);
    size_t entries = 0;
    for (size_t i = 0; i < bench->disk.count; i++) {
        entries += nadb_log_batch_count(&bench->disk.batches[i], NADB_ENTRY_INVALIDATE, NULL);
        cr_assert_eq(nadb_log_batch_count(&bench->disk.batches[i], NADB_ENTRY_DELETE, NULL), 0);
    }
    cr_assert_eq(entries, 1);
    bench_restart(bench, NADB_DURABILITY_INTERVAL);
    cr_assert_eq(nadb_keyspace_count(bench->db), 0);
    bench_free(bench);
}

Test(invalidate, a_restart_before_the_sweep_finds_the_same)
{
    struct bench *bench = new_bench(NADB_DURABILITY_ALWAYS, 10);
    put_many(bench, 100, TAGS_X);
    put(bench, "untagged", NO_TAGS);
    put(bench, "y", TAGS_Y);
    bench_settle(bench);
    cr_assert_eq(invalidate(bench, "!y"), 101);
    bench_finish_job(bench);
    bench_restart(bench, NADB_DURABILITY_ALWAYS);
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    cr_assert(exists(bench, "y"));
    bench_free(bench);
}

Test(invalidate, in_one_batch_what_was_put_before_goes_and_what_was_put_after_stays)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 0);
    put(bench, "on-disk", TAGS_X);
    put(bench, "changed", TAGS_Y);
    (void)bench_flush(bench);
    bench_settle(bench);
    /* All of this becomes one batch, in which each key stands where it was first changed. */
    put(bench, "changed", TAGS_X); /* its older version must not come back */
    put(bench, "again", TAGS_X);
    cr_assert_eq(invalidate(bench, "x"), 3);
    put(bench, "again", TAGS_X);
    bench_settle(bench);
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, NADB_DURABILITY_INTERVAL);
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    cr_assert(exists(bench, "again"));
    cr_assert_eq(tag_count(bench, "x"), 1);
    bench_free(bench);
}

Test(invalidate, in_always_nothing_is_freed_before_it_is_durable)
{
    struct bench *bench = new_bench(NADB_DURABILITY_ALWAYS, 10);
    put_many(bench, 100, TAGS_X);
    bench_settle(bench);
    cr_assert_eq(invalidate(bench, "x"), 100);
    cr_assert_not(exists(bench, "key:1")); /* buried on the way */
    for (int i = 0; i < 10; i++) {
        nadb_store_turn_begin(bench->store);
        (void)nadb_store_step(bench->store, 1000000);
    }
    cr_assert_eq(bench->db->space->index.count, 99);
    bench_settle(bench);
    cr_assert_eq(bench->db->space->index.count, 0);
    bench_free(bench);
}

Test(invalidate, in_always_a_failed_write_brings_everything_back)
{
    struct bench *bench = new_bench(NADB_DURABILITY_ALWAYS, 10);
    put_many(bench, 100, TAGS_X);
    bench_settle(bench);
    bench->disk.fail_writes = 1;
    bench->disk.fail_err = NADB_ENOSPC;
    cr_assert_eq(invalidate(bench, "x"), 100);
    cr_assert_not(exists(bench, "key:1"));
    put(bench, "key:1", TAGS_Y); /* in place of one that is buried */
    bench_settle(bench);
    cr_assert_eq(bench->told.undone, 1);
    cr_assert_eq(nadb_keyspace_count(bench->db), 100);
    cr_assert_eq(tag_count(bench, "x"), 100);
    cr_assert_eq(tag_count(bench, "y"), 0);
    bench_free(bench);
}

Test(invalidate, what_is_durably_gone_does_not_come_back_with_a_later_failure)
{
    struct bench *bench = new_bench(NADB_DURABILITY_ALWAYS, 10);
    put_many(bench, 100, TAGS_X);
    bench_settle(bench);
    nadb_fake_clock_advance_ms(&bench->clock, 1); /* those just answered are not waited for */
    cr_assert_eq(invalidate(bench, "x"), 100);    /* goes out as a batch of its own */
    put(bench, "key:1", TAGS_Y);                  /* the next one, which fails */
    bench_finish_job(bench);
    bench->disk.fail_writes = 1;
    bench->disk.fail_err = NADB_ENOSPC;
    bench_settle(bench);
    cr_assert_eq(bench->told.undone, 1);
    cr_assert_not(exists(bench, "key:1"));
    cr_assert_eq(nadb_keyspace_count(bench->db), 0);
    bench_free(bench);
}

Test(invalidate, a_second_one_waits_for_the_sweep_or_deletes_one_by_one)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 100, TAGS_XY);
    for (unsigned i = 0; i < 50; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "y:%u", i);
        put(bench, key, TAGS_Y);
    }
    cr_assert_eq(invalidate(bench, "x"), 100);
    cr_assert_eq(invalidate(bench, "y"), 50, "it may not wait");
    cr_assert_eq(nadb_keyspace_count(bench->db), 0);
    bench_settle(bench);
    cr_assert_eq(bench->db->space->index.count, 0);
    bench_free(bench);
}

Test(invalidate, a_pattern_spares_the_keys_that_do_not_match)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 200, TAGS_X);
    put(bench, "key:untagged", NO_TAGS);
    put(bench, "none", NO_TAGS);
    begin(bench);
    cr_assert_eq(invalidate_matching(bench, "x", NADB_SLICE("key:1*")), 111);
    (void)end(bench); /* nobody waits */
    bench_settle(bench);
    begin(bench);
    cr_assert_eq(invalidate_matching(bench, "*", NADB_SLICE("key:*")), 90);
    (void)end(bench); /* nobody waits */
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, NADB_DURABILITY_INTERVAL);
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    cr_assert(exists(bench, "none"));
    bench_free(bench);
}

Test(invalidate, a_pass_in_slices_counts_what_is_there_at_its_end)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 2000, TAGS_X);
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, NADB_SLICE("x"), NULL, 0, NULL), NADB_OK);
    const struct nadb_invalidate_opts opts = {
        .selector = &selector, .pattern = NADB_SLICE("key:*"), .may_yield = true};
    struct nadb_invalidation *progress = NULL;
    uint64_t count = 0;
    unsigned slices = 0;
    enum nadb_invalidate_outcome outcome;
    do {
        begin(bench);
        outcome = nadb_store_invalidate(bench->store, bench->db, &opts, &progress, &count, NULL);
        (void)end(bench); /* nobody waits */
        if (slices++ == 1) {
            (void)bench_del(bench, "key:0");    /* seen already, or yet to come */
            (void)bench_del(bench, "key:1999"); /* likewise */
            put(bench, "key:new", TAGS_X);
            put(bench, "key:5", TAGS_Y);
        }
    } while (outcome == NADB_INVALIDATE_AGAIN);
    cr_assert_eq(outcome, NADB_INVALIDATE_DONE);
    cr_assert_gt(slices, 2);
    cr_assert_eq(count, 1998);
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    cr_assert(exists(bench, "key:5"));
    nadb_selector_fini(&selector);
    bench_free(bench);
}

Test(invalidate, a_pass_begins_anew_when_the_keyspace_is_cleared)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 2000, TAGS_X);
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, NADB_SLICE("!y"), NULL, 0, NULL), NADB_OK);
    const struct nadb_invalidate_opts opts = {
        .selector = &selector, .pattern = NADB_SLICE("key:*"), .may_yield = true};
    struct nadb_invalidation *progress = NULL;
    uint64_t count = 0;
    begin(bench);
    cr_assert_eq(nadb_store_invalidate(bench->store, bench->db, &opts, &progress, &count, NULL),
        NADB_INVALIDATE_AGAIN);
    (void)end(bench); /* nobody waits */
    (void)bench_clear(bench);
    put_many(bench, 20, NO_TAGS);
    begin(bench);
    cr_assert_eq(nadb_store_invalidate(bench->store, bench->db, &opts, &progress, &count, NULL),
        NADB_INVALIDATE_DONE);
    (void)end(bench); /* nobody waits */
    cr_assert_eq(count, 20);
    nadb_selector_fini(&selector);
    bench_free(bench);
}

Test(invalidate, a_client_that_leaves_lets_go_of_its_pass)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 2000, TAGS_X);
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, NADB_SLICE("x"), NULL, 0, NULL), NADB_OK);
    const struct nadb_invalidate_opts opts = {
        .selector = &selector, .pattern = NADB_SLICE("key:*"), .may_yield = true};
    struct nadb_invalidation *progress = NULL;
    uint64_t count = 0;
    begin(bench);
    cr_assert_eq(nadb_store_invalidate(bench->store, bench->db, &opts, &progress, &count, NULL),
        NADB_INVALIDATE_AGAIN);
    (void)end(bench); /* nobody waits */
    nadb_invalidation_free(progress);
    cr_assert_null(bench->db->space->pass);
    cr_assert_eq(nadb_keyspace_count(bench->db), 2000);
    nadb_selector_fini(&selector);
    bench_free(bench);
}

Test(invalidate, swapped_databases_take_the_dying_along)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 100, TAGS_X);
    put(bench, "y", TAGS_Y);
    cr_assert_eq(invalidate(bench, "x"), 100);
    begin(bench);
    nadb_store_swap(bench->store, 0, 1);
    (void)end(bench); /* nobody waits */
    struct nadb_keyspace *other = bench_keyspace(bench, 1, "");
    cr_assert_eq(nadb_keyspace_count(bench->db), 0);
    cr_assert_eq(nadb_keyspace_count(other), 1);
    bench_settle(bench);
    cr_assert_eq(other->space->index.count, 1);
    bench_free(bench);
}

Test(invalidate, a_keyspace_may_be_cleared_while_its_dying_wait)
{
    for (int is_failing = 0; is_failing <= 1; is_failing++) {
        struct bench *bench = new_bench(NADB_DURABILITY_ALWAYS, 10);
        put_many(bench, 100, TAGS_X);
        put(bench, "y", TAGS_Y);
        bench_settle(bench);
        bench->disk.fail_writes = (unsigned)is_failing;
        bench->disk.fail_err = NADB_ENOSPC;
        cr_assert_eq(invalidate(bench, "x"), 100);
        (void)bench_clear(bench);
        put(bench, "new", TAGS_X);
        bench_settle(bench);
        cr_assert_eq(nadb_keyspace_count(bench->db), is_failing ? 101 : 1);
        cr_assert_eq(tag_count(bench, "x"), is_failing ? 100 : 1);
        cr_assert_eq(bench->store->dying_count, 0);
        bench_free(bench);
    }
}

Test(invalidate, fills_from_before_it_are_stale)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    uint64_t before = nadb_store_epoch(bench->store);
    cr_assert_not(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), before, TAGS_XY));
    cr_assert_eq(invalidate(bench, "x & !y"), 0, "also when it finds nothing");
    uint64_t after = nadb_store_epoch(bench->store);
    cr_assert_eq(after, before + 1);
    cr_assert(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), before, TAGS_X));
    cr_assert(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), before, TAGS_XY));
    cr_assert_not(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), before, NO_TAGS));
    cr_assert_not(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), after, TAGS_XY));
    cr_assert(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), after + 1, NO_TAGS),
        "a number that nobody was given");
    (void)bench_clear(bench);
    cr_assert(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), after, NO_TAGS));
    bench_free(bench);
}

Test(invalidate, after_a_restart_older_epochs_are_stale_and_new_ones_higher)
{
    struct bench *bench = new_bench(NADB_DURABILITY_ALWAYS, 10);
    put(bench, "a", TAGS_X);
    bench_settle(bench);
    uint64_t before = nadb_store_epoch(bench->store);
    cr_assert_eq(invalidate(bench, "x"), 1);
    bench_settle(bench);
    uint64_t last = nadb_store_epoch(bench->store);
    nadb_fake_clock_advance_ms(&bench->clock, 1);
    bench_restart(bench, NADB_DURABILITY_ALWAYS);
    cr_assert_gt(nadb_store_epoch(bench->store), last);
    cr_assert(nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), before, TAGS_X));
    cr_assert(
        nadb_store_is_stale(bench->store, bench->db, NADB_SLICE("k"), last, TAGS_X), "who knows");
    cr_assert_not(nadb_store_is_stale(
        bench->store, bench->db, NADB_SLICE("k"), nadb_store_epoch(bench->store), TAGS_X));
    bench_free(bench);
}

/* ---- queries ---- */

struct seen {
    unsigned count[3000];
};

static void note_seen(void *ctx, const struct nadb_rec *rec)
{
    struct seen *seen = ctx;
    unsigned number = 0;
    struct nadb_slice key = nadb_rec_key(rec);
    for (size_t i = strlen("key:"); i < key.len; i++) {
        number = number * 10 + (unsigned)(key.data[i] - '0');
    }
    cr_assert_lt(number, NADB_ARRAY_LEN(seen->count));
    seen->count[number]++;
}

/* Every key of `expression` once, by stateless cursors, while others come and go. */
static void walk_while_keys_change(const char *expression)
{
    struct bench *bench = new_bench(NADB_DURABILITY_INTERVAL, 10);
    put_many(bench, 1000, TAGS_X);
    static struct seen seen;
    memset(&seen, 0, sizeof(seen));
    uint64_t cursor = 0;
    unsigned round = 0;
    do {
        begin(bench);
        struct nadb_selector selector;
        nadb_selector_init(&selector);
        cr_assert_eq(
            nadb_selector_parse(&selector, nadb_slice_cstr(expression), NULL, 0, NULL), NADB_OK);
        struct nadb_query query;
        cr_assert_eq(nadb_query_init(&query, bench->store, bench->db, &selector, NULL), NADB_OK);
        cr_assert(nadb_query_seek(&query, cursor));
        (void)nadb_query_visit(
            &query, bench->store, bench->db, &selector, 20, note_seen, &seen); /* see cursor */
        cursor = nadb_query_cursor(&query);
        nadb_query_fini(&query);
        nadb_selector_fini(&selector);
        (void)end(bench); /* nobody waits */
        for (unsigned i = 0; i < 20; i++, round++) {
            char key[32];
            (void)snprintf(key, sizeof(key), "key:%u", 1000 + round % 2000);
            if (round % 3 == 0) {
                (void)bench_del(bench, key);
            } else {
                put(bench, key, round % 3 == 1 ? TAGS_X : NO_TAGS);
            }
            (void)snprintf(key, sizeof(key), "key:%u", round % 1000);
            put(bench, key, round % 2 == 0 ? TAGS_XY : TAGS_X);
        }
    } while (cursor != 0);
    for (unsigned i = 0; i < 1000; i++) {
        cr_assert_eq(seen.count[i], 1, "key:%u was seen %u times", i, seen.count[i]);
    }
    bench_free(bench);
}

Test(invalidate, a_query_by_cursor_meets_each_key_that_stays_once)
{
    walk_while_keys_change("x");
}

Test(invalidate, a_query_for_everything_but_does_so_too)
{
    walk_while_keys_change("!none");
}
