#!/usr/bin/env bash
# xfs, git and a compiler on every buffer mode and stack.
. "$(dirname "$0")/lib_filesystems.sh"

test_filesystem xfs
