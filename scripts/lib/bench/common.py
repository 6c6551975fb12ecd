"""What all benchmarks share: the servers, the machine, and how results are gathered."""

import os
import shutil
import statistics
import subprocess
import sys
import time

import harness

SERVER_CPU, LOAD_CPU = "0", "1"
RSS_LOOKS = 10
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Subject:
    """A server, its measurements, and how it is started."""

    def __init__(self, name, path, options):
        self.name = name
        self.server = harness.Server(path, options, prefix=["taskset", "-c", SERVER_CPU])

    def cpu_s(self):
        with open(f"/proc/{self.server.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def settle(self):
        """Ends what goes on in the background, so that its cost is counted where it belongs."""
        if self.name == "nadbd":
            self.server.call("FLUSH")

    def load(self, kind, connections, pipeline, requests, keys):
        """(commands a second, microseconds of the server's CPU a command)"""
        self.settle()
        before = self.cpu_s()
        done = subprocess.run(
            ["taskset", "-c", LOAD_CPU, load_path(), "127.0.0.1", str(self.server.port), kind,
             str(connections), str(pipeline), str(requests), str(keys)],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{self.name}: {done.stderr.strip()}\n{self.server.log()}")
        self.settle()
        cpu = self.cpu_s() - before
        return requests / float(done.stdout.split()[0]), cpu * 1e6 / requests

    def used_memory(self):
        return int(self.server.info()["used_memory"])


class Build:
    """The folder that holds what is measured."""

    folder = os.path.join(harness.ROOT, "build-release")

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.folder, *names)


def load_path():
    return Build.path("tests", "bench", "load")


def note(text):
    print(f"   {text}", file=sys.stderr, flush=True)


def build():
    command = (". scripts/lib/build.sh && scripts/install-deps --build --bench && build_release && "
               "ninja -C build-release tests/bench/load tests/bench/probe")
    subprocess.run(["bash", "-euc", command], cwd=harness.ROOT, check=True, stdout=sys.stderr)


def measure(row, subjects, rounds, action):
    """Runs `action` on each subject in turn, `rounds` times; the medians by name."""
    results = {subject.name: [] for subject in subjects}
    for number in range(rounds):
        for subject in subjects:
            results[subject.name].append(action(subject))
            rate, cpu = results[subject.name][-1]
            note(f"{row}, round {number + 1}, {subject.name}: {rate:,.0f}/s, {cpu:.3f} us")
    return {name: {"per_s": statistics.median(rate for rate, _ in found),
                   "cpu_us": statistics.median(cpu for _, cpu in found)}
            for name, found in results.items()}


def steady_rss(server):
    """RSS when it no longer changes: buffers of the load that just ended are being given back."""
    last, now = None, server.rss_bytes()
    for _ in range(RSS_LOOKS):
        if now == last:
            break
        time.sleep(1)
        last, now = now, server.rss_bytes()
    return now


def redis_path():
    path = shutil.which("redis-server")
    if path is None:
        sys.exit("redis-server is not installed: scripts/install-deps --bench")
    return path


def nadbd_path():
    return Build.path("src", "nadbd")


def describe_machine():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    version = subprocess.run([redis_path(), "--version"], capture_output=True, text=True, check=True)
    return f"{os.cpu_count()} x {models[0] if models else 'processor'}; " \
           f"{' '.join(version.stdout.split()[:3])}; kernel {os.uname().release}"
