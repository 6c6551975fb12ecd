/* Counts and latencies of every command, counts of errors by prefix. Thread: loop. */
#ifndef NADB_SERVER_CMDSTATS_H
#define NADB_SERVER_CMDSTATS_H

#include <stdint.h>

#include "src/base/histogram.h"
#include "src/base/slice.h"

#define NADB_ERROR_PREFIXES_MAX   64u /* more kinds of errors are counted together */
#define NADB_ERROR_PREFIX_LEN_MAX 32u

struct nadb_cmdstat {
    uint64_t calls;
    uint64_t rejected;             /* refused before the handler ran */
    uint64_t failed;               /* the handler answered an error */
    struct nadb_histogram latency; /* its sum and count feed usec and usec_per_call */
};

struct nadb_errorstat {
    char prefix[NADB_ERROR_PREFIX_LEN_MAX];
    uint64_t count;
};

struct nadb_cmdstats {
    struct nadb_cmdstat *commands; /* one a row of the command table, in its order */
    size_t command_count;
    struct nadb_errorstat errors[NADB_ERROR_PREFIXES_MAX];
    size_t error_count;
};

void nadb_cmdstats_init(struct nadb_cmdstats *stats, size_t command_count);
void nadb_cmdstats_fini(struct nadb_cmdstats *stats);
void nadb_cmdstats_reset(struct nadb_cmdstats *stats);

/* `reply` starts with '-'. */
void nadb_cmdstats_error(struct nadb_cmdstats *stats, struct nadb_slice reply);

#endif
