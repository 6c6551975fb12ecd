/* This file turns entries into the bytes of records and back. */
#include "backends/fs/record.h"

#include <string.h>

#include "src/base/assert.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/compress.h"

#define LOW_BITS(bits) ((UINT64_C(1) << (bits)) - 1)
#define KEYSPACE_BITS  (64 - NADB_RECORD_VERSION_BITS)

static size_t round_up(size_t bytes)
{
    return (bytes + NADB_FS_ALIGN - 1) & ~(size_t)(NADB_FS_ALIGN - 1);
}

static unsigned optional_flags(const struct nadb_entry *entry)
{
    unsigned flags = 0;
    if (entry->kind != NADB_ENTRY_PUT) {
        return 0;
    }
    if (entry->updated_ms != entry->created_ms) {
        flags |= NADB_RECORD_HAS_UPDATED;
    }
    if (entry->expire_ms != 0) {
        flags |= NADB_RECORD_HAS_EXPIRE;
    }
    if (entry->accessed_s != entry->updated_ms / 1000) {
        flags |= NADB_RECORD_HAS_ACCESSED;
    }
    if (entry->codec != NADB_CODEC_RAW) {
        flags |= NADB_RECORD_HAS_RAW_LEN;
    }
    return flags;
}

static size_t head_bytes(unsigned flags)
{
    return NADB_RECORD_HEADER_BYTES + 8 * (size_t)__builtin_popcount(flags);
}

static size_t body_bytes(const struct nadb_entry *entry)
{
    size_t bytes = entry->key.len;
    bytes += nadb_entry_has_value(entry->kind) ? entry->value.len : 0;
    return bytes + (entry->kind == NADB_ENTRY_PUT ? entry->tags.len : 0);
}

size_t nadb_fs_record_bytes(const struct nadb_entry *entry)
{
    return round_up(head_bytes(optional_flags(entry)) + body_bytes(entry));
}

size_t nadb_fs_record_put_head(char *out, const struct nadb_entry *entry)
{
    unsigned flags = optional_flags(entry);
    bool is_put = entry->kind == NADB_ENTRY_PUT;
    NADB_ASSERT(entry->key.len <= NADB_KEY_LEN_MAX);
    NADB_ASSERT(entry->version <= LOW_BITS(NADB_RECORD_VERSION_BITS));

    nadb_put_u32(out + NADB_RECORD_CHECK_AT, 0);
    out[NADB_RECORD_KIND_AT] = (char)entry->kind;
    out[NADB_RECORD_CODEC_AT] = (char)entry->codec;
    nadb_put_u16(out + NADB_RECORD_FLAGS_AT, (uint16_t)flags);
    nadb_put_u64(out + NADB_RECORD_VERSION_AT, entry->keyspace | entry->version << KEYSPACE_BITS);

    uint64_t created_ms = is_put ? entry->created_ms : 0;
    NADB_ASSERT(created_ms <= LOW_BITS(NADB_RECORD_CREATED_BITS));
    nadb_put_u64(out + NADB_RECORD_CREATED_AT,
        created_ms | (uint64_t)entry->key.len << NADB_RECORD_CREATED_BITS);

    uint32_t value_len = 0;
    uint32_t tags_len = 0;
    if (nadb_entry_has_value(entry->kind)) {
        NADB_ASSERT(entry->value.len <= NADB_VALUE_LEN_MAX);
        value_len = (uint32_t)entry->value.len;
    }
    if (is_put) {
        NADB_ASSERT(entry->tags.len <= NADB_TAGS_PACKED_MAX);
        tags_len = (uint32_t)entry->tags.len;
    } else if (entry->kind == NADB_ENTRY_NAME) {
        value_len = entry->db;
    }
    nadb_put_u32(out + NADB_RECORD_VALUE_LEN_AT, value_len);
    nadb_put_u32(out + NADB_RECORD_TAGS_LEN_AT, tags_len);

    char *at = out + NADB_RECORD_HEADER_BYTES;
    if (flags & NADB_RECORD_HAS_UPDATED) {
        nadb_put_u64(at, entry->updated_ms);
        at += 8;
    }
    if (flags & NADB_RECORD_HAS_EXPIRE) {
        nadb_put_u64(at, entry->expire_ms);
        at += 8;
    }
    if (flags & NADB_RECORD_HAS_ACCESSED) {
        nadb_put_u64(at, entry->accessed_s);
        at += 8;
    }
    if (flags & NADB_RECORD_HAS_RAW_LEN) {
        nadb_put_u64(at, entry->raw_len);
        at += 8;
    }
    return (size_t)(at - out);
}

static char *put_slice(char *at, struct nadb_slice slice)
{
    if (slice.len != 0) {
        memcpy(at, slice.data, slice.len);
    }
    return at + slice.len;
}

size_t nadb_fs_record_put(char *out, const struct nadb_entry *entry, uint64_t seed)
{
    char *at = out + nadb_fs_record_put_head(out, entry);
    at = put_slice(at, entry->key);
    if (nadb_entry_has_value(entry->kind)) {
        at = put_slice(at, entry->value);
    }
    if (entry->kind == NADB_ENTRY_PUT) {
        at = put_slice(at, entry->tags);
    }
    size_t len = (size_t)(at - out);
    size_t bytes = round_up(len);
    memset(at, 0, bytes - len);
    nadb_put_u32(out + NADB_RECORD_CHECK_AT, nadb_checksum32(out + 4, bytes - 4, seed));
    return bytes;
}

bool nadb_fs_record_verify(const char *bytes, size_t len, uint64_t seed)
{
    return len >= NADB_RECORD_HEADER_BYTES && len % NADB_FS_ALIGN == 0 &&
           nadb_get_u32(bytes + NADB_RECORD_CHECK_AT) == nadb_checksum32(bytes + 4, len - 4, seed);
}

size_t nadb_fs_record_span(const char *bytes, size_t len)
{
    if (len < NADB_RECORD_HEADER_BYTES) {
        return 0;
    }
    unsigned kind = (unsigned char)bytes[NADB_RECORD_KIND_AT];
    unsigned flags = nadb_get_u16(bytes + NADB_RECORD_FLAGS_AT);
    uint64_t key_len = nadb_get_u64(bytes + NADB_RECORD_CREATED_AT) >> NADB_RECORD_CREATED_BITS;
    uint32_t value_len = nadb_get_u32(bytes + NADB_RECORD_VALUE_LEN_AT);
    uint32_t tags_len = nadb_get_u32(bytes + NADB_RECORD_TAGS_LEN_AT);
    if (key_len > NADB_KEY_LEN_MAX || value_len > NADB_VALUE_LEN_MAX ||
        tags_len > NADB_TAGS_PACKED_MAX) {
        return 0;
    }
    bool has_value = nadb_entry_has_value((enum nadb_entry_kind)kind);
    size_t body = (size_t)key_len + (has_value ? (size_t)value_len : 0) + tags_len;
    return round_up(head_bytes(flags) + body);
}

enum nadb_fs_check nadb_fs_record_value(const struct nadb_entry *entry, void *out, size_t len)
{
    if (nadb_fs_record_value_len(entry) != len) {
        return NADB_FS_BAD;
    }
    if (entry->codec == NADB_CODEC_ZLIB) {
        return nadb_decompress(entry->value, out, len) ? NADB_FS_GOOD : NADB_FS_BAD;
    }
    if (len > 0) {
        memcpy(out, entry->value.data, len);
    }
    return NADB_FS_GOOD;
}

static bool are_tags_whole(struct nadb_slice tags)
{
    size_t at = 0;
    while (at < tags.len) {
        if (tags.len - at < 2) {
            return false;
        }
        size_t len = nadb_get_u16(tags.data + at);
        if (len > NADB_TAG_LEN_MAX || len > tags.len - at - 2) {
            return false;
        }
        at += 2 + len;
    }
    return true;
}

/* Could the value have become this short? */
static bool is_raw_len_possible(const struct nadb_entry *entry, uint64_t raw_len)
{
    return raw_len > entry->value.len && raw_len <= NADB_VALUE_LEN_MAX &&
           raw_len / NADB_COMPRESS_RATIO_MAX <= entry->value.len;
}

static void get_optional(const char *at, unsigned flags, struct nadb_entry *entry)
{
    entry->updated_ms = entry->created_ms;
    entry->expire_ms = 0;
    if (flags & NADB_RECORD_HAS_UPDATED) {
        entry->updated_ms = nadb_get_u64(at);
        at += 8;
    }
    if (flags & NADB_RECORD_HAS_EXPIRE) {
        entry->expire_ms = nadb_get_u64(at);
        at += 8;
    }
    entry->accessed_s = (uint32_t)(entry->updated_ms / 1000);
    if (flags & NADB_RECORD_HAS_ACCESSED) {
        entry->accessed_s = (uint32_t)nadb_get_u64(at);
        at += 8;
    }
    if (flags & NADB_RECORD_HAS_RAW_LEN) {
        uint64_t raw_len = nadb_get_u64(at);
        entry->raw_len = is_raw_len_possible(entry, raw_len) ? (uint32_t)raw_len : 0;
    }
}

enum nadb_fs_check nadb_fs_record_get(
    const char *bytes, size_t len, struct nadb_entry *ret, size_t *ret_bytes)
{
    if (len < NADB_RECORD_HEADER_BYTES) {
        return NADB_FS_BAD;
    }
    unsigned kind = (unsigned char)bytes[NADB_RECORD_KIND_AT];
    unsigned flags = nadb_get_u16(bytes + NADB_RECORD_FLAGS_AT);
    unsigned codec = (unsigned char)bytes[NADB_RECORD_CODEC_AT];
    if (kind < NADB_ENTRY_PUT || kind > NADB_ENTRY_INVALIDATE || codec > NADB_CODEC_ZLIB ||
        (flags & ~(unsigned)NADB_RECORD_FLAGS_KNOWN) != 0) {
        return NADB_FS_NEWER;
    }
    bool is_put = kind == NADB_ENTRY_PUT;
    bool has_value = nadb_entry_has_value((enum nadb_entry_kind)kind);
    uint64_t version = nadb_get_u64(bytes + NADB_RECORD_VERSION_AT);
    uint64_t created = nadb_get_u64(bytes + NADB_RECORD_CREATED_AT);
    uint64_t key_len = created >> NADB_RECORD_CREATED_BITS;
    uint32_t value_len = nadb_get_u32(bytes + NADB_RECORD_VALUE_LEN_AT);
    uint32_t tags_len = nadb_get_u32(bytes + NADB_RECORD_TAGS_LEN_AT);
    bool is_encoded = codec != NADB_CODEC_RAW;
    if (is_encoded != ((flags & NADB_RECORD_HAS_RAW_LEN) != 0) || key_len > NADB_KEY_LEN_MAX ||
        (!is_put && (flags != 0 || tags_len != 0)) ||
        (has_value && value_len > NADB_VALUE_LEN_MAX) || tags_len > NADB_TAGS_PACKED_MAX ||
        (kind == NADB_ENTRY_NAME && (value_len > UINT16_MAX || key_len > NADB_NAMESPACE_LEN_MAX))) {
        return NADB_FS_BAD;
    }
    size_t body = (size_t)key_len + (has_value ? (size_t)value_len : 0) + tags_len;
    size_t total = round_up(head_bytes(flags) + body);
    if (total > len) {
        return NADB_FS_BAD;
    }
    *ret = (struct nadb_entry){
        .kind = (enum nadb_entry_kind)kind,
        .codec = (enum nadb_codec)codec,
        .keyspace = (uint16_t)version,
        .version = version >> KEYSPACE_BITS,
    };
    const char *at = bytes + head_bytes(flags);
    ret->key = nadb_slice_of(at, (size_t)key_len);
    if (has_value) {
        ret->value = nadb_slice_of(at + key_len, value_len);
    }
    if (is_put) {
        ret->created_ms = created & LOW_BITS(NADB_RECORD_CREATED_BITS);
        get_optional(bytes + NADB_RECORD_HEADER_BYTES, flags, ret);
        ret->tags = nadb_slice_of(at + key_len + value_len, tags_len);
        if (!are_tags_whole(ret->tags) || (is_encoded && ret->raw_len == 0)) {
            return NADB_FS_BAD;
        }
    } else if (kind == NADB_ENTRY_NAME) {
        ret->db = (uint16_t)value_len;
    }
    *ret_bytes = total;
    return NADB_FS_GOOD;
}
