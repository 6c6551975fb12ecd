/* This file is a file system in memory that fails, forgets and garbles on demand. */
#include "tests/support/faulty_io.h"

#include <errno.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/random.h"
#include "tests/support/faulty_file.h"

#define HANDLES_MAX  256
#define FILES_MAX    1024
#define DIRS_MAX     16
#define NAMES_MAX    1024
#define CHANGES_MAX  2048
#define NAME_MAX_LEN 64
#define PATH_MAX_LEN 256
#define NOWHERE      SIZE_MAX

struct name {
    size_t dir;
    char text[NAME_MAX_LEN];
    size_t now;  /* file, or NOWHERE */
    size_t disk; /* likewise */
};

struct dir {
    char path[PATH_MAX_LEN]; /* "": lost with the power, free to be used again */
    bool is_durable;
};

/* A change of a directory that was not synced yet: `text` now is `file`. */
struct change {
    size_t dir;
    size_t file;           /* NOWHERE: removed */
    bool is_with_previous; /* the second half of a rename */
    char text[NAME_MAX_LEN];
};

struct handle {
    bool is_used;
    bool is_dir;
    bool is_direct;
    bool has_lock;
    size_t index;
};

struct fault {
    uint64_t nth; /* calls to go; 0: off */
    uint64_t times;
    bool is_for_ever;
    int error;
};

struct nadb_faulty {
    struct nadb_fs_io io; /* first */
    struct nadb_rng rng;
    struct nadb_faulty_file files[FILES_MAX];
    struct name names[NAMES_MAX];
    size_t name_count;
    struct dir dirs[DIRS_MAX];
    size_t dir_count;
    struct change changes[CHANGES_MAX];
    size_t change_count;
    struct handle handles[HANDLES_MAX];
    uint64_t calls;
    struct fault faults[NADB_FAULTY_LINK + 1];
    uint64_t shorten_nth;
    uint64_t garble_times;
    uint64_t crash_nth;
    bool is_crashed;
    bool is_lying;
    bool has_links;
    bool has_direct;
    uint64_t space;
};

enum verdict {
    GO,
    FAIL,  /* with the error */
    CRASH, /* do it or not, then fail */
};

static struct nadb_faulty *faulty_of(const struct nadb_fs_io *io)
{
    return (struct nadb_faulty *)(uintptr_t)io; /* the table is its first member */
}

/* ---- names and files ---- */

static struct name *find_name(struct nadb_faulty *faulty, size_t dir, const char *text)
{
    for (size_t i = 0; i < faulty->name_count; i++) {
        if (faulty->names[i].dir == dir && strcmp(faulty->names[i].text, text) == 0) {
            return &faulty->names[i];
        }
    }
    return NULL;
}

static void copy_text(char *out, size_t cap, const char *text)
{
    size_t len = strlen(text);
    NADB_ASSERT(len < cap);
    memcpy(out, text, len + 1);
}

static struct name *need_name(struct nadb_faulty *faulty, size_t dir, const char *text)
{
    struct name *name = find_name(faulty, dir, text);
    if (name == NULL) {
        for (size_t i = 0; i < faulty->name_count && name == NULL; i++) {
            if (faulty->names[i].now == NOWHERE && faulty->names[i].disk == NOWHERE) {
                name = &faulty->names[i];
            }
        }
        if (name == NULL) {
            NADB_ASSERT(faulty->name_count < NAMES_MAX);
            name = &faulty->names[faulty->name_count++];
        }
        *name = (struct name){.dir = dir, .now = NOWHERE, .disk = NOWHERE};
        copy_text(name->text, sizeof(name->text), text);
    }
    return name;
}

static bool is_file_reachable(const struct nadb_faulty *faulty, size_t index)
{
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        const struct handle *handle = &faulty->handles[i];
        if (handle->is_used && !handle->is_dir && handle->index == index) {
            return true;
        }
    }
    for (size_t i = 0; i < faulty->name_count; i++) {
        if (faulty->names[i].now == index || faulty->names[i].disk == index) {
            return true;
        }
    }
    for (size_t i = 0; i < faulty->change_count; i++) {
        if (faulty->changes[i].file == index) {
            return true;
        }
    }
    return false;
}

static size_t free_file(const struct nadb_faulty *faulty)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!faulty->files[i].is_used) {
            return i;
        }
    }
    return NOWHERE;
}

static size_t make_file(struct nadb_faulty *faulty)
{
    size_t index = free_file(faulty);
    if (index == NOWHERE) {
        for (size_t i = 0; i < FILES_MAX; i++) {
            if (!is_file_reachable(faulty, i)) {
                nadb_faulty_file_wipe(&faulty->files[i]);
            }
        }
        index = free_file(faulty);
        NADB_ASSERT(index != NOWHERE);
    }
    faulty->files[index].is_used = true;
    return index;
}

/* The process's view of a name changes; the disk's after sync_dir. */
static void set_name(
    struct nadb_faulty *faulty, size_t dir, const char *text, size_t file, bool is_with_previous)
{
    NADB_ASSERT(faulty->change_count < CHANGES_MAX);
    struct change *change = &faulty->changes[faulty->change_count++];
    *change = (struct change){.dir = dir, .file = file, .is_with_previous = is_with_previous};
    copy_text(change->text, sizeof(change->text), text);
    need_name(faulty, dir, text)->now = file;
}

static size_t find_dir(const struct nadb_faulty *faulty, const char *path, size_t len)
{
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    for (size_t i = 0; i < faulty->dir_count; i++) {
        if (strlen(faulty->dirs[i].path) == len && memcmp(faulty->dirs[i].path, path, len) == 0) {
            return i;
        }
    }
    return NOWHERE;
}

/* The length of what lies before the last '/' of a path; 1 for "/x". */
static size_t parent_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    NADB_ASSERT(slash != NULL);
    return slash == path ? 1 : (size_t)(slash - path);
}

static struct nadb_faulty_file *find_path(const struct nadb_faulty *faulty, const char *path)
{
    size_t dir = find_dir(faulty, path, parent_len(path));
    const char *text = strrchr(path, '/') + 1;
    struct nadb_faulty *changeable = (struct nadb_faulty *)(uintptr_t)faulty;
    struct name *name = dir == NOWHERE ? NULL : find_name(changeable, dir, text);
    return name == NULL || name->now == NOWHERE ? NULL : &changeable->files[name->now];
}

/* ---- faults ---- */

static bool is_due(struct fault *fault)
{
    if (fault->nth == 0) {
        return false;
    }
    if (fault->nth > 1) {
        fault->nth--;
        return false;
    }
    if (!fault->is_for_ever && --fault->times == 0) {
        fault->nth = 0;
    }
    return true;
}

static enum verdict begin_call(struct nadb_faulty *faulty, enum nadb_faulty_call kind, int *error)
{
    *error = -EIO;
    if (faulty->is_crashed) {
        return FAIL;
    }
    faulty->calls++;
    if (faulty->crash_nth > 0 && --faulty->crash_nth == 0) {
        faulty->is_crashed = true;
        return nadb_rng_below(&faulty->rng, 3) == 0 ? FAIL : CRASH;
    }
    if (is_due(&faulty->faults[kind])) {
        *error = -faulty->faults[kind].error;
        return FAIL;
    }
    if (is_due(&faulty->faults[NADB_FAULTY_ANY])) {
        *error = -faulty->faults[NADB_FAULTY_ANY].error;
        return FAIL;
    }
    return GO;
}

static bool is_shortened(struct nadb_faulty *faulty)
{
    return faulty->shorten_nth > 0 && --faulty->shorten_nth == 0;
}

static struct handle *handle_of(struct nadb_faulty *faulty, int handle, bool is_dir)
{
    NADB_ASSERT(handle >= 0 && handle < HANDLES_MAX);
    struct handle *found = &faulty->handles[handle];
    NADB_ASSERT(found->is_used && found->is_dir == is_dir);
    return found;
}

static struct nadb_faulty_file *file_of(struct nadb_faulty *faulty, int handle)
{
    return &faulty->files[handle_of(faulty, handle, false)->index];
}

static int make_handle(struct nadb_faulty *faulty, bool is_dir, size_t index)
{
    for (int i = 0; i < HANDLES_MAX; i++) {
        if (!faulty->handles[i].is_used) {
            faulty->handles[i] = (struct handle){.is_used = true, .is_dir = is_dir, .index = index};
            return i;
        }
    }
    return -EMFILE;
}

/* ---- the table: directories ---- */

static int faulty_make_dir(const struct nadb_fs_io *io, const char *path)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_MAKE_DIR, &error);
    if (verdict == FAIL) {
        return error;
    }
    if (find_dir(faulty, path, strlen(path)) != NOWHERE) {
        return verdict == GO ? -EEXIST : error;
    }
    if (find_dir(faulty, path, parent_len(path)) == NOWHERE) {
        return verdict == GO ? -ENOENT : error;
    }
    size_t index = find_dir(faulty, "", 0);
    if (index == NOWHERE) {
        NADB_ASSERT(faulty->dir_count < DIRS_MAX);
        index = faulty->dir_count++;
    }
    struct dir *dir = &faulty->dirs[index];
    *dir = (struct dir){.is_durable = false};
    copy_text(dir->path, sizeof(dir->path), path);
    return verdict == GO ? 0 : error;
}

static int faulty_open_dir(const struct nadb_fs_io *io, const char *path)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    if (begin_call(faulty, NADB_FAULTY_OPEN_DIR, &error) != GO) {
        return error;
    }
    size_t dir = find_dir(faulty, path, strlen(path));
    return dir == NOWHERE ? -ENOENT : make_handle(faulty, true, dir);
}

static int faulty_list_dir(
    const struct nadb_fs_io *io, int handle, nadb_fs_name_fn *note, void *ctx)
{
    struct nadb_faulty *faulty = faulty_of(io);
    if (faulty->is_crashed) {
        return -EIO;
    }
    size_t dir = handle_of(faulty, handle, true)->index;
    for (size_t i = 0; i < faulty->name_count; i++) {
        if (faulty->names[i].dir == dir && faulty->names[i].now != NOWHERE) {
            note(ctx, faulty->names[i].text);
        }
    }
    return 0;
}

static void sync_names(struct nadb_faulty *faulty, size_t dir)
{
    for (size_t i = 0; i < faulty->name_count; i++) {
        if (faulty->names[i].dir == dir) {
            faulty->names[i].disk = faulty->names[i].now;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < faulty->change_count; i++) {
        if (faulty->changes[i].dir != dir) {
            faulty->changes[kept++] = faulty->changes[i];
        }
    }
    faulty->change_count = kept;
    for (size_t i = 0; i < faulty->dir_count; i++) {
        const char *path = faulty->dirs[i].path;
        if (path[0] != '\0' && find_dir(faulty, path, parent_len(path)) == dir) {
            faulty->dirs[i].is_durable = true;
        }
    }
}

static int faulty_sync_dir(const struct nadb_fs_io *io, int handle)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_SYNC_DIR, &error);
    if (verdict == FAIL) {
        return error;
    }
    if (!faulty->is_lying) {
        sync_names(faulty, handle_of(faulty, handle, true)->index);
    }
    return verdict == GO ? 0 : error;
}

/* ---- the table: names ---- */

static int faulty_open_file(
    const struct nadb_fs_io *io, int handle, const char *text, enum nadb_fs_open_mode mode)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_OPEN, &error);
    if (verdict == FAIL) {
        return error;
    }
    size_t dir = handle_of(faulty, handle, true)->index;
    struct name *name = find_name(faulty, dir, text);
    bool exists = name != NULL && name->now != NOWHERE;
    bool may_create = mode == NADB_FS_OPEN_CREATE || mode == NADB_FS_OPEN_ALWAYS;
    if (exists ? mode == NADB_FS_OPEN_CREATE : !may_create) {
        return verdict == GO ? (exists ? -EEXIST : -ENOENT) : error;
    }
    if (!exists) {
        set_name(faulty, dir, text, make_file(faulty), false);
        name = find_name(faulty, dir, text);
    }
    return verdict == GO ? make_handle(faulty, false, name->now) : error;
}

static int faulty_link_file(const struct nadb_fs_io *io, int from, int to, const char *text)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_LINK, &error);
    if (verdict == FAIL) {
        return error;
    }
    if (!faulty->has_links) {
        return verdict == GO ? -EOPNOTSUPP : error;
    }
    struct name *name = find_name(faulty, handle_of(faulty, from, true)->index, text);
    if (name == NULL || name->now == NOWHERE) {
        return verdict == GO ? -ENOENT : error;
    }
    size_t to_dir = handle_of(faulty, to, true)->index;
    const struct name *there = find_name(faulty, to_dir, text);
    if (there != NULL && there->now != NOWHERE) {
        return verdict == GO ? -EEXIST : error;
    }
    set_name(faulty, to_dir, text, name->now, false);
    return verdict == GO ? 0 : error;
}

static int faulty_rename_file(
    const struct nadb_fs_io *io, int handle, const char *from, const char *to)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_RENAME, &error);
    if (verdict == FAIL) {
        return error;
    }
    size_t dir = handle_of(faulty, handle, true)->index;
    struct name *name = find_name(faulty, dir, from);
    if (name == NULL || name->now == NOWHERE) {
        return -ENOENT;
    }
    set_name(faulty, dir, to, name->now, false);
    set_name(faulty, dir, from, NOWHERE, true);
    return verdict == GO ? 0 : error;
}

static int faulty_unlink_file(const struct nadb_fs_io *io, int handle, const char *text)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_UNLINK, &error);
    if (verdict == FAIL) {
        return error;
    }
    size_t dir = handle_of(faulty, handle, true)->index;
    struct name *name = find_name(faulty, dir, text);
    if (name == NULL || name->now == NOWHERE) {
        return verdict == GO ? -ENOENT : error;
    }
    set_name(faulty, dir, text, NOWHERE, false);
    return verdict == GO ? 0 : error;
}

static int faulty_lock_file(const struct nadb_fs_io *io, int handle)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    if (begin_call(faulty, NADB_FAULTY_LOCK, &error) != GO) {
        return error;
    }
    struct nadb_faulty_file *file = file_of(faulty, handle);
    struct handle *owner = handle_of(faulty, handle, false);
    if (file->is_locked && !owner->has_lock) {
        return -EWOULDBLOCK;
    }
    file->is_locked = owner->has_lock = true;
    return 0;
}

/* ---- the table: bytes ---- */

/* What a direct read or write must be. */
static bool is_in_blocks(const struct iovec *pieces, size_t count, uint64_t offset)
{
    uint64_t all = offset;
    for (size_t i = 0; i < count; i++) {
        all |= (uintptr_t)pieces[i].iov_base | pieces[i].iov_len;
    }
    return all % NADB_FS_BLOCK_BYTES == 0;
}

static ssize_t faulty_pread_file(
    const struct nadb_fs_io *io, int handle, void *out, size_t len, uint64_t offset)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    if (begin_call(faulty, NADB_FAULTY_READ, &error) != GO) {
        return error;
    }
    const struct iovec piece = {.iov_base = out, .iov_len = len};
    NADB_ASSERT(!handle_of(faulty, handle, false)->is_direct || is_in_blocks(&piece, 1, offset));
    if (is_shortened(faulty) && len > 1) {
        len = 1 + (size_t)nadb_rng_below(&faulty->rng, len - 1);
    }
    size_t got = nadb_faulty_file_read(file_of(faulty, handle), offset, out, len);
    if (faulty->garble_times > 0 && got > 0) {
        faulty->garble_times--;
        ((char *)out)[nadb_rng_below(&faulty->rng, got)] ^= 0x10;
    }
    return (ssize_t)got;
}

/* How many of `len` bytes at `offset` fit. */
static size_t room_for(const struct nadb_faulty *faulty, const struct nadb_faulty_file *file,
    uint64_t offset, size_t len)
{
    uint64_t end = offset + len;
    uint64_t used = nadb_faulty_used(faulty);
    uint64_t room = used < faulty->space ? faulty->space - used : 0;
    if (end <= file->allocated || end - file->allocated <= room) {
        return len;
    }
    uint64_t fitting = file->allocated + room;
    return fitting > offset ? (size_t)(fitting - offset) : 0;
}

static ssize_t faulty_pwritev_file(const struct nadb_fs_io *io, int handle,
    const struct iovec *pieces, size_t count, uint64_t offset)
{
    struct nadb_faulty *faulty = faulty_of(io);
    bool was_crashed = faulty->is_crashed;
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_WRITE, &error);
    struct nadb_faulty_file *file = file_of(faulty, handle);
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        len += pieces[i].iov_len;
    }
    if (was_crashed) {
        return -EIO;
    }
    bool is_direct = handle_of(faulty, handle, false)->is_direct;
    NADB_ASSERT(!is_direct || is_in_blocks(pieces, count, offset));
    size_t fitting = room_for(faulty, file, offset, len);
    fitting -= is_direct ? fitting % NADB_FS_BLOCK_BYTES : 0;
    if (verdict == FAIL || verdict == CRASH) {
        uint64_t parts = verdict == CRASH ? fitting + 1 : fitting;
        size_t part = parts == 0 ? 0 : (size_t)nadb_rng_below(&faulty->rng, parts);
        nadb_faulty_file_write(file, pieces, count, offset, part);
        return error;
    }
    if (fitting == 0 && len > 0) {
        return -ENOSPC;
    }
    size_t unit = is_direct ? NADB_FS_BLOCK_BYTES : 1;
    if (is_shortened(faulty) && fitting > unit) {
        fitting = unit * (1 + (size_t)nadb_rng_below(&faulty->rng, fitting / unit - 1));
    }
    nadb_faulty_file_write(file, pieces, count, offset, fitting);
    return (ssize_t)fitting;
}

static int faulty_sync_file(const struct nadb_fs_io *io, int handle)
{
    struct nadb_faulty *faulty = faulty_of(io);
    bool was_crashed = faulty->is_crashed;
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_SYNC, &error);
    struct nadb_faulty_file *file = file_of(faulty, handle);
    if (verdict == FAIL) {
        if (!was_crashed && !faulty->is_crashed) {
            nadb_faulty_file_forget(file);
        }
        return error;
    }
    if (!faulty->is_lying) {
        nadb_faulty_file_sync(file);
    }
    return verdict == GO ? 0 : error;
}

static int faulty_truncate_file(const struct nadb_fs_io *io, int handle, uint64_t size)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_TRUNCATE, &error);
    if (verdict == FAIL) {
        return error;
    }
    nadb_faulty_file_resize(file_of(faulty, handle), size);
    return verdict == GO ? 0 : error;
}

static int faulty_allocate_file(
    const struct nadb_fs_io *io, int handle, uint64_t offset, uint64_t len)
{
    struct nadb_faulty *faulty = faulty_of(io);
    int error;
    enum verdict verdict = begin_call(faulty, NADB_FAULTY_ALLOCATE, &error);
    if (verdict == FAIL) {
        return error;
    }
    struct nadb_faulty_file *file = file_of(faulty, handle);
    if (room_for(faulty, file, offset, (size_t)len) < len) {
        return -ENOSPC;
    }
    nadb_faulty_file_allocate(file, offset + len);
    return verdict == GO ? 0 : error;
}

static int faulty_set_direct(const struct nadb_fs_io *io, int handle, bool is_direct)
{
    struct nadb_faulty *faulty = faulty_of(io);
    struct handle *found = handle_of(faulty, handle, false);
    if (is_direct && !faulty->has_direct) {
        return -EINVAL;
    }
    found->is_direct = is_direct;
    return 0;
}

static int faulty_size_file(const struct nadb_fs_io *io, int handle, uint64_t *ret_size)
{
    struct nadb_faulty *faulty = faulty_of(io);
    if (faulty->is_crashed) {
        return -EIO;
    }
    *ret_size = file_of(faulty, handle)->now.size;
    return 0;
}

static int faulty_close_file(const struct nadb_fs_io *io, int handle)
{
    struct nadb_faulty *faulty = faulty_of(io);
    NADB_ASSERT(handle >= 0 && handle < HANDLES_MAX && faulty->handles[handle].is_used);
    struct handle *closed = &faulty->handles[handle];
    if (closed->has_lock) {
        faulty->files[closed->index].is_locked = false;
    }
    *closed = (struct handle){0};
    return 0;
}

/* ---- life ---- */

struct nadb_faulty *nadb_faulty_new(uint64_t seed)
{
    struct nadb_faulty *faulty = nadb_mem_zalloc(sizeof(*faulty));
    faulty->io = (struct nadb_fs_io){
        .make_dir = faulty_make_dir,
        .open_dir = faulty_open_dir,
        .list_dir = faulty_list_dir,
        .sync_dir = faulty_sync_dir,
        .open_file = faulty_open_file,
        .rename_file = faulty_rename_file,
        .link_file = faulty_link_file,
        .unlink_file = faulty_unlink_file,
        .lock_file = faulty_lock_file,
        .pread_file = faulty_pread_file,
        .pwritev_file = faulty_pwritev_file,
        .sync_file = faulty_sync_file,
        .truncate_file = faulty_truncate_file,
        .allocate_file = faulty_allocate_file,
        .set_direct = faulty_set_direct,
        .size_file = faulty_size_file,
        .close_file = faulty_close_file,
    };
    faulty->dirs[0] = (struct dir){.path = "/", .is_durable = true};
    faulty->dir_count = 1;
    faulty->space = UINT64_MAX;
    nadb_rng_seed(&faulty->rng, seed);
    return faulty;
}

void nadb_faulty_free(struct nadb_faulty *faulty)
{
    if (faulty == NULL) {
        return;
    }
    for (size_t i = 0; i < FILES_MAX; i++) {
        nadb_faulty_file_wipe(&faulty->files[i]);
    }
    nadb_mem_free(faulty);
}

const struct nadb_fs_io *nadb_faulty_io(struct nadb_faulty *faulty)
{
    return &faulty->io;
}

uint64_t nadb_faulty_calls(const struct nadb_faulty *faulty)
{
    return faulty->calls;
}

void nadb_faulty_fail(
    struct nadb_faulty *faulty, enum nadb_faulty_call kind, uint64_t nth, uint64_t times, int error)
{
    faulty->faults[kind] =
        (struct fault){.nth = nth, .times = times, .is_for_ever = times == 0, .error = error};
}

void nadb_faulty_shorten(struct nadb_faulty *faulty, uint64_t nth)
{
    faulty->shorten_nth = nth;
}

void nadb_faulty_garble(struct nadb_faulty *faulty, uint64_t times)
{
    faulty->garble_times = times;
}

void nadb_faulty_crash_at(struct nadb_faulty *faulty, uint64_t nth)
{
    faulty->crash_nth = nth;
}

bool nadb_faulty_is_crashed(const struct nadb_faulty *faulty)
{
    return faulty->is_crashed;
}

bool nadb_faulty_will_crash(const struct nadb_faulty *faulty)
{
    return faulty->crash_nth > 0;
}

void nadb_faulty_set_space(struct nadb_faulty *faulty, uint64_t bytes)
{
    faulty->space = bytes;
}

uint64_t nadb_faulty_used(const struct nadb_faulty *faulty)
{
    uint64_t used = 0;
    for (size_t i = 0; i < faulty->name_count; i++) {
        if (faulty->names[i].now != NOWHERE) {
            used += faulty->files[faulty->names[i].now].allocated;
        }
    }
    return used;
}

void nadb_faulty_set_little(struct nadb_faulty *faulty, size_t bytes)
{
    faulty->io.little_bytes = bytes;
}

void nadb_faulty_set_direct(struct nadb_faulty *faulty, bool has_direct)
{
    faulty->has_direct = has_direct;
}

void nadb_faulty_set_links(struct nadb_faulty *faulty, bool has_links)
{
    faulty->has_links = has_links;
}

void nadb_faulty_set_lying(struct nadb_faulty *faulty, bool is_lying)
{
    faulty->is_lying = is_lying;
}

/* ---- endings ---- */

void nadb_faulty_kill(struct nadb_faulty *faulty)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        faulty->files[i].is_locked = false;
    }
    memset(faulty->handles, 0, sizeof(faulty->handles));
    memset(faulty->faults, 0, sizeof(faulty->faults));
    faulty->shorten_nth = 0;
    faulty->garble_times = 0;
    faulty->crash_nth = 0;
    faulty->is_crashed = false;
    faulty->is_lying = false;
    faulty->space = UINT64_MAX;
}

static void cut_names(struct nadb_faulty *faulty)
{
    enum nadb_fate fate = nadb_fate_random(&faulty->rng);
    bool is_surviving = false;
    for (size_t i = 0; i < faulty->change_count; i++) {
        const struct change *change = &faulty->changes[i];
        if (!change->is_with_previous) {
            is_surviving = fate == NADB_FATE_NEW ||
                           (fate == NADB_FATE_MIXED && nadb_rng_below(&faulty->rng, 2) == 1);
        }
        if (is_surviving) {
            need_name(faulty, change->dir, change->text)->disk = change->file;
        }
    }
    faulty->change_count = 0;
    for (size_t i = 0; i < faulty->dir_count; i++) {
        bool is_lost = !faulty->dirs[i].is_durable && nadb_rng_below(&faulty->rng, 2) == 0;
        for (size_t j = 0; j < faulty->name_count; j++) {
            if (is_lost && faulty->names[j].dir == i) {
                faulty->names[j].disk = NOWHERE;
            }
        }
        if (is_lost) {
            faulty->dirs[i].path[0] = '\0';
        }
        faulty->dirs[i].is_durable = true;
    }
    for (size_t i = 0; i < faulty->name_count; i++) {
        faulty->names[i].now = faulty->names[i].disk;
    }
}

void nadb_faulty_power_cut(struct nadb_faulty *faulty)
{
    nadb_faulty_kill(faulty);
    cut_names(faulty);
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (faulty->files[i].is_used) {
            nadb_faulty_file_cut(&faulty->files[i], &faulty->rng);
        }
    }
}

/* ---- looking and damaging ---- */

bool nadb_faulty_exists(const struct nadb_faulty *faulty, const char *path)
{
    return find_path(faulty, path) != NULL;
}

uint64_t nadb_faulty_size(const struct nadb_faulty *faulty, const char *path)
{
    const struct nadb_faulty_file *file = find_path(faulty, path);
    return file == NULL ? 0 : file->now.size;
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t len = strlen(text);
    size_t suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

const char *nadb_faulty_name_at(
    const struct nadb_faulty *faulty, const char *dir_path, const char *suffix, size_t index)
{
    size_t dir = find_dir(faulty, dir_path, strlen(dir_path));
    const char *previous = "";
    for (size_t rank = 0; rank <= index; rank++) {
        const char *next = NULL;
        for (size_t i = 0; i < faulty->name_count; i++) {
            const struct name *name = &faulty->names[i];
            if (name->dir == dir && name->now != NOWHERE && has_suffix(name->text, suffix) &&
                strcmp(name->text, previous) > 0 &&
                (next == NULL || strcmp(name->text, next) < 0)) {
                next = name->text;
            }
        }
        if (next == NULL) {
            return NULL;
        }
        previous = next;
    }
    return previous;
}

void nadb_faulty_flip(struct nadb_faulty *faulty, const char *path, uint64_t offset, uint8_t mask)
{
    struct nadb_faulty_file *file = find_path(faulty, path);
    NADB_ASSERT(file != NULL && offset < file->now.size);
    nadb_faulty_file_flip(file, offset, mask);
}

void nadb_faulty_resize(struct nadb_faulty *faulty, const char *path, uint64_t size)
{
    struct nadb_faulty_file *file = find_path(faulty, path);
    NADB_ASSERT(file != NULL);
    nadb_faulty_file_resize(file, size);
    nadb_faulty_file_settle(file);
}

void nadb_faulty_put(struct nadb_faulty *faulty, const char *path, const void *bytes, size_t len)
{
    struct nadb_faulty_file *file = find_path(faulty, path);
    if (file == NULL) {
        size_t dir = find_dir(faulty, path, parent_len(path));
        NADB_ASSERT(dir != NOWHERE);
        struct name *name = need_name(faulty, dir, strrchr(path, '/') + 1);
        name->now = name->disk = make_file(faulty);
        file = &faulty->files[name->now];
    }
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len}; /* read only */
    nadb_faulty_file_resize(file, 0);
    nadb_faulty_file_write(file, &piece, 1, 0, len);
    nadb_faulty_file_settle(file);
}

size_t nadb_faulty_get(
    const struct nadb_faulty *faulty, const char *path, uint64_t offset, void *out, size_t len)
{
    const struct nadb_faulty_file *file = find_path(faulty, path);
    return file == NULL ? 0 : nadb_faulty_file_read(file, offset, out, len);
}

void nadb_faulty_empty(struct nadb_faulty *faulty, const char *dir_path)
{
    size_t dir = find_dir(faulty, dir_path, strlen(dir_path));
    if (dir == NOWHERE) {
        return;
    }
    for (size_t i = 0; i < faulty->name_count; i++) {
        if (faulty->names[i].dir == dir) {
            faulty->names[i].now = NOWHERE;
        }
    }
    sync_names(faulty, dir);
}

void nadb_faulty_remove(struct nadb_faulty *faulty, const char *path)
{
    size_t dir = find_dir(faulty, path, parent_len(path));
    struct name *name = dir == NOWHERE ? NULL : find_name(faulty, dir, strrchr(path, '/') + 1);
    NADB_ASSERT(name != NULL);
    name->now = name->disk = NOWHERE;
}
