/* All connections: who has commands to run, who has bytes to send, and what they may use together.
 *
 * The turn of the loop, as connections see it:
 *
 *     sockets report bytes     each READING connection reads once and runs what it read
 *     nadb_conns_run           those that had more than a turn's share, in the order they came
 *     nadb_conns_flush         one write for each connection that has something to send
 *
 * Memory: buffers, queued transactions, watched keys and listings under way of all clients count in
 * `bytes`. Above half of `bytes_max` connections are stopped earlier when they do not read their
 * replies; above `bytes_max` nothing more is read or run in this turn, at whose end the one that
 * uses most is closed until it fits.
 *
 * Thread: loop. */
#ifndef NADB_SERVER_CONNS_H
#define NADB_SERVER_CONNS_H

#include <uv.h>

#include "protocol/resp_reader.h"
#include "src/base/err.h"
#include "src/base/list.h"
#include "src/server/conn.h"
#include "src/server/server.h"

#define NADB_CONNS_BYTES_MIN    ((size_t)1 << 30) /* least value of bytes_max */
#define NADB_CONNS_MEMORY_SHARE 4u                /* bytes_max is the machine's memory by this */
#define NADB_CONNS_SPARE_MAX    512u              /* output buffers kept for reuse */
#define NADB_CONNS_SPARE_BYTES  ((size_t)8 << 20) /* and their bytes together */
#define NADB_CONNS_OUTPUT_BYTES ((size_t)1024)    /* a new output buffer; those in use grow */
#define NADB_CONNS_OUTPUT_LEAST ((size_t)16384)   /* that a client may have whatever its limit */
#define NADB_CONNS_SPARE_LARGE  ((size_t)262144)  /* a larger one is freed after use */
#define NADB_CONNS_RUN_US       10000u            /* QUEUED connections of one turn together */
#define NADB_CONNS_PEAK_MS      4000u             /* window of the recent peaks */

struct nadb_conns {
    struct nadb_server *server;
    uv_loop_t *uv;
    void (*begin_turn)(void *ctx); /* called before a connection does anything */
    void *ctx;

    struct nadb_list all;     /* least recently ticked first */
    struct nadb_list queue;   /* QUEUED */
    struct nadb_list waiting; /* WAITING */
    struct nadb_list dirty;   /* something to send, or to be closed */
    struct nadb_list held;    /* replies wait for the store */
    size_t count;             /* of all */
    bool is_paused;           /* nothing is read or run: the server is stopping */

    size_t bytes, bytes_max;
    uint64_t peak_started_ms;
    size_t input_peak, output_peak; /* of the present window */

    /* Shared by all, used within one call. */
    struct nadb_resp_group group;
    char *read_buffer;

    /* Output buffers of connections that have sent everything. */
    struct nadb_buf spare[NADB_CONNS_SPARE_MAX];
    size_t spare_count, spare_bytes;
};

void nadb_conns_init(struct nadb_conns *conns, struct nadb_server *server, uv_loop_t *uv,
    void (*begin_turn)(void *ctx), void *ctx);

/* All connections must be closed and their handles' callbacks have run. */
void nadb_conns_fini(struct nadb_conns *conns);

/* ---- the turn ---- */

void nadb_conns_run(struct nadb_conns *conns);
void nadb_conns_flush(struct nadb_conns *conns);

/* Clients use more than bytes_max together: nothing more is read or run before the next flush. So
 * the bound is passed by what one run of one connection allocates, not by all of a turn. */
bool nadb_conns_is_over_budget(const struct nadb_conns *conns);

/* True while connections have commands that only need another turn. */
bool nadb_conns_have_work(const struct nadb_conns *conns);

/* Idle and output limits of the next `1/rounds` of all connections. */
void nadb_conns_tick(struct nadb_conns *conns, size_t rounds);

/* ---- what the store says ---- */

void nadb_conns_durable(struct nadb_conns *conns, uint64_t durable);
void nadb_conns_undone(struct nadb_conns *conns, uint64_t durable, const struct nadb_error *error);
void nadb_conns_admit(struct nadb_conns *conns);

/* ---- what the server says ---- */

/* Looks at every connection for output, holds and is_closing that others changed. */
void nadb_conns_scan(struct nadb_conns *conns);

/* Limits in the configuration have changed. */
void nadb_conns_reconfigure(struct nadb_conns *conns);

void nadb_conns_pause(struct nadb_conns *conns);
void nadb_conns_resume(struct nadb_conns *conns);

/* Every connection closes once it has sent what it has; close_all does not wait for that. */
void nadb_conns_finish(struct nadb_conns *conns);
void nadb_conns_close_all(struct nadb_conns *conns);

/* ---- for conn.c ---- */

/* The hard limit of a client's output buffer, from configuration and budget. */
size_t nadb_conns_output_max(const struct nadb_conns *conns);

/* An empty output buffer with some capacity into `buf`, which has none, and back. */
void nadb_conns_take_buffer(struct nadb_conns *conns, struct nadb_buf *buf);
void nadb_conns_give_buffer(struct nadb_conns *conns, struct nadb_buf *buf);

#endif
