/* This file tests the door to zlib. */
#include <string.h>

#include "src/base/compress.h"
#include "src/base/mem.h"
#include "src/base/random.h"
#include "tests/support/test.h"

NADB_TEST_SUITE(compress);

#define LEN ((size_t)100000)

static char *text_of(size_t len)
{
    char *text = nadb_mem_alloc(len);
    for (size_t i = 0; i < len; i++) {
        text[i] = "the quick brown fox jumps over the lazy dog. "[i % 45];
    }
    return text;
}

Test(compress, what_is_compressed_expands_to_itself_at_every_level)
{
    struct nadb_compressor compressor = {0};
    char *text = text_of(LEN);
    char *packed = nadb_mem_alloc(LEN);
    char *back = nadb_mem_alloc(LEN);
    for (int level = NADB_COMPRESS_LEVEL_MIN; level <= NADB_COMPRESS_LEVEL_MAX; level++) {
        size_t len = nadb_compress(&compressor, level, nadb_slice_of(text, LEN), packed, LEN);
        cr_assert_gt(len, 0);
        cr_assert_lt(len, LEN / 20);
        cr_assert_leq(LEN / len, NADB_COMPRESS_RATIO_MAX);
        cr_assert(nadb_decompress(nadb_slice_of(packed, len), back, LEN));
        cr_assert_arr_eq(back, text, LEN);
    }
    nadb_compressor_fini(&compressor);
    nadb_mem_free(text);
    nadb_mem_free(packed);
    nadb_mem_free(back);
}

Test(compress, what_does_not_fit_is_left_alone_and_the_next_value_is_not_disturbed)
{
    struct nadb_compressor compressor = {0};
    struct nadb_rng rng;
    char noise[4096];
    char packed[8192];
    char back[4096];
    nadb_rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof(noise); i++) {
        noise[i] = (char)nadb_rng_next(&rng);
    }
    struct nadb_slice in = nadb_slice_of(noise, sizeof(noise));
    cr_assert_eq(nadb_compress(&compressor, 6, in, packed, sizeof(noise)), 0);
    size_t len = nadb_compress(&compressor, 6, in, packed, sizeof(packed));
    cr_assert_gt(len, sizeof(noise));
    cr_assert(nadb_decompress(nadb_slice_of(packed, len), back, sizeof(back)));
    cr_assert_arr_eq(back, noise, sizeof(noise));
    nadb_compressor_fini(&compressor);
}

Test(compress, anything_else_than_the_whole_stream_is_refused)
{
    struct nadb_compressor compressor = {0};
    char *text = text_of(1000);
    char packed[1000];
    char back[1001];
    size_t len = nadb_compress(&compressor, 6, nadb_slice_of(text, 1000), packed, sizeof(packed));
    for (size_t part = 0; part < len; part++) {
        cr_assert_not(nadb_decompress(nadb_slice_of(packed, part), back, 1000));
    }
    cr_assert_not(nadb_decompress(nadb_slice_of(packed, len + 1), back, 1000));
    cr_assert_not(nadb_decompress(nadb_slice_of(packed, len), back, 999));
    cr_assert_not(nadb_decompress(nadb_slice_of(packed, len), back, 1001));
    for (size_t bit = 0; bit < 8 * len; bit++) {
        packed[bit / 8] ^= (char)(1 << bit % 8);
        bool is_taken = nadb_decompress(nadb_slice_of(packed, len), back, 1000);
        cr_assert(!is_taken || memcmp(back, text, 1000) == 0, "bit %zu", bit);
        packed[bit / 8] ^= (char)(1 << bit % 8);
    }
    nadb_compressor_fini(&compressor);
    nadb_mem_free(text);
}
