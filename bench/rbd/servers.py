"""Those that use librbd: NBD servers, and programs with the image in their own process. And what
they run on: the stub, or a cluster of one monitor and one OSD.
"""

import contextlib
import json
import os
import resource
import subprocess

from nbd import load, processes
from nbd import servers as plain
from rbd import cells
from ublk import machine

OURS, QEMU, STORAGE, FIO = "sluice", "qemu-nbd", "qemu-storage-daemon", "fio"
SERVERS = (OURS, QEMU, STORAGE)
INSIDE = (OURS, FIO)
IMAGE, IMAGE_MIB = "rbd/bench", 256
TOOLS = machine.CHECKOUT / "build/bench-rbd"
MODULES = TOOLS / "usr/lib/x86_64-linux-gnu/qemu"
CLUSTER_SCRIPT = machine.CHECKOUT / "tests/support/ceph.sh"
CLUSTER_PORT = 17089
STARTS = {}


def fetch_tools():
    """QEMU's driver is a package of its own, whose files are unpacked beside the build."""
    if not (MODULES / "block-rbd.so").exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", "qemu-block-extra"], cwd=TOOLS, check=True)
        package = next(TOOLS.glob("qemu-block-extra_*.deb"))
        subprocess.run(["dpkg", "-x", package, TOOLS], check=True)
        package.unlink()
    source = machine.CHECKOUT / "bench/rbd/stub.c"
    for library in ("librados.so.2", "librbd.so.1"):
        subprocess.run(["cc", "-O2", "-fPIC", "-shared", source, "-o", TOOLS / library], check=True)


@contextlib.contextmanager
def environment(**variables):
    """Of all programs that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in variables.items()},
                      QEMU_MODULE_DIR=str(MODULES))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def stub(path):
    conf = path / "stub.conf"
    conf.touch()
    with environment(LD_LIBRARY_PATH=TOOLS, CEPH_CONF=conf):
        yield


@contextlib.contextmanager
def cluster(path):
    """With an image full of random data, and librbd's cache off for all, as Sluice has it."""
    place = path / "ceph"
    with environment(CEPH_CONF=place / "ceph.conf"):
        try:
            processes.call([CLUSTER_SCRIPT, "start", place, CLUSTER_PORT], seconds=120)
            with open(place / "ceph.conf", "a", encoding="utf-8") as conf:
                conf.write("rbd_cache = false\n")       # of [client], which is last
            content = path / "content"
            with open(content, "wb") as file:
                for _ in range(IMAGE_MIB):
                    file.write(os.urandom(1 << 20))
            processes.call(["rbd", "import", "--no-progress", content, IMAGE], seconds=120)
            content.unlink()
            yield
        finally:
            processes.call([CLUSTER_SCRIPT, "stop", place], seconds=60)


def spec():
    return f"rbd({IMAGE}, conf={os.environ['CEPH_CONF']})"


@contextlib.contextmanager
def serving(place, name):
    server = start(place, name)
    try:
        yield server
    finally:
        server.stop()


def start(place, name):
    address = place.new("sock")
    if name == OURS:
        return plain.start_sluice(place, "queues=2", address, spec(), None)
    pool, image = IMAGE.split("/")
    driver = f"driver=rbd,pool={pool},image={image},conf={os.environ['CEPH_CONF']}"
    if name == QEMU:
        command = ["qemu-nbd", "--image-opts", "--persistent", f"--shared={plain.CLIENTS}",
                   "--cache=none", f"--socket={address}", f"{driver},cache.direct=on"]
    else:
        command = ["qemu-storage-daemon", "--blockdev", f"{driver},node-name=disk,cache.direct=on",
                   "--nbd-server", f"addr.type=unix,addr.path={address},max-connections=0",
                   "--export", "type=nbd,id=export,node-name=disk,name=,writable=on"]
    log = place.new("log")
    process = processes.start(command, log)
    processes.wait_until(lambda: processes.accepts(address), process, log)
    return plain.Server(name, "", address, process.pid, lambda: processes.end(process))


# --- In one process: the load and the library

def run_inside(place, name, cell, seconds):
    if name == OURS:
        found = load.generate(place.sluice, spec(), cell, seconds)
        cost = found["load_cpu_us_per_request"]
    else:
        found, cost = run_fio(cell, seconds)
    mib_per_request = found["mib_per_s"] / found["iops"]
    return found | {"cpu_us_per_request": cost,
                    "cpu_s_per_gib": round(cost * 1024 / mib_per_request / 1e6, 4)}


def run_fio(cell, seconds):
    """fio's own figures leave out the threads of the library: so the time of the whole process,
    less that of a start.
    """
    wanted = ["--time_based", f"--runtime={round(seconds * 1000)}ms"]
    said, spent_s = timed(fio_command(cell) + wanted, seconds)
    done = json.loads(said[said.index("{"):])["jobs"][0]["write" if "write" in cell.pattern
                                                       else "read"]
    times = done["clat_ns"]["percentile"]
    cost_us = 1e6 * max(0, spent_s - start_of_fio()) / done["total_ios"]
    return {"status": "ok", "iops": round(done["iops"], 1),
            "mib_per_s": round(done["bw_bytes"] / (1 << 20), 2),
            "p50_us": round(times["50.000000"] / 1000, 1),
            "p99_us": round(times["99.000000"] / 1000, 1)}, round(cost_us, 3)


def fio_command(cell):
    pool, image = IMAGE.split("/")
    return ["fio", "--output-format=json", "--eta=never", "--name=bench", "--ioengine=rbd",
            f"--pool={pool}", f"--rbdname={image}", "--clientname=admin", f"--rw={cell.pattern}",
            f"--bs={cell.block}", f"--iodepth={cell.depth}", "--norandommap",
            "--scramble_buffers=0", "--disk_util=0"]


def start_of_fio():
    """Seconds of processor time of a run of one request; each library has its own."""
    library = os.environ.get("LD_LIBRARY_PATH", "")
    if library not in STARTS:
        STARTS[library] = timed([*fio_command(cells.STUB[0]), "--number_ios=1"], 0)[1]
    return STARTS[library]


def timed(command, seconds):
    def spent():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    before = spent()
    said = processes.call(command, seconds=seconds + 4 * processes.PATIENCE_SECONDS)
    return said, spent() - before
