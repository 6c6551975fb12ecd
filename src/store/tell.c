/* This file carries messages between the nadbd in front of one engine.
 *
 * What is told goes out as any other operation, of an attempt that nobody waits for. What others
 * tell is heard by a job that listens all the time: it returns with what came, hands it over, and
 * is submitted again at the next step. */
#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/mem.h"
#include "src/store/shared_internal.h"

#define LISTEN_MS     1000u
#define HEARD_LEN_MAX ((size_t)64 << 20)
#define HEAD_LEN      8u

void nadb_store_tell(struct nadb_store *store, struct nadb_slice channel, struct nadb_slice text)
{
    if (store->shared == NULL || store->phase != NADB_STORE_OPEN || nadb_shared__is_busy(store)) {
        return;
    }
    struct nadb_attempt *attempt = nadb_attempt_new(store);
    const struct nadb_op question = {.kind = NADB_OP_PUBLISH, .key = channel, .text = text};
    nadb_answer__ask(attempt, NULL, &question);
    nadb_attempt_free(attempt); /* when it has been sent */
}

/* ---- hearing ---- */

static struct nadb_shared *shared_of(struct nadb_job *job)
{
    return NADB_CONTAINER_OF(job, struct nadb_shared, listen_job);
}

static void listen_run(struct nadb_job *job)
{
    struct nadb_shared *shared = shared_of(job);
    struct nadb_store *store = shared->store;
    store->backend_ops->shared->listen(store->backend, LISTEN_MS, &shared->heard);
}

static void hand_over(struct nadb_shared *shared)
{
    const struct nadb_store *store = shared->store;
    const struct nadb_buf *heard = &shared->heard;
    size_t at = 0;
    while (heard->len - at >= HEAD_LEN) {
        size_t channel_len = nadb_get_u32(heard->data + at);
        size_t text_len = nadb_get_u32(heard->data + at + 4);
        const char *channel = heard->data + at + HEAD_LEN;
        at += HEAD_LEN + channel_len + text_len;
        NADB_ASSERT(at <= heard->len);
        store->events->heard(store->events_ctx, nadb_slice_of(channel, channel_len),
            nadb_slice_of(channel + channel_len, text_len));
    }
}

static void listen_done(struct nadb_job *job)
{
    struct nadb_shared *shared = shared_of(job);
    shared->is_listening = false;
    shared->listen_due_us = shared->store->now_us + 1;
    hand_over(shared);
    nadb_buf_fini(&shared->heard);
    shared->store->events->wake(shared->store->events_ctx);
}

static void listen_discard(struct nadb_job *job)
{
    shared_of(job)->is_listening = false;
}

static const struct nadb_job_ops listen_ops = {
    .name = "listen", .run = listen_run, .done = listen_done, .discard = listen_discard};

void nadb_tell__init(struct nadb_shared *shared)
{
    nadb_job_init(&shared->listen_job, &listen_ops, NADB_JOB_SLOW);
}

void nadb_tell__step(struct nadb_store *store)
{
    struct nadb_shared *shared = store->shared;
    if (shared->is_listening && store->phase == NADB_STORE_CLOSING) {
        store->backend_ops->shared->hush(store->backend);
    }
    if (shared->is_listening || store->phase != NADB_STORE_OPEN ||
        store->now_us < shared->listen_due_us) {
        return;
    }
    nadb_buf_init(&shared->heard, HEARD_LEN_MAX);
    shared->is_listening = true;
    nadb_executor_submit(store->executor, &shared->listen_job);
}
