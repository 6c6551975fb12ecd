/* This file makes and removes directories for tests. */
#include "tests/support/tmpdir.h"

#include "src/base/assert.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define OPEN_DIRS_MAX 16

void nadb_tmpdir_make(struct nadb_tmpdir *dir)
{
    const char *parent = getenv("TMPDIR");
    if (parent == NULL || parent[0] == '\0') {
        parent = "/tmp";
    }
    int len = snprintf(dir->path, sizeof(dir->path), "%s/nadbd-test-XXXXXX", parent);
    NADB_ASSERT(len > 0 && (size_t)len < sizeof(dir->path));
    char *made = mkdtemp(dir->path);
    NADB_ASSERT(made != NULL);
    dir->file[0] = '\0';
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* A test may have taken the right to write away from a directory: give it back first. */
static int allow_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)walk;
    return kind == FTW_D || kind == FTW_DNR ? chmod(path, 0700) : 0;
}

void nadb_tmpdir_remove(struct nadb_tmpdir *dir)
{
    int rc = nftw(dir->path, allow_entry, OPEN_DIRS_MAX, FTW_PHYS);
    NADB_ASSERT(rc == 0);
    rc = nftw(dir->path, remove_entry, OPEN_DIRS_MAX, FTW_DEPTH | FTW_PHYS);
    NADB_ASSERT(rc == 0);
    dir->path[0] = '\0';
}

const char *nadb_tmpdir_file(struct nadb_tmpdir *dir, const char *name)
{
    int len = snprintf(dir->file, sizeof(dir->file), "%s/%s", dir->path, name);
    NADB_ASSERT(len > 0 && (size_t)len < sizeof(dir->file));
    return dir->file;
}
