/* Assertions for programmer errors. They stay on in release builds.
 *
 * Bytes from the wire, the disk, the configuration or the kernel are never asserted: they are
 * checked and refused with an error. NADB_DCHECK is for checks that cost more than O(1) and is
 * compiled in only with -DNADB_DEBUG_CHECKS (debug and sanitizer builds).
 *
 * Everything that travels through a `void *` starts with `unsigned magic` and is recovered with
 * NADB_CAST, so that a wrong pointer stops here and not three structures later. */
#ifndef NADB_BASE_ASSERT_H
#define NADB_BASE_ASSERT_H

#include "src/base/compiler.h"

/* Prints one line with the place and the condition to stderr, then abort()s. Thread: any. */
NADB_NORETURN void nadb_assert_failed(const char *file, int line, const char *condition);

#define NADB_ASSERT(condition)                                                                     \
    (NADB_LIKELY(condition) ? (void)0 : nadb_assert_failed(__FILE__, __LINE__, #condition))

#ifdef NADB_DEBUG_CHECKS
#define NADB_DCHECK(condition) NADB_ASSERT(condition)
#else
#define NADB_DCHECK(condition) ((void)sizeof(condition))
#endif

/* `object` is a struct pointer whose first member is `magic`; evaluates `pointer` once. */
#define NADB_CAST(object, pointer, expected_magic)                                                 \
    do {                                                                                           \
        (object) = (pointer);                                                                      \
        NADB_ASSERT((object) != NULL && (object)->magic == (expected_magic));                      \
    } while (0)

#endif
