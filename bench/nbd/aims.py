"""The aims of the project for NBD, and whether a run meets them."""

from nbd import cells, clients, servers

READ_SMALL, READ_SMALL_COST = 1.3, 0.6      # against nbdkit: one of the two
READ_LARGE, READ_LARGE_COST = 1.5, 0.5      # against nbdkit: both; the cost at 512K
CROWD = 0.9                                 # of the best
CLIENT_LARGE = 1.2                          # against both peers
EQUAL = 1.0                                 # is met within the spread


def lines(results):
    """The table, for results given as {(cell, server): {figure: {median, min, max}}}."""
    table = ["| aim | found | verdict |", "|---|---|---|"]
    for aim, found, verdict in all_of(results):
        if verdict == UNKNOWN:
            continue
        table.append(f"| {aim} | {found} | {verdict} |")
    return "\n".join(table) + "\n"


def all_of(results):
    for cell in cells.SERVER:
        if "write" in cell.pattern:
            for peer in (servers.KIT, servers.QEMU):
                yield not_below(results, cell, servers.OURS, peer)
        elif cell.block == cells.SMALL and cell.depth > 1:
            yield small_read(results, cell)
        elif cell.block != cells.SMALL:
            yield (f"server, {cell.title}: at least {READ_LARGE} x nbdkit",
                   *judged(compare(results, cell, cell.speed, servers.OURS, servers.KIT),
                           READ_LARGE))
            if cell.block == "512k":
                yield (f"server, {cell.title}: at most {READ_LARGE_COST} of the CPU per GiB of "
                       "nbdkit", *judged_cost(compare(results, cell, cell.cost, servers.OURS,
                                                      servers.KIT), READ_LARGE_COST))
    for cell in cells.CROWD:
        yield crowd(results, cell)
    for cell in cells.CLIENT:
        for peer in (clients.FUSE, clients.QEMU):
            if cell.block == cells.SMALL:
                yield not_below(results, cell, clients.OURS, peer)
            else:
                yield (f"{cell.part}, {cell.title}: at least {CLIENT_LARGE} x {peer}",
                       *judged(compare(results, cell, cell.speed, clients.OURS, peer),
                               CLIENT_LARGE))


def small_read(results, cell):
    speed = compare(results, cell, cell.speed, servers.OURS, servers.KIT)
    cost = compare(results, cell, cell.cost, servers.OURS, servers.KIT)
    found, verdict = judged(speed, READ_SMALL)
    cost_found, cost_verdict = judged_cost(cost, READ_SMALL_COST)
    best = min(verdict, cost_verdict, key=VERDICTS.index)
    return (f"server, {cell.title}: at least {READ_SMALL} x nbdkit, or at most {READ_SMALL_COST} "
            "of its CPU per request", f"{found}; CPU {cost_found}", best)


def not_below(results, cell, ours, peer):
    found, verdict = judged(compare(results, cell, cell.speed, ours, peer), EQUAL)
    return f"{cell.part}, {cell.title}: not below {peer}", found, verdict


def crowd(results, cell):
    others = [name for name in servers.NAMES
              if name != servers.OURS and figure(results, cell, name, cell.speed)]
    best = max(others, key=lambda name: figure(results, cell, name, cell.speed)["median"],
               default=servers.KIT)
    return (f"{cell.title}: within 10 % of the best of the others ({best})",
            *judged(compare(results, cell, cell.speed, servers.OURS, best), CROWD))


def figure(results, cell, server, name):
    return results.get((cell.name, server), {}).get(name)


def compare(results, cell, name, ours, peer):
    """The ratio of the medians, with its least and its greatest value within the spread."""
    mine, other = figure(results, cell, ours, name), figure(results, cell, peer, name)
    if not mine or not other or not other["min"]:
        return None
    return (mine["median"] / other["median"], mine["min"] / other["max"],
            mine["max"] / other["min"])


YES, IN_SPREAD, LOWER_IN_SPREAD, NO, UNKNOWN = VERDICTS = (
    "yes", "yes, within the spread", "no, within the spread", "**no**", "not measured")


def judged(ratio, least):
    """What was found, and whether it is at least so much."""
    if ratio is None:
        return "-", UNKNOWN
    middle, low, high = ratio
    if middle >= least:
        return f"{middle:.2f}", YES if low >= least else IN_SPREAD
    return f"{middle:.2f}", LOWER_IN_SPREAD if high >= least else NO


def judged_cost(ratio, most):
    """The same for a cost, which is at most so much."""
    if ratio is None:
        return "-", UNKNOWN
    middle, low, high = ratio
    if middle <= most:
        return f"{middle:.2f}", YES if high <= most else IN_SPREAD
    return f"{middle:.2f}", LOWER_IN_SPREAD if low <= most else NO
