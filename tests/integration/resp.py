"""RESP2 and RESP3 as bytes: an encoder, a decoder and a blocking connection.

The tests use it where a client library would hide what is looked at: exact bytes, order, closing.
"""

import socket

TIMEOUT_S = 60


class ReplyError(Exception):
    """An error reply; `str()` is its text without the '-'."""

    def __eq__(self, other):
        return isinstance(other, ReplyError) and str(self) == str(other)

    def __hash__(self):
        return hash(str(self))


class Push(list):
    """A RESP3 push."""


class Map(list):
    """A RESP3 map, as a list of pairs: order and repeated keys stay visible."""


def encode(*args):
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        if isinstance(arg, str):
            arg = arg.encode()
        elif isinstance(arg, (int, float)):
            arg = repr(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


def split_words(command):
    """A command given as a string of words, or as a list."""
    return command.split(" ") if isinstance(command, str) else list(command)


def _parse_items(buf, pos, count):
    items = []
    for _ in range(count):
        parsed = parse(buf, pos)
        if parsed is None:
            return None
        item, pos = parsed
        items.append(item)
    return items, pos


def _parse_bulk(buf, pos, length):
    if len(buf) < pos + length + 2:
        return None
    if bytes(buf[pos + length:pos + length + 2]) != b"\r\n":
        raise ValueError(f"no CRLF behind the bulk string at byte {pos}")
    return bytes(buf[pos:pos + length]), pos + length + 2


def parse(buf, pos=0):
    """(value, end) of the reply at `pos`, None when it is not complete; ValueError when broken."""
    end = buf.find(b"\r\n", pos)
    if end < 0:
        return None
    kind, text, pos = buf[pos:pos + 1], bytes(buf[pos + 1:end]), end + 2
    if kind == b"+":
        return text.decode("latin-1"), pos
    if kind == b"-":
        return ReplyError(text.decode("latin-1")), pos
    if kind in (b":", b"("):
        return int(text), pos
    if kind == b",":
        return float(text), pos
    if kind == b"#":
        return {b"t": True, b"f": False}[text], pos
    if kind == b"_":
        return None, pos
    if kind in (b"$", b"=", b"!"):
        return (None, pos) if text == b"-1" else _parse_bulk(buf, pos, int(text))
    if kind in (b"*", b"~", b">"):
        if text == b"-1":
            return None, pos
        parsed = _parse_items(buf, pos, int(text))
        return parsed and ((Push(parsed[0]) if kind == b">" else parsed[0]), parsed[1])
    if kind == b"%":
        parsed = _parse_items(buf, pos, 2 * int(text))
        return parsed and (Map(zip(parsed[0][::2], parsed[0][1::2])), parsed[1])
    raise ValueError(f"unknown reply type {kind!r} in {bytes(buf[:64])!r}")


class Connection:
    """A blocking connection to a server. `address` is (host, port) or the path of a socket."""

    def __init__(self, address):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket()
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(address)
        self.buf = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def read_raw(self):
        """The bytes of the next reply."""
        while True:
            parsed = parse(self.buf) if self.buf else None
            if parsed is not None:
                raw = bytes(self.buf[:parsed[1]])
                del self.buf[:parsed[1]]
                return raw
            data = self.sock.recv(1 << 20)
            if not data:
                raise ConnectionError(f"closed by the server, unread: {bytes(self.buf[:200])!r}")
            self.buf += data

    def read(self):
        """The next reply, decoded; an error reply is returned, not raised."""
        return parse(self.read_raw())[0]

    def read_to_end(self):
        """All bytes up to the server's close."""
        while True:
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                rest, self.buf = bytes(self.buf), bytearray()
                return rest
            self.buf += data

    def call(self, *args):
        """Sends one command and reads one reply. One argument with blanks is split into words."""
        if len(args) == 1:
            args = split_words(args[0])
        self.send(encode(*args))
        return self.read()

    def call_raw(self, *args):
        self.send(encode(*args))
        return self.read_raw()

    def pipeline(self, commands):
        """Sends all, then reads all. For amounts that fit the sockets' buffers."""
        self.send(b"".join(encode(*split_words(command)) for command in commands))
        return [self.read() for _ in commands]
