/* One file of the faulty file system: what the process sees of it, and what the disk has.
 *
 * A page (NADB_FAULTY_PAGE_BYTES) that was written is dirty; syncing copies dirty pages to the
 * disk. A sync that failed makes the kernel forget that they are dirty, as Linux does: they stay
 * visible, and reach the disk only if they are written again. Thread: one at a time. */
#ifndef NADB_TESTS_SUPPORT_FAULTY_FILE_H
#define NADB_TESTS_SUPPORT_FAULTY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/random.h"

#define NADB_FAULTY_PAGE_BYTES 4096u

/* `len` bytes are kept, zeros follow up to `size`. */
struct nadb_faulty_blob {
    uint8_t *bytes;
    size_t len;
    size_t cap;
    uint64_t size;
};

/* All zero: an empty file that is not used. */
struct nadb_faulty_file {
    bool is_used;
    bool is_locked;
    struct nadb_faulty_blob now;  /* what the process sees */
    struct nadb_faulty_blob disk; /* what was synced */
    uint64_t allocated;
    uint64_t dirty_from, dirty_to; /* whole pages; empty when equal */
    uint8_t *forgotten;            /* per page: its sync failed and it was not written since */
    size_t forgotten_count;
};

/* How much of what was not synced a loss of power leaves. */
enum nadb_fate {
    NADB_FATE_OLD,
    NADB_FATE_NEW,
    NADB_FATE_MIXED, /* each page, each change for itself */
    NADB_FATES,
};

enum nadb_fate nadb_fate_random(struct nadb_rng *rng);

void nadb_faulty_file_wipe(struct nadb_faulty_file *file); /* frees; all zero again */

size_t nadb_faulty_file_read(
    const struct nadb_faulty_file *file, uint64_t offset, void *out, size_t len);

/* The first `len` bytes of the pieces. */
void nadb_faulty_file_write(struct nadb_faulty_file *file, const struct iovec *pieces, size_t count,
    uint64_t offset, size_t len);
void nadb_faulty_file_resize(struct nadb_faulty_file *file, uint64_t size);
void nadb_faulty_file_allocate(struct nadb_faulty_file *file, uint64_t end);

void nadb_faulty_file_sync(struct nadb_faulty_file *file);
void nadb_faulty_file_forget(struct nadb_faulty_file *file); /* a sync that failed */

/* The power is lost: both states become what survives. */
void nadb_faulty_file_cut(struct nadb_faulty_file *file, struct nadb_rng *rng);

/* The disk has exactly what the process sees. */
void nadb_faulty_file_settle(struct nadb_faulty_file *file);

/* Changes one byte of both states. */
void nadb_faulty_file_flip(struct nadb_faulty_file *file, uint64_t offset, uint8_t mask);

#endif
