/* One connection to a server of the engine. It is opened when it is needed, greeted (user,
 * database, scripts) and closed at the first thing that goes wrong; after a failure it is not tried
 * again for a while that grows, so that who needs it learns so at once. Never waits beyond a
 * deadline. Thread: the lane's. */
#ifndef NADB_BACKENDS_REDIS_LINK_H
#define NADB_BACKENDS_REDIS_LINK_H

#include <hiredis/hiredis.h>

#include "backends/redis/url.h"
#include "src/base/random.h"
#include "src/base/slice.h"

#define NADB_REDIS_ADDRESS_MAX (NADB_REDIS_HOST_MAX + 8)

struct nadb_redis_link {
    struct nadb_redis_url url;
    char address[NADB_REDIS_ADDRESS_MAX]; /* "host:port" or the path, for people */
    redisContext *context;                /* NULL: closed */
    bool must_load;                       /* the engine has lost its scripts */
    uint64_t retry_us;                    /* not tried before */
    unsigned failures;                    /* since it was last open */
    struct nadb_error error;              /* of the last of them */
    struct nadb_rng rng;
    uint64_t opened; /* times */
};

void nadb_redis_link_init(struct nadb_redis_link *link, const struct nadb_redis_url *url);
void nadb_redis_link_close(struct nadb_redis_link *link); /* can be opened again */

/* Makes it ready for commands. Errors: NADB_EIO "backend down: ..."; NADB_EENGINE with the line by
 * which the server turned us away. */
NADB_MUST_CHECK enum nadb_err nadb_redis_link_open(
    struct nadb_redis_link *link, uint64_t deadline_us, struct nadb_error *reterr);

/* Sends commands and gives their `count` replies, which the caller frees. A failure closes it. */
NADB_MUST_CHECK enum nadb_err nadb_redis_link_talk(struct nadb_redis_link *link,
    struct nadb_slice commands, redisReply **ret, size_t count, uint64_t deadline_us,
    struct nadb_error *reterr);

/* Closes, remembers why, and keeps it closed for a while. Gives NADB_EIO and the error. */
enum nadb_err nadb_redis_link_fail(
    struct nadb_redis_link *link, const char *reason, struct nadb_error *reterr);

/* Reads what has come; false: the connection is lost, *ret_reason says how. */
NADB_MUST_CHECK bool nadb_redis_link_receive(struct nadb_redis_link *link, const char **ret_reason);

/* The next reply of what was read, or NULL in *ret: there is none yet. False: as above. */
NADB_MUST_CHECK bool nadb_redis_link_next(
    struct nadb_redis_link *link, redisReply **ret, const char **ret_reason);

/* "ERR some text" without line ends. */
enum nadb_err nadb_redis_error_line(const redisReply *reply, struct nadb_error *reterr);

uint64_t nadb_redis_now_us(void);

/* poll()'s timeout up to `deadline_us`: at least 0. */
int nadb_redis_left_ms(uint64_t deadline_us);

#endif
