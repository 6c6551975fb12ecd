/* A clock that stands still until the test moves it. Thread: the test's. */
#ifndef NADB_TESTS_SUPPORT_FAKE_CLOCK_H
#define NADB_TESTS_SUPPORT_FAKE_CLOCK_H

#include "src/base/clock.h"

struct nadb_fake_clock {
    struct nadb_clock clock; /* give &fake->clock to the code under test */
    uint64_t wall_ms;        /* set them at will; only the wall clock may go back */
    uint64_t mono_us;
};

/* Starts at NADB_FAKE_CLOCK_WALL_MS and one second after boot. */
#define NADB_FAKE_CLOCK_WALL_MS UINT64_C(1700000000000)
void nadb_fake_clock_init(struct nadb_fake_clock *fake);

/* Both clocks forward, as time passing does. */
void nadb_fake_clock_advance_ms(struct nadb_fake_clock *fake, uint64_t ms);

#endif
