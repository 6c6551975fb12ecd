/* This file runs what commands do all the time: fetches, commits and looks at epochs, many of them
 * in a few commands of the engine.
 *
 * Neighbours of a kind become a chunk: one MGET, one call of a script, or commands of their own
 * that follow each other. A chunk grows only while nothing of another kind has come in between, of
 * the same partition in a cluster and at all with a single server; so the order of the array is
 * kept where it is promised.
 *
 * A key has a plain record or a full one (record.h), and of many it is known that theirs was plain
 * when it was last seen (hints.h):
 *
 *     a fetch of a value    MGET of the plain name, if that is so; else of both
 *     a blind plain put     SET XX, if that is so: nothing else changes
 *     any other commit      a script, which looks for both
 *     any other fetch       likewise
 *
 * Where nothing was found under the name that was hinted at, nothing has happened: that operation
 * goes once more, in a second round and without hints, and so do the fetches of the same MGET: what
 * one command of a client asked for was there at one moment. So that it still comes behind what is
 * in front of it and before what is behind it in the array, as far as its key goes, hints are
 * followed only for keys that nothing else of the batch has to do with, or nothing but fetches.
 *
 * While a slot is moved some of its keys are here and some there, and no command can have both. So
 * what cannot be fetched together is fetched name by name in a round of its own, if no commit of
 * the batch has to do with its key. Commits have to wait. */
#include "backends/redis/batch_internal.h"
#include "backends/redis/record.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

#define CHUNK_OPS   64u
#define CHUNK_ITEMS 512u
#define CHUNK_BYTES ((size_t)1 << 20)

/* The engine takes no longer strings. */
#define RECORD_LEN_MAX ((size_t)512 << 20)

/* ---- kinds ---- */

static size_t count_keys(const struct nadb_redis_batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct nadb_op *op = batch->ops[i];
        count += op->kind == NADB_OP_COMMIT ? op->check_count + op->change_count : 1;
    }
    return count;
}

static struct nadb_redis_use *use_of(const struct nadb_redis_batch *batch, uint64_t hash)
{
    uint32_t print = (uint32_t)(hash >> 32) | 1;
    size_t at = hash & batch->use_mask;
    while (batch->uses[at].print != 0 && batch->uses[at].print != print) {
        at = (at + 1) & batch->use_mask;
    }
    batch->uses[at].print = print;
    return &batch->uses[at];
}

static uint64_t note_key(const struct nadb_redis_batch *batch, struct nadb_place place,
    struct nadb_slice key, bool is_write)
{
    uint64_t hash = nadb_redis_identity(place, key);
    struct nadb_redis_use *use = use_of(batch, hash);
    use->ops = use->ops < 2 ? use->ops + 1 : 2;
    use->writes = use->writes < 2 ? use->writes + is_write : 2;
    return hash;
}

static void note_keys(struct nadb_redis_batch *batch)
{
    size_t cap = 64;
    size_t count = count_keys(batch);
    while (cap < count * 2) {
        cap *= 2;
    }
    batch->uses = nadb_mem_zalloc(cap * sizeof(*batch->uses));
    batch->use_mask = cap - 1;
    for (size_t i = 0; i < batch->count; i++) {
        const struct nadb_op *op = batch->ops[i];
        if (op->kind == NADB_OP_FETCH) {
            batch->hashes[i] = note_key(batch, op->place, op->key, false);
            nadb_redis_hint_prefetch(&batch->redis->hints, batch->hashes[i]);
        }
        for (size_t j = 0; op->kind == NADB_OP_COMMIT && j < op->check_count; j++) {
            (void)note_key(batch, op->checks[j].place, op->checks[j].key, true);
        }
        for (size_t j = 0; op->kind == NADB_OP_COMMIT && j < op->change_count; j++) {
            const struct nadb_change *change = &op->changes[j];
            batch->hashes[i] = note_key(batch, change->place, change->entry.key, true);
            nadb_redis_hint_prefetch(&batch->redis->hints, batch->hashes[i]);
        }
    }
}

/* A single blind put without tags and deadline? */
static bool is_plain_put(const struct nadb_op *op)
{
    return op->kind == NADB_OP_COMMIT && op->change_count == 1 && op->check_count == 0 &&
           op->changes->entry.kind == NADB_ENTRY_PUT && op->changes->keeps_created &&
           nadb_redis_record_is_plain(&op->changes->entry);
}

/* Is the key of a fetch or a plain put taken for one with a plain record? */
static bool follows_hint(const struct nadb_redis_batch *batch, size_t index)
{
    const struct nadb_redis_use *use = use_of(batch, batch->hashes[index]);
    bool is_commit = batch->ops[index]->kind == NADB_OP_COMMIT;
    bool is_alone = is_commit ? use->ops == 1 : use->writes == 0;
    return is_alone && !batch->is_sure &&
           nadb_redis_hint(&batch->redis->hints, batch->hashes[index]);
}

/* ---- into chunks ---- */

/* The size of a commit, and its partition; false: its keys have several. */
static bool measure_commit(struct nadb_redis_batch *batch, const struct nadb_op *op,
    uint32_t *ret_partition, struct nadb_redis_chunk *ret)
{
    bool is_first = true;
    uint32_t partition = 0;
    bool is_one = true;
    *ret = (struct nadb_redis_chunk){.kind = NADB_REDIS_CHUNK_COMMITS, .ops = 1};
    ret->items = op->check_count + op->change_count;
    for (size_t i = 0; i < ret->items; i++) {
        bool is_check = i < op->check_count;
        const struct nadb_change *change = is_check ? NULL : &op->changes[i - op->check_count];
        struct nadb_slice key = is_check ? op->checks[i].key : change->entry.key;
        uint32_t of_key = nadb_redis_partition(key, batch->redis->partitions);
        ret->bytes += is_check ? 0 : change->entry.value.len;
        is_one = is_one && (is_first || of_key == partition);
        partition = of_key;
        is_first = false;
    }
    *ret_partition = partition;
    return is_one || !batch->redis->is_cluster;
}

static void add_to_chunk(
    struct nadb_redis_batch *batch, uint32_t index, const struct nadb_redis_chunk *part)
{
    uint32_t group = batch->redis->is_cluster ? part->partition : 0;
    struct nadb_redis_chunk *chunk =
        batch->open[group] > 0 ? &batch->chunks[batch->open[group] - 1] : NULL;
    batch->next[index] = UINT32_MAX;
    if (chunk == NULL || chunk->kind != part->kind || part->kind == NADB_REDIS_CHUNK_APART ||
        part->kind == NADB_REDIS_CHUNK_EPOCHS || chunk->may_be_apart != part->may_be_apart ||
        chunk->ops == CHUNK_OPS || chunk->items + part->items > CHUNK_ITEMS ||
        chunk->bytes + part->bytes > CHUNK_BYTES) {
        chunk = &batch->chunks[batch->chunk_count++];
        *chunk = *part;
        chunk->first = chunk->last = index;
        batch->open[group] = (uint32_t)batch->chunk_count;
        return;
    }
    batch->next[chunk->last] = index;
    chunk->last = index;
    chunk->ops++;
    chunk->items += part->items;
    chunk->bytes += part->bytes;
}

static void plan_op(struct nadb_redis_batch *batch, uint32_t index)
{
    struct nadb_op *op = batch->ops[index];
    struct nadb_redis_chunk part = {.ops = 1};
    uint32_t partition = 0;
    if (op->kind == NADB_OP_COMMIT) {
        if (!measure_commit(batch, op, &partition, &part)) {
            op->err = nadb_error_set(
                &op->error, NADB_ECROSSSLOT, 0, "%s", nadb_err_text(NADB_ECROSSSLOT));
            return;
        }
        if (part.items == 0) {
            return; /* nothing to check, nothing to change: it has gone well */
        }
        if (is_plain_put(op) && follows_hint(batch, index)) {
            part.kind = NADB_REDIS_CHUNK_SETS;
            batch->is_hinted[index] = true;
        }
    } else {
        bool is_simple = op->wants_value && !op->wants_times;
        partition = nadb_redis_partition(op->key, batch->redis->partitions);
        part.kind = op->kind == NADB_OP_TAG_EPOCHS ? NADB_REDIS_CHUNK_EPOCHS
                    : batch->is_apart              ? NADB_REDIS_CHUNK_APART
                    : is_simple                    ? NADB_REDIS_CHUNK_VALUES
                                                   : NADB_REDIS_CHUNK_LOOKS;
        if (part.kind == NADB_REDIS_CHUNK_VALUES) {
            batch->is_hinted[index] = follows_hint(batch, index);
            part.items = batch->is_hinted[index] ? 1 : 2;
        }
        part.may_be_apart =
            op->kind == NADB_OP_FETCH && use_of(batch, batch->hashes[index])->writes == 0;
    }
    part.partition = batch->partitions[index] = partition;
    add_to_chunk(batch, index, &part);
}

/* ---- the run ---- */

static bool is_too_long(const struct nadb_op *op)
{
    for (size_t i = 0; op->kind == NADB_OP_COMMIT && i < op->change_count; i++) {
        const struct nadb_entry *entry = &op->changes[i].entry;
        if (entry->kind == NADB_ENTRY_PUT &&
            entry->value.len + entry->tags.len > RECORD_LEN_MAX - NADB_REDIS_RECORD_HEAD) {
            return true;
        }
    }
    return false;
}

static void plan(struct nadb_redis_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct nadb_op *op = batch->ops[i];
        if (is_too_long(op)) {
            op->err = nadb_error_set(
                &op->error, NADB_ELIMIT, 0, "value and tags are longer than the engine takes");
        } else {
            plan_op(batch, (uint32_t)i);
        }
    }
}

enum round {
    ROUND_FIRST,
    ROUND_SURE,  /* for those whose hint was wrong */
    ROUND_APART, /* for those that the engine cannot find together */
};

/* Runs the operations; `verdicts`, of each, all DONE, tell what is left to do. */
static void run_round(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count,
    enum round round, uint8_t *verdicts)
{
    size_t groups = redis->is_cluster ? redis->partitions : 1;
    struct nadb_redis_batch batch = {.redis = redis,
        .lane = lane,
        .settings = settings,
        .ops = ops,
        .count = count,
        .is_sure = round != ROUND_FIRST,
        .is_apart = round == ROUND_APART,
        .verdicts = verdicts};
    batch.partitions = nadb_mem_alloc(count * sizeof(*batch.partitions));
    batch.next = nadb_mem_alloc(count * sizeof(*batch.next));
    batch.chunks = nadb_mem_alloc(count * sizeof(*batch.chunks));
    batch.open = nadb_mem_zalloc(groups * sizeof(*batch.open));
    batch.hashes = nadb_mem_zalloc(count * sizeof(*batch.hashes));
    batch.is_hinted = nadb_mem_zalloc(count * sizeof(*batch.is_hinted));
    note_keys(&batch);
    plan(&batch);
    nadb_redis_lane_reset(lane);
    for (size_t i = 0; i < batch.chunk_count; i++) {
        nadb_redis_send_chunk(&batch, &batch.chunks[i]);
    }
    nadb_redis_lane_exchange(lane);
    for (size_t i = 0; i < batch.chunk_count; i++) {
        nadb_redis_take_chunk(&batch, &batch.chunks[i]);
    }
    nadb_mem_free(batch.partitions);
    nadb_mem_free(batch.next);
    nadb_mem_free(batch.chunks);
    nadb_mem_free(batch.open);
    nadb_mem_free(batch.hashes);
    nadb_mem_free(batch.is_hinted);
    nadb_mem_free(batch.uses);
}

/* A round for those with this verdict; it may find that fetches have to go apart. */
static void run_left(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count,
    const uint8_t *verdicts, enum nadb_redis_verdict verdict)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        left += verdicts[i] == verdict;
    }
    if (left == 0) {
        return;
    }
    struct nadb_op **again = nadb_mem_alloc(left * sizeof(struct nadb_op *));
    uint8_t *next = nadb_mem_zalloc(left);
    left = 0;
    for (size_t i = 0; i < count; i++) {
        if (verdicts[i] == verdict) {
            again[left++] = ops[i];
        }
    }
    bool is_again = verdict == NADB_REDIS_VERDICT_AGAIN;
    run_round(redis, lane, settings, again, left, is_again ? ROUND_SURE : ROUND_APART, next);
    if (is_again) {
        run_left(redis, lane, settings, again, left, next, NADB_REDIS_VERDICT_APART);
    }
    nadb_mem_free(again);
    nadb_mem_free(next);
}

void nadb_redis_run_batch(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count)
{
    uint8_t *verdicts = nadb_mem_zalloc(count);
    run_round(redis, lane, settings, ops, count, ROUND_FIRST, verdicts);
    run_left(redis, lane, settings, ops, count, verdicts, NADB_REDIS_VERDICT_AGAIN);
    run_left(redis, lane, settings, ops, count, verdicts, NADB_REDIS_VERDICT_APART);
    nadb_mem_free(verdicts);
}
