/* This file keeps the table that the simulated store is compared with. */
#include "tests/sim/sim_model.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

#define CAP_FIRST 64u

void sim_model_init(struct sim_model *model, uint64_t wall_ms)
{
    *model = (struct sim_model){0};
    sim_model_set_wall(model, wall_ms);
    sim_model_push(model, 0);
    model->start_count = 1;
}

void sim_model_fini(struct sim_model *model)
{
    nadb_mem_free(model->history);
    nadb_mem_free(model->walls);
    nadb_mem_free(model->is_gone);
    *model = (struct sim_model){0};
}

void sim_model_set_wall(struct sim_model *model, uint64_t wall_ms)
{
    if (model->wall_count == model->wall_cap) {
        model->wall_cap = model->wall_cap == 0 ? CAP_FIRST : model->wall_cap * 2;
        model->walls = nadb_mem_realloc(model->walls, model->wall_cap * sizeof(uint64_t));
    }
    model->walls[model->wall_count++] = wall_ms;
}

bool sim_model_may_be_gone(const struct sim_model *model, const struct sim_cell *cell)
{
    for (size_t i = cell->tick; cell->expire_ms != 0 && i < model->wall_count; i++) {
        if (model->walls[i] >= cell->expire_ms) {
            return true;
        }
    }
    return false;
}

void sim_model_renew(struct sim_model *model, struct sim_cell *cell)
{
    cell->uid = ++model->uid_last;
    cell->tick = model->wall_count - 1;
    if (model->uid_last >= model->gone_cap) {
        size_t cap = model->gone_cap == 0 ? CAP_FIRST : model->gone_cap * 2;
        model->is_gone = nadb_mem_realloc(model->is_gone, cap * sizeof(bool));
        memset(&model->is_gone[model->gone_cap], 0, (cap - model->gone_cap) * sizeof(bool));
        model->gone_cap = cap;
    }
}

void sim_model_report_gone(struct sim_model *model, struct sim_cell *cell)
{
    NADB_ASSERT(cell->uid != 0);
    model->is_gone[cell->uid] = true;
    *cell = (struct sim_cell){0};
}

void sim_model_push(struct sim_model *model, uint64_t version)
{
    if (model->history_count == model->history_cap) {
        model->history_cap = model->history_cap == 0 ? CAP_FIRST : model->history_cap * 2;
        model->history =
            nadb_mem_realloc(model->history, model->history_cap * sizeof(struct sim_snapshot));
    }
    model->history[model->history_count++] =
        (struct sim_snapshot){.version = version, .state = model->now};
}

size_t sim_model_reached(const struct sim_model *model, uint64_t version)
{
    size_t at = model->history_count - 1;
    while (at > 0 && model->history[at].version > version) {
        at--;
    }
    return at;
}

void sim_model_roll_back(struct sim_model *model, uint64_t version, uint64_t version_now,
    uint64_t ghost_version, uint64_t flushes)
{
    size_t at = sim_model_reached(model, version);
    if (ghost_version != 0 && sim_model_reached(model, ghost_version) > at) {
        NADB_ASSERT(model->ghost_count < SIM_GHOSTS_MAX);
        model->ghosts[model->ghost_count] = model->history[sim_model_reached(model, ghost_version)];
        model->ghosts[model->ghost_count++].flushes = flushes;
    }
    model->history_count = at + 1;
    model->now = model->history[at].state;
    bool is_changed = false;
    for (size_t i = 0; i < SIM_KEYSPACES * SIM_KEYS; i++) {
        struct sim_cell *cell = &model->now.cells[i / SIM_KEYS][i % SIM_KEYS];
        if (cell->uid != 0 && model->is_gone[cell->uid]) {
            *cell = (struct sim_cell){0};
            is_changed = true;
        }
    }
    if (is_changed) {
        sim_model_push(model, version_now);
    }
}

void sim_model_drop_ghosts(struct sim_model *model, uint64_t flushes)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->ghost_count; i++) {
        if (model->ghosts[i].flushes == flushes) {
            model->ghosts[kept++] = model->ghosts[i];
        }
    }
    model->ghost_count = kept;
}

size_t sim_model_floor(const struct sim_model *model, uint64_t version)
{
    size_t at = sim_model_reached(model, version);
    return at < model->start_count ? 0 : at;
}

void sim_model_begin_restart(struct sim_model *model)
{
    model->history = NULL;
    model->history_count = model->history_cap = 0;
    model->start_count = 0;
    model->ghost_count = 0;
}

void sim_model_add_start(struct sim_model *model, const struct sim_state *state, uint64_t version)
{
    model->now = *state;
    model->start_count++;
    sim_model_push(model, version);
    /* What had been reported as expired may come back if the backend had not been told. */
    for (size_t i = 0; i < SIM_KEYSPACES * SIM_KEYS; i++) {
        uint32_t uid = model->now.cells[i / SIM_KEYS][i % SIM_KEYS].uid;
        if (uid != 0) {
            model->is_gone[uid] = false;
        }
    }
}

static char value_byte(uint32_t value, size_t at)
{
    uint32_t mixed = (value + (uint32_t)at / 16) * 2654435761u;
    return (char)((mixed >> 24) + at % 16);
}

void sim_value_fill(uint32_t value, char *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = value_byte(value, i);
    }
}

bool sim_value_is(uint32_t value, size_t len, struct nadb_slice bytes)
{
    if (bytes.len < len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (bytes.data[i] != value_byte(value, i)) {
            return false;
        }
    }
    return true;
}

struct nadb_slice sim_tags(uint32_t set)
{
    static const struct nadb_slice sets[SIM_TAG_SETS] = {
        {"", 0},
        {"\3\0one", 5},
        {"\3\0one\3\0two", 10},
        {"\1\0x\0\0\2\0yz", 9},
        {"\1\0x\3\0one", 8},
        {"\3\0two", 5},
    };
    NADB_ASSERT(set < SIM_TAG_SETS);
    return sets[set];
}
