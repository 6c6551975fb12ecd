/* This file says of each entry of a run whether it is needed, and gives those that are their new
 * places.
 *
 * What is dead? A PUT is needed exactly while the index has its key with its version. A dead PUT
 * may still be what keeps an older one from coming back, when the key went by expiry or by an
 * INVALIDATE that the older one would not match: it becomes a DELETE, unless nothing older can be
 * left. That is so when the key has a newer record, which is further on in the log, and for
 * versions below the run's horizon. Every segment remembers the version at which it was compacted
 * last: each of its PUTs was live then. The horizon is the lowest of those of all segments in front
 * of the run: had a key a dead entry of a lower version in the run, then no PUT of it was left in
 * front. Below the horizon DELETE, CLEAR and INVALIDATE are not needed either. NAME and DROP stay:
 * they say which keyspace an entry belongs to. */
#include "src/store/compact_internal.h"

#define JUDGE_CHUNK 64u
#define SLOTS_AHEAD 32u /* memory is asked for the slots of the index so far ahead, */
#define RECS_AHEAD  16u /* and for the records */

/* NULL: it has been dropped since the entry was written. */
static const struct nadb_space *space_of(const struct nadb_store *store, uint16_t number)
{
    return number < store->spaces_cap ? store->spaces[number] : NULL;
}

/* Memory is asked for what is looked at soon: the slot of a key's record, and, when that is there,
 * the record. */
static void ask_for_slot(const struct nadb_store *store, uint16_t number, uint64_t hash)
{
    const struct nadb_space *space = space_of(store, number);
    if (space != NULL) {
        nadb_index_prefetch_slot(&space->index, hash);
    }
}

static void ask_for_rec(const struct nadb_store *store, uint16_t number, uint64_t hash)
{
    const struct nadb_space *space = space_of(store, number);
    if (space != NULL) {
        nadb_index_prefetch_rec(&space->index, hash);
    }
}

/* The key's record, if the log has something of it, or will have whatever becomes of it. One that
 * was never written may go without a trace. One that was invalidated is gone, although it has not
 * been swept yet: the INVALIDATE that it is gone by may be dropped next. */
static const struct nadb_rec *find_rec(
    const struct nadb_store *store, const struct nadb_entry *entry, uint64_t hash)
{
    const struct nadb_space *space = space_of(store, entry->keyspace);
    nadb_index_slot slot = space == NULL ? NULL : nadb_index_find(&space->index, entry->key, hash);
    const struct nadb_rec *rec = slot == NULL ? NULL : nadb_index_rec(slot);
    bool is_there =
        rec != NULL && (rec->flags & NADB_REC_HAS_DISK) && !nadb_space__is_dying(space, rec);
    return is_there ? rec : NULL;
}

static enum nadb_verdict judge_put(
    struct nadb_compact *c, const struct nadb_entry *entry, uint64_t hash)
{
    const struct nadb_rec *rec = find_rec(c->store, entry, hash);
    if (rec != NULL && rec->version == entry->version && !(rec->flags & NADB_REC_IS_DIRTY)) {
        return NADB_VERDICT_KEEP;
    }
    if (rec != NULL) {
        c->report.dropped_overwritten++;
        return NADB_VERDICT_DROP;
    }
    bool has_expired = entry->expire_ms != 0 && entry->expire_ms <= c->store->now_ms;
    c->report.dropped_expired += has_expired;
    c->report.dropped_deleted += !has_expired;
    return entry->version < c->horizon ? NADB_VERDICT_DROP : NADB_VERDICT_BURY;
}

static enum nadb_verdict judge(
    struct nadb_compact *c, const struct nadb_entry *entry, uint64_t hash)
{
    if (c->wish.is_scoped && entry->keyspace != c->wish.space) {
        return NADB_VERDICT_KEEP;
    }
    switch (entry->kind) {
    case NADB_ENTRY_PUT:
        return judge_put(c, entry, hash);
    case NADB_ENTRY_DELETE:
        if (find_rec(c->store, entry, hash) != NULL || entry->version < c->horizon) {
            return NADB_VERDICT_DROP;
        }
        return NADB_VERDICT_KEEP;
    case NADB_ENTRY_CLEAR:
    case NADB_ENTRY_INVALIDATE:
        return entry->version < c->horizon ? NADB_VERDICT_DROP : NADB_VERDICT_KEEP;
    case NADB_ENTRY_NAME:
    case NADB_ENTRY_DROP:
        break;
    }
    return NADB_VERDICT_KEEP;
}

/* Before the entry at `at` is judged. */
static void look_ahead(const struct nadb_compact *c, size_t at)
{
    const struct nadb_replay_chunk *chunk = &c->part.chunk;
    size_t slot = at + SLOTS_AHEAD;
    size_t rec = at + RECS_AHEAD;
    if (slot < chunk->count) {
        ask_for_slot(c->store, chunk->entries[slot].keyspace, c->part.hashes[slot]);
    }
    if (rec < chunk->count) {
        ask_for_rec(c->store, chunk->entries[rec].keyspace, c->part.hashes[rec]);
    }
}

bool nadb_compact__judge_some(struct nadb_compact *c, uint64_t budget_us)
{
    uint64_t begin_us = nadb_clock_mono_us(c->store->clock);
    const struct nadb_replay_chunk *chunk = &c->part.chunk;
    while (c->judged < chunk->count) {
        size_t end = c->judged + JUDGE_CHUNK;
        end = end < chunk->count ? end : chunk->count;
        for (; c->judged < end; c->judged++) {
            look_ahead(c, c->judged);
            c->part.verdicts[c->judged] =
                (uint8_t)judge(c, &chunk->entries[c->judged], c->part.hashes[c->judged]);
        }
        if (nadb_store__elapsed_us(c->store, begin_us) >= budget_us) {
            break;
        }
    }
    return c->judged < chunk->count;
}

/* ---- moving ---- */

static void move_one(struct nadb_store *store, const struct nadb_compact_move *move)
{
    const struct nadb_space *space = space_of(store, move->space);
    struct nadb_rec *rec =
        space == NULL ? NULL : nadb_index_find_version(&space->index, move->hash, move->version);
    if (rec == NULL || (rec->flags & NADB_REC_IS_DIRTY)) {
        return;
    }
    uint64_t cost = nadb_wbuf__cost(rec);
    nadb_usage__drop(store, nadb_rec_place(rec), cost, true);
    nadb_rec_set_place(rec, move->loc);
    nadb_usage__take(store, move->loc, cost);
}

/* Before the move at `at`. */
static void look_ahead_of_move(const struct nadb_compact *c, size_t at)
{
    size_t slot = at + SLOTS_AHEAD;
    size_t rec = at + RECS_AHEAD;
    if (slot < c->move_count) {
        ask_for_slot(c->store, c->moves[slot].space, c->moves[slot].hash);
    }
    if (rec < c->move_count) {
        ask_for_rec(c->store, c->moves[rec].space, c->moves[rec].hash);
    }
}

bool nadb_compact__move_some(struct nadb_compact *c, uint64_t budget_us)
{
    uint64_t begin_us = nadb_clock_mono_us(c->store->clock);
    while (c->moved < c->move_count) {
        size_t end = c->moved + JUDGE_CHUNK;
        end = end < c->move_count ? end : c->move_count;
        for (; c->moved < end; c->moved++) {
            look_ahead_of_move(c, c->moved);
            move_one(c->store, &c->moves[c->moved]);
        }
        if (nadb_store__elapsed_us(c->store, begin_us) >= budget_us) {
            break;
        }
    }
    return c->moved < c->move_count;
}
