"""The volumes of a run: LUKS1 by qemu-img, which all servers read; LUKS2 with sectors of 4096 bytes
by cryptsetup; a plain file. Full of random data, and in memory, which is the page cache.
"""

import os
import pathlib

from nbd import processes

DISK_BYTES = 256 << 20
TRIES = 20
LUKS1, LUKS2, PLAIN = "luks1", "luks2", "plain"
HEADER_BYTES = 16 << 20     # at most


class Volumes:
    """Below a directory."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.key = self.path / "key"

    def of(self, kind):
        return self.path / f"{kind}.img"

    def make(self):
        self.key.write_text("secret", encoding="utf-8")
        self.key.chmod(0o600)
        for attempt in range(TRIES):    # QEMU measures the processor, not always accurately
            try:
                processes.call(["qemu-img", "create", "-q", "-f", "luks", *self.secret(), "-o",
                                "key-secret=s,iter-time=10", self.of(LUKS1), DISK_BYTES])
                break
            except processes.Failed:
                if attempt == TRIES - 1:
                    raise
        for kind in (LUKS2, PLAIN):
            with open(self.of(kind), "wb") as image:
                image.truncate(DISK_BYTES + HEADER_BYTES)
        processes.call(["cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2",
                        "--sector-size", "4096", "--pbkdf", "pbkdf2",
                        "--pbkdf-force-iterations", "1000", self.of(LUKS2), self.key])
        for kind in (LUKS1, LUKS2, PLAIN):
            self.fill(self.of(kind))

    def secret(self):
        return ["--object", f"secret,id=s,file={self.key}"]

    @staticmethod
    def fill(path):
        """What is behind the header; deciphered, it is random as well."""
        with open(path, "r+b") as image:
            image.seek(HEADER_BYTES)
            while image.tell() < os.path.getsize(path):
                left = os.path.getsize(path) - image.tell()
                image.write(os.urandom(min(left, 1 << 20)))
