/* Where an engine is: redis://[user:password@]host:port[/db] or
 * unix://[user:password@]/path[?db=n]. Users, passwords and paths may have %XX for what would not
 * fit. Thread: any. */
#ifndef NADB_BACKENDS_REDIS_URL_H
#define NADB_BACKENDS_REDIS_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/err.h"

#define NADB_REDIS_HOST_MAX     256
#define NADB_REDIS_PASSWORD_MAX 512
#define NADB_REDIS_PORT_DEFAULT 6379

struct nadb_redis_url {
    bool is_unix;
    char host[NADB_REDIS_HOST_MAX]; /* or the path */
    uint16_t port;                  /* 0: a path */
    uint32_t db;
    char user[NADB_REDIS_PASSWORD_MAX]; /* "": none */
    char password[NADB_REDIS_PASSWORD_MAX];
};

/* Errors: NADB_EINVAL, naming the url without what is in front of its '@'. */
NADB_MUST_CHECK enum nadb_err nadb_redis_url_parse(
    const char *text, struct nadb_redis_url *ret, struct nadb_error *reterr);

#endif
