/* This file tests the owned byte buffers. */
#include "src/base/buf.h"

#include "src/base/mem.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(buf);

Test(buf, init_allocates_nothing)
{
    size_t before = nadb_mem_used();
    struct nadb_buf buf;
    nadb_buf_init(&buf, 100);
    cr_assert_eq(nadb_mem_used(), before);
    cr_assert_null(buf.data);
    cr_assert_eq(nadb_buf_slice(&buf).len, 0);
    nadb_buf_fini(&buf);
}

Test(buf, append_keeps_bytes_in_order_while_growing)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 1 << 20);
    for (unsigned i = 0; i < 10000; i++) {
        unsigned char byte = (unsigned char)(i * 7);
        cr_assert(nadb_buf_append(&buf, &byte, 1));
    }
    cr_assert_eq(buf.len, 10000);
    for (unsigned i = 0; i < 10000; i++) {
        cr_assert_eq((unsigned char)buf.data[i], (unsigned char)(i * 7), "byte %u", i);
    }
    nadb_buf_fini(&buf);
}

Test(buf, capacity_at_least_doubles_so_appending_is_linear)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 1 << 20);
    size_t growths = 0;
    for (size_t i = 0; i < 1 << 16; i++) {
        size_t cap = buf.cap;
        cr_assert(nadb_buf_append(&buf, "x", 1));
        growths += buf.cap != cap;
        cr_assert(buf.cap == cap || buf.cap >= 2 * cap);
    }
    cr_assert_leq(growths, 16);
    nadb_buf_fini(&buf);
}

Test(buf, exactly_the_maximum_fits_and_one_more_does_not)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 100);
    char bytes[100];
    memset(bytes, 'a', sizeof(bytes));
    cr_assert(nadb_buf_append(&buf, bytes, 100));
    cr_assert_eq(buf.cap, 100);
    cr_assert_not(nadb_buf_append(&buf, "b", 1));
    cr_assert_eq(buf.len, 100);
    cr_assert_eq(buf.data[99], 'a');
    nadb_buf_fini(&buf);
}

Test(buf, capacity_never_passes_the_maximum)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 100);
    for (int i = 0; i < 100; i++) {
        cr_assert(nadb_buf_append(&buf, "x", 1));
        cr_assert_leq(buf.cap, 100);
    }
    nadb_buf_fini(&buf);
}

Test(buf, a_maximum_below_the_first_allocation_holds_too)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 10);
    cr_assert(nadb_buf_append(&buf, "x", 1));
    cr_assert_leq(buf.cap, 10);
    cr_assert_not(nadb_buf_reserve(&buf, 10));
    nadb_buf_fini(&buf);
}

Test(buf, a_request_that_would_overflow_is_refused)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, SIZE_MAX / 2);
    cr_assert(nadb_buf_append(&buf, "abc", 3));
    cr_assert_not(nadb_buf_reserve(&buf, SIZE_MAX));
    cr_assert_not(nadb_buf_reserve(&buf, SIZE_MAX - 2));
    cr_assert(nadb_slice_eq(nadb_buf_slice(&buf), NADB_SLICE("abc")));
    nadb_buf_fini(&buf);
}

Test(buf, reserve_gives_room_without_changing_the_length)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 1000);
    cr_assert(nadb_buf_reserve(&buf, 500));
    cr_assert_geq(buf.cap, 500);
    cr_assert_eq(buf.len, 0);
    const char *data = buf.data;
    cr_assert(nadb_buf_reserve(&buf, 500));
    cr_assert_eq(buf.data, data, "what has room is not moved");
    nadb_buf_fini(&buf);
}

Test(buf, exhausted_memory_leaves_the_buffer_as_it_was)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 1 << 20);
    cr_assert(nadb_buf_append(&buf, "abc", 3));
    nadb_mem_fail_at(1);
    cr_assert_not(nadb_buf_reserve(&buf, 1 << 16));
    cr_assert(nadb_slice_eq(nadb_buf_slice(&buf), NADB_SLICE("abc")));
    cr_assert(nadb_buf_reserve(&buf, 1 << 16));
    nadb_buf_fini(&buf);
}

Test(buf, appending_nothing_works_even_when_full)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 0);
    cr_assert(nadb_buf_append(&buf, NULL, 0));
    cr_assert_not(nadb_buf_append(&buf, "x", 1));
    nadb_buf_fini(&buf);
}

Test(buf, consume_removes_from_the_front)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 100);
    cr_assert(nadb_buf_append(&buf, "0123456789", 10));
    nadb_buf_consume(&buf, 0);
    nadb_buf_consume(&buf, 4);
    cr_assert(nadb_slice_eq(nadb_buf_slice(&buf), NADB_SLICE("456789")));
    nadb_buf_consume(&buf, 6);
    cr_assert_eq(buf.len, 0);
    nadb_buf_fini(&buf);
}

Test(buf, shrinking_frees_only_an_empty_buffer_above_what_it_may_keep)
{
    struct nadb_buf buf;
    nadb_buf_init(&buf, 10000);
    cr_assert(nadb_buf_append(&buf, "x", 1));
    cr_assert(nadb_buf_reserve(&buf, 5000));
    nadb_buf_shrink_empty(&buf, 100);
    cr_assert_geq(buf.cap, 5000, "not empty");
    nadb_buf_consume(&buf, 1);
    nadb_buf_shrink_empty(&buf, buf.cap);
    cr_assert_geq(buf.cap, 5000, "not above");
    nadb_buf_shrink_empty(&buf, 100);
    cr_assert_leq(buf.cap, 100);
    cr_assert_eq(buf.cap_max, 10000);
    cr_assert(nadb_buf_append(&buf, "y", 1), "usable again");
    nadb_buf_fini(&buf);
}
