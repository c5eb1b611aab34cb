#!/usr/bin/env bash
# Switches FUSE over io_uring on for the tests, and back to the previous setting.
#
#   fuse_over_uring.sh on FILE     saves the previous setting in FILE
#   fuse_over_uring.sh back FILE
#
# Does nothing if the kernel has no such switch, or without root: the tests that need it report its
# absence.
set -eu

switch=/sys/module/fuse/parameters/enable_uring
[ -w "$switch" ] || exit 0
case $1 in
    on) [ -e "$2" ] || cat "$switch" > "$2"; echo Y > "$switch" ;;
    back) cat "$2" > "$switch"; rm "$2" ;;
    *) echo "usage: fuse_over_uring.sh on|back FILE" >&2; exit 2 ;;
esac
