/* This file holds INFO: one function a section, in Redis's order and with Redis's names.
 *
 * Clients search the whole text for the first place where a name occurs, so order and names are a
 * contract: what is nadbd's own stands in the last section and starts with nadb_. Fields of things
 * that nadbd does not have say so with the value that a Redis without them shows. */
#include <stdlib.h>
#include <unistd.h>

#include "backends/shared.h"
#include "src/base/mem.h"
#include "src/base/parse.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"
#include "src/server/process_info.h"

#define INFO_TEXT_MAX ((size_t)16 << 20)
#define HUMAN_MAX     32u

/* What the sections draw from. */
struct info {
    const struct nadb_call *call;
    const struct nadb_server *server;
    bool is_loading;
    struct nadb_store_stats store; /* zeros while loading */
    struct nadb_process_info process;
    uint64_t uptime_s;
    uint64_t used_bytes, peak_bytes;
    struct nadb_buf text;
};

static void add_u64(struct info *info, const char *name, uint64_t value)
{
    nadb_text_add(&info->text, "%s:%llu\r\n", name, (unsigned long long)value);
}

static void add_text(struct info *info, const char *name, const char *value)
{
    nadb_text_add(&info->text, "%s:%s\r\n", name, value);
}

static void add_f2(struct info *info, const char *name, double value)
{
    nadb_text_add(&info->text, "%s:%.2f\r\n", name, value);
}

/* name:bytes and name_human:... */
static void add_size(struct info *info, const char *name, uint64_t bytes)
{
    char human[HUMAN_MAX];
    nadb_format_human(human, sizeof(human), bytes);
    nadb_text_add(
        &info->text, "%s:%llu\r\n%s_human:%s\r\n", name, (unsigned long long)bytes, name, human);
}

static void add_seconds(struct info *info, const char *name, uint64_t us)
{
    nadb_text_add(&info->text, "%s:%llu.%06llu\r\n", name, (unsigned long long)(us / 1000000),
        (unsigned long long)(us % 1000000));
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part / (double)whole;
}

/* ---- sections ---- */

static void add_server(struct info *info)
{
    const struct nadb_server *server = info->server;
    uint64_t now_ms = info->call->now_ms;
    add_text(info, "redis_version", NADB_REDIS_VERSION);
    add_text(info, "server_name", "nadbd");
    add_text(info, "redis_git_sha1", "00000000");
    add_u64(info, "redis_git_dirty", 0);
    add_text(info, "redis_build_id", "0");
    add_text(info, "redis_mode", "standalone");
    add_text(info, "os", info->process.os);
    add_u64(info, "arch_bits", 8 * sizeof(void *));
    add_text(info, "monotonic_clock", "POSIX clock_gettime");
    add_text(info, "multiplexing_api", "epoll");
    add_text(info, "atomicvar_api", "c11-builtin");
    nadb_text_add(
        &info->text, "gcc_version:%d.%d.%d\r\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
    add_u64(info, "process_id", (uint64_t)getpid());
    bool is_supervised =
        server->config->supervised != NADB_CONFIG_SUPERVISED_NO && getenv("NOTIFY_SOCKET") != NULL;
    add_text(info, "process_supervised", is_supervised ? "systemd" : "no");
    add_text(info, "run_id", server->run_id);
    add_u64(info, "tcp_port", server->tcp_port);
    add_u64(info, "server_time_usec", now_ms * 1000);
    add_u64(info, "uptime_in_seconds", info->uptime_s);
    add_u64(info, "uptime_in_days", info->uptime_s / 86400);
    add_u64(info, "hz", (uint64_t)server->config->hz);
    add_u64(info, "configured_hz", (uint64_t)server->config->hz);
    add_u64(info, "lru_clock", now_ms / 1000 & 0xffffff);
    add_text(info, "executable", server->executable != NULL ? server->executable : "");
    add_text(
        info, "config_file", server->config->file_path != NULL ? server->config->file_path : "");
    add_u64(info, "io_threads_active", 0);
}

static void add_clients(struct info *info)
{
    const struct nadb_server *server = info->server;
    uint64_t watching = 0;
    for (const struct nadb_client *client = nadb_client_next(server->clients, NULL); client != NULL;
         client = nadb_client_next(server->clients, client)) {
        watching += client->watcher.watches != NULL;
    }
    add_u64(info, "connected_clients", server->clients->count);
    add_u64(info, "cluster_connections", 0);
    add_u64(info, "maxclients", (uint64_t)server->config->maxclients);
    add_u64(info, "client_recent_max_input_buffer", server->clients_peak_input_bytes);
    add_u64(info, "client_recent_max_output_buffer", server->clients_peak_output_bytes);
    add_u64(info, "blocked_clients", 0);
    add_u64(info, "tracking_clients", 0);
    add_u64(info, "pubsub_clients", info->server->pubsub.client_count);
    add_u64(info, "watching_clients", watching);
    add_u64(info, "clients_in_timeout_table", 0);
}

static uint64_t sum_client_bytes(const struct nadb_server *server)
{
    uint64_t bytes = 0;
    for (const struct nadb_client *client = nadb_client_next(server->clients, NULL); client != NULL;
         client = nadb_client_next(server->clients, client)) {
        bytes += sizeof(*client) + client->query_bytes + client->queue_bytes + client->out.buf.cap;
    }
    return bytes;
}

static void add_memory(struct info *info)
{
    const struct nadb_server *server = info->server;
    uint64_t used = info->used_bytes;
    uint64_t rss = info->process.rss_bytes;
    uint64_t clients = sum_client_bytes(server);
    uint64_t overhead = server->startup_memory_bytes + info->store.index_bytes + clients;
    overhead = overhead < used ? overhead : used;
    uint64_t dataset = used - overhead;
    uint64_t net = used > server->startup_memory_bytes ? used - server->startup_memory_bytes : 0;
    add_size(info, "used_memory", used);
    add_size(info, "used_memory_rss", rss);
    add_size(info, "used_memory_peak", info->peak_bytes);
    nadb_text_add(
        &info->text, "used_memory_peak_perc:%.2f%%\r\n", 100 * ratio(used, info->peak_bytes));
    add_u64(info, "used_memory_overhead", overhead);
    add_u64(info, "used_memory_startup", server->startup_memory_bytes);
    add_u64(info, "used_memory_dataset", dataset);
    nadb_text_add(&info->text, "used_memory_dataset_perc:%.2f%%\r\n",
        100 * ratio(dataset < net ? dataset : net, net));
    add_u64(info, "allocator_allocated", used);
    add_u64(info, "allocator_active", rss);
    add_u64(info, "allocator_resident", rss);
    add_size(info, "total_system_memory", info->process.total_memory_bytes);
    add_size(info, "used_memory_lua", 0);
    add_size(info, "used_memory_scripts", 0);
    add_u64(info, "number_of_cached_scripts", 0);
    add_u64(info, "number_of_functions", 0);
    add_u64(info, "number_of_libraries", 0);
    add_size(info, "maxmemory", server->config->maxmemory);
    add_text(info, "maxmemory_policy",
        nadb_option_find(NADB_SLICE("maxmemory-policy"))->words[server->config->maxmemory_policy]);
    add_f2(info, "allocator_frag_ratio", ratio(rss, used));
    nadb_text_add(&info->text, "allocator_frag_bytes:%lld\r\n", (long long)rss - (long long)used);
    add_f2(info, "allocator_rss_ratio", 1);
    add_u64(info, "allocator_rss_bytes", 0);
    add_f2(info, "rss_overhead_ratio", 1);
    add_u64(info, "rss_overhead_bytes", 0);
    add_f2(info, "mem_fragmentation_ratio", ratio(rss, used));
    nadb_text_add(
        &info->text, "mem_fragmentation_bytes:%lld\r\n", (long long)rss - (long long)used);
    add_u64(info, "mem_not_counted_for_evict", 0);
    add_u64(info, "mem_replication_backlog", 0);
    add_u64(info, "mem_total_replication_buffers", 0);
    add_u64(info, "mem_clients_slaves", 0);
    add_u64(info, "mem_clients_normal", clients);
    add_u64(info, "mem_cluster_links", 0);
    add_u64(info, "mem_aof_buffer", 0);
    add_text(info, "mem_allocator", nadb_mem_allocator());
    add_u64(info, "active_defrag_running", 0);
    add_u64(info, "lazyfree_pending_objects", 0);
    add_u64(info, "lazyfreed_objects", 0);
}

/* A flush is what a background save is in Redis, so the rdb_ fields tell of flushes. */
static void add_persistence(struct info *info)
{
    const struct nadb_store_stats *store = &info->store;
    uint64_t now_ms = info->call->now_ms;
    uint64_t running_ms = now_ms > store->flush_started_ms ? now_ms - store->flush_started_ms : 0;
    bool is_ok = store->flush_last_err == NADB_OK;
    add_u64(info, "loading", info->is_loading);
    if (info->is_loading) {
        unsigned percent = nadb_store_open_percent(info->server->store);
        nadb_text_add(&info->text,
            "loading_start_time:%llu\r\nloading_loaded_perc:%u.00\r\nloading_eta_seconds:1\r\n",
            (unsigned long long)(info->server->start_wall_ms / 1000), percent);
    }
    add_u64(info, "async_loading", 0);
    add_u64(info, "current_cow_peak", 0);
    add_u64(info, "current_cow_size", 0);
    add_u64(info, "current_cow_size_age", 0);
    add_text(info, "current_fork_perc", "0.00");
    add_u64(info, "current_save_keys_processed", 0);
    add_u64(info, "current_save_keys_total", 0);
    add_u64(info, "rdb_changes_since_last_save", store->changes_unsaved);
    add_u64(info, "rdb_bgsave_in_progress", store->is_flushing);
    add_u64(info, "rdb_last_save_time", store->flush_last_ms / 1000);
    add_text(info, "rdb_last_bgsave_status", is_ok ? "ok" : "err");
    nadb_text_add(&info->text, "rdb_last_bgsave_time_sec:%lld\r\n",
        store->flushes == 0 ? -1LL : (long long)(store->flush_last_duration_us / 1000000));
    nadb_text_add(&info->text, "rdb_current_bgsave_time_sec:%lld\r\n",
        store->is_flushing ? (long long)(running_ms / 1000) : -1LL);
    add_u64(info, "rdb_saves", store->flushes);
    add_u64(info, "rdb_last_cow_size", 0);
    add_u64(info, "rdb_last_load_keys_expired", 0);
    add_u64(info, "rdb_last_load_keys_loaded", store->replayed_entries);
    add_u64(info, "aof_enabled", 0);
    add_u64(info, "aof_rewrite_in_progress", 0);
    add_u64(info, "aof_rewrite_scheduled", 0);
    add_text(info, "aof_last_rewrite_time_sec", "-1");
    add_text(info, "aof_current_rewrite_time_sec", "-1");
    add_text(info, "aof_last_bgrewrite_status", "ok");
    add_u64(info, "aof_rewrites", 0);
    add_u64(info, "aof_rewrites_consecutive_failures", 0);
    add_text(info, "aof_last_write_status", is_ok ? "ok" : "err");
    add_u64(info, "aof_last_cow_size", 0);
    add_u64(info, "module_fork_in_progress", 0);
    add_u64(info, "module_fork_last_cow_size", 0);
}

static void add_stats(struct info *info)
{
    const struct nadb_server *server = info->server;
    const struct nadb_server_counters *counters = &server->counters;
    add_u64(info, "total_connections_received", counters->connections_received);
    add_u64(info, "total_commands_processed", counters->commands_processed);
    add_u64(info, "instantaneous_ops_per_sec", (uint64_t)nadb_rate_per_second(&server->ops_rate));
    add_u64(info, "total_net_input_bytes", counters->net_input_bytes);
    add_u64(info, "total_net_output_bytes", counters->net_output_bytes);
    add_u64(info, "total_net_repl_input_bytes", 0);
    add_u64(info, "total_net_repl_output_bytes", 0);
    add_f2(info, "instantaneous_input_kbps", nadb_rate_per_second(&server->input_rate) / 1024);
    add_f2(info, "instantaneous_output_kbps", nadb_rate_per_second(&server->output_rate) / 1024);
    add_f2(info, "instantaneous_input_repl_kbps", 0);
    add_f2(info, "instantaneous_output_repl_kbps", 0);
    add_u64(info, "rejected_connections", counters->connections_rejected);
    add_u64(info, "sync_full", 0);
    add_u64(info, "sync_partial_ok", 0);
    add_u64(info, "sync_partial_err", 0);
    add_u64(info, "expired_keys", info->store.expired);
    add_f2(info, "expired_stale_perc", 0);
    add_u64(info, "expired_time_cap_reached_count", 0);
    add_u64(info, "expire_cycle_cpu_milliseconds", 0);
    add_u64(info, "evicted_keys", info->store.evicted);
    add_u64(info, "evicted_clients", 0);
    add_u64(info, "total_eviction_exceeded_time", 0);
    add_u64(info, "current_eviction_exceeded_time", 0);
    add_u64(info, "keyspace_hits", info->store.hits);
    add_u64(info, "keyspace_misses", info->store.misses);
    add_u64(info, "pubsub_channels", info->server->pubsub.channel_count);
    add_u64(info, "pubsub_patterns", info->server->pubsub.pattern_count);
    add_u64(info, "pubsubshard_channels", 0);
    add_u64(info, "latest_fork_usec", 0);
    add_u64(info, "total_forks", 0);
    add_u64(info, "migrate_cached_sockets", 0);
    add_u64(info, "slave_expires_tracked_keys", 0);
    add_u64(info, "active_defrag_hits", 0);
    add_u64(info, "active_defrag_misses", 0);
    add_u64(info, "active_defrag_key_hits", 0);
    add_u64(info, "active_defrag_key_misses", 0);
    add_u64(info, "tracking_total_keys", 0);
    add_u64(info, "tracking_total_items", 0);
    add_u64(info, "tracking_total_prefixes", 0);
    add_u64(info, "unexpected_error_replies", 0);
    add_u64(info, "total_error_replies", counters->error_replies);
    add_u64(info, "dump_payload_sanitizations", 0);
    add_u64(info, "total_reads_processed", counters->reads_processed);
    add_u64(info, "total_writes_processed", counters->writes_processed);
    add_u64(info, "io_threaded_reads_processed", 0);
    add_u64(info, "io_threaded_writes_processed", 0);
    add_u64(info, "client_query_buffer_limit_disconnections", counters->query_limit_disconnections);
    add_u64(
        info, "client_output_buffer_limit_disconnections", counters->output_limit_disconnections);
}

static void add_replication(struct info *info)
{
    add_text(info, "role", "master");
    add_u64(info, "connected_slaves", 0);
    add_text(info, "master_failover_state", "no-failover");
    add_text(info, "master_replid", info->server->run_id);
    add_text(info, "master_replid2", "0000000000000000000000000000000000000000");
    add_u64(info, "master_repl_offset", 0);
    add_text(info, "second_repl_offset", "-1");
    add_u64(info, "repl_backlog_active", 0);
    add_u64(info, "repl_backlog_size", 0);
    add_u64(info, "repl_backlog_first_byte_offset", 0);
    add_u64(info, "repl_backlog_histlen", 0);
}

static void add_cpu(struct info *info)
{
    add_seconds(info, "used_cpu_sys", info->process.cpu_sys_us);
    add_seconds(info, "used_cpu_user", info->process.cpu_user_us);
    add_seconds(info, "used_cpu_sys_children", info->process.cpu_children_sys_us);
    add_seconds(info, "used_cpu_user_children", info->process.cpu_children_user_us);
    add_seconds(info, "used_cpu_sys_main_thread", info->process.cpu_thread_sys_us);
    add_seconds(info, "used_cpu_user_main_thread", info->process.cpu_thread_user_us);
}

/* There are no modules: a title alone, as Redis shows. */
static void add_modules(struct info *info)
{
    (void)info;
}

static void add_commandstats(struct info *info)
{
    const struct nadb_cmdstats *stats = info->server->cmdstats;
    for (size_t i = 0; i < stats->command_count; i++) {
        const struct nadb_cmdstat *stat = &stats->commands[i];
        if (stat->calls == 0 && stat->rejected == 0) {
            continue;
        }
        double us = (double)stat->latency.sum_ns / 1000;
        nadb_text_add(&info->text,
            "cmdstat_%s:calls=%llu,usec=%.0f,usec_per_call=%.2f,rejected_calls=%llu,"
            "failed_calls=%llu\r\n",
            nadb_cmd_at(i)->name, (unsigned long long)stat->calls, us,
            stat->calls == 0 ? 0 : us / (double)stat->calls, (unsigned long long)stat->rejected,
            (unsigned long long)stat->failed);
    }
}

static void add_errorstats(struct info *info)
{
    const struct nadb_cmdstats *stats = info->server->cmdstats;
    for (size_t i = 0; i < stats->error_count; i++) {
        nadb_text_add(&info->text, "errorstat_%s:count=%llu\r\n", stats->errors[i].prefix,
            (unsigned long long)stats->errors[i].count);
    }
}

static void add_latencystats(struct info *info)
{
    const struct nadb_cmdstats *stats = info->server->cmdstats;
    for (size_t i = 0; i < stats->command_count; i++) {
        const struct nadb_histogram *latency = &stats->commands[i].latency;
        if (latency->count == 0) {
            continue;
        }
        nadb_text_add(&info->text, "latency_percentiles_usec_%s:p50=%.3f,p99=%.3f,p99.9=%.3f\r\n",
            nadb_cmd_at(i)->name, (double)nadb_histogram_percentile(latency, 50) / 1000,
            (double)nadb_histogram_percentile(latency, 99) / 1000,
            (double)nadb_histogram_percentile(latency, 99.9) / 1000);
    }
}

static void add_cluster(struct info *info)
{
    add_u64(info, "cluster_enabled", 0);
}

static void add_keyspace(struct info *info)
{
    struct nadb_store *store = info->call->store;
    for (uint64_t db = 0; !info->is_loading && db < (uint64_t)info->server->config->databases;
         db++) {
        const struct nadb_keyspace *keyspace =
            nadb_store_keyspace(store, db, nadb_slice_of(NULL, 0), false);
        if (keyspace == NULL || nadb_keyspace_count(keyspace) == 0) {
            continue;
        }
        nadb_text_add(&info->text, "db%llu:keys=%llu,expires=%llu,avg_ttl=%llu\r\n",
            (unsigned long long)db, (unsigned long long)nadb_keyspace_count(keyspace),
            (unsigned long long)nadb_keyspace_expires(keyspace),
            (unsigned long long)nadb_keyspace_ttl_avg_ms(store, keyspace));
    }
}

static uint64_t count_namespaces(const struct info *info)
{
    uint64_t count = 0;
    const struct nadb_keyspace *keyspace = NULL;
    while (!info->is_loading &&
           (keyspace = nadb_store_keyspace_next(info->call->store, keyspace)) != NULL) {
        count += nadb_keyspace_name(keyspace).len > 0;
    }
    return count;
}

/* The engine behind a shared backend. */
static void add_engine(struct info *info)
{
    struct nadb_shared_stats stats;
    if (!nadb_store_shared_stats(info->call->store, &stats)) {
        return;
    }
    add_text(info, "nadb_engine", stats.engine);
    add_text(info, "nadb_engine_state", stats.is_down ? "down" : "up");
    add_u64(info, "nadb_engine_servers", stats.servers);
    add_u64(info, "nadb_engine_batches", stats.batches);
    add_u64(info, "nadb_engine_operations", stats.ops);
    add_u64(info, "nadb_engine_round_trips", stats.round_trips);
    add_u64(info, "nadb_engine_reconnects", stats.reconnects);
    add_u64(info, "nadb_engine_redirects", stats.redirects);
    add_u64(info, "nadb_engine_timeouts", stats.timeouts);
    add_u64(info, "nadb_engine_failures", stats.failures);
}

/* What only nadbd has. */
static void add_nadb(struct info *info)
{
    const struct nadb_store_stats *store = &info->store;
    static const char *const durabilities[] = {
        [NADB_DURABILITY_ALWAYS] = "always",
        [NADB_DURABILITY_INTERVAL] = "interval",
        [NADB_DURABILITY_BUFFERED] = "buffered",
    };
    add_text(info, "nadb_version", NADB_VERSION);
    add_text(info, "nadb_backend", info->server->config->backend);
    bool is_shared = nadb_store_is_shared(info->call->store);
    add_text(info, "nadb_durability",
        is_shared ? "backend" : durabilities[info->server->config->durability]);
    add_engine(info);
    uint64_t verify_done;
    uint64_t verify_segments;
    struct nadb_verify_report verified;
    bool is_verifying =
        nadb_store_verify_progress(info->call->store, &verify_done, &verify_segments);
    (void)nadb_store_verify_report(info->call->store, 0, &verified); /* there is always one */
    add_text(info, "nadb_storage_state", nadb_storage_state_name(store->state));
    add_u64(info, "nadb_keys", store->keys);
    add_u64(info, "nadb_namespaces", count_namespaces(info));
    add_u64(info, "nadb_key_index_bytes", store->index_bytes);
    add_u64(info, "nadb_last_version", store->version);
    add_u64(info, "nadb_buffer_entries", store->buffer_entries);
    add_u64(info, "nadb_buffer_bytes", store->buffer_bytes);
    add_u64(info, "nadb_buffer_size", store->buffer_size_bytes);
    add_f2(info, "nadb_buffer_utilization", ratio(store->buffer_bytes, store->buffer_size_bytes));
    add_u64(info, "nadb_flushes", store->flushes);
    add_u64(info, "nadb_flush_failures", store->flush_failures);
    add_text(info, "nadb_last_flush_status", nadb_err_name(store->flush_last_err));
    add_u64(info, "nadb_last_flush_time_ms", store->flush_last_ms);
    add_u64(info, "nadb_last_flush_duration_us", store->flush_last_duration_us);
    add_u64(info, "nadb_last_flush_entries", store->flush_last_entries);
    add_u64(info, "nadb_last_flush_bytes", store->flush_last_bytes);
    add_u64(info, "nadb_segments", store->backend.segments);
    add_u64(info, "nadb_disk_bytes", store->backend.disk_bytes);
    add_u64(info, "nadb_written_batches", store->backend.batches);
    add_u64(info, "nadb_written_entries", store->backend.entries);
    add_u64(info, "nadb_written_bytes", store->backend.bytes_written);
    add_u64(info, "nadb_compressed_values", store->backend.packed_values);
    add_u64(info, "nadb_compressed_from_bytes", store->backend.packed_from);
    add_u64(info, "nadb_compressed_to_bytes", store->backend.packed_to);
    add_u64(info, "nadb_cold_keys", store->cold_keys);
    add_u64(info, "nadb_dropped_values", store->dropped_values);
    add_u64(info, "nadb_fetched_values", store->fetched_values);
    add_u64(info, "nadb_fetch_failures", store->fetch_failures);
    add_u64(info, "nadb_compacting", nadb_store_is_compacting(info->call->store));
    add_u64(info, "nadb_compactions", store->compactions);
    add_u64(info, "nadb_compaction_skipped_segments", store->skipped_segments);
    add_u64(info, "nadb_compaction_failures", store->compaction_failures);
    add_u64(info, "nadb_compaction_stalls", store->compaction_stalls);
    add_u64(info, "nadb_hints_written", store->hints);
    add_u64(info, "nadb_verifying", is_verifying);
    add_u64(info, "nadb_last_verify_time_ms", verified.ended_ms);
    add_u64(info, "nadb_last_verify_damaged_segments", verified.damaged);
    add_u64(info, "nadb_syncs", store->backend.syncs);
    add_u64(info, "nadb_storage_failures", store->backend.failures);
    add_u64(info, "nadb_replayed_entries", store->replayed_entries);
    add_u64(info, "nadb_replay_duration_us", store->replay_duration_us);
}

static void add_tags(struct info *info)
{
    struct nadb_tag_stats stats = {0};
    if (!info->is_loading) {
        nadb_store_tag_stats(info->call->store, &stats);
    }
    add_u64(info, "nadb_tags", stats.tags);
    add_u64(info, "nadb_memberships", stats.memberships);
    add_u64(info, "nadb_tagged_keys", stats.tagged_keys);
    add_u64(info, "nadb_index_bytes", stats.index_bytes);
    add_u64(info, "nadb_epoch", stats.epoch);
    add_u64(info, "nadb_horizon", stats.horizon);
    add_u64(info, "nadb_log_entries", stats.log_entries);
    add_u64(info, "nadb_invalidations", stats.invalidations);
    add_u64(info, "nadb_invalidated_keys", stats.invalidated_keys);
    add_u64(info, "nadb_invalidated_pending", stats.dying_keys);
    add_u64(info, "nadb_refused_fills", stats.refused_fills);
}

static const struct {
    const char *name; /* as asked for */
    const char *title;
    void (*add)(struct info *info);
    bool is_default;
} sections[] = {
    {"server", "Server", add_server, true},
    {"clients", "Clients", add_clients, true},
    {"memory", "Memory", add_memory, true},
    {"persistence", "Persistence", add_persistence, true},
    {"stats", "Stats", add_stats, true},
    {"replication", "Replication", add_replication, true},
    {"cpu", "CPU", add_cpu, true},
    {"modules", "Modules", add_modules, true},
    {"commandstats", "Commandstats", add_commandstats, false},
    {"errorstats", "Errorstats", add_errorstats, true},
    {"latencystats", "Latencystats", add_latencystats, false},
    {"cluster", "Cluster", add_cluster, true},
    {"keyspace", "Keyspace", add_keyspace, true},
    {"nadb", "Nadb", add_nadb, true},
    {"tags", "Tags", add_tags, true},
};

static bool is_section_wanted(const struct nadb_call *call, size_t section)
{
    bool is_default = sections[section].is_default;
    if (call->argc == 1) {
        return is_default;
    }
    for (size_t i = 1; i < call->argc; i++) {
        struct nadb_slice word = call->argv[i];
        if (nadb_arg_is(word, "all") || nadb_arg_is(word, "everything") ||
            (is_default && nadb_arg_is(word, "default")) ||
            nadb_arg_is(word, sections[section].name)) {
            return true;
        }
    }
    return false;
}

enum nadb_cmd_status nadb_cmd_info(struct nadb_call *call)
{
    const struct nadb_server *server = call->server;
    struct info info = {
        .call = call,
        .server = server,
        .is_loading = server->state == NADB_SERVER_LOADING,
        .uptime_s = (nadb_clock_mono_us(server->clock) - server->start_mono_us) / 1000000,
        .used_bytes = nadb_mem_used(),
        .peak_bytes = nadb_mem_peak(),
    };
    nadb_process_info_read(&info.process);
    if (!info.is_loading) {
        nadb_store_survey(call->store);
        nadb_store_stats(call->store, &info.store);
    }
    nadb_buf_init(&info.text, INFO_TEXT_MAX);
    for (size_t i = 0; i < NADB_ARRAY_LEN(sections); i++) {
        if (is_section_wanted(call, i)) {
            nadb_text_add(
                &info.text, "%s# %s\r\n", info.text.len > 0 ? "\r\n" : "", sections[i].title);
            sections[i].add(&info);
        }
    }
    nadb_resp_verbatim(call->out, nadb_buf_slice(&info.text));
    nadb_buf_fini(&info.text);
    return NADB_CMD_DONE;
}
