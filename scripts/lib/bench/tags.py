"""Tags side by side with redis-server and the ways of doing the same there: a set for each tag,
SADD beside SETEX, SINTER and its like, SMEMBERS and UNLINK or a Lua script.

Keys and their tags are drawn with a fixed seed, the same for both. Times are what a client in
Python sees, the wire and its own work included. nadbd runs with its default configuration: the fs
backend, written and synced every second; redis-server keeps nothing.
"""

import itertools
import os
import random
import statistics
import sys
import time

from common import LOAD_CPU, Subject, describe_machine, nadbd_path, note, redis_path, steady_rss
from probe import Probe
from resp import encode

SEED = 20260611
BATCH = 1000
ROTATING_PER_S, ROTATING_TTL_S, TICKS_PER_S = 10_000, 2, 10
STALE_FILLS = 500
LINE = "{:<50} {:>16} {:>16} {:>9}"

# Atomic, as INVALIDATE is. UNLINK takes a bounded number of arguments from Lua's stack.
INVALIDATE_LUA = """
local keys = redis.call('SMEMBERS', KEYS[1])
local count = 0
for first = 1, #keys, 5000 do
    count = count + redis.call('UNLINK', unpack(keys, first, math.min(first + 4999, #keys)))
end
redis.call('UNLINK', KEYS[1])
return count
"""


class Amounts:
    """How much of each there is."""

    def __init__(self, is_quick):
        self.rotating_s = 6 if is_quick else 30
        self.keys = 100_000 if is_quick else 1_000_000
        self.expired = 20_000 if is_quick else 200_000
        self.live = 1_000 if is_quick else 10_000
        self.zipf_tags = 50_000 if is_quick else 500_000


class Rows:
    """The table, in order: a heading, or (what, redis, nadbd, format, ratio's numerator)."""

    def __init__(self):
        self.rows = []

    def heading(self, text):
        self.rows.append({"heading": text})

    def add(self, what, redis, nadbd, form, compared=True):
        row = {"what": what, "redis": redis, "nadbd": nadbd, "form": form, "compared": compared}
        self.rows.append(row)
        note(f"{what}: redis {form.format(redis)}, nadbd {form.format(nadbd)}")


# ---- sending much ----

def send_all(conn, commands):
    """Sends encoded commands, each of which has a reply of one line that is no error."""
    commands = iter(commands)
    while batch := list(itertools.islice(commands, BATCH)):
        conn.send(b"".join(batch))
        left, at_line_start = len(batch), True
        while left > 0:
            data = conn.sock.recv(1 << 20)
            if not data:
                sys.exit("the server closed the connection")
            if at_line_start and data[:1] == b"-" or b"\r\n-" in data:
                sys.exit(f"refused: {data[:200]!r}")
            at_line_start = data.endswith(b"\n")
            left -= data.count(b"\n")


def zipf_drawer(rng, tag_count):
    """Draws sets of `least` to `most` tags, of which the n-th is n times rarer than the first."""
    weights = list(itertools.accumulate(1 / rank for rank in range(1, tag_count + 1)))
    names = [b"tag:%06d" % number for number in range(tag_count)]

    def draw(least, most):
        chosen = rng.choices(names, cum_weights=weights, k=rng.randint(least, most))
        return list(dict.fromkeys(chosen))

    return draw


def add_to_sets(members):
    """SADD commands for a dictionary of tags and keys."""
    for tag, keys in members.items():
        for first in range(0, len(keys), BATCH):
            yield encode("SADD", tag, *keys[first:first + BATCH])


def by_tag(tagged):
    """{tag: keys} of pairs (key, tags)."""
    members = {}
    for key, tags in tagged:
        for tag in tags:
            members.setdefault(tag, []).append(key)
    return members


def tag_info(server):
    info = server.info()
    return int(info["nadb_memberships"]), int(info["nadb_index_bytes"])


# ---- (a) rotating keys ----

def rotate(subject, seconds, write):
    """Writes at the fixed rate; returns {key: tags} and used memory for each third of the time."""
    draw = zipf_drawer(random.Random(SEED), 10_000)
    ticks = seconds * TICKS_PER_S
    written, memory = {}, [subject.used_memory()]
    number = 0
    with subject.server.connect() as conn:
        began = time.monotonic()
        for tick in range(ticks):
            commands = []
            for _ in range(ROTATING_PER_S // TICKS_PER_S):
                key, tags = b"page:%09d" % number, draw(2, 8)
                number += 1
                written[key] = tags
                commands += write(key, tags)
            send_all(conn, commands)
            ahead = began + (tick + 1) / TICKS_PER_S - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            if (tick + 1) % (ticks // 3) == 0:
                memory.append(subject.used_memory())
    return written, memory


def write_redis(key, tags):
    return [encode("SETEX", key, ROTATING_TTL_S, "x" * 64), *(encode("SADD", tag, key) for tag in tags)]


def write_nadbd(key, tags):
    return [encode("SETEX", key, ROTATING_TTL_S, "x" * 64, "TAGS", *tags)]


def redis_members(conn):
    """(live keys, members of all tags)"""
    tags = [key for key in conn.call("KEYS", "tag:*")]
    members = sum(sum(conn.pipeline([("SCARD", tag) for tag in tags[first:first + BATCH]]))
                  for first in range(0, len(tags), BATCH))
    return conn.call("DBSIZE") - len(tags), members


def nadbd_members(conn, written):
    """The same, and what the memberships should be: both of one moment."""
    keys, info = conn.pipeline(
        ["MULTI", "QUERY LIMIT 0 1000000 EXPR *", "INFO tags", "EXEC"])[-1]
    lines = dict(line.split(":") for line in info.decode().split("\r\n") if ":" in line)
    return len(keys), int(lines["nadb_memberships"]), sum(len(written[key]) for key in keys)


def bench_rotating(amounts, rows):
    redis, nadbd = subjects()
    rows.heading(f"{ROTATING_PER_S:,} keys a second for {amounts.rotating_s} s, "
                 f"TTL {ROTATING_TTL_S} s, 2 to 8 Zipf tags each")
    with redis.server, nadbd.server:
        _, redis_memory = rotate(redis, amounts.rotating_s, write_redis)
        with redis.server.connect() as conn:
            redis_live, redis_count = redis_members(conn)
        written, memory = rotate(nadbd, amounts.rotating_s, write_nadbd)
        with nadbd.server.connect() as conn:
            live, count, expected = nadbd_members(conn, written)
        if count != expected:
            sys.exit(f"nadbd: {count} memberships, but the live keys have {expected}")
        time.sleep(2 * ROTATING_TTL_S)
        with redis.server.connect() as conn:
            _, redis_after = redis_members(conn)
        after, _ = tag_info(nadbd.server)
    rows.add("live keys at the end", redis_live, live, "{:,}", False)
    rows.add("memberships at the end", redis_count, count, "{:,}")
    rows.add("  of them due to live keys", expected, expected, "{:,}", False)
    rows.add("memberships when all keys have expired", redis_after, after, "{:,}", False)
    for third in (1, 2, 3):
        rows.add(f"memory added after {amounts.rotating_s * third // 3} s, MB",
                 (redis_memory[third] - redis_memory[0]) / 1e6, (memory[third] - memory[0]) / 1e6,
                 "{:.1f}")


# ---- (b) queries ----

def median_s(action, times):
    found = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def shares(count):
    """Pairs (key, tags): half of the keys, a tenth and a hundredth of them, independently."""
    rng = random.Random(SEED)
    for number in range(count):
        yield b"doc:%09d" % number, [
            tag for tag, share in ((b"half", 0.5), (b"tenth", 0.1), (b"hundredth", 0.01))
            if rng.random() < share]


QUERIES = (
    ("count 50 % AND 10 %", "SINTERCARD 2 half tenth", "half & tenth"),
    ("count 50 % OR 10 %", "SUNIONSTORE out half tenth", "half | tenth"),
    ("count 50 % AND NOT 10 %", "SDIFFSTORE out half tenth", "half & !tenth"),
    ("count 10 % AND 1 %", "SINTERCARD 2 tenth hundredth", "tenth & hundredth"),
    ("count 10 % OR 1 %", "SUNIONSTORE out tenth hundredth", "tenth | hundredth"),
    ("count 10 % AND NOT 1 %", "SDIFFSTORE out tenth hundredth", "tenth & !hundredth"),
)
LISTS = (
    ("keys of 1 %", "SMEMBERS hundredth", "hundredth"),
    ("keys of 10 % AND 1 %", "SINTER tenth hundredth", "tenth & hundredth"),
    ("keys of 50 % AND 10 %", "SINTER half tenth", "half & tenth"),
)


def bench_queries(amounts, rows):
    redis, nadbd = subjects()
    rows.heading(f"queries over {amounts.keys:,} keys, milliseconds on the wire")
    with redis.server, nadbd.server, \
            redis.server.connect() as theirs, nadbd.server.connect() as ours:
        send_all(theirs, add_to_sets(by_tag(shares(amounts.keys))))
        send_all(ours, (encode("SET", key, "v", "TAGS", *tags)
                        for key, tags in shares(amounts.keys)))
        for what, words, expression in QUERIES:
            query = ["QUERY", "COUNTONLY", "EXPR", expression]
            if theirs.call(words) != ours.call(*query):
                sys.exit(f"{what}: the servers count differently")
            rows.add(what, median_s(lambda words=words: theirs.call(words), 15) * 1e3,
                     median_s(lambda query=query: ours.call(*query), 301) * 1e3, "{:.3f}")
            theirs.call("UNLINK", "out")
        for what, words, expression in LISTS:
            query = ["QUERY", "EXPR", expression]
            if set(theirs.call(words)) != set(ours.call(*query)):
                sys.exit(f"{what}: the servers list differently")
            rows.add(what, median_s(lambda words=words: drain(theirs, *words.split()), 15) * 1e3,
                     median_s(lambda query=query: drain(ours, *query), 15) * 1e3, "{:.2f}")


def drain(conn, *command):
    """Sends a command and reads its array of bulk strings by counting lines; returns the lines."""
    conn.send(encode(*command))
    data = bytearray(conn.sock.recv(1 << 20))
    while b"\r\n" not in data:
        data += conn.sock.recv(1 << 20)
    head, _, _ = data.partition(b"\r\n")
    left = 1 + 2 * int(head[1:]) - data.count(b"\n")
    parts = [data]
    while left > 0:
        part = conn.sock.recv(1 << 20)
        left -= part.count(b"\n")
        parts.append(part)
    return b"".join(parts).split(b"\r\n")


# ---- (c) invalidation ----

def invalidate_client(conn):
    """What frameworks do: fetch the members, delete them, delete the set. Not atomic."""
    keys = drain(conn, "SMEMBERS", "feed")[2::2]
    batches = [encode("UNLINK", *keys[first:first + BATCH]) for first in range(0, len(keys), BATCH)]
    send_all(conn, batches + [encode("UNLINK", "feed")])


def invalidate_lua(conn):
    conn.call("EVAL", INVALIDATE_LUA, "1", "feed")


def invalidate_nadbd(conn):
    conn.call("INVALIDATE", "ANY", "feed")


def swept(conn):
    """Waits for the end of what goes on behind the reply."""
    while b"nadb_invalidated_pending:0\r" not in conn.call("INFO", "tags"):
        time.sleep(0.005)


def invalidation(subject, prepare, action, wait=None):
    """(seconds to the reply, 99th percentile and longest of another client until it is all over)"""
    with subject.server as server, server.connect() as conn:
        prepare(conn)
        if wait is not None:
            conn.call("FLUSH")
        with Probe(server.address, ("GET", "other:1")) as probe:
            began = time.monotonic()
            action(conn)
            replied = time.monotonic()
            if wait is not None:
                wait(conn)
            ended = max(time.monotonic(), began + 0.1)
            time.sleep(max(0, ended - time.monotonic()))
        if conn.call("EXISTS", "feed:000000001") or not conn.call("EXISTS", "other:1"):
            sys.exit(f"{subject.name}: the wrong keys are gone")
        late = probe.late(began, ended)
        return replied - began, *late


def feed_keys(count, start=0):
    return [b"feed:%09d" % number for number in range(start, start + count)]


def prepare_redis(amounts, expired, live):
    def prepare(conn):
        send_all(conn, (encode("SET", f"other:{i}", "v") for i in range(amounts.live)))
        old = feed_keys(expired, 10**8)
        send_all(conn, (encode("SET", key, "v", "PX", 1) for key in old))
        new = feed_keys(live)
        send_all(conn, (encode("SET", key, "v") for key in new))
        send_all(conn, add_to_sets({"feed": old + new}))
        while conn.call("DBSIZE") > amounts.live + live + 1:
            time.sleep(0.01)
    return prepare


def prepare_nadbd(amounts, expired, live):
    def prepare(conn):
        send_all(conn, (encode("SET", f"other:{i}", "v") for i in range(amounts.live)))
        send_all(conn, (encode("SET", key, "v", "PX", 1, "TAGS", "feed")
                        for key in feed_keys(expired, 10**8)))
        send_all(conn, (encode("SET", key, "v", "TAGS", "feed") for key in feed_keys(live)))
        while conn.call("DBSIZE") > amounts.live + live:
            time.sleep(0.01)
    return prepare


def bench_invalidation(amounts, rows, rounds):
    cases = ((f"{amounts.live:,} keys, {amounts.expired:,} more expired before", amounts.expired,
              amounts.live), (f"{amounts.keys:,} keys", 0, amounts.keys))
    for what, expired, live in cases:
        found = {"client": [], "lua": [], "nadbd": []}
        for _ in range(rounds):
            for name, action in (("client", invalidate_client), ("lua", invalidate_lua)):
                found[name].append(invalidation(
                    subjects()[0], prepare_redis(amounts, expired, live), action))
            found["nadbd"].append(invalidation(
                subjects()[1], prepare_nadbd(amounts, expired, live), invalidate_nadbd, swept))
        middle = {name: [statistics.median(values) * 1e3 for values in zip(*runs)]
                  for name, runs in found.items()}
        rows.heading(f"invalidation of a tag of {what}, milliseconds")
        for name, way in (("client", "SMEMBERS, UNLINK"), ("lua", "Lua")):
            for place, part in enumerate(("reply", "another client, p99", "another client, longest")):
                rows.add(f"{part} (redis: {way})", middle[name][place], middle["nadbd"][place],
                         "{:.2f}")


# ---- (d) memory ----

def tagged_zipf(amounts):
    draw = zipf_drawer(random.Random(SEED), amounts.zipf_tags)
    return [(b"doc:%012d" % number, draw(3, 8)) for number in range(amounts.keys)]


def grow(subject, prepare, add):
    """RSS that `add` brings, once it is steady."""
    with subject.server.connect() as conn:
        send_all(conn, prepare)
        subject.settle()
        before = steady_rss(subject.server)
        send_all(conn, add)
        subject.settle()
        return steady_rss(subject.server) - before


def bench_memory(amounts, rows):
    tagged = tagged_zipf(amounts)
    memberships = sum(len(tags) for _, tags in tagged)
    redis, nadbd = subjects()
    rows.heading(f"memory of {memberships:,} memberships, {amounts.keys:,} keys, "
                 f"Zipf over {amounts.zipf_tags:,} tags, bytes each")
    with redis.server, nadbd.server:
        theirs = grow(redis, (encode("SET", key, "v" * 64) for key, _ in tagged),
                      add_to_sets(by_tag(tagged)))
        ours = grow(nadbd, (encode("SET", key, "v" * 64) for key, _ in tagged),
                    (encode("TAGSET", key, *tags) for key, tags in tagged))
        count, index_bytes = tag_info(nadbd.server)
    if count != memberships:
        sys.exit(f"nadbd: {count} memberships instead of {memberships}")
    rows.add("tags to keys (redis: RSS; nadbd: INFO's index_bytes)", theirs / memberships,
             index_bytes / memberships, "{:.1f}")
    rows.add("RSS; nadbd: with each key's own list of tags", theirs / memberships,
             ours / memberships, "{:.1f}")


# ---- (e) stale fills ----

def stale_fill(reader, writer, fill, invalidate):
    """A reader misses and computes; the data changes and is invalidated; the reader stores."""
    stored = 0
    for _ in range(STALE_FILLS):
        epoch = fill(reader, None)
        invalidate(writer)
        fill(reader, epoch)
        stored += reader.call("EXISTS", "page")
        reader.call("DEL", "page")
    return stored


def fill_redis(conn, epoch):
    if epoch is None:
        return conn.call("GET", "page") is None
    return conn.pipeline(["SETEX page 100 old", "SADD feed page"])


def fill_nadbd(conn, epoch):
    if epoch is None:
        return conn.pipeline(["GET page", "EPOCH"])[1]
    return conn.call("SET", "page", "old", "EX", 100, "IFEPOCH", epoch, "TAGS", "feed")


def bench_stale(rows):
    redis, nadbd = subjects()
    rows.heading(f"{STALE_FILLS} fills, each with an invalidation between the miss and the store")
    with redis.server, nadbd.server:
        found = []
        for subject, fill, invalidate in ((redis, fill_redis, invalidate_lua),
                                          (nadbd, fill_nadbd, invalidate_nadbd)):
            with subject.server.connect() as reader, subject.server.connect() as writer:
                found.append(stale_fill(reader, writer, fill, invalidate))
    rows.add("stale values stored", *found, "{:,}", False)


# ---- all of it ----

def subjects():
    return (Subject("redis", redis_path(), {"save": "", "appendonly": "no"}),
            Subject("nadbd", nadbd_path(), {}))


def run(is_quick, rounds):
    """Measures everything; returns what `show` prints."""
    amounts, rows = Amounts(is_quick), Rows()
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    try:
        bench_rotating(amounts, rows)
        bench_queries(amounts, rows)
        bench_invalidation(amounts, rows, rounds)
        bench_memory(amounts, rows)
        bench_stale(rows)
    finally:
        os.sched_setaffinity(0, everywhere)
    return {"machine": describe_machine(), "rounds": rounds, "rows": rows.rows}


def show(result):
    print(f"\n{result['machine']}; tags, medians of {result['rounds']} rounds")
    for row in result["rows"]:
        if "heading" in row:
            print("\n" + LINE.format(row["heading"][:1].upper() + row["heading"][1:], "", "", "").rstrip())
            print(LINE.format("", "redis", "nadbd", "redis /"))
            continue
        ratio = ""
        if row["compared"] and row["nadbd"]:
            value = row["redis"] / row["nadbd"]
            ratio = f"{value:,.0f}x" if value >= 100 else f"{value:.1f}x"
        form = row["form"]
        print(LINE.format(row["what"], form.format(row["redis"]), form.format(row["nadbd"]), ratio))
