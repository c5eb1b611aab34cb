#!/usr/bin/env python3
"""Random requests to an NBD export, each compared with a file that should have the same content.

    disk_writer.py URI ORACLE SEED COUNT [--no-trim] [--read-only]

ORACLE is a raw file of the export's size; it is changed as the export is. Several requests are in
flight at once, to different places. What a trim leaves is either the old data or zeroes, block by
block: it is read back and adopted. Ends with a flush, and with status 1 and a sentence at the first
difference or error.
"""
import random
import sys

import nbd

BLOCK = 512
IN_FLIGHT = 8


class Writer:
    def __init__(self, uri, oracle, seed):
        self.disk = nbd.NBD()
        self.disk.connect_uri(uri)
        self.size = self.disk.get_size()
        self.oracle = oracle
        self.random = random.Random(seed)
        self.did = []

    def place(self):
        """A range that likes the borders of clusters and the end of the disk."""
        unit = self.random.choice([BLOCK, 4096, 65536, 1 << 20])
        length = self.random.randrange(1, 9) * self.random.choice([BLOCK, 4096, 65536])
        offset = self.random.randrange(0, self.size) // unit * unit
        if self.random.random() < 0.1:
            offset = max(0, self.size - length)
        offset += self.random.choice([0, 0, BLOCK, 4096 - BLOCK])
        offset = min(offset, self.size - BLOCK)
        return offset, min(length, self.size - offset)

    def known(self, offset, length):
        self.oracle.seek(offset)
        return self.oracle.read(length)

    def learn(self, offset, data):
        self.oracle.seek(offset)
        self.oracle.write(data)

    def expect(self, offset, found):
        known = self.known(offset, len(found))
        if known == found:
            return
        wrong = next(i for i in range(len(found)) if known[i] != found[i])
        sys.exit(f"byte {offset + wrong} is {found[wrong]:#x}, expected {known[wrong]:#x}; "
                 f"the last requests: {self.did[-12:]}")

    def batch(self, trims, writes):
        """Some requests at once that do not touch one another."""
        taken, trimmed, running = [], [], []
        for _ in range(self.random.randrange(1, IN_FLIGHT)):
            offset, length = self.place()
            if any(offset < end and begin < offset + length for begin, end in taken):
                continue
            taken.append((offset, offset + length))
            kind = self.random.choice(["read", "read", "write", "write", "write", "zero", "keep",
                                       "trim"]) if writes else "read"
            if kind == "trim" and not trims:
                kind = "write"
            self.did.append((kind, offset, length))
            if kind == "read":
                buffer = nbd.Buffer(length)
                running.append((self.disk.aio_pread(buffer, offset), buffer, offset))
                continue
            if kind == "write":
                data = self.random.randbytes(BLOCK) * (length // BLOCK)
                running.append((self.disk.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)),
                                                     offset), None, 0))
                self.learn(offset, data)
            elif kind == "trim":
                running.append((self.disk.aio_trim(length, offset), None, 0))
                trimmed.append((offset, length))
            else:
                flags = nbd.CMD_FLAG_NO_HOLE if kind == "keep" else 0
                running.append((self.disk.aio_zero(length, offset, flags=flags), None, 0))
                self.learn(offset, bytes(length))
        for cookie, buffer, offset in running:
            while not self.disk.aio_command_completed(cookie):
                self.disk.poll(-1)
            if buffer is not None:
                self.expect(offset, bytes(buffer.to_bytearray()))
        for offset, length in trimmed:
            self.adopt(offset, bytes(self.disk.pread(length, offset)))

    def adopt(self, offset, found):
        known = self.known(offset, len(found))
        for i in range(0, len(found), BLOCK):
            block = found[i:i + BLOCK]
            if block != known[i:i + BLOCK] and any(block):
                sys.exit(f"a trim at {offset} left other data at {offset + i}")
        self.learn(offset, found)

    def run(self, count, trims, writes):
        for i in range(count):
            self.batch(trims, writes)
            if writes and i % 16 == 15:
                self.disk.flush()
        if writes:
            self.disk.flush()
        self.disk.shutdown()


def main(uri, oracle_path, seed, count, *options):
    with open(oracle_path, "r+b") as oracle:
        writer = Writer(uri, oracle, int(seed))
        try:
            writer.run(int(count), "--no-trim" not in options, "--read-only" not in options)
        except nbd.Error as error:
            sys.exit(f"{error}; the last requests: {writer.did[-12:]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
