/* Is everything of a segment as it was written? Thread: any. */
#ifndef NADB_BACKENDS_FS_CHECK_H
#define NADB_BACKENDS_FS_CHECK_H

#include "backends/fs/visit.h"

struct nadb_fs_checked {
    uint64_t bytes; /* that count */
    uint64_t records;
    uint64_t torn_bytes; /* behind them: what a crash left of a write */
};

/* Walks the segment of a visit that is prepared and not begun, and reads, verifies, decodes and
 * expands every record of it. NADB_OK, NADB_ECORRUPT and NADB_EFORMAT with file and offset,
 * NADB_EIO, NADB_ENOMEM. The visit is at its end in any case. */
NADB_MUST_CHECK enum nadb_err nadb_fs_check_segment(
    struct nadb_fs_visit *visit, struct nadb_fs_checked *ret, struct nadb_error *reterr);

#endif
