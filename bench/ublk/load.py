"""The load: fio on one device after the other, and what processors and devices do meanwhile.

One process of fio serves all devices of a cell, in jobs that follow one another: its start costs as
much as a third of a run. Processor time and bytes are taken between two moments well inside each
job; throughput is fio's own.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import time

from ublk import matrix

SECTOR_BYTES = 512
POLL_SECONDS = 0.02
WINDOW_SHARE = 0.9          # of a job, between the two moments
WARM_UP_SECONDS = 0.3
PATIENCE_SECONDS = 40       # more than a job should last, before its device counts as hung
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Hung(Exception):
    """A device no longer answers; the process that uses it may not be killable."""


def measure(devices, cell, settings, announce=lambda server: None):
    """{server: the fields of raw.csv from `status` on}, for devices given as {server: Device}.

    Calls announce(server) when it is the turn of each.
    """
    if not devices:
        return {}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        at_rest = {server: moved_bytes(device.name) for server, device in devices.items()}
        process = subprocess.Popen(fio_command(devices, cell, settings), stdout=output,
                                   stderr=errors, stdin=subprocess.DEVNULL)
        try:
            windows = watch(process, devices, at_rest, settings, announce)
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as expired:
            raise Hung(f"fio ({cell.name}) does not end") from expired
        finally:
            process.kill()
        jobs = read_jobs(output, errors, cell)
    return {server: result(jobs.get(server), windows.get(server), cell) for server in devices}


def warm_up(devices, target):
    """Makes the servers touch their buffers, which they do at the first use of each."""
    cell = matrix.Cell(target, "512k", "write", max(matrix.depths(target)))
    measure(devices, cell, {"seconds": WARM_UP_SECONDS, "ramp_seconds": 0})


def fio_command(devices, cell, settings):
    command = ["fio", "--output-format=json", "--eta=never", "--name=global",
               "--ioengine=io_uring", "--direct=1", "--numjobs=1", f"--rw={cell.pattern}",
               f"--bs={cell.block_bytes}", f"--iodepth={cell.depth}", "--time_based",
               f"--runtime={round(settings['seconds'] * 1000)}ms",
               f"--ramp_time={round(settings['ramp_seconds'] * 1000)}ms",
               # Fewer things that fio itself would do between two requests.
               "--gtod_reduce=1", "--norandommap", "--scramble_buffers=0", "--disk_util=0"]
    for server, device in devices.items():
        command += [f"--name={server}", "--stonewall", f"--filename={device.path}"]
    return command


def watch(process, devices, at_rest, settings, announce):
    """{server: two samples from the middle of its job}, where they could be had."""
    windows = {}
    waiting = list(devices)
    announce(waiting[0])
    while waiting:
        server = wait_for_next(process, devices, at_rest, waiting, settings)
        if server is None:
            break
        waiting = waiting[waiting.index(server) + 1:]       # a job before it may have failed
        announce(server)
        time.sleep(settings["ramp_seconds"])
        before = Sample(devices[server])
        time.sleep(WINDOW_SHARE * settings["seconds"])
        after = Sample(devices[server])
        # Not if this process got no processor in time, and the second moment came too late.
        if process.poll() is None and not moving(devices, at_rest, waiting):
            windows[server] = before, after
    return windows


def wait_for_next(process, devices, at_rest, waiting, settings):
    """The first of those waiting whose device has begun to move data; none if fio has ended."""
    give_up = time.monotonic() + 2 * settings["seconds"] + PATIENCE_SECONDS
    while process.poll() is None:
        server = moving(devices, at_rest, waiting)
        if server:
            return server
        if time.monotonic() > give_up:
            raise Hung(f"{devices[waiting[0]].path} does not move, or the device before it")
        time.sleep(POLL_SECONDS)
    return None


def moving(devices, at_rest, servers):
    return next((server for server in servers
                 if moved_bytes(devices[server].name) != at_rest[server]), None)


def read_jobs(output, errors, cell):
    """{server: what fio says of its job}."""
    output.seek(0)
    errors.seek(0)
    said = errors.read().strip().splitlines()
    if said:
        more = f" (and {len(said) - 1} lines more)" if len(said) > 1 else ""
        print(f"bench: fio ({cell.name}): {said[0]}{more}", flush=True)
    return jobs_of(output.read())


def jobs_of(text):
    start = text.find("{")          # fio may print notes in front of its JSON
    if start < 0:
        return {}
    return {job["jobname"]: job for job in json.loads(text[start:])["jobs"]}


def result(job, window, cell):
    if job is None or job["error"] != 0 or job[cell.direction]["total_ios"] == 0:
        return {"status": "failed"}
    done = job[cell.direction]
    return {
        "status": "ok",
        "iops": round(done["iops"], 1),
        "mib_per_s": round(done["bw_bytes"] / (1 << 20), 2),
    } | (difference(*window) if window else {})


class Sample:
    def __init__(self, device):
        self.time = time.monotonic()
        self.server_ticks = process_ticks(device.pid) if device.pid else None
        self.busy_ticks, self.all_ticks = system_ticks()
        self.moved_bytes = moved_bytes(device.name)


def difference(before, after):
    busy, ticks = after.busy_ticks - before.busy_ticks, after.all_ticks - before.all_ticks
    fields = {
        "window_s": round(after.time - before.time, 3),
        "window_bytes": after.moved_bytes - before.moved_bytes,
        "system_cpu_s": round(busy / TICKS_PER_SECOND, 2),
        "system_busy_share": round(busy / ticks, 3) if ticks else "",
    }
    if before.server_ticks is not None:
        server = after.server_ticks - before.server_ticks
        fields["server_cpu_s"] = round(server / TICKS_PER_SECOND, 2)
    return fields


def process_ticks(pid):
    """Of all its threads, those that have ended included."""
    fields = stat_fields(pathlib.Path(f"/proc/{pid}/stat").read_text())
    return int(fields[11]) + int(fields[12])        # utime, stime


def stat_fields(text):
    """From the state on, which is field 3 of proc(5): the name before it may hold anything."""
    return text[text.rindex(")") + 2:].split()


def system_ticks():
    """Busy and all, over all processors."""
    line = pathlib.Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, line.split()[1:9])
    busy = user + nice + system + interrupts + soft
    return busy, busy + idle + waiting + stolen


def moved_bytes(name):
    fields = pathlib.Path(f"/sys/block/{name}/stat").read_text().split()
    return (int(fields[2]) + int(fields[6])) * SECTOR_BYTES

