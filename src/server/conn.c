/* This file reads a client's commands, has them run and writes the replies. */
#include "src/server/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/server/conns.h"
#include "src/server/dispatch.h"
#include "src/server/window.h"

/* ---- what is watched ---- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void watch(struct nadb_conn *conn, int events)
{
    if (events == conn->poll_events) {
        return;
    }
    conn->poll_events = events;
    int rc = events == 0 ? uv_poll_stop(&conn->poll) : uv_poll_start(&conn->poll, events, on_poll);
    NADB_ASSERT(rc == 0); /* fails only when another handle watches the descriptor */
}

static bool may_read(const struct nadb_conn *conn)
{
    return conn->state == NADB_CONN_READING && !conn->client.is_closing && !conn->conns->is_paused;
}

static void mark_dirty(struct nadb_conn *conn)
{
    if (nadb_list_is_empty(&conn->in_dirty)) {
        nadb_list_append(&conn->conns->dirty, &conn->in_dirty);
    }
}

/* Brings the connection's part of the common memory up to date. */
static void account(struct nadb_conn *conn)
{
    struct nadb_conns *conns = conn->conns;
    const struct nadb_client *client = &conn->client;
    size_t bytes = conn->input.cap + nadb_resp_reader_bytes(&conn->reader) + client->out.buf.cap +
                   client->queue_bytes + client->watcher.bytes + client->subscriber.bytes +
                   client->progress_bytes + client->holds_cap * sizeof(*client->holds) +
                   client->attached.len + nadb_window_bytes(client);
    conns->bytes += bytes - conn->accounted_bytes; /* unsigned: also right downwards */
    conn->accounted_bytes = bytes;
    if (conn->input.len > conns->input_peak) {
        conns->input_peak = conn->input.len;
    }
    if (client->out.buf.len > conns->output_peak) {
        conns->output_peak = client->out.buf.len;
    }
}

/* ---- life cycle ---- */

struct nadb_conn *nadb_conn_new(struct nadb_conns *conns, int fd, const struct nadb_conn_peer *peer)
{
    struct nadb_conn *conn = nadb_mem_zalloc(sizeof(*conn));
    int rc = uv_poll_init(conns->uv, &conn->poll, fd);
    if (rc != 0) {
        nadb_log(NADB_LOG_WARNING, "Client %s refused: %s", peer->addr, uv_strerror(rc));
        (void)close(fd); /* nothing was written: there is nothing to lose */
        nadb_mem_free(conn);
        return NULL;
    }
    conn->magic = NADB_CONN_MAGIC;
    conn->state = NADB_CONN_READING;
    conn->conns = conns;
    conn->poll.data = conn;
    nadb_list_init(&conn->in_all);
    nadb_list_init(&conn->in_queue);
    nadb_list_init(&conn->in_dirty);
    nadb_list_init(&conn->in_held);
    nadb_resp_reader_init(&conn->reader);
    nadb_buf_init(&conn->input, (size_t)conns->server->config->client_query_buffer_limit);
    conn->active_ms = uv_now(conns->uv);

    struct nadb_client *client = &conn->client;
    client->fd = fd;
    client->is_unix = peer->is_unix;
    client->is_loopback = peer->is_loopback;
    memcpy(client->addr, peer->addr, sizeof(client->addr));
    memcpy(client->laddr, peer->laddr, sizeof(client->laddr));
    nadb_client_init(client, conns->server, nadb_conns_output_max(conns));

    nadb_list_append(&conns->all, &conn->in_all);
    conns->count++;
    watch(conn, UV_READABLE);
    return conn;
}

static void on_closed(uv_handle_t *handle)
{
    struct nadb_conn *conn;
    NADB_CAST(conn, handle->data, NADB_CONN_MAGIC);
    conn->magic = 0;
    nadb_mem_free(conn);
}

/* A socket closed with unread input is reset, and a reset takes the last reply away from a client
 * that has not read it yet. What has arrived so far is therefore thrown away first. */
static void drain_socket(int fd)
{
    char scrap[4096];
    size_t left = NADB_CONN_DRAIN_BYTES;
    while (left >= sizeof(scrap)) {
        ssize_t count = recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT);
        if (count <= 0) {
            return;
        }
        left -= sizeof(scrap);
    }
}

void nadb_conn_close(struct nadb_conn *conn)
{
    NADB_ASSERT(conn->magic == NADB_CONN_MAGIC);
    if (uv_is_closing((uv_handle_t *)&conn->poll)) {
        return;
    }
    struct nadb_conns *conns = conn->conns;
    nadb_log(NADB_LOG_DEBUG, "Client %s closed", conn->client.addr);
    nadb_list_remove(&conn->in_all);
    nadb_list_remove(&conn->in_queue);
    nadb_list_remove(&conn->in_dirty);
    nadb_list_remove(&conn->in_held);
    conns->count--;
    conns->bytes -= conn->accounted_bytes;

    int fd = conn->client.fd;
    conn->client.out.buf.len = 0;
    nadb_conns_give_buffer(conns, &conn->client.out.buf);
    nadb_client_fini(&conn->client);
    nadb_buf_fini(&conn->input);
    nadb_resp_reader_fini(&conn->reader);

    uv_close((uv_handle_t *)&conn->poll, on_closed);
    (void)close(fd); /* a socket's close has nothing left to report */
}

/* ---- output ---- */

bool nadb_conn_note_output(struct nadb_conn *conn)
{
    struct nadb_conns *conns = conn->conns;
    struct nadb_client *client = &conn->client;
    if (NADB_UNLIKELY(client->out.is_full)) {
        nadb_log(NADB_LOG_WARNING, "Client id=%llu addr=%s closed: output buffer limit reached",
            (unsigned long long)client->id, client->addr);
        conns->server->counters.output_limit_disconnections++;
        nadb_conn_close(conn);
        return false;
    }
    if (client->holds_count > 0 && nadb_list_is_empty(&conn->in_held)) {
        nadb_list_append(&conns->held, &conn->in_held);
    }
    if (client->is_closing || nadb_client_sendable(client) > conn->written) {
        mark_dirty(conn);
    }
    account(conn);
    return true;
}

/* Lets go of what the kernel has taken. Bytes that stay behind are moved down only when they are
 * the smaller part, so that a slow reader of much costs no more than a fast one. */
static void drop_written(struct nadb_conn *conn)
{
    struct nadb_client *client = &conn->client;
    if (conn->written == 0 || conn->written < client->out.buf.len - conn->written) {
        return;
    }
    nadb_client_sent(client, conn->written);
    conn->written = 0;
    if (client->out.buf.len == 0) {
        nadb_conns_give_buffer(conn->conns, &client->out.buf);
    }
}

/* What may be sent now: at most three pieces, in `pieces`; returns how many bytes. */
static size_t list_pieces(struct nadb_conn *conn, struct iovec pieces[3], int *ret_count)
{
    struct nadb_client *client = &conn->client;
    const struct nadb_attachment *attached = &client->attached;
    char *data = client->out.buf.data;
    size_t end = nadb_client_sendable(client);
    size_t before = attached->blob == NULL ? end : attached->at;
    size_t len = end - conn->written;
    *ret_count = 0;
    if (before > conn->written) {
        pieces[(*ret_count)++] = (struct iovec){data + conn->written, before - conn->written};
    }
    if (attached->blob != NULL) {
        len += attached->len - attached->sent;
        pieces[(*ret_count)++] =
            (struct iovec){attached->blob->data + attached->sent, attached->len - attached->sent};
        pieces[(*ret_count)++] = (struct iovec){data + before, end - before};
    }
    return len;
}

/* The kernel has taken `count` bytes. */
static void note_written(struct nadb_conn *conn, size_t count)
{
    struct nadb_client *client = &conn->client;
    if (client->attached.blob != NULL) {
        size_t before = client->attached.at - conn->written;
        before = count < before ? count : before;
        size_t left = client->attached.len - client->attached.sent;
        size_t of_it = count - before < left ? count - before : left;
        nadb_client_attachment_sent(client, of_it);
        count -= of_it;
    }
    conn->written += count;
}

/* False when the socket is broken. */
static bool write_once(struct nadb_conn *conn)
{
    struct nadb_client *client = &conn->client;
    struct iovec pieces[3];
    int piece_count;
    size_t len = list_pieces(conn, pieces, &piece_count);
    if (len == 0) {
        return true;
    }
    ssize_t count = NADB_LIKELY(piece_count == 1)
                        ? send(client->fd, pieces[0].iov_base, pieces[0].iov_len, 0)
                        : writev(client->fd, pieces, piece_count);
    if (count < 0) {
        conn->is_write_blocked = true; /* if only by a signal, the socket is found ready at once */
        return errno == EAGAIN || errno == EINTR;
    }
    struct nadb_server_counters *counters = &conn->conns->server->counters;
    counters->writes_processed++;
    counters->net_output_bytes += (uint64_t)count;
    conn->active_ms = uv_now(conn->conns->uv);
    conn->is_write_blocked = (size_t)count < len;
    note_written(conn, (size_t)count);
    drop_written(conn);
    return true;
}

/* A client that must give a password first, and has not. */
static bool is_guest(const struct nadb_conn *conn)
{
    return NADB_UNLIKELY(!conn->client.is_authenticated) &&
           conn->conns->server->config->requirepass[0] != '\0';
}

static size_t output_soft_max(const struct nadb_conn *conn)
{
    if (is_guest(conn)) {
        return NADB_CONN_OUTPUT_SOFT_GUEST;
    }
    const struct nadb_conns *conns = conn->conns;
    return conns->bytes > conns->bytes_max / 2 ? NADB_CONN_OUTPUT_SOFT_TIGHT
                                               : NADB_CLIENT_OUTPUT_SOFT;
}

static bool is_output_long(const struct nadb_conn *conn)
{
    return nadb_conn_unsent(conn) > output_soft_max(conn);
}

void nadb_conn_flush(struct nadb_conn *conn)
{
    struct nadb_client *client = &conn->client;
    if (!conn->is_write_blocked && !write_once(conn)) {
        nadb_conn_close(conn);
        return;
    }
    if (client->is_closing && nadb_conn_unsent(conn) == 0) {
        drain_socket(client->fd);
        nadb_conn_close(conn);
        return;
    }
    if (conn->state == NADB_CONN_BLOCKED && !is_output_long(conn)) {
        conn->state = NADB_CONN_QUEUED;
        nadb_list_append(&conn->conns->queue, &conn->in_queue);
    }
    int readable = conn->poll_events & UV_READABLE;
    watch(conn, conn->is_write_blocked ? readable | UV_WRITABLE : readable);
    account(conn);
}

/* ---- running commands ---- */

static void queue_conn(struct nadb_conn *conn, enum nadb_conn_state state)
{
    struct nadb_conns *conns = conn->conns;
    conn->state = state;
    if (state == NADB_CONN_QUEUED) {
        nadb_list_append(&conns->queue, &conn->in_queue);
    } else if (state == NADB_CONN_WAITING) {
        nadb_list_append(&conns->waiting, &conn->in_queue);
    }
}

static struct nadb_resp_limits resp_limits(const struct nadb_conn *conn)
{
    if (is_guest(conn)) {
        return (struct nadb_resp_limits){
            .bulk_len_max = NADB_CONN_GUEST_BULK_MAX,
            .args_max = NADB_CONN_GUEST_ARGS_MAX,
            .is_unauthenticated = true,
        };
    }
    return (struct nadb_resp_limits){
        .bulk_len_max = (size_t)conn->conns->server->config->proto_max_bulk_len,
        .args_max = NADB_RESP_ARGS_MAX,
    };
}

static void refuse_protocol(struct nadb_conn *conn)
{
    struct nadb_server *server = conn->conns->server;
    struct nadb_client *client = &conn->client;
    nadb_log(NADB_LOG_VERBOSE, "Client id=%llu addr=%s: %s", (unsigned long long)client->id,
        client->addr, conn->reader.error);
    server->counters.error_replies++;
    nadb_cmdstats_error(server->cmdstats, NADB_SLICE("-ERR "));
    if (client->reply_mode != NADB_REPLY_OFF) {
        nadb_resp_error(&client->out, "ERR %s", conn->reader.error);
    }
    client->is_closing = true;
}

/* What is left of some input: `again` first, then `bytes`. */
struct rest {
    struct nadb_resp_writer again; /* commands that cannot be parsed a second time, in clean form */
    char *bytes;
    size_t len;
};

/* Commands of the group from `first` on are left for later. An inline command has been unquoted
 * where it lies and must not be parsed once more: then all of them are written anew. */
static void put_back(struct rest *rest, const struct nadb_resp_group *group, size_t first)
{
    size_t begin = group->cmds[first].begin;
    size_t end = group->cmds[group->count - 1].end;
    bool has_inline = false;
    for (size_t i = first; i < group->count; i++) {
        has_inline |= rest->bytes[group->cmds[i].begin] != '*';
    }
    if (!has_inline) {
        rest->bytes += begin;
        rest->len -= begin;
        return;
    }
    for (size_t i = first; i < group->count; i++) {
        nadb_resp_array(&rest->again, group->cmds[i].argc);
        for (size_t arg = 0; arg < group->cmds[i].argc; arg++) {
            nadb_resp_bulk(&rest->again, group->cmds[i].argv[arg]);
        }
    }
    rest->bytes += end;
    rest->len -= end;
}

/* Runs one group. False: nothing more is to be run now. */
static bool run_group(struct nadb_conn *conn, struct rest *rest)
{
    struct nadb_conns *conns = conn->conns;
    struct nadb_client *client = &conn->client;
    struct nadb_resp_group *group = &conns->group;
    struct nadb_resp_limits limits = resp_limits(conn);
    size_t used = 0;
    enum nadb_resp_status parsed =
        nadb_resp_reader_parse(&conn->reader, &limits, rest->bytes, rest->len, group, &used);
    if (group->count > 0) {
        size_t done = 0;
        enum nadb_dispatch_status status = nadb_dispatch_group(conns->server, client, group, &done);
        if (status == NADB_DISPATCH_CLOSE || client->is_closing) {
            return false;
        }
        if (done < group->count) {
            nadb_resp_reader_reset(&conn->reader);
            put_back(rest, group, done);
            queue_conn(conn, status == NADB_DISPATCH_WAIT ? NADB_CONN_WAITING : NADB_CONN_QUEUED);
            return false;
        }
    }
    if (parsed == NADB_RESP_BAD && limits.is_unauthenticated && !is_guest(conn)) {
        /* AUTH was in this group: what follows it is held to other limits. */
        nadb_resp_reader_reset(&conn->reader);
        parsed = NADB_RESP_READY;
    }
    rest->bytes += used;
    rest->len -= used;
    if (parsed == NADB_RESP_BAD) {
        refuse_protocol(conn);
        return false;
    }
    return parsed == NADB_RESP_READY && rest->len > 0;
}

/* Runs commands until the input or the connection's share of the turn is used up. */
static void run_commands(struct nadb_conn *conn, struct rest *rest)
{
    struct nadb_conns *conns = conn->conns;
    struct nadb_clock *clock = conns->server->clock;
    uint64_t end_us = 0; /* read only when there is more than one group */
    if (conn->client.out.buf.cap == 0) {
        nadb_conns_take_buffer(conns, &conn->client.out.buf);
    }
    conn->state = NADB_CONN_READING;
    for (;;) {
        if (is_output_long(conn)) {
            queue_conn(conn, NADB_CONN_BLOCKED);
            return;
        }
        if (!run_group(conn, rest)) {
            return;
        }
        uint64_t now_us = nadb_clock_mono_us(clock);
        if (end_us == 0) {
            end_us = now_us + NADB_CONN_TURN_US;
        }
        if (now_us >= end_us || conns->is_paused) {
            queue_conn(conn, NADB_CONN_QUEUED);
            return;
        }
    }
}

static void refuse_input(struct nadb_conn *conn)
{
    nadb_log(NADB_LOG_WARNING, "Client id=%llu addr=%s closed: query buffer limit reached",
        (unsigned long long)conn->client.id, conn->client.addr);
    conn->conns->server->counters.query_limit_disconnections++;
    nadb_conn_close(conn);
}

/* Makes `rest`, which may lie in `input` itself, the new `input`. False: it passed the limit. */
static bool keep_rest(struct nadb_conn *conn, struct rest *rest)
{
    struct nadb_buf *input = &conn->input;
    if (rest->again.buf.len > 0 || rest->again.is_full) {
        nadb_resp_raw(&rest->again, nadb_slice_of(rest->bytes, rest->len));
        if (rest->again.is_full) {
            return false;
        }
        nadb_buf_fini(input);
        *input = rest->again.buf;
        rest->again.buf = (struct nadb_buf){0};
        return true;
    }
    if (input->len > 0) {
        nadb_buf_consume(input, input->len - rest->len);
        nadb_buf_shrink_empty(input, 0);
        return true;
    }
    return nadb_buf_append(input, rest->bytes, rest->len);
}

/* `bytes` is either all of `input` or, when that is empty, the common read buffer. */
static void run_input(struct nadb_conn *conn, char *bytes, size_t len)
{
    struct rest rest = {.bytes = bytes, .len = len};
    nadb_resp_writer_init(&rest.again, conn->input.cap_max);
    run_commands(conn, &rest);
    nadb_store_client_end(conn->conns->server->store);
    if (conn->client.is_closing) {
        rest.len = 0; /* what follows is not run */
        rest.again.buf.len = 0;
    }
    bool is_kept = keep_rest(conn, &rest);
    nadb_resp_writer_fini(&rest.again);
    conn->client.query_bytes = conn->input.len;
    if (!is_kept) {
        refuse_input(conn);
        return;
    }
    if (!nadb_conn_note_output(conn)) {
        return;
    }
    if (may_read(conn)) {
        watch(conn, conn->poll_events | UV_READABLE);
    }
}

void nadb_conn_run(struct nadb_conn *conn)
{
    NADB_ASSERT(conn->state == NADB_CONN_QUEUED);
    if (conn->client.is_closing) {
        conn->state = NADB_CONN_READING;
        mark_dirty(conn);
        return;
    }
    run_input(conn, conn->input.data, conn->input.len);
}

/* ---- input ---- */

/* Room behind `input` for more of an unfinished command. It grows with what has arrived: an
 * announced length alone allocates nothing. False: beyond the limit. */
static bool reserve_input(struct nadb_conn *conn, size_t *ret_room)
{
    struct nadb_buf *input = &conn->input;
    size_t missing = conn->reader.want > input->len ? conn->reader.want - input->len : 1;
    size_t extra = missing < input->len ? missing : input->len;
    if (extra < NADB_CONN_GROW_BYTES) {
        extra = NADB_CONN_GROW_BYTES;
    }
    size_t left = input->cap_max - input->len;
    if (!nadb_buf_reserve(input, extra < left ? extra : left) || left == 0) {
        return false;
    }
    size_t room = input->cap - input->len;
    size_t most = missing > NADB_CONN_READ_BYTES ? missing : NADB_CONN_READ_BYTES;
    *ret_room = room < most ? room : most;
    return true;
}

static void end_input(struct nadb_conn *conn, ssize_t count, int error)
{
    if (count < 0 && (error == EAGAIN || error == EINTR)) {
        return;
    }
    if (count < 0) {
        nadb_conn_close(conn);
        return;
    }
    /* The client may have closed only its own direction: it still gets its replies. */
    conn->client.is_closing = true;
    mark_dirty(conn);
}

static void read_input(struct nadb_conn *conn)
{
    struct nadb_conns *conns = conn->conns;
    if (!may_read(conn)) {
        watch(conn, conn->poll_events & ~UV_READABLE);
        return;
    }
    if (nadb_conns_is_over_budget(conns)) {
        return; /* the end of this turn makes room, and the socket reports its bytes again */
    }
    bool is_common = conn->input.len == 0;
    size_t room = NADB_CONN_READ_BYTES;
    if (!is_common && !reserve_input(conn, &room)) {
        refuse_input(conn);
        return;
    }
    char *to = is_common ? conns->read_buffer : conn->input.data + conn->input.len;
    /* recv, as send above: read goes through the layer for files, which costs 4 % of a GET. */
    ssize_t count = recv(conn->client.fd, to, room, 0);
    if (count <= 0) {
        end_input(conn, count, errno);
        return;
    }
    struct nadb_server_counters *counters = &conns->server->counters;
    counters->reads_processed++;
    counters->net_input_bytes += (uint64_t)count;
    conn->client.net_input_bytes += (uint64_t)count;
    conn->active_ms = uv_now(conns->uv);
    if (is_common) {
        run_input(conn, to, (size_t)count);
    } else {
        conn->input.len += (size_t)count;
        run_input(conn, conn->input.data, conn->input.len);
    }
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct nadb_conn *conn;
    NADB_CAST(conn, handle->data, NADB_CONN_MAGIC);
    conn->conns->begin_turn(conn->conns->ctx);
    if (status < 0) {
        nadb_conn_close(conn); /* reset by the peer */
        return;
    }
    if (events & UV_WRITABLE) {
        conn->is_write_blocked = false;
        mark_dirty(conn);
    }
    if (events & UV_READABLE) {
        read_input(conn);
    }
}

void nadb_conn_resume(struct nadb_conn *conn)
{
    if (may_read(conn)) {
        watch(conn, conn->poll_events | UV_READABLE);
    }
}

/* ---- housekeeping ---- */

/* That of the client's class. */
static const struct nadb_output_limit *output_limit(const struct nadb_conn *conn)
{
    bool is_subscriber = nadb_subscriber_count(&conn->client.subscriber) > 0;
    return &conn->conns->server->config->client_output_buffer_limit
                .classes[is_subscriber ? NADB_OUTPUT_PUBSUB : NADB_OUTPUT_NORMAL];
}

void nadb_conn_note_pushed(struct nadb_conn *conn)
{
    uint64_t hard_bytes = output_limit(conn)->hard_bytes;
    bool is_over = hard_bytes > 0 && nadb_conn_unsent(conn) > hard_bytes;
    conn->client.out.is_full = conn->client.out.is_full || is_over;
    (void)nadb_conn_note_output(conn); /* closed or not, nothing more is done with it here */
}

static bool is_soft_limit_over(struct nadb_conn *conn, uint64_t now_ms)
{
    const struct nadb_output_limit *limit = output_limit(conn);
    if (limit->soft_bytes == 0 || nadb_conn_unsent(conn) <= limit->soft_bytes) {
        conn->over_soft_ms = 0;
        return false;
    }
    if (conn->over_soft_ms == 0) {
        conn->over_soft_ms = now_ms;
    }
    return now_ms - conn->over_soft_ms >= limit->soft_s * 1000;
}

void nadb_conn_tick(struct nadb_conn *conn, uint64_t now_ms)
{
    struct nadb_server *server = conn->conns->server;
    const struct nadb_client *client = &conn->client;
    uint64_t idle_ms = now_ms - conn->active_ms;
    account(conn);
    if (client->is_closing && conn->is_write_blocked && idle_ms >= NADB_CONN_LINGER_MS) {
        nadb_conn_close(conn);
        return;
    }
    if (is_soft_limit_over(conn, now_ms)) {
        nadb_log(NADB_LOG_WARNING, "Client id=%llu addr=%s closed: soft output limit reached",
            (unsigned long long)client->id, client->addr);
        server->counters.output_limit_disconnections++;
        nadb_conn_close(conn);
        return;
    }
    bool is_idle = conn->state == NADB_CONN_READING || conn->state == NADB_CONN_BLOCKED;
    bool is_listening = nadb_subscriber_count(&client->subscriber) > 0;
    if (server->config->timeout > 0 && is_idle && !is_listening && client->holds_count == 0 &&
        idle_ms / 1000 >= server->config->timeout) {
        nadb_log(NADB_LOG_VERBOSE, "Client id=%llu addr=%s closed: idle",
            (unsigned long long)client->id, client->addr);
        nadb_conn_close(conn);
    }
}
