/* Going to the background, and the file that says where one is. Thread: main, before any other. */
#ifndef NADB_SERVER_DAEMON_H
#define NADB_SERVER_DAEMON_H

#include "src/base/err.h"

struct nadb_daemon {
    int report_fd;  /* private; tells the waiting parent how the start went; -1: nobody waits */
    char *pid_path; /* private; owned, NULL: no file */
};

void nadb_daemon_init(struct nadb_daemon *daemon);

/* Forks and returns in the child. The parent waits until the child is ready or has ended, and ends
 * with the child's exit code: whoever started it learns whether it really runs. The child keeps
 * its standard error until it is ready. */
NADB_MUST_CHECK enum nadb_err nadb_daemon_detach(
    struct nadb_daemon *daemon, struct nadb_error *reterr);

/* Writes the process id; the file is removed by fini. */
NADB_MUST_CHECK enum nadb_err nadb_daemon_write_pid(
    struct nadb_daemon *daemon, const char *path, struct nadb_error *reterr);

/* Lets the parent go. */
void nadb_daemon_ready(struct nadb_daemon *daemon);

void nadb_daemon_fini(struct nadb_daemon *daemon);

#endif
