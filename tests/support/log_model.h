/* What a log backend is checked against: batches whose content follows from a seed and their
 * number alone, so that any prefix of the log can be told to be right without keeping it.
 * Thread: one at a time. */
#ifndef NADB_TESTS_SUPPORT_LOG_MODEL_H
#define NADB_TESTS_SUPPORT_LOG_MODEL_H

#include "backends/backend.h"

/* How large the batches are. */
enum nadb_log_scale {
    NADB_LOG_SMALL,  /* a few entries of up to some hundred bytes */
    NADB_LOG_VARIED, /* up to hundreds of entries and values of up to some hundred KiB */
};

struct nadb_log_model;

struct nadb_log_model *nadb_log_model_new(uint64_t seed, enum nadb_log_scale scale);
void nadb_log_model_free(struct nadb_log_model *model);

/* Batch `seq`, not synced; borrowed until the next call on the model. */
struct nadb_batch *nadb_log_model_batch(struct nadb_log_model *model, uint64_t seq);

/* Opens, replays everything, and compares with the batches 1 .. *ret_info->last_batch_seq: every
 * entry, every location of a PUT not 0, every dead_ms. NULL when all is right, else what is wrong
 * (valid until the next call; the backend is then open or not). */
const char *nadb_log_model_reopen(struct nadb_log_model *model, struct nadb_backend *backend,
    struct nadb_backend_open_info *ret_info);

#endif
