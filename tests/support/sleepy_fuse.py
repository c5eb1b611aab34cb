#!/usr/bin/env python3
"""A FUSE server that answers until it is stopped: then who looks at its files hangs in the kernel.

    sleepy_fuse.py DIRECTORY

mounts on DIRECTORY a file system with a regular file of every name (16 MiB of zeroes, which takes
writes and forgets them), and a directory of every name that begins with "dir". Nothing is kept in
the kernel's caches. Prints "ready" once it is mounted. SIGSTOP makes it hang, SIGCONT go on, its
death ends all that waits for it."""

import ctypes
import os
import stat
import struct
import sys

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE = 1, 2, 3, 4, 14, 15, 16, 18
FSYNC, FLUSH, INIT, OPENDIR, RELEASEDIR, ACCESS, BATCH_FORGET = 20, 25, 26, 27, 29, 34, 42
FILE_BYTES = 16 << 20
NOSUID, NODEV = 2, 4
FIRST_FILE = 1 << 32


def main(directory):
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"sleepy", directory.encode(), b"fuse.sleepy", NOSUID | NODEV,
                  options.encode()) != 0:
        sys.exit(f"cannot mount on {directory}: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return  # unmounted
        length, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in (FORGET, BATCH_FORGET):
            continue
        error, answer = reply(opcode, node, request[40:length])
        os.write(device, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)


def reply(opcode, node, body):
    if opcode == INIT:
        major, minor, readahead = struct.unpack_from("<III", body)
        return 0, struct.pack("<IIIIHHIIHHI", 7, min(minor, 31), readahead, 0, 16, 12, 1 << 17, 1,
                              32, 0, 0).ljust(64, b"\0")
    if opcode == LOOKUP:
        is_directory = body.startswith(b"dir")
        child = node_of(body.rstrip(b"\0"), is_directory)
        return 0, struct.pack("<QQQQII", child, 0, 0, 0, 0, 0) + attributes(child)
    if opcode in (GETATTR, SETATTR):
        return 0, struct.pack("<QII", 0, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return 0, struct.pack("<QII", 0, 0, 0)
    if opcode == READ:
        return 0, bytes(struct.unpack_from("<QQI", body)[2])
    if opcode == WRITE:
        return 0, struct.pack("<II", struct.unpack_from("<QQI", body)[2], 0)
    if opcode in (RELEASE, RELEASEDIR, FLUSH, FSYNC, ACCESS):
        return 0, b""
    return 38, b""  # ENOSYS


NAMES = {}


def node_of(name, is_directory):
    number = NAMES.setdefault((name, is_directory), len(NAMES) + 2)
    return number if is_directory else FIRST_FILE + number


def attributes(node):
    is_file = node >= FIRST_FILE
    mode = stat.S_IFREG | 0o644 if is_file else stat.S_IFDIR | 0o755
    size = FILE_BYTES if is_file else 0
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0,
                       0, 0, 4096, 0)


if __name__ == "__main__":
    main(sys.argv[1])
