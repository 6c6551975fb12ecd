/* This file starts and stops the server, and stands between the store and the connections.
 *
 * Start: listen (clients get -LOADING) - open the store - READY.
 * Stop:  no more commands - the store flushes and closes - last replies - everything closes.
 * In each the order matters: a port or a directory that is taken must end the start before
 * anything is changed, and a reply must not leave before what it promises is true. */
#include "src/server/server.h"

#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/random.h"
#include "src/server/cmd_table.h"
#include "src/server/loop.h"
#include "src/server/server_run.h"
#include "src/store/attempt.h"
#include "src/store/tags.h"

/* ---- shutdown ---- */

void nadb_server_shutdown(struct nadb_server *server, unsigned flags, struct nadb_client *requester)
{
    struct nadb_server_loop *loop = server->loop;
    if (loop->phase != NADB_LOOP_RUNNING) {
        return;
    }
    loop->phase = NADB_LOOP_ASKED;
    loop->shutdown_flags = flags;
    loop->requester_id = requester != NULL ? requester->id : 0;
    if (server->state == NADB_SERVER_LOADING) {
        /* Nothing has changed yet: what has not begun need not be done. Ends with `opened`. */
        nadb_uv_executor_stop(&loop->executor);
    } else {
        server->state = NADB_SERVER_STOPPING;
    }
    nadb_conns_pause(&loop->conns);
    nadb_listeners_stop(&loop->listeners);
    nadb_notify_stopping(&loop->notify);
    nadb_loop_spin(loop);
}

/* The last flush failed and a client asked without FORCE: as if it had not asked. */
static void go_on(struct nadb_server_loop *loop)
{
    struct nadb_client *requester = nadb_client_find(&loop->clients, loop->requester_id);
    loop->phase = NADB_LOOP_RUNNING;
    loop->server.state = NADB_SERVER_READY;
    if (requester != NULL) {
        nadb_resp_error(&requester->out, "ERR Errors trying to SHUTDOWN. Check logs.");
    }
    nadb_listeners_start(&loop->listeners);
    nadb_conns_resume(&loop->conns);
    nadb_conns_admit(&loop->conns); /* those that the shutdown made wait */
    nadb_notify_ready(&loop->notify);
    nadb_server_wake(&loop->server);
}

static void finish(struct nadb_server_loop *loop)
{
    loop->phase = NADB_LOOP_FINISHING;
    loop->finish_by_ms = uv_now(&loop->uv) + NADB_LOOP_FINISH_MS;
    nadb_listeners_close(&loop->listeners);
    nadb_conns_finish(&loop->conns);
    nadb_loop_spin(loop);
}

static void end(struct nadb_server_loop *loop)
{
    loop->phase = NADB_LOOP_ENDED;
    nadb_conns_close_all(&loop->conns);
    nadb_signals_stop(&loop->signals);
    nadb_loop_stop(loop);
}

void nadb_server_continue_shutdown(struct nadb_server_loop *loop)
{
    switch (loop->phase) {
    case NADB_LOOP_RUNNING:
    case NADB_LOOP_CLOSING:
    case NADB_LOOP_ENDED:
        break;
    case NADB_LOOP_ASKED:
        if (loop->server.state == NADB_SERVER_LOADING) {
            nadb_store_give_up(loop->server.store);
        } else {
            loop->phase = NADB_LOOP_CLOSING;
            nadb_log(NADB_LOG_NOTICE, "Shutting down: %s",
                loop->shutdown_flags & NADB_SHUTDOWN_NOSAVE ? "what is not saved yet is dropped"
                                                            : "saving what is not saved yet");
            nadb_store_close(
                loop->server.store, (loop->shutdown_flags & NADB_SHUTDOWN_NOSAVE) != 0);
        }
        break;
    case NADB_LOOP_FINISHING:
        if (loop->conns.count == 0 || uv_now(&loop->uv) >= loop->finish_by_ms) {
            end(loop);
        }
        break;
    }
}

static void on_stop_signal(void *ctx, const char *signal_name)
{
    struct nadb_server_loop *loop = ctx;
    nadb_log(NADB_LOG_NOTICE, "Received %s", signal_name);
    /* A client's request that can still be given up becomes one that cannot. */
    loop->requester_id = 0;
    nadb_server_shutdown(&loop->server, 0, NULL);
}

/* ---- what the store says ---- */

static struct nadb_server_loop *loop_of(void *ctx)
{
    struct nadb_server_loop *loop;
    NADB_CAST(loop, ctx, NADB_LOOP_MAGIC);
    return loop;
}

static void report_loaded(const struct nadb_store *store)
{
    struct nadb_store_stats stats;
    nadb_store_stats(store, &stats);
    nadb_log(NADB_LOG_NOTICE, "DB loaded: %llu keys from %llu entries in %.3f seconds",
        (unsigned long long)stats.keys, (unsigned long long)stats.replayed_entries,
        (double)stats.replay_duration_us / 1e6);
}

static void on_opened(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    struct nadb_server_loop *loop = loop_of(ctx);
    struct nadb_server *server = &loop->server;
    bool is_stopping = loop->phase != NADB_LOOP_RUNNING;
    server->state = is_stopping ? NADB_SERVER_STOPPING : NADB_SERVER_READY;
    if (err != NADB_OK) {
        if (!is_stopping) {
            loop->start_error = *error;
            loop->start_error.code = err;
            bool is_damage = err == NADB_ECORRUPT || err == NADB_EFORMAT;
            loop->exit_code = is_damage ? NADB_EXIT_DAMAGED : NADB_EXIT_FAILED;
            nadb_conns_pause(&loop->conns);
        }
        server->state = NADB_SERVER_STOPPING;
        finish(loop);
        return;
    }
    if (is_stopping) {
        return; /* the next check closes the store */
    }
    report_loaded(server->store);
    if (loop->on_ready != NULL) {
        loop->on_ready(loop->on_ready_ctx);
    }
    nadb_log(NADB_LOG_NOTICE, "Ready to accept connections");
    nadb_notify_ready(&loop->notify);
}

static void on_closed(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    struct nadb_server_loop *loop = loop_of(ctx);
    if (err == NADB_OK) {
        finish(loop);
        return;
    }
    bool is_forced = (loop->shutdown_flags & NADB_SHUTDOWN_FORCE) != 0;
    bool is_open = nadb_store_is_open(loop->server.store);
    nadb_log(NADB_LOG_WARNING, "Shutting down: %s", error->text);
    if (is_open && loop->requester_id != 0 && !is_forced) {
        go_on(loop);
        return;
    }
    if (!is_forced) {
        loop->exit_code = NADB_EXIT_FAILED;
        loop->start_error = *error;
    }
    if (!is_open) {
        finish(loop);
        return;
    }
    /* Everything was tried: the next check closes without what cannot be saved. */
    loop->phase = NADB_LOOP_ASKED;
    loop->shutdown_flags |= NADB_SHUTDOWN_NOSAVE;
    nadb_loop_spin(loop);
}

static void on_durable(void *ctx)
{
    struct nadb_server_loop *loop = loop_of(ctx);
    nadb_conns_durable(&loop->conns, nadb_store_durable(loop->server.store));
}

static void on_undone(void *ctx, const struct nadb_error *error)
{
    struct nadb_server_loop *loop = loop_of(ctx);
    nadb_conns_undone(&loop->conns, nadb_store_durable(loop->server.store), error);
}

static void on_admit(void *ctx)
{
    struct nadb_server_loop *loop = loop_of(ctx);
    nadb_conns_admit(&loop->conns);
    nadb_loop_spin(loop);
}

static void on_wake(void *ctx)
{
    nadb_loop_spin(loop_of(ctx));
}

static void on_notice(void *ctx, bool is_warning, const char *line)
{
    (void)ctx;
    nadb_log(is_warning ? NADB_LOG_WARNING : NADB_LOG_NOTICE, "%s", line);
}

static void on_heard(void *ctx, struct nadb_slice channel, struct nadb_slice text)
{
    struct nadb_server_loop *loop = loop_of(ctx);
    (void)nadb_pubsub_deliver(&loop->server, channel, text, 0); /* nobody asks how many */
}

static const struct nadb_store_events store_events = {
    .opened = on_opened,
    .closed = on_closed,
    .durable = on_durable,
    .undone = on_undone,
    .admit = on_admit,
    .wake = on_wake,
    .notice = on_notice,
    .heard = on_heard,
};

/* ---- what handlers ask ---- */

void nadb_server_wake(struct nadb_server *server)
{
    server->loop->must_scan = true;
    nadb_loop_spin(server->loop);
}

static void limit_clients(struct nadb_config *config)
{
    int64_t room = nadb_listeners_limit(config->maxclients);
    if (room < config->maxclients) {
        nadb_log(NADB_LOG_WARNING,
            "maxclients %lld: the limit of open files leaves room for %lld only",
            (long long)config->maxclients, (long long)room);
        config->maxclients = room;
    }
}

/* Hints are written from this part on of what will be loaded without values: it grows. */
#define HINTS_SHARE 2u

static void set_memory(struct nadb_store *store, const struct nadb_config *config)
{
    nadb_store_set_maxmemory(store, config->maxmemory);
    uint64_t hints_from = (uint64_t)config->maxmemory / NADB_STORE_LOAD_SHARE / HINTS_SHARE;
    nadb_store_set_hints(store, config->maxmemory == 0 ? UINT64_MAX : hints_from);
    nadb_store_set_eviction(
        store, (enum nadb_eviction)config->maxmemory_policy, (unsigned)config->maxmemory_samples);
}

static void set_compression(struct nadb_store *store, const struct nadb_config *config)
{
    const struct nadb_compression compression = {
        .is_on = config->compression,
        .level = (int)config->compression_level,
        .threshold_len = (uint64_t)config->compression_threshold,
    };
    nadb_store_set_compression(store, &compression);
}

static void set_compaction(struct nadb_store *store, const struct nadb_config *config)
{
    const struct nadb_compaction_rules rules = {
        .dead_percent = (uint64_t)config->compact_dead_ratio,
        .stall_percent = (uint64_t)config->compact_stall_ratio,
        .rate_bytes = (uint64_t)config->compact_rate,
        .segment_bytes = (uint64_t)config->segment_size,
    };
    nadb_store_set_compaction(store, &rules);
    nadb_store_set_verification(
        store, (uint64_t)config->verify_interval, (uint64_t)config->compact_rate);
}

void nadb_server_config_changed(struct nadb_server *server)
{
    struct nadb_config *config = server->config;
    nadb_log_set_level((enum nadb_log_level)config->loglevel);
    nadb_store_set_durability(server->store, (enum nadb_durability)config->durability);
    nadb_store_set_buffer(server->store, config->buffer_size, config->flush_interval);
    set_memory(server->store, config);
    set_compression(server->store, config);
    set_compaction(server->store, config);
    nadb_store_set_epochs_max(server->store, (uint64_t)config->invalidation_log_size);
    limit_clients(config);
    nadb_conns_reconfigure(&server->loop->conns);
    nadb_loop_set_ticks(server->loop);
}

/* ---- start ---- */

static char *find_executable(void)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    return nadb_mem_strdup(path);
}

static void begin_turn(void *ctx)
{
    nadb_loop_begin_turn(ctx);
}

/* On a shared backend every batch under way has a thread that waits for the engine, and so has what
 * may take the engine long. */
static unsigned count_threads(const struct nadb_server_opts *opts)
{
    unsigned files = (unsigned)opts->config->io_threads;
    unsigned batches = (unsigned)opts->config->redis_pool_size + 1;
    return opts->backend_ops->shared != NULL && files < batches ? batches : files;
}

/* What can neither fail nor be seen from outside. */
static void init_server(struct nadb_server_loop *loop, const struct nadb_server_opts *opts)
{
    struct nadb_server *server = &loop->server;
    loop->magic = NADB_LOOP_MAGIC;
    loop->on_ready = opts->on_ready;
    loop->on_ready_ctx = opts->on_ready_ctx;
    nadb_client_registry_init(&loop->clients);
    nadb_cmdstats_init(&loop->cmdstats, nadb_cmd_count());
    nadb_pubsub_init(&server->pubsub);
    server->magic = NADB_SERVER_MAGIC;
    server->state = NADB_SERVER_LOADING;
    server->config = opts->config;
    server->clock = nadb_clock_system();
    server->clients = &loop->clients;
    server->cmdstats = &loop->cmdstats;
    server->loop = loop;
    server->executable = loop->executable = find_executable();
    server->start_wall_ms = nadb_clock_wall_ms(server->clock);
    server->start_mono_us = nadb_clock_mono_us(server->clock);
    nadb_random_hex(server->run_id, NADB_RUN_ID_LEN);
    nadb_conns_init(&loop->conns, server, &loop->uv, begin_turn, loop);
    nadb_loop_init(loop);
}

#define URLS_MAX 64u

/* The words of redis-url, each ended; `text` is changed. */
static size_t split_urls(char *text, const char *urls[URLS_MAX])
{
    size_t count = 0;
    char *rest = NULL;
    for (char *url = strtok_r(text, " \t", &rest); url != NULL && count < URLS_MAX;
         url = strtok_r(NULL, " \t", &rest)) {
        urls[count++] = url;
    }
    return count;
}

static void make_store(struct nadb_server_loop *loop, const struct nadb_backend_ops *backend_ops)
{
    const struct nadb_config *config = loop->server.config;
    char *url_text = nadb_mem_strdup(config->redis_url);
    const char *urls[URLS_MAX];
    struct nadb_backend_opts backend_opts = {
        .dir = config->dir,
        .segment_size_bytes = config->segment_size,
        .is_direct_wanted = config->direct_io,
        .replay_values_max = (uint64_t)config->maxmemory / NADB_STORE_LOAD_SHARE,
        .urls = urls,
        .url_count = split_urls(url_text, urls),
        .is_cluster = config->redis_cluster,
        .prefix = config->redis_prefix,
        .partitions = (uint32_t)config->redis_partitions,
        .timeout_ms = config->redis_timeout,
        .pool_size = (unsigned)config->redis_pool_size,
        .may_wait = config->redis_startup == NADB_CONFIG_STARTUP_WAIT,
    };
    struct nadb_store_opts opts = {
        .clock = loop->server.clock,
        .executor = &loop->executor.base,
        .events = &store_events,
        .events_ctx = loop,
        .backend_ops = backend_ops,
        .backend = backend_ops->new_instance(&backend_opts),
        .durability = (enum nadb_durability)config->durability,
        .buffer_size_bytes = config->buffer_size,
        .flush_interval_ms = config->flush_interval,
        .databases = (uint64_t)config->databases,
        .namespaces_max = (uint64_t)config->namespaces_max,
        .shared_runs = (unsigned)config->redis_pool_size,
        .may_wait = config->redis_startup == NADB_CONFIG_STARTUP_WAIT,
    };
    nadb_mem_free(url_text);
    loop->server.store = nadb_store_new(&opts);
    set_memory(loop->server.store, config);
    set_compression(loop->server.store, config);
    set_compaction(loop->server.store, config);
    nadb_store_set_epochs_max(loop->server.store, (uint64_t)config->invalidation_log_size);
}

static void report_start(const struct nadb_server *server)
{
    const struct nadb_config *config = server->config;
    nadb_log(NADB_LOG_NOTICE, "nadbd %s starting, PID: %ld, backend %s, durability %s",
        NADB_VERSION, (long)getpid(), config->backend,
        nadb_option_find(NADB_SLICE("durability"))->words[config->durability]);
    if (config->file_path == NULL) {
        nadb_log(NADB_LOG_NOTICE, "no configuration file: defaults and command line only");
    }
    if (server->tcp_port != 0) {
        nadb_log(NADB_LOG_NOTICE, "listening on port %u (%s)", server->tcp_port, config->bind);
    }
    if (config->unixsocket[0] != '\0') {
        nadb_log(NADB_LOG_NOTICE, "listening on %s", config->unixsocket);
    }
}

/* Everything that can fail before the store is opened. */
static enum nadb_err start(
    struct nadb_server_loop *loop, const struct nadb_server_opts *opts, struct nadb_error *reterr)
{
    enum nadb_err err = nadb_signals_start(&loop->signals, &loop->uv, on_stop_signal, loop, reterr);
    if (err == NADB_OK) {
        limit_clients(opts->config);
        err = nadb_listeners_open(&loop->listeners, &loop->conns, reterr);
    }
    if (err != NADB_OK) {
        return err;
    }
    nadb_notify_init(&loop->notify, opts->config);
    report_start(&loop->server);
    make_store(loop, opts->backend_ops);
    loop->server.startup_memory_bytes = nadb_mem_used();
    nadb_loop_start(loop);
    nadb_listeners_start(&loop->listeners);
    nadb_store_open(loop->server.store);
    return NADB_OK;
}

static void fini_server(struct nadb_server_loop *loop)
{
    nadb_uv_executor_fini(&loop->executor);
    nadb_conns_fini(&loop->conns);
    nadb_attempt_free(loop->server.spare_attempt);
    nadb_store_free(loop->server.store);
    nadb_cmdstats_fini(&loop->cmdstats);
    nadb_pubsub_fini(&loop->server.pubsub);
    nadb_mem_free(loop->executable);
    int rc = uv_loop_close(&loop->uv);
    NADB_ASSERT(rc == 0); /* fails only with handles that nobody closed */
    loop->magic = 0;
}

int nadb_server_run(const struct nadb_server_opts *opts, struct nadb_error *reterr)
{
    struct nadb_server_loop *loop = nadb_mem_zalloc(sizeof(*loop));
    int rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        nadb_mem_free(loop);
        (void)nadb_error_set(reterr, NADB_EIO, -rc, "event loop");
        return NADB_EXIT_FAILED;
    }
    if (nadb_uv_executor_init(
            &loop->executor, &loop->uv, count_threads(opts), begin_turn, loop, reterr) != NADB_OK) {
        (void)uv_loop_close(&loop->uv); /* it has no handles yet */
        nadb_mem_free(loop);
        return NADB_EXIT_FAILED;
    }
    init_server(loop, opts);
    int exit_code = NADB_EXIT_FAILED;
    if (start(loop, opts, reterr) == NADB_OK) {
        (void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* until every handle is closed */
        exit_code = loop->exit_code;
        *reterr = loop->start_error;
    } else {
        nadb_listeners_close(&loop->listeners);
        nadb_signals_stop(&loop->signals);
        nadb_loop_stop(loop);
        (void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* as above */
    }
    fini_server(loop);
    nadb_mem_free(loop);
    return exit_code;
}
