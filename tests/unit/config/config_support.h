/* What the tests of this folder share. */
#ifndef NADB_TESTS_UNIT_CONFIG_CONFIG_SUPPORT_H
#define NADB_TESTS_UNIT_CONFIG_CONFIG_SUPPORT_H

#include "config/config.h"
#include "tests/support/test.h"

/* The option's value as CONFIG GET shows it; valid until the next call. */
static inline const char *nadb_test_get(const struct nadb_config *config, const char *name)
{
    static char shown[NADB_OPTION_TEXT_MAX + 1];
    const struct nadb_option *option = nadb_option_find(nadb_slice_cstr(name));
    cr_assert(option != NULL, "%s", name);
    struct nadb_buf text;
    nadb_buf_init(&text, NADB_OPTION_TEXT_MAX);
    nadb_config_format(config, option, &text);
    memcpy(shown, text.len == 0 ? "" : text.data, text.len);
    shown[text.len] = '\0';
    nadb_buf_fini(&text);
    return shown;
}

/* nadb_config_set that must succeed. */
static inline void nadb_test_set(struct nadb_config *config, const char *name, const char *value)
{
    struct nadb_error error = {0};
    enum nadb_err err =
        nadb_config_set(config, nadb_slice_cstr(name), nadb_slice_cstr(value), &error);
    cr_assert(err == NADB_OK, "%s", error.text);
}

/* nadb_config_set that must fail; the error's text, valid until the next call. */
static inline const char *nadb_test_refuse(
    struct nadb_config *config, const char *name, const char *value)
{
    static struct nadb_error error;
    error = (struct nadb_error){0};
    enum nadb_err err =
        nadb_config_set(config, nadb_slice_cstr(name), nadb_slice_cstr(value), &error);
    cr_assert(err != NADB_OK, "%s %s was accepted", name, value);
    return error.text;
}

#endif
