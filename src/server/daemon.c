/* This file detaches the process from its terminal and keeps the pid file. */
#include "src/server/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/mem.h"

void nadb_daemon_init(struct nadb_daemon *daemon)
{
    *daemon = (struct nadb_daemon){.report_fd = -1};
}

static int redirect_to_null(int fd)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0) {
        return -1;
    }
    int rc = dup2(null_fd, fd);
    (void)close(null_fd); /* nothing was written */
    return rc;
}

/* The parent's rest of life: the child says one byte when it is ready, or nothing and ends. */
static NADB_NORETURN void wait_for_child(int report_fd, pid_t child)
{
    char byte;
    ssize_t count;
    do {
        count = read(report_fd, &byte, 1);
    } while (count < 0 && errno == EINTR);
    if (count == 1) {
        _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

enum nadb_err nadb_daemon_detach(struct nadb_daemon *daemon, struct nadb_error *reterr)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return nadb_error_set(reterr, NADB_EIO, errno, "daemonize");
    }
    pid_t child = fork();
    if (child < 0) {
        int error = errno;
        (void)close(fds[0]); /* never used */
        (void)close(fds[1]);
        return nadb_error_set(reterr, NADB_EIO, error, "daemonize");
    }
    if (child > 0) {
        (void)close(fds[1]); /* the child's end */
        wait_for_child(fds[0], child);
    }
    (void)close(fds[0]); /* the parent's end */
    daemon->report_fd = fds[1];
    (void)setsid(); /* fails only for the leader of a group, which a new child is not */
    (void)redirect_to_null(STDIN_FILENO); /* without it, it just keeps the terminal's */
    return NADB_OK;
}

enum nadb_err nadb_daemon_write_pid(
    struct nadb_daemon *daemon, const char *path, struct nadb_error *reterr)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return nadb_error_set(reterr, NADB_EIO, errno, "pidfile '%s'", path);
    }
    ssize_t count = write(fd, text, (size_t)len);
    int error = count < 0 ? errno : 0;
    if (close(fd) != 0 || count != len) {
        (void)unlink(path); /* better none than half of one */
        return nadb_error_set(reterr, NADB_EIO, error, "pidfile '%s': not written", path);
    }
    daemon->pid_path = nadb_mem_strdup(path);
    return NADB_OK;
}

void nadb_daemon_ready(struct nadb_daemon *daemon)
{
    if (daemon->report_fd < 0) {
        return;
    }
    (void)redirect_to_null(STDOUT_FILENO); /* as above */
    (void)redirect_to_null(STDERR_FILENO);
    ssize_t count = write(daemon->report_fd, "r", 1); /* if the parent is gone, nobody waits */
    (void)count;
    (void)close(daemon->report_fd);
    daemon->report_fd = -1;
}

void nadb_daemon_fini(struct nadb_daemon *daemon)
{
    if (daemon->report_fd >= 0) {
        (void)close(daemon->report_fd); /* the parent takes it for a failed start */
        daemon->report_fd = -1;
    }
    if (daemon->pid_path != NULL) {
        (void)unlink(daemon->pid_path); /* gone already, or not ours to insist on */
        nadb_mem_free(daemon->pid_path);
        daemon->pid_path = NULL;
    }
}
