/* This file runs the simulation for many seeds, or for one again.
 *
 *     sim --seeds 1..2000      each in turn; the first that fails ends the run
 *     sim --seed 17 --verbose  one, with all that happens
 *
 * The seeds run in child processes, so that whatever end a run comes to, its seed is told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/base/parse.h"
#include "tests/sim/sim.h"

#define JOBS_MAX        16u
#define RUN_SECONDS_MAX 60u

struct options {
    uint64_t first, last;
    uint64_t jobs;
    bool is_verbose;
};

static bool parse_number(const char *text, size_t len, uint64_t *ret)
{
    return nadb_parse_u64(nadb_slice_of(text, len), ret);
}

static bool parse_seeds(const char *text, struct options *options)
{
    const char *dots = strstr(text, "..");
    return dots != NULL && parse_number(text, (size_t)(dots - text), &options->first) &&
           parse_number(dots + 2, strlen(dots + 2), &options->last) &&
           options->first <= options->last;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    bool is_good = true;
    for (int i = 1; i < argc && is_good; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--verbose") == 0) {
            options->is_verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0) {
            is_good = parse_number(value, strlen(value), &options->first);
            options->last = options->first;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            is_good = parse_seeds(value, options);
        } else if (strcmp(argv[i], "--jobs") == 0) {
            is_good = parse_number(value, strlen(value), &options->jobs) && options->jobs >= 1 &&
                      options->jobs <= JOBS_MAX;
        } else {
            is_good = false;
        }
        i++;
    }
    return is_good;
}

static void add_counts(struct sim_counts *total, const struct sim_counts *counts)
{
    total->changes += counts->changes;
    total->crashes += counts->crashes;
    total->failed_opens += counts->failed_opens;
    total->failed_flushes += counts->failed_flushes;
    total->unknown += counts->unknown;
    total->refusals += counts->refusals;
    total->compactions += counts->compactions;
    total->skips += counts->skips;
    total->hints += counts->hints;
    total->backups += counts->backups;
}

static void print_counts(const struct sim_counts *counts)
{
    (void)printf("%llu changes, %llu crashes, %llu failed openings, %llu failed flushes (%llu of "
                 "unknown outcome), %llu refused writes, %llu compactions, %llu "
                 "segments skipped, %llu hints, %llu backups\n",
        (unsigned long long)counts->changes, (unsigned long long)counts->crashes,
        (unsigned long long)counts->failed_opens, (unsigned long long)counts->failed_flushes,
        (unsigned long long)counts->unknown, (unsigned long long)counts->refusals,
        (unsigned long long)counts->compactions, (unsigned long long)counts->skips,
        (unsigned long long)counts->hints, (unsigned long long)counts->backups);
    (void)fflush(stdout);
}

/* Every `jobs`-th seed; *at tells the parent which one is under way. */
static void run_share(const struct options *options, uint64_t job, volatile uint64_t *at)
{
    struct sim *sim = nadb_mem_zalloc(sizeof(*sim));
    struct sim_counts total = {0};
    for (uint64_t seed = options->first + job; seed <= options->last; seed += options->jobs) {
        *at = seed;
        (void)alarm(RUN_SECONDS_MAX); /* a run that hangs has failed */
        sim_run(sim, seed, options->is_verbose);
        add_counts(&total, &sim->counts);
    }
    nadb_mem_free(sim);
    print_counts(&total);
}

static int run_all(const struct options *options, const char *program)
{
    uint64_t *at = mmap(
        NULL, JOBS_MAX * sizeof(*at), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[JOBS_MAX];
    if (at == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    for (uint64_t job = 0; job < options->jobs; job++) {
        pids[job] = fork();
        if (pids[job] == 0) {
            run_share(options, job, &at[job]);
            exit(0); /* with the checks that sanitizers make at the end */
        }
    }
    int failed = 0;
    for (uint64_t job = 0; job < options->jobs; job++) {
        int status = 0;
        if (pids[job] < 0 || waitpid(pids[job], &status, 0) != pids[job] || status != 0) {
            (void)fprintf(stderr, "sim: seed %llu failed (%s); again: %s --seed %llu --verbose\n",
                (unsigned long long)at[job],
                WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "see above", program,
                (unsigned long long)at[job]);
            failed = 1;
        }
    }
    (void)munmap(at, JOBS_MAX * sizeof(*at));
    return failed;
}

int main(int argc, char **argv)
{
    struct options options = {.first = 1, .last = 200, .jobs = 1};
    if (!parse_options(argc, argv, &options)) {
        (void)fprintf(
            stderr, "usage: %s [--seed N | --seeds A..B] [--jobs N] [--verbose]\n", argv[0]);
        return 2;
    }
    return run_all(&options, argv[0]);
}
