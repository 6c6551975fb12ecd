/* This file keeps writers from running away from compaction.
 *
 * What is overwritten takes room on the disk until its segment has been compacted. Who writes
 * faster than that would fill any disk, so the part of all that may be dead has a bound. After each
 * flush it is known how much more may be written before the bound is reached, if all of it replaces
 * something; writers that come that far wait. While a compaction is under way, each part that it
 * has worked off lets them go on by as much as was dead in it: they slow down to its pace, and do
 * not stand still until its end.
 *
 * Invariants:
 *   1. Nobody waits for a compaction that does not come. Who waits has one begun; where none can or
 *      need be (nothing is worth it, one has just failed, a backup is being made), writers go on,
 *      another segment's worth each time. Nobody waits for more than one compaction either.
 *   2. Below PACE_BUFFERS write buffers in all nobody waits: so much is let die, see
 *      compact_pick.c. */
#include "src/store/store_internal.h"

/* Each compaction, however little was dead in it, is worth this part of a segment to writers. */
#define PACE_LEAST_SHARE 16u

/* After a flush all segments are summed up once this part of a segment has been written. */
#define PACE_LOOK_SHARE 4u

static uint64_t written(const struct nadb_store *store)
{
    return store->pace.cut_bytes + store->buf.bytes;
}

static void let_go(struct nadb_store *store, uint64_t limit)
{
    store->pace.limit = limit;
    store->pace.is_waited_for = false;
    nadb_flight__admit_waiters(store);
}

void nadb_pace__look(struct nadb_store *store)
{
    struct nadb_pace *pace = &store->pace;
    uint64_t stall = store->compaction.stall_percent;
    pace->looked_bytes = pace->cut_bytes;
    if (stall == 0 || store->compaction.dead_percent == 0 || store->backend_ops->compact == NULL) {
        let_go(store, UINT64_MAX);
        return;
    }
    uint64_t total = 0;
    uint64_t needed = store->buf.bytes; /* replaces something, as far as is known */
    for (size_t i = 0; i < store->use_cap; i++) {
        total += store->use[i].total;
        needed += store->use[i].live + store->use[i].kept;
    }
    uint64_t bound = needed / (100 - stall) * 100;
    uint64_t least = NADB_PACE_BUFFERS * store->buffer_size_bytes;
    bound = bound < least ? least : bound;
    uint64_t limit = pace->cut_bytes + (bound > total ? bound - total : 0);
    if (limit > written(store)) {
        let_go(store, limit);
    } else {
        pace->limit = limit;
    }
}

void nadb_pace__flight_ended(struct nadb_store *store)
{
    uint64_t since = store->pace.cut_bytes - store->pace.looked_bytes;
    if (since >= store->compaction.segment_bytes / PACE_LOOK_SHARE) {
        nadb_pace__look(store);
    }
}

void nadb_pace__gained(struct nadb_store *store, uint64_t bytes)
{
    if (store->pace.limit != UINT64_MAX && bytes > 0) {
        let_go(store, store->pace.limit + bytes);
    }
}

void nadb_pace__compacted(struct nadb_store *store)
{
    nadb_pace__look(store);
    uint64_t least = written(store) + store->compaction.segment_bytes / PACE_LEAST_SHARE;
    if (store->pace.limit < least) {
        let_go(store, least);
    }
}

void nadb_pace__go_on(struct nadb_store *store)
{
    if (store->pace.is_waited_for) {
        let_go(store, written(store) + store->compaction.segment_bytes);
    }
}

bool nadb_pace__must_wait(struct nadb_store *store)
{
    if (written(store) < store->pace.limit) {
        return false;
    }
    store->stats.compaction_stalls += !store->pace.is_waited_for;
    store->pace.is_waited_for = true;
    return true;
}
