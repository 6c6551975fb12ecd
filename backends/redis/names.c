/* This file makes the names under which the engine keeps things. */
#include "backends/redis/names.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/parse.h"

/* CRC16-CCITT (XMODEM), four bits at a time. */
static uint32_t crc16(struct nadb_slice bytes)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6,
        0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint32_t crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        uint32_t byte = (unsigned char)bytes.data[i];
        crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ byte >> 4) & 0xf];
        crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ byte) & 0xf];
    }
    return crc;
}

/* What of a name is hashed: between the first '{' and the next '}', if there is something. */
static struct nadb_slice hashed_part(struct nadb_slice name)
{
    const char *open = name.len > 0 ? memchr(name.data, '{', name.len) : NULL;
    if (open == NULL) {
        return name;
    }
    const char *begin = open + 1;
    const char *end = memchr(begin, '}', (size_t)(name.data + name.len - begin));
    return end == NULL || end == begin ? name : nadb_slice_of(begin, (size_t)(end - begin));
}

uint32_t nadb_redis_slot(struct nadb_slice name)
{
    return crc16(hashed_part(name)) % NADB_REDIS_SLOTS;
}

uint32_t nadb_redis_partition(struct nadb_slice key, uint32_t partitions)
{
    return crc16(hashed_part(key)) % partitions;
}

size_t nadb_redis_space(struct nadb_place place, char out[NADB_REDIS_SPACE_MAX])
{
    NADB_ASSERT(place.name.len <= NADB_NAMESPACE_LEN_MAX);
    size_t len = nadb_format_u64(out, place.db);
    if (place.name.len > 0) {
        out[len++] = '.';
        len += nadb_format_u64(out + len, place.name.len);
        out[len++] = '.';
        memcpy(out + len, place.name.data, place.name.len);
        len += place.name.len;
    }
    out[len++] = ':';
    return len;
}

/* The number in front of the first `mark`; *text goes on behind that. */
static bool read_number(struct nadb_slice *text, char mark, uint64_t *ret)
{
    const char *at = text->len > 0 ? memchr(text->data, mark, text->len) : NULL;
    size_t len = at != NULL ? (size_t)(at - text->data) : 0;
    if (at == NULL || !nadb_parse_u64(nadb_slice_of(text->data, len), ret)) {
        return false;
    }
    *text = nadb_slice_of(at + 1, text->len - len - 1);
    return true;
}

bool nadb_redis_space_parse(struct nadb_slice text, struct nadb_place *ret)
{
    struct nadb_place place = {.name = {NULL, 0}};
    if (text.len == 0 || text.data[text.len - 1] != ':') {
        return false;
    }
    struct nadb_slice whole = text;
    if (read_number(&text, ':', &place.db) && text.len == 0) {
        *ret = place;
        return true;
    }
    uint64_t len = 0;
    text = whole;
    if (!read_number(&text, '.', &place.db) || !read_number(&text, '.', &len) || len == 0 ||
        len > NADB_NAMESPACE_LEN_MAX || text.len != len + 1) {
        return false;
    }
    place.name = nadb_slice_of(text.data, len);
    *ret = place;
    return true;
}
