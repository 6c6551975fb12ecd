/* This file is the bench on which the store's tests are made. */
#include "tests/unit/store/store_support.h"

#include <criterion/criterion.h>

#include "backends/fs/fs.h"
#include "backends/registry.h"
#include "src/base/mem.h"
#include "src/store/store_internal.h"

#define SETTLE_ROUNDS_MAX 10000
#define STEP_US           1000

/* ---- events ---- */

static void on_opened(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    struct bench *bench = ctx;
    (void)error;
    bench->told.opened++;
    bench->told.opened_err = err;
}

static void on_closed(void *ctx, enum nadb_err err, const struct nadb_error *error)
{
    struct bench *bench = ctx;
    (void)error;
    bench->told.closed++;
    bench->told.closed_err = err;
}

static void on_durable(void *ctx)
{
    ((struct bench *)ctx)->told.durable++;
}

static void on_undone(void *ctx, const struct nadb_error *error)
{
    struct bench *bench = ctx;
    bench->told.undone++;
    bench->told.undone_error = *error;
}

static void on_admit(void *ctx)
{
    ((struct bench *)ctx)->told.admit++;
}

static void on_wake(void *ctx)
{
    ((struct bench *)ctx)->told.wake++;
}

static void on_notice(void *ctx, bool is_warning, const char *line)
{
    struct bench *bench = ctx;
    (void)line;
    bench->told.warnings += is_warning ? 1 : 0;
}

static const struct nadb_store_events events = {
    .opened = on_opened,
    .closed = on_closed,
    .durable = on_durable,
    .undone = on_undone,
    .admit = on_admit,
    .wake = on_wake,
    .notice = on_notice,
};

/* ---- life ---- */

static struct bench *make(bool is_volatile)
{
    struct bench *bench = nadb_mem_zalloc(sizeof(*bench));
    nadb_fake_clock_init(&bench->clock);
    nadb_inline_executor_init(&bench->exec);
    nadb_log_disk_init(&bench->disk);
    bench->is_volatile = is_volatile;
    return bench;
}

struct bench *bench_new(enum nadb_durability durability)
{
    struct bench *bench = make(false);
    bench_open(bench, durability);
    return bench;
}

struct bench *bench_new_fs(enum nadb_durability durability)
{
    struct bench *bench = make(false);
    bench->faulty = nadb_faulty_new(1);
    bench_open(bench, durability);
    return bench;
}

struct bench *bench_new_volatile(void)
{
    struct bench *bench = make(true);
    bench_open(bench, NADB_DURABILITY_INTERVAL);
    return bench;
}

void bench_kill(struct bench *bench)
{
    nadb_inline_executor_discard_all(&bench->exec);
    nadb_store_free(bench->store);
    bench->store = NULL;
    bench->db = NULL;
    if (bench->faulty != NULL) {
        nadb_faulty_kill(bench->faulty);
    }
}

void bench_free(struct bench *bench)
{
    bench_kill(bench);
    nadb_log_disk_fini(&bench->disk);
    nadb_faulty_free(bench->faulty);
    nadb_mem_free(bench);
}

static struct nadb_backend *make_backend(struct bench *bench)
{
    const struct nadb_backend_opts opts = {.dir = "/db", .segment_size_bytes = BENCH_SEGMENT_BYTES};
    if (bench->faulty != NULL) {
        return nadb_fs_new(&opts, nadb_faulty_io(bench->faulty));
    }
    return bench->is_volatile ? nadb_backend_memory_ops.new_instance(&opts)
                              : nadb_log_backend_new(&bench->disk);
}

void bench_open(struct bench *bench, enum nadb_durability durability)
{
    struct nadb_backend *backend = make_backend(bench);
    bench->told = (struct bench_told){0};
    bench->store = nadb_store_new(&(struct nadb_store_opts){
        .clock = &bench->clock.clock,
        .executor = &bench->exec.executor,
        .events = &events,
        .events_ctx = bench,
        .backend_ops = backend->ops,
        .backend = backend,
        .durability = durability,
        .buffer_size_bytes = BENCH_BUFFER_BYTES,
        .flush_interval_ms = BENCH_INTERVAL_MS,
        .databases = BENCH_DATABASES,
        .namespaces_max = 3,
        .hash_seed = {1, 2},
    });
    nadb_store_open(bench->store);
    for (int i = 0; i < SETTLE_ROUNDS_MAX && bench->told.opened == 0; i++) {
        (void)nadb_inline_executor_run_one(&bench->exec);
        nadb_store_turn_begin(bench->store);
        (void)nadb_store_step(bench->store, STEP_US);
    }
    cr_assert_eq(bench->told.opened, 1);
    if (bench->told.opened_err == NADB_OK) {
        bench->db = bench_keyspace(bench, 0, "");
        bench_check(bench);
    }
}

void bench_restart(struct bench *bench, enum nadb_durability durability)
{
    bench_kill(bench);
    bench_open(bench, durability);
}

/* ---- time ---- */

void bench_check(struct bench *bench)
{
    const char *reason = NULL;
    cr_assert(nadb_store__check(bench->store, &reason), "%s", reason);
}

void bench_turn(struct bench *bench)
{
    nadb_store_turn_begin(bench->store);
    nadb_store_turn_end(bench->store);
}

/* A batch waits for clients that may come back: until then the loop does not sleep. */
static bool is_gathering(const struct bench *bench)
{
    return nadb_inline_executor_pending(&bench->exec) == 0 &&
           nadb_store_next_due_ms(bench->store, 1) == 0;
}

void bench_settle(struct bench *bench)
{
    bool is_busy = true;
    for (int i = 0; is_busy && i < SETTLE_ROUNDS_MAX; i++) {
        nadb_store_turn_begin(bench->store);
        is_busy = nadb_store_step(bench->store, STEP_US);
        nadb_store_turn_end(bench->store);
        is_busy |= nadb_inline_executor_run_one(&bench->exec) || is_gathering(bench);
    }
    cr_assert(!is_busy, "the store never came to rest");
    bench_check(bench);
}

void bench_finish_job(struct bench *bench)
{
    for (int i = 0; i < SETTLE_ROUNDS_MAX && is_gathering(bench); i++) {
        bench_turn(bench);
    }
    cr_assert(nadb_inline_executor_run_one(&bench->exec), "nothing was in flight");
}

/* ---- commands ---- */

struct nadb_key bench_key(const struct bench *bench, const char *key)
{
    return nadb_store_key(bench->store, nadb_slice_cstr(key));
}

struct nadb_keyspace *bench_keyspace(struct bench *bench, uint64_t db, const char *name)
{
    return nadb_store_keyspace(bench->store, db, nadb_slice_cstr(name), true);
}

static void begin(struct bench *bench)
{
    nadb_store_turn_begin(bench->store);
    nadb_store_command_begin(bench->store);
}

static uint64_t end(struct bench *bench)
{
    uint64_t hold = nadb_store_command_end(bench->store);
    nadb_store_turn_end(bench->store);
    return hold;
}

uint64_t bench_put_ttl(struct bench *bench, const char *key, const char *value, uint64_t ttl_ms)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    struct nadb_put put = {
        .value = nadb_slice_cstr(value),
        .expire_ms = ttl_ms == 0 ? 0 : nadb_store_now_ms(bench->store) + ttl_ms,
    };
    cr_assert_eq(nadb_store_put(bench->store, bench->db, &k, &put), NADB_OK);
    return end(bench);
}

uint64_t bench_put(struct bench *bench, const char *key, const char *value)
{
    return bench_put_ttl(bench, key, value, 0);
}

uint64_t bench_del(struct bench *bench, const char *key)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    (void)nadb_store_delete(bench->store, bench->db, &k);
    return end(bench);
}

uint64_t bench_append(struct bench *bench, const char *key, const char *text)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    const struct nadb_rec *rec = nadb_store_peek(bench->store, bench->db, &k);
    size_t before = rec == NULL ? 0 : nadb_rec_value(rec).len;
    char *room = nadb_store_edit(bench->store, bench->db, &k, before + strlen(text));
    cr_assert_not_null(room);
    memcpy(room + before, text, strlen(text));
    return end(bench);
}

uint64_t bench_pexpire(struct bench *bench, const char *key, uint64_t ttl_ms)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    uint64_t expire_ms = ttl_ms == 0 ? 0 : nadb_store_now_ms(bench->store) + ttl_ms;
    (void)nadb_store_expire(bench->store, bench->db, &k, expire_ms);
    return end(bench);
}

uint64_t bench_clear(struct bench *bench)
{
    begin(bench);
    (void)nadb_store_clear(bench->store, bench->db);
    return end(bench);
}

uint64_t bench_flush(struct bench *bench)
{
    begin(bench);
    nadb_store_flush(bench->store);
    return end(bench);
}

uint64_t bench_get_hold(struct bench *bench, const char *key)
{
    begin(bench);
    struct nadb_key k = bench_key(bench, key);
    (void)nadb_store_read(bench->store, bench->db, &k);
    return end(bench);
}

bool bench_has_in(
    struct bench *bench, struct nadb_keyspace *keyspace, const char *key, const char *value)
{
    nadb_store_turn_begin(bench->store);
    struct nadb_key k = bench_key(bench, key);
    const struct nadb_rec *rec = nadb_store_peek(bench->store, keyspace, &k);
    if (rec == NULL || value == NULL) {
        return rec == NULL && value == NULL;
    }
    return nadb_slice_eq(nadb_rec_value(rec), nadb_slice_cstr(value)) &&
           nadb_slice_eq(nadb_rec_key(rec), nadb_slice_cstr(key));
}

bool bench_has(struct bench *bench, const char *key, const char *value)
{
    return bench_has_in(bench, bench->db, key, value);
}

size_t bench_puts_on_disk(const struct bench *bench, const char *key)
{
    size_t count = 0;
    for (size_t i = 0; i < bench->disk.count; i++) {
        count += nadb_log_batch_count(&bench->disk.batches[i], NADB_ENTRY_PUT, key);
    }
    return count;
}
