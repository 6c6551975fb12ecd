/* This file turns ranges of segments into chunks of entries. */
#include "backends/fs/replay.h"

#include <errno.h>
#include <string.h>

#include "backends/fs/blocks.h"
#include "backends/fs/format.h"
#include "backends/fs/frame.h"
#include "backends/fs/hint.h"
#include "backends/fs/record.h"
#include "src/base/assert.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/mem.h"

#define DEATHS_MIN 16

/* ---- when what had expired ---- */

void nadb_fs_deaths_add(struct nadb_fs_deaths *deaths, uint64_t seq, uint64_t wall_ms)
{
    while (deaths->count > 0 && deaths->steps[deaths->count - 1].wall_ms <= wall_ms) {
        deaths->count--;
    }
    if (deaths->count == deaths->cap) {
        deaths->cap = deaths->cap == 0 ? DEATHS_MIN : deaths->cap * 2;
        deaths->steps = nadb_mem_realloc(deaths->steps, deaths->cap * sizeof(*deaths->steps));
    }
    deaths->steps[deaths->count++] = (struct nadb_fs_death){.seq = seq, .wall_ms = wall_ms};
}

void nadb_fs_deaths_fini(struct nadb_fs_deaths *deaths)
{
    nadb_mem_free(deaths->steps);
    *deaths = (struct nadb_fs_deaths){0};
}

uint64_t nadb_fs_deaths_of(const struct nadb_fs_deaths *deaths, uint64_t seq)
{
    size_t low = 0;
    size_t high = deaths == NULL ? 0 : deaths->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (deaths->steps[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return deaths != NULL && low < deaths->count ? deaths->steps[low].wall_ms : 0;
}

/* ---- chunks ---- */

struct loading {
    const struct nadb_fs_range *range;
    struct nadb_fs_run run; /* from `from` on */
    size_t used;            /* whole frames */
    size_t records;
    size_t frames;
    struct nadb_error *reterr;
};

static enum nadb_err fail_at(const struct loading *l, enum nadb_fs_check check, size_t at)
{
    unsigned long long offset = l->range->from + at;
    if (check == NADB_FS_NEWER) {
        return nadb_error_set(l->reterr, NADB_EFORMAT, 0,
            "segment '%s': written by a newer nadbd (unknown bits at offset %llu)", l->range->name,
            offset);
    }
    return nadb_error_set(l->reterr, NADB_ECORRUPT, 0, "segment '%s': damaged at offset %llu",
        l->range->name, offset);
}

/* Makes the loaded part `len` bytes long. */
static enum nadb_err read_part(struct loading *l, size_t len)
{
    const struct nadb_fs_range *range = l->range;
    const size_t call_bytes = range->is_at_start ? NADB_BACKEND_CHUNK_BYTES : NADB_FS_CALL_BYTES;
    int result = nadb_fs_run_extend(&l->run, range->io, range->file, range->from, len, call_bytes);
    if (result == -ENOMEM) {
        return nadb_error_set(
            l->reterr, NADB_ENOMEM, 0, "segment '%s': not enough memory", range->name);
    }
    if (result != 0) {
        return nadb_error_set(l->reterr, NADB_EIO, -result, "segment '%s': read", range->name);
    }
    return l->run.len == len ? NADB_OK : fail_at(l, NADB_FS_BAD, l->run.len);
}

/* Verifies the frame at `used` and passes it. *ret_missing is not 0, and nothing else happens,
 * when that many bytes more are needed. */
static enum nadb_err pass_frame(struct loading *l, size_t *ret_missing)
{
    const struct nadb_fs_range *range = l->range;
    size_t room = l->run.len - l->used;
    *ret_missing = 0;
    if (room < NADB_FRAME_HEADER_BYTES) {
        *ret_missing = NADB_FRAME_HEADER_BYTES - room;
        return NADB_OK;
    }
    struct nadb_frame frame;
    uint64_t seed = nadb_offset_seed(range->seed, range->from + l->used);
    enum nadb_fs_check check = nadb_frame_get(l->run.bytes + l->used, seed, &frame);
    if (check != NADB_FS_GOOD) {
        return fail_at(l, check, l->used);
    }
    room -= NADB_FRAME_HEADER_BYTES;
    if (frame.payload_bytes > room) {
        *ret_missing = frame.payload_bytes - room;
        return NADB_OK;
    }
    const char *payload = l->run.bytes + l->used + NADB_FRAME_HEADER_BYTES;
    if (frame.records > frame.payload_bytes / NADB_RECORD_HEADER_BYTES ||
        frame.payload_check != nadb_checksum64(payload, frame.payload_bytes, seed)) {
        return fail_at(l, NADB_FS_BAD, l->used);
    }
    l->records += frame.records;
    l->frames++;
    l->used += NADB_FRAME_HEADER_BYTES + frame.payload_bytes;
    return NADB_OK;
}

static enum nadb_err load_frames(struct loading *l, size_t bytes_max)
{
    uint64_t whole = l->range->to - l->range->from;
    enum nadb_err err = read_part(l, whole < bytes_max ? (size_t)whole : bytes_max);
    while (err == NADB_OK && l->used < l->run.len) {
        size_t missing = 0;
        err = pass_frame(l, &missing);
        if (err == NADB_OK && missing != 0) {
            if (missing > whole - l->run.len) {
                return fail_at(l, NADB_FS_BAD, l->used);
            }
            if (l->used > 0) {
                return NADB_OK; /* the next chunk's */
            }
            err = read_part(l, l->run.len + missing);
        }
    }
    return err;
}

/* What a chunk owns besides its block: the part of the segment that entries borrow from, and the
 * values that had to be expanded. */
struct holdings {
    void *memory;
    struct nadb_fs_chunk_frame *frames;
    size_t frame_count;
    char **values;
    size_t value_count;
};

static void free_holdings(struct holdings *holdings)
{
    for (size_t i = 0; i < holdings->value_count; i++) {
        nadb_mem_free(holdings->values[i]);
    }
    nadb_mem_free(holdings->values);
    nadb_mem_free(holdings->frames);
    nadb_mem_free(holdings->memory);
    nadb_mem_free(holdings);
}

static enum nadb_err expand(
    const struct loading *l, struct nadb_entry *entry, size_t at, struct holdings *holdings)
{
    char *value = nadb_mem_try_alloc(entry->raw_len);
    if (value == NULL) {
        return nadb_error_set(
            l->reterr, NADB_ENOMEM, 0, "segment '%s': not enough memory", l->range->name);
    }
    if (holdings->values == NULL) {
        holdings->values = nadb_mem_alloc(l->records * sizeof(*holdings->values));
    }
    holdings->values[holdings->value_count++] = value;
    if (nadb_fs_record_value(entry, value, entry->raw_len) != NADB_FS_GOOD) {
        return fail_at(l, NADB_FS_BAD, at);
    }
    entry->value = nadb_slice_of(value, entry->raw_len);
    entry->codec = NADB_CODEC_RAW;
    return NADB_OK;
}

/* What a hint has in front of a record; *at moves on to that. */
static bool take_prefix(
    const struct loading *l, size_t *at, size_t end, uint64_t *ret_place, uint32_t *ret_value_len)
{
    if (end - *at < NADB_HINT_PREFIX_BYTES) {
        return false;
    }
    *ret_place = nadb_get_u32(l->run.bytes + *at);
    *ret_value_len = nadb_get_u32(l->run.bytes + *at + 4);
    *at += NADB_HINT_PREFIX_BYTES;
    return *ret_place < UINT64_C(1) << NADB_LOC_OFFSET_BITS && *ret_value_len <= NADB_VALUE_LEN_MAX;
}

/* Gives the entry the value that is wanted. */
static enum nadb_err finish_entry(const struct loading *l, struct nadb_entry *entry,
    uint32_t hint_value_len, size_t at, struct holdings *holdings)
{
    const struct nadb_fs_range *range = l->range;
    if (entry->kind == NADB_ENTRY_PUT && (range->is_lean || range->is_hint)) {
        size_t len = range->is_hint ? hint_value_len : nadb_fs_record_value_len(entry);
        entry->value = nadb_slice_of(NULL, len);
        entry->codec = NADB_CODEC_RAW;
        return NADB_OK;
    }
    return entry->codec != NADB_CODEC_RAW && !range->is_encoded_wanted
               ? expand(l, entry, at, holdings)
               : NADB_OK;
}

/* The records of the frame at `at`, which was verified. */
static enum nadb_err decode_frame(const struct loading *l, size_t at, size_t *ret_end,
    struct nadb_replay_chunk *chunk, struct holdings *holdings)
{
    const struct nadb_fs_range *range = l->range;
    struct nadb_frame frame;
    enum nadb_fs_check check =
        nadb_frame_get(l->run.bytes + at, nadb_offset_seed(range->seed, range->from + at), &frame);
    NADB_ASSERT(check == NADB_FS_GOOD);
    uint64_t dead_ms = nadb_fs_deaths_of(range->deaths, frame.seq);
    holdings->frames[holdings->frame_count++] = (struct nadb_fs_chunk_frame){
        .seq = frame.seq,
        .wall_ms = frame.wall_ms,
        .last_version = frame.last_version,
        .first = chunk->count,
    };
    size_t end = at + NADB_FRAME_HEADER_BYTES + frame.payload_bytes;
    at += NADB_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < frame.records; i++) {
        size_t bytes = 0;
        struct nadb_entry *entry = &chunk->entries[chunk->count];
        uint64_t place = (range->from + at) / NADB_FS_ALIGN;
        uint32_t value_len = 0;
        if (range->is_hint && !take_prefix(l, &at, end, &place, &value_len)) {
            return fail_at(l, NADB_FS_BAD, at);
        }
        check = nadb_fs_record_get(l->run.bytes + at, end - at, entry, &bytes);
        if (check != NADB_FS_GOOD) {
            return fail_at(l, check, at);
        }
        enum nadb_err err = finish_entry(l, entry, value_len, at, holdings);
        if (err != NADB_OK) {
            return err;
        }
        chunk->locs[chunk->count] = (uint64_t)range->slot << NADB_LOC_OFFSET_BITS | place;
        chunk->dead_ms[chunk->count] = dead_ms;
        chunk->count++;
        at += bytes;
    }
    *ret_end = end;
    return at == end ? NADB_OK : fail_at(l, NADB_FS_BAD, at);
}

static enum nadb_err decode_frames(const struct loading *l, struct nadb_replay_chunk *ret)
{
    size_t each = sizeof(*ret->entries) + sizeof(*ret->locs) + sizeof(*ret->dead_ms);
    char *block = nadb_mem_try_alloc(l->records * each + 1);
    if (block == NULL) {
        return nadb_error_set(
            l->reterr, NADB_ENOMEM, 0, "segment '%s': not enough memory", l->range->name);
    }
    struct nadb_replay_chunk chunk = {
        .entries = (struct nadb_entry *)(void *)block,
        .locs = (uint64_t *)(void *)(block + l->records * sizeof(*ret->entries)),
        .dead_ms = (uint64_t *)(void *)(block + l->records * (each - sizeof(*ret->dead_ms))),
        .is_last = l->range->from + l->used == l->range->to,
    };
    struct holdings *holdings = nadb_mem_zalloc(sizeof(*holdings));
    holdings->frames = nadb_mem_alloc(l->frames * sizeof(*holdings->frames));
    enum nadb_err err = NADB_OK;
    for (size_t at = 0; err == NADB_OK && at < l->used;) {
        err = decode_frame(l, at, &at, &chunk, holdings);
    }
    if (err != NADB_OK) {
        nadb_mem_free(block);
        free_holdings(holdings);
        return err;
    }
    holdings->memory = l->run.memory;
    chunk.backend_private = holdings;
    *ret = chunk;
    return NADB_OK;
}

enum nadb_err nadb_fs_load(const struct nadb_fs_range *range, size_t bytes_max,
    struct nadb_replay_chunk *ret_chunk, uint64_t *ret_next, struct nadb_error *reterr)
{
    NADB_ASSERT(range->from < range->to && bytes_max > 0);
    struct loading l = {.range = range, .reterr = reterr};
    enum nadb_err err = load_frames(&l, bytes_max);
    if (err == NADB_OK) {
        err = decode_frames(&l, ret_chunk);
    }
    if (err != NADB_OK) {
        nadb_mem_free(l.run.memory);
        return err;
    }
    *ret_next = range->from + l.used;
    return NADB_OK;
}

const struct nadb_fs_chunk_frame *nadb_fs_chunk_frames(
    const struct nadb_replay_chunk *chunk, size_t *ret_count)
{
    const struct holdings *holdings = chunk->backend_private;
    *ret_count = holdings->frame_count;
    return holdings->frames;
}

void nadb_fs_chunk_free(struct nadb_replay_chunk *chunk)
{
    nadb_mem_free(chunk->entries);
    if (chunk->backend_private != NULL) {
        free_holdings(chunk->backend_private);
    }
    *chunk = (struct nadb_replay_chunk){0};
}
