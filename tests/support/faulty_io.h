/* A file system in memory that fails on demand: the table of system calls that the fs backend is
 * given in tests (`nadb_fs_new(&opts, nadb_faulty_io(faulty))`).
 *
 * It keeps two states: what is visible to the process, and what would survive a loss of power.
 * sync_file carries a file's bytes from the first to the second, sync_dir the names of a
 * directory; a file's name is not durable before its directory was synced, however often the
 * file was. Everything random comes from the seed: the same seed and the same calls give the same
 * bytes.
 *
 *     calls ... -> [nadb_faulty_crash_at fires: every call fails from here on]
 *     then free the backend without close, and one of
 *         nadb_faulty_kill       the process died: all that was written is there
 *         nadb_faulty_power_cut  the machine died: what was not synced survives in part
 *     then open a new backend on the same table.
 *
 * Call numbers count every call of the table but close_file, size_file and list_dir, from 1.
 *
 * Thread: one at a time. */
#ifndef NADB_TESTS_SUPPORT_FAULTY_IO_H
#define NADB_TESTS_SUPPORT_FAULTY_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/fs/fs_io.h"

struct nadb_faulty;

enum nadb_faulty_call {
    NADB_FAULTY_ANY,
    NADB_FAULTY_MAKE_DIR,
    NADB_FAULTY_OPEN_DIR,
    NADB_FAULTY_SYNC_DIR,
    NADB_FAULTY_OPEN,
    NADB_FAULTY_RENAME,
    NADB_FAULTY_UNLINK,
    NADB_FAULTY_LOCK,
    NADB_FAULTY_READ,
    NADB_FAULTY_WRITE,
    NADB_FAULTY_SYNC,
    NADB_FAULTY_TRUNCATE,
    NADB_FAULTY_ALLOCATE,
    NADB_FAULTY_LINK,
};

struct nadb_faulty *nadb_faulty_new(uint64_t seed);
void nadb_faulty_free(struct nadb_faulty *faulty); /* NULL allowed */

/* The table; belongs to `faulty`. Any directory path below a directory that exists may be made;
 * "/" exists. */
const struct nadb_fs_io *nadb_faulty_io(struct nadb_faulty *faulty);

/* Counted calls so far. */
uint64_t nadb_faulty_calls(const struct nadb_faulty *faulty);

/* ---- faults; each is independent of the others ---- */

/* The `nth` call of `kind` from now on (1 = the next) fails with `error`, and the `times - 1`
 * calls of that kind after it. times 0: for ever. nth 0: no more. A failing write may have
 * written a strict part of its bytes. A failing sync drops what was dirty: it stays visible but
 * no later sync of the file makes it durable, as Linux does. */
void nadb_faulty_fail(struct nadb_faulty *faulty, enum nadb_faulty_call kind, uint64_t nth,
    uint64_t times, int error);

/* The `nth` read or write from now on moves only a part of its bytes; 0: never. */
void nadb_faulty_shorten(struct nadb_faulty *faulty, uint64_t nth);

/* The next `times` reads hand out one wrong byte, which on the disk is right. */
void nadb_faulty_garble(struct nadb_faulty *faulty, uint64_t times);

/* The `nth` call from now on (1 = the next) is the process's last: it is done not at all, in part
 * or whole, and it and all later ones fail with EIO. 0: never. */
void nadb_faulty_crash_at(struct nadb_faulty *faulty, uint64_t nth);
bool nadb_faulty_is_crashed(const struct nadb_faulty *faulty);
bool nadb_faulty_will_crash(const struct nadb_faulty *faulty); /* at one of the next calls */

/* All files together may hold this much; beyond, -ENOSPC after the part that fits.
 * UINT64_MAX (the default): no limit. */
void nadb_faulty_set_space(struct nadb_faulty *faulty, uint64_t bytes);
uint64_t nadb_faulty_used(const struct nadb_faulty *faulty);

/* Hard links can be made; at first they cannot, as on many file systems. */
void nadb_faulty_set_links(struct nadb_faulty *faulty, bool has_links);

/* Files can be read and written directly, in whole blocks, however little it is; at first they
 * cannot. */
void nadb_faulty_set_direct(struct nadb_faulty *faulty, bool has_direct);

/* Up to so many bytes are better written through the page cache: the two kinds of writes mix. */
void nadb_faulty_set_little(struct nadb_faulty *faulty, size_t bytes);

/* sync_file and sync_dir return 0 and do nothing: a cheap disk. */
void nadb_faulty_set_lying(struct nadb_faulty *faulty, bool is_lying);

/* ---- endings ---- */

/* All descriptors and locks of the process are gone, its writes stay. Faults are switched off. */
void nadb_faulty_kill(struct nadb_faulty *faulty);

/* As kill, and of each page not yet synced survives the old, the new, a mixture, zeros or
 * garbage; of unsynced sizes any in between; of unsynced directory changes any subset. Bytes that
 * were synced and not written since are never touched. */
void nadb_faulty_power_cut(struct nadb_faulty *faulty);

/* ---- looking at and damaging files such as "/db/MANIFEST"; never fails, never counts ---- */

bool nadb_faulty_exists(const struct nadb_faulty *faulty, const char *path);
uint64_t nadb_faulty_size(const struct nadb_faulty *faulty, const char *path); /* 0 if missing */

/* Name number `index`, in order of names, of the files of `dir` that end in `suffix`, or NULL;
 * valid until the next call of the table. */
const char *nadb_faulty_name_at(
    const struct nadb_faulty *faulty, const char *dir, const char *suffix, size_t index);

/* All of the following change the visible and the durable state; the file must exist but for
 * put. */
void nadb_faulty_flip(struct nadb_faulty *faulty, const char *path, uint64_t offset, uint8_t mask);
void nadb_faulty_resize(struct nadb_faulty *faulty, const char *path, uint64_t size);
void nadb_faulty_put(
    struct nadb_faulty *faulty, const char *path, const void *bytes, size_t len); /* replaces */
size_t nadb_faulty_get(const struct nadb_faulty *faulty, const char *path, uint64_t offset,
    void *out, size_t len); /* how many bytes there were */
void nadb_faulty_remove(struct nadb_faulty *faulty, const char *path);

/* Removes all files of a directory, if there is one; no loss of power brings anything back that was
 * changed in it. */
void nadb_faulty_empty(struct nadb_faulty *faulty, const char *dir);

#endif
