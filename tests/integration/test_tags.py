"""Tags as clients see them: queries, invalidation, epochs, and memberships that never go astray."""

import itertools
import random
import threading
import time
import unittest

import harness
from resp import Map, ReplyError, encode

SEED = 20260611
# A cluster takes a server that works on one command for longer than a second for lost.
MANY = 20_000 if harness.backend() == "cluster" else 200_000
BATCH = 1000


def pairs(reply):
    """A flat list of names and values as a dictionary."""
    return dict(zip(reply[::2], reply[1::2]))


def write_tagged(conn, count, tag_of):
    """`count` keys k0, k1 ...; k<i> has the tags that tag_of(i) names."""
    for first in range(0, count, BATCH):
        commands = [("SET", f"k{i}", "v", "TAGS", *tag_of(i))
                    for i in range(first, min(first + BATCH, count))]
        if any(reply != "OK" for reply in conn.pipeline(commands)):
            raise AssertionError("a SET was refused")


@harness.nadbd_only("tags")
class Replies(harness.ServerCase):
    """Shapes on the wire; the wording of every reply is tested beside the handlers."""

    def setUp(self):
        super().setUp()
        self.call("SET", "a", "1", "TAGS", "x", "y")
        self.call("SET", "b", "22", "TAGS", "y")

    def test_resp2_gets_arrays(self):
        self.assertEqual(self.conn.call_raw("QUERYTAGS", "x", "y"), b"*1\r\n$1\r\na\r\n")
        self.assertEqual(self.conn.call_raw("TAGGET", "b"), b"*1\r\n$1\r\ny\r\n")
        self.assertEqual(self.conn.call_raw("TAGGET", "none"), b"$-1\r\n")
        self.assertEqual(self.conn.call_raw("TAGLIST", "SORTBY", "NAME"), b"*4\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n:2\r\n")
        self.assertEqual(self.call("QUERY", "SORTBY", "SIZE", "DESC", "WITHVALUES", "ANY", "y"),
                         [[b"b", b"22"], [b"a", b"1"]])

    def test_resp3_gets_sets_and_maps(self):
        self.call("HELLO", "3")
        self.assertEqual(self.conn.call_raw("QUERYTAGS", "x", "y"), b"~1\r\n$1\r\na\r\n")
        self.assertEqual(self.conn.call_raw("TAGGET", "b"), b"~1\r\n$1\r\ny\r\n")
        self.assertEqual(self.conn.call_raw("TAGGET", "none"), b"_\r\n")
        self.assertEqual(self.conn.call_raw("TAGLIST", "SORTBY", "NAME"), b"%2\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n:2\r\n")
        self.assertIsInstance(self.call("META", "a"), Map)
        self.assertIsNone(self.call("META", "none"))

    def test_tags_are_any_bytes(self):
        odd = [bytes([byte]) for byte in range(256)] + [b"a b", b"x & !(y)", b"\r\n", b"t" * 1024]
        self.assertEqual(self.call("SET", "odd", "v", "TAGS", *odd), "OK")
        self.assertEqual(set(self.call("TAGGET", "odd")), set(odd))
        for tag in odd:
            self.assertIn(b"odd", self.call("QUERYTAGS", tag))
            self.assertIn(b"odd", self.call("QUERY", "EXPR", "$1 & $1", tag))
        self.assertEqual(self.call("INVALIDATE", "ALL", *odd), 1)
        self.assertEqual(self.call("TAGCOUNT", *odd), [int(tag == b"x" or 2 * (tag == b"y"))
                                                       for tag in odd])

    def test_hostile_expressions_get_their_error_at_once(self):
        for text, error in (
                ("x &", "BADEXPR at byte 3: tag expected"),
                ("(" * 65 + "x" + ")" * 65, "BADEXPR at byte 64: deeper than 64"),
                ("!" * 70000 + "x", "BADEXPR longer than 65536 bytes"),
                ("x" * 1025, "BADTAG longer than 1024 bytes"),
                ("$3", "BADEXPR at byte 0: no argument for $3")):
            for command in (["QUERY"], ["INVALIDATE"], ["QUERY", "COUNTONLY"]):
                reply = self.call(*command, "EXPR", text, "x")
                self.assertIsInstance(reply, ReplyError)
                self.assertEqual(str(reply).split(" ")[0], error.split(" ")[0], (text[:10], reply))
        self.assertEqual(self.call("QUERY", "COUNTONLY", "EXPR", "|".join(["x"] * 30000)), 1)
        self.assertEqual(self.call("DBSIZE"), 2)

    def test_what_is_still_to_come_says_so(self):
        for command in (("FETCH", "a"), ("TAGLOG", "0"), ("INVALIDATE", "SOFT", "ANY", "x"),
                        ("SET", "a", "1", "GRACE", "5")):
            self.assertRegex(str(self.call(*command)), "^ERR .* is not available yet$")
        self.assertEqual(self.call("QUERYTAGS", "x"), [b"a"])

    def test_too_many_keys_are_counted_instead(self):
        self.call("CONFIG", "SET", "query-max-keys", "1")
        self.addCleanup(self.call, "CONFIG", "SET", "query-max-keys", "100000")
        self.assertError(self.call("QUERY", "ANY", "y"),
                         "TOOMANY 2 keys match; use LIMIT, CURSOR or COUNTONLY")
        self.assertEqual(self.call("QUERY", "COUNTONLY", "ANY", "y"), 2)

    def test_expired_keys_are_never_counted(self):
        soon = int(time.time() * 1000) + 30
        for i in range(500):
            self.call("SET", f"e{i}", "v", "PXAT", soon, "TAGS", "short", "y")
        harness.wait_until(lambda: self.call("TAGCOUNT", "short") == [0], "every deadline passed")
        self.assertEqual(self.call("TAGCOUNT", "y"), [2])
        self.assertEqual(self.call("QUERY", "COUNTONLY", "EXPR", "*"), 2)
        self.assertEqual(self.call("TAGLIST", "SORTBY", "NAME"), [b"x", 1, b"y", 2])


@harness.nadbd_only("tags")
class Invalidation(harness.ServerCase):
    def observe(self, seen, must_stop):
        """Looks until the keys are gone; every look is one transaction."""
        look = ["MULTI", "GET k0", f"GET k{MANY // 2}", f"GET k{MANY - 1}",
                "QUERY COUNTONLY ANY all", "EXISTS k1 k2 k3", "DBSIZE", "EXEC"]
        with self.server.connect() as conn:
            while (not seen or seen[-1][0] is not None) and not must_stop.is_set():
                seen.append(conn.pipeline(look)[-1])

    @unittest.skipIf(harness.backend() == "redis", "with redis it is atomic in each partition")
    def test_nobody_sees_half_of_a_big_one(self):
        write_tagged(self.conn, MANY, lambda i: ["all", f"t{i % 100}"])
        self.call("SET", "other", "v", "TAGS", "else")
        seen = []
        must_stop = threading.Event()
        observer = threading.Thread(target=self.observe, args=(seen, must_stop))
        observer.start()
        try:
            self.assertEqual(self.call("INVALIDATE", "ANY", "all"), MANY)
        except BaseException:
            must_stop.set()
            raise
        finally:
            observer.join()
        whole = [b"v", b"v", b"v", MANY, 3, MANY + 1]
        nothing = [None, None, None, 0, 0, 1]
        self.assertEqual([look for look in seen if look not in (whole, nothing)], [])
        self.assertEqual(seen[-1], nothing)
        self.assertEqual(self.call("TAGLIST"), [b"else", 1])
        self.assertEqual(self.call("INVALIDATE", "ANY", "all"), 0)

    def test_keys_written_behind_it_live(self):
        write_tagged(self.conn, MANY // 4, lambda i: ["all"])
        replies = self.conn.pipeline(
            ["INVALIDATE ANY all", "SET k5 new TAGS all", "GET k6", "QUERYTAGS all", "DBSIZE"])
        self.assertEqual(replies, [MANY // 4, "OK", None, [b"k5"], 1])
        if harness.is_log_backend():  # an engine keeps no count of them
            harness.wait_until(
                lambda: self.server.info()["nadb_memberships"] == "1", "the dead are swept")
        self.assertEqual(self.call("GET", "k5"), b"new")

    def test_a_cursor_meets_every_key_that_stays(self):
        write_tagged(self.conn, 20_000, lambda i: ["stay"] if i % 2 else ["go"])
        found, cursor, rounds = [], b"0", 0
        while rounds == 0 or cursor != b"0":
            cursor, keys = self.call(
                "QUERY", "CURSOR", cursor, "COUNT", "300", "EXPR", "stay|go|new")
            found += keys
            rounds += 1
            self.conn.pipeline([("DEL", f"k{i}") for i in range(rounds * 100, rounds * 100 + 50)
                                if i % 2 == 0])
            self.conn.pipeline([("SET", f"n{rounds}.{i}", "v", "TAGS", "new") for i in range(50)])
            self.assertLess(rounds, 1000)
        staying = {b"k%d" % i for i in range(1, 20_000, 2)}
        self.assertEqual(staying - set(found), set())

    def test_each_tag_is_told_to_subscribers(self):
        listener = self.connect()
        listener.call("PSUBSCRIBE", "__tag@0__:*")
        self.call("SET", "a", "1", "TAGS", "x", "y")
        self.assertEqual(self.call("INVALIDATE", "ANY", "x", "none"), 1)
        epoch = self.call("EPOCH")
        told = [listener.read(), listener.read()]
        self.assertEqual({tuple(message[2:]) for message in told},
                         {(b"__tag@0__:x", b"%d hard" % epoch),
                          (b"__tag@0__:none", b"%d hard" % epoch)})


@harness.nadbd_only("tags")
class StaleFills(harness.ServerCase):
    """A reader misses, computes, and stores behind an invalidation."""

    FILLS = 500

    def miss(self, reader, key):
        value, epoch = reader.pipeline([f"GET {key}", "EPOCH"])
        self.assertIsNone(value)
        return epoch

    def test_every_stale_fill_is_refused_and_every_fresh_one_taken(self):
        reader, writer = self.connect(), self.connect()
        tags = ["page", "user:1", "list"]
        stored = {"stale": 0, "fresh": 0}
        for i, kind in itertools.product(range(self.FILLS), stored):
            epoch = self.miss(reader, f"{kind}{i}")
            writer.call("INVALIDATE", "ANY", tags[i % 3] if kind == "stale" else "unrelated")
            reply = reader.call("SET", f"{kind}{i}", "v", "IFEPOCH", epoch, "TAGS", *tags)
            stored[kind] += reply == "OK"
            if reply == "OK":
                reader.call("DEL", f"{kind}{i}")
        self.assertEqual(stored, {"stale": 0, "fresh": self.FILLS})
        self.assertGreaterEqual(int(self.server.info()["nadb_refused_fills"]), self.FILLS)

    def test_a_flush_refuses_every_fill(self):
        epoch = self.call("EPOCH")
        self.call("FLUSHDB")
        self.assertIsNone(self.call("SET", "a", "v", "IFEPOCH", epoch))
        self.assertIsNone(self.call("SET", "a", "v", "IFEPOCH", epoch, "TAGS", "x"))

    def test_the_race_of_many_fillers_never_leaves_a_stale_value(self):
        """The value says which generation it was computed from; after each bump of the generation
        and its invalidation no older value may be read."""
        rounds, fillers, stop = 300, 4, threading.Event()

        def fill():
            with self.server.connect() as conn:
                while not stop.is_set():
                    value, epoch, generation = conn.pipeline(["GET page", "EPOCH", "GET gen"])
                    if value is None:
                        conn.call("SET", "page", generation, "IFEPOCH", epoch, "TAGS", "gen")

        self.call("SET", "gen", "0")
        threads = [threading.Thread(target=fill) for _ in range(fillers)]
        for thread in threads:
            thread.start()
        stale = 0
        for generation in range(1, rounds + 1):
            self.conn.pipeline([f"SET gen {generation}", "INVALIDATE ANY gen"])
            for _ in range(3):
                value = self.call("GET", "page")
                stale += value is not None and int(value) < generation
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(stale, 0)


class Model:
    """What a nadbd should hold: key -> (value, tags)."""

    TAGS = [f"t{i}" for i in range(6)]
    KEYS = [f"k{i}" for i in range(40)]

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.keys = {}

    def some_tags(self):
        return self.rng.sample(self.TAGS, self.rng.randrange(4))

    def selection(self):
        """(arguments, judge of a set of tags)"""
        rng = self.rng
        kind = rng.randrange(5)
        tags = rng.sample(self.TAGS, 1 + rng.randrange(3))
        if kind == 0:
            return ["ANY", *tags], lambda has: any(tag in has for tag in tags)
        if kind == 1:
            return ["ALL", *tags], lambda has: all(tag in has for tag in tags)
        one, two, three = rng.sample(self.TAGS, 3)
        if kind == 2:
            return ["EXPR", f"({one} | $1) & !{three}", two], \
                lambda has: (one in has or two in has) and three not in has
        if kind == 3:
            return ["EXPR", f"!{one} & !\"{two}\""], lambda has: one not in has and two not in has
        return ["EXPR", f"{one} & {two} | * & {three}"], \
            lambda has: (one in has and two in has) or three in has

    def matching(self, judge):
        return {key for key, (_, tags) in self.keys.items() if judge(tags)}

    def step(self, call):
        """One random command through `call`; returns (what was sent, reply, expected)."""
        rng = self.rng
        key, other = rng.sample(self.KEYS, 2)
        kind = rng.randrange(12)
        has = self.keys.get(key)
        if kind <= 3:
            value, tags = str(rng.randrange(1000)), self.some_tags()
            sent, expected = ["SET", key, value, "TAGS", *tags], "OK"
            self.keys[key] = (value, set(tags))
        elif kind == 4:
            sent, expected = ["DEL", key], int(has is not None)
            self.keys.pop(key, None)
        elif kind == 5:
            tags = self.some_tags()
            sent, expected = ["TAGSET", key, *tags], int(has is not None)
            if has is not None:
                self.keys[key] = (has[0], set(tags))
        elif kind == 6:
            tags = self.some_tags() or ["t0"]
            sent, expected = ["TAGADD", key, *tags], None
            if has is not None:
                expected = len(set(tags) - has[1])
                self.keys[key] = (has[0], has[1] | set(tags))
        elif kind == 7:
            tags = self.some_tags() or ["t0"]
            sent, expected = ["TAGREM", key, *tags], None
            if has is not None:
                expected = len(set(tags) & has[1])
                self.keys[key] = (has[0], has[1] - set(tags))
        elif kind == 8:
            sent = ["RENAME", key, other]
            expected = "OK" if has is not None else ReplyError("ERR no such key")
            if has is not None:
                self.keys[other] = self.keys.pop(key)
        elif kind == 9:
            sent, expected = ["COPY", key, other, "REPLACE"], int(has is not None)
            if has is not None:
                self.keys[other] = has
        elif kind == 10 and rng.randrange(3) == 0:
            selector, judge = self.selection()
            gone = self.matching(judge)
            sent, expected = ["INVALIDATE", *selector], len(gone)
            for key in gone:
                del self.keys[key]
        else:
            selector, judge = self.selection()
            sent, expected = ["QUERY", *selector], {key.encode() for key in self.matching(judge)}
        reply = call(*sent)
        return sent, set(reply) if isinstance(reply, list) else reply, expected

    def check(self, case, call):
        """Every key and every tag."""
        for key in self.KEYS:
            value, tags = self.keys.get(key, (None, None))
            case.assertEqual(call("GET", key), value and value.encode(), key)
            reply = call("TAGGET", key)
            case.assertEqual(
                reply if reply is None else set(reply), tags and {t.encode() for t in tags}
                if tags or tags is None else set(), key)
        counts = {tag.encode(): len(self.matching(lambda has, tag=tag: tag in has))
                  for tag in self.TAGS}
        case.assertEqual(pairs(call("TAGLIST")), {tag: n for tag, n in counts.items() if n})
        case.assertEqual(call("DBSIZE"), len(self.keys))


@harness.nadbd_only("tags")
class Memberships(unittest.TestCase):
    def walk(self, durability, end, steps=1500, lives=3):
        """Random commands against the model; the server ends and starts again in between."""
        model = Model(SEED)
        with harness.Server(options={"durability": durability}) as server:
            for life in range(lives):
                with server.connect() as conn:
                    for number in range(steps):
                        sent, reply, expected = model.step(conn.call)
                        self.assertEqual(reply, expected, (life, number, sent))
                    model.check(self, conn.call)
                end(server)
                server.start()
                with server.connect() as conn:
                    model.check(self, conn.call)

    def test_follow_a_model_over_clean_stops(self):
        self.walk("interval", harness.Server.stop)

    def test_follow_a_model_over_sigkill_in_durability_always(self):
        self.walk("always", harness.Server.kill, steps=500)

    def test_a_big_invalidation_is_there_after_sigkill_in_durability_always(self):
        with harness.Server(options={"durability": "always"}) as server:
            with server.connect() as conn:
                write_tagged(conn, 50_000, lambda i: ["all"] if i % 5 else ["rest"])
                self.assertEqual(conn.call("INVALIDATE", "ANY", "all"), 40_000)
            server.kill()
            server.start()
            self.assertEqual(server.call("DBSIZE"), 10_000)
            self.assertEqual(server.call("TAGLIST"), [b"rest", 10_000])

    def test_sigkill_in_the_middle_leaves_all_or_nothing(self):
        """The invalidation is sent and the server killed without waiting for the answer.

        An engine is asked one partition after the other: there it is each key with its tags that
        is there or gone, and what nadbd had sent may end after it."""
        outcomes = set()
        with harness.Server(options={"durability": "always"}) as server:
            for _ in range(6):
                with server.connect() as conn:
                    conn.call("FLUSHALL")
                    write_tagged(conn, 5_000, lambda i: ["all"])
                    conn.send(encode("INVALIDATE", "ANY", "all"))
                    server.kill()
                server.start()
                outcomes.add(server.call("DBSIZE"))
                harness.wait_until(
                    lambda: server.call("TAGCOUNT", "all") == [server.call("DBSIZE")],
                    "the tag has the keys that are there, and no other")
        if harness.is_log_backend():
            self.assertLessEqual(outcomes, {0, 5_000})

    def test_epochs_go_on_over_a_restart(self):
        with harness.Server() as server:
            server.call("SET", "a", "1", "TAGS", "x")
            before = server.call("EPOCH")
            server.call("INVALIDATE", "ANY", "x")
            after = server.call("EPOCH")
            server.stop()
            server.start()
            again = server.call("EPOCH")
            self.assertGreater(after, before)
            self.assertGreaterEqual(again, after)
            self.assertIsNone(server.call("SET", "a", "1", "IFEPOCH", before, "TAGS", "x"))
            # What is not remembered over the restart counts as invalidated; an engine remembers.
            self.assertEqual(server.call("SET", "a", "1", "IFEPOCH", before, "TAGS", "y"),
                             None if harness.is_log_backend() else "OK")
            self.assertEqual(server.call("SET", "a", "1", "IFEPOCH", again, "TAGS", "x"), "OK")
