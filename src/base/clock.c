/* This file reads the system's clocks. */
#include "src/base/clock.h"

#include "src/base/assert.h"

#include <time.h>

static struct timespec read_clock(clockid_t id)
{
    struct timespec now;
    int rc = clock_gettime(id, &now);
    NADB_ASSERT(rc == 0); /* only a clock id that does not exist can fail */
    return now;
}

static uint64_t read_wall_ms(struct nadb_clock *clock)
{
    (void)clock;
    struct timespec now = read_clock(CLOCK_REALTIME);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t read_mono_us(struct nadb_clock *clock)
{
    (void)clock;
    struct timespec now = read_clock(CLOCK_MONOTONIC);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct nadb_clock *nadb_clock_system(void)
{
    /* Not const because the interface is not; nobody writes to it. */
    static struct nadb_clock system_clock = {.wall_ms = read_wall_ms, .mono_us = read_mono_us};
    return &system_clock;
}
