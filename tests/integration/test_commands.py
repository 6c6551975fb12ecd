"""Commands where two clients, time, or an order that is not fixed have a part."""

import threading
import time
import unittest

import harness
from resp import Map, ReplyError, encode


class Expiry(harness.ServerCase):
    def wait_gone(self, key):
        harness.wait_until(lambda: self.call("EXISTS", key) == 0, f"{key} expires")

    def test_a_key_is_gone_after_its_time_and_not_before(self):
        began = time.monotonic()
        self.call("SET", "k", "v", "PX", "200")
        self.assertEqual(self.call("GET", "k"), b"v")
        self.wait_gone("k")
        self.assertGreaterEqual(time.monotonic() - began, 0.199)
        self.assertIsNone(self.call("GET", "k"))
        self.assertEqual(self.call("TTL", "k"), -2)

    @harness.nadbd_only("its counts are not exact")
    def test_counts_never_show_an_expired_key(self):
        for idx in range(1000):
            self.conn.send(encode("SET", f"k{idx}", "v", "PX", 1 + idx % 100))
        for _ in range(1000):
            self.conn.read()
        self.call("SET", "stays", "v")
        deadline = self.call("TIME")
        limit_ms = int(deadline[0]) * 1000 + int(deadline[1]) // 1000 + 101
        now_ms = 0
        while now_ms <= limit_ms:
            now = self.call("TIME")
            now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        self.assertEqual(self.call("DBSIZE"), 1)
        self.assertEqual(self.call("KEYS", "*"), [b"stays"])
        self.assertEqual(self.call("SCAN", "0", "COUNT", "10000")[1], [b"stays"])
        self.assertEqual(self.call("RANDOMKEY"), b"stays")

    def test_100000_keys_that_expire_together_do_not_hold_up_others(self):
        pairs = b"".join(encode("SET", f"k{idx}", "v", "PX", "700") for idx in range(100000))
        sender = threading.Thread(target=self.conn.send, args=(pairs,))
        sender.start()
        for _ in range(100000):
            self.conn.read_raw()
        sender.join()
        slowest = 0.0
        while self.call("DBSIZE") > 0:
            began = time.monotonic()
            self.call("PING")
            slowest = max(slowest, time.monotonic() - began)
        self.assertLess(slowest, 0.1 * harness.slow_factor())

    @harness.nadbd_only("it has another limit")
    def test_a_time_too_far_away_is_refused_and_changes_nothing(self):
        self.call("SET", "k", "v", "EX", "100")
        for command in ("pexpireat", "expireat", "pexpire", "expire"):
            self.assertError(self.call(command, "k", 2**63 - 1),
                             f"ERR invalid expire time in '{command}' command")
        self.assertTrue(0 < self.call("TTL", "k") <= 100)
        self.assertEqual(self.call("PEXPIREAT", "k", 2**48 - 1), 1)
        self.assertEqual(self.call("PEXPIRETIME", "k"), 2**48 - 1)

    def test_persist_and_set_take_the_time_away(self):
        self.call("SET", "a", "v", "PX", "150")
        self.call("SET", "b", "v", "PX", "150")
        self.call("SET", "c", "v", "PX", "150")
        self.assertEqual(self.call("PERSIST", "a"), 1)
        self.assertEqual(self.call("SET", "b", "w"), "OK")
        self.wait_gone("c")
        self.assertEqual(self.call("MGET", "a", "b"), [b"v", b"w"])
        self.assertEqual(self.call("TTL", "a"), -1)


class Transactions(harness.ServerCase):
    def check_watch(self, change, is_aborted):
        """WATCHes k, lets another client do `change`, and looks at what EXEC then says."""
        other = self.connect()
        self.call("SET", "k", "v")
        self.call("WATCH", "k")
        for command in change:
            reply = other.call(command)
            self.assertNotIsInstance(reply, ReplyError, command)
        self.call("MULTI")
        self.call("SET", "done", "1")
        reply = self.call("EXEC")
        self.assertEqual(reply, None if is_aborted else ["OK"])
        self.call("SELECT", "0")
        self.assertEqual(self.call("EXISTS", "done"), 0 if is_aborted else 1)

    def test_exec_fails_after_any_change_of_a_watched_key_by_another(self):
        for change in (["SET k w"], ["SET k v"], ["DEL k"], ["APPEND k x"], ["EXPIRE k 100"],
                       ["RENAME k z"], ["SET z 1", "RENAME z k"], ["FLUSHALL"], ["FLUSHDB"],
                       ["UNLINK k"], ["GETDEL k"], ["EXPIRE k -1"], ["MOVE k 3"],
                       ["SWAPDB 0 1"] if harness.is_log_backend() else ["DEL k"],
                       ["COPY k z", "COPY z k REPLACE"], ["MULTI", "SET k 2", "EXEC"],
                       ["SETRANGE k 0 x"], ["GETEX k EX 100"], ["MSET k 1 z 2"]):
            with self.subTest(change=change):
                self.call("FLUSHALL")
                self.check_watch(change, True)

    def test_exec_works_when_nothing_that_is_watched_changed(self):
        for change in (["GET k"], ["SET other 1"], ["DEL other"], ["SELECT 1", "SET k 1"], ["TTL k"],
                       ["SET k x NX GET"], ["SETNX k 1"], ["TOUCH k"], ["FLUSHDB", "SET k 1"][1:1],
                       ["SELECT 2", "FLUSHDB"], ["PERSIST k"], ["GETEX k"]):
            with self.subTest(change=change):
                self.call("FLUSHALL")
                self.check_watch(change, False)

    def test_exec_fails_when_a_watched_key_expired(self):
        self.call("SET", "k", "v", "PX", "30")
        self.call("WATCH", "k")
        other = self.connect()
        harness.wait_until(lambda: other.call("EXISTS", "k") == 0, "k expires")
        self.call("MULTI")
        self.call("PING")
        self.assertIsNone(self.call("EXEC"))

    def test_a_key_that_did_not_exist_can_be_watched(self):
        self.call("WATCH", "new")
        self.connect().call("SET", "new", "1")
        self.call("MULTI")
        self.call("PING")
        self.assertIsNone(self.call("EXEC"))

    def test_nobody_sees_a_transaction_half_done(self):
        stop = threading.Event()
        seen = []

        def watch_pairs():
            with self.server.connect() as conn:
                while not stop.is_set():
                    seen.append(tuple(conn.call("MGET", "a", "b")))

        reader = threading.Thread(target=watch_pairs)
        reader.start()
        for idx in range(2000):
            self.conn.send(encode("MULTI") + encode("SET", "a", idx) + encode("SET", "b", idx) +
                           encode("EXEC"))
            for _ in range(4):
                self.conn.read_raw()
        stop.set()
        reader.join()
        self.assertTrue(seen)
        self.assertEqual([pair for pair in seen if pair[0] != pair[1]], [])

    def test_a_client_that_goes_before_exec_leaves_nothing(self):
        conn = self.server.connect()
        conn.call("MULTI")
        conn.call("SET", "k", "v")
        conn.close()
        harness.wait_until(
            lambda: self.server.info()["connected_clients"] == "2", "its client is gone")
        self.assertIsNone(self.call("GET", "k"))

    def test_parallel_increments_lose_none(self):
        def add():
            with self.server.connect() as conn:
                for _ in range(20):
                    conn.send(encode("INCR", "n") * 100)
                    for _ in range(100):
                        conn.read_raw()

        threads = [threading.Thread(target=add) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.call("GET", "n"), b"20000")

    def test_optimistic_locking_loses_no_update(self):
        self.call("SET", "n", "0")

        def add():
            with self.server.connect() as conn:
                done = 0
                while done < 50:
                    conn.call("WATCH", "n")
                    value = int(conn.call("GET", "n"))
                    conn.call("MULTI")
                    conn.call("SET", "n", value + 1)
                    done += conn.call("EXEC") is not None

        threads = [threading.Thread(target=add) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.call("GET", "n"), b"400")


class Scan(harness.ServerCase):
    def fill(self, count):
        for start in range(0, count, 1000):
            names = range(start, min(start + 1000, count))
            self.call("MSET", *[word for idx in names for word in (f"key:{idx}", idx)])

    def scan(self, *options, during=lambda: None):
        cursor, found = b"0", []
        for _ in range(1000000):
            cursor, keys = self.call("SCAN", cursor, *options)
            found += keys
            if cursor == b"0":
                return found
            during()
        raise AssertionError("SCAN never ends")

    def test_a_scan_finds_every_key(self):
        self.fill(20000)
        self.assertEqual(set(self.scan()), {f"key:{idx}".encode() for idx in range(20000)})
        self.assertEqual(
            set(self.scan("MATCH", "key:1999*", "COUNT", "5000")),
            {b"key:1999", *[f"key:1999{idx}".encode() for idx in range(10)]})
        self.assertEqual(self.scan("TYPE", "list", "COUNT", "1000"), [])

    def test_a_scan_finds_every_key_that_stays_while_the_table_grows_and_shrinks(self):
        self.fill(5000)
        added = [0]

        def change():
            added[0] += 1
            names = [f"new:{added[0]}:{idx}" for idx in range(300)]
            self.call("MSET", *[word for name in names for word in (name, "v")])
            if added[0] > 20:
                self.call("DEL", *[f"new:{added[0] - 20}:{idx}" for idx in range(300)])

        found = self.scan("COUNT", "50", during=change)
        self.assertLessEqual({f"key:{idx}".encode() for idx in range(5000)}, set(found))

    def test_randomkey_gives_keys_that_exist(self):
        self.assertIsNone(self.call("RANDOMKEY"))
        self.fill(100)
        names = {f"key:{idx}".encode() for idx in range(100)}
        found = {self.call("RANDOMKEY") for _ in range(1000)}
        self.assertLessEqual(found, names)
        self.assertGreater(len(found), 50)

    def test_keys_and_dbsize_agree_with_100000_keys(self):
        self.fill(100000)
        self.assertEqual(self.call("DBSIZE"), 100000)
        self.assertEqual(len(set(self.call("KEYS", "*"))), 100000)
        self.assertEqual(len(self.call("KEYS", "key:1?????")), 0)
        self.assertEqual(len(self.call("KEYS", "key:1????")), 10000)
        self.assertEqual(self.call("FLUSHALL"), "OK")
        self.assertEqual(self.call("KEYS", "*"), [])
        self.assertEqual(self.call("DBSIZE"), 0)

    def test_a_malicious_pattern_takes_linear_time(self):
        self.call("SET", "a" * 50000, "v")
        began = time.monotonic()
        self.assertEqual(self.call("KEYS", "a*" * 40 + "b"), [])
        self.assertLess(time.monotonic() - began, 2 * harness.slow_factor())


class Keyspaces(harness.ServerCase):
    def test_the_16_databases_are_apart(self):
        for number in range(16):
            self.assertEqual(self.call("SELECT", number), "OK")
            self.assertEqual(self.call("DBSIZE"), 0)
            self.assertEqual(self.call("SET", "k", number), "OK")
        for number in range(16):
            self.call("SELECT", number)
            self.assertEqual(self.call("GET", "k"), str(number).encode())
        self.call("SELECT", "5")
        self.call("FLUSHDB")
        info = self.server.info()
        self.assertEqual([name for name in sorted(info) if name.startswith("db")],
                         sorted(f"db{number}" for number in range(16) if number != 5))
        self.assertTrue(info["db0"].startswith("keys=1,expires=0,avg_ttl=0"))

    @harness.nadbd_only("no namespaces")
    def test_namespaces_are_apart_from_each_other_and_from_the_database(self):
        self.assertEqual(self.call("NAMESPACE", "CURRENT"), b"")
        self.call("SET", "k", "plain")
        for name in ("shop", "blog", "bin\0\xff"):
            self.assertEqual(self.call("NAMESPACE", "USE", name), "OK")
            self.assertEqual(self.call("NAMESPACE", "CURRENT"), name.encode())
            self.assertEqual(self.call("DBSIZE"), 0)
            self.assertIsNone(self.call("GET", "k"))
            self.call("SET", "k", name)
        self.assertEqual(self.call("NAMESPACE", "USE", "shop"), "OK")
        self.assertEqual(self.call("GET", "k"), b"shop")
        self.assertEqual(self.call("KEYS", "*"), [b"k"])
        self.call("SELECT", "1")
        self.assertIsNone(self.call("GET", "k"))
        self.call("SELECT", "0")
        self.call("NAMESPACE", "USE", "")
        self.assertEqual(self.call("GET", "k"), b"plain")
        names = self.call("NAMESPACE", "LIST")
        self.assertLessEqual({b"shop", b"blog", "bin\0\xff".encode()}, set(names))

    @harness.nadbd_only("no namespaces")
    def test_a_dropped_namespace_is_empty_and_the_others_stay(self):
        for name in ("one", "two"):
            self.call("NAMESPACE", "USE", name)
            self.call("MSET", "a", name, "b", name)
        self.call("NAMESPACE", "USE", "")
        reply = self.call("NAMESPACE", "DROP", "one")
        self.assertNotIsInstance(reply, ReplyError)
        self.call("NAMESPACE", "USE", "one")
        self.assertEqual(self.call("DBSIZE"), 0)
        self.call("NAMESPACE", "USE", "two")
        self.assertEqual(self.call("MGET", "a", "b"), [b"two", b"two"])
        self.assertIsInstance(self.call("NAMESPACE", "USE", "x" * 256), ReplyError)
        self.assertIsInstance(self.call("NAMESPACE", "NOSUCH"), ReplyError)
        self.assertIsInstance(self.call("NAMESPACE"), ReplyError)

    @harness.nadbd_only("no namespaces")
    def test_another_client_is_in_no_namespace(self):
        self.call("NAMESPACE", "USE", "shop")
        self.assertEqual(self.connect().call("NAMESPACE", "CURRENT"), b"")
        self.assertEqual(self.call("RESET"), "RESET")
        self.assertEqual(self.call("NAMESPACE", "CURRENT"), b"")


class Resp3(harness.ServerCase):
    def test_hello_answers_a_map_with_the_seven_fields(self):
        hello = self.call("HELLO", "3")
        self.assertIsInstance(hello, Map)
        self.assertEqual([name for name, _ in hello],
                         [b"server", b"version", b"proto", b"id", b"mode", b"role", b"modules"])
        fields = dict(hello)
        self.assertEqual(fields[b"proto"], 3)
        self.assertEqual(fields[b"mode"], b"standalone")
        self.assertEqual(fields[b"role"], b"master")
        self.assertEqual(fields[b"modules"], [])
        self.assertEqual(fields[b"id"], self.call("CLIENT", "ID"))

    def test_hello_without_a_version_keeps_the_protocol(self):
        self.assertEqual(len(self.call("HELLO")), 14)
        self.assertIsInstance(self.call("HELLO", "3"), Map)
        self.assertIsInstance(self.call("HELLO"), Map)
        self.assertEqual(len(self.call("HELLO", "2")), 14)
        self.assertEqual(self.conn.call_raw("GET", "nokey"), b"$-1\r\n")

    def test_shapes_change_with_the_protocol(self):
        self.call("HELLO", "3")
        self.assertEqual(self.conn.call_raw("GET", "nokey"), b"_\r\n")
        self.assertTrue(self.conn.call_raw("INFO", "server").startswith(b"="))
        self.assertTrue(self.conn.call_raw("CONFIG", "GET", "timeout").startswith(b"%1"))
        self.assertTrue(self.conn.call_raw("CLIENT", "LIST").startswith(b"="))
        self.assertIsInstance(self.call("COMMAND", "DOCS", "get"), Map)

    def test_client_reply_off_and_skip_silence_the_server(self):
        self.conn.send(encode("CLIENT", "REPLY", "OFF") + encode("SET", "a", "1") + encode("PING") +
                       encode("CLIENT", "REPLY", "ON"))
        self.assertEqual(self.conn.read(), "OK")
        self.conn.send(encode("CLIENT", "REPLY", "SKIP") + encode("SET", "a", "2") +
                       encode("GET", "a"))
        self.assertEqual(self.conn.read(), b"2")

    def test_quit_answers_ok_and_closes(self):
        self.conn.send(encode("QUIT") + encode("SET", "late", "1"))
        self.assertEqual(self.conn.read_to_end(), b"+OK\r\n")
        self.assertIsNone(self.connect().call("GET", "late"))


@harness.nadbd_only("commands of its own")
class Own(harness.ServerCase):
    def test_tags_and_times_are_part_of_a_record(self):
        self.assertEqual(self.call("SET", "k", "v", "EX", "100", "TAGS", "red", "blue", "red"), "OK")
        meta = self.call("META", "k")
        meta = dict(zip(meta[::2], meta[1::2]))
        self.assertEqual(set(meta[b"tags"]), {b"red", b"blue"})
        self.assertEqual(len(meta[b"tags"]), 2)
        self.assertEqual(meta[b"size"], 1)
        self.assertIsNone(self.call("META", "nokey"))
        self.assertEqual(self.call("GET", "k"), b"v")
        self.call("SET", "k", "w", "KEEPTAGS")
        meta = self.call("META", "k")
        self.assertEqual(set(meta[meta.index(b"tags") + 1]), {b"red", b"blue"})
        self.call("SET", "k", "w")
        meta = self.call("META", "k")
        self.assertEqual(meta[meta.index(b"tags") + 1], [])
        self.assertError(self.call("SET", "k", "v", "TAGS", ""), "BADTAG empty")
        self.assertError(
            self.call("SET", "k", "v", "TAGS", "x" * 1025), "BADTAG longer than 1024 bytes")
        self.assertEqual(self.call("GET", "k"), b"w")

    def test_conditional_writes_compare_the_value(self):
        self.call("SET", "k", "one")
        self.assertIsNone(self.call("SET", "k", "two", "IFEQ", "other"))
        self.assertEqual(self.call("SET", "k", "two", "IFEQ", "one"), "OK")
        self.assertEqual(self.call("DELEX", "k", "IFEQ", "one"), 0)
        self.assertEqual(self.call("DELEX", "k", "IFEQ", "two"), 1)
        self.assertEqual(self.call("DELEX", "k"), 0)

    def test_stats_count_what_was_done(self):
        self.assertEqual(self.call("STATS", "RESET"), "OK")
        for idx in range(10):
            self.call("SET", f"k{idx}", "v")
        self.call("GET", "k0")
        self.call("HELLO", "3")
        stats = flatten(self.call("STATS"))
        text = repr(stats).lower()
        for word in ("p95", "p99", "avg", "min", "max"):
            self.assertIn(word, text)
        self.assertIn("set", text)


def flatten(value):
    if isinstance(value, Map):
        return {flatten(key): flatten(item) for key, item in value}
    if isinstance(value, list):
        return [flatten(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


class Information(harness.ServerCase):
    FIELDS = """
        redis_version redis_mode os arch_bits process_id run_id tcp_port uptime_in_seconds uptime_in_days hz
        executable config_file connected_clients maxclients blocked_clients used_memory used_memory_human
        used_memory_rss used_memory_peak total_system_memory maxmemory maxmemory_policy mem_fragmentation_ratio
        mem_allocator lazyfree_pending_objects loading async_loading rdb_changes_since_last_save
        rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status aof_enabled aof_rewrite_in_progress
        aof_last_bgrewrite_status aof_last_write_status total_connections_received total_commands_processed
        instantaneous_ops_per_sec total_net_input_bytes total_net_output_bytes rejected_connections expired_keys
        evicted_keys keyspace_hits keyspace_misses pubsub_channels pubsub_patterns latest_fork_usec
        total_error_replies role connected_slaves master_replid master_repl_offset used_cpu_sys used_cpu_user
        cluster_enabled cmdstat_get errorstat_ERR latency_percentiles_usec_get db0""".split()
    SECTIONS = ["Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU",
                "Commandstats", "Errorstats", "Latencystats", "Cluster", "Keyspace"]

    def test_info_has_the_fields_that_clients_read_in_redis_order(self):
        self.call("SET", "k", "v")
        self.call("GET", "k")
        self.call("NOSUCH")
        text = self.call("INFO", "everything").decode()
        self.assertNotIn("\n", text.replace("\r\n", ""))
        names = [line.split(":")[0] for line in text.split("\r\n") if ":" in line]
        self.assertEqual([name for name in self.FIELDS if name not in names], [])
        sections = [line[2:] for line in text.split("\r\n") if line.startswith("# ")]
        self.assertEqual([name for name in sections if name in self.SECTIONS], self.SECTIONS)
        self.assertLess(text.index("loading:"), text.index("async_loading:"))
        self.assertRegex(text, r"cmdstat_get:calls=\d+,usec=\d+,usec_per_call=[\d.]+,rejected_calls=\d+,failed_calls=\d+\r")

    def test_info_counts_what_happens(self):
        self.call("CONFIG", "RESETSTAT")
        self.call("SET", "k", "v")
        for _ in range(10):
            self.call("GET", "k")
        self.call("GET", "nokey")
        self.call("GET")
        info = self.server.info()
        self.assertEqual(info["keyspace_hits"], "10")
        self.assertEqual(info["keyspace_misses"], "1")
        self.assertTrue(info["cmdstat_get"].startswith("calls=11,"))
        self.assertIn("rejected_calls=1", info["cmdstat_get"])
        self.assertEqual(info["errorstat_ERR"], "count=1")
        self.assertEqual(info["process_id"], str(self.server.pid))
        self.assertEqual(info["tcp_port"], str(self.server.port))
        self.assertEqual(info["connected_clients"], "2")
        rss = self.server.rss_bytes()
        self.assertLess(abs(int(info["used_memory_rss"]) - rss), max(8 << 20, rss // 4))

    def test_info_takes_sections(self):
        self.assertIn(b"redis_version", self.call("INFO", "server"))
        self.assertNotIn(b"connected_clients", self.call("INFO", "server"))
        both = self.call("INFO", "server", "clients")
        self.assertIn(b"redis_version", both)
        self.assertIn(b"connected_clients", both)
        self.assertNotIn(b"cmdstat_", self.call("INFO"))
        self.assertIn(b"cmdstat_", self.call("INFO", "all"))
        self.assertEqual(self.call("INFO", "nosuch"), b"")

    def test_client_list_has_a_line_for_each_client(self):
        other = self.connect()
        other.call("CLIENT", "SETNAME", "other")
        lines = self.call("CLIENT", "LIST").decode().strip("\n").split("\n")
        self.assertEqual(len(lines), 2)
        for line in lines:
            fields = dict(field.split("=", 1) for field in line.split(" "))
            for name in ("id", "addr", "laddr", "fd", "name", "age", "idle", "flags", "db", "sub", "psub",
                         "multi", "qbuf", "qbuf-free", "argv-mem", "multi-mem", "obl", "oll", "omem", "tot-mem",
                         "events", "cmd", "user", "redir", "resp"):
                self.assertIn(name, fields)
        self.assertIn("name=other", "".join(lines))
        mine = self.call("CLIENT", "INFO").decode()
        self.assertIn(f"id={self.call('CLIENT', 'ID')} ", mine)
        self.assertIn("cmd=client|info", mine)

    def test_command_describes_every_command_in_ten_fields(self):
        rows = self.call("COMMAND")
        self.assertEqual(len(rows), self.call("COMMAND", "COUNT"))
        names = {row[0] for row in rows}
        self.assertEqual(names, {name for name in self.call("COMMAND", "LIST") if b"|" not in name})
        for row in rows:
            self.assertEqual(len(row), 10, row[0])
            self.assertEqual(row[0], row[0].lower())
            self.assertNotEqual(row[1], 0)
            for sub in row[9]:
                self.assertEqual(len(sub), 10)
                self.assertTrue(sub[0].startswith(row[0] + b"|"))
        docs = self.call("COMMAND", "DOCS")
        self.assertEqual(set(docs[::2]), names)
        for name, doc in zip(docs[::2], docs[1::2]):
            fields = doc[::2]
            for field in (b"summary", b"since", b"group"):
                self.assertIn(field, fields, name)

    def test_time_is_now(self):
        seconds, micros = self.call("TIME")
        self.assertLess(abs(int(seconds) - time.time()), 5)
        self.assertTrue(0 <= int(micros) < 1000000)
        self.assertLess(abs(self.call("LASTSAVE") - time.time()), 1000)


@harness.nadbd_only("redis has its own durations")
class Saving(unittest.TestCase):
    def test_save_commands_answer_and_lastsave_moves(self):
        with harness.Server() as server, server.connect() as conn:
            conn.call("SET", "k", "v")
            self.assertEqual(conn.call("SAVE"), "OK")
            self.assertEqual(conn.call("FLUSH"), "OK")
            self.assertLess(abs(conn.call("LASTSAVE") - time.time()), 10)
            self.assertEqual(conn.call("SET", "k", "w"), "OK")
            self.assertIn("Background saving started", str(conn.call("BGSAVE")))
