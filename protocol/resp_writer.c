/* This file writes replies. Each one reserves its room first and is then written without a check,
 * so that it is in the buffer whole or not at all. */
#include "protocol/resp_writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/parse.h"

#define HEAD_MAX          (1 + NADB_I64_TEXT_MAX + 2) /* type byte, number, CRLF */
#define ERROR_TEXT_MAX    512
#define BULK_PRINTF_MAX   1024
#define DOUBLE_TEXT_MAX   32 /* "%.17g" needs 24 */
#define VERBATIM_TYPE     "txt:"
#define VERBATIM_TYPE_LEN (sizeof(VERBATIM_TYPE) - 1)

void nadb_resp_writer_init(struct nadb_resp_writer *writer, size_t cap_max)
{
    nadb_buf_init(&writer->buf, cap_max);
    writer->proto = 2;
    writer->is_full = false;
}

void nadb_resp_writer_fini(struct nadb_resp_writer *writer)
{
    nadb_buf_fini(&writer->buf);
}

/* Where `len` bytes may be written, or NULL. Once a reply was dropped all that follow are: a later,
 * smaller one would be taken for its answer. */
static inline char *reserve(struct nadb_resp_writer *writer, size_t len)
{
    if (NADB_LIKELY(!writer->is_full && nadb_buf_reserve(&writer->buf, len))) {
        return writer->buf.data + writer->buf.len;
    }
    writer->is_full = true;
    return NULL;
}

/* `end` is behind the last byte written since reserve(). */
static inline void commit(struct nadb_resp_writer *writer, const char *end)
{
    writer->buf.len = (size_t)(end - writer->buf.data);
}

static inline char *put_crlf(char *out)
{
    memcpy(out, "\r\n", 2);
    return out + 2;
}

static inline char *put_bytes(char *out, const char *data, size_t len)
{
    if (len > 0) {
        memcpy(out, data, len);
    }
    return out + len;
}

/* The numbers of two digits, for those below 100 are most of all that are written and deserve
 * better than a call and a division. */
static const char two_digits[] = "00010203040506070809"
                                 "10111213141516171819"
                                 "20212223242526272829"
                                 "30313233343536373839"
                                 "40414243444546474849"
                                 "50515253545556575859"
                                 "60616263646566676869"
                                 "70717273747576777879"
                                 "80818283848586878889"
                                 "90919293949596979899";

/* "<type><number>\r\n", at most HEAD_MAX bytes. */
static inline char *put_head(char *out, char type, size_t number)
{
    *out++ = type;
    if (number < 10) {
        *out++ = (char)('0' + number);
    } else if (number < 100) {
        memcpy(out, two_digits + 2 * number, 2);
        out += 2;
    } else {
        out += nadb_format_u64(out, number);
    }
    return put_crlf(out);
}

static void write_head(struct nadb_resp_writer *writer, char type, size_t number)
{
    char *out = reserve(writer, HEAD_MAX);
    if (out != NULL) {
        commit(writer, put_head(out, type, number));
    }
}

/* "<type><text>\r\n" */
static void write_line(struct nadb_resp_writer *writer, char type, const char *text, size_t len)
{
    char *out = reserve(writer, 1 + len + 2);
    if (out != NULL) {
        *out++ = type;
        commit(writer, put_crlf(put_bytes(out, text, len)));
    }
}

void nadb_resp_simple(struct nadb_resp_writer *writer, struct nadb_slice text)
{
    NADB_DCHECK(text.len == 0 || (memchr(text.data, '\r', text.len) == NULL &&
                                     memchr(text.data, '\n', text.len) == NULL));
    write_line(writer, '+', text.data, text.len);
}

void nadb_resp_error(struct nadb_resp_writer *writer, const char *format, ...)
{
    char text[ERROR_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    int printed = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    NADB_ASSERT(printed >= 0);
    size_t len = (size_t)printed < sizeof(text) ? (size_t)printed : sizeof(text) - 1;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == '\x7f') {
            text[i] = ' ';
        }
    }
    write_line(writer, '-', text, len);
}

void nadb_resp_integer(struct nadb_resp_writer *writer, int64_t value)
{
    char *out = reserve(writer, HEAD_MAX);
    if (out == NULL) {
        return;
    }
    if (value >= 0) {
        out = put_head(out, ':', (size_t)value);
    } else {
        *out++ = ':';
        out += nadb_format_i64(out, value);
        out = put_crlf(out);
    }
    commit(writer, out);
}

void nadb_resp_bulk(struct nadb_resp_writer *writer, struct nadb_slice bytes)
{
    char *out = reserve(writer, HEAD_MAX + bytes.len + 2);
    if (out != NULL) {
        out = put_head(out, '$', bytes.len);
        commit(writer, put_crlf(put_bytes(out, bytes.data, bytes.len)));
    }
}

void nadb_resp_bulk_header(struct nadb_resp_writer *writer, size_t len)
{
    char *out = reserve(writer, HEAD_MAX);
    if (out != NULL) {
        commit(writer, put_head(out, '$', len));
    }
}

void nadb_resp_bulk_cstr(struct nadb_resp_writer *writer, const char *text)
{
    nadb_resp_bulk(writer, nadb_slice_cstr(text));
}

void nadb_resp_bulk_printf(struct nadb_resp_writer *writer, const char *format, ...)
{
    char text[BULK_PRINTF_MAX + 1];
    va_list args;
    va_start(args, format);
    int printed = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    NADB_ASSERT(printed >= 0 && (size_t)printed < sizeof(text));
    nadb_resp_bulk(writer, nadb_slice_of(text, (size_t)printed));
}

void nadb_resp_bulk_u64(struct nadb_resp_writer *writer, uint64_t value)
{
    char digits[NADB_I64_TEXT_MAX];
    size_t len = nadb_format_u64(digits, value);
    nadb_resp_bulk(writer, nadb_slice_of(digits, len));
}

void nadb_resp_null(struct nadb_resp_writer *writer)
{
    nadb_resp_raw(writer, writer->proto == 2 ? NADB_SLICE("$-1\r\n") : NADB_SLICE("_\r\n"));
}

void nadb_resp_null_array(struct nadb_resp_writer *writer)
{
    nadb_resp_raw(writer, writer->proto == 2 ? NADB_SLICE("*-1\r\n") : NADB_SLICE("_\r\n"));
}

void nadb_resp_double(struct nadb_resp_writer *writer, double value)
{
    char text[DOUBLE_TEXT_MAX];
    /* printf gives a NaN the sign that the hardware happened to leave in it. */
    int printed = isnan(value) ? snprintf(text, sizeof(text), "nan")
                               : snprintf(text, sizeof(text), "%.17g", value);
    NADB_ASSERT(printed > 0 && (size_t)printed < sizeof(text));
    if (writer->proto == 2) {
        nadb_resp_bulk(writer, nadb_slice_of(text, (size_t)printed));
    } else {
        write_line(writer, ',', text, (size_t)printed);
    }
}

void nadb_resp_bool(struct nadb_resp_writer *writer, bool value)
{
    if (writer->proto == 2) {
        nadb_resp_integer(writer, value ? 1 : 0);
    } else {
        nadb_resp_raw(writer, value ? NADB_SLICE("#t\r\n") : NADB_SLICE("#f\r\n"));
    }
}

void nadb_resp_verbatim(struct nadb_resp_writer *writer, struct nadb_slice text)
{
    if (writer->proto == 2) {
        nadb_resp_bulk(writer, text);
        return;
    }
    char *out = reserve(writer, HEAD_MAX + VERBATIM_TYPE_LEN + text.len + 2);
    if (out != NULL) {
        out = put_head(out, '=', VERBATIM_TYPE_LEN + text.len);
        out = put_bytes(out, VERBATIM_TYPE, VERBATIM_TYPE_LEN);
        commit(writer, put_crlf(put_bytes(out, text.data, text.len)));
    }
}

/* A header's type byte and number, for the protocol spoken. */
struct head {
    char type;
    size_t number;
};

static struct head map_head(const struct nadb_resp_writer *writer, size_t count)
{
    return writer->proto == 2 ? (struct head){.type = '*', .number = 2 * count}
                              : (struct head){.type = '%', .number = count};
}

static struct head set_head(const struct nadb_resp_writer *writer, size_t count)
{
    return (struct head){.type = writer->proto == 2 ? '*' : '~', .number = count};
}

void nadb_resp_array(struct nadb_resp_writer *writer, size_t count)
{
    write_head(writer, '*', count);
}

void nadb_resp_map(struct nadb_resp_writer *writer, size_t count)
{
    struct head head = map_head(writer, count);
    write_head(writer, head.type, head.number);
}

void nadb_resp_set(struct nadb_resp_writer *writer, size_t count)
{
    struct head head = set_head(writer, count);
    write_head(writer, head.type, head.number);
}

void nadb_resp_push(struct nadb_resp_writer *writer, size_t count)
{
    write_head(writer, writer->proto == 2 ? '*' : '>', count);
}

/* Puts the header before the elements, which move up: RESP numbers have no padding, so no room
 * could be left for one whose length is not known yet. */
static void insert_head(struct nadb_resp_writer *writer, size_t mark, struct head head)
{
    NADB_ASSERT(mark <= writer->buf.len);
    char text[HEAD_MAX];
    size_t len = (size_t)(put_head(text, head.type, head.number) - text);
    if (reserve(writer, len) != NULL) {
        char *at = writer->buf.data + mark;
        memmove(at + len, at, writer->buf.len - mark);
        memcpy(at, text, len);
        writer->buf.len += len;
    }
}

size_t nadb_resp_deferred_begin(struct nadb_resp_writer *writer)
{
    return writer->buf.len;
}

void nadb_resp_deferred_array(struct nadb_resp_writer *writer, size_t mark, size_t count)
{
    insert_head(writer, mark, (struct head){.type = '*', .number = count});
}

void nadb_resp_deferred_map(struct nadb_resp_writer *writer, size_t mark, size_t count)
{
    insert_head(writer, mark, map_head(writer, count));
}

void nadb_resp_deferred_set(struct nadb_resp_writer *writer, size_t mark, size_t count)
{
    insert_head(writer, mark, set_head(writer, count));
}

void nadb_resp_raw(struct nadb_resp_writer *writer, struct nadb_slice bytes)
{
    char *out = bytes.len > 0 ? reserve(writer, bytes.len) : NULL;
    if (out != NULL) {
        memcpy(out, bytes.data, bytes.len);
        commit(writer, out + bytes.len);
    }
}
