/* This file tests reading values by location from a disk that is damaged or says no. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/format.h"
#include "backends/fs/fs.h"
#include "src/base/mem.h"
#include "tests/support/faulty_io.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_read);

#define KEYS       24
#define VALUE_MAX  3000
#define SMALL_SIZE 4096

struct rig {
    struct nadb_faulty *faulty;
    struct nadb_backend *backend;
    uint64_t seq;
    uint64_t locs[KEYS];
    uint64_t versions[KEYS];
};

struct put {
    size_t key;
    uint64_t version;
    char name[16];
    char value[VALUE_MAX];
};

static size_t value_len(size_t key)
{
    return key * 113 % VALUE_MAX;
}

static void fill(char *value, size_t key, uint64_t version)
{
    for (size_t i = 0; i < value_len(key); i++) {
        value[i] = (char)('a' + (i * 7 + key + version) % 26);
    }
}

static struct nadb_slice name_of(size_t key, char out[16])
{
    return nadb_slice_of(out, (size_t)snprintf(out, 16, "key-%zu", key));
}

static void put_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct put *put = batch->entry_ctx;
    (void)index;
    *ret = (struct nadb_entry){
        .kind = NADB_ENTRY_PUT,
        .version = put->version,
        .key = nadb_slice_of(put->name, strlen(put->name)),
        .value = nadb_slice_of(put->value, value_len(put->key)),
        .tags = NADB_SLICE("\x02\x00hi"),
    };
}

static enum nadb_err put(struct rig *rig, size_t key, bool is_sync)
{
    static struct put put;
    put.key = key;
    put.version = rig->seq + 1;
    (void)name_of(key, put.name);
    fill(put.value, key, put.version);
    struct nadb_batch batch = {
        .seq = rig->seq + 1,
        .last_version = rig->seq + 1,
        .is_sync = is_sync,
        .count = 1,
        .entry = put_entry,
        .entry_ctx = &put,
        .locs = &rig->locs[key],
    };
    enum nadb_err err = rig->backend->ops->write(rig->backend, &batch, NULL);
    if (err == NADB_OK) {
        rig->seq++;
        rig->versions[key] = rig->seq;
    }
    return err;
}

static void open_rig(struct rig *rig, uint64_t segment_size)
{
    struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = segment_size};
    struct nadb_backend_open_info info;
    rig->backend = nadb_fs_new(&opts, nadb_faulty_io(rig->faulty));
    cr_assert_eq(rig->backend->ops->open(rig->backend, &info, NULL), NADB_OK);
}

static void set_up(struct rig *rig, uint64_t segment_size)
{
    *rig = (struct rig){.faulty = nadb_faulty_new(11)};
    open_rig(rig, segment_size);
}

static void tear_down(struct rig *rig)
{
    rig->backend->ops->free(rig->backend);
    nadb_faulty_free(rig->faulty);
}

static void put_all(struct rig *rig, bool is_sync)
{
    for (size_t key = 0; key < KEYS; key++) {
        cr_assert_eq(put(rig, key, is_sync), NADB_OK);
    }
}

/* What the read says; when it says that all is right, the value must be. */
static enum nadb_err read_key(struct rig *rig, size_t key, struct nadb_error *ret_error)
{
    static char value[VALUE_MAX];
    static char wanted[VALUE_MAX];
    char name[16];
    struct nadb_read read = {
        .loc = rig->locs[key],
        .version = rig->versions[key],
        .key = name_of(key, name),
        .value_len = value_len(key),
        .value = value,
    };
    rig->backend->ops->read(rig->backend, &read, 1);
    fill(wanted, key, rig->versions[key]);
    if (read.err == NADB_OK) {
        cr_assert_arr_eq(value, wanted, value_len(key));
    } else if (ret_error != NULL) {
        *ret_error = read.error;
    }
    return read.err;
}

static void check_all(struct rig *rig)
{
    for (size_t key = 0; key < KEYS; key++) {
        struct nadb_error error = {0};
        cr_assert_eq(read_key(rig, key, &error), NADB_OK, "key %zu: %s", key, error.text);
    }
}

Test(fs_read, a_changed_byte_of_a_record_is_told_with_file_and_offset_and_spares_the_others)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    put_all(&rig, true);
    const char *name = nadb_faulty_name_at(rig.faulty, "/db", ".seg", 0);
    char path[64];
    (void)snprintf(path, sizeof(path), "/db/%s", name); /* fits: a segment's name */
    const size_t key = 5;
    uint64_t offset = (rig.locs[key] & ((UINT64_C(1) << NADB_LOC_OFFSET_BITS) - 1)) * NADB_FS_ALIGN;
    char where[96];
    (void)snprintf(where, sizeof(where), "%s:%" PRIu64, path + 4, offset); /* fits likewise */
    for (uint64_t at = 0; at < NADB_RECORD_HEADER_BYTES + value_len(key); at++) {
        struct nadb_error error = {0};
        nadb_faulty_flip(rig.faulty, path, offset + at, (uint8_t)(1u << (at % 8)));
        cr_assert_eq(read_key(&rig, key, &error), NADB_ECORRUPT, "byte %" PRIu64, at);
        cr_assert_eq(strncmp(error.text, where, strlen(where)), 0, "%s", error.text);
        cr_assert_eq(read_key(&rig, key + 1, NULL), NADB_OK);
        nadb_faulty_flip(rig.faulty, path, offset + at, (uint8_t)(1u << (at % 8)));
    }
    check_all(&rig);
    tear_down(&rig);
}

Test(fs_read, a_byte_that_was_wrong_on_the_way_is_read_again)
{
    struct rig rig;
    set_up(&rig, SMALL_SIZE);
    put_all(&rig, true);
    for (size_t key = 0; key < KEYS; key++) {
        nadb_faulty_garble(rig.faulty, 1);
        cr_assert_eq(read_key(&rig, key, NULL), NADB_OK);
    }
    tear_down(&rig);
}

Test(fs_read, bytes_that_stay_wrong_are_never_handed_out)
{
    struct rig rig;
    set_up(&rig, SMALL_SIZE);
    put_all(&rig, true);
    size_t refused = 0;
    for (size_t key = 0; key < KEYS; key++) {
        nadb_faulty_garble(rig.faulty, UINT64_MAX);
        refused += read_key(&rig, key, NULL) == NADB_ECORRUPT;
    }
    cr_assert_gt(refused, KEYS / 2);
    nadb_faulty_garble(rig.faulty, 0);
    check_all(&rig);
    tear_down(&rig);
}

Test(fs_read, an_error_of_the_disk_is_told_for_that_read_only)
{
    struct rig rig;
    set_up(&rig, SMALL_SIZE);
    put_all(&rig, true);
    struct nadb_error error = {0};
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_READ, 1, 1, EIO);
    cr_assert_eq(read_key(&rig, 3, &error), NADB_EIO);
    cr_assert_eq(error.sys_errno, EIO);
    cr_assert_not_null(strstr(error.text, ".seg:"), "%s", error.text);
    check_all(&rig);
    tear_down(&rig);
}

Test(fs_read, a_file_that_cannot_be_opened_is_an_error_until_it_can)
{
    struct rig rig;
    set_up(&rig, SMALL_SIZE);
    put_all(&rig, true);
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_OPEN, 1, 1, EMFILE);
    struct nadb_error error = {0};
    cr_assert_eq(read_key(&rig, 0, &error), NADB_EIO);
    cr_assert_eq(error.sys_errno, EMFILE);
    check_all(&rig);
    tear_down(&rig);
}

Test(fs_read, short_reads_are_completed)
{
    struct rig rig;
    set_up(&rig, SMALL_SIZE);
    put_all(&rig, true);
    for (size_t key = 0; key < KEYS; key++) {
        nadb_faulty_shorten(rig.faulty, 1);
        cr_assert_eq(read_key(&rig, key, NULL), NADB_OK);
    }
    tear_down(&rig);
}

Test(fs_read, want_of_memory_is_told_for_that_read_only)
{
    struct rig rig;
    set_up(&rig, SMALL_SIZE);
    put_all(&rig, true);
    nadb_mem_fail_at(1);
    cr_assert_eq(read_key(&rig, 3, NULL), NADB_ENOMEM);
    check_all(&rig);
    tear_down(&rig);
}

Test(fs_read, batches_copied_after_a_failed_sync_are_found_by_their_old_locations)
{
    for (int failures = 1; failures <= 3; failures++) {
        struct rig rig;
        set_up(&rig, 1u << 20);
        size_t half = KEYS / 2;
        for (size_t key = 0; key < half; key++) {
            cr_assert_eq(put(&rig, key, key == half / 2), NADB_OK);
        }
        nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, 1, (uint64_t)failures, EIO);
        for (size_t key = half; key < KEYS; key++) {
            while (put(&rig, key, true) != NADB_OK) {
            }
        }
        check_all(&rig);
        tear_down(&rig);
    }
}

Test(fs_read, a_log_that_was_copied_and_whose_first_batch_was_never_synced_is_read_whole)
{
    struct rig rig;
    set_up(&rig, 1u << 20);
    for (size_t key = 0; key < KEYS - 1; key++) {
        cr_assert_eq(put(&rig, key, false), NADB_OK);
    }
    /* The directory and the header were synced when the segment was made. */
    nadb_faulty_fail(rig.faulty, NADB_FAULTY_SYNC, 1, 1, EIO);
    cr_assert_eq(put(&rig, KEYS - 1, true), NADB_OK);
    /* What a file holds whose sync failed is not to be relied on: it must not be looked at. */
    char path[64];
    (void)snprintf(path, sizeof(path), "/db/%s", nadb_faulty_name_at(rig.faulty, "/db", ".seg", 0));
    nadb_faulty_remove(rig.faulty, path);
    check_all(&rig);
    tear_down(&rig);
}
