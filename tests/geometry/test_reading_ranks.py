"""The pass over the frames on two ranks of a real MPI gives what one gives."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from read_digest import digest

from stemcal.frames.ranks import SERIAL

MPIEXEC = Path(sys.executable).with_name("mpiexec")

_PROGRAM = """
import sys
from pathlib import Path
from read_digest import digest
from stemcal.frames.ranks import open_world

print(digest(Path(sys.argv[1]), open_world(2)) or "", end="")
"""


@pytest.mark.skipif(not MPIEXEC.is_file(), reason="no mpiexec beside this Python")
def test_any_number_of_ranks_gives_the_same_bits(tmp_path):
    row, col = np.indices((128, 128))
    disk = (np.hypot(row - 60.3, col - 66.8) < 24).astype(float) + 0.01
    frames = np.random.default_rng(0).poisson(disk, (40, 30, 128, 128)).astype(np.uint16)
    np.save(tmp_path / "scan.npy", frames)

    helpers = str(Path(__file__).parents[1] / "helpers")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([helpers, *sys.path]), "OMP_NUM_THREADS": "1"}
    words = [str(MPIEXEC), "-n", "2", sys.executable, "-c", _PROGRAM, str(tmp_path / "scan.npy")]
    shared = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300, env=environment).stdout
    assert shared == digest(tmp_path / "scan.npy", SERIAL)
