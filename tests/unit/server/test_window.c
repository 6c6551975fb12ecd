/* This file tests how commands run on a shared backend: round trips, order, conflicts, failures. */
#include <stdio.h>
#include <string.h>

#include "src/base/random.h"
#include "src/store/tags.h"
#include "tests/support/shared_fake.h"
#include "tests/support/test.h"
#include "tests/unit/server/cmd_fixture.h"

static struct cmd_fixture fixture;
static struct nadb_shared_engine engine;

static void set_up(void)
{
    nadb_fake_clock_init(&fixture.clock);
    nadb_shared_engine_init(&engine, &fixture.clock.clock);
    cmd_fixture_init_on(
        &fixture, &nadb_shared_fake_ops, nadb_shared_fake_new(&engine), NADB_DURABILITY_INTERVAL);
    cmd_fixture_load(&fixture);
}

static void tear_down(void)
{
    cmd_fixture_fini(&fixture);
    nadb_shared_engine_fini(&engine);
    nadb_test_check_leaks();
}

TestSuite(window, .init = set_up, .fini = tear_down);

/* The replies, and how many round trips they took. */
static void expect(const char *lines, const char *replies, unsigned runs)
{
    unsigned before = engine.runs;
    const char *got = cmd_fixture_run(&fixture, lines);
    cr_expect_str_eq(got, replies, "'%s': %s", lines, got);
    cr_expect_eq(engine.runs - before, runs, "'%s': %u round trips", lines, engine.runs - before);
}

static void fail_next(enum nadb_err err)
{
    engine.fail_runs = 1;
    engine.fail_err = err;
}

/* ---- round trips ---- */

Test(window, commands_that_need_no_record_need_no_round_trip)
{
    expect("PING\nSELECT 3\nECHO x\nNAMESPACE USE n\nMULTI\nPING\nEXEC",
        "+PONG/+OK/$1/x/+OK/+OK/+QUEUED/*1/+PONG/", 0);
}

Test(window, a_pipeline_of_reads_takes_one_round_trip)
{
    nadb_shared_engine_set(&engine, "a", "1");
    nadb_shared_engine_set(&engine, "b", "22");
    expect("GET a\nGET b\nGET none\nSTRLEN b\nMGET a b\nEXISTS a none\nTTL a",
        "$1/1/$2/22/$-1/:2/*2/$1/1/$2/22/:1/:-1/", 1);
    cr_expect_eq(engine.last_ops, 9);
}

Test(window, a_pipeline_of_blind_writes_takes_one_round_trip)
{
    expect("SET a 1\nSETEX b 10 2\nMSET c 3 d 4\nSET a 5 PX 1000 TAGS x\nPSETEX e 9 6",
        "+OK/+OK/+OK/+OK/+OK/", 1);
    cr_expect_eq(engine.fetches, 0);
    expect("MGET a b c d e", "*5/$1/5/$1/2/$1/3/$1/4/$1/6/", 1);
}

Test(window, a_pipeline_of_changes_of_different_keys_takes_two)
{
    expect("INCR a\nINCR b\nAPPEND c x\nSETNX d 1\nINCR e", ":1/:1/:1/:1/:1/", 2);
    expect("INCR a\nDEL b\nAPPEND c y\nSETNX d 1\nPERSIST e", ":2/:1/:2/:0/:0/", 2);
}

Test(window, reads_and_blind_writes_mix_in_one_round_trip_in_their_order)
{
    expect("SET a 1\nGET a\nSET a 2\nGET a\nGET b\nSET b 3\nGET b",
        "+OK/$1/1/+OK/$1/2/$-1/+OK/$1/3/", 1);
}

Test(window, a_read_behind_a_change_is_sent_behind_its_commit)
{
    expect("INCR a\nGET b\nGET b", ":1/$-1/$-1/", 2);
    expect("INCR a\nGET a\nGET b", ":2/$1/2/$-1/", 3);
}

Test(window, changes_of_one_key_see_each_other)
{
    expect("INCR a\nINCR a\nSET a 10\nINCR a\nGET a", ":1/:2/+OK/:11/$2/11/", 5);
}

Test(window, what_many_clients_ask_for_in_one_turn_goes_out_together)
{
    static struct nadb_client other;
    cmd_fixture_join(&fixture, &other);
    size_t count;
    cr_expect_eq(cmd_fixture_dispatch(&fixture, &fixture.client, "GET a\nGET b", &count),
        NADB_DISPATCH_WAIT);
    cr_expect_eq(count, 0);
    unsigned before = engine.runs;
    cr_expect_eq(cmd_fixture_dispatch(&fixture, &other, "GET c", &count), NADB_DISPATCH_WAIT);
    cmd_fixture_work(&fixture);
    cr_expect_leq(engine.runs - before, 2);
    cr_expect_str_eq(cmd_fixture_run(&fixture, "GET a\nGET b"), "$-1/$-1/");
    cr_expect_str_eq(cmd_fixture_run_as(&fixture, &other, "GET c"), "$-1/");
    nadb_client_fini(&other);
}

/* How many round trips two clients take that ask in one turn. */
static unsigned runs_of_two(const char *line, const char *other_line)
{
    struct nadb_client other;
    size_t count;
    unsigned before = engine.runs;
    cmd_fixture_join(&fixture, &other);
    nadb_store_turn_begin(fixture.server.store);
    fixture.is_turn_open = true;
    cr_expect_eq(cmd_fixture_dispatch(&fixture, &fixture.client, line, &count), NADB_DISPATCH_WAIT);
    nadb_store_client_end(fixture.server.store);
    cr_expect_eq(cmd_fixture_dispatch(&fixture, &other, other_line, &count), NADB_DISPATCH_WAIT);
    fixture.is_turn_open = false;
    nadb_store_turn_end(fixture.server.store);
    cmd_fixture_work(&fixture);
    unsigned runs = engine.runs - before;
    (void)cmd_fixture_run(&fixture, line);
    (void)cmd_fixture_run_as(&fixture, &other, other_line);
    nadb_client_fini(&other);
    return runs;
}

Test(window, what_is_enough_for_the_engine_to_work_on_does_not_wait_for_the_end_of_the_turn)
{
    char line[4096] = "MGET";
    size_t len = strlen(line);
    for (unsigned i = 0; i < 300; i++) {
        len += (size_t)snprintf(line + len, sizeof(line) - len, " k%u", i);
    }
    cr_expect_eq(runs_of_two("MGET k1 k2", "GET c"), 1);
    cr_expect_eq(runs_of_two(line, "GET c"), 2);
}

Test(window, what_may_take_the_engine_long_goes_apart_from_what_does_not)
{
    char longer[2048];
    cr_expect_eq(runs_of_two("GET a", "QUERY COUNTONLY ANY x y"), 1);
    cr_expect_eq(runs_of_two("GET a", "QUERY ANY x y"), 2);
    (void)snprintf(longer, sizeof(longer), "QUERY COUNTONLY ANY %0600d %0601d", 1, 2);
    cr_expect_eq(runs_of_two("GET a", longer), 2);
    cr_expect_eq(runs_of_two("GET a", "FLUSHDB"), 2);
}

#define CROWD 20

/* Looks at each of the clients that is not done; false: all are. */
static bool look_at_all(struct nadb_client *clients, const char *line, bool *is_done)
{
    bool is_over = true;
    nadb_store_turn_begin(fixture.server.store);
    fixture.is_turn_open = true;
    for (size_t i = 0; i < CROWD; i++) {
        size_t count;
        if (!is_done[i]) {
            (void)cmd_fixture_dispatch(&fixture, &clients[i], line, &count); /* see count */
            is_done[i] = count == 1;
            is_over = is_over && is_done[i];
        }
    }
    fixture.is_turn_open = false;
    nadb_store_turn_end(fixture.server.store);
    return !is_over;
}

Test(window, clients_that_change_one_key_follow_each_other_in_one_batch)
{
    static struct nadb_client clients[CROWD];
    bool is_done[CROWD] = {false};
    for (size_t i = 0; i < CROWD; i++) {
        cmd_fixture_join(&fixture, &clients[i]);
    }
    while (look_at_all(clients, "INCR n", is_done)) {
        cmd_fixture_work(&fixture);
    }
    cr_expect_eq(engine.conflicts, 0);
    cr_expect_leq(engine.runs, 4, "%u round trips", engine.runs);
    cr_expect_str_eq(cmd_fixture_run(&fixture, "GET n"), "$2/20/");
    for (size_t i = 0; i < CROWD; i++) {
        nadb_client_fini(&clients[i]);
    }
}

Test(window, a_client_that_goes_hands_what_others_wait_for_to_them)
{
    static struct nadb_client other;
    size_t count;
    cmd_fixture_join(&fixture, &other);
    (void)cmd_fixture_dispatch(&fixture, &other, "INCR n", &count);
    (void)cmd_fixture_dispatch(&fixture, &fixture.client, "INCR n", &count);
    nadb_client_fini(&other);
    expect("INCR n", ":1/", 3);
}

/* ---- conflicts ---- */

static void set_a(void *value, struct nadb_shared_engine *of)
{
    nadb_shared_engine_set(of, "a", value);
}

static void interfere(const char *value)
{
    engine.before_commit = set_a;
    engine.before_commit_ctx = (void *)(uintptr_t)value;
}

Test(window, a_change_that_meets_another_writer_is_made_again_from_what_is_there_now)
{
    expect("INCR a", ":1/", 2);
    interfere("41");
    expect("INCR a", ":42/", 4);
    interfere("x");
    expect("APPEND a y", ":2/", 4);
    expect("GET a", "$2/xy/", 1);
}

Test(window, a_condition_is_judged_anew_after_a_conflict)
{
    interfere("other");
    expect("SETNX a mine", ":0/", 3);
    expect("GET a", "$5/other/", 1);
    interfere("third");
    expect("SET a mine IFEQ other", "$-1/", 3);
    interfere("fourth");
    expect("SET a mine GET", "$6/fourth/", 4);
}

Test(window, a_blind_write_meets_no_conflict)
{
    interfere("other");
    expect("SET a mine", "+OK/", 1);
    expect("GET a", "$4/mine/", 1);
}

Test(window, only_what_met_a_conflict_is_made_again)
{
    interfere("9");
    unsigned commits = engine.commits;
    (void)cmd_fixture_run(&fixture, "SET b 5");
    interfere("9");
    commits = engine.commits;
    cr_expect_str_eq(cmd_fixture_run(&fixture, "INCR a\nINCR b\nINCR c"), ":10/:6/:1/");
    cr_expect_eq(engine.commits - commits, 4);
}

Test(window, a_pipeline_keeps_its_order_when_its_commit_meets_a_conflict)
{
    interfere("41");
    cr_expect_str_eq(
        cmd_fixture_run(&fixture, "INCR a\nGET a\nSET a 5\nGET a"), ":42/$2/42/+OK/$1/5/");
}

/* What is done by two clients in one turn. */
static void look_at_both(struct nadb_client *other, const char *line)
{
    size_t count;
    nadb_store_turn_begin(fixture.server.store);
    fixture.is_turn_open = true;
    (void)cmd_fixture_dispatch(&fixture, &fixture.client, line, &count); /* replies tell */
    (void)cmd_fixture_dispatch(&fixture, other, line, &count);           /* as above */
    fixture.is_turn_open = false;
    nadb_store_turn_end(fixture.server.store);
}

Test(window, nobody_is_told_of_a_record_that_was_never_written)
{
    static struct nadb_client other;
    cmd_fixture_join(&fixture, &other);
    look_at_both(&other, "SETNX k v");
    cmd_fixture_work(&fixture);
    look_at_both(&other, "SETNX k v"); /* one commits, the other goes by that */
    fail_next(NADB_EIO);
    cmd_fixture_work(&fixture);
    cr_expect_str_eq(cmd_fixture_run(&fixture, "SETNX k v"), "-IOERR backend down: test/");
    cr_expect_str_eq(
        cmd_fixture_run_as(&fixture, &other, "SETNX k v"), "-IOERR backend down: test/");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "EXISTS k"), ":0/");
    nadb_client_fini(&other);
}

Test(window, a_transaction_is_not_told_what_its_own_changes_would_make_wrong)
{
    cr_expect_str_eq(cmd_fixture_run(&fixture, "MULTI\nDBSIZE\nSET q 1 TAGS t\nTAGCOUNT t\nEXEC"),
        "+OK/+QUEUED/+QUEUED/+QUEUED/"
        "*3/:0/+OK/-CROSSSLOT Keys in request don't hash to the same slot/");
}

Test(window, a_transaction_runs_again_whole_and_leaves_the_session_it_should)
{
    (void)cmd_fixture_run(&fixture, "SET a 1");
    interfere("7");
    expect("MULTI\nINCR a\nINCR b\nSELECT 2\nSET c 3\nEXEC\nGET c\nSELECT 0\nGET a",
        "+OK/+QUEUED/+QUEUED/+QUEUED/+QUEUED/*4/:8/:1/+OK/+OK/$1/3/+OK/$1/8/", 6);
}

Test(window, a_transaction_that_runs_again_publishes_once)
{
    static struct nadb_client listener;
    cmd_fixture_join(&fixture, &listener);
    (void)cmd_fixture_run_as(&fixture, &listener, "SUBSCRIBE c");
    (void)cmd_fixture_run(&fixture, "SET a 1");
    interfere("7");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "MULTI\nINCR a\nPUBLISH c hello\nEXEC"),
        "+OK/+QUEUED/+QUEUED/*2/:8/:1/");
    cr_expect_str_eq(cmd_fixture_take(&fixture, &listener), "*3/$7/message/$1/c/$5/hello/");
    cmd_fixture_work(&fixture); /* others are told */
    fail_next(NADB_EIO);
    cr_expect_str_eq(cmd_fixture_run(&fixture, "MULTI\nSET a 1\nPUBLISH c lost\nEXEC"),
        "+OK/+QUEUED/+QUEUED/-IOERR backend down: test/");
    cr_expect_str_eq(cmd_fixture_take(&fixture, &listener), "");
    nadb_client_fini(&listener);
}

Test(window, what_one_nadbd_publishes_is_heard_through_the_others_once)
{
    static struct cmd_fixture second;
    cmd_fixture_init_on(
        &second, &nadb_shared_fake_ops, nadb_shared_fake_new(&engine), NADB_DURABILITY_INTERVAL);
    cmd_fixture_load(&second);
    (void)cmd_fixture_run(&second, "SUBSCRIBE c __tag@0__:x");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "PUBLISH c hello\nINVALIDATE ANY x"), ":0/:0/");
    cmd_fixture_work(&fixture);
    nadb_fake_clock_advance_ms(&second.clock, 1);
    nadb_store_turn_begin(second.server.store);
    cmd_fixture_work(&second);
    cr_expect_str_eq(cmd_fixture_take(&second, &second.client),
        "*3/$7/message/$1/c/$5/hello/*3/$7/message/$11/__tag@0__:x/$21/1700000000000001 hard/");
    nadb_fake_clock_advance_ms(&second.clock, 1);
    nadb_store_turn_begin(second.server.store);
    cmd_fixture_work(&second);
    cr_expect_str_eq(cmd_fixture_take(&second, &second.client), "");
    cmd_fixture_fini(&second);
}

/* ---- WATCH ---- */

Test(window, a_watched_key_that_another_writer_changes_makes_exec_null)
{
    (void)cmd_fixture_run(&fixture, "SET a 1");
    expect("WATCH a\nMULTI\nSET b 2", "+OK/+OK/+QUEUED/", 1);
    nadb_shared_engine_set(&engine, "a", "2");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "EXEC\nGET b"), "*-1/$-1/");
}

Test(window, a_watched_key_that_changes_at_the_last_moment_makes_exec_null)
{
    (void)cmd_fixture_run(&fixture, "SET a 1");
    expect("WATCH a none\nMULTI\nSET b 2", "+OK/+OK/+QUEUED/", 1);
    interfere("2");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "EXEC\nGET b"), "*-1/$-1/");
}

Test(window, a_watched_key_that_came_and_went_makes_exec_null)
{
    static struct nadb_client other;
    cmd_fixture_join(&fixture, &other);
    expect("WATCH a\nMULTI\nPING", "+OK/+OK/+QUEUED/", 1);
    cr_expect_str_eq(cmd_fixture_run_as(&fixture, &other, "SET a 1\nDEL a"), "+OK/:1/");
    expect("EXEC\nWATCH a\nSET a 1\nEXPIRE a -1\nMULTI\nPING\nEXEC",
        "*-1/+OK/+OK/:1/+OK/+QUEUED/*-1/", 5);
    nadb_client_fini(&other);
}

Test(window, a_watched_key_that_is_left_alone_does_not)
{
    (void)cmd_fixture_run(&fixture, "SET a 1");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "WATCH a\nMULTI\nINCR a\nEXEC\nGET a"),
        "+OK/+OK/+QUEUED/*1/:2/$1/2/");
}

/* ---- epochs ---- */

static void invalidate_x(void *ctx, struct nadb_shared_engine *of)
{
    (void)ctx;
    struct nadb_keyspace *keyspace =
        nadb_store_keyspace(of->store, 0, nadb_slice_of(NULL, 0), true);
    struct nadb_selector selector;
    struct nadb_error error;
    const struct nadb_slice tag = NADB_SLICE("x");
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_list(&selector, false, &tag, 1, &error), NADB_OK);
    const struct nadb_invalidate_opts opts = {.selector = &selector};
    struct nadb_invalidation *progress = NULL;
    uint64_t count;
    nadb_store_command_begin(of->store);
    cr_assert_eq(nadb_store_invalidate(of->store, keyspace, &opts, &progress, &count, &error),
        NADB_INVALIDATE_DONE);
    (void)nadb_store_command_end(of->store);
    nadb_selector_fini(&selector);
}

Test(window, a_fill_is_refused_when_its_tag_is_invalidated_at_the_last_moment)
{
    char line[128];
    char epoch[64];
    (void)snprintf(epoch, sizeof(epoch), "%s", cmd_fixture_run(&fixture, "EPOCH") + 1);
    epoch[strcspn(epoch, "/")] = '\0';
    (void)snprintf(line, sizeof(line), "SET a 1 IFEPOCH %s TAGS x y", epoch);
    engine.before_commit = invalidate_x;
    cr_expect_str_eq(cmd_fixture_run(&fixture, line), "$-1/");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "GET a"), "$-1/");
    (void)snprintf(line, sizeof(line), "SET a 1 IFEPOCH %s TAGS y", epoch);
    cr_expect_str_eq(cmd_fixture_run(&fixture, line), "+OK/");
}

/* ---- failures ---- */

Test(window, what_cannot_be_asked_for_is_an_error_and_the_next_command_goes_on)
{
    nadb_shared_engine_set(&engine, "a", "1");
    fail_next(NADB_EIO);
    expect("GET a", "-IOERR backend down: test/", 1);
    fail_next(NADB_EIO);
    expect("DBSIZE", "-IOERR backend down: test/", 1);
    expect("PING\nGET a\nDBSIZE", "+PONG/$1/1/:1/", 2);
}

Test(window, a_write_whose_outcome_is_unknown_is_not_made_again)
{
    fail_next(NADB_ESYNC);
    expect("SET a 1", "-IOERR backend down: test/", 1);
    cr_expect_eq(engine.commits, 0);
    expect("GET a\nSET a 2\nGET a", "$-1/+OK/$1/2/", 1);
}

Test(window, a_transaction_that_fails_is_over_and_changes_nothing)
{
    (void)cmd_fixture_run(&fixture, "MULTI\nSET a 1\nSELECT 4");
    fail_next(NADB_EIO);
    expect("EXEC", "-IOERR backend down: test/", 1);
    expect("EXEC", "-ERR EXEC without MULTI/", 0);
    expect("SET b 1\nGET b", "+OK/$1/1/", 1);
    expect("SELECT 0\nGET b\nGET a", "+OK/$1/1/$-1/", 1);
}

Test(window, information_about_the_server_does_not_need_the_engine)
{
    fail_next(NADB_EIO);
    const char *text = cmd_fixture_run(&fixture, "INFO");
    cr_expect_not_null(strstr(text, "nadb_durability:backend"));
    cr_expect_not_null(strstr(text, "nadb_engine_servers:1"));
}

Test(window, a_client_that_goes_while_its_command_is_under_way_leaves_nothing)
{
    struct nadb_client other;
    size_t count;
    cmd_fixture_join(&fixture, &other);
    cr_expect_eq(cmd_fixture_dispatch(&fixture, &other, "GET a\nSET b 1\nINCR c", &count),
        NADB_DISPATCH_WAIT);
    nadb_client_fini(&other);
    cmd_fixture_work(&fixture);
    expect("GET b\nGET c", "$1/1/$-1/", 1);
}

Test(window, a_reply_that_is_not_wanted_is_left_out)
{
    cr_expect_str_eq(
        cmd_fixture_run(&fixture, "CLIENT REPLY SKIP\nSET a 1\nGET a\nCLIENT REPLY OFF\nINCR a"),
        "$1/1/");
    cr_expect_str_eq(cmd_fixture_run(&fixture, "CLIENT REPLY ON\nGET a"), "+OK/$1/2/");
}

/* ---- what stays in the engine ---- */

/* Runs the lines when `a` is 5 s old; META of the key must say so. */
static void expect_created_early(const char *lines, const char *meta, unsigned runs)
{
    nadb_shared_engine_set(&engine, "a", "1");
    nadb_fake_clock_advance_ms(&fixture.clock, 5000);
    unsigned before = engine.runs;
    (void)cmd_fixture_run(&fixture, lines);
    cr_expect_eq(engine.runs - before, runs, "'%s': %u round trips", lines, engine.runs - before);
    const char *shown = cmd_fixture_run(&fixture, meta);
    cr_expect_not_null(strstr(shown, "created/:1700000000000/"), "'%s': %s", lines, shown);
}

Test(window, the_time_of_creation_stays_when_a_record_is_changed)
{
    expect_created_early("INCR a\nAPPEND a 1\nEXPIRE a 100\nTAGADD a x", "META a", 2);
}

Test(window, the_time_of_creation_stays_in_a_transaction_that_looks_at_value_and_times)
{
    expect_created_early("MULTI\nGET a\nINCR a\nEXEC", "META a", 2);
    nadb_fake_clock_advance_ms(&fixture.clock, 5000);
    (void)cmd_fixture_run(&fixture, "MULTI\nGET a\nINCR a\nMETA a");
    const char *shown = cmd_fixture_run(&fixture, "EXEC");
    cr_expect_not_null(strstr(shown, "created/:1700000000000/"), "%s", shown);
}

Test(window, the_time_of_creation_is_told_of_what_a_transaction_came_upon_on_its_way)
{
    static const char *const lines[] = {
        "MULTI\nGET a\nQUERY WITHVALUES WITHMETA EXPR *\nEXEC",
        "MULTI\nINCR a\nSELECT 1\nSELECT 0\nMETA a\nEXEC",
        "MULTI\nINCR a\nSELECT 1\nSELECT 0\nRENAME a b\nMETA b\nRENAME b a\nEXEC",
    };
    nadb_shared_engine_set(&engine, "a", "1");
    for (size_t i = 0; i < NADB_ARRAY_LEN(lines); i++) {
        nadb_fake_clock_advance_ms(&fixture.clock, 5000);
        const char *shown = cmd_fixture_run(&fixture, lines[i]);
        cr_expect_not_null(strstr(shown, "created/:1700000000000/"), "'%s': %s", lines[i], shown);
        shown = cmd_fixture_run(&fixture, "META a");
        cr_expect_not_null(strstr(shown, "created/:1700000000000/"), "'%s': %s", lines[i], shown);
    }
}

Test(window, the_time_of_creation_goes_with_a_record_to_its_new_name)
{
    expect_created_early("RENAME a b", "META b", 2);
    (void)cmd_fixture_run(&fixture, "MULTI\nSELECT 1\nSET c 1\nEXEC\nSELECT 0\nMOVE b 1");
    const char *shown = cmd_fixture_run(&fixture, "SELECT 1\nMETA b");
    cr_expect_not_null(strstr(shown, "created/:1700000000000/"), "%s", shown);
    /* Nobody knew of the key when the transaction began. */
    shown =
        cmd_fixture_run(&fixture, "SELECT 0\nMULTI\nSELECT 1\nRENAME b d\nEXEC\nSELECT 1\nMETA d");
    cr_expect_not_null(strstr(shown, "created/:1700000000000/"), "%s", shown);
}

Test(window, a_key_that_a_transaction_makes_anew_is_created_then)
{
    nadb_shared_engine_set(&engine, "a", "1");
    nadb_fake_clock_advance_ms(&fixture.clock, 5000);
    (void)cmd_fixture_run(&fixture, "MULTI\nDEL a\nSET a 2\nEXEC");
    const char *shown = cmd_fixture_run(&fixture, "META a");
    cr_expect_not_null(strstr(shown, "created/:1700000005000/"), "%s", shown);
}

Test(window, the_time_of_creation_stays_when_a_record_is_replaced_blindly)
{
    (void)cmd_fixture_run(&fixture, "SET a 1");
    nadb_fake_clock_advance_ms(&fixture.clock, 5000);
    (void)cmd_fixture_run(&fixture, "SET a 2");
    cr_expect_not_null(strstr(
        cmd_fixture_run(&fixture, "META a"), "created/:1700000000000/$7/updated/:1700000005000/"));
    (void)cmd_fixture_run(&fixture, "SET a 2 TIMES 7 8 9000");
    cr_expect_not_null(strstr(cmd_fixture_run(&fixture, "META a"), "created/:7/$7/updated/:8/"));
}

/* ---- any pipelines ---- */

#define ROUNDS    400
#define LINES_MAX 16
#define TEXT_MAX  8192

/* What one client of one nadbd is given in a round, and what it has been answered. */
struct pipeline {
    struct cmd_fixture *fixture;
    char lines[TEXT_MAX], replies[TEXT_MAX];
    const char *rest; /* of the lines; NULL: all are done */
};

static void add_text(char text[TEXT_MAX], const char *more)
{
    size_t len = strlen(text);
    cr_assert_lt(len + strlen(more), TEXT_MAX);
    memcpy(text + len, more, strlen(more) + 1);
}

static void add_line(struct pipeline *pipeline, struct nadb_rng *rng, char owner)
{
    static const char *const forms[] = {"SET %1$c%2$u %3$u", "SET %1$c%2$u %3$u TAGS %1$ct%3$u",
        "GET %1$c%2$u", "GET %1$c%2$u", "INCR %1$c%2$u", "APPEND %1$c%2$u %3$u", "DEL %1$c%2$u",
        "SETNX %1$c%2$u %3$u", "EXPIRE %1$c%2$u 100", "TTL %1$c%2$u", "PERSIST %1$c%2$u",
        "GETSET %1$c%2$u %3$u", "TAGADD %1$c%2$u %1$ct%3$u", "TAGGET %1$c%2$u",
        "MSET %1$c%2$u x %1$c%3$u y", "MGET %1$c%2$u %1$c%3$u nowhere", "PING", "ECHO %3$u",
        "RENAME %1$c%2$u %1$c%3$u", "COPY %1$c%2$u %1$c%3$u", "STRLEN %1$c%2$u",
        "SETEX %1$c%2$u 50 %3$u", "EXISTS %1$c%2$u %1$c%3$u", "GETDEL %1$c%2$u",
        "TAGCOUNT %1$ct%2$u", "QUERY COUNTONLY ANY %1$ct%2$u", "INVALIDATE ANY %1$ct%2$u",
        "INCRBY %1$c%2$u 7", "SET %1$c%2$u %3$u XX GET", "GETRANGE %1$c%2$u 0 2",
        "MULTI\nINCR %1$c%2$u\nSET %1$c%3$u z\nGET %1$c%2$u\nEXEC",
        "WATCH %1$c%2$u\nMULTI\nAPPEND %1$c%3$u w\nEXEC"};
    const char *form = forms[nadb_rng_below(rng, sizeof(forms) / sizeof(forms[0]))];
    size_t len = strlen(pipeline->lines);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(pipeline->lines + len, sizeof(pipeline->lines) - len, form, owner,
        (unsigned)nadb_rng_below(rng, 3), (unsigned)nadb_rng_below(rng, 3)); /* it fits */
#pragma GCC diagnostic pop
    add_text(pipeline->lines, "\n");
}

static void make_pipeline(struct pipeline *pipeline, struct nadb_rng *rng, char owner)
{
    pipeline->lines[0] = pipeline->replies[0] = '\0';
    for (uint64_t left = 1 + nadb_rng_below(rng, LINES_MAX / 5); left > 0; left--) {
        add_line(pipeline, rng, owner);
    }
    pipeline->lines[strlen(pipeline->lines) - 1] = '\0';
    pipeline->rest = pipeline->lines;
}

/* One look at the client. */
static void advance(struct pipeline *pipeline)
{
    size_t count;
    enum nadb_dispatch_status status =
        cmd_fixture_dispatch(pipeline->fixture, &pipeline->fixture->client, pipeline->rest, &count);
    add_text(pipeline->replies, cmd_fixture_take(pipeline->fixture, &pipeline->fixture->client));
    for (; count > 0 && pipeline->rest != NULL; count--) {
        pipeline->rest = strchr(pipeline->rest, '\n');
        pipeline->rest += pipeline->rest != NULL;
    }
    cr_assert(status != NADB_DISPATCH_CLOSE);
}

static void run_both(struct pipeline *a, struct pipeline *b, struct nadb_rng *rng)
{
    while (a->rest != NULL || b->rest != NULL) {
        struct pipeline *next = nadb_rng_below(rng, 2) == 0 ? a : b;
        if (next->rest != NULL) {
            advance(next);
        }
        next = nadb_rng_below(rng, 2) == 0 ? a : b;
        (void)nadb_inline_executor_run_one(&next->fixture->executor);
    }
}

/* Keys are each client's own, so whatever is between them is no matter. */
Test(window, pipelines_through_two_nadbd_answer_as_one_without_an_engine_does)
{
    static struct cmd_fixture second;
    static struct cmd_fixture reference;
    static struct pipeline a;
    static struct pipeline b;
    cmd_fixture_init_on(
        &second, &nadb_shared_fake_ops, nadb_shared_fake_new(&engine), NADB_DURABILITY_INTERVAL);
    cmd_fixture_load(&second);
    cmd_fixture_init(&reference);
    a.fixture = &fixture;
    b.fixture = &second;
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        make_pipeline(&a, &rng, 'a');
        make_pipeline(&b, &rng, 'b');
        run_both(&a, &b, &rng);
        cr_assert_str_eq(a.replies, cmd_fixture_run(&reference, a.lines),
            "round %u: '%s'\n  %s\n  %s", round, a.lines, a.replies, reference.shown.data);
        cr_assert_str_eq(b.replies, cmd_fixture_run(&reference, b.lines),
            "round %u: '%s'\n  %s\n  %s", round, b.lines, b.replies, reference.shown.data);
    }
    cr_expect_gt(engine.commits, ROUNDS);
    cmd_fixture_fini(&reference);
    cmd_fixture_fini(&second);
}

Test(window, increments_through_two_nadbd_are_all_there)
{
    static struct cmd_fixture second;
    static struct pipeline a;
    static struct pipeline b;
    cmd_fixture_init_on(
        &second, &nadb_shared_fake_ops, nadb_shared_fake_new(&engine), NADB_DURABILITY_INTERVAL);
    cmd_fixture_load(&second);
    a.fixture = &fixture;
    b.fixture = &second;
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 8);
    for (unsigned round = 0; round < 100; round++) {
        a.lines[0] = '\0';
        add_text(a.lines, "INCR n\nINCR m\nINCR n\nMULTI\nINCR n\nINCR m\nEXEC");
        b.lines[0] = '\0';
        add_text(b.lines, "INCR m\nINCR n\nINCR m\nINCR n");
        a.rest = a.lines;
        b.rest = b.lines;
        a.replies[0] = b.replies[0] = '\0';
        run_both(&a, &b, &rng);
    }
    cr_expect_gt(engine.conflicts, 50);
    cr_expect_str_eq(cmd_fixture_run(&fixture, "MGET n m"), "*2/$3/500/$3/400/");
    cmd_fixture_fini(&second);
}

/* ---- opening ---- */

static void start_without_engine(unsigned fail_opens)
{
    tear_down();
    nadb_fake_clock_init(&fixture.clock);
    nadb_shared_engine_init(&engine, &fixture.clock.clock);
    engine.fail_opens = fail_opens;
    cmd_fixture_init_on(
        &fixture, &nadb_shared_fake_ops, nadb_shared_fake_new(&engine), NADB_DURABILITY_INTERVAL);
    nadb_store_open(fixture.server.store);
    cmd_fixture_work(&fixture);
}

Test(window, an_engine_that_is_not_there_yet_is_waited_for)
{
    start_without_engine(3);
    for (unsigned tries = 1; tries <= 3; tries++) {
        cr_expect_eq(engine.opens, tries);
        cr_expect_not(nadb_store_is_open(fixture.server.store));
        nadb_fake_clock_advance_ms(&fixture.clock, 600);
        nadb_store_turn_begin(fixture.server.store);
        cmd_fixture_work(&fixture);
    }
    cr_expect(nadb_store_is_open(fixture.server.store));
    fixture.server.state = NADB_SERVER_READY;
    expect("SET a 1\nGET a", "+OK/$1/1/", 1);
}
