/* This file reads lines of JSON, as ctl_export.c describes them, into a running server: a SET with
 * tags, expiry and times for each, many under way at a time. A line that makes no sense ends it and
 * is named; what came before is there. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/base/parse.h"
#include "src/ctl/ctl.h"

#define UNDER_WAY_MAX   256u       /* commands */
#define UNDER_WAY_BYTES (8u << 20) /* of values, about */
#define WORDS_MAX       16u        /* of a SET without its tags */

/* A line is bounded by what a record can be: a value of 512 MiB in base64, a key, tags. */
#define LINE_MAX_BYTES (UINT64_C(1) << 30)

struct importing {
    redisContext *link;
    FILE *in;
    uint64_t line_number, done, expired;
    uint64_t all_bytes, read_bytes; /* of the file; all_bytes 0: not known */
    /* under way */
    unsigned replies;
    size_t bytes;
    /* where the connection is */
    bool is_placed;
    uint64_t db;
    char *space; /* owned */
    size_t space_len;
    int64_t now_ms; /* the server's, at the begin */
};

/* A text of the line: borrowed from it, or decoded and owned. */
struct text {
    const char *data; /* NULL: there is none */
    size_t len;
    char *owned;
};

static bool decode(const json_t *string, struct text *ret)
{
    size_t len = json_string_length(string);
    ret->owned = nadb_mem_alloc(len + 1);
    ret->data = ret->owned;
    return ctl_base64_decode(json_string_value(string), len, ret->owned, &ret->len);
}

/* The field `name`, or `name`64; false: it is neither text nor base64. */
static bool take_text(const json_t *line, const char *name, struct text *ret)
{
    char name64[32];
    (void)snprintf(name64, sizeof(name64), "%s64", name); /* the names are this file's */
    const json_t *plain = json_object_get(line, name);
    const json_t *encoded = json_object_get(line, name64);
    *ret = (struct text){0};
    if (plain != NULL) {
        ret->data = json_string_value(plain);
        ret->len = json_string_length(plain);
        return ret->data != NULL && encoded == NULL;
    }
    return encoded == NULL || (json_is_string(encoded) && decode(encoded, ret));
}

static bool take_number(const json_t *line, const char *name, int64_t *ret)
{
    const json_t *number = json_object_get(line, name);
    *ret = json_integer_value(number);
    return number == NULL || (json_is_integer(number) && *ret >= 0);
}

static int fail_line(const struct importing *m, const char *what)
{
    return ctl_fail("line %llu: %s", (unsigned long long)m->line_number, what);
}

/* ---- commands ---- */

static bool read_replies(struct importing *m)
{
    for (; m->replies > 0; m->replies--) {
        redisReply *reply = ctl_link_read(m->link);
        if (reply == NULL) {
            (void)ctl_fail("of the %u lines up to %llu not all are there", m->replies,
                (unsigned long long)m->line_number);
            return false;
        }
        freeReplyObject(reply);
    }
    m->bytes = 0;
    return true;
}

static bool send(struct importing *m, int argc, const char **argv, const size_t *lens)
{
    if (redisAppendCommandArgv(m->link, argc, argv, lens) != REDIS_OK) {
        (void)ctl_fail("connection: %s", m->link->errstr);
        return false;
    }
    m->replies++;
    for (int i = 0; i < argc; i++) {
        m->bytes += lens[i];
    }
    return (m->replies < UNDER_WAY_MAX && m->bytes < UNDER_WAY_BYTES) || read_replies(m);
}

/* Sees to it that commands go to this keyspace. */
static bool place(struct importing *m, uint64_t db, const struct text *space)
{
    size_t len = space->data == NULL ? 0 : space->len;
    bool is_there = m->is_placed && m->db == db && m->space_len == len &&
                    (len == 0 || memcmp(m->space, space->data, len) == 0);
    if (is_there) {
        return true;
    }
    char number[NADB_I64_TEXT_MAX];
    const char *select_argv[] = {"SELECT", number};
    const size_t select_lens[] = {6, nadb_format_u64(number, db)};
    const char *use_argv[] = {"NAMESPACE", "USE", len == 0 ? "" : space->data};
    const size_t use_lens[] = {9, 3, len};
    nadb_mem_free(m->space);
    m->space = nadb_mem_alloc(len + 1);
    if (len > 0) {
        memcpy(m->space, space->data, len);
    }
    m->space_len = len;
    m->db = db;
    m->is_placed = true;
    return send(m, 2, select_argv, select_lens) && send(m, 3, use_argv, use_lens);
}

struct words {
    const char **argv;
    size_t *lens;
    int count;
};

static void add_word(struct words *words, const char *word, size_t len)
{
    words->argv[words->count] = word;
    words->lens[words->count++] = len;
}

static void add_number(struct words *words, char *out, int64_t number)
{
    add_word(words, out, nadb_format_i64(out, number));
}

struct record {
    int64_t db, expire, created, updated, accessed;
    struct text space, key, value;
    const json_t *tags;
    bool are_tags_encoded;
    struct text *tag_texts; /* owned */
    size_t tag_count;
};

static bool send_record(struct importing *m, const struct record *record)
{
    size_t room = WORDS_MAX + record->tag_count;
    struct words words = {
        .argv = nadb_mem_alloc(room * sizeof(char *)),
        .lens = nadb_mem_alloc(room * sizeof(size_t)),
    };
    char numbers[4][NADB_I64_TEXT_MAX];
    add_word(&words, "SET", 3);
    add_word(&words, record->key.data, record->key.len);
    add_word(&words, record->value.data, record->value.len);
    if (record->expire != 0) {
        add_word(&words, "PXAT", 4);
        add_number(&words, numbers[0], record->expire);
    }
    if (record->created != 0) {
        add_word(&words, "TIMES", 5);
        add_number(&words, numbers[1], record->created);
        add_number(&words, numbers[2], record->updated);
        add_number(&words, numbers[3], record->accessed);
    }
    if (record->tag_count > 0) {
        add_word(&words, "TAGS", 4);
    }
    for (size_t i = 0; i < record->tag_count; i++) {
        add_word(&words, record->tag_texts[i].data, record->tag_texts[i].len);
    }
    bool is_ok = send(m, words.count, words.argv, words.lens);
    nadb_mem_free(words.argv);
    nadb_mem_free(words.lens);
    return is_ok;
}

/* ---- lines ---- */

static bool take_tags(const json_t *line, struct record *record)
{
    const json_t *plain = json_object_get(line, "tags");
    const json_t *encoded = json_object_get(line, "tags64");
    const json_t *tags = plain != NULL ? plain : encoded;
    if (tags == NULL) {
        return true;
    }
    if (!json_is_array(tags) || (plain != NULL && encoded != NULL)) {
        return false;
    }
    size_t count = json_array_size(tags);
    record->tag_texts = nadb_mem_zalloc((count + 1) * sizeof(*record->tag_texts));
    record->tag_count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *tag = json_array_get(tags, i);
        struct text *text = &record->tag_texts[i];
        if (!json_is_string(tag)) {
            return false;
        }
        text->data = json_string_value(tag);
        text->len = json_string_length(tag);
        if (plain == NULL && !decode(tag, text)) {
            return false;
        }
    }
    return true;
}

/* NULL, or what is wrong with the line. */
static const char *take_record(const json_t *line, struct record *ret)
{
    if (!json_is_object(line)) {
        return "no JSON object";
    }
    if (!take_number(line, "db", &ret->db) || !take_number(line, "expire", &ret->expire) ||
        !take_number(line, "created", &ret->created) ||
        !take_number(line, "updated", &ret->updated) ||
        !take_number(line, "accessed", &ret->accessed)) {
        return "db, expire, created, updated and accessed are numbers";
    }
    if (!take_text(line, "namespace", &ret->space)) {
        return "namespace is no text, or namespace64 no base64";
    }
    if (!take_text(line, "key", &ret->key) || ret->key.data == NULL) {
        return "key is missing or no text, or key64 no base64";
    }
    if (!take_text(line, "value", &ret->value) || ret->value.data == NULL) {
        return "value64 is missing or no base64";
    }
    if (!take_tags(line, ret)) {
        return "tags is no list of texts, or tags64 none of base64";
    }
    ret->updated = ret->updated == 0 ? ret->created : ret->updated;
    ret->accessed = ret->accessed == 0 ? ret->updated : ret->accessed;
    return NULL;
}

static void forget_record(struct record *record)
{
    nadb_mem_free(record->space.owned);
    nadb_mem_free(record->key.owned);
    nadb_mem_free(record->value.owned);
    for (size_t i = 0; i < record->tag_count; i++) {
        nadb_mem_free(record->tag_texts[i].owned);
    }
    nadb_mem_free(record->tag_texts);
}

static bool import_line(struct importing *m, const char *text, size_t len)
{
    json_error_t error;
    json_t *line = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    struct record record = {0};
    const char *wrong = line == NULL ? error.text : take_record(line, &record);
    bool is_ok = wrong == NULL;
    if (!is_ok) {
        (void)fail_line(m, wrong);
    } else if (record.expire != 0 && record.expire <= m->now_ms) {
        m->expired++;
    } else {
        is_ok = place(m, (uint64_t)record.db, &record.space) && send_record(m, &record);
        m->done++;
    }
    forget_record(&record);
    json_decref(line);
    return is_ok;
}

/* Reads the next line; false: there is none, or it is too long. */
static bool read_line(struct importing *m, struct nadb_buf *line)
{
    int c;
    line->len = 0;
    while ((c = getc_unlocked(m->in)) != EOF && c != '\n') {
        if (!nadb_buf_reserve(line, 1)) {
            (void)ctl_fail("line %llu: longer than a record can be, or than memory allows",
                (unsigned long long)m->line_number + 1);
            return false;
        }
        line->data[line->len++] = (char)c;
    }
    return c != EOF || line->len > 0;
}

static bool is_blank(const struct nadb_buf *line)
{
    size_t i = 0;
    while (i < line->len && memchr(" \t\r", line->data[i], 3) != NULL) {
        i++;
    }
    return i == line->len;
}

static bool import_all(struct importing *m)
{
    struct nadb_buf line;
    nadb_buf_init(&line, LINE_MAX_BYTES);
    bool is_ok = true;
    while (is_ok && read_line(m, &line)) {
        m->line_number++;
        m->read_bytes += line.len + 1;
        is_ok = is_blank(&line) || import_line(m, line.data, line.len);
        ctl_progress("importing", m->read_bytes, m->all_bytes);
    }
    if (is_ok && !feof(m->in)) {
        is_ok = false;
        if (ferror(m->in)) {
            (void)ctl_fail("reading: %s", strerror(errno));
        }
    }
    nadb_buf_fini(&line);
    return is_ok && read_replies(m);
}

static bool ask_time(struct importing *m)
{
    const char *argv[] = {"TIME"};
    int64_t s = 0;
    redisReply *time = ctl_link_call(m->link, 1, argv, NULL);
    bool is_ok = time != NULL;
    if (is_ok && time->elements == 2 &&
        nadb_parse_i64(nadb_slice_cstr(time->element[0]->str), &s)) {
        m->now_ms = s * 1000;
    }
    freeReplyObject(time);
    return is_ok;
}

/* How long the file is, if that can be known. */
static uint64_t size_of(FILE *file)
{
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : 0;
    rewind(file);
    return size > 0 ? (uint64_t)size : 0;
}

int ctl_import(int argc, char **argv)
{
    struct ctl_link_opts opts;
    int at = 0;
    if (!ctl_link_parse(argc, argv, &opts, &at) || argc - at > 1) {
        return ctl_usage(argv[0], "import takes a connection and one file");
    }
    const char *path = at < argc && strcmp(argv[at], "-") != 0 ? argv[at] : NULL;
    struct importing m = {.in = path == NULL ? stdin : fopen(path, "r")};
    if (m.in == NULL) {
        return ctl_fail("'%s': %s", path, strerror(errno));
    }
    m.all_bytes = path == NULL ? 0 : size_of(m.in);
    m.link = ctl_link_open(&opts);
    bool is_ok = m.link != NULL && ask_time(&m) && import_all(&m);
    redisFree(m.link);
    nadb_mem_free(m.space);
    if (path != NULL) {
        (void)fclose(m.in); /* it was only read */
    }
    if (!is_ok) {
        return CTL_EXIT_FAILED;
    }
    ctl_progress_end();
    (void)fprintf(stderr, "imported %llu keys; %llu had expired\n", (unsigned long long)m.done,
        (unsigned long long)m.expired); /* for people */
    return CTL_EXIT_OK;
}
