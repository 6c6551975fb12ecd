/* The grammar of the configuration file, redis.conf's:
 *
 *     file   lines parted by '\n'; blanks around a line do not count
 *     line   empty | '#' anything | NAME WORD...
 *     word   bare characters, "..." and '...' pieces, up to a blank; a closing quote ends it
 *     "..."  knows \n \r \t \b \a \xHH, and \c is c for any other c
 *     '...'  knows \' only
 *
 * A '#' begins a comment at the start of a line only. Thread: any. */
#ifndef NADB_CONFIG_CONFIG_FILE_H
#define NADB_CONFIG_CONFIG_FILE_H

#include "config/config.h"

/* The longest value with every byte escaped, and its quotes. */
#define NADB_CONFIG_QUOTED_MAX (4 * NADB_OPTION_TEXT_MAX + 2)

/* A line longer than this is refused; whatever CONFIG REWRITE writes is shorter. */
#define NADB_CONFIG_LINE_MAX (NADB_CONFIG_QUOTED_MAX + NADB_OPTION_NAME_MAX + 64)

enum nadb_line_kind {
    NADB_LINE_BLANK, /* empty or a comment */
    NADB_LINE_OPTION,
    NADB_LINE_BAD,
};

struct nadb_line {
    char name[NADB_CONFIG_LINE_MAX];
    size_t name_len;
    char value[NADB_CONFIG_LINE_MAX]; /* the words after the name, joined with single blanks */
    size_t value_len;
    size_t word_count; /* after the name */
};

/* Takes the next line off `text`, without its '\n'; false when there is none. */
NADB_MUST_CHECK bool nadb_config__next_line(struct nadb_slice *text, struct nadb_slice *ret);

/* Splits a line into *ret; *ret is undefined but for NADB_LINE_OPTION. BAD sets *reterr. */
NADB_MUST_CHECK enum nadb_line_kind nadb_config__parse_line(
    struct nadb_slice text, struct nadb_line *ret, struct nadb_error *reterr);

/* Takes the next run of non-blanks off `text`; false when only blanks are left. */
NADB_MUST_CHECK bool nadb_config__split_blank(struct nadb_slice *text, struct nadb_slice *ret);

/* Writes `value` as the file has it, in quotes unless it can stand bare, to `out`
 * (NADB_CONFIG_QUOTED_MAX bytes); returns the length. `is_list`: blanks need no quotes. */
size_t nadb_config__quote(struct nadb_slice value, bool is_list, char *out);

/* The whole file into `out`, which is empty with cap_max NADB_CONFIG_FILE_MAX; "-" is standard
 * input. Blocks; for the start and for CONFIG REWRITE. */
NADB_MUST_CHECK enum nadb_err nadb_config__read_file(
    const char *path, struct nadb_buf *out, struct nadb_error *reterr);

#endif
