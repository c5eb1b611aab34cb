"""What is measured, cell by cell: loads through NBD, and the loop of the cipher alone."""

from nbd.cells import Cell

SERVED = [Cell("served", block, pattern, depth, 1)
          for block, pattern in (("4k", "randread"), ("4k", "randwrite"), ("64k", "read"),
                                 ("64k", "write"), ("512k", "read"), ("512k", "write"))
          for depth in (1, 32)]
# Sectors of so many bytes.
LOOP = [Cell("loop", block, pattern, 1, 1) for block in ("512", "4096")
        for pattern in ("encrypt", "decrypt")]
