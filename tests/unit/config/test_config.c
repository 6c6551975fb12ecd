/* This file tests the table of options, CONFIG SET and the rules between options. */
#include "config/config.h"

#include "src/base/log.h"
#include "tests/unit/config/config_support.h"

#include <sys/un.h>

NADB_TEST_SUITE(config);

/* ---- the table ---- */

Test(config, every_option_starts_with_its_default)
{
    struct nadb_config config, again;
    nadb_config_init(&config);
    nadb_config_init(&again);
    const struct nadb_option *option;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        if ((option->flags & NADB_OPTION_INERT) == 0) {
            nadb_test_set(&again, option->name, option->value);
        }
        char first[NADB_OPTION_TEXT_MAX + 1];
        (void)snprintf(first, sizeof(first), "%s", nadb_test_get(&config, option->name));
        cr_assert_str_eq(first, nadb_test_get(&again, option->name), "%s", option->name);
    }
    cr_assert_eq(config.port, 6380);
    cr_assert_str_eq(config.bind, "127.0.0.1 -::1");
    cr_assert(config.protected_mode);
    cr_assert_eq(config.flush_interval, 1000);
    cr_assert_eq(config.buffer_size, 256u << 20);
    cr_assert_null(config.file_path);
    nadb_config_fini(&again);
    nadb_config_fini(&config);
}

Test(config, names_are_unique_and_short_enough)
{
    const struct nadb_option *option;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        cr_assert(strlen(option->name) <= NADB_OPTION_NAME_MAX, "%s", option->name);
        cr_assert(option->doc[0] != '\0' && option->doc[strlen(option->doc) - 1] != '.', "%s",
            option->name);
        cr_assert_eq(nadb_option_find(nadb_slice_cstr(option->name)), option, "%s", option->name);
    }
}

Test(config, sections_stand_together)
{
    const struct nadb_option *option, *other, *previous = NULL;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; previous = option, i++) {
        bool is_new = previous == NULL || strcmp(previous->section, option->section) != 0;
        for (size_t j = 0; is_new && j < i; j++) {
            other = nadb_option_at(j);
            cr_assert_str_neq(other->section, option->section, "%s", option->name);
        }
    }
}

Test(config, levels_and_formats_of_the_log_count_as_the_log_counts_them)
{
    static const char *const levels[] = {[NADB_LOG_DEBUG] = "debug",
        [NADB_LOG_VERBOSE] = "verbose",
        [NADB_LOG_NOTICE] = "notice",
        [NADB_LOG_WARNING] = "warning",
        [NADB_LOG_NOTHING] = "nothing"};
    struct nadb_config config;
    nadb_config_init(&config);
    for (int i = 0; i < (int)NADB_ARRAY_LEN(levels); i++) {
        nadb_test_set(&config, "loglevel", levels[i]);
        cr_assert_eq(config.loglevel, i, "%s", levels[i]);
    }
    nadb_test_set(&config, "log-format", "json");
    cr_assert_eq(config.log_format, (int)NADB_LOG_JSON);
    nadb_config_fini(&config);
}

Test(config, names_are_found_whatever_their_case)
{
    const struct nadb_option *option = nadb_option_find(NADB_SLICE("MaxMemory"));
    cr_assert_not_null(option);
    cr_assert_str_eq(option->name, "maxmemory");
    cr_assert_null(nadb_option_find(NADB_SLICE("maxmemor")));
    cr_assert_null(nadb_option_find(NADB_SLICE("")));
}

/* ---- set ---- */

Test(config, an_unknown_option_is_refused_with_the_nearest_name)
{
    struct nadb_config config;
    nadb_config_init(&config);
    cr_assert_str_eq(
        nadb_test_refuse(&config, "prot", "1"), "option 'prot': unknown; did you mean 'port'?");
    cr_assert_str_eq(nadb_test_refuse(&config, "include", "x.conf"), "option 'include': unknown");
    nadb_config_fini(&config);
}

Test(config, an_inert_option_accepts_its_own_value_only)
{
    struct nadb_config config;
    nadb_config_init(&config);
    nadb_test_set(&config, "save", "");
    nadb_test_set(&config, "appendonly", "NO");
    cr_assert_str_eq(nadb_test_refuse(&config, "appendonly", "yes"),
        "option 'appendonly': can only be 'no': There is no append-only file; see durability");
    cr_assert_str_eq(nadb_test_get(&config, "appendonly"), "no");
    nadb_config_fini(&config);
}

Test(config, a_secret_is_not_repeated_in_an_error)
{
    char secret[NADB_OPTION_TEXT_MAX + 2];
    memset(secret, 'Q', sizeof(secret) - 1);
    secret[sizeof(secret) - 1] = '\0';
    struct nadb_config config;
    nadb_config_init(&config);
    cr_assert_null(strchr(nadb_test_refuse(&config, "requirepass", secret), 'Q'));
    nadb_config_fini(&config);
}

/* ---- rules between options ---- */

static enum nadb_err validate_with(const char *name, const char *value, const char *name2,
    const char *value2, struct nadb_error *reterr)
{
    struct nadb_config config;
    nadb_config_init(&config);
    nadb_test_set(&config, name, value);
    nadb_test_set(&config, name2, value2);
    enum nadb_err err = nadb_config_validate(&config, reterr);
    nadb_config_fini(&config);
    return err;
}

Test(config, a_server_that_nobody_can_reach_is_refused)
{
    struct nadb_error error;
    cr_assert(validate_with("port", "0", "unixsocket", "", &error) != NADB_OK);
    cr_assert(strncmp(error.text, "option 'port': ", 15) == 0, "%s", error.text);
    cr_assert(validate_with("bind", "", "unixsocket", "", &error) != NADB_OK);
    cr_assert(strncmp(error.text, "option 'bind': ", 15) == 0, "%s", error.text);
    cr_assert(validate_with("port", "0", "unixsocket", "/tmp/s", &error) == NADB_OK);
}

Test(config, a_socket_path_that_the_kernel_would_cut_is_refused)
{
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
    struct nadb_error error;
    memset(path, 'a', sizeof(path));
    path[sizeof(path) - 2] = '\0';
    cr_assert(validate_with("unixsocket", path, "port", "0", &error) == NADB_OK);
    path[sizeof(path) - 2] = 'a';
    path[sizeof(path) - 1] = '\0';
    cr_assert(validate_with("unixsocket", path, "port", "0", &error) != NADB_OK);
}

Test(config, options_that_exclude_each_other_are_refused)
{
    struct nadb_error error;
    cr_assert(validate_with("daemonize", "yes", "supervised", "systemd", &error) != NADB_OK);
    cr_assert(validate_with("daemonize", "yes", "supervised", "auto", &error) == NADB_OK);
    cr_assert(validate_with("dir", "", "port", "1", &error) != NADB_OK);
}

/* ---- CONFIG SET ---- */

Test(config, set_live_answers_in_the_words_of_redis)
{
#define FAILED(name) "CONFIG SET failed (possibly related to argument '" name "') - "
    static const struct {
        const char *name, *value, *text;
    } cases[] = {
        {"nope", "1", "Unknown option or number of arguments for CONFIG SET - 'nope'"},
        {"databases", "17", FAILED("databases") "can't set immutable config"},
        {"databases", "16", FAILED("databases") "can't set immutable config"},
        {"save", "3600 1", FAILED("save") "can't set immutable config"},
        {"maxmemory", "lots", FAILED("maxmemory") "argument must be a memory value"},
        {"hz", "x", FAILED("hz") "argument couldn't be parsed into an integer"},
        {"hz", "501", FAILED("hz") "argument must be between 1 and 500 inclusive"},
        {"HZ", "0", FAILED("HZ") "argument must be between 1 and 500 inclusive"},
        {"timeout", "-1", FAILED("timeout") "argument must be between 0 and 2147483647 inclusive"},
        {"proto-max-bulk-len", "5",
            FAILED(
                "proto-max-bulk-len") "argument must be between 1048576 and 536870912 inclusive"},
        {"protected-mode", "maybe", FAILED("protected-mode") "argument must be 'yes' or 'no'"},
        {"loglevel", "loud",
            FAILED("loglevel") "argument(s) must be one of the following: "
                               "debug, verbose, notice, warning, nothing"},
    };
    struct nadb_config config;
    nadb_config_init(&config);
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_slice pair[] = {
            nadb_slice_cstr(cases[i].name), nadb_slice_cstr(cases[i].value)};
        struct nadb_error error;
        cr_assert(nadb_config_set_live(&config, pair, 1, &error) != NADB_OK, "%s", cases[i].text);
        cr_assert_str_eq(error.text, cases[i].text);
    }
    nadb_config_fini(&config);
#undef FAILED
}

Test(config, set_live_changes_several_options)
{
    struct nadb_config config;
    nadb_config_init(&config);
    struct nadb_slice pairs[] = {NADB_SLICE("timeout"), NADB_SLICE("5m"), NADB_SLICE("save"),
        NADB_SLICE(""), NADB_SLICE("requirepass"), NADB_SLICE("secret"),
        NADB_SLICE("client-output-buffer-limit"), NADB_SLICE("pubsub 0 0 0")};
    struct nadb_error error;
    cr_assert(nadb_config_set_live(&config, pairs, 4, &error) == NADB_OK);
    cr_assert_eq(config.timeout, 300);
    cr_assert_str_eq(config.requirepass, "secret");
    cr_assert_eq(config.client_output_buffer_limit.classes[NADB_OUTPUT_PUBSUB].hard_bytes, 0);
    cr_assert_eq(
        config.client_output_buffer_limit.classes[NADB_OUTPUT_NORMAL].hard_bytes, 1u << 30);
    nadb_config_fini(&config);
}

Test(config, set_live_changes_nothing_when_one_pair_is_refused)
{
    struct nadb_config config;
    nadb_config_init(&config);
    struct nadb_slice pairs[] = {NADB_SLICE("requirepass"), NADB_SLICE("secret"),
        NADB_SLICE("timeout"), NADB_SLICE("5"), NADB_SLICE("hz"), NADB_SLICE("many")};
    struct nadb_error error;
    cr_assert(nadb_config_set_live(&config, pairs, 3, &error) != NADB_OK);
    cr_assert_eq(config.timeout, 0);
    cr_assert_str_eq(config.requirepass, "");
    nadb_config_fini(&config);
}

Test(config, set_live_refuses_a_name_given_twice)
{
    struct nadb_config config;
    nadb_config_init(&config);
    struct nadb_slice pairs[] = {NADB_SLICE("timeout"), NADB_SLICE("1"), NADB_SLICE("hz"),
        NADB_SLICE("10"), NADB_SLICE("TIMEOUT"), NADB_SLICE("2")};
    struct nadb_error error;
    cr_assert(nadb_config_set_live(&config, pairs, 3, &error) != NADB_OK);
    cr_assert_str_eq(error.text,
        "CONFIG SET failed (possibly related to argument 'TIMEOUT') - duplicate parameter");
    cr_assert_eq(config.timeout, 0);
    nadb_config_fini(&config);
}

Test(config, set_live_stands_more_pairs_than_there_are_options)
{
    static struct nadb_slice pairs[4096];
    size_t count = 0;
    const struct nadb_option *option;
    struct nadb_config config;
    struct nadb_error error;
    for (; (option = nadb_option_at(count)) != NULL; count++) {
        pairs[2 * count] = nadb_slice_cstr(option->name);
        pairs[2 * count + 1] = nadb_slice_cstr(option->value);
    }
    for (size_t i = count; 2 * i < NADB_ARRAY_LEN(pairs); i++) {
        pairs[2 * i] = NADB_SLICE("hz");
        pairs[2 * i + 1] = NADB_SLICE("10");
    }
    nadb_config_init(&config);
    cr_assert(nadb_config_set_live(&config, pairs, NADB_ARRAY_LEN(pairs) / 2, &error) != NADB_OK);
    cr_assert_str_eq(
        error.text, "CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter");
    nadb_config_fini(&config);
}
