"""``nmf.json``: the factorisation of all radial profiles of a session that share a calibration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Record


class RankScan(Record):
    """Explained variance of the factorisation with ``n_components`` components.

    ``gain`` is the part of the still unexplained variance that the last component removed, ``noise_gain`` what it
    would have removed from pure noise of the same size; one component is compared with the mean profile alone.
    """

    n_components: int
    explained_variance: float
    reconstruction_error: float
    gain: float
    noise_gain: float
    n_iterations: int


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
    ``component_stability`` is the cosine between each component and its counterpart in two fits to disjoint halves
    of the profiles, whichever half agrees less.
    """

    quantity: Literal["mean", "variance"]
    n_components: int
    chosen_by: Literal["gain rule", "user"]
    n_profiles: int
    n_profiles_in_fit: int
    n_positions_left_out: int
    q_min_per_angstrom: float
    q_max_per_angstrom: float
    n_radial_bins: int
    n_radial_bins_left_out: int
    explained_variance: float
    rank_scan: tuple[RankScan, ...]
    component_share: tuple[float, ...]
    component_peak_per_angstrom: tuple[float, ...]
    component_stability: tuple[float, ...]


class NmfRecord(Measurement):
    """The record of a factorisation."""

    schema_id: Literal["stemcal/nmf/1"] = Field(default="stemcal/nmf/1", alias="schema")
    members: tuple[NmfMember, ...]
    result: NmfResult | None
