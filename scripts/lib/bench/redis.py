"""nadbd in front of a redis-server (backend redis) against the same redis-server alone: throughput,
latency, and what a command costs each of them.

The engine has the first processor. The load has the second, and nadbd shares it with the load: it is
nadbd's users, not the engine, that pay for it. Each has an engine of its own with all keys in it; only
one of them works at a time. Every row is measured in turn on redis, nadbd, redis, nadbd, ... and
shows medians.

Latency is that of one client that waits for each answer, measured here, in Python: what the
measuring takes is in both, and not in their difference.
"""

import os
import statistics
import sys
import time

from common import LOAD_CPU, Subject, describe_machine, nadbd_path, note, redis_path
from resp import encode

PIPELINES = (1, 16, 64)
CONNECTIONS = 50
GOALS = {16: 0.70, 64: 0.70}    # share of the engine's own throughput
LINE = "{:<20} {:>12} {:>12} {:>8}   {:>10} {:>10} {:>10}  {}"


class Amounts:
    """How much of each is done in one round."""

    def __init__(self, is_quick):
        self.keys = 100_000 if is_quick else 1_000_000
        part = 0.2 if is_quick else 1
        self.requests = {1: int(200_000 * part), 16: int(1_500_000 * part), 64: int(3_000_000 * part)}
        self.asked = 2000 if is_quick else 10_000


class Path:
    """What the load talks to, `front`, and everything that works for it."""

    def __init__(self, name, front, parts):
        self.name, self.front, self.parts = name, front, parts

    def load(self, kind, pipeline, requests, keys):
        """{per_s, <part>_us: microseconds of its CPU a command}"""
        before = {name: part.cpu_s() for name, part in self.parts.items()}
        rate, _ = self.front.load(kind, CONNECTIONS, pipeline, requests, keys)
        return {"per_s": rate, **{
            f"{name}_us": (part.cpu_s() - before[name]) * 1e6 / requests
            for name, part in self.parts.items()}}

    def fill(self, keys):
        self.front.load("fill", CONNECTIONS, 64, keys, keys)
        if self.front.server.call("DBSIZE") != keys:
            sys.exit(f"{self.name}: not all keys are there")

    def latency_us(self, kind, count, keys):
        """The median of one client's answers."""
        found = []
        with self.front.server.connect() as conn:
            for number in range(count):
                key = b"key:%012d" % (number * 7919 % keys)
                data = encode("GET", key) if kind == "get" else encode("SET", key, b"x" * 64)
                began = time.perf_counter()
                conn.sock.sendall(data)
                conn.sock.recv(4096)
                found.append(time.perf_counter() - began)
        return statistics.median(found) * 1e6


def engine():
    return Subject("redis", redis_path(), {"save": "", "appendonly": "no"})


def front(behind):
    subject = Subject("nadbd", nadbd_path(), {
        "backend": "redis", "redis-url": [f"redis://127.0.0.1:{behind.server.port}"]})
    subject.server.prefix = ["taskset", "-c", LOAD_CPU]
    return subject


def medians(found):
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def in_turn(paths, rounds, action):
    """action(path) on each in turn, so many times; the medians by name."""
    found = {path.name: [] for path in paths}
    for _ in range(rounds):
        for path in paths:
            found[path.name].append(action(path))
    return {name: medians(results) for name, results in found.items()}


def bench_speed(amounts, paths, rounds):
    rows = []
    for pipeline in PIPELINES:
        for kind in ("get", "set"):
            found = in_turn(paths, rounds, lambda path: path.load(
                kind, pipeline, amounts.requests[pipeline], amounts.keys))
            row = {"what": f"{kind.upper()}, pipeline {pipeline}", **found, "goal": GOALS.get(pipeline)}
            note(f"{row['what']}: " + ", ".join(f"{name} {one['per_s']:,.0f}/s" for name, one in found.items()))
            rows.append(row)
    return rows


def bench_latency(amounts, paths, rounds):
    rows = []
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    try:
        for kind in ("get", "set"):
            found = in_turn(paths, rounds, lambda path: {
                "us": path.latency_us(kind, amounts.asked, amounts.keys)})
            rows.append({"what": kind.upper(), **{name: one["us"] for name, one in found.items()}})
    finally:
        os.sched_setaffinity(0, everywhere)
    return rows


def run(is_quick, rounds):
    """Measures everything; returns what `show` prints."""
    amounts = Amounts(is_quick)
    alone, behind = engine(), engine()
    with alone.server, behind.server:
        nadbd = front(behind)
        with nadbd.server:
            paths = [Path("redis", alone, {"engine": alone}),
                     Path("nadbd", nadbd, {"engine": behind, "nadbd": nadbd})]
            for path in paths:
                path.fill(amounts.keys)
            return {"machine": describe_machine(), "keys": amounts.keys, "rounds": rounds,
                    "latency": bench_latency(amounts, paths, rounds),
                    "speed": bench_speed(amounts, paths, rounds),
                    "memory": {path.name: path.parts["engine"].used_memory() / amounts.keys
                               for path in paths}}


def show(result):
    print(f"\n{result['machine']}\n{result['keys']:,} keys of 16 bytes with values of 64 bytes; "
          f"{CONNECTIONS} connections; medians of {result['rounds']} rounds\n")
    print(LINE.format("", "redis", "nadbd +", "nadbd /", "CPU us/op", "CPU us/op", "CPU us/op", "").rstrip())
    print(LINE.format("", "alone, /s", "redis, /s", "redis", "alone", "its redis", "nadbd", "").rstrip())
    for row in result["speed"]:
        redis, nadbd = row["redis"], row["nadbd"]
        share = nadbd["per_s"] / redis["per_s"]
        goal = ""
        if row["goal"]:
            goal = f"goal {row['goal']:.0%}: {'reached' if share >= row['goal'] else 'missed'}"
        print(LINE.format(row["what"], f"{redis['per_s']:,.0f}", f"{nadbd['per_s']:,.0f}", f"{share:.0%}",
                          f"{redis['engine_us']:.2f}", f"{nadbd['engine_us']:.2f}",
                          f"{nadbd['nadbd_us']:.2f}", goal).rstrip())
    print("\nLatency of one client, p50, microseconds")
    for row in result["latency"]:
        print(f"{row['what']:<20} redis {row['redis']:.0f}, through nadbd {row['nadbd']:.0f}: "
              f"{row['nadbd'] - row['redis']:.0f} added")
    print("Latency of 50 clients, mean, microseconds")
    for row in result["speed"]:
        if row["what"].endswith("pipeline 1"):
            redis, nadbd = (CONNECTIONS / row[name]["per_s"] * 1e6 for name in ("redis", "nadbd"))
            print(f"{row['what']:<20} redis {redis:.0f}, through nadbd {nadbd:.0f}: {nadbd - redis:.0f} added")
    memory = result["memory"]
    print(f"Memory of the engine, bytes a key: {memory['redis']:.0f} alone, {memory['nadbd']:.0f} with nadbd")
