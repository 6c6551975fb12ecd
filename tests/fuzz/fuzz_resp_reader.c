/* This file fuzzes the request reader: whatever the bytes and however they are split, the same
 * commands and the same error come out, and nothing outside of the input is touched.
 *
 * The first byte of an input chooses the limits and one of the splits, the rest is what a client
 * sends. */
#include "src/base/assert.h"
#include "tests/support/resp_feed.h"

#define INPUT_LEN_MAX 4096u /* feeding byte by byte takes quadratic time */
#define TEXT_MAX      (1u << 20)

#define UNAUTHENTICATED 0x80u
#define SMALL_LIMITS    0x40u
#define CHUNK_BITS      0x3fu

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(const struct nadb_resp_feed *how, struct nadb_slice input, struct nadb_buf *text)
{
    nadb_buf_init(text, TEXT_MAX);
    nadb_resp_feed(how, input, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_LEN_MAX) {
        return 0;
    }
    unsigned choice = data[0];
    struct nadb_slice input = nadb_slice_of((const char *)data + 1, size - 1);
    struct nadb_resp_limits limits = {
        .bulk_len_max = (choice & SMALL_LIMITS) != 0 ? 16 : 512u << 20,
        .args_max = (choice & SMALL_LIMITS) != 0 ? 4 : NADB_RESP_ARGS_MAX,
        .is_unauthenticated = (choice & UNAUTHENTICATED) != 0,
    };
    const struct nadb_resp_feed splits[] = {
        {.limits = limits, .chunk_len = 1},
        {.limits = limits, .chunk_len = 1, .heeds_want = true},
        {.limits = limits, .chunk_len = 1 + (choice & CHUNK_BITS)},
        {.limits = limits, .first_len = 1 + size * (choice & CHUNK_BITS) / (CHUNK_BITS + 1)},
    };
    struct nadb_buf whole;
    feed(&(struct nadb_resp_feed){.limits = limits}, input, &whole);
    for (size_t i = 0; i < NADB_ARRAY_LEN(splits); i++) {
        struct nadb_buf split;
        feed(&splits[i], input, &split);
        NADB_ASSERT(nadb_slice_eq(nadb_buf_slice(&split), nadb_buf_slice(&whole)));
        nadb_buf_fini(&split);
    }
    nadb_buf_fini(&whole);
    return 0;
}
