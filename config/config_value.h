/* One option's value: from text by its type, and back. Knows nothing of struct nadb_config but
 * where a row's field is. Thread: loop. */
#ifndef NADB_CONFIG_CONFIG_VALUE_H
#define NADB_CONFIG_CONFIG_VALUE_H

#include "config/config.h"

/* The member is the one of the option's type; INERT rows have none. */
struct nadb_option_value {
    union {
        bool boolean;                     /* BOOL */
        int64_t integer;                  /* INT, OCTAL */
        uint64_t number;                  /* SIZE, DURATION_MS, DURATION_S */
        int word;                         /* ENUM */
        struct nadb_output_limits limits; /* LIMITS */
        char *text;                       /* STRING, LIST; owned */
    };
};

/* Parses `text` as the type, the range and the words of the row ask. LIMITS keeps the classes that
 * `text` does not name as they are in `config`. The error's text is Redis's reason alone ("argument
 * must be ..."). *ret is the caller's to store or to drop. */
NADB_MUST_CHECK enum nadb_err nadb_option__parse(const struct nadb_option *option,
    const struct nadb_config *config, struct nadb_slice text, struct nadb_option_value *ret,
    struct nadb_error *reterr);

/* Puts a value into the row's field; takes it and frees what was there. */
void nadb_option__store(
    const struct nadb_option *option, struct nadb_config *config, struct nadb_option_value *value);

/* Frees a value that was not stored. */
void nadb_option__drop(const struct nadb_option *option, struct nadb_option_value *value);

/* The field as CONFIG GET shows it, or as a file has it: with units, and quoted where needed. */
void nadb_option__format_plain(
    const struct nadb_option *option, const struct nadb_config *config, struct nadb_buf *out);
void nadb_option__format_file(
    const struct nadb_option *option, const struct nadb_config *config, struct nadb_buf *out);

/* A number of the row's type with its unit, as a file has it: a limit of the row. */
void nadb_option__format_number(
    const struct nadb_option *option, int64_t number, struct nadb_buf *out);

/* Copies the field, with what it owns, into a config whose field owns nothing. */
void nadb_option__copy(
    const struct nadb_option *option, struct nadb_config *to, const struct nadb_config *from);

#endif
