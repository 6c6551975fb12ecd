/* This file checks records as the engine has them. */
#include "backends/redis/record.h"

#include "tests/support/test.h"

NADB_TEST_SUITE(redis_record);

#define KEY      NADB_SLICE("key")
#define IDENTITY nadb_redis_identity((struct nadb_place){.db = 0}, KEY)

struct bytes {
    char data[512];
    size_t len;
};

static struct nadb_redis_record a_record(void)
{
    return (struct nadb_redis_record){.stamp = UINT64_C(0x0123456789abcdef),
        .entry = {
            .kind = NADB_ENTRY_PUT,
            .raw_len = 9,
            .value = NADB_SLICE("\0value\r\n\xff"),
            .tags = NADB_SLICE("\x01\x00y\x03\x00tag"),
            .created_ms = 1111,
            .updated_ms = 2222,
            .expire_ms = 3333,
        }};
}

static void write_all(const struct nadb_redis_record *record, uint64_t identity, struct bytes *ret)
{
    nadb_redis_record_write(record, identity, ret->data);
    ret->len = NADB_REDIS_RECORD_HEAD;
    const struct nadb_slice parts[] = {record->entry.tags, record->entry.value};
    for (size_t i = 0; i < 2; i++) {
        if (parts[i].len > 0) {
            memcpy(ret->data + ret->len, parts[i].data, parts[i].len);
        }
        ret->len += parts[i].len;
    }
}

static struct nadb_slice slice_of(const struct bytes *bytes)
{
    return nadb_slice_of(bytes->data, bytes->len);
}

Test(redis_record, is_read_as_it_was_written)
{
    struct nadb_redis_record record = a_record();
    struct nadb_redis_record back;
    struct bytes bytes;
    write_all(&record, IDENTITY, &bytes);
    cr_assert(nadb_redis_record_read(slice_of(&bytes), IDENTITY, true, &back));
    cr_assert_eq(back.stamp, record.stamp);
    cr_assert_eq(back.entry.kind, NADB_ENTRY_PUT);
    cr_assert_eq(back.entry.created_ms, 1111);
    cr_assert_eq(back.entry.updated_ms, 2222);
    cr_assert_eq(back.entry.expire_ms, 3333);
    cr_assert(nadb_slice_eq(back.entry.tags, record.entry.tags));
    cr_assert(nadb_slice_eq(back.entry.value, record.entry.value));
}

Test(redis_record, without_tags_and_value_it_is_the_head)
{
    struct nadb_redis_record record = {.stamp = 1};
    struct nadb_redis_record back;
    struct bytes bytes;
    write_all(&record, IDENTITY, &bytes);
    cr_assert_eq(bytes.len, NADB_REDIS_RECORD_HEAD);
    cr_assert(nadb_redis_record_read(slice_of(&bytes), IDENTITY, true, &back));
    cr_assert_eq(back.entry.value.len + back.entry.tags.len, 0);
}

Test(redis_record, the_head_is_enough_without_the_value)
{
    struct nadb_redis_record record = a_record();
    struct nadb_redis_record back;
    struct bytes bytes;
    write_all(&record, IDENTITY, &bytes);
    size_t head_len = bytes.len - record.entry.value.len;
    cr_assert(nadb_redis_record_read(nadb_slice_of(bytes.data, head_len), IDENTITY, false, &back));
    cr_assert_eq(back.entry.raw_len, 9);
    cr_assert_eq(back.entry.value.len, 0);
    cr_assert(nadb_slice_eq(back.entry.tags, record.entry.tags));
}

Test(redis_record, no_byte_of_it_may_be_another)
{
    struct nadb_redis_record record = a_record();
    struct nadb_redis_record back;
    struct bytes bytes;
    write_all(&record, IDENTITY, &bytes);
    for (size_t i = 0; i < bytes.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.data[i] = (char)(bytes.data[i] ^ (char)(1u << bit));
            cr_assert_not(
                nadb_redis_record_read(slice_of(&bytes), IDENTITY, true, &back), "byte %zu", i);
            bytes.data[i] = (char)(bytes.data[i] ^ (char)(1u << bit));
        }
    }
}

Test(redis_record, no_length_of_it_may_be_another)
{
    struct nadb_redis_record record = a_record();
    struct nadb_redis_record back;
    struct bytes bytes;
    write_all(&record, IDENTITY, &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        cr_assert_not(
            nadb_redis_record_read(nadb_slice_of(bytes.data, len), IDENTITY, true, &back));
    }
    bytes.data[bytes.len++] = '\0';
    cr_assert_not(nadb_redis_record_read(slice_of(&bytes), IDENTITY, true, &back));
}

Test(redis_record, that_of_another_key_or_keyspace_is_refused)
{
    const uint64_t others[] = {
        nadb_redis_identity((struct nadb_place){.db = 0}, NADB_SLICE("yek")),
        nadb_redis_identity((struct nadb_place){.db = 1}, KEY),
        nadb_redis_identity((struct nadb_place){.db = 0, .name = NADB_SLICE("n")}, KEY),
    };
    struct nadb_redis_record record = a_record();
    struct nadb_redis_record back;
    struct bytes bytes;
    write_all(&record, IDENTITY, &bytes);
    for (size_t i = 0; i < NADB_ARRAY_LEN(others); i++) {
        cr_assert_not(nadb_redis_record_read(slice_of(&bytes), others[i], true, &back));
    }
}

/* The same record without what makes it a full one. */
static void write_plain(struct bytes *ret)
{
    struct nadb_redis_record record = a_record();
    struct bytes bytes;
    record.entry.tags = nadb_slice_of(NULL, 0);
    record.entry.expire_ms = 0;
    cr_assert(nadb_redis_record_is_plain(&record.entry));
    write_all(&record, IDENTITY, &bytes);
    ret->len = bytes.len - NADB_REDIS_RECORD_CREATED;
    memcpy(ret->data, bytes.data + NADB_REDIS_RECORD_CREATED, ret->len);
}

Test(redis_record, a_plain_one_is_read_as_it_was_written_but_for_its_creation)
{
    struct nadb_redis_record record = a_record();
    struct nadb_redis_record back;
    struct bytes bytes;
    write_plain(&bytes);
    cr_assert_eq(bytes.len, NADB_REDIS_PLAIN_HEAD + record.entry.value.len);
    cr_assert(nadb_redis_record_read_plain(slice_of(&bytes), IDENTITY, true, &back));
    cr_assert_eq(back.stamp, record.stamp);
    cr_assert_eq(back.entry.created_ms, 0);
    cr_assert_eq(back.entry.updated_ms, 2222);
    cr_assert_eq(back.entry.expire_ms, 0);
    cr_assert_eq(back.entry.tags.len, 0);
    cr_assert(nadb_slice_eq(back.entry.value, record.entry.value));
    bytes.len = NADB_REDIS_PLAIN_HEAD;
    cr_assert(nadb_redis_record_read_plain(slice_of(&bytes), IDENTITY, false, &back));
    cr_assert_eq(back.entry.raw_len, 9);
    cr_assert_not(nadb_redis_record_is_plain(&record.entry));
}

Test(redis_record, of_a_plain_one_no_byte_and_no_length_may_be_another)
{
    struct nadb_redis_record back;
    struct bytes bytes;
    write_plain(&bytes);
    for (size_t i = 0; i < bytes.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.data[i] = (char)(bytes.data[i] ^ (char)(1u << bit));
            cr_assert_not(nadb_redis_record_read_plain(slice_of(&bytes), IDENTITY, true, &back));
            bytes.data[i] = (char)(bytes.data[i] ^ (char)(1u << bit));
        }
    }
    for (size_t len = 0; len < bytes.len; len++) {
        cr_assert_not(
            nadb_redis_record_read_plain(nadb_slice_of(bytes.data, len), IDENTITY, true, &back));
    }
}

Test(redis_record, the_time_of_creation_can_be_taken_over_from_another)
{
    struct nadb_redis_record record = a_record();
    struct nadb_redis_record back;
    struct bytes old;
    struct bytes bytes;
    write_all(&record, IDENTITY, &old);
    record.stamp = 2;
    record.entry.created_ms = 9999;
    write_all(&record, IDENTITY, &bytes);
    memcpy(bytes.data + NADB_REDIS_RECORD_BEGIN, old.data + NADB_REDIS_RECORD_BEGIN,
        NADB_REDIS_RECORD_CREATED - NADB_REDIS_RECORD_BEGIN); /* as lua/commit.lua does */
    cr_assert(nadb_redis_record_read(slice_of(&bytes), IDENTITY, true, &back));
    cr_assert_eq(back.stamp, 2);
    cr_assert_eq(back.entry.created_ms, 1111);
}
