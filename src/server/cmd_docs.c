/* This file documents commands from the table: COMMAND DOCS and the HELP subcommands.
 *
 * The syntax line of a row is taken apart into the tree of arguments that COMMAND DOCS answers
 * with; redis-cli makes its hints of it. The grammar stands in commands.def. The lines are ours,
 * so a line that does not fit it is a programmer's error. */
#include "src/base/assert.h"
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define ARGS_MAX 64u /* nodes of one line's tree */
#define NO_ARG   0u  /* nodes count from 1 */

enum arg_type {
    ARG_WORD,    /* an argument; its type follows from its name */
    ARG_LITERAL, /* a pure token */
    ARG_ONE_OF,
    ARG_BLOCK,
};

struct arg {
    enum arg_type type;
    struct nadb_slice name;
    struct nadb_slice token; /* before the argument; empty = none */
    bool is_optional, is_multiple;
    size_t child, next; /* nodes */
};

struct syntax {
    const char *at;
    size_t count;
    struct arg args[ARGS_MAX]; /* [0] is not used */
};

/* ---- parsing ---- */

static size_t parse_body(struct syntax *syntax, char close);

static size_t add_arg(struct syntax *syntax, enum arg_type type, struct nadb_slice name)
{
    NADB_ASSERT(syntax->count + 1 < ARGS_MAX);
    size_t node = ++syntax->count;
    syntax->args[node] = (struct arg){.type = type, .name = name};
    return node;
}

static void skip_blanks(struct syntax *syntax)
{
    while (*syntax->at == ' ') {
        syntax->at++;
    }
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_word_char(char c)
{
    return is_upper(c) || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* A list becomes one node: itself, or a block around it. */
static size_t collapse(struct syntax *syntax, size_t list)
{
    NADB_ASSERT(list != NO_ARG);
    if (syntax->args[list].next == NO_ARG) {
        return list;
    }
    size_t block = add_arg(syntax, ARG_BLOCK, syntax->args[list].name);
    syntax->args[block].child = list;
    return block;
}

static size_t parse_group(struct syntax *syntax, char close)
{
    syntax->at++;
    size_t node = collapse(syntax, parse_body(syntax, close));
    NADB_ASSERT(*syntax->at == close);
    syntax->at++;
    return node;
}

static size_t parse_word(struct syntax *syntax)
{
    const char *begin = syntax->at;
    while (is_word_char(*syntax->at)) {
        syntax->at++;
    }
    NADB_ASSERT(syntax->at > begin);
    struct nadb_slice word = nadb_slice_of(begin, (size_t)(syntax->at - begin));
    return add_arg(syntax, is_upper(*begin) ? ARG_LITERAL : ARG_WORD, word);
}

/* An item without what may stand around it: "..." after it, a token before it. */
static size_t parse_plain_item(struct syntax *syntax)
{
    if (*syntax->at == '[') {
        size_t node = parse_group(syntax, ']');
        syntax->args[node].is_optional = true;
        return node;
    }
    return *syntax->at == '(' ? parse_group(syntax, ')') : parse_word(syntax);
}

static size_t parse_item(struct syntax *syntax)
{
    size_t node = parse_plain_item(syntax);
    if (syntax->args[node].type == ARG_LITERAL) {
        skip_blanks(syntax);
        if (*syntax->at == '(' || (is_word_char(*syntax->at) && !is_upper(*syntax->at))) {
            struct nadb_slice token = syntax->args[node].name;
            node = parse_plain_item(syntax);
            syntax->args[node].token = token;
        }
    }
    if (strncmp(syntax->at, "...", 3) == 0) {
        syntax->at += 3;
        syntax->args[node].is_multiple = true;
    }
    return node;
}

/* Items up to `close`, '|' or the end, as a list. */
static size_t parse_sequence(struct syntax *syntax, char close)
{
    size_t first = NO_ARG;
    size_t last = NO_ARG;
    for (;;) {
        skip_blanks(syntax);
        if (*syntax->at == '\0' || *syntax->at == close || *syntax->at == '|') {
            return first;
        }
        size_t node = parse_item(syntax);
        if (last == NO_ARG) {
            first = node;
        } else {
            syntax->args[last].next = node;
        }
        last = node;
    }
}

/* Everything up to `close`: a list, of a single choice if there are alternatives. */
static size_t parse_body(struct syntax *syntax, char close)
{
    size_t list = parse_sequence(syntax, close);
    if (*syntax->at != '|') {
        return list;
    }
    size_t last = collapse(syntax, list);
    size_t choice = add_arg(syntax, ARG_ONE_OF, syntax->args[last].name);
    syntax->args[choice].child = last;
    while (*syntax->at == '|') {
        syntax->at++;
        size_t node = collapse(syntax, parse_sequence(syntax, close));
        syntax->args[last].next = node;
        last = node;
    }
    return choice;
}

/* ---- COMMAND DOCS ---- */

static bool ends_with(struct nadb_slice text, const char *end)
{
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

static const char *word_type(struct nadb_slice name)
{
    static const char *const integers[] = {"seconds", "milliseconds", "count", "cursor", "index",
        "index1", "index2", "start", "end", "offset", "increment", "decrement", "db", "-db",
        "protover", "client-id"};
    if (ends_with(name, "key")) {
        return "key";
    }
    if (ends_with(name, "pattern")) {
        return "pattern";
    }
    if (nadb_slice_eq(name, NADB_SLICE("float-increment"))) {
        return "double";
    }
    if (name.len > 10 && memcmp(name.data, "unix-time-", 10) == 0) {
        return "unix-time";
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(integers); i++) {
        const char *word = integers[i];
        bool is_match =
            word[0] == '-' ? ends_with(name, word) : nadb_slice_eq(name, nadb_slice_cstr(word));
        if (is_match) {
            return "integer";
        }
    }
    return "string";
}

static const char *type_name(const struct arg *arg)
{
    switch (arg->type) {
    case ARG_WORD:
        return word_type(arg->name);
    case ARG_LITERAL:
        return "pure-token";
    case ARG_ONE_OF:
        return "oneof";
    case ARG_BLOCK:
        return "block";
    }
    return "string";
}

/* Names are lower case, also those made of literals. */
static void reply_lower(struct nadb_call *call, struct nadb_slice text)
{
    char lower[NADB_CMD_NAME_MAX];
    NADB_ASSERT(text.len < sizeof(lower));
    for (size_t i = 0; i < text.len; i++) {
        lower[i] = is_upper(text.data[i]) ? (char)(text.data[i] - 'A' + 'a') : text.data[i];
    }
    nadb_resp_bulk(call->out, nadb_slice_of(lower, text.len));
}

static void reply_arg_flags(struct nadb_call *call, const struct arg *arg)
{
    nadb_resp_bulk_cstr(call->out, "flags");
    nadb_resp_set(call->out, (size_t)arg->is_optional + arg->is_multiple);
    if (arg->is_optional) {
        nadb_resp_simple(call->out, NADB_SLICE("optional"));
    }
    if (arg->is_multiple) {
        nadb_resp_simple(call->out, NADB_SLICE("multiple"));
    }
}

/* The list from `node` on, as an array. `key_spec` counts the keys met so far. Depth is that of
 * our own table's lines. */
static void reply_args(
    struct nadb_call *call, const struct syntax *syntax, size_t node, unsigned *key_spec)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    for (; node != NO_ARG; node = syntax->args[node].next) {
        const struct arg *arg = &syntax->args[node];
        const char *type = type_name(arg);
        size_t map = nadb_resp_deferred_begin(call->out);
        size_t fields = 2;
        nadb_resp_bulk_cstr(call->out, "name");
        reply_lower(call, arg->name);
        nadb_reply_field_text(call, "type", type);
        if (strcmp(type, "key") == 0) {
            nadb_reply_field_u64(call, "key_spec_index", (*key_spec)++);
            fields++;
        }
        struct nadb_slice token = arg->type == ARG_LITERAL ? arg->name : arg->token;
        if (token.len > 0) {
            nadb_resp_bulk_cstr(call->out, "token");
            nadb_resp_bulk(call->out, token);
            fields++;
        }
        if (arg->is_optional || arg->is_multiple) {
            reply_arg_flags(call, arg);
            fields++;
        }
        if (arg->child != NO_ARG) {
            nadb_resp_bulk_cstr(call->out, "arguments");
            reply_args(call, syntax, arg->child, key_spec);
            fields++;
        }
        nadb_resp_deferred_map(call->out, map, fields);
        count++;
    }
    nadb_resp_deferred_array(call->out, mark, count);
}

static void reply_doc(struct nadb_call *call, const struct nadb_cmd *cmd);

static void reply_sub_docs(struct nadb_call *call, const struct nadb_cmd *container)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    const struct nadb_cmd *sub;
    for (size_t i = nadb_cmd_index(container) + 1;
         (sub = nadb_cmd_at(i)) != NULL && sub->container == container; i++) {
        nadb_resp_bulk_cstr(call->out, sub->name);
        reply_doc(call, sub);
        count++;
    }
    nadb_resp_deferred_map(call->out, mark, count);
}

static void reply_doc(struct nadb_call *call, const struct nadb_cmd *cmd)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t fields = 4;
    nadb_reply_field_text(call, "summary", cmd->summary);
    nadb_reply_field_text(call, "since", cmd->since);
    nadb_reply_field_text(call, "group", cmd->group);
    nadb_reply_field_text(call, "complexity", cmd->complexity);
    if (cmd->args[0] != '\0') {
        struct syntax syntax = {.at = cmd->args};
        size_t list = parse_body(&syntax, '\0');
        NADB_ASSERT(*syntax.at == '\0');
        unsigned key_spec = 0;
        nadb_resp_bulk_cstr(call->out, "arguments");
        reply_args(call, &syntax, list, &key_spec);
        fields++;
    }
    if (cmd->flags & NADB_CMD_CONTAINER) {
        nadb_resp_bulk_cstr(call->out, "subcommands");
        reply_sub_docs(call, cmd);
        fields++;
    }
    nadb_resp_deferred_map(call->out, mark, fields);
}

enum nadb_cmd_status nadb_cmd_command_docs(struct nadb_call *call)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    for (size_t i = 2; i < call->argc; i++) {
        const struct nadb_cmd *cmd = nadb_cmd_find_full(call->argv[i]);
        if (cmd != NULL) {
            nadb_resp_bulk_cstr(call->out, cmd->name);
            reply_doc(call, cmd);
            count++;
        }
    }
    const struct nadb_cmd *cmd;
    for (size_t i = 0; call->argc == 2 && (cmd = nadb_cmd_at(i)) != NULL; i++) {
        if (cmd->container == NULL) {
            nadb_resp_bulk_cstr(call->out, cmd->name);
            reply_doc(call, cmd);
            count++;
        }
    }
    nadb_resp_deferred_map(call->out, mark, count);
    return NADB_CMD_DONE;
}

/* ---- HELP ---- */

static void reply_line(struct nadb_call *call, struct nadb_buf *line)
{
    nadb_resp_simple(call->out, nadb_buf_slice(line));
    line->len = 0;
}

static void reply_help_row(
    struct nadb_call *call, const struct nadb_cmd *cmd, struct nadb_buf *line)
{
    char name[NADB_CMD_NAME_MAX];
    nadb_cmd_upper_name(cmd, name);
    nadb_text_add(line, "%s%s%s", name, cmd->args[0] != '\0' ? " " : "", cmd->args);
    reply_line(call, line);
    nadb_text_add(line, "    %s.", cmd->summary);
    reply_line(call, line);
}

#define HELP_LINE_MAX 4096u

/* HELP of any container. */
enum nadb_cmd_status nadb_cmd_help(struct nadb_call *call)
{
    const struct nadb_cmd *container = call->cmd->container;
    struct nadb_buf line;
    nadb_buf_init(&line, HELP_LINE_MAX);
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 1;
    char name[NADB_CMD_NAME_MAX];
    nadb_cmd_upper_name(container, name);
    nadb_text_add(&line, "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    reply_line(call, &line);
    if (container->handler != NULL) {
        nadb_resp_simple(call->out, NADB_SLICE("(no subcommand)"));
        nadb_text_add(&line, "    %s.", container->summary);
        reply_line(call, &line);
        count += 2;
    }
    const struct nadb_cmd *sub;
    for (size_t i = nadb_cmd_index(container) + 1;
         (sub = nadb_cmd_at(i)) != NULL && sub->container == container; i++) {
        if (sub != call->cmd) {
            reply_help_row(call, sub, &line);
            count += 2;
        }
    }
    reply_help_row(call, call->cmd, &line); /* HELP itself is last */
    count += 2;
    nadb_resp_deferred_array(call->out, mark, count);
    nadb_buf_fini(&line);
    return NADB_CMD_DONE;
}
