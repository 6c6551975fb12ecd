/* A shared backend for tests: its engine is a store of nadbd's own with the memory backend, so what
 * it answers is what a log backend would answer. It outlives its instances and may have several.
 * Other writers can be put between an attempt and its commit, and operations can be made to fail.
 * Thread: one at a time; the executor of tests has only one. */
#ifndef NADB_TESTS_SUPPORT_SHARED_FAKE_H
#define NADB_TESTS_SUPPORT_SHARED_FAKE_H

#include "backends/shared.h"
#include "src/store/store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/inline_executor.h"

struct nadb_shared_engine {
    struct nadb_inline_executor executor;
    struct nadb_store *store; /* owned */
    /* to come */
    unsigned fail_runs; /* so many of the next runs: every operation of them */
    enum nadb_err fail_err;
    unsigned fail_opens;
    void (*before_commit)(void *ctx, struct nadb_shared_engine *engine); /* once; then NULL */
    void *before_commit_ctx;
    struct nadb_buf said;    /* the last that was published, as listen has it */
    struct nadb_backend *by; /* by whom; everybody else hears it once */
    uint64_t stamps;         /* given out: above all versions of the engine's store */
    /* what was asked for */
    unsigned runs, ops, commits, conflicts, fetches, opens;
    size_t last_ops; /* of the last run */
};

extern const struct nadb_backend_ops nadb_shared_fake_ops;

void nadb_shared_engine_init(struct nadb_shared_engine *engine, struct nadb_clock *clock);
void nadb_shared_engine_fini(struct nadb_shared_engine *engine);

/* An instance over the engine, which must outlive it. Its new_instance is never used. */
struct nadb_backend *nadb_shared_fake_new(struct nadb_shared_engine *engine);

/* Another nadbd sets a key of database 0. */
void nadb_shared_engine_set(struct nadb_shared_engine *engine, const char *key, const char *value);

#endif
