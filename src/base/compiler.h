/* Attributes and small compile-time helpers that every file may use. */
#ifndef NADB_BASE_COMPILER_H
#define NADB_BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define NADB_MUST_CHECK        __attribute__((warn_unused_result))
#define NADB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define NADB_NORETURN          __attribute__((noreturn))
#define NADB_NOINLINE          __attribute__((noinline))
#define NADB_LIKELY(x)         __builtin_expect(!!(x), 1)
#define NADB_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define NADB_ARRAY_LEN(array)  (sizeof(array) / sizeof((array)[0]))

/* A hint only: reads may fault silently, so any address is allowed. */
#define NADB_PREFETCH(address) __builtin_prefetch((address), 0, 3)

/* The struct of type `type` whose member `member` is at `pointer`. */
#define NADB_CONTAINER_OF(pointer, type, member)                                                   \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
