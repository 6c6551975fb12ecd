/* This file keeps what one client is: its session, its transaction, its replies and their holds. */
#include "src/server/client.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/server/cmd_table.h"
#include "src/server/server.h"
#include "src/server/window.h"

#define HOLDS_CAP_FIRST 16u
#define QUEUE_CAP_FIRST 8u

static bool is_password_set(const struct nadb_server *server)
{
    return server->config->requirepass[0] != '\0';
}

void nadb_client_init(struct nadb_client *client, struct nadb_server *server, size_t out_cap_max)
{
    client->magic = NADB_CLIENT_MAGIC;
    client->server = server;
    client->id = server->clients->next_id++;
    client->created_ms = nadb_clock_wall_ms(server->clock);
    client->last_command_ms = client->created_ms;
    client->is_authenticated = !is_password_set(server);
    nadb_resp_writer_init(&client->out, out_cap_max);
    nadb_subscriber_init(&client->subscriber);
    nadb_list_append(&server->clients->all, &client->in_registry);
    server->clients->count++;
}

void nadb_client_drop_progress(struct nadb_client *client)
{
    if (client->progress != NULL) {
        client->progress_free(client->progress);
        client->progress = NULL;
    }
    client->progress_free = NULL;
    client->progress_bytes = 0;
    client->progress_us = client->progress_version = client->progress_failures = 0;
}

static void drop_keyspace(struct nadb_client *client)
{
    if (client->keyspace != NULL) {
        nadb_keyspace_unref(client->server->store, client->keyspace);
        client->keyspace = NULL;
    }
}

/* ---- attachment ---- */

static void detach(struct nadb_client *client)
{
    if (client->attached.blob != NULL) {
        nadb_blob_unref(client->attached.blob);
    }
    client->attached = (struct nadb_attachment){.blob = NULL};
}

bool nadb_client_attach(struct nadb_client *client, const struct nadb_rec *rec)
{
    /* What is held may still be replaced by an error, and so may the reply of a record that is not
     * on the disk; what is not to be answered is cut off again. */
    bool is_in_the_way = client->attached.blob != NULL || client->holds_count > 0 ||
                         client->reply_mode != NADB_REPLY_ON || client->is_trial ||
                         (rec->flags & NADB_REC_IS_DIRTY);
    /* The limits of what may wait are the buffer's, which closes the connection when it is full. */
    is_in_the_way |= rec->value_len > client->out.buf.cap_max - client->out.buf.len;
    if (rec->value_len < NADB_CLIENT_ATTACH_MIN || !(rec->flags & NADB_REC_HAS_BLOB) ||
        is_in_the_way) {
        return false;
    }
    struct nadb_blob *blob = *nadb_rec_blob_part(rec);
    blob->refs++;
    client->attached =
        (struct nadb_attachment){.blob = blob, .len = rec->value_len, .at = client->out.buf.len};
    return true;
}

void nadb_client_attachment_sent(struct nadb_client *client, size_t count)
{
    client->attached.sent += count;
    NADB_ASSERT(client->attached.sent <= client->attached.len);
    if (client->attached.sent == client->attached.len) {
        detach(client);
    }
}

/* ---- life ---- */

void nadb_client_fini(struct nadb_client *client)
{
    nadb_client_drop_progress(client);
    nadb_window_free(client);
    nadb_pubsub_leave(client);
    nadb_client_multi_end(client);
    drop_keyspace(client);
    detach(client);
    nadb_mem_free(client->name);
    nadb_mem_free(client->lib_name);
    nadb_mem_free(client->lib_ver);
    client->name = client->lib_name = client->lib_ver = NULL;
    nadb_mem_free(client->holds);
    client->holds = NULL;
    client->holds_first = client->holds_count = client->holds_cap = 0;
    nadb_resp_writer_fini(&client->out);
    nadb_list_remove(&client->in_registry);
    client->server->clients->count--;
    client->magic = 0;
}

void nadb_client_reset(struct nadb_client *client)
{
    nadb_pubsub_leave(client);
    nadb_client_multi_end(client);
    nadb_mem_free(client->name);
    client->name = NULL;
    client->reply_mode = NADB_REPLY_ON;
    client->no_evict = client->no_touch = false;
    client->out.proto = 2;
    client->is_authenticated = !is_password_set(client->server);
    bool is_found = nadb_client_use(client, 0, nadb_slice_of(NULL, 0));
    NADB_ASSERT(is_found); /* databases themselves always exist */
}

bool nadb_client_use(struct nadb_client *client, uint64_t db, struct nadb_slice namespace_name)
{
    if (client->server->state == NADB_SERVER_LOADING) {
        /* The store may not be asked yet: dispatch resolves the keyspace when it may. */
        NADB_ASSERT(namespace_name.len == 0);
        client->db = db;
        drop_keyspace(client);
        return true;
    }
    struct nadb_keyspace *keyspace =
        nadb_store_keyspace(client->server->store, db, namespace_name, true);
    if (keyspace == NULL) {
        return false;
    }
    nadb_keyspace_ref(keyspace);
    drop_keyspace(client);
    client->db = db;
    client->keyspace = keyspace;
    return true;
}

/* ---- transaction ---- */

/* A copy of the arguments in one block: the slices, then their bytes. NULL: no memory. */
static struct nadb_slice *copy_args(const struct nadb_slice *argv, size_t argc, size_t bytes)
{
    struct nadb_slice *copy = nadb_mem_try_alloc(argc * sizeof(*copy) + bytes);
    if (copy == NULL) {
        return NULL;
    }
    char *at = (char *)(copy + argc);
    for (size_t i = 0; i < argc; i++) {
        if (argv[i].len > 0) {
            memcpy(at, argv[i].data, argv[i].len);
        }
        copy[i] = nadb_slice_of(at, argv[i].len);
        at += argv[i].len;
    }
    return copy;
}

static bool grow_queue(struct nadb_client *client)
{
    size_t cap = client->queue_cap == 0 ? QUEUE_CAP_FIRST : client->queue_cap * 2;
    struct nadb_queued_cmd *queue =
        nadb_mem_try_realloc(client->queue, cap * sizeof(*client->queue));
    if (queue == NULL) {
        return false;
    }
    client->queue = queue;
    client->queue_cap = cap;
    return true;
}

bool nadb_client_queue(struct nadb_client *client, const struct nadb_cmd *cmd,
    const struct nadb_slice *argv, size_t argc)
{
    size_t bytes = 0;
    for (size_t i = 0; i < argc; i++) {
        bytes += argv[i].len;
    }
    size_t cost = bytes + argc * sizeof(*argv) + sizeof(*client->queue);
    if (cost > NADB_CLIENT_QUEUE_BYTES_MAX - client->queue_bytes) {
        return false;
    }
    if (client->queue_count == client->queue_cap && !grow_queue(client)) {
        return false;
    }
    struct nadb_slice *copy = copy_args(argv, argc, bytes);
    if (copy == NULL) {
        return false;
    }
    client->queue[client->queue_count++] =
        (struct nadb_queued_cmd){.cmd = cmd, .argc = argc, .argv = copy};
    client->queue_bytes += cost;
    client->queue_flags |= cmd->flags;
    return true;
}

void nadb_client_multi_end(struct nadb_client *client)
{
    for (size_t i = 0; i < client->queue_count; i++) {
        nadb_mem_free(client->queue[i].argv);
    }
    nadb_mem_free(client->queue);
    client->queue = NULL;
    client->queue_count = client->queue_cap = client->queue_bytes = 0;
    client->queue_flags = 0;
    client->is_multi = client->is_multi_broken = false;
    if (client->watcher.watches != NULL || client->watcher.is_dirty) {
        nadb_store_unwatch(client->server->store, &client->watcher);
    }
}

/* ---- holds ---- */

static struct nadb_hold *hold_at(const struct nadb_client *client, size_t index)
{
    return &client->holds[(client->holds_first + index) & (client->holds_cap - 1)];
}

static void grow_holds(struct nadb_client *client)
{
    size_t cap = client->holds_cap == 0 ? HOLDS_CAP_FIRST : client->holds_cap * 2;
    struct nadb_hold *holds = nadb_mem_alloc(cap * sizeof(*holds));
    for (size_t i = 0; i < client->holds_count; i++) {
        holds[i] = *hold_at(client, i);
    }
    nadb_mem_free(client->holds);
    client->holds = holds;
    client->holds_cap = cap;
    client->holds_first = 0;
}

static void add_hold(struct nadb_client *client, uint64_t begin, uint64_t version, bool is_push)
{
    if (client->holds_count == client->holds_cap) {
        grow_holds(client);
    }
    struct nadb_hold *hold = hold_at(client, client->holds_count++);
    *hold = (struct nadb_hold){
        .begin = begin, .end = nadb_client_out_end(client), .is_push = is_push, .version = version};
    NADB_ASSERT(begin >= client->out_base && begin < hold->end);
}

void nadb_client_hold(struct nadb_client *client, uint64_t begin, uint64_t version)
{
    add_hold(client, begin, version, false);
}

void nadb_client_hold_push(struct nadb_client *client, uint64_t begin, uint64_t version)
{
    add_hold(client, begin, version, true);
}

static void drop_first_hold(struct nadb_client *client)
{
    client->holds_first = (client->holds_first + 1) & (client->holds_cap - 1);
    client->holds_count--;
}

void nadb_client_release(struct nadb_client *client, uint64_t durable)
{
    while (client->holds_count > 0 && hold_at(client, 0)->version <= durable) {
        drop_first_hold(client);
    }
}

/* Appends out.buf[from .. to), stream positions, to `next`. */
static bool append_stream(
    const struct nadb_client *client, uint64_t from, uint64_t to, struct nadb_resp_writer *next)
{
    return nadb_buf_append(
        &next->buf, client->out.buf.data + (from - client->out_base), (size_t)(to - from));
}

void nadb_client_fail_holds(
    struct nadb_client *client, uint64_t durable, const struct nadb_error *error)
{
    nadb_client_release(client, durable);
    if (client->holds_count == 0) {
        return;
    }
    struct nadb_resp_writer next;
    nadb_resp_writer_init(&next, client->out.buf.cap_max);
    next.proto = client->out.proto;
    char line[NADB_ERROR_LINE_MAX];
    nadb_error_line(error, line);
    uint64_t copied = client->out_base;
    bool is_whole = true;
    for (; client->holds_count > 0; drop_first_hold(client)) {
        const struct nadb_hold *hold = hold_at(client, 0);
        if (hold->version <= durable) {
            continue;
        }
        is_whole = is_whole && append_stream(client, copied, hold->begin, &next);
        if (!hold->is_push) {
            nadb_resp_error(&next, "%s", line);
        }
        copied = hold->end;
    }
    is_whole = is_whole && append_stream(client, copied, nadb_client_out_end(client), &next);
    next.is_full = client->out.is_full || next.is_full || !is_whole;
    nadb_resp_writer_fini(&client->out);
    client->out = next;
    if (client->out.is_full) {
        client->is_closing = true;
    }
}

size_t nadb_client_sendable(const struct nadb_client *client)
{
    if (client->holds_count == 0) {
        return client->out.buf.len;
    }
    return (size_t)(hold_at(client, 0)->begin - client->out_base);
}

void nadb_client_sent(struct nadb_client *client, size_t count)
{
    NADB_ASSERT(client->attached.blob == NULL || count <= client->attached.at);
    client->attached.at -= client->attached.blob == NULL ? 0 : count;
    nadb_buf_consume(&client->out.buf, count);
    client->out_base += count;
}

/* ---- registry ---- */

void nadb_client_registry_init(struct nadb_client_registry *registry)
{
    *registry = (struct nadb_client_registry){.next_id = 1};
    nadb_list_init(&registry->all);
}

struct nadb_client *nadb_client_next(
    const struct nadb_client_registry *registry, const struct nadb_client *previous)
{
    struct nadb_list *next = previous == NULL ? registry->all.next : previous->in_registry.next;
    if (next == &registry->all) {
        return NULL;
    }
    return NADB_CONTAINER_OF(next, struct nadb_client, in_registry);
}

struct nadb_client *nadb_client_find(const struct nadb_client_registry *registry, uint64_t id)
{
    for (struct nadb_client *client = nadb_client_next(registry, NULL); client != NULL;
         client = nadb_client_next(registry, client)) {
        if (client->id == id) {
            return client;
        }
    }
    return NULL;
}
