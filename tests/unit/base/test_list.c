/* This file tests the intrusive list. */
#include "src/base/list.h"

#include "tests/support/test.h"

NADB_TEST_SUITE(list);

struct item {
    int value;
    struct nadb_list node;
};

Test(list, a_new_list_is_empty)
{
    struct nadb_list head;
    nadb_list_init(&head);
    cr_assert(nadb_list_is_empty(&head));
    cr_assert_null(NADB_LIST_FIRST(&head, struct item, node));
}

Test(list, nodes_come_out_in_the_order_they_went_in)
{
    struct nadb_list head;
    nadb_list_init(&head);
    struct item items[5];
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        nadb_list_append(&head, &items[i].node);
    }
    for (int i = 0; i < 5; i++) {
        struct item *first = NADB_LIST_FIRST(&head, struct item, node);
        cr_assert_eq(first->value, i);
        nadb_list_remove(&first->node);
    }
    cr_assert(nadb_list_is_empty(&head));
}

Test(list, any_node_can_be_removed_and_twice_does_no_harm)
{
    struct nadb_list head;
    nadb_list_init(&head);
    struct item items[3];
    for (int i = 0; i < 3; i++) {
        nadb_list_append(&head, &items[i].node);
    }
    nadb_list_remove(&items[1].node);
    nadb_list_remove(&items[1].node);
    cr_assert_eq(head.next, &items[0].node);
    cr_assert_eq(items[0].node.next, &items[2].node);
    cr_assert_eq(items[2].node.prev, &items[0].node);
    cr_assert_eq(head.prev, &items[2].node);
    nadb_list_append(&head, &items[1].node);
    cr_assert_eq(head.prev, &items[1].node);
}
