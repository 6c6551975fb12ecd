/* This file holds the commands that treat keys whatever their values are. */
#include "src/base/parse.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

/* ---- one key or several ---- */

enum nadb_cmd_status nadb_cmd_del(struct nadb_call *call)
{
    int64_t count = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct nadb_key key = nadb_arg_key(call, i);
        count += nadb_store_delete(call->store, call->keyspace, &key);
    }
    return nadb_reply_integer(call, count);
}

enum nadb_cmd_status nadb_cmd_exists(struct nadb_call *call)
{
    int64_t count = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct nadb_key key = nadb_arg_key(call, i);
        count += nadb_store_peek(call->store, call->keyspace, &key) != NULL;
    }
    return nadb_reply_integer(call, count);
}

enum nadb_cmd_status nadb_cmd_touch(struct nadb_call *call)
{
    int64_t count = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct nadb_key key = nadb_arg_key(call, i);
        count += nadb_store_read(call->store, call->keyspace, &key) != NULL;
    }
    return nadb_reply_integer(call, count);
}

enum nadb_cmd_status nadb_cmd_type(struct nadb_call *call)
{
    bool exists = nadb_store_peek(call->store, call->keyspace, &call->first_key) != NULL;
    nadb_resp_simple(call->out, exists ? NADB_SLICE("string") : NADB_SLICE("none"));
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_randomkey(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_random(call->store, call->keyspace);
    if (rec == NULL) {
        return nadb_reply_null(call);
    }
    nadb_resp_bulk(call->out, nadb_rec_key(rec));
    return NADB_CMD_DONE;
}

/* ---- RENAME, COPY, MOVE ---- */

static enum nadb_cmd_status rename_key(struct nadb_call *call, bool is_nx)
{
    struct nadb_key from = call->first_key;
    struct nadb_key to = nadb_arg_key(call, 2);
    if (nadb_store_peek(call->store, call->keyspace, &from) == NULL) {
        return nadb_reply_error(call, "ERR no such key");
    }
    if (is_nx && nadb_store_peek(call->store, call->keyspace, &to) != NULL) {
        return nadb_reply_integer(call, 0); /* also when both are the same */
    }
    if (!nadb_slice_eq(from.name, to.name)) {
        enum nadb_err err =
            nadb_store_copy(call->store, call->keyspace, &from, call->keyspace, &to, true);
        if (err != NADB_OK) {
            return nadb_reply_failure(call, call->out->buf.len, err);
        }
    }
    return is_nx ? nadb_reply_integer(call, 1) : nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_rename(struct nadb_call *call)
{
    return rename_key(call, false);
}

enum nadb_cmd_status nadb_cmd_renamenx(struct nadb_call *call)
{
    return rename_key(call, true);
}

struct copy_options {
    bool has_db;
    bool is_replace;
    uint64_t db;
};

static bool parse_copy(struct nadb_call *call, struct copy_options *options)
{
    for (size_t i = 3; i < call->argc; i++) {
        if (nadb_arg_is(call->argv[i], "replace")) {
            options->is_replace = true;
        } else if (nadb_arg_is(call->argv[i], "db") && i + 1 < call->argc) {
            if (!nadb_arg_db(call, ++i, &options->db)) {
                return false;
            }
            options->has_db = true;
        } else {
            (void)nadb_reply_syntax_error(call);
            return false;
        }
    }
    return true;
}

/* The keyspace of a numbered database itself, as SELECT gives it. */
static struct nadb_keyspace *find_db(struct nadb_call *call, uint64_t db)
{
    return nadb_store_keyspace(call->store, db, nadb_slice_of(NULL, 0), true);
}

/* Copies or moves the call's first key; answers 1, or 0 when there is no such key or the target
 * is taken. */
static enum nadb_cmd_status transfer_key(struct nadb_call *call, struct nadb_keyspace *target,
    const struct nadb_key *to, bool is_replace, bool is_move)
{
    const struct nadb_key *from = &call->first_key;
    if (target == call->keyspace && nadb_slice_eq(from->name, to->name)) {
        return nadb_reply_error(call, "ERR source and destination objects are the same");
    }
    if (nadb_store_peek(call->store, call->keyspace, from) == NULL ||
        (!is_replace && nadb_store_peek(call->store, target, to) != NULL)) {
        return nadb_reply_integer(call, 0);
    }
    enum nadb_err err = nadb_store_copy(call->store, call->keyspace, from, target, to, is_move);
    if (err != NADB_OK) {
        return nadb_reply_failure(call, call->out->buf.len, err);
    }
    return nadb_reply_integer(call, 1);
}

enum nadb_cmd_status nadb_cmd_copy(struct nadb_call *call)
{
    struct copy_options options = {0};
    if (!parse_copy(call, &options)) {
        return NADB_CMD_DONE;
    }
    struct nadb_key to = nadb_arg_key(call, 2);
    struct nadb_keyspace *target = options.has_db ? find_db(call, options.db) : call->keyspace;
    return transfer_key(call, target, &to, options.is_replace, false);
}

enum nadb_cmd_status nadb_cmd_move(struct nadb_call *call)
{
    uint64_t db;
    if (!nadb_arg_db(call, 2, &db)) {
        return NADB_CMD_DONE;
    }
    return transfer_key(call, find_db(call, db), &call->first_key, false, true);
}

/* ---- whole keyspaces ---- */

enum nadb_cmd_status nadb_cmd_dbsize(struct nadb_call *call)
{
    return nadb_reply_integer(call, (int64_t)nadb_store_count(call->store, call->keyspace));
}

/* Keys vanish at once and their memory in slices either way, so ASYNC and SYNC mean the same. */
static bool check_flush_mode(struct nadb_call *call)
{
    if (call->argc == 1 || (call->argc == 2 && (nadb_arg_is(call->argv[1], "async") ||
                                                   nadb_arg_is(call->argv[1], "sync")))) {
        return true;
    }
    (void)nadb_reply_syntax_error(call);
    return false;
}

enum nadb_cmd_status nadb_cmd_flushdb(struct nadb_call *call)
{
    if (!check_flush_mode(call)) {
        return NADB_CMD_DONE;
    }
    (void)nadb_store_clear(call->store, call->keyspace); /* nobody asks how many */
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_flushall(struct nadb_call *call)
{
    if (!check_flush_mode(call)) {
        return NADB_CMD_DONE;
    }
    nadb_store_survey(call->store);
    struct nadb_keyspace *keyspace = nadb_store_keyspace_next(call->store, NULL);
    while (keyspace != NULL) {
        struct nadb_keyspace *next = nadb_store_keyspace_next(call->store, keyspace);
        (void)nadb_store_clear(call->store, keyspace); /* nobody asks how many */
        keyspace = next;
    }
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_swapdb(struct nadb_call *call)
{
    static const char *const errors[] = {
        "ERR invalid first DB index", "ERR invalid second DB index"};
    int64_t dbs[2];
    for (size_t i = 0; i < 2; i++) {
        if (!nadb_parse_i64(call->argv[i + 1], &dbs[i])) {
            return nadb_reply_error(call, "%s", errors[i]);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        if (dbs[i] < 0 || dbs[i] >= call->server->config->databases) {
            return nadb_reply_error(call, "ERR DB index is out of range");
        }
    }
    if (nadb_store_is_shared(call->store)) {
        return nadb_reply_error(call, "ERR SWAPDB is not possible with a shared backend");
    }
    nadb_store_swap(call->store, (uint64_t)dbs[0], (uint64_t)dbs[1]);
    return nadb_reply_ok(call);
}
