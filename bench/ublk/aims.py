"""What the project wants to reach, held against what was measured."""

from ublk import matrix

BLOCK, DEPTH = "512k", 64
LEAST_TO_COPY = 1.4
LEAST_TO_LOOP = 1.0
MOST_IDLE_TICKS = 0
MOST_RESIDENT_MIB = 16
MOST_FIRST_READ_MS = 50


def judge(cells, once):
    """[{aim, found, met}]; met is null where it was not measured."""
    found = []
    for target in matrix.TARGETS:
        for direction in matrix.DIRECTIONS:
            found.append(compare(cells, target, direction, "copy", LEAST_TO_COPY))
    for direction in matrix.DIRECTIONS:
        found.append(compare(cells, "loop", direction, "kernel", LEAST_TO_LOOP))
    for mode in matrix.ONCE_MODES:
        quantities = once.get(mode, {})
        found += [
            limit(f"an idle server ({mode}) uses no processor time in {matrix.IDLE_SECONDS:g} s",
                  quantities.get("idle_cpu"), 1, MOST_IDLE_TICKS + 1, "ticks"),
            limit(f"an idle server ({mode}) has less than {MOST_RESIDENT_MIB} MiB resident",
                  quantities.get("resident"), 1 / 1024, MOST_RESIDENT_MIB, "MiB"),
            limit(f"less than {MOST_FIRST_READ_MS} ms from 'sluice add' to the first read ({mode})",
                  quantities.get("first_read"), 1, MOST_FIRST_READ_MS, "ms"),
        ]
    return found


def compare(cells, target, direction, other, least):
    title = matrix.server_title(other, target) if other == "kernel" else f"{other} mode"
    wanted = "not below" if least == 1 else f"at least {least:g} times"
    aim = f"{target}, 512K {direction}, depth {DEPTH}: auto {wanted} {title}"
    mine, theirs = (throughput(cells, target, direction, server) for server in ("auto", other))
    if not mine or not theirs:
        return {"aim": aim, "found": "not measured", "met": None}
    ratio = mine["median"] / theirs["median"]
    lowest, highest = mine["min"] / theirs["max"], mine["max"] / theirs["min"]
    doubt = "; the spread reaches over the limit" if lowest < least <= highest else ""
    found = (f"{ratio:.3f} ({mine['median']:.0f} against {theirs['median']:.0f} MiB/s; "
             f"extremes {lowest:.2f} to {highest:.2f}{doubt})")
    return {"aim": aim, "found": found, "met": ratio >= least}


def throughput(cells, target, direction, server):
    wanted = {"target": target, "block": BLOCK, "direction": direction, "depth": DEPTH,
              "server": server}
    for cell in cells:
        if all(cell[name] == value for name, value in wanted.items()):
            return cell["mib_per_s"]
    return None


def limit(aim, quantity, scale, below, unit):
    if not quantity:
        return {"aim": aim, "found": "not measured", "met": None}
    value = quantity["median"] * scale
    return {"aim": aim, "found": f"{value:.3g} {unit}", "met": value < below}
