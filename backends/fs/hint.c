/* This file writes and reads hints. */
#include "backends/fs/hint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/frame.h"
#include "backends/fs/fs_internal.h"
#include "backends/fs/record.h"
#include "backends/fs/visit.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/mem.h"

/* header: offsets as in a segment's, but for what follows the id */
#define HINT_BYTES_AT 32
#define HINT_CHAIN_AT 40

/* the first frame's payload: the point, then 16 bytes for each step */
#define POINT_BYTES 56u
#define STEP_BYTES  16u

void nadb_hint_name(char *out, uint64_t id)
{
    (void)snprintf(out, NADB_HINT_NAME_BYTES, "%016llx" NADB_HINT_SUFFIX,
        (unsigned long long)id); /* fits by definition */
}

bool nadb_hint_parse_name(const char *name, uint64_t *ret_id)
{
    char segment[NADB_SEGMENT_NAME_BYTES];
    if (strlen(name) != NADB_HINT_NAME_BYTES - 1 || strcmp(name + 16, NADB_HINT_SUFFIX) != 0) {
        return false;
    }
    memcpy(segment, name, 16);
    memcpy(segment + 16, NADB_SEGMENT_SUFFIX, sizeof(NADB_SEGMENT_SUFFIX));
    return nadb_segment_parse_name(segment, ret_id);
}

static void put_header(char *out, uint64_t store_id, const struct nadb_manifest_entry *entry)
{
    memset(out, 0, NADB_SEGMENT_HEADER_BYTES);
    nadb_put_u64(out + NADB_SEGMENT_MAGIC_AT, NADB_HINT_MAGIC);
    nadb_put_u32(out + NADB_SEGMENT_VERSION_AT, NADB_FS_FORMAT_VERSION);
    nadb_put_u64(out + NADB_SEGMENT_STORE_AT, store_id);
    nadb_put_u64(out + NADB_SEGMENT_ID_AT, entry->id);
    nadb_put_u64(out + HINT_BYTES_AT, entry->bytes);
    nadb_put_u64(out + HINT_CHAIN_AT, entry->chain);
    uint64_t seed = nadb_hint_seed(nadb_segment_seed(store_id, entry->id));
    nadb_put_u64(out + NADB_SEGMENT_CHECK_AT, nadb_checksum64(out, NADB_SEGMENT_CHECK_AT, seed));
}

/* ---- writing ---- */

struct writing {
    const struct nadb_fs_io *io;
    int dir;
    struct nadb_fs_visit visit;
    struct nadb_fs_deaths deaths; /* of this segment alone */
    int file;
    uint64_t seed, offset, chain;
    uint64_t records;
    uint32_t frames;
    /* the frame that is being filled */
    char *block; /* owned */
    size_t len, cap;
    uint32_t block_records;
    uint64_t block_seq, last_seq;
};

static int write_bytes(struct writing *w, const void *bytes, size_t len)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    int result = nadb_fs_write_full(w->io, w->file, &piece, 1, w->offset);
    w->offset += len;
    return result;
}

/* Writes the block as a frame of `flags`. */
static int end_block(struct writing *w, uint16_t flags)
{
    char header[NADB_FRAME_HEADER_BYTES];
    bool is_footer = (flags & NADB_FRAME_FOOTER) != 0;
    uint64_t seed = nadb_offset_seed(w->seed, w->offset);
    struct nadb_frame frame = {
        .flags = flags,
        .index = is_footer ? w->frames : 0,
        .records = is_footer ? (uint32_t)w->records : w->block_records,
        .payload_bytes = (uint32_t)w->len,
        .seq = is_footer ? w->last_seq : w->block_seq,
        .prev = w->chain,
        .payload_check = nadb_checksum64(w->block, w->len, seed),
    };
    nadb_frame_put(header, &frame, seed);
    w->chain = frame.check;
    w->records += w->block_records;
    w->last_seq = frame.seq;
    w->frames++;
    int result = write_bytes(w, header, sizeof(header));
    if (result == 0 && w->len > 0) {
        result = write_bytes(w, w->block, w->len);
    }
    w->len = 0;
    w->block_records = 0;
    return result;
}

static void make_room(struct writing *w, size_t len)
{
    if (w->cap - w->len < len) {
        w->cap =
            w->len + len > NADB_FRAME_PAYLOAD_TARGET ? w->len + len : NADB_FRAME_PAYLOAD_TARGET;
        w->block = nadb_mem_realloc(w->block, w->cap);
    }
}

static void put_point(struct writing *w)
{
    const struct nadb_segment_point *at = &w->visit.walk.at;
    const uint64_t fields[] = {
        at->offset, at->chain, at->seq, at->version, at->records, at->wall_ms, at->frames};
    _Static_assert(sizeof(fields) == POINT_BYTES, "layout");
    make_room(w, sizeof(fields) + w->deaths.count * STEP_BYTES);
    for (size_t i = 0; i < NADB_ARRAY_LEN(fields); i++, w->len += 8) {
        nadb_put_u64(w->block + w->len, fields[i]);
    }
    for (size_t i = 0; i < w->deaths.count; i++, w->len += STEP_BYTES) {
        nadb_put_u64(w->block + w->len, w->deaths.steps[i].seq);
        nadb_put_u64(w->block + w->len + 8, w->deaths.steps[i].wall_ms);
    }
}

static void put_record(struct writing *w, const struct nadb_entry *entry, uint64_t loc)
{
    struct nadb_entry bare = *entry;
    uint32_t value_len = 0;
    if (entry->kind == NADB_ENTRY_PUT) {
        value_len = (uint32_t)nadb_fs_record_value_len(entry);
        bare.value = nadb_slice_of(NULL, 0);
        bare.codec = NADB_CODEC_RAW;
    }
    size_t bytes = NADB_HINT_PREFIX_BYTES + nadb_fs_record_bytes(&bare);
    make_room(w, bytes);
    nadb_put_u32(w->block + w->len, (uint32_t)(loc & ((1u << NADB_LOC_OFFSET_BITS) - 1)));
    nadb_put_u32(w->block + w->len + 4, value_len);
    (void)nadb_fs_record_put(w->block + w->len + NADB_HINT_PREFIX_BYTES, &bare, w->seed);
    w->len += bytes;
    w->block_records++;
}

/* A frame of the segment; the block before it ends when it is full, or when what it holds died at
 * another time. */
static int put_frame(struct writing *w, const struct nadb_replay_chunk *chunk, size_t first,
    size_t end, uint64_t seq)
{
    bool is_alike = w->block_records > 0 && nadb_fs_deaths_of(&w->deaths, w->block_seq) ==
                                                nadb_fs_deaths_of(&w->deaths, seq);
    int result = 0;
    if (w->block_records > 0 && !is_alike) {
        result = end_block(w, NADB_FRAME_FIRST | NADB_FRAME_LAST);
    }
    for (size_t i = first; result == 0 && i < end; i++) {
        w->block_seq = w->block_records == 0 ? seq : w->block_seq;
        put_record(w, &chunk->entries[i], chunk->locs[i]);
        if (w->len >= NADB_FRAME_PAYLOAD_TARGET) {
            result = end_block(w, NADB_FRAME_FIRST | NADB_FRAME_LAST);
        }
    }
    return result;
}

static int put_chunk(struct writing *w, const struct nadb_replay_chunk *chunk)
{
    size_t count;
    const struct nadb_fs_chunk_frame *frames = nadb_fs_chunk_frames(chunk, &count);
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        size_t end = i + 1 < count ? frames[i + 1].first : chunk->count;
        result = put_frame(w, chunk, frames[i].first, end, frames[i].seq);
    }
    return result;
}

static enum nadb_err fail_write(const char *name, int result, struct nadb_error *reterr)
{
    return nadb_error_set(
        reterr, result == -ENOSPC ? NADB_ENOSPC : NADB_EIO, -result, "hint '%s'", name);
}

static enum nadb_err write_records(
    struct writing *w, int file, const char *name, struct nadb_error *reterr)
{
    struct nadb_fs_range range = {
        .io = w->io,
        .file = file,
        .name = w->visit.name,
        .seed = w->visit.walk.seed,
        .slot = 0,
        .from = NADB_SEGMENT_HEADER_BYTES,
        .to = w->visit.walk.at.offset,
        .is_encoded_wanted = true,
    };
    int result = end_block(w, NADB_FRAME_FIRST | NADB_FRAME_LAST); /* the point */
    while (result == 0 && range.from < range.to) {
        struct nadb_replay_chunk chunk = {0};
        enum nadb_err err =
            nadb_fs_load(&range, NADB_BACKEND_CHUNK_BYTES, &chunk, &range.from, reterr);
        if (err != NADB_OK) {
            return err;
        }
        result = put_chunk(w, &chunk);
        nadb_fs_chunk_free(&chunk);
    }
    if (result == 0 && w->block_records > 0) {
        result = end_block(w, NADB_FRAME_FIRST | NADB_FRAME_LAST);
    }
    if (result == 0) {
        result = end_block(w, NADB_FRAME_FOOTER);
    }
    return result == 0 ? NADB_OK : fail_write(name, result, reterr);
}

static enum nadb_err walk_segment(struct writing *w, struct nadb_error *reterr)
{
    bool is_end = false;
    enum nadb_err err = nadb_fs_visit_begin(&w->visit, reterr);
    while (err == NADB_OK && !is_end) {
        err = nadb_fs_visit_next(&w->visit, &is_end, reterr);
        if (err == NADB_OK && !is_end) {
            nadb_fs_deaths_add(&w->deaths, w->visit.walk.frame.seq, w->visit.walk.frame.wall_ms);
        }
    }
    return err;
}

static enum nadb_err write_file(struct writing *w, uint64_t store_id,
    const struct nadb_manifest_entry *entry, const char *name, struct nadb_error *reterr)
{
    char header[NADB_SEGMENT_HEADER_BYTES];
    (void)w->io->unlink_file(w->io, w->dir, name); /* mostly there is none */
    w->file = w->io->open_file(w->io, w->dir, name, NADB_FS_OPEN_CREATE);
    if (w->file < 0) {
        return fail_write(name, w->file, reterr);
    }
    put_header(header, store_id, entry);
    w->chain = nadb_get_u64(header + NADB_SEGMENT_CHECK_AT);
    int result = write_bytes(w, header, sizeof(header));
    int from = -1;
    enum nadb_err err = result == 0 ? nadb_fs_visit_open_run(&w->visit, &from, reterr)
                                    : fail_write(name, result, reterr);
    if (err == NADB_OK) {
        err = write_records(w, from, name, reterr);
        (void)w->io->close_file(w->io, from); /* nothing was written through it */
    }
    (void)w->io->close_file(w->io, w->file); /* what is not there does not verify */
    if (err != NADB_OK) {
        (void)w->io->unlink_file(w->io, w->dir, name); /* as above */
    }
    return err;
}

enum nadb_err nadb_hint_write(const struct nadb_fs_io *io, int dir, uint64_t store_id,
    const struct nadb_manifest_entry *entry, struct nadb_error *reterr)
{
    char name[NADB_HINT_NAME_BYTES];
    nadb_hint_name(name, entry->id);
    struct writing w = {
        .io = io,
        .dir = dir,
        .seed = nadb_hint_seed(nadb_segment_seed(store_id, entry->id)),
        .visit =
            {
                .io = io,
                .dir = dir,
                .store_id = store_id,
                .entry = entry,
                .window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES),
            },
    };
    enum nadb_err err = walk_segment(&w, reterr);
    if (err == NADB_OK) {
        put_point(&w);
        err = write_file(&w, store_id, entry, name, reterr);
    }
    nadb_fs_visit_end(&w.visit);
    nadb_fs_deaths_fini(&w.deaths);
    nadb_mem_free(w.visit.window);
    nadb_mem_free(w.block);
    return err;
}

/* ---- reading ---- */

static bool is_header_good(const struct nadb_fs_io *io, int file, uint64_t store_id,
    const struct nadb_manifest_entry *entry, uint64_t *ret_chain)
{
    char header[NADB_SEGMENT_HEADER_BYTES];
    char wanted[NADB_SEGMENT_HEADER_BYTES];
    put_header(wanted, store_id, entry);
    *ret_chain = nadb_get_u64(wanted + NADB_SEGMENT_CHECK_AT);
    return nadb_fs_read_full(io, file, header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
           memcmp(header, wanted, sizeof(header)) == 0;
}

/* The first frame, which the walk has verified. */
static bool read_point(const struct nadb_segment_walk *walk, struct nadb_hint *ret,
    char **ret_steps, size_t *ret_count)
{
    size_t len = walk->frame.payload_bytes;
    if (len < POINT_BYTES || (len - POINT_BYTES) % STEP_BYTES != 0 || walk->frame.records != 0) {
        return false;
    }
    char *bytes = nadb_mem_try_alloc(len);
    if (bytes == NULL || nadb_fs_read_full(walk->io, walk->file, bytes, len,
                             walk->at.offset - len) != (ssize_t)len) {
        nadb_mem_free(bytes);
        return false;
    }
    ret->at = (struct nadb_segment_point){
        .offset = nadb_get_u64(bytes),
        .chain = nadb_get_u64(bytes + 8),
        .seq = nadb_get_u64(bytes + 16),
        .version = nadb_get_u64(bytes + 24),
        .records = nadb_get_u64(bytes + 32),
        .wall_ms = nadb_get_u64(bytes + 40),
        .frames = (uint32_t)nadb_get_u64(bytes + 48),
    };
    *ret_steps = bytes;
    *ret_count = (len - POINT_BYTES) / STEP_BYTES;
    return true;
}

/* Walks the whole hint; *ret_steps is the caller's. */
static bool walk_hint(
    struct nadb_segment_walk *walk, struct nadb_hint *ret, char **ret_steps, size_t *ret_count)
{
    enum nadb_walk_result result = nadb_segment_walk_next(walk);
    if (result != NADB_WALK_BATCH || !read_point(walk, ret, ret_steps, ret_count)) {
        return false;
    }
    ret->from = walk->at.offset;
    do {
        ret->to = walk->at.offset;
        result = nadb_segment_walk_next(walk);
    } while (result == NADB_WALK_BATCH);
    return result == NADB_WALK_FOOTER && walk->next.offset == walk->limit &&
           walk->at.records == ret->at.records;
}

bool nadb_hint_read(const struct nadb_fs_io *io, int dir, uint64_t store_id,
    const struct nadb_manifest_entry *entry, char *window, struct nadb_fs_deaths *deaths,
    struct nadb_hint *ret)
{
    char name[NADB_HINT_NAME_BYTES];
    nadb_hint_name(name, entry->id);
    int file = io->open_file(io, dir, name, NADB_FS_OPEN_READ);
    if (file < 0) {
        return false;
    }
    uint64_t size = 0;
    struct nadb_segment_point from = {.offset = NADB_SEGMENT_HEADER_BYTES};
    char *steps = NULL;
    size_t count = 0;
    bool is_good = io->size_file(io, file, &size) == 0 &&
                   is_header_good(io, file, store_id, entry, &from.chain);
    if (is_good) {
        struct nadb_segment_walk walk;
        nadb_segment_walk_begin(&walk, io, file,
            nadb_hint_seed(nadb_segment_seed(store_id, entry->id)), &from, size, window, true);
        is_good = walk_hint(&walk, ret, &steps, &count);
    }
    for (size_t i = 0; is_good && i < count; i++) {
        const char *step = steps + POINT_BYTES + i * STEP_BYTES;
        nadb_fs_deaths_add(deaths, nadb_get_u64(step), nadb_get_u64(step + 8));
    }
    nadb_mem_free(steps);
    (void)io->close_file(io, file); /* nothing was written */
    return is_good;
}
