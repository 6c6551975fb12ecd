"""Publish and subscribe as redis-py uses it, and as plain connections see it."""

import threading
import unittest

import harness
from resp import Push

try:
    import redis
except ImportError:
    redis = None


class Messages(harness.ServerCase):
    def test_arrive_in_order_at_every_subscriber(self):
        listeners = [self.connect() for _ in range(20)]
        for listener in listeners:
            self.assertEqual(listener.call("SUBSCRIBE", "news"), [b"subscribe", b"news", 1])
        count = 500
        replies = self.conn.pipeline([f"PUBLISH news {i}" for i in range(count)])
        self.assertEqual(replies, [20] * count)
        for listener in listeners:
            self.assertEqual([listener.read() for _ in range(count)],
                             [[b"message", b"news", b"%d" % i] for i in range(count)])

    def test_come_as_pushes_between_replies_in_resp3(self):
        listener = self.connect()
        listener.call("HELLO", "3")
        self.assertIsInstance(listener.call("SUBSCRIBE", "news"), Push)
        self.call("PUBLISH", "news", b"\0\r\n\xff")
        message = listener.read()
        self.assertIsInstance(message, Push)
        self.assertEqual(message, [b"message", b"news", b"\0\r\n\xff"])
        self.assertEqual(listener.call("SET", "a", "1"), "OK")

    def test_of_a_transaction_come_with_exec(self):
        listener = self.connect()
        listener.call("SUBSCRIBE", "news")
        self.conn.pipeline(["MULTI", "PUBLISH news first", "SET a 1"])
        self.call("PUBSUB", "NUMSUB", "news")
        self.assertEqual(self.call("EXEC")[:2], [1, "OK"])
        self.assertEqual(listener.read(), [b"message", b"news", b"first"])

    def test_end_with_the_connection(self):
        listener = self.connect()
        listener.call("SUBSCRIBE", "news")
        listener.call("PSUBSCRIBE", "n*")
        self.assertEqual(self.call("PUBLISH", "news", "x"), 2)
        listener.close()
        harness.wait_until(lambda: self.call("PUBLISH", "news", "x") == 0, "nobody listens")
        self.assertEqual(self.call("PUBSUB", "CHANNELS"), [])
        self.assertEqual(self.call("PUBSUB", "NUMPAT"), 0)

    def test_that_nobody_reads_close_the_reader_and_nobody_else(self):
        self.assertEqual(
            self.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0"), "OK")
        lazy = self.connect()
        lazy.call("SUBSCRIBE", "news")
        message = b"x" * 65536
        harness.wait_until(
            lambda: self.call("PUBLISH", "news", message) == 0, "the reader that does not read is gone")
        self.assertEqual(self.call("PING"), "PONG")


@unittest.skipIf(redis is None, "python3-redis is not installed")
class RedisPy(harness.ServerCase):
    def setUp(self):
        super().setUp()
        self.client = redis.Redis(port=self.server.port)
        self.addCleanup(self.client.close)

    def test_subscribes_listens_and_leaves(self):
        with self.client.pubsub() as pubsub:
            pubsub.subscribe("a", "b")
            pubsub.psubscribe("p.*")
            kinds = [pubsub.get_message(timeout=harness.DEADLINE_S)["type"] for _ in range(3)]
            self.assertEqual(kinds, ["subscribe", "subscribe", "psubscribe"])
            self.assertEqual(self.client.publish("a", "one"), 1)
            self.assertEqual(self.client.publish("p.x", b"two\0"), 1)
            self.assertEqual(self.client.publish("none", "three"), 0)
            first = pubsub.get_message(timeout=harness.DEADLINE_S)
            second = pubsub.get_message(timeout=harness.DEADLINE_S)
            self.assertEqual((first["channel"], first["data"]), (b"a", b"one"))
            self.assertEqual((second["pattern"], second["channel"], second["data"]),
                             (b"p.*", b"p.x", b"two\0"))
            self.assertEqual(set(self.client.pubsub_channels()), {b"a", b"b"})
            self.assertEqual(self.client.pubsub_numsub("a", "b", "c"),
                             [(b"a", 1), (b"b", 1), (b"c", 0)])
            pubsub.unsubscribe()
            pubsub.punsubscribe()
            # Another connection publishes: the server has to have heard this one first.
            kinds = [pubsub.get_message(timeout=harness.DEADLINE_S)["type"] for _ in range(3)]
            self.assertEqual(kinds, ["unsubscribe", "unsubscribe", "punsubscribe"])
            self.assertEqual(self.client.publish("a", "four"), 0)

    def test_a_thread_that_listens_gets_every_message(self):
        got, all_here = [], threading.Event()

        def take(message):
            got.append(message["data"])
            if len(got) == 1000:
                all_here.set()

        with self.client.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(news=take)
            thread = pubsub.run_in_thread(sleep_time=0.01, daemon=True)
            harness.wait_until(lambda: self.client.publish("news", "-1") == 1, "it listens")
            first = len(got)
            with self.client.pipeline(transaction=False) as pipe:
                for i in range(1000):
                    pipe.publish("news", i)
                pipe.execute()
            all_here.wait(harness.DEADLINE_S)
            harness.wait_until(lambda: b"999" in got, "the last message")
            thread.stop()
            thread.join()
        numbers = [int(data) for data in got if data != b"-1"]
        self.assertEqual(numbers, list(range(1000)), first)
