/* Much of a file at once, in whole blocks, past the page cache where the file system can.
 *
 * What a log writes is not read again soon, and what is read in long runs is read once. The page
 * cache makes both dear: every byte is copied, every page is looked for, cleaned and written back.
 * Directly it costs a tenth of the processor's time, and leaves the page cache to the values that
 * are asked for one by one. Direct reads and writes take whole blocks at multiples of their size,
 * from or to memory aligned as they are.
 *
 * A batch ends anywhere. So what is written is put together in a window, whose front is what the
 * file has of the block that it ends in:
 *
 *     file     | block | block | bl.            an end in the middle of a block
 *     window                   | bl.=======|=======|====...|     written; ... is zeros
 *                                new bytes              `- the new end
 *     then                                         |====        moved to the front
 *
 * Writing the last block again gives the bytes in front of the old end the values that they have
 * already. A disk that can lose them so can lose them in a buffered write too: that also writes the
 * whole block.
 *
 * Where the file system cannot write directly the same window goes through the page cache, without
 * what the file has already and without the zeros. So does a little that is written at once
 * (little_bytes of the table): it is synced at once, too, and the kernel then waits for both in one
 * go.
 *
 * Thread: the owner's. */
#ifndef NADB_BACKENDS_FS_BLOCKS_H
#define NADB_BACKENDS_FS_BLOCKS_H

#include "backends/fs/fs_io.h"

/* ---- writing ---- */

/* New bytes that fit into the window wherever the file ends: a frame's. */
#define NADB_FS_WINDOW_ROOM ((1u << 20) + NADB_FS_BLOCK_BYTES)

/* The end of one file. All zero: nothing is known of it yet. */
struct nadb_fs_end {
    bool is_known;
    bool has_no_direct;              /* it was tried */
    bool is_direct;                  /* the descriptor is switched to it */
    bool is_padded;                  /* zeros may lie behind it, up to the end of its block */
    char block[NADB_FS_BLOCK_BYTES]; /* what the file's last block has in front of the end */
};

/* Finds out, once, what must be known to write behind `offset`: 0 or -errno. */
NADB_MUST_CHECK int nadb_fs_end_learn(
    struct nadb_fs_end *end, const struct nadb_fs_io *io, int file, uint64_t offset);

/* The descriptor is as others again: anything may be read and written, the end must be learnt
 * anew. Again: no harm. */
void nadb_fs_end_forget(struct nadb_fs_end *end, const struct nadb_fs_io *io, int file);

/* Where bytes are put together; serves one file after another. */
struct nadb_fs_window {
    void *memory; /* owned */
    char *bytes;  /* in it, aligned */
    /* between begin and commit */
    const struct nadb_fs_io *io;
    struct nadb_fs_end *end;
    int file;
    uint64_t at;  /* the offset of the window's first byte: a multiple of the block */
    size_t lead;  /* so many bytes the file has already */
    bool is_much; /* more than a little has been written since begin */
};

void nadb_fs_window_init(struct nadb_fs_window *window);
void nadb_fs_window_fini(struct nadb_fs_window *window); /* again: no harm */

/* What follows goes behind `offset` of the file, whose end is known. */
void nadb_fs_window_begin(struct nadb_fs_window *window, const struct nadb_fs_io *io, int file,
    struct nadb_fs_end *end, uint64_t offset);

/* Where the next NADB_FS_WINDOW_ROOM bytes belong, until the next write. */
char *nadb_fs_window_room(const struct nadb_fs_window *window);

/* Writes the first `len` bytes of the room, and behind them the pieces: 0, or -errno with any part
 * of them written. */
NADB_MUST_CHECK int nadb_fs_window_write(
    struct nadb_fs_window *window, size_t len, const struct iovec *pieces, size_t count);

/* What was written since begin is the end now; without it, the end is where it was. */
void nadb_fs_window_commit(struct nadb_fs_window *window);

/* ---- reading ---- */

/* Opens a file to read. Directly, where that can be had, is for long runs that are read once and
 * that the page cache has not got. The descriptor, or -errno. */
NADB_MUST_CHECK int nadb_fs_open_run(
    const struct nadb_fs_io *io, int dir, const char *name, bool is_direct_wanted);

/* A run of a file in memory. All zero: nothing yet. */
struct nadb_fs_run {
    void *memory; /* owned: nadb_mem_free */
    char *bytes;  /* in it */
    size_t len;
};

/* Makes the run, which begins at `from` of the file, `len` bytes long, or as long as the file is,
 * in calls as nadb_fs_call_len has them, of `call_bytes` (whole blocks): 0, or -errno with the run
 * as it was. */
NADB_MUST_CHECK int nadb_fs_run_extend(struct nadb_fs_run *run, const struct nadb_fs_io *io,
    int file, uint64_t from, size_t len, size_t call_bytes);

/* ---- both ---- */

/* The multiple of the block at or behind `offset`. */
static inline uint64_t nadb_fs_block_up(uint64_t offset)
{
    return (offset + NADB_FS_BLOCK_BYTES - 1) & ~(uint64_t)(NADB_FS_BLOCK_BYTES - 1);
}

#endif
