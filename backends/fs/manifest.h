/* The manifest: which segments are the store, in which order, and how far each counts.
 *
 * Replaced as a whole: written to a temporary file, synced, renamed over the old one, directory
 * synced. So a crash leaves the old or the new one. Thread: the worker that runs open, write or
 * close. */
#ifndef NADB_BACKENDS_FS_MANIFEST_H
#define NADB_BACKENDS_FS_MANIFEST_H

#include "backends/fs/format.h"
#include "backends/fs/fs_io.h"
#include "src/base/err.h"

/* Segments of one compaction: those that it reads, and the one that it makes. */
#define NADB_MANIFEST_HELD_MAX (NADB_COMPACT_RUN_MAX + 1)

struct nadb_manifest_entry {
    uint64_t id;
    uint32_t slot;
    enum nadb_segment_state state;
    uint64_t bytes;
    uint64_t base;
    uint64_t chain;
    uint64_t last_seq;
    uint64_t records;
    bool has_hint; /* there is a file; not part of the manifest */
};

struct nadb_manifest {
    bool is_clean;
    uint64_t store_id;
    uint64_t generation; /* of the last replacement that was tried */
    uint64_t next_id;
    uint64_t last_seq;
    uint64_t last_version;
    struct nadb_manifest_entry *entries; /* owned */
    size_t count;
    size_t cap;
    uint32_t slot_next; /* where the search for a free slot begins */
    /* slots that are not free although no segment in the list has them */
    uint32_t held[NADB_MANIFEST_HELD_MAX];
    size_t held_count;
};

void nadb_manifest_init(struct nadb_manifest *manifest); /* empty; allocates nothing */
void nadb_manifest_fini(struct nadb_manifest *manifest);

/* Adds an entry at the end and gives it a free slot: one that was freed comes last, so that a
 * location of a segment that is gone is long forgotten before it means another. The rest of *entry
 * is copied. NULL when all slots are taken. The pointer is valid until the next add or remove. */
struct nadb_manifest_entry *nadb_manifest_add(
    struct nadb_manifest *manifest, const struct nadb_manifest_entry *entry);

/* Holds a free slot for a segment that will be added later; false when all are taken. */
NADB_MUST_CHECK bool nadb_manifest_reserve(struct nadb_manifest *manifest, uint32_t *ret_slot);

/* Exchanges `count` entries from the one with `first_id` on for *entry, which has the reserved
 * slot; NULL: for nothing. The slots of those that go are held. */
void nadb_manifest_exchange(struct nadb_manifest *manifest, uint64_t first_id, size_t count,
    const struct nadb_manifest_entry *entry);

/* Holds no slot any more. */
void nadb_manifest_release(struct nadb_manifest *manifest);

struct nadb_manifest_entry *nadb_manifest_find(struct nadb_manifest *manifest, uint64_t id);
void nadb_manifest_remove(struct nadb_manifest *manifest, uint64_t id); /* none: no harm */

/* The bytes of the manifest; gives *ret_bytes. */
NADB_MUST_CHECK enum nadb_err nadb_manifest_encode(
    const struct nadb_manifest *manifest, char **ret_bytes, size_t *ret_len);

/* Fills an initialised manifest from bytes. NADB_EFORMAT for a newer format, NADB_ECORRUPT for
 * anything else that is wrong. */
NADB_MUST_CHECK enum nadb_err nadb_manifest_decode(
    struct nadb_manifest *manifest, const char *bytes, size_t len, struct nadb_error *reterr);

/* Reads the file. *ret_exists is false, and nothing else changed, when there is none. */
NADB_MUST_CHECK enum nadb_err nadb_manifest_load(struct nadb_manifest *manifest,
    const struct nadb_fs_io *io, int dir, bool *ret_exists, struct nadb_error *reterr);

/* Replaces the file and makes that stable: 0 or -errno. After a failure the old or the new one
 * may be in place; it can be tried again. */
NADB_MUST_CHECK int nadb_manifest_publish(
    struct nadb_manifest *manifest, const struct nadb_fs_io *io, int dir);

#endif
