/* This file is the backend on a server, or a cluster, that speaks Redis's protocol.
 *
 *     run -> a lane -> batch.c (fetches, commits) or query.c (whole keyspaces) -> lane.c -> link.c
 *
 *  1. What belongs to a key is in one partition (names.h), whose names share a slot.
 *  2. Records and indexes change together, in one script (lua/commit.lua), or not at all; where
 *     only a plain record changes one command does it (batch.c).
 *  3. A member of an index counts only while its score, the time it ends, is not over; below 0 it
 *     is of a plain record, which does not end.
 *  4. A command that writes is sent at most once, unless the engine said that it has not run it.
 *  5. Each run has a lane, with connections of its own; lanes share nothing but the topology and
 *     the hints. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backends/redis/open.h"
#include "backends/redis/redis_internal.h"
#include "backends/registry.h"
#include "src/base/assert.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

#define REDIS_MAGIC 0x4e415244u

#define PREFIX_LEN_MAX     256u
#define PREFIX_DEFAULT     "nadb:"
#define PARTITIONS_DEFAULT 64u
#define PARTITIONS_MAX     4096u
#define TIMEOUT_DEFAULT_MS 1000u

/* How long one open() tries, and how often it says that it waits. */
#define OPEN_US   UINT64_C(2000000)
#define RETRY_MS  50
#define NOTICE_US UINT64_C(5000000)

/* What goes out at once. */
#define BATCH_OPS   4096u
#define BATCH_BYTES ((size_t)64 << 20)

static struct nadb_redis *redis_of(struct nadb_backend *backend)
{
    struct nadb_redis *redis = (struct nadb_redis *)(void *)backend;
    NADB_ASSERT(redis != NULL && redis->magic == REDIS_MAGIC);
    return redis;
}

static void lock(struct nadb_redis *redis)
{
    int result = pthread_mutex_lock(&redis->lock);
    NADB_ASSERT(result == 0);
}

static void unlock(struct nadb_redis *redis)
{
    int result = pthread_mutex_unlock(&redis->lock);
    NADB_ASSERT(result == 0);
}

static void make_bases(struct nadb_redis *redis)
{
    size_t len_max = redis->prefix_len + NADB_I64_TEXT_MAX + 2;
    char *at = redis->base_texts = nadb_mem_alloc(redis->partitions * len_max);
    redis->bases = nadb_mem_alloc(redis->partitions * sizeof(*redis->bases));
    for (uint32_t i = 0; i < redis->partitions; i++) {
        char *begin = at;
        memcpy(at, redis->prefix, redis->prefix_len);
        at += redis->prefix_len;
        *at++ = '{';
        at += nadb_format_u64(at, i);
        *at++ = '}';
        struct nadb_slice name = nadb_slice_of(begin, (size_t)(at - begin));
        redis->bases[i] = (struct nadb_redis_base){name, nadb_redis_slot(name)};
    }
}

/* ---- life ---- */

static void read_urls(struct nadb_redis *redis, const struct nadb_backend_opts *opts)
{
    redis->urls = nadb_mem_zalloc((opts->url_count + 1) * sizeof(*redis->urls));
    redis->url_count = opts->url_count;
    for (size_t i = 0; i < opts->url_count && redis->url_error.code == NADB_OK; i++) {
        if (nadb_redis_url_parse(opts->urls[i], &redis->urls[i], &redis->url_error) == NADB_OK &&
            opts->is_cluster && redis->urls[i].db != 0) {
            (void)nadb_error_set(&redis->url_error, NADB_EINVAL, 0,
                "redis-url: a cluster has database 0 only"); /* open() gives it */
        }
    }
}

static void check_opts(struct nadb_redis *redis)
{
    struct nadb_error *error = &redis->url_error;
    if (error->code != NADB_OK) {
        return;
    }
    if (redis->url_count == 0) {
        (void)nadb_error_set(error, NADB_EINVAL, 0, "redis-url: there is none");
    } else if (redis->url_count > 1 && !redis->is_cluster) {
        (void)nadb_error_set(
            error, NADB_EINVAL, 0, "redis-url: several servers need 'redis-cluster yes'");
    } else if (strpbrk(redis->prefix, "{}") != NULL || strlen(redis->prefix) > PREFIX_LEN_MAX) {
        (void)nadb_error_set(error, NADB_EINVAL, 0,
            "redis-prefix: it must be without '{' and '}', and of %u bytes at most",
            PREFIX_LEN_MAX);
    } else if (redis->partitions > PARTITIONS_MAX) {
        (void)nadb_error_set(error, NADB_EINVAL, 0, "redis-partitions: at most %u", PARTITIONS_MAX);
    }
}

static void init_locks(struct nadb_redis *redis)
{
    pthread_condattr_t attributes;
    int result = pthread_mutex_init(&redis->lock, NULL);
    result |= pthread_condattr_init(&attributes);
    result |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    result |= pthread_cond_init(&redis->lane_freed, &attributes);
    result |= pthread_condattr_destroy(&attributes);
    NADB_ASSERT(result == 0);
}

static struct nadb_backend *redis_new_instance(const struct nadb_backend_opts *opts)
{
    struct nadb_redis *redis = nadb_mem_zalloc(sizeof(*redis));
    redis->backend.ops = &nadb_backend_redis_ops;
    redis->magic = REDIS_MAGIC;
    redis->prefix = nadb_mem_strdup(opts->prefix != NULL ? opts->prefix : PREFIX_DEFAULT);
    redis->prefix_len = strlen(redis->prefix);
    nadb_redis_ear_init(&redis->ear);
    redis->is_cluster = opts->is_cluster;
    redis->may_wait = opts->may_wait;
    redis->partitions = opts->partitions > 0 ? opts->partitions : PARTITIONS_DEFAULT;
    redis->timeout_ms = opts->timeout_ms > 0 ? opts->timeout_ms : TIMEOUT_DEFAULT_MS;
    /* One more for tend, and one for what takes the engine long. */
    redis->lane_count = (opts->pool_size > 0 ? opts->pool_size : 1) + 2;
    nadb_redis_hints_init(&redis->hints);
    read_urls(redis, opts);
    check_opts(redis);
    if (redis->url_error.code == NADB_OK) {
        make_bases(redis);
    }
    init_locks(redis);
    return &redis->backend;
}

static void close_lanes(struct nadb_redis *redis)
{
    if (redis->lanes == NULL) {
        return;
    }
    for (unsigned i = 0; i < redis->lane_count; i++) {
        nadb_redis_lane_fini(&redis->lanes[i]);
    }
    nadb_mem_free(redis->lanes);
    redis->lanes = NULL;
    redis->free_lanes = NULL;
    nadb_redis_topology_fini(&redis->topology);
}

static void open_lanes(struct nadb_redis *redis)
{
    nadb_redis_topology_init(&redis->topology, redis->urls, redis->url_count, redis->is_cluster);
    redis->lanes = nadb_mem_zalloc(redis->lane_count * sizeof(*redis->lanes));
    for (unsigned i = 0; i < redis->lane_count; i++) {
        struct nadb_redis_lane *lane = &redis->lanes[i];
        nadb_redis_lane_init(lane, &redis->topology);
        lane->next = redis->free_lanes;
        redis->free_lanes = lane;
    }
}

static void say_that_we_wait(struct nadb_redis *redis, const struct nadb_error *error)
{
    uint64_t now_us = nadb_redis_now_us();
    if (redis->notice_us == 0 || now_us - redis->notice_us >= NOTICE_US) {
        redis->notice_us = now_us;
        nadb_log(NADB_LOG_NOTICE, "waiting for the engine: %s", error->text);
    }
}

static enum nadb_err redis_open(struct nadb_backend *backend,
    struct nadb_backend_open_info *ret_info, struct nadb_error *reterr)
{
    struct nadb_redis *redis = redis_of(backend);
    struct nadb_backend_open_info info = {.was_clean = true};
    struct nadb_error error = redis->url_error;
    enum nadb_err err = error.code;
    uint64_t end_us = nadb_redis_now_us() + OPEN_US;
    while (err == NADB_OK) {
        uint64_t deadline_us = nadb_redis_now_us() + redis->timeout_ms * 1000;
        open_lanes(redis);
        redis->lanes[0].deadline_us = deadline_us < end_us ? deadline_us : end_us;
        err = nadb_redis_meet(redis, &redis->lanes[0], info.note, sizeof(info.note), &error);
        if (err == NADB_OK) {
            redis->stats.servers = nadb_redis_topology_masters(&redis->topology);
            memcpy(redis->stats.engine, redis->engine, sizeof(redis->engine));
            *ret_info = info;
            return NADB_OK;
        }
        close_lanes(redis);
        if (err == NADB_EIO && redis->may_wait) {
            say_that_we_wait(redis, &error);
            if (nadb_redis_now_us() + RETRY_MS * 1000 < end_us) {
                const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
                (void)nanosleep(&pause, NULL); /* shorter is no harm */
                err = NADB_OK;
            }
        }
    }
    if (reterr != NULL) {
        *reterr = error;
    }
    return err;
}

static enum nadb_err redis_close(struct nadb_backend *backend, struct nadb_error *reterr)
{
    (void)reterr;
    close_lanes(redis_of(backend));
    return NADB_OK;
}

static void redis_free(struct nadb_backend *backend)
{
    struct nadb_redis *redis = redis_of(backend);
    nadb_redis_ear_fini(&redis->ear);
    close_lanes(redis);
    nadb_redis_hints_fini(&redis->hints);
    nadb_mem_free(redis->bases);
    nadb_mem_free(redis->base_texts);
    (void)pthread_mutex_destroy(&redis->lock); /* fails only while it is in use, as the next */
    (void)pthread_cond_destroy(&redis->lane_freed);
    nadb_mem_free(redis->prefix);
    nadb_mem_free(redis->urls);
    redis->magic = 0;
    nadb_mem_free(redis);
}

/* ---- lanes ---- */

/* A lane for a run that ends within what is left of the timeout; NULL: none was free in time. */
static struct nadb_redis_lane *take_lane(struct nadb_redis *redis, uint64_t waited_ms)
{
    uint64_t left_ms = redis->timeout_ms > waited_ms ? redis->timeout_ms - waited_ms : 0;
    uint64_t least_ms =
        redis->timeout_ms < NADB_SHARED_LEAST_MS ? redis->timeout_ms : NADB_SHARED_LEAST_MS;
    left_ms = left_ms < least_ms ? least_ms : left_ms;
    uint64_t deadline_us = nadb_redis_now_us() + left_ms * 1000;
    struct timespec until;
    int result = clock_gettime(CLOCK_MONOTONIC, &until);
    NADB_ASSERT(result == 0);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + left_ms % 1000 * 1000000;
    until.tv_sec += (time_t)(left_ms / 1000 + nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    lock(redis);
    result = 0;
    while (redis->free_lanes == NULL && result == 0) {
        result = pthread_cond_timedwait(&redis->lane_freed, &redis->lock, &until);
    }
    struct nadb_redis_lane *lane = redis->free_lanes;
    if (lane != NULL) {
        redis->free_lanes = lane->next;
        lane->deadline_us = deadline_us;
        lane->stats = (struct nadb_shared_stats){.batches = 0};
    }
    unlock(redis);
    return lane;
}

static void give_lane(struct nadb_redis *redis, struct nadb_redis_lane *lane)
{
    nadb_redis_lane_reset(lane);
    unsigned masters = nadb_redis_topology_masters(&redis->topology);
    lock(redis);
    struct nadb_shared_stats *stats = &redis->stats;
    stats->batches += lane->stats.batches;
    stats->ops += lane->stats.ops;
    stats->round_trips += lane->stats.round_trips;
    stats->reconnects += lane->stats.reconnects;
    stats->redirects += lane->stats.redirects;
    stats->timeouts += lane->stats.timeouts;
    stats->failures += lane->stats.failures;
    stats->is_down = lane->stats.is_down;
    stats->servers = masters;
    lane->next = redis->free_lanes;
    redis->free_lanes = lane;
    int result = pthread_cond_signal(&redis->lane_freed);
    NADB_ASSERT(result == 0);
    unlock(redis);
}

/* ---- run ---- */

static bool is_batchable(const struct nadb_op *op)
{
    return op->kind == NADB_OP_FETCH || op->kind == NADB_OP_COMMIT ||
           op->kind == NADB_OP_TAG_EPOCHS;
}

static void reset_outcome(struct nadb_op *op)
{
    op->err = NADB_OK;
    op->is_conflict = false;
    op->found = NULL;
    op->found_count = 0;
    op->number = 0;
    op->epoch = 0;
    op->keys = NULL;
    op->key_count = 0;
    op->next_cursor = 0;
    op->epochs = NULL;
    op->tallies = NULL;
    op->tally_count = 0;
    op->spaces = NULL;
    op->space_count = 0;
    op->backend_private = NULL;
}

static size_t bytes_of(const struct nadb_op *op)
{
    size_t bytes = op->key.len;
    for (size_t i = 0; op->kind == NADB_OP_COMMIT && i < op->change_count; i++) {
        bytes += op->changes[i].entry.value.len;
    }
    return bytes;
}

/* How many of the operations from the first on go out together. */
static size_t batch_len(struct nadb_op *const *ops, size_t count)
{
    size_t len = 0;
    size_t bytes = 0;
    while (len < count && len < BATCH_OPS && bytes < BATCH_BYTES && is_batchable(ops[len])) {
        bytes += bytes_of(ops[len++]);
    }
    return len;
}

/* How many of the operations from the first on are of its kind and go out together. */
static size_t same_len(struct nadb_op *const *ops, size_t count)
{
    size_t len = 1;
    while (len < count && len < BATCH_OPS && ops[len]->kind == ops[0]->kind) {
        len++;
    }
    return len;
}

/* One that is not for a batch; returns how many were answered with it. */
static size_t run_other(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count)
{
    if (ops[0]->kind == NADB_OP_PUBLISH) {
        size_t len = same_len(ops, count);
        nadb_redis_run_publish(redis, lane, ops, len);
        return len;
    }
    nadb_redis_run_query(redis, lane, settings, ops[0]);
    if (ops[0]->kind == NADB_OP_CLEAR) {
        nadb_redis_hints_forget(&redis->hints);
    }
    return 1;
}

/* All of a run who ask for the newest epoch get the same answer: it only grows. So they do not part
 * what could go out together. Returns how many operations are left in `rest`. */
static size_t run_epochs(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count,
    struct nadb_op **rest)
{
    struct nadb_op *first = NULL;
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->kind != NADB_OP_EPOCH) {
            rest[left++] = ops[i];
        } else if (first == NULL) {
            first = ops[i];
            nadb_redis_run_query(redis, lane, settings, first);
        } else {
            ops[i]->err = first->err;
            ops[i]->error = first->error;
            ops[i]->number = first->number;
            ops[i]->epoch = first->epoch;
        }
    }
    return left;
}

static void run_ops(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count)
{
    struct nadb_op **rest = nadb_mem_alloc((count + 1) * sizeof(struct nadb_op *));
    count = run_epochs(redis, lane, settings, ops, count, rest);
    ops = rest;
    size_t at = 0;
    while (at < count) {
        size_t len = batch_len(ops + at, count - at);
        if (len > 0) {
            nadb_redis_run_batch(redis, lane, settings, ops + at, len);
            at += len;
        } else {
            at += run_other(redis, lane, settings, ops + at, count - at);
        }
    }
    nadb_mem_free(rest);
}

static void redis_run(struct nadb_backend *backend, const struct nadb_shared_settings *settings,
    struct nadb_op *const *ops, size_t count)
{
    struct nadb_redis *redis = redis_of(backend);
    for (size_t i = 0; i < count; i++) {
        reset_outcome(ops[i]);
    }
    struct nadb_redis_lane *lane = take_lane(redis, settings->waited_ms);
    if (lane == NULL) {
        for (size_t i = 0; i < count; i++) {
            ops[i]->err = nadb_error_set(
                &ops[i]->error, NADB_EBUSY, 0, "backend: all connections to the engine are in use");
        }
        return;
    }
    if (nadb_redis_needs_writer(redis)) {
        (void)nadb_redis_take_writer(
            redis, lane, &(struct nadb_error){.code = NADB_OK}); /* there are spare ones */
    }
    run_ops(redis, lane, settings, ops, count);
    lane->stats.batches++;
    lane->stats.ops += count;
    give_lane(redis, lane);
}

static void redis_op_free(struct nadb_op *op)
{
    nadb_redis_hold_unref(op->backend_private);
    op->backend_private = NULL;
    op->found = NULL;
    op->keys = NULL;
    op->epochs = NULL;
    op->tallies = NULL;
    op->spaces = NULL;
}

static nadb_stamp redis_new_stamp(struct nadb_backend *backend)
{
    return atomic_fetch_add(&redis_of(backend)->next_stamp, 1);
}

static void redis_listen(struct nadb_backend *backend, uint64_t wait_ms, struct nadb_buf *heard)
{
    nadb_redis_listen(redis_of(backend), wait_ms, heard);
}

static void redis_hush(struct nadb_backend *backend)
{
    nadb_redis_hush(redis_of(backend));
}

static uint64_t redis_tend(struct nadb_backend *backend)
{
    struct nadb_redis *redis = redis_of(backend);
    struct nadb_redis_lane *lane = take_lane(redis, 0);
    if (lane == NULL) {
        return 0;
    }
    uint64_t removed = nadb_redis_sweep_slice(redis, lane);
    give_lane(redis, lane);
    return removed;
}

static void redis_stats(struct nadb_backend *backend, struct nadb_shared_stats *ret)
{
    struct nadb_redis *redis = redis_of(backend);
    lock(redis);
    *ret = redis->stats;
    unlock(redis);
}

/* ---- the table ---- */

static nadb_backend_new_fn redis_new_instance;
static nadb_backend_open_fn redis_open;
static nadb_backend_close_fn redis_close;
static nadb_backend_free_fn redis_free;
static nadb_shared_run_fn redis_run;
static nadb_shared_new_stamp_fn redis_new_stamp;
static nadb_shared_op_free_fn redis_op_free;
static nadb_shared_tend_fn redis_tend;
static nadb_shared_listen_fn redis_listen;
static nadb_shared_hush_fn redis_hush;
static nadb_shared_stats_fn redis_stats;

static const struct nadb_shared_ops shared_ops = {
    .run = redis_run,
    .op_free = redis_op_free,
    .new_stamp = redis_new_stamp,
    .tend = redis_tend,
    .listen = redis_listen,
    .hush = redis_hush,
    .stats = redis_stats,
};

const struct nadb_backend_ops nadb_backend_redis_ops = {
    .name = "redis",
    .caps = NADB_BACKEND_SHARED,
    .new_instance = redis_new_instance,
    .open = redis_open,
    .shared = &shared_ops,
    .close = redis_close,
    .free = redis_free,
};
