/* The interface of shared backends: an engine of its own holds the records, several nadbd may use
 * it at the same time, and it alone knows what is there.
 *
 * A shared backend implements new_instance, open, close and free of backend.h, and one function
 * more: run. It is handed what the store gathered in a turn or a part of it, an array of
 * operations, and returns when each of them has an outcome. It is called from jobs, blocks, and may
 * be called from several workers at once: every call has connections of its own.
 *
 * What it promises:
 *   1. Every operation gets an outcome within what is left of the backend's timeout, or
 *      NADB_SHARED_LEAST_MS if that is longer, whatever the engine does; INVALIDATE and CLEAR may
 *      take longer, as long as the engine is never silent for that time.
 *   2. Operations of one run that concern the same key take effect in the order of the array.
 *      Where all keys are kept by one server, nearly all of them do. An operation may come behind
 *      others of other keys if its key went, or was given tags or a deadline, since this nadbd saw
 *      it last, or if the engine turned it away first and had to be told its scripts again.
 *   3. A commit is atomic: everybody sees all of its changes or none, tag index included.
 *      What it was made from is as it was at that moment (see struct nadb_check).
 *   4. A change is sent once. When it may have been sent and no answer came, its outcome is
 *      NADB_ESYNC ("outcome unknown"); with any other error it has not happened. What only reads
 *      may be sent again.
 *   5. No key is counted, listed or selected whose time is over by the engine's clock.
 *   6. Bytes that are no record of this format are never handed out: NADB_ECORRUPT.
 *
 * Errors of the engine that are for the client to see (-OOM, -READONLY, -NOAUTH, -LOADING, ...)
 * come as NADB_EENGINE with the engine's own line, prefix included, as text. An engine that cannot
 * be reached: NADB_EIO, "backend down: ...". Keys of a commit that the engine cannot change
 * together: NADB_ECROSSSLOT.
 *
 * Thread: worker, for everything an operation holds, while run has it. */
#ifndef NADB_BACKENDS_SHARED_H
#define NADB_BACKENDS_SHARED_H

#include "backends/backend.h"
#include "src/base/buf.h"

/* What tells two states of a record apart, opaque: no two writes of a key have the same. 0: the
 * key has no record. */
typedef uint64_t nadb_stamp;

/* A keyspace. */
struct nadb_place {
    uint64_t db;
    struct nadb_slice name; /* of the namespace; empty: the database itself */
};

enum nadb_op_kind {
    NADB_OP_FETCH,      /* one record */
    NADB_OP_COMMIT,     /* changes of records, if all checks hold */
    NADB_OP_COUNT,      /* how many keys a keyspace has */
    NADB_OP_SCAN,       /* keys, a stretch of them or all */
    NADB_OP_RANDOM,     /* some key */
    NADB_OP_TAG_COUNTS, /* how many keys carry each of some tags */
    NADB_OP_TAGS,       /* all tags, and how many keys carry each */
    NADB_OP_SELECT,     /* how many keys a selector selects, and their records */
    NADB_OP_INVALIDATE, /* removes them; notes the epoch */
    NADB_OP_CLEAR,      /* removes everything of a keyspace; notes the epoch */
    NADB_OP_EPOCH,      /* the newest epoch that was given out */
    NADB_OP_TAG_EPOCHS, /* when tags were invalidated */
    NADB_OP_SPACES,     /* all keyspaces that have keys */
    NADB_OP_PUBLISH,    /* tells every other nadbd in front of the engine */
};

/* ---- parts ---- */

/* A record as the engine has it. Key, value and tags are borrowed from the operation. */
struct nadb_found {
    nadb_stamp stamp;        /* 0: there is no such key, and the rest means nothing */
    struct nadb_entry entry; /* a PUT: key, value, tags (packed) and times; version: of no use */
    size_t value_len;        /* also when the value was not asked for; entry.value is empty then */
};

/* A condition of a commit. Either: `key` still has the record with this stamp (0: it has none).
 * Or, with a tag: what nadb_op_tag_epochs said of `tag` for `key` is still so. */
struct nadb_check {
    struct nadb_place place;
    struct nadb_slice key;
    nadb_stamp stamp;
    bool is_epoch;
    struct nadb_slice tag; /* empty: of everything */
    uint64_t epoch;
};

struct nadb_change {
    struct nadb_place place;
    struct nadb_entry entry; /* PUT or DELETE; a PUT takes the place of the whole record */
    nadb_stamp stamp;        /* PUT: the record's from now on; from new_stamp */
    bool keeps_created;      /* PUT: the time of creation of the record that is there, if there is
                                one, in place of the entry's */
};

struct nadb_tag_tally {
    struct nadb_slice tag;
    uint64_t count;
};

struct nadb_space_tally {
    struct nadb_place place;
    uint64_t keys, expires; /* expires: those with a deadline among them */
    uint64_t ttl_sum_ms;    /* of what is left to those */
};

/* ---- an operation ---- */

#define NADB_SCAN_ALL UINT64_MAX

struct nadb_op {
    enum nadb_op_kind kind;
    struct nadb_place place; /* all but COMMIT, EPOCH, SPACES, PUBLISH */

    /* the question, immutable while run() has it; all memory is the caller's */
    struct nadb_slice key; /* FETCH; TAG_EPOCHS: as this key sees them (empty: as any); PUBLISH: the
                               channel */
    struct nadb_slice text; /* PUBLISH: the message */
    bool wants_value;       /* FETCH, SELECT */
    bool wants_times;     /* FETCH, SELECT: entry.created_ms and accessed_s, without counting as an
                               access; else created_ms may be 0: not known */
    bool wants_records;   /* SELECT; else only how many */
    uint64_t records_max; /* SELECT: with more than that there are no records, only the count */
    uint64_t cursor, count;        /* SCAN: 0 begins; about how many keys, NADB_SCAN_ALL: all */
    const struct nadb_slice *tags; /* TAG_COUNTS, TAG_EPOCHS */
    size_t tag_count;
    struct nadb_slice selector; /* SELECT, INVALIDATE: packed (src/store/selector.h) with pattern */
    const struct nadb_check *checks; /* COMMIT */
    size_t check_count;
    const struct nadb_change *changes; /* COMMIT */
    size_t change_count;

    /* the outcome, written by run(); what it points to is freed by op_free */
    enum nadb_err err;
    bool is_conflict;         /* COMMIT: a check did not hold, and nothing has changed */
    struct nadb_found *found; /* FETCH: one; SELECT: `found_count`, in no order */
    size_t found_count;
    uint64_t number;         /* COUNT, SELECT, INVALIDATE, CLEAR: keys; EPOCH: the newest */
    uint64_t epoch;          /* INVALIDATE, CLEAR: that it was given; TAG_EPOCHS: of everything;
                                EPOCH: the first that was given out */
    struct nadb_slice *keys; /* SCAN: `key_count`; RANDOM: one, or none */
    size_t key_count;
    uint64_t next_cursor;           /* SCAN: goes on; 0: that was all */
    uint64_t *epochs;               /* TAG_EPOCHS: `tag_count`; 0: never, as far as is known */
    struct nadb_tag_tally *tallies; /* `tally_count`; TAGS: sorted by tag; TAG_COUNTS: as `tags` */
    size_t tally_count;
    struct nadb_space_tally *spaces; /* SPACES, COUNT (one) */
    size_t space_count;
    void *backend_private;
    struct nadb_error error; /* last, for it is large and seldom looked at: only if err is set */
};

#define NADB_SHARED_LEAST_MS 100u

/* What may change at any time. */
struct nadb_shared_settings {
    struct nadb_compression compression;
    uint64_t epochs_max; /* tags of each keyspace whose last invalidation is remembered */
    uint64_t waited_ms;  /* of the timeout, what the operations have waited already */
};

/* Runs `count` operations; each has its outcome afterwards. */
typedef void nadb_shared_run_fn(struct nadb_backend *backend,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count);

/* Frees what run() gave the operation. */
typedef void nadb_shared_op_free_fn(struct nadb_op *op);

/* One that was never given before, by anybody. Thread: any; never blocks. */
typedef nadb_stamp nadb_shared_new_stamp_fn(struct nadb_backend *backend);

/* A slice of housekeeping: takes members whose time is over out of the indexes. Called about every
 * NADB_SHARED_TEND_MS by every nadbd; returns how many went. Bounded: a few ms of the engine's. */
#define NADB_SHARED_TEND_MS 500u
typedef uint64_t nadb_shared_tend_fn(struct nadb_backend *backend);

/* Waits for what others published, at most `wait_ms`; appends each message to `heard` as the length
 * of its channel (u32, little-endian), that of its text, and both. What is published while the
 * engine cannot be heard is missed. Called by one worker at a time; hush, by any thread, makes it
 * return. */
typedef void nadb_shared_listen_fn(
    struct nadb_backend *backend, uint64_t wait_ms, struct nadb_buf *heard);
typedef void nadb_shared_hush_fn(struct nadb_backend *backend);

/* How the engine fares, for INFO; kept up to date by run and tend. */
struct nadb_shared_stats {
    uint64_t batches, ops, round_trips;
    uint64_t reconnects, redirects; /* MOVED and ASK that were followed */
    uint64_t timeouts, failures;
    bool is_down;     /* the last attempt to reach (a part of) it failed */
    char engine[64];  /* "redis 7.0.15" */
    unsigned servers; /* masters */
};
typedef void nadb_shared_stats_fn(struct nadb_backend *backend, struct nadb_shared_stats *ret);

struct nadb_shared_ops {
    nadb_shared_run_fn *run;
    nadb_shared_op_free_fn *op_free;
    nadb_shared_new_stamp_fn *new_stamp;
    nadb_shared_tend_fn *tend;
    nadb_shared_listen_fn *listen;
    nadb_shared_hush_fn *hush;
    nadb_shared_stats_fn *stats; /* thread: any */
};

#endif
