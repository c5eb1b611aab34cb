"""Measures what this machine has of it: ublk devices where there is ublk (a guest), FUSE files
where not; and the tables of `sluice bench lend`. One device is there at a time, and each round
begins with another one.
"""

import contextlib
import csv
import json
import os
import pathlib
import subprocess
import tempfile

from host import load, servers
from ublk import devices, machine

FIELDS = ("part", "round", "column", "block", "direction", "depth", "status", "iops", "mib_per_s",
          "server_cpu_s_per_gib", "copied_bytes_per_io", "note")
TABLE = "lend.json"
UBLK_TABLE = "lend-ublk.json"
CLAIM_DEPTH = 16
IMAGE_BYTES = 128 << 20
CLAIM_MODES = ("auto", "copy")
CLAIM_PATHS = servers.PATHS
DIRECT = "direct-loop"


def run_table(settings, path, *options):
    """What `sluice bench lend` has to say, as `path`."""
    with open(path, "w", encoding="utf-8") as file:
        subprocess.run([settings["sluice"], "bench", "lend", "--json", "--runs",
                        str(settings["runs"]), "--seconds", str(settings["seconds"]), *options],
                       check=True, stdout=file)


def claim_cells(kind):
    return [load.Cell(kind, block, direction, CLAIM_DEPTH) for block in ("64k", "512k")
            for direction in ("read", "write")]


def run(sluice, settings, path):
    """Appends to raw.csv at `path`, as soon as it is known."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        raw = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
        raw.writeheader()
        for number in range(1, settings["runs"] + 1):
            for part, column, cells, start in plan(number):
                print(f"bench: round {number} of {settings['runs']}: {part}, {column}", flush=True)
                for row in measure(column, cells, start, sluice, settings):
                    raw.writerow({"part": part, "round": number, "column": column} | row)
                file.flush()


def run_direct(sluice, settings, path):
    """The same in a process of its own, which is front end and program at once: also in raw.csv."""
    with devices.tmpfs() as place:
        found = subprocess.run([sluice, "bench", "lend", "--json", "--file", make_image(place),
                                "--runs", str(settings["runs"]),
                                "--seconds", str(settings["seconds"])],
                               check=True, text=True, stdout=subprocess.PIPE).stdout
    with open(path, "a", newline="", encoding="utf-8") as file:
        raw = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
        for cell in json.loads(found):
            shared = {"part": DIRECT, "column": cell["column"], "block": f"{cell['bytes'] >> 10}k",
                      "direction": cell["direction"], "depth": CLAIM_DEPTH, "status": "ok",
                      "copied_bytes_per_io": cell["copied_bytes_per_io"]}
            for number, (rate, cpu) in enumerate(zip(cell["mib_per_s"], cell["cpu_s_per_gib"]), 1):
                raw.writerow(shared | {"round": number, "mib_per_s": round(rate, 1),
                                       "server_cpu_s_per_gib": round(cpu, 4)})


def plan(number):
    """[(part, column, cells, how to start its device)]"""
    if machine.has_ublk():
        return [("ublk-loop", mode, claim_cells("loop"), start_ublk)
                for mode in turned(CLAIM_MODES, number)]
    return [("fuse-loop", mode, claim_cells("file"), start_fuse)
            for mode in turned(CLAIM_PATHS, number)]


def turned(names, number):
    names = list(names)
    by = (number - 1) % len(names)
    return names[by:] + names[:by]


def measure(column, cells, start, sluice, settings):
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(devices.tmpfs())
        try:
            served = stack.enter_context(start(column, cells[0].kind, place, sluice, settings))
        except servers.Missing as missing:
            return [named(cell) | {"status": "missing", "note": str(missing)} for cell in cells]
        return [named(cell) | measure_cell(cell, served, place, sluice, settings)
                for cell in cells]


def named(cell):
    return {"block": cell.block, "direction": cell.direction, "depth": cell.depth}


def measure_cell(cell, served, place, sluice, settings):
    before = figures(sluice, place)
    found = load.run(cell, served, settings["seconds"])
    after = figures(sluice, place)
    requests = after["requests"] - before["requests"]
    if requests:
        found["copied_bytes_per_io"] = round(
            (after["copied_bytes"] - before["copied_bytes"]) / requests, 1)
    return {name: found[name] for name in FIELDS if name in found}


def figures(sluice, place):
    """What the one server there has done: it counts itself, which takes no clock."""
    text = subprocess.run([sluice, "stat", "--json"], env=environment(place), check=True,
                          text=True, capture_output=True).stdout
    queues = [queue for device in json.loads(text) for queue in device["queues"]]
    return {"requests": sum(sum(queue["requests"].values()) for queue in queues),
            "copied_bytes": sum(queue["copied_bytes"] for queue in queues)}


@contextlib.contextmanager
def start_ublk(mode, _kind, place, sluice, settings):
    image = str(make_image(place))
    with devices.sluice(image, mode, place / "state", settings | {"sluice": sluice}) as device:
        device.level()
        yield servers.Served(device.path, device.pid, None)


@contextlib.contextmanager
def start_fuse(mode, kind, place, sluice, _settings):
    served = servers.start(kind, mode, make_image(place), place, sluice)
    try:
        yield served
    finally:
        served.stop()


def make_image(place):
    image = place / "image"
    with open(image, "wb") as file:
        for _ in range(IMAGE_BYTES >> 20):
            file.write(os.urandom(1 << 20))
    return image


def environment(place):
    return os.environ | {"SLUICE_STATE_DIR": str(place / "state")}


def in_guest(output, settings):
    """Runs the session in a guest kernel; its raw lines, or None if it fell over."""
    top = machine.CHECKOUT
    with tempfile.TemporaryDirectory(prefix="sluice-lend-", dir=output) as shared:
        limit = 300 + settings["runs"] * 50 * (settings["seconds"] + 2)
        (pathlib.Path(shared) / "settings.json").write_text(json.dumps(settings))
        status = subprocess.call(
            [top / "tools/vm", "uml", "--mem", "3G", "--timeout", str(round(limit)),
             "--retry-wedged", "1", "--share", output, "--share", top, "--",
             "python3", top / "bench/run-lend", "--session", shared])
        if status != 0:
            return None
        (pathlib.Path(shared) / UBLK_TABLE).rename(output / UBLK_TABLE)
        with open(pathlib.Path(shared) / "raw.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
