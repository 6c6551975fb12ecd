/* Telling systemd how the daemon is; silent where there is no systemd. Thread: loop. */
#ifndef NADB_SERVER_NOTIFY_H
#define NADB_SERVER_NOTIFY_H

#include <stdbool.h>

#include "config/config.h"

struct nadb_notify {
    bool is_active; /* read-only */
};

/* Decides by the option `supervised` and the environment whether to speak at all. */
void nadb_notify_init(struct nadb_notify *notify, const struct nadb_config *config);

/* Still starting: a line of status, and more time before systemd gives up. */
void nadb_notify_loading(const struct nadb_notify *notify, unsigned percent);
void nadb_notify_ready(const struct nadb_notify *notify);
void nadb_notify_stopping(const struct nadb_notify *notify);

#endif
