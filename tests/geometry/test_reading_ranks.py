"""The pass over the frames on two ranks of a real MPI gives what one gives."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MPIEXEC = Path(sys.executable).with_name("mpiexec")

_PROGRAM = """
import hashlib, sys
from pathlib import Path
from stemcal.frames.npy import NpySource
from stemcal.frames.ranks import open_world
from stemcal.geometry.reading import read_scan

world = open_world()
reading = read_scan(NpySource(Path(sys.argv[1])), world=world, threads=world.size)
if world.rank == 0:
    parts = (reading.bright_field.counts, reading.sums.segments, reading.sums.mean_pattern, reading.sums.disk_col)
    print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


@pytest.mark.skipif(not MPIEXEC.is_file(), reason="no mpiexec beside this Python")
def test_any_number_of_ranks_gives_the_same_bits(tmp_path):
    row, col = np.indices((128, 128))
    disk = (np.hypot(row - 60.3, col - 66.8) < 24).astype(float) + 0.01
    frames = np.random.default_rng(0).poisson(disk, (40, 30, 128, 128)).astype(np.uint16)
    np.save(tmp_path / "scan.npy", frames)

    def digest(*launcher):
        words = [*launcher, sys.executable, "-c", _PROGRAM, str(tmp_path / "scan.npy")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=300, env=environment).stdout

    alone = digest()
    assert len(alone) == 2 * hashlib.sha256().digest_size + 1
    assert digest(str(MPIEXEC), "-n", "2") == alone
