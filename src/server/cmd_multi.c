/* This file holds transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH. */
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"
#include "src/server/dispatch.h"
#include "src/server/values.h"

enum nadb_cmd_status nadb_cmd_multi(struct nadb_call *call)
{
    if (call->client->is_multi) {
        return nadb_reply_error(call, "ERR MULTI calls can not be nested");
    }
    call->client->is_multi = true;
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_discard(struct nadb_call *call)
{
    if (!call->client->is_multi) {
        return nadb_reply_error(call, "ERR DISCARD without MULTI");
    }
    nadb_client_multi_end(call->client);
    return nadb_reply_ok(call);
}

/* Has a watched key changed? WATCH is refused while loading, so then there is none. */
static bool is_watch_dirty(struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    return (client->watcher.watches != NULL || client->watcher.is_dirty) &&
           nadb_store_watch_is_dirty(call->store, &client->watcher);
}

/* All of a transaction goes into one batch, and a batch has its bounds. */
static bool is_too_much(const struct nadb_call *step)
{
    unsigned flags = step->cmd->flags;
    return (flags & NADB_CMD_WRITE) &&
           nadb_store_is_batch_full(step->store, (flags & NADB_CMD_DENYOOM) != 0);
}

/* A shared backend changes a whole keyspace in a step of its own, not together with keys; and what
 * it says of one does not know what the transaction has changed. */
static bool is_too_wide(const struct nadb_call *step)
{
    unsigned flags = step->cmd->flags;
    return nadb_store_is_shared(step->store) && step->cmd->key_first == 0 &&
           ((flags & NADB_CMD_WRITE) ||
               ((flags & NADB_CMD_READONLY) && nadb_store_has_changed(step->store)));
}

/* Runs everything queued. All of it happens between one begin and one end of the store, so that
 * it reaches the disk whole. */
static void run_queue(struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    nadb_resp_array(call->out, client->queue_count);
    for (size_t i = 0; i < client->queue_count; i++) {
        const struct nadb_queued_cmd *queued = &client->queue[i];
        struct nadb_call step = *call;
        step.cmd = queued->cmd;
        step.argv = queued->argv;
        step.argc = queued->argc;
        step.keyspace = client->keyspace; /* an earlier SELECT may have changed it */
        step.may_yield = false;
        if (queued->cmd->key_first > 0 && queued->argc > (size_t)queued->cmd->key_first) {
            step.first_key = nadb_store_key(call->store, queued->argv[queued->cmd->key_first]);
        }
        if (is_too_much(&step)) {
            (void)nadb_reply_error(&step, "OOM the transaction changes too much data");
            continue;
        }
        if (is_too_wide(&step)) {
            (void)nadb_reply_error(
                &step, "%s %s", nadb_err_prefix(NADB_ECROSSSLOT), nadb_err_text(NADB_ECROSSSLOT));
            continue;
        }
        struct nadb_error error;
        if (NADB_UNLIKELY(nadb_store_has_cold(call->store)) &&
            nadb_values_load(&step, &error) != NADB_OK) {
            (void)nadb_reply_err(&step, &error);
            continue;
        }
        (void)nadb_dispatch_call(&step); /* DONE: it may not yield */
        call->server->counters.commands_processed++;
    }
}

/* Dispatch ends the transaction when the reply stands: it may have to run again. */
enum nadb_cmd_status nadb_cmd_exec(struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    if (!client->is_multi) {
        return nadb_reply_error(call, "ERR EXEC without MULTI");
    }
    if (client->is_multi_broken) {
        return nadb_reply_error(
            call, "EXECABORT Transaction discarded because of previous errors.");
    }
    if (is_watch_dirty(call)) {
        nadb_resp_null_array(call->out);
        return NADB_CMD_DONE;
    }
    /* What the transaction itself changes is not what it watches for. */
    if (client->watcher.watches != NULL && !nadb_store_is_shared(call->store)) {
        nadb_store_unwatch(call->store, &client->watcher);
    }
    run_queue(call);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_watch(struct nadb_call *call)
{
    if (call->client->is_multi) {
        return nadb_reply_error(call, "ERR WATCH inside MULTI is not allowed");
    }
    for (size_t i = 1; i < call->argc; i++) {
        struct nadb_key key = nadb_arg_key(call, i);
        nadb_store_watch(call->store, &call->client->watcher, call->keyspace, &key);
    }
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_unwatch(struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    if (client->watcher.watches != NULL || client->watcher.is_dirty) {
        nadb_store_unwatch(call->store, &client->watcher);
    }
    return nadb_reply_ok(call);
}
