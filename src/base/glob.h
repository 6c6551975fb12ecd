/* Redis's glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`. Case-sensitive over bytes.
 *
 * Iterative, remembering only the last `*`: O(pattern * text) at worst and never exponential, so
 * a hostile pattern costs what its length costs. Thread: any. */
#ifndef NADB_BASE_GLOB_H
#define NADB_BASE_GLOB_H

#include "src/base/slice.h"

bool nadb_glob_match(struct nadb_slice pattern, struct nadb_slice text);
bool nadb_glob_match_nocase(struct nadb_slice pattern, struct nadb_slice text);

#endif
