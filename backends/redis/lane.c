/* This file sends the calls of a run to the servers and gathers their replies. */
#include "backends/redis/lane.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

#define REDIRECTS_MAX 5u
#define SCRATCH_MAX   ((size_t)1 << 30)
#define SCRATCH_KEEP  ((size_t)1 << 20)
#define CALLS_KEEP    1024u

/* How long to wait where a slot is being moved or has no master just now. */
#define PAUSE_MS            20
#define REFRESH_INTERVAL_US UINT64_C(50000)
#define ASKING              "*1\r\n$6\r\nASKING\r\n"

void nadb_redis_lane_init(struct nadb_redis_lane *lane, struct nadb_redis_topology *topology)
{
    *lane = (struct nadb_redis_lane){.topology = topology};
    nadb_redis_out_init(&lane->out);
    nadb_buf_init(&lane->scratch, SCRATCH_MAX);
}

void nadb_redis_lane_reset(struct nadb_redis_lane *lane)
{
    for (size_t i = 0; i < lane->call_count; i++) {
        if (lane->calls[i].reply != NULL) {
            freeReplyObject(lane->calls[i].reply);
            lane->calls[i].reply = NULL;
        }
    }
    lane->call_count = 0;
    if (lane->call_cap > CALLS_KEEP) {
        nadb_mem_free(lane->calls);
        lane->calls = NULL;
        lane->call_cap = 0;
    }
    nadb_redis_out_reset(&lane->out);
    lane->scratch.len = 0;
    nadb_buf_shrink_empty(&lane->scratch, SCRATCH_KEEP);
}

void nadb_redis_lane_fini(struct nadb_redis_lane *lane)
{
    nadb_redis_lane_reset(lane);
    for (size_t i = 0; i < lane->peer_count; i++) {
        if (lane->peers[i] != NULL) {
            nadb_redis_link_close(&lane->peers[i]->link);
            nadb_mem_free(lane->peers[i]->items);
            nadb_mem_free(lane->peers[i]);
        }
    }
    nadb_mem_free(lane->peers);
    nadb_mem_free(lane->calls);
    nadb_redis_out_fini(&lane->out);
    nadb_buf_fini(&lane->scratch);
    nadb_compressor_fini(&lane->compressor);
}

/* ---- calls ---- */

void nadb_redis_lane_begin(struct nadb_redis_lane *lane, uint32_t slot, bool is_write, size_t count)
{
    if (lane->call_count == lane->call_cap) {
        lane->call_cap = lane->call_cap == 0 ? 64 : lane->call_cap * 2;
        lane->calls = nadb_mem_realloc(lane->calls, lane->call_cap * sizeof(*lane->calls));
    }
    lane->call = &lane->calls[lane->call_count];
    *lane->call =
        (struct nadb_redis_call){.from = lane->out.buf.len, .slot = slot, .is_write = is_write};
    nadb_redis_out_command(&lane->out, count);
}

/* Two names that never exist, so that a cluster which is moving the slot lets no script see half of
 * it: the one side redirects (ASK), the other refuses (TRYAGAIN). */
static void write_idle_name(struct nadb_redis_out *out, struct nadb_slice base, char last)
{
    char *at = nadb_redis_out_begin(out, base.len + 1);
    if (at != NULL) {
        memcpy(at, base.data, base.len);
        at[base.len] = last;
    }
    nadb_redis_out_end(out);
}

void nadb_redis_lane_begin_script(struct nadb_redis_lane *lane, enum nadb_redis_script_id script,
    struct nadb_slice base, bool is_write, size_t count)
{
    nadb_redis_lane_begin(lane, nadb_redis_slot(base), is_write, 5 + count);
    nadb_redis_out_arg(&lane->out, NADB_SLICE("EVALSHA"));
    nadb_redis_out_arg(
        &lane->out, nadb_slice_of(nadb_redis_scripts[script].sha, NADB_REDIS_SHA_LEN));
    nadb_redis_out_arg(&lane->out, NADB_SLICE("2"));
    write_idle_name(&lane->out, base, '1');
    write_idle_name(&lane->out, base, '2');
}

size_t nadb_redis_lane_end(struct nadb_redis_lane *lane)
{
    lane->call->len = lane->out.buf.len - lane->call->from;
    return lane->call_count++;
}

redisReply *nadb_redis_lane_reply(
    struct nadb_redis_lane *lane, size_t call, enum nadb_err *ret_err, struct nadb_error *reterr)
{
    struct nadb_redis_call *this = &lane->calls[call];
    NADB_ASSERT(call < lane->call_count && this->is_done);
    if (this->reply == NULL) {
        *ret_err = this->err;
        *reterr = this->error;
        return NULL;
    }
    if (this->reply->type == REDIS_REPLY_ERROR) {
        *ret_err = nadb_redis_error_line(this->reply, reterr);
        return NULL;
    }
    *ret_err = NADB_OK;
    return this->reply;
}

static void end_call(
    struct nadb_redis_call *call, enum nadb_err err, const struct nadb_error *error)
{
    call->is_done = true;
    call->err = err;
    call->error = *error;
}

/* ---- servers ---- */

static struct nadb_redis_peer *peer_at(struct nadb_redis_lane *lane, uint16_t server)
{
    if (server >= lane->peer_count) {
        size_t count = nadb_redis_topology_count(lane->topology);
        NADB_ASSERT(server < count);
        lane->peers = nadb_mem_realloc(lane->peers, count * sizeof(*lane->peers));
        for (; lane->peer_count < count; lane->peer_count++) {
            lane->peers[lane->peer_count] = NULL;
        }
    }
    if (lane->peers[server] == NULL) {
        struct nadb_redis_url url;
        nadb_redis_topology_url(lane->topology, server, &url);
        lane->peers[server] = nadb_mem_zalloc(sizeof(*lane->peers[server]));
        nadb_redis_link_init(&lane->peers[server]->link, &url);
    }
    return lane->peers[server];
}

/* Half of the time that is left: one server that hangs must not take it from the others. */
static uint64_t shared_deadline_us(const struct nadb_redis_lane *lane)
{
    uint64_t now_us = nadb_redis_now_us();
    return now_us >= lane->deadline_us ? lane->deadline_us
                                       : now_us + (lane->deadline_us - now_us) / 2;
}

enum nadb_err nadb_redis_lane_link(struct nadb_redis_lane *lane, uint16_t server,
    struct nadb_redis_peer **ret, struct nadb_error *reterr)
{
    struct nadb_redis_peer *peer = peer_at(lane, server);
    uint64_t opened = peer->link.opened;
    enum nadb_err err = nadb_redis_link_open(&peer->link, shared_deadline_us(lane), reterr);
    lane->stats.reconnects += peer->link.opened != opened && opened > 0;
    lane->stats.is_down = lane->stats.is_down || err != NADB_OK;
    *ret = peer;
    return err;
}

static bool learn_from(struct nadb_redis_lane *lane, uint16_t server, struct nadb_error *reterr)
{
    struct nadb_redis_peer *peer;
    redisReply *reply = NULL;
    bool was_down = lane->stats.is_down;
    enum nadb_err err = nadb_redis_lane_link(lane, server, &peer, reterr);
    lane->stats.is_down = was_down; /* a server that is only asked may be gone for good */
    if (err == NADB_OK) {
        err =
            nadb_redis_link_talk(&peer->link, NADB_SLICE("*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"),
                &reply, 1, shared_deadline_us(lane), reterr);
    }
    if (err != NADB_OK) {
        return false;
    }
    bool is_learnt = nadb_redis_topology_learn(lane->topology, reply, server);
    if (reply->type == REDIS_REPLY_ERROR) {
        (void)nadb_redis_error_line(reply, reterr); /* the caller gives it on */
    } else if (!is_learnt) {
        (void)nadb_error_set(reterr, NADB_EIO, 0, "backend down: %s: no slots of the cluster",
            peer->link.address); /* as above */
    }
    freeReplyObject(reply);
    return is_learnt;
}

enum nadb_err nadb_redis_lane_refresh(struct nadb_redis_lane *lane, struct nadb_error *reterr)
{
    if (!lane->topology->is_cluster) {
        return NADB_OK;
    }
    struct nadb_error error = {.code = NADB_EIO};
    lane->refreshed_us = nadb_redis_now_us();
    /* Those we are connected to first: the others may have to be waited for. */
    for (int must_connect = 0; must_connect <= 1; must_connect++) {
        size_t count = nadb_redis_topology_count(lane->topology);
        for (size_t i = 0; i < count; i++) {
            bool is_open = peer_at(lane, (uint16_t)i)->link.context != NULL;
            if (is_open != must_connect && learn_from(lane, (uint16_t)i, &error)) {
                return NADB_OK;
            }
        }
    }
    if (reterr != NULL) {
        *reterr = error;
    }
    return error.code;
}

static void refresh_soon(struct nadb_redis_lane *lane)
{
    if (nadb_redis_now_us() - lane->refreshed_us >= REFRESH_INTERVAL_US) {
        (void)nadb_redis_lane_refresh(lane, NULL); /* what we know stays as it is */
    }
}

/* ---- one attempt ---- */

static void enqueue(struct nadb_redis_peer *peer, size_t call, bool is_asking)
{
    if (peer->count == peer->cap) {
        peer->cap = peer->cap == 0 ? 64 : peer->cap * 2;
        peer->items = nadb_mem_realloc(peer->items, peer->cap * sizeof(*peer->items));
    }
    peer->items[peer->count++] =
        (struct nadb_redis_queue_item){.call = (uint32_t)call, .is_asking = is_asking};
}

static struct nadb_slice item_bytes(
    const struct nadb_redis_lane *lane, const struct nadb_redis_queue_item *item)
{
    const struct nadb_redis_call *call = &lane->calls[item->call];
    return item->is_asking ? NADB_SLICE(ASKING)
                           : nadb_slice_of(lane->out.buf.data + call->from, call->len);
}

static bool is_busy(const struct nadb_redis_peer *peer)
{
    return peer != NULL && peer->answered < peer->count;
}

/* The connection is lost: what was not sent whole was not executed; of the rest we do not know. */
static void lose(struct nadb_redis_lane *lane, struct nadb_redis_peer *peer, const char *reason)
{
    struct nadb_error error;
    (void)nadb_redis_link_fail(&peer->link, reason, &error); /* it is kept, in each call */
    lane->stats.failures++;
    lane->stats.is_down = true;
    for (size_t i = peer->answered; i < peer->count; i++) {
        if (peer->items[i].is_asking) {
            continue;
        }
        struct nadb_redis_call *call = &lane->calls[peer->items[i].call];
        if (i < peer->sent && call->is_write) {
            call->may_be_executed = true;
            call->is_done = true;
            call->err = nadb_error_set(&call->error, NADB_ESYNC, 0, "backend: outcome unknown");
        } else {
            call->err = NADB_EIO;
            call->error = error;
        }
    }
    peer->answered = peer->count;
}

#define IOV_COUNT 64

static size_t gather(
    const struct nadb_redis_lane *lane, const struct nadb_redis_peer *peer, struct iovec *iov)
{
    size_t count = 0;
    size_t skip = peer->sent_len;
    for (size_t i = peer->sent; i < peer->count && count < IOV_COUNT; i++, skip = 0) {
        struct nadb_slice bytes = item_bytes(lane, &peer->items[i]);
        /* sendmsg takes what it sends for mutable; it is not. */
        char *at = (char *)(uintptr_t)bytes.data + skip;
        if (count > 0 && (char *)iov[count - 1].iov_base + iov[count - 1].iov_len == at) {
            iov[count - 1].iov_len += bytes.len - skip;
        } else {
            iov[count++] = (struct iovec){.iov_base = at, .iov_len = bytes.len - skip};
        }
    }
    return count;
}

static void send_some(struct nadb_redis_lane *lane, struct nadb_redis_peer *peer)
{
    struct iovec iov[IOV_COUNT];
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = gather(lane, peer, iov)};
    ssize_t sent = sendmsg(peer->link.context->fd, &message, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            lose(lane, peer, "connection lost");
        }
        return;
    }
    size_t left = (size_t)sent;
    while (left > 0) {
        size_t len = item_bytes(lane, &peer->items[peer->sent]).len - peer->sent_len;
        if (left < len) {
            peer->sent_len += left;
            return;
        }
        left -= len;
        peer->sent++;
        peer->sent_len = 0;
    }
}

static void receive_some(struct nadb_redis_lane *lane, struct nadb_redis_peer *peer)
{
    const char *reason = NULL;
    bool is_right = nadb_redis_link_receive(&peer->link, &reason);
    while (is_right && peer->answered < peer->sent) {
        redisReply *reply = NULL;
        is_right = nadb_redis_link_next(&peer->link, &reply, &reason);
        if (reply == NULL) {
            break;
        }
        const struct nadb_redis_queue_item *item = &peer->items[peer->answered++];
        if (item->is_asking) {
            freeReplyObject(reply);
            continue;
        }
        struct nadb_redis_call *call = &lane->calls[item->call];
        call->reply = reply;
        call->is_done = true;
    }
    if (!is_right && is_busy(peer)) {
        lose(lane, peer, reason);
    } else if (!is_right) {
        nadb_redis_link_close(&peer->link);
    }
}

/* Those that are busy; NULL-terminated in `busy`. */
static size_t list_busy(
    struct nadb_redis_lane *lane, struct pollfd *fds, struct nadb_redis_peer **busy)
{
    size_t count = 0;
    for (size_t i = 0; i < lane->peer_count; i++) {
        struct nadb_redis_peer *peer = lane->peers[i];
        if (is_busy(peer)) {
            busy[count] = peer;
            fds[count++] = (struct pollfd){.fd = peer->link.context->fd,
                .events = (short)(peer->sent < peer->count ? POLLIN | POLLOUT : POLLIN)};
        }
    }
    return count;
}

static void pump(struct nadb_redis_lane *lane)
{
    struct pollfd fds[NADB_REDIS_SERVERS_MAX];
    struct nadb_redis_peer *busy[NADB_REDIS_SERVERS_MAX];
    for (size_t i = 0; i < lane->peer_count; i++) {
        if (is_busy(lane->peers[i])) {
            send_some(lane, lane->peers[i]);
        }
    }
    for (size_t count; (count = list_busy(lane, fds, busy)) > 0;) {
        int ready = poll(fds, count, nadb_redis_left_ms(lane->deadline_us));
        if (ready == 0) {
            for (size_t i = 0; i < count; i++) {
                lose(lane, busy[i], "timeout");
            }
            lane->stats.timeouts++;
        }
        for (size_t i = 0; ready > 0 && i < count; i++) {
            if (fds[i].revents & ~POLLOUT) {
                receive_some(lane, busy[i]);
            }
            if (is_busy(busy[i]) && (fds[i].revents & POLLOUT)) {
                send_some(lane, busy[i]);
            }
        }
    }
}

/* Finds a server for the call and puts it into its queue; a failure ends it for this attempt. */
static void route(struct nadb_redis_lane *lane, size_t index)
{
    struct nadb_redis_call *call = &lane->calls[index];
    struct nadb_redis_peer *peer;
    if (!call->is_asking) {
        call->server = nadb_redis_topology_find(lane->topology, call->slot);
    }
    if (call->server == NADB_REDIS_NO_SERVER) {
        call->err = nadb_error_set(&call->error, NADB_EENGINE, 0,
            "CLUSTERDOWN no server of the engine has slot %u", call->slot);
        return;
    }
    peer = peer_at(lane, call->server);
    if (peer->count == 0) {
        call->err = nadb_redis_lane_link(lane, call->server, &peer, &call->error);
    }
    if (call->err != NADB_OK) {
        return;
    }
    if (call->is_asking) {
        enqueue(peer, index, true);
    }
    enqueue(peer, index, false);
}

static void attempt(struct nadb_redis_lane *lane)
{
    for (size_t i = 0; i < lane->peer_count; i++) {
        if (lane->peers[i] != NULL) {
            lane->peers[i]->count = lane->peers[i]->sent = 0;
            lane->peers[i]->sent_len = lane->peers[i]->answered = 0;
        }
    }
    for (size_t i = 0; i < lane->call_count; i++) {
        if (!lane->calls[i].is_done) {
            route(lane, i);
        }
    }
    lane->stats.round_trips++;
    pump(lane);
}

/* ---- what is tried again ---- */

static bool begins(const redisReply *reply, const char *word)
{
    size_t len = strlen(word);
    return (size_t)reply->len >= len && memcmp(reply->str, word, len) == 0;
}

/* The address in "MOVED slot host:port". */
static struct nadb_slice address_of(const redisReply *reply)
{
    const char *at = memrchr(reply->str, ' ', (size_t)reply->len);
    return at == NULL ? nadb_slice_of(NULL, 0)
                      : nadb_slice_of(at + 1, (size_t)(reply->str + reply->len - at - 1));
}

static bool follow(struct nadb_redis_lane *lane, struct nadb_redis_call *call, bool is_moved)
{
    uint16_t server = nadb_redis_topology_add(lane->topology, address_of(call->reply), call->server,
        is_moved ? call->slot : NADB_REDIS_SLOTS);
    if (server == NADB_REDIS_NO_SERVER || call->redirects == REDIRECTS_MAX) {
        return false;
    }
    call->redirects++;
    lane->stats.redirects++;
    call->is_asking = !is_moved;
    call->server = server;
    return true;
}

/* May a call that the engine turned away be sent again? It was not executed. */
static bool is_worth_again(struct nadb_redis_lane *lane, struct nadb_redis_call *call,
    bool *must_pause, bool *must_refresh)
{
    const redisReply *reply = call->reply;
    if (begins(reply, "MOVED ")) {
        *must_refresh = true;
        return follow(lane, call, true);
    }
    if (begins(reply, "ASK ")) {
        return follow(lane, call, false);
    }
    if (begins(reply, "NOSCRIPT")) {
        peer_at(lane, call->server)->link.must_load = true;
        return call->redirects < REDIRECTS_MAX && ++call->redirects > 0;
    }
    if (begins(reply, "TRYAGAIN") && call->can_be_parted) {
        return false; /* at once, before the slot has been moved */
    }
    if (begins(reply, "TRYAGAIN") || begins(reply, "CLUSTERDOWN")) {
        *must_pause = true;
        *must_refresh = true;
        call->is_asking = false;
        call->redirects = 0;
        return nadb_redis_left_ms(lane->deadline_us) > 2 * PAUSE_MS;
    }
    if (begins(reply, "READONLY") && !call->was_readonly) {
        /* A replica now: perhaps the name of the server leads to another one meanwhile. */
        call->was_readonly = true;
        *must_refresh = true;
        nadb_redis_link_close(&peer_at(lane, call->server)->link);
        return true;
    }
    return false;
}

/* A call without a reply: may it be sent again? */
static bool is_lost_worth_again(struct nadb_redis_lane *lane, struct nadb_redis_call *call)
{
    bool was_lost = call->was_lost;
    call->was_lost = true;
    call->is_asking = false;
    if (was_lost || nadb_redis_left_ms(lane->deadline_us) == 0) {
        return false;
    }
    if (call->err == NADB_EENGINE) {
        return false; /* turned away when we came */
    }
    if (!lane->topology->is_cluster) {
        /* Lost under way: once more, at once. Not reached: there is nobody else to ask. */
        struct nadb_redis_link *link = &peer_at(lane, call->server)->link;
        if (link->failures > 1) {
            return false;
        }
        link->retry_us = 0;
        return true;
    }
    uint16_t before = call->server;
    refresh_soon(lane);
    if (before == NADB_REDIS_NO_SERVER ||
        nadb_redis_topology_find(lane->topology, call->slot) != before) {
        return true;
    }
    struct nadb_redis_link *link = &peer_at(lane, before)->link;
    if (link->failures > 1) {
        return false;
    }
    link->retry_us = 0;
    return true;
}

/* Calls behind `index` that had their turn although it has to come first: what only read reads
 * again; if something has been written, its own turn is over. */
static bool can_go_back(struct nadb_redis_lane *lane, size_t index)
{
    const struct nadb_redis_call *call = &lane->calls[index];
    for (size_t i = index + 1; i < lane->call_count && !call->is_apart; i++) {
        const struct nadb_redis_call *other = &lane->calls[i];
        bool is_same = !lane->topology->is_cluster || other->slot == call->slot;
        bool was_done = other->is_done &&
                        (other->may_be_executed ||
                            (other->reply != NULL && other->reply->type != REDIS_REPLY_ERROR));
        if (is_same && other->is_write && was_done && !other->is_apart) {
            return false;
        }
    }
    return true;
}

static void begin_again(struct nadb_redis_call *call)
{
    if (call->reply != NULL) {
        freeReplyObject(call->reply);
        call->reply = NULL;
    }
    call->is_done = false;
    call->err = NADB_OK;
}

/* With it go the reads behind it. */
static void go_back(struct nadb_redis_lane *lane, size_t index)
{
    struct nadb_redis_call *call = &lane->calls[index];
    begin_again(call);
    for (size_t i = index + 1; i < lane->call_count && !call->is_apart; i++) {
        struct nadb_redis_call *other = &lane->calls[i];
        bool is_same = !lane->topology->is_cluster || other->slot == call->slot;
        if (is_same && !other->is_write && other->is_done) {
            begin_again(other);
        }
    }
}

/* Is there something to be sent again? */
static bool judge(struct nadb_redis_lane *lane)
{
    bool has_more = false;
    bool must_pause = false;
    bool must_refresh = false;
    for (size_t i = 0; i < lane->call_count; i++) {
        struct nadb_redis_call *call = &lane->calls[i];
        bool is_refused = call->reply != NULL && call->reply->type == REDIS_REPLY_ERROR;
        bool goes_back = !call->is_done && call->err == NADB_OK; /* with one before it */
        if (goes_back || (call->is_done && !is_refused)) {
            continue;
        }
        if (is_refused ? is_worth_again(lane, call, &must_pause, &must_refresh)
                       : is_lost_worth_again(lane, call)) {
            if (can_go_back(lane, i)) {
                go_back(lane, i);
                has_more = true;
                continue;
            }
        }
        call->is_done = true;
    }
    if (has_more && must_pause) {
        (void)poll(NULL, 0, PAUSE_MS); /* nothing but a pause */
    }
    if (must_refresh) {
        refresh_soon(lane);
    }
    return has_more;
}

void nadb_redis_lane_exchange(struct nadb_redis_lane *lane)
{
    bool is_late = nadb_redis_left_ms(lane->deadline_us) == 0;
    if (lane->out.is_full || is_late) {
        struct nadb_error error;
        enum nadb_err err =
            is_late ? nadb_error_set(&error, NADB_EIO, 0, "backend down: timeout")
                    : nadb_error_set(&error, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
        for (size_t i = 0; i < lane->call_count; i++) {
            end_call(&lane->calls[i], err, &error);
        }
        return;
    }
    do {
        attempt(lane);
    } while (judge(lane));
}
