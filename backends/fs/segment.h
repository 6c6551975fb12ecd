/* One segment file: batches appended at its end, and walked through from its beginning.
 *
 *     (no file) -> OPEN      [create, or adopt after recovery]
 *     OPEN -> OPEN           [append, sync]
 *     OPEN -> SEALED         [seal]
 *     OPEN -> BAD            [a write that could not be cut back, a sync that failed]
 *
 * Invariants:
 *   1. `end` is behind the last whole batch and `synced` at or before it; bytes behind `end` are
 *      zeros or the rest of a batch that failed.
 *   2. A file whose sync failed is never synced again: the kernel may have forgotten its dirty
 *      pages, and would answer success for bytes that are not on the disk.
 *
 * Thread: the worker that runs open, write or close; a walk is its owner's. */
#ifndef NADB_BACKENDS_FS_SEGMENT_H
#define NADB_BACKENDS_FS_SEGMENT_H

#include "backends/backend.h"
#include "backends/fs/blocks.h"
#include "backends/fs/format.h"
#include "backends/fs/frame.h"
#include "backends/fs/fs_io.h"
#include "src/base/compress.h"

/* Somewhere between two batches, and all that is known about what lies before it. */
struct nadb_segment_point {
    uint64_t offset;
    uint64_t chain;   /* checksum of the last frame header before it */
    uint64_t seq;     /* the last batch before it, also of earlier segments */
    uint64_t version; /* the newest version before it, likewise */
    uint64_t records; /* of this segment, as the next two */
    uint64_t wall_ms; /* the newest of its batches */
    uint32_t frames;
};

struct nadb_segment {
    const struct nadb_fs_io *io;
    int file; /* -1: none */
    uint32_t slot;
    uint64_t id;
    uint64_t seed;
    uint64_t base; /* the chain before the first frame */
    uint64_t size; /* of the file, at most: what may have to be cut off */
    struct nadb_segment_point end;
    struct nadb_segment_point synced;
    bool is_bad;         /* takes no more batches */
    bool is_sync_failed; /* implies is_bad */
    bool is_zeroing_off; /* the disk had no room to write ahead */
    struct nadb_fs_end file_end;
    char name[NADB_SEGMENT_NAME_BYTES];
};

/* What append needs: a window for frames, and room for a value that is being compressed. Kept from
 * one batch to the next. */
struct nadb_segment_tools {
    struct nadb_fs_window window;
    char *packed; /* owned; NULL: none was needed yet */
    size_t packed_cap;
    struct nadb_compressor compressor, prober;
    /* counted since init */
    uint64_t packed_values, packed_from, packed_to;
};

void nadb_segment_tools_init(struct nadb_segment_tools *tools);
void nadb_segment_tools_fini(struct nadb_segment_tools *tools); /* again: no harm */

void nadb_segment_name(char *out, uint64_t id); /* NADB_SEGMENT_NAME_BYTES */
bool nadb_segment_parse_name(const char *name, uint64_t *ret_id);

struct nadb_segment_create_opts {
    const struct nadb_fs_io *io;
    int dir;
    uint64_t store_id;
    uint64_t id;
    uint32_t slot;
    uint64_t created_ms;
};

/* Makes the file with its header and makes both stable; `before` is the end of the log so far.
 * 0, or -errno with nothing left behind, as far as the disk allows. */
NADB_MUST_CHECK int nadb_segment_create(struct nadb_segment *ret,
    const struct nadb_segment_create_opts *opts, const struct nadb_segment_point *before);

/* Moves the chain's beginning of a segment that has no batches yet. */
void nadb_segment_rebase(struct nadb_segment *segment, const struct nadb_segment_point *before);

/* Writes one batch behind the others; values that are encoded already stay so. On failure the
 * segment is as before, or bad if what was written could not be cut off: NADB_ENOSPC; NADB_ELIMIT
 * when the batch does not fit what a location can name. */
NADB_MUST_CHECK enum nadb_err nadb_segment_append(struct nadb_segment *segment,
    struct nadb_batch *batch, uint64_t synced_seq, struct nadb_segment_tools *tools,
    struct nadb_error *reterr);

/* Makes everything up to `end` stable: 0, or -errno and the segment is bad. */
NADB_MUST_CHECK int nadb_segment_sync(struct nadb_segment *segment);

/* Cuts the file at `end` and writes a footer, all stable; `end` then lies behind the footer. On
 * failure -errno and the segment is bad; `end` is as before. */
NADB_MUST_CHECK int nadb_segment_seal(struct nadb_segment *segment);

/* Cuts off what lies behind `end`: 0 or -errno. */
NADB_MUST_CHECK int nadb_segment_trim(struct nadb_segment *segment);

void nadb_segment_close(struct nadb_segment *segment); /* lets go of the file; again: no harm */

/* ---- walking ---- */

enum nadb_walk_result {
    NADB_WALK_FRAME,  /* one more frame, the batch goes on */
    NADB_WALK_BATCH,  /* one more frame, the batch is complete */
    NADB_WALK_FOOTER, /* the footer, `next` is behind it; the segment must end here */
    NADB_WALK_END,    /* the limit, between two batches */
    NADB_WALK_BAD,    /* something at `next.offset` does not verify */
    NADB_WALK_NEWER,  /* something at `next.offset` is of a newer format */
    NADB_WALK_ERROR,  /* reading failed: sys_errno */
};

#define NADB_WALK_WINDOW_BYTES (1u << 18)

/* After a frame of at least this much, reading on behind its header would be a waste. */
#define NADB_WALK_SKIP_BYTES (1u << 16)

struct nadb_segment_walk {
    /* immutable after begin */
    const struct nadb_fs_io *io;
    int file;
    bool is_verifying; /* payloads too, not only headers */
    uint64_t seed;
    uint64_t limit;
    char *window; /* NADB_WALK_WINDOW_BYTES, the caller's */
    /* read-only for the caller */
    struct nadb_segment_point at;   /* behind the last complete batch */
    struct nadb_segment_point next; /* behind the last frame; its seq is still `at`'s */
    struct nadb_frame frame;        /* the last frame */
    int sys_errno;
    /* private */
    bool is_inside; /* a batch is begun */
    uint64_t window_offset;
    size_t window_len;
};

/* From `from`, up to `limit` at most. `seed` is the segment's. */
void nadb_segment_walk_begin(struct nadb_segment_walk *walk, const struct nadb_fs_io *io, int file,
    uint64_t seed, const struct nadb_segment_point *from, uint64_t limit, char *window,
    bool is_verifying);

/* After anything but FRAME and BATCH the walk is over. */
enum nadb_walk_result nadb_segment_walk_next(struct nadb_segment_walk *walk);

/* After NADB_WALK_BAD: is there, behind the bad place, proof that a batch not yet walked was
 * stable (invariant 7 of format.h)? *ret_last is the end of the last byte that is not 0. 0 or
 * -errno. */
NADB_MUST_CHECK int nadb_segment_walk_look_ahead(
    struct nadb_segment_walk *walk, bool *ret_was_stable, uint64_t *ret_last);

#endif
