/* This file copies stores.
 *
 * Closed segments never change, so a copy is all of them under their own names, and a manifest that
 * says that they end cleanly: a directory that opens like any other. Where that is allowed and the
 * file system can do it, the files are hard links; otherwise they are linked from an earlier copy
 * that has them, or copied. */
#include "backends/fs/copy.h"

#include <errno.h>
#include <string.h>

#include "backends/fs/frame.h"
#include "backends/fs/segment.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

#define COPY_BYTES (1u << 20)

struct copying {
    const struct nadb_fs_copy *copy;
    const struct nadb_fs_io *io;
    int dir; /* -1: not opened yet; so is base */
    int base;
    bool is_ours; /* the directory was empty: what is in it is the copy's */
    char *buf;    /* owned; COPY_BYTES */
    struct nadb_backup_result result;
    struct nadb_error *reterr;
};

static enum nadb_err fail(const struct copying *c, const char *what, int result)
{
    return nadb_error_set(c->reterr, NADB_EIO, -result, "%s: %s", c->copy->what, what);
}

static void note_any_name(void *ctx, const char *name)
{
    (void)name;
    *(bool *)ctx = true;
}

static enum nadb_err open_target(struct copying *c)
{
    const char *path = c->copy->path;
    const char *base = c->copy->base;
    int result = c->io->make_dir(c->io, path);
    if (result != 0 && result != -EEXIST) {
        return fail(c, "directory", result);
    }
    c->dir = c->io->open_dir(c->io, path);
    if (c->dir < 0) {
        return fail(c, "directory", c->dir);
    }
    bool has_names = false;
    result = c->io->list_dir(c->io, c->dir, note_any_name, &has_names);
    if (result != 0 || has_names) {
        return fail(c, "directory", result != 0 ? result : -ENOTEMPTY);
    }
    c->is_ours = true;
    if (base != NULL) {
        c->base = c->io->open_dir(c->io, base);
        if (c->base < 0) {
            return fail(c, "earlier backup", c->base);
        }
    }
    return NADB_OK;
}

static int copy_bytes(struct copying *c, int from, int to, uint64_t bytes)
{
    int result = 0;
    for (uint64_t at = 0; result == 0 && at < bytes;) {
        uint64_t left = bytes - at;
        size_t len = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        ssize_t got = nadb_fs_read_full(c->io, from, c->buf, len, at);
        if (got != (ssize_t)len) {
            return got < 0 ? (int)got : -EIO;
        }
        struct iovec piece = {.iov_base = c->buf, .iov_len = len};
        result = nadb_fs_write_full(c->io, to, &piece, 1, at);
        at += len;
    }
    return result != 0 ? result : c->io->sync_file(c->io, to);
}

static int copy_file(struct copying *c, const char *name, uint64_t bytes)
{
    int from = c->io->open_file(c->io, c->copy->from, name, NADB_FS_OPEN_READ);
    if (from < 0) {
        return from;
    }
    int to = c->io->open_file(c->io, c->dir, name, NADB_FS_OPEN_CREATE);
    int result = to < 0 ? to : copy_bytes(c, from, to, bytes);
    if (to >= 0) {
        (void)c->io->close_file(c->io, to); /* it was synced, or the attempt has failed */
    }
    (void)c->io->close_file(c->io, from); /* nothing was written */
    return result;
}

/* Is the earlier backup's file this very segment? Its header says which store and which id. */
static bool is_in_base(struct copying *c, const struct nadb_manifest_entry *entry, const char *name)
{
    int file = c->base < 0 ? -1 : c->io->open_file(c->io, c->base, name, NADB_FS_OPEN_READ);
    if (file < 0) {
        return false;
    }
    char header[NADB_SEGMENT_HEADER_BYTES];
    uint64_t size = 0;
    uint32_t version = 0;
    bool is_same =
        c->io->size_file(c->io, file, &size) == 0 && size >= entry->bytes &&
        nadb_fs_read_full(c->io, file, header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
        nadb_segment_header_get(header, c->copy->manifest->store_id, entry->id, &version) ==
            NADB_FS_GOOD;
    (void)c->io->close_file(c->io, file); /* nothing was written */
    return is_same;
}

static enum nadb_err take_segment(struct copying *c, const struct nadb_manifest_entry *entry)
{
    char name[NADB_SEGMENT_NAME_BYTES];
    nadb_segment_name(name, entry->id);
    bool is_linked =
        (is_in_base(c, entry, name) && c->io->link_file(c->io, c->base, c->dir, name) == 0) ||
        (c->copy->may_link && c->io->link_file(c->io, c->copy->from, c->dir, name) == 0);
    int result = is_linked ? 0 : copy_file(c, name, entry->bytes);
    if (result != 0) {
        return nadb_error_set(c->reterr, result == -ENOSPC ? NADB_ENOSPC : NADB_EIO, -result,
            "%s: segment '%s'", c->copy->what, name);
    }
    c->result.segments++;
    c->result.bytes += entry->bytes;
    c->result.copied_bytes += is_linked ? 0 : entry->bytes;
    if (c->copy->progress != NULL) {
        c->copy->progress(c->copy->ctx, c->result.bytes);
    }
    return NADB_OK;
}

static enum nadb_err take_all(struct copying *c)
{
    enum nadb_err err = open_target(c);
    for (size_t i = 0; err == NADB_OK && i < c->copy->manifest->count; i++) {
        err = take_segment(c, &c->copy->manifest->entries[i]);
    }
    if (err == NADB_OK) {
        /* The segments' names are stable before the manifest's can be. */
        int result = c->io->sync_dir(c->io, c->dir);
        err = result == 0 ? NADB_OK : fail(c, "directory", result);
    }
    if (err == NADB_OK) {
        int result = nadb_manifest_publish(c->copy->manifest, c->io, c->dir);
        err = result == 0 ? NADB_OK : fail(c, NADB_FS_MANIFEST_NAME, result);
    }
    return err;
}

/* What failed leaves nothing but the directory, as far as the disk allows: without a manifest it is
 * no store, whatever else can be removed; with one, or one that may come back with the power, it
 * must not miss the segments. */
static void remove_all(struct copying *c)
{
    int result = c->io->unlink_file(c->io, c->dir, NADB_FS_MANIFEST_NAME);
    (void)c->io->unlink_file(c->io, c->dir, NADB_FS_MANIFEST_TMP_NAME); /* it means nothing */
    bool has_manifest = result != 0 && result != -ENOENT;
    if (has_manifest || c->io->sync_dir(c->io, c->dir) != 0) {
        return;
    }
    for (size_t i = 0; i <= c->result.segments && i < c->copy->manifest->count; i++) {
        char name[NADB_SEGMENT_NAME_BYTES];
        nadb_segment_name(name, c->copy->manifest->entries[i].id);
        (void)c->io->unlink_file(c->io, c->dir, name); /* as above */
    }
}

enum nadb_err nadb_fs_copy(
    const struct nadb_fs_copy *copy, struct nadb_backup_result *ret, struct nadb_error *reterr)
{
    struct copying c = {.copy = copy, .io = copy->io, .dir = -1, .base = -1, .reterr = reterr};
    NADB_ASSERT(copy->manifest->is_clean);
    c.buf = nadb_mem_alloc(COPY_BYTES);
    enum nadb_err err = take_all(&c);
    if (err != NADB_OK && c.is_ours) {
        remove_all(&c);
    }
    if (c.dir >= 0) {
        (void)c.io->close_file(c.io, c.dir); /* it was synced, or the attempt has failed */
    }
    if (c.base >= 0) {
        (void)c.io->close_file(c.io, c.base); /* nothing was written */
    }
    nadb_mem_free(c.buf);
    *ret = c.result;
    return err;
}
