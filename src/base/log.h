/* Log lines with levels to stderr or a file.
 *
 * One line an event, written with one write(2), so lines of several threads do not mix. Control
 * characters in arguments are escaped; a line is cut at NADB_LOG_LINE_MAX. Thread: any. */
#ifndef NADB_BASE_LOG_H
#define NADB_BASE_LOG_H

#include "src/base/err.h"

#define NADB_LOG_LINE_MAX 1024

enum nadb_log_level {
    NADB_LOG_DEBUG,
    NADB_LOG_VERBOSE,
    NADB_LOG_NOTICE,
    NADB_LOG_WARNING,
    NADB_LOG_NOTHING,
};

enum nadb_log_format {
    NADB_LOG_TEXT, /* `<pid>:M <day> <month> <year> <h:m:s.ms> <mark> <message>`, as Redis */
    NADB_LOG_JSON, /* one object a line: time, pid, level, message */
};

/* `path` "" means stderr. The file is opened for appending at once, and again by reopen. */
NADB_MUST_CHECK enum nadb_err nadb_log_open(const char *path, enum nadb_log_level level,
    enum nadb_log_format format, struct nadb_error *reterr);
NADB_MUST_CHECK enum nadb_err nadb_log_reopen(struct nadb_error *reterr); /* after a rotation */
void nadb_log_close(void);
void nadb_log_set_level(enum nadb_log_level level);

void nadb_log(enum nadb_log_level level, const char *format, ...) NADB_PRINTF(2, 3);

#endif
