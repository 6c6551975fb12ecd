/* This file allocates and frees every block of the process and counts the bytes.
 *
 * The store allocates for each write, so counting must cost next to nothing. Each thread counts in
 * a slot of its own with plain loads and stores (relaxed atomics, so that a reader may look at any
 * time); whoever asks for the total adds the slots up. A block freed by another thread than the
 * one that allocated it makes one slot too high and one too low, possibly negative: only the sum
 * means something. Slots are never given back, so more threads than there are slots, over the life
 * of the process, share the last one with atomic additions.
 *
 * The peak is looked at whenever a slot has grown by PEAK_STEP since it was last looked at, so it
 * may be too low by at most twice that for each thread. */
#include "src/base/mem.h"

#include "src/base/assert.h"
#include "src/base/huge.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef NADB_JEMALLOC
#include <jemalloc/jemalloc.h>
#else
#include <malloc.h>
#endif

#ifdef NADB_JEMALLOC
/* jemalloc reads this when it starts. Records are met at random, so huge pages spare one TLB miss
 * each; what is freed goes back to the kernel within a second, by a thread of its own, and for
 * good: of address space that is kept for later a single byte would bring back a huge page. How
 * fresh memory comes in huge pages in spite of that: huge.c. */
const char *malloc_conf =
    "thp:always,retain:false,dss:disabled,background_thread:true,dirty_decay_ms:1000";
#endif

#define MEM_SLOTS 64
#define PEAK_STEP ((int64_t)64 * 1024)

struct mem_slot {
    _Alignas(64) _Atomic int64_t used;
    _Atomic int64_t look_at; /* growing beyond this looks at the peak */
    bool is_shared;          /* written before a second thread can see the slot */
};

static struct mem_slot slots[MEM_SLOTS] = {[MEM_SLOTS - 1].is_shared = true};
static atomic_uint slots_taken;
static atomic_size_t peak;
static _Atomic unsigned long fail_countdown;
static _Thread_local struct mem_slot *own_slot;

static NADB_NOINLINE struct mem_slot *take_slot(void)
{
    unsigned idx = atomic_load_explicit(&slots_taken, memory_order_relaxed);
    do {
        if (idx >= MEM_SLOTS - 1) {
            idx = MEM_SLOTS - 1;
            break;
        }
    } while (!atomic_compare_exchange_weak(&slots_taken, &idx, idx + 1));
    own_slot = &slots[idx];
    nadb_huge_begin_thread();
    return own_slot;
}

static NADB_NOINLINE void look_at_peak(struct mem_slot *slot, int64_t used)
{
    atomic_store_explicit(&slot->look_at, used + PEAK_STEP, memory_order_relaxed);
    (void)nadb_mem_used(); /* raises the peak */
}

static inline void count_bytes(int64_t delta)
{
    struct mem_slot *slot = own_slot;
    if (NADB_UNLIKELY(slot == NULL)) {
        slot = take_slot();
    }
    int64_t used;
    if (NADB_LIKELY(!slot->is_shared)) {
        used = atomic_load_explicit(&slot->used, memory_order_relaxed) + delta;
        atomic_store_explicit(&slot->used, used, memory_order_relaxed);
    } else {
        used = atomic_fetch_add_explicit(&slot->used, delta, memory_order_relaxed) + delta;
    }
    int64_t look_at = atomic_load_explicit(&slot->look_at, memory_order_relaxed);
    if (NADB_UNLIKELY(used > look_at)) {
        look_at_peak(slot, used);
    } else if (NADB_UNLIKELY(used < look_at - 2 * PEAK_STEP)) {
        atomic_store_explicit(&slot->look_at, used + PEAK_STEP, memory_order_relaxed);
    }
}

#ifdef NADB_JEMALLOC

/* nallocx computes the rounded size from the request, without looking the block up. */
static inline void *raw_alloc(size_t size, bool is_zeroed)
{
    void *block = mallocx(size, is_zeroed ? MALLOCX_ZERO : 0);
    if (NADB_LIKELY(block != NULL)) {
        count_bytes((int64_t)nallocx(size, 0));
    }
    return block;
}

static inline void *raw_realloc(void *block, size_t size)
{
    int64_t before = (int64_t)sallocx(block, 0);
    void *moved = rallocx(block, size, 0);
    if (NADB_LIKELY(moved != NULL)) {
        count_bytes((int64_t)nallocx(size, 0) - before);
    }
    return moved;
}

static inline void raw_free(void *block)
{
    size_t size = sallocx(block, 0);
    count_bytes(-(int64_t)size);
    sdallocx(block, size, 0); /* knows the size and need not look the block up again */
}

size_t nadb_mem_usable(const void *block)
{
    return sallocx(block, 0);
}

const char *nadb_mem_allocator(void)
{
#define TEXT_OF(x)        #x
#define VERSION_TEXT(...) VERSION_JOIN(__VA_ARGS__)
#define VERSION_JOIN(major, minor, fix)                                                            \
    "jemalloc-" TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(fix)
    return VERSION_TEXT(JEMALLOC_VERSION_MAJOR, JEMALLOC_VERSION_MINOR, JEMALLOC_VERSION_BUGFIX);
}

void nadb_mem_purge(void)
{
    char name[48];
    snprintf(name, sizeof(name), "arena.%u.purge", (unsigned)MALLCTL_ARENAS_ALL);
    (void)mallctl("thread.tcache.flush", NULL, NULL, NULL, 0); /* fails without a cache: fine */
    (void)mallctl(name, NULL, NULL, NULL, 0); /* a hint: what stays is still usable */
}

#else

static inline void *raw_alloc(size_t size, bool is_zeroed)
{
    void *block = is_zeroed ? calloc(1, size) : malloc(size);
    if (NADB_LIKELY(block != NULL)) {
        count_bytes((int64_t)malloc_usable_size(block));
    }
    return block;
}

static inline void *raw_realloc(void *block, size_t size)
{
    int64_t before = (int64_t)malloc_usable_size(block);
    void *moved = realloc(block, size);
    if (NADB_LIKELY(moved != NULL)) {
        count_bytes((int64_t)malloc_usable_size(moved) - before);
    }
    return moved;
}

static inline void raw_free(void *block)
{
    count_bytes(-(int64_t)malloc_usable_size(block));
    free(block);
}

size_t nadb_mem_usable(const void *block)
{
    /* The library's parameter is not const although it only looks. */
    return malloc_usable_size((void *)(uintptr_t)block);
}

const char *nadb_mem_allocator(void)
{
    return "libc";
}

void nadb_mem_purge(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0); /* says only whether anything was given back */
#endif
}

#endif

/* Allocators differ about requests for no bytes; here they give a block as any other. */
static inline size_t at_least_one(size_t size)
{
    return size + (size == 0);
}

static NADB_NORETURN NADB_NOINLINE void die_of_exhaustion(size_t size)
{
    fprintf(
        stderr, "memory is exhausted: %zu bytes asked for, %zu in use\n", size, nadb_mem_used());
    fflush(stderr);
    abort();
}

void *nadb_mem_alloc(size_t size)
{
    void *block = raw_alloc(at_least_one(size), false);
    if (NADB_UNLIKELY(block == NULL)) {
        die_of_exhaustion(size);
    }
    return block;
}

void *nadb_mem_zalloc(size_t size)
{
    void *block = raw_alloc(at_least_one(size), true);
    if (NADB_UNLIKELY(block == NULL)) {
        die_of_exhaustion(size);
    }
    return block;
}

void *nadb_mem_realloc(void *block, size_t size)
{
    if (block == NULL) {
        return nadb_mem_alloc(size);
    }
    void *moved = raw_realloc(block, at_least_one(size));
    if (NADB_UNLIKELY(moved == NULL)) {
        die_of_exhaustion(size);
    }
    return moved;
}

char *nadb_mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(nadb_mem_alloc(size), text, size);
}

static NADB_NOINLINE bool count_down_to_failure(void)
{
    unsigned long left = atomic_load(&fail_countdown);
    while (left != 0 && !atomic_compare_exchange_weak(&fail_countdown, &left, left - 1)) {
    }
    return left == 1;
}

static inline bool must_fail(void)
{
    unsigned long left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    return NADB_UNLIKELY(left != 0) && count_down_to_failure();
}

void *nadb_mem_try_alloc(size_t size)
{
    return must_fail() ? NULL : raw_alloc(at_least_one(size), false);
}

void *nadb_mem_try_realloc(void *block, size_t size)
{
    if (must_fail()) {
        return NULL;
    }
    size = at_least_one(size);
    return block == NULL ? raw_alloc(size, false) : raw_realloc(block, size);
}

void nadb_mem_free(void *block)
{
    if (block != NULL) {
        raw_free(block);
    }
}

size_t nadb_mem_used(void)
{
    int64_t sum = atomic_load_explicit(&slots[MEM_SLOTS - 1].used, memory_order_relaxed);
    unsigned taken = atomic_load_explicit(&slots_taken, memory_order_relaxed);
    for (unsigned i = 0; i < taken; i++) {
        sum += atomic_load_explicit(&slots[i].used, memory_order_relaxed);
    }
    /* Slots are read one after the other, so a block on its way can be missed. */
    size_t used = sum > 0 ? (size_t)sum : 0;
    size_t highest = atomic_load_explicit(&peak, memory_order_relaxed);
    while (used > highest && !atomic_compare_exchange_weak(&peak, &highest, used)) {
    }
    return used;
}

size_t nadb_mem_peak(void)
{
    (void)nadb_mem_used(); /* raises the peak */
    return atomic_load_explicit(&peak, memory_order_relaxed);
}

void nadb_mem_fail_at(unsigned long nth)
{
    atomic_store(&fail_countdown, nth);
}
