/* This file tests compaction of the fs backend: what it keeps, and what is left when a call of it
 * fails or the machine dies at it. Each key has two versions; the older ones are dropped. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/format.h"
#include "backends/fs/fs.h"
#include "backends/fs/offline.h"
#include "src/base/mem.h"
#include "tests/support/faulty_io.h"
#include "tests/support/fs_listener.h"
#include "tests/support/replay_all.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_compact);

#define KEYS        40u
#define PUTS        (2 * KEYS)
#define VALUE_LEN   200u
#define ENTRIES_MAX 256u /* more than are ever written */
#define CALLS_MAX   400u
#define WALL_LATE   UINT64_C(5000)
#define WALL_EARLY  UINT64_C(1000)

struct rig {
    struct nadb_faulty *faulty;
    struct nadb_backend *backend;
    struct nadb_backend_open_info info;
    uint64_t locs[ENTRIES_MAX]; /* by version */
    uint64_t newest;            /* version */
    unsigned writes_between;    /* publish and end */
    unsigned skipped_first;     /* not 0: segments from this one on with only old versions are
                                   skipped, and nothing else is compacted */
    size_t old_left;            /* old versions that are in other segments */
};

struct put {
    uint64_t version;
    char key[16];
    char value[VALUE_LEN];
};

/* Versions 1 .. KEYS are the keys' first ones. */
static struct nadb_slice key_of(uint64_t version, char out[16])
{
    return nadb_slice_of(
        out, (size_t)snprintf(out, 16, "key-%u", (unsigned)((version - 1) % KEYS)));
}

static void fill(char *value, uint64_t version)
{
    for (size_t i = 0; i < VALUE_LEN; i++) {
        value[i] = (char)(version * 31 + i % (version % 2 == 0 ? 250 : 8));
    }
}

static void put_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct put *put = batch->entry_ctx;
    (void)index;
    *ret = (struct nadb_entry){
        .kind = NADB_ENTRY_PUT,
        .version = put->version,
        .key = nadb_slice_of(put->key, strlen(put->key)),
        .value = nadb_slice_of(put->value, VALUE_LEN),
    };
}

static enum nadb_err write_put(struct rig *rig, uint64_t version, uint64_t wall_ms)
{
    static struct put put;
    put.version = version;
    (void)key_of(version, put.key);
    fill(put.value, version);
    uint64_t loc = 0;
    struct nadb_batch batch = {
        .seq = version,
        .last_version = version,
        .wall_ms = wall_ms,
        .is_sync = true,
        .compression = {.is_on = version % 3 == 0, .level = 6, .threshold_len = 64},
        .count = 1,
        .entry = put_entry,
        .entry_ctx = &put,
        .locs = &loc,
    };
    enum nadb_err err = rig->backend->ops->write(rig->backend, &batch, NULL);
    if (err == NADB_OK) {
        cr_assert_lt(version, ENTRIES_MAX);
        rig->locs[version] = loc;
        rig->newest = version;
    }
    return err;
}

static enum nadb_err open_rig(struct rig *rig)
{
    const struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = 4096};
    rig->backend = nadb_fs_new(&opts, nadb_faulty_io(rig->faulty));
    return rig->backend->ops->open(rig->backend, &rig->info, NULL);
}

static void set_up(struct rig *rig)
{
    *rig = (struct rig){.faulty = nadb_faulty_new(3)};
    cr_assert_eq(open_rig(rig), NADB_OK);
    for (uint64_t version = 1; version <= PUTS; version++) {
        cr_assert_eq(write_put(rig, version, version <= KEYS ? WALL_LATE : WALL_EARLY), NADB_OK);
    }
}

static void tear_down(struct rig *rig)
{
    rig->backend->ops->free(rig->backend);
    nadb_faulty_free(rig->faulty);
}

/* ---- compacting ---- */

static enum nadb_err copy_all(struct rig *rig, struct nadb_compaction *compaction)
{
    const struct nadb_backend_ops *ops = rig->backend->ops;
    bool is_last = false;
    enum nadb_err err = NADB_OK;
    while (err == NADB_OK && !is_last) {
        struct nadb_replay_chunk chunk = {0};
        err = ops->compact->read(compaction, &chunk, NULL);
        if (err != NADB_OK) {
            break;
        }
        is_last = chunk.is_last;
        uint8_t verdicts[ENTRIES_MAX];
        uint64_t locs[ENTRIES_MAX];
        cr_assert_leq(chunk.count, ENTRIES_MAX);
        for (size_t i = 0; i < chunk.count; i++) {
            bool is_old = chunk.entries[i].version <= KEYS;
            verdicts[i] = is_old ? NADB_VERDICT_DROP : NADB_VERDICT_KEEP;
        }
        err = ops->compact->write(compaction, &chunk, verdicts, locs, NULL);
        for (size_t i = 0; err == NADB_OK && i < chunk.count; i++) {
            if (verdicts[i] == NADB_VERDICT_KEEP) {
                rig->locs[chunk.entries[i].version] = locs[i];
            }
        }
        ops->replay_free(&chunk);
    }
    return err;
}

/* Which segments? */
static size_t choose_run(struct rig *rig, const struct nadb_segment_info *list, size_t count,
    uint64_t ids[NADB_COMPACT_RUN_MAX])
{
    size_t first = rig->skipped_first == 0 ? 0 : rig->skipped_first - 1;
    size_t run = 0;
    rig->old_left = rig->skipped_first == 0 ? 0 : KEYS;
    for (size_t i = first; i < count && list[i].is_closed; i++) {
        if (rig->skipped_first != 0 && list[i].last_seq > KEYS) {
            break;
        }
        rig->old_left -= rig->skipped_first == 0 ? 0 : list[i].records;
        ids[run++] = list[i].id;
    }
    return run;
}

/* All closed segments become one; publishing is tried until it succeeds, as the store does. */
static enum nadb_err compact(struct rig *rig)
{
    const struct nadb_backend_ops *ops = rig->backend->ops;
    struct nadb_segment_info *list = NULL;
    size_t count = 0;
    enum nadb_err err = ops->list(rig->backend, true, &list, &count, NULL);
    if (err != NADB_OK) {
        return err;
    }
    uint64_t ids[NADB_COMPACT_RUN_MAX];
    size_t run = choose_run(rig, list, count, ids);
    nadb_mem_free(list);
    uint64_t kept[ENTRIES_MAX];
    memcpy(kept, rig->locs, sizeof(kept));
    const struct nadb_compression compression = {.is_on = true, .level = 6, .threshold_len = 64};
    struct nadb_compaction *compaction = NULL;
    err = ops->compact->begin(rig->backend, ids, run, &compression, &compaction, NULL);
    if (err != NADB_OK) {
        return err;
    }
    struct nadb_compact_result result;
    err =
        rig->skipped_first != 0 ? ops->compact->skip(compaction, NULL) : copy_all(rig, compaction);
    if (err == NADB_OK) {
        err = ops->compact->finish(compaction, &result, NULL);
    }
    if (err != NADB_OK) {
        memcpy(rig->locs, kept, sizeof(kept));
        ops->compact->end(compaction, false);
        return err;
    }
    for (int tries = 0; tries < 3; tries++) {
        err = ops->compact->publish(compaction, NULL);
        if (err == NADB_OK || nadb_faulty_is_crashed(rig->faulty)) {
            break;
        }
    }
    for (unsigned i = 0; err == NADB_OK && i < rig->writes_between; i++) {
        cr_assert_eq(write_put(rig, rig->newest + 1, WALL_EARLY), NADB_OK);
    }
    ops->compact->end(compaction, err == NADB_OK);
    return err;
}

/* ---- looking ---- */

static void expect_value(struct rig *rig, uint64_t version)
{
    char key[16];
    char value[VALUE_LEN];
    char wanted[VALUE_LEN];
    struct nadb_read read = {
        .loc = rig->locs[version],
        .version = version,
        .key = key_of(version, key),
        .value_len = VALUE_LEN,
        .value = value,
    };
    rig->backend->ops->read(rig->backend, &read, 1);
    cr_assert_eq(read.err, NADB_OK, "version %" PRIu64 ": %s", version, read.error.text);
    fill(wanted, version);
    cr_assert_arr_eq(value, wanted, VALUE_LEN);
}

static void expect_newest(struct rig *rig)
{
    for (uint64_t version = KEYS + 1; version <= rig->newest; version++) {
        expect_value(rig, version);
    }
}

struct replayed {
    struct rig *rig;
    uint64_t next; /* version */
    size_t old;
};

static void note_chunk(void *ctx, const struct nadb_replay_chunk *chunk)
{
    struct replayed *replayed = ctx;
    for (size_t i = 0; i < chunk->count; i++) {
        char wanted[VALUE_LEN];
        uint64_t version = chunk->entries[i].version;
        fill(wanted, version);
        cr_assert(nadb_slice_eq(chunk->entries[i].value, nadb_slice_of(wanted, sizeof(wanted))));
        replayed->old += version <= KEYS;
        cr_assert(version <= KEYS || version == replayed->next, "%" PRIu64, version);
        replayed->next += version > KEYS;
        replayed->rig->locs[version] = chunk->locs[i];
    }
}

/* Replays everything: every newest version once, in order, and how many old ones there are. */
static size_t replay(struct rig *rig)
{
    struct replayed replayed = {.rig = rig, .next = KEYS + 1};
    cr_assert_eq(
        nadb_replay_all(rig->backend, rig->info.units, note_chunk, &replayed, NULL), NADB_OK);
    cr_assert_geq(replayed.next, PUTS + 1);
    return replayed.old;
}

Test(fs_compact, what_is_kept_is_read_at_its_new_place_and_found_by_the_next_start)
{
    struct rig rig;
    set_up(&rig);
    uint64_t used = nadb_faulty_used(rig.faulty);
    cr_assert_eq(compact(&rig), NADB_OK);
    cr_assert_lt(nadb_faulty_used(rig.faulty), used);
    expect_newest(&rig);
    cr_assert_eq(write_put(&rig, PUTS + 1, WALL_EARLY), NADB_OK);
    rig.backend->ops->free(rig.backend);
    nadb_faulty_power_cut(rig.faulty);
    cr_assert_eq(open_rig(&rig), NADB_OK);
    cr_assert_eq(replay(&rig), 0);
    expect_newest(&rig);
    tear_down(&rig);
}

Test(fs_compact, a_segment_made_while_the_old_ones_wait_to_be_removed_gets_no_number_of_theirs)
{
    struct rig rig;
    set_up(&rig);
    rig.backend->ops->free(rig.backend); /* numbers are given from the lowest again */
    nadb_faulty_kill(rig.faulty);
    cr_assert_eq(open_rig(&rig), NADB_OK);
    (void)replay(&rig);
    rig.writes_between = 60; /* several segments of them */
    cr_assert_eq(compact(&rig), NADB_OK);
    expect_newest(&rig);
    rig.writes_between = 0;
    cr_assert_eq(compact(&rig), NADB_OK);
    expect_newest(&rig);
    tear_down(&rig);
}

/* Versions up to 20 and above KEYS come early, those between late: what expires between the two
 * times in the first segment must stay dead without the batches that say so. */
Test(fs_compact, a_run_that_is_skipped_leaves_its_times_and_nothing_else)
{
    struct rig rig = {.faulty = nadb_faulty_new(3)};
    cr_assert_eq(open_rig(&rig), NADB_OK);
    for (uint64_t version = 1; version <= PUTS; version++) {
        bool is_late = version > 20 && version <= KEYS;
        cr_assert_eq(write_put(&rig, version, is_late ? WALL_LATE : WALL_EARLY), NADB_OK);
    }
    rig.skipped_first = 2;
    cr_assert_eq(compact(&rig), NADB_OK);
    expect_newest(&rig);
    rig.backend->ops->free(rig.backend);
    nadb_faulty_power_cut(rig.faulty);
    cr_assert_eq(open_rig(&rig), NADB_OK);
    uint64_t cursor = 0;
    struct nadb_replay_chunk chunk;
    cr_assert_eq(rig.backend->ops->replay(rig.backend, 0, &cursor, &chunk, NULL), NADB_OK);
    cr_assert_eq(chunk.entries[0].version, 1);
    cr_assert_eq(chunk.dead_ms[0], WALL_LATE);
    rig.backend->ops->replay_free(&chunk);
    cr_assert_lt(rig.old_left, KEYS);
    cr_assert_eq(replay(&rig), rig.old_left);
    expect_newest(&rig);
    tear_down(&rig);
}

Test(fs_compact, any_call_of_skipping_may_fail_or_be_the_last)
{
    bool is_through = false;
    for (uint64_t nth = 1; !is_through; nth++) {
        cr_assert_lt(nth, CALLS_MAX);
        for (int is_crash = 0; is_crash <= 1; is_crash++) {
            struct rig rig;
            set_up(&rig);
            rig.skipped_first = 2;
            uint64_t before = nadb_faulty_calls(rig.faulty);
            if (is_crash) {
                nadb_faulty_crash_at(rig.faulty, nth);
            } else {
                nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, nth, 1, EIO);
            }
            (void)compact(&rig);
            is_through = nadb_faulty_calls(rig.faulty) - before < nth;
            nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, 0, 0, 0);
            rig.backend->ops->free(rig.backend);
            nadb_faulty_power_cut(rig.faulty);
            cr_assert_eq(open_rig(&rig), NADB_OK, "call %" PRIu64, nth);
            size_t old = replay(&rig);
            cr_assert(
                old == KEYS || old == rig.old_left, "call %" PRIu64 ": %zu of %zu", nth, old, KEYS);
            expect_newest(&rig);
            tear_down(&rig);
        }
    }
}

/* Every call of a compaction fails once. */
static void fail_each_call(int error)
{
    bool is_through = false;
    for (uint64_t nth = 1; !is_through; nth++) {
        cr_assert_lt(nth, CALLS_MAX);
        struct rig rig;
        set_up(&rig);
        uint64_t before = nadb_faulty_calls(rig.faulty);
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, nth, 1, error);
        (void)compact(&rig);
        is_through = nadb_faulty_calls(rig.faulty) - before < nth;
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, 0, 0, 0);
        expect_newest(&rig);
        cr_assert_eq(write_put(&rig, PUTS + 1, WALL_EARLY), NADB_OK, "call %" PRIu64, nth);
        cr_assert_eq(compact(&rig), NADB_OK, "call %" PRIu64, nth);
        expect_newest(&rig);
        rig.backend->ops->free(rig.backend);
        nadb_faulty_kill(rig.faulty);
        cr_assert_eq(open_rig(&rig), NADB_OK, "call %" PRIu64, nth);
        cr_assert_eq(replay(&rig), 0, "call %" PRIu64, nth);
        tear_down(&rig);
    }
}

Test(fs_compact, any_call_may_fail_and_the_log_goes_on)
{
    fail_each_call(EIO);
    fail_each_call(ENOSPC);
}

Test(fs_compact, a_crash_at_any_call_leaves_the_run_or_its_replacement)
{
    bool is_through = false;
    for (uint64_t nth = 1; !is_through; nth++) {
        cr_assert_lt(nth, CALLS_MAX);
        struct rig rig;
        set_up(&rig);
        nadb_faulty_crash_at(rig.faulty, nth);
        (void)compact(&rig);
        is_through = !nadb_faulty_is_crashed(rig.faulty);
        rig.backend->ops->free(rig.backend);
        nadb_faulty_power_cut(rig.faulty);
        cr_assert_eq(open_rig(&rig), NADB_OK, "call %" PRIu64, nth);
        size_t old = replay(&rig);
        cr_assert(old == 0 || old == KEYS, "call %" PRIu64 ": %zu", nth, old);
        expect_newest(&rig);
        cr_assert_eq(compact(&rig), NADB_OK, "call %" PRIu64, nth);
        expect_newest(&rig);
        tear_down(&rig);
    }
}

/* Opens, dies, and opens again. */
static void start_twice(struct rig *rig, uint64_t seed)
{
    for (int start = 0; start < 2; start++) {
        rig->backend->ops->free(rig->backend);
        nadb_faulty_power_cut(rig->faulty);
        cr_assert_eq(open_rig(rig), NADB_OK, "seed %" PRIu64 ", start %d", seed, start);
    }
}

static void fail_damaged(void *ctx, const char *text)
{
    (void)ctx;
    cr_assert_fail("damaged: %s", text);
}

/* Begins a compaction, which has the manifest say how far the log has come, and gives it up. */
static void publish_manifest(struct rig *rig)
{
    const struct nadb_backend_ops *ops = rig->backend->ops;
    const struct nadb_compression compression = {.is_on = false};
    struct nadb_segment_info *list = NULL;
    size_t count = 0;
    cr_assert_eq(ops->list(rig->backend, false, &list, &count, NULL), NADB_OK);
    cr_assert(list[0].is_closed && !list[count - 1].is_closed);
    struct nadb_compaction *compaction = NULL;
    cr_assert_eq(ops->compact->begin(rig->backend, &list[0].id, 1, &compression, &compaction, NULL),
        NADB_OK);
    ops->compact->end(compaction, false);
    nadb_mem_free(list);
}

/* The end of the log is damaged, so that it looks like one that a crash has torn. */
Test(fs_compact, a_tail_without_a_batch_that_the_manifest_knows_to_be_stable_is_damage)
{
    for (uint64_t lost = 0; lost < 2; lost++) {
        struct rig rig;
        set_up(&rig);
        publish_manifest(&rig);
        uint64_t last = PUTS;
        for (; last < PUTS + lost; last++) { /* not known to the manifest: it may be torn */
            cr_assert_eq(write_put(&rig, last + 1, WALL_EARLY), NADB_OK);
        }
        rig.backend->ops->free(rig.backend);
        nadb_faulty_kill(rig.faulty);
        const char *name = NULL;
        for (size_t i = 0; nadb_faulty_name_at(rig.faulty, "/db", ".seg", i) != NULL; i++) {
            name = nadb_faulty_name_at(rig.faulty, "/db", ".seg", i);
        }
        char path[64];
        (void)snprintf(path, sizeof(path), "/db/%s", name);
        uint64_t offset = rig.locs[last] & ((UINT64_C(1) << NADB_LOC_OFFSET_BITS) - 1);
        nadb_faulty_flip(rig.faulty, path, offset * NADB_FS_ALIGN, 1);
        for (int start = 0; start < 2; start++) {
            cr_assert_eq(open_rig(&rig), lost == 0 ? NADB_ECORRUPT : NADB_OK, "start %d", start);
            rig.backend->ops->free(rig.backend);
            nadb_faulty_kill(rig.faulty);
        }
        nadb_faulty_free(rig.faulty);
    }
}

/* Nothing is in front of the segment that takes batches, and the power fails in its first one: that
 * batch says of itself that earlier ones were stable. They are not missing, neither then nor
 * later, when there is no segment at all. */
Test(fs_compact, when_all_has_been_compacted_away_a_torn_first_batch_is_cut)
{
    const struct nadb_fs_listener listener = {nadb_ignore_progress, fail_damaged, NULL};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rig rig = {.faulty = nadb_faulty_new(seed)};
        cr_assert_eq(open_rig(&rig), NADB_OK);
        for (uint64_t version = 1; version <= 5; version++) {
            cr_assert_eq(write_put(&rig, version, WALL_LATE), NADB_OK);
        }
        cr_assert_eq(compact(&rig), NADB_OK); /* all are old */
        cr_assert_null(nadb_faulty_name_at(rig.faulty, "/db", ".seg", 1));
        nadb_faulty_crash_at(rig.faulty, 1 + seed % 2);
        (void)write_put(&rig, 6, WALL_LATE); /* whether it is there does not matter */
        start_twice(&rig, seed);
        cr_assert_geq(rig.info.last_batch_seq, 5);
        cr_assert_geq(rig.info.last_version, 5);
        struct nadb_fs_survey survey;
        rig.backend->ops->free(rig.backend);
        nadb_faulty_kill(rig.faulty);
        cr_assert_eq(
            nadb_fs_verify_dir(nadb_faulty_io(rig.faulty), "/db", &listener, &survey, NULL),
            NADB_OK);
        cr_assert_eq(open_rig(&rig), NADB_OK);
        uint64_t next = rig.info.last_batch_seq + 1;
        cr_assert_eq(write_put(&rig, next, WALL_LATE), NADB_OK);
        start_twice(&rig, seed);
        cr_assert_eq(rig.info.last_batch_seq, next);
        tear_down(&rig);
    }
}
