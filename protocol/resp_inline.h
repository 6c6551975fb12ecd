/* The words of an inline command, the form that people type into telnet.
 *
 * Words are separated by blanks and split as Redis splits them: "..." knows the escapes \xHH \n \r
 * \t \b \a and takes any other character after a backslash as itself, '...' knows only \'; a
 * closing quote ends the word and must be followed by a blank or the end of the line. A NUL is a
 * byte like any other. Time is linear in the line.
 *
 * Thread: the owner's. */
#ifndef NADB_PROTOCOL_RESP_INLINE_H
#define NADB_PROTOCOL_RESP_INLINE_H

#include "src/base/compiler.h"
#include "src/base/slice.h"

enum nadb_resp_inline_status {
    NADB_RESP_INLINE_WORD,       /* one more word */
    NADB_RESP_INLINE_END,        /* nothing but blanks was left */
    NADB_RESP_INLINE_UNBALANCED, /* a quote is not closed, or not where a word ends */
};

/* What is left of the line; the caller sets both before the first word. */
struct nadb_resp_inline {
    char *at;
    char *end;
};

/* Gives the next word and moves past it. Quotes and escapes are resolved in place, so a word
 * borrows the line's memory and the line's bytes change, but for the line's first byte. After
 * anything but NADB_RESP_INLINE_WORD the line must not be read on and *ret_word is untouched. */
enum nadb_resp_inline_status nadb_resp_inline_next(
    struct nadb_resp_inline *line, struct nadb_slice *ret_word);

#endif
