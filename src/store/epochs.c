/* This file remembers when tags were invalidated. */
#include "src/store/epochs.h"

#include "src/base/mem.h"

/* As a tag's in the tag index: a record's header makes it fit the map. */
struct entry {
    struct nadb_list in_order;
    struct nadb_epoch epoch;
    struct nadb_rec rec; /* its key is the tag, which follows it */
};

static struct entry *entry_of(struct nadb_rec *rec)
{
    return NADB_CONTAINER_OF(rec, struct entry, rec);
}

struct nadb_epochs *nadb_epochs_new(const struct nadb_hash_key *hash_key, struct nadb_epoch horizon)
{
    struct nadb_epochs *epochs = nadb_mem_zalloc(sizeof(*epochs));
    nadb_index_init(&epochs->names, hash_key);
    nadb_list_init(&epochs->order);
    epochs->horizon = horizon;
    return epochs;
}

static void free_entry(void *ctx, struct nadb_rec *rec)
{
    (void)ctx;
    nadb_mem_free(entry_of(rec));
}

void nadb_epochs_free(struct nadb_epochs *epochs)
{
    if (epochs == NULL) {
        return;
    }
    size_t cursor = 0;
    while (nadb_index_drain(&epochs->names, &cursor, free_entry, NULL)) {
    }
    nadb_mem_free(epochs);
}

static void forget_oldest(struct nadb_epochs *epochs)
{
    struct entry *oldest = NADB_LIST_FIRST(&epochs->order, struct entry, in_order);
    struct nadb_slice tag = nadb_rec_key(&oldest->rec);
    uint64_t hash = nadb_hash(*epochs->names.hash_key, tag);
    nadb_index_remove(&epochs->names, nadb_index_find(&epochs->names, tag, hash), hash);
    nadb_list_remove(&oldest->in_order);
    epochs->horizon = oldest->epoch;
    nadb_mem_free(oldest);
}

void nadb_epochs_note(
    struct nadb_epochs *epochs, struct nadb_slice tag, struct nadb_epoch now, uint64_t max)
{
    uint64_t hash = nadb_hash(*epochs->names.hash_key, tag);
    nadb_index_slot slot = nadb_index_find(&epochs->names, tag, hash);
    struct entry *entry;
    if (slot != NULL) {
        entry = entry_of(nadb_index_rec(slot));
        nadb_list_remove(&entry->in_order);
    } else {
        entry = nadb_mem_zalloc(sizeof(*entry) + tag.len);
        entry->rec.key_len_low = tag.len & 0xffff;
        memcpy((char *)(&entry->rec + 1), tag.data, tag.len);
        nadb_index_insert(&epochs->names, &entry->rec, hash);
    }
    entry->epoch = now;
    nadb_list_append(&epochs->order, &entry->in_order);
    while (epochs->names.count > max) {
        forget_oldest(epochs);
    }
}

struct nadb_epoch nadb_epochs_of(const struct nadb_epochs *epochs, struct nadb_slice tag)
{
    uint64_t hash = nadb_hash(*epochs->names.hash_key, tag);
    nadb_index_slot slot = nadb_index_find(&epochs->names, tag, hash);
    return slot == NULL ? epochs->horizon : entry_of(nadb_index_rec(slot))->epoch;
}
