/* This file answers what the engine alone knows: counts, lists, queries, epochs.
 *
 * A handler asks as it does on a log backend. The first time the question goes out and the attempt
 * learns that something is missing; when the handler runs again, the answer is there. A question
 * that changes something (INVALIDATE, CLEAR) is the same: it is asked once in an attempt. */
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/packed.h"
#include "src/store/shared_internal.h"

#define US_OF_A_MS 1000u

/* More keys than that are not walked through. */
#define SELECT_MAX UINT64_C(1000000)

/* Walks go in the order of a hash that is the same in every nadbd; 61 bits of it, so that a cursor
 * made of it fits every client's integers. */
#define POSITION_SHIFT 3u

static uint64_t position_of(struct nadb_slice name)
{
    return nadb_hash((struct nadb_hash_key){0, 0}, name) >> POSITION_SHIFT;
}

/* ---- questions and answers ---- */

static bool is_same_question(const struct nadb_answer *answer, const struct nadb_keyspace *keyspace,
    const struct nadb_op *question)
{
    const struct nadb_op *op = &answer->ask.op;
    if (op->kind != question->kind || answer->keyspace != keyspace ||
        op->wants_value != question->wants_value || op->wants_records != question->wants_records ||
        op->cursor != question->cursor || op->count != question->count ||
        op->tag_count != question->tag_count || !nadb_slice_eq(op->key, question->key) ||
        !nadb_slice_eq(op->selector, question->selector)) {
        return false;
    }
    for (size_t i = 0; i < op->tag_count; i++) {
        if (!nadb_slice_eq(op->tags[i], question->tags[i])) {
            return false;
        }
    }
    return true;
}

static struct nadb_answer *answer_new(
    struct nadb_attempt *attempt, struct nadb_keyspace *keyspace, const struct nadb_op *question)
{
    size_t len = question->key.len + question->selector.len + question->text.len;
    for (size_t i = 0; i < question->tag_count; i++) {
        len += question->tags[i].len + sizeof(struct nadb_slice);
    }
    struct nadb_answer *answer = nadb_mem_zalloc(sizeof(*answer) + len + 1);
    struct nadb_op *op = &answer->ask.op;
    *op = *question;
    struct nadb_slice *tags = (struct nadb_slice *)(void *)answer->text;
    char *at = answer->text + question->tag_count * sizeof(*tags);
    for (size_t i = 0; i < question->tag_count; i++) {
        tags[i] = nadb_slice_copy_to(&at, question->tags[i]);
    }
    op->tags = tags;
    op->key = nadb_slice_copy_to(&at, question->key);
    op->selector = nadb_slice_copy_to(&at, question->selector);
    op->text = nadb_slice_copy_to(&at, question->text);
    if (keyspace != NULL) {
        op->place = (struct nadb_place){keyspace->db, nadb_keyspace_name(keyspace)};
        nadb_keyspace_ref(keyspace);
    }
    answer->keyspace = keyspace;
    answer->ask.attempt = attempt;
    answer->bytes = sizeof(*answer) + len;
    answer->next = attempt->answers;
    attempt->answers = answer;
    attempt->bytes += answer->bytes;
    return answer;
}

struct nadb_answer *nadb_answer__ask(
    struct nadb_attempt *attempt, struct nadb_keyspace *keyspace, const struct nadb_op *question)
{
    struct nadb_answer *answer = answer_new(attempt, keyspace, question);
    nadb_ask__send(attempt->store, &answer->ask);
    return answer;
}

void nadb_answer__free(struct nadb_answer *answer)
{
    struct nadb_store *store = answer->ask.attempt->store;
    if (answer->ask.state == NADB_ASK_ENDED) {
        store->backend_ops->shared->op_free(&answer->ask.op);
    }
    if (answer->keyspace != NULL) {
        nadb_keyspace_unref(store, answer->keyspace);
    }
    nadb_mem_free(answer);
}

static int compare_positions(struct nadb_slice a, struct nadb_slice b)
{
    uint64_t x = position_of(a);
    uint64_t y = position_of(b);
    return x != y ? (x < y ? -1 : 1) : nadb_slice_cmp(a, b);
}

static int compare_found(const void *a, const void *b)
{
    const struct nadb_found *x = a;
    const struct nadb_found *y = b;
    return compare_positions(x->entry.key, y->entry.key);
}

static int compare_tallies(const void *a, const void *b)
{
    const struct nadb_tag_tally *x = a;
    const struct nadb_tag_tally *y = b;
    return compare_positions(x->tag, y->tag);
}

/* What is walked through in slices gets its order. */
static void put_in_order(struct nadb_op *op)
{
    if (op->kind == NADB_OP_SELECT && op->found_count > 1) {
        qsort(op->found, op->found_count, sizeof(*op->found), compare_found);
    } else if (op->kind == NADB_OP_TAGS && op->tally_count > 1) {
        qsort(op->tallies, op->tally_count, sizeof(*op->tallies), compare_tallies);
    }
}

/* The answer, or NULL: it is on its way. */
static struct nadb_answer *find_answer(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_op *question)
{
    struct nadb_attempt *attempt = store->shared->running;
    NADB_ASSERT(attempt != NULL);
    struct nadb_answer *answer = attempt->answers;
    while (answer != NULL && !is_same_question(answer, keyspace, question)) {
        answer = answer->next;
    }
    if (answer == NULL) {
        answer = nadb_answer__ask(attempt, keyspace, question);
    }
    if (answer->ask.state != NADB_ASK_ENDED) {
        nadb_attempt__miss(attempt);
        return NULL;
    }
    if (!answer->is_in_order && answer->ask.op.err == NADB_OK) {
        put_in_order(&answer->ask.op);
        answer->is_in_order = true;
    }
    return answer;
}

const struct nadb_op *nadb_answer__of(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_op *question)
{
    const struct nadb_answer *answer = find_answer(store, keyspace, question);
    if (answer != NULL && answer->ask.op.err != NADB_OK) {
        nadb_attempt__fail(store->shared->running, &answer->ask.op.error);
        return NULL;
    }
    return answer == NULL ? NULL : &answer->ask.op;
}

/* ---- keyspaces ---- */

uint64_t nadb_shared__count(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    const struct nadb_op question = {.kind = NADB_OP_COUNT};
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    return op == NULL ? 0 : op->number;
}

static void take_survey(struct nadb_store *store, const struct nadb_op *op)
{
    for (size_t i = 0; i < store->keyspace_count; i++) {
        store->keyspaces[i]->space->survey = (struct nadb_survey){0};
    }
    for (size_t i = 0; i < op->space_count; i++) {
        const struct nadb_space_tally *tally = &op->spaces[i];
        if (tally->place.db >= store->databases || tally->place.name.len > NADB_NAMESPACE_LEN_MAX) {
            continue; /* of another nadbd, that has more of them */
        }
        struct nadb_keyspace *keyspace =
            nadb_store_keyspace(store, tally->place.db, tally->place.name, true);
        if (keyspace != NULL) {
            keyspace->space->survey =
                (struct nadb_survey){tally->keys, tally->expires, tally->ttl_sum_ms};
        }
    }
}

void nadb_store_survey(struct nadb_store *store)
{
    if (store->shared == NULL) {
        return;
    }
    const struct nadb_op question = {.kind = NADB_OP_SPACES};
    const struct nadb_answer *answer = find_answer(store, NULL, &question);
    if (answer != NULL && answer->ask.op.err == NADB_OK) {
        take_survey(store, &answer->ask.op);
    }
}

/* The epoch that the engine gave to what the handler did. */
static void note_epoch(struct nadb_store *store, const struct nadb_op *op)
{
    store->shared->running->epoch = op->epoch;
    store->epoch = op->epoch > store->epoch ? op->epoch : store->epoch;
}

uint64_t nadb_shared__clear(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    const struct nadb_op question = {.kind = NADB_OP_CLEAR};
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    if (op == NULL) {
        return 0;
    }
    note_epoch(store, op);
    return op->number;
}

/* ---- keys ---- */

void nadb_store_scan_hint(struct nadb_store *store, uint64_t count)
{
    if (store->shared != NULL) {
        store->shared->running->scan_count = count;
    }
}

static void show_key(
    struct nadb_slice key, void (*visit)(void *ctx, const struct nadb_rec *rec), void *ctx)
{
    struct nadb_rec *rec = nadb_rec_new(&(struct nadb_rec_parts){.key = key, .is_cold = true});
    visit(ctx, rec);
    nadb_rec_free(rec);
}

uint64_t nadb_shared__scan(struct nadb_store *store, struct nadb_keyspace *keyspace,
    uint64_t cursor, void (*visit)(void *ctx, const struct nadb_rec *rec), void *ctx)
{
    uint64_t count = store->shared->running->scan_count;
    const struct nadb_op question = {
        .kind = NADB_OP_SCAN, .cursor = cursor, .count = count == 0 ? NADB_SCAN_ALL : count};
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    if (op == NULL) {
        return 0;
    }
    for (size_t i = 0; i < op->key_count; i++) {
        show_key(op->keys[i], visit, ctx);
    }
    return op->next_cursor;
}

const struct nadb_rec *nadb_shared__random(struct nadb_store *store, struct nadb_keyspace *keyspace)
{
    const struct nadb_op question = {.kind = NADB_OP_RANDOM};
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    struct nadb_attempt *attempt = store->shared->running;
    if (op == NULL || op->key_count == 0) {
        return NULL;
    }
    if (attempt->lent != NULL) {
        nadb_rec_free(attempt->lent);
    }
    attempt->lent = nadb_rec_new(&(struct nadb_rec_parts){.key = op->keys[0], .is_cold = true});
    return attempt->lent;
}

/* ---- tags ---- */

uint64_t nadb_shared__tag_count(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag)
{
    const struct nadb_op question = {.kind = NADB_OP_TAG_COUNTS, .tags = &tag, .tag_count = 1};
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    return op == NULL ? 0 : op->tallies[0].count;
}

#define TAGS_STRETCH 32u

uint64_t nadb_shared__tag_scan(struct nadb_store *store, struct nadb_keyspace *keyspace,
    uint64_t cursor, nadb_tag_visit_fn *visit, void *ctx)
{
    const struct nadb_op question = {.kind = NADB_OP_TAGS};
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    if (op == NULL) {
        return 0;
    }
    size_t low = 0;
    size_t high = op->tally_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (position_of(op->tallies[middle].tag) < cursor) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    uint64_t last = 0;
    size_t at = low;
    while (at < op->tally_count) {
        uint64_t position = position_of(op->tallies[at].tag);
        if (at - low >= TAGS_STRETCH && position != last) {
            return position;
        }
        visit(ctx, op->tallies[at].tag, op->tallies[at].count);
        last = position;
        at++;
    }
    return 0;
}

/* ---- queries ---- */

/* The selector in its packed form; false: the attempt has failed. `packed` is finished by the
 * caller in any case. */
static bool pack(struct nadb_store *store, const struct nadb_selector *selector,
    struct nadb_slice pattern, struct nadb_buf *packed)
{
    nadb_buf_init(packed, NADB_VALUE_LEN_MAX);
    if (nadb_selector_pack(selector, pattern, packed)) {
        return true;
    }
    struct nadb_error error;
    (void)nadb_error_set(&error, NADB_ETOOMANY, 0, "the selection is too long");
    nadb_attempt__fail(store->shared->running, &error);
    return false;
}

/* What is selected, with records or only how many. */
static const struct nadb_op *select_keys(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_selector *selector, struct nadb_slice pattern, bool wants_records)
{
    struct nadb_buf packed;
    const struct nadb_op *op = NULL;
    if (pack(store, selector, pattern, &packed)) {
        const struct nadb_op question = {
            .kind = NADB_OP_SELECT,
            .selector = nadb_buf_slice(&packed),
            .wants_records = wants_records,
            .wants_times = wants_records,
            .records_max = SELECT_MAX,
        };
        op = nadb_answer__of(store, keyspace, &question);
    }
    nadb_buf_fini(&packed);
    return op;
}

uint64_t nadb_shared__query_count(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_selector *selector)
{
    const struct nadb_op *op =
        select_keys(store, keyspace, selector, nadb_slice_of(NULL, 0), false);
    return op == NULL ? 0 : op->number;
}

static size_t find_position(const struct nadb_op *op, uint64_t position)
{
    size_t low = 0;
    size_t high = op->found_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (position_of(op->found[middle].entry.key) < position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void show_found(const struct nadb_store *store, const struct nadb_found *found,
    const struct nadb_selector *selector, void (*visit)(void *ctx, const struct nadb_rec *rec),
    void *ctx)
{
    uint64_t expire_ms = found->entry.expire_ms;
    if ((expire_ms != 0 && expire_ms <= store->now_ms) ||
        !nadb_selector_matches(selector, found->entry.tags)) {
        return;
    }
    struct nadb_rec *rec = nadb_attempt__rec_of(found, false);
    if (rec != NULL) {
        visit(ctx, rec);
        nadb_rec_free(rec);
    }
}

bool nadb_shared__query_visit(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_selector *selector, uint64_t *at, size_t max,
    void (*visit)(void *ctx, const struct nadb_rec *rec), void *ctx)
{
    const struct nadb_op *op = select_keys(store, keyspace, selector, nadb_slice_of(NULL, 0), true);
    if (op == NULL || *at == UINT64_MAX) {
        return false;
    }
    if (op->number > SELECT_MAX) {
        struct nadb_error error;
        (void)nadb_error_set(&error, NADB_ETOOMANY, 0,
            "%llu keys match, more than a query on this backend walks through",
            (unsigned long long)op->number);
        nadb_attempt__fail(store->shared->running, &error);
        return false;
    }
    uint64_t last = 0;
    size_t first = find_position(op, *at);
    for (size_t i = first; i < op->found_count; i++) {
        uint64_t position = position_of(op->found[i].entry.key);
        if (i - first >= max && position != last) {
            *at = position;
            return true;
        }
        show_found(store, &op->found[i], selector, visit, ctx);
        last = position;
    }
    *at = UINT64_MAX;
    return false;
}

enum nadb_invalidate_outcome nadb_shared__invalidate(struct nadb_store *store,
    struct nadb_keyspace *keyspace, const struct nadb_invalidate_opts *opts, uint64_t *ret_count,
    struct nadb_error *reterr)
{
    (void)reterr; /* a failure is the attempt's */
    const struct nadb_op *op = NULL;
    struct nadb_buf packed = {0};
    if (opts->is_dry_run) {
        op = select_keys(store, keyspace, opts->selector, opts->pattern, false);
    } else if (pack(store, opts->selector, opts->pattern, &packed)) {
        const struct nadb_op question = {
            .kind = NADB_OP_INVALIDATE, .selector = nadb_buf_slice(&packed)};
        op = nadb_answer__of(store, keyspace, &question);
    }
    nadb_buf_fini(&packed);
    if (op == NULL) {
        return NADB_INVALIDATE_AGAIN;
    }
    *ret_count = op->number;
    if (!opts->is_dry_run) {
        note_epoch(store, op);
        store->tag_stats.invalidations++;
        store->tag_stats.invalidated_keys += op->number;
    }
    return NADB_INVALIDATE_DONE;
}

/* ---- epochs ---- */

/* The newest epoch, and the first that is known of. */
static const struct nadb_op *ask_epoch(struct nadb_store *store)
{
    const struct nadb_op question = {.kind = NADB_OP_EPOCH};
    const struct nadb_op *op = nadb_answer__of(store, NULL, &question);
    if (op != NULL && op->number > store->epoch) {
        store->epoch = op->number;
    }
    return op;
}

uint64_t nadb_shared__epoch(struct nadb_store *store)
{
    if (store->shared->running->epoch != 0) {
        return store->shared->running->epoch;
    }
    const struct nadb_op *op = ask_epoch(store);
    return op == NULL ? 0 : op->number;
}

static void note_seen(struct nadb_attempt *attempt, struct nadb_keyspace *keyspace,
    struct nadb_slice key, struct nadb_slice tag, uint64_t epoch)
{
    if (attempt->epoch_count == attempt->epoch_cap) {
        attempt->epoch_cap = attempt->epoch_cap == 0 ? 8 : attempt->epoch_cap * 2;
        attempt->epochs =
            nadb_mem_realloc(attempt->epochs, attempt->epoch_cap * sizeof(*attempt->epochs));
    }
    attempt->epochs[attempt->epoch_count++] = (struct nadb_seen_epoch){keyspace, key, tag, epoch};
}

/* The commit holds only while none of the tags is invalidated once more. */
static bool is_after(struct nadb_store *store, struct nadb_keyspace *keyspace,
    const struct nadb_op *op, uint64_t epoch)
{
    bool is_stale = op->epoch > epoch;
    for (size_t i = 0; i < op->tag_count; i++) {
        is_stale |= op->epochs[i] > epoch;
    }
    if (is_stale) {
        return true;
    }
    struct nadb_attempt *attempt = store->shared->running;
    note_seen(attempt, keyspace, op->key, nadb_slice_of(NULL, 0), op->epoch);
    for (size_t i = 0; i < op->tag_count; i++) {
        note_seen(attempt, keyspace, op->key, op->tags[i], op->epochs[i]);
    }
    return false;
}

bool nadb_shared__is_stale(struct nadb_store *store, struct nadb_keyspace *keyspace,
    struct nadb_slice key, uint64_t epoch, struct nadb_slice packed_tags)
{
    size_t count = nadb_packed_count(packed_tags);
    struct nadb_slice *tags = nadb_mem_alloc((count + 1) * sizeof(*tags));
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_there = nadb_packed_next(packed_tags, &at, &tags[i]);
        NADB_ASSERT(is_there);
    }
    const struct nadb_op question = {
        .kind = NADB_OP_TAG_EPOCHS, .key = key, .tags = tags, .tag_count = count};
    const struct nadb_op *newest = ask_epoch(store);
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    nadb_mem_free(tags);
    if (newest == NULL || op == NULL) {
        return true;
    }
    return epoch > newest->number || epoch < newest->epoch || is_after(store, keyspace, op, epoch);
}

uint64_t nadb_shared__tag_time(
    struct nadb_store *store, struct nadb_keyspace *keyspace, struct nadb_slice tag)
{
    const struct nadb_op question = {.kind = NADB_OP_TAG_EPOCHS, .tags = &tag, .tag_count = 1};
    const struct nadb_op *op = nadb_answer__of(store, keyspace, &question);
    if (op == NULL) {
        return 0;
    }
    return (op->epochs[0] > op->epoch ? op->epochs[0] : op->epoch) / US_OF_A_MS;
}
