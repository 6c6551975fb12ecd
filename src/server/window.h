/* A client's next commands on a shared backend: what each has come to so far.
 *
 * Every command there is an attempt (src/store/attempt.h): it may have to wait for the engine
 * twice, and to run again. So that a pipeline does not wait for each command by itself, the
 * commands behind the first one are begun, too, as far as nobody can tell: they stay in the
 * client's input until those before them have been answered, and the window keeps an attempt, and
 * when it is known the reply, for each.
 *
 * In which order things happen:
 *   1. A client is looked at only when nothing of its window is under way, so all that one look
 *      sends is in one batch, in the order of the commands.
 *   2. A command that only reads, or writes blindly, is sent when all before it have been sent:
 *      what it sees or does comes after what they do to the same keys (and nearly always to others:
 *      backends/shared.h, 2).
 *   3. A command that changes what it has read is fetched for ahead of that, unless it has a key in
 *      common with one that has not been sent: its commit, which fails if the fetch was too early,
 *      waits as in 2.
 *   4. What only reads or writes blindly waits for those before it that share a key with it and may
 *      have to run again.
 *   5. Replies are in the order of the commands.
 * So a pipeline of reads and blind writes takes one round trip, one of others two. When a commit
 * meets a conflict it is made again, behind those that were sent after it.
 *
 * Commands without keys, transactions and what changes the session begin when they are first, and
 * nothing behind them begins before they are over.
 *
 * Thread: loop. */
#ifndef NADB_SERVER_WINDOW_H
#define NADB_SERVER_WINDOW_H

#include "protocol/resp_reader.h"
#include "src/server/client.h"
#include "src/server/cmd.h"

/* What a group's preparation knows of a command. */
struct nadb_prepared {
    const struct nadb_cmd *cmd; /* NULL: unknown; a container: unknown subcommand */
    struct nadb_key key;        /* when the row has keys and the call that many arguments */
};

/* Has the first command of the window been begun? Then it has passed its checks. */
bool nadb_window_has_begun(const struct nadb_client *client);

/* Is something under way? Until then the client need not be looked at. */
bool nadb_window_is_waiting(const struct nadb_client *client);

/* Takes the client's first command as far as it goes. DONE: its reply is written, and the next one
 * is the first. AGAIN, WAIT: as for a handler. */
enum nadb_cmd_status nadb_window_run(struct nadb_call *call);

/* The first command, group->cmds[first], waits: begins those behind it. `call` is any call of the
 * client's. */
void nadb_window_run_ahead(const struct nadb_call *call, const struct nadb_resp_group *group,
    const struct nadb_prepared *prepared, size_t first);

size_t nadb_window_bytes(const struct nadb_client *client);

/* Gives everything up. */
void nadb_window_free(struct nadb_client *client);

#endif
