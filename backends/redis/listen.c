/* This file hears what other nadbd in front of the engine say to each other: one connection of its
 * own, which listens to the channel `<prefix>messages`. A cluster tells each of its servers.
 *
 * A message is 8 bytes that name who sent it, the length of its channel (u32) and of its text
 * (u32), and both. Everybody hears everything, the own messages too, which are left out. What is
 * said while the connection is down is missed: publishing promises no more. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/redis/out.h"
#include "backends/redis/redis_internal.h"
#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/random.h"

#define HEAD_LEN    16u
#define TALK_US     UINT64_C(1000000)
#define SILENCE_US  UINT64_C(10000000)
#define ANSWER_US   UINT64_C(5000000)
#define CHANNEL_MAX (NADB_REDIS_BASE_MAX + 16)

/* ---- speaking ---- */

static size_t write_channel(const struct nadb_redis *redis, char out[CHANNEL_MAX])
{
    int len = snprintf(out, CHANNEL_MAX, "%smessages", redis->prefix);
    NADB_ASSERT(len > 0 && (size_t)len < CHANNEL_MAX);
    return (size_t)len;
}

void nadb_redis_write_message(struct nadb_redis *redis, struct nadb_redis_out *out,
    struct nadb_slice channel, struct nadb_slice text)
{
    char to[CHANNEL_MAX];
    nadb_redis_out_arg(out, NADB_SLICE("PUBLISH"));
    nadb_redis_out_arg(out, nadb_slice_of(to, write_channel(redis, to)));
    char *at = nadb_redis_out_begin(out, HEAD_LEN + channel.len + text.len);
    if (at != NULL) {
        nadb_put_u64(at, redis->ear.id);
        nadb_put_u32(at + 8, (uint32_t)channel.len);
        nadb_put_u32(at + 12, (uint32_t)text.len);
        memcpy(at + HEAD_LEN, channel.data, channel.len);
        if (text.len > 0) {
            memcpy(at + HEAD_LEN + channel.len, text.data, text.len);
        }
    }
    nadb_redis_out_end(out);
}

/* ---- the ear ---- */

void nadb_redis_ear_init(struct nadb_redis_ear *ear)
{
    *ear = (struct nadb_redis_ear){.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    nadb_random_bytes(&ear->id, sizeof(ear->id));
}

void nadb_redis_ear_fini(struct nadb_redis_ear *ear)
{
    if (ear->is_open) {
        nadb_redis_link_close(&ear->link);
    }
    if (ear->wake_fd >= 0) {
        (void)close(ear->wake_fd); /* nothing was written that could be lost */
        ear->wake_fd = -1;
    }
}

void nadb_redis_hush(struct nadb_redis *redis)
{
    const uint64_t one = 1;
    ssize_t written = write(redis->ear.wake_fd, &one, sizeof(one));
    (void)written; /* fails only when it has been woken so often already */
}

/* ---- listening ---- */

/* Waits for the descriptor, if it is one, or to be woken. */
static void wait_for(struct nadb_redis_ear *ear, int fd, uint64_t deadline_us)
{
    struct pollfd fds[2] = {{.fd = ear->wake_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    (void)poll(fds, 2, nadb_redis_left_ms(deadline_us)); /* too early is no harm */
    uint64_t count;
    if ((fds[0].revents & POLLIN) && read(ear->wake_fd, &count, sizeof(count)) > 0) {
        ear->must_return = true;
    }
    ear->has_bytes = (fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
}

/* The next server of those that are known. False: it cannot be listened to now. */
static bool subscribe(struct nadb_redis *redis)
{
    struct nadb_redis_ear *ear = &redis->ear;
    if (!ear->is_open) {
        struct nadb_redis_url url;
        size_t count = nadb_redis_topology_count(&redis->topology);
        nadb_redis_topology_url(&redis->topology, ear->next_server++ % count, &url);
        nadb_redis_link_init(&ear->link, &url);
        ear->is_open = true;
    }
    uint64_t deadline_us = nadb_redis_now_us() + TALK_US;
    struct nadb_error error;
    if (nadb_redis_link_open(&ear->link, deadline_us, &error) != NADB_OK) {
        return false;
    }
    char channel[CHANNEL_MAX];
    struct nadb_redis_out out;
    nadb_redis_out_init(&out);
    nadb_redis_out_command(&out, 2);
    nadb_redis_out_arg(&out, NADB_SLICE("SUBSCRIBE"));
    nadb_redis_out_arg(&out, nadb_slice_of(channel, write_channel(redis, channel)));
    redisReply *reply = NULL;
    enum nadb_err err =
        nadb_redis_link_talk(&ear->link, nadb_buf_slice(&out.buf), &reply, 1, deadline_us, &error);
    nadb_redis_out_fini(&out);
    if (err != NADB_OK) {
        return false;
    }
    ear->is_subscribed = reply->type == REDIS_REPLY_ARRAY;
    ear->heard_us = nadb_redis_now_us();
    ear->is_asked = false;
    freeReplyObject(reply);
    return ear->is_subscribed;
}

static void lose(struct nadb_redis_ear *ear)
{
    nadb_redis_link_close(&ear->link);
    ear->is_open = ear->is_subscribed = false;
}

/* What is no message of ours is left out. */
static void take(struct nadb_redis_ear *ear, const redisReply *reply, struct nadb_buf *heard)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        reply->element[2]->type != REDIS_REPLY_STRING ||
        (size_t)reply->element[2]->len < HEAD_LEN) {
        return;
    }
    const char *bytes = reply->element[2]->str;
    size_t len = (size_t)reply->element[2]->len - HEAD_LEN;
    size_t channel_len = nadb_get_u32(bytes + 8);
    if (nadb_get_u64(bytes) == ear->id || channel_len > len ||
        nadb_get_u32(bytes + 12) != len - channel_len) {
        return;
    }
    size_t before = heard->len;
    if (!nadb_buf_append(heard, bytes + 8, HEAD_LEN - 8 + len)) {
        heard->len = before; /* there is no room for it: missed, as others may be */
    }
}

static void hear(struct nadb_redis_ear *ear, struct nadb_buf *heard)
{
    const char *reason;
    redisReply *reply = NULL;
    bool is_well = nadb_redis_link_receive(&ear->link, &reason);
    ear->heard_us = nadb_redis_now_us();
    ear->is_asked = false;
    while (
        is_well && (is_well = nadb_redis_link_next(&ear->link, &reply, &reason)) && reply != NULL) {
        take(ear, reply, heard);
        freeReplyObject(reply);
    }
    if (!is_well) {
        lose(ear);
    }
}

/* A peer that died without a word is silent for ever: after a while of silence it is asked for a
 * word, and has to answer. */
static bool is_alive(struct nadb_redis_ear *ear)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    uint64_t silence_us = nadb_redis_now_us() - ear->heard_us;
    if (silence_us > SILENCE_US && !ear->is_asked) {
        ear->is_asked = true;
        return send(ear->link.context->fd, ping, sizeof(ping) - 1, MSG_NOSIGNAL) ==
               (ssize_t)(sizeof(ping) - 1);
    }
    return silence_us <= SILENCE_US + ANSWER_US;
}

void nadb_redis_listen(struct nadb_redis *redis, uint64_t wait_ms, struct nadb_buf *heard)
{
    struct nadb_redis_ear *ear = &redis->ear;
    uint64_t deadline_us = nadb_redis_now_us() + wait_ms * 1000;
    ear->must_return = false;
    if (!ear->is_subscribed && !subscribe(redis)) {
        if (ear->is_open) {
            lose(ear);
        }
        wait_for(ear, -1, deadline_us);
        return;
    }
    if (!is_alive(ear)) {
        lose(ear);
    }
    while (heard->len == 0 && !ear->must_return && ear->is_subscribed &&
           nadb_redis_left_ms(deadline_us) > 0) {
        wait_for(ear, ear->link.context->fd, deadline_us);
        if (!ear->must_return && ear->has_bytes) {
            hear(ear, heard);
        }
    }
}
