/* This file holds the commands of the server as a whole: configuration, durability, time, end. */
#include "src/base/buf.h"
#include "src/base/glob.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define OPTION_TEXT_MAX ((size_t)1 << 20) /* of one option's value as text */

static bool is_loading(const struct nadb_call *call)
{
    return call->server->state == NADB_SERVER_LOADING;
}

/* ---- CONFIG ---- */

static bool is_option_wanted(const struct nadb_call *call, const struct nadb_option *option)
{
    for (size_t i = 2; i < call->argc; i++) {
        if (nadb_glob_match_nocase(call->argv[i], nadb_slice_cstr(option->name))) {
            return true;
        }
    }
    return false;
}

enum nadb_cmd_status nadb_cmd_config_get(struct nadb_call *call)
{
    struct nadb_buf value;
    nadb_buf_init(&value, OPTION_TEXT_MAX);
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    const struct nadb_option *option;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        if (!is_option_wanted(call, option)) {
            continue;
        }
        value.len = 0;
        nadb_config_format(call->server->config, option, &value);
        nadb_resp_bulk_cstr(call->out, option->name);
        nadb_resp_bulk(call->out, nadb_buf_slice(&value));
        count++;
    }
    nadb_resp_deferred_map(call->out, mark, count);
    nadb_buf_fini(&value);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_config_set(struct nadb_call *call)
{
    if (call->argc % 2 != 0) {
        return nadb_reply_syntax_error(call);
    }
    struct nadb_error error;
    enum nadb_err err =
        nadb_config_set_live(call->server->config, call->argv + 2, (call->argc - 2) / 2, &error);
    if (err != NADB_OK) {
        return nadb_reply_error(call, "ERR %s", error.text);
    }
    nadb_server_config_changed(call->server);
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_config_resetstat(struct nadb_call *call)
{
    struct nadb_server *server = call->server;
    nadb_cmdstats_reset(server->cmdstats);
    server->counters = (struct nadb_server_counters){0};
    if (!is_loading(call)) {
        nadb_store_stats_reset(call->store);
    }
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_config_rewrite(struct nadb_call *call)
{
    if (call->server->config->file_path == NULL) {
        return nadb_reply_error(call, "ERR The server is running without a config file");
    }
    struct nadb_error error;
    if (nadb_config_rewrite(call->server->config, &error) != NADB_OK) {
        return nadb_reply_error(call, "ERR Rewriting config file: %s", error.text);
    }
    return nadb_reply_ok(call);
}

/* ---- durability ---- */

/* The store holds the reply until everything up to here is durable. */
enum nadb_cmd_status nadb_cmd_flush(struct nadb_call *call)
{
    nadb_store_flush(call->store);
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_bgsave(struct nadb_call *call)
{
    if (call->argc > 2 || (call->argc == 2 && !nadb_arg_is(call->argv[1], "schedule"))) {
        return nadb_reply_syntax_error(call);
    }
    nadb_store_flush_start(call->store);
    nadb_resp_simple(call->out, NADB_SLICE("Background saving started"));
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_lastsave(struct nadb_call *call)
{
    if (is_loading(call)) {
        return nadb_reply_integer(call, (int64_t)(call->server->start_wall_ms / 1000));
    }
    struct nadb_store_stats stats;
    nadb_store_stats(call->store, &stats);
    return nadb_reply_integer(call, (int64_t)(stats.flush_last_ms / 1000));
}

/* ---- end ---- */

struct shutdown_words {
    bool is_save, is_nosave, is_now, is_force, is_abort;
};

static bool parse_shutdown(const struct nadb_call *call, struct shutdown_words *words)
{
    for (size_t i = 1; i < call->argc; i++) {
        struct nadb_slice word = call->argv[i];
        if (nadb_arg_is(word, "save")) {
            words->is_save = true;
        } else if (nadb_arg_is(word, "nosave")) {
            words->is_nosave = true;
        } else if (nadb_arg_is(word, "now")) {
            words->is_now = true;
        } else if (nadb_arg_is(word, "force")) {
            words->is_force = true;
        } else if (nadb_arg_is(word, "abort")) {
            words->is_abort = true;
        } else {
            return false;
        }
    }
    return !(words->is_abort && call->argc > 2) && !(words->is_save && words->is_nosave);
}

enum nadb_cmd_status nadb_cmd_shutdown(struct nadb_call *call)
{
    struct shutdown_words words = {0};
    if (!parse_shutdown(call, &words)) {
        return nadb_reply_syntax_error(call);
    }
    if (words.is_abort) {
        /* One that is under way lets no more commands in. */
        return nadb_reply_error(call, "ERR No shutdown in progress.");
    }
    unsigned flags = 0;
    if (words.is_nosave) {
        flags |= NADB_SHUTDOWN_NOSAVE;
    }
    if (words.is_force) {
        flags |= NADB_SHUTDOWN_FORCE;
    }
    nadb_server_shutdown(call->server, flags, call->client);
    return NADB_CMD_DONE;
}

/* ---- time ---- */

/* Read anew, not the turn's: who asks for the time wants this moment. */
enum nadb_cmd_status nadb_cmd_time(struct nadb_call *call)
{
    uint64_t wall_ms = nadb_clock_wall_ms(call->server->clock);
    nadb_resp_array(call->out, 2);
    nadb_resp_bulk_u64(call->out, wall_ms / 1000);
    nadb_resp_bulk_u64(call->out, wall_ms % 1000 * 1000);
    return NADB_CMD_DONE;
}
