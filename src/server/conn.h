/* One connection: moves bytes between a socket and a client, and runs its commands.
 *
 * Why uv_poll and not a uv_stream: the bytes to send stay where the handlers wrote them, in
 * client.out, and may grow, be held or be replaced there until the socket takes them; a stream
 * would want them unchanged until its callback. Reading needs one buffer for all connections.
 * So an idle connection owns no buffer at all.
 *
 *     READING -> QUEUED    [run_commands: its share of the turn is used up, or a command yielded]
 *     READING -> WAITING   [run_commands: the store does not admit writes just now]
 *     READING -> BLOCKED   [run_commands: the client does not read its replies]
 *     QUEUED  -> READING, WAITING, BLOCKED, QUEUED   [nadb_conns_run, next turn]
 *     WAITING -> QUEUED    [nadb_conns_admit]
 *     BLOCKED -> QUEUED    [nadb_conn_flush: enough has been sent]
 *
 * Invariants
 *   1. Only READING connections read. In the other states `input` holds what is to be run next,
 *      so it never grows there. (The socket is watched until it reports bytes once more: most
 *      states end before that, and changing what is watched costs system calls.)
 *   2. `input` starts at a command's first byte.
 *   3. The first `written` bytes of client.out have gone to the socket; they lie below
 *      nadb_client_sendable.
 *   4. A connection is freed only by its handle's close callback, never below its own functions.
 *
 * Thread: loop. */
#ifndef NADB_SERVER_CONN_H
#define NADB_SERVER_CONN_H

#include <uv.h>

#include "protocol/resp_reader.h"
#include "src/server/client.h"

#define NADB_CONN_MAGIC             0x434f4e4eu
#define NADB_CONN_READ_BYTES        ((size_t)64 * 1024)   /* of one read, and so of one turn */
#define NADB_CONN_GROW_BYTES        ((size_t)16 * 1024)   /* least room for the rest of a command */
#define NADB_CONN_TURN_US           2000u                 /* commands of one turn */
#define NADB_CONN_OUTPUT_SOFT_TIGHT ((size_t)64 * 1024)   /* soft limit while memory is short */
#define NADB_CONN_OUTPUT_SOFT_GUEST ((size_t)16 * 1024)   /* the same before authentication */
#define NADB_CONN_LINGER_MS         2000u                 /* for the last replies to be taken */
#define NADB_CONN_DRAIN_BYTES       ((size_t)1024 * 1024) /* of input thrown away at the end */

/* What Redis allows before authentication. */
#define NADB_CONN_GUEST_ARGS_MAX 10u
#define NADB_CONN_GUEST_BULK_MAX 16384u

struct nadb_conns;

enum nadb_conn_state {
    NADB_CONN_READING,
    NADB_CONN_QUEUED,
    NADB_CONN_WAITING,
    NADB_CONN_BLOCKED,
};

struct nadb_conn {
    unsigned magic;
    enum nadb_conn_state state;
    struct nadb_conns *conns;
    struct nadb_list in_all;
    struct nadb_list in_queue; /* conns->queue or conns->waiting */
    struct nadb_list in_dirty;
    struct nadb_list in_held;

    uv_poll_t poll;
    int poll_events; /* what `poll` watches for */
    bool is_write_blocked;

    struct nadb_resp_reader reader;
    struct nadb_buf input;
    size_t written;
    size_t accounted_bytes; /* its part of conns->bytes */

    uint64_t active_ms;    /* loop time of the last byte either way */
    uint64_t over_soft_ms; /* loop time since which output is above the soft limit; 0: it is not */

    struct nadb_client client;
};

/* What is known of an accepted socket. */
struct nadb_conn_peer {
    char addr[NADB_CLIENT_ADDR_MAX];
    char laddr[NADB_CLIENT_ADDR_MAX];
    bool is_unix, is_loopback;
};

/* Takes `fd`, a connected non-blocking socket. NULL, with `fd` closed, if libuv refuses it. */
struct nadb_conn *nadb_conn_new(
    struct nadb_conns *conns, int fd, const struct nadb_conn_peer *peer);

/* Runs what `input` holds; only for a connection that has just left conns->queue. */
void nadb_conn_run(struct nadb_conn *conn);

/* One write of what may be sent, then closes if that was the last. Not below another function of
 * the connection's. */
void nadb_conn_flush(struct nadb_conn *conn);

/* After something outside changed client.out, its holds or is_closing: puts the connection into
 * the lists it belongs to. False: it has been closed, its output was beyond the limit. */
bool nadb_conn_note_output(struct nadb_conn *conn);

/* The same after messages were written to the client: its class may have a limit of its own. */
void nadb_conn_note_pushed(struct nadb_conn *conn);

/* Bytes the kernel has not taken yet, held ones included. */
static inline size_t nadb_conn_unsent(const struct nadb_conn *conn)
{
    const struct nadb_client *client = &conn->client;
    return client->out.buf.len - conn->written + client->attached.len - client->attached.sent;
}

/* Idle timeout, soft output limit, lingering. */
void nadb_conn_tick(struct nadb_conn *conn, uint64_t now_ms);

/* Reads again if it is READING: after conns->is_paused was unset. */
void nadb_conn_resume(struct nadb_conn *conn);

/* At once; unsent bytes are lost. A second call does nothing. */
void nadb_conn_close(struct nadb_conn *conn);

#endif
