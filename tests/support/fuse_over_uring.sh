#!/usr/bin/env bash
# Switches FUSE over io_uring on for the tests, and back to what it was.
#
#   fuse_over_uring.sh on FILE     FILE keeps what it was
#   fuse_over_uring.sh back FILE
#
# Where the kernel has no such switch, or this is not root, nothing happens: the tests that want it
# say what they lack.
set -eu

switch=/sys/module/fuse/parameters/enable_uring
[ -w "$switch" ] || exit 0
case $1 in
    on) [ -e "$2" ] || cat "$switch" > "$2"; echo Y > "$switch" ;;
    back) cat "$2" > "$switch"; rm "$2" ;;
    *) echo "usage: fuse_over_uring.sh on|back FILE" >&2; exit 2 ;;
esac
