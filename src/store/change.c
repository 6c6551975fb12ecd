/* This file changes records: the only place where index, wheel, write buffer and watches move
 * together.
 *
 * Two ways to change: in place, when nobody else may look at the record (see
 * nadb_store__is_editable) and its layout stays; otherwise a new record takes the old one's place
 * everywhere. Both end in the same bookkeeping. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define BLOB_GROW_MAX   (64u << 20) /* a growing value gets at most this much more than it needs */
#define EXPIRE_MS_LIMIT ((uint64_t)1 << 48)

/* ---- bookkeeping ---- */

/* The number of a change that others may see. */
static uint64_t count_change(
    struct nadb_store *store, const struct nadb_space *space, uint64_t hash)
{
    uint64_t version = ++store->version;
    store->stats.changes_unsaved++;
    if (store->durability == NADB_DURABILITY_ALWAYS) {
        store->touched[hash % NADB_TOUCHED_COUNT] = version;
        store->unsure = version;
    }
    if (NADB_UNLIKELY(store->watches.count > 0) && store->shared == NULL) {
        nadb_watch__touch(store, space->owner, hash);
    }
    return version;
}

/* Likewise, of the command under way. */
static uint64_t next_version(
    struct nadb_store *store, const struct nadb_space *space, uint64_t hash)
{
    NADB_ASSERT(store->cmd_is_open);
    store->cmd_wrote = true;
    if (NADB_UNLIKELY(store->shared != NULL)) {
        nadb_shared__note_change(store, space, hash);
    }
    return count_change(store, space, hash);
}

static void stamp(struct nadb_store *store, struct nadb_rec *rec, uint64_t version)
{
    rec->version = version & (((uint64_t)1 << NADB_REC_VERSION_BITS) - 1);
    rec->updated_ms = store->now_ms & (((uint64_t)1 << 42) - 1);
    rec->accessed_s = (store->now_ms / 1000) & ((1u << NADB_REC_ACCESSED_BITS) - 1);
}

static void arm(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec)
{
    if (rec->flags & NADB_REC_HAS_TTL) {
        nadb_rec_ttl_part(rec)->keyspace = space->id;
        nadb_space__count_ttl(space, rec);
        nadb_wheel_arm(store->wheel, rec);
    }
}

static void disarm(struct nadb_space *space, struct nadb_rec *rec)
{
    if (rec->flags & NADB_REC_HAS_TTL) {
        nadb_wheel_cancel(rec);
        nadb_space__uncount_ttl(space, rec);
    }
}

static void exchange_tags(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *old, struct nadb_rec *rec)
{
    bool had_tags = old != NULL && (old->flags & NADB_REC_HAS_TAGS);
    bool has_tags = rec != NULL && (rec->flags & NADB_REC_HAS_TAGS);
    if (had_tags && has_tags) {
        nadb_tagindex_replace(space->tags, old, rec);
    } else if (had_tags) {
        nadb_tagindex_remove(space->tags, old);
    } else if (has_tags) {
        if (space->tags == NULL) {
            space->tags = nadb_tagindex_new(&store->hash_key);
        }
        nadb_tagindex_add(space->tags, rec);
    }
}

void nadb_change__exchange(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *old, struct nadb_rec *rec)
{
    if (NADB_UNLIKELY(store->shared != NULL)) {
        return; /* there is no wheel, no tag index and no use of segments that could follow */
    }
    bool is_followed = space->dying != NULL || space->pass != NULL;
    store->cold.count -= old != NULL && nadb_rec_is_cold(old);
    store->cold.count += rec != NULL && nadb_rec_is_cold(rec);
    if (NADB_UNLIKELY(is_followed) && old != NULL) {
        nadb_pass__note_unlink(space, old);
        nadb_dying__note_unlink(space, old);
    }
    if (old != NULL) {
        disarm(space, old);
        if (nadb_store__is_placed(old)) {
            nadb_usage__drop(store, nadb_rec_place(old), nadb_wbuf__cost(old), rec != NULL);
        }
    }
    if (rec != NULL) {
        arm(store, space, rec);
        if (nadb_store__is_placed(rec)) {
            nadb_usage__take(store, nadb_rec_place(rec), nadb_wbuf__cost(rec));
        }
    }
    if (NADB_UNLIKELY(((old != NULL ? old->flags : 0u) | (rec != NULL ? rec->flags : 0u)) &
                      NADB_REC_HAS_TAGS)) {
        exchange_tags(store, space, old, rec);
    }
    if (NADB_UNLIKELY(is_followed) && rec != NULL) {
        nadb_dying__note_linked(space, rec);
        nadb_pass__note_linked(space, rec);
    }
}

enum removal {
    REMOVAL_WISH,   /* a command's; or the record is replaced */
    REMOVAL_EXPIRY, /* the backend knows the deadline and learns that it has passed */
    REMOVAL_BURIAL, /* the backend has, or will have, the invalidation */
};

/* What was replaced or removed goes where it may be needed again, or away. */
static void retire_old(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *old,
    struct nadb_rec *rec, uint64_t version, enum removal removal)
{
    uint64_t dead_by = removal == REMOVAL_BURIAL ? space->dying->version : 0;
    bool is_dead = removal == REMOVAL_BURIAL && !nadb_dying__may_return(store, space);
    if (store->durability == NADB_DURABILITY_ALWAYS && !store->is_volatile && !is_dead) {
        nadb_undo__push(store, &(struct nadb_undo){.kind = NADB_UNDO_RECORD,
                                   .is_expiry = removal == REMOVAL_EXPIRY,
                                   .left_dirty = old != NULL && (old->flags & NADB_REC_IS_DIRTY),
                                   .dead_by = dead_by,
                                   .version = version,
                                   .space = space,
                                   .old = old,
                                   .rec = rec});
    } else if (old != NULL) {
        nadb_flight__dispose(store, old, rec != NULL);
    }
}

/* The record has been changed where it is: `cost_before` is what the buffer counted for it. */
static void note_edit(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec, uint64_t cost_before)
{
    if (store->is_volatile) {
        return;
    }
    if (rec->flags & NADB_REC_IS_DIRTY) {
        store->buf.bytes = store->buf.bytes - cost_before + nadb_wbuf__cost(rec);
    } else {
        if (rec->flags & NADB_REC_HAS_DISK) {
            nadb_usage__drop(store, nadb_rec_place(rec), cost_before, true);
        }
        nadb_wbuf__put(store, space, rec);
    }
}

/* The new record `rec` becomes the key's; `slot` is the old one's or NULL. */
static void install(struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot,
    struct nadb_rec *rec, uint64_t hash)
{
    struct nadb_rec *old = slot == NULL ? NULL : nadb_index_rec(slot);
    nadb_space__name(store, space);
    uint64_t version = next_version(store, space, hash);
    stamp(store, rec, version);
    rec->created_ms = old == NULL ? rec->updated_ms : old->created_ms;
    bool is_dirty = false;
    if (old != NULL) {
        nadb_change__exchange(store, space, old, rec);
        nadb_index_replace(slot, rec);
        bool is_frozen = nadb_store__is_frozen(store, old);
        is_dirty = (old->flags & NADB_REC_IS_DIRTY) && !is_frozen;
        if (is_frozen || (old->flags & NADB_REC_HAS_DISK)) {
            rec->flags |= NADB_REC_HAS_DISK;
        }
    } else if (NADB_LIKELY(store->shared == NULL)) {
        nadb_index_insert(&space->index, rec, hash);
        nadb_change__exchange(store, space, NULL, rec);
    } else {
        nadb_shared__insert(store, space, rec, hash);
    }
    if (is_dirty) {
        nadb_wbuf__replace(store, old, rec, NADB_WBUF_PUT);
    } else if (!store->is_volatile) {
        nadb_wbuf__put(store, space, rec);
    }
    retire_old(store, space, old, rec, version, REMOVAL_WISH);
}

/* ---- removing ---- */

static struct nadb_rec *tombstone_new(const struct nadb_rec *rec, uint64_t version)
{
    struct nadb_rec *tomb = nadb_rec_new(&(struct nadb_rec_parts){.key = nadb_rec_key(rec)});
    tomb->version = version & (((uint64_t)1 << NADB_REC_VERSION_BITS) - 1);
    return tomb;
}

/* The backend must learn that what had expired by now is gone. */
static void note_mark(struct nadb_store *store)
{
    if (!store->needs_mark) {
        store->needs_mark = true;
        store->mark_us = store->now_us;
        store->mark_ms = 0;
    }
    store->mark_ms = store->now_ms > store->mark_ms ? store->now_ms : store->mark_ms;
}

/* Takes the record out of the index. The backend needs a tombstone if it may have the key, unless
 * it knows already, or will, why what it has is gone. */
static void remove_rec(struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot,
    uint64_t hash, uint64_t version, enum removal removal)
{
    struct nadb_rec *rec = nadb_index_rec(slot);
    nadb_change__exchange(store, space, rec, NULL);
    if (NADB_LIKELY(store->shared == NULL)) {
        nadb_index_remove(&space->index, slot, hash);
    } else {
        *slot = 0;
    }
    bool is_frozen = nadb_store__is_frozen(store, rec);
    bool is_dirty = (rec->flags & NADB_REC_IS_DIRTY) && !is_frozen;
    bool has_disk = is_frozen || (rec->flags & NADB_REC_HAS_DISK);
    if (removal == REMOVAL_EXPIRY && has_disk && !is_dirty) {
        note_mark(store);
    }
    if (has_disk && (is_dirty || removal == REMOVAL_WISH)) {
        struct nadb_rec *tomb = tombstone_new(rec, version);
        if (is_dirty) {
            nadb_wbuf__replace(store, rec, tomb, NADB_WBUF_DELETE);
        } else {
            nadb_wbuf__delete(store, space, tomb);
        }
    } else if (is_dirty) {
        nadb_wbuf__replace(store, rec, NULL, NADB_WBUF_PUT);
    }
    retire_old(store, space, rec, NULL, version, removal);
}

/* Expiry happens outside commands too, and nobody waits for it: the version counts on only so that
 * the undo log stays in order. */
static void expire_slot(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash)
{
    store->stats.expired += store->shared == NULL; /* an engine tells itself how many */
    if (NADB_UNLIKELY(store->watches.count > 0)) {
        nadb_watch__touch(store, space->owner, hash);
    }
    remove_rec(store, space, slot, hash, ++store->version, REMOVAL_EXPIRY);
}

void nadb_change__bury(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash)
{
    remove_rec(store, space, slot, hash, ++store->version, REMOVAL_BURIAL);
}

void nadb_change__delete(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash)
{
    remove_rec(store, space, slot, hash, next_version(store, space, hash), REMOVAL_WISH);
}

void nadb_change__evict(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash)
{
    remove_rec(store, space, slot, hash, count_change(store, space, hash), REMOVAL_WISH);
}

void nadb_change__expire(struct nadb_store *store, struct nadb_rec *rec)
{
    uint16_t id = nadb_rec_ttl_part(rec)->keyspace;
    struct nadb_space *space = id < store->spaces_cap ? store->spaces[id] : NULL;
    struct nadb_slice name = nadb_rec_key(rec);
    uint64_t hash = nadb_hash(store->hash_key, name);
    nadb_index_slot slot = space == NULL ? NULL : nadb_index_find(&space->index, name, hash);
    /* A discarded record may still have been in the wheel: it is nobody's key any more. */
    if (slot == NULL || nadb_index_rec(slot) != rec) {
        return;
    }
    if (nadb_space__is_dying(space, rec)) {
        nadb_change__bury(store, space, slot, hash);
    } else {
        expire_slot(store, space, slot, hash);
    }
}

/* The slot, or NULL: its record is out of sight, or was due. */
static nadb_index_slot if_live(struct nadb_store *store, struct nadb_space *space,
    const struct nadb_key *key, nadb_index_slot slot)
{
    if (slot == NULL) {
        return NULL;
    }
    const struct nadb_rec *rec = nadb_index_rec(slot);
    if (nadb_space__is_dying(space, rec)) {
        nadb_change__bury(store, space, slot, key->hash);
        return NULL;
    }
    if (NADB_UNLIKELY(rec->flags & NADB_REC_HAS_TTL) &&
        nadb_rec_ttl_part(rec)->expire_ms <= store->now_ms) {
        expire_slot(store, space, slot, key->hash);
        return NULL;
    }
    return slot;
}

nadb_index_slot nadb_change__find_live(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key)
{
    if (NADB_UNLIKELY(store->unsure != 0)) {
        nadb_store__note_seen(store, key->hash);
    }
    nadb_index_slot slot = NADB_UNLIKELY(store->shared != NULL)
                               ? nadb_shared__look(store, space, key)
                               : nadb_index_find(&space->index, key->name, key->hash);
    return if_live(store, space, key, slot);
}

/* The slot of a record that is replaced whatever it is: a shared backend need not fetch it. */
static nadb_index_slot find_to_put(struct nadb_store *store, struct nadb_space *space,
    const struct nadb_key *key, const struct nadb_put *put)
{
    if (NADB_LIKELY(store->shared == NULL) || put->keep_ttl || put->keep_tags) {
        return nadb_change__find_live(store, space, key);
    }
    return if_live(store, space, key, nadb_shared__look_to_put(store, space, key));
}

bool nadb_store_delete(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    struct nadb_space *space = keyspace->space;
    nadb_index_slot slot = nadb_change__find_live(store, space, key);
    if (slot == NULL) {
        return false;
    }
    nadb_change__delete(store, space, slot, key->hash);
    return true;
}

/* ---- writing ---- */

static void set_deadline(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec, uint64_t expire_ms)
{
    if (store->shared != NULL) {
        nadb_rec_ttl_part(rec)->expire_ms = expire_ms & (EXPIRE_MS_LIMIT - 1);
    } else if (nadb_rec_expire_ms(rec) != expire_ms) {
        disarm(space, rec);
        nadb_rec_ttl_part(rec)->expire_ms = expire_ms & (EXPIRE_MS_LIMIT - 1);
        arm(store, space, rec);
    }
}

/* Room for a value of `len` bytes inside the record as it is; NULL if it needs another shape. */
static char *room_in_place(const struct nadb_rec *rec, size_t len)
{
    if (nadb_rec_is_cold(rec)) {
        return NULL;
    }
    if (rec->flags & NADB_REC_HAS_BLOB) {
        struct nadb_blob *blob = *nadb_rec_blob_part(rec);
        bool is_worth_it = len > NADB_REC_INLINE_MAX && len >= blob->cap / 4;
        return blob->refs == 1 && len <= blob->cap && is_worth_it ? blob->data : NULL;
    }
    size_t fixed = nadb_rec_key_offset(rec) + nadb_rec_key_len(rec);
    bool is_same_size = nadb_rec_rounded(fixed + len) == nadb_rec_rounded(fixed + rec->value_len);
    return len <= NADB_REC_INLINE_MAX && is_same_size ? (char *)(uintptr_t)rec + fixed : NULL;
}

/* SET over a record that can take it as it is: the common case of a cache being refreshed. */
static bool put_in_place(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec,
    uint64_t hash, const struct nadb_put *put, uint64_t expire_ms)
{
    bool has_tags = (rec->flags & NADB_REC_HAS_TAGS) != 0;
    bool are_tags_kept =
        put->keep_tags || (NADB_LIKELY(!has_tags) ? put->tags.len == 0
                                                  : nadb_slice_eq(nadb_rec_tags(rec), put->tags));
    if (!nadb_store__is_editable(store, rec) || !are_tags_kept ||
        ((rec->flags & NADB_REC_HAS_TTL) != 0) != (expire_ms != 0)) {
        return false;
    }
    char *room = room_in_place(rec, put->value.len);
    if (room == NULL) {
        return false;
    }
    uint64_t cost_before = nadb_wbuf__cost(rec);
    if (put->value.len > 0) {
        memmove(room, put->value.data, put->value.len);
    }
    rec->value_len = put->value.len & 0x3fffffff;
    stamp(store, rec, next_version(store, space, hash));
    if (expire_ms != 0) {
        set_deadline(store, space, rec, expire_ms);
    }
    note_edit(store, space, rec, cost_before);
    return true;
}

static struct nadb_blob *blob_of(struct nadb_slice bytes)
{
    struct nadb_blob *blob = nadb_blob_new(bytes.len);
    if (blob != NULL) {
        memcpy(blob->data, bytes.data, bytes.len);
        blob->len = (uint32_t)bytes.len;
    }
    return blob;
}

static struct nadb_blob *share(struct nadb_blob *blob)
{
    blob->refs++;
    return blob;
}

static struct nadb_blob *share_tags(const struct nadb_rec *rec)
{
    bool has_tags = rec != NULL && (rec->flags & NADB_REC_HAS_TAGS);
    return has_tags ? share(nadb_rec_tags_part(rec)->blob) : NULL;
}

enum nadb_err nadb_store_put(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, const struct nadb_put *put)
{
    struct nadb_space *space = keyspace->space;
    nadb_index_slot slot = find_to_put(store, space, key, put);
    struct nadb_rec *old = slot == NULL ? NULL : nadb_index_rec(slot);
    uint64_t expire_ms = put->expire_ms;
    if (put->keep_ttl) {
        expire_ms = old == NULL ? 0 : nadb_rec_expire_ms(old);
    }
    NADB_ASSERT(expire_ms < EXPIRE_MS_LIMIT && key->name.len <= NADB_KEY_LEN_MAX &&
                put->value.len <= NADB_VALUE_LEN_MAX);
    if (expire_ms != 0 && expire_ms <= store->now_ms) {
        if (slot != NULL) {
            nadb_change__delete(store, space, slot, key->hash);
        } else if (store->shared != NULL) {
            nadb_shared__note_change(store, space, key->hash); /* the engine may have one */
        }
        return NADB_OK;
    }
    if (old != NULL && put_in_place(store, space, old, key->hash, put, expire_ms)) {
        return NADB_OK;
    }
    struct nadb_rec_parts parts = {
        .key = key->name, .value_len = put->value.len, .expire_ms = expire_ms};
    if (put->value.len > NADB_REC_INLINE_MAX && (parts.blob = blob_of(put->value)) == NULL) {
        return NADB_ENOMEM;
    }
    parts.tags = put->keep_tags ? share_tags(old) : NULL;
    if (!put->keep_tags && put->tags.len > 0 && (parts.tags = blob_of(put->tags)) == NULL) {
        if (parts.blob != NULL) {
            nadb_blob_unref(parts.blob);
        }
        return NADB_ENOMEM;
    }
    struct nadb_rec *rec = nadb_rec_new(&parts);
    if (parts.blob == NULL && put->value.len > 0) {
        memcpy((char *)rec + nadb_rec_size(rec) - put->value.len, put->value.data, put->value.len);
    }
    install(store, space, slot, rec, key->hash);
    return NADB_OK;
}

void nadb_store_set_times(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, const struct nadb_times *times)
{
    nadb_index_slot slot = nadb_change__find_live(store, keyspace->space, key);
    if (slot == NULL) {
        return;
    }
    struct nadb_rec *rec = nadb_index_rec(slot);
    if (store->shared != NULL) {
        nadb_shared__note_times(store, keyspace->space, key->hash);
    }
    NADB_ASSERT(store->is_volatile ||
                ((rec->flags & NADB_REC_IS_DIRTY) && !nadb_store__is_frozen(store, rec)));
    rec->created_ms = times->created_ms & (NADB_TIME_MS_LIMIT - 1);
    rec->updated_ms = times->updated_ms & (NADB_TIME_MS_LIMIT - 1);
    rec->accessed_s = (times->accessed_ms / 1000) & ((1u << NADB_REC_ACCESSED_BITS) - 1);
}

/* Gives a value in a blob of its own more room, where it is; NULL when memory is exhausted or the
 * blob is shared. */
static char *grow_blob(struct nadb_rec *rec, size_t len)
{
    if (!(rec->flags & NADB_REC_HAS_BLOB)) {
        return NULL;
    }
    struct nadb_blob *blob = *nadb_rec_blob_part(rec);
    if (blob->refs > 1 || len <= NADB_REC_INLINE_MAX || len <= blob->cap) {
        return NULL;
    }
    size_t spare = len < BLOB_GROW_MAX ? len : BLOB_GROW_MAX;
    struct nadb_blob *grown = nadb_mem_try_realloc(blob, sizeof(*blob) + len + spare);
    if (grown == NULL) {
        return NULL;
    }
    grown->cap = len + spare;
    *nadb_rec_blob_part(rec) = grown;
    return grown->data;
}

static char *edit_in_place(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec,
    uint64_t hash, size_t len)
{
    if (!nadb_store__is_editable(store, rec)) {
        return NULL;
    }
    uint64_t cost_before = nadb_wbuf__cost(rec);
    size_t len_before = rec->value_len;
    char *room = room_in_place(rec, len);
    if (room == NULL) {
        room = grow_blob(rec, len);
    }
    if (room == NULL) {
        return NULL;
    }
    if (len > len_before) {
        memset(room + len_before, 0, len - len_before);
    }
    rec->value_len = len & 0x3fffffff;
    stamp(store, rec, next_version(store, space, hash));
    note_edit(store, space, rec, cost_before);
    return room;
}

char *nadb_store_edit(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, size_t len)
{
    NADB_ASSERT(len <= NADB_VALUE_LEN_MAX && key->name.len <= NADB_KEY_LEN_MAX);
    struct nadb_space *space = keyspace->space;
    nadb_index_slot slot = nadb_change__find_live(store, space, key);
    struct nadb_rec *old = slot == NULL ? NULL : nadb_index_rec(slot);
    char *room = old == NULL ? NULL : edit_in_place(store, space, old, key->hash, len);
    if (room != NULL) {
        return room;
    }
    struct nadb_rec_parts parts = {.key = key->name, .value_len = len};
    if (len > NADB_REC_INLINE_MAX && (parts.blob = nadb_blob_new(len)) == NULL) {
        return NULL;
    }
    parts.expire_ms = old == NULL ? 0 : nadb_rec_expire_ms(old);
    parts.tags = share_tags(old);
    struct nadb_rec *rec = nadb_rec_new(&parts);
    room = parts.blob != NULL ? parts.blob->data : (char *)rec + nadb_rec_size(rec) - len;
    struct nadb_slice value = old == NULL ? nadb_slice_of("", 0) : nadb_rec_value(old);
    size_t kept = value.len < len ? value.len : len;
    memcpy(room, value.data, kept);
    memset(room + kept, 0, len - kept);
    install(store, space, slot, rec, key->hash);
    return room;
}

/* A record like `rec` under another key, with another deadline or other tags (taken); the long
 * parts are shared. */
static struct nadb_rec *clone(
    const struct nadb_rec *rec, struct nadb_slice key, uint64_t expire_ms, struct nadb_blob *tags)
{
    struct nadb_slice value = nadb_rec_value(rec);
    struct nadb_rec_parts parts = {
        .key = key,
        .value_len = value.len,
        .expire_ms = expire_ms,
        .tags = tags,
        .blob = (rec->flags & NADB_REC_HAS_BLOB) ? share(*nadb_rec_blob_part(rec)) : NULL,
    };
    struct nadb_rec *copy = nadb_rec_new(&parts);
    if (parts.blob == NULL && value.len > 0) {
        memcpy((char *)copy + nadb_rec_size(copy) - value.len, value.data, value.len);
    }
    return copy;
}

void nadb_change__reshape(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, struct nadb_rec *rec)
{
    struct nadb_rec *old = nadb_index_rec(slot);
    rec->version = old->version;
    rec->created_ms = old->created_ms;
    rec->updated_ms = old->updated_ms;
    rec->accessed_s = old->accessed_s;
    rec->flags |= NADB_REC_HAS_DISK;
    nadb_rec_set_place(rec, nadb_rec_place(old));
    NADB_ASSERT(nadb_store__is_placed(old));
    if (old->flags & NADB_REC_HAS_TTL) {
        nadb_wheel_cancel(old);
        nadb_wheel_arm(store->wheel, rec);
    }
    if (old->flags & NADB_REC_HAS_TAGS) {
        nadb_rec_tags_part(rec)->id = nadb_rec_tags_part(old)->id;
        nadb_tagindex_replace(space->tags, old, rec);
    }
    nadb_index_replace(slot, rec);
    store->cold.count += (uint64_t)nadb_rec_is_cold(rec) - (uint64_t)nadb_rec_is_cold(old);
    nadb_rec_free(old);
}

bool nadb_store_expire(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, uint64_t expire_ms)
{
    NADB_ASSERT(expire_ms < EXPIRE_MS_LIMIT);
    struct nadb_space *space = keyspace->space;
    nadb_index_slot slot = nadb_change__find_live(store, space, key);
    if (slot == NULL) {
        return false;
    }
    struct nadb_rec *rec = nadb_index_rec(slot);
    if (expire_ms != 0 && expire_ms <= store->now_ms) {
        nadb_change__delete(store, space, slot, key->hash);
    } else if (nadb_rec_expire_ms(rec) == expire_ms) {
        /* as it is: EXPIRE still counts as a change to those who watch */
        if (store->watches.count > 0) {
            nadb_watch__touch(store, keyspace, key->hash);
        }
    } else if (expire_ms != 0 && (rec->flags & NADB_REC_HAS_TTL) &&
               nadb_store__is_editable(store, rec)) {
        uint64_t cost = nadb_wbuf__cost(rec);
        uint64_t updated_ms = rec->updated_ms;
        stamp(store, rec, next_version(store, space, key->hash));
        rec->updated_ms = updated_ms & (((uint64_t)1 << 42) - 1);
        set_deadline(store, space, rec, expire_ms);
        note_edit(store, space, rec, cost);
    } else {
        uint64_t updated_ms = rec->updated_ms;
        struct nadb_rec *copy = clone(rec, key->name, expire_ms, share_tags(rec));
        install(store, space, slot, copy, key->hash);
        copy->updated_ms = updated_ms & (((uint64_t)1 << 42) - 1);
    }
    return true;
}

void nadb_store_want_times(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    if (store->shared != NULL) {
        (void)nadb_shared__wants_times(store, keyspace->space, key); /* the attempt is told */
    }
}

enum nadb_err nadb_store_copy(struct nadb_store *store, struct nadb_keyspace *from_keyspace,
    const struct nadb_key *from, struct nadb_keyspace *to_keyspace, const struct nadb_key *to,
    bool is_move)
{
    nadb_index_slot slot = nadb_change__find_live(store, from_keyspace->space, from);
    NADB_ASSERT(slot != NULL && to->name.len <= NADB_KEY_LEN_MAX);
    if (is_move) {
        nadb_store_want_times(store, from_keyspace, from);
    }
    struct nadb_rec *rec = nadb_index_rec(slot);
    struct nadb_rec *copy = clone(rec, to->name, nadb_rec_expire_ms(rec), share_tags(rec));
    nadb_index_slot to_slot = nadb_change__find_live(store, to_keyspace->space, to);
    install(store, to_keyspace->space, to_slot, copy, to->hash);
    if (is_move) {
        copy->created_ms = rec->created_ms;
        bool is_there = nadb_store_delete(store, from_keyspace, from);
        NADB_ASSERT(is_there);
    }
    return NADB_OK;
}

bool nadb_store_set_tags(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, struct nadb_slice packed, enum nadb_err *ret_err)
{
    *ret_err = NADB_OK;
    struct nadb_space *space = keyspace->space;
    nadb_index_slot slot = nadb_change__find_live(store, space, key);
    if (slot == NULL) {
        return false;
    }
    struct nadb_rec *rec = nadb_index_rec(slot);
    if (nadb_slice_eq(nadb_rec_tags(rec), packed)) {
        return true;
    }
    struct nadb_blob *tags = NULL;
    if (packed.len > 0 && (tags = blob_of(packed)) == NULL) {
        *ret_err = NADB_ENOMEM;
        return false;
    }
    struct nadb_rec *copy = clone(rec, key->name, nadb_rec_expire_ms(rec), tags);
    install(store, space, slot, copy, key->hash);
    return true;
}
