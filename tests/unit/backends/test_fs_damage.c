/* This file tests that damaged files are refused and never read as something else. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/format.h"
#include "backends/fs/fs.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "tests/support/faulty_io.h"
#include "tests/support/log_model.h"
#include "tests/support/replay_all.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_damage);

#define SEGMENT_BYTES 4096
#define BATCHES       24

struct store {
    struct nadb_faulty *faulty;
    struct nadb_log_model *model;
    struct nadb_backend_open_info info;
    struct nadb_error error;
    char path[64];
};

static struct nadb_backend *new_backend(struct store *store)
{
    struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = SEGMENT_BYTES};
    return nadb_fs_new(&opts, nadb_faulty_io(store->faulty));
}

/* A store of several segments, ended cleanly or as if killed. */
static void set_up(struct store *store, bool is_clean, bool is_sync)
{
    *store = (struct store){
        .faulty = nadb_faulty_new(3),
        .model = nadb_log_model_new(3, NADB_LOG_SMALL),
    };
    struct nadb_backend *backend = new_backend(store);
    cr_assert_null(nadb_log_model_reopen(store->model, backend, &store->info));
    for (uint64_t seq = 1; seq <= BATCHES; seq++) {
        struct nadb_batch *batch = nadb_log_model_batch(store->model, seq);
        batch->is_sync = is_sync;
        cr_assert_eq(backend->ops->write(backend, batch, NULL), NADB_OK);
    }
    if (is_clean) {
        cr_assert_eq(backend->ops->close(backend, NULL), NADB_OK);
    }
    backend->ops->free(backend);
    nadb_faulty_kill(store->faulty);
}

static void tear_down(struct store *store)
{
    nadb_log_model_free(store->model);
    nadb_faulty_free(store->faulty);
}

/* Path of segment `index`, or NULL. */
static const char *segment_path(struct store *store, size_t index)
{
    const char *name = nadb_faulty_name_at(store->faulty, "/db", ".seg", index);
    if (name == NULL) {
        return NULL;
    }
    (void)snprintf(store->path, sizeof(store->path), "/db/%s", name); /* fits: a segment's name */
    return store->path;
}

static size_t segment_count(struct store *store)
{
    size_t count = 0;
    while (segment_path(store, count) != NULL) {
        count++;
    }
    return count;
}

/* What open and replay say together. */
static enum nadb_err read_all(struct store *store)
{
    struct nadb_backend *backend = new_backend(store);
    enum nadb_err err = backend->ops->open(backend, &store->info, &store->error);
    if (err == NADB_OK) {
        err = nadb_replay_all(backend, store->info.units, NULL, NULL, &store->error);
    }
    backend->ops->free(backend);
    nadb_faulty_kill(store->faulty);
    return err;
}

static void check_intact(struct store *store, uint64_t seq)
{
    struct nadb_backend *backend = new_backend(store);
    const char *wrong = nadb_log_model_reopen(store->model, backend, &store->info);
    cr_assert_null(wrong, "%s", wrong);
    cr_assert_eq(store->info.last_batch_seq, seq);
    backend->ops->free(backend);
    nadb_faulty_kill(store->faulty);
}

Test(fs_damage, any_changed_byte_of_a_store_that_ended_cleanly_is_refused)
{
    struct store store;
    set_up(&store, true, false);
    size_t segments = segment_count(&store);
    cr_assert_gt(segments, 2);
    for (size_t i = 0; i < segments; i++) {
        const char *path = segment_path(&store, i);
        for (uint64_t at = 0; at < nadb_faulty_size(store.faulty, path); at++) {
            nadb_faulty_flip(store.faulty, path, at, (uint8_t)(1u << (at % 8)));
            enum nadb_err err = read_all(&store);
            cr_assert_eq(
                err, NADB_ECORRUPT, "%s byte %" PRIu64 ": %s", path, at, nadb_err_name(err));
            cr_assert_not_null(strstr(store.error.text, path + strlen("/db/")));
            cr_assert_not_null(strstr(store.error.text, "offset"));
            nadb_faulty_flip(store.faulty, path, at, (uint8_t)(1u << (at % 8)));
        }
    }
    check_intact(&store, BATCHES);
    tear_down(&store);
}

Test(fs_damage, any_changed_byte_of_the_manifest_is_refused)
{
    struct store store;
    set_up(&store, true, false);
    for (uint64_t at = 0; at < nadb_faulty_size(store.faulty, "/db/MANIFEST"); at++) {
        nadb_faulty_flip(store.faulty, "/db/MANIFEST", at, 4);
        cr_assert_eq(read_all(&store), NADB_ECORRUPT);
        nadb_faulty_flip(store.faulty, "/db/MANIFEST", at, 4);
    }
    check_intact(&store, BATCHES);
    tear_down(&store);
}

Test(fs_damage, a_segment_of_any_other_length_is_refused)
{
    struct store store;
    for (size_t i = 0; i < 3; i++) {
        set_up(&store, true, false);
        const char *path = segment_path(&store, i);
        uint64_t size = nadb_faulty_size(store.faulty, path);
        char bytes[4 * SEGMENT_BYTES];
        cr_assert_eq(nadb_faulty_get(store.faulty, path, 0, bytes, sizeof(bytes)), size);
        for (uint64_t len = 0; len < size; len += 13) {
            nadb_faulty_put(store.faulty, path, bytes, (size_t)len);
            cr_assert_eq(read_all(&store), NADB_ECORRUPT, "%s cut to %" PRIu64, path, len);
        }
        memset(bytes + size, 0, 100);
        nadb_faulty_put(store.faulty, path, bytes, (size_t)size + 1);
        cr_assert_eq(read_all(&store), NADB_ECORRUPT, "%s with one byte more", path);
        nadb_faulty_put(store.faulty, path, bytes, (size_t)size);
        check_intact(&store, BATCHES);
        tear_down(&store);
    }
}

Test(fs_damage, a_missing_file_is_refused)
{
    struct store store;
    set_up(&store, true, false);
    nadb_faulty_remove(store.faulty, segment_path(&store, 1));
    cr_assert_eq(read_all(&store), NADB_ECORRUPT);
    cr_assert_str_eq(store.error.text, "segment '0000000000000002.seg': file is missing");
    tear_down(&store);
    set_up(&store, true, false);
    nadb_faulty_remove(store.faulty, "/db/MANIFEST");
    cr_assert_eq(read_all(&store), NADB_ECORRUPT);
    tear_down(&store);
}

Test(fs_damage, an_empty_manifest_is_refused)
{
    struct store store;
    set_up(&store, true, false);
    nadb_faulty_put(store.faulty, "/db/MANIFEST", "", 0);
    cr_assert_eq(read_all(&store), NADB_ECORRUPT);
    tear_down(&store);
}

Test(fs_damage, segments_that_changed_places_are_refused)
{
    struct store store;
    set_up(&store, true, false);
    char bytes[4 * SEGMENT_BYTES];
    size_t len = nadb_faulty_get(store.faulty, segment_path(&store, 0), 0, bytes, sizeof(bytes));
    nadb_faulty_put(store.faulty, segment_path(&store, 1), bytes, len);
    cr_assert_eq(read_all(&store), NADB_ECORRUPT);
    tear_down(&store);
}

Test(fs_damage, a_manifest_from_before_newer_batches_is_refused)
{
    struct store store;
    set_up(&store, true, false);
    char bytes[4096];
    size_t len = nadb_faulty_get(store.faulty, "/db/MANIFEST", 0, bytes, sizeof(bytes));
    struct nadb_backend *backend = new_backend(&store);
    cr_assert_null(nadb_log_model_reopen(store.model, backend, &store.info));
    for (uint64_t seq = BATCHES + 1; seq <= 2 * BATCHES; seq++) {
        cr_assert_eq(
            backend->ops->write(backend, nadb_log_model_batch(store.model, seq), NULL), NADB_OK);
    }
    cr_assert_eq(backend->ops->close(backend, NULL), NADB_OK);
    backend->ops->free(backend);
    size_t segments = segment_count(&store);
    nadb_faulty_put(store.faulty, "/db/MANIFEST", bytes, len);
    cr_assert_eq(read_all(&store), NADB_ECORRUPT);
    cr_assert_eq(segment_count(&store), segments, "nothing may be removed");
    tear_down(&store);
}

Test(fs_damage, unknown_names_and_empty_leftovers_are_no_trouble)
{
    struct store store;
    set_up(&store, true, false);
    nadb_faulty_put(store.faulty, "/db/notes.txt", "hello", 5);
    nadb_faulty_put(store.faulty, "/db/MANIFEST.tmp", "rest", 4);
    nadb_faulty_put(store.faulty, "/db/00000000000000ff.seg", "", 0);
    check_intact(&store, BATCHES);
    cr_assert_str_eq(store.info.note, "removed segments that a crash left unused: 1");
    cr_assert(nadb_faulty_exists(store.faulty, "/db/notes.txt"));
    cr_assert_not(nadb_faulty_exists(store.faulty, "/db/MANIFEST.tmp"));
    cr_assert_not(nadb_faulty_exists(store.faulty, "/db/00000000000000ff.seg"));
    tear_down(&store);
}

Test(fs_damage, a_newer_segment_is_named_as_such)
{
    struct store store;
    set_up(&store, true, false);
    const char *path = segment_path(&store, 0);
    char bytes[4 * SEGMENT_BYTES];
    size_t len = nadb_faulty_get(store.faulty, path, 0, bytes, sizeof(bytes));
    nadb_put_u32(bytes + NADB_SEGMENT_VERSION_AT, 2);
    nadb_put_u64(bytes + NADB_SEGMENT_CHECK_AT,
        nadb_checksum64(bytes, NADB_SEGMENT_CHECK_AT, NADB_SEGMENT_MAGIC));
    nadb_faulty_put(store.faulty, path, bytes, len);
    cr_assert_eq(read_all(&store), NADB_EFORMAT);
    cr_assert_not_null(
        strstr(store.error.text, "written by a newer nadbd (format 2; this one reads up to 1)"));
    tear_down(&store);
}

/* ---- after an unclean end ---- */

Test(fs_damage, a_changed_byte_before_the_last_batch_of_a_synced_log_is_refused)
{
    struct store store;
    set_up(&store, false, true);
    size_t last = segment_count(&store) - 1;
    uint64_t refused = 0;
    uint64_t cut = 0;
    struct nadb_backend_open_info info;
    check_intact(&store, BATCHES); /* cuts nothing: all is whole */
    tear_down(&store);
    for (uint64_t at = NADB_SEGMENT_HEADER_BYTES;; at += 5) {
        set_up(&store, false, true);
        const char *path = segment_path(&store, last);
        uint8_t byte;
        if (nadb_faulty_get(store.faulty, path, at, &byte, 1) == 0 || cut > 40) {
            tear_down(&store);
            break;
        }
        nadb_faulty_flip(store.faulty, path, at, 0x20);
        struct nadb_backend *backend = new_backend(&store);
        const char *wrong = nadb_log_model_reopen(store.model, backend, &info);
        if (wrong == NULL) {
            cr_assert_geq(info.last_batch_seq, BATCHES - 1, "byte %" PRIu64, at);
            cut += info.last_batch_seq == BATCHES - 1;
        } else {
            cr_assert_not_null(strstr(wrong, "damaged at offset"), "%s", wrong);
            cr_assert_eq(cut, 0, "only what lies before the last batch may be refused");
            refused++;
        }
        backend->ops->free(backend);
        tear_down(&store);
    }
    cr_assert_gt(refused, 0);
    cr_assert_gt(cut, 0);
}

Test(fs_damage, a_torn_tail_is_cut_with_a_note_and_counted)
{
    struct store store;
    set_up(&store, false, false);
    size_t last = segment_count(&store) - 1;
    const char *path = segment_path(&store, last);
    uint64_t size = nadb_faulty_size(store.faulty, path);
    nadb_faulty_resize(store.faulty, path, size - 9);
    check_intact(&store, BATCHES - 1);
    cr_assert_not(store.info.was_clean);
    cr_assert_gt(store.info.torn_bytes, 0);
    char note[200];
    (void)snprintf(note, sizeof(note), "cut %" PRIu64 " bytes of an incomplete batch from %s",
        store.info.torn_bytes, path + strlen("/db/")); /* fits: short texts */
    cr_assert_str_eq(store.info.note, note);
    check_intact(&store, BATCHES - 1);
    cr_assert_eq(store.info.torn_bytes, 0, "it is cut only once");
    tear_down(&store);
}

Test(fs_damage, garbage_behind_the_last_batch_is_cut)
{
    struct store store;
    set_up(&store, false, false);
    const char *path = segment_path(&store, segment_count(&store) - 1);
    uint64_t size = nadb_faulty_size(store.faulty, path);
    nadb_faulty_resize(store.faulty, path, size + 5000);
    nadb_faulty_flip(store.faulty, path, size + 4000, 0xff);
    check_intact(&store, BATCHES);
    cr_assert_eq(store.info.torn_bytes, 4001);
    tear_down(&store);
}

Test(fs_damage, zeros_behind_the_last_batch_are_no_torn_tail)
{
    struct store store;
    set_up(&store, false, true);
    check_intact(&store, BATCHES);
    cr_assert_eq(store.info.torn_bytes, 0);
    cr_assert_str_eq(store.info.note, "");
    tear_down(&store);
}
