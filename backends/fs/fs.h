/* The fs backend: a log of batches in checksummed segment files, see backends/README.md. */
#ifndef NADB_BACKENDS_FS_FS_H
#define NADB_BACKENDS_FS_FS_H

#include "backends/backend.h"
#include "backends/fs/fs_io.h"

/* As the `new_instance` of nadb_backend_fs_ops, with system calls of the caller's choice; `io`
 * must outlive the instance. */
struct nadb_backend *nadb_fs_new(const struct nadb_backend_opts *opts, const struct nadb_fs_io *io);

#endif
