/* What the clients of scripts/bench have in common. Each is one thread, and ends with a message at
 * the first thing that is not as it should be: nothing of it is measured then. */
#ifndef NADB_TESTS_BENCH_CLIENT_H
#define NADB_TESTS_BENCH_CLIENT_H

#include <stdint.h>

#include "src/base/compiler.h"

/* Ends the program: says what went wrong, and errno's reason when it has one. */
_Noreturn void nadb_client_give_up(const char *what);

/* The number that an argument is, from 1 to `max`; anything else ends the program. */
int64_t nadb_client_number(const char *text, int64_t max);

/* A blocking connection, without delays, to the server that the two arguments name. */
NADB_MUST_CHECK int nadb_client_connect(const char *host, const char *port);

/* Monotonic. */
uint64_t nadb_client_now_ns(void);

#endif
