/* What the simulated store is compared with: a plain table of cells, one for each key that the
 * simulation uses, and its states after every command.
 *
 * A cell with a deadline is not only there or not: whether the store has noticed the deadline when
 * the clock goes back again cannot be told from outside. So the model remembers every time that
 * the clock has shown, and a record whose deadline has been passed since it was written may be
 * there or not, until somebody has looked. Thread: the simulation's. */
#ifndef NADB_TESTS_SIM_SIM_MODEL_H
#define NADB_TESTS_SIM_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

#define SIM_DATABASES     3u
#define SIM_NAMES         2u /* a database's own keyspace and one namespace */
#define SIM_KEYSPACES     (SIM_DATABASES * SIM_NAMES)
#define SIM_KEYS          10u
#define SIM_VALUE_LEN_MAX 5000u
#define SIM_TAG_SETS      6u
#define SIM_GHOSTS_MAX    64u

/* One key's record. */
struct sim_cell {
    uint32_t uid;   /* of this state of the record; 0: there is none */
    uint32_t value; /* its bytes follow from this and the length */
    uint32_t len;
    uint32_t tags; /* number of a set of tags */
    uint64_t expire_ms;
    size_t tick; /* when it became so: an index into the clock's history */
};

struct sim_state {
    struct sim_cell cells[SIM_KEYSPACES][SIM_KEYS];
};

struct sim_snapshot {
    uint64_t version; /* the store's, when the command had ended */
    uint64_t flushes; /* ghosts: how many flushes there had been */
    struct sim_state state;
};

struct sim_model {
    struct sim_state now;
    struct sim_snapshot *history; /* states after commands, oldest first */
    size_t history_count, history_cap;
    size_t start_count; /* of them, those that may be what was found at the start */
    /* states of batches of unknown outcome: possible until the next flush succeeds */
    struct sim_snapshot ghosts[SIM_GHOSTS_MAX];
    size_t ghost_count;
    uint64_t *walls; /* every time that the wall clock has shown */
    size_t wall_count, wall_cap;
    bool *is_gone; /* by uid: reported as gone by reason of its deadline */
    size_t gone_cap;
    uint32_t uid_last;
};

void sim_model_init(struct sim_model *model, uint64_t wall_ms);
void sim_model_fini(struct sim_model *model);

void sim_model_set_wall(struct sim_model *model, uint64_t wall_ms);

/* May the cell's deadline have been noticed by now? */
bool sim_model_may_be_gone(const struct sim_model *model, const struct sim_cell *cell);

/* The cell is another record now; expire_ms, len and so on are the caller's to fill. */
void sim_model_renew(struct sim_model *model, struct sim_cell *cell);

/* The store has reported that the cell's record has expired. */
void sim_model_report_gone(struct sim_model *model, struct sim_cell *cell);

/* A command has ended. */
void sim_model_push(struct sim_model *model, uint64_t version);

/* Index of the last state that a store which is durable up to `version` must have reached. */
size_t sim_model_reached(const struct sim_model *model, uint64_t version);

/* At `version_now` what came after `version` is taken back; what was reported as expired stays
 * gone. With `ghost_version` not 0 the state at that version is possible after a crash
 * nevertheless. */
void sim_model_roll_back(struct sim_model *model, uint64_t version, uint64_t version_now,
    uint64_t ghost_version, uint64_t flushes);

/* Ghosts vanish with the next flush that succeeds. */
void sim_model_drop_ghosts(struct sim_model *model, uint64_t flushes);

/* The same after a crash, where the states with which history began cannot be told apart. */
size_t sim_model_floor(const struct sim_model *model, uint64_t version);

/* History begins anew, with one or several states that may be the true one; the last is `now`.
 * What `history` and `ghosts` were is the caller's, who has a copy of the struct. */
void sim_model_begin_restart(struct sim_model *model);
void sim_model_add_start(struct sim_model *model, const struct sim_state *state, uint64_t version);

/* The bytes of a value, and whether `bytes` are they. */
void sim_value_fill(uint32_t value, char *out, size_t len);
bool sim_value_is(uint32_t value, size_t len, struct nadb_slice bytes);

/* Packed tags; set 0 has none. */
struct nadb_slice sim_tags(uint32_t set);

#endif
