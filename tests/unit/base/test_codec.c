/* This file tests the byte order of everything on disk. */
#include "src/base/codec.h"

#include "tests/support/test.h"

NADB_TEST_SUITE(codec);

Test(codec, the_lowest_byte_comes_first)
{
    unsigned char bytes[8];
    nadb_put_u16(bytes, 0x0201);
    cr_assert_arr_eq(bytes, ((unsigned char[]){1, 2}), 2);
    nadb_put_u32(bytes, 0x04030201);
    cr_assert_arr_eq(bytes, ((unsigned char[]){1, 2, 3, 4}), 4);
    nadb_put_u64(bytes, UINT64_C(0x0807060504030201));
    cr_assert_arr_eq(bytes, ((unsigned char[]){1, 2, 3, 4, 5, 6, 7, 8}), 8);
}

Test(codec, what_was_put_is_got_at_any_alignment)
{
    unsigned char bytes[16];
    for (size_t at = 0; at < 8; at++) {
        nadb_put_u16(bytes + at, UINT16_MAX - 1);
        cr_assert_eq(nadb_get_u16(bytes + at), UINT16_MAX - 1);
        nadb_put_u32(bytes + at, UINT32_MAX - 1);
        cr_assert_eq(nadb_get_u32(bytes + at), UINT32_MAX - 1);
        nadb_put_u64(bytes + at, UINT64_MAX - 1);
        cr_assert_eq(nadb_get_u64(bytes + at), UINT64_MAX - 1);
    }
}

Test(codec, put_touches_nothing_behind_its_width)
{
    unsigned char bytes[9] = {9, 9, 9, 9, 9, 9, 9, 9, 9};
    nadb_put_u16(bytes, 0);
    cr_assert_eq(bytes[2], 9);
    nadb_put_u32(bytes, 0);
    cr_assert_eq(bytes[4], 9);
    nadb_put_u64(bytes, 0);
    cr_assert_eq(bytes[8], 9);
}
