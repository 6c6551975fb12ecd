/* The scripts that run in the engine, made from lua/ when this is built. Thread: any. */
#ifndef NADB_BACKENDS_REDIS_SCRIPTS_H
#define NADB_BACKENDS_REDIS_SCRIPTS_H

#include "src/base/slice.h"

enum nadb_redis_script_id {
    NADB_REDIS_COMMIT,
    NADB_REDIS_LOOK,
    NADB_REDIS_SELECT,
    NADB_REDIS_CLEAR,
    NADB_REDIS_EPOCH,
    NADB_REDIS_EPOCHS,
    NADB_REDIS_COUNT,
    NADB_REDIS_SCAN,
    NADB_REDIS_RANDOM,
    NADB_REDIS_TALLY,
    NADB_REDIS_SWEEP,
    NADB_REDIS_SCRIPT_COUNT
};

#define NADB_REDIS_SHA_LEN 40

struct nadb_redis_script {
    char sha[NADB_REDIS_SHA_LEN + 1];
    struct nadb_slice text;
};

extern const struct nadb_redis_script nadb_redis_scripts[NADB_REDIS_SCRIPT_COUNT];

#endif
