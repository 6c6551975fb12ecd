/* This file finds the end of the log when the store is opened and finishes what a crash left.
 *
 * Sealed and cut segments were stable before the manifest said so: whatever is not as described
 * there is damage, and opening fails. So is it in the active segment after a clean end. After an
 * unclean end the active segment is walked with its payloads up to the first thing that does not
 * verify; what follows is a torn tail, unless it proves that a stable batch was damaged (invariant
 * 7 of format.h). The recovered part may have been read from the page cache and not be on the
 * disk: it is made stable before the manifest says that the segment is cut there. New batches go
 * to a new segment.
 *
 * A crash on the way leaves the same files for the next attempt, with the same outcome: nothing
 * was handed out before open returned. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/fs_internal.h"
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/random.h"

/* Names of segments nobody needs, to be removed; more than this wait for the next start. */
#define LEFTOVERS_MAX 1024

struct recovery {
    struct nadb_fs *fs;
    struct nadb_backend_open_info *info;
    struct nadb_error *reterr;
    char *window;
    struct nadb_segment_point end; /* of the log so far; offset and counts of the last segment */
    /* directory */
    uint64_t leftovers[LEFTOVERS_MAX];
    size_t leftover_count;
    bool has_segments;
};

/* One segment while it is walked. */
struct visit {
    struct nadb_manifest_entry *entry;
    char name[NADB_SEGMENT_NAME_BYTES];
    int file;
    uint64_t size;
    bool is_open_ended; /* its end has to be found */
    struct nadb_segment_walk walk;
};

static enum nadb_err fail_damaged(
    const struct recovery *r, const char *name, const char *what, uint64_t offset)
{
    return nadb_error_set(r->reterr, NADB_ECORRUPT, 0, "segment '%s': %s at offset %llu", name,
        what, (unsigned long long)offset);
}

static enum nadb_err fail_io(
    const struct recovery *r, const char *name, const char *what, int result)
{
    return nadb_error_set(r->reterr, NADB_EIO, -result, "segment '%s': %s", name, what);
}

/* ---- the directory ---- */

static void note_name(void *ctx, const char *name)
{
    struct recovery *r = ctx;
    uint64_t id;
    if (strcmp(name, NADB_FS_RESERVE_NAME) == 0) {
        r->fs->has_reserve = true;
    }
    if (!nadb_segment_parse_name(name, &id)) {
        return;
    }
    r->has_segments = true;
    if (nadb_manifest_find(&r->fs->manifest, id) == NULL && r->leftover_count < LEFTOVERS_MAX) {
        r->leftovers[r->leftover_count++] = id;
    }
}

/* The store's first manifest. */
static enum nadb_err begin_store(struct recovery *r)
{
    struct nadb_fs *fs = r->fs;
    if (r->has_segments) {
        return nadb_error_set(r->reterr, NADB_ECORRUPT, 0,
            NADB_FS_MANIFEST_NAME ": missing, although there are segments");
    }
    nadb_random_bytes(&fs->manifest.store_id, sizeof(fs->manifest.store_id));
    int result = nadb_fs__publish(fs);
    return result == 0
               ? NADB_OK
               : nadb_error_set(r->reterr, NADB_EIO, -result, NADB_FS_MANIFEST_NAME ": create");
}

/* A segment that the manifest does not name was being made or being removed. One that is being
 * made has no batches: if there are some, the manifest is not this store's newest. */
static enum nadb_err remove_leftover(struct recovery *r, uint64_t id)
{
    const struct nadb_fs_io *io = r->fs->io;
    char name[NADB_SEGMENT_NAME_BYTES];
    nadb_segment_name(name, id);
    if (id >= r->fs->manifest.next_id) {
        char header[NADB_FRAME_HEADER_BYTES];
        struct nadb_frame frame;
        int file = io->open_file(io, r->fs->dir, name, NADB_FS_OPEN_READ);
        if (file < 0) {
            return fail_io(r, name, "open", file);
        }
        ssize_t got =
            nadb_fs_read_full(io, file, header, sizeof(header), NADB_SEGMENT_HEADER_BYTES);
        (void)io->close_file(io, file); /* nothing was written */
        uint64_t seed = nadb_offset_seed(
            nadb_segment_seed(r->fs->manifest.store_id, id), NADB_SEGMENT_HEADER_BYTES);
        if (got == (ssize_t)sizeof(header) && nadb_frame_get(header, seed, &frame) != NADB_FS_BAD) {
            return nadb_error_set(r->reterr, NADB_ECORRUPT, 0,
                "segment '%s': holds batches, but " NADB_FS_MANIFEST_NAME " does not name it",
                name);
        }
    }
    (void)io->unlink_file(io, r->fs->dir, name); /* the next start tries again */
    return NADB_OK;
}

static enum nadb_err remove_leftovers(struct recovery *r)
{
    const struct nadb_fs_io *io = r->fs->io;
    for (size_t i = 0; i < r->leftover_count; i++) {
        enum nadb_err err = remove_leftover(r, r->leftovers[i]);
        if (err != NADB_OK) {
            return err;
        }
    }
    if (r->leftover_count > 0 && r->info->note[0] == '\0') {
        (void)snprintf(r->info->note, sizeof(r->info->note),
            "removed segments that a crash left unused: %zu", r->leftover_count); /* fits */
    }
    (void)io->unlink_file(io, r->fs->dir, NADB_FS_MANIFEST_TMP_NAME); /* mostly there is none */
    return NADB_OK;
}

/* ---- one segment ---- */

static enum nadb_err open_segment(struct recovery *r, struct visit *visit)
{
    const struct nadb_fs_io *io = r->fs->io;
    const struct nadb_manifest_entry *entry = visit->entry;
    bool is_active = entry->state == NADB_SEGMENT_ACTIVE;
    nadb_segment_name(visit->name, entry->id);
    visit->file = io->open_file(
        io, r->fs->dir, visit->name, is_active ? NADB_FS_OPEN_WRITE : NADB_FS_OPEN_READ);
    if (visit->file == -ENOENT) {
        return nadb_error_set(
            r->reterr, NADB_ECORRUPT, 0, "segment '%s': file is missing", visit->name);
    }
    if (visit->file < 0) {
        return fail_io(r, visit->name, "open", visit->file);
    }
    int result = io->size_file(io, visit->file, &visit->size);
    if (result != 0) {
        return fail_io(r, visit->name, "size", result);
    }
    visit->is_open_ended = is_active && !r->fs->manifest.is_clean;
    bool is_exact = entry->state != NADB_SEGMENT_CUT && !visit->is_open_ended;
    if (visit->size < entry->bytes) {
        return fail_damaged(r, visit->name, "file ends too early", visit->size);
    }
    if (is_exact && visit->size > entry->bytes) {
        return fail_damaged(r, visit->name, "foreign bytes", entry->bytes);
    }
    return NADB_OK;
}

static enum nadb_err check_header(struct recovery *r, const struct visit *visit)
{
    char header[NADB_SEGMENT_HEADER_BYTES];
    uint32_t version = 0;
    ssize_t got = nadb_fs_read_full(r->fs->io, visit->file, header, sizeof(header), 0);
    if (got < 0) {
        return fail_io(r, visit->name, "read", (int)got);
    }
    if (got < (ssize_t)sizeof(header)) {
        return fail_damaged(r, visit->name, "file ends too early", (uint64_t)got);
    }
    switch (nadb_segment_header_get(header, r->fs->manifest.store_id, visit->entry->id, &version)) {
    case NADB_FS_GOOD:
        return NADB_OK;
    case NADB_FS_NEWER:
        return nadb_error_set(r->reterr, NADB_EFORMAT, 0,
            "segment '%s': written by a newer nadbd (format %u; this one reads up to %u)",
            visit->name, (unsigned)version, NADB_FS_FORMAT_VERSION);
    case NADB_FS_BAD:
    default:
        return fail_damaged(r, visit->name, "damaged header", 0);
    }
}

static enum nadb_err check_tail(struct recovery *r, struct visit *visit)
{
    bool was_stable = false;
    uint64_t last = 0;
    uint64_t end = visit->walk.at.offset;
    int result = nadb_segment_walk_look_ahead(&visit->walk, &was_stable, &last);
    if (result != 0) {
        return fail_io(r, visit->name, "read", result);
    }
    if (was_stable || end < visit->entry->bytes) {
        return fail_damaged(r, visit->name, "damaged", visit->walk.next.offset);
    }
    r->info->torn_bytes += last - end;
    if (last > end) {
        (void)snprintf(r->info->note, sizeof(r->info->note),
            "cut %llu bytes of an incomplete batch from %s", (unsigned long long)(last - end),
            visit->name); /* cut if it must be */
    }
    return NADB_OK;
}

/* The walk is over: is this how the segment may end? */
static enum nadb_err check_end(
    struct recovery *r, struct visit *visit, enum nadb_walk_result result)
{
    const struct nadb_manifest_entry *entry = visit->entry;
    const struct nadb_segment_walk *walk = &visit->walk;
    switch (result) {
    case NADB_WALK_ERROR:
        return fail_io(r, visit->name, "read", -walk->sys_errno);
    case NADB_WALK_NEWER:
        return nadb_error_set(r->reterr, NADB_EFORMAT, 0,
            "segment '%s': written by a newer nadbd (unknown bits at offset %llu)", visit->name,
            (unsigned long long)walk->next.offset);
    case NADB_WALK_FOOTER:
        if (visit->is_open_ended) { /* sealed, and then the manifest was not replaced */
            return NADB_OK;
        }
        break;
    case NADB_WALK_END:
        if (visit->is_open_ended) {
            return NADB_OK;
        }
        break;
    case NADB_WALK_BAD:
        if (visit->is_open_ended) {
            return check_tail(r, visit);
        }
        break;
    case NADB_WALK_FRAME:
    case NADB_WALK_BATCH:
    default:
        break;
    }
    bool is_right_end =
        result == (entry->state == NADB_SEGMENT_SEALED ? NADB_WALK_FOOTER : NADB_WALK_END);
    if (!is_right_end || walk->next.offset != entry->bytes || walk->next.chain != entry->chain) {
        return fail_damaged(r, visit->name, "damaged", walk->next.offset);
    }
    return NADB_OK;
}

static void add_unit(struct recovery *r, const struct visit *visit, uint64_t to)
{
    struct nadb_fs *fs = r->fs;
    fs->units[fs->unit_count++] = (struct nadb_fs_unit){
        .id = visit->entry->id,
        .seed = visit->walk.seed,
        .to = to,
        .slot = visit->entry->slot,
    };
    r->info->bytes += to - NADB_SEGMENT_HEADER_BYTES;
}

static enum nadb_err walk_segment(struct recovery *r, struct visit *visit)
{
    struct nadb_fs *fs = r->fs;
    const struct nadb_segment_point from = {
        .offset = NADB_SEGMENT_HEADER_BYTES,
        .chain = visit->entry->base,
        .seq = r->end.seq,
        .version = r->end.version,
    };
    struct nadb_segment_walk *walk = &visit->walk;
    nadb_segment_walk_begin(walk, fs->io, visit->file,
        nadb_segment_seed(fs->manifest.store_id, visit->entry->id), &from,
        visit->is_open_ended ? visit->size : visit->entry->bytes, r->window, visit->is_open_ended);
    uint64_t to = from.offset;
    enum nadb_walk_result result;
    do {
        result = nadb_segment_walk_next(walk);
        if (result == NADB_WALK_BATCH) {
            nadb_fs_deaths_add(&fs->deaths, walk->frame.seq, walk->frame.wall_ms);
            to = walk->at.offset;
        }
    } while (result == NADB_WALK_BATCH || result == NADB_WALK_FRAME);
    enum nadb_err err = check_end(r, visit, result);
    if (err != NADB_OK) {
        return err;
    }
    r->end = walk->at;
    if (to > from.offset) {
        add_unit(r, visit, to);
    }
    return NADB_OK;
}

/* ---- the active segment ---- */

/* After a clean end: batches are appended to it as if it had never been closed. */
static void adopt_active(struct recovery *r, struct visit *visit)
{
    struct nadb_fs *fs = r->fs;
    fs->active = (struct nadb_segment){
        .io = fs->io,
        .file = visit->file,
        .slot = visit->entry->slot,
        .id = visit->entry->id,
        .seed = visit->walk.seed,
        .base = visit->entry->base,
        .size = visit->size,
        .end = r->end,
        .synced = r->end,
    };
    memcpy(fs->active.name, visit->name, sizeof(fs->active.name));
    fs->rotate_at = fs->segment_size;
    visit->file = -1;
}

/* Where the batches begin that no frame knows to be stable. */
static uint64_t end_of_stable(struct recovery *r, const struct visit *visit)
{
    uint64_t stable_seq = visit->walk.frame.synced_seq; /* of the last frame: the highest */
    const struct nadb_segment_point from = {
        .offset = NADB_SEGMENT_HEADER_BYTES,
        .chain = visit->entry->base,
    };
    struct nadb_segment_walk walk;
    nadb_segment_walk_begin(
        &walk, r->fs->io, visit->file, visit->walk.seed, &from, r->end.offset, r->window, false);
    uint64_t offset = from.offset;
    enum nadb_walk_result result;
    do {
        result = nadb_segment_walk_next(&walk);
        if (result == NADB_WALK_BATCH && walk.frame.seq <= stable_seq) {
            offset = walk.at.offset;
        }
    } while (
        result == NADB_WALK_FRAME || (result == NADB_WALK_BATCH && walk.frame.seq < stable_seq));
    return offset;
}

/* Makes the recovered batches stable. Syncing alone is not enough: if a sync of the dead process
 * failed, the kernel holds pages that it takes for clean and that are not on the disk. Written
 * again with the same bytes, they are. */
static enum nadb_err make_stable(struct recovery *r, const struct visit *visit)
{
    const struct nadb_fs_io *io = r->fs->io;
    uint64_t offset = end_of_stable(r, visit);
    while (offset < r->end.offset) {
        uint64_t left = r->end.offset - offset;
        size_t len = left < NADB_WALK_WINDOW_BYTES ? (size_t)left : NADB_WALK_WINDOW_BYTES;
        ssize_t got = nadb_fs_read_full(io, visit->file, r->window, len, offset);
        if (got != (ssize_t)len) {
            return fail_io(r, visit->name, "read", got < 0 ? (int)got : -EIO);
        }
        struct iovec piece = {.iov_base = r->window, .iov_len = len};
        int result = nadb_fs_write_full(io, visit->file, &piece, 1, offset);
        if (result != 0) {
            return fail_io(r, visit->name, "write", result);
        }
        offset += len;
    }
    int result = io->sync_file(io, visit->file);
    return result == 0 ? NADB_OK : fail_io(r, visit->name, "sync", result);
}

/* After an unclean end: what was found is made stable, and the manifest says where it ends. */
static enum nadb_err finish_active(struct recovery *r, struct visit *visit)
{
    struct nadb_fs *fs = r->fs;
    const struct nadb_fs_io *io = fs->io;
    struct nadb_manifest_entry *entry = visit->entry;
    bool is_empty = r->end.frames == 0;
    enum nadb_err err = make_stable(r, visit);
    if (err != NADB_OK) {
        return err;
    }
    entry->state = NADB_SEGMENT_CUT; /* without the footer, if there is one */
    entry->bytes = r->end.offset;
    entry->chain = r->end.chain;
    entry->last_seq = r->end.seq;
    entry->records = r->end.records;
    if (is_empty) {
        nadb_manifest_remove(&fs->manifest, entry->id);
    }
    fs->tail = r->end;
    int result = nadb_fs__publish(fs);
    if (result != 0) {
        return nadb_error_set(r->reterr, NADB_EIO, -result, NADB_FS_MANIFEST_NAME ": replace");
    }
    if (is_empty) {
        (void)io->unlink_file(io, fs->dir, visit->name); /* the next start tries again */
    } else if (visit->size > r->end.offset) {
        (void)io->truncate_file(io, visit->file, r->end.offset); /* only to give room back */
    }
    return NADB_OK;
}

static enum nadb_err visit_segment(struct recovery *r, size_t index)
{
    struct visit visit = {.entry = &r->fs->manifest.entries[index], .file = -1};
    enum nadb_err err = open_segment(r, &visit);
    if (err == NADB_OK) {
        err = check_header(r, &visit);
    }
    if (err == NADB_OK) {
        err = walk_segment(r, &visit);
    }
    if (err == NADB_OK && visit.entry->state == NADB_SEGMENT_ACTIVE) {
        if (visit.is_open_ended) {
            err = finish_active(r, &visit);
        } else {
            adopt_active(r, &visit);
        }
    }
    if (visit.file >= 0) {
        (void)r->fs->io->close_file(r->fs->io, visit.file); /* what mattered was synced */
    }
    return err;
}

static enum nadb_err visit_segments(struct recovery *r)
{
    struct nadb_fs *fs = r->fs;
    size_t count = fs->manifest.count;
    fs->units = nadb_mem_try_alloc((count + 1) * sizeof(*fs->units));
    if (fs->units == NULL) {
        return nadb_error_set(r->reterr, NADB_ENOMEM, 0, "not enough memory");
    }
    for (size_t i = 0; i < count; i++) {
        enum nadb_err err = visit_segment(r, i);
        if (err != NADB_OK) {
            return err;
        }
    }
    if (r->end.seq < fs->manifest.last_seq) {
        return nadb_error_set(r->reterr, NADB_ECORRUPT, 0,
            NADB_FS_MANIFEST_NAME ": batches up to %llu were stable, found up to %llu",
            (unsigned long long)fs->manifest.last_seq, (unsigned long long)r->end.seq);
    }
    fs->tail = r->end;
    return NADB_OK;
}

static enum nadb_err recover_all(struct recovery *r)
{
    struct nadb_fs *fs = r->fs;
    bool exists = true;
    enum nadb_err err = nadb_manifest_load(&fs->manifest, fs->io, fs->dir, &exists, r->reterr);
    if (err != NADB_OK) {
        return err;
    }
    int result = fs->io->list_dir(fs->io, fs->dir, note_name, r);
    if (result != 0) {
        return nadb_error_set(r->reterr, NADB_EIO, -result, "dir '%s': list", fs->dir_path);
    }
    r->info->was_clean = !exists || fs->manifest.is_clean;
    err = exists ? visit_segments(r) : begin_store(r);
    if (err == NADB_OK) {
        err = remove_leftovers(r);
    }
    r->info->units = fs->unit_count;
    r->info->last_batch_seq = r->end.seq;
    r->info->last_version = r->end.version;
    return err;
}

enum nadb_err nadb_fs__recover(
    struct nadb_fs *fs, struct nadb_backend_open_info *info, struct nadb_error *reterr)
{
    struct recovery *r = nadb_mem_zalloc(sizeof(*r));
    *r = (struct recovery){
        .fs = fs,
        .info = info,
        .reterr = reterr,
        .window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES),
    };
    enum nadb_err err = recover_all(r);
    nadb_mem_free(r->window);
    nadb_mem_free(r);
    return err;
}
