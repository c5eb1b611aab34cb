"""What is measured once: how soon a device can be read, what an idle one costs."""

import json
import os
import pathlib
import statistics
import subprocess
import time

from ublk import load as counters

ADDS = 10
IDLE_DEVICES = 100
IDLE_SECONDS = 5


def measure(sluice, image, place):
    """[(quantity, value, unit)]"""
    environment = os.environ | {"SLUICE_STATE_DIR": str(place / "state")}

    def call(*arguments):
        return subprocess.run([sluice, *arguments], env=environment, text=True, check=True,
                              capture_output=True).stdout
    milliseconds = []
    for _ in range(ADDS):
        started = time.monotonic()
        device = json.loads(call("add", "--frontend", "loop", "--json", str(image)))
        with open(device["device"], "rb", buffering=0) as opened:
            opened.read(4096)
        milliseconds.append(1000 * (time.monotonic() - started))
        call("del", "-n", str(device["id"]))
    pids = [json.loads(call("add", "--frontend", "loop", "--json", "null:64M"))["pid"]
            for _ in range(IDLE_DEVICES)]
    time.sleep(1)
    before = sum(map(counters.process_ticks, pids))
    time.sleep(IDLE_SECONDS)
    ticks = sum(map(counters.process_ticks, pids)) - before
    resident = [resident_kib(pid) / 1024 for pid in pids]
    call("del", "-a")
    return [
        ("add to first read, median of 10", round(statistics.median(milliseconds), 1), "ms"),
        ("add to first read, slowest", round(max(milliseconds), 1), "ms"),
        ("resident memory of an idle device, median of 100",
         round(statistics.median(resident), 2), "MiB"),
        (f"processor time of 100 idle devices in {IDLE_SECONDS} s",
         round(1000 * ticks / counters.TICKS_PER_SECOND), "ms"),
    ]


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
