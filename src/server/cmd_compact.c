/* This file holds COMPACT. */
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

static void reply_report(struct nadb_call *call, const struct nadb_compact_report *report)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"segments_before", report->segments_before},
        {"segments_after", report->segments_after},
        {"records_before", report->records_before},
        {"records_after", report->records_after},
        {"bytes_before", report->bytes_before},
        {"bytes_after", report->bytes_after},
        {"dropped_deleted", report->dropped_deleted},
        {"dropped_expired", report->dropped_expired},
        {"dropped_overwritten", report->dropped_overwritten},
        {"compressed_values", report->compressed_values},
        {"duration_ms", report->duration_us / 1000},
    };
    nadb_resp_map(call->out, NADB_ARRAY_LEN(fields));
    for (size_t i = 0; i < NADB_ARRAY_LEN(fields); i++) {
        nadb_reply_field_u64(call, fields[i].name, fields[i].value);
    }
}

/* False: an error has been replied. */
static bool parse_scope(struct nadb_call *call, const struct nadb_keyspace **ret)
{
    *ret = NULL;
    if (call->argc == 1) {
        return true;
    }
    if (call->argc != 3 || !nadb_arg_is(call->argv[1], "namespace")) {
        (void)nadb_reply_syntax_error(call);
        return false;
    }
    *ret = nadb_store_keyspace(call->store, call->client->db, call->argv[2], false);
    if (*ret == NULL) {
        (void)nadb_reply_error(call, "ERR no such namespace");
        return false;
    }
    return true;
}

enum nadb_cmd_status nadb_cmd_compact(struct nadb_call *call)
{
    uint64_t pass = nadb_awaited(call);
    if (pass == 0) {
        const struct nadb_keyspace *only;
        if (!parse_scope(call, &only)) {
            return NADB_CMD_DONE;
        }
        pass = nadb_store_compact(call->store, only);
    }
    struct nadb_compact_report report;
    if (!nadb_store_compact_report(call->store, pass, &report)) {
        return nadb_await(call, pass);
    }
    if (report.is_failed) {
        return nadb_reply_error(call, "%s %s",
            report.error.code == NADB_ECORRUPT ? "CORRUPT" : "IOERR", report.error.text);
    }
    reply_report(call, &report);
    return NADB_CMD_DONE;
}
