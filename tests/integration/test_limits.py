"""What one client may cost the others: connections, output that nobody reads, waiting."""

import os
import resource
import socket
import tempfile
import unittest

import harness
from resp import Connection, encode

IDLE_CLIENTS = 5000
NADBD_DESCRIPTORS = 200  # that the test itself needs beyond its connections


class ManyClients(unittest.TestCase):
    def test_5000_idle_clients_are_held_and_others_are_served(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < IDLE_CLIENTS + NADBD_DESCRIPTORS:
            self.skipTest(f"only {hard} descriptors allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with harness.Server() as server:
            conns = []
            before = server.rss_bytes()
            for _ in range(IDLE_CLIENTS):
                conns.append(server.connect())
            for conn in conns[:: IDLE_CLIENTS // 100] + conns[-1:]:
                self.assertEqual(conn.call("PING"), "PONG")
            self.assertEqual(server.info()["connected_clients"], str(IDLE_CLIENTS + 1))
            if not harness.is_sanitized():
                self.assertLess((server.rss_bytes() - before) / IDLE_CLIENTS, 24 * 1024)
            for conn in conns:
                conn.close()
            harness.wait_until(lambda: server.info()["connected_clients"] == "1", "all are gone")

    def test_a_client_over_maxclients_is_told_and_closed(self):
        with harness.Server(options={"maxclients": 3}) as server:
            conns = [server.connect() for _ in range(3)]
            for conn in conns:
                self.assertEqual(conn.call("PING"), "PONG")
            with server.connect() as extra:
                self.assertEqual(extra.read_to_end(), b"-ERR max number of clients reached\r\n")
            conns.pop().close()
            harness.wait_until(lambda: can_ping(server), "the place is free again")
            self.assertEqual(conns[0].call("PING"), "PONG")
            for conn in conns:
                conn.close()

    def test_descriptors_that_run_out_cost_new_clients_only(self):
        with harness.Server(prefix=["prlimit", "--nofile=128:128"]) as server:
            conns = []
            for _ in range(200):
                try:
                    conns.append(server.connect())
                except OSError:
                    break
            self.assertEqual(conns[0].call("SET", "k", "v"), "OK")
            self.assertEqual(conns[0].call("SAVE"), "OK")
            for conn in conns:
                conn.close()
            harness.wait_until(lambda: can_ping(server), "new clients are served again")
            self.assertEqual(server.call("GET", "k"), b"v")


def can_ping(server):
    try:
        return server.call("PING") == "PONG"
    except OSError:
        return False


class Transactions(unittest.TestCase):
    @harness.nadbd_only("redis writes no batches")
    @harness.log_backend_only("the limit of one batch of the log")
    def test_one_that_changes_too_much_is_stopped_and_what_it_did_can_be_saved(self):
        with harness.Server(options={"durability": "interval"}) as server:
            with server.connect() as conn:
                commands = ["MULTI", f"SETRANGE big {(64 << 20) - 1} x"]
                commands += [f"COPY big copy{i}" for i in range(40)]  # 2.6 GB on disk
                conn.pipeline(commands)
                replies = conn.call("EXEC")
                refused = [reply for reply in replies if reply != 1 and reply != 64 << 20]
                self.assertEqual(
                    {str(reply) for reply in refused},
                    {"OOM the transaction changes too much data"})
                self.assertEqual(replies[:8], [64 << 20] + 7 * [1])
                self.assertEqual(len(refused), 41 - 8)
                self.assertEqual(conn.call("SET", "later", "v"), "OK")
                self.assertEqual(conn.call("FLUSH"), "OK")
            server.kill()
            server.start()
            self.assertEqual(server.call("GET", "later"), b"v")
            self.assertEqual(server.call("STRLEN", "copy6"), 64 << 20)
            self.assertEqual(server.call("EXISTS", "copy7"), 0)


class Patterns(unittest.TestCase):
    def test_a_pattern_has_a_longest_length(self):
        with harness.Server() as server, server.connect() as conn:
            conn.call("SET", "k", "v")
            longest = b"*" * 1024
            self.assertEqual(conn.call("KEYS", longest), [b"k"])
            for command in (("KEYS", longest + b"*"), ("SCAN", "0", "MATCH", longest + b"*")):
                reply = conn.call(*command)
                self.assertEqual(str(reply), "ERR pattern is longer than 1024 bytes")


class Output(unittest.TestCase):
    @harness.measures_memory
    @harness.nadbd_only("redis holds all replies in memory")
    def test_clients_that_never_read_are_bounded_and_the_others_served(self):
        with harness.Server() as server:
            server.call("SET", "big", b"x" * (1 << 20))
            before = server.rss_bytes()
            greedy = []
            for _ in range(30):
                conn = server.connect()
                conn.sock.setblocking(False)
                try:
                    conn.sock.send(encode("GET", "big") * 1000)
                except OSError:
                    pass
                greedy.append(conn)
            for _ in range(100):
                self.assertEqual(server.call("PING"), "PONG")
            self.assertLess(server.rss_bytes() - before, 600 << 20)
            for conn in greedy:
                conn.close()
            harness.wait_until(lambda: server.info()["connected_clients"] == "1", "all are gone")

    def test_a_slow_reader_gets_every_byte(self):
        with harness.Server() as server, server.connect() as conn:
            value = os.urandom(1 << 20)
            conn.call("SET", "big", value)
            conn.send(encode("GET", "big") * 50)
            other = server.connect()
            for _ in range(50):
                self.assertEqual(other.call("PING"), "PONG")
                self.assertEqual(conn.read(), value)
            other.close()

    def test_the_hard_limit_closes_a_client_that_asks_for_more(self):
        limits = ["normal", "1mb", "0", "0"]
        value = " ".join(limits)
        with harness.Server(options={"client-output-buffer-limit": value}) as server:
            server.call("SET", "big", b"x" * (8 << 20))
            with server.connect() as conn:
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                conn.send(encode("GET", "big"))
                harness.wait_until(
                    lambda: server.info()["connected_clients"] == "1", "the client is closed")
            self.assertEqual(server.call("PING"), "PONG")

    def test_a_query_over_its_limit_closes_the_client(self):
        with harness.Server(options={"client-query-buffer-limit": "1mb"}) as server:
            with server.connect() as conn:
                try:
                    conn.send(b"*2\r\n$4\r\nECHO\r\n$9000000\r\n" + b"x" * 9000000)
                    self.assertEqual(conn.read_to_end(), b"")
                except OSError:
                    pass  # closed while the rest was still being sent
            self.assertEqual(server.call("PING"), "PONG")


class Access(unittest.TestCase):
    def test_a_password_is_asked_for_and_nothing_else_answered(self):
        with harness.Server(options={"requirepass": "secret"}) as server:
            with server.connect() as conn:
                for command in ("PING", "GET a", "SET a b", "COMMAND", "INFO", "MULTI", "SELECT 1"):
                    self.assertEqual(
                        str(conn.call(command)), "NOAUTH Authentication required.", command)
                self.assertEqual(
                    str(conn.call("AUTH wrong")),
                    "WRONGPASS invalid username-password pair or user is disabled.")
                self.assertTrue(str(conn.call("HELLO 3")).startswith(
                    "NOAUTH HELLO must be called with the client already authenticated"))
                self.assertEqual(
                    str(conn.call("AUTH nobody secret")),
                    "WRONGPASS invalid username-password pair or user is disabled.")
                self.assertEqual(conn.call("AUTH secret"), "OK")
                self.assertEqual(conn.call("PING"), "PONG")
                self.assertEqual(conn.call("RESET"), "RESET")
                self.assertEqual(str(conn.call("PING")), "NOAUTH Authentication required.")
                self.assertEqual(conn.call("AUTH default secret"), "OK")
            with server.connect() as conn:
                hello = conn.call("HELLO 3 AUTH default secret SETNAME me")
                self.assertEqual(dict(hello)[b"proto"], 3)
                self.assertEqual(conn.call("CLIENT GETNAME"), b"me")

    def test_a_client_without_the_password_cannot_make_the_server_remember_much(self):
        with harness.Server(options={"requirepass": "secret"}) as server:
            with server.connect() as conn:
                conn.send(b"*1000000\r\n")
                self.assertEqual(
                    conn.read_to_end(), b"-ERR Protocol error: unauthenticated multibulk length\r\n")
            with server.connect() as conn:
                conn.send(b"*2\r\n$4\r\nAUTH\r\n$1000000\r\n")
                self.assertEqual(
                    conn.read_to_end(), b"-ERR Protocol error: unauthenticated bulk length\r\n")

    def test_protected_mode_answers_only_this_machine(self):
        address = own_address()
        if address is None:
            self.skipTest("no address but the loopback")
        options = {"bind": "* -::*", "protected-mode": "yes"}
        with harness.Server(options=options) as server:
            self.assertEqual(server.call("PING"), "PONG")
            with Connection((address, server.port)) as conn:
                reply = conn.read_to_end()
                self.assertTrue(reply.startswith(
                    b"-DENIED Redis is running in protected mode because protected mode is enabled"),
                    reply)
            self.assertEqual(server.call("CONFIG SET protected-mode no"), "OK")
            with Connection((address, server.port)) as conn:
                self.assertEqual(conn.call("PING"), "PONG")

    def test_a_unix_socket_serves_with_the_mode_asked_for(self):
        with tempfile.TemporaryDirectory(prefix="nadbd-test-") as folder:
            path = os.path.join(folder, "nadbd.sock")
            options = {"unixsocket": path, "unixsocketperm": "700"}
            with harness.Server(options=options) as server:
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
                with Connection(path) as conn:
                    self.assertEqual(conn.call("SET", "k", "v"), "OK")
                self.assertEqual(server.call("GET", "k"), b"v")
                self.assertEqual(server.stop(), 0)
                self.assertFalse(os.path.exists(path))

    def test_a_stale_unix_socket_is_replaced(self):
        with tempfile.TemporaryDirectory(prefix="nadbd-test-") as folder:
            path = os.path.join(folder, "nadbd.sock")
            with harness.Server(options={"unixsocket": path}) as server:
                server.kill()
                self.assertTrue(os.path.exists(path))
            with harness.Server(options={"unixsocket": path}), Connection(path) as conn:
                self.assertEqual(conn.call("PING"), "PONG")

    def test_an_idle_client_is_closed_after_timeout(self):
        with harness.Server(options={"timeout": 1}) as server, server.connect() as conn:
            self.assertEqual(conn.call("PING"), "PONG")
            self.assertEqual(conn.read_to_end(), b"")


def own_address():
    """An address of this machine that is not the loopback, or None. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = sock.getsockname()[0]
    return None if address.startswith("127.") else address
