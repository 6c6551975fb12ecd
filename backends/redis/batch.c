/* This file runs what commands do all the time: fetches, commits and looks at epochs, many of them
 * in a few commands of the engine.
 *
 * Neighbours of a kind become a chunk: one MGET, or one call of a script. A chunk grows only while
 * nothing of another kind has come in between, of the same partition in a cluster and at all with a
 * single server; so the order of the array is kept where it is promised. */
#include <stdio.h>

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

/* How much of a record is read where its value is of no interest: most have no more tags. */
#define HEAD_GUESS 256u

/* The engine takes no longer strings. */
#define RECORD_LEN_MAX ((size_t)512 << 20)

#define META_LEN       10u
#define GROUP_META_LEN 3u
#define CREATED_LEN    (NADB_REDIS_RECORD_CREATED - NADB_REDIS_RECORD_BEGIN)

/* What is put in groups. What is replaced is read whole for it, and the engine hashes every byte
 * that a script sees. */
#define PLAIN_LEN_MAX 256u

/* So many commits go without groups where that turned out to be much. */
#define BIG_COMMITS 10000

enum chunk_kind {
    CHUNK_NONE,
    CHUNK_VALUES, /* MGET */
    CHUNK_SINGLE, /* a fetch with commands of its own */
    CHUNK_COMMITS,
    CHUNK_EPOCHS,
};

struct chunk {
    enum chunk_kind kind;
    uint32_t partition;
    uint32_t first, last; /* ops, linked by next[] */
    size_t ops, items, bytes;
    size_t call;   /* its last call */
    bool has_idle; /* the call in front of it asks for the time of idleness */
    bool is_head;  /* only the head was asked for */
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
    bool has_commits;
    bool has_big; /* what is replaced may be big: no groups */
    size_t chunk_ops_max;
};

/* ---- names ---- */

/* Where a name is in the lane's buffer. */
struct name_at {
    size_t at, len;
};

/* "<base><type>:<space><key>" */
static struct name_at write_name(struct batch *batch, uint32_t partition, char type,
    struct nadb_place place, struct nadb_slice key)
{
    struct nadb_redis_out *out = &batch->lane->out;
    struct nadb_redis_base base;
    char space[NADB_REDIS_SPACE_MAX];
    size_t space_len = nadb_redis_space(place, space);
    nadb_redis_make_base(batch->redis, partition, &base);
    struct name_at name = {.at = 0, .len = base.len + 2 + space_len + key.len};
    char *at = nadb_redis_out_begin(out, name.len);
    if (at != NULL) {
        name.at = (size_t)(at - out->buf.data);
        memcpy(at, base.text, base.len);
        at[base.len] = type;
        at[base.len + 1] = ':';
        memcpy(at + base.len + 2, space, space_len);
        if (key.len > 0) {
            memcpy(at + base.len + 2 + space_len, key.data, key.len);
        }
    }
    nadb_redis_out_end(out);
    return name;
}

/* The same of a key's own partition. */
static struct name_at write_key_name(struct batch *batch, char type, struct nadb_place place,
    struct nadb_slice key, struct nadb_slice name_key)
{
    uint32_t partition = nadb_redis_partition(key, batch->redis->partitions);
    return write_name(batch, partition, type, place, name_key);
}

static void write_record_name(struct batch *batch, const struct nadb_op *op, uint32_t partition)
{
    (void)write_name(batch, partition, 'r', op->place, op->key);
}

/* ---- into chunks ---- */

/* May it be one of a group: a single blind put without tags and deadline? */
static bool is_plain(const struct batch *batch, const struct nadb_op *op)
{
    if (op->kind != NADB_OP_COMMIT || op->change_count != 1 || op->check_count != 0 ||
        batch->has_big) {
        return false;
    }
    const struct nadb_entry *entry = &op->changes[0].entry;
    return entry->kind == NADB_ENTRY_PUT && op->changes[0].keeps_created && entry->tags.len == 0 &&
           entry->expire_ms == 0 && entry->value.len <= PLAIN_LEN_MAX;
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
    if (chunk == NULL || chunk->kind != part->kind || part->kind == CHUNK_SINGLE ||
        part->kind == CHUNK_EPOCHS || chunk->ops == batch->chunk_ops_max ||
        chunk->items + part->items > CHUNK_ITEMS || chunk->bytes + part->bytes > CHUNK_BYTES) {
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
    } else {
        bool is_simple = op->wants_value && !op->wants_accessed;
        partition = nadb_redis_partition(op->key, batch->redis->partitions);
        part.kind = op->kind == NADB_OP_TAG_EPOCHS ? CHUNK_EPOCHS
                    : is_simple                    ? CHUNK_VALUES
                                                   : CHUNK_SINGLE;
    }
    part.partition = batch->partitions[index] = partition;
    add_to_chunk(batch, index, &part);
}

/* ---- onto the wire ---- */

static void send_values(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    struct nadb_redis_base base;
    nadb_redis_make_base(batch->redis, chunk->partition, &base);
    nadb_redis_lane_begin(
        lane, nadb_redis_slot(nadb_redis_base_slice(&base)), false, 1 + chunk->ops);
    lane->call->can_be_parted = chunk->ops > 1 && !batch->has_commits;
    nadb_redis_out_arg(&lane->out, NADB_SLICE("MGET"));
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        write_record_name(batch, batch->ops[i], batch->partitions[i]);
    }
    chunk->call = nadb_redis_lane_end(lane);
}

static void send_single(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    const struct nadb_op *op = batch->ops[chunk->first];
    struct nadb_redis_base base;
    nadb_redis_make_base(batch->redis, chunk->partition, &base);
    uint32_t slot = nadb_redis_slot(nadb_redis_base_slice(&base));
    chunk->has_idle = op->wants_accessed;
    if (chunk->has_idle) {
        nadb_redis_lane_begin(lane, slot, false, 3);
        nadb_redis_out_arg(&lane->out, NADB_SLICE("OBJECT"));
        nadb_redis_out_arg(&lane->out, NADB_SLICE("IDLETIME"));
        write_record_name(batch, op, chunk->partition);
        (void)nadb_redis_lane_end(lane); /* the one in front of chunk->call */
    }
    /* The head alone may turn out too short and be read again: not where a commit comes behind. */
    chunk->is_head = !op->wants_value && !batch->has_commits;
    nadb_redis_lane_begin(lane, slot, false, chunk->is_head ? 4 : 2);
    nadb_redis_out_arg(&lane->out, chunk->is_head ? NADB_SLICE("GETRANGE") : NADB_SLICE("GET"));
    write_record_name(batch, op, chunk->partition);
    if (chunk->is_head) {
        nadb_redis_out_number(&lane->out, 0);
        nadb_redis_out_number(&lane->out, HEAD_GUESS - 1);
    }
    chunk->call = nadb_redis_lane_end(lane);
}

static void send_epochs(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    const struct nadb_op *op = batch->ops[chunk->first];
    struct nadb_redis_base base;
    nadb_redis_make_base(batch->redis, chunk->partition, &base);
    nadb_redis_lane_begin_script(
        lane, NADB_REDIS_EPOCHS, nadb_redis_base_slice(&base), false, 1 + op->tag_count);
    (void)write_name(batch, chunk->partition, 'e', op->place, nadb_slice_of(NULL, 0));
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
        (void)write_key_name(batch, 'r', check->place, check->key, check->key);
        return;
    }
    write_meta(batch, 'e', is_last, check->epoch, 0);
    (void)write_key_name(batch, 'e', check->place, check->key, nadb_slice_of(NULL, 0));
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

/* The record of a name that was written; `head` is its beginning, and its value is packed. */
static struct nadb_redis_record make_record(struct batch *batch, const struct nadb_change *change,
    struct name_at name, char head[NADB_REDIS_RECORD_HEAD])
{
    const struct nadb_entry *entry = &change->entry;
    struct nadb_redis_record record = {.stamp = change->stamp, .entry = *entry};
    record.entry.value = pack_value(batch, entry->value, &record.entry.codec);
    record.entry.raw_len = (uint32_t)entry->value.len;
    const struct nadb_buf *buf = &batch->lane->out.buf;
    nadb_redis_record_write(&record, nadb_slice_of(buf->data + name.at, name.len), head);
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
    struct name_at name = write_key_name(batch, 'r', change->place, entry->key, entry->key);
    if (!is_put || out->is_full) {
        return;
    }
    char head[NADB_REDIS_RECORD_HEAD];
    struct nadb_redis_record record = make_record(batch, change, name, head);
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

/* Neighbours that are plain, from op `first` on; returns the one behind them. */
static uint32_t write_group(struct batch *batch, uint32_t first, size_t size)
{
    struct nadb_redis_out *out = &batch->lane->out;
    struct name_at names[CHUNK_OPS];
    _Static_assert(CHUNK_OPS < 256, "the size of a group is one byte");
    char *meta = nadb_redis_out_begin(out, GROUP_META_LEN + size * CREATED_LEN);
    size_t meta_at = 0;
    if (meta != NULL) {
        meta_at = (size_t)(meta - out->buf.data);
        memcpy(meta, (const char[GROUP_META_LEN]){'G', (char)size, 0}, GROUP_META_LEN);
    }
    nadb_redis_out_end(out);
    uint32_t at = first;
    for (size_t i = 0; i < size; i++, at = batch->next[at]) {
        const struct nadb_change *change = batch->ops[at]->changes;
        names[i] = write_key_name(batch, 'r', change->place, change->entry.key, change->entry.key);
    }
    at = first;
    for (size_t i = 0; i < size && !out->is_full; i++, at = batch->next[at]) {
        char head[NADB_REDIS_RECORD_HEAD];
        struct nadb_redis_record record =
            make_record(batch, batch->ops[at]->changes, names[i], head);
        memcpy(out->buf.data + meta_at + GROUP_META_LEN + i * CREATED_LEN,
            head + NADB_REDIS_RECORD_BEGIN, CREATED_LEN);
        write_rest(batch, &record, head);
    }
    return at;
}

/* How many ops of the chunk from this one on can be a group. */
static size_t group_size(const struct batch *batch, uint32_t first)
{
    size_t size = 0;
    for (uint32_t i = first; i != UINT32_MAX && is_plain(batch, batch->ops[i]);
         i = batch->next[i]) {
        size++;
    }
    return size;
}

static size_t count_args(const struct batch *batch, const struct chunk *chunk)
{
    size_t args = 0;
    uint32_t at = chunk->first;
    while (at != UINT32_MAX) {
        size_t size = group_size(batch, at);
        args += size > 0 ? 1 + 2 * size : commit_args(batch->ops[at]);
        at = batch->next[at];
        for (size_t i = 1; i < size; i++) {
            at = batch->next[at];
        }
    }
    return args;
}

static void send_commits(struct batch *batch, struct chunk *chunk)
{
    struct nadb_redis_lane *lane = batch->lane;
    struct nadb_redis_base base;
    nadb_redis_make_base(batch->redis, chunk->partition, &base);
    nadb_redis_lane_begin_script(
        lane, NADB_REDIS_COMMIT, nadb_redis_base_slice(&base), true, count_args(batch, chunk));
    uint32_t at = chunk->first;
    while (at != UINT32_MAX && !lane->out.is_full) {
        size_t size = group_size(batch, at);
        if (size > 0) {
            at = write_group(batch, at, size);
        } else {
            write_commit(batch, batch->ops[at]);
            at = batch->next[at];
        }
    }
    chunk->call = nadb_redis_lane_end(lane);
}

static void send_chunk(struct batch *batch, struct chunk *chunk)
{
    switch (chunk->kind) {
    case CHUNK_VALUES:
        send_values(batch, chunk);
        break;
    case CHUNK_SINGLE:
        send_single(batch, chunk);
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

enum nadb_err nadb_redis_found(struct nadb_redis_hold *hold, struct nadb_slice bytes,
    struct nadb_slice name, bool is_whole, struct nadb_found *ret, struct nadb_error *reterr)
{
    struct nadb_redis_record record;
    bool is_record = nadb_redis_record_read(bytes, name, is_whole, &record);
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
        return nadb_error_set(reterr, NADB_ECORRUPT, 0, "%.*s: no record of this format",
            name.len < 160 ? (int)name.len : 160, name.data);
    }
    record.entry.codec = NADB_CODEC_RAW;
    *ret = (struct nadb_found){.stamp = record.stamp, .entry = record.entry, .value_len = raw_len};
    return NADB_OK;
}

/* The outcome of a fetch: `bytes` of the reply, which is held. */
static void take_record(struct batch *batch, struct nadb_op *op, uint32_t partition,
    const redisReply *reply, struct nadb_redis_hold *hold, struct nadb_found *found, bool is_whole)
{
    *found = (struct nadb_found){.stamp = 0};
    op->found = found;
    op->found_count = 1;
    if (reply->type == REDIS_REPLY_NIL || (reply->type == REDIS_REPLY_STRING && reply->len == 0)) {
        return; /* GETRANGE gives no bytes of what is not there, and a record is never empty */
    }
    if (reply->type != REDIS_REPLY_STRING) {
        op->err = nadb_redis_bad_reply(&op->error);
        return;
    }
    struct nadb_redis_base base;
    char space[NADB_REDIS_SPACE_MAX];
    size_t space_len = nadb_redis_space(op->place, space);
    nadb_redis_make_base(batch->redis, partition, &base);
    struct nadb_buf *name = &batch->lane->scratch;
    name->len = 0;
    if (!nadb_buf_append(name, base.text, base.len) || !nadb_buf_append(name, "r:", 2) ||
        !nadb_buf_append(name, space, space_len) ||
        !nadb_buf_append(name, op->key.data, op->key.len)) {
        op->err = nadb_error_set(&op->error, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
        return;
    }
    op->err = nadb_redis_found(hold, nadb_slice_of(reply->str, (size_t)reply->len),
        nadb_buf_slice(name), is_whole, found, &op->error);
    found->entry.key = op->key;
    if (!op->wants_value) {
        found->entry.value = nadb_slice_of(NULL, 0);
    }
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

static enum nadb_err take_values(
    struct batch *batch, const struct chunk *chunk, redisReply *reply, struct nadb_error *reterr)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != chunk->ops) {
        return nadb_redis_bad_reply(reterr);
    }
    struct nadb_redis_hold *hold = hold_call(batch, chunk);
    struct nadb_found *found = nadb_redis_hold_alloc(hold, chunk->ops * sizeof(*found));
    size_t at = 0;
    for (uint32_t i = chunk->first; found != NULL && i != UINT32_MAX; i = batch->next[i], at++) {
        nadb_redis_hold_share(hold, batch->ops[i]);
        take_record(
            batch, batch->ops[i], batch->partitions[i], reply->element[at], hold, &found[at], true);
    }
    nadb_redis_hold_unref(hold);
    return found != NULL ? NADB_OK
                         : nadb_error_set(reterr, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
}

/* Was the head asked for, and is there more of it than came? */
static bool is_cut_short(const struct chunk *chunk, const redisReply *reply)
{
    return chunk->is_head && reply->type == REDIS_REPLY_STRING &&
           nadb_redis_record_head_len(nadb_slice_of(reply->str, (size_t)reply->len)) >
               (size_t)reply->len;
}

static enum nadb_err take_single(
    struct batch *batch, const struct chunk *chunk, redisReply *reply, struct nadb_error *reterr)
{
    struct nadb_op *op = batch->ops[chunk->first];
    const redisReply *idle = chunk->has_idle ? batch->lane->calls[chunk->call - 1].reply : NULL;
    struct nadb_redis_hold *hold = hold_call(batch, chunk);
    struct nadb_found *found = nadb_redis_hold_alloc(hold, sizeof(*found));
    if (found != NULL) {
        nadb_redis_hold_share(hold, op);
        take_record(batch, op, chunk->partition, reply, hold, found, !chunk->is_head);
        if (chunk->has_idle && op->err == NADB_OK && found->stamp != 0) {
            found->entry.accessed_s = nadb_redis_accessed(idle, &found->entry);
        }
    }
    nadb_redis_hold_unref(hold);
    return found != NULL ? NADB_OK
                         : nadb_error_set(reterr, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
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
        return nadb_error_set(reterr, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
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
    bool is_all = reply->type == REDIS_REPLY_INTEGER && reply->integer >= 1;
    if (is_all && reply->integer == 2) {
        atomic_store(&batch->redis->big_commits, BIG_COMMITS);
    }
    if (!is_all && (reply->type != REDIS_REPLY_ARRAY || reply->elements != chunk->ops)) {
        (void)nadb_redis_bad_reply(reterr);
        return nadb_error_set(reterr, NADB_ESYNC, 0, "backend: outcome unknown");
    }
    size_t at = 0;
    for (uint32_t i = chunk->first; !is_all && i != UINT32_MAX; i = batch->next[i], at++) {
        struct nadb_op *op = batch->ops[i];
        const redisReply *verdict = reply->element[at];
        if (verdict->type == REDIS_REPLY_INTEGER) {
            op->is_conflict = verdict->integer != 1;
        } else {
            op->err = nadb_redis_error_line(verdict, &op->error);
        }
    }
    return NADB_OK;
}

static void take_chunk(struct batch *batch, const struct chunk *chunk)
{
    struct nadb_error error = {.code = NADB_OK};
    enum nadb_err err = NADB_OK;
    redisReply *reply = nadb_redis_lane_reply(batch->lane, chunk->call, &err, &error);
    if (reply != NULL) {
        switch (chunk->kind) {
        case CHUNK_VALUES:
            err = take_values(batch, chunk, reply, &error);
            break;
        case CHUNK_SINGLE:
            err = is_cut_short(chunk, reply) ? NADB_OK : take_single(batch, chunk, reply, &error);
            break;
        case CHUNK_COMMITS:
            err = take_commits(batch, chunk, reply, &error);
            break;
        case CHUNK_EPOCHS:
            err = take_epochs(batch, chunk, reply, &error);
            break;
        case CHUNK_NONE:
            NADB_ASSERT(false);
        }
    }
    if (err != NADB_OK) {
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
        batch->has_commits = batch->has_commits || op->kind == NADB_OP_COMMIT;
        if (is_too_long(op)) {
            op->err = nadb_error_set(
                &op->error, NADB_ELIMIT, 0, "value and tags are longer than the engine takes");
        } else {
            plan_op(batch, (uint32_t)i);
        }
    }
}

/* Heads that were cut short are read whole; no commit comes behind them. */
static void read_on(struct batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->chunk_count; i++) {
        struct chunk *chunk = &batch->chunks[i];
        const redisReply *reply = batch->lane->calls[chunk->call].reply;
        if (chunk->kind == CHUNK_SINGLE && reply != NULL && is_cut_short(chunk, reply)) {
            batch->chunks[count++] = *chunk;
        }
    }
    batch->chunk_count = count;
    if (count == 0) {
        return;
    }
    nadb_redis_lane_reset(batch->lane);
    batch->has_commits = true; /* so that all is asked for */
    for (size_t i = 0; i < count; i++) {
        send_single(batch, &batch->chunks[i]);
    }
    nadb_redis_lane_exchange(batch->lane);
    for (size_t i = 0; i < count; i++) {
        take_chunk(batch, &batch->chunks[i]);
    }
}

static void run_round(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count,
    size_t chunk_ops_max)
{
    size_t groups = redis->is_cluster ? redis->partitions : 1;
    struct batch batch = {.redis = redis,
        .lane = lane,
        .settings = settings,
        .ops = ops,
        .count = count,
        .chunk_ops_max = chunk_ops_max,
        .has_big = atomic_load(&redis->big_commits) > 0};
    if (batch.has_big) {
        atomic_fetch_sub(&redis->big_commits, (int)count); /* nearly, with several at once */
    }
    batch.partitions = nadb_mem_alloc(count * sizeof(*batch.partitions));
    batch.next = nadb_mem_alloc(count * sizeof(*batch.next));
    batch.chunks = nadb_mem_alloc(count * sizeof(*batch.chunks));
    batch.open = nadb_mem_zalloc(groups * sizeof(*batch.open));
    plan(&batch);
    nadb_redis_lane_reset(lane);
    for (size_t i = 0; i < batch.chunk_count; i++) {
        send_chunk(&batch, &batch.chunks[i]);
    }
    nadb_redis_lane_exchange(lane);
    for (size_t i = 0; i < batch.chunk_count; i++) {
        take_chunk(&batch, &batch.chunks[i]);
    }
    read_on(&batch);
    nadb_mem_free(batch.partitions);
    nadb_mem_free(batch.next);
    nadb_mem_free(batch.chunks);
    nadb_mem_free(batch.open);
}

/* Was it turned away because its key is elsewhere than others of the same command? */
static bool was_parted(const struct nadb_op *op)
{
    return op->kind == NADB_OP_FETCH && op->err == NADB_EENGINE &&
           strncmp(op->error.text, "TRYAGAIN", strlen("TRYAGAIN")) == 0;
}

/* While a slot is moved some of its keys are here and some there: those are fetched one by one. Not
 * where there are commits, which would have to come behind. */
static void fetch_apart(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count)
{
    struct nadb_op **parted = NULL;
    size_t parted_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->kind == NADB_OP_COMMIT) {
            parted_count = 0;
            break;
        }
        if (was_parted(ops[i])) {
            parted = parted != NULL ? parted : nadb_mem_alloc(count * sizeof(struct nadb_op *));
            parted[parted_count++] = ops[i];
        }
    }
    for (size_t i = 0; i < parted_count; i++) {
        nadb_redis_fail_op(parted[i], NADB_OK, &(struct nadb_error){.code = NADB_OK});
    }
    if (parted_count > 0) {
        run_round(redis, lane, settings, parted, parted_count, 1);
    }
    nadb_mem_free(parted);
}

void nadb_redis_run_batch(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *const *ops, size_t count)
{
    run_round(redis, lane, settings, ops, count, CHUNK_OPS);
    if (redis->is_cluster) {
        fetch_apart(redis, lane, settings, ops, count);
    }
}
