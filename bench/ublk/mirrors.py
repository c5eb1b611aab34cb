"""What is measured of mirrors beside their speed: a first copy, and requests while a leg dies.

Ours and md with a bitmap, on legs of the same kind. The copy is that of a new array whose legs hold
different data.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
import time
import typing

from nbd import processes
from ublk import devices, latency, load, machine, matrix

OURS = "auto"
EVENTS = ".events"                      # of the state directory: an object on each line
SLOW, UNLIMITED = "16M", "1T"           # bytes a second
SPEED_LIMITS = {"speed_limit_max": "1000000000", "speed_limit_min": "1000000000"}   # KiB a second
POLL_SECONDS = 0.01
SYNC_SECONDS = 120                      # a copy that takes longer hangs
REST_SECONDS = 1.5
BEFORE_DEATH_SECONDS = 0.5
# Beside a copy a fixed rate, so that both arrays have the same to do.
AT_FIXED_RATE = ("--iodepth=8", "--rate_iops=1000")
FAST = ("--iodepth=4",)


@dataclasses.dataclass(frozen=True)
class Copy:
    device: devices.Device
    go_on: typing.Callable          # at full speed; returns the bytes that are left then
    has_ended: typing.Callable


def measure_resync(once, place, settings):
    """Lines of once.csv."""
    legs = devices.fill("leg", 2, matrix.RESYNC_BYTES, place)
    copying = sluice_copy if once.server == OURS else md_copy
    with copying(legs, place, settings) as copy:
        alone = speed_of(copy)
        rest = latency.measure(copy.device, AT_FIXED_RATE, lambda: time.sleep(REST_SECONDS))
    with copying(legs, place, settings) as copy:
        beside = []
        loaded = latency.measure(copy.device, AT_FIXED_RATE,
                                 lambda: beside.append(speed_of(copy)))
    return [line(once, "resync_speed", alone, "GiB/s"),
            line(once, "resync_speed_loaded", *beside, "GiB/s"),
            line(once, "rest_p99", rest["p99_ms"], "ms"),
            line(once, "resync_p99", loaded["p99_ms"], "ms")]


def speed_of(copy):
    left_bytes = copy.go_on()
    began = time.monotonic()
    give_up = began + SYNC_SECONDS
    while not copy.has_ended():
        if time.monotonic() > give_up:
            raise load.Hung(f"the legs are not equal after {SYNC_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return left_bytes / (1 << 30) / (time.monotonic() - began)


@contextlib.contextmanager
def sluice_copy(legs, place, settings):
    """Of a new mirror; it is slow until it is told to go on."""
    devices.create_mirror(legs, place, settings)
    before = times_in_sync(place)
    spec = f"mirror({legs[0]}, {legs[1]}, resync_min={SLOW}, resync_max={SLOW})"
    with devices.sluice(spec, OURS, place, settings) as device:
        def go_on():
            said = ctl(device, place, settings, "/", "resync", f"min={UNLIMITED}", "max=0",
                       "--json")
            return json.loads(said)["left_bytes"]
        yield Copy(device, go_on, lambda: times_in_sync(place) > before)


def times_in_sync(place):
    try:
        return (place / EVENTS).read_text(encoding="utf-8").count("is in sync")
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def md_copy(legs, _place, _settings):
    """Of a new array with a bitmap; it is stopped soon after its start."""
    make = functools.partial(devices.md, bitmap="internal", options=())
    with devices.kernel_mirror(make, legs) as device:
        state = pathlib.Path(f"/sys/block/{device.name}/md")

        def is_at(name, value):
            return (state / name).read_text().strip() == value

        def go_on():
            left = devices.size_of(device.name) - int((state / "resync_start").read_text())
            (state / "sync_action").write_text("idle")      # as opposed to frozen
            return left * load.SECTOR_BYTES
        # Until then it goes by the limits, and cannot have ended.
        (state / "sync_action").write_text("frozen")
        with speed_limits_raised():
            yield Copy(device, go_on,
                       lambda: is_at("resync_start", "none") and is_at("sync_action", "idle"))


@contextlib.contextmanager
def speed_limits_raised():
    """Of md's copies: that they go on at full speed whatever else is asked of the disks."""
    limits = pathlib.Path("/proc/sys/dev/raid")
    before = {name: (limits / name).read_text() for name in SPEED_LIMITS}
    try:
        for name, value in SPEED_LIMITS.items():
            (limits / name).write_text(value)
        yield
    finally:
        for name, value in before.items():
            (limits / name).write_text(value)


def measure_failover(once, place, settings):
    """Lines of once.csv: the longest request while nothing happens, and while a leg dies."""
    legs = devices.fill("leg", 2, matrix.DEVICE_BYTES, place)
    if once.server != OURS:
        return local_stalls(once, *stalls_of_md(legs))
    longest = stall_over_nbd(legs, place, settings)
    return [line(once, "nbd_stall", longest, "ms"),
            *local_stalls(once, *stalls_of_sluice(legs, place, settings))]


def local_stalls(once, at_rest, at_death):
    return [line(once, "rest_stall", at_rest, "ms"), line(once, "stall", at_death, "ms")]


def stalls_of_sluice(legs, place, settings):
    devices.create_mirror(legs, place, settings, "--assume_clean")
    with devices.sluice(f"mirror({legs[0]}, fault({legs[1]}))", OURS, place, settings) as device:
        def kill():
            ctl(device, place, settings, "/1", "power_cut")
        found = longest_at_rest(device), longest_at_death(device, kill)
        check_that_one_leg_is_left(device, place, settings)
        return found


def stall_over_nbd(legs, place, settings):
    with devices.export(legs[1:], place / "server") as server:
        far = f"nbd({server.uri()}, reconnect=0s)"
        devices.create_mirror([legs[0], far], place, settings, "--assume_clean")
        with devices.sluice(f"mirror({legs[0]}, {far})", OURS, place, settings) as device:
            longest = longest_at_death(device, lambda: os.kill(server.pid, signal.SIGKILL))
            check_that_one_leg_is_left(device, place, settings)
            return longest


def check_that_one_leg_is_left(device, place, settings):
    said = devices.call(machine.sluice(settings), "stat", device.path,
                        env=devices.environment(place))
    if "legs_in_sync 1," not in said:
        raise processes.Failed(f"the leg has not left: {' '.join(said.split())}")


def stalls_of_md(files):
    """A leg dies as a disk does whose every request fails at once."""
    with contextlib.ExitStack() as stack:
        legs = [stack.enter_context(devices.kernel_loop([path])) for path in files]
        sectors = matrix.DEVICE_BYTES >> 9
        legs[1] = stack.enter_context(devices.dm_device(f"0 {sectors} linear {legs[1].path} 0"))
        with devices.md(legs, bitmap="internal") as device:
            found = (longest_at_rest(device), longest_at_death(
                device, lambda: devices.call("dmsetup", "wipe_table", devices.NAME)))
            left = pathlib.Path(f"/sys/block/{device.name}/md/degraded").read_text().strip()
            if left != "1":
                raise processes.Failed(f"md has lost {left} legs")
            return found


def longest_at_rest(device):
    return latency.measure(device, FAST, lambda: time.sleep(REST_SECONDS))["longest_ms"]


def longest_at_death(device, kill):
    def happening():
        time.sleep(BEFORE_DEATH_SECONDS)
        kill()
        time.sleep(matrix.FAILOVER_SECONDS)
    return latency.measure(device, FAST, happening)["longest_ms"]


def ctl(device, place, settings, *words):
    return devices.call(machine.sluice(settings), "ctl", device.path, *words,
                        env=devices.environment(place))


def line(once, quantity, value, unit):
    return {"server": once.server, "quantity": quantity, "sample": once.round,
            "value": round(value, 3), "unit": unit}
