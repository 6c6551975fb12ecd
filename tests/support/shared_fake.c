/* This file is a shared backend whose engine is a store in memory. */
#include "tests/support/shared_fake.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "backends/registry.h"
#include "src/base/codec.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define STAMPS_FIRST (UINT64_C(1) << 40)
#define STAMP_MASK   ((UINT64_C(1) << NADB_REC_VERSION_BITS) - 1)

struct fake {
    struct nadb_backend backend; /* first */
    struct nadb_shared_engine *engine;
};

/* ---- the engine ---- */

static void on_end(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    (void)ctx;
    (void)error;
    cr_assert_eq(err, NADB_OK);
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static void on_undone(void *ctx, const struct nadb_error *error)
{
    (void)ctx;
    (void)error;
}

static void on_notice(void *ctx, bool is_warning, const char *line)
{
    (void)ctx;
    (void)is_warning;
    (void)line;
}

static const struct nadb_store_events events = {
    .opened = on_end,
    .closed = on_end,
    .durable = on_nothing,
    .undone = on_undone,
    .admit = on_nothing,
    .wake = on_nothing,
    .notice = on_notice,
};

void nadb_shared_engine_init(struct nadb_shared_engine *engine, struct nadb_clock *clock)
{
    *engine = (struct nadb_shared_engine){0};
    nadb_inline_executor_init(&engine->executor);
    nadb_buf_init(&engine->said, 1 << 20);
    const struct nadb_backend_opts backend_opts = {.dir = "", .segment_size_bytes = 1 << 20};
    const struct nadb_store_opts opts = {
        .clock = clock,
        .executor = &engine->executor.executor,
        .events = &events,
        .backend_ops = &nadb_backend_memory_ops,
        .backend = nadb_backend_memory_ops.new_instance(&backend_opts),
        .durability = NADB_DURABILITY_INTERVAL,
        .buffer_size_bytes = 1 << 20,
        .flush_interval_ms = 1000,
        .databases = 1024,
        .namespaces_max = 1024,
        .hash_seed = {3, 4},
    };
    engine->store = nadb_store_new(&opts);
    nadb_store_open(engine->store);
    do {
        (void)nadb_inline_executor_run_all(&engine->executor);
    } while (nadb_store_step(engine->store, 1000000));
}

void nadb_shared_engine_fini(struct nadb_shared_engine *engine)
{
    (void)nadb_inline_executor_run_all(&engine->executor);
    nadb_buf_fini(&engine->said);
    nadb_store_free(engine->store);
}

static void begin_turn(struct nadb_shared_engine *engine)
{
    nadb_store_turn_begin(engine->store);
    while (nadb_store_retire(engine->store, 1000000)) {
    }
}

void nadb_shared_engine_set(struct nadb_shared_engine *engine, const char *key, const char *value)
{
    struct nadb_keyspace *keyspace =
        nadb_store_keyspace(engine->store, 0, nadb_slice_of(NULL, 0), true);
    struct nadb_key name = nadb_store_key(engine->store, nadb_slice_cstr(key));
    const struct nadb_put put = {.value = nadb_slice_cstr(value)};
    begin_turn(engine);
    nadb_store_command_begin(engine->store);
    cr_assert_eq(nadb_store_put(engine->store, keyspace, &name, &put), NADB_OK);
    (void)nadb_store_command_end(engine->store);
}

/* ---- memory of an operation ---- */

struct piece {
    struct piece *next;
    _Alignas(16) char bytes[];
};

static void *take(struct nadb_op *op, size_t len)
{
    struct piece *piece = nadb_mem_zalloc(sizeof(*piece) + len + 1);
    piece->next = op->backend_private;
    op->backend_private = piece;
    return piece->bytes;
}

static struct nadb_slice copy(struct nadb_op *op, struct nadb_slice bytes)
{
    char *to = take(op, bytes.len);
    if (bytes.len > 0) {
        memcpy(to, bytes.data, bytes.len);
    }
    return nadb_slice_of(to, bytes.len);
}

static void fake_op_free(struct nadb_op *op)
{
    while (op->backend_private != NULL) {
        struct piece *piece = op->backend_private;
        op->backend_private = piece->next;
        nadb_mem_free(piece);
    }
}

/* ---- operations ---- */

static struct nadb_keyspace *space_of(
    struct nadb_shared_engine *engine, const struct nadb_place *place)
{
    struct nadb_keyspace *keyspace =
        nadb_store_keyspace(engine->store, place->db, place->name, true);
    cr_assert_not_null(keyspace);
    return keyspace;
}

static void fill_found(struct nadb_shared_engine *engine, struct nadb_op *op,
    const struct nadb_rec *rec, struct nadb_found *ret)
{
    struct nadb_slice value = nadb_rec_value(rec);
    *ret = (struct nadb_found){
        .stamp = rec->version,
        .value_len = value.len,
        .entry =
            {
                .kind = NADB_ENTRY_PUT,
                .key = copy(op, nadb_rec_key(rec)),
                .tags = copy(op, nadb_rec_tags(rec)),
                .created_ms = op->wants_times ? rec->created_ms : 0,
                .updated_ms = rec->updated_ms,
                .expire_ms = nadb_rec_expire_ms(rec),
                .accessed_s =
                    (uint32_t)nadb_rec_accessed_s(rec, nadb_store_now_ms(engine->store) / 1000),
            },
    };
    if (op->wants_value) {
        ret->entry.value = copy(op, value);
    }
}

static void fetch(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    struct nadb_key key = nadb_store_key(engine->store, op->key);
    struct nadb_keyspace *keyspace = space_of(engine, &op->place);
    const struct nadb_rec *rec = op->wants_times ? nadb_store_peek(engine->store, keyspace, &key)
                                                 : nadb_store_read(engine->store, keyspace, &key);
    op->found = take(op, sizeof(*op->found));
    op->found_count = 1;
    engine->fetches++;
    if (rec != NULL) {
        fill_found(engine, op, rec, op->found);
    }
}

/* 0: never since the engine began. */
static uint64_t epoch_of(const struct nadb_keyspace *keyspace, struct nadb_slice tag)
{
    const struct nadb_epochs *epochs = keyspace->space->epochs;
    if (epochs == NULL) {
        return 0;
    }
    struct nadb_epoch epoch = tag.len == 0 ? epochs->everything : nadb_epochs_of(epochs, tag);
    return epoch.ms == 0 ? 0 : epoch.number;
}

static bool holds(struct nadb_shared_engine *engine, const struct nadb_check *check)
{
    struct nadb_keyspace *keyspace = space_of(engine, &check->place);
    if (check->is_epoch) {
        return epoch_of(keyspace, check->tag) == check->epoch;
    }
    struct nadb_key key = nadb_store_key(engine->store, check->key);
    const struct nadb_rec *rec = nadb_store_peek(engine->store, keyspace, &key);
    return (rec == NULL ? 0 : rec->version) == check->stamp;
}

static void apply(struct nadb_shared_engine *engine, const struct nadb_change *change)
{
    struct nadb_store *store = engine->store;
    struct nadb_keyspace *keyspace = space_of(engine, &change->place);
    struct nadb_key key = nadb_store_key(store, change->entry.key);
    if (change->entry.kind == NADB_ENTRY_DELETE) {
        (void)nadb_store_delete(store, keyspace, &key);
        return;
    }
    const struct nadb_put put = {
        .value = change->entry.value,
        .expire_ms = change->entry.expire_ms,
        .tags = change->entry.tags,
    };
    cr_assert_eq(nadb_store_put(store, keyspace, &key, &put), NADB_OK);
    const struct nadb_rec *rec = nadb_store_peek(store, keyspace, &key);
    struct nadb_times times = {
        .created_ms =
            rec != NULL && change->keeps_created ? rec->created_ms : change->entry.created_ms,
        .updated_ms = change->entry.updated_ms,
        .accessed_ms = (uint64_t)change->entry.accessed_s * 1000,
    };
    nadb_store_set_times(store, keyspace, &key, &times);
    if (rec != NULL) {
        ((struct nadb_rec *)(uintptr_t)rec)->version = change->stamp & STAMP_MASK;
    }
}

static void commit(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    engine->commits++;
    if (engine->before_commit != NULL) {
        void (*before)(void *, struct nadb_shared_engine *) = engine->before_commit;
        engine->before_commit = NULL;
        (void)nadb_store_command_end(engine->store);
        before(engine->before_commit_ctx, engine);
        nadb_store_command_begin(engine->store);
    }
    for (size_t i = 0; i < op->check_count; i++) {
        if (!holds(engine, &op->checks[i])) {
            op->is_conflict = true;
            engine->conflicts++;
            return;
        }
    }
    for (size_t i = 0; i < op->change_count; i++) {
        apply(engine, &op->changes[i]);
    }
}

struct listing {
    struct nadb_shared_engine *engine;
    struct nadb_op *op;
    size_t cap;
    bool is_found;
};

static void list_rec(void *ctx, const struct nadb_rec *rec)
{
    struct listing *listing = ctx;
    struct nadb_op *op = listing->op;
    if (listing->is_found) {
        cr_assert_lt(op->found_count, listing->cap);
        fill_found(listing->engine, op, rec, &op->found[op->found_count++]);
    } else {
        cr_assert_lt(op->key_count, listing->cap);
        op->keys[op->key_count++] = copy(op, nadb_rec_key(rec));
    }
}

static void scan(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    struct nadb_keyspace *keyspace = space_of(engine, &op->place);
    size_t cap = (size_t)nadb_keyspace_count(keyspace) * 2 + 1024;
    op->keys = take(op, cap * sizeof(*op->keys));
    struct listing listing = {engine, op, cap, false};
    op->next_cursor = op->cursor;
    do {
        op->next_cursor =
            nadb_store_scan(engine->store, keyspace, op->next_cursor, list_rec, &listing);
    } while (op->next_cursor != 0 && op->key_count < op->count);
}

static void pick(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    const struct nadb_rec *rec = nadb_store_random(engine->store, space_of(engine, &op->place));
    op->keys = take(op, sizeof(*op->keys));
    if (rec != NULL) {
        op->keys[op->key_count++] = copy(op, nadb_rec_key(rec));
    }
}

static void add_tally(void *ctx, struct nadb_slice tag, uint64_t count)
{
    struct nadb_op *op = ctx;
    op->tallies[op->tally_count++] = (struct nadb_tag_tally){copy(op, tag), count};
}

static int compare_tags(const void *a, const void *b)
{
    return nadb_slice_cmp(
        ((const struct nadb_tag_tally *)a)->tag, ((const struct nadb_tag_tally *)b)->tag);
}

static void list_tags(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    struct nadb_keyspace *keyspace = space_of(engine, &op->place);
    size_t cap = keyspace->space->tags == NULL ? 0 : keyspace->space->tags->names.count * 2;
    op->tallies = take(op, (cap + 64) * sizeof(*op->tallies));
    uint64_t cursor = 0;
    do {
        cursor = nadb_store_tag_scan(engine->store, keyspace, cursor, add_tally, op);
    } while (cursor != 0);
    if (op->tally_count > 1) {
        qsort(op->tallies, op->tally_count, sizeof(*op->tallies), compare_tags);
    }
}

static void count_tags(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    struct nadb_keyspace *keyspace = space_of(engine, &op->place);
    op->tallies = take(op, op->tag_count * sizeof(*op->tallies));
    for (size_t i = 0; i < op->tag_count; i++) {
        add_tally(op, op->tags[i], nadb_store_tag_count(engine->store, keyspace, op->tags[i]));
    }
}

static void select_keys(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    struct nadb_keyspace *keyspace = space_of(engine, &op->place);
    struct nadb_selector selector;
    struct nadb_slice pattern;
    nadb_selector_init(&selector);
    cr_assert(nadb_selector_unpack(&selector, op->selector, &pattern));
    uint64_t max = nadb_keyspace_count(keyspace);
    op->found = take(op, (max + 1) * sizeof(*op->found));
    struct listing listing = {engine, op, max + 1, true};
    struct nadb_query query;
    struct nadb_error error;
    op->err = nadb_query_init(&query, engine->store, keyspace, &selector, &error);
    cr_assert_eq(op->err, NADB_OK);
    if (pattern.data == NULL) {
        op->number = nadb_query_count(&query, keyspace);
    }
    while (nadb_query_visit(&query, engine->store, keyspace, &selector, 64, list_rec, &listing)) {
    }
    if (pattern.data != NULL) {
        const struct nadb_invalidate_opts opts = {
            .selector = &selector, .pattern = pattern, .is_dry_run = true};
        struct nadb_invalidation *progress = NULL;
        cr_assert_eq(
            nadb_store_invalidate(engine->store, keyspace, &opts, &progress, &op->number, &error),
            NADB_INVALIDATE_DONE);
    }
    if (!op->wants_records || op->number > op->records_max) {
        op->found_count = 0;
    }
    nadb_query_fini(&query);
    nadb_selector_fini(&selector);
}

static void invalidate(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    struct nadb_selector selector;
    struct nadb_slice pattern;
    nadb_selector_init(&selector);
    cr_assert(nadb_selector_unpack(&selector, op->selector, &pattern));
    const struct nadb_invalidate_opts opts = {.selector = &selector, .pattern = pattern};
    struct nadb_invalidation *progress = NULL;
    struct nadb_error error;
    cr_assert_eq(nadb_store_invalidate(engine->store, space_of(engine, &op->place), &opts,
                     &progress, &op->number, &error),
        NADB_INVALIDATE_DONE);
    op->epoch = nadb_store_epoch(engine->store);
    nadb_selector_fini(&selector);
}

static void list_epochs(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    const struct nadb_keyspace *keyspace = space_of(engine, &op->place);
    op->epochs = take(op, op->tag_count * sizeof(*op->epochs));
    op->epoch = epoch_of(keyspace, nadb_slice_of(NULL, 0));
    for (size_t i = 0; i < op->tag_count; i++) {
        op->epochs[i] = epoch_of(keyspace, op->tags[i]);
    }
}

static void list_spaces(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    size_t cap = engine->store->keyspace_count + 1;
    op->spaces = take(op, cap * sizeof(*op->spaces));
    for (struct nadb_keyspace *keyspace = nadb_store_keyspace_next(engine->store, NULL);
         keyspace != NULL; keyspace = nadb_store_keyspace_next(engine->store, keyspace)) {
        if (nadb_keyspace_count(keyspace) == 0) {
            continue;
        }
        uint64_t expires = nadb_keyspace_expires(keyspace);
        op->spaces[op->space_count++] = (struct nadb_space_tally){
            .place = {keyspace->db, copy(op, nadb_keyspace_name(keyspace))},
            .keys = nadb_keyspace_count(keyspace),
            .expires = expires,
            .ttl_sum_ms = expires * nadb_keyspace_ttl_avg_ms(engine->store, keyspace),
        };
    }
}

static void say(struct nadb_shared_engine *engine, const struct nadb_op *op)
{
    char head[8];
    nadb_put_u32(head, (uint32_t)op->key.len);
    nadb_put_u32(head + 4, (uint32_t)op->text.len);
    cr_assert(nadb_buf_append(&engine->said, head, sizeof(head)));
    cr_assert(nadb_buf_append(&engine->said, op->key.data, op->key.len));
    cr_assert(nadb_buf_append(&engine->said, op->text.data, op->text.len));
}

static void run_op(struct nadb_shared_engine *engine, struct nadb_op *op)
{
    switch (op->kind) {
    case NADB_OP_FETCH:
        fetch(engine, op);
        break;
    case NADB_OP_COMMIT:
        commit(engine, op);
        break;
    case NADB_OP_COUNT:
        op->number = nadb_keyspace_count(space_of(engine, &op->place));
        break;
    case NADB_OP_SCAN:
        scan(engine, op);
        break;
    case NADB_OP_RANDOM:
        pick(engine, op);
        break;
    case NADB_OP_TAG_COUNTS:
        count_tags(engine, op);
        break;
    case NADB_OP_TAGS:
        list_tags(engine, op);
        break;
    case NADB_OP_SELECT:
        select_keys(engine, op);
        break;
    case NADB_OP_INVALIDATE:
        invalidate(engine, op);
        break;
    case NADB_OP_CLEAR:
        op->number = nadb_store_clear(engine->store, space_of(engine, &op->place));
        op->epoch = nadb_store_epoch(engine->store);
        break;
    case NADB_OP_EPOCH:
        op->number = nadb_store_epoch(engine->store);
        op->epoch = engine->store->horizon_opened.number;
        break;
    case NADB_OP_TAG_EPOCHS:
        list_epochs(engine, op);
        break;
    case NADB_OP_SPACES:
        list_spaces(engine, op);
        break;
    case NADB_OP_PUBLISH:
        say(engine, op);
        break;
    }
}

static struct nadb_shared_engine *engine_of(struct nadb_backend *backend)
{
    return ((struct fake *)(void *)backend)->engine;
}

static void fake_run(struct nadb_backend *backend, const struct nadb_shared_settings *settings,
    struct nadb_op *const *ops, size_t count)
{
    (void)settings;
    struct nadb_shared_engine *engine = engine_of(backend);
    engine->runs++;
    engine->by = backend;
    engine->last_ops = count;
    bool does_fail = engine->fail_runs > 0;
    engine->fail_runs -= does_fail;
    begin_turn(engine);
    for (size_t i = 0; i < count; i++) {
        engine->ops++;
        if (does_fail) {
            ops[i]->err = nadb_error_set(&ops[i]->error, engine->fail_err, 0, "backend down: test");
            continue;
        }
        nadb_store_command_begin(engine->store);
        run_op(engine, ops[i]);
        (void)nadb_store_command_end(engine->store);
        while (nadb_store_step(engine->store, 1000000)) {
        }
    }
}

static uint64_t fake_tend(struct nadb_backend *backend)
{
    (void)backend;
    return 0;
}

static void fake_listen(struct nadb_backend *backend, uint64_t wait_ms, struct nadb_buf *heard)
{
    (void)wait_ms;
    struct nadb_shared_engine *engine = engine_of(backend);
    if (engine->by != backend) {
        cr_assert(nadb_buf_append(heard, engine->said.data, engine->said.len));
        engine->said.len = 0;
    }
}

static void fake_hush(struct nadb_backend *backend)
{
    (void)backend;
}

static nadb_stamp fake_new_stamp(struct nadb_backend *backend)
{
    return STAMPS_FIRST + ++engine_of(backend)->stamps;
}

static void fake_stats(struct nadb_backend *backend, struct nadb_shared_stats *ret)
{
    *ret = (struct nadb_shared_stats){.batches = engine_of(backend)->runs, .servers = 1};
}

static const struct nadb_shared_ops shared_ops = {.run = fake_run,
    .op_free = fake_op_free,
    .new_stamp = fake_new_stamp,
    .tend = fake_tend,
    .listen = fake_listen,
    .hush = fake_hush,
    .stats = fake_stats};

/* ---- an instance ---- */

static enum nadb_err fake_open(struct nadb_backend *backend,
    struct nadb_backend_open_info *ret_info, struct nadb_error *reterr)
{
    struct nadb_shared_engine *engine = engine_of(backend);
    engine->opens++;
    if (engine->fail_opens > 0) {
        engine->fail_opens--;
        return nadb_error_set(reterr, NADB_EIO, 0, "backend down: not yet");
    }
    *ret_info = (struct nadb_backend_open_info){.was_clean = true};
    return NADB_OK;
}

static enum nadb_err fake_close(struct nadb_backend *backend, struct nadb_error *reterr)
{
    (void)backend;
    (void)reterr;
    return NADB_OK;
}

static void fake_free(struct nadb_backend *backend)
{
    nadb_mem_free(backend);
}

const struct nadb_backend_ops nadb_shared_fake_ops = {
    .name = "shared-fake",
    .caps = NADB_BACKEND_SHARED,
    .open = fake_open,
    .shared = &shared_ops,
    .close = fake_close,
    .free = fake_free,
};

struct nadb_backend *nadb_shared_fake_new(struct nadb_shared_engine *engine)
{
    struct fake *fake = nadb_mem_zalloc(sizeof(*fake));
    fake->backend.ops = &nadb_shared_fake_ops;
    fake->engine = engine;
    return &fake->backend;
}
