"""The daemon as redis-cli and redis-benchmark use it, in every mode that fits."""

import json
import os
import pty
import select
import shutil
import subprocess
import unittest

import harness
from resp import encode


@unittest.skipIf(shutil.which("redis-cli") is None, "redis-cli is not installed")
class RedisCli(harness.ServerCase):
    def cli(self, *words, data=b"", code=0):
        done = subprocess.run(
            ["redis-cli", "-p", str(self.server.port), *words], input=data, capture_output=True,
            timeout=harness.DEADLINE_S, check=False)
        self.assertEqual(done.returncode, code, done.stderr.decode() + done.stdout.decode())
        return done.stdout.decode()

    def test_commands_are_answered(self):
        self.assertEqual(self.cli("set", "k", "v"), "OK\n")
        self.assertEqual(self.cli("get", "k"), "v\n")
        self.assertEqual(self.cli("-n", "3", "get", "k"), "\n")
        self.assertEqual(self.cli("-3", "get", "nokey"), "\n")
        self.assertEqual(self.cli("--no-raw", "-3", "get", "nokey"), "(nil)\n")
        self.assertEqual(self.cli("-x", "set", "k", data=b"from stdin\n"), "OK\n")
        self.assertEqual(self.cli("get", "k"), "from stdin\n\n")
        self.assertEqual(self.cli("-r", "3", "incr", "n"), "1\n2\n3\n")
        self.assertEqual(self.cli("nosuch"), "ERR unknown command 'nosuch', with args beginning with: \n\n")
        self.assertEqual(self.cli("-e", "nosuch", code=1).strip(), "")

    def test_json_and_csv_are_readable(self):
        self.cli("mset", "a", "1", "b", "2")
        self.assertEqual(json.loads(self.cli("--json", "mget", "a", "b", "c")), ["1", "2", None])
        found = json.loads(self.cli("--json", "config", "get", "maxclients"))
        self.assertEqual(found, {"maxclients": "10000"})
        self.assertEqual(self.cli("--csv", "mget", "a", "c"), '"1",NULL\n')
        self.assertEqual(json.loads(self.cli("--json", "command", "count")), self.call("COMMAND", "COUNT"))

    def test_scan_and_bigkeys_walk_the_keys(self):
        self.call("MSET", *[word for idx in range(500) for word in (f"key:{idx}", "x" * idx)])
        found = self.cli("--scan", "--pattern", "key:4*").split()
        self.assertEqual(len(found), 111)
        text = self.cli("--bigkeys")
        self.assertIn('Biggest string found \'"key:499"\' has 499 bytes', text)
        self.assertIn("500 strings with 124750 bytes", text)

    def test_pipe_loads_in_bulk(self):
        data = b"".join(encode("SET", f"k{idx}", b"\r\n\0" * 10) for idx in range(50000))
        text = self.cli("--pipe", data=data)
        self.assertIn("errors: 0, replies: 50000", text)
        self.assertEqual(self.call("DBSIZE"), 50000)
        text = self.cli("--pipe", data=encode("NOSUCH") + encode("SET", "a", "1"), code=1)
        self.assertIn("errors: 1, replies: 2", text)

    def test_stat_prints_its_columns(self):
        self.call("SET", "k", "v")
        tool = subprocess.Popen(
            ["stdbuf", "-oL", "redis-cli", "-p", str(self.server.port), "--stat", "-i", "0.01"],
            stdout=subprocess.PIPE, text=True)
        try:
            lines = [tool.stdout.readline() for _ in range(3)]
        finally:
            tool.kill()
            tool.wait()
            tool.stdout.close()
        self.assertEqual(lines[2].split()[0], "1")

    def test_latency_measures(self):
        text = self.cli("--latency", "--raw", "-i", "1")
        self.assertRegex(text, r"^\d+ \d+ [\d.]+ \d+")

    def test_an_interactive_session_shows_help_and_the_database(self):
        parent, child = pty.openpty()
        tool = subprocess.Popen(["redis-cli", "-p", str(self.server.port)], stdin=child, stdout=child,
                                stderr=child, env={**os.environ, "TERM": "dumb", "HOME": "/nonexistent"})
        os.close(child)
        seen = b""
        try:
            for line, expected in ((b"help set\n", b"summary:"), (b"select 3\n", b"[3]>"),
                                   (b"multi\n", b"(TX)>"), (b"set k v\n", b"QUEUED"),
                                   (b"exec\n", b"1) OK"), (b"help @string\n", b"GETRANGE")):
                os.write(parent, line)
                while expected not in seen:
                    readable, _, _ = select.select([parent], [], [], harness.DEADLINE_S)
                    self.assertTrue(readable, seen)
                    seen += os.read(parent, 65536)
                seen = b""
        finally:
            tool.kill()
            tool.wait()
            os.close(parent)


@unittest.skipIf(shutil.which("redis-benchmark") is None, "redis-benchmark is not installed")
class RedisBenchmark(harness.ServerCase):
    def benchmark(self, *words):
        done = subprocess.run(
            ["redis-benchmark", "-p", str(self.server.port), *words], capture_output=True, text=True,
            timeout=harness.DEADLINE_S, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("WARNING", done.stdout + done.stderr)
        self.assertNotIn("rror", done.stdout + done.stderr)
        return done.stdout

    def test_the_usual_run_has_no_warning(self):
        text = self.benchmark("-n", "20000", "-t", "ping,set,get,incr,mset", "--csv")
        names = [line.split(",")[0].strip('"') for line in text.strip().split("\n")[1:]]
        self.assertEqual(names, ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"])

    def test_pipelines_and_many_clients_work(self):
        self.benchmark("-n", "200000", "-t", "set,get", "-P", "64", "-c", "200", "-r", "10000", "-q")
        self.assertGreater(self.call("DBSIZE"), 9000)

    def test_resp3_and_threads_work(self):
        self.benchmark("-n", "20000", "-t", "set,get", "-3", "-q")
        self.benchmark("-n", "20000", "-t", "set,get", "--threads", "2", "-q")
