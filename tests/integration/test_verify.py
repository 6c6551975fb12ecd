"""VERIFY: everything on disk is read, and what is damaged is named."""

import os
import unittest

import harness

OPTIONS = {"segment-size": "1mb", "buffer-size": "1mb", "flush-interval": "50ms",
           "compact-dead-ratio": "0", "compression": "no"}


def fill(conn, count):
    """Flushes often, so that how many segments there are does not depend on the time it takes."""
    for first in range(0, count, 500):
        conn.pipeline([("SET", f"k{i}", b"v" * 1000) for i in range(first, first + 500)])
        conn.call("FLUSH")


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


@harness.nadbd_only("VERIFY")
@harness.log_backend_only("VERIFY reads segments")
class Verify(unittest.TestCase):
    def test_a_sound_store_is_read_whole(self):
        with harness.Server(options=OPTIONS) as server, server.connect() as conn:
            fill(conn, 4000)
            report = harness.as_dict(conn.call("VERIFY"))
            self.assertEqual(report["records"], 4001)  # the keyspace's name is one
            self.assertGreater(report["segments"], 2)  # three batches fill one
            self.assertGreater(report["bytes"], 4_000_000)
            self.assertEqual((report["damaged_segments"], report["damages"]), (0, []))
            status = harness.as_dict(conn.call("VERIFY", "STATUS"))
            self.assertEqual((status["running"], status["records"]), (0, 4001))
            self.assertGreater(status["ended"], 0)

    def test_damage_is_named_and_the_rest_served(self):
        with harness.Server(options=OPTIONS) as server, server.connect() as conn:
            fill(conn, 4000)
            conn.call("VERIFY")
            names = sorted(name for name in os.listdir(server.folder) if name.endswith(".seg"))
            flip(os.path.join(server.folder, names[1]), 500_000)
            report = harness.as_dict(conn.call("VERIFY"))
            self.assertEqual(report["damaged_segments"], 1)
            self.assertRegex(report["damages"][0].decode(),
                             f"^segment '{names[1]}': damaged at offset [0-9]+$")
            self.assertIn(names[1], server.log())
            self.assertEqual(server.info()["nadb_last_verify_damaged_segments"], "1")
            self.assertEqual(conn.call("GET", "k0"), b"v" * 1000)
            self.assertEqual(conn.call("SET", "k0", "new"), "OK")

    def test_comes_round_by_itself_and_goes_on_beside_compaction(self):
        options = {**OPTIONS, "verify-interval": "100ms", "compact-rate": "0"}
        with harness.Server(options=options) as server, server.connect() as conn:
            fill(conn, 2000)
            for _ in range(5):
                fill(conn, 2000)
                self.assertIn("bytes_after", harness.as_dict(conn.call("COMPACT")))
            last = server.info()["nadb_last_verify_time_ms"]
            harness.wait_until(lambda: server.info()["nadb_last_verify_time_ms"] > last, "another one")
            self.assertEqual(server.info()["nadb_last_verify_damaged_segments"], "0")

    def test_can_be_stopped_and_ends_with_the_server(self):
        options = {**OPTIONS, "verify-interval": "10ms", "compact-rate": "1"}
        with harness.Server(options=options) as server, server.connect() as conn:
            fill(conn, 2000)
            harness.wait_until(lambda: harness.as_dict(conn.call("VERIFY", "STATUS"))["segments_to_do"] > 0,
                               "it has begun")
            self.assertEqual(conn.call("CONFIG", "SET", "verify-interval", "0"), "OK")
            self.assertEqual(conn.call("VERIFY", "STOP"), "OK")
            harness.wait_until(lambda: harness.as_dict(conn.call("VERIFY", "STATUS"))["running"] == 0, "its end")
            self.assertEqual(conn.call("CONFIG", "SET", "verify-interval", "10ms"), "OK")
            harness.wait_until(lambda: harness.as_dict(conn.call("VERIFY", "STATUS"))["segments_to_do"] > 0,
                               "it has begun again")
            self.assertEqual(server.stop(), 0)
