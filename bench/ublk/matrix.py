"""What is measured: the cells of the matrix, who serves them, and in which order they run."""

import dataclasses
import re

TARGETS = ("null", "loop", "stripe")
# Target nbd on an export of nbdkit, with so many connections, each of a queue of its own.
CONNECTIONS = {"nbd-1": 1, "nbd-2": 2}
MODES = ("auto", "register", "user_copy", "get_data", "copy")
# The kernel's own device of the same kind, measured beside ours under the name "kernel".
PEERS = {"null": "null_blk", "loop": "loop", "stripe": "dm-stripe", "nbd-1": "nbd",
         "nbd-2": "nbd"}
SERVERS = (*MODES, "kernel")
NBD_SERVERS = ("auto", "copy", "kernel")
BLOCKS = {"4k": 4 << 10, "64k": 64 << 10, "512k": 512 << 10}
DIRECTIONS = ("read", "write")
DEPTHS = (1, 64)
NBD_DEPTHS = (1, 32)
RAMP_SECONDS = 0.2

LEGS = 4                        # of the stripe
CHUNK_BYTES = 64 << 10
DEVICE_BYTES = 128 << 20        # of each device; each has files of its own
QUEUE_DEPTH = 128

# Measured once: the footprint of an idle server, and how soon a device can be read.
ONCE_MODES = ("auto", "copy")
FIRST_READS = 10
IDLE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Cell:
    target: str
    block: str
    direction: str
    depth: int

    @property
    def block_bytes(self):
        return BLOCKS[self.block]

    @property
    def pattern(self):
        """As fio calls it: small blocks at random places, large ones in sequence."""
        return ("rand" if self.block == "4k" else "") + self.direction

    @property
    def name(self):
        return f"{self.target}/{self.block}/{self.direction}/{self.depth}"

    @property
    def speed(self):
        """The number that tells its throughput."""
        return "iops" if self.block == "4k" else "mib_per_s"

    @property
    def unit(self):
        return "IOPS" if self.block == "4k" else "MiB/s"


@dataclasses.dataclass(frozen=True)
class Run:
    cell: Cell
    server: str
    round: int

    @property
    def name(self):
        return f"{self.cell.name}/{self.server}"

    @property
    def key(self):
        return f"{self.name}#{self.round}"


def targets(settings):
    return tuple(CONNECTIONS) if settings.get("nbd") else TARGETS


def servers(target):
    return NBD_SERVERS if target in CONNECTIONS else SERVERS


def depths(target):
    return NBD_DEPTHS if target in CONNECTIONS else DEPTHS


def queues(target):
    return CONNECTIONS.get(target, 1)


def cells(settings):
    blocks = ("4k", "512k") if settings["quick"] else BLOCKS
    return [Cell(target, block, direction, depth) for target in targets(settings)
            for block in blocks for direction in DIRECTIONS
            for depth in (depths(target)[-1:] if settings["quick"] else depths(target))]


def plan(settings):
    """All runs in their order: run i of every server comes before run i + 1 of any.

    Each round begins with another server, so that none always follows the same one.
    """
    wanted = re.compile(settings["only"])
    runs = []
    for target in targets(settings):
        for number in range(1, settings["runs"] + 1):
            for cell in cells(settings):
                if cell.target == target:
                    runs += [Run(cell, server, number)
                             for server in rotated(servers(target), number - 1)]
    return [run for run in runs if wanted.search(run.name)]


def once_plan(settings):
    if settings.get("nbd"):
        return []
    return [mode for mode in ONCE_MODES if re.search(settings["only"], f"once/{mode}")]


def rotated(names, by):
    by %= len(names)
    return names[by:] + names[:by]


def server_title(server, target):
    return f"kernel {PEERS[target]}" if server == "kernel" else server
