/* This file tests --help and the example file. */
#include "config/config_file.h"
#include "tests/unit/config/config_support.h"

NADB_TEST_SUITE(config_print);

#define PRINTED_MAX 65536

static char printed[PRINTED_MAX];

static void print_to_memory(void (*print)(FILE *))
{
    FILE *out = fmemopen(printed, sizeof(printed), "w");
    cr_assert_not_null(out);
    print(out);
    cr_assert_eq(fclose(out), 0);
}

Test(config_print, help_has_one_line_for_every_option_with_its_default)
{
    print_to_memory(nadb_config_print_help);
    const struct nadb_option *option;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        char name[NADB_OPTION_NAME_MAX + 5];
        (void)snprintf(name, sizeof(name), "  --%s ", option->name);
        char *at = strstr(printed, name);
        if ((option->flags & NADB_OPTION_INERT) != 0) {
            cr_assert_null(at, "%s", option->name);
            continue;
        }
        cr_assert_not_null(at, "%s", option->name);
        struct nadb_slice rest = nadb_slice_cstr(at), row;
        cr_assert(nadb_config__next_line(&rest, &row));
        char end[NADB_OPTION_TEXT_MAX];
        int end_len =
            snprintf(end, sizeof(end), "[%s]", option->value[0] == '\0' ? "\"\"" : option->value);
        cr_assert(row.len > (size_t)end_len &&
                      memcmp(row.data + row.len - end_len, end, (size_t)end_len) == 0,
            "%s", option->name);
    }
}

Test(config_print, the_example_as_it_stands_changes_nothing)
{
    struct nadb_config config;
    struct nadb_error error = {0};
    print_to_memory(nadb_config_print_example);
    nadb_config_init(&config);
    enum nadb_err err = nadb_config_load_text(&config, "example", nadb_slice_cstr(printed), &error);
    cr_assert(err == NADB_OK, "%s", error.text);
    const struct nadb_option *option;
    struct nadb_config defaults;
    nadb_config_init(&defaults);
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        char value[NADB_OPTION_TEXT_MAX + 1];
        (void)snprintf(value, sizeof(value), "%s", nadb_test_get(&defaults, option->name));
        cr_assert_str_eq(nadb_test_get(&config, option->name), value, "%s", option->name);
    }
    nadb_config_fini(&defaults);
    nadb_config_fini(&config);
}

Test(config_print, every_setting_of_the_example_is_valid_and_the_default)
{
    print_to_memory(nadb_config_print_example);
    struct nadb_slice rest = nadb_slice_cstr(printed), row;
    size_t count = 0;
    while (nadb_config__next_line(&rest, &row)) {
        if (row.len < 2 || row.data[0] != '#' || row.data[1] == ' ') {
            continue;
        }
        struct nadb_config config, defaults;
        struct nadb_error error = {0};
        const struct nadb_option *option = nadb_option_at(count++);
        nadb_config_init(&config);
        nadb_config_init(&defaults);
        enum nadb_err err = nadb_config_load_text(
            &config, "example", nadb_slice_of(row.data + 1, row.len - 1), &error);
        cr_assert(err == NADB_OK, "%s", error.text);
        cr_assert(option != NULL && strncmp(row.data + 1, option->name, strlen(option->name)) == 0,
            "%.*s", (int)row.len, row.data);
        char value[NADB_OPTION_TEXT_MAX + 1];
        (void)snprintf(value, sizeof(value), "%s", nadb_test_get(&defaults, option->name));
        cr_assert_str_eq(nadb_test_get(&config, option->name), value, "%s", option->name);
        nadb_config_fini(&defaults);
        nadb_config_fini(&config);
    }
    cr_assert_null(nadb_option_at(count), "%zu settings", count);
}
