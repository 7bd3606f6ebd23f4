"""What is said of a gain measurement besides its numbers: each check is a small generator of findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stemcal.gain.measure import Attempt
from stemcal.gain.settings import GainSettings
from stemcal.gain.sums import FlatSums
from stemcal.records.base import Finding, Flag, Quality, judged

_OVERDISPERSED = 1.5
_SUBPOISSON = 0.7
_LEVEL = 0.01


@dataclass(frozen=True)
class Case:
    """Everything a check may look at."""

    sums: FlatSums
    attempt: Attempt
    voltage_kv: float | None
    settings: GainSettings


def judge(case: Case) -> Quality:
    """Return verdict and flags of a measurement."""
    refusal = case.attempt.refusal
    if refusal is not None:
        flag = Flag(name=refusal.name, value=refusal.value, limit=refusal.limit, message=refusal.message)
        return Quality(verdict="fail", flags=(flag,))
    findings = [finding for check in _CHECKS for finding in check(case)]
    return judged(findings)


def _check_noise(case: Case) -> Iterator[Finding]:
    gain, limit = case.attempt.gain, case.settings.warn_noise_ratio
    if gain is not None and gain.noise > limit * gain.spread:
        message = f"the gain is known to {gain.noise:.2%} and differs by {gain.spread:.2%}: more frames would pay"
        yield Finding(Flag(name="gain_noise", value=gain.noise / gain.spread, limit=limit, message=message), "warn")


def _check_structure(case: Case) -> Iterator[Finding]:
    structure, limit = case.attempt.structure, case.settings.warn_structure
    if structure is not None and structure.rms > max(limit, 2.5 * structure.sigma):
        message = (
            f"neighbouring pixels share {structure.rms:.1%} beyond the dose polynomial: "
            "chips that differ, or a beam that is not quite uniform"
        )
        yield Finding(Flag(name="structure", value=structure.rms, limit=limit, message=message), "warn")


def _check_runs(case: Case) -> Iterator[Finding]:
    dispersion = case.attempt.faults.dispersion
    if dispersion is None:
        message = f"{case.sums.n_frames} frames are too few to resample: uncertainties are those of counting alone"
        yield Finding(Flag(name="few_frames", value=float(case.sums.n_frames), message=message), "warn")
    elif dispersion > _OVERDISPERSED:
        message = f"counts scatter between runs of frames {dispersion:.1f} times as much as counting: the beam drifted"
        yield Finding(Flag(name="overdispersed", value=dispersion, limit=_OVERDISPERSED, message=message), "warn")
    elif dispersion < _SUBPOISSON:
        message = (
            f"counts scatter between runs of frames only {dispersion:.2f} times as much as counting: the detector "
            "loses electrons in its dead time, or the counts are none"
        )
        yield Finding(Flag(name="subpoisson", value=dispersion, limit=_SUBPOISSON, message=message), "warn")


def _check_parity(case: Case) -> Iterator[Finding]:
    test, gain = case.attempt.parity, case.attempt.gain
    if test is None or gain is None:
        return
    if gain.parity == "joint" and test.is_significant(case.settings):
        message = "even and odd frames differ, but by less than factors of their own would add in noise"
        value = test.reduced_chi_square
        yield Finding(Flag(name="parity", value=value, limit=case.settings.parity_chi_square, message=message), "note")
    if gain.parity == "joint" and abs(test.level_ratio - 1) > _LEVEL:
        message = f"even frames hold {test.level_ratio:.3f} times the counts of odd ones: an unsteady beam?"
        yield Finding(Flag(name="parity_level", value=test.level_ratio, limit=_LEVEL, message=message), "warn")


def _check_voltage(case: Case) -> Iterator[Finding]:
    if case.voltage_kv is None:
        message = "the high tension is not known: no data set can be corrected with this reference"
        yield Finding(Flag(name="no_voltage", message=message), "warn")


_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _check_noise,
    _check_structure,
    _check_runs,
    _check_parity,
    _check_voltage,
)
