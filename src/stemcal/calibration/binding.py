"""Which reference a data set is read with, and why that one: a pure decision on records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from stemcal.calibration.settings import CalibrationSettings
from stemcal.records.agreement import Scan, disagreement, shape_text, time_between, time_words
from stemcal.records.base import Flag
from stemcal.records.gold import GoldRecord


@dataclass(frozen=True)
class Offer:
    """A candidate reference: its name, and its record or why there is none."""

    name: str
    record: GoldRecord | None
    problem: str | None = None


@dataclass(frozen=True)
class Binding:
    """The decision.

    Attributes
    ----------
    chosen : int or None
        Index of the chosen offer.
    reasons : tuple of str
        Per offer, why it was chosen or not.
    why : str
        The choice in words; with nothing chosen, why not.
    flags : tuple of Flag
        Warnings that the choice carries.
    """

    chosen: int | None
    reasons: tuple[str, ...]
    why: str
    flags: tuple[Flag, ...] = ()


def bind(scan: Scan, offers: Sequence[Offer], settings: CalibrationSettings) -> Binding:
    """Choose the first offer that fits and passed; if there is none, the first that fits and carries a warning.

    A warned reference is second choice however near in time: its numbers are in doubt, while lenses drift slowly.

    Parameters
    ----------
    scan : Scan
        The data set.
    offers : sequence of Offer
        In order of preference, nearest in time first.
    settings : CalibrationSettings
        Tolerances.
    """
    refusals = [_refusal(scan, offer, settings) for offer in offers]
    fitting = [index for index, refusal in enumerate(refusals) if refusal is None]
    if not fitting:
        why = "no reference was offered" if not offers else f"none of {len(offers)} references fits"
        detail = "; ".join(f"{offer.name}: {refusal}" for offer, refusal in zip(offers, refusals, strict=True))
        reasons = tuple(str(refusal) for refusal in refusals)
        return Binding(None, reasons, f"{why}: {detail}" if detail else why)
    passing = [index for index in fitting if _verdict(offers[index]) == "pass"]
    chosen = (passing or fitting)[0]
    why = _why(scan, offers, fitting, chosen)
    reasons = tuple(
        why if index == chosen else refusal or _second(offers[index], index, chosen)
        for index, refusal in enumerate(refusals)
    )
    return Binding(chosen, reasons, why, tuple(_warnings(scan, offers[chosen], settings)))


def _verdict(offer: Offer) -> str:
    return offer.record.quality.verdict if offer.record else "fail"


def _refusal(scan: Scan, offer: Offer, settings: CalibrationSettings) -> str | None:
    """Return the first reason why an offer cannot serve, or None."""
    gold = offer.record
    if gold is None:
        return f"unreadable: {offer.problem}"
    if gold.quality.verdict == "fail" or gold.result is None:
        first = gold.quality.flags[0].message if gold.quality.flags else "no reason is given"
        return f"the reference failed: {first}"
    if gold.frame_shape != scan.frame_shape:
        return f"wrong frame shape: {shape_text(gold.frame_shape)}, the data have {shape_text(scan.frame_shape)}"
    return disagreement(
        "voltage", "kV", gold.voltage_kv, scan.voltage_kv, settings.voltage_tolerance_percent
    ) or disagreement(
        "nominal camera length",
        "m",
        gold.nominal_camera_length_m,
        scan.nominal_camera_length_m,
        settings.camera_length_tolerance_percent,
    )


def _why(scan: Scan, offers: Sequence[Offer], fitting: list[int], chosen: int) -> str:
    gaps = {index: _gap(scan, offers[index]) for index in fitting}
    rivals = [index for index in fitting if _verdict(offers[index]) == _verdict(offers[chosen])]
    at = f"at {scan.voltage_kv:g} kV and {scan.nominal_camera_length_m:g} m"
    kind = "passing" if _verdict(offers[chosen]) == "pass" else "warned"
    of = f"of {len(rivals)} {kind} references {at}" if len(rivals) > 1 else f"the only {kind} reference {at}"
    known = {index: abs(gap) for index in rivals if (gap := gaps[index]) is not None}
    nearest = chosen in known and len(known) == len(rivals) and known[chosen] == min(known.values())
    if len(rivals) > 1:
        of = f"nearest in time {of}" if nearest else f"first in the given order {of}"
    gap = gaps[chosen]
    return f"{of}: {time_words(gap)}" if gap is not None else f"{of}; how far away in time is not known"


def _second(offer: Offer, index: int, chosen: int) -> str:
    if index < chosen:
        first = offer.record.quality.flags[0].message if offer.record and offer.record.quality.flags else "a warning"
        return f"fits, but carries a warning and another passed: {first}"
    return "fits, but another one comes first"


def _warnings(scan: Scan, offer: Offer, settings: CalibrationSettings) -> list[Flag]:
    flags = []
    if offer.record is not None and offer.record.quality.verdict == "warn":
        text = "; ".join(flag.message for flag in offer.record.quality.flags)
        flags.append(Flag(name="reference_warns", message=f"the best reference carries a warning: {text}"))
    gap = _gap(scan, offer)
    hours = abs(gap) / timedelta(hours=1) if gap is not None else 0.0
    if hours > settings.warn_age_hours:
        text = f"the reference is {hours:.0f} h away in time, more than {settings.warn_age_hours:g} h"
        flags.append(Flag(name="reference_age", value=round(hours, 3), limit=settings.warn_age_hours, message=text))
    return flags


def _gap(scan: Scan, offer: Offer) -> timedelta | None:
    return time_between(scan.acquired_at, offer.record.acquired_at if offer.record else None)
