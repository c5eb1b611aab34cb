"""One run of fio on one path, and the processor time of the server behind it."""

import dataclasses
import json
import subprocess
import time

from ublk import load as counters

RAMP_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Cell:
    kind: str           # file, loop
    block: str          # 4k, 512k
    direction: str
    depth: int

    @property
    def name(self):
        return f"{self.kind}/{self.block}/{self.direction}/{self.depth}"

    @property
    def speed(self):
        return "iops" if self.block == "4k" else "mib_per_s"


def cells():
    return [Cell(kind, block, direction, depth) for kind in ("file", "loop")
            for block in ("4k", "512k") for direction in ("read", "write") for depth in (1, 32)]


def run(cell, served, seconds):
    """The fields of raw.csv from `status` on."""
    pattern = ("rand" if cell.block == "4k" else "") + cell.direction
    command = ["fio", "--output-format=json", "--eta=never", "--name=bench",
               f"--filename={served.path}", "--ioengine=io_uring", "--direct=1", f"--rw={pattern}",
               f"--bs={cell.block}", f"--iodepth={cell.depth}", "--time_based", "--size=128M",
               f"--runtime={round(seconds * 1000)}ms",
               f"--ramp_time={round(RAMP_SECONDS * 1000)}ms",
               "--gtod_reduce=1", "--norandommap", "--scramble_buffers=0", "--disk_util=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True)
    # Two moments well inside the run; what lies between them is taken as a share of the whole.
    time.sleep(RAMP_SECONDS + 0.2)
    before = sample(served)
    time.sleep(0.6 * seconds)
    after = sample(served)
    output = process.communicate()[0]
    start = output.find("{")
    if process.returncode != 0 or start < 0:
        return {"status": "failed"}
    done = json.loads(output[start:])["jobs"][0][cell.direction]
    gib = done["bw_bytes"] * (after["time"] - before["time"]) / (1 << 30)
    result = {"status": "ok", "iops": round(done["iops"], 1),
              "mib_per_s": round(done["bw_bytes"] / (1 << 20), 2),
              "all_cpu_s_per_gib": per_gib(before, after, "busy", gib)}
    if served.pid:
        result["server_cpu_s_per_gib"] = per_gib(before, after, "server", gib)
    return result


def sample(served):
    return {"time": time.monotonic(), "busy": counters.system_ticks()[0],
            "server": counters.process_ticks(served.pid) if served.pid else 0}


def per_gib(before, after, name, gib):
    seconds = (after[name] - before[name]) / counters.TICKS_PER_SECOND
    return round(seconds / gib, 3) if gib else ""
