/* One client as the commands see it: no socket, no libuv.
 *
 * conn.c owns a client and moves its bytes; dispatch.c runs its commands; handlers change its
 * state. The output is one stream of bytes counted from the connection's first: `out_base` is the
 * position of out.buf's first byte, so positions stay true while sent bytes leave the buffer.
 *
 * Holds: a reply that must not leave yet, because the store is not durable so far. A queue in
 * stream order; the stream may be sent up to the first hold. When the store undoes changes, each
 * held reply is replaced by an error of its own.
 *
 * Thread: loop. */
#ifndef NADB_SERVER_CLIENT_H
#define NADB_SERVER_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/resp_writer.h"
#include "src/base/err.h"
#include "src/base/list.h"
#include "src/server/pubsub.h"
#include "src/store/store.h"

#define NADB_CLIENT_MAGIC           0x434c4e54u
#define NADB_CLIENT_NAME_MAX        1024u
#define NADB_CLIENT_ADDR_MAX        128u
#define NADB_CLIENT_OUTPUT_SOFT     ((size_t)1 << 20) /* unsent: no more commands above it */
#define NADB_CLIENT_QUEUE_BYTES_MAX ((size_t)1 << 30) /* of one MULTI */

struct nadb_server;
struct nadb_cmd;
struct nadb_window;
struct nadb_rec;
struct nadb_blob;

/* Shorter values are copied: that is cheaper than a piece of a write of their own. */
#define NADB_CLIENT_ATTACH_MIN (1u << 16)

enum nadb_reply_mode {
    NADB_REPLY_ON,
    NADB_REPLY_OFF,       /* CLIENT REPLY OFF */
    NADB_REPLY_SKIP_NEXT, /* CLIENT REPLY SKIP was just run */
    NADB_REPLY_SKIP,      /* this command's reply is dropped */
};

/* A command that waits for EXEC; owns a copy of its arguments (one allocation). */
struct nadb_queued_cmd {
    const struct nadb_cmd *cmd;
    size_t argc;
    struct nadb_slice *argv;
};

struct nadb_hold {
    uint64_t begin, end; /* stream positions of the reply */
    bool is_push;        /* a message, of which nothing is left when it is undone */
    uint64_t version;    /* what nadb_store_command_end returned */
};

/* A long value that is sent from where it lies. It belongs behind the first `at` bytes of out.buf;
 * what follows in there is sent after it. Stream positions do not count its bytes. */
struct nadb_attachment {
    struct nadb_blob *blob; /* referenced; NULL: there is none */
    size_t len, sent;
    size_t at;
};

struct nadb_client {
    unsigned magic;
    /* immutable */
    struct nadb_server *server;
    uint64_t id;
    uint64_t created_ms;             /* Unix time */
    char addr[NADB_CLIENT_ADDR_MAX]; /* "127.0.0.1:50312" or "/path/to/socket:0" */
    char laddr[NADB_CLIENT_ADDR_MAX];
    int fd;
    bool is_unix, is_loopback;
    struct nadb_list in_registry;

    /* session */
    bool is_authenticated;
    uint64_t db;
    struct nadb_keyspace *keyspace; /* referenced */
    char *name;                     /* owned, NULL = none */
    char *lib_name, *lib_ver;       /* the same */
    enum nadb_reply_mode reply_mode;
    bool no_evict, no_touch;

    /* transaction */
    bool is_multi, is_multi_broken;
    struct nadb_queued_cmd *queue;
    size_t queue_count, queue_cap, queue_bytes;
    unsigned queue_flags; /* NADB_CMD_... of all queued commands together */
    struct nadb_watcher watcher;

    struct nadb_subscriber subscriber;

    /* the command under way: set while it returned NADB_CMD_AGAIN */
    void *progress;
    void (*progress_free)(void *progress); /* NULL when there is none */
    size_t progress_bytes;                 /* what it holds, if that may be much */
    uint64_t progress_us;                  /* time its slices took so far */
    uint64_t progress_version;             /* the store must be durable up to here to answer it */
    uint64_t progress_failures;            /* failed flushes when it began */
    struct nadb_window *window; /* owned; shared backends: the next commands; see window.h */
    bool is_trial;              /* a command is running whose reply may be thrown away */
    size_t values_ready;        /* the keys of the next command before this one are in memory */

    /* output */
    struct nadb_resp_writer out;
    struct nadb_attachment attached;
    uint64_t out_base;
    struct nadb_hold *holds; /* ring in stream order */
    size_t holds_first, holds_count, holds_cap;
    bool is_closing; /* close when the output so far has been sent; no more commands */

    /* statistics */
    uint64_t last_command_ms; /* wall clock of the turn */
    const struct nadb_cmd *last_cmd;
    uint64_t commands, net_input_bytes, net_output_bytes;
    size_t query_bytes; /* unparsed input that waits; conn.c keeps it up to date */
};

/* Zero-initialised memory of the caller's; joins the server's registry; database 0. */
void nadb_client_init(struct nadb_client *client, struct nadb_server *server, size_t out_cap_max);
void nadb_client_fini(struct nadb_client *client);

/* Back to the state of a new connection (RESET), but for id and addresses. */
void nadb_client_reset(struct nadb_client *client);

/* Forgets the work of a command that has not ended: it begins anew when it is called again. */
void nadb_client_drop_progress(struct nadb_client *client);

/* Switches keyspace; false when it cannot be made (namespaces-max). */
NADB_MUST_CHECK bool nadb_client_use(
    struct nadb_client *client, uint64_t db, struct nadb_slice namespace_name);

/* ---- transaction ---- */

/* False: out of memory or NADB_CLIENT_QUEUE_BYTES_MAX passed. */
NADB_MUST_CHECK bool nadb_client_queue(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc);
void nadb_client_multi_end(struct nadb_client *client); /* drops queue and watches */

/* ---- holds ---- */

/* The reply that was written from stream position `begin` to now waits for `version`. */
void nadb_client_hold(struct nadb_client *client, uint64_t begin, uint64_t version);

/* The same for a message to the client. */
void nadb_client_hold_push(struct nadb_client *client, uint64_t begin, uint64_t version);

/* Forgets holds up to `durable`. */
void nadb_client_release(struct nadb_client *client, uint64_t durable);

/* Every reply held above `durable` becomes `-<prefix> <text>`, messages vanish; then nothing is
 * held. */
void nadb_client_fail_holds(
    struct nadb_client *client, uint64_t durable, const struct nadb_error *error);

/* The value of the record becomes the next bytes of the reply, which the caller writes the header
 * and the end of: attached, if it is long enough to be worth it and nothing is in the way. False:
 * it is to be copied. */
NADB_MUST_CHECK bool nadb_client_attach(struct nadb_client *client, const struct nadb_rec *rec);

/* conn.c has sent `count` bytes of the attachment; all of them: it is gone. */
void nadb_client_attachment_sent(struct nadb_client *client, size_t count);

/* Bytes at the front of out.buf that may be sent. */
size_t nadb_client_sendable(const struct nadb_client *client);

/* conn.c sent the first `count` of them. */
void nadb_client_sent(struct nadb_client *client, size_t count);

static inline uint64_t nadb_client_out_end(const struct nadb_client *client)
{
    return client->out_base + client->out.buf.len;
}

/* ---- registry: all clients of a server ---- */

struct nadb_client_registry {
    uint64_t next_id;
    size_t count;
    struct nadb_list all;
};

void nadb_client_registry_init(struct nadb_client_registry *registry);

/* In the order of their ids; NULL at the end. */
struct nadb_client *nadb_client_next(
    const struct nadb_client_registry *registry, const struct nadb_client *previous);
struct nadb_client *nadb_client_find(const struct nadb_client_registry *registry, uint64_t id);

#endif
