/* This file makes the command table from commands.def and finds rows in it. */
#include "src/server/cmd_table.h"

#include "src/base/assert.h"

#define NAME_LEN_MAX 32u

/* The table's words for flags; flags of several words are joined there with '|'. */
enum {
    WRITE = NADB_CMD_WRITE,
    READONLY = NADB_CMD_READONLY,
    DENYOOM = NADB_CMD_DENYOOM,
    FAST = NADB_CMD_FAST,
    ADMIN = NADB_CMD_ADMIN,
    NOAUTH = NADB_CMD_NOAUTH,
    LOADING = NADB_CMD_LOADING,
    NOMULTI = NADB_CMD_NOMULTI,
    NOQUEUE = NADB_CMD_NOQUEUE,
    COUNTS = NADB_CMD_COUNTS,
    DANGEROUS = NADB_CMD_DANGEROUS,
    GROUPED = NADB_CMD_GROUPED,
    HAS_SUBS = NADB_CMD_CONTAINER,
    NOSCRIPT = NADB_CMD_NOSCRIPT,
    PUBSUB = NADB_CMD_PUBSUB,
    LISTENING = NADB_CMD_LISTENING,
    VALUE = NADB_CMD_VALUE,
    TIMES = NADB_CMD_TIMES,
};

#define ROW(row_name, row_handler, row_container, row_arity, row_flags, keys, first, last, step,   \
    row_group, row_since, row_complexity, row_summary, row_args)                                   \
    {                                                                                              \
        .name = (row_name),                                                                        \
        .handler = (row_handler),                                                                  \
        .arity = (row_arity),                                                                      \
        .flags = (unsigned)(row_flags),                                                            \
        .key_flags = (keys),                                                                       \
        .key_first = (first),                                                                      \
        .key_last = (last),                                                                        \
        .key_step = (step),                                                                        \
        .group = (row_group),                                                                      \
        .since = (row_since),                                                                      \
        .complexity = (row_complexity),                                                            \
        .summary = (row_summary),                                                                  \
        .args = (row_args),                                                                        \
        .container = (row_container),                                                              \
    },

static const struct nadb_cmd rows[NADB_ROW_COUNT] = {
#define CMD(id, name, handler, ...) ROW(name, handler, NULL, __VA_ARGS__)
#define CONTAINER(id, name, arity, flags, ...)                                                     \
    ROW(name, NULL, NULL, arity, (flags) | NADB_CMD_CONTAINER, __VA_ARGS__)
#define SUB(container, id, name, handler, ...)                                                     \
    ROW(name, handler, &rows[NADB_ROW_##container], __VA_ARGS__)
#include "src/server/commands.def"
#undef CMD
#undef CONTAINER
#undef SUB
};

size_t nadb_cmd_count(void)
{
    return NADB_ROW_COUNT;
}

const struct nadb_cmd *nadb_cmd_at(size_t index)
{
    return index < NADB_ROW_COUNT ? &rows[index] : NULL;
}

size_t nadb_cmd_index(const struct nadb_cmd *cmd)
{
    NADB_ASSERT(cmd >= rows && cmd < rows + NADB_ROW_COUNT);
    return (size_t)(cmd - rows);
}

/* Lower case of `name` into `out`; false when it is longer than any name. */
static bool fold_name(struct nadb_slice name, char *out)
{
    if (name.len > NAME_LEN_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return true;
}

/* Binary search for a folded full name. */
static const struct nadb_cmd *search_rows(struct nadb_slice folded)
{
    size_t low = 0;
    size_t high = NADB_ROW_COUNT;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = nadb_slice_cmp(folded, nadb_slice_cstr(rows[middle].name));
        if (order == 0) {
            return &rows[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const struct nadb_cmd *nadb_cmd_find_full(struct nadb_slice name)
{
    char folded[NAME_LEN_MAX];
    if (!fold_name(name, folded)) {
        return NULL;
    }
    return search_rows(nadb_slice_of(folded, name.len));
}

const struct nadb_cmd *nadb_cmd_find(struct nadb_slice name)
{
    const struct nadb_cmd *cmd = nadb_cmd_find_full(name);
    return cmd != NULL && cmd->container == NULL ? cmd : NULL;
}

const struct nadb_cmd *nadb_cmd_find_sub(const struct nadb_cmd *container, struct nadb_slice name)
{
    char full[2 * NAME_LEN_MAX + 1];
    size_t len = strlen(container->name);
    NADB_ASSERT(len <= NAME_LEN_MAX);
    memcpy(full, container->name, len);
    full[len++] = '|';
    if (!fold_name(name, full + len)) {
        return NULL;
    }
    const struct nadb_cmd *cmd = search_rows(nadb_slice_of(full, len + name.len));
    return cmd != NULL && cmd->container == container ? cmd : NULL;
}

bool nadb_cmd_key_range(
    const struct nadb_cmd *cmd, size_t argc, size_t *ret_first, size_t *ret_last, size_t *ret_step)
{
    if (cmd->key_first == 0 || argc <= (size_t)cmd->key_first) {
        return false;
    }
    *ret_first = (size_t)cmd->key_first;
    *ret_last = cmd->key_last < 0 ? argc - (size_t)-cmd->key_last : (size_t)cmd->key_last;
    *ret_step = (size_t)cmd->key_step;
    return *ret_last < argc;
}

bool nadb_cmd_is_key_too_long(
    const struct nadb_cmd *cmd, size_t argc, const struct nadb_slice *argv)
{
    size_t first;
    size_t last;
    size_t step;
    if (!nadb_cmd_key_range(cmd, argc, &first, &last, &step)) {
        return false;
    }
    for (size_t i = first; i <= last; i += step) {
        if (argv[i].len > NADB_KEY_LEN_MAX) {
            return true;
        }
    }
    return false;
}
