from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from stemcal.formats.hdf5 import create_hdf5, named_errors

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from stemcal.formats.hspy import Axis, write_signal1d

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
noise = np.random.default_rng(1).normal(size=(40, 50, 60)).astype(np.float32)
try:
    write_signal1d(Path(sys.argv[1]), noise, [Axis(name, "") for name in ("row", "col", "q")])
except OSError as error:
    print(error.errno, error.filename)
"""


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with create_hdf5(path) as file:
        file["x"] = 3
        assert not path.exists()
    with h5py.File(path) as file:
        assert file["x"][()] == 3


def test_an_error_inside_leaves_nothing_and_stays_what_it_is(tmp_path: Path) -> None:
    def write() -> None:
        with create_hdf5(tmp_path / "a.hdf5") as file:
            file["x"] = 3
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bytes_free", [20_000, 300_000, 430_000])
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, bytes_free: int) -> None:
    path = tmp_path / "a.hspy"
    command = [sys.executable, "-c", FULL_DISK, str(path), str(bytes_free)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == [str(errno.EFBIG), str(path)]
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_a_number_is_an_input_output_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"a\.hdf5") as caught, named_errors(tmp_path / "a.hdf5"):
        raise RuntimeError("Can't decrement id ref count")
    assert caught.value.errno == errno.EIO
