/* This file is the fs backend's face: the table of operations, its life, and replay. */
#include "backends/fs/fs.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backends/fs/fs_internal.h"
#include "backends/fs/hint.h"
#include "backends/registry.h"
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

static struct nadb_fs *fs_of(struct nadb_backend *backend)
{
    struct nadb_fs *fs = (struct nadb_fs *)(void *)backend;
    NADB_ASSERT(fs != NULL && fs->magic == NADB_FS_MAGIC);
    return fs;
}

struct nadb_backend *nadb_fs_new(const struct nadb_backend_opts *opts, const struct nadb_fs_io *io)
{
    uint64_t size = opts->segment_size_bytes;
    size = size < NADB_SEGMENT_SIZE_MIN ? NADB_SEGMENT_SIZE_MIN : size;
    size = size > NADB_SEGMENT_SIZE_MAX ? NADB_SEGMENT_SIZE_MAX : size;
    struct nadb_fs *fs = nadb_mem_zalloc(sizeof(*fs));
    fs->backend.ops = &nadb_backend_fs_ops;
    fs->magic = NADB_FS_MAGIC;
    fs->io = io;
    fs->dir_path = nadb_mem_strdup(opts->dir);
    fs->segment_size = size;
    fs->replay_values_max = opts->replay_values_max;
    fs->dir = -1;
    fs->lock = -1;
    fs->active.file = -1;
    fs->stale.file = -1;
    nadb_manifest_init(&fs->manifest);
    int result = pthread_mutex_init(&fs->log_lock, NULL);
    NADB_ASSERT(result == 0); /* a plain mutex needs nothing that could be missing */
    return &fs->backend;
}

static struct nadb_backend *fs_new_instance(const struct nadb_backend_opts *opts)
{
    return nadb_fs_new(
        opts, opts->is_direct_wanted ? nadb_fs_io_system() : nadb_fs_io_page_cache());
}

/* Lets go of everything but what new made. Nothing is synced. */
static void let_go(struct nadb_fs *fs)
{
    nadb_segment_close(&fs->active);
    nadb_segment_close(&fs->stale);
    nadb_fs_readers_fini(&fs->readers);
    if (fs->lock >= 0) {
        (void)fs->io->close_file(fs->io, fs->lock); /* holds no data */
        fs->lock = -1;
    }
    if (fs->dir >= 0) {
        (void)fs->io->close_file(fs->io, fs->dir); /* as above */
        fs->dir = -1;
    }
    nadb_mem_free(fs->units);
    fs->units = NULL;
    fs->unit_count = fs->unit_cap = 0;
    nadb_segment_tools_fini(&fs->tools);
    nadb_fs_deaths_fini(&fs->deaths);
    nadb_manifest_fini(&fs->manifest);
    fs->is_open = false;
}

/* ---- opening ---- */

static enum nadb_err fail_dir(
    const struct nadb_fs *fs, const char *what, int result, struct nadb_error *reterr)
{
    return nadb_error_set(reterr, NADB_EIO, -result, "dir '%s': %s", fs->dir_path, what);
}

/* Makes the name of the directory itself stable. */
static int sync_parent(const struct nadb_fs *fs)
{
    size_t len = strlen(fs->dir_path);
    while (len > 0 && fs->dir_path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && fs->dir_path[len - 1] != '/') {
        len--;
    }
    char *parent = nadb_mem_alloc(len + 2);
    memcpy(parent, fs->dir_path, len);
    if (len == 0) {
        parent[len++] = '.';
    }
    parent[len] = '\0';
    int dir = fs->io->open_dir(fs->io, parent);
    nadb_mem_free(parent);
    if (dir < 0) {
        return dir == -EACCES ? 0 : dir; /* not ours to read: whoever made it answers for it */
    }
    int result = fs->io->sync_dir(fs->io, dir);
    (void)fs->io->close_file(fs->io, dir); /* it was synced, or the attempt has failed */
    return result;
}

static enum nadb_err open_dir(struct nadb_fs *fs, struct nadb_error *reterr)
{
    int result = fs->io->make_dir(fs->io, fs->dir_path);
    if (result != 0 && result != -EEXIST) {
        return fail_dir(fs, "create", result, reterr);
    }
    fs->dir = fs->io->open_dir(fs->io, fs->dir_path);
    if (fs->dir < 0) {
        return fail_dir(fs, "open", fs->dir, reterr);
    }
    result = sync_parent(fs);
    return result == 0 ? NADB_OK : fail_dir(fs, "sync of the directory above", result, reterr);
}

static enum nadb_err fail_locked(const struct nadb_fs *fs, struct nadb_error *reterr)
{
    char text[NADB_I64_TEXT_MAX + 1] = "";
    ssize_t got = nadb_fs_read_full(fs->io, fs->lock, text, sizeof(text) - 1, 0);
    size_t digits = strspn(text, "0123456789");
    if (got <= 0 || digits == 0) {
        return nadb_error_set(
            reterr, NADB_ELOCKED, 0, "dir '%s': in use by another nadbd", fs->dir_path);
    }
    return nadb_error_set(reterr, NADB_ELOCKED, 0, "dir '%s': in use by another nadbd (pid %.*s)",
        fs->dir_path, (int)digits, text);
}

/* The process number is there for people; without room for it the lock holds as well. */
static void write_pid(struct nadb_fs *fs)
{
    char text[NADB_I64_TEXT_MAX + 1];
    size_t len = nadb_format_i64(text, getpid());
    text[len++] = '\n';
    struct iovec piece = {.iov_base = text, .iov_len = len};
    int result = fs->io->truncate_file(fs->io, fs->lock, 0);
    if (result == 0) {
        result = nadb_fs_write_full(fs->io, fs->lock, &piece, 1, 0);
    }
    (void)result; /* see above */
}

static enum nadb_err take_lock(struct nadb_fs *fs, struct nadb_error *reterr)
{
    fs->lock = fs->io->open_file(fs->io, fs->dir, NADB_FS_LOCK_NAME, NADB_FS_OPEN_ALWAYS);
    if (fs->lock < 0) {
        return fail_dir(fs, "open of " NADB_FS_LOCK_NAME, fs->lock, reterr);
    }
    int result = fs->io->lock_file(fs->io, fs->lock);
    if (result == -EWOULDBLOCK) {
        return fail_locked(fs, reterr);
    }
    if (result != 0) {
        return fail_dir(fs, "lock", result, reterr);
    }
    write_pid(fs);
    return NADB_OK;
}

static void note_segments(struct nadb_fs *fs)
{
    nadb_fs_readers_init(&fs->readers, fs->io, fs->dir);
    for (size_t i = 0; i < fs->manifest.count; i++) {
        const struct nadb_manifest_entry *entry = &fs->manifest.entries[i];
        nadb_fs_readers_add(&fs->readers, entry->slot, entry->id,
            nadb_segment_seed(fs->manifest.store_id, entry->id));
    }
}

static enum nadb_err fs_open(struct nadb_backend *backend, struct nadb_backend_open_info *ret_info,
    struct nadb_error *reterr)
{
    struct nadb_fs *fs = fs_of(backend);
    struct nadb_backend_open_info info = {0};
    NADB_ASSERT(!fs->is_open);
    enum nadb_err err = open_dir(fs, reterr);
    if (err == NADB_OK) {
        err = take_lock(fs, reterr);
    }
    if (err == NADB_OK) {
        err = nadb_fs__recover(fs, &info, reterr);
    }
    if (err != NADB_OK) {
        let_go(fs);
        return err;
    }
    nadb_fs__restore_reserve(fs);
    nadb_fs__count_retired(fs);
    note_segments(fs);
    nadb_segment_tools_init(&fs->tools);
    fs->is_open = true;
    *ret_info = info;
    return NADB_OK;
}

/* ---- replay ---- */

/* Thread: several at once, for different units: only what is immutable while open is read. */
static enum nadb_err fs_replay(struct nadb_backend *backend, uint32_t unit_index, uint64_t *cursor,
    struct nadb_replay_chunk *ret_chunk, struct nadb_error *reterr)
{
    const struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open && unit_index < fs->unit_count);
    const struct nadb_fs_unit *unit = &fs->units[unit_index];
    char name[NADB_HINT_NAME_BYTES];
    _Static_assert(sizeof(name) >= NADB_SEGMENT_NAME_BYTES, "both kinds of names");
    if (unit->is_hint) {
        nadb_hint_name(name, unit->id);
    } else {
        nadb_segment_name(name, unit->id);
    }
    int file = nadb_fs_open_run(fs->io, fs->dir, name, !unit->is_cached);
    if (file < 0) {
        return nadb_error_set(reterr, NADB_EIO, -file, "segment '%s': open", name);
    }
    const struct nadb_fs_range range = {
        .io = fs->io,
        .file = file,
        .name = name,
        .seed = unit->seed,
        .slot = unit->slot,
        .from = *cursor == 0 ? unit->from : *cursor,
        .to = unit->to,
        .deaths = &fs->deaths,
        .is_lean = fs->is_lean,
        .is_at_start = true,
        .is_hint = unit->is_hint,
    };
    enum nadb_err err = nadb_fs_load(&range, NADB_BACKEND_CHUNK_BYTES, ret_chunk, cursor, reterr);
    (void)fs->io->close_file(fs->io, file); /* nothing was written */
    return err;
}

/* ---- the rest ---- */

static void fill_stats(const struct nadb_fs *fs, struct nadb_backend_stats *ret)
{
    *ret = fs->stats;
    ret->segments = fs->manifest.count;
    ret->packed_values = fs->tools.packed_values;
    ret->packed_from = fs->tools.packed_from;
    ret->packed_to = fs->tools.packed_to;
    ret->disk_bytes = fs->retired_bytes + (fs->active.file >= 0 ? fs->active.end.offset : 0);
}

static enum nadb_err fs_write(
    struct nadb_backend *backend, struct nadb_batch *batch, struct nadb_error *reterr)
{
    struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open);
    nadb_fs__lock(fs);
    enum nadb_err err = nadb_fs__write(fs, batch, reterr);
    fill_stats(fs, &batch->stats);
    nadb_fs__unlock(fs);
    return err;
}

static enum nadb_err fs_list(struct nadb_backend *backend, bool must_close,
    struct nadb_segment_info **ret, size_t *ret_count, struct nadb_error *reterr)
{
    struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open);
    return nadb_fs__list(fs, must_close, ret, ret_count, reterr);
}

static void fs_read(struct nadb_backend *backend, struct nadb_read *reads, size_t count)
{
    struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open);
    nadb_fs__read(fs, reads, count);
}

static enum nadb_err fs_backup(struct nadb_backend *backend, const char *path, const char *base,
    struct nadb_backup_result *ret, struct nadb_error *reterr)
{
    struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open);
    return nadb_fs__backup(fs, path, base, ret, reterr);
}

static enum nadb_err fs_verify(struct nadb_backend *backend, uint64_t id,
    struct nadb_verify_result *ret, struct nadb_error *reterr)
{
    struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open);
    return nadb_fs__verify(fs, id, ret, reterr);
}

static enum nadb_err fs_hint(struct nadb_backend *backend, uint64_t id, struct nadb_error *reterr)
{
    struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open);
    return nadb_fs__hint(fs, id, reterr);
}

static enum nadb_err fs_close(struct nadb_backend *backend, struct nadb_error *reterr)
{
    struct nadb_fs *fs = fs_of(backend);
    NADB_ASSERT(fs->is_open);
    enum nadb_err err = nadb_fs__finish(fs, reterr);
    let_go(fs);
    return err;
}

static void fs_free(struct nadb_backend *backend)
{
    struct nadb_fs *fs = fs_of(backend);
    let_go(fs);
    nadb_mem_free(fs->dir_path);
    (void)pthread_mutex_destroy(&fs->log_lock); /* fails only while it is held */
    fs->magic = 0;
    nadb_mem_free(fs);
}

static nadb_backend_new_fn fs_new_instance;
static nadb_backend_open_fn fs_open;
static nadb_backend_replay_fn fs_replay;
static nadb_backend_write_fn fs_write;
static nadb_backend_read_fn fs_read;
static nadb_backend_list_fn fs_list;
static nadb_backend_backup_fn fs_backup;
static nadb_backend_verify_fn fs_verify;
static nadb_backend_hint_fn fs_hint;
static nadb_backend_close_fn fs_close;
static nadb_backend_free_fn fs_free;

const struct nadb_backend_ops nadb_backend_fs_ops = {
    .name = "fs",
    .caps = NADB_BACKEND_LOG,
    .new_instance = fs_new_instance,
    .open = fs_open,
    .replay = fs_replay,
    .replay_free = nadb_fs_chunk_free,
    .write = fs_write,
    .read = fs_read,
    .list = fs_list,
    .compact = &nadb_fs__compact_ops,
    .backup = fs_backup,
    .verify = fs_verify,
    .hint = fs_hint,
    .close = fs_close,
    .free = fs_free,
};
