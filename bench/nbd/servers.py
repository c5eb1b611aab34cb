"""The NBD servers: Sluice, nbdkit and qemu-nbd, on a socket file or loopback TCP."""

import contextlib
import json
import os
import signal

from nbd import processes
from nbd.processes import Failed

OURS, KIT, QEMU = "sluice", "nbdkit", "qemu-nbd"
NAMES = (OURS, KIT, QEMU)
# The settings of a peer that are tried; its best one for a cell is measured.
SETTINGS = {
    OURS: ("queues=2",),
    KIT: ("threads=1", "threads=4", "threads=16"),
    QEMU: ("aio=io_uring", "aio=threads"),
}
CLIENTS = 1000              # that qemu-nbd takes at a time
NULL_SIZE = "256M"


class Server:
    """One that listens. `address`: a path, or (host, port)."""

    def __init__(self, name, setting, address, pid, stop):
        self.name, self.setting, self.address, self.pid = name, setting, address, pid
        self.stop = stop

    def uri(self, psk=None):
        scheme, user, key = "nbd", "", ""
        if psk:
            scheme, user, key = "nbds", "bench@", f"tls-psk-file={psk}"
        if isinstance(self.address, tuple):
            return f"{scheme}://{user}{self.address[0]}:{self.address[1]}/" + (key and f"?{key}")
        return f"{scheme}+unix://{user}/?socket={self.address}" + (key and f"&{key}")


class Place:
    """The directory of a run, and the program that is measured."""

    def __init__(self, path, sluice):
        self.path, self.sluice = path, sluice
        self.environment = os.environ | {"SLUICE_STATE_DIR": str(path / "state")}
        self.count = 0

    def new(self, suffix):
        """A path that nobody has."""
        self.count += 1
        return self.path / f"{self.count}.{suffix}"

    def image_of(self, name, setting):
        """Of that server: qemu-nbd and Sluice lock theirs."""
        return self.path / f"{name}-{setting if name == QEMU else 'all'}.img"


@contextlib.contextmanager
def serving(place, name, setting, image=None, tcp=False, psk=None):
    """A server of the image, or of a device without data, for as long as the block lasts."""
    server = start(place, name, setting, image, tcp, psk)
    try:
        yield server
    finally:
        server.stop()


def start(place, name, setting, image=None, tcp=False, psk=None):
    address = ("127.0.0.1", processes.free_port()) if tcp else place.new("sock")
    if name == OURS:
        return start_sluice(place, setting, address, image, psk)
    log = place.new("log")
    command = {KIT: kit_command, QEMU: qemu_command}[name](setting, address, image, psk)
    process = processes.start(command, log)
    processes.wait_until(lambda: processes.accepts(address), process, log)
    return Server(name, setting, address, process.pid, lambda: processes.end(process))


def start_sluice(place, setting, address, image, psk):
    listen = f"tcp:{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address}"
    command = [place.sluice, "add", "--frontend", "nbd", "--json", "--listen", listen,
               "--queues", value_of(setting)]
    if psk:
        command += ["--tls-psk", psk]
    added = processes.call([*command, image or f"null({NULL_SIZE})"], place.environment)
    device = json.loads(added)

    def stop():
        try:
            processes.call([place.sluice, "del", "-n", device["id"], "--force"],
                           place.environment)
        except Failed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(device["pid"], signal.SIGKILL)
    return Server(OURS, setting, address, device["pid"], stop)


def kit_command(setting, address, image, psk):
    where = (["--ipaddr", address[0], "--port", address[1]] if isinstance(address, tuple)
             else ["--unix", address])
    tls = ["--tls=require", f"--tls-psk={psk}"] if psk else []
    what = ["file", image] if image else ["null", f"size={NULL_SIZE}"]
    return ["nbdkit", "--foreground", f"--threads={value_of(setting)}", *where, *tls, *what]


def qemu_command(setting, address, image, _psk):
    where = (["--bind", address[0], "--port", address[1]] if isinstance(address, tuple)
             else ["--socket", address])
    return ["qemu-nbd", "--format=raw", "--persistent", f"--shared={CLIENTS}",
            "--cache=writeback", f"--{setting}", *where, image]


def value_of(setting):
    return setting.partition("=")[2]
