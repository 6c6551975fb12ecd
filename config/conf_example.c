/* This file is the build-time program behind nadbd.conf.example:
 *
 *     conf_example PATH           writes the example
 *     conf_example --check PATH   exit status 1 when PATH is not what it would write */
#include "config/config.h"

#include <stdlib.h>

static bool is_same_stream(FILE *a, FILE *b)
{
    int byte;
    do {
        byte = fgetc(a);
        if (byte != fgetc(b)) {
            return false;
        }
    } while (byte != EOF);
    return true;
}

static int check_example(const char *path)
{
    FILE *fresh = tmpfile();
    FILE *present = fopen(path, "re");
    bool is_same = false;
    if (fresh != NULL && present != NULL) {
        nadb_config_print_example(fresh);
        rewind(fresh);
        is_same = is_same_stream(fresh, present);
    }
    if (!is_same) {
        (void)fprintf(stderr, "%s is stale or missing: run `ninja conf-example`\n", path);
    }
    if (present != NULL) {
        (void)fclose(present);
    }
    if (fresh != NULL) {
        (void)fclose(fresh);
    }
    return is_same ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int write_example(const char *path)
{
    FILE *out = fopen(path, "we");
    if (out == NULL) {
        perror(path);
        return EXIT_FAILURE;
    }
    nadb_config_print_example(out);
    if (fclose(out) != 0) {
        perror(path);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--check") == 0) {
        return check_example(argv[2]);
    }
    if (argc == 2) {
        return write_example(argv[1]);
    }
    (void)fprintf(stderr, "usage: conf_example [--check] PATH\n");
    return EXIT_FAILURE;
}
