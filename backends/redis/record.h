/* A record as the engine has it: one string. There are two kinds, each with a name of its own
 * (names.h), and a key never has both.
 *
 * A full one may have tags and a deadline:
 *
 *     offset size  what (little-endian)
 *          0    1  format: NADB_REDIS_RECORD_FORMAT
 *          1    3  0
 *          4    4  length of the tags
 *          8    8  ends, Unix time in ms; 0: never
 *         16    4  the two halves of the next, added up
 *         20    8  created, Unix time in ms
 *         28    8  stamp
 *         36    6  updated, Unix time in ms
 *         42    1  codec of the value
 *         43    1  0
 *         44    4  length of the value as it was
 *         48    4  checksum of the value as it is kept
 *         52    4  checksum of all in front of here but bytes 16 to 27, and of the tags
 *         56    .  tags (packed), value
 *
 * A plain one has neither, and is that from offset 28 on, the checksums being of what is not there
 * too. When it was created is kept in the index of keys: so a plain record is replaced by another
 * with one command of the engine that knows nothing of the old one.
 *
 * Bytes 16 to 27 stand for themselves: a script takes them over from the record that is replaced,
 * or makes them. The scripts know this layout (lua/common.lua). Checksums are seeded with the
 * keyspace and key, so one that was copied to another does not verify. Thread: any. */
#ifndef NADB_BACKENDS_REDIS_RECORD_H
#define NADB_BACKENDS_REDIS_RECORD_H

#include "backends/shared.h"
#include "src/base/compress.h"

#define NADB_REDIS_RECORD_FORMAT 2u
#define NADB_REDIS_RECORD_HEAD   56u

/* Where the parts end that a script puts together: what it looks at, and the time of creation. */
#define NADB_REDIS_RECORD_BEGIN   16u
#define NADB_REDIS_RECORD_CREATED 28u

/* The head of a plain record. */
#define NADB_REDIS_PLAIN_HEAD (NADB_REDIS_RECORD_HEAD - NADB_REDIS_RECORD_CREATED)

/* May it be a plain one? */
static inline bool nadb_redis_record_is_plain(const struct nadb_entry *entry)
{
    return entry->tags.len == 0 && entry->expire_ms == 0;
}

/* A record with its value as it is kept. */
struct nadb_redis_record {
    nadb_stamp stamp;
    struct nadb_entry entry; /* PUT; of the codec and raw_len that it says */
};

/* What a key and its keyspace are told apart by. */
uint64_t nadb_redis_identity(struct nadb_place place, struct nadb_slice key);

/* Writes the head; tags and value come right behind it. Of a plain record it is what begins at
 * NADB_REDIS_RECORD_CREATED. */
void nadb_redis_record_write(
    const struct nadb_redis_record *record, uint64_t identity, char out[NADB_REDIS_RECORD_HEAD]);

/* Reads what write wrote; slices point into `bytes`. Without `is_whole` the value is not there, or
 * not all of it, and is left out. False: it is no record of that key. */
bool nadb_redis_record_read(
    struct nadb_slice bytes, uint64_t identity, bool is_whole, struct nadb_redis_record *ret);

/* The same of a plain one. The time of creation is not among the bytes: 0. */
bool nadb_redis_record_read_plain(
    struct nadb_slice bytes, uint64_t identity, bool is_whole, struct nadb_redis_record *ret);

#endif
