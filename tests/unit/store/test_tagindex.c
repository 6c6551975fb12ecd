/* This file tests the tag index: members of a tag, ids, and selections against a plain table. */
#include "src/store/tagindex.h"

#include "src/base/mem.h"
#include "src/base/random.h"
#include "src/store/packed.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(tagindex);

static const struct nadb_hash_key hash_key = {1, 2};

static void check(const struct nadb_tagindex *index)
{
    const char *reason = NULL;
    cr_assert(nadb_tagindex__check(index, &reason), "%s", reason);
}

/* ---- one tag ---- */

Test(tagindex, a_tag_holds_what_was_added_in_every_form_it_takes)
{
    struct nadb_tag *tag = nadb_tag_new(NADB_SLICE("t"));
    enum { COUNT = 3000 };
    for (uint32_t i = 0; i < COUNT; i++) {
        nadb_tag_add(tag, i * 7919 % 100003);
        cr_assert_eq(tag->count, i + 1);
    }
    cr_assert_eq(tag->cap, NADB_TAG_IS_BITMAP);
    for (uint32_t i = 0; i < COUNT; i++) {
        cr_assert(nadb_tag_has(tag, i * 7919 % 100003));
    }
    for (uint32_t i = 0; i < COUNT - 1; i++) {
        nadb_tag_remove(tag, i * 7919 % 100003);
        cr_assert_not(nadb_tag_has(tag, i * 7919 % 100003));
        cr_assert(nadb_tag_has(tag, (COUNT - 1) * 7919 % 100003));
    }
    cr_assert_eq(tag->cap, 0, "a single member is kept in the tag");
    nadb_tag_free(tag);
}

Test(tagindex, a_tag_at_the_edge_between_array_and_bitmap_does_not_flap)
{
    struct nadb_tag *tag = nadb_tag_new(NADB_SLICE("t"));
    for (uint32_t i = 0; i <= NADB_TAG_ARRAY_MAX; i++) {
        nadb_tag_add(tag, i);
    }
    cr_assert_eq(tag->cap, NADB_TAG_IS_BITMAP);
    nadb_tag_remove(tag, 0);
    cr_assert_eq(tag->cap, NADB_TAG_IS_BITMAP);
    for (uint32_t i = 1; i <= NADB_TAG_ARRAY_MAX / 2; i++) {
        nadb_tag_remove(tag, i);
    }
    cr_assert_neq(tag->cap, NADB_TAG_IS_BITMAP);
    cr_assert_eq(tag->count, NADB_TAG_ARRAY_MAX / 2);
    nadb_tag_free(tag);
}

Test(tagindex, a_small_tag_takes_little_memory)
{
    struct nadb_tag *tag = nadb_tag_new(NADB_SLICE("sixteen-byte-tag"));
    nadb_tag_add(tag, 1);
    nadb_tag_add(tag, 2);
    cr_assert_leq(nadb_tag_bytes(tag), 96);
    nadb_tag_free(tag);
}

/* ---- records ---- */

/* A record whose tags are the bits of `tags`: "a", "b", ... */
static struct nadb_rec *make_rec(unsigned key, unsigned tags)
{
    struct nadb_blob *blob = NULL;
    if (tags != 0) {
        blob = nadb_blob_new(64);
        cr_assert_not_null(blob);
        for (unsigned bit = 0; bit < 8; bit++) {
            if (tags & (1u << bit)) {
                nadb_put_u16(blob->data + blob->len, 1);
                blob->data[blob->len + 2] = (char)('a' + bit);
                blob->len += 3;
            }
        }
    }
    return nadb_rec_new(&(struct nadb_rec_parts){
        .key = nadb_slice_of((const char *)&key, sizeof(key)), .tags = blob});
}

enum { RECS = 64 };

struct table {
    struct nadb_tagindex *index;
    struct nadb_rec *recs[RECS];
    unsigned tags[RECS];
};

static void put(struct table *table, unsigned at, unsigned tags)
{
    struct nadb_rec *old = table->recs[at];
    unsigned old_tags = table->tags[at];
    struct nadb_rec *rec = make_rec(at, tags);
    if (old_tags != 0 && tags != 0) {
        uint32_t id = nadb_rec_tags_part(old)->id;
        nadb_tagindex_replace(table->index, old, rec);
        cr_assert_eq(nadb_rec_tags_part(rec)->id, id, "a key keeps its id");
    } else if (old_tags != 0) {
        nadb_tagindex_remove(table->index, old);
    } else if (tags != 0) {
        nadb_tagindex_add(table->index, rec);
    }
    if (old != NULL) {
        nadb_rec_free(old);
    }
    table->recs[at] = rec;
    table->tags[at] = tags;
}

static void table_init(struct table *table)
{
    *table = (struct table){.index = nadb_tagindex_new(&hash_key)};
}

static void table_fini(struct table *table)
{
    nadb_tagindex_free(table->index);
    for (unsigned i = 0; i < RECS; i++) {
        if (table->recs[i] != NULL) {
            nadb_rec_free(table->recs[i]);
        }
    }
}

Test(tagindex, is_empty_again_when_the_last_tag_goes)
{
    struct table table;
    table_init(&table);
    put(&table, 0, 3);
    put(&table, 1, 2);
    cr_assert_eq(table.index->names.count, 2);
    cr_assert_eq(table.index->memberships, 3);
    put(&table, 0, 0);
    put(&table, 1, 0);
    cr_assert_eq(table.index->names.count, 0);
    cr_assert_eq(table.index->memberships + table.index->tagged, 0);
    check(table.index);
    table_fini(&table);
}

Test(tagindex, ids_are_used_again)
{
    struct table table;
    table_init(&table);
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 10; i++) {
            put(&table, i, 1 + round % 7);
        }
        for (unsigned i = 0; i < 10; i++) {
            put(&table, i, 0);
        }
    }
    cr_assert_leq(table.index->id_limit, 10);
    check(table.index);
    table_fini(&table);
}

/* A random expression over the tags; depth bounds it. */
static size_t some_text(struct nadb_rng *rng, char *out, unsigned depth)
{
    uint64_t which = nadb_rng_below(rng, depth == 0 ? 2 : 6);
    size_t len = 0;
    if (which == 0) {
        out[len++] = nadb_rng_below(rng, 8) == 0 ? '*' : 'z';
    } else if (which == 1) {
        out[len++] = (char)('a' + nadb_rng_below(rng, 8));
    } else if (which == 2) {
        out[len++] = '!';
        len += some_text(rng, out + len, depth - 1);
    } else {
        out[len++] = '(';
        len += some_text(rng, out + len, depth - 1);
        out[len++] = which == 3 ? '&' : '|';
        len += some_text(rng, out + len, depth - 1);
        out[len++] = ')';
    }
    return len;
}

static void compare_selection(const struct table *table, struct nadb_rng *rng)
{
    char text[4096];
    size_t len = some_text(rng, text, 5);
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, nadb_slice_of(text, len), NULL, 0, NULL), NADB_OK);
    struct nadb_tag_result result;
    nadb_tagindex_select(table->index, &selector, &result);
    uint64_t count = 0;
    for (unsigned i = 0; i < RECS; i++) {
        if (table->recs[i] == NULL) {
            continue;
        }
        bool is_wanted = nadb_selector_matches(&selector, nadb_rec_tags(table->recs[i]));
        cr_assert_eq(
            nadb_tag_result_has(&result, table->recs[i]), is_wanted, "%.*s", (int)len, text);
        count += is_wanted && table->tags[i] != 0 ? 1 : 0;
    }
    cr_assert_eq(nadb_tag_result_count(table->index, &result), count, "%.*s", (int)len, text);
    nadb_bitmap_free(result.ids);
    nadb_selector_fini(&selector);
}

Test(tagindex, selections_are_what_each_record_says_of_itself)
{
    struct nadb_rng rng;
    nadb_rng_seed(&rng, 42);
    struct table table;
    table_init(&table);
    for (unsigned round = 0; round < 3000; round++) {
        unsigned tags = nadb_rng_below(&rng, 4) == 0 ? 0 : (unsigned)nadb_rng_below(&rng, 256);
        put(&table, (unsigned)nadb_rng_below(&rng, RECS), tags);
        compare_selection(&table, &rng);
        if (round % 100 == 0) {
            check(table.index);
        }
    }
    table_fini(&table);
}

Test(tagindex, many_tags_on_one_record_are_replaced_by_many_others)
{
    struct nadb_tagindex *index = nadb_tagindex_new(&hash_key);
    struct nadb_rec *recs[2];
    for (unsigned i = 0; i < 2; i++) {
        struct nadb_blob *blob = nadb_blob_new(8192);
        cr_assert_not_null(blob);
        for (unsigned tag = 0; tag < 1000; tag++) {
            nadb_put_u16(blob->data + blob->len, 2);
            nadb_put_u16(blob->data + blob->len + 2, (uint16_t)(tag + 500 * i));
            blob->len += 4;
        }
        recs[i] = nadb_rec_new(&(struct nadb_rec_parts){.key = NADB_SLICE("k"), .tags = blob});
    }
    nadb_tagindex_add(index, recs[0]);
    nadb_tagindex_replace(index, recs[0], recs[1]);
    check(index);
    cr_assert_eq(index->memberships, 1000);
    nadb_tagindex_remove(index, recs[1]);
    cr_assert_eq(index->names.count, 0);
    nadb_rec_free(recs[0]);
    nadb_rec_free(recs[1]);
    nadb_tagindex_free(index);
}

Test(tagindex, a_selector_over_large_sets_has_a_cost)
{
    struct table table;
    table_init(&table);
    put(&table, 0, 1);
    put(&table, 1, 3);
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, NADB_SLICE("a & b & none"), NULL, 0, NULL), 0);
    cr_assert_eq(nadb_tagindex_cost(table.index, &selector), 3 * sizeof(uint32_t));
    nadb_selector_fini(&selector);
    table_fini(&table);
}
