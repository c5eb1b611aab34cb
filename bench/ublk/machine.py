"""Facts about the machine, for the record."""

import datetime
import os
import pathlib
import platform
import re
import shutil
import subprocess

from ublk import matrix

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def has_ublk():
    """Whether devices can be made on this very machine."""
    if os.geteuid() != 0:
        return False
    if not os.path.exists("/dev/ublk-control") and find_program("modprobe"):
        subprocess.run([find_program("modprobe"), "ublk_drv"], check=False, capture_output=True)
    return os.path.exists("/dev/ublk-control")


def find_program(name):
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def sluice(settings):
    """The program to measure: recorded as a path in the checkout, where it is there."""
    return str(CHECKOUT / settings["sluice"])


def revision():
    """The git revision, with a mark if what is built may differ from it."""
    head = output("git", "-C", CHECKOUT, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    changed = output("git", "-C", CHECKOUT, "status", "--porcelain", "--", "src", "include",
                     "CMakeLists.txt", "CMakePresets.json", "cmake")
    return head + ("-dirty" if changed else "")


def describe(settings):
    """The text of machine.txt, but for its list of devices."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    facts = [
        ("date", datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")),
        ("sluice", output(sluice(settings), "--version")),
        ("revision", settings["revision"]),
        ("kernel", f"{platform.release()} {platform.version()}"),
        ("guest", "User Mode Linux (tools/vm uml), on " + host_of(cpuinfo)
         if "User Mode Linux" in cpuinfo else "no: this is the machine itself"),
        ("processor", settings["processor"]),
        ("processors", str(os.cpu_count())),
        ("memory", field(pathlib.Path("/proc/meminfo").read_text(encoding="utf-8"), "MemTotal")),
        ("fio", output("fio", "--version")),
        ("losetup", output(find_program("losetup"), "--version")),
        ("dmsetup", output(find_program("dmsetup"), "--version").partition("\n")[0]),
        *versions(settings),
        ("python", platform.python_version()),
        ("each run", f"{settings['seconds']} s after {settings['ramp_seconds']} s"),
        ("runs of a cell", str(settings["runs"])),
    ]
    return "".join(f"{name + ':':16}{value}\n" for name, value in facts)


def versions(settings):
    """Of the programs that only this suite needs."""
    commands = {"nbdkit": ["nbdkit", "--version"],
                "nbd-client": [find_program("nbd-client"), "--version"],
                # It writes its version to the standard error output.
                "mdadm": ["sh", "-c", "exec mdadm --version 2>&1"]}
    return [(name, output(*commands[name])) for name in matrix.suite(settings).programs
            if name in commands]


def processor():
    return field(pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"), "model name")


def host_of(cpuinfo):
    host = field(cpuinfo, "host")
    return re.sub(r"^Linux \S+ ", "Linux ", host)      # without the machine's name


def field(text, name):
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else "unknown"


def output(*command):
    try:
        result = subprocess.run([str(word) for word in command], check=False, text=True,
                                capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
