/* This file lets commands that change the same key follow each other instead of meeting conflicts.
 *
 * The table has, for a key, the item that holds its claim: the last that asked to change it and was
 * let go ahead. The next one that asks
 *
 *     takes the record that the holder's commit will leave, if that goes out with the batch which
 *     gathers now, and so in front of its own, or has succeeded; and becomes the holder
 *     waits, if something of the holder is under way: a fetch, or a commit in an earlier batch
 *     fetches, if it has nothing to go by, and becomes the holder
 *
 * When what was under way has ended, all who waited ask again, in their order; the first of them is
 * handed the record at once, since the holder may be gone by then. Who changes the key without
 * asking, blindly or together with others, ends the claim: what the holder leaves is not what is
 * there. What is taken is only likely: the commit checks it.
 *
 * Nobody waits for anything but the engine, which has its timeout, and an attempt that waits has no
 * other key, so there is no circle. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/shared_internal.h"

static struct nadb_item **bucket_of(const struct nadb_item *item)
{
    struct nadb_shared *shared = item->ask.attempt->store->shared;
    return &shared->claims[item->hash & (NADB_CLAIM_BUCKETS - 1)];
}

static void leave_table(struct nadb_item *item)
{
    if (!item->is_claimed) {
        return;
    }
    struct nadb_item **at = bucket_of(item);
    while (*at != item) {
        at = &(*at)->claim_next;
    }
    *at = item->claim_next;
    item->is_claimed = false;
}

static void enter_table(struct nadb_item *item)
{
    struct nadb_item **bucket = bucket_of(item);
    NADB_ASSERT(!item->is_claimed);
    item->claim_next = *bucket;
    *bucket = item;
    item->is_claimed = true;
}

static struct nadb_item *find_holder(const struct nadb_item *item)
{
    struct nadb_slice key = nadb_slice_of(item->key, item->key_len);
    struct nadb_item *holder = *bucket_of(item);
    while (
        holder != NULL && (holder->hash != item->hash || holder->keyspace != item->keyspace ||
                              !nadb_slice_eq(nadb_slice_of(holder->key, holder->key_len), key))) {
        holder = holder->claim_next;
    }
    return holder;
}

/* The record as the change leaves it; NULL: out of memory. */
static struct nadb_found *found_by(const struct nadb_change *change)
{
    const struct nadb_entry *entry = &change->entry;
    size_t len = entry->key.len + entry->value.len + entry->tags.len;
    struct nadb_found *found = nadb_mem_try_alloc(sizeof(*found) + len + 1);
    if (found == NULL) {
        return NULL;
    }
    *found = (struct nadb_found){.stamp = 0};
    if (entry->kind == NADB_ENTRY_PUT) {
        char *at = (char *)(found + 1);
        found->stamp = change->stamp;
        found->entry = *entry;
        found->entry.created_ms = change->keeps_created ? 0 : entry->created_ms; /* 0: not known */
        found->entry.key = nadb_slice_copy_to(&at, entry->key);
        found->entry.value = nadb_slice_copy_to(&at, entry->value);
        found->entry.tags = nadb_slice_copy_to(&at, entry->tags);
        found->value_len = entry->value.len;
    }
    return found;
}

/* What the holder's commit leaves, if that is likely to be there for one that is sent now. */
static struct nadb_found *take_from(const struct nadb_item *holder)
{
    const struct nadb_attempt *attempt = holder->ask.attempt;
    const struct nadb_commit *commit = attempt->commit;
    if (commit == NULL || commit->ask.op.change_count != 1) {
        return NULL;
    }
    bool is_under_way = commit->ask.state == NADB_ASK_UNDER_WAY;
    bool is_likely = is_under_way ? commit->batch == attempt->store->shared->batch
                                  : commit->ask.op.err == NADB_OK && !commit->ask.op.is_conflict;
    return is_likely ? found_by(commit->changes) : NULL;
}

enum nadb_claim nadb_claim__begin(struct nadb_item *item)
{
    NADB_ASSERT(item->waits_for == NULL);
    if (item->taken != NULL) {
        return NADB_CLAIM_TAKEN; /* handed over, when who it waited for was over */
    }
    struct nadb_item *holder = find_holder(item);
    if (holder == item) {
        return NADB_CLAIM_FREE;
    }
    if (holder != NULL) {
        item->taken = take_from(holder);
        if (item->taken == NULL && holder->ask.attempt->pending > 0) {
            item->waits_for = holder;
            nadb_list_append(&holder->waiters, &item->in_waiters);
            item->ask.attempt->pending++;
            return NADB_CLAIM_WAIT;
        }
        leave_table(holder);
    }
    enter_table(item);
    return item->taken == NULL ? NADB_CLAIM_FREE : NADB_CLAIM_TAKEN;
}

void nadb_claim__break(const struct nadb_item *item)
{
    struct nadb_item *holder = find_holder(item);
    if (holder != NULL && holder != item) {
        leave_table(holder);
    }
}

static void hand_over(struct nadb_item *holder, struct nadb_item *next)
{
    next->taken = take_from(holder);
    if (next->taken != NULL) {
        leave_table(holder);
        enter_table(next);
    }
}

void nadb_claim__release(struct nadb_item *item)
{
    struct nadb_item *waiting = NADB_LIST_FIRST(&item->waiters, struct nadb_item, in_waiters);
    if (waiting != NULL && item->is_claimed) {
        hand_over(item, waiting);
    }
    for (; waiting != NULL;
         waiting = NADB_LIST_FIRST(&item->waiters, struct nadb_item, in_waiters)) {
        nadb_list_remove(&waiting->in_waiters);
        waiting->waits_for = NULL;
        NADB_ASSERT(waiting->ask.attempt->pending > 0);
        waiting->ask.attempt->pending--;
        nadb_attempt__ended(&waiting->ask);
    }
}

void nadb_claim__end(struct nadb_item *item)
{
    nadb_claim__release(item);
    leave_table(item);
    if (item->waits_for != NULL) {
        nadb_list_remove(&item->in_waiters);
        item->waits_for = NULL;
        item->ask.attempt->pending--;
    }
    nadb_mem_free(item->taken);
    item->taken = NULL;
}
