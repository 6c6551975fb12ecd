/* This file turns error codes into names and texts and fills in error details. */
#include "src/base/err.h"

#include "src/base/assert.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *prefix, *text;
} error_rows[] = {
#define X(name, prefix, text) [NADB_##name] = {#name, prefix, text},
#include "src/base/err.def"
#undef X
};

_Static_assert(NADB_ARRAY_LEN(error_rows) == NADB_ERR_COUNT, "every error has its row");

const char *nadb_err_name(enum nadb_err code)
{
    NADB_ASSERT(code < NADB_ERR_COUNT);
    return error_rows[code].name;
}

const char *nadb_err_prefix(enum nadb_err code)
{
    NADB_ASSERT(code < NADB_ERR_COUNT);
    return error_rows[code].prefix;
}

const char *nadb_err_text(enum nadb_err code)
{
    NADB_ASSERT(code < NADB_ERR_COUNT);
    return error_rows[code].text;
}

enum nadb_err nadb_error_set(
    struct nadb_error *reterr, enum nadb_err code, int sys_errno, const char *format, ...)
{
    if (reterr == NULL) {
        return code;
    }
    /* Into a text of its own first: an argument may be the very text that is replaced. */
    char text[NADB_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0) {
        len = 0;
        text[0] = '\0';
    }
    if (sys_errno != 0 && (size_t)len < sizeof(text)) {
        char reason[128];
        snprintf(text + len, sizeof(text) - (size_t)len, ": %s",
            strerror_r(sys_errno, reason, sizeof(reason)));
    }
    reterr->code = code;
    reterr->sys_errno = sys_errno;
    memcpy(reterr->text, text, sizeof(text));
    return code;
}

void nadb_error_line(const struct nadb_error *error, char out[NADB_ERROR_LINE_MAX])
{
    bool is_whole = error->code == NADB_EENGINE;
    (void)snprintf(out, NADB_ERROR_LINE_MAX, "%s%s%s", /* it fits */
        is_whole ? "" : nadb_err_prefix(error->code), is_whole ? "" : " ", error->text);
}
