/* The configuration: one table (config/options.def) feeds the file parser, the command line,
 * CONFIG GET, SET and REWRITE, --help and nadbd.conf.example.
 *
 * A row of the table:
 *
 *     X(FIELD, "name", TYPE, default text, min, max, enum words or NULL, flags, "section", "doc")
 *
 *     TYPE         field of struct nadb_config    accepted text
 *     BOOL         bool                           yes no
 *     INT          int64_t                        decimal integer
 *     SIZE         uint64_t, bytes                1024 1kb 1mb 1gb
 *     DURATION_MS  uint64_t, ms                   100ms 1s 5m; a bare number is ms
 *     DURATION_S   uint64_t, s                    1s 5m; a bare number is seconds
 *     ENUM         int, index into the words      one of the words
 *     OCTAL        int64_t                        octal digits
 *     LIMITS       struct nadb_output_limits      class hard soft seconds, any number of times
 *     STRING       char *, owned, "" if empty     any text
 *     LIST         char *, words parted by blanks any number of words
 *
 * INERT("name", "value", "doc") rows answer CONFIG GET with their value, which is true, and accept
 * nothing else: parameters of Redis that clients ask for (`save`, `appendonly`).
 *
 * Errors name file, line and option, and the nearest name for one that does not exist:
 * `nadbd.conf:12: option 'prot': unknown; did you mean 'port'?`.
 *
 * Thread: loop. */
#ifndef NADB_CONFIG_CONFIG_H
#define NADB_CONFIG_CONFIG_H

#include <stdio.h>

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/slice.h"

enum nadb_option_type {
    NADB_OPTION_BOOL,
    NADB_OPTION_INT,
    NADB_OPTION_SIZE,
    NADB_OPTION_DURATION_MS,
    NADB_OPTION_DURATION_S,
    NADB_OPTION_ENUM,
    NADB_OPTION_OCTAL,
    NADB_OPTION_LIMITS,
    NADB_OPTION_STRING,
    NADB_OPTION_LIST,
};

enum nadb_option_flag {
    NADB_OPTION_MUTABLE = 1 << 0, /* CONFIG SET may change it */
    NADB_OPTION_SECRET = 1 << 1,  /* never logged */
    NADB_OPTION_INERT = 1 << 2,
};

#define NADB_OPTION_NAME_MAX 64   /* of any name in the table */
#define NADB_OPTION_TEXT_MAX 4096 /* of a value's text; longer ones are refused */
#define NADB_CONFIG_FILE_MAX (1024 * 1024)

/* ENUM fields count the words of their row from 0. loglevel, log-format and durability count as
 * enum nadb_log_level, nadb_log_format and nadb_durability do. */
enum nadb_config_supervised {
    NADB_CONFIG_SUPERVISED_NO,
    NADB_CONFIG_SUPERVISED_SYSTEMD,
    NADB_CONFIG_SUPERVISED_AUTO,
};

enum nadb_config_startup {
    NADB_CONFIG_STARTUP_WAIT,
    NADB_CONFIG_STARTUP_FAIL,
};

/* The classes of client-output-buffer-limit. */
enum nadb_output_class {
    NADB_OUTPUT_NORMAL,
    NADB_OUTPUT_REPLICA,
    NADB_OUTPUT_PUBSUB,
    NADB_OUTPUT_CLASS_COUNT
};

/* 0 bytes = no such limit. */
struct nadb_output_limit {
    uint64_t hard_bytes, soft_bytes, soft_s;
};

struct nadb_output_limits {
    struct nadb_output_limit classes[NADB_OUTPUT_CLASS_COUNT];
};

/* struct nadb_config: one field a row that is not INERT, typed as above. */
#define NADB_CTYPE_BOOL        bool
#define NADB_CTYPE_INT         int64_t
#define NADB_CTYPE_SIZE        uint64_t
#define NADB_CTYPE_DURATION_MS uint64_t
#define NADB_CTYPE_DURATION_S  uint64_t
#define NADB_CTYPE_ENUM        int
#define NADB_CTYPE_OCTAL       int64_t
#define NADB_CTYPE_LIMITS      struct nadb_output_limits
#define NADB_CTYPE_STRING      char *
#define NADB_CTYPE_LIST        char *
struct nadb_config {
#define X(field, name, type, value, min, max, words, flags, section, doc) NADB_CTYPE_##type field;
#define INERT(name, value, doc)
#include "config/options.def"
#undef X
#undef INERT
    /* read-only: where it came from; NULL = no file */
    char *file_path; /* absolute */
};

struct nadb_option {
    const char *name;
    enum nadb_option_type type;
    const char *value; /* the default */
    int64_t min, max;
    const char *const *words; /* ENUM: the accepted words, NULL at the end */
    unsigned flags;
    const char *section, *doc;
    size_t offset; /* of the field; meaningless when INERT */
};

/* All rows in the table's order; NULL past the end. */
const struct nadb_option *nadb_option_at(size_t index);
const struct nadb_option *nadb_option_find(struct nadb_slice name); /* ASCII case ignored */

void nadb_config_init(struct nadb_config *config); /* defaults */
void nadb_config_fini(struct nadb_config *config);

/* `path` "-" reads standard input. On failure the config is as before. */
NADB_MUST_CHECK enum nadb_err nadb_config_load_file(
    struct nadb_config *config, const char *path, struct nadb_error *reterr);

/* The same from memory; `subject` stands for the path in errors. config->file_path stays. */
NADB_MUST_CHECK enum nadb_err nadb_config_load_text(struct nadb_config *config, const char *subject,
    struct nadb_slice text, struct nadb_error *reterr);

enum nadb_config_action {
    NADB_CONFIG_RUN,
    NADB_CONFIG_HELP,
    NADB_CONFIG_VERSION,
    NADB_CONFIG_CHECK, /* --check-config */
};

/* `nadbd [CONFIG] [--option value ...]`: options are stronger than the file wherever they stand.
 * A LIST or LIMITS option takes every word up to the next option, so CONFIG may not follow one.
 * After HELP and VERSION nothing else was read. On failure the config is as before. */
NADB_MUST_CHECK enum nadb_err nadb_config_load_args(struct nadb_config *config, int argc,
    char **argv, enum nadb_config_action *ret_action, struct nadb_error *reterr);

/* What single rows cannot say (two options that exclude each other). Called by load_args last. */
NADB_MUST_CHECK enum nadb_err nadb_config_validate(
    const struct nadb_config *config, struct nadb_error *reterr);

/* Sets one option by name from text, mutable or not (start-up) — see set_live for CONFIG SET. */
NADB_MUST_CHECK enum nadb_err nadb_config_set(struct nadb_config *config, struct nadb_slice name,
    struct nadb_slice value, struct nadb_error *reterr);

/* CONFIG SET of several pairs, all or none; pairs[2i] names, pairs[2i+1] values. The error's text
 * is Redis's, without "ERR ". A name given twice is refused. */
NADB_MUST_CHECK enum nadb_err nadb_config_set_live(struct nadb_config *config,
    const struct nadb_slice *pairs, size_t pair_count, struct nadb_error *reterr);

/* The option's present value as CONFIG GET shows it (sizes in bytes, durations in the option's
 * unit), appended to `out`, which must be allowed NADB_OPTION_TEXT_MAX bytes more. */
void nadb_config_format(
    const struct nadb_config *config, const struct nadb_option *option, struct nadb_buf *out);

/* Writes the present values into config->file_path, keeping comments, order and whatever is
 * unchanged; atomic replace. Fails when there is no file. */
NADB_MUST_CHECK enum nadb_err nadb_config_rewrite(
    struct nadb_config *config, struct nadb_error *reterr);

void nadb_config_print_help(FILE *out);
void nadb_config_print_example(FILE *out); /* nadbd.conf.example */

#endif
