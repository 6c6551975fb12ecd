/* This file turns text into an option's value by the row's type, and the value into text. */
#include "config/config_value.h"

#include "config/config_file.h"
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

#include <stdio.h>

#define SOFT_SECONDS_MAX INT32_MAX

static const struct {
    const char *shown; /* by CONFIG GET, as Redis has it */
    const char *name;
} output_classes[NADB_OUTPUT_CLASS_COUNT] = {
    [NADB_OUTPUT_NORMAL] = {"normal", "normal"},
    [NADB_OUTPUT_REPLICA] = {"slave", "replica"},
    [NADB_OUTPUT_PUBSUB] = {"pubsub", "pubsub"},
};

/* ---- the field ---- */

static void *get_field(const struct nadb_option *option, struct nadb_config *config)
{
    NADB_ASSERT((option->flags & NADB_OPTION_INERT) == 0);
    return (char *)config + option->offset;
}

static const void *get_const_field(
    const struct nadb_option *option, const struct nadb_config *config)
{
    NADB_ASSERT((option->flags & NADB_OPTION_INERT) == 0);
    return (const char *)config + option->offset;
}

static bool is_text(const struct nadb_option *option)
{
    return option->type == NADB_OPTION_STRING || option->type == NADB_OPTION_LIST;
}

static struct nadb_option_value load_field(
    const struct nadb_option *option, const struct nadb_config *config)
{
    const void *field = get_const_field(option, config);
    struct nadb_option_value value = {0};
    switch (option->type) {
    case NADB_OPTION_BOOL:
        value.boolean = *(const bool *)field;
        break;
    case NADB_OPTION_INT:
    case NADB_OPTION_OCTAL:
        value.integer = *(const int64_t *)field;
        break;
    case NADB_OPTION_SIZE:
    case NADB_OPTION_DURATION_MS:
    case NADB_OPTION_DURATION_S:
        value.number = *(const uint64_t *)field;
        break;
    case NADB_OPTION_ENUM:
        value.word = *(const int *)field;
        break;
    case NADB_OPTION_LIMITS:
        value.limits = *(const struct nadb_output_limits *)field;
        break;
    case NADB_OPTION_STRING:
    case NADB_OPTION_LIST:
        value.text = *(char *const *)field;
        break;
    }
    return value;
}

void nadb_option__store(
    const struct nadb_option *option, struct nadb_config *config, struct nadb_option_value *value)
{
    void *field = get_field(option, config);
    switch (option->type) {
    case NADB_OPTION_BOOL:
        *(bool *)field = value->boolean;
        break;
    case NADB_OPTION_INT:
    case NADB_OPTION_OCTAL:
        *(int64_t *)field = value->integer;
        break;
    case NADB_OPTION_SIZE:
    case NADB_OPTION_DURATION_MS:
    case NADB_OPTION_DURATION_S:
        *(uint64_t *)field = value->number;
        break;
    case NADB_OPTION_ENUM:
        *(int *)field = value->word;
        break;
    case NADB_OPTION_LIMITS:
        *(struct nadb_output_limits *)field = value->limits;
        break;
    case NADB_OPTION_STRING:
    case NADB_OPTION_LIST:
        nadb_mem_free(*(char **)field);
        *(char **)field = value->text;
        value->text = NULL;
        break;
    }
}

void nadb_option__drop(const struct nadb_option *option, struct nadb_option_value *value)
{
    if (is_text(option)) {
        nadb_mem_free(value->text);
        value->text = NULL;
    }
}

void nadb_option__copy(
    const struct nadb_option *option, struct nadb_config *to, const struct nadb_config *from)
{
    struct nadb_option_value value = load_field(option, from);
    if (is_text(option)) {
        value.text = nadb_mem_strdup(value.text);
    }
    nadb_option__store(option, to, &value);
}

/* ---- from text ---- */

static enum nadb_err refuse(struct nadb_error *reterr, const char *reason)
{
    return nadb_error_set(reterr, NADB_EINVAL, 0, "%s", reason);
}

static enum nadb_err check_range(
    const struct nadb_option *option, int64_t value, struct nadb_error *reterr)
{
    if (value >= option->min && value <= option->max) {
        return NADB_OK;
    }
    if (option->type == NADB_OPTION_OCTAL) {
        return nadb_error_set(reterr, NADB_EINVAL, 0,
            "argument must be between %llo and %llo inclusive", (unsigned long long)option->min,
            (unsigned long long)option->max);
    }
    return nadb_error_set(reterr, NADB_EINVAL, 0,
        "argument must be between %lld and %lld inclusive", (long long)option->min,
        (long long)option->max);
}

static enum nadb_err check_range_u64(
    const struct nadb_option *option, uint64_t value, struct nadb_error *reterr)
{
    return check_range(option, value > INT64_MAX ? -1 : (int64_t)value, reterr);
}

static enum nadb_err parse_bool(
    struct nadb_slice text, struct nadb_option_value *ret, struct nadb_error *reterr)
{
    bool value;
    if (!nadb_parse_bool(text, &value)) {
        return refuse(reterr, "argument must be 'yes' or 'no'");
    }
    ret->boolean = value;
    return NADB_OK;
}

static enum nadb_err parse_int(const struct nadb_option *option, struct nadb_slice text,
    struct nadb_option_value *ret, struct nadb_error *reterr)
{
    int64_t value;
    if (!nadb_parse_i64(text, &value)) {
        return refuse(reterr, "argument couldn't be parsed into an integer");
    }
    ret->integer = value;
    return check_range(option, value, reterr);
}

static enum nadb_err parse_octal(const struct nadb_option *option, struct nadb_slice text,
    struct nadb_option_value *ret, struct nadb_error *reterr)
{
    int64_t value = 0;
    bool is_octal = text.len > 0;
    for (size_t i = 0; is_octal && i < text.len; i++) {
        is_octal = text.data[i] >= '0' && text.data[i] <= '7' && value <= INT64_MAX / 8 - 7;
        if (is_octal) {
            value = value * 8 + (text.data[i] - '0');
        }
    }
    if (!is_octal) {
        return refuse(reterr, "argument couldn't be parsed as an octal number");
    }
    ret->integer = value;
    return check_range(option, value, reterr);
}

static enum nadb_err parse_size(const struct nadb_option *option, struct nadb_slice text,
    struct nadb_option_value *ret, struct nadb_error *reterr)
{
    uint64_t value;
    if (!nadb_parse_size(text, &value)) {
        return refuse(reterr, "argument must be a memory value");
    }
    ret->number = value;
    return check_range_u64(option, value, reterr);
}

static enum nadb_err parse_duration(const struct nadb_option *option, struct nadb_slice text,
    struct nadb_option_value *ret, struct nadb_error *reterr)
{
    uint64_t unit_ms = option->type == NADB_OPTION_DURATION_S ? 1000 : 1;
    uint64_t ms;
    int64_t negative;
    if (!nadb_parse_duration(text, unit_ms, &ms)) {
        if (nadb_parse_i64(text, &negative) && negative < 0) {
            return check_range(option, negative, reterr);
        }
        return refuse(
            reterr, "argument couldn't be parsed into an integer or a duration (100ms, 1s, 5m)");
    }
    if (ms % unit_ms != 0) {
        return refuse(reterr, "argument must be whole seconds");
    }
    ret->number = ms / unit_ms;
    return check_range_u64(option, ret->number, reterr);
}

static enum nadb_err refuse_word(const struct nadb_option *option, struct nadb_error *reterr)
{
    char list[NADB_ERROR_TEXT_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; option->words[i] != NULL && len < sizeof(list); i++) {
        len += (size_t)snprintf(
            list + len, sizeof(list) - len, "%s%s", i == 0 ? "" : ", ", option->words[i]);
    }
    return nadb_error_set(
        reterr, NADB_EINVAL, 0, "argument(s) must be one of the following: %s", list);
}

static enum nadb_err parse_word(const struct nadb_option *option, struct nadb_slice text,
    struct nadb_option_value *ret, struct nadb_error *reterr)
{
    for (int i = 0; option->words[i] != NULL; i++) {
        if (nadb_slice_eq_nocase(text, nadb_slice_cstr(option->words[i]))) {
            ret->word = i;
            return NADB_OK;
        }
    }
    return refuse_word(option, reterr);
}

static bool parse_limit(struct nadb_slice *rest, struct nadb_output_limit *ret)
{
    struct nadb_slice hard, soft, soft_s;
    return nadb_config__split_blank(rest, &hard) && nadb_config__split_blank(rest, &soft) &&
           nadb_config__split_blank(rest, &soft_s) && nadb_parse_size(hard, &ret->hard_bytes) &&
           nadb_parse_size(soft, &ret->soft_bytes) && nadb_parse_u64(soft_s, &ret->soft_s) &&
           ret->soft_s <= SOFT_SECONDS_MAX;
}

static size_t count_words(struct nadb_slice text)
{
    struct nadb_slice word;
    size_t count = 0;
    while (nadb_config__split_blank(&text, &word)) {
        count++;
    }
    return count;
}

/* The class of that name, NADB_OUTPUT_CLASS_COUNT for none. */
static size_t find_output_class(struct nadb_slice name)
{
    size_t idx = 0;
    while (idx < NADB_OUTPUT_CLASS_COUNT &&
           !nadb_slice_eq_nocase(name, nadb_slice_cstr(output_classes[idx].name)) &&
           !nadb_slice_eq_nocase(name, nadb_slice_cstr(output_classes[idx].shown))) {
        idx++;
    }
    return idx;
}

static enum nadb_err parse_limits(const struct nadb_option *option,
    const struct nadb_config *config, struct nadb_slice text, struct nadb_option_value *ret,
    struct nadb_error *reterr)
{
    size_t word_count = count_words(text);
    if (word_count == 0 || word_count % 4 != 0) {
        return refuse(reterr, "Wrong number of arguments in buffer limit configuration.");
    }
    *ret = load_field(option, config);
    struct nadb_slice name;
    while (nadb_config__split_blank(&text, &name)) {
        size_t idx = find_output_class(name);
        if (idx == NADB_OUTPUT_CLASS_COUNT) {
            return refuse(reterr, "Invalid client class specified in buffer limit configuration.");
        }
        if (!parse_limit(&text, &ret->limits.classes[idx])) {
            return refuse(reterr,
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        }
    }
    return NADB_OK;
}

static enum nadb_err parse_text(const struct nadb_option *option, struct nadb_slice text,
    struct nadb_option_value *ret, struct nadb_error *reterr)
{
    if (text.len > NADB_OPTION_TEXT_MAX) {
        return nadb_error_set(reterr, NADB_EINVAL, 0, "argument must not be longer than %d bytes",
            NADB_OPTION_TEXT_MAX);
    }
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL) {
        return refuse(reterr, "argument must not contain a zero byte");
    }
    char *out = nadb_mem_alloc(text.len + 1);
    size_t len = 0;
    if (option->type == NADB_OPTION_STRING && text.len > 0) {
        memcpy(out, text.data, text.len);
        len = text.len;
    }
    struct nadb_slice word;
    while (option->type == NADB_OPTION_LIST && nadb_config__split_blank(&text, &word)) {
        if (len > 0) {
            out[len++] = ' ';
        }
        memcpy(out + len, word.data, word.len);
        len += word.len;
    }
    out[len] = '\0';
    ret->text = out;
    return NADB_OK;
}

enum nadb_err nadb_option__parse(const struct nadb_option *option, const struct nadb_config *config,
    struct nadb_slice text, struct nadb_option_value *ret, struct nadb_error *reterr)
{
    struct nadb_option_value value = {0};
    enum nadb_err err = NADB_EINVAL;
    switch (option->type) {
    case NADB_OPTION_BOOL:
        err = parse_bool(text, &value, reterr);
        break;
    case NADB_OPTION_INT:
        err = parse_int(option, text, &value, reterr);
        break;
    case NADB_OPTION_OCTAL:
        err = parse_octal(option, text, &value, reterr);
        break;
    case NADB_OPTION_SIZE:
        err = parse_size(option, text, &value, reterr);
        break;
    case NADB_OPTION_DURATION_MS:
    case NADB_OPTION_DURATION_S:
        err = parse_duration(option, text, &value, reterr);
        break;
    case NADB_OPTION_ENUM:
        err = parse_word(option, text, &value, reterr);
        break;
    case NADB_OPTION_LIMITS:
        err = parse_limits(option, config, text, &value, reterr);
        break;
    case NADB_OPTION_STRING:
    case NADB_OPTION_LIST:
        err = parse_text(option, text, &value, reterr);
        break;
    }
    if (err == NADB_OK) {
        *ret = value;
    }
    return err;
}

/* ---- to text ---- */

/* A number with the unit that divides it, as the parser reads it back. */
struct unit {
    uint64_t size;
    const char *name;
};

static const struct unit size_units[] = {
    {1024 * 1024 * 1024, "gb"}, {1024 * 1024, "mb"}, {1024, "kb"}, {1, ""}};
static const struct unit duration_ms_units[] = {
    {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};

static void append(struct nadb_buf *out, const char *data, size_t len)
{
    bool is_room = nadb_buf_append(out, data, len);
    NADB_ASSERT(is_room);
}

static void append_u64(struct nadb_buf *out, uint64_t value)
{
    char digits[NADB_I64_TEXT_MAX];
    append(out, digits, nadb_format_u64(digits, value));
}

static void append_unit(struct nadb_buf *out, uint64_t value, const struct unit *units)
{
    if (value == 0) {
        append(out, "0", 1);
        return;
    }
    while (value % units->size != 0) {
        units++; /* the last one divides everything */
    }
    append_u64(out, value / units->size);
    append(out, units->name, strlen(units->name));
}

static void append_octal(struct nadb_buf *out, int64_t value)
{
    char digits[NADB_I64_TEXT_MAX + 1];
    int len = snprintf(digits, sizeof(digits), "%llo", (unsigned long long)value);
    append(out, digits, (size_t)len);
}

/* Bare numbers, or with units when `units` is given. */
static void append_limits(
    struct nadb_buf *out, const struct nadb_output_limits *limits, const struct unit *units)
{
    static const struct unit bare[] = {{1, ""}};
    for (size_t i = 0; i < NADB_OUTPUT_CLASS_COUNT; i++) {
        const struct nadb_output_limit *limit = &limits->classes[i];
        const char *name = units == NULL ? output_classes[i].shown : output_classes[i].name;
        append(out, " ", i == 0 ? 0 : 1);
        append(out, name, strlen(name));
        append(out, " ", 1);
        append_unit(out, limit->hard_bytes, units == NULL ? bare : units);
        append(out, " ", 1);
        append_unit(out, limit->soft_bytes, units == NULL ? bare : units);
        append(out, " ", 1);
        append_u64(out, limit->soft_s);
    }
}

void nadb_option__format_plain(
    const struct nadb_option *option, const struct nadb_config *config, struct nadb_buf *out)
{
    struct nadb_option_value value = load_field(option, config);
    char digits[NADB_I64_TEXT_MAX];
    switch (option->type) {
    case NADB_OPTION_BOOL:
        append(out, value.boolean ? "yes" : "no", value.boolean ? 3 : 2);
        break;
    case NADB_OPTION_INT:
        append(out, digits, nadb_format_i64(digits, value.integer));
        break;
    case NADB_OPTION_OCTAL:
        append_octal(out, value.integer);
        break;
    case NADB_OPTION_SIZE:
    case NADB_OPTION_DURATION_MS:
    case NADB_OPTION_DURATION_S:
        append_u64(out, value.number);
        break;
    case NADB_OPTION_ENUM:
        append(out, option->words[value.word], strlen(option->words[value.word]));
        break;
    case NADB_OPTION_LIMITS:
        append_limits(out, &value.limits, NULL);
        break;
    case NADB_OPTION_STRING:
    case NADB_OPTION_LIST:
        append(out, value.text, strlen(value.text));
        break;
    }
}

void nadb_option__format_number(
    const struct nadb_option *option, int64_t number, struct nadb_buf *out)
{
    char digits[NADB_I64_TEXT_MAX];
    if (option->type == NADB_OPTION_SIZE) {
        append_unit(out, (uint64_t)number, size_units);
    } else if (option->type == NADB_OPTION_DURATION_MS) {
        append_unit(out, (uint64_t)number, duration_ms_units);
    } else if (option->type == NADB_OPTION_OCTAL) {
        append_octal(out, number);
    } else {
        append(out, digits, nadb_format_i64(digits, number));
    }
}

void nadb_option__format_file(
    const struct nadb_option *option, const struct nadb_config *config, struct nadb_buf *out)
{
    struct nadb_option_value value = load_field(option, config);
    if (option->type == NADB_OPTION_SIZE || option->type == NADB_OPTION_DURATION_MS) {
        nadb_option__format_number(option, (int64_t)value.number, out);
    } else if (option->type == NADB_OPTION_LIMITS) {
        append_limits(out, &value.limits, size_units);
    } else if (is_text(option)) {
        char quoted[NADB_CONFIG_QUOTED_MAX];
        bool is_list = option->type == NADB_OPTION_LIST;
        append(out, quoted, nadb_config__quote(nadb_slice_cstr(value.text), is_list, quoted));
    } else {
        nadb_option__format_plain(option, config, out);
    }
}
