/* This file counts commands and errors. */
#include "src/server/cmdstats.h"

#include "src/base/mem.h"

void nadb_cmdstats_init(struct nadb_cmdstats *stats, size_t command_count)
{
    *stats = (struct nadb_cmdstats){.command_count = command_count};
    stats->commands = nadb_mem_zalloc(command_count * sizeof(*stats->commands));
    for (size_t i = 0; i < command_count; i++) {
        nadb_histogram_init(&stats->commands[i].latency);
    }
}

void nadb_cmdstats_fini(struct nadb_cmdstats *stats)
{
    for (size_t i = 0; i < stats->command_count; i++) {
        nadb_histogram_fini(&stats->commands[i].latency);
    }
    nadb_mem_free(stats->commands);
    *stats = (struct nadb_cmdstats){0};
}

void nadb_cmdstats_reset(struct nadb_cmdstats *stats)
{
    for (size_t i = 0; i < stats->command_count; i++) {
        struct nadb_cmdstat *stat = &stats->commands[i];
        stat->calls = stat->rejected = stat->failed = 0;
        nadb_histogram_reset(&stat->latency);
    }
    memset(stats->errors, 0, sizeof(stats->errors));
    stats->error_count = 0;
}

/* The first word after '-'. */
static struct nadb_slice find_prefix(struct nadb_slice reply)
{
    size_t len = 0;
    const char *text = reply.data + 1;
    while (1 + len < reply.len && len + 1 < NADB_ERROR_PREFIX_LEN_MAX && text[len] != ' ' &&
           text[len] != '\r') {
        len++;
    }
    return nadb_slice_of(text, len);
}

void nadb_cmdstats_error(struct nadb_cmdstats *stats, struct nadb_slice reply)
{
    struct nadb_slice prefix = find_prefix(reply);
    for (size_t i = 0; i < stats->error_count; i++) {
        if (nadb_slice_eq(nadb_slice_cstr(stats->errors[i].prefix), prefix)) {
            stats->errors[i].count++;
            return;
        }
    }
    /* The last place is for all that do not fit. */
    if (stats->error_count + 1 >= NADB_ERROR_PREFIXES_MAX) {
        stats->error_count = NADB_ERROR_PREFIXES_MAX;
        prefix = NADB_SLICE("OTHER");
    } else {
        stats->error_count++;
    }
    struct nadb_errorstat *stat = &stats->errors[stats->error_count - 1];
    memcpy(stat->prefix, prefix.data, prefix.len);
    stat->prefix[prefix.len] = '\0';
    stat->count++;
}
