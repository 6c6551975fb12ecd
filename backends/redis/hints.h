/* Which keys have a plain record, as far as is known: so that most commands of the engine need only
 * one name and know nothing of the other kind.
 *
 * Hints are learnt from what runs see and do. They may be wrong at any time, for others change the
 * engine, too: a wrong one costs a second round trip, once, and never an answer. They fill a table
 * of fixed size, where the oldest of a bucket gives way. What is not plain is not kept: it may end
 * at any time.
 *
 *     hash: [ fingerprint : 15 ][ ............ ][ bucket : 21 ]
 *     bucket, 64 bits: four of [ fingerprint : 15 ][ 1 ], the one learnt last in front; 0: free
 *
 * Thread: any; a bucket is read and written whole, and an update that is lost is no harm. */
#ifndef NADB_BACKENDS_REDIS_HINTS_H
#define NADB_BACKENDS_REDIS_HINTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NADB_REDIS_HINT_BUCKETS (1u << 21) /* 16 MiB, touched as they fill */

struct nadb_redis_hints {
    _Atomic uint64_t *buckets; /* owned */
    _Atomic uint64_t era;      /* part of every hash: a new one forgets all */
};

void nadb_redis_hints_init(struct nadb_redis_hints *hints);
void nadb_redis_hints_fini(struct nadb_redis_hints *hints);

/* Had it a plain record when it was last seen? `hash`: of a keyspace and a key, all bits good. */
bool nadb_redis_hint(const struct nadb_redis_hints *hints, uint64_t hash);

/* The hint will be asked for soon. */
void nadb_redis_hint_prefetch(const struct nadb_redis_hints *hints, uint64_t hash);

void nadb_redis_hint_learn(struct nadb_redis_hints *hints, uint64_t hash, bool is_plain);

/* Many keys have gone at once. */
void nadb_redis_hints_forget(struct nadb_redis_hints *hints);

#endif
