/* What the files of compaction share: see compact.c. Folder-internal. Thread: loop; a worker has
 * the parts, the moves and the totals while it copies. */
#ifndef NADB_STORE_COMPACT_INTERNAL_H
#define NADB_STORE_COMPACT_INTERNAL_H

#include "src/store/store_internal.h"

#define NADB_COMPACT_LOOK_US UINT64_C(1000000) /* between looks for something to do */

/* What a worker is to do. */
enum nadb_compact_step {
    NADB_COMPACT_STEP_LIST,
    NADB_COMPACT_STEP_COPY,
    NADB_COMPACT_STEP_FINISH,
    NADB_COMPACT_STEP_PUBLISH,
    NADB_COMPACT_STEP_END,
};

/* Where a record goes. */
struct nadb_compact_move {
    uint64_t hash;
    uint64_t version : NADB_REC_VERSION_BITS;
    uint64_t space : 16;
    uint64_t loc;
};

struct nadb_compact_part {
    struct nadb_replay_chunk chunk;
    uint8_t *verdicts;
    uint64_t *hashes;
    uint64_t *locs; /* new ones */
};

/* A wish for a pass over all that is dead. */
struct nadb_compact_wish {
    uint64_t pass; /* 0: none */
    bool is_scoped;
    uint16_t space;
};

/* Of all segments. */
struct nadb_compact_sums {
    uint64_t total, needed, kept;
};

struct nadb_compact {
    struct nadb_job job;
    struct nadb_store *store;
    enum nadb_compact_state state;
    bool is_busy; /* a worker has it */
    bool must_stop;
    uint64_t due_us;               /* nothing is begun unasked before that */
    bool has_failed;               /* that is why */
    uint64_t look_us;              /* when dying was looked at last */
    struct nadb_compact_sums sums; /* when it was last decided what to do */

    /* the pass */
    struct nadb_compact_wish wish, next_wish;
    uint64_t passes; /* asked for */
    uint64_t segments_seen;
    uint64_t pass_end_id; /* segments from this one on came later; UINT64_MAX: not known yet */
    uint64_t started_us;
    uint64_t budget_from_us, budget_bytes; /* of the run: for the rate */
    bool is_urgent;                        /* ... which does not hold then */
    struct nadb_compact_report report, last;

    /* the run */
    struct nadb_segment_info *list; /* owned */
    size_t list_count, at, count;
    uint64_t begin_version, horizon, judged_version, moved_version;
    struct nadb_compaction *compaction;
    struct nadb_compression compression;
    struct nadb_compact_part part, next; /* a worker's during COPY, as moves and the totals are */
    size_t judged;
    struct nadb_compact_move *moves;
    size_t move_count, move_cap, moved;
    uint32_t out_number;
    bool has_out;
    bool is_skipping;  /* nothing of the run is needed */
    bool is_exchanged; /* the backend was told to publish: there is no way back */
    uint64_t retry_us; /* not before that is it told again */
    bool must_move_again;
    struct nadb_error abort_error; /* why the run was given up */
    uint64_t out_total, out_kept;
    uint64_t part_dead; /* in what was written last */

    /* the worker's */
    enum nadb_compact_step step;
    bool must_close, is_published; /* for it */
    bool was_last;                 /* the part that was written */
    enum nadb_err err;
    struct nadb_error error;
    struct nadb_compact_result result;
};

/* ---- compact_pick.c ---- */

/* Notes which segments are dying fast, once a second. */
void nadb_compact__look_at_dying(struct nadb_compact *c);

/* Is there something to do that nobody has asked for? May wish for a pass. */
bool nadb_compact__is_called_for(struct nadb_compact *c);

/* Which of the list are the next run: true, and they are `count` from `at` on. */
bool nadb_compact__pick(struct nadb_compact *c);

/* Is so much of everything dead that the rate does not hold? As the last pick found it. */
bool nadb_compact__is_urgent(const struct nadb_compact *c);

/* Is nothing of the segment needed, so that it need not be read? */
bool nadb_compact__may_skip(struct nadb_compact *c, const struct nadb_segment_info *info);

/* Of the run that was picked: below it nothing older can be in front, see compact_judge.c. */
uint64_t nadb_compact__horizon(struct nadb_compact *c);

/* ---- compact_judge.c ---- */

/* Verdicts for the part, for about `budget_us`; true when there is more to judge. */
bool nadb_compact__judge_some(struct nadb_compact *c, uint64_t budget_us);

/* Records learn their new places, for about `budget_us`; true when there is more to move. */
bool nadb_compact__move_some(struct nadb_compact *c, uint64_t budget_us);

#endif
