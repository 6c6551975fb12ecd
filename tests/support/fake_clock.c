/* This file is a clock for tests. */
#include "tests/support/fake_clock.h"

#include "src/base/compiler.h"

static uint64_t read_wall_ms(struct nadb_clock *clock)
{
    return NADB_CONTAINER_OF(clock, struct nadb_fake_clock, clock)->wall_ms;
}

static uint64_t read_mono_us(struct nadb_clock *clock)
{
    return NADB_CONTAINER_OF(clock, struct nadb_fake_clock, clock)->mono_us;
}

void nadb_fake_clock_init(struct nadb_fake_clock *fake)
{
    *fake = (struct nadb_fake_clock){
        .clock = {.wall_ms = read_wall_ms, .mono_us = read_mono_us},
        .wall_ms = NADB_FAKE_CLOCK_WALL_MS,
        .mono_us = 1000000,
    };
}

void nadb_fake_clock_advance_ms(struct nadb_fake_clock *fake, uint64_t ms)
{
    fake->wall_ms += ms;
    fake->mono_us += ms * 1000;
}
