/* What can be done with a directory that no server has open: look at it, verify it, restore it,
 * save what can be saved. For tools; blocking; nothing here changes the directory that it looks at.
 * Thread: the caller's. */
#ifndef NADB_BACKENDS_FS_OFFLINE_H
#define NADB_BACKENDS_FS_OFFLINE_H

#include "backends/backend.h"
#include "backends/fs/fs_io.h"

/* Who is told what goes on. */
struct nadb_fs_listener {
    void (*progress)(void *ctx, const char *what, uint64_t done_bytes, uint64_t all_bytes);
    void (*damage)(void *ctx, const char *text); /* one line each */
    void *ctx;
};

struct nadb_fs_survey {
    uint64_t store_id;
    uint64_t segments;
    uint64_t bytes;   /* of the segments, as far as they count */
    uint64_t records; /* in them: the dead ones, too */
    uint64_t last_seq;
    uint64_t last_version;
    uint64_t damaged;    /* segments */
    uint64_t torn_bytes; /* what a crash left of a write, and the next start cuts off */
    bool was_clean;
};

/* What the manifest says. NADB_ECORRUPT: it is missing or damaged; NADB_EFORMAT; NADB_EIO. */
NADB_MUST_CHECK enum nadb_err nadb_fs_stat(const struct nadb_fs_io *io, const char *path,
    struct nadb_fs_survey *ret, struct nadb_error *reterr);

/* Everything, against every checksum. NADB_ECORRUPT when something is damaged (each was told);
 * NADB_ELOCKED while a server has it. */
NADB_MUST_CHECK enum nadb_err nadb_fs_verify_dir(const struct nadb_fs_io *io, const char *path,
    const struct nadb_fs_listener *listener, struct nadb_fs_survey *ret, struct nadb_error *reterr);

/* Verifies `from`, which must have ended cleanly as backups do, and copies it to `to`, a new or
 * empty directory. Nothing is made of a source that is damaged. */
NADB_MUST_CHECK enum nadb_err nadb_fs_restore(const struct nadb_fs_io *io, const char *from,
    const char *to, const struct nadb_fs_listener *listener, struct nadb_fs_survey *ret,
    struct nadb_error *reterr);

struct nadb_fs_salvaged {
    uint64_t segments;   /* looked at */
    uint64_t records;    /* saved */
    uint64_t lost_bytes; /* that belong to no record that was saved */
    uint64_t damages;
};

/* Writes every record of `from` that verifies, in the order of the log, to a new store in `to`, a
 * new or empty directory, and tells what could not be read. Without a manifest it goes by the
 * files. */
NADB_MUST_CHECK enum nadb_err nadb_fs_salvage(const struct nadb_fs_io *io, const char *from,
    const char *to, const struct nadb_fs_listener *listener, struct nadb_fs_salvaged *ret,
    struct nadb_error *reterr);

#endif
