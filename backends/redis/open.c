/* This file gets to know an engine. */
#include "backends/redis/open.h"

#include <inttypes.h>
#include <stdio.h>

#include "src/base/parse.h"
#include "src/base/random.h"

#define FORMAT 2u

/* Of a stamp: the rest is the writer's number. */
#define STAMP_BITS  40
#define STAMP_SPARE (UINT64_C(1) << 32)
#define WRITERS_MAX ((UINT64_C(1) << 24) - 1)

/* The oldest version that has all we use (ZMSCORE, ZADD GT, PXAT, ZRANDMEMBER). */
#define VERSION_MAJOR_MIN 6u
#define VERSION_MINOR_MIN 2u

enum {
    CALL_INFO,
    CALL_POLICY,
    CALL_FORMAT,
    CALL_PARTITIONS,
    CALL_META,
    CALL_COUNT,
};

static void write_name(struct nadb_redis *redis, struct nadb_redis_lane *lane, const char *name)
{
    char text[NADB_REDIS_BASE_MAX];
    int len = snprintf(text, sizeof(text), "%s%s", redis->prefix, name);
    nadb_redis_out_arg(&lane->out, nadb_slice_of(text, (size_t)len));
}

static uint32_t slot_of(const struct nadb_redis *redis, const char *name)
{
    char text[NADB_REDIS_BASE_MAX];
    int len = snprintf(text, sizeof(text), "%s%s", redis->prefix, name);
    return nadb_redis_slot(nadb_slice_of(text, (size_t)len));
}

static void ask_field(struct nadb_redis *redis, struct nadb_redis_lane *lane, uint32_t slot,
    struct nadb_slice field, uint64_t value)
{
    nadb_redis_lane_begin(lane, slot, false, 4); /* again: nothing more happens */
    nadb_redis_out_arg(&lane->out, NADB_SLICE("HSETNX"));
    write_name(redis, lane, "meta");
    nadb_redis_out_arg(&lane->out, field);
    nadb_redis_out_number(&lane->out, value);
    (void)nadb_redis_lane_end(lane); /* in the order of the enum, as all here */
}

static void ask_all(struct nadb_redis *redis, struct nadb_redis_lane *lane)
{
    uint32_t slot = slot_of(redis, "meta");
    nadb_redis_lane_reset(lane);
    nadb_redis_lane_begin(lane, slot, false, 2);
    nadb_redis_out_arg(&lane->out, NADB_SLICE("INFO"));
    nadb_redis_out_arg(&lane->out, NADB_SLICE("server"));
    (void)nadb_redis_lane_end(lane);
    nadb_redis_lane_begin(lane, slot, false, 3);
    nadb_redis_out_arg(&lane->out, NADB_SLICE("CONFIG"));
    nadb_redis_out_arg(&lane->out, NADB_SLICE("GET"));
    nadb_redis_out_arg(&lane->out, NADB_SLICE("maxmemory-policy"));
    (void)nadb_redis_lane_end(lane);
    ask_field(redis, lane, slot, NADB_SLICE("format"), FORMAT);
    ask_field(redis, lane, slot, NADB_SLICE("partitions"), redis->partitions);
    nadb_redis_lane_begin(lane, slot, false, 4);
    nadb_redis_out_arg(&lane->out, NADB_SLICE("HMGET"));
    write_name(redis, lane, "meta");
    nadb_redis_out_arg(&lane->out, NADB_SLICE("format"));
    nadb_redis_out_arg(&lane->out, NADB_SLICE("partitions"));
    (void)nadb_redis_lane_end(lane);
}

/* The rest of the line that begins with `name` in what INFO gives. */
static struct nadb_slice info_field(const redisReply *info, const char *name)
{
    const char *at = strstr(info->str, name);
    if (at == NULL) {
        return nadb_slice_of(NULL, 0);
    }
    at += strlen(name);
    return nadb_slice_of(at, strcspn(at, "\r\n"));
}

/* The number at the front of *text, which goes on behind the point. */
static uint64_t version_part(struct nadb_slice *text)
{
    size_t len = 0;
    uint64_t number = 0;
    while (len < text->len && text->data[len] != '.') {
        len++;
    }
    if (!nadb_parse_u64(nadb_slice_of(text->data, len), &number)) {
        number = 0;
    }
    len += len < text->len;
    *text = nadb_slice_of(text->data + len, text->len - len);
    return number;
}

static enum nadb_err check_version(
    struct nadb_redis *redis, const redisReply *info, struct nadb_error *reterr)
{
    if (info->type != REDIS_REPLY_STRING) {
        return nadb_redis_bad_reply(reterr);
    }
    struct nadb_slice version = info_field(info, "redis_version:");
    struct nadb_slice valkey = info_field(info, "valkey_version:");
    struct nadb_slice shown = valkey.len > 0 ? valkey : version;
    (void)snprintf(redis->engine, sizeof(redis->engine), "%s %.*s",
        valkey.len > 0 ? "valkey" : "redis", shown.len < 32 ? (int)shown.len : 32, shown.data);
    uint64_t major = version_part(&version);
    uint64_t minor = version_part(&version);
    if (major < VERSION_MAJOR_MIN || (major == VERSION_MAJOR_MIN && minor < VERSION_MINOR_MIN)) {
        return nadb_error_set(reterr, NADB_EBACKEND, 0,
            "the engine is %s: at least %u.%u is needed", redis->engine, VERSION_MAJOR_MIN,
            VERSION_MINOR_MIN);
    }
    return NADB_OK;
}

static bool read_number(const redisReply *reply, uint64_t *ret)
{
    return reply->type == REDIS_REPLY_STRING &&
           nadb_parse_u64(nadb_slice_of(reply->str, (size_t)reply->len), ret);
}

static enum nadb_err check_meta(
    struct nadb_redis *redis, const redisReply *meta, struct nadb_error *reterr)
{
    uint64_t format = 0;
    uint64_t partitions = 0;
    if (meta->type != REDIS_REPLY_ARRAY || meta->elements != 2 ||
        !read_number(meta->element[0], &format) || !read_number(meta->element[1], &partitions)) {
        return nadb_error_set(
            reterr, NADB_EFORMAT, 0, "engine: '%smeta' is not what it should be", redis->prefix);
    }
    if (format != FORMAT) {
        return nadb_error_set(reterr, NADB_EFORMAT, 0,
            "engine: the data is of format %" PRIu64 ", and this is format %u", format, FORMAT);
    }
    if (partitions != redis->partitions) {
        return nadb_error_set(reterr, NADB_EINVAL, 0,
            "redis-partitions is %u, but the data in the engine has %" PRIu64, redis->partitions,
            partitions);
    }
    return NADB_OK;
}

static void note_policy(struct nadb_redis_lane *lane, char *note, size_t note_cap)
{
    enum nadb_err err = NADB_OK;
    struct nadb_error error;
    const redisReply *reply = nadb_redis_lane_reply(lane, CALL_POLICY, &err, &error);
    note[0] = '\0';
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_STRING ||
        strcmp(reply->element[1]->str, "noeviction") == 0) {
        return; /* fine, or it does not tell */
    }
    (void)snprintf(note, note_cap,
        "the engine's maxmemory-policy is %s: it may remove keys on its own, which stay counted "
        "until their time is over",
        reply->element[1]->str);
}

/* Errors that pass by themselves are as good as no connection. */
static enum nadb_err soften(enum nadb_err err, struct nadb_error *reterr)
{
    static const char *const passing[] = {"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
        "BUSY", "READONLY", "ERR max number of clients"};
    for (size_t i = 0; err == NADB_EENGINE && i < NADB_ARRAY_LEN(passing); i++) {
        if (strncmp(reterr->text, passing[i], strlen(passing[i])) == 0) {
            char line[NADB_ERROR_TEXT_MAX];
            memcpy(line, reterr->text, sizeof(line));
            return nadb_error_set(reterr, NADB_EIO, 0, "backend down: %s", line);
        }
    }
    return err;
}

enum nadb_err nadb_redis_take_writer(
    struct nadb_redis *redis, struct nadb_redis_lane *lane, struct nadb_error *reterr)
{
    enum nadb_err err = NADB_OK;
    nadb_redis_lane_reset(lane);
    nadb_redis_lane_begin(lane, slot_of(redis, "writers"), false, 2); /* twice: one is left out */
    nadb_redis_out_arg(&lane->out, NADB_SLICE("INCR"));
    write_name(redis, lane, "writers");
    (void)nadb_redis_lane_end(lane); /* the only one */
    nadb_redis_lane_exchange(lane);
    const redisReply *reply = nadb_redis_lane_reply(lane, 0, &err, reterr);
    if (reply == NULL) {
        return soften(err, reterr);
    }
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer <= 0 ||
        (uint64_t)reply->integer > WRITERS_MAX) {
        return nadb_error_set(
            reterr, NADB_EFORMAT, 0, "engine: '%swriters' is not what it should be", redis->prefix);
    }
    /* Not from 1 on: an engine that has lost its data gives numbers of writers once more. */
    uint64_t random;
    nadb_random_bytes(&random, sizeof(random));
    uint64_t begin = 1 + (random & (((uint64_t)1 << (STAMP_BITS - 2)) - 1));
    atomic_store(&redis->next_stamp, (uint64_t)reply->integer << STAMP_BITS | begin);
    return NADB_OK;
}

bool nadb_redis_needs_writer(struct nadb_redis *redis)
{
    uint64_t mask = (UINT64_C(1) << STAMP_BITS) - 1;
    return (atomic_load(&redis->next_stamp) & mask) > mask - STAMP_SPARE;
}

static enum nadb_err reach(
    struct nadb_redis *redis, struct nadb_redis_lane *lane, struct nadb_error *reterr)
{
    struct nadb_redis_peer *peer;
    enum nadb_err err = redis->is_cluster ? nadb_redis_lane_refresh(lane, reterr)
                                          : nadb_redis_lane_link(lane, 0, &peer, reterr);
    return soften(err, reterr);
}

enum nadb_err nadb_redis_meet(struct nadb_redis *redis, struct nadb_redis_lane *lane, char *note,
    size_t note_cap, struct nadb_error *reterr)
{
    enum nadb_err err = reach(redis, lane, reterr);
    if (err != NADB_OK) {
        return err;
    }
    ask_all(redis, lane);
    nadb_redis_lane_exchange(lane);
    for (size_t i = 0; i < CALL_COUNT; i++) {
        if (i != CALL_POLICY && nadb_redis_lane_reply(lane, i, &err, reterr) == NULL) {
            return soften(err, reterr);
        }
    }
    note_policy(lane, note, note_cap);
    err = check_version(redis, lane->calls[CALL_INFO].reply, reterr);
    if (err == NADB_OK) {
        err = check_meta(redis, lane->calls[CALL_META].reply, reterr);
    }
    return err == NADB_OK ? nadb_redis_take_writer(redis, lane, reterr) : err;
}
