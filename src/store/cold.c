/* This file keeps values on disk when memory is short, and brings them back when they are wanted.
 *
 *     warm -> cold          [nadb_cold__drop_some: durable, and not asked for lately]
 *     cold -> fetching      [nadb_store_fetch: a job is to read it]
 *     fetching -> warm      [the job is done; FETCHED until it has been read once]
 *     fetching -> cold      [the read failed: whoever asks next is told]
 *
 * A cold record is the same record without its value: key, tags, times, version and place stay in
 * memory, so the index, tags, expiry and everything that needs no value go on as before.
 *
 * Which values go? A hand passes over all records (CLOCK). Of each stretch those go that were not
 * asked for as lately as the average of the stretch: with few recent ones many go, and when all are
 * equally recent all of them do.
 *
 * What is asked for in one turn of the loop is gathered into jobs of a few reads each, so that
 * several workers read at a time. A value is read once, however many ask; a job that ends lets
 * everybody who waits try again.
 *
 * Invariants:
 *   1. Only records that are placed are cold: their values are in the backend, durable or, in the
 *      modes that promise less, written.
 *   2. A cold record is never changed in place; what takes its place has a value of its own, or is
 *      made after a fetch.
 *   3. A FETCHED value is not dropped before it was read, unless that takes FETCHED_S_MAX.
 *   4. A read that failed while compaction moved the record is no failure: it is tried again. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define HAND_STRETCH  128u
#define GAIN_MIN      16u /* a value that is smaller is not worth a record without it */
#define FETCHED_S_MAX 2u

#define FETCH_READS_MAX 16u                 /* of one job */
#define FETCH_BYTES_MAX (UINT64_C(4) << 20) /* of one job, its last value apart */

/* Values that are being read; what is asked for beyond that waits. */
#define FETCH_RUNNING_BYTES_MAX (UINT64_C(256) << 20)

#define FAILURE_US UINT64_C(1000000) /* after that a failed read is tried again */

struct fetch_item {
    uint64_t hash;
    uint16_t space;
    char *key;              /* owned: the record may go meanwhile */
    struct nadb_blob *blob; /* a long value; owned until the record has it */
    char *value;            /* a short one; owned */
};

struct nadb_fetch_job {
    struct nadb_job job;
    struct nadb_store *store;
    struct nadb_list in_running;
    size_t count;
    uint64_t bytes;
    struct nadb_read reads[FETCH_READS_MAX];
    struct fetch_item items[FETCH_READS_MAX];
};

void nadb_cold__init(struct nadb_store *store)
{
    nadb_list_init(&store->cold.running);
}

static void free_job(struct nadb_fetch_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        nadb_mem_free(job->items[i].key);
        nadb_mem_free(job->items[i].value);
        if (job->items[i].blob != NULL) {
            nadb_blob_unref(job->items[i].blob);
        }
    }
    nadb_mem_free(job);
}

void nadb_cold__fini(struct nadb_store *store)
{
    NADB_ASSERT(nadb_list_is_empty(&store->cold.running));
    if (store->cold.gathering != NULL) {
        free_job(store->cold.gathering);
    }
}

/* ---- dropping ---- */

struct stretch {
    struct nadb_store *store;
    struct nadb_space *space;
    struct nadb_rec *recs[2 * HAND_STRETCH]; /* the visit passes its number by a segment at most */
    size_t count;
    size_t looked_at;
    uint64_t age_sum;
};

static uint64_t age_s(const struct nadb_store *store, const struct nadb_rec *rec)
{
    uint64_t now_s = store->now_ms / 1000;
    return now_s - nadb_rec_accessed_s(rec, now_s);
}

static bool is_droppable(const struct nadb_store *store, const struct nadb_rec *rec)
{
    bool is_needed = (rec->flags & NADB_REC_IS_FETCHED) && age_s(store, rec) <= FETCHED_S_MAX;
    return nadb_store__is_placed(rec) && !nadb_rec_is_cold(rec) && rec->value_len >= GAIN_MIN &&
           !is_needed;
}

static void look_at(void *ctx, struct nadb_rec *rec)
{
    struct stretch *stretch = ctx;
    stretch->looked_at++;
    if (stretch->count < NADB_ARRAY_LEN(stretch->recs) && is_droppable(stretch->store, rec)) {
        stretch->recs[stretch->count++] = rec;
        stretch->age_sum += age_s(stretch->store, rec);
    }
}

static struct nadb_blob *share_tags(const struct nadb_rec *rec)
{
    if (!(rec->flags & NADB_REC_HAS_TAGS)) {
        return NULL;
    }
    struct nadb_blob *tags = nadb_rec_tags_part(rec)->blob;
    tags->refs++;
    return tags;
}

/* The record as it is, with a value of its own (in `blob`, or to be written) or cold. */
static struct nadb_rec *remake(const struct nadb_rec *rec, bool is_cold, struct nadb_blob *blob)
{
    const struct nadb_rec_parts parts = {
        .key = nadb_rec_key(rec),
        .value_len = rec->value_len,
        .blob = blob,
        .tags = share_tags(rec),
        .is_cold = is_cold,
        .expire_ms = nadb_rec_expire_ms(rec),
        .keyspace = (rec->flags & NADB_REC_HAS_TTL) ? nadb_rec_ttl_part(rec)->keyspace : 0,
    };
    return nadb_rec_new(&parts);
}

static void drop(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec)
{
    struct nadb_slice key = nadb_rec_key(rec);
    nadb_index_slot slot = nadb_index_find(&space->index, key, nadb_hash(store->hash_key, key));
    NADB_ASSERT(slot != NULL && nadb_index_rec(slot) == rec);
    nadb_change__reshape(store, space, slot, remake(rec, true, NULL));
    store->cold.dropped++;
}

/* The hand's next keyspace with records in it; NULL: there is none. */
static struct nadb_space *hand_space(struct nadb_store *store)
{
    struct nadb_cold *cold = &store->cold;
    for (size_t tried = 0; tried <= store->keyspace_count; tried++) {
        if (cold->hand_space >= store->keyspace_count) {
            cold->hand_space = 0;
            cold->hand_at = 0;
        }
        if (store->keyspace_count > 0 &&
            store->keyspaces[cold->hand_space]->space->index.count > 0) {
            return store->keyspaces[cold->hand_space]->space;
        }
        cold->hand_space++;
        cold->hand_at = 0;
    }
    return NULL;
}

static uint64_t count_records(const struct nadb_store *store)
{
    uint64_t count = 0;
    for (size_t i = 0; i < store->keyspace_count; i++) {
        count += store->keyspaces[i]->space->index.count;
    }
    return count;
}

bool nadb_cold__drop_some(struct nadb_store *store)
{
    struct nadb_cold *cold = &store->cold;
    /* While records learn where they are, the undo log may still name them. */
    if (store->is_volatile || store->backend_ops->read == NULL ||
        store->flight.state == NADB_FLIGHT_LANDING || cold->hand_fruitless > count_records(store)) {
        return false;
    }
    struct nadb_space *space = hand_space(store);
    if (space == NULL) {
        return false;
    }
    struct stretch stretch = {.store = store, .space = space};
    cold->hand_at = nadb_index_visit(&space->index, cold->hand_at, HAND_STRETCH, look_at, &stretch);
    if (cold->hand_at == 0) {
        cold->hand_space++;
    }
    uint64_t average_s = stretch.count == 0 ? 0 : stretch.age_sum / stretch.count;
    bool has_dropped = false;
    for (size_t i = 0; i < stretch.count; i++) {
        if (age_s(store, stretch.recs[i]) >= average_s) {
            drop(store, space, stretch.recs[i]);
            has_dropped = true;
        }
    }
    cold->hand_fruitless = has_dropped ? 0 : cold->hand_fruitless + stretch.looked_at + 1;
    return true;
}

void nadb_cold__note_landed(struct nadb_store *store)
{
    store->cold.hand_fruitless = 0;
}

/* ---- failures ---- */

static const struct nadb_cold_failure *find_failure(
    const struct nadb_store *store, uint64_t hash, uint64_t version)
{
    for (size_t i = 0; i < NADB_COLD_FAILURES; i++) {
        const struct nadb_cold_failure *failure = &store->cold.failures[i];
        if (failure->version == version && failure->hash == hash && version != 0 &&
            store->now_us - failure->us < FAILURE_US) {
            return failure;
        }
    }
    return NULL;
}

static void note_failure(struct nadb_store *store, uint64_t hash, const struct nadb_read *read)
{
    struct nadb_cold *cold = &store->cold;
    cold->fetch_failures++;
    cold->failures[cold->failure_next++ % NADB_COLD_FAILURES] = (struct nadb_cold_failure){
        .hash = hash, .version = read->version, .us = store->now_us, .error = read->error};
}

/* ---- fetching ---- */

/* Thread: worker. */
static void fetch_run(struct nadb_job *base)
{
    struct nadb_fetch_job *job = NADB_CONTAINER_OF(base, struct nadb_fetch_job, job);
    job->store->backend_ops->read(job->store->backend, job->reads, job->count);
}

static struct nadb_space *space_of(const struct nadb_store *store, uint16_t id)
{
    return id < store->spaces_cap ? store->spaces[id] : NULL;
}

/* The value is here. */
static void warm(struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec,
    struct fetch_item *item, uint64_t hash)
{
    nadb_index_slot slot = nadb_index_find(&space->index, nadb_rec_key(rec), hash);
    struct nadb_rec *made = remake(rec, false, item->blob);
    if (item->blob == NULL) {
        memcpy((char *)made + nadb_rec_size(made) - made->value_len, item->value, made->value_len);
    }
    item->blob = NULL;
    nadb_change__reshape(store, space, slot, made);
    made->flags |= NADB_REC_IS_FETCHED;
    uint32_t now_s = (uint32_t)(store->now_ms / 1000);
    made->accessed_s = now_s & ((1u << NADB_REC_ACCESSED_BITS) - 1);
    store->cold.fetched++;
    store->cold.hand_fruitless = 0;
}

static void end_read(
    struct nadb_store *store, const struct nadb_read *read, struct fetch_item *item)
{
    struct nadb_space *space = space_of(store, item->space);
    struct nadb_rec *rec =
        space == NULL ? NULL : nadb_index_find_version(&space->index, item->hash, read->version);
    if (rec == NULL || !nadb_rec_is_cold(rec)) {
        return; /* changed or gone meanwhile */
    }
    rec->flags = rec->flags & (0xffu & ~(unsigned)NADB_REC_IS_FETCHING);
    if (read->err == NADB_OK) {
        warm(store, space, rec, item, item->hash);
    } else if (nadb_rec_place(rec) == read->loc) {
        note_failure(store, item->hash, read);
    }
}

static void leave_running(struct nadb_fetch_job *job)
{
    nadb_list_remove(&job->in_running);
    job->store->cold.running_bytes -= job->bytes;
}

static void fetch_done(struct nadb_job *base)
{
    struct nadb_fetch_job *job = NADB_CONTAINER_OF(base, struct nadb_fetch_job, job);
    struct nadb_store *store = job->store;
    leave_running(job);
    for (size_t i = 0; i < job->count; i++) {
        end_read(store, &job->reads[i], &job->items[i]);
    }
    free_job(job);
    store->events->admit(store->events_ctx);
    store->events->wake(store->events_ctx);
}

static void fetch_discard(struct nadb_job *base)
{
    struct nadb_fetch_job *job = NADB_CONTAINER_OF(base, struct nadb_fetch_job, job);
    leave_running(job);
    free_job(job);
}

static const struct nadb_job_ops fetch_ops = {
    .name = "fetch", .run = fetch_run, .done = fetch_done, .discard = fetch_discard};

void nadb_cold__submit(struct nadb_store *store)
{
    struct nadb_fetch_job *job = store->cold.gathering;
    if (NADB_LIKELY(job == NULL)) {
        return;
    }
    store->cold.gathering = NULL;
    nadb_list_append(&store->cold.running, &job->in_running);
    nadb_executor_submit(store->executor, &job->job);
}

/* False: out of memory. */
static bool add_read(
    struct nadb_store *store, struct nadb_space *space, struct nadb_rec *rec, uint64_t hash)
{
    struct nadb_cold *cold = &store->cold;
    if (cold->gathering == NULL) {
        cold->gathering = nadb_mem_zalloc(sizeof(*cold->gathering));
        cold->gathering->store = store;
        nadb_job_init(&cold->gathering->job, &fetch_ops, NADB_JOB_FAST);
    }
    struct nadb_fetch_job *job = cold->gathering;
    struct fetch_item item = {.hash = hash, .space = space->id};
    struct nadb_slice key = nadb_rec_key(rec);
    char *value;
    if (rec->value_len > NADB_REC_INLINE_MAX) {
        item.blob = nadb_blob_new(rec->value_len);
        value = item.blob == NULL ? NULL : item.blob->data;
    } else {
        value = item.value = nadb_mem_alloc(rec->value_len + 1);
    }
    if (value == NULL) {
        return false;
    }
    item.key = nadb_mem_alloc(key.len + 1);
    memcpy(item.key, key.data, key.len);
    job->items[job->count] = item;
    job->reads[job->count++] = (struct nadb_read){
        .loc = nadb_rec_place(rec),
        .version = rec->version,
        .key = nadb_slice_of(item.key, key.len),
        .value_len = rec->value_len,
        .value = value,
    };
    job->bytes += rec->value_len;
    cold->running_bytes += rec->value_len;
    rec->flags |= NADB_REC_IS_FETCHING;
    if (job->count == FETCH_READS_MAX || job->bytes >= FETCH_BYTES_MAX) {
        nadb_cold__submit(store);
    }
    return true;
}

bool nadb_store_has_cold(const struct nadb_store *store)
{
    return store->cold.count > 0 || store->shared != NULL;
}

/* The key's record if it is cold and anybody could see it. */
static struct nadb_rec *find_cold(
    const struct nadb_store *store, const struct nadb_space *space, const struct nadb_key *key)
{
    nadb_index_slot slot = nadb_index_find(&space->index, key->name, key->hash);
    struct nadb_rec *rec = slot == NULL ? NULL : nadb_index_rec(slot);
    uint64_t expire_ms = rec == NULL ? 0 : nadb_rec_expire_ms(rec);
    bool is_due = expire_ms != 0 && expire_ms <= store->now_ms;
    return rec == NULL || !nadb_rec_is_cold(rec) || is_due || nadb_space__is_dying(space, rec)
               ? NULL
               : rec;
}

enum nadb_fetch nadb_store_fetch(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, struct nadb_error *reterr)
{
    struct nadb_space *space = keyspace->space;
    if (store->shared != NULL) {
        return nadb_shared__wants_value(store, space, key) ? NADB_FETCH_READY : NADB_FETCH_PENDING;
    }
    struct nadb_rec *rec = find_cold(store, space, key);
    if (rec == NULL) {
        return NADB_FETCH_READY;
    }
    if (rec->flags & NADB_REC_IS_FETCHING) {
        return NADB_FETCH_PENDING;
    }
    const struct nadb_cold_failure *failure = find_failure(store, key->hash, rec->version);
    if (failure != NULL) {
        *reterr = failure->error;
        return NADB_FETCH_FAILED;
    }
    if (store->cold.running_bytes >= FETCH_RUNNING_BYTES_MAX) {
        return NADB_FETCH_PENDING; /* the end of one of those lets it try again */
    }
    if (!add_read(store, space, rec, key->hash)) {
        (void)nadb_error_set(reterr, NADB_ENOMEM, 0, "not enough memory to read a value");
        return NADB_FETCH_FAILED;
    }
    return NADB_FETCH_PENDING;
}

enum nadb_err nadb_store_fetch_now(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, struct nadb_error *reterr)
{
    struct nadb_space *space = keyspace->space;
    if (store->shared != NULL) {
        return nadb_shared__wants_value(store, space, key)
                   ? NADB_OK
                   : nadb_error_set(reterr, NADB_EIO, 0, "the value is not here yet");
    }
    struct nadb_rec *rec = find_cold(store, space, key);
    if (rec == NULL) {
        return NADB_OK;
    }
    struct fetch_item item = {.blob = nadb_blob_new(rec->value_len)};
    if (item.blob == NULL) {
        return nadb_error_set(reterr, NADB_ENOMEM, 0, "not enough memory to read a value");
    }
    struct nadb_read read = {
        .loc = nadb_rec_place(rec),
        .version = rec->version,
        .key = key->name,
        .value_len = rec->value_len,
        .value = item.blob->data,
    };
    store->backend_ops->read(store->backend, &read, 1);
    if (read.err == NADB_OK && rec->value_len <= NADB_REC_INLINE_MAX) {
        struct nadb_blob *blob = item.blob;
        item = (struct fetch_item){.value = blob->data};
        warm(store, space, rec, &item, key->hash);
        nadb_blob_unref(blob);
    } else if (read.err == NADB_OK) {
        warm(store, space, rec, &item, key->hash);
    } else {
        nadb_blob_unref(item.blob);
        *reterr = read.error;
    }
    return read.err;
}
