/* This file is the turn of the loop, and its timers. */
#include "src/server/loop.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/log.h"

/* The slice of a processor's time that the loop asks for. */
#define LOOP_SLICE_NS UINT64_C(100000)

/* What sched_setattr(2) takes; no header has it that goes with <sched.h>. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};
#define SCHEDULING_RESET_ON_FORK UINT64_C(1)

static void on_spin(uv_idle_t *handle)
{
    (void)handle; /* that it is active is enough: poll does not wait */
}

void nadb_loop_spin(struct nadb_server_loop *loop)
{
    (void)uv_idle_start(&loop->spin, on_spin); /* fails only without a callback */
}

void nadb_loop_begin_turn(struct nadb_server_loop *loop)
{
    if (!loop->is_in_turn) {
        loop->is_in_turn = true;
        nadb_store_turn_begin(loop->server.store);
        loop->turn_us = nadb_clock_mono_us(loop->server.clock);
    }
}

/* ---- timers ---- */

static void on_due(uv_timer_t *timer)
{
    struct nadb_server_loop *loop;
    NADB_CAST(loop, timer->data, NADB_LOOP_MAGIC);
    loop->due_at_ms = 0; /* that this iteration has a turn is all it is for */
}

/* When the store is to have a turn that nobody else brings; true: at once. A timer would not do for
 * that: it fires before poll, which then waits for what comes next, and the turn is behind poll.
 * One that is armed too early is left: it costs one turn, arming costs in every turn. One whose
 * time has come ended this poll, or will fire before the next: the turn that it is for is this. */
static bool arm_due_timer(struct nadb_server_loop *loop)
{
    uint64_t in_ms = nadb_store_next_due_ms(loop->server.store, NADB_LOOP_DUE_MS_MAX);
    uint64_t now_ms = uv_now(&loop->uv);
    uint64_t at_ms = now_ms + in_ms;
    if (in_ms > 0 && (loop->due_at_ms <= now_ms || at_ms < loop->due_at_ms)) {
        loop->due_at_ms = at_ms;
        int rc = uv_timer_start(&loop->due_timer, on_due, in_ms, 0);
        NADB_ASSERT(rc == 0); /* fails only for a closing handle */
    }
    return in_ms == 0;
}

static void sample_rates(struct nadb_server *server)
{
    const struct nadb_server_counters *counters = &server->counters;
    uint64_t now_us = nadb_clock_mono_us(server->clock);
    nadb_rate_sample(&server->ops_rate, counters->commands_processed, now_us);
    nadb_rate_sample(&server->input_rate, counters->net_input_bytes, now_us);
    nadb_rate_sample(&server->output_rate, counters->net_output_bytes, now_us);
}

static void on_tick(uv_timer_t *timer)
{
    struct nadb_server_loop *loop;
    NADB_CAST(loop, timer->data, NADB_LOOP_MAGIC);
    nadb_loop_begin_turn(loop);
    sample_rates(&loop->server);
    nadb_conns_tick(&loop->conns, (size_t)loop->server.config->hz);
    if (loop->server.state == NADB_SERVER_LOADING) {
        nadb_notify_loading(&loop->notify, nadb_store_open_percent(loop->server.store));
    }
    if (loop->phase == NADB_LOOP_RUNNING) {
        nadb_listeners_retry(&loop->listeners);
    }
}

void nadb_loop_set_ticks(struct nadb_server_loop *loop)
{
    uint64_t every_ms = 1000 / (uint64_t)loop->server.config->hz;
    int rc = uv_timer_start(&loop->tick_timer, on_tick, every_ms, every_ms);
    NADB_ASSERT(rc == 0); /* fails only for a closing handle */
}

/* ---- the end of a turn ---- */

static uint64_t step_budget_us(const struct nadb_server_loop *loop)
{
    uint64_t took_us = nadb_clock_mono_us(loop->server.clock) - loop->turn_us;
    took_us = took_us < NADB_LOOP_STEP_MIN_US ? NADB_LOOP_STEP_MIN_US : took_us;
    return took_us > NADB_LOOP_STEP_MAX_US ? NADB_LOOP_STEP_MAX_US : took_us;
}

static void on_check(uv_check_t *handle)
{
    struct nadb_server_loop *loop;
    NADB_CAST(loop, handle->data, NADB_LOOP_MAGIC);
    struct nadb_store *store = loop->server.store;
    nadb_loop_begin_turn(loop);
    nadb_conns_run(&loop->conns);
    if (loop->must_scan) {
        loop->must_scan = false;
        nadb_conns_scan(&loop->conns);
    }
    nadb_store_turn_end(store);
    nadb_conns_flush(&loop->conns);
    loop->has_store_work = nadb_store_step(store, step_budget_us(loop));
    if (!nadb_list_is_empty(&loop->conns.dirty)) {
        nadb_conns_flush(&loop->conns);
    }
    nadb_server_continue_shutdown(loop);
    loop->is_in_turn = false;
    if (loop->phase == NADB_LOOP_ENDED) {
        return;
    }
    bool is_due = arm_due_timer(loop);
    if (is_due || loop->has_store_work || nadb_conns_have_work(&loop->conns)) {
        nadb_loop_spin(loop);
    } else {
        (void)uv_idle_stop(&loop->spin); /* cannot fail */
    }
}

/* ---- life ---- */

void nadb_loop_init(struct nadb_server_loop *loop)
{
    /* None of these can fail: they only fill in memory. */
    (void)uv_check_init(&loop->uv, &loop->check);
    (void)uv_idle_init(&loop->uv, &loop->spin);
    (void)uv_timer_init(&loop->uv, &loop->due_timer);
    (void)uv_timer_init(&loop->uv, &loop->tick_timer);
    loop->check.data = loop->due_timer.data = loop->tick_timer.data = loop;
}

/* The kernel runs a thread that wakes up at once if it asks for a shorter slice than the one that
 * runs (Linux 6.12 and later; others ignore it). So on a busy processor clients need not wait until
 * a worker's slice has ended. What the loop gets altogether stays the same. Its children are as
 * others. */
static void be_prompt(void)
{
    struct scheduling now = {.size = sizeof(now)};
    if (syscall(SYS_sched_getattr, 0, &now, (unsigned)sizeof(now), 0u) != 0 ||
        now.policy != SCHED_OTHER) {
        return; /* whoever chose another policy has thought of it */
    }
    now.flags |= SCHEDULING_RESET_ON_FORK;
    now.runtime_ns = LOOP_SLICE_NS;
    (void)syscall(SYS_sched_setattr, 0, &now, 0u); /* where it fails, the loop is as others */
}

void nadb_loop_start(struct nadb_server_loop *loop)
{
    be_prompt();
    (void)uv_check_start(&loop->check, on_check); /* fails only without a callback */
    nadb_loop_set_ticks(loop);
    nadb_loop_spin(loop);
}

void nadb_loop_stop(struct nadb_server_loop *loop)
{
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->spin, NULL);
    uv_close((uv_handle_t *)&loop->due_timer, NULL);
    uv_close((uv_handle_t *)&loop->tick_timer, NULL);
}
