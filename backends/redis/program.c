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

void nadb_redis_program_write_pattern(
    const struct nadb_redis_program *program, struct nadb_redis_out *out)
{
    size_t len = program->has_pattern ? 1 + program->pattern.len : 0;
    char *at = nadb_redis_out_begin(out, len);
    if (at != NULL && len > 0) {
        at[0] = '=';
        if (len > 1) {
            memcpy(at + 1, program->pattern.data, len - 1);
        }
    }
    nadb_redis_out_end(out);
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
