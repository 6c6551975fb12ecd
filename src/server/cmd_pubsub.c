/* This file holds SUBSCRIBE and its relatives, PUBLISH and PUBSUB. */
#include "src/base/glob.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

/* One answer of a subscribe or unsubscribe; a name with data NULL is null. */
static void reply_change(struct nadb_call *call, const char *kind, struct nadb_slice name)
{
    nadb_resp_push(call->out, 3);
    nadb_resp_bulk_cstr(call->out, kind);
    if (name.data == NULL) {
        nadb_resp_null(call->out);
    } else {
        nadb_resp_bulk(call->out, name);
    }
    nadb_resp_integer(call->out, (int64_t)nadb_subscriber_count(&call->client->subscriber));
}

static enum nadb_cmd_status subscribe(struct nadb_call *call, bool is_pattern)
{
    for (size_t i = 1; i < call->argc; i++) {
        if (call->argv[i].len > NADB_PUBSUB_NAME_MAX) {
            return nadb_reply_error(
                call, "ERR channel or pattern is longer than %u bytes", NADB_PUBSUB_NAME_MAX);
        }
    }
    if (nadb_subscriber_count(&call->client->subscriber) + call->argc - 1 >
        NADB_PUBSUB_PER_CLIENT_MAX) {
        return nadb_reply_error(
            call, "ERR more than %u subscriptions of one client", NADB_PUBSUB_PER_CLIENT_MAX);
    }
    for (size_t i = 1; i < call->argc; i++) {
        (void)nadb_pubsub_subscribe(call->client, call->argv[i], is_pattern); /* twice is once */
        reply_change(call, is_pattern ? "psubscribe" : "subscribe", call->argv[i]);
    }
    return NADB_CMD_DONE;
}

static enum nadb_cmd_status unsubscribe(struct nadb_call *call, bool is_pattern)
{
    struct nadb_client *client = call->client;
    const char *kind = is_pattern ? "punsubscribe" : "unsubscribe";
    for (size_t i = 1; i < call->argc; i++) {
        (void)nadb_pubsub_unsubscribe(client, call->argv[i], is_pattern); /* told either way */
        reply_change(call, kind, call->argv[i]);
    }
    if (call->argc > 1) {
        return NADB_CMD_DONE;
    }
    struct nadb_slice name = nadb_pubsub_first(client, is_pattern);
    if (name.data == NULL) {
        reply_change(call, kind, name);
    }
    for (; name.data != NULL; name = nadb_pubsub_first(client, is_pattern)) {
        char copy[NADB_PUBSUB_NAME_MAX];
        memcpy(copy, name.data, name.len);
        struct nadb_slice kept = nadb_slice_of(copy, name.len);
        (void)nadb_pubsub_unsubscribe(client, kept, is_pattern); /* it was the first */
        reply_change(call, kind, kept);
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_subscribe(struct nadb_call *call)
{
    return subscribe(call, false);
}

enum nadb_cmd_status nadb_cmd_psubscribe(struct nadb_call *call)
{
    return subscribe(call, true);
}

enum nadb_cmd_status nadb_cmd_unsubscribe(struct nadb_call *call)
{
    return unsubscribe(call, false);
}

enum nadb_cmd_status nadb_cmd_punsubscribe(struct nadb_call *call)
{
    return unsubscribe(call, true);
}

enum nadb_cmd_status nadb_cmd_publish(struct nadb_call *call)
{
    size_t count = nadb_pubsub_publish(call->server, call->argv[1], call->argv[2], 0);
    return nadb_reply_integer(call, (int64_t)count);
}

struct channel_list {
    struct nadb_call *call;
    struct nadb_slice pattern; /* data NULL: all */
    size_t count;
};

static void list_channel(void *ctx, struct nadb_slice channel)
{
    struct channel_list *list = ctx;
    if (list->pattern.data == NULL || nadb_glob_match(list->pattern, channel)) {
        nadb_resp_bulk(list->call->out, channel);
        list->count++;
    }
}

enum nadb_cmd_status nadb_cmd_pubsub_channels(struct nadb_call *call)
{
    struct channel_list list = {.call = call};
    if (call->argc > 3) {
        return nadb_reply_arity_error(call);
    }
    if (call->argc == 3 && !nadb_arg_pattern(call, 2, &list.pattern)) {
        return NADB_CMD_DONE;
    }
    size_t mark = nadb_resp_deferred_begin(call->out);
    nadb_pubsub_visit_channels(&call->server->pubsub, list_channel, &list);
    nadb_resp_deferred_array(call->out, mark, list.count);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_pubsub_numsub(struct nadb_call *call)
{
    nadb_resp_array(call->out, 2 * (call->argc - 2));
    for (size_t i = 2; i < call->argc; i++) {
        nadb_resp_bulk(call->out, call->argv[i]);
        size_t count = nadb_pubsub_listeners(&call->server->pubsub, call->argv[i]);
        nadb_resp_integer(call->out, (int64_t)count);
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_pubsub_numpat(struct nadb_call *call)
{
    return nadb_reply_integer(call, (int64_t)call->server->pubsub.pattern_count);
}
