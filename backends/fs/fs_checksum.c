/* This file takes checksums piece by piece. */
#include "backends/fs/fs_checksum.h"

#include <errno.h>

#define XXH_STATIC_LINKING_ONLY /* a state on the stack */
#include <xxhash.h>

/* A reset alone would believe what the stack has from before: where it finds the same seed, it
 * takes the secret beside it as made already, and the checksum is of whatever has been written over
 * it. */
static void begin(XXH3_state_t *state, uint64_t seed)
{
    XXH3_INITSTATE(state);
    (void)XXH3_64bits_reset_withSeed(state, seed); /* fails for NULL only */
}

uint64_t nadb_fs_checksum_pieces(const struct iovec *pieces, size_t count, uint64_t seed)
{
    XXH3_state_t state;
    begin(&state, seed);
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].iov_len != 0) {
            (void)XXH3_64bits_update(&state, pieces[i].iov_base, pieces[i].iov_len); /* likewise */
        }
    }
    return XXH3_64bits_digest(&state);
}

int nadb_fs_checksum_file(const struct nadb_fs_io *io, int file, uint64_t offset, uint64_t len,
    uint64_t seed, char *buf, size_t buf_cap, uint64_t *ret)
{
    XXH3_state_t state;
    begin(&state, seed);
    while (len > 0) {
        size_t part = len < buf_cap ? (size_t)len : buf_cap;
        ssize_t got = nadb_fs_read_full(io, file, buf, part, offset);
        if (got < 0) {
            return (int)got;
        }
        if ((size_t)got < part) {
            return -EIO;
        }
        (void)XXH3_64bits_update(&state, buf, part); /* fails for NULL only */
        offset += part;
        len -= part;
    }
    *ret = XXH3_64bits_digest(&state);
    return 0;
}
