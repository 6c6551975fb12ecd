/* This file tests hints: a start by them finds what a start without them finds, but for values, and
 * whatever is wrong with one makes no difference. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/fs.h"
#include "backends/fs/hint.h"
#include "src/base/mem.h"
#include "tests/support/faulty_io.h"
#include "tests/support/replay_all.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_hint);

#define BATCHES     60u
#define ENTRIES_MAX 256u
#define CALLS_MAX   400u
#define VALUE_LEN   300u

struct rig {
    struct nadb_faulty *faulty;
    struct nadb_backend *backend;
    struct nadb_backend_open_info info;
};

/* What replay gives, without what values hold. */
struct found {
    size_t count;
    uint64_t digest; /* of kinds, keys, tags, lengths, times, places and deaths */
    size_t with_values;
};

static enum nadb_err open_rig(struct rig *rig, uint64_t replay_values_max)
{
    const struct nadb_backend_opts opts = {
        .dir = "/db", .segment_size_bytes = 4096, .replay_values_max = replay_values_max};
    rig->backend = nadb_fs_new(&opts, nadb_faulty_io(rig->faulty));
    return rig->backend->ops->open(rig->backend, &rig->info, NULL);
}

/* Every kind of entry; tags, expiry and compression here and there. */
static void entry_of(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    static char key[32];
    static char value[VALUE_LEN];
    uint64_t version = batch->seq * 2 + index;
    memset(value, (int)version, sizeof(value));
    *ret = (struct nadb_entry){
        .kind = version % 17 == 0   ? NADB_ENTRY_DELETE
                : version % 19 == 0 ? NADB_ENTRY_INVALIDATE
                                    : NADB_ENTRY_PUT,
        .version = version,
        .key = nadb_slice_of(
            key, (size_t)snprintf(key, sizeof(key), "key-%u", (unsigned)(version % 50))),
        .value = nadb_slice_of(value, version % 5 == 0 ? 0 : VALUE_LEN),
    };
    if (ret->kind == NADB_ENTRY_PUT) {
        ret->created_ms = 1000 + version;
        ret->updated_ms = 2000 + version;
        ret->accessed_s = (uint32_t)version;
        ret->expire_ms = version % 3 == 0 ? 5000 + version : 0;
        ret->tags = version % 2 == 0 ? NADB_SLICE("\3\0one") : nadb_slice_of(NULL, 0);
    }
}

/* The clock goes back once, so that deaths have steps. */
static void write_all(struct rig *rig)
{
    for (uint64_t seq = 1; seq <= BATCHES; seq++) {
        struct nadb_batch batch = {
            .seq = seq,
            .last_version = seq * 2 + 1,
            .wall_ms = seq < BATCHES / 2 ? 9000 - seq * 10 : 6000 + seq,
            .is_sync = true,
            .compression = {.is_on = seq % 2 == 0, .level = 6, .threshold_len = 64},
            .count = 2,
            .entry = entry_of,
        };
        cr_assert_eq(rig->backend->ops->write(rig->backend, &batch, NULL), NADB_OK);
    }
}

static void hint_all(struct rig *rig, enum nadb_err *ret_err)
{
    struct nadb_segment_info *list = NULL;
    size_t count = 0;
    cr_assert_eq(rig->backend->ops->list(rig->backend, false, &list, &count, NULL), NADB_OK);
    for (size_t i = 0; i < count; i++) {
        enum nadb_err err =
            list[i].is_closed ? rig->backend->ops->hint(rig->backend, list[i].id, NULL) : NADB_OK;
        *ret_err = err == NADB_OK ? *ret_err : err;
    }
    nadb_mem_free(list);
}

static void set_up(struct rig *rig)
{
    enum nadb_err err = NADB_OK;
    *rig = (struct rig){.faulty = nadb_faulty_new(7)};
    cr_assert_eq(open_rig(rig, 0), NADB_OK);
    write_all(rig);
    hint_all(rig, &err);
    cr_assert_eq(err, NADB_OK);
}

static void let_go(struct rig *rig)
{
    rig->backend->ops->free(rig->backend);
    nadb_faulty_kill(rig->faulty);
}

static void tear_down(struct rig *rig)
{
    rig->backend->ops->free(rig->backend);
    nadb_faulty_free(rig->faulty);
}

static void mix(uint64_t *digest, uint64_t value)
{
    *digest = (*digest ^ value) * UINT64_C(0x100000001b3);
}

static void mix_slice(uint64_t *digest, struct nadb_slice slice)
{
    mix(digest, slice.len);
    for (size_t i = 0; i < slice.len; i++) {
        mix(digest, (unsigned char)slice.data[i]);
    }
}

static void note_chunk(void *ctx, const struct nadb_replay_chunk *chunk)
{
    struct found *found = ctx;
    for (size_t i = 0; i < chunk->count; i++) {
        const struct nadb_entry *entry = &chunk->entries[i];
        mix(&found->digest, (uint64_t)entry->kind);
        mix(&found->digest, entry->version);
        mix_slice(&found->digest, entry->key);
        mix_slice(&found->digest, entry->tags);
        mix(&found->digest, entry->created_ms);
        mix(&found->digest, entry->updated_ms);
        mix(&found->digest, entry->accessed_s);
        mix(&found->digest, entry->expire_ms);
        mix(&found->digest, entry->value.len);
        mix(&found->digest, entry->kind == NADB_ENTRY_PUT ? chunk->locs[i] : 0);
        mix(&found->digest, entry->expire_ms != 0 && entry->expire_ms <= chunk->dead_ms[i]);
        bool is_selector = entry->kind == NADB_ENTRY_INVALIDATE;
        cr_assert(!is_selector || entry->value.len == 0 || entry->value.data != NULL);
        found->with_values += entry->kind == NADB_ENTRY_PUT && entry->value.data != NULL;
        found->count++;
    }
}

static struct found replay(struct rig *rig)
{
    struct found found = {.digest = UINT64_C(0xcbf29ce484222325)};
    cr_assert_eq(nadb_replay_all(rig->backend, rig->info.units, note_chunk, &found, NULL), NADB_OK);
    return found;
}

Test(fs_hint, a_start_by_hints_finds_what_a_start_without_finds)
{
    struct rig rig;
    set_up(&rig);
    let_go(&rig);
    cr_assert_eq(open_rig(&rig, 0), NADB_OK);
    cr_assert(!rig.info.is_without_values);
    uint64_t bytes = rig.info.bytes;
    struct found whole = replay(&rig);
    cr_assert_eq(whole.count, 2 * BATCHES);
    cr_assert_gt(whole.with_values, BATCHES);
    let_go(&rig);
    cr_assert_eq(open_rig(&rig, 1), NADB_OK);
    cr_assert(rig.info.is_without_values);
    cr_assert_lt(rig.info.bytes, bytes, "the hints were not used");
    struct found lean = replay(&rig);
    cr_assert_eq(lean.count, whole.count);
    cr_assert_eq(lean.digest, whole.digest);
    cr_assert_eq(lean.with_values, 0);
    cr_assert_eq(rig.info.last_batch_seq, BATCHES);
    tear_down(&rig);
}

Test(fs_hint, values_are_read_at_the_places_that_hints_name)
{
    struct rig rig;
    set_up(&rig);
    let_go(&rig);
    cr_assert_eq(open_rig(&rig, 1), NADB_OK);
    uint64_t cursor = 0;
    struct nadb_replay_chunk chunk;
    cr_assert_eq(rig.backend->ops->replay(rig.backend, 1, &cursor, &chunk, NULL), NADB_OK);
    for (size_t i = 0; i < chunk.count; i++) {
        const struct nadb_entry *entry = &chunk.entries[i];
        char value[VALUE_LEN];
        char wanted[VALUE_LEN];
        struct nadb_read read = {
            .loc = chunk.locs[i],
            .version = entry->version,
            .key = entry->key,
            .value_len = entry->value.len,
            .value = value,
        };
        if (entry->kind == NADB_ENTRY_PUT) {
            rig.backend->ops->read(rig.backend, &read, 1);
            cr_assert_eq(read.err, NADB_OK, "%s", read.error.text);
            memset(wanted, (int)entry->version, sizeof(wanted));
            cr_assert_arr_eq(value, wanted, entry->value.len);
        }
    }
    rig.backend->ops->replay_free(&chunk);
    tear_down(&rig);
}

/* Every call of writing a hint fails once, or is the last. */
Test(fs_hint, any_call_may_fail_and_the_next_start_finds_the_same)
{
    bool is_through = false;
    for (uint64_t nth = 1; !is_through; nth++) {
        cr_assert_lt(nth, CALLS_MAX);
        for (int is_crash = 0; is_crash <= 1; is_crash++) {
            enum nadb_err err = NADB_OK;
            struct rig rig = {.faulty = nadb_faulty_new(nth)};
            cr_assert_eq(open_rig(&rig, 0), NADB_OK);
            write_all(&rig);
            uint64_t before = nadb_faulty_calls(rig.faulty);
            if (is_crash) {
                nadb_faulty_crash_at(rig.faulty, nth);
            } else {
                nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, nth, 1, EIO);
            }
            hint_all(&rig, &err);
            is_through = nadb_faulty_calls(rig.faulty) - before < nth;
            nadb_faulty_fail(rig.faulty, NADB_FAULTY_ANY, 0, 0, 0);
            rig.backend->ops->free(rig.backend);
            nadb_faulty_power_cut(rig.faulty);
            cr_assert_eq(open_rig(&rig, 1), NADB_OK, "call %" PRIu64, nth);
            struct found lean = replay(&rig);
            cr_assert_eq(lean.count, 2 * BATCHES, "call %" PRIu64, nth);
            cr_assert_eq(lean.with_values, 0);
            let_go(&rig);
            cr_assert_eq(open_rig(&rig, 0), NADB_OK);
            cr_assert_eq(replay(&rig).digest, lean.digest, "call %" PRIu64, nth);
            tear_down(&rig);
        }
    }
}

static const char *path_of(char out[64], const char *name)
{
    (void)snprintf(out, 64, "/db/%s", name);
    return out;
}

Test(fs_hint, a_damaged_hint_is_not_believed_and_goes)
{
    char name[NADB_HINT_NAME_BYTES];
    char path[64];
    uint64_t size = 1;
    nadb_hint_name(name, 2);
    for (uint64_t offset = 0; offset < size; offset += 7) {
        struct rig rig;
        set_up(&rig);
        let_go(&rig);
        size = nadb_faulty_size(rig.faulty, path_of(path, name));
        nadb_faulty_flip(rig.faulty, path, offset, 0x10);
        cr_assert_eq(open_rig(&rig, 1), NADB_OK);
        struct found lean = replay(&rig);
        let_go(&rig);
        cr_assert_eq(open_rig(&rig, 0), NADB_OK);
        cr_assert_eq(replay(&rig).digest, lean.digest, "offset %" PRIu64, offset);
        struct nadb_segment_info *list = NULL;
        size_t count = 0;
        cr_assert_eq(rig.backend->ops->list(rig.backend, false, &list, &count, NULL), NADB_OK);
        cr_assert(list[0].has_hint && !list[1].has_hint && list[2].has_hint);
        nadb_mem_free(list);
        tear_down(&rig);
    }
}

Test(fs_hint, a_segment_that_differs_from_the_manifest_is_damage_with_a_hint_too)
{
    struct rig rig;
    set_up(&rig);
    let_go(&rig);
    char name[NADB_SEGMENT_NAME_BYTES];
    char path[64];
    nadb_segment_name(name, 2);
    uint64_t size = nadb_faulty_size(rig.faulty, path_of(path, name));
    nadb_faulty_flip(rig.faulty, path, size - 1, 1); /* of the footer */
    cr_assert_eq(open_rig(&rig, 1), NADB_ECORRUPT);
    rig.backend->ops->free(rig.backend);
    nadb_faulty_flip(rig.faulty, path, size - 1, 1);
    nadb_faulty_resize(rig.faulty, path, size - 8);
    cr_assert_eq(open_rig(&rig, 1), NADB_ECORRUPT);
    tear_down(&rig);
}
