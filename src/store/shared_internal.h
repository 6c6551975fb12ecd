/* What attempt.c, ask.c and answer.c share: see attempt.h. Folder-internal. Thread: loop; ask.c's
 * job lets a worker have the operations. */
#ifndef NADB_STORE_SHARED_INTERNAL_H
#define NADB_STORE_SHARED_INTERNAL_H

#include "backends/shared.h"
#include "src/store/attempt.h"
#include "src/store/store_internal.h"

#define NADB_SPARE_MAX     4096u
#define NADB_CLAIM_BUCKETS 1024u /* a power of two */
/* Operations that wait for a job: with more, writes are refused. */
#define NADB_ASK_MAX 65536u

/* An operation and whose it is; the first member of everything that asks. */
struct nadb_ask {
    struct nadb_op op;
    struct nadb_attempt *attempt;
    enum nadb_ask_state { NADB_ASK_BLANK, NADB_ASK_UNDER_WAY, NADB_ASK_ENDED } state;
};

/* A key that the attempt knows of. */
struct nadb_item {
    struct nadb_ask ask;            /* FETCH */
    struct nadb_keyspace *keyspace; /* referenced */
    uint64_t hash;
    bool wants_value, wants_times; /* the next fetch must bring it */
    bool must_fetch;               /* when all keys have been named */
    bool is_seen;                  /* the handler has looked at it: the commit depends on it */
    bool is_changed;
    bool has_own_times; /* the handler said when it was created */
    uint64_t slot;      /* during a run: of its record, as the index has slots; 0: there is none */
    /* claim.c: of a key that will be changed */
    bool wants_claim, is_claimed;
    struct nadb_item *claim_next;
    struct nadb_item *waits_for; /* whose end it waits for; NULL: nobody's */
    struct nadb_list in_waiters, waiters;
    struct nadb_found *taken; /* owned: what the claim before it left */
    size_t key_len;
    char key[];
};

/* A question about more than one key, with its answer. */
struct nadb_answer {
    struct nadb_ask ask;
    struct nadb_keyspace *keyspace; /* referenced; NULL: of no one */
    struct nadb_answer *next;
    size_t bytes;
    bool is_in_order;
    _Alignas(struct nadb_slice) char text[]; /* what the question's slices point to */
};

/* Changes on their way. */
struct nadb_commit {
    struct nadb_ask ask;
    struct nadb_check *checks; /* behind the commit, as the next two */
    struct nadb_change *changes;
    struct nadb_rec **recs; /* each owned: what the changes point into */
    size_t rec_count;
    uint64_t batch; /* that it is sent with */
};

/* An epoch that the handler has seen, of a tag or of everything, as `item`'s key sees it. */
struct nadb_seen_epoch {
    struct nadb_keyspace *keyspace; /* that of an answer, which stays as long */
    struct nadb_slice key, tag;     /* in the answer */
    uint64_t epoch;
};

#define NADB_ITEMS_FEW 2u

struct nadb_attempt {
    struct nadb_store *store;
    struct nadb_attempt *next_spare;
    size_t pending; /* asks under way */
    bool is_abandoned;
    bool is_missing;
    bool has_failed;
    struct nadb_error error;

    struct nadb_item **items; /* `few` at first, then owned */
    struct nadb_item *few[NADB_ITEMS_FEW];
    size_t item_count, item_cap;
    uint32_t *table; /* by hash, open addressing: index in items and 1; NULL while there are few */
    size_t table_cap;

    struct nadb_answer *answers;
    struct nadb_seen_epoch *epochs;
    size_t epoch_count, epoch_cap;
    uint64_t epoch;        /* that the handler's invalidation was given; 0: none */
    uint64_t scan_count;   /* see nadb_store_scan_hint */
    struct nadb_rec *lent; /* that the handler was shown last without its being in the index */
    struct nadb_commit *commit;
    size_t bytes;
};

struct nadb_shared_job;

/* Operations that wait for a job. */
struct nadb_gathering {
    struct nadb_op **ops;
    size_t count, cap;
    uint64_t since_us; /* the first of them */
};

struct nadb_shared {
    struct nadb_store *store;
    struct nadb_attempt *spare; /* that nobody has; at most NADB_SPARE_MAX */
    size_t spare_count;
    struct nadb_attempt *running;    /* whose handler is running; NULL: none */
    struct nadb_gathering gathering; /* what is short */
    struct nadb_gathering lengthy;   /* what may take the engine long: it has a job of its own */
    uint64_t batch;                  /* number of the one that gathers */
    struct nadb_item *claims[NADB_CLAIM_BUCKETS];
    struct nadb_shared_job *jobs; /* `job_count`; the last one for what is lengthy */
    size_t job_count;
    struct nadb_job tend_job;
    bool is_tending;
    struct nadb_job listen_job;
    bool is_listening;
    uint64_t listen_due_us;
    struct nadb_buf heard; /* the worker's while is_listening */
    uint64_t tend_due_us;
    uint64_t tended; /* the worker's while is_tending */
};

/* ---- ask.c: operations to the backend and back ---- */

/* The ask is sent with others, at the end of the turn or when they are enough. */
void nadb_ask__send(struct nadb_store *store, struct nadb_ask *ask);

/* ---- claim.c: commands that change the same key ---- */

enum nadb_claim {
    NADB_CLAIM_FREE,  /* nothing is known: fetch */
    NADB_CLAIM_TAKEN, /* item->taken is what the one before it leaves */
    NADB_CLAIM_WAIT,  /* for the one before it */
};

/* The item's key is its from now on, as far as others ask here. */
enum nadb_claim nadb_claim__begin(struct nadb_item *item);

/* The item is changed, and may not be what holds its key's claim: that one is over. */
void nadb_claim__break(const struct nadb_item *item);

/* Something of the item's attempt has ended: who waits for it goes on. */
void nadb_claim__release(struct nadb_item *item);

/* The item is about to go, or to begin anew. */
void nadb_claim__end(struct nadb_item *item);

/* ---- attempt.c ---- */

/* What a handler looks at that is not here. */
void nadb_attempt__miss(struct nadb_attempt *attempt);
void nadb_attempt__fail(struct nadb_attempt *attempt, const struct nadb_error *error);

/* The item ends: called by ask.c. */
void nadb_attempt__ended(struct nadb_ask *ask);

/* A record in memory of what was found; no value: it is cold. NULL: out of memory. */
struct nadb_rec *nadb_attempt__rec_of(const struct nadb_found *found, bool has_value);

/* ---- tell.c ---- */

void nadb_tell__init(struct nadb_shared *shared);
void nadb_tell__step(struct nadb_store *store);

/* ---- answer.c ---- */

/* Asks, whoever is running. */
struct nadb_answer *nadb_answer__ask(
    struct nadb_attempt *attempt, struct nadb_keyspace *keyspace, const struct nadb_op *question);

/* The answer to the question, or NULL: it has been asked, or has failed; the attempt is told. */
const struct nadb_op *nadb_answer__of(
    struct nadb_store *store, struct nadb_keyspace *keyspace, const struct nadb_op *question);
void nadb_answer__free(struct nadb_answer *answer);

#endif
