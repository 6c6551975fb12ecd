/* What the process does on signals: TERM and INT shut down, a second one of them ends the process
 * at once with exit code 1; HUP opens the log file again; PIPE and XFSZ are ignored, so that the
 * system calls report them. Thread: loop. */
#ifndef NADB_SERVER_SIGNALS_H
#define NADB_SERVER_SIGNALS_H

#include <stdbool.h>
#include <uv.h>

#include "src/base/err.h"

struct nadb_signals {
    /* private */
    unsigned magic;
    uv_signal_t term, interrupt, hangup;
    void (*stop)(void *ctx, const char *signal_name);
    void *ctx;
    bool is_stopping;
};

/* `stop` is called for the first TERM or INT. */
NADB_MUST_CHECK enum nadb_err nadb_signals_start(struct nadb_signals *signals, uv_loop_t *uv,
    void (*stop)(void *ctx, const char *signal_name), void *ctx, struct nadb_error *reterr);

/* Closes its handles; the memory must last until the loop has run once more. */
void nadb_signals_stop(struct nadb_signals *signals);

#endif
