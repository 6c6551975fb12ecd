/* This file holds the commands that read values and change them in place. */
#include <math.h>

#include "src/base/parse.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

/* ---- reading ---- */

enum nadb_cmd_status nadb_cmd_get(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_read(call->store, call->keyspace, &call->first_key);
    if (rec == NULL) {
        return nadb_reply_null(call);
    }
    nadb_reply_value(call, rec);
    return NADB_CMD_DONE;
}

/* Keys of one MGET whose places in memory are looked up ahead. */
#define MGET_AHEAD 16u

enum nadb_cmd_status nadb_cmd_mget(struct nadb_call *call)
{
    struct nadb_key keys[MGET_AHEAD];
    nadb_resp_array(call->out, call->argc - 1);
    for (size_t begin = 1; begin < call->argc; begin += MGET_AHEAD) {
        size_t left = call->argc - begin;
        size_t count = left < MGET_AHEAD ? left : MGET_AHEAD;
        for (size_t i = 0; i < count; i++) {
            keys[i] = nadb_arg_key(call, begin + i);
            nadb_store_prefetch_slot(call->keyspace, keys[i].hash);
        }
        for (size_t i = 0; i < count; i++) {
            nadb_store_prefetch_record(call->keyspace, keys[i].hash);
        }
        for (size_t i = 0; i < count; i++) {
            const struct nadb_rec *rec = nadb_store_read(call->store, call->keyspace, &keys[i]);
            if (rec == NULL) {
                nadb_resp_null(call->out);
            } else {
                nadb_reply_value(call, rec);
            }
        }
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_strlen(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_read(call->store, call->keyspace, &call->first_key);
    return nadb_reply_integer(call, rec == NULL ? 0 : (int64_t)rec->value_len);
}

/* The part [start, end] of `value`, both inclusive, negative ones counted from its end. */
static struct nadb_slice cut_range(struct nadb_slice value, int64_t start, int64_t end)
{
    int64_t len = (int64_t)value.len;
    if (start < 0 && end < 0 && start > end) {
        return nadb_slice_of(NULL, 0);
    }
    if (start < 0) {
        start = start + len > 0 ? start + len : 0;
    }
    if (end < 0) {
        end = end + len > 0 ? end + len : 0;
    }
    if (end >= len) {
        end = len - 1;
    }
    if (start > end) {
        return nadb_slice_of(NULL, 0);
    }
    return nadb_slice_of(value.data + start, (size_t)(end - start + 1));
}

enum nadb_cmd_status nadb_cmd_getrange(struct nadb_call *call)
{
    int64_t start;
    int64_t end;
    if (!nadb_arg_i64(call, 2, &start) || !nadb_arg_i64(call, 3, &end)) {
        return NADB_CMD_DONE;
    }
    const struct nadb_rec *rec = nadb_store_read(call->store, call->keyspace, &call->first_key);
    struct nadb_slice part = nadb_slice_of(NULL, 0);
    if (rec != NULL) {
        part = cut_range(nadb_rec_value(rec), start, end);
    }
    nadb_resp_bulk(call->out, part);
    return NADB_CMD_DONE;
}

/* ---- reading and changing ---- */

enum nadb_cmd_status nadb_cmd_getdel(struct nadb_call *call)
{
    enum nadb_cmd_status status = nadb_cmd_get(call);
    (void)nadb_store_delete(call->store, call->keyspace, &call->first_key); /* if it is there */
    return status;
}

/* What GETEX is to do with the deadline. */
struct getex_options {
    bool has_change;
    bool has_expire; /* else: none (PERSIST) */
    struct nadb_expire_unit unit;
};

static bool parse_getex(const struct nadb_call *call, struct getex_options *options)
{
    if (call->argc == 2) {
        return true;
    }
    options->has_change = true;
    options->has_expire = call->argc == 4 && nadb_arg_expire_unit(call->argv[2], &options->unit);
    return options->has_expire || (call->argc == 3 && nadb_arg_is(call->argv[2], "persist"));
}

/* As Redis: of a missing key no time is looked at, be it right or wrong. */
enum nadb_cmd_status nadb_cmd_getex(struct nadb_call *call)
{
    struct getex_options options = {0};
    if (!parse_getex(call, &options)) {
        return nadb_reply_syntax_error(call);
    }
    const struct nadb_rec *rec = nadb_store_read(call->store, call->keyspace, &call->first_key);
    if (rec == NULL) {
        return nadb_reply_null(call);
    }
    uint64_t expire_ms = 0;
    if (options.has_expire && !nadb_arg_expire(call, 3, options.unit, false, &expire_ms)) {
        return NADB_CMD_DONE;
    }
    nadb_resp_bulk(call->out, nadb_rec_value(rec));
    if (options.has_change && nadb_rec_expire_ms(rec) != expire_ms) {
        (void)nadb_store_expire(/* the key is there */
            call->store, call->keyspace, &call->first_key, expire_ms);
    }
    return NADB_CMD_DONE;
}

/* ---- growing ---- */

/* False: the error is written. */
static bool check_value_len(struct nadb_call *call, uint64_t len)
{
    if (len > call->server->config->proto_max_bulk_len || len > NADB_VALUE_LEN_MAX) {
        (void)nadb_reply_error(
            call, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return false;
    }
    return true;
}

static size_t peek_value_len(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    return rec == NULL ? 0 : rec->value_len;
}

/* Makes the value `len` bytes and puts `bytes` into it at `offset`; answers the new length. */
static enum nadb_cmd_status write_part(
    struct nadb_call *call, size_t len, size_t offset, struct nadb_slice bytes)
{
    char *value = nadb_store_edit(call->store, call->keyspace, &call->first_key, len);
    if (value == NULL) {
        return nadb_reply_failure(call, call->out->buf.len, NADB_ENOMEM);
    }
    if (bytes.len > 0) {
        memcpy(value + offset, bytes.data, bytes.len);
    }
    return nadb_reply_integer(call, (int64_t)len);
}

enum nadb_cmd_status nadb_cmd_append(struct nadb_call *call)
{
    size_t old_len = peek_value_len(call);
    struct nadb_slice bytes = call->argv[2];
    if (!check_value_len(call, (uint64_t)old_len + bytes.len)) {
        return NADB_CMD_DONE;
    }
    return write_part(call, old_len + bytes.len, old_len, bytes);
}

enum nadb_cmd_status nadb_cmd_setrange(struct nadb_call *call)
{
    int64_t offset;
    if (!nadb_arg_i64(call, 2, &offset)) {
        return NADB_CMD_DONE;
    }
    if (offset < 0) {
        return nadb_reply_error(call, "ERR offset is out of range");
    }
    size_t old_len = peek_value_len(call);
    struct nadb_slice bytes = call->argv[3];
    if (bytes.len == 0) {
        return nadb_reply_integer(call, (int64_t)old_len);
    }
    uint64_t end = (uint64_t)offset + bytes.len;
    if (!check_value_len(call, end)) {
        return NADB_CMD_DONE;
    }
    return write_part(call, end > old_len ? (size_t)end : old_len, (size_t)offset, bytes);
}

/* ---- numbers ---- */

/* The value becomes `text`; TTL and tags stay. False: the error is written. */
static bool write_number(struct nadb_call *call, const char *text, size_t len)
{
    char *value = nadb_store_edit(call->store, call->keyspace, &call->first_key, len);
    if (value == NULL) {
        (void)nadb_reply_failure(call, call->out->buf.len, NADB_ENOMEM);
        return false;
    }
    memcpy(value, text, len);
    return true;
}

static enum nadb_cmd_status add_integer(struct nadb_call *call, int64_t increment)
{
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    int64_t number = 0;
    if (rec != NULL && !nadb_parse_i64(nadb_rec_value(rec), &number)) {
        return nadb_reply_not_integer(call);
    }
    if (__builtin_add_overflow(number, increment, &number)) {
        return nadb_reply_error(call, "ERR increment or decrement would overflow");
    }
    char text[NADB_I64_TEXT_MAX];
    if (!write_number(call, text, nadb_format_i64(text, number))) {
        return NADB_CMD_DONE;
    }
    return nadb_reply_integer(call, number);
}

enum nadb_cmd_status nadb_cmd_incr(struct nadb_call *call)
{
    return add_integer(call, 1);
}

enum nadb_cmd_status nadb_cmd_decr(struct nadb_call *call)
{
    return add_integer(call, -1);
}

enum nadb_cmd_status nadb_cmd_incrby(struct nadb_call *call)
{
    int64_t increment;
    return nadb_arg_i64(call, 2, &increment) ? add_integer(call, increment) : NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_decrby(struct nadb_call *call)
{
    int64_t decrement;
    if (!nadb_arg_i64(call, 2, &decrement)) {
        return NADB_CMD_DONE;
    }
    if (decrement == INT64_MIN) {
        return nadb_reply_error(call, "ERR decrement would overflow");
    }
    return add_integer(call, -decrement);
}

enum nadb_cmd_status nadb_cmd_incrbyfloat(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    long double number = 0;
    long double increment;
    if ((rec != NULL && !nadb_parse_long_double(nadb_rec_value(rec), &number)) ||
        !nadb_parse_long_double(call->argv[2], &increment)) {
        return nadb_reply_error(call, "ERR value is not a valid float");
    }
    number += increment;
    if (isnan(number) || isinf(number)) {
        return nadb_reply_error(call, "ERR increment would produce NaN or Infinity");
    }
    char text[NADB_LONG_DOUBLE_TEXT_MAX];
    size_t len = nadb_format_long_double(text, number);
    if (write_number(call, text, len)) {
        nadb_resp_bulk(call->out, nadb_slice_of(text, len));
    }
    return NADB_CMD_DONE;
}
