/* This file is the clients of the simulation: what they do, and what they must be answered. */
#include <stdio.h>

#include "src/base/glob.h"
#include "src/base/mem.h"
#include "tests/sim/sim.h"

/* Once in so many changes the next ones all overwrite a few keys. */
#define OVERWRITE_EVERY  400u
#define OVERWRITES_MAX   300u
#define OVERWRITTEN_KEYS 3u

#define COMMANDS_EACH_TURN 4u
#define LONG_KEY_LEN       300u

/* ---- names ---- */

struct nadb_keyspace *sim_keyspace(struct sim *sim, unsigned keyspace)
{
    struct nadb_slice name = keyspace % SIM_NAMES == 0 ? NADB_SLICE("") : NADB_SLICE("space");
    struct nadb_keyspace *found = nadb_store_keyspace(sim->store, keyspace / SIM_NAMES, name, true);
    SIM_CHECK(sim, found != NULL, "keyspace %u cannot be made", keyspace);
    return found;
}

struct nadb_key sim_key(struct sim *sim, unsigned key)
{
    static const char names[SIM_KEYS][8] = {
        "", "\0\r\n", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9"};
    static const char long_name[LONG_KEY_LEN] = {'l', 'o', 'n', 'g'};
    if (key == 2) {
        return nadb_store_key(sim->store, nadb_slice_of(long_name, sizeof(long_name)));
    }
    return nadb_store_key(sim->store, nadb_slice_of(names[key], key == 0 ? 0 : key == 1 ? 3 : 2));
}

/* ---- looking ---- */

const char *sim_differs(const struct sim_cell *cell, const struct nadb_rec *rec)
{
    if (rec == NULL || cell->uid == 0) {
        return rec != NULL      ? "a key that must not be there"
               : cell->uid != 0 ? "a key is lost"
                                : NULL;
    }
    /* A cold value is looked at where it is read. */
    bool is_value_right =
        nadb_rec_is_cold(rec) || sim_value_is(cell->value, cell->len, nadb_rec_value(rec));
    return rec->value_len != cell->len                                ? "length of the value"
           : !is_value_right                                          ? "bytes of the value"
           : nadb_rec_expire_ms(rec) != cell->expire_ms               ? "deadline"
           : !nadb_slice_eq(nadb_rec_tags(rec), sim_tags(cell->tags)) ? "tags"
                                                                      : NULL;
}

bool sim_has_value(struct sim *sim, unsigned keyspace, unsigned key)
{
    struct nadb_key name = sim_key(sim, key);
    struct nadb_keyspace *found = sim_keyspace(sim, keyspace);
    nadb_index_slot slot = nadb_index_find(&found->space->index, name.name, name.hash);
    if (slot == NULL || !nadb_rec_is_cold(nadb_index_rec(slot))) {
        return true;
    }
    if (nadb_faulty_will_crash(sim->faulty)) {
        return false; /* a job may crash, a command may not */
    }
    struct nadb_error error;
    bool is_good = nadb_store_fetch_now(sim->store, found, &name, &error) == NADB_OK;
    SIM_CHECK(sim, is_good || sim->has_faults || nadb_faulty_is_crashed(sim->faulty),
        "%u/%u cannot be read: %s", keyspace, key, error.text);
    return is_good;
}

static struct sim_cell *cell_at(struct sim *sim, unsigned keyspace, unsigned key)
{
    return &sim->model.now.cells[keyspace][key];
}

/* The cell, with what the store does about its deadline at the time of this turn. To be followed
 * by a call on the store that looks the key up. */
static struct sim_cell *resolve(struct sim *sim, unsigned keyspace, unsigned key)
{
    struct sim_cell *cell = cell_at(sim, keyspace, key);
    if (cell->uid == 0 || cell->expire_ms == 0) {
        return cell;
    }
    bool is_due = cell->expire_ms <= nadb_store_now_ms(sim->store);
    if (!is_due && sim_model_may_be_gone(&sim->model, cell)) {
        struct nadb_key name = sim_key(sim, key);
        is_due = nadb_store_peek(sim->store, sim_keyspace(sim, keyspace), &name) == NULL;
    }
    if (is_due) {
        sim_trace(sim, "%u/%u has expired", keyspace, key);
        sim_model_report_gone(&sim->model, cell);
    }
    return cell;
}

/* ---- bookkeeping of changes ---- */

static void touch_watchers(struct sim *sim, unsigned keyspace, unsigned key, bool must)
{
    for (size_t w = 0; w < SIM_WATCHERS; w++) {
        struct sim_watcher *watcher = &sim->watchers[w];
        for (size_t i = 0; i < watcher->count; i++) {
            if (watcher->watched[i].keyspace == keyspace && watcher->watched[i].key == key) {
                watcher->must_be_dirty |= must;
                watcher->may_be_dirty = true;
            }
        }
    }
}

static void note_touch(struct sim *sim, unsigned keyspace, unsigned key)
{
    sim->touches[keyspace][key] =
        (struct sim_touch){sim->store->version, sim->store->durability == NADB_DURABILITY_ALWAYS};
}

static void note_change(struct sim *sim, unsigned keyspace, unsigned key)
{
    note_touch(sim, keyspace, key);
    touch_watchers(sim, keyspace, key, true);
    sim->counts.changes++;
}

/* ---- commands on keys ---- */

static uint64_t some_deadline(struct sim *sim)
{
    uint64_t now_ms = nadb_store_now_ms(sim->store);
    switch (sim_below(sim, 8)) {
    case 0:
        return now_ms - sim_below(sim, 100); /* has passed */
    case 1:
    case 2:
        return now_ms + 1 + sim_below(sim, 20);
    case 3:
    case 4:
        return now_ms + sim_below(sim, 10000);
    case 5:
        return now_ms + sim_below(sim, UINT64_C(1) << 40);
    default:
        return 0;
    }
}

static size_t some_len(struct sim *sim)
{
    return sim_chance(sim, 10) ? sim_below(sim, SIM_VALUE_LEN_MAX + 1) : sim_below(sim, 60);
}

static void do_put(struct sim *sim, unsigned keyspace, unsigned key)
{
    struct sim_cell *cell = resolve(sim, keyspace, key);
    char bytes[SIM_VALUE_LEN_MAX];
    struct sim_cell next = {
        .value = (uint32_t)nadb_rng_next(&sim->rng),
        .len = (uint32_t)some_len(sim),
        .tags = (uint32_t)sim_below(sim, SIM_TAG_SETS),
        .expire_ms = sim->overwrites > 0 ? 0 : some_deadline(sim),
    };
    sim_value_fill(next.value, bytes, next.len);
    struct nadb_put put = {
        .value = nadb_slice_of(bytes, next.len),
        .expire_ms = next.expire_ms,
        .keep_ttl = sim_chance(sim, 20),
        .keep_tags = sim_chance(sim, 20),
        .tags = sim_tags(next.tags),
    };
    next.expire_ms = put.keep_ttl ? cell->expire_ms : next.expire_ms;
    next.tags = put.keep_tags ? cell->tags : next.tags;
    sim_trace(sim, "put %u/%u, %u bytes, deadline %llu", keyspace, key, next.len,
        (unsigned long long)next.expire_ms);
    struct nadb_key name = sim_key(sim, key);
    enum nadb_err err = nadb_store_put(sim->store, sim_keyspace(sim, keyspace), &name, &put);
    SIM_CHECK(sim, err == NADB_OK, "put");
    if (next.expire_ms != 0 && next.expire_ms <= nadb_store_now_ms(sim->store)) {
        if (cell->uid != 0) {
            *cell = (struct sim_cell){0};
            note_change(sim, keyspace, key);
        }
        return;
    }
    *cell = next;
    sim_model_renew(&sim->model, cell);
    note_change(sim, keyspace, key);
}

/* The command shows what was done to the key; the reply must wait until that is durable. */
static void check_hold(const struct sim *sim, unsigned keyspace, unsigned key)
{
    struct sim_touch touch = sim->touches[keyspace][key];
    SIM_CHECK(sim,
        !touch.is_always || touch.version <= sim->store->durable ||
            sim->store->cmd_hold >= touch.version,
        "read of %u/%u is not held for version %llu", keyspace, key,
        (unsigned long long)touch.version);
}

static void do_delete(struct sim *sim, unsigned keyspace, unsigned key)
{
    struct sim_cell *cell = resolve(sim, keyspace, key);
    struct nadb_key name = sim_key(sim, key);
    bool was_there = nadb_store_delete(sim->store, sim_keyspace(sim, keyspace), &name);
    sim_trace(sim, "delete %u/%u: %d", keyspace, key, was_there);
    SIM_CHECK(sim, was_there == (cell->uid != 0), "delete of %u/%u", keyspace, key);
    if (!was_there) {
        check_hold(sim, keyspace, key);
    } else {
        *cell = (struct sim_cell){0};
        note_change(sim, keyspace, key);
    }
}

static void do_edit(struct sim *sim, unsigned keyspace, unsigned key)
{
    if (!sim_has_value(sim, keyspace, key)) {
        return;
    }
    struct sim_cell *cell = resolve(sim, keyspace, key);
    struct nadb_key name = sim_key(sim, key);
    size_t len = sim_chance(sim, 70) ? cell->len + sim_below(sim, 20) : some_len(sim);
    len = len > SIM_VALUE_LEN_MAX ? SIM_VALUE_LEN_MAX : len;
    sim_trace(sim, "edit %u/%u, %zu bytes", keyspace, key, len);
    char *room = nadb_store_edit(sim->store, sim_keyspace(sim, keyspace), &name, len);
    SIM_CHECK(sim, room != NULL, "edit");
    size_t kept = len < cell->len ? len : cell->len;
    SIM_CHECK(sim, sim_value_is(cell->value, kept, nadb_slice_of(room, len)),
        "edit of %u/%u: kept bytes", keyspace, key);
    for (size_t i = kept; i < len; i++) {
        SIM_CHECK(sim, room[i] == 0, "edit of %u/%u: new bytes", keyspace, key);
    }
    cell->value = (uint32_t)nadb_rng_next(&sim->rng);
    cell->len = (uint32_t)len;
    sim_value_fill(cell->value, room, len);
    sim_model_renew(&sim->model, cell);
    note_change(sim, keyspace, key);
}

static void do_expire(struct sim *sim, unsigned keyspace, unsigned key)
{
    if (!sim_has_value(sim, keyspace, key)) {
        return;
    }
    struct sim_cell *cell = resolve(sim, keyspace, key);
    struct nadb_key name = sim_key(sim, key);
    uint64_t expire_ms = some_deadline(sim);
    bool was_there = nadb_store_expire(sim->store, sim_keyspace(sim, keyspace), &name, expire_ms);
    sim_trace(sim, "deadline %u/%u: %llu", keyspace, key, (unsigned long long)expire_ms);
    SIM_CHECK(sim, was_there == (cell->uid != 0), "deadline of %u/%u", keyspace, key);
    if (!was_there) {
        return;
    }
    if (expire_ms != 0 && expire_ms <= nadb_store_now_ms(sim->store)) {
        *cell = (struct sim_cell){0};
        note_change(sim, keyspace, key);
    } else if (expire_ms == cell->expire_ms) {
        touch_watchers(sim, keyspace, key, true);
    } else {
        cell->expire_ms = expire_ms;
        sim_model_renew(&sim->model, cell);
        note_change(sim, keyspace, key);
    }
}

static void do_read(struct sim *sim, unsigned keyspace, unsigned key)
{
    if (!sim_has_value(sim, keyspace, key)) {
        return;
    }
    struct sim_cell *cell = resolve(sim, keyspace, key);
    struct nadb_key name = sim_key(sim, key);
    struct nadb_keyspace *space = sim_keyspace(sim, keyspace);
    nadb_store_prefetch_slot(space, name.hash);
    nadb_store_prefetch_record(space, name.hash);
    const struct nadb_rec *rec = nadb_store_read(sim->store, space, &name);
    const char *reason = sim_differs(cell, rec);
    SIM_CHECK(sim, reason == NULL, "read of %u/%u: %s", keyspace, key, reason);
    check_hold(sim, keyspace, key);
}

static void do_copy(struct sim *sim, unsigned keyspace, unsigned key)
{
    if (!sim_has_value(sim, keyspace, key)) {
        return;
    }
    unsigned to_keyspace = (unsigned)sim_below(sim, SIM_KEYSPACES);
    unsigned to_key = (unsigned)sim_below(sim, SIM_KEYS);
    struct sim_cell *from = cell_at(sim, keyspace, key);
    struct sim_cell *to = cell_at(sim, to_keyspace, to_key);
    do_read(sim, keyspace, key);
    if (from->uid == 0 || from == to) {
        return;
    }
    (void)resolve(sim, to_keyspace, to_key);
    bool is_move = sim_chance(sim, 50);
    sim_trace(
        sim, "%s %u/%u to %u/%u", is_move ? "move" : "copy", keyspace, key, to_keyspace, to_key);
    struct nadb_key from_name = sim_key(sim, key);
    struct nadb_key to_name = sim_key(sim, to_key);
    enum nadb_err err = nadb_store_copy(sim->store, sim_keyspace(sim, keyspace), &from_name,
        sim_keyspace(sim, to_keyspace), &to_name, is_move);
    SIM_CHECK(sim, err == NADB_OK, "copy");
    *to = *from;
    sim_model_renew(&sim->model, to);
    note_change(sim, to_keyspace, to_key);
    sim->touches[to_keyspace][to_key].version -= is_move; /* the removal came after it */
    if (is_move) {
        *from = (struct sim_cell){0};
        note_change(sim, keyspace, key);
    }
}

/* ---- commands on keyspaces ---- */

/* Everything in the keyspace is gone. */
static void note_emptied(struct sim *sim, unsigned keyspace)
{
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        struct sim_cell *cell = cell_at(sim, keyspace, key);
        if (cell->uid != 0) {
            touch_watchers(sim, keyspace, key, !sim_model_may_be_gone(&sim->model, cell));
        }
        *cell = (struct sim_cell){0};
        note_touch(sim, keyspace, key);
    }
    sim->counts.changes++;
}

static void do_clear(struct sim *sim, unsigned keyspace)
{
    bool is_drop = sim_chance(sim, 50);
    sim_trace(sim, "%s %u", is_drop ? "drop" : "clear", keyspace);
    struct nadb_keyspace *space = sim_keyspace(sim, keyspace);
    bool was_empty = nadb_keyspace_count(space) == 0;
    uint64_t count =
        is_drop ? nadb_store_drop(sim->store, space) : nadb_store_clear(sim->store, space);
    SIM_CHECK(sim, (count == 0) == was_empty && nadb_keyspace_count(space) == 0, "clear");
    if (!was_empty) {
        note_emptied(sim, keyspace);
        return;
    }
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        struct sim_cell *cell = cell_at(sim, keyspace, key);
        if (cell->uid != 0) {
            SIM_CHECK(
                sim, sim_model_may_be_gone(&sim->model, cell), "%u/%u is lost", keyspace, key);
            sim_model_report_gone(&sim->model, cell);
        }
    }
}

static void do_swap(struct sim *sim)
{
    unsigned db_a = (unsigned)sim_below(sim, SIM_DATABASES);
    unsigned db_b = (unsigned)sim_below(sim, SIM_DATABASES);
    sim_trace(sim, "swap %u and %u", db_a, db_b);
    uint64_t version = sim->store->version;
    nadb_store_swap(sim->store, db_a, db_b);
    if (sim->store->version == version) {
        for (unsigned i = 0; db_a != db_b && i < SIM_NAMES * SIM_KEYS; i++) {
            SIM_CHECK(sim,
                cell_at(sim, db_a * SIM_NAMES + i / SIM_KEYS, i % SIM_KEYS)->uid == 0 &&
                    cell_at(sim, db_b * SIM_NAMES + i / SIM_KEYS, i % SIM_KEYS)->uid == 0,
                "swap of %u and %u is no change", db_a, db_b);
        }
        return;
    }
    for (unsigned i = 0; i < SIM_NAMES * SIM_KEYS; i++) {
        unsigned a = db_a * SIM_NAMES + i / SIM_KEYS;
        unsigned b = db_b * SIM_NAMES + i / SIM_KEYS;
        unsigned key = i % SIM_KEYS;
        struct sim_cell *cell_a = cell_at(sim, a, key);
        struct sim_cell *cell_b = cell_at(sim, b, key);
        bool must = (cell_a->uid != 0 && !sim_model_may_be_gone(&sim->model, cell_a)) ||
                    (cell_b->uid != 0 && !sim_model_may_be_gone(&sim->model, cell_b));
        if (cell_a->uid != 0 || cell_b->uid != 0) {
            touch_watchers(sim, a, key, must);
            touch_watchers(sim, b, key, must);
        }
        struct sim_cell cell = *cell_a;
        *cell_a = *cell_b;
        *cell_b = cell;
        note_touch(sim, a, key);
        note_touch(sim, b, key);
    }
    sim->counts.changes++;
}

/* ---- tags ---- */

static const struct nadb_slice tag_names[] = {{"one", 3}, {"two", 3}, {"x", 1}, {"none", 4}};

#define TAG_NAMES NADB_ARRAY_LEN(tag_names)

static void some_selector(struct sim *sim, struct nadb_selector *selector)
{
    static const struct nadb_slice texts[] = {
        {"*", 1},
        {"!one", 4},
        {"one & !two", 10},
        {"one | x", 7},
        {"!(one | x)", 10},
        {"* & !none", 9},
        {"two & one | none", 16},
        {"!one & !two & !x", 16},
    };
    nadb_selector_init(selector);
    struct nadb_slice tags[2];
    size_t count = 1 + (size_t)sim_below(sim, 2);
    for (size_t i = 0; i < count; i++) {
        tags[i] = tag_names[sim_below(sim, TAG_NAMES)];
    }
    bool is_list = sim_chance(sim, 50);
    struct nadb_slice text = texts[sim_below(sim, NADB_ARRAY_LEN(texts))];
    enum nadb_err err = is_list
                            ? nadb_selector_list(selector, sim_chance(sim, 50), tags, count, NULL)
                            : nadb_selector_parse(selector, text, NULL, 0, NULL);
    SIM_CHECK(sim, err == NADB_OK, "selector");
}

static bool is_selected(struct sim *sim, const struct nadb_selector *selector,
    struct nadb_slice pattern, unsigned keyspace, unsigned key)
{
    const struct sim_cell *cell = cell_at(sim, keyspace, key);
    return cell->uid != 0 && nadb_selector_matches(selector, sim_tags(cell->tags)) &&
           (pattern.data == NULL || nadb_glob_match(pattern, sim_key(sim, key).name));
}

/* Everything that is due is gone, as before every selection; returns how many are selected. */
static uint64_t count_selected(struct sim *sim, const struct nadb_selector *selector,
    struct nadb_slice pattern, unsigned keyspace)
{
    while (nadb_store_retire(sim->store, UINT64_MAX)) {
    }
    uint64_t count = 0;
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        (void)resolve(sim, keyspace, key);
        count += is_selected(sim, selector, pattern, keyspace, key) ? 1 : 0;
    }
    return count;
}

static void do_set_tags(struct sim *sim, unsigned keyspace, unsigned key)
{
    if (!sim_has_value(sim, keyspace, key)) {
        return;
    }
    struct sim_cell *cell = resolve(sim, keyspace, key);
    struct nadb_key name = sim_key(sim, key);
    uint32_t tags = (uint32_t)sim_below(sim, SIM_TAG_SETS);
    enum nadb_err err;
    bool was_there =
        nadb_store_set_tags(sim->store, sim_keyspace(sim, keyspace), &name, sim_tags(tags), &err);
    sim_trace(sim, "tags %u/%u: %u", keyspace, key, tags);
    SIM_CHECK(sim, err == NADB_OK && was_there == (cell->uid != 0), "tags of %u/%u", keyspace, key);
    if (was_there && cell->tags != tags) {
        cell->tags = tags;
        sim_model_renew(&sim->model, cell);
        note_change(sim, keyspace, key);
    }
}

static void do_change_of(struct sim *sim, unsigned keyspace, unsigned key)
{
    if (sim_chance(sim, 60)) {
        do_put(sim, keyspace, key);
    } else if (sim_chance(sim, 50)) {
        do_delete(sim, keyspace, key);
    } else {
        do_set_tags(sim, keyspace, key);
    }
}

/* In slices, with changes in between, when the store takes it so. */
static void do_invalidate(struct sim *sim, unsigned keyspace)
{
    struct nadb_selector selector;
    some_selector(sim, &selector);
    const struct nadb_invalidate_opts opts = {
        .selector = &selector,
        .pattern = sim_chance(sim, 40) ? NADB_SLICE("k[3-7]") : nadb_slice_of(NULL, 0),
        .is_dry_run = sim_chance(sim, 15),
        .may_yield = sim_chance(sim, 70),
    };
    struct nadb_invalidation *progress = NULL;
    uint64_t expected;
    uint64_t version;
    uint64_t count = 0;
    enum nadb_invalidate_outcome outcome;
    for (unsigned tries = 0;; tries++) {
        expected = count_selected(sim, &selector, opts.pattern, keyspace);
        version = sim->store->version;
        outcome = nadb_store_invalidate(
            sim->store, sim_keyspace(sim, keyspace), &opts, &progress, &count, NULL);
        if (outcome != NADB_INVALIDATE_AGAIN || tries == SIM_KEYS) {
            break;
        }
        do_change_of(sim, keyspace, (unsigned)sim_below(sim, SIM_KEYS));
    }
    sim_trace(sim, "invalidate %u: outcome %d, %llu keys%s", keyspace, (int)outcome,
        (unsigned long long)count, opts.is_dry_run ? ", dry" : "");
    if (outcome == NADB_INVALIDATE_AGAIN) {
        nadb_invalidation_free(progress);
    } else {
        SIM_CHECK(sim, outcome == NADB_INVALIDATE_DONE && count == expected,
            "invalidation of %llu keys counts %llu", (unsigned long long)expected,
            (unsigned long long)count);
    }
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        if (outcome == NADB_INVALIDATE_DONE && !opts.is_dry_run &&
            is_selected(sim, &selector, opts.pattern, keyspace, key)) {
            *cell_at(sim, keyspace, key) = (struct sim_cell){0};
            note_change(sim, keyspace, key);
            /* Each may have a version of its own; they are of one batch. */
            sim->touches[keyspace][key].version = version + 1;
        }
    }
    nadb_selector_fini(&selector);
}

struct selection {
    struct sim *sim;
    unsigned seen[SIM_KEYS];
};

static void note_selected(void *ctx, const struct nadb_rec *rec)
{
    struct selection *selection = ctx;
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        if (nadb_slice_eq(sim_key(selection->sim, key).name, nadb_rec_key(rec))) {
            selection->seen[key]++;
        }
    }
}

static void do_query(struct sim *sim, unsigned keyspace)
{
    struct nadb_selector selector;
    some_selector(sim, &selector);
    struct nadb_slice all = nadb_slice_of(NULL, 0);
    uint64_t expected = count_selected(sim, &selector, all, keyspace);
    struct nadb_keyspace *space = sim_keyspace(sim, keyspace);
    struct nadb_query query;
    enum nadb_err err = nadb_query_init(&query, sim->store, space, &selector, NULL);
    SIM_CHECK(sim, err == NADB_OK, "query");
    uint64_t count = nadb_query_count(&query, space);
    SIM_CHECK(sim, count == expected, "query of %llu keys counts %llu",
        (unsigned long long)expected, (unsigned long long)count);
    struct selection selection = {.sim = sim};
    while (nadb_query_visit(&query, sim->store, space, &selector, 1 + (size_t)sim_below(sim, 4),
        note_selected, &selection)) {
    }
    nadb_query_fini(&query);
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        check_hold(sim, keyspace, key);
        SIM_CHECK(sim, selection.seen[key] == is_selected(sim, &selector, all, keyspace, key),
            "query of %u: key %u, %u times", keyspace, key, selection.seen[key]);
    }
    nadb_selector_fini(&selector);
    for (size_t i = 0; i < TAG_NAMES; i++) {
        nadb_selector_init(&selector);
        err = nadb_selector_list(&selector, true, &tag_names[i], 1, NULL);
        SIM_CHECK(sim, err == NADB_OK, "selector");
        expected = count_selected(sim, &selector, all, keyspace);
        SIM_CHECK(sim, nadb_store_tag_count(sim->store, space, tag_names[i]) == expected,
            "count of tag %zu in %u is not %llu", i, keyspace, (unsigned long long)expected);
        nadb_selector_fini(&selector);
    }
}

/* ---- looking at everything ---- */

struct scan {
    struct sim *sim;
    unsigned keyspace;
    unsigned seen[SIM_KEYS];
};

static void scan_record(void *ctx, const struct nadb_rec *rec)
{
    struct scan *scan = ctx;
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        if (nadb_slice_eq(sim_key(scan->sim, key).name, nadb_rec_key(rec))) {
            scan->seen[key]++;
            return;
        }
    }
    SIM_CHECK(scan->sim, false, "keyspace %u has a key that nobody put", scan->keyspace);
}

static void do_scan(struct sim *sim, unsigned keyspace)
{
    struct scan scan = {.sim = sim, .keyspace = keyspace};
    struct nadb_keyspace *space = sim_keyspace(sim, keyspace);
    uint64_t cursor = 0;
    do {
        cursor = nadb_store_scan(sim->store, space, cursor, scan_record, &scan);
    } while (cursor != 0);
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        const struct sim_cell *cell = cell_at(sim, keyspace, key);
        check_hold(sim, keyspace, key);
        if (cell->expire_ms != 0 && cell->expire_ms <= nadb_store_now_ms(sim->store)) {
            SIM_CHECK(sim, scan.seen[key] == 0, "scan of %u: key %u is due", keyspace, key);
            continue; /* not listed, which is not to say that it was noticed */
        }
        cell = resolve(sim, keyspace, key);
        SIM_CHECK(sim, scan.seen[key] == (cell->uid != 0 ? 1 : 0), "scan of %u: key %u, %u times",
            keyspace, key, scan.seen[key]);
    }
}

/* What a record's place says is read back. */
static void check_place(void *ctx, struct nadb_rec *rec)
{
    struct sim *sim = ctx;
    if (!nadb_store__is_placed(rec)) {
        return;
    }
    char *value = nadb_mem_alloc(rec->value_len + 1);
    struct nadb_read read = {
        .loc = nadb_rec_place(rec),
        .version = rec->version,
        .key = nadb_rec_key(rec),
        .value_len = rec->value_len,
        .value = value,
    };
    sim->store->backend_ops->read(sim->store->backend, &read, 1);
    SIM_CHECK(sim, read.err == NADB_OK, "'%.*s' cannot be read back: %s", (int)read.key.len,
        read.key.data, read.error.text);
    SIM_CHECK(sim,
        nadb_rec_is_cold(rec) ||
            nadb_slice_eq(nadb_slice_of(value, rec->value_len), nadb_rec_value(rec)),
        "'%.*s' is another value on disk", (int)read.key.len, read.key.data);
    nadb_mem_free(value);
}

static void check_places(struct sim *sim)
{
    for (size_t i = 0; i < sim->store->keyspace_count; i++) {
        const struct nadb_index *index = &sim->store->keyspaces[i]->space->index;
        uint64_t at = 0;
        do {
            at = nadb_index_visit(index, at, SIZE_MAX, check_place, sim);
        } while (at != 0);
    }
}

void sim_compare(struct sim *sim)
{
    nadb_store_turn_begin(sim->store);
    nadb_store_command_begin(sim->store);
    for (unsigned keyspace = 0; keyspace < SIM_KEYSPACES; keyspace++) {
        for (unsigned key = 0; key < SIM_KEYS; key++) {
            do_read(sim, keyspace, key);
        }
        do_scan(sim, keyspace);
    }
    (void)nadb_store_command_end(sim->store);
    const char *reason = NULL;
    SIM_CHECK(sim, nadb_store__check(sim->store, &reason), "%s", reason);
    if (!sim->has_faults && !nadb_faulty_is_crashed(sim->faulty) &&
        !nadb_faulty_will_crash(sim->faulty)) {
        check_places(sim);
    }
    sim_model_push(&sim->model, sim->store->version);
}

/* ---- WATCH ---- */

void sim_unwatch_all(struct sim *sim)
{
    for (size_t i = 0; i < SIM_WATCHERS; i++) {
        nadb_store_unwatch(sim->store, &sim->watchers[i].watcher);
        sim->watchers[i] = (struct sim_watcher){0};
    }
}

void sim_watchers_may_be_dirty(struct sim *sim)
{
    for (size_t i = 0; i < SIM_WATCHERS; i++) {
        sim->watchers[i].may_be_dirty = true;
    }
}

static void do_watch(struct sim *sim, unsigned keyspace, unsigned key)
{
    struct sim_watcher *watcher = &sim->watchers[sim_below(sim, SIM_WATCHERS)];
    if (watcher->count < SIM_WATCHED && sim_chance(sim, 60)) {
        const struct sim_cell *cell = resolve(sim, keyspace, key);
        struct nadb_key name = sim_key(sim, key);
        nadb_store_watch(sim->store, &watcher->watcher, sim_keyspace(sim, keyspace), &name);
        watcher->watched[watcher->count].keyspace = keyspace;
        watcher->watched[watcher->count++].key = key;
        watcher->may_be_dirty |= cell->expire_ms != 0;
        return;
    }
    bool is_dirty = nadb_store_watch_is_dirty(sim->store, &watcher->watcher);
    for (size_t i = 0; i < watcher->count; i++) {
        check_hold(sim, watcher->watched[i].keyspace, watcher->watched[i].key);
    }
    SIM_CHECK(sim, is_dirty || !watcher->must_be_dirty, "a watched key changed unnoticed");
    SIM_CHECK(sim, !is_dirty || watcher->may_be_dirty, "no watched key changed");
    nadb_store_unwatch(sim->store, &watcher->watcher);
    *watcher = (struct sim_watcher){0};
}

/* ---- commands ---- */

static void do_change(struct sim *sim)
{
    if (sim->overwrites > 0) {
        sim->overwrites--;
        do_put(sim, 0, (unsigned)sim_below(sim, OVERWRITTEN_KEYS));
        return;
    }
    if (sim_below(sim, OVERWRITE_EVERY) == 0) {
        sim->overwrites = sim_below(sim, OVERWRITES_MAX);
    }
    unsigned keyspace = sim_chance(sim, 50) ? 0 : (unsigned)sim_below(sim, SIM_KEYSPACES);
    unsigned key = (unsigned)sim_below(sim, SIM_KEYS);
    uint64_t which = sim_below(sim, 100);
    if (which < 45) {
        do_put(sim, keyspace, key);
    } else if (which < 60) {
        do_delete(sim, keyspace, key);
    } else if (which < 75) {
        do_edit(sim, keyspace, key);
    } else if (which < 85) {
        do_expire(sim, keyspace, key);
    } else if (which < 89) {
        do_copy(sim, keyspace, key);
    } else if (which < 92) {
        do_set_tags(sim, keyspace, key);
    } else if (which < 95) {
        do_invalidate(sim, keyspace);
    } else if (which < 97) {
        do_clear(sim, keyspace);
    } else {
        do_swap(sim);
    }
}

/* Somebody wants values that are on disk; what comes of it is seen when they are read. */
static void do_fetch(struct sim *sim)
{
    for (uint64_t i = 1 + sim_below(sim, 40); i > 0; i--) {
        struct nadb_key key = sim_key(sim, (unsigned)sim_below(sim, SIM_KEYS));
        struct nadb_error error;
        (void)nadb_store_fetch(
            sim->store, sim_keyspace(sim, (unsigned)sim_below(sim, SIM_KEYSPACES)), &key, &error);
    }
}

static void do_look(struct sim *sim)
{
    unsigned keyspace = (unsigned)sim_below(sim, SIM_KEYSPACES);
    unsigned key = (unsigned)sim_below(sim, SIM_KEYS);
    switch (sim_below(sim, 8)) {
    case 7:
        do_fetch(sim);
        break;
    case 6:
        do_query(sim, keyspace);
        break;
    case 0:
        do_scan(sim, keyspace);
        break;
    case 1:
        do_watch(sim, keyspace, key);
        break;
    default:
        do_read(sim, keyspace, key);
        break;
    }
}

/* May it write now? What the store says must have a reason. */
static bool is_admitted(struct sim *sim)
{
    struct nadb_error error;
    bool is_growing = sim_chance(sim, 80);
    switch (nadb_store_admit(sim->store, is_growing, &error)) {
    case NADB_ADMIT:
        return true;
    case NADB_ADMIT_WAIT:
        SIM_CHECK(sim,
            nadb_inline_executor_pending(&sim->exec) > 0 || sim->store->buf.count > 0 ||
                sim->store->pace.is_waited_for,
            "waiting for nothing");
        return false;
    case NADB_ADMIT_REFUSE:
        sim->counts.refusals++;
        SIM_CHECK(sim, sim->had_faults, "refused without a reason: %s", error.text);
        SIM_CHECK(sim, error.code == NADB_ENOSPC, "refused with %s", nadb_err_name(error.code));
        return false;
    }
    return false;
}

static void run_command(struct sim *sim)
{
    struct nadb_store *store = sim->store;
    uint64_t changes = sim->counts.changes;
    bool is_writing = sim_chance(sim, 65) && is_admitted(sim);
    bool is_flush = !is_writing && sim_chance(sim, 8);
    nadb_store_command_begin(store);
    for (uint64_t i = sim_chance(sim, 20) ? sim_below(sim, 6) + 1 : 1; i > 0; i--) {
        if (is_writing && sim_chance(sim, 80)) {
            do_change(sim);
        } else {
            do_look(sim);
        }
    }
    if (is_flush) {
        nadb_store_flush(store);
    }
    uint64_t hold = nadb_store_command_end(store);
    sim->hold_max = hold > sim->hold_max ? hold : sim->hold_max;
    bool is_always = store->durability == NADB_DURABILITY_ALWAYS;
    bool has_changed = sim->counts.changes > changes;
    SIM_CHECK(sim, hold == 0 || hold > store->durable, "held for what is durable");
    SIM_CHECK(sim, hold <= store->version, "held for what nobody has done");
    if (is_flush || (is_always && has_changed)) {
        SIM_CHECK(sim, store->durable == store->version || hold == store->version,
            "a reply that must wait goes at once");
    }
    if (!is_flush && !is_always && store->unsure == 0) {
        SIM_CHECK(sim, hold == 0, "a reply waits that need not");
    }
    sim_model_push(&sim->model, store->version);
}

void sim_turn(struct sim *sim)
{
    nadb_store_turn_begin(sim->store);
    for (uint64_t i = sim_below(sim, COMMANDS_EACH_TURN + 1); i > 0; i--) {
        run_command(sim);
    }
    sim->may_tell = true;
    nadb_store_turn_end(sim->store);
    sim->may_tell = false;
}
