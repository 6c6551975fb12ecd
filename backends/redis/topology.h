/* Which servers the engine has, and which of them has which slot. Servers are only ever added, so
 * that their numbers stay true; one that has no slots is of no harm. A single server has all.
 * Thread: any; it has a lock of its own, held for no I/O. */
#ifndef NADB_BACKENDS_REDIS_TOPOLOGY_H
#define NADB_BACKENDS_REDIS_TOPOLOGY_H

#include <hiredis/hiredis.h>
#include <pthread.h>

#include "backends/redis/names.h"
#include "backends/redis/url.h"

#define NADB_REDIS_SERVERS_MAX 512u
#define NADB_REDIS_NO_SERVER   UINT16_MAX

struct nadb_redis_topology {
    pthread_mutex_t lock;
    bool is_cluster;
    size_t count;
    struct nadb_redis_url *servers[NADB_REDIS_SERVERS_MAX]; /* owned */
    uint16_t by_slot[NADB_REDIS_SLOTS];
    unsigned masters;
};

/* The servers of the configuration; without `is_cluster` the first has everything. */
void nadb_redis_topology_init(struct nadb_redis_topology *topology,
    const struct nadb_redis_url *urls, size_t count, bool is_cluster);
void nadb_redis_topology_fini(struct nadb_redis_topology *topology);

size_t nadb_redis_topology_count(struct nadb_redis_topology *topology);
unsigned nadb_redis_topology_masters(struct nadb_redis_topology *topology);
void nadb_redis_topology_url(
    struct nadb_redis_topology *topology, size_t server, struct nadb_redis_url *ret);

/* The server of a slot; NADB_REDIS_NO_SERVER: nobody has it. */
uint16_t nadb_redis_topology_find(struct nadb_redis_topology *topology, uint32_t slot);

/* The server at "host:port", added when it is new; "" as host: that of `from`. NO_SERVER: the text
 * is malformed or there are too many. A `slot` below NADB_REDIS_SLOTS is its from now on. */
uint16_t nadb_redis_topology_add(
    struct nadb_redis_topology *topology, struct nadb_slice address, uint16_t from, uint32_t slot);

/* Takes over the reply to CLUSTER SLOTS of server `from`; false: it is no such reply. */
bool nadb_redis_topology_learn(
    struct nadb_redis_topology *topology, const redisReply *reply, uint16_t from);

#endif
