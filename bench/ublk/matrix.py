"""What is measured: the cells of the matrix, who serves them, and in which order they run."""

import dataclasses
import re

# Target nbd on an export of nbdkit, with so many connections, each of a queue of its own.
CONNECTIONS = {"nbd-1": 1, "nbd-2": 2}
MIRROR = "mirror"
THIN = "thin"
MODES = ("auto", "register", "user_copy", "get_data", "copy")
# The kernel's own devices: "kernel" is the one of the target's kind; a mirror has several.
MIRROR_PEERS = ("md", "md-bitmap", "dm-mirror")
THIN_PEERS = ("dm-thin",)
KERNEL = ("kernel", *MIRROR_PEERS, *THIN_PEERS)
PEERS = {"null": "null_blk", "loop": "loop", "stripe": "dm-stripe", "nbd-1": "nbd",
         "nbd-2": "nbd"}
SERVERS = (*MODES, *KERNEL)
BLOCKS = {"4k": 4 << 10, "64k": 64 << 10, "512k": 512 << 10}
DIRECTIONS = ("read", "write")
RAMP_SECONDS = 0.2

LEGS = 4                        # of the stripe
CHUNK_BYTES = 64 << 10
DEVICE_BYTES = 128 << 20        # of each device; each has files of its own
QUEUE_DEPTH = 128

# Measured once: the footprint of an idle server, and how soon a device can be read.
FIRST_READS = 10
IDLE_SECONDS = 2.0
# And of a mirror, in each round: a first copy, and requests while a leg dies.
RESYNC_BYTES = 768 << 20
FAILOVER_SECONDS = 3.0
# And of a pool: first writes, writes after a snapshot, a pool of a million mappings.
THIN_BYTES = 512 << 20
THIN_BLOCK_BYTES = 64 << 10
THIN_METADATA_BYTES = 16 << 20
MAPPINGS = 1_000_000
ONCE_OF_ALL = ("footprint", "mappings")     # have their samples in one round
LAST_QUANTITY = {"footprint": "idle_wakeups", "resync": "resync_p99", "failover": "stall",
                 "provision": "first_512k", "snapshot": "after_512k", "mappings": "memory"}


@dataclasses.dataclass(frozen=True)
class Suite:
    """What one command measures and publishes in a folder of its own."""
    title: str
    command: str
    folder: str
    programs: tuple             # that it needs
    targets: tuple
    servers: tuple
    blocks: tuple = tuple(BLOCKS)
    depths: tuple = (1, 64)
    once: tuple = ()            # see Once
    once_title: str = ""
    once_servers: tuple = ()


SUITES = {
    "ublk": Suite("ublk devices", "bench/run", "ublk", ("losetup", "dmsetup"),
                  ("null", "loop", "stripe"), (*MODES, "kernel"), once=("footprint",),
                  once_title="An idle server, one queue of depth 128",
                  once_servers=("auto", "copy")),
    "nbd": Suite("Target nbd on ublk, and the kernel's NBD client", "bench/run --nbd", "nbd-guest",
                 ("nbdkit", "nbd-client"), tuple(CONNECTIONS), ("auto", "copy", "kernel"),
                 depths=(1, 32)),
    "mirror": Suite("Target mirror on ublk, md RAID 1 and dm-mirror", "bench/run --mirror",
                    "mirror", ("nbdkit", "losetup", "dmsetup", "mdadm"), (MIRROR,),
                    ("auto", "copy", *MIRROR_PEERS), blocks=("4k", "512k"),
                    once=("resync", "failover"), once_title="A resync, and the death of a leg",
                    once_servers=("auto", "md-bitmap")),
    "thin": Suite("Target thin on ublk, and dm-thin", "bench/run --thin", "thin",
                  ("losetup", "dmsetup"), (THIN,), ("auto", "copy", *THIN_PEERS),
                  blocks=("4k", "512k"), once=("provision", "snapshot", "mappings"),
                  once_title="First writes, writes after a snapshot, and a large pool",
                  once_servers=("auto", "dm-thin", "qcow2")),
}


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


@dataclasses.dataclass(frozen=True)
class Once:
    """What is measured apart from the cells, of one server: one or several lines of once.csv."""
    what: str
    server: str
    round: int

    @property
    def name(self):
        return f"once/{self.what}/{self.server}"

    @property
    def key(self):
        return f"{self.name}#{self.round}"

    @property
    def last_line(self):
        """Server, quantity and sample: the others have been written before it."""
        return self.server, LAST_QUANTITY[self.what], str(self.round)


def suite_name(settings):
    return settings.get("suite", "ublk")    # older results do not have it


def suite(settings):
    return SUITES[suite_name(settings)]


def suite_of(target):
    return next(each for each in SUITES.values() if target in each.targets)


def targets(settings):
    return suite(settings).targets


def servers(target):
    return suite_of(target).servers


def depths(target):
    return suite_of(target).depths


def queues(target):
    return CONNECTIONS.get(target, 1)


def cells(settings):
    blocks = ("4k", "512k") if settings["quick"] else suite(settings).blocks
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
    """In rounds likewise; a footprint has its samples in one."""
    wanted = re.compile(settings["only"])
    here = suite(settings)
    found = [Once(what, server, number) for what in here.once
             for number in range(1, (1 if what in ONCE_OF_ALL else settings["runs"]) + 1)
             for server in rotated(here.once_servers, number - 1)
             if (what, server) != ("mappings", "qcow2")]
    return [once for once in found if wanted.search(once.name)]


def rotated(names, by):
    by %= len(names)
    return names[by:] + names[:by]


def server_title(server, target):
    return f"kernel {PEERS[target]}" if server == "kernel" else server
