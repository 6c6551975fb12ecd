/* This file reads the command line: `nadbd [CONFIG] [--option value ...]`.
 *
 * It is read twice, because options are stronger than the file wherever they stand: once to find
 * the file and what to do, once to apply the options. */
#include "config/config_file.h"
#include "config/config_internal.h"

struct arg_cursor {
    int argc;
    char **argv;
    int idx; /* of the next argument */
};

enum arg_kind {
    ARG_END,
    ARG_ACTION,
    ARG_FILE,
    ARG_OPTION,
};

struct arg {
    enum arg_kind kind;
    enum nadb_config_action action;   /* ACTION */
    const char *path;                 /* FILE */
    const struct nadb_option *option; /* OPTION */
    char value[NADB_CONFIG_LINE_MAX]; /* OPTION: all its words, joined with blanks */
    size_t value_len;
};

static const struct {
    const char *text;
    enum nadb_config_action action;
} actions[] = {
    {"-h", NADB_CONFIG_HELP},
    {"--help", NADB_CONFIG_HELP},
    {"-v", NADB_CONFIG_VERSION},
    {"--version", NADB_CONFIG_VERSION},
    {"--check-config", NADB_CONFIG_CHECK},
};

static bool find_action(const char *text, enum nadb_config_action *ret)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(actions); i++) {
        if (strcmp(text, actions[i].text) == 0) {
            *ret = actions[i].action;
            return true;
        }
    }
    return false;
}

static bool is_option_like(const char *text)
{
    return text[0] == '-' && text[1] == '-';
}

static enum nadb_err add_word(struct arg *arg, struct nadb_slice word, struct nadb_error *reterr)
{
    size_t joint = arg->value_len > 0 ? 1 : 0;
    if (word.len + joint > sizeof(arg->value) - arg->value_len) {
        return nadb_error_set(
            reterr, NADB_EINVAL, 0, "option '%s': value too long", arg->option->name);
    }
    if (joint > 0) {
        arg->value[arg->value_len++] = ' ';
    }
    if (word.len > 0) {
        memcpy(arg->value + arg->value_len, word.data, word.len);
    }
    arg->value_len += word.len;
    return NADB_OK;
}

/* The value from the arguments after the name: one, or all up to the next option for an option
 * that takes several words. */
static enum nadb_err take_words(
    struct arg_cursor *cursor, struct arg *arg, struct nadb_error *reterr)
{
    int words_max = nadb_option__is_many_words(arg->option) ? cursor->argc : 1;
    int count = 0;
    enum nadb_config_action action;
    while (count < words_max && cursor->idx < cursor->argc) {
        const char *word = cursor->argv[cursor->idx];
        if (is_option_like(word) || find_action(word, &action)) {
            break;
        }
        enum nadb_err err = add_word(arg, nadb_slice_cstr(word), reterr);
        if (err != NADB_OK) {
            return err;
        }
        cursor->idx++;
        count++;
    }
    if (count == 0) {
        return nadb_error_set(reterr, NADB_EINVAL, 0,
            "option '%s': has no value (one that begins with '--' is written --%s=VALUE)",
            arg->option->name, arg->option->name);
    }
    return NADB_OK;
}

static enum nadb_err take_option(
    struct arg_cursor *cursor, const char *text, struct arg *ret, struct nadb_error *reterr)
{
    const char *equals = strchr(text, '=');
    struct nadb_slice name =
        equals == NULL ? nadb_slice_cstr(text) : nadb_slice_of(text, (size_t)(equals - text));
    ret->kind = ARG_OPTION;
    ret->option = nadb_option_find(name);
    ret->value_len = 0;
    if (ret->option == NULL) {
        return nadb_config__refuse_name(name, reterr);
    }
    if (equals != NULL) {
        return add_word(ret, nadb_slice_cstr(equals + 1), reterr);
    }
    return take_words(cursor, ret, reterr);
}

static enum nadb_err next_arg(struct arg_cursor *cursor, struct arg *ret, struct nadb_error *reterr)
{
    if (cursor->idx >= cursor->argc) {
        ret->kind = ARG_END;
        return NADB_OK;
    }
    const char *text = cursor->argv[cursor->idx++];
    if (find_action(text, &ret->action)) {
        ret->kind = ARG_ACTION;
        return NADB_OK;
    }
    if (is_option_like(text)) {
        return take_option(cursor, text + 2, ret, reterr);
    }
    if (text[0] == '-' && text[1] != '\0') {
        return nadb_config__refuse_name(nadb_slice_cstr(text + 1), reterr);
    }
    ret->kind = ARG_FILE;
    ret->path = text;
    return NADB_OK;
}

/* First reading. Help and version win over whatever is wrong behind them. */
static enum nadb_err scan_args(struct arg_cursor cursor, enum nadb_config_action *ret_action,
    const char **ret_path, struct nadb_error *reterr)
{
    struct arg arg;
    enum nadb_err err;
    *ret_action = NADB_CONFIG_RUN;
    *ret_path = NULL;
    while ((err = next_arg(&cursor, &arg, reterr)) == NADB_OK && arg.kind != ARG_END) {
        if (arg.kind == ARG_ACTION) {
            *ret_action = arg.action;
            if (arg.action != NADB_CONFIG_CHECK) {
                return NADB_OK;
            }
        } else if (arg.kind == ARG_FILE && *ret_path != NULL) {
            return nadb_error_set(reterr, NADB_EINVAL, 0,
                "'%s': one configuration file only, and '%s' was given", arg.path, *ret_path);
        } else if (arg.kind == ARG_FILE) {
            *ret_path = arg.path;
        }
    }
    return err;
}

/* Second reading. */
static enum nadb_err apply_options(
    struct nadb_config *config, struct arg_cursor cursor, struct nadb_error *reterr)
{
    struct arg arg;
    enum nadb_err err;
    while ((err = next_arg(&cursor, &arg, reterr)) == NADB_OK && arg.kind != ARG_END) {
        if (arg.kind != ARG_OPTION) {
            continue;
        }
        err = nadb_config_set(config, nadb_slice_cstr(arg.option->name),
            nadb_slice_of(arg.value, arg.value_len), reterr);
        if (err != NADB_OK) {
            break;
        }
    }
    return err;
}

static enum nadb_err refuse_line(
    enum nadb_err err, const struct nadb_error *reason, struct nadb_error *reterr)
{
    return nadb_error_set(reterr, err, 0, "command line: %s", reason->text);
}

enum nadb_err nadb_config_load_args(struct nadb_config *config, int argc, char **argv,
    enum nadb_config_action *ret_action, struct nadb_error *reterr)
{
    struct arg_cursor cursor = {.argc = argc, .argv = argv, .idx = 1};
    enum nadb_config_action action;
    const char *path;
    struct nadb_error reason;
    enum nadb_err err = scan_args(cursor, &action, &path, &reason);
    if (err != NADB_OK) {
        return refuse_line(err, &reason, reterr);
    }
    if (action == NADB_CONFIG_HELP || action == NADB_CONFIG_VERSION) {
        *ret_action = action;
        return NADB_OK;
    }
    struct nadb_config next;
    nadb_config__copy(&next, config);
    err = path == NULL ? NADB_OK : nadb_config_load_file(&next, path, reterr);
    if (err == NADB_OK) {
        err = apply_options(&next, cursor, &reason);
        if (err != NADB_OK) {
            (void)refuse_line(err, &reason, reterr);
        }
    }
    if (err == NADB_OK) {
        err = nadb_config_validate(&next, reterr);
    }
    if (err != NADB_OK) {
        nadb_config_fini(&next);
        return err;
    }
    nadb_config_fini(config);
    *config = next;
    *ret_action = action;
    return NADB_OK;
}
