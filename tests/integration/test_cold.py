"""More data than maxmemory: values that stay on disk and come back when they are asked for."""

import glob
import os
import random
import threading
import unittest

import harness
from resp import ReplyError

MAXMEMORY = 24 << 20
KEYS = 60_000
OPTIONS = {"maxmemory": str(MAXMEMORY), "flush-interval": "100ms", "segment-size": "4mb"}


def value_of(i, generation=0):
    return b"%d/%d " % (i, generation) + b"%08d" % (i * 7919 % 10**8) * 125


def receive(conn, count):
    """So many bytes, as they come."""
    parts = []
    while count > 0:
        parts.append(conn.sock.recv(min(count, 1 << 20)))
        count -= len(parts[-1])
    return b"".join(parts)


def write_all(conn, generation=0):
    for first in range(0, KEYS, 500):
        replies = conn.pipeline([("SET", f"k{i}", value_of(i, generation), "TAGS", f"t{i % 10}")
                                 for i in range(first, first + 500)])
        refused = [reply for reply in replies if reply != "OK"]
        if refused:
            raise AssertionError(refused[0])


@harness.nadbd_only("values on disk")
@harness.log_backend_only("values in segments")
class ColdValues(unittest.TestCase):
    """Sixty megabytes of values, twenty-four of memory."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(options=OPTIONS).start()
        cls.addClassCleanup(cls.server.discard)
        with cls.server.connect() as conn:
            write_all(conn)

    def setUp(self):
        self.conn = self.server.connect()
        self.addCleanup(self.conn.close)

    def expect_all(self, conn, keys):
        for first in range(0, len(keys), 200):
            part = keys[first:first + 200]
            self.assertEqual(conn.pipeline([f"GET k{i}" for i in part]),
                             [value_of(i) for i in part])

    def test_every_value_is_there_in_whatever_order_it_is_asked_for(self):
        info = self.server.info()
        self.assertEqual(info["evicted_keys"], "0")
        self.assertGreater(int(info["nadb_cold_keys"]), KEYS // 4)
        self.assertLess(int(info["used_memory"]), MAXMEMORY * 1.15)
        keys = list(range(KEYS))
        random.Random(5).shuffle(keys)
        self.expect_all(self.conn, keys[:15_000])
        self.assertGreater(int(self.server.info()["nadb_fetched_values"]), 1000)
        self.assertLess(int(self.server.info()["used_memory"]), MAXMEMORY * 1.15)

    def test_counts_tags_and_times_need_no_value(self):
        before = self.server.info()["nadb_fetched_values"]
        self.assertEqual(self.conn.call("DBSIZE"), KEYS)
        self.assertEqual(self.conn.call("TAGCOUNT", "t3"), [KEYS // 10])
        self.assertEqual(self.conn.call("QUERY", "COUNTONLY", "EXPR", "t1 | t2"), KEYS // 5)
        self.assertEqual(self.conn.call("STRLEN", "k77"), len(value_of(77)))
        self.assertEqual(self.conn.call("TTL", "k77"), -1)
        self.assertEqual(self.conn.call("EXISTS", "k1", "k2", "none"), 2)
        self.assertEqual(self.conn.call("TAGGET", "k77"), [b"t7"])
        self.assertEqual(self.server.info()["nadb_fetched_values"], before)

    def test_many_keys_at_once_and_transactions_see_their_values(self):
        keys = random.Random(6).sample(range(KEYS), 3000)
        self.assertEqual(self.conn.call("MGET", *[f"k{i}" for i in keys]),
                         [value_of(i) for i in keys])
        keys = random.Random(7).sample(range(KEYS), 500)
        self.conn.call("MULTI")
        for i in keys:
            self.conn.call("GET", f"k{i}")
        self.assertEqual(self.conn.call("EXEC"), [value_of(i) for i in keys])

    def test_queries_answer_with_values(self):
        found = self.conn.call("QUERY", "SORTBY", "KEY", "LIMIT", "0", "500", "WITHVALUES", "ANY", "t4")
        self.assertEqual(len(found), 500)
        for key, value in found:
            self.assertEqual(value, value_of(int(key[1:])))
        replies = self.conn.pipeline(
            ["MULTI", "QUERY LIMIT 0 50 WITHVALUES ANY t5", "EXEC"])[-1]
        for key, value in replies[0]:
            self.assertEqual(value, value_of(int(key[1:])))

    def test_changes_of_what_is_on_disk_keep_the_value(self):
        rng = random.Random(8)
        for i in rng.sample(range(KEYS), 40):
            key, copy = f"k{i}", f"copy{i}"
            self.assertEqual(self.conn.call("COPY", key, copy), 1)
            self.assertEqual(self.conn.call("EXPIRE", copy, "1000"), 1)
            self.assertEqual(self.conn.call("TAGADD", copy, "copied"), 1)
            self.assertEqual(self.conn.call("APPEND", copy, "!"), len(value_of(i)) + 1)
            self.assertEqual(self.conn.call("GETRANGE", copy, "0", "9"), value_of(i)[:10])
            self.assertEqual(self.conn.call("RENAME", copy, copy + "b"), "OK")
            self.assertEqual(self.conn.call("GETDEL", copy + "b"), value_of(i) + b"!")
            self.assertIsNone(self.conn.call("SET", key, "x", "IFEQ", "y"))
            self.assertEqual(self.conn.call("GET", key), value_of(i))

    def test_a_burst_of_clients_for_the_same_keys_reads_each_once(self):
        keys = random.Random(9).sample(range(KEYS), 400)
        self.expect_all(self.conn, list(range(20_000, 45_000)))  # others are in memory now
        before = int(self.server.info()["nadb_fetched_values"])
        clients = [self.server.connect() for _ in range(8)]
        threads = [threading.Thread(target=self.expect_all, args=(conn, keys)) for conn in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for conn in clients:
            conn.close()
        self.assertLess(int(self.server.info()["nadb_fetched_values"]) - before, 3 * len(keys))


@harness.nadbd_only("values on disk")
@harness.log_backend_only("values in segments")
class ColdStore(unittest.TestCase):
    def test_a_restart_and_compaction_keep_everything(self):
        with harness.Server(options=OPTIONS) as server:
            for generation in range(2):
                with server.connect() as conn:
                    write_all(conn, generation)
            server.call("FLUSH")
            server.kill()
            server.start()
            info = server.info()
            self.assertLess(int(info["used_memory"]), MAXMEMORY * 1.15)
            self.assertEqual(server.call("DBSIZE"), KEYS)
            with server.connect() as conn:
                conn.call("COMPACT")
                keys = random.Random(3).sample(range(KEYS), 5000)
                for first in range(0, len(keys), 100):
                    part = keys[first:first + 100]
                    self.assertEqual(conn.pipeline([f"GET k{i}" for i in part]),
                                     [value_of(i, 1) for i in part])

    def test_damage_is_told_for_its_key_and_for_no_other(self):
        with harness.Server(options={**OPTIONS, "compression": "no"}) as server:
            with server.connect() as conn:
                write_all(conn)
                conn.call("FLUSH")
                first = sorted(glob.glob(os.path.join(server.folder, "*.seg")))[0]
                needle = value_of(5)
                with open(first, "r+b") as file:
                    data = file.read()
                    at = data.find(needle)
                    self.assertGreater(at, 0)
                    file.seek(at + 100)
                    file.write(b"DAMAGE")
                for start in range(10_000, 50_000, 500):        # others take the memory
                    conn.pipeline([f"GET k{i}" for i in range(start, start + 500)])
                reply = conn.call("GET", "k5")
                self.assertIsInstance(reply, ReplyError)
                self.assertRegex(str(reply), r"^CORRUPT .*\.seg:\d+: damaged record, key 'k5'$")
                self.assertEqual(conn.call("GET", "k6"), value_of(6))
                self.assertEqual(conn.call("SET", "k5", "new"), "OK")
                self.assertEqual(conn.call("GET", "k5"), b"new")

    def test_keys_go_when_the_index_alone_is_too_large(self):
        options = {**OPTIONS, "maxmemory": str(6 << 20), "maxmemory-policy": "allkeys-lru"}
        with harness.Server(options=options) as server, server.connect() as conn:
            write_all(conn)
            self.assertGreater(int(server.info()["evicted_keys"]), 0)
            harness.wait_until(lambda: int(server.info()["used_memory"]) < (6 << 20) * 1.3,
                               "memory is back within its limit")
            self.assertEqual(conn.call("GET", f"k{KEYS - 1}"), value_of(KEYS - 1))


@harness.nadbd_only("values on disk")
@harness.log_backend_only("hints of segments")
class Starts(unittest.TestCase):
    """Starts of a store that is larger than memory go by hints."""

    def hints(self, server):
        return glob.glob(os.path.join(server.folder, "*.hint"))

    def expect_all(self, server):
        with server.connect() as conn:
            self.assertEqual(conn.call("DBSIZE"), KEYS)
            self.assertEqual(conn.call("TAGCOUNT", "t3"), [KEYS // 10])
            keys = list(range(0, KEYS, 7))
            for first in range(0, len(keys), 200):
                part = keys[first:first + 200]
                self.assertEqual(conn.pipeline([f"GET k{i}" for i in part]),
                                 [value_of(i) for i in part])

    def test_after_a_kill_by_hints_by_damaged_ones_and_without(self):
        with harness.Server(options={**OPTIONS, "compression": "no"}) as server:
            with server.connect() as conn:
                write_all(conn)
                conn.call("FLUSH")
            harness.wait_until(lambda: len(self.hints(server)) >= 10, "hints are written")
            server.kill()
            server.start()
            self.expect_all(server)
            server.kill()
            for path in self.hints(server):
                with open(path, "r+b") as file:
                    file.seek(1000)
                    file.write(b"rubbish")
            server.start()
            self.expect_all(server)
            server.stop()
            for path in self.hints(server):
                os.unlink(path)
            server.start()
            self.expect_all(server)


@harness.nadbd_only("values on disk")
@harness.log_backend_only("the cache of values")
class SlowReaders(unittest.TestCase):
    """A long value exists once, however many clients are being sent it."""

    SIZE = 32 << 20
    READERS = 4

    def test_many_slow_readers_of_one_long_value_share_it(self):
        value = os.urandom(1 << 20) * (self.SIZE >> 20)
        with harness.Server(options={"compression": "no"}) as server:
            server.call("SET", "long", value)
            server.call("FLUSH")
            before = int(server.info()["used_memory"])
            readers = [server.connect() for _ in range(self.READERS)]
            for conn in readers:
                conn.send(b"GET long\r\nPING\r\n")
                self.assertEqual(receive(conn, 1), b"$")
            self.assertLess(int(server.info()["used_memory"]) - before, self.SIZE // 2)
            server.call("SET", "long", "short")
            for conn in readers:
                rest = receive(conn, len(b"%d\r\n" % self.SIZE) + self.SIZE + 2 + 7)
                self.assertEqual(rest, b"%d\r\n" % self.SIZE + value + b"\r\n+PONG\r\n")
                conn.close()
            harness.wait_until(lambda: int(server.info()["used_memory"]) < before, "it is gone")
