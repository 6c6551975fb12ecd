/* This file tests that errors are counted by their first word, within bounds. */
#include "src/server/cmdstats.h"

#include <stdio.h>

#include "tests/support/test.h"

NADB_TEST_SUITE(cmdstats);

Test(cmdstats, errors_are_counted_by_their_first_word)
{
    struct nadb_cmdstats stats;
    nadb_cmdstats_init(&stats, 1);
    nadb_cmdstats_error(&stats, NADB_SLICE("-ERR a\r\n"));
    nadb_cmdstats_error(&stats, NADB_SLICE("-NOAUTH b\r\n"));
    nadb_cmdstats_error(&stats, NADB_SLICE("-ERR c\r\n"));
    nadb_cmdstats_error(&stats, NADB_SLICE("-ALONE\r\n"));
    cr_assert_eq(stats.error_count, 3);
    cr_assert_str_eq(stats.errors[0].prefix, "ERR");
    cr_assert_eq(stats.errors[0].count, 2);
    cr_assert_str_eq(stats.errors[1].prefix, "NOAUTH");
    cr_assert_str_eq(stats.errors[2].prefix, "ALONE");
    nadb_cmdstats_fini(&stats);
}

Test(cmdstats, more_kinds_of_errors_than_fit_are_counted_together)
{
    struct nadb_cmdstats stats;
    nadb_cmdstats_init(&stats, 1);
    char reply[32];
    for (int i = 0; i < 200; i++) {
        int len = snprintf(reply, sizeof(reply), "-KIND%d x\r\n", i);
        nadb_cmdstats_error(&stats, nadb_slice_of(reply, (size_t)len));
    }
    cr_assert_eq(stats.error_count, NADB_ERROR_PREFIXES_MAX);
    const struct nadb_errorstat *last = &stats.errors[NADB_ERROR_PREFIXES_MAX - 1];
    cr_assert_str_eq(last->prefix, "OTHER");
    cr_assert_eq(last->count, 200 - (NADB_ERROR_PREFIXES_MAX - 1));
    nadb_cmdstats_fini(&stats);
}

Test(cmdstats, reset_forgets_everything)
{
    struct nadb_cmdstats stats;
    nadb_cmdstats_init(&stats, 2);
    stats.commands[1].calls = 7;
    nadb_histogram_add(&stats.commands[1].latency, 1000, 7);
    nadb_cmdstats_error(&stats, NADB_SLICE("-ERR a\r\n"));
    nadb_cmdstats_reset(&stats);
    cr_assert_eq(stats.commands[1].calls, 0);
    cr_assert_eq(stats.commands[1].latency.count, 0);
    cr_assert_eq(stats.error_count, 0);
    nadb_cmdstats_fini(&stats);
}
