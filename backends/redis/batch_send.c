/* This file puts the chunks of a batch onto the wire: see batch.c. */
#include <string.h>

#include "backends/redis/batch_internal.h"
#include "backends/redis/record.h"
#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/parse.h"

#define META_LEN    10u
#define CREATED_LEN (NADB_REDIS_RECORD_CREATED - NADB_REDIS_RECORD_BEGIN)

/* ---- names ---- */

/* "<base><type>:<space><key>" */
static void write_name(struct nadb_redis_batch *batch, uint32_t partition, char type,
    struct nadb_place place, struct nadb_slice key)
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
static void write_key_name(struct nadb_redis_batch *batch, char type, struct nadb_place place,
    struct nadb_slice key, struct nadb_slice name_key)
{
    write_name(batch, nadb_redis_partition(key, batch->redis->partitions), type, place, name_key);
}

/* ---- chunks ---- */

static void send_values(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk)
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
static const char apart_types[NADB_REDIS_APART_GETS] = {'p', 'r', 'p'};

static void send_apart(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    const struct nadb_op *op = batch->ops[chunk->first];
    uint32_t slot = nadb_redis_base(batch->redis, chunk->partition).slot;
    chunk->items = NADB_REDIS_APART_GETS + op->wants_times;
    for (size_t i = 0; i < NADB_REDIS_APART_GETS; i++) {
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

static void send_looks(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk)
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

static void send_epochs(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk)
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
    struct nadb_redis_batch *batch, char op, bool is_last, uint64_t number, uint64_t expire_ms)
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

static void write_check(
    struct nadb_redis_batch *batch, const struct nadb_check *check, bool is_last)
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
    struct nadb_redis_batch *batch, struct nadb_slice value, enum nadb_codec *ret_codec)
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
static struct nadb_redis_record make_record(struct nadb_redis_batch *batch,
    const struct nadb_change *change, char head[NADB_REDIS_RECORD_HEAD])
{
    const struct nadb_entry *entry = &change->entry;
    struct nadb_redis_record record = {.stamp = change->stamp, .entry = *entry};
    record.entry.value = pack_value(batch, entry->value, &record.entry.codec);
    record.entry.raw_len = (uint32_t)entry->value.len;
    nadb_redis_record_write(&record, nadb_redis_identity(change->place, entry->key), head);
    return record;
}

/* An argument: what of the head is behind the time of creation, tags and value. */
static void write_rest(struct nadb_redis_batch *batch, const struct nadb_redis_record *record,
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

static void write_change(
    struct nadb_redis_batch *batch, const struct nadb_change *change, bool is_last)
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

static void write_commit(struct nadb_redis_batch *batch, const struct nadb_op *op)
{
    for (size_t j = 0; j < op->check_count; j++) {
        write_check(batch, &op->checks[j], j + 1 == op->check_count && op->change_count == 0);
    }
    for (size_t j = 0; j < op->change_count; j++) {
        write_change(batch, &op->changes[j], j + 1 == op->change_count);
    }
}

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

static void send_commits(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk)
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

static void send_sets(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk)
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

void nadb_redis_send_chunk(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk)
{
    switch (chunk->kind) {
    case NADB_REDIS_CHUNK_VALUES:
        send_values(batch, chunk);
        break;
    case NADB_REDIS_CHUNK_APART:
        send_apart(batch, chunk);
        break;
    case NADB_REDIS_CHUNK_LOOKS:
        send_looks(batch, chunk);
        break;
    case NADB_REDIS_CHUNK_SETS:
        send_sets(batch, chunk);
        break;
    case NADB_REDIS_CHUNK_COMMITS:
        send_commits(batch, chunk);
        break;
    case NADB_REDIS_CHUNK_EPOCHS:
        send_epochs(batch, chunk);
        break;
    case NADB_REDIS_CHUNK_NONE:
        NADB_ASSERT(false);
    }
}
