/* This file plays the connection for tests of the request reader. */
#include "tests/support/resp_feed.h"

#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

static void append(struct nadb_buf *text, const char *data, size_t len)
{
    NADB_ASSERT(nadb_buf_append(text, data, len));
}

static void append_escaped(struct nadb_buf *text, struct nadb_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.data[i];
        if (c > ' ' && c <= '~' && memchr("[|]\\", c, 4) == NULL) {
            append(text, &c, 1);
        } else {
            char hex[8];
            int len = snprintf(hex, sizeof(hex), "\\x%02x", (unsigned)(unsigned char)c);
            append(text, hex, (size_t)len);
        }
    }
}

static void append_group(
    struct nadb_buf *text, const struct nadb_resp_group *group, struct nadb_slice input)
{
    size_t last_end = 0;
    NADB_ASSERT(group->count <= NADB_RESP_GROUP_MAX);
    for (size_t i = 0; i < group->count; i++) {
        const struct nadb_resp_cmd *cmd = &group->cmds[i];
        NADB_ASSERT(cmd->begin >= last_end && cmd->end > cmd->begin && cmd->end <= input.len);
        NADB_ASSERT(cmd->argc >= 1);
        last_end = cmd->end;
        for (size_t arg = 0; arg < cmd->argc; arg++) {
            struct nadb_slice slice = cmd->argv[arg];
            NADB_ASSERT(slice.data >= input.data + cmd->begin);
            NADB_ASSERT(slice.data + slice.len <= input.data + cmd->end);
            append(text, arg == 0 ? "[" : "|", 1);
            append_escaped(text, slice);
        }
        append(text, "]", 1);
    }
}

/* Parses input until the reader wants more; how many bytes were used up. */
static size_t parse_all(const struct nadb_resp_feed *feed, struct nadb_resp_reader *reader,
    struct nadb_slice pending, struct nadb_buf *text, enum nadb_resp_status *ret_status)
{
    struct nadb_resp_group group;
    nadb_resp_group_init(&group);
    size_t used_all = 0;
    size_t want = reader->want;
    for (;;) {
        size_t used = 0;
        struct nadb_slice input = {.data = NULL, .len = pending.len - used_all};
        char *copy = nadb_mem_alloc(input.len > 0 ? input.len : 1);
        memcpy(copy, pending.data + used_all, input.len);
        input.data = copy;
        *ret_status = nadb_resp_reader_parse(reader, &feed->limits, copy, input.len, &group, &used);
        NADB_ASSERT(used <= input.len);
        if (want > input.len) {
            NADB_ASSERT(*ret_status == NADB_RESP_MORE && used == 0 && group.count == 0);
        }
        for (size_t i = 0; i < group.count; i++) {
            size_t begin = group.cmds[i].begin;
            NADB_ASSERT(copy[begin] == pending.data[used_all + begin]);
        }
        append_group(text, &group, input);
        nadb_mem_free(copy);
        used_all += used;
        want = 0;
        if (*ret_status != NADB_RESP_READY) {
            NADB_ASSERT(*ret_status == NADB_RESP_BAD || reader->want > input.len - used);
            nadb_resp_group_fini(&group);
            return used_all;
        }
        NADB_ASSERT(used > 0);
    }
}

void nadb_resp_feed(
    const struct nadb_resp_feed *feed, struct nadb_slice input, struct nadb_buf *text)
{
    struct nadb_resp_reader reader;
    nadb_resp_reader_init(&reader);
    enum nadb_resp_status status = NADB_RESP_MORE;
    size_t begin = 0;
    size_t end = 0;
    while (end < input.len && status != NADB_RESP_BAD) {
        size_t chunk = end == 0 && feed->first_len > 0 ? feed->first_len : feed->chunk_len;
        end = chunk > 0 && chunk < input.len - end ? end + chunk : input.len;
        if (!feed->heeds_want || end - begin >= reader.want) {
            struct nadb_slice pending = nadb_slice_of(input.data + begin, end - begin);
            begin += parse_all(feed, &reader, pending, text, &status);
        }
    }
    if (status == NADB_RESP_BAD) {
        append(text, "!", 1);
        append(text, reader.error, strlen(reader.error));
    } else if (begin < end) {
        char tail[32];
        int len = snprintf(tail, sizeof(tail), "+%zu", end - begin);
        append(text, tail, (size_t)len);
    }
    nadb_resp_reader_fini(&reader);
}
