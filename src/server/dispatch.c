/* This file takes parsed commands through lookup, checks, execution and statistics.
 *
 * A group is prepared as a whole: rows are found, first keys hashed, and the index is warmed for
 * all of them, so that the cache misses of one command overlap with those of the others. Then the
 * commands run one by one.
 *
 * Time is read as rarely as the statistics allow: commands of constant time (FAST, GROUPED) that
 * follow each other share one measurement, evenly; every other command has its own. */
#include "src/server/dispatch.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/log.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"
#include "src/server/values.h"
#include "src/server/window.h"

#define RETIRE_BUDGET_US    2000u
#define ATTACK_LOG_PAUSE_MS 60000u

/* Commands that are measured together. */
struct timed_run {
    uint64_t start_us;
    size_t commands;
    size_t row_count;
    size_t rows[NADB_RESP_GROUP_MAX];
    uint64_t calls[NADB_RESP_GROUP_MAX];
};

enum verdict {
    VERDICT_RUN,
    VERDICT_ANSWERED, /* refused, queued or dropped */
    VERDICT_WAIT,
};

/* ---- preparation ---- */

static bool is_same_name(struct nadb_slice a, struct nadb_slice b)
{
    return a.len == b.len && a.len > 0 && memcmp(a.data, b.data, a.len) == 0;
}

static const struct nadb_cmd *find_row(const struct nadb_resp_cmd *request)
{
    const struct nadb_cmd *cmd = nadb_cmd_find(request->argv[0]);
    if (cmd == NULL || !(cmd->flags & NADB_CMD_CONTAINER) || request->argc < 2) {
        return cmd;
    }
    const struct nadb_cmd *sub = nadb_cmd_find_sub(cmd, request->argv[1]);
    return sub != NULL ? sub : cmd;
}

/* Rows and hashes. Most commands of a pipeline repeat one of the last two names. */
static void find_rows(const struct nadb_store *store, const struct nadb_resp_group *group,
    struct nadb_prepared *prepared)
{
    struct nadb_slice names[2] = {{NULL, 0}, {NULL, 0}};
    const struct nadb_cmd *rows[2] = {NULL, NULL};
    for (size_t i = 0; i < group->count; i++) {
        const struct nadb_resp_cmd *request = &group->cmds[i];
        struct nadb_slice name = request->argv[0];
        if (!is_same_name(name, names[0])) {
            bool is_second = is_same_name(name, names[1]);
            const struct nadb_cmd *row = is_second ? rows[1] : find_row(request);
            rows[1] = rows[0];
            names[1] = names[0];
            rows[0] = row;
            /* A container's row depends on the next argument, too. */
            bool is_simple =
                row == NULL || (row->container == NULL && !(row->flags & NADB_CMD_CONTAINER));
            names[0] = is_simple ? name : nadb_slice_of(NULL, 0);
        }
        const struct nadb_cmd *cmd = rows[0];
        prepared[i].cmd = cmd;
        if (cmd != NULL && cmd->key_first > 0 && request->argc > (size_t)cmd->key_first) {
            prepared[i].key = nadb_store_key(store, request->argv[cmd->key_first]);
        } else {
            prepared[i].key = (struct nadb_key){.name = {NULL, 0}};
        }
    }
}

static void warm_index(const struct nadb_keyspace *keyspace, const struct nadb_resp_group *group,
    const struct nadb_prepared *prepared)
{
    for (size_t i = 0; i < group->count; i++) {
        if (prepared[i].key.name.data != NULL) {
            nadb_store_prefetch_slot(keyspace, prepared[i].key.hash);
        }
    }
    for (size_t i = 0; i < group->count; i++) {
        if (prepared[i].key.name.data != NULL) {
            nadb_store_prefetch_record(keyspace, prepared[i].key.hash);
        }
    }
}

/* The keyspace of a client that connected, or chose its database, while the data was loaded. */
static void resolve_keyspace(struct nadb_client *client)
{
    bool is_found = nadb_client_use(client, client->db, nadb_slice_of(NULL, 0));
    NADB_ASSERT(is_found); /* databases themselves always exist */
}

/* ---- statistics ---- */

static void run_begin(struct timed_run *run, struct nadb_server *server)
{
    run->start_us = nadb_clock_mono_us(server->clock);
    run->commands = 0;
    run->row_count = 0;
}

static void run_add(struct timed_run *run, size_t row)
{
    run->commands++;
    for (size_t i = run->row_count; i-- > 0;) {
        if (run->rows[i] == row) {
            run->calls[i]++;
            return;
        }
    }
    run->rows[run->row_count] = row;
    run->calls[run->row_count++] = 1;
}

static void run_end(struct timed_run *run, struct nadb_server *server)
{
    if (run->commands == 0) {
        return;
    }
    uint64_t elapsed_us = nadb_clock_mono_us(server->clock) - run->start_us;
    uint64_t each_ns = elapsed_us * 1000 / run->commands;
    for (size_t i = 0; i < run->row_count; i++) {
        struct nadb_cmdstat *stat = &server->cmdstats->commands[run->rows[i]];
        stat->calls += run->calls[i];
        nadb_histogram_add(&stat->latency, each_ns, run->calls[i]);
    }
    run->commands = 0;
}

/* Notes the error reply that starts at `mark` of the output, if it is one. */
static bool note_error(struct nadb_server *server, const struct nadb_resp_writer *out, size_t mark)
{
    if (NADB_LIKELY(out->buf.len <= mark || out->buf.data[mark] != '-')) {
        return false;
    }
    server->counters.error_replies++;
    nadb_cmdstats_error(server->cmdstats, nadb_slice_of(out->buf.data + mark, out->buf.len - mark));
    return true;
}

/* ---- checks ---- */

void nadb_dispatch_unknown(struct nadb_resp_writer *out, const struct nadb_slice *argv, size_t argc)
{
    char args[2 * NADB_RESP_ECHO_MAX];
    size_t len = 0;
    for (size_t i = 1; i < argc && len < NADB_RESP_ECHO_MAX; i++) {
        size_t room = NADB_RESP_ECHO_MAX - len;
        size_t take = argv[i].len < room ? argv[i].len : room;
        args[len++] = '\'';
        for (size_t at = 0; at < take; at++) {
            char c = argv[i].data[at];
            args[len++] = c == '\0' ? ' ' : c; /* a NUL would end the text here */
        }
        args[len++] = '\'';
        args[len++] = ' ';
    }
    nadb_resp_error(out, "ERR unknown command '%.*s', with args beginning with: %.*s",
        nadb_echo_len(argv[0]), argv[0].data, (int)len, args);
}

/* The call is refused with what `format` says; a transaction is broken by it. */
static void refuse(struct nadb_client *client, const struct nadb_cmd *cmd, const char *format, ...)
    NADB_PRINTF(3, 4);

static void refuse(struct nadb_client *client, const struct nadb_cmd *cmd, const char *format, ...)
{
    char text[NADB_ERROR_TEXT_MAX + 2 * NADB_RESP_ECHO_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* cut is fine */
    va_end(args);

    struct nadb_server *server = client->server;
    size_t mark = client->out.buf.len;
    if (cmd == nadb_cmd_at(NADB_ROW_EXEC)) {
        nadb_client_multi_end(client);
        const char *reason = strncmp(text, "ERR ", 4) == 0 ? text + 4 : text;
        nadb_resp_error(&client->out, "EXECABORT Transaction discarded because of: %s", reason);
    } else {
        client->is_multi_broken = client->is_multi;
        nadb_resp_error(&client->out, "%s", text);
    }
    if (cmd != NULL) {
        server->cmdstats->commands[nadb_cmd_index(cmd)].rejected++;
    }
    (void)note_error(server, &client->out, mark); /* it is one */
}

/* Somebody's browser was made to talk to us: nothing it sends may run. */
static bool is_http(struct nadb_slice name)
{
    return nadb_slice_eq_nocase(name, NADB_SLICE("post")) ||
           nadb_slice_eq_nocase(name, NADB_SLICE("host:"));
}

static void close_http(struct nadb_client *client)
{
    struct nadb_server *server = client->server;
    uint64_t now_ms = nadb_clock_wall_ms(server->clock);
    if (server->attack_logged_ms == 0 || now_ms - server->attack_logged_ms >= ATTACK_LOG_PAUSE_MS) {
        server->attack_logged_ms = now_ms;
        nadb_log(NADB_LOG_WARNING,
            "client %s: sends POST or Host: lines, which looks like an attack through a web "
            "browser; closed",
            client->addr);
    }
    client->is_closing = true;
}

static void refuse_unknown(
    struct nadb_client *client, const struct nadb_cmd *cmd, const struct nadb_resp_cmd *request)
{
    if (cmd == NULL && is_http(request->argv[0])) {
        close_http(client);
    } else if (cmd == NULL) {
        size_t mark = client->out.buf.len;
        client->is_multi_broken = client->is_multi;
        nadb_dispatch_unknown(&client->out, request->argv, request->argc);
        (void)note_error(client->server, &client->out, mark); /* it is one */
    } else if (request->argc < 2) {
        refuse(client, cmd, "ERR wrong number of arguments for '%s' command", cmd->name);
    } else {
        char upper[NADB_CMD_NAME_MAX];
        nadb_cmd_upper_name(cmd, upper);
        refuse(client, NULL, "ERR unknown subcommand '%.*s'. Try %s HELP.",
            nadb_echo_len(request->argv[1]), request->argv[1].data, upper);
    }
}

/* May what `flags` say run now? EXEC passes the flags of all that is queued. */
static enum verdict check_admission(
    struct nadb_client *client, const struct nadb_cmd *cmd, unsigned flags)
{
    struct nadb_error error;
    bool is_growing = (flags & NADB_CMD_DENYOOM) != 0;
    switch (nadb_store_admit(client->server->store, is_growing, &error)) {
    case NADB_ADMIT:
        return VERDICT_RUN;
    case NADB_ADMIT_WAIT:
        return VERDICT_WAIT;
    case NADB_ADMIT_REFUSE:
        break;
    }
    char line[NADB_ERROR_LINE_MAX];
    nadb_error_line(&error, line);
    refuse(client, cmd, "%s", line);
    return VERDICT_ANSWERED;
}

/* `-CORRUPT <file>:<offset>: damaged record, key '...'`, or what the disk said. */
static void refuse_unreadable(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_resp_cmd *request, const struct nadb_error *error)
{
    struct nadb_slice key = request->argv[cmd->key_first];
    refuse(client, cmd, "%s %s, key '%.*s'", nadb_err_prefix(error->code), error->text,
        nadb_echo_len(key), key.data);
}

static void queue_command(
    struct nadb_client *client, const struct nadb_cmd *cmd, const struct nadb_resp_cmd *request)
{
    if (nadb_client_queue(client, cmd, request->argv, request->argc)) {
        nadb_resp_raw(&client->out, NADB_SLICE("+QUEUED\r\n"));
    } else {
        refuse(client, cmd, "ERR the transaction is too large");
    }
}

/* In MULTI: refuses what may not be queued, queues the rest. */
static enum verdict check_multi(
    struct nadb_client *client, const struct nadb_cmd *cmd, const struct nadb_resp_cmd *request)
{
    if (cmd->flags & NADB_CMD_NOMULTI) {
        refuse(client, cmd, "ERR Command not allowed inside a transaction");
        return VERDICT_ANSWERED;
    }
    bool is_exec = cmd == nadb_cmd_at(NADB_ROW_EXEC);
    unsigned flags = is_exec ? client->queue_flags : cmd->flags;
    if ((flags & NADB_CMD_WRITE) && !(is_exec && client->is_multi_broken)) {
        enum verdict verdict = check_admission(client, cmd, flags);
        /* What is only queued now need not wait: EXEC will. */
        if (verdict == VERDICT_ANSWERED || (verdict == VERDICT_WAIT && is_exec)) {
            return verdict;
        }
    }
    if (cmd->flags & NADB_CMD_NOQUEUE) {
        return VERDICT_RUN;
    }
    queue_command(client, cmd, request);
    return VERDICT_ANSWERED;
}

/* RESP2 cannot tell messages from replies. */
static bool is_only_listening(const struct nadb_client *client)
{
    return nadb_subscriber_count(&client->subscriber) > 0 && client->out.proto < 3;
}

static enum verdict check_command(
    struct nadb_client *client, const struct nadb_cmd *cmd, const struct nadb_resp_cmd *request)
{
    const struct nadb_server *server = client->server;
    if (cmd == NULL || cmd->handler == NULL ||
        ((cmd->flags & NADB_CMD_CONTAINER) && request->argc > 1)) {
        refuse_unknown(client, cmd, request);
        return VERDICT_ANSWERED;
    }
    if (!nadb_cmd_arity_fits(cmd, request->argc)) {
        refuse(client, cmd, "ERR wrong number of arguments for '%s' command", cmd->name);
        return VERDICT_ANSWERED;
    }
    if (!client->is_authenticated && !(cmd->flags & NADB_CMD_NOAUTH) &&
        server->config->requirepass[0] != '\0') {
        refuse(client, cmd, "NOAUTH Authentication required.");
        return VERDICT_ANSWERED;
    }
    if (nadb_cmd_is_key_too_long(cmd, request->argc, request->argv)) {
        refuse(client, cmd, "ERR key is longer than %u bytes", NADB_KEY_LEN_MAX);
        return VERDICT_ANSWERED;
    }
    if (server->state == NADB_SERVER_LOADING && !(cmd->flags & NADB_CMD_LOADING)) {
        refuse(client, cmd, "LOADING Redis is loading the dataset in memory");
        return VERDICT_ANSWERED;
    }
    if (is_only_listening(client) && !(cmd->flags & NADB_CMD_LISTENING)) {
        refuse(client, cmd,
            "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
            "are allowed in this context",
            cmd->name);
        return VERDICT_ANSWERED;
    }
    if (client->is_multi) {
        return check_multi(client, cmd, request);
    }
    return (cmd->flags & NADB_CMD_WRITE) ? check_admission(client, cmd, cmd->flags) : VERDICT_RUN;
}

/* The checks for what nearly every command is: known, complete, outside MULTI, of a client that
 * may. Everything else is left to check_command. */
static enum verdict check_fast(
    struct nadb_client *client, const struct nadb_cmd *cmd, const struct nadb_resp_cmd *request)
{
    if (NADB_LIKELY(
            cmd != NULL && !(cmd->flags & NADB_CMD_CONTAINER) && cmd->key_first == cmd->key_last &&
            nadb_cmd_arity_fits(cmd, request->argc) &&
            (cmd->key_first == 0 || request->argv[cmd->key_first].len <= NADB_KEY_LEN_MAX) &&
            client->is_authenticated && !client->is_multi && !is_only_listening(client) &&
            client->server->state == NADB_SERVER_READY)) {
        return (cmd->flags & NADB_CMD_WRITE) ? check_admission(client, cmd, cmd->flags)
                                             : VERDICT_RUN;
    }
    return check_command(client, cmd, request);
}

/* ---- execution ---- */

/* Counts and listings must not see keys that are due. True: not done yet, go on in a later turn. */
static bool retire_due(struct nadb_call *call)
{
    while (nadb_store_retire(call->store, RETIRE_BUDGET_US)) {
        if (call->may_yield) {
            return true;
        }
    }
    return false;
}

static enum nadb_cmd_status run_handler(struct nadb_call *call)
{
    bool may_use_store = call->server->state != NADB_SERVER_LOADING;
    if ((call->cmd->flags & NADB_CMD_COUNTS) && may_use_store && retire_due(call)) {
        return NADB_CMD_AGAIN;
    }
    return call->cmd->handler(call);
}

enum nadb_cmd_status nadb_dispatch_call(struct nadb_call *call)
{
    struct nadb_server *server = call->server;
    struct nadb_client *client = call->client;
    struct nadb_cmdstat *stat = &server->cmdstats->commands[nadb_cmd_index(call->cmd)];
    size_t mark = call->out->buf.len;
    uint64_t start_us = nadb_clock_mono_us(server->clock);
    enum nadb_cmd_status status = run_handler(call);
    uint64_t spent_us = nadb_clock_mono_us(server->clock) - start_us;
    if (status != NADB_CMD_DONE) {
        NADB_ASSERT(call->may_yield && call->out->buf.len == mark);
        client->progress_us += spent_us;
        return status;
    }
    if (call->may_yield) {
        spent_us += client->progress_us;
    }
    stat->calls++;
    nadb_histogram_add(&stat->latency, spent_us * 1000, 1);
    if (note_error(server, call->out, mark)) {
        stat->failed++;
    }
    return status;
}

/* Drops the reply from `mark` on as CLIENT REPLY asks. */
static void apply_reply_mode(struct nadb_client *client, enum nadb_reply_mode before, size_t mark)
{
    enum nadb_reply_mode now = client->reply_mode;
    bool is_dropped = now == NADB_REPLY_OFF || now == NADB_REPLY_SKIP_NEXT ||
                      (now == NADB_REPLY_SKIP && before == NADB_REPLY_SKIP);
    if (is_dropped && client->out.buf.len > mark) {
        client->out.buf.len = mark;
    }
    if (now == NADB_REPLY_SKIP_NEXT) {
        client->reply_mode = NADB_REPLY_SKIP;
    } else if (now == NADB_REPLY_SKIP) {
        client->reply_mode = NADB_REPLY_ON;
    }
}

static bool is_timed_in_groups(const struct nadb_cmd *cmd)
{
    return (cmd->flags & (NADB_CMD_FAST | NADB_CMD_GROUPED)) && !(cmd->flags & NADB_CMD_COUNTS);
}

static void call_timed_in_group(struct nadb_call *call, struct timed_run *run)
{
    struct nadb_server *server = call->server;
    size_t row = nadb_cmd_index(call->cmd);
    size_t mark = call->out->buf.len;
    (void)call->cmd->handler(call); /* never AGAIN: constant time */
    run_add(run, row);
    if (note_error(server, call->out, mark)) {
        server->cmdstats->commands[row].failed++;
    }
}

static uint64_t count_failures(const struct nadb_store *store)
{
    struct nadb_store_stats stats;
    nadb_store_stats(store, &stats);
    return stats.flush_failures;
}

/* A command that works in slices may have seen, in an earlier one, what is not durable. When that
 * has been undone since, the work is worth nothing. */
static void check_progress(struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    if (client->progress_version != 0 && client->progress_failures != count_failures(call->store)) {
        nadb_client_drop_progress(client);
    }
}

/* Ends a slice: notes what it has seen, or, after the last one, gives the version to hold the
 * reply for. */
static uint64_t end_slice(struct nadb_call *call, enum nadb_cmd_status status, uint64_t version)
{
    struct nadb_client *client = call->client;
    if (client->progress_version > version) {
        version = client->progress_version;
    }
    if (status != NADB_CMD_DONE) {
        if (version != 0 && client->progress_version == 0) {
            client->progress_failures = count_failures(call->store);
        }
        client->progress_version = version;
        return 0;
    }
    client->progress_us = client->progress_version = 0;
    return version > nadb_store_durable(call->store) ? version : 0;
}

/* EXEC leaves what was queued in place: it may have to run again. */
static void end_transaction(const struct nadb_call *call, enum nadb_cmd_status status)
{
    if (call->cmd == nadb_cmd_at(NADB_ROW_EXEC) && status == NADB_CMD_DONE) {
        nadb_client_multi_end(call->client);
    }
}

/* Runs a command that passed its checks: store bracket, hold, reply mode. */
static enum nadb_cmd_status run_command(struct nadb_call *call, struct timed_run *run)
{
    struct nadb_client *client = call->client;
    bool has_store = call->server->state != NADB_SERVER_LOADING;
    size_t mark = client->out.buf.len;
    uint64_t begin = nadb_client_out_end(client);
    enum nadb_reply_mode mode = client->reply_mode;
    enum nadb_cmd_status status = NADB_CMD_DONE;
    if (has_store) {
        check_progress(call);
        nadb_store_command_begin(call->store);
    }
    nadb_pubsub_command_begin(&call->server->pubsub, client);
    if (is_timed_in_groups(call->cmd)) {
        call_timed_in_group(call, run);
    } else {
        run_end(run, call->server);
        status = nadb_dispatch_call(call);
        run_begin(run, call->server);
    }
    uint64_t version = has_store ? nadb_store_command_end(call->store) : 0;
    if (NADB_UNLIKELY(
            status != NADB_CMD_DONE || client->progress_us != 0 || client->progress_version != 0)) {
        version = end_slice(call, status, version);
    }
    if (NADB_UNLIKELY(mode != NADB_REPLY_ON || client->reply_mode != NADB_REPLY_ON) &&
        status == NADB_CMD_DONE && !(call->cmd->flags & NADB_CMD_PUBSUB)) {
        apply_reply_mode(client, mode, mark);
    }
    nadb_pubsub_command_end(&call->server->pubsub);
    if (version != 0 && client->out.buf.len > mark) {
        nadb_client_hold(client, begin, version);
    }
    end_transaction(call, status);
    return status;
}

/* The same on a shared backend, where a command may run several times before it is over. */
static enum nadb_cmd_status run_in_window(struct nadb_call *call, struct timed_run *run)
{
    struct nadb_client *client = call->client;
    struct nadb_server *server = call->server;
    size_t row = nadb_cmd_index(call->cmd);
    size_t mark = client->out.buf.len;
    enum nadb_reply_mode mode = client->reply_mode;
    enum nadb_cmd_status status = nadb_window_run(call);
    if (status != NADB_CMD_DONE) {
        return status;
    }
    run_add(run, row);
    if (note_error(server, call->out, mark)) {
        server->cmdstats->commands[row].failed++;
    }
    if (NADB_UNLIKELY(mode != NADB_REPLY_ON || client->reply_mode != NADB_REPLY_ON) &&
        !(call->cmd->flags & NADB_CMD_PUBSUB)) {
        apply_reply_mode(client, mode, mark);
    }
    end_transaction(call, status);
    return status;
}

/* The command's checks are passed: are the values that it needs there? */
static enum verdict check_values(
    struct nadb_client *client, const struct nadb_cmd *cmd, const struct nadb_resp_cmd *request)
{
    struct nadb_error error;
    switch (nadb_values_prepare(client, cmd, request->argv, request->argc, &error)) {
    case NADB_VALUES_READY:
        return VERDICT_RUN;
    case NADB_VALUES_PENDING:
        return VERDICT_WAIT;
    case NADB_VALUES_FAILED:
        break;
    }
    refuse_unreadable(client, cmd, request, &error);
    return VERDICT_ANSWERED;
}

/* The commands behind one that waits will need values, too. */
static void ask_ahead(struct nadb_client *client, const struct nadb_resp_group *group,
    const struct nadb_prepared *prepared, size_t from)
{
    for (size_t i = from; i < group->count; i++) {
        const struct nadb_cmd *cmd = prepared[i].cmd;
        if (cmd != NULL && nadb_cmd_arity_fits(cmd, group->cmds[i].argc)) {
            nadb_values_ask(client, cmd, group->cmds[i].argv, group->cmds[i].argc);
        }
    }
}

static bool has_window(const struct nadb_server *server)
{
    return NADB_UNLIKELY(nadb_store_is_shared(server->store)) &&
           server->state != NADB_SERVER_LOADING;
}

static enum nadb_dispatch_status run_one(struct nadb_call *call,
    const struct nadb_resp_cmd *request, const struct nadb_prepared *prepared,
    struct timed_run *run)
{
    struct nadb_client *client = call->client;
    struct nadb_server *server = call->server;
    enum nadb_reply_mode mode = client->reply_mode;
    size_t mark = client->out.buf.len;
    bool is_windowed = has_window(server);
    enum verdict verdict = is_windowed && nadb_window_has_begun(client)
                               ? VERDICT_RUN
                               : check_fast(client, prepared->cmd, request);
    if (verdict == VERDICT_RUN && NADB_UNLIKELY(nadb_store_has_cold(server->store)) &&
        !is_windowed && server->state != NADB_SERVER_LOADING) {
        verdict = check_values(client, prepared->cmd, request);
    }
    if (verdict == VERDICT_WAIT) {
        return NADB_DISPATCH_WAIT;
    }
    if (verdict == VERDICT_RUN) {
        call->cmd = prepared->cmd;
        call->argv = request->argv;
        call->argc = request->argc;
        call->first_key = prepared->key;
        call->keyspace = client->keyspace;
        enum nadb_cmd_status status =
            NADB_UNLIKELY(is_windowed) ? run_in_window(call, run) : run_command(call, run);
        if (status != NADB_CMD_DONE) {
            return status == NADB_CMD_WAIT ? NADB_DISPATCH_WAIT : NADB_DISPATCH_AGAIN;
        }
        client->last_cmd = prepared->cmd;
        server->counters.commands_processed++;
        client->commands++;
    } else if (mode != NADB_REPLY_ON) {
        apply_reply_mode(client, mode, mark);
    }
    client->is_closing = client->is_closing || client->out.is_full;
    return NADB_DISPATCH_DONE;
}

enum nadb_dispatch_status nadb_dispatch_group(struct nadb_server *server,
    struct nadb_client *client, const struct nadb_resp_group *group, size_t *ret_count)
{
    NADB_ASSERT(group->count <= NADB_RESP_GROUP_MAX);
    struct nadb_prepared prepared[NADB_RESP_GROUP_MAX];
    find_rows(server->store, group, prepared);
    struct nadb_call call = {
        .server = server,
        .client = client,
        .store = server->store,
        .out = &client->out,
        .may_yield = true,
        .progress = &client->progress,
    };
    if (server->state != NADB_SERVER_LOADING) {
        if (client->keyspace == NULL) {
            resolve_keyspace(client);
        }
        call.now_ms = nadb_store_now_ms(server->store);
        if (group->count > 1) {
            warm_index(client->keyspace, group, prepared);
        }
    } else {
        call.now_ms = nadb_clock_wall_ms(server->clock);
    }
    client->last_command_ms = call.now_ms;

    if (has_window(server) && nadb_window_is_waiting(client)) {
        *ret_count = 0;
        return NADB_DISPATCH_WAIT; /* see window.h: 1 */
    }
    struct timed_run run;
    run_begin(&run, server);
    enum nadb_dispatch_status status = NADB_DISPATCH_DONE;
    size_t done = 0;
    while (done < group->count) {
        if (client->is_closing) {
            status = NADB_DISPATCH_CLOSE;
            break;
        }
        if (server->state == NADB_SERVER_STOPPING) {
            status = NADB_DISPATCH_WAIT;
            break;
        }
        if (done > 0 && client->out.buf.len + client->attached.len > NADB_CLIENT_OUTPUT_SOFT) {
            status = NADB_DISPATCH_AGAIN; /* these replies first */
            break;
        }
        status = run_one(&call, &group->cmds[done], &prepared[done], &run);
        if (status != NADB_DISPATCH_DONE) {
            if (has_window(server)) {
                call.keyspace = client->keyspace;
                nadb_window_run_ahead(&call, group, prepared, done);
            } else if (NADB_UNLIKELY(nadb_store_has_cold(server->store)) &&
                       server->state == NADB_SERVER_READY) {
                ask_ahead(client, group, prepared, done + 1);
            }
            break;
        }
        done++;
    }
    run_end(&run, server);
    *ret_count = done;
    return client->is_closing ? NADB_DISPATCH_CLOSE : status;
}
