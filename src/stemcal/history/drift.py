"""How far a camera has moved between two calibrations. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from stemcal.records.base import Finding, Flag, judged
from stemcal.records.history import Drift, HistoryEntry


@dataclass(frozen=True)
class DriftLimits:
    """Beyond what a change is told.

    Attributes
    ----------
    sigmas : float
        Combined standard uncertainties: a change is significant. One without uncertainties counts as significant,
        because nobody can say that it is not.
    pixel_size : float
        Relative change: it is large.
    ratio : float
        Change of the ellipse in the ratio of its axes: it is large.
    """

    sigmas: float = 5.0
    pixel_size: float = 0.005
    ratio: float = 0.005

    @classmethod
    def from_settings(cls, gold: Mapping[str, object]) -> Self:
        """Return the limits in a section `gold` of settings."""
        names = ("sigmas", "pixel_size", "ratio")
        return cls(**{name: float(str(gold[f"drift_{name}"])) for name in names if f"drift_{name}" in gold})


def drift_between(entry: HistoryEntry, previous: HistoryEntry, limits: DriftLimits) -> Drift:
    """Return the change from ``previous`` to ``entry``; it warns where it is both significant and large.

    Parameters
    ----------
    entry, previous : HistoryEntry
        Two calibrations of one series.
    limits : DriftLimits
        What a change has to exceed.
    """
    size, before = entry.pixel_size, previous.pixel_size
    change = size.value / before.value - 1
    change_sigma = _combined(_relative(size.value, size.sigma), _relative(before.value, before.sigma))
    (a1, a2), (b1, b2) = _strain(entry), _strain(previous)
    strain = math.hypot(a1 - b1, a2 - b2)
    strain_sigma = _combined(_strain_sigma(entry), _strain_sigma(previous))
    since = f"since {previous.acquired_at[:19].replace('T', ' ')} ({previous.label})"
    findings = []
    if abs(change) > limits.pixel_size and _significant(abs(change), change_sigma, limits):
        message = f"the pixel size has changed by {change:+.2%}{_words(abs(change), change_sigma)} {since}"
        findings.append(
            Finding(Flag(name="drift_pixel_size", value=change, limit=limits.pixel_size, message=message), "warn")
        )
    if 2 * strain > limits.ratio and _significant(strain, strain_sigma, limits):
        message = (
            f"the ellipse has changed by {2 * strain:.2%} in ratio{_words(strain, strain_sigma)} {since}: "
            f"{previous.ellipse_ratio.value:.4f} at {previous.ellipse_angle_deg.value:.1f} deg before, "
            f"{entry.ellipse_ratio.value:.4f} at {entry.ellipse_angle_deg.value:.1f} deg now"
        )
        findings.append(
            Finding(Flag(name="drift_ellipse", value=2 * strain, limit=limits.ratio, message=message), "warn")
        )
    return Drift(
        previous=previous,
        pixel_size_change=change,
        pixel_size_change_sigmas=change / change_sigma if change_sigma else None,
        ratio_change=entry.ellipse_ratio.value - previous.ellipse_ratio.value,
        angle_change_deg=_half_turn(entry.ellipse_angle_deg.value - previous.ellipse_angle_deg.value),
        strain_change=strain,
        strain_change_sigmas=strain / strain_sigma if strain_sigma else None,
        quality=judged(findings),
    )


def _relative(value: float, sigma: float | None) -> float | None:
    return None if sigma is None else sigma / value


def _combined(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else math.hypot(a, b)


def _significant(change: float, sigma: float | None, limits: DriftLimits) -> bool:
    return sigma is None or change > limits.sigmas * sigma


def _words(change: float, sigma: float | None) -> str:
    return f" ({change / sigma:.0f} sigma)" if sigma else ""


def _strain(entry: HistoryEntry) -> tuple[float, float]:
    """Return (e1, e2), as ``stemcal.optics.ellipse`` has them."""
    half, angle = math.log(entry.ellipse_ratio.value) / 2, 2 * math.radians(entry.ellipse_angle_deg.value)
    return half * math.cos(angle), half * math.sin(angle)


def _strain_sigma(entry: HistoryEntry) -> float | None:
    """Return the uncertainty of either component, as the mean of those along and across the vector."""
    ratio, angle = entry.ellipse_ratio, entry.ellipse_angle_deg
    if ratio.sigma is None or angle.sigma is None:
        return None
    along = ratio.sigma / (2 * ratio.value)
    across = math.log(ratio.value) * math.radians(angle.sigma)
    return math.sqrt((along**2 + across**2) / 2)


def _half_turn(angle_deg: float) -> float:
    return 90 - (90 - angle_deg) % 180
