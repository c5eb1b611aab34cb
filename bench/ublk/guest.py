"""Runs a session in a guest kernel, and again in a fresh guest when the guest has fallen over."""

import collections
import math
import subprocess
import sys

from ublk import machine, matrix

VM = machine.CHECKOUT / "tools/vm"
BENCH = machine.CHECKOUT / "bench/run"
MEMORY = "3G"
FELL_OVER = {124: "ran out of time", 125: "fell over"}
HUNG = 3                # a session's status: a device no longer answers
ONCE_SECONDS = 60       # for anything that is measured once
MOST_RESTARTS = 10
MOST_ATTEMPTS = 2       # of a run during which guests fell over, before it is skipped
MOST_SETUPS = 4         # likewise of anything else, before all is given up


def run(results):
    """Returns 0 once nothing is missing, else the status of what went wrong."""
    blamed = collections.Counter()
    for _ in range(MOST_RESTARTS + 1):
        status = boot(results)
        if status == 0:
            return 0
        if status != HUNG and status not in FELL_OVER:
            print(f"bench: the session failed with status {status}", file=sys.stderr)
            return status
        culprit = results.current()
        blamed[culprit] += 1
        print(f"bench: the guest {FELL_OVER.get(status, 'has a device that hangs')} during "
              f"{culprit or 'its start'}; going on in a fresh one", flush=True)
        if blamed[culprit] >= MOST_ATTEMPTS and skip(results, culprit):
            continue
        if blamed[culprit] >= MOST_SETUPS:
            print(f"bench: gave up: {MOST_SETUPS} guests failed there", file=sys.stderr)
            return 1
    print(f"bench: gave up after {MOST_RESTARTS} restarts", file=sys.stderr)
    return 1


def boot(results):
    (results.directory / "current").unlink(missing_ok=True)
    settings = results.settings
    each = settings["seconds"] + settings["ramp_seconds"] + 2
    limit = math.ceil(300 + each * len(results.missing()) +
                      ONCE_SECONDS * len(results.missing_once()))
    return subprocess.call([VM, "uml", "--mem", MEMORY, "--timeout", str(limit), "--retry-wedged",
                            "0", "--share", results.directory, "--", "python3", BENCH,
                            "--session", results.directory])


def skip(results, culprit):
    """Marks a run as one that wedges guests, so that the next guest leaves it out."""
    for planned in matrix.plan(results.settings):
        if planned.key == culprit:
            results.add_run(planned, {"status": "wedged"})
            return True
    return False
