/* What the store's files share; nobody else includes this but their tests.
 *
 * How a change travels:
 *
 *     change.c    index and records are changed, the version counts on
 *     wbuf.c      the record enters the write buffer, once however often it changes
 *     flush.c     the buffer becomes the flight: a batch that a worker writes; then its records
 *                 learn where they are kept, and what waited for them goes on
 *     undo.c      in durability always, what a failed flight brought is taken back
 *     tagindex.c  which records carry which tags, changed in the same step as the index
 *     invalidate.c  records go out of sight by tag, and are freed in slices
 *
 * Invariants:
 *   1. A record is DIRTY exactly while it is in the write buffer or in the flight, at
 *      entries[place] of one of them: of the flight if its version is not above frozen_version.
 *   2. A key's index entry, write buffer and what the backend has, in this order, are ever older
 *      states of the key; recovery applied to the last two gives the first.
 *   3. In durability always no record is changed in place: the undo log owns what was replaced
 *      until the replacing version is durable.
 *   4. Batches are cut between commands only.
 *
 * Thread: loop, but for the functions of flush.c and replay.c that say worker. */
#ifndef NADB_STORE_STORE_INTERNAL_H
#define NADB_STORE_STORE_INTERNAL_H

#include "src/base/hash.h"
#include "src/base/list.h"
#include "src/base/random.h"
#include "src/store/epochs.h"
#include "src/store/index.h"
#include "src/store/tagindex.h"
#include "src/store/tags.h"
#include "src/store/wheel.h"

#define NADB_STORE_MAGIC    0x53544f52u
#define NADB_KEYSPACE_MAGIC 0x4b535043u

#define NADB_TOUCHED_COUNT  4096u /* a power of two */
#define NADB_RETRY_US       1000000u
#define NADB_BACKLOG_FACTOR 2u /* write buffer and flight together, in buffer sizes */

/* Changes that may gather for one batch, whatever the buffer's size: what a backend must be able to
 * write at once is twice this for the records' headers, and one command. */
#define NADB_BATCH_BYTES_MAX (UINT64_C(512) << 20)
#define NADB_WATCH_BUCKETS   1024u /* at first; a power of two */

#define NADB_INVALIDATE_FEW 1024u

struct nadb_replay;

/* What an engine said of a keyspace. */
struct nadb_survey {
    uint64_t keys, expires, ttl_sum_ms;
};

/* What a keyspace holds; SWAPDB exchanges spaces between keyspaces. */
struct nadb_space {
    struct nadb_keyspace *owner;
    bool has_id;            /* the id below is this space's, and the backend knows its name */
    uint16_t id;            /* its number on disk and in the TTL parts of its records */
    uint64_t expires;       /* records with a TTL */
    uint64_t expires_sum_s; /* of their deadlines */
    struct nadb_index index;
    struct nadb_tagindex *tags;     /* owned; NULL while nothing was ever tagged */
    struct nadb_dying *dying;       /* owned; invalidated records that are still in the index */
    struct nadb_invalidation *pass; /* not owned; is told of every change, see invalidate.c */
    struct nadb_epochs *epochs;     /* owned; NULL: nothing was invalidated since the start */
    struct nadb_survey survey;      /* shared backends: as it was last seen */
};

struct nadb_keyspace {
    unsigned magic;
    uint32_t refs;
    uint64_t db;
    char *name; /* owned, not terminated */
    size_t name_len;
    struct nadb_space *space; /* owned */
};

/* ---- wbuf.c: the write buffer ---- */

/* An entry is the address of what changed, its kind in the low bits and, above the address, the
 * space's number. 0 is a hole: what stood there has been taken back. */
enum nadb_wbuf_kind {
    NADB_WBUF_PUT = 1,     /* struct nadb_rec, owned by the index */
    NADB_WBUF_DELETE = 2,  /* struct nadb_rec, owned by the entry: its key and version count */
    NADB_WBUF_CONTROL = 3, /* struct nadb_control, owned by the entry */
};

#define NADB_WBUF_SPACE_SHIFT  48u
#define NADB_WBUF_KIND_MASK    ((uint64_t)7)
#define NADB_WBUF_ADDRESS_MASK ((((uint64_t)1 << NADB_WBUF_SPACE_SHIFT) - 1) & ~NADB_WBUF_KIND_MASK)

/* A change of a whole space. */
struct nadb_control {
    enum nadb_entry_kind kind; /* CLEAR, NAME, DROP or INVALIDATE */
    uint16_t db;
    uint64_t version;
    size_t len;
    char bytes[]; /* NAME: the name; INVALIDATE: the packed selector */
};

struct nadb_wbuf {
    uint64_t *entries;
    size_t count, cap;
    uint64_t bytes;    /* about what the entries need on disk */
    uint64_t first_us; /* monotonic clock when the first entry came; meaningless while empty */
};

void nadb_wbuf__fini(struct nadb_wbuf *buf); /* frees what the entries own */

/* Frees what the entry owns, if it owns anything. */
void nadb_wbuf__drop_entry(uint64_t entry);

/* Fills *ret from an entry that is no hole; `now_s` when the batch was cut. Thread: any. */
void nadb_wbuf__describe(uint64_t entry, uint64_t now_s, struct nadb_entry *ret);

void nadb_wbuf__put(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec);
void nadb_wbuf__delete(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *tomb);
void nadb_wbuf__control(struct nadb_store *store, struct nadb_space *space,
    enum nadb_entry_kind kind, uint64_t version);
void nadb_wbuf__invalidate(
    struct nadb_store *store, struct nadb_space *space, struct nadb_slice packed, uint64_t version);

/* Another record, tombstone or (rec NULL) nothing takes the place of the dirty `old`. */
void nadb_wbuf__replace(
    struct nadb_store *store, struct nadb_rec *old, struct nadb_rec *rec, enum nadb_wbuf_kind kind);

#define NADB_WBUF_ENTRY_COST 32u /* of an entry, its parts not counted */

/* Roughly what a record needs on disk. */
static inline uint64_t nadb_wbuf__cost(const struct nadb_rec *rec)
{
    uint64_t cost = nadb_rec_key_len(rec) + (uint64_t)rec->value_len + NADB_WBUF_ENTRY_COST;
    if (NADB_UNLIKELY(rec->flags & NADB_REC_HAS_TAGS)) {
        cost += nadb_rec_tags(rec).len;
    }
    return cost;
}

/* ---- undo.c ---- */

enum nadb_undo_kind {
    NADB_UNDO_RECORD,     /* `rec` (NULL: nothing) took the place of `old` (NULL: nothing) */
    NADB_UNDO_CLEAR,      /* the space held `saved` */
    NADB_UNDO_NAME,       /* the space got its number */
    NADB_UNDO_DROP,       /* the space lost its number, id */
    NADB_UNDO_SWAP,       /* databases db_a and db_b changed places */
    NADB_UNDO_INVALIDATE, /* records of the space went out of sight */
};

struct nadb_undo {
    enum nadb_undo_kind kind;
    bool is_expiry;   /* RECORD: nobody's wish */
    bool left_dirty;  /* RECORD: `old` was dirty when it left the index */
    uint64_t dead_by; /* RECORD: the version of the invalidation that `old` was gone by, or 0 */
    uint16_t id;
    uint64_t version;
    struct nadb_space *space;
    struct nadb_rec *old, *rec;
    struct nadb_space *saved; /* owned: index and counters only */
    uint64_t db_a, db_b;
};

/* Oldest first. */
struct nadb_undo_log {
    struct nadb_undo *items; /* ring */
    size_t first, count, cap;
};

void nadb_undo__push(struct nadb_store *store, const struct nadb_undo *undo);
void nadb_undo__forget(struct nadb_store *store, uint64_t version); /* up to it */
void nadb_undo__roll_back(struct nadb_store *store);                /* everything */
void nadb_undo__fini(struct nadb_store *store);

/* ---- flush.c ---- */

enum nadb_flight_state {
    NADB_FLIGHT_IDLE,
    NADB_FLIGHT_RUNNING, /* a worker has it */
    NADB_FLIGHT_LANDING, /* written; its records learn where they are */
    NADB_FLIGHT_RETRY,   /* failed; goes out again at retry_us */
};

struct nadb_flight {
    struct nadb_job job;
    enum nadb_flight_state state;
    enum nadb_durability durability; /* at the cut */
    struct nadb_wbuf buf;
    struct nadb_batch batch;
    uint64_t *locs; /* the batch's; the worker makes them */
    size_t locs_cap;
    size_t landed;    /* entries seen to */
    uint64_t mark_ms; /* the mark that the batch carries; 0: none */
    uint64_t retry_us;
    uint64_t started_us, started_ms;
    uint64_t landed_us;
    size_t gather_count;  /* entries of the last flight and of those that waited for its end */
    uint64_t quiet_turns; /* turns on end without a change */
    /* written by the worker */
    enum nadb_err err;
    struct nadb_error error;
    /* loop: replaced or removed while frozen; freed when the flight has landed */
    struct nadb_rec **stale;
    size_t stale_count, stale_cap;
    bool has_bare_stale; /* one of them went with nothing newer of its key */
};

void nadb_flight__init(struct nadb_store *store);
void nadb_flight__fini(struct nadb_store *store);

/* Cuts and starts a flight when one is due. */
void nadb_flight__start_if_due(struct nadb_store *store);

/* Lands what has been written, for about `budget_us`; true when there is more. */
bool nadb_flight__land(struct nadb_store *store, uint64_t budget_us);

/* ms until the next flight has to start; UINT64_MAX: none. */
uint64_t nadb_flight__due_in_ms(const struct nadb_store *store);

/* Who was told to wait may try again. */
void nadb_flight__admit_waiters(struct nadb_store *store);

/* Frees `rec`, out of the index by now: at once, or when the worker that may read it is done.
 * `is_superseded` as in nadb_usage__drop. */
void nadb_flight__dispose(struct nadb_store *store, struct nadb_rec *rec, bool is_superseded);

/* ---- replay.c ---- */

void nadb_replay__start(struct nadb_store *store);
bool nadb_replay__step(struct nadb_store *store, uint64_t budget_us);
unsigned nadb_replay__percent(const struct nadb_store *store);
void nadb_replay__free(struct nadb_store *store);

/* ---- keyspace.c ---- */

struct nadb_garbage {
    struct nadb_garbage *next;
    struct nadb_index index;
    size_t cursor;
    struct nadb_tagindex *tags;
    size_t tags_cursor;
};

/* Makes sure that the space has a number and the backend will know it. */
void nadb_space__name(struct nadb_store *store, struct nadb_space *space);
void nadb_space__set_id(struct nadb_store *store, struct nadb_space *space, uint16_t id);
void nadb_space__unset_id(struct nadb_store *store, struct nadb_space *space);

/* Hands what the space holds to the garbage and leaves it empty. */
void nadb_space__discard(struct nadb_store *store, struct nadb_space *space);

/* Frees what it holds, and the space, at once. */
void nadb_space__free(struct nadb_space *space);

/* Frees an index that has been drained up to `cursor`, with its records, at once. */
void nadb_space__free_index(struct nadb_index *index, size_t cursor);

/* Frees discarded records for about `budget_us`; true when there are more. */
bool nadb_space__sweep(struct nadb_store *store, uint64_t budget_us);

/* Whatever the replayed NAME says: space number `id` is keyspace (db, name) from now on. */
void nadb_keyspace__bind(
    struct nadb_store *store, uint16_t id, uint64_t db, struct nadb_slice name);
void nadb_keyspace__exchange(struct nadb_store *store, uint64_t db_a, uint64_t db_b);

/* Frees namespaces that nobody uses, that hold nothing and that the backend knows nothing of. */
void nadb_keyspace__forget_idle(struct nadb_store *store);

void nadb_space__count_ttl(struct nadb_space *space, const struct nadb_rec *rec);
void nadb_space__uncount_ttl(struct nadb_space *space, const struct nadb_rec *rec);

/* ---- change.c ---- */

/* The key's slot, NULL when it has none or was due (and is now gone). */
nadb_index_slot nadb_change__find_live(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key);

/* Deletes the key for want of memory; also outside commands. */
void nadb_change__evict(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash);

/* `rec`, which the wheel handed out, is due. */
void nadb_change__expire(struct nadb_store *store, struct nadb_rec *rec);

/* Around every change of the index: `rec` is linked in where `old` was; either may be NULL. Brings
 * deadlines, wheel and tag index along. `old` is still whole. */
void nadb_change__exchange(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *old, struct nadb_rec *rec);

/* Takes an invalidated record out for good. */
void nadb_change__bury(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash);

/* Deletes a record that is live, durably. */
void nadb_change__delete(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash);

/* `rec` takes the place of the slot's record: the same key, version and tags, with its value or
 * without it. The old one is freed. */
void nadb_change__reshape(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, struct nadb_rec *rec);

/* A command has changed a keyspace as a whole: gives the change its version. */
uint64_t nadb_space__next_version(struct nadb_store *store);

/* ---- invalidate.c ---- */

/* Records out of sight, until they are swept. */
struct nadb_dying {
    struct nadb_bitmap *ids;
    uint64_t count; /* of records that are still in the index */
    uint64_t version;
    bool must_be_durable; /* nothing is swept before that: the undo log may bring it back */
    bool has_untagged;    /* untagged records older than `version` that match the pattern, too */
    char *pattern;        /* owned; NULL: all */
    size_t pattern_len;
    uint64_t next_id; /* the sweep goes on here */
    uint64_t next_at; /* and here, in the index, when all ids are done */
};

bool nadb_dying__has(const struct nadb_space *space, const struct nadb_rec *rec);
void nadb_dying__free(struct nadb_dying *dying); /* NULL allowed */

static inline bool nadb_space__is_dying(const struct nadb_space *space, const struct nadb_rec *rec)
{
    return NADB_UNLIKELY(space->dying != NULL) && nadb_dying__has(space, rec);
}

/* May a rollback bring back what is dying? */
bool nadb_dying__may_return(const struct nadb_store *store, const struct nadb_space *space);

/* The index changes: keeps the set of the dying, and an invalidation under way, exact. Before the
 * tag index lets go of `old`, and after it has learnt of `rec`. */
void nadb_dying__note_unlink(struct nadb_space *space, const struct nadb_rec *old);
void nadb_dying__note_linked(struct nadb_space *space, const struct nadb_rec *rec);
void nadb_pass__note_unlink(struct nadb_space *space, const struct nadb_rec *old);
void nadb_pass__note_linked(struct nadb_space *space, const struct nadb_rec *rec);

/* More has changed than links: a pass of the space begins anew, or has lost its space. */
void nadb_pass__restart(struct nadb_space *space);
void nadb_pass__forget_space(struct nadb_space *space);

/* Frees the dying for about `budget_us`; true when there are more that may be freed. */
bool nadb_dying__sweep(struct nadb_store *store, uint64_t budget_us);

/* Records of the space in sight. */
static inline uint64_t nadb_space__count(const struct nadb_space *space)
{
    return space->index.count - (NADB_UNLIKELY(space->dying != NULL) ? space->dying->count : 0);
}

/* ---- tags.c ---- */

/* The store opens: epochs go on above all that were given before; `wall_ms` is the latest time that
 * the backend knows of. */
void nadb_epochs__open(struct nadb_store *store, uint64_t wall_ms, bool was_empty);

/* What the selector selects of the space, the dying included. */
void nadb_space__select(const struct nadb_space *space, const struct nadb_selector *selector,
    struct nadb_tag_result *ret);

/* NADB_OK, or NADB_ETOOMANY when running it would take too long. */
NADB_MUST_CHECK enum nadb_err nadb_space__check_cost(const struct nadb_space *space,
    const struct nadb_selector *selector, struct nadb_error *reterr);

/* The tags that the selector names are invalidated now; NULL: everything is. */
void nadb_space__note_epoch(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_selector *selector);

/* ---- usage.c ---- */

struct nadb_segment_use {
    uint64_t total;     /* all that was written to it */
    uint64_t live;      /* of the records in the index that are in it */
    uint64_t kept;      /* not records, and needed as compaction saw it */
    uint64_t cleaned;   /* the version when it was compacted; 0: it was not */
    uint64_t live_seen; /* `live` when compaction last looked */
    unsigned dying;     /* looks that it still counts as dying fast; 0: it does not */
    bool has_bare;      /* something in it is no record, or went with nothing newer of its key in
                           the log */
};

/* Makes room for this number. */
void nadb_usage__grow(struct nadb_store *store, uint32_t number);

/* An entry has been written; a put's record is in the index. */
void nadb_usage__wrote(struct nadb_store *store, uint64_t loc, uint64_t cost, bool is_put);

/* A record that is kept there comes into the index, or goes. */
void nadb_usage__take(struct nadb_store *store, uint64_t loc, uint64_t cost);

/* `is_superseded`: the log has something newer of its key, or will have. */
void nadb_usage__drop(struct nadb_store *store, uint64_t loc, uint64_t cost, bool is_superseded);

void nadb_usage__forget(struct nadb_store *store, uint32_t number); /* the segment is gone */
void nadb_usage__fini(struct nadb_store *store);

/* Is the record's place a location of the backend? */
static inline bool nadb_store__is_placed(const struct nadb_rec *rec)
{
    return (rec->flags & (NADB_REC_HAS_DISK | NADB_REC_IS_DIRTY)) == NADB_REC_HAS_DISK;
}

/* ---- compact.c ---- */

enum nadb_compact_state {
    NADB_COMPACT_IDLE,
    NADB_COMPACT_LIST,
    NADB_COMPACT_HOLD, /* the list is here, the flight is not over */
    NADB_COMPACT_COPY,
    NADB_COMPACT_JUDGE,
    NADB_COMPACT_FINISH,
    NADB_COMPACT_SETTLE,
    NADB_COMPACT_PUBLISH,
    NADB_COMPACT_MOVE,
    NADB_COMPACT_REST,
    NADB_COMPACT_END,
    NADB_COMPACT_ABORT,
};

void nadb_compact__init(struct nadb_store *store);
void nadb_compact__fini(struct nadb_store *store);

/* Goes on, for about `budget_us`; true when there is more to do at once. */
bool nadb_compact__step(struct nadb_store *store, uint64_t budget_us);

void nadb_compact__flight_ended(struct nadb_store *store);
void nadb_compact__rolled_back(struct nadb_store *store);

/* Would the segment be rewritten before long? */
bool nadb_compact__wants(struct nadb_store *store, uint32_t number);

/* May the backend be closed? If not, what is under way is brought to its end first. */
bool nadb_compact__may_close(struct nadb_store *store);

/* ---- pace.c ---- */

#define NADB_PACE_BUFFERS 4u

struct nadb_pace {
    uint64_t cut_bytes;    /* of all flights so far, as the write buffer counts them */
    uint64_t looked_bytes; /* cut_bytes when all segments were summed up last */
    uint64_t limit;        /* writers wait when cut_bytes and the buffer are so much together */
    bool is_waited_for;    /* somebody was told to wait for it */
};

/* Sums up how much more may be written; lets writers go on if that is more than before. */
void nadb_pace__look(struct nadb_store *store);

void nadb_pace__flight_ended(struct nadb_store *store);

/* A compaction under way has found so much dead. */
void nadb_pace__gained(struct nadb_store *store, uint64_t bytes);

/* A compaction has ended. */
void nadb_pace__compacted(struct nadb_store *store);

/* No compaction is to be had: writers that wait go on for a while. */
void nadb_pace__go_on(struct nadb_store *store);

/* Has so much been written that writers must wait? They are admitted later. */
bool nadb_pace__must_wait(struct nadb_store *store);

/* ---- backup.c ---- */

enum nadb_backup_state {
    NADB_BACKUP_IDLE,
    NADB_BACKUP_SETTLE, /* waits for a flush, and for a compaction to end */
    NADB_BACKUP_RUNNING,
};

struct nadb_backup {
    struct nadb_job job;
    struct nadb_store *store;
    enum nadb_backup_state state;
    uint64_t number;  /* of the last that was begun */
    uint64_t version; /* must be durable first */
    uint64_t started_us;
    char *path, *base;                /* owned */
    struct nadb_backup_report report; /* error and result are the worker's while RUNNING */
    enum nadb_err err;
};

void nadb_backup__init(struct nadb_store *store);
void nadb_backup__fini(struct nadb_store *store);
bool nadb_backup__step(struct nadb_store *store, uint64_t budget_us);

/* ---- hint.c ---- */

enum nadb_hinter_state {
    NADB_HINTER_IDLE,
    NADB_HINTER_LIST,
    NADB_HINTER_HINT,
};

struct nadb_hinter {
    struct nadb_job job;
    struct nadb_store *store;
    enum nadb_hinter_state state;
    uint64_t bytes_min; /* on disk; with less there are no hints */
    uint64_t due_us;    /* not before that */
    uint64_t id;        /* of the segment */
    /* the worker's in LIST and HINT */
    struct nadb_segment_info *list; /* owned */
    size_t list_count;
    enum nadb_err err;
    struct nadb_error error;
};

void nadb_hinter__init(struct nadb_store *store);
void nadb_hinter__fini(struct nadb_store *store);
bool nadb_hinter__step(struct nadb_store *store, uint64_t budget_us);

/* ---- verify.c ---- */

enum nadb_verify_state {
    NADB_VERIFY_IDLE,
    NADB_VERIFY_SETTLE, /* waits for a flush */
    NADB_VERIFY_LIST,
    NADB_VERIFY_WAIT, /* for its next step */
    NADB_VERIFY_CHECK,
};

struct nadb_verify {
    struct nadb_job job;
    struct nadb_store *store;
    enum nadb_verify_state state;
    uint64_t interval_us, rate_bytes;
    uint64_t number;  /* of the last that was begun */
    uint64_t version; /* must be durable first */
    uint64_t started_us, ended_us;
    uint64_t budget_bytes; /* read so far: for the rate */
    bool must_stop, is_asked_for;
    struct nadb_verify_report report, last;
    /* the worker's in LIST and CHECK */
    struct nadb_segment_info *list; /* owned */
    size_t list_count, at;
    struct nadb_verify_result result;
    enum nadb_err err;
    struct nadb_error error;
};

void nadb_verify__init(struct nadb_store *store);
void nadb_verify__fini(struct nadb_store *store);
bool nadb_verify__step(struct nadb_store *store, uint64_t budget_us);

/* ---- cold.c ---- */

#define NADB_COLD_FAILURES 64u /* failed reads that are remembered until somebody was told */

/* A value that could not be read. */
struct nadb_cold_failure {
    uint64_t hash, version; /* version 0: none */
    uint64_t us;            /* when */
    struct nadb_error error;
};

struct nadb_cold {
    uint64_t count;                   /* records in indexes that are cold */
    struct nadb_fetch_job *gathering; /* not submitted yet; NULL: none */
    struct nadb_list running;
    uint64_t running_bytes;
    struct nadb_cold_failure failures[NADB_COLD_FAILURES]; /* ring */
    size_t failure_next;
    /* the hand that looks for values to drop */
    size_t hand_space;
    uint64_t hand_at;
    uint64_t hand_fruitless; /* records looked at since it last dropped one */
    uint64_t dropped, fetched, fetch_failures;
    bool is_loading_cold; /* at the start: values stay where they are */
};

void nadb_cold__init(struct nadb_store *store);
void nadb_cold__fini(struct nadb_store *store);

/* The turn ends: what was asked for is read. */
void nadb_cold__submit(struct nadb_store *store);

/* Looks at a stretch of records and drops the values that were not asked for lately; false when all
 * have been looked at since one was dropped. */
bool nadb_cold__drop_some(struct nadb_store *store);

/* There may be values to drop again. */
void nadb_cold__note_landed(struct nadb_store *store);

/* ---- evict.c ---- */

struct nadb_evict {
    enum nadb_eviction policy;
    unsigned samples;
    struct nadb_rng rng;
    /* What evicted keys will have given back once the flush that takes their tombstones has ended:
     * the one that is cut next, and the one under way. */
    uint64_t owed, owed_by_flight;
};

void nadb_evict__init(struct nadb_store *store);

/* Is more memory in use than allowed, what is owed not counted? */
bool nadb_evict__is_over(const struct nadb_store *store);

enum nadb_room {
    NADB_ROOM_YES,
    NADB_ROOM_SOON, /* values are being dropped, or written so that they can be */
    NADB_ROOM_NONE, /* and no key that the policy would give up */
};

/* Drops values and evicts keys if that is called for. */
enum nadb_room nadb_evict__make_room(struct nadb_store *store);

/* Evicts for about `budget_us`; true when there is more to do. */
bool nadb_evict__step(struct nadb_store *store, uint64_t budget_us);

/* ---- watch.c ---- */

struct nadb_watch_table {
    struct nadb_watch **buckets; /* NULL while nobody watches */
    size_t bucket_count;         /* a power of two, at least `count` but for the least */
    size_t count;
};

/* A key of the keyspace has changed. */
void nadb_watch__touch(
    struct nadb_store *store, const struct nadb_keyspace *keyspace, uint64_t hash);

/* Both keyspaces' contents are about to change as a whole (one of them may be NULL): watched keys
 * that exist in either are touched. */
void nadb_watch__touch_spaces(
    struct nadb_store *store, const struct nadb_keyspace *a, const struct nadb_keyspace *b);

/* Watched keys of the keyspace whose records are dying are touched. */
void nadb_watch__touch_dying(struct nadb_store *store, const struct nadb_keyspace *keyspace);

/* ---- the store on a shared backend; see attempt.h ---- */

struct nadb_shared;

void nadb_shared__init(struct nadb_store *store, unsigned runs);
void nadb_shared__fini(struct nadb_store *store);

/* A handler looks at the key: the slot of its record, NULL when it has none, or none is here. */
nadb_index_slot nadb_shared__look(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key);

/* A handler replaces the key's record, whatever it is: the slot of what it is known to be. */
nadb_index_slot nadb_shared__look_to_put(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key);

/* A key that was looked at, or to put, and has no record gets this one. */
void nadb_shared__insert(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec, uint64_t hash);

/* A handler has changed the record of a key that it looked at, or looked to put. */
void nadb_shared__note_change(
    struct nadb_store *store, const struct nadb_space *space, uint64_t hash);

/* What it put has times of its own. */
void nadb_shared__note_times(
    struct nadb_store *store, const struct nadb_space *space, uint64_t hash);

/* Is the value in memory, if there is one? If not it will be, when the handler runs again. */
bool nadb_shared__wants_value(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key);

/* The same of the times of its record; else they mean nothing, and the handler runs again. */
bool nadb_shared__wants_times(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key);

/* What the key's record is told apart by, for WATCH; 0 also while it is not known. */
uint64_t nadb_shared__stamp(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key);

/* A client's commands, and the turn, end. */
void nadb_shared__client_end(struct nadb_store *store);
void nadb_shared__submit(struct nadb_store *store);
bool nadb_shared__step(struct nadb_store *store, uint64_t budget_us);
bool nadb_shared__is_idle(const struct nadb_store *store);
bool nadb_shared__is_busy(const struct nadb_store *store); /* no more may be asked for */

/* The functions of store.h and tags.h, where the answer is the engine's. */
uint64_t nadb_shared__count(struct nadb_store *store, struct nadb_keyspace *keyspace);
uint64_t nadb_shared__clear(struct nadb_store *store, struct nadb_keyspace *keyspace);
uint64_t nadb_shared__scan(struct nadb_store *store, struct nadb_keyspace *keyspace,
    uint64_t cursor, void (*visit)(void *ctx, const struct nadb_rec *rec), void *ctx);
const struct nadb_rec *nadb_shared__random(
    struct nadb_store *store, struct nadb_keyspace *keyspace);
uint64_t nadb_shared__tag_count(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag);
uint64_t nadb_shared__tag_scan(struct nadb_store *store, struct nadb_keyspace *keyspace,
    uint64_t cursor, nadb_tag_visit_fn *visit, void *ctx);
uint64_t nadb_shared__query_count(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_selector *selector);
bool nadb_shared__query_visit(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_selector *selector, uint64_t *at, size_t max,
    void (*visit)(void *ctx, const struct nadb_rec *rec), void *ctx);
enum nadb_invalidate_outcome nadb_shared__invalidate(struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_invalidate_opts *opts, uint64_t *ret_count,
    struct nadb_error *reterr);
uint64_t nadb_shared__epoch(struct nadb_store *store);
bool nadb_shared__is_stale(struct nadb_store *store, struct nadb_keyspace *keyspace,
    struct nadb_slice key, uint64_t epoch, struct nadb_slice packed_tags);
uint64_t nadb_shared__tag_time(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag);

/* ---- the store ---- */

enum nadb_store_phase {
    NADB_STORE_NEW,
    NADB_STORE_OPENING,
    NADB_STORE_OPEN,
    NADB_STORE_CLOSING,
    NADB_STORE_CLOSED,
};

struct nadb_store {
    unsigned magic;
    enum nadb_store_phase phase;

    /* immutable after new */
    struct nadb_clock *clock;
    struct nadb_executor *executor;
    const struct nadb_store_events *events;
    void *events_ctx;
    const struct nadb_backend_ops *backend_ops;
    struct nadb_backend *backend;
    struct nadb_hash_key hash_key;
    bool is_volatile; /* nothing is written: the backend keeps nothing, or everything by itself */
    bool may_wait, is_giving_up; /* of an open that fails; see store.h */
    struct nadb_shared *shared;  /* owned; NULL unless the backend is a shared one */
    uint64_t databases, namespaces_max;

    /* the turn */
    uint64_t now_ms, now_us;
    uint64_t turn_version; /* at its begin */

    /* the command under way */
    bool cmd_is_open, cmd_wrote;
    uint64_t cmd_hold; /* highest version whose effects it has seen or asked for */

    /* numbers: see store.h */
    uint64_t version;
    uint64_t durable;
    uint64_t written;        /* highest version handed to the backend, in buffered not durable */
    uint64_t frozen_version; /* of the flight; 0 = no flight */
    /* durability always: highest version with an effect that is not durable (0 = none), and of
     * those that changed a whole keyspace */
    uint64_t unsure, unsure_all;
    uint64_t touched[NADB_TOUCHED_COUNT]; /* by hash: highest version that changed such a key */

    /* settings */
    enum nadb_durability durability;      /* in force */
    enum nadb_durability durability_next; /* from the next cut on */
    uint64_t buffer_size_bytes, flush_interval_us;
    struct nadb_compression compression;
    struct nadb_compaction_rules compaction;
    uint64_t maxmemory_bytes;
    struct nadb_evict evict;
    struct nadb_cold cold;

    /* writing */
    struct nadb_wbuf buf;
    struct nadb_flight flight;
    struct nadb_undo_log undo;
    struct nadb_pace pace;
    bool is_flush_wanted;
    bool is_sync_wanted;
    bool needs_mark;  /* something expired that the backend still has */
    uint64_t mark_us; /* since when */
    uint64_t mark_ms; /* the latest wall clock by which it had */
    bool has_waiters; /* somebody was told NADB_ADMIT_WAIT */
    uint64_t batch_seq;
    enum nadb_storage_state state;
    struct nadb_error state_error;
    bool is_discarding; /* closing without the buffer */
    struct nadb_job close_job;
    enum nadb_err close_err;
    struct nadb_error close_error;

    /* contents */
    struct nadb_keyspace **keyspaces;
    size_t keyspace_count, keyspace_cap;
    struct nadb_space **spaces; /* by id */
    size_t spaces_cap;
    struct nadb_wheel *wheel;
    struct nadb_garbage *garbage;
    struct nadb_watch_table watches;
    struct nadb_replay *replay;
    size_t dying_count;      /* spaces with dying records */
    uint64_t invalidate_few; /* so many candidates are looked at and deleted in one go */

    /* the backend's segments, by number */
    struct nadb_segment_use *use;
    size_t use_cap;
    uint32_t use_active; /* that was written to last */
    struct nadb_compact *compact;
    struct nadb_backup backup;
    struct nadb_verify *verify; /* owned */
    struct nadb_hinter hinter;

    /* epochs */
    uint64_t epoch;                   /* the newest */
    struct nadb_epoch horizon_opened; /* what was before the start is not known */
    uint64_t epochs_max;
    struct nadb_tag_stats tag_stats; /* those that are counted */

    /* statistics */
    struct nadb_store_stats stats; /* those that are counted, the rest is filled in on demand */
};

/* The segment's; valid until the next call for another. */
static inline struct nadb_segment_use *nadb_usage__of(struct nadb_store *store, uint32_t number)
{
    if (NADB_UNLIKELY(number >= store->use_cap)) {
        nadb_usage__grow(store, number);
    }
    return &store->use[number];
}

static inline bool nadb_store__is_frozen(const struct nadb_store *store, const struct nadb_rec *rec)
{
    return (rec->flags & NADB_REC_IS_DIRTY) && rec->version <= store->frozen_version;
}

/* May the record be changed where it is? */
static inline bool nadb_store__is_editable(
    const struct nadb_store *store, const struct nadb_rec *rec)
{
    return store->durability != NADB_DURABILITY_ALWAYS && !nadb_store__is_frozen(store, rec);
}

/* What the command sees of keys with this hash, that there is none included, may not be durable. */
static inline void nadb_store__note_seen(struct nadb_store *store, uint64_t hash)
{
    uint64_t version = store->touched[hash % NADB_TOUCHED_COUNT];
    version = store->unsure_all > version ? store->unsure_all : version;
    if (version > store->cmd_hold) {
        store->cmd_hold = version;
    }
}

/* The same for a command that sees many keys at once. */
static inline void nadb_store__note_seen_all(struct nadb_store *store)
{
    if (store->unsure > store->cmd_hold) {
        store->cmd_hold = store->unsure;
    }
}

/* ---- store.c ---- */

/* Has everything that works on the backend come to its end? Some are told to. */
bool nadb_store__may_close(struct nadb_store *store);

static inline uint64_t nadb_store__elapsed_us(const struct nadb_store *store, uint64_t since_us)
{
    uint64_t now_us = nadb_clock_mono_us(store->clock);
    return now_us > since_us ? now_us - since_us : 0;
}

/* For tests: are the invariants kept? O(everything). */
bool nadb_store__check(struct nadb_store *store, const char **ret_reason);

#endif
