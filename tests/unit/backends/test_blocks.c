/* This file tests long runs of a file: written behind its end, and read. */
#include "backends/fs/blocks.h"

#include <errno.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/random.h"
#include "tests/support/faulty_io.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

NADB_TEST_SUITE(blocks);

#define PATH      "/log"
#define BYTES_MAX (8u << 20)

struct rig {
    struct nadb_faulty *faulty;
    const struct nadb_fs_io *io;
    int dir, file;
    struct nadb_fs_end end;
    struct nadb_fs_window window;
    struct nadb_rng rng;
    char *wanted; /* what the file must have */
    size_t len;
};

static void set_up(struct rig *rig, bool has_direct)
{
    *rig = (struct rig){.faulty = nadb_faulty_new(5), .wanted = nadb_mem_alloc(BYTES_MAX)};
    rig->io = nadb_faulty_io(rig->faulty);
    nadb_faulty_set_direct(rig->faulty, has_direct);
    rig->dir = rig->io->open_dir(rig->io, "/");
    rig->file = rig->io->open_file(rig->io, rig->dir, PATH + 1, NADB_FS_OPEN_CREATE);
    nadb_rng_seed(&rig->rng, 5);
    nadb_fs_window_init(&rig->window);
}

static void tear_down(struct rig *rig)
{
    nadb_fs_end_forget(&rig->end, rig->io, rig->file);
    nadb_fs_window_fini(&rig->window);
    nadb_mem_free(rig->wanted);
    nadb_faulty_free(rig->faulty);
}

static void begin(struct rig *rig)
{
    cr_assert_eq(nadb_fs_end_learn(&rig->end, rig->io, rig->file, rig->len), 0);
    nadb_fs_window_begin(&rig->window, rig->io, rig->file, &rig->end, rig->len);
}

/* Random bytes that are to follow in the file; the caller decides whether they count. */
static char *make(struct rig *rig, size_t len)
{
    cr_assert_leq(rig->len + len, BYTES_MAX);
    char *bytes = rig->wanted + rig->len;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)nadb_rng_next(&rig->rng);
    }
    return bytes;
}

/* `in_room` bytes in the room and `behind` ones in a piece. */
static int write_parts(struct rig *rig, size_t in_room, size_t behind)
{
    char *bytes = make(rig, in_room + behind);
    memcpy(nadb_fs_window_room(&rig->window), bytes, in_room);
    struct iovec piece = {.iov_base = bytes + in_room, .iov_len = behind};
    return nadb_fs_window_write(&rig->window, in_room, &piece, 1);
}

static void write_and_commit(struct rig *rig, size_t in_room, size_t behind)
{
    begin(rig);
    cr_assert_eq(write_parts(rig, in_room, behind), 0);
    nadb_fs_window_commit(&rig->window);
    rig->len += in_room + behind;
}

static void check_file(struct rig *rig)
{
    char *got = nadb_mem_alloc(BYTES_MAX);
    cr_assert_eq(nadb_faulty_get(rig->faulty, PATH, 0, got, rig->len), rig->len);
    cr_assert_eq(memcmp(got, rig->wanted, rig->len), 0);
    nadb_mem_free(got);
}

static void check_and_tear_down(struct rig *rig)
{
    check_file(rig);
    tear_down(rig);
}

/* The file has `len` random bytes. */
static void put_file(struct rig *rig, size_t len)
{
    (void)make(rig, len);
    nadb_faulty_put(rig->faulty, PATH, rig->wanted, len);
    rig->len = len;
}

static void write_many(bool has_direct)
{
    static const size_t lens[] = {1, 8, 4095, 4096, 4097, 64, 70000, NADB_FS_WINDOW_ROOM, 12288};
    struct rig rig;
    set_up(&rig, has_direct);
    for (size_t i = 0; i < NADB_ARRAY_LEN(lens); i++) {
        write_and_commit(&rig, lens[i], 0);
        write_and_commit(&rig, i, lens[NADB_ARRAY_LEN(lens) - 1 - i]);
        check_file(&rig);
    }
    write_and_commit(&rig, 80, 3u << 20); /* more than the window holds */
    check_file(&rig);
    cr_assert_eq(rig.end.is_direct, has_direct);
    cr_assert_eq(nadb_faulty_size(rig.faulty, PATH),
        has_direct ? nadb_fs_block_up(rig.len) : (uint64_t)rig.len);
    tear_down(&rig);
}

Test(blocks, what_is_written_lies_behind_each_other_wherever_it_ends)
{
    write_many(true);
}

Test(blocks, without_direct_writes_the_same_goes_through_the_page_cache)
{
    write_many(false);
}

Test(blocks, a_little_goes_through_the_page_cache_and_much_beside_it)
{
    struct rig rig;
    set_up(&rig, true);
    nadb_faulty_set_little(rig.faulty, 1000);
    for (size_t i = 0; i < 20; i++) {
        write_and_commit(&rig, 300 + i * 35, i % 3 == 0 ? 400 : 0);
        cr_assert_eq(rig.end.is_direct, 300 + i * 35 + (i % 3 == 0 ? 400 : 0) > 1000);
        check_file(&rig);
    }
    write_and_commit(&rig, 10, NADB_FS_WINDOW_ROOM); /* its last part is little, and goes along */
    cr_assert(rig.end.is_direct);
    check_and_tear_down(&rig);
}

Test(blocks, the_end_of_a_file_that_was_there_is_kept)
{
    struct rig rig;
    set_up(&rig, true);
    put_file(&rig, 5000);
    write_and_commit(&rig, 100, 0);
    check_and_tear_down(&rig);
}

Test(blocks, an_end_that_cannot_be_read_is_an_error_and_learnt_later)
{
    struct rig rig;
    set_up(&rig, true);
    write_and_commit(&rig, 100, 0);
    nadb_fs_end_forget(&rig.end, rig.io, rig.file);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_READ, 1, 1, EIO);
    cr_assert_eq(nadb_fs_end_learn(&rig.end, rig.io, rig.file, rig.len), -EIO);
    write_and_commit(&rig, 100, 0);
    check_and_tear_down(&rig);
}

Test(blocks, what_is_not_committed_is_written_over)
{
    struct rig rig;
    set_up(&rig, true);
    write_and_commit(&rig, 5000, 0);
    begin(&rig);
    cr_assert_eq(write_parts(&rig, 300, 9000), 0);
    begin(&rig);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_WRITE, 1, 1, EIO);
    cr_assert_eq(write_parts(&rig, 300, 9000), -EIO);
    write_and_commit(&rig, 20, 9500);
    check_and_tear_down(&rig);
}

Test(blocks, blocks_larger_than_said_lead_through_the_page_cache)
{
    struct rig rig;
    set_up(&rig, true);
    write_and_commit(&rig, 5000, 0);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_WRITE, 1, 1, EINVAL);
    write_and_commit(&rig, 5000, 0);
    cr_assert_not(rig.end.is_direct);
    write_and_commit(&rig, 10, 5000);
    check_and_tear_down(&rig);
}

/* ---- reading ---- */

static void read_runs(bool has_direct, uint64_t shorten_nth, size_t call_bytes)
{
    struct rig rig;
    set_up(&rig, has_direct);
    put_file(&rig, 30001);
    int file = nadb_fs_open_run(rig.io, rig.dir, PATH + 1, true);
    cr_assert_geq(file, 0);
    for (size_t from = 0; from < 9000; from += 1777) {
        struct nadb_fs_run run = {0};
        for (size_t len = 1; from + len <= rig.len; len += 4801) {
            nadb_faulty_shorten(rig.faulty, shorten_nth);
            cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, from, len, call_bytes), 0);
            cr_assert_eq(run.len, len);
            cr_assert_eq(memcmp(run.bytes, rig.wanted + from, len), 0);
        }
        cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, from, 100000, call_bytes), 0);
        cr_assert_eq(run.len, rig.len - from, "it ends with the file");
        cr_assert_eq(memcmp(run.bytes, rig.wanted + from, run.len), 0);
        nadb_mem_free(run.memory);
    }
    tear_down(&rig);
}

Test(blocks, a_run_begins_anywhere_and_grows_to_the_end_of_the_file)
{
    read_runs(false, 0, NADB_FS_CALL_BYTES);
    read_runs(true, 0, NADB_FS_CALL_BYTES);
}

Test(blocks, short_reads_change_nothing)
{
    read_runs(false, 1, NADB_FS_CALL_BYTES);
    read_runs(true, 1, NADB_FS_CALL_BYTES);
}

Test(blocks, a_run_is_the_same_in_many_calls)
{
    read_runs(false, 0, NADB_FS_BLOCK_BYTES);
    read_runs(true, 0, NADB_FS_BLOCK_BYTES);
}

Test(blocks, a_run_of_blocks_larger_than_said_is_read_through_the_page_cache)
{
    struct rig rig;
    set_up(&rig, true);
    put_file(&rig, 9000);
    int file = nadb_fs_open_run(rig.io, rig.dir, PATH + 1, true);
    struct nadb_fs_run run = {0};
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_READ, 1, 1, EINVAL);
    cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, 10, 8000, NADB_FS_CALL_BYTES), 0);
    cr_assert_eq(run.len, 8000);
    cr_assert_eq(memcmp(run.bytes, rig.wanted + 10, 8000), 0);
    nadb_mem_free(run.memory);
    tear_down(&rig);
}

Test(blocks, a_run_that_cannot_grow_stays_as_it_was)
{
    struct rig rig;
    set_up(&rig, true);
    put_file(&rig, 9000);
    int file = nadb_fs_open_run(rig.io, rig.dir, PATH + 1, true);
    struct nadb_fs_run run = {0};
    cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, 10, 100, NADB_FS_CALL_BYTES), 0);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_READ, 1, 1, EIO);
    cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, 10, 8000, NADB_FS_CALL_BYTES), -EIO);
    nadb_mem_fail_at(1);
    cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, 10, 8000, NADB_FS_CALL_BYTES), -ENOMEM);
    nadb_mem_fail_at(0);
    cr_assert_eq(run.len, 100);
    cr_assert_eq(memcmp(run.bytes, rig.wanted + 10, 100), 0);
    nadb_mem_free(run.memory);
    tear_down(&rig);
}

/* ---- how long a call is ---- */

/* Calls since the last time. */
static uint64_t new_calls(const struct rig *rig, uint64_t *counted)
{
    const uint64_t before = *counted;
    *counted = nadb_faulty_calls(rig->faulty);
    return *counted - before;
}

static void read_much(size_t len, uint64_t wanted_calls)
{
    struct rig rig;
    set_up(&rig, true);
    put_file(&rig, len);
    char *got = nadb_mem_alloc(len);
    uint64_t counted = nadb_faulty_calls(rig.faulty);
    cr_assert_eq(nadb_fs_read_full(rig.io, rig.file, got, len, 0), (ssize_t)len);
    cr_assert_eq(new_calls(&rig, &counted), wanted_calls);
    cr_assert_eq(memcmp(got, rig.wanted, len), 0);
    int file = nadb_fs_open_run(rig.io, rig.dir, PATH + 1, true);
    (void)new_calls(&rig, &counted);
    struct nadb_fs_run run = {0};
    cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, 0, len, NADB_FS_CALL_BYTES), 0);
    cr_assert_eq(new_calls(&rig, &counted), wanted_calls);
    cr_assert_eq(memcmp(run.bytes, rig.wanted, len), 0);
    nadb_mem_free(run.memory);
    (void)rig.io->close_file(rig.io, file);
    nadb_mem_free(got);
    tear_down(&rig);
}

Test(blocks, much_is_read_in_calls_that_are_not_too_long_for_others)
{
    read_much(3 * NADB_FS_CALL_BYTES, 3);
    read_much(3 * NADB_FS_CALL_BYTES + NADB_FS_CALL_BYTES / 2, 4);
    read_much(3 * NADB_FS_CALL_BYTES + 2 * NADB_FS_BLOCK_BYTES, 3); /* no call for a little rest */
}

Test(blocks, much_is_written_in_calls_that_are_not_too_long_for_others)
{
    static const size_t lens[] = {0, 10, 0, 5 * NADB_FS_CALL_BYTES / 2, 0, 7, 1000, 0};
    for (uint64_t shorten_nth = 0; shorten_nth <= 3; shorten_nth++) {
        struct rig rig;
        set_up(&rig, false);
        size_t sum = 0;
        struct iovec pieces[NADB_ARRAY_LEN(lens)];
        char *bytes = make(&rig, 3 * NADB_FS_CALL_BYTES);
        for (size_t i = 0; i < NADB_ARRAY_LEN(lens); i++) {
            pieces[i] = (struct iovec){.iov_base = bytes + sum, .iov_len = lens[i]};
            sum += lens[i];
        }
        nadb_faulty_shorten(rig.faulty, shorten_nth);
        uint64_t counted = nadb_faulty_calls(rig.faulty);
        cr_assert_eq(nadb_fs_write_full(rig.io, rig.file, pieces, NADB_ARRAY_LEN(lens), 0), 0);
        const uint64_t calls = new_calls(&rig, &counted);
        cr_assert(shorten_nth == 0 ? calls == 3 : calls >= 3);
        rig.len = sum;
        check_and_tear_down(&rig);
    }
}

Test(blocks, blocks_larger_than_said_are_met_in_any_call)
{
    struct rig rig;
    set_up(&rig, true);
    put_file(&rig, 3 * NADB_FS_CALL_BYTES);
    int file = nadb_fs_open_run(rig.io, rig.dir, PATH + 1, true);
    struct nadb_fs_run run = {0};
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_READ, 2, 1, EINVAL);
    cr_assert_eq(nadb_fs_run_extend(&run, rig.io, file, 0, rig.len, NADB_FS_CALL_BYTES), 0);
    cr_assert_eq(run.len, rig.len);
    cr_assert_eq(memcmp(run.bytes, rig.wanted, rig.len), 0);
    nadb_mem_free(run.memory);
    (void)rig.io->close_file(rig.io, file);
    tear_down(&rig);
}

/* ---- the operating system ---- */

static void write_real_file(const struct nadb_fs_io *io, const char *path, bool may_be_direct)
{
    static const char word[] = "one word";
    struct nadb_fs_end end = {0};
    struct nadb_fs_window window;
    char got[2 * sizeof(word)];
    int dir = io->open_dir(io, path);
    int file = io->open_file(io, dir, "file", NADB_FS_OPEN_CREATE);
    cr_assert_geq(file, 0);
    nadb_fs_window_init(&window);
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t at = i * sizeof(word);
        cr_assert_eq(nadb_fs_end_learn(&end, io, file, at), 0);
        cr_assert(may_be_direct || !end.is_direct);
        nadb_fs_window_begin(&window, io, file, &end, at);
        memcpy(nadb_fs_window_room(&window), word, sizeof(word));
        cr_assert_eq(nadb_fs_window_write(&window, sizeof(word), NULL, 0), 0);
        nadb_fs_window_commit(&window);
    }
    nadb_fs_end_forget(&end, io, file);
    cr_assert_eq(nadb_fs_read_full(io, file, got, sizeof(got), 0), (ssize_t)sizeof(got));
    cr_assert_eq(memcmp(got, word, sizeof(word)), 0);
    cr_assert_eq(memcmp(got + sizeof(word), word, sizeof(word)), 0);
    cr_assert_eq(io->unlink_file(io, dir, "file"), 0);
    (void)io->close_file(io, file);
    (void)io->close_file(io, dir);
    nadb_fs_window_fini(&window);
}

Test(blocks, a_real_file_has_what_was_written_directly_or_not)
{
    struct nadb_tmpdir tmp;
    nadb_tmpdir_make(&tmp);
    write_real_file(nadb_fs_io_system(), tmp.path, true);
    write_real_file(nadb_fs_io_page_cache(), tmp.path, false);
    nadb_tmpdir_remove(&tmp);
}
