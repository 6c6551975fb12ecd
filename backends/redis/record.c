/* This file turns records to bytes and back. */
#include "backends/redis/record.h"

#include "src/base/checksum.h"
#include "src/base/codec.h"

enum {
    AT_FORMAT = 0,
    AT_TAGS_LEN = 4,
    AT_EXPIRE = 8,
    AT_CREATED_SUM = 16,
    AT_CREATED = 20,
    AT_STAMP = 28,
    AT_UPDATED = 36,
    AT_CODEC = 42,
    AT_RAW_LEN = 44,
    AT_VALUE_SUM = 48,
    AT_HEAD_SUM = 52,
};
/* Times are below the year 10889 (see SET ... TIMES): six bytes. */
#define UPDATED_MASK ((UINT64_C(1) << 8 * (AT_CODEC - AT_UPDATED)) - 1)

_Static_assert(AT_CREATED_SUM == NADB_REDIS_RECORD_BEGIN, "the first part ends there");
_Static_assert(AT_STAMP == NADB_REDIS_RECORD_CREATED, "the second part ends there");
_Static_assert(AT_HEAD_SUM + sizeof(uint32_t) == NADB_REDIS_RECORD_HEAD, "the head ends there");

uint64_t nadb_redis_identity(struct nadb_place place, struct nadb_slice key)
{
    uint64_t seed = place.db;
    if (place.name.len > 0) {
        seed = nadb_checksum64(place.name.data, place.name.len, seed);
    }
    return nadb_checksum64(key.data, key.len, seed);
}

static uint32_t head_sum(const char *head, struct nadb_slice tags, uint64_t seed)
{
    uint64_t sum = nadb_checksum64(head, AT_CREATED_SUM, seed);
    sum = nadb_checksum64(head + AT_STAMP, AT_HEAD_SUM - AT_STAMP, sum);
    return tags.len == 0 ? (uint32_t)sum : nadb_checksum32(tags.data, tags.len, sum);
}

/* Such that a script can make it, too. */
static uint32_t created_sum(const char *head)
{
    return nadb_get_u32(head + AT_CREATED) + nadb_get_u32(head + AT_CREATED + sizeof(uint32_t));
}

void nadb_redis_record_write(
    const struct nadb_redis_record *record, uint64_t seed, char out[NADB_REDIS_RECORD_HEAD])
{
    const struct nadb_entry *entry = &record->entry;
    memset(out, 0, NADB_REDIS_RECORD_HEAD);
    out[AT_FORMAT] = NADB_REDIS_RECORD_FORMAT;
    nadb_put_u32(out + AT_TAGS_LEN, (uint32_t)entry->tags.len);
    nadb_put_u64(out + AT_STAMP, record->stamp);
    nadb_put_u64(out + AT_UPDATED, entry->updated_ms & UPDATED_MASK);
    out[AT_CODEC] = (char)entry->codec;
    nadb_put_u64(out + AT_EXPIRE, entry->expire_ms);
    nadb_put_u32(out + AT_RAW_LEN, entry->raw_len);
    nadb_put_u32(out + AT_VALUE_SUM, nadb_checksum32(entry->value.data, entry->value.len, seed));
    nadb_put_u32(out + AT_HEAD_SUM, head_sum(out, entry->tags, seed));
    nadb_put_u64(out + AT_CREATED, entry->created_ms);
    nadb_put_u32(out + AT_CREATED_SUM, created_sum(out));
}

/* How many bytes head and tags of a full one take; 0: it is none. */
static size_t head_len_of(struct nadb_slice bytes)
{
    if (bytes.len < NADB_REDIS_RECORD_HEAD || bytes.data[AT_FORMAT] != NADB_REDIS_RECORD_FORMAT) {
        return 0;
    }
    size_t tags_len = nadb_get_u32(bytes.data + AT_TAGS_LEN);
    return tags_len <= NADB_TAGS_PACKED_MAX ? NADB_REDIS_RECORD_HEAD + tags_len : 0;
}

/* Is every tag whole? The checksum says what was written, not that it made sense. */
static bool is_packed(struct nadb_slice tags)
{
    size_t at = 0;
    while (at < tags.len) {
        if (tags.len - at < sizeof(uint16_t)) {
            return false;
        }
        size_t len = nadb_get_u16(tags.data + at);
        if (len > tags.len - at - sizeof(uint16_t)) {
            return false;
        }
        at += sizeof(uint16_t) + len;
    }
    return true;
}

static bool is_value_right(const struct nadb_entry *entry, uint32_t sum, uint64_t seed)
{
    bool is_raw = entry->codec == NADB_CODEC_RAW;
    return sum == nadb_checksum32(entry->value.data, entry->value.len, seed) &&
           (is_raw ? entry->value.len == entry->raw_len : entry->value.len < entry->raw_len);
}

/* A head and what is behind it; `rest` begins with the tags. */
static bool read_parts(const char *head, struct nadb_slice rest, size_t tags_len, uint64_t seed,
    bool is_whole, struct nadb_redis_record *ret)
{
    struct nadb_entry entry = {
        .kind = NADB_ENTRY_PUT,
        .codec = (enum nadb_codec)(unsigned char)head[AT_CODEC],
        .raw_len = nadb_get_u32(head + AT_RAW_LEN),
        .tags = {rest.data, tags_len},
        .value = {rest.data + tags_len, is_whole ? rest.len - tags_len : 0},
        .created_ms = nadb_get_u64(head + AT_CREATED),
        .updated_ms = nadb_get_u64(head + AT_UPDATED) & UPDATED_MASK,
        .expire_ms = nadb_get_u64(head + AT_EXPIRE),
    };
    if (entry.codec > NADB_CODEC_ZLIB ||
        nadb_get_u32(head + AT_HEAD_SUM) != head_sum(head, entry.tags, seed) ||
        nadb_get_u32(head + AT_CREATED_SUM) != created_sum(head) || !is_packed(entry.tags) ||
        (is_whole && !is_value_right(&entry, nadb_get_u32(head + AT_VALUE_SUM), seed))) {
        return false;
    }
    ret->stamp = nadb_get_u64(head + AT_STAMP);
    ret->entry = entry;
    return ret->stamp != 0;
}

bool nadb_redis_record_read(
    struct nadb_slice bytes, uint64_t identity, bool is_whole, struct nadb_redis_record *ret)
{
    size_t head_len = head_len_of(bytes);
    if (head_len == 0 || head_len > bytes.len) {
        return false;
    }
    struct nadb_slice rest = {
        bytes.data + NADB_REDIS_RECORD_HEAD, bytes.len - NADB_REDIS_RECORD_HEAD};
    return read_parts(bytes.data, rest, head_len - NADB_REDIS_RECORD_HEAD, identity, is_whole, ret);
}

bool nadb_redis_record_read_plain(
    struct nadb_slice bytes, uint64_t identity, bool is_whole, struct nadb_redis_record *ret)
{
    char head[NADB_REDIS_RECORD_HEAD] = {NADB_REDIS_RECORD_FORMAT};
    if (bytes.len < NADB_REDIS_PLAIN_HEAD) {
        return false;
    }
    memcpy(head + NADB_REDIS_RECORD_CREATED, bytes.data, NADB_REDIS_PLAIN_HEAD);
    struct nadb_slice rest = {
        bytes.data + NADB_REDIS_PLAIN_HEAD, bytes.len - NADB_REDIS_PLAIN_HEAD};
    return read_parts(head, rest, 0, identity, is_whole, ret);
}
