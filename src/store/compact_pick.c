/* This file chooses what compaction rewrites next: which segments, and how many neighbours as one.
 *
 * Of a run in which no record is left, and of which every record went because something newer of
 * its key is further on in the log, nothing is needed: it is skipped without being read. Under a
 * load that overwrites everything again and again that is how most segments end, so those that are
 * dying fast are let die, as long as all together takes no more room than NADB_PACE_BUFFERS write
 * buffers, or not much is dead. */
#include "src/store/compact_internal.h"

/* One part in so many of everything that was written is dead. */
#define URGENT_PARTS 5u

/* When it is one in so many, a run may become so many segments' worth: it waits for a flush however
 * long it is. Not before, because until its end it takes room besides what it replaces. */
#define PRESSING_PARTS    2u
#define PRESSING_SEGMENTS 4u

/* A segment is dying fast when it lost one part in so many of what was live between two looks, and
 * for some looks after that: loads come in bursts. */
#define DYING_PARTS 4u
#define DYING_LOOKS 8u

#define USE_SHARE 64u /* segments with less than a full one over this are not looked at */

/* So many small neighbours are put together even if nothing of them is dead. */
#define SMALL_RUN   8u
#define SMALL_SHARE 8u /* small: less than a full segment over this */

static uint64_t dead_of(const struct nadb_segment_use *use)
{
    uint64_t needed = use->live + use->kept;
    return use->total > needed ? use->total - needed : 0;
}

/* Is nothing of it needed, whatever is in front of it? */
static bool is_gone(const struct nadb_segment_use *use)
{
    return use->total > 0 && use->live == 0 && use->kept == 0 && !use->has_bare;
}

bool nadb_compact__may_skip(struct nadb_compact *c, const struct nadb_segment_info *info)
{
    return is_gone(nadb_usage__of(c->store, info->number)) && !info->has_guests;
}

/* A look at every number that there ever was: once for a decision, not once for a segment. */
static void sum_up(struct nadb_compact *c)
{
    struct nadb_compact_sums sums = {0};
    for (size_t i = 0; i < c->store->use_cap; i++) {
        const struct nadb_segment_use *use = &c->store->use[i];
        sums.total += use->total;
        sums.needed += use->live + use->kept;
        sums.kept += use->kept;
    }
    c->sums = sums;
}

static bool is_dead_part(const struct nadb_compact *c, uint64_t parts)
{
    return c->sums.total / parts > c->sums.needed / (parts - 1);
}

bool nadb_compact__is_urgent(const struct nadb_compact *c)
{
    return is_dead_part(c, URGENT_PARTS);
}

/* May those that are dying fast be waited for? */
static bool is_patient(const struct nadb_compact *c)
{
    uint64_t buffers = NADB_PACE_BUFFERS * c->store->buffer_size_bytes;
    return c->sums.total <= buffers || !nadb_compact__is_urgent(c);
}

void nadb_compact__look_at_dying(struct nadb_compact *c)
{
    if (c->store->now_us - c->look_us < NADB_COMPACT_LOOK_US) {
        return;
    }
    c->look_us = c->store->now_us;
    for (size_t i = 0; i < c->store->use_cap; i++) {
        struct nadb_segment_use *use = &c->store->use[i];
        bool is_fast = use->live_seen - use->live_seen / DYING_PARTS >= use->live;
        use->dying = is_fast ? DYING_LOOKS : use->dying > 0 ? use->dying - 1 : 0;
        use->live_seen = use->live;
    }
}

/* How much of a segment must be dead: less when writers wait because so much is of all. */
static uint64_t wanted_percent(const struct nadb_store *store)
{
    const struct nadb_compaction_rules *rules = &store->compaction;
    bool is_less = store->pace.is_waited_for && rules->stall_percent < rules->dead_percent;
    return is_less ? rules->stall_percent : rules->dead_percent;
}

static bool is_worth_it(const struct nadb_compact *c, const struct nadb_segment_use *use)
{
    const struct nadb_store *store = c->store;
    return store->compaction.dead_percent > 0 &&
           use->total >= store->compaction.segment_bytes / USE_SHARE &&
           dead_of(use) * 100 >= use->total * wanted_percent(store) &&
           !(use->dying > 0 && !is_gone(use) && is_patient(c));
}

/* About what the segment's needed part takes on the disk. */
static uint64_t needed_bytes(struct nadb_compact *c, const struct nadb_segment_info *info)
{
    const struct nadb_segment_use *use = nadb_usage__of(c->store, info->number);
    uint64_t needed = use->live + use->kept;
    return use->total == 0 || needed >= use->total
               ? info->bytes
               : (uint64_t)((double)info->bytes * ((double)needed / (double)use->total));
}

static bool is_free(const struct nadb_compact *c, const struct nadb_segment_info *info)
{
    return info->is_closed && !info->is_pinned && info->last_seq <= c->store->batch_seq;
}

/* How many segments from `at` on go well into one; those that can be skipped are not mixed with
 * others. */
static size_t run_from(struct nadb_compact *c, size_t at, bool is_pass)
{
    uint64_t bytes = 0;
    size_t count = 0;
    bool is_run_gone = false;
    uint64_t limit = c->store->compaction.segment_bytes *
                     (is_dead_part(c, PRESSING_PARTS) ? PRESSING_SEGMENTS : 1);
    while (at + count < c->list_count && count < NADB_COMPACT_RUN_MAX) {
        const struct nadb_segment_info *info = &c->list[at + count];
        const struct nadb_segment_use *use = nadb_usage__of(c->store, info->number);
        uint64_t needed = needed_bytes(c, info);
        bool is_small = info->bytes < c->store->compaction.segment_bytes / SMALL_SHARE;
        bool is_wanted = is_pass ? info->id < c->pass_end_id : is_small || is_worth_it(c, use);
        bool has_room = count == 0 || bytes + needed <= limit;
        bool is_alike = count == 0 || nadb_compact__may_skip(c, info) == is_run_gone;
        if (!is_free(c, info) || !is_wanted || !has_room || !is_alike) {
            break;
        }
        is_run_gone = nadb_compact__may_skip(c, info);
        bytes += needed;
        count++;
    }
    return count;
}

/* The pass takes what was there at its begin, from the first to the last. */
static bool pick_of_pass(struct nadb_compact *c)
{
    for (c->at = 0; c->at < c->list_count; c->at++) {
        c->count = run_from(c, c->at, true);
        if (c->count > 0) {
            return true;
        }
    }
    return false;
}

/* Where most is dead; or where many small ones are. What can be skipped costs nothing and comes
 * first. */
static bool pick_best(struct nadb_compact *c)
{
    uint64_t best = 0;
    bool is_found = false;
    for (size_t i = 0; i < c->list_count;) {
        size_t count = run_from(c, i, false);
        uint64_t dead = 0;
        for (size_t k = 0; k < count; k++) {
            const struct nadb_segment_use *use = nadb_usage__of(c->store, c->list[i + k].number);
            dead += is_worth_it(c, use) ? dead_of(use) : 0;
        }
        if (dead > 0 && nadb_compact__may_skip(c, &c->list[i])) {
            dead = UINT64_MAX;
        }
        bool is_candidate = dead > 0 || count >= SMALL_RUN;
        if (is_candidate && (!is_found || dead > best)) {
            is_found = true;
            best = dead;
            c->at = i;
            c->count = count;
        }
        i += count > 0 ? count : 1;
    }
    return is_found;
}

bool nadb_compact__pick(struct nadb_compact *c)
{
    sum_up(c);
    return c->wish.pass != 0 ? pick_of_pass(c) : pick_best(c);
}

uint64_t nadb_compact__horizon(struct nadb_compact *c)
{
    uint64_t horizon = UINT64_MAX;
    for (size_t i = 0; i < c->at; i++) {
        uint64_t cleaned = nadb_usage__of(c->store, c->list[i].number)->cleaned;
        horizon = cleaned < horizon ? cleaned : horizon;
    }
    return horizon;
}

/* ---- when ---- */

bool nadb_compact__is_called_for(struct nadb_compact *c)
{
    struct nadb_store *store = c->store;
    bool is_found = false;
    sum_up(c);
    for (uint32_t i = 0; i < store->use_cap; i++) {
        const struct nadb_segment_use *use = &store->use[i];
        is_found = is_found || (i != store->use_active && is_worth_it(c, use));
    }
    uint64_t segments = store->stats.backend.segments;
    if (segments >= c->segments_seen + SMALL_RUN || segments < c->segments_seen) {
        c->segments_seen = segments;
        is_found = true;
    }
    if (store->compaction.dead_percent > 0 && c->sums.total >= store->compaction.segment_bytes &&
        c->sums.kept * 100 >= c->sums.total * store->compaction.dead_percent) {
        c->next_wish.pass = ++c->passes; /* only a pass gets rid of what had to be kept */
    }
    return is_found && store->compaction.dead_percent > 0;
}

bool nadb_compact__wants(struct nadb_store *store, uint32_t number)
{
    const struct nadb_segment_use *use = nadb_usage__of(store, number);
    return use->dying > 0 || is_worth_it(store->compact, use);
}
