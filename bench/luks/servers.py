"""The NBD servers of an encrypted volume: Sluice, qemu-storage-daemon and nbdkit, on a socket."""

import contextlib

from luks import volumes
from nbd import processes
from nbd import servers as plain

OURS, OURS_LARGE, STORAGE, KIT = "sluice", "sluice, sectors of 4096", "qemu-storage-daemon", \
    "nbdkit"
PLAIN = "sluice, not encrypted"         # a file without target crypt: the limit
NAMES = (OURS, OURS_LARGE, PLAIN, STORAGE, KIT)
# The settings of a peer that are tried; its best one for a cell is measured.
SETTINGS = {
    OURS: ("queues=2",),
    OURS_LARGE: ("queues=2",),
    PLAIN: ("queues=2",),
    STORAGE: ("aio=io_uring", "aio=threads"),
    KIT: ("threads=1", "threads=4", "threads=16"),
}


@contextlib.contextmanager
def serving(place, found, name, setting):
    """A server of the volume, for as long as the block lasts."""
    server = start(place, found, name, setting)
    try:
        yield server
    finally:
        server.stop()


def start(place, found, name, setting):
    address = place.new("sock")
    if name in (OURS, OURS_LARGE, PLAIN):
        kind = {OURS: volumes.LUKS1, OURS_LARGE: volumes.LUKS2, PLAIN: volumes.PLAIN}[name]
        spec = f"loop({found.of(kind)}, buffered_io)"
        if name != PLAIN:
            spec = f"crypt({spec}, key_file={found.key})"
        return plain.start_sluice(place, setting, address, spec, None)
    command = (storage if name == STORAGE else kit)(setting, address, found)
    log = place.new("log")
    process = processes.start(command, log)
    processes.wait_until(lambda: processes.accepts(address), process, log)
    return plain.Server(name, setting, address, process.pid, lambda: processes.end(process))


def storage(setting, address, found):
    return ["qemu-storage-daemon", *found.secret(),
            "--blockdev",
            f"driver=file,node-name=file,filename={found.of(volumes.LUKS1)},{setting}",
            "--blockdev", "driver=luks,node-name=disk,file=file,key-secret=s",
            "--nbd-server", f"addr.type=unix,addr.path={address},max-connections=0",
            "--export", "type=nbd,id=export,node-name=disk,name=,writable=on"]


def kit(setting, address, found):
    return ["nbdkit", "--foreground", f"--threads={plain.value_of(setting)}", "--unix", address,
            "--filter=luks", "file", found.of(volumes.LUKS1), f"passphrase=+{found.key}"]
