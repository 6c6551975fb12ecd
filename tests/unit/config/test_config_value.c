/* This file tests how text becomes an option's value, type by type, and text again. */
#include "config/config_value.h"

#include "config/config_internal.h"
#include "tests/unit/config/config_support.h"

NADB_TEST_SUITE(config_value);

/* What a file would have for the option; valid until the next call. */
static const char *show_file(const struct nadb_config *config, const char *name)
{
    static char shown[4 * NADB_OPTION_TEXT_MAX + 3];
    struct nadb_buf text;
    nadb_buf_init(&text, sizeof(shown));
    nadb_option__format_file(nadb_option_find(nadb_slice_cstr(name)), config, &text);
    memcpy(shown, text.data, text.len);
    shown[text.len] = '\0';
    nadb_buf_fini(&text);
    return shown;
}

Test(config_value, values_are_shown_as_redis_shows_them_and_written_with_units)
{
    static const struct {
        const char *name, *set, *get, *file;
    } cases[] = {
        {"protected-mode", "NO", "no", "no"},
        {"port", "65535", "65535", "65535"},
        {"maxmemory", "100", "100", "100"},
        {"maxmemory", "1536kb", "1572864", "1536kb"},
        {"maxmemory", "2gb", "2147483648", "2gb"},
        {"maxmemory", "1k", "1000", "1000"},
        {"maxmemory", "0", "0", "0"},
        {"flush-interval", "250", "250", "250ms"},
        {"flush-interval", "2s", "2000", "2s"},
        {"flush-interval", "5m", "300000", "5m"},
        {"flush-interval", "1h", "3600000", "1h"},
        {"timeout", "90", "90", "90"},
        {"timeout", "2m", "120", "120"},
        {"timeout", "3000ms", "3", "3"},
        {"loglevel", "WARNING", "warning", "warning"},
        {"unixsocketperm", "0700", "700", "700"},
        {"unixsocketperm", "777", "777", "777"},
        {"bind", "  ::1\t10.0.0.1 ", "::1 10.0.0.1", "::1 10.0.0.1"},
        {"bind", "", "", "\"\""},
        {"logfile", "a b", "a b", "\"a b\""},
        {"logfile", "a\"\\\n\x7f", "a\"\\\n\x7f", "\"a\\\"\\\\\\x0a\\x7f\""},
        {"logfile", "it's", "it's", "\"it's\""},
        {"logfile", "caf\xc3\xa9", "caf\xc3\xa9", "caf\xc3\xa9"},
        {"client-output-buffer-limit", "replica 1gb 1 2 NORMAL 0 0 0",
            "normal 0 0 0 slave 1073741824 1 2 pubsub 33554432 8388608 60",
            "normal 0 0 0 replica 1gb 1 2 pubsub 32mb 8mb 60"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_config config;
        nadb_config_init(&config);
        nadb_test_set(&config, cases[i].name, cases[i].set);
        cr_assert_str_eq(nadb_test_get(&config, cases[i].name), cases[i].get);
        cr_assert_str_eq(show_file(&config, cases[i].name), cases[i].file);
        nadb_config_fini(&config);
    }
}

Test(config_value, refused_values_say_why_and_change_nothing)
{
    static const struct {
        const char *name, *value, *reason;
    } cases[] = {
        {"protected-mode", "1", "argument must be 'yes' or 'no'"},
        {"protected-mode", "", "argument must be 'yes' or 'no'"},
        {"port", "65536", "argument must be between 0 and 65535 inclusive"},
        {"port", "-1", "argument must be between 0 and 65535 inclusive"},
        {"port", "6380 ", "argument couldn't be parsed into an integer"},
        {"port", "99999999999999999999", "argument couldn't be parsed into an integer"},
        {"maxmemory", "-1", "argument must be a memory value"},
        {"maxmemory", "1.5gb", "argument must be a memory value"},
        {"maxmemory", "9223372036854775808",
            "argument must be between 0 and 9223372036854775807 inclusive"},
        {"buffer-size", "64k", "argument must be between 65536 and 1073741824 inclusive"},
        {"flush-interval", "9", "argument must be between 10 and 3600000 inclusive"},
        {"flush-interval", "1w",
            "argument couldn't be parsed into an integer or a duration (100ms, 1s, 5m)"},
        {"timeout", "1500ms", "argument must be whole seconds"},
        {"timeout", "-5", "argument must be between 0 and 2147483647 inclusive"},
        {"timeout", "",
            "argument couldn't be parsed into an integer or a duration (100ms, 1s, 5m)"},
        {"maxmemory-policy", "oldest",
            "argument(s) must be one of the following: noeviction, allkeys-lru, allkeys-lfu, "
            "allkeys-random, volatile-lru, volatile-lfu, volatile-random, volatile-ttl"},
        {"unixsocketperm", "1777", "argument must be between 0 and 777 inclusive"},
        {"unixsocketperm", "8", "argument couldn't be parsed as an octal number"},
        {"unixsocketperm", "", "argument couldn't be parsed as an octal number"},
        {"unixsocketperm", "7777777777777777777777777",
            "argument couldn't be parsed as an octal number"},
        {"client-output-buffer-limit", "",
            "Wrong number of arguments in buffer limit configuration."},
        {"client-output-buffer-limit", "normal 0 0",
            "Wrong number of arguments in buffer limit configuration."},
        {"client-output-buffer-limit", "fast 0 0 0",
            "Invalid client class specified in buffer limit configuration."},
        {"client-output-buffer-limit", "normal 0 0 0 pubsub 1 x 1",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
        {"client-output-buffer-limit", "normal 0 0 99999999999",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
    };
    struct nadb_config config;
    nadb_config_init(&config);
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        char before[2 * NADB_OPTION_TEXT_MAX], expected[NADB_ERROR_TEXT_MAX];
        (void)snprintf(before, sizeof(before), "%s", nadb_test_get(&config, cases[i].name));
        (void)snprintf(
            expected, sizeof(expected), "option '%s': %s", cases[i].name, cases[i].reason);
        cr_assert_str_eq(nadb_test_refuse(&config, cases[i].name, cases[i].value), expected);
        cr_assert_str_eq(nadb_test_get(&config, cases[i].name), before);
    }
    nadb_config_fini(&config);
}

Test(config_value, text_may_be_as_long_as_the_limit_and_no_longer)
{
    static char text[NADB_OPTION_TEXT_MAX + 1];
    memset(text, 'x', sizeof(text));
    struct nadb_config config;
    struct nadb_error error;
    nadb_config_init(&config);
    cr_assert(nadb_config_set(&config, NADB_SLICE("logfile"),
                  nadb_slice_of(text, NADB_OPTION_TEXT_MAX), &error) == NADB_OK);
    cr_assert_eq(strlen(config.logfile), NADB_OPTION_TEXT_MAX);
    cr_assert_eq(strlen(show_file(&config, "logfile")), NADB_OPTION_TEXT_MAX);
    cr_assert(nadb_config_set(&config, NADB_SLICE("logfile"), nadb_slice_of(text, sizeof(text)),
                  &error) != NADB_OK);
    cr_assert_eq(strlen(config.logfile), NADB_OPTION_TEXT_MAX);
    nadb_config_fini(&config);
}

Test(config_value, text_with_a_zero_byte_is_refused)
{
    struct nadb_config config;
    struct nadb_error error;
    nadb_config_init(&config);
    cr_assert(
        nadb_config_set(&config, NADB_SLICE("requirepass"), NADB_SLICE("a\0b"), &error) != NADB_OK);
    cr_assert_str_eq(config.requirepass, "");
    nadb_config_fini(&config);
}

Test(config_value, a_copy_owns_its_texts)
{
    struct nadb_config config, copy;
    nadb_config_init(&config);
    nadb_test_set(&config, "dir", "/one");
    nadb_config__copy(&copy, &config);
    nadb_test_set(&config, "dir", "/two");
    cr_assert_str_eq(copy.dir, "/one");
    nadb_config_fini(&config);
    cr_assert_str_eq(copy.dir, "/one");
    nadb_config_fini(&copy);
}
