/* What the files of the fs backend share. */
#ifndef NADB_BACKENDS_FS_FS_INTERNAL_H
#define NADB_BACKENDS_FS_FS_INTERNAL_H

#include <pthread.h>

#include "backends/backend.h"
#include "backends/fs/fs_io.h"
#include "backends/fs/manifest.h"
#include "backends/fs/readers.h"
#include "backends/fs/replay.h"
#include "backends/fs/segment.h"

#define NADB_FS_MAGIC 0x4e414653u

/* A part of a segment as replay sees it. */
struct nadb_fs_unit {
    uint64_t id;
    uint64_t seed;
    uint64_t from, to; /* where its frames are */
    uint32_t slot;
    bool is_hint;   /* the frames are in its hint */
    bool is_cached; /* recovery has just read them */
};

struct nadb_fs {
    struct nadb_backend backend; /* first */
    unsigned magic;
    /* immutable */
    const struct nadb_fs_io *io;
    char *dir_path; /* owned */
    uint64_t segment_size;
    uint64_t replay_values_max;
    /* immutable from open to close */
    bool is_open;
    int dir;
    int lock;
    struct nadb_fs_unit *units; /* owned */
    uint32_t unit_count, unit_cap;
    struct nadb_fs_deaths deaths;
    bool is_lean; /* values are not replayed */
    /* any worker's from open to close */
    struct nadb_fs_readers readers;
    /* Under log_lock from open to close: write and compaction run side by side. Never held while
     * segments are read or a compaction is written, and never by the loop. */
    pthread_mutex_t log_lock;
    struct nadb_manifest manifest;
    bool is_unpublished;            /* the manifest in memory is newer than the file */
    struct nadb_segment active;     /* file -1: the next write makes one */
    struct nadb_segment stale;      /* its batches from `synced` to `end` must be copied */
    struct nadb_segment_point tail; /* end of the log when there is no active segment */
    uint64_t rotate_at;             /* size at which the active segment is to be sealed */
    bool is_failed;                 /* batches were lost to a failed disk: no more writes */
    bool has_reserve;
    bool is_reserve_off; /* the file system cannot allocate ahead */
    unsigned writes_without_reserve;
    struct nadb_segment_tools tools;
    uint64_t retired_bytes; /* of all segments but the active one */
    struct nadb_backend_stats stats;
};

/* ---- recover.c ---- */

/* Reads the manifest and walks all segments: fills units, deaths, manifest, active or tail, and
 * what recovery tells. Whatever a crash left half done is finished, durably; running it again
 * changes nothing. */
NADB_MUST_CHECK enum nadb_err nadb_fs__recover(
    struct nadb_fs *fs, struct nadb_backend_open_info *info, struct nadb_error *reterr);

/* ---- log.c ---- */

/* Replaces the manifest; frees the reserve if the disk is full. 0 or -errno. */
NADB_MUST_CHECK int nadb_fs__publish(struct nadb_fs *fs);

/* Brings retired_bytes up to date. */
void nadb_fs__count_retired(struct nadb_fs *fs);

/* The write of the interface. */
NADB_MUST_CHECK enum nadb_err nadb_fs__write(
    struct nadb_fs *fs, struct nadb_batch *batch, struct nadb_error *reterr);

/* Makes everything stable and marks the clean end. */
NADB_MUST_CHECK enum nadb_err nadb_fs__finish(struct nadb_fs *fs, struct nadb_error *reterr);

/* Allocates the reserve if it is missing and there is room. */
void nadb_fs__restore_reserve(struct nadb_fs *fs);

/* Closes the segment that takes batches, if there are some in it, and begins the next: 0, or
 * -errno, -ENOSPC when there is no room for another. Under log_lock. */
NADB_MUST_CHECK int nadb_fs__rotate(struct nadb_fs *fs);

void nadb_fs__lock(struct nadb_fs *fs);
void nadb_fs__unlock(struct nadb_fs *fs);

/* ---- compact.c ---- */

/* The list and the compaction of the interface. */
NADB_MUST_CHECK enum nadb_err nadb_fs__list(struct nadb_fs *fs, bool must_close,
    struct nadb_segment_info **ret, size_t *ret_count, struct nadb_error *reterr);
extern const struct nadb_compact_ops nadb_fs__compact_ops;

/* ---- backup.c ---- */

NADB_MUST_CHECK enum nadb_err nadb_fs__backup(struct nadb_fs *fs, const char *path,
    const char *base, struct nadb_backup_result *ret, struct nadb_error *reterr);

/* ---- upkeep.c: the verify and the hint of the interface ---- */

NADB_MUST_CHECK enum nadb_err nadb_fs__verify(
    struct nadb_fs *fs, uint64_t id, struct nadb_verify_result *ret, struct nadb_error *reterr);

NADB_MUST_CHECK enum nadb_err nadb_fs__hint(
    struct nadb_fs *fs, uint64_t id, struct nadb_error *reterr);

/* ---- read.c ---- */

/* The read of the interface. Thread: any worker, while open. */
void nadb_fs__read(struct nadb_fs *fs, struct nadb_read *reads, size_t count);

#endif
