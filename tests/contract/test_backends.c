/* This file holds what every backend must do, run against each one in the registry on a real
 * directory. What shared ones promise instead is in test_shared.c. */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "backends/registry.h"
#include "src/base/mem.h"
#include "tests/support/log_model.h"
#include "tests/support/test.h"
#include "tests/support/tmpdir.h"

NADB_TEST_SUITE(backend_contract);

#define SMALL_SEGMENT 8192

struct subject {
    const struct nadb_backend_ops *ops;
    struct nadb_tmpdir tmp;
    struct nadb_backend *backend;
    struct nadb_backend_open_info info;
    struct nadb_error error;
    struct nadb_log_model *model;
    uint64_t segment_size;
};

typedef void contract_fn(struct subject *subject);

static void make_instance(struct subject *subject)
{
    struct nadb_backend_opts opts = {
        .dir = nadb_tmpdir_file(&subject->tmp, "db"),
        .segment_size_bytes = subject->segment_size,
        .is_direct_wanted = true,
    };
    subject->backend = subject->ops->new_instance(&opts);
}

/* Runs one clause against every backend that keeps something. */
static void for_each_keeping(contract_fn *clause, uint64_t segment_size, enum nadb_log_scale scale)
{
    size_t tested = 0;
    for (size_t i = 0; nadb_backend_at(i) != NULL; i++) {
        struct subject subject = {.ops = nadb_backend_at(i), .segment_size = segment_size};
        if (subject.ops->caps & (NADB_BACKEND_VOLATILE | NADB_BACKEND_SHARED)) {
            continue;
        }
        nadb_tmpdir_make(&subject.tmp);
        subject.model = nadb_log_model_new(i, scale);
        clause(&subject);
        nadb_log_model_free(subject.model);
        nadb_tmpdir_remove(&subject.tmp);
        tested++;
    }
    cr_assert_gt(tested, 0);
}

/* A new instance finds the first `seq` batches. */
static void open_and_find(struct subject *subject, uint64_t seq)
{
    make_instance(subject);
    const char *wrong = nadb_log_model_reopen(subject->model, subject->backend, &subject->info);
    cr_assert_null(wrong, "%s: %s", subject->ops->name, wrong);
    cr_assert_eq(subject->info.last_batch_seq, seq, "%s: found %" PRIu64 " of %" PRIu64,
        subject->ops->name, subject->info.last_batch_seq, seq);
}

static void write_up_to(struct subject *subject, uint64_t from, uint64_t to, bool is_sync)
{
    for (uint64_t seq = from; seq <= to; seq++) {
        struct nadb_batch *batch = nadb_log_model_batch(subject->model, seq);
        batch->is_sync = is_sync;
        enum nadb_err err = subject->ops->write(subject->backend, batch, &subject->error);
        cr_assert_eq(err, NADB_OK, "%s: %s", subject->ops->name, subject->error.text);
    }
}

static void close_and_free(struct subject *subject)
{
    enum nadb_err err = subject->ops->close(subject->backend, &subject->error);
    cr_assert_eq(err, NADB_OK, "%s: %s", subject->ops->name, subject->error.text);
    subject->ops->free(subject->backend);
}

/* ---- what all do ---- */

Test(backend_contract, each_is_found_by_its_name_and_nothing_else_is)
{
    for (size_t i = 0; nadb_backend_at(i) != NULL; i++) {
        const struct nadb_backend_ops *ops = nadb_backend_at(i);
        cr_assert_eq(nadb_backend_find(ops->name), ops);
    }
    cr_assert_not_null(nadb_backend_find("fs"));
    cr_assert_not_null(nadb_backend_find("memory"));
    cr_assert_null(nadb_backend_find("floppy"));
    cr_assert_null(nadb_backend_find(""));
}

Test(backend_contract, an_empty_backend_opens_with_nothing_and_closes)
{
    for (size_t i = 0; nadb_backend_at(i) != NULL; i++) {
        struct subject subject = {.ops = nadb_backend_at(i), .segment_size = SMALL_SEGMENT};
        if (subject.ops->caps & NADB_BACKEND_SHARED) {
            continue; /* there is no engine here: test_shared.c has one */
        }
        nadb_tmpdir_make(&subject.tmp);
        for (int life = 0; life < 2; life++) {
            make_instance(&subject);
            cr_assert_eq(
                subject.ops->open(subject.backend, &subject.info, &subject.error), NADB_OK);
            cr_assert_eq(subject.info.units, 0);
            cr_assert_eq(subject.info.last_batch_seq, 0);
            cr_assert_eq(subject.info.last_version, 0);
            cr_assert_eq(subject.info.bytes, 0);
            cr_assert_eq(subject.info.torn_bytes, 0);
            cr_assert(subject.info.was_clean);
            cr_assert_str_eq(subject.info.note, "");
            close_and_free(&subject);
        }
        nadb_tmpdir_remove(&subject.tmp);
    }
}

Test(backend_contract, an_instance_that_was_never_opened_is_freed)
{
    for (size_t i = 0; nadb_backend_at(i) != NULL; i++) {
        struct subject subject = {.ops = nadb_backend_at(i)};
        nadb_tmpdir_make(&subject.tmp);
        make_instance(&subject);
        subject.ops->free(subject.backend);
        nadb_tmpdir_remove(&subject.tmp);
    }
}

Test(backend_contract, a_volatile_one_takes_batches_and_finds_nothing_again)
{
    for (size_t i = 0; nadb_backend_at(i) != NULL; i++) {
        struct subject subject = {.ops = nadb_backend_at(i)};
        if ((subject.ops->caps & NADB_BACKEND_VOLATILE) == 0) {
            continue;
        }
        nadb_tmpdir_make(&subject.tmp);
        subject.model = nadb_log_model_new(i, NADB_LOG_SMALL);
        open_and_find(&subject, 0);
        write_up_to(&subject, 1, 5, true);
        close_and_free(&subject);
        open_and_find(&subject, 0);
        close_and_free(&subject);
        nadb_log_model_free(subject.model);
        nadb_tmpdir_remove(&subject.tmp);
    }
}

/* ---- what those do that keep something ---- */

static void find_after_close(struct subject *subject)
{
    open_and_find(subject, 0);
    write_up_to(subject, 1, 40, false);
    close_and_free(subject);
    open_and_find(subject, 40);
    cr_assert(subject->info.was_clean);
    write_up_to(subject, 41, 60, true);
    close_and_free(subject);
    open_and_find(subject, 60);
    close_and_free(subject);
}

Test(backend_contract, batches_are_found_in_order_after_a_close)
{
    for_each_keeping(find_after_close, SMALL_SEGMENT, NADB_LOG_SMALL);
}

Test(backend_contract, batches_of_all_sizes_are_found_after_a_close)
{
    for_each_keeping(find_after_close, 1u << 20, NADB_LOG_VARIED);
}

static void find_after_crash(struct subject *subject)
{
    open_and_find(subject, 0);
    for (uint64_t life = 0; life < 5; life++) {
        write_up_to(subject, life * 20 + 1, life * 20 + 20, life % 2 == 0);
        subject->ops->free(subject->backend);
        open_and_find(subject, life * 20 + 20);
        cr_assert_not(subject->info.was_clean);
    }
    subject->ops->free(subject->backend);
}

Test(backend_contract, batches_are_found_after_the_process_died)
{
    for_each_keeping(find_after_crash, SMALL_SEGMENT, NADB_LOG_SMALL);
}

Test(backend_contract, batches_of_all_sizes_are_found_after_the_process_died)
{
    for_each_keeping(find_after_crash, 1u << 20, NADB_LOG_VARIED);
}

static void lock_out_second(struct subject *subject)
{
    open_and_find(subject, 0);
    write_up_to(subject, 1, 3, true);
    struct nadb_backend *first = subject->backend;
    make_instance(subject);
    cr_assert_eq(
        subject->ops->open(subject->backend, &subject->info, &subject->error), NADB_ELOCKED);
    subject->ops->free(subject->backend);
    subject->backend = first;
    write_up_to(subject, 4, 6, true);
    close_and_free(subject);
    open_and_find(subject, 6);
    close_and_free(subject);
}

Test(backend_contract, a_second_instance_is_locked_out)
{
    for_each_keeping(lock_out_second, SMALL_SEGMENT, NADB_LOG_SMALL);
}

static void count_stats(struct subject *subject)
{
    open_and_find(subject, 0);
    struct nadb_batch *batch = NULL;
    uint64_t entries = 0;
    for (uint64_t seq = 1; seq <= 10; seq++) {
        batch = nadb_log_model_batch(subject->model, seq);
        batch->is_sync = true;
        cr_assert_eq(subject->ops->write(subject->backend, batch, NULL), NADB_OK);
        entries += batch->count;
    }
    cr_assert_eq(batch->stats.batches, 10);
    cr_assert_eq(batch->stats.entries, entries);
    cr_assert_geq(batch->stats.syncs, 10);
    cr_assert_eq(batch->stats.failures, 0);
    cr_assert_geq(batch->stats.segments, 1);
    cr_assert_gt(batch->stats.bytes_written, entries * 8);
    cr_assert_geq(batch->stats.disk_bytes, batch->stats.bytes_written);
    subject->ops->free(subject->backend);
}

Test(backend_contract, statistics_count_what_was_written)
{
    for_each_keeping(count_stats, 1u << 20, NADB_LOG_SMALL);
}

/* ---- single entries at their bounds ---- */

struct single {
    struct nadb_entry entries[4];
    uint64_t locs[4];
};

static void single_entry(const struct nadb_batch *batch, size_t index, struct nadb_entry *ret)
{
    const struct single *single = batch->entry_ctx;
    *ret = single->entries[index];
}

static void write_single(struct subject *subject, struct single *single, uint64_t seq, size_t count)
{
    struct nadb_batch batch = {
        .seq = seq,
        .last_version = seq,
        .wall_ms = 5000,
        .is_sync = true,
        .count = count,
        .entry = single_entry,
        .entry_ctx = single,
        .locs = single->locs,
    };
    enum nadb_err err = subject->ops->write(subject->backend, &batch, &subject->error);
    cr_assert_eq(err, NADB_OK, "%s: %s", subject->ops->name, subject->error.text);
}

static void check_single(struct subject *subject, const struct single *single, size_t count)
{
    make_instance(subject);
    cr_assert_eq(subject->ops->open(subject->backend, &subject->info, NULL), NADB_OK);
    size_t found = 0;
    for (uint32_t unit = 0; unit < subject->info.units; unit++) {
        uint64_t cursor = 0;
        bool is_last = false;
        while (!is_last) {
            struct nadb_replay_chunk chunk;
            cr_assert_eq(
                subject->ops->replay(subject->backend, unit, &cursor, &chunk, NULL), NADB_OK);
            for (size_t i = 0; i < chunk.count; i++, found++) {
                cr_assert_lt(found, count);
                const struct nadb_entry *want = &single->entries[found];
                cr_assert_eq(chunk.entries[i].kind, want->kind);
                cr_assert_eq(chunk.entries[i].version, want->version);
                cr_assert_eq(chunk.locs[i], single->locs[found]);
                cr_assert_eq(chunk.dead_ms[i], 5000);
                cr_assert(nadb_slice_eq(chunk.entries[i].key, want->key));
                cr_assert(nadb_slice_eq(chunk.entries[i].value, want->value));
                cr_assert(nadb_slice_eq(chunk.entries[i].tags, want->tags));
            }
            is_last = chunk.is_last;
            subject->ops->replay_free(&chunk);
        }
    }
    cr_assert_eq(found, count);
    close_and_free(subject);
}

static void keep_extremes(struct subject *subject)
{
    size_t value_len = 40u << 20;
    char *bytes = nadb_mem_zalloc(value_len);
    memset(bytes, 'x', value_len);
    struct single single = {.entries = {
                                {.kind = NADB_ENTRY_PUT,
                                    .version = 1,
                                    .key = nadb_slice_of(bytes, NADB_KEY_LEN_MAX),
                                    .value = nadb_slice_of(bytes, value_len)},
                                {.kind = NADB_ENTRY_PUT, .version = (UINT64_C(1) << 48) - 1},
                                {.kind = NADB_ENTRY_DELETE,
                                    .version = 3,
                                    .key = nadb_slice_of(bytes, NADB_KEY_LEN_MAX)},
                                {.kind = NADB_ENTRY_PUT,
                                    .version = 4,
                                    .key = NADB_SLICE("\0\r\n../%n"),
                                    .value = NADB_SLICE("\0"),
                                    .tags = NADB_SLICE("\x00\x00\x02\x00\r\n")},
                            }};
    make_instance(subject);
    cr_assert_eq(subject->ops->open(subject->backend, &subject->info, NULL), NADB_OK);
    write_single(subject, &single, 1, 4);
    close_and_free(subject);
    check_single(subject, &single, 4);
    nadb_mem_free(bytes);
}

Test(backend_contract, the_longest_and_the_strangest_entries_are_kept)
{
    for_each_keeping(keep_extremes, 1u << 20, NADB_LOG_SMALL);
}

/* ---- reading by location ---- */

/* Reads what batch `seq` put; every value must be as it was written. */
static void read_batch(
    struct subject *subject, struct nadb_batch *batch, uint64_t seq, const uint64_t *locs)
{
    enum { READS_MAX = 512 };
    static struct nadb_read reads[READS_MAX];
    static struct nadb_slice wanted[READS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct nadb_entry entry;
        batch->entry(batch, i, &entry);
        if (entry.kind != NADB_ENTRY_PUT) {
            continue;
        }
        cr_assert_lt(count, READS_MAX);
        wanted[count] = entry.value;
        reads[count++] = (struct nadb_read){
            .loc = locs[i],
            .version = entry.version,
            .key = entry.key,
            .value_len = entry.value.len,
            .value = nadb_mem_alloc(entry.value.len + 1),
        };
    }
    subject->ops->read(subject->backend, reads, count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(reads[i].err, NADB_OK, "batch %" PRIu64 ": %s", seq, reads[i].error.text);
        cr_assert(nadb_slice_eq(nadb_slice_of(reads[i].value, reads[i].value_len), wanted[i]));
        nadb_mem_free(reads[i].value);
    }
}

#define READ_BATCHES 40

static void read_back(struct subject *subject)
{
    static uint64_t locs[READ_BATCHES + 1][512];
    open_and_find(subject, 0);
    for (uint64_t seq = 1; seq <= READ_BATCHES; seq++) {
        struct nadb_batch *batch = nadb_log_model_batch(subject->model, seq);
        cr_assert_leq(batch->count, NADB_ARRAY_LEN(locs[seq]));
        batch->is_sync = seq % 3 == 0;
        cr_assert_eq(subject->ops->write(subject->backend, batch, NULL), NADB_OK);
        memcpy(locs[seq], batch->locs, batch->count * sizeof(uint64_t));
        read_batch(subject, batch, seq, locs[seq]);
    }
    for (int life = 0; life < 2; life++) {
        for (uint64_t seq = READ_BATCHES; seq > 0; seq--) {
            read_batch(subject, nadb_log_model_batch(subject->model, seq), seq, locs[seq]);
        }
        if (life == 0) {
            close_and_free(subject);
            open_and_find(subject, READ_BATCHES);
        }
    }
    close_and_free(subject);
}

Test(backend_contract, values_are_read_by_location_at_once_later_and_after_a_restart)
{
    for_each_keeping(read_back, SMALL_SEGMENT, NADB_LOG_SMALL);
}

Test(backend_contract, values_of_all_sizes_are_read_by_location)
{
    for_each_keeping(read_back, 1u << 20, NADB_LOG_VARIED);
}

static void refuse_others(struct subject *subject)
{
    struct single single = {
        .entries =
            {
                {.kind = NADB_ENTRY_PUT,
                    .version = 7,
                    .key = NADB_SLICE("k"),
                    .value = NADB_SLICE("value")},
                {.kind = NADB_ENTRY_DELETE, .version = 8, .key = NADB_SLICE("gone")},
            },
    };
    make_instance(subject);
    cr_assert_eq(subject->ops->open(subject->backend, &subject->info, NULL), NADB_OK);
    write_single(subject, &single, 1, 2);
    char value[6][8];
    uint64_t loc = single.locs[0];
    uint64_t loc_max = ((uint64_t)1 << NADB_LOC_BITS) - 1;
    struct nadb_slice key = NADB_SLICE("k");
    struct nadb_read reads[] = {
        {.loc = loc, .version = 6, .key = key, .value_len = 5, .value = value[0]},
        {.loc = loc, .version = 7, .key = NADB_SLICE("K"), .value_len = 5, .value = value[1]},
        {.loc = loc, .version = 7, .key = key, .value_len = 4, .value = value[2]},
        {.loc = loc, .version = 7, .key = key, .value_len = 5, .value = value[3]},
        {.loc = loc_max, .version = 7, .key = key, .value_len = 5, .value = value[4]},
        {.loc = loc + 1, .version = 7, .key = key, .value_len = 5, .value = value[5]},
    };
    subject->ops->read(subject->backend, reads, NADB_ARRAY_LEN(reads));
    for (size_t i = 0; i < NADB_ARRAY_LEN(reads); i++) {
        cr_assert_eq(reads[i].err, i == 3 ? NADB_OK : NADB_ECORRUPT, "read %zu: %s", i,
            nadb_err_name(reads[i].err));
    }
    cr_assert_arr_eq(value[3], "value", 5);
    close_and_free(subject);
}

Test(backend_contract, a_location_with_another_record_or_none_is_damage_for_that_read_only)
{
    for_each_keeping(refuse_others, 1u << 20, NADB_LOG_SMALL);
}

struct reader_thread {
    pthread_t thread;
    struct nadb_backend *backend;
    uint64_t loc;
    unsigned wrong;
};

static void *read_many_times(void *arg)
{
    struct reader_thread *reader = arg;
    for (int i = 0; i < 2000; i++) {
        char value[5] = {0};
        struct nadb_read read = {
            .loc = reader->loc, .version = 1, .key = NADB_SLICE("k"), .value_len = 5};
        read.value = value;
        reader->backend->ops->read(reader->backend, &read, 1);
        reader->wrong += read.err != NADB_OK || memcmp(value, "value", 5) != 0;
    }
    return NULL;
}

static void read_beside_writes(struct subject *subject)
{
    struct single single = {
        .entries = {{.kind = NADB_ENTRY_PUT, .key = NADB_SLICE("k"), .value = NADB_SLICE("value")}},
    };
    make_instance(subject);
    cr_assert_eq(subject->ops->open(subject->backend, &subject->info, NULL), NADB_OK);
    single.entries[0].version = 1;
    write_single(subject, &single, 1, 1);
    struct reader_thread readers[3];
    for (size_t i = 0; i < NADB_ARRAY_LEN(readers); i++) {
        readers[i] = (struct reader_thread){.backend = subject->backend, .loc = single.locs[0]};
        cr_assert_eq(pthread_create(&readers[i].thread, NULL, read_many_times, &readers[i]), 0);
    }
    for (uint64_t seq = 2; seq < 200; seq++) {
        single.entries[0].version = seq;
        write_single(subject, &single, seq, 1);
    }
    for (size_t i = 0; i < NADB_ARRAY_LEN(readers); i++) {
        cr_assert_eq(pthread_join(readers[i].thread, NULL), 0);
        cr_assert_eq(readers[i].wrong, 0);
    }
    close_and_free(subject);
}

Test(backend_contract, values_are_read_from_several_threads_while_batches_are_written)
{
    for_each_keeping(read_beside_writes, SMALL_SEGMENT, NADB_LOG_SMALL);
}

static void mark_time(struct subject *subject)
{
    struct single single = {
        .entries = {{.kind = NADB_ENTRY_PUT, .version = 1, .key = NADB_SLICE("k"), .expire_ms = 9}},
    };
    make_instance(subject);
    cr_assert_eq(subject->ops->open(subject->backend, &subject->info, NULL), NADB_OK);
    write_single(subject, &single, 1, 1);
    struct nadb_batch empty = {.seq = 2, .last_version = 1, .wall_ms = 9000, .is_sync = true};
    cr_assert_eq(subject->ops->write(subject->backend, &empty, NULL), NADB_OK);
    subject->ops->free(subject->backend);
    make_instance(subject);
    cr_assert_eq(subject->ops->open(subject->backend, &subject->info, NULL), NADB_OK);
    cr_assert_eq(subject->info.last_batch_seq, 2);
    struct nadb_replay_chunk chunk;
    uint64_t cursor = 0;
    cr_assert_eq(subject->ops->replay(subject->backend, 0, &cursor, &chunk, NULL), NADB_OK);
    cr_assert_eq(chunk.count, 1);
    cr_assert_eq(chunk.dead_ms[0], 9000);
    subject->ops->replay_free(&chunk);
    subject->ops->free(subject->backend);
}

Test(backend_contract, an_empty_batch_marks_the_time)
{
    for_each_keeping(mark_time, 1u << 20, NADB_LOG_SMALL);
}

static void refuse_bad_dir(struct subject *subject)
{
    struct nadb_backend_opts opts = {.dir = "/proc/nowhere/deep"};
    subject->backend = subject->ops->new_instance(&opts);
    cr_assert_eq(subject->ops->open(subject->backend, &subject->info, &subject->error), NADB_EIO);
    cr_assert_gt(subject->error.sys_errno, 0);
    cr_assert_not_null(strstr(subject->error.text, "'/proc/nowhere/deep'"));
    subject->ops->free(subject->backend);
}

Test(backend_contract, a_directory_that_cannot_be_made_is_named)
{
    for_each_keeping(refuse_bad_dir, 1u << 20, NADB_LOG_SMALL);
}
