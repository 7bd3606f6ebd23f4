"""Which gain reference a data set is corrected with, and why that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stemcal.errors import DataError
from stemcal.frames.gain import GainMap, read_gain
from stemcal.records.agreement import Scan, disagreement, shape_text, time_between, time_words
from stemcal.records.atomic import read_record
from stemcal.records.base import Flag
from stemcal.records.calibration import BoundGain, Candidate
from stemcal.records.gain import GainRecord
from stemcal.records.provenance import relative_to_record


@dataclass(frozen=True)
class GainOffer:
    """A gain reference that might serve: its record and factors, or why it has none."""

    path: Path
    record: GainRecord | None
    factors: GainMap | None
    problem: str | None = None

    @property
    def name(self) -> str:
        """Name of its data set."""
        return self.path.name.removesuffix(".json").removesuffix("_gain")


@dataclass(frozen=True)
class GainChoice:
    """The decision.

    Attributes
    ----------
    factors : GainMap or None
        What frames are multiplied by; None leaves the counts as they are.
    bound : BoundGain or None
        The same for the record.
    candidates : tuple of Candidate
        Every offer and what was decided of it.
    flags : tuple of Flag
        Warnings.
    """

    factors: GainMap | None = None
    bound: BoundGain | None = None
    candidates: tuple[Candidate, ...] = ()
    flags: tuple[Flag, ...] = field(default=())


def offer_gain(path: Path) -> GainOffer:
    """Read the gain reference whose record is at ``path``; what cannot be read is an offer without factors."""
    try:
        record = read_record(path, GainRecord)
        if record.result is None:
            return GainOffer(path, record, None)
        factors = read_gain(path.parent / record.result.file, record.result.file_sha256)
    except DataError as error:
        return GainOffer(path, None, None, error.problem)
    return GainOffer(path, record, factors)


def choose_gain(scan: Scan, offers: Sequence[GainOffer], output: Path, voltage_tolerance_percent: float) -> GainChoice:
    """Choose the first offer that fits and passed; if there is none, the first that fits and carries a warning.

    Unlike a gold reference a gain reference may be missing: counts then stay as they are. Where some were offered and
    none fits, that is worth a warning.

    Parameters
    ----------
    scan : Scan
        The data set.
    offers : sequence of GainOffer
        In order of preference, nearest in time first.
    output : Path
        The record that names it; paths in it are relative to its folder.
    voltage_tolerance_percent : float
        High tension of scan and reference may differ by this.
    """
    refusals = [_refusal(scan, offer, voltage_tolerance_percent) for offer in offers]
    fitting = [index for index, refusal in enumerate(refusals) if refusal is None]
    names = [relative_to_record(offer.path, output) for offer in offers]
    if not fitting:
        reasons = [str(refusal) for refusal in refusals]
        text = "; ".join(f"{offer.name}: {reason}" for offer, reason in zip(offers, reasons, strict=True))
        flag = Flag(name="no_gain", message=f"counts are used without gain correction: {text}")
        return GainChoice(None, None, _candidates(offers, names, reasons, None), (flag,) if offers else ())
    passing = [index for index in fitting if _verdict(offers[index]) == "pass"]
    chosen = (passing or fitting)[0]
    why = _why(scan, offers[chosen], n_rivals=len(passing or fitting))
    reasons = [
        why if index == chosen else refusal or "fits, but another one comes first"
        for index, refusal in enumerate(refusals)
    ]
    bound = _bound(offers[chosen], names[chosen], output, why)
    flags = tuple(_warnings(offers[chosen]))
    return GainChoice(offers[chosen].factors, bound, _candidates(offers, names, reasons, chosen), flags)


def _verdict(offer: GainOffer) -> str:
    return offer.record.quality.verdict if offer.record else "fail"


def _refusal(scan: Scan, offer: GainOffer, tolerance_percent: float) -> str | None:
    gain = offer.record
    if gain is None:
        return f"unreadable: {offer.problem}"
    if gain.quality.verdict == "fail" or offer.factors is None:
        first = gain.quality.flags[0].message if gain.quality.flags else "no reason is given"
        return f"the gain reference failed: {first}"
    if offer.factors.frame_shape != scan.frame_shape:
        shapes = f"{shape_text(offer.factors.frame_shape)}, the data have {shape_text(scan.frame_shape)}"
        return f"wrong frame shape: {shapes}"
    return disagreement("voltage", "kV", gain.voltage_kv, scan.voltage_kv, tolerance_percent)


def _why(scan: Scan, offer: GainOffer, *, n_rivals: int) -> str:
    kind = "passing" if _verdict(offer) == "pass" else "warned"
    of = f"first of {n_rivals} {kind} gain references" if n_rivals > 1 else f"the only {kind} gain reference"
    gap = time_between(scan.acquired_at, offer.record.acquired_at if offer.record else None)
    when = "how far away in time is not known" if gap is None else time_words(gap)
    return f"{of} at {scan.voltage_kv:g} kV: {when}"


def _warnings(offer: GainOffer) -> list[Flag]:
    if offer.record is None or offer.record.quality.verdict != "warn":
        return []
    text = "; ".join(flag.message for flag in offer.record.quality.flags)
    return [Flag(name="gain_warns", message=f"the best gain reference carries a warning: {text}")]


def _bound(offer: GainOffer, name: str, output: Path, why: str) -> BoundGain:
    assert offer.record is not None
    result = offer.record.result
    assert result is not None
    file = relative_to_record(offer.path.parent / result.file, output)
    return BoundGain(source=name, file=file, sha256=result.file_sha256, parity=result.parity, why=why)


def _candidates(
    offers: Sequence[GainOffer], names: Sequence[str], reasons: Sequence[str], chosen: int | None
) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(dataset=offer.name, path=name, chosen=index == chosen, reason=reason)
        for index, (offer, name, reason) in enumerate(zip(offers, names, reasons, strict=True))
    )
