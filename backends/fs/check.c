/* This file checks segments: first what holds the log together, then every record. */
#include "backends/fs/check.h"

#include "backends/fs/fs_internal.h"
#include "backends/fs/replay.h"

/* What replay would do with it, for nothing. */
static enum nadb_err decode_all(struct nadb_fs_visit *visit, uint64_t to, struct nadb_error *reterr)
{
    struct nadb_fs_range range = {
        .io = visit->io,
        .name = visit->name,
        .seed = visit->walk.seed,
        .from = NADB_SEGMENT_HEADER_BYTES,
        .to = to,
    };
    enum nadb_err err = nadb_fs_visit_open_run(visit, &range.file, reterr);
    if (err != NADB_OK) {
        return err;
    }
    while (err == NADB_OK && range.from < range.to) {
        struct nadb_replay_chunk chunk = {0};
        err = nadb_fs_load(&range, NADB_BACKEND_CHUNK_BYTES, &chunk, &range.from, reterr);
        nadb_fs_chunk_free(&chunk);
    }
    (void)visit->io->close_file(visit->io, range.file); /* nothing was written */
    return err;
}

enum nadb_err nadb_fs_check_segment(
    struct nadb_fs_visit *visit, struct nadb_fs_checked *ret, struct nadb_error *reterr)
{
    bool is_end = false;
    *ret = (struct nadb_fs_checked){0};
    enum nadb_err err = nadb_fs_visit_begin(visit, reterr);
    while (err == NADB_OK && !is_end) {
        err = nadb_fs_visit_next(visit, &is_end, reterr);
    }
    if (err == NADB_OK) {
        ret->bytes = visit->walk.next.offset;
        ret->records = visit->walk.at.records;
        ret->torn_bytes = visit->torn_bytes;
        err = decode_all(visit, visit->walk.at.offset, reterr);
    }
    nadb_fs_visit_end(visit);
    return err;
}
