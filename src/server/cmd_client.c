/* This file holds the CLIENT subcommands. */
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/parse.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define CLIENT_LINE_MAX 8192u

enum nadb_cmd_status nadb_cmd_client_id(struct nadb_call *call)
{
    return nadb_reply_integer(call, (int64_t)call->client->id);
}

enum nadb_cmd_status nadb_cmd_client_getname(struct nadb_call *call)
{
    if (call->client->name == NULL) {
        return nadb_reply_null(call);
    }
    nadb_resp_bulk_cstr(call->out, call->client->name);
    return NADB_CMD_DONE;
}

/* Lines of CLIENT LIST are parted by blanks and line ends: names have none. */
static bool is_plain_text(struct nadb_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '!' || text.data[i] > '~') {
            return false;
        }
    }
    return true;
}

bool nadb_client_set_text(
    struct nadb_call *call, char **field, struct nadb_slice text, const char *what)
{
    if (!is_plain_text(text)) {
        (void)nadb_reply_error(
            call, "ERR %s cannot contain spaces, newlines or special characters.", what);
        return false;
    }
    if (text.len > NADB_CLIENT_NAME_MAX) {
        (void)nadb_reply_error(
            call, "ERR %s cannot be longer than %u bytes.", what, NADB_CLIENT_NAME_MAX);
        return false;
    }
    nadb_mem_free(*field);
    *field = NULL;
    if (text.len > 0) {
        *field = nadb_mem_alloc(text.len + 1);
        memcpy(*field, text.data, text.len);
        (*field)[text.len] = '\0';
    }
    return true;
}

enum nadb_cmd_status nadb_cmd_client_setname(struct nadb_call *call)
{
    bool is_set = nadb_client_set_text(call, &call->client->name, call->argv[2], "Client names");
    return is_set ? nadb_reply_ok(call) : NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_client_setinfo(struct nadb_call *call)
{
    struct nadb_slice option = call->argv[2];
    bool is_set;
    if (nadb_arg_is(option, "lib-name")) {
        is_set = nadb_client_set_text(call, &call->client->lib_name, call->argv[3], "lib-name");
    } else if (nadb_arg_is(option, "lib-ver")) {
        is_set = nadb_client_set_text(call, &call->client->lib_ver, call->argv[3], "lib-ver");
    } else {
        return nadb_reply_error(
            call, "ERR Unrecognized option '%.*s'", nadb_echo_len(option), option.data);
    }
    return is_set ? nadb_reply_ok(call) : NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_client_reply(struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    struct nadb_slice mode = call->argv[2];
    if (nadb_arg_is(mode, "on")) {
        client->reply_mode = NADB_REPLY_ON;
        return nadb_reply_ok(call);
    }
    if (nadb_arg_is(mode, "off")) {
        client->reply_mode = NADB_REPLY_OFF;
        return NADB_CMD_DONE;
    }
    if (nadb_arg_is(mode, "skip")) {
        if (client->reply_mode != NADB_REPLY_OFF) {
            client->reply_mode = NADB_REPLY_SKIP_NEXT;
        }
        return NADB_CMD_DONE;
    }
    return nadb_reply_syntax_error(call);
}

/* ---- LIST, INFO ---- */

static const char *text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* One line without its end, in Redis's fields and order. */
static void describe_client(
    const struct nadb_call *call, const struct nadb_client *client, struct nadb_buf *text)
{
    uint64_t now_ms = call->now_ms;
    uint64_t age_ms = now_ms > client->created_ms ? now_ms - client->created_ms : 0;
    uint64_t idle_ms = now_ms > client->last_command_ms ? now_ms - client->last_command_ms : 0;
    const struct nadb_cmd *last = client == call->client ? call->cmd : client->last_cmd;
    char flags[8];
    size_t count = 0;
    if (client->is_multi) {
        flags[count++] = 'x';
    }
    if (nadb_subscriber_count(&client->subscriber) > 0) {
        flags[count++] = 'P';
    }
    if (client->watcher.is_dirty) {
        flags[count++] = 'd';
    }
    if (client->is_closing) {
        flags[count++] = 'c';
    }
    if (client->is_unix) {
        flags[count++] = 'U';
    }
    if (count == 0) {
        flags[count++] = 'N';
    }
    nadb_text_add(text,
        "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=%.*s db=%llu sub=%zu "
        "psub=%zu ssub=0 multi=%lld",
        (unsigned long long)client->id, client->addr, client->laddr, client->fd,
        text_or_empty(client->name), (unsigned long long)(age_ms / 1000),
        (unsigned long long)(idle_ms / 1000), (int)count, flags, (unsigned long long)client->db,
        client->subscriber.channel_count, client->subscriber.pattern_count,
        client->is_multi ? (long long)client->queue_count : -1LL);
    nadb_text_add(text,
        " qbuf=%zu qbuf-free=0 argv-mem=0 multi-mem=%zu rbs=%zu rbp=%zu obl=%zu oll=0 omem=0 "
        "tot-mem=%zu events=r cmd=%s user=default redir=-1 resp=%u",
        client->query_bytes, client->queue_bytes, client->out.buf.cap, client->out.buf.cap,
        client->out.buf.len,
        sizeof(*client) + client->query_bytes + client->queue_bytes + client->out.buf.cap,
        last != NULL ? last->name : "NULL", client->out.proto);
    nadb_text_add(text, " lib-name=%s lib-ver=", text_or_empty(client->lib_name));
    nadb_text_add(text, "%s", text_or_empty(client->lib_ver));
}

enum nadb_cmd_status nadb_cmd_client_info(struct nadb_call *call)
{
    struct nadb_buf text;
    nadb_buf_init(&text, CLIENT_LINE_MAX);
    describe_client(call, call->client, &text);
    nadb_text_add(&text, "\n");
    nadb_resp_verbatim(call->out, nadb_buf_slice(&text));
    nadb_buf_fini(&text);
    return NADB_CMD_DONE;
}

struct client_filter {
    bool is_none;             /* a type that no client has */
    bool has_type, is_pubsub; /* only those that listen, or only those that do not */
    size_t ids_first;         /* index of the first id; 0 = all clients */
};

static bool parse_list_type(struct nadb_call *call, struct client_filter *filter)
{
    struct nadb_slice type = call->argv[3];
    if (nadb_arg_is(type, "normal") || nadb_arg_is(type, "pubsub")) {
        filter->has_type = true;
        filter->is_pubsub = nadb_arg_is(type, "pubsub");
        return true;
    }
    if (nadb_arg_is(type, "master") || nadb_arg_is(type, "replica") || nadb_arg_is(type, "slave")) {
        filter->is_none = true;
        return true;
    }
    (void)nadb_reply_error(call, "ERR Unknown client type '%.*s'", nadb_echo_len(type), type.data);
    return false;
}

static bool parse_list(struct nadb_call *call, struct client_filter *filter)
{
    if (call->argc == 2) {
        return true;
    }
    if (call->argc == 4 && nadb_arg_is(call->argv[2], "type")) {
        return parse_list_type(call, filter);
    }
    if (call->argc > 3 && nadb_arg_is(call->argv[2], "id")) {
        for (size_t i = 3; i < call->argc; i++) {
            int64_t id;
            if (!nadb_parse_i64(call->argv[i], &id)) {
                (void)nadb_reply_error(call, "ERR Invalid client ID");
                return false;
            }
        }
        filter->ids_first = 3;
        return true;
    }
    (void)nadb_reply_syntax_error(call);
    return false;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* The ids asked for, sorted, as the registry is; NULL: no memory. */
static uint64_t *sort_ids(const struct nadb_call *call, size_t first)
{
    size_t count = call->argc - first;
    uint64_t *ids = nadb_mem_try_alloc(count * sizeof(*ids));
    if (ids == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!nadb_parse_u64(call->argv[first + i], &ids[i])) {
            ids[i] = 0; /* no client's */
        }
    }
    qsort(ids, count, sizeof(*ids), compare_ids);
    return ids;
}

/* Describes the clients that `ids` (NULL: all) names. */
static void list_clients(const struct nadb_call *call, const struct client_filter *filter,
    const uint64_t *ids, size_t id_count, struct nadb_buf *text)
{
    const struct nadb_client_registry *clients = call->server->clients;
    size_t at = 0;
    for (const struct nadb_client *client = nadb_client_next(clients, NULL); client != NULL;
         client = nadb_client_next(clients, client)) {
        while (ids != NULL && at < id_count && ids[at] < client->id) {
            at++;
        }
        bool is_pubsub = nadb_subscriber_count(&client->subscriber) > 0;
        bool is_type = !filter->has_type || filter->is_pubsub == is_pubsub;
        if (is_type && (ids == NULL || (at < id_count && ids[at] == client->id))) {
            describe_client(call, client, text);
            nadb_text_add(text, "\n");
        }
    }
}

enum nadb_cmd_status nadb_cmd_client_list(struct nadb_call *call)
{
    struct client_filter filter = {0};
    if (!parse_list(call, &filter)) {
        return NADB_CMD_DONE;
    }
    uint64_t *ids = NULL;
    size_t id_count = 0;
    if (filter.ids_first != 0) {
        id_count = call->argc - filter.ids_first;
        ids = sort_ids(call, filter.ids_first);
        if (ids == NULL) {
            return nadb_reply_failure(call, call->out->buf.len, NADB_ENOMEM);
        }
    }
    struct nadb_buf text;
    nadb_buf_init(&text, (call->server->clients->count + 1) * CLIENT_LINE_MAX);
    if (!filter.is_none) {
        list_clients(call, &filter, ids, id_count, &text);
    }
    nadb_resp_verbatim(call->out, nadb_buf_slice(&text));
    nadb_buf_fini(&text);
    nadb_mem_free(ids);
    return NADB_CMD_DONE;
}
