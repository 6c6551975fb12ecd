/* What every Criterion test file includes: Criterion itself, and a suite that notices leaks.
 *
 * Criterion ignores the exit status of a child that already reported success, so the report
 * LeakSanitizer makes at exit would pass unseen, and so would a cr_assert in a `.fini`. Therefore
 * each suite checks for leaks in its `.fini` and aborts: that is the one thing that fails the run.
 * A test with a `.fini` of its own loses the check; clean up in the test's body instead. */
#ifndef NADB_TESTS_SUPPORT_TEST_H
#define NADB_TESTS_SUPPORT_TEST_H

#include <criterion/criterion.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define NADB_TEST_HAS_LSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NADB_TEST_HAS_LSAN 1
#endif
#endif

#ifdef NADB_TEST_HAS_LSAN
#include <sanitizer/lsan_interface.h>
#endif

static inline void nadb_test_check_leaks(void)
{
#ifdef NADB_TEST_HAS_LSAN
    if (__lsan_do_recoverable_leak_check() != 0) {
        abort();
    }
#endif
}

/* Once for each test file, before its tests. */
#define NADB_TEST_SUITE(name) TestSuite(name, .fini = nadb_test_check_leaks)

#endif
