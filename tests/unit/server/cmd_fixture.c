/* This file is the server without a loop that the tests of commands run on. */
#include "tests/unit/server/cmd_fixture.h"

#include <criterion/criterion.h>

#include "backends/registry.h"
#include "src/server/cmd_table.h"
#include "src/store/attempt.h"

/* ---- what the loop would do ---- */

static struct cmd_fixture *fixture_of(struct nadb_server *server)
{
    return NADB_CONTAINER_OF(server, struct cmd_fixture, server);
}

void nadb_server_shutdown(struct nadb_server *server, unsigned flags, struct nadb_client *requester)
{
    cr_assert_not_null(requester);
    fixture_of(server)->shutdowns++;
    fixture_of(server)->shutdown_flags = flags;
    server->state = NADB_SERVER_STOPPING;
}

void nadb_server_config_changed(struct nadb_server *server)
{
    fixture_of(server)->config_changes++;
}

/* ---- the store's events ---- */

static void on_end(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    (void)ctx;
    cr_assert_eq(err, NADB_OK, "%s", error != NULL ? error->text : "");
}

static void on_durable(void *ctx)
{
    struct cmd_fixture *fixture = ctx;
    nadb_client_release(&fixture->client, nadb_store_durable(fixture->server.store));
}

static void on_undone(void *ctx, const struct nadb_error *error)
{
    struct cmd_fixture *fixture = ctx;
    fixture->undone++;
    nadb_client_fail_holds(&fixture->client, nadb_store_durable(fixture->server.store), error);
}

/* Tests look for themselves. */
static void on_nothing(void *ctx)
{
    (void)ctx;
}

static void on_notice(void *ctx, bool is_warning, const char *line)
{
    (void)ctx;
    (void)is_warning;
    (void)line;
}

static void on_heard(void *ctx, struct nadb_slice channel, struct nadb_slice text)
{
    struct cmd_fixture *fixture = ctx;
    (void)nadb_pubsub_deliver(&fixture->server, channel, text, 0); /* tests look for themselves */
}

static const struct nadb_store_events events = {
    .opened = on_end,
    .closed = on_end,
    .durable = on_durable,
    .undone = on_undone,
    .admit = on_nothing,
    .wake = on_nothing,
    .notice = on_notice,
    .heard = on_heard,
};

/* ---- life cycle ---- */

void cmd_fixture_init_on(struct cmd_fixture *fixture, const struct nadb_backend_ops *ops,
    struct nadb_backend *backend, enum nadb_durability durability)
{
    *fixture = (struct cmd_fixture){0};
    nadb_fake_clock_init(&fixture->clock);
    nadb_inline_executor_init(&fixture->executor);
    nadb_config_init(&fixture->config);
    fixture->config.namespaces_max = CMD_FIXTURE_NAMESPACES_MAX;
    nadb_client_registry_init(&fixture->clients);
    nadb_cmdstats_init(&fixture->cmdstats, nadb_cmd_count());
    nadb_resp_reader_init(&fixture->reader);
    nadb_resp_group_init(&fixture->group);
    nadb_buf_init(&fixture->shown, CMD_FIXTURE_OUT_MAX);
    const struct nadb_store_opts opts = {
        .clock = &fixture->clock.clock,
        .executor = &fixture->executor.executor,
        .events = &events,
        .events_ctx = fixture,
        .backend_ops = ops,
        .backend = backend,
        .durability = durability,
        .buffer_size_bytes = (uint64_t)1 << 20,
        .flush_interval_ms = 1000,
        .databases = 16,
        .namespaces_max = CMD_FIXTURE_NAMESPACES_MAX,
        .hash_seed = {1, 2},
        .shared_runs = 2,
        .may_wait = true,
    };
    fixture->server = (struct nadb_server){
        .magic = NADB_SERVER_MAGIC,
        .state = NADB_SERVER_LOADING,
        .config = &fixture->config,
        .store = nadb_store_new(&opts),
        .clock = &fixture->clock.clock,
        .clients = &fixture->clients,
        .cmdstats = &fixture->cmdstats,
        .start_wall_ms = fixture->clock.wall_ms,
        .start_mono_us = fixture->clock.mono_us,
        .executable = "/usr/bin/nadbd",
        .tcp_port = 6380,
        .run_id = "0123456789012345678901234567890123456789",
    };
    nadb_pubsub_init(&fixture->server.pubsub);
    nadb_client_init(&fixture->client, &fixture->server, CMD_FIXTURE_OUT_MAX);
}

void cmd_fixture_work(struct cmd_fixture *fixture)
{
    do {
        (void)nadb_inline_executor_run_all(&fixture->executor);
    } while (nadb_store_step(fixture->server.store, 1000000) ||
             nadb_inline_executor_pending(&fixture->executor) > 0);
}

void cmd_fixture_load(struct cmd_fixture *fixture)
{
    nadb_store_open(fixture->server.store);
    cmd_fixture_work(fixture);
    fixture->server.state = NADB_SERVER_READY;
}

void cmd_fixture_init(struct cmd_fixture *fixture)
{
    const struct nadb_backend_opts opts = {.dir = "", .segment_size_bytes = 1 << 20};
    cmd_fixture_init_on(fixture, &nadb_backend_memory_ops,
        nadb_backend_memory_ops.new_instance(&opts), NADB_DURABILITY_INTERVAL);
    cmd_fixture_load(fixture);
}

void cmd_fixture_fini(struct cmd_fixture *fixture)
{
    (void)nadb_inline_executor_run_all(&fixture->executor);
    nadb_client_fini(&fixture->client);
    nadb_attempt_free(fixture->server.spare_attempt);
    nadb_pubsub_fini(&fixture->server.pubsub);
    nadb_store_free(fixture->server.store);
    nadb_cmdstats_fini(&fixture->cmdstats);
    nadb_config_fini(&fixture->config);
    nadb_resp_reader_fini(&fixture->reader);
    nadb_resp_group_fini(&fixture->group);
    nadb_buf_fini(&fixture->shown);
}

void cmd_fixture_join(struct cmd_fixture *fixture, struct nadb_client *client)
{
    *client = (struct nadb_client){0};
    nadb_client_init(client, &fixture->server, CMD_FIXTURE_OUT_MAX);
}

/* ---- running ---- */

static enum nadb_dispatch_status dispatch_group(
    struct cmd_fixture *fixture, struct nadb_client *client, size_t *ret_count)
{
    if (!fixture->is_turn_open) {
        nadb_store_turn_begin(fixture->server.store);
    }
    enum nadb_dispatch_status status =
        nadb_dispatch_group(&fixture->server, client, &fixture->group, ret_count);
    if (fixture->server.state != NADB_SERVER_LOADING && !fixture->is_turn_open) {
        nadb_store_turn_end(fixture->server.store);
    }
    return status;
}

enum nadb_dispatch_status cmd_fixture_dispatch(
    struct cmd_fixture *fixture, struct nadb_client *client, const char *lines, size_t *ret_count)
{
    const struct nadb_resp_limits limits = {
        .bulk_len_max = NADB_VALUE_LEN_MAX, .args_max = NADB_RESP_ARGS_MAX};
    size_t len = strlen(lines);
    cr_assert_lt(len + 1, sizeof(fixture->input));
    memcpy(fixture->input, lines, len);
    fixture->input[len++] = '\n';
    size_t used;
    nadb_resp_reader_reset(&fixture->reader);
    enum nadb_resp_status status = nadb_resp_reader_parse(
        &fixture->reader, &limits, fixture->input, len, &fixture->group, &used);
    cr_assert_neq(status, NADB_RESP_BAD, "'%s': %s", lines, fixture->reader.error);
    cr_assert_eq(used, len, "'%s': more than one group", lines);
    return dispatch_group(fixture, client, ret_count);
}

const char *cmd_fixture_take(struct cmd_fixture *fixture, struct nadb_client *client)
{
    struct nadb_buf *shown = &fixture->shown;
    size_t len = nadb_client_sendable(client);
    shown->len = 0;
    cr_assert(nadb_buf_reserve(shown, len + 1));
    for (size_t i = 0; i < len; i++) {
        const char *at = client->out.buf.data + i;
        bool is_line_end = at[0] == '\r' && i + 1 < len && at[1] == '\n';
        shown->data[shown->len++] = is_line_end ? '/' : at[0];
        i += is_line_end;
    }
    shown->data[shown->len] = '\0';
    nadb_client_sent(client, len);
    return shown->data;
}

/* Skips `count` lines of those that were dispatched. */
static const char *skip_lines(const char *lines, size_t count)
{
    for (; count > 0; count--) {
        lines = strchr(lines, '\n');
        cr_assert_not_null(lines);
        lines++;
    }
    return lines;
}

const char *cmd_fixture_run_as(
    struct cmd_fixture *fixture, struct nadb_client *client, const char *lines)
{
    size_t count;
    enum nadb_dispatch_status status = cmd_fixture_dispatch(fixture, client, lines, &count);
    while (status == NADB_DISPATCH_AGAIN ||
           (status == NADB_DISPATCH_WAIT && nadb_store_is_shared(fixture->server.store))) {
        cmd_fixture_work(fixture);
        lines = skip_lines(lines, count);
        status = cmd_fixture_dispatch(fixture, client, lines, &count);
    }
    return cmd_fixture_take(fixture, client);
}

const char *cmd_fixture_run(struct cmd_fixture *fixture, const char *lines)
{
    return cmd_fixture_run_as(fixture, &fixture->client, lines);
}

const char *cmd_fixture_run_args(struct cmd_fixture *fixture, struct nadb_slice *argv, size_t argc)
{
    size_t count;
    fixture->group.count = 1;
    fixture->group.cmds[0] = (struct nadb_resp_cmd){.argv = argv, .argc = argc};
    while (dispatch_group(fixture, &fixture->client, &count) == NADB_DISPATCH_WAIT &&
           nadb_store_is_shared(fixture->server.store)) {
        cmd_fixture_work(fixture);
    }
    return cmd_fixture_take(fixture, &fixture->client);
}
