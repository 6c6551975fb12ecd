/* The interface between the store and what keeps its records: the implementer's face.
 *
 * A backend is blocking by contract. Every function below but `name`, `caps` and `new_instance`
 * may do I/O and is called only from jobs (worker threads). The store never has two calls of
 * write, open or close in progress at once, but may run `replay` of different units at the same
 * time, and any number of calls of `read` beside each other and beside a write. A backend sees no
 * structure of the store's: a batch hands out its entries one by one through a function, and
 * everything it hands out is immutable until the call returns.
 *
 * Kinds, told apart by capabilities, never by name. A *log* backend leaves authority with the
 * store's index: it replays what was written and appends batches. A backend with
 * NADB_BACKEND_VOLATILE keeps nothing: the store calls neither write nor replay. A
 * *shared* backend is the authority itself; it has the interface of shared.h in place of that from
 * replay to hint.
 *
 * What a log backend promises:
 *   1. write() is atomic: after a crash at any point, replay yields all entries of a batch or none.
 *   2. Batches are kept in the order of write(); what replay yields is a prefix of that order.
 *   3. A batch written with `is_sync`, once write() has returned NADB_OK, is in that prefix
 *      together with every batch before it.
 *   4. A batch whose write() failed with NADB_ENOSPC is not in that prefix and never will be.
 *      After NADB_ESYNC it may or may not be, whole, until a later synced write has returned
 *      NADB_OK: then it is not.
 *   5. Bytes that fail their checksum are never handed out. */
#ifndef NADB_BACKENDS_BACKEND_H
#define NADB_BACKENDS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/slice.h"

enum nadb_backend_caps {
    NADB_BACKEND_LOG = 1 << 0,      /* the store's index is the authority */
    NADB_BACKEND_VOLATILE = 1 << 1, /* keeps nothing and need not be called */
    NADB_BACKEND_SHARED = 1 << 2,   /* the engine behind it is; see shared.h */
};

/* Where a record is kept, opaque to the store, which has NADB_LOC_BITS for it; 0 = nowhere. Its
 * upper bits are the number of the segment that it is in. */
#define NADB_LOC_BITS        44
#define NADB_LOC_OFFSET_BITS 28
#define NADB_SEGMENTS_MAX    (1u << (NADB_LOC_BITS - NADB_LOC_OFFSET_BITS))

static inline uint32_t nadb_loc_segment(uint64_t loc)
{
    return (uint32_t)(loc >> NADB_LOC_OFFSET_BITS);
}

/* Bounds of an entry's parts; a backend refuses stored entries beyond them. */
#define NADB_KEY_LEN_MAX        65536u
#define NADB_VALUE_LEN_MAX      536870912u
#define NADB_TAG_LEN_MAX        1024u
#define NADB_TAGS_PACKED_MAX    (65535u * (2u + NADB_TAG_LEN_MAX))
#define NADB_NAMESPACE_LEN_MAX  255u
#define NADB_KEYSPACE_COUNT_MAX 65536u

enum nadb_entry_kind {
    NADB_ENTRY_PUT = 1,        /* the record of `key` is now this */
    NADB_ENTRY_DELETE = 2,     /* `key` has no record */
    NADB_ENTRY_CLEAR = 3,      /* no record of the keyspace older than `version` exists */
    NADB_ENTRY_NAME = 4,       /* keyspace `keyspace` is namespace `key` of database `db` */
    NADB_ENTRY_DROP = 5,       /* as CLEAR, and the keyspace's name is free again */
    NADB_ENTRY_INVALIDATE = 6, /* of the keyspace's records as they are here, those older than
                                  `version` are gone that the selector in `value` selects */
};

/* Has an entry of this kind a value? */
static inline bool nadb_entry_has_value(enum nadb_entry_kind kind)
{
    return kind == NADB_ENTRY_PUT || kind == NADB_ENTRY_INVALIDATE;
}

/* How a value is encoded. Entries that cross the interface have NADB_CODEC_RAW. */
enum nadb_codec {
    NADB_CODEC_RAW = 0,
    NADB_CODEC_ZLIB = 1,
};

/* One mutation. Slices are borrowed from whoever hands the entry out. */
struct nadb_entry {
    enum nadb_entry_kind kind;
    enum nadb_codec codec; /* of `value`; for the backend itself, see above */
    uint32_t raw_len;      /* of the value as it was, when it is encoded */
    uint16_t keyspace;
    uint16_t db;             /* NAME only */
    uint64_t version;        /* the mutation's sequence number, at most 48 bits */
    struct nadb_slice key;   /* PUT, DELETE: the key; NAME: the namespace, may be empty */
    struct nadb_slice value; /* PUT; INVALIDATE: a selector, which means nothing to a backend */
    struct nadb_slice tags;  /* PUT only: each tag as u16 length (little-endian) and bytes */
    uint64_t created_ms;     /* PUT only, Unix time, at most 42 bits; the same for the next two */
    uint64_t updated_ms;
    uint64_t expire_ms;  /* 0: never */
    uint32_t accessed_s; /* PUT only, Unix time in seconds */
};

struct nadb_batch;

/* Fills *ret with entry `index` of the batch. Pure; thread: the worker that runs write(). */
typedef void nadb_batch_entry_fn(
    const struct nadb_batch *batch, size_t index, struct nadb_entry *ret);

struct nadb_backend_stats {
    uint64_t segments;      /* files that hold data */
    uint64_t disk_bytes;    /* their size together */
    uint64_t batches;       /* written since open */
    uint64_t entries;       /* written since open */
    uint64_t bytes_written; /* since open, framing included */
    uint64_t syncs;         /* successful, since open */
    uint64_t failures;      /* failed writes and syncs since open */
    uint64_t packed_values; /* that were written compressed since open */
    uint64_t packed_from;   /* their bytes before */
    uint64_t packed_to;     /* and after */
};

/* Which values are compressed when they are written; kept only where that makes them smaller. */
struct nadb_compression {
    bool is_on;
    int level;              /* 1 fastest .. 9 smallest */
    uint64_t threshold_len; /* shorter values stay as they are */
};

struct nadb_batch {
    /* immutable while write() runs */
    uint64_t seq;          /* number of the batch: 1, 2, 3, ... without gaps over restarts */
    uint64_t last_version; /* the newest version that the batch brings */
    uint64_t wall_ms;      /* Unix time when the batch was cut: whatever expired by then is gone */
    bool is_sync;          /* must be on stable storage when write() returns */
    struct nadb_compression compression;
    size_t count; /* 0 is allowed: makes what was written before stable, marks wall_ms */
    nadb_batch_entry_fn *entry;
    const void *entry_ctx;
    /* written by write() */
    uint64_t *locs; /* `count` places of PUT entries; may be NULL */
    struct nadb_backend_stats stats;
};

/* About what a backend reads into memory at a time when it replays, compacts, verifies or writes a
 * hint. */
#define NADB_BACKEND_CHUNK_BYTES (4u << 20)

/* What replay hands out: entries in commit order, of batches that count; a large batch may be in
 * several. Freed by replay_free. */
struct nadb_replay_chunk {
    size_t count;
    struct nadb_entry *entries;
    uint64_t *locs;    /* where each PUT is kept */
    uint64_t *dead_ms; /* per entry: the latest wall_ms of its own or a later batch: a PUT whose
                           expire_ms is not 0 and not above it had expired and must not come back */
    bool is_last;      /* the unit has no more */
    void *backend_private;
};

struct nadb_backend_open_info {
    uint32_t units;          /* replay them all, apply in order 0 .. units-1 */
    uint64_t last_batch_seq; /* 0 when the backend is empty */
    uint64_t last_version;
    uint64_t bytes;         /* to be read by replay, for progress */
    uint64_t torn_bytes;    /* cut from the tail: never acknowledged as durable */
    bool was_clean;         /* closed by close() */
    bool is_without_values; /* of a PUT's value replay gives the length only, data is NULL */
    char note[200];         /* a warning for the operator, or "" */
};

struct nadb_backend;

struct nadb_backend_opts {
    const char *dir; /* borrowed during new_instance */
    uint64_t segment_size_bytes;
    uint64_t replay_values_max; /* a log of more bytes is replayed without values; 0: none is */
    bool is_direct_wanted; /* long runs of files go past the page cache where that can be had */

    /* shared backends; borrowed as dir is */
    const char *const *urls; /* where the engine is: `url_count`, several seeds of a cluster */
    size_t url_count;
    bool is_cluster;
    const char *prefix;  /* of every name in the engine */
    uint32_t partitions; /* fixed at first use */
    uint64_t timeout_ms;
    unsigned pool_size; /* runs at the same time */
    bool may_wait;      /* open waits for an engine that is not there yet */
};

/* Allocates; touches nothing outside memory. Thread: any. Never NULL. */
typedef struct nadb_backend *nadb_backend_new_fn(const struct nadb_backend_opts *opts);

/* Takes the lock, checks and repairs what a crash left, prepares to append. On failure nothing
 * is held and the instance can only be freed. */
typedef enum nadb_err nadb_backend_open_fn(struct nadb_backend *backend,
    struct nadb_backend_open_info *ret_info, struct nadb_error *reterr);

/* Decodes the next part of a unit. `cursor` is 0 at first and the backend's to change. */
typedef enum nadb_err nadb_backend_replay_fn(struct nadb_backend *backend, uint32_t unit,
    uint64_t *cursor, struct nadb_replay_chunk *ret_chunk, struct nadb_error *reterr);

typedef void nadb_backend_replay_free_fn(struct nadb_replay_chunk *chunk);

/* Appends one batch; see the promises above. */
typedef enum nadb_err nadb_backend_write_fn(
    struct nadb_backend *backend, struct nadb_batch *batch, struct nadb_error *reterr);

/* One record to be read back. */
struct nadb_read {
    /* immutable while read() runs; slices and memory are the caller's */
    uint64_t loc;
    uint64_t version; /* the record must be this version of this key */
    struct nadb_slice key;
    size_t value_len; /* and have a value of this length */
    char *value;      /* value_len bytes to write to; garbage unless err is NADB_OK */
    /* written by read() */
    enum nadb_err err;
    struct nadb_error error;
};

/* Reads `count` values by the locations that write() or replay gave for them. Each ends for itself:
 * NADB_OK, NADB_EIO, NADB_ENOMEM, or NADB_ECORRUPT when what is there does not verify, was removed
 * or is another record; the text begins with `<file>:<offset>`. Who let the place of a record
 * change meanwhile has to look it up again before believing in damage. NULL in a volatile
 * backend. */
typedef void nadb_backend_read_fn(
    struct nadb_backend *backend, struct nadb_read *reads, size_t count);

/* ---- compaction ----
 *
 * A run of neighbouring segments is read in the order of the log; the store says of each entry
 * whether it is still needed; what is goes into one new segment, in the same order, which takes the
 * run's place. Nothing changes before publish: a crash leaves the run or its replacement, whole.
 *
 *     begin -> (read -> write)* -> finish -> publish -> end(true)
 *     begin -> skip -> finish -> publish -> end(true)
 *        any of them -> end(false)
 *
 * All of it may run beside write, read and list; there is one compaction at a time. */

struct nadb_segment_info {
    uint64_t id;
    uint32_t number; /* nadb_loc_segment of what is in it */
    uint64_t bytes;
    uint64_t records;
    uint64_t last_seq; /* the newest batch in it or before it */
    bool is_closed;    /* takes no more batches */
    bool is_pinned;    /* must stay until the next start */
    bool has_guests;   /* records with another segment's number are in it */
    bool has_hint;     /* see nadb_backend_hint_fn */
};

/* The segments in the order of the log, in *ret, which the caller frees. With `must_close` the one
 * that takes batches is closed first, if there are batches in it and there is room for another. */
typedef enum nadb_err nadb_backend_list_fn(struct nadb_backend *backend, bool must_close,
    struct nadb_segment_info **ret, size_t *ret_count, struct nadb_error *reterr);

enum nadb_verdict {
    NADB_VERDICT_KEEP,
    NADB_VERDICT_DROP,
    NADB_VERDICT_BURY, /* a PUT becomes a DELETE: something older may still be in the log */
};

struct nadb_compact_result {
    uint64_t bytes;   /* of the new segment; 0: nothing was left, there is none */
    uint64_t records; /* in it */
    uint32_t number;
    uint64_t packed_values; /* newly compressed */
};

/* Segments of one run, at most. */
#define NADB_COMPACT_RUN_MAX 64u

struct nadb_compaction; /* the backend's own */

struct nadb_compact_ops {
    /* The run is `count` neighbours, all closed; `is_first`: nothing is in front of them. */
    enum nadb_err (*begin)(struct nadb_backend *backend, const uint64_t *ids, size_t count,
        const struct nadb_compression *compression, struct nadb_compaction **ret,
        struct nadb_error *reterr);
    /* The next part, freed with replay_free. Values may be encoded. */
    enum nadb_err (*read)(struct nadb_compaction *compaction, struct nadb_replay_chunk *ret_chunk,
        struct nadb_error *reterr);
    /* The part that was read last, a verdict for each entry; gives the new place of each that is
     * not dropped. */
    enum nadb_err (*write)(struct nadb_compaction *compaction,
        const struct nadb_replay_chunk *chunk, const uint8_t *verdicts, uint64_t *ret_locs,
        struct nadb_error *reterr);
    /* In place of reading and writing: every entry of the run is dropped. */
    enum nadb_err (*skip)(struct nadb_compaction *compaction, struct nadb_error *reterr);
    /* Makes the new segment whole and stable. */
    enum nadb_err (*finish)(struct nadb_compaction *compaction, struct nadb_compact_result *ret,
        struct nadb_error *reterr);
    /* Durably exchanges the run for the new segment, which can be read from now on; both can.
     * After a failure either may be found by a start, and it must be called again until it
     * succeeds. */
    enum nadb_err (*publish)(struct nadb_compaction *compaction, struct nadb_error *reterr);
    /* Removes the run (published) or the new segment, as far as the disk allows; what is left is
     * removed by the next start. Frees. */
    void (*end)(struct nadb_compaction *compaction, bool is_published);
};

/* Writes what makes a replay without values fast: all of a closed segment but those. It may be lost
 * at any time without harm. NADB_OK also when the segment is gone. Beside anything. */
typedef enum nadb_err nadb_backend_hint_fn(
    struct nadb_backend *backend, uint64_t id, struct nadb_error *reterr);

/* ---- backup ---- */

struct nadb_backup_result {
    uint64_t segments;
    uint64_t bytes;
    uint64_t copied_bytes; /* the rest takes no room of its own */
};

/* Puts what is stable now into a new or empty directory that opens as a store of its own. `base`,
 * an earlier backup, or NULL: what it has already is taken from there. Beside anything but a
 * compaction. On failure there is no backup. */
typedef enum nadb_err nadb_backend_backup_fn(struct nadb_backend *backend, const char *path,
    const char *base, struct nadb_backup_result *ret, struct nadb_error *reterr);

/* ---- verification ---- */

struct nadb_verify_result {
    uint64_t bytes;
    uint64_t records;
};

/* Reads everything of a closed segment of the list and holds it against its checksums. NADB_OK,
 * with nothing counted when the segment is gone; NADB_ECORRUPT with the place of the first damage;
 * NADB_EIO. Beside anything. */
typedef enum nadb_err nadb_backend_verify_fn(struct nadb_backend *backend, uint64_t id,
    struct nadb_verify_result *ret, struct nadb_error *reterr);

/* Makes everything stable, marks a clean end, lets go of the lock. The instance can only be
 * freed afterwards, also after a failure. */
typedef enum nadb_err nadb_backend_close_fn(
    struct nadb_backend *backend, struct nadb_error *reterr);

/* Frees a new, failed or closed instance; an open one is let go of as if the process had died. */
typedef void nadb_backend_free_fn(struct nadb_backend *backend);

struct nadb_shared_ops; /* backends/shared.h */

struct nadb_backend_ops {
    const char *name; /* the value of the `backend` option */
    unsigned caps;
    nadb_backend_new_fn *new_instance;
    nadb_backend_open_fn *open;
    nadb_backend_replay_fn *replay;
    nadb_backend_replay_free_fn *replay_free;
    nadb_backend_write_fn *write;
    nadb_backend_read_fn *read;
    nadb_backend_list_fn *list; /* NULL, as the next, in a volatile backend */
    const struct nadb_compact_ops *compact;
    nadb_backend_backup_fn *backup;
    nadb_backend_verify_fn *verify;
    nadb_backend_hint_fn *hint;
    const struct nadb_shared_ops *shared; /* NULL unless NADB_BACKEND_SHARED */
    nadb_backend_close_fn *close;
    nadb_backend_free_fn *free;
};

/* The first member of every implementation's struct. */
struct nadb_backend {
    const struct nadb_backend_ops *ops;
};

#endif
