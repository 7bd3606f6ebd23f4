"""All scans of one random geometry, put to our step one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from contestants.bad_scans import BadScan, bad_scans
from contestants.geometry_answers import Said, ask
from contestants.multislice_scans import multislice_scans
from contestants.thin_scans import known, random_plan
from stemcal.geometry.settings import GeometrySettings
from stemcal.phantoms.weak_phase import counted, expected_frames

_USUAL = {"symmetry": GeometrySettings()}
_WAYS = {"free": GeometrySettings(symmetry="off"), **_USUAL}


@dataclass(frozen=True)
class SaidOf:
    """What was said of a scan; ``name`` and ``seed`` are all that is needed to make it again."""

    name: str
    seed: int
    said: Said


def accuracy_of(
    seed: int, place: str, doses: Sequence[float], side: int, blurs: Sequence[bool] = (False, True)
) -> Iterator[SaidOf]:
    """Yield what is said of a geometry without and with blur, at each dose, without and with the symmetry."""
    with TemporaryDirectory(dir=place) as folder:
        for blurred in blurs:
            plan = random_plan(seed, blurred=blurred, side=side)
            truth, frames = known(plan, seed), expected_frames(plan)
            for dose in doses:
                kind = f"{dose:.0e}, {'blurred' if blurred else 'sharp'}"
                answers = ask(counted(frames, dose, seed), truth, Path(folder), _WAYS)
                yield from (SaidOf(f"{kind}, {way}", seed, said) for way, said in answers.items())


def degraded_of(seed: int, place: str, side: int, abtem: Path | None) -> Iterator[SaidOf]:
    """Yield what is said of every scan with a fault, of every one that holds nothing, and of the multislice sets."""
    with TemporaryDirectory(dir=place) as folder:
        for one in _scans(seed, side, abtem):
            yield SaidOf(one.name, seed, ask(one.counts, one.given, Path(folder), _USUAL)["symmetry"])


def _scans(seed: int, side: int, abtem: Path | None) -> Iterator[BadScan]:
    yield from bad_scans(seed, side)
    if abtem is not None:
        yield from multislice_scans(abtem, seed, side)
