/* A log backend for tests of the store: batches in memory, in a "disk" that outlives the instance,
 * with failures on demand.
 *
 * The disk keeps what was written, as the contract of backend.h has it: whole batches in order.
 * The test may look at it, forget what was never synced, and let writes fail. Thread: one at a
 * time; the executor of tests has only one. */
#ifndef NADB_TESTS_SUPPORT_LOG_BACKEND_H
#define NADB_TESTS_SUPPORT_LOG_BACKEND_H

#include "backends/backend.h"

#define NADB_LOG_DISK_BATCHES_MAX 4096

struct nadb_log_batch {
    uint64_t seq, last_version, wall_ms;
    bool is_sync;
    bool is_unknown; /* its write ended in NADB_ESYNC; gone when the next one succeeds */
    size_t count;
    struct nadb_entry *entries; /* owned, with all their bytes */
};

struct nadb_log_disk {
    /* what is kept */
    struct nadb_log_batch batches[NADB_LOG_DISK_BATCHES_MAX];
    size_t count;
    size_t stable; /* of them, those that a loss of power leaves */
    bool is_clean;
    /* how it is read back */
    size_t chunk_entries;     /* at most so many entries in a chunk */
    size_t batches_each_unit; /* and so many batches in a unit */
    /* failures to come */
    unsigned fail_writes;   /* so many of the next writes */
    enum nadb_err fail_err; /* NADB_ENOSPC or NADB_ESYNC */
    bool does_fail_keep;    /* with NADB_ESYNC: the batch is there nevertheless */
    unsigned fail_reads;    /* so many of the next records read */
    enum nadb_err fail_read_err;
    bool does_open_fail;
    bool does_close_fail;
    /* what was asked for */
    unsigned reads; /* records */
    unsigned opens, writes, closes, chunks_given, chunks_freed;
};

extern const struct nadb_backend_ops nadb_log_backend_ops;

void nadb_log_disk_init(struct nadb_log_disk *disk);
void nadb_log_disk_fini(struct nadb_log_disk *disk);

/* An instance over the disk, which must outlive it. Its new_instance is never used. */
struct nadb_backend *nadb_log_backend_new(struct nadb_log_disk *disk);

/* Power is lost: only what was synced is left. */
void nadb_log_disk_power_cut(struct nadb_log_disk *disk);

/* The last batch, NULL when there is none. */
const struct nadb_log_batch *nadb_log_disk_last(const struct nadb_log_disk *disk);

/* How many entries of the kind the batch has; with `key`, only those of the key. */
size_t nadb_log_batch_count(
    const struct nadb_log_batch *batch, enum nadb_entry_kind kind, const char *key);

#endif
