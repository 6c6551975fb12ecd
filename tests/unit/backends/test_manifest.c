/* This file tests the manifest: its bytes, its slots, and its replacement. */
#include "backends/fs/manifest.h"

#include <errno.h>
#include <string.h>

#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/mem.h"
#include "tests/support/faulty_io.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(manifest);

/* Three segments: sealed, cut, active. */
static void fill(struct nadb_manifest *manifest)
{
    static const enum nadb_segment_state states[] = {
        NADB_SEGMENT_SEALED, NADB_SEGMENT_CUT, NADB_SEGMENT_ACTIVE};
    nadb_manifest_init(manifest);
    manifest->store_id = 42;
    manifest->last_seq = 17;
    manifest->last_version = 99;
    for (size_t i = 0; i < NADB_ARRAY_LEN(states); i++) {
        struct nadb_manifest_entry entry = {
            .id = manifest->next_id++,
            .state = states[i],
            .bytes = 64 + i * 8,
            .base = i,
            .chain = i + 10,
            .last_seq = i + 20,
            .records = i + 30,
        };
        cr_assert_not_null(nadb_manifest_add(manifest, &entry));
    }
}

static void encode(const struct nadb_manifest *manifest, char **ret_bytes, size_t *ret_len)
{
    cr_assert_eq(nadb_manifest_encode(manifest, ret_bytes, ret_len), NADB_OK);
}

static enum nadb_err decode(const char *bytes, size_t len, struct nadb_error *error)
{
    struct nadb_manifest manifest;
    nadb_manifest_init(&manifest);
    enum nadb_err err = nadb_manifest_decode(&manifest, bytes, len, error);
    nadb_manifest_fini(&manifest);
    return err;
}

static void seal_again(char *bytes, size_t len)
{
    nadb_put_u64(bytes + len - 8, nadb_checksum64(bytes, len - 8, NADB_MANIFEST_MAGIC));
}

Test(manifest, what_was_encoded_is_decoded)
{
    struct nadb_manifest written;
    struct nadb_manifest read;
    char *bytes;
    size_t len;
    fill(&written);
    written.is_clean = true;
    encode(&written, &bytes, &len);
    nadb_manifest_init(&read);
    cr_assert_eq(nadb_manifest_decode(&read, bytes, len, NULL), NADB_OK);
    cr_assert(read.is_clean);
    cr_assert_eq(read.store_id, 42);
    cr_assert_eq(read.next_id, 4);
    cr_assert_eq(read.last_seq, 17);
    cr_assert_eq(read.last_version, 99);
    cr_assert_eq(read.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct nadb_manifest_entry *a = &read.entries[i];
        const struct nadb_manifest_entry *b = &written.entries[i];
        cr_assert(a->id == b->id && a->slot == b->slot && a->state == b->state);
        cr_assert(a->bytes == b->bytes && a->base == b->base && a->chain == b->chain);
        cr_assert(a->last_seq == b->last_seq && a->records == b->records);
    }
    nadb_mem_free(bytes);
    nadb_manifest_fini(&read);
    nadb_manifest_fini(&written);
}

Test(manifest, any_changed_byte_and_any_length_is_refused)
{
    struct nadb_manifest manifest;
    char *bytes;
    size_t len;
    fill(&manifest);
    encode(&manifest, &bytes, &len);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)(bytes[i] ^ 0x10);
        cr_assert_eq(decode(bytes, len, NULL), NADB_ECORRUPT, "byte %zu", i);
        bytes[i] = (char)(bytes[i] ^ 0x10);
        cr_assert_eq(decode(bytes, i, NULL), NADB_ECORRUPT, "length %zu", i);
    }
    nadb_mem_free(bytes);
    nadb_manifest_fini(&manifest);
}

Test(manifest, a_newer_format_is_named)
{
    struct nadb_manifest manifest;
    struct nadb_error error = {0};
    char *bytes;
    size_t len;
    fill(&manifest);
    encode(&manifest, &bytes, &len);
    nadb_put_u32(bytes + NADB_MANIFEST_VERSION_AT, 7);
    seal_again(bytes, len);
    cr_assert_eq(decode(bytes, len, &error), NADB_EFORMAT);
    cr_assert_str_eq(
        error.text, "MANIFEST: written by a newer nadbd (format 7; this one reads up to 1)");
    nadb_put_u32(bytes + NADB_MANIFEST_VERSION_AT, NADB_FS_FORMAT_VERSION);
    nadb_put_u32(bytes + NADB_MANIFEST_FLAGS_AT, 2);
    seal_again(bytes, len);
    cr_assert_eq(decode(bytes, len, &error), NADB_EFORMAT);
    nadb_mem_free(bytes);
    nadb_manifest_fini(&manifest);
}

Test(manifest, entries_that_contradict_each_other_are_refused)
{
    static const struct {
        const char *what;
        size_t entry;
        size_t at;
        uint32_t value;
    } cases[] = {
        {"unknown state", 0, NADB_MANIFEST_STATE_AT, 4},
        {"state 0", 0, NADB_MANIFEST_STATE_AT, 0},
        {"active before the last", 0, NADB_MANIFEST_STATE_AT, NADB_SEGMENT_ACTIVE},
        {"slot out of range", 0, NADB_MANIFEST_SLOT_AT, NADB_SEGMENT_SLOTS_MAX},
        {"slot twice", 0, NADB_MANIFEST_SLOT_AT, 1},
        {"id twice", 1, NADB_MANIFEST_ID_AT, 1},
        {"id 0", 0, NADB_MANIFEST_ID_AT, 0},
        {"id of the future", 2, NADB_MANIFEST_ID_AT, 4},
        {"shorter than a header", 1, NADB_MANIFEST_BYTES_AT, 56},
        {"not aligned", 1, NADB_MANIFEST_BYTES_AT, 77},
    };
    struct nadb_manifest manifest;
    fill(&manifest);
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        char *bytes;
        size_t len;
        encode(&manifest, &bytes, &len);
        nadb_put_u32(bytes + NADB_MANIFEST_HEADER_BYTES +
                         cases[i].entry * NADB_MANIFEST_ENTRY_BYTES + cases[i].at,
            cases[i].value);
        seal_again(bytes, len);
        cr_assert_eq(decode(bytes, len, NULL), NADB_ECORRUPT, "%s", cases[i].what);
        nadb_mem_free(bytes);
    }
    nadb_manifest_fini(&manifest);
}

Test(manifest, a_count_beyond_the_file_allocates_nothing)
{
    struct nadb_manifest manifest;
    char *bytes;
    size_t len;
    fill(&manifest);
    encode(&manifest, &bytes, &len);
    nadb_put_u32(bytes + NADB_MANIFEST_COUNT_AT, UINT32_MAX);
    seal_again(bytes, len);
    size_t before = nadb_mem_used();
    cr_assert_eq(decode(bytes, len, NULL), NADB_ECORRUPT);
    cr_assert_eq(nadb_mem_used(), before);
    nadb_mem_free(bytes);
    nadb_manifest_fini(&manifest);
}

Test(manifest, a_freed_slot_is_given_again_last_and_no_slot_twice)
{
    struct nadb_manifest manifest;
    nadb_manifest_init(&manifest);
    struct nadb_manifest_entry entry = {.state = NADB_SEGMENT_SEALED, .bytes = 64};
    for (uint32_t i = 0; i < 200; i++) {
        entry.id = manifest.next_id++;
        cr_assert_eq(nadb_manifest_add(&manifest, &entry)->slot, i);
    }
    nadb_manifest_remove(&manifest, 71);
    cr_assert_null(nadb_manifest_find(&manifest, 71));
    cr_assert_eq(nadb_manifest_find(&manifest, 72)->slot, 71);
    for (uint32_t i = 200; i < NADB_SEGMENT_SLOTS_MAX; i += 5000) {
        manifest.slot_next = i;
        entry.id = manifest.next_id++;
        cr_assert_eq(nadb_manifest_add(&manifest, &entry)->slot, i);
    }
    manifest.slot_next = NADB_SEGMENT_SLOTS_MAX;
    entry.id = manifest.next_id++;
    cr_assert_eq(nadb_manifest_add(&manifest, &entry)->slot, 70);
    nadb_manifest_fini(&manifest);
}

Test(manifest, when_all_slots_are_taken_there_is_no_more)
{
    struct nadb_manifest manifest;
    nadb_manifest_init(&manifest);
    manifest.count = NADB_SEGMENT_SLOTS_MAX;
    manifest.cap = NADB_SEGMENT_SLOTS_MAX;
    manifest.entries = nadb_mem_zalloc(manifest.cap * sizeof(*manifest.entries));
    for (uint32_t i = 0; i < NADB_SEGMENT_SLOTS_MAX; i++) {
        manifest.entries[i].slot = i;
    }
    struct nadb_manifest_entry entry = {.id = 1};
    cr_assert_null(nadb_manifest_add(&manifest, &entry));
    nadb_manifest_fini(&manifest);
}

/* Publishes generation after generation, losing power at call `nth`; the survivor is one of them
 * and not older than the last that was reported stable. False: there was no such call. */
static bool survives_power_cut_at(uint64_t nth)
{
    struct nadb_faulty *faulty = nadb_faulty_new(nth);
    const struct nadb_fs_io *io = nadb_faulty_io(faulty);
    struct nadb_manifest manifest;
    uint64_t stable = 0;
    fill(&manifest);
    int dir = io->open_dir(io, "/");
    nadb_faulty_crash_at(faulty, nth);
    for (int i = 0; i < 4; i++) {
        if (nadb_manifest_publish(&manifest, io, dir) == 0) {
            stable = manifest.generation;
        }
    }
    bool did_crash = nadb_faulty_is_crashed(faulty);
    uint64_t newest = manifest.generation;
    nadb_manifest_fini(&manifest);
    nadb_faulty_power_cut(faulty);
    dir = io->open_dir(io, "/");
    bool exists = true;
    struct nadb_error error = {0};
    cr_assert_eq(nadb_manifest_load(&manifest, io, dir, &exists, &error), NADB_OK, "call %d: %s",
        (int)nth, error.text);
    cr_assert(exists || stable == 0);
    if (exists) {
        cr_assert(manifest.generation >= stable && manifest.generation <= newest);
        cr_assert_eq(manifest.count, 3);
    }
    nadb_manifest_fini(&manifest);
    nadb_faulty_free(faulty);
    return did_crash;
}

Test(manifest, power_lost_at_any_call_leaves_the_old_or_the_new_one)
{
    uint64_t nth = 1;
    while (survives_power_cut_at(nth)) {
        nth++;
    }
    cr_assert_gt(nth, 16);
}

Test(manifest, every_failing_call_is_reported_and_the_next_attempt_works)
{
    for (uint64_t nth = 1; nth <= 6; nth++) {
        struct nadb_faulty *faulty = nadb_faulty_new(nth);
        const struct nadb_fs_io *io = nadb_faulty_io(faulty);
        struct nadb_manifest manifest;
        fill(&manifest);
        int dir = io->open_dir(io, "/");
        cr_assert_eq(nadb_manifest_publish(&manifest, io, dir), 0);
        nadb_faulty_fail(faulty, NADB_FAULTY_ANY, nth, 1, EIO);
        cr_assert_eq(nadb_manifest_publish(&manifest, io, dir), -EIO, "call %d", (int)nth);
        cr_assert_eq(nadb_manifest_publish(&manifest, io, dir), 0, "call %d", (int)nth);
        nadb_manifest_fini(&manifest);
        nadb_faulty_free(faulty);
    }
}

Test(manifest, slots_of_a_run_that_was_exchanged_are_held_until_they_are_released)
{
    struct nadb_manifest manifest;
    nadb_manifest_init(&manifest);
    for (uint64_t id = 1; id <= 3; id++) {
        const struct nadb_manifest_entry entry = {.id = id, .state = NADB_SEGMENT_SEALED};
        cr_assert_eq(nadb_manifest_add(&manifest, &entry)->slot, id - 1);
    }
    uint32_t slot = 0;
    cr_assert(nadb_manifest_reserve(&manifest, &slot));
    cr_assert_eq(slot, 3);
    const struct nadb_manifest_entry made = {.id = 4, .slot = slot, .state = NADB_SEGMENT_SEALED};
    nadb_manifest_exchange(&manifest, 1, 2, &made);
    cr_assert_eq(manifest.count, 2);
    cr_assert_eq(manifest.entries[0].id, 4);
    cr_assert_eq(manifest.entries[1].id, 3);

    const struct nadb_manifest_entry next = {.id = 5, .state = NADB_SEGMENT_ACTIVE};
    manifest.slot_next = 0; /* all have been given once */
    cr_assert_eq(nadb_manifest_add(&manifest, &next)->slot, 4);
    nadb_manifest_remove(&manifest, 5);
    nadb_manifest_release(&manifest);
    manifest.slot_next = 0;
    cr_assert_eq(nadb_manifest_add(&manifest, &next)->slot, 0);
    nadb_manifest_fini(&manifest);
}
