/* This file tests when the loop may sleep. */
#include "src/server/loop.h"

#include "tests/support/test.h"
#include "tests/unit/store/store_support.h"

NADB_TEST_SUITE(loop);

#define TURNS_MAX 100u

static struct bench *bench;
static struct nadb_config config;
static struct nadb_server_loop loop; /* with a store, and without everything that listens */
static uv_prepare_t prepare;
static int poll_ms; /* how long the last poll would have waited */

/* Behind the timers, before poll. */
static void on_prepare(uv_prepare_t *handle)
{
    poll_ms = uv_backend_timeout(handle->loop);
}

static void begin_turn(void *ctx)
{
    nadb_loop_begin_turn(ctx);
}

static void setup(void)
{
    bench = bench_new(NADB_DURABILITY_ALWAYS);
    nadb_config_init(&config);
    loop = (struct nadb_server_loop){
        .magic = NADB_LOOP_MAGIC,
        .server = {.store = bench->store, .clock = &bench->clock.clock, .config = &config},
    };
    nadb_pubsub_init(&loop.server.pubsub);
    cr_assert_eq(uv_loop_init(&loop.uv), 0);
    nadb_conns_init(&loop.conns, &loop.server, &loop.uv, begin_turn, &loop);
    nadb_loop_init(&loop);
    nadb_loop_start(&loop);
    (void)uv_timer_stop(&loop.tick_timer); /* cannot fail */
    cr_assert_eq(uv_prepare_init(&loop.uv, &prepare), 0);
    cr_assert_eq(uv_prepare_start(&prepare, on_prepare), 0);
}

static void teardown(void)
{
    nadb_loop_stop(&loop);
    uv_close((uv_handle_t *)&prepare, NULL);
    (void)uv_run(&loop.uv, UV_RUN_DEFAULT);
    nadb_conns_fini(&loop.conns);
    cr_assert_eq(uv_loop_close(&loop.uv), 0);
    nadb_pubsub_fini(&loop.server.pubsub);
    nadb_config_fini(&config);
    bench_free(bench);
}

static void iterate(void)
{
    (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
}

/* A change, as a command in poll makes it. */
static void put(const char *name)
{
    struct nadb_key key = bench_key(bench, name);
    nadb_loop_begin_turn(&loop);
    nadb_store_command_begin(bench->store);
    cr_assert_not_null(nadb_store_edit(bench->store, bench->db, &key, 1));
    (void)nadb_store_command_end(bench->store);
}

Test(loop, it_does_not_sleep_while_a_batch_gathers, .init = setup, .fini = teardown)
{
    put("first");
    iterate();
    cr_assert(nadb_inline_executor_run_one(&bench->exec));
    put("second");
    iterate();
    unsigned turns = 0;
    for (; nadb_inline_executor_pending(&bench->exec) == 0; turns++) {
        cr_assert_lt(turns, TURNS_MAX);
        iterate();
        cr_assert_eq(poll_ms, 0, "turn %u: the batch waits for whatever comes next", turns);
    }
    cr_assert_gt(turns, 0, "it did not gather");
    cr_assert(nadb_inline_executor_run_one(&bench->exec));
    iterate();
    iterate();
    cr_assert_gt(poll_ms, 0, "there is nothing to do");
}

/* The timer's time comes in poll, and the turn behind it is before the timer's callback. */
Test(loop, the_next_deadline_is_kept_when_the_last_one_has_just_come, .init = setup,
    .fini = teardown)
{
    iterate();
    loop.due_at_ms = uv_now(&loop.uv);
    iterate();
    cr_assert_gt(loop.due_at_ms, uv_now(&loop.uv));
    cr_assert_gt(uv_timer_get_due_in(&loop.due_timer), 0);
}
