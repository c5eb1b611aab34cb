"""table.md, results.json and the plots, from the raw lines."""

import csv
import json

from nbd import report as common
from nbd.aims import IN_SPREAD, LOWER_IN_SPREAD, UNKNOWN, compare, judged
from rbd import cells, servers

STUB = 1.2          # times each peer
EQUAL = 1.0         # on a cluster, which is the limit; is met within the spread
PARTS = (("NBD servers on the stub", cells.STUB, "server"),
         ("In one process, on the stub", cells.STUB_INSIDE, "program"),
         ("NBD servers on a cluster", cells.CLUSTER, "server"),
         ("In one process, on a cluster", cells.CLUSTER_INSIDE, "program"))


def write(directory):
    with open(directory / "raw.csv", newline="", encoding="utf-8") as file:
        results = common.summarize(list(csv.DictReader(file)))
    (directory / "results.json").write_text(json.dumps(
        [{"cell": cell, "server": server} | found for (cell, server), found in results.items()],
        indent=1) + "\n", encoding="utf-8")
    machine = (directory / "machine.txt").read_text(encoding="utf-8")
    (directory / "table.md").write_text(
        "# rbd\n\nMade by `bench/run-rbd`; how to read it: `bench/README.md`.\n\n## Aims\n\n"
        + aims(results)
        + "".join(common.part(title, of_part, who, results) for title, of_part, who in PARTS)
        + f"\n## The machine\n\n```\n{machine}```\n", encoding="utf-8")
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
                if factor == EQUAL and verdict == LOWER_IN_SPREAD:
                    verdict = IN_SPREAD
                wanted = "not below" if factor == EQUAL else f"at least {factor} x"
                rows.append((f"{cell.part}, {cell.title}: {wanted} {peer}", found, verdict))
    return "| aim | found | verdict |\n|---|---|---|\n" + "".join(
        f"| {aim} | {found} | {verdict} |\n" for aim, found, verdict in rows if verdict != UNKNOWN)
