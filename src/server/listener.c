/* This file opens listening sockets and turns those who knock into connections. */
#include "src/server/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"

#define LISTENER_MAGIC 0x4c53544eu

static const char reply_full[] = "-ERR max number of clients reached\r\n";
static const char reply_protected[] =
    "-DENIED Redis is running in protected mode because protected mode is enabled and no password "
    "is set for the default user. In this mode connections are only accepted from the loopback "
    "interface. If you want to connect from external computers to Redis you may adopt one of the "
    "following solutions: 1) Just disable protected mode sending the command 'CONFIG SET "
    "protected-mode no' from the loopback interface by connecting to Redis from the same host the "
    "server is running, however MAKE SURE Redis is not publicly accessible from internet if you "
    "do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just "
    "disable the protected mode by editing the Redis configuration file, and setting the protected "
    "mode option to 'no', and then restarting the server. 3) If you started the server manually "
    "just for testing, restart it with the '--protected-mode no' option. 4) Setup a an "
    "authentication password for the default user. NOTE: You only need to do one of the above "
    "things in order for the server to start accepting connections from the outside.\r\n";

/* ---- a client comes ---- */

static void format_address(
    const struct sockaddr_storage *address, char *text, size_t text_size, bool *ret_is_loopback)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    *ret_is_loopback = false;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip)); /* the buffer is large enough */
        port = ntohs(in->sin_port);
        *ret_is_loopback = (ntohl(in->sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
        (void)snprintf(text, text_size, "%s:%u", ip, port);
        return;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    (void)inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip)); /* as above */
    port = ntohs(in6->sin6_port);
    *ret_is_loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    (void)snprintf(text, text_size, "[%s]:%u", ip, port);
}

static void describe_peer(const struct nadb_listener *listener, int fd,
    const struct sockaddr_storage *address, struct nadb_conn_peer *ret)
{
    *ret = (struct nadb_conn_peer){.is_unix = listener->is_unix};
    if (listener->is_unix) {
        (void)snprintf(ret->addr, sizeof(ret->addr), "%s:0", listener->owner->unix_path);
        (void)snprintf(ret->laddr, sizeof(ret->laddr), "%s:0", listener->owner->unix_path);
        ret->is_loopback = true;
        return;
    }
    format_address(address, ret->addr, sizeof(ret->addr), &ret->is_loopback);
    struct sockaddr_storage local = {0};
    socklen_t len = sizeof(local);
    bool is_local_loopback;
    if (getsockname(fd, (struct sockaddr *)&local, &len) == 0) {
        format_address(&local, ret->laddr, sizeof(ret->laddr), &is_local_loopback);
    }
}

/* What the kernel refuses here only costs speed or lets a dead peer stay longer. */
static void tune_socket(int fd, uint64_t keepalive_s)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (keepalive_s == 0) {
        return;
    }
    int idle = keepalive_s < INT16_MAX ? (int)keepalive_s : INT16_MAX; /* the kernel's maximum */
    int interval = idle > 3 ? idle / 3 : 1;
    int count = 3;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* NULL when the client may come in. */
static const char *find_refusal(
    const struct nadb_listeners *listeners, const struct nadb_conn_peer *peer)
{
    const struct nadb_conns *conns = listeners->conns;
    const struct nadb_config *config = conns->server->config;
    size_t count_max = (size_t)config->maxclients + (peer->is_unix ? NADB_LISTENER_ADMIN_MAX : 0);
    if (conns->count >= count_max) {
        return reply_full;
    }
    if (config->protected_mode && config->requirepass[0] == '\0' && !peer->is_loopback) {
        return reply_protected;
    }
    return NULL;
}

static void admit_client(
    struct nadb_listener *listener, int fd, const struct sockaddr_storage *address)
{
    struct nadb_conns *conns = listener->owner->conns;
    struct nadb_server *server = conns->server;
    struct nadb_conn_peer peer;
    describe_peer(listener, fd, address, &peer);
    const char *refusal = find_refusal(listener->owner, &peer);
    if (refusal != NULL) {
        nadb_log(NADB_LOG_VERBOSE, "Client %s refused: %.34s", peer.addr, refusal + 1);
        server->counters.connections_rejected++;
        ssize_t sent = write(fd, refusal, strlen(refusal)); /* fits a new socket, or is lost */
        (void)sent;
        (void)close(fd); /* the client is unknown: there is nobody to tell */
        return;
    }
    if (!listener->is_unix) {
        tune_socket(fd, server->config->tcp_keepalive);
    }
    if (nadb_conn_new(conns, fd, &peer) != NULL) {
        server->counters.connections_received++;
        nadb_log(NADB_LOG_DEBUG, "Client %s accepted", peer.addr);
    }
}

static void stop_one(struct nadb_listener *listener)
{
    (void)uv_poll_stop(&listener->poll); /* cannot fail */
}

static void on_knock(uv_poll_t *handle, int status, int events);

static void start_one(struct nadb_listener *listener)
{
    int rc = uv_poll_start(&listener->poll, UV_READABLE, on_knock);
    NADB_ASSERT(rc == 0); /* fails only when another handle watches the descriptor */
}

/* True for errors of accept(2) that say nothing about the next client. */
static bool is_passing(int error)
{
    return error == EINTR || error == ECONNABORTED || error == EPROTO || error == EPERM;
}

static void on_knock(uv_poll_t *handle, int status, int events)
{
    (void)status; /* accept(2) tells what is wrong with the socket */
    (void)events;
    struct nadb_listener *listener;
    NADB_CAST(listener, handle->data, LISTENER_MAGIC);
    struct nadb_listeners *owner = listener->owner;
    for (unsigned i = 0; i < NADB_LISTENER_ACCEPT_MAX; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof(address);
        int fd =
            accept4(listener->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            owner->has_warned = false;
            admit_client(listener, fd, &address);
            continue;
        }
        if (errno == EAGAIN) {
            return;
        }
        if (is_passing(errno)) {
            continue;
        }
        /* No descriptors or memory: the clients wait in the backlog until the next retry. */
        if (!owner->has_warned) {
            nadb_log(NADB_LOG_WARNING, "Accepting clients: %s; trying again", strerror(errno));
            owner->has_warned = true;
        }
        nadb_listeners_stop(owner);
        return;
    }
}

/* ---- opening ---- */

static enum nadb_err add_listener(
    struct nadb_listeners *listeners, int fd, bool is_unix, struct nadb_error *reterr)
{
    if (listeners->count == NADB_LISTENER_MAX) {
        (void)close(fd); /* never used */
        return nadb_error_set(
            reterr, NADB_ELIMIT, 0, "bind: more than %u addresses", NADB_LISTENER_MAX);
    }
    struct nadb_listener *listener = &listeners->items[listeners->count];
    int rc = uv_poll_init(listeners->conns->uv, &listener->poll, fd);
    if (rc != 0) {
        (void)close(fd); /* never used */
        return nadb_error_set(reterr, NADB_EIO, -rc, "listening socket");
    }
    listener->magic = LISTENER_MAGIC;
    listener->owner = listeners;
    listener->fd = fd;
    listener->is_unix = is_unix;
    listener->poll.data = listener;
    listeners->count++;
    return NADB_OK;
}

/* Returns the socket, or -1 with errno. */
static int open_tcp(const struct addrinfo *info, int backlog)
{
    int fd = socket(
        info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    bool is_ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    if (info->ai_family == AF_INET6) {
        is_ok = is_ok && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
    }
    is_ok = is_ok && bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, backlog) == 0;
    if (!is_ok) {
        int error = errno;
        (void)close(fd); /* never used */
        errno = error;
        return -1;
    }
    return fd;
}

static void note_port(struct nadb_server *server, int fd)
{
    struct sockaddr_storage local = {0};
    socklen_t len = sizeof(local);
    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0) {
        return;
    }
    server->tcp_port = local.ss_family == AF_INET
                           ? ntohs(((struct sockaddr_in *)(void *)&local)->sin_port)
                           : ntohs(((struct sockaddr_in6 *)(void *)&local)->sin6_port);
}

/* True for errors that say that this machine does not have such an address. */
static bool is_missing_address(int error)
{
    return error == EADDRNOTAVAIL || error == EAFNOSUPPORT || error == EPROTONOSUPPORT ||
           error == ESOCKTNOSUPPORT || error == EPFNOSUPPORT || error == ENOPROTOOPT;
}

/* `address` as in the option `bind`, without its '-'. */
static enum nadb_err listen_tcp(struct nadb_listeners *listeners, const char *address,
    bool is_optional, struct nadb_error *reterr)
{
    struct nadb_server *server = listeners->conns->server;
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)server->config->port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *infos = NULL;
    int rc = getaddrinfo(address, port, &hints, &infos);
    if (rc != 0) {
        return is_optional ? NADB_OK
                           : nadb_error_set(reterr, NADB_EIO, rc == EAI_SYSTEM ? errno : 0,
                                 "bind '%s': %s", address, gai_strerror(rc));
    }
    enum nadb_err err = NADB_OK;
    for (struct addrinfo *info = infos; info != NULL && err == NADB_OK; info = info->ai_next) {
        int fd = open_tcp(info, (int)server->config->tcp_backlog);
        if (fd >= 0) {
            note_port(server, fd);
            err = add_listener(listeners, fd, false, reterr);
        } else if (!is_optional || !is_missing_address(errno)) {
            err = nadb_error_set(reterr, NADB_EIO, errno, "listen on '%s' port %s", address, port);
        }
    }
    freeaddrinfo(infos);
    return err;
}

static enum nadb_err listen_word(
    struct nadb_listeners *listeners, const char *word, struct nadb_error *reterr)
{
    bool is_optional = word[0] == '-';
    const char *address = is_optional ? word + 1 : word;
    if (strcmp(address, "*") == 0) {
        address = "0.0.0.0";
    } else if (strcmp(address, "::*") == 0) {
        address = "::";
    }
    return listen_tcp(listeners, address, is_optional, reterr);
}

static enum nadb_err listen_all_tcp(struct nadb_listeners *listeners, struct nadb_error *reterr)
{
    const char *blanks = " \t";
    const char *bind_list = listeners->conns->server->config->bind;
    enum nadb_err err = NADB_OK;
    const char *at = bind_list + strspn(bind_list, blanks);
    while (*at != '\0' && err == NADB_OK) {
        size_t len = strcspn(at, blanks);
        char word[NI_MAXHOST];
        if (len >= sizeof(word)) {
            return nadb_error_set(reterr, NADB_EUSAGE, 0, "bind: an address is too long");
        }
        memcpy(word, at, len);
        word[len] = '\0';
        err = listen_word(listeners, word, reterr);
        at += len + strspn(at + len, blanks);
    }
    if (err == NADB_OK && listeners->count == 0) {
        err = nadb_error_set(
            reterr, NADB_EIO, 0, "bind '%s': this machine has no such address", bind_list);
    }
    return err;
}

/* Removes a socket that a dead process left behind, and nothing else. */
static enum nadb_err clear_unix_path(const struct sockaddr_un *address, struct nadb_error *reterr)
{
    struct stat info;
    if (lstat(address->sun_path, &info) != 0) {
        return NADB_OK; /* usually there is nothing; bind(2) reports the rest */
    }
    if (!S_ISSOCK(info.st_mode)) {
        return nadb_error_set(
            reterr, NADB_EIO, 0, "unixsocket '%s': exists and is no socket", address->sun_path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return nadb_error_set(reterr, NADB_EIO, errno, "unixsocket '%s'", address->sun_path);
    }
    int rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    bool is_dead = rc != 0 && errno == ECONNREFUSED;
    (void)close(fd); /* it was only a question */
    if (!is_dead) {
        return nadb_error_set(reterr, NADB_ELOCKED, 0, "unixsocket '%s': in use by another process",
            address->sun_path);
    }
    if (unlink(address->sun_path) != 0 && errno != ENOENT) {
        return nadb_error_set(reterr, NADB_EIO, errno, "unixsocket '%s'", address->sun_path);
    }
    return NADB_OK;
}

static enum nadb_err listen_unix(struct nadb_listeners *listeners, struct nadb_error *reterr)
{
    const struct nadb_config *config = listeners->conns->server->config;
    const char *path = config->unixsocket;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof(address.sun_path)) {
        return nadb_error_set(reterr, NADB_EUSAGE, 0, "unixsocket '%s': longer than %zu bytes",
            path, sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, path, len);
    enum nadb_err err = clear_unix_path(&address, reterr);
    if (err != NADB_OK) {
        return err;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return nadb_error_set(reterr, NADB_EIO, errno, "unixsocket '%s'", path);
    }
    bool is_ok = bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    if (is_ok) {
        listeners->unix_path = nadb_mem_strdup(path);
    }
    if (is_ok && config->unixsocketperm != 0) {
        is_ok = chmod(path, (mode_t)config->unixsocketperm) == 0;
    }
    if (!is_ok || listen(fd, (int)config->tcp_backlog) != 0) {
        int error = errno;
        (void)close(fd); /* never used */
        return nadb_error_set(reterr, NADB_EIO, error, "unixsocket '%s'", path);
    }
    return add_listener(listeners, fd, true, reterr);
}

enum nadb_err nadb_listeners_open(
    struct nadb_listeners *listeners, struct nadb_conns *conns, struct nadb_error *reterr)
{
    *listeners = (struct nadb_listeners){.conns = conns};
    const struct nadb_config *config = conns->server->config;
    enum nadb_err err = NADB_OK;
    if (config->port != 0) {
        err = listen_all_tcp(listeners, reterr);
    }
    if (err == NADB_OK && config->unixsocket[0] != '\0') {
        err = listen_unix(listeners, reterr);
    }
    if (err == NADB_OK && listeners->count == 0) {
        err = nadb_error_set(
            reterr, NADB_EUSAGE, 0, "port 0 and no unixsocket: no client could ever connect");
    }
    if (err != NADB_OK) {
        nadb_listeners_close(listeners);
    }
    return err;
}

void nadb_listeners_close(struct nadb_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        struct nadb_listener *listener = &listeners->items[i];
        uv_close((uv_handle_t *)&listener->poll, NULL);
        (void)close(listener->fd); /* clients in the backlog are turned away by the kernel */
    }
    listeners->count = 0;
    listeners->is_accepting = false;
    if (listeners->unix_path != NULL) {
        (void)unlink(listeners->unix_path); /* gone already, or left for the next start to clear */
        nadb_mem_free(listeners->unix_path);
        listeners->unix_path = NULL;
    }
}

void nadb_listeners_start(struct nadb_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        start_one(&listeners->items[i]);
    }
    listeners->is_accepting = true;
}

void nadb_listeners_stop(struct nadb_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        stop_one(&listeners->items[i]);
    }
    listeners->is_accepting = false;
}

void nadb_listeners_retry(struct nadb_listeners *listeners)
{
    if (!listeners->is_accepting) {
        nadb_listeners_start(listeners);
    }
}

int64_t nadb_listeners_limit(int64_t maxclients)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return maxclients;
    }
    rlim_t wanted = (rlim_t)maxclients + NADB_LISTENER_ADMIN_MAX + NADB_LISTENER_RESERVE;
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {
            .rlim_cur = wanted,
            .rlim_max = wanted > limit.rlim_max ? wanted : limit.rlim_max,
        };
        /* Raising the hard limit needs a privilege; without it, up to where it is. */
        if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
            raised.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
            raised.rlim_max = limit.rlim_max;
            if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
                raised = limit;
            }
        }
        limit = raised;
    }
    if (limit.rlim_cur >= wanted) {
        return maxclients;
    }
    rlim_t taken = NADB_LISTENER_ADMIN_MAX + NADB_LISTENER_RESERVE;
    return limit.rlim_cur > taken ? (int64_t)(limit.rlim_cur - taken) : 1;
}
