"""nadbctl: stat, verify, restore, salvage, export, import."""

import base64
import json
import os
import subprocess
import unittest

import harness

OPTIONS = {"segment-size": "1mb", "buffer-size": "1mb", "flush-interval": "50ms",
           "compact-dead-ratio": "0"}
NADBCTL = os.path.join(os.path.dirname(harness.nadbd_path()), "ctl", "nadbctl")


def ctl(*args, stdin=None):
    done = subprocess.run([NADBCTL, *map(str, args)], input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def fill(conn, count):
    for first in range(0, count, 500):
        conn.pipeline([("SET", f"k{i}", b"%d " % i + b"v" * (i % 3000), "TAGS", "all", f"mod{i % 7}")
                       for i in range(first, first + 500)])


def fill_with_all_kinds(conn):
    """Keys of every kind that an export has to bring; how many."""
    odd = bytes(range(256))
    fill(conn, 1500)
    conn.call("SET", odd, odd * 100, "TAGS", b"\xff\x00", "plain")
    conn.call("SET", "ttl", "x", "PX", "1000000")
    conn.call("SET", "", "empty key")
    conn.call("SET", "empty value", "")
    conn.call("SET", "old", "x", "TIMES", "1600000000000", "1600000001000", "1700000002000")
    conn.call("SELECT", "3")
    conn.call("NAMESPACE", "USE", "schnörkel")
    conn.call("SET", "mine", "in a namespace", "TAGS", "t")
    return 1506


def value_of(i):
    return b"%d " % i + b"v" * (i % 3000)


def segments(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".seg"))


def flip(path, offset, count=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        bytes_there = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0x55 for byte in bytes_there))


@harness.nadbd_only("nadbctl")
@harness.log_backend_only("commands that work on a directory")
class Directories(unittest.TestCase):
    def test_a_backup_is_looked_at_verified_and_restored(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 3000)
                conn.call("BACKUP", f"{place}/backup")
            code, out, _ = ctl("stat", f"{place}/backup")
            self.assertEqual(code, 0)
            self.assertRegex(out, "(?m)^records 3001$")
            self.assertRegex(out, "(?m)^ended_cleanly yes$")
            code, out, _ = ctl("verify", f"{place}/backup")
            self.assertEqual(code, 0, out)
            self.assertRegex(out, "(?m)^everything verifies$")
            code, out, err = ctl("restore", f"{place}/backup", f"{place}/new")
            self.assertEqual(code, 0, err)
            with harness.Server(options=OPTIONS, folder=f"{place}/new") as copy:
                self.assertEqual(copy.call("DBSIZE"), 3000)
                self.assertEqual(copy.call("GET", "k2999"), value_of(2999))
                self.assertEqual(copy.call("TAGCOUNT", "all"), [3000])
            code, _, err = ctl("restore", f"{place}/backup", f"{place}/new")
            self.assertEqual(code, 1)
            self.assertIn("Directory not empty", err)

    def test_a_damaged_backup_is_not_restored(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 3000)
                conn.call("BACKUP", f"{place}/backup")
            name = segments(f"{place}/backup")[0]
            server.stop()
            flip(f"{place}/backup/{name}", 30000)
            code, out, _ = ctl("verify", f"{place}/backup")
            self.assertEqual(code, 3)
            self.assertRegex(out, f"^segment '{name}': damaged at offset [0-9]+\n$")
            code, _, err = ctl("restore", f"{place}/backup", f"{place}/new")
            self.assertEqual(code, 3)
            self.assertIn("1 of", err)
            self.assertFalse(os.path.exists(f"{place}/new"))

    def test_a_directory_in_use_is_left_alone(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            server.call("SET", "a", "1")
            for command in (["verify", server.folder], ["salvage", server.folder, f"{place}/new"]):
                code, _, err = ctl(*command)
                self.assertEqual(code, 1)
                self.assertIn("in use by a nadbd", err)
            self.assertEqual(ctl("stat", server.folder)[0], 0)

    def test_after_a_kill_what_is_cut_off_is_no_damage(self):
        with harness.Server(options={**OPTIONS, "durability": "always"}) as server:
            with server.connect() as conn:
                fill(conn, 1000)
            server.kill()
            last = segments(server.folder)[-1]
            with open(os.path.join(server.folder, last), "ab") as file:
                file.write(b"half of a batch")
            code, out, _ = ctl("verify", server.folder)
            self.assertEqual(code, 0, out)
            self.assertRegex(out, "(?m)^incomplete_bytes [0-9]+ ")
            server.start()
            self.assertEqual(server.call("DBSIZE"), 1000)

    def test_salvage_saves_what_verifies_and_names_the_rest(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 3000)
                conn.call("NAMESPACE", "USE", "other")
                conn.call("SET", "mine", "x", "TAGS", "t")
            server.stop()
            name = segments(server.folder)[0]
            flip(os.path.join(server.folder, name), 50_000)          # a record
            flip(os.path.join(server.folder, name), 200_000, 3000)   # several
            code, out, err = ctl("salvage", server.folder, f"{place}/new")
            self.assertEqual(code, 3, err)
            self.assertRegex(out, f"(?m)^segment '{name}': damaged records, [0-9]+ bytes at offset ")
            with harness.Server(options=OPTIONS, folder=f"{place}/new") as copy, \
                    copy.connect() as conn:
                found = [i for i in range(3000) if conn.call("EXISTS", f"k{i}")]
                self.assertGreater(len(found), 2900)
                self.assertLess(len(found), 3000)
                for i in found:
                    self.assertEqual(conn.call("GET", f"k{i}"), value_of(i))
                self.assertEqual(conn.call("TAGCOUNT", "all"), [len(found)])
                conn.call("NAMESPACE", "USE", "other")
                self.assertEqual(conn.call("TAGGET", "mine"), [b"t"])
            code, _, err = ctl("salvage", server.folder, f"{place}/new")
            self.assertEqual(code, 1)
            self.assertIn("Directory not empty", err)

    def test_salvage_goes_by_the_files_when_the_manifest_is_lost(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 3000)
                fill(conn, 3000)
                conn.call("COMPACT")
                conn.call("SET", "k0", "last")
                conn.call("DEL", "k1")
            server.stop()
            with open(os.path.join(server.folder, "MANIFEST"), "r+b") as file:
                file.write(b"rubbish!")
            self.assertEqual(ctl("verify", server.folder)[0], 3)
            code, out, err = ctl("salvage", server.folder, f"{place}/new")
            self.assertEqual(code, 3, err)
            self.assertIn("going by the files", out)
            with harness.Server(options=OPTIONS, folder=f"{place}/new") as copy:
                self.assertEqual(copy.call("DBSIZE"), 2999)
                self.assertEqual(copy.call("GET", "k0"), b"last")
                self.assertEqual(copy.call("GET", "k2999"), value_of(2999))

    def test_a_sound_directory_is_salvaged_whole(self):
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server:
            with server.connect() as conn:
                fill(conn, 2000)
            server.kill()
            server.start()
            server.stop()
            code, out, err = ctl("salvage", server.folder, f"{place}/new")
            self.assertEqual(code, 0, out + err)
            self.assertIn("0 damages, 0 bytes lost", out)


@harness.nadbd_only("nadbctl")
class Lines(unittest.TestCase):
    def connection(self, server):
        return ["-p", server.port]

    def test_everything_goes_out_and_comes_back_in(self):
        odd = bytes(range(256))
        with harness.temporary_folder() as place, harness.Server(options=OPTIONS) as server, \
                harness.Server(options=OPTIONS) as other:
            with server.connect() as conn:
                count = fill_with_all_kinds(conn)
            code, _, err = ctl("export", *self.connection(server), f"{place}/all.jsonl")
            self.assertEqual(code, 0, err)
            self.assertIn(f"exported {count} keys", err)
            with open(f"{place}/all.jsonl", encoding="ascii") as file:
                lines = [json.loads(line) for line in file]
            self.assertEqual(len(lines), count)
            mine = next(line for line in lines if line.get("key") == "mine")
            self.assertEqual((mine["db"], mine["namespace"], mine["tags"]), (3, "schnörkel", ["t"]))
            self.assertEqual(base64.b64decode(mine["value64"]), b"in a namespace")
            code, _, err = ctl("import", *self.connection(other), f"{place}/all.jsonl")
            self.assertEqual(code, 0, err)
            self.assertIn(f"imported {count} keys; 0 had expired", err)
            for key in (b"k7", odd, b"", b"empty value", b"old"):
                self.assertEqual(other.call("GET", key), server.call("GET", key))
                self.assertEqual(other.call("TAGGET", key), server.call("TAGGET", key))
                ours, theirs = server.call("META", key), other.call("META", key)
                for name in (b"created", b"updated"):
                    self.assertEqual(ours[ours.index(name) + 1], theirs[theirs.index(name) + 1])
            self.assertEqual(other.call("PEXPIRETIME", "ttl"), server.call("PEXPIRETIME", "ttl"))
            self.assertEqual(other.call("TAGCOUNT", "all", "mod3"), server.call("TAGCOUNT", "all", "mod3"))
            with other.connect() as conn:
                conn.call("SELECT", "3")
                conn.call("NAMESPACE", "USE", "schnörkel")
                self.assertEqual(conn.call("GET", "mine"), b"in a namespace")

    def test_one_pipe_from_server_to_server(self):
        with harness.Server(options=OPTIONS) as server, \
                harness.Server(options={"backend": "memory"}) as other:
            with server.connect() as conn:
                fill(conn, 1000)
            source = subprocess.Popen([NADBCTL, "export", "-p", str(server.port)],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            done = subprocess.run([NADBCTL, "import", "-p", str(other.port), "-"],
                                  stdin=source.stdout, capture_output=True, check=False)
            source.stdout.close()
            self.assertEqual((source.wait(), done.returncode), (0, 0), done.stderr)
            self.assertEqual(other.call("DBSIZE"), 1000)
            self.assertEqual(other.call("GET", "k999"), value_of(999))

    def test_a_wrong_line_is_named(self):
        for line, what in ((b"{", "line 2: "), (b"[]", "line 2: no JSON object"),
                           (b'{"key": "a"}', "line 2: value64 is missing"),
                           (b'{"key": 1, "value64": ""}', "line 2: key is missing or no text"),
                           (b'{"key": "a", "value64": "?"}', "line 2: value64 is missing or no base64"),
                           (b'{"key": "a", "value64": "", "tags": [1]}', "line 2: tags is no list"),
                           (b'{"key": "a", "value64": "", "db": -1}', "line 2: db, expire")):
            with self.subTest(line), harness.Server(options={"backend": "memory"}) as server:
                text = b'{"key": "first", "value64": "eA=="}\n' + line + b"\n"
                code, _, err = ctl("import", *self.connection(server), stdin=text)
                self.assertEqual(code, 1)
                self.assertIn(what, err)

    def test_passwords_and_sockets(self):
        with harness.temporary_folder() as place:
            options = {"backend": "memory", "requirepass": "secret", "unixsocket": f"{place}/sock"}
            with harness.Server(options=options):
                code, _, err = ctl("export", "-s", f"{place}/sock")
                self.assertEqual(code, 1)
                self.assertIn("NOAUTH", err)
                code, _, err = ctl("export", "-s", f"{place}/sock", "-a", "wrong")
                self.assertEqual(code, 1)
                self.assertIn("WRONGPASS", err)
                code, _, err = ctl("export", "-s", f"{place}/sock", "-a", "secret")
                self.assertEqual(code, 0, err)
                self.assertEqual(ctl("export", "-p", "1")[0], 1)

    def test_wrong_usage_is_explained(self):
        for args in ([], ["nonsense"], ["verify"], ["restore", "one"], ["export", "-p", "x"],
                     ["export", "a", "b"], ["stat", "a", "b"]):
            with self.subTest(args):
                code, _, err = ctl(*args)
                self.assertEqual(code, 2)
                self.assertIn("usage:", err)
        self.assertEqual(ctl("--help")[0], 0)
        self.assertRegex(ctl("--version")[1], "^nadbctl v=")
        self.assertEqual(ctl("stat", "/no/such")[0], 1)
