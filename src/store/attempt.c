/* This file runs handlers over what was fetched for them, and makes commits of what they change. */
#include <stddef.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/shared_internal.h"

#define ITEMS_GROW  4u
#define TABLE_LEAST 8u /* fewer items are looked through one by one */

bool nadb_store_is_shared(const struct nadb_store *store)
{
    return store->shared != NULL;
}

/* As new, nothing owned. */
static void init(struct nadb_attempt *attempt, struct nadb_store *store)
{
    *attempt = (struct nadb_attempt){.store = store, .item_cap = NADB_ITEMS_FEW};
    attempt->items = attempt->few;
}

struct nadb_attempt *nadb_attempt_new(struct nadb_store *store)
{
    struct nadb_shared *shared = store->shared;
    struct nadb_attempt *attempt = shared->spare;
    if (attempt == NULL) {
        attempt = nadb_mem_alloc(sizeof(*attempt));
        init(attempt, store);
        return attempt;
    }
    shared->spare = attempt->next_spare;
    shared->spare_count--;
    return attempt;
}

bool nadb_attempt_is_waiting(const struct nadb_attempt *attempt)
{
    return attempt->pending > 0;
}

size_t nadb_attempt_bytes(const struct nadb_attempt *attempt)
{
    return sizeof(*attempt) + attempt->bytes;
}

/* ---- items ---- */

static const struct nadb_found *found_of(const struct nadb_item *item)
{
    if (item->taken != NULL) {
        return item->taken;
    }
    return item->ask.state == NADB_ASK_ENDED ? item->ask.op.found : NULL;
}

static bool is_item(
    const struct nadb_item *item, const struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    return item->hash == key->hash && item->keyspace == keyspace &&
           nadb_slice_eq(nadb_slice_of(item->key, item->key_len), key->name);
}

static struct nadb_item *find_item(const struct nadb_attempt *attempt,
    const struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    if (attempt->table == NULL) {
        for (size_t i = 0; i < attempt->item_count; i++) {
            if (is_item(attempt->items[i], keyspace, key)) {
                return attempt->items[i];
            }
        }
        return NULL;
    }
    for (size_t at = key->hash & (attempt->table_cap - 1); attempt->table[at] != 0;
         at = (at + 1) & (attempt->table_cap - 1)) {
        struct nadb_item *item = attempt->items[attempt->table[at] - 1];
        if (is_item(item, keyspace, key)) {
            return item;
        }
    }
    return NULL;
}

static void enter(struct nadb_attempt *attempt, size_t index)
{
    size_t at = attempt->items[index]->hash & (attempt->table_cap - 1);
    while (attempt->table[at] != 0) {
        at = (at + 1) & (attempt->table_cap - 1);
    }
    attempt->table[at] = (uint32_t)index + 1;
}

/* The table is at most half full. */
static void index_items(struct nadb_attempt *attempt)
{
    if (attempt->item_count < TABLE_LEAST) {
        return;
    }
    if (attempt->item_count * 2 > attempt->table_cap) {
        nadb_mem_free(attempt->table);
        attempt->table_cap = attempt->item_cap * 4;
        attempt->table = nadb_mem_zalloc(attempt->table_cap * sizeof(*attempt->table));
        for (size_t i = 0; i < attempt->item_count; i++) {
            enter(attempt, i);
        }
    } else {
        enter(attempt, attempt->item_count - 1);
    }
}

static struct nadb_item *get_item(
    struct nadb_attempt *attempt, struct nadb_keyspace *keyspace, const struct nadb_key *key)
{
    struct nadb_item *item = find_item(attempt, keyspace, key);
    if (item != NULL) {
        return item;
    }
    item = nadb_mem_alloc(sizeof(*item) + key->name.len + 1);
    memset((char *)item + offsetof(struct nadb_item, keyspace), 0,
        sizeof(*item) - offsetof(struct nadb_item, keyspace));
    item->ask.attempt = attempt;
    item->ask.state = NADB_ASK_BLANK;
    item->ask.op.wants_value = false; /* the rest of it is set when it is asked */
    item->keyspace = keyspace;
    item->hash = key->hash;
    item->key_len = key->name.len;
    memcpy(item->key, key->name.data, key->name.len);
    nadb_list_init(&item->in_waiters);
    nadb_list_init(&item->waiters);
    nadb_keyspace_ref(keyspace);
    attempt->bytes += sizeof(*item) + key->name.len;
    if (attempt->item_count == attempt->item_cap) {
        attempt->item_cap *= ITEMS_GROW;
        struct nadb_item **items = nadb_mem_alloc(attempt->item_cap * sizeof(struct nadb_item *));
        memcpy(items, attempt->items, attempt->item_count * sizeof(struct nadb_item *));
        if (attempt->items != attempt->few) {
            nadb_mem_free(attempt->items);
        }
        attempt->items = items;
    }
    attempt->items[attempt->item_count++] = item;
    index_items(attempt);
    return item;
}

static struct nadb_place place_of(const struct nadb_keyspace *keyspace)
{
    return (struct nadb_place){keyspace->db, nadb_keyspace_name(keyspace)};
}

static void forget_found(struct nadb_item *item)
{
    if (item->ask.state == NADB_ASK_ENDED) {
        item->ask.attempt->store->backend_ops->shared->op_free(&item->ask.op);
        item->ask.state = NADB_ASK_BLANK;
    }
}

/* Sees to it that the item gets here; it may be here at once. */
static void fetch(struct nadb_item *item)
{
    struct nadb_store *store = item->ask.attempt->store;
    if (item->ask.state == NADB_ASK_UNDER_WAY || item->waits_for != NULL) {
        return; /* if that is not enough it is asked for again */
    }
    if (item->wants_claim && nadb_claim__begin(item) != NADB_CLAIM_FREE) {
        return;
    }
    forget_found(item);
    struct nadb_op *op = &item->ask.op;
    memset(op, 0, offsetof(struct nadb_op, error));
    op->kind = NADB_OP_FETCH;
    op->place = place_of(item->keyspace);
    op->key = nadb_slice_of(item->key, item->key_len);
    op->wants_value = item->wants_value;
    op->wants_times = !item->wants_value || item->wants_times;
    nadb_ask__send(store, &item->ask);
}

static void free_item(struct nadb_item *item)
{
    struct nadb_store *store = item->ask.attempt->store;
    nadb_claim__end(item);
    forget_found(item);
    nadb_keyspace_unref(store, item->keyspace);
    nadb_mem_free(item);
}

/* ---- life ---- */

static void free_commit(struct nadb_attempt *attempt)
{
    struct nadb_commit *commit = attempt->commit;
    if (commit == NULL) {
        return;
    }
    attempt->store->backend_ops->shared->op_free(&commit->ask.op);
    for (size_t i = 0; i < commit->rec_count; i++) {
        nadb_rec_free(commit->recs[i]);
    }
    nadb_mem_free(commit);
    attempt->commit = NULL;
}

static void drop_lent(struct nadb_attempt *attempt)
{
    if (attempt->lent != NULL) {
        nadb_rec_free(attempt->lent);
        attempt->lent = NULL;
    }
}

/* Nothing of it is under way. */
static void forget_all(struct nadb_attempt *attempt)
{
    NADB_ASSERT(attempt->pending == 0);
    for (size_t i = 0; i < attempt->item_count; i++) {
        free_item(attempt->items[i]);
    }
    free_commit(attempt);
    drop_lent(attempt);
    while (attempt->answers != NULL) {
        struct nadb_answer *answer = attempt->answers;
        attempt->answers = answer->next;
        nadb_answer__free(answer);
    }
    if (attempt->items != attempt->few) {
        nadb_mem_free(attempt->items);
    }
    nadb_mem_free(attempt->table);
    nadb_mem_free(attempt->epochs);
    init(attempt, attempt->store);
}

void nadb_attempt_free(struct nadb_attempt *attempt)
{
    if (attempt == NULL) {
        return;
    }
    NADB_ASSERT(attempt->store->shared->running != attempt);
    for (size_t i = 0; i < attempt->item_count; i++) {
        if (attempt->items[i]->waits_for != NULL) {
            nadb_claim__end(attempt->items[i]); /* what it waits for is none of its own */
        }
    }
    if (attempt->pending > 0) {
        attempt->is_abandoned = true;
        return;
    }
    forget_all(attempt);
    struct nadb_shared *shared = attempt->store->shared;
    if (shared->spare_count >= NADB_SPARE_MAX) {
        nadb_mem_free(attempt);
        return;
    }
    attempt->next_spare = shared->spare;
    shared->spare = attempt;
    shared->spare_count++;
}

/* Stamps tell everything but that a key came and went again: of what goes through here that is
 * known, too. */
static void touch_watchers(const struct nadb_attempt *attempt)
{
    for (size_t i = 0; i < attempt->item_count && attempt->store->watches.count > 0; i++) {
        const struct nadb_item *item = attempt->items[i];
        if (item->is_changed) {
            nadb_watch__touch(attempt->store, item->keyspace, item->hash);
        }
    }
}

void nadb_attempt__ended(struct nadb_ask *ask)
{
    struct nadb_attempt *attempt = ask->attempt;
    const struct nadb_op *op = &ask->op;
    if (ask->state == NADB_ASK_ENDED && op->err == NADB_OK && op->kind == NADB_OP_COMMIT &&
        !op->is_conflict) {
        touch_watchers(attempt);
    } else if (ask->state == NADB_ASK_ENDED && op->kind == NADB_OP_FETCH && op->found != NULL) {
        attempt->bytes += op->found->value_len;
    }
    for (size_t i = 0; i < attempt->item_count && attempt->pending == 0; i++) {
        nadb_claim__release(attempt->items[i]);
    }
    if (attempt->is_abandoned && attempt->pending == 0) {
        nadb_attempt_free(attempt);
    }
}

void nadb_attempt__miss(struct nadb_attempt *attempt)
{
    attempt->is_missing = true;
}

void nadb_attempt__fail(struct nadb_attempt *attempt, const struct nadb_error *error)
{
    if (!attempt->has_failed) {
        attempt->has_failed = true;
        attempt->error = *error;
    }
    attempt->is_missing = true; /* what follows in the handler means nothing */
}

void nadb_attempt_ask(struct nadb_attempt *attempt, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, unsigned flags)
{
    struct nadb_item *item = get_item(attempt, keyspace, key);
    bool had_times = item->wants_times || !item->wants_value;
    bool was_enough = (item->wants_value || !(flags & NADB_ASK_VALUE)) &&
                      (had_times || !(flags & NADB_ASK_TIMES));
    item->wants_value |= (flags & NADB_ASK_VALUE) != 0;
    item->wants_times |= (flags & NADB_ASK_TIMES) != 0;
    item->wants_claim |= (flags & NADB_ASK_CHANGE) != 0;
    item->must_fetch |= found_of(item) == NULL || !was_enough;
}

void nadb_attempt_fetch(struct nadb_attempt *attempt)
{
    for (size_t i = 0; i < attempt->item_count; i++) {
        struct nadb_item *item = attempt->items[i];
        if (item->must_fetch) {
            item->must_fetch = false;
            fetch(item);
        }
    }
}

/* ---- before and after a run ---- */

struct nadb_rec *nadb_attempt__rec_of(const struct nadb_found *found, bool has_value)
{
    const struct nadb_entry *entry = &found->entry;
    struct nadb_rec_parts parts = {
        .key = entry->key,
        .value_len = found->value_len,
        .is_cold = !has_value,
        .expire_ms = entry->expire_ms,
    };
    if (has_value && found->value_len > NADB_REC_INLINE_MAX) {
        parts.blob = nadb_blob_new(found->value_len);
        if (parts.blob == NULL) {
            return NULL;
        }
        memcpy(parts.blob->data, entry->value.data, found->value_len);
    }
    if (entry->tags.len > 0) {
        parts.tags = nadb_blob_new(entry->tags.len);
        if (parts.tags == NULL) {
            if (parts.blob != NULL) {
                nadb_blob_unref(parts.blob);
            }
            return NULL;
        }
        memcpy(parts.tags->data, entry->tags.data, entry->tags.len);
        parts.tags->len = (uint32_t)entry->tags.len;
    }
    struct nadb_rec *rec = nadb_rec_new(&parts);
    if (has_value && parts.blob == NULL && found->value_len > 0) {
        memcpy((char *)rec + nadb_rec_size(rec) - found->value_len, entry->value.data,
            found->value_len);
    }
    rec->version = found->stamp & (((uint64_t)1 << NADB_REC_VERSION_BITS) - 1);
    rec->created_ms = entry->created_ms & (NADB_TIME_MS_LIMIT - 1);
    rec->updated_ms = entry->updated_ms & (NADB_TIME_MS_LIMIT - 1);
    uint64_t accessed_s = entry->accessed_s != 0 ? entry->accessed_s : entry->updated_ms / 1000;
    rec->accessed_s = accessed_s & ((1u << NADB_REC_ACCESSED_BITS) - 1);
    return rec;
}

/* Did it come with its value? */
static bool has_value(const struct nadb_item *item)
{
    return item->taken != NULL || item->ask.op.wants_value;
}

/* What was fetched becomes the item's record. */
static void load(struct nadb_attempt *attempt, struct nadb_item *item)
{
    const struct nadb_found *found = found_of(item);
    item->is_seen = item->is_changed = item->has_own_times = false;
    item->slot = 0;
    if (found == NULL || found->stamp == 0) {
        return;
    }
    struct nadb_rec *rec = nadb_attempt__rec_of(found, has_value(item));
    if (rec == NULL) {
        struct nadb_error error;
        (void)nadb_error_set(&error, NADB_ENOMEM, 0, "not enough memory for a value");
        nadb_attempt__fail(attempt, &error);
        return;
    }
    item->slot = (uint64_t)(uintptr_t)rec;
}

/* Takes the item's record, NULL when there is none. The caller's. */
static struct nadb_rec *unload(struct nadb_item *item)
{
    struct nadb_rec *rec = nadb_index_rec(&item->slot);
    item->slot = 0;
    return rec;
}

void nadb_attempt_begin(struct nadb_attempt *attempt)
{
    struct nadb_shared *shared = attempt->store->shared;
    NADB_ASSERT(shared->running == NULL && attempt->pending == 0 && attempt->commit == NULL);
    shared->running = attempt;
    attempt->is_missing = attempt->has_failed = false;
    attempt->epoch_count = 0;
    attempt->epoch = attempt->scan_count = 0;
    for (size_t i = 0; i < attempt->item_count; i++) {
        load(attempt, attempt->items[i]);
    }
}

/* ---- the commit ---- */

static void add_check(struct nadb_commit *commit, const struct nadb_item *item)
{
    commit->checks[commit->ask.op.check_count++] = (struct nadb_check){
        .place = place_of(item->keyspace),
        .key = nadb_slice_of(item->key, item->key_len),
        .stamp = found_of(item)->stamp,
    };
}

/* The item's record, NULL for none, is what the handler made of it. Taken. */
static void add_change(struct nadb_store *store, struct nadb_commit *commit,
    const struct nadb_item *item, struct nadb_rec *rec)
{
    nadb_claim__break(item);
    struct nadb_change *change = &commit->changes[commit->ask.op.change_count++];
    *change = (struct nadb_change){
        .place = place_of(item->keyspace),
        .entry = {.kind = NADB_ENTRY_DELETE, .key = nadb_slice_of(item->key, item->key_len)},
    };
    if (rec == NULL) {
        return;
    }
    bool is_created_known = item->is_seen && rec->created_ms != 0;
    change->keeps_created = !is_created_known && !item->has_own_times;
    change->stamp = store->backend_ops->shared->new_stamp(store->backend);
    change->entry.kind = NADB_ENTRY_PUT;
    change->entry.key = nadb_rec_key(rec);
    change->entry.value = nadb_rec_value(rec);
    change->entry.tags = nadb_rec_tags(rec);
    change->entry.created_ms = rec->created_ms;
    change->entry.updated_ms = rec->updated_ms;
    change->entry.expire_ms = nadb_rec_expire_ms(rec);
    change->entry.accessed_s = (uint32_t)nadb_rec_accessed_s(rec, store->now_ms / 1000);
    commit->recs[commit->rec_count++] = rec;
}

static void add_epoch_checks(const struct nadb_attempt *attempt, struct nadb_commit *commit)
{
    for (size_t i = 0; i < attempt->epoch_count; i++) {
        const struct nadb_seen_epoch *seen = &attempt->epochs[i];
        commit->checks[commit->ask.op.check_count++] = (struct nadb_check){
            .place = place_of(seen->keyspace),
            .key = seen->key,
            .is_epoch = true,
            .tag = seen->tag,
            .epoch = seen->epoch,
        };
    }
}

/* The run is over. With `commit` the records that have changed become its changes. */
static void unload_all(struct nadb_attempt *attempt, struct nadb_commit *commit)
{
    struct nadb_store *store = attempt->store;
    for (size_t i = 0; i < attempt->item_count; i++) {
        struct nadb_item *item = attempt->items[i];
        struct nadb_rec *rec = unload(item);
        if (commit != NULL && item->is_seen) {
            add_check(commit, item);
        }
        if (commit != NULL && item->is_changed) {
            add_change(store, commit, item, rec);
        } else if (rec != NULL) {
            nadb_rec_free(rec);
        }
    }
}

/* Room for a check and a change of each item, in one block. */
static struct nadb_commit *commit_new(struct nadb_attempt *attempt)
{
    size_t checks = attempt->item_count + attempt->epoch_count;
    size_t changes = attempt->item_count;
    size_t size = sizeof(struct nadb_commit) + checks * sizeof(struct nadb_check) +
                  changes * (sizeof(struct nadb_change) + sizeof(struct nadb_rec *));
    struct nadb_commit *commit = nadb_mem_alloc(size);
    memset(commit, 0, offsetof(struct nadb_commit, ask.op.error));
    commit->ask.attempt = attempt;
    commit->ask.op.kind = NADB_OP_COMMIT;
    commit->ask.state = NADB_ASK_BLANK;
    commit->rec_count = 0;
    commit->checks = (struct nadb_check *)(commit + 1);
    commit->changes = (struct nadb_change *)(commit->checks + checks);
    commit->recs = (struct nadb_rec **)(commit->changes + changes);
    commit->ask.op.checks = commit->checks;
    commit->ask.op.changes = commit->changes;
    return commit;
}

static size_t count_changed(const struct nadb_attempt *attempt)
{
    size_t count = 0;
    for (size_t i = 0; i < attempt->item_count; i++) {
        count += attempt->items[i]->is_changed;
    }
    return count;
}

/* Was a record looked at that another's commit may not have left yet, or not any more? */
static bool has_seen_taken(const struct nadb_attempt *attempt)
{
    for (size_t i = 0; i < attempt->item_count; i++) {
        if (attempt->items[i]->is_seen && attempt->items[i]->taken != NULL) {
            return true;
        }
    }
    return false;
}

enum nadb_attempt_end nadb_attempt_end(
    struct nadb_attempt *attempt, bool is_validated, struct nadb_error *reterr)
{
    struct nadb_store *store = attempt->store;
    NADB_ASSERT(store->shared->running == attempt);
    store->shared->running = NULL;
    drop_lent(attempt);
    size_t changed = count_changed(attempt);
    is_validated = is_validated || has_seen_taken(attempt);
    if (attempt->is_missing || attempt->has_failed || (changed == 0 && !is_validated)) {
        unload_all(attempt, NULL);
        *reterr = attempt->error;
        return attempt->has_failed   ? NADB_ATTEMPT_FAILED
               : attempt->is_missing ? NADB_ATTEMPT_MISSING
                                     : NADB_ATTEMPT_COMPLETE;
    }
    struct nadb_commit *commit = commit_new(attempt);
    unload_all(attempt, commit);
    add_epoch_checks(attempt, commit);
    attempt->commit = commit;
    commit->batch = store->shared->batch;
    nadb_ask__send(store, &commit->ask);
    return NADB_ATTEMPT_COMMITTING;
}

enum nadb_outcome nadb_attempt_outcome(struct nadb_attempt *attempt, struct nadb_error *reterr)
{
    struct nadb_commit *commit = attempt->commit;
    if (commit == NULL || commit->ask.state != NADB_ASK_ENDED || attempt->pending > 0) {
        return NADB_OUTCOME_NONE;
    }
    if (commit->ask.op.err != NADB_OK) {
        *reterr = commit->ask.op.error;
        return NADB_OUTCOME_FAILED;
    }
    if (commit->ask.op.is_conflict) {
        forget_all(attempt);
        return NADB_OUTCOME_CONFLICT;
    }
    return NADB_OUTCOME_COMMITTED;
}

/* ---- what handlers look at ---- */

static struct nadb_attempt *running(const struct nadb_store *store)
{
    NADB_ASSERT(store->shared->running != NULL);
    return store->shared->running;
}

bool nadb_store_lacks(const struct nadb_store *store)
{
    return store->shared != NULL && running(store)->is_missing;
}

bool nadb_store_has_changed(const struct nadb_store *store)
{
    return store->shared != NULL && count_changed(running(store)) > 0;
}

/* What was fetched of the item; false: nothing yet, and the attempt is told. */
static bool is_here(struct nadb_attempt *attempt, struct nadb_item *item)
{
    if (item->taken == NULL && item->ask.state == NADB_ASK_ENDED && item->ask.op.err != NADB_OK) {
        nadb_attempt__fail(attempt, &item->ask.op.error);
        return false;
    }
    if (found_of(item) == NULL) {
        fetch(item);
        if (found_of(item) != NULL) {
            load(attempt, item);
        }
    }
    if (found_of(item) == NULL) {
        nadb_attempt__miss(attempt);
    }
    return found_of(item) != NULL;
}

static nadb_index_slot slot_of(struct nadb_item *item)
{
    return item->slot == 0 ? NULL : &item->slot;
}

nadb_index_slot nadb_shared__look(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key)
{
    struct nadb_attempt *attempt = running(store);
    struct nadb_item *item = get_item(attempt, space->owner, key);
    if (item->is_changed) {
        return slot_of(item); /* it sees what it did itself */
    }
    if (item->ask.state == NADB_ASK_BLANK && item->taken == NULL) {
        /* Nobody knew of it: that may be all that is needed. */
        item->wants_value = item->wants_times = true;
    }
    item->is_seen |= is_here(attempt, item);
    return slot_of(item);
}

nadb_index_slot nadb_shared__look_to_put(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key)
{
    return slot_of(get_item(running(store), space->owner, key));
}

void nadb_shared__insert(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec, uint64_t hash)
{
    const struct nadb_key key = {nadb_rec_key(rec), hash};
    struct nadb_item *item = find_item(running(store), space->owner, &key);
    NADB_ASSERT(item != NULL && item->slot == 0);
    item->slot = (uint64_t)(uintptr_t)rec;
}

/* Two keys with one hash are both taken for changed: what is written of the other is what it is. */
static void mark(
    const struct nadb_store *store, const struct nadb_space *space, uint64_t hash, bool is_change)
{
    const struct nadb_attempt *attempt = running(store);
    size_t mask = attempt->table == NULL ? 0 : attempt->table_cap - 1;
    size_t at = attempt->table == NULL ? 0 : hash & mask;
    for (;;) {
        size_t index = attempt->table == NULL ? at : attempt->table[at] - (size_t)1;
        if (index >= attempt->item_count) {
            return;
        }
        struct nadb_item *item = attempt->items[index];
        if (item->hash == hash && item->keyspace == space->owner) {
            item->is_changed |= is_change;
            item->has_own_times |= !is_change;
        }
        at = attempt->table == NULL ? at + 1 : (at + 1) & mask;
    }
}

void nadb_shared__note_change(
    struct nadb_store *store, const struct nadb_space *space, uint64_t hash)
{
    mark(store, space, hash, true);
}

void nadb_shared__note_times(
    struct nadb_store *store, const struct nadb_space *space, uint64_t hash)
{
    mark(store, space, hash, false);
}

/* Is the item here, with what the handler needs of it? `had_it`: that was asked for. If not, all of
 * it comes with the next run. */
static bool is_enough(struct nadb_attempt *attempt, struct nadb_item *item, bool had_it)
{
    if (!is_here(attempt, item)) {
        return false;
    }
    if (found_of(item)->stamp == 0 || had_it) {
        return true;
    }
    item->wants_claim = false;
    fetch(item);
    nadb_attempt__miss(attempt);
    return false;
}

bool nadb_shared__wants_value(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key)
{
    struct nadb_attempt *attempt = running(store);
    struct nadb_item *item = get_item(attempt, space->owner, key);
    if (item->is_changed) {
        return true;
    }
    bool had_value = has_value(item);
    item->wants_value = item->wants_times = true;
    return is_enough(attempt, item, had_value);
}

bool nadb_shared__wants_times(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key)
{
    struct nadb_attempt *attempt = running(store);
    struct nadb_item *item = get_item(attempt, space->owner, key);
    /* What was changed without having been looked at, or was given times, has its own. */
    if (item->is_changed && (!item->is_seen || item->has_own_times)) {
        return true;
    }
    bool had_times = item->ask.op.wants_times;
    item->wants_times = true;
    NADB_ASSERT(item->taken == NULL); /* what is taken is for commands that keep the times */
    return is_enough(attempt, item, had_times);
}

uint64_t nadb_shared__stamp(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_key *key)
{
    struct nadb_attempt *attempt = running(store);
    struct nadb_item *item = get_item(attempt, space->owner, key);
    if (!is_here(attempt, item)) {
        return 0;
    }
    item->is_seen = true;
    return found_of(item)->stamp;
}
