"""The devices under test: made for one target, removed at the end whatever happened."""

import contextlib
import functools
import json
import os
import pathlib
import subprocess
import tempfile
import time

from nbd import processes, servers
from ublk import machine, matrix

FILL_BYTES = 8 << 20
NULLB = pathlib.Path("/sys/kernel/config/nullb")
NAME = f"sluice-bench-{os.getpid()}"
POOL = f"{NAME}-pool"
SETUP_SECONDS = 60
MIRROR_REGION_BYTES = 1 << 20
KIT_SETTING = "threads=4"   # for each connection


class Unavailable:
    """A device that could not be made here."""

    def __init__(self, why):
        self.why = why

    def describe(self):
        return f"unavailable: {self.why}"


class Device:
    def __init__(self, name, pid=None, note=""):
        self.name = name        # below /dev and /sys/block
        self.pid = pid          # of the server; none for the kernel's
        self.note = note

    @property
    def path(self):
        return f"/dev/{self.name}"

    def queue(self, name):
        return (pathlib.Path("/sys/block") / self.name / "queue" / name)

    def level(self):
        """Gives all devices the same limits: no scheduler, and no request above 512K."""
        for name, value in [("scheduler", "none"), ("max_sectors_kb", "512"), ("iostats", "1")]:
            with contextlib.suppress(OSError):
                self.queue(name).write_text(value)

    def describe(self):
        shown = []
        for name in ("scheduler", "max_sectors_kb", "max_segments", "nr_requests",
                     "logical_block_size", "write_cache"):
            with contextlib.suppress(OSError):
                shown.append(f"{name} {self.queue(name).read_text().strip()}")
        return ", ".join([*shown, *([self.note] if self.note else [])])


@contextlib.contextmanager
def tmpfs():
    """A directory in memory; also where the servers keep their state."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-", dir="/tmp"))
    try:
        call("mount", "-t", "tmpfs", "-o", "mode=700,size=75%", NAME, place)
        yield place
    finally:
        # A device that hangs may keep it busy.
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)
        with contextlib.suppress(OSError):
            place.rmdir()


def make(stack, target, server, place, settings):
    """A device that lives as long as `stack`, or why there is none."""
    try:
        files = make_files(target, server, place)
        if target in matrix.CONNECTIONS:
            files = [stack.enter_context(export(files, place / f"{target}-{server}"))]
        make_kernel_device = KERNEL.get(target if server == "kernel" else server)
        if make_kernel_device:
            device = stack.enter_context(make_kernel_device(files))
        else:
            if target == matrix.MIRROR:
                create_mirror(files, place, settings, "--assume_clean")
            if target == matrix.THIN:
                create_pool(files, place, settings)
            device = stack.enter_context(sluice(spec(target, files), server, place, settings,
                                                matrix.queues(target)))
    except (subprocess.SubprocessError, OSError, ValueError, processes.Failed) as error:
        return Unavailable(why(error))
    device.level()
    return device


def make_files(target, server, place):
    """Preallocated files full of random data, of this device alone: Sluice locks what it serves."""
    if target == "null":
        return []
    if target == matrix.MIRROR:
        return fill(server, 2, matrix.DEVICE_BYTES, place)
    if target == matrix.THIN:
        return [metadata_file(server, place), *fill(server, 1, matrix.DEVICE_BYTES, place)]
    count = matrix.LEGS if target == "stripe" else 1
    return fill(server, count, matrix.DEVICE_BYTES // count, place)


def fill(name, count, size, place):
    noise = os.urandom(FILL_BYTES)
    files = [place / f"{name}-{i}.img" for i in range(count)]
    for path in files:
        with open(path, "wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            for _ in range(0, size, FILL_BYTES):
                file.write(noise)
    return files


def spec(target, files):
    if target == "null":
        return f"null:{matrix.DEVICE_BYTES >> 20}M"
    if target in matrix.CONNECTIONS:
        return f"nbd({files[0].uri()})"
    if target == "loop":
        return str(files[0])
    if target == matrix.MIRROR:
        return f"mirror({','.join(map(str, files))})"
    if target == matrix.THIN:
        return volume(files, matrix.DEVICE_BYTES)
    return f"stripe({','.join(map(str, files))},chunk={matrix.CHUNK_BYTES >> 10}k)"


def create_mirror(legs, place, settings, *options):
    call(machine.sluice(settings), "mirror", "create", "--force", *options, *legs,
         env=environment(place))


def metadata_file(name, place):
    """Full of zeroes, as a new pool needs it."""
    path = place / f"{name}-meta.img"
    with open(path, "wb") as file:
        file.truncate(matrix.THIN_METADATA_BYTES)
    return path


def volume(files, size_bytes):
    return f"thin({files[0]},{files[1]},volume=1,size={size_bytes})"


def create_pool(files, place, settings):
    """With volume 1."""
    for words in (("create-pool", "--force", *files), ("create", files[0], 1)):
        call(machine.sluice(settings), "thin", *words, env=environment(place))


@contextlib.contextmanager
def sluice(what, mode, place, settings, queues=1):
    record = add(what, mode, place, settings, queues)
    try:
        if record["mode"] != mode:
            raise ValueError(f"asked for mode {mode}, got {record['mode']}")
        yield Device(f"ublkb{record['id']}", record["pid"])
    finally:
        remove(record["id"], place, settings)


def add(what, mode, place, settings, queues=1):
    return json.loads(call(machine.sluice(settings), "add", what, "--mode", mode, "-q", queues,
                           "-d", matrix.QUEUE_DEPTH, "--json", env=environment(place)))


def remove(number, place, settings):
    with contextlib.suppress(subprocess.SubprocessError):
        call(machine.sluice(settings), "del", "-n", str(number), env=environment(place))


def environment(place):
    return os.environ | {"SLUICE_STATE_DIR": str(place)}


@contextlib.contextmanager
def null_blk(_files):
    """Made through configfs: it works alike where null_blk is built in."""
    subprocess.run([machine.find_program("modprobe") or "true", "null_blk", "nr_devices=0"],
                   check=False, capture_output=True)
    if not NULLB.exists():
        call("mount", "-t", "configfs", "configfs", "/sys/kernel/config")
    before = set(os.listdir("/sys/block"))
    directory = NULLB / NAME
    directory.mkdir()
    try:
        for name, value in [("size", matrix.DEVICE_BYTES >> 20), ("blocksize", 512),
                            ("queue_mode", 2), ("irqmode", 0), ("submit_queues", 1),
                            ("hw_queue_depth", matrix.QUEUE_DEPTH), ("memory_backed", 0),
                            ("max_sectors", 1024),
                            ("power", 1)]:
            (directory / name).write_text(str(value))
        name, = set(os.listdir("/sys/block")) - before
        yield Device(name, note="completes in the submitter's context")
    finally:
        directory.rmdir()


@contextlib.contextmanager
def kernel_loop(files):
    path = call("losetup", "--find", "--show", "--direct-io=on", files[0]).strip()
    try:
        name = path.removeprefix("/dev/")
        direct = pathlib.Path(f"/sys/block/{name}/loop/dio").read_text().strip()
        yield Device(name, note=f"direct I/O {'on' if direct == '1' else 'REFUSED'}")
    finally:
        call("losetup", "--detach", path)


@contextlib.contextmanager
def dm_stripe(files):
    with contextlib.ExitStack() as stack:
        legs = [stack.enter_context(kernel_loop([path])) for path in files]
        for leg in legs:
            leg.level()
        sectors, chunk = matrix.DEVICE_BYTES >> 9, matrix.CHUNK_BYTES >> 9
        members = " ".join(f"{leg.path} 0" for leg in legs)
        with dm_device(f"0 {sectors} striped {len(legs)} {chunk} {members}") as device:
            device.note = f"over {len(legs)} loop devices, {legs[0].note}"
            yield device


@contextlib.contextmanager
def dm_device(table, dm_name=NAME):
    call("dmsetup", "create", dm_name, "--table", table)
    try:
        name = call("dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname", dm_name).strip()
        yield Device(name)
    finally:
        call("dmsetup", "remove", "--retry", dm_name)


@contextlib.contextmanager
def kernel_mirror(make, files):
    """What `make` makes of loop devices on the files."""
    with contextlib.ExitStack() as stack:
        legs = [stack.enter_context(kernel_loop([path])) for path in files]
        for leg in legs:
            leg.level()
        device = stack.enter_context(make(legs))
        device.note = f"over loop devices, {legs[0].note}; {device.note}"
        yield device


@contextlib.contextmanager
def md(legs, bitmap="none", options=("--assume-clean",)):
    """RAID 1; without --assume-clean it copies the first leg to the second."""
    name = next(f"md{number}" for number in range(100, 200)
                if not os.path.exists(f"/sys/block/md{number}"))
    mdadm("--create", f"/dev/{name}", "--run", "--level=1", f"--raid-devices={len(legs)}",
          f"--bitmap={bitmap}", *options, *(leg.path for leg in legs))
    try:
        yield Device(name, note=f"bitmap {bitmap}")
    finally:
        mdadm("--stop", f"/dev/{name}")
        mdadm("--zero-superblock", *(leg.path for leg in legs))


def mdadm(*arguments):
    # There may be no udev that would make the nodes.
    return call("mdadm", *arguments, env=os.environ | {"MDADM_NO_UDEV": "1"})


@contextlib.contextmanager
def dm_mirror(legs):
    """With its log in memory: its fastest."""
    sectors = matrix.DEVICE_BYTES >> 9
    members = " ".join(f"{leg.path} 0" for leg in legs)
    with dm_device(f"0 {sectors} mirror core 2 {MIRROR_REGION_BYTES >> 9} nosync {len(legs)} "
                   f"{members} 1 handle_errors") as device:
        device.note = "log in memory"
        yield device


@contextlib.contextmanager
def dm_thin(files, size_bytes=matrix.DEVICE_BYTES, new=True):
    """Volume 1 of a pool on loop devices with these files; without `new` the pool is there."""
    with contextlib.ExitStack() as stack:
        legs = [stack.enter_context(kernel_loop([path])) for path in files]
        for leg in legs:
            leg.level()
        sectors = size_of(legs[1].name)
        pool = stack.enter_context(dm_device(
            f"0 {sectors} thin-pool {legs[0].path} {legs[1].path} "
            f"{matrix.THIN_BLOCK_BYTES >> 9} 0", POOL))
        if new:
            call("dmsetup", "message", POOL, "0", "create_thin 1")
        with dm_device(f"0 {size_bytes >> 9} thin {pool.path} 1") as device:
            device.note = f"over loop devices, {legs[1].note}"
            yield device


@contextlib.contextmanager
def export(files, place):
    """An nbdkit of this device alone, on a socket file."""
    place.mkdir()
    with servers.serving(servers.Place(place, None), servers.KIT, KIT_SETTING,
                         files[0]) as server:
        yield server


@contextlib.contextmanager
def nbd_client(connections, exports):
    subprocess.run([machine.find_program("modprobe") or "true", "nbd"], check=False,
                   capture_output=True)
    name = next((name for name in sorted(os.listdir("/sys/block"))
                 if name.startswith("nbd") and not in_use(name)), None)
    if not name:
        raise ValueError("this kernel has no NBD client, or all its devices are in use")
    call("nbd-client", "-unix", exports[0].address, "-N", "", "-connections", connections, "-b",
         "512", f"/dev/{name}")
    try:
        wait_until(lambda: size_of(name) != 0)
        yield Device(name, note=f"{connections} connections")
    finally:
        call("nbd-client", "-d", f"/dev/{name}")
        wait_until(lambda: not in_use(name))


def in_use(name):
    return (pathlib.Path("/sys/block") / name / "pid").exists()


def size_of(name):
    return int((pathlib.Path("/sys/block") / name / "size").read_text())


def wait_until(condition):
    give_up = time.monotonic() + SETUP_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            raise OSError("the kernel's NBD client is neither connected nor free")
        time.sleep(processes.POLL_SECONDS)


KERNEL = {"null": null_blk, "loop": kernel_loop, "stripe": dm_stripe,
          "md": functools.partial(kernel_mirror, md),
          "md-bitmap": functools.partial(kernel_mirror, functools.partial(md, bitmap="internal")),
          "dm-mirror": functools.partial(kernel_mirror, dm_mirror),
          "dm-thin": dm_thin,
          **{target: functools.partial(nbd_client, count)
             for target, count in matrix.CONNECTIONS.items()}}


def call(program, *arguments, env=None):
    program = machine.find_program(str(program)) or str(program)
    result = subprocess.run([program, *map(str, arguments)], check=True, text=True, env=env,
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=SETUP_SECONDS)
    return result.stdout


def why(error):
    said = getattr(error, "stderr", None)
    return " ".join((said or str(error)).split())
