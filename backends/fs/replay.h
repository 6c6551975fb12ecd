/* Reading batches back: a range of a segment's bytes becomes entries. */
#ifndef NADB_BACKENDS_FS_REPLAY_H
#define NADB_BACKENDS_FS_REPLAY_H

#include "backends/backend.h"
#include "backends/fs/fs_io.h"

/* Up to batch `seq`, `wall_ms` is the latest time of that or a later batch. */
struct nadb_fs_death {
    uint64_t seq;
    uint64_t wall_ms;
};

/* The whole log in steps: seq grows, wall_ms falls. One step is enough for a clock that never
 * went back. */
struct nadb_fs_deaths {
    struct nadb_fs_death *steps; /* owned */
    size_t count;
    size_t cap;
};

/* Notes the next batch of the log. */
void nadb_fs_deaths_add(struct nadb_fs_deaths *deaths, uint64_t seq, uint64_t wall_ms);

/* The latest time of batch `seq` or a later one; 0: none is known. */
uint64_t nadb_fs_deaths_of(const struct nadb_fs_deaths *deaths, uint64_t seq);
void nadb_fs_deaths_fini(struct nadb_fs_deaths *deaths);

struct nadb_fs_range {
    const struct nadb_fs_io *io;
    int file;
    const char *name; /* for errors */
    uint64_t seed;
    uint32_t slot;
    uint64_t from;                       /* where a frame begins */
    uint64_t to;                         /* where a frame ends */
    const struct nadb_fs_deaths *deaths; /* NULL: dead_ms is 0 */
    bool is_encoded_wanted;              /* values as they are stored; else as they were put in */
    bool is_lean;                        /* of values only how long they were put in */
    bool is_at_start;                    /* nobody is served yet: in long calls */
    bool is_hint;                        /* the file is a hint, see hint.h; implies is_lean */
};

/* Decodes whole frames of the range: as many as fit `bytes_max`, one at least. Gives *ret_chunk
 * (is_last: the range has no more) and the offset behind. Verifies every byte that it hands out.
 * Thread: any. */
NADB_MUST_CHECK enum nadb_err nadb_fs_load(const struct nadb_fs_range *range, size_t bytes_max,
    struct nadb_replay_chunk *ret_chunk, uint64_t *ret_next, struct nadb_error *reterr);

/* A frame of a chunk, and which of its entries begin it. */
struct nadb_fs_chunk_frame {
    uint64_t seq;
    uint64_t wall_ms;
    uint64_t last_version;
    size_t first;
};

/* The frames of a chunk that nadb_fs_load gave; borrowed from it. */
const struct nadb_fs_chunk_frame *nadb_fs_chunk_frames(
    const struct nadb_replay_chunk *chunk, size_t *ret_count);

void nadb_fs_chunk_free(struct nadb_replay_chunk *chunk); /* again, or all zero: no harm */

#endif
