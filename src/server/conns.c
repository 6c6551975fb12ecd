/* This file keeps the set of all connections: its lists, its memory and its share of the turn. */
#include "src/server/conns.h"

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/server/window.h"

static size_t memory_budget(void)
{
    uint64_t share = uv_get_total_memory() / NADB_CONNS_MEMORY_SHARE;
    return share > NADB_CONNS_BYTES_MIN ? (size_t)share : NADB_CONNS_BYTES_MIN;
}

void nadb_conns_init(struct nadb_conns *conns, struct nadb_server *server, uv_loop_t *uv,
    void (*begin_turn)(void *ctx), void *ctx)
{
    *conns = (struct nadb_conns){
        .server = server,
        .uv = uv,
        .begin_turn = begin_turn,
        .ctx = ctx,
        .bytes_max = memory_budget(),
        .read_buffer = nadb_mem_alloc(NADB_CONN_READ_BYTES),
    };
    nadb_list_init(&conns->all);
    nadb_list_init(&conns->queue);
    nadb_list_init(&conns->waiting);
    nadb_list_init(&conns->dirty);
    nadb_list_init(&conns->held);
    nadb_resp_group_init(&conns->group);
}

void nadb_conns_fini(struct nadb_conns *conns)
{
    NADB_ASSERT(nadb_list_is_empty(&conns->all));
    while (conns->spare_count > 0) {
        nadb_buf_fini(&conns->spare[--conns->spare_count]);
    }
    nadb_resp_group_fini(&conns->group);
    nadb_mem_free(conns->read_buffer);
    conns->read_buffer = NULL;
}

/* ---- the turn ---- */

/* Moves all nodes of `from` to `to`, which is not initialised. */
static void take_list(struct nadb_list *from, struct nadb_list *to)
{
    nadb_list_init(to);
    if (nadb_list_is_empty(from)) {
        return;
    }
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    nadb_list_init(from);
}

void nadb_conns_run(struct nadb_conns *conns)
{
    if (conns->is_paused || nadb_list_is_empty(&conns->queue)) {
        return;
    }
    struct nadb_clock *clock = conns->server->clock;
    uint64_t end_us = nadb_clock_mono_us(clock) + NADB_CONNS_RUN_US;
    /* Those that queue again come in the next turn, behind those that this one had no time for. */
    const struct nadb_list *last = conns->queue.prev;
    bool is_over = false;
    struct nadb_conn *conn;
    while (!is_over && !nadb_conns_is_over_budget(conns) &&
           (conn = NADB_LIST_FIRST(&conns->queue, struct nadb_conn, in_queue)) != NULL) {
        is_over = &conn->in_queue == last;
        nadb_list_remove(&conn->in_queue);
        nadb_conn_run(conn);
        is_over |= nadb_clock_mono_us(clock) >= end_us;
    }
}

static struct nadb_conn *find_largest(const struct nadb_conns *conns)
{
    struct nadb_conn *largest = NULL;
    for (struct nadb_list *node = conns->all.next; node != &conns->all; node = node->next) {
        struct nadb_conn *conn = NADB_CONTAINER_OF(node, struct nadb_conn, in_all);
        if (largest == NULL || conn->accounted_bytes > largest->accounted_bytes) {
            largest = conn;
        }
    }
    return largest;
}

/* Clients that were sent messages in this turn. */
static void note_pushed(struct nadb_conns *conns)
{
    struct nadb_list *pushed = &conns->server->pubsub.pushed;
    struct nadb_client *client;
    while ((client = NADB_LIST_FIRST(pushed, struct nadb_client, subscriber.in_pushed)) != NULL) {
        nadb_list_remove(&client->subscriber.in_pushed);
        nadb_conn_note_pushed(NADB_CONTAINER_OF(client, struct nadb_conn, client));
    }
}

void nadb_conns_flush(struct nadb_conns *conns)
{
    note_pushed(conns);
    struct nadb_list now;
    take_list(&conns->dirty, &now);
    struct nadb_conn *conn;
    while ((conn = NADB_LIST_FIRST(&now, struct nadb_conn, in_dirty)) != NULL) {
        nadb_list_remove(&conn->in_dirty);
        nadb_conn_flush(conn);
    }
    while (nadb_conns_is_over_budget(conns) && (conn = find_largest(conns)) != NULL) {
        nadb_log(NADB_LOG_WARNING,
            "Client id=%llu addr=%s closed: buffers of all clients use %zu bytes, its own %zu",
            (unsigned long long)conn->client.id, conn->client.addr, conns->bytes,
            conn->accounted_bytes);
        conns->server->counters.output_limit_disconnections++;
        nadb_conn_close(conn);
    }
}

bool nadb_conns_is_over_budget(const struct nadb_conns *conns)
{
    return conns->bytes > conns->bytes_max;
}

bool nadb_conns_have_work(const struct nadb_conns *conns)
{
    return !conns->is_paused && !nadb_list_is_empty(&conns->queue);
}

/* A peak is shown for one to two windows. */
static void age_peaks(struct nadb_conns *conns, uint64_t now_ms)
{
    struct nadb_server *server = conns->server;
    bool is_over = now_ms - conns->peak_started_ms >= NADB_CONNS_PEAK_MS;
    if (is_over || conns->input_peak > server->clients_peak_input_bytes) {
        server->clients_peak_input_bytes = conns->input_peak;
    }
    if (is_over || conns->output_peak > server->clients_peak_output_bytes) {
        server->clients_peak_output_bytes = conns->output_peak;
    }
    if (is_over) {
        conns->input_peak = conns->output_peak = 0;
        conns->peak_started_ms = now_ms;
    }
}

void nadb_conns_tick(struct nadb_conns *conns, size_t rounds)
{
    uint64_t now_ms = uv_now(conns->uv);
    size_t share = conns->count / rounds + 1;
    if (share > conns->count) {
        share = conns->count;
    }
    while (share-- > 0 && !nadb_list_is_empty(&conns->all)) {
        struct nadb_conn *conn = NADB_LIST_FIRST(&conns->all, struct nadb_conn, in_all);
        nadb_list_remove(&conn->in_all);
        nadb_list_append(&conns->all, &conn->in_all);
        nadb_conn_tick(conn, now_ms);
    }
    age_peaks(conns, now_ms);
}

/* ---- what the store says ---- */

void nadb_conns_durable(struct nadb_conns *conns, uint64_t durable)
{
    struct nadb_list now;
    take_list(&conns->held, &now);
    struct nadb_conn *conn;
    while ((conn = NADB_LIST_FIRST(&now, struct nadb_conn, in_held)) != NULL) {
        nadb_list_remove(&conn->in_held);
        nadb_client_release(&conn->client, durable);
        (void)nadb_conn_note_output(conn); /* closed or not, it is out of this list */
    }
}

void nadb_conns_undone(struct nadb_conns *conns, uint64_t durable, const struct nadb_error *error)
{
    struct nadb_list now;
    take_list(&conns->held, &now);
    struct nadb_conn *conn;
    while ((conn = NADB_LIST_FIRST(&now, struct nadb_conn, in_held)) != NULL) {
        nadb_list_remove(&conn->in_held);
        nadb_client_fail_holds(&conn->client, durable, error);
        (void)nadb_conn_note_output(conn); /* as above */
    }
}

void nadb_conns_admit(struct nadb_conns *conns)
{
    struct nadb_list now;
    take_list(&conns->waiting, &now);
    struct nadb_conn *conn;
    while ((conn = NADB_LIST_FIRST(&now, struct nadb_conn, in_queue)) != NULL) {
        nadb_list_remove(&conn->in_queue);
        if (NADB_UNLIKELY(nadb_window_is_waiting(&conn->client))) {
            nadb_list_append(&conns->waiting, &conn->in_queue);
            continue;
        }
        conn->state = NADB_CONN_QUEUED;
        nadb_list_append(&conns->queue, &conn->in_queue);
    }
}

/* ---- what the server says ---- */

typedef void conn_fn(struct nadb_conn *conn);

/* `fn` may close the connection it is given, and no other. */
static void for_each(struct nadb_conns *conns, conn_fn *fn)
{
    for (struct nadb_list *node = conns->all.next, *next; node != &conns->all; node = next) {
        next = node->next;
        fn(NADB_CONTAINER_OF(node, struct nadb_conn, in_all));
    }
}

static void scan_one(struct nadb_conn *conn)
{
    (void)nadb_conn_note_output(conn); /* closed or not, nothing more is done with it here */
}

/* A buffer that is larger already just does not grow any more. */
static void set_cap_max(struct nadb_buf *buf, size_t cap_max)
{
    buf->cap_max = cap_max > buf->cap ? cap_max : buf->cap;
}

static void reconfigure_one(struct nadb_conn *conn)
{
    const struct nadb_config *config = conn->conns->server->config;
    set_cap_max(&conn->client.out.buf, nadb_conns_output_max(conn->conns));
    set_cap_max(&conn->input, (size_t)config->client_query_buffer_limit);
}

static void finish_one(struct nadb_conn *conn)
{
    conn->client.is_closing = true;
    (void)nadb_conn_note_output(conn); /* as above */
}

void nadb_conns_scan(struct nadb_conns *conns)
{
    for_each(conns, scan_one);
}

void nadb_conns_reconfigure(struct nadb_conns *conns)
{
    for_each(conns, reconfigure_one);
}

void nadb_conns_pause(struct nadb_conns *conns)
{
    conns->is_paused = true;
}

void nadb_conns_resume(struct nadb_conns *conns)
{
    conns->is_paused = false;
    for_each(conns, nadb_conn_resume);
}

void nadb_conns_finish(struct nadb_conns *conns)
{
    for_each(conns, finish_one);
}

void nadb_conns_close_all(struct nadb_conns *conns)
{
    for_each(conns, nadb_conn_close);
}

/* ---- for conn.c ---- */

size_t nadb_conns_output_max(const struct nadb_conns *conns)
{
    uint64_t hard =
        conns->server->config->client_output_buffer_limit.classes[NADB_OUTPUT_NORMAL].hard_bytes;
    if (hard == 0 || hard > conns->bytes_max) {
        return conns->bytes_max;
    }
    return hard > NADB_CONNS_OUTPUT_LEAST ? (size_t)hard : NADB_CONNS_OUTPUT_LEAST;
}

void nadb_conns_take_buffer(struct nadb_conns *conns, struct nadb_buf *buf)
{
    NADB_ASSERT(buf->cap == 0);
    if (conns->spare_count > 0 && conns->spare[conns->spare_count - 1].cap <= buf->cap_max) {
        struct nadb_buf *spare = &conns->spare[--conns->spare_count];
        conns->spare_bytes -= spare->cap;
        buf->data = spare->data;
        buf->cap = spare->cap;
        *spare = (struct nadb_buf){0};
        return;
    }
    buf->data = nadb_mem_alloc(NADB_CONNS_OUTPUT_BYTES);
    buf->cap = NADB_CONNS_OUTPUT_BYTES;
}

void nadb_conns_give_buffer(struct nadb_conns *conns, struct nadb_buf *buf)
{
    NADB_ASSERT(buf->len == 0);
    if (buf->cap == 0) {
        return;
    }
    if (conns->spare_count == NADB_CONNS_SPARE_MAX || buf->cap > NADB_CONNS_SPARE_LARGE ||
        conns->spare_bytes + buf->cap > NADB_CONNS_SPARE_BYTES) {
        nadb_buf_shrink_empty(buf, 0);
        return;
    }
    struct nadb_buf *spare = &conns->spare[conns->spare_count++];
    nadb_buf_init(spare, buf->cap);
    spare->data = buf->data;
    spare->cap = buf->cap;
    conns->spare_bytes += buf->cap;
    buf->data = NULL;
    buf->cap = 0;
}
