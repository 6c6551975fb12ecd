/* This file holds QUERY and QUERYTAGS.
 *
 *     plain, LIMIT, CURSOR   what passes the filters is written to the reply as it is visited
 *     WITHVALUES             the keys are gathered; then values that are not in memory are fetched,
 *                            some ahead of the one that is written
 *     SORTBY                 it is gathered, at most as much as the answer may need: a heap whose
 *                            top is the worst so far; then sorted and written
 *     COUNTONLY              it is counted; without filters nothing is visited
 *
 * All of it in slices. The keys of the answer are copies, so that nothing is borrowed from one
 * slice to the next. */
#include "src/server/cmd_query.h"

#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/server/cmd_table.h"

#define QUERY_MAGIC    0x51525259u
#define VISIT_MAX      64u
#define ITEMS_FIRST    64u
#define FETCH_AHEAD    64u
#define SORT_ITEMS_MAX 1000000u /* what LIMIT with SORTBY may ask for: offset and count together */

/* A candidate of a sorted answer. */
struct item {
    uint64_t number; /* the field */
    char *key;       /* owned */
    size_t key_len;
};

/* A query under way. */
struct work {
    unsigned magic;
    struct nadb_query query;
    uint64_t visited;
    uint64_t matched; /* passed the filters */
    uint64_t written;
    struct nadb_resp_writer reply;
    struct item *items; /* heap, then sorted; without SORTBY as they were visited */
    size_t item_count, item_cap, bytes;
    bool is_visited; /* all is gathered */
    size_t item_at;  /* to be written next */
};

struct visit {
    struct nadb_call *call;
    const struct nadb_query_args *args;
    struct work *work;
    uint64_t keep_max; /* so many are written or gathered */
};

static void free_items(struct work *work)
{
    for (size_t i = 0; i < work->item_count; i++) {
        nadb_mem_free(work->items[i].key);
    }
    nadb_mem_free(work->items);
    work->items = NULL;
    work->item_count = 0;
}

static void work_free(void *progress)
{
    struct work *work;
    NADB_CAST(work, progress, QUERY_MAGIC);
    nadb_query_fini(&work->query);
    nadb_resp_writer_fini(&work->reply);
    free_items(work);
    work->magic = 0;
    nadb_mem_free(work);
}

/* ---- writing ---- */

/* One element of the answer. */
static void write_record(struct nadb_call *call, const struct nadb_query_args *args,
    struct nadb_resp_writer *out, const struct nadb_rec *rec)
{
    struct nadb_call into = *call;
    into.out = out;
    if (args->has_values || args->has_meta) {
        nadb_resp_array(out, 1u + args->has_values + args->has_meta);
    }
    nadb_resp_bulk(out, nadb_rec_key(rec));
    if (args->has_values) {
        nadb_resp_bulk(out, nadb_rec_value(rec));
    }
    if (args->has_meta) {
        nadb_reply_meta(&into, rec);
    }
}

/* ---- sorting ---- */

/* Negative when `a` comes first in the answer. */
static int compare_items(
    const struct nadb_query_args *args, const struct item *a, const struct item *b)
{
    int order = a->number != b->number ? (a->number < b->number ? -1 : 1)
                                       : nadb_slice_cmp(nadb_slice_of(a->key, a->key_len),
                                             nadb_slice_of(b->key, b->key_len));
    return args->is_descending ? -order : order;
}

static void sift_down(
    const struct nadb_query_args *args, struct item *items, size_t count, size_t at)
{
    for (;;) {
        size_t worst = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            if (compare_items(args, &items[child], &items[worst]) > 0) {
                worst = child;
            }
        }
        if (worst == at) {
            return;
        }
        struct item item = items[at];
        items[at] = items[worst];
        items[worst] = item;
        at = worst;
    }
}

static void sift_up(const struct nadb_query_args *args, struct item *items, size_t at)
{
    while (at > 0 && compare_items(args, &items[at], &items[(at - 1) / 2]) > 0) {
        struct item item = items[at];
        items[at] = items[(at - 1) / 2];
        items[(at - 1) / 2] = item;
        at = (at - 1) / 2;
    }
}

static void add_item(struct work *work, struct item item)
{
    char *key = nadb_mem_alloc(item.key_len + 1);
    memcpy(key, item.key, item.key_len);
    item.key = key;
    work->bytes += item.key_len;
    if (work->item_count == work->item_cap) {
        work->item_cap = work->item_cap == 0 ? ITEMS_FIRST : work->item_cap * 2;
        work->items = nadb_mem_realloc(work->items, work->item_cap * sizeof(*work->items));
    }
    work->items[work->item_count++] = item;
}

static void gather(const struct visit *visit, const struct nadb_rec *rec)
{
    struct work *work = visit->work;
    struct nadb_slice key = nadb_rec_key(rec);
    struct item item = {
        .number = nadb_query_field_of(visit->args->order, rec, visit->call->now_ms),
        .key = (char *)(uintptr_t)key.data,
        .key_len = key.len,
    };
    bool is_full = work->item_count >= visit->keep_max;
    if (visit->keep_max == 0 ||
        (is_full && compare_items(visit->args, &item, &work->items[0]) >= 0)) {
        return;
    }
    add_item(work, item);
    if (visit->args->order == NADB_QUERY_NONE) {
        return;
    }
    if (is_full) {
        struct item worst = work->items[0];
        work->items[0] = work->items[--work->item_count];
        work->bytes -= worst.key_len;
        nadb_mem_free(worst.key);
        sift_down(visit->args, work->items, work->item_count, 0);
    } else {
        sift_up(visit->args, work->items, work->item_count - 1);
    }
}

/* Turns the heap into a sorted array: the worst goes to the end, again and again. */
static void sort_items(const struct nadb_query_args *args, struct work *work)
{
    for (size_t count = work->item_count; count > 1; count--) {
        struct item item = work->items[0];
        work->items[0] = work->items[count - 1];
        work->items[count - 1] = item;
        sift_down(args, work->items, count - 1, 0);
    }
}

/* Sees to it that the value of the item that is written next is in memory, and asks for some more.
 * FAILED: the error is in *reterr. */
static enum nadb_fetch fetch_ahead(
    struct nadb_call *call, const struct work *work, struct nadb_error *reterr)
{
    size_t left = work->item_count - work->item_at;
    size_t ahead = FETCH_AHEAD;
    if (nadb_store_is_shared(call->store)) {
        ahead = work->item_at == 0 ? left : 1; /* what is not there makes all of it run again */
    }
    size_t count = call->may_yield ? (left < ahead ? left : ahead) : 1;
    enum nadb_fetch first = NADB_FETCH_READY;
    for (size_t i = 0; i < count; i++) {
        const struct item *item = &work->items[work->item_at + i];
        struct nadb_key key = nadb_store_key(call->store, nadb_slice_of(item->key, item->key_len));
        struct nadb_error error;
        enum nadb_fetch state;
        if (call->may_yield) {
            state = nadb_store_fetch(call->store, call->keyspace, &key, &error);
        } else {
            bool is_good =
                nadb_store_fetch_now(call->store, call->keyspace, &key, &error) == NADB_OK;
            state = is_good ? NADB_FETCH_READY : NADB_FETCH_FAILED;
        }
        if (i == 0) {
            first = state;
            *reterr = state == NADB_FETCH_FAILED ? error : *reterr;
        }
    }
    return first;
}

/* Writes what was gathered, until a value has to be waited for. FAILED: the error is replied. */
static enum nadb_fetch write_items(struct nadb_call *call, const struct nadb_query_args *args,
    const struct nadb_selector *selector, struct work *work)
{
    for (; work->item_at < work->item_count; work->item_at++) {
        const struct item *item = &work->items[work->item_at];
        struct nadb_error error = {0};
        enum nadb_fetch state = args->has_values && nadb_store_has_cold(call->store)
                                    ? fetch_ahead(call, work, &error)
                                    : NADB_FETCH_READY;
        if (state == NADB_FETCH_FAILED) {
            (void)nadb_reply_err(call, &error);
        }
        if (state != NADB_FETCH_READY) {
            return state;
        }
        struct nadb_key key = nadb_store_key(call->store, nadb_slice_of(item->key, item->key_len));
        /* It may be gone since it was gathered, or be another. */
        const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &key);
        if (rec != NULL && nadb_selector_matches(selector, nadb_rec_tags(rec))) {
            if (args->has_meta) {
                nadb_store_want_times(call->store, call->keyspace, &key);
            }
            write_record(call, args, &work->reply, rec);
            work->written++;
        }
    }
    return NADB_FETCH_READY;
}

/* ---- visiting ---- */

static void visit_record(void *ctx, const struct nadb_rec *rec)
{
    const struct visit *visit = ctx;
    struct work *work = visit->work;
    const struct nadb_query_args *args = visit->args;
    work->visited++;
    if (!nadb_query_args_pass(args, rec, visit->call->now_ms)) {
        return;
    }
    work->matched++;
    if (args->is_count_only) {
        return;
    }
    if (args->order != NADB_QUERY_NONE) {
        gather(visit, rec);
    } else if (work->matched <= args->offset ||
               work->written + work->item_count >= visit->keep_max) {
        return;
    } else if (args->has_values) {
        gather(visit, rec);
    } else {
        write_record(visit->call, args, &work->reply, rec);
        work->written++;
    }
}

static bool is_enough(const struct visit *visit)
{
    const struct nadb_query_args *args = visit->args;
    const struct work *work = visit->work;
    if (work->reply.is_full) {
        return true;
    }
    if (args->has_cursor) {
        return work->visited >= args->count;
    }
    return args->has_limit && args->order == NADB_QUERY_NONE &&
           work->written + work->item_count >= args->limit;
}

/* Goes on for a slice, or to the end when the call may not yield. True: done. */
static bool run_slice(const struct visit *visit, const struct nadb_selector *selector)
{
    struct nadb_call *call = visit->call;
    uint64_t end_us = nadb_clock_mono_us(call->server->clock) + NADB_CMD_SLICE_US;
    while (!is_enough(visit)) {
        uint64_t left =
            visit->args->has_cursor ? visit->args->count - visit->work->visited : VISIT_MAX;
        if (!nadb_query_visit(&visit->work->query, call->store, call->keyspace, selector,
                left < VISIT_MAX ? (size_t)left : VISIT_MAX, visit_record,
                (void *)(uintptr_t)visit)) {
            break;
        }
        if (call->may_yield && nadb_clock_mono_us(call->server->clock) >= end_us) {
            return is_enough(visit);
        }
    }
    return true;
}

/* ---- answering ---- */

static enum nadb_cmd_status reply_too_many(struct nadb_call *call, uint64_t count)
{
    return nadb_reply_error(
        call, "TOOMANY %llu keys match; use LIMIT, CURSOR or COUNTONLY", (unsigned long long)count);
}

/* False: a value has to be waited for. */
static bool reply(struct nadb_call *call, const struct nadb_query_args *args,
    const struct nadb_selector *selector, struct work *work)
{
    uint64_t max = (uint64_t)call->server->config->query_max_keys;
    if (args->is_count_only) {
        nadb_resp_integer(call->out, (int64_t)work->matched);
        return true;
    }
    if (!args->has_limit && !args->has_cursor && work->matched > max) {
        (void)reply_too_many(call, work->matched);
        return true;
    }
    enum nadb_fetch state = write_items(call, args, selector, work);
    if (state != NADB_FETCH_READY) {
        return state == NADB_FETCH_FAILED;
    }
    bool is_set =
        args->order == NADB_QUERY_NONE && !args->has_cursor && !args->has_values && !args->has_meta;
    if (args->has_cursor) {
        nadb_resp_array(call->out, 2);
        nadb_resp_bulk_u64(call->out, nadb_query_cursor(&work->query));
    }
    if (is_set) {
        nadb_resp_deferred_set(&work->reply, 0, work->written);
    } else {
        nadb_resp_deferred_array(&work->reply, 0, work->written);
    }
    nadb_reply_splice(call, &work->reply);
    return true;
}

/* NULL: the error is written. */
static struct work *work_new(struct nadb_call *call, const struct nadb_query_args *args,
    const struct nadb_selector *selector)
{
    struct work *work = nadb_mem_zalloc(sizeof(*work));
    work->magic = QUERY_MAGIC;
    nadb_resp_writer_init(&work->reply, call->out->buf.cap_max);
    work->reply.proto = call->out->proto;
    struct nadb_error error;
    if (nadb_query_init(&work->query, call->store, call->keyspace, selector, &error) != NADB_OK) {
        (void)nadb_reply_err(call, &error);
    } else if (!nadb_query_seek(&work->query, args->cursor)) {
        (void)nadb_reply_error(call, "ERR invalid cursor");
    } else {
        return work;
    }
    work_free(work);
    return NULL;
}

/* What the bitmaps alone answer. */
static bool is_answered_at_once(
    struct nadb_call *call, const struct nadb_query_args *args, const struct work *work)
{
    if (args->has_filter || args->has_limit || args->has_cursor) {
        return false;
    }
    uint64_t count = nadb_query_count(&work->query, call->keyspace);
    if (args->is_count_only) {
        nadb_resp_integer(call->out, (int64_t)count);
        return true;
    }
    if (count > (uint64_t)call->server->config->query_max_keys) {
        (void)reply_too_many(call, count);
        return true;
    }
    return false;
}

static uint64_t keep_max_of(const struct nadb_call *call, const struct nadb_query_args *args)
{
    if (args->has_limit) {
        return args->order == NADB_QUERY_NONE ? args->limit : args->offset + args->limit;
    }
    return args->has_cursor ? UINT64_MAX : (uint64_t)call->server->config->query_max_keys;
}

static size_t bytes_of(const struct work *work)
{
    return work->reply.buf.cap + work->item_cap * sizeof(*work->items) + work->bytes;
}

static enum nadb_cmd_status run_query(struct nadb_call *call, const struct nadb_query_args *args,
    const struct nadb_selector *selector)
{
    struct work *work = nadb_progress_take(call);
    if (work == NULL) {
        work = work_new(call, args, selector);
        if (work == NULL) {
            return NADB_CMD_DONE;
        }
        if (is_answered_at_once(call, args, work)) {
            work_free(work);
            return NADB_CMD_DONE;
        }
    }
    const struct visit visit = {
        .call = call, .args = args, .work = work, .keep_max = keep_max_of(call, args)};
    if (!work->is_visited && !run_slice(&visit, selector)) {
        return nadb_progress_leave(call, work, work_free, bytes_of(work));
    }
    if (!work->is_visited) {
        work->is_visited = true;
        if (args->order != NADB_QUERY_NONE) {
            sort_items(args, work);
            work->item_at =
                args->offset < work->item_count ? (size_t)args->offset : work->item_count;
        }
    }
    if (!reply(call, args, selector, work)) {
        (void)nadb_progress_leave(call, work, work_free, bytes_of(work));
        return NADB_CMD_WAIT;
    }
    work_free(work);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_query(struct nadb_call *call)
{
    struct nadb_query_args args;
    struct nadb_selector selector = {0};
    enum nadb_cmd_status status = NADB_CMD_DONE;
    if (nadb_query_args_parse(call, &args) &&
        nadb_arg_selector(call, args.selector_at, &selector)) {
        bool is_sorted = args.order != NADB_QUERY_NONE && args.has_limit;
        status =
            is_sorted && (args.offset > SORT_ITEMS_MAX || args.limit > SORT_ITEMS_MAX - args.offset)
                ? nadb_reply_error(call,
                      "TOOMANY LIMIT with SORTBY reaches beyond the first %u keys", SORT_ITEMS_MAX)
                : run_query(call, &args, &selector);
    }
    nadb_selector_fini(&selector);
    return status;
}

enum nadb_cmd_status nadb_cmd_querytags(struct nadb_call *call)
{
    struct nadb_query_args args = {0};
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    struct nadb_error error;
    enum nadb_cmd_status status = NADB_CMD_DONE;
    if (nadb_selector_list(&selector, true, &call->argv[1], call->argc - 1, &error) == NADB_OK) {
        status = run_query(call, &args, &selector);
    } else {
        (void)nadb_reply_err(call, &error);
    }
    nadb_selector_fini(&selector);
    return status;
}
