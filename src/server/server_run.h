/* One whole life of a daemon: what main needs of the server. Thread: the one that becomes the loop
 * thread. */
#ifndef NADB_SERVER_SERVER_RUN_H
#define NADB_SERVER_SERVER_RUN_H

#include "backends/backend.h"
#include "config/config.h"
#include "src/base/err.h"

enum nadb_exit_code {
    NADB_EXIT_OK = 0,
    NADB_EXIT_FAILED = 1,  /* could not start, or could not make everything durable */
    NADB_EXIT_DAMAGED = 3, /* stored data is damaged or of an unknown format */
};

struct nadb_server_opts {
    struct nadb_config *config; /* borrowed; CONFIG SET changes it */
    const struct nadb_backend_ops *backend_ops;
    void (*on_ready)(void *ctx); /* clients are served from now on; NULL allowed */
    void *on_ready_ctx;
};

/* Starts, serves and stops. Returns an enum nadb_exit_code; when that is not NADB_EXIT_OK, reterr
 * says why in one line that has not been logged yet. */
int nadb_server_run(const struct nadb_server_opts *opts, struct nadb_error *reterr);

#endif
