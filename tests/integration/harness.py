"""Starts, watches and ends the servers of the tests: each with a directory and a port of its own.

NADBD      the daemon under test (default: build-test/src/nadbd)
NADB_TEST_BACKEND    where it keeps its data: fs (default), redis (one redis-server) or cluster
NADB_TEST_SLOW       multiplies every deadline (sanitizer builds)
NADB_TEST_SANITIZED  set: how much memory is used says nothing
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from resp import Connection  # noqa: E402  (the path has to be set first)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READY = "Ready to accept connections"
PORT_TRIES = 5


def slow_factor():
    return float(os.environ.get("NADB_TEST_SLOW", "1"))


DEADLINE_S = 60 * slow_factor()


def nadbd_path():
    return os.environ.get("NADBD", os.path.join(ROOT, "build-test", "src", "nadbd"))


def backend():
    """Where servers keep their data when a test does not say it."""
    name = os.environ.get("NADB_TEST_BACKEND", "fs")
    if name not in ("fs", "redis", "cluster"):
        raise ValueError(f"NADB_TEST_BACKEND is '{name}': fs, redis or cluster")
    return name


def is_log_backend():
    """True when nadbd itself keeps the data, in files."""
    return backend() == "fs"


def is_stand_in():
    """True when the tests themselves are tried on redis-server."""
    return os.path.basename(nadbd_path()) == "redis-server"


def free_port():
    """A port that nobody has now. Somebody may take it before it is used: see PORT_TRIES."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def as_dict(reply):
    """A map as RESP2 has it."""
    return {name.decode(): value for name, value in zip(reply[::2], reply[1::2])}


class StartError(Exception):
    """The server ended before it was ready."""


# The suite asks what is answered; how long a backend may take has tests of its own.
BACKEND_TIMEOUT_S = 10


def engine():
    """What the servers of this process keep their data in, or None: their folders."""
    import engines  # it needs this module
    return None if is_log_backend() else engines.shared(backend())


def engine_prefix(folder):
    """What the names of a folder's server begin with in the engine: of its own, and the same when
    the server starts again there."""
    return f"t{hashlib.sha1(os.path.realpath(folder).encode()).hexdigest()[:12]}:"


def forget(folder):
    """Removes what servers kept for a folder, there or in the engine."""
    shutil.rmtree(folder, ignore_errors=True)
    if not is_log_backend() and not is_stand_in():
        engine().remove(engine_prefix(folder))


class Server:
    """One server process. `options` are written as on the command line, without the dashes."""

    def __init__(self, path=None, options=None, folder=None, env=None, prefix=()):
        self.path = path or nadbd_path()
        self.options = dict(options or {})
        self.owns_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="nadbd-test-")
        self.env = env
        self.is_nadbd = os.path.basename(self.path) != "redis-server"
        self.prefix = list(prefix)
        self.process = None
        self.port = 0
        self.lines = []
        self._changed = threading.Condition()
        self._reader = None
        self._is_log_over = False

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.discard()

    # -- life

    def command_line(self):
        options = {"port": self.port, "dir": self.folder, **self.backend_options(), **self.options}
        words = [*self.prefix, self.path]
        for name, value in options.items():
            words += [f"--{name}", *(value if isinstance(value, list) else [str(value)])]
        return words

    def backend_options(self):
        if not self.is_nadbd or "backend" in self.options or is_log_backend():
            return {}
        return {**engine().nadbd_options(), "redis-prefix": engine_prefix(self.folder),
                "redis-timeout": f"{int(BACKEND_TIMEOUT_S * slow_factor())}s"}

    def spawn(self):
        """Starts the process and does not wait for anything."""
        self.lines, self._is_log_over = [], False
        self.process = subprocess.Popen(
            self.command_line(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, **(self.env or {})})
        self._reader = threading.Thread(
            target=self._read_log, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        return self

    def start(self):
        """Returns when the server serves. StartError says what it printed instead."""
        fixed = self.options.get("port")
        for left in reversed(range(PORT_TRIES)):
            self.port = free_port() if fixed is None else int(fixed)
            self.spawn()
            try:
                return self.wait_ready()
            except StartError as error:
                taken = "address already in use" in str(error).lower()
                if fixed is not None or not taken or left == 0:
                    raise
        raise AssertionError("unreachable")

    def wait_ready(self):
        with self._changed:
            self._changed.wait_for(
                lambda: self._has_line(READY) or self._is_log_over, DEADLINE_S)
            is_ready = self._has_line(READY)
        if is_ready:
            return self
        if not self._is_log_over:
            self.kill()
            raise AssertionError(f"not ready in time:\n{self.log()}")
        raise StartError(f"exit {self.process.wait()}:\n{self.log()}")

    def wait_exit(self):
        """The exit code of a server that ends by itself."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        self.process.stdout.close()
        return code

    def stop(self, number=signal.SIGTERM):
        """Asks it to end; returns the exit code."""
        self.process.send_signal(number)
        try:
            return self.wait_exit()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end in time:\n{self.log()}") from None

    def kill(self):
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait_exit()

    def discard(self):
        """Ends it and removes its directory."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.owns_folder and self.is_nadbd:
            forget(self.folder)
        elif self.owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read_log(self, stream):
        for line in stream:
            with self._changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._is_log_over = True
            self._changed.notify_all()

    def _has_line(self, text):
        return any(text in line for line in self.lines)

    # -- looking at it

    def log(self):
        return "\n".join(self.lines[-40:])

    def wait_log(self, text):
        """Waits for a line with `text`, which may be there already."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: self._has_line(text) or self._is_log_over, DEADLINE_S)
            found = found and self._has_line(text)
        if not found:
            raise AssertionError(f"no line with {text!r}:\n{self.log()}")

    @property
    def pid(self):
        return self.process.pid

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def connect(self):
        return Connection(self.address)

    def call(self, *args):
        """One command on a connection of its own."""
        with self.connect() as conn:
            return conn.call(*args)

    def info(self):
        """INFO EVERYTHING as a dictionary of strings."""
        text = self.call("INFO", "everything").decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def segment_bytes(self):
        """What the segments in the folder take."""
        total = 0
        for entry in os.scandir(self.folder):
            if entry.name.endswith(".seg"):
                with contextlib.suppress(FileNotFoundError):  # compacted away since the scan
                    total += entry.stat().st_size
        return total

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def redis_server(options=None, **more):
    """A redis-server that keeps nothing, to compare with. Skips the test when there is none."""
    path = shutil.which("redis-server")
    if path is None:
        raise unittest.SkipTest("redis-server is not installed")
    return Server(path, {"save": "", "appendonly": "no", **(options or {})}, **more)


def wait_until(condition, what, deadline_s=None, pause_s=0.005):
    """Polls something that no event tells, such as another process's descriptors."""
    deadline = time.monotonic() + (deadline_s or DEADLINE_S)
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(pause_s)
    raise AssertionError(f"never happened: {what}")


def nadbd_only(reason):
    """Marks what redis-server, standing in for nadbd while tests are written, cannot do."""
    return unittest.skipIf(is_stand_in(), f"not on the stand-in: {reason}")


def log_backend_only(reason):
    """Marks what is about the files of nadbd's own engine."""
    return unittest.skipIf(not is_log_backend(), f"not with {backend()}: {reason}")


def is_sanitized():
    return bool(os.environ.get("NADB_TEST_SANITIZED"))


def measures_memory(test):
    """Marks a test that compares resident memory."""
    return unittest.skipIf(is_sanitized(), "the sanitizers' own memory hides it")(test)


class ServerCase(unittest.TestCase):
    """Tests that share one server; each starts with it empty, on connection `self.conn`."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(options=cls.options).start()
        cls.addClassCleanup(cls.server.discard)

    def setUp(self):
        self.assertIsNone(self.server.process.poll(), self.server.log())
        self.conn = self.server.connect()
        self.addCleanup(self.conn.close)
        self.call("FLUSHALL")

    def tearDown(self):
        self.assertIsNone(self.server.process.poll(), self.server.log())

    def call(self, *args):
        return self.conn.call(*args)

    def connect(self):
        conn = self.server.connect()
        self.addCleanup(conn.close)
        return conn

    def assertError(self, reply, text):
        self.assertEqual(f"{type(reply).__name__}: {reply}", f"ReplyError: {text}")


@contextlib.contextmanager
def temporary_folder():
    folder = tempfile.mkdtemp(prefix="nadbd-test-")
    try:
        yield folder
    finally:
        forget(folder)
