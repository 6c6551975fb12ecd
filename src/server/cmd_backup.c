/* This file holds BACKUP. */
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

#define PATH_LEN_MAX 4095u

static bool is_path(struct nadb_slice path)
{
    return path.len > 0 && path.len <= PATH_LEN_MAX && memchr(path.data, 0, path.len) == NULL;
}

/* 0: an error has been replied. */
static uint64_t begin(struct nadb_call *call)
{
    struct nadb_slice base = {NULL, 0};
    if (call->argc != 2 && (call->argc != 4 || !nadb_arg_is(call->argv[2], "base"))) {
        (void)nadb_reply_syntax_error(call);
        return 0;
    }
    if (call->argc == 4) {
        base = call->argv[3];
    }
    if (!is_path(call->argv[1]) || (call->argc == 4 && !is_path(base))) {
        (void)nadb_reply_error(call, "ERR a directory's name has 1 to %u bytes", PATH_LEN_MAX);
        return 0;
    }
    uint64_t number = nadb_store_backup(call->store, call->argv[1], base);
    if (number == 0) {
        (void)nadb_reply_error(call, "ERR another backup is under way, or nothing is kept on disk");
    }
    return number;
}

enum nadb_cmd_status nadb_cmd_backup(struct nadb_call *call)
{
    uint64_t number = nadb_awaited(call);
    if (number == 0 && (number = begin(call)) == 0) {
        return NADB_CMD_DONE;
    }
    struct nadb_backup_report report;
    if (!nadb_store_backup_report(call->store, number, &report)) {
        return nadb_await(call, number);
    }
    if (report.is_failed) {
        return nadb_reply_err(call, &report.error);
    }
    nadb_resp_map(call->out, 4);
    nadb_reply_field_u64(call, "segments", report.result.segments);
    nadb_reply_field_u64(call, "bytes", report.result.bytes);
    nadb_reply_field_u64(call, "copied_bytes", report.result.copied_bytes);
    nadb_reply_field_u64(call, "duration_ms", report.duration_us / 1000);
    return NADB_CMD_DONE;
}
