"""BACKUP while clients write, restored into a server of its own."""

import os
import threading
import unittest

import harness

OPTIONS = {"segment-size": "1mb", "buffer-size": "1mb", "flush-interval": "100ms", "compression": "no"}


def fill(conn, count, generation):
    for first in range(0, count, 500):
        replies = conn.pipeline([("SET", f"k{i}", b"%d " % generation + b"v" * 1000, "TAGS", "all")
                                 for i in range(first, first + 500)])
        if any(reply != "OK" for reply in replies):
            raise AssertionError("a SET was refused")


@harness.nadbd_only("BACKUP")
@harness.log_backend_only("BACKUP copies segments")
class Backup(unittest.TestCase):
    def restored(self, folder):
        return harness.Server(options=OPTIONS, folder=folder)

    def test_holds_everything_and_leaves_the_source_as_it_was(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 5000, 1)
                conn.call("SET", "t", "x", "EX", "1000", "TAGS", "one")
                report = harness.as_dict(conn.call("BACKUP", f"{place}/full"))
                self.assertGreater(report["segments"], 3)
                self.assertGreater(report["bytes"], 5_000_000)
                self.assertEqual(report["copied_bytes"], 0)
                fill(conn, 5000, 2)
                conn.call("COMPACT")
            with self.restored(f"{place}/full") as copy:
                self.assertEqual(copy.call("DBSIZE"), 5001)
                self.assertEqual(copy.call("GET", "k4999")[:2], b"1 ")
                self.assertEqual(copy.call("TAGCOUNT", "all", "one"), [5000, 1])
                self.assertGreater(copy.call("TTL", "t"), 900)
                copy.call("FLUSHALL")
                copy.stop()
            self.assertEqual(server.call("GET", "k4999")[:2], b"2 ")
            server.kill()
            server.start()
            self.assertEqual(server.call("DBSIZE"), 5001)

    def test_is_of_one_moment_while_clients_write(self):
        stop = threading.Event()

        def churn():
            number = 0
            with server.connect() as conn:
                while not stop.is_set():
                    number += 1
                    conn.pipeline(["MULTI", f"SET a {number}", f"SET b {number}", "EXEC"])

        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 3000, 1)
                thread = threading.Thread(target=churn)
                thread.start()
                harness.wait_until(lambda: conn.call("EXISTS", "a") == 1, "the writer writes")
                least = int(conn.call("GET", "a"))
                for number in range(5):
                    self.assertIn("bytes", harness.as_dict(conn.call("BACKUP", f"{place}/{number}")))
                stop.set()
                thread.join()
            for number in range(5):
                with self.restored(f"{place}/{number}") as copy:
                    one, two = copy.call("MGET", "a", "b")
                    self.assertEqual(one, two)
                    self.assertGreaterEqual(int(one), least)
                    self.assertEqual(copy.call("DBSIZE"), 3002)

    def test_an_earlier_one_gives_what_has_not_changed(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 3000, 1)
                conn.call("BACKUP", f"{place}/one")
                conn.call("SET", "later", "x")
                report = harness.as_dict(conn.call("BACKUP", f"{place}/two", "BASE", f"{place}/one"))
                self.assertEqual(report["copied_bytes"], 0)
            shared = [name for name in os.listdir(f"{place}/one") if name.endswith(".seg") and
                      os.path.samefile(f"{place}/one/{name}", f"{place}/two/{name}")]
            self.assertGreater(len(shared), 2)
            with self.restored(f"{place}/two") as copy:
                self.assertEqual(copy.call("GET", "later"), b"x")

    def test_never_goes_over_what_is_there(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with open(f"{place}/mine", "w", encoding="ascii") as file:
                file.write("precious")
            server.call("SET", "a", "1")
            reply = server.call("BACKUP", place)
            self.assertRegex(str(reply), "^IOERR backup: directory: Directory not empty$")
            reply = server.call("BACKUP", f"{place}/no/such")
            self.assertRegex(str(reply), "^IOERR backup: directory: No such file or directory$")
            reply = server.call("BACKUP", f"{place}/new", "BASE", f"{place}/none")
            self.assertRegex(str(reply), "^IOERR backup: earlier backup: No such file or directory$")
            self.assertEqual(os.listdir(f"{place}/new"), [])
            self.assertEqual(os.listdir(place).count("mine"), 1)
            self.assertEqual(server.call("GET", "a"), b"1")
