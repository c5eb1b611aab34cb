#!/usr/bin/env python3
"""Two threads change a file at once, one through a shared mapping, the other by write(),
each its own records of 1000 bytes, none of them whole blocks, in pages of their own. Each sees its
own changes on the other way at once, and in the end both ways show all.

Pages that both change at once are another matter: direct I/O keeps those apart nowhere."""

import mmap
import os
import random
import sys
import threading

RECORD, STRIDE, RECORDS, ROUNDS = 1000, 4096, 512, 500


def main(path):
    file = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(file, STRIDE * RECORDS)
    wanted, differences = {}, []

    def through_mapping():
        for record, data in records(1):
            place = record * STRIDE + 100
            mapping[place:place + RECORD] = wanted[record] = data
            if os.pread(file, RECORD, place) != data:
                differences.append(f"record {record} was mapped and is not read")

    def through_write():
        for record, data in records(2):
            place = record * STRIDE + 100
            os.pwrite(file, data, place)
            wanted[record] = data
            if mapping[place:place + RECORD] != data:
                differences.append(f"record {record} was written and is not mapped")

    threads = [threading.Thread(target=way) for way in (through_mapping, through_write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mapping.flush()
    os.fsync(file)
    for record, data in wanted.items():
        place = record * STRIDE + 100
        if os.pread(file, RECORD, place) != data or mapping[place:place + RECORD] != data:
            differences.append(f"record {record} is not there in the end")
    print("\n".join(differences[:10]) or f"{len(wanted)} records agree")
    return 1 if differences else 0


def records(way):
    """Random records of one of the two ways, with what is to be written there."""
    source = random.Random(way)
    for _ in range(ROUNDS):
        yield source.randrange(way - 1, RECORDS, 2), bytes([source.randrange(256)]) * RECORD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
