/* The libuv side of the server: one loop, its turn, its timers, and what hangs on it.
 *
 * A turn is one iteration of the loop:
 *
 *     timers            due_timer: the store has something to do; tick_timer: housekeeping
 *     poll              sockets are read and their commands run; jobs end
 *     check             connections with more to run; nadb_store_turn_end; replies are sent;
 *                       a slice of background work; replies that it released are sent
 *
 * The first callback of an iteration that may touch the store begins the turn, the check ends it.
 * While connections or the store have more work, an idle handle keeps poll from waiting.
 *
 * Folder-internal: server.c and loop.c. Thread: loop. */
#ifndef NADB_SERVER_LOOP_H
#define NADB_SERVER_LOOP_H

#include <uv.h>

#include "src/server/client.h"
#include "src/server/conns.h"
#include "src/server/executor.h"
#include "src/server/listener.h"
#include "src/server/notify.h"
#include "src/server/server.h"
#include "src/server/signals.h"

#define NADB_LOOP_MAGIC 0x4c4f4f50u

/* Background work of one turn: as long as the clients took, within these bounds. So background work
 * always gets its share of a busy loop, and who asks while nobody else does waits for the least of
 * it, and of what cannot be divided, only. A turn costs about 3 us beside. */
#define NADB_LOOP_STEP_MIN_US 50u
#define NADB_LOOP_STEP_MAX_US 1000u
#define NADB_LOOP_DUE_MS_MAX  100u  /* the store is looked after at least that often */
#define NADB_LOOP_FINISH_MS   1000u /* for clients to take their last replies at shutdown */

/*     RUNNING -> ASKED      [nadb_server_shutdown]
 *     ASKED -> CLOSING      [check: the store is closing]
 *     CLOSING -> RUNNING    [closed: the last flush failed, and the client did not insist]
 *     CLOSING -> FINISHING  [closed: clients get their last replies]
 *     FINISHING -> ENDED    [all clients are gone, or had time enough: handles are closing] */
enum nadb_loop_phase {
    NADB_LOOP_RUNNING,
    NADB_LOOP_ASKED,
    NADB_LOOP_CLOSING,
    NADB_LOOP_FINISHING,
    NADB_LOOP_ENDED,
};

struct nadb_server_loop {
    unsigned magic;
    struct nadb_server server;
    struct nadb_client_registry clients;
    struct nadb_cmdstats cmdstats;
    char *executable; /* owned */

    uv_loop_t uv;
    struct nadb_uv_executor executor;
    struct nadb_conns conns;
    struct nadb_listeners listeners;
    struct nadb_signals signals;
    struct nadb_notify notify;

    uv_check_t check;
    uv_idle_t spin;
    uv_timer_t due_timer, tick_timer;
    uint64_t due_at_ms; /* loop time that due_timer is armed for; 0: it is not */
    bool is_in_turn;
    uint64_t turn_us; /* monotonic clock when the turn began */
    bool has_store_work;
    bool must_scan; /* nadb_server_wake was called */
    void (*on_ready)(void *ctx);
    void *on_ready_ctx;

    enum nadb_loop_phase phase;
    unsigned shutdown_flags;
    uint64_t requester_id; /* client that asked for the shutdown; 0: a signal */
    uint64_t finish_by_ms;
    int exit_code;
    struct nadb_error start_error; /* why the data could not be opened */
};

/* Sets up the loop's own handles; the members above them are the caller's. */
void nadb_loop_init(struct nadb_server_loop *loop);
void nadb_loop_start(struct nadb_server_loop *loop);

/* Closes the loop's own handles, so that uv_run returns when all others are closed, too. */
void nadb_loop_stop(struct nadb_server_loop *loop);

/* Begins the turn if it has not begun. */
void nadb_loop_begin_turn(struct nadb_server_loop *loop);

/* Another turn follows at once. */
void nadb_loop_spin(struct nadb_server_loop *loop);

/* After `hz` has changed. */
void nadb_loop_set_ticks(struct nadb_server_loop *loop);

/* ---- server.c, called by the check ---- */

/* Takes a shutdown that was asked for one step further. */
void nadb_server_continue_shutdown(struct nadb_server_loop *loop);

#endif
