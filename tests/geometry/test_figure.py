"""The figure: drawn for every kind of result, the same bytes at every run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from found_truth import found_of
from PIL import Image
from sideband_truth import scan

from stemcal.geometry.figure import draw_figure, draw_refusal
from stemcal.geometry.found import Found
from stemcal.geometry.ssb import Ssb, single_sideband

FACTS = [("Geometry", ""), ("fast axis", "17.3 ± 0.1°"), ("cost in $ of $x", "$")]


@pytest.fixture(scope="module")
def found() -> Found:
    return found_of(scan(side=32))


@pytest.fixture(scope="module")
def uncorrected(found: Found) -> Ssb:
    return single_sideband(found.bright_field, found.weights, found.disk_shift_px, found.aperture, [{}])[0]


def test_figure_is_the_same_at_every_run(found: Found, uncorrected: Ssb, tmp_path: Path) -> None:
    pointed = replace(found, tilt_centre_px=(30.0, 33.0))
    for name in ("one.png", "two.png"):
        draw_figure(tmp_path / name, pointed, uncorrected, uncorrected, FACTS)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as drawn:
        assert drawn.width == 1133


def test_figure_of_a_thick_sample_does_without_the_lens(found: Found, uncorrected: Ssb, tmp_path: Path) -> None:
    few = slice(0, 2)
    thick = replace(
        found,
        aberrations_rad=None,
        amplitudes=None,
        indices=None,
        frequencies=found.frequencies[few],
        slices=found.slices[few],
    )
    draw_figure(tmp_path / "a.png", thick, uncorrected, None, FACTS)
    assert (tmp_path / "a.png").stat().st_size > 20_000


def test_refusal_shows_what_there_is(found: Found, tmp_path: Path) -> None:
    draw_refusal(tmp_path / "a.png", found.mean_pattern, None, None, "no bright disk")
    draw_refusal(tmp_path / "b.png", found.mean_pattern, found.aperture, found.power_spectrum, "vacuum")
    assert (tmp_path / "b.png").stat().st_size > (tmp_path / "a.png").stat().st_size
