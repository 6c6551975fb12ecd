/* The first words with an engine: is it one, is it ours, and which number do we write under.
 * Thread: worker. */
#ifndef NADB_BACKENDS_REDIS_OPEN_H
#define NADB_BACKENDS_REDIS_OPEN_H

#include "backends/redis/redis_internal.h"

/* One attempt, within lane->deadline_us. `note` has room for `note_cap` bytes. Errors: NADB_EIO:
 * cannot be reached, yet; others will not pass by themselves. */
NADB_MUST_CHECK enum nadb_err nadb_redis_meet(struct nadb_redis *redis,
    struct nadb_redis_lane *lane, char *note, size_t note_cap, struct nadb_error *reterr);

/* A new number to write under, before the stamps of the present one are used up. */
enum nadb_err nadb_redis_take_writer(
    struct nadb_redis *redis, struct nadb_redis_lane *lane, struct nadb_error *reterr);

/* Are they nearly? */
bool nadb_redis_needs_writer(struct nadb_redis *redis);

#endif
