/* This file tests the map from keys to records against a plain table. */
#include "src/store/index.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/random.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(index_map);

#define KEYS_MAX 20000u

static const struct nadb_hash_key hash_key = {11, 22};

struct bench {
    struct nadb_index index;
    struct nadb_rec *recs[KEYS_MAX]; /* NULL: not in the map */
    unsigned seen[KEYS_MAX];
    size_t count;
};

static struct nadb_slice key_of(unsigned number, char text[16])
{
    int len = snprintf(text, 16, "key:%u", number);
    return nadb_slice_of(text, (size_t)len);
}

static unsigned number_of(const struct nadb_rec *rec)
{
    struct nadb_slice key = nadb_rec_key(rec);
    unsigned number = 0;
    for (size_t i = 4; i < key.len; i++) {
        number = number * 10 + (unsigned)(key.data[i] - '0');
    }
    return number;
}

static struct bench *bench_new(void)
{
    struct bench *bench = nadb_mem_zalloc(sizeof(*bench));
    nadb_index_init(&bench->index, &hash_key);
    return bench;
}

static void free_rec(void *ctx, struct nadb_rec *rec)
{
    (void)ctx;
    nadb_rec_free(rec);
}

static void bench_free(struct bench *bench)
{
    size_t cursor = 0;
    while (nadb_index_drain(&bench->index, &cursor, free_rec, NULL)) {
    }
    nadb_mem_free(bench);
}

static void insert(struct bench *bench, unsigned number)
{
    char text[16];
    struct nadb_slice key = key_of(number, text);
    bench->recs[number] = nadb_rec_new(&(struct nadb_rec_parts){.key = key});
    nadb_index_insert(&bench->index, bench->recs[number], nadb_hash(hash_key, key));
    bench->count++;
}

static void remove_key(struct bench *bench, unsigned number)
{
    char text[16];
    struct nadb_slice key = key_of(number, text);
    uint64_t hash = nadb_hash(hash_key, key);
    nadb_index_slot slot = nadb_index_find(&bench->index, key, hash);
    cr_assert(slot != NULL && nadb_index_rec(slot) == bench->recs[number]);
    nadb_index_remove(&bench->index, slot, hash);
    nadb_rec_free(bench->recs[number]);
    bench->recs[number] = NULL;
    bench->count--;
}

static void check_find(const struct bench *bench, unsigned number)
{
    char text[16];
    struct nadb_slice key = key_of(number, text);
    nadb_index_slot slot = nadb_index_find(&bench->index, key, nadb_hash(hash_key, key));
    const struct nadb_rec *rec = slot == NULL ? NULL : nadb_index_rec(slot);
    cr_assert_eq(rec, bench->recs[number], "key %u", number);
}

static void check_invariants(const struct bench *bench)
{
    const char *reason = NULL;
    cr_assert(nadb_index__check(&bench->index, &reason), "%s", reason);
    cr_assert_eq(bench->index.count, bench->count);
}

static void note_seen(void *ctx, struct nadb_rec *rec)
{
    struct bench *bench = ctx;
    unsigned number = number_of(rec);
    cr_assert(number < KEYS_MAX && bench->recs[number] == rec, "visited what is not there");
    bench->seen[number]++;
}

Test(index_map, an_empty_map_finds_and_visits_nothing)
{
    struct bench *bench = bench_new();
    check_find(bench, 1);
    cr_assert_eq(nadb_index_visit(&bench->index, 0, 10, note_seen, bench), 0);
    cr_assert_null(nadb_index_at(&bench->index, 12345));
    nadb_index_prefetch_slot(&bench->index, 1);
    nadb_index_prefetch_rec(&bench->index, 1);
    check_invariants(bench);
    bench_free(bench);
}

Test(index_map, what_was_inserted_is_found_until_it_is_removed)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct bench *bench = bench_new();
        struct nadb_rng rng;
        nadb_rng_seed(&rng, seed);
        /* The share of removals moves, so that the map grows, shrinks and grows again. */
        for (unsigned round = 0; round < 200000; round++) {
            unsigned removals = (round / 40000) % 2 == 0 ? 20 : 80;
            unsigned number = (unsigned)nadb_rng_below(&rng, KEYS_MAX);
            bool is_removal = nadb_rng_below(&rng, 100) < removals;
            if (is_removal && bench->recs[number] != NULL) {
                remove_key(bench, number);
            } else if (!is_removal && bench->recs[number] == NULL) {
                insert(bench, number);
            }
            check_find(bench, (unsigned)nadb_rng_below(&rng, KEYS_MAX));
            if (round % 10000 == 0) {
                check_invariants(bench);
            }
        }
        for (unsigned number = 0; number < KEYS_MAX; number++) {
            check_find(bench, number);
        }
        check_invariants(bench);
        bench_free(bench);
    }
}

Test(index_map, removing_everything_leaves_a_map_that_works)
{
    struct bench *bench = bench_new();
    for (int round = 0; round < 2; round++) {
        for (unsigned number = 0; number < KEYS_MAX; number++) {
            insert(bench, number);
        }
        for (unsigned number = 0; number < KEYS_MAX; number++) {
            remove_key(bench, number);
        }
        check_invariants(bench);
        cr_assert_null(nadb_index_at(&bench->index, UINT64_MAX / 3));
    }
    bench_free(bench);
}

Test(index_map, a_replaced_record_is_found_in_its_place)
{
    struct bench *bench = bench_new();
    for (unsigned number = 0; number < 1000; number++) {
        insert(bench, number);
    }
    char text[16];
    struct nadb_slice key = key_of(500, text);
    nadb_index_slot slot = nadb_index_find(&bench->index, key, nadb_hash(hash_key, key));
    nadb_rec_free(bench->recs[500]);
    bench->recs[500] = nadb_rec_new(&(struct nadb_rec_parts){.key = key});
    nadb_index_replace(slot, bench->recs[500]);
    check_find(bench, 500);
    check_invariants(bench);
    bench_free(bench);
}

Test(index_map, a_visit_in_any_portions_sees_each_record_once)
{
    struct bench *bench = bench_new();
    for (unsigned number = 0; number < KEYS_MAX; number++) {
        insert(bench, number);
    }
    for (size_t max = 1; max <= 4096; max *= 4) {
        memset(bench->seen, 0, sizeof(bench->seen));
        uint64_t at = 0;
        size_t calls = 0;
        do {
            at = nadb_index_visit(&bench->index, at, max, note_seen, bench);
            calls++;
        } while (at != 0);
        for (unsigned number = 0; number < KEYS_MAX; number++) {
            cr_assert_eq(bench->seen[number], 1, "key %u, portions of %zu", number, max);
        }
        cr_assert_geq(calls, KEYS_MAX / max / 2, "portions of %zu were not kept to", max);
    }
    bench_free(bench);
}

/* Half of the keys stay; the others come and go between the calls, in waves that make segments
 * grow, split and shrink. */
Test(index_map, a_scan_sees_all_that_stays_however_the_map_grows_and_shrinks)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct bench *bench = bench_new();
        struct nadb_rng rng;
        nadb_rng_seed(&rng, seed);
        for (unsigned number = 0; number < KEYS_MAX; number += 100) {
            insert(bench, number);
        }
        bool is_growing = true;
        uint64_t at = 0;
        do {
            at = nadb_index_visit(&bench->index, at, 4, note_seen, bench);
            for (int i = 0; i < 600; i++) {
                unsigned number = (unsigned)nadb_rng_below(&rng, KEYS_MAX);
                if (number % 100 == 0) {
                    continue;
                }
                if (is_growing && bench->recs[number] == NULL) {
                    insert(bench, number);
                } else if (!is_growing && bench->recs[number] != NULL) {
                    remove_key(bench, number);
                }
            }
            if (bench->count > KEYS_MAX * 3 / 4 || bench->count < KEYS_MAX / 16) {
                is_growing = bench->count < KEYS_MAX / 16;
            }
        } while (at != 0);
        for (unsigned number = 0; number < KEYS_MAX; number += 100) {
            cr_assert_geq(bench->seen[number], 1, "seed %llu: key %u was left out",
                (unsigned long long)seed, number);
        }
        check_invariants(bench);
        bench_free(bench);
    }
}

Test(index_map, positions_at_random_reach_every_record)
{
    struct bench *bench = bench_new();
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 5);
    for (unsigned number = 0; number < 50; number++) {
        insert(bench, number);
    }
    for (int i = 0; i < 20000; i++) {
        note_seen(bench, nadb_index_at(&bench->index, nadb_rng_next(&rng)));
    }
    for (unsigned number = 0; number < 50; number++) {
        cr_assert_gt(bench->seen[number], 0, "key %u", number);
    }
    bench_free(bench);
}

Test(index_map, a_drain_hands_out_every_record_and_leaves_an_empty_map)
{
    struct bench *bench = bench_new();
    for (unsigned number = 0; number < KEYS_MAX; number++) {
        insert(bench, number);
    }
    size_t cursor = 0;
    size_t steps = 0;
    while (nadb_index_drain(&bench->index, &cursor, note_seen, bench)) {
        steps++;
    }
    cr_assert_gt(steps, 5, "a step is one segment");
    for (unsigned number = 0; number < KEYS_MAX; number++) {
        cr_assert_eq(bench->seen[number], 1, "key %u", number);
        nadb_rec_free(bench->recs[number]);
        bench->recs[number] = NULL;
    }
    bench->count = 0;
    cr_assert_eq(bench->index.bytes, 0);
    check_invariants(bench);
    insert(bench, 7);
    check_find(bench, 7);
    bench_free(bench);
}
