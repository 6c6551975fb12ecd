/* This file replays inputs for a fuzz target without a fuzzer: the files named as arguments, and
 * the files in the directories named as arguments. */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/compiler.h"

#define INPUT_LEN_MAX (64u << 20)
#define PATH_LEN_MAX  4096

/* Defined by the target that this file is linked with. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static NADB_NORETURN void die(const char *path, const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", path, what);
    exit(1);
}

/* The block is of exactly the input's size, so that a sanitizer notices a look beyond it. */
static void replay_file(const char *path, FILE *file)
{
    if (fseek(file, 0, SEEK_END) != 0) {
        die(path, strerror(errno));
    }
    long len = ftell(file);
    if (len < 0 || (unsigned long)len > INPUT_LEN_MAX) {
        die(path, "too long");
    }
    rewind(file);
    uint8_t *data = malloc(len > 0 ? (size_t)len : 1);
    if (data == NULL) {
        die(path, "not enough memory");
    }
    if (fread(data, 1, (size_t)len, file) != (size_t)len) {
        die(path, "read failed");
    }
    (void)LLVMFuzzerTestOneInput(data, (size_t)len);
    free(data);
}

static void replay_path(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die(path, strerror(errno));
    }
    (void)fprintf(stderr, "%s\n", path); /* so that the culprit is known when the target aborts */
    replay_file(path, file);
    (void)fclose(file);
}

/* How many files there were. */
static unsigned replay_directory(const char *path, DIR *directory)
{
    unsigned count = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char child[PATH_LEN_MAX];
        int len = snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
        if (len < 0 || (size_t)len >= sizeof(child)) {
            die(path, "path too long");
        }
        replay_path(child);
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (directory != NULL) {
            count += replay_directory(argv[i], directory);
            (void)closedir(directory);
        } else {
            replay_path(argv[i]);
            count++;
        }
    }
    (void)printf("%u inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
