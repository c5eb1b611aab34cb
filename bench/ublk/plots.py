"""A plot for each target: throughput and processor time at the largest depth, by gnuplot."""

import shutil
import subprocess
import sys

from ublk import matrix

COLORS = {"auto": "#1b5e9e", "register": "#6aaed6", "user_copy": "#e8a33d", "get_data": "#d3703a",
          "copy": "#a8382c", "kernel": "#8a8a8a", "md": "#8a8a8a", "md-bitmap": "#5c5c5c",
          "dm-mirror": "#b9b9b9", "dm-thin": "#8a8a8a"}
ROWS = 2        # of panels: throughput, processor time
PANEL_WIDTH, PANEL_HEIGHT, HEAD_HEIGHT = 330, 280, 80


def draw(found, directory):
    """DIR/TARGET.svg for each target that was measured at that depth."""
    gnuplot = shutil.which("gnuplot")
    if not gnuplot:
        return
    for target in matrix.targets(found["settings"]):
        cells = [cell for cell in found["cells"] if cell["target"] == target
                 and cell["depth"] == max(matrix.depths(target)) and cell["iops"]]
        if cells:
            script = plot(target, cells, directory / f"{target}.svg")
            result = subprocess.run([gnuplot], input=script, text=True, check=False,
                                    capture_output=True)
            if result.returncode != 0 or "error" in result.stderr.lower():
                print(f"bench: gnuplot: {result.stderr.strip()}", file=sys.stderr)


def plot(target, cells, path):
    blocks = [block for block in matrix.BLOCKS if any(cell["block"] == block for cell in cells)]
    servers = [server for server in matrix.servers(target)
               if any(cell["server"] == server for cell in cells)]
    width = PANEL_WIDTH * len(blocks) + 30
    height = PANEL_HEIGHT * ROWS + HEAD_HEIGHT
    lines = [
        f'set terminal svg size {width},{height} background "#ffffff" font "sans-serif,13"',
        f'set output "{path}"',
        "set style data histogram", "set style histogram errorbars gap 1.5 lw 1",
        "set style fill solid 1 noborder", "set errorbars 0.4 lw 1 lc rgb '#222222'",
        "set border 3 lc rgb '#555555'", "set xtics nomirror scale 0",
        "set ytics nomirror scale 0.5", "set grid ytics lc rgb '#dddddd' lt 1 lw 1",
        "set key off", "set xrange [-0.55:1.55]", "set yrange [0:*]", "set title offset 0,-0.3",
        'set datafile missing "?"',
        *head(target, servers, width, height),
        f"set multiplot layout {ROWS},{len(blocks)} "
        f"margins {70 / width:.3f},{1 - 15 / width:.3f},{35 / height:.3f},"
        f"{1 - (HEAD_HEIGHT + 25) / height:.3f} spacing {60 / width:.3f},{75 / height:.3f}",
    ]
    for block in blocks:
        name, factor, unit = ("iops", 1e-3, "thousand IOPS") if block == "4k" else \
                             ("mib_per_s", 1, "MiB/s")
        lines += panel(cells, block, servers, (name, factor, unit))
    for block in blocks:
        lines += panel(cells, block, servers,
                       ("server_cpu_s_per_gib", 1, "server CPU, s/GiB"))
    return "\n".join([*lines, "unset multiplot", ""])


def head(target, servers, width, height):
    """Title and legend, in places on the whole picture."""
    depth = max(matrix.depths(target))
    lines = [f'set label 1 "{target}, depth {depth}: medians, lowest and highest run" '
             f'at screen {20 / width:.3f},{1 - 22 / height:.3f} font "sans-serif,16"']
    step = min(120, (width - 40) // len(servers))
    for i, server in enumerate(servers):
        left, y = 20 + i * step, 1 - 54 / height
        title = matrix.server_title(server, target).replace("_", "\\\\_")
        lines.append(f"set object {i + 1} rectangle from screen {left / width:.4f},"
                     f"{y - 6 / height:.4f} to screen {(left + 12) / width:.4f},"
                     f"{y + 6 / height:.4f} fc rgb '{COLORS[server]}' fs solid noborder")
        lines.append(f'set label {i + 2} "{title}" at screen {(left + 18) / width:.4f},{y:.4f}')
    return lines


def panel(cells, block, servers, shown):
    name, factor, unit = shown
    if not any(cell[name] for cell in cells if cell["block"] == block):
        return ["set multiplot next"]
    order = "random" if block == "4k" else "sequential"
    lines = ["$data << EOD"]
    for direction in matrix.DIRECTIONS:
        values = [f'"{direction}"']
        for server in servers:
            found = next((cell[name] for cell in cells if cell["block"] == block
                          and cell["server"] == server and cell["direction"] == direction), None)
            values += [f"{found[key] * factor:.5g}" if found else "?"
                       for key in ("median", "min", "max")]
        lines.append(" ".join(values))
    columns = ", ".join(
        f"$data using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}{':xtic(1)' if i == 0 else ''} "
        f"lc rgb '{COLORS[server]}'" for i, server in enumerate(servers))
    # Title and legend belong to the whole picture: they are drawn with the first panel only.
    return [*lines, "EOD", f'set title "{block.upper()} {order}: {unit}"', f"plot {columns}",
            "unset label", "unset object"]
