/* Where clients come in: TCP addresses and a Unix socket.
 *
 * Accepting never starves the storage of descriptors: NADB_LISTENER_RESERVE of them are kept free
 * by nadb_listeners_limit, and when the process has none left, accepting pauses.
 *
 * Thread: loop. */
#ifndef NADB_SERVER_LISTENER_H
#define NADB_SERVER_LISTENER_H

#include <uv.h>

#include "src/base/err.h"
#include "src/server/conns.h"

#define NADB_LISTENER_MAX        32u  /* addresses */
#define NADB_LISTENER_ACCEPT_MAX 128u /* clients taken in one turn */
#define NADB_LISTENER_RESERVE    64u  /* descriptors for storage, log, libuv and the like */
#define NADB_LISTENER_ADMIN_MAX  4u   /* clients above maxclients, on the Unix socket only */

struct nadb_listener {
    unsigned magic;
    struct nadb_listeners *owner;
    uv_poll_t poll;
    int fd;
    bool is_unix;
};

struct nadb_listeners {
    /* private */
    struct nadb_conns *conns;
    struct nadb_listener items[NADB_LISTENER_MAX];
    size_t count;
    bool is_accepting;
    bool has_warned; /* of a lack of descriptors, this time */
    char *unix_path; /* owned; to be removed at the end */
};

/* Binds and listens as the configuration says; accepts once started. On failure nothing listens.
 * The port that was bound goes to server->tcp_port. */
NADB_MUST_CHECK enum nadb_err nadb_listeners_open(
    struct nadb_listeners *listeners, struct nadb_conns *conns, struct nadb_error *reterr);

/* Closes everything and removes the Unix socket; the memory must last until the loop has run once
 * more. Also after a failed open, and twice. */
void nadb_listeners_close(struct nadb_listeners *listeners);

void nadb_listeners_start(struct nadb_listeners *listeners);
void nadb_listeners_stop(struct nadb_listeners *listeners);

/* After a lack of descriptors: tries again. To be called now and then. */
void nadb_listeners_retry(struct nadb_listeners *listeners);

/* Raises the process's limit of descriptors for `maxclients`; returns how many clients there is
 * really room for. */
int64_t nadb_listeners_limit(int64_t maxclients);

#endif
