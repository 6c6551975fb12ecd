/* This file walks every command of the table that can write over tagged keys, and compares what
 * the tag index says afterwards with a model that is written out beside the command. */
#include <stdio.h>

#include "src/server/cmd_table.h"
#include "src/store/store_internal.h"
#include "tests/support/test.h"
#include "tests/unit/server/cmd_fixture.h"

NADB_TEST_SUITE(tag_memberships);

#define KEYS "abnpc" /* every key that a case may touch, one letter each */
#define TAGS "wxyz"  /* and every tag */

/* What each case starts with: two keys that share a tag, one without tags, one with a deadline. */
#define START                                                                                      \
    "SET a 1 TAGS x y\nSET b 2 TAGS y z\nSET n 3\nSET p 4 EX 100 TAGS x\n"                         \
    "SELECT 1\nSET a 5 TAGS w\nSELECT 0\n"
#define AS_BEFORE   "a=xy b=yz n= p=x"
#define AS_BEFORE_1 "a=w"

/* What there is after `line`, as "key=tags ...", in database 0 and 1. */
struct membership_case {
    const char *line, *after, *after_1;
};

static const struct membership_case cases[] = {
    {"APPEND a more", AS_BEFORE, AS_BEFORE_1},
    {"APPEND c new", AS_BEFORE " c=", AS_BEFORE_1},
    {"COPY a c", AS_BEFORE " c=xy", AS_BEFORE_1},
    {"COPY a b REPLACE", "a=xy b=xy n= p=x", AS_BEFORE_1},
    {"COPY n a REPLACE", "a= b=yz n= p=x", AS_BEFORE_1},
    {"COPY a b", AS_BEFORE, AS_BEFORE_1},
    {"COPY b b DB 1", AS_BEFORE, "a=w b=yz"},
    {"COPY b a DB 1 REPLACE", AS_BEFORE, "a=yz"},
    {"DECR a", AS_BEFORE, AS_BEFORE_1},
    {"DECRBY a 5", AS_BEFORE, AS_BEFORE_1},
    {"DEL a c n", "b=yz p=x", AS_BEFORE_1},
    {"DELEX a IFEQ 1", "b=yz n= p=x", AS_BEFORE_1},
    {"DELEX a IFEQ 2", AS_BEFORE, AS_BEFORE_1},
    {"EXPIRE a 10", AS_BEFORE, AS_BEFORE_1},
    {"EXPIRE a -1", "b=yz n= p=x", AS_BEFORE_1},
    {"EXPIREAT a 1", "b=yz n= p=x", AS_BEFORE_1},
    {"FLUSHALL", "", ""},
    {"FLUSHDB", "", AS_BEFORE_1},
    {"GETDEL b", "a=xy n= p=x", AS_BEFORE_1},
    {"GETEX a EX 10", AS_BEFORE, AS_BEFORE_1},
    {"GETEX p PERSIST", AS_BEFORE, AS_BEFORE_1},
    {"GETEX a PXAT 1", "b=yz n= p=x", AS_BEFORE_1},
    {"GETSET a new", "a= b=yz n= p=x", AS_BEFORE_1},
    {"INCR a", AS_BEFORE, AS_BEFORE_1},
    {"INCRBY a 7", AS_BEFORE, AS_BEFORE_1},
    {"INCRBYFLOAT a 0.5", AS_BEFORE, AS_BEFORE_1},
    {"INVALIDATE ANY x", "b=yz n=", AS_BEFORE_1},
    {"INVALIDATE ALL x y", "b=yz n= p=x", AS_BEFORE_1},
    {"INVALIDATE DRYRUN ANY x", AS_BEFORE, AS_BEFORE_1},
    {"INVALIDATE MATCH p ANY x", "a=xy b=yz n=", AS_BEFORE_1},
    {"INVALIDATE EXPR !x", "a=xy p=x", AS_BEFORE_1},
    {"INVALIDATE EXPR *", "", AS_BEFORE_1},
    {"MOVE b 1", "a=xy n= p=x", "a=w b=yz"},
    {"MOVE a 1", AS_BEFORE, AS_BEFORE_1},
    {"MSET a 1 c 2", "a= b=yz n= p=x c=", AS_BEFORE_1},
    {"MSETNX a 1 c 2", AS_BEFORE, AS_BEFORE_1},
    {"MSETNX c 2", AS_BEFORE " c=", AS_BEFORE_1},
    {"NAMESPACE DROP other", AS_BEFORE, AS_BEFORE_1},
    {"PERSIST p", AS_BEFORE, AS_BEFORE_1},
    {"PEXPIRE a 10", AS_BEFORE, AS_BEFORE_1},
    {"PEXPIREAT a 1", "b=yz n= p=x", AS_BEFORE_1},
    {"PSETEX a 1000 v", "a= b=yz n= p=x", AS_BEFORE_1},
    {"PSETEX a 1000 v TAGS w", "a=w b=yz n= p=x", AS_BEFORE_1},
    {"RENAME a c", "b=yz n= p=x c=xy", AS_BEFORE_1},
    {"RENAME n a", "a= b=yz p=x", AS_BEFORE_1},
    {"RENAME p b", "a=xy b=x n=", AS_BEFORE_1},
    {"RENAMENX a b", AS_BEFORE, AS_BEFORE_1},
    {"RENAMENX a c", "b=yz n= p=x c=xy", AS_BEFORE_1},
    {"SET a v", "a= b=yz n= p=x", AS_BEFORE_1},
    {"SET a v KEEPTAGS", AS_BEFORE, AS_BEFORE_1},
    {"SET n v TAGS w z", "a=xy b=yz n=wz p=x", AS_BEFORE_1},
    {"SET a v TAGS x w", "a=wx b=yz n= p=x", AS_BEFORE_1},
    {"SET a v NX TAGS w", AS_BEFORE, AS_BEFORE_1},
    {"SET a v IFEQ 2 TAGS w", AS_BEFORE, AS_BEFORE_1},
    {"SET a v IFEPOCH 0 TAGS w", AS_BEFORE, AS_BEFORE_1},
    {"SET a v EXAT 1 TAGS w", "b=yz n= p=x", AS_BEFORE_1},
    {"SETEX a 1000 v", "a= b=yz n= p=x", AS_BEFORE_1},
    {"SETEX a 1000 v TAGS w x y z", "a=wxyz b=yz n= p=x", AS_BEFORE_1},
    {"SETNX a v", AS_BEFORE, AS_BEFORE_1},
    {"SETNX c v", AS_BEFORE " c=", AS_BEFORE_1},
    {"SETRANGE a 3 x", AS_BEFORE, AS_BEFORE_1},
    {"SWAPDB 0 1", AS_BEFORE_1, AS_BEFORE},
    {"TAGADD a w x", "a=wxy b=yz n= p=x", AS_BEFORE_1},
    {"TAGADD n w", "a=xy b=yz n=w p=x", AS_BEFORE_1},
    {"TAGADD c w", AS_BEFORE, AS_BEFORE_1},
    {"TAGREM a x y z", "a= b=yz n= p=x", AS_BEFORE_1},
    {"TAGREM b y", "a=xy b=z n= p=x", AS_BEFORE_1},
    {"TAGSET a w", "a=w b=yz n= p=x", AS_BEFORE_1},
    {"TAGSET a", "a= b=yz n= p=x", AS_BEFORE_1},
    {"TAGSET c w", AS_BEFORE, AS_BEFORE_1},
    {"UNLINK p c", "a=xy b=yz n=", AS_BEFORE_1},
};

/* The model's word on a key: its tags, or NULL. */
static const char *find_key(const char *after, char key)
{
    for (const char *at = after; (at = strchr(at, key)) != NULL; at++) {
        if (at[1] == '=' && (at == after || at[-1] == ' ')) {
            return at + 2;
        }
    }
    return NULL;
}

static bool has_tag(const char *tags, char tag)
{
    return tags != NULL && memchr(tags, tag, strcspn(tags, " ")) != NULL;
}

/* The index agrees with the records, and everything else with everything. */
static void expect_sound(struct cmd_fixture *fixture)
{
    const char *reason = "";
    cr_expect(nadb_store__check(fixture->server.store, &reason), "%s", reason);
}

static void expect_reply(
    struct cmd_fixture *fixture, const char *line, const char *expected, const char *after_what)
{
    const char *reply = cmd_fixture_run(fixture, line);
    cr_expect_str_eq(
        reply, expected, "after %s, %s: %s instead of %s", after_what, line, reply, expected);
}

static void expect_key(
    struct cmd_fixture *fixture, char key, const char *after, const char *after_what)
{
    const char *tags = find_key(after, key);
    char line[64];
    char expected[64];
    (void)snprintf(line, sizeof(line), "EXISTS %c\nTAGHAS %c w x y z", key, key);
    (void)snprintf(expected, sizeof(expected), ":%d/*4/:%d/:%d/:%d/:%d/", tags != NULL,
        has_tag(tags, 'w'), has_tag(tags, 'x'), has_tag(tags, 'y'), has_tag(tags, 'z'));
    expect_reply(fixture, line, expected, after_what);
}

static unsigned count_tagged(const char *after, char tag)
{
    unsigned count = 0;
    for (const char *key = KEYS; *key != '\0'; key++) {
        count += has_tag(find_key(after, *key), tag);
    }
    return count;
}

static void expect_tag(
    struct cmd_fixture *fixture, char tag, const char *after, const char *after_what)
{
    unsigned count = count_tagged(after, tag);
    char line[128];
    char expected[64];
    (void)snprintf(line, sizeof(line),
        "TAGCOUNT %c\nQUERY COUNTONLY ANY %c\nQUERY MATCH * COUNTONLY ANY %c", tag, tag, tag);
    (void)snprintf(expected, sizeof(expected), "*1/:%u/:%u/:%u/", count, count, count);
    expect_reply(fixture, line, expected, after_what);
}

static void expect_database(
    struct cmd_fixture *fixture, const char *after, unsigned database, const char *after_what)
{
    (void)cmd_fixture_run(fixture, database == 0 ? "SELECT 0" : "SELECT 1");
    unsigned keys = 0;
    for (const char *key = KEYS; *key != '\0'; key++) {
        keys += find_key(after, *key) != NULL;
        expect_key(fixture, *key, after, after_what);
    }
    for (const char *tag = TAGS; *tag != '\0'; tag++) {
        expect_tag(fixture, *tag, after, after_what);
    }
    char expected[32];
    (void)snprintf(expected, sizeof(expected), ":%u/:%u/", keys, keys);
    expect_reply(fixture, "DBSIZE\nQUERY COUNTONLY EXPR *", expected, after_what);
}

/* Runs the line in a database that holds what START makes, and compares both with the model and
 * the index with itself. */
static void run_case(const struct membership_case *test, bool in_transaction)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, "NAMESPACE USE other\nSET a 1 TAGS w x y z\nSELECT 0\n" START);
    char lines[128];
    (void)snprintf(lines, sizeof(lines), in_transaction ? "MULTI\n%s\nEXEC" : "%s", test->line);
    (void)cmd_fixture_run(&fixture, lines);
    expect_sound(&fixture);
    expect_database(&fixture, test->after, 0, lines);
    expect_database(&fixture, test->after_1, 1, lines);
    cmd_fixture_fini(&fixture);
}

Test(tag_memberships, follow_the_key_through_every_command)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        run_case(&cases[i], false);
    }
}

Test(tag_memberships, follow_the_key_through_every_command_of_a_transaction)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        run_case(&cases[i], true);
    }
}

Test(tag_memberships, every_command_that_writes_is_walked)
{
    for (size_t i = 0; i < nadb_cmd_count(); i++) {
        const struct nadb_cmd *cmd = nadb_cmd_at(i);
        bool is_walked = !(cmd->flags & NADB_CMD_WRITE) || cmd->handler == NULL;
        char words[64];
        (void)snprintf(words, sizeof(words), "%s", cmd->name);
        words[strcspn(words, "|")] = strchr(cmd->name, '|') != NULL ? ' ' : '\0';
        size_t len = strlen(words);
        for (size_t k = 0; k < NADB_ARRAY_LEN(cases) && !is_walked; k++) {
            const char *line = cases[k].line;
            is_walked = nadb_slice_eq_nocase(
                            nadb_slice_of(line, strnlen(line, len)), nadb_slice_of(words, len)) &&
                        (line[len] == ' ' || line[len] == '\0');
        }
        cr_expect(is_walked, "%s can write and is not walked", cmd->name);
    }
}

Test(tag_memberships, end_with_the_deadline_whoever_notices_it)
{
    static const char *const noticers[] = {
        "GET p", "TAGCOUNT x", "QUERY ANY x", "INVALIDATE DRYRUN ANY x", "DBSIZE", "TAGLIST"};
    static struct cmd_fixture fixture;
    for (size_t i = 0; i < NADB_ARRAY_LEN(noticers); i++) {
        cmd_fixture_init(&fixture);
        (void)cmd_fixture_run(&fixture, START);
        nadb_fake_clock_advance_ms(&fixture.clock, 100001);
        (void)cmd_fixture_run(&fixture, noticers[i]);
        expect_sound(&fixture);
        expect_database(&fixture, "a=xy b=yz n=", 0, noticers[i]);
        cmd_fixture_fini(&fixture);
    }
}

Test(tag_memberships, end_with_eviction)
{
    static struct cmd_fixture fixture;
    cmd_fixture_init(&fixture);
    (void)cmd_fixture_run(&fixture, START);
    nadb_store_set_eviction(fixture.server.store, NADB_EVICT_VOLATILE_TTL, 5);
    nadb_store_set_maxmemory(fixture.server.store, 1);
    (void)cmd_fixture_run(&fixture, "APPEND n more");
    nadb_store_set_maxmemory(fixture.server.store, 0);
    expect_sound(&fixture);
    expect_database(&fixture, "a=xy b=yz n=", 0, "eviction");
    cmd_fixture_fini(&fixture);
}
