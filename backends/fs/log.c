/* This file appends to the log: which segment a batch goes to, and what happens when the disk
 * says no.
 *
 *     prepare -> append -> sync          the good path
 *        ^          |        |
 *        |          | bad    | failed: the batch is taken back in memory
 *        +----------+--------+
 *     a segment that is full or bad is replaced: create the next one, retire the old one, publish
 *     the manifest that says both, copy what the old one held without a sync. Only then does the
 *     new one take batches.
 *
 * A retired segment is SEALED (footer, all synced) or, when its disk fails, CUT at its last sync.
 * Batches behind that sync were written in the `buffered` mode and may be lost with the power: they
 * are read back, verified, and written to the new segment, and reading by the old locations is
 * forwarded there. If that fails too, batches that were acknowledged as buffered are gone, a later
 * batch could not be stable "together with every batch before it", and the store takes no more
 * writes.
 *
 * The reserve is space for going on when the disk is full: it is freed for a batch that puts
 * nothing, and for a manifest. */
#include <errno.h>

#include "backends/fs/fs_internal.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

/* Without a reserve, every so many writes try to allocate it again. */
#define RESERVE_RETRY_WRITES 64

/* In the active segment and, if its disk fails, in another. */
#define APPEND_ATTEMPTS 2

/* A full segment whose successor cannot be made grows by its size over this before the next try. */
#define ROTATE_RETRY_SHARE 8

/* ---- the reserve ---- */

void nadb_fs__restore_reserve(struct nadb_fs *fs)
{
    const struct nadb_fs_io *io = fs->io;
    fs->writes_without_reserve = 0;
    if (fs->is_reserve_off) {
        return;
    }
    int file = io->open_file(io, fs->dir, NADB_FS_RESERVE_NAME, NADB_FS_OPEN_ALWAYS);
    if (file < 0) {
        return;
    }
    int result = io->allocate_file(io, file, 0, NADB_FS_RESERVE_BYTES);
    (void)io->close_file(io, file); /* holds no data */
    fs->has_reserve = result == 0;
    fs->is_reserve_off = result == -EOPNOTSUPP;
    if (!fs->has_reserve) {
        (void)io->unlink_file(io, fs->dir, NADB_FS_RESERVE_NAME); /* it is only room */
    }
}

static bool release_reserve(struct nadb_fs *fs)
{
    if (!fs->has_reserve) {
        return false;
    }
    fs->has_reserve = false;
    return fs->io->unlink_file(fs->io, fs->dir, NADB_FS_RESERVE_NAME) == 0;
}

/* ---- the manifest ---- */

void nadb_fs__count_retired(struct nadb_fs *fs)
{
    fs->retired_bytes = 0;
    for (size_t i = 0; i < fs->manifest.count; i++) {
        if (fs->manifest.entries[i].state != NADB_SEGMENT_ACTIVE) {
            fs->retired_bytes += fs->manifest.entries[i].bytes;
        }
    }
}

int nadb_fs__publish(struct nadb_fs *fs)
{
    const struct nadb_segment_point *stable = fs->active.file >= 0 ? &fs->active.synced : &fs->tail;
    fs->manifest.last_seq = stable->seq;
    fs->manifest.last_version = stable->version;
    int result = nadb_manifest_publish(&fs->manifest, fs->io, fs->dir);
    if (result == -ENOSPC && release_reserve(fs)) {
        result = nadb_manifest_publish(&fs->manifest, fs->io, fs->dir);
    }
    fs->is_unpublished = result != 0;
    nadb_fs__count_retired(fs);
    return result;
}

/* ---- segments ---- */

static void describe(struct nadb_manifest_entry *entry, enum nadb_segment_state state,
    const struct nadb_segment_point *end)
{
    entry->state = state;
    entry->bytes = end->offset;
    entry->chain = end->chain;
    entry->last_seq = end->seq;
    entry->records = end->records;
}

/* Ends the life of the active segment as far as its disk allows; *ret_end is the end of what is
 * stable. */
static void retire_active(struct nadb_fs *fs, struct nadb_segment_point *ret_end)
{
    struct nadb_segment *old = &fs->active;
    struct nadb_manifest_entry *entry = nadb_manifest_find(&fs->manifest, old->id);
    NADB_ASSERT(entry != NULL && fs->stale.file < 0);
    if (!old->is_bad && nadb_segment_seal(old) == 0) {
        describe(entry, NADB_SEGMENT_SEALED, &old->end);
        *ret_end = old->end;
        nadb_segment_close(old);
        return;
    }
    bool is_stable = old->synced.offset == old->end.offset;
    if (!is_stable && !old->is_sync_failed) {
        is_stable = nadb_segment_sync(old) == 0;
    }
    describe(entry, NADB_SEGMENT_CUT, &old->synced);
    *ret_end = old->synced;
    if (old->synced.frames == 0) {
        nadb_manifest_remove(&fs->manifest, old->id); /* the file goes at the next start */
    }
    if (is_stable) {
        nadb_segment_close(old);
    } else {
        nadb_fs_end_forget(&old->file_end, old->io, old->file); /* it is read, wherever it ends */
        fs->stale = *old;
        *old = (struct nadb_segment){.file = -1};
    }
}

/* Makes the next segment and retires the active one, if any; not published yet. 0, or -errno with
 * nothing changed. */
static int replace_active(struct nadb_fs *fs, uint64_t now_ms)
{
    uint64_t id = fs->manifest.next_id++;
    struct nadb_manifest_entry *entry = nadb_manifest_add(&fs->manifest,
        &(struct nadb_manifest_entry){
            .id = id, .state = NADB_SEGMENT_ACTIVE, .bytes = NADB_SEGMENT_HEADER_BYTES});
    if (entry == NULL) {
        return -ENFILE;
    }
    struct nadb_segment_create_opts opts = {
        .io = fs->io,
        .dir = fs->dir,
        .store_id = fs->manifest.store_id,
        .id = id,
        .slot = entry->slot,
        .created_ms = now_ms,
    };
    struct nadb_segment fresh;
    struct nadb_segment_point before = fs->tail;
    int result = nadb_segment_create(&fresh, &opts, &before);
    if (result != 0) {
        nadb_manifest_remove(&fs->manifest, id);
        return result;
    }
    if (fs->active.file >= 0) {
        retire_active(fs, &before);
        nadb_segment_rebase(&fresh, &before);
    }
    entry = nadb_manifest_find(&fs->manifest, id);
    entry->base = fresh.base;
    entry->chain = fresh.base;
    entry->last_seq = before.seq;
    fs->active = fresh;
    nadb_fs_readers_add(&fs->readers, fresh.slot, fresh.id, fresh.seed);
    fs->rotate_at = fs->segment_size;
    fs->is_unpublished = true;
    return 0;
}

void nadb_fs__lock(struct nadb_fs *fs)
{
    int result = pthread_mutex_lock(&fs->log_lock);
    NADB_ASSERT(result == 0);
}

void nadb_fs__unlock(struct nadb_fs *fs)
{
    int result = pthread_mutex_unlock(&fs->log_lock);
    NADB_ASSERT(result == 0);
}

/* ---- copying what was never synced ---- */

static void chunk_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct nadb_replay_chunk *chunk = batch->entry_ctx;
    *ret = chunk->entries[index];
}

/* Copies the batch that lies between the offsets; `last` is its last frame. */
static enum nadb_err copy_batch(struct nadb_fs *fs, const struct nadb_frame *last, uint64_t from,
    uint64_t to, struct nadb_error *reterr)
{
    const struct nadb_fs_range range = {
        .io = fs->io,
        .file = fs->stale.file,
        .name = fs->stale.name,
        .seed = fs->stale.seed,
        .slot = fs->stale.slot,
        .from = from,
        .to = to,
        .is_encoded_wanted = true,
    };
    struct nadb_replay_chunk chunk = {0};
    uint64_t next;
    enum nadb_err err = nadb_fs_load(&range, (size_t)(to - from), &chunk, &next, reterr);
    if (err == NADB_OK) {
        struct nadb_batch batch = {
            .seq = last->seq,
            .last_version = last->last_version,
            .wall_ms = last->wall_ms,
            .count = chunk.count,
            .entry = chunk_entry,
            .entry_ctx = &chunk,
        };
        err = nadb_segment_append(&fs->active, &batch, fs->active.synced.seq, &fs->tools, reterr);
    }
    nadb_fs_chunk_free(&chunk);
    return err;
}

/* The copies lie behind each other as the originals did: what append makes of a batch does not
 * depend on where it goes. */
static enum nadb_err copy_stale(struct nadb_fs *fs, struct nadb_error *reterr)
{
    struct nadb_segment *stale = &fs->stale;
    const uint64_t copied_to = fs->active.end.offset;
    char *window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES);
    struct nadb_segment_walk walk;
    nadb_segment_walk_begin(
        &walk, fs->io, stale->file, stale->seed, &stale->synced, stale->end.offset, window, false);
    enum nadb_err err = NADB_OK;
    uint64_t from = stale->synced.offset;
    enum nadb_walk_result result;
    do {
        result = nadb_segment_walk_next(&walk);
        if (result == NADB_WALK_BATCH) {
            err = copy_batch(fs, &walk.frame, from, walk.at.offset, reterr);
            from = walk.at.offset;
        }
    } while (err == NADB_OK && (result == NADB_WALK_BATCH || result == NADB_WALK_FRAME));
    if (err == NADB_OK && result != NADB_WALK_END) {
        err = nadb_error_set(reterr, NADB_ECORRUPT, walk.sys_errno,
            "segment '%s': damaged at offset %llu", stale->name,
            (unsigned long long)walk.next.offset);
    }
    if (err == NADB_OK) {
        NADB_ASSERT(fs->active.end.offset - copied_to == stale->end.offset - stale->synced.offset);
        nadb_fs_readers_forward(
            &fs->readers, stale->slot, stale->synced.offset, fs->active.slot, copied_to);
    }
    nadb_mem_free(window);
    nadb_segment_close(stale);
    return err;
}

/* ---- writing ---- */

static enum nadb_err fail_write(struct nadb_error *reterr, int result)
{
    return nadb_error_set(reterr, NADB_ENOSPC, -result, "disk write failed");
}

static enum nadb_err fail_outcome(struct nadb_error *reterr, const struct nadb_error *cause)
{
    return nadb_error_set(reterr, NADB_ESYNC, cause->sys_errno, "outcome unknown");
}

static bool is_active_full(const struct nadb_fs *fs)
{
    return fs->active.end.frames > 0 && fs->active.end.offset >= fs->rotate_at;
}

/* Publishes the manifest if the file is behind, or says that the end was clean. */
static enum nadb_err catch_up(struct nadb_fs *fs, struct nadb_error *reterr)
{
    if (!fs->is_unpublished && !fs->manifest.is_clean) {
        return NADB_OK;
    }
    fs->manifest.is_clean = false;
    int result = nadb_fs__publish(fs);
    return result == 0 ? NADB_OK : fail_write(reterr, result);
}

/* No room or no descriptor for another file: the one that is open may grow meanwhile. Anything else
 * (the directory is gone, or read-only) means that what is written now may never be found again. */
static bool is_shortage(int result)
{
    return result == -ENOSPC || result == -EDQUOT || result == -EMFILE || result == -ENFILE ||
           result == -ENOMEM;
}

/* Sees to it that the active segment can take a batch. */
static enum nadb_err prepare(struct nadb_fs *fs, uint64_t now_ms, struct nadb_error *reterr)
{
    if (fs->is_failed) {
        return nadb_error_set(reterr, NADB_ESYNC, EIO, "outcome unknown");
    }
    /* Before any file changes: sealing what a clean manifest describes would look like damage. */
    enum nadb_err err = catch_up(fs, reterr);
    if (err != NADB_OK) {
        return err;
    }
    bool is_needed = fs->active.file < 0 || fs->active.is_bad;
    if (is_needed || is_active_full(fs)) {
        int result = replace_active(fs, now_ms);
        if (result != 0 && (is_needed || !is_shortage(result))) {
            return fail_write(reterr, result);
        }
        if (result != 0) {
            fs->rotate_at = fs->active.end.offset + fs->segment_size / ROTATE_RETRY_SHARE;
        }
    }
    err = catch_up(fs, reterr);
    if (err != NADB_OK) {
        return err;
    }
    if (fs->stale.file >= 0) {
        struct nadb_error cause = {0};
        if (copy_stale(fs, &cause) != NADB_OK) {
            fs->is_failed = true;
            return fail_outcome(reterr, &cause);
        }
    }
    return NADB_OK;
}

int nadb_fs__rotate(struct nadb_fs *fs)
{
    if (fs->active.file < 0 || fs->active.end.frames == 0 || fs->is_failed) {
        return 0;
    }
    fs->rotate_at = 0;
    struct nadb_error error = {0};
    if (prepare(fs, fs->active.end.wall_ms, &error) != NADB_OK) {
        return -error.sys_errno;
    }
    return fs->active.end.frames == 0 ? 0 : -ENOSPC; /* no room for the next: it grows on */
}

/* Prepare and append; *ret_before is the end of the segment without the batch. A segment that is
 * bad now is replaced, and the batch tried there once: part of it may be in the old file, and the
 * manifest must cut that off before anybody hears that it is not there. */
static enum nadb_err append(struct nadb_fs *fs, struct nadb_batch *batch,
    struct nadb_segment_point *ret_before, struct nadb_error *reterr)
{
    enum nadb_err err = prepare(fs, batch->wall_ms, reterr);
    if (err != NADB_OK) {
        return err;
    }
    for (int attempt = 0; attempt < APPEND_ATTEMPTS; attempt++) {
        *ret_before = fs->active.end;
        err = nadb_segment_append(&fs->active, batch, fs->active.synced.seq, &fs->tools, reterr);
        if (err == NADB_OK) {
            fs->stats.bytes_written += fs->active.end.offset - ret_before->offset;
            return NADB_OK;
        }
        if (!fs->active.is_bad) {
            return err;
        }
        struct nadb_error cause = {0};
        if (prepare(fs, batch->wall_ms, &cause) != NADB_OK) {
            return fail_outcome(reterr, &cause);
        }
    }
    return err;
}

/* 0, or -errno and the batch behind `before` is taken back: the segment is bad. */
static int sync_batch(struct nadb_fs *fs, const struct nadb_segment_point *before)
{
    int result = nadb_segment_sync(&fs->active);
    if (result != 0) {
        fs->active.end = *before;
        fs->stats.failures++;
        return result;
    }
    fs->stats.syncs++;
    return 0;
}

static enum nadb_err write_once(
    struct nadb_fs *fs, struct nadb_batch *batch, struct nadb_error *reterr)
{
    struct nadb_segment_point before;
    enum nadb_err err = append(fs, batch, &before, reterr);
    if (err != NADB_OK || !batch->is_sync) {
        return err;
    }
    int result = sync_batch(fs, &before);
    if (result == 0) {
        return NADB_OK;
    }
    struct nadb_error cause = {.sys_errno = -result};
    if (append(fs, batch, &before, &cause) == NADB_OK) {
        result = sync_batch(fs, &before);
        cause.sys_errno = -result;
    }
    return result == 0 ? NADB_OK : fail_outcome(reterr, &cause);
}

static bool has_puts(const struct nadb_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct nadb_entry entry;
        batch->entry(batch, i, &entry);
        if (entry.kind == NADB_ENTRY_PUT) {
            return true;
        }
    }
    return false;
}

enum nadb_err nadb_fs__write(
    struct nadb_fs *fs, struct nadb_batch *batch, struct nadb_error *reterr)
{
    const struct nadb_segment_point *end = fs->active.file >= 0 ? &fs->active.end : &fs->tail;
    NADB_ASSERT(batch->seq > end->seq);
    struct nadb_error cause = {0};
    enum nadb_err err = write_once(fs, batch, &cause);
    bool is_file_full = err == NADB_ELIMIT || (err == NADB_ENOSPC && cause.sys_errno == EFBIG);
    if (is_file_full && fs->active.end.frames > 0) {
        fs->rotate_at = 0; /* files may not grow this large, but there may be more of them */
        err = write_once(fs, batch, &cause);
    }
    if (err == NADB_ENOSPC && !has_puts(batch) && release_reserve(fs)) {
        err = write_once(fs, batch, &cause);
    }
    if (err != NADB_OK) {
        fs->stats.failures++;
        if (reterr != NULL) {
            *reterr = cause;
        }
        return err;
    }
    fs->stats.batches++;
    fs->stats.entries += batch->count;
    if (!fs->has_reserve && ++fs->writes_without_reserve >= RESERVE_RETRY_WRITES) {
        nadb_fs__restore_reserve(fs);
    }
    return NADB_OK;
}

/* ---- ending ---- */

/* Syncs even if all batches are stable: a cut that is not may come undone, and what it cut off
 * would be foreign bytes behind a clean end. */
static enum nadb_err settle(struct nadb_fs *fs, struct nadb_error *reterr)
{
    struct nadb_segment *active = &fs->active;
    int result = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (active->is_bad || fs->is_unpublished || fs->stale.file >= 0 || fs->is_failed) {
            enum nadb_err err = prepare(fs, active->end.wall_ms, reterr);
            if (err != NADB_OK) {
                return err;
            }
        }
        result = nadb_segment_trim(active);
        if (result != 0) {
            return nadb_error_set(reterr, NADB_EIO, -result, "segment '%s': cut", active->name);
        }
        result = nadb_segment_sync(active);
        if (result == 0) {
            fs->stats.syncs++;
            return NADB_OK;
        }
        fs->stats.failures++;
    }
    return nadb_error_set(reterr, NADB_ESYNC, -result, "segment '%s': sync", active->name);
}

enum nadb_err nadb_fs__finish(struct nadb_fs *fs, struct nadb_error *reterr)
{
    if (fs->manifest.is_clean) {
        return NADB_OK;
    }
    if (fs->active.file >= 0) {
        enum nadb_err err = settle(fs, reterr);
        if (err != NADB_OK) {
            return err;
        }
        struct nadb_manifest_entry *entry = nadb_manifest_find(&fs->manifest, fs->active.id);
        NADB_ASSERT(entry != NULL);
        describe(entry, NADB_SEGMENT_ACTIVE, &fs->active.end);
    }
    fs->manifest.is_clean = true;
    int result = nadb_fs__publish(fs);
    return result == 0
               ? NADB_OK
               : nadb_error_set(reterr, NADB_EIO, -result, NADB_FS_MANIFEST_NAME ": replace");
}
