/* This file fuzzes the reading of segments: whatever the bytes, the walk, the look ahead and the
 * decoding of records stay inside the file, end, and allocate in proportion to it.
 *
 * The first byte of an input chooses how, the rest is a segment file. Random bytes never verify,
 * so most of the time the checksums of the frames are made right first: then it is the lengths,
 * the counts and the records that are wrong. */
#include <string.h>

#include "backends/fs/frame.h"
#include "backends/fs/replay.h"
#include "backends/fs/segment.h"
#include "src/base/assert.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/mem.h"

#define STORE_ID      4711u
#define SEGMENT_ID    5u
#define SEGMENT_SLOT  3u
#define AS_IT_IS      0x80u /* no repair */
#define HEADERS_ONLY  0x40u
#define CHUNK_BITS    0x0fu
#define INPUT_LEN_MAX (1u << 20)
#define MEMORY_FACTOR 8u /* entries are larger than the records they come from */
#define MEMORY_SLACK  (1u << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory, with the only call that reading needs. */
struct memory_io {
    struct nadb_fs_io io; /* first */
    const char *bytes;
    size_t len;
};

static ssize_t memory_pread(
    const struct nadb_fs_io *io, int file, void *out, size_t len, uint64_t offset)
{
    const struct memory_io *memory = (const struct memory_io *)(const void *)io;
    (void)file;
    if (offset >= memory->len) {
        return 0;
    }
    size_t there = memory->len - (size_t)offset;
    len = len < there ? len : there;
    memcpy(out, memory->bytes + offset, len);
    return (ssize_t)len;
}

/* Makes the checksums and the chain right, frame after frame, as far as the lengths lead. */
static void repair(char *bytes, size_t len, uint64_t segment_seed)
{
    uint64_t chain = 0;
    size_t at = NADB_SEGMENT_HEADER_BYTES;
    while (at <= len && len - at >= NADB_FRAME_HEADER_BYTES &&
           nadb_get_u32(bytes + at + NADB_FRAME_MAGIC_AT) == NADB_FRAME_MAGIC) {
        uint64_t seed = nadb_offset_seed(segment_seed, at);
        char *header = bytes + at;
        size_t payload = nadb_get_u32(header + NADB_FRAME_PAYLOAD_AT);
        at += NADB_FRAME_HEADER_BYTES;
        bool is_inside = payload <= len - at;
        if (is_inside) {
            nadb_put_u64(header + NADB_FRAME_BODY_CHECK_AT,
                nadb_checksum64(header + NADB_FRAME_HEADER_BYTES, payload, seed));
        }
        nadb_put_u64(header + NADB_FRAME_PREV_AT, chain);
        chain = nadb_checksum64(header, NADB_FRAME_CHECK_AT, seed);
        nadb_put_u64(header + NADB_FRAME_CHECK_AT, chain);
        at += is_inside ? payload : len;
    }
}

static uint64_t add_bytes(struct nadb_slice slice)
{
    uint64_t sum = slice.len;
    for (size_t i = 0; i < slice.len; i++) {
        sum += (unsigned char)slice.data[i];
    }
    return sum;
}

/* Touches all that was handed out, so that a sanitizer sees what lies outside. */
static uint64_t touch_chunk(const struct nadb_replay_chunk *chunk)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        const struct nadb_entry *entry = &chunk->entries[i];
        NADB_ASSERT(entry->kind >= NADB_ENTRY_PUT && entry->kind <= NADB_ENTRY_INVALIDATE);
        NADB_ASSERT(entry->key.len <= NADB_KEY_LEN_MAX && entry->value.len <= NADB_VALUE_LEN_MAX);
        sum += add_bytes(entry->key) + add_bytes(entry->value) + add_bytes(entry->tags);
        sum += chunk->locs[i] + chunk->dead_ms[i];
    }
    return sum;
}

static uint64_t load_all(
    const struct memory_io *memory, uint64_t seed, uint64_t to, size_t chunk_bytes)
{
    struct nadb_fs_range range = {
        .io = &memory->io,
        .name = "input",
        .seed = seed,
        .slot = SEGMENT_SLOT,
        .from = NADB_SEGMENT_HEADER_BYTES,
        .to = to,
    };
    uint64_t sum = 0;
    while (range.from < range.to) {
        struct nadb_replay_chunk chunk;
        uint64_t from = range.from;
        size_t used = nadb_mem_used();
        if (nadb_fs_load(&range, chunk_bytes, &chunk, &range.from, NULL) != NADB_OK) {
            break;
        }
        NADB_ASSERT(range.from > from && range.from <= range.to);
        NADB_ASSERT(nadb_mem_used() - used <= MEMORY_FACTOR * memory->len + MEMORY_SLACK);
        sum += touch_chunk(&chunk);
        nadb_fs_chunk_free(&chunk);
    }
    return sum;
}

static void scan(const struct memory_io *memory, unsigned choice, uint64_t seed)
{
    const struct nadb_segment_point from = {.offset = NADB_SEGMENT_HEADER_BYTES};
    char *window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES);
    struct nadb_segment_walk walk;
    nadb_segment_walk_begin(
        &walk, &memory->io, 0, seed, &from, memory->len, window, (choice & HEADERS_ONLY) == 0);
    enum nadb_walk_result result;
    uint64_t end = from.offset;
    do {
        result = nadb_segment_walk_next(&walk);
        NADB_ASSERT(walk.at.offset >= end && walk.at.offset <= memory->len);
        end = walk.at.offset;
    } while (result == NADB_WALK_FRAME || result == NADB_WALK_BATCH);
    NADB_ASSERT(result != NADB_WALK_ERROR);
    if (result == NADB_WALK_BAD) {
        bool was_stable;
        uint64_t last;
        int error = nadb_segment_walk_look_ahead(&walk, &was_stable, &last);
        NADB_ASSERT(error == 0 && last >= end && last <= memory->len);
    }
    nadb_mem_free(window);
    volatile uint64_t sum = load_all(memory, seed, end, (size_t)1 << (choice & CHUNK_BITS));
    (void)sum; /* kept so that the bytes are really read */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + NADB_SEGMENT_HEADER_BYTES || size > INPUT_LEN_MAX) {
        return 0;
    }
    size_t len = size - 1;
    char *bytes = nadb_mem_alloc(len); /* of exactly this size */
    memcpy(bytes, data + 1, len);
    uint64_t seed = nadb_segment_seed(STORE_ID, SEGMENT_ID);
    uint32_t version;
    (void)nadb_segment_header_get(bytes, STORE_ID, SEGMENT_ID, &version); /* must only not crash */
    if ((data[0] & AS_IT_IS) == 0) {
        repair(bytes, len, seed);
    }
    struct memory_io memory = {.io = {.pread_file = memory_pread}, .bytes = bytes, .len = len};
    scan(&memory, data[0], seed);
    nadb_mem_free(bytes);
    return 0;
}
