/* Everything that a backend replays, unit by unit, chunk by chunk. Thread: the test's. */
#ifndef NADB_TESTS_SUPPORT_REPLAY_ALL_H
#define NADB_TESTS_SUPPORT_REPLAY_ALL_H

#include "backends/backend.h"

/* NULL: only that it can be read matters. */
typedef void nadb_replayed_fn(void *ctx, const struct nadb_replay_chunk *chunk);

/* The first failure ends it. */
NADB_MUST_CHECK static inline enum nadb_err nadb_replay_all(struct nadb_backend *backend,
    uint32_t units, nadb_replayed_fn *note, void *ctx, struct nadb_error *reterr)
{
    for (uint32_t unit = 0; unit < units; unit++) {
        uint64_t cursor = 0;
        bool is_last = false;
        while (!is_last) {
            struct nadb_replay_chunk chunk;
            enum nadb_err err = backend->ops->replay(backend, unit, &cursor, &chunk, reterr);
            if (err != NADB_OK) {
                return err;
            }
            is_last = chunk.is_last;
            if (note != NULL) {
                note(ctx, &chunk);
            }
            backend->ops->replay_free(&chunk);
        }
    }
    return NADB_OK;
}

#endif
