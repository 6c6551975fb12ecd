/* redis-server for tests: on loopback ports of its own, with its files in a directory of the
 * test's, one alone or a cluster. Ended by process number, or by the kernel when the test dies.
 * What cannot be had aborts the test, but for the program itself: ask nadb_engine_exists first. */
#ifndef NADB_TESTS_SUPPORT_ENGINE_H
#define NADB_TESTS_SUPPORT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tests/support/tmpdir.h"

#define NADB_ENGINE_URL_MAX 64

struct nadb_engine {
    struct nadb_tmpdir dir;
    unsigned port;
    pid_t pid; /* 0: not running */
    char url[NADB_ENGINE_URL_MAX];
    bool is_cluster;
};

/* Are redis-server and redis-cli there? */
bool nadb_engine_exists(void);

/* Starts one that has nothing, and waits until it answers. */
void nadb_engine_make(struct nadb_engine *engine, bool is_cluster);
void nadb_engine_remove(struct nadb_engine *engine);

/* As kill -9; and again, on the same port. */
void nadb_engine_kill(struct nadb_engine *engine);
void nadb_engine_start(struct nadb_engine *engine);

/* Stops and continues the process. */
void nadb_engine_freeze(struct nadb_engine *engine, bool is_frozen);

/* Runs redis-cli with the words of `command`, parted by blanks; gives its output, cut to `cap`. */
void nadb_engine_ask(const struct nadb_engine *engine, const char *command, char *out, size_t cap);

/* The same where the output is a number. */
long long nadb_engine_number(const struct nadb_engine *engine, const char *command);

#define NADB_ENGINE_CLUSTER_COUNT 6

/* Makes a cluster of engines: three masters, a replica of each. */
void nadb_engine_make_cluster(struct nadb_engine engines[NADB_ENGINE_CLUSTER_COUNT]);

#endif
