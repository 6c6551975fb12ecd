/* Which segment a location is in, and the files that are open for reading it.
 *
 * The table is keyed by slot: a location names a slot, and a slot names a segment, or nothing when
 * the segment has been removed. Reading takes a source (a file that stays open until it is given
 * back), so a segment may be removed while it is read: its file is closed by whoever is last.
 * Files that nobody reads stay open, the least recently used making room for others.
 *
 * Invariants:
 *   1. A file of the cache with users is never closed.
 *   2. Once nadb_fs_readers_remove has returned, no new source names the segment; those that are
 *      out keep its file open, so the name may be unlinked.
 *   3. Forwarding points to younger segments only, so following it ends.
 *
 * A lock protects all of it; it is held while a file is opened or closed, and never by the loop
 * thread. Thread: workers, any number at once, but for init and fini. */
#ifndef NADB_BACKENDS_FS_READERS_H
#define NADB_BACKENDS_FS_READERS_H

#include <pthread.h>

#include "backends/fs/format.h"
#include "backends/fs/fs_io.h"

/* Files kept open. More are opened for a moment when all of them are in use. */
#define NADB_FS_READERS_OPEN_MAX 64u

/* What one slot names. */
struct nadb_fs_place {
    bool is_known;
    bool is_forwarded; /* what lies from `from` on was copied to `to` of slot `to_slot` */
    bool has_guests;   /* another slot is forwarded to here */
    uint32_t to_slot;
    uint64_t id;
    uint64_t seed;
    uint64_t from, to;
};

struct nadb_fs_open_file {
    int file; /* -1: the entry is free */
    uint32_t slot;
    unsigned users;
    bool is_removed; /* closed when the last user leaves */
    uint64_t used;   /* the table's count of uses at the last one */
};

struct nadb_fs_readers {
    const struct nadb_fs_io *io; /* immutable */
    int dir;                     /* immutable; borrowed */
    pthread_mutex_t lock;
    /* under the lock */
    struct nadb_fs_place *places; /* owned; by slot */
    size_t place_count;
    uint64_t uses;
    struct nadb_fs_open_file files[NADB_FS_READERS_OPEN_MAX];
};

/* A file to read from, and where in it. */
struct nadb_fs_source {
    int file;
    unsigned entry; /* of the cache; NADB_FS_READERS_OPEN_MAX: opened for this one source */
    uint64_t id;
    uint64_t seed;
    uint64_t offset;
};

void nadb_fs_readers_init(struct nadb_fs_readers *readers, const struct nadb_fs_io *io, int dir);

/* Closes every file; no source may be out. Again: no harm. */
void nadb_fs_readers_fini(struct nadb_fs_readers *readers);

/* The slot names this segment from now on. */
void nadb_fs_readers_add(
    struct nadb_fs_readers *readers, uint32_t slot, uint64_t id, uint64_t seed);

/* Is part of what the slot named to be found in another segment? */
bool nadb_fs_readers_is_forwarding(struct nadb_fs_readers *readers, uint32_t slot);

/* Is part of what another slot named to be found in this one's segment? */
bool nadb_fs_readers_has_guests(struct nadb_fs_readers *readers, uint32_t slot);

/* The slot names nothing any more. */
void nadb_fs_readers_remove(struct nadb_fs_readers *readers, uint32_t slot);

/* All that lies from `from` on in the slot's segment has been copied as it is to the segment of
 * `to_slot`, a younger one, where it begins at `to`. */
void nadb_fs_readers_forward(
    struct nadb_fs_readers *readers, uint32_t slot, uint64_t from, uint32_t to_slot, uint64_t to);

/* Gives a source for the location: 0, -ENODATA when it names no segment, or the -errno of opening
 * the file (*ret has its id and offset then). */
NADB_MUST_CHECK int nadb_fs_readers_take(
    struct nadb_fs_readers *readers, uint64_t loc, struct nadb_fs_source *ret);
void nadb_fs_readers_give_back(
    struct nadb_fs_readers *readers, const struct nadb_fs_source *source);

#endif
