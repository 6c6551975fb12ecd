/* This file fuzzes the configuration file: whatever the bytes, the parser either changes nothing
 * and names a line, or gives a config that a file can say again. */
#include "config/config_file.h"
#include "config/config_value.h"
#include "src/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void format_all(const struct nadb_config *config, struct nadb_buf *out)
{
    const struct nadb_option *option;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        struct nadb_buf value;
        nadb_buf_init(&value, NADB_OPTION_TEXT_MAX);
        nadb_config_format(config, option, &value);
        bool is_room = nadb_buf_append(out, value.data, value.len) && nadb_buf_append(out, "\n", 1);
        NADB_ASSERT(is_room);
        nadb_buf_fini(&value);
    }
}

/* The whole config as a file. */
static void write_all(const struct nadb_config *config, struct nadb_buf *out)
{
    const struct nadb_option *option;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        if ((option->flags & NADB_OPTION_INERT) != 0) {
            continue;
        }
        struct nadb_buf value;
        nadb_buf_init(&value, NADB_CONFIG_QUOTED_MAX);
        nadb_option__format_file(option, config, &value);
        bool is_room = nadb_buf_append(out, option->name, strlen(option->name)) &&
                       nadb_buf_append(out, " ", 1) &&
                       nadb_buf_append(out, value.data, value.len) && nadb_buf_append(out, "\n", 1);
        NADB_ASSERT(is_room);
        nadb_buf_fini(&value);
    }
}

static void check_same(const struct nadb_config *a, const struct nadb_config *b)
{
    struct nadb_buf text_a, text_b;
    nadb_buf_init(&text_a, NADB_CONFIG_FILE_MAX);
    nadb_buf_init(&text_b, NADB_CONFIG_FILE_MAX);
    format_all(a, &text_a);
    format_all(b, &text_b);
    NADB_ASSERT(nadb_slice_eq(nadb_buf_slice(&text_a), nadb_buf_slice(&text_b)));
    nadb_buf_fini(&text_a);
    nadb_buf_fini(&text_b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nadb_config config, other;
    struct nadb_error error = {0};
    nadb_config_init(&config);
    nadb_config_init(&other);
    enum nadb_err err =
        nadb_config_load_text(&config, "fuzz", nadb_slice_of((const char *)data, size), &error);
    if (err != NADB_OK) {
        NADB_ASSERT(strncmp(error.text, "fuzz:", 5) == 0);
    } else {
        struct nadb_buf text;
        nadb_buf_init(&text, NADB_CONFIG_FILE_MAX);
        write_all(&config, &text);
        err = nadb_config_load_text(&other, "rewritten", nadb_buf_slice(&text), &error);
        NADB_ASSERT(err == NADB_OK);
        nadb_buf_fini(&text);
    }
    check_same(&config, &other);
    nadb_config_fini(&other);
    nadb_config_fini(&config);
    return 0;
}
