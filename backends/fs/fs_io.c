/* This file is the table of the operating system's calls. */
#include "backends/fs/fs_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"

static int result_of(int result)
{
    return result < 0 ? -errno : result;
}

static int sys_make_dir(const struct nadb_fs_io *io, const char *path)
{
    (void)io;
    return result_of(mkdir(path, 0750));
}

static int sys_open_dir(const struct nadb_fs_io *io, const char *path)
{
    (void)io;
    return result_of(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int sys_list_dir(const struct nadb_fs_io *io, int dir, nadb_fs_name_fn *name, void *ctx)
{
    (void)io;
    int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (own < 0) {
        return -errno;
    }
    DIR *stream = fdopendir(own);
    if (stream == NULL) {
        int error = errno;
        (void)close(own); /* nothing was written through it */
        return -error;
    }
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            name(ctx, entry->d_name);
        }
        errno = 0;
    }
    int error = errno;
    (void)closedir(stream); /* nothing was written through it */
    return -error;
}

static int sync_handle(int handle, int (*sync)(int))
{
    int result;
    do {
        result = sync(handle);
    } while (result < 0 && errno == EINTR);
    return result_of(result);
}

static int sys_sync_dir(const struct nadb_fs_io *io, int dir)
{
    (void)io;
    return sync_handle(dir, fsync);
}

static int sys_open_file(
    const struct nadb_fs_io *io, int dir, const char *name, enum nadb_fs_open_mode mode)
{
    static const int flags_of[] = {
        [NADB_FS_OPEN_READ] = O_RDONLY,
        [NADB_FS_OPEN_WRITE] = O_RDWR,
        [NADB_FS_OPEN_CREATE] = O_RDWR | O_CREAT | O_EXCL,
        [NADB_FS_OPEN_ALWAYS] = O_RDWR | O_CREAT,
    };
    (void)io;
    int result;
    do {
        result = openat(dir, name, flags_of[mode] | O_CLOEXEC, 0640);
    } while (result < 0 && errno == EINTR);
    return result_of(result);
}

static int sys_rename_file(const struct nadb_fs_io *io, int dir, const char *from, const char *to)
{
    (void)io;
    return result_of(renameat(dir, from, dir, to));
}

static int sys_unlink_file(const struct nadb_fs_io *io, int dir, const char *name)
{
    (void)io;
    return result_of(unlinkat(dir, name, 0));
}

static int sys_link_file(const struct nadb_fs_io *io, int from_dir, int to_dir, const char *name)
{
    (void)io;
    return result_of(linkat(from_dir, name, to_dir, name, 0));
}

static int sys_lock_file(const struct nadb_fs_io *io, int file)
{
    (void)io;
    return result_of(flock(file, LOCK_EX | LOCK_NB));
}

static ssize_t sys_pread_file(
    const struct nadb_fs_io *io, int file, void *out, size_t len, uint64_t offset)
{
    (void)io;
    ssize_t result;
    do {
        result = pread(file, out, len, (off_t)offset);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

static ssize_t sys_pwritev_file(const struct nadb_fs_io *io, int file, const struct iovec *pieces,
    size_t count, uint64_t offset)
{
    (void)io;
    ssize_t result;
    do {
        result = pwritev(file, pieces, (int)count, (off_t)offset);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

/* Asks for the number of links alone. Who asks for the times, as fstat does, has the kernel give
 * the next write a time of its own (Linux 6.13 and later), and each sync then writes the inode too:
 * one more write that the sync waits for, in every batch. */
static bool is_removed(int file)
{
    struct statx links;
    if (statx(file, "", AT_EMPTY_PATH, STATX_NLINK, &links) == 0) {
        return links.stx_nlink == 0;
    }
    struct stat status; /* where that call is not known, or not allowed */
    return fstat(file, &status) == 0 && status.st_nlink == 0;
}

static int sys_sync_file(const struct nadb_fs_io *io, int file)
{
    (void)io;
    int result = sync_handle(file, fdatasync);
    return result == 0 && is_removed(file) ? -ENOENT : result;
}

static int sys_truncate_file(const struct nadb_fs_io *io, int file, uint64_t size)
{
    (void)io;
    int result;
    do {
        result = ftruncate(file, (off_t)size);
    } while (result < 0 && errno == EINTR);
    return result_of(result);
}

static int sys_allocate_file(const struct nadb_fs_io *io, int file, uint64_t offset, uint64_t len)
{
    (void)io;
    int result;
    do {
        result = fallocate(file, 0, (off_t)offset, (off_t)len);
    } while (result < 0 && errno == EINTR);
    return result_of(result);
}

static int sys_size_file(const struct nadb_fs_io *io, int file, uint64_t *ret_size)
{
    (void)io;
    struct stat info;
    if (fstat(file, &info) < 0) {
        return -errno;
    }
    *ret_size = (uint64_t)info.st_size;
    return 0;
}

static int sys_close_file(const struct nadb_fs_io *io, int file)
{
    (void)io;
    return result_of(close(file));
}

static int sys_set_direct(const struct nadb_fs_io *io, int file, bool is_direct)
{
    (void)io;
    int flags = fcntl(file, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    return result_of(fcntl(file, F_SETFL, is_direct ? flags | O_DIRECT : flags & ~O_DIRECT));
}

static int no_direct(const struct nadb_fs_io *io, int file, bool is_direct)
{
    (void)io;
    (void)file;
    return is_direct ? -EOPNOTSUPP : 0;
}

#define LITTLE_BYTES (1u << 16)

/* The table with one of the two. */
#define SYSTEM_TABLE(direct)                                                                       \
    {                                                                                              \
        .little_bytes = LITTLE_BYTES, .make_dir = sys_make_dir, .open_dir = sys_open_dir,          \
        .list_dir = sys_list_dir, .sync_dir = sys_sync_dir, .open_file = sys_open_file,            \
        .rename_file = sys_rename_file, .unlink_file = sys_unlink_file,                            \
        .link_file = sys_link_file, .lock_file = sys_lock_file, .pread_file = sys_pread_file,      \
        .pwritev_file = sys_pwritev_file, .sync_file = sys_sync_file,                              \
        .truncate_file = sys_truncate_file, .allocate_file = sys_allocate_file,                    \
        .set_direct = (direct), .size_file = sys_size_file, .close_file = sys_close_file,          \
    }

const struct nadb_fs_io *nadb_fs_io_system(void)
{
    static const struct nadb_fs_io io = SYSTEM_TABLE(sys_set_direct);
    return &io;
}

const struct nadb_fs_io *nadb_fs_io_page_cache(void)
{
    static const struct nadb_fs_io io = SYSTEM_TABLE(no_direct);
    return &io;
}

ssize_t nadb_fs_read_full(
    const struct nadb_fs_io *io, int file, void *out, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        const size_t part = nadb_fs_call_len(len - done, NADB_FS_CALL_BYTES);
        ssize_t got = io->pread_file(io, file, (char *)out + done, part, offset + done);
        if (got < 0) {
            return got;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* Drops the first `done` bytes of the pieces; returns how many pieces are left. */
static size_t advance_pieces(struct iovec **pieces, size_t count, size_t done)
{
    while (count > 0 && done >= (*pieces)->iov_len) {
        done -= (*pieces)->iov_len;
        (*pieces)++;
        count--;
    }
    if (count > 0) {
        (*pieces)->iov_base = (char *)(*pieces)->iov_base + done;
        (*pieces)->iov_len -= done;
    }
    return count;
}

/* Copies the pieces, as far as one call takes them; returns how many that are. */
static size_t first_pieces(
    struct iovec out[NADB_FS_IOV_MAX], const struct iovec *pieces, size_t count)
{
    size_t left = 0;
    size_t taken = 0;
    for (size_t i = 0; i < count; i++) {
        left += pieces[i].iov_len;
    }
    left = nadb_fs_call_len(left, NADB_FS_CALL_BYTES);
    while (taken < count && left > 0) {
        out[taken] = pieces[taken];
        out[taken].iov_len = out[taken].iov_len < left ? out[taken].iov_len : left;
        left -= out[taken].iov_len;
        taken++;
    }
    return taken;
}

int nadb_fs_write_full(
    const struct nadb_fs_io *io, int file, struct iovec *pieces, size_t count, uint64_t offset)
{
    NADB_ASSERT(count <= NADB_FS_IOV_MAX);
    count = advance_pieces(&pieces, count, 0);
    while (count > 0) {
        struct iovec part[NADB_FS_IOV_MAX];
        ssize_t done = io->pwritev_file(io, file, part, first_pieces(part, pieces, count), offset);
        if (done < 0) {
            return (int)done;
        }
        if (done == 0) {
            return -ENOSPC; /* a device that takes nothing and gives no reason */
        }
        offset += (uint64_t)done;
        count = advance_pieces(&pieces, count, (size_t)done);
    }
    return 0;
}
