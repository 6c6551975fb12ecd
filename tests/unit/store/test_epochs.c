/* This file tests the memory of when tags were invalidated. */
#include "src/store/epochs.h"

#include "tests/support/test.h"

NADB_TEST_SUITE(epochs);

static const struct nadb_hash_key hash_key = {1, 2};

static struct nadb_epoch epoch(uint64_t number)
{
    return (struct nadb_epoch){.number = number, .ms = number * 10};
}

Test(epochs, a_tag_without_an_entry_has_the_horizon)
{
    struct nadb_epochs *epochs = nadb_epochs_new(&hash_key, epoch(5));
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("a")).number, 5);
    nadb_epochs_note(epochs, NADB_SLICE("a"), epoch(6), 10);
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("a")).number, 6);
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("a")).ms, 60);
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("b")).number, 5);
    nadb_epochs_free(epochs);
}

Test(epochs, forgetting_raises_the_horizon_to_what_was_forgotten)
{
    struct nadb_epochs *epochs = nadb_epochs_new(&hash_key, epoch(0));
    nadb_epochs_note(epochs, NADB_SLICE("a"), epoch(1), 2);
    nadb_epochs_note(epochs, NADB_SLICE("b"), epoch(2), 2);
    nadb_epochs_note(epochs, NADB_SLICE("a"), epoch(3), 2); /* now b is the oldest */
    nadb_epochs_note(epochs, NADB_SLICE("c"), epoch(4), 2);
    cr_assert_eq(epochs->names.count, 2);
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("b")).number, 2);
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("never")).number, 2);
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("a")).number, 3);
    nadb_epochs_free(epochs);
}

Test(epochs, a_smaller_bound_takes_effect_with_the_next_entry)
{
    struct nadb_epochs *epochs = nadb_epochs_new(&hash_key, epoch(0));
    for (uint64_t i = 1; i <= 100; i++) {
        char tag[2] = {(char)i, 0};
        nadb_epochs_note(epochs, nadb_slice_of(tag, 1), epoch(i), 1000);
    }
    nadb_epochs_note(epochs, NADB_SLICE("last"), epoch(101), 3);
    cr_assert_eq(epochs->names.count, 3);
    cr_assert_eq(epochs->horizon.number, 98);
    nadb_epochs_note(epochs, NADB_SLICE("none"), epoch(102), 0);
    cr_assert_eq(epochs->names.count, 0);
    cr_assert_eq(nadb_epochs_of(epochs, NADB_SLICE("none")).number, 102);
    nadb_epochs_free(epochs);
}
