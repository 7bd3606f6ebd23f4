"""Which references may serve which scan, and which scans may be factorised together. Pure."""

from __future__ import annotations

from datetime import datetime

from stemcal.discover.settings import DiscoverSettings
from stemcal.records.manifest import Dataset

_PERCENT = 100.0


def gold_candidates(
    scan: Dataset, golds: tuple[Dataset, ...], settings: DiscoverSettings
) -> tuple[tuple[str, ...], str]:
    """Return the ids of the gold data sets that may calibrate ``scan``, best first, and the reason in words.

    A candidate agrees in high tension, nominal camera length (within the tolerances) and detector shape; among those
    the nearest in time comes first, ties broken by id.

    Parameters
    ----------
    scan : Dataset
        A sample scan.
    golds : tuple of Dataset
        Every gold data set that will be measured.
    settings : DiscoverSettings
        The tolerances.
    """
    optics = scan.microscope
    if optics is None or optics.voltage_kv is None or optics.nominal_camera_length_m is None:
        return (), "no calibration: high tension or camera length of this scan is unknown"
    key = f"{optics.voltage_kv:g} kV, camera length {optics.nominal_camera_length_m:g} m, detector {scan.frame_shape}"
    fitting = [gold for gold in golds if _fits(scan, gold, settings)]
    if not fitting:
        return (), f"no calibration: no gold reference at {key} among {len(golds)} in this session"
    ordered = sorted(fitting, key=lambda gold: (seconds_apart(scan, gold), gold.id))
    plural = "s" if len(ordered) > 1 else ""
    return tuple(gold.id for gold in ordered), f"{len(ordered)} gold reference{plural} at {key}, nearest in time first"


def gain_candidates(
    scan: Dataset, gains: tuple[Dataset, ...], settings: DiscoverSettings
) -> tuple[tuple[str, ...], str | None]:
    """Return the ids of the gain data sets that may correct ``scan``, best first, and the reason in words.

    A candidate agrees in high tension and detector shape, and in the depth of the counter where both say it; the
    camera length does not matter. Among those the nearest in time comes first, ties broken by id.

    Parameters
    ----------
    scan : Dataset
        A sample scan.
    gains : tuple of Dataset
        Every gain data set that will be measured; without any there is nothing to say.
    settings : DiscoverSettings
        The tolerances.
    """
    if not gains:
        return (), None
    voltage = scan.microscope.voltage_kv if scan.microscope else None
    if voltage is None:
        return (), "no gain correction: the high tension of this scan is unknown"
    key = f"{voltage:g} kV, detector {scan.frame_shape}"
    if scan.counter_depth_bit is not None:
        key += f", {scan.counter_depth_bit} bit"
    fitting = [gain for gain in gains if _gain_fits(scan, gain, settings)]
    if not fitting:
        return (), f"no gain correction: no gain reference at {key} among {len(gains)} in this session"
    ordered = sorted(fitting, key=lambda gain: (seconds_apart(scan, gain), gain.id))
    plural = "s" if len(ordered) > 1 else ""
    return tuple(gain.id for gain in ordered), f"{len(ordered)} gain reference{plural} at {key}, nearest in time first"


def _gain_fits(scan: Dataset, gain: Dataset, settings: DiscoverSettings) -> bool:
    here, there = scan.microscope, gain.microscope
    if here is None or there is None or scan.frame_shape != gain.frame_shape:
        return False
    depths = {scan.counter_depth_bit, gain.counter_depth_bit} - {None}
    return len(depths) < 2 and agree(here.voltage_kv, there.voltage_kv, settings.voltage_tolerance_percent)


def _fits(scan: Dataset, gold: Dataset, settings: DiscoverSettings) -> bool:
    here, there = scan.microscope, gold.microscope
    if here is None or there is None or scan.frame_shape != gold.frame_shape:
        return False
    return agree(here.voltage_kv, there.voltage_kv, settings.voltage_tolerance_percent) and agree(
        here.nominal_camera_length_m, there.nominal_camera_length_m, settings.camera_length_tolerance_percent
    )


def agree(a: float | None, b: float | None, tolerance_percent: float) -> bool:
    """Tell whether two settings are the same within a tolerance; an unknown one is not."""
    if a is None or b is None:
        return False
    return abs(a - b) <= tolerance_percent / _PERCENT * max(abs(a), abs(b))


def seconds_apart(scan: Dataset, reference: Dataset) -> float:
    """Return the time between two acquisitions; unknown times come last."""
    if scan.acquired_at is None or reference.acquired_at is None:
        return float("inf")
    try:
        apart = datetime.fromisoformat(scan.acquired_at) - datetime.fromisoformat(reference.acquired_at)
    except (TypeError, ValueError):
        return float("inf")
    return abs(apart.total_seconds())


def group_name(scan: Dataset) -> str | None:
    """Return the name of the group of scans that ``scan`` may be factorised with, or None where optics are unknown."""
    optics = scan.microscope
    if (
        optics is None
        or optics.voltage_kv is None
        or optics.nominal_camera_length_m is None
        or scan.frame_shape is None
    ):
        return None
    rows, cols = scan.frame_shape
    return f"{optics.voltage_kv:g}kV_{1000 * optics.nominal_camera_length_m:g}mm_{rows}x{cols}"
