/* This file lists tags: TAGSCAN bit by bit, TAGLIST all that there are. */
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define TAGLIST_MAGIC      0x5441474cu
#define SCAN_COUNT_DEFAULT 10u
/* COUNT stretches of names that are nearly empty are enough for one call. */
#define SCAN_CALLS_PER_COUNT 10u
#define ITEMS_FIRST          64u

/* ---- TAGSCAN ---- */

struct tag_scan {
    struct nadb_resp_writer *out;
    struct nadb_slice pattern;
    bool has_counts;
    uint64_t visited, found;
};

static void scan_tag(void *ctx, struct nadb_slice tag, uint64_t count)
{
    struct tag_scan *scan = ctx;
    scan->visited++;
    if (scan->pattern.data != NULL && !nadb_glob_match(scan->pattern, tag)) {
        return;
    }
    scan->found++;
    nadb_resp_bulk(scan->out, tag);
    if (scan->has_counts) {
        nadb_resp_integer(scan->out, (int64_t)count);
    }
}

static bool parse_scan(struct nadb_call *call, struct tag_scan *scan, uint64_t *ret_count)
{
    for (size_t i = 2; i < call->argc; i++) {
        bool has_next = i + 1 < call->argc;
        if (nadb_arg_is(call->argv[i], "withcounts")) {
            scan->has_counts = true;
        } else if (nadb_arg_is(call->argv[i], "match") && has_next) {
            if (!nadb_arg_pattern(call, ++i, &scan->pattern)) {
                return false;
            }
        } else if (nadb_arg_is(call->argv[i], "count") && has_next) {
            if (!nadb_arg_count(call, ++i, ret_count)) {
                return false;
            }
        } else {
            (void)nadb_reply_syntax_error(call);
            return false;
        }
    }
    if (*ret_count == 0) {
        (void)nadb_reply_syntax_error(call);
        return false;
    }
    return true;
}

/* Not in slices: COUNT bounds it, as many a time as it takes to find anything. */
enum nadb_cmd_status nadb_cmd_tagscan(struct nadb_call *call)
{
    uint64_t cursor;
    uint64_t count = SCAN_COUNT_DEFAULT;
    struct nadb_resp_writer tags;
    struct tag_scan scan = {.out = &tags};
    if (!nadb_arg_cursor(call, 1, &cursor) || !parse_scan(call, &scan, &count)) {
        return NADB_CMD_DONE;
    }
    nadb_resp_writer_init(&tags, call->out->buf.cap_max);
    tags.proto = call->out->proto;
    uint64_t end_us = nadb_clock_mono_us(call->server->clock) + NADB_CMD_SLICE_US;
    uint64_t calls = 0;
    do {
        cursor = nadb_store_tag_scan(call->store, call->keyspace, cursor, scan_tag, &scan);
        calls++;
    } while (cursor != 0 && scan.visited < count && calls / SCAN_CALLS_PER_COUNT < count &&
             nadb_clock_mono_us(call->server->clock) < end_us);
    nadb_resp_deferred_array(&tags, 0, scan.has_counts ? scan.found * 2 : scan.found);
    nadb_resp_array(call->out, 2);
    nadb_resp_bulk_u64(call->out, cursor);
    nadb_reply_splice(call, &tags);
    nadb_resp_writer_fini(&tags);
    return NADB_CMD_DONE;
}

/* ---- TAGLIST ---- */

struct tag_item {
    uint64_t count;
    char *name; /* owned */
    size_t name_len;
};

struct tag_list {
    unsigned magic;
    uint64_t cursor;
    uint64_t found; /* more than `count` when there are too many to list */
    struct tag_item *items;
    size_t count, cap, bytes;
};

enum list_order { ORDER_NONE, ORDER_COUNT, ORDER_NAME };

struct list_args {
    struct nadb_slice pattern;
    enum list_order order;
    bool has_limit;
    uint64_t offset, limit;
    size_t items_max;
};

struct list_visit {
    struct tag_list *list;
    const struct list_args *args;
};

static void list_tag(void *ctx, struct nadb_slice tag, uint64_t count)
{
    const struct list_visit *visit = ctx;
    struct tag_list *list = visit->list;
    if (visit->args->pattern.data != NULL && !nadb_glob_match(visit->args->pattern, tag)) {
        return;
    }
    if (list->found++ >= visit->args->items_max) {
        return;
    }
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? ITEMS_FIRST : list->cap * 2;
        list->items = nadb_mem_realloc(list->items, list->cap * sizeof(*list->items));
    }
    struct tag_item *item = &list->items[list->count++];
    *item = (struct tag_item){.count = count, .name = nadb_mem_alloc(tag.len), .name_len = tag.len};
    memcpy(item->name, tag.data, tag.len);
    list->bytes += sizeof(*item) + tag.len;
}

static void list_free(void *work)
{
    struct tag_list *list;
    NADB_CAST(list, work, TAGLIST_MAGIC);
    for (size_t i = 0; i < list->count; i++) {
        nadb_mem_free(list->items[i].name);
    }
    nadb_mem_free(list->items);
    list->magic = 0;
    nadb_mem_free(list);
}

static int compare_names(const void *a, const void *b)
{
    const struct tag_item *x = a;
    const struct tag_item *y = b;
    return nadb_slice_cmp(nadb_slice_of(x->name, x->name_len), nadb_slice_of(y->name, y->name_len));
}

/* Most keys first. */
static int compare_counts(const void *a, const void *b)
{
    const struct tag_item *x = a;
    const struct tag_item *y = b;
    return x->count != y->count ? (x->count > y->count ? -1 : 1) : compare_names(a, b);
}

static bool parse_list_option(struct nadb_call *call, size_t *index, struct list_args *args)
{
    struct nadb_slice word = call->argv[*index];
    size_t left = call->argc - *index - 1;
    if (nadb_arg_is(word, "match") && left >= 1) {
        return nadb_arg_pattern(call, ++*index, &args->pattern);
    }
    if (nadb_arg_is(word, "sortby") && left >= 1) {
        struct nadb_slice order = call->argv[++*index];
        args->order = nadb_arg_is(order, "count")  ? ORDER_COUNT
                      : nadb_arg_is(order, "name") ? ORDER_NAME
                                                   : ORDER_NONE;
        if (args->order != ORDER_NONE) {
            return true;
        }
    } else if (nadb_arg_is(word, "limit") && left >= 2) {
        args->has_limit = true;
        *index += 2;
        return nadb_arg_count(call, *index - 1, &args->offset) &&
               nadb_arg_count(call, *index, &args->limit);
    }
    (void)nadb_reply_syntax_error(call);
    return false;
}

/* The list when it is complete, else NULL: then it is the client's progress. */
static struct tag_list *run_list(struct nadb_call *call, const struct list_args *args)
{
    struct tag_list *list = nadb_progress_take(call);
    if (list == NULL) {
        list = nadb_mem_zalloc(sizeof(*list));
        list->magic = TAGLIST_MAGIC;
    }
    struct list_visit visit = {list, args};
    uint64_t end_us = nadb_clock_mono_us(call->server->clock) + NADB_CMD_SLICE_US;
    do {
        list->cursor =
            nadb_store_tag_scan(call->store, call->keyspace, list->cursor, list_tag, &visit);
        if (list->cursor == 0) {
            return list;
        }
    } while (!call->may_yield || nadb_clock_mono_us(call->server->clock) < end_us);
    (void)nadb_progress_leave(call, list, list_free, list->bytes); /* AGAIN */
    return NULL;
}

static void reply_list(struct nadb_call *call, struct tag_list *list, const struct list_args *args)
{
    if (args->order != ORDER_NONE && list->count > 0) {
        qsort(list->items, list->count, sizeof(*list->items),
            args->order == ORDER_COUNT ? compare_counts : compare_names);
    }
    size_t first = args->offset < list->count ? (size_t)args->offset : list->count;
    size_t left = list->count - first;
    size_t count = args->has_limit && args->limit < left ? (size_t)args->limit : left;
    nadb_resp_map(call->out, count);
    for (size_t i = first; i < first + count; i++) {
        const struct tag_item *item = &list->items[i];
        nadb_resp_bulk(call->out, nadb_slice_of(item->name, item->name_len));
        nadb_resp_integer(call->out, (int64_t)item->count);
    }
}

/* With an order everything has to be seen, so LIMIT does not raise the bound then. */
enum nadb_cmd_status nadb_cmd_taglist(struct nadb_call *call)
{
    struct list_args args = {.items_max = (size_t)call->server->config->query_max_keys};
    for (size_t i = 1; i < call->argc; i++) {
        if (!parse_list_option(call, &i, &args)) {
            return NADB_CMD_DONE;
        }
    }
    struct tag_list *list = run_list(call, &args);
    if (list == NULL) {
        return NADB_CMD_AGAIN;
    }
    bool is_cut = list->found > list->count;
    bool is_enough =
        args.has_limit && args.order == ORDER_NONE && args.offset + args.limit <= list->count;
    if (is_cut && !is_enough) {
        (void)nadb_reply_error(
            call, "TOOMANY %llu tags match; use TAGSCAN", (unsigned long long)list->found);
    } else {
        reply_list(call, list, &args);
    }
    list_free(list);
    return NADB_CMD_DONE;
}
