"""Starting, ending, starting again: what is kept, what refuses, with which exit code."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest

import harness
from resp import ReplyError, encode

KEYS = 2000


def run(*words, cwd=None):
    """Runs the daemon to its end: (exit code, stdout, stderr)."""
    done = subprocess.run([harness.nadbd_path(), *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=harness.DEADLINE_S, cwd=cwd,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def fill(conn, count=KEYS):
    conn.send(b"".join(encode("SET", f"k{idx}", f"value {idx}") for idx in range(count)))
    for _ in range(count):
        assert conn.read() == "OK"


def dump(server, count=KEYS):
    with server.connect() as conn:
        return conn.call("MGET", *[f"k{idx}" for idx in range(count)])


EXPECTED = [f"value {idx}".encode() for idx in range(KEYS)]


@harness.nadbd_only("its persistence is another")
class Restart(unittest.TestCase):
    def check_kept(self, end, **options):
        """Writes, ends the server by `end(server)`, starts it again and compares."""
        with harness.temporary_folder() as folder:
            with harness.Server(options=options, folder=folder) as server:
                with server.connect() as conn:
                    fill(conn)
                    self.assertEqual(conn.call("SET", "soon", "v", "EX", "1000"), "OK")
                    self.assertEqual(conn.call("SET", "gone", "v"), "OK")
                    self.assertEqual(conn.call("DEL", "gone"), 1)
                    self.assertEqual(conn.call("SELECT", "7"), "OK")
                    self.assertEqual(conn.call("SET", b"\0bin\xff", b"\r\n\0"), "OK")
                    self.assertEqual(conn.call("NAMESPACE", "USE", "shop"), "OK")
                    self.assertEqual(conn.call("SET", "k0", "of shop"), "OK")
                end(server)
            with harness.Server(options=options, folder=folder) as server:
                self.assertEqual(dump(server), EXPECTED)
                with server.connect() as conn:
                    self.assertIsNone(conn.call("GET", "gone"))
                    self.assertTrue(900 < conn.call("TTL", "soon") <= 1000)
                    self.assertEqual(conn.call("DBSIZE"), KEYS + 1)
                    conn.call("SELECT", "7")
                    self.assertEqual(conn.call("GET", b"\0bin\xff"), b"\r\n\0")
                    conn.call("NAMESPACE", "USE", "shop")
                    self.assertEqual(conn.call("GET", "k0"), b"of shop")
                    self.assertEqual(conn.call("DBSIZE"), 1)
                self.assertEqual(server.stop(), 0)

    def stop_with(self, number):
        return lambda server: self.assertEqual(server.stop(number), 0)

    def shut_down(self, *words):
        def end(server):
            with server.connect() as conn:
                conn.send(encode("SHUTDOWN", *words))
                self.assertEqual(conn.read_to_end(), b"")
            self.assertEqual(server.wait_exit(), 0)
        return end

    def flush_and_kill(self, command):
        def end(server):
            self.assertEqual(server.call(command), "OK")
            server.kill()
        return end

    def test_sigterm_keeps_everything(self):
        self.check_kept(self.stop_with(signal.SIGTERM))

    def test_sigint_keeps_everything(self):
        self.check_kept(self.stop_with(signal.SIGINT))

    def test_sigterm_keeps_everything_when_buffered(self):
        self.check_kept(self.stop_with(signal.SIGTERM), durability="buffered")

    def test_shutdown_keeps_everything(self):
        self.check_kept(self.shut_down())

    def test_shutdown_save_keeps_everything(self):
        self.check_kept(self.shut_down("SAVE"))

    def test_flush_then_sigkill_keeps_everything(self):
        self.check_kept(self.flush_and_kill("FLUSH"))

    def test_flush_then_sigkill_keeps_everything_when_buffered(self):
        self.check_kept(self.flush_and_kill("FLUSH"), durability="buffered")

    def test_save_then_sigkill_keeps_everything(self):
        self.check_kept(self.flush_and_kill("SAVE"))

    def test_sigkill_keeps_everything_answered_when_always(self):
        self.check_kept(lambda server: server.kill(), durability="always")

    def test_many_restarts_keep_everything(self):
        with harness.temporary_folder() as folder:
            for idx in range(8):
                with harness.Server(folder=folder) as server, server.connect() as conn:
                    self.assertEqual(conn.call("DBSIZE"), idx)
                    self.assertEqual(conn.call("SET", f"k{idx}", idx), "OK")
                    self.assertEqual(conn.call("INCR", "k0"), idx + 1)
                    if idx % 2:
                        self.assertEqual(conn.call("FLUSH"), "OK")
                        server.kill()
                    else:
                        self.assertEqual(server.stop(), 0)

    @harness.log_backend_only("segments")
    def test_small_segments_keep_everything(self):
        with harness.temporary_folder() as folder:
            options = {"segment-size": "1mb", "buffer-size": "64kb"}
            value = os.urandom(1000)
            with harness.Server(options=options, folder=folder) as server, server.connect() as conn:
                for start in range(0, 10000, 1000):
                    for idx in range(start, start + 1000):
                        conn.send(encode("SET", f"k{idx}", value + str(idx).encode()))
                    for _ in range(1000):
                        self.assertEqual(conn.read(), "OK")
                for idx in range(0, 10000, 2):
                    conn.send(encode("DEL", f"k{idx}"))
                for _ in range(5000):
                    self.assertEqual(conn.read(), 1)
                self.assertEqual(server.stop(), 0)
            with harness.Server(options=options, folder=folder) as server, server.connect() as conn:
                self.assertEqual(conn.call("DBSIZE"), 5000)
                for idx in range(10000):
                    conn.send(encode("GET", f"k{idx}"))
                for idx in range(10000):
                    expected = value + str(idx).encode() if idx % 2 else None
                    self.assertEqual(conn.read(), expected, idx)

    @harness.log_backend_only("the sizes of its files")
    def test_a_limit_on_the_size_of_files_loses_nothing(self):
        # The kernel would end a process that ignores neither the limit nor its signal.
        value = os.urandom(100000)
        with harness.temporary_folder() as folder:
            limited = harness.Server(options={"durability": "always"}, folder=folder,
                                     prefix=["prlimit", "--fsize=2097152"])
            answered = 0
            with limited as server, server.connect() as conn:
                for idx in range(100):
                    answered += conn.call("SET", f"k{idx}", value) == "OK"
                self.assertEqual(conn.call("DBSIZE"), answered)
                server.kill()
            with harness.Server(folder=folder) as server:
                self.assertEqual(server.call("DBSIZE"), answered)

    @harness.measures_memory
    def test_memory_that_runs_out_costs_the_big_value_only(self):
        limited = harness.Server(prefix=["prlimit", "--as=800000000"])
        with limited as server, server.connect() as conn:
            self.assertEqual(conn.call("SET", "small", "v"), "OK")
            with contextlib.suppress(OSError):
                self.assertIsInstance(conn.call("SET", "big", b"x" * 450000000), ReplyError)
            self.assertEqual(server.call("GET", "small"), b"v")
            self.assertIsNone(server.call("GET", "big"))

    def test_what_expired_while_the_server_was_down_is_gone(self):
        with harness.temporary_folder() as folder:
            with harness.Server(folder=folder) as server:
                self.assertEqual(server.call("SET", "k", "v", "PX", "300"), "OK")
                self.assertEqual(server.call("SET", "stays", "v"), "OK")
                self.assertEqual(server.stop(), 0)
            with harness.Server(folder=folder) as server:
                harness.wait_until(lambda: server.call("GET", "k") is None, "the key expires")
                self.assertEqual(server.call("DBSIZE"), 1)
                self.assertEqual(server.stop(), 0)

    def test_the_memory_backend_forgets_and_touches_no_file(self):
        with harness.temporary_folder() as folder:
            options = {"backend": "memory"}
            with harness.Server(options=options, folder=folder) as server:
                self.assertEqual(server.call("SET", "k", "v"), "OK")
                self.assertEqual(server.call("FLUSH"), "OK")
                self.assertEqual(server.stop(), 0)
            self.assertEqual(os.listdir(folder), [])
            with harness.Server(options=options, folder=folder) as server:
                self.assertIsNone(server.call("GET", "k"))

    def test_a_second_sigterm_does_no_harm(self):
        with harness.temporary_folder() as folder:
            with harness.Server(folder=folder) as server:
                with server.connect() as conn:
                    fill(conn)
                self.assertEqual(server.call("FLUSH"), "OK")
                server.process.send_signal(signal.SIGTERM)
                with contextlib.suppress(ProcessLookupError):
                    server.process.send_signal(signal.SIGTERM)
                self.assertIn(server.wait_exit(), (0, 1))
            with harness.Server(folder=folder) as server:
                self.assertEqual(dump(server), EXPECTED)


@harness.nadbd_only("its errors are others")
class Refusals(unittest.TestCase):
    def check_refused(self, words, *texts, code=1):
        got, _, err = run(*words)
        self.assertEqual(got, code, err)
        for text in texts:
            self.assertIn(text.lower(), err.lower())
        return err

    @harness.log_backend_only("a folder belongs to one server; an engine to many")
    def test_two_servers_never_share_a_directory(self):
        with harness.Server() as first:
            self.assertEqual(first.call("SET", "k", "v"), "OK")
            words = ["--port", str(harness.free_port()), "--dir", first.folder]
            self.check_refused(words, first.folder)
            self.assertEqual(first.call("GET", "k"), b"v")
            self.assertEqual(first.stop(), 0)

    def test_a_port_in_use_is_named(self):
        with harness.Server() as first, harness.temporary_folder() as folder:
            self.check_refused(
                ["--port", str(first.port), "--dir", folder], str(first.port), "in use")

    @harness.log_backend_only("it writes into no folder")
    def test_a_directory_that_cannot_be_written_is_named(self):
        with harness.temporary_folder() as folder:
            path = os.path.join(folder, "file")
            with open(path, "w", encoding="ascii"):
                pass
            below = os.path.join(path, "data")
            self.check_refused(["--port", str(harness.free_port()), "--dir", below], below)

    def test_an_unknown_option_is_answered_with_the_nearest(self):
        self.check_refused(["--prot", "1"], "prot", "port")
        self.check_refused(["--durabilty", "always"], "durability")

    def test_an_impossible_value_is_named(self):
        self.check_refused(["--port", "70000"], "port")
        self.check_refused(["--durability", "sometimes"], "durability", "always")
        self.check_refused(["--buffer-size", "12xb"], "buffer-size")
        self.check_refused(["--backend", "fss"], "backend", "fs")
        self.check_refused(["--port"], "port")

    def test_a_mistake_in_the_file_names_file_and_line(self):
        with harness.temporary_folder() as folder:
            path = os.path.join(folder, "nadbd.conf")
            with open(path, "w", encoding="ascii") as file:
                file.write("# a comment\nport 6399\n\nflush-intervall 1s\n")
            self.check_refused([path], path, "4", "flush-interval")
            self.check_refused(["--check-config", path], path, "4", "flush-interval")

    def test_a_file_that_is_not_there_is_named(self):
        self.check_refused(["/nonexistent/nadbd.conf"], "/nonexistent/nadbd.conf")

    def test_a_correct_file_passes_the_check(self):
        example = os.path.join(harness.ROOT, "nadbd.conf.example")
        code, _, err = run("--check-config", example)
        self.assertEqual(code, 0, err)

    def test_help_and_version_are_answered_on_stdout(self):
        code, out, err = run("--help")
        self.assertEqual((code, err), (0, ""))
        for option in ("--port", "--durability", "--buffer-size"):
            self.assertIn(option.lstrip("-"), out)
        code, out, err = run("--version")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"^nadbd v=\d+\.\d+")

    @harness.log_backend_only("damage of segments")
    def test_damage_is_named_and_exits_3(self):
        with harness.temporary_folder() as folder:
            with harness.Server(folder=folder, options={"segment-size": "1mb"}) as server:
                with server.connect() as conn:
                    value = os.urandom(65536)
                    for idx in range(64):
                        self.assertEqual(conn.call("SET", f"k{idx}", value), "OK")
                self.assertEqual(server.stop(), 0)
            path = first_segment(folder)
            with open(path, "r+b") as file:
                file.seek(os.path.getsize(path) // 2)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 0x40]))
            err = self.check_refused(
                ["--port", str(harness.free_port()), "--dir", folder],
                os.path.basename(path), code=3)
            self.assertRegex(err, r"\d{3,}", "an offset is named")


def first_segment(folder):
    """The oldest file of data: large, and first by name."""
    paths = []
    for place, _, names in os.walk(folder):
        paths += [os.path.join(place, name) for name in names]
    return min(path for path in paths if os.path.getsize(path) > 500000)


class Files(unittest.TestCase):
    def test_the_pidfile_holds_the_process_id_while_it_runs(self):
        with tempfile.TemporaryDirectory(prefix="nadbd-test-") as folder:
            path = os.path.join(folder, "nadbd.pid")
            with harness.Server(options={"pidfile": path}) as server:
                with open(path, encoding="ascii") as file:
                    self.assertEqual(file.read().strip(), str(server.pid))
                self.assertEqual(server.stop(), 0)
            self.assertFalse(os.path.exists(path))

    @harness.nadbd_only("it does not reopen by a signal")
    def test_the_log_goes_to_its_file_which_sighup_opens_anew(self):
        with tempfile.TemporaryDirectory(prefix="nadbd-test-") as folder:
            path = os.path.join(folder, "nadbd.log")
            server = harness.Server(options={"logfile": path})
            server.port = harness.free_port()
            self.addCleanup(server.discard)
            server.spawn()
            harness.wait_until(lambda: harness.READY in read_text(path), "it is ready")
            os.rename(path, path + ".1")
            server.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: os.path.exists(path), "a new file")
            self.assertEqual(server.stop(), 0)
            self.assertNotEqual(read_text(path), "")

    @harness.nadbd_only("its log is another")
    def test_a_log_in_json_is_json_on_every_line(self):
        import json
        with harness.Server(options={"log-format": "json"}) as server:
            self.assertEqual(server.stop(), 0)
            for line in server.lines:
                self.assertIsInstance(json.loads(line), dict)

    @harness.nadbd_only("its syntax is redis's own")
    def test_a_config_file_and_options_work_together(self):
        with tempfile.TemporaryDirectory(prefix="nadbd-test-") as folder:
            path = os.path.join(folder, "nadbd.conf")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"dir {folder}/data\nflush-interval 250ms\nmaxclients 77\n")
            server = harness.Server(options={"maxclients": "88"}, folder=f"{folder}/data")
            server.prefix, server.path = [server.path], path
            with server:
                config = server.call("CONFIG GET maxclients fl*sh-interval")
                self.assertEqual(config[config.index(b"maxclients") + 1], b"88")
                self.assertEqual(config[config.index(b"flush-interval") + 1], b"250")
                self.assertEqual(server.call("CONFIG SET maxclients 99"), "OK")
                self.assertEqual(server.call("CONFIG REWRITE"), "OK")
                self.assertIn("maxclients 99", read_text(path))


def read_text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Service(unittest.TestCase):
    def test_a_service_manager_is_told_of_readiness_and_of_the_end(self):
        with tempfile.TemporaryDirectory(prefix="nadbd-test-") as folder:
            path = os.path.join(folder, "notify")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.bind(path)
                sock.settimeout(harness.DEADLINE_S)
                server = harness.Server(
                    options={"supervised": "systemd"}, env={"NOTIFY_SOCKET": path})
                with server:
                    self.read_until(sock, "READY=1")
                    self.assertEqual(server.call("PING"), "PONG")
                    server.process.send_signal(signal.SIGTERM)
                    self.read_until(sock, "STOPPING=1")
                    self.assertEqual(server.wait_exit(), 0)

    def read_until(self, sock, line):
        while line not in sock.recv(65536).decode().split("\n"):
            pass

    def test_the_unit_is_one_that_systemd_accepts(self):
        path = os.path.join(harness.ROOT, "packaging", "nadbd.service")
        with open(path, encoding="ascii") as file:
            text = file.read()
        self.assertIn("Type=notify", text)
        self.assertRegex(text, re.compile(r"^ExecStart=/usr/bin/nadbd ", re.M))
        for line in text.split("\n"):
            self.assertRegex(line, r"^(|#.*|\[\w+\]|[A-Z]\w*=.*)$")
        self.assertIn("\nSystemCallErrorNumber=EPERM\n", text, "a call too many must not kill it")

    def test_the_unit_allows_what_the_server_asks_of_the_scheduler(self):
        """@resources, which the unit takes out, has these; without them clients wait longer."""
        path = os.path.join(harness.ROOT, "packaging", "nadbd.service")
        with open(path, encoding="ascii") as file:
            filters = re.findall(r"^SystemCallFilter=(.*)$", file.read(), re.M)
        allowed = {name for names in filters if not names.startswith("~") for name in names.split()}
        needed = {"sched_setattr", "sched_setscheduler", "setpriority", "setrlimit", "prlimit64"}
        self.assertEqual(needed - allowed, set())
