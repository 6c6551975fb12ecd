/* One segment, walked from its first byte to its last and held against what the manifest says of
 * it: what recovery, verification and salvage agree on.
 *
 *     begin -> next (a batch), next (a batch), ... next (the end) -> end
 *
 * Sealed and cut segments must be as the manifest describes them; so must the active one after a
 * clean end. After an unclean end the active segment is walked with its payloads up to the first
 * thing that does not verify; what follows is a torn tail, unless it proves that a stable batch was
 * damaged (invariant 7 of format.h). Errors name file and offset. Thread: any. */
#ifndef NADB_BACKENDS_FS_VISIT_H
#define NADB_BACKENDS_FS_VISIT_H

#include "backends/fs/manifest.h"
#include "backends/fs/segment.h"

struct nadb_fs_visit {
    /* set before begin */
    const struct nadb_fs_io *io;
    int dir;
    uint64_t store_id;
    const struct nadb_manifest_entry *entry;
    bool was_clean;                   /* the manifest's flag */
    bool is_writable;                 /* the active segment is opened to be written, too */
    bool is_verifying;                /* payloads are read everywhere, not only headers */
    char *window;                     /* NADB_WALK_WINDOW_BYTES, the caller's */
    struct nadb_segment_point before; /* of the log; only seq and version matter */
    /* read-only for the caller */
    char name[NADB_SEGMENT_NAME_BYTES];
    int file; /* -1: none; who takes it sets it so */
    uint64_t size;
    bool is_open_ended; /* its end had to be found */
    struct nadb_segment_walk walk;
    uint64_t read_bytes; /* in frames that the walk has read whole, through the page cache */
    uint64_t torn_bytes; /* behind the last whole batch */
};

/* Opens the file and checks its size and header. Whatever comes of it, end must be called. */
NADB_MUST_CHECK enum nadb_err nadb_fs_visit_begin(
    struct nadb_fs_visit *visit, struct nadb_error *reterr);

/* The next frame is walk.frame, and ends at walk.next. *ret_is_end: there is none, and the segment
 * ends as it should, at walk.at or, with a footer, at walk.next; frames behind walk.at were of a
 * batch that is torn. */
NADB_MUST_CHECK enum nadb_err nadb_fs_visit_next(
    struct nadb_fs_visit *visit, bool *ret_is_end, struct nadb_error *reterr);

/* The frame is the last of its batch: the batch counts. */
bool nadb_fs_visit_is_at_batch_end(const struct nadb_fs_visit *visit);

/* Has the walk read most of what it has passed? Then that is in the page cache, and the disk need
 * not be asked again. */
bool nadb_fs_visit_has_read_most(const struct nadb_fs_visit *visit);

/* A descriptor of the same file to read it from end to end with, the caller's to close. */
NADB_MUST_CHECK enum nadb_err nadb_fs_visit_open_run(
    const struct nadb_fs_visit *visit, int *ret_file, struct nadb_error *reterr);

void nadb_fs_visit_end(struct nadb_fs_visit *visit); /* again: no harm */

#endif
