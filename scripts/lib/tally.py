#!/usr/bin/python3
"""Counts individual tests in the results of a test run and prints the total as its last line.

usage: tally.py FOLDER

FOLDER holds NAME.tap (TAP), NAME.json (Meson's testlog.json) and NAME.status (the exit code of
that stage). A stage that failed without saying which test counts as one failed test. Exits 1 when
anything failed, or when there is no result at all.
"""

import json
import os
import re
import sys

SYNTHESIS = re.compile(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")
FAILED_TEST = re.compile(r"^\[FAIL\] (\w+::\w+)", re.M)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Count:
    def __init__(self):
        self.passed = self.skipped = 0
        self.failed = []

    def add(self, other):
        self.passed += other.passed
        self.skipped += other.skipped
        self.failed += other.failed


def count_tap(path):
    count = Count()
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("not ok"):
                count.failed.append(line[len("not ok"):].strip())
            elif line.startswith("ok") and "# SKIP" in line:
                count.skipped += 1
            elif line.startswith("ok"):
                count.passed += 1
    return count


def count_program(row):
    """A test program: the Criterion tests in it, or the program as one test."""
    count = Count()
    name = row["name"]
    if row["result"] == "SKIP":
        count.skipped = 1
        return count
    text = COLOUR.sub("", row.get("stdout", "") + row.get("stderr", ""))
    found = SYNTHESIS.search(text)
    if found:
        _, passed, failed, crashed = map(int, found.groups())
        count.passed = passed
        names = FAILED_TEST.findall(text)
        names += ["(crashed)"] * (failed + crashed - len(names))
        count.failed = [f"{name}: {test}" for test in names]
        if row["result"] not in ("OK", "FAIL") or (row["result"] == "FAIL" and not count.failed):
            count.failed.append(f"{name}: {row['result']} after its tests passed (a leak?)")
    elif row["result"] == "OK":
        count.passed = 1
    else:
        count.failed.append(f"{name}: {row['result']}")
    return count


def count_meson(path):
    count = Count()
    with open(path, encoding="utf-8") as file:
        for line in file:
            count.add(count_program(json.loads(line)))
    return count


def count_stage(folder, name):
    count = Count()
    for suffix, counter in ((".tap", count_tap), (".json", count_meson)):
        path = os.path.join(folder, name + suffix)
        if os.path.exists(path):
            count.add(counter(path))
    with open(os.path.join(folder, name + ".status"), encoding="ascii") as file:
        status = file.read().strip()
    if status != "0" and not count.failed:
        count.failed.append(f"the stage itself ended with exit code {status}")
    return count


def main():
    folder = sys.argv[1]
    names = [name[:-len(".status")] for name in os.listdir(folder) if name.endswith(".status")]
    names.sort(key=lambda name: os.path.getmtime(os.path.join(folder, name + ".status")))
    total = Count()
    print()
    for name in names:
        count = count_stage(folder, name)
        print(f"{name:24} {count.passed:6} passed {len(count.failed):4} failed {count.skipped:4} skipped")
        for failed in dict.fromkeys(count.failed):
            print(f"    failed: {failed}")
        total.add(count)
    print(f"{total.passed} passed, {len(total.failed)} failed, {total.skipped} skipped")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
