/* This file rewrites neighbouring segments as one, without what is no longer needed.
 *
 * The new segment takes the place of the run in the manifest, so the order of the log stays: what
 * an entry means depends on what was before it. Batches keep their numbers, times and newest
 * version, because recovery and expiry go by them; batches that follow each other are put together
 * as long as their clock does not go back, and the last one is written even if nothing of it is
 * left: its time may be what keeps an expired record of an older segment dead.
 *
 * Invariants:
 *   1. Until publish the manifest names the run and nothing else; the new file is a leftover that
 *      the next start removes. So that it is not taken for a sign of a lost manifest, its id is
 *      below the next_id of a manifest that is durable before the file holds a batch.
 *   2. From the exchange in memory on, every manifest that is published, also by a write, has the
 *      new segment. The run's files are removed only after one of those is durable. */
#include <errno.h>

#include "backends/fs/fs_internal.h"
#include "backends/fs/hint.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

/* What has been written is synced whenever it is this much, so that no sync takes long. */
#define SYNC_EVERY_BYTES (UINT64_C(8) << 20)

struct nadb_compaction {
    struct nadb_fs *fs;
    struct nadb_manifest_entry *inputs; /* owned; as they are in the manifest */
    size_t count;
    size_t input_at; /* being read */
    uint64_t cursor; /* in it; 0: its beginning */
    bool is_first;   /* nothing is in front of the run */
    bool is_sealed;  /* the new segment is there; otherwise nothing was left for it */
    bool is_exchanged;
    struct nadb_segment out;
    struct nadb_segment_tools tools;
    struct nadb_compression compression;
    uint64_t synced_to;
    /* the batch that is being put together */
    bool has_pending;
    struct nadb_fs_chunk_frame pending; /* its number, time and version */
};

static enum nadb_err fail(struct nadb_error *reterr, const char *what, int result)
{
    return nadb_error_set(
        reterr, result == -ENOSPC ? NADB_ENOSPC : NADB_EIO, -result, "compaction: %s", what);
}

/* ---- list ---- */

enum nadb_err nadb_fs__list(struct nadb_fs *fs, bool must_close, struct nadb_segment_info **ret,
    size_t *ret_count, struct nadb_error *reterr)
{
    nadb_fs__lock(fs);
    int result = must_close ? nadb_fs__rotate(fs) : 0;
    if (result == -ENOSPC) {
        result = 0; /* without room it stays open: compaction of the others makes some */
    }
    size_t count = fs->manifest.count;
    struct nadb_segment_info *infos = nadb_mem_alloc((count + 1) * sizeof(*infos));
    for (size_t i = 0; i < count; i++) {
        const struct nadb_manifest_entry *entry = &fs->manifest.entries[i];
        bool is_active = entry->state == NADB_SEGMENT_ACTIVE;
        infos[i] = (struct nadb_segment_info){
            .id = entry->id,
            .number = entry->slot,
            .bytes = is_active && fs->active.file >= 0 ? fs->active.end.offset : entry->bytes,
            .records = is_active && fs->active.file >= 0 ? fs->active.end.records : entry->records,
            .last_seq = entry->last_seq,
            .is_closed = !is_active,
            .is_pinned = nadb_fs_readers_is_forwarding(&fs->readers, entry->slot) ||
                         (fs->stale.file >= 0 && fs->stale.id == entry->id),
            .has_hint = entry->has_hint,
            .has_guests = nadb_fs_readers_has_guests(&fs->readers, entry->slot),
        };
    }
    nadb_fs__unlock(fs);
    if (result != 0) {
        nadb_mem_free(infos);
        return fail(reterr, "closing a segment", result);
    }
    *ret = infos;
    *ret_count = count;
    return NADB_OK;
}

/* ---- begin ---- */

/* Takes an id and a slot for the new segment, durably. Under log_lock. */
static int reserve(struct nadb_compaction *c, uint64_t *ret_id, uint32_t *ret_slot)
{
    struct nadb_fs *fs = c->fs;
    if (!nadb_manifest_reserve(&fs->manifest, ret_slot)) {
        return -ENFILE;
    }
    *ret_id = fs->manifest.next_id++;
    return nadb_fs__publish(fs);
}

static bool take_inputs(struct nadb_compaction *c, const uint64_t *ids, size_t count)
{
    struct nadb_manifest *manifest = &c->fs->manifest;
    const struct nadb_manifest_entry *first = nadb_manifest_find(manifest, ids[0]);
    size_t at = first == NULL ? manifest->count : (size_t)(first - manifest->entries);
    if (count > manifest->count - at) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct nadb_manifest_entry *entry = &manifest->entries[at + i];
        if (entry->id != ids[i] || entry->state == NADB_SEGMENT_ACTIVE) {
            return false;
        }
        c->inputs[c->count++] = *entry;
    }
    c->is_first = at == 0;
    return true;
}

static enum nadb_err create_output(
    struct nadb_compaction *c, uint64_t id, uint32_t slot, struct nadb_error *reterr)
{
    struct nadb_fs *fs = c->fs;
    struct nadb_segment_create_opts opts = {
        .io = fs->io,
        .dir = fs->dir,
        .store_id = fs->manifest.store_id, /* immutable by now */
        .id = id,
        .slot = slot,
    };
    const struct nadb_segment_point before = {.chain = c->inputs[0].base};
    int result = nadb_segment_create(&c->out, &opts, &before);
    return result == 0 ? NADB_OK : fail(reterr, "new segment", result);
}

static void end(struct nadb_compaction *c, bool is_published);

static enum nadb_err begin(struct nadb_backend *backend, const uint64_t *ids, size_t count,
    const struct nadb_compression *compression, struct nadb_compaction **ret,
    struct nadb_error *reterr)
{
    struct nadb_fs *fs = (struct nadb_fs *)(void *)backend;
    NADB_ASSERT(fs->magic == NADB_FS_MAGIC && fs->is_open && count > 0);
    struct nadb_compaction *c = nadb_mem_zalloc(sizeof(*c));
    c->fs = fs;
    c->inputs = nadb_mem_alloc(count * sizeof(*c->inputs));
    c->compression = *compression;
    c->out.file = -1;
    nadb_segment_tools_init(&c->tools);
    uint64_t id = 0;
    uint32_t slot = 0;
    nadb_fs__lock(fs);
    bool is_run = take_inputs(c, ids, count);
    int result = is_run ? reserve(c, &id, &slot) : -ESTALE;
    nadb_fs__unlock(fs);
    enum nadb_err err =
        result == 0 ? create_output(c, id, slot, reterr) : fail(reterr, "begin", result);
    if (err != NADB_OK) {
        end(c, false);
        return err;
    }
    *ret = c;
    return NADB_OK;
}

/* ---- read ---- */

/* Behind the last batch. */
static uint64_t end_of_batches(const struct nadb_manifest_entry *entry)
{
    return entry->bytes - (entry->state == NADB_SEGMENT_SEALED ? NADB_FRAME_HEADER_BYTES : 0);
}

static enum nadb_err open_input(struct nadb_compaction *c, const struct nadb_manifest_entry *entry,
    bool is_run, char name[NADB_SEGMENT_NAME_BYTES], int *ret_file, struct nadb_error *reterr)
{
    nadb_segment_name(name, entry->id);
    *ret_file = nadb_fs_open_run(c->fs->io, c->fs->dir, name, is_run);
    return *ret_file >= 0
               ? NADB_OK
               : nadb_error_set(reterr, NADB_EIO, -*ret_file, "segment '%s': open", name);
}

static enum nadb_err read_input(struct nadb_compaction *c, const struct nadb_manifest_entry *entry,
    struct nadb_replay_chunk *ret_chunk, struct nadb_error *reterr)
{
    char name[NADB_SEGMENT_NAME_BYTES];
    int file;
    enum nadb_err err = open_input(c, entry, true, name, &file, reterr);
    if (err != NADB_OK) {
        return err;
    }
    const struct nadb_fs_range range = {
        .io = c->fs->io,
        .file = file,
        .name = name,
        .seed = nadb_segment_seed(c->fs->manifest.store_id, entry->id),
        .slot = entry->slot,
        .from = c->cursor == 0 ? NADB_SEGMENT_HEADER_BYTES : c->cursor,
        .to = end_of_batches(entry),
        .is_encoded_wanted = true,
    };
    err = nadb_fs_load(&range, NADB_BACKEND_CHUNK_BYTES, ret_chunk, &c->cursor, reterr);
    (void)c->fs->io->close_file(c->fs->io, file); /* nothing was written */
    return err;
}

static bool is_empty(const struct nadb_manifest_entry *entry)
{
    return end_of_batches(entry) <= NADB_SEGMENT_HEADER_BYTES;
}

static void skip_empty(struct nadb_compaction *c)
{
    while (c->input_at < c->count && is_empty(&c->inputs[c->input_at])) {
        c->input_at++;
    }
}

static enum nadb_err read_part(
    struct nadb_compaction *c, struct nadb_replay_chunk *ret_chunk, struct nadb_error *reterr)
{
    skip_empty(c);
    if (c->input_at == c->count) {
        *ret_chunk = (struct nadb_replay_chunk){.is_last = true};
        return NADB_OK;
    }
    enum nadb_err err = read_input(c, &c->inputs[c->input_at], ret_chunk, reterr);
    if (err == NADB_OK && ret_chunk->is_last) {
        c->input_at++;
        c->cursor = 0;
        skip_empty(c);
        ret_chunk->is_last = c->input_at == c->count;
    }
    return err;
}

/* ---- write ---- */

/* Entries of a chunk that follow each other, without those that are dropped. */
struct survivors {
    const struct nadb_replay_chunk *chunk;
    const uint8_t *verdicts;
    size_t *indexes; /* in the chunk */
};

static void survivor(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct survivors *survivors = batch->entry_ctx;
    size_t at = survivors->indexes[index];
    const struct nadb_entry *entry = &survivors->chunk->entries[at];
    *ret = *entry;
    if (survivors->verdicts[at] == NADB_VERDICT_BURY) {
        *ret = (struct nadb_entry){
            .kind = NADB_ENTRY_DELETE,
            .keyspace = entry->keyspace,
            .version = entry->version,
            .key = entry->key,
        };
    }
}

static enum nadb_err append(struct nadb_compaction *c, const struct survivors *survivors,
    size_t count, uint64_t *locs, struct nadb_error *reterr)
{
    struct nadb_batch batch = {
        .seq = c->pending.seq,
        .last_version = c->pending.last_version,
        .wall_ms = c->pending.wall_ms,
        .compression = c->compression,
        .count = count,
        .entry = survivor,
        .entry_ctx = survivors,
        .locs = locs,
    };
    c->has_pending = false;
    enum nadb_err err = nadb_segment_append(&c->out, &batch, 0, &c->tools, reterr);
    if (err == NADB_OK && c->out.end.offset - c->synced_to >= SYNC_EVERY_BYTES) {
        c->synced_to = c->out.end.offset;
        int result = nadb_segment_sync(&c->out);
        err = result == 0 ? NADB_OK : fail(reterr, "sync", result);
    }
    return err;
}

/* Takes the frame into the batch that is being put together. */
static void take_frame(struct nadb_compaction *c, const struct nadb_fs_chunk_frame *frame)
{
    uint64_t version = c->has_pending ? c->pending.last_version : 0;
    c->pending = *frame;
    c->pending.last_version = version > frame->last_version ? version : frame->last_version;
    c->has_pending = true;
}

struct group {
    struct survivors survivors;
    size_t first; /* of its survivors, in indexes */
    size_t count;
    uint64_t *locs; /* as many as there are survivors */
};

static enum nadb_err end_group(
    struct nadb_compaction *c, struct group *group, struct nadb_error *reterr)
{
    struct survivors survivors = group->survivors;
    survivors.indexes += group->first;
    enum nadb_err err = append(c, &survivors, group->count, group->locs + group->first, reterr);
    group->first += group->count;
    group->count = 0;
    return err;
}

static enum nadb_err write_frames(struct nadb_compaction *c, const struct nadb_replay_chunk *chunk,
    struct group *group, struct nadb_error *reterr)
{
    size_t frame_count;
    const struct nadb_fs_chunk_frame *frames = nadb_fs_chunk_frames(chunk, &frame_count);
    for (size_t i = 0; i < frame_count; i++) {
        bool goes_back = c->has_pending && frames[i].wall_ms < c->pending.wall_ms;
        enum nadb_err err = goes_back ? end_group(c, group, reterr) : NADB_OK;
        if (err != NADB_OK) {
            return err;
        }
        take_frame(c, &frames[i]);
        size_t end_at = i + 1 < frame_count ? frames[i + 1].first : chunk->count;
        for (size_t at = frames[i].first; at < end_at; at++) {
            if (group->survivors.verdicts[at] != NADB_VERDICT_DROP) {
                group->survivors.indexes[group->first + group->count++] = at;
            }
        }
    }
    return group->count > 0 ? end_group(c, group, reterr) : NADB_OK;
}

static enum nadb_err write_part(struct nadb_compaction *c, const struct nadb_replay_chunk *chunk,
    const uint8_t *verdicts, uint64_t *ret_locs, struct nadb_error *reterr)
{
    if (chunk->count == 0 && chunk->backend_private == NULL) {
        return NADB_OK;
    }
    struct group group = {.survivors = {.chunk = chunk, .verdicts = verdicts}};
    group.survivors.indexes = nadb_mem_alloc((chunk->count + 1) * sizeof(size_t));
    group.locs = nadb_mem_alloc((chunk->count + 1) * sizeof(*group.locs));
    enum nadb_err err = write_frames(c, chunk, &group, reterr);
    for (size_t i = 0; err == NADB_OK && i < group.first; i++) {
        ret_locs[group.survivors.indexes[i]] = group.locs[i];
    }
    nadb_mem_free(group.survivors.indexes);
    nadb_mem_free(group.locs);
    return err;
}

/* ---- skip ---- */

/* Notes the batches of one input, of which nothing is kept but what their times say. */
static enum nadb_err skip_batches(struct nadb_compaction *c, struct nadb_segment_walk *walk,
    const char *name, struct nadb_error *reterr)
{
    struct survivors nobody = {.chunk = NULL};
    enum nadb_walk_result result;
    while (
        (result = nadb_segment_walk_next(walk)) == NADB_WALK_FRAME || result == NADB_WALK_BATCH) {
        const struct nadb_fs_chunk_frame frame = {
            .seq = walk->frame.seq,
            .wall_ms = walk->frame.wall_ms,
            .last_version = walk->frame.last_version,
        };
        if (c->has_pending && frame.wall_ms < c->pending.wall_ms) {
            enum nadb_err err = append(c, &nobody, 0, NULL, reterr);
            if (err != NADB_OK) {
                return err;
            }
        }
        take_frame(c, &frame);
    }
    return result == NADB_WALK_END
               ? NADB_OK
               : nadb_error_set(reterr, result == NADB_WALK_ERROR ? NADB_EIO : NADB_ECORRUPT,
                     walk->sys_errno, "segment '%s': damaged at offset %llu", name,
                     (unsigned long long)walk->next.offset);
}

static enum nadb_err skip_input(struct nadb_compaction *c, const struct nadb_manifest_entry *entry,
    char *window, struct nadb_error *reterr)
{
    char name[NADB_SEGMENT_NAME_BYTES];
    int file;
    enum nadb_err err = open_input(c, entry, false, name, &file, reterr);
    if (err != NADB_OK) {
        return err;
    }
    const struct nadb_segment_point from = {
        .offset = NADB_SEGMENT_HEADER_BYTES, .chain = entry->base};
    struct nadb_segment_walk walk;
    nadb_segment_walk_begin(&walk, c->fs->io, file,
        nadb_segment_seed(c->fs->manifest.store_id, entry->id), &from, end_of_batches(entry),
        window, false);
    err = skip_batches(c, &walk, name, reterr);
    (void)c->fs->io->close_file(c->fs->io, file); /* nothing was written */
    return err;
}

static enum nadb_err skip(struct nadb_compaction *c, struct nadb_error *reterr)
{
    char *window = nadb_mem_alloc(NADB_WALK_WINDOW_BYTES);
    enum nadb_err err = NADB_OK;
    for (size_t i = 0; err == NADB_OK && i < c->count; i++) {
        if (!is_empty(&c->inputs[i])) {
            err = skip_input(c, &c->inputs[i], window, reterr);
        }
    }
    nadb_mem_free(window);
    return err;
}

/* ---- the end ---- */

static enum nadb_err finish(
    struct nadb_compaction *c, struct nadb_compact_result *ret, struct nadb_error *reterr)
{
    struct survivors nobody = {.chunk = NULL};
    *ret = (struct nadb_compact_result){.packed_values = c->tools.packed_values};
    if (c->is_first && c->out.end.records == 0) {
        return NADB_OK; /* nothing is older, so nobody needs the last batch's time */
    }
    enum nadb_err err = c->has_pending ? append(c, &nobody, 0, NULL, reterr) : NADB_OK;
    if (err != NADB_OK) {
        return err;
    }
    int result = nadb_segment_seal(&c->out);
    if (result != 0) {
        return fail(reterr, "sync", result);
    }
    c->is_sealed = true;
    ret->bytes = c->out.end.offset;
    ret->records = c->out.end.records;
    ret->number = c->out.slot;
    return NADB_OK;
}

static void exchange(struct nadb_compaction *c)
{
    struct nadb_fs *fs = c->fs;
    bool is_kept = c->is_sealed;
    const struct nadb_manifest_entry entry = {
        .id = c->out.id,
        .slot = c->out.slot,
        .state = NADB_SEGMENT_SEALED,
        .bytes = c->out.end.offset,
        .base = c->out.base,
        .chain = c->out.end.chain,
        .last_seq = c->out.end.seq,
        .records = c->out.end.records,
    };
    if (is_kept) {
        nadb_fs_readers_add(&fs->readers, c->out.slot, c->out.id, c->out.seed);
    }
    nadb_manifest_exchange(&fs->manifest, c->inputs[0].id, c->count, is_kept ? &entry : NULL);
    c->is_exchanged = true;
}

static enum nadb_err publish(struct nadb_compaction *c, struct nadb_error *reterr)
{
    nadb_fs__lock(c->fs);
    if (!c->is_exchanged) {
        exchange(c);
    }
    int result = nadb_fs__publish(c->fs);
    nadb_fs__unlock(c->fs);
    return result == 0 ? NADB_OK : fail(reterr, NADB_FS_MANIFEST_NAME, result);
}

static void remove_files(struct nadb_fs *fs, uint64_t id, bool has_hint)
{
    char name[NADB_SEGMENT_NAME_BYTES];
    nadb_segment_name(name, id);
    (void)fs->io->unlink_file(fs->io, fs->dir, name); /* the next start tries again */
    if (has_hint) {
        char hint[NADB_HINT_NAME_BYTES];
        nadb_hint_name(hint, id);
        (void)fs->io->unlink_file(fs->io, fs->dir, hint); /* as above */
    }
}

static void end(struct nadb_compaction *c, bool is_published)
{
    struct nadb_fs *fs = c->fs;
    bool has_file = c->out.file >= 0;
    nadb_segment_close(&c->out);
    if (is_published) {
        for (size_t i = 0; i < c->count; i++) {
            nadb_fs_readers_remove(&fs->readers, c->inputs[i].slot);
            remove_files(fs, c->inputs[i].id, true);
        }
    }
    bool is_useless = is_published ? !c->is_sealed : !c->is_exchanged;
    if (has_file && is_useless) {
        remove_files(fs, c->out.id, false);
    }
    nadb_fs__lock(fs);
    nadb_manifest_release(&fs->manifest);
    nadb_fs__unlock(fs);
    nadb_segment_tools_fini(&c->tools);
    nadb_mem_free(c->inputs);
    nadb_mem_free(c);
}

const struct nadb_compact_ops nadb_fs__compact_ops = {
    .begin = begin,
    .read = read_part,
    .write = write_part,
    .skip = skip,
    .finish = finish,
    .publish = publish,
    .end = end,
};
