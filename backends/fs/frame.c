/* This file turns frame headers and segment headers into bytes and back. */
#include "backends/fs/frame.h"

#include <string.h>

#include "src/base/checksum.h"
#include "src/base/codec.h"

void nadb_frame_put(char *out, struct nadb_frame *frame, uint64_t seed)
{
    memset(out, 0, NADB_FRAME_HEADER_BYTES);
    nadb_put_u32(out + NADB_FRAME_MAGIC_AT, NADB_FRAME_MAGIC);
    nadb_put_u16(out + NADB_FRAME_FLAGS_AT, frame->flags);
    nadb_put_u32(out + NADB_FRAME_INDEX_AT, frame->index);
    nadb_put_u32(out + NADB_FRAME_RECORDS_AT, frame->records);
    nadb_put_u32(out + NADB_FRAME_PAYLOAD_AT, frame->payload_bytes);
    nadb_put_u64(out + NADB_FRAME_SEQ_AT, frame->seq);
    nadb_put_u64(out + NADB_FRAME_SYNCED_SEQ_AT, frame->synced_seq);
    nadb_put_u64(out + NADB_FRAME_WALL_AT, frame->wall_ms);
    nadb_put_u64(out + NADB_FRAME_VERSION_AT, frame->last_version);
    nadb_put_u64(out + NADB_FRAME_PREV_AT, frame->prev);
    nadb_put_u64(out + NADB_FRAME_BODY_CHECK_AT, frame->payload_check);
    frame->check = nadb_checksum64(out, NADB_FRAME_CHECK_AT, seed);
    nadb_put_u64(out + NADB_FRAME_CHECK_AT, frame->check);
}

enum nadb_fs_check nadb_frame_get(const char *bytes, uint64_t seed, struct nadb_frame *ret)
{
    if (nadb_get_u32(bytes + NADB_FRAME_MAGIC_AT) != NADB_FRAME_MAGIC) {
        return NADB_FS_BAD;
    }
    uint64_t check = nadb_get_u64(bytes + NADB_FRAME_CHECK_AT);
    if (check != nadb_checksum64(bytes, NADB_FRAME_CHECK_AT, seed)) {
        return NADB_FS_BAD;
    }
    *ret = (struct nadb_frame){
        .flags = nadb_get_u16(bytes + NADB_FRAME_FLAGS_AT),
        .index = nadb_get_u32(bytes + NADB_FRAME_INDEX_AT),
        .records = nadb_get_u32(bytes + NADB_FRAME_RECORDS_AT),
        .payload_bytes = nadb_get_u32(bytes + NADB_FRAME_PAYLOAD_AT),
        .seq = nadb_get_u64(bytes + NADB_FRAME_SEQ_AT),
        .synced_seq = nadb_get_u64(bytes + NADB_FRAME_SYNCED_SEQ_AT),
        .wall_ms = nadb_get_u64(bytes + NADB_FRAME_WALL_AT),
        .last_version = nadb_get_u64(bytes + NADB_FRAME_VERSION_AT),
        .prev = nadb_get_u64(bytes + NADB_FRAME_PREV_AT),
        .payload_check = nadb_get_u64(bytes + NADB_FRAME_BODY_CHECK_AT),
        .check = check,
    };
    if ((ret->flags & ~(unsigned)NADB_FRAME_FLAGS_KNOWN) != 0 ||
        nadb_get_u16(bytes + NADB_FRAME_RESERVED_AT) != 0 ||
        nadb_get_u32(bytes + NADB_FRAME_RESERVED_2_AT) != 0) {
        return NADB_FS_NEWER;
    }
    return NADB_FS_GOOD;
}

void nadb_segment_header_put(char *out, uint64_t store_id, uint64_t segment_id, uint64_t created_ms)
{
    memset(out, 0, NADB_SEGMENT_HEADER_BYTES);
    nadb_put_u64(out + NADB_SEGMENT_MAGIC_AT, NADB_SEGMENT_MAGIC);
    nadb_put_u32(out + NADB_SEGMENT_VERSION_AT, NADB_FS_FORMAT_VERSION);
    nadb_put_u64(out + NADB_SEGMENT_STORE_AT, store_id);
    nadb_put_u64(out + NADB_SEGMENT_ID_AT, segment_id);
    nadb_put_u64(out + NADB_SEGMENT_CREATED_AT, created_ms);
    nadb_put_u64(out + NADB_SEGMENT_CHECK_AT,
        nadb_checksum64(out, NADB_SEGMENT_CHECK_AT, NADB_SEGMENT_MAGIC));
}

enum nadb_fs_check nadb_segment_header_get(
    const char *bytes, uint64_t store_id, uint64_t segment_id, uint32_t *ret_version)
{
    if (nadb_get_u64(bytes + NADB_SEGMENT_MAGIC_AT) != NADB_SEGMENT_MAGIC ||
        nadb_get_u64(bytes + NADB_SEGMENT_CHECK_AT) !=
            nadb_checksum64(bytes, NADB_SEGMENT_CHECK_AT, NADB_SEGMENT_MAGIC)) {
        return NADB_FS_BAD;
    }
    *ret_version = nadb_get_u32(bytes + NADB_SEGMENT_VERSION_AT);
    if (*ret_version != NADB_FS_FORMAT_VERSION) {
        return NADB_FS_NEWER;
    }
    return nadb_get_u64(bytes + NADB_SEGMENT_STORE_AT) == store_id &&
                   nadb_get_u64(bytes + NADB_SEGMENT_ID_AT) == segment_id
               ? NADB_FS_GOOD
               : NADB_FS_BAD;
}
