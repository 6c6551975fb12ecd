/* What the files of this folder share. Thread: loop. */
#ifndef NADB_CONFIG_CONFIG_INTERNAL_H
#define NADB_CONFIG_CONFIG_INTERNAL_H

#include "config/config.h"

enum {
    NADB_OPTION_COUNT = 0
#define X(...)     +1
#define INERT(...) +1
#include "config/options.def"
#undef X
#undef INERT
};

/* A deep copy into memory that held no config. */
void nadb_config__copy(struct nadb_config *to, const struct nadb_config *from);

/* Sets *reterr to "option 'NAME': unknown", with the nearest name where there is one. */
enum nadb_err nadb_config__refuse_name(struct nadb_slice name, struct nadb_error *reterr);

/* Whether the row's value is all the words behind its name, not one. */
bool nadb_option__is_many_words(const struct nadb_option *option);

/* The name of a row that `name` was likely meant to be: at most two edits away, or begun by it;
 * NULL for none. */
const char *nadb_config__nearest(struct nadb_slice name);

#endif
