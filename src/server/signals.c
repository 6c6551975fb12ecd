/* This file maps signals to what the daemon does about them. */
#include "src/server/signals.h"

#include <signal.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/log.h"

#define SIGNALS_MAGIC 0x5349474eu

static void on_stop_signal(uv_signal_t *handle, int number)
{
    struct nadb_signals *signals;
    NADB_CAST(signals, handle->data, SIGNALS_MAGIC);
    const char *name = number == SIGINT ? "SIGINT" : "SIGTERM";
    if (signals->is_stopping) {
        nadb_log(NADB_LOG_WARNING, "Received %s again: exiting at once", name);
        /* Not through main: whatever the first shutdown waits for must not be waited for here.
         * For the data this is the same as SIGKILL. */
        _exit(1);
    }
    signals->is_stopping = true;
    signals->stop(signals->ctx, name);
}

static void on_hangup(uv_signal_t *handle, int number)
{
    (void)handle;
    (void)number;
    struct nadb_error error = {0};
    if (nadb_log_reopen(&error) != NADB_OK) {
        nadb_log(NADB_LOG_WARNING, "SIGHUP: %s", error.text);
        return;
    }
    nadb_log(NADB_LOG_NOTICE, "SIGHUP: log file opened again");
}

static int start_one(
    struct nadb_signals *signals, uv_signal_t *handle, uv_loop_t *uv, uv_signal_cb cb, int number)
{
    handle->data = signals;
    int rc = uv_signal_init(uv, handle);
    return rc != 0 ? rc : uv_signal_start(handle, cb, number);
}

enum nadb_err nadb_signals_start(struct nadb_signals *signals, uv_loop_t *uv,
    void (*stop)(void *ctx, const char *signal_name), void *ctx, struct nadb_error *reterr)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL); /* fails only for a bad signal number */
    (void)sigaction(SIGXFSZ, &ignore, NULL);
    signals->magic = SIGNALS_MAGIC;
    signals->stop = stop;
    signals->ctx = ctx;
    int rc = start_one(signals, &signals->term, uv, on_stop_signal, SIGTERM);
    if (rc == 0) {
        rc = start_one(signals, &signals->interrupt, uv, on_stop_signal, SIGINT);
    }
    if (rc == 0) {
        rc = start_one(signals, &signals->hangup, uv, on_hangup, SIGHUP);
    }
    return rc == 0 ? NADB_OK : nadb_error_set(reterr, NADB_EIO, -rc, "signal handlers");
}

static void close_one(uv_signal_t *handle)
{
    if (handle->loop != NULL && !uv_is_closing((uv_handle_t *)handle)) {
        uv_close((uv_handle_t *)handle, NULL);
    }
}

void nadb_signals_stop(struct nadb_signals *signals)
{
    close_one(&signals->term);
    /* Everything is saved: who asks for the end once more gets the exit code of a clean one. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGTERM, &ignore, NULL); /* fails only for a bad signal number */
    close_one(&signals->interrupt);
    close_one(&signals->hangup);
}
