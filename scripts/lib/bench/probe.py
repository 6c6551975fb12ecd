"""A client that asks one thing at fixed times and notes how long each answer took; how, says
tests/bench/probe.c.
"""

import subprocess
import sys

from common import LOAD_CPU, Build, note

INTERVAL_US = 1000


class Probe:
    """Runs between `with` and its end; then `late` tells."""

    def __init__(self, address, command):
        host, port = address
        self._words = ["taskset", "-c", LOAD_CPU, Build.path("tests", "bench", "probe"),
                       host, str(port), str(INTERVAL_US), *command]
        self._process = None
        self._looks = []

    def __enter__(self):
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self._process.stdout.readline().strip()
        if not ready:
            sys.exit("the probe did not start")
        if ready != "ready":
            note(f"probe: {ready}")
        return self

    def __exit__(self, kind, *_):
        *looks, late = self._process.communicate()[0].splitlines() or [""]
        if kind is not None:
            return
        if self._process.returncode != 0:
            sys.exit("the probe has failed")
        self._looks = [tuple(float(word) for word in line.split()) for line in looks]
        _, times, seconds = late.split()
        note(f"probe: {len(looks)} answers; {times} times late itself, {float(seconds) * 1e3:.1f} ms")

    def late(self, began, ended):
        """(99th percentile, longest) in seconds of what was due from `began` to `ended`, on the
        monotonic clock."""
        found = sorted(took for due, took in self._looks if began <= due <= ended)
        if not found:
            raise ValueError("nothing was asked in that time")
        return found[min(len(found) - 1, len(found) * 99 // 100)], found[-1]
