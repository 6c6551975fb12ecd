/* For listeners of nadbctl's work on directories that only want to hear of damage. */
#ifndef NADB_TESTS_SUPPORT_FS_LISTENER_H
#define NADB_TESTS_SUPPORT_FS_LISTENER_H

#include <stdint.h>

static inline void nadb_ignore_progress(void *ctx, const char *what, uint64_t done, uint64_t all)
{
    (void)ctx;
    (void)what;
    (void)done;
    (void)all;
}

#endif
