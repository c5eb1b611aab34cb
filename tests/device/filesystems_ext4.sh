#!/usr/bin/env bash
# ext4, git and a compiler on every buffer mode and stack.
# seconds: 60
. "$(dirname "$0")/lib_filesystems.sh"

test_filesystem ext4
