/* This file holds COMMAND: what the table says of every command, in Redis's shapes. */
#include "src/base/assert.h"
#include "src/base/glob.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define KEY_SPECS_MAX 2u

/* ---- flags and categories ---- */

static const struct {
    unsigned flag;
    const char *word;
} flag_words[] = {
    {NADB_CMD_WRITE, "write"},
    {NADB_CMD_READONLY, "readonly"},
    {NADB_CMD_DENYOOM, "denyoom"},
    {NADB_CMD_ADMIN, "admin"},
    {NADB_CMD_PUBSUB, "pubsub"},
    {NADB_CMD_NOSCRIPT, "noscript"},
    {NADB_CMD_LOADING, "loading"},
    {NADB_CMD_LOADING, "stale"},
    {NADB_CMD_FAST, "fast"},
    {NADB_CMD_NOAUTH, "no_auth"},
    {NADB_CMD_NOMULTI, "no_multi"},
};

static void reply_flags(struct nadb_call *call, const struct nadb_cmd *cmd)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    for (size_t i = 0; i < NADB_ARRAY_LEN(flag_words); i++) {
        if (cmd->flags & flag_words[i].flag) {
            nadb_resp_simple(call->out, nadb_slice_cstr(flag_words[i].word));
            count++;
        }
    }
    nadb_resp_deferred_set(call->out, mark, count);
}

static bool is_group(const struct nadb_cmd *cmd, const char *group)
{
    return strcmp(cmd->group, group) == 0;
}

/* Commands on keys or on all of a database's keys. */
static bool is_keyspace(const struct nadb_cmd *cmd)
{
    return is_group(cmd, "generic") ||
           (is_group(cmd, "server") && (cmd->flags & (NADB_CMD_READONLY | NADB_CMD_WRITE)));
}

static bool is_read(const struct nadb_cmd *cmd)
{
    return cmd->flags & NADB_CMD_READONLY;
}

static bool is_write(const struct nadb_cmd *cmd)
{
    return cmd->flags & NADB_CMD_WRITE;
}

static bool is_string(const struct nadb_cmd *cmd)
{
    return is_group(cmd, "string");
}

static bool is_admin(const struct nadb_cmd *cmd)
{
    return cmd->flags & NADB_CMD_ADMIN;
}

static bool is_fast(const struct nadb_cmd *cmd)
{
    return cmd->flags & NADB_CMD_FAST;
}

static bool is_slow(const struct nadb_cmd *cmd)
{
    return !is_fast(cmd);
}

static bool is_dangerous(const struct nadb_cmd *cmd)
{
    return cmd->flags & (NADB_CMD_DANGEROUS | NADB_CMD_ADMIN);
}

static bool is_connection(const struct nadb_cmd *cmd)
{
    return is_group(cmd, "connection");
}

static bool is_transaction(const struct nadb_cmd *cmd)
{
    return is_group(cmd, "transactions");
}

/* ACL categories, derived from the row. */
static const struct {
    const char *name;
    bool (*has)(const struct nadb_cmd *cmd);
} categories[] = {
    {"@keyspace", is_keyspace},
    {"@read", is_read},
    {"@write", is_write},
    {"@string", is_string},
    {"@admin", is_admin},
    {"@fast", is_fast},
    {"@slow", is_slow},
    {"@dangerous", is_dangerous},
    {"@connection", is_connection},
    {"@transaction", is_transaction},
};

static void reply_categories(struct nadb_call *call, const struct nadb_cmd *cmd)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    for (size_t i = 0; i < NADB_ARRAY_LEN(categories); i++) {
        if (categories[i].has(cmd)) {
            nadb_resp_simple(call->out, nadb_slice_cstr(categories[i].name));
            count++;
        }
    }
    nadb_resp_deferred_set(call->out, mark, count);
}

/* ---- key specs ---- */

/* The parts of key_flags between ';'. */
static size_t split_specs(const struct nadb_cmd *cmd, struct nadb_slice specs[KEY_SPECS_MAX])
{
    struct nadb_slice rest = nadb_slice_cstr(cmd->key_flags);
    size_t count = 0;
    while (rest.len > 0) {
        NADB_ASSERT(count < KEY_SPECS_MAX);
        const char *end = memchr(rest.data, ';', rest.len);
        size_t len = end == NULL ? rest.len : (size_t)(end - rest.data);
        specs[count++] = nadb_slice_of(rest.data, len);
        size_t skip = end == NULL ? len : len + 1;
        rest = nadb_slice_of(rest.data + skip, rest.len - skip);
    }
    return count;
}

/* Words parted by blanks, as a set of simple strings. */
static void reply_words(struct nadb_call *call, struct nadb_slice words)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    while (words.len > 0) {
        const char *end = memchr(words.data, ' ', words.len);
        size_t len = end == NULL ? words.len : (size_t)(end - words.data);
        nadb_resp_simple(call->out, nadb_slice_of(words.data, len));
        size_t skip = end == NULL ? len : len + 1;
        words = nadb_slice_of(words.data + skip, words.len - skip);
        count++;
    }
    nadb_resp_deferred_set(call->out, mark, count);
}

static void reply_key_spec(
    struct nadb_call *call, struct nadb_slice flags, int index, int last_key, int step)
{
    nadb_resp_map(call->out, 3);
    nadb_resp_bulk_cstr(call->out, "flags");
    reply_words(call, flags);
    nadb_resp_bulk_cstr(call->out, "begin_search");
    nadb_resp_map(call->out, 2);
    nadb_reply_field_text(call, "type", "index");
    nadb_resp_bulk_cstr(call->out, "spec");
    nadb_resp_map(call->out, 1);
    nadb_resp_bulk_cstr(call->out, "index");
    nadb_resp_integer(call->out, index);
    nadb_resp_bulk_cstr(call->out, "find_keys");
    nadb_resp_map(call->out, 2);
    nadb_reply_field_text(call, "type", "range");
    nadb_resp_bulk_cstr(call->out, "spec");
    nadb_resp_map(call->out, 3);
    nadb_resp_bulk_cstr(call->out, "lastkey"); /* counted from the first, -1: the last argument */
    nadb_resp_integer(call->out, last_key);
    nadb_resp_bulk_cstr(call->out, "keystep");
    nadb_resp_integer(call->out, step);
    nadb_resp_bulk_cstr(call->out, "limit");
    nadb_resp_integer(call->out, 0);
}

static void reply_key_specs(struct nadb_call *call, const struct nadb_cmd *cmd)
{
    struct nadb_slice specs[KEY_SPECS_MAX];
    size_t count = split_specs(cmd, specs);
    nadb_resp_set(call->out, count);
    for (size_t i = 0; i < count; i++) {
        int last_key = cmd->key_last < 0 ? cmd->key_last : 0;
        reply_key_spec(call, specs[i], cmd->key_first + (int)i * cmd->key_step, last_key,
            cmd->key_last < 0 ? cmd->key_step : 1);
    }
}

/* ---- COMMAND, COMMAND INFO ---- */

#define ROW_FIELDS 10u

static void reply_row(struct nadb_call *call, const struct nadb_cmd *cmd);

static void reply_sub_rows(struct nadb_call *call, const struct nadb_cmd *container)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    const struct nadb_cmd *sub;
    for (size_t i = nadb_cmd_index(container) + 1;
         (sub = nadb_cmd_at(i)) != NULL && sub->container == container; i++) {
        reply_row(call, sub);
        count++;
    }
    nadb_resp_deferred_set(call->out, mark, count);
}

static void reply_row(struct nadb_call *call, const struct nadb_cmd *cmd)
{
    nadb_resp_array(call->out, ROW_FIELDS);
    nadb_resp_bulk_cstr(call->out, cmd->name);
    nadb_resp_integer(call->out, cmd->arity);
    reply_flags(call, cmd);
    nadb_resp_integer(call->out, cmd->key_first);
    nadb_resp_integer(call->out, cmd->key_last);
    nadb_resp_integer(call->out, cmd->key_step);
    reply_categories(call, cmd);
    nadb_resp_set(call->out, 0); /* tips */
    reply_key_specs(call, cmd);
    reply_sub_rows(call, cmd);
}

static size_t count_commands(void)
{
    size_t count = 0;
    for (size_t i = 0; i < nadb_cmd_count(); i++) {
        count += nadb_cmd_at(i)->container == NULL;
    }
    return count;
}

enum nadb_cmd_status nadb_cmd_command(struct nadb_call *call)
{
    nadb_resp_array(call->out, count_commands());
    for (size_t i = 0; i < nadb_cmd_count(); i++) {
        if (nadb_cmd_at(i)->container == NULL) {
            reply_row(call, nadb_cmd_at(i));
        }
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_command_info(struct nadb_call *call)
{
    if (call->argc == 2) {
        return nadb_cmd_command(call);
    }
    nadb_resp_array(call->out, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        const struct nadb_cmd *cmd = nadb_cmd_find_full(call->argv[i]);
        if (cmd == NULL) {
            nadb_resp_null(call->out);
        } else {
            reply_row(call, cmd);
        }
    }
    return NADB_CMD_DONE;
}

enum nadb_cmd_status nadb_cmd_command_count(struct nadb_call *call)
{
    return nadb_reply_integer(call, (int64_t)count_commands());
}

/* ---- COMMAND LIST ---- */

enum list_filter {
    LIST_ALL,
    LIST_MODULE, /* there are no modules */
    LIST_CATEGORY,
    LIST_PATTERN,
};

static bool is_in_category(const struct nadb_cmd *cmd, struct nadb_slice category)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(categories); i++) {
        if (nadb_slice_eq_nocase(category, nadb_slice_cstr(categories[i].name + 1))) {
            return categories[i].has(cmd);
        }
    }
    return false;
}

static bool is_listed(
    const struct nadb_cmd *cmd, enum list_filter filter, struct nadb_slice argument)
{
    switch (filter) {
    case LIST_ALL:
        return true;
    case LIST_MODULE:
        return false;
    case LIST_CATEGORY:
        return is_in_category(cmd, argument);
    case LIST_PATTERN:
        return nadb_glob_match_nocase(argument, nadb_slice_cstr(cmd->name));
    }
    return false;
}

static bool parse_list_filter(const struct nadb_call *call, enum list_filter *filter)
{
    if (call->argc == 2) {
        *filter = LIST_ALL;
        return true;
    }
    if (call->argc != 5 || !nadb_arg_is(call->argv[2], "filterby")) {
        return false;
    }
    if (nadb_arg_is(call->argv[3], "module")) {
        *filter = LIST_MODULE;
    } else if (nadb_arg_is(call->argv[3], "aclcat")) {
        *filter = LIST_CATEGORY;
    } else if (nadb_arg_is(call->argv[3], "pattern")) {
        *filter = LIST_PATTERN;
    } else {
        return false;
    }
    return true;
}

enum nadb_cmd_status nadb_cmd_command_list(struct nadb_call *call)
{
    enum list_filter filter;
    if (!parse_list_filter(call, &filter)) {
        return nadb_reply_syntax_error(call);
    }
    struct nadb_slice argument = call->argc == 5 ? call->argv[4] : nadb_slice_of(NULL, 0);
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    for (size_t i = 0; i < nadb_cmd_count(); i++) {
        const struct nadb_cmd *cmd = nadb_cmd_at(i);
        if (is_listed(cmd, filter, argument)) {
            nadb_resp_bulk_cstr(call->out, cmd->name);
            count++;
        }
    }
    nadb_resp_deferred_array(call->out, mark, count);
    return NADB_CMD_DONE;
}

/* ---- COMMAND GETKEYS, GETKEYSANDFLAGS ---- */

/* The keys of the call in argv[2..]. */
struct found_keys {
    const struct nadb_cmd *cmd;
    size_t first, last, step;
};

static bool find_keys(struct nadb_call *call, struct found_keys *keys)
{
    size_t argc = call->argc - 2;
    const struct nadb_cmd *cmd = nadb_cmd_find(call->argv[2]);
    if (cmd != NULL && (cmd->flags & NADB_CMD_CONTAINER) && argc > 1) {
        cmd = nadb_cmd_find_sub(cmd, call->argv[3]);
    }
    if (cmd == NULL) {
        (void)nadb_reply_error(call, "ERR Invalid command specified");
        return false;
    }
    if (cmd->key_first == 0) {
        (void)nadb_reply_error(call, "ERR The command has no key arguments");
        return false;
    }
    keys->cmd = cmd;
    if (!nadb_cmd_arity_fits(cmd, argc) ||
        !nadb_cmd_key_range(cmd, argc, &keys->first, &keys->last, &keys->step)) {
        (void)nadb_reply_error(call, "ERR Invalid number of arguments specified for command");
        return false;
    }
    return true;
}

enum nadb_cmd_status nadb_cmd_command_getkeys(struct nadb_call *call)
{
    struct found_keys keys;
    if (!find_keys(call, &keys)) {
        return NADB_CMD_DONE;
    }
    nadb_resp_array(call->out, (keys.last - keys.first) / keys.step + 1);
    for (size_t i = keys.first; i <= keys.last; i += keys.step) {
        nadb_resp_bulk(call->out, call->argv[2 + i]);
    }
    return NADB_CMD_DONE;
}

/* SET reads the old value only when asked to: its row says so with variable_flags. */
static struct nadb_slice choose_key_flags(
    const struct nadb_call *call, const struct nadb_cmd *cmd, struct nadb_slice spec)
{
    if (cmd != nadb_cmd_at(NADB_ROW_SET)) {
        return spec;
    }
    for (size_t i = 5; i < call->argc; i++) {
        if (nadb_arg_is(call->argv[i], "get") || nadb_arg_is(call->argv[i], "ifeq")) {
            return NADB_SLICE("RW access update");
        }
    }
    return NADB_SLICE("OW update");
}

enum nadb_cmd_status nadb_cmd_command_getkeysandflags(struct nadb_call *call)
{
    struct found_keys keys;
    if (!find_keys(call, &keys)) {
        return NADB_CMD_DONE;
    }
    struct nadb_slice specs[KEY_SPECS_MAX];
    size_t spec_count = split_specs(keys.cmd, specs);
    nadb_resp_array(call->out, (keys.last - keys.first) / keys.step + 1);
    size_t count = 0;
    for (size_t i = keys.first; i <= keys.last; i += keys.step, count++) {
        struct nadb_slice spec = specs[count < spec_count ? count : spec_count - 1];
        nadb_resp_array(call->out, 2);
        nadb_resp_bulk(call->out, call->argv[2 + i]);
        reply_words(call, choose_key_flags(call, keys.cmd, spec));
    }
    return NADB_CMD_DONE;
}
