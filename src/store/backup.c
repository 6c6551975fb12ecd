/* This file makes backups: everything so far is made durable, compaction pauses, and a job copies.
 *
 *     IDLE -> SETTLE     [nadb_store_backup]
 *     SETTLE -> RUNNING  [all of it is durable, and no compaction runs]
 *     RUNNING -> IDLE    [the job is done: the report is there] */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

static void run(struct nadb_job *job)
{
    struct nadb_backup *b = NADB_CONTAINER_OF(job, struct nadb_backup, job);
    b->err = b->store->backend_ops->backup(
        b->store->backend, b->path, b->base, &b->report.result, &b->report.error);
}

static void forget(struct nadb_backup *b)
{
    nadb_mem_free(b->path);
    nadb_mem_free(b->base);
    b->path = b->base = NULL;
    b->state = NADB_BACKUP_IDLE;
}

static void end(struct nadb_backup *b)
{
    b->report.number = b->number;
    b->report.is_failed = b->err != NADB_OK;
    b->report.duration_us = nadb_store__elapsed_us(b->store, b->started_us);
    forget(b);
    b->store->events->admit(b->store->events_ctx);
    b->store->events->wake(b->store->events_ctx);
}

static void done(struct nadb_job *job)
{
    end(NADB_CONTAINER_OF(job, struct nadb_backup, job));
}

static void discard(struct nadb_job *job)
{
    forget(NADB_CONTAINER_OF(job, struct nadb_backup, job));
}

static const struct nadb_job_ops job_ops = {
    .name = "backup", .run = run, .done = done, .discard = discard};

void nadb_backup__init(struct nadb_store *store)
{
    store->backup.store = store;
    nadb_job_init(&store->backup.job, &job_ops, NADB_JOB_SLOW);
}

void nadb_backup__fini(struct nadb_store *store)
{
    NADB_ASSERT(store->backup.state != NADB_BACKUP_RUNNING);
    forget(&store->backup);
}

bool nadb_backup__step(struct nadb_store *store, uint64_t budget_us)
{
    (void)budget_us;
    struct nadb_backup *b = &store->backup;
    if (b->state != NADB_BACKUP_SETTLE) {
        return false;
    }
    if (store->phase != NADB_STORE_OPEN) {
        b->err =
            nadb_error_set(&b->report.error, NADB_EUSAGE, 0, "backup: the server is shutting down");
        end(b);
    } else if (store->state != NADB_STORAGE_OK) {
        b->err = nadb_error_set(
            &b->report.error, NADB_ENOSPC, 0, "backup: what has changed cannot be written");
        end(b);
    } else if (store->durable < b->version) {
        nadb_store_flush_start(store);
    } else if (!nadb_store_is_compacting(store)) {
        b->state = NADB_BACKUP_RUNNING;
        nadb_executor_submit(store->executor, &b->job);
    }
    return false;
}

static char *text_of(struct nadb_slice slice)
{
    char *text = nadb_mem_alloc(slice.len + 1);
    memcpy(text, slice.data, slice.len);
    text[slice.len] = '\0';
    return text;
}

uint64_t nadb_store_backup(struct nadb_store *store, struct nadb_slice path, struct nadb_slice base)
{
    struct nadb_backup *b = &store->backup;
    if (b->state != NADB_BACKUP_IDLE || store->backend_ops->backup == NULL) {
        return 0;
    }
    b->path = text_of(path);
    b->base = base.data == NULL ? NULL : text_of(base);
    b->version = store->version;
    b->started_us = store->now_us;
    b->report = (struct nadb_backup_report){0};
    b->state = NADB_BACKUP_SETTLE;
    return ++b->number;
}

bool nadb_store_backup_report(
    const struct nadb_store *store, uint64_t number, struct nadb_backup_report *ret)
{
    if (store->backup.report.number < number) {
        return false;
    }
    *ret = store->backup.report;
    return true;
}
