"""Thick crystals: angles, tilt, and who is not believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from thick_truth import SEMI_ANGLE_MRAD, ThickData, crystals, thick_data

from stemcal.geometry.metric import NoMetric, ZoneMetric, zone_metric
from stemcal.geometry.thick import NoTilt, ThickResult, Tilt, Vote, decide, disk_shift_angle_deg, thick_votes
from stemcal.optics.scan_affine import ScanAxes, disk_shift_matrix, scan_matrix
from stemcal.phantoms.thick_scan import ThickScene

STRAIGHT = ScanAxes(-47.3, -46.2, 0.26, 0.265, flip=False)
FLIPPED = ScanAxes(101.0, 100.2, 0.26, 0.252, flip=True)
DOSE = 1e4


@pytest.fixture(scope="module")
def scenes() -> tuple[ThickScene, ...]:
    """5 nm and 10 nm."""
    return crystals((13, 26), 2)


@pytest.fixture(scope="module")
def upright(scenes: tuple[ThickScene, ...]) -> ThickData:
    scene = replace(scenes[1], rotation_deg=7.3, aberrations_angstrom={"C10": 60.0, "C12a": 10.0, "C12b": -7.0})
    return thick_data(scene, STRAIGHT, DOSE, 1)


@pytest.fixture(scope="module")
def tilted(scenes: tuple[ThickScene, ...]) -> ThickData:
    scene = replace(
        scenes[1], rotation_deg=22.5, tilt_mrad=(3.0, 3.6), aberrations_angstrom={"C10": -40.0, "C12a": 15.0}
    )
    return thick_data(scene, FLIPPED, DOSE, 2)


def votes_of(data: ThickData, **changes) -> ThickResult:
    given = {"valid": data.valid, "slices": data.slices, "com_direction": None} | changes
    return thick_votes(
        data.mean, 128 * 128, given["valid"], data.aperture, data.lattice, given["slices"], given["com_direction"],
        data.unit_px, SEMI_ANGLE_MRAD,
    )  # fmt: skip


def vote_of(result: ThickResult, method: str) -> Vote:
    return next(vote for vote in result.votes if vote.method == method)


def error_deg(vote: Vote, data: ThickData) -> float:
    assert vote.disk_shift_px is not None
    error = disk_shift_angle_deg(vote.disk_shift_px, data.disk_shift_px)
    assert error is not None, f"{vote.method} has the wrong flip"
    return error


def test_ten_nanometres_off_the_pixel_grid(upright: ThickData):
    result = votes_of(upright)
    decision = decide(result.votes, 0.49)
    assert decision.mode in ("bulk", "kikuchi")
    assert decision.vote is not None
    assert abs(error_deg(decision.vote, upright)) < 0.1
    for vote in result.votes:
        assert vote.sigma_deg is not None
        assert abs(error_deg(vote, upright)) < 3 * vote.sigma_deg
    shift = decision.vote.disk_shift_px
    assert shift is not None
    sign = np.sign(np.sum(shift * upright.disk_shift_px))
    # the scan is not quite square, so the lattice is not either in its own coordinates; on the camera it is
    np.testing.assert_allclose(sign * shift, upright.disk_shift_px, atol=2e-3 * upright.unit_px)
    assert isinstance(result.tilt, Tilt)
    assert np.hypot(result.tilt.row_mrad, result.tilt.col_mrad) < 3 * result.tilt.sigma_mrad + 0.05


def test_a_tilt_is_seen_in_the_kikuchi_bands(tilted: ThickData):
    result = votes_of(tilted)
    assert isinstance(result.tilt, Tilt)
    found = np.array([result.tilt.row_mrad, result.tilt.col_mrad])
    assert np.hypot(*(found - tilted.tilt_mrad)) < 0.5
    assert np.hypot(*(found - tilted.tilt_mrad)) < 3 * result.tilt.sigma_mrad
    assert not vote_of(result, "bulk").usable
    assert "tilted" in vote_of(result, "bulk").reason
    kikuchi = vote_of(result, "kikuchi")
    assert kikuchi.sigma_deg is not None
    assert abs(error_deg(kikuchi, tilted)) < 3 * kikuchi.sigma_deg
    decision = decide(result.votes, 0.49)
    assert decision.vote is None or abs(error_deg(decision.vote, tilted)) < 0.2


def test_the_inversion_centre_of_the_disk_does_not_see_the_tilt(tilted: ThickData):
    rows, cols = np.indices(tilted.mean.shape)
    middle = np.array([tilted.aperture.centre_row_px, tilted.aperture.centre_col_px])

    def correlation(centre: np.ndarray) -> float:
        row, col = 2 * centre[0] - rows, 2 * centre[1] - cols
        inside = [np.hypot(y - middle[0], x - middle[1]) < 19 for y, x in ((rows, cols), (row, col))]
        both = inside[0] & inside[1]
        turned = map_coordinates(tilted.mean, [row[both], col[both]], order=1)
        return float(np.corrcoef(tilted.mean[both], turned)[0, 1])

    tilt_px = tilted.tilt_mrad / 1.25
    assert correlation(middle) > correlation(middle + tilt_px)


def test_without_thermal_motion_there_are_no_kikuchi_bands(scenes: tuple[ThickScene, ...]):
    scene = replace(scenes[1], diffuse=None, rotation_deg=22.5, tilt_mrad=(3.0, 3.6))
    data = thick_data(scene, STRAIGHT, DOSE, 3)
    result = votes_of(data)
    assert isinstance(result.tilt, NoTilt)
    assert not vote_of(result, "kikuchi").usable


def test_five_nanometres_have_mirrors_but_no_bands(scenes: tuple[ThickScene, ...]):
    data = thick_data(replace(scenes[0], rotation_deg=31.7), FLIPPED, DOSE, 4)
    result = votes_of(data)
    assert isinstance(result.tilt, NoTilt)
    bulk = vote_of(result, "bulk")
    assert bulk.sigma_deg is not None
    assert bulk.sigma_deg < 0.2
    assert abs(error_deg(bulk, data)) < 3 * bulk.sigma_deg
    decision = decide(result.votes, 0.71)
    assert decision.vote is None or abs(error_deg(decision.vote, data)) < 0.1


def test_the_centre_of_mass_has_a_veto_and_no_voice(upright: ThickData):
    rows, cols = np.indices(upright.mean.shape)
    near = np.hypot(rows - 35.3, cols - 36.1) < 28
    right = votes_of(upright, com_direction=upright.disk_shift_px, valid=near)
    assert abs(error_deg(vote_of(right, "bulk"), upright)) < 0.2
    assert "the camera ends too early" in vote_of(right, "kikuchi").reason
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]]) @ upright.disk_shift_px
    refused = decide(votes_of(upright, com_direction=quarter, valid=near).votes, 0.49)
    assert refused.vote is None
    assert "achromatic lines and centre of mass are" in refused.reason
    alone = decide(votes_of(upright, slices=None, com_direction=upright.disk_shift_px, valid=near).votes, 0.49)
    assert alone.vote is None
    assert "which of the crystal's mirrors is which cannot be told: there are no slices" in alone.reason


def test_a_lattice_without_a_high_axis_is_refused_by_name(upright: ThickData):
    oblong = replace(upright, lattice=replace(upright.lattice, vectors=np.array([[0.05, 0.0], [0.0, 0.08]])))
    result = votes_of(oblong)
    assert not any(vote.usable for vote in result.votes)
    assert all("no four- or six-fold axis" in vote.reason for vote in result.votes)
    assert isinstance(result.tilt, NoTilt)
    assert decide(result.votes, None).mode is None


@pytest.mark.parametrize("axes", [STRAIGHT, FLIPPED])
@pytest.mark.parametrize(
    "sides", [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.75**0.5]], [[1.0, 0.0], [-0.5, 0.75**0.5]]]
)
def test_a_metric_has_the_true_geometry_among_its_own(axes: ScanAxes, sides):
    angle = 0.4
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    reciprocal = np.array(sides) @ turn.T / 3.905
    scan = scan_matrix(axes)
    metric = zone_metric(reciprocal @ scan)
    assert isinstance(metric, ZoneMetric)
    truth = disk_shift_matrix(scan, 0.0197, 1.25)
    first = truth @ metric.basis[0]
    unit = np.sqrt(abs(np.linalg.det(truth)))
    direction = np.arctan2(first[0], first[1])
    np.testing.assert_allclose(metric.disk_shift(direction, axes.flip, unit), truth, rtol=1e-9)
    assert np.abs(metric.disk_shift(direction, not axes.flip, unit) - truth).max() > 0.3 * unit


def test_metric_refuses_shear_and_stretch():
    assert isinstance(zone_metric(np.array([[1.0, 0.0], [0.2, 1.0]])), NoMetric)
    assert isinstance(zone_metric(np.array([[1.0, 0.0], [0.0, 1.2]])), NoMetric)


def vote(method, angle_deg=0.0, sigma_deg=0.05, *, usable=True, flip=False) -> Vote:
    angle = np.radians(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([-1.0 if flip else 1.0, 1.0])
    return Vote(method, matrix, sigma_deg, usable=usable, reason="because" if usable else f"{method} is too uncertain")


def test_the_decision_between_votes():
    thin = vote("thin", 5.0)
    assert decide([thin, vote("bulk")], 0.97).mode == "thin"
    assert decide([thin, vote("bulk")], 0.94).mode == "bulk"
    assert decide([thin, vote("bulk")], None).mode == "bulk"
    assert decide([thin], 0.94).mode is None
    assert decide([thin], 0.94, least_explained_energy=0.9).mode == "thin"
    assert decide([vote("bulk"), vote("kikuchi", 0.1, 0.03)], 0.5).mode == "kikuchi"
    # half a turn is no difference
    assert decide([vote("bulk"), vote("kikuchi", 180.1, 0.03)], 0.5).mode == "kikuchi"
    clash = decide([vote("bulk"), vote("line", 3.0, 0.5, usable=False)], 0.5)
    assert clash.mode is None
    assert clash.reason == "bulk and line disagree by 3.00 deg, which is 6.0 standard deviations"
    assert (
        decide([vote("bulk"), vote("line", flip=True, usable=False)], 0.5).reason
        == "bulk and line disagree on the flip"
    )
    none = decide([vote("bulk", usable=False), vote("line", usable=False)], 0.5)
    assert none.reason == "bulk: bulk is too uncertain; line: line is too uncertain"
