/* Commands on their way to the engine, in its protocol. Appending never fails at once: who ran out
 * of memory learns it from `is_full` before anything is sent. Thread: the owner's. */
#ifndef NADB_BACKENDS_REDIS_OUT_H
#define NADB_BACKENDS_REDIS_OUT_H

#include <stdint.h>

#include "src/base/buf.h"

struct nadb_redis_out {
    struct nadb_buf buf;
    bool is_full;
};

void nadb_redis_out_init(struct nadb_redis_out *out);
void nadb_redis_out_fini(struct nadb_redis_out *out);
void nadb_redis_out_reset(struct nadb_redis_out *out); /* lets go of much memory */

/* A command of `count` arguments begins. */
void nadb_redis_out_command(struct nadb_redis_out *out, size_t count);

void nadb_redis_out_arg(struct nadb_redis_out *out, struct nadb_slice arg);
void nadb_redis_out_number(struct nadb_redis_out *out, uint64_t number);

/* An argument of `len` bytes, which the caller writes to what it gets; NULL: no room. */
char *nadb_redis_out_begin(struct nadb_redis_out *out, size_t len);
void nadb_redis_out_end(struct nadb_redis_out *out);

#endif
