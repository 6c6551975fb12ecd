/* This file appends batches to a segment file and walks through them; the format is format.h's. */
#include "backends/fs/segment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/fs/fs_checksum.h"
#include "backends/fs/record.h"
#include "src/base/assert.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/mem.h"

/* Zeros are written ahead of small synced batches in steps of this. */
#define ZERO_PIECE_BYTES     (1u << 16)
#define ZERO_PIECES          NADB_FS_IOV_MAX
#define ZERO_AHEAD_BYTES     ((uint64_t)ZERO_PIECE_BYTES * ZERO_PIECES)
#define ZERO_BATCH_BYTES_MAX (ZERO_AHEAD_BYTES / 8)

/* A value is stored compressed when that saves at least this much, the record's extra word
 * included; shorter ones are not tried. */
#define PACKED_GAIN_MIN 16u
#define PACKED_LEN_MIN  64u
#define PACKED_KEPT_MAX (1u << 20) /* room for a value that is kept from one batch to the next */

/* Of values this long a part is tried first; the whole follows if that part becomes smaller by one
 * in PROBE_GAIN_SHARE. */
#define PROBE_VALUE_LEN  (1u << 16)
#define PROBE_LEN        (1u << 13)
#define PROBE_GAIN_SHARE 16u

_Static_assert(NADB_FRAME_HEADER_BYTES + NADB_FRAME_PAYLOAD_TARGET <= NADB_FS_WINDOW_ROOM,
    "a frame fits the window");

#define WALK_HEADER_BYTES (1u << 12)

void nadb_segment_name(char *out, uint64_t id)
{
    (void)snprintf(out, NADB_SEGMENT_NAME_BYTES, "%016llx" NADB_SEGMENT_SUFFIX,
        (unsigned long long)id); /* fits by definition */
}

bool nadb_segment_parse_name(const char *name, uint64_t *ret_id)
{
    if (strlen(name) != NADB_SEGMENT_NAME_BYTES - 1 ||
        strcmp(name + 16, NADB_SEGMENT_SUFFIX) != 0) {
        return false;
    }
    uint64_t id = 0;
    for (size_t i = 0; i < 16; i++) {
        char digit = name[i];
        if (digit >= '0' && digit <= '9') {
            id = id << 4 | (uint64_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            id = id << 4 | (uint64_t)(digit - 'a' + 10);
        } else {
            return false;
        }
    }
    *ret_id = id;
    return true;
}

/* ---- creating ---- */

static int write_header(
    const struct nadb_fs_io *io, int file, const struct nadb_segment_create_opts *opts)
{
    char header[NADB_SEGMENT_HEADER_BYTES];
    nadb_segment_header_put(header, opts->store_id, opts->id, opts->created_ms);
    struct iovec piece = {.iov_base = header, .iov_len = sizeof(header)};
    int result = nadb_fs_write_full(io, file, &piece, 1, 0);
    if (result == 0) {
        result = io->sync_file(io, file);
    }
    if (result == 0) {
        result = io->sync_dir(io, opts->dir);
    }
    return result;
}

void nadb_segment_rebase(struct nadb_segment *segment, const struct nadb_segment_point *before)
{
    NADB_ASSERT(segment->end.frames == 0);
    segment->end = (struct nadb_segment_point){
        .offset = NADB_SEGMENT_HEADER_BYTES,
        .chain = before->chain,
        .seq = before->seq,
        .version = before->version,
    };
    segment->synced = segment->end;
    segment->base = before->chain;
}

int nadb_segment_create(struct nadb_segment *ret, const struct nadb_segment_create_opts *opts,
    const struct nadb_segment_point *before)
{
    const struct nadb_fs_io *io = opts->io;
    struct nadb_segment segment = {
        .io = io,
        .slot = opts->slot,
        .id = opts->id,
        .seed = nadb_segment_seed(opts->store_id, opts->id),
        .size = NADB_SEGMENT_HEADER_BYTES,
    };
    nadb_segment_name(segment.name, opts->id);
    segment.file = io->open_file(io, opts->dir, segment.name, NADB_FS_OPEN_CREATE);
    if (segment.file < 0) {
        return segment.file;
    }
    int result = write_header(io, segment.file, opts);
    if (result != 0) {
        (void)io->unlink_file(io, opts->dir, segment.name); /* else the next start removes it */
        nadb_segment_close(&segment);
        return result;
    }
    nadb_segment_rebase(&segment, before);
    *ret = segment;
    return 0;
}

void nadb_segment_close(struct nadb_segment *segment)
{
    if (segment->file >= 0) {
        nadb_fs_end_forget(&segment->file_end, segment->io, segment->file);
        (void)segment->io->close_file(segment->io, segment->file); /* syncs tell, close does not */
        segment->file = -1;
    }
}

/* ---- appending ---- */

void nadb_segment_tools_init(struct nadb_segment_tools *tools)
{
    *tools = (struct nadb_segment_tools){0};
    nadb_fs_window_init(&tools->window);
}

void nadb_segment_tools_fini(struct nadb_segment_tools *tools)
{
    nadb_fs_window_fini(&tools->window);
    nadb_mem_free(tools->packed);
    nadb_compressor_fini(&tools->compressor);
    nadb_compressor_fini(&tools->prober);
    *tools = (struct nadb_segment_tools){0};
}

struct appending {
    struct nadb_segment *segment;
    struct nadb_batch *batch;
    uint64_t synced_seq;
    struct nadb_segment_tools *tools;
    size_t payload_len;
    uint32_t records; /* in the frame */
    uint32_t index;   /* of the frame */
    struct nadb_segment_point at;
    int failure; /* errno of the write that failed */
    struct nadb_error *reterr;
};

/* Header and payload of the frame that is being filled. */
static char *frame_of(const struct appending *a)
{
    return nadb_fs_window_room(&a->tools->window);
}

static uint64_t record_offset(const struct appending *a)
{
    return a->at.offset + NADB_FRAME_HEADER_BYTES + a->payload_len;
}

/* Heads the payload and writes both: `payload_len` bytes of it are in the frame, the pieces
 * follow. */
static enum nadb_err write_frame(
    struct appending *a, size_t payload_len, const struct iovec *pieces, size_t count, bool is_last)
{
    struct nadb_segment *segment = a->segment;
    char *buf = frame_of(a);
    struct iovec payload[NADB_FS_IOV_MAX] = {
        {.iov_base = buf + NADB_FRAME_HEADER_BYTES, .iov_len = payload_len}};
    size_t payload_bytes = payload_len;
    NADB_ASSERT(count < NADB_FS_IOV_MAX);
    for (size_t i = 0; i < count; i++) {
        payload[1 + i] = pieces[i];
        payload_bytes += pieces[i].iov_len;
    }
    NADB_ASSERT(payload_bytes <= UINT32_MAX && payload_bytes % NADB_FS_ALIGN == 0);
    uint64_t seed = nadb_offset_seed(segment->seed, a->at.offset);
    struct nadb_frame frame = {
        .flags =
            (uint16_t)((a->index == 0 ? NADB_FRAME_FIRST : 0) | (is_last ? NADB_FRAME_LAST : 0)),
        .index = a->index,
        .records = a->records,
        .payload_bytes = (uint32_t)payload_bytes,
        .seq = a->batch->seq,
        .synced_seq = a->synced_seq,
        .wall_ms = a->batch->wall_ms,
        .last_version = a->batch->last_version,
        .prev = a->at.chain,
        .payload_check = nadb_fs_checksum_pieces(payload, count + 1, seed),
    };
    nadb_frame_put(buf, &frame, seed);
    int result = nadb_fs_window_write(
        &a->tools->window, NADB_FRAME_HEADER_BYTES + payload_len, pieces, count);
    if (result != 0) {
        a->failure = -result;
        return nadb_error_set(a->reterr, NADB_ENOSPC, -result, "disk write failed");
    }
    a->at.offset += NADB_FRAME_HEADER_BYTES + payload_bytes;
    a->at.chain = frame.check;
    a->at.records += a->records;
    a->at.frames++;
    a->index++;
    a->records = 0;
    a->payload_len = 0;
    return NADB_OK;
}

static enum nadb_err write_filled(struct appending *a, bool is_last)
{
    return write_frame(a, a->payload_len, NULL, 0, is_last);
}

static struct iovec piece_of(struct nadb_slice slice)
{
    /* iovec has no const; nothing is written through it. */
    return (struct iovec){.iov_base = (void *)(uintptr_t)slice.data, .iov_len = slice.len};
}

/* A frame of one record. */
static enum nadb_err write_alone(
    struct appending *a, const struct nadb_entry *entry, size_t bytes, bool is_last)
{
    static const char zeros[NADB_FS_ALIGN];
    char *head = frame_of(a) + NADB_FRAME_HEADER_BYTES;
    size_t head_len = nadb_fs_record_put_head(head, entry);
    bool is_put = entry->kind == NADB_ENTRY_PUT;
    struct nadb_slice value = nadb_entry_has_value(entry->kind) ? entry->value : NADB_SLICE("");
    struct nadb_slice tags = is_put ? entry->tags : NADB_SLICE("");
    size_t body_len = entry->key.len + value.len + tags.len;
    const struct iovec pieces[] = {
        {.iov_base = head + 4, .iov_len = head_len - 4},
        piece_of(entry->key),
        piece_of(value),
        piece_of(tags),
        piece_of(nadb_slice_of(zeros, bytes - head_len - body_len)),
    };
    uint64_t check = nadb_fs_checksum_pieces(
        pieces, NADB_ARRAY_LEN(pieces), nadb_offset_seed(a->segment->seed, record_offset(a)));
    nadb_put_u32(head + NADB_RECORD_CHECK_AT, (uint32_t)check);
    a->records = 1;
    return write_frame(a, head_len, pieces + 1, NADB_ARRAY_LEN(pieces) - 1, is_last);
}

/* Is it worth compressing all of a long value? Its middle tells: a beginning may be a header. */
static bool looks_compressible(struct nadb_segment_tools *tools, struct nadb_slice value)
{
    if (value.len < PROBE_VALUE_LEN) {
        return true;
    }
    struct nadb_slice part = nadb_slice_of(value.data + value.len / 2, PROBE_LEN);
    size_t cap = PROBE_LEN - PROBE_LEN / PROBE_GAIN_SHARE;
    return nadb_compress(&tools->prober, NADB_COMPRESS_LEVEL_MIN, part, tools->packed, cap) > 0;
}

/* Compresses the value if that is wanted and makes the record smaller. Without memory it stays as
 * it is. */
static void pack_value(struct appending *a, struct nadb_entry *entry)
{
    const struct nadb_compression *wanted = &a->batch->compression;
    struct nadb_segment_tools *tools = a->tools;
    if (!wanted->is_on || entry->kind != NADB_ENTRY_PUT || entry->codec != NADB_CODEC_RAW ||
        entry->value.len < wanted->threshold_len || entry->value.len < PACKED_LEN_MIN) {
        return;
    }
    size_t cap = entry->value.len - PACKED_GAIN_MIN;
    if (tools->packed_cap < cap) {
        nadb_mem_free(tools->packed);
        tools->packed = nadb_mem_try_alloc(cap);
        tools->packed_cap = tools->packed == NULL ? 0 : cap;
    }
    if (tools->packed == NULL || !looks_compressible(tools, entry->value)) {
        return;
    }
    size_t len = nadb_compress(&tools->compressor, wanted->level, entry->value, tools->packed, cap);
    if (len == 0) {
        return;
    }
    tools->packed_values++;
    tools->packed_from += entry->value.len;
    tools->packed_to += len;
    entry->raw_len = (uint32_t)entry->value.len;
    entry->codec = NADB_CODEC_ZLIB;
    entry->value = nadb_slice_of(tools->packed, len);
}

/* Puts one entry into the frame, or into one of its own; writes frames that are full. */
static enum nadb_err append_entry(struct appending *a, size_t index)
{
    struct nadb_entry entry;
    a->batch->entry(a->batch, index, &entry);
    pack_value(a, &entry);
    size_t bytes = nadb_fs_record_bytes(&entry);
    bool is_alone = bytes >= NADB_RECORD_ALONE_BYTES;
    if (a->records > 0 && (is_alone || a->payload_len + bytes > NADB_FRAME_PAYLOAD_TARGET)) {
        enum nadb_err err = write_filled(a, false);
        if (err != NADB_OK) {
            return err;
        }
    }
    uint64_t offset = record_offset(a);
    if (offset > NADB_RECORD_OFFSET_MAX) {
        return nadb_error_set(
            a->reterr, NADB_ELIMIT, 0, "segment '%s': the batch is too large", a->segment->name);
    }
    if (a->batch->locs != NULL) {
        a->batch->locs[index] =
            (uint64_t)a->segment->slot << NADB_LOC_OFFSET_BITS | offset / NADB_FS_ALIGN;
    }
    if (is_alone) {
        return write_alone(a, &entry, bytes, index + 1 == a->batch->count);
    }
    a->payload_len += nadb_fs_record_put(frame_of(a) + NADB_FRAME_HEADER_BYTES + a->payload_len,
        &entry, nadb_offset_seed(a->segment->seed, offset));
    a->records++;
    return NADB_OK;
}

static enum nadb_err append_all(struct appending *a)
{
    for (size_t i = 0; i < a->batch->count; i++) {
        enum nadb_err err = append_entry(a, i);
        if (err != NADB_OK) {
            return err;
        }
    }
    bool is_ended = a->index > 0 && a->records == 0;
    return is_ended ? NADB_OK : write_filled(a, true);
}

int nadb_segment_trim(struct nadb_segment *segment)
{
    if (segment->size == segment->end.offset) {
        return 0;
    }
    int result = segment->io->truncate_file(segment->io, segment->file, segment->end.offset);
    if (result == 0) {
        segment->size = segment->end.offset;
    }
    return result;
}

/* Small synced batches become cheaper when the sync need not change the file's size. Failing is
 * no error: the zeros were only for speed. */
static void write_zeros_ahead(struct nadb_segment *segment, uint64_t batch_bytes)
{
    static const _Alignas(NADB_FS_BLOCK_BYTES) char zeros[ZERO_PIECE_BYTES];
    if (segment->is_zeroing_off || batch_bytes > ZERO_BATCH_BYTES_MAX ||
        segment->end.offset + batch_bytes <= segment->size) {
        return;
    }
    struct iovec pieces[ZERO_PIECES];
    for (size_t i = 0; i < ZERO_PIECES; i++) {
        pieces[i] = piece_of(nadb_slice_of(zeros, sizeof(zeros)));
    }
    const uint64_t from = nadb_fs_block_up(segment->end.offset);
    segment->size = from + ZERO_AHEAD_BYTES;
    int result = nadb_fs_write_full(segment->io, segment->file, pieces, ZERO_PIECES, from);
    segment->is_zeroing_off = result != 0;
    if (segment->is_zeroing_off && nadb_segment_trim(segment) != 0) {
        segment->size = UINT64_MAX; /* seal and close try again */
    }
}

/* There is no room, here or at all; anything else is the disk that fails, and would fail again. */
static bool is_want_of_room(int sys_errno)
{
    return sys_errno == ENOSPC || sys_errno == EDQUOT || sys_errno == EFBIG;
}

/* All of the batch behind `a->at`, and what the segment's end is with it. */
static enum nadb_err append_batch(struct appending *a)
{
    struct nadb_segment *segment = a->segment;
    struct nadb_fs_window *window = &a->tools->window;
    int result =
        nadb_fs_end_learn(&segment->file_end, segment->io, segment->file, segment->end.offset);
    if (result != 0) {
        segment->is_bad = true;
        return nadb_error_set(a->reterr, NADB_ENOSPC, -result, "disk write failed");
    }
    nadb_fs_window_begin(
        window, segment->io, segment->file, &segment->file_end, segment->end.offset);
    enum nadb_err err = append_all(a);
    if (err == NADB_OK) {
        nadb_fs_window_commit(window);
        return NADB_OK;
    }
    segment->size = UINT64_MAX; /* some part was written */
    bool is_cut = nadb_segment_trim(segment) == 0;
    bool is_refused = err == NADB_ELIMIT || is_want_of_room(a->failure);
    segment->is_bad = !is_cut || !is_refused;
    return err;
}

/* How large the file is with all up to `end` in it. */
static uint64_t size_with(const struct nadb_segment *segment, uint64_t end)
{
    return segment->file_end.is_padded ? nadb_fs_block_up(end) : end;
}

enum nadb_err nadb_segment_append(struct nadb_segment *segment, struct nadb_batch *batch,
    uint64_t synced_seq, struct nadb_segment_tools *tools, struct nadb_error *reterr)
{
    NADB_ASSERT(!segment->is_bad);
    NADB_ASSERT(batch->seq >= segment->end.seq);
    struct appending a = {
        .segment = segment,
        .batch = batch,
        .synced_seq = synced_seq,
        .tools = tools,
        .at = segment->end,
        .reterr = reterr,
    };
    enum nadb_err err = append_batch(&a);
    if (tools->packed_cap > PACKED_KEPT_MAX) {
        nadb_mem_free(tools->packed);
        tools->packed = NULL;
        tools->packed_cap = 0;
    }
    if (err != NADB_OK) {
        return err;
    }
    uint64_t batch_bytes = a.at.offset - segment->end.offset;
    segment->end = a.at;
    segment->end.seq = batch->seq;
    if (segment->end.version < batch->last_version) {
        segment->end.version = batch->last_version;
    }
    if (segment->end.wall_ms < batch->wall_ms) {
        segment->end.wall_ms = batch->wall_ms;
    }
    if (segment->size < size_with(segment, segment->end.offset)) {
        segment->size = size_with(segment, segment->end.offset);
    }
    if (batch->is_sync) {
        write_zeros_ahead(segment, batch_bytes);
    }
    return NADB_OK;
}

int nadb_segment_sync(struct nadb_segment *segment)
{
    NADB_ASSERT(!segment->is_sync_failed);
    int result = segment->io->sync_file(segment->io, segment->file);
    if (result != 0) {
        segment->is_bad = true;
        segment->is_sync_failed = true;
        return result;
    }
    segment->synced = segment->end;
    return 0;
}

static int write_footer(struct nadb_segment *segment, struct nadb_frame *footer)
{
    char header[NADB_FRAME_HEADER_BYTES];
    uint64_t seed = nadb_offset_seed(segment->seed, segment->end.offset);
    footer->payload_check = nadb_checksum64("", 0, seed);
    nadb_frame_put(header, footer, seed);
    struct iovec piece = {.iov_base = header, .iov_len = sizeof(header)};
    return nadb_fs_write_full(segment->io, segment->file, &piece, 1, segment->end.offset);
}

int nadb_segment_seal(struct nadb_segment *segment)
{
    NADB_ASSERT(!segment->is_bad);
    const struct nadb_segment_point end = segment->end;
    struct nadb_frame footer = {
        .flags = NADB_FRAME_FOOTER,
        .index = end.frames,
        .records = (uint32_t)end.records,
        .seq = end.seq,
        .synced_seq = segment->synced.seq,
        .wall_ms = end.wall_ms,
        .last_version = end.version,
        .prev = end.chain,
    };
    nadb_fs_end_forget(&segment->file_end, segment->io, segment->file); /* it is no block */
    int result = nadb_segment_trim(segment);
    if (result == 0) {
        segment->size = UINT64_MAX;
        result = write_footer(segment, &footer);
    }
    if (result != 0) {
        segment->is_bad = true;
        return result;
    }
    result = nadb_segment_sync(segment);
    if (result == 0) {
        segment->end.offset += NADB_FRAME_HEADER_BYTES;
        segment->end.chain = footer.check;
        segment->size = segment->end.offset;
        segment->synced = segment->end;
    }
    return result;
}

/* ---- walking ---- */

void nadb_segment_walk_begin(struct nadb_segment_walk *walk, const struct nadb_fs_io *io, int file,
    uint64_t seed, const struct nadb_segment_point *from, uint64_t limit, char *window,
    bool is_verifying)
{
    *walk = (struct nadb_segment_walk){
        .io = io,
        .file = file,
        .is_verifying = is_verifying,
        .seed = seed,
        .limit = limit,
        .window = window,
        .at = *from,
        .next = *from,
    };
}

/* The bytes [offset, offset + len) in the window, reading up to `wanted` of them; NULL with
 * sys_errno set when they cannot be read. */
static const char *window_at(
    struct nadb_segment_walk *walk, uint64_t offset, size_t len, size_t wanted)
{
    NADB_ASSERT(len <= wanted && wanted <= NADB_WALK_WINDOW_BYTES);
    if (offset < walk->window_offset || offset - walk->window_offset > walk->window_len ||
        walk->window_len - (offset - walk->window_offset) < len) {
        if (wanted > walk->limit - offset) {
            wanted = (size_t)(walk->limit - offset);
        }
        ssize_t got = nadb_fs_read_full(walk->io, walk->file, walk->window, wanted, offset);
        walk->window_offset = offset;
        walk->window_len = got < 0 ? 0 : (size_t)got;
        if (got < 0 || (size_t)got < len) {
            walk->sys_errno = got < 0 ? (int)-got : EIO;
            return NULL;
        }
    }
    return walk->window + (offset - walk->window_offset);
}

/* Does the header that verifies also make sense here? */
static bool is_frame_fitting(const struct nadb_segment_walk *walk, const struct nadb_frame *frame)
{
    uint64_t room = walk->limit - walk->next.offset - NADB_FRAME_HEADER_BYTES;
    if (frame->prev != walk->next.chain || frame->payload_bytes > room ||
        frame->payload_bytes % NADB_FS_ALIGN != 0) {
        return false;
    }
    if (frame->flags & NADB_FRAME_FOOTER) {
        return frame->flags == NADB_FRAME_FOOTER && frame->payload_bytes == 0 && !walk->is_inside &&
               frame->index == walk->next.frames && frame->seq == walk->at.seq &&
               frame->records == (uint32_t)walk->next.records;
    }
    if (frame->records > frame->payload_bytes / NADB_RECORD_HEADER_BYTES) {
        return false;
    }
    bool is_first = (frame->flags & NADB_FRAME_FIRST) != 0;
    if (is_first == walk->is_inside) {
        return false;
    }
    return is_first ? frame->index == 0 && frame->seq >= walk->at.seq
                    : frame->index == walk->frame.index + 1 && frame->seq == walk->frame.seq;
}

/* GOOD, or BAD with sys_errno set if reading failed. */
static enum nadb_fs_check check_payload(
    struct nadb_segment_walk *walk, const struct nadb_frame *frame)
{
    uint64_t seed = nadb_offset_seed(walk->seed, walk->next.offset);
    uint64_t at = walk->next.offset + NADB_FRAME_HEADER_BYTES;
    uint64_t check;
    if (at + frame->payload_bytes <= walk->window_offset + walk->window_len) {
        check =
            nadb_checksum64(walk->window + (at - walk->window_offset), frame->payload_bytes, seed);
    } else {
        walk->window_len = 0; /* the window serves as buffer */
        int result = nadb_fs_checksum_file(walk->io, walk->file, at, frame->payload_bytes, seed,
            walk->window, NADB_WALK_WINDOW_BYTES, &check);
        if (result != 0) {
            walk->sys_errno = -result;
            return NADB_FS_BAD;
        }
    }
    return check == frame->payload_check ? NADB_FS_GOOD : NADB_FS_BAD;
}

static void pass_frame(struct nadb_segment_walk *walk, const struct nadb_frame *frame)
{
    struct nadb_segment_point *next = &walk->next;
    walk->frame = *frame;
    next->offset += NADB_FRAME_HEADER_BYTES + frame->payload_bytes;
    next->chain = frame->check;
    next->records += frame->records;
    next->frames++;
    walk->is_inside = (frame->flags & NADB_FRAME_LAST) == 0;
    if (!walk->is_inside) {
        next->seq = frame->seq;
        next->version = frame->last_version > next->version ? frame->last_version : next->version;
        next->wall_ms = frame->wall_ms > next->wall_ms ? frame->wall_ms : next->wall_ms;
        walk->at = *next;
    }
}

enum nadb_walk_result nadb_segment_walk_next(struct nadb_segment_walk *walk)
{
    if (walk->next.offset == walk->limit) {
        return walk->is_inside ? NADB_WALK_BAD : NADB_WALK_END;
    }
    if (walk->next.offset > walk->limit ||
        walk->limit - walk->next.offset < NADB_FRAME_HEADER_BYTES) {
        return NADB_WALK_BAD;
    }
    bool is_skipping = walk->frame.payload_bytes >= NADB_WALK_SKIP_BYTES;
    const char *header = window_at(walk, walk->next.offset, NADB_FRAME_HEADER_BYTES,
        is_skipping ? WALK_HEADER_BYTES : NADB_WALK_WINDOW_BYTES);
    if (header == NULL) {
        return NADB_WALK_ERROR;
    }
    struct nadb_frame frame;
    enum nadb_fs_check check =
        nadb_frame_get(header, nadb_offset_seed(walk->seed, walk->next.offset), &frame);
    if (check == NADB_FS_NEWER) {
        return NADB_WALK_NEWER;
    }
    if (check != NADB_FS_GOOD || !is_frame_fitting(walk, &frame)) {
        return NADB_WALK_BAD;
    }
    if (frame.flags & NADB_FRAME_FOOTER) {
        walk->frame = frame;
        walk->next.offset += NADB_FRAME_HEADER_BYTES;
        walk->next.chain = frame.check;
        return NADB_WALK_FOOTER;
    }
    if (walk->is_verifying && check_payload(walk, &frame) != NADB_FS_GOOD) {
        return walk->sys_errno != 0 ? NADB_WALK_ERROR : NADB_WALK_BAD;
    }
    pass_frame(walk, &frame);
    return walk->is_inside ? NADB_WALK_FRAME : NADB_WALK_BATCH;
}

int nadb_segment_walk_look_ahead(
    struct nadb_segment_walk *walk, bool *ret_was_stable, uint64_t *ret_last)
{
    bool was_stable = false;
    uint64_t last = walk->at.offset;
    uint64_t offset = walk->at.offset; /* a multiple of NADB_FS_ALIGN, as all frames' */
    while (offset < walk->limit) {
        size_t wanted = NADB_WALK_WINDOW_BYTES;
        if (wanted > walk->limit - offset) {
            wanted = (size_t)(walk->limit - offset);
        }
        const char *bytes = window_at(walk, offset, wanted, wanted);
        if (bytes == NULL) {
            return -walk->sys_errno;
        }
        for (size_t i = wanted; i > 0 && offset + i > last; i--) {
            if (bytes[i - 1] != 0) {
                last = offset + i;
            }
        }
        for (size_t i = 0; i + NADB_FRAME_HEADER_BYTES <= wanted; i += NADB_FS_ALIGN) {
            struct nadb_frame frame;
            if (nadb_frame_get(bytes + i, nadb_offset_seed(walk->seed, offset + i), &frame) !=
                    NADB_FS_BAD &&
                frame.synced_seq > walk->at.seq) {
                was_stable = true;
            }
        }
        if (wanted < NADB_WALK_WINDOW_BYTES) {
            break;
        }
        offset += wanted - NADB_FRAME_HEADER_BYTES; /* headers that lie across */
    }
    *ret_was_stable = was_stable;
    *ret_last = last;
    return 0;
}
