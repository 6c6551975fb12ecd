"""The same commands to nadbd and to redis-server 7.0: every reply must be the same, to the byte.

A script is a list of commands; each is a string of words or a list of arguments. Scripts run on a
fresh connection to an empty server. Replies that differ by right (identities, random choice,
order of a hash table) have tests of their own elsewhere; a command that starts with '~' is sent
but its reply is only checked to be one whole reply.
"""

import unittest

import harness
from resp import split_words

BIG = "9223372036854775807"
SMALL = "-9223372036854775808"

SCRIPTS = {
    "get_and_set": """
        GET a|SET a 1|GET a|SET a|SET|GET|GET a b|SET a 2 NX|GET a|SET b 1 XX|SET b 1 NX|SET b 2 XX|GET b
        SET a 3 NX XX|SET a 3 FOO|SET a 3 EX|SET a 3 EX 0|SET a 3 EX -1|SET a 3 EX x|SET a 3 PX 0
        SET a 3 EX 10 PX 10|SET a 3 EX 10 KEEPTTL|SET a 3 KEEPTTL|SET a 3 EX 9223372036854775807
        SET a 3 PX 9223372036854775807|SET a 3 EXAT 9223372036854775807|SET a 3 EXAT -5|SET a 3 PXAT 0
        SET a 4 GET|SET new 4 GET|SET a 5 GET NX|SET a 5 XX GET|SET nokey 5 XX GET|GET nokey
        SET a 6 ex 100|TTL a|SET a 7|TTL a|SET a 8 px 100000 nx|SET t 1 EX 100|SET t 2 KEEPTTL|TTL t
        SET t 2 KEEPTTL EX 5|SET t 3 NX GET EX 5|set t 3 get keepttl|SET p 1 PXAT 1|GET p|EXISTS p
        SET p 1 EXAT 1 GET|TTL p|SET q 1 EX 1 EX 2|SET q 1 NX NX|SET q 1 GET GET""",
    "set_variants": """
        SETNX a 1|SETNX a 2|GET a|SETEX a 100 v|TTL a|SETEX a 0 v|SETEX a -1 v|SETEX a x v|SETEX a 100
        PSETEX a 100000 w|TTL a|PSETEX a 0 v|PSETEX a 9223372036854775807 v|SETEX a 9223372036854775807 v
        GETSET a n|GETSET new n|GET new|TTL a|GETSET a|GETDEL a|GETDEL a|GET a|GETDEL|SETNX a
        MSET a 1 b 2|MSET a|MSET|MSET a 1 b|MGET a b c|MGET|MSETNX a 1 z 2|GET z|MSETNX y 1 z 2|MGET y z|MSETNX a
        MSET a 1 a 2|GET a|MSETNX d 1 d 2|GET d""",
    "getex": """
        GETEX a|SET a v|GETEX a|GETEX a EX 100|TTL a|GETEX a PERSIST|TTL a|GETEX a PX 100000|TTL a
        GETEX a EX 0|GETEX a EX -1|GETEX a FOO|GETEX a EX|GETEX a EX 10 PERSIST
        GETEX a EXAT 9999999999|EXPIRETIME a|GETEX a PXAT 9999999999000|PEXPIRETIME a|GETEX a KEEPTTL
        GETEX a PXAT 1|GET a|EXISTS a|GETEX|GETEX a EX x|GETEX nokey EX 10|GETEX nokey EX x""",
    "append_and_ranges": """
        APPEND a x|APPEND a yz|GET a|STRLEN a|STRLEN nokey|APPEND a|GETRANGE a 0 -1|GETRANGE a 0 0
        GETRANGE a -2 -1|GETRANGE a 5 9|GETRANGE a -100 1|GETRANGE a 2 1|GETRANGE nokey 0 -1
        GETRANGE a x 1|GETRANGE a 0|SUBSTR a 0 1|SUBSTR a -1 -1|SETRANGE a 1 QQ|GET a|SETRANGE a 6 end|GET a
        SETRANGE a -1 x|SETRANGE a 536870912 x|SETRANGE n 0 |EXISTS n|SETRANGE n 3 x|GET n|SETRANGE a x y
        SETRANGE a 9223372036854775807 x|GETRANGE a 0 9223372036854775807|GETRANGE a -9223372036854775808 -1
        SET e |GET e|STRLEN e|GETRANGE e 0 -1|SETRANGE e 0 |SET t v EX 100|APPEND t w|TTL t|SETRANGE t 0 z|TTL t""",
    "counters": f"""
        INCR n|INCR n|DECR n|INCRBY n 10|DECRBY n 3|GET n|SET n x|INCR n|DECR n|INCRBY n 1|SET n {BIG}|INCR n
        INCRBY n 1|DECR n|INCRBY n 1|GET n|SET n {SMALL}|DECR n|DECRBY n 1|INCR n|INCRBY n x|INCRBY n 1.5
        DECRBY n {SMALL}|INCRBY n {BIG}0|SET n 01|INCR n|SET n +1|INCR n|SET n -0|INCR n|SET n 1e3|INCR n
        SET n 12345678901234567890|INCR n|INCR|INCRBY n|DECRBY n|SET n -1|DECRBY n -5|SET t 1 EX 100|INCR t|TTL t
        SET n |INCR n|DECRBY z 5|INCRBY y -5|DECR x|SET n 0|INCRBY n {SMALL}|DECRBY n {BIG}""",
    "floats": """
        INCRBYFLOAT f 1.5|INCRBYFLOAT f 1.5|INCRBYFLOAT f -3|INCRBYFLOAT f 1e3|INCRBYFLOAT f 0.1|INCRBYFLOAT f x
        INCRBYFLOAT f nan|INCRBYFLOAT f inf|INCRBYFLOAT f -inf|SET f x|INCRBYFLOAT f 1|SET f 3.0|INCRBYFLOAT f 1.0
        SET f 5.0e3|INCRBYFLOAT f 2.0e2|SET f 10.5|INCRBYFLOAT f 0.1|INCRBYFLOAT f -5.6|INCRBYFLOAT f
        SET f 1e4000|INCRBYFLOAT f 1|SET f 1|INCRBYFLOAT f 1e308|SET f 0.1|INCRBYFLOAT f 0.2
        SET f 1.23456789012345678|INCRBYFLOAT f 0|SET t 1 EX 100|INCRBYFLOAT t 1|TTL t|SET f  1|INCRBYFLOAT f 1e-17""",
    "keys": """
        DEL a|SET a 1|DEL a|SET a 1|SET b 1|DEL a b c|DEL|EXISTS a|SET a 1|EXISTS a a b|EXISTS|UNLINK a nokey|UNLINK
        TOUCH a|SET a 1|TOUCH a a b|TOUCH|TYPE a|TYPE b|TYPE|RENAME a b|RENAME a b|GET b|RENAMENX b c|SET d 1
        RENAMENX c d|RENAMENX nokey d|RENAME b|RENAME c c|RENAMENX c c|KEYS c|KEYS|DBSIZE|DBSIZE x|RANDOMKEY x
        SET t 1 EX 100|RENAME t u|TTL u|SET v 1|RENAME u v|TTL v|RENAME c v|TTL v|RENAMENX v w|PERSIST w""",
    "copy_move_swap": """
        SET a 1 EX 100|COPY a b|GET b|TTL b|COPY a b|COPY a b REPLACE|COPY a b DB 3|COPY a a|COPY a a DB 0|COPY nokey x
        COPY a b DB 99|COPY a b DB x|COPY a b FOO|COPY a|COPY a b DB 3 REPLACE|SELECT 3|GET b|TTL b|SELECT 0|MOVE a 3
        MOVE a 3|MOVE b 3|MOVE b 0|MOVE b 99|MOVE b x|MOVE b|SELECT 3|MGET a b|SWAPDB 0 3|MGET a b|SELECT 0|MGET a b
        SWAPDB 0 0|SWAPDB 0 99|SWAPDB x 0|SWAPDB 0 x|SWAPDB 0|SELECT 16|SELECT -1|SELECT x|SELECT|SELECT 15|DBSIZE
        SELECT 99999999999999999999""",
    "expiry": f"""
        EXPIRE a 10|SET a 1|EXPIRE a 100|TTL a|EXPIRE a x|EXPIRE a|EXPIRE a 100 FOO|EXPIRE a 100 NX|EXPIRE a 200 XX
        TTL a|EXPIRE a 100 GT|EXPIRE a 300 GT|EXPIRE a 400 LT|EXPIRE a 50 LT|TTL a|EXPIRE a 1 NX XX|EXPIRE a 1 GT LT
        EXPIRE a 1 NX GT|EXPIRE a 1 NX LT|EXPIRE a 60 XX GT|TTL a|PERSIST a|PERSIST a|TTL a|EXPIRE a 100 GT
        EXPIRE a 100 LT|PEXPIRE a 500000|TTL a|EXPIREAT a 9999999999|EXPIRETIME a|PEXPIREAT a 9999999999123|PEXPIRETIME a
        EXPIRETIME a|EXPIRETIME nokey|PEXPIRETIME nokey|TTL nokey|PTTL nokey|PERSIST nokey|SET b 1|PTTL b|EXPIRETIME b
        EXPIRE b {BIG}|EXPIRE b {SMALL}|PEXPIRE b {BIG}|EXPIREAT b {BIG}|EXPIRE b -1|EXISTS b
        SET b 1|EXPIRE b 0|EXISTS b|SET b 1|EXPIREAT b 1|GET b|SET b 1|PEXPIREAT b -1|EXISTS b|SET b 1|PEXPIRE b 0
        GET b|TTL|PTTL|EXPIREAT b|SET c 1 EX 100|EXPIRE c -1 GT|EXISTS c|EXPIRE c -1 LT|EXISTS c|EXPIRE nokey 10 XX
        EXPIRE b 99999999999999999999""",
    "transactions": """
        MULTI|SET a 1|GET a|INCR a|EXEC|EXEC|DISCARD|MULTI|MULTI|EXEC|MULTI|SET a x|INCR a|GET a|EXEC|GET a
        MULTI|NOSUCH|SET a 2|EXEC|GET a|MULTI|GET|EXEC|MULTI|SET a 3|DISCARD|GET a|WATCH|WATCH a|MULTI|WATCH b|GET a|EXEC
        WATCH a|SET a 9|MULTI|GET a|EXEC|WATCH a|UNWATCH|SET a 10|MULTI|GET a|EXEC|UNWATCH|MULTI|UNWATCH|EXEC
        MULTI|PING|ECHO x|SELECT 1|SET a in1|SELECT 0|EXEC|GET a|MULTI|EXEC|MULTI x|EXEC x|MULTI|DISCARD x|EXEC
        MULTI|DEL a b|MSET a 1 b 2|EXEC|MULTI|EXPIRE a 100|TTL a|PERSIST a|EXEC
        MULTI|SELECT 99|GET a|EXEC|MULTI|HELLO 2 x|EXEC|MULTI|CLIENT NOSUCH|EXEC|MULTI|CONFIG GET|EXEC
        WATCH k|SET k 1|EXPIRE k -1|MULTI|PING|EXEC|WATCH nokey|DEL nokey|MULTI|PING|EXEC|MULTI|QUIT""",
    "transactions_over_everything": """
        SET a 1|MULTI|FLUSHALL|DBSIZE|EXEC|GET a|SET a 1|MULTI|FLUSHDB|SET b 1|EXEC|MGET a b""",
    "scan": """
        SCAN 0|SET a 1|SCAN 0|SCAN x|SCAN|SCAN 0 MATCH|SCAN 0 COUNT|SCAN 0 COUNT x|SCAN 0 COUNT 0|SCAN 0 COUNT -1
        SCAN 0 MATCH a*|SCAN 0 MATCH b*|SCAN 0 TYPE string|SCAN 0 TYPE list|SCAN 0 TYPE nosuch|SCAN 0 FOO 1
        SCAN 99999999999999999999|SCAN 0 MATCH * COUNT 10 TYPE string|SCAN 0 COUNT 10 COUNT 20|SCAN 0x|SCAN 0 match A*""",
    "keys_patterns": """
        SET hello 1|SET hallo 1|SET hxllo 1|SET h*llo 1|SET heello 1|DEL hello hallo hxllo heello|KEYS h\\*llo
        KEYS h?llo|KEYS h[ae]llo|KEYS h[^e]llo|KEYS h[a-b]llo|KEYS h[*]llo|KEYS [|KEYS [a|KEYS \\|KEYS h[\\*]llo|KEYS
        KEYS nothing|KEYS h[^|KEYS ********************************llo|KEYS h[z-a]llo|KEYS H*""",
    "connection": """
        PING|PING a|PING a b|ECHO a|ECHO|ECHO a b|PING |SELECT 0|CLIENT GETNAME|CLIENT SETNAME x|CLIENT GETNAME
        CLIENT SETNAME |CLIENT GETNAME|CLIENT NOSUCH|CLIENT|CLIENT GETNAME x|CLIENT SETNAME|CLIENT ID x|CLIENT INFO x
        CLIENT LIST FOO|CLIENT LIST TYPE nosuch|CLIENT LIST ID x|CLIENT LIST TYPE|CLIENT LIST TYPE replica|CLIENT REPLY
        CLIENT REPLY FOO|CLIENT REPLY ON|AUTH|AUTH x|AUTH x y z|AUTH default x|AUTH nobody x|HELLO 4|HELLO x|HELLO 1
        HELLO 2 FOO|HELLO 2 AUTH|HELLO 2 SETNAME|HELLO 2 AUTH nobody x|HELLO 99999999999999999999|RESET|RESET x
        NOSUCH|NOSUCH a b c|nosuch|GET|get|gEt|CLIENT SETNAME me|RESET|CLIENT GETNAME|CLIENT LIST ID 999999|CLIENT LIST ID""",
    "names_with_odd_bytes": [
        ["CLIENT", "SETNAME", "a b"], ["CLIENT", "SETNAME", "a\nb"], ["CLIENT", "SETNAME", "\x7f"],
        ["CLIENT", "SETNAME", "ok-name:1"], ["CLIENT", "GETNAME"], ["HELLO", "2", "SETNAME", "a b"],
        ["ECHO", b"\x00\xff\r\n"], ["PING", b"\x00\xff\r\n"], ["SET", b"\x00", b"\xff"], ["GET", b"\x00"],
        ["", "x"], ["\x00"], ["GET ", "x"], ["no\r\nsuch"], ["SET", "a", "1", "E\r\nX", "1"],
        ["CONFIG", "SET", "a\r\nb", "1"], ["CONFIG", "GET", "no\r\nsuch"], ["SELECT", "1\r\n"],
    ],
    "config": """
        CONFIG GET nosuch|CONFIG GET maxclients|CONFIG GET save|CONFIG GET appendonly|CONFIG
        CONFIG GET|CONFIG NOSUCH|CONFIG SET|CONFIG SET timeout|CONFIG SET nosuch 1
        CONFIG SET maxclients x|CONFIG SET timeout -1|CONFIG SET timeout 7|CONFIG GET timeout|CONFIG SET timeout 0
        CONFIG SET timeout 5 nosuch 1|CONFIG GET timeout|CONFIG SET timeout 5 timeout 6|CONFIG SET timeout 5 maxmemory x
        CONFIG GET timeout|CONFIG SET maxmemory 100mb|CONFIG GET maxmemory|CONFIG SET maxmemory 0|CONFIG SET maxmemory 1x
        CONFIG RESETSTAT|CONFIG RESETSTAT x|CONFIG SET databases 3|CONFIG SET daemonize yes|CONFIG SET unixsocket x
        CONFIG SET protected-mode maybe|CONFIG SET protected-mode yes
        CONFIG GET databases|CONFIG GET requirepass|CONFIG GET tcp-keepalive|CONFIG GET proto-max-bulk-len
        CONFIG GET replica-read-only|CONFIG GET slave-read-only|CONFIG GET notify-keyspace-events
        CONFIG SET tcp-keepalive 60|CONFIG GET tcp-keepalive|CONFIG SET tcp-keepalive 300|CONFIG REWRITE
        CONFIG SET save |CONFIG GET hz|CONFIG GET maxmemory-samples""",
    "command": """
        COMMAND INFO nosuch|COMMAND COUNT x|COMMAND NOSUCH|COMMAND GETKEYS|COMMAND GETKEYS GET a|COMMAND GETKEYS MSET a 1 b 2
        COMMAND GETKEYS NOSUCH a|COMMAND GETKEYS DEL a b c|COMMAND GETKEYS COPY a b
        COMMAND GETKEYSANDFLAGS GET a|COMMAND GETKEYSANDFLAGS RENAME a b|COMMAND GETKEYSANDFLAGS DEL a b
        COMMAND GETKEYSANDFLAGS MSET a 1 b 2|COMMAND DOCS nosuch|COMMAND LIST FILTERBY
        COMMAND LIST FILTERBY MODULE nosuch|COMMAND LIST FILTERBY PATTERN nosuch|COMMAND LIST FILTERBY ACLCAT nosuch
        COMMAND LIST FILTERBY PATTERN getr*|COMMAND LIST FOO|COMMAND GETKEYS EXPIRE a 10|COMMAND GETKEYS MGET x y
        COMMAND LIST FILTERBY PATTERN psete?""",
    "server": """
        FLUSHDB x|FLUSHDB ASYNC|FLUSHDB SYNC|FLUSHALL ASYNC SYNC|FLUSHALL SYNC|TIME x|LASTSAVE x|INFO nosuch
        SHUTDOWN FOO|SHUTDOWN ABORT|SHUTDOWN SAVE NOSAVE|SHUTDOWN NOW ABORT|SAVE x|BGSAVE FOO|DBSIZE""",
    "flush_leaves_nothing": """
        SET a 1|SELECT 1|SET b 1|FLUSHDB|DBSIZE|SELECT 0|DBSIZE|SELECT 1|SET b 1|FLUSHALL|DBSIZE|SELECT 0|DBSIZE|GET a""",
    "pubsub": """
        SUBSCRIBE|PSUBSCRIBE|PUBLISH|PUBLISH a|PUBLISH a b c|PUBLISH a x|PUBSUB|PUBSUB NOSUCH|PUBSUB CHANNELS
        PUBSUB NUMPAT|PUBSUB NUMPAT x|PUBSUB NUMSUB|PUBSUB NUMSUB a b|UNSUBSCRIBE|PUNSUBSCRIBE
        UNSUBSCRIBE x|PUNSUBSCRIBE x|SUBSCRIBE a|SUBSCRIBE a|PING|PING hello|PING a b|GET a|PUBLISH a x|MULTI|EXEC
        PSUBSCRIBE a*|UNSUBSCRIBE nosuch|UNSUBSCRIBE a|PUNSUBSCRIBE a*|PING|GET a|SUBSCRIBE b|RESET|PING|MULTI
        SUBSCRIBE a|SET a 1|EXEC""",
    "pubsub_resp3": """
        ~HELLO 3|SUBSCRIBE a|GET a|PUBSUB CHANNELS|PUBSUB NUMSUB a b|PSUBSCRIBE [ab]*|PUBSUB NUMPAT|PING|PING x
        UNSUBSCRIBE nosuch|UNSUBSCRIBE|UNSUBSCRIBE|PUNSUBSCRIBE|PUNSUBSCRIBE|PUBLISH a x|PUBSUB NUMPAT""",
    "resp3": """
        HELLO 3 FOO|~HELLO 3|GET nokey|SET a 1|GET a|MGET a nokey|SCAN 0|MULTI|GET nokey|SET a 2|EXEC|WATCH a|SET a 3|MULTI
        GET a|EXEC|CONFIG GET timeout|CONFIG GET nosuch|INCRBYFLOAT f 1.5|TTL nokey|PING|ECHO x|KEYS a|COMMAND INFO nosuch
        COMMAND INFO get|COMMAND GETKEYS GET a|COMMAND GETKEYSANDFLAGS GET a|COMMAND DOCS nosuch|CLIENT GETNAME
        CLIENT SETNAME x|CLIENT GETNAME|RANDOMKEY x|INFO nosuch|GETDEL nokey|SET nokey 1 XX|SET nokey 1 XX GET
        LASTSAVE x|SELECT 99|NOSUCH|COPY a b|~HELLO 2|GET nokey|CONFIG GET nosuch|~HELLO|RESET|GET nokey""",
}

# Scripts that cannot give the same where an engine has the data, and why.
LOG_ONLY = {
    "transactions_over_everything": "a whole keyspace is not changed together with keys",
}

# Every one of these with no argument and with far too many: the arity errors.
ARITY = """
    get set setnx setex psetex getset getdel getex mget mset msetnx append strlen getrange substr setrange incr decr
    incrby decrby incrbyfloat del unlink exists touch type keys scan randomkey rename renamenx copy move swapdb dbsize
    expire pexpire expireat pexpireat ttl pttl expiretime pexpiretime persist multi exec discard watch unwatch
    echo select auth time lastsave save client config
    publish pubsub""".split()


def is_possible(command):
    """SWAPDB is refused where several nadbd share the databases."""
    name = command.split(" ")[0] if isinstance(command, str) else command[0]
    return harness.is_log_backend() or name != "SWAPDB"


def commands_of(script):
    if isinstance(script, str):
        lines = [line.strip() for line in script.strip("\n").split("\n")]
        script = [command for line in lines for command in line.split("|") if command]
    return [command for command in script if is_possible(command)]


def without_notes(specs):
    """Key specifications without the remarks for people."""
    return [spec[2:] if spec[0] == b"notes" else spec for spec in specs]


class Differential(unittest.TestCase):
    """A test method is made for each script."""

    maxDiff = None
    options = {"timeout": "0"}

    @classmethod
    def setUpClass(cls):
        cls.redis = harness.redis_server(cls.options).start()
        cls.addClassCleanup(cls.redis.discard)
        cls.server = harness.Server(options=cls.options).start()
        cls.addClassCleanup(cls.server.discard)

    def replies(self, server, script):
        """[(command, raw reply)]; a connection that ends gives b'' for the rest."""
        found = []
        server.call("FLUSHALL")
        with server.connect() as conn:
            for command in commands_of(script):
                blind = isinstance(command, str) and command.startswith("~")
                words = split_words(command.lstrip("~") if blind else command)
                try:
                    raw = conn.call_raw(*words)
                except (ConnectionError, OSError):
                    raw = b"(closed)"
                found.append((words, b"(any)" if blind and raw != b"(closed)" else raw))
                if raw == b"(closed)":
                    break
        return found

    def compare(self, script):
        expected = self.replies(self.redis, script)
        got = self.replies(self.server, script)
        differing = [
            f"{words}\n    redis {theirs[:300]!r}\n    nadbd {ours[:300]!r}"
            for (words, theirs), (_, ours) in zip(expected, got) if theirs != ours]
        if differing:
            self.fail(f"{len(differing)} of {len(expected)} replies differ\n" + "\n".join(differing))
        self.assertEqual(len(got), len(expected))

    def test_wrong_numbers_of_arguments_are_refused_alike(self):
        script = []
        for name in ARITY:
            script += [[name], [name, *["x"] * 12]]
        # TIME and LASTSAVE answer a time. SETEX and PSETEX take tags behind their three arguments.
        self.compare([words for words in script if words not in (["time"], ["lastsave"]) and
                      not (words[0] in ("setex", "psetex") and len(words) > 1)])

    def test_commands_are_described_alike(self):
        # Not compared: flags of what is still to come (slow log, scripts), and tips.
        names = """get set strlen append incr mget mset del exists rename expire ttl persist dbsize scan keys multi
                   exec watch ping echo select flushall getrange copy move getex msetnx setrange touch unlink""".split()
        with self.server.connect() as ours, self.redis.connect() as theirs:
            for name in names:
                with self.subTest(name=name):
                    one, two = ours.call("COMMAND", "INFO", name)[0], theirs.call("COMMAND", "INFO", name)[0]
                    for idx in (0, 3, 4, 5):
                        self.assertEqual(one[idx], two[idx])
                    self.assertEqual(sorted(one[6]), sorted(two[6]))
                    self.assertEqual(without_notes(one[8]), without_notes(two[8]))
                    for flag in ("write", "readonly", "denyoom", "admin", "fast"):
                        self.assertEqual(flag in one[2], flag in two[2], flag)

    def test_subcommands_are_refused_alike(self):
        self.compare([[name, sub, *more] for name in ("client", "config", "command")
                      for sub in ("nosuch", "NoSuch") for more in ([], ["x"], ["x", "y", "z"])])

    def test_random_commands_give_the_same_replies(self):
        seed = 20240517
        names = ["SET", "GET", "APPEND", "INCRBY", "DEL", "EXISTS", "STRLEN", "GETRANGE", "SETRANGE", "RENAME",
                 "COPY", "MOVE", "SELECT", "SWAPDB", "MSET", "MGET", "SETNX", "GETSET", "GETDEL", "PERSIST",
                 "DECRBY", "EXPIRE", "TYPE", "TOUCH", "DBSIZE", "INCRBYFLOAT", "MSETNX", "RENAMENX"]
        words = ["a", "b", "c", "0", "1", "2", "-1", "17", "3", "x", "", "1.5", "NX", "XX", "GET", "KEEPTTL", "5"]
        script = []
        for _ in range(6000):
            seed = (seed * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
            bits = seed >> 11
            name, count = names[bits % len(names)], 1 + (bits >> 8) % 4
            # the first argument is a key, mostly
            args = [words[(bits >> (12 + 8 * idx)) % (3 if idx == 0 else len(words))] for idx in range(count)]
            script.append([name, *args])
        script.append(["FLUSHALL"])
        self.compare(script)


def _add(name, script):
    def check(self):
        self.compare(script)
    check.__name__ = f"test_{name}_replies_as_redis_does"
    if name in LOG_ONLY:
        check = harness.log_backend_only(LOG_ONLY[name])(check)
    setattr(Differential, check.__name__, check)


for _name, _script in SCRIPTS.items():
    _add(_name, _script)
