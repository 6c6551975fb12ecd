/* This file splits the line of an inline command into words, in the memory of the line itself:
 * a resolved word is never longer than its quoted form, so `to` never overtakes `from`. */
#include "protocol/resp_inline.h"

#include "src/base/parse.h"

/* One word while it is copied down over its own quotes and escapes. */
struct word {
    char *from, *end, *to;
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Vertical tab and form feed separate words, but do not end one: Redis does it so. */
static bool ends_word(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* `from` is at a backslash inside double quotes, with at least one byte after it. */
static void copy_escape(struct word *word)
{
    if (word->end - word->from >= 4 && word->from[1] == 'x') {
        int high = nadb_hex_digit(word->from[2]);
        int low = nadb_hex_digit(word->from[3]);
        if (high >= 0 && low >= 0) {
            *word->to++ = (char)(high * 16 + low);
            word->from += 4;
            return;
        }
    }
    *word->to++ = nadb_escaped_char(word->from[1]);
    word->from += 2;
}

/* `from` is behind an opening quote; leaves it behind the closing one. False: unbalanced. */
static bool copy_quoted(struct word *word, char quote)
{
    while (word->from < word->end) {
        char c = *word->from;
        bool has_next = word->end - word->from >= 2;
        if (c == quote) {
            word->from++;
            return !has_next || is_blank(*word->from);
        }
        if (c == '\\' && has_next && quote == '"') {
            copy_escape(word);
        } else if (c == '\\' && has_next && word->from[1] == '\'') {
            *word->to++ = '\'';
            word->from += 2;
        } else {
            *word->to++ = c;
            word->from++;
        }
    }
    return false;
}

enum nadb_resp_inline_status nadb_resp_inline_next(
    struct nadb_resp_inline *line, struct nadb_slice *ret_word)
{
    while (line->at < line->end && is_blank(*line->at)) {
        line->at++;
    }
    if (line->at == line->end) {
        return NADB_RESP_INLINE_END;
    }
    /* Behind an opening quote, which stays: see the promise about the first byte. */
    char *start = *line->at == '"' || *line->at == '\'' ? line->at + 1 : line->at;
    struct word word = {.from = line->at, .end = line->end, .to = start};
    while (word.from < word.end && !ends_word(*word.from)) {
        char c = *word.from++;
        if (c == '"' || c == '\'') {
            if (!copy_quoted(&word, c)) {
                return NADB_RESP_INLINE_UNBALANCED;
            }
            break;
        }
        *word.to++ = c;
    }
    *ret_word = nadb_slice_of(start, (size_t)(word.to - start));
    line->at = word.from;
    return NADB_RESP_INLINE_WORD;
}
