/* Sets of 32-bit numbers, compressed: the one door to CRoaring (https://roaringbitmap.org).
 *
 * Its memory is the allocator's but not in nadb_mem_used: the library allocates for itself.
 * Thread: whoever owns the set. */
#ifndef NADB_BASE_BITMAP_H
#define NADB_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/compiler.h"

struct nadb_bitmap;

struct nadb_bitmap *nadb_bitmap_new(void); /* empty; never NULL */
struct nadb_bitmap *nadb_bitmap_copy(const struct nadb_bitmap *set);
void nadb_bitmap_free(struct nadb_bitmap *set); /* NULL allowed */

/* The set of `count` numbers, in any order. */
struct nadb_bitmap *nadb_bitmap_from(const uint32_t *numbers, size_t count);

void nadb_bitmap_add(struct nadb_bitmap *set, uint32_t number);
bool nadb_bitmap_remove(struct nadb_bitmap *set, uint32_t number); /* was it there? */
bool nadb_bitmap_contains(const struct nadb_bitmap *set, uint32_t number);
uint64_t nadb_bitmap_count(const struct nadb_bitmap *set);

/* `set` becomes its intersection with, union with, or difference from `other`. */
void nadb_bitmap_and(struct nadb_bitmap *set, const struct nadb_bitmap *other);
void nadb_bitmap_or(struct nadb_bitmap *set, const struct nadb_bitmap *other);
void nadb_bitmap_and_not(struct nadb_bitmap *set, const struct nadb_bitmap *other);

/* The same into a new set. */
struct nadb_bitmap *nadb_bitmap_new_and(const struct nadb_bitmap *a, const struct nadb_bitmap *b);
struct nadb_bitmap *nadb_bitmap_new_or(const struct nadb_bitmap *a, const struct nadb_bitmap *b);
struct nadb_bitmap *nadb_bitmap_new_and_not(
    const struct nadb_bitmap *a, const struct nadb_bitmap *b);

/* Size of the intersection, without making it. */
uint64_t nadb_bitmap_and_count(const struct nadb_bitmap *a, const struct nadb_bitmap *b);

/* The set becomes the numbers below `limit` that were not in it; none of it is above. */
void nadb_bitmap_complement(struct nadb_bitmap *set, uint32_t limit);

/* Numbers of the set from `from` on, ascending: how many were written to `out`, at most `max`. */
size_t nadb_bitmap_read(const struct nadb_bitmap *set, uint32_t from, uint32_t *out, size_t max);

/* About how much memory it takes, and so what an operation on it costs. O(containers). */
size_t nadb_bitmap_bytes(const struct nadb_bitmap *set);

#endif
