/* This file saves what can be saved of a damaged directory.
 *
 * Nothing is believed but checksums. A segment is searched for frames: what verifies as a frame
 * header names its payload; if the payload verifies, all of its records are good, and otherwise
 * each is tried by itself, and behind one that is not good the next is searched for. All that is
 * found is written, in the order of the log, to a new store, whose start makes of it what it makes
 * of any log. Whether a batch is whole does not matter here: part of it is better than nothing, and
 * what is missing was told.
 *
 * The order is the manifest's. Without one, segments are sorted by the number of their first batch:
 * compaction keeps the order of the log, so this is the same but for leftovers of a compaction that
 * a crash interrupted, which hold nothing that differs. A keyspace whose name was lost gets one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/fs/frame.h"
#include "backends/fs/fs.h"
#include "backends/fs/fs_internal.h"
#include "backends/fs/offline.h"
#include "backends/fs/offline_internal.h"
#include "backends/fs/record.h"
#include "src/base/assert.h"
#include "src/base/checksum.h"
#include "src/base/codec.h"
#include "src/base/mem.h"

#define BATCH_ENTRIES 1024u /* of the new store's batches */
#define SEGMENT_BYTES (UINT64_C(64) << 20)
#define SEARCH_BYTES  (1u << 20)

/* A segment to be searched. */
struct source {
    uint64_t id;
    uint64_t first_seq; /* where there is no manifest */
    uint64_t limit;     /* nothing counts from there on; 0: all of the file */
};

struct salvage {
    struct nadb_fs_offline *from;
    const struct nadb_fs_listener *listener;
    struct nadb_backend *to;
    struct nadb_fs_salvaged *result;
    struct nadb_error *reterr;
    uint64_t store_id;
    struct source *sources; /* owned */
    size_t source_count, source_cap;
    uint64_t done_bytes, all_bytes;
    uint64_t seq, last_version; /* of the new store */
    uint8_t *is_named;          /* owned; by keyspace */
    /* the segment */
    char name[NADB_SEGMENT_NAME_BYTES];
    int file;
    uint64_t size, seed;
    char *window; /* owned; SEARCH_BYTES */
    /* the batch that gathers */
    struct nadb_entry entries[BATCH_ENTRIES];
    size_t count;
    uint64_t wall_ms;
};

static void tell(struct salvage *s, const char *what, uint64_t offset, uint64_t bytes)
{
    char text[NADB_ERROR_TEXT_MAX];
    (void)snprintf(text, sizeof(text), "segment '%s': %s, %llu bytes at offset %llu", s->name, what,
        (unsigned long long)bytes, (unsigned long long)offset); /* a cut line still says where */
    s->listener->damage(s->listener->ctx, text);
    s->result->damages++;
    s->result->lost_bytes += bytes;
}

/* ---- writing ---- */

static void entry_of(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct nadb_entry *entries = batch->entry_ctx;
    *ret = entries[index];
}

/* Entries borrow from the frame that is being read: what has gathered goes before that goes. */
static enum nadb_err write_batch(struct salvage *s)
{
    if (s->count == 0) {
        return NADB_OK;
    }
    struct nadb_batch batch = {
        .seq = ++s->seq,
        .last_version = s->last_version,
        .wall_ms = s->wall_ms,
        .count = s->count,
        .entry = entry_of,
        .entry_ctx = s->entries,
    };
    s->result->records += s->count;
    s->count = 0;
    return s->to->ops->write(s->to, &batch, s->reterr);
}

static enum nadb_err add(struct salvage *s, const struct nadb_entry *entry)
{
    s->last_version = entry->version > s->last_version ? entry->version : s->last_version;
    s->entries[s->count++] = *entry;
    return s->count == BATCH_ENTRIES ? write_batch(s) : NADB_OK;
}

static enum nadb_err add_name(struct salvage *s, uint16_t keyspace)
{
    char name[32];
    const struct nadb_entry entry = {
        .kind = NADB_ENTRY_NAME,
        .keyspace = keyspace,
        .key = nadb_slice_of(
            name, (size_t)snprintf(name, sizeof(name), "salvaged-%u", (unsigned)keyspace)),
    };
    char text[NADB_ERROR_TEXT_MAX];
    (void)snprintf(text, sizeof(text), "keyspace %u: its name is lost, it is namespace '%s' now",
        (unsigned)keyspace, name);
    s->listener->damage(s->listener->ctx, text);
    s->result->damages++;
    s->is_named[keyspace] = 1;
    enum nadb_err err = add(s, &entry);
    return err == NADB_OK ? write_batch(s) : err; /* the name is this function's */
}

static enum nadb_err save(struct salvage *s, const struct nadb_entry *entry)
{
    if (entry->kind == NADB_ENTRY_NAME) {
        s->is_named[entry->keyspace] = 1;
    } else if (!s->is_named[entry->keyspace]) {
        enum nadb_err err = add_name(s, entry->keyspace);
        if (err != NADB_OK) {
            return err;
        }
    }
    if (entry->kind == NADB_ENTRY_DROP) {
        s->is_named[entry->keyspace] = 0;
    }
    return add(s, entry);
}

/* ---- reading ---- */

/* Reads `len` bytes at `offset`; what the disk does not give is zeros, and is told. */
static void read_bytes(struct salvage *s, uint64_t offset, char *bytes, size_t len)
{
    memset(bytes, 0, len);
    size_t at = 0;
    while (at < len) {
        size_t part = len - at < SEARCH_BYTES ? len - at : SEARCH_BYTES;
        ssize_t got = nadb_fs_read_full(s->from->io, s->file, bytes + at, part, offset + at);
        if (got < 0) {
            tell(s, strerror((int)-got), offset + at, 0);
        }
        at += part;
    }
}

/* Can its value be had as it was? */
static bool is_expandable(const struct nadb_entry *entry)
{
    if (entry->codec == NADB_CODEC_RAW) {
        return true;
    }
    char *value = nadb_mem_try_alloc(entry->raw_len);
    bool is_good =
        value != NULL && nadb_fs_record_value(entry, value, entry->raw_len) == NADB_FS_GOOD;
    nadb_mem_free(value);
    return is_good;
}

/* The record at `at` of a payload: how long it is, 0 when there is none that is good. */
static size_t save_record(struct salvage *s, const char *payload, size_t len, size_t at,
    uint64_t offset, enum nadb_err *ret_err)
{
    struct nadb_entry entry;
    size_t bytes = 0;
    size_t span = nadb_fs_record_span(payload + at, len - at);
    if (span == 0 || span > len - at ||
        !nadb_fs_record_verify(payload + at, span, nadb_offset_seed(s->seed, offset)) ||
        nadb_fs_record_get(payload + at, span, &entry, &bytes) != NADB_FS_GOOD ||
        !is_expandable(&entry)) {
        return 0;
    }
    *ret_err = save(s, &entry);
    return bytes;
}

/* All good records of a payload that begins at `offset`. */
static enum nadb_err save_records(
    struct salvage *s, const char *payload, size_t len, uint64_t offset)
{
    enum nadb_err err = NADB_OK;
    size_t bad_from = SIZE_MAX;
    size_t at = 0;
    while (err == NADB_OK && at < len) {
        size_t bytes = save_record(s, payload, len, at, offset + at, &err);
        if (bytes == 0 && bad_from == SIZE_MAX) {
            bad_from = at;
        } else if (bytes > 0 && bad_from != SIZE_MAX) {
            tell(s, "damaged records", offset + bad_from, at - bad_from);
            bad_from = SIZE_MAX;
        }
        at += bytes > 0 ? bytes : NADB_FS_ALIGN;
    }
    if (bad_from != SIZE_MAX) {
        tell(s, "damaged records", offset + bad_from, len - bad_from);
    }
    return err == NADB_OK ? write_batch(s) : err;
}

/* The frame at `offset`, whose header verifies. */
static enum nadb_err save_frame(struct salvage *s, uint64_t offset, const struct nadb_frame *frame)
{
    uint64_t room = s->size - offset - NADB_FRAME_HEADER_BYTES;
    size_t len = frame->payload_bytes < room ? frame->payload_bytes : (size_t)room;
    if (len < frame->payload_bytes) {
        tell(s, "the file ends in a frame", offset, frame->payload_bytes - len);
    }
    char *payload = nadb_mem_try_alloc(len + 1);
    if (payload == NULL) {
        return nadb_error_set(s->reterr, NADB_ENOMEM, 0, "not enough memory for a frame");
    }
    read_bytes(s, offset + NADB_FRAME_HEADER_BYTES, payload, len);
    s->wall_ms = frame->wall_ms;
    s->last_version = frame->last_version > s->last_version ? frame->last_version : s->last_version;
    enum nadb_err err = save_records(s, payload, len, offset + NADB_FRAME_HEADER_BYTES);
    nadb_mem_free(payload);
    return err;
}

/* Is there one at `offset`? Mostly there is. */
static bool is_frame_at(struct salvage *s, uint64_t offset, struct nadb_frame *ret)
{
    char header[NADB_FRAME_HEADER_BYTES];
    ssize_t got = nadb_fs_read_full(s->from->io, s->file, header, sizeof(header), offset);
    return got == (ssize_t)sizeof(header) &&
           nadb_frame_get(header, nadb_offset_seed(s->seed, offset), ret) == NADB_FS_GOOD;
}

/* The next frame header from `offset` on: true, and where. */
static bool find_frame(
    struct salvage *s, uint64_t offset, uint64_t *ret_offset, struct nadb_frame *ret)
{
    if (is_frame_at(s, offset, ret)) {
        *ret_offset = offset;
        return true;
    }
    while (offset + NADB_FRAME_HEADER_BYTES <= s->size) {
        uint64_t left = s->size - offset;
        size_t len = left < SEARCH_BYTES ? (size_t)left : SEARCH_BYTES;
        read_bytes(s, offset, s->window, len);
        for (size_t i = 0; i + NADB_FRAME_HEADER_BYTES <= len; i += NADB_FS_ALIGN) {
            if (nadb_frame_get(s->window + i, nadb_offset_seed(s->seed, offset + i), ret) ==
                NADB_FS_GOOD) {
                *ret_offset = offset + i;
                return true;
            }
        }
        if (len < SEARCH_BYTES) {
            break;
        }
        offset += len - NADB_FRAME_HEADER_BYTES; /* headers that lie across */
    }
    return false;
}

/* Is there anything but zeros? Those may follow the last batch of a log that crashed. */
static bool is_blank(struct salvage *s, uint64_t from)
{
    while (from < s->size) {
        size_t len = s->size - from < SEARCH_BYTES ? (size_t)(s->size - from) : SEARCH_BYTES;
        read_bytes(s, from, s->window, len);
        for (size_t i = 0; i < len; i++) {
            if (s->window[i] != 0) {
                return false;
            }
        }
        from += len;
    }
    return true;
}

static enum nadb_err search(struct salvage *s)
{
    uint64_t offset = NADB_SEGMENT_HEADER_BYTES;
    uint64_t found;
    struct nadb_frame frame;
    enum nadb_err err = NADB_OK;
    while (err == NADB_OK && find_frame(s, offset, &found, &frame)) {
        if (found > offset) {
            tell(s, "no frame", offset, found - offset);
        }
        offset = found + NADB_FRAME_HEADER_BYTES;
        if (!(frame.flags & NADB_FRAME_FOOTER)) {
            err = save_frame(s, found, &frame);
            offset += frame.payload_bytes;
        }
    }
    if (err == NADB_OK && offset < s->size && !is_blank(s, offset)) {
        tell(s, "no frame", offset, s->size - offset);
    }
    return err;
}

static enum nadb_err search_source(struct salvage *s, const struct source *source)
{
    const struct nadb_fs_io *io = s->from->io;
    nadb_segment_name(s->name, source->id);
    s->seed = nadb_segment_seed(s->store_id, source->id);
    s->file = io->open_file(io, s->from->dir, s->name, NADB_FS_OPEN_READ);
    int result = s->file < 0 ? s->file : io->size_file(io, s->file, &s->size);
    if (result != 0) {
        tell(s, strerror(-result), 0, source->limit);
    } else {
        if (source->limit > s->size) {
            tell(s, "the file ends too early", s->size, source->limit - s->size);
        }
        s->size = source->limit != 0 && source->limit < s->size ? source->limit : s->size;
        s->result->segments++;
    }
    enum nadb_err err = result == 0 ? search(s) : NADB_OK;
    if (s->file >= 0) {
        (void)io->close_file(io, s->file); /* nothing was written */
    }
    return err;
}

/* ---- which segments ---- */

static void add_source(struct salvage *s, const struct source *source)
{
    if (s->source_count == s->source_cap) {
        s->source_cap = s->source_cap == 0 ? 64 : s->source_cap * 2;
        s->sources = nadb_mem_realloc(s->sources, s->source_cap * sizeof(*s->sources));
    }
    s->sources[s->source_count++] = *source;
}

/* Which store is the file of? Its header says, if that verifies. 0: it does not. */
static uint64_t store_of(struct salvage *s, uint64_t id)
{
    const struct nadb_fs_io *io = s->from->io;
    char name[NADB_SEGMENT_NAME_BYTES];
    char header[NADB_SEGMENT_HEADER_BYTES] = {0};
    uint32_t version = 0;
    nadb_segment_name(name, id);
    int file = io->open_file(io, s->from->dir, name, NADB_FS_OPEN_READ);
    if (file < 0) {
        return 0;
    }
    ssize_t got = nadb_fs_read_full(io, file, header, sizeof(header), 0);
    (void)io->close_file(io, file); /* nothing was written */
    uint64_t store_id = nadb_get_u64(header + NADB_SEGMENT_STORE_AT);
    bool is_good = got == (ssize_t)sizeof(header) &&
                   nadb_segment_header_get(header, store_id, id, &version) == NADB_FS_GOOD;
    return is_good ? store_id : 0;
}

static void note_file(void *ctx, const char *name)
{
    struct salvage *s = ctx;
    uint64_t id;
    if (nadb_segment_parse_name(name, &id)) {
        add_source(s, &(struct source){.id = id});
    }
}

static void find_first_seq(struct salvage *s, struct source *source)
{
    const struct nadb_fs_io *io = s->from->io;
    uint64_t offset;
    struct nadb_frame frame;
    nadb_segment_name(s->name, source->id);
    s->seed = nadb_segment_seed(s->store_id, source->id);
    s->file = io->open_file(io, s->from->dir, s->name, NADB_FS_OPEN_READ);
    source->first_seq = UINT64_MAX;
    if (s->file >= 0) {
        if (io->size_file(io, s->file, &s->size) == 0 &&
            find_frame(s, NADB_SEGMENT_HEADER_BYTES, &offset, &frame)) {
            source->first_seq = frame.seq;
        }
        (void)io->close_file(io, s->file); /* nothing was written */
    }
}

static int compare_sources(const void *a, const void *b)
{
    const struct source *one = a;
    const struct source *two = b;
    if (one->first_seq != two->first_seq) {
        return one->first_seq < two->first_seq ? -1 : 1;
    }
    return one->id < two->id ? -1 : one->id > two->id;
}

static enum nadb_err go_by_files(struct salvage *s)
{
    const struct nadb_fs_io *io = s->from->io;
    int result = io->list_dir(io, s->from->dir, note_file, s);
    if (result != 0) {
        return nadb_error_set(s->reterr, NADB_EIO, -result, "'%s': list", s->from->path);
    }
    for (size_t i = 0; i < s->source_count && s->store_id == 0; i++) {
        s->store_id = store_of(s, s->sources[i].id);
    }
    if (s->store_id == 0) {
        return nadb_error_set(s->reterr, NADB_ECORRUPT, 0,
            "'%s': no segment whose header can be read: nothing can be saved", s->from->path);
    }
    for (size_t i = 0; i < s->source_count; i++) {
        find_first_seq(s, &s->sources[i]);
    }
    qsort(s->sources, s->source_count, sizeof(*s->sources), compare_sources);
    return NADB_OK;
}

static enum nadb_err find_sources(struct salvage *s)
{
    struct nadb_error error = {0};
    if (nadb_fs__offline_manifest(s->from, &error) != NADB_OK) {
        s->listener->damage(s->listener->ctx, error.text);
        s->listener->damage(s->listener->ctx, "going by the files that are there");
        s->result->damages++;
        return go_by_files(s);
    }
    const struct nadb_manifest *manifest = &s->from->manifest;
    s->store_id = manifest->store_id;
    for (size_t i = 0; i < manifest->count; i++) {
        const struct nadb_manifest_entry *entry = &manifest->entries[i];
        bool is_open_ended = entry->state == NADB_SEGMENT_ACTIVE;
        add_source(s, &(struct source){.id = entry->id, .limit = is_open_ended ? 0 : entry->bytes});
        s->all_bytes += entry->bytes;
    }
    return NADB_OK;
}

/* ---- all of it ---- */

static enum nadb_err save_all(struct salvage *s)
{
    enum nadb_err err = find_sources(s);
    for (size_t i = 0; err == NADB_OK && i < s->source_count; i++) {
        err = search_source(s, &s->sources[i]);
        s->done_bytes += s->size;
        s->all_bytes = s->done_bytes > s->all_bytes ? s->done_bytes : s->all_bytes;
        s->listener->progress(s->listener->ctx, "saving", s->done_bytes, s->all_bytes);
    }
    return err;
}

static void note_any_name(void *ctx, const char *name)
{
    (void)name;
    *(bool *)ctx = true;
}

/* Must be new or empty: what is saved must not mix with anything. */
static enum nadb_err check_target(struct salvage *s, const struct nadb_fs_io *io, const char *path)
{
    int result = io->make_dir(io, path);
    if (result != 0 && result != -EEXIST) {
        return nadb_error_set(s->reterr, NADB_EIO, -result, "'%s'", path);
    }
    bool has_names = false;
    int dir = io->open_dir(io, path);
    result = dir < 0 ? dir : io->list_dir(io, dir, note_any_name, &has_names);
    if (dir >= 0) {
        (void)io->close_file(io, dir); /* nothing was written */
    }
    result = result == 0 && has_names ? -ENOTEMPTY : result;
    return result == 0 ? NADB_OK : nadb_error_set(s->reterr, NADB_EIO, -result, "'%s'", path);
}

static enum nadb_err open_target(struct salvage *s, const struct nadb_fs_io *io, const char *path)
{
    enum nadb_err err = check_target(s, io, path);
    if (err != NADB_OK) {
        return err;
    }
    const struct nadb_backend_opts opts = {.dir = path, .segment_size_bytes = SEGMENT_BYTES};
    struct nadb_backend_open_info info;
    s->to = nadb_fs_new(&opts, io);
    return s->to->ops->open(s->to, &info, s->reterr);
}

enum nadb_err nadb_fs_salvage(const struct nadb_fs_io *io, const char *from, const char *to,
    const struct nadb_fs_listener *listener, struct nadb_fs_salvaged *ret,
    struct nadb_error *reterr)
{
    struct nadb_fs_offline offline;
    *ret = (struct nadb_fs_salvaged){0};
    struct salvage *s = nadb_mem_zalloc(sizeof(*s));
    s->from = &offline;
    s->listener = listener;
    s->result = ret;
    s->reterr = reterr;
    s->is_named = nadb_mem_zalloc(NADB_KEYSPACE_COUNT_MAX);
    s->window = nadb_mem_alloc(SEARCH_BYTES);
    enum nadb_err err = nadb_fs__offline_open(&offline, io, from, reterr);
    if (err == NADB_OK) {
        err = open_target(s, io, to);
    }
    if (err == NADB_OK) {
        err = save_all(s);
        enum nadb_err close_err = s->to->ops->close(s->to, err == NADB_OK ? reterr : NULL);
        err = err == NADB_OK ? close_err : err;
    }
    if (s->to != NULL) {
        s->to->ops->free(s->to);
    }
    nadb_fs__offline_close(&offline);
    nadb_mem_free(s->sources);
    nadb_mem_free(s->is_named);
    nadb_mem_free(s->window);
    nadb_mem_free(s);
    return err;
}
