/* This file starts and ends redis-server for tests. */
#include "tests/support/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/parse.h"

#define START_MS  10000
#define POLL_MS   10
#define WORDS_MAX 40

/* A cluster's second port is the first and this. */
#define BUS_OFFSET 10000
#define PORT_MAX   (65535 - BUS_OFFSET)

static void pause_shortly(void)
{
    (void)poll(NULL, 0, POLL_MS); /* nothing but a pause between two looks */
}

/* A port that was free just now; 0: the kernel gave one that is too high. */
static unsigned find_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    NADB_ASSERT(fd >= 0);
    NADB_ASSERT(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    NADB_ASSERT(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    (void)close(fd); /* it was only bound */
    unsigned port = ntohs(address.sin_port);
    return port <= PORT_MAX ? port : 0;
}

static pid_t spawn(const char *const *words, const char *dir, int out)
{
    pid_t pid = fork();
    NADB_ASSERT(pid >= 0);
    if (pid > 0) {
        return pid;
    }
    int null = open("/dev/null", O_RDWR);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || null < 0 || (dir != NULL && chdir(dir) != 0) ||
        dup2(null, STDIN_FILENO) < 0 || dup2(out >= 0 ? out : null, STDOUT_FILENO) < 0 ||
        dup2(null, STDERR_FILENO) < 0) {
        _exit(127);
    }
    char *arguments[WORDS_MAX + 1] = {NULL};
    for (size_t i = 0; words[i] != NULL && i < WORDS_MAX; i++) {
        arguments[i] = strdup(words[i]);
    }
    (void)execvp(arguments[0], arguments); /* comes back only when it failed */
    _exit(127);
}

bool nadb_engine_exists(void)
{
    const char *const programs[] = {"redis-server", "redis-cli"};
    bool is_there = true;
    for (size_t i = 0; i < 2; i++) {
        const char *words[] = {programs[i], "--version", NULL};
        int status = -1;
        pid_t pid = spawn(words, NULL, -1);
        NADB_ASSERT(waitpid(pid, &status, 0) == pid);
        is_there = is_there && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return is_there;
}

void nadb_engine_ask(const struct nadb_engine *engine, const char *command, char *out, size_t cap)
{
    char port[16];
    char *copy = strdup(command);
    const char *words[WORDS_MAX + 1] = {"redis-cli", "-h", "127.0.0.1", "-p", port};
    size_t count = 5;
    int fds[2];
    NADB_ASSERT(copy != NULL && pipe2(fds, O_CLOEXEC) == 0);
    (void)snprintf(port, sizeof(port), "%u", engine->port);
    for (char *at = copy; at != NULL && *at != '\0' && count < WORDS_MAX;) {
        words[count++] = at;
        at = strchr(at, ' ');
        if (at != NULL) {
            *at++ = '\0';
        }
    }
    pid_t pid = spawn(words, NULL, fds[1]);
    (void)close(fds[1]); /* the child has its own */
    size_t len = 0;
    char rest[256];
    for (ssize_t got = 1; got != 0;) {
        bool has_room = len + 1 < cap;
        got = read(fds[0], has_room ? out + len : rest, has_room ? cap - 1 - len : sizeof(rest));
        if (got < 0) {
            NADB_ASSERT(errno == EINTR);
        } else if (has_room) {
            len += (size_t)got;
        }
    }
    out[len] = '\0';
    (void)close(fds[0]); /* it was only read */
    NADB_ASSERT(waitpid(pid, NULL, 0) == pid);
    free(copy);
}

long long nadb_engine_number(const struct nadb_engine *engine, const char *command)
{
    char out[64];
    int64_t number = -1;
    nadb_engine_ask(engine, command, out, sizeof(out));
    size_t len = strcspn(out, "\r\n");
    return nadb_parse_i64(nadb_slice_of(out, len), &number) ? (long long)number : -1;
}

/* Does it answer within the time it may take to start? */
static bool wait_until_ready(struct nadb_engine *engine)
{
    for (int i = 0; i < START_MS / POLL_MS; i++) {
        char out[64];
        nadb_engine_ask(engine, "PING", out, sizeof(out));
        if (strncmp(out, "PONG", 4) == 0) {
            return true;
        }
        int status;
        if (waitpid(engine->pid, &status, WNOHANG) == engine->pid) {
            engine->pid = 0;
            return false; /* the port was taken meanwhile */
        }
        pause_shortly();
    }
    return false;
}

static void spawn_server(struct nadb_engine *engine)
{
    char port[16];
    (void)snprintf(port, sizeof(port), "%u", engine->port);
    const char *words[WORDS_MAX + 1] = {"redis-server", "--port", port, "--bind", "127.0.0.1",
        "--save", "", "--appendonly", "yes", "--appendfsync", "no", "--daemonize", "no",
        "--enable-debug-command", "yes", "--loglevel", "warning", "--repl-diskless-sync-delay", "0",
        "--unixsocket", "engine.sock"};
    if (engine->is_cluster) {
        size_t count = 0;
        while (words[count] != NULL) {
            count++;
        }
        words[count++] = "--cluster-enabled";
        words[count++] = "yes";
        words[count++] = "--cluster-node-timeout";
        words[count++] = "1000";
    }
    engine->pid = spawn(words, engine->dir.path, -1);
}

void nadb_engine_start(struct nadb_engine *engine)
{
    spawn_server(engine);
    NADB_ASSERT(wait_until_ready(engine));
}

void nadb_engine_make(struct nadb_engine *engine, bool is_cluster)
{
    *engine = (struct nadb_engine){.is_cluster = is_cluster};
    nadb_tmpdir_make(&engine->dir);
    for (int tries = 0; tries < 50; tries++) {
        engine->port = find_port();
        if (engine->port == 0) {
            continue;
        }
        spawn_server(engine);
        if (wait_until_ready(engine)) {
            break;
        }
        nadb_engine_kill(engine);
    }
    NADB_ASSERT(engine->pid > 0);
    (void)snprintf(engine->url, sizeof(engine->url), "redis://127.0.0.1:%u", engine->port);
}

void nadb_engine_kill(struct nadb_engine *engine)
{
    if (engine->pid > 0) {
        (void)kill(engine->pid, SIGKILL); /* fails only when it has ended by itself */
        NADB_ASSERT(waitpid(engine->pid, NULL, 0) == engine->pid);
        engine->pid = 0;
    }
}

void nadb_engine_freeze(struct nadb_engine *engine, bool is_frozen)
{
    NADB_ASSERT(kill(engine->pid, is_frozen ? SIGSTOP : SIGCONT) == 0);
}

void nadb_engine_remove(struct nadb_engine *engine)
{
    nadb_engine_kill(engine);
    nadb_tmpdir_remove(&engine->dir);
}

/* ---- a cluster ---- */

static void wait_for_text(const struct nadb_engine *engine, const char *command, const char *text)
{
    char out[4096];
    for (int i = 0; i < 3 * START_MS / POLL_MS; i++) {
        nadb_engine_ask(engine, command, out, sizeof(out));
        if (strstr(out, text) != NULL) {
            return;
        }
        pause_shortly();
    }
    NADB_ASSERT(false);
}

void nadb_engine_make_cluster(struct nadb_engine engines[NADB_ENGINE_CLUSTER_COUNT])
{
    char command[512] = "--cluster create";
    size_t len = strlen(command);
    char out[8192];
    for (size_t i = 0; i < NADB_ENGINE_CLUSTER_COUNT; i++) {
        nadb_engine_make(&engines[i], true);
        len += (size_t)snprintf(
            command + len, sizeof(command) - len, " 127.0.0.1:%u", engines[i].port);
    }
    (void)snprintf(command + len, sizeof(command) - len, " --cluster-yes --cluster-replicas 1");
    nadb_engine_ask(&engines[0], command, out, sizeof(out));
    for (size_t i = 0; i < NADB_ENGINE_CLUSTER_COUNT; i++) {
        wait_for_text(&engines[i], "CLUSTER INFO", "cluster_state:ok");
        char role[64];
        nadb_engine_ask(&engines[i], "ROLE", role, sizeof(role));
        if (strncmp(role, "slave", 5) == 0) {
            wait_for_text(&engines[i], "INFO replication", "master_link_status:up");
        }
    }
}
