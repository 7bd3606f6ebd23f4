"""How many components, what they are worth, and the words for what went less well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.nmf.factorise import Factorisation, Step, choose_number, factorise, ordered, scan_numbers, stability
from stemcal.nmf.members import LeftOut, Member
from stemcal.nmf.profiles import Census, FloatArray, Grid
from stemcal.nmf.settings import NmfSettings
from stemcal.records.base import Flag
from stemcal.records.nmf import NmfMember, NmfResult, RankScan
from stemcal.records.provenance import relative_to_record

PROFILES_PER_COMPONENT = 10
"""A component that stands on fewer profiles describes their noise."""

BINS_PER_COMPONENT = 4
"""Likewise for the radial bins."""

NUMBERS_BEYOND = 3
"""The scan of numbers goes this far beyond the chosen one, so that the plateau is seen; the rest would cost most."""


@dataclass(frozen=True)
class Survey:
    """A member whose profiles have been looked through.

    Attributes
    ----------
    member : Member
        The data set.
    dose : float
        Its mean counts per frame, direct beam included.
    census : Census
        Sums over its profiles.
    complete : ndarray of bool
        (n_positions,) which positions have every bin that is factorised; empty before the bins are chosen.
    """

    member: Member
    dose: float
    census: Census
    complete: NDArray[np.bool_]

    @property
    def lit(self) -> bool:
        """Whether any electron arrived."""
        return self.dose > 0


@dataclass(frozen=True)
class Chosen:
    """The factorisation that was chosen.

    Attributes
    ----------
    components : ndarray
        (n_components, n_bins), each of sum 1, weights taken off.
    share, stability : ndarray
        (n_components,).
    steps : tuple of Step
        The scan of numbers.
    fits : tuple of Factorisation
        The fits of the scan.
    n_components_possible : int
        The most that the data allow.
    """

    components: FloatArray
    share: FloatArray
    stability: FloatArray
    steps: tuple[Step, ...]
    fits: tuple[Factorisation, ...]
    n_components_possible: int

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.components)


def most_components(n_profiles: int, n_bins: int) -> int:
    """Return the largest number of components that so many profiles and bins can carry."""
    return min(n_profiles // PROFILES_PER_COMPONENT, n_bins // BINS_PER_COMPONENT)


def too_little(n_profiles: int, n_bins: int, left_out: Sequence[LeftOut]) -> Flag | None:
    """Return why nothing can be factorised, or None."""
    if most_components(n_profiles, n_bins) >= 1:
        return None
    because = f"; left out: {'; '.join(f'{one.dataset}: {one.reason}' for one in left_out)}" if left_out else ""
    return Flag(
        name="too_few_profiles",
        value=f"{n_profiles} profiles of {n_bins} bins",
        limit=f"{PROFILES_PER_COMPONENT} profiles and {BINS_PER_COMPONENT} bins per component",
        message=f"there is nothing to factorise: {n_profiles} complete profiles with {n_bins} radial bins are left "
        f"inside the q range{because}",
    )


def decide(sample: FloatArray, grid: Grid, settings: NmfSettings) -> Chosen:
    """Fit every number of components to ``sample`` (n_profiles, n_bins, weighted) and return the chosen one."""
    possible = most_components(*sample.shape)
    highest = min(max(settings.max_components, settings.n_components or 1), possible)
    fits, steps = _scan(sample, highest, settings)
    number = min(settings.n_components or choose_number(steps, settings), highest)
    components, share = ordered(fits[number - 1], grid.weight)
    steady = stability(sample, components * grid.weight, settings) if len(sample) >= 2 * number else np.zeros(number)
    return Chosen(components, share, steady, steps, fits, possible)


def _scan(
    sample: FloatArray, highest: int, settings: NmfSettings
) -> tuple[tuple[Factorisation, ...], tuple[Step, ...]]:
    """Fit one component, two, ... up to ``highest``, or until some in a row were not worth having."""
    fits: list[Factorisation] = []
    steps: tuple[Step, ...] = ()
    for number in range(1, highest + 1):
        fits.append(factorise(sample, number, settings))
        steps = scan_numbers(sample, fits)
        needless = number - choose_number(steps, settings)
        if needless >= NUMBERS_BEYOND and number >= (settings.n_components or 1):
            break
    return tuple(fits), steps


def result_of(chosen: Chosen, surveys: Sequence[Survey], grid: Grid, n_sample: int, settings: NmfSettings) -> NmfResult:
    """Return the numbers of the record."""
    return NmfResult(
        quantity=settings.quantity,
        n_components=chosen.n_components,
        chosen_by="gain rule" if settings.n_components is None else "user",
        n_profiles=sum(int(one.complete.sum()) for one in surveys),
        n_profiles_in_fit=n_sample,
        n_positions_left_out=sum(int((~one.complete).sum()) for one in surveys),
        q_min_per_angstrom=float(grid.q_per_angstrom[0]),
        q_max_per_angstrom=float(grid.q_per_angstrom[-1]),
        n_radial_bins=len(grid.q_per_angstrom),
        n_radial_bins_left_out=grid.n_left_out,
        explained_variance=chosen.steps[chosen.n_components - 1].explained_variance,
        rank_scan=tuple(_rank(step, fit) for step, fit in zip(chosen.steps, chosen.fits, strict=True)),
        component_share=tuple(float(value) for value in chosen.share),
        component_peak_per_angstrom=tuple(
            float(grid.q_per_angstrom[index]) for index in chosen.components.argmax(axis=1)
        ),
        component_stability=tuple(float(value) for value in chosen.stability),
    )


def _rank(step: Step, fit: Factorisation) -> RankScan:
    return RankScan(
        n_components=step.n_components,
        explained_variance=step.explained_variance,
        reconstruction_error=float(np.sqrt(fit.residual)),
        gain=step.gain,
        noise_gain=step.noise_gain,
        n_iterations=fit.n_iterations,
    )


def flags_of(chosen: Chosen, left_out: Sequence[LeftOut], settings: NmfSettings) -> tuple[Flag, ...]:
    """Return everything a reader of the factorisation should know."""
    flags = [
        Flag(name="left_out", value=one.dataset, message=f"{one.dataset} was left out: {one.reason}")
        for one in left_out
    ]
    wanted = settings.n_components
    if wanted is not None and wanted > chosen.n_components:
        flags.append(_reduced(wanted, chosen.n_components))
    if wanted is None and chosen.n_components == len(chosen.steps):
        flags.append(_at_the_limit(chosen.n_components))
    if not chosen.fits[chosen.n_components - 1].converged:
        flags.append(_unfinished(settings.max_iterations))
    for index, steady in enumerate(chosen.stability):
        if steady < settings.min_stability:
            flags.append(_unsteady(index + 1, float(steady), settings.min_stability))
    return tuple(flags)


def _reduced(wanted: int, got: int) -> Flag:
    message = f"{wanted} components were asked for, but the profiles carry at most {got}"
    return Flag(name="components_reduced", value=float(got), limit=float(wanted), message=message)


def _at_the_limit(number: int) -> Flag:
    message = f"even the last of {number} components was worth having: there may be more (raise max_components)"
    return Flag(name="components_at_limit", value=float(number), limit=float(number), message=message)


def _unfinished(iterations: int) -> Flag:
    message = f"the fit had not settled after {iterations} iterations; raise max_iterations"
    return Flag(name="not_converged", value=float(iterations), limit=float(iterations), message=message)


def _unsteady(component: int, value: float, limit: float) -> Flag:
    message = f"component {component} is not reproducible: fitted to half of the profiles its cosine is {value:.3f}"
    return Flag(name="component_not_reproducible", value=value, limit=limit, message=message)


def member_entries(surveys: Sequence[Survey], left_out: Sequence[LeftOut], record: Path) -> tuple[NmfMember, ...]:
    """Return one entry per data set, used or not, sorted by name; paths relative to the folder of ``record``."""
    used = [
        NmfMember(
            dataset=one.member.dataset,
            path=relative_to_record(one.member.prefix, record),
            used=True,
            reason="same calibration and radial axis",
            scan_shape=one.member.polar.scan_shape,
            n_positions_left_out=int((~one.complete).sum()),
            dose=one.dose,
        )
        for one in surveys
    ]
    others = [
        NmfMember(
            dataset=one.dataset,
            path=relative_to_record(one.prefix, record),
            used=False,
            reason=one.reason,
            scan_shape=one.scan_shape,
        )
        for one in left_out
    ]
    return tuple(sorted([*used, *others], key=lambda entry: entry.path))
