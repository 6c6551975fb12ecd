/* This file remembers what kind of record keys have. */
#include "backends/redis/hints.h"

#include <stddef.h>

#include "src/base/mem.h"

#define WAY_BITS 16u
#define WAY_MASK ((UINT64_C(1) << WAY_BITS) - 1)
#define ERA_STEP UINT64_C(0x9e3779b97f4a7c15) /* odd, all bits mixed */

void nadb_redis_hints_init(struct nadb_redis_hints *hints)
{
    hints->buckets = nadb_mem_zalloc(NADB_REDIS_HINT_BUCKETS * sizeof(*hints->buckets));
    atomic_init(&hints->era, 0);
}

void nadb_redis_hints_fini(struct nadb_redis_hints *hints)
{
    nadb_mem_free(hints->buckets);
    hints->buckets = NULL;
}

/* Where a hash has its place, and what is kept of it there. */
static _Atomic uint64_t *find(
    const struct nadb_redis_hints *hints, uint64_t hash, uint64_t *ret_way)
{
    hash += atomic_load_explicit(&hints->era, memory_order_relaxed);
    *ret_way = hash >> (64 - WAY_BITS) | 1;
    return &hints->buckets[hash & (NADB_REDIS_HINT_BUCKETS - 1)];
}

bool nadb_redis_hint(const struct nadb_redis_hints *hints, uint64_t hash)
{
    uint64_t way;
    const _Atomic uint64_t *bucket = find(hints, hash, &way);
    uint64_t ways = atomic_load_explicit(bucket, memory_order_relaxed);
    while (ways != 0 && (ways & WAY_MASK) != way) {
        ways >>= WAY_BITS;
    }
    return ways != 0;
}

void nadb_redis_hint_prefetch(const struct nadb_redis_hints *hints, uint64_t hash)
{
    uint64_t way;
    __builtin_prefetch((const void *)(uintptr_t)find(hints, hash, &way));
}

void nadb_redis_hint_learn(struct nadb_redis_hints *hints, uint64_t hash, bool is_plain)
{
    uint64_t way;
    _Atomic uint64_t *bucket = find(hints, hash, &way);
    uint64_t before = atomic_load_explicit(bucket, memory_order_relaxed);
    uint64_t after = is_plain ? way : 0;
    unsigned shift = is_plain ? WAY_BITS : 0;
    for (uint64_t ways = before; ways != 0 && shift < 64; ways >>= WAY_BITS) {
        if ((ways & WAY_MASK) != way) {
            after |= (ways & WAY_MASK) << shift;
            shift += WAY_BITS;
        }
    }
    if (after != before) {
        atomic_store_explicit(bucket, after, memory_order_relaxed);
    }
}

void nadb_redis_hints_forget(struct nadb_redis_hints *hints)
{
    atomic_fetch_add_explicit(&hints->era, ERA_STEP, memory_order_relaxed);
}
