/* This file is a client of scripts/bench that asks one thing at fixed times and tells how long each
 * answer took.
 *
 * usage: probe HOST PORT INTERVAL_US WORD...
 *
 * Every INTERVAL_US the command of the WORDs is due. Latency counts from then, not from when the
 * client came round to asking: a server that stands still for half a second owes answers to all
 * that was due meanwhile, and all of them are late. An answer that is not the first one over again
 * ends the run.
 *
 * So that as little as possible of the client is measured it asks the kernel for real-time
 * priority, wakes up a little early, and looks for the time and for the answer without sleeping.
 * With that priority only the kernel, or whoever runs the machine, can make it late when the server
 * owes nothing. Such a question is asked later, and the times behind it follow: it is not the
 * server's. How often that was is told, so that nobody needs to believe it. Without the priority
 * it counts like all else.
 *
 * Prints "ready", or "ready, without real-time priority" where that is not permitted. What is due
 * before its standard input ends is asked; then it prints for each question when it was due and how
 * long its answer took, both in seconds, the first on the monotonic clock, and last, on a line of
 * its own, "late", how often it was late itself and for how many seconds in all. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/client.h"

#define NS_PER_S        UINT64_C(1000000000)
#define PRIORITY        50
#define INTERVAL_US_MAX 1000000
#define COMMAND_LEN_MAX 4096
#define REPLY_LEN_MAX   65536
#define EARLY_NS        UINT64_C(100000) /* sleeping ends that long before the time */
#define OWN_NS          UINT64_C(20000)  /* more than that is no longer in time */
#define SPIN_NS         UINT64_C(200000) /* so long an answer is looked for without sleeping */
#define ANSWER_S_MAX    60
#define LOOKS_FIRST     65536u

static const char pong[] = "+PONG\r\n";

struct look {
    uint64_t due_ns, took_ns;
};

struct probe {
    int fd;
    char command[COMMAND_LEN_MAX];
    size_t command_len;
    char reply[REPLY_LEN_MAX]; /* the first one, which all others must be */
    size_t reply_len;
    bool is_prompt; /* has real-time priority */
    struct look *looks;
    size_t count, cap;
    uint64_t late_count, late_ns; /* of the client itself */
};

static void put(struct probe *probe, const char *text)
{
    size_t len = strlen(text);
    if (len > sizeof probe->command - probe->command_len) {
        nadb_client_give_up("the command is too long");
    }
    memcpy(probe->command + probe->command_len, text, len);
    probe->command_len += len;
}

static void put_words(struct probe *probe, char **words, int count)
{
    char head[32];
    (void)snprintf(head, sizeof head, "*%d\r\n", count);
    put(probe, head);
    for (int i = 0; i < count; i++) {
        (void)snprintf(head, sizeof head, "$%zu\r\n", strlen(words[i]));
        put(probe, head);
        put(probe, words[i]);
        put(probe, "\r\n");
    }
}

static void send_all(const struct probe *probe, const char *data, size_t len)
{
    errno = 0;
    if (send(probe->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len) {
        nadb_client_give_up("send");
    }
}

/* What the command is answered: all that comes before the answer to a PING behind it. */
static void learn(struct probe *probe)
{
    const size_t pong_len = sizeof pong - 1;
    size_t len = 0;
    send_all(probe, probe->command, probe->command_len);
    send_all(probe, "PING\r\n", strlen("PING\r\n"));
    while (len < pong_len || memcmp(probe->reply + len - pong_len, pong, pong_len) != 0) {
        errno = 0;
        ssize_t got = recv(probe->fd, probe->reply + len, sizeof probe->reply - len, 0);
        if (got <= 0) {
            nadb_client_give_up("the first answer"); /* too long, too */
        }
        len += (size_t)got;
    }
    probe->reply_len = len - pong_len;
    if (probe->reply_len == 0 || probe->reply[0] == '-') {
        nadb_client_give_up("the first answer");
    }
}

static void ask(const struct probe *probe)
{
    char data[REPLY_LEN_MAX];
    const uint64_t began_ns = nadb_client_now_ns();
    send_all(probe, probe->command, probe->command_len);
    for (size_t len = 0; len < probe->reply_len;) {
        int flags = nadb_client_now_ns() - began_ns < SPIN_NS ? MSG_DONTWAIT : 0;
        errno = 0;
        ssize_t got = recv(probe->fd, data, probe->reply_len - len, flags);
        if (got < 0 && errno == EAGAIN && flags == MSG_DONTWAIT) {
            continue;
        }
        if (got <= 0 || memcmp(data, probe->reply + len, (size_t)got) != 0) {
            nadb_client_give_up("an answer");
        }
        len += (size_t)got;
    }
}

static void wait_until(uint64_t due_ns)
{
    const uint64_t wake_ns = due_ns - EARLY_NS;
    if (nadb_client_now_ns() < wake_ns) {
        const struct timespec at = {
            .tv_sec = (time_t)(wake_ns / NS_PER_S), .tv_nsec = (long)(wake_ns % NS_PER_S)};
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL); /* if early, it spins */
    }
    while (nadb_client_now_ns() < due_ns) {
    }
}

static void note(struct probe *probe, uint64_t due_ns, uint64_t took_ns)
{
    if (probe->count == probe->cap) {
        probe->cap = probe->cap == 0 ? LOOKS_FIRST : probe->cap * 2;
        probe->looks = realloc(probe->looks, probe->cap * sizeof *probe->looks);
        if (probe->looks == NULL) {
            nadb_client_give_up("memory");
        }
    }
    probe->looks[probe->count++] = (struct look){.due_ns = due_ns, .took_ns = took_ns};
}

static bool has_input_ended(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

static void run(struct probe *probe, uint64_t interval_ns)
{
    uint64_t due_ns = nadb_client_now_ns() + interval_ns;
    uint64_t end_ns = UINT64_MAX;
    bool is_free = true; /* the server owed nothing when the time came */
    while (due_ns < end_ns) {
        wait_until(due_ns);
        const uint64_t now_ns = nadb_client_now_ns();
        if (probe->is_prompt && is_free && now_ns - due_ns > OWN_NS) {
            probe->late_count++;
            probe->late_ns += now_ns - due_ns;
            due_ns = now_ns;
        }
        ask(probe);
        const uint64_t answered_ns = nadb_client_now_ns();
        note(probe, due_ns, answered_ns - due_ns);
        due_ns += interval_ns;
        is_free = answered_ns < due_ns;
        if (end_ns == UINT64_MAX && has_input_ended()) {
            end_ns = nadb_client_now_ns();
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: probe HOST PORT INTERVAL_US WORD...\n");
        return 1;
    }
    static struct probe probe;
    const uint64_t interval_ns = (uint64_t)nadb_client_number(argv[3], INTERVAL_US_MAX) * 1000;
    const struct sched_param priority = {.sched_priority = PRIORITY};
    put_words(&probe, argv + 4, argc - 4);
    probe.fd = nadb_client_connect(argv[1], argv[2]);
    const struct timeval limit = {.tv_sec = ANSWER_S_MAX};
    if (setsockopt(probe.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0) {
        nadb_client_give_up("SO_RCVTIMEO");
    }
    learn(&probe);
    probe.is_prompt = sched_setscheduler(0, SCHED_FIFO, &priority) == 0;
    printf("ready%s\n", probe.is_prompt ? "" : ", without real-time priority");
    (void)fflush(stdout); /* who waits for it notices */
    run(&probe, interval_ns);
    for (size_t i = 0; i < probe.count; i++) {
        printf("%.6f %.6f\n", (double)probe.looks[i].due_ns / 1e9,
            (double)probe.looks[i].took_ns / 1e9);
    }
    printf("late %llu %.6f\n", (unsigned long long)probe.late_count, (double)probe.late_ns / 1e9);
    free(probe.looks);
    close(probe.fd);
    return 0;
}
