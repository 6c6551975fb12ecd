/* A directory of the test's own, below $TMPDIR or /tmp. Every failure aborts: a test that cannot
 * have its directory has nothing to say. Thread: any, one directory each. */
#ifndef NADB_TESTS_SUPPORT_TMPDIR_H
#define NADB_TESTS_SUPPORT_TMPDIR_H

#define NADB_TMPDIR_PATH_MAX 512

struct nadb_tmpdir {
    char path[NADB_TMPDIR_PATH_MAX];
    char file[2 * NADB_TMPDIR_PATH_MAX]; /* what nadb_tmpdir_file gave last */
};

void nadb_tmpdir_make(struct nadb_tmpdir *dir);

/* The directory with all that is in it; symbolic links are removed, not followed. */
void nadb_tmpdir_remove(struct nadb_tmpdir *dir);

/* `<path>/<name>`; valid until the next call for the same directory. */
const char *nadb_tmpdir_file(struct nadb_tmpdir *dir, const char *name);

#endif
