"""Checks the checks: each finds what it is for, in the right line, and nothing in good source."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))

import check_includes  # noqa: E402
import check_style  # noqa: E402

GOOD_HEADER = "/* What it is for. */\n#ifndef {0}\n#define {0}\n\n#endif\n"
GOOD_SOURCE = "/* This file is good. */\n"


class Tree:
    """A small source tree in a directory of its own."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *unused):
        self.folder.cleanup()

    def put(self, path, text):
        full = os.path.join(self.folder.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8", newline="") as file:
            file.write(text)


def findings(check, files):
    with Tree() as tree:
        for path, text in files.items():
            tree.put(path, text)
        return [(path, line) for path, line, _ in check(tree.folder.name)]


class Includes(unittest.TestCase):
    def found(self, path, line):
        targets = ["src/base/a.h", "src/store/a.h", "src/store/a_internal.h", "src/server/a.h",
            "protocol/a.h", "config/a.h", "backends/backend.h", "backends/fs/a.h",
            "backends/redis/a.h", "tests/support/a.h"]
        files = {target: "" for target in targets}
        files[path] = "/* This file. */\n\n" + line + "\n"
        return findings(check_includes.check, files)

    def test_arrows_that_point_down_pass(self):
        for path, name in [
            ("src/base/x.c", "src/base/a.h"), ("protocol/x.c", "src/base/a.h"),
            ("protocol/x.c", "protocol/a.h"), ("config/x.h", "config/a.h"),
            ("backends/fs/x.c", "backends/backend.h"), ("backends/fs/x.c", "backends/fs/a.h"),
            ("backends/registry.c", "backends/fs/a.h"), ("src/store/x.c", "backends/backend.h"),
            ("src/store/x.c", "src/store/a_internal.h"), ("src/server/x.c", "src/store/a.h"),
            ("src/server/x.c", "protocol/a.h"), ("src/server/x.c", "config/a.h"),
            ("src/main.c", "src/server/a.h"), ("src/main.c", "config/a.h"),
            ("tests/unit/x.c", "src/store/a_internal.h"), ("tests/unit/x.c", "backends/fs/a.h"),
        ]:
            self.assertEqual(self.found(path, f'#include "{name}"'), [], (path, name))

    def test_arrows_that_point_up_or_aside_are_found(self):
        for path, name in [
            ("src/base/x.c", "src/store/a.h"), ("src/base/x.c", "config/a.h"),
            ("protocol/x.c", "config/a.h"), ("config/x.h", "protocol/a.h"),
            ("backends/fs/x.c", "src/store/a.h"), ("backends/fs/x.c", "backends/redis/a.h"),
            ("backends/fs/x.c", "config/a.h"), ("src/store/x.c", "backends/fs/a.h"),
            ("src/store/x.c", "src/server/a.h"), ("src/store/x.c", "protocol/a.h"),
            ("src/server/x.c", "backends/fs/a.h"), ("src/server/x.c", "src/store/a_internal.h"),
            ("src/server/x.c", "tests/support/a.h"), ("src/main.c", "tests/support/a.h"),
        ]:
            self.assertEqual(self.found(path, f'#include "{name}"'), [(path, 3)], (path, name))

    def test_a_name_that_is_no_path_from_the_root_is_found(self):
        self.assertEqual(self.found("src/base/x.c", '#include "a.h"'), [("src/base/x.c", 3)])
        self.assertEqual(self.found("src/base/x.c", '  #  include "b.h"'), [("src/base/x.c", 3)])

    def test_fenced_headers_pass_only_inside_their_fence(self):
        for header, inside, outside in [
            ("uv.h", "src/server/x.c", "src/store/x.c"), ("uv.h", "tests/x.c", "src/main.c"),
            ("hiredis/hiredis.h", "backends/redis/x.c", "backends/fs/x.c"),
            ("zlib.h", "src/base/compress.c", "src/base/x.c"),
            ("xxhash.h", "src/base/checksum.c", "src/base/hash.c"),
            ("jemalloc/jemalloc.h", "src/base/mem.c", "src/base/buf.c"),
            ("criterion/criterion.h", "tests/support/x.h", "src/base/x.h"),
        ]:
            self.assertEqual(self.found(inside, f"#include <{header}>"), [], header)
            self.assertEqual(self.found(outside, f"#include <{header}>"), [(outside, 3)], header)
        self.assertEqual(self.found("src/base/x.c", "#include <stdio.h>"), [])


class Style(unittest.TestCase):
    def found(self, text, path="src/base/x.c"):
        return [line for _, line in findings(check_style.check, {path: text})]

    def found_line(self, line, path="src/base/x.c"):
        return self.found(GOOD_SOURCE + line + "\n", path)

    def test_good_files_pass(self):
        self.assertEqual(self.found(GOOD_SOURCE), [])
        self.assertEqual(self.found(GOOD_HEADER.format("NADB_BASE_X_H"), "src/base/x.h"), [])
        self.assertEqual(self.found(GOOD_HEADER.format("NADB_TESTS_X_H"), "tests/x.h"), [])

    def test_banned_calls_are_found(self):
        for name in sorted(check_style.BANNED) + sorted(check_style.RAW_ALLOCATION):
            self.assertEqual(self.found_line(f"    {name}(x);"), [2], name)
            self.assertEqual(self.found_line(f"    y = {name} (x);"), [2], name)

    def test_what_only_looks_like_a_banned_call_passes(self):
        for line in ["snprintf(a);", "gmtime_r(a);", "my_rand(a);", "x->free(a);", "x.free(a);",
            "/* strcpy(a) */", 'f("strcpy(a)");', "// sprintf(a)", "int rand;", "strtold(a, b);",
            r'f("\"", strlen(a), "strcpy(b)");', "nadb_mem_free(a);"]:
            self.assertEqual(self.found_line(line), [], line)

    def test_raw_allocation_is_for_mem_and_tests(self):
        self.assertEqual(self.found_line("free(x);", "src/base/mem.c"), [])
        self.assertEqual(self.found_line("free(x);", "tests/unit/x.c"), [])
        self.assertEqual(self.found_line("strcpy(a, b);", "tests/unit/x.c"), [2])

    def test_banned_constructs_are_found(self):
        for line in ["extern int x;", '#include "src/base/buf.c"', "#if 0", "typedef struct a b;",
            "typedef struct {", "typedef enum a b;", "int x; ", "\tint x;", "int x;\r",
            "/* TO" + "DO */", "/* FIX" + "ME later */", "/* " + "x" * 100 + " */"]:
            self.assertEqual(self.found_line(line), [2], line)

    def test_constructs_that_are_allowed_pass(self):
        for line in ["/* extern */", "typedef enum a f(struct b *c);", "typedef void f(struct b *c);",
            "#if 01", "int x; /* " + "x" * 80 + " */"]:
            self.assertEqual(self.found_line(line), [], line)

    def test_the_opening_sentence_is_demanded(self):
        self.assertEqual(self.found("#include <stdio.h>\n"), [1])
        self.assertEqual(self.found("/* Things. */\n"), [1])

    def test_the_guard_is_the_path(self):
        guard = GOOD_HEADER.format
        self.assertEqual(self.found(guard("NADB_X_H"), "src/base/x.h"), [1])
        self.assertEqual(self.found(guard("NADB_SRC_BASE_X_H"), "src/base/x.h"), [1])
        self.assertEqual(self.found(guard("NADB_BASE_X_H") + "int x;\n", "src/base/x.h"), [6])
        self.assertEqual(self.found("#ifndef NADB_X_H\n#define NADB_X_H\n#endif\n", "src/x.h"), [1])

    def test_the_end_of_a_file_is_one_newline(self):
        self.assertEqual(self.found(GOOD_SOURCE + "int x;"), [2])
        self.assertEqual(self.found(GOOD_SOURCE + "int x;\n\n"), [3])

    def test_hidden_and_build_folders_are_not_read(self):
        for path in [".git/x.c", "build/x.c", "build-debug/x.c"]:
            self.assertEqual(self.found("strcpy(a, b);\n", path), [], path)

    def test_literals_and_comments_keep_their_lines(self):
        text = GOOD_SOURCE + '/* one\n * two "\n */\nchar c = \'"\';\nf("a\\"b"); strcpy(a, b);\n'
        self.assertEqual(self.found(text), [6])


if __name__ == "__main__":
    unittest.main()
