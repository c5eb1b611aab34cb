"""The parts of a run. Each yields rows of raw.csv; within a cell the servers take turns, and each
round begins with another one.
"""

import json
import os
import time

from nbd import load, processes
from nbd.session import Session as Parts
from nbd.session import rotated, row, say
from qcow2 import cells, images, servers

TRY_SECONDS = 0.3           # of each setting of a peer
OPENINGS = 10
MAPPED_GIB = 64             # of the image whose memory is measured


class Session:
    def __init__(self, place, found, options):
        self.place, self.images, self.options = place, found, options

    def of(self, part):
        wanted = self.options.only
        return [cell for cell in part if not wanted or wanted.search(cell.name)]

    def rows(self):
        yield from self.served()
        yield from self.inside()
        yield from self.levels()

    def served(self):
        best = {}
        for number in range(1, 1 + self.options.runs):
            for cell in self.of(cells.SERVED):
                say(f"round {number}: {cell.name}")
                for name in rotated(servers.NAMES, number):
                    if not servers.has(name, cell.part):
                        continue
                    if (cell, name) not in best:
                        best[cell, name] = self.best_setting(name, cell)
                    setting = best[cell, name]
                    yield row(number, cell, name, setting) | self.run(
                        name, setting, cell, self.options.seconds)

    def best_setting(self, name, cell):
        settings = servers.SETTINGS[name]
        if len(settings) == 1:
            return settings[0]
        return max(settings, key=lambda setting: self.run(
            name, setting, cell, TRY_SECONDS).get(cell.speed, 0))

    def run(self, name, setting, cell, seconds):
        """A fresh image each time: a write to an empty one allocates."""
        def measure():
            with servers.serving(self.place, self.images, name, setting, cell.part) as server:
                return load.generate(self.place.sluice, load.spec_of(server, cell), cell, seconds,
                                     server.pid)
        return Parts.once(measure)

    def inside(self):
        for number in range(1, 1 + self.options.runs):
            for cell in self.of(cells.INSIDE):
                say(f"round {number}: {cell.name}")
                for name, kind in rotated(((servers.OURS, "preallocated"),
                                           (servers.OURS_RAW, images.RAW)), number):
                    image = self.images.copy(kind)
                    spec = image if kind == images.RAW else f"qcow2:{image}"
                    yield row(number, cell, name, "") | Parts.once(lambda: load.generate(
                        self.place.sluice, spec, cell, self.options.seconds))
                    images.remove(image)

    def levels(self):
        for number in range(1, 1 + self.options.runs):
            for cell in self.of(cells.LEVELS):
                say(f"round {number}: {cell.name}")
                image = self.images.level(int(cell.part.rpartition("-")[2]))
                yield row(number, cell, servers.OURS, "") | Parts.once(lambda: load.generate(
                    self.place.sluice, f"qcow2:{image}", cell, self.options.seconds))

    def once(self):
        """Opening a huge image, beside a small one; memory for each TiB that is mapped."""
        say("once")
        found = {"open_ms": {}, "openings": OPENINGS}
        for name, kind in (("10 TiB", "huge"), ("256 MiB", "empty")):
            times = [self.opening(kind) for _ in range(OPENINGS)]
            found["open_ms"][name] = [round(1000 * each, 2) for each in sorted(times)]
        found["mib_per_mapped_tib"] = self.memory()
        return found

    def opening(self, kind):
        """Seconds of a command that opens the image in its own process, looks, and closes it."""
        began = time.monotonic()
        processes.call([self.place.sluice, "map", "--json", f"qcow2:{self.images.of(kind)}"],
                       os.environ)
        return time.monotonic() - began

    def memory(self):
        """MiB for each TiB: a server that has read an image with all its tables, less one of an
        empty image. The cache has room for them.
        """
        image = self.images.path / "mapped.qcow2"
        images.img("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", image,
                   f"{MAPPED_GIB}G")
        sizes = []
        for path in (self.images.of("empty"), image):
            server = servers.start(self.place, servers.OURS, "queues=1", path)
            try:
                processes.call(["nbdinfo", "--map", "--totals", server.uri()], os.environ)
                sizes.append(processes.resident_mib(server.pid))
            finally:
                server.stop()
        images.remove(image)
        return round((sizes[1] - sizes[0]) * 1024 / MAPPED_GIB, 1)


def write_once(path, found):
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
