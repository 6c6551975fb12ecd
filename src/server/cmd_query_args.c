/* This file reads the options of QUERY and applies its filters. */
#include "src/base/glob.h"
#include "src/server/cmd_query.h"

#define CURSOR_COUNT_DEFAULT 10u

uint64_t nadb_query_field_of(
    enum nadb_query_field field, const struct nadb_rec *rec, uint64_t now_ms)
{
    switch (field) {
    case NADB_QUERY_SIZE:
        return rec->value_len;
    case NADB_QUERY_CREATED:
        return rec->created_ms;
    case NADB_QUERY_UPDATED:
        return rec->updated_ms;
    case NADB_QUERY_ACCESSED:
        return nadb_rec_accessed_ms(rec, now_ms);
    case NADB_QUERY_TTL: {
        uint64_t expire_ms = nadb_rec_expire_ms(rec);
        return expire_ms == 0 ? UINT64_MAX : expire_ms; /* the longest is for ever */
    }
    case NADB_QUERY_NONE:
    case NADB_QUERY_KEY:
    case NADB_QUERY_FIELDS:
        break;
    }
    return 0;
}

bool nadb_query_args_pass(
    const struct nadb_query_args *args, const struct nadb_rec *rec, uint64_t now_ms)
{
    if (!args->has_filter) {
        return true;
    }
    for (enum nadb_query_field field = NADB_QUERY_SIZE; field <= NADB_QUERY_ACCESSED; field++) {
        uint64_t value = nadb_query_field_of(field, rec, now_ms);
        if (value < args->ranges[field].from || value > args->ranges[field].to) {
            return false;
        }
    }
    return args->pattern.data == NULL || nadb_glob_match(args->pattern, nadb_rec_key(rec));
}

static enum nadb_query_field field_named(struct nadb_slice word)
{
    static const char *const names[NADB_QUERY_FIELDS] = {
        [NADB_QUERY_KEY] = "key",
        [NADB_QUERY_SIZE] = "size",
        [NADB_QUERY_CREATED] = "created",
        [NADB_QUERY_UPDATED] = "updated",
        [NADB_QUERY_ACCESSED] = "accessed",
        [NADB_QUERY_TTL] = "ttl",
    };
    for (enum nadb_query_field field = NADB_QUERY_KEY; field < NADB_QUERY_FIELDS; field++) {
        if (nadb_arg_is(word, names[field])) {
            return field;
        }
    }
    return NADB_QUERY_NONE;
}

/* Words without arguments: false when it is none of them. */
static bool parse_flag(struct nadb_slice word, struct nadb_query_args *args)
{
    if (nadb_arg_is(word, "withvalues")) {
        args->has_values = true;
    } else if (nadb_arg_is(word, "withmeta")) {
        args->has_meta = true;
    } else if (nadb_arg_is(word, "countonly")) {
        args->is_count_only = true;
    } else {
        return false;
    }
    return true;
}

static bool syntax_error(struct nadb_call *call)
{
    (void)nadb_reply_syntax_error(call);
    return false;
}

static bool parse_sort(struct nadb_call *call, size_t *at, struct nadb_query_args *args)
{
    args->order = field_named(call->argv[*at]);
    if (args->order == NADB_QUERY_NONE) {
        return syntax_error(call);
    }
    (*at)++;
    if (*at < call->argc &&
        (nadb_arg_is(call->argv[*at], "asc") || nadb_arg_is(call->argv[*at], "desc"))) {
        args->is_descending = nadb_arg_is(call->argv[*at], "desc");
        (*at)++;
    }
    return true;
}

/* The one or two numbers behind a word; *at moves behind them. */
static bool parse_numbers(
    struct nadb_call *call, size_t *at, uint64_t *ret_first, uint64_t *ret_second)
{
    size_t needed = ret_second == NULL ? 1 : 2;
    if (call->argc - *at < needed) {
        return syntax_error(call);
    }
    if (!nadb_arg_count(call, *at, ret_first) ||
        (ret_second != NULL && !nadb_arg_count(call, *at + 1, ret_second))) {
        return false;
    }
    *at += needed;
    return true;
}

static bool parse_cursor(struct nadb_call *call, size_t *at, struct nadb_query_args *args)
{
    args->has_cursor = true;
    args->count = CURSOR_COUNT_DEFAULT;
    if (*at == call->argc) {
        return syntax_error(call);
    }
    if (!nadb_arg_cursor(call, (*at)++, &args->cursor)) {
        return false;
    }
    if (*at < call->argc && nadb_arg_is(call->argv[*at], "count")) {
        (*at)++;
        if (!parse_numbers(call, at, &args->count, NULL)) {
            return false;
        }
        return args->count > 0 || syntax_error(call);
    }
    return true;
}

static bool parse_pattern(struct nadb_call *call, size_t *at, struct nadb_query_args *args)
{
    if (*at == call->argc) {
        return syntax_error(call);
    }
    args->has_filter = true;
    return nadb_arg_pattern(call, (*at)++, &args->pattern);
}

/* The option at *at, which moves behind its arguments. */
static bool parse_option(struct nadb_call *call, size_t *at, struct nadb_query_args *args)
{
    struct nadb_slice word = call->argv[(*at)++];
    if (parse_flag(word, args)) {
        return true;
    }
    if (nadb_arg_is(word, "match")) {
        return parse_pattern(call, at, args);
    }
    if (nadb_arg_is(word, "minsize")) {
        args->has_filter = true;
        return parse_numbers(call, at, &args->ranges[NADB_QUERY_SIZE].from, NULL);
    }
    if (nadb_arg_is(word, "maxsize")) {
        args->has_filter = true;
        return parse_numbers(call, at, &args->ranges[NADB_QUERY_SIZE].to, NULL);
    }
    if (nadb_arg_is(word, "limit")) {
        args->has_limit = true;
        return parse_numbers(call, at, &args->offset, &args->limit);
    }
    if (nadb_arg_is(word, "cursor")) {
        return parse_cursor(call, at, args);
    }
    if (nadb_arg_is(word, "sortby") && *at < call->argc) {
        return parse_sort(call, at, args);
    }
    enum nadb_query_field field = field_named(word);
    if (field == NADB_QUERY_CREATED || field == NADB_QUERY_UPDATED ||
        field == NADB_QUERY_ACCESSED) {
        args->has_filter = true;
        return parse_numbers(call, at, &args->ranges[field].from, &args->ranges[field].to);
    }
    return syntax_error(call);
}

/* What contradicts each other is refused, not ignored. */
static bool is_consistent(const struct nadb_query_args *args)
{
    bool is_listing = args->has_limit || args->has_cursor || args->order != NADB_QUERY_NONE ||
                      args->has_values || args->has_meta;
    return !(args->is_count_only && is_listing) && !(args->has_cursor && args->has_limit) &&
           !(args->has_cursor && args->order != NADB_QUERY_NONE);
}

bool nadb_query_args_parse(struct nadb_call *call, struct nadb_query_args *ret)
{
    *ret = (struct nadb_query_args){0};
    for (size_t field = 0; field < NADB_QUERY_FIELDS; field++) {
        ret->ranges[field].to = UINT64_MAX;
    }
    size_t at = 1;
    while (at < call->argc && !nadb_arg_begins_selector(call, at)) {
        if (!parse_option(call, &at, ret)) {
            return false;
        }
    }
    if (at == call->argc || !is_consistent(ret)) {
        return syntax_error(call);
    }
    ret->selector_at = at;
    return true;
}
