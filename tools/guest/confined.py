"""A command that cannot outlive its runner, nor leave a process behind.

It runs in a pid namespace of its own, whose first process takes every other one with it when it
dies; and that first process dies with the runner, even if the runner is killed outright.
"""

import os
import pathlib
import signal
import subprocess

# The shell is the namespace's process 1 and the command its child, since a process 1 cannot
# abort() or kill itself, which is how a guest kernel ends after a panic.
FIRST_PROCESS = '"$@" & wait $!'


def start(command, **popen_arguments):
    """Starts the command, as root; the arguments are subprocess.Popen's."""
    confine = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork",
               "--kill-child=KILL", "sh", "-c", FIRST_PROCESS, "sh"]
    return subprocess.Popen([*confine, *map(str, command)], stdin=subprocess.DEVNULL,
                            start_new_session=True, **popen_arguments)


def kill(process):
    """Kills the command and all its descendants; returns when they are gone."""
    if process.poll() is not None:
        return
    # Killing the namespace's first process lets unshare reap it, which the kernel permits only
    # once the others are gone. Killing unshare would end them too, but later.
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        first = [int(pid) for pid in children.read_text().split()]
    except OSError:
        first = []
    for pid in first or [process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
