"""table.md, results.json and the plots, from the raw lines."""

from nbd import report as common
from nbd.aims import UNKNOWN, compare, judged
from rbd import cells, servers

STUB = 1.2          # times each peer
EQUAL = 1.0         # on a cluster, which is the limit
PARTS = (("NBD servers on the stub", cells.STUB, "server"),
         ("In one process, on the stub", cells.STUB_INSIDE, "program"),
         ("NBD servers on a cluster", cells.CLUSTER, "server"),
         ("In one process, on a cluster", cells.CLUSTER_INSIDE, "program"))


def write(directory):
    results = common.summarized(directory)
    common.write_table(directory, "rbd", "run-rbd", aims(results) + common.parts(PARTS, results))
    for name, plotted in (("stub", cells.STUB), ("stub-inside", cells.STUB_INSIDE)):
        common.plot(directory / f"{name}.svg", [cell for cell in plotted if cell.depth > 1],
                    results)


def aims(results):
    rows = []
    for of_part, names, factor in ((cells.STUB, servers.SERVERS, STUB),
                                   (cells.STUB_INSIDE, servers.INSIDE, STUB),
                                   (cells.CLUSTER, servers.SERVERS, EQUAL),
                                   (cells.CLUSTER_INSIDE, servers.INSIDE, EQUAL)):
        for cell in of_part:
            for peer in names[1:]:
                found, verdict = judged(
                    compare(results, cell, cell.speed, servers.OURS, peer), factor)
                wanted = "not below" if factor == EQUAL else f"at least {factor} x"
                rows.append((f"{cell.part}, {cell.title}: {wanted} {peer}", found, verdict))
    return "| aim | found | verdict |\n|---|---|---|\n" + "".join(
        f"| {aim} | {found} | {verdict} |\n" for aim, found, verdict in rows if verdict != UNKNOWN)
