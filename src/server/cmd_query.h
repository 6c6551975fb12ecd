/* What a QUERY asks for. */
#ifndef NADB_SERVER_CMD_QUERY_H
#define NADB_SERVER_CMD_QUERY_H

#include "src/server/cmd_util.h"

enum nadb_query_field {
    NADB_QUERY_NONE,
    NADB_QUERY_KEY,
    NADB_QUERY_SIZE,
    NADB_QUERY_CREATED,
    NADB_QUERY_UPDATED,
    NADB_QUERY_ACCESSED,
    NADB_QUERY_TTL,
    NADB_QUERY_FIELDS
};

struct nadb_query_range {
    uint64_t from, to; /* both included */
};

struct nadb_query_args {
    struct nadb_slice pattern;                         /* data NULL: all */
    bool has_filter;                                   /* the pattern, or any range */
    struct nadb_query_range ranges[NADB_QUERY_FIELDS]; /* SIZE, CREATED, UPDATED, ACCESSED */
    enum nadb_query_field order;
    bool is_descending;
    bool has_limit;
    uint64_t offset, limit;
    bool has_cursor;
    uint64_t cursor, count;
    bool has_values, has_meta, is_count_only;
    size_t selector_at; /* index of ANY, ALL or EXPR */
};

/* False: the error is written. */
NADB_MUST_CHECK bool nadb_query_args_parse(struct nadb_call *call, struct nadb_query_args *ret);

/* A field of a record as a number; 0 for the key. */
uint64_t nadb_query_field_of(
    enum nadb_query_field field, const struct nadb_rec *rec, uint64_t now_ms);

/* Does the record pass the pattern and the ranges? */
bool nadb_query_args_pass(
    const struct nadb_query_args *args, const struct nadb_rec *rec, uint64_t now_ms);

#endif
