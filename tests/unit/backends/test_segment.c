/* This file tests a segment file: appending, sealing, walking, and reading back. */
#include "backends/fs/segment.h"

#include <errno.h>
#include <string.h>
#include <ucontext.h>

#include "backends/fs/fs_checksum.h"
#include "backends/fs/record.h"
#include "backends/fs/replay.h"
#include "src/base/checksum.h"
#include "src/base/mem.h"
#include "tests/support/faulty_io.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(segment);

#define STORE_ID 4711u

struct bench {
    struct nadb_faulty *faulty;
    const struct nadb_fs_io *io;
    int dir;
    struct nadb_segment segment;
    struct nadb_segment_tools tools;
    char *window;
    uint64_t seq;
    uint64_t wall_ms_shift;
    struct nadb_batch batch;
    struct nadb_entry entries[2000];
    uint64_t locs[2000];
};

static void setup(struct bench *b)
{
    static const struct nadb_segment_point nothing = {0};
    *b = (struct bench){.faulty = nadb_faulty_new(1)};
    b->io = nadb_faulty_io(b->faulty);
    b->dir = b->io->open_dir(b->io, "/");
    nadb_segment_tools_init(&b->tools);
    b->window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES);
    struct nadb_segment_create_opts opts = {
        .io = b->io, .dir = b->dir, .store_id = STORE_ID, .id = 5, .slot = 3};
    cr_assert_eq(nadb_segment_create(&b->segment, &opts, &nothing), 0);
}

static void teardown(struct bench *b)
{
    nadb_segment_close(&b->segment);
    nadb_segment_tools_fini(&b->tools);
    nadb_mem_free(b->window);
    nadb_faulty_free(b->faulty);
    nadb_mem_free(b);
}

static struct bench *new_bench(void)
{
    struct bench *b = nadb_mem_alloc(sizeof(*b));
    setup(b);
    return b;
}

/* On a file system that writes whole blocks directly, or on one that cannot. */
static struct bench *new_bench_on(bool has_direct)
{
    struct bench *b = new_bench();
    nadb_faulty_set_direct(b->faulty, has_direct);
    return b;
}

static void bench_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct bench *b = batch->entry_ctx;
    *ret = b->entries[index];
}

/* Appends `count` PUTs with values of `value_len` bytes. */
static enum nadb_err append(
    struct bench *b, size_t count, size_t value_len, bool is_sync, struct nadb_error *error)
{
    static char value[5u << 20];
    memset(value, 'v', sizeof(value));
    for (size_t i = 0; i < count; i++) {
        b->entries[i] = (struct nadb_entry){
            .kind = NADB_ENTRY_PUT,
            .version = i + 1,
            .key = NADB_SLICE("0123456789abcdef"),
            .value = nadb_slice_of(value, value_len),
        };
    }
    b->batch = (struct nadb_batch){
        .seq = ++b->seq,
        .last_version = count,
        .wall_ms = 1000 + b->seq + b->wall_ms_shift,
        .is_sync = is_sync,
        .count = count,
        .entry = bench_entry,
        .entry_ctx = b,
        .locs = b->locs,
    };
    enum nadb_err err =
        nadb_segment_append(&b->segment, &b->batch, b->segment.synced.seq, &b->tools, error);
    b->seq -= err == NADB_OK ? 0 : 1;
    return err;
}

static void begin_walk(struct bench *b, struct nadb_segment_walk *walk)
{
    struct nadb_segment_point from = {.offset = NADB_SEGMENT_HEADER_BYTES};
    uint64_t size;
    nadb_fs_end_forget(&b->segment.file_end, b->io, b->segment.file);
    cr_assert_eq(b->io->size_file(b->io, b->segment.file, &size), 0);
    nadb_segment_walk_begin(
        walk, b->io, b->segment.file, b->segment.seed, &from, size, b->window, true);
}

/* Walks to the end; counts batches. */
static enum nadb_walk_result walk_all(struct bench *b, struct nadb_segment_walk *walk, int *batches)
{
    enum nadb_walk_result result;
    *batches = 0;
    begin_walk(b, walk);
    while (
        (result = nadb_segment_walk_next(walk)) == NADB_WALK_FRAME || result == NADB_WALK_BATCH) {
        *batches += result == NADB_WALK_BATCH;
    }
    return result;
}

Test(segment, a_name_is_16_hex_digits_and_back)
{
    char name[NADB_SEGMENT_NAME_BYTES];
    uint64_t id = 0;
    nadb_segment_name(name, 0xabcdef);
    cr_assert_str_eq(name, "0000000000abcdef.seg");
    cr_assert(nadb_segment_parse_name(name, &id));
    cr_assert_eq(id, 0xabcdef);
    static const char *const foreign[] = {"", "LOCK", "MANIFEST", "0000000000abcdef.segx",
        "000000000abcdef.seg", "0000000000ABCDEF.seg", "0000000000abcdeg.seg",
        "0000000000abcdef.tmp"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(foreign); i++) {
        cr_assert_not(nadb_segment_parse_name(foreign[i], &id), "%s", foreign[i]);
    }
}

Test(segment, checksums_taken_piecewise_are_the_same)
{
    struct bench *b = new_bench();
    static char bytes[10000];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i * 7);
    }
    struct iovec pieces[] = {
        {.iov_base = bytes, .iov_len = 1},
        {.iov_base = bytes + 1, .iov_len = 0},
        {.iov_base = bytes + 1, .iov_len = 7000},
        {.iov_base = bytes + 7001, .iov_len = 2999},
    };
    uint64_t whole = nadb_checksum64(bytes, sizeof(bytes), 99);
    cr_assert_eq(nadb_fs_checksum_pieces(pieces, NADB_ARRAY_LEN(pieces), 99), whole);
    nadb_faulty_put(b->faulty, "/x", bytes, sizeof(bytes));
    int file = b->io->open_file(b->io, b->dir, "x", NADB_FS_OPEN_READ);
    uint64_t check = 0;
    char window[333];
    cr_assert_eq(
        nadb_fs_checksum_file(b->io, file, 0, sizeof(bytes), 99, window, sizeof(window), &check),
        0);
    cr_assert_eq(check, whole);
    cr_assert_eq(
        nadb_fs_checksum_file(b->io, file, 1, sizeof(bytes), 99, window, sizeof(window), &check),
        -EIO);
    teardown(b);
}

#define STACK_WORDS 16384u

static struct {
    ucontext_t test, checksum;
    _Alignas(64) uint64_t stack[STACK_WORDS];
    uint64_t ret;
} own_stack;

static const char checked[] =
    "as long as it takes for the secret to be used: more than two hundred "
    "and forty bytes, below that the library goes another way and does "
    "not look at what the state has, so that nothing could go wrong here "
    "and this would be no test at all of what it is about.";

#define CHECKED_SEED UINT64_C(0x123456789abcdef1)

static void take_checksum(void)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)checked, .iov_len = sizeof(checked)};
    own_stack.ret = nadb_fs_checksum_pieces(&piece, 1, CHECKED_SEED);
}

static uint64_t checksum_on_own_stack(void)
{
    cr_assert_eq(getcontext(&own_stack.checksum), 0);
    own_stack.checksum.uc_stack.ss_sp = own_stack.stack;
    own_stack.checksum.uc_stack.ss_size = sizeof(own_stack.stack);
    own_stack.checksum.uc_link = &own_stack.test;
    makecontext(&own_stack.checksum, take_checksum, 0);
    cr_assert_eq(swapcontext(&own_stack.test, &own_stack.checksum), 0);
    return own_stack.ret;
}

/* A batch that is tried again at the same place has the same seed. Of what the first checksum left
 * on the stack everything has been written over but that seed, and what was 0. */
Test(segment, a_checksum_does_not_depend_on_what_the_stack_has_of_the_last_one)
{
    uint64_t whole = nadb_checksum64(checked, sizeof(checked), CHECKED_SEED);
    cr_assert_eq(checksum_on_own_stack(), whole);
    for (size_t i = 0; i < STACK_WORDS; i++) {
        uint64_t word = own_stack.stack[i];
        own_stack.stack[i] = word == 0 || word == CHECKED_SEED ? word : ~word;
    }
    cr_assert_eq(checksum_on_own_stack(), whole);
}

Test(segment, a_batch_of_one_small_record_takes_192_bytes)
{
    struct bench *b = new_bench();
    cr_assert_eq(append(b, 1, 64, false, NULL), NADB_OK);
    cr_assert_eq(b->segment.end.offset, NADB_SEGMENT_HEADER_BYTES + 80 + 112);
    teardown(b);
}

static void walk_through_all_shapes(bool has_direct)
{
    struct bench *b = new_bench_on(has_direct);
    struct nadb_segment_walk walk;
    int batches;
    cr_assert_eq(append(b, 0, 0, false, NULL), NADB_OK);         /* none */
    cr_assert_eq(append(b, 2000, 1000, false, NULL), NADB_OK);   /* two frames */
    cr_assert_eq(append(b, 1, 3u << 20, false, NULL), NADB_OK);  /* one, of a frame to itself */
    cr_assert_eq(append(b, 3, 70u << 10, false, NULL), NADB_OK); /* likewise, only */
    cr_assert_eq(append(b, 5, 3, false, NULL), NADB_OK);
    cr_assert_eq(nadb_segment_trim(&b->segment), 0);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_END);
    cr_assert_eq(batches, 5);
    cr_assert_eq(walk.at.seq, 5);
    cr_assert_eq(walk.at.records, 2009);
    cr_assert_eq(walk.at.frames, 1 + 2 + 1 + 3 + 1);
    cr_assert_eq(walk.at.wall_ms, 1005);
    cr_assert_eq(memcmp(&walk.at, &b->segment.end, sizeof(walk.at)), 0);
    teardown(b);
}

Test(segment, batches_of_all_shapes_are_walked_through)
{
    walk_through_all_shapes(false);
    walk_through_all_shapes(true);
}

Test(segment, every_location_names_its_record)
{
    struct bench *b = new_bench();
    static char bytes[4u << 20];
    static const size_t value_lens[] = {0, 64, 1000, 70u << 10, 3u << 20};
    for (size_t i = 0; i < NADB_ARRAY_LEN(value_lens); i++) {
        size_t count = value_lens[i] > 1000 ? 2 : 1500;
        cr_assert_eq(append(b, count, value_lens[i], false, NULL), NADB_OK);
        for (size_t j = 0; j < count; j++) {
            uint64_t offset =
                (b->locs[j] & ((UINT64_C(1) << NADB_LOC_OFFSET_BITS) - 1)) * NADB_FS_ALIGN;
            size_t len = nadb_fs_record_bytes(&b->entries[j]);
            cr_assert_eq(b->locs[j] >> NADB_LOC_OFFSET_BITS, 3);
            cr_assert_eq(
                nadb_faulty_get(b->faulty, "/0000000000000005.seg", offset, bytes, len), len);
            cr_assert(nadb_fs_record_verify(bytes, len, nadb_offset_seed(b->segment.seed, offset)));
            struct nadb_entry got;
            cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_GOOD);
            cr_assert_eq(got.version, j + 1);
            cr_assert_eq(got.value.len, value_lens[i]);
        }
    }
    teardown(b);
}

/* The range of all that was appended. */
static struct nadb_fs_range all_of(const struct bench *b)
{
    return (struct nadb_fs_range){
        .io = b->io,
        .file = b->segment.file,
        .name = b->segment.name,
        .seed = b->segment.seed,
        .slot = b->segment.slot,
        .from = NADB_SEGMENT_HEADER_BYTES,
        .to = b->segment.end.offset,
    };
}

Test(segment, loading_hands_out_what_was_appended_whatever_the_chunk)
{
    struct bench *b = new_bench();
    cr_assert_eq(append(b, 1999, 2000, false, NULL), NADB_OK);
    cr_assert_eq(append(b, 1, 3u << 20, false, NULL), NADB_OK);
    struct nadb_fs_range range = all_of(b);
    static const size_t chunk_bytes[] = {1, 100, 1u << 20, 100u << 20};
    for (size_t i = 0; i < NADB_ARRAY_LEN(chunk_bytes); i++) {
        size_t count = 0;
        range.from = NADB_SEGMENT_HEADER_BYTES;
        while (range.from < range.to) {
            struct nadb_replay_chunk chunk;
            cr_assert_eq(nadb_fs_load(&range, chunk_bytes[i], &chunk, &range.from, NULL), NADB_OK);
            cr_assert_eq(chunk.is_last, range.from == range.to);
            cr_assert_gt(chunk.count, 0);
            count += chunk.count;
            nadb_fs_chunk_free(&chunk);
        }
        cr_assert_eq(count, 2000);
    }
    teardown(b);
}

/* Calls that loading all of the range at once takes. */
static uint64_t load_calls(struct bench *b, struct nadb_fs_range *range)
{
    struct nadb_replay_chunk chunk;
    uint64_t next;
    const uint64_t before = nadb_faulty_calls(b->faulty);
    cr_assert_eq(nadb_fs_load(range, 100u << 20, &chunk, &next, NULL), NADB_OK);
    cr_assert_eq(next, range->to);
    nadb_fs_chunk_free(&chunk);
    return nadb_faulty_calls(b->faulty) - before;
}

Test(segment, loading_takes_long_calls_only_at_the_start)
{
    struct bench *b = new_bench();
    cr_assert_eq(append(b, 1, 3u << 20, false, NULL), NADB_OK);
    struct nadb_fs_range range = all_of(b);
    cr_assert_geq(load_calls(b, &range), (3u << 20) / NADB_FS_CALL_BYTES);
    range.is_at_start = true;
    cr_assert_leq(load_calls(b, &range), 2);
    teardown(b);
}

Test(segment, dead_ms_is_the_latest_time_from_here_on)
{
    static const uint64_t walls[] = {50, 40, 45, 90, 20, 70, 70, 60};
    struct nadb_fs_deaths deaths = {0};
    for (size_t i = 0; i < NADB_ARRAY_LEN(walls); i++) {
        nadb_fs_deaths_add(&deaths, i + 1, walls[i]);
    }
    cr_assert_eq(deaths.count, 3);
    cr_assert(deaths.steps[0].seq == 4 && deaths.steps[0].wall_ms == 90);
    cr_assert(deaths.steps[1].seq == 7 && deaths.steps[1].wall_ms == 70);
    cr_assert(deaths.steps[2].seq == 8 && deaths.steps[2].wall_ms == 60);
    nadb_fs_deaths_fini(&deaths);
}

static void seal(bool has_direct)
{
    struct bench *b = new_bench_on(has_direct);
    struct nadb_segment_walk walk;
    int batches;
    cr_assert_eq(append(b, 3, 10, true, NULL), NADB_OK);
    cr_assert_eq(append(b, 4, 10, false, NULL), NADB_OK);
    cr_assert_eq(nadb_segment_seal(&b->segment), 0);
    cr_assert_eq(nadb_faulty_size(b->faulty, "/0000000000000005.seg"), b->segment.end.offset);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_FOOTER);
    cr_assert_eq(batches, 2);
    cr_assert_eq(walk.frame.records, 7);
    cr_assert_eq(walk.frame.index, 2);
    cr_assert_eq(walk.frame.seq, 2);
    cr_assert_eq(walk.next.offset, b->segment.end.offset);
    cr_assert_eq(walk.next.chain, b->segment.end.chain);
    teardown(b);
}

Test(segment, a_sealed_segment_ends_in_a_footer)
{
    seal(false);
    seal(true);
}

static void write_ahead(bool has_direct)
{
    struct bench *b = new_bench_on(has_direct);
    struct nadb_segment_walk walk;
    int batches;
    bool was_stable = true;
    uint64_t last = 0;
    cr_assert_eq(append(b, 1, 64, true, NULL), NADB_OK);
    uint64_t size = nadb_faulty_size(b->faulty, "/0000000000000005.seg");
    cr_assert_gt(size, b->segment.end.offset + 1000);
    cr_assert_eq(append(b, 1, 64, true, NULL), NADB_OK);
    cr_assert_eq(nadb_faulty_size(b->faulty, "/0000000000000005.seg"), size);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_BAD);
    cr_assert_eq(batches, 2);
    cr_assert_eq(nadb_segment_walk_look_ahead(&walk, &was_stable, &last), 0);
    cr_assert_not(was_stable);
    cr_assert_eq(last, b->segment.end.offset);
    cr_assert_eq(nadb_segment_trim(&b->segment), 0);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_END);
    teardown(b);
}

Test(segment, zeros_are_written_ahead_of_small_synced_batches_and_are_no_damage)
{
    write_ahead(false);
    write_ahead(true);
}

Test(segment, a_walk_stops_before_the_batch_that_is_damaged)
{
    struct bench *b = new_bench();
    uint64_t ends[4] = {NADB_SEGMENT_HEADER_BYTES};
    for (int i = 1; i <= 3; i++) {
        cr_assert_eq(append(b, 2, 40, false, NULL), NADB_OK);
        ends[i] = b->segment.end.offset;
    }
    for (uint64_t at = ends[0]; at < ends[3]; at++) {
        struct nadb_segment_walk walk;
        int batches;
        nadb_faulty_flip(b->faulty, "/0000000000000005.seg", at, 0x40);
        cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_BAD, "byte %d", (int)at);
        cr_assert_eq(batches, at < ends[1] ? 0 : at < ends[2] ? 1 : 2, "byte %d", (int)at);
        cr_assert_eq(walk.at.offset, ends[batches]);
        nadb_faulty_flip(b->faulty, "/0000000000000005.seg", at, 0x40);
    }
    teardown(b);
}

/* Damages the first of three batches and asks whether one was stable. */
static bool is_first_known_stable(bool is_synced)
{
    struct bench *b = new_bench();
    struct nadb_segment_walk walk;
    bool was_stable;
    uint64_t last;
    int batches;
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(append(b, 1, 500u << 10, false, NULL), NADB_OK);
        if (is_synced) {
            cr_assert_eq(nadb_segment_sync(&b->segment), 0);
        }
    }
    nadb_faulty_flip(b->faulty, "/0000000000000005.seg", 100, 1);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_BAD);
    cr_assert_eq(batches, 0);
    cr_assert_eq(nadb_segment_walk_look_ahead(&walk, &was_stable, &last), 0);
    teardown(b);
    return was_stable;
}

Test(segment, a_damaged_batch_that_was_synced_is_told_from_a_torn_one)
{
    cr_assert(is_first_known_stable(true));
    cr_assert_not(is_first_known_stable(false));
}

Test(segment, the_look_ahead_sees_headers_across_its_windows)
{
    /* Moves the proving frame through all places around the end of the first window. */
    for (size_t shift = 0; shift < 2 * NADB_FRAME_HEADER_BYTES; shift += NADB_FS_ALIGN) {
        struct bench *b = new_bench();
        struct nadb_segment_walk walk;
        bool was_stable;
        uint64_t last;
        int batches;
        size_t first = NADB_WALK_WINDOW_BYTES - 2 * NADB_FRAME_HEADER_BYTES -
                       NADB_RECORD_HEADER_BYTES - 16 - 64 + shift;
        cr_assert_eq(append(b, 1, first, false, NULL), NADB_OK);
        cr_assert_eq(nadb_segment_sync(&b->segment), 0);
        cr_assert_eq(append(b, 1, 8, false, NULL), NADB_OK);
        nadb_faulty_flip(b->faulty, "/0000000000000005.seg", 100, 1);
        cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_BAD);
        cr_assert_eq(nadb_segment_walk_look_ahead(&walk, &was_stable, &last), 0);
        cr_assert(was_stable, "shift %zu", shift);
        teardown(b);
    }
}

Test(segment, frames_of_two_attempts_do_not_pass_as_one_batch)
{
    struct bench *b = new_bench();
    struct nadb_segment_walk walk;
    int batches;
    static char attempt[4u << 20];
    cr_assert_eq(append(b, 2000, 1000, false, NULL), NADB_OK);
    size_t len = nadb_faulty_get(b->faulty, "/0000000000000005.seg", 0, attempt, sizeof(attempt));
    begin_walk(b, &walk);
    cr_assert_eq(nadb_segment_walk_next(&walk), NADB_WALK_FRAME);
    size_t second = (size_t)walk.next.offset;
    struct nadb_segment_point before = {.offset = NADB_SEGMENT_HEADER_BYTES};
    b->segment.end = before; /* the same batch once more, written at another time of day */
    b->seq = 0;
    b->wall_ms_shift = 1;
    cr_assert_eq(append(b, 2000, 1000, false, NULL), NADB_OK);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_END);
    static char mixed[4u << 20];
    cr_assert_eq(nadb_faulty_get(b->faulty, "/0000000000000005.seg", 0, mixed, sizeof(mixed)), len);
    memcpy(mixed, attempt, second);
    nadb_faulty_put(b->faulty, "/0000000000000005.seg", mixed, len);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_BAD);
    cr_assert_eq(walk.next.offset, second, "each frame by itself is whole");
    cr_assert_eq(batches, 0);
    teardown(b);
}

Test(segment, what_lies_at_another_place_or_in_another_segment_does_not_verify)
{
    struct bench *b = new_bench();
    char bytes[NADB_FRAME_HEADER_BYTES];
    struct nadb_frame frame;
    cr_assert_eq(append(b, 1, 64, false, NULL), NADB_OK);
    uint64_t at = NADB_SEGMENT_HEADER_BYTES;
    (void)nadb_faulty_get(b->faulty, "/0000000000000005.seg", at, bytes, sizeof(bytes));
    uint64_t seed = b->segment.seed;
    cr_assert_eq(nadb_frame_get(bytes, nadb_offset_seed(seed, at), &frame), NADB_FS_GOOD);
    cr_assert_eq(nadb_frame_get(bytes, nadb_offset_seed(seed, at + 8), &frame), NADB_FS_BAD);
    seed = nadb_segment_seed(STORE_ID, 6);
    cr_assert_eq(nadb_frame_get(bytes, nadb_offset_seed(seed, at), &frame), NADB_FS_BAD);
    seed = nadb_segment_seed(STORE_ID + 1, 5);
    cr_assert_eq(nadb_frame_get(bytes, nadb_offset_seed(seed, at), &frame), NADB_FS_BAD);
    teardown(b);
}

static void fail_write(bool has_direct, uint64_t nth, int failure)
{
    struct bench *b = new_bench_on(has_direct);
    struct nadb_segment_walk walk;
    struct nadb_error error = {0};
    int batches;
    cr_assert_eq(append(b, 3, 10, false, NULL), NADB_OK);
    struct nadb_segment_point before = b->segment.end;
    nadb_faulty_fail(b->faulty, NADB_FAULTY_WRITE, nth, 1, failure);
    cr_assert_eq(append(b, 2000, 1000, false, &error), NADB_ENOSPC);
    cr_assert_eq(error.sys_errno, failure);
    cr_assert_eq(memcmp(&before, &b->segment.end, sizeof(before)), 0);
    cr_assert_eq(nadb_faulty_size(b->faulty, "/0000000000000005.seg"), b->segment.end.offset);
    cr_assert_eq(b->segment.is_bad, failure == EIO, "a disk that fails there fails again");
    if (!b->segment.is_bad) {
        cr_assert_eq(append(b, 5, 10, false, NULL), NADB_OK);
        cr_assert_eq(nadb_segment_trim(&b->segment), 0);
    }
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_END);
    cr_assert_eq(batches, b->segment.is_bad ? 1 : 2);
    teardown(b);
}

Test(segment, a_write_that_fails_leaves_no_trace)
{
    static const int errors[] = {ENOSPC, EIO, EFBIG, EDQUOT};
    for (size_t i = 0; i < NADB_ARRAY_LEN(errors); i++) {
        for (uint64_t nth = 1; nth <= 2; nth++) {
            fail_write(false, nth, errors[i]);
            fail_write(true, nth, errors[i]);
        }
    }
}

Test(segment, a_write_that_cannot_be_cut_back_makes_the_segment_bad)
{
    struct bench *b = new_bench();
    nadb_faulty_fail(b->faulty, NADB_FAULTY_WRITE, 1, 1, EIO);
    nadb_faulty_fail(b->faulty, NADB_FAULTY_TRUNCATE, 1, 1, EIO);
    cr_assert_eq(append(b, 10, 100, false, NULL), NADB_ENOSPC);
    cr_assert(b->segment.is_bad);
    teardown(b);
}

static void shorten(bool has_direct, uint64_t nth)
{
    struct bench *b = new_bench_on(has_direct);
    struct nadb_segment_walk walk;
    int batches;
    nadb_faulty_shorten(b->faulty, nth);
    cr_assert_eq(append(b, 2000, 1000, false, NULL), NADB_OK);
    cr_assert_eq(append(b, 2, 100u << 10, false, NULL), NADB_OK);
    cr_assert_eq(nadb_segment_trim(&b->segment), 0);
    nadb_faulty_shorten(b->faulty, nth);
    cr_assert_eq(walk_all(b, &walk, &batches), NADB_WALK_END);
    cr_assert_eq(batches, 2);
    teardown(b);
}

Test(segment, short_writes_and_reads_change_nothing)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        shorten(false, nth);
        shorten(true, nth);
    }
}

Test(segment, a_failed_sync_is_never_tried_again_on_the_same_file)
{
    struct bench *b = new_bench();
    cr_assert_eq(append(b, 1, 10, false, NULL), NADB_OK);
    nadb_faulty_fail(b->faulty, NADB_FAULTY_SYNC, 1, 1, EIO);
    cr_assert_eq(nadb_segment_sync(&b->segment), -EIO);
    cr_assert(b->segment.is_bad && b->segment.is_sync_failed);
    cr_assert_eq(b->segment.synced.seq, 0);
    teardown(b);
}

Test(segment, creating_fails_without_leaving_a_file)
{
    static const struct nadb_segment_point nothing = {0};
    static const enum nadb_faulty_call kinds[] = {
        NADB_FAULTY_OPEN, NADB_FAULTY_WRITE, NADB_FAULTY_SYNC, NADB_FAULTY_SYNC_DIR};
    for (size_t i = 0; i < NADB_ARRAY_LEN(kinds); i++) {
        struct bench *b = new_bench();
        struct nadb_segment segment;
        struct nadb_segment_create_opts opts = {.io = b->io, .dir = b->dir, .id = 6};
        nadb_faulty_fail(b->faulty, kinds[i], 1, 1, EIO);
        cr_assert_eq(nadb_segment_create(&segment, &opts, &nothing), -EIO);
        cr_assert_not(nadb_faulty_exists(b->faulty, "/0000000000000006.seg"));
        teardown(b);
    }
}
