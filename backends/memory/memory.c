/* This file is the backend that keeps nothing: what is in RAM is all there is. */
#include "backends/backend.h"
#include "backends/registry.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

#define MEMORY_MAGIC 0x4e414d45u

struct memory {
    struct nadb_backend backend; /* first */
    unsigned magic;
    uint64_t batches;
    uint64_t entries;
};

static struct memory *memory_of(struct nadb_backend *backend)
{
    struct memory *memory = (struct memory *)(void *)backend;
    NADB_ASSERT(memory != NULL && memory->magic == MEMORY_MAGIC);
    return memory;
}

static struct nadb_backend *memory_new_instance(const struct nadb_backend_opts *opts)
{
    (void)opts;
    struct memory *memory = nadb_mem_zalloc(sizeof(*memory));
    memory->backend.ops = &nadb_backend_memory_ops;
    memory->magic = MEMORY_MAGIC;
    return &memory->backend;
}

static enum nadb_err memory_open(struct nadb_backend *backend,
    struct nadb_backend_open_info *ret_info, struct nadb_error *reterr)
{
    (void)memory_of(backend); /* only the check */
    (void)reterr;
    *ret_info = (struct nadb_backend_open_info){.was_clean = true};
    return NADB_OK;
}

static enum nadb_err memory_replay(struct nadb_backend *backend, uint32_t unit, uint64_t *cursor,
    struct nadb_replay_chunk *ret_chunk, struct nadb_error *reterr)
{
    (void)memory_of(backend); /* only the check */
    (void)cursor;
    (void)ret_chunk;
    return nadb_error_set(reterr, NADB_EINVAL, 0, "memory backend: there is no unit %u", unit);
}

static void memory_replay_free(struct nadb_replay_chunk *chunk)
{
    *chunk = (struct nadb_replay_chunk){0};
}

static enum nadb_err memory_write(
    struct nadb_backend *backend, struct nadb_batch *batch, struct nadb_error *reterr)
{
    struct memory *memory = memory_of(backend);
    (void)reterr;
    memory->batches++;
    memory->entries += batch->count;
    for (size_t i = 0; batch->locs != NULL && i < batch->count; i++) {
        batch->locs[i] = 0;
    }
    batch->stats = (struct nadb_backend_stats){
        .batches = memory->batches,
        .entries = memory->entries,
    };
    return NADB_OK;
}

static enum nadb_err memory_close(struct nadb_backend *backend, struct nadb_error *reterr)
{
    (void)memory_of(backend); /* only the check */
    (void)reterr;
    return NADB_OK;
}

static void memory_free(struct nadb_backend *backend)
{
    struct memory *memory = memory_of(backend);
    memory->magic = 0;
    nadb_mem_free(memory);
}

static nadb_backend_new_fn memory_new_instance;
static nadb_backend_open_fn memory_open;
static nadb_backend_replay_fn memory_replay;
static nadb_backend_replay_free_fn memory_replay_free;
static nadb_backend_write_fn memory_write;
static nadb_backend_close_fn memory_close;
static nadb_backend_free_fn memory_free;

const struct nadb_backend_ops nadb_backend_memory_ops = {
    .name = "memory",
    .caps = NADB_BACKEND_LOG | NADB_BACKEND_VOLATILE,
    .new_instance = memory_new_instance,
    .open = memory_open,
    .replay = memory_replay,
    .replay_free = memory_replay_free,
    .write = memory_write,
    .close = memory_close,
    .free = memory_free,
};
