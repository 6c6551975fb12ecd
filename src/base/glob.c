/* This file matches glob patterns without recursion.
 *
 * A `*` matches as little as possible first. On a mismatch only the last `*` seen takes one byte
 * more: an earlier one could not help, for whatever it would leave to the last one, the last one
 * can take itself. So there is nothing to stack. */
#include "src/base/glob.h"

static unsigned char fold(char c, bool nocase)
{
    unsigned char byte = (unsigned char)c;
    return nocase && byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + ('a' - 'A')) : byte;
}

static bool in_range(unsigned char c, unsigned char a, unsigned char b)
{
    return a <= b ? a <= c && c <= b : b <= c && c <= a; /* Redis takes `[z-a]` as `[a-z]` */
}

/* Matches `c` against the class that begins after the `[` at `*pos` and moves `*pos` behind its
 * `]`. A class that is never closed ends with the pattern, as in Redis. */
static bool match_class(struct nadb_slice pattern, size_t *pos, unsigned char c, bool nocase)
{
    size_t i = *pos + 1;
    bool negated = i < pattern.len && pattern.data[i] == '^';
    i += negated;
    bool matched = false;
    while (i < pattern.len && pattern.data[i] != ']') {
        size_t left = pattern.len - i;
        if (pattern.data[i] == '\\' && left >= 2) {
            matched |= fold(pattern.data[i + 1], nocase) == c;
            i += 2;
        } else if (left >= 3 && pattern.data[i + 1] == '-') {
            matched |=
                in_range(c, fold(pattern.data[i], nocase), fold(pattern.data[i + 2], nocase));
            i += 3;
        } else {
            matched |= fold(pattern.data[i], nocase) == c;
            i += 1;
        }
    }
    *pos = i < pattern.len ? i + 1 : i;
    return matched != negated;
}

/* Matches one byte against the element at `*pos` (not a `*`) and moves `*pos` behind it. */
static bool match_one(struct nadb_slice pattern, size_t *pos, char text_byte, bool nocase)
{
    unsigned char c = fold(text_byte, nocase);
    switch (pattern.data[*pos]) {
    case '?':
        *pos += 1;
        return true;
    case '[':
        return match_class(pattern, pos, c, nocase);
    case '\\':
        *pos += *pos + 1 < pattern.len; /* a lone last backslash stands for itself */
        break;
    default:
        break;
    }
    *pos += 1;
    return fold(pattern.data[*pos - 1], nocase) == c;
}

static bool match_bytes(struct nadb_slice pattern, struct nadb_slice text, bool nocase)
{
    size_t p = 0, t = 0;
    size_t after_star = 0, star_end = 0; /* where the last `*` ends in pattern and in text */
    bool has_star = false;
    while (t < text.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            has_star = true;
            after_star = ++p;
            star_end = t;
            if (p == pattern.len) {
                return true;
            }
            continue;
        }
        if (p < pattern.len && match_one(pattern, &p, text.data[t], nocase)) {
            t++;
            continue;
        }
        if (!has_star) {
            return false;
        }
        p = after_star;
        t = ++star_end;
    }
    while (p < pattern.len && pattern.data[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

bool nadb_glob_match(struct nadb_slice pattern, struct nadb_slice text)
{
    return match_bytes(pattern, text, false);
}

bool nadb_glob_match_nocase(struct nadb_slice pattern, struct nadb_slice text)
{
    return match_bytes(pattern, text, true);
}
