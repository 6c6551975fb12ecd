/* This file deletes keys when more memory is in use than allowed.
 *
 * Each key that goes is the best of a few candidates, records that follow each other in the index
 * from a random position on: hashes are random, so their neighbours are, too. The keyspace is drawn
 * first, each with a chance by its number of keys that the policy may take.
 *
 * An evicted key is deleted as by a command: written as a tombstone, seen by WATCH, held back from
 * readers until it is durable. So its memory does not all come back at once: the record may be
 * frozen or in the undo log, and the tombstone takes some until it is written. What is still to
 * come is counted as owed and not evicted for a second time; it is settled when the flush ends that
 * the tombstone goes with.
 *
 * Keys with a TTL can be so rare that no stretch of the index shows one. Then the timing wheel,
 * which has nothing else, gives the candidates. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define SAMPLES_DEFAULT 5u
#define VISIT_MAX       128u /* records looked at for keys with a TTL */
#define AT_ONCE_MAX     32u  /* keys that one command makes go */
#define STEP_CHUNK      16u

#define DROP_AT_ONCE_MAX 8u  /* stretches of records whose values one command makes go */
#define VALUES_SHARE     12u /* so much of maxmemory is kept free of values */
#define SLACK_SHARE      32u /* so much of maxmemory may be too much for a moment */

/* What the allocations of a deletion may take beyond what the key had: tombstone and entry. */
#define DELETION_BYTES 192u

struct choice {
    const struct nadb_store *store;
    struct nadb_space *space; /* of the candidates; NULL: each has its own */
    struct nadb_rec *best;
    uint64_t best_score;
    unsigned seen;
};

void nadb_evict__init(struct nadb_store *store)
{
    store->evict.samples = SAMPLES_DEFAULT;
    nadb_rng_seed(&store->evict.rng, store->hash_key.k0);
}

void nadb_store_set_eviction(struct nadb_store *store, enum nadb_eviction policy, unsigned samples)
{
    NADB_ASSERT(samples >= 1 && samples <= NADB_EVICT_SAMPLES_MAX);
    store->evict.policy = policy;
    store->evict.samples = samples;
}

/* What background work holds for a moment. Keys that went for it would be gone when it gives the
 * memory back. */
static uint64_t passing_bytes(const struct nadb_store *store)
{
    uint64_t jobs = nadb_store_is_compacting(store);
    jobs += store->hinter.state == NADB_HINTER_HINT;
    jobs += store->verify->state == NADB_VERIFY_CHECK;
    return jobs * NADB_BACKEND_CHUNK_BYTES;
}

static uint64_t excess(const struct nadb_store *store)
{
    if (store->maxmemory_bytes == 0) {
        return 0;
    }
    uint64_t allowed = store->maxmemory_bytes + store->evict.owed + store->evict.owed_by_flight +
                       passing_bytes(store);
    uint64_t used = nadb_mem_used();
    return used > allowed ? used - allowed : 0;
}

/* Values begin to go a little earlier: what the allocator holds besides, and what jobs take for a
 * while, has to be somewhere, too. */
static bool has_too_many_values(const struct nadb_store *store)
{
    return store->maxmemory_bytes > 0 &&
           nadb_mem_used() > store->maxmemory_bytes - store->maxmemory_bytes / VALUES_SHARE +
                                 passing_bytes(store);
}

bool nadb_evict__is_over(const struct nadb_store *store)
{
    return excess(store) > 0;
}

/* ---- choosing ---- */

static bool is_volatile_only(const struct nadb_store *store)
{
    return store->evict.policy >= NADB_EVICT_VOLATILE_LRU;
}

/* The higher, the sooner it goes. */
static uint64_t score(const struct nadb_store *store, const struct nadb_rec *rec)
{
    uint64_t now_s = store->now_ms / 1000;
    switch (store->evict.policy) {
    case NADB_EVICT_ALL_LRU:
    case NADB_EVICT_ALL_LFU:
    case NADB_EVICT_VOLATILE_LRU:
    case NADB_EVICT_VOLATILE_LFU:
        return now_s - nadb_rec_accessed_s(rec, now_s) + 1;
    case NADB_EVICT_VOLATILE_TTL:
        return UINT64_MAX - nadb_rec_expire_ms(rec);
    case NADB_EVICT_NOTHING:
    case NADB_EVICT_ALL_RANDOM:
    case NADB_EVICT_VOLATILE_RANDOM:
        break;
    }
    return 1;
}

static void consider(struct choice *choice, struct nadb_rec *rec)
{
    uint64_t rec_score = score(choice->store, rec);
    choice->seen++;
    if (choice->best == NULL || rec_score > choice->best_score) {
        choice->best = rec;
        choice->best_score = rec_score;
    }
}

static void visit(void *ctx, struct nadb_rec *rec)
{
    struct choice *choice = ctx;
    bool is_fitting = !is_volatile_only(choice->store) || (rec->flags & NADB_REC_HAS_TTL);
    if (is_fitting && choice->seen < choice->store->evict.samples &&
        !nadb_space__is_dying(choice->space, rec)) {
        consider(choice, rec);
    }
}

/* Draws a keyspace; NULL when none has a key that the policy may take. */
static struct nadb_space *draw_space(struct nadb_store *store)
{
    uint64_t sum = 0;
    struct nadb_space *drawn = NULL;
    for (size_t i = 0; i < store->keyspace_count; i++) {
        struct nadb_space *space = store->keyspaces[i]->space;
        uint64_t count = is_volatile_only(store) ? space->expires : space->index.count;
        sum += count;
        if (count > 0 && nadb_rng_below(&store->evict.rng, sum) < count) {
            drawn = space;
        }
    }
    return drawn;
}

static void choose_from_index(struct nadb_store *store, struct choice *choice)
{
    uint64_t at = nadb_rng_next(&store->evict.rng);
    size_t visited = 0;
    /* From the front again at the end, but not for ever. */
    for (unsigned rounds = 0; rounds < VISIT_MAX && visited < VISIT_MAX; rounds++) {
        size_t max = is_volatile_only(store) ? VISIT_MAX : store->evict.samples;
        at = nadb_index_visit(&choice->space->index, at, max, visit, choice);
        visited += max;
        if (choice->seen >= store->evict.samples || (at == 0 && choice->seen > 0)) {
            return;
        }
    }
}

/* The wheel may have records of spaces that were cleared: those are nobody's keys. */
static bool is_linked(const struct nadb_store *store, const struct nadb_rec *rec)
{
    uint16_t id = nadb_rec_ttl_part(rec)->keyspace;
    struct nadb_space *space = id < store->spaces_cap ? store->spaces[id] : NULL;
    struct nadb_slice name = nadb_rec_key(rec);
    nadb_index_slot slot =
        space == NULL ? NULL
                      : nadb_index_find(&space->index, name, nadb_hash(store->hash_key, name));
    return slot != NULL && nadb_index_rec(slot) == rec && !nadb_space__is_dying(space, rec);
}

static void choose_from_list(struct choice *choice, struct nadb_rec *first)
{
    unsigned looked_at = 0;
    for (struct nadb_rec *rec = first; rec != NULL && looked_at < VISIT_MAX; looked_at++) {
        if (choice->seen >= choice->store->evict.samples) {
            return;
        }
        if (is_linked(choice->store, rec)) {
            consider(choice, rec);
        }
        rec = nadb_rec_ttl_part(rec)->next;
    }
}

static void choose_from_wheel(const struct nadb_store *store, struct choice *choice)
{
    const struct nadb_wheel *wheel = store->wheel;
    for (; wheel != NULL && choice->best == NULL; wheel = wheel->older) {
        choose_from_list(choice, wheel->pending);
        for (size_t level = 0; level < NADB_WHEEL_LEVELS; level++) {
            for (size_t slot = 0; slot < NADB_WHEEL_SLOTS && choice->best == NULL; slot++) {
                choose_from_list(choice, wheel->slots[level][slot]);
            }
        }
    }
}

/* ---- evicting ---- */

static uint64_t bytes_of(const struct nadb_rec *rec)
{
    uint64_t bytes = nadb_mem_usable(rec);
    if (rec->flags & NADB_REC_HAS_BLOB) {
        bytes += nadb_mem_usable(*nadb_rec_blob_part(rec));
    }
    return bytes;
}

static void evict(struct nadb_store *store, struct nadb_space *space, const struct nadb_rec *rec)
{
    struct nadb_slice name = nadb_rec_key(rec);
    uint64_t hash = nadb_hash(store->hash_key, name);
    nadb_index_slot slot = nadb_index_find(&space->index, name, hash);
    NADB_ASSERT(slot != NULL && nadb_index_rec(slot) == rec);
    uint64_t bytes = bytes_of(rec);
    uint64_t before = nadb_mem_used();
    nadb_change__evict(store, space, slot, hash);
    uint64_t after = nadb_mem_used();
    store->stats.evicted++;
    if (store->is_volatile) {
        return;
    }
    /* Other threads allocate, too: what is counted stays within what the key can account for. */
    uint64_t wanted = before > bytes ? before - bytes : 0;
    uint64_t owed = after > wanted ? after - wanted : 0;
    uint64_t owed_max = bytes + DELETION_BYTES;
    store->evict.owed += owed < owed_max ? owed : owed_max;
}

/* False when there is no key that the policy may take. */
static bool evict_one(struct nadb_store *store)
{
    struct nadb_space *space = draw_space(store);
    if (store->evict.policy == NADB_EVICT_NOTHING || space == NULL) {
        return false;
    }
    struct choice choice = {.store = store, .space = space};
    choose_from_index(store, &choice);
    if (choice.best == NULL && is_volatile_only(store)) {
        choose_from_wheel(store, &choice);
        if (choice.best != NULL) {
            space = store->spaces[nadb_rec_ttl_part(choice.best)->keyspace];
        }
    }
    if (choice.best == NULL) {
        return false;
    }
    evict(store, space, choice.best);
    return true;
}

/* What is not on disk yet cannot be dropped, but will soon; and nothing can while what has been
 * written learns its place, which takes no time. */
static bool is_mostly_unwritten(const struct nadb_store *store)
{
    uint64_t bytes = store->buf.bytes;
    if (store->flight.state == NADB_FLIGHT_LANDING) {
        return true;
    }
    if (store->flight.state != NADB_FLIGHT_IDLE) {
        bytes += store->flight.buf.bytes;
    }
    return !store->is_volatile && store->state == NADB_STORAGE_OK && bytes >= excess(store) / 2;
}

enum nadb_room nadb_evict__make_room(struct nadb_store *store)
{
    bool has_values = true;
    for (unsigned i = 0; i < DROP_AT_ONCE_MAX && has_values && has_too_many_values(store); i++) {
        has_values = nadb_cold__drop_some(store);
    }
    if (excess(store) == 0) {
        return NADB_ROOM_YES;
    }
    store->events->wake(store->events_ctx); /* the next steps go on */
    if (has_values || is_mostly_unwritten(store)) {
        if (!has_values) {
            nadb_store_flush_start(store);
        }
        return excess(store) < store->maxmemory_bytes / SLACK_SHARE ? NADB_ROOM_YES
                                                                    : NADB_ROOM_SOON;
    }
    for (unsigned i = 0; i < AT_ONCE_MAX && excess(store) > 0; i++) {
        if (store->phase != NADB_STORE_OPEN || !evict_one(store)) {
            return NADB_ROOM_NONE;
        }
    }
    return NADB_ROOM_YES;
}

bool nadb_evict__step(struct nadb_store *store, uint64_t budget_us)
{
    if (!has_too_many_values(store)) {
        return false;
    }
    uint64_t begin_us = nadb_clock_mono_us(store->clock);
    while (has_too_many_values(store) && nadb_cold__drop_some(store)) {
        if (nadb_store__elapsed_us(store, begin_us) >= budget_us) {
            return true;
        }
    }
    if (excess(store) == 0 || store->evict.policy == NADB_EVICT_NOTHING ||
        is_mostly_unwritten(store)) {
        nadb_flight__admit_waiters(store);
        return false;
    }
    do {
        for (unsigned i = 0; i < STEP_CHUNK; i++) {
            if (excess(store) == 0 || !evict_one(store)) {
                return false;
            }
        }
    } while (nadb_store__elapsed_us(store, begin_us) < budget_us);
    return true;
}
