/* The list of backends: the only place that names them all. Thread: any. */
#ifndef NADB_BACKENDS_REGISTRY_H
#define NADB_BACKENDS_REGISTRY_H

#include "backends/backend.h"

extern const struct nadb_backend_ops nadb_backend_memory_ops;
extern const struct nadb_backend_ops nadb_backend_fs_ops;
extern const struct nadb_backend_ops nadb_backend_redis_ops;

/* The backend called `name`, or NULL. */
const struct nadb_backend_ops *nadb_backend_find(const char *name);

/* All backends in the order of the list; NULL at `index` past the end. */
const struct nadb_backend_ops *nadb_backend_at(size_t index);

#endif
