#!/usr/bin/env python3
"""Writes to a disk with flushes and durable writes (FUA), and checks what a power cut has left.

    durable_writer.py write DISK BOOK SEED COUNT [MARKED]
                                            ends after COUNT flushes and durable writes, or if
                                            it fails
    durable_writer.py check IMAGE BOOK      IMAGE is what the power cut has left
    durable_writer.py replay LOG BOOK       cuts the power at each entry of the LOG

DISK is an NBD URI, then each thread has a connection of its own, or a block device. Each thread
overwrites blocks of its own with (block, generation); a flush by one covers the completed writes of
all. BOOK has what was acknowledged as durable. MARKED is a device of dm-log-writes below the disk,
which then gets a mark around each flush and after each durable write: LOG is its log. BOOK.started
is created when there is something to lose.

The log has two orders that no disk has: a durable write comes before older writes of the same block
that were not flushed, and the writes that a flush covers come when that flush ends, even if another
one has ended before. So with MARKED durable writes have blocks of their own, and one flush or
durable write runs at a time.
"""
import contextlib
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import threading

BYTES = 4096
SECTOR = 512
THREADS, BLOCKS = 3, 32         # blocks of each thread
LOG_MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8      # flags of an entry of the log


def content(block, generation):
    return struct.pack("<QQ", block, generation) * (BYTES // 16)


class NbdDisk:
    """A connection to an export."""

    def __init__(self, uri):
        import nbd
        self.failure = nbd.Error
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)

    def write(self, offset, data, fua):
        import nbd
        self.handle.pwrite(data, offset, nbd.CMD_FLAG_FUA if fua else 0)

    def flush(self):
        self.handle.flush()


class BlockDisk:
    """A block device, without the page cache."""

    failure = OSError

    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.memory = mmap.mmap(-1, BYTES)

    def write(self, offset, data, fua):
        self.memory[:] = data
        count = os.pwritev(self.file, [self.memory], offset, os.RWF_DSYNC if fua else 0)
        if count != len(data):
            raise OSError(f"{count} bytes were written")

    def flush(self):
        os.fsync(self.file)


class Book:
    """The generations of all blocks: attempted, acknowledged, durable."""

    def __init__(self, path, count, marked):
        self.path, self.count, self.marked = path, int(count), marked
        self.lock = threading.Lock()
        self.one_at_a_time = threading.Lock() if marked else contextlib.nullcontext()
        self.attempted, self.acknowledged, self.durable = ([0] * (THREADS * BLOCKS)
                                                           for _ in range(3))
        self.marks = []         # of each: what was durable, and acknowledged, before it was made
        self.flushes = self.durable_writes = 0

    def covered(self, generations):
        with self.lock:
            for block, generation in generations.items():
                self.durable[block] = max(self.durable[block], generation)

    def mark(self):
        if not self.marked:
            return
        with self.lock:
            number = len(self.marks)
            self.marks.append((list(self.durable), list(self.acknowledged)))
            subprocess.run(["dmsetup", "message", self.marked, "0", "mark", str(number)],
                           check=True, stdin=subprocess.DEVNULL, timeout=60)

    def is_full(self):
        return self.flushes + self.durable_writes >= self.count

    def save(self):
        with open(self.path, "w") as file:
            json.dump({"attempted": self.attempted, "durable": self.durable,
                       "marks": self.marks}, file)
        print(f"# {sum(self.acknowledged)} writes, {self.durable_writes} of them durable, "
              f"{self.flushes} flushes")


def write_blocks(disk, book, blocks, chance):
    def write(block, fua):
        book.attempted[block] += 1
        generation = book.attempted[block]
        disk.write(block * BYTES, content(block, generation), fua)
        book.acknowledged[block] = generation

    try:
        while not book.is_full():
            block = chance.choice(blocks)
            if block % 4 == 0 if book.marked else chance.random() < 0.1:
                with book.one_at_a_time:
                    write(block, True)
                    book.durable_writes += 1
                    book.covered({block: book.acknowledged[block]})
                    book.mark()
            else:
                write(block, False)
            if chance.random() < 0.05:
                with book.one_at_a_time:
                    book.mark()     # where something is lost
                    before = dict(enumerate(book.acknowledged))
                    disk.flush()
                    book.flushes += 1
                    book.covered(before)
                    book.mark()
            if book.flushes >= 2 and book.durable_writes >= 2:
                open(book.path + ".started", "w").close()
    except disk.failure:
        pass                    # the power is cut


def write(where, path, seed, count, marked=None):
    book = Book(path, count, marked)
    disk = NbdDisk if "://" in where else BlockDisk
    threads = [threading.Thread(target=write_blocks, args=(
        disk(where), book, range(number * BLOCKS, (number + 1) * BLOCKS),
        random.Random(f"{seed} {number}"))) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book.save()


def generation_of(block, sector):
    """The generation of a sector; -1 if it was never written like this."""
    found, generation = struct.unpack_from("<QQ", sector)
    if sector == bytes(SECTOR):
        return 0
    return generation if sector == content(block, generation)[:SECTOR] and found == block else -1


def wrong(image, durable, attempted):
    """What of the image no power cut may leave, as a text."""
    for block, (least, most) in enumerate(zip(durable, attempted)):
        for at in range(block * BYTES, (block + 1) * BYTES, SECTOR):
            generation = generation_of(block, bytes(image[at:at + SECTOR]))
            if not least <= generation <= most:
                return (f"block {block} is of generation {generation} at {at % BYTES}: {least} "
                        f"was durable, {most} was written last")
    return None


def check(path, book):
    with open(book) as file:
        book = json.load(file)
    with open(path, "rb") as file:
        image = file.read(THREADS * BLOCKS * BYTES)
    found = wrong(image, book["durable"], book["attempted"])
    if found:
        sys.exit(f"# {found}")


def entries(path):
    """The entries of a log: (sector, sectors, flags, data)."""
    with open(path, "rb") as file:
        magic, _, count, sector_bytes = struct.unpack("<QQQI", file.read(28))
        if magic != LOG_MAGIC:
            sys.exit(f"# {path} is no log of dm-log-writes")
        at = sector_bytes
        for _ in range(count):
            file.seek(at)
            sector, sectors, flags, length = struct.unpack("<QQQQ", file.read(32))
            if flags & MARK:
                data = file.read(length)
            else:
                file.seek(at + sector_bytes)
                data = b"" if flags & DISCARD else file.read(sectors * SECTOR)
            yield sector * SECTOR, flags, data
            at += sector_bytes
            if not flags & (MARK | DISCARD):
                at += -(-len(data) // sector_bytes) * sector_bytes


def replay(log, book):
    with open(book) as file:
        book = json.load(file)
    image = bytearray(THREADS * BLOCKS * BYTES)
    durable = [0] * (THREADS * BLOCKS)
    cuts = marks = lost = flushes = durable_writes = 0
    for offset, flags, data in entries(log):
        name = data.rstrip(b"\0")
        if not flags & MARK:
            flushes += flags & FLUSH != 0
            durable_writes += flags & FUA != 0
            if offset < len(image):
                image[offset:offset + len(data)] = data
        elif name.isdigit():    # or the log says that it ends
            durable, acknowledged = book["marks"][int(name)]
            marks += 1
            # Without any loss of what was only acknowledged, the log would prove nothing.
            lost += wrong(image, acknowledged, book["attempted"]) is not None
        found = wrong(image, durable, book["attempted"])
        if found:
            sys.exit(f"# after entry {cuts} of the log: {found}")
        cuts += 1
    print(f"# {cuts} cuts, {flushes} flushes, {durable_writes} durable writes, {marks} marks, at "
          f"{lost} of which acknowledged writes were lost")
    if 0 in (marks, lost, flushes, durable_writes):
        sys.exit("# the log proves nothing")


if __name__ == "__main__":
    {"write": write, "check": check, "replay": replay}[sys.argv[1]](*sys.argv[2:])
