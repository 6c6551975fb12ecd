/* This file tests log lines: their formats, their escaping, and where they go. */
#include "src/base/log.h"

#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

NADB_TEST_SUITE(log);

#define CONTENT_MAX 65536

/* A log in a directory of its own, and what stands in it. */
struct log_fixture {
    struct nadb_tmpdir dir;
    char path[2 * NADB_TMPDIR_PATH_MAX];
    char content[CONTENT_MAX];
};

static struct log_fixture fixture;

static void open_log(enum nadb_log_level level, enum nadb_log_format format)
{
    nadb_tmpdir_make(&fixture.dir);
    snprintf(fixture.path, sizeof(fixture.path), "%s", nadb_tmpdir_file(&fixture.dir, "log"));
    struct nadb_error error;
    cr_assert_eq(nadb_log_open(fixture.path, level, format, &error), NADB_OK);
}

static const char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    size_t len = fread(fixture.content, 1, sizeof(fixture.content) - 1, file);
    fixture.content[len] = '\0';
    fclose(file);
    return fixture.content;
}

static void close_log(void)
{
    nadb_log_close();
    nadb_tmpdir_remove(&fixture.dir);
}

/* What follows `<pid>:M <day> <month> <year> <h:m:s.ms> ` in the first line. */
static const char *after_time(const char *line)
{
    for (int spaces = 0; spaces < 5; spaces++) {
        line = strchr(line, ' ');
        cr_assert_not_null(line);
        line++;
    }
    return line;
}

Test(log, a_text_line_looks_as_in_redis)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    nadb_log(NADB_LOG_NOTICE, "hello %d", 5);
    const char *line = read_file(fixture.path);
    int pid, day, year, hour, minute, second, ms, end = 0;
    char month[4];
    int fields = sscanf(line, "%d:M %2d %3[A-Za-z] %4d %2d:%2d:%2d.%3d * hello 5%n", &pid, &day,
        month, &year, &hour, &minute, &second, &ms, &end);
    cr_assert_eq(fields, 8, "%s", line);
    cr_assert_str_eq(line + end, "\n");
    cr_assert_eq(pid, (int)getpid());
    close_log();
}

Test(log, each_level_has_its_mark_and_lower_ones_are_left_out)
{
    open_log(NADB_LOG_DEBUG, NADB_LOG_TEXT);
    static const char marks[] = ".-*#";
    for (int level = NADB_LOG_DEBUG; level < NADB_LOG_NOTHING; level++) {
        struct nadb_error error;
        cr_assert_eq(unlink(fixture.path), 0);
        cr_assert_eq(nadb_log_reopen(&error), NADB_OK);
        nadb_log((enum nadb_log_level)level, "x");
        cr_assert_eq(after_time(read_file(fixture.path))[0], marks[level]);
    }
    close_log();
}

Test(log, the_level_can_be_moved_at_any_time)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    nadb_log(NADB_LOG_VERBOSE, "too low");
    cr_assert_str_eq(read_file(fixture.path), "");
    nadb_log_set_level(NADB_LOG_VERBOSE);
    nadb_log(NADB_LOG_VERBOSE, "high enough");
    cr_assert_str_eq(after_time(read_file(fixture.path)), "- high enough\n");
    nadb_log_set_level(NADB_LOG_NOTHING);
    nadb_log(NADB_LOG_WARNING, "nothing at all");
    cr_assert_str_eq(after_time(read_file(fixture.path)), "- high enough\n");
    close_log();
}

Test(log, an_argument_cannot_forge_a_line)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    nadb_log(NADB_LOG_NOTICE, "name '%s'", "a\r\n1:M * forged\x1b[31m\x7f\tend\x01");
    cr_assert_str_eq(after_time(read_file(fixture.path)),
        "* name 'a\\r\\n1:M * forged\\x1b[31m\\x7f\\tend\\x01'\n");
    close_log();
}

Test(log, text_beyond_ascii_passes)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    nadb_log(NADB_LOG_NOTICE, "%s", "gr\xc3\xbc\xc3\x9f \"quoted\" back\\slash");
    cr_assert_str_eq(
        after_time(read_file(fixture.path)), "* gr\xc3\xbc\xc3\x9f \"quoted\" back\\slash\n");
    close_log();
}

Test(log, a_long_line_is_cut_with_its_newline)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    char text[3 * NADB_LOG_LINE_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    nadb_log(NADB_LOG_NOTICE, "%s", text);
    nadb_log(NADB_LOG_NOTICE, "next");
    const char *content = read_file(fixture.path);
    const char *newline = strchr(content, '\n');
    cr_assert_eq(newline - content + 1, NADB_LOG_LINE_MAX);
    cr_assert_str_eq(after_time(newline + 1), "* next\n");
    close_log();
}

Test(log, an_escape_is_never_cut_in_two)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    char text[NADB_LOG_LINE_MAX];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, '\x01', sizeof(text) - 1);
        memset(text, 'x', shift);
        text[sizeof(text) - 1] = '\0';
        struct nadb_error error;
        cr_assert_eq(unlink(fixture.path), 0);
        cr_assert_eq(nadb_log_reopen(&error), NADB_OK);
        nadb_log(NADB_LOG_NOTICE, "%s", text);
        const char *line = read_file(fixture.path);
        size_t len = strlen(line);
        cr_assert_leq(len, NADB_LOG_LINE_MAX);
        cr_assert_gt(len, NADB_LOG_LINE_MAX - 4);
        cr_assert_str_eq(line + len - 5, "\\x01\n", "shift %zu", shift);
    }
    close_log();
}

/* The value of "message", still escaped, in a line that must be one whole object. */
static const char *json_message(void)
{
    char *line = fixture.content;
    (void)read_file(fixture.path);
    size_t len = strlen(line);
    cr_assert_eq(line[0], '{');
    cr_assert_str_eq(line + len - 3, "\"}\n");
    line[len - 3] = '\0';
    static const char key[] = "\"message\":\"";
    char *message = strstr(line, key);
    cr_assert_not_null(message);
    return message + sizeof(key) - 1;
}

Test(log, a_json_line_is_one_object)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_JSON);
    nadb_log(NADB_LOG_WARNING, "hello %d", 5);
    int year, month, day, hour, minute, second, ms, pid, end = 0;
    int fields = sscanf(read_file(fixture.path),
        "{\"time\":\"%4d-%2d-%2dT%2d:%2d:%2d.%3dZ\",\"pid\":%d,\"level\":\"warning\","
        "\"message\":\"hello 5\"}%n",
        &year, &month, &day, &hour, &minute, &second, &ms, &pid, &end);
    cr_assert_eq(fields, 8);
    cr_assert_str_eq(fixture.content + end, "\n");
    close_log();
}

Test(log, json_is_escaped_and_valid_utf8)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_JSON);
    nadb_log(NADB_LOG_NOTICE, "%s", "\"q\" \\ \n\x01 \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80");
    cr_assert_str_eq(
        json_message(), "\\\"q\\\" \\\\ \\n\\u0001 \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80");
    close_log();
}

Test(log, bytes_that_are_no_utf8_are_replaced_in_json)
{
    static const struct {
        const char *bytes, *escaped;
    } cases[] = {
        {"\xff", "\\ufffd"},
        {"\x80", "\\ufffd"},
        {"\xc3", "\\ufffd"},
        {"\xc3(", "\\ufffd("},
        {"\xc0\xaf", "\\ufffd\\ufffd"},                       /* overlong */
        {"\xe0\x80\x80", "\\ufffd\\ufffd\\ufffd"},            /* overlong */
        {"\xf0\x80\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* overlong */
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},            /* half a surrogate pair */
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* beyond the last code point */
        {"\xe2\x82", "\\ufffd\\ufffd"},
    };
    open_log(NADB_LOG_NOTICE, NADB_LOG_JSON);
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_error error;
        cr_assert_eq(unlink(fixture.path), 0);
        cr_assert_eq(nadb_log_reopen(&error), NADB_OK);
        nadb_log(NADB_LOG_NOTICE, "%s", cases[i].bytes);
        cr_assert_str_eq(json_message(), cases[i].escaped, "case %zu", i);
    }
    close_log();
}

Test(log, a_long_json_line_is_still_a_whole_object)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_JSON);
    char text[2 * NADB_LOG_LINE_MAX];
    memset(text, '"', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    nadb_log(NADB_LOG_NOTICE, "%s", text);
    cr_assert_leq(strlen(read_file(fixture.path)), NADB_LOG_LINE_MAX);
    const char *message = json_message();
    cr_assert_eq(strlen(message) % 2, 0, "no quote lost its backslash");
    cr_assert_gt(strlen(message), NADB_LOG_LINE_MAX - 120);
    close_log();
}

Test(log, reopen_follows_a_rotation)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    nadb_log(NADB_LOG_NOTICE, "before");
    char rotated[sizeof(fixture.dir.file)];
    snprintf(rotated, sizeof(rotated), "%s", nadb_tmpdir_file(&fixture.dir, "log.1"));
    cr_assert_eq(rename(fixture.path, rotated), 0);
    nadb_log(NADB_LOG_NOTICE, "between");
    struct nadb_error error;
    cr_assert_eq(nadb_log_reopen(&error), NADB_OK);
    nadb_log(NADB_LOG_NOTICE, "after");
    cr_assert_str_eq(after_time(read_file(fixture.path)), "* after\n");
    cr_assert_not_null(strstr(read_file(rotated), "* between\n"));
    close_log();
}

Test(log, opening_appends_to_what_is_there)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    nadb_log(NADB_LOG_NOTICE, "first");
    struct nadb_error error;
    cr_assert_eq(nadb_log_open(fixture.path, NADB_LOG_NOTICE, NADB_LOG_TEXT, &error), NADB_OK);
    nadb_log(NADB_LOG_NOTICE, "second");
    const char *content = read_file(fixture.path);
    cr_assert_not_null(strstr(content, "* first\n"));
    cr_assert_not_null(strstr(content, "* second\n"));
    close_log();
}

Test(log, a_file_that_cannot_be_opened_is_an_error_and_changes_nothing)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    char path[sizeof(fixture.dir.file)];
    snprintf(path, sizeof(path), "%s", nadb_tmpdir_file(&fixture.dir, "no/such/log"));
    struct nadb_error error;
    cr_assert_eq(nadb_log_open(path, NADB_LOG_DEBUG, NADB_LOG_JSON, &error), NADB_EIO);
    cr_assert_eq(error.sys_errno, ENOENT);
    cr_assert_not_null(strstr(error.text, "no/such/log"));
    nadb_log(NADB_LOG_NOTICE, "still here");
    cr_assert_str_eq(after_time(read_file(fixture.path)), "* still here\n");
    close_log();
}

Test(log, a_failed_reopen_keeps_writing_to_the_old_file)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    char rotated[sizeof(fixture.dir.file)];
    snprintf(rotated, sizeof(rotated), "%s", nadb_tmpdir_file(&fixture.dir, "log.1"));
    cr_assert_eq(rename(fixture.path, rotated), 0);
    cr_assert_eq(symlink("no/such/log", fixture.path), 0);
    struct nadb_error error;
    cr_assert_eq(nadb_log_reopen(&error), NADB_EIO);
    nadb_log(NADB_LOG_NOTICE, "old file");
    cr_assert_not_null(strstr(read_file(rotated), "* old file\n"));
    close_log();
}

static void *write_lines(void *letter)
{
    for (int i = 0; i < 50; i++) {
        nadb_log(NADB_LOG_NOTICE, "%.60s", (const char *)letter);
    }
    return NULL;
}

Test(log, lines_of_several_threads_do_not_mix)
{
    open_log(NADB_LOG_NOTICE, NADB_LOG_TEXT);
    static char letters[4][61];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        memset(letters[i], (int)('a' + i), 60);
        cr_assert_eq(pthread_create(&threads[i], NULL, write_lines, letters[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    int lines = 0;
    for (const char *line = read_file(fixture.path); *line != '\0'; lines++) {
        const char *message = after_time(line) + 2;
        cr_assert_eq(strspn(message, (char[]){message[0], '\0'}), 60);
        cr_assert_eq(message[60], '\n');
        line = message + 61;
    }
    cr_assert_eq(lines, 4 * 50);
    close_log();
}
