#!/usr/bin/env python3
"""Checks that includes follow the layers: an arrow may only point down.

    src/main.c -> src/server -> src/store -> backends/*.h -> src/base
                  src/server -> protocol, config          -> src/base
    src/ctl (nadbctl) -> backends/fs/offline.h -> src/base
    backends/<x> -> backends/<x>, backends/*.h, src/base        tests -> anything

A header *_internal.h belongs to its folder and to the tests. Some libraries may be seen by one
folder or file only. Project headers are named by their full path from the root.

usage: check_includes.py [ROOT]
"""

import os
import re
import source_files

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.M)

# A pattern each for the including file and for what it may include; the first that fits counts.
LAYERS = [
    (r"tests/", r""),
    (r"src/base/", r"src/base/"),
    (r"protocol/", r"(protocol|src/base)/"),
    (r"config/", r"(config|src/base)/"),
    (r"backends/[^/]+$", r"(backends|src/base)/"),
    (r"backends/([^/]+)/", r"(backends/\1/|backends/[^/]+$|src/base/)"),
    (r"src/store/", r"(src/store/|backends/(backend|shared)\.h$|src/base/)"),
    (r"src/server/", r"(src/(server|store|base)/|backends/[^/]+$|(protocol|config)/)"),
    (r"src/ctl/", r"(src/(ctl|base)/|backends/fs/offline\.h$|backends/fs/fs_io\.h$)"),
    (r"src/[^/]+$", r"(src|backends|protocol|config)/"),
]

# System headers, and the only files that may include them.
FENCES = [
    (r"uv(\.h|/)", r"(src/server|tests)/"),
    (r"hiredis/", r"(backends/redis|src/ctl|tests)/"),
    (r"jansson\.h", r"src/ctl/"),
    (r"zlib\.h", r"src/base/compress\.c$"),
    (r"roaring/", r"src/base/bitmap\.c$"),
    (r"xxhash\.h", r"(src/base/checksum|backends/fs/fs_checksum)\.c$"),
    (r"jemalloc/", r"src/base/(mem|huge)\.c$"),
    (r"criterion/", r"tests/"),
]


def check_project_include(root, path, name):
    if not os.path.isfile(os.path.join(root, name)):
        return f'"{name}" is no path from the root'
    for source, targets in LAYERS:
        match = re.match(source, path)
        if match:
            if not re.match(match.expand(targets) if match.groups() else targets, name):
                return f'"{name}" must not be included here: the layers forbid it'
            break
    is_own_folder = os.path.dirname(path) == os.path.dirname(name)
    if name.endswith("_internal.h") and not is_own_folder and not path.startswith("tests/"):
        return f'"{name}" belongs to its own folder'
    return None


def check_system_include(path, name):
    for header, allowed in FENCES:
        if re.match(header, name) and not re.match(allowed, path):
            return f"<{name}> must not be included here: it is fenced"
    return None


def check(root):
    for path in source_files.sources(root, (".c", ".h", ".def")):
        text = source_files.read(root, path)
        for match in INCLUDE.finditer(text):
            project_name, system_name = match.groups()
            if project_name:
                message = check_project_include(root, path, project_name)
            else:
                message = check_system_include(path, system_name)
            if message:
                yield path, text.count("\n", 0, match.start()) + 1, message


if __name__ == "__main__":
    source_files.main(check)
