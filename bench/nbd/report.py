"""table.md, results.json and the plots, from the raw lines."""

import csv
import json
import shutil
import statistics
import subprocess
import sys

from nbd import aims, cells

FIGURES = ("iops", "mib_per_s", "p50_us", "p99_us", "longest_ms", "cpu_us_per_request",
           "cpu_s_per_gib", "load_cpu_us_per_request", "idle_rss_mib", "rss_mib")
PARTS = (
    ("The server, under `sluice bench stack`", cells.SERVER, "server"),
    ("The server, under fio's nbd engine", cells.FIO, "server"),
    ("The limit of the generator: servers without data, and no server at all", cells.LIMIT,
     "server"),
    ("500 connections", cells.CROWD, "server"),
    ("TLS with a shared key", cells.TLS, "server"),
    ("The client as a file, on nbdkit", cells.CLIENT, "client"),
    ("The server is killed and started again at once", cells.GAP, "client"),
)
PLOTTED = {
    "server": [cell for cell in cells.SERVER if cell.depth > 1],
    "client": cells.CLIENT,
}
COLORS = ("#1b5e9e", "#e8a33d", "#6b4c9a")


def write(directory):
    results = summarized(directory)
    write_table(directory, "NBD, both ways", "run-nbd",
                aims.lines(results) + parts(PARTS, results))
    for name, plotted in PLOTTED.items():
        plot(directory / f"{name}.svg", plotted, results)


def summarized(directory):
    """What summarize() makes of the raw lines, which is also in results.json from then on."""
    with open(directory / "raw.csv", newline="", encoding="utf-8") as file:
        results = summarize(list(csv.DictReader(file)))
    (directory / "results.json").write_text(json.dumps(
        [{"cell": cell, "server": server} | found for (cell, server), found in results.items()],
        indent=1) + "\n", encoding="utf-8")
    return results


def write_table(directory, title, program, text):
    """table.md: `text` begins with the aims."""
    machine = (directory / "machine.txt").read_text(encoding="utf-8")
    (directory / "table.md").write_text(
        f"# {title}\n\nMade by `bench/{program}`; how to read it: `bench/README.md`.\n\n"
        f"## Aims\n\n{text}\n## The machine\n\n```\n{machine}```\n", encoding="utf-8")


def parts(titled, results):
    return "".join(part(title, of_part, who, results) for title, of_part, who in titled)


def summarize(rows):
    """{(cell, server): {figure: {median, min, max}, and the settings, failures and a note}}"""
    groups = {}
    for row in rows:
        groups.setdefault((row["cell"], row["server"]), []).append(row)
    results = {}
    for key, runs in groups.items():
        good = [run for run in runs if run["status"] == "ok"]
        notes = [run["note"] for run in runs if run["note"]]
        found = {"setting": ", ".join(sorted({run["setting"] for run in runs if run["setting"]})),
                 "failed": len(runs) - len(good), "note": notes[0] if notes else ""}
        for name in FIGURES:
            values = [float(run[name]) for run in good if run.get(name)]
            found[name] = {"median": statistics.median(values), "min": min(values),
                           "max": max(values)} if values else None
        results[key] = found
    return results


def part(title, of_part, who, results):
    measured = [cell for cell in of_part if any(key[0] == cell.name for key in results)]
    if not measured:
        return ""
    text = f"\n## {title}\n"
    for cell in measured:
        text += table(cell, who, {server: found for (name, server), found in results.items()
                                  if name == cell.name})
    return text


def table(cell, who, found):
    columns = [(cell.unit, cell.speed, 0), ("p50, us", "p50_us", 0), ("p99, us", "p99_us", 0)]
    if cell.part not in ("crowd", "gap"):       # there connecting counts for much of it
        columns.append((f"CPU of the {who}, {cell.cost_unit}", cell.cost,
                        2 if "us" in cell.cost else 3))
    if cell.part in ("server", "limit"):
        columns.append(("CPU of the load, us/request", "load_cpu_us_per_request", 2))
    if cell.part == "crowd":
        columns += [("memory idle, MiB", "idle_rss_mib", 1), ("with clients, MiB", "rss_mib", 1)]
    if cell.part == "gap":
        columns.insert(0, ("longest request, ms", "longest_ms", 0))
    first = columns[0]
    heads = [first[0], "lowest", "highest", *(column[0] for column in columns[1:])]
    lines = ["", f"### {cell.name}", "", f"| {who} | " + " | ".join(heads) + " |",
             "|---|" + "---:|" * len(heads)]
    for server in sorted(found, key=order):
        figures = found[server]
        name = f"{server} ({figures['setting']})" if figures["setting"] else server
        values = [shown(figures, first, key) for key in ("median", "min", "max")]
        values += [shown(figures, column, "median") for column in columns[1:]]
        if figures["failed"]:
            values[-1] += f" {figures['failed']} failed: {figures['note']}"
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def order(server):
    """Ours first, then the peers by name."""
    return not server.startswith("sluice"), server


def shown(figures, column, key):
    _, name, decimals = column
    return f"{figures[name][key]:,.{decimals}f}" if figures[name] else "-"


def plot(path, plotted, results):
    """Speeds above, processor times below; 4K on the left, larger requests on the right."""
    gnuplot = shutil.which("gnuplot")
    names = sorted({server for cell, server in results
                    if any(cell == each.name for each in plotted)}, key=order)
    if not gnuplot or not names:
        return
    lines = ['set terminal svg size 1200,720 background "#ffffff" font "sans-serif,12"',
             f'set output "{path}"', "set style data histogram",
             "set style histogram errorbars gap 1.5 lw 1", "set style fill solid 1 noborder",
             "set errorbars 0.4 lw 1 lc rgb '#222222'", "set border 3 lc rgb '#555555'",
             "set xtics nomirror scale 0", "set ytics nomirror", "set yrange [0:*]",
             "set grid ytics lc rgb '#dddddd' lt 1 lw 1", "set bmargin 5",
             "set key outside top center horizontal",
             'set datafile missing "?"', "set multiplot layout 2,2"]
    small = [cell for cell in plotted if cell.block == cells.SMALL]
    large = [cell for cell in plotted if cell.block != cells.SMALL]
    for title, shown_cells, figure, factor in (
            ("4K: thousand requests/s", small, "iops", 1e-3),
            ("MiB/s", large, "mib_per_s", 1),
            ("4K: CPU, us/request", small, "cpu_us_per_request", 1),
            ("CPU, s/GiB", large, "cpu_s_per_gib", 1)):
        measured = [cell for cell in shown_cells
                    if any(results.get((cell.name, name), {}).get(figure) for name in names)]
        if measured:
            lines += panel(title, measured, figure, factor, names, results)
    done = subprocess.run([gnuplot], input="\n".join([*lines, "unset multiplot", ""]), text=True,
                          check=False, capture_output=True, timeout=60)
    if done.returncode != 0:
        print(f"bench: gnuplot: {done.stderr.strip()}", file=sys.stderr)


def panel(title, shown_cells, figure, factor, names, results):
    lines = ["$data << EOD"]
    for cell in shown_cells:
        values = [f'"{label(cell)}"']
        for name in names:
            found = results.get((cell.name, name), {}).get(figure)
            values += [f"{found[key] * factor:.5g}" if found else "?"
                       for key in ("median", "min", "max")]
        lines.append(" ".join(values))
    lines += ["EOD", f'set title "{title}"', "plot " + ", ".join(
        f"$data using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}{':xtic(1)' if i == 0 else ''} "
        f"title '{name}' noenhanced lc rgb '{COLORS[i % len(COLORS)]}'"
        for i, name in enumerate(names)), "set key off"]
    return lines


def label(cell):
    """On three lines: "4k", "read", "32 tcp"."""
    many = f" x{cell.connections}" if cell.connections > 1 else ""
    via = cell.part.removeprefix("client-") if cell.part.startswith("client") else ""
    last = f"{cell.depth}{many}" + (f" {via}" if via else "")
    return f"{cell.block}\\n{cell.pattern.removeprefix('rand')}\\n{last}"
