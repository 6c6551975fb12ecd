/* Random bytes from the kernel, and a small seeded generator (xoshiro256**, Blackman and Vigna)
 * for choices that must be repeatable from a seed. */
#ifndef NADB_BASE_RANDOM_H
#define NADB_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills `out` from getrandom(2); aborts if the kernel refuses. Thread: any. */
void nadb_random_bytes(void *out, size_t len);

struct nadb_rng {
    uint64_t s[4];
};

/* The same seed gives the same sequence on every machine. Thread: the owner's. */
void nadb_rng_seed(struct nadb_rng *rng, uint64_t seed);
uint64_t nadb_rng_next(struct nadb_rng *rng);

/* Uniform in [0, bound); bound > 0. */
uint64_t nadb_rng_below(struct nadb_rng *rng, uint64_t bound);

/* `len` lower-case hex digits from the kernel plus a NUL at out[len]. */
void nadb_random_hex(char *out, size_t len);

#endif
