"""The NBD servers of an image: Sluice, qemu-nbd and qemu-storage-daemon, on a socket file."""

import contextlib

from nbd import processes
from nbd import servers as plain
from qcow2 import images

OURS, QEMU, STORAGE = "sluice", "qemu-nbd", "qemu-storage-daemon"
OURS_RAW = "sluice, raw file"           # the same server on a raw file: the limit
NAMES = (OURS, OURS_RAW, QEMU, STORAGE)
# The settings of a peer that are tried; its best one for a cell is measured.
SETTINGS = {
    OURS: ("queues=2",),
    OURS_RAW: ("queues=2",),
    QEMU: ("aio=io_uring", "aio=threads"),
    STORAGE: ("aio=io_uring", "aio=threads"),
}


def has(name, kind):
    """A raw file is beside preallocated images only."""
    return name != OURS_RAW or kind == "preallocated"


@contextlib.contextmanager
def serving(place, found, name, setting, kind):
    """A server of a copy of the image, for as long as the block lasts."""
    image = found.copy(images.RAW if name == OURS_RAW else kind)
    try:
        server = start(place, name, setting, image)
        try:
            yield server
        finally:
            server.stop()
    finally:
        images.remove(image)


def start(place, name, setting, image):
    address = place.new("sock")
    if name in (OURS, OURS_RAW):
        spec = f"qcow2:{image}" if name == OURS else image
        return plain.start_sluice(place, setting, address, spec, None)
    log = place.new("log")
    process = processes.start((qemu if name == QEMU else storage)(setting, address, image), log)
    processes.wait_until(lambda: processes.accepts(address), process, log)
    return plain.Server(name, setting, address, process.pid, lambda: processes.end(process))


def qemu(setting, address, image):
    return ["qemu-nbd", "--format=qcow2", "--persistent", f"--shared={plain.CLIENTS}",
            "--cache=writeback", f"--{setting}", f"--socket={address}", image]


def storage(setting, address, image):
    return ["qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=file,filename={image},{setting}",
            "--blockdev", "driver=qcow2,node-name=disk,file=file",
            "--nbd-server", f"addr.type=unix,addr.path={address},max-connections=0",
            "--export", "type=nbd,id=export,node-name=disk,name=,writable=on"]
