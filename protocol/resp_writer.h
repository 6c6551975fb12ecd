/* Replies into a growing buffer, for RESP2 or RESP3.
 *
 * A writer never fails halfway: when the buffer cannot grow, `is_full` is set, the bytes of that
 * reply are dropped and the owner must close the connection. Types that RESP2 does not have are
 * written as Redis writes them there: map and set as array, null as `$-1`, double as bulk string,
 * boolean as integer, verbatim as bulk string, push as array.
 *
 * Thread: the owner's. */
#ifndef NADB_PROTOCOL_RESP_WRITER_H
#define NADB_PROTOCOL_RESP_WRITER_H

#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/compiler.h"
#include "src/base/slice.h"

#define NADB_RESP_ECHO_MAX 128u /* bytes of input that an error may repeat */

struct nadb_resp_writer {
    struct nadb_buf buf;
    uint8_t proto; /* 2 or 3 */
    bool is_full;
};

/* `cap_max`: hard limit of the bytes that wait to be sent. */
void nadb_resp_writer_init(struct nadb_resp_writer *writer, size_t cap_max);
void nadb_resp_writer_fini(struct nadb_resp_writer *writer);

/* `text` without CR or LF (programmer's error otherwise). */
void nadb_resp_simple(struct nadb_resp_writer *writer, struct nadb_slice text);

/* `-<text>`, printf-style, its first word the error's prefix: "ERR syntax error". CR, LF, NUL and
 * other control characters in it become spaces; cut at 512 bytes. For input bytes use `%.*s` with
 * at most NADB_RESP_ECHO_MAX. */
void nadb_resp_error(struct nadb_resp_writer *writer, const char *format, ...) NADB_PRINTF(2, 3);

void nadb_resp_integer(struct nadb_resp_writer *writer, int64_t value);
void nadb_resp_bulk(struct nadb_resp_writer *writer, struct nadb_slice bytes);
void nadb_resp_bulk_header(struct nadb_resp_writer *writer, size_t len); /* of a bulk string */
void nadb_resp_bulk_cstr(struct nadb_resp_writer *writer, const char *text);
void nadb_resp_bulk_printf(struct nadb_resp_writer *writer, const char *format, ...)
    NADB_PRINTF(2, 3); /* result at most 1,024 bytes; for short formatted values */
void nadb_resp_bulk_u64(struct nadb_resp_writer *writer, uint64_t value); /* decimal digits */
void nadb_resp_null(struct nadb_resp_writer *writer);       /* RESP2 `$-1`, RESP3 `_` */
void nadb_resp_null_array(struct nadb_resp_writer *writer); /* RESP2 `*-1`, RESP3 `_` */
void nadb_resp_double(struct nadb_resp_writer *writer, double value);
void nadb_resp_bool(struct nadb_resp_writer *writer, bool value);
void nadb_resp_verbatim(struct nadb_resp_writer *writer, struct nadb_slice text); /* `txt` */

/* Headers; the elements follow. A map's count is in pairs. */
void nadb_resp_array(struct nadb_resp_writer *writer, size_t count);
void nadb_resp_map(struct nadb_resp_writer *writer, size_t count);
void nadb_resp_set(struct nadb_resp_writer *writer, size_t count);
void nadb_resp_push(struct nadb_resp_writer *writer, size_t count);

/* For collections whose count is known only at the end: `begin` gives a mark, then elements, then
 * `end` with the count puts the header before them. They may nest. */
size_t nadb_resp_deferred_begin(struct nadb_resp_writer *writer);
void nadb_resp_deferred_array(struct nadb_resp_writer *writer, size_t mark, size_t count);
void nadb_resp_deferred_map(struct nadb_resp_writer *writer, size_t mark, size_t count);
void nadb_resp_deferred_set(struct nadb_resp_writer *writer, size_t mark, size_t count);

/* Complete replies, made elsewhere. */
void nadb_resp_raw(struct nadb_resp_writer *writer, struct nadb_slice bytes);

static inline void nadb_resp_ok(struct nadb_resp_writer *writer)
{
    nadb_resp_raw(writer, NADB_SLICE("+OK\r\n"));
}

#endif
