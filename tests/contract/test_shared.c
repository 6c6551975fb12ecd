/* This file holds what every shared backend must do (backends/shared.h), run against a real server
 * and a real cluster. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/registry.h"
#include "backends/shared.h"
#include "src/base/clock.h"
#include "src/base/codec.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/base/random.h"
#include "src/store/packed.h"
#include "src/store/selector.h"
#include "tests/support/engine.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(shared_contract);

#define PARTITIONS 8
#define TIMEOUT_MS 1500
#define WAIT_MS    15000
#define EXPIRES_MS 150
#define MEMORY_MAX ((size_t)4 << 20)

struct subject {
    struct nadb_engine engines[NADB_ENGINE_CLUSTER_COUNT];
    size_t engine_count;
    const struct nadb_backend_ops *ops;
    struct nadb_backend *backend;
    struct nadb_backend_open_info info;
    struct nadb_shared_settings settings;
    struct nadb_buf memory; /* of what ops point to; never moves */
    char prefix[32];
    uint64_t timeout_ms;
    uint64_t first_epoch; /* as it was told last */
};

typedef void clause_fn(struct subject *subject);

/* ---- the subject ---- */

static bool is_cluster(const struct subject *subject)
{
    return subject->engine_count > 1;
}

static struct nadb_backend *new_instance(struct subject *subject, uint32_t partitions)
{
    const char *urls[] = {subject->engines[0].url, subject->engines[1].url};
    struct nadb_backend_opts opts = {
        .urls = urls,
        .url_count = is_cluster(subject) ? 2 : 1,
        .is_cluster = is_cluster(subject),
        .prefix = subject->prefix,
        .partitions = partitions,
        .timeout_ms = subject->timeout_ms,
        .pool_size = 2,
    };
    return subject->ops->new_instance(&opts);
}

static void open_subject(struct subject *subject)
{
    struct nadb_error error;
    subject->backend = new_instance(subject, PARTITIONS);
    enum nadb_err err = subject->ops->open(subject->backend, &subject->info, &error);
    cr_assert_eq(err, NADB_OK, "%s", error.text);
}

static void close_subject(struct subject *subject)
{
    cr_assert_eq(subject->ops->close(subject->backend, NULL), NADB_OK);
    subject->ops->free(subject->backend);
    subject->backend = NULL;
}

static void run_clause(struct subject *subject, clause_fn *clause, unsigned number)
{
    (void)snprintf(subject->prefix, sizeof(subject->prefix), "c%u:", number);
    subject->ops = nadb_backend_find("redis");
    subject->settings = (struct nadb_shared_settings){.epochs_max = 1000};
    subject->timeout_ms = TIMEOUT_MS;
    nadb_buf_init(&subject->memory, MEMORY_MAX);
    cr_assert(nadb_buf_reserve(&subject->memory, MEMORY_MAX / 2));
    open_subject(subject);
    clause(subject);
    if (subject->backend != NULL) {
        close_subject(subject);
    }
    nadb_buf_fini(&subject->memory);
}

static void on_single(clause_fn *clause)
{
    struct subject subject = {.engine_count = 1};
    if (!nadb_engine_exists()) {
        cr_skip_test("no redis-server");
    }
    nadb_engine_make(&subject.engines[0], false);
    run_clause(&subject, clause, 0);
    nadb_engine_remove(&subject.engines[0]);
}

/* A clause is a test of its own with a single server; the cluster has a list of them. */
#define CLAUSE(name)                                                                               \
    static void name(struct subject *subject);                                                     \
    Test(shared_contract, name)                                                                    \
    {                                                                                              \
        on_single(name);                                                                           \
    }                                                                                              \
    static void name(struct subject *subject)

/* ---- operations ---- */

static struct nadb_slice keep(struct subject *subject, const void *data, size_t len)
{
    size_t at = subject->memory.len;
    cr_assert_leq(at + len, MEMORY_MAX / 2);
    cr_assert(nadb_buf_append(&subject->memory, data, len));
    return nadb_slice_of(subject->memory.data + at, len);
}

static void run_all(struct subject *subject, struct nadb_op *ops, size_t count)
{
    struct nadb_op *list[256];
    cr_assert_leq(count, NADB_ARRAY_LEN(list));
    for (size_t i = 0; i < count; i++) {
        list[i] = &ops[i];
    }
    subject->ops->shared->run(subject->backend, &subject->settings, list, count);
}

static void free_all(struct subject *subject, struct nadb_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        subject->ops->shared->op_free(&ops[i]);
    }
}

/* Runs one, which must go well. */
static void run_well(struct subject *subject, struct nadb_op *op)
{
    run_all(subject, op, 1);
    cr_assert_eq(op->err, NADB_OK, "%s: %s", nadb_err_name(op->err), op->error.text);
}

/* "a,b" packed. */
static struct nadb_slice pack(struct subject *subject, const char *tags)
{
    size_t from = subject->memory.len;
    while (*tags != '\0') {
        size_t len = strcspn(tags, ",");
        cr_assert(nadb_packed_add(&subject->memory, nadb_slice_of(tags, len)));
        tags += len + (tags[len] == ',');
    }
    return nadb_slice_of(subject->memory.data + from, subject->memory.len - from);
}

static uint64_t now_ms(void)
{
    return nadb_clock_wall_ms(nadb_clock_system());
}

static nadb_stamp new_stamp(struct subject *subject)
{
    return subject->backend->ops->shared->new_stamp(subject->backend);
}

static struct nadb_change put_change(struct subject *subject, const char *key,
    struct nadb_slice value, const char *tags, uint64_t expire_ms)
{
    return (struct nadb_change){.stamp = new_stamp(subject),
        .entry = {
            .kind = NADB_ENTRY_PUT,
            .key = keep(subject, key, strlen(key)),
            .value = value,
            .tags = pack(subject, tags),
            .created_ms = 1000,
            .updated_ms = 2000,
            .expire_ms = expire_ms,
        }};
}

static struct nadb_change delete_change(struct subject *subject, const char *key)
{
    return (struct nadb_change){
        .entry = {.kind = NADB_ENTRY_DELETE, .key = keep(subject, key, strlen(key))}};
}

static struct nadb_op commit_of(const struct nadb_change *changes, size_t count)
{
    return (struct nadb_op){.kind = NADB_OP_COMMIT, .changes = changes, .change_count = count};
}

static void commit(struct subject *subject, const struct nadb_change *changes, size_t count)
{
    struct nadb_op op = commit_of(changes, count);
    run_well(subject, &op);
    cr_assert_not(op.is_conflict);
    free_all(subject, &op, 1);
}

static void put_until(
    struct subject *subject, const char *key, const char *value, const char *tags, uint64_t expire)
{
    struct nadb_change change =
        put_change(subject, key, keep(subject, value, strlen(value)), tags, expire);
    commit(subject, &change, 1);
}

static void put(struct subject *subject, const char *key, const char *value, const char *tags)
{
    put_until(subject, key, value, tags, 0);
}

static void delete (struct subject *subject, const char *key)
{
    struct nadb_change change = delete_change(subject, key);
    commit(subject, &change, 1);
}

static struct nadb_op fetch_of(const char *key)
{
    return (struct nadb_op){
        .kind = NADB_OP_FETCH, .key = nadb_slice_cstr(key), .wants_value = true};
}

/* The stamp of a key; its value must be that, NULL: it must not be there. */
static nadb_stamp expect(struct subject *subject, const char *key, const char *value)
{
    struct nadb_op op = fetch_of(key);
    run_well(subject, &op);
    nadb_stamp stamp = op.found->stamp;
    if (value == NULL) {
        cr_assert_eq(stamp, 0, "'%s' is there", key);
    } else {
        cr_assert_neq(stamp, 0, "'%s' is not there", key);
        cr_assert(nadb_slice_eq(op.found->entry.value, nadb_slice_cstr(value)), "'%s' is '%.*s'",
            key, (int)op.found->entry.value.len, op.found->entry.value.data);
        cr_assert_eq(op.found->value_len, strlen(value));
    }
    free_all(subject, &op, 1);
    return stamp;
}

static uint64_t count_keys(struct subject *subject)
{
    struct nadb_op op = {.kind = NADB_OP_COUNT};
    run_well(subject, &op);
    uint64_t count = op.number;
    cr_assert_eq(op.space_count, 1);
    cr_assert_eq(op.spaces[0].keys, count);
    free_all(subject, &op, 1);
    return count;
}

static uint64_t count_tag(struct subject *subject, const char *tag)
{
    struct nadb_slice tags[] = {nadb_slice_cstr(tag)};
    struct nadb_op op = {.kind = NADB_OP_TAG_COUNTS, .tags = tags, .tag_count = 1};
    run_well(subject, &op);
    cr_assert_eq(op.tally_count, 1);
    uint64_t count = op.tallies[0].count;
    free_all(subject, &op, 1);
    return count;
}

/* A selector of the store's, packed. */
static struct nadb_slice select_text(struct subject *subject, const char *text, const char *pattern)
{
    struct nadb_selector selector;
    struct nadb_slice match = pattern == NULL ? nadb_slice_of(NULL, 0) : nadb_slice_cstr(pattern);
    nadb_selector_init(&selector);
    cr_assert_eq(nadb_selector_parse(&selector, nadb_slice_cstr(text), NULL, 0, NULL), NADB_OK);
    size_t from = subject->memory.len;
    cr_assert(nadb_selector_pack(&selector, match, &subject->memory));
    nadb_selector_fini(&selector);
    return nadb_slice_of(subject->memory.data + from, subject->memory.len - from);
}

static uint64_t count_selected(struct subject *subject, const char *text, const char *pattern)
{
    struct nadb_op op = {.kind = NADB_OP_SELECT, .selector = select_text(subject, text, pattern)};
    run_well(subject, &op);
    cr_assert_eq(op.found_count, 0);
    uint64_t count = op.number;
    free_all(subject, &op, 1);
    return count;
}

static struct nadb_op invalidate(struct subject *subject, const char *text, const char *pattern)
{
    struct nadb_op op = {
        .kind = NADB_OP_INVALIDATE, .selector = select_text(subject, text, pattern)};
    run_well(subject, &op);
    free_all(subject, &op, 1);
    return op;
}

static uint64_t ask_epoch(struct subject *subject)
{
    struct nadb_op op = {.kind = NADB_OP_EPOCH};
    run_well(subject, &op);
    uint64_t epoch = op.number;
    cr_assert_gt(op.epoch, 0);
    cr_assert(subject->first_epoch == 0 || subject->first_epoch == op.epoch);
    subject->first_epoch = op.epoch;
    cr_assert_geq(epoch, op.epoch);
    free_all(subject, &op, 1);
    return epoch;
}

static uint64_t tag_epoch(
    struct subject *subject, const char *key, const char *tag, uint64_t *ret_all)
{
    struct nadb_slice tags[] = {nadb_slice_cstr(tag)};
    struct nadb_op op = {
        .kind = NADB_OP_TAG_EPOCHS, .key = nadb_slice_cstr(key), .tags = tags, .tag_count = 1};
    run_well(subject, &op);
    uint64_t epoch = op.epochs[0];
    if (ret_all != NULL) {
        *ret_all = op.epoch;
    }
    free_all(subject, &op, 1);
    return epoch;
}

/* Members of all sets of the engine with this type of name. */
static long long count_names(struct subject *subject, const char *type)
{
    char script[256];
    long long sum = 0;
    for (size_t i = 0; i < subject->engine_count; i++) {
        if (subject->engines[i].pid == 0) {
            continue;
        }
        char role[16];
        nadb_engine_ask(&subject->engines[i], "ROLE", role, sizeof(role));
        if (strncmp(role, "master", 6) != 0) {
            continue;
        }
        (void)snprintf(script, sizeof(script), "EVAL return#redis.call('KEYS','%s{*}%s*') 0",
            subject->prefix, type);
        sum += nadb_engine_number(&subject->engines[i], script);
    }
    return sum;
}

/* ---- records ---- */

CLAUSE(what_was_put_is_fetched_whole)
{
    struct nadb_slice key = NADB_SLICE("\0key\r\n{\xff");
    struct nadb_change change = {.stamp = new_stamp(subject),
        .entry = {
            .kind = NADB_ENTRY_PUT,
            .key = key,
            .value = NADB_SLICE("\r\n\0value\x80"),
            .tags = pack(subject, "one,two"),
            .created_ms = 11,
            .updated_ms = 22,
            .expire_ms = now_ms() + 100000,
        }};
    commit(subject, &change, 1);
    struct nadb_op op = {.kind = NADB_OP_FETCH, .key = key, .wants_value = true};
    run_well(subject, &op);
    const struct nadb_entry *entry = &op.found->entry;
    cr_assert_neq(op.found->stamp, 0);
    cr_assert(nadb_slice_eq(entry->key, key));
    cr_assert(nadb_slice_eq(entry->value, change.entry.value));
    cr_assert(nadb_slice_eq(entry->tags, change.entry.tags));
    cr_assert_eq(entry->kind, NADB_ENTRY_PUT);
    cr_assert_eq(entry->created_ms, 11);
    cr_assert_eq(entry->updated_ms, 22);
    cr_assert_eq(entry->expire_ms, change.entry.expire_ms);
    cr_assert_eq(op.found->value_len, change.entry.value.len);
    free_all(subject, &op, 1);
}

CLAUSE(what_is_not_there_has_no_stamp)
{
    expect(subject, "nothing", NULL);
    delete (subject, "nothing");
    put(subject, "k", "v", "t");
    delete (subject, "k");
    expect(subject, "k", NULL);
    cr_assert_eq(count_keys(subject), 0);
}

CLAUSE(empty_keys_and_values_are_kept)
{
    put(subject, "", "value of the empty key", "");
    put(subject, "empty", "", "t");
    expect(subject, "", "value of the empty key");
    expect(subject, "empty", "");
    cr_assert_eq(count_keys(subject), 2);
}

CLAUSE(each_write_has_a_stamp_of_its_own)
{
    put(subject, "k", "same", "");
    nadb_stamp first = expect(subject, "k", "same");
    put(subject, "k", "same", "");
    nadb_stamp second = expect(subject, "k", "same");
    cr_assert_neq(first, second);
    delete (subject, "k");
    put(subject, "k", "same", "");
    cr_assert_neq(expect(subject, "k", "same"), second);
    close_subject(subject);
    open_subject(subject);
    put(subject, "k", "same", "");
    cr_assert_neq(expect(subject, "k", "same"), first);
}

CLAUSE(a_header_alone_has_all_but_the_value)
{
    char tags[4000] = "";
    for (size_t i = 0; i < 300; i++) {
        size_t len = strlen(tags);
        (void)snprintf(tags + len, sizeof(tags) - len, "%stag%zu", i == 0 ? "" : ",", i);
    }
    put(subject, "few", "0123456789", "t");
    put(subject, "many", "0123456789", tags);
    const char *keys[] = {"few", "many"};
    for (size_t i = 0; i < 2; i++) {
        struct nadb_op op = {
            .kind = NADB_OP_FETCH, .key = nadb_slice_cstr(keys[i]), .wants_times = i == 1};
        run_well(subject, &op);
        cr_assert_neq(op.found->stamp, 0);
        cr_assert_eq(op.found->value_len, 10);
        cr_assert_eq(op.found->entry.value.len, 0);
        cr_assert_eq(nadb_packed_count(op.found->entry.tags), i == 0 ? 1 : 300);
        if (i == 1) {
            cr_assert_leq(op.found->entry.accessed_s, now_ms() / 1000 + 1);
            cr_assert_geq(op.found->entry.accessed_s, now_ms() / 1000 - 60);
        }
        free_all(subject, &op, 1);
    }
}

CLAUSE(a_big_value_is_compressed_and_comes_back)
{
    size_t len = 1u << 20;
    char *value = nadb_mem_alloc(len);
    for (size_t i = 0; i < len; i++) {
        value[i] = (char)((size_t) "abcdefgh"[i % 8] + i / 100000);
    }
    subject->settings.compression =
        (struct nadb_compression){.is_on = true, .level = 1, .threshold_len = 100};
    struct nadb_change change = {.stamp = new_stamp(subject),
        .entry = {
            .kind = NADB_ENTRY_PUT, .key = NADB_SLICE("big"), .value = nadb_slice_of(value, len)}};
    commit(subject, &change, 1);
    struct nadb_op ops[] = {fetch_of("big"), fetch_of("big"), fetch_of("big")};
    ops[1].wants_value = false;
    run_all(subject, ops, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(ops[i].err, NADB_OK, "%s", ops[i].error.text);
        cr_assert_eq(ops[i].found->value_len, len);
        cr_assert(i == 1 || nadb_slice_eq(ops[i].found->entry.value, change.entry.value));
    }
    free_all(subject, ops, 3);
    long long kept = 0;
    for (unsigned i = 0; i < PARTITIONS * subject->engine_count; i++) {
        char command[96];
        (void)snprintf(
            command, sizeof(command), "STRLEN %s{%u}p:0:big", subject->prefix, i % PARTITIONS);
        long long number = nadb_engine_number(&subject->engines[i / PARTITIONS], command);
        kept = number > kept ? number : kept;
    }
    cr_assert_gt(kept, 100);
    cr_assert_lt(kept, (long long)len / 10);
    nadb_mem_free(value);
}

CLAUSE(keyspaces_are_apart)
{
    struct nadb_place places[] = {{.db = 0}, {.db = 1}, {.db = 0, .name = NADB_SLICE("1:")},
        {.db = 0, .name = NADB_SLICE("\0:")}};
    for (size_t i = 0; i < NADB_ARRAY_LEN(places); i++) {
        char value[2] = {(char)('0' + i), '\0'};
        struct nadb_change change = put_change(subject, "k", keep(subject, value, 1), "tag", 0);
        change.place = places[i];
        commit(subject, &change, 1);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(places); i++) {
        struct nadb_op op = fetch_of("k");
        op.place = places[i];
        run_well(subject, &op);
        cr_assert_eq(op.found->entry.value.data[0], '0' + (int)i);
        free_all(subject, &op, 1);
    }
    struct nadb_op op = {.kind = NADB_OP_SPACES};
    run_well(subject, &op);
    cr_assert_eq(op.space_count, 4);
    for (size_t i = 0; i < op.space_count; i++) {
        cr_assert_eq(op.spaces[i].keys, 1);
        cr_assert_eq(op.spaces[i].expires, 0);
    }
    free_all(subject, &op, 1);
}

/* Writes garbage over what the key has under names of this type. */
static void damage(struct subject *subject, const char *key, char type)
{
    for (unsigned i = 0; i < PARTITIONS * subject->engine_count; i++) {
        char command[128];
        char out[64];
        (void)snprintf(command, sizeof(command), "SET %s{%u}%c:0:%s garbage XX", subject->prefix,
            i % PARTITIONS, type, key);
        nadb_engine_ask(&subject->engines[i / PARTITIONS], command, out, sizeof(out));
    }
}

CLAUSE(a_record_that_is_damaged_is_not_handed_out_and_can_be_replaced)
{
    put(subject, "k", "value", "a,b");
    put(subject, "plain", "value", "");
    damage(subject, "k", 'r');
    damage(subject, "plain", 'p');
    struct nadb_op ops[] = {fetch_of("k"), fetch_of("plain"), fetch_of("plain")};
    ops[2].wants_value = false;
    run_all(subject, ops, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(ops[i].err, NADB_ECORRUPT, "%zu", i);
        cr_assert_not_null(strstr(ops[i].error.text, i == 0 ? "0:k: no rec" : "0:plain: no rec"));
    }
    free_all(subject, ops, 3);
    put(subject, "k", "new", "b,c");
    put(subject, "plain", "new", "b");
    expect(subject, "k", "new");
    expect(subject, "plain", "new");
    cr_assert_eq(count_tag(subject, "a"), 0);
    cr_assert_eq(count_tag(subject, "b"), 2);
    cr_assert_eq(count_tag(subject, "c"), 1);
    cr_assert_eq(count_keys(subject), 2);
    cr_assert_eq(count_names(subject, "p:"), 0);
}

/* ---- the index ---- */

CLAUSE(the_tags_of_a_record_are_exact_after_every_change)
{
    put(subject, "k", "1", "a,b");
    put(subject, "other", "1", "b");
    cr_assert_eq(count_tag(subject, "a"), 1);
    cr_assert_eq(count_tag(subject, "b"), 2);
    put(subject, "k", "2", "b,c");
    cr_assert_eq(count_tag(subject, "a"), 0);
    cr_assert_eq(count_tag(subject, "b"), 2);
    cr_assert_eq(count_tag(subject, "c"), 1);
    put(subject, "k", "3", "");
    cr_assert_eq(count_tag(subject, "b"), 1);
    cr_assert_eq(count_tag(subject, "c"), 0);
    put(subject, "k", "4", "c");
    delete (subject, "k");
    delete (subject, "other");
    cr_assert_eq(count_tag(subject, "b"), 0);
    cr_assert_eq(count_tag(subject, "c"), 0);
    cr_assert_eq(count_names(subject, "t:"), 0);
    cr_assert_eq(count_names(subject, "T:"), 0);
    cr_assert_eq(count_names(subject, "k:"), 0);
}

CLAUSE(a_record_changes_its_name_in_one_commit)
{
    put(subject, "{x}old", "value", "a");
    nadb_stamp stamp = expect(subject, "{x}old", "value");
    struct nadb_change changes[] = {delete_change(subject, "{x}old"),
        put_change(subject, "{x}new", NADB_SLICE("value"), "a", 0)};
    struct nadb_check checks[] = {
        {.key = NADB_SLICE("{x}old"), .stamp = stamp}, {.key = NADB_SLICE("{x}new"), .stamp = 0}};
    struct nadb_op op = commit_of(changes, 2);
    op.checks = checks;
    op.check_count = 2;
    run_well(subject, &op);
    cr_assert_not(op.is_conflict);
    free_all(subject, &op, 1);
    expect(subject, "{x}old", NULL);
    expect(subject, "{x}new", "value");
    cr_assert_eq(count_tag(subject, "a"), 1);
    cr_assert_eq(count_keys(subject), 1);
}

CLAUSE(the_last_of_several_changes_of_a_key_in_a_commit_counts)
{
    struct nadb_change changes[] = {put_change(subject, "k", NADB_SLICE("1"), "a", 0),
        put_change(subject, "k", NADB_SLICE("2"), "b", 0), delete_change(subject, "k"),
        put_change(subject, "k", NADB_SLICE("3"), "c", 0)};
    commit(subject, changes, 4);
    expect(subject, "k", "3");
    cr_assert_eq(count_tag(subject, "a") + count_tag(subject, "b"), 0);
    cr_assert_eq(count_tag(subject, "c"), 1);
    commit(subject, changes, 3);
    expect(subject, "k", NULL);
    cr_assert_eq(count_names(subject, "t:"), 0);
}

CLAUSE(a_blind_put_keeps_the_time_of_creation)
{
    struct nadb_change change = put_change(subject, "k", NADB_SLICE("1"), "", 0);
    change.keeps_created = true;
    change.entry.created_ms = 5;
    commit(subject, &change, 1);
    change.entry.created_ms = 6;
    change.entry.value = NADB_SLICE("2");
    commit(subject, &change, 1);
    struct nadb_op op = fetch_of("k");
    op.wants_times = true;
    run_well(subject, &op);
    cr_assert_eq(op.found->entry.created_ms, 5);
    free_all(subject, &op, 1);
    change.keeps_created = false;
    commit(subject, &change, 1);
    run_well(subject, &op);
    cr_assert_eq(op.found->entry.created_ms, 6);
    free_all(subject, &op, 1);
}

/* ---- the two kinds of records ---- */

#define WALK_KEYS   6
#define WALK_OPS    24
#define WALK_ROUNDS 400

/* What a key should have. */
struct walk_key {
    bool is_there, has_tag, ends;
    unsigned value;
    uint64_t created_ms;
};

/* An operation, what it needs, and what its outcome should be. */
struct walk_op {
    struct nadb_change change;
    char value[12];
    struct walk_key seen; /* FETCH */
};

struct walk {
    struct subject *subject;
    struct nadb_rng rng;
    struct walk_key keys[WALK_KEYS];
    struct nadb_op ops[WALK_OPS];
    struct walk_op parts[WALK_OPS];
    uint64_t end_ms;
    unsigned values;
};

static const char *const walk_names[WALK_KEYS] = {"a", "b", "{x}c", "{x}d", "", "f"};

/* One more change of the key, and what it makes of it. */
static void walk_change(struct walk *walk, struct walk_op *part, size_t key)
{
    struct walk_key *state = &walk->keys[key];
    uint64_t kind = nadb_rng_below(&walk->rng, 8);
    if (kind == 0) {
        part->change = delete_change(walk->subject, walk_names[key]);
        state->is_there = false;
        return;
    }
    struct walk_key next = {.is_there = true,
        .has_tag = kind == 1 || kind == 2,
        .ends = kind == 2 || kind == 3,
        .value = ++walk->values,
        .created_ms = 1000 + walk->values};
    (void)snprintf(part->value, sizeof(part->value), "%u", next.value);
    part->change = put_change(walk->subject, walk_names[key], nadb_slice_cstr(part->value),
        next.has_tag ? "t" : "", next.ends ? walk->end_ms : 0);
    part->change.entry.created_ms = next.created_ms;
    part->change.keeps_created = kind != 4;
    if (state->is_there && kind != 4) {
        next.created_ms = state->created_ms;
    }
    *state = next;
}

static void walk_fill(struct walk *walk, size_t index)
{
    struct nadb_op *op = &walk->ops[index];
    struct walk_op *part = &walk->parts[index];
    size_t key = (size_t)nadb_rng_below(&walk->rng, WALK_KEYS);
    if (nadb_rng_below(&walk->rng, 2) == 0) {
        walk_change(walk, part, key);
        *op = commit_of(&part->change, 1);
        return;
    }
    *op = fetch_of(walk_names[key]);
    op->wants_value = nadb_rng_below(&walk->rng, 4) > 0;
    op->wants_times = nadb_rng_below(&walk->rng, 4) == 0;
    part->seen = walk->keys[key];
}

static void walk_check(const struct nadb_op *op, const struct walk_op *part)
{
    cr_assert_eq(op->err, NADB_OK, "%s", op->error.text);
    if (op->kind != NADB_OP_FETCH) {
        cr_assert_not(op->is_conflict);
        return;
    }
    const struct walk_key *seen = &part->seen;
    const struct nadb_entry *entry = &op->found->entry;
    cr_assert_eq(op->found->stamp != 0, seen->is_there, "%.*s", (int)op->key.len, op->key.data);
    if (!seen->is_there) {
        return;
    }
    char value[12];
    (void)snprintf(value, sizeof(value), "%u", seen->value);
    cr_assert_eq(op->found->value_len, strlen(value));
    cr_assert(!op->wants_value || nadb_slice_eq(entry->value, nadb_slice_cstr(value)));
    cr_assert_eq(entry->tags.len > 0, seen->has_tag);
    cr_assert_eq(entry->expire_ms > 0, seen->ends);
    cr_assert(entry->created_ms == seen->created_ms || (entry->created_ms == 0 && !op->wants_times),
        "%" PRIu64 " in place of %" PRIu64, entry->created_ms, seen->created_ms);
}

/* The indexes say the same as the records. */
static void walk_count(struct walk *walk)
{
    struct subject *subject = walk->subject;
    uint64_t there = 0;
    uint64_t tagged = 0;
    uint64_t ending = 0;
    for (size_t i = 0; i < WALK_KEYS; i++) {
        const struct walk_key *key = &walk->keys[i];
        there += key->is_there;
        tagged += key->is_there && key->has_tag;
        ending += key->is_there && key->ends;
    }
    struct nadb_op count = {.kind = NADB_OP_COUNT};
    run_well(subject, &count);
    cr_assert_eq(count.number, there);
    cr_assert_eq(there > 0 ? count.spaces[0].expires : 0, ending);
    free_all(subject, &count, 1);
    cr_assert_eq(count_tag(subject, "t"), tagged);
    struct nadb_op all = {.kind = NADB_OP_SELECT,
        .selector = select_text(subject, "*", NULL),
        .wants_records = true,
        .wants_times = true,
        .records_max = WALK_KEYS};
    run_well(subject, &all);
    cr_assert_eq(all.found_count, there);
    for (size_t i = 0; i < all.found_count; i++) {
        size_t key = 0;
        while (!nadb_slice_eq(nadb_slice_cstr(walk_names[key]), all.found[i].entry.key)) {
            cr_assert_lt(++key, WALK_KEYS);
        }
        cr_assert_eq(all.found[i].entry.created_ms, walk->keys[key].created_ms);
    }
    free_all(subject, &all, 1);
    struct nadb_op some = {.kind = NADB_OP_RANDOM, .count = nadb_rng_next(&walk->rng)};
    run_well(subject, &some);
    cr_assert_eq(some.key_count, there > 0);
    free_all(subject, &some, 1);
}

CLAUSE(records_of_both_kinds_take_each_others_place_through_two_that_know_nothing_of_each_other)
{
    struct nadb_error error;
    struct nadb_backend *ours = subject->backend;
    struct nadb_backend *others = new_instance(subject, PARTITIONS);
    struct nadb_backend_open_info info;
    cr_assert_eq(subject->ops->open(others, &info, &error), NADB_OK, "%s", error.text);
    static struct walk walk;
    walk = (struct walk){.subject = subject, .end_ms = now_ms() + 1000000};
    nadb_rng_seed(&walk.rng, 11);
    for (unsigned round = 0; round < WALK_ROUNDS; round++) {
        size_t mark = subject->memory.len;
        size_t count = 1 + (size_t)nadb_rng_below(&walk.rng, round % 2 == 0 ? 2 : WALK_OPS);
        subject->backend = nadb_rng_below(&walk.rng, 2) == 0 ? ours : others;
        for (size_t i = 0; i < count; i++) {
            walk_fill(&walk, i);
        }
        run_all(subject, walk.ops, count);
        for (size_t i = 0; i < count; i++) {
            walk_check(&walk.ops[i], &walk.parts[i]);
        }
        free_all(subject, walk.ops, count);
        if (round % 8 == 0) {
            walk_count(&walk);
        }
        subject->memory.len = mark;
    }
    subject->backend = ours;
    cr_assert_eq(subject->ops->close(others, NULL), NADB_OK);
    subject->ops->free(others);
}

CLAUSE(what_is_known_to_be_plain_takes_one_command_and_one_round_trip)
{
    char command[] = "CONFIG RESETSTAT";
    char out[8192];
    struct nadb_change changes[3];
    struct nadb_op ops[6];
    const char *keys[] = {"a", "b", "c"};
    for (unsigned round = 0; round < 3; round++) {
        struct nadb_shared_stats before;
        struct nadb_shared_stats after;
        subject->ops->shared->stats(subject->backend, &before);
        nadb_engine_ask(&subject->engines[0], command, out, sizeof(out));
        for (size_t i = 0; i < 3; i++) {
            changes[i] = put_change(subject, keys[i], NADB_SLICE("v"), "", 0);
            changes[i].keeps_created = true;
            ops[i] = commit_of(&changes[i], 1);
        }
        run_all(subject, ops, 3);
        for (size_t i = 0; i < 3; i++) {
            ops[3 + i] = fetch_of(keys[i]);
            cr_assert_eq(ops[i].err, NADB_OK, "%s", ops[i].error.text);
        }
        run_all(subject, ops + 3, 3);
        free_all(subject, ops, 6);
        subject->ops->shared->stats(subject->backend, &after);
        nadb_engine_ask(&subject->engines[0], "INFO commandstats", out, sizeof(out));
        bool is_script = strstr(out, "cmdstat_evalsha:") != NULL;
        cr_assert(is_cluster(subject) || is_script == (round != 1), "round %u: %s", round, out);
        cr_assert_eq(after.round_trips - before.round_trips, round < 2 ? 2 : 3);
        if (round == 1) {
            /* Somebody else removes them: found out, and made again. */
            struct nadb_backend *ours = subject->backend;
            open_subject(subject);
            for (size_t i = 0; i < 3; i++) {
                delete (subject, keys[i]);
            }
            close_subject(subject);
            subject->backend = ours;
        }
    }
    cr_assert_eq(count_keys(subject), 3);
}

static uint64_t trips_of_fetch(struct subject *subject, const char *key, bool is_there)
{
    struct nadb_shared_stats before;
    struct nadb_shared_stats after;
    struct nadb_op op = fetch_of(key);
    subject->ops->shared->stats(subject->backend, &before);
    run_well(subject, &op);
    cr_assert_eq(op.found->stamp != 0, is_there, "%s", key);
    free_all(subject, &op, 1);
    subject->ops->shared->stats(subject->backend, &after);
    return after.round_trips - before.round_trips;
}

CLAUSE(that_a_key_is_gone_is_found_out_once)
{
    struct nadb_backend *ours = subject->backend;
    put(subject, "plain", "v", "");
    put(subject, "tagged", "v", "t");
    put_until(subject, "ending", "v", "", now_ms() + 1000000);
    cr_assert_eq(trips_of_fetch(subject, "plain", true), 1);
    cr_assert_eq(trips_of_fetch(subject, "tagged", true), 1);
    open_subject(subject);
    delete (subject, "plain");
    delete (subject, "tagged");
    delete (subject, "ending");
    close_subject(subject);
    subject->backend = ours;
    cr_assert_eq(trips_of_fetch(subject, "plain", false), 2);
    cr_assert_eq(trips_of_fetch(subject, "plain", false), 1);
    cr_assert_eq(trips_of_fetch(subject, "tagged", false), 1);
    cr_assert_eq(trips_of_fetch(subject, "ending", false), 1);
    put(subject, "plain", "w", "t");
    cr_assert_eq(trips_of_fetch(subject, "plain", true), 1);
}

CLAUSE(plain_records_go_with_what_selects_or_clears_them)
{
    for (unsigned round = 0; round < 2; round++) {
        put(subject, "a", "v", "");
        put(subject, "b", "v", "");
        put(subject, "c", "v", "t");
        put(subject, "d", "v", "u");
        if (round == 0) {
            cr_assert_eq(invalidate(subject, "!t", NULL).number, 3);
            expect(subject, "a", NULL);
            expect(subject, "c", "v");
            cr_assert_eq(count_names(subject, "p:"), 0);
            cr_assert_eq(count_keys(subject), 1);
        } else {
            cr_assert_eq(count_names(subject, "p:"), 2);
            struct nadb_op op = {.kind = NADB_OP_CLEAR};
            run_well(subject, &op);
            cr_assert_eq(op.number, 4);
            free_all(subject, &op, 1);
            cr_assert_eq(count_names(subject, "p:") + count_names(subject, "r:"), 0);
            cr_assert_eq(count_keys(subject), 0);
        }
    }
}

/* ---- commits ---- */

CLAUSE(a_check_that_does_not_hold_leaves_everything_as_it_was)
{
    put(subject, "{x}a", "1", "t");
    nadb_stamp stamp = expect(subject, "{x}a", "1");
    put(subject, "{x}a", "2", "t");
    struct nadb_change changes[] = {put_change(subject, "{x}a", NADB_SLICE("3"), "u", 0),
        put_change(subject, "{x}b", NADB_SLICE("3"), "u", 0)};
    struct nadb_check checks[] = {{.key = NADB_SLICE("{x}a"), .stamp = stamp},
        {.key = NADB_SLICE("{x}a"), .stamp = 0}, {.key = NADB_SLICE("{x}none"), .stamp = stamp}};
    for (size_t i = 0; i < 3; i++) {
        struct nadb_op op = commit_of(changes, 2);
        op.checks = &checks[i];
        op.check_count = 1;
        run_well(subject, &op);
        cr_assert(op.is_conflict, "check %zu", i);
        free_all(subject, &op, 1);
    }
    stamp = expect(subject, "{x}a", "2");
    expect(subject, "{x}b", NULL);
    cr_assert_eq(count_tag(subject, "u"), 0);
    struct nadb_op alone = {.kind = NADB_OP_COMMIT, .checks = checks, .check_count = 1};
    checks[0].stamp = stamp;
    run_well(subject, &alone);
    cr_assert_not(alone.is_conflict, "a check without changes");
}

CLAUSE(operations_of_a_run_on_a_key_take_effect_in_order)
{
    struct nadb_change one = put_change(subject, "k", NADB_SLICE("1"), "a", 0);
    struct nadb_change two = put_change(subject, "k", NADB_SLICE("2"), "b", 0);
    struct nadb_change gone = delete_change(subject, "k");
    struct nadb_op ops[] = {fetch_of("k"), commit_of(&one, 1), fetch_of("k"), commit_of(&two, 1),
        fetch_of("k"), fetch_of("other"), commit_of(&gone, 1), fetch_of("k"), commit_of(&one, 1),
        fetch_of("k")};
    ops[2].wants_value = false;
    ops[2].wants_times = true;
    run_all(subject, ops, NADB_ARRAY_LEN(ops));
    const char *values[] = {NULL, "", "1", "", "2", NULL, "", NULL, "", "1"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(ops); i++) {
        cr_assert_eq(ops[i].err, NADB_OK, "%zu: %s", i, ops[i].error.text);
        if (ops[i].kind != NADB_OP_FETCH) {
            continue;
        }
        cr_assert_eq(ops[i].found->stamp != 0, values[i] != NULL, "%zu", i);
        if (values[i] != NULL && ops[i].wants_value) {
            cr_assert_eq(ops[i].found->entry.value.data[0], values[i][0], "%zu", i);
        }
    }
    free_all(subject, ops, NADB_ARRAY_LEN(ops));
}

CLAUSE(hundreds_of_operations_of_a_run_each_have_their_outcome)
{
    struct nadb_change changes[200];
    struct nadb_op ops[200];
    for (size_t i = 0; i < 200; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key%zu", i);
        changes[i] =
            put_change(subject, key, keep(subject, key, strlen(key)), i % 3 == 0 ? "third" : "", 0);
        ops[i] = commit_of(&changes[i], 1);
    }
    struct nadb_check never = {.key = changes[77].entry.key, .stamp = 12345};
    ops[77].checks = &never;
    ops[77].check_count = 1;
    run_all(subject, ops, 200);
    for (size_t i = 0; i < 200; i++) {
        cr_assert_eq(ops[i].err, NADB_OK, "%zu: %s", i, ops[i].error.text);
        cr_assert_eq(ops[i].is_conflict, i == 77, "%zu", i);
        ops[i] = (struct nadb_op){
            .kind = NADB_OP_FETCH, .key = changes[i].entry.key, .wants_value = true};
    }
    run_all(subject, ops, 200);
    for (size_t i = 0; i < 200; i++) {
        cr_assert_eq(ops[i].err, NADB_OK);
        cr_assert_eq(ops[i].found->stamp == 0, i == 77);
        cr_assert(i == 77 || nadb_slice_eq(ops[i].found->entry.value, changes[i].entry.key));
    }
    free_all(subject, ops, 200);
    cr_assert_eq(count_keys(subject), 199);
    cr_assert_eq(count_tag(subject, "third"), 67);
}

CLAUSE(keys_of_a_commit_that_cannot_change_together_are_refused)
{
    struct nadb_change changes[] = {put_change(subject, "a", NADB_SLICE("1"), "", 0),
        put_change(subject, "b", NADB_SLICE("1"), "", 0),
        put_change(subject, "c", NADB_SLICE("1"), "", 0)};
    struct nadb_op op = commit_of(changes, 3);
    run_all(subject, &op, 1);
    if (is_cluster(subject)) {
        cr_assert_eq(op.err, NADB_ECROSSSLOT);
        expect(subject, "a", NULL);
    } else {
        cr_assert_eq(op.err, NADB_OK);
        expect(subject, "c", "1");
    }
}

CLAUSE(blind_puts_of_the_same_key_in_a_run_leave_the_last)
{
    static const size_t lens[] = {10, 200, 50, 60, 55, 300, 1};
    struct nadb_change changes[NADB_ARRAY_LEN(lens)];
    struct nadb_op ops[NADB_ARRAY_LEN(lens)];
    char value[300];
    memset(value, 'v', sizeof(value));
    for (size_t round = 0; round < 2 * NADB_ARRAY_LEN(lens); round++) {
        size_t count = round / 2 + 1;
        for (size_t i = 0; i < count; i++) {
            changes[i] = put_change(subject, "k", nadb_slice_of(value, lens[i]), "", 0);
            changes[i].keeps_created = true;
            ops[i] = commit_of(&changes[i], 1);
        }
        run_all(subject, ops, count);
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(ops[i].err, NADB_OK, "%s", ops[i].error.text);
        }
        struct nadb_op op = fetch_of("k");
        run_well(subject, &op);
        cr_assert_eq(op.found->value_len, lens[count - 1]);
        free_all(subject, &op, 1);
    }
    cr_assert_eq(count_keys(subject), 1);
}

CLAUSE(blind_puts_in_place_of_what_has_tags_or_a_deadline_keep_the_index_exact)
{
    struct nadb_change changes[4];
    struct nadb_op ops[4];
    const char *keys[] = {"plain", "tagged", "ending", "new"};
    put(subject, "plain", "1", "");
    put(subject, "tagged", "1", "t");
    put_until(subject, "ending", "1", "t", now_ms() + 100000);
    for (size_t i = 0; i < 4; i++) {
        changes[i] = put_change(subject, keys[i], NADB_SLICE("2"), "", 0);
        changes[i].keeps_created = true;
        changes[i].entry.created_ms = 5;
        ops[i] = commit_of(&changes[i], 1);
    }
    run_all(subject, ops, 4);
    cr_assert_eq(count_keys(subject), 4);
    cr_assert_eq(count_tag(subject, "t"), 0);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(ops[i].err, NADB_OK, "%s", ops[i].error.text);
        struct nadb_op op = fetch_of(keys[i]);
        op.wants_times = true;
        run_well(subject, &op);
        cr_assert_eq(op.found->entry.created_ms, i == 3 ? 5 : 1000, "%s", keys[i]);
        cr_assert_eq(op.found->entry.expire_ms, 0);
        free_all(subject, &op, 1);
    }
    struct nadb_op op = {.kind = NADB_OP_COUNT};
    run_well(subject, &op);
    cr_assert_eq(op.spaces[0].expires, 0);
    free_all(subject, &op, 1);
}

CLAUSE(small_values_take_the_place_of_big_ones)
{
    struct nadb_change changes[60];
    struct nadb_op ops[60];
    static char big[2000];
    memset(big, 'b', sizeof(big));
    for (size_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < 60; i++) {
            char key[16];
            (void)snprintf(key, sizeof(key), "key%zu", i);
            changes[i] = put_change(
                subject, key, nadb_slice_of(big, round == 0 ? sizeof(big) : 10 + round), "", 0);
            changes[i].keeps_created = true;
            ops[i] = commit_of(&changes[i], 1);
        }
        run_all(subject, ops, 60);
        for (size_t i = 0; i < 60; i++) {
            cr_assert_eq(ops[i].err, NADB_OK, "%s", ops[i].error.text);
            struct nadb_op op = {
                .kind = NADB_OP_FETCH, .key = changes[i].entry.key, .wants_value = true};
            run_well(subject, &op);
            cr_assert(nadb_slice_eq(op.found->entry.value, changes[i].entry.value));
            free_all(subject, &op, 1);
        }
    }
    cr_assert_eq(count_keys(subject), 60);
}

CLAUSE(what_the_engine_refuses_concerns_one_commit_only)
{
    char command[128];
    char out[64];
    for (unsigned i = 0; i < PARTITIONS * subject->engine_count; i++) {
        (void)snprintf(command, sizeof(command), "RPUSH %s{%u}r:0:{x}2 alien", subject->prefix,
            i % PARTITIONS);
        nadb_engine_ask(&subject->engines[i / PARTITIONS], command, out, sizeof(out));
    }
    struct nadb_change changes[6];
    struct nadb_op ops[6];
    for (size_t i = 0; i < 6; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "{x}%zu", i % 3 + 1);
        changes[i] = put_change(subject, key, NADB_SLICE("v"), i < 3 ? "" : "t", 0);
        changes[i].keeps_created = true;
        ops[i] = commit_of(&changes[i], 1);
    }
    run_all(subject, ops, 6);
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(ops[i].err, i % 3 == 1 ? NADB_EENGINE : NADB_OK, "%zu", i);
        cr_assert(i % 3 != 1 || strncmp(ops[i].error.text, "WRONGTYPE ", 10) == 0, "%s",
            ops[i].error.text);
    }
    cr_assert_eq(count_tag(subject, "t"), 2);
    cr_assert_eq(count_keys(subject), 2);
    expect(subject, "{x}1", "v");
}

struct counter_thread {
    pthread_t thread;
    struct subject *subject;
    unsigned conflicts;
};

#define INCREMENTS 60

/* Counts up one key, checking that nobody came in between. */
static void *count_up(void *arg)
{
    struct counter_thread *thread = arg;
    struct subject *subject = thread->subject;
    for (unsigned done = 0; done < INCREMENTS;) {
        struct nadb_op fetch = fetch_of("counter");
        run_well(subject, &fetch);
        char value[8] = {0};
        memcpy(value, fetch.found->entry.value.data, fetch.found->entry.value.len);
        uint64_t number = nadb_get_u64(value) + 1;
        nadb_put_u64(value, number);
        struct nadb_change change = {.stamp = new_stamp(subject),
            .entry = {.kind = NADB_ENTRY_PUT,
                .key = NADB_SLICE("counter"),
                .value = nadb_slice_of(value, 8)}};
        struct nadb_check check = {.key = NADB_SLICE("counter"), .stamp = fetch.found->stamp};
        struct nadb_op op = commit_of(&change, 1);
        op.checks = &check;
        op.check_count = 1;
        run_well(subject, &op);
        done += !op.is_conflict;
        thread->conflicts += op.is_conflict;
        free_all(subject, &fetch, 1);
    }
    return NULL;
}

CLAUSE(several_threads_that_check_what_they_change_lose_nothing)
{
    struct nadb_change change = {.stamp = new_stamp(subject),
        .entry = {.kind = NADB_ENTRY_PUT,
            .key = NADB_SLICE("counter"),
            .value = NADB_SLICE("\0\0\0\0\0\0\0\0")}};
    commit(subject, &change, 1);
    struct counter_thread threads[4];
    for (size_t i = 0; i < 4; i++) {
        threads[i] = (struct counter_thread){.subject = subject};
        cr_assert_eq(pthread_create(&threads[i].thread, NULL, count_up, &threads[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i].thread, NULL), 0);
    }
    struct nadb_op fetch = fetch_of("counter");
    run_well(subject, &fetch);
    cr_assert_eq(nadb_get_u64(fetch.found->entry.value.data), 4 * INCREMENTS);
    free_all(subject, &fetch, 1);
}

/* ---- time ---- */

/* Waits until the key is gone. */
static void outlive(struct subject *subject, const char *key)
{
    uint64_t end = now_ms() + WAIT_MS;
    for (bool is_there = true; is_there; (void)poll(NULL, 0, 10)) {
        struct nadb_op op = fetch_of(key);
        run_well(subject, &op);
        is_there = op.found->stamp != 0;
        free_all(subject, &op, 1);
        cr_assert_lt(now_ms(), end);
    }
}

CLAUSE(what_has_expired_is_counted_nowhere_and_swept)
{
    uint64_t end = now_ms() + EXPIRES_MS;
    for (int i = 0; i < 50; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "short%d", i);
        put_until(subject, key, "v", "t", end);
    }
    put(subject, "long", "v", "u");
    outlive(subject, "short49");
    cr_assert_eq(count_keys(subject), 1);
    cr_assert_eq(count_tag(subject, "t"), 0);
    cr_assert_eq(count_selected(subject, "t", NULL), 0);
    cr_assert_eq(count_selected(subject, "*", NULL), 1);
    struct nadb_op op = {.kind = NADB_OP_SCAN, .count = NADB_SCAN_ALL};
    run_well(subject, &op);
    cr_assert_eq(op.key_count, 1);
    free_all(subject, &op, 1);
    uint64_t give_up = now_ms() + WAIT_MS;
    uint64_t swept = 0;
    while (swept < 100 && now_ms() < give_up) {
        swept += subject->ops->shared->tend(subject->backend);
    }
    cr_assert_eq(swept, 100);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(subject->ops->shared->tend(subject->backend), 0);
    }
    cr_assert_eq(count_names(subject, "t:"), 1);
    cr_assert_eq(count_names(subject, "T:"), 1);
    cr_assert_eq(count_names(subject, "k:"), 1);
    cr_assert_eq(count_names(subject, "n"), 1);
    expect(subject, "long", "v");
}

CLAUSE(a_new_deadline_counts_and_no_old_one)
{
    put_until(subject, "k", "v", "t", now_ms() + EXPIRES_MS);
    put_until(subject, "k", "v", "t", now_ms() + 100000);
    put_until(subject, "x", "v", "t", now_ms() + EXPIRES_MS);
    put(subject, "x", "v", "t");
    put_until(subject, "end", "v", "", now_ms() + 2 * EXPIRES_MS);
    outlive(subject, "end");
    expect(subject, "k", "v");
    expect(subject, "x", "v");
    cr_assert_eq(count_tag(subject, "t"), 2);
    struct nadb_op op = {.kind = NADB_OP_COUNT};
    run_well(subject, &op);
    cr_assert_eq(op.spaces[0].keys, 2);
    cr_assert_eq(op.spaces[0].expires, 1);
    cr_assert_gt(op.spaces[0].ttl_sum_ms, 50000);
    cr_assert_leq(op.spaces[0].ttl_sum_ms, 100000);
    free_all(subject, &op, 1);
}

CLAUSE(a_put_whose_time_is_over_removes)
{
    put(subject, "k", "v", "t");
    put_until(subject, "k", "w", "t", 1000);
    expect(subject, "k", NULL);
    cr_assert_eq(count_tag(subject, "t"), 0);
    cr_assert_eq(count_keys(subject), 0);
}

/* ---- queries ---- */

static void put_numbered(struct subject *subject, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16];
        char tags[64];
        (void)snprintf(key, sizeof(key), "%s%d", i % 2 == 0 ? "even" : "odd", i);
        (void)snprintf(tags, sizeof(tags), "all%s%s%s", i % 2 == 0 ? ",two" : "",
            i % 3 == 0 ? ",three" : "", i % 5 == 0 ? ",five" : "");
        put(subject, key, key, tags);
    }
}

CLAUSE(a_scan_sees_every_key_once)
{
    put_numbered(subject, 60);
    for (uint64_t count = 1; count <= 1000; count *= 7) {
        uint64_t cursor = 0;
        size_t seen = 0;
        do {
            struct nadb_op op = {.kind = NADB_OP_SCAN, .cursor = cursor, .count = count};
            run_well(subject, &op);
            seen += op.key_count;
            cursor = op.next_cursor;
            free_all(subject, &op, 1);
        } while (cursor != 0 && seen < 1000);
        cr_assert_eq(seen, 60);
    }
    struct nadb_op all = {.kind = NADB_OP_SCAN, .count = NADB_SCAN_ALL};
    run_well(subject, &all);
    cr_assert_eq(all.key_count, 60);
    cr_assert_eq(all.next_cursor, 0);
    free_all(subject, &all, 1);
    struct nadb_op lost = {.kind = NADB_OP_SCAN, .cursor = UINT64_MAX, .count = 10};
    run_well(subject, &lost);
    cr_assert_eq(lost.key_count, 0);
    cr_assert_eq(lost.next_cursor, 0);
    free_all(subject, &lost, 1);
}

CLAUSE(a_random_key_is_one_that_is_there)
{
    struct nadb_op op = {.kind = NADB_OP_RANDOM};
    run_well(subject, &op);
    cr_assert_eq(op.key_count, 0);
    free_all(subject, &op, 1);
    put(subject, "only", "v", "");
    run_well(subject, &op);
    cr_assert_eq(op.key_count, 1);
    cr_assert(nadb_slice_eq(op.keys[0], NADB_SLICE("only")));
    free_all(subject, &op, 1);
}

CLAUSE(all_tags_are_listed_in_order_with_their_keys)
{
    put_numbered(subject, 30);
    struct nadb_op op = {.kind = NADB_OP_TAGS};
    run_well(subject, &op);
    const char *tags[] = {"all", "five", "three", "two"};
    const uint64_t counts[] = {30, 6, 10, 15};
    cr_assert_eq(op.tally_count, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_assert(nadb_slice_eq(op.tallies[i].tag, nadb_slice_cstr(tags[i])));
        cr_assert_eq(op.tallies[i].count, counts[i]);
    }
    free_all(subject, &op, 1);
}

CLAUSE(selectors_select_as_the_store_does)
{
    put_numbered(subject, 60);
    put(subject, "bare", "v", "");
    const struct {
        const char *text, *pattern;
        uint64_t count;
    } cases[] = {
        {"two & three", NULL, 10},
        {"two | three", NULL, 40},
        {"two & !three", NULL, 20},
        {"!two", NULL, 31},
        {"!two & !three", NULL, 21},
        {"!two | !three", NULL, 51},
        {"!(two | three) & five", NULL, 4},
        {"two & three & five", NULL, 2},
        {"*", NULL, 61},
        {"!*", NULL, 0},
        {"!all | two", NULL, 31},
        {"two | !all", NULL, 31},
        {"none", NULL, 0},
        {"none & two", NULL, 0},
        {"all", "even*", 30},
        {"all", "*1", 6},
        {"!three", "odd?", 3},
        {"all", "*", 60},
        {"all", "even2", 1},
        {"all", "", 0},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        cr_assert_eq(count_selected(subject, cases[i].text, cases[i].pattern), cases[i].count, "%s",
            cases[i].text);
        struct nadb_op op = {.kind = NADB_OP_SELECT,
            .selector = select_text(subject, cases[i].text, cases[i].pattern),
            .wants_records = true,
            .wants_value = i % 2 == 0,
            .wants_times = i % 3 == 0,
            .records_max = i % 4 == 3 ? 25 : 1000};
        run_well(subject, &op);
        cr_assert_eq(op.number, cases[i].count);
        cr_assert_eq(op.found_count, op.number > op.records_max ? 0 : op.number);
        for (size_t j = 0; j < op.found_count; j++) {
            const struct nadb_found *found = &op.found[j];
            cr_assert_neq(found->stamp, 0);
            cr_assert(!op.wants_value || found->entry.value.len == found->value_len);
            cr_assert(!op.wants_value || nadb_slice_eq(found->entry.value, NADB_SLICE("v")) ||
                      nadb_slice_eq(found->entry.value, found->entry.key));
            cr_assert(!op.wants_times || found->entry.accessed_s > 1000000);
        }
        free_all(subject, &op, 1);
    }
}

CLAUSE(a_malformed_selector_is_refused)
{
    struct nadb_op op = {.kind = NADB_OP_SELECT, .selector = NADB_SLICE("\xff\xff\xff\xff\1\0\0")};
    run_all(subject, &op, 1);
    cr_assert_eq(op.err, NADB_EBADEXPR);
    free_all(subject, &op, 1);
}

CLAUSE(an_invalidation_removes_what_is_selected_and_nothing_else)
{
    put_numbered(subject, 60);
    cr_assert_eq(invalidate(subject, "two & three", NULL).number, 10);
    cr_assert_eq(count_keys(subject), 50);
    cr_assert_eq(count_tag(subject, "two"), 20);
    cr_assert_eq(invalidate(subject, "all", "*1").number, 6);
    cr_assert_eq(invalidate(subject, "all", "odd*").number, 24);
    cr_assert_eq(count_keys(subject), 20);
    cr_assert_eq(invalidate(subject, "all", NULL).number, 20);
    cr_assert_eq(count_names(subject, "t:"), 0);
    cr_assert_eq(count_names(subject, "r:"), 0);
    cr_assert_eq(invalidate(subject, "all", NULL).number, 0);
}

CLAUSE(a_pattern_selects_what_it_matches_everywhere)
{
    static const char *const keys[] = {"", "a", "b", "ab", "abc", "a*b", "a?b", "a[b", "a]b",
        "a\\b", "-", "a-c", "z", "aXbXc", "[", "]", "^", "\\", "aaab", "m\xff"};
    static const char *const patterns[] = {"", "*", "?", "a", "a*", "*b", "*a*b*", "a?b", "a[b]",
        "[abc]", "[^abc]", "[a-m]", "[m-a]", "[^a-m]*", "\\*", "a\\*b", "a\\?b", "a\\[b", "a[\\]]b",
        "[", "[a", "[^", "[]", "[]a]", "a[]b", "\\", "a\\\\b", "*\\", "**", "?*?", "[a-]", "[-a]",
        "[\\a-c]", "*a*a*b", "[^]", "a[^]b"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(keys); i++) {
        put(subject, keys[i], "v", "tag");
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(patterns); i++) {
        uint64_t expected = 0;
        for (size_t k = 0; k < NADB_ARRAY_LEN(keys); k++) {
            expected += nadb_glob_match(nadb_slice_cstr(patterns[i]), nadb_slice_cstr(keys[k]));
        }
        uint64_t count = count_selected(subject, "tag", patterns[i]);
        cr_expect_eq(
            count, expected, "'%s': %" PRIu64 ", not %" PRIu64, patterns[i], count, expected);
    }
}

CLAUSE(a_tag_that_goes_and_comes_in_one_run_is_listed)
{
    struct nadb_change changes[] = {put_change(subject, "k", NADB_SLICE("1"), "t", 0),
        delete_change(subject, "k"), put_change(subject, "k", NADB_SLICE("2"), "t", 0)};
    struct nadb_op ops[3];
    for (size_t i = 0; i < 3; i++) {
        ops[i] = commit_of(&changes[i], 1);
    }
    run_all(subject, ops, 3);
    free_all(subject, ops, 3);
    struct nadb_op op = {.kind = NADB_OP_TAGS};
    run_well(subject, &op);
    cr_expect_eq(op.tally_count, 1);
    free_all(subject, &op, 1);
    cr_expect_eq(count_tag(subject, "t"), 1);
}

CLAUSE(epochs_grow_and_are_remembered_by_tag)
{
    uint64_t start = ask_epoch(subject);
    cr_assert_gt(start, 0);
    cr_assert_eq(ask_epoch(subject), start);
    uint64_t all = 0;
    cr_assert_eq(tag_epoch(subject, "k", "a", &all), 0);
    cr_assert_eq(all, 0);
    uint64_t first = invalidate(subject, "a & !b", NULL).epoch;
    cr_assert_gt(first, start);
    cr_assert_eq(ask_epoch(subject), first);
    cr_assert_eq(tag_epoch(subject, "k", "a", NULL), first);
    cr_assert_eq(tag_epoch(subject, "", "b", NULL), first);
    cr_assert_eq(tag_epoch(subject, "k", "c", NULL), 0);
    uint64_t second = invalidate(subject, "b", "*y*").epoch;
    cr_assert_gt(second, first);
    cr_assert_eq(tag_epoch(subject, "other", "b", NULL), second);
    struct nadb_op op = {.kind = NADB_OP_CLEAR};
    run_well(subject, &op);
    cr_assert_gt(op.epoch, second);
    cr_assert_eq(tag_epoch(subject, "other", "b", &all), second);
    cr_assert_eq(all, op.epoch);
    free_all(subject, &op, 1);
}

CLAUSE(tags_whose_epoch_is_forgotten_have_that_of_the_horizon)
{
    subject->settings.epochs_max = 3;
    uint64_t epochs[6];
    for (int i = 0; i < 6; i++) {
        char tag[4] = {'t', (char)('0' + i), '\0'};
        epochs[i] = invalidate(subject, tag, NULL).epoch;
    }
    cr_assert_eq(tag_epoch(subject, "k", "t5", NULL), epochs[5]);
    cr_assert_eq(tag_epoch(subject, "k", "t3", NULL), epochs[3]);
    cr_assert_eq(tag_epoch(subject, "k", "t0", NULL), epochs[2]);
    cr_assert_eq(tag_epoch(subject, "k", "new", NULL), epochs[2]);
}

static bool commits_with_epoch(struct subject *subject, const char *tag, uint64_t epoch)
{
    struct nadb_change change = put_change(subject, "k", NADB_SLICE("v"), "", 0);
    struct nadb_check check = {
        .key = NADB_SLICE("k"), .is_epoch = true, .tag = nadb_slice_cstr(tag), .epoch = epoch};
    struct nadb_op op = commit_of(&change, 1);
    op.checks = &check;
    op.check_count = 1;
    run_well(subject, &op);
    free_all(subject, &op, 1);
    return !op.is_conflict;
}

CLAUSE(a_commit_that_saw_another_epoch_is_a_conflict)
{
    cr_assert(commits_with_epoch(subject, "a", 0));
    cr_assert(commits_with_epoch(subject, "", 0));
    cr_assert_not(commits_with_epoch(subject, "a", 1));
    uint64_t epoch = invalidate(subject, "a", NULL).epoch;
    cr_assert_not(commits_with_epoch(subject, "a", 0));
    cr_assert(commits_with_epoch(subject, "a", epoch));
    cr_assert(commits_with_epoch(subject, "b", 0));
    struct nadb_op op = {.kind = NADB_OP_CLEAR};
    run_well(subject, &op);
    free_all(subject, &op, 1);
    cr_assert_not(commits_with_epoch(subject, "", 0));
    cr_assert(commits_with_epoch(subject, "", op.epoch));
}

CLAUSE(a_cleared_keyspace_leaves_nothing_but_epochs)
{
    put_numbered(subject, 40);
    struct nadb_change other = put_change(subject, "k", NADB_SLICE("v"), "all", 0);
    other.place.db = 1;
    commit(subject, &other, 1);
    struct nadb_op op = {.kind = NADB_OP_CLEAR};
    run_well(subject, &op);
    cr_assert_eq(op.number, 40);
    free_all(subject, &op, 1);
    cr_assert_eq(count_keys(subject), 0);
    cr_assert_eq(count_names(subject, "t:0:"), 0);
    cr_assert_eq(count_names(subject, "T:0:"), 0);
    cr_assert_eq(count_names(subject, "r:0:"), 0);
    cr_assert_eq(count_names(subject, "r:1:"), 1);
    struct nadb_op spaces = {.kind = NADB_OP_SPACES};
    run_well(subject, &spaces);
    cr_assert_eq(spaces.space_count, 1);
    cr_assert_eq(spaces.spaces[0].place.db, 1);
    free_all(subject, &spaces, 1);
}

/* ---- the engine ---- */

CLAUSE(other_partitions_than_the_data_has_are_refused)
{
    struct nadb_error error;
    struct nadb_backend_open_info info;
    struct nadb_backend *other = new_instance(subject, PARTITIONS + 1);
    cr_assert_eq(subject->ops->open(other, &info, &error), NADB_EINVAL);
    cr_assert_not_null(strstr(error.text, " 9"));
    cr_assert_not_null(strstr(error.text, " 8"));
    subject->ops->free(other);
}

CLAUSE(an_engine_that_forgot_its_scripts_is_given_them_again)
{
    char out[64];
    put(subject, "k", "1", "");
    put(subject, "plain", "1", "");
    for (size_t i = 0; i < subject->engine_count; i++) {
        nadb_engine_ask(&subject->engines[i], "SCRIPT FLUSH", out, sizeof(out));
    }
    struct nadb_change change = put_change(subject, "k", NADB_SLICE("2"), "t", 0);
    struct nadb_change by_itself = put_change(subject, "plain", NADB_SLICE("2"), "", 0);
    by_itself.keeps_created = true;
    struct nadb_op ops[] = {commit_of(&change, 1), commit_of(&by_itself, 1), fetch_of("k")};
    run_all(subject, ops, 3);
    cr_assert_eq(ops[0].err, NADB_OK, "%s", ops[0].error.text);
    cr_assert_eq(ops[1].err, NADB_OK, "%s", ops[1].error.text);
    cr_assert_eq(ops[2].err, NADB_OK);
    cr_assert_eq(ops[2].found->entry.value.data[0], '2', "what came behind must see it");
    free_all(subject, ops, 3);
    expect(subject, "plain", "2");
}

/* ---- a single server ---- */

static void have_no_memory(struct subject *subject)
{
    char out[64];
    put(subject, "old", "1", "t");
    put(subject, "plain", "1", "");
    nadb_engine_ask(&subject->engines[0], "CONFIG SET maxmemory 1", out, sizeof(out));
    struct nadb_change by_itself = put_change(subject, "plain", NADB_SLICE("2"), "", 0);
    by_itself.keeps_created = true;
    struct nadb_op native = commit_of(&by_itself, 1);
    run_all(subject, &native, 1);
    cr_assert_eq(native.err, NADB_EENGINE);
    cr_assert_eq(strncmp(native.error.text, "OOM ", 4), 0, "%s", native.error.text);
    expect(subject, "plain", "1");
    delete (subject, "plain");
    struct nadb_change change = put_change(subject, "new", NADB_SLICE("v"), "t", 0);
    struct nadb_change again = put_change(subject, "old", NADB_SLICE("2"), "u", 0);
    struct nadb_change gone = delete_change(subject, "old");
    struct nadb_op ops[] = {commit_of(&change, 1), commit_of(&again, 1), fetch_of("old"),
        commit_of(&gone, 1), commit_of(&change, 1), fetch_of("old")};
    run_all(subject, ops, NADB_ARRAY_LEN(ops));
    cr_assert_eq(ops[0].err, NADB_EENGINE);
    cr_assert_eq(strncmp(ops[0].error.text, "OOM ", 4), 0, "%s", ops[0].error.text);
    cr_assert_eq(ops[1].err, NADB_EENGINE);
    cr_assert_eq(ops[2].found->entry.value.data[0], '1');
    cr_assert_eq(ops[3].err, NADB_OK, "%s", ops[3].error.text);
    cr_assert_eq(ops[4].err, NADB_EENGINE);
    cr_assert_eq(ops[5].found->stamp, 0);
    free_all(subject, ops, NADB_ARRAY_LEN(ops));
    cr_assert_eq(count_keys(subject), 0);
    cr_assert_eq(count_tag(subject, "t"), 0);
    cr_assert_gt(invalidate(subject, "t", NULL).epoch, 0);
    nadb_engine_ask(&subject->engines[0], "CONFIG SET maxmemory 0", out, sizeof(out));
    put(subject, "new", "v", "t");
}

Test(shared_contract, an_engine_without_memory_refuses_whole_commits_and_deletes)
{
    on_single(have_no_memory);
}

static void be_a_replica(struct subject *subject)
{
    char out[64];
    put(subject, "k", "1", "");
    nadb_engine_ask(&subject->engines[0], "REPLICAOF 127.0.0.1 1", out, sizeof(out));
    struct nadb_change change = put_change(subject, "k", NADB_SLICE("2"), "", 0);
    struct nadb_op op = commit_of(&change, 1);
    run_all(subject, &op, 1);
    cr_assert_eq(op.err, NADB_EENGINE);
    cr_assert_eq(strncmp(op.error.text, "READONLY ", 9), 0, "%s", op.error.text);
    nadb_engine_ask(&subject->engines[0], "REPLICAOF NO ONE", out, sizeof(out));
    expect(subject, "k", "1");
}

Test(shared_contract, the_engines_own_errors_are_passed_on)
{
    on_single(be_a_replica);
}

static void wait_for_service(struct subject *subject)
{
    uint64_t end = now_ms() + WAIT_MS;
    enum nadb_err err = NADB_EIO;
    while (err != NADB_OK) {
        struct nadb_change change = put_change(subject, "again", NADB_SLICE("v"), "", 0);
        struct nadb_op op = commit_of(&change, 1);
        run_all(subject, &op, 1);
        err = op.err;
        free_all(subject, &op, 1);
        cr_assert_lt(now_ms(), end, "%s", op.error.text);
        (void)poll(NULL, 0, 10);
    }
}

static void die_and_come_back(struct subject *subject)
{
    put(subject, "k", "1", "t");
    nadb_engine_kill(&subject->engines[0]);
    for (int i = 0; i < 5; i++) {
        struct nadb_change change = put_change(subject, "k", NADB_SLICE("2"), "t", 0);
        struct nadb_op ops[] = {fetch_of("k"), commit_of(&change, 1), {.kind = NADB_OP_COUNT}};
        uint64_t begin = now_ms();
        run_all(subject, ops, 3);
        cr_assert_lt(now_ms() - begin, 1000);
        for (size_t j = 0; j < 3; j++) {
            cr_assert_eq(ops[j].err, NADB_EIO, "%s", ops[j].error.text);
            cr_assert_not_null(strstr(ops[j].error.text, "backend down: 127.0.0.1:"));
        }
        free_all(subject, ops, 3);
    }
    struct nadb_shared_stats stats;
    subject->ops->shared->stats(subject->backend, &stats);
    cr_assert(stats.is_down);
    nadb_engine_start(&subject->engines[0]);
    wait_for_service(subject);
    expect(subject, "k", "1");
    cr_assert_eq(count_tag(subject, "t"), 1);
    subject->ops->shared->stats(subject->backend, &stats);
    cr_assert_not(stats.is_down);
    cr_assert_gt(stats.reconnects, 0);
    cr_assert_eq(stats.servers, 1);
    cr_assert_eq(strncmp(stats.engine, "redis ", 6), 0);
}

Test(shared_contract, an_engine_that_died_is_missed_at_once_and_found_again)
{
    on_single(die_and_come_back);
}

struct tally_thread {
    pthread_t thread;
    struct subject *subject;
    atomic_bool must_end;
    uint64_t done, unknown, refused;
};

/* Counts up a key of its own without a check, and what became of it; the value is how often. */
static void *tally_up(void *arg)
{
    struct tally_thread *thread = arg;
    struct subject *subject = thread->subject;
    for (uint64_t number = 1; !atomic_load(&thread->must_end); number++) {
        char value[8];
        nadb_put_u64(value, number);
        struct nadb_change changes[] = {
            {.stamp = new_stamp(subject),
                .entry = {.kind = NADB_ENTRY_PUT,
                    .key = NADB_SLICE("{x}tally"),
                    .value = nadb_slice_of(value, 8),
                    .tags = NADB_SLICE("\1\0t")}},
            {.stamp = new_stamp(subject),
                .entry = {.kind = NADB_ENTRY_PUT,
                    .key = NADB_SLICE("{x}second"),
                    .value = nadb_slice_of(value, 8)}},
        };
        struct nadb_op op = commit_of(changes, 2);
        run_all(subject, &op, 1);
        if (op.err == NADB_OK) {
            thread->done = number;
        } else {
            thread->unknown += op.err == NADB_ESYNC;
            thread->refused += op.err != NADB_ESYNC;
        }
        free_all(subject, &op, 1);
    }
    return NULL;
}

static uint64_t fetch_number(struct subject *subject, const char *key)
{
    struct nadb_op op = fetch_of(key);
    run_well(subject, &op);
    uint64_t number = nadb_get_u64(op.found->entry.value.data);
    free_all(subject, &op, 1);
    return number;
}

static void die_under_load(struct subject *subject)
{
    static struct tally_thread thread;
    for (int round = 0; round < 4; round++) {
        thread = (struct tally_thread){.subject = subject};
        cr_assert_eq(pthread_create(&thread.thread, NULL, tally_up, &thread), 0);
        (void)poll(NULL, 0, 50 + 30 * round); /* some work is done; how much does not matter */
        nadb_engine_kill(&subject->engines[0]);
        (void)poll(NULL, 0, 50); /* and some is refused */
        atomic_store(&thread.must_end, true);
        cr_assert_eq(pthread_join(thread.thread, NULL), 0);
        nadb_engine_start(&subject->engines[0]);
        wait_for_service(subject);
        cr_assert_gt(thread.done, 0);
        cr_assert_leq(thread.unknown, 1);
        cr_assert_gt(thread.refused, 0);
        uint64_t number = fetch_number(subject, "{x}tally");
        cr_assert_geq(number, thread.done);
        cr_assert_leq(number, thread.done + thread.unknown, "what was refused has not happened");
        cr_assert_eq(fetch_number(subject, "{x}second"), number);
        cr_assert_eq(count_tag(subject, "t"), 1);
    }
}

Test(shared_contract, an_engine_that_dies_under_load_has_what_was_acknowledged_and_nothing_refused)
{
    on_single(die_under_load);
}

static void hang(struct subject *subject)
{
    put(subject, "k", "1", "");
    put(subject, "plain", "1", "");
    nadb_engine_freeze(&subject->engines[0], true);
    struct nadb_change change = put_change(subject, "k", NADB_SLICE("2"), "", 0);
    struct nadb_change by_itself = put_change(subject, "plain", NADB_SLICE("2"), "", 0);
    by_itself.keeps_created = true;
    struct nadb_op ops[] = {fetch_of("k"), commit_of(&change, 1), commit_of(&by_itself, 1)};
    uint64_t begin = now_ms();
    run_all(subject, ops, 3);
    cr_assert_lt(now_ms() - begin, 2 * TIMEOUT_MS);
    cr_assert_eq(ops[0].err, NADB_EIO);
    for (size_t i = 1; i < 3; i++) {
        cr_assert_eq(ops[i].err, NADB_ESYNC, "%s", ops[i].error.text);
        cr_assert_str_eq(ops[i].error.text, "backend: outcome unknown");
    }
    free_all(subject, ops, 3);
    nadb_engine_freeze(&subject->engines[0], false);
    wait_for_service(subject);
    struct nadb_shared_stats stats;
    subject->ops->shared->stats(subject->backend, &stats);
    cr_assert_gt(stats.timeouts, 0);
}

Test(shared_contract, an_engine_that_hangs_leaves_the_outcome_unknown_in_time)
{
    on_single(hang);
}

Test(shared_contract, an_engine_that_is_not_there_is_said_to_be_down)
{
    const struct nadb_backend_ops *ops = nadb_backend_find("redis");
    const char *urls[] = {"redis://127.0.0.1:1"};
    struct nadb_backend_open_info info;
    struct nadb_error error;
    for (int may_wait = 0; may_wait < 2; may_wait++) {
        struct nadb_backend_opts opts = {.urls = urls, .url_count = 1, .may_wait = may_wait};
        struct nadb_backend *backend = ops->new_instance(&opts);
        uint64_t begin = now_ms();
        cr_assert_eq(ops->open(backend, &info, &error), NADB_EIO);
        cr_assert_lt(now_ms() - begin, 4000);
        cr_assert_not_null(strstr(error.text, "backend down: 127.0.0.1:1: "));
        ops->free(backend);
    }
}

Test(shared_contract, options_that_make_no_sense_are_refused_by_open)
{
    const struct nadb_backend_ops *ops = nadb_backend_find("redis");
    const char *url = "redis://127.0.0.1:1";
    const char *wrong = "rediss://user:secret@host:1";
    const char *two[] = {url, url};
    const struct nadb_backend_opts cases[] = {
        {.url_count = 0},
        {.urls = &wrong, .url_count = 1},
        {.urls = two, .url_count = 2},
        {.urls = &url, .url_count = 1, .prefix = "a{b"},
        {.urls = &url, .url_count = 1, .partitions = 1000000},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_backend_open_info info;
        struct nadb_error error;
        struct nadb_backend *backend = ops->new_instance(&cases[i]);
        cr_assert_eq(ops->open(backend, &info, &error), NADB_EINVAL, "%zu", i);
        cr_assert_null(strstr(error.text, "secret"));
        ops->free(backend);
    }
}

/* Opens at `url`; gives the error and its text. */
static enum nadb_err open_at(const char *url, struct nadb_error *ret)
{
    const struct nadb_backend_ops *ops = nadb_backend_find("redis");
    struct nadb_backend_opts opts = {.urls = &url, .url_count = 1, .prefix = "at:"};
    struct nadb_backend_open_info info;
    struct nadb_backend *backend = ops->new_instance(&opts);
    enum nadb_err err = ops->open(backend, &info, ret);
    if (err == NADB_OK) {
        cr_assert_eq(ops->close(backend, NULL), NADB_OK);
    }
    ops->free(backend);
    return err;
}

static void speak_to_all_doors(struct subject *subject)
{
    char url[NADB_TMPDIR_PATH_MAX + 64];
    char out[64];
    struct nadb_error error = {.code = NADB_OK};
    struct nadb_engine *engine = &subject->engines[0];
    (void)snprintf(
        url, sizeof(url), "unix://%s?db=2", nadb_tmpdir_file(&engine->dir, "engine.sock"));
    cr_assert_eq(open_at(url, &error), NADB_OK, "%s", error.text);
    cr_assert_eq(nadb_engine_number(engine, "-n 2 EXISTS at:meta"), 1);
    nadb_engine_ask(engine, "ACL SETUSER me on >pass:word ~* +@all", out, sizeof(out));
    (void)snprintf(url, sizeof(url), "redis://me:pass%%3aword@127.0.0.1:%u/3", engine->port);
    cr_assert_eq(open_at(url, &error), NADB_OK, "%s", error.text);
    cr_assert_eq(nadb_engine_number(engine, "-n 3 EXISTS at:meta"), 1);
    (void)snprintf(url, sizeof(url), "redis://me:other@127.0.0.1:%u/3", engine->port);
    cr_assert_eq(open_at(url, &error), NADB_EENGINE);
    cr_assert_eq(strncmp(error.text, "WRONGPASS ", 10), 0, "%s", error.text);
    cr_assert_null(strstr(error.text, "other"));
    (void)snprintf(url, sizeof(url), "redis://127.0.0.1:%u/9999", engine->port);
    cr_assert_eq(open_at(url, &error), NADB_EENGINE, "%s", error.text);
}

Test(shared_contract, sockets_users_and_databases_of_a_url_are_used)
{
    on_single(speak_to_all_doors);
}

/* Answers whoever comes with the same bytes, until it is told to end by a connection that sends
 * nothing. */
static void *answer_nonsense(void *arg)
{
    int listener = *(int *)arg;
    for (;;) {
        char bytes[4096];
        int fd = accept(listener, NULL, NULL);
        ssize_t got = fd < 0 ? 0 : recv(fd, bytes, sizeof(bytes), 0);
        if (got > 0) {
            (void)send(fd, "nonsense\r\n", 10, MSG_NOSIGNAL); /* who has left needs none */
        }
        (void)close(fd); /* nothing is kept there */
        if (got <= 0) {
            return NULL;
        }
    }
}

Test(shared_contract, an_engine_that_talks_nonsense_is_left)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    char url[64];
    pthread_t thread;
    struct nadb_error error = {.code = NADB_OK};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(listener, 8), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    cr_assert_eq(pthread_create(&thread, NULL, answer_nonsense, &listener), 0);
    (void)snprintf(url, sizeof(url), "redis://127.0.0.1:%u", ntohs(address.sin_port));
    cr_assert_eq(open_at(url, &error), NADB_EIO);
    cr_assert_not_null(strstr(error.text, "Protocol error"), "%s", error.text);
    int last = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(last, (struct sockaddr *)&address, len), 0);
    (void)close(last); /* that is all it is for, and the next is done with */
    cr_assert_eq(pthread_join(thread, NULL), 0);
    (void)close(listener);
}

static void may_evict(struct subject *subject)
{
    char out[64];
    close_subject(subject);
    nadb_engine_ask(
        &subject->engines[0], "CONFIG SET maxmemory-policy allkeys-lru", out, sizeof(out));
    open_subject(subject);
    cr_assert_not_null(strstr(subject->info.note, "allkeys-lru"));
}

Test(shared_contract, an_engine_that_may_evict_is_warned_of)
{
    on_single(may_evict);
}

/* ---- a cluster ---- */

static const struct {
    const char *name;
    clause_fn *run;
} cluster_clauses[] = {
#define ROW(name)                                                                                  \
    {                                                                                              \
#name, name                                                                                \
    }
    ROW(a_pattern_selects_what_it_matches_everywhere),
    ROW(a_tag_that_goes_and_comes_in_one_run_is_listed),
    ROW(what_was_put_is_fetched_whole),
    ROW(what_is_not_there_has_no_stamp),
    ROW(empty_keys_and_values_are_kept),
    ROW(each_write_has_a_stamp_of_its_own),
    ROW(a_header_alone_has_all_but_the_value),
    ROW(a_big_value_is_compressed_and_comes_back),
    ROW(keyspaces_are_apart),
    ROW(a_record_that_is_damaged_is_not_handed_out_and_can_be_replaced),
    ROW(the_tags_of_a_record_are_exact_after_every_change),
    ROW(a_record_changes_its_name_in_one_commit),
    ROW(the_last_of_several_changes_of_a_key_in_a_commit_counts),
    ROW(a_blind_put_keeps_the_time_of_creation),
    ROW(records_of_both_kinds_take_each_others_place_through_two_that_know_nothing_of_each_other),
    ROW(what_is_known_to_be_plain_takes_one_command_and_one_round_trip),
    ROW(that_a_key_is_gone_is_found_out_once),
    ROW(plain_records_go_with_what_selects_or_clears_them),
    ROW(a_check_that_does_not_hold_leaves_everything_as_it_was),
    ROW(operations_of_a_run_on_a_key_take_effect_in_order),
    ROW(hundreds_of_operations_of_a_run_each_have_their_outcome),
    ROW(keys_of_a_commit_that_cannot_change_together_are_refused),
    ROW(blind_puts_of_the_same_key_in_a_run_leave_the_last),
    ROW(blind_puts_in_place_of_what_has_tags_or_a_deadline_keep_the_index_exact),
    ROW(small_values_take_the_place_of_big_ones),
    ROW(what_the_engine_refuses_concerns_one_commit_only),
    ROW(several_threads_that_check_what_they_change_lose_nothing),
    ROW(what_has_expired_is_counted_nowhere_and_swept),
    ROW(a_new_deadline_counts_and_no_old_one),
    ROW(a_put_whose_time_is_over_removes),
    ROW(a_scan_sees_every_key_once),
    ROW(a_random_key_is_one_that_is_there),
    ROW(all_tags_are_listed_in_order_with_their_keys),
    ROW(selectors_select_as_the_store_does),
    ROW(a_malformed_selector_is_refused),
    ROW(an_invalidation_removes_what_is_selected_and_nothing_else),
    ROW(epochs_grow_and_are_remembered_by_tag),
    ROW(tags_whose_epoch_is_forgotten_have_that_of_the_horizon),
    ROW(a_commit_that_saw_another_epoch_is_a_conflict),
    ROW(a_cleared_keyspace_leaves_nothing_but_epochs),
    ROW(other_partitions_than_the_data_has_are_refused),
    ROW(an_engine_that_forgot_its_scripts_is_given_them_again),
#undef ROW
};

static void on_cluster(struct subject *subject)
{
    if (!nadb_engine_exists()) {
        cr_skip_test("no redis-server");
    }
    *subject = (struct subject){.engine_count = NADB_ENGINE_CLUSTER_COUNT};
    nadb_engine_make_cluster(subject->engines);
}

static void end_cluster(struct subject *subject)
{
    for (size_t i = 0; i < subject->engine_count; i++) {
        nadb_engine_remove(&subject->engines[i]);
    }
}

Test(shared_contract, a_cluster_keeps_every_promise_of_a_single_server)
{
    static struct subject subject;
    on_cluster(&subject);
    for (unsigned i = 0; i < NADB_ARRAY_LEN(cluster_clauses); i++) {
        (void)fprintf(stderr, "cluster: %s\n", cluster_clauses[i].name);
        run_clause(&subject, cluster_clauses[i].run, i + 1);
    }
    end_cluster(&subject);
}

/* The master of a key's slot. */
static size_t master_of(struct subject *subject, const char *name)
{
    char command[128];
    char out[64];
    (void)snprintf(command, sizeof(command), "EXISTS %s", name);
    for (size_t i = 0; i < subject->engine_count; i++) {
        nadb_engine_ask(&subject->engines[i], "ROLE", out, sizeof(out));
        if (strncmp(out, "master", 6) != 0) {
            continue;
        }
        nadb_engine_ask(&subject->engines[i], command, out, sizeof(out));
        if (strstr(out, "MOVED") == NULL) {
            return i;
        }
    }
    cr_assert(false, "nobody has %s", name);
    return 0;
}

static void set_slot(
    const struct nadb_engine *engine, long long slot, const char *state, const char *node)
{
    char command[256];
    char out[256];
    (void)snprintf(command, sizeof(command), "CLUSTER SETSLOT %lld %s %.40s", slot, state, node);
    nadb_engine_ask(engine, command, out, sizeof(out));
    cr_assert_eq(strncmp(out, "OK", 2), 0, "%s", out);
}

/* Moves the slot of key "k" by hand, with commits in the middle of it. */
static void move_slot(struct subject *subject)
{
    char from_id[64];
    char to_id[64];
    char out[8192];
    char command[9000];
    put(subject, "k", "1", "t");
    put(subject, "{k}2", "1", "t,u");
    unsigned partition = 0;
    char name[64];
    size_t from = 0;
    for (; partition < PARTITIONS; partition++) {
        (void)snprintf(name, sizeof(name), "%s{%u}r:0:k", subject->prefix, partition);
        from = master_of(subject, name);
        (void)snprintf(command, sizeof(command), "EXISTS %s", name);
        if (nadb_engine_number(&subject->engines[from], command) == 1) {
            break;
        }
    }
    cr_assert_lt(partition, PARTITIONS);
    (void)snprintf(command, sizeof(command), "CLUSTER KEYSLOT %s", name);
    long long slot = nadb_engine_number(&subject->engines[from], command);
    size_t to = from;
    for (size_t i = 0; i < subject->engine_count && to == from; i++) {
        nadb_engine_ask(&subject->engines[i], "ROLE", out, sizeof(out));
        if (i != from && strncmp(out, "master", 6) == 0) {
            to = i;
        }
    }
    nadb_engine_ask(&subject->engines[from], "CLUSTER MYID", from_id, sizeof(from_id));
    nadb_engine_ask(&subject->engines[to], "CLUSTER MYID", to_id, sizeof(to_id));
    set_slot(&subject->engines[to], slot, "IMPORTING", from_id);
    set_slot(&subject->engines[from], slot, "MIGRATING", to_id);
    expect(subject, "k", "1");
    (void)snprintf(command, sizeof(command), "MIGRATE 127.0.0.1 %u %s 0 5000",
        subject->engines[to].port, name);
    nadb_engine_ask(&subject->engines[from], command, out, sizeof(out));
    cr_assert_eq(strncmp(out, "OK", 2), 0, "%s", out);
    expect(subject, "k", "1"); /* by ASK */
    struct nadb_op both[] = {fetch_of("k"), fetch_of("{k}2")};
    run_all(subject, both, 2);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(both[i].err, NADB_OK, "%s", both[i].error.text);
        cr_assert_neq(both[i].found->stamp, 0);
    }
    free_all(subject, both, 2);
    struct nadb_op around[] = {fetch_of("k"), fetch_of("{k}2"), fetch_of("{k}2")};
    around[1].wants_value = false;
    around[1].wants_times = true;
    run_all(subject, around, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(around[i].err, NADB_OK, "%s", around[i].error.text);
        cr_assert_neq(around[i].found->stamp, 0);
    }
    cr_assert_eq(around[1].found->entry.created_ms, 1000);
    cr_assert_eq(around[1].found->value_len, 1);
    free_all(subject, around, 3);
    struct nadb_change elsewhere = put_change(subject, "elsewhere", NADB_SLICE("1"), "", 0);
    struct nadb_op beside[] = {commit_of(&elsewhere, 1), fetch_of("k"), fetch_of("{k}none")};
    uint64_t begin = now_ms();
    run_all(subject, beside, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(beside[i].err, NADB_OK, "%s", beside[i].error.text);
        cr_assert(i == 0 || (beside[i].found->stamp != 0) == (i == 1));
    }
    cr_assert_lt(now_ms() - begin, TIMEOUT_MS);
    free_all(subject, beside, 3);
    delete (subject, "elsewhere");
    struct nadb_change change = put_change(subject, "k", NADB_SLICE("2"), "u", 0);
    struct nadb_op op = commit_of(&change, 1);
    run_all(subject, &op, 1);
    cr_assert_eq(op.err, NADB_EENGINE, "half of it is here, half of it there");
    cr_assert_eq(strncmp(op.error.text, "TRYAGAIN", 8), 0, "%s", op.error.text);
    (void)snprintf(command, sizeof(command), "CLUSTER GETKEYSINSLOT %lld 100", slot);
    nadb_engine_ask(&subject->engines[from], command, out, sizeof(out));
    for (char *at = out; *at != '\0';) {
        size_t len = strcspn(at, "\n");
        char done[256];
        at[len] = '\0';
        (void)snprintf(command, sizeof(command), "MIGRATE 127.0.0.1 %u %s 0 5000",
            subject->engines[to].port, at);
        nadb_engine_ask(&subject->engines[from], command, done, sizeof(done));
        at += len + 1;
    }
    set_slot(&subject->engines[to], slot, "NODE", to_id);
    set_slot(&subject->engines[from], slot, "NODE", to_id);
    put(subject, "k", "3", "u");
    expect(subject, "k", "3");
    cr_assert_eq(count_tag(subject, "t"), 1);
    cr_assert_eq(count_tag(subject, "u"), 2);
    struct nadb_shared_stats stats;
    subject->ops->shared->stats(subject->backend, &stats);
    cr_assert_gt(stats.redirects, 0);
    cr_assert_eq(stats.servers, 3);
}

/* Until a replica has all that the engine has, if it is a master: one that was hung may have lost
 * its place meanwhile, and is a replica that begins anew. */
static void wait_for_replica(const struct nadb_engine *engine)
{
    char role[8192];
    uint64_t end = now_ms() + WAIT_MS;
    for (;;) {
        nadb_engine_ask(engine, "ROLE", role, sizeof(role));
        if (strncmp(role, "master", 6) != 0 || nadb_engine_number(engine, "WAIT 1 200") > 0) {
            return;
        }
        cr_assert_lt(now_ms(), end, "a master has no replica: %s", role);
    }
}

/* A master dies; what its replica had is served again. */
static void lose_master(struct subject *subject)
{
    char name[64];
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key%d", i);
        put(subject, key, "v", "t");
    }
    (void)snprintf(name, sizeof(name), "%s{0}x", subject->prefix);
    size_t victim = master_of(subject, name);
    for (size_t i = 0; i < subject->engine_count; i++) {
        wait_for_replica(&subject->engines[i]);
    }
    nadb_engine_kill(&subject->engines[victim]);
    uint64_t begin = now_ms();
    struct nadb_op op = {.kind = NADB_OP_COUNT};
    run_all(subject, &op, 1);
    cr_assert_lt(now_ms() - begin, 2 * TIMEOUT_MS);
    free_all(subject, &op, 1);
    uint64_t end = now_ms() + WAIT_MS;
    do {
        (void)poll(NULL, 0, 20);
        run_all(subject, &op, 1);
        cr_assert_lt(now_ms(), end, "%s", op.error.text);
        free_all(subject, &op, 1);
    } while (op.err != NADB_OK);
    cr_assert_eq(op.number, 40);
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key%d", i);
        put(subject, key, "w", "t");
        expect(subject, key, "w");
    }
}

/* A master hangs: what the others have is served all the time. */
static void hang_master(struct subject *subject)
{
    char name[64];
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key%d", i);
        put(subject, key, "v", "t");
    }
    (void)snprintf(name, sizeof(name), "%s{0}x", subject->prefix);
    size_t victim = master_of(subject, name);
    nadb_engine_freeze(&subject->engines[victim], true);
    size_t served = 0;
    for (int round = 0; round < 2; round++) {
        struct nadb_op ops[40];
        char keys[40][16];
        for (int i = 0; i < 40; i++) {
            (void)snprintf(keys[i], sizeof(keys[i]), "key%d", i);
            ops[i] = fetch_of(keys[i]);
        }
        uint64_t begin = now_ms();
        run_all(subject, ops, 40);
        cr_assert_lt(now_ms() - begin, 2 * TIMEOUT_MS);
        served = 0;
        for (int i = 0; i < 40; i++) {
            served += ops[i].err == NADB_OK && ops[i].found->stamp != 0;
        }
        free_all(subject, ops, 40);
        cr_assert_gt(served, 0);
    }
    nadb_engine_freeze(&subject->engines[victim], false);
}

Test(shared_contract, a_cluster_that_moves_a_slot_and_loses_a_master_is_followed, .timeout = 120)
{
    static struct subject subject;
    on_cluster(&subject);
    run_clause(&subject, move_slot, 1);
    run_clause(&subject, hang_master, 2);
    run_clause(&subject, lose_master, 3);
    end_cluster(&subject);
}
