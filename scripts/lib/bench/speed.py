"""GET and SET side by side with redis-server: throughput, CPU of a command, memory of a key,
durable writes, restart.

Every row is measured in turn on redis, nadbd, redis, nadbd, ... and shows medians. nadbd runs with
its default configuration: the fs backend, written and synced every second. redis-server keeps
nothing, but for the durable rows.

CPU is what all threads of the server used, user and system, divided by the commands, the writing
to disk included to its end: it says what a command costs, also where the load is the slower of the
two. RSS is what a million keys added, once it is steady.
"""

import statistics
import sys
import time

from common import (
    Subject, describe_machine, measure, nadbd_path, note, redis_path, steady_rss)

PIPELINES = (1, 16, 64)
CONNECTIONS = 50
DURABLE_CONNECTIONS = (50, 500)
LINE = "{:<26} {:>12} {:>12} {:>7}   {:>9} {:>9} {:>7}"


class Amounts:
    """How much of each is done in one round."""

    def __init__(self, is_quick):
        self.keys = 100_000 if is_quick else 1_000_000
        part = 0.2 if is_quick else 1
        self.requests = {1: int(400_000 * part), 16: int(3_000_000 * part), 64: int(6_000_000 * part)}
        self.durable = {50: int(200_000 * part), 500: int(300_000 * part)}
        self.restarts = 1 if is_quick else 3


def bench_memory(amounts, subjects):
    """RSS of each key; leaves all keys in place."""
    found = {}
    for subject in subjects:
        before = subject.server.rss_bytes()
        subject.load("fill", CONNECTIONS, 64, amounts.keys, amounts.keys)
        if subject.server.call("DBSIZE") != amounts.keys:
            sys.exit(f"{subject.name}: not all keys are there")
        found[subject.name] = (steady_rss(subject.server) - before) / amounts.keys
        note(f"memory, {subject.name}: {found[subject.name]:.1f} bytes a key")
    return found


def bench_speed(amounts, subjects, rounds):
    rows = []
    for pipeline in PIPELINES:
        for kind in ("get", "set"):
            row = f"{kind.upper()}, pipeline {pipeline}"
            requests = amounts.requests[pipeline]
            rows.append((row, measure(row, subjects, rounds, lambda subject: subject.load(
                kind, CONNECTIONS, pipeline, requests, amounts.keys))))
    return rows


def bench_durable(amounts, rounds):
    subjects = [
        Subject("redis", redis_path(), {"save": "", "appendonly": "yes", "appendfsync": "always",
                                        "auto-aof-rewrite-percentage": "0"}),
        Subject("nadbd", nadbd_path(), {"durability": "always"}),
    ]
    rows = []
    with subjects[0].server, subjects[1].server:
        for connections in DURABLE_CONNECTIONS:
            row = f"durable SET, {connections} clients"
            requests = amounts.durable[connections]
            rows.append((row, measure(row, subjects, rounds, lambda subject: subject.load(
                "set", connections, 1, requests, amounts.keys))))
    return rows


def restart_s(subject):
    """Seconds from exec to serving."""
    began = time.monotonic()
    subject.server.start()
    return time.monotonic() - began


def bench_restart(amounts):
    """Both with the same keys, stopped in good order; not pinned: both may use the machine."""
    found = {}
    for name, path, options in (("redis", redis_path(), {"save": "", "appendonly": "no"}),
                                ("nadbd", nadbd_path(), {})):
        subject = Subject(name, path, options)
        subject.server.prefix = []
        with subject.server as server:
            subject.load("fill", CONNECTIONS, 64, amounts.keys, amounts.keys)
            times = []
            for _ in range(amounts.restarts):
                server.call("SAVE")
                server.stop()
                times.append(restart_s(subject))
                if server.call("DBSIZE") != amounts.keys:
                    sys.exit(f"{name}: keys are missing after the restart")
            found[name] = statistics.median(times)
            note(f"restart, {name}: {found[name]:.3f} s")
    return found


def show(result):
    amounts = result["keys"]
    print(f"\n{result['machine']}\n{amounts:,} keys of 16 bytes with values of 64 bytes; "
          f"{CONNECTIONS} connections; medians of {result['rounds']} rounds\n")
    print(LINE.format("", "redis", "nadbd", "nadbd /", "redis", "nadbd", "redis /"))
    print(LINE.format("", "per second", "per second", "redis", "CPU us/op", "CPU us/op", "nadbd"))
    for row, found in result["speed"]:
        redis, nadbd = found["redis"], found["nadbd"]
        print(LINE.format(
            row, f"{redis['per_s']:,.0f}", f"{nadbd['per_s']:,.0f}",
            f"{nadbd['per_s'] / redis['per_s']:.2f}x", f"{redis['cpu_us']:.3f}",
            f"{nadbd['cpu_us']:.3f}", f"{redis['cpu_us'] / nadbd['cpu_us']:.2f}x"))
    for row, unit, key, form in (("memory of a key", "bytes", "memory", "{:.0f}"),
                                 ("restart", "s", "restart", "{:.2f}")):
        redis, nadbd = result[key]["redis"], result[key]["nadbd"]
        print(LINE.format(f"{row}, {unit}", form.format(redis), form.format(nadbd),
                          f"{nadbd / redis:.2f}x", "", "", f"{redis / nadbd:.2f}x"))


def run(is_quick, rounds):
    """Measures everything; returns what `show` prints."""
    amounts = Amounts(is_quick)
    subjects = [Subject("redis", redis_path(), {"save": "", "appendonly": "no"}),
                Subject("nadbd", nadbd_path(), {})]
    result = {"machine": describe_machine(), "keys": amounts.keys, "rounds": rounds}
    with subjects[0].server, subjects[1].server:
        result["memory"] = bench_memory(amounts, subjects)
        result["speed"] = bench_speed(amounts, subjects, rounds)
    result["speed"] += bench_durable(amounts, rounds)
    result["restart"] = bench_restart(amounts)
    return result
