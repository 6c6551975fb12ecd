/* This file holds the commands that set and tell when keys expire. */
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

/* ---- setting ---- */

struct expire_conditions {
    bool is_nx; /* only if there is no deadline yet */
    bool is_xx; /* only if there is one */
    bool is_gt; /* only if the new one is later; none counts as infinitely late */
    bool is_lt; /* only if the new one is earlier */
};

static bool parse_conditions(struct nadb_call *call, struct expire_conditions *conditions)
{
    for (size_t i = 3; i < call->argc; i++) {
        struct nadb_slice word = call->argv[i];
        if (nadb_arg_is(word, "nx")) {
            conditions->is_nx = true;
        } else if (nadb_arg_is(word, "xx")) {
            conditions->is_xx = true;
        } else if (nadb_arg_is(word, "gt")) {
            conditions->is_gt = true;
        } else if (nadb_arg_is(word, "lt")) {
            conditions->is_lt = true;
        } else {
            (void)nadb_reply_error(
                call, "ERR Unsupported option %.*s", nadb_echo_len(word), word.data);
            return false;
        }
    }
    if (conditions->is_nx && (conditions->is_xx || conditions->is_gt || conditions->is_lt)) {
        (void)nadb_reply_error(
            call, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (conditions->is_gt && conditions->is_lt) {
        (void)nadb_reply_error(call, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

static bool are_conditions_met(
    const struct expire_conditions *conditions, uint64_t old_ms, uint64_t new_ms)
{
    if ((conditions->is_nx && old_ms != 0) || (conditions->is_xx && old_ms == 0)) {
        return false;
    }
    if (conditions->is_gt && (old_ms == 0 || new_ms <= old_ms)) {
        return false;
    }
    return !(conditions->is_lt && old_ms != 0 && new_ms >= old_ms);
}

static enum nadb_cmd_status set_expire(struct nadb_call *call, struct nadb_expire_unit unit)
{
    struct expire_conditions conditions = {0};
    uint64_t expire_ms;
    if (!parse_conditions(call, &conditions) || !nadb_arg_expire(call, 2, unit, true, &expire_ms)) {
        return NADB_CMD_DONE;
    }
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    if (rec == NULL || !are_conditions_met(&conditions, nadb_rec_expire_ms(rec), expire_ms)) {
        return nadb_reply_integer(call, 0);
    }
    bool is_set = nadb_store_expire(call->store, call->keyspace, &call->first_key, expire_ms);
    return nadb_reply_integer(call, is_set);
}

enum nadb_cmd_status nadb_cmd_expire(struct nadb_call *call)
{
    return set_expire(call, (struct nadb_expire_unit){.is_seconds = true});
}

enum nadb_cmd_status nadb_cmd_pexpire(struct nadb_call *call)
{
    return set_expire(call, (struct nadb_expire_unit){.is_seconds = false});
}

enum nadb_cmd_status nadb_cmd_expireat(struct nadb_call *call)
{
    return set_expire(call, (struct nadb_expire_unit){.is_seconds = true, .is_absolute = true});
}

enum nadb_cmd_status nadb_cmd_pexpireat(struct nadb_call *call)
{
    return set_expire(call, (struct nadb_expire_unit){.is_absolute = true});
}

enum nadb_cmd_status nadb_cmd_persist(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    if (rec == NULL || nadb_rec_expire_ms(rec) == 0) {
        return nadb_reply_integer(call, 0);
    }
    bool is_set = nadb_store_expire(call->store, call->keyspace, &call->first_key, 0);
    return nadb_reply_integer(call, is_set);
}

/* ---- telling ---- */

#define TTL_NO_KEY    (-2)
#define TTL_NO_EXPIRE (-1)

static enum nadb_cmd_status tell_expire(struct nadb_call *call, struct nadb_expire_unit unit)
{
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    if (rec == NULL) {
        return nadb_reply_integer(call, TTL_NO_KEY);
    }
    uint64_t ms = nadb_rec_expire_ms(rec);
    if (ms == 0) {
        return nadb_reply_integer(call, TTL_NO_EXPIRE);
    }
    if (!unit.is_absolute) {
        ms -= call->now_ms < ms ? call->now_ms : ms;
    }
    return nadb_reply_integer(call, (int64_t)(unit.is_seconds ? (ms + 500) / 1000 : ms));
}

enum nadb_cmd_status nadb_cmd_ttl(struct nadb_call *call)
{
    return tell_expire(call, (struct nadb_expire_unit){.is_seconds = true});
}

enum nadb_cmd_status nadb_cmd_pttl(struct nadb_call *call)
{
    return tell_expire(call, (struct nadb_expire_unit){.is_seconds = false});
}

enum nadb_cmd_status nadb_cmd_expiretime(struct nadb_call *call)
{
    return tell_expire(call, (struct nadb_expire_unit){.is_seconds = true, .is_absolute = true});
}

enum nadb_cmd_status nadb_cmd_pexpiretime(struct nadb_call *call)
{
    return tell_expire(call, (struct nadb_expire_unit){.is_absolute = true});
}
