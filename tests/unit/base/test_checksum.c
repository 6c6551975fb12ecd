/* This file tests the checksum of the disk formats. */
#include "src/base/checksum.h"

#include "tests/support/test.h"

#include <string.h>

NADB_TEST_SUITE(checksum);

/* The sanity buffer and the results that the xxHash project publishes for XXH3-64: whoever
 * changes these numbers changes the disk format. */
static void fill_sanity_buffer(unsigned char *out, size_t len)
{
    uint64_t generator = 2654435761u;
    for (size_t i = 0; i < len; i++) {
        out[i] = (unsigned char)(generator >> 56);
        generator *= UINT64_C(11400714785074694797);
    }
}

Test(checksum, equals_the_published_xxh3_vectors)
{
    unsigned char bytes[64];
    fill_sanity_buffer(bytes, sizeof(bytes));
    const uint64_t prime = UINT64_C(11400714785074694797);
    cr_assert_eq(nadb_checksum64(bytes, 0, 0), UINT64_C(0x2d06800538d394c2));
    cr_assert_eq(nadb_checksum64(bytes, 0, prime), UINT64_C(0xa8a6b918b2f0364a));
    cr_assert_eq(nadb_checksum64(bytes, 1, 0), UINT64_C(0xc44bdff4074eecdb));
}

Test(checksum, every_single_bit_counts)
{
    unsigned char bytes[64];
    fill_sanity_buffer(bytes, sizeof(bytes));
    uint64_t whole = nadb_checksum64(bytes, sizeof(bytes), 1);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        unsigned char mask = (unsigned char)(1u << bit % 8);
        bytes[bit / 8] ^= mask;
        cr_assert_neq(nadb_checksum64(bytes, sizeof(bytes), 1), whole, "bit %zu", bit);
        cr_assert_neq(nadb_checksum32(bytes, sizeof(bytes), 1), (uint32_t)whole, "bit %zu", bit);
        bytes[bit / 8] ^= mask;
    }
}

Test(checksum, zeros_and_another_seed_do_not_verify)
{
    unsigned char zeros[32] = {0};
    cr_assert_neq(nadb_checksum64(zeros, sizeof(zeros), 7), 0);
    cr_assert_neq(
        nadb_checksum64(zeros, sizeof(zeros), 7), nadb_checksum64(zeros, sizeof(zeros), 8));
    cr_assert_neq(nadb_checksum64(zeros, 31, 7), nadb_checksum64(zeros, 32, 7));
}

Test(checksum, thirty_two_bits_are_the_low_half)
{
    cr_assert_eq(nadb_checksum32("abc", 3, 5), (uint32_t)nadb_checksum64("abc", 3, 5));
}
