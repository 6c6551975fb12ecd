/* Latency counts in logarithmic buckets of 1/16 relative width, from 1 ns to hours, in one
 * kilobyte-sized table without allocation per sample. Averages, minimum and maximum are exact;
 * percentiles are a bucket's upper bound, so at most 1/16 above the truth. Thread: the owner's. */
#ifndef NADB_BASE_HISTOGRAM_H
#define NADB_BASE_HISTOGRAM_H

#include <stdint.h>

#define NADB_HISTOGRAM_SUB_BITS 4
#define NADB_HISTOGRAM_BUCKETS  ((44 - NADB_HISTOGRAM_SUB_BITS + 1) << NADB_HISTOGRAM_SUB_BITS)

struct nadb_histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t min_ns; /* meaningless while count is 0 */
    uint64_t max_ns;
    uint32_t *buckets; /* NULL until the first sample; NADB_HISTOGRAM_BUCKETS entries */
};

void nadb_histogram_init(struct nadb_histogram *histogram);
void nadb_histogram_fini(struct nadb_histogram *histogram);
void nadb_histogram_reset(struct nadb_histogram *histogram);

/* Adds `count` samples of `ns` each: what a group of commands took, shared out evenly. */
void nadb_histogram_add(struct nadb_histogram *histogram, uint64_t ns, uint64_t count);

/* The value that `percent` (0..100) of the samples do not exceed; 0 while empty. */
uint64_t nadb_histogram_percentile(const struct nadb_histogram *histogram, double percent);

#endif
