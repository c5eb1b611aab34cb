"""table.md, results.json and the plots, from the raw lines."""

import json
import statistics

from nbd import report as common
from nbd.aims import NO, UNKNOWN, YES, compare, judged
from qcow2 import cells, images, servers

SMALL, LARGE = 2.0, 1.3     # times qemu-nbd: 4K at depth 128, 512K
RAW = 0.9                   # of a raw file: random reads of a preallocated image
OPEN_MS = 20
PARTS = tuple((f"Image over NBD: {kind}", [cell for cell in cells.SERVED if cell.part == kind],
               "server") for kind in images.KINDS) + (
    ("In one process, without a server", cells.INSIDE, "stack"),
    ("The first and the twentieth backing level, in one process", cells.LEVELS, "stack"))


def write(directory):
    results = common.summarized(directory)
    once = json.loads((directory / "once.json").read_text(encoding="utf-8"))
    common.write_table(directory, "qcow2", "run-qcow2",
                       aims(results, once) + common.parts(PARTS, results) + single(once))
    for kind in images.KINDS:
        common.plot(directory / f"{kind}.svg",
                    [cell for cell in cells.SERVED if cell.part == kind and cell.depth > 1],
                    results)


def aims(results, once):
    rows = []
    for cell in cells.SERVED:
        if cell.depth > 1:
            factor = SMALL if cell.block == "4k" else LARGE
            found, verdict = judged(
                compare(results, cell, cell.speed, servers.OURS, servers.QEMU), factor)
            rows.append((f"{cell.part}, {cell.title}: at least {factor} x qemu-nbd", found,
                         verdict))
    for cell in cells.SERVED + cells.INSIDE:
        if cell.part in ("preallocated", "inside") and cell.pattern == "randread":
            found, verdict = judged(
                compare(results, cell, cell.speed, servers.OURS, servers.OURS_RAW), RAW)
            rows.append((f"{cell.part}, {cell.title}: at least {RAW} x a raw file", found, verdict))
    if once["open_ms"]:
        took = statistics.median(once["open_ms"]["10 TiB"])
        rows.append((f"an image of 10 TiB is open in less than {OPEN_MS} ms, with the start of the "
                     "program", f"{took:.1f} ms", YES if took < OPEN_MS else NO))
    return "| aim | found | verdict |\n|---|---|---|\n" + "".join(
        f"| {aim} | {found} | {verdict} |\n" for aim, found, verdict in rows if verdict != UNKNOWN)


def single(once):
    if not once["open_ms"]:
        return ""
    lines = ["", "## Once", "", f"`sluice map` of an empty image, {once['openings']} times, ms:",
             "", "| image | median | lowest | highest |", "|---|---:|---:|---:|"]
    for name, times in once["open_ms"].items():
        lines.append(f"| {name} | {statistics.median(times):.1f} | {times[0]:.1f} | "
                     f"{times[-1]:.1f} |")
    lines += ["", f"Resident memory of a server for each TiB that is mapped, all its tables read: "
              f"{once['mib_per_mapped_tib']} MiB."]
    return "\n".join(lines) + "\n"
