"""Processes: started, waited for within limits, ended by their numbers."""

import os
import pathlib
import select
import socket
import subprocess
import time

PATIENCE_SECONDS = 15       # for a start, an end, or an answer
POLL_SECONDS = 0.01


class Failed(Exception):
    """What was to be measured does not work here; the text says why."""


def start(command, log):
    """A process whose output goes to the file `log`."""
    try:
        with open(log, "wb") as file:
            return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                    stdout=file, stderr=subprocess.STDOUT)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error


def call(command, environment=None, seconds=2 * PATIENCE_SECONDS):
    """The standard output of a program that succeeds."""
    try:
        done = subprocess.run([str(word) for word in command], env=environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=seconds)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[0]} does not end") from error
    if done.returncode != 0:
        raise Failed(last_line(done.stderr) or f"{command[0]} failed")
    return done.stdout


def end(process):
    """Ends a process of ours, and by force if it takes too long."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def wait_until(condition, process, log):
    """Waits until the condition holds; fails if the process ends before."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > give_up:
            end(process)
            said = pathlib.Path(log).read_text(encoding="utf-8", errors="replace")
            raise Failed(last_line(said) or f"{process.args[0]} does not start")
        time.sleep(POLL_SECONDS)


def finish(process, seconds):
    """The standard output and error of a process, which has so much time; then it is killed."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)
        raise Failed(f"{process.args[0]} does not end") from error


def read_line(stream, seconds):
    """The next line of an unbuffered pipe; what there is of it, if it takes longer."""
    line, give_up = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        left = give_up - time.monotonic()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            break
        more = os.read(stream.fileno(), 1)
        if not more:
            break
        line += more
    return line.decode("utf-8", "replace").strip()


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def accepts(address):
    """Whether somebody listens: on a path, or on a (host, port)."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as client:
        try:
            client.connect(address if family == socket.AF_INET else str(address))
        except OSError:
            return False
    return True


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0
