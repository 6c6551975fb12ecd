/* The store: keyspaces of records, the write buffer before a backend, expiry, WATCH.
 *
 * Everything here runs on the loop thread and never blocks. Blocking work leaves as jobs through
 * the executor; what has happened comes back through the events. Time is read from the clock by
 * nadb_store_turn_begin only, so within one turn of the loop the store has one time.
 *
 * The turn of a server:
 *
 *     nadb_store_turn_begin(store)
 *     for each command:  nadb_store_admit for writes
 *                        nadb_store_command_begin ... handler ... hold = nadb_store_command_end
 *     nadb_store_client_end(store)       behind the commands of each client
 *     nadb_store_turn_end(store)         starts a flush when one is due
 *     nadb_store_step(store, budget)     background work, while it says there is more
 *
 * Holds: a reply must not leave before the store is durable up to the number that
 * nadb_store_command_end returned (0: leave at once). nadb_store_durable tells how far that is;
 * the `durable` event says that it moved. When a flush fails in `durability always`, the store
 * undoes everything above nadb_store_durable, then `undone` says so: every held reply above it
 * becomes an error.
 *
 * Bounds: keys NADB_KEY_LEN_MAX, values NADB_VALUE_LEN_MAX; callers check both first. */
#ifndef NADB_STORE_STORE_H
#define NADB_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/job.h"
#include "src/base/slice.h"
#include "src/store/record.h"

struct nadb_store;
struct nadb_keyspace; /* a database's namespace; stays valid while referenced */

/* Which keys go when more than maxmemory is in use; the words and the order of Redis. Records keep
 * when they were read, not how often: LFU takes those not read for longest, as LRU does. */
enum nadb_eviction {
    NADB_EVICT_NOTHING,
    NADB_EVICT_ALL_LRU,
    NADB_EVICT_ALL_LFU,
    NADB_EVICT_ALL_RANDOM,
    NADB_EVICT_VOLATILE_LRU, /* volatile: only keys with a TTL */
    NADB_EVICT_VOLATILE_LFU,
    NADB_EVICT_VOLATILE_RANDOM,
    NADB_EVICT_VOLATILE_TTL, /* the first to expire */
};

enum nadb_durability {
    NADB_DURABILITY_ALWAYS,
    NADB_DURABILITY_INTERVAL,
    NADB_DURABILITY_BUFFERED,
};

/* All on the loop thread; all but `wake` never from inside a call on the store but step, turn_end,
 * close and jobs' ends. None may be NULL but heard. */
struct nadb_store_events {
    /* open ended; with an error the store can only be freed. */
    void (*opened)(void *ctx, enum nadb_err err, const struct nadb_error *error);
    /* close ended. When the last flush failed (err), the store is as before the call: open, with
     * everything still in memory, and close may be called again (nadb_store_is_open). When the
     * backend's own end failed it can only be freed. */
    void (*closed)(void *ctx, enum nadb_err err, const struct nadb_error *error);
    /* nadb_store_durable grew. */
    void (*durable)(void *ctx);
    /* A flush failed. Replies held above nadb_store_durable become `error`. */
    void (*undone)(void *ctx, const struct nadb_error *error);
    /* Writes that were told to wait may try again. */
    void (*admit)(void *ctx);
    /* There is background work: call nadb_store_step in this or the next turn. */
    void (*wake)(void *ctx);
    /* A flush or the replay has something to tell the operator. */
    void (*notice)(void *ctx, bool is_warning, const char *line);
    /* Another nadbd in front of the same engine has published this. NULL where the backend is no
     * shared one. */
    void (*heard)(void *ctx, struct nadb_slice channel, struct nadb_slice text);
};

struct nadb_store_opts {
    struct nadb_clock *clock;
    struct nadb_executor *executor;
    const struct nadb_store_events *events;
    void *events_ctx;
    const struct nadb_backend_ops *backend_ops;
    struct nadb_backend *backend; /* taken: freed with the store */
    enum nadb_durability durability;
    uint64_t buffer_size_bytes; /* a flush starts when this much has changed */
    uint64_t flush_interval_ms;
    uint64_t databases;      /* 1 .. 65535 */
    uint64_t namespaces_max; /* per store, the databases' own not counted */
    uint64_t hash_seed[2];   /* both 0: random */
    unsigned shared_runs;    /* shared backends: batches under way at the same time */
    bool may_wait;           /* the same: an engine that cannot be reached is waited for */
};

struct nadb_key {
    struct nadb_slice name;
    uint64_t hash;
};

/* ---- life cycle ---- */

struct nadb_store *nadb_store_new(const struct nadb_store_opts *opts);

/* Replays the backend; ends with the `opened` event. Commands are not allowed before it. */
void nadb_store_open(struct nadb_store *store);

/* An open that waits for its engine ends with what it met last. */
void nadb_store_give_up(struct nadb_store *store);

/* Commands are allowed: opened, and not closing or closed. */
bool nadb_store_is_open(const struct nadb_store *store);

/* 0..100 while opening. */
unsigned nadb_store_open_percent(const struct nadb_store *store);

/* Flushes, closes the backend; ends with `closed`. No commands from here on. A second call while
 * one is under way is ignored. With `discard_buffer` what is not durable yet is dropped. */
void nadb_store_close(struct nadb_store *store, bool discard_buffer);

/* Also after a failed open or close, or without close (then as if the process had died); no job
 * of the store's may be under way. */
void nadb_store_free(struct nadb_store *store);

/* ---- the turn ---- */

void nadb_store_turn_begin(struct nadb_store *store); /* reads the clock */

/* What one client asks a shared backend for stays together; enough of it goes out at once. */
void nadb_store_client_end(struct nadb_store *store);
void nadb_store_turn_end(struct nadb_store *store);
uint64_t nadb_store_now_ms(const struct nadb_store *store); /* wall clock of this turn */

/* Works off background tasks (expiry, freeing, the ends of flushes) for about `budget_us`;
 * true when there is more to do. */
bool nadb_store_step(struct nadb_store *store, uint64_t budget_us);

/* When there should be a turn although nothing woke it: the next deadline of a flush or of an
 * expiring key, in ms from now; at most `max_ms`. 0: at once, a batch gathers or lands. */
uint64_t nadb_store_next_due_ms(struct nadb_store *store, uint64_t max_ms);

/* ---- around a command ---- */

enum nadb_admission {
    NADB_ADMIT,
    NADB_ADMIT_WAIT,   /* the buffer is full: park the client until the `admit` event */
    NADB_ADMIT_REFUSE, /* *reterr is the error to answer */
};

/* May a command that writes run now? Deletes pass `is_growing` false. */
enum nadb_admission nadb_store_admit(
    struct nadb_store *store, bool is_growing, struct nadb_error *reterr);

/* True when so many changes wait for the next batch that no more may join it: what nadb_store_admit
 * sees to between commands, a transaction has to see to within. */
bool nadb_store_is_batch_full(const struct nadb_store *store, bool is_growing);

void nadb_store_command_begin(struct nadb_store *store);
uint64_t nadb_store_command_end(struct nadb_store *store); /* the number to hold the reply for */
uint64_t nadb_store_durable(const struct nadb_store *store);

/* Within a command: what nadb_store_command_end would return now. */
uint64_t nadb_store_command_hold(const struct nadb_store *store);

/* ---- keyspaces ---- */

/* The namespace `name` ("" = the database itself) of database `db`. NULL when it does not exist
 * and !create, or when there are namespaces_max already. Borrowed: ref it to keep it. */
struct nadb_keyspace *nadb_store_keyspace(
    struct nadb_store *store, uint64_t db, struct nadb_slice name, bool create);
void nadb_keyspace_ref(struct nadb_keyspace *keyspace);
void nadb_keyspace_unref(struct nadb_store *store, struct nadb_keyspace *keyspace);

uint64_t nadb_keyspace_db(const struct nadb_keyspace *keyspace);
struct nadb_slice nadb_keyspace_name(const struct nadb_keyspace *keyspace);
uint64_t nadb_keyspace_count(const struct nadb_keyspace *keyspace);   /* due keys included */
uint64_t nadb_keyspace_expires(const struct nadb_keyspace *keyspace); /* keys with a TTL */
uint64_t nadb_keyspace_ttl_avg_ms(
    const struct nadb_store *store, const struct nadb_keyspace *keyspace);

/* The count for a command whose reply shows it. */
uint64_t nadb_store_count(struct nadb_store *store, struct nadb_keyspace *keyspace);

/* Keyspaces one after the other, NULL at the end: start with NULL. Namespaces without keys and
 * without clients are not listed. */
struct nadb_keyspace *nadb_store_keyspace_next(
    const struct nadb_store *store, const struct nadb_keyspace *previous);

/* Removes every key at once; memory is freed in the background. Returns how many there were. */
uint64_t nadb_store_clear(struct nadb_store *store, struct nadb_keyspace *keyspace);
uint64_t nadb_store_drop(struct nadb_store *store, struct nadb_keyspace *keyspace);
void nadb_store_swap(struct nadb_store *store, uint64_t db_a, uint64_t db_b);

/* ---- records: reading ---- */

/* Hashes the key. */
struct nadb_key nadb_store_key(const struct nadb_store *store, struct nadb_slice name);

/* Two stages of warming the caches for a key that will be looked up soon. */
void nadb_store_prefetch_slot(const struct nadb_keyspace *keyspace, uint64_t hash);
void nadb_store_prefetch_record(const struct nadb_keyspace *keyspace, uint64_t hash);

/* The key's live record or NULL; a due one is removed. `read` counts a hit or a miss and marks the
 * access; `peek` does neither. Borrowed until the next change of the store. */
const struct nadb_rec *nadb_store_read(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key);
const struct nadb_rec *nadb_store_peek(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key);

/* What was read or peeked at must tell when it was created: a shared backend says so only when it
 * is asked, so the command may have to run again. */
void nadb_store_want_times(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key);

enum nadb_fetch {
    NADB_FETCH_READY,   /* the value is in memory, or there is no such key */
    NADB_FETCH_PENDING, /* it is being read: try again after the `admit` event */
    NADB_FETCH_FAILED,  /* it cannot be read */
};

/* Are there records whose values are not in memory? Reading one needs nadb_store_fetch first, in
 * the same turn. */
bool nadb_store_has_cold(const struct nadb_store *store);

/* Sees to it that the key's value gets into memory. What is asked for in one turn is read together,
 * each value once, whoever asks. */
enum nadb_fetch nadb_store_fetch(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, struct nadb_error *reterr);

/* The same, at once: reads on the calling thread. For a transaction that has reached a key which
 * nobody could know of before it began. */
NADB_MUST_CHECK enum nadb_err nadb_store_fetch_now(struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_key *key, struct nadb_error *reterr);

/* Removes keys that are due, for about `budget_us`; true when there are more. Counts and listings
 * are exact only after it returned false in the same turn. */
bool nadb_store_retire(struct nadb_store *store, uint64_t budget_us);

/* Visits all live records of the next stretch of the keyspace (tens of records); returns the
 * cursor that continues, 0 at the end. A record that exists from the first call (cursor 0) to the
 * last is visited at least once; none that never existed in that time is. `visit` must not change
 * the store. */
typedef void nadb_store_visit_fn(void *ctx, const struct nadb_rec *rec);
uint64_t nadb_store_scan(struct nadb_store *store, struct nadb_keyspace *keyspace, uint64_t cursor,
    nadb_store_visit_fn *visit, void *ctx);

/* A live record at random, NULL when there is none. */
const struct nadb_rec *nadb_store_random(struct nadb_store *store, struct nadb_keyspace *keyspace);

/* ---- records: changing (inside a command only) ---- */

struct nadb_put {
    struct nadb_slice value;
    uint64_t expire_ms; /* absolute; 0: none. Ignored with keep_ttl */
    bool keep_ttl;
    bool keep_tags;
    struct nadb_slice tags; /* packed, without duplicates; ignored with keep_tags */
};

/* The whole record of the key is now this. NADB_ENOMEM: nothing changed. */
NADB_MUST_CHECK enum nadb_err nadb_store_put(struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_key *key, const struct nadb_put *put);

/* What a record says of itself, Unix ms. */
#define NADB_TIME_MS_LIMIT ((uint64_t)1 << 42)
struct nadb_times {
    uint64_t created_ms, updated_ms, accessed_ms; /* each below the limit */
};

/* The key was just put, by the same command: these are its record's times. Nothing when it went at
 * once, being due. */
void nadb_store_set_times(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, const struct nadb_times *times);

/* False when there was no such live key. */
bool nadb_store_delete(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key);

/* Makes the value `len` bytes long: kept bytes as they were, new ones zero; TTL and tags kept; a
 * missing key is created. Gives the bytes to write to before the next call on the store, or NULL
 * when memory is exhausted (nothing changed). */
char *nadb_store_edit(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, size_t len);

/* Sets (absolute ms) or removes (0) the deadline; false when there is no such key. A deadline that
 * has passed deletes the key (true). */
bool nadb_store_expire(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, uint64_t expire_ms);

/* The record of `from` with value, TTL and tags becomes that of `to`, which is replaced; with
 * `is_move` `from` is gone. `from` exists and is not `to`. */
NADB_MUST_CHECK enum nadb_err nadb_store_copy(struct nadb_store *store,
    struct nadb_keyspace *from_keyspace, const struct nadb_key *from,
    struct nadb_keyspace *to_keyspace, const struct nadb_key *to, bool is_move);

/* ---- WATCH ---- */

/* Embedded in its owner, zero-initialised. */
struct nadb_watcher {
    bool is_dirty; /* some watched key was touched since it was watched */
    struct nadb_watch *watches;
    size_t bytes; /* that they take */
};

/* Watching a key twice is once. */
void nadb_store_watch(struct nadb_store *store, struct nadb_watcher *watcher,
    struct nadb_keyspace *keyspace, const struct nadb_key *key);

/* Forgets all its keys and the dirtiness. */
void nadb_store_unwatch(struct nadb_store *store, struct nadb_watcher *watcher);

/* True also when a watched key has expired since. */
bool nadb_store_watch_is_dirty(struct nadb_store *store, struct nadb_watcher *watcher);

/* ---- durability ---- */

/* FLUSH and SAVE: starts writing what is buffered and makes the current command's reply be held
 * until that is durable, whatever the durability mode. */
void nadb_store_flush(struct nadb_store *store);

/* The same without waiting. */
void nadb_store_flush_start(struct nadb_store *store);

void nadb_store_set_durability(struct nadb_store *store, enum nadb_durability durability);
void nadb_store_set_buffer(struct nadb_store *store, uint64_t size_bytes, uint64_t interval_ms);
void nadb_store_set_maxmemory(struct nadb_store *store, uint64_t bytes); /* 0: no limit */

/* What a pass of compaction found and did. */
struct nadb_compact_report {
    uint64_t pass;
    bool is_failed;
    struct nadb_error error; /* when it failed */
    uint64_t segments_before, segments_after;
    uint64_t records_before, records_after;
    uint64_t bytes_before, bytes_after;
    uint64_t dropped_deleted, dropped_expired, dropped_overwritten; /* PUTs */
    uint64_t compressed_values;
    uint64_t duration_us;
};

/* Asks for a pass over everything that has been written, or over what belongs to one keyspace.
 * Returns its number; when it has ended the `admit` event comes, and then the report is there:
 * that of this pass, or of a later one. */
uint64_t nadb_store_compact(struct nadb_store *store, const struct nadb_keyspace *only);
bool nadb_store_compact_report(
    const struct nadb_store *store, uint64_t pass, struct nadb_compact_report *ret);
bool nadb_store_is_compacting(const struct nadb_store *store);

/* What became of a backup. */
struct nadb_backup_report {
    uint64_t number;
    bool is_failed;
    struct nadb_error error; /* when it failed */
    struct nadb_backup_result result;
    uint64_t duration_us;
};

/* What became of looking at all segments. */
#define NADB_VERIFY_TEXTS 16u /* damages that are described */
struct nadb_verify_report {
    uint64_t number;
    bool is_failed; /* nothing could be looked at: error */
    bool was_stopped;
    struct nadb_error error;
    uint64_t segments, bytes, records;
    uint64_t damaged; /* segments */
    char texts[NADB_VERIFY_TEXTS][NADB_ERROR_TEXT_MAX];
    uint64_t duration_us;
    uint64_t ended_ms; /* Unix time */
};

/* Begins to read everything on the disk and to hold it against its checksums, or joins in what has
 * been begun. Returns the number to ask for; 0: nothing is kept there. */
uint64_t nadb_store_verify(struct nadb_store *store);

/* As for a backup. */
bool nadb_store_verify_report(
    const struct nadb_store *store, uint64_t number, struct nadb_verify_report *ret);

/* How far it is; false: nothing is under way. */
bool nadb_store_verify_progress(
    const struct nadb_store *store, uint64_t *ret_done, uint64_t *ret_segments);

void nadb_store_verify_stop(struct nadb_store *store);

/* The same every `interval_ms`, as slow as `rate` bytes a second; 0: never, no limit. */
void nadb_store_set_verification(
    struct nadb_store *store, uint64_t interval_ms, uint64_t rate_bytes);

/* Once this much is on disk, what makes a start without values fast is written beside it. */
void nadb_store_set_hints(struct nadb_store *store, uint64_t bytes_min);

/* A log of more than maxmemory over this is loaded without its values. */
#define NADB_STORE_LOAD_SHARE 2u

/* Begins a backup of everything so far to a new or empty directory; `base` (data NULL: none) is an
 * earlier one. Returns its number; 0: another is under way, or the backend keeps nothing. When it
 * has ended the `admit` event comes and the report is there. */
uint64_t nadb_store_backup(
    struct nadb_store *store, struct nadb_slice path, struct nadb_slice base);
bool nadb_store_backup_report(
    const struct nadb_store *store, uint64_t number, struct nadb_backup_report *ret);

struct nadb_compaction_rules {
    uint64_t dead_percent;  /* segments of which this much is dead are compacted; 0: none are */
    uint64_t stall_percent; /* below 100: when this much of all is dead writers wait; 0: never */
    uint64_t rate_bytes;    /* that are read in a second, 0: no limit */
    uint64_t segment_bytes; /* the size of a full segment */
};
void nadb_store_set_compaction(struct nadb_store *store, const struct nadb_compaction_rules *rules);

/* Values that are written from now on. */
void nadb_store_set_compression(
    struct nadb_store *store, const struct nadb_compression *compression);

/* Each key that goes is the best of `samples`; 1 .. NADB_EVICT_SAMPLES_MAX. */
#define NADB_EVICT_SAMPLES_MAX 64u
void nadb_store_set_eviction(struct nadb_store *store, enum nadb_eviction policy, unsigned samples);

/* ---- statistics ---- */

enum nadb_storage_state {
    NADB_STORAGE_OK,
    NADB_STORAGE_DEGRADED, /* the last write failed; tried again at each flush */
    NADB_STORAGE_FAILED,   /* the last sync failed: writes are refused until one succeeds */
};

struct nadb_store_stats {
    uint64_t hits, misses;
    uint64_t expired;
    uint64_t evicted;
    uint64_t changes_unsaved; /* mutations since the last flush ended */
    uint64_t buffer_entries;
    uint64_t buffer_bytes; /* to be written by the next flush, in flight included */
    uint64_t buffer_size_bytes;
    uint64_t flushes, flush_failures;
    uint64_t flush_last_ms; /* Unix time of the last successful end; open time at first */
    uint64_t flush_last_duration_us, flush_last_entries, flush_last_bytes;
    bool is_flushing;
    uint64_t flush_started_ms; /* Unix time, while is_flushing */
    enum nadb_err flush_last_err;
    enum nadb_storage_state state;
    uint64_t version; /* the newest mutation's number */
    uint64_t keys;    /* of all keyspaces */
    uint64_t index_bytes;
    uint64_t replayed_entries, replay_duration_us;
    struct nadb_backend_stats backend;
    uint64_t cold_keys; /* whose values are on disk only */
    uint64_t dropped_values, fetched_values, fetch_failures;
    uint64_t compactions, compaction_failures; /* runs of segments */
    uint64_t compaction_stalls;                /* times that writers were told to wait for one */
    uint64_t skipped_segments;                 /* that compaction did not have to read */
    uint64_t hints;                            /* written */
};

void nadb_store_stats(const struct nadb_store *store, struct nadb_store_stats *ret);
void nadb_store_stats_reset(struct nadb_store *store); /* hits, misses, expired, evicted */
enum nadb_durability nadb_store_durability(const struct nadb_store *store);
const char *nadb_storage_state_name(enum nadb_storage_state state);

#endif
