/* This file keeps one connection to a server of the engine. */
#include "backends/redis/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "backends/redis/out.h"
#include "backends/redis/scripts.h"
#include "src/base/assert.h"
#include "src/base/clock.h"

/* The wait after the first failure, and the longest; a random part of up to half is taken off. */
#define BACKOFF_FIRST_US UINT64_C(20000)
#define BACKOFF_MAX_US   UINT64_C(1000000)

#define ELEMENTS_MAX (1 << 24) /* of one array in an answer */
#define GREETING_MAX (2 + NADB_REDIS_SCRIPT_COUNT)

uint64_t nadb_redis_now_us(void)
{
    return nadb_clock_mono_us(nadb_clock_system());
}

int nadb_redis_left_ms(uint64_t deadline_us)
{
    uint64_t now_us = nadb_redis_now_us();
    return now_us >= deadline_us ? 0 : (int)((deadline_us - now_us) / 1000 + 1);
}

void nadb_redis_link_init(struct nadb_redis_link *link, const struct nadb_redis_url *url)
{
    uint64_t seed;
    nadb_random_bytes(&seed, sizeof(seed));
    *link = (struct nadb_redis_link){.url = *url};
    nadb_rng_seed(&link->rng, seed);
    if (url->is_unix) {
        (void)snprintf(link->address, sizeof(link->address), "%s", url->host);
    } else {
        (void)snprintf(link->address, sizeof(link->address), "%s:%u", url->host, url->port);
    }
}

void nadb_redis_link_close(struct nadb_redis_link *link)
{
    if (link->context != NULL) {
        redisFree(link->context);
        link->context = NULL;
    }
}

/* Closed for a while; the longer, the more often it has failed. */
static void hold_off(struct nadb_redis_link *link)
{
    uint64_t wait_us = BACKOFF_FIRST_US << (link->failures < 6 ? link->failures : 6);
    wait_us = wait_us < BACKOFF_MAX_US ? wait_us : BACKOFF_MAX_US;
    link->retry_us = nadb_redis_now_us() + wait_us - nadb_rng_below(&link->rng, wait_us / 2);
    link->failures++;
    nadb_redis_link_close(link);
}

enum nadb_err nadb_redis_link_fail(
    struct nadb_redis_link *link, const char *reason, struct nadb_error *reterr)
{
    enum nadb_err err =
        nadb_error_set(&link->error, NADB_EIO, 0, "backend down: %s: %s", link->address, reason);
    hold_off(link);
    if (reterr != NULL) {
        *reterr = link->error;
    }
    return err;
}

enum nadb_err nadb_redis_error_line(const redisReply *reply, struct nadb_error *reterr)
{
    return nadb_error_set(reterr, NADB_EENGINE, 0, "%.*s", (int)reply->len, reply->str);
}

bool nadb_redis_link_receive(struct nadb_redis_link *link, const char **ret_reason)
{
    if (redisBufferRead(link->context) != REDIS_OK) {
        *ret_reason =
            link->context->err == REDIS_ERR_EOF ? "connection closed" : link->context->errstr;
        return false;
    }
    return true;
}

bool nadb_redis_link_next(struct nadb_redis_link *link, redisReply **ret, const char **ret_reason)
{
    void *reply = NULL;
    if (redisReaderGetReply(link->context->reader, &reply) != REDIS_OK) {
        *ret_reason = link->context->reader->errstr;
        return false;
    }
    *ret = reply;
    return true;
}

/* ---- a conversation ---- */

static const char *send_some(struct nadb_redis_link *link, struct nadb_slice *rest)
{
    ssize_t sent = send(link->context->fd, rest->data, rest->len, MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN || errno == EINTR ? NULL : "connection lost";
    }
    *rest = nadb_slice_of(rest->data + sent, rest->len - (size_t)sent);
    return NULL;
}

static const char *take_replies(
    struct nadb_redis_link *link, redisReply **replies, size_t count, size_t *done)
{
    const char *reason = NULL;
    while (*done < count) {
        if (!nadb_redis_link_next(link, &replies[*done], &reason)) {
            return reason;
        }
        if (replies[*done] == NULL) {
            return NULL;
        }
        ++*done;
    }
    return NULL;
}

enum nadb_err nadb_redis_link_talk(struct nadb_redis_link *link, struct nadb_slice commands,
    redisReply **ret, size_t count, uint64_t deadline_us, struct nadb_error *reterr)
{
    size_t done = 0;
    const char *reason = NULL;
    while (reason == NULL && done < count) {
        struct pollfd fd = {.fd = link->context->fd,
            .events = (short)(commands.len > 0 ? POLLIN | POLLOUT : POLLIN)};
        int ready = poll(&fd, 1, nadb_redis_left_ms(deadline_us));
        if (ready == 0) {
            reason = "timeout";
        } else if (ready > 0 && (fd.revents & POLLOUT)) {
            reason = send_some(link, &commands);
        }
        if (reason == NULL && ready > 0 && (fd.revents & ~POLLOUT) &&
            nadb_redis_link_receive(link, &reason)) {
            reason = take_replies(link, ret, count, &done);
        }
    }
    if (reason == NULL) {
        return NADB_OK;
    }
    for (size_t i = 0; i < done; i++) {
        freeReplyObject(ret[i]);
    }
    return nadb_redis_link_fail(link, reason, reterr);
}

/* ---- opening ---- */

static size_t write_greeting(const struct nadb_redis_link *link, struct nadb_redis_out *out)
{
    size_t count = 0;
    const struct nadb_redis_url *url = &link->url;
    if (url->password[0] != '\0') {
        nadb_redis_out_command(out, url->user[0] != '\0' ? 3 : 2);
        nadb_redis_out_arg(out, NADB_SLICE("AUTH"));
        if (url->user[0] != '\0') {
            nadb_redis_out_arg(out, nadb_slice_cstr(url->user));
        }
        nadb_redis_out_arg(out, nadb_slice_cstr(url->password));
        count++;
    }
    if (url->db != 0) {
        nadb_redis_out_command(out, 2);
        nadb_redis_out_arg(out, NADB_SLICE("SELECT"));
        nadb_redis_out_number(out, url->db);
        count++;
    }
    for (size_t i = 0; i < NADB_REDIS_SCRIPT_COUNT; i++, count++) {
        nadb_redis_out_command(out, 3);
        nadb_redis_out_arg(out, NADB_SLICE("SCRIPT"));
        nadb_redis_out_arg(out, NADB_SLICE("LOAD"));
        nadb_redis_out_arg(out, nadb_redis_scripts[i].text);
    }
    return count;
}

static enum nadb_err greet(
    struct nadb_redis_link *link, uint64_t deadline_us, struct nadb_error *reterr)
{
    struct nadb_redis_out out;
    redisReply *replies[GREETING_MAX] = {NULL};
    nadb_redis_out_init(&out);
    size_t count = write_greeting(link, &out);
    NADB_ASSERT(!out.is_full && count <= GREETING_MAX);
    enum nadb_err err =
        nadb_redis_link_talk(link, nadb_buf_slice(&out.buf), replies, count, deadline_us, reterr);
    nadb_redis_out_fini(&out);
    if (err != NADB_OK) {
        return err;
    }
    for (size_t i = 0; i < count; i++) {
        if (err == NADB_OK && replies[i]->type == REDIS_REPLY_ERROR) {
            err = nadb_redis_error_line(replies[i], &link->error);
        }
        freeReplyObject(replies[i]);
    }
    if (err != NADB_OK) {
        hold_off(link);
        if (reterr != NULL) {
            *reterr = link->error;
        }
    }
    return err;
}

/* hiredis takes room for as many elements as are announced, and goes through all of it later: so
 * what is announced has a bound. Its functions are set once and the same for all. */
static struct {
    pthread_once_t once;
    redisReplyObjectFunctions functions;
    void *(*create_array)(const redisReadTask *task, int elements);
} guarded = {.once = PTHREAD_ONCE_INIT};

static void *create_array(const redisReadTask *task, int elements)
{
    return elements > ELEMENTS_MAX ? NULL : guarded.create_array(task, elements);
}

static void take_functions(void)
{
    redisReader *reader = redisReaderCreate();
    NADB_ASSERT(reader != NULL); /* at the start, and small */
    guarded.functions = *reader->fn;
    guarded.create_array = guarded.functions.createArray;
    guarded.functions.createArray = create_array;
    redisReaderFree(reader);
}

static void guard_reader(redisReader *reader)
{
    int result = pthread_once(&guarded.once, take_functions);
    NADB_ASSERT(result == 0);
    reader->fn = &guarded.functions;
}

static enum nadb_err connect_link(
    struct nadb_redis_link *link, uint64_t deadline_us, struct nadb_error *reterr)
{
    int left_ms = nadb_redis_left_ms(deadline_us);
    struct timeval timeout = {.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};
    if (left_ms == 0) {
        return nadb_error_set(reterr, NADB_EIO, 0, "backend down: %s: timeout", link->address);
    }
    link->context = link->url.is_unix
                        ? redisConnectUnixWithTimeout(link->url.host, timeout)
                        : redisConnectWithTimeout(link->url.host, link->url.port, timeout);
    if (link->context == NULL) {
        return nadb_redis_link_fail(link, "not enough memory", reterr);
    }
    if (link->context->err != 0) {
        char reason[sizeof(link->context->errstr)];
        memcpy(reason, link->context->errstr, sizeof(reason));
        return nadb_redis_link_fail(link, reason, reterr);
    }
    int flags = fcntl(link->context->fd, F_GETFL);
    if (flags < 0 || fcntl(link->context->fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return nadb_redis_link_fail(link, "O_NONBLOCK", reterr);
    }
    link->context->flags &= ~REDIS_BLOCK; /* what has come is read, and nothing waited for */
    guard_reader(link->context->reader);
    return NADB_OK;
}

/* Has the server closed it while nothing was under way? What is sent then seems to go out, and its
 * outcome would not be known. */
static bool is_stale(const struct nadb_redis_link *link)
{
    char byte;
    if (link->context->reader->pos < link->context->reader->len) {
        return true; /* more came than was asked for */
    }
    ssize_t got = recv(link->context->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EINTR);
}

enum nadb_err nadb_redis_link_open(
    struct nadb_redis_link *link, uint64_t deadline_us, struct nadb_error *reterr)
{
    if (link->context != NULL && is_stale(link)) {
        nadb_redis_link_close(link);
    }
    if (link->context != NULL && !link->must_load) {
        return NADB_OK;
    }
    if (link->context == NULL) {
        if (nadb_redis_now_us() < link->retry_us) {
            if (reterr != NULL) {
                *reterr = link->error;
            }
            return link->error.code;
        }
        enum nadb_err err = connect_link(link, deadline_us, reterr);
        if (err != NADB_OK) {
            return err;
        }
        link->opened++;
    }
    enum nadb_err err = greet(link, deadline_us, reterr);
    if (err == NADB_OK) {
        link->must_load = false;
        link->failures = 0;
        link->retry_us = 0;
    }
    return err;
}
