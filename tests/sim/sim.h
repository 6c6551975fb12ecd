/* A seeded simulation of the whole store: commands of clients, background work and jobs in any
 * order, clocks that jump, a disk that fails, crashes of the process and of the machine.
 *
 *     sim_world.c     the store and all around it: opening, crashing, comparing what comes back
 *     sim_commands.c  what clients do, and what they must be answered
 *     sim_model.c     what they are compared with
 *     sim_main.c      seeds
 *
 * The same seed is the same run, call for call. Thread: one. */
#ifndef NADB_TESTS_SIM_SIM_H
#define NADB_TESTS_SIM_SIM_H

#include "src/base/random.h"
#include "src/store/store_internal.h"
#include "tests/sim/sim_model.h"
#include "tests/support/fake_clock.h"
#include "tests/support/faulty_io.h"
#include "tests/support/inline_executor.h"

#define SIM_WATCHERS 2u
#define SIM_WATCHED  3u

/* When a key was last changed, as far as replies to its readers depend on it. */
struct sim_touch {
    uint64_t version;
    bool is_always; /* in durability always */
};

struct sim_watcher {
    struct nadb_watcher watcher;
    size_t count;
    struct {
        unsigned keyspace, key;
    } watched[SIM_WATCHED];
    bool must_be_dirty, may_be_dirty;
};

/* What a run has seen. */
struct sim_counts {
    uint64_t changes;
    uint64_t crashes, power_cuts; /* the former include the latter */
    uint64_t failed_opens;
    uint64_t failed_flushes, unknown;
    uint64_t refusals;
    uint64_t compactions, skips; /* the latter are segments */
    uint64_t hints, backups;
};

struct sim {
    uint64_t seed, steps;
    bool is_verbose;
    struct nadb_rng rng;
    struct nadb_fake_clock clock;
    struct nadb_inline_executor exec;
    struct nadb_faulty *faulty;
    struct nadb_store *store;
    struct sim_model model;
    struct sim_touch touches[SIM_KEYSPACES][SIM_KEYS];
    struct sim_watcher watchers[SIM_WATCHERS];
    bool is_dead;                     /* the process is: nothing that the store tells is heard */
    bool may_tell;                    /* the call under way may bring events */
    bool has_faults;                  /* some are armed */
    bool had_faults, had_sync_faults; /* since the store was opened */
    bool is_opened, is_closed, is_closing;
    enum nadb_err opened_err, closed_err;
    struct nadb_error opened_error;
    uint64_t opened_version;
    uint64_t hold_max; /* of the replies since the last flush that failed */
    const char *dir;   /* of the store */
    /* a backup that is under way, or whose result has not been looked at; number 0: none */
    uint64_t backup_number, backup_from; /* the latter: version when it was begun */
    uint64_t overwrites; /* changes to come that overwrite a few keys: segments die whole */
    struct sim_counts counts;
};

/* Says what is wrong with which seed, and aborts. */
#define SIM_CHECK(sim, condition, ...)                                                             \
    (NADB_LIKELY(condition) ? (void)0 : sim_failed((sim), #condition, __VA_ARGS__))
NADB_NORETURN void sim_failed(const struct sim *sim, const char *condition, const char *format, ...)
    NADB_PRINTF(3, 4);

/* For --verbose. */
void sim_trace(const struct sim *sim, const char *format, ...) NADB_PRINTF(2, 3);

/* One run. */
void sim_run(struct sim *sim, uint64_t seed, bool is_verbose);

/* ---- chance ---- */

static inline uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return nadb_rng_below(&sim->rng, bound);
}

static inline bool sim_chance(struct sim *sim, uint64_t percent)
{
    return nadb_rng_below(&sim->rng, 100) < percent;
}

/* ---- sim_commands.c ---- */

/* A turn of the loop with a few commands. */
void sim_turn(struct sim *sim);

/* Every key of the store is compared with the model, and there are no others. */
void sim_compare(struct sim *sim);

/* The keyspace and the key of these numbers. */
struct nadb_keyspace *sim_keyspace(struct sim *sim, unsigned keyspace);
struct nadb_key sim_key(struct sim *sim, unsigned key);

/* Is the record, or that there is none, what the cell says? NULL, or what is wrong. */
/* Brings the key's value into memory; false when the disk fails. */
bool sim_has_value(struct sim *sim, unsigned keyspace, unsigned key);

const char *sim_differs(const struct sim_cell *cell, const struct nadb_rec *rec);

/* A rollback or a crash: watchers are to be let go of, or may have been touched. */
void sim_unwatch_all(struct sim *sim);
void sim_watchers_may_be_dirty(struct sim *sim);

#endif
