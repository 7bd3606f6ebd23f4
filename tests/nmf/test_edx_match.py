"""EDX files find their data sets, or are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemcal.errors import UsageError
from stemcal.nmf.edx_match import match_edx

FIRST, SECOND = Path("a/20241113_110035"), Path("a/20241113_110135")


def test_by_hand() -> None:
    assert match_edx(["any=name.rpl"], [FIRST], {}) == {FIRST: Path("any=name.rpl")}
    given = ["x/Site_20241113_110135.rpl", "a/20241113_110035=odd=name.hspy"]
    assert match_edx(given, [FIRST, SECOND], {}) == {SECOND: Path(given[0]), FIRST: Path("odd=name.hspy")}


def test_as_discovery_has_bound_them() -> None:
    bound = {str(FIRST): {"file": "EDX/same 20241113_110135.rpl"}}
    given = ["/raw/session/EDX/same 20241113_110135.rpl"]
    assert match_edx(given, [FIRST, SECOND], bound) == {FIRST: Path(given[0])}


@pytest.mark.parametrize("given", [["none.rpl"], ["20241113_110035.rpl", "b_20241113_110035.rpl"]])
def test_what_fits_nothing_or_twice_is_refused(given: list[str]) -> None:
    with pytest.raises(UsageError, match=r"fits none|one EDX map for each"):
        match_edx(given, [FIRST, SECOND], {})
