/* This file holds the commands for directories: stat, verify, restore, salvage. */
#include <string.h>

#include "backends/fs/offline.h"
#include "src/base/parse.h"
#include "src/ctl/ctl.h"

static void on_progress(void *ctx, const char *what, uint64_t done_bytes, uint64_t all_bytes)
{
    (void)ctx;
    ctl_progress(what, done_bytes, all_bytes);
}

/* Goes to standard output: it is what the command was called for. */
static void on_damage(void *ctx, const char *text)
{
    (void)ctx;
    ctl_progress_end();
    (void)printf("%s\n", text); /* the exit status says it, too */
}

static const struct nadb_fs_listener listener = {.progress = on_progress, .damage = on_damage};

static int fail_with(enum nadb_err err, const struct nadb_error *error)
{
    int exit_code = ctl_fail("%s", error->text);
    return err == NADB_ECORRUPT || err == NADB_EFORMAT ? CTL_EXIT_DAMAGED : exit_code;
}

static void print_survey(const struct nadb_fs_survey *survey)
{
    char size[32];
    nadb_format_human(size, sizeof(size), survey->bytes);
    (void)printf("store %016llx\nsegments %llu\nbytes %llu (%s)\nrecords %llu\nlast_batch %llu\n"
                 "last_version %llu\nended_cleanly %s\n",
        (unsigned long long)survey->store_id, (unsigned long long)survey->segments,
        (unsigned long long)survey->bytes, size, (unsigned long long)survey->records,
        (unsigned long long)survey->last_seq, (unsigned long long)survey->last_version,
        survey->was_clean ? "yes" : "no"); /* printed for people */
}

int ctl_stat(int argc, char **argv)
{
    struct nadb_fs_survey survey;
    struct nadb_error error = {0};
    if (argc != 2) {
        return ctl_usage(argv[0], "stat takes one directory");
    }
    enum nadb_err err = nadb_fs_stat(nadb_fs_io_system(), argv[1], &survey, &error);
    if (err != NADB_OK) {
        return fail_with(err, &error);
    }
    print_survey(&survey);
    return CTL_EXIT_OK;
}

int ctl_verify(int argc, char **argv)
{
    struct nadb_fs_survey survey;
    struct nadb_error error = {0};
    if (argc != 2) {
        return ctl_usage(argv[0], "verify takes one directory");
    }
    enum nadb_err err =
        nadb_fs_verify_dir(nadb_fs_io_system(), argv[1], &listener, &survey, &error);
    if (err != NADB_OK) {
        return fail_with(err, &error);
    }
    ctl_progress_end();
    print_survey(&survey);
    if (survey.torn_bytes > 0) {
        (void)printf(
            "incomplete_bytes %llu (of a write that a crash cut off; never acknowledged)\n",
            (unsigned long long)survey.torn_bytes);
    }
    (void)printf("everything verifies\n");
    return CTL_EXIT_OK;
}

int ctl_restore(int argc, char **argv)
{
    struct nadb_fs_survey survey;
    struct nadb_error error = {0};
    if (argc != 3) {
        return ctl_usage(argv[0], "restore takes a backup and a new directory");
    }
    enum nadb_err err =
        nadb_fs_restore(nadb_fs_io_system(), argv[1], argv[2], &listener, &survey, &error);
    if (err != NADB_OK) {
        return fail_with(err, &error);
    }
    ctl_progress_end();
    (void)printf("restored %llu records in %llu segments to %s\n",
        (unsigned long long)survey.records, (unsigned long long)survey.segments, argv[2]);
    return CTL_EXIT_OK;
}

int ctl_salvage(int argc, char **argv)
{
    struct nadb_fs_salvaged salvaged;
    struct nadb_error error = {0};
    if (argc != 3) {
        return ctl_usage(argv[0], "salvage takes a directory and a new one");
    }
    enum nadb_err err =
        nadb_fs_salvage(nadb_fs_io_system(), argv[1], argv[2], &listener, &salvaged, &error);
    if (err != NADB_OK) {
        return fail_with(err, &error);
    }
    ctl_progress_end();
    (void)printf("saved %llu records of %llu segments to %s; %llu damages, %llu bytes lost\n",
        (unsigned long long)salvaged.records, (unsigned long long)salvaged.segments, argv[2],
        (unsigned long long)salvaged.damages, (unsigned long long)salvaged.lost_bytes);
    return salvaged.damages == 0 ? CTL_EXIT_OK : CTL_EXIT_DAMAGED;
}
