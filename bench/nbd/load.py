"""The loads: `sluice bench stack`, fio's nbd engine, fio on a file; what they cost the server."""

import contextlib
import json
import subprocess
import time

from nbd import processes
from nbd.processes import Failed
from ublk import load as counters

WARM_UP_SECONDS = 0.3       # of the generator
CROWD_MEMBERS = 50          # targets with 10 connections each
CROWD_SECONDS = 60          # to connect


class Meter:
    """The processor time that a process spends from now on, its threads that end included."""

    def __init__(self, pid):
        self.pid = pid
        self.before = counters.process_ticks(pid) if pid else 0

    def costs(self, requests, mib):
        """Of all that was done since: connecting costs something, too, but little."""
        if not self.pid or not requests:
            return {}
        spent = (counters.process_ticks(self.pid) - self.before) / counters.TICKS_PER_SECOND
        return {"cpu_us_per_request": round(1e6 * spent / requests, 3),
                "cpu_s_per_gib": round(1024 * spent / mib, 4)}


def spec_of(server, cell, psk=None):
    """The stack of a load on the server; of 500 connections, a stripe over many targets."""
    if cell.connections > 16:
        each = cell.connections // CROWD_MEMBERS
        members = [f'nbd("{server.uri(psk)}", connections={each})'] * CROWD_MEMBERS
        return f"stripe({', '.join(members)}, chunk=4k)"
    return f'nbd("{server.uri(psk)}", connections={cell.connections})'


def generate(sluice, spec, cell, seconds, pid=None):
    """A run of `sluice bench stack`: the fields of raw.csv from `status` on."""
    command = [sluice, "bench", "stack", "--json", "--pattern", cell.pattern, "--block", cell.block,
               "--depth", cell.depth, "--runs", 1, "--seconds", seconds, spec]
    if not cell.pattern.endswith("read"):
        command.insert(3, "--overwrite")
    meter = Meter(pid)
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    with ended(process):
        said = processes.read_line(process.stderr, CROWD_SECONDS)   # when the run begins
        time.sleep(seconds / 2)
        memory = {"rss_mib": round(processes.resident_mib(pid), 2)} if pid else {}
        output, errors = processes.finish(process, seconds + processes.PATIENCE_SECONDS)
    if process.returncode != 0:
        raise Failed(processes.last_line(errors.decode("utf-8", "replace")) or said)
    found = json.loads(output)
    run = found["runs"][0]
    costs = meter.costs(found["requests"], found["requests"] * found["block_bytes"] / (1 << 20))
    return {"status": "ok", "iops": round(run["requests_per_s"], 1),
            "mib_per_s": round(run["mib_per_s"], 2),
            "p50_us": round(run["p50_us"], 1), "p99_us": round(run["p99_us"], 1),
            "load_cpu_us_per_request": round(run["cpu_us_per_request"], 3)} | memory | costs


def fio(target, cell, seconds, pid=None, during=None):
    """A run of fio; `target` are the options that name it. `during`: called meanwhile."""
    command = ["fio", "--output-format=json", "--eta=never", "--name=bench", *target,
               f"--rw={cell.pattern}", f"--bs={cell.block}", f"--iodepth={cell.depth}",
               "--size=256M", "--time_based", f"--runtime={round(seconds * 1000)}ms",
               "--norandommap", "--scramble_buffers=0", "--disk_util=0"]
    meter = Meter(pid)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    with ended(process):
        if during:
            during()
        output, errors = processes.finish(process, seconds + 4 * processes.PATIENCE_SECONDS)
    text = output.decode("utf-8", "replace")
    start = text.find("{")
    if process.returncode != 0 or start < 0:
        raise Failed(processes.last_line(errors.decode("utf-8", "replace"))
                     or processes.last_line(text[:max(start, 0)]) or "fio failed")
    job = json.loads(text[start:])["jobs"][0]
    done = job["write" if "write" in cell.pattern else "read"]
    times = done["clat_ns"]
    found = {"status": "ok", "iops": round(done["iops"], 1),
             "mib_per_s": round(done["bw_bytes"] / (1 << 20), 2),
             "longest_ms": round(times["max"] / 1e6, 1)
             } | meter.costs(done["total_ios"], done["io_bytes"] / (1 << 20))
    percentiles = times.get("percentile", {})
    for name, key in (("p50_us", "50.000000"), ("p99_us", "99.000000")):
        if key in percentiles:
            found[name] = round(percentiles[key] / 1000, 1)
    return found


@contextlib.contextmanager
def ended(process):
    """The process does not outlive the block."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(processes.PATIENCE_SECONDS)
        for stream in (process.stdout, process.stderr):
            stream.close()


def fio_engine(server):
    return ["--ioengine=nbd", f"--uri={server.uri()}"]


def fio_file(path):
    return [f"--filename={path}", "--ioengine=io_uring", "--direct=1"]
