/* This file reads single records back by their locations.
 *
 * The caller knows what it looks for, so one read mostly fetches all of it; only tags, of which it
 * knows nothing, can make a second one necessary. Nothing is believed before the checksum of the
 * whole record holds, not even how long it is: the lengths of its header bound what is allocated
 * only together with the size of the file. What does not verify is read once more, in case a bit
 * was wrong on the way and not on the disk. */
#include <errno.h>
#include <string.h>

#include "backends/fs/fs_internal.h"
#include "backends/fs/record.h"
#include "src/base/mem.h"

/* Room for the tags of most records. */
#define TAGS_GUESS_BYTES 128u

#define ATTEMPTS 2

struct reading {
    struct nadb_fs *fs;
    char *buf; /* owned; shared by the reads of a call */
    size_t cap;
    struct nadb_fs_source source;
};

enum outcome {
    OUTCOME_GOOD,
    OUTCOME_BAD,    /* does not verify, or is something else */
    OUTCOME_NEWER,  /* verifies, and this version does not understand it */
    OUTCOME_FAILED, /* the system said no: sys_errno */
    OUTCOME_NO_MEMORY,
};

/* Reads up to `len` bytes of the record into the buffer. */
static enum outcome fetch(struct reading *r, size_t len, size_t *ret_got, int *ret_errno)
{
    if (len > r->cap) {
        char *buf = nadb_mem_try_realloc(r->buf, len);
        if (buf == NULL) {
            return OUTCOME_NO_MEMORY;
        }
        r->buf = buf;
        r->cap = len;
    }
    const struct nadb_fs_io *io = r->fs->io;
    ssize_t got = nadb_fs_read_full(io, r->source.file, r->buf, len, r->source.offset);
    *ret_errno = got < 0 ? (int)-got : 0;
    *ret_got = got < 0 ? 0 : (size_t)got;
    return got < 0 ? OUTCOME_FAILED : OUTCOME_GOOD;
}

/* Reads the rest of a record of which only a part was fetched. */
static enum outcome fetch_whole(struct reading *r, size_t len, size_t *got, int *ret_errno)
{
    if (len <= *got) {
        return OUTCOME_GOOD;
    }
    uint64_t size = 0;
    int result = r->fs->io->size_file(r->fs->io, r->source.file, &size);
    if (result != 0) {
        *ret_errno = -result;
        return OUTCOME_FAILED;
    }
    if (r->source.offset > size || len > size - r->source.offset) {
        return OUTCOME_BAD;
    }
    enum outcome outcome = fetch(r, len, got, ret_errno);
    return outcome == OUTCOME_GOOD && *got < len ? OUTCOME_BAD : outcome;
}

static enum outcome read_once(struct reading *r, struct nadb_read *read, int *ret_errno)
{
    size_t guess = NADB_RECORD_HEAD_MAX + read->key.len + read->value_len + TAGS_GUESS_BYTES;
    size_t got = 0;
    enum outcome outcome = fetch(r, guess, &got, ret_errno);
    if (outcome != OUTCOME_GOOD) {
        return outcome;
    }
    size_t len = nadb_fs_record_span(r->buf, got);
    if (len == 0) {
        return OUTCOME_BAD;
    }
    outcome = fetch_whole(r, len, &got, ret_errno);
    if (outcome != OUTCOME_GOOD) {
        return outcome;
    }
    uint64_t seed = nadb_offset_seed(r->source.seed, r->source.offset);
    if (!nadb_fs_record_verify(r->buf, len, seed)) {
        return OUTCOME_BAD;
    }
    struct nadb_entry entry;
    size_t bytes = 0;
    enum nadb_fs_check check = nadb_fs_record_get(r->buf, len, &entry, &bytes);
    if (check != NADB_FS_GOOD) {
        return check == NADB_FS_NEWER ? OUTCOME_NEWER : OUTCOME_BAD;
    }
    bool is_wanted = entry.kind == NADB_ENTRY_PUT && entry.version == read->version &&
                     nadb_slice_eq(entry.key, read->key);
    check = is_wanted ? nadb_fs_record_value(&entry, read->value, read->value_len) : NADB_FS_BAD;
    return check == NADB_FS_GOOD ? OUTCOME_GOOD : OUTCOME_BAD;
}

static enum nadb_err tell(
    struct reading *r, enum outcome outcome, int sys_errno, struct nadb_error *reterr)
{
    char name[NADB_SEGMENT_NAME_BYTES];
    nadb_segment_name(name, r->source.id);
    unsigned long long offset = r->source.offset;
    switch (outcome) {
    case OUTCOME_GOOD:
        break;
    case OUTCOME_BAD:
        return nadb_error_set(reterr, NADB_ECORRUPT, 0, "%s:%llu: damaged record", name, offset);
    case OUTCOME_NEWER:
        return nadb_error_set(
            reterr, NADB_EFORMAT, 0, "%s:%llu: written by a newer nadbd", name, offset);
    case OUTCOME_FAILED:
        return nadb_error_set(reterr, NADB_EIO, sys_errno, "%s:%llu: read", name, offset);
    case OUTCOME_NO_MEMORY:
        return nadb_error_set(reterr, NADB_ENOMEM, 0, "not enough memory to read a value");
    }
    return NADB_OK;
}

static enum nadb_err read_one(struct reading *r, struct nadb_read *read, struct nadb_error *reterr)
{
    int result = nadb_fs_readers_take(&r->fs->readers, read->loc, &r->source);
    if (result == -ENODATA) {
        return nadb_error_set(reterr, NADB_ECORRUPT, 0, "location %llx: there is no such segment",
            (unsigned long long)read->loc);
    }
    if (result != 0) {
        return tell(r, OUTCOME_FAILED, -result, reterr);
    }
    int sys_errno = 0;
    enum outcome outcome = OUTCOME_BAD;
    for (int i = 0; i < ATTEMPTS && outcome == OUTCOME_BAD; i++) {
        outcome = read_once(r, read, &sys_errno);
    }
    nadb_fs_readers_give_back(&r->fs->readers, &r->source);
    return tell(r, outcome, sys_errno, reterr);
}

void nadb_fs__read(struct nadb_fs *fs, struct nadb_read *reads, size_t count)
{
    struct reading r = {.fs = fs};
    for (size_t i = 0; i < count; i++) {
        reads[i].err = read_one(&r, &reads[i], &reads[i].error);
    }
    nadb_mem_free(r.buf);
}
