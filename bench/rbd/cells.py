"""What is measured, cell by cell. Parts: NBD servers, and programs that use the library themselves;
each on the stub and on a cluster.
"""

from nbd.cells import Cell

LOADS = (("4k", "randread", 1), ("4k", "randread", 32), ("4k", "randwrite", 32),
         ("512k", "read", 16), ("512k", "write", 16))
# A cluster of one OSD answers some thousand requests a second, whoever asks.
CLUSTER_LOADS = (("4k", "randread", 32), ("4k", "randwrite", 32), ("512k", "read", 16))


def of(part, loads):
    return [Cell(part, block, pattern, depth, 1) for block, pattern, depth in loads]


STUB = of("stub", LOADS)
STUB_INSIDE = of("stub-inside", LOADS)
CLUSTER = of("cluster", CLUSTER_LOADS)
CLUSTER_INSIDE = of("cluster-inside", CLUSTER_LOADS)
