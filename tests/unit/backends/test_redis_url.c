/* This file checks the urls of engines. */
#include "backends/redis/url.h"

#include <string.h>

#include "src/base/compiler.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(redis_url);

Test(redis_url, says_where_the_engine_is)
{
    const struct {
        const char *text, *host;
        unsigned port, db;
        const char *user, *password;
    } cases[] = {
        {"redis://host", "host", 6379, 0, "", ""},
        {"redis://host/", "host", 6379, 0, "", ""},
        {"redis://127.0.0.1:7000", "127.0.0.1", 7000, 0, "", ""},
        {"redis://127.0.0.1:7000/3", "127.0.0.1", 7000, 3, "", ""},
        {"redis://:secret@host:1", "host", 1, 0, "", "secret"},
        {"redis://me:secret@host:1/2", "host", 1, 2, "me", "secret"},
        {"redis://me:p%40ss%3a%2f@host", "host", 6379, 0, "me", "p@ss:/"},
        {"redis://me:p@ss:w@host", "host", 6379, 0, "me", "p@ss:w"},
        {"redis://[::1]:7000/1", "::1", 7000, 1, "", ""},
        {"redis://[::1]", "::1", 6379, 0, "", ""},
        {"unix:///run/redis.sock", "/run/redis.sock", 0, 0, "", ""},
        {"unix:///a%20b?db=5", "/a b", 0, 5, "", ""},
        {"unix://:secret@/run/redis.sock?db=1", "/run/redis.sock", 0, 1, "", "secret"},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_redis_url url;
        struct nadb_error error;
        enum nadb_err err = nadb_redis_url_parse(cases[i].text, &url, &error);
        cr_assert_eq(err, NADB_OK, "%s: %s", cases[i].text, error.text);
        cr_assert_str_eq(url.host, cases[i].host);
        cr_assert_eq(url.port, cases[i].port, "%s", cases[i].text);
        cr_assert_eq(url.db, cases[i].db, "%s", cases[i].text);
        cr_assert_eq(url.is_unix, cases[i].port == 0);
        cr_assert_str_eq(url.user, cases[i].user);
        cr_assert_str_eq(url.password, cases[i].password);
    }
}

Test(redis_url, one_that_is_malformed_is_refused)
{
    const char *cases[] = {"", "host", "http://host", "redis:/host", "redis://", "redis://:80",
        "redis://host:", "redis://host:0", "redis://host:65536", "redis://host:x",
        "redis://host:1/x", "redis://host:1/-1", "redis://host/99999999999", "redis://me@host",
        "redis://me:@host", "redis://:%4@host", "redis://:%00@host", "redis://ho%zzst",
        "redis://[::1", "redis://[::1]x", "unix://", "unix://relative",
        "unix:///a?db=", "unix:///a?x=1", "unix:///a?db=-1"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_redis_url url = {.port = 4711};
        struct nadb_error error;
        enum nadb_err err = nadb_redis_url_parse(cases[i], &url, &error);
        if (strcmp(cases[i], "redis://host:") == 0) {
            continue; /* the default, as in other urls */
        }
        cr_assert_eq(err, NADB_EINVAL, "%s", cases[i]);
        cr_assert_eq(url.port, 4711, "written on success only");
        cr_assert_not_null(strstr(error.text, "redis-url '"));
    }
}

Test(redis_url, an_error_names_it_without_its_password)
{
    const char *cases[] = {"redis://me:secret@host:x", "rediss://me:secret@host",
        "unix://me:secret@relative", "redis://me:sec%ret@host", "redis://x:secret@y@host:x"};
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        struct nadb_redis_url url;
        struct nadb_error error;
        cr_assert_eq(nadb_redis_url_parse(cases[i], &url, &error), NADB_EINVAL);
        cr_assert_null(strstr(error.text, "sec"), "%s", error.text);
    }
    struct nadb_redis_url url;
    struct nadb_error error;
    cr_assert_eq(nadb_redis_url_parse("rediss://host", &url, &error), NADB_EINVAL);
    cr_assert_not_null(strstr(error.text, "TLS"));
}

Test(redis_url, one_that_is_too_long_is_refused)
{
    char text[2000] = "redis://";
    struct nadb_redis_url url;
    memset(text + 8, 'h', sizeof(text) - 9);
    cr_assert_eq(nadb_redis_url_parse(text, &url, NULL), NADB_EINVAL);
    text[8] = ':';
    memcpy(text + sizeof(text) - 6, "@host", 5);
    cr_assert_eq(nadb_redis_url_parse(text, &url, NULL), NADB_EINVAL);
}
