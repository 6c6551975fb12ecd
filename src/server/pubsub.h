/* Publish and subscribe: who listens to which channels and patterns, and what they are sent.
 *
 * A topic is a channel or a pattern that somebody listens to; a subscription ties one client to one
 * topic. Both are found by name in one map each, so subscribing, unsubscribing and a client's end
 * cost what they touch. A message is built once for each protocol and copied to every receiver's
 * output; receivers wait in `pushed` until the end of the turn sends it.
 *
 * A message to the client whose own command publishes it follows that command's reply: inside the
 * reply it could not be told apart.
 *
 * Bounds: NADB_PUBSUB_NAME_MAX, NADB_PUBSUB_PER_CLIENT_MAX; what a client does not read is bounded
 * by client-output-buffer-limit pubsub. Thread: loop. */
#ifndef NADB_SERVER_PUBSUB_H
#define NADB_SERVER_PUBSUB_H

#include "src/base/buf.h"
#include "src/base/hash.h"
#include "src/base/list.h"
#include "src/store/index.h"

#define NADB_PUBSUB_NAME_MAX       2048u /* of a channel or pattern; longer ones are refused */
#define NADB_PUBSUB_PER_CLIENT_MAX 100000u

struct nadb_client;
struct nadb_server;

struct nadb_pubsub {
    struct nadb_hash_key hash_key;
    struct nadb_index topics;        /* by kind and name */
    struct nadb_index subscriptions; /* by client, kind and name */
    struct nadb_list patterns;       /* the topics that are patterns */
    size_t channel_count, pattern_count;
    size_t client_count;      /* that have subscriptions */
    struct nadb_list pushed;  /* clients that were sent something */
    struct nadb_client *self; /* whose command is running; NULL: nobody's */
    struct nadb_buf late;     /* messages to it */
    struct nadb_buf *drafts;  /* of a command that may not stand; NULL: messages go out */
};

/* A client's part, embedded in it. */
struct nadb_subscriber {
    struct nadb_list channels, patterns; /* in the order in which they were subscribed */
    size_t channel_count, pattern_count;
    size_t bytes; /* that the subscriptions take */
    struct nadb_list in_pushed;
};

static inline size_t nadb_subscriber_count(const struct nadb_subscriber *subscriber)
{
    return subscriber->channel_count + subscriber->pattern_count;
}

void nadb_pubsub_init(struct nadb_pubsub *pubsub);
void nadb_pubsub_fini(struct nadb_pubsub *pubsub); /* nobody listens any more */

void nadb_subscriber_init(struct nadb_subscriber *subscriber);

/* Ends all of the client's subscriptions; nobody is told. */
void nadb_pubsub_leave(struct nadb_client *client);

/* False: it listens already. The name is within its bound. */
bool nadb_pubsub_subscribe(struct nadb_client *client, struct nadb_slice name, bool is_pattern);

/* False: it did not listen. */
bool nadb_pubsub_unsubscribe(struct nadb_client *client, struct nadb_slice name, bool is_pattern);

/* The first of the client's channels or patterns; data NULL: it has none. Borrowed until it is
 * unsubscribed. */
struct nadb_slice nadb_pubsub_first(const struct nadb_client *client, bool is_pattern);

/* Nobody listens to anything: nothing need be published. */
static inline bool nadb_pubsub_is_idle(const struct nadb_pubsub *pubsub)
{
    return pubsub->client_count == 0;
}

/* Sends the message; returns how many receive it. With `version` not 0 it leaves only when the
 * store is durable up to there, and never if that is undone. */
size_t nadb_pubsub_publish(struct nadb_server *server, struct nadb_slice channel,
    struct nadb_slice message, uint64_t version);

/* The same for a message that another nadbd has published: it is not told once more. */
size_t nadb_pubsub_deliver(struct nadb_server *server, struct nadb_slice channel,
    struct nadb_slice message, uint64_t version);

/* Between these two messages are kept, and only who would receive them is counted: for a command
 * that may have to run again. `drafts` is empty at first, the caller's, and sent or thrown away. */
void nadb_pubsub_draft_begin(struct nadb_pubsub *pubsub, struct nadb_buf *drafts);
void nadb_pubsub_draft_end(struct nadb_pubsub *pubsub);
void nadb_pubsub_send_drafts(struct nadb_server *server, struct nadb_slice drafts);

size_t nadb_pubsub_listeners(const struct nadb_pubsub *pubsub, struct nadb_slice channel);

typedef void nadb_pubsub_visit_fn(void *ctx, struct nadb_slice channel);
void nadb_pubsub_visit_channels(
    const struct nadb_pubsub *pubsub, nadb_pubsub_visit_fn *visit, void *ctx);

/* Around a client's command: messages to it meanwhile follow its reply. */
static inline void nadb_pubsub_command_begin(struct nadb_pubsub *pubsub, struct nadb_client *client)
{
    pubsub->self = client;
}

void nadb_pubsub_command_end(struct nadb_pubsub *pubsub);

#endif
