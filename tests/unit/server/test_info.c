/* This file tests that INFO has what clients and tools look for, where they look for it. */
#include <stdio.h>

#include "src/server/cmd_table.h"
#include "tests/support/test.h"
#include "tests/unit/server/cmd_fixture.h"

NADB_TEST_SUITE(info);

static struct cmd_fixture fixture;

/* Fields that exporters, dashboards and client libraries read, in the order of the text. */
static const char *const wanted[] = {"# Server/redis_version:7.2.4/",
    "/redis_build_id:", "/redis_mode:standalone/", "/os:Linux ",
    "/process_id:", "/run_id:", "/tcp_port:6380/", "/uptime_in_seconds:0/", "/uptime_in_days:0/",
    "/hz:10/", "/executable:", "/config_file:", "//# Clients/connected_clients:1/",
    "/maxclients:10000/", "/blocked_clients:0/", "//# Memory/used_memory:", "/used_memory_human:",
    "/used_memory_rss:", "/used_memory_peak:", "/total_system_memory:", "/maxmemory:0/",
    "/maxmemory_policy:noeviction/",
    "/mem_fragmentation_ratio:", "/mem_allocator:", "/lazyfree_pending_objects:0/",
    "//# Persistence/loading:0/", "/async_loading:0/",
    "/rdb_changes_since_last_save:", "/rdb_bgsave_in_progress:", "/rdb_last_save_time:1700000000/",
    "/rdb_last_bgsave_status:ok/", "/aof_enabled:0/", "/aof_rewrite_in_progress:0/",
    "/aof_last_bgrewrite_status:ok/", "/aof_last_write_status:ok/",
    "//# Stats/total_connections_received:", "/total_commands_processed:",
    "/instantaneous_ops_per_sec:", "/total_net_input_bytes:", "/total_net_output_bytes:",
    "/instantaneous_input_kbps:", "/rejected_connections:0/", "/expired_keys:0/",
    "/evicted_keys:0/", "/keyspace_hits:1/", "/keyspace_misses:1/", "/pubsub_channels:0/",
    "/pubsub_patterns:0/", "/latest_fork_usec:0/", "/total_error_replies:1/",
    "//# Replication/role:master/", "/connected_slaves:0/",
    "/master_replid:", "/master_repl_offset:0/",
    "//# CPU/used_cpu_sys:", "/used_cpu_user:", "//# Modules/",
    "/# Commandstats/cmdstat_get:calls=2,usec=", "/# Errorstats/errorstat_ERR:",
    "//# Latencystats/latency_percentiles_usec_get:p50=", "//# Cluster/cluster_enabled:0/",
    "//# Keyspace/db0:keys=1,expires=0,avg_ttl=0/",
    "//# Nadb/nadb_version:", "/nadb_durability:interval/", "/nadb_storage_state:ok/",
    "/nadb_buffer_bytes:", "/nadb_buffer_utilization:", "/nadb_segments:"};

Test(info, fields_that_tools_read_are_there_in_order)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "SET a 1\nGET a\nGET b\nFOO");
    const char *at = cmd_fixture_run(&fixture, "INFO everything");
    for (size_t i = 0; i < NADB_ARRAY_LEN(wanted); i++) {
        const char *found = strstr(at, wanted[i]);
        cr_assert_not_null(found, "'%s' is not after '%.60s'", wanted[i], at);
        at = found + 1;
    }
    cmd_fixture_fini(&fixture);
}

/* The name of the line at `at`, "" for titles and empty lines. */
static void copy_name(const char *at, char *name, size_t name_cap)
{
    size_t len = strcspn(at, ":/");
    name[0] = '\0';
    if (at[0] != '#' && len > 0) {
        cr_assert_eq(at[len], ':', "'%.60s' is not name:value", at);
        (void)snprintf(name, name_cap, "%.*s", (int)len, at);
    }
}

Test(info, every_line_is_a_title_or_a_field_that_occurs_once)
{
    cmd_fixture_init(&fixture);
    fixture.server.executable = "nadbd"; /* a path has slashes, which stand for line ends here */
    (void)cmd_fixture_run(&fixture, "SET a 1\nFOO");
    char text[32768];
    (void)snprintf(text, sizeof(text), "%s", cmd_fixture_run(&fixture, "INFO everything"));
    char name[128];
    char line_start[130];
    for (char *at = strchr(text, '/') + 1; *at != '\0'; at = strchr(at, '/') + 1) {
        copy_name(at, name, sizeof(name));
        if (name[0] != '\0') {
            (void)snprintf(line_start, sizeof(line_start), "/%s:", name);
            cr_expect_null(strstr(at, line_start), "%s is there twice", name);
        }
    }
    cmd_fixture_fini(&fixture);
}

Test(info, sections_are_chosen_by_name)
{
    static const struct {
        const char *line, *has, *has_not;
    } cases[] = {
        {"INFO", "# Nadb/", "# Commandstats/"},
        {"INFO default", "# Nadb/", "# Latencystats/"},
        {"INFO all", "# Commandstats/", "# Nothing/"},
        {"INFO everything", "# Latencystats/", "# Nothing/"},
        {"INFO commandstats", "# Commandstats/", "# Server/"},
        {"INFO default COMMANDSTATS", "# Commandstats/", "# Latencystats/"},
        {"INFO server nosuch memory", "# Memory/", "# Clients/"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        cmd_fixture_init(&fixture);
        const char *reply = cmd_fixture_run(&fixture, cases[i].line);
        cr_expect_not_null(strstr(reply, cases[i].has), "%s", cases[i].line);
        cr_expect_null(strstr(reply, cases[i].has_not), "%s", cases[i].line);
        cmd_fixture_fini(&fixture);
    }
}

Test(info, a_resp3_client_gets_verbatim_text)
{
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "HELLO 3");
    cr_assert_not_null(strstr(cmd_fixture_run(&fixture, "INFO cluster"), "/txt:# Cluster/"));
    cmd_fixture_fini(&fixture);
}
