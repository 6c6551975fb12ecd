/* This file tests the command line. */
#include "config/config_file.h"
#include "src/base/mem.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/config/config_support.h"

NADB_TEST_SUITE(config_args);

#define ARGS_MAX 16

struct fixture {
    struct nadb_config config;
    enum nadb_config_action action;
    struct nadb_error error;
};

/* Runs `nadbd ARGS...`; the arguments end with NULL. */
static enum nadb_err load(struct fixture *fixture, const char *const *args)
{
    char *argv[ARGS_MAX + 2];
    int argc = 0;
    argv[argc++] = nadb_mem_strdup("nadbd");
    for (size_t i = 0; args[i] != NULL; i++) {
        cr_assert(argc <= ARGS_MAX);
        argv[argc++] = nadb_mem_strdup(args[i]);
    }
    argv[argc] = NULL;
    *fixture = (struct fixture){0};
    nadb_config_init(&fixture->config);
    enum nadb_err err =
        nadb_config_load_args(&fixture->config, argc, argv, &fixture->action, &fixture->error);
    for (int i = 0; i < argc; i++) {
        nadb_mem_free(argv[i]);
    }
    return err;
}

#define LOAD(fixture, ...) load((fixture), (const char *const[]){__VA_ARGS__, NULL})

Test(config_args, no_arguments_run_the_defaults)
{
    struct fixture f;
    cr_assert(load(&f, (const char *const[]){NULL}) == NADB_OK, "%s", f.error.text);
    cr_assert_eq(f.action, NADB_CONFIG_RUN);
    cr_assert_eq(f.config.port, 6380);
    nadb_config_fini(&f.config);
}

Test(config_args, options_take_their_value_behind_a_blank_or_an_equals_sign)
{
    struct fixture f;
    cr_assert(LOAD(&f, "--port", "7000", "--dir=/a=b", "--DATABASES=4", "--requirepass=--x",
                  "--logfile", "") == NADB_OK,
        "%s", f.error.text);
    cr_assert_eq(f.config.port, 7000);
    cr_assert_eq(f.config.databases, 4);
    cr_assert_str_eq(f.config.dir, "/a=b");
    cr_assert_str_eq(f.config.requirepass, "--x");
    cr_assert_str_eq(f.config.logfile, "");
    nadb_config_fini(&f.config);
}

Test(config_args, lists_take_all_words_up_to_the_next_option)
{
    struct fixture f;
    cr_assert(LOAD(&f, "--bind", "127.0.0.1", "-::1", "--client-output-buffer-limit", "pubsub", "1",
                  "2", "3", "--save", "", "--check-config") == NADB_OK,
        "%s", f.error.text);
    cr_assert_str_eq(f.config.bind, "127.0.0.1 -::1");
    cr_assert_eq(f.config.client_output_buffer_limit.classes[NADB_OUTPUT_PUBSUB].soft_bytes, 2);
    cr_assert_eq(f.action, NADB_CONFIG_CHECK);
    nadb_config_fini(&f.config);
}

Test(config_args, help_and_version_win_over_errors_behind_them)
{
    static const struct {
        const char *text;
        enum nadb_config_action action;
    } cases[] = {{"-h", NADB_CONFIG_HELP}, {"--help", NADB_CONFIG_HELP},
        {"-v", NADB_CONFIG_VERSION}, {"--version", NADB_CONFIG_VERSION}};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct fixture f;
        cr_assert(
            LOAD(&f, "/no/such/file", cases[i].text, "--nope", "1") == NADB_OK, "%s", f.error.text);
        cr_assert_eq(f.action, cases[i].action, "%s", cases[i].text);
        nadb_config_fini(&f.config);
    }
}

Test(config_args, errors_name_the_option)
{
    static const struct {
        const char *args[4], *error;
    } cases[] = {
        {{"--prot", "1"}, "command line: option 'prot': unknown; did you mean 'port'?"},
        {{"-p", "1"}, "command line: option 'p': unknown"},
        {{"--"}, "command line: option '': unknown"},
        {{"--port"}, "command line: option 'port': has no value (one that begins with '--' is "
                     "written --port=VALUE)"},
        {{"--port", "--hz", "1"}, "command line: option 'port': has no value (one that begins with "
                                  "'--' is written --port=VALUE)"},
        {{"--port="}, "command line: option 'port': argument couldn't be parsed into an integer"},
        {{"--appendonly", "yes"},
            "command line: option 'appendonly': can only be 'no': There is no "
            "append-only file; see durability"},
        {{"a.conf", "b.conf"},
            "command line: 'b.conf': one configuration file only, and 'a.conf' was given"},
        {{"/no/such/file"}, "/no/such/file: open: No such file or directory"},
        {{"--dir="}, "option 'dir': must not be empty"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct fixture f;
        cr_assert(load(&f, cases[i].args) != NADB_OK, "%s", cases[i].error);
        cr_assert_str_eq(f.error.text, cases[i].error);
        nadb_config_fini(&f.config);
    }
}

Test(config_args, a_command_line_with_an_error_changes_nothing)
{
    struct fixture f;
    cr_assert(LOAD(&f, "--port", "1", "--dir", "/x", "--hz", "0") != NADB_OK);
    cr_assert_eq(f.config.port, 6380);
    cr_assert_str_eq(f.config.dir, "./data");
    nadb_config_fini(&f.config);
}

Test(config_args, a_value_that_no_line_could_hold_is_refused)
{
    static char word[NADB_CONFIG_LINE_MAX + 1];
    memset(word, 'x', sizeof(word) - 1);
    struct fixture f;
    cr_assert(LOAD(&f, "--bind", "a", word) != NADB_OK);
    cr_assert_str_eq(f.error.text, "command line: option 'bind': value too long");
    nadb_config_fini(&f.config);
}

Test(config_args, options_are_stronger_than_the_file_wherever_they_stand)
{
    struct nadb_tmpdir dir;
    struct fixture f;
    nadb_tmpdir_make(&dir);
    const char *path = nadb_tmpdir_file(&dir, "nadbd.conf");
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file);
    cr_assert(fputs("port 1\ndatabases 2\n", file) >= 0);
    cr_assert_eq(fclose(file), 0);
    cr_assert(LOAD(&f, "--port", "7", path, "--hz", "50") == NADB_OK, "%s", f.error.text);
    cr_assert_eq(f.config.port, 7);
    cr_assert_eq(f.config.databases, 2);
    cr_assert_eq(f.config.hz, 50);
    cr_assert_not_null(f.config.file_path);
    nadb_config_fini(&f.config);
    nadb_tmpdir_remove(&dir);
}
