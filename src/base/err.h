/* The error list and the value that carries an error's detail.
 *
 * A fallible function returns `enum nadb_err`, 0 for success, and takes a trailing
 * `struct nadb_error *reterr` (NULL allowed) for the detail. An error crosses threads inside the
 * job that met it; nothing here is thread-local. "Not found" and "need more bytes" are outcomes
 * with enums of their own, not errors. */
#ifndef NADB_BASE_ERR_H
#define NADB_BASE_ERR_H

#include "src/base/compiler.h"

enum nadb_err {
#define X(name, prefix, text) NADB_##name,
#include "src/base/err.def"
#undef X
    NADB_ERR_COUNT
};

#define NADB_ERROR_TEXT_MAX 256

struct nadb_error {
    enum nadb_err code;
    int sys_errno; /* errno of the failed system call, 0 if none */
    char text[NADB_ERROR_TEXT_MAX];
};

/* "ENOSPC" and so on; for logs. Thread: any. */
const char *nadb_err_name(enum nadb_err code);

/* The first word of the error reply, "MISCONF" and so on. Thread: any. */
const char *nadb_err_prefix(enum nadb_err code);

/* "<prefix> <text>" as one line; of NADB_EENGINE the text alone, which has a prefix of its own.
 * Thread: any. */
#define NADB_ERROR_LINE_MAX (NADB_ERROR_TEXT_MAX + 16)
void nadb_error_line(const struct nadb_error *error, char out[NADB_ERROR_LINE_MAX]);

/* The sentence used where no detail was given. Thread: any. */
const char *nadb_err_text(enum nadb_err code);

/* Fills `reterr` (ignored when NULL) with one line `subject 'name': what failed`, appending
 * `: strerror(sys_errno)` when sys_errno is not 0, cut at NADB_ERROR_TEXT_MAX. Returns `code`, so
 * that `return nadb_error_set(...)` reads well. Thread: any. */
enum nadb_err nadb_error_set(struct nadb_error *reterr, enum nadb_err code, int sys_errno,
    const char *format, ...) NADB_PRINTF(4, 5);

#endif
