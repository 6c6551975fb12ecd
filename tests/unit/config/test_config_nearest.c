/* This file tests which name is suggested for one that does not exist. */
#include "config/config_internal.h"

#include "tests/unit/config/config_support.h"

NADB_TEST_SUITE(config_nearest);

Test(config_nearest, names_up_to_two_edits_away_or_begun_are_suggested)
{
    static const struct {
        const char *name, *nearest;
    } cases[] = {
        {"prot", "port"},
        {"Prt", "port"},
        {"ports", "port"},
        {"maxmemory_policy", "maxmemory-policy"},
        {"maxmemry", "maxmemory"},
        {"flush-intervall", "flush-interval"},
        {"flush", "flush-interval"},
        {"FLUSH-I", "flush-interval"},
        {"unixsocketpermission", NULL},
        {"frobnicate", NULL},
        {"portabc", NULL},
        {"x", NULL},
        {"", NULL},
        {"ab", NULL},
    };
    for (size_t i = 0; i < NADB_ARRAY_LEN(cases); i++) {
        const char *nearest = nadb_config__nearest(nadb_slice_cstr(cases[i].name));
        if (cases[i].nearest == NULL) {
            cr_assert(nearest == NULL, "'%s' gave %s", cases[i].name, nearest);
        } else {
            cr_assert(nearest != NULL && strcmp(nearest, cases[i].nearest) == 0, "'%s' gave %s",
                cases[i].name, nearest == NULL ? "nothing" : nearest);
        }
    }
}

Test(config_nearest, a_name_longer_than_any_is_answered_at_once)
{
    static char name[1 << 20];
    memset(name, 'p', sizeof(name));
    cr_assert_null(nadb_config__nearest(nadb_slice_of(name, sizeof(name))));
}
