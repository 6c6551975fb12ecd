/* Commands on a shared backend: an attempt runs a handler over what has been fetched for it.
 *
 * Where the engine behind a shared backend is the authority, no record is in memory when a command
 * arrives. So a command is attempted: its handler runs over the records that have been fetched for
 * it, which have slots as those in an index have, so that everything in change.c works on them;
 * what it looks at and what it changes is noted. Three things can come of that:
 *
 *     it looked at something that is not here   its reply is thrown away; what it missed is
 *                                               fetched, and it runs again
 *     it changed something                      the changes go out as one commit, with the stamps
 *                                               of all that it looked at; its reply waits. When one
 *                                               of those has changed meanwhile, nothing has
 *                                               happened, and it is fetched and runs again
 *     neither                                   the reply is true
 *
 * A handler therefore may run several times for one command, and must have no effect but on the
 * store and on its reply until the attempt is over (nadb_store_lacks tells one that would). What a
 * command surely needs is asked for before its first run, so that this is rare.
 *
 *     nadb_attempt_ask...                        what the command will need
 *     while nadb_attempt_is_waiting: others' turn
 *     nadb_attempt_begin, the handler, nadb_attempt_end -> MISSING, COMMITTING: wait
 *     nadb_attempt_outcome, after a commit
 *
 * Of a put that replaces a whole record nothing is looked at: it needs no fetch, and no other
 * writer can make it fail.
 *
 * Commands that change the same key would meet conflicts with each other all the time. So one that
 * changes a single key claims it, and who comes behind it does not fetch: as long as the commit of
 * the one before is not on its way it takes the record that this will leave, and commits behind it;
 * if it is on its way, it waits for the end of that. Others' writes are still met by the check.
 *
 * What clients ask for in a turn goes to the backend in jobs, that of one look at a client in one,
 * in the order in which it was asked for, while the next gathers. An attempt whose owner is gone is
 * freed when nothing of it is under way any more.
 *
 * Thread: loop. */
#ifndef NADB_STORE_ATTEMPT_H
#define NADB_STORE_ATTEMPT_H

#include "src/store/store.h"

struct nadb_attempt;

/* Is the backend a shared one? Then every command that uses the store runs within an attempt. */
bool nadb_store_is_shared(const struct nadb_store *store);

struct nadb_attempt *nadb_attempt_new(struct nadb_store *store);
void nadb_attempt_free(
    struct nadb_attempt *attempt); /* at any time but while it runs; NULL allowed */

enum nadb_ask_flag {
    NADB_ASK_VALUE = 1 << 0,  /* the command needs the value, too */
    NADB_ASK_CHANGE = 1 << 1, /* it will change the key, the only one that it asks for, and keep
                                 the time of its creation */
    NADB_ASK_TIMES = 1 << 2,  /* it needs to know when the key was created */
};

/* The command will look at this key; of a key that is named more than once, all flags count. */
void nadb_attempt_ask(struct nadb_attempt *attempt, struct nadb_keyspace *keyspace,
    const struct nadb_key *key, unsigned flags);

/* All keys have been named: fetches what is not here. */
void nadb_attempt_fetch(struct nadb_attempt *attempt);

/* Is something of it under way? When that ends, the `admit` event comes. */
bool nadb_attempt_is_waiting(const struct nadb_attempt *attempt);

/* The handler runs between these two. Nested in nadb_store_command_begin and _end. */
void nadb_attempt_begin(struct nadb_attempt *attempt);

enum nadb_attempt_end {
    NADB_ATTEMPT_COMPLETE,   /* the reply is true; nothing was changed */
    NADB_ATTEMPT_MISSING,    /* the reply means nothing: run it again when it no longer waits */
    NADB_ATTEMPT_COMMITTING, /* the reply is true if nadb_attempt_outcome says so */
    NADB_ATTEMPT_FAILED,     /* *reterr is the reply */
};

/* With `is_validated` a commit goes out even if nothing was changed: to know that all that was
 * looked at was there at one moment. */
enum nadb_attempt_end nadb_attempt_end(
    struct nadb_attempt *attempt, bool is_validated, struct nadb_error *reterr);

enum nadb_outcome {
    NADB_OUTCOME_NONE, /* there was no commit, or it is under way */
    NADB_OUTCOME_COMMITTED,
    NADB_OUTCOME_CONFLICT, /* nothing has happened. The attempt begins anew, knowing nothing */
    NADB_OUTCOME_FAILED,   /* *reterr is the reply */
};

/* What became of the commit. Tells a conflict once. */
enum nadb_outcome nadb_attempt_outcome(struct nadb_attempt *attempt, struct nadb_error *reterr);

/* Bytes that it holds. */
size_t nadb_attempt_bytes(const struct nadb_attempt *attempt);

/* Within a handler: has it looked at something that is not here? Then it will run again, and what
 * it does now is undone. Never on a log backend. */
bool nadb_store_lacks(const struct nadb_store *store);

/* Within a handler: has this run changed something? Never on a log backend. */
bool nadb_store_has_changed(const struct nadb_store *store);

/* Within a handler: brings what nadb_keyspace_count and its like say up to date, and the list of
 * keyspaces. Nothing on a log backend, where they always are. */
void nadb_store_survey(struct nadb_store *store);

/* Within a handler, before nadb_store_scan: about how many keys will be asked for in all; 0: all
 * of them. */
void nadb_store_scan_hint(struct nadb_store *store, uint64_t count);

/* Tells the other nadbd in front of the same engine, as far as they can be reached; nothing on a
 * log backend. Within a command or not. */
void nadb_store_tell(struct nadb_store *store, struct nadb_slice channel, struct nadb_slice text);

/* ---- statistics ---- */

struct nadb_shared_stats;

/* False: the backend is none. */
bool nadb_store_shared_stats(const struct nadb_store *store, struct nadb_shared_stats *ret);

#endif
