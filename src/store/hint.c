/* This file has the backend write hints for closed segments, where the next start is going to need
 * them: when so much is kept that it will not all be loaded. What compaction is about to rewrite
 * needs none.
 *
 *     IDLE -> LIST -> HINT -> IDLE     a job each; every look writes one hint at most */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define LOOK_US  UINT64_C(1000000)  /* between looks for a segment without one */
#define RETRY_US UINT64_C(60000000) /* after a failure */

/* Thread: worker. */
static void run(struct nadb_job *job)
{
    struct nadb_hinter *h = NADB_CONTAINER_OF(job, struct nadb_hinter, job);
    const struct nadb_backend_ops *ops = h->store->backend_ops;
    if (h->state == NADB_HINTER_LIST) {
        h->err = ops->list(h->store->backend, false, &h->list, &h->list_count, &h->error);
    } else {
        h->err = ops->hint(h->store->backend, h->id, &h->error);
    }
}

static void submit(struct nadb_hinter *h, enum nadb_hinter_state state)
{
    h->state = state;
    nadb_executor_submit(h->store->executor, &h->job);
}

/* The first segment that should have a hint; false: none. */
static bool choose(struct nadb_hinter *h)
{
    bool is_found = false;
    for (size_t i = 0; i < h->list_count && !is_found; i++) {
        const struct nadb_segment_info *info = &h->list[i];
        is_found =
            info->is_closed && !info->has_hint && !nadb_compact__wants(h->store, info->number);
        h->id = info->id;
    }
    nadb_mem_free(h->list);
    h->list = NULL;
    return is_found;
}

static void done(struct nadb_job *job)
{
    struct nadb_hinter *h = NADB_CONTAINER_OF(job, struct nadb_hinter, job);
    struct nadb_store *store = h->store;
    bool was_list = h->state == NADB_HINTER_LIST;
    h->state = NADB_HINTER_IDLE;
    if (h->err != NADB_OK) {
        h->due_us = store->now_us + RETRY_US;
        store->events->notice(store->events_ctx, true, h->error.text);
    } else if (was_list && choose(h)) {
        submit(h, NADB_HINTER_HINT);
    } else if (!was_list) {
        store->stats.hints++;
        h->due_us = 0; /* there may be more */
    }
    store->events->wake(store->events_ctx);
}

static void discard(struct nadb_job *job)
{
    struct nadb_hinter *h = NADB_CONTAINER_OF(job, struct nadb_hinter, job);
    h->state = NADB_HINTER_IDLE;
}

static const struct nadb_job_ops job_ops = {
    .name = "hint", .run = run, .done = done, .discard = discard};

void nadb_hinter__init(struct nadb_store *store)
{
    store->hinter.store = store;
    store->hinter.bytes_min = UINT64_MAX;
    nadb_job_init(&store->hinter.job, &job_ops, NADB_JOB_SLOW);
}

void nadb_hinter__fini(struct nadb_store *store)
{
    NADB_ASSERT(store->hinter.state == NADB_HINTER_IDLE);
    nadb_mem_free(store->hinter.list);
}

bool nadb_hinter__step(struct nadb_store *store, uint64_t budget_us)
{
    (void)budget_us;
    struct nadb_hinter *h = &store->hinter;
    bool is_wanted = h->state == NADB_HINTER_IDLE && store->phase == NADB_STORE_OPEN &&
                     store->backend_ops->hint != NULL && store->state == NADB_STORAGE_OK &&
                     store->stats.backend.disk_bytes >= h->bytes_min;
    if (is_wanted && store->now_us >= h->due_us) {
        h->due_us = store->now_us + LOOK_US;
        submit(h, NADB_HINTER_LIST);
    }
    return false;
}

void nadb_store_set_hints(struct nadb_store *store, uint64_t bytes_min)
{
    store->hinter.bytes_min = bytes_min;
}
