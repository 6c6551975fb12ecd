/* This file holds the commands that set whole records: SET and its relatives, DELEX. */
#include "src/base/compiler.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

enum set_condition {
    SET_ALWAYS,
    SET_IF_MISSING, /* NX */
    SET_IF_PRESENT, /* XX */
    SET_IF_EQUAL,   /* IFEQ */
};

struct set_options {
    enum set_condition condition;
    struct nadb_slice equal_to;
    bool has_get;
    size_t expire_index; /* of the argument with the time; 0 = none */
    struct nadb_expire_unit expire_unit;
    bool keep_ttl;
    bool keep_tags;
    size_t tags_first; /* index of the first tag; 0 = no TAGS */
    bool has_epoch;
    uint64_t epoch;     /* IFEPOCH */
    size_t times_index; /* of the first argument of TIMES; 0 = none */
    struct nadb_times times;
    uint64_t expire_ms;
};

static enum nadb_cmd_status put_and_ok(struct nadb_call *call, const struct nadb_put *put)
{
    enum nadb_err err = nadb_store_put(call->store, call->keyspace, &call->first_key, put);
    if (NADB_UNLIKELY(err != NADB_OK)) {
        return nadb_reply_failure(call, call->out->buf.len, err);
    }
    return nadb_reply_ok(call);
}

/* ---- SET ---- */

/* As Redis, an option may be repeated, but not combined with another of its kind. */
static bool set_condition(struct set_options *options, enum set_condition condition)
{
    bool is_free = options->condition == SET_ALWAYS || options->condition == condition;
    options->condition = condition;
    return is_free;
}

static bool set_expire_unit(struct set_options *options, struct nadb_expire_unit unit)
{
    bool is_free =
        options->expire_index == 0 || (unit.is_seconds == options->expire_unit.is_seconds &&
                                          unit.is_absolute == options->expire_unit.is_absolute);
    options->expire_unit = unit;
    return is_free && !options->keep_ttl;
}

/* Takes the option at *index, which moves on to its last argument. False: it is none, or clashes
 * with an earlier one. */
static bool parse_set_option(struct nadb_call *call, size_t *index, struct set_options *options)
{
    struct nadb_slice word = call->argv[*index];
    bool has_next = *index + 1 < call->argc;
    struct nadb_expire_unit unit;
    if (nadb_arg_is(word, "nx")) {
        return set_condition(options, SET_IF_MISSING);
    }
    if (nadb_arg_is(word, "xx")) {
        return set_condition(options, SET_IF_PRESENT);
    }
    if (nadb_arg_is(word, "ifeq") && has_next) {
        options->equal_to = call->argv[++*index];
        return set_condition(options, SET_IF_EQUAL);
    }
    if (nadb_arg_is(word, "get")) {
        options->has_get = true;
        return true;
    }
    if (nadb_arg_is(word, "keepttl")) {
        options->keep_ttl = true;
        return options->expire_index == 0;
    }
    if (has_next && nadb_arg_expire_unit(word, &unit)) {
        bool is_free = set_expire_unit(options, unit);
        options->expire_index = ++*index;
        return is_free;
    }
    if (nadb_arg_is(word, "keeptags")) {
        options->keep_tags = true;
        return true;
    }
    if (nadb_arg_is(word, "tags")) {
        options->tags_first = *index + 1;
        *index = call->argc - 1;
        return !options->keep_tags;
    }
    return false;
}

/* TIMES created updated accessed; false: the error is written. */
static bool parse_times(struct nadb_call *call, size_t index, struct set_options *options)
{
    uint64_t *fields[] = {
        &options->times.created_ms, &options->times.updated_ms, &options->times.accessed_ms};
    options->times_index = index;
    for (size_t i = 0; i < NADB_ARRAY_LEN(fields); i++) {
        if (!nadb_arg_count(call, index + i, fields[i])) {
            return false;
        }
        if (*fields[i] >= NADB_TIME_MS_LIMIT) {
            (void)nadb_reply_error(call, "ERR TIMES are Unix times in milliseconds, below 2^42");
            return false;
        }
    }
    return true;
}

/* False: the error is written. */
static bool parse_set_options(struct nadb_call *call, struct set_options *options)
{
    for (size_t index = 3; index < call->argc; index++) {
        if (nadb_arg_is(call->argv[index], "grace")) {
            (void)nadb_reply_error(call, "ERR GRACE is not available yet");
            return false;
        }
        if (nadb_arg_is(call->argv[index], "ifepoch") && index + 1 < call->argc) {
            options->has_epoch = true;
            if (!nadb_arg_count(call, ++index, &options->epoch)) {
                return false;
            }
            continue;
        }
        if (nadb_arg_is(call->argv[index], "times") && index + 3 < call->argc) {
            if (!parse_times(call, index + 1, options)) {
                return false;
            }
            index += 3;
            continue;
        }
        if (!parse_set_option(call, &index, options)) {
            (void)nadb_reply_syntax_error(call);
            return false;
        }
    }
    return options->expire_index == 0 || nadb_arg_expire(call, options->expire_index,
                                             options->expire_unit, false, &options->expire_ms);
}

static bool is_condition_met(const struct set_options *options, const struct nadb_rec *rec)
{
    switch (options->condition) {
    case SET_ALWAYS:
        return true;
    case SET_IF_MISSING:
        return rec == NULL;
    case SET_IF_PRESENT:
        return rec != NULL;
    case SET_IF_EQUAL:
        return rec != NULL && nadb_slice_eq(nadb_rec_value(rec), options->equal_to);
    }
    return false;
}

/* Answers with what the key held until now. */
static void reply_old_value(struct nadb_call *call, const struct nadb_rec *rec)
{
    if (rec == NULL) {
        nadb_resp_null(call->out);
    } else {
        nadb_resp_bulk(call->out, nadb_rec_value(rec));
    }
}

/* IFEPOCH: what is to be stored was computed before something that it depends on went. */
static bool is_stale(struct nadb_call *call, const struct set_options *options,
    const struct nadb_rec *rec, struct nadb_slice tags)
{
    if (!options->has_epoch) {
        return false;
    }
    if (options->keep_tags) {
        tags = rec == NULL ? nadb_slice_of(NULL, 0) : nadb_rec_tags(rec);
    }
    return nadb_store_is_stale(
        call->store, call->keyspace, call->first_key.name, options->epoch, tags);
}

static enum nadb_cmd_status set_with_options(struct nadb_call *call)
{
    struct set_options options = {.condition = SET_ALWAYS};
    if (!parse_set_options(call, &options)) {
        return NADB_CMD_DONE;
    }
    struct nadb_buf tags = {0};
    if (options.tags_first != 0 && !nadb_arg_tags(call, options.tags_first, &tags)) {
        nadb_buf_fini(&tags);
        return NADB_CMD_DONE;
    }
    size_t mark = call->out->buf.len;
    const struct nadb_rec *rec = NULL;
    if (options.has_get) {
        rec = nadb_store_read(call->store, call->keyspace, &call->first_key);
        reply_old_value(call, rec);
    } else if (options.condition != SET_ALWAYS || options.has_epoch) {
        rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    }
    if (is_condition_met(&options, rec) && !is_stale(call, &options, rec, nadb_buf_slice(&tags))) {
        const struct nadb_put put = {
            .value = call->argv[2],
            .expire_ms = options.expire_ms,
            .keep_ttl = options.keep_ttl,
            .keep_tags = options.keep_tags,
            .tags = nadb_buf_slice(&tags),
        };
        enum nadb_err err = nadb_store_put(call->store, call->keyspace, &call->first_key, &put);
        if (err == NADB_OK && options.times_index != 0) {
            nadb_store_set_times(call->store, call->keyspace, &call->first_key, &options.times);
        }
        if (err != NADB_OK) {
            (void)nadb_reply_failure(call, mark, err);
        } else if (!options.has_get) {
            nadb_resp_ok(call->out);
        }
    } else if (!options.has_get) {
        nadb_resp_null(call->out);
    }
    nadb_buf_fini(&tags);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_set(struct nadb_call *call)
{
    if (NADB_UNLIKELY(call->argc != 3)) {
        return set_with_options(call);
    }
    const struct nadb_put put = {.value = call->argv[2]};
    return put_and_ok(call, &put);
}

/* ---- the relatives ---- */

enum nadb_cmd_status nadb_cmd_setnx(struct nadb_call *call)
{
    if (nadb_store_peek(call->store, call->keyspace, &call->first_key) != NULL) {
        return nadb_reply_integer(call, 0);
    }
    const struct nadb_put put = {.value = call->argv[2]};
    enum nadb_err err = nadb_store_put(call->store, call->keyspace, &call->first_key, &put);
    if (err != NADB_OK) {
        return nadb_reply_failure(call, call->out->buf.len, err);
    }
    return nadb_reply_integer(call, 1);
}

static enum nadb_cmd_status set_with_expire(struct nadb_call *call, struct nadb_expire_unit unit)
{
    bool has_tags = call->argc > 4;
    if (has_tags && !nadb_arg_is(call->argv[4], "tags")) {
        return nadb_reply_syntax_error(call);
    }
    uint64_t expire_ms;
    if (!nadb_arg_expire(call, 2, unit, false, &expire_ms)) {
        return NADB_CMD_DONE;
    }
    struct nadb_buf tags = {0};
    if (!has_tags || nadb_arg_tags(call, 5, &tags)) {
        const struct nadb_put put = {
            .value = call->argv[3], .expire_ms = expire_ms, .tags = nadb_buf_slice(&tags)};
        (void)put_and_ok(call, &put); /* DONE */
    }
    nadb_buf_fini(&tags);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_setex(struct nadb_call *call)
{
    return set_with_expire(call, (struct nadb_expire_unit){.is_seconds = true});
}

enum nadb_cmd_status nadb_cmd_psetex(struct nadb_call *call)
{
    return set_with_expire(call, (struct nadb_expire_unit){.is_seconds = false});
}

enum nadb_cmd_status nadb_cmd_getset(struct nadb_call *call)
{
    size_t mark = call->out->buf.len;
    reply_old_value(call, nadb_store_read(call->store, call->keyspace, &call->first_key));
    const struct nadb_put put = {.value = call->argv[2]};
    enum nadb_err err = nadb_store_put(call->store, call->keyspace, &call->first_key, &put);
    if (err != NADB_OK) {
        return nadb_reply_failure(call, mark, err);
    }
    return NADB_CMD_DONE;
}

/* ---- MSET, MSETNX ---- */

/* A failure in the middle leaves what was set before it: only exhausted memory can cause one. */
static enum nadb_err put_pairs(struct nadb_call *call)
{
    for (size_t i = 1; i < call->argc; i += 2) {
        struct nadb_key key = nadb_arg_key(call, i);
        const struct nadb_put put = {.value = call->argv[i + 1]};
        enum nadb_err err = nadb_store_put(call->store, call->keyspace, &key, &put);
        if (err != NADB_OK) {
            return err;
        }
    }
    return NADB_OK;
}

enum nadb_cmd_status nadb_cmd_mset(struct nadb_call *call)
{
    if (call->argc % 2 == 0) {
        return nadb_reply_arity_error(call);
    }
    enum nadb_err err = put_pairs(call);
    if (err != NADB_OK) {
        return nadb_reply_failure(call, call->out->buf.len, err);
    }
    return nadb_reply_ok(call);
}

enum nadb_cmd_status nadb_cmd_msetnx(struct nadb_call *call)
{
    if (call->argc % 2 == 0) {
        return nadb_reply_arity_error(call);
    }
    for (size_t i = 1; i < call->argc; i += 2) {
        struct nadb_key key = nadb_arg_key(call, i);
        if (nadb_store_peek(call->store, call->keyspace, &key) != NULL) {
            return nadb_reply_integer(call, 0);
        }
    }
    enum nadb_err err = put_pairs(call);
    if (err != NADB_OK) {
        return nadb_reply_failure(call, call->out->buf.len, err);
    }
    return nadb_reply_integer(call, 1);
}

/* ---- DELEX ---- */

enum nadb_cmd_status nadb_cmd_delex(struct nadb_call *call)
{
    if (call->argc != 2 && !(call->argc == 4 && nadb_arg_is(call->argv[2], "ifeq"))) {
        return nadb_reply_syntax_error(call);
    }
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    if (rec == NULL || (call->argc == 4 && !nadb_slice_eq(nadb_rec_value(rec), call->argv[3]))) {
        return nadb_reply_integer(call, 0);
    }
    bool is_deleted = nadb_store_delete(call->store, call->keyspace, &call->first_key);
    return nadb_reply_integer(call, is_deleted);
}
