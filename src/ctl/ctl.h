/* nadbctl: what is done to a store from outside. One file a group of commands; each command is a
 * row in nadbctl.c. */
#ifndef NADB_CTL_CTL_H
#define NADB_CTL_CTL_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/compiler.h"
#include "src/base/err.h"

enum ctl_exit {
    CTL_EXIT_OK = 0,
    CTL_EXIT_FAILED = 1,
    CTL_EXIT_USAGE = 2,
    CTL_EXIT_DAMAGED = 3,
};

/* argv[0] is the command's name. Returns the exit code. */
int ctl_stat(int argc, char **argv);
int ctl_verify(int argc, char **argv);
int ctl_restore(int argc, char **argv);
int ctl_salvage(int argc, char **argv);
int ctl_export(int argc, char **argv);
int ctl_import(int argc, char **argv);

/* ---- nadbctl.c ---- */

/* Says how the command is called, and what was wrong unless `what` is NULL. CTL_EXIT_USAGE. */
int ctl_usage(const char *command, const char *what);

/* `nadbctl: ...` on stderr. CTL_EXIT_FAILED. */
int ctl_fail(const char *format, ...) NADB_PRINTF(1, 2);

/* ---- progress.c ---- */

/* Shows how far it is, on stderr: a bar at a terminal, a line now and then elsewhere. `all` 0: not
 * known. */
void ctl_progress(const char *what, uint64_t done, uint64_t all);

/* Ends the line that the bar is on. */
void ctl_progress_end(void);

/* ---- link.c ---- */

struct ctl_link_opts {
    const char *host;
    const char *socket; /* in place of host and port; NULL: none */
    const char *user;   /* NULL: the default one */
    const char *password;
    uint16_t port;
};

/* Takes the options -h -p -s -u -a out of argv, as getopt does: what is left begins at *ret_at.
 * False: one is wrong. */
NADB_MUST_CHECK bool ctl_link_parse(int argc, char **argv, struct ctl_link_opts *ret, int *ret_at);

/* Connects and authenticates; NULL: said why. */
redisContext *ctl_link_open(const struct ctl_link_opts *opts);

/* The next reply; NULL: the connection is gone or the reply is an error, and it was said. */
redisReply *ctl_link_read(redisContext *link);

/* Sends one command and reads its reply; as above. */
redisReply *ctl_link_call(redisContext *link, int argc, const char **argv, const size_t *lens);

/* ---- base64.c ---- */

/* RFC 4648, with padding. `out` has ctl_base64_len(len) bytes; no NUL. */
static inline size_t ctl_base64_len(size_t len)
{
    return (len + 2) / 3 * 4;
}
void ctl_base64_encode(const void *bytes, size_t len, char *out);

/* `out` has len / 4 * 3 bytes. False: that is not base64. */
NADB_MUST_CHECK bool ctl_base64_decode(const char *text, size_t len, char *out, size_t *ret_len);

#endif
