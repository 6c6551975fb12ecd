"""The wire, byte by byte: pipelines cut anywhere, inline commands, malformed and huge input."""

import socket
import struct
import threading
import unittest

import harness
from resp import ReplyError, encode

BINARY = bytes(range(256)) * 3

PIPELINE = b"".join([
    encode("SET", "a", BINARY),
    encode("GET", "a"),
    encode("PING"),
    b"PING inline\r\n",
    encode("ECHO", ""),
    b"\r\n",
    encode("NO-SUCH", "x"),
    encode("SET", b"k\r\n\0", "v"),
    encode("GET", b"k\r\n\0"),
    encode("INCR", "n"),
    encode("DEL", "n", "a"),
    b"*0\r\n*-1\r\n",
    encode("MGET", "a", b"k\r\n\0"),
])
PIPELINE_REPLIES = 11

# Each is sent to a fresh connection. The answer has to be redis-server's, to the byte, and a
# connection that redis-server closes has to be closed.
MALFORMED = {
    "a_bulk_without_its_dollar": b"*1\r\nPING\r\n",
    "an_array_length_that_is_no_number": b"*x\r\n",
    "an_array_length_with_a_sign": b"*+1\r\n$4\r\nPING\r\n",
    "an_empty_array_length": b"*\r\n",
    "an_array_length_out_of_range": b"*2147483648\r\n",
    "an_array_length_beyond_64_bits": b"*99999999999999999999999\r\n",
    "a_bulk_length_that_is_no_number": b"*1\r\n$x\r\n",
    "an_empty_bulk_length": b"*1\r\n$\r\n",
    "a_negative_bulk_length": b"*1\r\n$-1\r\n",
    "a_bulk_length_over_the_limit": b"*1\r\n$536870913\r\n",
    "a_bulk_length_beyond_64_bits": b"*1\r\n$18446744073709551617\r\n",
    "an_integer_as_argument": b"*1\r\n:1\r\n",
    "a_nested_array": b"*1\r\n*1\r\n$4\r\nPING\r\n",
    "a_map_as_argument": b"*2\r\n$4\r\nECHO\r\n%1\r\n",
    "a_double_quote_left_open": b'SET "a b\r\n',
    "a_single_quote_left_open": b"SET 'a b\r\n",
    "text_behind_a_closing_quote": b'GET "a"b\r\n',
}

# The same, with nothing sent behind: a line that goes on for ever.
ENDLESS = {
    "an_array_header_without_end": b"*1" + b"1" * 200000,
    "a_bulk_header_without_end": b"*1\r\n$1" + b"1" * 200000,
    "an_inline_line_without_end": b"A" * 200000,
}

# Correct input in every form; nothing closes.
INLINE = [
    b"PING\r\n", b"PING\n", b"  PING  \r\n", b"PING hello\r\n", b'PING "a b"\r\n',
    b'PING "\\x41\\n\\t\\\\\\"\\q"\r\n', b"PING 'it\\'s'\r\n", b"PING 'a\\nb'\r\n", b"\r\nPING\r\n",
    b"\n\n\nPING\r\n", b'PING ""\r\n', b"PING\t\x0bx\r\n", b"set i 1\r\n", b"gEt i\r\n",
]


def read_pipeline(conn):
    return b"".join(conn.read_raw() for _ in range(PIPELINE_REPLIES))


class Pipelines(harness.ServerCase):
    def test_a_pipeline_gives_the_same_bytes_wherever_it_is_cut(self):
        self.conn.send(PIPELINE)
        expected = read_pipeline(self.conn)
        self.assertIn(BINARY, expected)
        other = self.connect()
        for cut in range(1, len(PIPELINE)):
            self.call("DEL", "n")
            self.conn.send(PIPELINE[:cut])
            other.call("PING")  # by the answer, the server has been round its loop
            self.conn.send(PIPELINE[cut:])
            self.assertEqual(read_pipeline(self.conn), expected, f"cut at byte {cut}")

    def test_a_pipeline_may_come_one_byte_at_a_time(self):
        self.conn.send(PIPELINE)
        expected = read_pipeline(self.conn)
        self.call("DEL", "n")
        for idx in range(len(PIPELINE)):
            self.conn.send(PIPELINE[idx:idx + 1])
        self.assertEqual(read_pipeline(self.conn), expected)

    def test_a_long_pipeline_is_answered_in_order(self):
        count = 300000
        data = b"".join(encode("ECHO", idx) for idx in range(count))
        sender = threading.Thread(target=self.conn.send, args=(data,))
        sender.start()
        got = bytearray()
        expected = b"".join(b"$%d\r\n%d\r\n" % (len(str(idx)), idx) for idx in range(count))
        while len(got) < len(expected):
            chunk = self.conn.sock.recv(1 << 20)
            self.assertTrue(chunk, "closed")
            got += chunk
        sender.join()
        self.assertEqual(bytes(got), expected)

    def test_replies_wait_for_a_client_that_first_sends_everything(self):
        # 4,000 replies of 4 KiB are more than the sockets hold, and are read only afterwards.
        self.call("SET", "big", b"x" * 4096)
        count = 4000
        self.conn.send(encode("GET", "big") * count)
        for _ in range(count):
            self.assertEqual(len(self.conn.read_raw()), 4096 + len("$4096\r\n\r\n"))
        self.assertEqual(self.call("PING"), "PONG")

    def test_a_pipeline_before_a_close_does_not_leak_descriptors(self):
        before = self.server.descriptor_count()
        for _ in range(20):
            conn = self.server.connect()
            # What a closed connection sent may still be carried out while the next test runs, so
            # the key is nobody else's.
            conn.send(encode("INCR", "left-behind") * 20000)
            conn.close()
        harness.wait_until(
            lambda: self.server.descriptor_count() <= before, "descriptors are given back")
        self.assertEqual(self.call("PING"), "PONG")

    def test_connections_that_are_reset_or_half_closed_give_their_descriptors_back(self):
        before = self.server.descriptor_count()
        for idx in range(100):
            conn = self.server.connect()
            conn.send(encode("SET", "k", "v") + b"*3\r\n$3\r\nSET\r\n$100\r\nhalf")
            if idx % 2:
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                conn.close()
            else:
                conn.sock.shutdown(socket.SHUT_WR)
                conn.read_to_end()
                conn.close()
        harness.wait_until(
            lambda: self.server.descriptor_count() <= before, "descriptors are given back")
        self.assertEqual(self.call("GET", "k"), b"v")


class BigArguments(harness.ServerCase):
    def test_values_of_every_size_around_the_buffers_come_back_whole(self):
        sizes = [0, 1, 15, 16, 4095, 4096, 16383, 16384, 16385, 32767, 32768, 65535, 65536, 65537,
                 131072, 1 << 20, (1 << 20) + 1]
        for size in sizes:
            value = (BINARY * (size // len(BINARY) + 1))[:size]
            self.assertEqual(self.call("SET", "k", value), "OK", size)
            self.assertEqual(self.call("GET", "k"), value, size)
            self.assertEqual(self.call("STRLEN", "k"), size)

    def test_a_value_of_100_megabytes_comes_back_whole(self):
        value = BINARY * (100 * 1000 * 1000 // len(BINARY))
        self.assertEqual(self.call("SET", "k", value), "OK")
        self.assertTrue(self.call("GET", "k") == value)
        self.call("DEL", "k")

    def test_a_command_of_100000_arguments_works(self):
        pairs = [word for idx in range(50000) for word in (f"k{idx}", idx)]
        self.assertEqual(self.call("MSET", *pairs), "OK")
        self.assertEqual(self.call("DBSIZE"), 50000)
        values = self.call("MGET", *pairs[::2])
        self.assertEqual(values, [str(idx).encode() for idx in range(50000)])

    @harness.measures_memory
    def test_a_length_that_is_announced_costs_no_memory(self):
        before = self.server.rss_bytes()
        conns = [self.connect() for _ in range(20)]
        for conn in conns:
            conn.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nonly this")
        self.call("PING")
        self.assertLess(self.server.rss_bytes() - before, 64 << 20)
        for conn in conns:
            conn.close()
        self.assertIsNone(self.call("GET", "k"))

    @harness.measures_memory
    def test_a_million_arguments_that_are_announced_cost_no_memory(self):
        before = self.server.rss_bytes()
        conns = [self.connect() for _ in range(20)]
        for conn in conns:
            conn.send(b"*1000000\r\n$3\r\nDEL\r\n")
        self.call("PING")
        self.assertLess(self.server.rss_bytes() - before, 64 << 20)

    def test_odd_keys_are_just_keys(self):
        keys = [b"", b"\0", b"%n%s%x", b"../../etc/passwd", b"a\r\nb", BINARY[:256], b"k" * 65536]
        for key in keys:
            self.assertEqual(self.call("SET", key, key), "OK")
        for key in keys:
            self.assertEqual(self.call("GET", key), key)
        self.assertEqual(sorted(self.call("KEYS", "*")), sorted(keys))

    @harness.nadbd_only("redis has no limit")
    def test_a_key_over_the_limit_is_refused_and_named(self):
        reply = self.call("SET", b"k" * 65537, "v")
        self.assertError(reply, "ERR key is longer than 65536 bytes")
        self.assertEqual(self.call("DBSIZE"), 0)


class Malformed(unittest.TestCase):
    """One server of each kind; the test methods are made below, one for each row."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server().start()
        cls.addClassCleanup(cls.server.discard)
        cls.redis = harness.redis_server().start()
        cls.addClassCleanup(cls.redis.discard)

    def answers(self, server, data, ending):
        with server.connect() as conn:
            try:
                conn.send(data + ending)
                conn.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # closed before it had everything: the answer still is to be read
            return conn.read_to_end()

    def compare(self, data, ending):
        expected = self.answers(self.redis, data, ending)
        got = self.answers(self.server, data, ending)
        self.assertEqual(got, expected)
        self.assertEqual(self.server.call("GET", "smuggled"), self.redis.call("GET", "smuggled"))
        self.assertEqual(self.server.call("PING"), "PONG")

    def test_inline_commands_are_split_as_redis_splits_them(self):
        for line in INLINE:
            with self.subTest(line=line):
                self.assertEqual(
                    self.answers(self.server, line, b""), self.answers(self.redis, line, b""))

    def test_a_web_browser_is_cut_off_and_runs_nothing(self):
        for line in (b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n"):
            with self.subTest(line=line), self.server.connect() as conn:
                conn.send(line + encode("SET", "web", "1"))
                self.assertEqual(conn.read_to_end(), b"")
        self.assertIsNone(self.server.call("GET", "web"))

    @harness.nadbd_only("it answers nothing")
    def test_a_zero_byte_in_a_header_is_answered_without_it(self):
        answer = self.answers(self.server, b"*1\r\n\0\0\0\0\r\n", b"")
        self.assertEqual(answer, b"-ERR Protocol error: expected '$', got ' '\r\n")

    def test_errors_quote_input_cut_and_without_line_ends(self):
        for words in (["NO\r\nSUCH"], ["x" * 1000], ["nope", "a\r\nb", "y" * 1000, "z"],
                      ["nope", *["arg"] * 100], ["CLIENT", "x" * 1000], ["CLIENT", "a\r\nb"],
                      ["CONFIG", "NO\nSUCH"]):
            with self.subTest(words=words), self.server.connect() as one, \
                    self.redis.connect() as two:
                self.assertEqual(one.call_raw(*words), two.call_raw(*words))

    def test_noise_of_every_kind_never_stops_the_server(self):
        state = 12345
        for _ in range(300):
            noise = bytearray()
            for _ in range(200):
                state = (state * 1103515245 + 12345) & 0x7FFFFFFF
                noise += [b"*", b"$", b"\r\n", b"1", b"-", b"\0", b"SET", b"9", b"\n", b"PING\r\n",
                          b"*1\r\n$4\r\nPING\r\n", b'"', b"%", b"\xff"][(state >> 8) % 14]
            self.answers(self.server, bytes(noise), b"")
        self.assertEqual(self.server.call("PING"), "PONG")


def _add_malformed(name, data, ending):
    def check(self):
        self.compare(data, ending)
    check.__name__ = f"test_{name}_is_answered_as_redis_does"
    setattr(Malformed, check.__name__, check)


for _name, _data in MALFORMED.items():
    # The command behind the malformed one must not run.
    _add_malformed(_name, _data, b"\r\n" + encode("SET", "smuggled", "1"))
for _name, _data in ENDLESS.items():
    _add_malformed(_name, _data, b"")


class Order(harness.ServerCase):
    def test_an_error_in_a_pipeline_answers_in_its_place(self):
        replies = self.conn.pipeline(["SET a x", "INCR a", "GET a", "GET", "GET a"])
        self.assertEqual(replies[0], "OK")
        self.assertIsInstance(replies[1], ReplyError)
        self.assertEqual(replies[2], b"x")
        self.assertError(replies[3], "ERR wrong number of arguments for 'get' command")
        self.assertEqual(replies[4], b"x")

    def test_a_malformed_command_closes_after_the_replies_before_it(self):
        self.conn.send(encode("SET", "a", "1") + encode("GET", "a") + b"*1\r\n:3\r\n" +
                       encode("SET", "a", "2"))
        self.assertEqual(
            self.conn.read_to_end(),
            b"+OK\r\n$1\r\n1\r\n-ERR Protocol error: expected '$', got ':'\r\n")
        self.assertEqual(self.connect().call("GET", "a"), b"1")
