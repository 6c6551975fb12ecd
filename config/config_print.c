/* This file prints the table of options: --help and nadbd.conf.example. */
#include "config/config.h"

#include "config/config_file.h"
#include "config/config_value.h"

#define EXAMPLE_COLUMNS 78

static bool begins_section(const struct nadb_option *option, const struct nadb_option *previous)
{
    return previous == NULL || strcmp(option->section, previous->section) != 0;
}

static void print_words(const struct nadb_option *option, const char *joint, FILE *out)
{
    for (size_t i = 0; option->words[i] != NULL; i++) {
        (void)fprintf(out, "%s%s", i == 0 ? "" : joint, option->words[i]);
    }
}

static void print_help_row(const struct nadb_option *option, FILE *out)
{
    char name[NADB_OPTION_NAME_MAX + 3];
    (void)snprintf(name, sizeof(name), "--%s", option->name);
    (void)fprintf(out, "  %-29s%c %s", name, (option->flags & NADB_OPTION_MUTABLE) != 0 ? '*' : ' ',
        option->doc);
    if (option->type == NADB_OPTION_ENUM) {
        (void)fputs(" (", out);
        print_words(option, "|", out);
        (void)fputc(')', out);
    }
    (void)fprintf(out, " [%s]\n", option->value[0] == '\0' ? "\"\"" : option->value);
}

void nadb_config_print_help(FILE *out)
{
    (void)fputs("Usage: nadbd [CONFIG] [--option value ...]\n"
                "       nadbd --check-config [CONFIG] [--option value ...]\n"
                "       nadbd --help | --version\n"
                "\n"
                "CONFIG is a file with one option a line, `port 6380`; '-' is standard input.\n"
                "The command line is stronger than the file. --option=value is the same.\n"
                "Sizes: 1024 1kb 64mb 1gb. Durations: 100ms 1s 5m. [default]\n"
                "* can be changed while nadbd runs, with CONFIG SET.\n",
        out);
    const struct nadb_option *option, *previous = NULL;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        if ((option->flags & NADB_OPTION_INERT) != 0) {
            continue;
        }
        if (begins_section(option, previous)) {
            (void)fprintf(out, "\n%s:\n", option->section);
        }
        print_help_row(option, out);
        previous = option;
    }
}

/* `text` as comment lines of at most EXAMPLE_COLUMNS. */
static void print_wrapped(const char *text, FILE *out)
{
    struct nadb_slice rest = nadb_slice_cstr(text), word;
    int column = fprintf(out, "#");
    while (nadb_config__split_blank(&rest, &word)) {
        if (column + 1 + (int)word.len > EXAMPLE_COLUMNS) {
            column = fprintf(out, "\n#") - 1;
        }
        column += fprintf(out, " %.*s", (int)word.len, word.data);
    }
    (void)fputs(".\n", out);
}

static void print_setting(const struct nadb_option *option, FILE *out)
{
    char quoted[NADB_CONFIG_QUOTED_MAX];
    bool is_list = option->type == NADB_OPTION_LIST || option->type == NADB_OPTION_LIMITS;
    size_t len = nadb_config__quote(nadb_slice_cstr(option->value), is_list, quoted);
    (void)fprintf(out, "#%s %.*s\n", option->name, (int)len, quoted);
}

static void print_limit(
    const char *before, const struct nadb_option *option, int64_t limit, FILE *out)
{
    struct nadb_buf text;
    nadb_buf_init(&text, NADB_OPTION_TEXT_MAX);
    nadb_option__format_number(option, limit, &text);
    (void)fprintf(out, "%s%.*s", before, (int)text.len, text.data);
    nadb_buf_fini(&text);
}

/* Limits that only the type sets are not worth a line. */
static void print_range(const struct nadb_option *option, FILE *out)
{
    if (option->max < INT32_MAX) {
        print_limit("# From ", option, option->min, out);
        print_limit(" to ", option, option->max, out);
        (void)fputs(".\n", out);
    } else if (option->min > 0) {
        print_limit("# At least ", option, option->min, out);
        (void)fputs(".\n", out);
    }
}

static void print_notes(const struct nadb_option *option, FILE *out)
{
    if (option->type == NADB_OPTION_ENUM) {
        (void)fputs("# One of: ", out);
        print_words(option, " ", out);
        (void)fputs(".\n", out);
    }
    if (option->min != 0 || option->max != 0) {
        print_range(option, out);
    }
    if ((option->flags & NADB_OPTION_MUTABLE) != 0) {
        (void)fputs("# CONFIG SET can change it.\n", out);
    }
}

void nadb_config_print_example(FILE *out)
{
    (void)fputs(
        "# nadbd.conf.example: every option with its default.\n"
        "#\n"
        "# Generated from config/options.def by `ninja conf-example`; do not edit here.\n"
        "#\n"
        "# One option a line: `name value`, as in redis.conf. A line that begins with '#' is\n"
        "# a comment; nothing behind a value is. \"...\" and '...' quote blanks.\n"
        "# Sizes: 1024 1kb 64mb 1gb. Durations: 100ms 1s 5m.\n",
        out);
    const struct nadb_option *option, *previous = NULL;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        bool is_inert = (option->flags & NADB_OPTION_INERT) != 0;
        if (begins_section(option, previous)) {
            (void)fprintf(out, "\n# ---- %s ----\n", option->section);
            (void)fputs(is_inert ? "\n# Parameters of Redis, accepted with the one value that is "
                                   "true of nadbd.\n\n"
                                 : "",
                out);
        }
        if (!is_inert) {
            (void)fputc('\n', out);
            print_wrapped(option->doc, out);
            print_notes(option, out);
        }
        print_setting(option, out);
        previous = option;
    }
}
