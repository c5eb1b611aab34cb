"""What single requests of a small load see while something happens to the device."""

import subprocess
import tempfile
import time

from nbd import processes
from ublk import load

NS_PER_MS = 1e6
JOB = "requests"
LONGEST_SECONDS = 300       # if nobody ends it


def measure(device, options, happening):
    """fio's figures of 4K writes, from the first one until `happening` returns.

    p99_ms and longest_ms, from when a request is given to the device until it is done.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        at_rest = load.moved_bytes(device.name)
        process = subprocess.Popen(command(device, options), stdout=output, stderr=errors,
                                   stdin=subprocess.DEVNULL)
        try:
            wait_for_first(process, device, at_rest)
            happening()
            process.terminate()     # fio then tells what it has
            process.wait(load.PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as expired:
            raise load.Hung(f"fio on {device.path} does not end") from expired
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return figures(output.read(), errors.read())


def command(device, options):
    return ["fio", "--output-format=json", "--eta=never", f"--name={JOB}",
            f"--filename={device.path}", "--ioengine=io_uring", "--direct=1", "--rw=randwrite",
            "--bs=4k", "--norandommap", "--scramble_buffers=0", "--disk_util=0",
            "--lat_percentiles=1", "--time_based", f"--runtime={LONGEST_SECONDS}", *options]


def wait_for_first(process, device, at_rest):
    give_up = time.monotonic() + load.PATIENCE_SECONDS
    while process.poll() is None and load.moved_bytes(device.name) == at_rest:
        if time.monotonic() > give_up:
            raise load.Hung(f"{device.path} does not move")
        time.sleep(load.POLL_SECONDS)


def figures(text, said):
    jobs = load.jobs_of(text)
    done = jobs[JOB]["write"] if JOB in jobs else {"total_ios": 0}
    if done["total_ios"] == 0 or jobs[JOB]["error"] != 0:
        raise processes.Failed(f"fio: {' '.join(said.split()) or 'no request has succeeded'}")
    latency = done["lat_ns"]
    return {"p99_ms": latency["percentile"]["99.000000"] / NS_PER_MS,
            "longest_ms": latency["max"] / NS_PER_MS}
