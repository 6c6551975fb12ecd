/* This file finds commands in bytes, and keeps what it learnt of one that is not whole yet.
 *
 * There are two paths through the same grammar (protocol/README.md):
 *
 *   take_whole_commands  straight-line code for what pipelines are made of: a whole array of at
 *                        most SHORT_LEN_MAX bulk strings, short ones above all. It keeps no
 *                        state and reports no error; at anything else it stops at the
 *                        command's first byte.
 *   read_command         the state machine, for everything else. It resumes where it stopped.
 *
 *      START ──'*'──► COUNT ──► HEAD ──► BODY ──► (command)
 *        │              │         ▲       │
 *        │              ▼         └───────┘
 *        │           (empty)
 *        └──other──► INLINE ──► (command or empty)
 *
 *   START → COUNT, INLINE  [read_start]     COUNT → HEAD  [read_count]
 *   HEAD  → BODY           [read_head]      BODY  → HEAD  [read_body]
 *
 * Invariants:
 *   1. Every decision is a function of the bytes up to the one that decides it, never of how many
 *      follow: any split of the input gives the same commands and the same error.
 *   2. Offsets of the partial command count from its first byte, for the input may move.
 *   3. A byte is looked at a bounded number of times: `scan` remembers how far a line was
 *      searched, a bulk string is skipped by arithmetic, and the fast path tries a command once,
 *      while nothing is known of it.
 *   4. args_known grows with arguments received, args_announced allocates nothing.
 *   5. Until the group holds NADB_RESP_GROUP_ARGS_MAX arguments it has room for a command of the
 *      fast path without a check. */
#include "protocol/resp_reader.h"

#include <stdio.h>
#include <string.h>

#include "protocol/resp_inline.h"
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

#define SHORT_LEN_MAX 999u /* what three digits can say */
#define HEAD_LEN_MIN  6u   /* bytes of the smallest bulk string, and of "$999\r\n" */
#define LONG_HEAD_MAX 24u  /* no valid length line has more bytes */
#define COUNT_LEN_MIN 10u  /* bytes of the smallest command: "*1\r\n$0\r\n\r\n" */

#define ARGS_CAP_FIRST 8u  /* arguments of a partial command: first allocation */
#define ARGS_CAP_KEEP  32u /* and what a connection may keep between commands */
#define GROUP_ARGS_CAP (NADB_RESP_GROUP_ARGS_MAX + SHORT_LEN_MAX)

_Static_assert(NADB_RESP_ARGS_MAX <= SIZE_MAX / sizeof(struct nadb_slice), "sizes do not wrap");

enum state {
    STATE_START,  /* nothing is known of the command */
    STATE_COUNT,  /* `item` is the '*' */
    STATE_INLINE, /* `item` is the line's first byte */
    STATE_HEAD,   /* `item` is the '$' */
    STATE_BODY,   /* `item` is the first of bulk_len bytes */
};

/* What a step of the state machine came to. */
enum step {
    STEP_ON,    /* to the next state */
    STEP_WHOLE, /* the command ends before `item` */
    STEP_EMPTY, /* so does an empty one: nothing to run */
    STEP_MORE,  /* `want` is set */
    STEP_BAD,   /* `error` is set */
};

struct nadb_resp_arg {
    size_t offset, len;
};

/* The bytes received of the command that is being read. */
struct frame {
    char *data;
    size_t len;
};

void nadb_resp_reader_init(struct nadb_resp_reader *reader)
{
    *reader = (struct nadb_resp_reader){.state = STATE_START, .want = 1};
}

void nadb_resp_reader_fini(struct nadb_resp_reader *reader)
{
    nadb_mem_free(reader->args);
    nadb_resp_reader_init(reader);
}

size_t nadb_resp_reader_bytes(const struct nadb_resp_reader *reader)
{
    return reader->args_cap > ARGS_CAP_KEEP ? reader->args_cap * sizeof(*reader->args) : 0;
}

void nadb_resp_reader_reset(struct nadb_resp_reader *reader)
{
    reader->state = STATE_START;
    reader->want = 1;
    reader->args_known = 0;
    if (reader->args_cap > ARGS_CAP_KEEP) {
        nadb_mem_free(reader->args);
        reader->args = NULL;
        reader->args_cap = 0;
    }
}

void nadb_resp_group_init(struct nadb_resp_group *group)
{
    group->count = 0;
    group->args_count = 0;
    group->args_cap = GROUP_ARGS_CAP;
    group->args = nadb_mem_alloc(GROUP_ARGS_CAP * sizeof(*group->args));
}

void nadb_resp_group_fini(struct nadb_resp_group *group)
{
    nadb_mem_free(group->args);
    group->args = NULL;
    group->count = group->args_count = group->args_cap = 0;
}

/* Empties the group; what a command with very many arguments made it grow to is given back. */
static void empty_group(struct nadb_resp_group *group)
{
    if (NADB_UNLIKELY(group->args_cap > GROUP_ARGS_CAP)) {
        nadb_resp_group_fini(group);
        nadb_resp_group_init(group);
    }
    group->count = 0;
    group->args_count = 0;
}

static enum step fail(struct nadb_resp_reader *reader, const char *what)
{
    (void)snprintf(reader->error, sizeof(reader->error), "Protocol error: %s", what);
    return STEP_BAD;
}

static enum step fail_without_memory(struct nadb_resp_reader *reader)
{
    return fail(reader, "not enough memory for the arguments");
}

/* ---- the fast path ---- */

static inline bool is_crlf(const char *at)
{
    return memcmp(at, "\r\n", 2) == 0;
}

static inline unsigned digit_value(char c)
{
    return (unsigned)(unsigned char)c - (unsigned)'0';
}

/* Reads "<type><1 to 3 digits>\r\n" at `at`, where HEAD_LEN_MIN bytes can be read. NULL when it is
 * anything else, leading zeros included. */
static inline const char *read_short_len(const char *at, char type, size_t *ret_len)
{
    unsigned len = digit_value(at[1]);
    if (at[0] != type || len > 9) {
        return NULL;
    }
    *ret_len = len;
    if (is_crlf(at + 2)) {
        return at + 4;
    }
    unsigned digit = digit_value(at[2]);
    if (digit > 9 || len == 0) {
        return NULL;
    }
    len = len * 10 + digit;
    *ret_len = len;
    if (is_crlf(at + 3)) {
        return at + 5;
    }
    digit = digit_value(at[3]);
    if (digit > 9 || !is_crlf(at + 4)) {
        return NULL;
    }
    *ret_len = len * 10 + digit;
    return at + 6;
}

/* Reads the "$<digits>\r\n" of a bulk string that is not short; NULL when it is not whole, not
 * right or more than `len_max`. */
static NADB_NOINLINE const char *read_long_len(
    const char *at, const char *end, size_t len_max, size_t *ret_len)
{
    size_t left = (size_t)(end - at);
    const char *cr = memchr(at, '\r', left < LONG_HEAD_MAX ? left : LONG_HEAD_MAX);
    if (at[0] != '$' || cr == NULL || end - cr < 2 || !is_crlf(cr)) {
        return NULL;
    }
    uint64_t len = 0;
    struct nadb_slice digits = nadb_slice_of(at + 1, (size_t)(cr - at) - 1);
    if (!nadb_parse_u64(digits, &len) || len > len_max || len > left) {
        return NULL;
    }
    *ret_len = (size_t)len;
    return cr + 2;
}

/* Reads `argc` bulk strings; NULL when one is not whole or not right. */
static inline const char *read_whole_args(
    const char *at, const char *end, struct nadb_slice *args, size_t argc, size_t len_max)
{
    struct nadb_slice *args_end = args + argc;
    do {
        size_t len = 0;
        if (NADB_UNLIKELY(end - at < (ptrdiff_t)HEAD_LEN_MIN)) {
            return NULL;
        }
        const char *data = read_short_len(at, '$', &len);
        if (NADB_UNLIKELY(data == NULL)) {
            size_t long_len = 0; /* apart, so that `len` can stay in a register */
            data = read_long_len(at, end, len_max, &long_len);
            if (data == NULL) {
                return NULL;
            }
            len = long_len;
        }
        if (NADB_UNLIKELY(end - data < (ptrdiff_t)len + 2 || !is_crlf(data + len))) {
            return NULL;
        }
        *args++ = nadb_slice_of(data, len);
        at = data + len + 2;
    } while (args != args_end);
    return at;
}

/* Adds whole commands of input[at .. len) to the group, up to `count_max`; the offset of
 * the first byte that is not used up. */
static size_t take_whole_commands(struct nadb_resp_group *group,
    const struct nadb_resp_limits *limits, size_t count_max, const char *input, size_t len,
    size_t at)
{
    const char *end = input + len;
    const char *next = input + at;
    size_t count = group->count;
    size_t args_count = group->args_count;
    while (count < count_max && args_count < NADB_RESP_GROUP_ARGS_MAX &&
           end - next >= (ptrdiff_t)COUNT_LEN_MIN) {
        size_t argc = 0;
        struct nadb_slice *argv = group->args + args_count;
        const char *begin = next;
        const char *stop = read_short_len(begin, '*', &argc);
        if (stop == NULL || argc == 0 || argc > limits->args_max) {
            break;
        }
        stop = read_whole_args(stop, end, argv, argc, limits->bulk_len_max);
        if (stop == NULL) {
            break;
        }
        group->cmds[count++] = (struct nadb_resp_cmd){
            .argv = argv,
            .argc = argc,
            .begin = (size_t)(begin - input),
            .end = (size_t)(stop - input),
        };
        args_count += argc;
        next = stop;
    }
    group->count = count;
    group->args_count = args_count;
    return (size_t)(next - input);
}

/* ---- the state machine ---- */

/* Appends to the arguments known of the partial command; false when memory is exhausted. */
static bool add_arg(struct nadb_resp_reader *reader, size_t offset, size_t len)
{
    if (reader->args_known == reader->args_cap) {
        size_t cap = reader->args_cap == 0 ? ARGS_CAP_FIRST : reader->args_cap * 2;
        struct nadb_resp_arg *args =
            nadb_mem_try_realloc(reader->args, cap * sizeof(*reader->args));
        if (args == NULL) {
            return false;
        }
        reader->args = args;
        reader->args_cap = cap;
    }
    reader->args[reader->args_known++] = (struct nadb_resp_arg){.offset = offset, .len = len};
    return true;
}

/* Finds the `mark` that ends the line at `item`: it stands at most NADB_RESP_INLINE_MAX bytes
 * behind the line's first byte, or the line is refused with `too_long`. */
static enum step find_line_end(struct nadb_resp_reader *reader, struct frame frame, char mark,
    const char *too_long, size_t *ret_end)
{
    size_t limit = reader->item + NADB_RESP_INLINE_MAX + 1;
    size_t stop = frame.len < limit ? frame.len : limit;
    if (reader->scan < stop) {
        const char *found = memchr(frame.data + reader->scan, mark, stop - reader->scan);
        if (found != NULL) {
            *ret_end = (size_t)(found - frame.data);
            return STEP_ON;
        }
        reader->scan = stop;
    }
    if (stop == limit) {
        return fail(reader, too_long);
    }
    reader->want = frame.len + 1;
    return STEP_MORE;
}

/* Reads the number between the type byte at `item` and CRLF, and moves `item` behind the line. */
static enum step read_len_line(struct nadb_resp_reader *reader, struct frame frame,
    const char *too_long, const char *invalid, int64_t *ret_number)
{
    size_t line_end = 0;
    enum step step = find_line_end(reader, frame, '\r', too_long, &line_end);
    if (step != STEP_ON) {
        return step;
    }
    if (line_end + 1 == frame.len) {
        reader->want = frame.len + 1;
        return STEP_MORE;
    }
    size_t digits = reader->item + 1;
    struct nadb_slice text = nadb_slice_of(frame.data + digits, line_end - digits);
    if (frame.data[line_end + 1] != '\n' || !nadb_parse_i64(text, ret_number)) {
        return fail(reader, invalid);
    }
    reader->item = reader->scan = line_end + 2;
    return STEP_ON;
}

static enum step read_start(struct nadb_resp_reader *reader, struct frame frame)
{
    if (frame.len == 0) {
        return STEP_MORE; /* `want` is 1 between commands */
    }
    reader->item = 0;
    reader->scan = 0;
    reader->state = frame.data[0] == '*' ? STATE_COUNT : STATE_INLINE;
    return STEP_ON;
}

static enum step read_count(
    struct nadb_resp_reader *reader, const struct nadb_resp_limits *limits, struct frame frame)
{
    int64_t count = 0;
    enum step step = read_len_line(
        reader, frame, "too big mbulk count string", "invalid multibulk length", &count);
    if (step != STEP_ON) {
        return step;
    }
    if (count <= 0) {
        return STEP_EMPTY;
    }
    if ((uint64_t)count > limits->args_max) {
        return fail(reader, limits->is_unauthenticated ? "unauthenticated multibulk length"
                                                       : "invalid multibulk length");
    }
    reader->args_announced = (size_t)count;
    reader->state = STATE_HEAD;
    return STEP_ON;
}

/* Some other byte stands where '$' should. */
static enum step fail_at_type(struct nadb_resp_reader *reader, char got)
{
    char what[] = "expected '$', got ' '";
    if (got >= ' ' && got <= '~') {
        what[sizeof(what) - 3] = got;
    }
    return fail(reader, what);
}

static enum step read_head(
    struct nadb_resp_reader *reader, const struct nadb_resp_limits *limits, struct frame frame)
{
    if (reader->item < frame.len && frame.data[reader->item] != '$') {
        return fail_at_type(reader, frame.data[reader->item]);
    }
    int64_t len = 0;
    enum step step =
        read_len_line(reader, frame, "too big bulk count string", "invalid bulk length", &len);
    if (step != STEP_ON) {
        return step;
    }
    if (len < 0) {
        return fail(reader, "invalid bulk length");
    }
    if ((uint64_t)len > limits->bulk_len_max) {
        return fail(reader,
            limits->is_unauthenticated ? "unauthenticated bulk length" : "invalid bulk length");
    }
    reader->bulk_len = (size_t)len;
    reader->state = STATE_BODY;
    return STEP_ON;
}

static enum step read_body(struct nadb_resp_reader *reader, struct frame frame)
{
    size_t len = reader->bulk_len;
    if (frame.len - reader->item < len + 2) {
        reader->want = reader->item + len + 2;
        return STEP_MORE;
    }
    if (!is_crlf(frame.data + reader->item + len)) {
        return fail(reader, "expected CRLF after bulk");
    }
    if (!add_arg(reader, reader->item, len)) {
        return fail_without_memory(reader);
    }
    reader->item = reader->scan = reader->item + len + 2;
    reader->state = STATE_HEAD;
    return reader->args_known == reader->args_announced ? STEP_WHOLE : STEP_ON;
}

static enum step read_inline(
    struct nadb_resp_reader *reader, const struct nadb_resp_limits *limits, struct frame frame)
{
    size_t line_end = 0;
    enum step step = find_line_end(reader, frame, '\n', "too big inline request", &line_end);
    if (step != STEP_ON) {
        return step;
    }
    reader->item = line_end + 1;
    struct nadb_resp_inline line = {.at = frame.data, .end = frame.data + line_end};
    struct nadb_slice word = {.data = NULL, .len = 0};
    for (;;) {
        switch (nadb_resp_inline_next(&line, &word)) {
        case NADB_RESP_INLINE_UNBALANCED:
            return fail(reader, "unbalanced quotes in request");
        case NADB_RESP_INLINE_END:
            return reader->args_known == 0 ? STEP_EMPTY : STEP_WHOLE;
        case NADB_RESP_INLINE_WORD:
            break;
        }
        if (reader->args_known == limits->args_max) {
            return fail(reader, "too big inline request");
        }
        if (!add_arg(reader, (size_t)(word.data - frame.data), word.len)) {
            return fail_without_memory(reader);
        }
    }
}

/* Goes on with the partial command until it is whole, or as far as the bytes reach. */
static enum step read_command(
    struct nadb_resp_reader *reader, const struct nadb_resp_limits *limits, struct frame frame)
{
    enum step step = STEP_ON;
    while (step == STEP_ON) {
        switch ((enum state)reader->state) {
        case STATE_START:
            step = read_start(reader, frame);
            break;
        case STATE_COUNT:
            step = read_count(reader, limits, frame);
            break;
        case STATE_INLINE:
            step = read_inline(reader, limits, frame);
            break;
        case STATE_HEAD:
            step = read_head(reader, limits, frame);
            break;
        case STATE_BODY:
            step = read_body(reader, frame);
            break;
        }
    }
    return step;
}

/* Makes room for `extra` more arguments; the commands that the group has already move along. */
static bool reserve_group_args(struct nadb_resp_group *group, size_t extra)
{
    if (group->args_cap - group->args_count >= extra) {
        return true;
    }
    size_t cap = group->args_count + extra;
    struct nadb_slice *args = nadb_mem_try_realloc(group->args, cap * sizeof(*args));
    if (args == NULL) {
        return false;
    }
    group->args = args;
    group->args_cap = cap;
    for (size_t i = 0; i < group->count; i++) {
        group->cmds[i].argv = args;
        args += group->cmds[i].argc;
    }
    return true;
}

/* Adds the command that the reader has whole, of input[begin .. begin + item). */
static bool deliver_command(const struct nadb_resp_reader *reader, struct nadb_resp_group *group,
    const char *input, size_t begin)
{
    if (!reserve_group_args(group, reader->args_known)) {
        return false;
    }
    struct nadb_slice *argv = group->args + group->args_count;
    for (size_t i = 0; i < reader->args_known; i++) {
        argv[i] = nadb_slice_of(input + begin + reader->args[i].offset, reader->args[i].len);
    }
    group->cmds[group->count++] = (struct nadb_resp_cmd){
        .argv = argv,
        .argc = reader->args_known,
        .begin = begin,
        .end = begin + reader->item,
    };
    group->args_count += reader->args_known;
    return true;
}

enum nadb_resp_status nadb_resp_reader_parse(struct nadb_resp_reader *reader,
    const struct nadb_resp_limits *limits, char *input, size_t len, struct nadb_resp_group *group,
    size_t *ret_used)
{
    NADB_ASSERT(limits->args_max <= NADB_RESP_ARGS_MAX);
    size_t count_max = limits->is_unauthenticated ? 1 : NADB_RESP_GROUP_MAX;
    size_t at = 0;
    empty_group(group);
    for (;;) {
        if (reader->state == STATE_START && limits->bulk_len_max >= SHORT_LEN_MAX) {
            at = take_whole_commands(group, limits, count_max, input, len, at);
        }
        *ret_used = at;
        if (group->count == count_max || group->args_count >= NADB_RESP_GROUP_ARGS_MAX) {
            return NADB_RESP_READY;
        }
        enum step step =
            read_command(reader, limits, (struct frame){.data = input + at, .len = len - at});
        if (step == STEP_MORE) {
            return NADB_RESP_MORE;
        }
        if (step == STEP_WHOLE && !deliver_command(reader, group, input, at)) {
            step = fail_without_memory(reader);
        }
        if (step == STEP_BAD) {
            return NADB_RESP_BAD;
        }
        at += reader->item;
        nadb_resp_reader_reset(reader);
    }
}
