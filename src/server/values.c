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

/* ---- on a shared backend ---- */

/* Words of SET behind which it has to know what was there. */
static bool is_looking(const struct nadb_slice *argv, size_t argc)
{
    static const char *const words[] = {
        "nx", "xx", "ifeq", "get", "keepttl", "keeptags", "ifepoch"};
    for (size_t i = 3; i < argc && !nadb_slice_eq_nocase(argv[i], NADB_SLICE("tags")); i++) {
        for (size_t w = 0; w < NADB_ARRAY_LEN(words); w++) {
            if (nadb_slice_eq_nocase(argv[i], nadb_slice_cstr(words[w]))) {
                return true;
            }
        }
    }
    return false;
}

static bool is_blind(const struct nadb_cmd *cmd, const struct nadb_slice *argv, size_t argc)
{
    if (cmd == nadb_cmd_at(NADB_ROW_SET)) {
        return !is_looking(argv, argc);
    }
    return cmd == nadb_cmd_at(NADB_ROW_SETEX) || cmd == nadb_cmd_at(NADB_ROW_PSETEX) ||
           cmd == nadb_cmd_at(NADB_ROW_MSET);
}

static bool has_keys(const struct nadb_cmd *cmd, size_t argc)
{
    size_t first;
    size_t last;
    size_t step;
    return nadb_cmd_key_range(cmd, argc, &first, &last, &step);
}

static bool asks(const struct nadb_cmd *cmd, const struct nadb_slice *argv, size_t argc)
{
    return has_keys(cmd, argc) && !is_blind(cmd, argv, argc);
}

/* Commands of a transaction that run in the keyspace it begins in. */
static size_t count_near(const struct nadb_client *client)
{
    size_t count = 0;
    while (count < client->queue_count &&
           client->queue[count].cmd != nadb_cmd_at(NADB_ROW_SELECT) &&
           client->queue[count].cmd != nadb_cmd_at(NADB_ROW_NAMESPACE_USE)) {
        count++;
    }
    return count;
}

bool nadb_values_must_ask(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc)
{
    if (cmd != nadb_cmd_at(NADB_ROW_EXEC)) {
        return asks(cmd, argv, argc);
    }
    size_t near = count_near(client);
    for (size_t i = 0; i < near; i++) {
        if (asks(client->queue[i].cmd, client->queue[i].argv, client->queue[i].argc)) {
            return true;
        }
    }
    return false;
}

/* `first` is the first key, if it is known already. */
static void ask_for_keys(struct nadb_attempt *attempt, struct nadb_client *client,
    const struct nadb_cmd *cmd, const struct nadb_slice *argv, size_t argc,
    const struct nadb_key *first)
{
    struct keys all;
    struct keys valued = {.first = 1};
    if (!nadb_cmd_key_range(cmd, argc, &all.first, &all.last, &all.step)) {
        return;
    }
    bool has_valued = keys_of(cmd, argv, argc, &valued);
    bool is_change = (cmd->flags & NADB_CMD_WRITE) && !(cmd->flags & NADB_CMD_TIMES) &&
                     all.first == all.last && !client->is_multi;
    for (size_t i = all.first; i <= all.last; i += all.step) {
        struct nadb_key key = i == all.first && first != NULL
                                  ? *first
                                  : nadb_store_key(client->server->store, argv[i]);
        unsigned flags = is_change ? NADB_ASK_CHANGE : 0;
        if (has_valued && i <= valued.last) {
            flags |= NADB_ASK_VALUE;
        }
        if ((cmd->flags & NADB_CMD_TIMES) && i == all.first) {
            flags |= NADB_ASK_TIMES;
        }
        nadb_attempt_ask(attempt, client->keyspace, &key, flags);
    }
}

void nadb_values_ask_for(struct nadb_attempt *attempt, const struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    if (call->cmd != nadb_cmd_at(NADB_ROW_EXEC)) {
        ask_for_keys(attempt, client, call->cmd, call->argv, call->argc, &call->first_key);
        nadb_attempt_fetch(attempt);
        return;
    }
    size_t near = count_near(client);
    for (size_t i = 0; i < near; i++) {
        const struct nadb_queued_cmd *queued = &client->queue[i];
        if (asks(queued->cmd, queued->argv, queued->argc)) {
            ask_for_keys(attempt, client, queued->cmd, queued->argv, queued->argc, NULL);
        }
    }
    nadb_attempt_fetch(attempt);
}
