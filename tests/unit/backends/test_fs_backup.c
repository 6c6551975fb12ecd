/* This file tests copies of stores: backups and what is made of them, with every call failing, or
 * being the last. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/fs.h"
#include "backends/fs/offline.h"
#include "tests/support/faulty_io.h"
#include "tests/support/fs_listener.h"
#include "tests/support/replay_all.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_backup);

#define BATCHES   30u
#define CALLS_MAX 1000u
#define VALUE_LEN 400u

struct rig {
    struct nadb_faulty *faulty;
    struct nadb_backend *backend;
    uint64_t written;
};

static void count_damage(void *ctx, const char *text)
{
    (void)text;
    ++*(unsigned *)ctx;
}

static void entry_of(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    static char key[32];
    static char value[VALUE_LEN];
    (void)index;
    memset(value, (int)batch->seq, sizeof(value));
    *ret = (struct nadb_entry){
        .kind = NADB_ENTRY_PUT,
        .version = batch->seq,
        .key =
            nadb_slice_of(key, (size_t)snprintf(key, sizeof(key), "key-%u", (unsigned)batch->seq)),
        .value = nadb_slice_of(value, sizeof(value)),
    };
}

static void write_some(struct rig *rig, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        rig->written++;
        struct nadb_batch batch = {
            .seq = rig->written,
            .last_version = rig->written,
            .wall_ms = 1000 + rig->written,
            .is_sync = true,
            .count = 1,
            .entry = entry_of,
        };
        cr_assert_eq(rig->backend->ops->write(rig->backend, &batch, NULL), NADB_OK);
    }
}

static void set_up(struct rig *rig, bool has_links)
{
    *rig = (struct rig){.faulty = nadb_faulty_new(5)};
    nadb_faulty_set_links(rig->faulty, has_links);
    const struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = 4096};
    struct nadb_backend_open_info info;
    rig->backend = nadb_fs_new(&opts, nadb_faulty_io(rig->faulty));
    cr_assert_eq(rig->backend->ops->open(rig->backend, &info, NULL), NADB_OK);
    write_some(rig, BATCHES);
}

static void tear_down(struct rig *rig)
{
    rig->backend->ops->free(rig->backend);
    nadb_faulty_free(rig->faulty);
}

static void note_chunk(void *ctx, const struct nadb_replay_chunk *chunk)
{
    uint64_t *count = ctx;
    for (size_t i = 0; i < chunk->count; i++) {
        ++*count;
        cr_assert_eq(chunk->entries[i].version, *count);
        cr_assert_eq(chunk->entries[i].value.data[0], (char)*count);
    }
}

/* How many batches a store in `path` finds; each must be the right one. */
static uint64_t count_batches(struct rig *rig, const char *path)
{
    const struct nadb_backend_opts opts = {.dir = path, .segment_size_bytes = 4096};
    struct nadb_backend_open_info info;
    struct nadb_error error = {0};
    struct nadb_backend *backend = nadb_fs_new(&opts, nadb_faulty_io(rig->faulty));
    cr_assert_eq(backend->ops->open(backend, &info, &error), NADB_OK, "%s", error.text);
    uint64_t count = 0;
    cr_assert_eq(nadb_replay_all(backend, info.units, note_chunk, &count, NULL), NADB_OK);
    backend->ops->free(backend);
    return count;
}

static enum nadb_err back_up(struct rig *rig, const char *path, const char *base)
{
    struct nadb_backup_result result;
    return rig->backend->ops->backup(rig->backend, path, base, &result, NULL);
}

/* Is there a backup? Then it must be whole. */
static bool has_backup(struct rig *rig, const char *path)
{
    char manifest[64];
    (void)snprintf(manifest, sizeof(manifest), "%s/MANIFEST", path);
    if (!nadb_faulty_exists(rig->faulty, manifest)) {
        return false;
    }
    unsigned damages = 0;
    const struct nadb_fs_listener listener = {nadb_ignore_progress, count_damage, &damages};
    struct nadb_fs_survey survey;
    struct nadb_error error = {0};
    cr_assert_eq(nadb_fs_verify_dir(nadb_faulty_io(rig->faulty), path, &listener, &survey, &error),
        NADB_OK, "%s", error.text);
    cr_assert_eq(survey.records, BATCHES);
    return true;
}

static void fail_each_call(bool has_links, bool is_crash)
{
    bool is_through = false;
    for (uint64_t nth = 1; !is_through; nth++) {
        cr_assert_lt(nth, CALLS_MAX);
        struct rig rig;
        set_up(&rig, has_links);
        uint64_t before = nadb_faulty_calls(rig.faulty);
        if (is_crash) {
            nadb_faulty_crash_at(rig.faulty, nth);
        } else {
            nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, nth, 1, nth % 2 ? EIO : ENOSPC);
        }
        enum nadb_err err = back_up(&rig, "/copy", NULL);
        is_through = nadb_faulty_calls(rig.faulty) - before < nth;
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, 0, 0, 0);
        if (is_crash) {
            rig.backend->ops->free(rig.backend);
            nadb_faulty_power_cut(rig.faulty);
            (void)has_backup(&rig, "/copy"); /* whole or not at all */
            cr_assert_eq(count_batches(&rig, "/db"), BATCHES, "call %" PRIu64, nth);
            nadb_faulty_free(rig.faulty);
            continue;
        }
        cr_assert(err != NADB_OK || has_backup(&rig, "/copy"), "call %" PRIu64, nth);
        write_some(&rig, 3);
        cr_assert_eq(back_up(&rig, "/again", NULL), NADB_OK, "call %" PRIu64, nth);
        cr_assert_eq(count_batches(&rig, "/again"), BATCHES + 3, "call %" PRIu64, nth);
        tear_down(&rig);
    }
}

Test(fs_backup, any_call_may_fail_with_links)
{
    fail_each_call(true, false);
}

Test(fs_backup, any_call_may_fail_without_links)
{
    fail_each_call(false, false);
}

Test(fs_backup, a_loss_of_power_at_any_call_leaves_a_whole_backup_or_none)
{
    fail_each_call(true, true);
    fail_each_call(false, true);
}

/* The directory's sync fails, and then a removal, or that of the removals too. */
Test(fs_backup, one_that_fails_and_cannot_be_removed_is_whole)
{
    for (uint64_t sync = 1; sync <= 6; sync++) {
        for (uint64_t times = 1; times <= 2; times++) {
            for (uint64_t unlink = 0; unlink <= 8; unlink++) {
                struct rig rig;
                set_up(&rig, true);
                nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC_DIR, sync, times, EIO);
                nadb_faulty_fail(rig.faulty, NADB_FAULTY_UNLINK, unlink, 1, EIO);
                enum nadb_err err = back_up(&rig, "/copy", NULL);
                nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, 0, 0, 0);
                cr_assert(has_backup(&rig, "/copy") || err != NADB_OK);
                rig.backend->ops->free(rig.backend);
                nadb_faulty_power_cut(rig.faulty);
                nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC_DIR, 0, 0, 0);
                nadb_faulty_fail(rig.faulty, NADB_FAULTY_UNLINK, 0, 0, 0);
                (void)has_backup(&rig, "/copy");
                nadb_faulty_free(rig.faulty);
            }
        }
    }
}

Test(fs_backup, an_earlier_backup_gives_what_it_has)
{
    struct rig rig;
    set_up(&rig, true);
    cr_assert_eq(back_up(&rig, "/one", NULL), NADB_OK);
    write_some(&rig, 10);
    cr_assert_eq(back_up(&rig, "/two", "/one"), NADB_OK);
    cr_assert_eq(count_batches(&rig, "/two"), BATCHES + 10);
    cr_assert_eq(back_up(&rig, "/three", "/nowhere"), NADB_EIO);
    tear_down(&rig);
}

Test(fs_backup, restoring_fails_or_makes_the_same_at_every_call)
{
    bool is_through = false;
    unsigned damages = 0;
    const struct nadb_fs_listener listener = {nadb_ignore_progress, count_damage, &damages};
    for (uint64_t nth = 1; !is_through; nth++) {
        cr_assert_lt(nth, CALLS_MAX);
        struct rig rig;
        set_up(&rig, true);
        cr_assert_eq(back_up(&rig, "/copy", NULL), NADB_OK);
        uint64_t before = nadb_faulty_calls(rig.faulty);
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, nth, 1, EIO);
        struct nadb_fs_survey survey;
        enum nadb_err err =
            nadb_fs_restore(nadb_faulty_io(rig.faulty), "/copy", "/new", &listener, &survey, NULL);
        is_through = nadb_faulty_calls(rig.faulty) - before < nth;
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, 0, 0, 0);
        cr_assert(err == NADB_OK || !has_backup(&rig, "/new"), "call %" PRIu64, nth);
        if (err == NADB_OK) {
            cr_assert_eq(count_batches(&rig, "/new"), BATCHES);
        }
        cr_assert(has_backup(&rig, "/copy"));
        tear_down(&rig);
    }
}

Test(fs_backup, what_is_salvaged_of_a_sound_store_is_all_of_it)
{
    struct rig rig;
    unsigned damages = 0;
    const struct nadb_fs_listener listener = {nadb_ignore_progress, count_damage, &damages};
    struct nadb_fs_salvaged salvaged;
    set_up(&rig, true);
    cr_assert_eq(back_up(&rig, "/copy", NULL), NADB_OK);
    cr_assert_eq(
        nadb_fs_salvage(nadb_faulty_io(rig.faulty), "/copy", "/new", &listener, &salvaged, NULL),
        NADB_OK);
    /* The keyspace has no name in this test: it gets one. */
    cr_assert_eq(damages, 1);
    cr_assert_eq(salvaged.records, BATCHES + 1);
    cr_assert_eq(salvaged.lost_bytes, 0);
    tear_down(&rig);
}

/* Whatever byte is wrong, at most a record is lost, or the frame whose header it was. */
Test(fs_backup, one_wrong_byte_costs_one_record)
{
    char path[64] = "/copy/";
    unsigned damages = 0;
    const struct nadb_fs_listener listener = {nadb_ignore_progress, count_damage, &damages};
    uint64_t size = 1;
    for (uint64_t offset = 0; offset < size; offset += 61) {
        struct rig rig;
        struct nadb_fs_salvaged salvaged;
        set_up(&rig, true);
        cr_assert_eq(back_up(&rig, "/copy", NULL), NADB_OK);
        const char *name = nadb_faulty_name_at(rig.faulty, "/copy", ".seg", 1);
        cr_assert_not_null(name);
        (void)snprintf(path, sizeof(path), "/copy/%s", name);
        size = nadb_faulty_size(rig.faulty, path);
        nadb_faulty_flip(rig.faulty, path, offset, 4);
        cr_assert_eq(nadb_fs_salvage(
                         nadb_faulty_io(rig.faulty), "/copy", "/new", &listener, &salvaged, NULL),
            NADB_OK);
        cr_assert_geq(salvaged.records, BATCHES, "offset %" PRIu64, offset); /* one is the name */
        tear_down(&rig);
    }
}
