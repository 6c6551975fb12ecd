/* What the store's tests share: a store over the log backend for tests, with a clock and an
 * executor of the test's, and one-line forms of the commands. Thread: the test's. */
#ifndef NADB_TESTS_UNIT_STORE_STORE_SUPPORT_H
#define NADB_TESTS_UNIT_STORE_STORE_SUPPORT_H

#include "src/store/store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/faulty_io.h"
#include "tests/support/inline_executor.h"
#include "tests/support/log_backend.h"

#define BENCH_BUFFER_BYTES UINT64_C(100000)
#define BENCH_INTERVAL_MS  UINT64_C(1000)
#define BENCH_DATABASES    4u

#define BENCH_SEGMENT_BYTES UINT64_C(4096)

/* What the store has told. */
struct bench_told {
    unsigned opened, closed, durable, undone, admit, wake, warnings;
    enum nadb_err opened_err, closed_err;
    struct nadb_error undone_error;
};

struct bench {
    struct nadb_fake_clock clock;
    struct nadb_inline_executor exec;
    struct nadb_log_disk disk;
    struct bench_told told;
    struct nadb_store *store;
    struct nadb_keyspace *db;   /* database 0 */
    bool is_volatile;           /* the memory backend in place of the log */
    struct nadb_faulty *faulty; /* the fs backend over this, in place of the log; NULL: no */
};

/* A new bench with an open store. */
struct bench *bench_new(enum nadb_durability durability);
struct bench *bench_new_volatile(void);
struct bench *bench_new_fs(enum nadb_durability durability); /* segments of BENCH_SEGMENT_BYTES */
void bench_free(struct bench *bench);

/* The process dies: jobs that wait are dropped, the store is freed without close. */
void bench_kill(struct bench *bench);

/* A store over what the disk has; opens it and checks that this worked. */
void bench_open(struct bench *bench, enum nadb_durability durability);
void bench_restart(struct bench *bench, enum nadb_durability durability); /* kill and open */

/* An empty turn of the loop. */
void bench_turn(struct bench *bench);

/* Turns, steps and jobs until nothing is left to do now. Checks the store. */
void bench_settle(struct bench *bench);

/* Finishes the flush in flight, or the one that gathers, but not those that follow from it. */
void bench_finish_job(struct bench *bench);

/* Each command is a turn of its own; they return the number to hold the reply for. */
uint64_t bench_put(struct bench *bench, const char *key, const char *value);
uint64_t bench_put_ttl(struct bench *bench, const char *key, const char *value, uint64_t ttl_ms);
uint64_t bench_del(struct bench *bench, const char *key);
uint64_t bench_append(struct bench *bench, const char *key, const char *text);
uint64_t bench_pexpire(struct bench *bench, const char *key, uint64_t ttl_ms);
uint64_t bench_clear(struct bench *bench);
uint64_t bench_flush(struct bench *bench);
uint64_t bench_get_hold(struct bench *bench, const char *key); /* a read's hold */

/* Is the key's value this? NULL: is there no such key? */
bool bench_has(struct bench *bench, const char *key, const char *value);
bool bench_has_in(
    struct bench *bench, struct nadb_keyspace *keyspace, const char *key, const char *value);

void bench_check(struct bench *bench);

struct nadb_key bench_key(const struct bench *bench, const char *key);
struct nadb_keyspace *bench_keyspace(struct bench *bench, uint64_t db, const char *name);

/* How many PUT entries of the key all batches on the disk have. */
size_t bench_puts_on_disk(const struct bench *bench, const char *key);

#endif
