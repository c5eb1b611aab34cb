"""From the lines of raw.csv and once.csv to medians, spreads and ratios: results.json."""

import statistics

from ublk import aims, matrix

GIB = 1 << 30
NUMBERS = ("iops", "mib_per_s", "server_cpu_s_per_gib", "system_cpu_s_per_gib",
           "system_busy_share")


def summarize(results):
    cells = summarize_cells(results)
    once = summarize_once(results.once())
    return {"settings": results.settings, "cells": cells, "once": once,
            "aims": aims.judge(results.settings, cells, once)}


def summarize_cells(results):
    rows = {}
    for row in results.runs():
        name = f"{row['target']}/{row['block']}/{row['direction']}/{row['depth']}"
        rows.setdefault((name, row["server"]), []).append(row)
    found = []
    for cell in matrix.cells(results.settings):
        here = {server: summarize_runs(rows[cell.name, server])
                for server in matrix.servers(cell.target) if (cell.name, server) in rows}
        for server, numbers in here.items():
            found.append({"target": cell.target, "block": cell.block,
                          "direction": cell.direction, "depth": cell.depth, "server": server}
                         | numbers | ratios(server, here, cell.speed))
    return found


def summarize_runs(rows):
    """{name: {median, min, max}} of the runs that went well, and how many of each status."""
    numbers = {"status": {}}
    for row in rows:
        numbers["status"][row["status"]] = numbers["status"].get(row["status"], 0) + 1
    good = [extend(row) for row in rows if row["status"] == "ok"]
    for name in NUMBERS:
        values = [row[name] for row in good if row.get(name) is not None]
        numbers[name] = spread(values)
    return numbers


def extend(row):
    number = {name: float(row[name]) if row[name] else None
              for name in ("iops", "mib_per_s", "window_bytes", "server_cpu_s", "system_cpu_s",
                           "system_busy_share")}
    gib = (number["window_bytes"] or 0) / GIB
    for name in ("server_cpu_s", "system_cpu_s"):
        known = gib > 0 and number[name] is not None
        number[name + "_per_gib"] = number[name] / gib if known else None
    return number


def spread(values):
    if not values:
        return None
    return {"median": round(statistics.median(values), 4), "min": round(min(values), 4),
            "max": round(max(values), 4)}


def ratios(server, here, speed):
    """Of the median throughput to that of copy mode, and of the kernel's fastest device, in the
    same cell."""
    found = {}
    for name, others in (("to_copy", ("copy",)), ("to_kernel", matrix.KERNEL)):
        mine = here[server][speed]
        theirs = [here[other][speed]["median"] for other in others
                  if here.get(other, {}).get(speed)]
        found[name] = round(mine["median"] / max(theirs), 3) if mine and theirs else None
    return found


def summarize_once(rows):
    """{server: {quantity: {median, min, max, unit}}}."""
    found = {}
    for row in rows:
        quantities = found.setdefault(row["server"], {})
        quantities.setdefault((row["quantity"], row["unit"]), []).append(float(row["value"]))
    return {server: {name: spread(values) | {"unit": unit, "samples": len(values)}
                     for (name, unit), values in quantities.items()}
            for server, quantities in found.items()}
