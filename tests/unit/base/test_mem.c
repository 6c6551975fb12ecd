/* This file tests allocation and its accounting. */
#include "src/base/mem.h"

#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

NADB_TEST_SUITE(mem);

Test(mem, used_goes_up_by_the_usable_size_and_back)
{
    size_t before = nadb_mem_used();
    static const size_t sizes[] = {0, 1, 7, 16, 100, 4096, 5000, 100000, 5000000};
    for (size_t i = 0; i < NADB_ARRAY_LEN(sizes); i++) {
        void *block = nadb_mem_alloc(sizes[i]);
        cr_assert_geq(nadb_mem_usable(block), sizes[i]);
        cr_assert_eq(nadb_mem_used(), before + nadb_mem_usable(block), "size %zu", sizes[i]);
        nadb_mem_free(block);
        cr_assert_eq(nadb_mem_used(), before, "size %zu", sizes[i]);
    }
}

Test(mem, realloc_keeps_the_bytes_and_the_account)
{
    size_t before = nadb_mem_used();
    char *block = nadb_mem_realloc(NULL, 10);
    memcpy(block, "0123456789", 10);
    block = nadb_mem_realloc(block, 100000);
    cr_assert_eq(nadb_mem_used(), before + nadb_mem_usable(block));
    cr_assert_eq(memcmp(block, "0123456789", 10), 0);
    block = nadb_mem_realloc(block, 5);
    cr_assert_eq(nadb_mem_used(), before + nadb_mem_usable(block));
    cr_assert_eq(memcmp(block, "01234", 5), 0);
    block = nadb_mem_realloc(block, 0);
    cr_assert_not_null(block);
    nadb_mem_free(block);
    cr_assert_eq(nadb_mem_used(), before);
}

Test(mem, zalloc_gives_zeros_even_where_others_wrote)
{
    for (int round = 0; round < 10; round++) {
        unsigned char *block = nadb_mem_zalloc(1000);
        for (size_t i = 0; i < 1000; i++) {
            cr_assert_eq(block[i], 0);
        }
        memset(block, 0xff, 1000);
        nadb_mem_free(block);
    }
}

Test(mem, strdup_copies_with_the_terminator)
{
    char text[] = "text";
    char *copy = nadb_mem_strdup(text);
    text[0] = 'n';
    cr_assert_str_eq(copy, "text");
    nadb_mem_free(copy);
}

Test(mem, freeing_null_does_nothing)
{
    size_t before = nadb_mem_used();
    nadb_mem_free(NULL);
    cr_assert_eq(nadb_mem_used(), before);
}

Test(mem, fail_at_fails_exactly_that_try_allocation)
{
    nadb_mem_fail_at(3);
    void *first = nadb_mem_try_alloc(10);
    void *second = nadb_mem_try_realloc(NULL, 10);
    cr_assert_not_null(first);
    cr_assert_not_null(second);
    size_t before = nadb_mem_used();
    cr_assert_null(nadb_mem_try_realloc(first, 1000), "the third");
    cr_assert_eq(nadb_mem_used(), before);
    memset(first, 1, 10); /* lives on */
    void *fourth = nadb_mem_try_alloc(10);
    cr_assert_not_null(fourth);
    nadb_mem_free(first);
    nadb_mem_free(second);
    nadb_mem_free(fourth);
}

Test(mem, fail_at_spares_plain_allocations_and_can_be_switched_off)
{
    nadb_mem_fail_at(1);
    nadb_mem_free(nadb_mem_alloc(10));
    nadb_mem_free(nadb_mem_zalloc(10));
    nadb_mem_fail_at(0);
    void *block = nadb_mem_try_alloc(10);
    cr_assert_not_null(block);
    nadb_mem_free(block);
}

#ifndef NADB_TEST_HAS_LSAN /* the sanitizer's allocator stops at such a size by itself */
Test(mem, a_try_allocation_beyond_all_memory_gives_null)
{
    size_t before = nadb_mem_used();
    volatile size_t size = SIZE_MAX / 2;
    cr_assert_null(nadb_mem_try_alloc(size));
    void *block = nadb_mem_alloc(10);
    cr_assert_null(nadb_mem_try_realloc(block, size));
    nadb_mem_free(block);
    cr_assert_eq(nadb_mem_used(), before);
}

Test(mem, a_plain_allocation_beyond_all_memory_aborts, .signal = SIGABRT)
{
    volatile size_t size = SIZE_MAX / 2;
    nadb_mem_free(nadb_mem_alloc(size));
}
#endif

Test(mem, the_peak_stays_when_memory_is_given_back)
{
    void *large = nadb_mem_alloc(10000000);
    size_t with_large = nadb_mem_used();
    nadb_mem_free(large);
    cr_assert_geq(nadb_mem_peak(), with_large);
    cr_assert_lt(nadb_mem_used(), with_large);
}

Test(mem, the_peak_is_noticed_without_anybody_asking)
{
    /* Thousands of small blocks, and a look only after they are gone. */
    static void *blocks[4000];
    size_t total = 0;
    for (size_t i = 0; i < NADB_ARRAY_LEN(blocks); i++) {
        blocks[i] = nadb_mem_alloc(1000);
        total += nadb_mem_usable(blocks[i]);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(blocks); i++) {
        nadb_mem_free(blocks[i]);
    }
    cr_assert_geq(nadb_mem_peak(), total - 128 * 1024);
}

static void *free_elsewhere(void *block)
{
    nadb_mem_free(block);
    return NULL;
}

Test(mem, what_another_thread_frees_is_off_the_account)
{
    size_t before = nadb_mem_used();
    void *block = nadb_mem_alloc(1000000);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, free_elsewhere, block), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(nadb_mem_used(), before);
}

#define PART_BLOCKS 500

static void *alloc_part(void *blocks)
{
    for (size_t i = 0; i < PART_BLOCKS; i++) {
        ((void **)blocks)[i] = nadb_mem_alloc(1000);
    }
    return NULL;
}

static size_t free_part(void **blocks)
{
    size_t total = 0;
    for (size_t i = 0; i < PART_BLOCKS; i++) {
        total += nadb_mem_usable(blocks[i]);
        nadb_mem_free(blocks[i]);
    }
    return total;
}

/* This thread has been as high before, but then the other one held nothing. */
Test(mem, the_peak_of_two_threads_together_is_noticed)
{
    static void *own[PART_BLOCKS], *others[PART_BLOCKS];
    alloc_part(own);
    free_part(own);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, alloc_part, others), 0);
    pthread_join(thread, NULL);
    alloc_part(own);
    size_t total = free_part(own) + free_part(others);
    cr_assert_geq(nadb_mem_peak(), total - (size_t)2 * 128 * 1024);
}

static void *take_slot(void *unused)
{
    nadb_mem_free(nadb_mem_alloc(1));
    return unused;
}

static pthread_barrier_t churn_start;

static void *churn(void *unused)
{
    pthread_barrier_wait(&churn_start);
    for (size_t i = 1; i < 200000; i++) {
        nadb_mem_free(nadb_mem_realloc(nadb_mem_alloc(i % 50), i % 100));
    }
    return unused;
}

/* Threads that come when every counter is taken share one, and must not lose each other's sums. */
Test(mem, the_account_is_exact_with_more_threads_than_counters)
{
    void *ballast = nadb_mem_alloc(10000000); /* or a sum too low would be cut to 0 */
    size_t before = nadb_mem_used();
    pthread_t threads[4];
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(pthread_create(&threads[0], NULL, take_slot, NULL), 0);
        pthread_join(threads[0], NULL);
    }
    pthread_barrier_init(&churn_start, NULL, NADB_ARRAY_LEN(threads));
    for (size_t i = 0; i < NADB_ARRAY_LEN(threads); i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, churn, NULL), 0);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&churn_start);
    cr_assert_eq(nadb_mem_used(), before);
    nadb_mem_free(ballast);
}

Test(mem, purging_leaves_live_blocks_alone)
{
    char *block = nadb_mem_strdup("still here");
    nadb_mem_purge();
    cr_assert_str_eq(block, "still here");
    nadb_mem_free(block);
}

Test(mem, the_allocator_has_a_name)
{
    const char *name = nadb_mem_allocator();
    cr_assert(strcmp(name, "libc") == 0 || strncmp(name, "jemalloc-", 9) == 0, "%s", name);
}

/* ---- much of it: what huge.c is for ---- */

#define MUCH_BLOCKS ((size_t)20000)

struct much {
    uint64_t seed;
    unsigned char **blocks;
};

/* From 16 bytes to a few KiB, and every thousandth a lot larger: each kind of slab. */
static size_t size_of_much(const struct much *much, size_t idx)
{
    size_t size = 16 + (size_t)((idx * 2654435761u + much->seed) % 3000);
    return idx % 1000 == 999 ? size * 200 : size;
}

/* Fills the blocks of a thread so that a byte that is not its own would show. */
static void *take_much(void *arg)
{
    struct much *much = arg;
    for (size_t i = 0; i < MUCH_BLOCKS; i++) {
        size_t size = size_of_much(much, i);
        unsigned char *block = i % 2 == 0 ? nadb_mem_zalloc(size) : nadb_mem_alloc(size);
        bool is_zero = block[0] == 0 && block[size - 1] == 0 && block[size / 2] == 0;
        cr_assert(i % 2 != 0 || is_zero, "block %zu was promised zero", i);
        memset(block, (int)(much->seed + i) & 0xff, size);
        much->blocks[i] = block;
    }
    return NULL;
}

static void expect_much_and_free(struct much *much)
{
    for (size_t i = 0; i < MUCH_BLOCKS; i++) {
        size_t size = size_of_much(much, i);
        unsigned char expected = (unsigned char)(much->seed + i);
        const unsigned char *block = much->blocks[i];
        bool is_own = block[0] == expected && memcmp(block, block + 1, size - 1) == 0;
        cr_assert(is_own, "block %zu", i);
        nadb_mem_free(much->blocks[i]);
    }
}

Test(mem, much_memory_of_several_threads_is_each_ones_own)
{
    struct much parts[4];
    pthread_t threads[NADB_ARRAY_LEN(parts)];
    size_t before = nadb_mem_used();
    for (size_t i = 0; i < NADB_ARRAY_LEN(parts); i++) {
        parts[i] = (struct much){
            .seed = i * 77, .blocks = nadb_mem_alloc(MUCH_BLOCKS * sizeof(unsigned char *))};
        cr_assert_eq(pthread_create(&threads[i], NULL, take_much, &parts[i]), 0);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(parts); i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(parts); i++) {
        expect_much_and_free(&parts[i]);
        nadb_mem_free(parts[i].blocks);
    }
    cr_assert_eq(nadb_mem_used(), before);
}

#ifndef NADB_TEST_HAS_LSAN /* the sanitizer keeps what is free for a while */
static size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    cr_assert_not_null(file);
    unsigned long all = 0, resident = 0;
    cr_assert_eq(fscanf(file, "%lu %lu", &all, &resident), 2);
    (void)fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

#define PURGES_MAX 10000u

/* Once is enough, unless the allocator's own thread is at it: then it is left to that. */
static void purge_to(size_t limit)
{
    for (unsigned i = 0; i < PURGES_MAX && resident_bytes() >= limit; i++) {
        nadb_mem_purge();
        (void)sched_yield(); /* cannot fail */
    }
}

Test(mem, much_memory_goes_back_to_the_kernel_when_it_is_free)
{
    struct much much = {.seed = 5};
    much.blocks = nadb_mem_alloc(MUCH_BLOCKS * sizeof(unsigned char *));
    size_t before = resident_bytes();
    take_much(&much);
    size_t taken = resident_bytes() - before;
    cr_assert_gt(taken, MUCH_BLOCKS * 1000);
    expect_much_and_free(&much);
    purge_to(before + taken / 4);
    cr_assert_lt(resident_bytes(), before + taken / 4);
    nadb_mem_free(much.blocks);
}

static size_t count_mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "re");
    cr_assert_not_null(file);
    size_t count = 0;
    for (int c; (c = getc(file)) != EOF;) {
        count += c == '\n';
    }
    (void)fclose(file);
    return count;
}

/* Slabs of two sizes lie side by side; one kind goes and comes back. The kernel allows a process
 * some 65,000 mappings, and then there is no memory at all. */
Test(mem, holes_that_were_freed_are_filled_again)
{
    static void *blocks[40000];
    for (size_t i = 0; i < NADB_ARRAY_LEN(blocks); i++) {
        blocks[i] = nadb_mem_zalloc(i % 2 == 0 ? 1024 : 2048);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(blocks); i += 2) {
        nadb_mem_free(blocks[i]);
    }
    nadb_mem_purge();
    size_t with_holes = count_mappings();
    for (size_t i = 0; i < NADB_ARRAY_LEN(blocks); i += 2) {
        blocks[i] = nadb_mem_zalloc(1024);
    }
    cr_assert_lt(count_mappings(), with_holes / 2 + 200);
    for (size_t i = 0; i < NADB_ARRAY_LEN(blocks); i++) {
        nadb_mem_free(blocks[i]);
    }
}
#endif
