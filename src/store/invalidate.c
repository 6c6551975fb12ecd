/* This file removes what a selector selects: at once to every reader, in slices to the memory.
 *
 *     few    each record is deleted in the command itself, like DEL
 *     all    the keyspace is cleared, like FLUSHDB
 *     many   1. pass    with a pattern for keys only: which of the selected match it, in slices
 *            2. hide    the ids become the space's `dying` set; one entry is logged, the selector
 *            3. sweep   the dying are taken out of the index and freed, in slices
 *
 * Between 2 and 3 the records are in the index, but every way to them asks `dying`, and whoever
 * meets one on its way to the key takes it out (nadb_change__bury).
 *
 * Invariants:
 *   1. A space has one dying set at a time, and one pass. Who needs a second one waits, or,
 *      inside a transaction, deletes one by one.
 *   2. dying->count is the number of records in the index that nadb_dying__has. Ids that get a new
 *      owner leave the set.
 *   3. In durability always nothing is swept before the invalidation is durable. What is buried on
 *      the way stays in the undo log, and a rollback brings it back only together with the rest:
 *      not when the invalidation itself has become durable (nadb_undo.dead_by).
 *   4. Recovery runs the logged selector over the records that the log has brought so far, and
 *      spares those with a later version. That gives the same set: a record that has not changed
 *      since is as it was, one that has is spared, and what went otherwise is gone either way.
 *   5. A pass knows the matching records among those that it has visited, whatever changes: every
 *      link and unlink of the index is told to it.
 *
 * Thread: loop. */
#include "src/base/assert.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define IDS_CHUNK   64u
#define VISIT_CHUNK 64u

struct nadb_invalidation {
    struct nadb_space *space; /* NULL: it is gone */
    struct nadb_buf packed;   /* owned: selector and pattern as they go into the log */
    struct nadb_selector selector;
    struct nadb_slice pattern; /* data NULL: all keys */
    bool must_restart;
    bool by_index;             /* the untagged, too: through the map of keys */
    struct nadb_bitmap *todo;  /* owned: ids that were selected at the beginning */
    struct nadb_bitmap *match; /* owned: ids that are selected and match the pattern */
    uint64_t untagged;         /* those visited that match */
    uint64_t at;               /* next id or position; everything below has been visited */
    bool is_at_end;
};

static bool is_tagged(const struct nadb_rec *rec)
{
    return (rec->flags & NADB_REC_HAS_TAGS) != 0;
}

static bool matches(struct nadb_slice pattern, const struct nadb_rec *rec)
{
    return pattern.data == NULL || nadb_glob_match(pattern, nadb_rec_key(rec));
}

/* ---- the dying ---- */

bool nadb_dying__has(const struct nadb_space *space, const struct nadb_rec *rec)
{
    const struct nadb_dying *dying = space->dying;
    if (is_tagged(rec)) {
        return nadb_bitmap_contains(dying->ids, nadb_rec_tags_part(rec)->id);
    }
    return dying->has_untagged && rec->version < dying->version &&
           matches(nadb_slice_of(dying->pattern, dying->pattern_len), rec);
}

void nadb_dying__free(struct nadb_dying *dying)
{
    if (dying != NULL) {
        nadb_bitmap_free(dying->ids);
        nadb_mem_free(dying->pattern);
        nadb_mem_free(dying);
    }
}

bool nadb_dying__may_return(const struct nadb_store *store, const struct nadb_space *space)
{
    return space->dying->must_be_durable && space->dying->version > store->durable;
}

void nadb_dying__note_unlink(struct nadb_space *space, const struct nadb_rec *old)
{
    if (space->dying != NULL && nadb_dying__has(space, old)) {
        space->dying->count--;
        if (is_tagged(old)) {
            (void)nadb_bitmap_remove(space->dying->ids, nadb_rec_tags_part(old)->id); /* is there */
        }
    }
}

void nadb_dying__note_linked(struct nadb_space *space, const struct nadb_rec *rec)
{
    if (space->dying != NULL && is_tagged(rec)) {
        /* The id's last owner may have left it there when the set was made. */
        (void)nadb_bitmap_remove(space->dying->ids, nadb_rec_tags_part(rec)->id);
    }
}

static void bury(struct nadb_store *store, struct nadb_space *space, const struct nadb_rec *rec)
{
    struct nadb_slice key = nadb_rec_key(rec);
    uint64_t hash = nadb_hash(store->hash_key, key);
    nadb_index_slot slot = nadb_index_find(&space->index, key, hash);
    NADB_ASSERT(slot != NULL && nadb_index_rec(slot) == rec);
    nadb_change__bury(store, space, slot, hash);
}

/* The next records by id: how many; 0: there are none. */
static size_t next_by_id(const struct nadb_space *space, const struct nadb_bitmap *ids,
    uint64_t *next_id, struct nadb_rec **out)
{
    uint32_t numbers[IDS_CHUNK];
    while (*next_id <= UINT32_MAX) {
        size_t got = nadb_bitmap_read(ids, (uint32_t)*next_id, numbers, IDS_CHUNK);
        if (got == 0) {
            break;
        }
        *next_id = (uint64_t)numbers[got - 1] + 1;
        size_t count = 0;
        for (size_t i = 0; i < got; i++) {
            struct nadb_rec *rec = nadb_tagindex_rec(space->tags, numbers[i]);
            if (rec != NULL) {
                NADB_PREFETCH(rec);
                out[count++] = rec;
            }
        }
        if (count > 0) {
            return count;
        }
    }
    *next_id = UINT64_MAX;
    return 0;
}

/* What a visit of the map finds; visits are short, but a stretch may be long. */
struct found {
    const struct nadb_space *space;
    struct nadb_rec **recs; /* owned */
    size_t count, cap;
    bool wants_dying; /* only those */
};

static void note_found(void *ctx, struct nadb_rec *rec)
{
    struct found *found = ctx;
    if (found->wants_dying && !nadb_space__is_dying(found->space, rec)) {
        return;
    }
    if (found->count == found->cap) {
        found->cap = found->cap == 0 ? VISIT_CHUNK : found->cap * 2;
        found->recs = nadb_mem_realloc(found->recs, found->cap * sizeof(struct nadb_rec *));
    }
    found->recs[found->count++] = rec;
}

/* Buries some of the space's dying; false: there are none left. */
static bool sweep_some(struct nadb_store *store, struct nadb_space *space)
{
    struct nadb_dying *dying = space->dying;
    if (dying->next_id != UINT64_MAX) {
        struct nadb_rec *recs[IDS_CHUNK];
        size_t count = next_by_id(space, dying->ids, &dying->next_id, recs);
        for (size_t i = 0; i < count; i++) {
            bury(store, space, recs[i]);
        }
        return true;
    }
    if (!dying->has_untagged || dying->count == 0) {
        return false;
    }
    struct found found = {.space = space, .wants_dying = true};
    dying->next_at =
        nadb_index_visit(&space->index, dying->next_at, VISIT_CHUNK, note_found, &found);
    for (size_t i = 0; i < found.count; i++) {
        bury(store, space, found.recs[i]);
    }
    nadb_mem_free(found.recs);
    return dying->next_at != 0;
}

/* The next space whose dying may be freed. */
static struct nadb_space *find_sweepable(const struct nadb_store *store)
{
    for (size_t i = 0; i < store->keyspace_count; i++) {
        struct nadb_space *space = store->keyspaces[i]->space;
        if (space->dying != NULL && !nadb_dying__may_return(store, space)) {
            return space;
        }
    }
    return NULL;
}

bool nadb_dying__sweep(struct nadb_store *store, uint64_t budget_us)
{
    if (NADB_LIKELY(store->dying_count == 0)) {
        return false;
    }
    uint64_t begin_us = nadb_clock_mono_us(store->clock);
    struct nadb_space *space;
    while ((space = find_sweepable(store)) != NULL) {
        while (sweep_some(store, space)) {
            if (nadb_store__elapsed_us(store, begin_us) >= budget_us) {
                return true;
            }
        }
        NADB_ASSERT(space->dying->count == 0);
        nadb_dying__free(space->dying);
        space->dying = NULL;
        store->dying_count--;
    }
    return false;
}

/* ---- the pass ---- */

void nadb_pass__note_unlink(struct nadb_space *space, const struct nadb_rec *old)
{
    struct nadb_invalidation *pass = space->pass;
    if (pass == NULL) {
        return;
    }
    if (is_tagged(old)) {
        (void)nadb_bitmap_remove(pass->match, nadb_rec_tags_part(old)->id); /* if it is there */
        return;
    }
    uint64_t hash = nadb_hash(*space->index.hash_key, nadb_rec_key(old));
    bool is_visited = pass->by_index && (pass->is_at_end || hash < pass->at);
    if (is_visited && matches(pass->pattern, old)) {
        pass->untagged--;
    }
}

void nadb_pass__note_linked(struct nadb_space *space, const struct nadb_rec *rec)
{
    struct nadb_invalidation *pass = space->pass;
    if (pass == NULL) {
        return;
    }
    bool is_match =
        matches(pass->pattern, rec) && nadb_selector_matches(&pass->selector, nadb_rec_tags(rec));
    if (is_tagged(rec)) {
        if (is_match) {
            nadb_bitmap_add(pass->match, nadb_rec_tags_part(rec)->id);
        }
        return;
    }
    uint64_t hash = nadb_hash(*space->index.hash_key, nadb_rec_key(rec));
    if (is_match && pass->by_index && (pass->is_at_end || hash < pass->at)) {
        pass->untagged++;
    }
}

void nadb_pass__restart(struct nadb_space *space)
{
    if (space->pass != NULL) {
        space->pass->must_restart = true;
    }
}

void nadb_pass__forget_space(struct nadb_space *space)
{
    if (space->pass != NULL) {
        space->pass->space = NULL;
        space->pass = NULL;
    }
}

static void end_pass(struct nadb_invalidation *pass)
{
    if (pass->space != NULL) {
        pass->space->pass = NULL;
        pass->space = NULL;
    }
    nadb_bitmap_free(pass->todo);
    nadb_bitmap_free(pass->match);
    pass->todo = pass->match = NULL;
}

void nadb_invalidation_free(struct nadb_invalidation *invalidation)
{
    if (invalidation != NULL) {
        end_pass(invalidation);
        nadb_selector_fini(&invalidation->selector);
        nadb_buf_fini(&invalidation->packed);
        nadb_mem_free(invalidation);
    }
}

static void begin_pass(struct nadb_invalidation *pass, struct nadb_space *space)
{
    struct nadb_tag_result result;
    nadb_space__select(space, &pass->selector, &result);
    pass->must_restart = false;
    pass->space = space;
    pass->by_index = result.is_inverted;
    pass->todo = result.ids;
    pass->match = nadb_bitmap_new();
    pass->untagged = 0;
    pass->at = 0;
    pass->is_at_end = false;
    space->pass = pass;
}

static void visit_candidate(struct nadb_invalidation *pass, const struct nadb_rec *rec)
{
    if (!matches(pass->pattern, rec) ||
        !nadb_selector_matches(&pass->selector, nadb_rec_tags(rec))) {
        return;
    }
    if (is_tagged(rec)) {
        nadb_bitmap_add(pass->match, nadb_rec_tags_part(rec)->id);
    } else {
        pass->untagged++;
    }
}

/* Visits some more. */
static void step_pass(struct nadb_invalidation *pass)
{
    if (!pass->by_index) {
        struct nadb_rec *recs[IDS_CHUNK];
        size_t count = next_by_id(pass->space, pass->todo, &pass->at, recs);
        for (size_t i = 0; i < count; i++) {
            visit_candidate(pass, recs[i]);
        }
        pass->is_at_end = count == 0;
        return;
    }
    struct found found = {.space = pass->space};
    pass->at = nadb_index_visit(&pass->space->index, pass->at, VISIT_CHUNK, note_found, &found);
    pass->is_at_end = pass->at == 0;
    for (size_t i = 0; i < found.count; i++) {
        visit_candidate(pass, found.recs[i]);
    }
    nadb_mem_free(found.recs);
}

/* False: not at the end yet. */
static bool run_pass(struct nadb_store *store, struct nadb_space *space,
    struct nadb_invalidation *pass, const struct nadb_invalidate_opts *opts)
{
    uint64_t begin_us = nadb_clock_mono_us(store->clock);
    if (pass->space != space || pass->must_restart) {
        end_pass(pass);
        begin_pass(pass, space);
    }
    while (!pass->is_at_end) {
        step_pass(pass);
        if (opts->may_yield && !pass->is_at_end &&
            nadb_store__elapsed_us(store, begin_us) >= opts->budget_us) {
            return false;
        }
    }
    return true;
}

/* ---- removing ---- */

/* Deletes, or only counts, the records one by one. */
static uint64_t delete_each(struct nadb_store *store, struct nadb_space *space,
    const struct nadb_invalidate_opts *opts, struct nadb_tag_result *result)
{
    struct found found = {.space = space};
    uint64_t at = 0;
    if (result->is_inverted) {
        do {
            at = nadb_index_visit(&space->index, at, SIZE_MAX, note_found, &found);
        } while (at != 0);
    } else {
        struct nadb_rec *recs[IDS_CHUNK];
        for (size_t count; (count = next_by_id(space, result->ids, &at, recs)) > 0;) {
            for (size_t i = 0; i < count; i++) {
                note_found(&found, recs[i]);
            }
        }
    }
    uint64_t count = 0;
    for (size_t i = 0; i < found.count; i++) {
        struct nadb_rec *rec = found.recs[i];
        if (!nadb_tag_result_has(result, rec) || !matches(opts->pattern, rec) ||
            nadb_space__is_dying(space, rec)) {
            continue;
        }
        count++;
        if (!opts->is_dry_run) {
            struct nadb_slice key = nadb_rec_key(rec);
            uint64_t hash = nadb_hash(store->hash_key, key);
            nadb_change__delete(store, space, nadb_index_find(&space->index, key, hash), hash);
        }
    }
    nadb_mem_free(found.recs);
    return count;
}

struct hidden {
    struct nadb_bitmap *ids; /* taken */
    uint64_t count;
    bool has_untagged;
};

/* Takes the records out of sight, and writes down why. */
static void hide(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_invalidation *invalidation, struct hidden hidden)
{
    struct nadb_space *space = keyspace->space;
    uint64_t version = nadb_space__next_version(store);
    store->stats.changes_unsaved += hidden.count;
    struct nadb_dying *dying = nadb_mem_zalloc(sizeof(*dying));
    *dying = (struct nadb_dying){
        .ids = hidden.ids,
        .count = hidden.count,
        .version = version,
        .must_be_durable = store->durability == NADB_DURABILITY_ALWAYS && !store->is_volatile,
        .has_untagged = hidden.has_untagged,
        .pattern_len = invalidation->pattern.len,
    };
    if (invalidation->pattern.data != NULL) {
        dying->pattern = nadb_mem_alloc(dying->pattern_len + 1);
        memcpy(dying->pattern, invalidation->pattern.data, dying->pattern_len);
    }
    space->dying = dying;
    store->dying_count++;
    if (dying->must_be_durable) {
        const struct nadb_undo undo = {
            .kind = NADB_UNDO_INVALIDATE, .version = version, .space = space};
        nadb_undo__push(store, &undo);
    }
    if (!store->is_volatile) {
        nadb_wbuf__invalidate(store, space, nadb_buf_slice(&invalidation->packed), version);
    }
    nadb_watch__touch_dying(store, keyspace);
    store->events->wake(store->events_ctx);
}

static struct nadb_invalidation *invalidation_new(
    const struct nadb_invalidate_opts *opts, struct nadb_error *reterr)
{
    struct nadb_invalidation *invalidation = nadb_mem_zalloc(sizeof(*invalidation));
    nadb_buf_init(&invalidation->packed, NADB_VALUE_LEN_MAX);
    nadb_selector_init(&invalidation->selector);
    if (!nadb_selector_pack(opts->selector, opts->pattern, &invalidation->packed) ||
        !nadb_selector_unpack(&invalidation->selector, nadb_buf_slice(&invalidation->packed),
            &invalidation->pattern)) {
        nadb_invalidation_free(invalidation);
        (void)nadb_error_set(reterr, NADB_ENOMEM, 0, "not enough memory for the selector");
        return NULL;
    }
    return invalidation;
}

/* What the pass has found, or without a pattern the result itself. */
static struct hidden gather(struct nadb_space *space, struct nadb_invalidation *invalidation,
    struct nadb_tag_result *result)
{
    if (invalidation->pattern.data != NULL) {
        struct hidden hidden = {
            .ids = invalidation->match,
            .count = nadb_bitmap_count(invalidation->match) + invalidation->untagged,
            .has_untagged = invalidation->by_index,
        };
        invalidation->match = NULL;
        return hidden;
    }
    struct hidden hidden = {.ids = result->ids, .has_untagged = result->is_inverted};
    hidden.count = space->tags == NULL ? 0 : nadb_tag_result_count(space->tags, result);
    if (result->is_inverted) {
        hidden.count += space->index.count - (space->tags == NULL ? 0 : space->tags->tagged);
        /* Free ids get into the set, and leave it when they are used. */
        nadb_bitmap_complement(result->ids, space->tags == NULL ? 0 : space->tags->id_limit);
    }
    result->ids = NULL;
    return hidden;
}

/* Many records: false is AGAIN. */
static bool remove_many(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_invalidate_opts *opts, struct nadb_invalidation *invalidation,
    struct nadb_tag_result *result, uint64_t *ret_count)
{
    struct nadb_space *space = keyspace->space;
    bool is_taken = space->dying != NULL || (space->pass != NULL && space->pass != invalidation);
    if (is_taken && opts->may_yield) {
        return false;
    }
    if (is_taken) {
        *ret_count = delete_each(store, space, opts, result);
        return true;
    }
    if (invalidation->pattern.data != NULL && !run_pass(store, space, invalidation, opts)) {
        return false;
    }
    struct hidden hidden = gather(space, invalidation, result);
    end_pass(invalidation);
    *ret_count = hidden.count;
    if (opts->is_dry_run || hidden.count == 0) {
        nadb_bitmap_free(hidden.ids);
    } else {
        hide(store, keyspace, invalidation, hidden);
    }
    return true;
}

static bool is_everything(const struct nadb_invalidate_opts *opts, struct nadb_tag_result *result)
{
    return opts->pattern.data == NULL && result->is_inverted && nadb_bitmap_count(result->ids) == 0;
}

/* Whoever clears the keyspace (is_noted) has noted the epoch. */
static void note_done(struct nadb_store *store, struct nadb_space *space,
    const struct nadb_selector *selector, bool is_noted, uint64_t count)
{
    store->tag_stats.invalidations++;
    store->tag_stats.invalidated_keys += count;
    if (!is_noted) {
        nadb_space__note_epoch(store, space, selector);
    }
}

enum nadb_invalidate_outcome nadb_store_invalidate(struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_invalidate_opts *opts,
    struct nadb_invalidation **progress, uint64_t *ret_count, struct nadb_error *reterr)
{
    NADB_ASSERT(store->cmd_is_open);
    struct nadb_space *space = keyspace->space;
    if (store->shared != NULL) {
        return nadb_shared__invalidate(store, keyspace, opts, ret_count, reterr);
    }
    if (nadb_space__check_cost(space, opts->selector, reterr) != NADB_OK ||
        (*progress == NULL && (*progress = invalidation_new(opts, reterr)) == NULL)) {
        return NADB_INVALIDATE_ERROR;
    }
    nadb_store__note_seen_all(store);
    struct nadb_tag_result result;
    nadb_space__select(space, opts->selector, &result);
    bool is_inverted = result.is_inverted;
    bool is_done = true;
    bool is_noted = false;
    uint64_t candidates = is_inverted ? space->index.count : nadb_bitmap_count(result.ids);
    if (candidates <= store->invalidate_few) {
        *ret_count = delete_each(store, space, opts, &result);
    } else if (is_everything(opts, &result)) {
        is_noted = !opts->is_dry_run;
        *ret_count = is_noted ? nadb_store_clear(store, keyspace) : nadb_space__count(space);
    } else {
        is_done = remove_many(store, keyspace, opts, *progress, &result, ret_count);
    }
    nadb_bitmap_free(result.ids);
    if (!is_done) {
        return NADB_INVALIDATE_AGAIN;
    }
    nadb_invalidation_free(*progress);
    *progress = NULL;
    if (!opts->is_dry_run) {
        note_done(store, space, is_inverted ? NULL : opts->selector, is_noted, *ret_count);
    }
    return NADB_INVALIDATE_DONE;
}
