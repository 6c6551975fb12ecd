/* This file tests the grammar of the configuration file and the errors that name a line. */
#include "config/config_file.h"

#include "tests/support/tmpdir.h"
#include "tests/unit/config/config_support.h"

NADB_TEST_SUITE(config_file);

static struct nadb_line line; /* too big for comfort on the stack of each test */

static enum nadb_line_kind parse(struct nadb_slice text, struct nadb_error *reterr)
{
    return nadb_config__parse_line(text, &line, reterr);
}

static bool is_name(const char *name)
{
    return nadb_slice_eq(nadb_slice_of(line.name, line.name_len), nadb_slice_cstr(name));
}

Test(config_file, words_are_decoded_as_in_redis_conf)
{
    static const struct {
        struct nadb_slice text, value;
        size_t word_count;
    } cases[] = {
        {{"a b", 3}, {"b", 1}, 1},
        {{"\t a \t b  c\r", 10}, {"b c", 3}, 2},
        {{"a", 1}, {"", 0}, 0},
        {{"a \"\"", 4}, {"", 0}, 1},
        {{"a ''", 4}, {"", 0}, 1},
        {{"a \"\" ''", 7}, {" ", 1}, 2},
        {{"a \"b c\"", 7}, {"b c", 3}, 1},
        {{"a 'b c' d", 9}, {"b c d", 5}, 2},
        {{"a b\"c d\"", 8}, {"bc d", 4}, 1},
        {{"a \"\\n\\r\\t\\b\\a\"", 14}, {"\n\r\t\b\a", 5}, 1},
        {{"a \"\\x00\\xfF\"", 12}, {"\0\xff", 2}, 1},
        {{"a \"\\xg0\"", 8}, {"xg0", 3}, 1},
        {{"a \"\\\"\\\\\\q\"", 10}, {"\"\\q", 3}, 1},
        {{"a '\\'\\n\"'", 9}, {"'\\n\"", 4}, 1},
        {{"a b\\n", 5}, {"b\\n", 3}, 1},
        {{"a # b", 5}, {"# b", 3}, 2},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_error error = {0};
        cr_assert_eq(parse(cases[i].text, &error), NADB_LINE_OPTION, "case %zu: %s", i, error.text);
        cr_assert(is_name("a"), "case %zu", i);
        cr_assert(nadb_slice_eq(nadb_slice_of(line.value, line.value_len), cases[i].value),
            "case %zu: %.*s", i, (int)line.value_len, line.value);
        cr_assert_eq(line.word_count, cases[i].word_count, "case %zu", i);
    }
}

Test(config_file, empty_lines_and_comments_say_nothing)
{
    cr_assert_eq(parse(NADB_SLICE(""), NULL), NADB_LINE_BLANK);
    cr_assert_eq(parse(NADB_SLICE(" \t\r"), NULL), NADB_LINE_BLANK);
    cr_assert_eq(parse(NADB_SLICE("# port \"1"), NULL), NADB_LINE_BLANK);
    cr_assert_eq(parse(NADB_SLICE("  #port 1"), NULL), NADB_LINE_BLANK);
}

Test(config_file, unbalanced_quotes_are_refused)
{
    static const char *const cases[] = {"a \"b", "a 'b", "a \"b\\\"", "a 'b\\'", "\"a", "a \"b\"c",
        "a 'b'c", "a b\"", "a \"\"\"\"", "\"a\"b c", "a \"\\"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_error error = {0};
        cr_assert_eq(parse(nadb_slice_cstr(cases[i]), &error), NADB_LINE_BAD, "%s", cases[i]);
        cr_assert_str_eq(error.text, "unbalanced quotes");
    }
}

Test(config_file, a_line_may_be_as_long_as_the_limit_and_no_longer)
{
    static char text[NADB_CONFIG_LINE_MAX + 1];
    struct nadb_error error;
    memset(text, 'x', sizeof(text));
    cr_assert_eq(parse(nadb_slice_of(text, NADB_CONFIG_LINE_MAX), &error), NADB_LINE_OPTION);
    cr_assert_eq(line.name_len, NADB_CONFIG_LINE_MAX);
    text[1] = ' ';
    cr_assert_eq(parse(nadb_slice_of(text, NADB_CONFIG_LINE_MAX), &error), NADB_LINE_OPTION);
    cr_assert_eq(line.value_len, NADB_CONFIG_LINE_MAX - 2);
    cr_assert_eq(parse(nadb_slice_of(text, sizeof(text)), &error), NADB_LINE_BAD);
}

Test(config_file, every_byte_survives_quoting)
{
    char bytes[256], quoted[NADB_CONFIG_QUOTED_MAX], text[NADB_CONFIG_QUOTED_MAX + 2] = "a ";
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)i;
    }
    size_t len = nadb_config__quote(nadb_slice_of(bytes, sizeof(bytes)), false, quoted);
    memcpy(text + 2, quoted, len);
    cr_assert_eq(parse(nadb_slice_of(text, len + 2), NULL), NADB_LINE_OPTION);
    cr_assert_eq(line.word_count, 1);
    cr_assert(nadb_slice_eq(
        nadb_slice_of(line.value, line.value_len), nadb_slice_of(bytes, sizeof(bytes))));
}

Test(config_file, the_longest_quoted_value_makes_a_line_that_is_read_back)
{
    static char bytes[NADB_OPTION_TEXT_MAX], text[NADB_CONFIG_LINE_MAX];
    memset(bytes, 1, sizeof(bytes));
    memset(text, 'n', NADB_OPTION_NAME_MAX);
    text[NADB_OPTION_NAME_MAX] = ' ';
    size_t len = nadb_config__quote(
        nadb_slice_of(bytes, sizeof(bytes)), false, text + NADB_OPTION_NAME_MAX + 1);
    cr_assert_eq(len, NADB_CONFIG_QUOTED_MAX);
    cr_assert_eq(
        parse(nadb_slice_of(text, NADB_OPTION_NAME_MAX + 1 + len), NULL), NADB_LINE_OPTION);
    cr_assert_eq(line.value_len, sizeof(bytes));
}

/* ---- whole texts ---- */

static enum nadb_err load(struct nadb_config *config, const char *text, struct nadb_error *reterr)
{
    return nadb_config_load_text(config, "nadbd.conf", nadb_slice_cstr(text), reterr);
}

Test(config_file, options_are_set_in_order_and_the_last_wins)
{
    struct nadb_config config;
    struct nadb_error error = {0};
    nadb_config_init(&config);
    enum nadb_err err = load(&config,
        "# first\n\nport 1\r\n  PORT 2\nbind 10.0.0.1 ::1\nsave \"\"\n"
        "client-output-buffer-limit normal 1 1 1\n"
        "client-output-buffer-limit pubsub 2 2 2\n"
        "latency-tracking-info-percentiles 50 99 99.9\nrequirepass 'a b'",
        &error);
    cr_assert(err == NADB_OK, "%s", error.text);
    cr_assert_eq(config.port, 2);
    cr_assert_str_eq(config.bind, "10.0.0.1 ::1");
    cr_assert_str_eq(config.requirepass, "a b");
    cr_assert_eq(config.client_output_buffer_limit.classes[NADB_OUTPUT_NORMAL].soft_s, 1);
    cr_assert_eq(config.client_output_buffer_limit.classes[NADB_OUTPUT_PUBSUB].soft_s, 2);
    nadb_config_fini(&config);
}

Test(config_file, errors_name_file_line_and_option)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"\n\nprot 1\n", "nadbd.conf:3: option 'prot': unknown; did you mean 'port'?"},
        {"port 1\nport", "nadbd.conf:2: option 'port': has no value"},
        {"port 1 # my port", "nadbd.conf:1: option 'port': takes one value, not 4 (a comment has a "
                             "line of its own)"},
        {"port x", "nadbd.conf:1: option 'port': argument couldn't be parsed into an integer"},
        {"port \"1", "nadbd.conf:1: unbalanced quotes"},
        {"save 3600 1", "nadbd.conf:1: option 'save': can only be '': No snapshots by schedule; "
                        "see durability"},
        {"save", "nadbd.conf:1: option 'save': has no value"},
        {"include other.conf", "nadbd.conf:1: option 'include': unknown"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_config config;
        struct nadb_error error = {0};
        nadb_config_init(&config);
        cr_assert(load(&config, cases[i].text, &error) != NADB_OK, "%s", cases[i].text);
        cr_assert_str_eq(error.text, cases[i].error);
        nadb_config_fini(&config);
    }
}

Test(config_file, a_text_with_an_error_changes_nothing)
{
    struct nadb_config config;
    struct nadb_error error;
    nadb_config_init(&config);
    cr_assert(load(&config, "port 1\ndir /x\nhz many\n", &error) != NADB_OK);
    cr_assert_eq(config.port, 6380);
    cr_assert_str_eq(config.dir, "./data");
    nadb_config_fini(&config);
}

static void write_file(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(text, 1, len, file), len);
    cr_assert_eq(fclose(file), 0);
}

Test(config_file, a_loaded_file_is_remembered_by_its_absolute_path)
{
    struct nadb_tmpdir dir;
    struct nadb_config config;
    struct nadb_error error = {0};
    nadb_tmpdir_make(&dir);
    nadb_config_init(&config);
    const char *path = nadb_tmpdir_file(&dir, "nadbd.conf");
    write_file(path, "port 7\n", 7);
    cr_assert(nadb_config_load_file(&config, path, &error) == NADB_OK, "%s", error.text);
    cr_assert_eq(config.port, 7);
    cr_assert_not_null(config.file_path);
    cr_assert_eq(config.file_path[0], '/');
    cr_assert(strstr(config.file_path, "/nadbd.conf") != NULL);
    nadb_config_fini(&config);
    nadb_tmpdir_remove(&dir);
}

Test(config_file, a_file_that_cannot_be_read_is_named)
{
    struct nadb_tmpdir dir;
    struct nadb_config config;
    struct nadb_error error;
    char expected[NADB_ERROR_TEXT_MAX];
    nadb_tmpdir_make(&dir);
    nadb_config_init(&config);
    const char *path = nadb_tmpdir_file(&dir, "none");
    (void)snprintf(expected, sizeof(expected), "%.200s: open: No such file or directory", path);
    cr_assert(nadb_config_load_file(&config, path, &error) != NADB_OK);
    cr_assert_str_eq(error.text, expected);
    cr_assert(nadb_config_load_file(&config, dir.path, &error) != NADB_OK);
    cr_assert(strstr(error.text, "Is a directory") != NULL, "%s", error.text);
    cr_assert_null(config.file_path);
    nadb_config_fini(&config);
    nadb_tmpdir_remove(&dir);
}

Test(config_file, a_file_is_bounded)
{
    static char text[NADB_CONFIG_FILE_MAX];
    struct nadb_tmpdir dir;
    struct nadb_config config;
    struct nadb_error error = {0};
    memset(text, '\n', sizeof(text));
    nadb_tmpdir_make(&dir);
    nadb_config_init(&config);
    const char *path = nadb_tmpdir_file(&dir, "big.conf");
    write_file(path, text, sizeof(text) - 1);
    cr_assert(nadb_config_load_file(&config, path, &error) == NADB_OK, "%s", error.text);
    write_file(path, text, sizeof(text));
    cr_assert_eq(nadb_config_load_file(&config, path, &error), NADB_ELIMIT);
    nadb_config_fini(&config);
    nadb_tmpdir_remove(&dir);
}
