/* This file holds INVALIDATE. */
#include <stdio.h>

#include "src/base/parse.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define CHANNEL_HEAD_MAX 32u
#define NAMED_LOOK_BACK  64u

struct invalidate_args {
    struct nadb_slice pattern;
    bool is_dry_run;
    size_t selector_at;
};

/* False: the error is written. */
static bool parse_args(struct nadb_call *call, struct invalidate_args *args)
{
    size_t i = 1;
    while (i < call->argc && !nadb_arg_begins_selector(call, i)) {
        struct nadb_slice word = call->argv[i];
        if (nadb_arg_is(word, "match") && i + 1 < call->argc) {
            if (!nadb_arg_pattern(call, i + 1, &args->pattern)) {
                return false;
            }
            i += 2;
        } else if (nadb_arg_is(word, "dryrun")) {
            args->is_dry_run = true;
            i++;
        } else if (nadb_arg_is(word, "soft") || nadb_arg_is(word, "grace")) {
            (void)nadb_reply_error(call, "ERR SOFT is not available yet");
            return false;
        } else {
            break;
        }
    }
    if (i >= call->argc || !nadb_arg_begins_selector(call, i)) {
        (void)nadb_reply_syntax_error(call);
        return false;
    }
    args->selector_at = i;
    return true;
}

static void free_invalidation(void *work)
{
    nadb_invalidation_free(work);
}

static bool is_named_before(const struct nadb_selector *selector, size_t index)
{
    size_t first = index > NAMED_LOOK_BACK ? index - NAMED_LOOK_BACK : 0;
    for (size_t i = first; i < index; i++) {
        if (selector->ops[i].kind == NADB_SELECTOR_TAG &&
            nadb_slice_eq(selector->ops[i].tag, selector->ops[index].tag)) {
            return true;
        }
    }
    return false;
}

/* One message for each tag that the selector names. A tag that is named again far behind may get a
 * second one, which is harmless. In durability always they wait for the invalidation. */
static void publish(struct nadb_call *call, const struct nadb_selector *selector)
{
    struct nadb_server *server = call->server;
    if (nadb_pubsub_is_idle(&server->pubsub) && !nadb_store_is_shared(call->store)) {
        return;
    }
    char message[NADB_I64_TEXT_MAX + sizeof(" hard")];
    size_t len = nadb_format_u64(message, nadb_store_epoch(call->store));
    memcpy(message + len, " hard", sizeof(" hard") - 1);
    len += sizeof(" hard") - 1;
    uint64_t version = nadb_store_command_hold(call->store);
    for (size_t i = 0; i < selector->count; i++) {
        if (selector->ops[i].kind != NADB_SELECTOR_TAG || is_named_before(selector, i)) {
            continue;
        }
        char channel[CHANNEL_HEAD_MAX + NADB_TAG_LEN_MAX];
        int head = snprintf(channel, CHANNEL_HEAD_MAX,
            "__tag@%llu__:", (unsigned long long)nadb_keyspace_db(call->keyspace));
        struct nadb_slice tag = selector->ops[i].tag;
        memcpy(channel + head, tag.data, tag.len);
        (void)nadb_pubsub_publish(server, nadb_slice_of(channel, (size_t)head + tag.len),
            nadb_slice_of(message, len), version); /* nobody asks how many */
    }
}

enum nadb_cmd_status nadb_cmd_invalidate(struct nadb_call *call)
{
    struct nadb_invalidation *work = nadb_progress_take(call);
    struct invalidate_args args = {0};
    struct nadb_selector selector = {0};
    if (!parse_args(call, &args) || !nadb_arg_selector(call, args.selector_at, &selector)) {
        nadb_selector_fini(&selector);
        return NADB_CMD_DONE;
    }
    const struct nadb_invalidate_opts opts = {
        .selector = &selector,
        .pattern = args.pattern,
        .is_dry_run = args.is_dry_run,
        .may_yield = call->may_yield,
        .budget_us = NADB_CMD_SLICE_US,
    };
    struct nadb_error error;
    uint64_t count = 0;
    enum nadb_cmd_status status = NADB_CMD_DONE;
    switch (nadb_store_invalidate(call->store, call->keyspace, &opts, &work, &count, &error)) {
    case NADB_INVALIDATE_DONE:
        nadb_resp_integer(call->out, (int64_t)count);
        if (!args.is_dry_run) {
            publish(call, &selector);
        }
        break;
    case NADB_INVALIDATE_AGAIN:
        status = nadb_progress_leave(call, work, free_invalidation, 0);
        break;
    case NADB_INVALIDATE_ERROR:
        (void)nadb_reply_err(call, &error);
        nadb_invalidation_free(work);
        break;
    }
    nadb_selector_fini(&selector);
    return status;
}
