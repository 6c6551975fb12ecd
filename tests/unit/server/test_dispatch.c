/* This file tests a command's path: groups, checks, transactions, slices, holds, statistics. */
#include "src/server/dispatch.h"

#include <stdio.h>

#include "backends/registry.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"
#include "tests/support/log_backend.h"
#include "tests/support/test.h"
#include "tests/unit/server/cmd_fixture.h"

NADB_TEST_SUITE(dispatch);

/* Large: kept out of the stack. */
static struct cmd_fixture fixture;

/* ---- groups ---- */

Test(dispatch, commands_of_a_group_run_in_order)
{
    cmd_fixture_init(&fixture);
    cr_assert_str_eq(
        cmd_fixture_run(&fixture, "SET a 1\nINCR a\nget a\nGET a\nfoo\nSET b x\nMGET a b\nDEL a"),
        "+OK/:2/$1/2/$1/2/-ERR unknown command 'foo', with args beginning with: /+OK/"
        "*2/$1/2/$1/x/:1/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, subcommands_of_one_container_are_told_apart_in_a_group)
{
    cmd_fixture_init(&fixture);
    cr_assert_str_eq(cmd_fixture_run(&fixture,
                         "CLIENT ID\nCLIENT GETNAME\nCLIENT ID\nCLIENT\nCLIENT FOO\nCLIENT ID"),
        ":1/$-1/:1/-ERR wrong number of arguments for 'client' command/"
        "-ERR unknown subcommand 'FOO'. Try CLIENT HELP./:1/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, what_changes_the_keyspace_counts_for_the_rest_of_the_group)
{
    cmd_fixture_init(&fixture);
    cr_assert_str_eq(cmd_fixture_run(&fixture,
                         "SET a 0\nSELECT 1\nSET a 1\nNAMESPACE USE n\nGET a\nSELECT 1\nGET a\n"
                         "RESET\nGET a\nSWAPDB 0 1\nGET a"),
        "+OK/+OK/+OK/+OK/$-1/+OK/$1/1/+RESET/$1/0/+OK/$1/1/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, an_empty_command_name_is_unknown)
{
    cmd_fixture_init(&fixture);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "CLIENT ID\n\"\" a\nPING"),
        ":1/-ERR unknown command '', with args beginning with: 'a' /+PONG/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, nothing_runs_after_quit)
{
    cmd_fixture_init(&fixture);
    size_t count;
    enum nadb_dispatch_status status =
        cmd_fixture_dispatch(&fixture, &fixture.client, "SET a 1\nQUIT\nSET a 2", &count);
    cr_assert_eq(status, NADB_DISPATCH_CLOSE);
    cr_assert_eq(count, 2);
    cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "+OK/+OK/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, a_web_browser_is_cut_off_without_a_word)
{
    static const char *const lines[] = {"POST / HTTP/1.1\nSET a 1", "Host: here\nSET a 1"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(lines); i++) {
        size_t count;
        cmd_fixture_init(&fixture);
        fixture.server.attack_logged_ms = fixture.clock.wall_ms; /* keeps the log quiet */
        cr_assert_eq(
            cmd_fixture_dispatch(&fixture, &fixture.client, lines[i], &count), NADB_DISPATCH_CLOSE);
        cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "");
        cr_assert_eq(nadb_keyspace_count(fixture.client.keyspace), 0);
        cmd_fixture_fini(&fixture);
    }
}

Test(dispatch, a_client_whose_output_is_full_is_closed)
{
    cmd_fixture_init(&fixture);
    size_t count;
    fixture.client.out.buf.cap_max = 16;
    cr_assert_eq(cmd_fixture_dispatch(&fixture, &fixture.client,
                     "ECHO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nPING", &count),
        NADB_DISPATCH_CLOSE);
    cr_assert_eq(count, 1);
    cmd_fixture_fini(&fixture);
}

/* ---- checks ---- */

Test(dispatch, a_key_that_is_too_long_is_refused_before_anything_changes)
{
    cmd_fixture_init(&fixture);
    static char key[NADB_KEY_LEN_MAX + 1];
    memset(key, 'k', sizeof(key));
    struct nadb_slice good = nadb_slice_of(key, NADB_KEY_LEN_MAX);
    struct nadb_slice bad = nadb_slice_of(key, NADB_KEY_LEN_MAX + 1);
    struct nadb_slice set[] = {NADB_SLICE("SET"), good, NADB_SLICE("v")};
    cr_assert_str_eq(cmd_fixture_run_args(&fixture, set, 3), "+OK/");
    set[1] = bad;
    cr_assert_str_eq(
        cmd_fixture_run_args(&fixture, set, 3), "-ERR key is longer than 65536 bytes/");
    struct nadb_slice mset[] = {
        NADB_SLICE("MSET"), NADB_SLICE("a"), NADB_SLICE("1"), bad, NADB_SLICE("2")};
    cr_assert_str_eq(
        cmd_fixture_run_args(&fixture, mset, 5), "-ERR key is longer than 65536 bytes/");
    cr_assert_str_eq(cmd_fixture_run(&fixture, "DBSIZE"), ":1/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, a_client_must_give_the_password_first)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "CONFIG SET requirepass secret");
    struct nadb_client guest;
    cmd_fixture_join(&fixture, &guest);
    static const struct {
        const char *line, *reply;
    } steps[] = {
        {"GET a", "-NOAUTH Authentication required./"},
        {"MULTI", "-NOAUTH Authentication required./"},
        {"FOO", "-ERR unknown command 'FOO', with args beginning with: /"},
        {"AUTH secre", "-WRONGPASS invalid username-password pair or user is disabled./"},
        {"AUTH secrets", "-WRONGPASS invalid username-password pair or user is disabled./"},
        {"AUTH \"\"", "-WRONGPASS invalid username-password pair or user is disabled./"},
        {"AUTH other secret", "-WRONGPASS invalid username-password pair or user is disabled./"},
        {"HELLO 3 AUTH default x",
            "-WRONGPASS invalid username-password pair or user is disabled./"},
        {"AUTH secret", "+OK/"},
        {"GET a", "$-1/"},
        {"RESET", "+RESET/"},
        {"GET a", "-NOAUTH Authentication required./"},
        {"AUTH default secret", "+OK/"},
        {"GET a", "$-1/"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(steps); i++) {
        cr_expect_str_eq(cmd_fixture_run_as(&fixture, &guest, steps[i].line), steps[i].reply, "%s",
            steps[i].line);
    }
    /* Who was there before the password stays. */
    cr_assert_str_eq(cmd_fixture_run(&fixture, "GET a"), "$-1/");
    nadb_client_fini(&guest);
    cmd_fixture_fini(&fixture);
}

Test(dispatch, hello_names_the_way_in)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "CONFIG SET requirepass secret\nRESET");
    cr_assert(nadb_glob_match(NADB_SLICE("-NOAUTH HELLO must be called with the client already "
                                         "authenticated, otherwise the HELLO <proto> AUTH *"),
        nadb_slice_cstr(cmd_fixture_run(&fixture, "HELLO 3"))));
    cr_assert_str_eq(cmd_fixture_run(&fixture, "ECHO x"), "-NOAUTH Authentication required./");
    (void)cmd_fixture_run(&fixture, "HELLO 3 AUTH default secret");
    cr_assert_str_eq(cmd_fixture_run(&fixture, "GET a"), "_/");
    cmd_fixture_fini(&fixture);
}

static void init_loading(void)
{
    const struct nadb_backend_opts opts = {.dir = "", .segment_size_bytes = 1 << 20};
    cmd_fixture_init_on(&fixture, &nadb_backend_memory_ops,
        nadb_backend_memory_ops.new_instance(&opts), NADB_DURABILITY_INTERVAL);
}

Test(dispatch, while_loading_only_what_needs_no_data_is_answered)
{
    init_loading();
    static const struct {
        const char *line, *reply;
    } steps[] = {
        {"PING", "-LOADING Redis is loading the dataset in memory/"},
        {"GET a", "-LOADING Redis is loading the dataset in memory/"},
        {"WATCH a", "-LOADING Redis is loading the dataset in memory/"},
        {"SET a", "-ERR wrong number of arguments for 'set' command/"},
        {"ECHO a", "$1/a/"},
        {"SELECT 3", "+OK/"},
        {"UNWATCH", "+OK/"},
        {"CLIENT ID", ":1/"},
        {"LASTSAVE", ":1700000000/"},
        {"STATS", "-LOADING Redis is loading the dataset in memory/"},
        {"CONFIG RESETSTAT", "+OK/"},
        {"MULTI", "+OK/"},
        {"ECHO a", "+QUEUED/"},
        {"EXEC", "*1/$1/a/"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(steps); i++) {
        cr_expect_str_eq(
            cmd_fixture_run(&fixture, steps[i].line), steps[i].reply, "%s", steps[i].line);
    }
    cr_assert(nadb_glob_match(
        NADB_SLICE("*loading:1/*"), nadb_slice_cstr(cmd_fixture_run(&fixture, "INFO"))));
    cmd_fixture_load(&fixture);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "SET a 1\nSELECT 0\nDBSIZE\nSELECT 3\nDBSIZE"),
        "+OK/+OK/:0/+OK/:1/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, nothing_more_runs_once_the_server_stops)
{
    cmd_fixture_init(&fixture);
    size_t count;
    cr_assert_eq(cmd_fixture_dispatch(
                     &fixture, &fixture.client, "SET a 1\nSHUTDOWN NOSAVE\nSET a 2", &count),
        NADB_DISPATCH_WAIT);
    cr_assert_eq(count, 2);
    cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "+OK/");
    cr_assert_eq(fixture.shutdowns, 1);
    cr_assert_eq(fixture.shutdown_flags, NADB_SHUTDOWN_NOSAVE);
    cmd_fixture_fini(&fixture);
}

Test(dispatch, above_maxmemory_only_growing_commands_are_refused)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "MSET a 1 b 2");
    nadb_store_set_maxmemory(fixture.server.store, 1);
    const char *reply = cmd_fixture_run(&fixture, "SET a 2");
    cr_assert_eq(strncmp(reply, "-OOM command not allowed when used memory > 'maxmemory'", 54), 0,
        "%s", reply);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "GET a\nDEL b"), "$1/1/:1/");
    (void)cmd_fixture_run(&fixture, "MULTI\nSET a 3");
    cr_assert_str_eq(cmd_fixture_run(&fixture, "EXEC"),
        "-EXECABORT Transaction discarded because of previous errors./");
    nadb_store_set_maxmemory(fixture.server.store, 0);
    (void)cmd_fixture_run(&fixture, "MULTI\nSET a 3");
    nadb_store_set_maxmemory(fixture.server.store, 1);
    reply = cmd_fixture_run(&fixture, "EXEC");
    cr_assert_eq(strncmp(reply, "-EXECABORT Transaction discarded because of: OOM command", 55), 0,
        "%s", reply);
    cr_assert_not(fixture.client.is_multi);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "GET a"), "$1/1/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, a_set_without_memory_changes_nothing)
{
    cmd_fixture_init(&fixture);
    static char value[NADB_REC_INLINE_MAX + 1]; /* long enough for memory that may be refused */
    memset(value, 'v', sizeof(value));
    struct nadb_slice argv[] = {
        NADB_SLICE("SET"), NADB_SLICE("a"), nadb_slice_of(value, sizeof(value)), NADB_SLICE("GET")};
    (void)cmd_fixture_run(&fixture, "SET a old");
    (void)cmd_fixture_run_args(&fixture, (struct nadb_slice[]){NADB_SLICE("ECHO"), argv[2]}, 2);
    nadb_mem_fail_at(1);
    const char *reply = cmd_fixture_run_args(&fixture, argv, 4);
    nadb_mem_fail_at(0);
    cr_assert_str_eq(reply, "-OOM not enough memory/");
    cr_assert_str_eq(cmd_fixture_run(&fixture, "GET a"), "$3/old/");
    cmd_fixture_fini(&fixture);
}

/* ---- expiry ---- */

Test(dispatch, counts_and_lists_leave_out_what_is_due)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "SET a 1 PX 100\nSET b 2 PX 200\nSET c 3");
    nadb_fake_clock_advance_ms(&fixture.clock, 100);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "DBSIZE\nGET a\nPTTL b"), ":2/$-1/:100/");
    nadb_fake_clock_advance_ms(&fixture.clock, 100);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "KEYS *\nRANDOMKEY\nDBSIZE"), "*1/$1/c/$1/c/:1/");
    cmd_fixture_fini(&fixture);
}

Test(dispatch, an_expired_watched_key_breaks_the_transaction)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "SET a 1 PX 100\nWATCH a\nMULTI\nPING");
    nadb_fake_clock_advance_ms(&fixture.clock, 100);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "EXEC"), "*-1/");
    cmd_fixture_fini(&fixture);
}

/* ---- transactions ---- */

Test(dispatch, another_client_makes_a_watch_dirty)
{
    cmd_fixture_init(&fixture);
    struct nadb_client other;
    cmd_fixture_join(&fixture, &other);
    (void)cmd_fixture_run(&fixture, "WATCH a b\nMULTI\nSET c 1");
    cr_assert_str_eq(cmd_fixture_run_as(&fixture, &other, "SET b 1"), "+OK/");
    cr_assert_str_eq(cmd_fixture_run(&fixture, "EXEC\nEXISTS c"), "*-1/:0/");
    nadb_client_fini(&other);
    cmd_fixture_fini(&fixture);
}

Test(dispatch, a_client_that_leaves_in_multi_changes_nothing)
{
    cmd_fixture_init(&fixture);
    struct nadb_client other;
    cmd_fixture_join(&fixture, &other);
    (void)cmd_fixture_run_as(&fixture, &other, "WATCH a\nMULTI\nSET a 1");
    nadb_client_fini(&other);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "EXISTS a"), ":0/");
    cmd_fixture_fini(&fixture);
}

/* ---- tags ---- */

Test(dispatch, tags_keep_their_order_and_are_counted_once)
{
    cmd_fixture_init(&fixture);
    char line[4096] = "SET a v TAGS";
    char expected[4096];
    size_t len = strlen(line);
    size_t expected_len = 0;
    for (unsigned i = 0; i < 200; i++) { /* each tag twice: enough for the table */
        len += (size_t)snprintf(line + len, sizeof(line) - len, " t%u", i % 100);
    }
    for (unsigned i = 0; i < 100; i++) {
        expected_len += (size_t)snprintf(expected + expected_len, sizeof(expected) - expected_len,
            "$%u/t%u/", i < 10 ? 2u : 3u, i);
    }
    cr_assert_str_eq(cmd_fixture_run(&fixture, line), "+OK/");
    const char *tags = strstr(cmd_fixture_run(&fixture, "META a"), "*100/");
    cr_assert_not_null(tags);
    cr_assert_str_eq(tags + strlen("*100/"), expected);
    cmd_fixture_fini(&fixture);
}

Test(dispatch, too_many_or_too_long_tags_are_refused)
{
    enum { TAGS_MAX = 8192 }; /* as max-tags-per-key is by default */
    cmd_fixture_init(&fixture);
    static char names[TAGS_MAX + 1][8];
    static struct nadb_slice argv[4 + TAGS_MAX + 1];
    argv[0] = NADB_SLICE("SET");
    argv[1] = NADB_SLICE("a");
    argv[2] = NADB_SLICE("v");
    argv[3] = NADB_SLICE("TAGS");
    for (size_t i = 0; i <= (size_t)TAGS_MAX; i++) {
        int len = snprintf(names[i], sizeof(names[i]), "t%zu", i);
        argv[4 + i] = nadb_slice_of(names[i], (size_t)len);
    }
    cr_assert_str_eq(
        cmd_fixture_run_args(&fixture, argv, 4 + TAGS_MAX + 1), "-TOOMANYTAGS limit 8192 per key/");
    cr_assert_str_eq(cmd_fixture_run_args(&fixture, argv, 4 + TAGS_MAX), "+OK/");

    static char longest[NADB_TAG_LEN_MAX + 1];
    memset(longest, 't', sizeof(longest));
    argv[4] = nadb_slice_of(longest, NADB_TAG_LEN_MAX);
    cr_assert_str_eq(cmd_fixture_run_args(&fixture, argv, 5), "+OK/");
    argv[4].len++;
    cr_assert_str_eq(cmd_fixture_run_args(&fixture, argv, 5), "-BADTAG longer than 1024 bytes/");
    cmd_fixture_fini(&fixture);
}

/* ---- long work in slices ---- */

/* A clock on which every look takes a millisecond. */
static uint64_t slow_mono_us(struct nadb_clock *clock)
{
    struct nadb_fake_clock *fake = NADB_CONTAINER_OF(clock, struct nadb_fake_clock, clock);
    fake->mono_us += 1000;
    return fake->mono_us;
}

/* Sets the keys from `first` to before `end`. */
static void fill(unsigned first, unsigned end)
{
    char line[64];
    for (unsigned i = first; i < end; i++) {
        (void)snprintf(line, sizeof(line), "SET key:%u %u", i, i);
        (void)cmd_fixture_run(&fixture, line);
    }
}

static size_t count_text(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        count++;
    }
    return count;
}

Test(dispatch, keys_goes_on_in_later_turns_and_finds_every_key)
{
    cmd_fixture_init(&fixture);
    fill(0, 1000);
    fixture.clock.clock.mono_us = slow_mono_us;
    size_t count;
    cr_assert_eq(cmd_fixture_dispatch(&fixture, &fixture.client, "PING\nKEYS key:*\nPING", &count),
        NADB_DISPATCH_AGAIN);
    cr_assert_eq(count, 1);
    cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "+PONG/");
    cr_assert_not_null(fixture.client.progress);

    struct nadb_client other; /* goes on meanwhile */
    cmd_fixture_join(&fixture, &other);
    cr_assert_str_eq(cmd_fixture_run_as(&fixture, &other, "PING"), "+PONG/");
    nadb_client_fini(&other);

    const char *reply = cmd_fixture_run(&fixture, "KEYS key:*\nPING");
    cr_assert_eq(count_text(reply, "/key:"), 1000);
    cr_assert_eq(strncmp(reply, "*1000/", 6), 0);
    cr_assert_not_null(strstr(reply, "/+PONG/"));
    cr_assert_null(fixture.client.progress);
    cr_assert_eq(fixture.cmdstats.commands[NADB_ROW_KEYS].calls, 1);
    cmd_fixture_fini(&fixture);
}

Test(dispatch, a_very_long_list_of_keys_is_answered_whole)
{
    cmd_fixture_init(&fixture);
    fill(0, 12000);
    for (unsigned i = 0; i < 2; i++) { /* alone, and after another reply */
        const char *reply = cmd_fixture_run(&fixture, i == 0 ? "KEYS *" : "PING\nKEYS *\nPING");
        cr_assert_eq(count_text(reply, "/key:"), 12000);
        cr_assert_eq(strncmp(reply, i == 0 ? "*12000/" : "+PONG/*12000/", i == 0 ? 7 : 13), 0);
        cr_assert_str_eq(cmd_fixture_run(&fixture, "GET key:11999"), "$5/11999/");
    }
    cmd_fixture_fini(&fixture);
}

Test(dispatch, keys_inside_exec_finishes_at_once)
{
    cmd_fixture_init(&fixture);
    fill(0, 200);
    fixture.clock.clock.mono_us = slow_mono_us;
    size_t count;
    cr_assert_eq(cmd_fixture_dispatch(&fixture, &fixture.client, "MULTI\nKEYS *\nEXEC", &count),
        NADB_DISPATCH_DONE);
    cr_assert_eq(count_text(cmd_fixture_take(&fixture, &fixture.client), "/key:"), 200);
    cmd_fixture_fini(&fixture);
}

Test(dispatch, a_client_that_leaves_in_the_middle_of_keys_leaks_nothing)
{
    cmd_fixture_init(&fixture);
    fill(0, 1000);
    fixture.clock.clock.mono_us = slow_mono_us;
    size_t count;
    cr_assert_eq(
        cmd_fixture_dispatch(&fixture, &fixture.client, "KEYS *", &count), NADB_DISPATCH_AGAIN);
    cr_assert_not_null(fixture.client.progress);
    cmd_fixture_fini(&fixture); /* the suite's end looks for leaks */
}

Test(dispatch, scan_visits_every_key)
{
    cmd_fixture_init(&fixture);
    fill(0, 1000);
    char line[64] = "SCAN 0 COUNT 50";
    size_t found = 0;
    for (unsigned calls = 0; calls < 1000; calls++) {
        const char *reply = cmd_fixture_run(&fixture, line);
        found += count_text(reply, "/key:");
        char cursor[32];
        cr_assert_eq(sscanf(reply, "*2/$%*d/%31[0-9]/", cursor), 1);
        if (strcmp(cursor, "0") == 0) {
            cr_assert_eq(found, 1000);
            cmd_fixture_fini(&fixture);
            return;
        }
        (void)snprintf(line, sizeof(line), "SCAN %s COUNT 50", cursor);
    }
    cr_assert_fail("SCAN does not end");
}

/* ---- holds ---- */

static void init_always(struct nadb_log_disk *disk)
{
    nadb_log_disk_init(disk);
    cmd_fixture_init_on(
        &fixture, &nadb_log_backend_ops, nadb_log_backend_new(disk), NADB_DURABILITY_ALWAYS);
    cmd_fixture_load(&fixture);
}

/* Turns without commands until nothing is left to do. */
static void finish_flushes(void)
{
    struct nadb_store *store = fixture.server.store;
    bool has_more;
    do {
        nadb_store_turn_begin(store);
        (void)nadb_inline_executor_run_all(&fixture.executor);
        nadb_store_turn_end(store);
        has_more = nadb_store_step(store, 1000000);
    } while (has_more || nadb_inline_executor_pending(&fixture.executor) > 0);
}

Test(dispatch, in_always_a_write_is_answered_once_it_is_durable)
{
    static struct nadb_log_disk disk;
    init_always(&disk);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "PING\nSET a 1\nGET a\nPING"), "+PONG/");
    finish_flushes();
    cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "+OK/$1/1/+PONG/");
    cr_assert_eq(fixture.client.holds_count, 0);
    cmd_fixture_fini(&fixture);
    nadb_log_disk_fini(&disk);
}

Test(dispatch, in_always_a_failed_write_becomes_an_error_and_is_not_applied)
{
    static struct nadb_log_disk disk;
    init_always(&disk);
    disk.fail_writes = 1;
    disk.fail_err = NADB_ENOSPC;
    cr_assert_str_eq(cmd_fixture_run(&fixture, "PING\nSET a 1\nPING"), "+PONG/");
    finish_flushes();
    const char *reply = cmd_fixture_take(&fixture, &fixture.client);
    cr_assert(
        nadb_glob_match(NADB_SLICE("-MISCONF */+PONG/"), nadb_slice_cstr(reply)), "%s", reply);
    cr_assert_eq(fixture.undone, 1);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "EXISTS a"), ":0/");
    cmd_fixture_fini(&fixture);
    nadb_log_disk_fini(&disk);
}

Test(dispatch, exec_reaches_the_disk_as_one_batch)
{
    static struct nadb_log_disk disk;
    init_always(&disk);
    cr_assert_str_eq(
        cmd_fixture_run(&fixture, "MULTI\nSET a 1\nSET b 2\nEXEC"), "+OK/+QUEUED/+QUEUED/");
    finish_flushes();
    cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "*2/+OK/+OK/");
    cr_assert_eq(nadb_log_batch_count(nadb_log_disk_last(&disk), NADB_ENTRY_PUT, NULL), 2);
    cmd_fixture_fini(&fixture);
    nadb_log_disk_fini(&disk);
}

Test(dispatch, flush_is_answered_once_everything_is_durable)
{
    static struct nadb_log_disk disk;
    nadb_log_disk_init(&disk);
    cmd_fixture_init_on(
        &fixture, &nadb_log_backend_ops, nadb_log_backend_new(&disk), NADB_DURABILITY_INTERVAL);
    cmd_fixture_load(&fixture);
    cr_assert_str_eq(cmd_fixture_run(&fixture, "SET a 1\nFLUSH\nPING"), "+OK/");
    finish_flushes();
    cr_assert_str_eq(cmd_fixture_take(&fixture, &fixture.client), "+OK/+PONG/");
    cr_assert_eq(nadb_log_batch_count(nadb_log_disk_last(&disk), NADB_ENTRY_PUT, "a"), 1);
    cmd_fixture_fini(&fixture);
    nadb_log_disk_fini(&disk);
}

Test(dispatch, keys_begins_anew_when_what_it_saw_has_been_undone)
{
    static struct nadb_log_disk disk;
    init_always(&disk);
    fill(0, 500);
    finish_flushes();
    (void)cmd_fixture_take(&fixture, &fixture.client);
    fill(500, 1000);
    size_t count;
    fixture.clock.clock.mono_us = slow_mono_us;
    cr_assert_eq(
        cmd_fixture_dispatch(&fixture, &fixture.client, "KEYS *", &count), NADB_DISPATCH_AGAIN);
    disk.fail_writes = 1;
    disk.fail_err = NADB_ENOSPC;
    finish_flushes();
    cr_assert_eq(fixture.undone, 1);
    (void)cmd_fixture_take(&fixture, &fixture.client);
    cr_assert_eq(count_text(cmd_fixture_run(&fixture, "KEYS *"), "/key:"), 500);
    cmd_fixture_fini(&fixture);
    nadb_log_disk_fini(&disk);
}

/* ---- statistics ---- */

/* A clock on which every look takes a microsecond. */
static uint64_t steady_mono_us(struct nadb_clock *clock)
{
    struct nadb_fake_clock *fake = NADB_CONTAINER_OF(clock, struct nadb_fake_clock, clock);
    return fake->mono_us++;
}

Test(dispatch, constant_time_commands_share_the_time_of_their_group_evenly)
{
    cmd_fixture_init(&fixture);
    fixture.clock.clock.mono_us = steady_mono_us;
    (void)cmd_fixture_run(&fixture, "SET a 1\nGET a\nGET a\nGET a");
    const struct nadb_cmdstat *get = &fixture.cmdstats.commands[NADB_ROW_GET];
    const struct nadb_cmdstat *set = &fixture.cmdstats.commands[NADB_ROW_SET];
    cr_assert_eq(get->calls, 3);
    cr_assert_eq(get->latency.count, 3);
    cr_assert_eq(get->latency.max_ns, 250); /* a microsecond between four */
    cr_assert_eq(set->latency.max_ns, 250);
    (void)cmd_fixture_run(&fixture, "GETRANGE a 0 1");
    cr_assert_eq(fixture.cmdstats.commands[NADB_ROW_GETRANGE].latency.max_ns, 1000);
    cr_assert_eq(fixture.server.counters.commands_processed, 5);
    cmd_fixture_fini(&fixture);
}

Test(dispatch, refused_and_failed_calls_are_counted_apart)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "SET a x\nINCR a\nINCR\nINCR b\nFOO");
    const struct nadb_cmdstat *incr = &fixture.cmdstats.commands[NADB_ROW_INCR];
    cr_assert_eq(incr->calls, 2);
    cr_assert_eq(incr->failed, 1);
    cr_assert_eq(incr->rejected, 1);
    cr_assert_eq(fixture.server.counters.error_replies, 3);
    cmd_fixture_fini(&fixture);
}
