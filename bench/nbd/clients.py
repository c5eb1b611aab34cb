"""The clients: an export as a FUSE file by Sluice, by nbdfuse and by qemu-storage-daemon."""

import contextlib
import json
import os
import signal

from nbd import processes
from nbd.processes import Failed

OURS, FUSE, QEMU = "sluice", "nbdfuse", "qemu-storage-daemon"
NAMES = (OURS, FUSE, QEMU)
# Queues, and connections in all; qemu-storage-daemon has one. Each client's best one for a cell is
# measured.
SETTINGS = {
    OURS: ("queues=1 connections=4", "queues=2 connections=4"),
    FUSE: ("connections=1", "connections=4"),
    QEMU: ("connections=1",),
}
RECONNECT_SECONDS = 10


class Client:
    """A file that is the export, and the process behind it."""

    def __init__(self, path, pid):
        self.path, self.pid = path, pid


@contextlib.contextmanager
def attached(place, name, setting, server):
    """The server's export as a file, for as long as the block lasts."""
    mount = place.new("mnt")
    values = dict(each.split("=") for each in setting.split())
    connect = {OURS: sluice, FUSE: nbdfuse, QEMU: storage_daemon}[name]
    with connect(place, mount, server, **{key: int(value) for key, value in values.items()}
                 ) as client:
        try:
            yield client
        finally:
            unmount(mount)


def unmount(mount):
    """Also after the death of what served it, which leaves a mount behind."""
    if is_mounted(mount):
        with contextlib.suppress(Failed):
            processes.call(["fusermount3", "-u", "-z", mount])


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return any(line.split()[4] == str(path) for line in file)


@contextlib.contextmanager
def sluice(place, mount, server, queues, connections):
    added = processes.call(
        [place.sluice, "add", "--frontend", "fuse", "--at", mount, "--json", "--queues", queues,
         f'nbd("{server.uri()}", connections={connections // queues})'], place.environment)
    device = json.loads(added)
    try:
        yield Client(device["device"], device["pid"])
    finally:
        try:
            processes.call([place.sluice, "del", "-n", device["id"], "--force"],
                           place.environment, 4 * processes.PATIENCE_SECONDS)
        except Failed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(device["pid"], signal.SIGKILL)


@contextlib.contextmanager
def nbdfuse(place, mount, server, connections):
    log = place.new("log")
    mount.mkdir()
    process = processes.start(["nbdfuse", "-C", connections, mount / "disk", server.uri()], log)
    try:
        processes.wait_until((mount / "disk").exists, process, log)
        yield Client(mount / "disk", process.pid)
    finally:
        unmount(mount)
        processes.end(process)


@contextlib.contextmanager
def storage_daemon(place, mount, server, connections):
    assert connections == 1
    log = place.new("log")
    mount.touch()
    where = (f"server.type=inet,server.host={server.address[0]},server.port={server.address[1]}"
             if isinstance(server.address, tuple)
             else f"server.type=unix,server.path={server.address}")
    process = processes.start(
        ["qemu-storage-daemon", "--blockdev",
         f"driver=nbd,node-name=n,reconnect-delay={RECONNECT_SECONDS},{where}",
         "--export", f"type=fuse,id=e,node-name=n,mountpoint={mount},writable=on"], log)
    try:
        processes.wait_until(lambda: is_mounted(mount), process, log)
        yield Client(mount, process.pid)
    finally:
        processes.end(process)
