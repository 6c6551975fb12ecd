/* This file puts the daemon together: arguments, configuration, log, backend, server, exit code. */
#include <stdio.h>
#include <string.h>

#include "backends/registry.h"
#include "config/config.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/server/daemon.h"
#include "src/server/server_run.h"

static void print_version(void)
{
    (void)printf(
        "nadbd v=%s malloc=%s bits=%zu\n", NADB_VERSION, nadb_mem_allocator(), sizeof(void *) * 8);
}

/* The log may go to a file: whoever started nadbd at a terminal still sees why it ended. */
static void report(const struct nadb_config *config, const struct nadb_error *error)
{
    nadb_log(NADB_LOG_WARNING, "%s", error->text);
    if (config->logfile[0] != '\0') {
        (void)fprintf(stderr, "nadbd: %s\n", error->text);
    }
}

static const struct nadb_backend_ops *find_backend(const char *name, struct nadb_error *reterr)
{
    const struct nadb_backend_ops *ops = nadb_backend_find(name);
    if (ops != NULL) {
        return ops;
    }
    char names[128] = "";
    size_t len = 0;
    for (size_t i = 0; (ops = nadb_backend_at(i)) != NULL && len < sizeof(names); i++) {
        len += (size_t)snprintf(
            names + len, sizeof(names) - len, "%s'%s'", i == 0 ? "" : ", ", ops->name);
    }
    (void)nadb_error_set(
        reterr, NADB_EUSAGE, 0, "option 'backend': unknown '%s'; there are %s", name, names);
    return NULL;
}

struct ready {
    const struct nadb_config *config;
    struct nadb_daemon *daemon;
};

/* Port and data are ours now, so the file cannot be that of another nadbd that runs already. */
static void on_ready(void *ctx)
{
    const struct ready *ready = ctx;
    const char *path = ready->config->pidfile;
    struct nadb_error error = {0};
    if (path[0] != '\0' && nadb_daemon_write_pid(ready->daemon, path, &error) != NADB_OK) {
        nadb_log(NADB_LOG_WARNING, "%s", error.text);
    }
    nadb_daemon_ready(ready->daemon);
}

/* With the log open: everything that fails from here on goes there. */
static int serve(struct nadb_config *config, struct nadb_daemon *daemon)
{
    struct nadb_error error = {0};
    struct ready ready = {config, daemon};
    struct nadb_server_opts opts = {
        .config = config,
        .backend_ops = find_backend(config->backend, &error),
        .on_ready = on_ready,
        .on_ready_ctx = &ready,
    };
    int exit_code = NADB_EXIT_FAILED;
    if (opts.backend_ops != NULL) {
        exit_code = nadb_server_run(&opts, &error);
    }
    if (exit_code != NADB_EXIT_OK) {
        report(config, &error);
    } else {
        nadb_log(NADB_LOG_NOTICE, "nadbd has stopped");
    }
    return exit_code;
}

static int run(struct nadb_config *config)
{
    struct nadb_error error = {0};
    struct nadb_daemon daemon;
    nadb_daemon_init(&daemon);
    int exit_code = NADB_EXIT_FAILED;
    bool is_ok = !config->daemonize || nadb_daemon_detach(&daemon, &error) == NADB_OK;
    is_ok = is_ok && nadb_log_open(config->logfile, (enum nadb_log_level)config->loglevel,
                         (enum nadb_log_format)config->log_format, &error) == NADB_OK;
    if (is_ok) {
        exit_code = serve(config, &daemon);
        nadb_log_close();
    } else {
        (void)fprintf(stderr, "nadbd: %s\n", error.text);
    }
    nadb_daemon_fini(&daemon);
    return exit_code;
}

/* --check-config: what the configuration alone can get wrong. */
static int check(const struct nadb_config *config)
{
    struct nadb_error error = {0};
    if (find_backend(config->backend, &error) == NULL) {
        (void)fprintf(stderr, "nadbd: %s\n", error.text);
        return NADB_EXIT_FAILED;
    }
    (void)printf("configuration is fine\n");
    return NADB_EXIT_OK;
}

static int act(struct nadb_config *config, enum nadb_config_action action)
{
    switch (action) {
    case NADB_CONFIG_HELP:
        nadb_config_print_help(stdout);
        return NADB_EXIT_OK;
    case NADB_CONFIG_VERSION:
        print_version();
        return NADB_EXIT_OK;
    case NADB_CONFIG_CHECK:
        return check(config);
    case NADB_CONFIG_RUN:
        break;
    }
    return run(config);
}

int main(int argc, char **argv)
{
    struct nadb_config config;
    nadb_config_init(&config);
    struct nadb_error error = {0};
    enum nadb_config_action action = NADB_CONFIG_RUN;
    int exit_code = NADB_EXIT_FAILED;
    if (nadb_config_load_args(&config, argc, argv, &action, &error) == NADB_OK) {
        exit_code = act(&config, action);
    } else {
        (void)fprintf(stderr, "nadbd: %s\n", error.text);
    }
    nadb_config_fini(&config);
    return exit_code;
}
