"""What is measured once: an idle server's memory and processor time, the time to a first read."""

import mmap
import os
import pathlib
import re
import time

from ublk import devices, load, matrix

READ_BYTES = 4096


def measure(once, place, settings):
    """Lines of once.csv."""
    mode = once.server
    what = devices.spec("null", [])
    rows = [line(mode, "first_read", i + 1, seconds * 1000, "ms")
            for i, seconds in enumerate(first_reads(what, mode, place, settings))]
    with devices.sluice(what, mode, place, settings) as device:
        read_once(device.path)
        time.sleep(0.5)
        ticks, wakeups = load.process_ticks(device.pid), switches(device.pid)
        time.sleep(matrix.IDLE_SECONDS)
        ticks = load.process_ticks(device.pid) - ticks
        wakeups = switches(device.pid) - wakeups
        rows.append(line(mode, "resident", 1, kib_of(device.pid, "status", "VmRSS"), "KiB"))
        rows.append(line(mode, "proportional", 1, kib_of(device.pid, "smaps_rollup", "Pss"), "KiB"))
        rows.append(line(mode, "idle_cpu", 1, ticks, "ticks"))
        rows.append(line(mode, matrix.LAST_QUANTITY[once.what], 1, wakeups, "switches"))
    return rows


def first_reads(what, mode, place, settings):
    """From starting `sluice add` to the first bytes, in seconds."""
    for _ in range(matrix.FIRST_READS):
        began = time.monotonic()
        record = devices.add(what, mode, place, settings)
        read_once(f"/dev/ublkb{record['id']}")
        yield time.monotonic() - began
        devices.remove(record["id"], place, settings)


def read_once(path):
    """A direct read; until it succeeds, as udev may not have made the node yet."""
    buffer = mmap.mmap(-1, READ_BYTES)      # aligned, as direct I/O wants it
    give_up = time.monotonic() + devices.SETUP_SECONDS
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
            try:
                if os.preadv(descriptor, [buffer], 0) == READ_BYTES:
                    return
            finally:
                os.close(descriptor)
        except OSError:
            if time.monotonic() > give_up:
                raise
        time.sleep(0.001)


def kib_of(pid, file, name):
    text = pathlib.Path(f"/proc/{pid}/{file}").read_text()
    return int(re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)[1])


def switches(pid):
    """How often its threads have gone to sleep."""
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", path.read_text(),
                             re.MULTILINE)[1])
               for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status"))


def line(server, quantity, sample, value, unit):
    return {"server": server, "quantity": quantity, "sample": sample,
            "value": round(value, 3), "unit": unit}
