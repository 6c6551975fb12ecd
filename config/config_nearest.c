/* This file finds the option that somebody who mistyped a name may have meant. */
#include "config/config_internal.h"

#define EDITS_MAX 2

/* Shorter beginnings fit too many names to be a hint. */
#define PREFIX_LEN_MIN 2

static char get_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t get_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, one row of the table at a time. Both are at most NADB_OPTION_NAME_MAX
 * long. */
static size_t count_edits(struct nadb_slice a, struct nadb_slice b)
{
    size_t row[NADB_OPTION_NAME_MAX + 1];
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool is_equal = get_lower(a.data[i - 1]) == get_lower(b.data[j - 1]);
            size_t replaced = diagonal + (is_equal ? 0 : 1);
            diagonal = row[j];
            row[j] = get_min(replaced, 1 + get_min(row[j], row[j - 1]));
        }
    }
    return row[b.len];
}

const char *nadb_config__nearest(struct nadb_slice name)
{
    if (name.len < PREFIX_LEN_MIN || name.len > NADB_OPTION_NAME_MAX) {
        return NULL;
    }
    const char *nearest = NULL, *begun = NULL;
    size_t edits_min = get_min(EDITS_MAX, name.len - 1) + 1;
    const struct nadb_option *option;
    for (size_t i = 0; (option = nadb_option_at(i)) != NULL; i++) {
        struct nadb_slice known = nadb_slice_cstr(option->name);
        size_t edits = count_edits(name, known);
        if (edits < edits_min) {
            edits_min = edits;
            nearest = option->name;
        }
        if (begun == NULL && known.len > name.len &&
            nadb_slice_eq_nocase(name, nadb_slice_of(known.data, name.len))) {
            begun = option->name;
        }
    }
    return nearest != NULL ? nearest : begun;
}
