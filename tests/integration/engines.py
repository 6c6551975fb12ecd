"""The engines behind `backend redis`: one redis-server, or a cluster of six, started by the test.

Nothing is kept: what an engine loses when it is killed is part of what is tested. Every process is
ended by its process id, at the latest when Python ends. Ports lie below those that the system gives
to outgoing connections: otherwise a client that tries again and again to reach an engine that is down
could be given the engine's own port, reach itself, and keep the engine from ever coming back.
"""

import atexit
import binascii
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from resp import Connection, ReplyError

SLOTS = 16384
BUS_OFFSET = 10000     # a cluster's servers talk to each other on port + this
LOWEST_PORT = 10000
NODE_TIMEOUT_MS = 1000
MASTERS = 3
MIGRATE_BATCH = 100
MIGRATE_TIMEOUT_MS = 5000
KEEPS_NOTHING = {"save": "", "appendonly": "no"}

_running = {}          # pid -> Popen, of everything that was started here and may still run


def _end_all():
    for process in list(_running.values()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _running.clear()


atexit.register(_end_all)


def path():
    found = shutil.which("redis-server")
    if found is None:
        raise unittest.SkipTest("redis-server is not installed")
    return found


def is_there():
    return shutil.which("redis-server") is not None and shutil.which("redis-cli") is not None


def is_free(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def stable_port(*offsets):
    """A port that is free, with those at the offsets from it, and stays so unless another server
    wants it."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0]) - max(offsets, default=0)
    for _ in range(1000):
        port = random.SystemRandom().randrange(LOWEST_PORT, end)
        if all(is_free(port + offset) for offset in (0, *offsets)):
            return port
    raise AssertionError("no free port")


def slot_of(key):
    """The slot of a cluster that a key belongs to."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1:end]
    return binascii.crc_hqx(key, 0) % SLOTS


class Engine:
    """One redis-server. `options` are written as on its command line, without the dashes; a
    `requirepass` among them is also used by what this class itself asks."""

    def __init__(self, options=None, port=None, prefix=()):
        self.options = {**KEEPS_NOTHING, **(options or {})}
        self.folder = tempfile.mkdtemp(prefix="nadbd-engine-")
        self.fixed_port, self.port = port, port
        self.prefix = list(prefix)
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.discard()

    # -- life

    def spawn(self):
        """Starts the process and does not wait for anything."""
        if self.port is None:
            self.port = stable_port()
        words = [*self.prefix, path(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        for name, value in self.options.items():
            words += [f"--{name}", str(value)]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        _running[self.process.pid] = self.process
        return self

    def start(self):
        """Returns when it answers."""
        for left in reversed(range(harness.PORT_TRIES)):
            self.spawn()
            harness.wait_until(lambda: self.is_ready() or not self.is_running(), "the engine answers")
            if self.is_running():
                return self
            self._forget()
            if self.fixed_port is not None or left == 0 or "in use" not in self.log():
                break
            self.port = None
        raise AssertionError(f"the engine did not start:\n{self.log()}")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def is_ready(self):
        try:
            return self.call("PING") == "PONG"
        except OSError:
            return False

    def stop(self):
        """SIGTERM."""
        if self.is_running():
            self.process.terminate()
            self.process.wait(harness.DEADLINE_S)
        self._forget()

    def kill(self):
        """SIGKILL; also ends one that is paused."""
        if self.is_running():
            self.process.kill()
            self.process.wait(harness.DEADLINE_S)
        self._forget()

    def restart(self):
        """Starts one that was stopped or killed, on the same port; what it held is gone."""
        if self.is_running():
            self.stop()
        self.fixed_port = self.port
        return self.start()

    def pause(self):
        """SIGSTOP: it holds its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def discard(self):
        """Ends it and removes its directory."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget(self):
        if self.process is not None:
            _running.pop(self.process.pid, None)

    # -- looking at it

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        password = self.options.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}"

    @property
    def urls(self):
        return [self.url]

    def connect(self):
        conn = Connection(("127.0.0.1", self.port))
        password = self.options.get("requirepass")
        if password:
            conn.call("AUTH", password)
        return conn

    def call(self, *args):
        """One command on a connection of its own."""
        with self.connect() as conn:
            return conn.call(*args)

    def info(self, section="everything"):
        text = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-20:])

    # -- what the tests share it for

    def servers(self):
        """Those that hold keys."""
        return [self]

    def remove(self, prefix):
        """Deletes all keys that begin with `prefix`."""
        for server in self.servers():
            with server.connect() as conn:
                cursor = b"0"
                while True:
                    cursor, keys = conn.call("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", "10000")
                    for first in range(0, len(keys), 1000):
                        conn.pipeline([("UNLINK", key) for key in keys[first:first + 1000]])
                    if cursor == b"0":
                        break

    def nadbd_options(self):
        """What a nadbd needs to use it."""
        return {"backend": "redis", "redis-url": self.urls}


class Node(Engine):
    """One server of a cluster."""

    def __init__(self, port, options=None):
        super().__init__({"cluster-enabled": "yes", "cluster-node-timeout": NODE_TIMEOUT_MS,
                          "cluster-allow-replica-migration": "no", "repl-diskless-sync-delay": "0",
                          **(options or {})}, port=port)
        self.id = None

    def view(self):
        """The cluster as this server sees it: [{id, port, flags, master, is_linked, slots}], or []
        when it does not answer."""
        try:
            text = self.call("CLUSTER", "NODES").decode()
        except (OSError, AttributeError):
            return []
        rows = []
        for line in text.strip("\n").split("\n"):
            words = line.split(" ")
            slots = set()
            for word in words[8:]:
                if not word.startswith("["):  # not one that is being moved
                    first, _, last = word.partition("-")
                    slots.update(range(int(first), int(last or first) + 1))
            rows.append({"id": words[0], "port": int(words[1].split("@")[0].split(":")[1]),
                         "flags": set(words[2].split(",")), "master": words[3],
                         "is_linked": words[7] == "connected", "slots": slots})
        return rows


class Cluster:
    """Three masters, each with a replica. Which is which changes: ask masters()."""

    def __init__(self, options=None):
        self.nodes = []
        self.options = options or {}

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.discard()

    # -- life

    def start(self):
        """Returns when every server agrees that all is well."""
        try:
            for _ in range(2 * MASTERS):
                self.nodes.append(Node(stable_port(BUS_OFFSET), self.options))
                self.nodes[-1].start()
            self._create()
        except BaseException:
            self.discard()
            raise
        return self

    def _create(self):
        done = subprocess.run(
            ["redis-cli", "--cluster", "create", *[f"127.0.0.1:{node.port}" for node in self.nodes],
             "--cluster-replicas", "1", "--cluster-yes"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=harness.DEADLINE_S,
            check=False)
        if done.returncode != 0:
            raise AssertionError(f"redis-cli --cluster create:\n{done.stdout}{done.stderr}")
        for node in self.nodes:
            node.id = node.call("CLUSTER", "MYID").decode()
        self.wait_ok()

    def discard(self):
        for node in self.nodes:
            node.discard()
        self.nodes = []

    def kill(self, node):
        """SIGKILL. A master's replica follows it: see wait_promoted."""
        node.kill()

    def restart(self, node):
        """One that was killed comes back, with nothing, as the replica of who has its slots now.
        Wait for the promotion first: an empty master that comes back too early is a master."""
        node.restart()

    def wait_ok(self):
        """Until all servers run, agree, have all slots, and every replica follows its master."""
        try:
            harness.wait_until(lambda: self.trouble() is None, "the cluster is well", pause_s=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.trouble()}\n{self.describe()}") from None

    def trouble(self):
        """What is not well, or None."""
        views = []
        for node in self.nodes:
            try:
                info, state = node.info("replication"), node.call("CLUSTER", "INFO").decode()
            except (OSError, AttributeError) as error:
                return f"{node.port}: {error!r}"
            if "cluster_state:ok" not in state or f"cluster_slots_ok:{SLOTS}" not in state:
                return f"{node.port}: {state}"
            if info["role"] == "slave" and info["master_link_status"] != "up":
                return f"{node.port}: does not follow its master"
            if info["role"] == "master" and "state=online" not in info.get("slave0", ""):
                return f"{node.port}: no replica follows"
            views.append({(row["id"], "master" in row["flags"], frozenset(row["slots"]))
                          for row in node.view() if not row["flags"] & {"fail", "fail?", "handshake"}})
            if len(views[-1]) != len(self.nodes):
                return f"{node.port}: sees {len(views[-1])} servers"
            if views[-1] != views[0]:
                others = {slot for _, _, slots in views[-1] ^ views[0] for slot in slots}
                return f"{node.port}: does not agree with {self.nodes[0].port}, " \
                       f"{len(others)} slots at servers with a difference"
        return None

    def describe(self):
        """The servers as one that runs sees them, without the slots."""
        for node in self.nodes:
            if node.is_running() and node.is_ready():
                lines = node.call("CLUSTER", "NODES").decode().strip("\n").split("\n")
                return "\n".join(" ".join(line.split(" ")[:9]) for line in lines)
        return "no server answers"

    # -- who is who

    def node_of(self, node_id):
        return next(node for node in self.nodes if node.id == node_id)

    def owners(self):
        """{master: its slots}, as a majority of those that run sees it. A master that is down stays
        in it until its replica has been promoted."""
        votes = {}
        for node in self.nodes:
            if node.is_running():
                view = frozenset((row["id"], frozenset(row["slots"])) for row in node.view()
                                 if "master" in row["flags"] and row["slots"])
                votes[view] = votes.get(view, 0) + 1
        best = max(votes, key=votes.get)
        return {self.node_of(node_id): set(slots) for node_id, slots in best}

    def masters(self):
        """Those that have slots, in the order of `nodes`."""
        owners = self.owners()
        return [node for node in self.nodes if node in owners]

    def servers(self):
        return self.masters()

    def replica_of(self, master):
        for node in self.nodes:
            if node.is_running():
                for row in node.view():
                    if row["master"] == master.id:
                        return self.node_of(row["id"])
        return None

    def wait_promoted(self, replica):
        """Until it has slots in the eyes of all that run."""
        harness.wait_until(
            lambda: all(any(row["id"] == replica.id and "master" in row["flags"] and row["slots"]
                            for row in node.view())
                        for node in self.nodes if node.is_running()),
            "the replica is promoted", pause_s=0.02)

    @property
    def urls(self):
        return [f"redis://127.0.0.1:{node.port}" for node in self.nodes]

    # -- slots on the move

    def slots_with_keys(self, master, slots):
        with master.connect() as conn:
            slots = sorted(slots)
            counts = conn.pipeline([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots])
        return [slot for slot, count in zip(slots, counts) if isinstance(count, int) and count > 0]

    def move_slots(self, count, rng=None):
        """Moves `count` slots of one master to another while both serve, those with keys first.
        Returns (slots moved, keys moved)."""
        rng = rng or random.Random(0)
        owners, masters = self.owners(), self.masters()
        source = max(masters, key=lambda node: (
            len(self.slots_with_keys(node, owners[node])), len(owners[node])))
        target = rng.choice([node for node in masters if node is not source])
        full = self.slots_with_keys(source, owners[source])
        rng.shuffle(full)
        # half of those with keys stay: both masters have something to answer for
        full = full[:(len(full) + 1) // 2]
        rest = sorted(owners[source] - set(full))
        slots = (full + rng.sample(rest, len(rest)))[:count]
        moved = 0
        for slot in slots:
            moved += self.move_slot(slot, source, target, masters)
        return len(slots), moved

    def move_slot(self, slot, source, target, masters):
        """One slot, as redis-cli does it. Returns how many keys went."""
        with source.connect() as here, target.connect() as there:
            _expect_ok(there.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id))
            _expect_ok(here.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id))
            moved = 0
            while True:
                keys = here.call("CLUSTER", "GETKEYSINSLOT", slot, MIGRATE_BATCH)
                if not keys:
                    break
                reply = here.call("MIGRATE", "127.0.0.1", target.port, "", 0, MIGRATE_TIMEOUT_MS,
                                  "KEYS", *keys)
                if isinstance(reply, ReplyError):
                    raise AssertionError(f"MIGRATE: {reply}")
                moved += len(keys)
            # The new owner has to know first: otherwise nobody would own the slot for a moment. The
            # others are told too: a master that only heard of it from the old owner has been seen
            # to hold the slot for nobody's, for ever.
            _expect_ok(there.call("CLUSTER", "SETSLOT", slot, "NODE", target.id))
            _expect_ok(here.call("CLUSTER", "SETSLOT", slot, "NODE", target.id))
        for node in masters:
            if node not in (source, target):
                _expect_ok(node.call("CLUSTER", "SETSLOT", slot, "NODE", target.id))
        return moved

    # -- what the tests share it for

    remove = Engine.remove

    def nadbd_options(self):
        # One partition: all keys in one slot, and a cluster can do what a single server can.
        return {"backend": "redis", "redis-cluster": "yes", "redis-url": self.urls,
                "redis-partitions": "1"}


def _expect_ok(reply):
    if reply != "OK":
        raise AssertionError(f"CLUSTER SETSLOT: {reply}")


# ---- in between ----

class Proxy:
    """Stands between a nadbd and its engine, and spoils replies: `spoil(data)` is asked for every
    piece of a reply what is to be passed on; None cuts the connection in its place. What the engine
    was asked has been done by then."""

    def __init__(self, engine, spoil=None):
        self.engine, self.spoil = engine, spoil or (lambda data: data)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.is_open, self.pairs = True, []
        self.cuts = 0

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.is_open = False
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for pair in list(self.pairs):
            self._close(pair)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def nadbd_options(self):
        return {**self.engine.nadbd_options(), "redis-url": [self.url]}

    def _accept(self):
        while self.is_open:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.engine.port))
            except OSError:
                continue  # closed, or the engine is down: the client sees its connection end
            pair = (client, server)
            self.pairs.append(pair)
            threading.Thread(target=self._pass, args=(pair, client, server, bytes), daemon=True).start()
            threading.Thread(target=self._pass, args=(pair, server, client, self._spoiled),
                             daemon=True).start()

    def _spoiled(self, data):
        with self.lock:
            data = self.spoil(data)
            self.cuts += data is None
            return data

    def _pass(self, pair, source, target, change):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                data = change(data)
                if data is None:
                    break
                target.sendall(data)
        self._close(pair)

    def _close(self, pair):
        for sock in pair:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


# ---- one for all servers of a test process ----

_shared = {}


def shared(kind):
    """The engine (`redis`) or the cluster (`cluster`) that all servers of this process use, each with
    a prefix of its own; started at the first call."""
    if kind not in _shared:
        engine = {"redis": Engine, "cluster": Cluster}[kind]()
        engine.start()
        atexit.register(engine.discard)
        _shared[kind] = engine
    return _shared[kind]
