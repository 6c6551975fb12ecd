#!/usr/bin/env python3
"""Checks the rules of style that neither compiler nor clang-format checks.

usage: check_style.py [ROOT]
"""

import re
import source_files

LINE_MAX = 100
TEXT_FILES = (".c", ".h", ".def", ".py", ".sh", ".md", ".build", ".options", ".conf", ".example")

BANNED = {
    "strcpy": "nadb_buf_append or memcpy",
    "strcat": "nadb_buf_append or snprintf",
    "strncpy": "memcpy: strncpy does not terminate",
    "strncat": "nadb_buf_append or snprintf",
    "strtok": "a loop over slices",
    "sprintf": "snprintf",
    "vsprintf": "vsnprintf",
    "atoi": "nadb_parse_i64",
    "atol": "nadb_parse_i64",
    "atoll": "nadb_parse_i64",
    "atof": "nadb_parse_long_double",
    "strtol": "nadb_parse_i64",
    "strtoll": "nadb_parse_i64",
    "strtoul": "nadb_parse_u64",
    "strtoull": "nadb_parse_u64",
    "gmtime": "gmtime_r",
    "localtime": "localtime_r",
    "rand": "nadb_rng_below",
    "srand": "nadb_rng_seed",
    "gets": "fgets",
    "system": "nothing: no shell is ever started",
    "alloca": "a buffer with a named bound",
}
RAW_ALLOCATION = {"malloc", "calloc", "realloc", "free", "strdup", "strndup", "asprintf"}
CALL = re.compile(r"(?<![\w.>])(\w+)[ \t]*\(")
MARK = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def check_text(path, text):
    if text and not text.endswith("\n"):
        yield line_of(text, len(text)), "the last line does not end"
    if text.endswith("\n\n"):
        yield line_of(text, len(text)) - 1, "empty line at the end"
    for number, line in enumerate(text.split("\n"), 1):
        if "\r" in line:
            yield number, "carriage return"
        elif line != line.rstrip():
            yield number, "blanks at the end of the line"
        if "\t" in line:
            yield number, "tab"
        if len(line) > LINE_MAX and path.endswith((".c", ".h")):
            yield number, f"longer than {LINE_MAX} columns"
        if MARK.search(line):
            yield number, "a mark for later: do it now or open an issue"


def check_calls(path, code):
    may_allocate = path == "src/base/mem.c" or path.startswith("tests/")
    for match in CALL.finditer(code):
        name = match.group(1)
        if name in BANNED:
            yield line_of(code, match.start()), f"{name} is banned; use {BANNED[name]}"
        elif name in RAW_ALLOCATION and not may_allocate:
            yield line_of(code, match.start()), f"{name} is banned; allocate with nadb_mem_*"


def check_tokens(path, code):
    rules = [
        (r"^[ \t]*#[ \t]*if[ \t]+0\b", "code switched off by #if 0: remove it"),
        # A function type that returns one has a parenthesis first.
        (r"\btypedef\s+(struct|union|enum)\b[^;(]*[;{]", "no typedef for structs, unions and enums"),
    ]
    if path.endswith(".c"):
        rules.append((r"\bextern\b", "no extern in a .c file: include the header"))
    for pattern, message in rules:
        for match in re.finditer(pattern, code, re.M):
            yield line_of(code, match.start()), message


def check_source(path, text):
    if not text.startswith("/* This file "):
        yield 1, 'the file does not open with a sentence "This file ..."'
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*["<][^">]*\.c[">]', text, re.M):
        yield line_of(text, match.start()), "a .c file is included"


def guard_of(path):
    return "NADB_" + re.sub(r"[^A-Z0-9]", "_", re.sub(r"^src/", "", path).upper())


def check_header(path, text, code):
    guard = guard_of(path)
    if not re.match(rf"\s*#ifndef {guard}\n#define {guard}\n", code):
        yield 1, f"the header guard is not {guard}"
    if not code.rstrip().endswith("#endif"):
        yield line_of(text, len(text)) - 1, "something follows the header guard"
    if not text.startswith("/* "):
        yield 1, "the header does not open with a comment that says what it is for"


def check_file(path, text):
    yield from check_text(path, text)
    if not path.endswith((".c", ".h")):
        return
    code = source_files.code_only(text)
    yield from check_calls(path, code)
    yield from check_tokens(path, code)
    if path.endswith(".c"):
        yield from check_source(path, text)
    else:
        yield from check_header(path, text, code)


def check(root):
    for path in source_files.walk(root, TEXT_FILES):
        for line, message in check_file(path, source_files.read(root, path)):
            yield path, line, message


if __name__ == "__main__":
    source_files.main(check)
