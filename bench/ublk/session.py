"""Measures all that is missing in a result directory, on the machine it runs on: see guest.py."""

import contextlib
import sys
import time

from ublk import devices, footprint, guest, load, machine, matrix, mirrors, pools

ONCE = {"footprint": footprint.measure, "resync": mirrors.measure_resync,
        "failover": mirrors.measure_failover, "provision": pools.measure_first_writes,
        "snapshot": pools.measure_after_snapshot, "mappings": pools.measure_mappings}


class Session:
    def __init__(self, results):
        self.results = results
        self.settings = results.settings
        self.left = collapse(results.missing())
        self.todo = sum(len(runs) for runs in self.left.values())
        self.done = 0
        self.run_seconds = 0.0

    def run(self):
        """Returns 0, or guest.HUNG if a device no longer answers."""
        self.describe_machine()
        try:
            self.measure_matrix()
            self.measure_once()
        except load.Hung as hung:
            # The device may hold every process that touches it: only a new kernel helps.
            print(f"bench: {hung}", file=sys.stderr, flush=True)
            return guest.HUNG
        return 0

    def measure_matrix(self):
        for target in matrix.targets(self.settings):
            groups = {key: runs for key, runs in self.left.items() if key[0].target == target}
            if not groups:
                continue
            self.results.mark_current(f"the setup of {target}")
            print(f"{target}: setting up", flush=True)
            with contextlib.ExitStack() as stack:
                place = stack.enter_context(devices.tmpfs())
                made = {}
                for server in servers_of(groups):
                    made[server] = devices.make(stack, target, server, place, self.settings)
                    self.note_device(target, server, made[server])
                if target == matrix.THIN:
                    pools.provision(usable(made))
                load.warm_up(usable(made), target)
                for (cell, number), runs in groups.items():
                    self.measure_group(cell, number, runs, usable(made))

    def measure_group(self, cell, number, runs, made):
        """One cell of one round, on one device after the other."""
        began = time.monotonic()
        by_server = {run.server: run for run in runs}
        found = load.measure(
            {server: made[server] for server in by_server if server in made}, cell, self.settings,
            lambda server: self.results.mark_current(by_server[server].key))
        shown = []
        for server, run in by_server.items():
            measured = found.get(server, {"status": "unavailable"})
            self.results.add_run(run, measured)
            shown.append(f"{server} {figure(cell, measured)}")
        self.done += len(runs)
        self.run_seconds += time.monotonic() - began
        print(f"{cell.target:6} {cell.block.upper():>4} {cell.direction:5} depth {cell.depth:<2} "
              f"round {number}: {', '.join(shown)} {cell.unit}; {self.time_left()}", flush=True)

    def measure_once(self):
        for once in self.results.missing_once():
            self.results.mark_current(once.key)
            with devices.tmpfs() as place:
                rows = ONCE[once.what](once, place, self.settings)
            self.results.add_once(rows)
            shown = {row["quantity"]: f"{row['value']:g} {row['unit']}" for row in rows}
            print(f"{once.key}: {', '.join(f'{name} {value}' for name, value in shown.items())}",
                  flush=True)

    def time_left(self):
        left = (self.todo - self.done) * self.run_seconds / max(self.done, 1)
        return f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"

    def describe_machine(self):
        path = self.results.directory / "machine.txt"
        if not path.exists():
            path.write_text(machine.describe(self.settings) + "\nDevices:\n", encoding="utf-8")

    def note_device(self, target, server, device):
        """One line in machine.txt, unless an earlier session has written it."""
        path = self.results.directory / "machine.txt"
        head = f"{target}/{server}: "
        lines = path.read_text(encoding="utf-8").splitlines()
        if not any(line.startswith(head) for line in lines):
            lines.append(head + device.describe())
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if isinstance(device, devices.Unavailable):
            print(f"bench: {head}{device.describe()}", flush=True)


def collapse(runs):
    """{(cell, round): runs}, in their order."""
    groups = {}
    for run in runs:
        groups.setdefault((run.cell, run.round), []).append(run)
    return groups


def usable(made):
    return {server: device for server, device in made.items()
            if isinstance(device, devices.Device)}


def servers_of(groups):
    present = {run.server for runs in groups.values() for run in runs}
    return [server for server in matrix.SERVERS if server in present]


def figure(cell, measured):
    value = measured.get(cell.speed)
    return measured["status"] if value is None else f"{value:.0f}"
