/* This file is the world around the simulated store: time, jobs, the disk and its faults, and what
 * comes back after a crash.
 *
 * What is promised after a crash is asked of the store itself, and the store is held to it: the
 * machine's death leaves at least what nadb_store_durable said, the process's death at least what
 * had been written. A state is right when it is one of those that the model had after a command:
 * then no command was split. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/fs/fs.h"
#include "backends/fs/offline.h"
#include "backends/registry.h"
#include "src/base/mem.h"
#include "tests/sim/sim.h"
#include "tests/support/fs_listener.h"

#define STEPS_EACH_RUN   400u
#define OPEN_TRIES_MAX   30u
#define OPEN_ROUNDS_MAX  10000u
#define ANSWER_ROUNDS    100u /* more than the store gathers for */
#define QUIET_ROUNDS     12u
#define LITTLE_BYTES     400u
#define PACE_ROUNDS      3u /* until whoever waits for a compaction is let go on */
#define STEP_US          1000000u
#define CLOCK_START_BACK UINT64_C(50000000)

void sim_failed(const struct sim *sim, const char *condition, const char *format, ...)
{
    (void)fprintf(stderr, "sim: seed %llu, step %llu: ", (unsigned long long)sim->seed,
        (unsigned long long)sim->steps);
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, " (%s)\n", condition);
    abort();
}

void sim_trace(const struct sim *sim, const char *format, ...)
{
    if (!sim->is_verbose) {
        return;
    }
    (void)printf("%5llu, version %llu: ", (unsigned long long)sim->steps,
        sim->store == NULL ? 0 : (unsigned long long)sim->store->version);
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\n");
    (void)fflush(stdout);
}

/* ---- what the store tells ---- */

static void check_may_tell(const struct sim *sim)
{
    SIM_CHECK(sim, sim->may_tell, "an event from inside a call that brings none");
}

static void on_opened(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    struct sim *sim = ctx;
    check_may_tell(sim);
    sim->is_opened = true;
    sim->opened_err = err;
    if (err != NADB_OK) {
        sim->opened_error = *error;
    }
}

static void on_closed(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    struct sim *sim = ctx;
    (void)error;
    if (!sim->is_dead) {
        check_may_tell(sim);
        sim->is_closed = true;
        sim->closed_err = err;
    }
}

static void on_durable(void *ctx)
{
    const struct sim *sim = ctx;
    if (!sim->is_dead) {
        check_may_tell(sim);
    }
}

/* What the failed flush takes with it: in always all that the backend does not have, but for a
 * flight that was cut in another mode, which is kept. */
static void on_undone(void *ctx, const struct nadb_error *error)
{
    struct sim *sim = ctx;
    const struct nadb_store *store = sim->store;
    if (sim->is_dead) {
        return;
    }
    check_may_tell(sim);
    SIM_CHECK(sim, sim->had_faults, "a flush failed without a reason: %s", error->text);
    sim->counts.failed_flushes++;
    sim->hold_max = 0; /* all that were held are answered */
    const struct nadb_flight *flight = &store->flight;
    bool is_kept = flight->state == NADB_FLIGHT_RETRY;
    bool is_unknown = flight->err == NADB_ESYNC;
    sim->counts.unknown += is_unknown;
    sim_trace(sim, "flush failed: %s%s", error->text, is_kept ? ", kept" : "");
    if (store->durability != NADB_DURABILITY_ALWAYS) {
        SIM_CHECK(sim, is_kept, "in interval a batch was dropped");
        return;
    }
    uint64_t version = is_kept ? flight->batch.last_version : store->written;
    uint64_t ghost = !is_kept && is_unknown ? flight->batch.last_version : 0;
    SIM_CHECK(sim, version >= store->durable, "what was durable is taken back");
    sim_model_drop_ghosts(&sim->model, store->stats.flushes);
    sim_trace(sim, "taken back to version %llu", (unsigned long long)version);
    sim_model_roll_back(&sim->model, version, store->version, ghost, store->stats.flushes);
    memset(sim->touches, 0, sizeof(sim->touches));
    sim_watchers_may_be_dirty(sim);
}

static void on_admit(void *ctx)
{
    const struct sim *sim = ctx;
    if (!sim->is_dead) {
        check_may_tell(sim);
    }
}

static void on_wake(void *ctx)
{
    (void)ctx; /* steps are made all the time */
}

static void on_notice(void *ctx, bool is_warning, const char *line)
{
    const struct sim *sim = ctx;
    sim_trace(sim, "%s: %s", is_warning ? "warning" : "notice", line);
}

static const struct nadb_store_events events = {
    .opened = on_opened,
    .closed = on_closed,
    .durable = on_durable,
    .undone = on_undone,
    .admit = on_admit,
    .wake = on_wake,
    .notice = on_notice,
};

/* ---- faults ---- */

static void stop_faults(struct sim *sim)
{
    for (int kind = NADB_FAULTY_ANY; kind <= NADB_FAULTY_LINK; kind++) {
        nadb_faulty_fail(sim->faulty, (enum nadb_faulty_call)kind, 0, 0, 0);
    }
    nadb_faulty_shorten(sim->faulty, 0);
    nadb_faulty_crash_at(sim->faulty, 0);
    nadb_faulty_set_space(sim->faulty, UINT64_MAX);
    sim->has_faults = false;
}

static void arm_fault(struct sim *sim)
{
    static const enum nadb_faulty_call kinds[] = {NADB_FAULTY_WRITE, NADB_FAULTY_WRITE,
        NADB_FAULTY_SYNC, NADB_FAULTY_SYNC, NADB_FAULTY_ANY, NADB_FAULTY_OPEN, NADB_FAULTY_RENAME,
        NADB_FAULTY_SYNC_DIR, NADB_FAULTY_TRUNCATE, NADB_FAULTY_ALLOCATE, NADB_FAULTY_UNLINK,
        NADB_FAULTY_READ};
    sim->has_faults = sim->had_faults = true;
    if (sim_chance(sim, 15)) {
        uint64_t room = sim_below(sim, 20000);
        sim_trace(sim, "fault: room for %llu bytes more", (unsigned long long)room);
        nadb_faulty_set_space(sim->faulty, nadb_faulty_used(sim->faulty) + room);
        return;
    }
    enum nadb_faulty_call kind = kinds[sim_below(sim, NADB_ARRAY_LEN(kinds))];
    uint64_t nth = 1 + sim_below(sim, 4);
    uint64_t times = sim_chance(sim, 15) ? 0 : 1 + sim_below(sim, 3);
    int error = sim_chance(sim, 50) ? ENOSPC : EIO;
    sim_trace(sim, "fault: call of kind %d, nth %llu, times %llu: %d", (int)kind,
        (unsigned long long)nth, (unsigned long long)times, error);
    nadb_faulty_fail(sim->faulty, kind, nth, times, error);
    if (kind == NADB_FAULTY_SYNC || kind == NADB_FAULTY_ANY) {
        sim->had_sync_faults = true;
    }
}

/* ---- opening and dying ---- */

static void set_compression(struct sim *sim)
{
    const struct nadb_compression compression = {
        .is_on = sim_chance(sim, 70), .level = 1, .threshold_len = 32 << sim_below(sim, 4)};
    nadb_store_set_compression(sim->store, &compression);
}

static void make_store(struct sim *sim)
{
    const struct nadb_backend_opts opts = {
        .dir = sim->dir,
        .segment_size_bytes = UINT64_C(4096) << sim_below(sim, 5),
        .replay_values_max = sim_chance(sim, 40),
    };
    sim->is_dead = sim->is_opened = sim->is_closed = sim->is_closing = false;
    sim->store = nadb_store_new(&(struct nadb_store_opts){
        .clock = &sim->clock.clock,
        .executor = &sim->exec.executor,
        .events = &events,
        .events_ctx = sim,
        .backend_ops = &nadb_backend_fs_ops,
        .backend = nadb_fs_new(&opts, nadb_faulty_io(sim->faulty)),
        .durability = (enum nadb_durability)sim_below(sim, 3),
        .buffer_size_bytes = 200u << sim_below(sim, 8),
        .flush_interval_ms = 1 + sim_below(sim, 2000),
        .databases = SIM_DATABASES,
        .namespaces_max = SIM_KEYSPACES,
        .hash_seed = {sim->seed + 1, sim->seed * 3},
    });
    sim->store->invalidate_few = sim_below(sim, 4);
    nadb_store_set_hints(sim->store, sim_chance(sim, 50) ? 0 : UINT64_MAX);
    set_compression(sim);
    const struct nadb_compaction_rules rules = {
        .dead_percent = sim_below(sim, 60),
        .stall_percent = sim_chance(sim, 50) ? sim_below(sim, 60) : 0,
        .rate_bytes = sim_below(sim, 2) * 100000,
        .segment_bytes = opts.segment_size_bytes,
    };
    nadb_store_set_compaction(sim->store, &rules);
}

/* Whatever was under way never ends; the store is freed without close. */
static void die(struct sim *sim)
{
    sim->is_dead = sim->may_tell = true;
    sim->backup_number = 0;
    sim->counts.compactions += sim->store->stats.compactions;
    sim->counts.skips += sim->store->stats.skipped_segments;
    sim->counts.hints += sim->store->stats.hints;
    nadb_inline_executor_discard_all(&sim->exec);
    sim_unwatch_all(sim);
    nadb_store_free(sim->store);
    sim->store = NULL;
    sim->may_tell = false;
}

static void check_leftover_backup(struct sim *sim);

static void end_machine(struct sim *sim, bool is_power_cut)
{
    sim_trace(sim, is_power_cut ? "power cut" : "kill");
    if (is_power_cut) {
        nadb_faulty_power_cut(sim->faulty);
        sim->counts.power_cuts++;
    } else {
        nadb_faulty_kill(sim->faulty);
    }
    stop_faults(sim);
    sim->counts.crashes++;
    check_leftover_backup(sim);
}

/* One half of a job that waits. False: the process has crashed in it. */
static bool run_half(struct sim *sim, size_t idx)
{
    sim->may_tell = true;
    if (!sim->exec.pending[idx].has_run) {
        nadb_inline_executor_run_worker_half(&sim->exec, idx);
    } else {
        nadb_inline_executor_finish(&sim->exec, idx);
    }
    sim->may_tell = false;
    return !nadb_faulty_is_crashed(sim->faulty);
}

/* True when it is open. */
static bool try_open(struct sim *sim)
{
    make_store(sim);
    nadb_store_open(sim->store);
    for (size_t round = 0; !sim->is_opened; round++) {
        SIM_CHECK(sim, round < OPEN_ROUNDS_MAX, "opening never ends");
        size_t pending = nadb_inline_executor_pending(&sim->exec);
        if (pending > 0 && !run_half(sim, sim_below(sim, pending))) {
            break;
        }
        nadb_store_turn_begin(sim->store);
        sim->may_tell = true;
        (void)nadb_store_step(sim->store, sim_chance(sim, 50) ? 0 : STEP_US);
        sim->may_tell = false;
        SIM_CHECK(sim, nadb_store_open_percent(sim->store) <= 100, "percent");
    }
    if (sim->is_opened && sim->opened_err == NADB_OK) {
        sim->opened_version = sim->store->version;
        return true;
    }
    bool is_crashed = nadb_faulty_is_crashed(sim->faulty);
    SIM_CHECK(sim, is_crashed || sim->has_faults, "cannot be opened: %s: %s",
        nadb_err_name(sim->opened_err), sim->opened_error.text);
    sim_trace(sim, "opening failed: %s", is_crashed ? "crash" : sim->opened_error.text);
    sim->counts.failed_opens++;
    die(sim);
    end_machine(sim, sim_chance(sim, 50));
    return false;
}

/* Is what came back this state? NULL, or what is different. A record whose deadline was passed at
 * some time since may be there or not. */
static const char *compare_with(struct sim *sim, const struct sim_state *state)
{
    for (unsigned i = 0; i < SIM_KEYSPACES * SIM_KEYS; i++) {
        unsigned keyspace = i / SIM_KEYS;
        const struct sim_cell *cell = &state->cells[keyspace][i % SIM_KEYS];
        struct nadb_key name = sim_key(sim, i % SIM_KEYS);
        const struct nadb_rec *rec =
            nadb_store_peek(sim->store, sim_keyspace(sim, keyspace), &name);
        const char *reason = sim_differs(cell, rec);
        if (reason != NULL && !(rec == NULL && sim_model_may_be_gone(&sim->model, cell))) {
            sim_trace(sim, "  %u/%u: %s", keyspace, i % SIM_KEYS, reason);
            return reason;
        }
    }
    return NULL;
}

/* The model goes on from the state that was found. What is due has been noticed by now, but the
 * backend may not know. */
static void adopt(struct sim *sim)
{
    for (unsigned i = 0; i < SIM_KEYSPACES * SIM_KEYS; i++) {
        struct sim_cell *cell = &sim->model.now.cells[i / SIM_KEYS][i % SIM_KEYS];
        struct nadb_key name = sim_key(sim, i % SIM_KEYS);
        if (cell->uid != 0 &&
            nadb_store_peek(sim->store, sim_keyspace(sim, i / SIM_KEYS), &name) == NULL) {
            sim_model_report_gone(&sim->model, cell);
        }
    }
    sim_model_push(&sim->model, sim->store->version);
    memset(sim->touches, 0, sizeof(sim->touches));
    sim_compare(sim);
}

static void fail_reopened(struct sim *sim, size_t floor, const char *reason)
{
    size_t at = floor;
    while (at > 0 && compare_with(sim, &sim->model.history[at - 1].state) != NULL) {
        at--;
    }
    SIM_CHECK(sim, false, "what came back is %s; last difference: %s",
        at > 0 ? "older than promised" : "no state that ever was", reason);
}

/* States are told apart by their values, too. */
static void warm_all(struct sim *sim)
{
    for (unsigned keyspace = 0; keyspace < SIM_KEYSPACES; keyspace++) {
        for (unsigned key = 0; key < SIM_KEYS; key++) {
            if (!sim_has_value(sim, keyspace, key)) {
                stop_faults(sim);
                SIM_CHECK(sim, sim_has_value(sim, keyspace, key), "a value that is not faulty");
            }
        }
    }
}

/* Finds the state that came back among those that may: at least the one numbered `floor`. Those
 * that differ in what has expired only cannot be told apart; all of them may be the one. */
static void check_reopened(struct sim *sim, size_t floor)
{
    struct sim_model *model = &sim->model;
    struct sim_model before = *model;
    const char *reason = NULL;
    nadb_store_turn_begin(sim->store);
    warm_all(sim);
    sim_model_begin_restart(model);
    for (size_t i = 0; i < before.ghost_count; i++) {
        if (compare_with(sim, &before.ghosts[i].state) == NULL) {
            sim_trace(sim, "back with the unknown outcome %zu", i);
            sim_model_add_start(model, &before.ghosts[i].state, sim->opened_version);
        }
    }
    for (size_t at = floor; at < before.history_count; at++) {
        const char *difference = compare_with(sim, &before.history[at].state);
        if (difference == NULL) {
            sim_trace(
                sim, "back with state %zu of %zu .. %zu", at, floor, before.history_count - 1);
            sim_model_add_start(model, &before.history[at].state, sim->opened_version);
        }
        reason = difference == NULL ? reason : difference;
    }
    if (model->start_count == 0) {
        *model = before;
        fail_reopened(sim, floor, reason);
    }
    nadb_mem_free(before.history);
    adopt(sim);
}

/* `floor`: what must come back at least; a loss of power on the way may leave the earlier
 * `floor_power`. */
static void reopen(struct sim *sim, size_t floor, size_t floor_power)
{
    bool is_open = false;
    uint64_t power_cuts = sim->counts.power_cuts;
    for (unsigned i = 0; !is_open && i < OPEN_TRIES_MAX; i++) {
        if (sim_chance(sim, 15)) {
            nadb_faulty_crash_at(sim->faulty, 1 + sim_below(sim, 12));
        } else if (sim_chance(sim, 15)) {
            arm_fault(sim);
        }
        is_open = try_open(sim);
    }
    if (!is_open) {
        is_open = try_open(sim);
    }
    SIM_CHECK(sim, is_open, "still not open");
    /* A fault during the opening may show later: in a file that could not be removed. */
    sim->had_faults = sim->has_faults;
    sim->had_sync_faults = false;
    sim->hold_max = 0;
    stop_faults(sim);
    check_reopened(sim, sim->counts.power_cuts > power_cuts ? floor_power : floor);
}

static void crash(struct sim *sim)
{
    bool is_power_cut = sim_chance(sim, 50);
    bool is_exact = is_power_cut || sim->had_faults;
    uint64_t version = is_exact ? sim->store->durable : sim->store->written;
    version = version > sim->store->durable ? version : sim->store->durable;
    size_t floor = sim_model_floor(&sim->model, version);
    size_t floor_power = sim_model_floor(&sim->model, sim->store->durable);
    sim_model_drop_ghosts(&sim->model, sim->store->stats.flushes);
    die(sim);
    end_machine(sim, is_power_cut);
    reopen(sim, floor, floor_power);
}

/* ---- backups ---- */

#define BACKUP_DIR "/backup"

static bool has_name(const struct sim *sim, const char *path)
{
    return nadb_faulty_exists(sim->faulty, path);
}

static void remove_backup(struct sim *sim)
{
    nadb_faulty_empty(sim->faulty, BACKUP_DIR);
}

static void fail_damaged(void *ctx, const char *text)
{
    SIM_CHECK((const struct sim *)ctx, false, "a backup is damaged: %s", text);
}

/* After a crash in the middle there is a whole backup, or none. */
static void check_leftover_backup(struct sim *sim)
{
    if (has_name(sim, BACKUP_DIR "/MANIFEST")) {
        const struct nadb_fs_listener listener = {nadb_ignore_progress, fail_damaged, sim};
        struct nadb_fs_survey survey;
        struct nadb_error error = {0};
        enum nadb_err err =
            nadb_fs_verify_dir(nadb_faulty_io(sim->faulty), BACKUP_DIR, &listener, &survey, &error);
        SIM_CHECK(sim, err == NADB_OK, "a backup cannot be verified: %s", error.text);
    }
    remove_backup(sim);
}

static void begin_backup(struct sim *sim)
{
    if (sim->backup_number != 0) {
        return;
    }
    sim_trace(sim, "backup");
    remove_backup(sim);
    nadb_store_turn_begin(sim->store);
    sim->backup_from = sim->store->version;
    sim->backup_number =
        nadb_store_backup(sim->store, NADB_SLICE(BACKUP_DIR), nadb_slice_of(NULL, 0));
    nadb_store_turn_end(sim->store);
}

/* Opens the backup as a store of its own, beside the one that it was made of: it must be a state
 * that there was since it was asked for. */
static void open_backup(struct sim *sim)
{
    struct sim *copy = nadb_mem_zalloc(sizeof(*copy));
    *copy = *sim;
    copy->dir = BACKUP_DIR;
    memset(copy->watchers, 0, sizeof(copy->watchers));
    nadb_inline_executor_init(&copy->exec);
    SIM_CHECK(sim, try_open(copy), "a backup cannot be opened");
    nadb_store_turn_begin(copy->store);
    warm_all(copy);
    size_t at = sim_model_reached(&sim->model, sim->backup_from);
    while (at < sim->model.history_count &&
           compare_with(copy, &sim->model.history[at].state) != NULL) {
        at++;
    }
    SIM_CHECK(sim, at < sim->model.history_count, "a backup is no state that there was");
    die(copy);
    nadb_mem_free(copy);
}

/* Looks at a backup that is done, when nothing can go wrong with that. */
static void look_at_backup(struct sim *sim)
{
    struct nadb_backup_report report;
    if (sim->backup_number == 0 || sim->has_faults || nadb_faulty_will_crash(sim->faulty) ||
        !nadb_store_backup_report(sim->store, sim->backup_number, &report)) {
        return;
    }
    sim->backup_number = 0;
    if (report.is_failed) {
        sim_trace(sim, "backup failed: %s", report.error.text);
        SIM_CHECK(sim, sim->had_faults || report.error.code == NADB_EUSAGE, "a backup failed: %s",
            report.error.text);
    } else {
        sim_trace(sim, "backup done");
        sim->counts.backups++;
        open_backup(sim);
    }
    remove_backup(sim);
}

/* ---- a quiet time ---- */

static void run_everything(struct sim *sim)
{
    for (unsigned i = 0; i < QUIET_ROUNDS; i++) {
        nadb_fake_clock_advance_ms(&sim->clock, i == QUIET_ROUNDS - 1 ? 0 : 500);
        sim_model_set_wall(&sim->model, sim->clock.wall_ms);
        nadb_store_turn_begin(sim->store);
        sim->may_tell = true;
        while (nadb_store_step(sim->store, STEP_US)) {
        }
        nadb_store_flush_start(sim->store);
        nadb_store_turn_end(sim->store);
        (void)nadb_inline_executor_run_all(&sim->exec);
        sim->may_tell = false;
    }
}

/* Without faults every reply goes in the end, and no time has to pass for it. */
static void answer_everyone(struct sim *sim)
{
    for (unsigned i = 0; i < ANSWER_ROUNDS; i++) {
        nadb_store_turn_begin(sim->store);
        sim->may_tell = true;
        (void)nadb_store_step(sim->store, STEP_US);
        nadb_store_turn_end(sim->store);
        (void)nadb_inline_executor_run_all(&sim->exec);
        sim->may_tell = false;
    }
    SIM_CHECK(sim, sim->store->durable >= sim->hold_max || sim->store->state != NADB_STORAGE_OK,
        "a reply is held for ever");
}

/* Who has to wait for a compaction waits for a while only. */
static bool is_admitted_in_time(struct sim *sim)
{
    struct nadb_error error;
    enum nadb_admission admission = nadb_store_admit(sim->store, true, &error);
    for (unsigned i = 0; i < PACE_ROUNDS && admission == NADB_ADMIT_WAIT; i++) {
        SIM_CHECK(sim, sim->store->pace.is_waited_for, "waiting for nothing");
        run_everything(sim);
        admission = nadb_store_admit(sim->store, true, &error);
    }
    return admission == NADB_ADMIT;
}

/* Without faults and with time everything becomes durable. A disk that had lost what was only in
 * its cache may have stopped the store for good. */
static void be_quiet(struct sim *sim)
{
    sim_trace(sim, "quiet");
    stop_faults(sim);
    if (!sim->is_closing) {
        answer_everyone(sim);
    }
    run_everything(sim);
    if (sim->is_closing) {
        return;
    }
    if (sim->store->state != NADB_STORAGE_OK && sim->had_sync_faults) {
        crash(sim);
        run_everything(sim);
    }
    SIM_CHECK(sim, sim->store->state == NADB_STORAGE_OK, "the disk works and the store does not");
    SIM_CHECK(sim, sim->store->durable == sim->store->version, "not durable after all that time");
    SIM_CHECK(sim, is_admitted_in_time(sim), "no write is admitted");
    sim_compare(sim);
}

/* ---- closing ---- */

static void start_close(struct sim *sim)
{
    bool is_discarding = sim_chance(sim, 20);
    sim_trace(sim, is_discarding ? "close, the buffer is dropped" : "close");
    sim->is_closing = true;
    nadb_store_turn_begin(sim->store);
    sim->may_tell = true;
    nadb_store_close(sim->store, is_discarding);
    sim->may_tell = false;
}

static void after_close(struct sim *sim)
{
    struct nadb_store *store = sim->store;
    sim->is_closing = sim->is_closed = false;
    if (sim->closed_err != NADB_OK) {
        SIM_CHECK(sim, sim->had_faults, "close failed: %s", nadb_err_name(sim->closed_err));
    }
    if (store->phase == NADB_STORE_OPEN) {
        sim_trace(sim, "close failed, going on");
        SIM_CHECK(sim, sim->closed_err != NADB_OK, "closed and open");
        return;
    }
    bool is_whole = sim->closed_err == NADB_OK && !store->is_discarding;
    uint64_t version = is_whole ? store->version : store->durable;
    size_t floor = sim_model_floor(&sim->model, version);
    sim_model_drop_ghosts(&sim->model, sim->store->stats.flushes);
    die(sim);
    /* After a clean end nothing may depend on what the machine does. */
    end_machine(sim, sim_chance(sim, 50));
    reopen(sim, floor, floor);
}

/* ---- a run ---- */

static void move_clock(struct sim *sim)
{
    switch (sim_below(sim, 8)) {
    case 0:
        sim->clock.wall_ms += sim_below(sim, 20000);
        break;
    case 1: {
        uint64_t back_ms = sim_below(sim, 20000);
        bool has_room = sim->clock.wall_ms > NADB_FAKE_CLOCK_WALL_MS - CLOCK_START_BACK;
        sim->clock.wall_ms -= has_room ? back_ms : 0;
        break;
    }
    case 2:
        nadb_fake_clock_advance_ms(&sim->clock, 1000 + sim_below(sim, 5000));
        break;
    default:
        nadb_fake_clock_advance_ms(&sim->clock, sim_below(sim, 30));
        break;
    }
    sim_model_set_wall(&sim->model, sim->clock.wall_ms);
    sim_trace(sim, "clock %lld", (long long)(sim->clock.wall_ms - NADB_FAKE_CLOCK_WALL_MS));
}

static void change_settings(struct sim *sim)
{
    if (sim_chance(sim, 50)) {
        enum nadb_durability durability = (enum nadb_durability)sim_below(sim, 3);
        sim_trace(sim, "durability %d", (int)durability);
        nadb_store_set_durability(sim->store, durability);
    } else if (sim_chance(sim, 30)) {
        set_compression(sim);
    } else if (sim_chance(sim, 50)) {
        sim_trace(sim, "compact");
        (void)nadb_store_compact(sim->store, NULL);
    } else if (sim_chance(sim, 40)) {
        begin_backup(sim);
    } else if (sim_chance(sim, 50)) {
        sim_trace(sim, "drop values");
        for (uint64_t i = sim_below(sim, 20); i > 0; i--) {
            (void)nadb_cold__drop_some(sim->store);
        }
    } else {
        nadb_store_set_buffer(sim->store, 200u << sim_below(sim, 8), 1 + sim_below(sim, 2000));
    }
}

static void step_store(struct sim *sim)
{
    nadb_store_turn_begin(sim->store);
    sim->may_tell = true;
    (void)nadb_store_step(sim->store, sim_chance(sim, 50) ? 0 : STEP_US);
    sim->may_tell = false;
    uint64_t due_ms = nadb_store_next_due_ms(sim->store, 5000);
    SIM_CHECK(sim, due_ms <= 5000, "next due");
}

/* Something happens. */
static void run_step(struct sim *sim)
{
    uint64_t which = sim_below(sim, 1000);
    size_t pending = nadb_inline_executor_pending(&sim->exec);
    if (which < 400 && !sim->is_closing) {
        sim_turn(sim);
    } else if (which < 700 && pending > 0) {
        if (!run_half(sim, sim_below(sim, pending))) {
            crash(sim);
        }
    } else if (which < 800) {
        step_store(sim);
    } else if (which < 900) {
        move_clock(sim);
    } else if (which < 925) {
        arm_fault(sim);
    } else if (which < 950) {
        stop_faults(sim);
    } else if (which < 960) {
        nadb_faulty_shorten(sim->faulty, 1 + sim_below(sim, 3));
    } else if (which < 970) {
        change_settings(sim);
    } else if (which < 977) {
        nadb_faulty_crash_at(sim->faulty, 1 + sim_below(sim, 20));
    } else if (which < 982) {
        crash(sim);
    } else if (which < 986 && !sim->is_closing) {
        start_close(sim);
    } else if (which < 992) {
        be_quiet(sim);
    } else if (!sim->is_closing) {
        sim_compare(sim);
    }
    if (sim->is_closed) {
        after_close(sim);
    }
    look_at_backup(sim);
}

void sim_run(struct sim *sim, uint64_t seed, bool is_verbose)
{
    *sim = (struct sim){.seed = seed, .is_verbose = is_verbose};
    nadb_rng_seed(&sim->rng, seed);
    nadb_fake_clock_init(&sim->clock);
    nadb_inline_executor_init(&sim->exec);
    sim->faulty = nadb_faulty_new(seed);
    nadb_faulty_set_links(sim->faulty, seed % 2 == 0);
    nadb_faulty_set_direct(sim->faulty, seed / 2 % 2 == 0);
    nadb_faulty_set_little(sim->faulty, seed / 4 % 2 == 0 ? 0 : LITTLE_BYTES);
    sim->dir = "/data";
    sim_model_init(&sim->model, sim->clock.wall_ms);
    reopen(sim, 0, 0);
    for (sim->steps = 1; sim->steps <= STEPS_EACH_RUN; sim->steps++) {
        run_step(sim);
    }
    stop_faults(sim);
    if (sim->is_closing) {
        run_everything(sim);
        SIM_CHECK(sim, sim->is_closed, "close never ends");
        after_close(sim);
    }
    be_quiet(sim);
    crash(sim);
    die(sim);
    nadb_faulty_free(sim->faulty);
    sim_model_fini(&sim->model);
}
