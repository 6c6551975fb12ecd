/* What one run has to itself: a connection to each server, and the commands under way.
 *
 * A call is one command and its reply. Calls are written to all servers first and then read, all
 * before one deadline; what was redirected, or certainly not executed, is sent again, as long as
 * that does not change the order in which calls of the same slot take effect (of a single server:
 * all calls), where it is not free.
 *
 *     BEGUN -> [sent] -> DONE (a reply, of any kind, or an error)
 *       ^         |
 *       +---------+  MOVED, ASK, TRYAGAIN, CLUSTERDOWN, NOSCRIPT, READONLY; lost, but only read
 *
 * Thread: whoever has the lane. */
#ifndef NADB_BACKENDS_REDIS_LANE_H
#define NADB_BACKENDS_REDIS_LANE_H

#include "backends/redis/link.h"
#include "backends/redis/out.h"
#include "backends/redis/scripts.h"
#include "backends/redis/topology.h"
#include "backends/shared.h"
#include "src/base/compress.h"

struct nadb_redis_call {
    /* the question */
    size_t from, len; /* of the lane's `out` */
    uint32_t slot;
    bool is_write;      /* must not be executed twice */
    bool can_be_parted; /* its keys may be asked for one by one, where they cannot together */
    bool is_apart;      /* no other call has to do with its keys: where it comes is free */
    /* the outcome */
    redisReply *reply; /* owned; NULL: err says why */
    enum nadb_err err;
    struct nadb_error error;
    /* under way */
    bool is_done, is_asking, was_lost, was_readonly;
    bool may_be_executed;
    uint16_t server;
    unsigned redirects;
};

/* What a link has to send and to receive in this exchange. */
struct nadb_redis_queue_item {
    uint32_t call;
    bool is_asking; /* the ASKING in front of it */
};

struct nadb_redis_peer {
    struct nadb_redis_link link;
    struct nadb_redis_queue_item *items; /* owned */
    size_t count, cap;
    size_t sent;     /* items of which all went out */
    size_t sent_len; /* bytes of the next that did */
    size_t answered;
};

struct nadb_redis_lane {
    struct nadb_redis_topology *topology; /* shared */
    uint64_t deadline_us;                 /* of this run */
    struct nadb_redis_peer **peers;       /* as the topology's servers; owned, NULL: not used yet */
    size_t peer_count;
    struct nadb_redis_out out;
    struct nadb_redis_call *calls; /* owned */
    size_t call_count, call_cap;
    struct nadb_redis_call *call; /* being written */
    struct nadb_compressor compressor;
    struct nadb_buf scratch;
    uint64_t refreshed_us;
    struct nadb_shared_stats stats; /* of this run: what it adds */
    struct nadb_redis_lane *next;   /* in the list of those that are free */
};

void nadb_redis_lane_init(struct nadb_redis_lane *lane, struct nadb_redis_topology *topology);
void nadb_redis_lane_fini(struct nadb_redis_lane *lane);

/* Begins with no calls; frees replies that nobody took. */
void nadb_redis_lane_reset(struct nadb_redis_lane *lane);

/* A command of `count` arguments for a slot begins; its arguments go to lane->out. */
void nadb_redis_lane_begin(
    struct nadb_redis_lane *lane, uint32_t slot, bool is_write, size_t count);

/* The same of a script: EVALSHA and all up to its `count` arguments. `base`: of the partition. */
void nadb_redis_lane_begin_script(struct nadb_redis_lane *lane, enum nadb_redis_script_id script,
    struct nadb_slice base, bool is_write, size_t count);

/* It is whole; returns its number. */
size_t nadb_redis_lane_end(struct nadb_redis_lane *lane);

/* Sends all calls and waits for their outcome. */
void nadb_redis_lane_exchange(struct nadb_redis_lane *lane);

/* Of a call: the reply, or NULL and the error, also when the engine's reply is one. */
redisReply *nadb_redis_lane_reply(
    struct nadb_redis_lane *lane, size_t call, enum nadb_err *ret_err, struct nadb_error *reterr);

/* Asks the servers who has what; at least one must answer. Nothing to do without a cluster. */
enum nadb_err nadb_redis_lane_refresh(struct nadb_redis_lane *lane, struct nadb_error *reterr);

/* The link to a server, opened. */
NADB_MUST_CHECK enum nadb_err nadb_redis_lane_link(struct nadb_redis_lane *lane, uint16_t server,
    struct nadb_redis_peer **ret, struct nadb_error *reterr);

#endif
