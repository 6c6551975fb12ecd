/* This file is nadbctl's table of commands. */
#include <stdarg.h>
#include <string.h>

#include "src/ctl/ctl.h"

struct command {
    const char *name;
    const char *arguments;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"stat", "DIR", "what is in a data directory or a backup", ctl_stat},
    {"verify", "DIR", "reads all of a data directory or a backup, against every checksum",
        ctl_verify},
    {"restore", "BACKUP DIR", "verifies a backup and makes a data directory of it", ctl_restore},
    {"salvage", "DIR NEW-DIR", "saves what can be read of a damaged data directory", ctl_salvage},
    {"export", "[CONNECTION] [FILE]", "writes everything of a running server as JSON Lines",
        ctl_export},
    {"import", "[CONNECTION] [FILE]", "reads what export wrote into a running server", ctl_import},
};

#define CONNECTION                                                                                 \
    "CONNECTION: -h HOST (127.0.0.1), -p PORT (6380), -s SOCKET, -u USER, -a PASSWORD\n"           \
    "            (the variable NADBCTL_AUTH keeps a password out of the process list)\n"

int ctl_usage(const char *command, const char *what)
{
    FILE *out = what == NULL && command == NULL ? stdout : stderr;
    if (what != NULL) {
        (void)fprintf(out, "nadbctl: %s\n", what); /* where this fails, nobody can be told */
    }
    (void)fprintf(out, "usage:\n"); /* as above; so is what follows */
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (command == NULL || strcmp(command, commands[i].name) == 0) {
            (void)fprintf(out, "  nadbctl %-8s %-20s %s\n", commands[i].name, commands[i].arguments,
                commands[i].summary);
        }
    }
    (void)fprintf(out, "\n" CONNECTION "FILE: without one, or with -, standard output or input\n"
                       "exit status: 0 fine, 1 failed, 2 wrong usage, 3 damaged data\n");
    return CTL_EXIT_USAGE;
}

int ctl_fail(const char *format, ...)
{
    va_list args;
    ctl_progress_end();
    (void)fputs("nadbctl: ", stderr); /* where this fails, nobody can be told */
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    return CTL_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        (void)ctl_usage(NULL, NULL);
        return CTL_EXIT_OK;
    }
    if (strcmp(name, "--version") == 0) {
        (void)printf("nadbctl v=%s\n", NADB_VERSION);
        return CTL_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            int exit_code = commands[i].run(argc - 1, argv + 1);
            ctl_progress_end();
            return exit_code;
        }
    }
    return ctl_usage(NULL, argc > 1 ? "there is no such command" : "which command?");
}
