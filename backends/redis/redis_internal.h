/* What the files of this backend share: the instance, and what an operation is given.
 *
 * Thread: a lane belongs to one run at a time; the rest of the instance is immutable after open,
 * has a lock or is atomic. */
#ifndef NADB_BACKENDS_REDIS_REDIS_INTERNAL_H
#define NADB_BACKENDS_REDIS_REDIS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "backends/redis/hints.h"
#include "backends/redis/lane.h"
#include "backends/redis/names.h"

#define NADB_REDIS_BASE_MAX 320 /* "<prefix>{<partition>}" */

/* Where housekeeping is. */
struct nadb_redis_sweep {
    uint32_t partition;
    char space[NADB_REDIS_SPACE_MAX];
    size_t space_len;
    char cursor[24];
    size_t cursor_len; /* 0: the space is done with */
};

struct nadb_redis_ear {
    uint64_t id; /* of this nadbd, among those that speak */
    int wake_fd;
    bool is_open, is_subscribed, must_return, has_bytes, is_asked;
    uint64_t heard_us; /* the last bytes */
    size_t next_server;
    struct nadb_redis_link link;
};

struct nadb_redis {
    struct nadb_backend backend; /* first */
    unsigned magic;

    /* immutable after open */
    char *prefix; /* owned */
    size_t prefix_len;
    struct nadb_redis_url *urls;
    size_t url_count;
    struct nadb_error url_error; /* of the configuration; code NADB_OK: none */
    bool is_cluster, may_wait;
    uint32_t partitions;
    struct nadb_redis_base *bases; /* owned: of each partition */
    char *base_texts;              /* owned: what they point into */
    uint64_t timeout_ms;
    unsigned lane_count;
    char engine[64];
    struct nadb_redis_topology topology;
    struct nadb_redis_lane *lanes; /* owned: `lane_count` */

    /* under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t lane_freed;
    struct nadb_redis_lane *free_lanes;
    struct nadb_shared_stats stats;

    atomic_uint_fast64_t next_stamp; /* writer << STAMP_BITS | counter */
    struct nadb_redis_hints hints;   /* has its own rules */
    uint64_t notice_us;              /* when open last said that it waits; open only */
    struct nadb_redis_sweep sweep;   /* of tend, which is never called twice at once */
    struct nadb_redis_ear ear;       /* of listen, likewise; its wake_fd anybody's */
};

/* ---- what an operation is given ---- */

/* Memory and replies of the engine that operations share; goes with the last of them. */
struct nadb_redis_hold;

struct nadb_redis_hold *nadb_redis_hold_new(void); /* with one reference */
void nadb_redis_hold_unref(struct nadb_redis_hold *hold);

/* The operation's outcome is in `hold` from now on. */
void nadb_redis_hold_share(struct nadb_redis_hold *hold, struct nadb_op *op);

/* NULL: no memory. */
NADB_MUST_CHECK void *nadb_redis_hold_alloc(struct nadb_redis_hold *hold, size_t size);

/* Takes a reply. */
void nadb_redis_hold_reply(struct nadb_redis_hold *hold, redisReply *reply);

/* ---- messages between nadbd: listen.c ---- */

void nadb_redis_ear_init(struct nadb_redis_ear *ear);
void nadb_redis_ear_fini(struct nadb_redis_ear *ear);
void nadb_redis_listen(struct nadb_redis *redis, uint64_t wait_ms, struct nadb_buf *heard);
void nadb_redis_hush(struct nadb_redis *redis);

/* The three arguments of the command that tells the others. */
void nadb_redis_write_message(struct nadb_redis *redis, struct nadb_redis_out *out,
    struct nadb_slice channel, struct nadb_slice text);

/* ---- names ---- */

/* Of a partition: what its names begin with, "<prefix>{<partition>}", and their slot. */
struct nadb_redis_base {
    struct nadb_slice name; /* the instance's */
    uint32_t slot;
};

static inline struct nadb_redis_base nadb_redis_base(
    const struct nadb_redis *redis, uint32_t partition)
{
    return redis->bases[partition];
}

/* ---- operations ---- */

/* FETCH, COMMIT and TAG_EPOCHS: many in one go. */
void nadb_redis_run_batch(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count);

/* Any other, one. */
void nadb_redis_run_publish(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    struct nadb_op *const *ops, size_t count);
void nadb_redis_run_query(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *op);

/* A record as the engine gave it. */
struct nadb_redis_bytes {
    struct nadb_slice bytes;
    bool is_plain;
    uint64_t created_ms; /* of a plain one, which does not say; 0: not known */
};

/* Turns them into what is handed out. With `is_whole` the value is among them, and is expanded into
 * `hold`. */
NADB_MUST_CHECK enum nadb_err nadb_redis_found(struct nadb_redis_hold *hold,
    const struct nadb_redis_bytes *bytes, struct nadb_place place, struct nadb_slice key,
    bool is_whole, struct nadb_found *ret, struct nadb_error *reterr);

/* When it was used last: `idle` as OBJECT IDLETIME gives it, or no such thing. */
uint32_t nadb_redis_accessed(const redisReply *idle, const struct nadb_entry *entry);

void nadb_redis_fail_op(struct nadb_op *op, enum nadb_err err, const struct nadb_error *error);

/* The reply is not what the script gives. */
enum nadb_err nadb_redis_bad_reply(struct nadb_error *reterr);

/* Takes due members out of the indexes; returns how many went. */
uint64_t nadb_redis_sweep_slice(struct nadb_redis *redis, struct nadb_redis_lane *lane);

#endif
