/* The server: everything one daemon has that is not one client's.
 *
 * The struct is open to the command handlers, which read it and count in it; what needs the event
 * loop is behind functions. Thread: loop. */
#ifndef NADB_SERVER_SERVER_H
#define NADB_SERVER_SERVER_H

#include "backends/backend.h"
#include "config/config.h"
#include "src/base/hash.h"
#include "src/base/list.h"
#include "src/server/cmdstats.h"
#include "src/server/pubsub.h"
#include "src/store/store.h"

#define NADB_SERVER_MAGIC 0x53525652u
#define NADB_RUN_ID_LEN   40u
#define NADB_OPS_SAMPLES  16u /* tenths of a second that instantaneous rates look back */

struct nadb_attempt;
struct nadb_client;
struct nadb_client_registry;

enum nadb_server_state {
    NADB_SERVER_LOADING,
    NADB_SERVER_READY,
    NADB_SERVER_STOPPING, /* no new clients or commands; flushing */
};

/* Counted by conn.c, dispatch.c and listener.c, shown by INFO, zeroed by CONFIG RESETSTAT. */
struct nadb_server_counters {
    uint64_t connections_received, connections_rejected;
    uint64_t commands_processed;
    uint64_t net_input_bytes, net_output_bytes;
    uint64_t reads_processed, writes_processed;
    uint64_t error_replies;
    uint64_t output_limit_disconnections, query_limit_disconnections;
};

/* A rate over the last samples, fed by the periodic timer. */
struct nadb_rate {
    uint64_t last_value, last_us;
    uint64_t samples[NADB_OPS_SAMPLES];
    size_t next;
};

struct nadb_server {
    unsigned magic;
    enum nadb_server_state state;

    /* immutable after start */
    struct nadb_config *config;
    struct nadb_store *store;
    struct nadb_clock *clock;
    struct nadb_client_registry *clients;
    char run_id[NADB_RUN_ID_LEN + 1];
    uint64_t start_wall_ms, start_mono_us;
    const char *executable;        /* absolute path */
    uint16_t tcp_port;             /* as bound; 0 = none */
    struct nadb_server_loop *loop; /* the libuv side: server.c's */

    struct nadb_pubsub pubsub;
    struct nadb_attempt *spare_attempt; /* owned; window.c's */

    /* statistics */
    struct nadb_server_counters counters;
    struct nadb_cmdstats *cmdstats; /* one a row of the command table, errors by prefix */
    struct nadb_rate ops_rate, input_rate, output_rate;
    size_t startup_memory_bytes;
    uint64_t clients_peak_input_bytes, clients_peak_output_bytes;
    uint64_t attack_logged_ms; /* when a web browser at the port was last worth a line; 0 = never */
};

/* ---- what handlers may ask of the loop; server.c ---- */

enum nadb_shutdown_flag {
    NADB_SHUTDOWN_NOSAVE = 1 << 0, /* what is buffered is dropped */
    NADB_SHUTDOWN_FORCE = 1 << 1,  /* stop although the last flush fails */
};

/* Begins the shutdown: no more commands; flush (unless NOSAVE), close, exit code 0, or, when the
 * data could not be made durable: without FORCE the server goes on and `requester` (if it is still
 * there) gets an error; by signal, exit code 1. `requester` may be NULL. A second call while one
 * is under way does nothing. */
void nadb_server_shutdown(
    struct nadb_server *server, unsigned flags, struct nadb_client *requester);

/* After CONFIG SET: hands changed values to those that keep copies (log level, store, limits). */
void nadb_server_config_changed(struct nadb_server *server);

/* The client's next commands must be looked at in a coming turn: NADB_CMD_AGAIN and the like. */
void nadb_server_wake(struct nadb_server *server);

/* Called by the loop at regular times with the counter's present value. */
void nadb_rate_sample(struct nadb_rate *rate, uint64_t value, uint64_t now_us);

/* Per second, from the samples. */
double nadb_rate_per_second(const struct nadb_rate *rate);

#endif
