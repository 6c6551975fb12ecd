/* This file runs selectors over the tag index.
 *
 * A value is a set of ids that may be inverted; NOT only turns that bit, and the laws of De Morgan
 * bring every other operator back to three operations on sets. So "everything but" costs nothing,
 * and the set of all ids is never needed. A set is borrowed from its tag until an operator needs
 * to change it. */
#include "src/base/assert.h"
#include "src/store/tagindex.h"

struct value {
    struct nadb_bitmap *set;
    bool is_owned;
    bool is_inverted;
};

static void drop(struct value *value)
{
    if (value->is_owned) {
        nadb_bitmap_free(value->set);
    }
    value->set = NULL;
}

static struct value empty(bool is_inverted)
{
    return (struct value){.set = nadb_bitmap_new(), .is_owned = true, .is_inverted = is_inverted};
}

static struct value members_of(const struct nadb_tagindex *index, struct nadb_slice name)
{
    const struct nadb_tag *tag = nadb_tagindex_find(index, name);
    if (tag == NULL) {
        return empty(false);
    }
    bool is_own;
    struct nadb_bitmap *set = nadb_tag_bitmap(tag, &is_own);
    return (struct value){.set = set, .is_owned = !is_own};
}

typedef void set_fn(struct nadb_bitmap *set, const struct nadb_bitmap *other);
typedef struct nadb_bitmap *new_set_fn(const struct nadb_bitmap *a, const struct nadb_bitmap *b);

/* The result takes the place of `a`; `b` is used up. An operation whose operands may change places
 * is done where an owned set is. */
static void combine(
    struct value *a, struct value *b, set_fn *in_place, new_set_fn *fresh, bool may_swap)
{
    if (may_swap && !a->is_owned && b->is_owned) {
        struct value other = *a;
        *a = *b;
        *b = other;
    }
    if (a->is_owned) {
        in_place(a->set, b->set);
    } else {
        a->set = fresh(a->set, b->set);
        a->is_owned = true;
    }
    drop(b);
}

static void swap(struct value *a, struct value *b)
{
    struct value other = *a;
    *a = *b;
    *b = other;
}

/* a := a AND b */
static void and_values(struct value *a, struct value *b)
{
    if (a->is_inverted && b->is_inverted) {
        combine(a, b, nadb_bitmap_or, nadb_bitmap_new_or, true);
        a->is_inverted = true;
        return;
    }
    if (a->is_inverted) {
        swap(a, b);
    }
    if (b->is_inverted) {
        combine(a, b, nadb_bitmap_and_not, nadb_bitmap_new_and_not, false);
    } else {
        combine(a, b, nadb_bitmap_and, nadb_bitmap_new_and, true);
    }
    a->is_inverted = false;
}

/* a OR b = NOT (NOT a AND NOT b) */
static void or_values(struct value *a, struct value *b)
{
    a->is_inverted = !a->is_inverted;
    b->is_inverted = !b->is_inverted;
    and_values(a, b);
    a->is_inverted = !a->is_inverted;
}

size_t nadb_tagindex_cost(const struct nadb_tagindex *index, const struct nadb_selector *selector)
{
    size_t cost = 0;
    for (size_t i = 0; i < selector->count && cost <= NADB_TAG_COST_MAX; i++) {
        const struct nadb_tag *tag = selector->ops[i].kind == NADB_SELECTOR_TAG
                                         ? nadb_tagindex_find(index, selector->ops[i].tag)
                                         : NULL;
        if (tag != NULL) {
            cost += tag->cap == NADB_TAG_IS_BITMAP ? nadb_bitmap_bytes(tag->set.bitmap)
                                                   : tag->count * sizeof(uint32_t);
        }
    }
    return cost;
}

void nadb_tagindex_select(const struct nadb_tagindex *index, const struct nadb_selector *selector,
    struct nadb_tag_result *ret)
{
    struct value stack[NADB_SELECTOR_STACK_MAX + 1];
    size_t top = 0;
    for (size_t i = 0; i < selector->count; i++) {
        const struct nadb_selector_op *op = &selector->ops[i];
        switch (op->kind) {
        case NADB_SELECTOR_TAG:
            stack[top++] = members_of(index, op->tag);
            break;
        case NADB_SELECTOR_ALL:
            stack[top++] = empty(true);
            break;
        case NADB_SELECTOR_NOT:
            stack[top - 1].is_inverted = !stack[top - 1].is_inverted;
            break;
        case NADB_SELECTOR_AND:
            top--;
            and_values(&stack[top - 1], &stack[top]);
            break;
        case NADB_SELECTOR_OR:
            top--;
            or_values(&stack[top - 1], &stack[top]);
            break;
        }
    }
    NADB_ASSERT(top == 1);
    ret->ids = stack[0].is_owned ? stack[0].set : nadb_bitmap_copy(stack[0].set);
    ret->is_inverted = stack[0].is_inverted;
}

uint64_t nadb_tag_result_count(
    const struct nadb_tagindex *index, const struct nadb_tag_result *result)
{
    uint64_t count = nadb_bitmap_count(result->ids);
    return result->is_inverted ? index->tagged - count : count;
}

bool nadb_tag_result_has(const struct nadb_tag_result *result, const struct nadb_rec *rec)
{
    if (!(rec->flags & NADB_REC_HAS_TAGS)) {
        return result->is_inverted;
    }
    return nadb_bitmap_contains(result->ids, nadb_rec_tags_part(rec)->id) != result->is_inverted;
}
