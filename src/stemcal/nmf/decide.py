"""How many components, what they are worth, and the words for what went less well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from stemcal.nmf.estimate import Sample, estimate
from stemcal.nmf.factorise import Factorisation, FloatArray, ordered
from stemcal.nmf.files import full_path
from stemcal.nmf.members import LeftOut
from stemcal.nmf.number import Trial, choose_number, gain, try_numbers
from stemcal.nmf.passes import Survey
from stemcal.nmf.phases import identify
from stemcal.nmf.profiles import Grid
from stemcal.nmf.resample import resampled_cosines
from stemcal.nmf.settings import NmfSettings
from stemcal.records.base import Flag
from stemcal.records.nmf import ComponentStability, NmfMember, NmfResult, RankScan
from stemcal.records.provenance import relative_to_record

PROFILES_PER_COMPONENT = 10
"""A component that stands on fewer profiles describes their noise."""

BINS_PER_COMPONENT = 4
"""Likewise for the radial bins."""

STABLE_QUANTILE = 0.1
"""A component has to come back in nine of ten resamplings."""


@dataclass(frozen=True)
class Chosen:
    """The factorisation that was chosen.

    Attributes
    ----------
    components : ndarray
        (n_components, n_bins), each of sum 1, without weights.
    share : ndarray
        (n_components,).
    cosines : ndarray
        (n_resamplings, n_components).
    trials : tuple of Trial
        The scan of numbers.
    fit : Factorisation
        Where ``components`` come from.
    explained : float
        Part of the weighted variance about the mean profile.
    """

    components: FloatArray
    share: FloatArray
    cosines: FloatArray
    trials: tuple[Trial, ...]
    fit: Factorisation
    explained: float

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


def decide(sample: Sample, settings: NmfSettings) -> Chosen:
    """Return the components of ``sample``, as many as asked for or as predict best, and how stable they are."""
    possible = most_components(*sample.values.shape)
    highest = min(max(settings.max_components, settings.n_components or 1), possible)
    trials = try_numbers(sample, highest, settings)
    number = min(settings.n_components or choose_number(trials, settings), highest)
    fit = estimate(sample, number, settings)
    components, share = ordered(fit.components, fit.loadings)
    cosines = resampled_cosines(sample, components, settings)
    return Chosen(components, share, cosines, trials, fit, _explained(sample, fit))


def _explained(sample: Sample, fit: Factorisation) -> float:
    matrix = sample.weighted
    total = float(np.square(matrix - matrix.mean(axis=0)).sum())
    left = float(np.square(matrix - fit.loadings @ (fit.components * sample.weight)).sum())
    return 1 - left / total if total > 0 else 1.0


def result_of(chosen: Chosen, surveys: Sequence[Survey], grid: Grid, n_sample: int, settings: NmfSettings) -> NmfResult:
    """Return the numbers of the record."""
    return NmfResult(
        quantity=settings.quantity,
        loss=settings.chosen_loss,
        n_components=chosen.n_components,
        chosen_by="bi-cross-validation" if settings.n_components is None else "user",
        n_profiles=sum(int(one.complete.sum()) for one in surveys),
        n_profiles_in_fit=n_sample,
        n_positions_left_out=sum(int((~one.complete).sum()) for one in surveys),
        q_min_per_angstrom=float(grid.q_per_angstrom[0]),
        q_max_per_angstrom=float(grid.q_per_angstrom[-1]),
        n_radial_bins=len(grid.q_per_angstrom),
        n_radial_bins_left_out=grid.n_left_out,
        explained_variance=chosen.explained,
        n_iterations=chosen.fit.n_iterations,
        rank_scan=(_rank(chosen.trials[0]), *(_rank(*pair) for pair in pairwise(chosen.trials))),
        component_share=tuple(float(value) for value in chosen.share),
        component_peak_per_angstrom=tuple(
            float(grid.q_per_angstrom[index]) for index in chosen.components.argmax(axis=1)
        ),
        component_stability=tuple(_stability(column, settings) for column in chosen.cosines.T),
        component_phase=tuple(
            identify(grid.q_per_angstrom, component, grid.weight, settings)
            for component in chosen.components
            if settings.phases
        ),
    )


def _rank(before: Trial, trial: Trial | None = None) -> RankScan:
    if trial is None:
        return RankScan(n_components=before.n_components, prediction_error=before.error)
    removed, sigma = gain(before, trial)
    return RankScan(n_components=trial.n_components, prediction_error=trial.error, gain=removed, gain_sigma=sigma)


def _stability(cosines: FloatArray, settings: NmfSettings) -> ComponentStability:
    lower = float(np.quantile(cosines, STABLE_QUANTILE, method="lower"))
    return ComponentStability(
        n_resamplings=len(cosines),
        mean=float(cosines.mean()),
        lowest=float(cosines.min()),
        tenth=lower,
        stable=lower >= settings.min_stability,
    )


def flags_of(
    chosen: Chosen,
    result: NmfResult,
    surveys: Sequence[Survey],
    left_out: Sequence[LeftOut],
    settings: NmfSettings,
) -> tuple[Flag, ...]:
    """Return everything a reader of the factorisation should know."""
    flags = [
        Flag(name="left_out", value=one.dataset, message=f"{one.dataset} was left out: {one.reason}")
        for one in left_out
    ]
    flags += [_assumed(one) for one in surveys if not full_path(one.member.prefix).is_file()]
    wanted = settings.n_components
    if wanted is not None and wanted > chosen.n_components:
        flags.append(_reduced(wanted, chosen.n_components))
    if wanted is None and chosen.n_components == len(chosen.trials):
        flags.append(_at_the_limit(chosen.n_components))
    if not chosen.fit.converged:
        flags.append(_unfinished(settings.max_iterations))
    for index, steady in enumerate(result.component_stability):
        if not steady.stable:
            flags.append(_unsteady(index + 1, steady.tenth, settings.min_stability))
    return tuple(flags)


def _assumed(one: Survey) -> Flag:
    message = f"{one.member.dataset} comes without its _polar.hdf5: its rings are taken for whole when noise is weighed"
    return Flag(name="effective_pixels_assumed", value=one.member.dataset, message=message)


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
    message = (
        f"component {component} is not reproducible: in one fit of ten to half of the places its cosine is {value:.3f}"
    )
    return Flag(name="component_not_reproducible", value=value, limit=limit, message=message)


def _why(one: Survey) -> str:
    if one.member.rebinning is None:
        return "same radial axis"
    return f"brought to the common radial axis from bins of {one.member.axis.scale:.6g} 1/angstrom"


def member_entries(surveys: Sequence[Survey], left_out: Sequence[LeftOut], record: Path) -> tuple[NmfMember, ...]:
    """Return one entry per data set, used or not, sorted by name; paths relative to the folder of ``record``."""
    used = [
        NmfMember(
            dataset=one.member.dataset,
            path=relative_to_record(one.member.prefix, record),
            used=True,
            reason=_why(one),
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
