/* This file makes batches from numbers and recognises them again. */
#include "tests/support/log_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/mem.h"
#include "src/base/random.h"

#define ENTRIES_MAX   400
#define ARENA_SMALL   (16u << 10)
#define ARENA_VARIED  (2u << 20)
#define WHY_BYTES     400
#define WALL_BASE_MS  UINT64_C(1700000000000)
#define BIG_VALUE_MAX (300u << 10)

struct nadb_log_model {
    uint64_t seed;
    enum nadb_log_scale scale;
    struct nadb_rng rng;
    struct nadb_batch batch;
    struct nadb_entry entries[ENTRIES_MAX];
    uint64_t locs[ENTRIES_MAX];
    char *arena; /* what all entries of a batch together point into; beyond, they are empty */
    size_t arena_cap;
    size_t arena_len;
    char why[WHY_BYTES];
};

struct nadb_log_model *nadb_log_model_new(uint64_t seed, enum nadb_log_scale scale)
{
    struct nadb_log_model *model = nadb_mem_zalloc(sizeof(*model));
    model->seed = seed;
    model->scale = scale;
    model->arena_cap = scale == NADB_LOG_SMALL ? ARENA_SMALL : ARENA_VARIED;
    model->arena = nadb_mem_alloc(model->arena_cap);
    return model;
}

void nadb_log_model_free(struct nadb_log_model *model)
{
    nadb_mem_free(model->arena);
    nadb_mem_free(model);
}

/* ---- making ---- */

static uint64_t below(struct nadb_log_model *model, uint64_t bound)
{
    return nadb_rng_below(&model->rng, bound);
}

static struct nadb_slice make_bytes(struct nadb_log_model *model, size_t len)
{
    char *bytes = model->arena + model->arena_len;
    if (len > model->arena_cap - model->arena_len) {
        len = 0;
    }
    for (size_t i = 0; i < len; i++) {
        bool is_random = (i & 7) == 0 && (len & 1) != 0; /* half of them can be compressed well */
        bytes[i] = (char)(is_random ? nadb_rng_next(&model->rng) : i % 16);
    }
    model->arena_len += len;
    return nadb_slice_of(bytes, len);
}

static struct nadb_slice make_tags(struct nadb_log_model *model)
{
    char *bytes = model->arena + model->arena_len;
    size_t len = 0;
    for (uint64_t tags = below(model, 4); tags > 0; tags--) {
        size_t tag_len = (size_t)below(model, 20);
        if (len + 2 + tag_len > model->arena_cap - model->arena_len) {
            break;
        }
        nadb_put_u16(bytes + len, (uint16_t)tag_len);
        memset(bytes + len + 2, 'a' + (int)(tags % 26), tag_len);
        len += 2 + tag_len;
    }
    model->arena_len += len;
    return nadb_slice_of(bytes, len);
}

static size_t value_len(struct nadb_log_model *model)
{
    if (model->scale == NADB_LOG_VARIED && below(model, 40) == 0) {
        return (size_t)below(model, BIG_VALUE_MAX);
    }
    return (size_t)below(model, 200);
}

static uint64_t wall_of(const struct nadb_log_model *model, uint64_t seq)
{
    struct nadb_rng rng;
    nadb_rng_seed(&rng, model->seed ^ (seq * 31));
    uint64_t back = nadb_rng_below(&rng, 8) == 0 ? 50 : 0; /* the clock may go back */
    return WALL_BASE_MS + seq * 10 - back;
}

static void make_put(struct nadb_log_model *model, struct nadb_entry *entry)
{
    entry->value = make_bytes(model, value_len(model));
    entry->tags = below(model, 3) == 0 ? make_tags(model) : NADB_SLICE("");
    entry->created_ms = WALL_BASE_MS + below(model, 100000);
    entry->updated_ms = entry->created_ms + (below(model, 2) == 0 ? 0 : below(model, 1000000));
    entry->expire_ms = below(model, 3) == 0 ? entry->updated_ms + 1 + below(model, 1000) : 0;
    entry->accessed_s =
        (uint32_t)(entry->updated_ms / 1000 + (below(model, 2) == 0 ? 0 : below(model, 1000)));
}

static void make_entry(struct nadb_log_model *model, struct nadb_entry *entry, uint64_t version)
{
    static const enum nadb_entry_kind kinds[] = {
        NADB_ENTRY_PUT,
        NADB_ENTRY_PUT,
        NADB_ENTRY_PUT,
        NADB_ENTRY_PUT,
        NADB_ENTRY_DELETE,
        NADB_ENTRY_CLEAR,
        NADB_ENTRY_NAME,
        NADB_ENTRY_DROP,
        NADB_ENTRY_INVALIDATE,
    };
    *entry = (struct nadb_entry){
        .kind = kinds[below(model, NADB_ARRAY_LEN(kinds))],
        .keyspace = (uint16_t)below(model, NADB_KEYSPACE_COUNT_MAX),
        .version = version,
    };
    switch (entry->kind) {
    case NADB_ENTRY_PUT:
        entry->key = make_bytes(model, (size_t)below(model, 40));
        make_put(model, entry);
        break;
    case NADB_ENTRY_DELETE:
        entry->key = make_bytes(model, (size_t)below(model, 40));
        break;
    case NADB_ENTRY_NAME:
        entry->db = (uint16_t)below(model, 65536);
        entry->key = make_bytes(model, (size_t)below(model, NADB_NAMESPACE_LEN_MAX + 1));
        break;
    case NADB_ENTRY_INVALIDATE:
        entry->value = make_bytes(model, value_len(model));
        break;
    case NADB_ENTRY_CLEAR:
    case NADB_ENTRY_DROP:
    default:
        break;
    }
}

static void entry_of(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct nadb_log_model *model = batch->entry_ctx;
    *ret = model->entries[index];
}

struct nadb_batch *nadb_log_model_batch(struct nadb_log_model *model, uint64_t seq)
{
    nadb_rng_seed(&model->rng, model->seed + seq * UINT64_C(0x9e3779b97f4a7c15));
    model->arena_len = 0;
    bool is_large = model->scale == NADB_LOG_VARIED && below(model, 4) == 0;
    size_t count = (size_t)below(model, is_large ? ENTRIES_MAX : 6);
    for (size_t i = 0; i < count; i++) {
        make_entry(model, &model->entries[i], seq * ENTRIES_MAX + i);
    }
    model->batch = (struct nadb_batch){
        .seq = seq,
        .last_version = seq * ENTRIES_MAX + (count == 0 ? 0 : count - 1),
        .wall_ms = wall_of(model, seq),
        .compression = {.is_on = seq % 3 != 0, .level = 1 + (int)(seq % 9), .threshold_len = 64},
        .count = count,
        .entry = entry_of,
        .entry_ctx = model,
        .locs = model->locs,
    };
    return &model->batch;
}

/* ---- recognising ---- */

struct comparing {
    struct nadb_log_model *model;
    uint64_t last_seq;
    uint64_t seq; /* of the batch in the model */
    size_t index; /* the next entry of it */
    uint64_t dead_ms;
};

static uint64_t latest_wall(const struct nadb_log_model *model, uint64_t from, uint64_t to)
{
    uint64_t latest = 0;
    for (uint64_t seq = from; seq <= to; seq++) {
        uint64_t wall_ms = wall_of(model, seq);
        latest = wall_ms > latest ? wall_ms : latest;
    }
    return latest;
}

/* Moves on to the next expected entry; NULL when there are no more. */
static const struct nadb_entry *next_entry(struct comparing *comparing)
{
    while (comparing->index == comparing->model->batch.count) {
        if (comparing->seq == comparing->last_seq) {
            return NULL;
        }
        comparing->seq++;
        comparing->index = 0;
        (void)nadb_log_model_batch(comparing->model, comparing->seq);
        comparing->dead_ms = latest_wall(comparing->model, comparing->seq, comparing->last_seq);
    }
    return &comparing->model->entries[comparing->index++];
}

static const char *compare_entry(
    const struct nadb_entry *got, const struct nadb_entry *want, uint64_t loc)
{
    if (got->kind != want->kind || got->keyspace != want->keyspace || got->db != want->db ||
        got->version != want->version) {
        return "kind, keyspace, db or version differs";
    }
    if (!nadb_slice_eq(got->key, want->key)) {
        return "key differs";
    }
    if (!nadb_slice_eq(got->value, want->value) || !nadb_slice_eq(got->tags, want->tags)) {
        return "value or tags differ";
    }
    if (got->created_ms != want->created_ms || got->updated_ms != want->updated_ms ||
        got->expire_ms != want->expire_ms || got->accessed_s != want->accessed_s) {
        return "times differ";
    }
    return got->kind == NADB_ENTRY_PUT && loc == 0 ? "location is 0" : NULL;
}

static const char *complain(const struct comparing *comparing, const char *what)
{
    struct nadb_log_model *model = comparing->model;
    (void)snprintf(model->why, sizeof(model->why),
        "batch %" PRIu64 " of %" PRIu64 ", entry %zu: %s", comparing->seq, comparing->last_seq,
        comparing->index, what); /* cut if it must be */
    return model->why;
}

static const char *compare_chunk(struct comparing *comparing, const struct nadb_replay_chunk *chunk)
{
    for (size_t i = 0; i < chunk->count; i++) {
        const struct nadb_entry *want = next_entry(comparing);
        if (want == NULL) {
            return complain(comparing, "there are more entries than batches");
        }
        const char *what = compare_entry(&chunk->entries[i], want, chunk->locs[i]);
        if (what == NULL && chunk->dead_ms[i] != comparing->dead_ms) {
            what = "dead_ms differs";
        }
        if (what != NULL) {
            return complain(comparing, what);
        }
    }
    return NULL;
}

static const char *replay_unit(
    struct comparing *comparing, struct nadb_backend *backend, uint32_t unit)
{
    uint64_t cursor = 0;
    bool is_last = false;
    const char *what = NULL;
    while (!is_last && what == NULL) {
        struct nadb_replay_chunk chunk;
        struct nadb_error error = {0};
        if (backend->ops->replay(backend, unit, &cursor, &chunk, &error) != NADB_OK) {
            return complain(comparing, error.text);
        }
        what = compare_chunk(comparing, &chunk);
        is_last = chunk.is_last;
        backend->ops->replay_free(&chunk);
    }
    return what;
}

const char *nadb_log_model_reopen(struct nadb_log_model *model, struct nadb_backend *backend,
    struct nadb_backend_open_info *ret_info)
{
    struct nadb_error error = {0};
    struct comparing comparing = {.model = model};
    model->batch.count = 0;
    if (backend->ops->open(backend, ret_info, &error) != NADB_OK) {
        return complain(&comparing, error.text);
    }
    comparing.last_seq = ret_info->last_batch_seq;
    for (uint32_t unit = 0; unit < ret_info->units; unit++) {
        const char *what = replay_unit(&comparing, backend, unit);
        if (what != NULL) {
            return what;
        }
    }
    return next_entry(&comparing) == NULL ? NULL : complain(&comparing, "entries are missing");
}
