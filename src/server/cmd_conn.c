/* This file holds the commands of a connection: greeting, authentication, database, farewell. */
#include "src/base/parse.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

enum nadb_cmd_status nadb_cmd_ping(struct nadb_call *call)
{
    if (call->argc > 2) {
        return nadb_reply_arity_error(call);
    }
    bool is_subscriber = nadb_subscriber_count(&call->client->subscriber) > 0;
    if (is_subscriber && call->out->proto < 3) {
        nadb_resp_array(call->out, 2);
        nadb_resp_bulk(call->out, NADB_SLICE("pong"));
        nadb_resp_bulk(call->out, call->argc == 2 ? call->argv[1] : NADB_SLICE(""));
    } else if (call->argc == 2) {
        nadb_resp_bulk(call->out, call->argv[1]);
    } else {
        nadb_resp_raw(call->out, NADB_SLICE("+PONG\r\n"));
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_echo(struct nadb_call *call)
{
    nadb_resp_bulk(call->out, call->argv[1]);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_select(struct nadb_call *call)
{
    uint64_t db;
    if (!nadb_arg_db(call, 1, &db)) {
        return NADB_CMD_DONE;
    }
    if (!nadb_client_use(call->client, db, nadb_slice_of(NULL, 0))) {
        return nadb_reply_error(call, "ERR DB index is out of range");
    }
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_quit(struct nadb_call *call)
{
    call->client->is_closing = true;
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_reset(struct nadb_call *call)
{
    nadb_client_reset(call->client);
    nadb_resp_raw(call->out, NADB_SLICE("+RESET\r\n"));
    return NADB_CMD_DONE;
}

/* ---- authentication ---- */

/* Equal, in a time that tells nothing of `secret`: it depends on what was sent alone. */
static bool is_same_secret(struct nadb_slice given, const char *secret)
{
    size_t len = strlen(secret);
    size_t diff = given.len ^ len;
    for (size_t i = 0; i < given.len; i++) {
        diff |= (unsigned char)(given.data[i] ^ secret[len == 0 ? 0 : i % len]);
    }
    return diff == 0;
}

/* There is one user, `default`; without a password of its own it takes any. */
static bool is_login_right(
    const struct nadb_call *call, struct nadb_slice user, struct nadb_slice password)
{
    const char *secret = call->server->config->requirepass;
    bool is_user = nadb_slice_eq(user, NADB_SLICE("default"));
    bool is_password = is_same_secret(password, secret);
    return is_user && (is_password || secret[0] == '\0');
}

static bool log_in(struct nadb_call *call, struct nadb_slice user, struct nadb_slice password)
{
    if (!is_login_right(call, user, password)) {
        (void)nadb_reply_error(
            call, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    call->client->is_authenticated = true;
    return true;
}

enum nadb_cmd_status nadb_cmd_auth(struct nadb_call *call)
{
    if (call->argc > 3) {
        return nadb_reply_syntax_error(call);
    }
    if (call->argc == 2 && call->server->config->requirepass[0] == '\0') {
        return nadb_reply_error(call,
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?");
    }
    struct nadb_slice user = call->argc == 3 ? call->argv[1] : NADB_SLICE("default");
    return log_in(call, user, call->argv[call->argc - 1]) ? nadb_reply_ok(call) : NADB_CMD_DONE;
}

/* ---- HELLO ---- */

struct hello_options {
    int64_t proto; /* 0: as it is */
    size_t auth;   /* index of the user's name; 0 = none */
    size_t name;   /* index of the connection's name; 0 = none */
};

static bool parse_hello(struct nadb_call *call, struct hello_options *options)
{
    if (call->argc == 1) {
        return true;
    }
    if (!nadb_parse_i64(call->argv[1], &options->proto)) {
        (void)nadb_reply_error(call, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (options->proto != 2 && options->proto != 3) {
        (void)nadb_reply_error(call, "NOPROTO unsupported protocol version");
        return false;
    }
    for (size_t i = 2; i < call->argc; i++) {
        size_t left = call->argc - 1 - i;
        if (nadb_arg_is(call->argv[i], "auth") && left >= 2) {
            options->auth = i + 1;
            i += 2;
        } else if (nadb_arg_is(call->argv[i], "setname") && left >= 1) {
            options->name = ++i;
        } else {
            (void)nadb_reply_error(call, "ERR Syntax error in HELLO option '%.*s'",
                nadb_echo_len(call->argv[i]), call->argv[i].data);
            return false;
        }
    }
    return true;
}

#define HELLO_FIELDS 7u

static void reply_hello(struct nadb_call *call)
{
    nadb_resp_map(call->out, HELLO_FIELDS);
    nadb_reply_field_text(call, "server", "nadbd");
    nadb_reply_field_text(call, "version", NADB_REDIS_VERSION);
    nadb_reply_field_u64(call, "proto", call->out->proto);
    nadb_reply_field_u64(call, "id", call->client->id);
    nadb_reply_field_text(call, "mode", "standalone");
    nadb_reply_field_text(call, "role", "master");
    nadb_resp_bulk_cstr(call->out, "modules");
    nadb_resp_array(call->out, 0);
}

enum nadb_cmd_status nadb_cmd_hello(struct nadb_call *call)
{
    struct hello_options options = {0};
    if (!parse_hello(call, &options)) {
        return NADB_CMD_DONE;
    }
    struct nadb_client *client = call->client;
    if (options.auth != 0 &&
        !log_in(call, call->argv[options.auth], call->argv[options.auth + 1])) {
        return NADB_CMD_DONE;
    }
    if (!client->is_authenticated && call->server->config->requirepass[0] != '\0') {
        return nadb_reply_error(call,
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
            "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and "
            "select the RESP protocol version at the same time");
    }
    if (options.name != 0 &&
        !nadb_client_set_text(call, &client->name, call->argv[options.name], "Client names")) {
        return NADB_CMD_DONE;
    }
    if (options.proto != 0) {
        client->out.proto = (uint8_t)options.proto;
    }
    reply_hello(call);
    return NADB_CMD_DONE;
}
