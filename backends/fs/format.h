/* What the fs backend's files look like, byte by byte. All integers are little-endian; everything
 * starts at a multiple of 8.
 *
 *     <16 hex digits>.seg                         MANIFEST
 *     +----------------+                          +----------------+
 *     | segment header |                          | header         |
 *     +----------------+                          +----------------+
 *     | frame header   |  batch 1, frame 0        | segment entry  |  in the order of the log
 *     |   record       |                          | segment entry  |
 *     |   record ...   |                          | ...            |
 *     +----------------+                          +----------------+
 *     | frame header   |  batch 1, frame 1, LAST  | checksum       |
 *     |   record ...   |                          +----------------+
 *     +----------------+
 *     | frame header   |  batch 2, frame 0, LAST
 *     |   record ...   |
 *     +----------------+
 *     | frame header   |  footer: only in sealed segments
 *     +----------------+
 *
 * Invariants:
 *   1. No batch is ever written over but with the same bytes, as the block that it ends in goes to
 *      the disk again with the next one: a segment only grows, or is cut back to where a batch
 *      ended. Zeros may follow the last batch of the active segment: those that fill its block,
 *      and others written ahead, which make the next syncs cheaper, as the size of the file does
 *      not change.
 *   2. Every checksum is seeded with store, segment and offset, so zeros, stale blocks and blocks
 *      of another place or another store never verify.
 *   3. Each frame header holds the checksum of the frame header before it (the chain), and the
 *      payload's, so that a frame vouches for every byte before it: frames of two attempts to
 *      write a batch cannot pass as one.
 *   4. A batch never spans segments. It counts when its frames 0 .. LAST all verify. Numbers of
 *      batches grow; only what compaction wrote may have several batches of one number, parts of
 *      a batch that was too large to be copied at once, or of several that were put together.
 *   5. A segment gets its first batch only after a manifest that names it is durable.
 *   6. Only a segment that the manifest calls ACTIVE may end in something that does not verify,
 *      there is at most one, and it is the last. All bytes of SEALED and CUT segments were synced
 *      before the manifest called them so.
 *   7. A frame's synced_seq is the newest batch known to be stable when the frame was written.
 *      If something that does not verify belongs to a batch at or below the synced_seq of a frame
 *      behind it, a stable batch was damaged. Otherwise it is what a crash left of a write.
 *
 * Bits, flags, kinds and codecs that this version does not know mean that a newer version wrote
 * the file: it is refused, not guessed at. */
#ifndef NADB_BACKENDS_FS_FORMAT_H
#define NADB_BACKENDS_FS_FORMAT_H

#include <stdint.h>

#include "backends/backend.h"

#define NADB_FS_FORMAT_VERSION 1u

#define NADB_FS_ALIGN 8u

/* ---- segment header ---- */

/*  offset size  what                                                              */
#define NADB_SEGMENT_MAGIC_AT      0  /*  8    NADB_SEGMENT_MAGIC                  */
#define NADB_SEGMENT_VERSION_AT    8  /*  4    NADB_FS_FORMAT_VERSION              */
#define NADB_SEGMENT_RESERVED_AT   12 /*  4    0                                   */
#define NADB_SEGMENT_STORE_AT      16 /*  8    the store's random number           */
#define NADB_SEGMENT_ID_AT         24 /*  8    the number in the file's name       */
#define NADB_SEGMENT_CREATED_AT    32 /*  8    Unix time in ms                     */
#define NADB_SEGMENT_RESERVED_2_AT 40 /*  16   0                                   */
#define NADB_SEGMENT_CHECK_AT      56 /*  8    of the 56 bytes before              */
#define NADB_SEGMENT_HEADER_BYTES  64

#define NADB_SEGMENT_MAGIC UINT64_C(0x4745534244414e0a) /* "\nNADBSEG" */

/* ---- frame header ---- */

/*  offset size  what                                    in a footer               */
#define NADB_FRAME_MAGIC_AT      0  /*  4    NADB_FRAME_MAGIC                      */
#define NADB_FRAME_FLAGS_AT      4  /*  2    enum nadb_frame_flags                 */
#define NADB_FRAME_RESERVED_AT   6  /*  2    0                                     */
#define NADB_FRAME_INDEX_AT      8  /*  4    of the frame in its batch   frames    */
#define NADB_FRAME_RECORDS_AT    12 /*  4    in the payload     of the segment     */
#define NADB_FRAME_PAYLOAD_AT    16 /*  4    bytes that follow           0         */
#define NADB_FRAME_RESERVED_2_AT 20 /*  4    0                                     */
#define NADB_FRAME_SEQ_AT        24 /*  8    of the batch       of the last batch  */
#define NADB_FRAME_SYNCED_SEQ_AT 32 /*  8    invariant 7                           */
#define NADB_FRAME_WALL_AT       40 /*  8    of the batch       newest             */
#define NADB_FRAME_VERSION_AT    48 /*  8    last_version       newest             */
#define NADB_FRAME_PREV_AT       56 /*  8    the chain: checksum of the header before  */
#define NADB_FRAME_BODY_CHECK_AT 64 /*  8    of the payload              of 0 bytes    */
#define NADB_FRAME_CHECK_AT      72 /*  8    of the 72 bytes before                */
#define NADB_FRAME_HEADER_BYTES  80

#define NADB_FRAME_MAGIC 0x4d52464eu /* "NFRM" */

enum nadb_frame_flags {
    NADB_FRAME_FIRST = 1 << 0,  /* of its batch; index 0 */
    NADB_FRAME_LAST = 1 << 1,   /* of its batch: it is complete */
    NADB_FRAME_FOOTER = 1 << 2, /* the segment ends here */
    NADB_FRAME_FLAGS_KNOWN = NADB_FRAME_FIRST | NADB_FRAME_LAST | NADB_FRAME_FOOTER,
};

/* A frame is closed before it passes this. A record of NADB_RECORD_ALONE_BYTES or more has a
 * frame to itself, as large as it needs. */
#define NADB_FRAME_PAYLOAD_TARGET (1u << 20)
#define NADB_RECORD_ALONE_BYTES   (1u << 16)

/* ---- record ---- */

/*  offset size  what                                                              */
#define NADB_RECORD_CHECK_AT     0  /*  4    of all that follows, padding included */
#define NADB_RECORD_KIND_AT      4  /*  1    enum nadb_entry_kind                  */
#define NADB_RECORD_CODEC_AT     5  /*  1    enum nadb_codec                       */
#define NADB_RECORD_FLAGS_AT     6  /*  2    enum nadb_record_flags                */
#define NADB_RECORD_VERSION_AT   8  /*  8    keyspace in 16 bits, version above    */
#define NADB_RECORD_CREATED_AT   16 /*  8    created_ms in 44 bits, key length above */
#define NADB_RECORD_VALUE_LEN_AT 24 /*  4    PUT, INVALIDATE; NAME: the database   */
#define NADB_RECORD_TAGS_LEN_AT  28 /*  4    PUT                                   */
#define NADB_RECORD_HEADER_BYTES 32
/*  Then the optional words (8 bytes each, in the order of their flags), key, value and tags
 *  without gaps, and zeros up to a multiple of 8. */

enum nadb_record_flags {
    NADB_RECORD_HAS_UPDATED = 1 << 0,  /* updated_ms; absent: as created_ms */
    NADB_RECORD_HAS_EXPIRE = 1 << 1,   /* expire_ms; absent: 0 */
    NADB_RECORD_HAS_ACCESSED = 1 << 2, /* accessed_s; absent: updated_ms / 1000 */
    NADB_RECORD_HAS_RAW_LEN = 1 << 3, /* of a value that is not NADB_CODEC_RAW: its length before */
    NADB_RECORD_FLAGS_KNOWN = NADB_RECORD_HAS_UPDATED | NADB_RECORD_HAS_EXPIRE |
                              NADB_RECORD_HAS_ACCESSED | NADB_RECORD_HAS_RAW_LEN,
};

#define NADB_RECORD_VERSION_BITS 48
#define NADB_RECORD_CREATED_BITS 44
#define NADB_RECORD_HEAD_MAX     (NADB_RECORD_HEADER_BYTES + 4 * 8)

/* ---- locations ---- */

/* A location is the slot of a segment and the offset of a record in units of NADB_FS_ALIGN. The
 * segment header is no record, so 0 is nowhere. */
#define NADB_SEGMENT_SLOTS_MAX NADB_SEGMENTS_MAX
#define NADB_RECORD_OFFSET_MAX ((UINT64_C(1) << NADB_LOC_OFFSET_BITS) * NADB_FS_ALIGN - 1)

/* A segment is sealed by the first batch that finds it this large or larger, so it passes the
 * limit by at most one batch, and a batch always has 1 GiB of room. */
#define NADB_SEGMENT_SIZE_MIN (UINT64_C(1) << 12)
#define NADB_SEGMENT_SIZE_MAX (UINT64_C(1) << 30)

/* ---- manifest ---- */

/*  offset size  what                                                              */
#define NADB_MANIFEST_MAGIC_AT      0  /*  8    NADB_MANIFEST_MAGIC                */
#define NADB_MANIFEST_VERSION_AT    8  /*  4    NADB_FS_FORMAT_VERSION             */
#define NADB_MANIFEST_FLAGS_AT      12 /*  4    enum nadb_manifest_flags           */
#define NADB_MANIFEST_STORE_AT      16 /*  8    the store's random number          */
#define NADB_MANIFEST_GENERATION_AT 24 /*  8    grows with each replacement        */
#define NADB_MANIFEST_NEXT_ID_AT    32 /*  8    above every segment's so far       */
#define NADB_MANIFEST_SEQ_AT        40 /*  8    the last batch is this or later    */
#define NADB_MANIFEST_NEWEST_AT     48 /*  8    last_version is this or later      */
#define NADB_MANIFEST_COUNT_AT      56 /*  4    entries                            */
#define NADB_MANIFEST_RESERVED_AT   60 /*  4    0                                  */
#define NADB_MANIFEST_HEADER_BYTES  64

/* each entry */
#define NADB_MANIFEST_ID_AT       0  /*  8                                          */
#define NADB_MANIFEST_SLOT_AT     8  /*  4    for locations; unique                 */
#define NADB_MANIFEST_STATE_AT    12 /*  4    enum nadb_segment_state               */
#define NADB_MANIFEST_BYTES_AT    16 /*  8    that count, see there                 */
#define NADB_MANIFEST_BASE_AT     24 /*  8    the chain before the first frame      */
#define NADB_MANIFEST_CHAIN_AT    32 /*  8    the chain at `bytes`                  */
#define NADB_MANIFEST_LAST_AT     40 /*  8    the last batch, 0 if none             */
#define NADB_MANIFEST_RECORDS_AT  48 /*  8                                          */
#define NADB_MANIFEST_SPARE_AT    56 /*  8    0                                     */
#define NADB_MANIFEST_ENTRY_BYTES 64

#define NADB_MANIFEST_CHECK_BYTES 8 /* at the end, of all before it */

#define NADB_MANIFEST_MAGIC UINT64_C(0x464e4d4244414e0a) /* "\nNADBMNF" */

enum nadb_manifest_flags {
    NADB_MANIFEST_CLEAN = 1 << 0, /* the active segment ends at exactly `bytes` */
    NADB_MANIFEST_FLAGS_KNOWN = NADB_MANIFEST_CLEAN,
};

enum nadb_segment_state {
    NADB_SEGMENT_ACTIVE = 1, /* at least `bytes`, all stable; more may follow */
    NADB_SEGMENT_SEALED = 2, /* exactly `bytes`, ending in a footer */
    NADB_SEGMENT_CUT = 3,    /* the first `bytes`; whatever follows is to be ignored */
};

#define NADB_MANIFEST_BYTES_MAX                                                                    \
    (NADB_MANIFEST_HEADER_BYTES + NADB_SEGMENT_SLOTS_MAX * (size_t)NADB_MANIFEST_ENTRY_BYTES +     \
        NADB_MANIFEST_CHECK_BYTES)

/* ---- names ---- */

#define NADB_FS_LOCK_NAME         "LOCK"
#define NADB_FS_MANIFEST_NAME     "MANIFEST"
#define NADB_FS_MANIFEST_TMP_NAME "MANIFEST.tmp"
#define NADB_FS_RESERVE_NAME      "RESERVE"
#define NADB_SEGMENT_SUFFIX       ".seg"
#define NADB_SEGMENT_NAME_BYTES   (16 + sizeof(NADB_SEGMENT_SUFFIX)) /* NUL included */

#define NADB_FS_RESERVE_BYTES (UINT64_C(8) << 20)

_Static_assert(NADB_SEGMENT_CHECK_AT + 8 == NADB_SEGMENT_HEADER_BYTES, "layout");
_Static_assert(NADB_FRAME_CHECK_AT + 8 == NADB_FRAME_HEADER_BYTES, "layout");
_Static_assert(NADB_RECORD_TAGS_LEN_AT + 4 == NADB_RECORD_HEADER_BYTES, "layout");
_Static_assert(NADB_MANIFEST_RESERVED_AT + 4 == NADB_MANIFEST_HEADER_BYTES, "layout");
_Static_assert(NADB_MANIFEST_SPARE_AT + 8 == NADB_MANIFEST_ENTRY_BYTES, "layout");
_Static_assert(NADB_SEGMENT_HEADER_BYTES % NADB_FS_ALIGN == 0, "records must be aligned");
_Static_assert(NADB_FRAME_HEADER_BYTES % NADB_FS_ALIGN == 0, "records must be aligned");
_Static_assert(NADB_RECORD_HEADER_BYTES % NADB_FS_ALIGN == 0, "records must be aligned");
_Static_assert(NADB_KEY_LEN_MAX < (1u << (64 - NADB_RECORD_CREATED_BITS)), "key length fits");
_Static_assert(NADB_SEGMENT_SIZE_MAX <= NADB_RECORD_OFFSET_MAX / 2 + 1, "a batch needs room");
_Static_assert((uint64_t)NADB_KEY_LEN_MAX + NADB_VALUE_LEN_MAX + NADB_TAGS_PACKED_MAX +
                       NADB_RECORD_HEAD_MAX + NADB_FS_ALIGN <=
                   UINT32_MAX,
    "one record fits a frame");

/* The seed of what lies at `offset` of a segment; both factors are odd, so different places of a
 * segment and different segments at one place have different seeds. */
static inline uint64_t nadb_segment_seed(uint64_t store_id, uint64_t segment_id)
{
    return store_id ^ (segment_id * UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint64_t nadb_offset_seed(uint64_t segment_seed, uint64_t offset)
{
    return segment_seed + offset * UINT64_C(0xd1342543de82ef95);
}

/* What the check of stored bytes found. */
enum nadb_fs_check {
    NADB_FS_GOOD,
    NADB_FS_BAD,   /* does not verify, or makes no sense */
    NADB_FS_NEWER, /* verifies, and has something in it that this version does not know */
};

#endif
