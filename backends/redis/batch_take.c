/* This file makes outcomes of what the engine replied to the chunks of a batch: see batch.c. */
#include <stdlib.h>
#include <string.h>

#include "backends/redis/batch_internal.h"
#include "backends/redis/record.h"
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/codec.h"

/* ---- hints ---- */

static void learn(const struct nadb_redis_batch *batch, size_t index, bool is_plain)
{
    if (!is_plain || !batch->is_hinted[index]) {
        nadb_redis_hint_learn(&batch->redis->hints, batch->hashes[index], is_plain);
    }
}

static void learn_commit(const struct nadb_redis_batch *batch, const struct nadb_op *op)
{
    for (size_t i = 0; i < op->change_count; i++) {
        const struct nadb_entry *entry = &op->changes[i].entry;
        nadb_redis_hint_learn(&batch->redis->hints,
            nadb_redis_identity(op->changes[i].place, entry->key),
            entry->kind == NADB_ENTRY_PUT && nadb_redis_record_is_plain(entry));
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

static void fail_chunk(struct nadb_redis_batch *batch, const struct nadb_redis_chunk *chunk,
    enum nadb_err err, const struct nadb_error *error)
{
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
        nadb_redis_fail_op(batch->ops[i], err, error);
    }
}

/* Gives the reply of the chunk's call to a new hold. */
static struct nadb_redis_hold *hold_call(
    struct nadb_redis_batch *batch, const struct nadb_redis_chunk *chunk)
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
static void take_fetch(struct nadb_redis_batch *batch, uint32_t index, const redisReply *plain,
    const redisReply *full, uint64_t created_ms, struct nadb_redis_hold *hold,
    struct nadb_found *found)
{
    bool is_plain = full == NULL && plain != NULL;
    nadb_redis_hold_share(hold, batch->ops[index]);
    take_record(batch->ops[index], is_plain ? plain : full, is_plain, created_ms, hold, found);
    learn(batch, index, is_plain);
}

/* Was nothing found where a hint led? */
static bool was_misled(const struct nadb_redis_batch *batch, const struct nadb_redis_chunk *chunk,
    redisReply **replies)
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

static enum nadb_err take_values(struct nadb_redis_batch *batch,
    const struct nadb_redis_chunk *chunk, redisReply *reply, struct nadb_error *reterr)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != chunk->items) {
        return nadb_redis_bad_reply(reterr);
    }
    if (was_misled(batch, chunk, reply->element)) {
        for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
            batch->verdicts[i] =
                NADB_REDIS_VERDICT_AGAIN; /* no commit has to do with any of them */
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
    struct nadb_redis_batch *batch, const struct nadb_redis_chunk *chunk, struct nadb_error *reterr)
{
    redisReply *replies[NADB_REDIS_APART_GETS + 1] = {NULL};
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
            unless_empty(replies[1]),
            op->wants_times ? created_of(replies[NADB_REDIS_APART_GETS]) : 0, hold, found);
        if (op->wants_times && op->err == NADB_OK && found->stamp != 0) {
            found->entry.accessed_s = nadb_redis_accessed(NULL, &found->entry);
        }
    }
    nadb_redis_hold_unref(hold);
    return found != NULL ? NADB_OK : no_memory(reterr);
}

/* bytes, created, idle: what the script gives of one. */
static void take_look(struct nadb_redis_batch *batch, uint32_t index, redisReply *const *parts,
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

static enum nadb_err take_looks(struct nadb_redis_batch *batch,
    const struct nadb_redis_chunk *chunk, redisReply *reply, struct nadb_error *reterr)
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
static void take_sets(struct nadb_redis_batch *batch, const struct nadb_redis_chunk *chunk)
{
    size_t call = chunk->call + 1 - chunk->ops;
    for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i], call++) {
        struct nadb_op *op = batch->ops[i];
        const redisReply *reply = nadb_redis_lane_reply(batch->lane, call, &op->err, &op->error);
        if (reply != NULL && reply->type == REDIS_REPLY_NIL) {
            learn(batch, i, false);
            batch->verdicts[i] = NADB_REDIS_VERDICT_AGAIN;
        } else if (reply != NULL && reply->type != REDIS_REPLY_STATUS) {
            op->err = nadb_error_set(&op->error, NADB_ESYNC, 0, "backend: outcome unknown");
        }
    }
}

static enum nadb_err take_epochs(struct nadb_redis_batch *batch,
    const struct nadb_redis_chunk *chunk, redisReply *reply, struct nadb_error *reterr)
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

static enum nadb_err take_commits(struct nadb_redis_batch *batch,
    const struct nadb_redis_chunk *chunk, redisReply *reply, struct nadb_error *reterr)
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

void nadb_redis_take_chunk(struct nadb_redis_batch *batch, const struct nadb_redis_chunk *chunk)
{
    struct nadb_error error = {.code = NADB_OK};
    enum nadb_err err = NADB_OK;
    if (chunk->kind == NADB_REDIS_CHUNK_SETS) {
        take_sets(batch, chunk);
        return;
    }
    redisReply *reply = nadb_redis_lane_reply(batch->lane, chunk->call, &err, &error);
    if (reply != NULL) {
        switch (chunk->kind) {
        case NADB_REDIS_CHUNK_VALUES:
            err = take_values(batch, chunk, reply, &error);
            break;
        case NADB_REDIS_CHUNK_APART:
            err = take_apart(batch, chunk, &error);
            break;
        case NADB_REDIS_CHUNK_LOOKS:
            err = take_looks(batch, chunk, reply, &error);
            break;
        case NADB_REDIS_CHUNK_COMMITS:
            err = take_commits(batch, chunk, reply, &error);
            break;
        case NADB_REDIS_CHUNK_EPOCHS:
            err = take_epochs(batch, chunk, reply, &error);
            break;
        case NADB_REDIS_CHUNK_SETS:
        case NADB_REDIS_CHUNK_NONE:
            NADB_ASSERT(false);
        }
    }
    if (chunk->may_be_apart && !batch->is_apart && was_parted(err, &error)) {
        for (uint32_t i = chunk->first; i != UINT32_MAX; i = batch->next[i]) {
            batch->verdicts[i] = NADB_REDIS_VERDICT_APART;
        }
    } else if (err != NADB_OK) {
        fail_chunk(batch, chunk, err, &error);
    }
}
