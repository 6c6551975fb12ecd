/* This file runs the commands of clients on a shared backend. */
#include "src/server/window.h"

#include "src/base/mem.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"
#include "src/server/values.h"

enum entry_state {
    ENTRY_FETCHING,   /* what it needs is under way, or here; then it runs (again) */
    ENTRY_COMMITTING, /* its reply waits for the commit */
    ENTRY_OVER,       /* its reply waits for its turn */
};

/* Which keyspace a transaction leaves its client in: known to others when it is over. */
struct session {
    uint64_t db;
    struct nadb_keyspace *keyspace; /* referenced; NULL: none is kept here */
};

/* What a transaction leaves behind when it stands. */
struct aftermath {
    struct session session;
    struct nadb_buf drafts; /* of messages */
};

struct entry {
    enum entry_state state;
    bool is_blind;                /* nothing was asked for: its commit meets no conflict */
    struct nadb_attempt *attempt; /* owned */
    struct nadb_buf reply;
    struct aftermath after; /* of a transaction */
};

struct nadb_window {
    struct entry entries[NADB_RESP_GROUP_MAX]; /* of the client's next commands, without gaps */
    size_t count;
};

/* ---- entries ---- */

static struct entry *entry_at(const struct nadb_client *client, size_t index)
{
    struct nadb_window *window = client->window;
    return window == NULL || index >= window->count ? NULL : &window->entries[index];
}

static struct entry *add_entry(struct nadb_client *client, struct nadb_attempt *attempt)
{
    if (client->window == NULL) {
        client->window = nadb_mem_zalloc(sizeof(*client->window));
    }
    struct nadb_window *window = client->window;
    NADB_ASSERT(window->count < NADB_RESP_GROUP_MAX);
    struct entry *entry = &window->entries[window->count++];
    *entry = (struct entry){.state = ENTRY_FETCHING, .attempt = attempt};
    nadb_buf_init(&entry->reply, client->out.buf.cap_max);
    return entry;
}

static void drop_session(struct nadb_store *store, struct session *session)
{
    if (session->keyspace != NULL) {
        nadb_keyspace_unref(store, session->keyspace);
        session->keyspace = NULL;
    }
}

static void drop_aftermath(struct nadb_store *store, struct aftermath *after)
{
    drop_session(store, &after->session);
    nadb_buf_fini(&after->drafts);
}

static void free_entry(struct nadb_client *client, struct entry *entry)
{
    drop_aftermath(client->server->store, &entry->after);
    nadb_attempt_free(entry->attempt);
    nadb_buf_fini(&entry->reply);
}

static void pop_entry(struct nadb_client *client)
{
    struct nadb_window *window = client->window;
    if (window == NULL || window->count == 0) {
        return;
    }
    free_entry(client, &window->entries[0]);
    window->count--;
    memmove(window->entries, window->entries + 1, window->count * sizeof(window->entries[0]));
}

void nadb_window_free(struct nadb_client *client)
{
    while (client->window != NULL && client->window->count > 0) {
        pop_entry(client);
    }
    nadb_mem_free(client->window);
    client->window = NULL;
}

bool nadb_window_has_begun(const struct nadb_client *client)
{
    return entry_at(client, 0) != NULL;
}

bool nadb_window_is_waiting(const struct nadb_client *client)
{
    const struct entry *entry;
    for (size_t i = 0; (entry = entry_at(client, i)) != NULL; i++) {
        if (nadb_attempt_is_waiting(entry->attempt)) {
            return true;
        }
    }
    return false;
}

size_t nadb_window_bytes(const struct nadb_client *client)
{
    size_t bytes = client->window == NULL ? 0 : sizeof(*client->window);
    const struct entry *entry;
    for (size_t i = 0; (entry = entry_at(client, i)) != NULL; i++) {
        bytes += nadb_attempt_bytes(entry->attempt) + entry->reply.cap;
    }
    return bytes;
}

/* An attempt that nothing was asked for in stays for the next command. */
static struct nadb_attempt *take_spare(struct nadb_server *server)
{
    struct nadb_attempt *attempt = server->spare_attempt;
    server->spare_attempt = NULL;
    return attempt != NULL ? attempt : nadb_attempt_new(server->store);
}

static void give_spare(struct nadb_server *server, struct nadb_attempt *attempt)
{
    nadb_attempt_free(server->spare_attempt);
    server->spare_attempt = attempt;
}

/* ---- sessions ---- */

static bool is_exec(const struct nadb_cmd *cmd)
{
    return cmd == nadb_cmd_at(NADB_ROW_EXEC);
}

static struct session take_session(struct nadb_client *client)
{
    nadb_keyspace_ref(client->keyspace);
    return (struct session){client->db, client->keyspace};
}

/* The client gets the session, which is empty then. */
static void enter_session(struct nadb_client *client, struct session *session)
{
    nadb_keyspace_unref(client->server->store, client->keyspace);
    client->db = session->db;
    client->keyspace = session->keyspace;
    session->keyspace = NULL;
}

/* ---- running ---- */

/* What one run of a handler has come to. */
enum run_end {
    RUN_OVER,       /* its reply is written, and true */
    RUN_WAITS,      /* nothing is written; it waits for the engine */
    RUN_COMMITTING, /* its reply is written, and true when the commit succeeds */
    RUN_YIELDED,    /* nothing is written; *ret_status says when to go on */
};

/* Between the brackets of the store. */
static enum run_end run_attempt(
    struct nadb_call *call, struct nadb_attempt *attempt, enum nadb_cmd_status *ret_status)
{
    struct nadb_client *client = call->client;
    size_t mark = call->out->buf.len;
    struct nadb_error error;
    bool is_validated = is_exec(call->cmd) && client->queue_count > 1;
    nadb_store_command_begin(call->store);
    nadb_pubsub_command_begin(&call->server->pubsub, client);
    nadb_attempt_begin(attempt);
    *ret_status = call->cmd->handler(call);
    enum nadb_attempt_end end = nadb_attempt_end(attempt, is_validated, &error);
    nadb_pubsub_command_end(&call->server->pubsub);
    (void)nadb_store_command_end(call->store); /* nothing is held: nothing is buffered */
    if (end == NADB_ATTEMPT_COMPLETE) {
        return *ret_status == NADB_CMD_DONE ? RUN_OVER : RUN_YIELDED;
    }
    nadb_client_drop_progress(client);
    if (end == NADB_ATTEMPT_COMMITTING) {
        return RUN_COMMITTING;
    }
    call->out->buf.len = mark;
    if (end == NADB_ATTEMPT_MISSING) {
        return RUN_WAITS;
    }
    (void)nadb_reply_err(call, &error);
    return RUN_OVER;
}

/* A transaction may change the session and publish: it takes both back if it has to run again, and
 * if it has to wait for its commit both are put into `ret_after`. */
static enum run_end run_exec(struct nadb_call *call, struct nadb_attempt *attempt,
    enum nadb_cmd_status *ret_status, struct aftermath *ret_after)
{
    struct nadb_client *client = call->client;
    struct session before = take_session(client);
    struct nadb_buf drafts;
    nadb_buf_init(&drafts, 2 * NADB_CLIENT_QUEUE_BYTES_MAX);
    nadb_pubsub_draft_begin(&call->server->pubsub, &drafts);
    enum run_end end = run_attempt(call, attempt, ret_status);
    nadb_pubsub_draft_end(&call->server->pubsub);
    if (end == RUN_OVER) {
        nadb_pubsub_send_drafts(call->server, nadb_buf_slice(&drafts));
    } else if (end == RUN_COMMITTING) {
        *ret_after = (struct aftermath){take_session(client), drafts};
        drafts = (struct nadb_buf){0};
        enter_session(client, &before);
    } else {
        enter_session(client, &before);
    }
    nadb_buf_fini(&drafts);
    drop_session(call->store, &before);
    return end;
}

static enum run_end run_once(struct nadb_call *call, struct nadb_attempt *attempt,
    enum nadb_cmd_status *ret_status, struct aftermath *ret_after)
{
    call->client->is_trial = true;
    enum run_end end = is_exec(call->cmd) ? run_exec(call, attempt, ret_status, ret_after)
                                          : run_attempt(call, attempt, ret_status);
    call->client->is_trial = false;
    return end;
}

/* Puts away what is written from `mark` on. */
static void keep_reply(struct nadb_call *call, struct entry *entry, size_t mark)
{
    struct nadb_buf *out = &call->out->buf;
    entry->reply.len = 0;
    bool is_kept = nadb_buf_append(&entry->reply, out->data + mark, out->len - mark);
    call->out->is_full = call->out->is_full || !is_kept;
    out->len = mark;
}

/* The commit has met a conflict: everything anew. */
static void begin_anew(struct nadb_call *call, struct entry *entry)
{
    entry->state = ENTRY_FETCHING;
    nadb_values_ask_for(entry->attempt, call);
}

/* Sees what became of the entry's commit. False: it is under way, or begins anew, in which case
 * there may be nothing to wait for. */
static bool settle(struct nadb_call *call, struct entry *entry)
{
    struct nadb_error error;
    size_t mark = call->out->buf.len;
    switch (nadb_attempt_outcome(entry->attempt, &error)) {
    case NADB_OUTCOME_NONE:
        return false;
    case NADB_OUTCOME_CONFLICT:
        drop_aftermath(call->store, &entry->after);
        begin_anew(call, entry);
        return false;
    case NADB_OUTCOME_FAILED:
        (void)nadb_reply_err(call, &error);
        keep_reply(call, entry, mark);
        drop_aftermath(call->store, &entry->after);
        break;
    case NADB_OUTCOME_COMMITTED:
        break;
    }
    entry->state = ENTRY_OVER;
    return true;
}

/* The first command is over: its reply is the next that is written. */
static enum nadb_cmd_status answer(struct nadb_call *call, struct entry *entry)
{
    nadb_resp_raw(call->out, nadb_buf_slice(&entry->reply));
    if (entry->after.session.keyspace != NULL) {
        enter_session(call->client, &entry->after.session);
    }
    nadb_pubsub_send_drafts(call->server, nadb_buf_slice(&entry->after.drafts));
    pop_entry(call->client);
    return NADB_CMD_DONE;
}

/* Runs the entry's command, whatever it waited for being here. */
static enum nadb_cmd_status run_entry(struct nadb_call *call, struct entry *entry, bool is_first)
{
    size_t mark = call->out->buf.len;
    enum nadb_cmd_status status;
    switch (run_once(call, entry->attempt, &status, &entry->after)) {
    case RUN_OVER:
        if (is_first) {
            pop_entry(call->client);
            return NADB_CMD_DONE;
        }
        keep_reply(call, entry, mark);
        entry->state = ENTRY_OVER;
        return NADB_CMD_DONE;
    case RUN_YIELDED:
        return status;
    case RUN_COMMITTING:
        keep_reply(call, entry, mark);
        entry->state = ENTRY_COMMITTING;
        break;
    case RUN_WAITS:
        entry->is_blind = false; /* it has asked after all */
        break;
    }
    return NADB_CMD_WAIT;
}

/* The first command has not begun yet and needs nothing that is known of: most often it is over
 * with one run, and nothing is left behind. */
static enum nadb_cmd_status run_at_once(struct nadb_call *call)
{
    struct nadb_server *server = call->server;
    struct nadb_attempt *attempt = take_spare(server);
    size_t mark = call->out->buf.len;
    enum nadb_cmd_status status;
    struct aftermath after = {0};
    enum run_end end = run_once(call, attempt, &status, &after);
    if (end == RUN_OVER) {
        give_spare(server, attempt);
        return NADB_CMD_DONE;
    }
    struct entry *entry = add_entry(call->client, attempt);
    entry->is_blind = end == RUN_COMMITTING;
    entry->after = after;
    if (end == RUN_YIELDED) {
        return status;
    }
    if (end == RUN_COMMITTING) {
        keep_reply(call, entry, mark);
        entry->state = ENTRY_COMMITTING;
    }
    return NADB_CMD_WAIT;
}

enum nadb_cmd_status nadb_window_run(struct nadb_call *call)
{
    struct nadb_client *client = call->client;
    struct entry *entry = entry_at(client, 0);
    if (entry == NULL) {
        if (!nadb_values_must_ask(client, call->cmd, call->argv, call->argc)) {
            return run_at_once(call);
        }
        entry = add_entry(client, nadb_attempt_new(call->store));
        nadb_values_ask_for(entry->attempt, call);
    }
    if (nadb_attempt_is_waiting(entry->attempt)) {
        return NADB_CMD_WAIT;
    }
    if (entry->state == ENTRY_COMMITTING && !settle(call, entry) &&
        nadb_attempt_is_waiting(entry->attempt)) {
        return NADB_CMD_WAIT;
    }
    return entry->state == ENTRY_OVER ? answer(call, entry) : run_entry(call, entry, true);
}

/* ---- ahead ---- */

/* Does it concern its keys only? */
static bool is_plain(const struct nadb_cmd *cmd)
{
    unsigned others = NADB_CMD_NOQUEUE | NADB_CMD_COUNTS | NADB_CMD_CONTAINER | NADB_CMD_NOMULTI;
    return cmd != NULL && cmd->handler != NULL && cmd->key_first > 0 && !(cmd->flags & others) &&
           (cmd->flags & (NADB_CMD_READONLY | NADB_CMD_WRITE));
}

/* A change whose commit is not over, and may meet a conflict. */
static bool may_run_again(const struct nadb_cmd *cmd, const struct entry *entry)
{
    return (cmd->flags & NADB_CMD_WRITE) && entry->state != ENTRY_OVER && !entry->is_blind;
}

static bool has_key(
    const struct nadb_cmd *cmd, const struct nadb_resp_cmd *request, struct nadb_slice key)
{
    size_t first;
    size_t last;
    size_t step;
    if (!nadb_cmd_key_range(cmd, request->argc, &first, &last, &step)) {
        return false;
    }
    for (size_t i = first; i <= last; i += step) {
        if (nadb_slice_eq(request->argv[i], key)) {
            return true;
        }
    }
    return false;
}

/* Has the command at `index` a key in common with one from `first` on that may run again? */
static bool overlaps(const struct nadb_client *client, const struct nadb_resp_group *group,
    const struct nadb_prepared *prepared, size_t first, size_t index)
{
    const struct nadb_resp_cmd *request = &group->cmds[index];
    size_t from;
    size_t last;
    size_t step;
    if (!nadb_cmd_key_range(prepared[index].cmd, request->argc, &from, &last, &step)) {
        return true;
    }
    for (size_t i = first; i < index; i++) {
        for (size_t k = from;
             may_run_again(prepared[i].cmd, entry_at(client, i - first)) && k <= last; k += step) {
            if (has_key(prepared[i].cmd, &group->cmds[i], request->argv[k])) {
                return true;
            }
        }
    }
    return false;
}

/* Would nothing be in the command's way if it were the first? */
static bool may_begin(const struct nadb_call *call)
{
    struct nadb_error error;
    return !(call->cmd->flags & NADB_CMD_WRITE) ||
           nadb_store_admit(call->store, (call->cmd->flags & NADB_CMD_DENYOOM) != 0, &error) ==
               NADB_ADMIT;
}

/* Begins a command, or goes on with it; `is_sent`: all before it have been sent. False: it cannot
 * be begun, nor can what follows. */
static bool step_ahead(
    struct nadb_call *call, struct entry *entry, bool is_sent, bool has_common_key)
{
    bool is_reader = (call->cmd->flags & NADB_CMD_WRITE) == 0;
    if (entry == NULL) {
        bool is_asking = nadb_values_must_ask(call->client, call->cmd, call->argv, call->argc);
        bool is_change = is_asking && !is_reader;
        if (!may_begin(call) || (!is_sent && (!is_change || has_common_key)) ||
            (!is_change && has_common_key)) {
            return false;
        }
        entry = add_entry(call->client, nadb_attempt_new(call->store));
        entry->is_blind = !is_asking;
        if (is_asking) {
            nadb_values_ask_for(entry->attempt, call);
        }
        if (is_sent && !nadb_attempt_is_waiting(entry->attempt)) {
            (void)run_entry(call, entry, false); /* whatever it comes to is in the entry */
        }
        return true;
    }
    if (nadb_attempt_is_waiting(entry->attempt) ||
        (entry->state == ENTRY_COMMITTING && !settle(call, entry))) {
        return true;
    }
    if (entry->state == ENTRY_FETCHING && !is_reader && is_sent) {
        (void)run_entry(call, entry, false); /* as above */
    }
    return true;
}

/* Has what the command does, or what it sees, been sent? */
static bool is_entry_sent(const struct nadb_cmd *cmd, const struct entry *entry)
{
    return !(cmd->flags & NADB_CMD_WRITE) || entry->state != ENTRY_FETCHING;
}

void nadb_window_run_ahead(const struct nadb_call *call, const struct nadb_resp_group *group,
    const struct nadb_prepared *prepared, size_t first)
{
    struct nadb_client *client = call->client;
    const struct entry *head = entry_at(client, 0);
    if (head == NULL || client->is_multi || client->is_closing || !is_plain(prepared[first].cmd)) {
        return;
    }
    bool is_sent = is_entry_sent(prepared[first].cmd, head);
    for (size_t i = first + 1; i < group->count; i++) {
        struct nadb_call ahead = *call;
        ahead.cmd = prepared[i].cmd;
        ahead.argv = group->cmds[i].argv;
        ahead.argc = group->cmds[i].argc;
        ahead.first_key = prepared[i].key;
        ahead.may_yield = false;
        if (!is_plain(ahead.cmd) || !nadb_cmd_arity_fits(ahead.cmd, ahead.argc) ||
            nadb_cmd_is_key_too_long(ahead.cmd, ahead.argc, ahead.argv) ||
            !step_ahead(&ahead, entry_at(client, i - first), is_sent,
                overlaps(client, group, prepared, first, i))) {
            return;
        }
        is_sent = is_sent && is_entry_sent(ahead.cmd, entry_at(client, i - first));
    }
}
