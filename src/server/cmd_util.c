/* This file holds what the command handlers share. */
#include "src/server/cmd_util.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/parse.h"
#include "src/store/packed.h"

#define REPLY_TEXT_MAX 512u
#define TAGS_FEW       16u /* compared one by one; more go through a table */

#define PATTERN_LEN_MAX   1024u
#define SPLICE_SWAP_BYTES ((size_t)1 << 18) /* more than this is not copied if it need not be */

void nadb_cmd_upper_name(const struct nadb_cmd *cmd, char out[NADB_CMD_NAME_MAX])
{
    const char *bar = strchr(cmd->name, '|');
    const char *name = bar != NULL ? bar + 1 : cmd->name;
    size_t len = 0;
    for (; name[len] != '\0'; len++) {
        NADB_ASSERT(len + 1 < NADB_CMD_NAME_MAX);
        out[len] = name[len] >= 'a' && name[len] <= 'z' ? (char)(name[len] - 'a' + 'A') : name[len];
    }
    out[len] = '\0';
}

/* ---- replies ---- */

enum nadb_cmd_status nadb_reply_error(struct nadb_call *call, const char *format, ...)
{
    char text[REPLY_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* a cut text is still an error */
    va_end(args);
    nadb_resp_error(call->out, "%s", text);
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_reply_err(struct nadb_call *call, const struct nadb_error *error)
{
    char line[NADB_ERROR_LINE_MAX];
    nadb_error_line(error, line);
    return nadb_reply_error(call, "%s", line);
}

enum nadb_cmd_status nadb_reply_syntax_error(struct nadb_call *call)
{
    return nadb_reply_error(call, "ERR syntax error");
}

enum nadb_cmd_status nadb_reply_arity_error(struct nadb_call *call)
{
    return nadb_reply_error(
        call, "ERR wrong number of arguments for '%s' command", call->cmd->name);
}

enum nadb_cmd_status nadb_reply_not_integer(struct nadb_call *call)
{
    return nadb_reply_error(call, "ERR value is not an integer or out of range");
}

enum nadb_cmd_status nadb_reply_failure(struct nadb_call *call, size_t mark, enum nadb_err err)
{
    if (call->out->buf.len > mark) {
        call->out->buf.len = mark;
    }
    return nadb_reply_error(call, "%s %s", nadb_err_prefix(err), nadb_err_text(err));
}

void nadb_reply_field_u64(struct nadb_call *call, const char *name, uint64_t value)
{
    nadb_resp_bulk_cstr(call->out, name);
    nadb_resp_integer(call->out, (int64_t)value);
}

void nadb_reply_field_text(struct nadb_call *call, const char *name, const char *value)
{
    nadb_resp_bulk_cstr(call->out, name);
    nadb_resp_bulk_cstr(call->out, value);
}

void nadb_reply_value(struct nadb_call *call, const struct nadb_rec *rec)
{
    bool is_of_client = call->may_yield && call->out == &call->client->out;
    if (NADB_LIKELY(rec->value_len < NADB_CLIENT_ATTACH_MIN) || !is_of_client) {
        nadb_resp_bulk(call->out, nadb_rec_value(rec));
        return;
    }
    nadb_resp_bulk_header(call->out, rec->value_len);
    if (!nadb_client_attach(call->client, rec)) {
        nadb_resp_raw(call->out, nadb_rec_value(rec));
    }
    nadb_resp_raw(call->out, NADB_SLICE("\r\n"));
}

/* ---- arguments ---- */

bool nadb_arg_i64(struct nadb_call *call, size_t index, int64_t *ret)
{
    if (!nadb_parse_i64(call->argv[index], ret)) {
        (void)nadb_reply_not_integer(call);
        return false;
    }
    return true;
}

struct nadb_key nadb_arg_key(const struct nadb_call *call, size_t index)
{
    if (index == (size_t)call->cmd->key_first) {
        return call->first_key;
    }
    return nadb_store_key(call->store, call->argv[index]);
}

bool nadb_arg_db(struct nadb_call *call, size_t index, uint64_t *ret_db)
{
    int64_t db;
    if (!nadb_arg_i64(call, index, &db)) {
        return false;
    }
    if (db < 0 || db >= call->server->config->databases) {
        (void)nadb_reply_error(call, "ERR DB index is out of range");
        return false;
    }
    *ret_db = (uint64_t)db;
    return true;
}

/* `value` of the unit as Unix ms; false when it does not fit. */
static bool convert_expire(
    int64_t value, struct nadb_expire_unit unit, uint64_t now_ms, int64_t *ret_ms)
{
    int64_t ms = value;
    if (unit.is_seconds && __builtin_mul_overflow(value, (int64_t)1000, &ms)) {
        return false;
    }
    if (!unit.is_absolute && __builtin_add_overflow(ms, (int64_t)now_ms, &ms)) {
        return false;
    }
    *ret_ms = ms;
    return ms <= (int64_t)NADB_EXPIRE_MS_MAX;
}

bool nadb_arg_expire(struct nadb_call *call, size_t index, struct nadb_expire_unit unit,
    bool is_signed, uint64_t *ret_expire_ms)
{
    int64_t value;
    if (!nadb_arg_i64(call, index, &value)) {
        return false;
    }
    int64_t ms;
    if ((value <= 0 && !is_signed) || !convert_expire(value, unit, call->now_ms, &ms)) {
        (void)nadb_reply_error(call, "ERR invalid expire time in '%s' command", call->cmd->name);
        return false;
    }
    *ret_expire_ms = ms > 0 ? (uint64_t)ms : 1;
    return true;
}

bool nadb_arg_expire_unit(struct nadb_slice word, struct nadb_expire_unit *ret_unit)
{
    static const struct {
        const char *word;
        struct nadb_expire_unit unit;
    } units[] = {
        {"ex", {.is_seconds = true}},
        {"px", {.is_seconds = false}},
        {"exat", {.is_seconds = true, .is_absolute = true}},
        {"pxat", {.is_absolute = true}},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(units); i++) {
        if (nadb_arg_is(word, units[i].word)) {
            *ret_unit = units[i].unit;
            return true;
        }
    }
    return false;
}

/* ---- tags ---- */

/* Which of argv[first .. argc) came before already: an open table of 1-based indices. */
struct tag_table {
    uint32_t *slots;
    size_t mask;
};

/* True when an equal tag is in the table; puts it in otherwise. */
static bool has_seen_tag(
    const struct nadb_call *call, struct tag_table *table, size_t first, size_t index)
{
    struct nadb_slice tag = call->argv[index];
    uint64_t hash = nadb_store_key(call->store, tag).hash;
    for (size_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        if (table->slots[at] == 0) {
            table->slots[at] = (uint32_t)(index - first + 1);
            return false;
        }
        if (nadb_slice_eq(call->argv[first + table->slots[at] - 1], tag)) {
            return true;
        }
    }
}

static bool is_repeated_tag(const struct nadb_call *call, size_t first, size_t index)
{
    for (size_t i = first; i < index; i++) {
        if (nadb_slice_eq(call->argv[i], call->argv[index])) {
            return true;
        }
    }
    return false;
}

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

static enum nadb_err pack_tags(
    struct nadb_call *call, size_t first, struct tag_table *table, struct nadb_buf *tags)
{
    size_t count = 0;
    for (size_t i = first; i < call->argc; i++) {
        bool is_repeated = table->slots != NULL ? has_seen_tag(call, table, first, i)
                                                : is_repeated_tag(call, first, i);
        if (is_repeated) {
            continue;
        }
        if (count++ == (size_t)call->server->config->max_tags_per_key) {
            return NADB_ELIMIT;
        }
        if (!nadb_packed_add(tags, call->argv[i])) {
            return NADB_ENOMEM;
        }
    }
    return NADB_OK;
}

enum nadb_cmd_status nadb_reply_too_many_tags(struct nadb_call *call)
{
    return nadb_reply_error(
        call, "TOOMANYTAGS limit %lld per key", (long long)call->server->config->max_tags_per_key);
}

bool nadb_arg_tags(struct nadb_call *call, size_t first, struct nadb_buf *tags)
{
    nadb_buf_init(tags, NADB_TAGS_PACKED_MAX);
    if (!check_tags(call, first)) {
        return false;
    }
    size_t count = call->argc - first;
    struct tag_table table = {0};
    if (count > TAGS_FEW) {
        size_t cap = 2 * TAGS_FEW;
        while (cap < 2 * count) {
            cap *= 2;
        }
        table.mask = cap - 1;
        table.slots = nadb_mem_try_alloc(cap * sizeof(*table.slots));
        if (table.slots == NULL) {
            (void)nadb_reply_failure(call, call->out->buf.len, NADB_ENOMEM);
            return false;
        }
        memset(table.slots, 0, cap * sizeof(*table.slots));
    }
    enum nadb_err err = pack_tags(call, first, &table, tags);
    nadb_mem_free(table.slots);
    if (err == NADB_ELIMIT) {
        (void)nadb_reply_too_many_tags(call);
    } else if (err != NADB_OK) {
        (void)nadb_reply_failure(call, call->out->buf.len, err);
    }
    return err == NADB_OK;
}

/* ---- selectors ---- */

bool nadb_arg_begins_selector(const struct nadb_call *call, size_t index)
{
    struct nadb_slice word = call->argv[index];
    return nadb_arg_is(word, "any") || nadb_arg_is(word, "all") || nadb_arg_is(word, "expr");
}

bool nadb_arg_selector(struct nadb_call *call, size_t index, struct nadb_selector *selector)
{
    nadb_selector_init(selector);
    if (index + 1 >= call->argc) {
        (void)nadb_reply_syntax_error(call);
        return false;
    }
    const struct nadb_slice *args = &call->argv[index + 1];
    size_t count = call->argc - index - 1;
    struct nadb_error error;
    enum nadb_err err = nadb_arg_is(call->argv[index], "expr")
                            ? nadb_selector_parse(selector, args[0], args + 1, count - 1, &error)
                            : nadb_selector_list(selector, nadb_arg_is(call->argv[index], "all"),
                                  args, count, &error);
    if (err != NADB_OK) {
        (void)nadb_reply_err(call, &error);
    }
    return err == NADB_OK;
}

bool nadb_arg_pattern(struct nadb_call *call, size_t index, struct nadb_slice *ret_pattern)
{
    struct nadb_slice pattern = call->argv[index];
    if (pattern.len > PATTERN_LEN_MAX) {
        (void)nadb_reply_error(call, "ERR pattern is longer than %u bytes", PATTERN_LEN_MAX);
        return false;
    }
    *ret_pattern = nadb_slice_eq(pattern, NADB_SLICE("*")) ? nadb_slice_of(NULL, 0) : pattern;
    return true;
}

bool nadb_arg_cursor(struct nadb_call *call, size_t index, uint64_t *ret)
{
    if (nadb_parse_u64(call->argv[index], ret)) {
        return true;
    }
    (void)nadb_reply_error(call, "ERR invalid cursor");
    return false;
}

bool nadb_arg_count(struct nadb_call *call, size_t index, uint64_t *ret)
{
    int64_t value;
    if (!nadb_arg_i64(call, index, &value)) {
        return false;
    }
    if (value < 0) {
        (void)nadb_reply_error(call, "ERR value is out of range, must be positive");
        return false;
    }
    *ret = (uint64_t)value;
    return true;
}

/* ---- work in slices ---- */

void *nadb_progress_take(struct nadb_call *call)
{
    if (!call->may_yield || *call->progress == NULL) {
        return NULL;
    }
    void *work = *call->progress;
    *call->progress = NULL;
    call->client->progress_free = NULL;
    call->client->progress_bytes = 0;
    return work;
}

enum nadb_cmd_status nadb_progress_leave(
    struct nadb_call *call, void *work, void (*free_work)(void *work), size_t bytes)
{
    NADB_ASSERT(call->may_yield);
    *call->progress = work;
    call->client->progress_free = free_work;
    call->client->progress_bytes = bytes;
    return NADB_CMD_AGAIN;
}

uint64_t nadb_awaited(struct nadb_call *call)
{
    uint64_t *work = nadb_progress_take(call);
    uint64_t number = work == NULL ? 0 : *work;
    nadb_mem_free(work);
    return number;
}

enum nadb_cmd_status nadb_await(struct nadb_call *call, uint64_t number)
{
    uint64_t *work = nadb_mem_alloc(sizeof(*work));
    *work = number;
    (void)nadb_progress_leave(call, work, nadb_mem_free, 0);
    return NADB_CMD_WAIT;
}

void nadb_reply_splice(struct nadb_call *call, struct nadb_resp_writer *part)
{
    struct nadb_resp_writer *out = call->out;
    if (out->buf.len == 0 && part->buf.len > SPLICE_SWAP_BYTES) {
        struct nadb_buf empty = out->buf;
        out->buf = part->buf;
        out->buf.cap_max = empty.cap_max;
        part->buf = empty;
    } else {
        nadb_resp_raw(out, nadb_buf_slice(&part->buf));
        part->buf.len = 0;
    }
    out->is_full = out->is_full || part->is_full;
}

/* ---- text ---- */

void nadb_text_add(struct nadb_buf *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    NADB_ASSERT(len >= 0);
    /* One more: vsnprintf ends with a NUL. */
    if (nadb_buf_reserve(text, (size_t)len + 1)) {
        (void)vsnprintf(text->data + text->len, (size_t)len + 1, format, again); /* fits */
        text->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}
