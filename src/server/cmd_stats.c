/* This file holds STATS: the server's figures as a map that a person can read. */
#include <stdio.h>

#include "src/base/mem.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define NS_PER_MS 1e6

/* A number with four digits after the point: a double in RESP3, text in RESP2. */
static void reply_decimal(struct nadb_call *call, const char *name, double value)
{
    nadb_resp_bulk_cstr(call->out, name);
    if (call->out->proto == 3) {
        char text[64];
        int len = snprintf(text, sizeof(text), ",%.4f\r\n", value);
        nadb_resp_raw(call->out, nadb_slice_of(text, (size_t)len));
    } else {
        nadb_resp_bulk_printf(call->out, "%.4f", value);
    }
}

#define OPERATION_FIELDS 6u

static void reply_operation(struct nadb_call *call, const struct nadb_cmdstat *stat)
{
    const struct nadb_histogram *latency = &stat->latency;
    double count = latency->count > 0 ? (double)latency->count : 1;
    nadb_resp_map(call->out, OPERATION_FIELDS);
    nadb_reply_field_u64(call, "count", stat->calls);
    reply_decimal(call, "avg_ms", (double)latency->sum_ns / count / NS_PER_MS);
    reply_decimal(call, "min_ms", latency->count > 0 ? (double)latency->min_ns / NS_PER_MS : 0);
    reply_decimal(call, "max_ms", (double)latency->max_ns / NS_PER_MS);
    reply_decimal(call, "p95_ms", (double)nadb_histogram_percentile(latency, 95) / NS_PER_MS);
    reply_decimal(call, "p99_ms", (double)nadb_histogram_percentile(latency, 99) / NS_PER_MS);
}

static void reply_operations(struct nadb_call *call)
{
    const struct nadb_cmdstats *stats = call->server->cmdstats;
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    for (size_t i = 0; i < stats->command_count; i++) {
        if (stats->commands[i].calls > 0) {
            nadb_resp_bulk_cstr(call->out, nadb_cmd_at(i)->name);
            reply_operation(call, &stats->commands[i]);
            count++;
        }
    }
    nadb_resp_deferred_map(call->out, mark, count);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100 * (double)part / (double)whole;
}

#define STATS_FIELDS 20u

enum nadb_cmd_status nadb_cmd_stats(struct nadb_call *call)
{
    struct nadb_server *server = call->server;
    if (call->argc == 2 && nadb_arg_is(call->argv[1], "reset")) {
        return nadb_cmd_config_resetstat(call);
    }
    if (call->argc != 1) {
        return nadb_reply_syntax_error(call);
    }
    struct nadb_store_stats store;
    nadb_store_survey(call->store);
    nadb_store_stats(call->store, &store);
    uint64_t uptime_us = nadb_clock_mono_us(server->clock) - server->start_mono_us;
    nadb_resp_map(call->out, STATS_FIELDS);
    nadb_reply_field_u64(call, "uptime_s", uptime_us / 1000000);
    nadb_reply_field_u64(call, "clients", server->clients->count);
    nadb_reply_field_u64(call, "commands", server->counters.commands_processed);
    nadb_reply_field_u64(call, "keys", store.keys);
    nadb_reply_field_u64(call, "memory_bytes", nadb_mem_used());
    nadb_reply_field_u64(call, "disk_bytes", store.backend.disk_bytes);
    nadb_reply_field_u64(call, "buffer_entries", store.buffer_entries);
    nadb_reply_field_u64(call, "buffer_bytes", store.buffer_bytes);
    nadb_reply_field_u64(call, "buffer_size_bytes", store.buffer_size_bytes);
    reply_decimal(
        call, "buffer_utilization_percent", percent(store.buffer_bytes, store.buffer_size_bytes));
    nadb_reply_field_u64(call, "hits", store.hits);
    nadb_reply_field_u64(call, "misses", store.misses);
    reply_decimal(call, "hit_percent", percent(store.hits, store.hits + store.misses));
    nadb_reply_field_u64(call, "expired", store.expired);
    nadb_reply_field_u64(call, "flushes", store.flushes);
    nadb_reply_field_u64(call, "flush_failures", store.flush_failures);
    nadb_reply_field_u64(call, "compressed_values", store.backend.packed_values);
    nadb_reply_field_u64(call, "compressed_bytes", store.backend.packed_to);
    reply_decimal(
        call, "compressed_to_percent", percent(store.backend.packed_to, store.backend.packed_from));
    nadb_resp_bulk_cstr(call->out, "operations");
    reply_operations(call);
    return NADB_CMD_DONE;
}
