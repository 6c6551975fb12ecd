#!/usr/bin/env python3
"""Writes the Lua scripts as C data, each with the digest by which the engine knows it.

usage: embed_lua.py OUT COMMON SCRIPT...
"""

import hashlib
import os
import sys


def initialiser(data):
    lines = (data[i:i + 20] for i in range(0, len(data), 20))
    return ",\n    ".join(", ".join(str(byte) for byte in line) for line in lines)


def main(out, common, scripts):
    with open(common, "rb") as file:
        prelude = file.read()
    texts, rows = [], []
    for path in scripts:
        name = os.path.splitext(os.path.basename(path))[0]
        with open(path, "rb") as file:
            data = prelude + file.read()
        texts.append(f"static const char {name}_text[] = {{\n    {initialiser(data)}}};\n")
        rows.append(f'    [NADB_REDIS_{name.upper()}] = {{"{hashlib.sha1(data).hexdigest()}", '
                    f"{{{name}_text, sizeof({name}_text)}}}},\n")
    with open(out, "w", encoding="utf-8") as file:
        file.write('/* This file holds the scripts; made by embed_lua.py. */\n'
                   '#include "backends/redis/scripts.h"\n\n')
        file.write("\n".join(texts))
        file.write("\nconst struct nadb_redis_script nadb_redis_scripts[NADB_REDIS_SCRIPT_COUNT] "
                   "= {\n" + "".join(rows) + "};\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
