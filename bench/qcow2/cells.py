"""What is measured, cell by cell; a part is a kind of image."""

from nbd.cells import Cell
from qcow2 import images

LOADS = (("4k", "randread", 1), ("4k", "randread", 128), ("4k", "randwrite", 1),
         ("4k", "randwrite", 128), ("4k", "randrw", 1), ("4k", "randrw", 128),
         ("512k", "read", 16), ("512k", "write", 16))
SERVED = [Cell(kind, block, pattern, depth, 1) for kind in images.KINDS
          for block, pattern, depth in LOADS]
# In one process, without a server: what the format costs beside a raw file.
INSIDE = [Cell("inside", block, pattern, depth, 1) for block, pattern, depth in LOADS]
LEVELS = [Cell(f"level-{level}", "4k", "randread", 32, 1) for level in (1, images.LEVELS)]
