"""``nmf.json``: the factorisation of the radial profiles of one scan or of many."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Record
from stemcal.records.classes import ClassThreshold, DatasetClasses
from stemcal.records.edx import EdxEntry


class RankScan(Record):
    """Bi-cross-validation of the factorisation with ``n_components`` components.

    ``prediction_error`` is the sum of squares of held-out values less their prediction, over that of the values, mean
    over the folds. ``gain`` is the part of it that the last component removed, ``gain_sigma`` its standard error over
    the folds; both are ``null`` for one component.
    """

    n_components: int
    prediction_error: float
    gain: float | None = None
    gain_sigma: float | None = None


class ComponentStability(Record):
    """Cosines between a component and its counterpart in fits to random halves of the places.

    ``tenth`` is exceeded in nine of ten of the ``n_resamplings`` fits; the component is ``stable`` if that is at
    least ``min_stability``.
    """

    n_resamplings: int
    mean: float
    lowest: float
    tenth: float
    stable: bool


class PhaseScore(Record):
    """How well the rings of one phase fit, 0 to 1, with its q multiplied by ``scale``."""

    name: str
    score: float
    scale: float


class PhaseMatch(Record):
    """Which phase of the configuration a profile belongs to; ``phase`` is ``null`` where that is not certain."""

    phase: str | None
    reason: str
    best: PhaseScore | None
    runner_up: PhaseScore | None


class NmfMember(Record):
    """One data set of the factorisation, or why it was left out.

    ``dose`` is the mean counts per frame, direct beam included, that its profiles were divided by.
    """

    dataset: str
    path: str
    used: bool
    reason: str
    scan_shape: tuple[int, int] | None = None
    n_positions_left_out: int | None = None
    dose: float | None = None


class NmfResult(Record):
    """The chosen factorisation.

    Components are ordered by ``component_share``, the part of the modelled intensity that is theirs, largest first.
    ``explained_variance`` is that of the weighted profiles about their mean, ``n_iterations`` the sweeps or updates
    of the last fit. ``component_phase`` is empty where no phases are configured.
    """

    quantity: Literal["mean", "variance", "excess_variance"]
    loss: Literal["kullback_leibler", "frobenius"]
    n_components: int
    chosen_by: Literal["bi-cross-validation", "user"]
    n_profiles: int
    n_profiles_in_fit: int
    n_positions_left_out: int
    q_min_per_angstrom: float
    q_max_per_angstrom: float
    n_radial_bins: int
    n_radial_bins_left_out: int
    explained_variance: float
    n_iterations: int
    rank_scan: tuple[RankScan, ...]
    component_share: tuple[float, ...]
    component_peak_per_angstrom: tuple[float, ...]
    component_stability: tuple[ComponentStability, ...]
    component_phase: tuple[PhaseMatch, ...]


class NmfRecord(Measurement):
    """The record of a factorisation."""

    schema_id: Literal["stemcal/nmf/2"] = Field(default="stemcal/nmf/2", alias="schema")
    members: tuple[NmfMember, ...]
    result: NmfResult | None
    class_thresholds: tuple[ClassThreshold, ...] = ()
    classes: tuple[DatasetClasses, ...] = ()
    edx: tuple[EdxEntry, ...] = ()
