/* A store copied file by file to another directory. Thread: any. */
#ifndef NADB_BACKENDS_FS_COPY_H
#define NADB_BACKENDS_FS_COPY_H

#include "backends/backend.h"
#include "backends/fs/manifest.h"

struct nadb_fs_copy {
    const struct nadb_fs_io *io;
    int from; /* the directory; nobody removes a segment of the manifest meanwhile */
    struct nadb_manifest *manifest; /* what is to be there, ending cleanly; it is published there */
    const char *path;               /* new, or an empty directory */
    const char *base;               /* an earlier copy, or NULL: what it has is linked */
    bool may_link;                  /* from the source, where the file system can */
    /* called after each segment; NULL: nobody is told */
    void (*progress)(void *ctx, uint64_t bytes);
    void *ctx;
    const char *what; /* for errors: what is being made */
};

/* Copies, makes everything stable and publishes the manifest last: without it there is no store.
 * After a failure only the directory is left, as far as the disk allows. */
NADB_MUST_CHECK enum nadb_err nadb_fs_copy(
    const struct nadb_fs_copy *copy, struct nadb_backup_result *ret, struct nadb_error *reterr);

#endif
