/* This file counts, for each segment of the backend, how much of it is still needed.
 *
 * Bytes are those that the write buffer counts for an entry, not those on the disk: what a record
 * took there is not known any more when it goes. Of one segment they are in proportion.
 *
 * Invariant: `live` of a segment is the cost of all records in the index that are not dirty and
 * whose place is in it; records that left the index while a flush still had them are taken off when
 * that flush has ended, or when the undo log forgets them. */
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define CAP_MIN 64u

void nadb_usage__grow(struct nadb_store *store, uint32_t number)
{
    size_t cap = store->use_cap < CAP_MIN ? CAP_MIN : store->use_cap;
    while (cap <= number) {
        cap *= 2;
    }
    store->use = nadb_mem_realloc(store->use, cap * sizeof(*store->use));
    memset(store->use + store->use_cap, 0, (cap - store->use_cap) * sizeof(*store->use));
    store->use_cap = cap;
}

void nadb_usage__wrote(struct nadb_store *store, uint64_t loc, uint64_t cost, bool is_put)
{
    struct nadb_segment_use *use = nadb_usage__of(store, nadb_loc_segment(loc));
    use->total += cost;
    use->live += is_put ? cost : 0;
    use->has_bare |= !is_put;
}

void nadb_usage__take(struct nadb_store *store, uint64_t loc, uint64_t cost)
{
    nadb_usage__of(store, nadb_loc_segment(loc))->live += cost;
}

void nadb_usage__drop(struct nadb_store *store, uint64_t loc, uint64_t cost, bool is_superseded)
{
    struct nadb_segment_use *use = nadb_usage__of(store, nadb_loc_segment(loc));
    use->live -= use->live < cost ? use->live : cost;
    use->has_bare |= !is_superseded;
}

void nadb_usage__forget(struct nadb_store *store, uint32_t number)
{
    *nadb_usage__of(store, number) = (struct nadb_segment_use){0};
}

void nadb_usage__fini(struct nadb_store *store)
{
    nadb_mem_free(store->use);
    store->use = NULL;
    store->use_cap = 0;
}
