/* This file turns growing counters into rates per second. */
#include "src/server/server.h"

void nadb_rate_sample(struct nadb_rate *rate, uint64_t value, uint64_t now_us)
{
    if (rate->last_us != 0 && now_us > rate->last_us) {
        /* A counter that was reset starts anew. */
        uint64_t grown = value > rate->last_value ? value - rate->last_value : 0;
        rate->samples[rate->next] = grown * 1000000 / (now_us - rate->last_us);
        rate->next = (rate->next + 1) % NADB_OPS_SAMPLES;
    }
    rate->last_value = value;
    rate->last_us = now_us;
}

double nadb_rate_per_second(const struct nadb_rate *rate)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < NADB_OPS_SAMPLES; i++) {
        sum += rate->samples[i];
    }
    return (double)sum / NADB_OPS_SAMPLES;
}
