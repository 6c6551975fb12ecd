/* This file is the only one that knows which checksum the disk formats use. */
#include "src/base/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t nadb_checksum64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}
