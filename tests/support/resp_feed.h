/* Feeds bytes to a request reader as a connection would, and tells what came out as one text.
 *
 * Each call of the reader sees a block of its own of exactly the bytes it is given, so that a
 * sanitizer notices a look beyond them and a slice into an older input. On the way the promises
 * of protocol/resp_reader.h that hold for any input are checked; a broken one aborts. */
#ifndef NADB_TESTS_SUPPORT_RESP_FEED_H
#define NADB_TESTS_SUPPORT_RESP_FEED_H

#include "protocol/resp_reader.h"
#include "src/base/buf.h"

struct nadb_resp_feed {
    struct nadb_resp_limits limits;
    size_t first_len; /* bytes that arrive first; 0: as chunk_len */
    size_t chunk_len; /* bytes that arrive at a time after that; 0: all that are left */
    bool heeds_want;  /* calls the reader only when the input is as long as it wants */
};

/* Appends to `text` one "[name|arg|arg]" for each command, then "!" and the error if there was
 * one, or "+<n>" when n bytes of a partial command were left. Bytes outside of printable ASCII,
 * and "[|]\" themselves, are written as \xHH. */
void nadb_resp_feed(
    const struct nadb_resp_feed *feed, struct nadb_slice input, struct nadb_buf *text);

#endif
