/* Every system call that the fs backend makes on data, as one table of functions, so that a test
 * can fail, shorten or cut off the k-th of them.
 *
 * A function returns what the system call of its name returns, with `-errno` in place of -1.
 * Names are relative to a directory that open_dir gave. Descriptors mean something only to the
 * table they came from. The functions of one table may be called from several threads at once,
 * for different descriptors or for reading; tests' tables may ask for less. EINTR is retried
 * inside the table; short counts are the caller's to handle (nadb_fs_read_full and so on). */
#ifndef NADB_BACKENDS_FS_FS_IO_H
#define NADB_BACKENDS_FS_FS_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "src/base/compiler.h"

/* One pwritev takes at most this many pieces. */
#define NADB_FS_IOV_MAX 8

enum nadb_fs_open_mode {
    NADB_FS_OPEN_READ,   /* must exist */
    NADB_FS_OPEN_WRITE,  /* must exist; reads and writes */
    NADB_FS_OPEN_CREATE, /* must not exist (-EEXIST); reads and writes */
    NADB_FS_OPEN_ALWAYS, /* created empty when missing, kept as it is otherwise; reads and writes */
};

#define NADB_FS_BLOCK_BYTES 4096u

/* So much one call reads or writes; a rest of up to a quarter goes with it. Many kernels let a
 * thread that is in a call keep its processor until the call ends or waits, whoever else wants it:
 * to hand 1 MiB to the disk takes 0.2 ms, to copy 4 MiB to or from the page cache more than 1 ms.
 * So long the loop, and its clients, would wait for a worker on the same processor. */
#define NADB_FS_CALL_BYTES (1u << 18)

/* How much of what is left the next call is to move. */
static inline size_t nadb_fs_call_len(size_t left, size_t call_bytes)
{
    return left <= call_bytes + call_bytes / 4 ? left : call_bytes;
}

/* Called with each name of a directory but "." and ".."; the name is borrowed. */
typedef void nadb_fs_name_fn(void *ctx, const char *name);

struct nadb_fs_io {
    size_t little_bytes; /* up to so much is better written through the page cache */
    int (*make_dir)(const struct nadb_fs_io *io, const char *path);
    int (*open_dir)(const struct nadb_fs_io *io, const char *path);
    int (*list_dir)(const struct nadb_fs_io *io, int dir, nadb_fs_name_fn *name, void *ctx);
    int (*sync_dir)(const struct nadb_fs_io *io, int dir);
    int (*open_file)(
        const struct nadb_fs_io *io, int dir, const char *name, enum nadb_fs_open_mode mode);
    int (*rename_file)(const struct nadb_fs_io *io, int dir, const char *from, const char *to);
    int (*unlink_file)(const struct nadb_fs_io *io, int dir, const char *name);
    /* The same file under the same name in another directory; fails where that cannot be had. */
    int (*link_file)(const struct nadb_fs_io *io, int from_dir, int to_dir, const char *name);
    int (*lock_file)(const struct nadb_fs_io *io, int file); /* exclusive; -EWOULDBLOCK */
    ssize_t (*pread_file)(
        const struct nadb_fs_io *io, int file, void *out, size_t len, uint64_t offset);
    ssize_t (*pwritev_file)(const struct nadb_fs_io *io, int file, const struct iovec *pieces,
        size_t count, uint64_t offset);
    /* fdatasync; -ENOENT for a file that has been removed: nobody would find what is synced */
    int (*sync_file)(const struct nadb_fs_io *io, int file);
    int (*truncate_file)(const struct nadb_fs_io *io, int file, uint64_t size);
    int (*allocate_file)(const struct nadb_fs_io *io, int file, uint64_t offset, uint64_t len);
    /* From here on the descriptor reads and writes past the page cache, or through it again.
     * Directly go only whole blocks at multiples of them, from or to memory that is aligned as they
     * are, but that reading ends with the file. Fails where that cannot be had; where blocks are
     * larger, reads and writes fail with -EINVAL. */
    int (*set_direct)(const struct nadb_fs_io *io, int file, bool is_direct);
    int (*size_file)(const struct nadb_fs_io *io, int file, uint64_t *ret_size);
    int (*close_file)(const struct nadb_fs_io *io, int file); /* directories too; lets locks go */
};

/* The operating system's calls. Shared, stateless. Thread: any. */
const struct nadb_fs_io *nadb_fs_io_system(void);

/* The same, but nothing goes past the page cache. */
const struct nadb_fs_io *nadb_fs_io_page_cache(void);

/* Reads until `len` bytes or the end of the file, in calls of nadb_fs_call_len: how many, or
 * -errno. */
ssize_t nadb_fs_read_full(
    const struct nadb_fs_io *io, int file, void *out, size_t len, uint64_t offset);

/* Writes all pieces (at most NADB_FS_IOV_MAX, changed on the way) in calls like that: 0, or -errno
 * with any part of them written. */
NADB_MUST_CHECK int nadb_fs_write_full(
    const struct nadb_fs_io *io, int file, struct iovec *pieces, size_t count, uint64_t offset);

#endif
