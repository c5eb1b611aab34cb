"""table.md, results.json and the plots of bench/run-lend, from the raw lines."""

import csv
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

from lend import session

COLORS = ("#8a8a8a", "#6b4c9a", "#e8a33d", "#d3703a", "#a8382c", "#1b5e9e", "#4d9a6b", "#222222",
          "#b59bd0", "#2aa6b8")
TITLES = {session.TABLE: "Memory of this process", session.UBLK_TABLE: "Pages of ublk requests"}
RUNS = 5        # fewer are too few
PARTS = {"ublk-loop": "ublk, loop target on tmpfs (in the guest)",
         "fuse-loop": "FUSE, loop target on tmpfs",
         session.DIRECT: "Within a program, loop target on tmpfs (the program's CPU included)"}
UNITS = (("mib_per_s", "MiB/s"), ("server_cpu_s_per_gib", "server CPU, s/GiB"),
         ("copied_bytes_per_io", "copied by the server, bytes per request"))


def write(directory):
    tables = {name: json.loads((directory / name).read_text(encoding="utf-8"))
              for name in (session.TABLE, session.UBLK_TABLE) if (directory / name).exists()}
    with open(directory / "raw.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = summarize(rows)
    (directory / "results.json").write_text(
        json.dumps({"tables": list(tables.values()), "cells": cells}, indent=1) + "\n",
        encoding="utf-8")
    machine = (directory / "machine.txt").read_text(encoding="utf-8")
    runs = min(table["runs"] for table in tables.values())
    (directory / "table.md").write_text(
        "# Lending, side by side\n\nMade by `bench/run-lend`; how to read it: `bench/README.md`.\n"
        + ("\n**A short run: no conclusion follows from its rates.**\n"
           if runs < RUNS else "") +
        "".join(lending_table(name, table) for name, table in tables.items())
        + claim_tables(cells)
        + f"\n## The machine\n\n```\n{machine}```\n", encoding="utf-8")
    for name, table in tables.items():
        plot((directory / name).with_suffix(".svg"), f"{TITLES[name]}: requests per second",
             {cell["title"]: [] for cell in table["cells"]},
             [(cell["title"], cell["depth"], cell["rates"]) for cell in table["cells"]])


def summarize(rows):
    """A list of {part, column, block, direction, depth, and of each figure its median and runs}."""
    groups = {}
    for row in rows:
        key = tuple(row[name] for name in ("part", "column", "block", "direction", "depth"))
        groups.setdefault(key, []).append(row)
    found = []
    for (part, column, block, direction, depth), runs in groups.items():
        cell = {"part": part, "column": column, "block": block, "direction": direction,
                "depth": int(depth), "note": runs[0]["note"]}
        for name in ("iops", *(name for name, _ in UNITS)):
            values = [float(row[name]) for row in runs if row["status"] == "ok" and row[name]]
            cell[name] = {"median": statistics.median(values), "runs": values} if values else None
        found.append(cell)
    return found


def lending_table(name, table):
    plotted = pathlib.Path(name).with_suffix(".svg")
    return (f"\n## {TITLES[name]}\n\n![requests per second]({plotted})\n\n"
            f"```\n{table['text']}```\n")


def claim_tables(cells):
    """64K and 512K: zero copy against copy."""
    lines = []
    for part, title in PARTS.items():
        mine = [cell for cell in cells if cell["part"] == part]
        if not mine:
            continue
        lines += ["", f"## {title}", "",
                  "| | | " + " | ".join(unit for _, unit in UNITS) + " |",
                  "|---|---|" + "---:|" * len(UNITS)]
        for cell in sorted(mine, key=lambda cell: (-int(cell["block"][:-1]), cell["direction"])):
            what = f"{cell['block']} {cell['direction']}, {cell['depth']} at a time"
            values = [figure(cell, name) for name, _ in UNITS]
            note = f" ({cell['note']})" if cell["note"] else ""
            lines.append(f"| {what} | {cell['column']}{note} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def figure(cell, name):
    found = cell[name] if cell else None
    if not found:
        return "-"
    value = found["median"]
    return f"{value:.3f}" if name == "server_cpu_s_per_gib" else f"{value:.0f}"


def plot(path, title, columns, points):
    """A line for each column over the depth: medians, lowest and highest run."""
    gnuplot = shutil.which("gnuplot")
    if not gnuplot:
        return
    for column, depth, runs in points:
        columns[column].append(
            f"{depth} {statistics.median(runs)} {min(runs)} {max(runs)}")
    lines = ['set terminal svg size 900,520 background "#ffffff" font "sans-serif,13"',
             f'set output "{path}"', f'set title "{title}"', "set logscale x 2",
             "set yrange [0:*]", "set xlabel 'at a time'", "set grid lc rgb '#dddddd'",
             "set key outside right", "set border 3"]
    for i, (name, values) in enumerate(columns.items()):
        lines += [f"$data{i} << EOD", *values, "EOD"]
    lines.append("plot " + ", ".join(
        f"$data{i} with yerrorlines lw 1.5 pt 7 ps 0.4 lc rgb '{COLORS[i % len(COLORS)]}' "
        f"title '{name}' noenhanced" for i, name in enumerate(columns)))
    done = subprocess.run([gnuplot], input="\n".join([*lines, ""]), text=True, check=False,
                          capture_output=True)
    if done.returncode != 0:
        print(f"bench: gnuplot: {done.stderr.strip()}", file=sys.stderr)
