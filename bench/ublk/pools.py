"""What is measured of thin pools beside the speed of mapped blocks: first writes, writes after a
snapshot, and what a pool of a million mappings takes. Ours, dm-thin, and a qcow2 image of ours with
internal snapshots, whose clusters are as large as the blocks.
"""

import contextlib
import json
import pathlib
import time

from nbd import processes
from ublk import devices, footprint, load, machine, matrix
from ublk.mirrors import ctl, line

OURS = "auto"
JOB = "once"
SMALL = 4 << 10
WHOLE_REQUEST = 512 << 10
DEPTH = 64
OPENINGS = 5
MAPPINGS_METADATA_BYTES = 128 << 20
BUFFERED = pathlib.Path("/sys/module/dm_bufio/parameters/current_allocated_bytes")


def provision(made):
    """Gives each device all its blocks, in order."""
    for device in made.values():
        write_all(device, WHOLE_REQUEST, matrix.DEVICE_BYTES)


def measure_first_writes(once, place, settings):
    """Lines of once.csv: writes to a new volume, until they are durable."""
    rows = []
    for name, block in (("first_4k", SMALL), ("first_64k", matrix.THIN_BLOCK_BYTES),
                        ("first_512k", WHOLE_REQUEST)):
        with new_volume(once.server, place, settings) as device:
            rows.append(speed_line(once, name, device, block))
    return rows


def measure_after_snapshot(once, place, settings):
    """Of a volume that has all its blocks, right after a snapshot of it."""
    rows = []
    with new_volume(once.server, place, settings) as device:
        write_all(device, WHOLE_REQUEST, matrix.THIN_BYTES)
        for number, (name, block) in enumerate((("after_4k", SMALL),
                                                ("after_512k", WHOLE_REQUEST))):
            take_snapshot(once.server, device, number + 2, place, settings)
            rows.append(speed_line(once, name, device, block))
    return rows


def speed_line(once, name, device, block):
    """A write of 4K goes to each block."""
    stride = max(block, matrix.THIN_BLOCK_BYTES)
    seconds = write_all(device, block, matrix.THIN_BYTES, stride)
    count = matrix.THIN_BYTES // stride
    if block == SMALL:
        return line(once, name, count / seconds, "IOPS")
    return line(once, name, count * block / (1 << 20) / seconds, "MiB/s")


@contextlib.contextmanager
def new_volume(server, place, settings):
    """Its data files are sparse, and have room for two copies of it."""
    if server == "qcow2":
        image = place / "image.qcow2"
        devices.call(machine.sluice(settings), "create", "-f", "qcow2", "--force", "--size",
                     matrix.THIN_BYTES, image)
        with devices.sluice(f"qcow2({image})", OURS, place, settings) as device:
            yield leveled(device)
        image.unlink()
        return
    files = [devices.metadata_file("once", place), sparse(place / "data.img",
                                                          3 * matrix.THIN_BYTES)]
    if server == OURS:
        devices.create_pool(files, place, settings)
        made = devices.sluice(devices.volume(files, matrix.THIN_BYTES), OURS, place, settings)
    else:
        made = devices.dm_thin(files, matrix.THIN_BYTES)
    with made as device:
        yield leveled(device)
    for file in files:
        file.unlink()


def leveled(device):
    device.level()
    return device


def sparse(path, size_bytes):
    with open(path, "wb") as file:
        file.truncate(size_bytes)
    return path


def take_snapshot(server, device, number, place, settings):
    if server == "qcow2":
        ctl(device, place, settings, "/", "snapshot-create", f"s{number}")
    elif server == OURS:
        ctl(device, place, settings, "/", "snapshot", str(number))
    else:
        devices.call("dmsetup", "suspend", devices.NAME)
        devices.call("dmsetup", "message", devices.POOL, "0", f"create_snap {number} 1")
        devices.call("dmsetup", "resume", devices.NAME)


def write_all(device, block, size_bytes, stride=None):
    """In order, and flushed; returns the seconds that it took."""
    return transfer(device, "write", block, size_bytes, stride or block, "--end_fsync=1")


def transfer(device, direction, block, size_bytes, stride, *options):
    """A request at each multiple of `stride`; returns the seconds that they took."""
    skip = f":{stride - block}" if stride > block else ""
    said = processes.call(
        ["fio", "--output-format=json", "--eta=never", f"--name={JOB}", "--ioengine=io_uring",
         "--direct=1", f"--filename={device.path}", f"--rw={direction}{skip}", f"--bs={block}",
         f"--iodepth={DEPTH}", f"--size={size_bytes}", f"--io_size={size_bytes // stride * block}",
         "--gtod_reduce=1", "--scramble_buffers=0", "--disk_util=0", *options],
        seconds=load.PATIENCE_SECONDS + 60)
    job = load.jobs_of(said).get(JOB)
    if job is None or job["error"] != 0:
        raise processes.Failed(f"fio on {device.path}: {' '.join(said.split())[:200]}")
    count = job[direction]["total_ios"]
    if count != size_bytes // stride:
        raise processes.Failed(f"fio has made {count} requests, not {size_bytes // stride}")
    return max(job["job_runtime"], 1) / 1000


def measure_mappings(once, place, settings):
    """How soon a restored pool can be read, and the memory for its mappings."""
    files = [sparse(place / "meta.img", MAPPINGS_METADATA_BYTES),
             sparse(place / "data.img", matrix.MAPPINGS * matrix.THIN_BLOCK_BYTES)]
    text = place / "pool.xml"
    text.write_text(
        f'<superblock uuid="" time="0" transaction="0" version="2" '
        f'data_block_size="{matrix.THIN_BLOCK_BYTES >> 9}" nr_data_blocks="{matrix.MAPPINGS}">\n'
        f'  <device dev_id="1" mapped_blocks="{matrix.MAPPINGS}" transaction="0" '
        'creation_time="0" snap_time="0">\n'
        f'    <range_mapping origin_begin="0" data_begin="0" length="{matrix.MAPPINGS}" '
        'time="0"/>\n  </device>\n</superblock>\n', encoding="utf-8")
    tool = [machine.sluice(settings), "thin"]
    devices.call(*tool, "restore", "-i", text, files[0])
    size_bytes = matrix.MAPPINGS * matrix.THIN_BLOCK_BYTES
    rows = [line(once, "open", seconds_to_open(once.server, files, place, settings) * 1000, "ms")
            | {"sample": i + 1} for i in range(OPENINGS)]
    metadata = json.loads(devices.call(*tool, "info", "--json", files[0]))["metadata"]
    with volume_of(once.server, files, place, settings) as device:
        footprint.read_once(device.path)
        before = memory_kib(device)
        transfer(device, "read", SMALL, size_bytes, matrix.THIN_BLOCK_BYTES)
        taken = memory_kib(device) - before
    return [*rows, line(once, "metadata", metadata["used"] * metadata["block-bytes"] / 1024,
                              "KiB"),
            line(once, matrix.LAST_QUANTITY[once.what], taken, "KiB")]


def seconds_to_open(server, files, place, settings):
    began = time.monotonic()
    with volume_of(server, files, place, settings) as device:
        footprint.read_once(device.path)
        return time.monotonic() - began


def volume_of(server, files, place, settings):
    size_bytes = matrix.MAPPINGS * matrix.THIN_BLOCK_BYTES
    if server == OURS:
        return devices.sluice(devices.volume(files, size_bytes), OURS, place, settings)
    return devices.dm_thin(files, size_bytes, new=False)


def memory_kib(device):
    """Resident of our server; buffers of dm-thin's metadata."""
    if device.pid is not None:
        return footprint.kib_of(device.pid, "status", "VmRSS")
    return int(BUFFERED.read_text()) / 1024
