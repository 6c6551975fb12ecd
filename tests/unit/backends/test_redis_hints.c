/* This file checks what the redis backend remembers of keys. */
#include "backends/redis/hints.h"

#include "src/base/random.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(redis_hints);

Test(redis_hints, what_was_learnt_last_is_known)
{
    struct nadb_redis_hints hints;
    nadb_redis_hints_init(&hints);
    uint64_t hash = UINT64_C(0x123456789abcdef0);
    cr_assert_not(nadb_redis_hint(&hints, hash));
    nadb_redis_hint_learn(&hints, hash, true);
    cr_assert(nadb_redis_hint(&hints, hash));
    nadb_redis_hint_learn(&hints, hash, true);
    cr_assert(nadb_redis_hint(&hints, hash));
    nadb_redis_hint_learn(&hints, hash, false);
    cr_assert_not(nadb_redis_hint(&hints, hash));
    nadb_redis_hints_fini(&hints);
}

/* Hashes of one bucket, told apart by their fingerprints, 0 among them. */
static uint64_t in_bucket(uint64_t number)
{
    return number << 50 | 7;
}

Test(redis_hints, the_four_that_were_learnt_last_stay_in_a_bucket)
{
    struct nadb_redis_hints hints;
    nadb_redis_hints_init(&hints);
    for (uint64_t i = 0; i < 5; i++) {
        nadb_redis_hint_learn(&hints, in_bucket(i), true);
    }
    nadb_redis_hint_learn(&hints, in_bucket(3), false);
    nadb_redis_hint_learn(&hints, in_bucket(1), true);
    nadb_redis_hint_learn(&hints, in_bucket(9), true);
    cr_assert(nadb_redis_hint(&hints, in_bucket(2)));
    nadb_redis_hint_learn(&hints, in_bucket(10), true);
    static const bool is_left[] = {false, true, false, false, true};
    for (uint64_t i = 0; i < 5; i++) {
        cr_assert_eq(nadb_redis_hint(&hints, in_bucket(i)), is_left[i], "%u", (unsigned)i);
    }
    cr_assert(nadb_redis_hint(&hints, in_bucket(9)));
    nadb_redis_hints_fini(&hints);
}

Test(redis_hints, nothing_is_known_after_forgetting_and_much_can_be_learnt_again)
{
    struct nadb_redis_hints hints;
    struct nadb_rng rng;
    nadb_redis_hints_init(&hints);
    for (unsigned round = 0; round < 3; round++) {
        unsigned known = 0;
        nadb_rng_seed(&rng, 1);
        for (unsigned i = 0; i < 10000; i++) {
            known += nadb_redis_hint(&hints, nadb_rng_next(&rng));
        }
        cr_assert_leq(known, 10, "%u", known); /* fingerprints that happen to be the same */
        nadb_rng_seed(&rng, 1);
        for (unsigned i = 0; i < 10000; i++) {
            nadb_redis_hint_learn(&hints, nadb_rng_next(&rng), true);
        }
        nadb_rng_seed(&rng, 1);
        for (unsigned i = 0; i < 10000; i++) {
            known += nadb_redis_hint(&hints, nadb_rng_next(&rng));
        }
        cr_assert_geq(known, 10000, "%u", known);
        nadb_redis_hints_forget(&hints);
    }
    nadb_redis_hints_fini(&hints);
}
