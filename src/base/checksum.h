/* The checksum of everything on disk: XXH3-64 (xxHash), seeded so that a block of zeros or a
 * block moved from elsewhere does not verify. Not a defence against forgery. Thread: any. */
#ifndef NADB_BASE_CHECKSUM_H
#define NADB_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t nadb_checksum64(const void *data, size_t len, uint64_t seed);

/* The low half of nadb_checksum64. */
static inline uint32_t nadb_checksum32(const void *data, size_t len, uint64_t seed)
{
    return (uint32_t)nadb_checksum64(data, len, seed);
}

#endif
