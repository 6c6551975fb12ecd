/* From parsed commands to handlers: the one path that every command takes.
 *
 *     look up the row, hash the first key, warm the index        for the whole group
 *     authentication, arity, loading, transaction, admission     for each command, in order
 *     begin - handler - end, hold, statistics
 *
 * Thread: loop. */
#ifndef NADB_SERVER_DISPATCH_H
#define NADB_SERVER_DISPATCH_H

#include "protocol/resp_reader.h"
#include "src/server/client.h"
#include "src/server/cmd.h"
#include "src/server/server.h"

enum nadb_dispatch_status {
    NADB_DISPATCH_DONE,  /* all commands of the group ran */
    NADB_DISPATCH_WAIT,  /* the next one waits until the store says that it may try again */
    NADB_DISPATCH_AGAIN, /* the next one wants to go on in a later turn */
    NADB_DISPATCH_CLOSE, /* the client is closing: what follows is not run */
};

/* Runs the group's commands in order; *ret_count says how many are done. The remaining ones are to
 * be parsed and given again later: with NADB_DISPATCH_AGAIN the first of them is the very command
 * whose progress the client keeps. Replies are in client->out, holds noted. */
enum nadb_dispatch_status nadb_dispatch_group(struct nadb_server *server,
    struct nadb_client *client, const struct nadb_resp_group *group, size_t *ret_count);

/* Runs one call that has passed all checks: also for the commands of an EXEC. Statistics are
 * counted, errors noted; holds are the caller's business. */
enum nadb_cmd_status nadb_dispatch_call(struct nadb_call *call);

/* Writes the error for a command that does not exist, with Redis's words, into `out`. */
void nadb_dispatch_unknown(
    struct nadb_resp_writer *out, const struct nadb_slice *argv, size_t argc);

#endif
