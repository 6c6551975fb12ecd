/* What the kernel knows of this process. Thread: any. */
#ifndef NADB_SERVER_PROCESS_INFO_H
#define NADB_SERVER_PROCESS_INFO_H

#include <stdint.h>

struct nadb_process_info {
    uint64_t rss_bytes;          /* 0: unknown */
    uint64_t total_memory_bytes; /* of the machine */
    uint64_t cpu_sys_us, cpu_user_us;
    uint64_t cpu_children_sys_us, cpu_children_user_us;
    uint64_t cpu_thread_sys_us, cpu_thread_user_us; /* of the calling thread */
    char os[256];                                   /* "Linux 6.1.0 x86_64" */
};

/* Asks the kernel; files of /proc are read, which does not block. */
void nadb_process_info_read(struct nadb_process_info *ret);

#endif
