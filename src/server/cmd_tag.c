/* This file holds the commands on the tags of one key, and on single tags. */
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"
#include "src/store/packed.h"

#define SORT_LEAST 16u /* fewer tags are looked through one by one */

/* The tags of a key, for looking many of them up. */
struct tag_lookup {
    struct nadb_slice packed;
    struct nadb_slice *sorted; /* owned; NULL: look through `packed` */
    size_t count;
};

static int compare_slices(const void *a, const void *b)
{
    return nadb_slice_cmp(*(const struct nadb_slice *)a, *(const struct nadb_slice *)b);
}

static void lookup_init(struct tag_lookup *lookup, struct nadb_slice packed)
{
    *lookup = (struct tag_lookup){.packed = packed, .count = nadb_packed_count(packed)};
    if (lookup->count < SORT_LEAST) {
        return;
    }
    lookup->sorted = nadb_mem_alloc(lookup->count * sizeof(*lookup->sorted));
    size_t at = 0;
    for (size_t i = 0; nadb_packed_next(packed, &at, &lookup->sorted[i]);) {
        if (++i == lookup->count) {
            break;
        }
    }
    qsort(lookup->sorted, lookup->count, sizeof(*lookup->sorted), compare_slices);
}

static void lookup_fini(struct tag_lookup *lookup)
{
    nadb_mem_free(lookup->sorted);
    lookup->sorted = NULL;
}

static bool lookup_has(const struct tag_lookup *lookup, struct nadb_slice tag)
{
    if (lookup->sorted == NULL) {
        return nadb_packed_has(lookup->packed, tag);
    }
    return bsearch(&tag, lookup->sorted, lookup->count, sizeof(tag), compare_slices) != NULL;
}

/* ---- changing ---- */

/* The key's tags become `packed`; answers `count`. */
static enum nadb_cmd_status set_tags(
    struct nadb_call *call, struct nadb_slice packed, int64_t count)
{
    enum nadb_err err;
    if (nadb_store_set_tags(call->store, call->keyspace, &call->first_key, packed, &err)) {
        return nadb_reply_integer(call, count);
    }
    if (err != NADB_OK) {
        return nadb_reply_failure(call, call->out->buf.len, err);
    }
    return nadb_reply_integer(call, 0);
}

enum nadb_cmd_status nadb_cmd_tagset(struct nadb_call *call)
{
    struct nadb_buf tags;
    if (nadb_arg_tags(call, 2, &tags)) {
        (void)set_tags(call, nadb_buf_slice(&tags), 1); /* DONE */
    }
    nadb_buf_fini(&tags);
    return NADB_CMD_DONE;
}

/* Appends to `out` the tags of `from` that are not among `but`; false: no memory. */
static bool add_others(struct nadb_slice from, struct nadb_slice but, struct nadb_buf *out)
{
    struct tag_lookup lookup;
    lookup_init(&lookup, but);
    bool is_done = true;
    struct nadb_slice tag;
    for (size_t at = 0; is_done && nadb_packed_next(from, &at, &tag);) {
        if (!lookup_has(&lookup, tag)) {
            is_done = nadb_packed_add(out, tag);
        }
    }
    lookup_fini(&lookup);
    return is_done;
}

/* What the key's tags become when `args` are added or removed. */
static bool change_tags(
    struct nadb_slice tags, struct nadb_slice args, bool is_adding, struct nadb_buf *out)
{
    if (!is_adding) {
        return add_others(tags, args, out);
    }
    return nadb_buf_append(out, tags.data, tags.len) && add_others(args, tags, out);
}

static enum nadb_cmd_status add_or_remove(struct nadb_call *call, bool is_adding)
{
    struct nadb_buf args;
    if (!nadb_arg_tags(call, 2, &args)) {
        nadb_buf_fini(&args);
        return NADB_CMD_DONE;
    }
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    if (rec == NULL) {
        nadb_buf_fini(&args);
        return nadb_reply_null(call);
    }
    struct nadb_slice before = nadb_rec_tags(rec);
    struct nadb_buf after;
    nadb_buf_init(&after, 2 * (size_t)NADB_TAGS_PACKED_MAX);
    size_t count_before = nadb_packed_count(before);
    if (!change_tags(before, nadb_buf_slice(&args), is_adding, &after)) {
        (void)nadb_reply_failure(call, call->out->buf.len, NADB_ENOMEM);
    } else {
        size_t count = nadb_packed_count(nadb_buf_slice(&after));
        if (is_adding && count > count_before &&
            count > (size_t)call->server->config->max_tags_per_key) {
            (void)nadb_reply_too_many_tags(call);
        } else {
            size_t changed = is_adding ? count - count_before : count_before - count;
            (void)set_tags(call, nadb_buf_slice(&after), (int64_t)changed); /* DONE */
        }
    }
    nadb_buf_fini(&after);
    nadb_buf_fini(&args);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_tagadd(struct nadb_call *call)
{
    return add_or_remove(call, true);
}

enum nadb_cmd_status nadb_cmd_tagrem(struct nadb_call *call)
{
    return add_or_remove(call, false);
}

/* ---- looking ---- */

/* False: the error is written. */
static bool check_tags(struct nadb_call *call, size_t first)
{
    for (size_t i = first; i < call->argc; i++) {
        struct nadb_error error;
        if (nadb_selector_check_tag(call->argv[i], &error) != NADB_OK) {
            (void)nadb_reply_err(call, &error);
            return false;
        }
    }
    return true;
}

enum nadb_cmd_status nadb_cmd_tagget(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    if (rec == NULL) {
        return nadb_reply_null(call);
    }
    nadb_reply_tags(call, nadb_rec_tags(rec));
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_taghas(struct nadb_call *call)
{
    if (!check_tags(call, 2)) {
        return NADB_CMD_DONE;
    }
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    struct tag_lookup lookup;
    lookup_init(&lookup, rec == NULL ? nadb_slice_of(NULL, 0) : nadb_rec_tags(rec));
    nadb_resp_array(call->out, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        nadb_resp_integer(call->out, lookup_has(&lookup, call->argv[i]));
    }
    lookup_fini(&lookup);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_tagcount(struct nadb_call *call)
{
    if (!check_tags(call, 1)) {
        return NADB_CMD_DONE;
    }
    nadb_resp_array(call->out, call->argc - 1);
    for (size_t i = 1; i < call->argc; i++) {
        uint64_t count = nadb_store_tag_count(call->store, call->keyspace, call->argv[i]);
        nadb_resp_integer(call->out, (int64_t)count);
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_tagtime(struct nadb_call *call)
{
    if (!check_tags(call, 1)) {
        return NADB_CMD_DONE;
    }
    nadb_resp_array(call->out, call->argc - 1);
    for (size_t i = 1; i < call->argc; i++) {
        uint64_t ms = nadb_store_tag_time(call->store, call->keyspace, call->argv[i]);
        nadb_resp_integer(call->out, (int64_t)ms);
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_epoch(struct nadb_call *call)
{
    return nadb_reply_integer(call, (int64_t)nadb_store_epoch(call->store));
}

enum nadb_cmd_status nadb_cmd_not_yet(struct nadb_call *call)
{
    char upper[NADB_CMD_NAME_MAX];
    nadb_cmd_upper_name(call->cmd, upper);
    return nadb_reply_error(call, "ERR %s is not available yet", upper);
}
