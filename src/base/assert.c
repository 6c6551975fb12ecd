/* This file ends the process when an assertion does not hold. */
#include "src/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void nadb_assert_failed(const char *file, int line, const char *condition)
{
    /* stderr and not the log: the log itself asserts. */
    fprintf(stderr, "%s:%d: assertion does not hold: %s\n", file, line, condition);
    fflush(stderr);
    abort();
}
