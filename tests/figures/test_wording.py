from __future__ import annotations

import pytest

from stemcal.figures.wording import (
    counted,
    last_place,
    percent_text,
    plain_number,
    quantity_text,
    shape_text,
    time_text,
)
from stemcal.records.base import Quantity


@pytest.mark.parametrize(
    ("value", "sigma", "unit", "text"),
    [
        (0.012345, 0.0000123, "1/angstrom", "0.012345 ± 0.000012\u00a0Å⁻¹"),
        (1.00834, 0.0021, "1", "1.0083 ± 0.0021"),
        (45.21, 3.7, "deg", "45 ± 4°"),
        (0.1523, 0.00097, "m", "0.1523 ± 0.0010\u00a0m"),
        (123456.0, 980, "counts", "123500 ± 1000\u00a0counts"),
        (1.5e7, 2.34e4, "counts", "(1.5000 ± 0.0023) × 10⁷\u00a0counts"),
        (2.3e-7, 4e-9, "m", "(2.30 ± 0.04) × 10⁻⁷\u00a0m"),
        (0.0001, 0.002, "px", "0.0001 ± 0.0020\u00a0px"),
        (-3.4, 0.0951, "px", "-3.40 ± 0.10\u00a0px"),
        (5, None, "m", "5.000\u00a0m (no uncertainty)"),
    ],
)
def test_a_value_ends_where_its_uncertainty_does(value, sigma, unit, text) -> None:
    assert quantity_text(Quantity(value=value, sigma=sigma, unit=unit)) == text


def test_what_is_not_there_is_a_dash() -> None:
    assert quantity_text(None) == "–"
    assert shape_text(None) == "–"
    assert time_text(None) == "–"


def test_the_rule_of_the_particle_data_group() -> None:
    assert [last_place(sigma) for sigma in (0.354, 0.355, 0.949, 0.95, 3.54, 35.6)] == [-2, -1, -1, -1, -1, 1]


def test_plain_numbers() -> None:
    assert plain_number(18342.4) == "18\u2009340"
    assert plain_number(0) == "0.000"
    assert plain_number(200, 3) == "200"
    assert plain_number(0.2, 3) == "0.200"
    assert plain_number(1.234e10) == "1.234 × 10¹⁰"


def test_counted() -> None:
    assert [counted(number, "scan") for number in (0, 1, 2)] == ["0 scans", "1 scan", "2 scans"]


def test_a_small_part_is_not_none() -> None:
    texts = [percent_text(part) for part in (0, 0.003, 0.68)]
    assert texts == ["0\u00a0%", "< 1\u00a0%", "68\u00a0%"]
