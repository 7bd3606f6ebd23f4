"""``nmf.json``: the factorisation of all radial profiles of a session that share a calibration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemcal.records.base import Measurement, Record


class RankScan(Record):
    """Explained variance of the factorisation with ``n_components`` components."""

    n_components: int
    explained_variance: float
    reconstruction_error: float
    n_iterations: int


class NmfMember(Record):
    """One data set of the factorisation, or why it was left out."""

    dataset: str
    path: str
    used: bool
    reason: str


class NmfResult(Record):
    """The chosen factorisation; components are ordered by the variance they explain, largest first."""

    n_components: int
    n_profiles: int
    q_min_per_angstrom: float
    q_max_per_angstrom: float
    n_radial_bins: int
    rank_scan: tuple[RankScan, ...]
    component_share: tuple[float, ...]
    component_peak_per_angstrom: tuple[float, ...]


class NmfRecord(Measurement):
    """The record of a factorisation."""

    schema_id: Literal["stemcal/nmf/1"] = Field(default="stemcal/nmf/1", alias="schema")
    members: tuple[NmfMember, ...]
    result: NmfResult | None
