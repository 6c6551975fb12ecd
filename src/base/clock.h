/* Time as an injected dependency: the daemon has the system's clocks, a test moves its own. */
#ifndef NADB_BASE_CLOCK_H
#define NADB_BASE_CLOCK_H

#include <stdint.h>

struct nadb_clock {
    uint64_t (*wall_ms)(struct nadb_clock *clock); /* Unix time; may jump either way */
    uint64_t (*mono_us)(struct nadb_clock *clock); /* never goes back; no defined origin */
};

static inline uint64_t nadb_clock_wall_ms(struct nadb_clock *clock)
{
    return clock->wall_ms(clock);
}

static inline uint64_t nadb_clock_mono_us(struct nadb_clock *clock)
{
    return clock->mono_us(clock);
}

/* The system's clocks; shared, stateless, any thread. */
struct nadb_clock *nadb_clock_system(void);

#endif
