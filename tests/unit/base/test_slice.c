/* This file tests the comparison of borrowed bytes. */
#include "src/base/slice.h"

#include "tests/support/test.h"

NADB_TEST_SUITE(slice);

Test(slice, empty_slices_are_equal_whatever_they_point_at)
{
    cr_assert(nadb_slice_eq(nadb_slice_of(NULL, 0), NADB_SLICE("")));
    cr_assert(nadb_slice_eq_nocase(nadb_slice_of(NULL, 0), NADB_SLICE("")));
    cr_assert_eq(nadb_slice_cmp(nadb_slice_of(NULL, 0), NADB_SLICE("")), 0);
}

Test(slice, equality_needs_length_and_all_bytes)
{
    cr_assert(nadb_slice_eq(NADB_SLICE("a\0b"), nadb_slice_of("a\0b", 3)));
    cr_assert_not(nadb_slice_eq(NADB_SLICE("a\0b"), NADB_SLICE("a\0c")));
    cr_assert_not(nadb_slice_eq(NADB_SLICE("ab"), NADB_SLICE("abc")));
    cr_assert_not(nadb_slice_eq(NADB_SLICE("ab"), NADB_SLICE("AB")));
}

Test(slice, case_is_folded_for_ascii_letters_only)
{
    cr_assert(nadb_slice_eq_nocase(NADB_SLICE("SeT"), NADB_SLICE("sEt")));
    cr_assert(nadb_slice_eq_nocase(NADB_SLICE("AZaz"), NADB_SLICE("azAZ")));
    cr_assert_not(nadb_slice_eq_nocase(NADB_SLICE("@"), NADB_SLICE("`")));
    cr_assert_not(nadb_slice_eq_nocase(NADB_SLICE("["), NADB_SLICE("{")));
    cr_assert_not(nadb_slice_eq_nocase(NADB_SLICE("\xc4"), NADB_SLICE("\xe4")));
    cr_assert_not(nadb_slice_eq_nocase(NADB_SLICE("set"), NADB_SLICE("sets")));
}

Test(slice, order_is_of_unsigned_bytes_and_then_of_length)
{
    cr_assert_lt(nadb_slice_cmp(NADB_SLICE("a"), NADB_SLICE("b")), 0);
    cr_assert_gt(nadb_slice_cmp(NADB_SLICE("\xff"), NADB_SLICE("a")), 0);
    cr_assert_lt(nadb_slice_cmp(NADB_SLICE("a"), NADB_SLICE("aa")), 0);
    cr_assert_gt(nadb_slice_cmp(NADB_SLICE("b"), NADB_SLICE("aa")), 0);
    cr_assert_lt(nadb_slice_cmp(NADB_SLICE(""), NADB_SLICE("a")), 0);
    cr_assert_eq(nadb_slice_cmp(NADB_SLICE("a\0b"), NADB_SLICE("a\0b")), 0);
}
