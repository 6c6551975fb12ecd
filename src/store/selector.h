/* What a query selects, as a program: tags and the operators between them, operands first.
 *
 *     a & !b | $1      TAG a, TAG b, NOT, AND, TAG <argument 1>, OR
 *
 * The grammar of expressions, in the order of binding:
 *
 *     or   := and ('|' and)...
 *     and  := not ('&' not)...
 *     not  := '!' not | '(' or ')' | '*' | tag
 *     tag  := $n                    the n-th argument behind the expression
 *           | "text"                with \" \\ and \xHH
 *           | word                  of anything but space & | ! ( ) " $ *
 *
 * A program is always whole: it leaves one value, and never holds more than
 * NADB_SELECTOR_STACK_MAX at a time. Programs from expressions, from lists and from the log are
 * held to the same bounds, so whoever runs one needs no checks.
 *
 * Thread: any. */
#ifndef NADB_STORE_SELECTOR_H
#define NADB_STORE_SELECTOR_H

#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/err.h"

#define NADB_SELECTOR_TEXT_MAX  65536u
#define NADB_SELECTOR_DEPTH_MAX 64u /* parentheses and '!' inside each other */
#define NADB_SELECTOR_STACK_MAX (2 * NADB_SELECTOR_DEPTH_MAX + 3)
#define NADB_SELECTOR_OPS_MAX   (1u << 21)

enum nadb_selector_kind {
    NADB_SELECTOR_TAG = 1, /* the keys that carry `tag` */
    NADB_SELECTOR_ALL = 2, /* every key */
    NADB_SELECTOR_NOT = 3,
    NADB_SELECTOR_AND = 4,
    NADB_SELECTOR_OR = 5,
};

struct nadb_selector_op {
    enum nadb_selector_kind kind;
    struct nadb_slice tag; /* TAG only; borrowed, or in `text` */
};

struct nadb_selector {
    struct nadb_selector_op *ops; /* owned */
    size_t count, cap;
    size_t depth;         /* values on the stack after the last op */
    struct nadb_buf text; /* owned: tags that were written with escapes */
};

void nadb_selector_init(struct nadb_selector *selector); /* allocates nothing */
void nadb_selector_fini(struct nadb_selector *selector);

/* Keys that carry any, or all, of the tags, of which there is at least one. The slices stay
 * borrowed. Errors: NADB_EBADTAG, NADB_EBADEXPR, NADB_ENOMEM. */
NADB_MUST_CHECK enum nadb_err nadb_selector_list(struct nadb_selector *selector, bool is_all,
    const struct nadb_slice *tags, size_t count, struct nadb_error *reterr);

/* An expression with its arguments, all of which must be used; slices stay borrowed. Errors:
 * NADB_EBADEXPR, which names the byte, counted from 0; NADB_EBADTAG; NADB_ENOMEM. */
NADB_MUST_CHECK enum nadb_err nadb_selector_parse(struct nadb_selector *selector,
    struct nadb_slice text, const struct nadb_slice *args, size_t arg_count,
    struct nadb_error *reterr);

/* The rule for one tag: NADB_OK or NADB_EBADTAG. */
NADB_MUST_CHECK enum nadb_err nadb_selector_check_tag(
    struct nadb_slice tag, struct nadb_error *reterr);

/* Does a record with these packed tags belong to it? */
bool nadb_selector_matches(const struct nadb_selector *selector, struct nadb_slice packed_tags);

/* ---- in the log ---- */

/* Appends the program and a pattern for keys (data NULL: none) to `out`; false when `out` has no
 * room. */
NADB_MUST_CHECK bool nadb_selector_pack(
    const struct nadb_selector *selector, struct nadb_slice pattern, struct nadb_buf *out);

/* Reads what pack wrote, of which nothing is trusted; the results point into `packed`. */
NADB_MUST_CHECK bool nadb_selector_unpack(
    struct nadb_selector *selector, struct nadb_slice packed, struct nadb_slice *ret_pattern);

#endif
