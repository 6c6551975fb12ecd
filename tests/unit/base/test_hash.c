/* This file tests the keyed hash against published vectors and a slow implementation. */
#include "src/base/hash.h"

#include "src/base/mem.h"
#include "tests/support/test.h"

#include <string.h>

NADB_TEST_SUITE(hash);

/* SipHash-c-d as the paper writes it, a byte at a time. */
struct slow_sip {
    uint64_t v[4];
};

static uint64_t rotate_left(uint64_t value, unsigned count)
{
    return (value << count) | (value >> (64 - count));
}

static void slow_rounds(struct slow_sip *s, int rounds)
{
    uint64_t *v = s->v;
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate_left(v[1], 13);
        v[3] = rotate_left(v[3], 16);
        v[1] ^= v[0];
        v[3] ^= v[2];
        v[0] = rotate_left(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate_left(v[1], 17);
        v[3] = rotate_left(v[3], 21);
        v[1] ^= v[2];
        v[3] ^= v[0];
        v[2] = rotate_left(v[2], 32);
    }
}

static uint64_t slow_sip(
    int c_rounds, int d_rounds, struct nadb_hash_key key, const unsigned char *bytes, size_t len)
{
    struct slow_sip s = {{
        key.k0 ^ UINT64_C(0x736f6d6570736575),
        key.k1 ^ UINT64_C(0x646f72616e646f6d),
        key.k0 ^ UINT64_C(0x6c7967656e657261),
        key.k1 ^ UINT64_C(0x7465646279746573),
    }};
    size_t padded_len = len / 8 * 8 + 8;
    uint64_t word = 0;
    for (size_t i = 0; i < padded_len; i++) {
        uint64_t byte = i < len ? bytes[i] : i + 1 == padded_len ? len & 0xff : 0;
        word |= byte << i % 8 * 8;
        if (i % 8 == 7) {
            s.v[3] ^= word;
            slow_rounds(&s, c_rounds);
            s.v[0] ^= word;
            word = 0;
        }
    }
    s.v[2] ^= 0xff;
    slow_rounds(&s, d_rounds);
    return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}

/* The key 00 01 .. 0f of the paper. */
static const struct nadb_hash_key paper_key = {
    UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

static struct nadb_slice counting_bytes(unsigned char *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (unsigned char)i;
    }
    return nadb_slice_of((const char *)out, len);
}

Test(hash, the_slow_implementation_gives_the_papers_siphash_2_4_vector)
{
    unsigned char bytes[15];
    counting_bytes(bytes, sizeof(bytes));
    cr_assert_eq(slow_sip(2, 4, paper_key, bytes, sizeof(bytes)), UINT64_C(0xa129ca6149be45e5));
}

Test(hash, equals_published_siphash_1_3_vectors)
{
    unsigned char bytes[2];
    counting_bytes(bytes, sizeof(bytes));
    cr_assert_eq(nadb_hash(paper_key, nadb_slice_of(NULL, 0)), UINT64_C(0xabac0158050fc4dc));
    cr_assert_eq(nadb_hash(paper_key, counting_bytes(bytes, 1)), UINT64_C(0xc9f49bf37d57ca93));
}

Test(hash, equals_the_slow_implementation_for_every_length)
{
    unsigned char bytes[300];
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        struct nadb_slice text = counting_bytes(bytes, len);
        cr_assert_eq(
            nadb_hash(paper_key, text), slow_sip(1, 3, paper_key, bytes, len), "length %zu", len);
    }
}

Test(hash, reads_nothing_behind_the_last_byte)
{
    /* Blocks of exactly the length, so that a sanitizer sees a byte too many. */
    for (size_t len = 1; len < 40; len++) {
        unsigned char *bytes = nadb_mem_alloc(len);
        struct nadb_slice text = counting_bytes(bytes, len);
        cr_assert_eq(nadb_hash(paper_key, text), slow_sip(1, 3, paper_key, bytes, len));
        nadb_mem_free(bytes);
    }
}

Test(hash, every_bit_of_the_key_counts)
{
    struct nadb_slice text = NADB_SLICE("user:1000");
    uint64_t whole = nadb_hash(paper_key, text);
    for (unsigned bit = 0; bit < 64; bit++) {
        struct nadb_hash_key other = paper_key;
        other.k0 ^= UINT64_C(1) << bit;
        cr_assert_neq(nadb_hash(other, text), whole, "bit %u of k0", bit);
        other = paper_key;
        other.k1 ^= UINT64_C(1) << bit;
        cr_assert_neq(nadb_hash(other, text), whole, "bit %u of k1", bit);
    }
}

Test(hash, random_keys_differ)
{
    struct nadb_hash_key a = nadb_hash_key_random();
    struct nadb_hash_key b = nadb_hash_key_random();
    cr_assert(a.k0 != b.k0 || a.k1 != b.k1);
    cr_assert(a.k0 != a.k1);
}
