/* This file tests the random bytes. */
#include "src/base/random.h"

#include "src/base/compiler.h"
#include "tests/support/test.h"

#include <string.h>

NADB_TEST_SUITE(random);

Test(random, bytes_of_the_kernel_differ_and_stay_in_their_place)
{
    unsigned char a[40], b[40];
    memset(a, 0, sizeof(a));
    memset(b, 0, sizeof(b));
    nadb_random_bytes(a + 4, 32);
    nadb_random_bytes(b + 4, 32);
    cr_assert_neq(memcmp(a + 4, b + 4, 32), 0);
    cr_assert_eq(memcmp(a, "\0\0\0\0", 4), 0);
    cr_assert_eq(memcmp(a + 36, "\0\0\0\0", 4), 0);
    nadb_random_bytes(a, 0);
}

Test(random, a_large_request_is_filled_to_the_end)
{
    /* Of more than 256 bytes the kernel may give a part only. */
    static unsigned char bytes[100000];
    nadb_random_bytes(bytes, sizeof(bytes));
    unsigned char any = 0;
    for (size_t i = sizeof(bytes) - 32; i < sizeof(bytes); i++) {
        any |= bytes[i];
    }
    cr_assert_neq(any, 0);
}

Test(random, the_generator_gives_the_published_sequence)
{
    /* From the reference implementation of xoshiro256** with the state 1, 2, 3, 4. */
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    struct nadb_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < NADB_ARRAY_LEN(expected); i++) {
        cr_assert_eq(nadb_rng_next(&rng), expected[i], "number %zu", i);
    }
}

Test(random, the_seed_is_spread_by_splitmix64)
{
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 0);
    cr_assert_eq(rng.s[0], UINT64_C(0xe220a8397b1dcdaf));
    cr_assert_eq(rng.s[1], UINT64_C(0x6e789e6aa1b965f4));
}

Test(random, a_seed_repeats_its_sequence_and_another_has_another)
{
    struct nadb_rng a, b, c;
    nadb_rng_seed(&a, 7);
    nadb_rng_seed(&b, 7);
    nadb_rng_seed(&c, 8);
    size_t same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = nadb_rng_next(&a);
        cr_assert_eq(number, nadb_rng_next(&b));
        same += number == nadb_rng_next(&c);
    }
    cr_assert_eq(same, 0);
}

Test(random, below_stays_below_and_reaches_every_value)
{
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 1);
    size_t counts[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t value = nadb_rng_below(&rng, 10);
        cr_assert_lt(value, 10);
        counts[value]++;
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(counts); i++) {
        cr_assert(counts[i] > 850 && counts[i] < 1150, "%zu came %zu times", i, counts[i]);
    }
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(nadb_rng_below(&rng, 1), 0);
        cr_assert_lt(nadb_rng_below(&rng, UINT64_C(3) << 62), UINT64_C(3) << 62);
    }
}

Test(random, below_prefers_no_value)
{
    /* For this bound a plain remainder would give the lowest third half of the draws. */
    const uint64_t third = UINT64_C(1) << 62;
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 2);
    size_t lowest = 0;
    for (int i = 0; i < 3000; i++) {
        lowest += nadb_rng_below(&rng, 3 * third) < third;
    }
    cr_assert(lowest > 850 && lowest < 1150, "%zu of 3000", lowest);
}

Test(random, hex_is_lower_case_and_terminated)
{
    char text[42];
    memset(text, 'x', sizeof(text));
    nadb_random_hex(text, 40);
    cr_assert_eq(text[40], '\0');
    cr_assert_eq(text[41], 'x');
    cr_assert_eq(strspn(text, "0123456789abcdef"), 40);
    char other[41];
    nadb_random_hex(other, 40);
    cr_assert_str_neq(text, other);
}
