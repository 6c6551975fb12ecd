/* This file makes backups: a copy of the store as it is at one moment (copy.h).
 *
 * The segment that takes batches is closed first, so that everything so far is in segments that
 * never change. No compaction runs meanwhile (the store sees to that), so nobody removes one. */
#include "backends/fs/copy.h"
#include "backends/fs/fs_internal.h"
#include "src/base/mem.h"

/* The closed segments as they are now. Under log_lock. */
static int take_manifest(struct nadb_fs *fs, struct nadb_manifest *manifest)
{
    int result = nadb_fs__rotate(fs);
    if (result != 0) {
        return result;
    }
    const struct nadb_manifest *from = &fs->manifest;
    manifest->store_id = from->store_id;
    manifest->next_id = from->next_id;
    manifest->is_clean = true;
    manifest->entries = nadb_mem_alloc((from->count + 1) * sizeof(*from->entries));
    manifest->cap = from->count + 1;
    for (size_t i = 0; i < from->count; i++) {
        const struct nadb_manifest_entry *entry = &from->entries[i];
        if (entry->state != NADB_SEGMENT_ACTIVE) {
            manifest->entries[manifest->count++] = *entry;
            manifest->last_seq = entry->last_seq;
        }
    }
    manifest->last_version = from->last_version;
    return 0;
}

enum nadb_err nadb_fs__backup(struct nadb_fs *fs, const char *path, const char *base,
    struct nadb_backup_result *ret, struct nadb_error *reterr)
{
    struct nadb_manifest manifest;
    nadb_manifest_init(&manifest);
    nadb_fs__lock(fs);
    int result = take_manifest(fs, &manifest);
    nadb_fs__unlock(fs);
    if (result != 0) {
        return nadb_error_set(reterr, NADB_EIO, -result, "backup: closing a segment");
    }
    const struct nadb_fs_copy copy = {
        .io = fs->io,
        .from = fs->dir,
        .manifest = &manifest,
        .path = path,
        .base = base,
        .may_link = true,
        .what = "backup",
    };
    enum nadb_err err = nadb_fs_copy(&copy, ret, reterr);
    nadb_manifest_fini(&manifest);
    return err;
}
