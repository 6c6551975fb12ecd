/* This file wraps CRoaring, so that nobody else knows which library the bitmaps are from. */
#include "src/base/bitmap.h"

#include <roaring/roaring.h>

#include "src/base/assert.h"

/* Of the library's struct and a container's entry in its arrays. */
#define BITMAP_HEAD_BYTES sizeof(roaring_bitmap_t)

static roaring_bitmap_t *inner(const struct nadb_bitmap *set)
{
    return (roaring_bitmap_t *)(uintptr_t)set;
}

/* The library answers exhausted memory with NULL where it creates something. */
static struct nadb_bitmap *outer(roaring_bitmap_t *set)
{
    NADB_ASSERT(set != NULL);
    return (struct nadb_bitmap *)(void *)set;
}

struct nadb_bitmap *nadb_bitmap_new(void)
{
    return outer(roaring_bitmap_create());
}

struct nadb_bitmap *nadb_bitmap_copy(const struct nadb_bitmap *set)
{
    return outer(roaring_bitmap_copy(inner(set)));
}

void nadb_bitmap_free(struct nadb_bitmap *set)
{
    if (set != NULL) {
        roaring_bitmap_free(inner(set));
    }
}

struct nadb_bitmap *nadb_bitmap_from(const uint32_t *numbers, size_t count)
{
    return outer(roaring_bitmap_of_ptr(count, numbers));
}

void nadb_bitmap_add(struct nadb_bitmap *set, uint32_t number)
{
    roaring_bitmap_add(inner(set), number);
}

bool nadb_bitmap_remove(struct nadb_bitmap *set, uint32_t number)
{
    return roaring_bitmap_remove_checked(inner(set), number);
}

bool nadb_bitmap_contains(const struct nadb_bitmap *set, uint32_t number)
{
    return roaring_bitmap_contains(inner(set), number);
}

uint64_t nadb_bitmap_count(const struct nadb_bitmap *set)
{
    return roaring_bitmap_get_cardinality(inner(set));
}

void nadb_bitmap_and(struct nadb_bitmap *set, const struct nadb_bitmap *other)
{
    roaring_bitmap_and_inplace(inner(set), inner(other));
}

void nadb_bitmap_or(struct nadb_bitmap *set, const struct nadb_bitmap *other)
{
    roaring_bitmap_or_inplace(inner(set), inner(other));
}

void nadb_bitmap_and_not(struct nadb_bitmap *set, const struct nadb_bitmap *other)
{
    roaring_bitmap_andnot_inplace(inner(set), inner(other));
}

struct nadb_bitmap *nadb_bitmap_new_and(const struct nadb_bitmap *a, const struct nadb_bitmap *b)
{
    return outer(roaring_bitmap_and(inner(a), inner(b)));
}

struct nadb_bitmap *nadb_bitmap_new_or(const struct nadb_bitmap *a, const struct nadb_bitmap *b)
{
    return outer(roaring_bitmap_or(inner(a), inner(b)));
}

struct nadb_bitmap *nadb_bitmap_new_and_not(
    const struct nadb_bitmap *a, const struct nadb_bitmap *b)
{
    return outer(roaring_bitmap_andnot(inner(a), inner(b)));
}

uint64_t nadb_bitmap_and_count(const struct nadb_bitmap *a, const struct nadb_bitmap *b)
{
    return roaring_bitmap_and_cardinality(inner(a), inner(b));
}

void nadb_bitmap_complement(struct nadb_bitmap *set, uint32_t limit)
{
    roaring_bitmap_flip_inplace(inner(set), 0, limit);
}

size_t nadb_bitmap_read(const struct nadb_bitmap *set, uint32_t from, uint32_t *out, size_t max)
{
    roaring_uint32_iterator_t it;
    roaring_init_iterator(inner(set), &it);
    if (!roaring_move_uint32_iterator_equalorlarger(&it, from)) {
        return 0;
    }
    return roaring_read_uint32_iterator(&it, out, (uint32_t)max);
}

size_t nadb_bitmap_bytes(const struct nadb_bitmap *set)
{
    return BITMAP_HEAD_BYTES + roaring_bitmap_size_in_bytes(inner(set));
}
