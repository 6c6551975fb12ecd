/* This file holds the NAMESPACE subcommands. */
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

static enum nadb_cmd_status reply_bad_name(struct nadb_call *call)
{
    return nadb_reply_error(
        call, "ERR a namespace's name has 1 to %u bytes", NADB_NAMESPACE_LEN_MAX);
}

enum nadb_cmd_status nadb_cmd_namespace_use(struct nadb_call *call)
{
    struct nadb_slice name = call->argv[2];
    if (name.len > NADB_NAMESPACE_LEN_MAX) {
        return reply_bad_name(call);
    }
    if (!nadb_client_use(call->client, call->client->db, name)) {
        return nadb_reply_error(call, "ERR there are %lld namespaces already (namespaces-max)",
            (long long)call->server->config->namespaces_max);
    }
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_namespace_current(struct nadb_call *call)
{
    nadb_resp_bulk(call->out, nadb_keyspace_name(call->keyspace));
    return NADB_CMD_DONE;
}

/* Names without the database itself, in the store's order. */
enum nadb_cmd_status nadb_cmd_namespace_list(struct nadb_call *call)
{
    nadb_store_survey(call->store);
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    for (struct nadb_keyspace *keyspace = nadb_store_keyspace_next(call->store, NULL);
         keyspace != NULL; keyspace = nadb_store_keyspace_next(call->store, keyspace)) {
        struct nadb_slice name = nadb_keyspace_name(keyspace);
        if (nadb_keyspace_db(keyspace) == call->client->db && name.len > 0) {
            nadb_resp_bulk(call->out, name);
            count++;
        }
    }
    nadb_resp_deferred_array(call->out, mark, count);
    return NADB_CMD_DONE;
}

/* Clients that are in a dropped namespace stay in it: it begins anew, empty. */
enum nadb_cmd_status nadb_cmd_namespace_drop(struct nadb_call *call)
{
    struct nadb_slice name = call->argv[2];
    if (name.len == 0 || name.len > NADB_NAMESPACE_LEN_MAX) {
        return reply_bad_name(call);
    }
    nadb_store_survey(call->store);
    struct nadb_keyspace *keyspace =
        nadb_store_keyspace(call->store, call->client->db, name, false);
    if (keyspace == NULL) {
        return nadb_reply_error(call, "ERR no such namespace");
    }
    return nadb_reply_integer(call, (int64_t)nadb_store_drop(call->store, keyspace));
}
