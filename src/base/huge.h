/* Fresh memory in huge pages; a part of mem.c. */
#ifndef NADB_BASE_HUGE_H
#define NADB_BASE_HUGE_H

/* From now on the arena of this thread gets its memory so. Thread: any, once each. */
void nadb_huge_begin_thread(void);

#endif
