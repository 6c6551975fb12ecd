/* One entry as bytes in a segment, see format.h. Pure functions of bytes. Thread: any. */
#ifndef NADB_BACKENDS_FS_RECORD_H
#define NADB_BACKENDS_FS_RECORD_H

#include <stdbool.h>

#include "backends/backend.h"
#include "backends/fs/format.h"

/* Bytes that the entry takes, padding included. */
size_t nadb_fs_record_bytes(const struct nadb_entry *entry);

/* Writes the part before the key, checksum left 0; `out` has NADB_RECORD_HEAD_MAX bytes. Returns
 * the length. */
size_t nadb_fs_record_put_head(char *out, const struct nadb_entry *entry);

/* Writes all of it, checksum included; `out` has nadb_fs_record_bytes. `seed` is that of the
 * record's offset. Returns the length. */
size_t nadb_fs_record_put(char *out, const struct nadb_entry *entry, uint64_t seed);

/* Reads the record that starts at `bytes`, of which `len` are there. On NADB_FS_GOOD *ret borrows
 * from `bytes` and *ret_bytes is the length with padding. Checks every length and bound, not the
 * checksum. */
enum nadb_fs_check nadb_fs_record_get(
    const char *bytes, size_t len, struct nadb_entry *ret, size_t *ret_bytes);

/* How long the record is that starts at `bytes`, of which `len` are there, by what its header says;
 * 0 when that is nothing a record can be. Not to be believed before the checksum holds. */
size_t nadb_fs_record_span(const char *bytes, size_t len);

/* Of the value that was put in. */
static inline size_t nadb_fs_record_value_len(const struct nadb_entry *entry)
{
    return entry->codec == NADB_CODEC_RAW ? entry->value.len : entry->raw_len;
}

/* Writes the value of a PUT that nadb_fs_record_get gave, as it was put in, to `out`, which has
 * `len` bytes. NADB_FS_BAD: the value is not as long, or cannot be expanded to it. */
enum nadb_fs_check nadb_fs_record_value(const struct nadb_entry *entry, void *out, size_t len);

/* Does the checksum of a record of `len` bytes hold? */
bool nadb_fs_record_verify(const char *bytes, size_t len, uint64_t seed);

#endif
