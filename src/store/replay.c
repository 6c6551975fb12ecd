/* This file rebuilds the store from its backend at the start.
 *
 * Workers decode the backend's units in parallel, a window of them ahead of the loop, each with one
 * part decoded in advance; they hash the keys and make the records, too. The loop links the records
 * into the index, strictly in the order of the log and in slices, so that clients get -LOADING
 * instead of silence. */
#include "src/base/assert.h"
#include "src/base/glob.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define OPEN_RETRY_US UINT64_C(500000)
#define OPEN_TELL_US  UINT64_C(5000000)

#define WINDOW         4u  /* units being decoded at a time */
#define ENTRY_OVERHEAD 40u /* of an entry on disk, about */
#define APPLY_GROUP    16u /* entries whose places are warmed together */
#define DOOM_VISIT     64u
#define DOOM_CHUNK     (DOOM_VISIT + 4096u) /* a visit passes its number by a segment at most */

/* A chunk of the log, made ready for the index. */
struct part {
    struct nadb_replay_chunk chunk;
    uint64_t *hashes;       /* of the keys */
    struct nadb_rec **recs; /* of the PUTs; NULL: not a PUT, dead already, or handed over */
    uint64_t bytes;         /* about what the entries take on disk */
};

struct unit {
    struct nadb_job job;
    struct nadb_store *store;
    uint32_t number;
    bool is_started, is_busy, is_at_end;
    /* the worker's while is_busy */
    uint64_t cursor;
    struct part next;
    enum nadb_err err;
    struct nadb_error error;
    /* loop */
    bool has_next, has_part;
    struct part part;
};

/* An INVALIDATE being applied: what it selects goes, but for what is newer. */
struct doom {
    struct nadb_space *space; /* NULL: none is under way */
    struct nadb_tag_result result;
    struct nadb_slice pattern; /* in the entry */
    uint64_t version;
    uint64_t at; /* next id, or position in the index */
};

struct nadb_replay {
    struct nadb_job open_job;
    /* the worker's until open has ended */
    struct nadb_backend_open_info open_info;
    enum nadb_err open_err;
    struct nadb_error open_error;
    uint64_t retry_us, told_us; /* loop: when open is tried again, 0: it is not; what was told */
    /* loop */
    struct nadb_backend_open_info info;
    struct unit *units;
    uint32_t unit_at;
    size_t entry_at;
    size_t busy_count;
    enum nadb_err err;
    struct nadb_error error;
    uint64_t entries, version_max, started_us;
    uint64_t wall_ms; /* the latest that the log knows of */
    bool has_reserved;
    struct doom doom;
};

/* ---- the workers' half ---- */

/* Copies `bytes` into a blob if they are too long to be inline; false: out of memory. */
static bool blob_from(struct nadb_slice bytes, size_t inline_max, struct nadb_blob **ret)
{
    *ret = NULL;
    if (bytes.len <= inline_max) {
        return true;
    }
    *ret = nadb_blob_new(bytes.len);
    if (*ret == NULL) {
        return false;
    }
    memcpy((*ret)->data, bytes.data, bytes.len);
    (*ret)->len = (uint32_t)bytes.len;
    return true;
}

static struct nadb_rec *rec_from(const struct nadb_entry *entry, uint64_t loc, bool is_cold)
{
    struct nadb_rec_parts parts = {
        .key = entry->key,
        .value_len = entry->value.len,
        .expire_ms = entry->expire_ms,
        .is_cold = is_cold && entry->value.len > 0,
    };
    if (!parts.is_cold && !blob_from(entry->value, NADB_REC_INLINE_MAX, &parts.blob)) {
        return NULL;
    }
    if (!blob_from(entry->tags, 0, &parts.tags)) {
        if (parts.blob != NULL) {
            nadb_blob_unref(parts.blob);
        }
        return NULL;
    }
    struct nadb_rec *rec = nadb_rec_new(&parts);
    if (parts.blob == NULL && !parts.is_cold && entry->value.len > 0) {
        memcpy((char *)rec + nadb_rec_size(rec) - entry->value.len, entry->value.data,
            entry->value.len);
    }
    rec->version = entry->version & (((uint64_t)1 << NADB_REC_VERSION_BITS) - 1);
    rec->created_ms = entry->created_ms & (((uint64_t)1 << 42) - 1);
    rec->updated_ms = entry->updated_ms & (((uint64_t)1 << 42) - 1);
    rec->accessed_s = entry->accessed_s & ((1u << NADB_REC_ACCESSED_BITS) - 1);
    rec->flags |= NADB_REC_HAS_DISK;
    nadb_rec_set_place(rec, loc);
    return rec;
}

static bool is_sound(const struct nadb_entry *entry)
{
    return entry->key.len <= NADB_KEY_LEN_MAX && entry->value.len <= NADB_VALUE_LEN_MAX &&
           entry->tags.len <= NADB_TAGS_PACKED_MAX && entry->expire_ms < (uint64_t)1 << 48 &&
           entry->version < (uint64_t)1 << NADB_REC_VERSION_BITS;
}

static void part_free(struct nadb_store *store, struct part *part)
{
    for (size_t i = 0; part->recs != NULL && i < part->chunk.count; i++) {
        if (part->recs[i] != NULL) {
            nadb_rec_free(part->recs[i]);
        }
    }
    nadb_mem_free(part->recs);
    nadb_mem_free(part->hashes);
    store->backend_ops->replay_free(&part->chunk);
    *part = (struct part){0};
}

/* Had the record expired when a batch that came with it or after it was cut? */
static bool is_dead(const struct nadb_entry *entry, uint64_t dead_ms)
{
    return entry->expire_ms != 0 && entry->expire_ms <= dead_ms;
}

/* Hashes the keys and makes the records. Thread: worker. */
static enum nadb_err part_prepare(
    const struct nadb_store *store, struct part *part, struct nadb_error *reterr)
{
    const struct nadb_replay_chunk *chunk = &part->chunk;
    part->hashes = nadb_mem_alloc((chunk->count + 1) * sizeof(*part->hashes));
    part->recs = nadb_mem_zalloc((chunk->count + 1) * sizeof(struct nadb_rec *));
    part->bytes = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        const struct nadb_entry *entry = &chunk->entries[i];
        part->hashes[i] = nadb_hash(store->hash_key, entry->key);
        part->bytes += ENTRY_OVERHEAD + entry->key.len + entry->value.len + entry->tags.len;
        if (entry->kind != NADB_ENTRY_PUT || !is_sound(entry) ||
            is_dead(entry, chunk->dead_ms[i])) {
            continue;
        }
        part->recs[i] = rec_from(entry, chunk->locs[i], store->cold.is_loading_cold);
        if (part->recs[i] == NULL) {
            return nadb_error_set(reterr, NADB_ENOMEM, 0, "not enough memory to load a value");
        }
    }
    return NADB_OK;
}

/* Thread: worker. */
static void unit_run(struct nadb_job *job)
{
    struct unit *unit = NADB_CONTAINER_OF(job, struct unit, job);
    struct nadb_store *store = unit->store;
    unit->next = (struct part){0};
    unit->err = store->backend_ops->replay(
        store->backend, unit->number, &unit->cursor, &unit->next.chunk, &unit->error);
    if (unit->err != NADB_OK) {
        return;
    }
    unit->err = part_prepare(store, &unit->next, &unit->error);
    if (unit->err != NADB_OK) {
        part_free(store, &unit->next);
    }
}

/* Thread: worker. */
static void open_run(struct nadb_job *job)
{
    struct nadb_replay *replay = NADB_CONTAINER_OF(job, struct nadb_replay, open_job);
    struct nadb_store *store = replay->units->store;
    replay->open_err =
        store->backend_ops->open(store->backend, &replay->open_info, &replay->open_error);
}

/* ---- the loop's half ---- */

static void fail(struct nadb_store *store, enum nadb_err err, const struct nadb_error *error)
{
    if (store->replay->err == NADB_OK) {
        store->replay->err = err;
        store->replay->error = *error;
    }
}

static void submit(struct unit *unit)
{
    unit->is_started = unit->is_busy = true;
    unit->store->replay->busy_count++;
    nadb_executor_submit(unit->store->executor, &unit->job);
}

/* Keeps the window's units decoding, one chunk ahead each. */
static void submit_window(struct nadb_store *store)
{
    struct nadb_replay *replay = store->replay;
    for (uint32_t i = 0; i < WINDOW && replay->unit_at + i < replay->info.units; i++) {
        struct unit *unit = &replay->units[replay->unit_at + i];
        if (unit->has_next && !unit->has_part) {
            unit->part = unit->next;
            unit->has_part = true;
            unit->has_next = false;
        }
        if (!unit->is_busy && !unit->has_next && !unit->is_at_end && replay->err == NADB_OK) {
            submit(unit);
        }
    }
}

static void unit_done(struct nadb_job *job)
{
    struct unit *unit = NADB_CONTAINER_OF(job, struct unit, job);
    struct nadb_store *store = unit->store;
    unit->is_busy = false;
    store->replay->busy_count--;
    if (unit->err != NADB_OK) {
        fail(store, unit->err, &unit->error);
    } else {
        unit->has_next = true;
        unit->is_at_end = unit->next.chunk.is_last;
    }
    submit_window(store);
    store->events->wake(store->events_ctx);
}

static void unit_discard(struct nadb_job *job)
{
    struct unit *unit = NADB_CONTAINER_OF(job, struct unit, job);
    unit->is_busy = false;
    unit->store->replay->busy_count--;
    fail(unit->store, NADB_EUSAGE, &(struct nadb_error){.text = "stopped while loading"});
}

static const struct nadb_job_ops unit_ops = {
    .name = "replay", .run = unit_run, .done = unit_done, .discard = unit_discard};

static void free_units(struct nadb_store *store)
{
    struct nadb_replay *replay = store->replay;
    for (uint32_t i = 0; i < replay->info.units; i++) {
        struct unit *unit = &replay->units[i];
        if (unit->has_next) {
            part_free(store, &unit->next);
        }
        if (unit->has_part) {
            part_free(store, &unit->part);
        }
    }
    nadb_mem_free(replay->units);
    replay->units = NULL;
}

/* The engine of a shared backend may not be there yet. True: open is tried again in a while. */
static bool try_again(struct nadb_store *store)
{
    struct nadb_replay *replay = store->replay;
    if (store->shared == NULL || replay->open_err != NADB_EIO || !store->may_wait ||
        store->is_giving_up) {
        return false;
    }
    if (store->now_us >= replay->told_us) {
        replay->told_us = store->now_us + OPEN_TELL_US;
        store->events->notice(store->events_ctx, true, replay->open_error.text);
    }
    replay->retry_us = store->now_us + OPEN_RETRY_US;
    return true;
}

static void open_done(struct nadb_job *job)
{
    struct nadb_replay *replay = NADB_CONTAINER_OF(job, struct nadb_replay, open_job);
    struct nadb_store *store = replay->units->store;
    if (try_again(store)) {
        return;
    }
    replay->busy_count--;
    nadb_mem_free(replay->units);
    replay->units = NULL;
    if (replay->open_err != NADB_OK) {
        fail(store, replay->open_err, &replay->open_error);
    } else {
        replay->info = replay->open_info;
        store->cold.is_loading_cold |= replay->info.is_without_values;
    }
    replay->units = nadb_mem_zalloc((replay->info.units + 1) * sizeof(*replay->units));
    for (uint32_t i = 0; i < replay->info.units; i++) {
        replay->units[i].store = store;
        replay->units[i].number = i;
        nadb_job_init(&replay->units[i].job, &unit_ops, NADB_JOB_FAST);
    }
    if (replay->info.note[0] != '\0') {
        store->events->notice(store->events_ctx, true, replay->info.note);
    }
    submit_window(store);
    store->events->wake(store->events_ctx);
}

static void open_discard(struct nadb_job *job)
{
    struct nadb_replay *replay = NADB_CONTAINER_OF(job, struct nadb_replay, open_job);
    replay->busy_count--;
    fail(replay->units->store, NADB_EUSAGE, &(struct nadb_error){.text = "stopped while loading"});
}

static const struct nadb_job_ops open_ops = {
    .name = "open", .run = open_run, .done = open_done, .discard = open_discard};

void nadb_replay__start(struct nadb_store *store)
{
    struct nadb_replay *replay = nadb_mem_zalloc(sizeof(*replay));
    replay->started_us = nadb_clock_mono_us(store->clock);
    replay->units = nadb_mem_zalloc(sizeof(*replay->units));
    replay->units->store = store;
    replay->busy_count = 1;
    store->replay = replay;
    nadb_job_init(&replay->open_job, &open_ops, NADB_JOB_FAST);
    nadb_executor_submit(store->executor, &replay->open_job);
}

/* ---- applying ---- */

static void fail_entry(struct nadb_store *store, const struct nadb_entry *entry, const char *what)
{
    struct nadb_error error;
    enum nadb_err err =
        nadb_error_set(&error, NADB_ECORRUPT, 0, "log entry with version %llu of keyspace %u: %s",
            (unsigned long long)entry->version, (unsigned)entry->keyspace, what);
    fail(store, err, &error);
}

static void remove_plain(
    struct nadb_store *store, struct nadb_space *space, nadb_index_slot slot, uint64_t hash)
{
    struct nadb_rec *rec = nadb_index_rec(slot);
    nadb_change__exchange(store, space, rec, NULL);
    nadb_index_remove(&space->index, slot, hash);
    nadb_rec_free(rec);
}

/* `rec` NULL: the entry was dead already, and with it what the key had before. */
static void apply_put(struct nadb_store *store, struct nadb_space *space,
    const struct nadb_entry *entry, struct nadb_rec *rec, uint64_t hash)
{
    nadb_index_slot slot = nadb_index_find(&space->index, entry->key, hash);
    if (slot != NULL && rec != NULL) {
        struct nadb_rec *old = nadb_index_rec(slot);
        nadb_change__exchange(store, space, old, rec);
        nadb_index_replace(slot, rec);
        nadb_rec_free(old);
    } else if (slot != NULL) {
        remove_plain(store, space, slot, hash);
    } else if (rec != NULL) {
        nadb_index_insert(&space->index, rec, hash);
        nadb_change__exchange(store, space, NULL, rec);
    }
}

/* The first keyspace to be loaded is most often the only one. */
static void reserve(struct nadb_store *store, struct nadb_space *space, const struct part *part)
{
    struct nadb_replay *replay = store->replay;
    if (!replay->has_reserved) {
        replay->has_reserved = true;
        nadb_index_reserve(&space->index, replay->info.bytes / (part->bytes / part->chunk.count));
    }
}

/* ---- INVALIDATE ---- */

static void begin_doom(
    struct nadb_store *store, struct nadb_space *space, const struct nadb_entry *entry)
{
    struct doom *doom = &store->replay->doom;
    struct nadb_selector selector;
    nadb_selector_init(&selector);
    if (nadb_selector_unpack(&selector, entry->value, &doom->pattern)) {
        nadb_space__select(space, &selector, &doom->result);
        doom->space = space;
        doom->version = entry->version;
        doom->at = 0;
    } else {
        fail_entry(store, entry, "malformed selector");
    }
    nadb_selector_fini(&selector);
}

struct doomed {
    const struct doom *doom;
    size_t count;
    struct nadb_rec *recs[DOOM_CHUNK];
};

static void note_doomed(void *ctx, struct nadb_rec *rec)
{
    struct doomed *doomed = ctx;
    const struct doom *doom = doomed->doom;
    bool is_match = doom->pattern.data == NULL || nadb_glob_match(doom->pattern, nadb_rec_key(rec));
    if (rec->version < doom->version && is_match && nadb_tag_result_has(&doom->result, rec)) {
        NADB_ASSERT(doomed->count < DOOM_CHUNK);
        doomed->recs[doomed->count++] = rec;
    }
}

/* Finds some more; true at the end. */
static bool find_doomed(struct doom *doom, struct doomed *doomed)
{
    const struct nadb_space *space = doom->space;
    if (doom->result.is_inverted) {
        /* Records with equal leading bits of their hashes come together: leave room for them. */
        doom->at = nadb_index_visit(&space->index, doom->at, DOOM_VISIT, note_doomed, doomed);
        return doom->at == 0;
    }
    uint32_t ids[DOOM_VISIT];
    size_t got = doom->at > UINT32_MAX
                     ? 0
                     : nadb_bitmap_read(doom->result.ids, (uint32_t)doom->at, ids, DOOM_VISIT);
    for (size_t i = 0; i < got; i++) {
        struct nadb_rec *rec = nadb_tagindex_rec(space->tags, ids[i]);
        if (rec != NULL) {
            note_doomed(doomed, rec);
        }
        doom->at = (uint64_t)ids[i] + 1;
    }
    return got == 0;
}

/* Removes some of what is doomed; the last time ends it. */
static void step_doom(struct nadb_store *store)
{
    struct doom *doom = &store->replay->doom;
    struct doomed doomed = {.doom = doom};
    bool is_at_end = find_doomed(doom, &doomed);
    for (size_t i = 0; i < doomed.count; i++) {
        struct nadb_slice key = nadb_rec_key(doomed.recs[i]);
        uint64_t hash = nadb_hash(store->hash_key, key);
        remove_plain(store, doom->space, nadb_index_find(&doom->space->index, key, hash), hash);
    }
    if (is_at_end) {
        nadb_bitmap_free(doom->result.ids);
        *doom = (struct doom){0};
    }
}

/* ---- entries ---- */

static void apply(struct nadb_store *store, struct part *part, size_t at)
{
    const struct nadb_entry *entry = &part->chunk.entries[at];
    uint64_t hash = part->hashes[at];
    struct nadb_space *space =
        entry->keyspace < store->spaces_cap ? store->spaces[entry->keyspace] : NULL;
    if (!is_sound(entry) || (space == NULL && entry->kind != NADB_ENTRY_NAME)) {
        fail_entry(store, entry, space == NULL ? "keyspace without a name" : "out of bounds");
        return;
    }
    if (entry->version > store->replay->version_max) {
        store->replay->version_max = entry->version;
    }
    if (entry->kind == NADB_ENTRY_PUT) {
        struct nadb_segment_use *use =
            nadb_usage__of(store, nadb_loc_segment(part->chunk.locs[at]));
        use->has_bare = true; /* who died of what is not worth knowing */
        use->total += entry->key.len + entry->value.len + entry->tags.len + NADB_WBUF_ENTRY_COST;
    } else {
        nadb_usage__wrote(store, part->chunk.locs[at], NADB_WBUF_ENTRY_COST, false);
    }
    if (part->chunk.dead_ms[at] > store->replay->wall_ms) {
        store->replay->wall_ms = part->chunk.dead_ms[at];
    }
    switch (entry->kind) {
    case NADB_ENTRY_PUT:
        reserve(store, space, part);
        apply_put(store, space, entry, part->recs[at], hash);
        part->recs[at] = NULL;
        break;
    case NADB_ENTRY_DELETE: {
        nadb_index_slot slot = nadb_index_find(&space->index, entry->key, hash);
        if (slot != NULL) {
            remove_plain(store, space, slot, hash);
        }
        break;
    }
    case NADB_ENTRY_CLEAR:
        nadb_space__discard(store, space);
        break;
    case NADB_ENTRY_NAME:
        if (entry->key.len > NADB_NAMESPACE_LEN_MAX) {
            fail_entry(store, entry, "name too long");
            return;
        }
        nadb_keyspace__bind(store, entry->keyspace, entry->db, entry->key);
        break;
    case NADB_ENTRY_DROP:
        nadb_space__discard(store, space);
        nadb_space__unset_id(store, space);
        nadb_keyspace__forget_idle(store);
        break;
    case NADB_ENTRY_INVALIDATE:
        begin_doom(store, space, entry);
        break;
    default:
        fail_entry(store, entry, "unknown kind");
        break;
    }
}

/* Applies the next entries of the part, their index slots warmed together. */
static void apply_group(struct nadb_store *store, struct part *part)
{
    struct nadb_replay *replay = store->replay;
    size_t begin = replay->entry_at;
    size_t left = part->chunk.count - begin;
    size_t end = begin + (left < APPLY_GROUP ? left : APPLY_GROUP);
    for (size_t i = begin; i < end; i++) {
        uint16_t id = part->chunk.entries[i].keyspace;
        if (id < store->spaces_cap && store->spaces[id] != NULL) {
            nadb_index_prefetch_slot(&store->spaces[id]->index, part->hashes[i]);
        }
    }
    size_t i = begin;
    while (i < end && replay->err == NADB_OK && replay->doom.space == NULL) {
        apply(store, part, i++);
    }
    replay->entry_at = i;
    replay->entries += i - begin;
}

static void finish(struct nadb_store *store)
{
    struct nadb_replay *replay = store->replay;
    enum nadb_err err = replay->err;
    struct nadb_error error = replay->error;
    store->stats.replayed_entries = replay->entries;
    store->stats.replay_duration_us = nadb_store__elapsed_us(store, replay->started_us);
    store->stats.flush_last_ms = store->now_ms;
    uint64_t version = replay->info.last_version;
    store->version = replay->version_max > version ? replay->version_max : version;
    store->durable = store->written = store->version;
    store->batch_seq = replay->info.last_batch_seq;
    nadb_epochs__open(store, replay->wall_ms, replay->info.last_batch_seq == 0);
    nadb_replay__free(store);
    store->phase = err == NADB_OK ? NADB_STORE_OPEN : NADB_STORE_CLOSED;
    store->events->opened(store->events_ctx, err, &error);
}

bool nadb_replay__step(struct nadb_store *store, uint64_t budget_us)
{
    struct nadb_replay *replay = store->replay;
    uint64_t begin_us = nadb_clock_mono_us(store->clock);
    if (replay->retry_us != 0 && (store->now_us >= replay->retry_us || store->is_giving_up)) {
        replay->retry_us = 0;
        nadb_executor_submit(store->executor, &replay->open_job);
    }
    while (replay->err == NADB_OK && replay->unit_at < replay->info.units) {
        struct unit *unit = &replay->units[replay->unit_at];
        submit_window(store);
        if (!unit->has_part) {
            return false;
        }
        while ((replay->entry_at < unit->part.chunk.count || replay->doom.space != NULL) &&
               replay->err == NADB_OK) {
            if (replay->doom.space != NULL) {
                step_doom(store);
            } else {
                apply_group(store, &unit->part);
            }
            if (nadb_store__elapsed_us(store, begin_us) >= budget_us) {
                return true;
            }
        }
        bool is_last = unit->part.chunk.is_last;
        part_free(store, &unit->part);
        unit->has_part = false;
        replay->entry_at = 0;
        replay->unit_at += is_last ? 1 : 0;
    }
    if (replay->busy_count == 0) {
        finish(store);
    }
    return false;
}

unsigned nadb_replay__percent(const struct nadb_store *store)
{
    const struct nadb_replay *replay = store->replay;
    if (replay == NULL || replay->info.units == 0) {
        return store->phase == NADB_STORE_OPEN ? 100 : 0;
    }
    return (unsigned)((uint64_t)replay->unit_at * 100 / replay->info.units);
}

void nadb_replay__free(struct nadb_store *store)
{
    if (store->replay != NULL) {
        NADB_ASSERT(store->replay->busy_count == 0);
        nadb_bitmap_free(store->replay->doom.result.ids);
        free_units(store);
        nadb_mem_free(store->replay);
        store->replay = NULL;
    }
}
