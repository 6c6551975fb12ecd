/* A keyed hash for tables whose keys clients choose: SipHash-1-3 (Aumasson and Bernstein). Its
 * output may be shown (SCAN cursors show it) without giving the key away. Thread: any. */
#ifndef NADB_BASE_HASH_H
#define NADB_BASE_HASH_H

#include "src/base/slice.h"

#include <stdint.h>

struct nadb_hash_key {
    uint64_t k0, k1;
};

/* From the kernel's random source; aborts if there is none. */
struct nadb_hash_key nadb_hash_key_random(void);

uint64_t nadb_hash(struct nadb_hash_key key, struct nadb_slice bytes);

#endif
