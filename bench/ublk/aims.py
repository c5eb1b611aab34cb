"""What the project wants to reach, held against what was measured."""

import dataclasses

from ublk import matrix

BLOCK, DEPTH = "512k", 64
LEAST_TO_COPY = 1.4
LEAST_TO_LOOP = 1.0
# Target nbd: at its greater depth.
LEAST_TO_KERNEL = {"4k": 0.8, "512k": 0.95}
LEAST_TO_COPY_NBD = {"64k": 1.2, "512k": 1.2}
MOST_IDLE_TICKS = 0
MOST_RESIDENT_MIB = 16
MOST_FIRST_READ_MS = 50


def judge(settings, cells, once):
    """[{aim, found, met}]; met is null where it was not measured."""
    return judge_nbd(cells) if settings.get("nbd") else judge_ublk(cells, once)


def judge_nbd(cells):
    return [compare(cells, matrix.Cell(target, block, direction, max(matrix.NBD_DEPTHS)), other,
                    least)
            for other, limits in (("kernel", LEAST_TO_KERNEL), ("copy", LEAST_TO_COPY_NBD))
            for block, least in limits.items()
            for target in matrix.CONNECTIONS for direction in matrix.DIRECTIONS]


def judge_ublk(cells, once):
    found = []
    for target in matrix.TARGETS:
        for direction in matrix.DIRECTIONS:
            found.append(compare(cells, matrix.Cell(target, BLOCK, direction, DEPTH), "copy",
                                 LEAST_TO_COPY))
    for direction in matrix.DIRECTIONS:
        found.append(compare(cells, matrix.Cell("loop", BLOCK, direction, DEPTH), "kernel",
                             LEAST_TO_LOOP))
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


def compare(cells, cell, other, least):
    title = matrix.server_title(other, cell.target) if other == "kernel" else f"{other} mode"
    wanted = "not below" if least == 1 else f"at least {least:g} times"
    aim = (f"{cell.target}, {cell.block.upper()} {cell.direction}, depth {cell.depth}: auto "
           f"{wanted} {title}")
    mine, theirs = (throughput(cells, cell, server) for server in ("auto", other))
    if not mine or not theirs:
        return {"aim": aim, "found": "not measured", "met": None}
    ratio = mine["median"] / theirs["median"]
    lowest, highest = mine["min"] / theirs["max"], mine["max"] / theirs["min"]
    doubt = "; the spread reaches over the limit" if lowest < least <= highest else ""
    found = (f"{ratio:.3f} ({mine['median']:.0f} against {theirs['median']:.0f} {cell.unit}; "
             f"extremes {lowest:.2f} to {highest:.2f}{doubt})")
    return {"aim": aim, "found": found, "met": ratio >= least}


def throughput(cells, cell, server):
    wanted = dataclasses.asdict(cell) | {"server": server}
    for each in cells:
        if all(each[name] == value for name, value in wanted.items()):
            return each[cell.speed]
    return None


def limit(aim, quantity, scale, below, unit):
    if not quantity:
        return {"aim": aim, "found": "not measured", "met": None}
    value = quantity["median"] * scale
    return {"aim": aim, "found": f"{value:.3g} {unit}", "met": value < below}
