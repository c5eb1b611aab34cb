"""table.md, results.json and the plots, from the raw lines."""

import csv
import json
import shutil
import statistics
import subprocess
import sys

from host import load, servers

COLORS = {"passthrough": "#1b5e9e", "uring": "#6aaed6", "splice": "#e8a33d", "copy": "#a8382c",
          "qemu": "#6b4c9a", "kernel": "#8a8a8a"}
AIM_SPEED, AIM_CPU = 1.5, 0.5       # against qemu-storage-daemon


def write(directory):
    with open(directory / "raw.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {(row["cell"], row["server"]): [] for row in rows}
    for row in rows:
        found[row["cell"], row["server"]].append(row)
    results = [summary(cell, server, found.get((cell.name, server), []))
               for cell in load.cells() for server in servers.SERVERS[cell.kind]]
    once = json.loads((directory / "once.json").read_text())
    (directory / "results.json").write_text(
        json.dumps({"cells": results, "once": once}, indent=1) + "\n", encoding="utf-8")
    text = (directory / "machine.txt").read_text(encoding="utf-8")
    (directory / "table.md").write_text(
        "# FUSE files and loop devices\n\n" + aims(results) + tables(results) + once_table(once)
        + f"\n## The machine\n\n```\n{text}```\n", encoding="utf-8")
    for kind in servers.SERVERS:
        plot(kind, results, directory / f"{kind}.svg")


def summary(cell, server, rows):
    good = [row for row in rows if row["status"] == "ok"]
    result = {"cell": cell.name, "kind": cell.kind, "block": cell.block,
              "direction": cell.direction, "depth": cell.depth, "server": server,
              "failed": len(rows) - len(good), "note": rows[0]["note"] if rows else "not measured"}
    for name in ("iops", "mib_per_s", "server_cpu_s_per_gib", "all_cpu_s_per_gib"):
        values = [float(row[name]) for row in good if row[name]]
        result[name] = {"median": statistics.median(values), "min": min(values),
                        "max": max(values)} if values else None
    return result


def speed_of(result):
    return result["iops" if result["block"] == "4k" else "mib_per_s"]


def aims(results):
    """How the best data path of each row stands against qemu-storage-daemon."""
    lines = ["## Against qemu-storage-daemon", "",
             f"The aim: {AIM_SPEED} times its throughput in every row, and at 512K less than "
             f"{AIM_CPU} of its processor time per GiB. *Best* is the fastest data path in the "
             "row; *automatic* the one that is chosen without --mode.", "",
             "| row | best | x qemu | automatic x qemu | copy x qemu | CPU of copy / CPU of qemu |",
             "|---|---|---|---|---|---|"]
    for cell in load.cells():
        row = {result["server"]: result for result in results if result["cell"] == cell.name}
        peer = row["qemu"]
        if not speed_of(peer):
            continue
        ours = {server: speed_of(row[server])["median"] / speed_of(peer)["median"]
                for server in servers.PATHS if speed_of(row[server])}
        best = max(ours, key=ours.get)
        automatic = next((server for server in servers.PATHS if server in ours), best)
        cpu = ""
        if row["copy"]["server_cpu_s_per_gib"] and peer["server_cpu_s_per_gib"]:
            peer_cpu = peer["server_cpu_s_per_gib"]["median"]
            if peer_cpu:
                cpu = f"{row['copy']['server_cpu_s_per_gib']['median'] / peer_cpu:.2f}"
        lines.append(f"| {cell.name} | {best} | {ours[best]:.2f} | {ours[automatic]:.2f} | "
                     f"{ours.get('copy', 0):.2f} | {cpu} |")
    return "\n".join(lines) + "\n"


def tables(results):
    lines = []
    for cell in load.cells():
        unit = "IOPS" if cell.block == "4k" else "MiB/s"
        lines += ["", f"### {cell.name}", "", f"| server | {unit} | lowest | highest | server CPU, "
                  "s/GiB | all CPU, s/GiB |", "|---|---|---|---|---|---|"]
        for result in results:
            if result["cell"] != cell.name:
                continue
            title = servers.TITLES.get(result["server"], f"sluice {result['server']}")
            speed = speed_of(result)
            if not speed:
                lines.append(f"| {title} | - | | | {result['note'] or 'failed'} | |")
                continue
            cpu = [f"{result[name]['median']:.3f}" if result[name] else ""
                   for name in ("server_cpu_s_per_gib", "all_cpu_s_per_gib")]
            lines.append(f"| {title} | {speed['median']:,.0f} | {speed['min']:,.0f} | "
                         f"{speed['max']:,.0f} | {cpu[0]} | {cpu[1]} |")
    return "\n".join(lines) + "\n"


def once_table(once):
    lines = ["", "## Once", "", "| what | value |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} {unit} |" for name, value, unit in once]) + "\n"


def plot(kind, results, path):
    gnuplot = shutil.which("gnuplot")
    if not gnuplot:
        return
    lines = [f'set terminal svg size 1000,640 background "#ffffff" font "sans-serif,13"',
             f'set output "{path}"', "set style data histogram",
             "set style histogram errorbars gap 1.5 lw 1", "set style fill solid 1 noborder",
             "set errorbars 0.4 lw 1 lc rgb '#222222'", "set border 3 lc rgb '#555555'",
             "set xtics nomirror scale 0", "set ytics nomirror", "set yrange [0:*]",
             "set grid ytics lc rgb '#dddddd' lt 1 lw 1", "set key top left",
             'set datafile missing "?"', "set multiplot layout 2,2"]
    for block, factor, unit in (("4k", 1e-3, "thousand IOPS"), ("512k", 1, "MiB/s")):
        for depth in (1, 32):
            lines += panel(kind, block, depth, factor, results)
            lines.append(f'set title "{kind}, {block}, depth {depth}: {unit}"')
            shown = servers.SERVERS[kind]
            lines.append("plot " + ", ".join(
                f"$data using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}{':xtic(1)' if i == 0 else ''} "
                f"title '{server}' lc rgb '{COLORS[server]}'" for i, server in enumerate(shown)))
            lines.append("set key off")
    done = subprocess.run([gnuplot], input="\n".join([*lines, "unset multiplot", ""]), text=True,
                          check=False, capture_output=True)
    if done.returncode != 0:
        print(f"bench: gnuplot: {done.stderr.strip()}", file=sys.stderr)


def panel(kind, block, depth, factor, results):
    lines = ["$data << EOD"]
    for direction in ("read", "write"):
        values = [f'"{direction}"']
        for server in servers.SERVERS[kind]:
            found = next(speed_of(result) for result in results
                         if result["cell"] == f"{kind}/{block}/{direction}/{depth}"
                         and result["server"] == server)
            values += [f"{found[key] * factor:.5g}" if found else "?"
                       for key in ("median", "min", "max")]
        lines.append(" ".join(values))
    return [*lines, "EOD"]
