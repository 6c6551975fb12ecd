/* This file counts latencies in logarithmic buckets.
 *
 * Values below 16 have a bucket each. Above, every power of two is cut into 16 equal buckets: the
 * bucket's number is the exponent and the four bits that follow the leading one. */
#include "src/base/histogram.h"

#include "src/base/mem.h"

#include <string.h>

#define SUB_BUCKETS     (1u << NADB_HISTOGRAM_SUB_BITS)
#define BUCKETED_NS_MAX ((UINT64_C(1) << 44) - 1)

static size_t bucket_of(uint64_t ns)
{
    if (ns > BUCKETED_NS_MAX) {
        ns = BUCKETED_NS_MAX;
    }
    if (ns < SUB_BUCKETS) {
        return (size_t)ns;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - NADB_HISTOGRAM_SUB_BITS;
    return ((size_t)shift << NADB_HISTOGRAM_SUB_BITS) + (size_t)(ns >> shift);
}

static uint64_t bucket_upper_ns(size_t bucket)
{
    if (bucket < 2 * SUB_BUCKETS) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket >> NADB_HISTOGRAM_SUB_BITS) - 1;
    uint64_t mantissa = (bucket & (SUB_BUCKETS - 1)) + SUB_BUCKETS;
    return ((mantissa + 1) << shift) - 1;
}

void nadb_histogram_init(struct nadb_histogram *histogram)
{
    *histogram = (struct nadb_histogram){0};
}

void nadb_histogram_fini(struct nadb_histogram *histogram)
{
    nadb_mem_free(histogram->buckets);
    nadb_histogram_init(histogram);
}

void nadb_histogram_reset(struct nadb_histogram *histogram)
{
    uint32_t *buckets = histogram->buckets;
    if (buckets != NULL) {
        memset(buckets, 0, NADB_HISTOGRAM_BUCKETS * sizeof(*buckets));
    }
    *histogram = (struct nadb_histogram){.buckets = buckets};
}

void nadb_histogram_add(struct nadb_histogram *histogram, uint64_t ns, uint64_t count)
{
    if (count == 0) {
        return;
    }
    if (histogram->buckets == NULL) {
        histogram->buckets = nadb_mem_zalloc(NADB_HISTOGRAM_BUCKETS * sizeof(uint32_t));
    }
    if (histogram->count == 0 || ns < histogram->min_ns) {
        histogram->min_ns = ns;
    }
    if (ns > histogram->max_ns) {
        histogram->max_ns = ns;
    }
    histogram->count += count;
    histogram->sum_ns += ns * count;
    /* A full bucket stays full: then percentiles are of what was counted until then. */
    uint32_t *bucket = &histogram->buckets[bucket_of(ns)];
    *bucket = count > UINT32_MAX - *bucket ? UINT32_MAX : *bucket + (uint32_t)count;
}

uint64_t nadb_histogram_percentile(const struct nadb_histogram *histogram, double percent)
{
    if (histogram->count == 0) {
        return 0;
    }
    uint64_t total = 0;
    for (size_t i = 0; i < NADB_HISTOGRAM_BUCKETS; i++) {
        total += histogram->buckets[i];
    }
    /* Rounded up: of three samples, 50 % is the second. */
    double share = (double)total * percent / 100.0;
    uint64_t rank = (uint64_t)share;
    rank += (double)rank < share;
    rank = rank == 0 ? 1 : rank;
    uint64_t seen = 0;
    for (size_t i = 0; i + 1 < NADB_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank) {
            uint64_t upper = bucket_upper_ns(i);
            return upper < histogram->max_ns ? upper : histogram->max_ns;
        }
    }
    return histogram->max_ns; /* the last bucket has no upper bound */
}
