/* This file reads packed selectors. */
#include "backends/redis/program.h"

#include "backends/backend.h"
#include "src/base/codec.h"
#include "src/base/glob.h"

/*  offset size  what
 *       0    4  length of the pattern, or PATTERN_NONE
 *       4    4  number of ops
 *       8    .  the pattern, then the ops: u8 kind, and for a TAG u16 length and the tag */
#define PACKED_HEAD  8u
#define PATTERN_NONE UINT32_MAX

enum op_kind { OP_TAG = 1, OP_ALL = 2, OP_NOT = 3, OP_AND = 4, OP_OR = 5 };

/* The op at *at, which moves behind it; false: there is none. */
static bool next_op(
    struct nadb_slice ops, size_t *at, enum op_kind *ret_kind, struct nadb_slice *ret_tag)
{
    if (*at >= ops.len) {
        return false;
    }
    unsigned kind = (unsigned char)ops.data[(*at)++];
    *ret_kind = (enum op_kind)kind;
    *ret_tag = nadb_slice_of(NULL, 0);
    if (kind != OP_TAG) {
        return kind >= OP_ALL && kind <= OP_OR;
    }
    if (ops.len - *at < sizeof(uint16_t)) {
        return false;
    }
    size_t len = nadb_get_u16(ops.data + *at);
    *at += sizeof(uint16_t);
    if (len == 0 || len > NADB_TAG_LEN_MAX || len > ops.len - *at) {
        return false;
    }
    *ret_tag = nadb_slice_of(ops.data + *at, len);
    *at += len;
    return true;
}

/* Values on the stack after an op; 0: it has not enough operands. */
static size_t depth_after(enum op_kind kind, size_t depth)
{
    switch (kind) {
    case OP_TAG:
    case OP_ALL:
        return depth + 1;
    case OP_NOT:
        return depth;
    case OP_AND:
    case OP_OR:
        return depth < 2 ? 0 : depth - 1;
    }
    return 0;
}

static bool check_ops(const struct nadb_redis_program *program)
{
    size_t at = 0;
    size_t depth = 0;
    for (size_t i = 0; i < program->op_count; i++) {
        enum op_kind kind;
        struct nadb_slice tag;
        if (!next_op(program->ops, &at, &kind, &tag)) {
            return false;
        }
        depth = depth_after(kind, depth);
        if (depth == 0 || depth > NADB_REDIS_PROGRAM_DEPTH_MAX) {
            return false;
        }
    }
    return at == program->ops.len && depth == 1;
}

bool nadb_redis_program_read(struct nadb_slice packed, struct nadb_redis_program *ret)
{
    if (packed.len < PACKED_HEAD) {
        return false;
    }
    size_t pattern_len = nadb_get_u32(packed.data);
    struct nadb_redis_program program = {
        .has_pattern = pattern_len != PATTERN_NONE, .op_count = nadb_get_u32(packed.data + 4)};
    size_t at = PACKED_HEAD;
    if (program.has_pattern) {
        if (pattern_len > packed.len - at) {
            return false;
        }
        program.pattern = nadb_slice_of(packed.data + at, pattern_len);
        at += pattern_len;
    }
    program.ops = nadb_slice_of(packed.data + at, packed.len - at);
    *ret = program;
    return check_ops(&program);
}

bool nadb_redis_program_is_simple(const struct nadb_redis_program *program)
{
    struct nadb_slice pattern = program->pattern;
    if (!program->has_pattern) {
        return true;
    }
    for (size_t i = 0; i + 1 < pattern.len; i++) {
        if (memchr("*?[\\", pattern.data[i], 4) != NULL) {
            return false;
        }
    }
    return pattern.len > 0 && pattern.data[pattern.len - 1] == '*';
}

struct nadb_slice nadb_redis_program_prefix(const struct nadb_redis_program *program)
{
    return program->has_pattern && nadb_redis_program_is_simple(program)
               ? nadb_slice_of(program->pattern.data, program->pattern.len - 1)
               : nadb_slice_of(NULL, 0);
}

static void write_tag(struct nadb_redis_out *out, struct nadb_slice tag)
{
    char *at = nadb_redis_out_begin(out, 1 + tag.len);
    if (at != NULL) {
        at[0] = 't';
        memcpy(at + 1, tag.data, tag.len);
    }
    nadb_redis_out_end(out);
}

void nadb_redis_program_write(const struct nadb_redis_program *program, struct nadb_redis_out *out)
{
    static const char letters[] = {[OP_ALL] = '*', [OP_NOT] = '!', [OP_AND] = '&', [OP_OR] = '|'};
    enum op_kind kind;
    struct nadb_slice tag;
    for (size_t at = 0; next_op(program->ops, &at, &kind, &tag);) {
        if (kind == OP_TAG) {
            write_tag(out, tag);
        } else {
            nadb_redis_out_arg(out, nadb_slice_of(&letters[kind], 1));
        }
    }
}

static bool has_tag(struct nadb_slice tags, struct nadb_slice tag)
{
    size_t at = 0;
    while (at + sizeof(uint16_t) <= tags.len) {
        size_t len = nadb_get_u16(tags.data + at);
        at += sizeof(uint16_t);
        if (nadb_slice_eq(nadb_slice_of(tags.data + at, len), tag)) {
            return true;
        }
        at += len;
    }
    return false;
}

bool nadb_redis_program_matches(
    const struct nadb_redis_program *program, struct nadb_slice key, struct nadb_slice tags)
{
    bool stack[NADB_REDIS_PROGRAM_DEPTH_MAX + 1];
    size_t top = 0;
    enum op_kind kind;
    struct nadb_slice tag;
    if (program->has_pattern && !nadb_glob_match(program->pattern, key)) {
        return false;
    }
    for (size_t at = 0; next_op(program->ops, &at, &kind, &tag);) {
        switch (kind) {
        case OP_TAG:
            stack[top++] = has_tag(tags, tag);
            break;
        case OP_ALL:
            stack[top++] = true;
            break;
        case OP_NOT:
            stack[top - 1] = !stack[top - 1];
            break;
        case OP_AND:
            top--;
            stack[top - 1] = stack[top - 1] && stack[top];
            break;
        case OP_OR:
            top--;
            stack[top - 1] = stack[top - 1] || stack[top];
            break;
        }
    }
    return stack[0];
}
