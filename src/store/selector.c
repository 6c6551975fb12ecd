/* This file builds, reads and stores selectors.
 *
 * Expressions are taken apart by precedence with an explicit stack of operators (Dijkstra's
 * shunting yard): no recursion, one pass, time and memory in proportion to the text. */
#include "src/store/selector.h"

#include "backends/backend.h"
#include "src/base/codec.h"
#include "src/base/mem.h"
#include "src/base/parse.h"
#include "src/store/packed.h"

#define OPS_FIRST 16u
#define ARGS_MAX  (1u << 20)
/* At each level an '|' and an '&' may wait, besides what opened the level. */
#define WAITING_MAX (3 * NADB_SELECTOR_DEPTH_MAX + 2)

void nadb_selector_init(struct nadb_selector *selector)
{
    *selector = (struct nadb_selector){0};
    nadb_buf_init(&selector->text, NADB_SELECTOR_TEXT_MAX);
}

void nadb_selector_fini(struct nadb_selector *selector)
{
    nadb_mem_free(selector->ops);
    nadb_buf_fini(&selector->text);
    *selector = (struct nadb_selector){0};
}

/* Appends an op whose operands are there. */
static enum nadb_err emit(
    struct nadb_selector *selector, enum nadb_selector_kind kind, struct nadb_slice tag)
{
    if (selector->count == selector->cap) {
        size_t cap = selector->cap == 0 ? OPS_FIRST : selector->cap * 2;
        struct nadb_selector_op *ops =
            cap > NADB_SELECTOR_OPS_MAX
                ? NULL
                : nadb_mem_try_realloc(selector->ops, cap * sizeof(*selector->ops));
        if (ops == NULL) {
            return cap > NADB_SELECTOR_OPS_MAX ? NADB_ELIMIT : NADB_ENOMEM;
        }
        selector->ops = ops;
        selector->cap = cap;
    }
    selector->ops[selector->count++] = (struct nadb_selector_op){.kind = kind, .tag = tag};
    if (kind == NADB_SELECTOR_TAG || kind == NADB_SELECTOR_ALL) {
        selector->depth++;
    } else if (kind != NADB_SELECTOR_NOT) {
        selector->depth--;
    }
    return selector->depth > NADB_SELECTOR_STACK_MAX ? NADB_ELIMIT : NADB_OK;
}

enum nadb_err nadb_selector_check_tag(struct nadb_slice tag, struct nadb_error *reterr)
{
    if (tag.len == 0) {
        return nadb_error_set(reterr, NADB_EBADTAG, 0, "empty");
    }
    if (tag.len > NADB_TAG_LEN_MAX) {
        return nadb_error_set(reterr, NADB_EBADTAG, 0, "longer than %u bytes", NADB_TAG_LEN_MAX);
    }
    return NADB_OK;
}

static enum nadb_err fail_emit(enum nadb_err err, struct nadb_error *reterr)
{
    if (err == NADB_ELIMIT) {
        return nadb_error_set(reterr, NADB_EBADEXPR, 0, "too many tags");
    }
    if (err == NADB_ENOMEM) {
        return nadb_error_set(reterr, NADB_ENOMEM, 0, "not enough memory for the selector");
    }
    return NADB_OK;
}

enum nadb_err nadb_selector_list(struct nadb_selector *selector, bool is_all,
    const struct nadb_slice *tags, size_t count, struct nadb_error *reterr)
{
    for (size_t i = 0; i < count; i++) {
        enum nadb_err err = nadb_selector_check_tag(tags[i], reterr);
        if (err != NADB_OK) {
            return err;
        }
        err = emit(selector, NADB_SELECTOR_TAG, tags[i]);
        if (err == NADB_OK && i > 0) {
            err = emit(
                selector, is_all ? NADB_SELECTOR_AND : NADB_SELECTOR_OR, nadb_slice_of(NULL, 0));
        }
        if (err != NADB_OK) {
            return fail_emit(err, reterr);
        }
    }
    return NADB_OK;
}

/* ---- expressions ---- */

struct parser {
    struct nadb_selector *selector;
    struct nadb_slice text;
    size_t at;
    const struct nadb_slice *args;
    size_t arg_count;
    size_t args_used;           /* how many different ones */
    unsigned char *is_arg_used; /* owned, a byte each */
    char waiting[WAITING_MAX];  /* operators and '(' whose right side is not complete */
    size_t waiting_count;
    size_t depth;
    struct nadb_error *reterr;
};

static enum nadb_err fail_at(struct parser *parser, size_t at, const char *what)
{
    return nadb_error_set(parser->reterr, NADB_EBADEXPR, 0, "at byte %zu: %s", at, what);
}

static bool is_word_char(char c)
{
    return strchr(" &|!()\"$*", c) == NULL || c == '\0';
}

static int precedence(char op)
{
    return op == '!' ? 3 : op == '&' ? 2 : op == '|' ? 1 : 0;
}

static enum nadb_err emit_tag(struct parser *parser, struct nadb_slice tag)
{
    enum nadb_err err = nadb_selector_check_tag(tag, parser->reterr);
    return err != NADB_OK
               ? err
               : fail_emit(emit(parser->selector, NADB_SELECTOR_TAG, tag), parser->reterr);
}

/* Operators that bind at least as strongly as `limit` have all they need. */
static enum nadb_err emit_waiting(struct parser *parser, int limit)
{
    enum nadb_err err = NADB_OK;
    while (err == NADB_OK && parser->waiting_count > 0 &&
           precedence(parser->waiting[parser->waiting_count - 1]) >= limit) {
        char op = parser->waiting[--parser->waiting_count];
        parser->depth -= op == '!' ? 1 : 0;
        err = emit(parser->selector,
            op == '!'   ? NADB_SELECTOR_NOT
            : op == '&' ? NADB_SELECTOR_AND
                        : NADB_SELECTOR_OR,
            nadb_slice_of(NULL, 0));
    }
    return fail_emit(err, parser->reterr);
}

static enum nadb_err parse_argument(struct parser *parser)
{
    size_t begin = parser->at++;
    size_t end = parser->at;
    while (
        end < parser->text.len && parser->text.data[end] >= '0' && parser->text.data[end] <= '9') {
        end++;
    }
    uint64_t number = 0;
    struct nadb_slice digits = nadb_slice_of(parser->text.data + parser->at, end - parser->at);
    if (!nadb_parse_u64(digits, &number) || number == 0 || number > parser->arg_count) {
        return fail_at(parser, begin, "no such argument");
    }
    parser->at = end;
    parser->args_used += parser->is_arg_used[number - 1] == 0;
    parser->is_arg_used[number - 1] = 1;
    return emit_tag(parser, parser->args[number - 1]);
}

/* One character of a quoted tag; false: an escape that there is not. */
static bool read_quoted(struct parser *parser, char *ret)
{
    const char *at = parser->text.data + parser->at;
    size_t left = parser->text.len - parser->at;
    if (at[0] != '\\') {
        *ret = at[0];
        parser->at++;
        return true;
    }
    if (left >= 2 && (at[1] == '"' || at[1] == '\\')) {
        *ret = at[1];
        parser->at += 2;
        return true;
    }
    if (left >= 4 && at[1] == 'x' && nadb_hex_digit(at[2]) >= 0 && nadb_hex_digit(at[3]) >= 0) {
        *ret = (char)(nadb_hex_digit(at[2]) << 4 | nadb_hex_digit(at[3]));
        parser->at += 4;
        return true;
    }
    return false;
}

static enum nadb_err parse_quoted(struct parser *parser)
{
    size_t begin = parser->at++;
    struct nadb_buf *text = &parser->selector->text;
    /* Never longer than the expression: room for all of it, so that slices into it stay true. */
    if (!nadb_buf_reserve(text, text->len == 0 ? parser->text.len : 0)) {
        return fail_emit(NADB_ENOMEM, parser->reterr);
    }
    size_t from = text->len;
    while (parser->at < parser->text.len && parser->text.data[parser->at] != '"') {
        char c;
        size_t escape = parser->at;
        if (!read_quoted(parser, &c)) {
            return fail_at(parser, escape, "unknown escape");
        }
        text->data[text->len++] = c;
    }
    if (parser->at == parser->text.len) {
        return fail_at(parser, begin, "unbalanced quotes");
    }
    parser->at++;
    return emit_tag(parser, nadb_slice_of(text->data + from, text->len - from));
}

static enum nadb_err parse_word(struct parser *parser)
{
    size_t begin = parser->at;
    while (parser->at < parser->text.len && is_word_char(parser->text.data[parser->at])) {
        parser->at++;
    }
    return emit_tag(parser, nadb_slice_of(parser->text.data + begin, parser->at - begin));
}

static enum nadb_err open_level(struct parser *parser, char op)
{
    if (parser->depth == NADB_SELECTOR_DEPTH_MAX) {
        return fail_at(parser, parser->at, "nested too deeply");
    }
    parser->depth++;
    parser->waiting[parser->waiting_count++] = op;
    parser->at++;
    return NADB_OK;
}

/* What may stand where an operand begins; *ret_is_whole when one was complete. */
static enum nadb_err parse_operand(struct parser *parser, bool *ret_is_whole)
{
    char c = parser->text.data[parser->at];
    *ret_is_whole = c != '!' && c != '(';
    switch (c) {
    case '!':
    case '(':
        return open_level(parser, c);
    case '*':
        parser->at++;
        return fail_emit(
            emit(parser->selector, NADB_SELECTOR_ALL, nadb_slice_of(NULL, 0)), parser->reterr);
    case '$':
        return parse_argument(parser);
    case '"':
        return parse_quoted(parser);
    case '&':
    case '|':
    case ')':
        return fail_at(parser, parser->at, "tag expected");
    default:
        return parse_word(parser);
    }
}

static enum nadb_err close_level(struct parser *parser)
{
    enum nadb_err err = emit_waiting(parser, 1);
    if (err != NADB_OK) {
        return err;
    }
    if (parser->waiting_count == 0) {
        return fail_at(parser, parser->at, "unbalanced parenthesis");
    }
    parser->waiting_count--;
    parser->depth--;
    parser->at++;
    return NADB_OK;
}

/* What may follow a whole operand. */
static enum nadb_err parse_operator(struct parser *parser, bool *ret_is_whole)
{
    char c = parser->text.data[parser->at];
    if (c == ')') {
        *ret_is_whole = true;
        return close_level(parser);
    }
    if (c != '&' && c != '|') {
        return fail_at(parser, parser->at, "operator expected");
    }
    enum nadb_err err = emit_waiting(parser, precedence(c));
    parser->waiting[parser->waiting_count++] = c;
    parser->at++;
    *ret_is_whole = false;
    return err;
}

static enum nadb_err parse_all(struct parser *parser)
{
    bool is_whole = false;
    while (parser->at < parser->text.len) {
        if (parser->text.data[parser->at] == ' ') {
            parser->at++;
            continue;
        }
        enum nadb_err err =
            is_whole ? parse_operator(parser, &is_whole) : parse_operand(parser, &is_whole);
        if (err != NADB_OK) {
            return err;
        }
    }
    if (!is_whole) {
        return fail_at(parser, parser->at, "tag expected");
    }
    enum nadb_err err = emit_waiting(parser, 1);
    if (err == NADB_OK && parser->waiting_count > 0) {
        err = fail_at(parser, parser->at, "unbalanced parenthesis");
    }
    if (err == NADB_OK && parser->args_used < parser->arg_count) {
        err = nadb_error_set(parser->reterr, NADB_EBADEXPR, 0,
            "%zu arguments, of which %zu are used", parser->arg_count, parser->args_used);
    }
    return err;
}

enum nadb_err nadb_selector_parse(struct nadb_selector *selector, struct nadb_slice text,
    const struct nadb_slice *args, size_t arg_count, struct nadb_error *reterr)
{
    if (text.len > NADB_SELECTOR_TEXT_MAX || arg_count > ARGS_MAX) {
        return nadb_error_set(
            reterr, NADB_EBADEXPR, 0, "longer than %u bytes", NADB_SELECTOR_TEXT_MAX);
    }
    struct parser parser = {
        .selector = selector,
        .text = text,
        .args = args,
        .arg_count = arg_count,
        .is_arg_used = nadb_mem_zalloc(arg_count + 1),
        .reterr = reterr,
    };
    enum nadb_err err = parse_all(&parser);
    nadb_mem_free(parser.is_arg_used);
    return err;
}

/* ---- one record ---- */

bool nadb_selector_matches(const struct nadb_selector *selector, struct nadb_slice packed_tags)
{
    bool stack[NADB_SELECTOR_STACK_MAX + 1];
    size_t top = 0;
    for (size_t i = 0; i < selector->count; i++) {
        const struct nadb_selector_op *op = &selector->ops[i];
        switch (op->kind) {
        case NADB_SELECTOR_TAG:
            stack[top++] = nadb_packed_has(packed_tags, op->tag);
            break;
        case NADB_SELECTOR_ALL:
            stack[top++] = true;
            break;
        case NADB_SELECTOR_NOT:
            stack[top - 1] = !stack[top - 1];
            break;
        case NADB_SELECTOR_AND:
            top--;
            stack[top - 1] = stack[top - 1] && stack[top];
            break;
        case NADB_SELECTOR_OR:
            top--;
            stack[top - 1] = stack[top - 1] || stack[top];
            break;
        }
    }
    return top == 1 && stack[0];
}

/* ---- in the log ---- */

/*  offset size  what
 *       0    4  length of the pattern, or PATTERN_NONE
 *       4    4  number of ops
 *       8    .  the pattern, then the ops: u8 kind, and for a TAG u16 length and the tag */
#define PACKED_HEAD  8u
#define PATTERN_NONE UINT32_MAX

bool nadb_selector_pack(
    const struct nadb_selector *selector, struct nadb_slice pattern, struct nadb_buf *out)
{
    char head[PACKED_HEAD];
    nadb_put_u32(head, pattern.data == NULL ? PATTERN_NONE : (uint32_t)pattern.len);
    nadb_put_u32(head + 4, (uint32_t)selector->count);
    if (!nadb_buf_append(out, head, sizeof(head)) ||
        !nadb_buf_append(out, pattern.data, pattern.len)) {
        return false;
    }
    for (size_t i = 0; i < selector->count; i++) {
        const struct nadb_selector_op *op = &selector->ops[i];
        char bytes[1 + sizeof(uint16_t)] = {(char)op->kind};
        nadb_put_u16(bytes + 1, (uint16_t)op->tag.len);
        bool is_tag = op->kind == NADB_SELECTOR_TAG;
        if (!nadb_buf_append(out, bytes, is_tag ? sizeof(bytes) : 1) ||
            (is_tag && !nadb_buf_append(out, op->tag.data, op->tag.len))) {
            return false;
        }
    }
    return true;
}

/* The op at *at, which moves behind it; false: there is none. */
static bool unpack_op(struct nadb_selector *selector, struct nadb_slice packed, size_t *at)
{
    if (*at >= packed.len) {
        return false;
    }
    unsigned kind = (unsigned char)packed.data[(*at)++];
    struct nadb_slice tag = {NULL, 0};
    if (kind == NADB_SELECTOR_TAG) {
        if (packed.len - *at < sizeof(uint16_t)) {
            return false;
        }
        size_t len = nadb_get_u16(packed.data + *at);
        *at += sizeof(uint16_t);
        if (len == 0 || len > NADB_TAG_LEN_MAX || len > packed.len - *at) {
            return false;
        }
        tag = nadb_slice_of(packed.data + *at, len);
        *at += len;
    }
    size_t operands = kind == NADB_SELECTOR_NOT                               ? 1
                      : kind == NADB_SELECTOR_AND || kind == NADB_SELECTOR_OR ? 2
                                                                              : 0;
    return kind >= NADB_SELECTOR_TAG && kind <= NADB_SELECTOR_OR && selector->depth >= operands &&
           emit(selector, (enum nadb_selector_kind)kind, tag) == NADB_OK;
}

bool nadb_selector_unpack(
    struct nadb_selector *selector, struct nadb_slice packed, struct nadb_slice *ret_pattern)
{
    if (packed.len < PACKED_HEAD) {
        return false;
    }
    size_t pattern_len = nadb_get_u32(packed.data);
    size_t count = nadb_get_u32(packed.data + 4);
    size_t at = PACKED_HEAD;
    *ret_pattern = nadb_slice_of(NULL, 0);
    if (pattern_len != PATTERN_NONE) {
        if (pattern_len > packed.len - at) {
            return false;
        }
        *ret_pattern = nadb_slice_of(packed.data + at, pattern_len);
        at += pattern_len;
    }
    for (size_t i = 0; i < count; i++) {
        if (!unpack_op(selector, packed, &at)) {
            return false;
        }
    }
    return at == packed.len && selector->depth == 1;
}
