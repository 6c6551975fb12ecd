/* This file has the backend read all of its closed segments, one job each, and tells what is
 * damaged. What is damaged stays as it is: whoever asks for such a record is answered with an
 * error, and the operator has to know.
 *
 *     IDLE -> SETTLE        [nadb_store_verify, or the interval]
 *     SETTLE -> LIST        [all of it is durable, so that closing the last segment has it all]
 *     LIST -> WAIT          [the job has the list]
 *     WAIT -> CHECK -> WAIT [the rate allows the next segment; the job has read it]
 *     WAIT -> IDLE          [no more segments, or stopped: the report is there] */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

/* Thread: worker. */
static void run(struct nadb_job *job)
{
    struct nadb_verify *v = NADB_CONTAINER_OF(job, struct nadb_verify, job);
    const struct nadb_backend_ops *ops = v->store->backend_ops;
    struct nadb_backend *backend = v->store->backend;
    if (v->state == NADB_VERIFY_LIST) {
        v->err = ops->list(backend, true, &v->list, &v->list_count, &v->error);
    } else {
        v->err = ops->verify(backend, v->list[v->at].id, &v->result, &v->error);
    }
}

static void forget(struct nadb_verify *v)
{
    nadb_mem_free(v->list);
    v->list = NULL;
    v->list_count = v->at = 0;
    v->state = NADB_VERIFY_IDLE;
}

static void end(struct nadb_verify *v)
{
    struct nadb_store *store = v->store;
    v->report.number = v->number;
    v->report.was_stopped = v->must_stop;
    v->report.duration_us = nadb_store__elapsed_us(store, v->started_us);
    v->report.ended_ms = store->now_ms;
    v->last = v->report;
    v->ended_us = store->now_us;
    forget(v);
    store->events->admit(store->events_ctx);
    store->events->wake(store->events_ctx);
}

static void fail(struct nadb_verify *v, const struct nadb_error *error)
{
    v->report.is_failed = true;
    v->report.error = *error;
    v->store->events->notice(v->store->events_ctx, true, error->text);
    end(v);
}

static void note_segment(struct nadb_verify *v)
{
    struct nadb_verify_report *report = &v->report;
    report->segments++;
    report->bytes += v->result.bytes;
    report->records += v->result.records;
    v->budget_bytes += v->list[v->at].bytes;
    v->at++;
    if (v->err == NADB_OK) {
        return;
    }
    if (report->damaged < NADB_VERIFY_TEXTS) {
        memcpy(report->texts[report->damaged], v->error.text, NADB_ERROR_TEXT_MAX);
    }
    report->damaged++;
    v->store->events->notice(v->store->events_ctx, true, v->error.text);
}

static void done(struct nadb_job *job)
{
    struct nadb_verify *v = NADB_CONTAINER_OF(job, struct nadb_verify, job);
    if (v->state == NADB_VERIFY_CHECK) {
        note_segment(v);
    } else if (v->err != NADB_OK) {
        fail(v, &v->error);
        return;
    }
    v->state = NADB_VERIFY_WAIT;
    v->store->events->wake(v->store->events_ctx);
}

static void discard(struct nadb_job *job)
{
    forget(NADB_CONTAINER_OF(job, struct nadb_verify, job));
}

static const struct nadb_job_ops job_ops = {
    .name = "verify", .run = run, .done = done, .discard = discard};

void nadb_verify__init(struct nadb_store *store)
{
    store->verify = nadb_mem_zalloc(sizeof(*store->verify));
    store->verify->store = store;
    store->verify->ended_us = store->now_us;
    nadb_job_init(&store->verify->job, &job_ops, NADB_JOB_SLOW);
}

void nadb_verify__fini(struct nadb_store *store)
{
    struct nadb_verify *v = store->verify;
    NADB_ASSERT(v->state != NADB_VERIFY_LIST && v->state != NADB_VERIFY_CHECK);
    forget(v);
    nadb_mem_free(v);
    store->verify = NULL;
}

static void submit(struct nadb_verify *v, enum nadb_verify_state state)
{
    v->state = state;
    v->result = (struct nadb_verify_result){0};
    nadb_executor_submit(v->store->executor, &v->job);
}

static void begin(struct nadb_verify *v, bool is_asked_for)
{
    v->report = (struct nadb_verify_report){0};
    v->number++;
    v->version = v->store->version;
    v->started_us = v->store->now_us;
    v->budget_bytes = 0;
    v->must_stop = false;
    v->is_asked_for = is_asked_for;
    v->state = NADB_VERIFY_SETTLE;
}

static void go_on_settling(struct nadb_verify *v)
{
    struct nadb_store *store = v->store;
    if (v->must_stop) {
        end(v);
    } else if (store->state != NADB_STORAGE_OK) {
        struct nadb_error error;
        (void)nadb_error_set(
            &error, NADB_ENOSPC, 0, "verification: what has changed cannot be written");
        fail(v, &error);
    } else if (store->durable >= v->version) {
        submit(v, NADB_VERIFY_LIST);
    } else {
        nadb_store_flush_start(store);
    }
}

/* Only what nobody waits for is held back by the rate. */
static bool is_next_due(const struct nadb_verify *v)
{
    uint64_t rate = v->is_asked_for ? 0 : v->rate_bytes;
    return rate == 0 || v->store->now_us - v->started_us >=
                            (uint64_t)((double)v->budget_bytes / (double)rate * 1e6);
}

static void go_on(struct nadb_verify *v)
{
    while (v->at < v->list_count && !v->list[v->at].is_closed) {
        v->at++;
    }
    if (v->at == v->list_count || v->must_stop) {
        end(v);
    } else if (is_next_due(v)) {
        submit(v, NADB_VERIFY_CHECK);
    }
}

bool nadb_verify__step(struct nadb_store *store, uint64_t budget_us)
{
    (void)budget_us;
    struct nadb_verify *v = store->verify;
    if (store->phase != NADB_STORE_OPEN) {
        v->must_stop = true;
    }
    switch (v->state) {
    case NADB_VERIFY_IDLE:
        if (store->phase == NADB_STORE_OPEN && v->interval_us > 0 &&
            store->backend_ops->verify != NULL && store->state == NADB_STORAGE_OK &&
            store->now_us - v->ended_us >= v->interval_us) {
            begin(v, false);
        }
        break;
    case NADB_VERIFY_SETTLE:
        go_on_settling(v);
        break;
    case NADB_VERIFY_WAIT:
        go_on(v);
        break;
    case NADB_VERIFY_LIST:
    case NADB_VERIFY_CHECK:
        break;
    }
    return false;
}

/* ---- for callers ---- */

uint64_t nadb_store_verify(struct nadb_store *store)
{
    struct nadb_verify *v = store->verify;
    if (store->backend_ops->verify == NULL) {
        return 0;
    }
    if (v->state == NADB_VERIFY_IDLE) {
        begin(v, true);
    }
    v->is_asked_for = true;
    return v->number;
}

bool nadb_store_verify_report(
    const struct nadb_store *store, uint64_t number, struct nadb_verify_report *ret)
{
    if (store->verify->last.number < number) {
        return false;
    }
    *ret = store->verify->last;
    return true;
}

bool nadb_store_verify_progress(
    const struct nadb_store *store, uint64_t *ret_done, uint64_t *ret_segments)
{
    const struct nadb_verify *v = store->verify;
    *ret_done = v->report.segments;
    *ret_segments = v->list_count;
    return v->state != NADB_VERIFY_IDLE;
}

void nadb_store_verify_stop(struct nadb_store *store)
{
    store->verify->must_stop = store->verify->state != NADB_VERIFY_IDLE;
}

void nadb_store_set_verification(
    struct nadb_store *store, uint64_t interval_ms, uint64_t rate_bytes)
{
    store->verify->interval_us = interval_ms * 1000;
    store->verify->rate_bytes = rate_bytes;
}
