/* This file reads configuration files: lines, words, quotes, and the errors that name a line. */
#include "config/config_file.h"

#include "config/config_internal.h"
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_CHUNK 16384

/* ---- words ---- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_blanks(struct nadb_slice *text)
{
    while (text->len > 0 && is_blank(text->data[0])) {
        text->data++;
        text->len--;
    }
}

bool nadb_config__split_blank(struct nadb_slice *text, struct nadb_slice *ret)
{
    skip_blanks(text);
    size_t len = 0;
    while (len < text->len && !is_blank(text->data[len])) {
        len++;
    }
    if (len == 0) {
        return false;
    }
    *ret = nadb_slice_of(text->data, len);
    *text = nadb_slice_of(text->data + len, text->len - len);
    return true;
}

bool nadb_config__next_line(struct nadb_slice *text, struct nadb_slice *ret)
{
    if (text->len == 0) {
        return false;
    }
    const char *end = memchr(text->data, '\n', text->len);
    size_t len = end == NULL ? text->len : (size_t)(end - text->data);
    size_t taken = end == NULL ? len : len + 1;
    *ret = nadb_slice_of(text->data, len);
    *text = nadb_slice_of(text->data + taken, text->len - taken);
    return true;
}

/* Takes one character of a "..." piece off `text`, which is not empty. */
static char take_double_quoted(struct nadb_slice *text)
{
    const char *at = text->data;
    size_t taken = 1;
    char c = at[0];
    if (c == '\\' && text->len >= 4 && at[1] == 'x' && nadb_hex_digit(at[2]) >= 0 &&
        nadb_hex_digit(at[3]) >= 0) {
        c = (char)(nadb_hex_digit(at[2]) * 16 + nadb_hex_digit(at[3]));
        taken = 4;
    } else if (c == '\\' && text->len >= 2) {
        c = nadb_escaped_char(at[1]);
        taken = 2;
    }
    *text = nadb_slice_of(at + taken, text->len - taken);
    return c;
}

static char take_single_quoted(struct nadb_slice *text)
{
    bool is_escape = text->len >= 2 && text->data[0] == '\\' && text->data[1] == '\'';
    size_t taken = is_escape ? 2 : 1;
    char c = text->data[taken - 1];
    *text = nadb_slice_of(text->data + taken, text->len - taken);
    return c;
}

/* Decodes the quoted piece that `text` is at, quotes included; false when it is not closed or is
 * followed by more than a blank. */
static bool decode_quoted(struct nadb_slice *text, char *out, size_t *len)
{
    char quote = text->data[0];
    *text = nadb_slice_of(text->data + 1, text->len - 1);
    while (text->len > 0 && text->data[0] != quote) {
        out[(*len)++] = quote == '"' ? take_double_quoted(text) : take_single_quoted(text);
    }
    if (text->len == 0) {
        return false;
    }
    *text = nadb_slice_of(text->data + 1, text->len - 1);
    return text->len == 0 || is_blank(text->data[0]);
}

/* Decodes the word that `text` is at, after out[*len]. Decoding never makes text longer, so `out`
 * needs no more room than the line has bytes. */
static bool decode_word(struct nadb_slice *text, char *out, size_t *len)
{
    while (text->len > 0 && !is_blank(text->data[0])) {
        if (text->data[0] == '"' || text->data[0] == '\'') {
            return decode_quoted(text, out, len);
        }
        out[(*len)++] = text->data[0];
        *text = nadb_slice_of(text->data + 1, text->len - 1);
    }
    return true;
}

enum nadb_line_kind nadb_config__parse_line(
    struct nadb_slice text, struct nadb_line *ret, struct nadb_error *reterr)
{
    skip_blanks(&text);
    if (text.len == 0 || text.data[0] == '#') {
        return NADB_LINE_BLANK;
    }
    if (text.len > NADB_CONFIG_LINE_MAX) {
        (void)nadb_error_set(
            reterr, NADB_EINVAL, 0, "line longer than %d bytes", NADB_CONFIG_LINE_MAX);
        return NADB_LINE_BAD;
    }
    ret->name_len = ret->value_len = ret->word_count = 0;
    bool is_good = decode_word(&text, ret->name, &ret->name_len);
    for (skip_blanks(&text); is_good && text.len > 0; skip_blanks(&text)) {
        if (ret->word_count++ > 0) {
            ret->value[ret->value_len++] = ' ';
        }
        is_good = decode_word(&text, ret->value, &ret->value_len);
    }
    if (!is_good) {
        (void)nadb_error_set(reterr, NADB_EINVAL, 0, "unbalanced quotes");
        return NADB_LINE_BAD;
    }
    NADB_ASSERT(ret->name_len <= sizeof(ret->name) && ret->value_len <= sizeof(ret->value));
    return NADB_LINE_OPTION;
}

/* ---- quoting ---- */

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f;
}

static bool is_bare(struct nadb_slice value, bool is_list)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (is_control(c) || c == '"' || c == '\'' || c == '\\' || (c == ' ' && !is_list)) {
            return false;
        }
    }
    return value.len > 0;
}

size_t nadb_config__quote(struct nadb_slice value, bool is_list, char *out)
{
    static const char hex[] = "0123456789abcdef";
    NADB_ASSERT(value.len <= NADB_OPTION_TEXT_MAX);
    if (is_bare(value, is_list)) {
        memcpy(out, value.data, value.len);
        return value.len;
    }
    size_t len = 0;
    out[len++] = '"';
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (is_control(c)) {
            out[len++] = '\\';
            out[len++] = 'x';
            out[len++] = hex[(unsigned char)c >> 4];
            out[len++] = hex[(unsigned char)c & 15];
            continue;
        }
        if (c == '"' || c == '\\') {
            out[len++] = '\\';
        }
        out[len++] = c;
    }
    out[len++] = '"';
    return len;
}

/* ---- files ---- */

static enum nadb_err read_all(
    int fd, const char *path, struct nadb_buf *out, struct nadb_error *reterr)
{
    for (;;) {
        size_t room = out->cap_max - out->len;
        room = room < READ_CHUNK ? room : READ_CHUNK;
        if (room == 0) {
            return nadb_error_set(
                reterr, NADB_ELIMIT, 0, "%s: file of %zu bytes or more", path, out->cap_max);
        }
        if (!nadb_buf_reserve(out, room)) {
            return nadb_error_set(reterr, NADB_ENOMEM, 0, "%s: out of memory", path);
        }
        ssize_t got = read(fd, out->data + out->len, room);
        if (got == 0) {
            return NADB_OK;
        }
        if (got > 0) {
            out->len += (size_t)got;
        } else if (errno != EINTR) {
            return nadb_error_set(reterr, NADB_EIO, errno, "%s: read", path);
        }
    }
}

enum nadb_err nadb_config__read_file(
    const char *path, struct nadb_buf *out, struct nadb_error *reterr)
{
    if (strcmp(path, "-") == 0) {
        return read_all(STDIN_FILENO, "standard input", out, reterr);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return nadb_error_set(reterr, NADB_EIO, errno, "%s: open", path);
    }
    enum nadb_err err = read_all(fd, path, out, reterr);
    (void)close(fd); /* only read from */
    return err;
}

/* Sets one option from a line that was split. */
static enum nadb_err apply_line(
    struct nadb_config *config, const struct nadb_line *line, struct nadb_error *reterr)
{
    struct nadb_slice name = nadb_slice_of(line->name, line->name_len);
    const struct nadb_option *option = nadb_option_find(name);
    if (option == NULL) {
        return nadb_config__refuse_name(name, reterr);
    }
    if (line->word_count == 0) {
        return nadb_error_set(reterr, NADB_EINVAL, 0, "option '%s': has no value", option->name);
    }
    if (line->word_count > 1 && !nadb_option__is_many_words(option)) {
        return nadb_error_set(reterr, NADB_EINVAL, 0,
            "option '%s': takes one value, not %zu (a comment has a line of its own)", option->name,
            line->word_count);
    }
    return nadb_config_set(config, name, nadb_slice_of(line->value, line->value_len), reterr);
}

static enum nadb_err load_line(
    struct nadb_config *config, struct nadb_slice text, struct nadb_error *reterr)
{
    struct nadb_line line;
    switch (nadb_config__parse_line(text, &line, reterr)) {
    case NADB_LINE_BLANK:
        return NADB_OK;
    case NADB_LINE_BAD:
        return NADB_EINVAL;
    case NADB_LINE_OPTION:
        break;
    }
    return apply_line(config, &line, reterr);
}

enum nadb_err nadb_config_load_text(struct nadb_config *config, const char *subject,
    struct nadb_slice text, struct nadb_error *reterr)
{
    struct nadb_config next;
    struct nadb_error inner;
    struct nadb_slice line;
    nadb_config__copy(&next, config);
    for (size_t number = 1; nadb_config__next_line(&text, &line); number++) {
        enum nadb_err err = load_line(&next, line, &inner);
        if (err != NADB_OK) {
            nadb_config_fini(&next);
            return nadb_error_set(reterr, err, 0, "%s:%zu: %s", subject, number, inner.text);
        }
    }
    nadb_config_fini(config);
    *config = next;
    return NADB_OK;
}

/* The link's target: CONFIG REWRITE replaces the file, not the link to it. */
static void set_file_path(struct nadb_config *config, const char *path)
{
    char absolute[PATH_MAX];
    nadb_mem_free(config->file_path);
    config->file_path = NULL;
    if (strcmp(path, "-") != 0 && realpath(path, absolute) != NULL) {
        config->file_path = nadb_mem_strdup(absolute);
    }
}

enum nadb_err nadb_config_load_file(
    struct nadb_config *config, const char *path, struct nadb_error *reterr)
{
    struct nadb_buf text;
    nadb_buf_init(&text, NADB_CONFIG_FILE_MAX);
    enum nadb_err err = nadb_config__read_file(path, &text, reterr);
    if (err == NADB_OK) {
        const char *subject = strcmp(path, "-") == 0 ? "standard input" : path;
        err = nadb_config_load_text(config, subject, nadb_buf_slice(&text), reterr);
    }
    if (err == NADB_OK) {
        set_file_path(config, path);
    }
    nadb_buf_fini(&text);
    return err;
}
