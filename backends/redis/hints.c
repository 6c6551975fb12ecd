/* This file remembers what kind of record keys have. */
#include "backends/redis/hints.h"

#include <stddef.h>

#include "src/base/mem.h"

#define WAY_BITS  16u
#define KIND_BITS 2u
#define WAY_MASK  ((UINT64_C(1) << WAY_BITS) - 1)
#define KIND_MASK ((UINT64_C(1) << KIND_BITS) - 1)
#define ERA_STEP  UINT64_C(0x9e3779b97f4a7c15) /* odd, all bits mixed */

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

/* Where a hash has its place, and what is told apart there. */
static _Atomic uint64_t *find(
    const struct nadb_redis_hints *hints, uint64_t hash, uint64_t *ret_print)
{
    hash += atomic_load_explicit(&hints->era, memory_order_relaxed);
    *ret_print = hash >> (64 - (WAY_BITS - KIND_BITS));
    return &hints->buckets[hash & (NADB_REDIS_HINT_BUCKETS - 1)];
}

enum nadb_redis_kind nadb_redis_hint(const struct nadb_redis_hints *hints, uint64_t hash)
{
    uint64_t print;
    const _Atomic uint64_t *bucket = find(hints, hash, &print);
    uint64_t ways = atomic_load_explicit(bucket, memory_order_relaxed);
    for (; ways != 0; ways >>= WAY_BITS) {
        if ((ways & WAY_MASK) >> KIND_BITS == print && (ways & KIND_MASK) != NADB_REDIS_UNKNOWN) {
            return (enum nadb_redis_kind)(ways & KIND_MASK);
        }
    }
    return NADB_REDIS_UNKNOWN;
}

void nadb_redis_hint_prefetch(const struct nadb_redis_hints *hints, uint64_t hash)
{
    uint64_t print;
    __builtin_prefetch((const void *)(uintptr_t)find(hints, hash, &print));
}

void nadb_redis_hint_learn(struct nadb_redis_hints *hints, uint64_t hash, enum nadb_redis_kind kind)
{
    uint64_t print;
    _Atomic uint64_t *bucket = find(hints, hash, &print);
    uint64_t before = atomic_load_explicit(bucket, memory_order_relaxed);
    uint64_t after = kind == NADB_REDIS_UNKNOWN ? 0 : print << KIND_BITS | (uint64_t)kind;
    unsigned shift = after == 0 ? 0 : WAY_BITS;
    for (uint64_t ways = before; ways != 0 && shift < 64; ways >>= WAY_BITS) {
        uint64_t way = ways & WAY_MASK;
        if ((way & KIND_MASK) != NADB_REDIS_UNKNOWN && way >> KIND_BITS != print) {
            after |= way << shift;
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
