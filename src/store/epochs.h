/* When tags were last invalidated: a bounded memory of one keyspace's contents.
 *
 * An entry for each tag, in a list from the oldest to the newest; an entry whose tag is invalidated
 * again moves to the end. When there are too many, the oldest goes, and its epoch becomes the
 * horizon: of a tag without an entry it is known only that it was not invalidated after that.
 *
 * Thread: loop. */
#ifndef NADB_STORE_EPOCHS_H
#define NADB_STORE_EPOCHS_H

#include "src/base/list.h"
#include "src/store/index.h"

struct nadb_epoch {
    uint64_t number;
    uint64_t ms; /* Unix time */
};

struct nadb_epochs {
    struct nadb_index names;
    struct nadb_list order;       /* oldest first */
    struct nadb_epoch everything; /* the last time that all keys went */
    struct nadb_epoch horizon;
};

struct nadb_epochs *nadb_epochs_new(
    const struct nadb_hash_key *hash_key, struct nadb_epoch horizon);
void nadb_epochs_free(struct nadb_epochs *epochs); /* NULL allowed */

/* The tag was invalidated now; at most `max` entries are kept. */
void nadb_epochs_note(
    struct nadb_epochs *epochs, struct nadb_slice tag, struct nadb_epoch now, uint64_t max);

/* The last time that the tag alone was invalidated, or the horizon. */
struct nadb_epoch nadb_epochs_of(const struct nadb_epochs *epochs, struct nadb_slice tag);

#endif
