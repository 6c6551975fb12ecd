/* Little-endian fixed-width integers at any alignment: the byte order of everything on disk. */
#ifndef NADB_BASE_CODEC_H
#define NADB_BASE_CODEC_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the host must be little-endian");

static inline void nadb_put_u16(void *at, uint16_t value)
{
    memcpy(at, &value, sizeof(value));
}

static inline void nadb_put_u32(void *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

static inline void nadb_put_u64(void *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

static inline uint16_t nadb_get_u16(const void *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint32_t nadb_get_u32(const void *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t nadb_get_u64(const void *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

#endif
