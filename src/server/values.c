/* This file fetches the values that commands need. */
#include "src/server/values.h"

#include "src/server/cmd_table.h"
#include "src/server/server.h"

/* Keys of a command whose values it needs: from `first` to `last` by `step`. */
struct keys {
    size_t first, last, step;
};

/* Does SET answer the old value, or compare it? The options end where the tags begin. */
static bool set_needs_value(const struct nadb_slice *argv, size_t argc)
{
    for (size_t i = 3; i < argc; i++) {
        if (nadb_slice_eq_nocase(argv[i], NADB_SLICE("tags"))) {
            return false;
        }
        if (nadb_slice_eq_nocase(argv[i], NADB_SLICE("get")) ||
            nadb_slice_eq_nocase(argv[i], NADB_SLICE("ifeq"))) {
            return true;
        }
    }
    return false;
}

static bool keys_of(
    const struct nadb_cmd *cmd, const struct nadb_slice *argv, size_t argc, struct keys *ret)
{
    bool is_set = cmd == nadb_cmd_at(NADB_ROW_SET);
    if (!(cmd->flags & NADB_CMD_VALUE) && !(is_set && set_needs_value(argv, argc))) {
        return false;
    }
    if (!nadb_cmd_key_range(cmd, argc, &ret->first, &ret->last, &ret->step)) {
        return false;
    }
    if (strchr(cmd->key_flags, ';') != NULL) {
        ret->last = ret->first;
    }
    return true;
}

static enum nadb_fetch fetch(
    struct nadb_client *client, struct nadb_slice name, struct nadb_error *reterr)
{
    struct nadb_store *store = client->server->store;
    struct nadb_key key = nadb_store_key(store, name);
    return nadb_store_fetch(store, client->keyspace, &key, reterr);
}

void nadb_values_ask(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc)
{
    struct keys keys;
    struct nadb_error error;
    if (!keys_of(cmd, argv, argc, &keys)) {
        return;
    }
    for (size_t i = keys.first; i <= keys.last; i += keys.step) {
        (void)fetch(client, argv[i], &error); /* told when its turn comes */
    }
}

/* Asks for everything; what was there at the last attempt has been seen to. */
static enum nadb_values prepare_keys(struct nadb_client *client, const struct keys *keys,
    const struct nadb_slice *argv, struct nadb_error *reterr)
{
    bool is_pending = false;
    size_t from = client->values_ready > keys->first ? client->values_ready : keys->first;
    for (size_t i = from; i <= keys->last; i += keys->step) {
        enum nadb_fetch state = fetch(client, argv[i], reterr);
        if (state == NADB_FETCH_FAILED) {
            client->values_ready = 0;
            return NADB_VALUES_FAILED;
        }
        if (state == NADB_FETCH_READY && !is_pending) {
            client->values_ready = i + keys->step;
        }
        is_pending = is_pending || state == NADB_FETCH_PENDING;
    }
    if (is_pending) {
        return NADB_VALUES_PENDING;
    }
    /* The first ones may have been dropped again while the last ones came. */
    bool is_whole = from == keys->first;
    client->values_ready = 0;
    return is_whole ? NADB_VALUES_READY : prepare_keys(client, keys, argv, reterr);
}

/* What the transaction needs of the present keyspace. What cannot be read is told in its place. */
static enum nadb_values prepare_queue(struct nadb_client *client)
{
    bool is_pending = false;
    struct nadb_error error;
    for (size_t i = 0; i < client->queue_count; i++) {
        const struct nadb_queued_cmd *queued = &client->queue[i];
        struct keys keys;
        if (!keys_of(queued->cmd, queued->argv, queued->argc, &keys)) {
            continue;
        }
        for (size_t k = keys.first; k <= keys.last; k += keys.step) {
            is_pending = fetch(client, queued->argv[k], &error) == NADB_FETCH_PENDING || is_pending;
        }
    }
    return is_pending ? NADB_VALUES_PENDING : NADB_VALUES_READY;
}

enum nadb_values nadb_values_prepare(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc, struct nadb_error *reterr)
{
    struct keys keys;
    if (cmd == nadb_cmd_at(NADB_ROW_EXEC)) {
        return prepare_queue(client);
    }
    return keys_of(cmd, argv, argc, &keys) ? prepare_keys(client, &keys, argv, reterr)
                                           : NADB_VALUES_READY;
}

enum nadb_err nadb_values_load(struct nadb_call *call, struct nadb_error *reterr)
{
    struct keys keys;
    if (!keys_of(call->cmd, call->argv, call->argc, &keys)) {
        return NADB_OK;
    }
    for (size_t i = keys.first; i <= keys.last; i += keys.step) {
        struct nadb_key key = nadb_store_key(call->store, call->argv[i]);
        enum nadb_err err = nadb_store_fetch_now(call->store, call->keyspace, &key, reterr);
        if (err != NADB_OK) {
            return err;
        }
    }
    return NADB_OK;
}
