/* This file tests what a client keeps: queued commands, held replies, its place in the registry. */
#include "src/server/client.h"

#include "src/server/cmd_table.h"
#include "tests/support/test.h"
#include "tests/unit/server/cmd_fixture.h"

NADB_TEST_SUITE(client);

static void write_reply(struct nadb_client *client, const char *text, uint64_t version)
{
    uint64_t begin = nadb_client_out_end(client);
    nadb_resp_simple(&client->out, nadb_slice_cstr(text));
    if (version != 0) {
        nadb_client_hold(client, begin, version);
    }
}

Test(client, replies_without_a_hold_may_leave_at_once)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    write_reply(&fixture.client, "a", 0);
    cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "+a/");
    cmd_fixture_fini(&fixture);
}

Test(client, a_held_reply_holds_back_all_that_follow)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    struct nadb_client *client = &fixture.client;
    write_reply(client, "a", 0);
    write_reply(client, "b", 5);
    write_reply(client, "c", 0);
    write_reply(client, "d", 7);
    cr_assert_str_eq(cmd_fixture_take(&fixture, client), "+a/");
    nadb_client_release(client, 4);
    cr_assert_str_eq(cmd_fixture_take(&fixture, client), "");
    nadb_client_release(client, 5);
    cr_assert_str_eq(cmd_fixture_take(&fixture, client), "+b/+c/");
    nadb_client_release(client, 9);
    cr_assert_str_eq(cmd_fixture_take(&fixture, client), "+d/");
    cmd_fixture_fini(&fixture);
}

Test(client, held_replies_that_fail_become_errors_of_their_own)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    struct nadb_client *client = &fixture.client;
    write_reply(client, "a", 0);
    write_reply(client, "b", 3);
    write_reply(client, "c", 5);
    write_reply(client, "d", 0);
    write_reply(client, "e", 2);
    write_reply(client, "f", 6);
    write_reply(client, "g", 0);
    cr_assert_str_eq(cmd_fixture_take(&fixture, client), "+a/");
    const struct nadb_error error = {.code = NADB_ENOSPC, .text = "disk full"};
    nadb_client_fail_holds(client, 3, &error);
    cr_assert_str_eq(
        cmd_fixture_take(&fixture, client), "+b/-MISCONF disk full/+d/+e/-MISCONF disk full/+g/");
    cr_assert_eq(client->holds_count, 0);
    cmd_fixture_fini(&fixture);
}

Test(client, many_holds_keep_their_order)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    struct nadb_client *client = &fixture.client;
    uint64_t released = 0;
    for (uint64_t i = 1; i <= 1000; i++) {
        write_reply(client, "x", i);
        if (i % 3 == 0) { /* the ring's first place wanders */
            released = i / 2;
            nadb_client_release(client, released);
            nadb_client_sent(client, nadb_client_sendable(client));
        }
    }
    cr_assert_eq(client->holds_count, 1000 - released);
    cr_assert_eq(nadb_client_sendable(client), 0);
    nadb_client_release(client, 1000);
    cr_assert_eq(nadb_client_sendable(client), (1000 - released) * 4);
    cmd_fixture_fini(&fixture);
}

Test(client, a_queued_command_owns_its_arguments)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    char text[] = "value";
    const struct nadb_slice argv[] = {
        NADB_SLICE("SET"), NADB_SLICE(""), nadb_slice_of(text, sizeof(text) - 1)};
    const struct nadb_cmd *cmd = nadb_cmd_at(NADB_ROW_SET);
    for (size_t i = 0; i < 20; i++) {
        cr_assert(nadb_client_queue(&fixture.client, cmd, argv, 3));
    }
    memset(text, 'x', sizeof(text));
    cr_assert_eq(fixture.client.queue_count, 20);
    cr_assert(nadb_slice_eq(fixture.client.queue[19].argv[2], NADB_SLICE("value")));
    cr_assert_eq(fixture.client.queue[19].argv[1].len, 0);
    cr_assert_eq(fixture.client.queue_flags, cmd->flags);
    nadb_client_multi_end(&fixture.client);
    cr_assert_eq(fixture.client.queue_count, 0);
    cr_assert_eq(fixture.client.queue_bytes, 0);
    cmd_fixture_fini(&fixture);
}

Test(client, a_queue_beyond_its_bound_is_refused)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    const struct nadb_slice argv[] = {NADB_SLICE("PING")};
    fixture.client.queue_bytes = NADB_CLIENT_QUEUE_BYTES_MAX;
    cr_assert_not(nadb_client_queue(&fixture.client, nadb_cmd_at(NADB_ROW_PING), argv, 1));
    fixture.client.queue_bytes = 0;
    cmd_fixture_fini(&fixture);
}

Test(client, the_registry_lists_clients_by_id_and_forgets_those_that_left)
{
    static struct cmd_fixture fixture;
    struct nadb_client second;
    struct nadb_client third;
    cmd_fixture_init(&fixture);
    cmd_fixture_join(&fixture, &second);
    cmd_fixture_join(&fixture, &third);
    cr_assert_eq(fixture.clients.count, 3);
    cr_assert_eq(nadb_client_find(&fixture.clients, 2), &second);
    nadb_client_fini(&second);
    cr_assert_null(nadb_client_find(&fixture.clients, 2));
    cr_assert_eq(nadb_client_next(&fixture.clients, NULL), &fixture.client);
    cr_assert_eq(nadb_client_next(&fixture.clients, &fixture.client), &third);
    cr_assert_null(nadb_client_next(&fixture.clients, &third));
    nadb_client_fini(&third);
    cmd_fixture_fini(&fixture);
}
