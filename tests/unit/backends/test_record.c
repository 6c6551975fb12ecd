/* This file tests the bytes of records. */
#include "backends/fs/record.h"

#include <string.h>

#include "src/base/codec.h"
#include "src/base/compress.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(record);

#define SEED 77u

static struct nadb_entry fresh_entry(void)
{
    return (struct nadb_entry){
        .kind = NADB_ENTRY_PUT,
        .keyspace = 65535,
        .version = (UINT64_C(1) << 48) - 1,
        .key = NADB_SLICE("0123456789abcdef"),
        .value = NADB_SLICE("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        .created_ms = 1700000000123,
        .updated_ms = 1700000000123,
        .accessed_s = 1700000000,
    };
}

static void check_round_trip(const struct nadb_entry *entry)
{
    char bytes[512];
    size_t len = nadb_fs_record_put(bytes, entry, SEED);
    cr_assert_eq(len, nadb_fs_record_bytes(entry));
    cr_assert(nadb_fs_record_verify(bytes, len, SEED));
    struct nadb_entry got;
    size_t got_len = 0;
    cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &got_len), NADB_FS_GOOD);
    cr_assert_eq(got_len, len);
    cr_assert_eq(got.kind, entry->kind);
    cr_assert_eq(got.keyspace, entry->keyspace);
    cr_assert_eq(got.db, entry->db);
    cr_assert_eq(got.version, entry->version);
    cr_assert(nadb_slice_eq(got.key, entry->key));
    cr_assert(nadb_slice_eq(got.value, entry->value));
    cr_assert(nadb_slice_eq(got.tags, entry->tags));
    cr_assert_eq(got.created_ms, entry->created_ms);
    cr_assert_eq(got.updated_ms, entry->updated_ms);
    cr_assert_eq(got.expire_ms, entry->expire_ms);
    cr_assert_eq(got.accessed_s, entry->accessed_s);
}

Test(record, a_fresh_record_takes_32_bytes_more_than_key_and_value)
{
    struct nadb_entry entry = fresh_entry();
    cr_assert_eq(nadb_fs_record_bytes(&entry), 16 + 64 + 32);
}

Test(record, every_part_comes_back)
{
    struct nadb_entry entry = fresh_entry();
    check_round_trip(&entry);
    entry.expire_ms = (UINT64_C(1) << 42) - 1;
    check_round_trip(&entry);
    entry.updated_ms = 1700000099999;
    check_round_trip(&entry);
    entry.accessed_s = 5;
    check_round_trip(&entry);
    entry.tags = NADB_SLICE("\x03\x00tag\x00\x00");
    check_round_trip(&entry);
    entry.value = NADB_SLICE("");
    entry.key = NADB_SLICE("");
    check_round_trip(&entry);
}

Test(record, other_kinds_come_back)
{
    struct nadb_entry name = {
        .kind = NADB_ENTRY_NAME, .keyspace = 7, .db = 65535, .version = 9, .key = NADB_SLICE("ns")};
    check_round_trip(&name);
    struct nadb_entry delete = {.kind = NADB_ENTRY_DELETE, .version = 1, .key = NADB_SLICE("k")};
    check_round_trip(&delete);
    struct nadb_entry clear = {.kind = NADB_ENTRY_CLEAR, .keyspace = 1, .version = 2};
    check_round_trip(&clear);
    struct nadb_entry drop = {.kind = NADB_ENTRY_DROP, .keyspace = 1, .version = 3};
    check_round_trip(&drop);
}

Test(record, the_longest_key_fits)
{
    static char key[NADB_KEY_LEN_MAX];
    static char bytes[NADB_KEY_LEN_MAX + 128];
    struct nadb_entry entry = fresh_entry();
    entry.key = nadb_slice_of(key, sizeof(key));
    size_t len = nadb_fs_record_put(bytes, &entry, SEED);
    struct nadb_entry got;
    cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_GOOD);
    cr_assert_eq(got.key.len, NADB_KEY_LEN_MAX);
}

Test(record, any_changed_bit_and_any_other_place_fails_verification)
{
    char bytes[512];
    struct nadb_entry entry = fresh_entry();
    size_t len = nadb_fs_record_put(bytes, &entry, SEED);
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << (bit % 8)));
        cr_assert_not(nadb_fs_record_verify(bytes, len, SEED), "bit %zu", bit);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << (bit % 8)));
    }
    cr_assert_not(nadb_fs_record_verify(bytes, len, SEED + 8));
}

Test(record, a_record_that_is_not_all_there_is_refused)
{
    char bytes[512];
    struct nadb_entry entry = fresh_entry();
    size_t len = nadb_fs_record_put(bytes, &entry, SEED);
    for (size_t part = 0; part < len; part++) {
        struct nadb_entry got;
        size_t got_len;
        cr_assert_eq(nadb_fs_record_get(bytes, part, &got, &got_len), NADB_FS_BAD);
    }
}

Test(record, what_a_newer_version_wrote_is_told_from_damage)
{
    static const struct {
        size_t at;
        char byte;
    } cases[] = {
        {NADB_RECORD_KIND_AT, NADB_ENTRY_INVALIDATE + 1},
        {NADB_RECORD_KIND_AT, 0},
        {NADB_RECORD_CODEC_AT, NADB_CODEC_ZLIB + 1},
        {NADB_RECORD_FLAGS_AT, 16},
        {NADB_RECORD_FLAGS_AT + 1, 1},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        char bytes[512];
        struct nadb_entry entry = fresh_entry();
        size_t len = nadb_fs_record_put(bytes, &entry, SEED);
        bytes[cases[i].at] = cases[i].byte;
        struct nadb_entry got;
        cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_NEWER, "case %zu", i);
    }
}

/* 4,000 equal bytes, compressed; `packed` has 100 bytes. */
static struct nadb_entry packed_entry(char *packed)
{
    static char value[4000];
    struct nadb_compressor compressor = {0};
    struct nadb_entry entry = fresh_entry();
    memset(value, 'v', sizeof(value));
    size_t len = nadb_compress(&compressor, 6, nadb_slice_of(value, sizeof(value)), packed, 100);
    cr_assert_gt(len, 0);
    nadb_compressor_fini(&compressor);
    entry.codec = NADB_CODEC_ZLIB;
    entry.raw_len = sizeof(value);
    entry.value = nadb_slice_of(packed, len);
    return entry;
}

Test(record, a_compressed_value_comes_back_as_it_was)
{
    char packed[100];
    char bytes[512];
    char value[4001];
    struct nadb_entry entry = packed_entry(packed);
    size_t len = nadb_fs_record_put(bytes, &entry, SEED);
    struct nadb_entry got;
    cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_GOOD);
    cr_assert_eq(len, nadb_fs_record_bytes(&entry));
    cr_assert_eq(nadb_fs_record_value_len(&got), 4000);
    cr_assert_eq(nadb_fs_record_value(&got, value, 4000), NADB_FS_GOOD);
    for (size_t i = 0; i < 4000; i++) {
        cr_assert_eq(value[i], 'v');
    }
    cr_assert_eq(nadb_fs_record_value(&got, value, 3999), NADB_FS_BAD);
    cr_assert_eq(nadb_fs_record_value(&got, value, 4001), NADB_FS_BAD);
}

Test(record, a_compressed_value_with_an_impossible_length_is_refused_before_it_is_expanded)
{
    char packed[100];
    char bytes[512];
    static const uint64_t lens[] = {
        0, 5, NADB_VALUE_LEN_MAX, (uint64_t)NADB_VALUE_LEN_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < NADB_ARRAY_LEN(lens); i++) {
        struct nadb_entry entry = packed_entry(packed);
        entry.updated_ms = entry.created_ms;
        entry.expire_ms = 0;
        entry.accessed_s = (uint32_t)(entry.updated_ms / 1000);
        size_t len = nadb_fs_record_put(bytes, &entry, SEED);
        nadb_put_u64(bytes + NADB_RECORD_HEADER_BYTES, lens[i]);
        struct nadb_entry got;
        cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_BAD, "case %zu", i);
    }
}

Test(record, absurd_lengths_are_refused)
{
    static const struct {
        size_t at;
        uint32_t value;
    } cases[] = {
        {NADB_RECORD_VALUE_LEN_AT, UINT32_MAX},
        {NADB_RECORD_VALUE_LEN_AT, NADB_VALUE_LEN_MAX + 1},
        {NADB_RECORD_VALUE_LEN_AT, 65},
        {NADB_RECORD_TAGS_LEN_AT, UINT32_MAX},
        {NADB_RECORD_TAGS_LEN_AT, NADB_TAGS_PACKED_MAX + 1},
        {NADB_RECORD_CREATED_AT + 4, UINT32_MAX},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        char bytes[512];
        struct nadb_entry entry = fresh_entry();
        size_t len = nadb_fs_record_put(bytes, &entry, SEED);
        nadb_put_u32(bytes + cases[i].at, cases[i].value);
        struct nadb_entry got;
        cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_BAD, "case %zu", i);
    }
}

Test(record, tags_that_do_not_add_up_are_refused)
{
    char bytes[512];
    struct nadb_entry entry = fresh_entry();
    entry.tags = NADB_SLICE("\x04\x00tag");
    size_t len = nadb_fs_record_put(bytes, &entry, SEED);
    struct nadb_entry got;
    cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_BAD);
    entry.tags = NADB_SLICE("\x03\x00tag\x01");
    len = nadb_fs_record_put(bytes, &entry, SEED);
    cr_assert_eq(nadb_fs_record_get(bytes, len, &got, &len), NADB_FS_BAD);
}
