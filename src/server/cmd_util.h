/* What the command handlers share: words, numbers and deadlines from arguments, tags, errors.
 * Thread: loop. */
#ifndef NADB_SERVER_CMD_UTIL_H
#define NADB_SERVER_CMD_UTIL_H

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/server/client.h"
#include "src/server/cmd.h"
#include "src/server/server.h"
#include "src/store/attempt.h"
#include "src/store/tags.h"

/* The Redis whose behaviour nadbd follows: clients choose features by it. */
#define NADB_REDIS_VERSION "7.2.4"

#define NADB_CMD_NAME_MAX 64u
#define NADB_CMD_SLICE_US 2000u /* how long a handler works before it yields */

/* Deadlines are kept in 48 bits; later ones are refused. */
#define NADB_EXPIRE_MS_MAX (((uint64_t)1 << 48) - 1)

/* How much of `bytes` an error may repeat, for `%.*s`. */
static inline int nadb_echo_len(struct nadb_slice bytes)
{
    return (int)(bytes.len < NADB_RESP_ECHO_MAX ? bytes.len : NADB_RESP_ECHO_MAX);
}

/* The name in capitals, NUL-terminated, without the container: "CONFIG", "GET". */
void nadb_cmd_upper_name(const struct nadb_cmd *cmd, char out[NADB_CMD_NAME_MAX]);

/* ---- replies ---- */

/* Each writes one error and returns NADB_CMD_DONE, so that `return nadb_reply_...` reads well. */
enum nadb_cmd_status nadb_reply_error(struct nadb_call *call, const char *format, ...)
    NADB_PRINTF(2, 3);
enum nadb_cmd_status nadb_reply_syntax_error(struct nadb_call *call);
enum nadb_cmd_status nadb_reply_arity_error(struct nadb_call *call);
enum nadb_cmd_status nadb_reply_not_integer(struct nadb_call *call);

/* Drops what the call wrote since `mark` (a length of the output) and answers `err` instead: for
 * handlers that must write a borrowed value before they change it. */
enum nadb_cmd_status nadb_reply_failure(struct nadb_call *call, size_t mark, enum nadb_err err);

static inline enum nadb_cmd_status nadb_reply_integer(struct nadb_call *call, int64_t value)
{
    nadb_resp_integer(call->out, value);
    return NADB_CMD_DONE;
}

static inline enum nadb_cmd_status nadb_reply_ok(struct nadb_call *call)
{
    nadb_resp_ok(call->out);
    return NADB_CMD_DONE;
}

static inline enum nadb_cmd_status nadb_reply_null(struct nadb_call *call)
{
    nadb_resp_null(call->out);
    return NADB_CMD_DONE;
}

/* A map's or a list's name: a bulk string. */
void nadb_reply_field_u64(struct nadb_call *call, const char *name, uint64_t value);
void nadb_reply_field_text(struct nadb_call *call, const char *name, const char *value);

/* The value of a record as a bulk string; a long one is sent from where it lies. */
void nadb_reply_value(struct nadb_call *call, const struct nadb_rec *rec);

/* The tags of a record, packed, as a set. */
void nadb_reply_tags(struct nadb_call *call, struct nadb_slice packed);

/* What META shows of a record, as a map. */
void nadb_reply_meta(struct nadb_call *call, const struct nadb_rec *rec);

/* When META says that the record was last accessed, Unix ms. */
uint64_t nadb_rec_accessed_ms(const struct nadb_rec *rec, uint64_t now_ms);

/* Appends what was written apart from the client's output, which it becomes when there is much of
 * it and nothing else waits. `part` is empty afterwards. */
void nadb_reply_splice(struct nadb_call *call, struct nadb_resp_writer *part);

/* ---- work in slices ---- */

/* The work that a call left when it returned NADB_CMD_AGAIN, NULL when it is the first slice; it is
 * the caller's again. */
void *nadb_progress_take(struct nadb_call *call);

/* Leaves `work`, freed by `free_work` if the client goes, and returns NADB_CMD_AGAIN. `bytes` is
 * what it holds. */
enum nadb_cmd_status nadb_progress_leave(
    struct nadb_call *call, void *work, void (*free_work)(void *work), size_t bytes);

/* For what the store does in the background under a number: the one that an earlier call of the
 * command waits for; 0: this is the first call. */
uint64_t nadb_awaited(struct nadb_call *call);

/* Waits for `number`, which is not 0: returns NADB_CMD_WAIT. */
enum nadb_cmd_status nadb_await(struct nadb_call *call, uint64_t number);

/* ---- arguments ---- */

/* Is it this word, ASCII case ignored? */
static inline bool nadb_arg_is(struct nadb_slice arg, const char *word)
{
    return nadb_slice_eq_nocase(arg, nadb_slice_cstr(word));
}

/* Argument `index` as integer; false: the error is written. */
NADB_MUST_CHECK bool nadb_arg_i64(struct nadb_call *call, size_t index, int64_t *ret);

/* The key at argument `index`; cheap for the row's first. */
struct nadb_key nadb_arg_key(const struct nadb_call *call, size_t index);

/* Argument `index` as number of a database; false: the error is written. */
NADB_MUST_CHECK bool nadb_arg_db(struct nadb_call *call, size_t index, uint64_t *ret_db);

struct nadb_expire_unit {
    bool is_seconds;
    bool is_absolute; /* Unix time, not a time to live */
};

/* A time to live or a point in time as Unix ms. False: "invalid expire time" or "not an integer"
 * is written. With `is_signed`, what is not in the future is accepted, and given as 1 when it lies
 * before 1970 or at it; otherwise numbers below 1 are refused. */
NADB_MUST_CHECK bool nadb_arg_expire(struct nadb_call *call, size_t index,
    struct nadb_expire_unit unit, bool is_signed, uint64_t *ret_expire_ms);

/* EX, PX, EXAT or PXAT? */
bool nadb_arg_expire_unit(struct nadb_slice word, struct nadb_expire_unit *ret_unit);

/* Packs argv[first..] as a record's tags, without duplicates, in the order given; `tags` is
 * initialised here and finished by the caller in any case. False: the error is written. */
NADB_MUST_CHECK bool nadb_arg_tags(struct nadb_call *call, size_t first, struct nadb_buf *tags);

/* The number a cursor argument is; false: the error is written. */
NADB_MUST_CHECK bool nadb_arg_cursor(struct nadb_call *call, size_t index, uint64_t *ret);

/* Argument `index` as a number that is not negative; false: the error is written. */
NADB_MUST_CHECK bool nadb_arg_count(struct nadb_call *call, size_t index, uint64_t *ret);

/* A pattern for keys or tags, data NULL for `*`: matching costs its length times the name's, for
 * every name. False: too long, and the error is written. */
NADB_MUST_CHECK bool nadb_arg_pattern(
    struct nadb_call *call, size_t index, struct nadb_slice *ret_pattern);

/* Reads what a query selects, from the word ANY, ALL or EXPR at argument `index` to the last one.
 * `selector` is initialised here and finished by the caller in any case; its tags are the call's
 * arguments. False: the error is written. */
NADB_MUST_CHECK bool nadb_arg_selector(
    struct nadb_call *call, size_t index, struct nadb_selector *selector);

/* Is argument `index` a word that a selector begins with? */
bool nadb_arg_begins_selector(const struct nadb_call *call, size_t index);

/* Answers with a detailed error. */
enum nadb_cmd_status nadb_reply_err(struct nadb_call *call, const struct nadb_error *error);

/* max-tags-per-key is passed. */
enum nadb_cmd_status nadb_reply_too_many_tags(struct nadb_call *call);

/* ---- text ---- */

/* Sets a client's name and the like; empty text clears it. False: the error is written, which
 * calls the field `what`. */
NADB_MUST_CHECK bool nadb_client_set_text(
    struct nadb_call *call, char **field, struct nadb_slice text, const char *what);

/* Appends printf-style text. What does not fit (memory, cap_max) is dropped: the caller looks at
 * the buffer it capped itself. */
void nadb_text_add(struct nadb_buf *text, const char *format, ...) NADB_PRINTF(2, 3);

#endif
