/* This file keeps channels, patterns and their subscribers, and delivers messages. */
#include "src/server/pubsub.h"

#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/server/client.h"
#include "src/server/server.h"
#include "src/store/attempt.h"

/* Names in the maps begin with the kind, those of subscriptions with the client's id before it. */
#define KIND_CHANNEL  'c'
#define KIND_PATTERN  'p'
#define NAME_HEAD_MAX (sizeof(uint64_t) + 1)
#define MESSAGE_MAX   ((size_t)1 << 30)

/* Both live in a map of the same kind as the store's keys, so each ends in a record's header, of
 * which only the key counts. */
struct topic {
    struct nadb_list subscriptions;
    struct nadb_list in_patterns; /* of a pattern */
    size_t count;
    struct nadb_rec rec;
};

struct subscription {
    struct nadb_list in_topic, in_client;
    struct nadb_client *client;
    struct topic *topic;
    struct nadb_rec rec;
};

static struct topic *topic_of(struct nadb_rec *rec)
{
    return NADB_CONTAINER_OF(rec, struct topic, rec);
}

static struct subscription *subscription_of(struct nadb_rec *rec)
{
    return NADB_CONTAINER_OF(rec, struct subscription, rec);
}

struct name {
    char bytes[NAME_HEAD_MAX + NADB_PUBSUB_NAME_MAX];
    size_t len;
};

static void set_name(
    struct name *name, const struct nadb_client *client, struct nadb_slice text, bool is_pattern)
{
    NADB_ASSERT(text.len <= NADB_PUBSUB_NAME_MAX);
    name->len = 0;
    if (client != NULL) {
        nadb_put_u64(name->bytes, client->id);
        name->len = sizeof(uint64_t);
    }
    name->bytes[name->len++] = is_pattern ? KIND_PATTERN : KIND_CHANNEL;
    if (text.len > 0) {
        memcpy(name->bytes + name->len, text.data, text.len);
    }
    name->len += text.len;
}

static struct nadb_slice topic_text(const struct topic *topic)
{
    struct nadb_slice key = nadb_rec_key(&topic->rec);
    return nadb_slice_of(key.data + 1, key.len - 1);
}

static bool is_pattern_topic(const struct topic *topic)
{
    return nadb_rec_key(&topic->rec).data[0] == KIND_PATTERN;
}

static void init_rec(struct nadb_rec *rec, const struct name *name)
{
    rec->key_len_low = name->len & 0xffff;
    memcpy((char *)(rec + 1), name->bytes, name->len);
}

static struct nadb_rec *find(
    const struct nadb_pubsub *pubsub, const struct nadb_index *index, const struct name *name)
{
    struct nadb_slice key = nadb_slice_of(name->bytes, name->len);
    nadb_index_slot slot = nadb_index_find(index, key, nadb_hash(pubsub->hash_key, key));
    return slot == NULL ? NULL : nadb_index_rec(slot);
}

static void insert(struct nadb_pubsub *pubsub, struct nadb_index *index, struct nadb_rec *rec)
{
    nadb_index_insert(index, rec, nadb_hash(pubsub->hash_key, nadb_rec_key(rec)));
}

static void take_out(struct nadb_pubsub *pubsub, struct nadb_index *index, struct nadb_rec *rec)
{
    struct nadb_slice key = nadb_rec_key(rec);
    uint64_t hash = nadb_hash(pubsub->hash_key, key);
    nadb_index_remove(index, nadb_index_find(index, key, hash), hash);
}

/* ---- life cycle ---- */

void nadb_pubsub_init(struct nadb_pubsub *pubsub)
{
    *pubsub = (struct nadb_pubsub){.hash_key = nadb_hash_key_random()};
    nadb_index_init(&pubsub->topics, &pubsub->hash_key);
    nadb_index_init(&pubsub->subscriptions, &pubsub->hash_key);
    nadb_list_init(&pubsub->patterns);
    nadb_list_init(&pubsub->pushed);
    nadb_buf_init(&pubsub->late, MESSAGE_MAX);
}

void nadb_pubsub_fini(struct nadb_pubsub *pubsub)
{
    NADB_ASSERT(pubsub->client_count == 0);
    nadb_index_fini(&pubsub->topics);
    nadb_index_fini(&pubsub->subscriptions);
    nadb_buf_fini(&pubsub->late);
}

void nadb_subscriber_init(struct nadb_subscriber *subscriber)
{
    *subscriber = (struct nadb_subscriber){0};
    nadb_list_init(&subscriber->channels);
    nadb_list_init(&subscriber->patterns);
    nadb_list_init(&subscriber->in_pushed);
}

/* ---- subscribing ---- */

static struct topic *topic_get(struct nadb_pubsub *pubsub, struct nadb_slice text, bool is_pattern)
{
    struct name name;
    set_name(&name, NULL, text, is_pattern);
    struct nadb_rec *rec = find(pubsub, &pubsub->topics, &name);
    if (rec != NULL) {
        return topic_of(rec);
    }
    struct topic *topic = nadb_mem_zalloc(sizeof(*topic) + name.len);
    nadb_list_init(&topic->subscriptions);
    nadb_list_init(&topic->in_patterns);
    init_rec(&topic->rec, &name);
    insert(pubsub, &pubsub->topics, &topic->rec);
    if (is_pattern) {
        nadb_list_append(&pubsub->patterns, &topic->in_patterns);
        pubsub->pattern_count++;
    } else {
        pubsub->channel_count++;
    }
    return topic;
}

static void topic_put(struct nadb_pubsub *pubsub, struct topic *topic)
{
    if (--topic->count > 0) {
        return;
    }
    if (is_pattern_topic(topic)) {
        pubsub->pattern_count--;
    } else {
        pubsub->channel_count--;
    }
    nadb_list_remove(&topic->in_patterns);
    take_out(pubsub, &pubsub->topics, &topic->rec);
    nadb_mem_free(topic);
}

bool nadb_pubsub_subscribe(struct nadb_client *client, struct nadb_slice text, bool is_pattern)
{
    struct nadb_pubsub *pubsub = &client->server->pubsub;
    struct nadb_subscriber *subscriber = &client->subscriber;
    struct name name;
    set_name(&name, client, text, is_pattern);
    if (find(pubsub, &pubsub->subscriptions, &name) != NULL) {
        return false;
    }
    struct subscription *subscription = nadb_mem_zalloc(sizeof(*subscription) + name.len);
    subscription->client = client;
    subscription->topic = topic_get(pubsub, text, is_pattern);
    init_rec(&subscription->rec, &name);
    insert(pubsub, &pubsub->subscriptions, &subscription->rec);
    subscription->topic->count++;
    nadb_list_append(&subscription->topic->subscriptions, &subscription->in_topic);
    nadb_list_append(
        is_pattern ? &subscriber->patterns : &subscriber->channels, &subscription->in_client);
    pubsub->client_count += nadb_subscriber_count(subscriber) == 0 ? 1 : 0;
    *(is_pattern ? &subscriber->pattern_count : &subscriber->channel_count) += 1;
    subscriber->bytes += nadb_mem_usable(subscription);
    return true;
}

static void end_subscription(struct nadb_client *client, struct subscription *subscription)
{
    struct nadb_pubsub *pubsub = &client->server->pubsub;
    struct nadb_subscriber *subscriber = &client->subscriber;
    bool is_pattern = is_pattern_topic(subscription->topic);
    *(is_pattern ? &subscriber->pattern_count : &subscriber->channel_count) -= 1;
    pubsub->client_count -= nadb_subscriber_count(subscriber) == 0 ? 1 : 0;
    subscriber->bytes -= nadb_mem_usable(subscription);
    nadb_list_remove(&subscription->in_topic);
    nadb_list_remove(&subscription->in_client);
    topic_put(pubsub, subscription->topic);
    take_out(pubsub, &pubsub->subscriptions, &subscription->rec);
    nadb_mem_free(subscription);
}

bool nadb_pubsub_unsubscribe(struct nadb_client *client, struct nadb_slice text, bool is_pattern)
{
    if (text.len > NADB_PUBSUB_NAME_MAX) {
        return false;
    }
    struct nadb_pubsub *pubsub = &client->server->pubsub;
    struct name name;
    set_name(&name, client, text, is_pattern);
    struct nadb_rec *rec = find(pubsub, &pubsub->subscriptions, &name);
    if (rec == NULL) {
        return false;
    }
    end_subscription(client, subscription_of(rec));
    return true;
}

struct nadb_slice nadb_pubsub_first(const struct nadb_client *client, bool is_pattern)
{
    const struct nadb_list *list =
        is_pattern ? &client->subscriber.patterns : &client->subscriber.channels;
    struct subscription *first = NADB_LIST_FIRST(list, struct subscription, in_client);
    return first == NULL ? nadb_slice_of(NULL, 0) : topic_text(first->topic);
}

static void leave_all(struct nadb_client *client, struct nadb_list *list)
{
    struct subscription *subscription;
    while ((subscription = NADB_LIST_FIRST(list, struct subscription, in_client)) != NULL) {
        end_subscription(client, subscription);
    }
}

void nadb_pubsub_leave(struct nadb_client *client)
{
    leave_all(client, &client->subscriber.channels);
    leave_all(client, &client->subscriber.patterns);
    nadb_list_remove(&client->subscriber.in_pushed);
}

/* ---- publishing ---- */

/* A message in the form of each protocol, made when the first receiver needs it. */
struct message {
    struct nadb_server *server;
    struct nadb_slice pattern; /* data NULL: to a channel's own listeners */
    struct nadb_slice channel, text;
    uint64_t version;
    struct nadb_resp_writer forms[2]; /* RESP2, RESP3 */
};

static void message_init(struct message *message, struct nadb_slice pattern)
{
    message->pattern = pattern;
    for (unsigned i = 0; i < NADB_ARRAY_LEN(message->forms); i++) {
        nadb_resp_writer_init(&message->forms[i], MESSAGE_MAX);
        message->forms[i].proto = i == 0 ? 2 : 3;
    }
}

static void message_fini(struct message *message)
{
    for (unsigned i = 0; i < NADB_ARRAY_LEN(message->forms); i++) {
        nadb_resp_writer_fini(&message->forms[i]);
    }
}

static struct nadb_slice message_bytes(struct message *message, unsigned proto)
{
    struct nadb_resp_writer *form = &message->forms[proto == 3 ? 1 : 0];
    if (form->buf.len == 0) {
        bool has_pattern = message->pattern.data != NULL;
        nadb_resp_push(form, has_pattern ? 4 : 3);
        nadb_resp_bulk_cstr(form, has_pattern ? "pmessage" : "message");
        if (has_pattern) {
            nadb_resp_bulk(form, message->pattern);
        }
        nadb_resp_bulk(form, message->channel);
        nadb_resp_bulk(form, message->text);
    }
    return nadb_buf_slice(&form->buf);
}

static void deliver(struct message *message, struct nadb_client *client)
{
    struct nadb_pubsub *pubsub = &message->server->pubsub;
    if (pubsub->drafts != NULL) {
        return;
    }
    struct nadb_slice bytes = message_bytes(message, client->out.proto);
    if (client == pubsub->self) {
        client->out.is_full |= !nadb_buf_append(&pubsub->late, bytes.data, bytes.len);
        return;
    }
    uint64_t begin = nadb_client_out_end(client);
    nadb_resp_raw(&client->out, bytes);
    if (message->version != 0 && nadb_client_out_end(client) > begin) {
        nadb_client_hold_push(client, begin, message->version);
    }
    if (nadb_list_is_empty(&client->subscriber.in_pushed)) {
        nadb_list_append(&pubsub->pushed, &client->subscriber.in_pushed);
    }
}

static size_t deliver_all(struct message *message, struct topic *topic)
{
    for (struct nadb_list *node = topic->subscriptions.next; node != &topic->subscriptions;
         node = node->next) {
        deliver(message, NADB_CONTAINER_OF(node, struct subscription, in_topic)->client);
    }
    return topic->count;
}

/* A draft is its length and its bytes. */
static void add_draft(struct nadb_buf *drafts, struct nadb_slice part)
{
    size_t len = part.len;
    bool is_kept =
        nadb_buf_append(drafts, &len, sizeof(len)) && nadb_buf_append(drafts, part.data, part.len);
    NADB_ASSERT(is_kept); /* a transaction's own bounds are tighter */
}

static struct nadb_slice next_draft(struct nadb_slice drafts, size_t *at)
{
    size_t len;
    memcpy(&len, drafts.data + *at, sizeof(len));
    struct nadb_slice part = nadb_slice_of(drafts.data + *at + sizeof(len), len);
    *at += sizeof(len) + len;
    return part;
}

size_t nadb_pubsub_publish(
    struct nadb_server *server, struct nadb_slice channel, struct nadb_slice text, uint64_t version)
{
    if (server->pubsub.drafts == NULL) {
        nadb_store_tell(server->store, channel, text);
    }
    return nadb_pubsub_deliver(server, channel, text, version);
}

size_t nadb_pubsub_deliver(
    struct nadb_server *server, struct nadb_slice channel, struct nadb_slice text, uint64_t version)
{
    struct nadb_pubsub *pubsub = &server->pubsub;
    if (nadb_pubsub_is_idle(pubsub) && pubsub->drafts == NULL) {
        return 0;
    }
    struct message message = {
        .server = server, .channel = channel, .text = text, .version = version};
    size_t count = 0;
    if (channel.len <= NADB_PUBSUB_NAME_MAX) {
        struct name name;
        set_name(&name, NULL, channel, false);
        struct nadb_rec *rec = find(pubsub, &pubsub->topics, &name);
        if (rec != NULL) {
            message_init(&message, nadb_slice_of(NULL, 0));
            count += deliver_all(&message, topic_of(rec));
            message_fini(&message);
        }
    }
    for (struct nadb_list *node = pubsub->patterns.next; node != &pubsub->patterns;
         node = node->next) {
        struct topic *topic = NADB_CONTAINER_OF(node, struct topic, in_patterns);
        if (nadb_glob_match(topic_text(topic), channel)) {
            message_init(&message, topic_text(topic));
            count += deliver_all(&message, topic);
            message_fini(&message);
        }
    }
    if (pubsub->drafts != NULL) {
        add_draft(pubsub->drafts, channel);
        add_draft(pubsub->drafts, text);
    }
    return count;
}

void nadb_pubsub_draft_begin(struct nadb_pubsub *pubsub, struct nadb_buf *drafts)
{
    pubsub->drafts = drafts;
}

void nadb_pubsub_draft_end(struct nadb_pubsub *pubsub)
{
    pubsub->drafts = NULL;
}

void nadb_pubsub_send_drafts(struct nadb_server *server, struct nadb_slice drafts)
{
    size_t at = 0;
    while (at < drafts.len) {
        struct nadb_slice channel = next_draft(drafts, &at);
        struct nadb_slice text = next_draft(drafts, &at);
        (void)nadb_pubsub_publish(server, channel, text, 0); /* they have been counted */
    }
}

void nadb_pubsub_command_end(struct nadb_pubsub *pubsub)
{
    struct nadb_client *client = pubsub->self;
    pubsub->self = NULL;
    if (NADB_UNLIKELY(pubsub->late.len > 0)) {
        nadb_resp_raw(&client->out, nadb_buf_slice(&pubsub->late));
        pubsub->late.len = 0;
        nadb_buf_shrink_empty(&pubsub->late, 0);
    }
}

/* ---- looking ---- */

size_t nadb_pubsub_listeners(const struct nadb_pubsub *pubsub, struct nadb_slice channel)
{
    if (channel.len > NADB_PUBSUB_NAME_MAX) {
        return 0;
    }
    struct name name;
    set_name(&name, NULL, channel, false);
    struct nadb_rec *rec = find(pubsub, &pubsub->topics, &name);
    return rec == NULL ? 0 : topic_of(rec)->count;
}

struct channel_visit {
    nadb_pubsub_visit_fn *visit;
    void *ctx;
};

static void visit_topic(void *ctx, struct nadb_rec *rec)
{
    const struct channel_visit *visit = ctx;
    const struct topic *topic = topic_of(rec);
    if (!is_pattern_topic(topic)) {
        visit->visit(visit->ctx, topic_text(topic));
    }
}

void nadb_pubsub_visit_channels(
    const struct nadb_pubsub *pubsub, nadb_pubsub_visit_fn *visit, void *ctx)
{
    struct channel_visit channels = {visit, ctx};
    uint64_t at = 0;
    do {
        at = nadb_index_visit(&pubsub->topics, at, SIZE_MAX, visit_topic, &channels);
    } while (at != 0);
}
