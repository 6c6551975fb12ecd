/* This file walks a segment and says how it differs from what the manifest says of it. */
#include "backends/fs/visit.h"

#include <errno.h>

#include "backends/fs/blocks.h"

static enum nadb_err fail_damaged(
    const struct nadb_fs_visit *visit, const char *what, uint64_t offset, struct nadb_error *reterr)
{
    return nadb_error_set(reterr, NADB_ECORRUPT, 0, "segment '%s': %s at offset %llu", visit->name,
        what, (unsigned long long)offset);
}

static enum nadb_err fail_io(
    const struct nadb_fs_visit *visit, const char *what, int result, struct nadb_error *reterr)
{
    return nadb_error_set(reterr, NADB_EIO, -result, "segment '%s': %s", visit->name, what);
}

static enum nadb_err open_segment(struct nadb_fs_visit *visit, struct nadb_error *reterr)
{
    const struct nadb_fs_io *io = visit->io;
    const struct nadb_manifest_entry *entry = visit->entry;
    bool is_active = entry->state == NADB_SEGMENT_ACTIVE;
    bool is_writable = is_active && visit->is_writable;
    visit->file = io->open_file(
        io, visit->dir, visit->name, is_writable ? NADB_FS_OPEN_WRITE : NADB_FS_OPEN_READ);
    if (visit->file == -ENOENT) {
        return nadb_error_set(
            reterr, NADB_ECORRUPT, 0, "segment '%s': file is missing", visit->name);
    }
    if (visit->file < 0) {
        return fail_io(visit, "open", visit->file, reterr);
    }
    int result = io->size_file(io, visit->file, &visit->size);
    if (result != 0) {
        return fail_io(visit, "size", result, reterr);
    }
    visit->is_open_ended = is_active && !visit->was_clean;
    bool is_exact = entry->state != NADB_SEGMENT_CUT && !visit->is_open_ended;
    if (visit->size < entry->bytes) {
        return fail_damaged(visit, "file ends too early", visit->size, reterr);
    }
    if (is_exact && visit->size > entry->bytes) {
        return fail_damaged(visit, "foreign bytes", entry->bytes, reterr);
    }
    return NADB_OK;
}

static enum nadb_err check_header(const struct nadb_fs_visit *visit, struct nadb_error *reterr)
{
    char header[NADB_SEGMENT_HEADER_BYTES];
    uint32_t version = 0;
    ssize_t got = nadb_fs_read_full(visit->io, visit->file, header, sizeof(header), 0);
    if (got < 0) {
        return fail_io(visit, "read", (int)got, reterr);
    }
    if (got < (ssize_t)sizeof(header)) {
        return fail_damaged(visit, "file ends too early", (uint64_t)got, reterr);
    }
    switch (nadb_segment_header_get(header, visit->store_id, visit->entry->id, &version)) {
    case NADB_FS_GOOD:
        return NADB_OK;
    case NADB_FS_NEWER:
        return nadb_error_set(reterr, NADB_EFORMAT, 0,
            "segment '%s': written by a newer nadbd (format %u; this one reads up to %u)",
            visit->name, (unsigned)version, NADB_FS_FORMAT_VERSION);
    case NADB_FS_BAD:
    default:
        return fail_damaged(visit, "damaged header", 0, reterr);
    }
}

/* The last batch in front of the segment. What was in front may have been compacted away; that of
 * an active segment that the manifest has no batch of is known. Were it taken for earlier, the
 * segment's own first frame would seem to tell of stable batches that are missing. */
static uint64_t seq_before(const struct nadb_fs_visit *visit)
{
    const struct nadb_manifest_entry *entry = visit->entry;
    bool is_known =
        entry->state == NADB_SEGMENT_ACTIVE && entry->bytes == NADB_SEGMENT_HEADER_BYTES;
    return is_known && entry->last_seq > visit->before.seq ? entry->last_seq : visit->before.seq;
}

enum nadb_err nadb_fs_visit_begin(struct nadb_fs_visit *visit, struct nadb_error *reterr)
{
    visit->file = -1;
    nadb_segment_name(visit->name, visit->entry->id);
    enum nadb_err err = open_segment(visit, reterr);
    if (err == NADB_OK) {
        err = check_header(visit, reterr);
    }
    if (err != NADB_OK) {
        return err;
    }
    const struct nadb_segment_point from = {
        .offset = NADB_SEGMENT_HEADER_BYTES,
        .chain = visit->entry->base,
        .seq = seq_before(visit),
        .version = visit->before.version,
    };
    nadb_segment_walk_begin(&visit->walk, visit->io, visit->file,
        nadb_segment_seed(visit->store_id, visit->entry->id), &from,
        visit->is_open_ended ? visit->size : visit->entry->bytes, visit->window,
        visit->is_open_ended || visit->is_verifying);
    return NADB_OK;
}

static enum nadb_err check_tail(struct nadb_fs_visit *visit, struct nadb_error *reterr)
{
    bool was_stable = false;
    uint64_t last = 0;
    uint64_t end = visit->walk.at.offset;
    int result = nadb_segment_walk_look_ahead(&visit->walk, &was_stable, &last);
    if (result != 0) {
        return fail_io(visit, "read", result, reterr);
    }
    if (was_stable || end < visit->entry->bytes) {
        return fail_damaged(visit, "damaged", visit->walk.next.offset, reterr);
    }
    visit->torn_bytes = last - end;
    return NADB_OK;
}

/* The walk is over: is this how the segment may end? */
static enum nadb_err check_end(
    struct nadb_fs_visit *visit, enum nadb_walk_result result, struct nadb_error *reterr)
{
    const struct nadb_manifest_entry *entry = visit->entry;
    const struct nadb_segment_walk *walk = &visit->walk;
    switch (result) {
    case NADB_WALK_ERROR:
        return fail_io(visit, "read", -walk->sys_errno, reterr);
    case NADB_WALK_NEWER:
        return nadb_error_set(reterr, NADB_EFORMAT, 0,
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
            return check_tail(visit, reterr);
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
        return fail_damaged(visit, "damaged", walk->next.offset, reterr);
    }
    return NADB_OK;
}

enum nadb_err nadb_fs_visit_next(
    struct nadb_fs_visit *visit, bool *ret_is_end, struct nadb_error *reterr)
{
    enum nadb_walk_result result = nadb_segment_walk_next(&visit->walk);
    *ret_is_end = result != NADB_WALK_FRAME && result != NADB_WALK_BATCH;
    bool is_read =
        visit->walk.is_verifying || visit->walk.frame.payload_bytes < NADB_WALK_SKIP_BYTES;
    if (!*ret_is_end && is_read) {
        visit->read_bytes += NADB_FRAME_HEADER_BYTES + visit->walk.frame.payload_bytes;
    }
    return *ret_is_end ? check_end(visit, result, reterr) : NADB_OK;
}

bool nadb_fs_visit_is_at_batch_end(const struct nadb_fs_visit *visit)
{
    return visit->walk.at.offset == visit->walk.next.offset;
}

bool nadb_fs_visit_has_read_most(const struct nadb_fs_visit *visit)
{
    return visit->read_bytes > visit->walk.next.offset / 2;
}

enum nadb_err nadb_fs_visit_open_run(
    const struct nadb_fs_visit *visit, int *ret_file, struct nadb_error *reterr)
{
    bool is_cached = nadb_fs_visit_has_read_most(visit);
    *ret_file = nadb_fs_open_run(visit->io, visit->dir, visit->name, !is_cached);
    return *ret_file < 0 ? fail_io(visit, "open", *ret_file, reterr) : NADB_OK;
}

void nadb_fs_visit_end(struct nadb_fs_visit *visit)
{
    if (visit->file >= 0) {
        (void)visit->io->close_file(visit->io, visit->file); /* what mattered was synced */
        visit->file = -1;
    }
}
