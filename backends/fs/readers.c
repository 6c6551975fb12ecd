/* This file keeps the table of segments and of their files that are open for reading. */
#include "backends/fs/readers.h"

#include <errno.h>

#include "backends/fs/segment.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

#define PLACES_MIN 16u
#define UNCACHED   NADB_FS_READERS_OPEN_MAX

void nadb_fs_readers_init(struct nadb_fs_readers *readers, const struct nadb_fs_io *io, int dir)
{
    *readers = (struct nadb_fs_readers){.io = io, .dir = dir};
    int result = pthread_mutex_init(&readers->lock, NULL);
    NADB_ASSERT(result == 0); /* a plain mutex needs nothing that could be missing */
    for (size_t i = 0; i < NADB_ARRAY_LEN(readers->files); i++) {
        readers->files[i].file = -1;
    }
}

static void close_entry(struct nadb_fs_readers *readers, struct nadb_fs_open_file *entry)
{
    NADB_ASSERT(entry->users == 0 && entry->file >= 0);
    (void)readers->io->close_file(readers->io, entry->file); /* nothing was written */
    *entry = (struct nadb_fs_open_file){.file = -1};
}

void nadb_fs_readers_fini(struct nadb_fs_readers *readers)
{
    if (readers->io == NULL) {
        return;
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(readers->files); i++) {
        if (readers->files[i].file >= 0) {
            close_entry(readers, &readers->files[i]);
        }
    }
    nadb_mem_free(readers->places);
    (void)pthread_mutex_destroy(&readers->lock); /* fails only while it is held */
    *readers = (struct nadb_fs_readers){.io = NULL};
}

static void lock(struct nadb_fs_readers *readers)
{
    int result = pthread_mutex_lock(&readers->lock);
    NADB_ASSERT(result == 0);
}

static void unlock(struct nadb_fs_readers *readers)
{
    int result = pthread_mutex_unlock(&readers->lock);
    NADB_ASSERT(result == 0);
}

/* ---- what slots name ---- */

static void make_room(struct nadb_fs_readers *readers, uint32_t slot)
{
    NADB_ASSERT(slot < NADB_SEGMENT_SLOTS_MAX);
    if (slot < readers->place_count) {
        return;
    }
    size_t count = readers->place_count < PLACES_MIN ? PLACES_MIN : readers->place_count;
    while (count <= slot) {
        count *= 2;
    }
    readers->places = nadb_mem_realloc(readers->places, count * sizeof(*readers->places));
    for (size_t i = readers->place_count; i < count; i++) {
        readers->places[i] = (struct nadb_fs_place){.is_known = false};
    }
    readers->place_count = count;
}

/* The slot's file, if there is one, goes as soon as nobody uses it. */
static void let_go(struct nadb_fs_readers *readers, uint32_t slot)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(readers->files); i++) {
        struct nadb_fs_open_file *entry = &readers->files[i];
        if (entry->file < 0 || entry->slot != slot || entry->is_removed) {
            continue;
        }
        entry->is_removed = true;
        if (entry->users == 0) {
            close_entry(readers, entry);
        }
    }
}

void nadb_fs_readers_add(struct nadb_fs_readers *readers, uint32_t slot, uint64_t id, uint64_t seed)
{
    lock(readers);
    make_room(readers, slot);
    let_go(readers, slot);
    readers->places[slot] = (struct nadb_fs_place){.is_known = true, .id = id, .seed = seed};
    unlock(readers);
}

void nadb_fs_readers_remove(struct nadb_fs_readers *readers, uint32_t slot)
{
    lock(readers);
    make_room(readers, slot);
    let_go(readers, slot);
    readers->places[slot] = (struct nadb_fs_place){.is_known = false};
    unlock(readers);
}

bool nadb_fs_readers_is_forwarding(struct nadb_fs_readers *readers, uint32_t slot)
{
    lock(readers);
    bool is_forwarding = slot < readers->place_count && readers->places[slot].is_forwarded;
    unlock(readers);
    return is_forwarding;
}

bool nadb_fs_readers_has_guests(struct nadb_fs_readers *readers, uint32_t slot)
{
    lock(readers);
    bool has_guests = slot < readers->place_count && readers->places[slot].has_guests;
    unlock(readers);
    return has_guests;
}

void nadb_fs_readers_forward(
    struct nadb_fs_readers *readers, uint32_t slot, uint64_t from, uint32_t to_slot, uint64_t to)
{
    lock(readers);
    NADB_ASSERT(slot < readers->place_count && to_slot < readers->place_count);
    struct nadb_fs_place *place = &readers->places[slot];
    NADB_ASSERT(place->is_known && place->id < readers->places[to_slot].id);
    readers->places[to_slot].has_guests = true;
    place->is_forwarded = true;
    place->from = from;
    place->to_slot = to_slot;
    place->to = to;
    unlock(readers);
}

/* Where the location's bytes are by now; NULL when no segment has them. */
static const struct nadb_fs_place *resolve(
    const struct nadb_fs_readers *readers, uint32_t *slot, uint64_t *offset)
{
    for (uint64_t id = 0;;) {
        const struct nadb_fs_place *place =
            *slot < readers->place_count ? &readers->places[*slot] : NULL;
        /* Forwarding to a slot that was removed and taken again leads to no older segment. */
        if (place == NULL || !place->is_known || place->id <= id) {
            return NULL;
        }
        if (!place->is_forwarded || *offset < place->from) {
            return place;
        }
        id = place->id;
        *offset = *offset - place->from + place->to;
        *slot = place->to_slot;
    }
}

/* ---- files ---- */

/* The entry that has the slot's file; else a free one or the least recently used that nobody uses;
 * NULL when all are in use. */
static struct nadb_fs_open_file *find_entry(struct nadb_fs_readers *readers, uint32_t slot)
{
    struct nadb_fs_open_file *best = NULL;
    for (size_t i = 0; i < NADB_ARRAY_LEN(readers->files); i++) {
        struct nadb_fs_open_file *entry = &readers->files[i];
        if (entry->file >= 0 && entry->slot == slot && !entry->is_removed) {
            return entry;
        }
        bool is_better = entry->users == 0 && (best == NULL || entry->used < best->used);
        best = is_better ? entry : best; /* free ones were last used at 0 */
    }
    return best;
}

static int open_source(
    struct nadb_fs_readers *readers, uint32_t slot, struct nadb_fs_source *source)
{
    struct nadb_fs_open_file *entry = find_entry(readers, slot);
    bool is_open = entry != NULL && entry->file >= 0 && entry->slot == slot && !entry->is_removed;
    if (!is_open) {
        char name[NADB_SEGMENT_NAME_BYTES];
        nadb_segment_name(name, source->id);
        int file = readers->io->open_file(readers->io, readers->dir, name, NADB_FS_OPEN_READ);
        if (file < 0) {
            return file;
        }
        source->file = file;
        source->entry = UNCACHED;
        if (entry == NULL) {
            return 0;
        }
        if (entry->file >= 0) {
            close_entry(readers, entry);
        }
        *entry = (struct nadb_fs_open_file){.file = file, .slot = slot};
    }
    entry->users++;
    entry->used = ++readers->uses;
    source->file = entry->file;
    source->entry = (unsigned)(entry - readers->files);
    return 0;
}

int nadb_fs_readers_take(struct nadb_fs_readers *readers, uint64_t loc, struct nadb_fs_source *ret)
{
    uint32_t slot = (uint32_t)(loc >> NADB_LOC_OFFSET_BITS);
    uint64_t offset = (loc & ((UINT64_C(1) << NADB_LOC_OFFSET_BITS) - 1)) * NADB_FS_ALIGN;
    int result = -ENODATA;
    lock(readers);
    const struct nadb_fs_place *place = resolve(readers, &slot, &offset);
    if (place != NULL) {
        *ret = (struct nadb_fs_source){
            .file = -1, .id = place->id, .seed = place->seed, .offset = offset};
        result = open_source(readers, slot, ret);
    }
    unlock(readers);
    return result;
}

void nadb_fs_readers_give_back(struct nadb_fs_readers *readers, const struct nadb_fs_source *source)
{
    if (source->entry == UNCACHED) {
        (void)readers->io->close_file(readers->io, source->file); /* nothing was written */
        return;
    }
    lock(readers);
    struct nadb_fs_open_file *entry = &readers->files[source->entry];
    NADB_ASSERT(entry->users > 0);
    entry->users--;
    if (entry->users == 0 && entry->is_removed) {
        close_entry(readers, entry);
    }
    unlock(readers);
}
