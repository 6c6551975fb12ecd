/* This file computes SipHash-1-3: one round for each eight bytes, three at the end. */
#include "src/base/hash.h"

#include "src/base/codec.h"
#include "src/base/random.h"

static inline uint64_t rotate_left(uint64_t value, unsigned count)
{
    return (value << count) | (value >> (64 - count));
}

struct sip_state {
    uint64_t v0, v1, v2, v3;
};

static inline void mix_round(struct sip_state *s)
{
    s->v0 += s->v1;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void mix_word(struct sip_state *s, uint64_t word)
{
    s->v3 ^= word;
    mix_round(s);
    s->v0 ^= word;
}

/* The last 0 to 7 bytes as a number, in two loads that may overlap instead of a loop. */
static inline uint64_t load_tail(const char *at, size_t len)
{
    if (len >= 4) {
        uint64_t high = nadb_get_u32(at + len - 4);
        return nadb_get_u32(at) | high << (8 * (len - 4));
    }
    if (len == 0) {
        return 0;
    }
    uint64_t first = (unsigned char)at[0];
    uint64_t middle = (unsigned char)at[len / 2];
    uint64_t last = (unsigned char)at[len - 1];
    return first | middle << (8 * (len / 2)) | last << (8 * (len - 1));
}

struct nadb_hash_key nadb_hash_key_random(void)
{
    struct nadb_hash_key key;
    nadb_random_bytes(&key, sizeof(key));
    return key;
}

uint64_t nadb_hash(struct nadb_hash_key key, struct nadb_slice bytes)
{
    struct sip_state s = {
        .v0 = key.k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = key.k1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = key.k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = key.k1 ^ UINT64_C(0x7465646279746573),
    };
    const char *at = bytes.data;
    for (size_t words = bytes.len / 8; words > 0; words--, at += 8) {
        mix_word(&s, nadb_get_u64(at));
    }
    mix_word(&s, load_tail(at, bytes.len % 8) | (uint64_t)bytes.len << 56);
    s.v2 ^= 0xff;
    mix_round(&s);
    mix_round(&s);
    mix_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
