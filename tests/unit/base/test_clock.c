/* This file tests the system's clocks and the fake one. */
#include "src/base/clock.h"

#include "tests/support/fake_clock.h"
#include "tests/support/test.h"

#include <time.h>

NADB_TEST_SUITE(clock);

Test(clock, monotonic_time_never_goes_back)
{
    struct nadb_clock *clock = nadb_clock_system();
    uint64_t last = nadb_clock_mono_us(clock);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = nadb_clock_mono_us(clock);
        cr_assert_geq(now, last);
        last = now;
    }
}

static uint64_t now_us(clockid_t id)
{
    struct timespec now;
    cr_assert_eq(clock_gettime(id, &now), 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

Test(clock, monotonic_time_counts_microseconds)
{
    uint64_t before = now_us(CLOCK_MONOTONIC);
    uint64_t got = nadb_clock_mono_us(nadb_clock_system());
    uint64_t after = now_us(CLOCK_MONOTONIC);
    cr_assert(before <= got && got <= after, "%lu <= %lu <= %lu", before, got, after);
}

Test(clock, wall_time_counts_milliseconds_since_1970)
{
    /* Between 2020 and 2200, which tells milliseconds from seconds and microseconds. */
    uint64_t now_ms = nadb_clock_wall_ms(nadb_clock_system());
    cr_assert_gt(now_ms, UINT64_C(1577836800000));
    cr_assert_lt(now_ms, UINT64_C(7258118400000));
}

Test(clock, the_fake_moves_only_when_told)
{
    struct nadb_fake_clock fake;
    nadb_fake_clock_init(&fake);
    cr_assert_eq(nadb_clock_wall_ms(&fake.clock), NADB_FAKE_CLOCK_WALL_MS);
    uint64_t mono_us = nadb_clock_mono_us(&fake.clock);
    cr_assert_eq(nadb_clock_mono_us(&fake.clock), mono_us);
    nadb_fake_clock_advance_ms(&fake, 5);
    cr_assert_eq(nadb_clock_wall_ms(&fake.clock), NADB_FAKE_CLOCK_WALL_MS + 5);
    cr_assert_eq(nadb_clock_mono_us(&fake.clock), mono_us + 5000);
    fake.wall_ms = 1;
    cr_assert_eq(nadb_clock_wall_ms(&fake.clock), 1, "the wall clock may jump back");
    cr_assert_eq(nadb_clock_mono_us(&fake.clock), mono_us + 5000);
}
