"""The result directory: what was asked for, what has been measured, what is still missing.

run.json    the settings, and whether the run is complete
raw.csv     one line for each run of a cell, appended as soon as it has ended
once.csv    likewise for what is measured once
machine.txt where it was measured
current     the run under way: tells which one a wedged guest died of
"""

import csv
import json
import os

from ublk import matrix

RUN_FIELDS = ("round", "target", "block", "direction", "depth", "server", "status", "iops",
              "mib_per_s", "window_s", "window_bytes", "server_cpu_s", "system_cpu_s",
              "system_busy_share")
ONCE_FIELDS = ("server", "quantity", "sample", "value", "unit")
# Another value of one of these makes it another run, which does not go on where the last ended.
IDENTITY = ("suite", "seconds", "ramp_seconds", "runs", "quick", "only", "here", "revision")
GENERATED = ("run.json", "raw.csv", "once.csv", "machine.txt", "results.json", "table.md",
             "current")


class StoreError(Exception):
    pass


class Store:
    def __init__(self, directory):
        self.directory = directory.absolute()
        self.settings_cache = None

    # --- the run as a whole

    def begin(self, settings):
        """Makes the directory ready; returns whether an earlier run goes on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        old = self.read_json("run.json")
        resumes = bool(old) and not old.get("complete") and all(
            old.get(name) == settings[name] for name in IDENTITY)
        if resumes:
            self.cut_torn_line("raw.csv", RUN_FIELDS)
            self.cut_torn_line("once.csv", ONCE_FIELDS)
        else:
            for name in GENERATED:
                (self.directory / name).unlink(missing_ok=True)
            for plot in self.directory.glob("*.svg"):
                plot.unlink()
            self.append("raw.csv", RUN_FIELDS, [])
            self.append("once.csv", ONCE_FIELDS, [])
        self.settings_cache = None
        self.write_json("run.json", settings | {"complete": False})
        return resumes

    def finish(self):
        self.write_json("run.json", self.settings | {"complete": True})
        (self.directory / "current").unlink(missing_ok=True)
        self.settings_cache = None

    @property
    def settings(self):
        if self.settings_cache is None:
            self.settings_cache = self.read_json("run.json")
            if self.settings_cache is None:
                raise StoreError(f"{self.directory} holds no results: run.json is missing.")
        return self.settings_cache

    def plan(self):
        return matrix.plan(self.settings)

    def missing(self):
        done = {(row["target"], row["block"], row["direction"], row["depth"], row["server"],
                 row["round"]) for row in self.runs()}
        return [run for run in self.plan()
                if (run.cell.target, run.cell.block, run.cell.direction, str(run.cell.depth),
                    run.server, str(run.round)) not in done]

    def missing_once(self):
        done = {(row["server"], row["quantity"], row["sample"]) for row in self.once()}
        return [once for once in matrix.once_plan(self.settings) if once.last_line not in done]

    # --- results

    def add_run(self, run, measured):
        row = {"round": run.round, "target": run.cell.target, "block": run.cell.block,
               "direction": run.cell.direction, "depth": run.cell.depth,
               "server": run.server} | measured
        self.append("raw.csv", RUN_FIELDS, [row])

    def add_once(self, rows):
        """All lines of one Once: the last tells that they are there."""
        self.append("once.csv", ONCE_FIELDS, rows)

    def runs(self):
        return self.read("raw.csv", RUN_FIELDS)

    def once(self):
        return self.read("once.csv", ONCE_FIELDS)

    def mark_current(self, name):
        (self.directory / "current").write_text(name)
        self.sync("current")

    def current(self):
        try:
            return (self.directory / "current").read_text()
        except OSError:
            return ""

    # --- files

    def append(self, name, fields, rows):
        path = self.directory / name
        fresh = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fields, lineterminator="\n", restval="")
            if fresh:
                writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())     # in a guest: out of its cache, before it may wedge

    def read(self, name, fields):
        try:
            with open(self.directory / name, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError:
            return []
        return [row for row in rows if None not in row.values() and set(row) == set(fields)]

    def cut_torn_line(self, name, fields):
        """Removes what a guest left behind that died while it wrote a line."""
        path = self.directory / name
        if not path.exists():
            self.append(name, fields, [])
            return
        text = path.read_bytes()
        whole = text[:text.rfind(b"\n") + 1]
        if whole != text:
            path.write_bytes(whole)

    def sync(self, name):
        with open(self.directory / name, "rb") as file:
            os.fsync(file.fileno())

    def read_json(self, name):
        try:
            return json.loads((self.directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write_json(self, name, value):
        new = self.directory / (name + ".new")
        new.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        new.replace(self.directory / name)
