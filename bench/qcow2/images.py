"""The images of a run: made once by qemu-img; each run gets copies of its own."""

import os
import pathlib
import subprocess

from nbd import processes

DISK_BYTES = 256 << 20
LEVELS = 20
HUGE = "10T"
RAW = "raw"
KINDS = ("preallocated", "empty", "backed")


class Images:
    """Below a directory. `preallocated`: every cluster has data; `empty`: none is allocated;
    `backed`: none either, above a raw file that is full; `raw`: that file.
    """

    def __init__(self, path):
        self.path = path
        self.base = path / "base.raw"
        self.count = 0

    def make(self):
        with open("/dev/urandom", "rb") as source, open(self.base, "wb") as image:
            for _ in range(DISK_BYTES >> 20):
                image.write(source.read(1 << 20))
        img("convert", "-f", "raw", "-O", "qcow2", "-S", "0", self.base, self.of("preallocated"))
        img("create", "-q", "-f", "qcow2", self.of("empty"), DISK_BYTES)
        img("create", "-q", "-f", "qcow2", "-b", self.base.name, "-F", "raw", self.of("backed"))
        self.make_chain()
        img("create", "-q", "-f", "qcow2", self.of("huge"), HUGE)

    def make_chain(self):
        """Empty overlays, each above the one before; the lowest above the full file."""
        below, kind = self.base.name, "raw"
        for level in range(1, LEVELS + 1):
            img("create", "-q", "-f", "qcow2", "-b", below, "-F", kind, self.level(level))
            below, kind = self.level(level).name, "qcow2"

    def of(self, kind):
        return self.base if kind == RAW else self.path / f"{kind}.qcow2"

    def level(self, number):
        """The image with that many files below it."""
        return self.path / f"level-{number}.qcow2"

    def copy(self, kind):
        """A copy that may be written. It is in the page cache."""
        self.count += 1
        copy = self.path / f"{self.count}.{kind}"
        subprocess.run(["cp", "--sparse=always", self.of(kind), copy], check=True)
        return copy


def img(*words):
    processes.call(["qemu-img", *words], os.environ)


def remove(path):
    pathlib.Path(path).unlink(missing_ok=True)
