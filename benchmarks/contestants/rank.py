"""One rank of ``contestants.rings:whole_ranks``: ``mpiexec -n N python -m contestants.rank ARGUMENTS``."""

from __future__ import annotations

import json
import sys
import time

from contestants.rings import whole_ours
from stemcal.frames.ranks import open_world


def main() -> None:
    """Print the seconds of the work, which has been done once before the clock."""
    world, work = open_world(), whole_ours(**json.loads(sys.argv[1]))
    world.barrier()
    start = time.perf_counter()
    work()
    if world.rank == 0:
        print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
