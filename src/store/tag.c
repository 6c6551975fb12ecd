/* This file keeps the members of one tag. */
#include "src/store/tag.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

struct nadb_tag *nadb_tag_new(struct nadb_slice name)
{
    struct nadb_tag *tag = nadb_mem_zalloc(sizeof(*tag) + name.len);
    tag->rec.key_len_low = name.len & 0xffff;
    memcpy((char *)(&tag->rec + 1), name.data, name.len);
    return tag;
}

void nadb_tag_free(struct nadb_tag *tag)
{
    if (tag->cap == NADB_TAG_IS_BITMAP) {
        nadb_bitmap_free(tag->set.bitmap);
    } else if (tag->cap > 0) {
        nadb_mem_free(tag->set.array);
    }
    nadb_mem_free(tag);
}

static bool is_bitmap(const struct nadb_tag *tag)
{
    return tag->cap == NADB_TAG_IS_BITMAP;
}

size_t nadb_tag_bytes(const struct nadb_tag *tag)
{
    size_t bytes = nadb_mem_usable(tag);
    return tag->cap > 0 && !is_bitmap(tag) ? bytes + nadb_mem_usable(tag->set.array) : bytes;
}

static uint32_t *numbers(const struct nadb_tag *tag)
{
    return tag->cap == 0 ? (uint32_t *)(uintptr_t)tag->set.few : tag->set.array;
}

/* Where `id` is or belongs. */
static size_t find(const struct nadb_tag *tag, uint32_t id)
{
    const uint32_t *ids = numbers(tag);
    size_t low = 0;
    size_t high = tag->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ids[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Room for about a quarter more than there is, as the allocator rounds it. */
static void resize_array(struct nadb_tag *tag)
{
    size_t want = tag->count + tag->count / 4 + 1;
    bool was_few = tag->cap == 0;
    uint32_t *array = nadb_mem_realloc(was_few ? NULL : tag->set.array, want * sizeof(*array));
    if (was_few) {
        memcpy(array, tag->set.few, tag->count * sizeof(*array));
    }
    tag->set.array = array;
    tag->cap = (uint32_t)(nadb_mem_usable(array) / sizeof(*array));
}

static void become_bitmap(struct nadb_tag *tag)
{
    uint32_t *array = tag->set.array;
    tag->set.bitmap = nadb_bitmap_from(array, tag->count);
    tag->cap = NADB_TAG_IS_BITMAP;
    nadb_mem_free(array);
}

static void become_array(struct nadb_tag *tag)
{
    struct nadb_bitmap *bitmap = tag->set.bitmap;
    tag->cap = 0;
    uint32_t *array = nadb_mem_alloc(tag->count * sizeof(*array));
    size_t got = nadb_bitmap_read(bitmap, 0, array, tag->count);
    NADB_ASSERT(got == tag->count);
    tag->set.array = array;
    tag->cap = (uint32_t)(nadb_mem_usable(array) / sizeof(*array));
    nadb_bitmap_free(bitmap);
}

void nadb_tag_add(struct nadb_tag *tag, uint32_t id)
{
    if (is_bitmap(tag)) {
        nadb_bitmap_add(tag->set.bitmap, id);
        tag->count++;
        return;
    }
    if (tag->count == (tag->cap == 0 ? NADB_TAG_FEW : tag->cap)) {
        resize_array(tag);
    }
    size_t at = find(tag, id);
    uint32_t *ids = numbers(tag);
    memmove(&ids[at + 1], &ids[at], (tag->count - at) * sizeof(*ids));
    ids[at] = id;
    tag->count++;
    if (tag->count > NADB_TAG_ARRAY_MAX) {
        become_bitmap(tag);
    }
}

void nadb_tag_remove(struct nadb_tag *tag, uint32_t id)
{
    NADB_ASSERT(tag->count > 0);
    if (is_bitmap(tag)) {
        bool was_there = nadb_bitmap_remove(tag->set.bitmap, id);
        NADB_ASSERT(was_there);
        tag->count--;
        if (tag->count <= NADB_TAG_ARRAY_MAX / 2) {
            become_array(tag);
        }
        return;
    }
    size_t at = find(tag, id);
    uint32_t *ids = numbers(tag);
    NADB_ASSERT(at < tag->count && ids[at] == id);
    tag->count--;
    memmove(&ids[at], &ids[at + 1], (tag->count - at) * sizeof(*ids));
    if (tag->cap > 0 && tag->count <= NADB_TAG_FEW / 2) {
        uint32_t *array = tag->set.array;
        memcpy(tag->set.few, array, tag->count * sizeof(*array));
        nadb_mem_free(array);
        tag->cap = 0;
    } else if (tag->cap > 0 && tag->count < tag->cap / 2) {
        resize_array(tag);
    }
}

bool nadb_tag_has(const struct nadb_tag *tag, uint32_t id)
{
    if (is_bitmap(tag)) {
        return nadb_bitmap_contains(tag->set.bitmap, id);
    }
    size_t at = find(tag, id);
    return at < tag->count && numbers(tag)[at] == id;
}

uint64_t nadb_tag_count_in(const struct nadb_tag *tag, const struct nadb_bitmap *ids)
{
    if (is_bitmap(tag)) {
        return nadb_bitmap_and_count(tag->set.bitmap, ids);
    }
    uint64_t count = 0;
    for (size_t i = 0; i < tag->count; i++) {
        count += nadb_bitmap_contains(ids, numbers(tag)[i]) ? 1 : 0;
    }
    return count;
}

struct nadb_bitmap *nadb_tag_bitmap(const struct nadb_tag *tag, bool *ret_is_own)
{
    *ret_is_own = is_bitmap(tag);
    return is_bitmap(tag) ? tag->set.bitmap : nadb_bitmap_from(numbers(tag), tag->count);
}
