/* This file tests the glob patterns. */
#include "src/base/glob.h"

#include "src/base/mem.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(glob);

struct glob_case {
    const char *pattern;
    const char *text;
    bool matches;
};

static void check_cases(const struct glob_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool got =
            nadb_glob_match(nadb_slice_cstr(cases[i].pattern), nadb_slice_cstr(cases[i].text));
        cr_assert_eq(got, cases[i].matches, "'%s' on '%s'", cases[i].pattern, cases[i].text);
    }
}

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        static const struct glob_case cases[] = {__VA_ARGS__};                                     \
        check_cases(cases, NADB_ARRAY_LEN(cases));                                                 \
    } while (0)

Test(glob, plain_bytes_match_themselves_and_all_of_the_text)
{
    CHECK({"", "", true}, {"", "a", false}, {"a", "", false}, {"abc", "abc", true},
        {"abc", "ab", false}, {"ab", "abc", false}, {"abc", "abd", false}, {"abc", "ABC", false});
}

Test(glob, a_star_matches_any_run_of_bytes)
{
    CHECK({"*", "", true}, {"*", "abc", true}, {"**", "", true}, {"a*", "a", true},
        {"a*", "abc", true}, {"a*", "ba", false}, {"*c", "abc", true}, {"*c", "abcd", false},
        {"a*c", "ac", true}, {"a*c", "abbbc", true}, {"a*c", "abcb", false}, {"***a", "ba", true},
        {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false}, {"a**b", "ab", true},
        {"*ab", "aab", true}, {"*aab", "aaab", true}, {"*abac", "ababac", true},
        {"user:*:name", "user:1:2:name", true}, {"user:*:name", "user:1:names", false});
}

Test(glob, a_question_mark_matches_exactly_one_byte)
{
    CHECK({"?", "a", true}, {"?", "", false}, {"?", "ab", false}, {"a?c", "abc", true},
        {"*?", "", false}, {"*?", "a", true}, {"?*", "abc", true}, {"*?c", "c", false},
        {"h??lo", "hello", true}, {"?", "\n", true});
}

Test(glob, a_class_matches_one_of_its_bytes)
{
    CHECK({"h[ae]llo", "hello", true}, {"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false},
        {"h[ae]llo", "hllo", false}, {"[a-c]", "b", true}, {"[a-c]", "d", false},
        {"[c-a]", "b", true}, {"[a-cx-z]", "y", true}, {"[a-cx-z]", "m", false},
        {"*[0-9]", "ab7", true}, {"*[0-9]", "7ab", false});
}

Test(glob, a_caret_negates_a_class)
{
    CHECK({"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false}, {"[^a-c]", "b", false},
        {"[^a-c]", "d", true}, {"[^a]", "", false}, {"[^a]", "^", true}, {"[a^]", "^", true});
}

Test(glob, odd_classes_behave_as_in_redis)
{
    /* Empty, never closed, a dash at the end, an escaped bracket. */
    CHECK({"[]", "a", false}, {"[]", "]", false}, {"[^]", "a", true}, {"[abc", "b", true},
        {"[abc", "d", false}, {"[", "[", false}, {"[^", "a", true}, {"[a-", "a", true},
        {"[a-", "-", true}, {"[a-]", "]", true}, {"[\\]]", "]", true}, {"[\\]]", "\\", false},
        {"[\\-]", "-", true}, {"[a\\-c]", "b", false}, {"[abc\\", "\\", true});
}

Test(glob, a_backslash_takes_the_next_byte_as_it_is)
{
    CHECK({"\\*", "*", true}, {"\\*", "a", false}, {"\\?", "?", true}, {"\\?", "a", false},
        {"\\[a]", "[a]", true}, {"\\a", "a", true}, {"\\\\", "\\", true}, {"\\", "\\", true},
        {"a\\", "a\\", true}, {"*\\*", "ab*", true}, {"*\\*", "ab", false});
}

Test(glob, every_byte_is_a_byte)
{
    struct nadb_slice text = nadb_slice_of("a\0b\xff", 4);
    cr_assert(nadb_glob_match(NADB_SLICE("a?b?"), text));
    cr_assert(nadb_glob_match(nadb_slice_of("a\0b*", 4), text));
    cr_assert_not(nadb_glob_match(nadb_slice_of("a\0c*", 4), text));
    cr_assert(nadb_glob_match(NADB_SLICE("*[\x80-\xff]"), text));
    cr_assert(nadb_glob_match(NADB_SLICE("*[a-\xff]"), text), "bytes compare unsigned");
    cr_assert(nadb_glob_match(nadb_slice_of(NULL, 0), nadb_slice_of(NULL, 0)));
}

Test(glob, case_counts_only_where_it_is_asked_for)
{
    cr_assert(nadb_glob_match_nocase(NADB_SLICE("HeL*O"), NADB_SLICE("hEllo")));
    cr_assert(nadb_glob_match_nocase(NADB_SLICE("[A-C]x"), NADB_SLICE("bX")));
    cr_assert(nadb_glob_match_nocase(NADB_SLICE("[\\B]"), NADB_SLICE("b")));
    cr_assert_not(nadb_glob_match_nocase(NADB_SLICE("[^B]"), NADB_SLICE("b")));
    cr_assert_not(nadb_glob_match_nocase(NADB_SLICE("["), NADB_SLICE("{")), "only letters fold");
    cr_assert_not(nadb_glob_match(NADB_SLICE("HELLO"), NADB_SLICE("hello")));
}

/* Exponential backtracking would not end here while the universe lasts; what is allowed is the
 * product of both lengths, some 10^8 steps. */
Test(glob, a_hostile_pattern_costs_no_more_than_pattern_times_text)
{
    size_t pattern_len = 2 * 1000 + 1;
    size_t text_len = 50000;
    char *pattern = nadb_mem_alloc(pattern_len);
    char *text = nadb_mem_alloc(text_len);
    for (size_t i = 0; i < pattern_len; i++) {
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    }
    pattern[pattern_len - 1] = 'b';
    memset(text, 'a', text_len);
    cr_assert_not(
        nadb_glob_match(nadb_slice_of(pattern, pattern_len), nadb_slice_of(text, text_len)));
    text[text_len - 1] = 'b';
    cr_assert(nadb_glob_match(nadb_slice_of(pattern, pattern_len), nadb_slice_of(text, text_len)));
    nadb_mem_free(pattern);
    nadb_mem_free(text);
}

/* The obvious recursive definition, without classes, against which short inputs are compared. */
static bool match_slowly(const char *pattern, const char *text)
{
    if (*pattern == '\0') {
        return *text == '\0';
    }
    if (*pattern == '*') {
        return match_slowly(pattern + 1, text) ||
               (*text != '\0' && match_slowly(pattern, text + 1));
    }
    return *text != '\0' && (*pattern == '?' || *pattern == *text) &&
           match_slowly(pattern + 1, text + 1);
}

static void number_to_text(unsigned number, const char *letters, unsigned base, char *out)
{
    for (; number > 0; number /= base) {
        *out++ = letters[number % base];
    }
    *out = '\0';
}

Test(glob, agrees_with_the_definition_on_all_short_inputs)
{
    for (unsigned p = 0; p < 4 * 4 * 4 * 4 * 4 * 4; p++) {
        char pattern[16];
        number_to_text(p, "ab*?", 4, pattern);
        for (unsigned t = 0; t < 128; t++) {
            char text[16];
            number_to_text(t, "ab", 2, text);
            cr_assert_eq(nadb_glob_match(nadb_slice_cstr(pattern), nadb_slice_cstr(text)),
                match_slowly(pattern, text), "'%s' on '%s'", pattern, text);
        }
    }
}
