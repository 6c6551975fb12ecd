/* This file lists the backends. */
#include "backends/registry.h"

#include <string.h>

#include "src/base/compiler.h"

static const struct nadb_backend_ops *const backends[] = {
    &nadb_backend_fs_ops,
    &nadb_backend_memory_ops,
    &nadb_backend_redis_ops,
};

const struct nadb_backend_ops *nadb_backend_find(const char *name)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(backends); i++) {
        if (strcmp(backends[i]->name, name) == 0) {
            return backends[i];
        }
    }
    return NULL;
}

const struct nadb_backend_ops *nadb_backend_at(size_t index)
{
    return index < NADB_ARRAY_LEN(backends) ? backends[index] : NULL;
}
