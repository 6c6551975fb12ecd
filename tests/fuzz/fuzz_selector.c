/* This file fuzzes selectors: an expression gives a whole program or an error, a program survives
 * the log, and bytes of the log give a whole program or none. The first byte says which. */
#include <stdint.h>

#include "src/base/assert.h"
#include "src/store/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PACKED_MAX ((size_t)1 << 20)

static const struct nadb_slice args[] = {{"one", 3}, {"two", 3}};
static const struct nadb_slice tags = {"\3\0one\1\0a", 8};

static void check_same(const struct nadb_selector *a, const struct nadb_selector *b)
{
    NADB_ASSERT(a->count == b->count && a->depth == 1 && b->depth == 1);
    for (size_t i = 0; i < a->count; i++) {
        NADB_ASSERT(a->ops[i].kind == b->ops[i].kind);
        NADB_ASSERT(nadb_slice_eq(a->ops[i].tag, b->ops[i].tag));
    }
    NADB_ASSERT(nadb_selector_matches(a, tags) == nadb_selector_matches(b, tags));
}

static void check_round_trip(const struct nadb_selector *selector, struct nadb_slice pattern)
{
    struct nadb_buf packed;
    nadb_buf_init(&packed, PACKED_MAX);
    if (nadb_selector_pack(selector, pattern, &packed)) {
        struct nadb_selector again;
        struct nadb_slice same;
        nadb_selector_init(&again);
        bool is_whole = nadb_selector_unpack(&again, nadb_buf_slice(&packed), &same);
        NADB_ASSERT(is_whole && nadb_slice_eq(pattern, same));
        check_same(selector, &again);
        nadb_selector_fini(&again);
    }
    nadb_buf_fini(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct nadb_slice input = nadb_slice_of((const char *)data + 1, size - 1);
    struct nadb_slice pattern = {NULL, 0};
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    bool is_whole = data[0] == 'P'
                        ? nadb_selector_unpack(&selector, input, &pattern)
                        : nadb_selector_parse(&selector, input, args, data[0] % 3, NULL) == NADB_OK;
    if (is_whole) {
        check_round_trip(&selector, pattern);
    }
    nadb_selector_fini(&selector);
    return 0;
}
