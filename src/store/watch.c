/* This file knows which client watches which key (WATCH), so that a change costs nothing while
 * nobody watches and a look into one bucket otherwise. Keys are told apart by their 64-bit keyed
 * hash: two keys with the same hash would only abort a transaction that need not have been. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/attempt.h"
#include "src/store/store_internal.h"

struct nadb_watch {
    struct nadb_watch *bucket_next;
    struct nadb_watch *watcher_next;
    struct nadb_watcher *watcher;
    struct nadb_keyspace *keyspace; /* referenced */
    uint64_t hash;
    uint64_t stamp; /* shared backends: of the record that is watched */
    size_t key_len;
    char key[];
};

static struct nadb_watch **bucket_of(struct nadb_store *store, uint64_t hash)
{
    return &store->watches.buckets[hash & (store->watches.bucket_count - 1)];
}

/* Makes the buckets as many as there are watches, however many clients ask for. */
static void make_room(struct nadb_store *store)
{
    struct nadb_watch_table *table = &store->watches;
    if (table->count < table->bucket_count) {
        return;
    }
    struct nadb_watch **old = table->buckets;
    size_t old_count = table->bucket_count;
    table->bucket_count = old_count == 0 ? NADB_WATCH_BUCKETS : old_count * 2;
    table->buckets = nadb_mem_zalloc(table->bucket_count * sizeof(struct nadb_watch *));
    for (size_t i = 0; i < old_count; i++) {
        for (struct nadb_watch *watch = old[i], *next; watch != NULL; watch = next) {
            next = watch->bucket_next;
            struct nadb_watch **bucket = bucket_of(store, watch->hash);
            watch->bucket_next = *bucket;
            *bucket = watch;
        }
    }
    nadb_mem_free(old);
}

static size_t watch_bytes(const struct nadb_watch *watch)
{
    return sizeof(*watch) + watch->key_len;
}

void nadb_store_watch(struct nadb_store *store, struct nadb_watcher *watcher,
    struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    uint64_t stamp = 0;
    if (store->shared != NULL) {
        stamp = nadb_shared__stamp(store, keyspace->space, key);
        if (nadb_store_lacks(store)) {
            return; /* it is called again */
        }
    }
    make_room(store);
    /* A key that is due goes now, so that its end is not taken for a change later. */
    (void)nadb_store_peek(store, keyspace, key);
    for (struct nadb_watch *watch = *bucket_of(store, key->hash); watch != NULL;
         watch = watch->bucket_next) {
        if (watch->watcher == watcher && watch->keyspace == keyspace && watch->hash == key->hash) {
            return;
        }
    }
    struct nadb_watch *watch = nadb_mem_alloc(sizeof(*watch) + key->name.len);
    struct nadb_watch **bucket = bucket_of(store, key->hash);
    *watch = (struct nadb_watch){
        .bucket_next = *bucket,
        .watcher_next = watcher->watches,
        .watcher = watcher,
        .keyspace = keyspace,
        .hash = key->hash,
        .stamp = stamp,
        .key_len = key->name.len,
    };
    memcpy(watch->key, key->name.data, key->name.len);
    nadb_keyspace_ref(keyspace);
    *bucket = watch;
    watcher->watches = watch;
    watcher->bytes += watch_bytes(watch);
    store->watches.count++;
}

void nadb_store_unwatch(struct nadb_store *store, struct nadb_watcher *watcher)
{
    while (watcher->watches != NULL) {
        struct nadb_watch *watch = watcher->watches;
        watcher->watches = watch->watcher_next;
        struct nadb_watch **at = bucket_of(store, watch->hash);
        while (*at != watch) {
            at = &(*at)->bucket_next;
        }
        *at = watch->bucket_next;
        store->watches.count--;
        nadb_keyspace_unref(store, watch->keyspace);
        nadb_mem_free(watch);
    }
    watcher->bytes = 0;
    watcher->is_dirty = false;
    if (store->watches.count == 0) {
        nadb_mem_free(store->watches.buckets);
        store->watches = (struct nadb_watch_table){0};
    }
}

bool nadb_store_watch_is_dirty(struct nadb_store *store, struct nadb_watcher *watcher)
{
    for (struct nadb_watch *watch = watcher->watches; watch != NULL; watch = watch->watcher_next) {
        /* Looking at a key that is due removes it, and that touches it. Also for a watcher that is
         * dirty already: that it is may be told only when what touched it is durable. */
        struct nadb_key key = {nadb_slice_of(watch->key, watch->key_len), watch->hash};
        if (store->shared != NULL) {
            uint64_t stamp = nadb_shared__stamp(store, watch->keyspace->space, &key);
            watcher->is_dirty |= !nadb_store_lacks(store) && stamp != watch->stamp;
            continue;
        }
        (void)nadb_store_peek(store, watch->keyspace, &key);
    }
    return watcher->is_dirty;
}

void nadb_watch__touch(
    struct nadb_store *store, const struct nadb_keyspace *keyspace, uint64_t hash)
{
    if (store->watches.count == 0) {
        return;
    }
    for (struct nadb_watch *watch = *bucket_of(store, hash); watch != NULL;
         watch = watch->bucket_next) {
        if (watch->hash == hash && watch->keyspace == keyspace) {
            watch->watcher->is_dirty = true;
        }
    }
}

/* The record of a watched key, due or dying as it may be; NULL: there is none. */
static const struct nadb_rec *find_rec(
    const struct nadb_keyspace *keyspace, const struct nadb_watch *watch)
{
    nadb_index_slot slot = nadb_index_find(
        &keyspace->space->index, nadb_slice_of(watch->key, watch->key_len), watch->hash);
    return slot == NULL ? NULL : nadb_index_rec(slot);
}

static bool has_key(const struct nadb_keyspace *keyspace, const struct nadb_watch *watch)
{
    const struct nadb_rec *rec = keyspace == NULL ? NULL : find_rec(keyspace, watch);
    return rec != NULL && !nadb_space__is_dying(keyspace->space, rec);
}

void nadb_watch__touch_spaces(
    struct nadb_store *store, const struct nadb_keyspace *a, const struct nadb_keyspace *b)
{
    for (size_t i = 0; i < store->watches.bucket_count; i++) {
        for (struct nadb_watch *watch = store->watches.buckets[i]; watch != NULL;
             watch = watch->bucket_next) {
            if ((watch->keyspace == a || watch->keyspace == b) &&
                (has_key(a, watch) || has_key(b, watch))) {
                watch->watcher->is_dirty = true;
            }
        }
    }
}

void nadb_watch__touch_dying(struct nadb_store *store, const struct nadb_keyspace *keyspace)
{
    for (size_t i = 0; i < store->watches.bucket_count; i++) {
        for (struct nadb_watch *watch = store->watches.buckets[i]; watch != NULL;
             watch = watch->bucket_next) {
            const struct nadb_rec *rec =
                watch->keyspace == keyspace ? find_rec(keyspace, watch) : NULL;
            if (rec != NULL && nadb_space__is_dying(keyspace->space, rec)) {
                watch->watcher->is_dirty = true;
            }
        }
    }
}
