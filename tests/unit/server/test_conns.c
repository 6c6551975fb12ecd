/* This file tests connections on socket pairs and a real loop: order, splits, limits, ends. */
#include "src/server/conns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/support/log_backend.h"
#include "tests/support/test.h"
#include "tests/unit/server/cmd_fixture.h"

NADB_TEST_SUITE(conns);

#define BIG_LEN   ((size_t)1536 * 1024) /* one reply of it is more than a client may leave unread */
#define TURNS_MAX 20000u

static struct cmd_fixture fixture; /* large: kept out of the stack */
static struct nadb_log_disk disk;
static uv_loop_t uv;
static struct nadb_conns conns;
static unsigned turns_begun;

/* ---- the loop ---- */

static void begin_turn(void *ctx)
{
    (void)ctx;
    turns_begun++;
    nadb_store_turn_begin(fixture.server.store);
}

static void start(void)
{
    nadb_log_set_level(NADB_LOG_NOTHING);
    cr_assert_eq(uv_loop_init(&uv), 0);
    nadb_conns_init(&conns, &fixture.server, &uv, begin_turn, NULL);
}

static void setup(void)
{
    cmd_fixture_init(&fixture);
    start();
}

static void setup_always(void)
{
    nadb_log_disk_init(&disk);
    cmd_fixture_init_on(
        &fixture, &nadb_log_backend_ops, nadb_log_backend_new(&disk), NADB_DURABILITY_ALWAYS);
    cmd_fixture_load(&fixture);
    start();
}

static void teardown(void)
{
    nadb_conns_close_all(&conns);
    (void)uv_run(&uv, UV_RUN_DEFAULT);
    nadb_conns_fini(&conns);
    cr_assert_eq(uv_loop_close(&uv), 0);
    cmd_fixture_fini(&fixture);
}

static void turn(void)
{
    (void)uv_run(&uv, UV_RUN_NOWAIT);
    nadb_conns_run(&conns);
    nadb_store_turn_end(fixture.server.store);
    nadb_conns_flush(&conns);
}

/* ---- the other end ---- */

static int join(struct nadb_conn **ret_conn)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct nadb_conn_peer peer = {.addr = "peer", .laddr = "here", .is_loopback = true};
    struct nadb_conn *conn = nadb_conn_new(&conns, fds[0], &peer);
    cr_assert_not_null(conn);
    if (ret_conn != NULL) {
        *ret_conn = conn;
    }
    return fds[1];
}

/* In one piece. */
static void say(int fd, const char *bytes)
{
    cr_assert_eq(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

/* What has been answered by now; NUL-terminated, in a common buffer. */
static const char *hear(int fd)
{
    static char text[65536];
    ssize_t count = read(fd, text, sizeof(text) - 1);
    text[count > 0 ? count : 0] = '\0';
    return text;
}

/* Turns until `len` bytes came, which are given and must be freed. */
static char *hear_all(int fd, size_t len)
{
    char *bytes = nadb_mem_alloc(len + 1);
    size_t got = 0;
    for (unsigned i = 0; got < len; i++) {
        cr_assert_lt(i, TURNS_MAX, "%zu of %zu bytes came", got, len);
        ssize_t count = read(fd, bytes + got, len - got);
        cr_assert(count > 0 || (count < 0 && errno == EAGAIN));
        got += count > 0 ? (size_t)count : 0;
        turn();
    }
    bytes[len] = '\0';
    return bytes;
}

static bool is_closed(int fd)
{
    char byte;
    return read(fd, &byte, 1) == 0;
}

static void put_big(const char *name)
{
    struct nadb_key key = nadb_store_key(fixture.server.store, nadb_slice_cstr(name));
    struct nadb_keyspace *keyspace =
        nadb_store_keyspace(fixture.server.store, 0, nadb_slice_of(NULL, 0), true);
    nadb_store_command_begin(fixture.server.store);
    char *value = nadb_store_edit(fixture.server.store, keyspace, &key, BIG_LEN);
    cr_assert_not_null(value);
    memset(value, 'x', BIG_LEN);
    (void)nadb_store_command_end(fixture.server.store);
}

/* `count` replies to GET of a big value. */
static void check_big(const char *bytes, size_t count)
{
    char head[32];
    size_t head_len = (size_t)snprintf(head, sizeof(head), "$%zu\r\n", BIG_LEN);
    for (size_t i = 0; i < count; i++, bytes += head_len + BIG_LEN + 2) {
        cr_assert_eq(memcmp(bytes, head, head_len), 0, "reply %zu", i);
        cr_assert_eq(strspn(bytes + head_len, "x"), BIG_LEN, "reply %zu", i);
    }
}

static size_t big_reply_len(void)
{
    return (size_t)snprintf(NULL, 0, "$%zu\r\n", BIG_LEN) + BIG_LEN + 2;
}

/* ---- reading and answering ---- */

Test(conns, a_pipeline_is_answered_in_order_with_one_write)
{
    setup();
    int fd = join(NULL);
    say(fd, "SET a 1\r\nINCR a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n:2\r\n$1\r\n2\r\n+PONG\r\n");
    cr_assert_eq(fixture.server.counters.reads_processed, 1);
    cr_assert_eq(fixture.server.counters.writes_processed, 1);
    (void)close(fd);
    teardown();
}

Test(conns, any_split_of_the_input_gives_the_same_answers)
{
    setup();
    static const char input[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\nGET \"k\"\r\n"
                                "set q 'x y'\r\n*2\r\n$3\r\nget\r\n$1\r\nq\r\n";
    static const char output[] = "+OK\r\n$4\r\na\r\nb\r\n+OK\r\n$3\r\nx y\r\n";
    int fd = join(NULL);
    for (size_t at = 1; at < sizeof(input) - 1; at++) {
        cr_assert_eq(write(fd, input, at), (ssize_t)at);
        turn();
        cr_assert_eq(
            write(fd, input + at, sizeof(input) - 1 - at), (ssize_t)(sizeof(input) - 1 - at));
        char *bytes = hear_all(fd, sizeof(output) - 1);
        cr_assert_str_eq(bytes, output, "split at %zu", at);
        nadb_mem_free(bytes);
    }
    (void)close(fd);
    teardown();
}

Test(conns, bytes_that_come_one_by_one_give_the_same_answers)
{
    setup();
    static const char input[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nab\r\nGET k\r\n";
    int fd = join(NULL);
    for (size_t i = 0; i < sizeof(input) - 1; i++) {
        cr_assert_eq(write(fd, input + i, 1), 1);
        turn();
    }
    cr_assert_str_eq(hear(fd), "+OK\r\n$2\r\nab\r\n");
    (void)close(fd);
    teardown();
}

Test(conns, an_idle_connection_owns_no_buffer)
{
    setup();
    struct nadb_conn *conn;
    int fd = join(&conn);
    say(fd, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8\r\nhalf");
    turn();
    cr_assert_gt(conns.bytes, 0);
    cr_assert_eq(conn->client.query_bytes, conn->input.len);
    say(fd, "done\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n");
    cr_assert_eq(conn->input.cap, 0);
    cr_assert_eq(conn->client.out.buf.cap, 0);
    cr_assert_eq(conn->client.query_bytes, 0);
    cr_assert_eq(conns.bytes, 0);
    (void)close(fd);
    teardown();
}

/* ---- clients that do not read ---- */

Test(conns, a_client_that_does_not_read_is_not_served_on)
{
    setup();
    put_big("big");
    struct nadb_conn *conn;
    int fd = join(&conn);
    enum { REPLIES = 40 };
    for (size_t i = 0; i < REPLIES; i++) {
        say(fd, "*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n");
    }
    for (unsigned i = 0; i < 10; i++) {
        turn();
    }
    cr_assert_eq(conn->state, NADB_CONN_BLOCKED);
    cr_assert_leq(conns.bytes, 4 * BIG_LEN, "%zu bytes", conns.bytes);
    int other = join(NULL);
    say(other, "PING\r\n");
    turn();
    cr_assert_str_eq(hear(other), "+PONG\r\n");
    size_t len = REPLIES * big_reply_len();
    char *bytes = hear_all(fd, len);
    check_big(bytes, REPLIES);
    nadb_mem_free(bytes);
    say(fd, "PING\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "+PONG\r\n");
    (void)close(fd);
    (void)close(other);
    teardown();
}

/* The parser unquotes inline commands where they lie: put back as they are, they would be parsed
 * a second time. */
static struct nadb_blob *big_blob(const char *name)
{
    struct nadb_store *store = fixture.server.store;
    struct nadb_key key = nadb_store_key(store, nadb_slice_cstr(name));
    struct nadb_keyspace *keyspace = nadb_store_keyspace(store, 0, nadb_slice_of(NULL, 0), true);
    const struct nadb_rec *rec = nadb_store_peek(store, keyspace, &key);
    cr_assert(rec != NULL && (rec->flags & NADB_REC_HAS_BLOB));
    return *nadb_rec_blob_part(rec);
}

Test(conns, a_long_value_is_sent_from_where_it_lies_whatever_becomes_of_its_key)
{
    setup();
    put_big("big");
    struct nadb_blob *blob = big_blob("big");
    struct nadb_conn *conn;
    int fd = join(&conn);
    say(fd, "PING\r\nGET big\r\nPING\r\nGET big\r\nECHO last\r\n");
    turn();
    cr_assert_eq(blob->refs, 2, "it was copied");
    cr_assert_gt(nadb_conn_unsent(conn), BIG_LEN / 2);
    int other = join(NULL);
    say(other, "SET big other\r\n");
    turn();
    cr_assert_eq(blob->refs, 1, "only the client has it now");
    cr_assert_str_eq(hear(other), "+OK\r\n");
    const char *behind = "+PONG\r\n$5\r\nother\r\n$4\r\nlast\r\n";
    char *bytes = hear_all(fd, strlen("+PONG\r\n") + big_reply_len() + strlen(behind));
    cr_assert_eq(memcmp(bytes, "+PONG\r\n", 7), 0);
    check_big(bytes + 7, 1);
    cr_assert_str_eq(bytes + 7 + big_reply_len(), behind);
    nadb_mem_free(bytes);
    (void)close(fd);
    (void)close(other);
    teardown();
}

Test(conns, a_client_that_goes_lets_go_of_the_value_it_was_sent)
{
    setup();
    put_big("big");
    struct nadb_blob *blob = big_blob("big");
    struct nadb_conn *conn;
    int fd = join(&conn);
    say(fd, "GET big\r\n");
    turn();
    cr_assert_eq(blob->refs, 2);
    (void)close(fd);
    turn();
    turn();
    cr_assert_eq(blob->refs, 1);
    teardown();
}

Test(conns, a_value_in_a_transaction_or_without_a_reply_is_not_attached)
{
    setup();
    put_big("big");
    struct nadb_blob *blob = big_blob("big");
    int fd = join(NULL);
    say(fd, "MULTI\r\nGET big\r\nEXEC\r\n");
    turn();
    cr_assert_eq(blob->refs, 1);
    char *bytes = hear_all(fd, strlen("+OK\r\n+QUEUED\r\n*1\r\n") + big_reply_len());
    check_big(bytes + strlen("+OK\r\n+QUEUED\r\n*1\r\n"), 1);
    nadb_mem_free(bytes);
    say(fd, "CLIENT REPLY SKIP\r\nGET big\r\nPING\r\n");
    turn();
    cr_assert_eq(blob->refs, 1);
    cr_assert_str_eq(hear(fd), "+PONG\r\n");
    (void)close(fd);
    teardown();
}

Test(conns, an_inline_command_that_must_wait_keeps_its_quotes)
{
    setup();
    put_big("big");
    int fd = join(NULL);
    say(fd, "get big\r\nset q \"a \\\"b\\\" c\"\r\nget q\r\n*1\r\n$4\r\nPI");
    size_t len = big_reply_len();
    char *bytes = hear_all(fd, len);
    check_big(bytes, 1);
    nadb_mem_free(bytes);
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n$7\r\na \"b\" c\r\n");
    say(fd, "NG\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "+PONG\r\n");
    (void)close(fd);
    teardown();
}

Test(conns, output_beyond_the_hard_limit_ends_the_connection)
{
    setup();
    put_big("big");
    fixture.config.client_output_buffer_limit.classes[NADB_OUTPUT_NORMAL].hard_bytes = 100000;
    int fd = join(NULL);
    say(fd, "GET big\r\nPING\r\n");
    turn();
    cr_assert(is_closed(fd));
    cr_assert_eq(conns.count, 0);
    cr_assert_eq(fixture.server.counters.output_limit_disconnections, 1);
    (void)close(fd);
    teardown();
}

Test(conns, output_above_the_soft_limit_for_its_time_ends_the_connection)
{
    setup();
    put_big("big");
    struct nadb_output_limit *limit =
        &fixture.config.client_output_buffer_limit.classes[NADB_OUTPUT_NORMAL];
    *limit = (struct nadb_output_limit){.soft_bytes = 1000, .soft_s = 5};
    struct nadb_conn *conn;
    int fd = join(&conn);
    say(fd, "GET big\r\n");
    turn();
    uint64_t now_ms = uv_now(&uv);
    nadb_conn_tick(conn, now_ms);
    nadb_conn_tick(conn, now_ms + 4999);
    cr_assert_eq(conns.count, 1);
    nadb_conn_tick(conn, now_ms + 5000);
    cr_assert_eq(conns.count, 0);
    cr_assert_eq(fixture.server.counters.output_limit_disconnections, 1);
    (void)close(fd);
    teardown();
}

Test(conns, above_the_common_budget_the_largest_is_closed)
{
    setup();
    put_big("big");
    struct nadb_conn *large;
    struct nadb_conn *small;
    int large_fd = join(&large);
    int small_fd = join(&small);
    conns.bytes_max = BIG_LEN; /* one reply and its buffer's slack are more */
    large->client.out.buf.cap_max = small->client.out.buf.cap_max = 4 * BIG_LEN;
    say(small_fd, "*2\r\n$3\r\nGET\r\n$5\r\nab");
    say(large_fd, "GET big\r\n");
    turn();
    cr_assert_eq(conns.count, 1);
    cr_assert_leq(conns.bytes, conns.bytes_max);
    say(small_fd, "cde\r\n");
    turn();
    cr_assert_str_eq(hear(small_fd), "$-1\r\n");
    (void)close(large_fd);
    (void)close(small_fd);
    teardown();
}

Test(conns, replies_of_one_turn_pass_the_common_budget_by_one_connection_only)
{
    enum { CLIENTS = 8 };
    setup();
    put_big("big");
    struct nadb_conn *clients[CLIENTS];
    int fds[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        fds[i] = join(&clients[i]);
        clients[i]->client.out.buf.cap_max = 4 * BIG_LEN;
        say(fds[i], "GET big\r\n");
    }
    conns.bytes_max = 2 * BIG_LEN;
    (void)uv_run(&uv, UV_RUN_NOWAIT); /* all of them are readable */
    cr_assert_gt(conns.bytes, conns.bytes_max);
    cr_assert_leq(conns.bytes, conns.bytes_max + 2 * BIG_LEN);
    for (size_t i = 0; i < CLIENTS; i++) {
        turn();
        cr_assert_leq(conns.bytes, conns.bytes_max);
    }
    cr_assert_geq(fixture.server.counters.output_limit_disconnections, CLIENTS - 2);
    for (size_t i = 0; i < CLIENTS; i++) {
        (void)close(fds[i]);
    }
    teardown();
}

Test(conns, the_budget_counts_arguments_that_wait_and_watched_keys)
{
    setup();
    int fd = join(NULL);
    static const char empty[] = "$0\r\n\r\n";
    char command[4096] = "*1000\r\n";
    for (size_t i = 0, at = strlen(command); i < 500; i++, at += sizeof(empty) - 1) {
        memcpy(command + at, empty, sizeof(empty));
    }
    say(fd, command);
    turn();
    cr_assert_geq(conns.bytes, strlen(command) + 500 * 2 * sizeof(size_t));
    (void)close(fd);
    turn();
    cr_assert_eq(conns.bytes, 0);

    fd = join(NULL);
    say(fd, "PING\r\n");
    turn();
    size_t before = conns.bytes;
    say(fd, "WATCH a-key-of-which-nobody-has-ever-heard another\r\n");
    turn();
    cr_assert_geq(conns.bytes, before + strlen("a-key-of-which-nobody-has-ever-heardanother"));
    say(fd, "UNWATCH\r\n");
    turn();
    cr_assert_eq(conns.bytes, before);
    (void)close(fd);
    teardown();
}

/* ---- input limits ---- */

Test(conns, an_unfinished_command_beyond_the_limit_ends_the_connection)
{
    setup();
    fixture.config.client_query_buffer_limit = 100000;
    int fd = join(NULL);
    say(fd, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$200000\r\n");
    static char chunk[8192];
    for (unsigned i = 0; i < 20; i++) {
        (void)send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL); /* fails once the other end is gone */
        turn();
    }
    cr_assert_eq(conns.count, 0);
    cr_assert_eq(fixture.server.counters.query_limit_disconnections, 1);
    (void)close(fd);
    teardown();
}

Test(conns, an_announced_length_alone_takes_no_memory)
{
    setup();
    struct nadb_conn *conn;
    int fd = join(&conn);
    say(fd, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\nfirst bytes");
    turn();
    turn();
    say(fd, "some more");
    turn();
    cr_assert_leq(conn->input.cap, 2 * NADB_CONN_GROW_BYTES);
    (void)close(fd);
    teardown();
}

Test(conns, a_protocol_error_is_answered_after_what_came_before_and_closes)
{
    setup();
    int fd = join(NULL);
    say(fd, "PING\r\n*1\r\n:1\r\nPING\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n");
    cr_assert(is_closed(fd));
    cr_assert_eq(fixture.server.counters.error_replies, 1);
    (void)close(fd);
    teardown();
}

Test(conns, limits_before_authentication_end_with_it)
{
    setup();
    nadb_mem_free(fixture.config.requirepass);
    fixture.config.requirepass = nadb_mem_strdup("secret");
    int fd = join(NULL);
    say(fd,
        "AUTH secret\r\nMSET a 1 b 2 c 3 d 4 e 5 f 6\r\n"
        "*13\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n1\r\n$1\r\nc\r\n$1\r\n1\r\n"
        "$1\r\nd\r\n$1\r\n1\r\n$1\r\ne\r\n$1\r\n1\r\n$1\r\nf\r\n$1\r\n9\r\nGET f\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n+OK\r\n+OK\r\n$1\r\n9\r\n");
    int guest = join(NULL);
    say(guest, "*13\r\n");
    turn();
    cr_assert_str_eq(hear(guest), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    cr_assert(is_closed(guest));
    (void)close(fd);
    (void)close(guest);
    teardown();
}

/* ---- held replies ---- */

Test(conns, replies_wait_for_the_disk_and_leave_in_order)
{
    setup_always();
    int fd = join(NULL);
    int other = join(NULL);
    say(fd, "PING\r\nSET a 1\r\nPING\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "+PONG\r\n");
    say(other, "PING\r\n");
    turn();
    cr_assert_str_eq(hear(other), "+PONG\r\n", "other clients do not wait");
    (void)nadb_inline_executor_run_all(&fixture.executor);
    nadb_conns_durable(&conns, nadb_store_durable(fixture.server.store));
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n+PONG\r\n");
    cr_assert(nadb_list_is_empty(&conns.held));
    (void)close(fd);
    (void)close(other);
    teardown();
    nadb_log_disk_fini(&disk);
}

Test(conns, replies_whose_write_failed_become_errors)
{
    setup_always();
    int fd = join(NULL);
    say(fd, "SET a 1\r\nPING\r\n");
    turn();
    cr_assert_str_eq(hear(fd), "");
    struct nadb_error error = {.code = NADB_ENOSPC, .text = "disk write failed: no space"};
    nadb_conns_undone(&conns, nadb_store_durable(fixture.server.store), &error);
    turn();
    cr_assert_str_eq(hear(fd), "-MISCONF disk write failed: no space\r\n+PONG\r\n");
    (void)nadb_inline_executor_run_all(&fixture.executor);
    (void)close(fd);
    teardown();
    nadb_log_disk_fini(&disk);
}

Test(conns, a_closing_connection_waits_for_its_held_replies)
{
    setup_always();
    int fd = join(NULL);
    say(fd, "SET a 1\r\nQUIT\r\n");
    turn();
    turn();
    cr_assert_eq(conns.count, 1);
    (void)nadb_inline_executor_run_all(&fixture.executor);
    nadb_conns_durable(&conns, nadb_store_durable(fixture.server.store));
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n+OK\r\n");
    cr_assert(is_closed(fd));
    (void)close(fd);
    teardown();
    nadb_log_disk_fini(&disk);
}

/* ---- ends ---- */

Test(conns, a_half_closed_connection_gets_all_its_replies)
{
    setup();
    int fd = join(NULL);
    say(fd, "SET a 1\r\nGET a\r\nunfinished");
    cr_assert_eq(shutdown(fd, SHUT_WR), 0);
    turn();
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n$1\r\n1\r\n");
    cr_assert(is_closed(fd));
    cr_assert_eq(conns.count, 0);
    (void)close(fd);
    teardown();
}

Test(conns, a_client_that_is_gone_is_forgotten)
{
    setup();
    put_big("big");
    int fd = join(NULL);
    say(fd, "GET big\r\nGET big\r\nGET big\r\n");
    turn();
    (void)close(fd);
    turn();
    turn();
    cr_assert_eq(conns.count, 0);
    cr_assert_eq(conns.bytes, 0);
    cr_assert_eq(fixture.clients.count, 1, "only the fixture's own is left");
    teardown();
}

Test(conns, last_replies_that_nobody_takes_are_given_up)
{
    setup();
    put_big("big");
    struct nadb_conn *conn;
    int fd = join(&conn);
    say(fd, "GET big\r\n");
    turn();
    nadb_conns_finish(&conns);
    turn();
    nadb_conn_tick(conn, conn->active_ms + NADB_CONN_LINGER_MS - 1);
    cr_assert_eq(conns.count, 1);
    nadb_conn_tick(conn, conn->active_ms + NADB_CONN_LINGER_MS);
    cr_assert_eq(conns.count, 0);
    (void)close(fd);
    teardown();
}

Test(conns, an_idle_client_is_closed_after_the_timeout)
{
    setup();
    fixture.config.timeout = 3;
    struct nadb_conn *conn;
    int fd = join(&conn);
    nadb_conn_tick(conn, conn->active_ms + 2999);
    cr_assert_eq(conns.count, 1);
    nadb_conn_tick(conn, conn->active_ms + 3000);
    cr_assert_eq(conns.count, 0);
    cr_assert(is_closed(fd));
    (void)close(fd);
    teardown();
}

Test(conns, nothing_is_run_while_paused_and_nothing_is_lost)
{
    setup();
    int fd = join(NULL);
    nadb_conns_pause(&conns);
    say(fd, "SET a 1\r\n");
    turn();
    turn();
    cr_assert_str_eq(hear(fd), "");
    nadb_conns_resume(&conns);
    turn();
    cr_assert_str_eq(hear(fd), "+OK\r\n");
    (void)close(fd);
    teardown();
}

Test(conns, finish_sends_what_there_is_and_closes)
{
    setup();
    put_big("big");
    int fd = join(NULL);
    say(fd, "GET big\r\nGET a\r\n");
    turn();
    nadb_conns_pause(&conns);
    nadb_conns_finish(&conns);
    size_t len = big_reply_len();
    char *bytes = hear_all(fd, len);
    check_big(bytes, 1);
    nadb_mem_free(bytes);
    cr_assert(is_closed(fd));
    cr_assert_eq(conns.count, 0);
    (void)close(fd);
    teardown();
}
