/* Requests from bytes: RESP arrays of bulk strings, and inline commands.
 *
 * Pure functions of bytes. Commands come in groups, so that the caller can warm its caches for all
 * of them before it runs the first. Arguments are slices into the input: nothing is copied.
 *
 * A command that is not complete yet leaves what is known of it in the reader, so that bytes that
 * arrive one by one cost no more than all at once: time is linear in the bytes received, whatever
 * their split. Memory grows with data received, never with a length announced.
 *
 * Thread: the owner's. */
#ifndef NADB_PROTOCOL_RESP_READER_H
#define NADB_PROTOCOL_RESP_READER_H

#include <stdint.h>

#include "src/base/compiler.h"
#include "src/base/slice.h"

#define NADB_RESP_GROUP_MAX      32u      /* commands */
#define NADB_RESP_GROUP_ARGS_MAX 1024u    /* a group ends once it has this many arguments */
#define NADB_RESP_INLINE_MAX     65536u   /* bytes of an inline command or a length line */
#define NADB_RESP_ARGS_MAX       1048576u /* arguments of one command */
#define NADB_RESP_ERROR_MAX      160u

struct nadb_resp_limits {
    size_t bulk_len_max;     /* proto-max-bulk-len */
    size_t args_max;         /* at most NADB_RESP_ARGS_MAX */
    bool is_unauthenticated; /* words the errors of the two limits above as Redis does, and makes
                                groups of one command: it may be the AUTH that lifts the limits */
};

/* One complete command; argc >= 1. */
struct nadb_resp_cmd {
    struct nadb_slice *argv;
    size_t argc;
    size_t begin, end; /* offsets of its bytes in the input that was parsed */
};

struct nadb_resp_group {
    size_t count;
    struct nadb_resp_cmd cmds[NADB_RESP_GROUP_MAX];
    /* private */
    struct nadb_slice *args; /* of all commands, one behind the other */
    size_t args_count, args_cap;
};

enum nadb_resp_status {
    NADB_RESP_MORE,  /* all input is used up but for a part of a command, from ret_used on */
    NADB_RESP_READY, /* the group is full: call again for what follows */
    NADB_RESP_BAD,   /* protocol error after the commands of the group, in the command at ret_used;
                        `error` says which; nothing but reset and fini may follow */
};

struct nadb_resp_reader {
    /* read-only */
    char error[NADB_RESP_ERROR_MAX]; /* after NADB_RESP_BAD: "Protocol error: ...", no CR or LF */
    size_t want; /* after NADB_RESP_MORE: how long the input must at least be, from the partial
                    command's first byte on, before parsing can get any further (1 at least) */
    /* private: the partial command; offsets count from its first byte */
    unsigned state; /* what `item` is the first byte of */
    size_t item;
    size_t scan;     /* no end of line before this */
    size_t bulk_len; /* of the bulk string at `item` */
    size_t args_announced;
    size_t args_known;
    size_t args_cap;
    struct nadb_resp_arg *args;
};

void nadb_resp_reader_init(struct nadb_resp_reader *reader);
void nadb_resp_reader_fini(struct nadb_resp_reader *reader);

/* What the partial command's arguments take; 0 for the few that a reader may keep room for. */
size_t nadb_resp_reader_bytes(const struct nadb_resp_reader *reader);

/* Forgets the partial command. */
void nadb_resp_reader_reset(struct nadb_resp_reader *reader);

/* A group has room for the arguments of NADB_RESP_GROUP_MAX usual commands from the start: one for
 * each thread, not for each connection. */
void nadb_resp_group_init(struct nadb_resp_group *group);
void nadb_resp_group_fini(struct nadb_resp_group *group);

/* Empties the group and fills it with the next complete commands of input[0 .. len). The input
 * starts at a command's first byte: after NADB_RESP_MORE the next call's input starts with the
 * bytes from ret_used on (they may have moved in memory). Empty commands (`*0`, `*-1`, blank lines)
 * are skipped.
 *
 * Quotes and escapes of inline commands are resolved inside `input`, so the bytes of such a command
 * must not be parsed again. It is told by its first byte, which stays and is not '*'.
 *
 * The group's slices are valid until the input moves or the group is filled again. */
enum nadb_resp_status nadb_resp_reader_parse(struct nadb_resp_reader *reader,
    const struct nadb_resp_limits *limits, char *input, size_t len, struct nadb_resp_group *group,
    size_t *ret_used);

#endif
