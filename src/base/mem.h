/* Every allocation of the process, with accounting.
 *
 * The plain functions are for small, fixed-size requests: they never return NULL; when memory is
 * exhausted they report and abort, which for the data is the same as SIGKILL. The try functions
 * are for requests whose size a client or a file decides: they return NULL and the caller answers
 * an error. Each thread counts usable bytes for itself; a total adds the threads up.
 * Thread: any. */
#ifndef NADB_BASE_MEM_H
#define NADB_BASE_MEM_H

#include "src/base/compiler.h"

void *nadb_mem_alloc(size_t size);  /* uninitialised */
void *nadb_mem_zalloc(size_t size); /* zero-filled */
void *nadb_mem_realloc(void *block, size_t size);
char *nadb_mem_strdup(const char *text);

NADB_MUST_CHECK void *nadb_mem_try_alloc(size_t size);
NADB_MUST_CHECK void *nadb_mem_try_realloc(void *block, size_t size); /* on NULL, block lives on */

void nadb_mem_free(void *block); /* NULL allowed */

/* Bytes of `block` as the allocator rounds them. */
size_t nadb_mem_usable(const void *block);

/* Bytes handed out and not freed, and their highest value so far (which a peak between two looks
 * may pass by some 128 KiB for each thread). Both cost a walk over the counters, one cache line for
 * each thread. */
size_t nadb_mem_used(void);
size_t nadb_mem_peak(void);

/* "jemalloc-5.3.0" or "libc". */
const char *nadb_mem_allocator(void);

/* Gives free pages back to the kernel where the allocator can. */
void nadb_mem_purge(void);

/* Tests only: the n-th try allocation from now on returns NULL (1 = the next); 0 switches off. */
void nadb_mem_fail_at(unsigned long nth);

#endif
