/* This file gives random bytes: true ones from the kernel, repeatable ones from a seed. */
#include "src/base/random.h"

#include "src/base/assert.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

void nadb_random_bytes(void *out, size_t len)
{
    unsigned char *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        NADB_ASSERT(got > 0); /* without it, keys of hashes and run ids would be guessable */
        at += got;
        len -= (size_t)got;
    }
}

static uint64_t rotate_left(uint64_t value, unsigned count)
{
    return (value << count) | (value >> (64 - count));
}

/* SplitMix64, as the authors of xoshiro recommend for spreading a seed over the state. */
static uint64_t next_splitmix(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void nadb_rng_seed(struct nadb_rng *rng, uint64_t seed)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(rng->s); i++) {
        rng->s[i] = next_splitmix(&seed);
    }
}

uint64_t nadb_rng_next(struct nadb_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t nadb_rng_below(struct nadb_rng *rng, uint64_t bound)
{
    NADB_ASSERT(bound > 0);
    /* The lowest 2^64 mod bound values would make small results likelier: draw again. */
    uint64_t lowest = (0 - bound) % bound;
    uint64_t value = nadb_rng_next(rng);
    while (value < lowest) {
        value = nadb_rng_next(rng);
    }
    return value % bound;
}

void nadb_random_hex(char *out, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    nadb_random_bytes(out, len);
    for (size_t i = 0; i < len; i++) {
        out[i] = digits[(unsigned char)out[i] & 15];
    }
    out[len] = '\0';
}
