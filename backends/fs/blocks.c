/* This file reads and writes long runs of files, in whole blocks. */
#include "backends/fs/blocks.h"

#include <errno.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define WINDOW_BYTES (NADB_FS_WINDOW_ROOM + NADB_FS_BLOCK_BYTES)

/* A read may be cut short; one that brings nothing twice is at the end of the file. */
#define FRUITLESS_MAX 2

_Static_assert(WINDOW_BYTES % NADB_FS_BLOCK_BYTES == 0, "a full window is whole blocks");

/* The first multiple of the block in memory that is a block larger than needed. */
static char *align(void *memory)
{
    return (char *)memory + (nadb_fs_block_up((uintptr_t)memory) - (uintptr_t)memory);
}

/* ---- the end of a file ---- */

int nadb_fs_end_learn(
    struct nadb_fs_end *end, const struct nadb_fs_io *io, int file, uint64_t offset)
{
    if (end->is_known) {
        return 0;
    }
    size_t len = offset % NADB_FS_BLOCK_BYTES;
    ssize_t got = nadb_fs_read_full(io, file, end->block, len, offset - len);
    if (got != (ssize_t)len) {
        return got < 0 ? (int)got : -EIO;
    }
    end->is_known = true;
    return 0;
}

/* Whatever the reason that it cannot be had, there is another way. */
static void set_direct(
    struct nadb_fs_end *end, const struct nadb_fs_io *io, int file, bool is_direct)
{
    if (end->is_direct == is_direct || (is_direct && end->has_no_direct)) {
        return;
    }
    if (io->set_direct(io, file, is_direct) == 0) {
        end->is_direct = is_direct;
    } else {
        end->has_no_direct = true;
    }
}

void nadb_fs_end_forget(struct nadb_fs_end *end, const struct nadb_fs_io *io, int file)
{
    if (end->is_known) {
        set_direct(end, io, file, false);
    }
    end->is_known = false;
}

/* ---- the window ---- */

void nadb_fs_window_init(struct nadb_fs_window *window)
{
    void *memory = nadb_mem_alloc(WINDOW_BYTES + NADB_FS_BLOCK_BYTES);
    *window = (struct nadb_fs_window){.memory = memory, .bytes = align(memory)};
}

void nadb_fs_window_fini(struct nadb_fs_window *window)
{
    nadb_mem_free(window->memory);
    *window = (struct nadb_fs_window){0};
}

void nadb_fs_window_begin(struct nadb_fs_window *window, const struct nadb_fs_io *io, int file,
    struct nadb_fs_end *end, uint64_t offset)
{
    NADB_ASSERT(end->is_known);
    window->io = io;
    window->end = end;
    window->file = file;
    window->lead = offset % NADB_FS_BLOCK_BYTES;
    window->at = offset - window->lead;
    window->is_much = false;
    memcpy(window->bytes, end->block, window->lead);
}

char *nadb_fs_window_room(const struct nadb_fs_window *window)
{
    return window->bytes + window->lead;
}

static int write_directly(struct nadb_fs_window *window, size_t len)
{
    size_t padded = (size_t)nadb_fs_block_up(len);
    memset(window->bytes + len, 0, padded - len);
    window->end->is_padded = true;
    struct iovec piece = {.iov_base = window->bytes, .iov_len = padded};
    return nadb_fs_write_full(window->io, window->file, &piece, 1, window->at);
}

static int write_through_cache(struct nadb_fs_window *window, size_t len)
{
    struct iovec piece = {
        .iov_base = window->bytes + window->lead,
        .iov_len = len - window->lead,
    };
    return nadb_fs_write_full(window->io, window->file, &piece, 1, window->at + window->lead);
}

/* Writes the first `len` bytes of the window and moves on behind them. */
static int write_out(struct nadb_fs_window *window, size_t len)
{
    struct nadb_fs_end *end = window->end;
    int result = -EINVAL;
    window->is_much |= len - window->lead > window->io->little_bytes;
    set_direct(end, window->io, window->file, window->is_much);
    if (end->is_direct) {
        result = write_directly(window, len);
        if (result == -EINVAL) { /* its blocks are larger */
            end->has_no_direct = true;
            set_direct(end, window->io, window->file, false);
        }
    }
    if (!end->is_direct && result == -EINVAL) {
        result = write_through_cache(window, len);
    }
    if (result == 0) {
        window->lead = len % NADB_FS_BLOCK_BYTES;
        window->at += len - window->lead;
        memmove(window->bytes, window->bytes + len - window->lead, window->lead);
    }
    return result;
}

int nadb_fs_window_write(
    struct nadb_fs_window *window, size_t len, const struct iovec *pieces, size_t count)
{
    NADB_ASSERT(len <= NADB_FS_WINDOW_ROOM);
    size_t filled = window->lead + len;
    for (size_t i = 0; i < count; i++) {
        const char *from = pieces[i].iov_base;
        size_t left = pieces[i].iov_len;
        while (left > 0) {
            size_t part = WINDOW_BYTES - filled < left ? WINDOW_BYTES - filled : left;
            memcpy(window->bytes + filled, from, part);
            filled += part;
            from += part;
            left -= part;
            if (filled == WINDOW_BYTES) {
                int result = write_out(window, filled);
                if (result != 0) {
                    return result;
                }
                filled = window->lead;
            }
        }
    }
    return filled > window->lead ? write_out(window, filled) : 0;
}

void nadb_fs_window_commit(struct nadb_fs_window *window)
{
    memcpy(window->end->block, window->bytes, window->lead);
}

/* ---- reading ---- */

int nadb_fs_open_run(const struct nadb_fs_io *io, int dir, const char *name, bool is_direct_wanted)
{
    int file = io->open_file(io, dir, name, NADB_FS_OPEN_READ);
    if (file >= 0 && is_direct_wanted) {
        (void)io->set_direct(io, file, true); /* else it goes through the page cache */
    }
    return file;
}

/* Reads on from the block that `done` is in until `wanted` or the end of the file: how many bytes
 * there are now, or -errno. */
static ssize_t read_blocks(const struct nadb_fs_io *io, int file, char *out, size_t done,
    size_t wanted, uint64_t offset, size_t call_bytes)
{
    int fruitless = 0; /* reads on end that brought nothing new */
    while (done < wanted && fruitless < FRUITLESS_MAX) {
        size_t from = done - done % NADB_FS_BLOCK_BYTES;
        const size_t left = (size_t)nadb_fs_block_up(wanted) - from;
        const size_t len = nadb_fs_call_len(left, call_bytes);
        ssize_t got = io->pread_file(io, file, out + from, len, offset + from);
        if (got == -EINVAL && io->set_direct(io, file, false) == 0) { /* its blocks are larger */
            got = io->pread_file(io, file, out + from, len, offset + from);
        }
        if (got < 0) {
            return got;
        }
        fruitless = from + (size_t)got > done ? 0 : fruitless + 1;
        done = fruitless == 0 ? from + (size_t)got : done;
    }
    return (ssize_t)done;
}

int nadb_fs_run_extend(struct nadb_fs_run *run, const struct nadb_fs_io *io, int file,
    uint64_t from, size_t len, size_t call_bytes)
{
    NADB_ASSERT(len > run->len);
    NADB_ASSERT(call_bytes > 0 && call_bytes % NADB_FS_BLOCK_BYTES == 0);
    const size_t lead = from % NADB_FS_BLOCK_BYTES;
    const size_t wanted = lead + len;
    void *memory = nadb_mem_try_alloc((size_t)nadb_fs_block_up(wanted) + NADB_FS_BLOCK_BYTES);
    if (memory == NULL) {
        return -ENOMEM;
    }
    char *blocks = align(memory);
    size_t had = run->len > 0 ? lead + run->len : 0;
    if (had > 0) {
        memcpy(blocks, run->bytes - lead, had);
    }
    ssize_t got = read_blocks(io, file, blocks, had, wanted, from - lead, call_bytes);
    if (got < 0) {
        nadb_mem_free(memory);
        return (int)got;
    }
    size_t has = (size_t)got < wanted ? (size_t)got : wanted;
    nadb_mem_free(run->memory);
    *run = (struct nadb_fs_run){
        .memory = memory,
        .bytes = blocks + lead,
        .len = has > lead ? has - lead : 0,
    };
    return 0;
}
