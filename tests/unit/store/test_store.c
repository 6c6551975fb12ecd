/* This file tests what commands do to records and keyspaces, over the memory backend and over a
 * log that is read back. */
#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/random.h"
#include "src/store/store_internal.h"
#include "tests/support/test.h"
#include "tests/unit/store/store_support.h"

NADB_TEST_SUITE(store);

#define INTERVAL NADB_DURABILITY_INTERVAL

/* A behaviour that has to be the same whatever is behind the store. */
typedef void behaviour_fn(struct bench *bench);

static void on_each_kind(behaviour_fn *behaviour)
{
    const enum nadb_durability modes[] = {
        NADB_DURABILITY_ALWAYS, NADB_DURABILITY_INTERVAL, NADB_DURABILITY_BUFFERED};
    for (size_t i = 0; i <= 3; i++) {
        struct bench *bench = i == 3 ? bench_new_volatile() : bench_new(modes[i]);
        behaviour(bench);
        bench_settle(bench);
        bench_free(bench);
    }
}

static void begin(struct bench *bench)
{
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
}

static void end(struct bench *bench)
{
    (void)nadb_store_command_end(bench->store);
    nadb_store_turn_end(bench->store);
    bench_check(bench);
}

static const struct nadb_rec *peek(struct bench *bench, const char *key)
{
    nadb_store_turn_begin(bench->store);
    struct nadb_key k = bench_key(bench, key);
    return nadb_store_peek(bench->store, bench->db, &k);
}

static void put(struct bench *bench, const char *key, const struct nadb_put *put)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    cr_assert_eq(nadb_store_put(bench->store, bench->db, &k, put), NADB_OK);
    end(bench);
}

static void put_in(struct bench *bench, uint64_t db, const char *name, const char *key,
    const char *value, uint64_t expire_ms)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    struct nadb_put p = {.value = nadb_slice_cstr(value), .expire_ms = expire_ms};
    cr_assert_eq(nadb_store_put(bench->store, bench_keyspace(bench, db, name), &k, &p), NADB_OK);
    end(bench);
}

/* ---- records ---- */

static void put_and_delete(struct bench *bench)
{
    cr_assert(bench_has(bench, "a", NULL));
    (void)bench_put(bench, "a", "1");
    cr_assert(bench_has(bench, "a", "1"));
    (void)bench_put(bench, "a", "another value");
    cr_assert(bench_has(bench, "a", "another value"));
    (void)bench_put(bench, "a", "");
    cr_assert(bench_has(bench, "a", ""));
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    begin(bench);
    struct nadb_key key = bench_key(bench, "a");
    cr_assert(nadb_store_delete(bench->store, bench->db, &key));
    cr_assert(!nadb_store_delete(bench->store, bench->db, &key));
    end(bench);
    cr_assert(bench_has(bench, "a", NULL));
    (void)bench_put(bench, "", "the empty key is a key");
    cr_assert(bench_has(bench, "", "the empty key is a key"));
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
}

Test(store, a_key_has_its_last_value_until_it_is_deleted)
{
    on_each_kind(put_and_delete);
}

static void put_long(struct bench *bench)
{
    static char text[3 * NADB_REC_INLINE_MAX];
    const size_t lens[] = {0, 1, 15, 16, 17, 2047, 2048, 2049, 4000, 6000, 3000, 100, 2049, 0};
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        memset(text, 'a' + (int)i, sizeof(text));
        text[lens[i]] = '\0';
        (void)bench_put(bench, "k", text);
        cr_assert(bench_has(bench, "k", text), "%zu bytes", lens[i]);
        if (i % 3 == 0) {
            bench_settle(bench);
        }
        bench_check(bench);
    }
}

Test(store, values_of_any_length_follow_one_another)
{
    on_each_kind(put_long);
}

static void edit(struct bench *bench)
{
    static char model[20000];
    size_t len = 0;
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 3);
    (void)bench_put_ttl(bench, "k", "", 1000000);
    for (int round = 0; round < 300; round++) {
        size_t new_len = nadb_rng_below(&rng, 4) == 0 ? nadb_rng_below(&rng, sizeof(model) - 1)
                                                      : len + nadb_rng_below(&rng, 40);
        new_len = new_len < sizeof(model) ? new_len : 0;
        if (new_len > len) {
            memset(model + len, 0, new_len - len);
        }
        len = new_len;
        begin(bench);
        struct nadb_key key = bench_key(bench, "k");
        char *room = nadb_store_edit(bench->store, bench->db, &key, len);
        cr_assert_not_null(room);
        if (len > 0) {
            size_t at = nadb_rng_below(&rng, len);
            room[at] = model[at] = (char)('a' + round % 26);
        }
        end(bench);
        const struct nadb_rec *rec = peek(bench, "k");
        cr_assert(nadb_slice_eq(nadb_rec_value(rec), nadb_slice_of(model, len)), "%zu", len);
        cr_assert_eq(nadb_rec_expire_ms(rec), bench->clock.wall_ms + 1000000);
        if (nadb_rng_below(&rng, 8) == 0) {
            bench_settle(bench);
        }
    }
}

Test(store, editing_keeps_the_bytes_there_were_and_adds_zeros)
{
    on_each_kind(edit);
}

static void tags_and_ttl(struct bench *bench)
{
    const struct nadb_slice tags = NADB_SLICE("\3\0one\3\0two");
    uint64_t soon = bench->clock.wall_ms + 5000;
    put(bench, "k", &(struct nadb_put){.value = NADB_SLICE("1"), .tags = tags, .expire_ms = soon});
    cr_assert(nadb_slice_eq(nadb_rec_tags(peek(bench, "k")), tags));
    cr_assert_eq(nadb_rec_expire_ms(peek(bench, "k")), soon);
    put(bench, "k",
        &(struct nadb_put){.value = NADB_SLICE("2"), .keep_tags = true, .keep_ttl = true});
    cr_assert(nadb_slice_eq(nadb_rec_tags(peek(bench, "k")), tags));
    cr_assert_eq(nadb_rec_expire_ms(peek(bench, "k")), soon);
    (void)bench_append(bench, "k", "+");
    (void)bench_pexpire(bench, "k", 7000);
    cr_assert(nadb_slice_eq(nadb_rec_tags(peek(bench, "k")), tags));
    cr_assert(bench_has(bench, "k", "2+"));
    put(bench, "k", &(struct nadb_put){.value = NADB_SLICE("3"), .keep_tags = true});
    cr_assert_eq(nadb_rec_expire_ms(peek(bench, "k")), 0);
    put(bench, "k", &(struct nadb_put){.value = NADB_SLICE("4"), .keep_ttl = true});
    cr_assert_eq(nadb_rec_tags(peek(bench, "k")).len, 0);
    put(bench, "new",
        &(struct nadb_put){.value = NADB_SLICE("4"), .keep_ttl = true, .keep_tags = true});
    cr_assert_eq(nadb_rec_expire_ms(peek(bench, "new")), 0);
}

Test(store, tags_and_ttl_go_with_the_old_record_unless_kept)
{
    on_each_kind(tags_and_ttl);
}

static void times(struct bench *bench)
{
    uint64_t start_ms = bench->clock.wall_ms;
    (void)bench_put(bench, "k", "1");
    nadb_fake_clock_advance_ms(&bench->clock, 2500);
    (void)bench_put(bench, "k", "2");
    nadb_fake_clock_advance_ms(&bench->clock, 2500);
    (void)bench_pexpire(bench, "k", 1000000);
    const struct nadb_rec *rec = peek(bench, "k");
    cr_assert_eq(rec->created_ms, start_ms);
    cr_assert_eq(rec->updated_ms, start_ms + 2500, "a deadline is not an update");
    nadb_fake_clock_advance_ms(&bench->clock, 10000);
    bench_settle(bench);
    (void)bench_get_hold(bench, "k");
    uint64_t now_s = bench->clock.wall_ms / 1000;
    cr_assert_eq(nadb_rec_accessed_s(peek(bench, "k"), now_s), now_s);
}

Test(store, a_record_knows_when_it_was_created_updated_and_accessed)
{
    on_each_kind(times);
}

/* ---- deadlines ---- */

static void expiry(struct bench *bench)
{
    (void)bench_put_ttl(bench, "a", "1", 100);
    (void)bench_put_ttl(bench, "b", "1", 200);
    (void)bench_put_ttl(bench, "c", "1", 100);
    (void)bench_put(bench, "d", "1");
    cr_assert_eq(nadb_keyspace_expires(bench->db), 3);
    (void)bench_pexpire(bench, "c", 0);
    (void)bench_pexpire(bench, "d", 200);
    cr_assert_eq(nadb_keyspace_expires(bench->db), 3);
    nadb_fake_clock_advance_ms(&bench->clock, 99);
    cr_assert(bench_has(bench, "a", "1"));
    nadb_fake_clock_advance_ms(&bench->clock, 1);
    cr_assert(bench_has(bench, "a", NULL));
    nadb_fake_clock_advance_ms(&bench->clock, 100);
    bench_settle(bench);
    cr_assert_eq(nadb_keyspace_count(bench->db), 1, "nobody had to look");
    cr_assert_eq(nadb_keyspace_expires(bench->db), 0);
    cr_assert(bench_has(bench, "c", "1"));
    struct nadb_store_stats stats;
    nadb_store_stats(bench->store, &stats);
    cr_assert_eq(stats.expired, 3);
}

Test(store, a_key_is_gone_at_its_deadline_whether_or_not_anybody_looks)
{
    on_each_kind(expiry);
}

static void past_deadline(struct bench *bench)
{
    (void)bench_put(bench, "a", "1");
    (void)bench_put(bench, "b", "1");
    bench_settle(bench);
    begin(bench);
    struct nadb_key key = bench_key(bench, "a");
    cr_assert(nadb_store_expire(bench->store, bench->db, &key, 1));
    cr_assert(!nadb_store_expire(bench->store, bench->db, &key, 1));
    end(bench);
    put(bench, "b", &(struct nadb_put){.value = NADB_SLICE("2"), .expire_ms = 1});
    put(bench, "c", &(struct nadb_put){.value = NADB_SLICE("2"), .expire_ms = 1});
    cr_assert_eq(nadb_keyspace_count(bench->db), 0);
}

Test(store, a_deadline_in_the_past_deletes)
{
    on_each_kind(past_deadline);
}

/* ---- copies ---- */

static void copies(struct bench *bench)
{
    static char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    put(bench, "from",
        &(struct nadb_put){.value = nadb_slice_cstr(text),
            .tags = NADB_SLICE("\1\0t"),
            .expire_ms = bench->clock.wall_ms + 5000});
    (void)bench_put(bench, "to", "old");
    struct nadb_keyspace *other = bench_keyspace(bench, 1, "");
    begin(bench);
    struct nadb_key from = bench_key(bench, "from");
    struct nadb_key to = bench_key(bench, "to");
    cr_assert_eq(nadb_store_copy(bench->store, bench->db, &from, bench->db, &to, false), NADB_OK);
    cr_assert_eq(nadb_store_copy(bench->store, bench->db, &from, other, &from, true), NADB_OK);
    end(bench);
    cr_assert(bench_has(bench, "from", NULL));
    cr_assert(bench_has_in(bench, other, "from", text));
    cr_assert(bench_has(bench, "to", text));
    cr_assert_eq(nadb_rec_expire_ms(peek(bench, "to")), bench->clock.wall_ms + 5000);
    cr_assert_eq(nadb_rec_tags(peek(bench, "to")).len, 3);
    (void)bench_append(bench, "to", "!");
    cr_assert(bench_has_in(bench, other, "from", text), "the copies are apart");
    nadb_fake_clock_advance_ms(&bench->clock, 5000);
    cr_assert(bench_has_in(bench, other, "from", NULL));
    cr_assert(bench_has(bench, "to", NULL));
}

Test(store, a_copy_has_value_tags_and_ttl_and_is_a_record_of_its_own)
{
    on_each_kind(copies);
}

/* ---- keyspaces ---- */

static void keyspaces(struct bench *bench)
{
    (void)bench_put(bench, "k", "db 0");
    put_in(bench, 1, "", "k", "db 1", bench->clock.wall_ms + 1000);
    put_in(bench, 1, "n", "k", "db 1 n", 0);
    begin(bench);
    nadb_store_swap(bench->store, 0, 1);
    end(bench);
    cr_assert(bench_has(bench, "k", "db 1"));
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 0, "n"), "k", "db 1 n"));
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 1, ""), "k", "db 0"));
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 1, "n"), "k", NULL));
    nadb_fake_clock_advance_ms(&bench->clock, 1000);
    bench_settle(bench);
    cr_assert_eq(nadb_keyspace_count(bench->db), 0, "the deadline moved along");
    begin(bench);
    cr_assert_eq(nadb_store_drop(bench->store, bench_keyspace(bench, 0, "n")), 1);
    cr_assert_eq(nadb_store_clear(bench->store, bench_keyspace(bench, 1, "")), 1);
    cr_assert_eq(nadb_store_clear(bench->store, bench_keyspace(bench, 1, "")), 0);
    end(bench);
    put_in(bench, 0, "n", "k", "again", 0);
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 0, "n"), "k", "again"));
    bench_settle(bench);
}

Test(store, a_swap_of_databases_that_were_never_used_waits_for_nothing)
{
    struct bench *bench = bench_new(NADB_DURABILITY_ALWAYS);
    (void)bench_put(bench, "k", "v");
    bench_settle(bench);
    nadb_store_command_begin(bench->store);
    nadb_store_swap(bench->store, 1, 2);
    cr_assert_eq(nadb_store_command_end(bench->store), 0, "no flush would ever release the reply");
    nadb_store_command_begin(bench->store);
    nadb_store_swap(bench->store, 0, 2);
    cr_assert_neq(nadb_store_command_end(bench->store), 0);
    bench_settle(bench);
    bench_free(bench);
}

Test(store, keyspaces_are_apart_and_can_be_swapped_cleared_and_dropped)
{
    on_each_kind(keyspaces);
}

Test(store, what_was_done_to_keyspaces_is_there_after_a_restart)
{
    const enum nadb_durability modes[] = {
        NADB_DURABILITY_ALWAYS, NADB_DURABILITY_INTERVAL, NADB_DURABILITY_BUFFERED};
    for (size_t i = 0; i < 3; i++) {
        for (int each_settles = 0; each_settles < 2; each_settles++) {
            struct bench *bench = bench_new(modes[i]);
            (void)bench_put(bench, "k", "db 0");
            put_in(bench, 1, "", "k", "db 1", 0);
            put_in(bench, 1, "n", "k", "db 1 n", 0);
            put_in(bench, 2, "gone", "k", "x", 0);
            if (each_settles) {
                (void)bench_flush(bench);
                bench_settle(bench);
            }
            begin(bench);
            nadb_store_swap(bench->store, 0, 1);
            nadb_store_swap(bench->store, 1, 3);
            (void)nadb_store_drop(bench->store, bench_keyspace(bench, 2, "gone"));
            end(bench);
            put_in(bench, 2, "new", "k", "new", 0);
            put_in(bench, 0, "", "second", "2", 0);
            (void)bench_flush(bench);
            bench_settle(bench);
            bench_restart(bench, modes[i]);
            cr_assert(bench_has(bench, "k", "db 1") && bench_has(bench, "second", "2"));
            cr_assert(bench_has_in(bench, bench_keyspace(bench, 0, "n"), "k", "db 1 n"));
            cr_assert(bench_has_in(bench, bench_keyspace(bench, 3, ""), "k", "db 0"));
            cr_assert(bench_has_in(bench, bench_keyspace(bench, 1, ""), "k", NULL));
            cr_assert(bench_has_in(bench, bench_keyspace(bench, 2, "new"), "k", "new"));
            cr_assert_null(nadb_store_keyspace(bench->store, 2, nadb_slice_cstr("gone"), false));
            bench_free(bench);
        }
    }
}

Test(store, namespaces_are_limited_and_unused_empty_ones_make_room)
{
    struct bench *bench = bench_new(INTERVAL);
    begin(bench);
    struct nadb_keyspace *used = bench_keyspace(bench, 0, "used");
    nadb_keyspace_ref(used);
    end(bench);
    put_in(bench, 0, "full", "k", "v", 0);
    put_in(bench, 0, "emptied", "k", "v", 0);
    begin(bench);
    cr_assert_null(bench_keyspace(bench, 0, "one too many"));
    (void)nadb_store_clear(bench->store, bench_keyspace(bench, 0, "emptied"));
    cr_assert_not_null(bench_keyspace(bench, 0, "one more"));
    end(bench);
    cr_assert_null(nadb_store_keyspace(bench->store, 0, nadb_slice_cstr("emptied"), false));
    cr_assert_not_null(nadb_store_keyspace(bench->store, 0, nadb_slice_cstr("used"), false));
    unsigned listed = 0;
    for (struct nadb_keyspace *at = nadb_store_keyspace_next(bench->store, NULL); at != NULL;
         at = nadb_store_keyspace_next(bench->store, at)) {
        listed++;
    }
    cr_assert_eq(listed, BENCH_DATABASES + 2, "those with keys or users");
    nadb_keyspace_unref(bench->store, used);
    bench_settle(bench);
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, INTERVAL);
    cr_assert(bench_has_in(bench, bench_keyspace(bench, 0, "full"), "k", "v"));
    bench_free(bench);
}

/* ---- WATCH ---- */

static void watching(struct bench *bench)
{
    struct nadb_watcher watcher = {0};
    struct nadb_key a = bench_key(bench, "a");
    struct nadb_key b = bench_key(bench, "b");
    (void)bench_put(bench, "a", "1");
    (void)bench_put_ttl(bench, "b", "1", 100);

    nadb_store_watch(bench->store, &watcher, bench->db, &a);
    nadb_store_watch(bench->store, &watcher, bench->db, &a);
    (void)bench_put(bench, "b", "2");
    (void)bench_get_hold(bench, "a");
    put_in(bench, 1, "", "a", "elsewhere", 0);
    cr_assert(!nadb_store_watch_is_dirty(bench->store, &watcher));
    (void)bench_put(bench, "a", "1");
    cr_assert(nadb_store_watch_is_dirty(bench->store, &watcher), "the same value is a change");
    nadb_store_unwatch(bench->store, &watcher);
    cr_assert(!nadb_store_watch_is_dirty(bench->store, &watcher));

    (void)bench_put_ttl(bench, "b", "1", 100);
    nadb_store_watch(bench->store, &watcher, bench->db, &b);
    nadb_fake_clock_advance_ms(&bench->clock, 100);
    nadb_store_turn_begin(bench->store);
    cr_assert(nadb_store_watch_is_dirty(bench->store, &watcher), "it expired");
    nadb_store_unwatch(bench->store, &watcher);

    nadb_store_watch(bench->store, &watcher, bench->db, &b);
    (void)bench_clear(bench);
    cr_assert(!nadb_store_watch_is_dirty(bench->store, &watcher), "there was no such key");
    nadb_store_unwatch(bench->store, &watcher);
    nadb_store_watch(bench->store, &watcher, bench->db, &a);
    begin(bench);
    nadb_store_swap(bench->store, 0, 1);
    end(bench);
    cr_assert(nadb_store_watch_is_dirty(bench->store, &watcher), "swapped in");
    nadb_store_unwatch(bench->store, &watcher);
}

Test(store, a_watcher_learns_of_every_change_of_its_keys_and_of_no_other)
{
    on_each_kind(watching);
}

static void watching_many(struct bench *bench)
{
    enum { WATCHES = 5000 };
    struct nadb_watcher many = {0};
    struct nadb_watcher one = {0};
    struct nadb_key first = bench_key(bench, "0");
    nadb_store_watch(bench->store, &one, bench->db, &first);
    for (unsigned i = 0; i < WATCHES; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "%u", i);
        struct nadb_key key = bench_key(bench, name);
        nadb_store_watch(bench->store, &many, bench->db, &key);
    }
    cr_assert_geq(many.bytes, WATCHES * one.bytes);
    (void)bench_put(bench, "4999", "v");
    cr_assert(nadb_store_watch_is_dirty(bench->store, &many));
    cr_assert(!nadb_store_watch_is_dirty(bench->store, &one));
    nadb_store_unwatch(bench->store, &many);
    cr_assert_eq(many.bytes, 0);
    (void)bench_put(bench, "0", "v");
    cr_assert(nadb_store_watch_is_dirty(bench->store, &one));
    nadb_store_unwatch(bench->store, &one);
}

Test(store, thousands_of_watches_each_learn_of_their_own_key)
{
    on_each_kind(watching_many);
}

/* ---- many records ---- */

#define MANY 3000u

static const char *many_key(unsigned number, char text[32])
{
    (void)snprintf(text, 32, "key number %u", number);
    return text;
}

static void count_record(void *ctx, const struct nadb_rec *rec)
{
    unsigned *seen = ctx;
    struct nadb_slice key = nadb_rec_key(rec);
    unsigned number = 0;
    for (size_t i = sizeof("key number ") - 1; i < key.len; i++) {
        number = number * 10 + (unsigned)(key.data[i] - '0');
    }
    cr_assert_lt(number, MANY);
    seen[number]++;
}

Test(store, a_scan_visits_every_live_record_once_and_clearing_frees_them_step_by_step)
{
    struct bench *bench = bench_new(INTERVAL);
    static unsigned seen[MANY];
    char text[32];
    for (unsigned i = 0; i < MANY; i++) {
        (void)bench_put_ttl(bench, many_key(i, text), "v", i % 3 == 0 ? 10 : 0);
    }
    nadb_fake_clock_advance_ms(&bench->clock, 10);
    nadb_store_turn_begin(bench->store);
    uint64_t cursor = 0;
    do {
        cursor = nadb_store_scan(bench->store, bench->db, cursor, count_record, seen);
        cr_assert_lt(cursor, UINT64_C(1) << 63);
    } while (cursor != 0);
    for (unsigned i = 0; i < MANY; i++) {
        cr_assert_eq(seen[i], i % 3 == 0 ? 0 : 1, "key %u", i);
    }
    cr_assert_eq(nadb_keyspace_count(bench->db), MANY, "due ones included");
    while (nadb_store_retire(bench->store, 0)) {
    }
    cr_assert_eq(nadb_keyspace_count(bench->db), MANY - MANY / 3);
    (void)bench_clear(bench);
    cr_assert_eq(nadb_keyspace_count(bench->db), 0);
    (void)bench_put(bench, many_key(1, text), "after");
    unsigned steps = 0;
    for (bool has_more = true; has_more; steps++) {
        nadb_store_turn_begin(bench->store);
        has_more = nadb_store_step(bench->store, 0);
        bench_check(bench);
    }
    cr_assert_gt(steps, 1);
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_restart(bench, INTERVAL);
    cr_assert_eq(nadb_keyspace_count(bench->db), 1);
    cr_assert(bench_has(bench, many_key(1, text), "after"));
    cr_assert_not_null(nadb_store_random(bench->store, bench->db));
    cr_assert_null(nadb_store_random(bench->store, bench_keyspace(bench, 1, "")));
    bench_free(bench);
}

Test(store, clearing_while_a_flush_is_in_flight_takes_away_what_it_writes)
{
    struct bench *bench = bench_new(INTERVAL);
    char text[32];
    for (unsigned i = 0; i < MANY; i++) {
        (void)bench_put(bench, many_key(i, text), "v");
    }
    nadb_fake_clock_advance_ms(&bench->clock, BENCH_INTERVAL_MS);
    bench_turn(bench);
    for (unsigned i = 0; i < MANY; i += 2) {
        (void)bench_put(bench, many_key(i, text), "w");
    }
    (void)bench_clear(bench);
    while (nadb_store_step(bench->store, 0)) {
        bench_check(bench);
    }
    bench_finish_job(bench);
    bench_settle(bench);
    (void)bench_flush(bench);
    bench_settle(bench);
    cr_assert_eq(bench_puts_on_disk(bench, many_key(2, text)), 1, "the second was never written");
    bench_restart(bench, INTERVAL);
    cr_assert_eq(nadb_keyspace_count(bench->db), 0);
    bench_free(bench);
}

Test(store, an_opening_that_fails_says_so_and_leaves_a_store_that_can_be_freed)
{
    struct bench *bench = bench_new(INTERVAL);
    bench_kill(bench);
    bench->disk.does_open_fail = true;
    bench_open(bench, INTERVAL);
    cr_assert_eq(bench->told.opened_err, NADB_EIO);
    bench_free(bench);
}

Test(store, a_log_that_contradicts_itself_is_refused)
{
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "1");
    (void)bench_flush(bench);
    bench_settle(bench);
    bench_kill(bench);
    bench->disk.batches[0].entries[0].keyspace = 9; /* its NAME, not its records */
    bench_open(bench, INTERVAL);
    cr_assert_eq(bench->told.opened_err, NADB_ECORRUPT);
    bench_free(bench);
}

Test(store, when_memory_is_short_a_long_value_is_refused_and_the_old_one_stays)
{
    static char text[NADB_REC_INLINE_MAX + 2];
    memset(text, 'x', sizeof(text) - 1);
    struct bench *bench = bench_new(INTERVAL);
    (void)bench_put(bench, "a", "old");
    begin(bench);
    struct nadb_key key = bench_key(bench, "a");
    struct nadb_put p = {.value = nadb_slice_cstr(text), .tags = NADB_SLICE("\1\0t")};
    for (unsigned nth = 1; nth <= 2; nth++) {
        nadb_mem_fail_at(nth);
        cr_assert_eq(nadb_store_put(bench->store, bench->db, &key, &p), NADB_ENOMEM);
    }
    nadb_mem_fail_at(1);
    cr_assert_null(nadb_store_edit(bench->store, bench->db, &key, sizeof(text)));
    nadb_mem_fail_at(0);
    end(bench);
    cr_assert(bench_has(bench, "a", "old"));
    bench_free(bench);
}
