/* This file looks after closed segments of an open store: verifies them, writes their hints. */
#include "backends/fs/check.h"
#include "backends/fs/fs_internal.h"
#include "backends/fs/hint.h"
#include "src/base/mem.h"

/* False: there is no such closed segment, any more. */
static bool find_closed(struct nadb_fs *fs, uint64_t id, struct nadb_manifest_entry *ret)
{
    nadb_fs__lock(fs);
    const struct nadb_manifest_entry *entry = nadb_manifest_find(&fs->manifest, id);
    bool is_found = entry != NULL && entry->state != NADB_SEGMENT_ACTIVE;
    if (is_found) {
        *ret = *entry;
    }
    nadb_fs__unlock(fs);
    return is_found;
}

enum nadb_err nadb_fs__verify(
    struct nadb_fs *fs, uint64_t id, struct nadb_verify_result *ret, struct nadb_error *reterr)
{
    struct nadb_manifest_entry entry;
    *ret = (struct nadb_verify_result){0};
    if (!find_closed(fs, id, &entry)) {
        return NADB_OK;
    }
    struct nadb_fs_visit visit = {
        .io = fs->io,
        .dir = fs->dir,
        .store_id = fs->manifest.store_id, /* immutable while open */
        .entry = &entry,
        .window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES),
    };
    struct nadb_fs_checked checked;
    enum nadb_err err = nadb_fs_check_segment(&visit, &checked, reterr);
    nadb_mem_free(visit.window);
    if (err != NADB_OK && !find_closed(fs, id, &entry)) {
        return NADB_OK; /* compaction removed it meanwhile */
    }
    *ret = (struct nadb_verify_result){.bytes = checked.bytes, .records = checked.records};
    return err;
}

/* The segment's hint is there now. False: the segment is not. */
static bool note_hint(struct nadb_fs *fs, uint64_t id)
{
    nadb_fs__lock(fs);
    struct nadb_manifest_entry *entry = nadb_manifest_find(&fs->manifest, id);
    if (entry != NULL) {
        entry->has_hint = true;
    }
    nadb_fs__unlock(fs);
    return entry != NULL;
}

enum nadb_err nadb_fs__hint(struct nadb_fs *fs, uint64_t id, struct nadb_error *reterr)
{
    struct nadb_manifest_entry entry;
    if (!find_closed(fs, id, &entry)) {
        return NADB_OK;
    }
    enum nadb_err err = nadb_hint_write(fs->io, fs->dir, fs->manifest.store_id, &entry, reterr);
    if (err != NADB_OK) {
        return find_closed(fs, id, &entry) ? err : NADB_OK;
    }
    if (!note_hint(fs, id)) {
        char name[NADB_HINT_NAME_BYTES];
        nadb_hint_name(name, id);
        (void)fs->io->unlink_file(fs->io, fs->dir, name); /* the next start tries again */
    }
    return NADB_OK;
}
