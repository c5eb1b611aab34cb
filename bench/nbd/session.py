"""The parts of a run. Each yields rows of raw.csv, as soon as they are known; within a cell the
servers take turns, and each round begins with another one.
"""

import contextlib
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import time

from host import servers as host
from nbd import cells, clients, load, processes, servers
from nbd.processes import Failed
from nbd.servers import serving

TRY_SECONDS = 0.3           # of each setting of a peer
GAP_SECONDS = 3
GAP_AFTER_SECONDS = 1.2     # of fio, the server is killed
GENERATOR = "no server"     # the generator on a stack without one


class Session:
    def __init__(self, place, options):
        self.place, self.options = place, options
        self.wanted = options.only
        # The settings that proved best: {(cell, name): setting}.
        self.best = {}

    def of(self, part):
        return [cell for cell in part if not self.wanted or self.wanted.search(cell.name)]

    def rounds(self, few=False):
        """Cheaper parts have all rounds, dear ones about half."""
        return range(1, 1 + (self.options.runs + 1) // 2 if few else 1 + self.options.runs)

    def rows(self):
        for part in (self.of_servers, self.of_limits, self.of_crowd, self.of_tls, self.of_clients,
                     self.of_gap):
            yield from part()

    # --- The server.

    def of_servers(self):
        """All servers are there from the first to the last cell; idle ones cost nothing."""
        wanted = self.of(cells.SERVER) + self.of(cells.FIO)
        if not wanted:
            return
        with contextlib.ExitStack() as stack:
            running = Running(self.place, stack)
            for cell in self.of(cells.SERVER):
                say(f"{cell.name}: the settings of the peers")
                for name in servers.NAMES:
                    self.best[cell.name, name] = running.best_setting(name, cell)
            for number in self.rounds():
                for cell in self.of(cells.SERVER):
                    say(f"round {number}: {cell.name}")
                    for name in rotated(servers.NAMES, number):
                        setting = self.best[cell.name, name]
                        yield row(number, cell, name, setting) | running.generate(
                            name, setting, cell, self.options.seconds)
            for number in self.rounds(few=True):
                for cell in self.of(cells.FIO):
                    say(f"round {number}: {cell.name}")
                    for name in rotated(servers.NAMES, number):
                        setting = self.setting_like(cell, name)
                        yield row(number, cell, name, setting) | running.fio(
                            name, setting, cell, self.options.seconds)

    def setting_like(self, cell, name):
        """What was best for the same load of our generator."""
        twin = cell.name.replace(cell.part, "server", 1)
        return self.best.get((twin, name), servers.SETTINGS[name][-1])

    def of_limits(self):
        """Servers without data, and the generator without a server."""
        wanted = self.of(cells.LIMIT)
        if not wanted:
            return
        with contextlib.ExitStack() as stack:
            running = Running(self.place, stack, data=False)
            for number in self.rounds(few=True):
                for cell in wanted:
                    say(f"round {number}: {cell.name}")
                    for name in rotated((servers.OURS, servers.KIT, GENERATOR), number):
                        setting = self.setting_like(cell, name) if name != GENERATOR else ""
                        yield row(number, cell, name, setting) | running.generate(
                            name, setting, cell, self.options.seconds)

    def of_crowd(self):
        """500 connections: each server is started anew, so that its memory is for its clients."""
        for cell in self.of(cells.CROWD):
            for number in self.rounds(few=True):
                say(f"round {number}: {cell.name}")
                for name in rotated(servers.NAMES, number):
                    setting = servers.SETTINGS[name][0]
                    yield row(number, cell, name, setting) | self.once(
                        lambda: self.crowd(name, setting, cell))

    def crowd(self, name, setting, cell):
        with serving(self.place, name, setting, self.place.image_of(name, setting)) as server:
            idle = processes.resident_mib(server.pid)
            return self.generate(server, cell) | {"idle_rss_mib": round(idle, 2)}

    def of_tls(self):
        wanted = self.of(cells.TLS)
        if not wanted:
            return
        psk = self.place.path / "keys.psk"
        psk.touch(0o600)
        psk.write_text(f"bench:{secrets.token_hex(32)}\n", encoding="utf-8")
        for number in self.rounds(few=True):
            for cell in wanted:
                say(f"round {number}: {cell.name}")
                for name in rotated((servers.OURS, servers.KIT), number):
                    setting = self.setting_like(cell, name)
                    for key in (None, psk):
                        known = row(number, cell, name + (", TLS" if key else ""), setting)
                        yield known | self.once(lambda: self.tls(name, setting, cell, key))

    def tls(self, name, setting, cell, key):
        image = self.place.image_of(name, setting)
        with serving(self.place, name, setting, image, psk=key) as server:
            return self.generate(server, cell, key)

    def generate(self, server, cell, psk=None):
        return load.generate(self.place.sluice, load.spec_of(server, cell, psk), cell,
                             self.options.seconds, server.pid)

    # --- The client.

    def of_clients(self):
        """Each client in turn is attached to the same nbdkit."""
        for part in ("client-unix", "client-tcp"):
            wanted = [cell for cell in self.of(cells.CLIENT) if cell.part == part]
            if not wanted:
                continue
            with self.kit(tcp=part == "client-tcp") as server, uring_enabled():
                say(f"{part}: the settings of the clients")
                self.try_clients(server, wanted)
                for number in self.rounds(few=part == "client-tcp"):
                    for name in rotated(clients.NAMES, number):
                        say(f"round {number}: {part}, {name}")
                        yield from self.client(number, name, server, wanted)

    def try_clients(self, server, wanted):
        """Finds the fastest setting of each client for each cell, by a short run of each."""
        for name in clients.NAMES:
            speeds = {}
            for setting in clients.SETTINGS[name]:
                for known in self.attach(name, setting, server, wanted, TRY_SECONDS):
                    speeds.setdefault(known["cell"], {})[setting] = known
            for cell in wanted:
                found = speeds[cell.name]
                self.best[cell.name, name] = max(
                    found, key=lambda setting: found[setting].get(cell.speed, 0))

    def client(self, number, name, server, wanted):
        for setting in clients.SETTINGS[name]:
            mine = [cell for cell in wanted if self.best[cell.name, name] == setting]
            if mine:
                for known in self.attach(name, setting, server, mine, self.options.seconds):
                    yield known | {"round": number}

    def attach(self, name, setting, server, wanted, seconds):
        """A run of each cell with a client that is attached for them."""
        left = list(wanted)
        try:
            with clients.attached(self.place, name, setting, server) as client:
                while left:
                    cell = left.pop(0)
                    yield row("", cell, name, setting) | self.once(lambda: load.fio(
                        load.fio_file(client.path), cell, seconds, client.pid))
        except Failed as failure:
            for cell in left:
                yield row("", cell, name, setting) | failed(failure)

    def kit(self, tcp=False):
        setting = servers.SETTINGS[servers.KIT][-1]
        return serving(self.place, servers.KIT, setting,
                       self.place.image_of(servers.KIT, setting), tcp)

    def of_gap(self):
        """nbdkit is killed under each client, and started again at once on the same socket."""
        for cell in self.of(cells.GAP):
            for number in self.rounds(few=True):
                for name in rotated(clients.NAMES, number):
                    say(f"round {number}: {cell.name}, {name}")
                    with uring_enabled():
                        yield row(number, cell, name, "") | self.once(
                            lambda: self.gap(name, cell))

    def gap(self, name, cell):
        with self.kit() as server, contextlib.ExitStack() as stack:
            def restart():
                time.sleep(GAP_AFTER_SECONDS)
                stack.enter_context(killed_and_back(self.place, server))
            setting = clients.SETTINGS[name][0]
            with clients.attached(self.place, name, setting, server) as client:
                return load.fio(load.fio_file(client.path), cell, GAP_SECONDS, client.pid, restart)

    @staticmethod
    def once(measure):
        try:
            return measure()
        except (Failed, OSError, subprocess.SubprocessError) as failure:
            return failed(failure)


class Running:
    """The servers of a part, each in all its settings; one that has died is started again."""

    def __init__(self, place, stack, data=True):
        self.place, self.stack, self.data = place, stack, data
        self.servers = {}

    def get(self, name, setting):
        server = self.servers.get((name, setting))
        if server is None or not pathlib.Path(f"/proc/{server.pid}").exists():
            image = self.place.image_of(name, setting) if self.data else None
            server = self.stack.enter_context(serving(self.place, name, setting, image))
            self.servers[name, setting] = server
        return server

    def best_setting(self, name, cell):
        """The fastest for the cell, by a short run of each."""
        settings = servers.SETTINGS[name]
        if len(settings) == 1:
            return settings[0]
        return max(settings, key=lambda setting: self.generate(
            name, setting, cell, TRY_SECONDS).get(cell.speed, 0))

    def generate(self, name, setting, cell, seconds):
        def measure():
            if name == GENERATOR:
                return load.generate(self.place.sluice, f"null({servers.NULL_SIZE})", cell, seconds)
            server = self.get(name, setting)
            return load.generate(self.place.sluice, load.spec_of(server, cell), cell, seconds,
                                 server.pid)
        return Session.once(measure)

    def fio(self, name, setting, cell, seconds):
        def measure():
            server = self.get(name, setting)
            return load.fio(load.fio_engine(server), cell, seconds, server.pid)
        return Session.once(measure)


@contextlib.contextmanager
def killed_and_back(place, server):
    """Kills nbdkit, and has it serve again at the same address."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGKILL)
    pathlib.Path(server.address).unlink(missing_ok=True)
    image = place.image_of(server.name, server.setting)
    log = place.new("log")
    process = processes.start(servers.kit_command(server.setting, server.address, image, None), log)
    try:
        yield
    finally:
        processes.end(process)


def row(number, cell, name, setting):
    return {"round": number, "cell": cell.name, "server": name, "setting": setting}


def failed(failure):
    note = re.sub(r"/\S*/sluice-bench\.\w+/", "", str(failure))     # the place is gone later
    return {"status": "failed", "note": note}


def rotated(names, number):
    by = (number - 1) % len(names)
    return names[by:] + names[:by]


def uring_enabled():
    """FUSE over io_uring, where the kernel has it and we may switch it on."""
    try:
        host.URING_SWITCH.write_text(host.URING_SWITCH.read_text())
    except OSError:
        return contextlib.nullcontext()
    return host.uring_enabled()


def make_images(place, source_bytes):
    """The same random data for each server that needs a file of its own."""
    paths = {place.image_of(name, setting) for name in servers.NAMES
             for setting in servers.SETTINGS[name]}
    first, *others = sorted(paths)
    with open("/dev/urandom", "rb") as source, open(first, "wb") as image:
        for _ in range(source_bytes >> 20):
            image.write(source.read(1 << 20))
    for other in others:
        shutil.copyfile(first, other)


def say(text):
    print(f"bench: {text}", flush=True)
