/* This file takes members whose time is over out of the indexes, a little at a time: the engine
 * ends records by itself, but knows nothing of the sets that name them. Nothing depends on it but
 * memory: a member that is due is never counted. */
#include "backends/redis/redis_internal.h"

#define STEPS_MAX   64u
#define SLICE_US    UINT64_C(5000)
#define MEMBERS_MAX 200u
#define REPLY_PARTS 3u

static void ask(struct nadb_redis *redis, struct nadb_redis_lane *lane)
{
    struct nadb_redis_sweep *sweep = &redis->sweep;
    struct nadb_redis_base base = nadb_redis_base(redis, sweep->partition);
    nadb_redis_lane_reset(lane);
    nadb_redis_lane_begin_script(lane, NADB_REDIS_SWEEP, base.name, true, 4);
    nadb_redis_out_arg(&lane->out, base.name);
    nadb_redis_out_arg(&lane->out, nadb_slice_of(sweep->space, sweep->space_len));
    nadb_redis_out_arg(&lane->out, nadb_slice_of(sweep->cursor, sweep->cursor_len));
    nadb_redis_out_number(&lane->out, MEMBERS_MAX);
    (void)nadb_redis_lane_end(lane); /* the only one */
    nadb_redis_lane_exchange(lane);
}

static bool take_text(const redisReply *reply, char *out, size_t cap, size_t *ret_len)
{
    if (reply->type != REDIS_REPLY_STRING || (size_t)reply->len > cap) {
        return false;
    }
    memcpy(out, reply->str, (size_t)reply->len);
    *ret_len = (size_t)reply->len;
    return true;
}

static void next_partition(struct nadb_redis *redis)
{
    redis->sweep =
        (struct nadb_redis_sweep){.partition = (redis->sweep.partition + 1) % redis->partitions};
}

/* One step; false: the partition is done with, or cannot be reached. */
static bool step(struct nadb_redis *redis, struct nadb_redis_lane *lane, uint64_t *removed)
{
    struct nadb_redis_sweep *sweep = &redis->sweep;
    enum nadb_err err = NADB_OK;
    struct nadb_error error;
    ask(redis, lane);
    const redisReply *reply = nadb_redis_lane_reply(lane, 0, &err, &error);
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != REPLY_PARTS ||
        reply->element[0]->type != REDIS_REPLY_INTEGER ||
        !take_text(reply->element[1], sweep->space, sizeof(sweep->space), &sweep->space_len) ||
        !take_text(reply->element[2], sweep->cursor, sizeof(sweep->cursor), &sweep->cursor_len)) {
        return false;
    }
    *removed += (uint64_t)reply->element[0]->integer;
    return sweep->space_len > 0;
}

uint64_t nadb_redis_sweep_slice(struct nadb_redis *redis, struct nadb_redis_lane *lane)
{
    uint64_t removed = 0;
    uint64_t begin_us = nadb_redis_now_us();
    uint32_t done = 0;
    for (unsigned i = 0; i < STEPS_MAX && done < redis->partitions; i++) {
        if (!step(redis, lane, &removed)) {
            next_partition(redis);
            done++;
        }
        if (nadb_redis_now_us() - begin_us > SLICE_US) {
            break;
        }
    }
    return removed;
}
