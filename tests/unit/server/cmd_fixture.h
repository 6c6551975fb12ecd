/* A server without a loop: store on the memory backend, clock that stands still, one client that
 * is given commands as a person types them and whose replies come back as bytes.
 * Thread: the test's. */
#ifndef NADB_TESTS_UNIT_SERVER_CMD_FIXTURE_H
#define NADB_TESTS_UNIT_SERVER_CMD_FIXTURE_H

#include "src/server/client.h"
#include "src/server/dispatch.h"
#include "src/server/server.h"
#include "tests/support/fake_clock.h"
#include "tests/support/inline_executor.h"

#define CMD_FIXTURE_OUT_MAX        ((size_t)16 << 20)
#define CMD_FIXTURE_INPUT_MAX      131072u
#define CMD_FIXTURE_NAMESPACES_MAX 4u

struct cmd_fixture {
    struct nadb_fake_clock clock;
    struct nadb_inline_executor executor;
    struct nadb_config config;
    struct nadb_client_registry clients;
    struct nadb_cmdstats cmdstats;
    struct nadb_server server;
    struct nadb_client client;
    struct nadb_resp_reader reader;
    struct nadb_resp_group group;
    char input[CMD_FIXTURE_INPUT_MAX]; /* what the group's slices point into */
    struct nadb_buf shown;
    bool is_turn_open; /* by the test, which ends it: several dispatches are one turn */
    unsigned undone;   /* events seen */
    unsigned shutdowns, shutdown_flags, config_changes; /* what handlers asked of the loop */
};

void cmd_fixture_init(struct cmd_fixture *fixture);

/* The same on another backend, which is taken, with the server still loading: finish with
 * cmd_fixture_load. */
void cmd_fixture_init_on(struct cmd_fixture *fixture, const struct nadb_backend_ops *ops,
    struct nadb_backend *backend, enum nadb_durability durability);
void cmd_fixture_load(struct cmd_fixture *fixture);

/* Runs jobs and background work until there is none. */
void cmd_fixture_work(struct cmd_fixture *fixture);

void cmd_fixture_fini(struct cmd_fixture *fixture);

/* A second client. */
void cmd_fixture_join(struct cmd_fixture *fixture, struct nadb_client *client);

/* Runs what `lines` says, one inline command a line, in one turn of the server, and gives the
 * replies that may be sent, with '/' for every CR LF, valid until the next call. What must go on
 * in a later turn is run again until it is done. */
const char *cmd_fixture_run(struct cmd_fixture *fixture, const char *lines);
const char *cmd_fixture_run_as(
    struct cmd_fixture *fixture, struct nadb_client *client, const char *lines);

/* The same for one command given as arguments. */
const char *cmd_fixture_run_args(struct cmd_fixture *fixture, struct nadb_slice *argv, size_t argc);

/* Takes what may be sent to the client, shown as above. */
const char *cmd_fixture_take(struct cmd_fixture *fixture, struct nadb_client *client);

/* One dispatch of the lines, nothing repeated; replies stay in client->out. */
enum nadb_dispatch_status cmd_fixture_dispatch(
    struct cmd_fixture *fixture, struct nadb_client *client, const char *lines, size_t *ret_count);

#endif
