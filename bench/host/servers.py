"""Who serves the file or loop device that is measured: Sluice, qemu-storage-daemon, the kernel."""

import contextlib
import json
import os
import pathlib
import subprocess
import time

URING_SWITCH = pathlib.Path("/sys/module/fuse/parameters/enable_uring")
PATIENCE_SECONDS = 10
PATHS = ("passthrough", "uring", "splice", "copy")
# Of each kind of row, in the order of the tables.
SERVERS = {
    "file": (*PATHS, "qemu"),
    "loop": (*PATHS, "qemu", "kernel"),
}
TITLES = {"qemu": "qemu-storage-daemon", "kernel": "kernel loop, bare file"}


class Missing(Exception):
    """This machine cannot have that server; the text says why."""


class Served:
    """Something to read and write, and the process behind it (none: the kernel)."""

    def __init__(self, path, pid, stop):
        self.path, self.pid, self.stop = path, pid, stop


@contextlib.contextmanager
def uring_enabled():
    """FUSE over io_uring is switched on meanwhile, where the kernel has it."""
    before = URING_SWITCH.read_text() if URING_SWITCH.exists() else None
    try:
        if before is not None:
            URING_SWITCH.write_text("Y")
        yield
    finally:
        if before is not None:
            URING_SWITCH.write_text(before)


def start(kind, server, image, place, sluice):
    """`place` is a directory of its own, for mount points and state."""
    if server == "kernel":
        return attach_loop(image, stop=lambda: None, pid=None)
    if server == "qemu":
        return start_qemu(kind, image, place)
    return start_sluice(kind, server, image, place, sluice)


def start_sluice(kind, path, image, place, sluice):
    environment = os.environ | {"SLUICE_STATE_DIR": str(place / "state")}
    if path == "uring" and not URING_SWITCH.exists():
        raise Missing("this kernel's FUSE has no io_uring transport")
    at = ["--at", str(place / "view")] if kind == "file" else []
    added = subprocess.run([sluice, "add", "--frontend", "fuse" if at else "loop", *at, "--json",
                            "--mode", path, str(image)], env=environment, text=True,
                           capture_output=True, check=False)
    if added.returncode != 0:
        raise Missing(added.stderr.strip())
    device = json.loads(added.stdout)

    def stop():
        subprocess.run([sluice, "del", "-n", str(device["id"]), "--force"], env=environment,
                       check=True)
    return Served(device["device"], device["pid"], stop)


def start_qemu(kind, image, place):
    view = place / "view"
    view.touch()
    process = subprocess.Popen(
        ["qemu-storage-daemon",
         "--blockdev", f"driver=file,node-name=f,filename={image},cache.direct=on,aio=io_uring",
         "--export", f"type=fuse,id=e,node-name=f,mountpoint={view},writable=on"],
        stderr=subprocess.PIPE, text=True)

    def stop():
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not os.path.ismount(view) and view.stat().st_size == 0:
        if process.poll() is not None or time.monotonic() > give_up:
            process.kill()
            raise Missing(f"qemu-storage-daemon: {process.stderr.read().strip()}")
        time.sleep(0.01)
    if kind == "file":
        return Served(str(view), process.pid, stop)
    return attach_loop(view, stop, process.pid)


def attach_loop(file, stop, pid):
    attached = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", str(file)],
                              text=True, capture_output=True, check=False)
    if attached.returncode != 0:
        stop()
        raise Missing(attached.stderr.strip())
    path = attached.stdout.strip()

    def detach():
        subprocess.run(["losetup", "-d", path], check=True)
        stop()
    return Served(path, pid, detach)
