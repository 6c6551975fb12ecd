"""What the checks share: which files there are, and C text without comments and strings."""

import os
import re
import sys

SOURCE_FOLDERS = ("src", "protocol", "backends", "config", "tests")
SKIPPED_FOLDER = re.compile(r"^(\..*|build.*|__pycache__|corpus)$")

_TOKEN = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X)


def walk(root, extensions):
    """Yields paths relative to `root`, sorted, of files that end with one of `extensions`."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not SKIPPED_FOLDER.match(name))
        for name in sorted(names):
            if name.endswith(tuple(extensions)):
                yield os.path.relpath(os.path.join(folder, name), root)


def sources(root, extensions):
    """The same, in the folders of C source only."""
    for path in walk(root, extensions):
        if path.split(os.sep)[0] in SOURCE_FOLDERS:
            yield path


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", newline="") as file:
        return file.read()


def code_only(text):
    """Blanks comments and the inside of literals; every line keeps its number."""
    def blank(match):
        token = match.group()
        lines = "\n" * token.count("\n")
        return token[0] * 2 + lines if token[0] in "\"'" else " " + lines
    return _TOKEN.sub(blank, text)


def main(check):
    """Runs `check(root)`, which yields (path, line, message), and exits 1 if it found anything."""
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    found = list(check(root))
    for path, line, message in found:
        print(f"{path}:{line}: {message}")
    sys.exit(1 if found else 0)
