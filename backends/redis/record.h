/* A record as the engine has it: one string.
 *
 *     offset size  what (little-endian)
 *          0    1  format: NADB_REDIS_RECORD_FORMAT
 *          1    3  0
 *          4    4  length of the tags
 *          8    8  ends, Unix time in ms; 0: never
 *         16    4  checksum of the next
 *         20    8  created, Unix time in ms
 *         28    8  stamp
 *         36    8  updated, Unix time in ms
 *         44    4  length of the value as it was
 *         48    1  codec of the value
 *         49    3  0
 *         52    4  checksum of the value as it is kept
 *         56    4  checksum of all in front of here but bytes 16 to 27, and of the tags
 *         60    .  tags (packed), value
 *
 * Bytes 16 to 27 stand for themselves: a script takes them over from the record that is replaced.
 * The scripts know this layout (lua/common.lua). Checksums are seeded with the record's name, so
 * one that was copied to another does not verify. Thread: any. */
#ifndef NADB_BACKENDS_REDIS_RECORD_H
#define NADB_BACKENDS_REDIS_RECORD_H

#include "backends/shared.h"
#include "src/base/compress.h"

#define NADB_REDIS_RECORD_FORMAT 1u
#define NADB_REDIS_RECORD_HEAD   60u

/* Where the parts end that a script puts together: what it looks at, and the time of creation. */
#define NADB_REDIS_RECORD_BEGIN   16u
#define NADB_REDIS_RECORD_CREATED 28u

/* A record with its value as it is kept. */
struct nadb_redis_record {
    nadb_stamp stamp;
    struct nadb_entry entry; /* PUT; of the codec and raw_len that it says */
};

/* Writes the head; tags and value come right behind it. */
void nadb_redis_record_write(const struct nadb_redis_record *record, struct nadb_slice name,
    char out[NADB_REDIS_RECORD_HEAD]);

/* Reads what write wrote; slices point into `bytes`. Without `is_whole` the value is not there, or
 * not all of it, and is left out. False: it is no record of that name. */
bool nadb_redis_record_read(
    struct nadb_slice bytes, struct nadb_slice name, bool is_whole, struct nadb_redis_record *ret);

/* How many bytes head and tags take, by the first NADB_REDIS_RECORD_HEAD bytes; 0: no record. */
size_t nadb_redis_record_head_len(struct nadb_slice bytes);

#endif
