"""What is measured, cell by cell. A cell is one load; each part has its servers or clients."""

import dataclasses

SMALL = "4k"


@dataclasses.dataclass(frozen=True)
class Cell:
    part: str           # server, fio, limit, crowd, tls, client-unix, client-tcp, gap
    block: str          # 4k, 64k, 512k
    pattern: str        # as `sluice bench stack --pattern` takes it
    depth: int          # requests at a time in all
    connections: int

    @property
    def name(self):
        return (f"{self.part}/{self.block}/{self.pattern}/{self.depth}"
                + (f"/{self.connections}" if self.connections > 1 else ""))

    @property
    def title(self):
        many = f", {self.connections} connections" if self.connections > 1 else ""
        return f"{self.block} {self.pattern}, {self.depth} at a time{many}"

    @property
    def speed(self):
        return "iops" if self.block == SMALL else "mib_per_s"

    @property
    def unit(self):
        return "requests/s" if self.block == SMALL else "MiB/s"

    @property
    def cost(self):
        """The server's processor time is compared per request, or per GiB."""
        return "cpu_us_per_request" if self.block == SMALL else "cpu_s_per_gib"

    @property
    def cost_unit(self):
        return "us/request" if self.block == SMALL else "s/GiB"


SERVER = [Cell("server", block, pattern, depth, connections)
          for block, pattern, depth in (("4k", "randread", 32), ("64k", "read", 16),
                                        ("512k", "read", 16), ("4k", "randwrite", 32),
                                        ("512k", "write", 16))
          for connections in (1, 4)] + [Cell("server", "4k", "randread", 1, 1)]
FIO = [Cell("fio", "4k", "randread", 32, 1), Cell("fio", "512k", "read", 16, 1),
       Cell("fio", "4k", "randwrite", 32, 1), Cell("fio", "512k", "write", 16, 1)]
LIMIT = [Cell("limit", "4k", "randread", 32, 1), Cell("limit", "4k", "randread", 32, 4),
         Cell("limit", "512k", "read", 16, 1)]
CROWD = [Cell("crowd", "4k", "randread", 500, 500)]
TLS = [Cell("tls", "4k", "randread", 32, 1), Cell("tls", "512k", "read", 16, 1)]
CLIENT = [Cell(part, block, pattern, depth, 1) for part in ("client-unix", "client-tcp")
          for block, pattern, depth in (("4k", "randread", 1), ("4k", "randread", 32),
                                        ("512k", "read", 16), ("512k", "write", 16))]
GAP = [Cell("gap", "4k", "randread", 1, 1)]
ALL = SERVER + FIO + LIMIT + CROWD + TLS + CLIENT + GAP
