/* This file writes log lines, each with one write(2).
 *
 * A message is formatted, then escaped behind the line's head into a second buffer that leaves
 * room for the tail, so a line that must be cut is still whole: it ends with a newline, and in
 * JSON with the closing brace.
 *
 * Writers of other threads may be at work while the file is reopened. The new file is therefore
 * put under the old descriptor with dup3(2) instead of taking a new number. */
#include "src/base/log.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/slice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_level = NADB_LOG_NOTICE;
static atomic_int log_format = NADB_LOG_TEXT;
static char *log_path; /* NULL while stderr is used; whoever opens and closes the log owns it */

static const struct {
    char mark;
    const char *name;
} level_rows[] = {
    [NADB_LOG_DEBUG] = {'.', "debug"},
    [NADB_LOG_VERBOSE] = {'-', "verbose"},
    [NADB_LOG_NOTICE] = {'*', "notice"},
    [NADB_LOG_WARNING] = {'#', "warning"},
};

_Static_assert(NADB_ARRAY_LEN(level_rows) == NADB_LOG_NOTHING, "every level has its mark");

struct line {
    char bytes[NADB_LOG_LINE_MAX];
    size_t len;
};

/* Appends `text` when all of it fits below `limit`. */
static bool put_text(struct line *line, size_t limit, const char *text, size_t len)
{
    if (len > limit - line->len) {
        return false;
    }
    memcpy(line->bytes + line->len, text, len);
    line->len += len;
    return true;
}

/* The length of the valid UTF-8 sequence at `at`, 0 if there is none. */
static size_t utf8_len(const char *at, size_t left)
{
    const unsigned char *bytes = (const unsigned char *)at;
    if (bytes[0] < 0x80) {
        return 1;
    }
    if (bytes[0] < 0xc2 || bytes[0] > 0xf4) {
        return 0; /* a continuation, an overlong pair, or beyond the last code point */
    }
    size_t len = bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    if (len > left) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong =
        (bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xf0 && bytes[1] < 0x90);
    bool is_surrogate = bytes[0] == 0xed && bytes[1] >= 0xa0;
    bool is_beyond = bytes[0] == 0xf4 && bytes[1] >= 0x90;
    return is_overlong || is_surrogate || is_beyond ? 0 : len;
}

#define ESCAPE_MAX 8

/* Writes what stands for the byte `c`; returns its length, 0 when `c` may stand for itself. */
static size_t escape_byte(char *out, unsigned char c, bool is_json)
{
    const char *letter = NULL;
    switch (c) {
    case '\n':
        letter = "\\n";
        break;
    case '\r':
        letter = "\\r";
        break;
    case '\t':
        letter = "\\t";
        break;
    case '"':
        letter = is_json ? "\\\"" : NULL;
        break;
    case '\\':
        letter = is_json ? "\\\\" : NULL;
        break;
    default:
        break;
    }
    if (letter != NULL) {
        memcpy(out, letter, 2);
        return 2;
    }
    if (c >= 0x20 && c != 0x7f) {
        return 0;
    }
    return (size_t)snprintf(out, ESCAPE_MAX, is_json ? "\\u%04x" : "\\x%02x", c);
}

/* Appends the message escaped for `format` until it ends or the next character would pass
 * `limit`. Only JSON has to be valid UTF-8. */
static void put_message(
    struct line *line, size_t limit, enum nadb_log_format format, const char *text, size_t len)
{
    bool is_json = format == NADB_LOG_JSON;
    bool fits = true;
    for (size_t i = 0; i < len && fits;) {
        char escape[ESCAPE_MAX];
        size_t escape_len = escape_byte(escape, (unsigned char)text[i], is_json);
        size_t taken = is_json && escape_len == 0 ? utf8_len(text + i, len - i) : 1;
        if (escape_len > 0) {
            fits = put_text(line, limit, escape, escape_len);
        } else if (taken > 0) {
            fits = put_text(line, limit, text + i, taken);
        } else {
            taken = 1;
            fits = put_text(line, limit, "\\ufffd", 6);
        }
        i += taken;
    }
}

static void put_head(struct line *line, enum nadb_log_format format, enum nadb_log_level level)
{
    struct timespec now;
    struct tm parts;
    char when[64];
    clock_gettime(CLOCK_REALTIME, &now);
    int ms = (int)(now.tv_nsec / 1000000);
    int len;
    if (format == NADB_LOG_JSON) {
        gmtime_r(&now.tv_sec, &parts);
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &parts);
        len = snprintf(line->bytes, sizeof(line->bytes),
            "{\"time\":\"%s.%03dZ\",\"pid\":%d,\"level\":\"%s\",\"message\":\"", when, ms,
            (int)getpid(), level_rows[level].name);
    } else {
        localtime_r(&now.tv_sec, &parts);
        strftime(when, sizeof(when), "%d %b %Y %H:%M:%S", &parts);
        len = snprintf(line->bytes, sizeof(line->bytes), "%d:M %s.%03d %c ", (int)getpid(), when,
            ms, level_rows[level].mark);
    }
    line->len = (size_t)len;
}

void nadb_log(enum nadb_log_level level, const char *format, ...)
{
    NADB_ASSERT(level < NADB_LOG_NOTHING);
    if ((int)level < atomic_load_explicit(&log_level, memory_order_relaxed)) {
        return;
    }
    char message[NADB_LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (len < 0) {
        return;
    }
    size_t message_len = (size_t)len < sizeof(message) ? (size_t)len : sizeof(message) - 1;
    enum nadb_log_format line_format =
        (enum nadb_log_format)atomic_load_explicit(&log_format, memory_order_relaxed);
    struct nadb_slice tail = line_format == NADB_LOG_JSON ? NADB_SLICE("\"}\n") : NADB_SLICE("\n");
    struct line line;
    put_head(&line, line_format, level);
    put_message(&line, sizeof(line.bytes) - tail.len, line_format, message, message_len);
    put_text(&line, sizeof(line.bytes), tail.data, tail.len);
    /* There is nowhere to report that the log cannot be written. */
    ssize_t written = write(atomic_load(&log_fd), line.bytes, line.len);
    (void)written;
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

enum nadb_err nadb_log_open(const char *path, enum nadb_log_level level,
    enum nadb_log_format format, struct nadb_error *reterr)
{
    int fd = STDERR_FILENO;
    if (path[0] != '\0') {
        fd = open_file(path);
        if (fd < 0) {
            return nadb_error_set(reterr, NADB_EIO, errno, "log file '%s': not opened", path);
        }
    }
    nadb_log_close();
    if (path[0] != '\0') {
        log_path = nadb_mem_strdup(path);
    }
    atomic_store(&log_level, (int)level);
    atomic_store(&log_format, (int)format);
    atomic_store(&log_fd, fd);
    return NADB_OK;
}

enum nadb_err nadb_log_reopen(struct nadb_error *reterr)
{
    if (log_path == NULL) {
        return NADB_OK;
    }
    int fd = open_file(log_path);
    if (fd < 0) {
        return nadb_error_set(reterr, NADB_EIO, errno, "log file '%s': not opened", log_path);
    }
    enum nadb_err err = NADB_OK;
    if (dup3(fd, atomic_load(&log_fd), O_CLOEXEC) < 0) {
        err = nadb_error_set(reterr, NADB_EIO, errno, "log file '%s': not replaced", log_path);
    }
    close(fd);
    return err;
}

void nadb_log_close(void)
{
    int fd = atomic_exchange(&log_fd, STDERR_FILENO);
    if (fd != STDERR_FILENO) {
        close(fd);
    }
    nadb_mem_free(log_path);
    log_path = NULL;
}

void nadb_log_set_level(enum nadb_log_level level)
{
    atomic_store(&log_level, (int)level);
}
