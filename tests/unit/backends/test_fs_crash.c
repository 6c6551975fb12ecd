/* This file tests that a crash at any call, with or without a loss of power, leaves a prefix of
 * the batches that has everything that was acknowledged as stable. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/fs/fs.h"
#include "src/base/parse.h"
#include "src/base/random.h"
#include "tests/support/faulty_io.h"
#include "tests/support/log_model.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(fs_crash);

/* What is done, and how. */
#define LITTLE_BYTES 400u

struct plan {
    enum nadb_log_scale scale;
    uint64_t segment_size;
    int batches;       /* of the first life; the second has a third of them */
    bool is_mixed;     /* most batches are not synced */
    bool is_power_cut; /* else the process is killed */
    bool has_direct;   /* the file system writes directly */
};

static const struct plan synced_plan = {
    .scale = NADB_LOG_SMALL,
    .segment_size = 4096,
    .batches = 24,
    .is_power_cut = true,
};

struct world {
    struct plan plan;
    struct nadb_faulty *faulty;
    struct nadb_log_model *model;
    struct nadb_backend *backend;
    uint64_t written; /* the last batch that may be there */
    uint64_t last;    /* the last batch whose write() succeeded */
    uint64_t stable;  /* the last batch that must be there after any crash */
};

static void world_init(struct world *world, uint64_t seed, const struct plan *plan)
{
    *world = (struct world){
        .plan = *plan,
        .faulty = nadb_faulty_new(seed),
        .model = nadb_log_model_new(seed, plan->scale),
    };
    nadb_faulty_set_direct(world->faulty, plan->has_direct);
    nadb_faulty_set_little(world->faulty, seed % 4 < 2 ? 0 : LITTLE_BYTES);
}

static void world_fini(struct world *world)
{
    nadb_log_model_free(world->model);
    nadb_faulty_free(world->faulty);
}

/* Opens and compares; false, with *ret_wrong NULL, if the process crashed on the way. */
static bool start(struct world *world, const char **ret_wrong)
{
    struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = world->plan.segment_size};
    struct nadb_backend_open_info info;
    world->backend = nadb_fs_new(&opts, nadb_faulty_io(world->faulty));
    *ret_wrong = nadb_log_model_reopen(world->model, world->backend, &info);
    if (nadb_faulty_is_crashed(world->faulty)) {
        *ret_wrong = NULL;
        return false;
    }
    if (*ret_wrong != NULL) {
        return false;
    }
    if (info.last_batch_seq < world->stable) {
        *ret_wrong = "a stable batch is missing";
    }
    if (info.last_batch_seq > world->written) {
        *ret_wrong = "there is a batch that nobody wrote";
    }
    world->written = info.last_batch_seq;
    world->last = info.last_batch_seq;
    world->stable = info.last_batch_seq; /* open has made stable what it found */
    return *ret_wrong == NULL;
}

/* False: crashed. */
static bool write_batches(struct world *world, int count)
{
    for (int i = 0; i < count; i++) {
        uint64_t seq = world->written + 1;
        struct nadb_batch *batch = nadb_log_model_batch(world->model, seq);
        batch->is_sync = !world->plan.is_mixed || seq % 3 == 0;
        enum nadb_err err = world->backend->ops->write(world->backend, batch, NULL);
        world->written = seq;
        if (err == NADB_OK) {
            world->last = seq;
            world->stable = batch->is_sync ? seq : world->stable;
        }
        if (nadb_faulty_is_crashed(world->faulty)) {
            return false;
        }
        cr_assert_eq(err, NADB_OK);
    }
    return true;
}

/* False: crashed. */
static bool finish(struct world *world)
{
    if (world->backend->ops->close(world->backend, NULL) == NADB_OK) {
        world->stable = world->last;
    }
    return !nadb_faulty_is_crashed(world->faulty);
}

static void end_process(struct world *world)
{
    world->backend->ops->free(world->backend);
    if (world->plan.is_power_cut) {
        nadb_faulty_power_cut(world->faulty);
    } else {
        nadb_faulty_kill(world->faulty);
    }
}

/* Two lives: the first from nothing over several segments to a clean end, the second goes on.
 * *ret_wrong is set when what start found is wrong. */
static void live(struct world *world, const char **ret_wrong)
{
    int batches = world->plan.batches;
    if (!start(world, ret_wrong) || !write_batches(world, batches) || !finish(world)) {
        return;
    }
    world->backend->ops->free(world->backend);
    if (start(world, ret_wrong)) {
        (void)write_batches(world, batches / 3);
    }
}

/* Crashes at call `nth` of `live`; then again at call `second` of the recovery, if not 0; then
 * all must be right, and writing must go on. False: there was no call `nth`. */
static bool crash_at(uint64_t seed, uint64_t nth, uint64_t second, const struct plan *plan)
{
    struct world world;
    const char *wrong = NULL;
    world_init(&world, seed, plan);
    nadb_faulty_crash_at(world.faulty, nth);
    live(&world, &wrong);
    bool did_crash = nadb_faulty_is_crashed(world.faulty);
    end_process(&world);
    if (second != 0 && wrong == NULL) {
        nadb_faulty_crash_at(world.faulty, second);
        (void)start(&world, &wrong);
        end_process(&world);
    }
    bool is_right = wrong == NULL && start(&world, &wrong) && write_batches(&world, 3);
    cr_assert(is_right, "seed %" PRIu64 ", crash at call %" PRIu64 " and %" PRIu64 ": %s", seed,
        nth, second, wrong == NULL ? "crashed" : wrong);
    end_process(&world);
    is_right = start(&world, &wrong);
    cr_assert(is_right, "seed %" PRIu64 ", after the crash at call %" PRIu64 ": %s", seed, nth,
        wrong == NULL ? "crashed" : wrong);
    world.backend->ops->free(world.backend);
    world_fini(&world);
    return did_crash;
}

static void crash_everywhere(uint64_t seed, const struct plan *both)
{
    for (int direct = 0; direct < 2; direct++) {
        struct plan plan = *both;
        plan.has_direct = direct != 0;
        uint64_t nth = 1;
        while (crash_at(seed + nth, nth, 0, &plan)) {
            nth++;
        }
        cr_assert_gt(nth, 50, "the scenario has only %" PRIu64 " calls", nth);
    }
}

Test(fs_crash, a_process_killed_at_any_call_loses_nothing_written)
{
    struct plan plan = synced_plan;
    plan.is_power_cut = false;
    crash_everywhere(1000, &plan);
}

Test(fs_crash, power_lost_at_any_call_loses_nothing_synced)
{
    for (uint64_t seed = 0; seed < 4; seed++) {
        crash_everywhere(seed * 10000, &synced_plan);
    }
}

Test(fs_crash, power_lost_at_any_call_leaves_a_prefix_of_buffered_batches)
{
    struct plan plan = synced_plan;
    plan.is_mixed = true;
    for (uint64_t seed = 100; seed < 104; seed++) {
        crash_everywhere(seed * 10000, &plan);
    }
}

Test(fs_crash, power_lost_at_any_call_leaves_no_part_of_a_large_batch)
{
    struct plan plan = {
        .scale = NADB_LOG_VARIED,
        .segment_size = 2u << 20,
        .batches = 9,
        .is_mixed = true,
        .is_power_cut = true,
    };
    crash_everywhere(77, &plan);
}

Test(fs_crash, a_crash_during_recovery_changes_nothing)
{
    struct plan plan = synced_plan;
    plan.is_mixed = true;
    for (uint64_t nth = 3; nth < 200; nth += 13) {
        for (uint64_t second = 1; second < 24; second++) {
            plan.has_direct = second % 2 == 0;
            (void)crash_at(nth * 100 + second, nth, second, &plan);
        }
    }
}

/* The first manifest is there, but its name may still be lost with the power. */
static void fail_first_start(struct world *world)
{
    const char *wrong = NULL;
    nadb_faulty_fail(world->faulty, NADB_FAULTY_SYNC_DIR, 2, 1, ENOSPC);
    cr_assert_not(start(world, &wrong));
    cr_assert(nadb_faulty_exists(world->faulty, "/db/MANIFEST"));
    world->backend->ops->free(world->backend);
    nadb_faulty_kill(world->faulty);
}

Test(fs_crash, power_lost_soon_after_a_first_start_that_failed_leaves_a_store)
{
    for (uint64_t nth = 1; nth < 40; nth++) {
        for (uint64_t seed = 0; seed < 16; seed++) {
            struct world world;
            const char *wrong = NULL;
            world_init(&world, seed, &synced_plan);
            fail_first_start(&world);
            nadb_faulty_crash_at(world.faulty, nth);
            live(&world, &wrong);
            end_process(&world);
            bool is_right = wrong == NULL && start(&world, &wrong);
            cr_assert(is_right, "seed %" PRIu64 ", crash at call %" PRIu64 ": %s", seed, nth,
                wrong == NULL ? "crashed" : wrong);
            world.backend->ops->free(world.backend);
            world_fini(&world);
        }
    }
}

/* ---- faults and crashes at random ---- */

#define LIVES 4

static void add_random_fault(struct world *world, struct nadb_rng *rng)
{
    static const int errors[] = {EIO, ENOSPC, EIO, EDQUOT};
    enum nadb_faulty_call kind = (enum nadb_faulty_call)nadb_rng_below(rng, NADB_FAULTY_LINK + 1);
    nadb_faulty_fail(world->faulty, kind, 1 + nadb_rng_below(rng, 30), 1 + nadb_rng_below(rng, 3),
        errors[nadb_rng_below(rng, NADB_ARRAY_LEN(errors))]);
}

/* Writes what it can; a batch that was refused is tried again, as the store does. */
static void write_at_random(struct world *world, struct nadb_rng *rng, uint64_t count)
{
    for (uint64_t i = 0; i < count && !nadb_faulty_is_crashed(world->faulty); i++) {
        if (nadb_rng_below(rng, 5) == 0) {
            add_random_fault(world, rng);
        }
        if (nadb_rng_below(rng, 10) == 0) {
            nadb_faulty_set_space(world->faulty,
                nadb_rng_below(rng, 2) == 0 ? UINT64_MAX : nadb_faulty_used(world->faulty) + 500);
        }
        nadb_faulty_shorten(world->faulty, nadb_rng_below(rng, 5));
        struct nadb_batch *batch = nadb_log_model_batch(world->model, world->last + 1);
        batch->is_sync = !world->plan.is_mixed || nadb_rng_below(rng, 3) == 0;
        enum nadb_err err = world->backend->ops->write(world->backend, batch, NULL);
        bool is_crashed = nadb_faulty_is_crashed(world->faulty);
        cr_assert(err == NADB_OK || err == NADB_ENOSPC || err == NADB_ESYNC);
        if (err == NADB_OK) {
            world->last = batch->seq;
            world->stable = batch->is_sync ? batch->seq : world->stable;
        }
        if (err == NADB_OK || err == NADB_ESYNC || is_crashed) {
            world->written = batch->seq > world->written ? batch->seq : world->written;
        }
    }
}

/* Several lives with faults, each ended in some way; after each, what is there must be right. */
static void live_at_random(uint64_t seed)
{
    struct nadb_rng rng;
    nadb_rng_seed(&rng, seed);
    bool is_large = nadb_rng_below(&rng, 16) == 0;
    struct plan plan = {
        .scale = is_large ? NADB_LOG_VARIED : NADB_LOG_SMALL,
        .segment_size = is_large ? 1u << 20 : 4096u << nadb_rng_below(&rng, 3),
        .is_mixed = nadb_rng_below(&rng, 2) == 0,
        .has_direct = seed % 2 == 0,
    };
    struct world world;
    world_init(&world, seed, &plan);
    for (int life = 0; life <= LIVES; life++) {
        const char *wrong = NULL;
        bool is_right = start(&world, &wrong);
        cr_assert(is_right, "seed %" PRIu64 ", life %d: %s", seed, life, wrong);
        if (nadb_rng_below(&rng, 2) == 0) {
            nadb_faulty_crash_at(world.faulty, 1 + nadb_rng_below(&rng, 150));
        }
        write_at_random(&world, &rng, nadb_rng_below(&rng, is_large ? 8 : 40));
        if (nadb_rng_below(&rng, 3) == 0 && finish(&world) && nadb_rng_below(&rng, 2) == 0) {
            nadb_faulty_crash_at(world.faulty, 1);
        }
        world.plan.is_power_cut = nadb_rng_below(&rng, 4) != 0;
        end_process(&world);
    }
    world_fini(&world);
}

/* Another range of seeds: NADB_TEST_SEEDS=<first>,<count>. */
Test(fs_crash, lives_full_of_faults_and_crashes_keep_the_promises)
{
    uint64_t first = 1;
    uint64_t count = 300;
    const char *seeds = getenv("NADB_TEST_SEEDS");
    if (seeds != NULL) {
        const char *comma = strchr(seeds, ',');
        cr_assert_not_null(comma);
        cr_assert(nadb_parse_u64(nadb_slice_of(seeds, (size_t)(comma - seeds)), &first));
        cr_assert(nadb_parse_u64(nadb_slice_cstr(comma + 1), &count));
    }
    for (uint64_t seed = first; seed < first + count; seed++) {
        live_at_random(seed);
    }
}
