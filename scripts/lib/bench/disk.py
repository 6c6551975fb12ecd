"""Values on disk: memory of a key, restart, data larger than memory, room on disk under steady
overwriting, what others feel of background work, backup, cold reads, compression of real files.

nadbd runs with the fs backend, written and synced every second; redis-server keeps nothing but for
the restart, where it loads its RDB file.
"""

import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

from common import (LOAD_CPU, Subject, describe_machine, nadbd_path, note, redis_path, steady_rss)
from probe import Probe
from resp import encode

SEED = 20261125
BATCH = 500
CONNECTIONS = 50
VALUE_BYTES = 1000
FILES_BYTES_MAX = 300 << 20
LATE_ROUNDS = 7
LINE = "{:<78} {:>14} {:>14} {:>8}"


class Amounts:
    def __init__(self, is_quick):
        self.keys = 200_000 if is_quick else 5_000_000
        self.live_keys = 50_000 if is_quick else 1_000_000     # of VALUE_BYTES
        self.overwrites = 3 * self.live_keys
        self.reads = 20_000 if is_quick else 300_000
        self.maxmemory = (32 if is_quick else 256) << 20
        self.mixed_s = 10 if is_quick else 60


def add(rows, what, redis, nadbd, form="{:.2f}"):
    rows.append((what, redis, nadbd, form))
    note(f"{what}: " + ", ".join(
        f"{name} {form.format(value)}" for name, value in (("redis", redis), ("nadbd", nadbd))
        if value is not None))


def redis_subject(**more):
    return Subject("redis", redis_path(), {"save": "", "appendonly": "no", **more})


def nadbd_subject(**more):
    return Subject("nadbd", nadbd_path(), {name.replace("_", "-"): value for name, value in more.items()})


def wait_info(server, condition):
    while not condition(server.info()):
        time.sleep(0.1)


def wait_idle(server):
    """Until compaction has had nothing to do for a while."""
    done = None
    while True:
        info = server.info()
        if info["nadb_compacting"] == "0" and info["nadb_compactions"] == done:
            return
        done = info["nadb_compactions"]
        time.sleep(2.5)


def go_cold(subject, keys):
    """Everything that can leave memory does."""
    subject.settle()
    subject.server.call("CONFIG", "SET", "maxmemory", "1")
    wait_info(subject.server, lambda info: int(info["nadb_cold_keys"]) >= keys)
    wait_idle(subject.server)


# ---- memory and restart ----

def restart_s(subject):
    began = time.monotonic()
    subject.server.start()
    return time.monotonic() - began


def bench_keys(amounts, rows):
    found = {}
    for subject in (redis_subject(), nadbd_subject()):
        subject.server.prefix = []
        with subject.server as server:
            before = server.rss_bytes()
            subject.load("fill", CONNECTIONS, 64, amounts.keys, amounts.keys)
            warm = (steady_rss(server) - before) / amounts.keys
            cold = None
            if subject.name == "nadbd":
                go_cold(subject, amounts.keys)
                cold = (steady_rss(server) - before) / amounts.keys
                rates = [subject.load("get", CONNECTIONS, pipeline, amounts.reads, amounts.keys)[0]
                         for pipeline in (1, 32)]
            else:
                rates = [subject.load("get", CONNECTIONS, pipeline, amounts.reads, amounts.keys)[0]
                         for pipeline in (1, 32)]
            server.call("CONFIG", "SET", "maxmemory", "0")
            server.call("SAVE")
            server.stop()
            found[subject.name] = (warm, cold, rates, restart_s(subject))
            if server.call("DBSIZE") != amounts.keys:
                sys.exit(f"{subject.name}: keys are missing after the restart")
    redis, nadbd = found["redis"], found["nadbd"]
    add(rows, "memory of a key, values in memory, bytes", redis[0], nadbd[0], "{:.0f}")
    add(rows, "memory of a key, values on disk, bytes", redis[0], nadbd[1], "{:.0f}")
    add(rows, f"restart with {amounts.keys:,} keys, s", redis[3], nadbd[3])
    add(rows, "random GETs a second, pipeline 1 (nadbd: values on disk)", redis[2][0], nadbd[2][0], "{:,.0f}")
    add(rows, "random GETs a second, pipeline 32 (nadbd: values on disk)", redis[2][1], nadbd[2][1], "{:,.0f}")


# ---- overwriting ----

def written_bytes(server):
    with open(f"/proc/{server.pid}/io", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))


def values(rng):
    """Values that do not compress."""
    block = rng.randbytes(1 << 20)
    while True:
        at = rng.randrange(len(block) - VALUE_BYTES)
        yield block[at:at + VALUE_BYTES]


def write_some(conn, numbers, value):
    for first in range(0, len(numbers), BATCH):
        part = numbers[first:first + BATCH]
        conn.send(b"".join(encode("SET", b"doc:%09d" % number, next(value)) for number in part))
        for _ in part:
            if conn.read() != "OK":
                sys.exit("a SET was refused")


def bench_overwriting(amounts, rows):
    rng = random.Random(SEED)
    value = values(rng)
    subject = nadbd_subject()
    with subject.server as server, server.connect() as conn:
        write_some(conn, range(amounts.live_keys), value)
        subject.settle()
        live, before, most, sent = server.segment_bytes(), written_bytes(server), 0, 0
        began = time.monotonic()
        while sent < amounts.overwrites:
            part = [rng.randrange(amounts.live_keys) for _ in range(amounts.live_keys // 20)]
            write_some(conn, part, value)
            sent += len(part)
            most = max(most, server.segment_bytes())
        rate = sent / (time.monotonic() - began)
        subject.settle()
        wait_idle(server)
        client = sent * (VALUE_BYTES + 13)
        add(rows, f"{live / 1e9:.2f} GB overwritten {sent // amounts.live_keys} times: most room on disk / live",
            None, most / live)
        add(rows, "room on disk at the end / live", None, server.segment_bytes() / live)
        add(rows, "bytes written to disk / bytes from clients", None, (written_bytes(server) - before) / client)
        add(rows, "overwrites a second (a client in Python)", None, rate, "{:,.0f}")
        bench_others(rows, subject, conn, amounts, value)


def bench_steady(amounts, rows):
    """The same at rates that leave the disk and the processor time."""
    rng = random.Random(SEED)
    value = values(rng)
    for rate in (20_000, 40_000):
        subject = nadbd_subject()
        with subject.server as server, server.connect() as conn:
            write_some(conn, range(amounts.live_keys), value)
            subject.settle()
            live, most, sent = server.segment_bytes(), 0, 0
            began = time.monotonic()
            while time.monotonic() - began < amounts.mixed_s:
                write_some(conn, [rng.randrange(amounts.live_keys) for _ in range(BATCH)], value)
                sent += BATCH
                if sent % (40 * BATCH) == 0:
                    most = max(most, server.segment_bytes())
                time.sleep(max(0, began + sent / rate - time.monotonic()))
        add(rows, f"{live / 1e9:.2f} GB overwritten at {rate:,} values a second: most room / live",
            None, most / live)


# ---- what others feel ----

def late_ms(server, action):
    with Probe(server.address, ("GET", "doc:000000001")) as probe:
        began = time.monotonic()
        action()
        ended = max(time.monotonic(), began + 1)
        time.sleep(max(0, ended - time.monotonic()))
    return probe.late(began, ended)[0] * 1e3


def bench_others(rows, subject, conn, amounts, value):
    """One after the other, a few times: the machine itself stands still now and then."""
    server = subject.server
    numbers = list(range(amounts.live_keys // 2))
    found = {}

    def note_late(what, action):
        found.setdefault(what, []).append(late_ms(server, action))

    for _ in range(LATE_ROUNDS):
        note_late("nothing else going on", lambda: time.sleep(2))
        write_some(conn, numbers, value)
        note_late("while what was written is flushed", subject.settle)
        note_late("while all of it is compacted", lambda: server.call("COMPACT"))
        with tempfile.TemporaryDirectory() as place:
            note_late("while it is backed up", lambda: server.call("BACKUP", f"{place}/backup"))
        wait_idle(server)
    for what, times in found.items():
        add(rows, f"GET of another client, 99th percentile, {what}, ms", None, statistics.median(times))


# ---- more than memory ----

def mixed_value(number, generation, block):
    head = b"%d/%d " % (number, generation)
    at = number * 7919 % (len(block) - VALUE_BYTES)
    return head + block[at:at + VALUE_BYTES - len(head)]


def bench_spill(amounts, rows):
    """Three times maxmemory, four reads for each write, every answer compared."""
    rng = random.Random(SEED + 1)
    block = rng.randbytes(1 << 20)
    keys = 3 * amounts.maxmemory // VALUE_BYTES
    generations = bytearray(keys)
    subject = nadbd_subject(maxmemory=amounts.maxmemory)
    most, answers, wrong = 0, 0, 0
    with subject.server as server, server.connect() as conn:
        for first in range(0, keys, BATCH):
            part = range(first, min(first + BATCH, keys))
            conn.pipeline([("SET", b"mixed:%d" % number, mixed_value(number, 0, block)) for number in part])
            most = max(most, server.rss_bytes())
        ends = time.monotonic() + amounts.mixed_s
        while time.monotonic() < ends:
            numbers = [rng.randrange(keys) for _ in range(50)]
            commands, wanted = [], []
            for number in numbers:
                if rng.random() < 0.2:
                    generations[number] = (generations[number] + 1) % 256
                    commands.append(("SET", b"mixed:%d" % number,
                                     mixed_value(number, generations[number], block)))
                    wanted.append("OK")
                else:
                    commands.append(("GET", b"mixed:%d" % number))
                    wanted.append(mixed_value(number, generations[number], block))
            found = conn.pipeline(commands)
            wrong += sum(one != two for one, two in zip(found, wanted))
            answers += len(found)
            most = max(most, server.rss_bytes())
        if server.call("DBSIZE") != keys:
            sys.exit("keys are missing")
    add(rows, f"data of 3 x maxmemory, {answers:,} answers of a mixed load: wrong ones", None, wrong, "{:,}")
    add(rows, "most resident memory / maxmemory", None, most / amounts.maxmemory)


# ---- backup ----

def overwrite(address, keys, pipe):
    """Every key in turn, generation after generation, until told to stop."""
    from resp import Connection  # the child's own
    generation = 0
    with Connection(address) as conn:
        pipe.send("ready")
        while True:
            generation += 1
            for first in range(0, keys, BATCH):
                conn.pipeline([("SET", b"doc:%09d" % number, b"%09d" % generation + b"v" * VALUE_BYTES)
                               for number in range(first, min(first + BATCH, keys))])
                if pipe.poll():
                    return


def is_of_one_moment(conn, keys):
    """The first keys have a generation, all others the one before it."""
    found = []
    for first in range(0, keys, BATCH):
        replies = conn.pipeline([("GETRANGE", b"doc:%09d" % number, "0", "8")
                                 for number in range(first, min(first + BATCH, keys))])
        found += [int(reply) for reply in replies]
    return found == sorted(found, reverse=True) and found[0] - found[-1] <= 1


def bench_backup(amounts, rows):
    keys = amounts.live_keys
    subject = nadbd_subject(compression="no")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(subject.server.folder)) as place, \
            subject.server as server, server.connect() as conn:
        ours, theirs = multiprocessing.Pipe()
        for first in range(0, keys, BATCH):
            conn.pipeline([("SET", b"doc:%09d" % number, b"%09d" % 0 + b"v" * VALUE_BYTES)
                           for number in range(first, min(first + BATCH, keys))])
        writer = multiprocessing.Process(target=overwrite, args=(server.address, keys, theirs))
        writer.start()
        ours.recv()
        time.sleep(1)
        began = time.monotonic()
        reply = conn.call("BACKUP", f"{place}/backup")
        took = time.monotonic() - began
        ours.send("stop")
        writer.join()
        report = dict(zip(reply[::2], reply[1::2]))
        nadbctl = os.path.join(os.path.dirname(nadbd_path()), "ctl", "nadbctl")
        began = time.monotonic()
        done = subprocess.run([nadbctl, "restore", f"{place}/backup", f"{place}/restored"],
                              capture_output=True, text=True, check=False)
        restored = time.monotonic() - began
        if done.returncode != 0:
            sys.exit(f"restore: {done.stderr}")
        copy = nadbd_subject(dir=f"{place}/restored")
        with copy.server as other, other.connect() as copy_conn:
            is_right = is_of_one_moment(copy_conn, keys)
    add(rows, f"backup of {report[b'bytes'] / 1e9:.2f} GB while a client writes, s", None, took)
    add(rows, "room of its own when it is made, MB", None, report[b"copied_bytes"] / 1e6)
    add(rows, "nadbctl restore: verified and copied, s", None, restored)
    add(rows, "the restored copy is the store at one moment (1 = yes)", None, int(is_right), "{}")


# ---- real files ----

def bench_compression(rows):
    subject = nadbd_subject()
    files, size = [], 0
    for folder, _, names in os.walk("/usr/share"):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and size < FILES_BYTES_MAX:
                files.append(path)
                size += os.path.getsize(path)
    with subject.server as server, server.connect() as conn:
        before = subject.cpu_s()
        for path in files:
            with open(path, "rb") as file:
                conn.call("SET", path, file.read())
        subject.settle()
        cpu = subject.cpu_s() - before
        add(rows, f"{len(files):,} files of /usr/share, {size / 1e6:.0f} MB: on disk / their size",
            None, server.segment_bytes() / size)
        add(rows, "CPU for that, s for each 100 MB", None, cpu / size * 1e8)


def run(is_quick, rounds):
    """Measures everything, each once: `rounds` is not used."""
    del rounds
    amounts, rows = Amounts(is_quick), []
    bench_keys(amounts, rows)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    try:
        bench_spill(amounts, rows)
        bench_steady(amounts, rows)
        bench_overwriting(amounts, rows)
        bench_backup(amounts, rows)
        bench_compression(rows)
    finally:
        os.sched_setaffinity(0, everywhere)
    return {"machine": describe_machine(), "rows": rows}


def show(result):
    print(f"\n{result['machine']}; values on disk\n")
    print(LINE.format("", "redis", "nadbd", "nadbd /"))
    for what, redis, nadbd, form in result["rows"]:
        ratio = f"{nadbd / redis:.2f}x" if redis else ""
        print(LINE.format(what, form.format(redis) if redis is not None else "", form.format(nadbd), ratio))
