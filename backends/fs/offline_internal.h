/* What offline.c and salvage.c share. */
#ifndef NADB_BACKENDS_FS_OFFLINE_INTERNAL_H
#define NADB_BACKENDS_FS_OFFLINE_INTERNAL_H

#include "backends/fs/fs_io.h"
#include "backends/fs/manifest.h"

struct nadb_fs_offline {
    const struct nadb_fs_io *io;
    const char *path; /* borrowed */
    int dir, lock;    /* -1: none */
    struct nadb_manifest manifest;
};

/* Opens the directory and locks it, if it has a lock. Whatever comes of it, close is called. */
NADB_MUST_CHECK enum nadb_err nadb_fs__offline_open(struct nadb_fs_offline *offline,
    const struct nadb_fs_io *io, const char *path, struct nadb_error *reterr);

/* Reads the manifest, which must be there. */
NADB_MUST_CHECK enum nadb_err nadb_fs__offline_manifest(
    struct nadb_fs_offline *offline, struct nadb_error *reterr);

void nadb_fs__offline_close(struct nadb_fs_offline *offline);

#endif
