/* This file finds the end of the log when the store is opened and finishes what a crash left.
 *
 * Every segment is held against the manifest (visit.h). The recovered part of the active segment
 * may have been read from the page cache and not be on the disk: it is made stable before the
 * manifest says that the segment is cut there. New batches go to a new segment.
 *
 * A crash on the way leaves the same files for the next attempt, with the same outcome: nothing
 * was handed out before open returned. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/fs_internal.h"
#include "backends/fs/hint.h"
#include "backends/fs/visit.h"
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/random.h"

/* Names of segments nobody needs, to be removed; more than this wait for the next start. */
#define LEFTOVERS_MAX 1024

#define UNITS_FIRST 64u

struct recovery {
    struct nadb_fs *fs;
    struct nadb_backend_open_info *info;
    struct nadb_error *reterr;
    char *window;
    struct nadb_segment_point end; /* of the log so far; offset and counts of the last segment */
    uint64_t stable_seq;           /* a batch up to which all were stable, as the manifest says */
    /* directory */
    uint64_t leftovers[LEFTOVERS_MAX];
    size_t leftover_count;
    uint64_t stray_hints[LEFTOVERS_MAX]; /* without a segment */
    size_t stray_hint_count;
    bool has_segments;
};

static enum nadb_err fail_io(
    const struct recovery *r, const char *name, const char *what, int result)
{
    return nadb_error_set(r->reterr, NADB_EIO, -result, "segment '%s': %s", name, what);
}

/* ---- the directory ---- */

static void note_hint(struct recovery *r, uint64_t id)
{
    struct nadb_manifest_entry *entry = nadb_manifest_find(&r->fs->manifest, id);
    if (entry != NULL) {
        entry->has_hint = true;
    } else if (r->stray_hint_count < LEFTOVERS_MAX) {
        r->stray_hints[r->stray_hint_count++] = id;
    }
}

static void note_name(void *ctx, const char *name)
{
    struct recovery *r = ctx;
    uint64_t id;
    if (strcmp(name, NADB_FS_RESERVE_NAME) == 0) {
        r->fs->has_reserve = true;
    }
    if (nadb_hint_parse_name(name, &id)) {
        note_hint(r, id);
        return;
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

static void remove_hint(struct recovery *r, uint64_t id)
{
    char name[NADB_HINT_NAME_BYTES];
    nadb_hint_name(name, id);
    (void)r->fs->io->unlink_file(r->fs->io, r->fs->dir, name); /* it is only in the way */
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
    for (size_t i = 0; i < r->stray_hint_count; i++) {
        remove_hint(r, r->stray_hints[i]);
    }
    if (r->leftover_count > 0 && r->info->note[0] == '\0') {
        (void)snprintf(r->info->note, sizeof(r->info->note),
            "removed segments that a crash left unused: %zu", r->leftover_count); /* fits */
    }
    (void)io->unlink_file(io, r->fs->dir, NADB_FS_MANIFEST_TMP_NAME); /* mostly there is none */
    return NADB_OK;
}

/* ---- one segment ---- */

static enum nadb_err add_unit(struct recovery *r, const struct nadb_fs_unit *unit)
{
    struct nadb_fs *fs = r->fs;
    if (fs->unit_count == fs->unit_cap) {
        uint32_t cap = fs->unit_cap == 0 ? UNITS_FIRST : fs->unit_cap * 2;
        struct nadb_fs_unit *units = nadb_mem_try_realloc(fs->units, cap * sizeof(*units));
        if (units == NULL) {
            return nadb_error_set(r->reterr, NADB_ENOMEM, 0, "not enough memory");
        }
        fs->units = units;
        fs->unit_cap = cap;
    }
    fs->units[fs->unit_count++] = *unit;
    r->info->bytes += unit->to - unit->from;
    return NADB_OK;
}

/* The units from number `first` on end at `to` at the latest. */
static void clip_units(struct recovery *r, uint32_t first, uint64_t to)
{
    struct nadb_fs *fs = r->fs;
    while (fs->unit_count > first && fs->units[fs->unit_count - 1].to > to) {
        struct nadb_fs_unit *last = &fs->units[fs->unit_count - 1];
        bool is_behind = last->from >= to;
        r->info->bytes -= last->to - (is_behind ? last->from : to);
        last->to = to;
        fs->unit_count -= is_behind ? 1 : 0;
    }
}

static void note_torn(struct recovery *r, const struct nadb_fs_visit *visit)
{
    r->info->torn_bytes += visit->torn_bytes;
    if (visit->torn_bytes > 0) {
        (void)snprintf(r->info->note, sizeof(r->info->note),
            "cut %llu bytes of an incomplete batch from %s", (unsigned long long)visit->torn_bytes,
            visit->name); /* cut if it must be */
    }
}

/* Units are decoded in parallel: a segment is dealt out to several, each no more than what is read
 * at once, if its frames allow. */
static enum nadb_err walk_segment(struct recovery *r, struct nadb_fs_visit *visit)
{
    struct nadb_fs *fs = r->fs;
    const uint32_t first = fs->unit_count;
    struct nadb_fs_unit unit = {
        .id = visit->entry->id,
        .seed = visit->walk.seed,
        .from = NADB_SEGMENT_HEADER_BYTES,
        .to = NADB_SEGMENT_HEADER_BYTES,
        .slot = visit->entry->slot,
    };
    bool is_end = false;
    enum nadb_err err = nadb_fs_visit_next(visit, &is_end, r->reterr);
    while (err == NADB_OK && !is_end) {
        if (nadb_fs_visit_is_at_batch_end(visit)) {
            nadb_fs_deaths_add(&fs->deaths, visit->walk.frame.seq, visit->walk.frame.wall_ms);
        }
        uint64_t next = visit->walk.next.offset;
        if (unit.to > unit.from && next - unit.from > NADB_BACKEND_CHUNK_BYTES) {
            err = add_unit(r, &unit);
            unit.from = unit.to;
        }
        unit.to = next;
        if (err == NADB_OK) {
            err = nadb_fs_visit_next(visit, &is_end, r->reterr);
        }
    }
    if (err == NADB_OK && unit.to > unit.from) {
        err = add_unit(r, &unit);
    }
    if (err == NADB_OK) {
        note_torn(r, visit);
        r->end = visit->walk.at;
        clip_units(r, first, r->end.offset); /* frames of a torn batch */
        for (uint32_t i = first; i < fs->unit_count; i++) {
            fs->units[i].is_cached = nadb_fs_visit_has_read_most(visit);
        }
    }
    return err;
}

/* ---- the active segment ---- */

/* After a clean end: batches are appended to it as if it had never been closed. */
static void adopt_active(struct recovery *r, struct nadb_fs_visit *visit)
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
static uint64_t end_of_stable(struct recovery *r, const struct nadb_fs_visit *visit)
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
static enum nadb_err make_stable(struct recovery *r, const struct nadb_fs_visit *visit)
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

/* Is everything there that the manifest knows to have been stable? Asked while it still says so. */
static enum nadb_err check_stable(const struct recovery *r)
{
    if (r->end.seq >= r->stable_seq) {
        return NADB_OK;
    }
    return nadb_error_set(r->reterr, NADB_ECORRUPT, 0,
        NADB_FS_MANIFEST_NAME ": batches up to %llu were stable, found up to %llu",
        (unsigned long long)r->stable_seq, (unsigned long long)r->end.seq);
}

/* After an unclean end: what was found is made stable, and the manifest says where it ends. */
static enum nadb_err finish_active(
    struct recovery *r, const struct nadb_fs_visit *visit, struct nadb_manifest_entry *entry)
{
    struct nadb_fs *fs = r->fs;
    const struct nadb_fs_io *io = fs->io;
    bool is_empty = r->end.frames == 0;
    enum nadb_err err = check_stable(r);
    if (err == NADB_OK) {
        err = make_stable(r, visit);
    }
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

/* Is the segment there as the manifest has it, as far as its last bytes tell? */
static bool has_right_end(const struct nadb_fs_visit *visit)
{
    const struct nadb_manifest_entry *entry = visit->entry;
    char footer[NADB_FRAME_HEADER_BYTES];
    struct nadb_frame frame;
    uint64_t offset = entry->bytes - sizeof(footer);
    if (entry->state != NADB_SEGMENT_SEALED) {
        return true; /* what counts of it ends in the middle */
    }
    return nadb_fs_read_full(visit->io, visit->file, footer, sizeof(footer), offset) ==
               (ssize_t)sizeof(footer) &&
           nadb_frame_get(footer, nadb_offset_seed(visit->walk.seed, offset), &frame) ==
               NADB_FS_GOOD &&
           frame.check == entry->chain;
}

/* Takes what the segment's hint says of it instead of walking it; false: that cannot be had. */
static bool take_hint(struct recovery *r, const struct nadb_fs_visit *visit, enum nadb_err *ret_err)
{
    struct nadb_fs *fs = r->fs;
    const struct nadb_manifest_entry *entry = visit->entry;
    struct nadb_hint hint;
    bool is_wanted = fs->is_lean && entry->has_hint && entry->state != NADB_SEGMENT_ACTIVE &&
                     entry->bytes >= NADB_SEGMENT_HEADER_BYTES + NADB_FRAME_HEADER_BYTES;
    if (!is_wanted || !has_right_end(visit) ||
        !nadb_hint_read(
            fs->io, fs->dir, fs->manifest.store_id, entry, r->window, &fs->deaths, &hint)) {
        return false;
    }
    uint64_t version = r->end.version;
    r->end = hint.at;
    r->end.version = version > r->end.version ? version : r->end.version;
    if (hint.to > hint.from) {
        *ret_err = add_unit(r, &(struct nadb_fs_unit){
                                   .id = entry->id,
                                   .seed = nadb_hint_seed(visit->walk.seed),
                                   .from = hint.from,
                                   .to = hint.to,
                                   .slot = entry->slot,
                                   .is_hint = true,
                                   .is_cached = true,
                               });
    }
    return true;
}

/* By its hint, or from its first byte to its last. */
static enum nadb_err look_at(
    struct recovery *r, struct nadb_fs_visit *visit, struct nadb_manifest_entry *entry)
{
    enum nadb_err err = NADB_OK;
    if (take_hint(r, visit, &err)) {
        return err;
    }
    if (r->fs->is_lean && entry->has_hint) {
        remove_hint(r, entry->id); /* it was no good: another one will be written */
        entry->has_hint = false;
    }
    return walk_segment(r, visit);
}

static enum nadb_err visit_segment(struct recovery *r, size_t index)
{
    struct nadb_fs *fs = r->fs;
    struct nadb_manifest_entry *entry = &fs->manifest.entries[index];
    struct nadb_fs_visit visit = {
        .io = fs->io,
        .dir = fs->dir,
        .store_id = fs->manifest.store_id,
        .entry = entry,
        .was_clean = fs->manifest.is_clean,
        .is_writable = true,
        .window = r->window,
        .before = r->end,
    };
    enum nadb_err err = nadb_fs_visit_begin(&visit, r->reterr);
    if (err == NADB_OK) {
        err = look_at(r, &visit, entry);
    }
    if (err == NADB_OK && entry->state == NADB_SEGMENT_ACTIVE) {
        if (visit.is_open_ended) {
            err = finish_active(r, &visit, entry);
        } else {
            adopt_active(r, &visit);
        }
    }
    nadb_fs_visit_end(&visit);
    return err;
}

static bool is_too_large(const struct nadb_fs *fs)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < fs->manifest.count; i++) {
        bytes += fs->manifest.entries[i].bytes;
    }
    return fs->replay_values_max > 0 && bytes > fs->replay_values_max;
}

static enum nadb_err visit_segments(struct recovery *r)
{
    struct nadb_fs *fs = r->fs;
    size_t count = fs->manifest.count;
    fs->is_lean = is_too_large(fs);
    r->info->is_without_values = fs->is_lean;
    r->stable_seq = fs->manifest.last_seq;
    r->end.version = fs->manifest.last_version; /* compaction may have dropped what had it */
    for (size_t i = 0; i < count; i++) {
        enum nadb_err err = visit_segment(r, i);
        if (err != NADB_OK) {
            return err;
        }
    }
    if (count == 0) { /* all of it was dead */
        r->end.seq = r->stable_seq;
    }
    fs->tail = r->end;
    return check_stable(r);
}

static enum nadb_err recover_all(struct recovery *r)
{
    struct nadb_fs *fs = r->fs;
    bool exists = true;
    enum nadb_err err = nadb_manifest_load(&fs->manifest, fs->io, fs->dir, &exists, r->reterr);
    if (err != NADB_OK) {
        return err;
    }
    /* Whoever put it there may have died before its name was stable: nothing is built on it, or
     * removed because of it, that a loss of power would leave without it. */
    int result = exists ? fs->io->sync_dir(fs->io, fs->dir) : 0;
    if (result != 0) {
        return nadb_error_set(r->reterr, NADB_EIO, -result, "dir '%s': sync", fs->dir_path);
    }
    result = fs->io->list_dir(fs->io, fs->dir, note_name, r);
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
