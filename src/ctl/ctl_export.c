/* This file writes everything that a running server has, a line of JSON for each key:
 *
 *     {"db": 0, "namespace": "", "key": "page:1", "value64": "...", "tags": ["news"],
 *      "expire": 1795640000000, "created": ..., "updated": ..., "accessed": ...}
 *
 * Times are Unix ms; `expire` is missing where there is none. A namespace, key or tag that is not
 * UTF-8 is there as namespace64, key64, tags64, in base64 as values are. Each line is a record as
 * it was at one moment; the lines are not of one moment: that is what a backup is for. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/parse.h"
#include "src/ctl/ctl.h"

#define ROWS "100" /* asked for at a time */

#define NAME64_MAX 32

struct exporting {
    redisContext *link;
    FILE *out;
    uint64_t done, all;
    /* the keyspace */
    uint64_t db;
    const redisReply *space;
};

static json_t *base64_of(const char *bytes, size_t len)
{
    size_t encoded_len = ctl_base64_len(len);
    char *encoded = nadb_mem_alloc(encoded_len + 1);
    ctl_base64_encode(bytes, len, encoded);
    json_t *string = json_stringn(encoded, encoded_len);
    nadb_mem_free(encoded);
    return string;
}

/* Sets `name` to the text, or `name`64 where it is not UTF-8. */
static bool set_text(json_t *line, const char *name, const char *text, size_t len)
{
    json_t *string = json_stringn(text, len);
    if (string != NULL) {
        return json_object_set_new(line, name, string) == 0;
    }
    char name64[NAME64_MAX];
    (void)snprintf(name64, sizeof(name64), "%s64", name); /* the names are this file's */
    return json_object_set_new(line, name64, base64_of(text, len)) == 0;
}

static bool set_tags(json_t *line, const redisReply *tags)
{
    bool is_text = true;
    json_t *list = json_array();
    for (size_t i = 0; is_text && i < tags->elements; i++) {
        json_t *tag = json_stringn(tags->element[i]->str, (size_t)tags->element[i]->len);
        is_text = tag != NULL && json_array_append_new(list, tag) == 0;
    }
    if (!is_text) {
        (void)json_array_clear(list); /* fails only for what is no array */
        for (size_t i = 0; i < tags->elements; i++) {
            const redisReply *tag = tags->element[i];
            (void)json_array_append_new(list, base64_of(tag->str, (size_t)tag->len));
        }
    }
    return json_object_set_new(line, is_text ? "tags" : "tags64", list) == 0;
}

/* META's map, flat as RESP2 has it. */
static bool set_meta(json_t *line, const redisReply *meta)
{
    bool is_ok = true;
    for (size_t i = 0; is_ok && i + 1 < meta->elements; i += 2) {
        const char *name = meta->element[i]->str;
        const redisReply *value = meta->element[i + 1];
        if (strcmp(name, "tags") == 0 && value->elements > 0) {
            is_ok = set_tags(line, value);
        } else if ((strcmp(name, "expire") == 0 && value->integer >= 0) ||
                   strcmp(name, "created") == 0 || strcmp(name, "updated") == 0 ||
                   strcmp(name, "accessed") == 0) {
            is_ok = json_object_set_new(line, name, json_integer(value->integer)) == 0;
        }
    }
    return is_ok;
}

static bool write_row(struct exporting *e, const redisReply *row)
{
    json_t *line = json_object();
    bool is_ok = line != NULL &&
                 json_object_set_new(line, "db", json_integer((json_int_t)e->db)) == 0 &&
                 set_text(line, "namespace", e->space->str, (size_t)e->space->len) &&
                 set_text(line, "key", row->element[0]->str, (size_t)row->element[0]->len) &&
                 json_object_set_new(line, "value64",
                     base64_of(row->element[1]->str, (size_t)row->element[1]->len)) == 0 &&
                 set_meta(line, row->element[2]);
    if (!is_ok) {
        json_decref(line);
        (void)ctl_fail("not enough memory for a record");
        return false;
    }
    is_ok = json_dumpf(line, e->out, JSON_COMPACT | JSON_ENSURE_ASCII) == 0 &&
            fputc('\n', e->out) != EOF;
    json_decref(line);
    if (!is_ok) {
        (void)ctl_fail("writing: %s", strerror(errno));
    }
    return is_ok;
}

static bool is_row(const redisReply *row)
{
    return row->type == REDIS_REPLY_ARRAY && row->elements == 3 &&
           row->element[0]->type == REDIS_REPLY_STRING &&
           row->element[2]->type == REDIS_REPLY_ARRAY;
}

static bool write_rows(struct exporting *e, const redisReply *rows)
{
    for (size_t i = 0; i < rows->elements; i++) {
        const redisReply *row = rows->element[i];
        if (!is_row(row)) {
            (void)ctl_fail("the server answers something unexpected to QUERY");
            return false;
        }
        if (row->element[1]->type != REDIS_REPLY_STRING) {
            continue; /* it went while its value was fetched */
        }
        if (!write_row(e, row)) {
            return false;
        }
        e->done++;
    }
    ctl_progress("exporting", e->done, e->all);
    return true;
}

static bool is_answer(const redisReply *answer)
{
    return answer->type == REDIS_REPLY_ARRAY && answer->elements == 2 &&
           answer->element[0]->type == REDIS_REPLY_STRING &&
           answer->element[1]->type == REDIS_REPLY_ARRAY;
}

/* Asks for the rows behind the cursor, which moves on. */
static bool export_some(struct exporting *e, char *cursor, size_t cursor_cap)
{
    const char *argv[] = {
        "QUERY", "CURSOR", cursor, "COUNT", ROWS, "WITHVALUES", "WITHMETA", "EXPR", "*"};
    redisReply *answer = ctl_link_call(e->link, 9, argv, NULL);
    bool is_ok = answer != NULL;
    if (is_ok && (!is_answer(answer) || (size_t)answer->element[0]->len >= cursor_cap)) {
        (void)ctl_fail("the server answers something unexpected to QUERY");
        is_ok = false;
    }
    if (is_ok) {
        memcpy(cursor, answer->element[0]->str, (size_t)answer->element[0]->len + 1);
        is_ok = write_rows(e, answer->element[1]);
    }
    freeReplyObject(answer);
    return is_ok;
}

static bool export_space(struct exporting *e, const redisReply *space)
{
    const char *argv[] = {"NAMESPACE", "USE", space->str};
    const size_t lens[] = {9, 3, (size_t)space->len};
    const char *count_argv[] = {"DBSIZE"};
    redisReply *used = ctl_link_call(e->link, 3, argv, lens);
    redisReply *count = used == NULL ? NULL : ctl_link_call(e->link, 1, count_argv, NULL);
    bool is_ok = count != NULL;
    if (is_ok) {
        e->all += (uint64_t)count->integer;
        e->space = space;
    }
    char cursor[32] = "0";
    while (is_ok && (is_ok = export_some(e, cursor, sizeof(cursor))) && strcmp(cursor, "0") != 0) {
    }
    freeReplyObject(used);
    freeReplyObject(count);
    return is_ok;
}

static bool export_db(struct exporting *e, uint64_t db)
{
    char number[NADB_I64_TEXT_MAX + 1];
    number[nadb_format_u64(number, db)] = '\0';
    const char *select_argv[] = {"SELECT", number};
    const char *list_argv[] = {"NAMESPACE", "LIST"};
    char nothing[] = "";
    redisReply unnamed = {.type = REDIS_REPLY_STRING, .str = nothing};
    e->db = db;
    redisReply *selected = ctl_link_call(e->link, 2, select_argv, NULL);
    redisReply *list = selected == NULL ? NULL : ctl_link_call(e->link, 2, list_argv, NULL);
    bool is_ok = list != NULL && export_space(e, &unnamed);
    for (size_t i = 0; is_ok && i < list->elements; i++) {
        is_ok = export_space(e, list->element[i]);
    }
    freeReplyObject(selected);
    freeReplyObject(list);
    return is_ok;
}

/* How many databases are there? 0: said why not. */
static uint64_t count_databases(redisContext *link)
{
    const char *argv[] = {"CONFIG", "GET", "databases"};
    uint64_t count = 0;
    redisReply *reply = ctl_link_call(link, 3, argv, NULL);
    bool is_known = reply != NULL && reply->elements == 2 &&
                    nadb_parse_u64(nadb_slice_cstr(reply->element[1]->str), &count);
    if (reply != NULL && !is_known) {
        (void)ctl_fail("the server does not say how many databases it has");
    }
    freeReplyObject(reply);
    return count;
}

static bool export_all(struct exporting *e)
{
    uint64_t databases = count_databases(e->link);
    bool is_ok = databases > 0;
    for (uint64_t db = 0; is_ok && db < databases; db++) {
        is_ok = export_db(e, db);
    }
    return is_ok;
}

int ctl_export(int argc, char **argv)
{
    struct ctl_link_opts opts;
    int at = 0;
    if (!ctl_link_parse(argc, argv, &opts, &at) || argc - at > 1) {
        return ctl_usage(argv[0], "export takes a connection and one file");
    }
    const char *path = at < argc && strcmp(argv[at], "-") != 0 ? argv[at] : NULL;
    struct exporting e = {.link = ctl_link_open(&opts)};
    if (e.link == NULL) {
        return CTL_EXIT_FAILED;
    }
    e.out = path == NULL ? stdout : fopen(path, "wx");
    if (e.out == NULL) {
        redisFree(e.link);
        return ctl_fail("'%s': %s", path, strerror(errno));
    }
    bool is_ok = export_all(&e);
    if (fflush(e.out) != 0 || (path != NULL && fclose(e.out) != 0)) {
        is_ok = false;
        (void)ctl_fail("writing: %s", strerror(errno));
    }
    redisFree(e.link);
    if (!is_ok) {
        return CTL_EXIT_FAILED;
    }
    ctl_progress_end();
    (void)fprintf(stderr, "exported %llu keys\n", (unsigned long long)e.done); /* for people */
    return CTL_EXIT_OK;
}
