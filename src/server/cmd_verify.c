/* This file holds VERIFY. */
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"

static void reply_report(struct nadb_call *call, const struct nadb_verify_report *report)
{
    nadb_reply_field_u64(call, "segments", report->segments);
    nadb_reply_field_u64(call, "bytes", report->bytes);
    nadb_reply_field_u64(call, "records", report->records);
    nadb_reply_field_u64(call, "damaged_segments", report->damaged);
    nadb_resp_bulk_cstr(call->out, "damages");
    uint64_t count = report->damaged < NADB_VERIFY_TEXTS ? report->damaged : NADB_VERIFY_TEXTS;
    nadb_resp_array(call->out, count);
    for (uint64_t i = 0; i < count; i++) {
        nadb_resp_bulk_cstr(call->out, report->texts[i]);
    }
    nadb_reply_field_u64(call, "duration_ms", report->duration_us / 1000);
}

#define REPORT_FIELDS 6u

static enum nadb_cmd_status reply_status(struct nadb_call *call)
{
    uint64_t done;
    uint64_t segments;
    struct nadb_verify_report report;
    bool is_running = nadb_store_verify_progress(call->store, &done, &segments);
    (void)nadb_store_verify_report(call->store, 0, &report); /* there is always a last one */
    nadb_resp_map(call->out, 4 + REPORT_FIELDS);
    nadb_reply_field_u64(call, "running", is_running);
    nadb_reply_field_u64(call, "segments_done", is_running ? done : 0);
    nadb_reply_field_u64(call, "segments_to_do", is_running ? segments - done : 0);
    nadb_reply_field_u64(call, "ended", report.ended_ms); /* 0: never; the rest is of that one */
    reply_report(call, &report);
    return NADB_CMD_DONE;
}

/* VERIFY STATUS, VERIFY STOP. */
static enum nadb_cmd_status steer(struct nadb_call *call)
{
    if (call->argc == 2 && nadb_arg_is(call->argv[1], "status")) {
        return reply_status(call);
    }
    if (call->argc == 2 && nadb_arg_is(call->argv[1], "stop")) {
        nadb_store_verify_stop(call->store);
        nadb_resp_ok(call->out);
        return NADB_CMD_DONE;
    }
    return nadb_reply_syntax_error(call);
}

enum nadb_cmd_status nadb_cmd_verify(struct nadb_call *call)
{
    if (call->argc > 1) {
        return steer(call);
    }
    uint64_t number = nadb_awaited(call);
    if (number == 0 && (number = nadb_store_verify(call->store)) == 0) {
        return nadb_reply_error(call, "ERR nothing is kept on disk");
    }
    struct nadb_verify_report report;
    if (!nadb_store_verify_report(call->store, number, &report)) {
        return nadb_await(call, number);
    }
    if (report.is_failed) {
        return nadb_reply_err(call, &report.error);
    }
    if (report.was_stopped) {
        return nadb_reply_error(call, "ERR the verification was stopped");
    }
    nadb_resp_map(call->out, REPORT_FIELDS);
    reply_report(call, &report);
    return NADB_CMD_DONE;
}
