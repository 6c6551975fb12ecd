/* This file checks the names of things in the engine. */
#include "backends/redis/names.h"

#include "src/base/compiler.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(redis_names);

Test(redis_names, a_slot_is_that_of_a_cluster)
{
    /* As CLUSTER KEYSLOT says. */
    cr_assert_eq(nadb_redis_slot(NADB_SLICE("123456789")), 0x31c3 % NADB_REDIS_SLOTS);
    cr_assert_eq(nadb_redis_slot(NADB_SLICE("foo")), 12182);
    cr_assert_eq(nadb_redis_slot(NADB_SLICE("foo{hash_tag}")), 2515);
    cr_assert_eq(nadb_redis_slot(NADB_SLICE("")), 0);
}

Test(redis_names, keys_with_the_same_hash_tag_share_a_partition)
{
    for (uint32_t partitions = 1; partitions < 500; partitions += 7) {
        uint32_t partition = nadb_redis_partition(NADB_SLICE("user"), partitions);
        cr_assert_lt(partition, partitions);
        cr_assert_eq(nadb_redis_partition(NADB_SLICE("a{user}b"), partitions), partition);
        cr_assert_eq(nadb_redis_partition(NADB_SLICE("{user}{other}"), partitions), partition);
    }
}

Test(redis_names, an_empty_or_open_hash_tag_is_none)
{
    struct nadb_slice cases[] = {NADB_SLICE("{}a"), NADB_SLICE("{a"), NADB_SLICE("a}{")};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        cr_assert_neq(nadb_redis_slot(cases[i]), nadb_redis_slot(NADB_SLICE("a")), "%zu", i);
        cr_assert_neq(nadb_redis_slot(cases[i]), 0, "%zu", i);
    }
}

Test(redis_names, a_space_is_read_as_it_was_written)
{
    struct nadb_place places[] = {{.db = 0}, {.db = UINT64_MAX}, {.db = 7, .name = NADB_SLICE("a")},
        {.db = 7, .name = NADB_SLICE("1.2:")}, {.db = 0, .name = NADB_SLICE(":")},
        {.db = 0, .name = NADB_SLICE("\0\r\n")}};
    for (size_t i = 0; i < NADB_ARRAY_LEN(places); i++) {
        char text[NADB_REDIS_SPACE_MAX];
        struct nadb_place back;
        size_t len = nadb_redis_space(places[i], text);
        cr_assert(nadb_redis_space_parse(nadb_slice_of(text, len), &back), "%zu", i);
        cr_assert_eq(back.db, places[i].db);
        cr_assert(nadb_slice_eq(back.name, places[i].name));
    }
}

Test(redis_names, no_space_is_the_beginning_of_another)
{
    struct nadb_place places[] = {{.db = 1}, {.db = 11}, {.db = 1, .name = NADB_SLICE("1")},
        {.db = 1, .name = NADB_SLICE("1:")}, {.db = 1, .name = NADB_SLICE("1:1")}};
    char texts[NADB_ARRAY_LEN(places)][NADB_REDIS_SPACE_MAX];
    size_t lens[NADB_ARRAY_LEN(places)];
    for (size_t i = 0; i < NADB_ARRAY_LEN(places); i++) {
        lens[i] = nadb_redis_space(places[i], texts[i]);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(places); i++) {
        for (size_t j = 0; j < NADB_ARRAY_LEN(places); j++) {
            cr_assert(i == j || lens[i] > lens[j] || memcmp(texts[i], texts[j], lens[i]) != 0);
        }
    }
}

Test(redis_names, what_is_no_space_is_refused)
{
    struct nadb_slice cases[] = {NADB_SLICE(""), NADB_SLICE(":"), NADB_SLICE("0"),
        NADB_SLICE("0::"), NADB_SLICE("x:"), NADB_SLICE("0.1:"), NADB_SLICE("0.1.:"),
        NADB_SLICE("0.2.a:"), NADB_SLICE("0.1.ab:"), NADB_SLICE("0.0.:"), NADB_SLICE("01:"),
        NADB_SLICE("0.1.a"), NADB_SLICE("-1:")};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_place place;
        cr_assert_not(nadb_redis_space_parse(cases[i], &place), "%zu", i);
    }
}
