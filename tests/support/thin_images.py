#!/usr/bin/env python3
"""Random metadata of thin pools, for tests.

  thin_images.py xml SEED              prints a pool for thin_restore
  thin_images.py damage SEED IN OUT    copies an image and damages a block of it that is in use
  thin_images.py leak SEED IN OUT      copies an image, and counts a free data block as used

Damage is a flipped byte, fields that are made wrong with a right checksum, a block in another
place, or one of zeroes. What was done is printed.
"""

import random
import struct
import sys

BLOCK = 4096
KINDS = {"superblock": 160774, "node": 121107, "index": 160478, "bitmap": 240779}


def main(arguments):
    chance = random.Random(int(arguments[1]))
    if arguments[0] == "xml":
        print(pool_xml(chance))
        return
    with open(arguments[2], "rb") as file:
        image = bytearray(file.read())
    print(damage(chance, image) if arguments[0] == "damage" else leak(chance, image))
    with open(arguments[3], "wb") as file:
        file.write(image)


# --- Pools.

def pool_xml(chance):
    blocks = chance.choice([10, 1000, 20000, 100000])
    time = chance.randrange(40)
    count = chance.choice([0, 1, 2, 7, 200])
    ids = chance.sample(range(1 << 24), count) if chance.random() < 0.5 else range(count)
    most = chance.choice([0, 10, 700, 4000]) // max(1, count // 20)
    lines = [f'<superblock uuid="" time="{time}" transaction="{chance.randrange(1 << 40)}" '
             f'version="2" data_block_size="{128 * chance.choice([1, 3, 16, 16384])}" '
             f'nr_data_blocks="{blocks}">']
    for device in sorted(ids):
        mappings, mapped = device_xml(chance, chance.randrange(most + 1), blocks, time)
        lines.append(f'<device dev_id="{device}" mapped_blocks="{mapped}" '
                     f'transaction="{chance.randrange(99)}" '
                     f'creation_time="{chance.randrange(time + 1)}" '
                     f'snap_time="{chance.randrange(time + 1)}">')
        lines += mappings + ["</device>"]
    return "\n".join([*lines, "</superblock>"])


def device_xml(chance, count, blocks, time):
    """Runs and single blocks, with holes and without; several may be at one data block."""
    lines, mapped = [], 0
    block = chance.choice([0, 1 << 40]) if chance.random() < 0.1 else 0
    at = chance.randrange(blocks)
    while mapped < count:
        block += chance.choice([0, 0, 0, 1, 3, 1000])
        length = min(chance.choice([1, 1, 2, 30, 400]), count - mapped, blocks)
        if chance.random() < 0.3 or at + length > blocks:
            at = chance.randrange(blocks - length + 1)
        age = chance.randrange(time + 1)
        if length == 1:
            lines.append(f'<single_mapping origin_block="{block}" data_block="{at}" '
                         f'time="{age}"/>')
        else:
            lines.append(f'<range_mapping origin_begin="{block}" data_begin="{at}" '
                         f'length="{length}" time="{age}"/>')
        block += length
        at += length
        mapped += length
    return lines, mapped


# --- Damage.

def damage(chance, image):
    used = [number for number in range(len(image) // BLOCK)
            if any(image[number * BLOCK:(number + 1) * BLOCK])]
    number = chance.choice(used)
    start = number * BLOCK
    kind = kind_of(image[start:start + BLOCK])
    how = chance.choice(["flip", "flip", "field", "field", "field", "field", "move", "zero"])
    if how == "flip" or (how == "field" and kind is None):
        place = start + chance.randrange(BLOCK)
        image[place] ^= 1 << chance.randrange(8)
        return f"byte {place} flipped in block {number} ({kind})"
    if how == "zero":
        image[start:start + BLOCK] = bytes(BLOCK)
        return f"block {number} ({kind}) zeroed"
    if how == "move":
        other = chance.choice(used)
        image[start:start + BLOCK] = image[other * BLOCK:(other + 1) * BLOCK]
        return f"block {number} ({kind}) replaced by block {other}"
    place, size = field_of(chance, image, start, kind)
    value = new_value(chance, int.from_bytes(image[place:place + size], "little"), size)
    image[place:place + size] = value.to_bytes(size, "little")
    seal(image, number, kind)
    return f"{size} bytes at {place - start} of block {number} ({kind}) are {value}"


def leak(chance, image):
    """In the first bitmap of the data, which the root of the index leads to if it is a leaf."""
    index = struct.unpack_from("<Q", image, 80)[0] * BLOCK
    bitmap = struct.unpack_from("<Q", image, index + 32 + 8 * 168)[0]
    start = bitmap * BLOCK + 16
    bits = start + chance.choice([at for at in range(20) if image[start + at] == 0])
    image[bits] = 2
    seal(image, bitmap, "bitmap")
    return f"a data block of bitmap {bitmap} leaked"


def field_of(chance, image, start, kind):
    if kind == "superblock":
        return start + chance.choice([56, 64, 80, 88, 192, 208, 216, 320, 328]), 8
    if kind == "index":
        return start + 16, 8
    if kind == "bitmap":
        return start + 16 + chance.randrange(40), 1
    entries, capacity, size = struct.unpack_from("<III", image, start + 16)
    header = chance.choice([4, 16, 20, 24])
    if entries == 0 or chance.random() < 0.2:
        return start + header, 4
    index = chance.randrange(entries)
    if chance.random() < 0.4:
        return start + 32 + 8 * index, 8
    return start + 32 + 8 * capacity + size * index, min(size, 8)


def new_value(chance, old, size):
    value = chance.choice([old + 1, old - 1, 0, old ^ (1 << chance.randrange(8 * size)),
                           chance.randrange(1 << (8 * size)), chance.randrange(40)])
    return value % (1 << (8 * size))


# --- Checksums: CRC32C, bit-reversed, not inverted at the end.

def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def checksum(block, kind):
    crc = 0xFFFFFFFF
    for byte in block[4:]:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ KINDS[kind]


def kind_of(block):
    found = struct.unpack_from("<I", block)[0]
    return next((kind for kind in KINDS if checksum(block, kind) == found), None)


def seal(image, number, kind):
    start = number * BLOCK
    struct.pack_into("<I", image, start, checksum(image[start:start + BLOCK], kind))


if __name__ == "__main__":
    main(sys.argv[1:])
