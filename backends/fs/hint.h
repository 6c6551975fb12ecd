/* Hints: what a start needs of a closed segment, all but the values, in a small file beside it. A
 * log that is larger than memory starts by its hints and reads no values.
 *
 * A hint is derived: it may be missing, damaged or half written at any time, and the segment serves
 * instead. So it is written without syncs. Its form is a segment's (format.h), with another magic
 * number and seeds of its own, so that every byte of it is verified in the same way:
 *
 *     header             the segment's id, its length and its chain, as in the manifest
 *     frame, 0 records   where the last batch ends; the steps of nadb_fs_deaths
 *     frames             records: NADB_HINT_PREFIX_BYTES, then the record with an empty value
 *     footer
 *
 * All records of a frame died at the same time, if they did (dead_ms). Thread: any. */
#ifndef NADB_BACKENDS_FS_HINT_H
#define NADB_BACKENDS_FS_HINT_H

#include "backends/fs/manifest.h"
#include "backends/fs/replay.h"
#include "backends/fs/segment.h"

#define NADB_HINT_SUFFIX     ".hint"
#define NADB_HINT_NAME_BYTES (16 + sizeof(NADB_HINT_SUFFIX)) /* NUL included */

#define NADB_HINT_MAGIC UINT64_C(0x544e4844414e0a) /* "\nNADHNT" */

/* In front of each record: its offset in the segment in units of NADB_FS_ALIGN, and the length of
 * its value as it was put in, 4 bytes each. */
#define NADB_HINT_PREFIX_BYTES 8u

void nadb_hint_name(char *out, uint64_t id); /* NADB_HINT_NAME_BYTES */
bool nadb_hint_parse_name(const char *name, uint64_t *ret_id);

/* The seed of a hint's bytes, from its segment's. */
static inline uint64_t nadb_hint_seed(uint64_t segment_seed)
{
    return segment_seed ^ UINT64_C(0xa5a5c3c35a5a3c3c);
}

/* Reads the segment and writes its hint; after a failure there is none. NADB_ECORRUPT: it is the
 * segment that does not verify. */
NADB_MUST_CHECK enum nadb_err nadb_hint_write(const struct nadb_fs_io *io, int dir,
    uint64_t store_id, const struct nadb_manifest_entry *entry, struct nadb_error *reterr);

struct nadb_hint {
    struct nadb_segment_point at; /* of the segment: behind its last batch */
    uint64_t from, to;            /* where the hint's frames of records are */
};

/* Verifies the segment's hint whole and adds what it says of deaths. False, and nothing changed:
 * there is none that is good. */
NADB_MUST_CHECK bool nadb_hint_read(const struct nadb_fs_io *io, int dir, uint64_t store_id,
    const struct nadb_manifest_entry *entry, char *window, struct nadb_fs_deaths *deaths,
    struct nadb_hint *ret);

#endif
