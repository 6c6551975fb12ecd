/* Names in the engine.
 *
 *     <prefix>{<partition>}r:<space><key>   a full record (record.h), with the engine's expiry
 *     <prefix>{<partition>}p:<space><key>   a plain one
 *     <prefix>{<partition>}k:<space>        its keys: of full records, by the time they end, +inf:
 *                                           never; of plain ones, by -1 - the time of creation
 *     <prefix>{<partition>}t:<space><tag>   keys that carry a tag, by the time they end
 *     <prefix>{<partition>}T:<space>        tags that have such a set
 *     <prefix>{<partition>}e:<space>        't<tag>', 'a' (everything), 'h' (the newest that is
 *                                           forgotten) by the epoch of their invalidation
 *     <prefix>{<partition>}n                spaces that have keys
 *     <prefix>{0}epoch                      the newest epoch that was given out
 *     <prefix>meta, <prefix>writers         format and partitions; how many writers there were
 *
 * The partition is the hash tag of a cluster: what belongs to it is on one server and changes in
 * one script. A space is '<db>:', or '<db>.<length>.<namespace>:' of a namespace. Thread: any. */
#ifndef NADB_BACKENDS_REDIS_NAMES_H
#define NADB_BACKENDS_REDIS_NAMES_H

#include <stdint.h>

#include "backends/shared.h"

#define NADB_REDIS_SLOTS     16384u
#define NADB_REDIS_SPACE_MAX 300

/* The slot of a name, as a cluster has it. */
uint32_t nadb_redis_slot(struct nadb_slice name);

/* Keys with the same {tag} share a partition, as they share a slot in a cluster of the engine's. */
uint32_t nadb_redis_partition(struct nadb_slice key, uint32_t partitions);

/* Writes the text of a space; returns its length. */
size_t nadb_redis_space(struct nadb_place place, char out[NADB_REDIS_SPACE_MAX]);

/* Reads it; the name points into `text`. False: it is none. */
bool nadb_redis_space_parse(struct nadb_slice text, struct nadb_place *ret);

#endif
