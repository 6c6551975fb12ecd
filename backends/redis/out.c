/* This file writes commands in the engine's protocol. */
#include "backends/redis/out.h"

#include "src/base/parse.h"

/* Above all that one run may send; what is kept between runs. */
#define OUT_MAX  ((size_t)4 << 30)
#define OUT_KEEP ((size_t)1 << 20)

void nadb_redis_out_init(struct nadb_redis_out *out)
{
    nadb_buf_init(&out->buf, OUT_MAX);
    out->is_full = false;
}

void nadb_redis_out_fini(struct nadb_redis_out *out)
{
    nadb_buf_fini(&out->buf);
}

void nadb_redis_out_reset(struct nadb_redis_out *out)
{
    out->buf.len = 0;
    out->is_full = false;
    nadb_buf_shrink_empty(&out->buf, OUT_KEEP);
}

/* `mark`, a number, end of line; and room for `len` bytes and another end of line. */
static bool put_head(struct nadb_redis_out *out, char mark, size_t number, size_t len)
{
    if (out->is_full || !nadb_buf_reserve(&out->buf, len + NADB_I64_TEXT_MAX + 5)) {
        out->is_full = true;
        return false;
    }
    char *at = out->buf.data + out->buf.len;
    *at++ = mark;
    at += nadb_format_u64(at, number);
    *at++ = '\r';
    *at++ = '\n';
    out->buf.len = (size_t)(at - out->buf.data);
    return true;
}

void nadb_redis_out_command(struct nadb_redis_out *out, size_t count)
{
    (void)put_head(out, '*', count, 0); /* is_full says it */
}

char *nadb_redis_out_begin(struct nadb_redis_out *out, size_t len)
{
    if (!put_head(out, '$', len, len)) {
        return NULL;
    }
    out->buf.len += len;
    return out->buf.data + out->buf.len - len;
}

void nadb_redis_out_end(struct nadb_redis_out *out)
{
    if (!out->is_full) {
        memcpy(out->buf.data + out->buf.len, "\r\n", 2);
        out->buf.len += 2;
    }
}

void nadb_redis_out_arg(struct nadb_redis_out *out, struct nadb_slice arg)
{
    char *at = nadb_redis_out_begin(out, arg.len);
    if (at != NULL && arg.len > 0) {
        memcpy(at, arg.data, arg.len);
    }
    nadb_redis_out_end(out);
}

void nadb_redis_out_number(struct nadb_redis_out *out, uint64_t number)
{
    char text[NADB_I64_TEXT_MAX];
    nadb_redis_out_arg(out, nadb_slice_of(text, nadb_format_u64(text, number)));
}
