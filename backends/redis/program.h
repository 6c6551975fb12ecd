/* What a query selects, as the store packs it (src/store/selector.h): a pattern for keys and a
 * program of tags and operators, operands first. Thread: any. */
#ifndef NADB_BACKENDS_REDIS_PROGRAM_H
#define NADB_BACKENDS_REDIS_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/redis/out.h"

#define NADB_REDIS_PROGRAM_DEPTH_MAX 256u

struct nadb_redis_program {
    bool has_pattern;
    struct nadb_slice pattern; /* points into what was read, as the next */
    struct nadb_slice ops;
    size_t op_count;
};

/* Reads and checks; false: malformed, or deeper than any that the store makes. */
bool nadb_redis_program_read(struct nadb_slice packed, struct nadb_redis_program *ret);

/* '' without a pattern, else '=' and the pattern: one argument. */
void nadb_redis_program_write_pattern(
    const struct nadb_redis_program *program, struct nadb_redis_out *out);

/* Its operations as arguments: op_count of them. */
void nadb_redis_program_write(const struct nadb_redis_program *program, struct nadb_redis_out *out);

#endif
