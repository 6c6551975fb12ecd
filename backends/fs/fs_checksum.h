/* nadb_checksum64 of bytes that are not in one place. */
#ifndef NADB_BACKENDS_FS_FS_CHECKSUM_H
#define NADB_BACKENDS_FS_FS_CHECKSUM_H

#include "backends/fs/fs_io.h"

/* Of the pieces as if they were one. Thread: any. */
uint64_t nadb_fs_checksum_pieces(const struct iovec *pieces, size_t count, uint64_t seed);

/* Of `len` bytes of a file, read through `buf`. 0 and *ret, or -errno; -EIO when the file ends
 * before. Thread: any, with a buffer of its own. */
NADB_MUST_CHECK int nadb_fs_checksum_file(const struct nadb_fs_io *io, int file, uint64_t offset,
    uint64_t len, uint64_t seed, char *buf, size_t buf_cap, uint64_t *ret);

#endif
