/* This file looks at, verifies and restores directories that no server has open. */
#include "backends/fs/offline.h"

#include <errno.h>

#include "backends/fs/check.h"
#include "backends/fs/copy.h"
#include "backends/fs/offline_internal.h"
#include "src/base/mem.h"

enum nadb_err nadb_fs__offline_open(struct nadb_fs_offline *offline, const struct nadb_fs_io *io,
    const char *path, struct nadb_error *reterr)
{
    *offline = (struct nadb_fs_offline){.io = io, .path = path, .dir = -1, .lock = -1};
    nadb_manifest_init(&offline->manifest);
    offline->dir = io->open_dir(io, path);
    if (offline->dir < 0) {
        return nadb_error_set(reterr, NADB_EIO, -offline->dir, "'%s'", path);
    }
    offline->lock = io->open_file(io, offline->dir, NADB_FS_LOCK_NAME, NADB_FS_OPEN_READ);
    if (offline->lock < 0) {
        return NADB_OK; /* a backup has none */
    }
    int result = io->lock_file(io, offline->lock);
    return result == 0 ? NADB_OK
                       : nadb_error_set(reterr, result == -EWOULDBLOCK ? NADB_ELOCKED : NADB_EIO,
                             result == -EWOULDBLOCK ? 0 : -result, "'%s': in use by a nadbd", path);
}

void nadb_fs__offline_close(struct nadb_fs_offline *offline)
{
    if (offline->lock >= 0) {
        (void)offline->io->close_file(offline->io, offline->lock); /* nothing was written */
    }
    if (offline->dir >= 0) {
        (void)offline->io->close_file(offline->io, offline->dir); /* as above */
    }
    nadb_manifest_fini(&offline->manifest);
}

enum nadb_err nadb_fs__offline_manifest(struct nadb_fs_offline *offline, struct nadb_error *reterr)
{
    bool exists = false;
    enum nadb_err err =
        nadb_manifest_load(&offline->manifest, offline->io, offline->dir, &exists, reterr);
    if (err == NADB_OK && !exists) {
        err = nadb_error_set(
            reterr, NADB_ECORRUPT, 0, "'%s': there is no %s", offline->path, NADB_FS_MANIFEST_NAME);
    }
    return err;
}

static void survey(const struct nadb_manifest *manifest, struct nadb_fs_survey *ret)
{
    *ret = (struct nadb_fs_survey){
        .store_id = manifest->store_id,
        .segments = manifest->count,
        .last_seq = manifest->last_seq,
        .last_version = manifest->last_version,
        .was_clean = manifest->is_clean,
    };
    for (size_t i = 0; i < manifest->count; i++) {
        ret->bytes += manifest->entries[i].bytes;
        ret->records += manifest->entries[i].records;
    }
}

enum nadb_err nadb_fs_stat(const struct nadb_fs_io *io, const char *path,
    struct nadb_fs_survey *ret, struct nadb_error *reterr)
{
    struct nadb_fs_offline offline = {.io = io, .path = path, .lock = -1};
    nadb_manifest_init(&offline.manifest);
    offline.dir = io->open_dir(io, path);
    enum nadb_err err = offline.dir < 0
                            ? nadb_error_set(reterr, NADB_EIO, -offline.dir, "'%s'", path)
                            : nadb_fs__offline_manifest(&offline, reterr);
    if (err == NADB_OK) {
        survey(&offline.manifest, ret);
    }
    nadb_fs__offline_close(&offline);
    return err;
}

/* ---- verifying ---- */

/* What is wrong with one segment is told; what keeps from looking at the others is returned. */
static enum nadb_err verify_segment(struct nadb_fs_offline *offline, size_t index, char *window,
    struct nadb_segment_point *end, const struct nadb_fs_listener *listener,
    struct nadb_fs_survey *ret)
{
    struct nadb_error error = {0};
    struct nadb_fs_visit visit = {
        .io = offline->io,
        .dir = offline->dir,
        .store_id = offline->manifest.store_id,
        .entry = &offline->manifest.entries[index],
        .was_clean = offline->manifest.is_clean,
        .window = window,
        .before = *end,
    };
    struct nadb_fs_checked checked;
    enum nadb_err err = nadb_fs_check_segment(&visit, &checked, &error);
    ret->bytes += checked.bytes;
    ret->records += checked.records;
    ret->torn_bytes += checked.torn_bytes;
    if (err == NADB_OK) {
        *end = visit.walk.at;
        return NADB_OK;
    }
    if (err == NADB_ENOMEM) {
        return err;
    }
    ret->damaged++;
    listener->damage(listener->ctx, error.text);
    return NADB_OK;
}

static enum nadb_err verify_all(struct nadb_fs_offline *offline,
    const struct nadb_fs_listener *listener, struct nadb_fs_survey *ret, struct nadb_error *reterr)
{
    const struct nadb_manifest *manifest = &offline->manifest;
    survey(manifest, ret);
    uint64_t all_bytes = ret->bytes;
    uint64_t done_bytes = 0;
    ret->bytes = ret->records = 0;
    struct nadb_segment_point end = {0};
    char *window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES);
    enum nadb_err err = NADB_OK;
    for (size_t i = 0; err == NADB_OK && i < manifest->count; i++) {
        err = verify_segment(offline, i, window, &end, listener, ret);
        done_bytes += manifest->entries[i].bytes;
        listener->progress(listener->ctx, "verifying", done_bytes, all_bytes);
    }
    nadb_mem_free(window);
    if (err != NADB_OK) {
        return nadb_error_set(reterr, err, 0, "'%s': not enough memory", offline->path);
    }
    bool has_segments = manifest->count > 0; /* without, all that was stable is dead */
    if (ret->damaged == 0 && has_segments && end.seq < manifest->last_seq) {
        ret->damaged++;
        listener->damage(listener->ctx, NADB_FS_MANIFEST_NAME ": stable batches are missing");
    }
    return ret->damaged == 0
               ? NADB_OK
               : nadb_error_set(reterr, NADB_ECORRUPT, 0,
                     "'%s': %llu of %zu segments"
                     " are damaged",
                     offline->path, (unsigned long long)ret->damaged, manifest->count);
}

enum nadb_err nadb_fs_verify_dir(const struct nadb_fs_io *io, const char *path,
    const struct nadb_fs_listener *listener, struct nadb_fs_survey *ret, struct nadb_error *reterr)
{
    struct nadb_fs_offline offline;
    enum nadb_err err = nadb_fs__offline_open(&offline, io, path, reterr);
    if (err == NADB_OK) {
        err = nadb_fs__offline_manifest(&offline, reterr);
    }
    if (err == NADB_OK) {
        err = verify_all(&offline, listener, ret, reterr);
    }
    nadb_fs__offline_close(&offline);
    return err;
}

/* ---- restoring ---- */

struct restoring {
    const struct nadb_fs_listener *listener;
    uint64_t all_bytes;
};

static void on_copied(void *ctx, uint64_t bytes)
{
    const struct restoring *restoring = ctx;
    restoring->listener->progress(restoring->listener->ctx, "copying", bytes, restoring->all_bytes);
}

static enum nadb_err restore_from(struct nadb_fs_offline *offline, const char *to,
    const struct nadb_fs_listener *listener, struct nadb_fs_survey *ret, struct nadb_error *reterr)
{
    if (!offline->manifest.is_clean) {
        return nadb_error_set(reterr, NADB_EUSAGE, 0,
            "'%s': no backup, and was not closed: start a nadbd with it first", offline->path);
    }
    enum nadb_err err = verify_all(offline, listener, ret, reterr);
    if (err != NADB_OK) {
        return err;
    }
    struct restoring restoring = {.listener = listener, .all_bytes = ret->bytes};
    const struct nadb_fs_copy copy = {
        .io = offline->io,
        .from = offline->dir,
        .manifest = &offline->manifest,
        .path = to,
        .progress = on_copied,
        .ctx = &restoring,
        .what = "restore",
    };
    struct nadb_backup_result result;
    return nadb_fs_copy(&copy, &result, reterr);
}

enum nadb_err nadb_fs_restore(const struct nadb_fs_io *io, const char *from, const char *to,
    const struct nadb_fs_listener *listener, struct nadb_fs_survey *ret, struct nadb_error *reterr)
{
    struct nadb_fs_offline offline;
    enum nadb_err err = nadb_fs__offline_open(&offline, io, from, reterr);
    if (err == NADB_OK) {
        err = nadb_fs__offline_manifest(&offline, reterr);
    }
    if (err == NADB_OK) {
        err = restore_from(&offline, to, listener, ret, reterr);
    }
    nadb_fs__offline_close(&offline);
    return err;
}
