/* This file is the load of scripts/bench: one thread that keeps many connections busy at so
 * little cost of its own that the server is what is measured.
 *
 * usage: load HOST PORT set|get|fill CONNECTIONS PIPELINE REQUESTS KEYS
 *
 * Keys are key:000000000000 to KEYS - 1, chosen at random; fill writes each once, in order. A
 * value has VALUE_LEN bytes. Every connection sends PIPELINE commands in one write and waits for
 * all their replies. A reply of the wrong length or kind ends the run: a server that answers errors
 * fast is not fast. Prints the seconds and the requests done. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/bench/client.h"

#define KEY_DIGITS      12
#define VALUE_LEN       64
#define COMMAND_LEN_MAX 160
#define PIPELINE_MAX    1024
#define CONNECTIONS_MAX 10000
#define READ_LEN        (256 * 1024)
#define EVENTS_PER_WAIT 256
#define REQUESTS_MAX    INT64_MAX
#define KEYS_MAX        INT64_C(999999999999)

enum load_kind {
    LOAD_SET,
    LOAD_GET,
    LOAD_FILL,
};

struct load_conn {
    int fd;
    char *out;         /* PIPELINE commands, of which only the digits of the keys change */
    size_t reply_left; /* bytes of replies still to come */
    size_t reply_at;   /* place in the replies' pattern of the next byte */
    int64_t in_flight; /* commands sent whose replies are not all here */
};

struct load {
    enum load_kind kind;
    int64_t connections;
    int64_t pipeline;
    int64_t requests;
    int64_t keys;

    const char *reply; /* what each command must be answered */
    size_t reply_len;
    char command[COMMAND_LEN_MAX];
    size_t command_len;
    size_t digits_at; /* where the key's digits stand in a command */

    struct load_conn *conns;
    int64_t sent;
    int64_t done;
    uint64_t rng;
};

static uint64_t next_random(struct load *load)
{
    load->rng ^= load->rng << 13;
    load->rng ^= load->rng >> 7;
    load->rng ^= load->rng << 17;
    return load->rng;
}

static void write_digits(char *at, uint64_t number)
{
    for (int idx = KEY_DIGITS - 1; idx >= 0; idx--) {
        at[idx] = (char)('0' + number % 10);
        number /= 10;
    }
}

static void prepare(struct load *load)
{
    static char value[VALUE_LEN + 1];
    static char reply[VALUE_LEN + 32];
    memset(value, 'x', VALUE_LEN);
    int len;
    if (load->kind == LOAD_GET) {
        len = snprintf(
            load->command, sizeof load->command, "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n");
        snprintf(reply, sizeof reply, "$%d\r\n%s\r\n", VALUE_LEN, value);
    } else {
        len = snprintf(load->command, sizeof load->command,
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$%d\r\n%s\r\n", VALUE_LEN, value);
        snprintf(reply, sizeof reply, "+OK\r\n");
    }
    load->command_len = (size_t)len;
    load->reply = reply;
    load->reply_len = strlen(reply);
    load->digits_at = (size_t)(strstr(load->command, "key:") + 4 - load->command);
}

static void send_pipeline(struct load *load, struct load_conn *conn)
{
    int64_t count = load->requests - load->sent;
    if (count > load->pipeline) {
        count = load->pipeline;
    }
    for (int64_t idx = 0; idx < count; idx++) {
        uint64_t key = load->kind == LOAD_FILL ? (uint64_t)load->sent
                                               : next_random(load) % (uint64_t)load->keys;
        write_digits(conn->out + (size_t)idx * load->command_len + load->digits_at, key);
        load->sent++;
    }
    size_t len = (size_t)count * load->command_len;
    for (size_t sent = 0; sent < len;) {
        ssize_t got = write(conn->fd, conn->out + sent, len - sent);
        if (got < 0) {
            nadb_client_give_up("write");
        }
        sent += (size_t)got;
    }
    conn->in_flight = count;
    conn->reply_left = (size_t)count * load->reply_len;
    conn->reply_at = 0;
}

static void check_replies(
    const struct load *load, struct load_conn *conn, const char *data, size_t len)
{
    errno = 0;
    if (len > conn->reply_left) {
        nadb_client_give_up("more replies than commands");
    }
    while (len > 0) {
        size_t part = load->reply_len - conn->reply_at;
        if (part > len) {
            part = len;
        }
        if (memcmp(data, load->reply + conn->reply_at, part) != 0) {
            fprintf(stderr, "load: reply %.*s\n", (int)(len > 80 ? 80 : len), data);
            nadb_client_give_up("reply");
        }
        conn->reply_at = (conn->reply_at + part) % load->reply_len;
        conn->reply_left -= part;
        data += part;
        len -= part;
    }
}

static void read_replies(struct load *load, struct load_conn *conn)
{
    static char data[READ_LEN];
    ssize_t got = read(conn->fd, data, sizeof data);
    if (got <= 0) {
        nadb_client_give_up("read");
    }
    check_replies(load, conn, data, (size_t)got);
    if (conn->reply_left == 0) {
        load->done += conn->in_flight;
        conn->in_flight = 0;
        if (load->sent < load->requests) {
            send_pipeline(load, conn);
        }
    }
}

static void open_conn(struct load *load, struct load_conn *conn, const char *host, const char *port)
{
    conn->fd = nadb_client_connect(host, port);
    conn->out = malloc((size_t)load->pipeline * load->command_len);
    if (!conn->out) {
        nadb_client_give_up("memory");
    }
    for (int64_t idx = 0; idx < load->pipeline; idx++) {
        memcpy(conn->out + (size_t)idx * load->command_len, load->command, load->command_len);
    }
}

static void open_all(struct load *load, int poll, const char *host, const char *port)
{
    load->conns = calloc((size_t)load->connections, sizeof *load->conns);
    if (!load->conns) {
        nadb_client_give_up("memory");
    }
    for (int64_t idx = 0; idx < load->connections; idx++) {
        struct load_conn *conn = &load->conns[idx];
        open_conn(load, conn, host, port);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, conn->fd, &event) < 0) {
            nadb_client_give_up("epoll_ctl");
        }
    }
}

static void run(struct load *load, int poll)
{
    for (int64_t idx = 0; idx < load->connections && load->sent < load->requests; idx++) {
        send_pipeline(load, &load->conns[idx]);
    }
    while (load->done < load->requests) {
        struct epoll_event events[EVENTS_PER_WAIT];
        int count = epoll_wait(poll, events, EVENTS_PER_WAIT, -1);
        if (count < 0 && errno != EINTR) {
            nadb_client_give_up("epoll_wait");
        }
        for (int idx = 0; idx < count; idx++) {
            read_replies(load, events[idx].data.ptr);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: load HOST PORT set|get|fill CONNECTIONS PIPELINE REQUESTS KEYS\n");
        return 1;
    }
    struct load load = {
        .kind = strcmp(argv[3], "get") == 0    ? LOAD_GET
                : strcmp(argv[3], "fill") == 0 ? LOAD_FILL
                                               : LOAD_SET,
        .connections = nadb_client_number(argv[4], CONNECTIONS_MAX),
        .pipeline = nadb_client_number(argv[5], PIPELINE_MAX),
        .requests = nadb_client_number(argv[6], REQUESTS_MAX),
        .keys = nadb_client_number(argv[7], KEYS_MAX),
        .rng = 88172645463325252ULL,
    };
    prepare(&load);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    open_all(&load, poll, argv[1], argv[2]);
    uint64_t began_ns = nadb_client_now_ns();
    run(&load, poll);
    printf("%.6f %lld\n", (double)(nadb_client_now_ns() - began_ns) / 1e9, (long long)load.done);
    for (int64_t idx = 0; idx < load.connections; idx++) {
        close(load.conns[idx].fd);
        free(load.conns[idx].out);
    }
    free(load.conns);
    close(poll);
    return 0;
}
