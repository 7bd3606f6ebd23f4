"""The powder whose rings are known: a cubic crystal, or a table of rings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from stemcal.optics.rings import PowderRing, cubic_powder_rings, ring_label
from stemcal.records.base import Settings

_SEARCH_BEYOND = 44 / 27
"""The comb has teeth out to this multiple of the fit's largest h^2 + k^2 + l^2."""
_GAP = 1.06
"""The fit's last ring lies this far inside the next one: the fit looks at its outer flank, but not at another ring."""
_CLOSEST = 1.005
_FEWEST_RINGS = 3
_AS_VISIBLE = 0.5
_NOTEBOOKS = (2, 2, 0)


class CubicStandard(Settings):
    """A cubic crystal of one kind of atom."""

    kind: Literal["cubic"]
    name: str = Field(min_length=1)
    lattice_constant_angstrom: float = Field(gt=0)
    centring: Literal["P", "I", "F", "diamond"]
    largest_index_square: int = Field(
        default=27,
        ge=11,
        le=108,
        description="largest h^2 + k^2 + l^2 of the fit: beyond, rings are weak and close",
    )
    must_be_seen: tuple[str, ...] | None = Field(
        default=None,
        description="rings without which it is another material; without a list, those at least half as visible as the "
        "most visible one",
    )

    @model_validator(mode="after")
    def _known_labels(self) -> Self:
        powder_standard(self)
        return self

    def powder_rings(self) -> tuple[PowderRing, ...]:
        """Return the rings by rising q."""
        limit = round(_SEARCH_BEYOND * self.largest_index_square)
        return cubic_powder_rings(self.lattice_constant_angstrom, self.centring, max_index_square=limit)


class TabulatedRing(Settings):
    """One ring of a table: its q or its d, and how strong it is."""

    label: str | None = Field(default=None, min_length=1, description="by default the indices")
    hkl: tuple[int, int, int] | None = None
    q_per_angstrom: float | None = Field(default=None, gt=0, description="1/d, without 2 pi")
    d_angstrom: float | None = Field(default=None, gt=0)
    intensity: float = Field(
        ge=0, description="of the whole ring, in any unit; 0 for one that only a similar material has"
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.label is None and self.hkl is None:
            raise ValueError("a ring needs a label or hkl, and has neither")
        if (self.q_per_angstrom is None) == (self.d_angstrom is None):
            raise ValueError(f"ring {self.name}: give either q_per_angstrom or d_angstrom")
        return self

    @property
    def name(self) -> str:
        """Label, or the indices."""
        if self.label is not None:
            return self.label
        return "" if self.hkl is None else ring_label(self.hkl)

    def ring(self) -> PowderRing:
        """Return it as a ring of a standard."""
        q = self.q_per_angstrom if self.d_angstrom is None else 1 / self.d_angstrom
        assert q is not None
        return PowderRing(self.name, self.hkl, q, self.intensity)


class TabulatedStandard(Settings):
    """Any powder, as a table of its rings out to the last that the fit shall use."""

    kind: Literal["tabulated"]
    name: str = Field(min_length=1)
    rings: tuple[TabulatedRing, ...]
    must_be_seen: tuple[str, ...] | None = Field(
        default=None,
        description="rings without which it is another material; without a list, those at least half as visible as the "
        "most visible one",
    )

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        rings = self.powder_rings()
        names = [ring.label for ring in rings]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{self.name} has more than one ring {twice[0]}; give each its own label")
        n_seen = sum(ring.intensity > 0 for ring in rings)
        if n_seen < _FEWEST_RINGS:
            raise ValueError(f"{self.name} has {n_seen} rings with an intensity, {_FEWEST_RINGS} are needed")
        for inner, outer in itertools.pairwise(rings):
            if outer.q_per_angstrom < _CLOSEST * inner.q_per_angstrom:
                raise ValueError(
                    f"{self.name}: rings {inner.label} and {outer.label} are closer than {_CLOSEST - 1:.1%} and cannot "
                    "be told apart; give them as one ring with their mean q and the sum of their intensities"
                )
        powder_standard(self)
        return self

    def powder_rings(self) -> tuple[PowderRing, ...]:
        """Return the rings by rising q."""
        return tuple(sorted((one.ring() for one in self.rings), key=lambda ring: ring.q_per_angstrom))


@dataclass(frozen=True)
class PowderStandard:
    """What the measurement knows of the standard.

    Attributes
    ----------
    name : str
        For messages.
    comb : tuple of PowderRing
        Rings of the search by rising q; all have an intensity.
    fitted : tuple of PowderRing
        Rings of the joint fit, those that must be absent among them.
    must_be_seen, must_be_absent : frozenset of str
        Labels of rings that tell the standard from other materials.
    n_inner : int
        How many of ``fitted`` a fit may begin with.
    notebook_ring : str
        Label of the ring whose half axes stand in ePSIC's ``p_ellipse``.
    """

    name: str
    comb: tuple[PowderRing, ...]
    fitted: tuple[PowderRing, ...]
    must_be_seen: frozenset[str]
    must_be_absent: frozenset[str]
    n_inner: int
    notebook_ring: str


def powder_standard(settings: CubicStandard | TabulatedStandard) -> PowderStandard:
    """Return what the rings of a standard are and which of them decide that it is the standard.

    Raises
    ------
    ValueError
        If ``must_be_seen`` names a ring that the fit does not have.
    """
    rings = settings.powder_rings()
    fitted = rings
    if isinstance(settings, CubicStandard):
        fitted = _up_to_a_gap(rings, settings.largest_index_square)
    seen = [ring for ring in fitted if ring.intensity > 0]
    most = max(seen, key=lambda ring: ring.visibility)
    expected = [ring.label for ring in seen if ring.visibility >= _AS_VISIBLE * most.visibility]
    required = settings.must_be_seen if settings.must_be_seen is not None else expected
    unknown = sorted(set(required) - {ring.label for ring in seen})
    if unknown:
        names = ", ".join(ring.label for ring in seen)
        raise ValueError(f"must_be_seen names {unknown[0]}, which is no ring of {settings.name}; these are: {names}")
    in_notebooks = isinstance(settings, CubicStandard) and any(ring.hkl == _NOTEBOOKS for ring in seen)
    return PowderStandard(
        name=settings.name,
        comb=tuple(ring for ring in rings if ring.intensity > 0),
        fitted=fitted,
        must_be_seen=frozenset(required),
        must_be_absent=frozenset(ring.label for ring in fitted if ring.intensity == 0),
        n_inner=_inner(fitted),
        notebook_ring=ring_label(_NOTEBOOKS) if in_notebooks else most.label,
    )


def _up_to_a_gap(rings: tuple[PowderRing, ...], largest_index_square: int) -> tuple[PowderRing, ...]:
    """Return the rings up to the largest index square, less those at the end that have another one close outside."""
    n = sum(_index_square(ring) <= largest_index_square for ring in rings)
    while n > _FEWEST_RINGS and rings[n].q_per_angstrom < _GAP * rings[n - 1].q_per_angstrom:
        n -= 1
    return rings[:n]


def _inner(rings: tuple[PowderRing, ...]) -> int:
    """Return how many rings of the inner half come before the widest gap of them, at least three."""
    half = max(_FEWEST_RINGS, len(rings) // 2)
    gaps = {n: rings[n].q_per_angstrom / rings[n - 1].q_per_angstrom for n in range(_FEWEST_RINGS, half + 1)}
    return max(gaps, key=gaps.__getitem__) if len(rings) > half else len(rings)


def _index_square(ring: PowderRing) -> int:
    assert ring.hkl is not None
    return sum(index * index for index in ring.hkl)
