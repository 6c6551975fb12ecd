#!/bin/sh
# Formats every C file, or with --check only says which are not formatted (and then fails).
# .def files are tables and formatted by hand.
#
# usage: scripts/format.sh [--check]
set -eu

cd "$(dirname "$0")/.."
format=${CLANG_FORMAT:-clang-format}

case "${1:-}" in
    --check) mode="--dry-run --Werror" ;;
    "") mode="-i" ;;
    *)
        echo "usage: scripts/format.sh [--check]" >&2
        exit 2
        ;;
esac

# shellcheck disable=SC2086  # the mode is one or two words on purpose
find src protocol backends config tests \( -name '*.c' -o -name '*.h' \) -print0 |
    xargs -0 "$format" $mode
