/* What a command handler may use: the call it answers, and the table it stands in.
 *
 * A handler is a plain synchronous function on the loop thread. It reads arguments and records,
 * changes records through the store and writes exactly one reply (pushes aside). It never blocks,
 * never touches a socket, a file or a lock. A handler whose work may take long returns
 * NADB_CMD_AGAIN before it wrote or changed anything irrevocable: it is called again, with its
 * `progress`, in a later turn, while other clients go on; inside EXEC `may_yield` is false and it
 * must finish. NADB_CMD_WAIT is the same for what the store has to do first.
 *
 * The table is src/server/commands.def, the only place where a command is declared: dispatch,
 * arity errors, key positions, COMMAND and its subcommands, HELP and the tests read it. */
#ifndef NADB_SERVER_CMD_H
#define NADB_SERVER_CMD_H

#include "protocol/resp_writer.h"
#include "src/base/slice.h"
#include "src/store/store.h"

struct nadb_client;
struct nadb_server;
struct nadb_call;

enum nadb_cmd_status {
    NADB_CMD_DONE,  /* the reply is written */
    NADB_CMD_AGAIN, /* call me again in a later turn */
    NADB_CMD_WAIT,  /* ... when the store has said that who waits may try again (admit) */
};

typedef enum nadb_cmd_status nadb_cmd_fn(struct nadb_call *call);

enum nadb_cmd_flag {
    NADB_CMD_WRITE = 1 << 0,    /* may change records */
    NADB_CMD_READONLY = 1 << 1, /* reads records */
    NADB_CMD_DENYOOM = 1 << 2,  /* refused above maxmemory: it may need more memory */
    NADB_CMD_FAST = 1 << 3,     /* constant time; timed in groups */
    NADB_CMD_ADMIN = 1 << 4,
    NADB_CMD_NOAUTH = 1 << 5,  /* allowed before authentication */
    NADB_CMD_LOADING = 1 << 6, /* allowed while the data is loaded */
    NADB_CMD_NOMULTI = 1 << 7, /* refused inside MULTI */
    NADB_CMD_NOQUEUE = 1 << 8, /* runs at once inside MULTI: EXEC DISCARD WATCH ... */
    NADB_CMD_COUNTS = 1 << 9,  /* due keys are retired before it runs, so that counts are exact */
    NADB_CMD_DANGEROUS = 1 << 10,
    NADB_CMD_PUBSUB = 1 << 11,    /* what it answers is pushed, also with CLIENT REPLY OFF */
    NADB_CMD_GROUPED = 1 << 12,   /* timed in groups, although Redis does not call it fast */
    NADB_CMD_CONTAINER = 1 << 13, /* argv[1] names a subcommand */
    NADB_CMD_NOSCRIPT = 1 << 14,  /* not for scripts; COMMAND shows it */
    NADB_CMD_LISTENING = 1 << 15, /* allowed to a subscriber that speaks RESP2 */
    NADB_CMD_VALUE = 1 << 16,     /* needs the values of its keys in memory; see values.h */
    NADB_CMD_TIMES = 1 << 17,     /* needs to know when its first key was created */
};

/* One row; const data generated from commands.def. */
struct nadb_cmd {
    const char *name;     /* lower case; a subcommand is "config|get" */
    nadb_cmd_fn *handler; /* NULL for a container that only has subcommands */
    int arity;            /* Redis's: with the name; negative = at least */
    unsigned flags;
    const char *key_flags; /* "RO access", "RW update", ...: for key specs; "" if no keys;
                                    two specs, of a key each, are parted by ';' */
    int key_first, key_last, key_step; /* Redis's */
    const char *group, *since, *complexity, *summary;
    const char *args;                 /* syntax line; the grammar is in commands.def */
    const struct nadb_cmd *container; /* NULL unless a subcommand */
};

struct nadb_call {
    struct nadb_server *server;
    struct nadb_client *client;
    struct nadb_store *store;
    struct nadb_keyspace *keyspace; /* the client's current one */
    const struct nadb_cmd *cmd;
    const struct nadb_slice *argv; /* argv[0] is the name; for a subcommand argv[1] its own */
    size_t argc;
    struct nadb_resp_writer *out; /* the client's reply buffer */
    uint64_t now_ms;              /* wall clock of this turn */
    struct nadb_key first_key;    /* hashed already when the row has key_first > 0 */
    bool may_yield;
    void **progress; /* *progress is the handler's while it returns AGAIN */
};

#endif
