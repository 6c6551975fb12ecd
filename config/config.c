/* This file holds the table of options and sets, copies and shows them by name. */
#include "config/config.h"

#include "config/config_internal.h"
#include "config/config_value.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

#include <sys/un.h>

/* How much of a name that somebody typed an error repeats. */
#define NAME_SHOWN_MAX 64

static const struct nadb_option options[] = {
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define X(                                                                                         \
    field, option_name, option_type, text, low, high, option_words, option_flags, part, note)      \
    {.name = option_name,                                                                          \
        .type = NADB_OPTION_##option_type,                                                         \
        .value = text,                                                                             \
        .min = low,                                                                                \
        .max = high,                                                                               \
        .words = option_words,                                                                     \
        .flags = option_flags,                                                                     \
        .section = part,                                                                           \
        .doc = note,                                                                               \
        .offset = offsetof(struct nadb_config, field)},
#define INERT(option_name, text, note)                                                             \
    {.name = option_name,                                                                          \
        .type = NADB_OPTION_STRING,                                                                \
        .value = text,                                                                             \
        .flags = NADB_OPTION_INERT,                                                                \
        .section = "compatibility",                                                                \
        .doc = note},
#include "config/options.def"
#undef WORDS
#undef X
#undef INERT
};

_Static_assert(NADB_ARRAY_LEN(options) == NADB_OPTION_COUNT, "one row, one option");

/* ---- the table ---- */

const struct nadb_option *nadb_option_at(size_t index)
{
    return index < NADB_OPTION_COUNT ? &options[index] : NULL;
}

const struct nadb_option *nadb_option_find(struct nadb_slice name)
{
    for (size_t i = 0; i < NADB_OPTION_COUNT; i++) {
        if (nadb_slice_eq_nocase(name, nadb_slice_cstr(options[i].name))) {
            return &options[i];
        }
    }
    return NULL;
}

static bool is_inert(const struct nadb_option *option)
{
    return (option->flags & NADB_OPTION_INERT) != 0;
}

bool nadb_option__is_many_words(const struct nadb_option *option)
{
    return option->type == NADB_OPTION_LIST || option->type == NADB_OPTION_LIMITS ||
           is_inert(option);
}

static int get_shown_len(struct nadb_slice name)
{
    return (int)(name.len < NAME_SHOWN_MAX ? name.len : NAME_SHOWN_MAX);
}

enum nadb_err nadb_config__refuse_name(struct nadb_slice name, struct nadb_error *reterr)
{
    const char *nearest = nadb_config__nearest(name);
    if (nearest == NULL) {
        return nadb_error_set(
            reterr, NADB_EINVAL, 0, "option '%.*s': unknown", get_shown_len(name), name.data);
    }
    return nadb_error_set(reterr, NADB_EINVAL, 0, "option '%.*s': unknown; did you mean '%s'?",
        get_shown_len(name), name.data, nearest);
}

/* ---- life cycle ---- */

void nadb_config_init(struct nadb_config *config)
{
    *config = (struct nadb_config){0};
    for (size_t i = 0; i < NADB_OPTION_COUNT; i++) {
        const struct nadb_option *option = &options[i];
        struct nadb_option_value value;
        if (is_inert(option)) {
            continue;
        }
        enum nadb_err err =
            nadb_option__parse(option, config, nadb_slice_cstr(option->value), &value, NULL);
        NADB_ASSERT(err == NADB_OK);
        nadb_option__store(option, config, &value);
    }
}

void nadb_config_fini(struct nadb_config *config)
{
    for (size_t i = 0; i < NADB_OPTION_COUNT; i++) {
        if (!is_inert(&options[i])) {
            struct nadb_option_value nothing = {0};
            nadb_option__store(&options[i], config, &nothing);
        }
    }
    nadb_mem_free(config->file_path);
    config->file_path = NULL;
}

void nadb_config__copy(struct nadb_config *to, const struct nadb_config *from)
{
    *to = (struct nadb_config){0};
    for (size_t i = 0; i < NADB_OPTION_COUNT; i++) {
        if (!is_inert(&options[i])) {
            nadb_option__copy(&options[i], to, from);
        }
    }
    if (from->file_path != NULL) {
        to->file_path = nadb_mem_strdup(from->file_path);
    }
}

/* ---- at the start ---- */

enum nadb_err nadb_config_set(struct nadb_config *config, struct nadb_slice name,
    struct nadb_slice text, struct nadb_error *reterr)
{
    const struct nadb_option *option = nadb_option_find(name);
    if (option == NULL) {
        return nadb_config__refuse_name(name, reterr);
    }
    if (is_inert(option)) {
        if (nadb_slice_eq_nocase(text, nadb_slice_cstr(option->value))) {
            return NADB_OK;
        }
        return nadb_error_set(reterr, NADB_EINVAL, 0, "option '%s': can only be '%s': %s",
            option->name, option->value, option->doc);
    }
    struct nadb_error reason;
    struct nadb_option_value value;
    enum nadb_err err = nadb_option__parse(option, config, text, &value, &reason);
    if (err != NADB_OK) {
        return nadb_error_set(reterr, err, 0, "option '%s': %s", option->name, reason.text);
    }
    nadb_option__store(option, config, &value);
    return NADB_OK;
}

static enum nadb_err refuse_rule(
    struct nadb_error *reterr, const char *option_name, const char *reason)
{
    return nadb_error_set(reterr, NADB_EINVAL, 0, "option '%s': %s", option_name, reason);
}

enum nadb_err nadb_config_validate(const struct nadb_config *config, struct nadb_error *reterr)
{
    if (config->dir[0] == '\0') {
        return refuse_rule(reterr, "dir", "must not be empty");
    }
    if ((config->port == 0 || config->bind[0] == '\0') && config->unixsocket[0] == '\0') {
        return refuse_rule(reterr, config->port == 0 ? "port" : "bind",
            "nothing to listen on: set a port with an address, or unixsocket");
    }
    if (strlen(config->unixsocket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        return refuse_rule(reterr, "unixsocket", "longer than the path of a socket may be");
    }
    if (config->daemonize && config->supervised == NADB_CONFIG_SUPERVISED_SYSTEMD) {
        return refuse_rule(reterr, "daemonize", "excludes 'supervised systemd'");
    }
    return NADB_OK;
}

/* ---- CONFIG SET ---- */

static enum nadb_err refuse_pair(
    struct nadb_slice name, const char *reason, struct nadb_error *reterr)
{
    return nadb_error_set(reterr, NADB_EINVAL, 0,
        "CONFIG SET failed (possibly related to argument '%.*s') - %s", get_shown_len(name),
        name.data, reason);
}

/* The rows of all pairs, known and each given once. */
static enum nadb_err find_pairs(const struct nadb_slice *pairs, size_t pair_count,
    const struct nadb_option **ret_options, struct nadb_error *reterr)
{
    bool is_given[NADB_OPTION_COUNT] = {false};
    for (size_t i = 0; i < pair_count; i++) {
        struct nadb_slice name = pairs[2 * i];
        const struct nadb_option *option = nadb_option_find(name);
        if (option == NULL) {
            return nadb_error_set(reterr, NADB_EINVAL, 0,
                "Unknown option or number of arguments for CONFIG SET - '%.*s'",
                get_shown_len(name), name.data);
        }
        if (is_given[option - options]) {
            return refuse_pair(name, "duplicate parameter", reterr);
        }
        is_given[option - options] = true;
        ret_options[i] = option;
    }
    return NADB_OK;
}

static enum nadb_err parse_pair(const struct nadb_option *option, const struct nadb_config *config,
    const struct nadb_slice *pair, struct nadb_option_value *ret, struct nadb_error *reterr)
{
    if (is_inert(option) && nadb_slice_eq_nocase(pair[1], nadb_slice_cstr(option->value))) {
        return NADB_OK;
    }
    if ((option->flags & NADB_OPTION_MUTABLE) == 0) {
        return refuse_pair(pair[0], "can't set immutable config", reterr);
    }
    struct nadb_error reason;
    enum nadb_err err = nadb_option__parse(option, config, pair[1], ret, &reason);
    return err == NADB_OK ? NADB_OK : refuse_pair(pair[0], reason.text, reterr);
}

enum nadb_err nadb_config_set_live(struct nadb_config *config, const struct nadb_slice *pairs,
    size_t pair_count, struct nadb_error *reterr)
{
    const struct nadb_option *found[NADB_OPTION_COUNT];
    struct nadb_option_value values[NADB_OPTION_COUNT];
    /* More pairs than rows: one is given twice or unknown, and the first rows + 1 show it. */
    size_t count = pair_count <= NADB_OPTION_COUNT ? pair_count : NADB_OPTION_COUNT + 1;
    enum nadb_err err = find_pairs(pairs, count, found, reterr);
    if (err != NADB_OK) {
        return err;
    }
    size_t parsed = 0;
    while (parsed < count && err == NADB_OK) {
        values[parsed] = (struct nadb_option_value){0};
        err = parse_pair(found[parsed], config, &pairs[2 * parsed], &values[parsed], reterr);
        parsed++;
    }
    for (size_t i = 0; i < parsed; i++) {
        if (is_inert(found[i])) {
            continue;
        }
        if (err == NADB_OK) {
            nadb_option__store(found[i], config, &values[i]);
        } else {
            nadb_option__drop(found[i], &values[i]);
        }
    }
    return err;
}

/* ---- CONFIG GET ---- */

void nadb_config_format(
    const struct nadb_config *config, const struct nadb_option *option, struct nadb_buf *out)
{
    if (is_inert(option)) {
        bool is_room = nadb_buf_append(out, option->value, strlen(option->value));
        NADB_ASSERT(is_room);
        return;
    }
    nadb_option__format_plain(option, config, out);
}
