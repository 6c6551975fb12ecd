/* Sees to it that the values which a command needs are in memory when it runs.
 *
 * Handlers read values as if all of them were in memory. What is on disk only is fetched before, in
 * jobs: the client waits, not the loop, and runs the command when all of it is there. The row says
 * whether a command needs values (NADB_CMD_VALUE); for SET its options do. Of two keys of which the
 * second is only written, the first is needed.
 *
 * What a pipeline asks for is fetched together, and so is what a transaction asks for. Only when a
 * transaction changes the keyspace on its way does it come upon keys that nobody could know of:
 * those are read at once, when it gets there.
 *
 * Thread: loop. */
#ifndef NADB_SERVER_VALUES_H
#define NADB_SERVER_VALUES_H

#include "src/server/client.h"
#include "src/server/cmd.h"
#include "src/store/attempt.h"

enum nadb_values {
    NADB_VALUES_READY,
    NADB_VALUES_PENDING, /* being fetched: the client waits for the store's `admit` */
    NADB_VALUES_FAILED,  /* *reterr says why */
};

/* For the next command of the client. `client->values_ready` keeps the place between attempts. */
enum nadb_values nadb_values_prepare(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc, struct nadb_error *reterr);

/* For a command that will run later: starts what it needs, as far as that is known now. */
void nadb_values_ask(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc);

/* On a shared backend: is it worth asking for the command's keys before it runs? Not for one that
 * has none, or that replaces whole records without looking at them. */
bool nadb_values_must_ask(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc);

/* Then: asks for all of them, and for the values of those whose values it needs. */
void nadb_values_ask_for(struct nadb_attempt *attempt, const struct nadb_call *call);

/* For a command of a transaction that is running. */
NADB_MUST_CHECK enum nadb_err nadb_values_load(struct nadb_call *call, struct nadb_error *reterr);

#endif
