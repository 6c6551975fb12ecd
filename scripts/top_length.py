#!/usr/bin/env python3
"""Prints the ten longest functions and the ten longest files. It only informs.

usage: top_length.py [ROOT]
"""

import re
import sys
import source_files

TOP = 10


def functions(root, path):
    """Yields (lines, place) of the functions: by the format, their braces stand in column 0."""
    name, start = None, 0
    code = source_files.code_only(source_files.read(root, path))
    for number, line in enumerate(code.split("\n"), 1):
        if re.match(r"[A-Za-z].*\w\(", line) and not line.endswith(";"):
            name = line if line.startswith("Test(") else re.search(r"(\w+)\(", line).group(1)
        elif line == "{":
            start = number
        elif line == "}" and start:
            yield number - start - 1, f"{path}:{start} {name}"
            start = 0


def show(title, rows):
    print(title)
    for length, place in sorted(rows, key=lambda row: (-row[0], row[1]))[:TOP]:
        print(f"  {length:5} {place}")


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    paths = list(source_files.sources(root, (".c", ".h")))
    show("longest functions", [row for path in paths for row in functions(root, path)])
    show("longest files", [(source_files.read(root, path).count("\n"), path) for path in paths])


if __name__ == "__main__":
    main()
