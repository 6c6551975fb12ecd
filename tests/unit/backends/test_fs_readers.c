/* This file tests the table of segments that are read from: what a location means, and when files
 * are opened and closed. */
#include <errno.h>

#include "backends/fs/readers.h"
#include "backends/fs/segment.h"
#include "tests/support/faulty_io.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_readers);

#define SEGMENTS (NADB_FS_READERS_OPEN_MAX * 2)

struct rig {
    struct nadb_faulty *faulty;
    struct nadb_fs_readers readers;
};

static uint64_t loc_of(uint32_t slot, uint64_t offset)
{
    return (uint64_t)slot << NADB_LOC_OFFSET_BITS | offset / NADB_FS_ALIGN;
}

/* Segment number slot + 1 in each slot. */
static void set_up(struct rig *rig)
{
    rig->faulty = nadb_faulty_new(1);
    const struct nadb_fs_io *io = nadb_faulty_io(rig->faulty);
    cr_assert_eq(io->make_dir(io, "/db"), 0);
    int dir = io->open_dir(io, "/db");
    nadb_fs_readers_init(&rig->readers, io, dir);
    for (uint32_t slot = 0; slot < SEGMENTS; slot++) {
        char name[NADB_SEGMENT_NAME_BYTES];
        nadb_segment_name(name, slot + 1);
        int file = io->open_file(io, dir, name, NADB_FS_OPEN_CREATE);
        cr_assert_geq(file, 0);
        cr_assert_eq(io->close_file(io, file), 0);
        nadb_fs_readers_add(&rig->readers, slot, slot + 1, slot + 1000);
    }
}

static void tear_down(struct rig *rig)
{
    nadb_fs_readers_fini(&rig->readers);
    nadb_faulty_free(rig->faulty);
}

static struct nadb_fs_source take(struct rig *rig, uint64_t loc)
{
    struct nadb_fs_source source;
    cr_assert_eq(nadb_fs_readers_take(&rig->readers, loc, &source), 0);
    return source;
}

static void read_some(struct rig *rig, uint64_t loc)
{
    struct nadb_fs_source source = take(rig, loc);
    nadb_fs_readers_give_back(&rig->readers, &source);
}

Test(fs_readers, a_location_names_segment_and_offset)
{
    struct rig rig;
    set_up(&rig);
    struct nadb_fs_source source = take(&rig, loc_of(3, 4096));
    cr_assert_eq(source.id, 4);
    cr_assert_eq(source.seed, 1003);
    cr_assert_eq(source.offset, 4096);
    nadb_fs_readers_give_back(&rig.readers, &source);
    tear_down(&rig);
}

Test(fs_readers, a_slot_without_a_segment_has_nothing)
{
    struct rig rig;
    set_up(&rig);
    struct nadb_fs_source source;
    cr_assert_eq(nadb_fs_readers_take(&rig.readers, loc_of(SEGMENTS, 64), &source), -ENODATA);
    cr_assert_eq(
        nadb_fs_readers_take(&rig.readers, loc_of(NADB_SEGMENT_SLOTS_MAX - 1, 64), &source),
        -ENODATA);
    tear_down(&rig);
}

Test(fs_readers, a_file_is_opened_once_for_many_reads)
{
    struct rig rig;
    set_up(&rig);
    read_some(&rig, loc_of(0, 64));
    uint64_t calls = nadb_faulty_calls(rig.faulty);
    for (int i = 0; i < 10; i++) {
        read_some(&rig, loc_of(0, 64));
    }
    cr_assert_eq(nadb_faulty_calls(rig.faulty), calls);
    tear_down(&rig);
}

Test(fs_readers, the_file_that_was_not_used_for_longest_makes_room)
{
    struct rig rig;
    set_up(&rig);
    for (uint32_t slot = 0; slot < NADB_FS_READERS_OPEN_MAX; slot++) {
        read_some(&rig, loc_of(slot, 64));
    }
    read_some(&rig, loc_of(0, 64));
    read_some(&rig, loc_of(NADB_FS_READERS_OPEN_MAX, 64)); /* closes that of slot 1 */
    uint64_t calls = nadb_faulty_calls(rig.faulty);
    read_some(&rig, loc_of(0, 64));
    cr_assert_eq(nadb_faulty_calls(rig.faulty), calls);
    read_some(&rig, loc_of(1, 64));
    cr_assert_eq(nadb_faulty_calls(rig.faulty), calls + 1);
    tear_down(&rig);
}

Test(fs_readers, when_all_files_are_in_use_more_are_opened_for_a_moment)
{
    struct rig rig;
    set_up(&rig);
    struct nadb_fs_source sources[SEGMENTS];
    for (uint32_t slot = 0; slot < SEGMENTS; slot++) {
        sources[slot] = take(&rig, loc_of(slot, 64));
        cr_assert_eq(sources[slot].id, slot + 1);
    }
    for (uint32_t slot = 0; slot < SEGMENTS; slot++) {
        nadb_fs_readers_give_back(&rig.readers, &sources[slot]);
    }
    tear_down(&rig);
}

Test(fs_readers, a_removed_segment_is_found_no_more_and_read_on_by_who_has_it)
{
    struct rig rig;
    set_up(&rig);
    const struct nadb_fs_io *io = nadb_faulty_io(rig.faulty);
    struct nadb_fs_source first = take(&rig, loc_of(2, 64));
    struct nadb_fs_source second = take(&rig, loc_of(2, 64));
    nadb_fs_readers_remove(&rig.readers, 2);
    struct nadb_fs_source none;
    cr_assert_eq(nadb_fs_readers_take(&rig.readers, loc_of(2, 64), &none), -ENODATA);
    nadb_fs_readers_give_back(&rig.readers, &first);
    char byte;
    cr_assert_eq(io->pread_file(io, second.file, &byte, 1, 0), 0, "it is open, and empty");
    nadb_fs_readers_give_back(&rig.readers, &second);
    tear_down(&rig);
}

Test(fs_readers, a_slot_that_was_given_again_names_the_new_segment)
{
    struct rig rig;
    set_up(&rig);
    struct nadb_fs_source old = take(&rig, loc_of(2, 64));
    nadb_fs_readers_remove(&rig.readers, 2);
    nadb_fs_readers_add(&rig.readers, 2, SEGMENTS, 77); /* the file of the last slot */
    struct nadb_fs_source fresh = take(&rig, loc_of(2, 64));
    cr_assert_eq(fresh.id, SEGMENTS);
    cr_assert_neq(fresh.file, old.file);
    nadb_fs_readers_give_back(&rig.readers, &old);
    nadb_fs_readers_give_back(&rig.readers, &fresh);
    tear_down(&rig);
}

Test(fs_readers, what_was_copied_is_read_from_the_copy_and_the_rest_from_where_it_was)
{
    struct rig rig;
    set_up(&rig);
    nadb_fs_readers_forward(&rig.readers, 0, 1024, 1, 64);
    nadb_fs_readers_forward(&rig.readers, 1, 64, 2, 640);
    cr_assert(!nadb_fs_readers_has_guests(&rig.readers, 0));
    cr_assert(nadb_fs_readers_has_guests(&rig.readers, 2));
    struct nadb_fs_source source = take(&rig, loc_of(0, 1016));
    cr_assert(source.id == 1 && source.offset == 1016);
    nadb_fs_readers_give_back(&rig.readers, &source);
    source = take(&rig, loc_of(0, 1032));
    cr_assert(source.id == 3 && source.offset == 648);
    nadb_fs_readers_give_back(&rig.readers, &source);
    tear_down(&rig);
}
