/* This file runs operations that concern a whole keyspace: each asks all partitions, in one go.
 *
 * A single server is asked for many partitions by one call; a cluster by one call each. What takes
 * the engine long (selecting, removing) is one call for each partition anywhere, so that others
 * have their turn in between. */
#include <stdlib.h>

#include "backends/redis/program.h"
#include "backends/redis/redis_internal.h"
#include "src/base/assert.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

#define WIDTH_MAX          256u
#define SCAN_CURSOR_BITS   48
#define SCAN_COUNT_DEFAULT 10u
#define SLICES_MAX         ((size_t)4 << 30)

struct query {
    struct nadb_redis *redis;
    struct nadb_redis_lane *lane;
    const struct nadb_shared_settings *settings;
    struct nadb_op *op;
    struct nadb_redis_hold *hold;
    char space[NADB_REDIS_SPACE_MAX];
    size_t space_len;
    struct nadb_buf list; /* of slices, or of tallies */
};

static struct nadb_redis_out *out_of(struct query *query)
{
    return &query->lane->out;
}

static struct nadb_slice space_of(const struct query *query)
{
    return nadb_slice_of(query->space, query->space_len);
}

static enum nadb_err no_memory(struct query *query)
{
    return nadb_error_set(&query->op->error, NADB_ENOMEM, 0, "%s", nadb_err_text(NADB_ENOMEM));
}

/* ---- asking ---- */

static size_t width_of(const struct nadb_redis *redis)
{
    return redis->is_cluster ? 1 : redis->partitions < WIDTH_MAX ? redis->partitions : WIDTH_MAX;
}

static void write_bases(struct query *query, uint32_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct nadb_redis_base base =
            nadb_redis_base(query->redis, (uint32_t)((first + i) % query->redis->partitions));
        nadb_redis_out_arg(out_of(query), base.name);
    }
}

static void begin(struct query *query, enum nadb_redis_script_id script, uint32_t partition,
    bool is_write, size_t args)
{
    struct nadb_redis_base base =
        nadb_redis_base(query->redis, partition % query->redis->partitions);
    nadb_redis_lane_begin_script(query->lane, script, base.name, is_write, args);
}

#define PARTLY_DONE "backend: outcome unknown: only a part was reached"

/* How many of the calls begin with an outcome; the worst of the others is the operation's. */
static void gather_errors(struct query *query, bool is_write)
{
    size_t done = 0;
    enum nadb_err worst = NADB_OK;
    for (size_t i = 0; i < query->lane->call_count; i++) {
        enum nadb_err err = NADB_OK;
        struct nadb_error error = {.code = NADB_OK};
        if (nadb_redis_lane_reply(query->lane, i, &err, &error) != NULL) {
            done++;
        } else if (worst != NADB_ESYNC) {
            worst = err;
            nadb_redis_fail_op(query->op, err, &error);
        }
    }
    if (is_write && worst != NADB_OK && worst != NADB_ESYNC && done > 0) {
        /* Partly done: nobody can say how much of what is there now was meant. */
        query->op->err = nadb_error_set(&query->op->error, NADB_ESYNC, 0, PARTLY_DONE);
    }
}

static bool exchange(struct query *query, bool is_write)
{
    nadb_redis_lane_exchange(query->lane);
    gather_errors(query, is_write);
    return query->op->err == NADB_OK;
}

/* Takes the replies of all calls, which live as long as the operation's outcome. */
static redisReply *take_reply(struct query *query, size_t call)
{
    redisReply *reply = query->lane->calls[call].reply;
    query->lane->calls[call].reply = NULL;
    nadb_redis_hold_reply(query->hold, reply);
    return reply;
}

static struct nadb_slice text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? nadb_slice_of(reply->str, (size_t)reply->len)
                                             : nadb_slice_of(NULL, 0);
}

static uint64_t number_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_INTEGER && reply->integer > 0 ? (uint64_t)reply->integer : 0;
}

/* An array of at least `min` elements, of which those behind come in groups of `group`? */
static bool is_list(struct query *query, const redisReply *reply, size_t min, size_t group)
{
    bool is_right = reply->type == REDIS_REPLY_ARRAY && reply->elements >= min &&
                    (reply->elements - min) % group == 0;
    if (!is_right) {
        query->op->err = nadb_redis_bad_reply(&query->op->error);
    }
    return is_right;
}

/* ---- lists ---- */

static bool add_to_list(struct query *query, const void *item, size_t size)
{
    if (!nadb_buf_append(&query->list, item, size)) {
        query->op->err = no_memory(query);
        return false;
    }
    return true;
}

/* The list as the operation's own; NULL: no memory. */
static void *keep_list(struct query *query, size_t size, size_t *ret_count)
{
    void *copy = nadb_redis_hold_alloc(query->hold, query->list.len + 1);
    if (copy == NULL) {
        query->op->err = no_memory(query);
        return NULL;
    }
    if (query->list.len > 0) {
        memcpy(copy, query->list.data, query->list.len);
    }
    *ret_count = query->list.len / size;
    return copy;
}

static void add_keys(struct query *query, const redisReply *reply, size_t from)
{
    for (size_t i = from; i < reply->elements; i++) {
        struct nadb_slice key = text_of(reply->element[i]);
        if (!add_to_list(query, &key, sizeof(key))) {
            return;
        }
    }
}

static void keep_keys(struct query *query)
{
    size_t count = 0;
    struct nadb_slice *keys = keep_list(query, sizeof(*keys), &count);
    if (keys != NULL) {
        query->op->keys = keys;
        query->op->key_count = count;
    }
}

/* ---- COUNT, SPACES ---- */

struct space_row {
    struct nadb_slice space;
    struct nadb_space_tally tally;
};

static int compare_spaces(const void *a, const void *b)
{
    const struct space_row *left = a;
    const struct space_row *right = b;
    return nadb_slice_cmp(left->space, right->space);
}

static void add_spaces(struct query *query, const redisReply *reply)
{
    if (!is_list(query, reply, 0, 4)) {
        return;
    }
    for (size_t i = 0; i < reply->elements; i += 4) {
        struct space_row row = {.space = text_of(reply->element[i])};
        if (!nadb_redis_space_parse(row.space, &row.tally.place)) {
            continue; /* somebody else's */
        }
        row.tally.keys = number_of(reply->element[i + 1]);
        row.tally.expires = number_of(reply->element[i + 2]);
        row.tally.ttl_sum_ms = number_of(reply->element[i + 3]);
        if (!add_to_list(query, &row, sizeof(row))) {
            return;
        }
    }
}

/* Sorts the rows and adds up those of the same space. */
static void merge_spaces(struct query *query)
{
    struct nadb_op *op = query->op;
    struct space_row *rows = (struct space_row *)(void *)query->list.data;
    size_t count = query->list.len / sizeof(*rows);
    struct nadb_space_tally *spaces =
        nadb_redis_hold_alloc(query->hold, (count + 1) * sizeof(*spaces));
    if (spaces == NULL) {
        op->err = no_memory(query);
        return;
    }
    if (count > 0) {
        qsort(rows, count, sizeof(*rows), compare_spaces);
    }
    op->spaces = spaces;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || compare_spaces(&rows[i - 1], &rows[i]) != 0) {
            spaces[op->space_count++] = rows[i].tally;
            continue;
        }
        struct nadb_space_tally *sum = &spaces[op->space_count - 1];
        sum->keys += rows[i].tally.keys;
        sum->expires += rows[i].tally.expires;
        sum->ttl_sum_ms += rows[i].tally.ttl_sum_ms;
    }
}

static void run_count(struct query *query)
{
    struct nadb_op *op = query->op;
    bool is_one = op->kind == NADB_OP_COUNT;
    size_t width = width_of(query->redis);
    for (uint32_t first = 0; first < query->redis->partitions; first += (uint32_t)width) {
        size_t left = query->redis->partitions - first;
        size_t count = left < width ? left : width;
        begin(query, NADB_REDIS_COUNT, first, false, 1 + count);
        nadb_redis_out_arg(out_of(query), is_one ? space_of(query) : nadb_slice_of(NULL, 0));
        write_bases(query, first, count);
        (void)nadb_redis_lane_end(query->lane); /* replies are taken in order */
    }
    if (!exchange(query, false)) {
        return;
    }
    for (size_t i = 0; i < query->lane->call_count && op->err == NADB_OK; i++) {
        add_spaces(query, take_reply(query, i));
    }
    merge_spaces(query);
    if (is_one && op->err == NADB_OK) {
        if (op->space_count == 0) {
            op->spaces[op->space_count++] = (struct nadb_space_tally){.place = op->place};
        }
        op->number = op->spaces[0].keys;
    }
}

/* ---- SCAN, RANDOM ---- */

static void write_scan(
    struct query *query, uint32_t first, size_t width, uint64_t cursor, uint64_t count)
{
    begin(query, NADB_REDIS_SCAN, first, false, 3 + width);
    nadb_redis_out_arg(out_of(query), space_of(query));
    nadb_redis_out_number(out_of(query), cursor);
    nadb_redis_out_number(out_of(query), count);
    write_bases(query, first, width);
    (void)nadb_redis_lane_end(query->lane); /* replies are taken in order */
}

static void scan_all(struct query *query)
{
    size_t width = width_of(query->redis);
    for (uint32_t first = 0; first < query->redis->partitions; first += (uint32_t)width) {
        size_t left = query->redis->partitions - first;
        write_scan(query, first, left < width ? left : width, 0, 0);
    }
    if (!exchange(query, false)) {
        return;
    }
    for (size_t i = 0; i < query->lane->call_count && query->op->err == NADB_OK; i++) {
        redisReply *reply = take_reply(query, i);
        if (is_list(query, reply, 2, 1)) {
            add_keys(query, reply, 2);
        }
    }
}

/* One step; the position moves on. */
static void scan_step(struct query *query, uint32_t *partition, uint64_t *cursor, uint64_t count)
{
    size_t width = width_of(query->redis);
    size_t left = query->redis->partitions - *partition;
    nadb_redis_lane_reset(query->lane);
    write_scan(query, *partition, left < width ? left : width, *cursor, count);
    if (!exchange(query, false)) {
        return;
    }
    redisReply *reply = take_reply(query, 0);
    if (!is_list(query, reply, 2, 1)) {
        return;
    }
    uint64_t done = number_of(reply->element[0]);
    if (done > left || !nadb_parse_u64(text_of(reply->element[1]), cursor) ||
        *cursor >> SCAN_CURSOR_BITS != 0 || (done == 0 && *cursor == 0)) {
        query->op->err = nadb_redis_bad_reply(&query->op->error);
        return;
    }
    *partition += (uint32_t)done;
    add_keys(query, reply, 2);
}

static void run_scan(struct query *query)
{
    struct nadb_op *op = query->op;
    uint64_t count = op->count > 0 ? op->count : SCAN_COUNT_DEFAULT;
    uint64_t cursor = op->cursor & ((UINT64_C(1) << SCAN_CURSOR_BITS) - 1);
    uint64_t first = op->cursor >> SCAN_CURSOR_BITS;
    uint32_t partition =
        first < query->redis->partitions ? (uint32_t)first : query->redis->partitions;
    if (op->count == NADB_SCAN_ALL) {
        scan_all(query);
        partition = query->redis->partitions;
    }
    while (op->err == NADB_OK && partition < query->redis->partitions &&
           query->list.len / sizeof(struct nadb_slice) < count) {
        scan_step(query, &partition, &cursor, count);
    }
    if (op->err == NADB_OK) {
        keep_keys(query);
        op->next_cursor = partition < query->redis->partitions
                              ? (uint64_t)partition << SCAN_CURSOR_BITS | cursor
                              : 0;
    }
}

static void run_random(struct query *query)
{
    uint32_t numbers[2];
    nadb_random_bytes(numbers, sizeof(numbers));
    uint32_t start = numbers[0] % query->redis->partitions;
    size_t width = query->redis->is_cluster ? 1 : query->redis->partitions;
    for (uint32_t i = 0; i < query->redis->partitions; i += (uint32_t)width) {
        begin(query, NADB_REDIS_RANDOM, start + i, false, 2 + width);
        nadb_redis_out_arg(out_of(query), space_of(query));
        nadb_redis_out_number(out_of(query), numbers[1]);
        write_bases(query, start + i, width);
        (void)nadb_redis_lane_end(query->lane); /* replies are taken in order */
    }
    if (!exchange(query, false)) {
        return;
    }
    for (size_t i = 0; i < query->lane->call_count && query->list.len == 0; i++) {
        redisReply *reply = take_reply(query, i);
        if (!is_list(query, reply, 0, 1)) {
            return;
        }
        add_keys(query, reply, 0);
    }
    keep_keys(query);
}

/* ---- TAG_COUNTS, TAGS ---- */

static void ask_tallies(struct query *query)
{
    struct nadb_op *op = query->op;
    bool is_named = op->kind == NADB_OP_TAG_COUNTS;
    size_t tag_count = is_named ? op->tag_count : 0;
    size_t width = width_of(query->redis);
    for (uint32_t first = 0; first < query->redis->partitions; first += (uint32_t)width) {
        size_t left = query->redis->partitions - first;
        size_t count = left < width ? left : width;
        begin(query, NADB_REDIS_TALLY, first, false, 2 + count + tag_count);
        nadb_redis_out_arg(out_of(query), space_of(query));
        nadb_redis_out_number(out_of(query), count);
        write_bases(query, first, count);
        for (size_t i = 0; i < tag_count; i++) {
            nadb_redis_out_arg(out_of(query), op->tags[i]);
        }
        (void)nadb_redis_lane_end(query->lane); /* replies are taken in order */
    }
}

static void run_tag_counts(struct query *query)
{
    struct nadb_op *op = query->op;
    struct nadb_tag_tally *tallies =
        nadb_redis_hold_alloc(query->hold, (op->tag_count + 1) * sizeof(*tallies));
    if (tallies == NULL) {
        op->err = no_memory(query);
        return;
    }
    for (size_t i = 0; i < op->tag_count; i++) {
        tallies[i] = (struct nadb_tag_tally){.tag = op->tags[i]};
    }
    op->tallies = tallies;
    op->tally_count = op->tag_count;
    if (op->tag_count == 0) {
        return;
    }
    ask_tallies(query);
    if (!exchange(query, false)) {
        return;
    }
    for (size_t i = 0; i < query->lane->call_count; i++) {
        redisReply *reply = take_reply(query, i);
        if (!is_list(query, reply, op->tag_count, SIZE_MAX)) {
            return;
        }
        for (size_t j = 0; j < op->tag_count; j++) {
            tallies[j].count += number_of(reply->element[j]);
        }
    }
}

static int compare_tallies(const void *a, const void *b)
{
    const struct nadb_tag_tally *left = a;
    const struct nadb_tag_tally *right = b;
    return nadb_slice_cmp(left->tag, right->tag);
}

static void run_tags(struct query *query)
{
    struct nadb_op *op = query->op;
    ask_tallies(query);
    if (!exchange(query, false)) {
        return;
    }
    for (size_t i = 0; i < query->lane->call_count; i++) {
        redisReply *reply = take_reply(query, i);
        if (!is_list(query, reply, 0, 2)) {
            return;
        }
        for (size_t j = 0; j < reply->elements; j += 2) {
            struct nadb_tag_tally tally = {
                .tag = text_of(reply->element[j]), .count = number_of(reply->element[j + 1])};
            if (!add_to_list(query, &tally, sizeof(tally))) {
                return;
            }
        }
    }
    size_t count = 0;
    struct nadb_tag_tally *tallies = keep_list(query, sizeof(*tallies), &count);
    if (tallies == NULL) {
        return;
    }
    qsort(tallies, count, sizeof(*tallies), compare_tallies);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && nadb_slice_eq(tallies[kept - 1].tag, tallies[i].tag)) {
            tallies[kept - 1].count += tallies[i].count;
        } else {
            tallies[kept++] = tallies[i];
        }
    }
    op->tallies = tallies;
    op->tally_count = kept;
}

/* ---- waves ---- */

/* Partitions that are worked on between two looks at the clock. */
#define WAVE 4u

/* `ctx` is the caller's. */
typedef void ask_fn(struct query *query, const void *ctx, uint32_t partition);

/* Takes the replies; call 0 is of partition `first`. */
typedef void take_fn(struct query *query, const void *ctx, uint32_t first);

/* Asks all partitions for what may take them long, `wave` at a time: the engine serves others in
 * between, and each wave has the whole timeout, so that only silence ends it. */
static void ask_in_waves(
    struct query *query, uint32_t wave, bool is_write, ask_fn *ask, take_fn *take, const void *ctx)
{
    uint32_t partitions = query->redis->partitions;
    for (uint32_t first = 0; first < partitions && query->op->err == NADB_OK; first += wave) {
        nadb_redis_lane_reset(query->lane);
        if (first > 0) {
            query->lane->deadline_us = nadb_redis_now_us() + query->redis->timeout_ms * 1000;
        }
        for (uint32_t i = first; i < partitions && i - first < wave; i++) {
            ask(query, ctx, i);
        }
        if (exchange(query, is_write)) {
            take(query, ctx, first);
        } else if (is_write && first > 0) {
            query->op->err = nadb_error_set(&query->op->error, NADB_ESYNC, 0, PARTLY_DONE);
        }
    }
}

/* Adds up how many. */
static void take_numbers(struct query *query, const void *ctx, uint32_t first)
{
    (void)ctx;
    (void)first;
    for (size_t i = 0; i < query->lane->call_count; i++) {
        query->op->number += number_of(query->lane->calls[i].reply);
    }
}

/* ---- SELECT ---- */

/* Operations of an expression that are no matter for the engine, all partitions together. */
#define OPS_SHORT 16u

static void ask_select_of(struct query *query, const struct nadb_redis_program *program,
    struct nadb_slice mode, bool is_write, uint32_t partition)
{
    begin(query, NADB_REDIS_SELECT, partition, is_write, 7 + program->op_count);
    write_bases(query, partition, 1);
    nadb_redis_out_arg(out_of(query), space_of(query));
    nadb_redis_out_arg(out_of(query), mode);
    nadb_redis_out_number(out_of(query), query->op->records_max);
    nadb_redis_out_number(out_of(query), query->op->epoch);
    nadb_redis_out_number(out_of(query), query->settings->epochs_max);
    nadb_redis_program_write_pattern(program, out_of(query));
    nadb_redis_program_write(program, out_of(query));
    (void)nadb_redis_lane_end(query->lane); /* replies are taken in order */
}

static bool read_program(struct query *query, struct nadb_redis_program *ret)
{
    if (!nadb_redis_program_read(query->op->selector, ret)) {
        query->op->err = nadb_error_set(&query->op->error, NADB_EBADEXPR, 0, "malformed selector");
        return false;
    }
    return true;
}

/* key, bytes, time of creation (-1: in them), seconds of idleness: what the script gives of one. */
static bool add_found(struct query *query, redisReply *const *parts, bool is_whole)
{
    struct nadb_op *op = query->op;
    struct nadb_found found;
    bool is_plain = parts[2]->integer >= 0;
    const struct nadb_redis_bytes bytes = {
        text_of(parts[1]), is_plain, is_plain ? (uint64_t)parts[2]->integer : 0};
    op->err = nadb_redis_found(
        query->hold, &bytes, op->place, text_of(parts[0]), is_whole, &found, &op->error);
    if (op->err != NADB_OK) {
        return false;
    }
    if (op->wants_times) {
        found.entry.accessed_s = nadb_redis_accessed(parts[3], &found.entry);
    }
    return add_to_list(query, &found, sizeof(found));
}

static void keep_found(struct query *query)
{
    struct nadb_op *op = query->op;
    size_t count = 0;
    if (op->err != NADB_OK || op->number > op->records_max || !op->wants_records) {
        return;
    }
    struct nadb_found *found = keep_list(query, sizeof(*found), &count);
    if (found != NULL) {
        op->found = found;
        op->found_count = count;
    }
}

static bool wants_whole(const struct nadb_op *op)
{
    return op->wants_records && op->wants_value;
}

static void ask_selection(struct query *query, const void *program, uint32_t partition)
{
    ask_select_of(query, program,
        wants_whole(query->op)     ? NADB_SLICE("records")
        : query->op->wants_records ? NADB_SLICE("heads")
                                   : NADB_SLICE("count"),
        false, partition);
}

static void take_selection(struct query *query, const void *program, uint32_t first)
{
    struct nadb_op *op = query->op;
    (void)program;
    (void)first;
    for (size_t i = 0; i < query->lane->call_count; i++) {
        redisReply *reply = take_reply(query, i);
        if (!is_list(query, reply, 1, 4)) {
            return;
        }
        op->number += number_of(reply->element[0]);
        for (size_t j = 1; j < reply->elements && op->number <= op->records_max; j += 4) {
            if (!add_found(query, &reply->element[j], wants_whole(op))) {
                return;
            }
        }
    }
}

static void run_select(struct query *query)
{
    struct nadb_redis_program program;
    if (read_program(query, &program)) {
        bool is_short = program.op_count <= OPS_SHORT;
        ask_in_waves(query, is_short ? query->redis->partitions : WAVE, false, ask_selection,
            take_selection, &program);
        keep_found(query);
    }
}

/* ---- EPOCH, INVALIDATE, CLEAR ---- */

static void add_name(
    struct query *query, const struct nadb_redis_base *base, struct nadb_slice name)
{
    char *at = nadb_redis_out_begin(out_of(query), base->name.len + name.len);
    if (at != NULL) {
        memcpy(at, base->name.data, base->name.len);
        memcpy(at + base->name.len, name.data, name.len);
    }
    nadb_redis_out_end(out_of(query));
}

/* Sent again when its answer is lost: an epoch that nobody got is of no harm. */
static bool ask_epoch(struct query *query, struct nadb_slice mode, uint64_t *ret, uint64_t *first)
{
    struct nadb_redis_base base = nadb_redis_base(query->redis, 0);
    nadb_redis_lane_reset(query->lane);
    begin(query, NADB_REDIS_EPOCH, 0, false, 3);
    add_name(query, &base, NADB_SLICE("epoch"));
    add_name(query, &base, NADB_SLICE("first"));
    nadb_redis_out_arg(out_of(query), mode);
    (void)nadb_redis_lane_end(query->lane); /* the only one */
    if (!exchange(query, false)) {
        return false;
    }
    const redisReply *reply = query->lane->calls[0].reply;
    if (!is_list(query, reply, 2, 1)) {
        return false;
    }
    *ret = number_of(reply->element[0]);
    *first = number_of(reply->element[1]);
    return true;
}

static void ask_removal(struct query *query, const void *program, uint32_t partition)
{
    ask_select_of(query, program, NADB_SLICE("remove"), true, partition);
}

static void run_invalidate(struct query *query)
{
    struct nadb_redis_program program;
    uint64_t first;
    if (read_program(query, &program) &&
        ask_epoch(query, NADB_SLICE("next"), &query->op->epoch, &first)) {
        ask_in_waves(query, WAVE, true, ask_removal, take_numbers, &program);
    }
}

static void ask_clearing(struct query *query, const void *ctx, uint32_t partition)
{
    (void)ctx;
    begin(query, NADB_REDIS_CLEAR, partition, true, 3);
    write_bases(query, partition, 1);
    nadb_redis_out_arg(out_of(query), space_of(query));
    nadb_redis_out_number(out_of(query), query->op->epoch);
    (void)nadb_redis_lane_end(query->lane); /* replies are taken in order */
}

static void run_clear(struct query *query)
{
    uint64_t first;
    if (ask_epoch(query, NADB_SLICE("next"), &query->op->epoch, &first)) {
        ask_in_waves(query, WAVE, true, ask_clearing, take_numbers, NULL);
    }
}

/* ---- the table ---- */

static void run_epoch(struct query *query)
{
    struct nadb_op *op = query->op;
    (void)ask_epoch(query, NADB_SLICE("get"), &op->number, &op->epoch); /* it has the error */
}

void nadb_redis_run_publish(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    struct nadb_op *const *ops, size_t count)
{
    nadb_redis_lane_reset(lane);
    for (size_t i = 0; i < count; i++) {
        nadb_redis_lane_begin(lane, 0, true, 3);
        nadb_redis_write_message(redis, &lane->out, ops[i]->key, ops[i]->text);
        (void)nadb_redis_lane_end(lane); /* outcomes are taken in order */
    }
    nadb_redis_lane_exchange(lane);
    for (size_t i = 0; i < count; i++) {
        (void)nadb_redis_lane_reply(lane, i, &ops[i]->err, &ops[i]->error); /* err says it */
    }
}

typedef void run_query_fn(struct query *query);

static run_query_fn *const queries[] = {
    [NADB_OP_COUNT] = run_count,
    [NADB_OP_SCAN] = run_scan,
    [NADB_OP_RANDOM] = run_random,
    [NADB_OP_TAG_COUNTS] = run_tag_counts,
    [NADB_OP_TAGS] = run_tags,
    [NADB_OP_SELECT] = run_select,
    [NADB_OP_INVALIDATE] = run_invalidate,
    [NADB_OP_CLEAR] = run_clear,
    [NADB_OP_EPOCH] = run_epoch,
    [NADB_OP_SPACES] = run_count,
};

void nadb_redis_run_query(struct nadb_redis *redis, struct nadb_redis_lane *lane,
    const struct nadb_shared_settings *settings, struct nadb_op *op)
{
    NADB_ASSERT((size_t)op->kind < NADB_ARRAY_LEN(queries) && queries[op->kind] != NULL);
    struct query query = {.redis = redis,
        .lane = lane,
        .settings = settings,
        .op = op,
        .hold = nadb_redis_hold_new()};
    query.space_len = nadb_redis_space(op->place, query.space);
    nadb_buf_init(&query.list, SLICES_MAX);
    nadb_redis_lane_reset(lane);
    queries[op->kind](&query);
    nadb_redis_hold_share(query.hold, op);
    nadb_redis_hold_unref(query.hold);
    nadb_buf_fini(&query.list);
}
