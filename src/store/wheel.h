/* Deadlines of records: a hierarchical timing wheel in milliseconds.
 *
 * Eight levels of 64 slots, each slot a list threaded through the records' TTL parts. A deadline
 * lives on the level of the highest 6-bit digit in which it differs from the wheel's time, in the
 * slot of its own digit there (the scheme of Varghese and Lauck, as bit arithmetic). Arming and
 * cancelling are O(1); a record moves down at most once a level before it is due.
 *
 * When the wall clock goes back, the wheel's time would be ahead of it, and new deadlines would
 * fall into slots already passed. Then a fresh wheel is put before the old one, whose records move
 * over little by little.
 *
 * Invariants:
 *   1. Every record of a slot on level L agrees with `time_ms` in all digits above L and has a
 *      greater digit at L; `pending` holds those whose slot has been reached.
 *   2. A record is in a list exactly while its `pprev` is not NULL.
 *
 * Thread: loop. */
#ifndef NADB_STORE_WHEEL_H
#define NADB_STORE_WHEEL_H

#include "src/store/record.h"

#define NADB_WHEEL_LEVELS 8u
#define NADB_WHEEL_SLOTS  64u

struct nadb_wheel {
    uint64_t time_ms;
    struct nadb_rec *pending;
    uint64_t occupied[NADB_WHEEL_LEVELS]; /* a bit a slot; may be set for an empty one */
    struct nadb_rec *slots[NADB_WHEEL_LEVELS][NADB_WHEEL_SLOTS];
    struct nadb_wheel *older; /* before the clock went back; being emptied */
};

struct nadb_wheel *nadb_wheel_new(uint64_t now_ms);
void nadb_wheel_free(struct nadb_wheel *wheel); /* the records are left as they are */

/* `rec` has a TTL part and is in no list. */
void nadb_wheel_arm(struct nadb_wheel *wheel, struct nadb_rec *rec);

/* Also right for a record that is in no list. */
static inline void nadb_wheel_cancel(struct nadb_rec *rec)
{
    struct nadb_rec_ttl *ttl = nadb_rec_ttl_part(rec);
    if (ttl->pprev != NULL) {
        *ttl->pprev = ttl->next;
        if (ttl->next != NULL) {
            nadb_rec_ttl_part(ttl->next)->pprev = ttl->pprev;
        }
        ttl->next = NULL;
        ttl->pprev = NULL;
    }
}

enum nadb_wheel_outcome {
    NADB_WHEEL_IDLE,  /* nothing is due */
    NADB_WHEEL_DUE,   /* *ret_rec is due; it is in no list any more */
    NADB_WHEEL_MOVED, /* a record moved to another slot; call again */
};

/* One small step towards `now_ms`. `*wheel` is exchanged when the clock has gone back. */
enum nadb_wheel_outcome nadb_wheel_step(
    struct nadb_wheel **wheel, uint64_t now_ms, struct nadb_rec **ret_rec);

/* When step has work to do again: not later than the next deadline. UINT64_MAX: never. */
uint64_t nadb_wheel_next_ms(const struct nadb_wheel *wheel);

#endif
