/* This file tests the latency histogram. */
#include "src/base/histogram.h"

#include "src/base/mem.h"
#include "src/base/random.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(histogram);

Test(histogram, is_empty_and_allocates_nothing_until_the_first_sample)
{
    size_t before = nadb_mem_used();
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    cr_assert_eq(nadb_histogram_percentile(&h, 50), 0);
    nadb_histogram_add(&h, 5, 0);
    cr_assert_eq(h.count, 0);
    cr_assert_null(h.buckets);
    cr_assert_eq(nadb_mem_used(), before);
    nadb_histogram_fini(&h);
}

Test(histogram, count_sum_minimum_and_maximum_are_exact)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    nadb_histogram_add(&h, 1000, 3);
    nadb_histogram_add(&h, 77, 1);
    nadb_histogram_add(&h, 123456789, 2);
    cr_assert_eq(h.count, 6);
    cr_assert_eq(h.sum_ns, 3 * 1000 + 77 + 2 * 123456789);
    cr_assert_eq(h.min_ns, 77);
    cr_assert_eq(h.max_ns, 123456789);
    nadb_histogram_fini(&h);
}

/* For each value the upper bound of its bucket: seen as the median of many, below one huge. */
static uint64_t bound_of(uint64_t ns)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    nadb_histogram_add(&h, ns, 99);
    nadb_histogram_add(&h, UINT64_C(1) << 50, 1);
    uint64_t bound = nadb_histogram_percentile(&h, 50);
    nadb_histogram_fini(&h);
    return bound;
}

Test(histogram, a_bucket_ends_at_most_a_sixteenth_above_its_values)
{
    for (uint64_t ns = 0; ns < 5000; ns++) {
        uint64_t bound = bound_of(ns);
        cr_assert(bound >= ns && bound - ns <= ns / 16, "%lu in %lu", ns, bound);
    }
    for (unsigned bit = 12; bit < 44; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)delta;
            if (bit == 43 && delta > 0) {
                continue;
            }
            uint64_t bound = bound_of(ns);
            cr_assert(bound >= ns && bound - ns <= ns / 16, "%lu in %lu", ns, bound);
        }
    }
}

Test(histogram, the_end_of_a_bucket_is_in_the_bucket)
{
    for (uint64_t ns = 1; ns < UINT64_C(1) << 43; ns += ns / 7 + 1) {
        uint64_t bound = bound_of(ns);
        cr_assert_eq(bound_of(bound), bound, "%lu", ns);
        cr_assert_neq(bound_of(bound + 1), bound, "%lu", ns);
    }
}

Test(histogram, percentiles_of_small_values_are_exact)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    for (uint64_t ns = 1; ns <= 10; ns++) {
        nadb_histogram_add(&h, ns, 1);
    }
    cr_assert_eq(nadb_histogram_percentile(&h, 0), 1);
    cr_assert_eq(nadb_histogram_percentile(&h, 10), 1);
    cr_assert_eq(nadb_histogram_percentile(&h, 11), 2);
    cr_assert_eq(nadb_histogram_percentile(&h, 50), 5);
    cr_assert_eq(nadb_histogram_percentile(&h, 99), 10);
    cr_assert_eq(nadb_histogram_percentile(&h, 100), 10);
    nadb_histogram_fini(&h);
}

Test(histogram, a_percentile_never_exceeds_the_maximum)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    nadb_histogram_add(&h, 1000001, 1);
    cr_assert_eq(nadb_histogram_percentile(&h, 50), 1000001);
    nadb_histogram_fini(&h);
}

Test(histogram, percentiles_of_a_known_distribution_are_close)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 42);
    /* Each of 1..100000 once, so the truth is known without sorting. */
    for (uint64_t i = 1; i <= 100000; i++) {
        nadb_histogram_add(&h, i, 1);
    }
    for (int i = 0; i < 1000; i++) {
        uint64_t permille = nadb_rng_below(&rng, 1000) + 1;
        uint64_t truth = permille * 100;
        uint64_t got = nadb_histogram_percentile(&h, (double)permille / 10.0);
        cr_assert(got + 1 >= truth && got <= truth + truth / 16 + 1, "%lu: %lu", truth, got);
    }
    nadb_histogram_fini(&h);
}

Test(histogram, values_beyond_the_last_bucket_are_counted_in_it)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    nadb_histogram_add(&h, UINT64_MAX / 4, 2);
    nadb_histogram_add(&h, 5, 1);
    cr_assert_eq(nadb_histogram_percentile(&h, 99), UINT64_MAX / 4);
    cr_assert_eq(nadb_histogram_percentile(&h, 30), 5);
    nadb_histogram_fini(&h);
}

Test(histogram, a_full_bucket_does_not_start_again_at_nothing)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    nadb_histogram_add(&h, 5, UINT32_MAX);
    nadb_histogram_add(&h, 5, 10);
    nadb_histogram_add(&h, 7, 1000);
    cr_assert_eq(h.count, UINT64_C(0xffffffff) + 10 + 1000);
    cr_assert_eq(nadb_histogram_percentile(&h, 50), 5);
    cr_assert_eq(nadb_histogram_percentile(&h, 100), 7);
    nadb_histogram_fini(&h);
}

Test(histogram, reset_forgets_all_samples)
{
    struct nadb_histogram h;
    nadb_histogram_init(&h);
    nadb_histogram_reset(&h);
    nadb_histogram_add(&h, 1000, 10);
    nadb_histogram_reset(&h);
    cr_assert_eq(h.count, 0);
    cr_assert_eq(nadb_histogram_percentile(&h, 99), 0);
    nadb_histogram_add(&h, 3, 1);
    cr_assert_eq(h.min_ns, 3);
    cr_assert_eq(h.max_ns, 3);
    cr_assert_eq(nadb_histogram_percentile(&h, 99), 3);
    nadb_histogram_fini(&h);
}
