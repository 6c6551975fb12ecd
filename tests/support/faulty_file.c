/* This file keeps the two states of a file and decides what a loss of power leaves of it. */
#include "tests/support/faulty_file.h"

#include <string.h>

#include "src/base/mem.h"

static void blob_extend(struct nadb_faulty_blob *blob, size_t len)
{
    if (len > blob->cap) {
        size_t cap = blob->cap == 0 ? NADB_FAULTY_PAGE_BYTES : blob->cap;
        while (cap < len) {
            cap *= 2;
        }
        blob->bytes = nadb_mem_realloc(blob->bytes, cap);
        blob->cap = cap;
    }
    if (len > blob->len) {
        memset(blob->bytes + blob->len, 0, len - blob->len);
        blob->len = len;
    }
    if (len > blob->size) {
        blob->size = len;
    }
}

static void blob_resize(struct nadb_faulty_blob *blob, uint64_t size)
{
    if (size < blob->len) {
        blob->len = (size_t)size;
    }
    blob->size = size;
}

static void blob_write(
    struct nadb_faulty_blob *blob, uint64_t offset, const void *bytes, size_t len)
{
    if (len > 0) {
        blob_extend(blob, (size_t)offset + len);
        memcpy(blob->bytes + offset, bytes, len);
    }
}

static uint8_t blob_at(const struct nadb_faulty_blob *blob, uint64_t offset)
{
    return offset < blob->len ? blob->bytes[offset] : 0;
}

static size_t blob_read(const struct nadb_faulty_blob *blob, uint64_t offset, void *out, size_t len)
{
    if (offset >= blob->size) {
        return 0;
    }
    if (len > blob->size - offset) {
        len = (size_t)(blob->size - offset);
    }
    size_t kept = offset < blob->len ? blob->len - (size_t)offset : 0;
    kept = kept < len ? kept : len;
    if (kept > 0) {
        memcpy(out, blob->bytes + offset, kept);
    }
    memset((char *)out + kept, 0, len - kept);
    return len;
}

static void blob_copy(struct nadb_faulty_blob *to, const struct nadb_faulty_blob *from)
{
    to->len = 0;
    to->size = 0;
    blob_write(to, 0, from->bytes, from->len);
    blob_resize(to, from->size);
}

static void mark_dirty(struct nadb_faulty_file *file, uint64_t from, uint64_t to)
{
    from -= from % NADB_FAULTY_PAGE_BYTES;
    to = (to + NADB_FAULTY_PAGE_BYTES - 1) / NADB_FAULTY_PAGE_BYTES * NADB_FAULTY_PAGE_BYTES;
    if (file->dirty_from == file->dirty_to) {
        file->dirty_from = from;
        file->dirty_to = to;
    } else {
        file->dirty_from = from < file->dirty_from ? from : file->dirty_from;
        file->dirty_to = to > file->dirty_to ? to : file->dirty_to;
    }
    for (uint64_t page = from / NADB_FAULTY_PAGE_BYTES; page < to / NADB_FAULTY_PAGE_BYTES;
         page++) {
        if (page < file->forgotten_count) {
            file->forgotten[page] = 0;
        }
    }
}

void nadb_faulty_file_write(struct nadb_faulty_file *file, const struct iovec *pieces, size_t count,
    uint64_t offset, size_t len)
{
    if (len > 0) {
        mark_dirty(file, offset, offset + len);
    }
    for (size_t i = 0; i < count && len > 0; i++) {
        size_t part = pieces[i].iov_len < len ? pieces[i].iov_len : len;
        blob_write(&file->now, offset, pieces[i].iov_base, part);
        offset += part;
        len -= part;
    }
    file->allocated = file->now.size > file->allocated ? file->now.size : file->allocated;
}

static bool is_forgotten(const struct nadb_faulty_file *file, uint64_t page)
{
    return page < file->forgotten_count && file->forgotten[page] != 0;
}

void nadb_faulty_file_sync(struct nadb_faulty_file *file)
{
    for (uint64_t at = file->dirty_from; at < file->dirty_to; at += NADB_FAULTY_PAGE_BYTES) {
        if (at < file->now.len && !is_forgotten(file, at / NADB_FAULTY_PAGE_BYTES)) {
            size_t len = file->now.len - (size_t)at;
            blob_write(&file->disk, at, file->now.bytes + at,
                len < NADB_FAULTY_PAGE_BYTES ? len : NADB_FAULTY_PAGE_BYTES);
        }
    }
    blob_resize(&file->disk, file->now.size);
    for (uint64_t at = file->now.len; at < file->disk.len; at++) {
        file->disk.bytes[at] = 0; /* a hole, whatever was there before */
    }
    file->dirty_from = file->dirty_to = 0;
}

void nadb_faulty_file_forget(struct nadb_faulty_file *file)
{
    size_t pages = (size_t)(file->dirty_to / NADB_FAULTY_PAGE_BYTES);
    if (pages > file->forgotten_count) {
        file->forgotten = nadb_mem_realloc(file->forgotten, pages);
        memset(file->forgotten + file->forgotten_count, 0, pages - file->forgotten_count);
        file->forgotten_count = pages;
    }
    for (uint64_t at = file->dirty_from; at < file->dirty_to; at += NADB_FAULTY_PAGE_BYTES) {
        file->forgotten[at / NADB_FAULTY_PAGE_BYTES] = 1;
    }
    file->dirty_from = file->dirty_to = 0;
}

void nadb_faulty_file_resize(struct nadb_faulty_file *file, uint64_t size)
{
    if (size < file->now.size) {
        mark_dirty(file, size, file->now.size);
    }
    blob_resize(&file->now, size);
    file->allocated = size;
}

void nadb_faulty_file_wipe(struct nadb_faulty_file *file)
{
    nadb_mem_free(file->now.bytes);
    nadb_mem_free(file->disk.bytes);
    nadb_mem_free(file->forgotten);
    *file = (struct nadb_faulty_file){0};
}

enum nadb_fate nadb_fate_random(struct nadb_rng *rng)
{
    return (enum nadb_fate)nadb_rng_below(rng, NADB_FATES);
}

enum page_fate {
    PAGE_OLD,
    PAGE_NEW,
    PAGE_TORN,
    PAGE_ZEROS,
    PAGE_GARBAGE,
    PAGE_FATES,
};

static enum page_fate page_fate_of(struct nadb_rng *rng, enum nadb_fate fate)
{
    switch (fate) {
    case NADB_FATE_OLD:
        return PAGE_OLD;
    case NADB_FATE_NEW:
        return PAGE_NEW;
    case NADB_FATE_MIXED:
    case NADB_FATES:
    default:
        return (enum page_fate)nadb_rng_below(rng, PAGE_FATES);
    }
}

static uint8_t surviving_byte(struct nadb_rng *rng, enum page_fate fate, uint8_t old_byte,
    uint8_t new_byte, bool is_before_tear)
{
    switch (fate) {
    case PAGE_OLD:
        return old_byte;
    case PAGE_NEW:
        return new_byte;
    case PAGE_TORN:
        return is_before_tear ? new_byte : old_byte;
    case PAGE_ZEROS:
        return 0;
    case PAGE_GARBAGE:
    case PAGE_FATES:
    default:
        return (uint8_t)nadb_rng_next(rng);
    }
}

static uint64_t surviving_size(
    struct nadb_rng *rng, const struct nadb_faulty_file *file, enum nadb_fate fate)
{
    uint64_t low = file->disk.size < file->now.size ? file->disk.size : file->now.size;
    uint64_t high = file->disk.size < file->now.size ? file->now.size : file->disk.size;
    if (fate == NADB_FATE_OLD) {
        return file->disk.size;
    }
    if (fate == NADB_FATE_NEW) {
        return file->now.size;
    }
    return low + nadb_rng_below(rng, high - low + 1);
}

static void cut_page(
    struct nadb_rng *rng, struct nadb_faulty_file *file, size_t at, enum nadb_fate fate)
{
    uint8_t old_bytes[NADB_FAULTY_PAGE_BYTES] = {0};
    uint8_t new_bytes[NADB_FAULTY_PAGE_BYTES] = {0};
    size_t len = blob_read(&file->now, at, new_bytes, NADB_FAULTY_PAGE_BYTES);
    size_t old_len = blob_read(&file->disk, at, old_bytes, NADB_FAULTY_PAGE_BYTES);
    len = len > old_len ? len : old_len;
    if (memcmp(old_bytes, new_bytes, len) == 0) {
        return;
    }
    enum page_fate page = page_fate_of(rng, fate);
    size_t tear = (size_t)nadb_rng_below(rng, NADB_FAULTY_PAGE_BYTES);
    for (size_t i = 0; i < len; i++) {
        if (old_bytes[i] != new_bytes[i]) {
            old_bytes[i] = surviving_byte(rng, page, old_bytes[i], new_bytes[i], i < tear);
        }
    }
    blob_write(&file->disk, at, old_bytes, len);
}

void nadb_faulty_file_cut(struct nadb_faulty_file *file, struct nadb_rng *rng)
{
    enum nadb_fate fate = nadb_fate_random(rng);
    uint64_t size = surviving_size(rng, file, fate);
    size_t len = file->now.len > file->disk.len ? file->now.len : file->disk.len;
    for (size_t at = 0; at < len; at += NADB_FAULTY_PAGE_BYTES) {
        cut_page(rng, file, at, fate);
    }
    blob_resize(&file->disk, size);
    blob_copy(&file->now, &file->disk);
    file->allocated = size;
    file->dirty_from = file->dirty_to = 0;
    file->forgotten_count = 0;
}

size_t nadb_faulty_file_read(
    const struct nadb_faulty_file *file, uint64_t offset, void *out, size_t len)
{
    return blob_read(&file->now, offset, out, len);
}

void nadb_faulty_file_allocate(struct nadb_faulty_file *file, uint64_t end)
{
    if (file->now.size < end) {
        blob_resize(&file->now, end);
    }
    file->allocated = file->allocated < end ? end : file->allocated;
}

void nadb_faulty_file_settle(struct nadb_faulty_file *file)
{
    blob_copy(&file->disk, &file->now);
    file->dirty_from = file->dirty_to = 0;
}

void nadb_faulty_file_flip(struct nadb_faulty_file *file, uint64_t offset, uint8_t mask)
{
    uint8_t byte = blob_at(&file->now, offset) ^ mask;
    blob_write(&file->now, offset, &byte, 1);
    blob_write(&file->disk, offset, &byte, 1);
}
