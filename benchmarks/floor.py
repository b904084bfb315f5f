"""The floor: read a file in pieces of 1 MiB, gzip each, write. Whoever gzips the log at all does this much.

No line is looked at, nothing is split or routed.

    python benchmarks/floor.py audit.log audit.log.gz
"""

from __future__ import annotations

import sys

from isal import igzip_lib

PIECE = 1 << 20


def main() -> None:
    source, target = sys.argv[1:]
    with open(source, "rb", buffering=0) as reader, open(target, "wb", buffering=0) as writer:
        while piece := reader.read(PIECE):
            writer.write(igzip_lib.compress(piece, 1, igzip_lib.COMP_GZIP))


if __name__ == "__main__":
    main()
