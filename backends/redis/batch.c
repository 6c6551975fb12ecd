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
#include <stdio.h>
#include <stdlib.h>

#include "backends/redis/record.h"
#include "backends/redis/redis_internal.h"
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/codec.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

#define CHUNK_OPS   64u
#define CHUNK_ITEMS 512u
#define CHUNK_BYTES ((size_t)1 << 20)

/* The engine takes no longer strings. */
#define RECORD_LEN_MAX ((size_t)512 << 20)

#define META_LEN    10u
#define CREATED_LEN (NADB_REDIS_RECORD_CREATED - NADB_REDIS_RECORD_BEGIN)

enum chunk_kind {
    CHUNK_NONE,
    CHUNK_VALUES, /* MGET */
    CHUNK_APART,  /* a fetch, by names that are asked for one by one */
    CHUNK_LOOKS,  /* a script */
    CHUNK_SETS,   /* SET XX of each */
    CHUNK_COMMITS,
    CHUNK_EPOCHS,
};

struct chunk {
    enum chunk_kind kind;
    uint32_t partition;
    uint32_t first, last; /* ops, linked by next[] */
    size_t ops, items, bytes;
    size_t call;       /* its last call */
    bool may_be_apart; /* fetches of keys that no commit has to do with */
};

/* What is still to be done for an operation. */
enum verdict {
    VERDICT_DONE,
    VERDICT_AGAIN, /* a hint was wrong */
    VERDICT_APART, /* what it fetches is here and there */
};

/* What the batch does with a key: an entry of an open table, at most half full. */
struct use {
    uint32_t print;  /* of the key's hash: keys that share it are taken for one; 0: free */
    uint32_t ops;    /* that have to do with it: 0, 1, 2: or more */
    uint32_t writes; /* commits among them, likewise */
};

struct batch {
    struct nadb_redis *redis;
    struct nadb_redis_lane *lane;
    const struct nadb_shared_settings *settings;
    struct nadb_op *const *ops;
    size_t count;
    uint32_t *partitions; /* of each op */
    uint32_t *next;       /* op of the same chunk; UINT32_MAX: the last */
    struct chunk *chunks;
    size_t chunk_count;
    uint32_t *open; /* chunk of each group that may grow, + 1; 0: none */
    bool is_sure;   /* hints are not followed */
    bool is_apart;  /* names are asked for one by one */
    struct use *uses;
    size_t use_mask;
    uint64_t *hashes;  /* of the key of each fetch, and of the last one of each commit */
    bool *is_hinted;   /* its key was taken for one with a plain record */
    uint8_t *verdicts; /* the caller's */
};

/* ---- names ---- */

/* "<base><type>:<space><key>" */
static void write_name(struct batch *batch, uint32_t partition, char type, struct nadb_place place,
    struct nadb_slice key)
{
    struct nadb_redis_out *out = &batch->lane->out;
    char space[NADB_REDIS_SPACE_MAX];
    size_t space_len = nadb_redis_space(place, space);
    struct nadb_redis_base base = nadb_redis_base(batch->redis, partition);
    char *at = nadb_redis_out_begin(out, base.name.len + 2 + space_len + key.len);
    if (at != NULL) {
        memcpy(at, base.name.data, base.name.len);
        at[base.name.len] = type;
        at[base.name.len + 1] = ':';
        memcpy(at + base.name.len + 2, space, space_len);
        if (key.len > 0) {
            memcpy(at + base.name.len + 2 + space_len, key.data, key.len);
        }
    }
    nadb_redis_out_end(out);
}

/* The same of a key's own partition. */
static void write_key_name(struct batch *batch, char type, struct nadb_place place,
    struct nadb_slice key, struct nadb_slice name_key)
{
    write_name(batch, nadb_redis_partition(key, batch->redis->partitions), type, place, name_key);
}

/* ---- kinds ---- */

static size_t count_keys(const struct batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct nadb_op *op = batch->ops[i];
        count += op->kind == NADB_OP_COMMIT ? op->check_count + op->change_count : 1;
    }
    return count;
}

static struct use *use_of(const struct batch *batch, uint64_t hash)
{
    uint32_t print = (uint32_t)(hash >> 32) | 1;
    size_t at = hash & batch->use_mask;
    while (batch->uses[at].print != 0 && batch->uses[at].print != print) {
        at = (at + 1) & batch->use_mask;
    }
    batch->uses[at].print = print;
    return &batch->uses[at];
}

static uint64_t note_key(
    const struct batch *batch, struct nadb_place place, struct nadb_slice key, bool is_write)
{
    uint64_t hash = nadb_redis_identity(place, key);
    struct use *use = use_of(batch, hash);
    use->ops = use->ops < 2 ? use->ops + 1 : 2;
    use->writes = use->writes < 2 ? use->writes + is_write : 2;
    return hash;
}

static void note_keys(struct batch *batch)
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
static bool follows_hint(const struct batch *batch, size_t index)
{
    const struct use *use = use_of(batch, batch->hashes[index]);
    bool is_commit = batch->ops[index]->kind == NADB_OP_COMMIT;
    bool is_alone = is_commit ? use->ops == 1 : use->writes == 0;
    return is_alone && !batch->is_sure &&
           nadb_redis_hint(&batch->redis->hints, batch->hashes[index]);
}

static void learn(const struct batch *batch, size_t index, bool is_plain)
{
    if (!is_plain || !batch->is_hinted[index]) {
        nadb_redis_hint_learn(&batch->redis->hints, batch->hashes[index], is_plain);
    }
}

static void learn_commit(const struct batch *batch, const struct nadb_op *op)
{
    for (size_t i = 0; i < op->change_count; i++) {
        const struct nadb_entry *entry = &op->changes[i].entry;
        nadb_redis_hint_learn(&batch->redis->hints,
            nadb_redis_identity(op->changes[i].place, entry->key),
            entry->kind == NADB_ENTRY_PUT && nadb_redis_record_is_plain(entry));
    }
}

/* ---- into chunks ---- */

static size_t change_args(const struct nadb_change *change)
{
    return change->entry.kind == NADB_ENTRY_PUT ? 5 : 2;
}

static size_t commit_args(const struct nadb_op *op)
{
    size_t args = 0;
    for (size_t i = 0; i < op->check_count; i++) {
        args += op->checks[i].is_epoch ? 3 : 2;
    }
    for (size_t i = 0; i < op->change_count; i++) {
        args += change_args(&op->changes[i]);
    }
    return args;
}

/* The size of a commit, and its partition; false: its keys have several. */
static bool measure_commit(
    struct batch *batch, const struct nadb_op *op, uint32_t *ret_partition, struct chunk *ret)
{
    bool is_first = true;
    uint32_t partition = 0;
    bool is_one = true;
    *ret = (struct chunk){.kind = CHUNK_COMMITS, .ops = 1};
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

static void add_to_chunk(struct batch *batch, uint32_t index, const struct chunk *part)
{
    uint32_t group = batch->redis->is_cluster ? part->partition : 0;
    struct chunk *chunk = batch->open[group] > 0 ? &batch->chunks[batch->open[group] - 1] : NULL;
    batch->next[index] = UINT32_MAX;
    if (chunk == NULL || chunk->kind != part->kind || part->kind == CHUNK_APART ||
        part->kind == CHUNK_EPOCHS || chunk->may_be_apart != part->may_be_apart ||
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

static void plan_op(struct batch *batch, uint32_t index)
{
    struct nadb_op *op = batch->ops[index];
    struct chunk part = {.ops = 1};
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
            part.kind = CHUNK_SETS;
            batch->is_hinted[index] = true;
        }
    } else {
        bool is_simple = op->wants_value && !op->wants_times;
        partition = nadb_redis_partition(op->key, batch->redis->partitions);
        part.kind = op->kind == NADB_OP_TAG_EPOCHS ? CHUNK_EPOCHS
                    : batch->is_apart              ? CHUNK_APART
                    : is_simple                    ? CHUNK_VALUES
                                                   : CHUNK_LOOKS;
        if (part.kind == CHUNK_VALUES) {
            batch->is_hinted[index] = follows_hint(batch, index);
            part.items = batch->is_hinted[index] ? 1 : 2;
        }
        part.may_be_apart =
            op->kind == NADB_OP_FETCH && use_of(batch, batch->hashes[index])->writes == 0;
    }
    part.partition = batch->partitions[index] = partition;
    add_to_chunk(batch, index, &part);
}

/* ---- onto the wire ---- */

static void send_values(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    nadb_redis_lane_begin(
        lane, nadb_redis_base(batch->redis, chunk->partition).slot, false, 1 + chunk->items);
    lane->call->can_be_parted = chunk->items > 1 && chunk->may_be_apart;
    nadb_redis_out_arg(&lane->out, NADB_SLICE("MGET"));
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        const struct nadb_op *op = batch->ops[i];
        write_name(batch, batch->partitions[i], 'p', op->place, op->key);
        if (!batch->is_hinted[i]) {
            write_name(batch, batch->partitions[i], 'r', op->place, op->key);
        }
    }
    chunk->call = nadb_redis_lane_end(lane);
}

/* In this order: a key whose record becomes one of the other kind, once, is not missed. */
static const char apart_types[] = {'p', 'r', 'p'};
#define APART_GETS NADB_ARRAY_LEN(apart_types)

static void send_apart(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    const struct nadb_op *op = batch->ops[chunk->first];
    uint32_t slot = nadb_redis_base(batch->redis, chunk->partition).slot;
    chunk->items = APART_GETS + op->wants_times;
    for (size_t i = 0; i < APART_GETS; i++) {
        nadb_redis_lane_begin(lane, slot, false, 2);
        nadb_redis_out_arg(&lane->out, NADB_SLICE("GET"));
        write_name(batch, chunk->partition, apart_types[i], op->place, op->key);
        chunk->call = nadb_redis_lane_end(lane);
    }
    if (op->wants_times) {
        nadb_redis_lane_begin(lane, slot, false, 3);
        nadb_redis_out_arg(&lane->out, NADB_SLICE("ZSCORE"));
        write_name(batch, chunk->partition, 'k', op->place, nadb_slice_of(NULL, 0));
        nadb_redis_out_arg(&lane->out, op->key);
        chunk->call = nadb_redis_lane_end(lane);
    }
}

static void send_looks(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_out *out = &batch->lane->out;
    struct nadb_redis_base base = nadb_redis_base(batch->redis, chunk->partition);
    nadb_redis_lane_begin_script(batch->lane, NADB_REDIS_LOOK, base.name, false, 3 * chunk->ops);
    batch->lane->call->can_be_parted = chunk->may_be_apart;
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        const struct nadb_op *op = batch->ops[i];
        char space[NADB_REDIS_SPACE_MAX];
        size_t space_len = nadb_redis_space(op->place, space);
        base = nadb_redis_base(batch->redis, batch->partitions[i]);
        char *at = nadb_redis_out_begin(out, 1 + base.name.len);
        if (at != NULL) {
            at[0] = op->wants_value ? 'r' : 'h';
            memcpy(at + 1, base.name.data, base.name.len);
        }
        nadb_redis_out_end(out);
        nadb_redis_out_arg(out, nadb_slice_of(space, space_len));
        nadb_redis_out_arg(out, op->key);
    }
    chunk->call = nadb_redis_lane_end(batch->lane);
}

static void send_epochs(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    const struct nadb_op *op = batch->ops[chunk->first];
    struct nadb_redis_base base = nadb_redis_base(batch->redis, chunk->partition);
    nadb_redis_lane_begin_script(lane, NADB_REDIS_EPOCHS, base.name, false, 1 + op->tag_count);
    write_name(batch, chunk->partition, 'e', op->place, nadb_slice_of(NULL, 0));
    for (size_t i = 0; i < op->tag_count; i++) {
        nadb_redis_out_arg(&lane->out, op->tags[i]);
    }
    chunk->call = nadb_redis_lane_end(lane);
}

/* An item's head; its `number` is a stamp or an epoch, `expire_ms` a deadline. */
static void write_meta(
    struct batch *batch, char op, bool is_last, uint64_t number, uint64_t expire_ms)
{
    struct nadb_redis_out *out = &batch->lane->out;
    char expire[NADB_I64_TEXT_MAX];
    size_t expire_len = expire_ms > 0 ? nadb_format_u64(expire, expire_ms) : 0;
    char *meta = nadb_redis_out_begin(out, META_LEN + expire_len);
    if (meta != NULL) {
        meta[0] = op;
        meta[1] = is_last;
        nadb_put_u64(meta + 2, number);
        memcpy(meta + META_LEN, expire, expire_len);
    }
    nadb_redis_out_end(out);
}

static void write_check(struct batch *batch, const struct nadb_check *check, bool is_last)
{
    struct nadb_redis_out *out = &batch->lane->out;
    if (!check->is_epoch) {
        write_meta(batch, 'c', is_last, check->stamp, 0);
        write_key_name(batch, 'r', check->place, check->key, check->key);
        return;
    }
    write_meta(batch, 'e', is_last, check->epoch, 0);
    write_key_name(batch, 'e', check->place, check->key, nadb_slice_of(NULL, 0));
    char *at = nadb_redis_out_begin(out, 1 + check->tag.len);
    if (at != NULL) {
        at[0] = check->tag.len > 0 ? 't' : 'a';
        if (check->tag.len > 0) {
            memcpy(at + 1, check->tag.data, check->tag.len);
        }
    }
    nadb_redis_out_end(out);
}

/* The value as it is kept: compressed into the lane's scratch where that makes it smaller. */
static struct nadb_slice pack_value(
    struct batch *batch, struct nadb_slice value, enum nadb_codec *ret_codec)
{
    const struct nadb_compression *compression = &batch->settings->compression;
    struct nadb_redis_lane *lane = batch->lane;
    *ret_codec = NADB_CODEC_RAW;
    lane->scratch.len = 0;
    if (!compression->is_on || value.len < compression->threshold_len || value.len < 2 ||
        !nadb_buf_reserve(&lane->scratch, value.len - 1)) {
        return value;
    }
    size_t len = nadb_compress(
        &lane->compressor, compression->level, value, lane->scratch.data, value.len - 1);
    if (len == 0) {
        return value;
    }
    *ret_codec = NADB_CODEC_ZLIB;
    return nadb_slice_of(lane->scratch.data, len);
}

/* `head` is the record's beginning, and its value is packed. */
static struct nadb_redis_record make_record(
    struct batch *batch, const struct nadb_change *change, char head[NADB_REDIS_RECORD_HEAD])
{
    const struct nadb_entry *entry = &change->entry;
    struct nadb_redis_record record = {.stamp = change->stamp, .entry = *entry};
    record.entry.value = pack_value(batch, entry->value, &record.entry.codec);
    record.entry.raw_len = (uint32_t)entry->value.len;
    nadb_redis_record_write(&record, nadb_redis_identity(change->place, entry->key), head);
    return record;
}

/* An argument: what of the head is behind the time of creation, tags and value. */
static void write_rest(struct batch *batch, const struct nadb_redis_record *record,
    const char head[NADB_REDIS_RECORD_HEAD])
{
    struct nadb_redis_out *out = &batch->lane->out;
    struct nadb_slice tags = record->entry.tags;
    struct nadb_slice value = record->entry.value;
    size_t head_len = NADB_REDIS_RECORD_HEAD - NADB_REDIS_RECORD_CREATED;
    char *at = nadb_redis_out_begin(out, head_len + tags.len + value.len);
    if (at != NULL) {
        memcpy(at, head + NADB_REDIS_RECORD_CREATED, head_len);
        if (tags.len > 0) {
            memcpy(at + head_len, tags.data, tags.len);
        }
        if (value.len > 0) {
            memcpy(at + head_len + tags.len, value.data, value.len);
        }
    }
    nadb_redis_out_end(out);
}

static void write_change(struct batch *batch, const struct nadb_change *change, bool is_last)
{
    struct nadb_redis_out *out = &batch->lane->out;
    const struct nadb_entry *entry = &change->entry;
    bool is_put = entry->kind == NADB_ENTRY_PUT;
    write_meta(batch,
        !is_put                 ? 'D'
        : change->keeps_created ? 'p'
                                : 'P',
        is_last, 0, is_put ? entry->expire_ms : 0);
    write_key_name(batch, 'r', change->place, entry->key, entry->key);
    if (!is_put) {
        return;
    }
    char head[NADB_REDIS_RECORD_HEAD];
    struct nadb_redis_record record = make_record(batch, change, head);
    nadb_redis_out_arg(out, nadb_slice_of(head, NADB_REDIS_RECORD_BEGIN));
    nadb_redis_out_arg(out, nadb_slice_of(head + NADB_REDIS_RECORD_BEGIN, CREATED_LEN));
    write_rest(batch, &record, head);
}

static void write_commit(struct batch *batch, const struct nadb_op *op)
{
    for (size_t j = 0; j < op->check_count; j++) {
        write_check(batch, &op->checks[j], j + 1 == op->check_count && op->change_count == 0);
    }
    for (size_t j = 0; j < op->change_count; j++) {
        write_change(batch, &op->changes[j], j + 1 == op->change_count);
    }
}

static void send_commits(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    size_t args = 0;
    struct nadb_redis_base base = nadb_redis_base(batch->redis, chunk->partition);
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        args += commit_args(batch->ops[i]);
    }
    nadb_redis_lane_begin_script(lane, NADB_REDIS_COMMIT, base.name, true, args);
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        write_commit(batch, batch->ops[i]);
    }
    chunk->call = nadb_redis_lane_end(lane);
}

static void send_sets(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        const struct nadb_change *change = batch->ops[i]->changes;
        nadb_redis_lane_begin(
            lane, nadb_redis_base(batch->redis, batch->partitions[i]).slot, true, 4);
        lane->call->is_apart = true;
        nadb_redis_out_arg(&lane->out, NADB_SLICE("SET"));
        write_name(batch, batch->partitions[i], 'p', change->place, change->entry.key);
        char head[NADB_REDIS_RECORD_HEAD];
        struct nadb_redis_record record = make_record(batch, change, head);
        write_rest(batch, &record, head);
        nadb_redis_out_arg(&lane->out, NADB_SLICE("XX"));
        chunk->call = nadb_redis_lane_end(lane);
    }
}

static void send_chunk(struct batch *batch, struct chunk *chunk)
{
    switch (chunk->kind) {
    case CHUNK_VALUES:
        send_values(batch, chunk);
        break;
    case CHUNK_APART:
        send_apart(batch, chunk);
        break;
    case CHUNK_LOOKS:
        send_looks(batch, chunk);
        break;
    case CHUNK_SETS:
        send_sets(batch, chunk);
        break;
    case CHUNK_COMMITS:
        send_commits(batch, chunk);
        break;
    case CHUNK_EPOCHS:
        send_epochs(batch, chunk);
        break;
    case CHUNK_NONE:
        NADB_ASSERT(false);
    }
}

/* ---- outcomes ---- */

void nadb_redis_fail_op(struct nadb_op *op, enum nadb_err err, const struct nadb_error *error)
{
    op->err = err;
    op->error = *error;
}

enum nadb_err nadb_redis_bad_reply(struct nadb_error *reterr)
{
    return nadb_error_set(reterr, NADB_EENGINE, 0, "BACKEND unexpected reply of the engine");
}

uint32_t nadb_redis_accessed(const redisReply *idle, const struct nadb_entry *entry)
{
    uint64_t now_s = nadb_clock_wall_ms(nadb_clock_system()) / 1000;
    if (idle == NULL || idle->type != REDIS_REPLY_INTEGER || idle->integer < 0 ||
        (uint64_t)idle->integer > now_s) {
        return (uint32_t)(entry->updated_ms / 1000); /* the engine keeps no such time */
    }
    return (uint32_t)(now_s - (uint64_t)idle->integer);
}

enum nadb_err nadb_redis_found(struct nadb_redis_hold *hold, const struct nadb_redis_bytes *bytes,
    struct nadb_place place, struct nadb_slice key, bool is_whole, struct nadb_found *ret,
    struct nadb_error *reterr)
{
    struct nadb_redis_record record;
    uint64_t identity = nadb_redis_identity(place, key);
    bool is_record = bytes->is_plain
                         ? nadb_redis_record_read_plain(bytes->bytes, identity, is_whole, &record)
                         : nadb_redis_record_read(bytes->bytes, identity, is_whole, &record);
    uint32_t raw_len = record.entry.raw_len;
    if (is_record && is_whole && record.entry.codec == NADB_CODEC_ZLIB) {
        size_t packed_len = record.entry.value.len;
        bool is_plausible =
            raw_len <= NADB_VALUE_LEN_MAX && raw_len / NADB_COMPRESS_RATIO_MAX <= packed_len;
        char *value = is_plausible ? nadb_redis_hold_alloc(hold, raw_len) : NULL;
        if (is_plausible && value == NULL) {
            return nadb_error_set(reterr, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
        }
        is_record = is_plausible && nadb_decompress(record.entry.value, value, raw_len);
        record.entry.value = nadb_slice_of(value, raw_len);
    }
    if (!is_record) {
        char space[NADB_REDIS_SPACE_MAX];
        size_t space_len = nadb_redis_space(place, space);
        return nadb_error_set(reterr, NADB_ECORRUPT, 0, "%.*s%.*s: no record of this format",
            (int)space_len, space, key.len < 160 ? (int)key.len : 160, key.data);
    }
    record.entry.codec = NADB_CODEC_RAW;
    record.entry.key = key;
    record.entry.created_ms = bytes->is_plain ? bytes->created_ms : record.entry.created_ms;
    *ret = (struct nadb_found){.stamp = record.stamp, .entry = record.entry, .value_len = raw_len};
    return NADB_OK;
}

/* What was fetched: `reply` is held, and of a record; NULL: there is none. */
static void take_record(struct nadb_op *op, const redisReply *reply, bool is_plain,
    uint64_t created_ms, struct nadb_redis_hold *hold, struct nadb_found *found)
{
    *found = (struct nadb_found){.stamp = 0};
    op->found = found;
    op->found_count = 1;
    if (reply == NULL) {
        return;
    }
    if (reply->type != REDIS_REPLY_STRING) {
        op->err = nadb_redis_bad_reply(&op->error);
        return;
    }
    const struct nadb_redis_bytes bytes = {{reply->str, (size_t)reply->len}, is_plain, created_ms};
    op->err =
        nadb_redis_found(hold, &bytes, op->place, op->key, op->wants_value, found, &op->error);
}

static void fail_chunk(struct batch *batch, const struct chunk *chunk, enum nadb_err err,
    const struct nadb_error *error)
{
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        nadb_redis_fail_op(batch->ops[i], err, error);
    }
}

/* Gives the reply of the chunk's call to a new hold. */
static struct nadb_redis_hold *hold_call(struct batch *batch, const struct chunk *chunk)
{
    struct nadb_redis_call *call = &batch->lane->calls[chunk->call];
    struct nadb_redis_hold *hold = nadb_redis_hold_new();
    nadb_redis_hold_reply(hold, call->reply);
    call->reply = NULL;
    return hold;
}

static enum nadb_err no_memory(struct nadb_error *reterr)
{
    return nadb_error_set(reterr, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
}

/* What is under a name; NULL: nothing. A record is never empty. */
static const redisReply *unless_empty(const redisReply *reply)
{
    bool is_empty = reply->type == REDIS_REPLY_STRING && reply->len == 0;
    return reply->type == REDIS_REPLY_NIL || is_empty ? NULL : reply;
}

/* A fetch, by what there is under the names of its key. */
static void take_fetch(struct batch *batch, uint32_t index, const redisReply *plain,
    const redisReply *full, uint64_t created_ms, struct nadb_redis_hold *hold,
    struct nadb_found *found)
{
    bool is_plain = full == NULL && plain != NULL;
    nadb_redis_hold_share(hold, batch->ops[index]);
    take_record(batch->ops[index], is_plain ? plain : full, is_plain, created_ms, hold, found);
    learn(batch, index, is_plain);
}

/* Was nothing found where a hint led? */
static bool was_misled(const struct batch *batch, const struct chunk *chunk, redisReply **replies)
{
    bool is_wrong = false;
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        if (batch->is_hinted[i] && unless_empty(*replies) == NULL) {
            learn(batch, i, false);
            is_wrong = true;
        }
        replies += batch->is_hinted[i] ? 1 : 2;
    }
    return is_wrong;
}

static enum nadb_err take_values(
    struct batch *batch, const struct chunk *chunk, redisReply *reply, struct nadb_error *reterr)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != chunk->items) {
        return nadb_redis_bad_reply(reterr);
    }
    if (was_misled(batch, chunk, reply->element)) {
        for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
            batch->verdicts[i] = VERDICT_AGAIN; /* no commit has to do with any of them */
        }
        return NADB_OK;
    }
    struct nadb_redis_hold *hold = hold_call(batch, chunk);
    struct nadb_found *found = nadb_redis_hold_alloc(hold, chunk->ops * sizeof(*found));
    redisReply **at = reply->element;
    for (uint32_t i = chunk->first; found != NULL && i != UINT32_MAX; i = batch->next[i]) {
        const redisReply *plain = unless_empty(*at++);
        const redisReply *full = batch->is_hinted[i] ? NULL : unless_empty(*at++);
        take_fetch(batch, i, plain, full, 0, hold, found++);
    }
    nadb_redis_hold_unref(hold);
    return found != NULL ? NADB_OK : no_memory(reterr);
}

/* The time of creation, by what the index of keys has of a plain record. */
static uint64_t created_of(const redisReply *score)
{
    double number = score->type == REDIS_REPLY_STRING ? strtod(score->str, NULL) : 0;
    return number < 0 ? (uint64_t)(-1 - number) : 0;
}

/* If one of its calls has failed, that is the outcome. */
static enum nadb_err take_apart(
    struct batch *batch, const struct chunk *chunk, struct nadb_error *reterr)
{
    redisReply *replies[APART_GETS + 1] = {NULL};
    struct nadb_op *op = batch->ops[chunk->first];
    size_t first = chunk->call + 1 - chunk->items;
    for (size_t i = 0; i < chunk->items; i++) {
        enum nadb_err err;
        replies[i] = nadb_redis_lane_reply(batch->lane, first + i, &err, reterr);
        if (replies[i] == NULL) {
            return err;
        }
    }
    struct nadb_redis_hold *hold = nadb_redis_hold_new();
    for (size_t i = 0; i < chunk->items; i++) {
        nadb_redis_hold_reply(hold, replies[i]);
        batch->lane->calls[first + i].reply = NULL;
    }
    const redisReply *plain = unless_empty(replies[0]);
    struct nadb_found *found = nadb_redis_hold_alloc(hold, sizeof(*found));
    if (found != NULL) {
        take_fetch(batch, chunk->first, plain != NULL ? plain : unless_empty(replies[2]),
            unless_empty(replies[1]), op->wants_times ? created_of(replies[APART_GETS]) : 0, hold,
            found);
        if (op->wants_times && op->err == NADB_OK && found->stamp != 0) {
            found->entry.accessed_s = nadb_redis_accessed(NULL, &found->entry);
        }
    }
    nadb_redis_hold_unref(hold);
    return found != NULL ? NADB_OK : no_memory(reterr);
}

/* bytes, created, idle: what the script gives of one. */
static void take_look(struct batch *batch, uint32_t index, redisReply *const *parts,
    struct nadb_redis_hold *hold, struct nadb_found *found)
{
    struct nadb_op *op = batch->ops[index];
    bool is_plain = parts[1]->integer >= 0;
    bool is_there = parts[0]->len > 0;
    if (parts[0]->type == REDIS_REPLY_STRING && parts[1]->integer == -2) {
        op->err = nadb_redis_error_line(parts[0], &op->error);
        return;
    }
    nadb_redis_hold_share(hold, op);
    take_record(op, is_there ? parts[0] : NULL, is_plain,
        is_plain ? (uint64_t)parts[1]->integer : 0, hold, found);
    if (op->err == NADB_OK && is_there) {
        found->entry.accessed_s = nadb_redis_accessed(parts[2], &found->entry);
    }
    learn(batch, index, is_there && is_plain);
}

static enum nadb_err take_looks(
    struct batch *batch, const struct chunk *chunk, redisReply *reply, struct nadb_error *reterr)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 * chunk->ops) {
        return nadb_redis_bad_reply(reterr);
    }
    struct nadb_redis_hold *hold = hold_call(batch, chunk);
    struct nadb_found *found = nadb_redis_hold_alloc(hold, chunk->ops * sizeof(*found));
    redisReply *const *at = reply->element;
    for (uint32_t i = chunk->first; found != NULL && i != UINT32_MAX; i = batch->next[i], at += 3) {
        take_look(batch, i, at, hold, found++);
    }
    nadb_redis_hold_unref(hold);
    return found != NULL ? NADB_OK : no_memory(reterr);
}

/* Each has a reply of its own. */
static void take_sets(struct batch *batch, const struct chunk *chunk)
{
    size_t call = chunk->call + 1 - chunk->ops;
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i], call++) {
        struct nadb_op *op = batch->ops[i];
        const redisReply *reply = nadb_redis_lane_reply(batch->lane, call, &op->err, &op->error);
        if (reply != NULL && reply->type == REDIS_REPLY_NIL) {
            learn(batch, i, false);
            batch->verdicts[i] = VERDICT_AGAIN;
        } else if (reply != NULL && reply->type != REDIS_REPLY_STATUS) {
            op->err = nadb_error_set(&op->error, NADB_ESYNC, 0, "backend: outcome unknown");
        }
    }
}

static enum nadb_err take_epochs(
    struct batch *batch, const struct chunk *chunk, redisReply *reply, struct nadb_error *reterr)
{
    struct nadb_op *op = batch->ops[chunk->first];
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != op->tag_count + 1) {
        return nadb_redis_bad_reply(reterr);
    }
    struct nadb_redis_hold *hold = nadb_redis_hold_new();
    op->epochs = nadb_redis_hold_alloc(hold, (op->tag_count + 1) * sizeof(*op->epochs));
    if (op->epochs == NULL) {
        nadb_redis_hold_unref(hold);
        return no_memory(reterr);
    }
    nadb_redis_hold_share(hold, op);
    nadb_redis_hold_unref(hold);
    op->epoch = (uint64_t)reply->element[0]->integer;
    for (size_t i = 0; i < op->tag_count; i++) {
        op->epochs[i] = (uint64_t)reply->element[i + 1]->integer;
    }
    return NADB_OK;
}

static enum nadb_err take_commits(
    struct batch *batch, const struct chunk *chunk, redisReply *reply, struct nadb_error *reterr)
{
    bool is_all = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    if (!is_all && (reply->type != REDIS_REPLY_ARRAY || reply->elements != chunk->ops)) {
        (void)nadb_redis_bad_reply(reterr);
        return nadb_error_set(reterr, NADB_ESYNC, 0, "backend: outcome unknown");
    }
    size_t at = 0;
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i], at++) {
        struct nadb_op *op = batch->ops[i];
        const redisReply *verdict = is_all ? reply : reply->element[at];
        if (verdict->type == REDIS_REPLY_INTEGER) {
            op->is_conflict = verdict->integer != 1;
        } else {
            op->err = nadb_redis_error_line(verdict, &op->error);
        }
        if (op->err == NADB_OK && !op->is_conflict) {
            learn_commit(batch, op);
        }
    }
    return NADB_OK;
}

/* Was it turned away because keys are elsewhere than others of the same command? */
static bool was_parted(enum nadb_err err, const struct nadb_error *error)
{
    return err == NADB_EENGINE && strncmp(error->text, "TRYAGAIN", strlen("TRYAGAIN")) == 0;
}

static void take_chunk(struct batch *batch, const struct chunk *chunk)
{
    struct nadb_error error = {.code = NADB_OK};
    enum nadb_err err = NADB_OK;
    if (chunk->kind == CHUNK_SETS) {
        take_sets(batch, chunk);
        return;
    }
    redisReply *reply = nadb_redis_lane_reply(batch->lane, chunk->call, &err, &error);
    if (reply != NULL) {
        switch (chunk->kind) {
        case CHUNK_VALUES:
            err = take_values(batch, chunk, reply, &error);
            break;
        case CHUNK_APART:
            err = take_apart(batch, chunk, &error);
            break;
        case CHUNK_LOOKS:
            err = take_looks(batch, chunk, reply, &error);
            break;
        case CHUNK_COMMITS:
            err = take_commits(batch, chunk, reply, &error);
            break;
        case CHUNK_EPOCHS:
            err = take_epochs(batch, chunk, reply, &error);
            break;
        case CHUNK_SETS:
        case CHUNK_NONE:
            NADB_ASSERT(false);
        }
    }
    if (chunk->may_be_apart && !batch->is_apart && was_parted(err, &error)) {
        for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
            batch->verdicts[i] = VERDICT_APART;
        }
    } else if (err != NADB_OK) {
        fail_chunk(batch, chunk, err, &error);
    }
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

static void plan(struct batch *batch)
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
    struct batch batch = {.redis = redis,
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
        send_chunk(&batch, &batch.chunks[i]);
    }
    nadb_redis_lane_exchange(lane);
    for (size_t i = 0; i < batch.chunk_count; i++) {
        take_chunk(&batch, &batch.chunks[i]);
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
    const uint8_t *verdicts, enum verdict verdict)
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
    bool is_again = verdict == VERDICT_AGAIN;
    run_round(redis, lane, settings, again, left, is_again ? ROUND_SURE : ROUND_APART, next);
    if (is_again) {
        run_left(redis, lane, settings, again, left, next, VERDICT_APART);
    }
    nadb_mem_free(again);
    nadb_mem_free(next);
}

void nadb_redis_run_batch(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count)
{
    uint8_t *verdicts = nadb_mem_zalloc(count);
    run_round(redis, lane, settings, ops, count, ROUND_FIRST, verdicts);
    run_left(redis, lane, settings, ops, count, verdicts, VERDICT_AGAIN);
    run_left(redis, lane, settings, ops, count, verdicts, VERDICT_APART);
    nadb_mem_free(verdicts);
}
