"""Damages qcow2 images, and compares what `sluice` and `qemu-img` find in them.

  qcow2_image.py damage FILE KIND SEED   KIND is one of those in DAMAGES
  qcow2_image.py judge FILE KIND SEED [counts]   damages it, and compares as `agree` does
  qcow2_image.py agree FILE [counts]     the same exit code; with `counts` also the same figures
  qcow2_image.py info FILE               the same facts
"""
import json
import os
import random
import struct
import subprocess
import sys

COPIED, COMPRESSED = 1 << 63, 1 << 62
OFFSET = 0x00FFFFFFFFFFFE00


class Image:
    def __init__(self, path):
        self.file = open(path, "r+b")
        head = self.read(0, 112)
        (self.version,) = struct.unpack_from(">I", head, 4)
        (self.cluster_bits,) = struct.unpack_from(">I", head, 20)
        self.l1_entries, self.l1_offset, self.table_offset, self.table_clusters = \
            struct.unpack_from(">IQQI", head, 36)
        self.cluster = 1 << self.cluster_bits
        self.order, features = 4, 0
        if self.version > 2:
            (features,) = struct.unpack_from(">Q", head, 72)
            (self.order,) = struct.unpack_from(">I", head, 96)
        self.extended = bool(features & 16)
        self.external = bool(features & 4)

    def read(self, offset, length):
        self.file.seek(offset)
        return self.file.read(length).ljust(length, b"\0")

    def write(self, offset, data):
        self.file.seek(offset)
        self.file.write(data)

    def number(self, offset):
        return struct.unpack(">Q", self.read(offset, 8))[0]

    def set_number(self, offset, number):
        self.write(offset, struct.pack(">Q", number))

    def size(self):
        return self.file.seek(0, os.SEEK_END)

    def l1(self):
        """Places and values of the entries in use."""
        for i in range(self.l1_entries):
            place = self.l1_offset + 8 * i
            if self.number(place):
                yield place, self.number(place)

    def l2(self, kinds="standard"):
        width = 16 if self.extended else 8
        for _, table in self.l1():
            data = self.read(table & OFFSET, self.cluster)
            for i in range(0, self.cluster, width):
                (entry,) = struct.unpack_from(">Q", data, i)
                is_compressed = bool(entry & COMPRESSED)
                if entry & ~1 and is_compressed == (kinds == "compressed"):
                    yield (table & OFFSET) + i, entry

    def blocks(self):
        for i in range(self.table_clusters * self.cluster // 8):
            place = self.table_offset + 8 * i
            if self.number(place):
                yield i, place, self.number(place)

    def refcount(self, cluster, value=None):
        """The refcount of a cluster; sets it if there is a value. None: there is no block."""
        per_block = self.cluster * 8 >> self.order
        block = self.number(self.table_offset + cluster // per_block * 8)
        if not block:
            return None
        bits = 1 << self.order
        index = cluster % per_block
        if bits >= 8:
            place = block + index * bits // 8
            old = int.from_bytes(self.read(place, bits // 8), "big")
            if value is not None:
                self.write(place, value.to_bytes(bits // 8, "big"))
            return old
        place, shift, mask = block + index * bits // 8, index * bits % 8, (1 << bits) - 1
        byte = self.read(place, 1)[0]
        if value is not None:
            self.write(place, bytes([byte & ~(mask << shift) | value << shift]))
        return byte >> shift & mask

    def refcount_max(self):
        return (1 << (1 << self.order)) - 1


def some(items):
    return random.choice(list(items))


def data_cluster(image):
    return (some(image.l2())[1] & OFFSET) // image.cluster


def refcount_low(image):
    cluster = data_cluster(image)
    image.refcount(cluster, image.refcount(cluster) - 1)


def refcount_zero(image):
    image.refcount(some(image.l1())[1] % (1 << 62) // image.cluster, 0)


def refcount_high(image):
    cluster = data_cluster(image)
    image.refcount(cluster, min(image.refcount_max(), image.refcount(cluster) + 1))


def leak(image):
    """A cluster at the end that nobody uses."""
    cluster = (image.size() + image.cluster - 1) // image.cluster
    if image.refcount(cluster, 1) is not None:
        image.write(cluster * image.cluster, b"\1" * image.cluster)


def copied_lost(image):
    place, entry = some(image.l2())
    image.set_number(place, entry ^ COPIED)


def l1_copied_lost(image):
    place, entry = some(image.l1())
    image.set_number(place, entry ^ COPIED)


def data_beyond(image):
    place, entry = some(image.l2())
    image.set_number(place, entry & ~OFFSET | (image.size() // image.cluster + 7) * image.cluster)


def l2_beyond(image):
    place, entry = some(image.l1())
    image.set_number(place, entry & ~OFFSET | (image.size() // image.cluster + 7) * image.cluster)


def data_twice(image):
    one, other = some(image.l2()), some(image.l2())
    image.set_number(one[0], other[1])


def data_on_l1(image):
    place, _ = some(image.l2())
    image.set_number(place, image.l1_offset | COPIED)


def data_on_l2(image):
    place, _ = some(image.l2())
    image.set_number(place, some(image.l1())[1] & OFFSET | COPIED)


def data_on_refcounts(image):
    place, _ = some(image.l2())
    image.set_number(place, some(image.blocks())[2] | COPIED)


def reserved_bit(image):
    place, entry = some(image.l2())
    image.set_number(place, entry | 1 << random.choice([5, 58]))


def l1_reserved_bit(image):
    place, entry = some(image.l1())
    image.set_number(place, entry | 1 << random.choice([3, 57]))


def block_lost(image):
    """The refcount table has no block for the clusters any more."""
    image.set_number(some(image.blocks())[1], 0)


def block_beyond(image):
    image.set_number(some(image.blocks())[1], (image.size() // image.cluster + 9) * image.cluster)


def block_on_data(image):
    image.set_number(some(image.blocks())[1], data_cluster(image) * image.cluster)


def compressed_copied(image):
    place, entry = some(image.l2("compressed"))
    image.set_number(place, entry | COPIED)


def subclusters(image):
    """A subcluster is both allocated and zero."""
    place, _ = some(image.l2())
    image.set_number(place + 8, 1 << 32 | 1)


def refcounts_all_zero(image):
    """As after a crash with lazy refcounts, but worse."""
    for _, _, block in list(image.blocks()):
        image.write(block, bytes(image.cluster))


def dirty(image):
    """Some refcounts were not written, and the image says so."""
    for _, entry in list(image.l2()):
        if random.random() < 0.5:
            image.refcount((entry & OFFSET) // image.cluster, 0)
    image.set_number(72, image.number(72) | 1)


DAMAGES = {name: call for name, call in list(globals().items())
           if callable(call) and name not in ("Image", "some", "data_cluster")}


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, timeout=60)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


FIGURES = ["corruptions", "leaks", "check-errors", "total-clusters", "allocated-clusters",
           "fragmented-clusters", "compressed-clusters", "image-end-offset"]


def agree(path, *what):
    theirs = run("qemu-img", "check", "--output=json", path)
    ours = run(os.environ["SLUICE"], "check", "--json", path)
    differences = [f"{each}: {ours[1].get(each, 0)}, QEMU {theirs[1].get(each, 0)}"
                   for each in (FIGURES if what else [])
                   if ours[1].get(each, 0) != theirs[1].get(each, 0)]
    if ours[0] != theirs[0]:
        differences.append(f"exit code {ours[0]}, QEMU {theirs[0]}")
    if differences:
        sys.exit("\n".join([path, *differences, *ours[1].get("faults", [])[:5]]))


def info(path):
    theirs = run("qemu-img", "info", "--output=json", path)[1]
    ours = run(os.environ["SLUICE"], "info", "--json", path)[1]
    for each in theirs.get("snapshots", []):
        del each["icount"]
    for each in ours.get("snapshots", []):
        del each["disk-size"]
    for image in theirs, ours:
        data = image.get("format-specific", {}).get("data", {})
        for bitmap in data.get("bitmaps", []):
            bitmap["flags"].sort()
        # QEMU does not show these of old images.
        if data.get("compat") == "0.10":
            for each in "lazy-refcounts", "corrupt", "extended-l2":
                data.pop(each, None)
    for each in sorted(set(theirs) - {"children"} | set(ours)):
        if theirs.get(each) != ours.get(each):
            sys.exit(f"{path}: {each}: {ours.get(each)}, QEMU {theirs.get(each)}")


def damage(path, kind, seed):
    random.seed(seed)
    image = Image(path)
    DAMAGES[kind](image)
    image.file.close()


def judge(path, kind, seed, *what):
    damage(path, kind, seed)
    agree(path, *what)


if __name__ == "__main__":
    {"damage": damage, "judge": judge, "agree": agree, "info": info}[sys.argv[1]](*sys.argv[2:])
