/* This file keeps what operations were given until the last of them is freed. */
#include "backends/redis/redis_internal.h"
#include "src/base/assert.h"
#include "src/base/mem.h"

struct block {
    struct block *next;
    redisReply *reply; /* NULL: memory follows */
    _Alignas(max_align_t) char bytes[];
};

struct nadb_redis_hold {
    atomic_uint refs;
    struct block *blocks;
};

struct nadb_redis_hold *nadb_redis_hold_new(void)
{
    struct nadb_redis_hold *hold = nadb_mem_zalloc(sizeof(*hold));
    atomic_init(&hold->refs, 1);
    return hold;
}

void nadb_redis_hold_unref(struct nadb_redis_hold *hold)
{
    if (hold == NULL || atomic_fetch_sub(&hold->refs, 1) > 1) {
        return;
    }
    while (hold->blocks != NULL) {
        struct block *block = hold->blocks;
        hold->blocks = block->next;
        if (block->reply != NULL) {
            freeReplyObject(block->reply);
        }
        nadb_mem_free(block);
    }
    nadb_mem_free(hold);
}

void nadb_redis_hold_share(struct nadb_redis_hold *hold, struct nadb_op *op)
{
    NADB_ASSERT(op->backend_private == NULL);
    atomic_fetch_add(&hold->refs, 1);
    op->backend_private = hold;
}

void *nadb_redis_hold_alloc(struct nadb_redis_hold *hold, size_t size)
{
    struct block *block = nadb_mem_try_alloc(sizeof(*block) + size);
    if (block == NULL) {
        return NULL;
    }
    block->reply = NULL;
    block->next = hold->blocks;
    hold->blocks = block;
    return block->bytes;
}

void nadb_redis_hold_reply(struct nadb_redis_hold *hold, redisReply *reply)
{
    struct block *block = nadb_mem_zalloc(sizeof(*block));
    block->reply = reply;
    block->next = hold->blocks;
    hold->blocks = block;
}
