/* This file reads and replaces the manifest. */
#include "backends/fs/manifest.h"

#include <stdlib.h>

#include <errno.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/mem.h"

#define ENTRIES_MIN 16

void nadb_manifest_init(struct nadb_manifest *manifest)
{
    *manifest = (struct nadb_manifest){.next_id = 1};
}

void nadb_manifest_fini(struct nadb_manifest *manifest)
{
    nadb_mem_free(manifest->entries);
    nadb_manifest_init(manifest);
}

/* ---- entries ---- */

/* The first slot from slot_next on, in a circle, that no segment has, or NADB_SEGMENT_SLOTS_MAX. */
static uint32_t free_slot(const struct nadb_manifest *manifest)
{
    uint64_t used[NADB_SEGMENT_SLOTS_MAX / 64] = {0};
    for (size_t i = 0; i < manifest->count; i++) {
        uint32_t slot = manifest->entries[i].slot;
        used[slot / 64] |= UINT64_C(1) << (slot % 64);
    }
    for (size_t i = 0; i < manifest->held_count; i++) {
        used[manifest->held[i] / 64] |= UINT64_C(1) << (manifest->held[i] % 64);
    }
    for (uint32_t i = 0; i < NADB_SEGMENT_SLOTS_MAX; i++) {
        uint32_t slot = (manifest->slot_next + i) % NADB_SEGMENT_SLOTS_MAX;
        if ((used[slot / 64] & UINT64_C(1) << (slot % 64)) == 0) {
            return slot;
        }
    }
    return NADB_SEGMENT_SLOTS_MAX;
}

struct nadb_manifest_entry *nadb_manifest_add(
    struct nadb_manifest *manifest, const struct nadb_manifest_entry *entry)
{
    uint32_t slot = free_slot(manifest);
    if (slot == NADB_SEGMENT_SLOTS_MAX) {
        return NULL;
    }
    if (manifest->count == manifest->cap) {
        manifest->cap = manifest->cap == 0 ? ENTRIES_MIN : manifest->cap * 2;
        manifest->entries =
            nadb_mem_realloc(manifest->entries, manifest->cap * sizeof(*manifest->entries));
    }
    struct nadb_manifest_entry *added = &manifest->entries[manifest->count++];
    *added = *entry;
    added->slot = slot;
    manifest->slot_next = slot + 1;
    return added;
}

static void hold(struct nadb_manifest *manifest, uint32_t slot)
{
    NADB_ASSERT(manifest->held_count < NADB_MANIFEST_HELD_MAX);
    manifest->held[manifest->held_count++] = slot;
}

bool nadb_manifest_reserve(struct nadb_manifest *manifest, uint32_t *ret_slot)
{
    uint32_t slot = free_slot(manifest);
    if (slot == NADB_SEGMENT_SLOTS_MAX) {
        return false;
    }
    hold(manifest, slot);
    manifest->slot_next = slot + 1;
    *ret_slot = slot;
    return true;
}

void nadb_manifest_release(struct nadb_manifest *manifest)
{
    manifest->held_count = 0;
}

void nadb_manifest_exchange(struct nadb_manifest *manifest, uint64_t first_id, size_t count,
    const struct nadb_manifest_entry *entry)
{
    struct nadb_manifest_entry *first = nadb_manifest_find(manifest, first_id);
    NADB_ASSERT(first != NULL && count > 0);
    size_t at = (size_t)(first - manifest->entries);
    NADB_ASSERT(count <= manifest->count - at);
    for (size_t i = 0; i < count; i++) {
        hold(manifest, first[i].slot);
    }
    size_t kept = entry != NULL ? 1 : 0;
    if (entry != NULL) {
        *first = *entry;
    }
    memmove(first + kept, first + count, (manifest->count - at - count) * sizeof(*first));
    manifest->count -= count - kept;
}

struct nadb_manifest_entry *nadb_manifest_find(struct nadb_manifest *manifest, uint64_t id)
{
    for (size_t i = manifest->count; i > 0; i--) { /* mostly the last is wanted */
        if (manifest->entries[i - 1].id == id) {
            return &manifest->entries[i - 1];
        }
    }
    return NULL;
}

void nadb_manifest_remove(struct nadb_manifest *manifest, uint64_t id)
{
    struct nadb_manifest_entry *entry = nadb_manifest_find(manifest, id);
    if (entry != NULL) {
        size_t behind = manifest->count - 1 - (size_t)(entry - manifest->entries);
        memmove(entry, entry + 1, behind * sizeof(*entry));
        manifest->count--;
    }
}

/* ---- bytes ---- */

static void put_entry(char *out, const struct nadb_manifest_entry *entry)
{
    nadb_put_u64(out + NADB_MANIFEST_ID_AT, entry->id);
    nadb_put_u32(out + NADB_MANIFEST_SLOT_AT, entry->slot);
    nadb_put_u32(out + NADB_MANIFEST_STATE_AT, (uint32_t)entry->state);
    nadb_put_u64(out + NADB_MANIFEST_BYTES_AT, entry->bytes);
    nadb_put_u64(out + NADB_MANIFEST_BASE_AT, entry->base);
    nadb_put_u64(out + NADB_MANIFEST_CHAIN_AT, entry->chain);
    nadb_put_u64(out + NADB_MANIFEST_LAST_AT, entry->last_seq);
    nadb_put_u64(out + NADB_MANIFEST_RECORDS_AT, entry->records);
    nadb_put_u64(out + NADB_MANIFEST_SPARE_AT, 0);
}

enum nadb_err nadb_manifest_encode(
    const struct nadb_manifest *manifest, char **ret_bytes, size_t *ret_len)
{
    size_t body = NADB_MANIFEST_HEADER_BYTES + manifest->count * (size_t)NADB_MANIFEST_ENTRY_BYTES;
    char *bytes = nadb_mem_try_alloc(body + NADB_MANIFEST_CHECK_BYTES);
    if (bytes == NULL) {
        return NADB_ENOMEM;
    }
    nadb_put_u64(bytes + NADB_MANIFEST_MAGIC_AT, NADB_MANIFEST_MAGIC);
    nadb_put_u32(bytes + NADB_MANIFEST_VERSION_AT, NADB_FS_FORMAT_VERSION);
    nadb_put_u32(bytes + NADB_MANIFEST_FLAGS_AT, manifest->is_clean ? NADB_MANIFEST_CLEAN : 0);
    nadb_put_u64(bytes + NADB_MANIFEST_STORE_AT, manifest->store_id);
    nadb_put_u64(bytes + NADB_MANIFEST_GENERATION_AT, manifest->generation);
    nadb_put_u64(bytes + NADB_MANIFEST_NEXT_ID_AT, manifest->next_id);
    nadb_put_u64(bytes + NADB_MANIFEST_SEQ_AT, manifest->last_seq);
    nadb_put_u64(bytes + NADB_MANIFEST_NEWEST_AT, manifest->last_version);
    nadb_put_u32(bytes + NADB_MANIFEST_COUNT_AT, (uint32_t)manifest->count);
    nadb_put_u32(bytes + NADB_MANIFEST_RESERVED_AT, 0);
    for (size_t i = 0; i < manifest->count; i++) {
        put_entry(bytes + NADB_MANIFEST_HEADER_BYTES + i * NADB_MANIFEST_ENTRY_BYTES,
            &manifest->entries[i]);
    }
    nadb_put_u64(bytes + body, nadb_checksum64(bytes, body, NADB_MANIFEST_MAGIC));
    *ret_bytes = bytes;
    *ret_len = body + NADB_MANIFEST_CHECK_BYTES;
    return NADB_OK;
}

static enum nadb_err fail_damaged(struct nadb_error *reterr, const char *what, size_t offset)
{
    return nadb_error_set(
        reterr, NADB_ECORRUPT, 0, NADB_FS_MANIFEST_NAME ": %s at offset %zu", what, offset);
}

static enum nadb_err fail_newer(struct nadb_error *reterr, uint32_t version)
{
    return nadb_error_set(reterr, NADB_EFORMAT, 0,
        NADB_FS_MANIFEST_NAME ": written by a newer nadbd (format %u; this one reads up to %u)",
        (unsigned)version, NADB_FS_FORMAT_VERSION);
}

static bool get_entry(const char *bytes, struct nadb_manifest_entry *ret)
{
    uint32_t state = nadb_get_u32(bytes + NADB_MANIFEST_STATE_AT);
    *ret = (struct nadb_manifest_entry){
        .id = nadb_get_u64(bytes + NADB_MANIFEST_ID_AT),
        .slot = nadb_get_u32(bytes + NADB_MANIFEST_SLOT_AT),
        .state = (enum nadb_segment_state)state,
        .bytes = nadb_get_u64(bytes + NADB_MANIFEST_BYTES_AT),
        .base = nadb_get_u64(bytes + NADB_MANIFEST_BASE_AT),
        .chain = nadb_get_u64(bytes + NADB_MANIFEST_CHAIN_AT),
        .last_seq = nadb_get_u64(bytes + NADB_MANIFEST_LAST_AT),
        .records = nadb_get_u64(bytes + NADB_MANIFEST_RECORDS_AT),
    };
    return state >= NADB_SEGMENT_ACTIVE && state <= NADB_SEGMENT_CUT &&
           ret->slot < NADB_SEGMENT_SLOTS_MAX && ret->bytes >= NADB_SEGMENT_HEADER_BYTES &&
           ret->bytes % NADB_FS_ALIGN == 0 && ret->bytes <= INT64_MAX;
}

static int compare_ids(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* A segment that compaction has made stands where its sources stood: ids need not grow. */
static bool are_ids_unique(const struct nadb_manifest *manifest)
{
    uint64_t *ids = nadb_mem_alloc((manifest->count + 1) * sizeof(*ids));
    for (size_t i = 0; i < manifest->count; i++) {
        ids[i] = manifest->entries[i].id;
    }
    qsort(ids, manifest->count, sizeof(*ids), compare_ids);
    bool are_unique = true;
    for (size_t i = 1; i < manifest->count; i++) {
        are_unique = are_unique && ids[i] != ids[i - 1];
    }
    nadb_mem_free(ids);
    return are_unique;
}

/* Only the last segment may be active. */
static bool are_entries_sound(const struct nadb_manifest *manifest)
{
    uint64_t used[NADB_SEGMENT_SLOTS_MAX / 64] = {0};
    for (size_t i = 0; i < manifest->count; i++) {
        const struct nadb_manifest_entry *entry = &manifest->entries[i];
        uint64_t bit = UINT64_C(1) << (entry->slot % 64);
        bool is_last = i + 1 == manifest->count;
        if (entry->id == 0 || entry->id >= manifest->next_id ||
            (used[entry->slot / 64] & bit) != 0 ||
            (entry->state == NADB_SEGMENT_ACTIVE && !is_last)) {
            return false;
        }
        used[entry->slot / 64] |= bit;
    }
    return are_ids_unique(manifest);
}

enum nadb_err nadb_manifest_decode(
    struct nadb_manifest *manifest, const char *bytes, size_t len, struct nadb_error *reterr)
{
    if (len < NADB_MANIFEST_HEADER_BYTES + NADB_MANIFEST_CHECK_BYTES ||
        nadb_get_u64(bytes + NADB_MANIFEST_MAGIC_AT) != NADB_MANIFEST_MAGIC) {
        return fail_damaged(reterr, "no manifest header", 0);
    }
    uint32_t version = nadb_get_u32(bytes + NADB_MANIFEST_VERSION_AT);
    size_t body = len - NADB_MANIFEST_CHECK_BYTES;
    if (nadb_get_u64(bytes + body) != nadb_checksum64(bytes, body, NADB_MANIFEST_MAGIC)) {
        return fail_damaged(reterr, "checksum mismatch", body);
    }
    uint32_t flags = nadb_get_u32(bytes + NADB_MANIFEST_FLAGS_AT);
    if (version != NADB_FS_FORMAT_VERSION || (flags & ~(unsigned)NADB_MANIFEST_FLAGS_KNOWN) != 0) {
        return fail_newer(reterr, version);
    }
    size_t count = nadb_get_u32(bytes + NADB_MANIFEST_COUNT_AT);
    if (count > NADB_SEGMENT_SLOTS_MAX ||
        body != NADB_MANIFEST_HEADER_BYTES + count * NADB_MANIFEST_ENTRY_BYTES) {
        return fail_damaged(reterr, "wrong number of entries", NADB_MANIFEST_COUNT_AT);
    }
    manifest->is_clean = (flags & NADB_MANIFEST_CLEAN) != 0;
    manifest->store_id = nadb_get_u64(bytes + NADB_MANIFEST_STORE_AT);
    manifest->generation = nadb_get_u64(bytes + NADB_MANIFEST_GENERATION_AT);
    manifest->next_id = nadb_get_u64(bytes + NADB_MANIFEST_NEXT_ID_AT);
    manifest->last_seq = nadb_get_u64(bytes + NADB_MANIFEST_SEQ_AT);
    manifest->last_version = nadb_get_u64(bytes + NADB_MANIFEST_NEWEST_AT);
    size_t cap = count < ENTRIES_MIN ? ENTRIES_MIN : count;
    manifest->entries = nadb_mem_try_alloc(cap * sizeof(*manifest->entries));
    if (manifest->entries == NULL) {
        return nadb_error_set(reterr, NADB_ENOMEM, 0, NADB_FS_MANIFEST_NAME ": not enough memory");
    }
    manifest->cap = cap;
    manifest->count = count;
    for (size_t i = 0; i < count; i++) {
        size_t at = NADB_MANIFEST_HEADER_BYTES + i * NADB_MANIFEST_ENTRY_BYTES;
        if (!get_entry(bytes + at, &manifest->entries[i])) {
            return fail_damaged(reterr, "impossible segment entry", at);
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct nadb_manifest_entry *entry = &manifest->entries[i];
        manifest->slot_next =
            entry->id + 1 == manifest->next_id ? entry->slot + 1 : manifest->slot_next;
    }
    if (!are_entries_sound(manifest)) {
        return fail_damaged(
            reterr, "segment entries contradict each other", NADB_MANIFEST_HEADER_BYTES);
    }
    return NADB_OK;
}

/* ---- the file ---- */

static enum nadb_err read_file(
    const struct nadb_fs_io *io, int file, char **ret_bytes, size_t *ret_len, struct nadb_error *e)
{
    uint64_t size = 0;
    int result = io->size_file(io, file, &size);
    if (result != 0) {
        return nadb_error_set(e, NADB_EIO, -result, NADB_FS_MANIFEST_NAME ": size");
    }
    if (size > NADB_MANIFEST_BYTES_MAX) {
        return fail_damaged(e, "file too large", NADB_MANIFEST_BYTES_MAX);
    }
    char *bytes = nadb_mem_try_alloc(size + 1);
    if (bytes == NULL) {
        return nadb_error_set(e, NADB_ENOMEM, 0, NADB_FS_MANIFEST_NAME ": not enough memory");
    }
    ssize_t got = nadb_fs_read_full(io, file, bytes, size, 0);
    if (got < 0) {
        nadb_mem_free(bytes);
        return nadb_error_set(e, NADB_EIO, (int)-got, NADB_FS_MANIFEST_NAME ": read");
    }
    *ret_bytes = bytes;
    *ret_len = (size_t)got;
    return NADB_OK;
}

enum nadb_err nadb_manifest_load(struct nadb_manifest *manifest, const struct nadb_fs_io *io,
    int dir, bool *ret_exists, struct nadb_error *reterr)
{
    int file = io->open_file(io, dir, NADB_FS_MANIFEST_NAME, NADB_FS_OPEN_READ);
    if (file == -ENOENT) {
        *ret_exists = false;
        return NADB_OK;
    }
    if (file < 0) {
        return nadb_error_set(reterr, NADB_EIO, -file, NADB_FS_MANIFEST_NAME ": open");
    }
    char *bytes = NULL;
    size_t len = 0;
    enum nadb_err err = read_file(io, file, &bytes, &len, reterr);
    (void)io->close_file(io, file); /* nothing was written */
    if (err == NADB_OK) {
        err = nadb_manifest_decode(manifest, bytes, len, reterr);
        nadb_mem_free(bytes);
    }
    if (err == NADB_OK) {
        *ret_exists = true;
    }
    return err;
}

static int write_tmp(const struct nadb_fs_io *io, int dir, char *bytes, size_t len)
{
    int file = io->open_file(io, dir, NADB_FS_MANIFEST_TMP_NAME, NADB_FS_OPEN_CREATE);
    if (file < 0) {
        return file;
    }
    struct iovec piece = {.iov_base = bytes, .iov_len = len};
    int result = nadb_fs_write_full(io, file, &piece, 1, 0);
    if (result == 0) {
        result = io->sync_file(io, file);
    }
    (void)io->close_file(io, file); /* it was synced, or the attempt has failed */
    return result;
}

int nadb_manifest_publish(struct nadb_manifest *manifest, const struct nadb_fs_io *io, int dir)
{
    char *bytes = NULL;
    size_t len = 0;
    manifest->generation++;
    if (nadb_manifest_encode(manifest, &bytes, &len) != NADB_OK) {
        return -ENOMEM;
    }
    /* A new file each time: the sync of one left behind may have failed. */
    int result = io->unlink_file(io, dir, NADB_FS_MANIFEST_TMP_NAME);
    if (result == 0 || result == -ENOENT) {
        result = write_tmp(io, dir, bytes, len);
    }
    nadb_mem_free(bytes);
    if (result == 0) {
        result = io->rename_file(io, dir, NADB_FS_MANIFEST_TMP_NAME, NADB_FS_MANIFEST_NAME);
    }
    if (result != 0) {
        (void)io->unlink_file(io, dir, NADB_FS_MANIFEST_TMP_NAME); /* the next attempt does, too */
        return result;
    }
    return io->sync_dir(io, dir);
}
