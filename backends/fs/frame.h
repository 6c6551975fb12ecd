/* Frame headers and segment headers as bytes, see format.h: pure functions. Thread: any. */
#ifndef NADB_BACKENDS_FS_FRAME_H
#define NADB_BACKENDS_FS_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "backends/fs/format.h"

struct nadb_frame {
    uint16_t flags; /* enum nadb_frame_flags */
    uint32_t index;
    uint32_t records;
    uint32_t payload_bytes;
    uint64_t seq;
    uint64_t synced_seq;
    uint64_t wall_ms;
    uint64_t last_version;
    uint64_t prev;
    uint64_t payload_check;
    uint64_t check; /* the header's own: the next frame's `prev`; set by put and get */
};

/* Writes NADB_FRAME_HEADER_BYTES and sets frame->check. `seed` is that of the frame's offset. */
void nadb_frame_put(char *out, struct nadb_frame *frame, uint64_t seed);

/* Reads a header of NADB_FRAME_HEADER_BYTES; *ret is written unless the answer is NADB_FS_BAD. */
enum nadb_fs_check nadb_frame_get(const char *bytes, uint64_t seed, struct nadb_frame *ret);

/* Writes NADB_SEGMENT_HEADER_BYTES. */
void nadb_segment_header_put(
    char *out, uint64_t store_id, uint64_t segment_id, uint64_t created_ms);

enum nadb_fs_check nadb_segment_header_get(
    const char *bytes, uint64_t store_id, uint64_t segment_id, uint32_t *ret_version);

#endif
