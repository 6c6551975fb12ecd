/* This file asks the kernel what it knows of this process. */
#include "src/server/process_info.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "src/base/parse.h"

#define STATM_MAX 256u

/* The second word of /proc/self/statm counts the resident pages. */
static uint64_t read_rss_bytes(void)
{
    char text[STATM_MAX];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t len = read(fd, text, sizeof(text));
    (void)close(fd); /* only read from */
    if (len <= 0) {
        return 0;
    }
    const char *end = text + len;
    const char *word = memchr(text, ' ', (size_t)len);
    if (word == NULL) {
        return 0;
    }
    word++;
    const char *blank = memchr(word, ' ', (size_t)(end - word));
    uint64_t pages;
    if (blank == NULL || !nadb_parse_u64(nadb_slice_of(word, (size_t)(blank - word)), &pages)) {
        return 0;
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t to_us(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static void read_usage(int who, uint64_t *ret_sys_us, uint64_t *ret_user_us)
{
    struct rusage usage;
    if (getrusage(who, &usage) == 0) {
        *ret_sys_us = to_us(usage.ru_stime);
        *ret_user_us = to_us(usage.ru_utime);
    }
}

void nadb_process_info_read(struct nadb_process_info *ret)
{
    *ret = (struct nadb_process_info){0};
    ret->rss_bytes = read_rss_bytes();
    long pages = sysconf(_SC_PHYS_PAGES);
    if (pages > 0) {
        ret->total_memory_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    read_usage(RUSAGE_SELF, &ret->cpu_sys_us, &ret->cpu_user_us);
    read_usage(RUSAGE_CHILDREN, &ret->cpu_children_sys_us, &ret->cpu_children_user_us);
    read_usage(RUSAGE_THREAD, &ret->cpu_thread_sys_us, &ret->cpu_thread_user_us);
    struct utsname name;
    if (uname(&name) == 0) {
        (void)snprintf(ret->os, sizeof(ret->os), "%s %s %s", name.sysname, name.release,
            name.machine); /* a cut text is still right */
    }
}
