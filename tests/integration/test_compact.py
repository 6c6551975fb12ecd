"""COMPACT and automatic compaction: what goes, what stays, and that it never comes back."""

import random
import threading
import unittest

import harness

SEED = 20261125
OPTIONS = {"segment-size": "1mb", "buffer-size": "1mb", "flush-interval": "50ms",
           "compact-dead-ratio": "0", "compression": "no"}


def value_of(key, generation):
    return b"%s.%d." % (key.encode(), generation) + b"v" * 900


def write(conn, keys, generation, extra=()):
    for first in range(0, len(keys), 500):
        replies = conn.pipeline(
            [("SET", key, value_of(key, generation), *extra) for key in keys[first:first + 500]])
        if any(reply != "OK" for reply in replies):
            raise AssertionError("a SET was refused")


@harness.nadbd_only("COMPACT")
@harness.log_backend_only("COMPACT rewrites segments")
class Compact(unittest.TestCase):
    def expect(self, server, keys, generation):
        with server.connect() as conn:
            for first in range(0, len(keys), 500):
                part = keys[first:first + 500]
                self.assertEqual(conn.pipeline([("GET", key) for key in part]),
                                 [value_of(key, generation) for key in part])

    def test_overwritten_deleted_and_expired_values_give_their_room_back(self):
        keys = [f"k{i}" for i in range(4000)]
        gone = [f"d{i}" for i in range(2000)]
        with harness.Server(options=OPTIONS) as server, server.connect() as conn:
            for generation in range(4):
                write(conn, keys, generation)
            write(conn, gone, 0)
            conn.call("DEL", *gone)
            write(conn, [f"e{i}" for i in range(1000)], 0, ("PX", "1"))
            harness.wait_until(lambda: conn.call("DBSIZE") == len(keys), "the short-lived expire")
            conn.call("FLUSH")
            before = server.segment_bytes()
            report = harness.as_dict(conn.call("COMPACT"))
            after = server.segment_bytes()
            self.assertGreater(before, 3 * after)
            self.assertGreater(report["dropped_overwritten"], 0)
            self.assertEqual(report["bytes_after"], after)
            self.assertLess(report["segments_after"], report["segments_before"])
            self.assertGreaterEqual(report["records_after"], len(keys))
            self.expect(server, keys, 3)
            server.kill()
            server.start()
            self.assertEqual(server.call("DBSIZE"), len(keys))
            self.expect(server, keys, 3)

    def test_what_was_deleted_or_invalidated_never_comes_back(self):
        """Over compactions of parts of the log, and restarts between them."""
        rng = random.Random(SEED)
        keys = [f"k{i}" for i in range(3000)]
        alive = {}
        with harness.Server(options={**OPTIONS, "compact-dead-ratio": "20"}) as server:
            for generation in range(6):
                with server.connect() as conn:
                    some = rng.sample(keys, 1500)
                    write(conn, some, generation, ("TAGS", f"g{generation}", "all"))
                    alive.update({key: generation for key in some})
                    for key in rng.sample(keys, 500):
                        conn.call("DEL", key)
                        alive.pop(key, None)
                    old = f"g{rng.randrange(generation + 1)}"
                    conn.call("INVALIDATE", "ANY", old)
                    alive = {key: made for key, made in alive.items() if f"g{made}" != old}
                    if generation % 2:
                        conn.call("COMPACT")
                    conn.call("FLUSH")
                server.kill()
                server.start()
                self.assertEqual(server.call("DBSIZE"), len(alive))
                self.assertEqual(server.call("TAGCOUNT", "all"), [len(alive)])
                for made in range(generation + 1):
                    self.expect(server, [key for key in alive if alive[key] == made], made)

    def test_steady_overwriting_stays_within_bounds_by_itself(self):
        keys = [f"k{i}" for i in range(4000)]
        options = {**OPTIONS, "compact-dead-ratio": "40", "compact-rate": "0"}
        with harness.Server(options=options) as server, server.connect() as conn:
            write(conn, keys, 0)
            for generation in range(1, 12):
                write(conn, keys, generation)
            conn.call("FLUSH")
            live = len(keys) * (len(value_of(keys[0], 0)) + 48)
            harness.wait_until(lambda: server.segment_bytes() < 2.5 * live, "dead segments are gone")
            self.expect(server, keys, 11)

    def test_clients_read_and_write_meanwhile(self):
        keys = [f"k{i}" for i in range(3000)]
        stop, errors, written = threading.Event(), [], {}

        def churn():
            generation = 10
            with server.connect() as conn:
                while not stop.is_set():
                    generation += 1
                    for key in keys[:300]:
                        if conn.call("SET", key, value_of(key, generation)) != "OK":
                            errors.append(key)
                        written[key] = generation

        with harness.Server(options={**OPTIONS, "durability": "always"}) as server:
            with server.connect() as conn:
                write(conn, keys, 0)
                write(conn, keys, 1)
                thread = threading.Thread(target=churn)
                thread.start()
                for _ in range(3):
                    self.assertIn("bytes_after", harness.as_dict(conn.call("COMPACT")))
                stop.set()
                thread.join()
            server.kill()
            server.start()
            self.assertEqual(errors, [])
            for key in keys[:300]:
                self.assertEqual(server.call("GET", key), value_of(key, written[key]))
            self.expect(server, keys[300:], 1)

    def test_old_values_are_compressed_when_that_has_been_switched_on(self):
        keys = [f"k{i}" for i in range(2000)]
        with harness.Server(options=OPTIONS) as server, server.connect() as conn:
            write(conn, keys, 0)
            conn.call("FLUSH")
            before = server.segment_bytes()
            conn.call("CONFIG", "SET", "compression", "yes", "compression-threshold", "512")
            report = harness.as_dict(conn.call("COMPACT"))
            self.assertEqual(report["compressed_values"], len(keys))
            self.assertLess(server.segment_bytes() * 3, before)
            server.stop()
            server.start()
            self.expect(server, keys, 0)

    def test_one_namespace_can_be_compacted_alone(self):
        keys = [f"k{i}" for i in range(1500)]
        with harness.Server(options=OPTIONS) as server, server.connect() as conn:
            write(conn, keys, 0)
            write(conn, keys, 1)
            conn.call("NAMESPACE", "USE", "shop")
            write(conn, keys, 5)
            write(conn, keys, 6)
            report = harness.as_dict(conn.call("COMPACT", "NAMESPACE", "shop"))
            self.assertGreater(report["dropped_overwritten"], 0)
            middle = server.segment_bytes()
            conn.call("COMPACT")
            self.assertLess(server.segment_bytes(), middle)
            server.stop()
            server.start()
            self.expect(server, keys, 1)

    def test_a_kill_at_any_time_leaves_the_whole_store(self):
        keys = [f"k{i}" for i in range(3000)]
        with harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                write(conn, keys, 0)
            for generation in range(1, 8):
                with server.connect() as conn:
                    write(conn, keys[::2], generation)
                    conn.call("FLUSH")
                    conn.send(b"*1\r\n$7\r\nCOMPACT\r\n")
                    with server.connect() as other:
                        for _ in range(generation * 3):
                            other.call("PING")
                    server.kill()
                server.start()
                self.expect(server, keys[::2], generation)
                self.expect(server, keys[1::2], 0)
