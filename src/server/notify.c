/* This file speaks sd_notify's protocol through libsystemd, where the build has it. */
#include "src/server/notify.h"

#include <stdlib.h>
#ifdef NADB_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "src/base/log.h"

/* Time that systemd is asked for while data is loaded; asked again long before it is over. */
#define LOADING_TIMEOUT_US "60000000"

void nadb_notify_init(struct nadb_notify *notify, const struct nadb_config *config)
{
    bool has_socket = getenv("NOTIFY_SOCKET") != NULL;
    notify->is_active = has_socket && config->supervised != NADB_CONFIG_SUPERVISED_NO;
    if (config->supervised == NADB_CONFIG_SUPERVISED_SYSTEMD) {
#ifndef NADB_SYSTEMD
        nadb_log(NADB_LOG_WARNING, "supervised systemd: this nadbd was built without libsystemd");
#else
        if (!has_socket) {
            nadb_log(NADB_LOG_WARNING, "supervised systemd: NOTIFY_SOCKET is not set");
        }
#endif
    }
}

#ifdef NADB_SYSTEMD

void nadb_notify_loading(const struct nadb_notify *notify, unsigned percent)
{
    if (notify->is_active) {
        (void)sd_notifyf(
            0, "STATUS=Loading, %u %%\nEXTEND_TIMEOUT_USEC=" LOADING_TIMEOUT_US "\n", percent);
    }
}

void nadb_notify_ready(const struct nadb_notify *notify)
{
    if (notify->is_active) {
        (void)sd_notify(0, "READY=1\nSTATUS=Ready to accept connections\n");
    }
}

void nadb_notify_stopping(const struct nadb_notify *notify)
{
    if (notify->is_active) {
        (void)sd_notify(0, "STOPPING=1\nSTATUS=Saving what is in memory\n");
    }
}

#else

void nadb_notify_loading(const struct nadb_notify *notify, unsigned percent)
{
    (void)notify;
    (void)percent;
}

void nadb_notify_ready(const struct nadb_notify *notify)
{
    (void)notify;
}

void nadb_notify_stopping(const struct nadb_notify *notify)
{
    (void)notify;
}

#endif
