/* This file copies the store as it is at one moment to another directory.
 *
 * Closed segments never change, so a backup is all of them under their own names, and a manifest
 * that says that they end cleanly: a directory that opens like any other. Where the file system
 * allows it the files are hard links; otherwise they are linked from an earlier backup that has
 * them, or copied. The manifest comes last: without it there is no backup.
 *
 * No compaction runs meanwhile (the store sees to that), so nobody removes a segment. */
#include <errno.h>
#include <string.h>

#include "backends/fs/fs_internal.h"
#include "src/base/mem.h"

#define COPY_BYTES (1u << 20)

struct backup {
    struct nadb_fs *fs;
    const struct nadb_fs_io *io;
    int dir; /* -1: not opened yet; so is base */
    int base;
    bool is_ours; /* the directory was empty: what is in it is the backup's */
    char *buf;    /* owned; COPY_BYTES */
    struct nadb_manifest manifest;
    struct nadb_backup_result result;
    struct nadb_error *reterr;
};

static enum nadb_err fail(const struct backup *b, const char *what, int result)
{
    return nadb_error_set(b->reterr, NADB_EIO, -result, "backup: %s", what);
}

/* The closed segments as they are now. Under log_lock. */
static int take_manifest(struct backup *b)
{
    struct nadb_fs *fs = b->fs;
    int result = nadb_fs__rotate(fs);
    if (result != 0) {
        return result;
    }
    const struct nadb_manifest *from = &fs->manifest;
    b->manifest.store_id = from->store_id;
    b->manifest.next_id = from->next_id;
    b->manifest.is_clean = true;
    b->manifest.entries = nadb_mem_alloc((from->count + 1) * sizeof(*from->entries));
    b->manifest.cap = from->count + 1;
    for (size_t i = 0; i < from->count; i++) {
        const struct nadb_manifest_entry *entry = &from->entries[i];
        if (entry->state != NADB_SEGMENT_ACTIVE) {
            b->manifest.entries[b->manifest.count++] = *entry;
            b->manifest.last_seq = entry->last_seq;
        }
    }
    b->manifest.last_version = from->last_version;
    return 0;
}

static void note_any_name(void *ctx, const char *name)
{
    (void)name;
    *(bool *)ctx = true;
}

static enum nadb_err open_target(struct backup *b, const char *path, const char *base)
{
    int result = b->io->make_dir(b->io, path);
    if (result != 0 && result != -EEXIST) {
        return fail(b, "directory", result);
    }
    b->dir = b->io->open_dir(b->io, path);
    if (b->dir < 0) {
        return fail(b, "directory", b->dir);
    }
    bool has_names = false;
    result = b->io->list_dir(b->io, b->dir, note_any_name, &has_names);
    if (result != 0 || has_names) {
        return fail(b, "directory", result != 0 ? result : -ENOTEMPTY);
    }
    b->is_ours = true;
    if (base != NULL) {
        b->base = b->io->open_dir(b->io, base);
        if (b->base < 0) {
            return fail(b, "earlier backup", b->base);
        }
    }
    return NADB_OK;
}

static int copy_bytes(struct backup *b, int from, int to, uint64_t bytes)
{
    int result = 0;
    for (uint64_t at = 0; result == 0 && at < bytes;) {
        uint64_t left = bytes - at;
        size_t len = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        ssize_t got = nadb_fs_read_full(b->io, from, b->buf, len, at);
        if (got != (ssize_t)len) {
            return got < 0 ? (int)got : -EIO;
        }
        struct iovec piece = {.iov_base = b->buf, .iov_len = len};
        result = nadb_fs_write_full(b->io, to, &piece, 1, at);
        at += len;
    }
    return result != 0 ? result : b->io->sync_file(b->io, to);
}

static int copy_file(struct backup *b, const char *name, uint64_t bytes)
{
    int from = b->io->open_file(b->io, b->fs->dir, name, NADB_FS_OPEN_READ);
    if (from < 0) {
        return from;
    }
    int to = b->io->open_file(b->io, b->dir, name, NADB_FS_OPEN_CREATE);
    int result = to < 0 ? to : copy_bytes(b, from, to, bytes);
    if (to >= 0) {
        (void)b->io->close_file(b->io, to); /* it was synced, or the attempt has failed */
    }
    (void)b->io->close_file(b->io, from); /* nothing was written */
    return result;
}

/* Is the earlier backup's file this very segment? Its header says which store and which id. */
static bool is_in_base(struct backup *b, const struct nadb_manifest_entry *entry, const char *name)
{
    int file = b->base < 0 ? -1 : b->io->open_file(b->io, b->base, name, NADB_FS_OPEN_READ);
    if (file < 0) {
        return false;
    }
    char header[NADB_SEGMENT_HEADER_BYTES];
    uint64_t size = 0;
    uint32_t version = 0;
    bool is_same =
        b->io->size_file(b->io, file, &size) == 0 && size >= entry->bytes &&
        nadb_fs_read_full(b->io, file, header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
        nadb_segment_header_get(header, b->manifest.store_id, entry->id, &version) == NADB_FS_GOOD;
    (void)b->io->close_file(b->io, file); /* nothing was written */
    return is_same;
}

static enum nadb_err take_segment(struct backup *b, const struct nadb_manifest_entry *entry)
{
    char name[NADB_SEGMENT_NAME_BYTES];
    nadb_segment_name(name, entry->id);
    bool is_linked =
        (is_in_base(b, entry, name) && b->io->link_file(b->io, b->base, b->dir, name) == 0) ||
        b->io->link_file(b->io, b->fs->dir, b->dir, name) == 0;
    int result = is_linked ? 0 : copy_file(b, name, entry->bytes);
    if (result != 0) {
        return nadb_error_set(b->reterr, result == -ENOSPC ? NADB_ENOSPC : NADB_EIO, -result,
            "backup: segment '%s'", name);
    }
    b->result.segments++;
    b->result.bytes += entry->bytes;
    b->result.copied_bytes += is_linked ? 0 : entry->bytes;
    return NADB_OK;
}

static enum nadb_err take_all(struct backup *b, const char *path, const char *base)
{
    nadb_fs__lock(b->fs);
    int result = take_manifest(b);
    nadb_fs__unlock(b->fs);
    if (result != 0) {
        return fail(b, "closing a segment", result);
    }
    enum nadb_err err = open_target(b, path, base);
    for (size_t i = 0; err == NADB_OK && i < b->manifest.count; i++) {
        err = take_segment(b, &b->manifest.entries[i]);
    }
    if (err == NADB_OK) {
        result = nadb_manifest_publish(&b->manifest, b->io, b->dir);
        err = result == 0 ? NADB_OK : fail(b, NADB_FS_MANIFEST_NAME, result);
    }
    return err;
}

/* A backup that failed leaves nothing but the directory, as far as the disk allows. */
static void remove_all(struct backup *b)
{
    for (size_t i = 0; i <= b->result.segments && i < b->manifest.count; i++) {
        char name[NADB_SEGMENT_NAME_BYTES];
        nadb_segment_name(name, b->manifest.entries[i].id);
        (void)b->io->unlink_file(b->io, b->dir, name); /* without a manifest it is no backup */
    }
}

enum nadb_err nadb_fs__backup(struct nadb_fs *fs, const char *path, const char *base,
    struct nadb_backup_result *ret, struct nadb_error *reterr)
{
    struct backup b = {.fs = fs, .io = fs->io, .dir = -1, .base = -1, .reterr = reterr};
    nadb_manifest_init(&b.manifest);
    b.buf = nadb_mem_alloc(COPY_BYTES);
    enum nadb_err err = take_all(&b, path, base);
    if (err != NADB_OK && b.is_ours) {
        remove_all(&b);
    }
    if (b.dir >= 0) {
        (void)b.io->close_file(b.io, b.dir); /* it was synced, or the attempt has failed */
    }
    if (b.base >= 0) {
        (void)b.io->close_file(b.io, b.base); /* nothing was written */
    }
    nadb_manifest_fini(&b.manifest);
    nadb_mem_free(b.buf);
    *ret = b.result;
    return err;
}
