"""Figures are the same bytes at every run, say what is missing, and read well on the page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from stemcal.figures.panels import AMOUNT, PATTERN, circle, colour_limits, empty, image, outline, profile
from stemcal.figures.style import drawing, literal, new_figure, save_png, styled
from stemcal.figures.tokens import DARK, LIGHT, MISSING, contrast


def draw(path: Path) -> None:
    generator = np.random.default_rng(0)
    valid = np.ones((64, 64), bool)
    valid[30:33] = False
    with drawing(path, 120, 50) as figure:
        left, right = figure.subplots(1, 2)
        image(left, generator.poisson(4, (64, 64)), valid=valid, title="Mean $pattern$ α", scale="log", bar="counts")
        circle(left, 32, 32, 40)
        profile(right, np.arange(5), np.arange(5.0), sigma=np.ones(5), label="$a_1$")
        right.legend()


def test_a_figure_is_the_same_bytes_again_without_time_or_software(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "one.png")
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "image.cmap": "gray"}):  # a user's own matplotlibrc
        draw(tmp_path / "two.png")
    assert (tmp_path / "a" / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "two.png") as drawn:
        assert set(drawn.info) <= {"dpi"}
        assert drawn.width == pytest.approx(120 / 25.4 * 160, abs=1)


def test_the_style_ends_with_the_drawing() -> None:
    before = dict(mpl.rcParams)
    with styled():
        assert mpl.rcParams["axes.titlelocation"] == "left"
    assert dict(mpl.rcParams) == before


def test_a_drawing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), drawing(tmp_path / "one.png", 50, 50):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_names_of_the_brief_work_without_the_context(tmp_path: Path) -> None:
    figure = new_figure(60, 40)
    image(figure.subplots(), np.eye(4))
    save_png(figure, tmp_path / "plain.png")
    assert (tmp_path / "plain.png").stat().st_size > 500


def test_pyplot_is_never_imported() -> None:
    code = "import sys, stemcal.figures.style, stemcal.figures.panels; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def colours_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as opened:
        return {tuple(pixel) for pixel in np.asarray(opened.convert("RGB")).reshape(-1, 3)}


def test_missing_pixels_are_grey_and_nothing_else_is(tmp_path: Path) -> None:
    grey = tuple(int(MISSING[start : start + 2], 16) for start in (1, 3, 5))
    data = np.arange(16.0).reshape(4, 4)
    for name, pixels in (("full", data), ("holed", np.where(data == 5, np.nan, data))):
        with drawing(tmp_path / f"{name}.png", 40, 40) as figure:
            image(figure.subplots(), pixels, colours=AMOUNT)
    assert grey in colours_of(tmp_path / "holed.png")
    assert grey not in colours_of(tmp_path / "full.png")


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("fill", [np.nan, 0.0, -3.0, 7.0, 1e-30])
def test_an_image_of_one_value_is_no_reason_to_warn(tmp_path: Path, scale, fill: float) -> None:
    with drawing(tmp_path / "one.png", 40, 40) as figure:
        image(figure.subplots(), np.full((3, 5), fill), scale=scale, bar="counts")


def test_zero_counts_on_a_log_scale_are_data(tmp_path: Path) -> None:
    grey = tuple(int(MISSING[start : start + 2], 16) for start in (1, 3, 5))
    with drawing(tmp_path / "one.png", 40, 40) as figure:
        image(figure.subplots(), np.array([[0.0, 1.0], [10.0, 100.0]]), colours=PATTERN, scale="log")
    assert grey not in colours_of(tmp_path / "one.png")


def test_colour_limits_are_percentiles_of_what_is_there() -> None:
    data = np.append(np.arange(1001.0), [np.nan, np.inf])
    assert colour_limits(data, percentiles=(1, 99)) == pytest.approx((10, 990))
    assert colour_limits(np.array([[5.0, 1e9]]), np.array([[True, False]])) == (5.0, 6.0)
    assert colour_limits(np.full(3, np.nan)) == (0.0, 1.0)


def test_an_outline_does_not_move_the_image() -> None:
    ax = new_figure(40, 40).subplots()
    image(ax, np.zeros((10, 20)))
    before = ax.get_xlim(), ax.get_ylim()
    outline(ax, [-50, 50], [-50, 50])
    assert (ax.get_xlim(), ax.get_ylim()) == before


def test_row_zero_is_on_top() -> None:
    ax = new_figure(40, 40).subplots()
    image(ax, np.zeros((10, 20)))
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_names_with_dollars_are_no_formulas(tmp_path: Path) -> None:
    assert literal("$a$") == r"\$a\$"
    with drawing(tmp_path / "one.png", 40, 40) as figure:
        empty(figure.subplots(), "cannot read $\\frac{1}$", title="$\\undefined$ $")


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("token", ["text", "muted", "accent", "good", "warn", "bad", "idle"])
def test_text_reaches_aa_contrast_in_both_schemes(scheme, token: str) -> None:
    colour = scheme.as_mapping()[token]
    assert contrast(colour, scheme.page) >= 4.5
    assert contrast(colour, scheme.panel) >= 4.5


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
