"""Writes at random places of an NBD export, and keeps a record of them; compares dirty bitmaps.

  bitmap_writer.py write URI RECORD SEED COUNT CLUSTER   whole clusters are trimmed
  bitmap_writer.py compare URI CONTEXT RECORD GRANULARITY
  bitmap_writer.py backup URI CONTEXT COPY               copies what is dirty to a raw file
  bitmap_writer.py across URI CONTEXT RECORD GRANULARITY COMMAND...
                                    runs a command between two questions on one connection

A RECORD has a byte for each 512 bytes of the disk: 1 if that was written.
"""
import random
import subprocess
import sys

import nbd

SECTOR = 512
STEP = 256 << 20


def connect(uri, *contexts):
    handle = nbd.NBD()
    for each in contexts:
        handle.add_meta_context(each)
    handle.connect_uri(uri)
    return handle


def write(uri, record, seed, count, cluster):
    handle = connect(uri)
    size, cluster = handle.get_size(), int(cluster)
    chance = random.Random(int(seed))
    with open(record, "ab") as file:
        file.truncate(size // SECTOR)
    with open(record, "r+b") as file:
        dirty = bytearray(file.read())

        def note(offset, length):
            for sector in range(offset // SECTOR, (offset + length - 1) // SECTOR + 1):
                dirty[sector] = 1

        for _ in range(int(count)):
            length = chance.randrange(1, 200_000)
            offset = chance.randrange(0, size - length)
            kind = chance.randrange(6)
            if kind < 4:
                handle.pwrite(chance.randbytes(length), offset)
            elif kind == 4:
                handle.zero(length, offset, chance.choice([0, nbd.CMD_FLAG_NO_HOLE]))
            else:
                offset -= offset % cluster
                length = min((length // cluster + 1) * cluster, size // cluster * cluster - offset)
                if length == 0:
                    continue
                handle.trim(length, offset)
            # The server reads and writes whole blocks at the ends of a request.
            note(offset, length)
        handle.flush()
        handle.shutdown()
        file.seek(0)
        file.write(dirty)


def runs_of(handle, context):
    """Runs [length, flags] of all of the disk, as few as possible."""
    runs, offset, size = [], 0, handle.get_size()
    while offset < size:
        found = []

        def note(name, _offset, entries, _error):
            if name == context:
                found.extend(entries)
            return 0

        handle.block_status(min(STEP, size - offset), offset, note)
        assert found, f"{context} says nothing at {offset}"
        for length, flags in zip(found[::2], found[1::2]):
            assert length != 0, f"a run at {offset} has no length"
            length = min(length, size - offset)
            if runs and runs[-1][1] == flags:
                runs[-1][0] += length
            else:
                runs.append([length, flags])
            offset += length
    return runs


def expected(record, granularity, size):
    runs, per_bit = [], int(granularity) // SECTOR
    with open(record, "rb") as file:
        dirty = file.read().ljust(size // SECTOR, b"\0")
    for first in range(0, len(dirty), per_bit):
        flags = 1 if any(dirty[first:first + per_bit]) else 0
        length = min(per_bit, len(dirty) - first) * SECTOR
        if runs and runs[-1][1] == flags:
            runs[-1][0] += length
        else:
            runs.append([length, flags])
    return runs


def judge(handle, context, record, granularity):
    runs = runs_of(handle, context)
    wanted = expected(record, granularity, handle.get_size())
    assert runs == wanted, f"{context}: {runs[:8]} ..., not {wanted[:8]} ..."


def compare(uri, context, record, granularity):
    handle = connect(uri, context, "base:allocation")
    assert handle.can_meta_context(context), f"{context} is not offered"
    judge(handle, context, record, granularity)
    assert sum(length for length, _ in runs_of(handle, "base:allocation")) == handle.get_size()
    handle.shutdown()


def backup(uri, context, copy):
    handle = connect(uri, context)
    offset = 0
    with open(copy, "r+b") as file:
        for length, flags in runs_of(handle, context):
            for at in range(offset, offset + length, 1 << 20):
                if flags & 1:
                    file.seek(at)
                    file.write(handle.pread(min(1 << 20, offset + length - at), at))
            offset += length
    handle.shutdown()


def across(uri, context, record, granularity, *command):
    handle = connect(uri, context)
    judge(handle, context, record, granularity)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    judge(handle, context, record, granularity)
    handle.shutdown()


if __name__ == "__main__":
    {"write": write, "compare": compare, "backup": backup, "across": across}[sys.argv[1]](
        *sys.argv[2:])
