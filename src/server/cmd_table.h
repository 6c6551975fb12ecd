/* The command table made from commands.def, and finding rows in it. Thread: any (const). */
#ifndef NADB_SERVER_CMD_TABLE_H
#define NADB_SERVER_CMD_TABLE_H

#include "src/server/cmd.h"

/* The index of every row: NADB_ROW_GET, NADB_ROW_CLIENT_LIST, ... */
enum nadb_cmd_row {
#define CMD(id, name, handler, ...)            NADB_ROW_##id,
#define CONTAINER(id, name, ...)               NADB_ROW_##id,
#define SUB(container, id, name, handler, ...) NADB_ROW_##id,
#include "src/server/commands.def"
#undef CMD
#undef CONTAINER
#undef SUB
    NADB_ROW_COUNT
};

/* The handlers, declared by the table. */
#define CMD(id, name, handler, ...) nadb_cmd_fn handler;
#define CONTAINER(id, name, ...)
#define SUB(container, id, name, handler, ...) nadb_cmd_fn handler;
#include "src/server/commands.def"
#undef CMD
#undef CONTAINER
#undef SUB

size_t nadb_cmd_count(void);                      /* rows, subcommands included */
const struct nadb_cmd *nadb_cmd_at(size_t index); /* NULL past the end */
size_t nadb_cmd_index(const struct nadb_cmd *cmd);

/* The row of a top-level command, ASCII case ignored; NULL if there is none. */
const struct nadb_cmd *nadb_cmd_find(struct nadb_slice name);

/* The subcommand `name` of `container`; NULL if there is none. */
const struct nadb_cmd *nadb_cmd_find_sub(const struct nadb_cmd *container, struct nadb_slice name);

/* Any row by its full name: "get", "config|get"; NULL if there is none. */
const struct nadb_cmd *nadb_cmd_find_full(struct nadb_slice name);

/* Argument indices of the keys of a call with `argc` arguments: first, last, step. False: none. */
bool nadb_cmd_key_range(
    const struct nadb_cmd *cmd, size_t argc, size_t *ret_first, size_t *ret_last, size_t *ret_step);

/* Has one of the keys of a call more than NADB_KEY_LEN_MAX bytes? */
bool nadb_cmd_is_key_too_long(
    const struct nadb_cmd *cmd, size_t argc, const struct nadb_slice *argv);

static inline bool nadb_cmd_arity_fits(const struct nadb_cmd *cmd, size_t argc)
{
    return cmd->arity >= 0 ? argc == (size_t)cmd->arity : argc >= (size_t)-cmd->arity;
}

#endif
