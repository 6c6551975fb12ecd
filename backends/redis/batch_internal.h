/* What the files that run a batch share: batch.c plans it, batch_send.c puts it onto the wire,
 * batch_take.c makes outcomes of what comes back. Folder-internal. Thread: the one of the lane. */
#ifndef NADB_BACKENDS_REDIS_BATCH_INTERNAL_H
#define NADB_BACKENDS_REDIS_BATCH_INTERNAL_H

#include "backends/redis/redis_internal.h"

/* A fetch by names that are asked for one by one has so many GETs, and then perhaps a ZSCORE. */
#define NADB_REDIS_APART_GETS 3u

enum nadb_redis_chunk_kind {
    NADB_REDIS_CHUNK_NONE,
    NADB_REDIS_CHUNK_VALUES, /* MGET */
    NADB_REDIS_CHUNK_APART,  /* a fetch, by names that are asked for one by one */
    NADB_REDIS_CHUNK_LOOKS,  /* a script */
    NADB_REDIS_CHUNK_SETS,   /* SET XX of each */
    NADB_REDIS_CHUNK_COMMITS,
    NADB_REDIS_CHUNK_EPOCHS,
};

struct nadb_redis_chunk {
    enum nadb_redis_chunk_kind kind;
    uint32_t partition;
    uint32_t first, last; /* ops, linked by next[] */
    size_t ops, items, bytes;
    size_t call;       /* its last call */
    bool may_be_apart; /* fetches of keys that no commit has to do with */
};

/* What is still to be done for an operation. */
enum nadb_redis_verdict {
    NADB_REDIS_VERDICT_DONE,
    NADB_REDIS_VERDICT_AGAIN, /* a hint was wrong */
    NADB_REDIS_VERDICT_APART, /* what it fetches is here and there */
};

/* What the batch does with a key: an entry of an open table, at most half full. */
struct nadb_redis_use {
    uint32_t print;  /* of the key's hash: keys that share it are taken for one; 0: free */
    uint32_t ops;    /* that have to do with it: 0, 1, 2: or more */
    uint32_t writes; /* commits among them, likewise */
};

struct nadb_redis_batch {
    struct nadb_redis *redis;
    struct nadb_redis_lane *lane;
    const struct nadb_shared_settings *settings;
    struct nadb_op *const *ops;
    size_t count;
    uint32_t *partitions; /* of each op */
    uint32_t *next;       /* op of the same chunk; UINT32_MAX: the last */
    struct nadb_redis_chunk *chunks;
    size_t chunk_count;
    uint32_t *open; /* chunk of each group that may grow, + 1; 0: none */
    bool is_sure;   /* hints are not followed */
    bool is_apart;  /* names are asked for one by one */
    struct nadb_redis_use *uses;
    size_t use_mask;
    uint64_t *hashes;  /* of the key of each fetch, and of the last one of each commit */
    bool *is_hinted;   /* its key was taken for one with a plain record */
    uint8_t *verdicts; /* the caller's */
};

/* ---- batch_send.c ---- */

/* Appends the chunk's commands to what the lane sends next. */
void nadb_redis_send_chunk(struct nadb_redis_batch *batch, struct nadb_redis_chunk *chunk);

/* ---- batch_take.c ---- */

/* After the exchange: each operation of the chunk has its outcome, or a verdict other than DONE. */
void nadb_redis_take_chunk(struct nadb_redis_batch *batch, const struct nadb_redis_chunk *chunk);

#endif
