/* This file tests error names and error details. */
#include "src/base/err.h"

#include "tests/support/test.h"

#include <errno.h>
#include <string.h>

NADB_TEST_SUITE(err);

Test(err, success_is_zero)
{
    cr_assert_eq(NADB_OK, 0);
    cr_assert_str_eq(nadb_err_name(NADB_OK), "OK");
}

Test(err, every_error_has_name_prefix_and_text_fit_for_the_wire)
{
    for (int i = 1; i < NADB_ERR_COUNT; i++) {
        enum nadb_err code = (enum nadb_err)i;
        cr_assert_eq(nadb_err_name(code)[0], 'E', "error %d", i);
        cr_assert_gt(strlen(nadb_err_prefix(code)), 0, "error %d", i);
        cr_assert_null(strpbrk(nadb_err_prefix(code), " \r\n"), "error %d", i);
        cr_assert_gt(strlen(nadb_err_text(code)), 0, "error %d", i);
        cr_assert_null(strpbrk(nadb_err_text(code), "\r\n"), "error %d", i);
    }
    cr_assert_str_eq(nadb_err_name(NADB_ENOSPC), "ENOSPC");
    cr_assert_str_eq(nadb_err_prefix(NADB_ENOSPC), "MISCONF");
}

Test(err, set_returns_the_code_and_fills_the_detail)
{
    struct nadb_error error;
    cr_assert_eq(
        nadb_error_set(&error, NADB_EINVAL, 0, "port '%d': out of range", 70000), NADB_EINVAL);
    cr_assert_eq(error.code, NADB_EINVAL);
    cr_assert_eq(error.sys_errno, 0);
    cr_assert_str_eq(error.text, "port '70000': out of range");
}

Test(err, set_without_a_place_for_the_detail_only_returns_the_code)
{
    cr_assert_eq(nadb_error_set(NULL, NADB_EIO, EIO, "file '%s': not read", "x"), NADB_EIO);
}

Test(err, set_appends_the_reason_of_the_system)
{
    struct nadb_error error;
    nadb_error_set(&error, NADB_EIO, ENOENT, "file '%s': not opened", "x");
    cr_assert_eq(error.sys_errno, ENOENT);
    cr_assert_str_eq(error.text, "file 'x': not opened: No such file or directory");
}

Test(err, a_long_text_is_cut_and_terminated)
{
    char subject[2 * NADB_ERROR_TEXT_MAX];
    memset(subject, 's', sizeof(subject) - 1);
    subject[sizeof(subject) - 1] = '\0';
    struct nadb_error error;
    nadb_error_set(&error, NADB_EIO, ENOENT, "%s", subject);
    cr_assert_eq(strlen(error.text), NADB_ERROR_TEXT_MAX - 1);
    /* One that leaves room for a part of the reason. */
    subject[NADB_ERROR_TEXT_MAX - 6] = '\0';
    nadb_error_set(&error, NADB_EIO, ENOENT, "%s", subject);
    cr_assert_eq(strlen(error.text), NADB_ERROR_TEXT_MAX - 1);
    cr_assert_str_eq(error.text + NADB_ERROR_TEXT_MAX - 6, ": No ");
}

Test(err, an_error_may_be_wrapped_in_its_own_text)
{
    struct nadb_error error;
    nadb_error_set(&error, NADB_EIO, 0, "inner");
    nadb_error_set(&error, NADB_ECORRUPT, 0, "outer: %s", error.text);
    cr_assert_str_eq(error.text, "outer: inner");
}
