/* Intrusive doubly-linked list with a sentinel; all operations O(1). Thread: the owner's. */
#ifndef NADB_BASE_LIST_H
#define NADB_BASE_LIST_H

#include <stdbool.h>

#include "src/base/compiler.h"

struct nadb_list {
    struct nadb_list *next, *prev;
};

static inline void nadb_list_init(struct nadb_list *head)
{
    head->next = head->prev = head;
}

static inline bool nadb_list_is_empty(const struct nadb_list *head)
{
    return head->next == head;
}

static inline void nadb_list_append(struct nadb_list *head, struct nadb_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Also right for a node that is in no list, if it was initialised. */
static inline void nadb_list_remove(struct nadb_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    nadb_list_init(node);
}

/* The struct that holds the first node, or NULL. */
#define NADB_LIST_FIRST(head, type, member)                                                        \
    (nadb_list_is_empty(head) ? NULL : NADB_CONTAINER_OF((head)->next, type, member))

#endif
