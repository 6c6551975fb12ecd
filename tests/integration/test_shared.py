"""Several nadbd on one engine: what one does the other has at once; and what all of them do when the
engine is down, slow, full, or answers nonsense."""

import json
import os
import select
import random
import subprocess
import threading
import time
import unittest

import engines
import harness
import test_nadbctl
import test_tags
from resp import ReplyError, encode

SEED = 20261126
TIMEOUT_S = 1.0                                # redis-timeout
SLACK_S = 1.0 * harness.slow_factor()          # that an answer may be late on a busy machine
PING_S = 0.25 * harness.slow_factor()
RESUME_S = 10 * harness.slow_factor()          # an engine is back: the service is within this time
ROTATED = 20_000
PARTITIONS = 64                                # redis-partitions, unless a test says another number
LOADS_SLOWLY = {"key-load-delay": 1000, "loading-process-events-interval-bytes": 1024}
CROSSSLOT = "CROSSSLOT Keys in request don't hash to the same slot"
OUTCOME_UNKNOWN = "outcome unknown"


def once(test):
    """These tests bring their engines themselves: one run, whatever --backend says, is enough."""
    test = unittest.skipIf(not engines.is_there(), "redis-server is not installed")(test)
    test = harness.log_backend_only("has engines of its own")(test)
    return harness.nadbd_only("backend redis")(test)


def nadbd(engine, prefix="nadb:", timeout_s=TIMEOUT_S, **options):
    """A nadbd with its data in `engine`; not yet started."""
    return harness.Server(options={
        **engine.nadbd_options(), "redis-prefix": prefix,
        "redis-timeout": f"{int(timeout_s * 1000)}ms",
        **{name.replace("_", "-"): value for name, value in options.items()}})


def scan(conn, *command):
    """All that a command with a cursor finds."""
    found, cursor = [], b"0"
    for _ in range(100000):
        cursor, part = conn.call(*command[:1], cursor, *command[1:])
        found += part
        if cursor == b"0":
            return found
    raise AssertionError("it never ends")


def run_threads(action, count):
    """Runs action(number) in so many threads; the first exception is raised here."""
    errors = []

    def guarded(number):
        try:
            action(number)
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# ---- two that agree ----

class Agreement:
    """Each test finds connections `one` and `two` to two nadbd, and nothing in the engine."""

    @classmethod
    def setUpClass(cls):
        cls.engine, cls.options = cls.make_engine()
        cls.servers = []
        for _ in range(2):
            cls.servers.append(nadbd(cls.engine, timeout_s=10 * harness.slow_factor(), **cls.options).start())
            cls.addClassCleanup(cls.servers[-1].discard)

    def setUp(self):
        self.one, self.two = self.conns = [server.connect() for server in self.servers]
        for conn in self.conns:
            self.addCleanup(conn.close)
        self.assertEqual(self.one.call("FLUSHALL"), "OK")

    def tearDown(self):
        for server in self.servers:
            self.assertIsNone(server.process.poll(), server.log())

    def both_ways(self):
        """(writer, reader), each of the two in each part."""
        return ((self.one, self.two), (self.two, self.one))

    # -- at once

    def test_a_write_is_seen_by_the_other_at_once(self):
        for number in range(300):
            writer, reader = self.both_ways()[number % 2]
            key = f"k{number % 7}"
            self.assertEqual(writer.call("SET", key, number), "OK")
            self.assertEqual(reader.call("GET", key), b"%d" % number)
            self.assertEqual(reader.call("APPEND", key, "!"), len(str(number)) + 1)
            self.assertEqual(writer.call("GET", key), b"%d!" % number)
            self.assertEqual(writer.call("DEL", key), 1)
            self.assertIsNone(reader.call("GET", key))
            self.assertEqual(reader.call("EXISTS", key), 0)

    def test_many_keys_of_one_command_are_seen_by_the_other_at_once(self):
        for number in range(50):
            writer, reader = self.both_ways()[number % 2]
            words = [word for i in range(40) for word in (f"k{i}", f"{number}.{i}")]
            self.assertEqual(writer.call("MSET", *words), "OK")
            self.assertEqual(reader.call("MGET", *words[::2]), [word.encode() for word in words[1::2]])

    def test_a_change_of_tags_is_seen_by_the_other_at_once(self):
        for one, two in self.both_ways():
            self.assertEqual(one.call("SET", "k", "v", "TAGS", "x", "y"), "OK")
            self.assertEqual(set(two.call("TAGGET", "k")), {b"x", b"y"})
            self.assertEqual(two.call("TAGADD", "k", "z"), 1)
            self.assertEqual(one.call("QUERYTAGS", "x", "z"), [b"k"])
            self.assertEqual(one.call("TAGREM", "k", "x"), 1)
            self.assertEqual(two.call("TAGCOUNT", "x", "y", "z"), [0, 1, 1])
            self.assertEqual(two.call("SET", "k", "w", "KEEPTAGS"), "OK")
            self.assertEqual(one.call("QUERY", "WITHVALUES", "ANY", "y"), [[b"k", b"w"]])
            self.assertEqual(one.call("SET", "k", "u"), "OK")
            self.assertEqual(two.call("TAGGET", "k"), [])
            self.assertEqual(two.call("TAGLIST"), [])

    def test_a_deadline_is_one_for_both(self):
        for one, two in self.both_ways():
            self.assertEqual(one.call("SET", "k", "v", "PX", "60000", "TAGS", "x"), "OK")
            self.assertTrue(0 < two.call("PTTL", "k") <= 60000)
            self.assertEqual(two.call("PEXPIRETIME", "k"), one.call("PEXPIRETIME", "k"))
            self.assertEqual(two.call("PERSIST", "k"), 1)
            self.assertEqual(one.call("PTTL", "k"), -1)
            began = time.monotonic()
            self.assertEqual(one.call("PEXPIRE", "k", "200"), 1)
            harness.wait_until(lambda two=two: two.call("GET", "k") is None, "the key expires")
            self.assertGreaterEqual(time.monotonic() - began, 0.195)
            for conn in (one, two):
                self.assertEqual(conn.call("EXISTS", "k"), 0)
                self.assertEqual(conn.call("TAGCOUNT", "x"), [0])
                self.assertEqual(conn.call("DBSIZE"), 0)
                self.assertEqual(conn.call("KEYS", "*"), [])

    def test_an_invalidation_is_seen_by_the_other_at_once(self):
        for one, two in self.both_ways():
            one.pipeline([("SET", f"k{i}", "v", "TAGS", "all", f"t{i % 10}") for i in range(1000)])
            one.call("SET", "other", "v", "TAGS", "else")
            self.assertEqual(two.call("INVALIDATE", "ANY", "t3"), 100)
            self.assertIsNone(one.call("GET", "k3"))
            self.assertEqual(one.call("TAGCOUNT", "t3", "all"), [0, 900])
            self.assertEqual(one.call("INVALIDATE", "ALL", "all"), 900)
            self.assertEqual(two.call("KEYS", "*"), [b"other"])
            self.assertEqual(two.call("TAGLIST"), [b"else", 1])

    def test_a_flush_is_seen_by_the_other_at_once(self):
        for command in ("FLUSHDB", "FLUSHALL"):
            for one, two in self.both_ways():
                one.call("SET", "k", "v", "TAGS", "x")
                self.assertEqual(two.call(command), "OK")
                self.assertEqual((one.call("GET", "k"), one.call("DBSIZE"), one.call("TAGLIST")), (None, 0, []))

    # -- no update is lost

    def test_increments_through_both_lose_none(self):
        def add(number):
            with self.servers[number % 2].connect() as conn:
                for _ in range(20):
                    for reply in conn.pipeline(["INCR n"] * 25):
                        self.assertIsInstance(reply, int)

        run_threads(add, 8)
        self.assertEqual([conn.call("GET", "n") for conn in self.conns], [b"4000"] * 2)

    def test_every_increment_answers_another_number(self):
        seen = [[] for _ in range(8)]

        def add(number):
            with self.servers[number % 2].connect() as conn:
                for _ in range(50):
                    seen[number].append(conn.call("INCR", "n"))

        run_threads(add, 8)
        self.assertEqual(sorted(sum(seen, [])), list(range(1, 401)))
        for numbers in seen:
            self.assertEqual(numbers, sorted(numbers))

    def test_appends_and_tags_through_both_lose_none(self):
        def add(number):
            with self.servers[number % 2].connect() as conn:
                for i in range(50):
                    conn.call("APPEND", "text", "%d" % number)
                    self.assertEqual(conn.call("TAGADD", "tagged", f"t{number}.{i}"), 1)

        self.one.call("SET", "tagged", "v")
        run_threads(add, 6)
        text = self.two.call("GET", "text")
        self.assertEqual([text.count(b"%d" % number) for number in range(6)], [50] * 6)
        self.assertEqual(len(self.one.call("TAGGET", "tagged")), 300)

    def test_optimistic_locking_through_both_loses_no_update(self):
        self.one.call("SET", "n", "0")

        def add(number):
            with self.servers[number % 2].connect() as conn:
                done = 0
                while done < 25:
                    conn.call("WATCH", "n")
                    value = int(conn.call("GET", "n"))
                    conn.call("MULTI")
                    conn.call("SET", "n", value + 1)
                    done += conn.call("EXEC") is not None

        run_threads(add, 6)
        self.assertEqual(self.two.call("GET", "n"), b"150")

    def watched(self, one, two, change):
        """What EXEC says when `two` makes the change behind one's WATCH."""
        one.call("FLUSHALL")
        one.call("SET", "k", "v")
        one.call("WATCH", "k")
        for command in change:
            self.assertNotIsInstance(two.call(command), ReplyError, command)
        one.call("MULTI")
        one.call("SET", "done", "1")
        reply = one.call("EXEC")
        self.assertEqual(two.call("EXISTS", "done"), 0 if reply is None else 1)
        return reply

    def test_exec_fails_when_a_watched_key_was_changed_through_the_other(self):
        for change in (["SET k w"], ["SET k v"], ["DEL k"], ["DEL k", "SET k v"], ["APPEND k x"],
                       ["EXPIRE k 100"], ["TAGADD k t"], ["RENAME k z"], ["FLUSHALL"], ["EXPIRE k -1"],
                       ["MULTI", "SET k 2", "EXEC"], ["TAGADD k t", "INVALIDATE ANY t"]):
            for one, two in self.both_ways():
                with self.subTest(change=change):
                    self.assertIsNone(self.watched(one, two, change))

    def test_exec_works_when_the_other_changed_something_else(self):
        for change in (["GET k"], ["SET z 1"], ["TTL k"], ["SETNX k 1"], ["TAGGET k"], ["SET z 1 TAGS t",
                       "INVALIDATE ANY t"]):
            for one, two in self.both_ways():
                with self.subTest(change=change):
                    self.assertEqual(self.watched(one, two, change), ["OK"])

    # -- nobody sees a half

    def check_halves(self, look):
        """`look(conn)` gives a and b; a writer changes both together."""
        stop, halves, looks = threading.Event(), [], [0, 0]

        def read(number):
            with self.servers[number].connect() as conn:
                while not stop.is_set():
                    a, b = look(conn)
                    looks[number] += 1
                    if a != b:
                        halves.append((number, a, b))

        threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(400):
                conn = self.conns[number % 2]
                reply = conn.pipeline(["MULTI", f"SET a {number}", f"SET b {number}", "EXEC"])[-1]
                self.assertEqual(reply, ["OK", "OK"])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertGreater(min(looks), 0)
        self.assertEqual(halves, [])

    def test_no_mget_sees_half_of_a_transaction(self):
        self.check_halves(lambda conn: conn.call("MGET", "a", "b"))

    def test_no_transaction_sees_half_of_another(self):
        self.check_halves(lambda conn: conn.pipeline(["MULTI", "GET a", "GET b", "EXEC"])[-1])

    def test_what_one_publishes_reaches_the_listeners_of_the_other(self):
        for number in range(2):
            with self.servers[number].connect() as listener:
                listener.call("SUBSCRIBE", "ready")
                while not select.select([listener.sock], [], [], 0.05)[0]:
                    self.conns[1 - number].call("PUBLISH", "ready", "?")  # it may not listen yet
            with self.servers[number].connect() as listener:
                listener.call("SUBSCRIBE", "__tag@0__:x")
                self.conns[1 - number].call("SET", "k", "v", "TAGS", "x")
                self.assertEqual(self.conns[1 - number].call("INVALIDATE", "ANY", "x", "y"), 1)
                kind, channel, text = listener.read()
                self.assertEqual((kind, channel), (b"message", b"__tag@0__:x"))
                self.assertRegex(text, rb"^\d+ hard$")

    def test_no_value_is_seen_without_its_tags(self):
        """A key moves between two tags with its value; a query for either finds the value of it."""
        stop, wrong = threading.Event(), []

        def look(number):
            with self.servers[number].connect() as conn:
                while not stop.is_set():
                    for tag in (b"even", b"odd"):
                        for _, value in conn.call("QUERY", "WITHVALUES", "ANY", tag):
                            if value != tag:
                                wrong.append((tag, value))

        threads = [threading.Thread(target=look, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(400):
                tag = ("even", "odd")[number // 2 % 2]
                self.assertEqual(self.conns[number % 2].call("SET", "k", tag, "TAGS", tag), "OK")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])

    # -- stale fills

    def test_a_fill_is_refused_after_an_invalidation_through_the_other(self):
        for one, two in self.both_ways():
            for invalidate, kept in (("INVALIDATE ANY user:1", False), ("INVALIDATE ANY else", True),
                                     ("FLUSHDB", False)):
                with self.subTest(invalidate=invalidate):
                    value, epoch = one.pipeline(["GET page", "EPOCH"])
                    self.assertIsNone(value)
                    two.call(invalidate)
                    reply = one.call("SET", "page", "v", "IFEPOCH", epoch, "TAGS", "page", "user:1")
                    self.assertEqual(reply, "OK" if kept else None)
                    self.assertEqual(two.call("DEL", "page"), int(kept))

    def test_epochs_are_the_same_and_only_grow(self):
        last = -1
        for number in range(20):
            writer, reader = self.both_ways()[number % 2]
            writer.call("SET", "k", "v", "TAGS", "t")
            writer.call("INVALIDATE", "ANY", "t")
            epoch = writer.call("EPOCH")
            self.assertEqual(reader.call("EPOCH"), epoch)
            self.assertEqual(reader.call("TAGTIME", "t"), writer.call("TAGTIME", "t"))
            self.assertGreater(epoch, last)
            last = epoch

    def test_the_race_of_fillers_never_leaves_a_stale_value(self):
        stop = threading.Event()

        def fill(number):
            with self.servers[number % 2].connect() as conn:
                while not stop.is_set():
                    value, epoch, generation = conn.pipeline(["GET page", "EPOCH", "GET gen"])
                    if value is None:
                        conn.call("SET", "page", generation, "IFEPOCH", epoch, "TAGS", "gen")

        self.one.call("SET", "gen", "0")
        threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        stale = 0
        try:
            for generation in range(1, 151):
                writer, reader = self.both_ways()[generation % 2]
                writer.pipeline([f"SET gen {generation}", "INVALIDATE ANY gen"])
                for conn in (writer, reader):
                    value = conn.call("GET", "page")
                    stale += value is not None and int(value) < generation
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(stale, 0)

    # -- keyspaces

    def test_databases_and_namespaces_are_apart_and_seen_through_both(self):
        spaces = [(0, ""), (0, "shop"), (0, "bin\0\xff"), (7, ""), (7, "shop")]

        def go(conn, space):
            self.assertEqual(conn.call("SELECT", space[0]), "OK")
            self.assertEqual(conn.call("NAMESPACE", "USE", space[1]), "OK")

        for number, space in enumerate(spaces):
            go(self.conns[number % 2], space)
            self.assertEqual(self.conns[number % 2].call("DBSIZE"), 0)
            self.conns[number % 2].call("SET", "k", repr(space), "TAGS", f"t{number}")
        for conn in self.conns:
            for number, space in enumerate(spaces):
                go(conn, space)
                self.assertEqual(conn.call("GET", "k"), repr(space).encode())
                self.assertEqual(conn.call("DBSIZE"), 1)
                self.assertEqual(conn.call("TAGLIST"), [b"t%d" % number, 1])
            go(conn, (0, ""))
            self.assertLessEqual({b"shop", "bin\0\xff".encode()}, set(conn.call("NAMESPACE", "LIST")))
        self.assertNotIsInstance(self.two.call("NAMESPACE", "DROP", "shop"), ReplyError)
        go(self.one, (0, "shop"))
        self.assertIsNone(self.one.call("GET", "k"))
        go(self.one, (7, "shop"))
        self.assertIsNotNone(self.one.call("GET", "k"))
        self.assertEqual(self.one.call("FLUSHALL"), "OK")
        self.assertEqual(self.two.call("DBSIZE"), 0)

    # -- the same answers

    def test_everything_that_lists_says_the_same_through_both(self):
        rng = random.Random(SEED)
        model = {}
        for first in range(0, 3000, 100):
            conn = rng.choice(self.conns)
            tags = [rng.sample("abcdefgh", rng.randrange(4)) for _ in range(100)]
            conn.pipeline([("SET", f"k{first + i}", f"v{first + i}", "TAGS", *tags[i]) for i in range(100)])
            model.update({b"k%d" % (first + i): set(tags[i]) for i in range(100)})
            gone = rng.sample(sorted(model), 10)
            rng.choice(self.conns).call("DEL", *gone)
            for key in gone:
                del model[key]
        counts = {tag: sum(tag in has for has in model.values()) for tag in "abcdefgh"}
        both = {key for key, has in model.items() if {"a", "b"} <= has and "c" not in has}
        for conn in self.conns:
            self.assertEqual(conn.call("DBSIZE"), len(model))
            self.assertEqual(sorted(conn.call("KEYS", "*")), sorted(model))
            self.assertEqual(sorted(set(scan(conn, "SCAN", "COUNT", "500"))), sorted(model))
            self.assertEqual(conn.call("TAGCOUNT", *counts), list(counts.values()))
            self.assertEqual(conn.call("TAGLIST", "SORTBY", "NAME"),
                             [item for tag in sorted(counts) for item in (tag.encode(), counts[tag])])
            self.assertEqual(set(scan(conn, "TAGSCAN")), {tag.encode() for tag in counts})
            self.assertEqual(set(conn.call("QUERY", "EXPR", "a & b & !c")), both)
            self.assertEqual(conn.call("QUERY", "COUNTONLY", "EXPR", "*"), len(model))
            self.assertEqual(conn.call("QUERY", "SORTBY", "KEY", "LIMIT", "5", "20", "EXPR", "a & b & !c"),
                             sorted(both)[5:25])
            self.assertIn(conn.call("RANDOMKEY"), model)

    def test_random_commands_through_either_follow_one_model(self):
        model, rng = test_tags.Model(SEED), random.Random(SEED)
        for number in range(1500):
            sent, reply, expected = model.step(rng.choice(self.conns).call)
            self.assertEqual(reply, expected, (number, sent))
        for conn in self.conns:
            model.check(self, conn.call)

    # -- what expires leaves nothing

    def engine_keys(self):
        return sum(server.call("DBSIZE") for server in self.engine.servers())

    def engine_memory(self):
        return sum(int(server.info("memory")["used_memory"]) for server in self.engine.servers())

    def rotate(self, count):
        """So many tagged keys that live for a moment."""
        rng = random.Random(SEED)
        for first in range(0, count, 500):
            replies = self.conns[first // 500 % 2].pipeline(
                [("SET", f"page:{first + i}", "x" * 64, "PX", rng.randrange(200, 600), "TAGS", "page",
                  f"user:{rng.randrange(2000)}", f"only:{first + i}") for i in range(500)])
            self.assertEqual(set(map(str, replies)), {"OK"})

    def test_keys_that_expire_leave_no_orphans(self):
        self.rotate(1000)  # scripts, connections, buffers
        self.assertEqual(self.one.call("FLUSHALL"), "OK")
        keys, memory = self.engine_keys(), self.engine_memory()
        self.rotate(ROTATED)
        harness.wait_until(lambda: self.one.call("DBSIZE") == 0, "all have expired")
        self.assertEqual([conn.call("TAGLIST") for conn in self.conns], [[], []])
        self.assertEqual(self.two.call("TAGCOUNT", "page"), [0])
        # What a partition remembers of its own is no orphan: it does not grow with the keys.
        harness.wait_until(lambda: self.engine_keys() <= keys + 2 * PARTITIONS, "the indexes are empty",
                           pause_s=0.1)
        harness.wait_until(lambda: self.engine_memory() <= memory + (2 << 20),
                           "the engine's memory is given back", pause_s=0.1)


@once
class OnAnEngine(Agreement, unittest.TestCase):
    @classmethod
    def make_engine(cls):
        engine = engines.Engine()
        cls.addClassCleanup(engine.discard)
        return engine.start(), {}


@once
class OnACluster(Agreement, unittest.TestCase):
    """With one partition, a cluster can do all that a single server can."""

    @classmethod
    def make_engine(cls):
        return engines.shared("cluster"), {"prefix": f"agree{os.getpid()}:"}


@once
class Partitions(unittest.TestCase):
    """A cluster whose keys are dealt out to sixteen partitions."""

    COUNT = 16

    @classmethod
    def setUpClass(cls):
        cls.server = nadbd(engines.shared("cluster"), prefix=f"parts{os.getpid()}:", redis_partitions=cls.COUNT,
                           timeout_s=10 * harness.slow_factor()).start()
        cls.addClassCleanup(cls.server.discard)

    def setUp(self):
        self.conn = self.server.connect()
        self.addCleanup(self.conn.close)
        self.assertEqual(self.conn.call("FLUSHALL"), "OK")
        for i in range(50):
            self.assertEqual(self.conn.call("SET", f"k{i}", i, "TAGS", "all", f"t{i % 5}"), "OK")
        self.keys = [f"k{i}" for i in range(50)]

    def test_reads_go_over_all_partitions(self):
        call = self.conn.call
        self.assertEqual(call("MGET", *self.keys, "none"), [b"%d" % i for i in range(50)] + [None])
        self.assertEqual(call("EXISTS", *self.keys, "none", "k0"), 51)
        self.assertEqual(call("DBSIZE"), 50)
        self.assertEqual(sorted(call("KEYS", "*")), sorted(key.encode() for key in self.keys))
        self.assertEqual(sorted(set(scan(self.conn, "SCAN", "COUNT", "7"))),
                         sorted(key.encode() for key in self.keys))
        self.assertEqual(call("TAGCOUNT", "all", "t1"), [50, 10])
        self.assertEqual(set(call("QUERYTAGS", "all", "t1")), {b"k%d" % i for i in range(1, 50, 5)})
        self.assertEqual(call("TAGLIST", "SORTBY", "NAME")[:4], [b"all", 50, b"t0", 10])

    def test_they_are_spread_over_all_masters(self):
        prefix = self.server.options["redis-prefix"]
        for master in engines.shared("cluster").masters():
            with master.connect() as conn:
                self.assertNotEqual(scan(conn, "SCAN", "MATCH", f"{prefix}*", "COUNT", "10000"), [])

    def test_invalidations_and_flushes_go_over_all_partitions(self):
        self.assertEqual(self.conn.call("INVALIDATE", "ANY", "t1"), 10)
        self.assertEqual(self.conn.call("TAGCOUNT", "all", "t1"), [40, 0])
        self.assertEqual(self.conn.call("INVALIDATE", "EXPR", "all & !t2"), 30)
        self.assertEqual(self.conn.call("DBSIZE"), 10)
        self.assertEqual(self.conn.call("FLUSHDB"), "OK")
        self.assertEqual((self.conn.call("DBSIZE"), self.conn.call("TAGLIST")), (0, []))

    def test_an_invalidation_refuses_fills_whatever_their_partition(self):
        epoch = self.conn.call("EPOCH")
        self.conn.call("INVALIDATE", "ANY", "t1")
        for i in range(50):
            self.assertIsNone(self.conn.call("SET", f"new{i}", "v", "IFEPOCH", epoch, "TAGS", "t1"))
            self.assertEqual(self.conn.call("SET", f"new{i}", "v", "IFEPOCH", epoch, "TAGS", "other"), "OK")

    def expect_unchanged(self):
        self.assertEqual(self.conn.call("MGET", *self.keys), [b"%d" % i for i in range(50)])
        self.assertEqual(self.conn.call("DBSIZE"), 50)

    def test_changes_of_keys_in_several_partitions_are_refused_whole(self):
        pairs = [word for key in self.keys for word in (key, "changed")]
        self.assertEqual(str(self.conn.call("MSET", *pairs)), CROSSSLOT)
        self.expect_unchanged()
        self.assertEqual(str(self.conn.call("MSETNX", *[f"new{word}" for word in pairs])), CROSSSLOT)
        self.expect_unchanged()
        replies = self.conn.pipeline(["MULTI", *[f"SET {key} changed" for key in self.keys], "EXEC"])
        self.assertEqual(str(replies[-1]), CROSSSLOT)
        self.expect_unchanged()
        refused = [str(self.conn.call("RENAMENX", "k0", f"to{i}")) for i in range(1, 50)]
        self.assertIn(CROSSSLOT, refused)
        moved = [i for i, reply in enumerate(refused, 1) if reply != CROSSSLOT and reply != "ERR no such key"]
        self.assertLessEqual(len(moved), 1)
        self.assertEqual(self.conn.call("DBSIZE"), 50)

    def test_hashtags_keep_keys_together(self):
        for i in range(30):
            a, b, c = (f"{{user:{i}}}:{name}" for name in "abc")
            self.assertEqual(self.conn.call("MSET", a, "1", b, "2"), "OK")
            self.assertEqual(self.conn.call("RENAME", a, c), "OK")
            replies = self.conn.pipeline([["MULTI"], ["INCR", b], ["APPEND", c, "x"], ["COPY", b, a], ["EXEC"]])
            self.assertEqual(replies[-1], [3, 2, 1])
            self.assertEqual(self.conn.call("MGET", a, b, c), [b"3", b"3", b"1x"])


# ---- what is refused at the start ----

@once
class Start(unittest.TestCase):
    def refused(self, server, *texts):
        """A nadbd that must end by itself: exit code 1, and one line of its log says why."""
        server.port = harness.free_port()
        self.addCleanup(server.discard)
        server.spawn()
        self.assertEqual(server.wait_exit(), 1, server.log())
        lines = [line for line in server.lines if all(text.lower() in line.lower() for text in texts)]
        self.assertEqual(len(lines), 1, server.log())
        return lines[0]

    def test_another_number_of_partitions_is_refused(self):
        with engines.Engine() as engine:
            with nadbd(engine, redis_partitions=64) as server:
                server.call("SET", "k", "v")
            self.refused(nadbd(engine, redis_partitions=16), "partitions", "16", "64")
            with nadbd(engine, redis_partitions=64) as server:
                self.assertEqual(server.call("GET", "k"), b"v")
            with nadbd(engine, redis_partitions=16, prefix="other:") as server:
                self.assertIsNone(server.call("GET", "k"))

    def test_a_nadbd_that_is_not_to_wait_ends_when_the_engine_is_down(self):
        port = engines.stable_port()
        server = harness.Server(options={
            "backend": "redis", "redis-url": [f"redis://:verysecret@127.0.0.1:{port}"],
            "redis-startup": "fail", "redis-timeout": "1s"})
        began = time.monotonic()
        self.refused(server, str(port))
        self.assertLess(time.monotonic() - began, 5 * harness.slow_factor())
        self.assertNotIn("verysecret", server.log())

    def test_a_nadbd_that_waits_serves_when_the_engine_comes(self):
        engine = engines.Engine(port=engines.stable_port())
        self.addCleanup(engine.discard)
        server = nadbd(engine, redis_startup="wait")
        server.port = harness.free_port()
        self.addCleanup(server.discard)
        server.spawn()
        threading.Event().wait(0.5)  # that it does not end is told by nothing
        self.assertIsNone(server.process.poll(), server.log())
        try:
            reply = server.call("GET", "k")
        except OSError:
            reply = None  # it need not listen yet
        if reply is not None:
            self.assertRegex(str(reply), "^(LOADING|IOERR) ")
        engine.start()
        began = time.monotonic()
        server.wait_ready()
        self.assertLess(time.monotonic() - began, RESUME_S)
        self.assertEqual(server.call("SET", "k", "v"), "OK")
        self.assertEqual(server.stop(), 0)

    def test_a_nadbd_that_waits_waits_for_an_engine_that_loads(self):
        with engines.Engine() as engine:
            with nadbd(engine) as server, server.connect() as conn:
                conn.pipeline([("SET", f"k{number}", "v", "TAGS", "all") for number in range(1000)])
            self.assertEqual(engine.call("SAVE"), "OK")
            engine.kill()
            engine.options.update(LOADS_SLOWLY)
            engine.spawn()
            with nadbd(engine) as server:
                harness.wait_until(lambda: server.call("GET", "k7") == b"v", "it serves")
                self.assertEqual(server.call("TAGCOUNT", "all"), [1000])

    def test_a_nadbd_that_waits_can_be_stopped(self):
        server = harness.Server(options={
            "backend": "redis", "redis-url": [f"redis://127.0.0.1:{engines.stable_port()}"],
            "redis-startup": "wait"})
        server.port = harness.free_port()
        self.addCleanup(server.discard)
        server.spawn()
        threading.Event().wait(0.5)
        self.assertIsNone(server.process.poll(), server.log())
        began = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - began, 5 * harness.slow_factor())

    def test_passwords_and_users_in_the_url(self):
        with engines.Engine({"requirepass": "s3cret"}) as engine:
            with nadbd(engine) as server:
                self.assertEqual(server.call("SET", "k", "v"), "OK")
                self.assertNotIn("s3cret", "\n".join(server.lines))
                self.assertNotIn("s3cret", server.call("INFO", "everything").decode())
            engine.call("ACL", "SETUSER", "nadb", "on", ">other", "~nadb:*", "&*", "+@all")
            with nadbd(engine, redis_url=[f"redis://nadb:other@127.0.0.1:{engine.port}"]) as server:
                self.assertEqual(server.call("GET", "k"), b"v")
            wrong = nadbd(engine, redis_url=[f"redis://:wr0ng@127.0.0.1:{engine.port}"], redis_startup="fail")
            self.refused(wrong, "WRONGPASS")
            self.assertNotIn("wr0ng", "\n".join(wrong.lines))
            without = nadbd(engine, redis_url=[f"redis://127.0.0.1:{engine.port}"], redis_startup="fail")
            self.refused(without, "NOAUTH")

    def test_a_database_in_the_url_is_where_everything_is(self):
        with engines.Engine() as engine:
            with nadbd(engine, redis_url=[f"redis://127.0.0.1:{engine.port}/5"]) as server:
                self.assertEqual(server.call("SET", "k", "v"), "OK")
                keyspaces = {name for name in engine.info("keyspace") if name.startswith("db")}
                self.assertEqual(keyspaces, {"db5"})

    def test_a_unix_socket_of_the_engine(self):
        with harness.temporary_folder() as place, \
                engines.Engine({"unixsocket": f"{place}/redis.sock"}), \
                harness.Server(options={
                    "backend": "redis", "redis-url": [f"unix://{place}/redis.sock"]}) as server:
            self.assertEqual(server.call("SET", "k", "v"), "OK")
            self.assertEqual(server.call("GET", "k"), b"v")

    def test_several_words_of_prefix_share_an_engine(self):
        with engines.Engine() as engine, nadbd(engine, prefix="a:") as one, nadbd(engine, prefix="b:") as two:
            one.call("SET", "k", "of a", "TAGS", "x")
            two.call("SET", "k", "of b")
            self.assertEqual(two.call("FLUSHALL"), "OK")
            self.assertEqual(one.call("GET", "k"), b"of a")
            self.assertEqual(one.call("TAGLIST"), [b"x", 1])

    def test_databases_that_are_shared_are_not_swapped(self):
        with engines.Engine() as engine, nadbd(engine) as server:
            self.assertEqual(str(server.call("SWAPDB", "0", "1")),
                             "ERR SWAPDB is not possible with a shared backend")

    def test_info_says_who_keeps_the_data(self):
        with engines.Engine() as engine, nadbd(engine) as server:
            self.assertEqual(server.info()["nadb_durability"], "backend")


# ---- an engine that fails ----

class Load:
    """Clients that go on whatever they are answered. Each counts up a key of its own with INCR and
    looks at another; what they may be answered is judged at the end."""

    CLIENTS = 6

    def __init__(self, servers):
        self.servers = servers
        self.stop = threading.Event()
        self.acked, self.unknown = [0] * self.CLIENTS, [0] * self.CLIENTS
        self.last = [0] * self.CLIENTS       # the number that was answered last
        self.errors = {}                     # text -> how often
        self.slowest_s = 0.0
        self.problems = []
        self.threads = [threading.Thread(target=self.guarded, args=(number,), daemon=True)
                        for number in range(self.CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def guarded(self, number):
        try:
            self.run(number)
        except Exception as error:  # pylint: disable=broad-except
            self.problems.append(f"client {number}: {error!r}")

    def run(self, number):
        with self.servers[number % len(self.servers)].connect() as conn:
            while not self.stop.is_set():
                reply = self.timed(conn, "INCR", f"n{number}")
                self.note(number, reply)
                look = self.timed(conn, "GET", f"n{(number + 1) % self.CLIENTS}")
                if isinstance(look, ReplyError):
                    self.note_error(look)
                if isinstance(reply, ReplyError):
                    self.stop.wait(0.01)

    def timed(self, conn, *command):
        began = time.monotonic()
        reply = conn.call(*command)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        return reply

    def note(self, number, reply):
        if isinstance(reply, ReplyError):
            self.unknown[number] += OUTCOME_UNKNOWN in str(reply)
            self.note_error(reply)
            return
        if reply <= self.last[number]:
            self.problems.append(f"client {number}: INCR answered {reply} behind {self.last[number]}")
        self.last[number] = reply
        self.acked[number] += 1

    def note_error(self, reply):
        self.errors[str(reply)] = self.errors.get(str(reply), 0) + 1

    def total(self):
        return sum(self.acked)

    def counts(self, server):
        """The final numbers, as `server` has them."""
        with server.connect() as conn:
            return [int(conn.call("GET", f"n{number}") or 0) for number in range(self.CLIENTS)]


@once
class Failures(unittest.TestCase):
    def setUp(self):
        self.engine = engines.Engine(self.engine_options()).start()
        self.addCleanup(self.engine.discard)
        self.servers = []
        self.on(self.engine)

    def engine_options(self):
        return {}

    def on(self, engine):
        """Two nadbd on it."""
        for server in self.servers:
            server.discard()
        self.servers = [nadbd(engine).start() for _ in range(2)]
        for server in self.servers:
            self.addCleanup(server.discard)

    def tearDown(self):
        for server in self.servers:
            self.assertIsNone(server.process.poll(), server.log())

    def answers_in_time(self, conn, *command):
        """A command's reply, which must not have taken longer than it may."""
        began = time.monotonic()
        reply = conn.call(*command)
        self.assertLess(time.monotonic() - began, TIMEOUT_S + SLACK_S, (command, reply))
        return reply

    def expect_down(self, prefixes=("IOERR ",)):
        """Everything that needs the engine is answered by an error in time, and PING at once."""
        for server in self.servers:
            with server.connect() as conn, server.connect() as other:
                for command in (("GET", "k"), ("SET", "k", "v"), ("INCR", "n"), ("MGET", "a", "b"),
                                ("DEL", "k"), ("DBSIZE",), ("QUERYTAGS", "t"), ("TAGLIST",),
                                ("SCAN", "0"), ("INVALIDATE", "ANY", "t"), ("EPOCH",)):
                    conn.send(encode(*command))
                    began = time.monotonic()
                    self.assertEqual(other.call("PING"), "PONG")
                    self.assertLess(time.monotonic() - began, PING_S, command)
                    reply = conn.read()
                    self.assertLess(time.monotonic() - began, TIMEOUT_S + SLACK_S, (command, reply))
                    self.assertIsInstance(reply, ReplyError, command)
                    self.assertTrue(str(reply).startswith(prefixes), (command, reply))
                self.assertIn(b"redis_version", conn.call("INFO", "server"))

    def expect_up(self):
        """The service resumes by itself."""
        began = time.monotonic()
        for server in self.servers:
            with server.connect() as conn:
                harness.wait_until(lambda conn=conn: [conn.call("SET", "back", "v"), conn.call("GET", "back")]
                                   == ["OK", b"v"], "it serves again")
        self.assertLess(time.monotonic() - began, RESUME_S)

    def run_load_over(self, action):
        """Load before, while and after action(load) does something to the engine; returns the load."""
        with Load(self.servers) as load:
            harness.wait_until(lambda: load.total() > 200, "the load runs")
            action(load)
            self.expect_up()
            now = load.total()
            harness.wait_until(lambda: load.total() > now + 200, "the load goes on")
        self.check_load(load)
        return load

    def check_load(self, load):
        self.assertEqual(load.problems, [])
        self.assertLess(load.slowest_s, TIMEOUT_S + SLACK_S)
        self.assertEqual([text for text in load.errors if not text.startswith(("IOERR ", "BUSY "))], [])

    def check_counts(self, load):
        """No increment was made twice, none that was answered is missing."""
        for number, count in enumerate(load.counts(self.servers[0])):
            self.assertTrue(load.acked[number] <= count <= load.acked[number] + load.unknown[number],
                            f"client {number}: {load.acked[number]} acknowledged, {load.unknown[number]} "
                            f"unknown, {count} there; {load.errors}")

    # -- dead, silent, cut off

    def test_a_killed_engine_is_told_in_time_and_the_service_resumes(self):
        def kill_and_restart(load):
            self.engine.kill()
            self.expect_down()
            load.last = [0] * load.CLIENTS  # it comes back with nothing
            self.engine.restart()

        load = self.run_load_over(kill_and_restart)
        self.assertGreater(sum(load.errors.values()), 0)

    def test_a_silent_engine_is_told_in_time_and_the_service_resumes(self):
        def pause_and_resume(_):
            self.engine.pause()
            self.expect_down(("IOERR ", "BUSY "))
            self.engine.resume()

        load = self.run_load_over(pause_and_resume)
        self.assertGreater(sum(load.errors.values()), 0)
        self.check_counts(load)

    def test_an_engine_that_loads_its_data_says_so_and_then_has_it(self):
        with self.servers[0].connect() as conn:
            conn.pipeline([("SET", f"k{number}", "v", "TAGS", "all") for number in range(2000)])
            self.assertEqual(self.engine.call("SAVE"), "OK")
            self.engine.kill()
            self.engine.options.update(LOADS_SLOWLY)
            self.engine.spawn()
            said = set()
            harness.wait_until(
                lambda: not said.add(str(self.answers_in_time(conn, "GET", "k7"))) and "b'v'" in said,
                "it has loaded")
            self.assertLessEqual({text.split(" ")[0] for text in said}, {"LOADING", "IOERR", "b'v'"})
            self.assertIn("LOADING", {text.split(" ")[0] for text in said})
            self.assertEqual(conn.call("TAGCOUNT", "all"), [2000])
        self.expect_up()

    def test_one_client_that_waits_for_a_silent_engine_holds_up_nobody_else(self):
        self.engine.pause()
        self.addCleanup(self.engine.resume)
        conns = [self.servers[0].connect() for _ in range(50)]
        for conn in conns:
            self.addCleanup(conn.close)
            conn.send(encode("SET", "k", "v") * 100)
        with self.servers[0].connect() as other:
            slowest = 0.0
            for _ in range(100):
                began = time.monotonic()
                self.assertEqual(other.call("PING"), "PONG")
                slowest = max(slowest, time.monotonic() - began)
                threading.Event().wait(0.005)
        self.assertLess(slowest, PING_S)
        self.engine.resume()
        self.expect_up()

    def test_connections_that_the_engine_cuts_are_made_again(self):
        def cut(load):
            for _ in range(30):
                now = load.total()
                harness.wait_until(lambda: load.total() > now + 20, "the load runs")
                self.engine.call("CLIENT", "KILL", "TYPE", "normal")

        self.check_counts(self.run_load_over(cut))

    def test_a_change_whose_answer_was_lost_is_not_made_twice(self):
        """Every so many replies the connection is cut when the engine has done its work."""
        rng = random.Random(SEED)

        def spoil(data):
            return None if is_on.is_set() and rng.random() < 0.02 else data

        is_on = threading.Event()
        with engines.Proxy(self.engine, spoil) as proxy:
            self.on(proxy)
            def cut(load):
                is_on.set()
                harness.wait_until(lambda: proxy.cuts >= 40 and load.total() > 500, "many connections are cut")
                is_on.clear()

            load = self.run_load_over(cut)
            self.assertGreater(sum(load.unknown), 0, load.errors)
            self.check_counts(load)

    def test_nonsense_from_the_engine_is_an_error_and_nothing_more(self):
        answers = [b"rubbish\r\n", b"$999999999999\r\n", b"*1000000000\r\n", b"$-7\r\n", b":x\r\n", b"\0" * 100,
                   b"*2\r\n" * 20000, b"$3\r\nabcdef\r\n"]
        state = {"answer": None}

        def spoil(data):
            return state["answer"] or data

        with engines.Proxy(self.engine, spoil) as proxy:
            self.on(proxy)
            before = self.servers[0].rss_bytes()
            for answer in answers:
                with self.subTest(answer=answer[:20]), self.servers[0].connect() as conn:
                    state["answer"] = answer
                    for command in (("GET", "k"), ("SET", "k", "v"), ("QUERYTAGS", "t"), ("DBSIZE",)):
                        reply = self.answers_in_time(conn, *command)
                        self.assertRegex(f"{type(reply).__name__} {reply}", "^ReplyError (IOERR|CORRUPT|BACKEND) ")
                    state["answer"] = None
                    self.expect_up()
            if not harness.is_sanitized():
                self.assertLess(self.servers[0].rss_bytes() - before, 64 << 20)

    def test_foreign_data_in_place_of_a_record_is_not_handed_out(self):
        with self.servers[0].connect() as conn:
            conn.call("SET", "k", "value", "TAGS", "t")
            with self.engine.connect() as engine:
                for name in scan(engine, "SCAN", "COUNT", "1000"):
                    if engine.call("TYPE", name) == "string":
                        engine.call("SET", name, "rubbish", "KEEPTTL")
                    elif engine.call("TYPE", name) == "hash":
                        for field in engine.call("HKEYS", name):  # whatever form a record has
                            engine.call("HSET", name, field, "rubbish")
            reply = self.answers_in_time(conn, "GET", "k")
            self.assertRegex(f"{type(reply).__name__} {reply}", "^ReplyError CORRUPT ")
            self.assertEqual(conn.call("PING"), "PONG")

    # -- full, closed

    def test_a_full_engine_refuses_what_grows_and_serves_the_rest(self):
        value = "x" * 1000
        with self.servers[0].connect() as conn, self.servers[1].connect() as other:
            used = int(self.engine.info("memory")["used_memory"])
            self.engine.call("CONFIG", "SET", "maxmemory", used + (4 << 20))
            written, refusal = 0, None
            for number in range(20000):
                reply = conn.call("SET", f"k{number}", value, "TAGS", "all")
                if reply != "OK":
                    refusal = reply
                    break
                written += 1
            self.assertIsInstance(refusal, ReplyError)
            self.assertRegex(str(refusal), "^OOM ")
            self.assertGreater(written, 100)
            for command in (("INCR", "new"), ("APPEND", "new", value), ("MSET", "a", value, "b", value)):
                self.assertRegex(str(self.answers_in_time(other, *command)), "^OOM ")
            self.assertEqual(other.call("GET", "k0"), value.encode())
            self.assertEqual(other.call("TAGCOUNT", "all"), [written])
            self.assertEqual(len(other.call("QUERY", "LIMIT", "0", "10", "ANY", "all")), 10)
            self.assertEqual(other.call("DEL", *[f"k{number}" for number in range(written // 2)]), written // 2)
            self.assertEqual(conn.call("SET", "again", "v"), "OK")
            self.assertEqual(other.call("INVALIDATE", "ANY", "all"), written - written // 2)
            self.assertEqual(conn.call("DBSIZE"), 1)
            self.assertEqual(self.engine.call("CONFIG", "SET", "maxmemory", "0"), "OK")

    def test_expiry_and_invalidation_work_in_a_full_engine(self):
        with self.servers[0].connect() as conn:
            conn.pipeline([("SET", f"k{number}", "v" * 100, "TAGS", "all") for number in range(500)])
            self.engine.call("CONFIG", "SET", "maxmemory", "1mb")
            self.assertRegex(str(conn.call("SET", "k", "v")), "^OOM ")
            self.assertEqual(conn.call("INVALIDATE", "ANY", "all"), 500)
            self.assertEqual(conn.call("DBSIZE"), 0)
            self.assertEqual(conn.call("FLUSHALL"), "OK")

    def test_a_password_that_changes_is_told_and_the_right_one_serves_again(self):
        engine = engines.Engine({"requirepass": "first"}).start()
        self.addCleanup(engine.discard)
        self.on(engine)
        with self.servers[0].connect() as conn:
            self.assertEqual(conn.call("SET", "k", "v"), "OK")
            with engine.connect() as admin:
                admin.call("CONFIG", "SET", "requirepass", "second")
                admin.call("CLIENT", "KILL", "TYPE", "normal")
                harness.wait_until(lambda: isinstance(conn.call("GET", "k"), ReplyError), "it is refused")
                reply = self.answers_in_time(conn, "GET", "k")
                self.assertRegex(str(reply), "^(WRONGPASS|NOAUTH|IOERR) ")
                self.assertEqual(conn.call("PING"), "PONG")
                admin.call("CONFIG", "SET", "requirepass", "first")
            self.expect_up()
            self.assertEqual(conn.call("GET", "k"), b"v")
            for server in self.servers:
                self.assertNotIn("first", "\n".join(server.lines))

    def test_an_engine_that_is_a_replica_refuses_writes_in_its_own_words(self):
        with self.servers[0].connect() as conn:
            self.assertEqual(conn.call("SET", "k", "v"), "OK")
            with engines.Engine() as master:
                self.engine.call("REPLICAOF", "127.0.0.1", master.port)
                harness.wait_until(
                    lambda: self.engine.info("replication")["master_link_status"] == "up", "it follows")
                self.assertRegex(str(self.answers_in_time(conn, "SET", "k", "w")), "^READONLY ")
                self.assertIsNone(conn.call("GET", "k"))  # its master has nothing
                self.engine.call("REPLICAOF", "NO", "ONE")
            self.expect_up()

    def test_scripts_that_the_engine_forgot_are_sent_again(self):
        def forget(load):
            for _ in range(20):
                now = load.total()
                harness.wait_until(lambda: load.total() > now + 20, "the load runs")
                self.engine.call("SCRIPT", "FLUSH")

        load = self.run_load_over(forget)
        self.assertEqual(load.errors, {})
        self.assertEqual(load.counts(self.servers[1]), load.acked)


# ---- in and out ----

@once
class InAndOut(unittest.TestCase):
    def export(self, server, path):
        code, _, err = test_nadbctl.ctl("export", "-p", server.port, path)
        self.assertEqual(code, 0, err)
        with open(path, encoding="ascii") as file:
            rows = [json.loads(line) for line in file]
        return {(row["db"], row.get("namespace", row.get("namespace64")), row.get("key", row.get("key64"))): row
                for row in rows}

    def test_what_goes_from_fs_into_redis_comes_out_the_same(self):
        with harness.temporary_folder() as place, engines.Engine() as engine, \
                harness.Server(options=test_nadbctl.OPTIONS) as source, nadbd(engine, timeout_s=10) as target, \
                harness.Server(options=test_nadbctl.OPTIONS) as third:
            with source.connect() as conn:
                count = test_nadbctl.fill_with_all_kinds(conn)
            before = self.export(source, f"{place}/before")
            self.assertEqual(len(before), count)
            for number, (one, two) in enumerate(((source, target), (target, third))):
                exporting = subprocess.Popen(
                    [test_nadbctl.NADBCTL, "export", "-p", str(one.port)], stdout=subprocess.PIPE)
                code = subprocess.run([test_nadbctl.NADBCTL, "import", "-p", str(two.port), "-"],
                                      stdin=exporting.stdout, capture_output=True, check=False)
                exporting.stdout.close()
                self.assertEqual((exporting.wait(), code.returncode), (0, 0), code.stderr)
                after = self.export(two, f"{place}/{number}")
                self.assertEqual(set(after), set(before))
                for name, row in before.items():
                    self.expect_same(row, after[name])

    def expect_same(self, one, two):
        def plain(row):
            row = {**row}
            row.pop("expire", None)
            row.pop("accessed")  # kept coarsely, and the export itself is one
            for name in ("tags", "tags64"):
                if name in row:
                    row[name] = sorted(row[name])
            return row

        self.assertEqual(plain(one), plain(two))
        self.assertLessEqual(abs(one.get("expire", 0) - two.get("expire", 0)), 50)
