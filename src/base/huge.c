/* This file gives jemalloc fresh memory in huge pages.
 *
 * jemalloc asks for one slab at a time, some 16 KiB. As it keeps no address space (mem.c says why),
 * each of them is a mapping of its own, and the kernel, which sees that the 2 MiB around the first
 * byte are not all there, fills it with small pages: five million keys were 170,000 page faults, a
 * quarter of a restart, and then a TLB miss for each record met. So slabs are cut here from chunks
 * that the kernel knows as a whole, and the first byte of 2 MiB brings all of them.
 *
 * What is freed goes back as before, by jemalloc's own munmap; a chunk's addresses are used once.
 * Huge pages come in when an arena has had SMALL_BYTES: the threads of an idle server need not
 * 2 MiB each. Where the kernel has no huge pages to give, chunks are filled with small ones.
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
#define HUGE_BYTES  ((size_t)2 << 20)
#define CHUNK_BYTES ((size_t)32 << 20)
#define PIECE_MAX   ((size_t)4 << 20) /* what is larger is a mapping of its own */
#define SMALL_BYTES ((size_t)8 << 20)

struct chunk {
    uintptr_t at, end;
    size_t had; /* bytes that the arena has been given while they were small pages */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects chunks; taken for each slab */
static struct chunk chunks[ARENAS_MAX];
static extent_hooks_t *jemallocs_own;
static extent_hooks_t hooks; /* jemalloc's own but for alloc; without that if there are none */

static uintptr_t align_up(uintptr_t address, size_t alignment)
{
    return (address + alignment - 1) & ~(uintptr_t)(alignment - 1);
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
    void *mapped = mmap(NULL, CHUNK_BYTES + HUGE_BYTES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
        return false;
    }
    unmap(chunk->at, chunk->end);
    uintptr_t begin = (uintptr_t)mapped;
    chunk->at = align_up(begin, HUGE_BYTES);
    chunk->end = chunk->at + CHUNK_BYTES;
    unmap(begin, chunk->at);
    unmap(chunk->end, begin + CHUNK_BYTES + HUGE_BYTES);
    (void)madvise((void *)chunk->at, CHUNK_BYTES, MADV_HUGEPAGE); /* a wish */
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

static bool is_for_chunk(struct chunk *chunk, size_t size)
{
    if (chunk->had >= SMALL_BYTES) {
        return true;
    }
    chunk->had += size;
    return false;
}

/* As jemalloc's extent_alloc. Thread: any. */
static void *alloc(extent_hooks_t *self, void *place, size_t size, size_t alignment, bool *zero,
    bool *commit, unsigned arena)
{
    void *piece = NULL;
    if (arena < ARENAS_MAX && place == NULL && size <= PIECE_MAX && alignment <= HUGE_BYTES) {
        (void)pthread_mutex_lock(&lock); /* fails only for a mutex of another kind */
        if (is_for_chunk(&chunks[arena], size)) {
            piece = cut(&chunks[arena], size, alignment);
        }
        (void)pthread_mutex_unlock(&lock);
    }
    if (piece == NULL) {
        return jemallocs_own->alloc(self, place, size, alignment, zero, commit, arena);
    }
    *zero = *commit = true;
    return piece;
}

static void prepare(void)
{
    const char *thp = NULL;
    size_t len = sizeof(thp);
    if (mallctl("opt.thp", &thp, &len, NULL, 0) != 0 || strcmp(thp, "always") != 0) {
        return; /* MALLOC_CONF has it otherwise */
    }
    len = sizeof(jemallocs_own);
    if (mallctl("arena.0.extent_hooks", &jemallocs_own, &len, NULL, 0) == 0) {
        hooks = *jemallocs_own;
        hooks.alloc = alloc;
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
