"""The daemon as redis-py (Debian's python3-redis) uses it."""

import os
import re
import threading
import unittest

import harness

try:
    import redis
except ImportError:
    redis = None


@unittest.skipIf(redis is None, "python3-redis is not installed")
class RedisPy(harness.ServerCase):
    def setUp(self):
        super().setUp()
        self.client = redis.Redis(port=self.server.port)
        self.addCleanup(self.client.close)

    def test_strings_go_in_and_come_out(self):
        client = self.client
        self.assertTrue(client.set("k", b"\0v\xff", ex=100))
        self.assertEqual(client.get("k"), b"\0v\xff")
        self.assertTrue(0 < client.ttl("k") <= 100)
        self.assertIsNone(client.set("k", "other", nx=True))
        self.assertEqual(client.set("k", "next", get=True), b"\0v\xff")
        self.assertEqual(client.getex("k", px=100000), b"next")
        self.assertTrue(client.persist("k"))
        self.assertTrue(client.mset({"a": 1, "b": 2}))
        self.assertEqual(client.mget("a", "b", "none"), [b"1", b"2", None])
        self.assertEqual(client.incr("a", 5), 6)
        self.assertEqual(client.incrbyfloat("b", 0.5), 2.5)
        self.assertEqual(client.append("s", "xyz"), 3)
        self.assertEqual(client.getrange("s", 1, 2), b"yz")
        self.assertEqual(client.getdel("s"), b"xyz")
        self.assertEqual(client.delete("a", "b", "none"), 2)
        self.assertTrue(client.expire("k", 50, nx=True))
        self.assertEqual(client.exists("k"), 1)
        self.assertEqual(client.type("k"), b"string")
        self.assertTrue(client.copy("k", "l"))
        self.assertTrue(client.rename("l", "m"))
        self.assertEqual(client.dbsize(), 2)
        with self.assertRaises(redis.ResponseError):
            client.incr("k")

    @harness.nadbd_only("tags")
    def test_the_example_of_the_readme_works_as_it_stands(self):
        with open(os.path.join(harness.ROOT, "README.md"), encoding="utf-8") as file:
            block = re.search(
                r"In Python, with redis-py:\n\n(.*?)\nIn Node", file.read(), re.S).group(1)
        code = re.sub(r"^    ", "", block, flags=re.M).replace("6380", str(self.server.port))
        rendered = []

        def render(number):
            rendered.append(number)
            if number == 9 and len(rendered) == 3:
                names["post_changed"](9)          # in the middle of the computation
            return b"<html>%d" % number, [f"post:{number}", "author:3", "lang:en"]

        names = {"render": render}
        exec(code, names)
        self.addCleanup(names["r"].close)
        self.assertEqual([names["page"](7), names["page"](7)], [b"<html>7"] * 2)
        self.assertEqual(rendered, [7])
        self.assertEqual(self.client.execute_command("QUERYTAGS", "author:3", "lang:en"), [b"page:7"])
        names["post_changed"](7)
        self.assertIsNone(self.client.get("page:7"))
        self.assertEqual(names["page"](7), b"<html>7")
        self.assertEqual(names["page"](9), b"<html>9")
        self.assertIsNone(self.client.get("page:9"))

    def test_a_pipeline_is_a_transaction(self):
        with self.client.pipeline() as pipe:
            pipe.set("a", 1).incr("a").get("a")
            self.assertEqual(pipe.execute(), [True, 2, b"2"])
        with self.client.pipeline(transaction=False) as pipe:
            for idx in range(10000):
                pipe.set(f"k{idx}", idx)
            self.assertEqual(pipe.execute(), [True] * 10000)
        with self.client.pipeline() as pipe:
            pipe.set("a", "x").incr("a").set("b", 1)
            with self.assertRaises(redis.ResponseError):
                pipe.execute()
        self.assertEqual(self.client.get("b"), b"1")

    def test_transaction_retries_until_it_wins(self):
        self.client.set("n", 0)

        def add():
            client = redis.Redis(port=self.server.port)
            for _ in range(20):
                def step(pipe):
                    value = int(pipe.get("n"))
                    pipe.multi()
                    pipe.set("n", value + 1)
                client.transaction(step, "n")
            client.close()

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.client.get("n"), b"80")

    def test_scan_iter_and_keys(self):
        self.client.mset({f"key:{idx}": idx for idx in range(3000)})
        self.assertEqual(len(set(self.client.scan_iter())), 3000)
        self.assertEqual(len(set(self.client.scan_iter(match="key:29*", count=500))), 111)
        self.assertEqual(len(set(self.client.scan_iter(_type="string"))), 3000)
        self.assertEqual(len(self.client.keys("key:1*")), 1111)

    def test_server_commands_are_parsed(self):
        client = self.client
        client.set("k", "v")
        info = client.info()
        self.assertEqual(info["redis_mode"], "standalone")
        self.assertEqual(info["db0"]["keys"], 1)
        self.assertIn("used_memory", client.info("memory"))
        self.assertIn("cmdstat_set", client.info("commandstats"))
        self.assertEqual(client.config_get("maxclients")["maxclients"], "10000")
        self.assertTrue(client.config_set("timeout", 0))
        self.assertGreater(len(client.config_get("*")), 20)
        self.assertTrue(client.config_resetstat())
        self.assertEqual(client.client_list()[-1]["db"], "0")
        self.assertTrue(client.client_setname("me"))
        self.assertEqual(client.client_getname(), "me")
        self.assertIsInstance(client.client_id(), int)
        self.assertIn("get", client.command())
        self.assertGreater(client.command_count(), 50)
        self.assertEqual(client.command_getkeys("MSET", "a", 1, "b", 2), ["a", "b"])
        self.assertEqual(len(client.time()), 2)
        self.assertTrue(client.ping())
        self.assertEqual(client.echo("x"), b"x")
        self.assertTrue(client.lastsave())
        self.assertTrue(client.flushdb())
        self.assertTrue(client.flushall(asynchronous=True))
        if harness.is_log_backend():  # databases that are shared are not swapped
            self.assertTrue(client.swapdb(0, 1))

    def test_databases_names_and_health_checks_of_a_connection_pool(self):
        pool = redis.ConnectionPool(
            port=self.server.port, db=3, client_name="pooled", health_check_interval=1,
            decode_responses=True)
        client = redis.Redis(connection_pool=pool)
        self.assertTrue(client.set("k", "v"))
        self.assertEqual(client.get("k"), "v")
        self.assertEqual(client.client_getname(), "pooled")
        self.assertIsNone(self.client.get("k"))
        pool.disconnect()

    def test_newer_versions_tell_their_name_and_that_works(self):
        for words in (["LIB-NAME", "redis-py"], ["LIB-VER", "5.0.1"]):
            reply = self.call("CLIENT", "SETINFO", *words)
            if not harness.is_stand_in():
                self.assertEqual(reply, "OK")
        if not harness.is_stand_in():
            line = self.call("CLIENT", "INFO").decode()
            self.assertIn("lib-name=redis-py lib-ver=5.0.1", line)

    def test_a_wrong_password_raises_what_redis_py_expects(self):
        with harness.Server(options={"requirepass": "secret"}) as server:
            with self.assertRaises(redis.AuthenticationError):
                redis.Redis(port=server.port).ping()
            with self.assertRaisesRegex(redis.ResponseError, "WRONGPASS"):
                redis.Redis(port=server.port, password="wrong").ping()
            self.assertTrue(redis.Redis(port=server.port, password="secret").ping())
            self.assertTrue(
                redis.Redis(port=server.port, username="default", password="secret").ping())
