/* This file knows which server has which slot. */
#include "backends/redis/topology.h"

#include <string.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/parse.h"

static void lock(struct nadb_redis_topology *topology)
{
    int result = pthread_mutex_lock(&topology->lock);
    NADB_ASSERT(result == 0);
}

static void unlock(struct nadb_redis_topology *topology)
{
    int result = pthread_mutex_unlock(&topology->lock);
    NADB_ASSERT(result == 0);
}

/* The number of a server, which is added when it is new. */
static uint16_t intern(struct nadb_redis_topology *topology, const struct nadb_redis_url *url)
{
    for (size_t i = 0; i < topology->count; i++) {
        const struct nadb_redis_url *known = topology->servers[i];
        if (known->port == url->port && strcmp(known->host, url->host) == 0) {
            return (uint16_t)i;
        }
    }
    if (topology->count == NADB_REDIS_SERVERS_MAX) {
        return NADB_REDIS_NO_SERVER;
    }
    struct nadb_redis_url *copy = nadb_mem_alloc(sizeof(*copy));
    *copy = *url;
    topology->servers[topology->count] = copy;
    return (uint16_t)topology->count++;
}

void nadb_redis_topology_init(struct nadb_redis_topology *topology,
    const struct nadb_redis_url *urls, size_t count, bool is_cluster)
{
    *topology = (struct nadb_redis_topology){.is_cluster = is_cluster};
    int result = pthread_mutex_init(&topology->lock, NULL);
    NADB_ASSERT(result == 0);
    for (size_t i = 0; i < count; i++) {
        (void)intern(topology, &urls[i]); /* too many seeds are left out */
    }
    uint16_t server = is_cluster ? NADB_REDIS_NO_SERVER : 0;
    for (size_t i = 0; i < NADB_REDIS_SLOTS; i++) {
        topology->by_slot[i] = server;
    }
    topology->masters = is_cluster ? 0 : 1;
}

void nadb_redis_topology_fini(struct nadb_redis_topology *topology)
{
    for (size_t i = 0; i < topology->count; i++) {
        nadb_mem_free(topology->servers[i]);
        topology->servers[i] = NULL;
    }
    (void)pthread_mutex_destroy(&topology->lock); /* fails only while it is held */
}

size_t nadb_redis_topology_count(struct nadb_redis_topology *topology)
{
    lock(topology);
    size_t count = topology->count;
    unlock(topology);
    return count;
}

unsigned nadb_redis_topology_masters(struct nadb_redis_topology *topology)
{
    lock(topology);
    unsigned masters = topology->masters;
    unlock(topology);
    return masters;
}

void nadb_redis_topology_url(
    struct nadb_redis_topology *topology, size_t server, struct nadb_redis_url *ret)
{
    lock(topology);
    NADB_ASSERT(server < topology->count);
    *ret = *topology->servers[server];
    unlock(topology);
}

uint16_t nadb_redis_topology_find(struct nadb_redis_topology *topology, uint32_t slot)
{
    lock(topology);
    uint16_t server = topology->by_slot[slot];
    unlock(topology);
    return server;
}

/* A server as the cluster names it; all have the user and password of the first seed. */
static uint16_t intern_place(
    struct nadb_redis_topology *topology, struct nadb_slice host, uint64_t port, uint16_t from)
{
    struct nadb_redis_url url = *topology->servers[0];
    if (host.len == 0 || (host.len == 1 && host.data[0] == '?')) {
        if (from >= topology->count || topology->servers[from]->is_unix) {
            return NADB_REDIS_NO_SERVER;
        }
        host = nadb_slice_cstr(topology->servers[from]->host);
    }
    if (host.len >= sizeof(url.host) || port == 0 || port > UINT16_MAX) {
        return NADB_REDIS_NO_SERVER;
    }
    char text[NADB_REDIS_HOST_MAX] = {0};
    memcpy(text, host.data, host.len);
    memcpy(url.host, text, sizeof(text));
    url.is_unix = false;
    url.port = (uint16_t)port;
    return intern(topology, &url);
}

uint16_t nadb_redis_topology_add(
    struct nadb_redis_topology *topology, struct nadb_slice address, uint16_t from, uint32_t slot)
{
    const char *colon = address.len > 0 ? memrchr(address.data, ':', address.len) : NULL;
    uint64_t port = 0;
    if (colon == NULL ||
        !nadb_parse_u64(
            nadb_slice_of(colon + 1, (size_t)(address.data + address.len - colon - 1)), &port)) {
        return NADB_REDIS_NO_SERVER;
    }
    lock(topology);
    uint16_t server = intern_place(
        topology, nadb_slice_of(address.data, (size_t)(colon - address.data)), port, from);
    if (server != NADB_REDIS_NO_SERVER && slot < NADB_REDIS_SLOTS) {
        topology->by_slot[slot] = server;
    }
    unlock(topology);
    return server;
}

/* A node of the reply: host, port, and more of no interest. */
static uint16_t learn_node(
    struct nadb_redis_topology *topology, const redisReply *node, uint16_t from)
{
    if (node->type != REDIS_REPLY_ARRAY || node->elements < 2 ||
        node->element[1]->type != REDIS_REPLY_INTEGER || node->element[1]->integer <= 0) {
        return NADB_REDIS_NO_SERVER;
    }
    const redisReply *host = node->element[0];
    struct nadb_slice name = host->type == REDIS_REPLY_STRING
                                 ? nadb_slice_of(host->str, (size_t)host->len)
                                 : nadb_slice_of(NULL, 0);
    return intern_place(topology, name, (uint64_t)node->element[1]->integer, from);
}

/* first slot, last slot, master, replicas... */
static bool learn_range(struct nadb_redis_topology *topology, const redisReply *range,
    uint16_t from, uint16_t by_slot[NADB_REDIS_SLOTS])
{
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
        range->element[0]->type != REDIS_REPLY_INTEGER ||
        range->element[1]->type != REDIS_REPLY_INTEGER) {
        return false;
    }
    long long first = range->element[0]->integer;
    long long last = range->element[1]->integer;
    if (first < 0 || last < first || last >= (long long)NADB_REDIS_SLOTS) {
        return false;
    }
    uint16_t master = learn_node(topology, range->element[2], from);
    for (size_t i = 3; i < range->elements; i++) {
        (void)learn_node(topology, range->element[i], from); /* known, to be asked one day */
    }
    for (long long slot = first; slot <= last; slot++) {
        by_slot[slot] = master;
    }
    return true;
}

static unsigned count_masters(const uint16_t by_slot[NADB_REDIS_SLOTS])
{
    bool is_seen[NADB_REDIS_SERVERS_MAX] = {false};
    unsigned count = 0;
    for (size_t i = 0; i < NADB_REDIS_SLOTS; i++) {
        if (by_slot[i] != NADB_REDIS_NO_SERVER && !is_seen[by_slot[i]]) {
            is_seen[by_slot[i]] = true;
            count++;
        }
    }
    return count;
}

bool nadb_redis_topology_learn(
    struct nadb_redis_topology *topology, const redisReply *reply, uint16_t from)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
        return false;
    }
    uint16_t *by_slot = nadb_mem_alloc(sizeof(topology->by_slot));
    memset(by_slot, 0xff, sizeof(topology->by_slot)); /* nobody's */
    lock(topology);
    bool is_right = true;
    for (size_t i = 0; is_right && i < reply->elements; i++) {
        is_right = learn_range(topology, reply->element[i], from, by_slot);
    }
    if (is_right) {
        memcpy(topology->by_slot, by_slot, sizeof(topology->by_slot));
        topology->masters = count_masters(by_slot);
    }
    unlock(topology);
    nadb_mem_free(by_slot);
    return is_right;
}
