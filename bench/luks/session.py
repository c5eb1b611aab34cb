"""The parts of a run. Each yields rows of raw.csv; within a cell the servers take turns, and each
round begins with another one.
"""

import json
import os
import re

from luks import cells, servers
from nbd import load, processes
from nbd.session import Session as Parts
from nbd.session import rotated, row, say

TRY_SECONDS = 0.3           # of each setting of a peer
LOOP_SECONDS = 1            # openssl takes whole ones
OPENSSL = "openssl speed"


class Session:
    def __init__(self, place, found, options):
        self.place, self.volumes, self.options = place, found, options

    def of(self, part):
        wanted = self.options.only
        return [cell for cell in part if not wanted or wanted.search(cell.name)]

    def rows(self):
        yield from self.loop()
        yield from self.served()

    def served(self):
        best = {}
        for number in range(1, 1 + self.options.runs):
            for cell in self.of(cells.SERVED):
                say(f"round {number}: {cell.name}")
                for name in rotated(servers.NAMES, number):
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
        def measure():
            with servers.serving(self.place, self.volumes, name, setting) as server:
                return load.generate(self.place.sluice, load.spec_of(server, cell), cell, seconds,
                                     server.pid)
        return Parts.once(measure)

    def loop(self):
        """AES-256-XTS on one thread: sectors of our own, and of OpenSSL without their vectors."""
        wanted = self.of(cells.LOOP)
        for number in range(1, 1 + self.options.runs):
            if wanted:
                say(f"round {number}: loop")
                yield from self.our_loop(number, wanted)
            for cell in wanted:
                yield row(number, cell, OPENSSL, "") | Parts.once(lambda: openssl(cell))

    def our_loop(self, number, wanted):
        speeds = json.loads(processes.call([self.place.sluice, "crypt", "bench", "--json"],
                                           os.environ))
        for cell in wanted:
            speed = next(each for each in speeds if each["cipher"] == "aes-xts-plain64"
                         and each["key_bits"] == 512 and str(each["sector_bytes"]) == cell.block)
            yield row(number, cell, servers.OURS, "") | {
                "status": "ok", "mib_per_s": round(speed[f"{cell.pattern}ing_mib_per_s"], 1)}


def openssl(cell):
    command = ["openssl", "speed", "-mr", "-seconds", LOOP_SECONDS, "-bytes", cell.block, "-evp",
               "aes-256-xts"] + (["-decrypt"] if cell.pattern == "decrypt" else [])
    found = re.search(r"^\+F:\d+:[^:]*:([\d.]+)", processes.call(command, os.environ), re.M)
    if not found:
        raise processes.Failed("openssl speed says something else")
    return {"status": "ok", "mib_per_s": round(float(found[1]) / (1 << 20), 1)}
