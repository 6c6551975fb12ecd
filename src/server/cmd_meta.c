/* This file describes records: META, and what queries show of a record. */
#include "src/server/cmd_table.h"
#include "src/server/cmd_util.h"
#include "src/store/packed.h"

#define META_FIELDS 10u

void nadb_reply_tags(struct nadb_call *call, struct nadb_slice packed)
{
    size_t mark = nadb_resp_deferred_begin(call->out);
    size_t count = 0;
    struct nadb_slice tag;
    for (size_t at = 0; nadb_packed_next(packed, &at, &tag); count++) {
        nadb_resp_bulk(call->out, tag);
    }
    nadb_resp_deferred_set(call->out, mark, count);
}

uint64_t nadb_rec_accessed_ms(const struct nadb_rec *rec, uint64_t now_ms)
{
    /* Kept in whole seconds, so never shown as earlier than the last change. */
    uint64_t accessed_ms = nadb_rec_accessed_s(rec, now_ms / 1000) * 1000;
    return accessed_ms > rec->updated_ms ? accessed_ms : rec->updated_ms;
}

void nadb_reply_meta(struct nadb_call *call, const struct nadb_rec *rec)
{
    uint64_t expire_ms = nadb_rec_expire_ms(rec);
    nadb_resp_map(call->out, META_FIELDS);
    nadb_reply_field_u64(call, "size", rec->value_len);
    nadb_reply_field_u64(call, "stored-size", rec->value_len);
    nadb_reply_field_text(call, "encoding", "raw");
    nadb_reply_field_u64(call, "version", rec->version);
    nadb_resp_bulk_cstr(call->out, "ttl");
    nadb_resp_integer(call->out, expire_ms == 0 ? -1 : (int64_t)expire_ms - (int64_t)call->now_ms);
    nadb_resp_bulk_cstr(call->out, "expire");
    nadb_resp_integer(call->out, expire_ms == 0 ? -1 : (int64_t)expire_ms);
    nadb_reply_field_u64(call, "created", rec->created_ms);
    nadb_reply_field_u64(call, "updated", rec->updated_ms);
    nadb_reply_field_u64(call, "accessed", nadb_rec_accessed_ms(rec, call->now_ms));
    nadb_resp_bulk_cstr(call->out, "tags");
    nadb_reply_tags(call, nadb_rec_tags(rec));
}

enum nadb_cmd_status nadb_cmd_meta(struct nadb_call *call)
{
    const struct nadb_rec *rec = nadb_store_peek(call->store, call->keyspace, &call->first_key);
    if (rec == NULL) {
        return nadb_reply_null(call);
    }
    nadb_store_want_times(call->store, call->keyspace, &call->first_key);
    nadb_reply_meta(call, rec);
    return NADB_CMD_DONE;
}
