"""table.md, results.json and the plots, from the raw lines."""

from luks import cells, servers, session
from nbd import report as common
from nbd.aims import EQUAL, UNKNOWN, compare, judged

LARGE = 2.0         # times the peers: 64K and 512K at depth 32
LOOP = 0.8          # of openssl speed
PARTS = (("Over NBD, page-cached", cells.SERVED, "server"),
         ("The cipher alone, AES-256-XTS, one thread", cells.LOOP, "loop"))


def write(directory):
    results = common.summarized(directory)
    common.write_table(directory, "crypt", "run-crypt",
                       aims(results) + common.parts(PARTS, results))
    compared = {key: found for key, found in results.items()
                if key[1] in (servers.OURS, servers.STORAGE, servers.KIT)}
    for pattern in ("read", "write"):
        common.plot(directory / f"{pattern}.svg",
                    [cell for cell in cells.SERVED if cell.pattern.endswith(pattern)], compared)


def aims(results):
    rows = []
    for cell in cells.SERVED:
        for peer in (servers.STORAGE, servers.KIT):
            least = LARGE if cell.block != "4k" and cell.depth > 1 else EQUAL
            found, verdict = judged(compare(results, cell, cell.speed, servers.OURS, peer), least)
            what = "not below" if least == EQUAL else f"at least {least} x"
            rows.append((f"{cell.title}: {what} {peer}", found, verdict))
    for cell in cells.LOOP:
        found, verdict = judged(
            compare(results, cell, cell.speed, servers.OURS, session.OPENSSL), LOOP)
        rows.append((f"{cell.pattern}, sectors of {cell.block}: at least {LOOP} x "
                     f"{session.OPENSSL}", found, verdict))
    return "| aim | found | verdict |\n|---|---|---|\n" + "".join(
        f"| {aim} | {found} | {verdict} |\n" for aim, found, verdict in rows if verdict != UNKNOWN)
