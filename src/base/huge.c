/* This file gives jemalloc fresh memory in huge pages.
 *
 * jemalloc asks for one slab at a time, some 16 KiB. As it keeps no address space (mem.c says why),
 * each of them is a mapping of its own, and the kernel, which sees that the 2 MiB around the first
 * byte are not all there, fills it with small pages: five million keys were 170,000 page faults, a
 * quarter of a restart, and then a TLB miss for each record met. So slabs are cut here from chunks
 * that the kernel knows as a whole, and the first byte of 2 MiB brings all of them.
 *
 * What is freed leaves a hole. The kernel allows a process only so many mappings (65,530 as a
 * rule), and each hole makes one more, so nothing new is cut while there are holes: a mapping of
 * the slab's own goes into the highest one and closes it. Only growth is in huge pages.
 *
 * Of a huge page that is unmapped in part the rest stays; what went is the kernel's again when it
 * is short of memory, not before. Huge pages come in when an arena has had SMALL_BYTES: the threads
 * of an idle server need not 2 MiB each. Where the kernel has none to give, chunks are filled with
 * small ones.
 *
 * Invariants:
 *   1. [chunk.at, chunk.end) is mapped, never touched, and nobody else's.
 *   2. What is handed out is zero: it comes from the kernel and has never been used. */
#include "src/base/huge.h"

#ifdef NADB_JEMALLOC

#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define ARENAS_MAX  64u /* those that are numbered higher do without */
#define PAGE_BYTES  ((size_t)4096)
#define HUGE_BYTES  ((size_t)2 << 20)
#define CHUNK_BYTES ((size_t)32 << 20)
#define PIECE_MAX   ((size_t)4 << 20) /* what is larger is a mapping of its own */
#define SMALL_BYTES ((size_t)8 << 20)

/* An arena's. */
struct chunk {
    _Alignas(64) pthread_mutex_t lock; /* protects the rest; taken for each slab */
    uintptr_t at, end;
    size_t had;   /* bytes that the arena has been given while they were small pages */
    size_t holes; /* bytes of small pieces that were freed, less what has gone there since */
};

static struct chunk chunks[ARENAS_MAX];
static extent_hooks_t *jemallocs_own;
static extent_hooks_t hooks; /* jemalloc's own but for two; without those if there are none */

static uintptr_t align_up(uintptr_t address, size_t alignment)
{
    return (address + alignment - 1) & ~(uintptr_t)(alignment - 1);
}

/* NULL if there is none to be had. All mappings have the same flags, so that neighbours merge. */
static void *map(size_t size)
{
    void *mapped = mmap(
        NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(mapped, size, MADV_HUGEPAGE); /* a wish */
    return mapped;
}

static void unmap(uintptr_t begin, uintptr_t end)
{
    if (begin < end) {
        (void)munmap((void *)begin, end - begin); /* what stays is only address space */
    }
}

/* A whole new chunk in place of what is left of the old one; false if there is none to be had. */
static bool renew(struct chunk *chunk)
{
    void *mapped = map(CHUNK_BYTES + HUGE_BYTES);
    if (mapped == NULL) {
        return false;
    }
    unmap(chunk->at, chunk->end);
    uintptr_t begin = (uintptr_t)mapped;
    chunk->at = align_up(begin, HUGE_BYTES);
    chunk->end = chunk->at + CHUNK_BYTES;
    unmap(begin, chunk->at);
    unmap(chunk->end, begin + CHUNK_BYTES + HUGE_BYTES);
    return true;
}

static void *cut(struct chunk *chunk, size_t size, size_t alignment)
{
    uintptr_t at = align_up(chunk->at, alignment);
    if (at + size > chunk->end) {
        if (!renew(chunk)) {
            return NULL;
        }
        at = chunk->at; /* aligned as far as PIECE_MAX asks for it */
    }
    unmap(chunk->at, at);
    chunk->at = at + size;
    return (void *)at;
}

/* NULL: jemalloc's own way. */
static void *take(struct chunk *chunk, size_t size, size_t alignment)
{
    if (chunk->had < SMALL_BYTES) {
        chunk->had += size;
        return NULL;
    }
    if (chunk->holes >= size && alignment <= PAGE_BYTES) {
        chunk->holes -= size;
        return map(size);
    }
    return cut(chunk, size, alignment);
}

/* As jemalloc's extent_alloc. Thread: any. */
static void *alloc(extent_hooks_t *self, void *place, size_t size, size_t alignment, bool *zero,
    bool *commit, unsigned arena)
{
    void *piece = NULL;
    if (arena < ARENAS_MAX && place == NULL && size <= PIECE_MAX && alignment <= HUGE_BYTES) {
        (void)pthread_mutex_lock(&chunks[arena].lock); /* fails only for a mutex of another kind */
        piece = take(&chunks[arena], size, alignment);
        (void)pthread_mutex_unlock(&chunks[arena].lock);
    }
    if (piece == NULL) {
        return jemallocs_own->alloc(self, place, size, alignment, zero, commit, arena);
    }
    *zero = *commit = true;
    return piece;
}

/* As jemalloc's extent_dalloc: what it returns true for, because there are too many mappings
 * already, jemalloc keeps for later. Thread: any. */
static bool dalloc(
    extent_hooks_t *self, void *address, size_t size, bool is_committed, unsigned arena)
{
    (void)self;
    (void)is_committed;
    if (munmap(address, size) != 0) {
        return true;
    }
    if (arena < ARENAS_MAX && size < HUGE_BYTES) { /* a larger hole is no trouble */
        (void)pthread_mutex_lock(&chunks[arena].lock);
        chunks[arena].holes += size;
        (void)pthread_mutex_unlock(&chunks[arena].lock);
    }
    return false;
}

static bool has_setting(const char *name, const char *wanted)
{
    const char *value = NULL;
    size_t len = sizeof(value);
    return mallctl(name, &value, &len, NULL, 0) == 0 && strcmp(value, wanted) == 0;
}

static void prepare(void)
{
    bool is_retaining = true;
    size_t len = sizeof(is_retaining);
    if (!has_setting("opt.thp", "always") || !has_setting("opt.dss", "disabled") ||
        mallctl("opt.retain", &is_retaining, &len, NULL, 0) != 0 || is_retaining) {
        return; /* MALLOC_CONF has it otherwise than mem.c */
    }
    len = sizeof(jemallocs_own);
    if (mallctl("arena.0.extent_hooks", &jemallocs_own, &len, NULL, 0) == 0) {
        hooks = *jemallocs_own;
        for (unsigned i = 0; i < ARENAS_MAX; i++) {
            (void)pthread_mutex_init(&chunks[i].lock, NULL); /* without attributes it cannot fail */
        }
        hooks.alloc = alloc;
        hooks.dalloc = dalloc;
    }
}

void nadb_huge_begin_thread(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare); /* fails only for another kind of control */
    unsigned arena = 0;
    size_t len = sizeof(arena);
    if (hooks.alloc != NULL && mallctl("thread.arena", &arena, &len, NULL, 0) == 0) {
        extent_hooks_t *ours = &hooks;
        char name[48];
        (void)snprintf(name, sizeof(name), "arena.%u.extent_hooks", arena);
        (void)mallctl(name, NULL, NULL, &ours, sizeof(ours)); /* one that refuses does without */
    }
}

#else

void nadb_huge_begin_thread(void)
{
}

#endif
