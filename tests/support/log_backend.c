/* This file is a log backend in memory whose writes fail when the test wants it. */
#include "tests/support/log_backend.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

#define LOG_BACKEND_MAGIC 0x4c4f4742u

struct log_backend {
    struct nadb_backend backend; /* first */
    unsigned magic;
    bool is_open;
    uint64_t entries, syncs;
    struct nadb_log_disk *disk;
};

static struct log_backend *log_of(struct nadb_backend *backend)
{
    struct log_backend *log = (struct log_backend *)(void *)backend;
    NADB_ASSERT(log != NULL && log->magic == LOG_BACKEND_MAGIC);
    return log;
}

/* ---- the disk ---- */

static struct nadb_slice copy_of(struct nadb_slice bytes)
{
    if (bytes.len == 0) {
        return nadb_slice_of(NULL, 0);
    }
    char *copy = nadb_mem_alloc(bytes.len);
    memcpy(copy, bytes.data, bytes.len);
    return nadb_slice_of(copy, bytes.len);
}

static void free_bytes(struct nadb_slice bytes)
{
    nadb_mem_free((void *)(uintptr_t)bytes.data);
}

static void drop_last(struct nadb_log_disk *disk)
{
    struct nadb_log_batch *batch = &disk->batches[--disk->count];
    for (size_t i = 0; i < batch->count; i++) {
        free_bytes(batch->entries[i].key);
        free_bytes(batch->entries[i].value);
        free_bytes(batch->entries[i].tags);
    }
    nadb_mem_free(batch->entries);
    *batch = (struct nadb_log_batch){0};
}

void nadb_log_disk_init(struct nadb_log_disk *disk)
{
    *disk = (struct nadb_log_disk){.chunk_entries = 3, .batches_each_unit = 4};
}

void nadb_log_disk_fini(struct nadb_log_disk *disk)
{
    while (disk->count > 0) {
        drop_last(disk);
    }
    NADB_ASSERT(disk->chunks_given == disk->chunks_freed);
}

void nadb_log_disk_power_cut(struct nadb_log_disk *disk)
{
    while (disk->count > disk->stable) {
        drop_last(disk);
    }
}

const struct nadb_log_batch *nadb_log_disk_last(const struct nadb_log_disk *disk)
{
    return disk->count == 0 ? NULL : &disk->batches[disk->count - 1];
}

size_t nadb_log_batch_count(
    const struct nadb_log_batch *batch, enum nadb_entry_kind kind, const char *key)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct nadb_entry *entry = &batch->entries[i];
        bool is_key = key == NULL || nadb_slice_eq(entry->key, nadb_slice_cstr(key));
        count += entry->kind == kind && is_key ? 1 : 0;
    }
    return count;
}

/* ---- writing ---- */

/* Keeps a copy and writes over what the store had handed out, as no later read of it is allowed. */
static void keep(struct nadb_log_disk *disk, const struct nadb_batch *batch)
{
    NADB_ASSERT(disk->count < NADB_LOG_DISK_BATCHES_MAX);
    struct nadb_log_batch *kept = &disk->batches[disk->count++];
    *kept = (struct nadb_log_batch){
        .seq = batch->seq,
        .last_version = batch->last_version,
        .wall_ms = batch->wall_ms,
        .is_sync = batch->is_sync,
        .count = batch->count,
        .entries = nadb_mem_zalloc((batch->count + 1) * sizeof(struct nadb_entry)),
    };
    for (size_t i = 0; i < batch->count; i++) {
        struct nadb_entry entry;
        batch->entry(batch, i, &entry);
        NADB_ASSERT(entry.version <= batch->last_version);
        entry.key = copy_of(entry.key);
        entry.value = copy_of(entry.value);
        entry.tags = copy_of(entry.tags);
        kept->entries[i] = entry;
    }
}

static enum nadb_err log_write(
    struct nadb_backend *backend, struct nadb_batch *batch, struct nadb_error *reterr)
{
    struct log_backend *log = log_of(backend);
    struct nadb_log_disk *disk = log->disk;
    NADB_ASSERT(log->is_open);
    disk->writes++;
    disk->is_clean = false;
    if (disk->fail_writes > 0) {
        disk->fail_writes--;
        if (disk->fail_err == NADB_ESYNC && disk->does_fail_keep) {
            keep(disk, batch);
            disk->batches[disk->count - 1].is_unknown = true;
        }
        batch->stats.failures++;
        return nadb_error_set(reterr, disk->fail_err, 0, "as the test wanted");
    }
    while (disk->count > 0 && disk->batches[disk->count - 1].is_unknown) {
        drop_last(disk);
    }
    const struct nadb_log_batch *last = nadb_log_disk_last(disk);
    NADB_ASSERT(batch->seq > (last == NULL ? 0 : last->seq));
    NADB_ASSERT(last == NULL || batch->last_version >= last->last_version);
    keep(disk, batch);
    for (size_t i = 0; i < batch->count; i++) {
        batch->locs[i] = (batch->seq * 1000 + i) & (((uint64_t)1 << NADB_LOC_BITS) - 1);
    }
    if (batch->is_sync) {
        disk->stable = disk->count;
        log->syncs++;
    }
    log->entries += batch->count;
    batch->stats = (struct nadb_backend_stats){
        .batches = disk->count, .entries = log->entries, .syncs = log->syncs};
    return NADB_OK;
}

/* ---- reading back ---- */

static enum nadb_err log_open(struct nadb_backend *backend, struct nadb_backend_open_info *ret_info,
    struct nadb_error *reterr)
{
    struct log_backend *log = log_of(backend);
    struct nadb_log_disk *disk = log->disk;
    disk->opens++;
    if (disk->does_open_fail) {
        return nadb_error_set(reterr, NADB_EIO, 0, "as the test wanted");
    }
    /* What is found at the start is made stable before anything else. */
    for (size_t i = 0; i < disk->count; i++) {
        disk->batches[i].is_unknown = false;
    }
    disk->stable = disk->count;
    const struct nadb_log_batch *last = nadb_log_disk_last(disk);
    *ret_info = (struct nadb_backend_open_info){
        .units = (uint32_t)((disk->count + disk->batches_each_unit - 1) / disk->batches_each_unit),
        .last_batch_seq = last == NULL ? 0 : last->seq,
        .last_version = last == NULL ? 0 : last->last_version,
        .was_clean = disk->is_clean,
    };
    log->is_open = true;
    return NADB_OK;
}

static uint64_t dead_ms_of(const struct nadb_log_disk *disk, size_t batch)
{
    uint64_t dead_ms = 0;
    for (size_t i = batch; i < disk->count; i++) {
        dead_ms = disk->batches[i].wall_ms > dead_ms ? disk->batches[i].wall_ms : dead_ms;
    }
    return dead_ms;
}

/* The cursor counts the entries of the unit that were handed out. */
static enum nadb_err log_replay(struct nadb_backend *backend, uint32_t unit, uint64_t *cursor,
    struct nadb_replay_chunk *ret_chunk, struct nadb_error *reterr)
{
    struct log_backend *log = log_of(backend);
    struct nadb_log_disk *disk = log->disk;
    (void)reterr;
    NADB_ASSERT(log->is_open);
    size_t each = disk->chunk_entries;
    struct nadb_replay_chunk chunk = {
        .entries = nadb_mem_alloc(each * sizeof(*chunk.entries)),
        .locs = nadb_mem_alloc(each * sizeof(*chunk.locs)),
        .dead_ms = nadb_mem_alloc(each * sizeof(*chunk.dead_ms)),
    };
    size_t first = (size_t)unit * disk->batches_each_unit;
    size_t end = first + disk->batches_each_unit;
    uint64_t total = 0;
    for (size_t b = first; b < end && b < disk->count; b++) {
        const struct nadb_log_batch *batch = &disk->batches[b];
        for (size_t i = 0; i < batch->count; i++, total++) {
            if (total >= *cursor && chunk.count < each) {
                chunk.entries[chunk.count] = batch->entries[i];
                chunk.locs[chunk.count] = batch->seq * 1000 + i;
                chunk.dead_ms[chunk.count++] = dead_ms_of(disk, b);
            }
        }
    }
    *cursor += chunk.count;
    chunk.is_last = *cursor == total;
    disk->chunks_given++;
    chunk.backend_private = disk;
    *ret_chunk = chunk;
    return NADB_OK;
}

static void log_replay_free(struct nadb_replay_chunk *chunk)
{
    struct nadb_log_disk *disk = chunk->backend_private;
    disk->chunks_freed++;
    nadb_mem_free(chunk->entries);
    nadb_mem_free(chunk->locs);
    nadb_mem_free(chunk->dead_ms);
    *chunk = (struct nadb_replay_chunk){0};
}

/* The record at the location, NULL when there is none. */
static const struct nadb_entry *find_entry(const struct nadb_log_disk *disk, uint64_t loc)
{
    for (size_t b = 0; b < disk->count; b++) {
        const struct nadb_log_batch *batch = &disk->batches[b];
        uint64_t first = batch->seq * 1000;
        if (loc >= first && loc - first < batch->count) {
            return &batch->entries[loc - first];
        }
    }
    return NULL;
}

static void log_read(struct nadb_backend *backend, struct nadb_read *reads, size_t count)
{
    struct log_backend *log = log_of(backend);
    NADB_ASSERT(log->is_open);
    for (size_t i = 0; i < count; i++) {
        struct nadb_read *read = &reads[i];
        const struct nadb_entry *entry = find_entry(log->disk, read->loc);
        log->disk->reads++;
        read->err = NADB_OK;
        if (log->disk->fail_reads > 0) {
            log->disk->fail_reads--;
            read->err = nadb_error_set(
                &read->error, log->disk->fail_read_err, 0, "log:%u: as the test wanted", 7);
        } else if (entry == NULL || entry->kind != NADB_ENTRY_PUT ||
                   entry->version != read->version || !nadb_slice_eq(entry->key, read->key) ||
                   entry->value.len != read->value_len) {
            read->err = nadb_error_set(&read->error, NADB_ECORRUPT, 0, "log:0: another record");
        } else if (read->value_len > 0) {
            memcpy(read->value, entry->value.data, read->value_len);
        }
    }
}

/* ---- the rest ---- */

static enum nadb_err log_close(struct nadb_backend *backend, struct nadb_error *reterr)
{
    struct log_backend *log = log_of(backend);
    NADB_ASSERT(log->is_open);
    log->is_open = false;
    log->disk->closes++;
    if (log->disk->does_close_fail) {
        return nadb_error_set(reterr, NADB_EIO, 0, "as the test wanted");
    }
    log->disk->stable = log->disk->count;
    log->disk->is_clean = true;
    return NADB_OK;
}

static void log_free(struct nadb_backend *backend)
{
    struct log_backend *log = log_of(backend);
    log->magic = 0;
    nadb_mem_free(log);
}

struct nadb_backend *nadb_log_backend_new(struct nadb_log_disk *disk)
{
    struct log_backend *log = nadb_mem_zalloc(sizeof(*log));
    log->backend.ops = &nadb_log_backend_ops;
    log->magic = LOG_BACKEND_MAGIC;
    log->disk = disk;
    return &log->backend;
}

static nadb_backend_open_fn log_open;
static nadb_backend_replay_fn log_replay;
static nadb_backend_replay_free_fn log_replay_free;
static nadb_backend_write_fn log_write;
static nadb_backend_read_fn log_read;
static nadb_backend_close_fn log_close;
static nadb_backend_free_fn log_free;

const struct nadb_backend_ops nadb_log_backend_ops = {
    .name = "log for tests",
    .caps = NADB_BACKEND_LOG,
    .open = log_open,
    .replay = log_replay,
    .replay_free = log_replay_free,
    .write = log_write,
    .read = log_read,
    .close = log_close,
    .free = log_free,
};
