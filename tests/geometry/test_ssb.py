"""The object wave by single sideband: against the true object, and the same to the bit however it is computed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sideband_truth import INSIDE, SIDE, Scan, correlation, damaged, scan

from stemcal.errors import UsageError
from stemcal.geometry import ssb
from stemcal.geometry.ssb import Ssb, single_sideband

MPIEXEC = Path(sys.executable).with_name("mpiexec")


def reconstruct(one: Scan, weights: np.ndarray | None = None, sign: int = 1) -> tuple[Ssb, ...]:
    aberrations = {name: sign * value for name, value in one.aberrations_rad.items()}
    weights = one.everywhere if weights is None else weights
    shift = sign * one.plan.disk_shift_matrix
    return single_sideband(one.bright_field, weights, shift, one.aperture, [{}, aberrations])


@pytest.mark.parametrize("kind", ["hexagonal", "square"])
def test_corrected_phase_is_that_of_the_object_and_uncorrected_is_not(kind: str) -> None:
    one = scan(kind, flip=kind == "square")
    uncorrected, corrected = reconstruct(one)
    assert correlation(corrected.phase, one.phase) > 0.99
    assert correlation(uncorrected.phase, one.phase) < 0.8
    assert corrected.phase[INSIDE].std() == pytest.approx(one.phase[INSIDE].std(), rel=0.1)


def test_a_phase_object_has_no_amplitude() -> None:
    one = scan()
    _, corrected = reconstruct(one)
    assert corrected.amplitude.mean() == pytest.approx(1, abs=0.02)
    assert corrected.amplitude.std() < 0.25 * corrected.phase.std()


def test_half_turn_with_inverted_aberrations_inverts_the_phase_and_nothing_else() -> None:
    one = scan()
    _, right = reconstruct(one)
    _, turned = reconstruct(one, sign=-1)
    np.testing.assert_allclose(turned.wave, right.wave.conj(), atol=2e-4)


def test_weights_take_out_lost_lines_and_a_changing_dose() -> None:
    one = scan(dose=1e5)
    dose = np.ones(one.plan.scan_shape)
    dose *= 1 - 0.3 * np.arange(SIDE)[:, None] / SIDE
    lost = dose.copy()
    lost[20:22] = 0
    broken = damaged(one, lost)
    weights = np.where(lost > 0, 1 / dose, 0)
    assert correlation(reconstruct(broken, weights)[1].phase, one.phase) > 0.97
    assert correlation(reconstruct(broken)[1].phase, one.phase) < 0.95


def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssb, "BLOCK_BYTES", 20 * SIDE * SIDE * 4)
    one = scan()
    arguments = one.bright_field, one.everywhere, one.plan.disk_shift_matrix, one.aperture, [one.aberrations_rad]
    alone = single_sideband(*arguments)[0]
    together = single_sideband(*arguments, threads=3)[0]
    assert alone.wave.tobytes() == together.wave.tobytes()
    assert alone.transfer.tobytes() == together.transfer.tobytes()


_RANKS = """
import hashlib
from sideband_truth import scan
from stemcal.frames.ranks import open_world
from stemcal.geometry import ssb
ssb.BLOCK_BYTES = 50 * 16 * 16 * 4
world, one = open_world(), scan(dose=300.0, side=16)
disk = one.bright_field if world.rank == 0 else None
args = disk, one.everywhere, one.plan.disk_shift_matrix, one.aperture, [one.aberrations_rad]
for found in ssb.single_sideband(*args, world=world):
    print(hashlib.sha256(found.wave.tobytes()).hexdigest())
"""


@pytest.mark.skipif(not MPIEXEC.is_file(), reason="no mpiexec beside this Python")
def test_any_number_of_ranks_gives_the_same_bits(tmp_path: Path) -> None:
    program = tmp_path / "ranks.py"
    program.write_text(_RANKS)
    helpers = str(Path(__file__).parents[1] / "helpers")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([helpers, *sys.path]), "OMP_NUM_THREADS": "1"}

    def digest(*launcher: str) -> str:
        words = [*launcher, sys.executable, str(program)]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=300, env=environment).stdout

    assert len(alone := digest()) == 65
    assert digest(str(MPIEXEC), "-n", "3") == alone


def test_waves_that_no_pixel_measures_are_damped_not_amplified() -> None:
    """In focus the phase of long waves is not in the data: noise there must not be blown up."""
    one = scan(defocus=0.0, dose=300.0)
    _, corrected = reconstruct(one)
    spectrum = np.abs(np.fft.rfft2(corrected.phase))
    unmeasured = corrected.transfer < 0.02
    unmeasured[0, 0] = False
    measured = corrected.transfer > 0.3
    assert unmeasured.sum() > 10
    assert np.median(spectrum[unmeasured]) < np.median(spectrum[measured])


def test_misuse_is_named() -> None:
    one = scan()
    with pytest.raises(UsageError, match="singular"):
        single_sideband(one.bright_field, one.everywhere, np.zeros((2, 2)), one.aperture, [{}])
    with pytest.raises(UsageError, match="no aberration is called 'C99'"):
        single_sideband(one.bright_field, one.everywhere, np.eye(2), one.aperture, [{"C99": 1.0}])
