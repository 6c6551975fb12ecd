/* This file is the timing wheel of deadlines; see wheel.h for how it works. */
#include "src/store/wheel.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

#define DIGIT_BITS 6u

_Static_assert(DIGIT_BITS *NADB_WHEEL_LEVELS == 48, "the levels cover a deadline's bits");
_Static_assert(1u << DIGIT_BITS == NADB_WHEEL_SLOTS, "a slot a digit");

static void list_push(struct nadb_rec **head, struct nadb_rec *rec)
{
    struct nadb_rec_ttl *ttl = nadb_rec_ttl_part(rec);
    ttl->next = *head;
    ttl->pprev = head;
    if (*head != NULL) {
        nadb_rec_ttl_part(*head)->pprev = &ttl->next;
    }
    *head = rec;
}

struct nadb_wheel *nadb_wheel_new(uint64_t now_ms)
{
    struct nadb_wheel *wheel = nadb_mem_zalloc(sizeof(*wheel));
    wheel->time_ms = now_ms;
    return wheel;
}

void nadb_wheel_free(struct nadb_wheel *wheel)
{
    while (wheel != NULL) {
        struct nadb_wheel *older = wheel->older;
        nadb_mem_free(wheel);
        wheel = older;
    }
}

void nadb_wheel_arm(struct nadb_wheel *wheel, struct nadb_rec *rec)
{
    uint64_t expire_ms = nadb_rec_ttl_part(rec)->expire_ms;
    NADB_DCHECK(nadb_rec_ttl_part(rec)->pprev == NULL);
    if (expire_ms <= wheel->time_ms) {
        list_push(&wheel->pending, rec);
        return;
    }
    unsigned bit = 63u - (unsigned)__builtin_clzll(expire_ms ^ wheel->time_ms);
    unsigned level = bit / DIGIT_BITS;
    NADB_ASSERT(level < NADB_WHEEL_LEVELS);
    unsigned slot = (unsigned)(expire_ms >> (DIGIT_BITS * level)) % NADB_WHEEL_SLOTS;
    list_push(&wheel->slots[level][slot], rec);
    wheel->occupied[level] |= (uint64_t)1 << slot;
}

/* The earliest slot that holds anything, and when it begins; UINT64_MAX if there is none. The
 * lowest level's first slot is always the earliest (invariant 1). */
static uint64_t first_slot(const struct nadb_wheel *wheel, unsigned *ret_level, unsigned *ret_slot)
{
    for (unsigned level = 0; level < NADB_WHEEL_LEVELS; level++) {
        if (wheel->occupied[level] != 0) {
            unsigned slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
            unsigned shift = DIGIT_BITS * level;
            *ret_level = level;
            *ret_slot = slot;
            return (wheel->time_ms >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS)) | (uint64_t)slot
                                                                                          << shift;
        }
    }
    return UINT64_MAX;
}

/* Makes the earliest slot the pending list if its time has come; false when there is none. */
static bool reach_slot(struct nadb_wheel *wheel, uint64_t limit_ms)
{
    unsigned level = 0;
    unsigned slot = 0;
    uint64_t begin_ms = first_slot(wheel, &level, &slot);
    if (begin_ms > limit_ms) {
        return false;
    }
    NADB_ASSERT(begin_ms >= wheel->time_ms);
    wheel->time_ms = begin_ms;
    wheel->occupied[level] &= ~((uint64_t)1 << slot);
    wheel->pending = wheel->slots[level][slot];
    wheel->slots[level][slot] = NULL;
    if (wheel->pending != NULL) {
        nadb_rec_ttl_part(wheel->pending)->pprev = &wheel->pending;
    }
    return true;
}

/* Moves one record of the wheel before the clock went back to the present one. */
static enum nadb_wheel_outcome empty_older(struct nadb_wheel *wheel)
{
    struct nadb_wheel *older = wheel->older;
    if (older->pending == NULL && !reach_slot(older, UINT64_MAX - 1)) {
        wheel->older = older->older;
        nadb_mem_free(older);
        return NADB_WHEEL_MOVED;
    }
    struct nadb_rec *rec = older->pending;
    if (rec != NULL) {
        nadb_wheel_cancel(rec);
        nadb_wheel_arm(wheel, rec);
    }
    return NADB_WHEEL_MOVED;
}

enum nadb_wheel_outcome nadb_wheel_step(
    struct nadb_wheel **wheel_at, uint64_t now_ms, struct nadb_rec **ret_rec)
{
    if (NADB_UNLIKELY(now_ms < (*wheel_at)->time_ms)) {
        struct nadb_wheel *fresh = nadb_wheel_new(now_ms);
        fresh->older = *wheel_at;
        *wheel_at = fresh;
    }
    struct nadb_wheel *wheel = *wheel_at;
    if (NADB_UNLIKELY(wheel->older != NULL)) {
        return empty_older(wheel);
    }
    if (wheel->pending == NULL && !reach_slot(wheel, now_ms)) {
        wheel->time_ms = now_ms;
        return NADB_WHEEL_IDLE;
    }
    struct nadb_rec *rec = wheel->pending;
    if (rec == NULL) {
        return NADB_WHEEL_MOVED;
    }
    nadb_wheel_cancel(rec);
    if (nadb_rec_ttl_part(rec)->expire_ms > now_ms) {
        nadb_wheel_arm(wheel, rec);
        return NADB_WHEEL_MOVED;
    }
    *ret_rec = rec;
    return NADB_WHEEL_DUE;
}

uint64_t nadb_wheel_next_ms(const struct nadb_wheel *wheel)
{
    if (wheel->pending != NULL || wheel->older != NULL) {
        return 0;
    }
    unsigned level = 0;
    unsigned slot = 0;
    return first_slot(wheel, &level, &slot);
}
