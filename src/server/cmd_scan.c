/* This file holds KEYS and SCAN.
 *
 * Both walk the index in slices. What they found so far waits in a buffer of its own, as finished
 * bulk strings, so that a call that goes on in a later turn has written nothing yet. */
#include "src/base/assert.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define SCAN_MAGIC         0x5343414eu
#define SCAN_COUNT_DEFAULT 10
/* As Redis: COUNT stretches of an index that is mostly empty are enough for one call. */
#define SCAN_CALLS_PER_COUNT 10

/* One KEYS or SCAN under way. */
struct scan {
    unsigned magic;
    uint64_t cursor;
    uint64_t visited;
    uint64_t calls;
    uint64_t found;
    struct nadb_resp_writer keys;
};

/* What a call asks for; parsed anew in each slice, the arguments are the same. */
struct scan_query {
    uint64_t cursor;
    struct nadb_slice pattern; /* data NULL: all */
    bool is_none;              /* TYPE of something that is not kept here */
    uint64_t count;            /* stop after so many visited records; 0 = never */
};

struct scan_visit {
    struct scan *scan;
    const struct scan_query *query;
};

static void visit_record(void *ctx, const struct nadb_rec *rec)
{
    const struct scan_visit *visit = ctx;
    struct scan *scan = visit->scan;
    scan->visited++;
    struct nadb_slice key = nadb_rec_key(rec);
    if (visit->query->is_none ||
        (visit->query->pattern.data != NULL && !nadb_glob_match(visit->query->pattern, key))) {
        return;
    }
    nadb_resp_bulk(&scan->keys, key);
    scan->found++;
}

static struct scan *scan_new(const struct nadb_call *call, uint64_t cursor)
{
    struct scan *scan = nadb_mem_zalloc(sizeof(*scan));
    scan->magic = SCAN_MAGIC;
    scan->cursor = cursor;
    nadb_resp_writer_init(&scan->keys, call->out->buf.cap_max);
    scan->keys.proto = call->out->proto;
    return scan;
}

static void scan_free(void *progress)
{
    struct scan *scan;
    NADB_CAST(scan, progress, SCAN_MAGIC);
    nadb_resp_writer_fini(&scan->keys);
    scan->magic = 0;
    nadb_mem_free(scan);
}

static bool is_scan_done(const struct scan *scan, const struct scan_query *query)
{
    return scan->cursor == 0 || scan->keys.is_full ||
           (query->count != 0 && (scan->visited >= query->count ||
                                     scan->calls / SCAN_CALLS_PER_COUNT >= query->count));
}

/* Goes on for a slice, or to the end when the call may not yield. True: done. */
static bool scan_step(struct nadb_call *call, struct scan *scan, const struct scan_query *query)
{
    struct nadb_clock *clock = call->server->clock;
    struct scan_visit visit = {.scan = scan, .query = query};
    uint64_t end_us = nadb_clock_mono_us(clock) + NADB_CMD_SLICE_US;
    do {
        scan->cursor =
            nadb_store_scan(call->store, call->keyspace, scan->cursor, visit_record, &visit);
        scan->calls++;
        if (is_scan_done(scan, query)) {
            return true;
        }
    } while (!call->may_yield || nadb_clock_mono_us(clock) < end_us);
    return false;
}

/* The scan when it is done, else NULL: then it is the client's progress. */
static struct scan *run_scan(struct nadb_call *call, const struct scan_query *query)
{
    struct scan *scan = nadb_progress_take(call);
    if (scan == NULL) {
        scan = scan_new(call, query->cursor);
    }
    nadb_store_scan_hint(call->store, query->count);
    NADB_ASSERT(scan->magic == SCAN_MAGIC);
    if (!scan_step(call, scan, query)) {
        (void)nadb_progress_leave(call, scan, scan_free, scan->keys.buf.cap); /* AGAIN */
        return NULL;
    }
    return scan;
}

/* The keys as an array. */
static void reply_keys(struct nadb_call *call, struct scan *scan)
{
    nadb_resp_deferred_array(&scan->keys, 0, scan->found);
    nadb_reply_splice(call, &scan->keys);
}

enum nadb_cmd_status nadb_cmd_keys(struct nadb_call *call)
{
    struct scan_query query = {0};
    if (!nadb_arg_pattern(call, 1, &query.pattern)) {
        return NADB_CMD_DONE;
    }
    struct scan *scan = run_scan(call, &query);
    if (scan == NULL) {
        return NADB_CMD_AGAIN;
    }
    reply_keys(call, scan);
    scan_free(scan);
    return NADB_CMD_DONE;
}

static bool parse_scan_option(
    struct nadb_call *call, struct scan_query *query, struct nadb_slice word, size_t index)
{
    if (nadb_arg_is(word, "match")) {
        return nadb_arg_pattern(call, index, &query->pattern);
    }
    if (nadb_arg_is(word, "type")) {
        query->is_none = !nadb_arg_is(call->argv[index], "string");
        return true;
    }
    int64_t count;
    if (!nadb_arg_is(word, "count")) {
        (void)nadb_reply_syntax_error(call);
        return false;
    }
    if (!nadb_arg_i64(call, index, &count)) {
        return false;
    }
    if (count < 1) {
        (void)nadb_reply_syntax_error(call);
        return false;
    }
    query->count = (uint64_t)count;
    return true;
}

static bool parse_scan(struct nadb_call *call, struct scan_query *query)
{
    if (!nadb_arg_cursor(call, 1, &query->cursor)) {
        return false;
    }
    for (size_t i = 2; i < call->argc; i += 2) {
        if (i + 1 == call->argc) {
            (void)nadb_reply_syntax_error(call);
            return false;
        }
        if (!parse_scan_option(call, query, call->argv[i], i + 1)) {
            return false;
        }
    }
    return true;
}

enum nadb_cmd_status nadb_cmd_scan(struct nadb_call *call)
{
    struct scan_query query = {.count = SCAN_COUNT_DEFAULT};
    if (!parse_scan(call, &query)) {
        return NADB_CMD_DONE;
    }
    struct scan *scan = run_scan(call, &query);
    if (scan == NULL) {
        return NADB_CMD_AGAIN;
    }
    nadb_resp_array(call->out, 2);
    nadb_resp_bulk_u64(call->out, scan->cursor);
    reply_keys(call, scan);
    scan_free(scan);
    return NADB_CMD_DONE;
}
