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
# Target thin.
LEAST_TO_THIN = {"512k": 0.9, "4k": 0.8}
# Target mirror.
LEAST_TO_MIRRORS = 0.9
LEAST_TO_COPY_MIRROR = 1.3
LEAST_RESYNC = 1.0
MOST_STALL_MS = 100


def judge(settings, cells, once):
    """[{aim, found, met}]; met is null where it was not measured."""
    judges = {"ublk": judge_ublk, "nbd": judge_nbd, "mirror": judge_mirror,
              "thin": judge_thin}
    return judges[matrix.suite_name(settings)](cells, once)


def judge_nbd(cells, _once):
    return [compare(cells, matrix.Cell(target, block, direction, max(matrix.depths(target))),
                    [other], least)
            for other, limits in (("kernel", LEAST_TO_KERNEL), ("copy", LEAST_TO_COPY_NBD))
            for block, least in limits.items()
            for target in matrix.CONNECTIONS for direction in matrix.DIRECTIONS]


def judge_thin(cells, _once):
    depths = matrix.depths(matrix.THIN)
    return [compare(cells, matrix.Cell(matrix.THIN, block, direction, depth), matrix.THIN_PEERS,
                    least)
            for block, least in LEAST_TO_THIN.items() for direction in matrix.DIRECTIONS
            for depth in (depths if block == "512k" else depths[-1:])]


def judge_mirror(cells, once):
    def cell(block, direction, depth):
        return matrix.Cell(matrix.MIRROR, block, direction, depth)
    depths = matrix.depths(matrix.MIRROR)
    found = [compare(cells, cell("512k", direction, depth), matrix.MIRROR_PEERS, LEAST_TO_MIRRORS)
             for direction in matrix.DIRECTIONS for depth in depths]
    found += [compare(cells, cell("512k", "write", depth), ["copy"], LEAST_TO_COPY_MIRROR)
              for depth in depths]
    found.append(compare(cells, cell("4k", "write", max(depths)), ["md-bitmap"],
                         LEAST_TO_MIRRORS))
    ours, theirs = (once.get(server, {}) for server in ("auto", "md-bitmap"))
    found.append(hold("a first copy: auto not below md-bitmap", ours.get("resync_speed"),
                      theirs.get("resync_speed"), LEAST_RESYNC, "GiB/s"))
    found.append(limit(f"no request of any run takes {MOST_STALL_MS} ms when a local leg dies",
                       ours.get("stall"), 1, MOST_STALL_MS, "ms", "max"))
    return found


def judge_ublk(cells, once):
    found = []
    for target in matrix.SUITES["ublk"].targets:
        for direction in matrix.DIRECTIONS:
            found.append(compare(cells, matrix.Cell(target, BLOCK, direction, DEPTH), ["copy"],
                                 LEAST_TO_COPY))
    for direction in matrix.DIRECTIONS:
        found.append(compare(cells, matrix.Cell("loop", BLOCK, direction, DEPTH), ["kernel"],
                             LEAST_TO_LOOP))
    for mode in matrix.SUITES["ublk"].once_servers:
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


def compare(cells, cell, others, least):
    """With the fastest of the others."""
    measured = {server: throughput(cells, cell, server) for server in others}
    best = max(others, key=lambda server: (measured[server] or {"median": 0})["median"])
    title = f"{best} mode" if best == "copy" else matrix.server_title(best, cell.target)
    wanted = "not below" if least == 1 else f"at least {least:g} times"
    fastest = ", the fastest of the kernel's" if len(others) > 1 else ""
    aim = (f"{cell.target}, {cell.block.upper()} {cell.direction}, depth {cell.depth}: auto "
           f"{wanted} {title}{fastest}")
    return hold(aim, throughput(cells, cell, "auto"), measured[best], least, cell.unit)


def hold(aim, mine, theirs, least, unit):
    """Ours against theirs, where more is better."""
    if not mine or not theirs:
        return {"aim": aim, "found": "not measured", "met": None}
    shown = "{:.0f} against {:.0f}" if mine["median"] >= 100 else "{:.2f} against {:.2f}"
    ratio = mine["median"] / theirs["median"]
    lowest, highest = mine["min"] / theirs["max"], mine["max"] / theirs["min"]
    doubt = "; the spread reaches over the limit" if lowest < least <= highest else ""
    found = (f"{ratio:.3f} ({shown.format(mine['median'], theirs['median'])} {unit}; extremes"
             f" {lowest:.2f} to {highest:.2f}{doubt})")
    return {"aim": aim, "found": found, "met": ratio >= least}


def throughput(cells, cell, server):
    wanted = dataclasses.asdict(cell) | {"server": server}
    for each in cells:
        if all(each[name] == value for name, value in wanted.items()):
            return each[cell.speed]
    return None


def limit(aim, quantity, scale, below, unit, which="median"):
    if not quantity:
        return {"aim": aim, "found": "not measured", "met": None}
    value = quantity[which] * scale
    return {"aim": aim, "found": f"{value:.3g} {unit}", "met": value < below}
