/* This file tests what the fs backend does when the disk says no. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "backends/fs/format.h"
#include "backends/fs/fs.h"
#include "tests/support/faulty_io.h"
#include "tests/support/log_model.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_faults);

struct rig {
    struct nadb_faulty *faulty;
    struct nadb_log_model *model;
    struct nadb_backend *backend;
    struct nadb_backend_open_info info;
    struct nadb_error error;
    uint64_t seq; /* the last batch written */
    uint64_t segment_size;
};

static enum nadb_err try_open(struct rig *rig)
{
    struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = rig->segment_size};
    rig->backend = nadb_fs_new(&opts, nadb_faulty_io(rig->faulty));
    return rig->backend->ops->open(rig->backend, &rig->info, &rig->error);
}

/* Opens and compares with the first `seq` batches. */
static void reopen(struct rig *rig, uint64_t seq)
{
    struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = rig->segment_size};
    rig->backend = nadb_fs_new(&opts, nadb_faulty_io(rig->faulty));
    const char *wrong = nadb_log_model_reopen(rig->model, rig->backend, &rig->info);
    cr_assert_null(wrong, "%s", wrong);
    cr_assert_eq(rig->info.last_batch_seq, seq, "found %" PRIu64 ", wanted %" PRIu64,
        rig->info.last_batch_seq, seq);
    rig->seq = seq;
}

static void set_up(struct rig *rig, uint64_t segment_size)
{
    *rig = (struct rig){
        .faulty = nadb_faulty_new(7),
        .model = nadb_log_model_new(7, NADB_LOG_SMALL),
        .segment_size = segment_size,
    };
    reopen(rig, 0);
}

static void tear_down(struct rig *rig)
{
    rig->backend->ops->free(rig->backend);
    nadb_log_model_free(rig->model);
    nadb_faulty_free(rig->faulty);
}

static enum nadb_err write_next(struct rig *rig, bool is_sync)
{
    struct nadb_batch *batch = nadb_log_model_batch(rig->model, rig->seq + 1);
    batch->is_sync = is_sync;
    enum nadb_err err = rig->backend->ops->write(rig->backend, batch, &rig->error);
    rig->seq += err == NADB_OK;
    return err;
}

static void write_many(struct rig *rig, int count, bool is_sync)
{
    for (int i = 0; i < count; i++) {
        cr_assert_eq(write_next(rig, is_sync), NADB_OK, "%s", rig->error.text);
    }
}

static void lose_power(struct rig *rig)
{
    rig->backend->ops->free(rig->backend);
    nadb_faulty_power_cut(rig->faulty);
}

static void close_clean(struct rig *rig)
{
    cr_assert_eq(rig->backend->ops->close(rig->backend, &rig->error), NADB_OK);
    rig->backend->ops->free(rig->backend);
}

static void delete_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    (void)index;
    *ret = (struct nadb_entry){
        .kind = NADB_ENTRY_DELETE, .version = batch->last_version, .key = NADB_SLICE("k")};
}

static enum nadb_err write_delete(struct rig *rig)
{
    struct nadb_batch batch = {
        .seq = rig->seq + 1, .is_sync = true, .count = 1, .entry = delete_entry};
    enum nadb_err err = rig->backend->ops->write(rig->backend, &batch, &rig->error);
    rig->seq += err == NADB_OK;
    return err;
}

/* ---- full disks ---- */

static bool has_put(const struct nadb_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct nadb_entry entry;
        batch->entry(batch, i, &entry);
        if (entry.kind == NADB_ENTRY_PUT) {
            return true;
        }
    }
    return false;
}

Test(fs_faults, a_full_disk_refuses_writes_and_heals)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 10, false); /* without zeros ahead, which are room as well */
    nadb_faulty_set_space(rig.faulty, 0);
    cr_assert(has_put(nadb_log_model_batch(rig.model, rig.seq + 1)));
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(write_next(&rig, true), NADB_ENOSPC);
        cr_assert_str_eq(rig.error.text, "disk write failed: No space left on device");
    }
    nadb_faulty_set_space(rig.faulty, UINT64_MAX);
    write_many(&rig, 10, true);
    lose_power(&rig);
    reopen(&rig, 20);
    tear_down(&rig);
}

Test(fs_faults, what_was_refused_for_want_of_space_never_appears)
{
    for (uint64_t space = 0; space < 3000; space += 150) {
        struct rig rig;
        set_up(&rig, 4096);
        write_many(&rig, 5, true);
        nadb_faulty_set_space(rig.faulty, nadb_faulty_used(rig.faulty) + space);
        enum nadb_err err = NADB_OK;
        for (int i = 0; i < 200 && err == NADB_OK; i++) {
            err = write_next(&rig, true);
        }
        uint64_t seq = rig.seq;
        lose_power(&rig);
        reopen(&rig, seq);
        tear_down(&rig);
    }
}

Test(fs_faults, deletes_work_from_the_reserve)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 10, false); /* without zeros ahead */
    cr_assert(nadb_faulty_exists(rig.faulty, "/db/RESERVE"));
    nadb_faulty_set_space(rig.faulty, nadb_faulty_used(rig.faulty));
    cr_assert(has_put(nadb_log_model_batch(rig.model, rig.seq + 1)));
    cr_assert_eq(write_next(&rig, true), NADB_ENOSPC);
    cr_assert(nadb_faulty_exists(rig.faulty, "/db/RESERVE"), "puts must not use the reserve");
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(write_delete(&rig), NADB_OK, "%s", rig.error.text);
    }
    cr_assert_not(nadb_faulty_exists(rig.faulty, "/db/RESERVE"));
    nadb_faulty_set_space(rig.faulty, UINT64_MAX);
    for (int i = 0; i < 64; i++) {
        cr_assert_eq(write_delete(&rig), NADB_OK);
    }
    cr_assert(nadb_faulty_exists(rig.faulty, "/db/RESERVE"), "the reserve must come back");
    tear_down(&rig);
}

Test(fs_faults, a_full_disk_keeps_a_full_segment_in_use)
{
    struct rig rig;
    set_up(&rig, 4096);
    write_many(&rig, 1, false); /* this makes the first segment */
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_OPEN, 1, 0, ENOSPC);
    write_many(&rig, 59, false);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_OPEN, 0, 0, 0);
    cr_assert_eq(nadb_faulty_name_at(rig.faulty, "/db", ".seg", 1), NULL);
    write_many(&rig, 60, false);
    cr_assert_neq(nadb_faulty_name_at(rig.faulty, "/db", ".seg", 1), NULL);
    close_clean(&rig);
    reopen(&rig, 120);
    tear_down(&rig);
}

Test(fs_faults, when_the_directory_is_gone_a_full_segment_takes_no_more)
{
    struct rig rig;
    set_up(&rig, 4096);
    write_many(&rig, 1, true);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_OPEN, 1, 0, ENOENT);
    enum nadb_err err = NADB_OK;
    for (int i = 0; i < 60 && err == NADB_OK; i++) {
        err = write_next(&rig, true);
    }
    cr_assert_eq(err, NADB_ENOSPC);
    cr_assert_str_eq(rig.error.text, "disk write failed: No such file or directory");
    cr_assert_eq(write_next(&rig, true), NADB_ENOSPC);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_OPEN, 0, 0, 0);
    write_many(&rig, 60, true);
    uint64_t seq = rig.seq;
    close_clean(&rig);
    reopen(&rig, seq);
    tear_down(&rig);
}

Test(fs_faults, a_store_that_was_killed_on_a_full_disk_starts)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 10, false);
    rig.backend->ops->free(rig.backend);
    nadb_faulty_kill(rig.faulty);
    nadb_faulty_set_space(rig.faulty, nadb_faulty_used(rig.faulty));
    reopen(&rig, 10);
    tear_down(&rig);
}

Test(fs_faults, a_limit_on_the_size_of_files_leads_to_more_of_them)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 10, true);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_WRITE, 1, 1, EFBIG);
    write_many(&rig, 10, true);
    cr_assert_neq(nadb_faulty_name_at(rig.faulty, "/db", ".seg", 1), NULL);
    lose_power(&rig);
    reopen(&rig, 20);
    tear_down(&rig);
}

/* ---- syncs that fail ---- */

Test(fs_faults, a_batch_whose_sync_failed_once_is_moved_and_kept)
{
    for (uint64_t nth = 1; nth < 12; nth++) {
        struct rig rig;
        set_up(&rig, 1u << 16); /* one segment: these are syncs of batches */
        write_many(&rig, 3, true);
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, nth, 1, EIO);
        write_many(&rig, 20, true);
        lose_power(&rig);
        reopen(&rig, 23);
        tear_down(&rig);
    }
}

Test(fs_faults, syncs_that_fail_for_ever_never_report_success_and_heal)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 3, true);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, 1, 0, EIO);
    for (int i = 0; i < 20; i++) {
        enum nadb_err err = write_next(&rig, true);
        cr_assert(err == NADB_ESYNC || err == NADB_ENOSPC, "%s", nadb_err_name(err));
        cr_assert_eq(rig.error.sys_errno, EIO);
    }
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, 0, 0, 0);
    write_many(&rig, 3, true);
    uint64_t segments = 0;
    while (nadb_faulty_name_at(rig.faulty, "/db", ".seg", segments) != NULL) {
        segments++;
    }
    cr_assert_leq(segments, 3, "attempts that fail must not pile up files");
    lose_power(&rig);
    reopen(&rig, 6);
    tear_down(&rig);
}

Test(fs_faults, buffered_batches_survive_a_failed_sync_of_their_segment)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 20, false);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, 1, 1, EIO);
    write_many(&rig, 1, true);
    lose_power(&rig);
    reopen(&rig, 21);
    tear_down(&rig);
}

Test(fs_faults, buffered_batches_survive_a_failed_sync_when_their_segment_is_sealed)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct rig rig;
        set_up(&rig, 8192);
        write_many(&rig, 10, false);
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, nth, 1, EIO);
        /* The sync that fails may be one that a new segment needs: then that write is refused. */
        int refused = 0;
        for (int written = 0; written < 60;) {
            enum nadb_err err = write_next(&rig, false);
            refused += err == NADB_OK ? 0 : 1;
            written += err == NADB_OK ? 1 : 0;
            cr_assert(refused <= 1, "%s", rig.error.text);
        }
        write_many(&rig, 1, true);
        lose_power(&rig);
        reopen(&rig, 71);
        tear_down(&rig);
    }
}

Test(fs_faults, when_buffered_batches_are_lost_no_later_one_is_reported_stable)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 3, true);
    write_many(&rig, 5, false);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, 1, 1, EIO);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_READ, 1, 0, EIO);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(write_next(&rig, true), NADB_ESYNC);
    }
    cr_assert_eq(rig.backend->ops->close(rig.backend, &rig.error), NADB_ESYNC);
    lose_power(&rig);
    reopen(&rig, 3);
    tear_down(&rig);
}

Test(fs_faults, a_clean_end_survives_a_failed_sync)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 9, false);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, 1, 1, EIO);
    close_clean(&rig);
    nadb_faulty_power_cut(rig.faulty);
    reopen(&rig, 9);
    cr_assert(rig.info.was_clean);
    tear_down(&rig);
}

/* ---- a large batch that is torn ---- */

#define LARGE_ENTRIES 12u
#define LARGE_VALUE   (1u << 20)

static void large_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    static char value[LARGE_VALUE];
    *ret = (struct nadb_entry){
        .kind = NADB_ENTRY_PUT,
        .version = batch->last_version,
        .key = NADB_SLICE("large"),
        .value = nadb_slice_of(value, sizeof(value) - index),
    };
}

/* Its frames make several units of what recovery hands out, some of them wholly behind the end. */
Test(fs_faults, the_whole_frames_of_a_large_batch_that_is_torn_do_not_count)
{
    for (uint64_t nth = 2; nth <= LARGE_ENTRIES; nth++) {
        struct rig rig;
        set_up(&rig, 64u << 20);
        write_many(&rig, 3, true);
        struct nadb_batch batch = {
            .seq = 4, .last_version = 1000, .count = LARGE_ENTRIES, .entry = large_entry};
        nadb_faulty_crash_at(rig.faulty, nth);
        cr_assert_neq(rig.backend->ops->write(rig.backend, &batch, NULL), NADB_OK);
        rig.backend->ops->free(rig.backend);
        nadb_faulty_kill(rig.faulty);
        reopen(&rig, 3);
        tear_down(&rig);
    }
}

/* ---- a place of the disk that is bad ---- */

static size_t count_segments(const struct rig *rig)
{
    size_t count = 0;
    while (nadb_faulty_name_at(rig->faulty, "/db", ".seg", count) != NULL) {
        count++;
    }
    return count;
}

/* Goes on in another segment at once, and loses nothing. */
static void go_on_elsewhere(struct rig *rig)
{
    const uint64_t seq = rig->seq;
    const size_t segments = count_segments(rig);
    cr_assert_eq(write_next(rig, true), NADB_OK, "%s", rig->error.text);
    cr_assert_eq(count_segments(rig), segments + 1);
    write_many(rig, 5, true);
    lose_power(rig);
    reopen(rig, seq + 6);
    tear_down(rig);
}

static void fail_to_write(bool has_direct)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    nadb_faulty_set_direct(rig.faulty, has_direct);
    write_many(&rig, 5, true);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_WRITE, 1, 1, EIO);
    go_on_elsewhere(&rig);
}

Test(fs_faults, a_write_that_the_disk_cannot_do_goes_to_another_segment)
{
    fail_to_write(false);
    fail_to_write(true);
}

Test(fs_faults, a_segment_whose_end_cannot_be_read_takes_no_more)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 5, true);
    close_clean(&rig);
    reopen(&rig, 5);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_READ, 1, 1, EIO);
    go_on_elsewhere(&rig);
}

/* ---- any call, once and for ever ---- */

/* Every call `nth` of a life fails with `error`, `times` times; afterwards everything that was
 * reported written is there, or less than that if it was not synced. */
static bool fail_at(uint64_t nth, uint64_t times, int error, bool is_sync, bool has_direct)
{
    struct rig rig;
    set_up(&rig, 4096);
    nadb_faulty_set_direct(rig.faulty, has_direct);
    uint64_t before = nadb_faulty_calls(rig.faulty);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, nth, times, error);
    uint64_t stable = 0;
    uint64_t refused = 0;
    for (int i = 0; i < 30; i++) {
        enum nadb_err err = write_next(&rig, is_sync);
        stable = err == NADB_OK && is_sync ? rig.seq : stable;
        refused = err == NADB_ESYNC ? rig.seq + 1 : refused;
    }
    if (rig.backend->ops->close(rig.backend, &rig.error) == NADB_OK) {
        stable = rig.seq;
    }
    bool was_reached = nadb_faulty_calls(rig.faulty) - before >= nth;
    rig.backend->ops->free(rig.backend);
    nadb_faulty_power_cut(rig.faulty);
    uint64_t highest = refused > rig.seq ? refused : rig.seq;
    struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = 4096};
    rig.backend = nadb_fs_new(&opts, nadb_faulty_io(rig.faulty));
    const char *wrong = nadb_log_model_reopen(rig.model, rig.backend, &rig.info);
    cr_assert_null(wrong, "call %" PRIu64 ", %" PRIu64 " times: %s", nth, times, wrong);
    cr_assert(rig.info.last_batch_seq >= stable && rig.info.last_batch_seq <= highest,
        "call %" PRIu64 ", %" PRIu64 " times: found %" PRIu64 ", stable %" PRIu64
        ", written %" PRIu64,
        nth, times, rig.info.last_batch_seq, stable, highest);
    tear_down(&rig);
    return was_reached;
}

static void fail_everywhere(uint64_t times, int error, bool is_sync)
{
    for (int direct = 0; direct < 2; direct++) {
        uint64_t nth = 1;
        while (fail_at(nth, times, error, is_sync, direct != 0)) {
            nth++;
        }
        cr_assert_gt(nth, 50);
    }
}

Test(fs_faults, any_call_may_fail_once)
{
    fail_everywhere(1, EIO, true);
    fail_everywhere(1, ENOSPC, true);
    fail_everywhere(1, EIO, false);
}

Test(fs_faults, any_few_calls_may_fail)
{
    fail_everywhere(2, EIO, true);
    fail_everywhere(3, EIO, true);
    fail_everywhere(3, EIO, false);
    fail_everywhere(5, ENOSPC, false);
}

Test(fs_faults, all_calls_from_any_one_on_may_fail)
{
    fail_everywhere(0, EIO, true);
    fail_everywhere(0, ENOSPC, false);
}

Test(fs_faults, opening_fails_with_a_reason_or_works)
{
    for (uint64_t nth = 1; nth < 40; nth++) {
        struct rig rig;
        set_up(&rig, 4096);
        write_many(&rig, 20, true);
        lose_power(&rig);
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, nth, 1, EIO);
        if (try_open(&rig) != NADB_OK) {
            cr_assert_eq(rig.error.sys_errno, EIO, "call %d: %s", (int)nth, rig.error.text);
        }
        rig.backend->ops->free(rig.backend);
        nadb_faulty_kill(rig.faulty);
        reopen(&rig, 20);
        tear_down(&rig);
    }
}

/* ---- the lock ---- */

Test(fs_faults, a_second_instance_is_locked_out_and_the_first_goes_on)
{
    struct rig rig;
    set_up(&rig, 4096);
    write_many(&rig, 3, true);
    struct nadb_backend *first = rig.backend;
    cr_assert_eq(try_open(&rig), NADB_ELOCKED);
    cr_assert_not_null(strstr(rig.error.text, "dir '/db': in use by another nadbd (pid "));
    rig.backend->ops->free(rig.backend);
    rig.backend = first;
    write_many(&rig, 3, true);
    close_clean(&rig);
    reopen(&rig, 6);
    tear_down(&rig);
}

Test(fs_faults, a_disk_that_lies_about_syncs_may_lose_batches_but_no_clean_end)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    write_many(&rig, 5, true);
    nadb_faulty_set_lying(rig.faulty, true);
    write_many(&rig, 5, true);
    nadb_faulty_set_lying(rig.faulty, false);
    close_clean(&rig);
    nadb_faulty_power_cut(rig.faulty);
    reopen(&rig, 10);
    tear_down(&rig);
}
