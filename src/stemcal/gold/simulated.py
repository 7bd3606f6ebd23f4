"""How strong each ring of the standard should be, for the figure: nothing is measured with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stemcal.gold.standard import CubicStandard, TabulatedStandard, powder_standard

GOLD_RINGS: Mapping[int, float] = MappingProxyType(
    {
        3: 1.0,
        4: 0.5341,
        8: 0.4190,
        11: 0.5157,
        12: 0.1497,
        16: 0.0700,
        19: 0.2089,
        20: 0.1912,
        24: 0.1388,
        27: 0.1499,
        32: 0.0413,
        35: 0.1400,
        36: 0.0831,
        40: 0.0546,
        43: 0.0476,
        44: 0.0456,
    }
)
"""Gold's rings by h^2 + k^2 + l^2: electrons in the whole ring, kinematic, as py4DSTEM 0.14.18 has them.

py4DSTEM takes five seconds to import, so its numbers are kept; `stemcal.interop.py4dstem.gold_ring_intensities` makes
them again, and a test compares.
"""


@dataclass(frozen=True)
class Expected:
    """Relative intensities of whole rings by label, and where they come from."""

    source: str
    intensities: Mapping[str, float]


def expected_intensities(standard: CubicStandard | TabulatedStandard) -> Expected:
    """Return what the rings of a standard should be: gold's from py4DSTEM, others' as the search expects them."""
    rings = powder_standard(standard).fitted
    if isinstance(standard, TabulatedStandard):
        return Expected("table", {ring.label: ring.intensity for ring in rings})
    if standard.name == "gold" and standard.centring == "F":
        known = {ring.label: GOLD_RINGS.get(sum(h * h for h in ring.hkl or ()), 0.0) for ring in rings}
        return Expected("py4DSTEM, kinematic", known)
    return Expected("estimate", {ring.label: ring.intensity for ring in rings})
