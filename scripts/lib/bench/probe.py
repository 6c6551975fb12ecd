"""A client that asks one thing at fixed times and notes how long each answer took.

The times are fixed beforehand and latency counts from them, not from when the client came round to
asking: a server that stands still for 500 ms owes 500 answers, and all of them are late.
"""

import multiprocessing
import time

from resp import Connection, encode

INTERVAL_S = 0.001


def _ask(address, command, pipe):
    looks = []
    data = encode(*command)
    with Connection(address) as conn:
        conn.send(data)
        conn.read_raw()
        pipe.send("ready")
        due = time.monotonic()
        while not pipe.poll():
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
            conn.send(data)
            conn.read_raw()
            looks.append((due, time.monotonic() - due))
            due += INTERVAL_S
    pipe.send(looks)


class Probe:
    """Runs between `with` and its end; then `late` tells."""

    def __init__(self, address, command):
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_ask, args=(address, command, theirs))
        self._looks = []

    def __enter__(self):
        self._process.start()
        self._pipe.recv()
        return self

    def __exit__(self, *_):
        self._pipe.send("stop")
        self._looks = self._pipe.recv()
        self._process.join()

    def late(self, began, ended):
        """(99th percentile, longest) in seconds of what was due from `began` to `ended`."""
        found = sorted(took for due, took in self._looks if began <= due <= ended)
        if not found:
            raise ValueError("nothing was asked in that time")
        return found[min(len(found) - 1, len(found) * 99 // 100)], found[-1]
