/* This file tests every command of the table by its replies, byte for byte. */
#include <stdio.h>

#include "src/base/glob.h"
#include "src/server/cmd_table.h"
#include "tests/support/shared_fake.h"
#include "tests/support/test.h"
#include "tests/unit/server/cmd_fixture.h"

NADB_TEST_SUITE(commands);

/* `before` is run first, its replies dropped. In `reply` '/' is CR LF; one that starts with '~' is
 * a pattern. */
struct command_case {
    const char *before, *line, *reply;
};

#define NOT_INTEGER "-ERR value is not an integer or out of range/"
#define SYNTAX      "-ERR syntax error/"
#define NIL         "$-1/"

static const struct command_case string_cases[] = {
    {"", "GET a", NIL},
    {"SET a b", "GET a", "$1/b/"},
    {"", "SET a b", "+OK/"},
    {"SET a b TIMES 1699999000000 1699999500000 1699999900000 TAGS t", "META a",
        "~*created/:1699999000000/$7/updated/:1699999500000/$8/accessed/:1699999900000/*"},
    {"SET a b\nSET a c XX TIMES 1 2 3", "GET a", "$1/c/"},
    {"", "SET a b TIMES 1 2", SYNTAX},
    {"", "SET a b TIMES 1 2 x", NOT_INTEGER},
    {"", "SET a b TIMES 1 2 4398046511104",
        "-ERR TIMES are Unix times in milliseconds, below 2^42/"},
    {"SET a b", "SET a c NX", NIL},
    {"", "SET a c XX", NIL},
    {"SET a b", "SET a c XX", "+OK/"},
    {"SET a b", "SET a c GET", "$1/b/"},
    {"", "SET a c GET", NIL},
    {"SET a b", "SET a c NX GET", "$1/b/"},
    {"SET a b", "SET a c IFEQ b", "+OK/"},
    {"SET a b", "SET a c IFEQ x", NIL},
    {"", "SET a c IFEQ x", NIL},
    {"SET a b", "SET a c IFEQ x GET", "$1/b/"},
    {"", "SET a b NX XX", SYNTAX},
    {"", "SET a b NX IFEQ c", SYNTAX},
    {"", "SET a b NX NX EX 10 EX 20", "+OK/"},
    {"", "SET a b EX 10 PX 20", SYNTAX},
    {"", "SET a b EX 0", "-ERR invalid expire time in 'set' command/"},
    {"", "SET a b EX x", NOT_INTEGER},
    {"", "SET a b EX x FOO", SYNTAX},
    {"", "SET a b EX 9223372036854775807", "-ERR invalid expire time in 'set' command/"},
    {"", "SET a b PX 9223372036854775807", "-ERR invalid expire time in 'set' command/"},
    {"", "SET a b EX", SYNTAX},
    {"", "SET a b EX 1 KEEPTTL", SYNTAX},
    {"", "SET a b KEEPTTL PX 1", SYNTAX},
    {"SET a b EX 100", "TTL a", ":100/"},
    {"SET a b PX 100500", "PTTL a", ":100500/"},
    {"SET a b EXAT 1700000007", "TTL a", ":7/"},
    {"SET a b PXAT 1700000007001", "PTTL a", ":7001/"},
    {"SET a b EX 100\nSET a c KEEPTTL", "TTL a", ":100/"},
    {"SET a b EX 100\nSET a c", "TTL a", ":-1/"},
    {"SET a b", "SET a c EXAT 1", "+OK/"},
    {"SET a b\nSET a c EXAT 1", "EXISTS a", ":0/"},
    {"", "SET a b IFEPOCH", SYNTAX},
    {"", "SET a b IFEPOCH x", NOT_INTEGER},
    {"", "SET a b IFEPOCH -1", "-ERR value is out of range, must be positive/"},
    {"", "SET a b GRACE 5", "-ERR GRACE is not available yet/"},
    {"", "SET a b TAGS", "+OK/"},
    {"", "SET a b TAGS x KEEPTAGS EX 1", "+OK/"}, /* all of them tags */
    {"", "SET a b KEEPTAGS TAGS x", SYNTAX},
    {"", "SET a b TAGS x \"\"", "-BADTAG empty/"},
    {"SET a b TAGS x \"\"", "EXISTS a", ":0/"},
    {"", "SETNX a b", ":1/"},
    {"SET a b", "SETNX a b", ":0/"},
    {"", "SETEX a 10 b", "+OK/"},
    {"", "SETEX a 0 b", "-ERR invalid expire time in 'setex' command/"},
    {"", "SETEX a x b", NOT_INTEGER},
    {"", "SETEX a 10 b FOO", SYNTAX},
    {"SETEX a 10 b TAGS x", "TTL a", ":10/"},
    {"", "PSETEX a 10 b", "+OK/"},
    {"", "PSETEX a -1 b", "-ERR invalid expire time in 'psetex' command/"},
    {"PSETEX a 12345 b", "PTTL a", ":12345/"},
    {"SET a b EX 10", "GETSET a c", "$1/b/"},
    {"SET a b EX 10\nGETSET a c", "TTL a", ":-1/"},
    {"", "GETSET a c", NIL},
    {"SET a b", "GETDEL a", "$1/b/"},
    {"SET a b\nGETDEL a", "GETDEL a", NIL},
    {"SET a b", "GETEX a", "$1/b/"},
    {"SET a b\nGETEX a EX 10", "TTL a", ":10/"},
    {"SET a b EX 10\nGETEX a", "TTL a", ":10/"},
    {"SET a b EX 10\nGETEX a PERSIST", "TTL a", ":-1/"},
    {"SET a b\nGETEX a PXAT 1", "EXISTS a", ":0/"},
    {"SET a b", "GETEX a PXAT 1", "$1/b/"},
    {"", "GETEX a EX 10", NIL},
    {"", "GETEX a EX 0", NIL},
    {"SET a b", "GETEX a EX 0", "-ERR invalid expire time in 'getex' command/"},
    {"SET a b", "GETEX a EX 1 PERSIST", SYNTAX},
    {"MSET a 1 c 3", "MGET a b c a", "*4/$1/1/$-1/$1/3/$1/1/"},
    {"MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9", "MGET a b c d e f g h i a b c d e f g h i",
        "*18/$1/1/$1/2/$1/3/$1/4/$1/5/$1/6/$1/7/$1/8/$1/9/"
        "$1/1/$1/2/$1/3/$1/4/$1/5/$1/6/$1/7/$1/8/$1/9/"},
    {"", "MSET a 1 b 2", "+OK/"},
    {"", "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command/"},
    {"", "MSETNX a 1 b 2", ":1/"},
    {"SET b 1", "MSETNX a 1 b 2", ":0/"},
    {"SET b 1\nMSETNX a 1 b 2", "MGET a b", "*2/$-1/$1/1/"},
    {"", "MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command/"},
    {"SET a b", "DELEX a", ":1/"},
    {"", "DELEX a", ":0/"},
    {"SET a b", "DELEX a IFEQ b", ":1/"},
    {"SET a b", "DELEX a IFEQ c", ":0/"},
    {"SET a b\nDELEX a IFEQ c", "GET a", "$1/b/"},
    {"", "DELEX a IFEQ", SYNTAX},
    {"SET a ab", "APPEND a cd", ":4/"},
    {"SET a ab\nAPPEND a cd", "GET a", "$4/abcd/"},
    {"APPEND a \"\"", "GET a", "$0//"},
    {"SET a ab EX 10\nAPPEND a cd", "TTL a", ":10/"},
    {"SET a ab", "STRLEN a", ":2/"},
    {"", "STRLEN a", ":0/"},
    {"SET a hello", "GETRANGE a 0 -1", "$5/hello/"},
    {"SET a hello", "GETRANGE a -3 -2", "$2/ll/"},
    {"SET a hello", "GETRANGE a 3 100", "$2/lo/"},
    {"SET a hello", "GETRANGE a -1 -3", "$0//"},
    {"SET a hello", "GETRANGE a -100 0", "$1/h/"},
    {"SET a hello", "GETRANGE a -9223372036854775808 9223372036854775807", "$5/hello/"},
    {"", "GETRANGE a 0 -1", "$0//"},
    {"", "GETRANGE a x -1", NOT_INTEGER},
    {"SET a hello", "SUBSTR a 1 2", "$2/el/"},
    {"SET a hello", "SETRANGE a 1 EL", ":5/"},
    {"SET a hello\nSETRANGE a 4 ppy", "GET a", "$7/hellppy/"},
    {"", "SETRANGE a 0 \"\"", ":0/"},
    {"SETRANGE a 0 \"\"", "EXISTS a", ":0/"},
    {"", "SETRANGE a -1 x", "-ERR offset is out of range/"},
    {"", "SETRANGE a 536870912 x",
        "-ERR string exceeds maximum allowed size (proto-max-bulk-len)/"},
    {"", "SETRANGE a 9223372036854775807 x",
        "-ERR string exceeds maximum allowed size (proto-max-bulk-len)/"},
    {"", "INCR a", ":1/"},
    {"SET a 41", "INCR a", ":42/"},
    {"SET a 41 EX 10 TAGS t\nINCR a", "TTL a", ":10/"},
    {"SET a 01", "INCR a", NOT_INTEGER},
    {"SET a \" 1\"", "INCR a", NOT_INTEGER},
    {"SET a \"\"", "INCR a", NOT_INTEGER},
    {"SET a 9223372036854775807", "INCR a", "-ERR increment or decrement would overflow/"},
    {"SET a 9223372036854775807\nINCR a", "GET a", "$19/9223372036854775807/"},
    {"", "DECR a", ":-1/"},
    {"SET a -9223372036854775808", "DECR a", "-ERR increment or decrement would overflow/"},
    {"SET a 10", "INCRBY a -3", ":7/"},
    {"", "INCRBY a x", NOT_INTEGER},
    {"SET a 10", "DECRBY a 3", ":7/"},
    {"", "DECRBY a -9223372036854775808", "-ERR decrement would overflow/"},
    {"", "INCRBYFLOAT a 1.5", "$3/1.5/"},
    {"SET a 5.0e3", "INCRBYFLOAT a 200", "$4/5200/"},
    {"SET a 5.0e3\nINCRBYFLOAT a 200", "GET a", "$4/5200/"},
    {"", "INCRBYFLOAT a x", "-ERR value is not a valid float/"},
    {"SET a x", "INCRBYFLOAT a 1", "-ERR value is not a valid float/"},
    {"", "INCRBYFLOAT a inf", "-ERR increment would produce NaN or Infinity/"},
};

static const struct command_case key_cases[] = {
    {"MSET a 1 b 2", "DEL a b c", ":2/"},
    {"MSET a 1 b 2", "UNLINK a a b", ":2/"},
    {"SET a 1", "EXISTS a a b", ":2/"},
    {"SET a 1", "TOUCH a a b", ":2/"},
    {"SET a 1", "TYPE a", "+string/"},
    {"", "TYPE a", "+none/"},
    {"", "RANDOMKEY", NIL},
    {"SET a 1", "RANDOMKEY", "$1/a/"},
    {"", "RENAME a b", "-ERR no such key/"},
    {"SET a 1 EX 10\nSET b 2", "RENAME a b", "+OK/"},
    {"SET a 1 EX 10\nSET b 2\nRENAME a b", "TTL b", ":10/"},
    {"SET a 1 EX 10\nSET b 2\nRENAME a b", "MGET a b", "*2/$-1/$1/1/"},
    {"SET a 1", "RENAME a a", "+OK/"},
    {"SET a 1", "RENAMENX a b", ":1/"},
    {"MSET a 1 b 2", "RENAMENX a b", ":0/"},
    {"SET a 1", "RENAMENX a a", ":0/"},
    {"", "RENAMENX a b", "-ERR no such key/"},
    {"SET a 1", "COPY a b", ":1/"},
    {"MSET a 1 b 2", "COPY a b", ":0/"},
    {"MSET a 1 b 2", "COPY a b REPLACE", ":1/"},
    {"SET a 1 EX 10\nCOPY a b", "TTL b", ":10/"},
    {"SET a 1\nCOPY a b DB 3\nSELECT 3", "GET b", "$1/1/"},
    {"SET a 1", "COPY a a", "-ERR source and destination objects are the same/"},
    {"SET a 1", "COPY a a DB 1", ":1/"},
    {"", "COPY a b", ":0/"},
    {"", "COPY a b DB 16", "-ERR DB index is out of range/"},
    {"", "COPY a b DB x", NOT_INTEGER},
    {"", "COPY a b DB", SYNTAX},
    {"", "COPY a b FOO", SYNTAX},
    {"SET a 1", "MOVE a 1", ":1/"},
    {"SET a 1\nMOVE a 1", "GET a", NIL},
    {"SET a 1\nMOVE a 1\nSELECT 1", "GET a", "$1/1/"},
    {"SET a 1\nSELECT 1\nSET a 2\nSELECT 0", "MOVE a 1", ":0/"},
    {"", "MOVE a 0", "-ERR source and destination objects are the same/"},
    {"", "MOVE a 16", "-ERR DB index is out of range/"},
    {"", "MOVE a x", NOT_INTEGER},
    {"", "MOVE a 1", ":0/"},
    {"SET a 1", "SWAPDB 0 1", "+OK/"},
    {"SET a 1\nSWAPDB 0 1", "GET a", NIL},
    {"SET a 1\nSWAPDB 0 1\nSELECT 1", "GET a", "$1/1/"},
    {"", "SWAPDB x 1", "-ERR invalid first DB index/"},
    {"", "SWAPDB 1 x", "-ERR invalid second DB index/"},
    {"", "SWAPDB 0 16", "-ERR DB index is out of range/"},
    {"MSET a 1 b 2", "DBSIZE", ":2/"},
    {"SET a 1", "FLUSHDB", "+OK/"},
    {"SET a 1\nFLUSHDB ASYNC", "DBSIZE", ":0/"},
    {"", "FLUSHDB FOO", SYNTAX},
    {"SET a 1\nSELECT 1\nSET a 1", "FLUSHALL", "+OK/"},
    {"SET a 1\nSELECT 1\nFLUSHALL SYNC\nSELECT 0", "DBSIZE", ":0/"},
    {"", "FLUSHALL SYNC ASYNC", SYNTAX},
    {"SET a 1", "KEYS *", "*1/$1/a/"},
    {"MSET aa 1 ab 2 b 3", "KEYS b*", "*1/$1/b/"},
    {"", "KEYS *", "*0/"},
    {"", "SCAN 0", "*2/$1/0/*0/"},
    {"SET a 1", "SCAN 0", "*2/$1/0/*1/$1/a/"},
    {"SET a 1", "SCAN 0 MATCH b*", "*2/$1/0/*0/"},
    {"SET a 1", "SCAN 0 TYPE list", "*2/$1/0/*0/"},
    {"SET a 1", "SCAN 0 TYPE string COUNT 100 MATCH a", "*2/$1/0/*1/$1/a/"},
    {"", "SCAN x", "-ERR invalid cursor/"},
    {"", "SCAN 0 COUNT 0", SYNTAX},
    {"", "SCAN 0 COUNT x", NOT_INTEGER},
    {"", "SCAN 0 MATCH", SYNTAX},
    {"", "SCAN 0 FOO x", SYNTAX},
    {"", "META a", NIL},
    {"SET a hello PX 5000 TAGS red blue red", "META a",
        "~[*]20/$4/size/:5/$11/stored-size/:5/$8/encoding/$3/raw/$7/version/:*/$3/ttl/:5000/"
        "$6/expire/:1700000005000/$7/created/:1700000000000/$7/updated/:1700000000000/$8/accessed/"
        ":1700000000000/$4/tags/[*]2/$3/red/$4/blue/"},
    {"SET a hello TAGS red\nSET a bye KEEPTAGS", "META a",
        "~[*]20/*/$3/ttl/:-1/$6/expire/:-1/*[*]1/$3/red/"},
    {"SET a hello TAGS red\nSET a bye", "META a", "~[*]20/*/$4/tags/[*]0/"},
    {"SETEX a 10 b TAGS red", "META a", "~[*]20/*[*]1/$3/red/"},
    {"SET a 1 TAGS red\nINCR a\nAPPEND a 1\nEXPIRE a 10\nPERSIST a\nGETEX a EX 5", "META a",
        "~[*]20/*[*]1/$3/red/"},
    {"SET a 1 TAGS red\nRENAME a b", "META b", "~[*]20/*[*]1/$3/red/"},
    {"SET a 1 TAGS red\nCOPY a b", "META b", "~[*]20/*[*]1/$3/red/"},
    {"SET a 1 TAGS red\nGETSET a 2", "META a", "~[*]20/*[*]0/"},
};

static const struct command_case expire_cases[] = {
    {"SET a 1", "EXPIRE a 100", ":1/"},
    {"SET a 1\nEXPIRE a 100", "TTL a", ":100/"},
    {"", "EXPIRE a 100", ":0/"},
    {"SET a 1", "EXPIRE a -1", ":1/"},
    {"SET a 1\nEXPIRE a -1", "EXISTS a", ":0/"},
    {"SET a 1", "EXPIRE a x", NOT_INTEGER},
    {"SET a 1", "EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command/"},
    {"SET a 1", "EXPIRE a -9223372036854775808", "-ERR invalid expire time in 'expire' command/"},
    {"SET a 1 EX 10", "EXPIRE a 100 NX", ":0/"},
    {"SET a 1", "EXPIRE a 100 NX", ":1/"},
    {"SET a 1", "EXPIRE a 100 XX", ":0/"},
    {"SET a 1 EX 10", "EXPIRE a 100 XX", ":1/"},
    {"SET a 1", "EXPIRE a 100 GT", ":0/"},
    {"SET a 1 EX 10", "EXPIRE a 100 GT", ":1/"},
    {"SET a 1 EX 10", "EXPIRE a 10 GT", ":0/"},
    {"SET a 1", "EXPIRE a 100 LT", ":1/"},
    {"SET a 1 EX 10", "EXPIRE a 100 LT", ":0/"},
    {"SET a 1 EX 10", "EXPIRE a 5 XX LT", ":1/"},
    {"", "EXPIRE a 1 NX GT",
        "-ERR NX and XX, GT or LT options at the same time are not compatible/"},
    {"", "EXPIRE a 1 GT LT", "-ERR GT and LT options at the same time are not compatible/"},
    {"", "EXPIRE a 1 FOO", "-ERR Unsupported option FOO/"},
    {"SET a 1", "PEXPIRE a 1500", ":1/"},
    {"SET a 1\nPEXPIRE a 1500", "PTTL a", ":1500/"},
    {"SET a 1\nPEXPIRE a 1500", "TTL a", ":2/"},
    {"SET a 1", "EXPIREAT a 1700000010", ":1/"},
    {"SET a 1\nEXPIREAT a 1700000010", "TTL a", ":10/"},
    {"SET a 1", "PEXPIREAT a 1700000010001", ":1/"},
    {"SET a 1\nPEXPIREAT a 1700000010001", "PEXPIRETIME a", ":1700000010001/"},
    {"SET a 1\nPEXPIREAT a 1700000010001", "EXPIRETIME a", ":1700000010/"},
    {"", "EXPIRETIME a", ":-2/"},
    {"SET a 1", "EXPIRETIME a", ":-1/"},
    {"", "PEXPIRETIME a", ":-2/"},
    {"", "TTL a", ":-2/"},
    {"SET a 1", "TTL a", ":-1/"},
    {"", "PTTL a", ":-2/"},
    {"SET a 1 EX 10", "PERSIST a", ":1/"},
    {"SET a 1", "PERSIST a", ":0/"},
    {"", "PERSIST a", ":0/"},
};

static const struct command_case multi_cases[] = {
    {"", "MULTI", "+OK/"},
    {"MULTI", "MULTI", "-ERR MULTI calls can not be nested/"},
    {"MULTI", "SET a 1", "+QUEUED/"},
    {"MULTI\nSET a 1\nGET a", "EXEC", "*2/+OK/$1/1/"},
    {"MULTI", "EXEC", "*0/"},
    {"", "EXEC", "-ERR EXEC without MULTI/"},
    {"", "DISCARD", "-ERR DISCARD without MULTI/"},
    {"MULTI\nSET a 1", "DISCARD", "+OK/"},
    {"MULTI\nSET a 1\nDISCARD", "EXISTS a", ":0/"},
    {"MULTI\nFOO\nSET a 1", "EXEC",
        "-EXECABORT Transaction discarded because of previous errors./"},
    {"MULTI\nGET", "EXEC", "-EXECABORT Transaction discarded because of previous errors./"},
    {"MULTI\nFOO\nSET a 1\nEXEC", "EXISTS a", ":0/"},
    {"MULTI\nSET a x\nINCR a\nSET b 1", "EXEC", "*3/+OK/" NOT_INTEGER "+OK/"},
    {"MULTI", "EXEC x",
        "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' "
        "command/"},
    {"MULTI", "SAVE", "-ERR Command not allowed inside a transaction/"},
    {"MULTI\nSELECT 1\nSET a 1\nSELECT 0\nEXISTS a", "EXEC", "*4/+OK/+OK/+OK/:0/"},
    {"MULTI\nKEYS *\nDBSIZE", "EXEC", "*2/*0/:0/"},
    {"MULTI", "WATCH a", "-ERR WATCH inside MULTI is not allowed/"},
    {"", "WATCH a b", "+OK/"},
    {"WATCH a\nSET a 1\nMULTI\nPING", "EXEC", "*-1/"},
    {"WATCH a\nMULTI\nSET a 1", "EXEC", "*1/+OK/"},
    {"WATCH a\nSET a 1\nUNWATCH\nMULTI\nPING", "EXEC", "*1/+PONG/"},
    {"WATCH a\nSET a 1\nMULTI\nDISCARD\nMULTI\nPING", "EXEC", "*1/+PONG/"},
    {"SET a 1\nWATCH a\nFLUSHALL\nMULTI\nPING", "EXEC", "*-1/"},
    {"WATCH a\nSELECT 1\nSET a 1\nMULTI\nPING", "EXEC", "*1/+PONG/"},
    {"WATCH a", "UNWATCH", "+OK/"},
    {"", "UNWATCH", "+OK/"},
};

static const struct command_case connection_cases[] = {
    {"", "PING", "+PONG/"},
    {"", "PING hello", "$5/hello/"},
    {"", "PING a b", "-ERR wrong number of arguments for 'ping' command/"},
    {"", "ECHO \"a\\x00b\\r\"", "~$4/a*"},
    {"", "ECHO hi", "$2/hi/"},
    {"", "SELECT 3", "+OK/"},
    {"SET a 1\nSELECT 3", "GET a", NIL},
    {"", "SELECT 16", "-ERR DB index is out of range/"},
    {"", "SELECT -1", "-ERR DB index is out of range/"},
    {"", "SELECT x", NOT_INTEGER},
    {"", "QUIT", "+OK/"},
    {"", "RESET", "+RESET/"},
    {"SET a 1\nSELECT 3\nCLIENT SETNAME x\nMULTI\nRESET", "GET a", "$1/1/"},
    {"CLIENT SETNAME x\nRESET", "CLIENT GETNAME", NIL},
    {"", "AUTH x",
        "-ERR AUTH <password> called without any password configured for the default user. Are "
        "you sure your configuration is correct?/"},
    {"", "AUTH default x", "+OK/"},
    {"", "AUTH a x", "-WRONGPASS invalid username-password pair or user is disabled./"},
    {"", "AUTH a b c", SYNTAX},
    {"", "HELLO",
        "*14/$6/server/$5/nadbd/$7/version/$5/7.2.4/$5/proto/:2/$2/id/:1/$4/mode/$10/standalone/"
        "$4/role/$6/master/$7/modules/*0/"},
    {"", "HELLO 3",
        "%7/$6/server/$5/nadbd/$7/version/$5/7.2.4/$5/proto/:3/$2/id/:1/$4/mode/$10/standalone/"
        "$4/role/$6/master/$7/modules/*0/"},
    {"HELLO 3", "GET a", "_/"},
    {"HELLO 3\nHELLO 2", "GET a", NIL},
    {"", "HELLO 4", "-NOPROTO unsupported protocol version/"},
    {"", "HELLO x", "-ERR Protocol version is not an integer or out of range/"},
    {"", "HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'/"},
    {"", "HELLO 3 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'/"},
    {"", "HELLO 3 SETNAME \"a b\"",
        "-ERR Client names cannot contain spaces, newlines or special characters./"},
    {"HELLO 2 AUTH default x SETNAME n", "CLIENT GETNAME", "$1/n/"},
    {"", "CLIENT ID", ":1/"},
    {"", "CLIENT GETNAME", NIL},
    {"CLIENT SETNAME n", "CLIENT GETNAME", "$1/n/"},
    {"CLIENT SETNAME n\nCLIENT SETNAME \"\"", "CLIENT GETNAME", NIL},
    {"", "CLIENT SETNAME \"a b\"",
        "-ERR Client names cannot contain spaces, newlines or special characters./"},
    {"", "CLIENT SETINFO LIB-NAME redis-py", "+OK/"},
    {"", "CLIENT SETINFO LIB-VER 1.2", "+OK/"},
    {"", "CLIENT SETINFO LIB-VER \"1 2\"",
        "-ERR lib-ver cannot contain spaces, newlines or special characters./"},
    {"", "CLIENT SETINFO FOO 1", "-ERR Unrecognized option 'FOO'/"},
    {"CLIENT SETNAME n\nCLIENT SETINFO LIB-NAME lib\nMULTI\nRESET\nCLIENT SETNAME n", "CLIENT INFO",
        "~$*/id=1 addr= laddr= fd=0 name=n age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 "
        "qbuf=* cmd=client|info user=default redir=-1 resp=2 lib-name=lib lib-ver=\n/"},
    {"", "CLIENT LIST", "~$*/id=1 addr=*cmd=client|list user=default*\n/"},
    {"", "CLIENT LIST TYPE NORMAL", "~$*/id=1 *\n/"},
    {"", "CLIENT LIST TYPE PUBSUB", "$0//"},
    {"", "CLIENT LIST TYPE FOO", "-ERR Unknown client type 'FOO'/"},
    {"", "CLIENT LIST ID 7 1 1", "~$*/id=1 *\n/"},
    {"", "CLIENT LIST ID 7", "$0//"},
    {"", "CLIENT LIST ID x", "-ERR Invalid client ID/"},
    {"", "CLIENT LIST FOO", SYNTAX},
    {"", "CLIENT REPLY ON", "+OK/"},
    {"", "CLIENT REPLY OFF", ""},
    {"CLIENT REPLY OFF", "GET a", ""},
    {"CLIENT REPLY OFF", "FOO", ""},
    {"CLIENT REPLY OFF", "CLIENT REPLY ON", "+OK/"},
    {"", "CLIENT REPLY SKIP", ""},
    {"CLIENT REPLY SKIP", "PING", ""},
    {"CLIENT REPLY SKIP\nPING", "PING", "+PONG/"},
    {"CLIENT REPLY SKIP\nFOO", "PING", "+PONG/"},
    {"", "CLIENT REPLY FOO", SYNTAX},
    {"", "CLIENT HELP",
        "~[*]*/+CLIENT <subcommand> [[]<arg> [[]value] [[]opt] ...]. Subcommands are:/+GETNAME/+  "
        "  "
        "Returns the name of the connection./*/+HELP/+    Prints this help./"},
    {"", "CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP./"},
    {"", "CLIENT", "-ERR wrong number of arguments for 'client' command/"},
    {"", "NAMESPACE USE x", "+OK/"},
    {"SET a 1\nNAMESPACE USE x", "GET a", NIL},
    {"NAMESPACE USE x\nSET a 1\nNAMESPACE USE \"\"", "GET a", NIL},
    {"NAMESPACE USE x\nSET a 1\nSELECT 0\nNAMESPACE USE x", "GET a", "$1/1/"},
    {"NAMESPACE USE x\nSET a 1\nSELECT 1\nNAMESPACE USE x", "GET a", NIL},
    {"NAMESPACE USE a\nSET k 1\nNAMESPACE USE b\nSET k 1\nNAMESPACE USE c\nSET k 1\n"
     "NAMESPACE USE d\nSET k 1",
        "NAMESPACE USE e", "-ERR there are 4 namespaces already (namespaces-max)/"},
    {"", "NAMESPACE CURRENT", "$0//"},
    {"NAMESPACE USE x", "NAMESPACE CURRENT", "$1/x/"},
    {"", "NAMESPACE LIST", "*0/"},
    {"NAMESPACE USE x\nSET a 1", "NAMESPACE LIST", "*1/$1/x/"},
    {"NAMESPACE USE x\nSET a 1\nSELECT 1", "NAMESPACE LIST", "*0/"},
    {"NAMESPACE USE x\nMSET a 1 b 2", "NAMESPACE DROP x", ":2/"},
    {"NAMESPACE USE x\nMSET a 1 b 2\nNAMESPACE DROP x\nSET c 3", "KEYS *", "*1/$1/c/"},
    {"", "NAMESPACE DROP x", "-ERR no such namespace/"},
    {"", "NAMESPACE DROP \"\"", "-ERR a namespace's name has 1 to 255 bytes/"},
    {"", "NAMESPACE HELP", "~[*]11/+NAMESPACE <subcommand> *"},
};

static const struct command_case server_cases[] = {
    {"", "CONFIG GET maxmemory", "*2/$9/maxmemory/$1/0/"},
    {"", "CONFIG GET MAXMEMORY databases x maxmemory* DATABASES",
        "~[*]*/$9/databases/$2/16/$9/maxmemory/$1/0/$16/maxmemory-policy/$10/noeviction/*"},
    {"", "CONFIG GET nosuch", "*0/"},
    {"HELLO 3", "CONFIG GET appendonly", "%1/$10/appendonly/$2/no/"},
    {"", "CONFIG SET maxmemory 1mb", "+OK/"},
    {"CONFIG SET maxmemory 1mb timeout 5", "CONFIG GET maxmemory", "*2/$9/maxmemory/$7/1048576/"},
    {"", "CONFIG SET foo 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'/"},
    {"", "CONFIG SET timeout 1 foo", SYNTAX},
    {"CONFIG SET timeout 7 foo 1", "CONFIG GET timeout", "*2/$7/timeout/$1/0/"},
    {"GET a\nCONFIG RESETSTAT", "INFO stats", "~*total_commands_processed:1/*"},
    {"", "CONFIG RESETSTAT", "+OK/"},
    {"", "CONFIG REWRITE", "-ERR The server is running without a config file/"},
    {"", "CONFIG HELP", "~[*]11/+CONFIG <subcommand> *"},
    {"", "TIME", "*2/$10/1700000000/$1/0/"},
    {"", "FLUSH", "+OK/"},
    {"", "SAVE", "+OK/"},
    {"", "BGSAVE", "+Background saving started/"},
    {"", "BGSAVE SCHEDULE", "+Background saving started/"},
    {"", "BGSAVE FOO", SYNTAX},
    {"", "LASTSAVE", ":1700000000/"},
    {"", "SHUTDOWN FOO", SYNTAX},
    {"", "SHUTDOWN SAVE NOSAVE", SYNTAX},
    {"", "SHUTDOWN ABORT NOW", SYNTAX},
    {"", "SHUTDOWN ABORT", "-ERR No shutdown in progress./"},
    {"", "SHUTDOWN NOSAVE NOW FORCE", ""},
    {"", "INFO nosuch", "$0//"},
    {"", "INFO replication", "~$*/# Replication/role:master/connected_slaves:0/*"},
    {"MSET a 1 b 2\nEXPIRE a 10", "INFO keyspace",
        "~$*/# Keyspace/db0:keys=2,expires=1,avg_ttl=10000//"},
    {"FOO", "INFO errorstats", "~$*/# Errorstats/errorstat_ERR:count=1//"},
    {"GET a\nGET a\nGET", "INFO commandstats",
        "~$*/# Commandstats/cmdstat_get:calls=2,usec=0,usec_per_call=0.00,rejected_calls=1,"
        "failed_calls=0//"},
    {"INCRBY a x", "INFO commandstats", "~*cmdstat_incrby:calls=1,*,failed_calls=1//"},
    {"PING", "INFO latencystats", "~*latency_percentiles_usec_ping:p50=0.*,p99=0.*,p99.9=0.*"},
    {"", "COMPACT", "~[*]22/$15/segments_before/:0/*"},
    {"", "COMPACT FOO", SYNTAX},
    {"", "VERIFY", "-ERR nothing is kept on disk/"},
    {"", "VERIFY STATUS", "~*20/$7/running/:0/$13/segments_done/:0/*"},
    {"", "VERIFY STOP", "+OK/"},
    {"", "VERIFY NOW", SYNTAX},
    {"", "BACKUP dir FOO", SYNTAX},
    {"", "BACKUP \"\"", "-ERR a directory's name has 1 to 4095 bytes/"},
    {"", "BACKUP dir", "-ERR another backup is under way, or nothing is kept on disk/"},
    {"", "COMPACT NAMESPACE nosuch", "-ERR no such namespace/"},
    {"MULTI", "COMPACT", "-ERR Command not allowed inside a transaction/"},
    {"", "STATS", "~[*]40/$8/uptime_s/:0/*/$10/operations/[*]0/"},
    {"GET a", "STATS",
        "~[*]40/*/$6/misses/:1/*/$10/operations/[*]2/$3/get/[*]12/$5/count/:1/$6/avg_ms/$6/0.0000/"
        "$6/min_ms/$6/0.0000/$6/max_ms/$6/0.0000/$6/p95_ms/$6/0.000?/$6/p99_ms/$6/0.000?/"},
    {"HELLO 3\nGET a", "STATS", "~%20/*/$10/operations/%2/*/$6/avg_ms/,0.0000/*"},
    {"GET a", "STATS RESET", "+OK/"},
    {"GET a\nSTATS RESET", "STATS", "~[*]40/*/$6/misses/:0/*"},
    {"", "STATS FOO", SYNTAX},
    {"", "COMMAND COUNT", "~:[0-9][0-9]/"},
    {"", "COMMAND", "~[*][0-9]*/[*]10/$6/append/:3/*"},
    {"", "COMMAND INFO", "~[*][0-9]*/[*]10/$6/append/:3/*"},
    {"", "COMMAND INFO get nosuch",
        "*2/*10/$3/get/:2/*2/+readonly/+fast/:1/:1/:1/*3/+@read/+@string/+@fast/*0/*1/*6/"
        "$5/flags/*2/+RO/+access/$12/begin_search/*4/$4/type/$5/index/$4/spec/*2/$5/index/:1/"
        "$9/find_keys/*4/$4/type/$5/range/$4/spec/*6/$7/lastkey/:0/$7/keystep/:1/$5/limit/:0/*0/"
        "$-1/"},
    {"", "COMMAND INFO rename",
        "~[*]1/[*]10/$6/rename/:3/[*]1/+write/:1/:2/:1/*/$5/index/:1/*/$5/index/:2/*"},
    {"", "COMMAND INFO config|get", "~[*]1/[*]10/$10/config|get/:-3/[*]4/+admin/*"},
    {"", "COMMAND DOCS ping",
        "*2/$4/ping/*10/$7/summary/$29/Answers PONG, or the argument/$5/since/$5/1.0.0/$5/group/"
        "$10/connection/$10/complexity/$4/O(1)/$9/arguments/*1/*6/$4/name/$7/message/$4/type/"
        "$6/string/$5/flags/*1/+optional/"},
    {"", "COMMAND DOCS expire",
        "~*/$9/arguments/[*]3/[*]6/$4/name/$3/key/$4/type/$3/key/$14/key_spec_index/:0/"
        "[*]4/$4/name/$7/seconds/$4/type/$7/integer/[*]8/$4/name/$2/nx/$4/type/$5/oneof/$5/flags/"
        "[*]1/+optional/$9/arguments/[*]4/[*]6/$4/name/$2/nx/$4/type/$10/pure-token/$5/token/"
        "$2/NX/*"},
    {"", "COMMAND DOCS config",
        "~*/$11/subcommands/[*]10/$10/config|get/[*]10/$7/summary/*/+multiple/*"},
    {"", "COMMAND DOCS nosuch", "*0/"},
    {"", "COMMAND DOCS", "~[*]*/$6/append/[*]10/*"},
    {"", "COMMAND LIST", "~[*]*/$6/append/*/$10/config|get/*/$5/watch/"},
    {"", "COMMAND LIST FILTERBY MODULE x", "*0/"},
    {"", "COMMAND LIST FILTERBY ACLCAT transaction",
        "*5/$7/discard/$4/exec/$5/multi/$7/unwatch/$5/watch/"},
    {"", "COMMAND LIST FILTERBY ACLCAT x", "*0/"},
    {"", "COMMAND LIST FILTERBY PATTERN G?T", "*1/$3/get/"},
    {"", "COMMAND LIST FILTERBY FOO x", SYNTAX},
    {"", "COMMAND GETKEYS MSET a 1 b 2", "*2/$1/a/$1/b/"},
    {"", "COMMAND GETKEYS FOO", "-ERR Invalid command specified/"},
    {"", "COMMAND GETKEYS PING x", "-ERR The command has no key arguments/"},
    {"", "COMMAND GETKEYS GET a b", "-ERR Invalid number of arguments specified for command/"},
    {"", "COMMAND GETKEYSANDFLAGS RENAME a b",
        "*2/*2/$1/a/*3/+RW/+access/+delete/*2/$1/b/*2/+OW/+update/"},
    {"", "COMMAND GETKEYSANDFLAGS SET a b", "*1/*2/$1/a/*2/+OW/+update/"},
    {"", "COMMAND GETKEYSANDFLAGS SET a b GET", "*1/*2/$1/a/*3/+RW/+access/+update/"},
    {"", "COMMAND HELP", "~[*]*/+COMMAND <subcommand> */+(no subcommand)/*"},
    {"", "COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP./"},
    {"", "foo", "-ERR unknown command 'foo', with args beginning with: /"},
    {"", "foo a \"b\\r\\nc\" \"\\x00\" d",
        "-ERR unknown command 'foo', with args beginning with: 'a' 'b  c' ' ' 'd' /"},
};

/* Three keys: a x, b x y, c. */
#define TAGGED "SET a 1 TAGS x\nSET b 22 EX 100 TAGS x y\nSET c 333"

/* The epoch with which the fixture's store begins, and the two behind it. */
#define EPOCH_0 "1700000000000000"
#define EPOCH_1 "1700000000000001"
#define EPOCH_2 "1700000000000002"

static const struct command_case tag_cases[] = {
    {"", "TAGSET a x", ":0/"},
    {"SET a 1", "TAGSET a x", ":1/"},
    {"SET a 1\nTAGSET a x y x", "TAGGET a", "*2/$1/x/$1/y/"},
    {TAGGED "\nTAGSET a", "TAGGET a", "*0/"},
    {TAGGED "\nTAGSET a", "TAGCOUNT x y", "*2/:1/:1/"},
    {"SET a 1 EX 10\nTAGSET a x", "TTL a", ":10/"},
    {"", "TAGSET a \"\"", "-BADTAG empty/"},
    {"", "TAGADD a x", NIL},
    {TAGGED, "TAGADD a x y z z", ":2/"},
    {TAGGED "\nTAGADD a z y", "TAGGET a", "*3/$1/x/$1/z/$1/y/"},
    {TAGGED, "TAGADD c y", ":1/"},
    {TAGGED, "TAGADD a x", ":0/"},
    {"", "TAGREM a x", NIL},
    {TAGGED, "TAGREM b x z", ":1/"},
    {TAGGED "\nTAGREM b x y", "TAGGET b", "*0/"},
    {TAGGED "\nTAGREM b x y", "TTL b", ":100/"},
    {TAGGED, "TAGREM c x", ":0/"},
    {"", "TAGGET a", NIL},
    {"HELLO 3", "TAGGET a", "_/"},
    {"SET a 1 TAGS x\nHELLO 3", "TAGGET a", "~~1/$1/x/"},
    {TAGGED, "TAGGET c", "*0/"},
    {TAGGED, "TAGHAS b y z x", "*3/:1/:0/:1/"},
    {"", "TAGHAS b y", "*1/:0/"},
    {"", "TAGHAS b \"\"", "-BADTAG empty/"},
    {TAGGED, "TAGCOUNT x y z", "*3/:2/:1/:0/"},
    {TAGGED "\nDEL a\nRENAME b d", "TAGCOUNT x y", "*2/:1/:1/"},
    {TAGGED "\nCOPY b d\nSET a 2", "TAGCOUNT x y", "*2/:2/:2/"},
    {TAGGED "\nFLUSHDB", "TAGCOUNT x", "*1/:0/"},
    {TAGGED, "QUERYTAGS x y", "*1/$1/b/"},
    {TAGGED, "QUERYTAGS x", "*2/$1/a/$1/b/"},
    {TAGGED "\nHELLO 3", "QUERYTAGS x", "~~2/$1/a/$1/b/"},
    {TAGGED, "QUERYTAGS z", "*0/"},
    {"", "QUERYTAGS \"\"", "-BADTAG empty/"},
    {TAGGED, "QUERY ANY y z", "*1/$1/b/"},
    {TAGGED, "QUERY ALL x z", "*0/"},
    {TAGGED, "QUERY EXPR \"x & !y\"", "*1/$1/a/"},
    {TAGGED, "QUERY EXPR \"$1 & !$2\" x y", "*1/$1/a/"},
    {TAGGED, "QUERY COUNTONLY EXPR *", ":3/"},
    {TAGGED, "QUERY COUNTONLY EXPR !y", ":2/"},
    {TAGGED, "QUERY SORTBY KEY EXPR !y", "*2/$1/a/$1/c/"},
    {"", "QUERY COUNTONLY EXPR *", ":0/"},
    {"", "QUERY EXPR \"x & y |\"", "-BADEXPR at byte 7: tag expected/"},
    {"", "QUERY EXPR \"x y\"", "-BADEXPR at byte 2: operator expected/"},
    {"", "QUERY EXPR \"(x\"", "-BADEXPR at byte 2: unbalanced parenthesis/"},
    {"", "QUERY EXPR x y", "-BADEXPR 1 arguments, of which 0 are used/"},
    {"", "QUERY EXPR $2 x", "-BADEXPR at byte 0: no such argument/"},
    {"", "QUERY ANY", "-ERR wrong number of arguments for 'query' command/"},
    {"", "QUERY COUNTONLY ANY", SYNTAX},
    {"", "QUERY FOO ANY x", SYNTAX},
    {"", "QUERY LIMIT 1 ANY x", NOT_INTEGER},
    {"", "QUERY LIMIT 0 -1 ANY x", "-ERR value is out of range, must be positive/"},
    {"", "QUERY COUNTONLY WITHVALUES ANY x", SYNTAX},
    {"", "QUERY CURSOR 0 LIMIT 0 1 ANY x", SYNTAX},
    {"", "QUERY CURSOR x ANY x", "-ERR invalid cursor/"},
    {"", "QUERY CURSOR 3 ANY x", "-ERR invalid cursor/"},
    {"", "QUERY CURSOR 0 COUNT 0 ANY x", SYNTAX},
    {TAGGED, "QUERY MATCH b* ANY x", "*1/$1/b/"},
    {TAGGED, "QUERY MINSIZE 2 EXPR *", "~[*]2/*"},
    {TAGGED, "QUERY MINSIZE 2 MAXSIZE 2 COUNTONLY EXPR *", ":1/"},
    {TAGGED, "QUERY CREATED 0 1 COUNTONLY EXPR *", ":0/"},
    {TAGGED, "QUERY UPDATED 1700000000000 1700000000000 COUNTONLY EXPR *", ":3/"},
    {TAGGED, "QUERY ACCESSED 1 2", SYNTAX},
    {TAGGED, "QUERY SORTBY SIZE DESC EXPR *", "*3/$1/c/$1/b/$1/a/"},
    {TAGGED, "QUERY SORTBY SIZE LIMIT 1 1 EXPR *", "*1/$1/b/"},
    {TAGGED, "QUERY SORTBY KEY LIMIT 2 9 EXPR *", "*1/$1/c/"},
    {TAGGED, "QUERY SORTBY TTL LIMIT 0 1 EXPR *", "*1/$1/b/"},
    {TAGGED, "QUERY SORTBY FOO ANY x", SYNTAX},
    {TAGGED, "QUERY LIMIT 1 1 ANY x", "*1/$1/b/"},
    {TAGGED, "QUERY LIMIT 0 0 ANY x", "*0/"},
    {TAGGED, "QUERY WITHVALUES ALL x y", "*1/*2/$1/b/$2/22/"},
    {TAGGED, "QUERY WITHMETA ALL x y", "~[*]1/[*]2/$1/b/[*]20/*[*]2/$1/x/$1/y/"},
    {TAGGED, "QUERY WITHVALUES WITHMETA ALL x y", "~[*]1/[*]3/$1/b/$2/22/[*]20/*"},
    {TAGGED, "QUERY CURSOR 0 ANY x", "*2/$1/0/*2/$1/a/$1/b/"},
    {TAGGED, "QUERY CURSOR 0 COUNT 1 ANY x", "*2/$1/2/*1/$1/a/"},
    {TAGGED, "QUERY CURSOR 2 COUNT 9 ANY x", "*2/$1/0/*1/$1/b/"},
    {"CONFIG SET query-max-keys 1\n" TAGGED, "QUERY ANY x",
        "-TOOMANY 2 keys match; use LIMIT, CURSOR or COUNTONLY/"},
    {"CONFIG SET query-max-keys 1\n" TAGGED, "QUERY MATCH * ANY x",
        "-TOOMANY 2 keys match; use LIMIT, CURSOR or COUNTONLY/"},
    {"CONFIG SET query-max-keys 1\n" TAGGED, "QUERY LIMIT 0 5 ANY x", "*2/$1/a/$1/b/"},
    {TAGGED, "INVALIDATE ANY x", ":2/"},
    {TAGGED "\nINVALIDATE ANY x", "MGET a b c", "*3/$-1/$-1/$3/333/"},
    {TAGGED "\nINVALIDATE ANY x", "DBSIZE", ":1/"},
    {TAGGED, "INVALIDATE DRYRUN ALL x y", ":1/"},
    {TAGGED "\nINVALIDATE DRYRUN ANY x", "DBSIZE", ":3/"},
    {TAGGED "\nINVALIDATE DRYRUN ANY x", "EPOCH", ":" EPOCH_0 "/"},
    {TAGGED, "INVALIDATE MATCH a* ANY x", ":1/"},
    {TAGGED, "INVALIDATE MATCH \"\" ANY x", ":0/"},
    {TAGGED, "INVALIDATE EXPR !x", ":1/"},
    {TAGGED "\nINVALIDATE EXPR *", "DBSIZE", ":0/"},
    {"", "INVALIDATE ANY x", ":0/"},
    {"", "INVALIDATE SOFT ANY x", "-ERR SOFT is not available yet/"},
    {"", "INVALIDATE FOO ANY x", SYNTAX},
    {"", "INVALIDATE ANY \"\"", "-BADTAG empty/"},
    {TAGGED "\nMULTI\nINVALIDATE ANY x\nEXISTS a", "EXEC", "*2/:2/:0/"},
    {TAGGED "\nWATCH a\nINVALIDATE ANY x\nMULTI\nPING", "EXEC", "*-1/"},
    {"", "EPOCH", ":" EPOCH_0 "/"},
    {"INVALIDATE ANY x\nFLUSHDB", "EPOCH", ":" EPOCH_2 "/"},
    {"INVALIDATE ANY x", "SET a 1 IFEPOCH " EPOCH_0 " TAGS x", NIL},
    {"INVALIDATE ANY x", "SET a 1 IFEPOCH " EPOCH_0 " TAGS y", "+OK/"},
    {"INVALIDATE ANY x", "SET a 1 IFEPOCH " EPOCH_1 " TAGS x", "+OK/"},
    {"INVALIDATE EXPR !x", "SET a 1 IFEPOCH " EPOCH_0 " TAGS y", NIL},
    {"FLUSHDB", "SET a 1 IFEPOCH " EPOCH_0, NIL},
    {"SET a 1 TAGS x\nINVALIDATE ANY x\nSET a 2 TAGS x", "SET a 3 GET IFEPOCH " EPOCH_0 " KEEPTAGS",
        "$1/2/"},
    {"SET a 2 TAGS x\nINVALIDATE ALL x y\nSET a 2 TAGS x\nSET a 3 IFEPOCH " EPOCH_0 " KEEPTAGS",
        "GET a", "$1/2/"},
    {"", "SET a 1 IFEPOCH " EPOCH_1, NIL}, /* nobody was told that yet */
    {"", "SET a 1 IFEPOCH 1", NIL},        /* before the start: who knows */
    {"", "TAGTIME x", "*1/:0/"},
    {"INVALIDATE ANY x", "TAGTIME x y", "*2/:1700000000000/:0/"},
    {"FLUSHALL", "TAGTIME x", "*1/:1700000000000/"},
    {"", "TAGTIME \"\"", "-BADTAG empty/"},
    {TAGGED, "TAGSCAN 0 COUNT 100", "~[*]2/$1/0/[*]2/*"},
    {TAGGED, "TAGSCAN 0 MATCH y COUNT 100 WITHCOUNTS", "*2/$1/0/*2/$1/y/:1/"},
    {"", "TAGSCAN 0", "*2/$1/0/*0/"},
    {"", "TAGSCAN x", "-ERR invalid cursor/"},
    {"", "TAGSCAN 0 COUNT 0", SYNTAX},
    {"", "TAGSCAN 0 FOO", SYNTAX},
    {TAGGED, "TAGLIST SORTBY NAME", "*4/$1/x/:2/$1/y/:1/"},
    {TAGGED, "TAGLIST SORTBY COUNT LIMIT 1 1", "*2/$1/y/:1/"},
    {TAGGED "\nHELLO 3", "TAGLIST MATCH y", "%1/$1/y/:1/"},
    {"", "TAGLIST", "*0/"},
    {"", "TAGLIST SORTBY FOO", SYNTAX},
    {"CONFIG SET query-max-keys 1\n" TAGGED, "TAGLIST", "-TOOMANY 2 tags match; use TAGSCAN/"},
    {"", "FETCH a", "-ERR FETCH is not available yet/"},
    {"", "TAGLOG 0", "-ERR TAGLOG is not available yet/"},
};

static const struct command_case pubsub_cases[] = {
    {"", "SUBSCRIBE a", "*3/$9/subscribe/$1/a/:1/"},
    {"SUBSCRIBE a", "SUBSCRIBE a b", "*3/$9/subscribe/$1/a/:1/*3/$9/subscribe/$1/b/:2/"},
    {"HELLO 3", "SUBSCRIBE a", ">3/$9/subscribe/$1/a/:1/"},
    {"SUBSCRIBE a", "PSUBSCRIBE a*", "*3/$10/psubscribe/$2/a*/:2/"},
    {"", "UNSUBSCRIBE", "*3/$11/unsubscribe/$-1/:0/"},
    {"", "UNSUBSCRIBE x", "*3/$11/unsubscribe/$1/x/:0/"},
    {"SUBSCRIBE a b", "UNSUBSCRIBE", "*3/$11/unsubscribe/$1/a/:1/*3/$11/unsubscribe/$1/b/:0/"},
    {"PSUBSCRIBE a*", "PUNSUBSCRIBE a*", "*3/$12/punsubscribe/$2/a*/:0/"},
    {"", "PUNSUBSCRIBE", "*3/$12/punsubscribe/$-1/:0/"},
    {"SUBSCRIBE a", "GET b",
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
        "are allowed in this context/"},
    {"SUBSCRIBE a", "PING", "*2/$4/pong/$0//"},
    {"SUBSCRIBE a", "PING x", "*2/$4/pong/$1/x/"},
    {"SUBSCRIBE a\nRESET", "PING", "+PONG/"},
    {"SUBSCRIBE a\nUNSUBSCRIBE", "PING", "+PONG/"},
    {"HELLO 3\nSUBSCRIBE a", "PING", "+PONG/"},
    {"HELLO 3\nSUBSCRIBE a", "PUBLISH a hello", ":1/>3/$7/message/$1/a/$5/hello/"},
    {"HELLO 3\nPSUBSCRIBE a*", "PUBLISH ab hi", ":1/>4/$8/pmessage/$2/a*/$2/ab/$2/hi/"},
    {"HELLO 3\nSUBSCRIBE a\nPSUBSCRIBE a b", "PUBLISH a x",
        ":2/>3/$7/message/$1/a/$1/x/>4/$8/pmessage/$1/a/$1/a/$1/x/"},
    {"", "PUBLISH a hello", ":0/"},
    {"HELLO 3\nSUBSCRIBE __tag@0__:x\nSET a 1 TAGS x", "INVALIDATE ANY x x",
        ":1/>3/$7/message/$11/__tag@0__:x/$21/" EPOCH_1 " hard/"},
    {"HELLO 3\nSUBSCRIBE __tag@0__:x", "INVALIDATE DRYRUN ANY x", ":0/"},
    {"HELLO 3\nSUBSCRIBE b a", "PUBSUB CHANNELS a*", "*1/$1/a/"},
    {"", "PUBSUB CHANNELS", "*0/"},
    {"HELLO 3\nSUBSCRIBE a\nPSUBSCRIBE *", "PUBSUB NUMSUB a b", "*4/$1/a/:1/$1/b/:0/"},
    {"", "PUBSUB NUMSUB", "*0/"},
    {"HELLO 3\nPSUBSCRIBE a b a", "PUBSUB NUMPAT", ":2/"},
    {"", "PUBSUB HELP", "~[*]*"},
    {"HELLO 3\nSUBSCRIBE a\nPSUBSCRIBE b*", "CLIENT INFO", "~*flags=P *sub=1 psub=1 *"},
    {"HELLO 3\nSUBSCRIBE a", "CLIENT LIST TYPE NORMAL", "=4/txt:/"},
    {"HELLO 3\nSUBSCRIBE a", "CLIENT LIST TYPE PUBSUB", "~=*id=1 *"},
    {"CLIENT REPLY OFF", "SUBSCRIBE a", "*3/$9/subscribe/$1/a/:1/"},
};

static const struct {
    const struct command_case *cases;
    size_t count;
} case_tables[] = {
    {string_cases, NADB_ARRAY_LEN(string_cases)},
    {key_cases, NADB_ARRAY_LEN(key_cases)},
    {expire_cases, NADB_ARRAY_LEN(expire_cases)},
    {multi_cases, NADB_ARRAY_LEN(multi_cases)},
    {connection_cases, NADB_ARRAY_LEN(connection_cases)},
    {server_cases, NADB_ARRAY_LEN(server_cases)},
    {tag_cases, NADB_ARRAY_LEN(tag_cases)},
    {pubsub_cases, NADB_ARRAY_LEN(pubsub_cases)},
};

typedef void start_fn(struct cmd_fixture *fixture);

static void run_case(
    const struct command_case *one, struct cmd_fixture *fixture, const char *expected)
{
    if (one->before[0] != '\0') {
        (void)cmd_fixture_run(fixture, one->before);
    }
    const char *reply = cmd_fixture_run(fixture, one->line);
    bool is_right = expected[0] == '~'
                        ? nadb_glob_match(nadb_slice_cstr(expected + 1), nadb_slice_cstr(reply))
                        : strcmp(expected, reply) == 0;
    cr_expect(is_right, "'%s' after '%s':\n  expected %s\n  got      %s", one->line, one->before,
        expected, reply);
}

static void run_cases(const struct command_case *cases, size_t count)
{
    static struct cmd_fixture fixture;
    for (size_t i = 0; i < count; i++) {
        cmd_fixture_init(&fixture);
        run_case(&cases[i], &fixture, cases[i].reply);
        cmd_fixture_fini(&fixture);
    }
}

Test(commands, string_commands_answer_as_redis_does)
{
    run_cases(string_cases, NADB_ARRAY_LEN(string_cases));
}

Test(commands, key_commands_answer_as_redis_does)
{
    run_cases(key_cases, NADB_ARRAY_LEN(key_cases));
}

Test(commands, expiry_commands_answer_as_redis_does)
{
    run_cases(expire_cases, NADB_ARRAY_LEN(expire_cases));
}

Test(commands, transactions_answer_as_redis_does)
{
    run_cases(multi_cases, NADB_ARRAY_LEN(multi_cases));
}

Test(commands, connection_commands_answer_as_redis_does)
{
    run_cases(connection_cases, NADB_ARRAY_LEN(connection_cases));
}

Test(commands, server_commands_answer_as_redis_does)
{
    run_cases(server_cases, NADB_ARRAY_LEN(server_cases));
}

Test(commands, pubsub_commands_answer_as_redis_does)
{
    run_cases(pubsub_cases, NADB_ARRAY_LEN(pubsub_cases));
}

Test(commands, tag_commands_answer_as_documented)
{
    run_cases(tag_cases, NADB_ARRAY_LEN(tag_cases));
}

/* ---- on a shared backend ---- */

/* What cannot be the same where an engine is the authority: two databases cannot be exchanged in
 * one step, a whole keyspace cannot be changed together with keys; and cursors, which are
 * opaque. */
static const struct command_case shared_differences[] = {
    {"SET a 1", "SWAPDB 0 1", "-ERR SWAPDB is not possible with a shared backend/"},
    {"SET a 1\nSWAPDB 0 1", "GET a", "$1/1/"},
    {"SET a 1\nSWAPDB 0 1\nSELECT 1", "GET a", NIL},
    {TAGGED "\nMULTI\nINVALIDATE ANY x\nEXISTS a", "EXEC",
        "*2/-CROSSSLOT Keys in request don't hash to the same slot/:1/"},
    {TAGGED, "QUERY CURSOR 0 COUNT 1 ANY x", "~[*]2/$*/[*]1/$1/[ab]/"},
    {TAGGED, "QUERY CURSOR 2 COUNT 9 ANY x", "*2/$1/0/*2/$1/a/$1/b/"},
};

static const char *expected_on_shared(const struct command_case *one)
{
    for (size_t i = 0; i < NADB_ARRAY_LEN(shared_differences); i++) {
        const struct command_case *other = &shared_differences[i];
        if (strcmp(other->line, one->line) == 0 && strcmp(other->before, one->before) == 0) {
            return other->reply;
        }
    }
    return one->reply;
}

Test(commands, all_commands_answer_the_same_on_a_shared_backend)
{
    static struct cmd_fixture fixture;
    static struct nadb_shared_engine engine;
    for (size_t table = 0; table < NADB_ARRAY_LEN(case_tables); table++) {
        for (size_t i = 0; i < case_tables[table].count; i++) {
            const struct command_case *one = &case_tables[table].cases[i];
            nadb_fake_clock_init(&fixture.clock);
            nadb_shared_engine_init(&engine, &fixture.clock.clock);
            cmd_fixture_init_on(&fixture, &nadb_shared_fake_ops, nadb_shared_fake_new(&engine),
                NADB_DURABILITY_INTERVAL);
            cmd_fixture_load(&fixture);
            run_case(one, &fixture, expected_on_shared(one));
            cmd_fixture_fini(&fixture);
            nadb_shared_engine_fini(&engine);
        }
    }
}

/* ---- the table as a whole ---- */

/* Is there a case that runs the row? */
static bool has_case(const struct nadb_cmd *cmd)
{
    char words[64];
    size_t len = strlen(cmd->name);
    cr_assert_lt(len, sizeof(words));
    for (size_t i = 0; i <= len; i++) {
        words[i] = cmd->name[i] == '|' ? ' ' : cmd->name[i];
    }
    for (size_t table = 0; table < NADB_ARRAY_LEN(case_tables); table++) {
        for (size_t i = 0; i < case_tables[table].count; i++) {
            const char *line = case_tables[table].cases[i].line;
            struct nadb_slice start = nadb_slice_of(line, strnlen(line, len));
            bool is_whole = strlen(line) >= len && (line[len] == ' ' || line[len] == '\0');
            if (is_whole && nadb_slice_eq_nocase(start, nadb_slice_of(words, len))) {
                return true;
            }
        }
    }
    return false;
}

Test(commands, every_row_of_the_table_has_a_case)
{
    for (size_t i = 0; i < nadb_cmd_count(); i++) {
        cr_expect(has_case(nadb_cmd_at(i)), "%s is not tested", nadb_cmd_at(i)->name);
    }
}

Test(commands, rows_are_sorted_by_name)
{
    for (size_t i = 1; i < nadb_cmd_count(); i++) {
        const struct nadb_cmd *cmd = nadb_cmd_at(i);
        cr_expect_lt(strcmp(nadb_cmd_at(i - 1)->name, cmd->name), 0, "%s", cmd->name);
        cr_expect_eq(nadb_cmd_find_full(nadb_slice_cstr(cmd->name)), cmd);
    }
}

/* The row's words, then "x" until there are `argc`. */
static size_t build_call(const struct nadb_cmd *cmd, size_t argc, struct nadb_slice *argv)
{
    size_t count = 0;
    const char *bar = strchr(cmd->name, '|');
    if (bar != NULL) {
        argv[count++] = nadb_slice_of(cmd->name, (size_t)(bar - cmd->name));
        argv[count++] = nadb_slice_cstr(bar + 1);
    } else {
        argv[count++] = nadb_slice_cstr(cmd->name);
    }
    while (count < argc) {
        argv[count++] = NADB_SLICE("x");
    }
    return count;
}

/* An EXEC that is refused says so in words of its own. */
static const char *error_start(const struct nadb_cmd *cmd)
{
    bool is_exec = cmd == nadb_cmd_at(NADB_ROW_EXEC);
    return is_exec ? "-EXECABORT Transaction discarded because of: " : "-ERR ";
}

static void expect_arity_error(const struct nadb_cmd *cmd, size_t argc)
{
    static struct cmd_fixture fixture;
    struct nadb_slice argv[16];
    char expected[128];
    (void)snprintf(expected, sizeof(expected), "%swrong number of arguments for '%s' command/",
        error_start(cmd), cmd->name);
    cmd_fixture_init(&fixture);
    size_t count = build_call(cmd, argc, argv);
    if (count == argc) {
        const char *reply = cmd_fixture_run_args(&fixture, argv, argc);
        cr_expect_str_eq(reply, expected, "%s with %zu arguments: %s", cmd->name, argc, reply);
    }
    cmd_fixture_fini(&fixture);
}

Test(commands, a_wrong_number_of_arguments_gives_exactly_one_error)
{
    for (size_t i = 0; i < nadb_cmd_count(); i++) {
        const struct nadb_cmd *cmd = nadb_cmd_at(i);
        if (cmd->arity >= 0) {
            expect_arity_error(cmd, (size_t)cmd->arity + 1);
        }
        size_t least = (size_t)(cmd->arity < 0 ? -cmd->arity : cmd->arity);
        if (least > 1) {
            expect_arity_error(cmd, least - 1);
        }
    }
}

Test(commands, every_command_gives_one_reply_before_authentication)
{
    static struct cmd_fixture fixture;
    struct nadb_slice argv[16];
    for (size_t i = 0; i < nadb_cmd_count(); i++) {
        const struct nadb_cmd *cmd = nadb_cmd_at(i);
        if (cmd->handler == NULL || (cmd->flags & NADB_CMD_NOAUTH) ||
            cmd == nadb_cmd_at(NADB_ROW_EXEC)) {
            continue;
        }
        cmd_fixture_init(&fixture);
        (void)cmd_fixture_run(&fixture, "CONFIG SET requirepass secret\nRESET");
        size_t argc = build_call(cmd, (size_t)(cmd->arity < 0 ? -cmd->arity : cmd->arity), argv);
        cr_expect_str_eq(cmd_fixture_run_args(&fixture, argv, argc),
            "-NOAUTH Authentication required./", "%s", cmd->name);
        cmd_fixture_fini(&fixture);
    }
}
