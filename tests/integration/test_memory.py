"""What happens when more is written than maxmemory allows. Values on disk have test_cold.py."""

import unittest

import harness

MAXMEMORY = 24 << 20
VALUE = b"v" * 1000
KEYS = 60000


def write_all(conn):
    """Three times what fits; returns the error replies."""
    errors = []
    for first in range(0, KEYS, 500):
        replies = conn.pipeline([("SET", f"k{i}", VALUE) for i in range(first, first + 500)])
        errors += [reply for reply in replies if reply != "OK"]
    return errors


class MaxMemory(unittest.TestCase):
    def test_keys_go_and_every_write_is_taken_in_memory(self):
        options = {
            "backend": "memory",
            "maxmemory": str(MAXMEMORY),
            "maxmemory-policy": "allkeys-lru",
            "buffer-size": "1mb",
        }
        with harness.Server(options=options) as server, server.connect() as conn:
            self.assertEqual(write_all(conn), [])
            info = server.info()
            self.assertGreater(int(info["evicted_keys"]), KEYS // 3)
            self.assertEqual(info["maxmemory_policy"], "allkeys-lru")
            self.assertLess(int(info["used_memory"]), MAXMEMORY * 1.2)
            self.assertEqual(conn.call("GET", f"k{KEYS - 1}"), VALUE)
            self.assertGreater(conn.call("DBSIZE"), KEYS // 6)

    def test_without_a_policy_writes_are_refused_and_reads_are_not(self):
        options = {"backend": "memory", "maxmemory": str(MAXMEMORY)}
        with harness.Server(options=options) as server, server.connect() as conn:
            errors = write_all(conn)
            self.assertGreater(len(errors), 0)
            self.assertIn("OOM command not allowed when used memory > 'maxmemory'", str(errors[0]))
            self.assertEqual(conn.call("GET", "k0"), VALUE)
            self.assertEqual(conn.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random"), "OK")
            self.assertEqual(conn.call("SET", "k", "v"), "OK")
            self.assertEqual(server.info()["evicted_keys"] != "0", True)
