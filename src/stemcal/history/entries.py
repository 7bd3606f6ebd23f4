"""From a gold record to a line of the history, and which line a calibration is compared with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from stemcal.records.gold import GoldRecord
from stemcal.records.history import HistoryEntry
from stemcal.stages import canonical, digest

_OWN = ("first_header_sha256", "first_timestamp")
"""What says that two raw files are one acquisition, and is known of a converted one too."""
_VOLTAGE_PART = 0.005
_CAMERA_LENGTH_PART = 0.01
"""Settings of a microscope are the same within these parts: they are round numbers that were rounded."""


def data_identity(identity: Mapping[str, object]) -> str:
    """Return the digest by which an acquisition is known in the history, from what a source says of itself."""
    own = {name: identity[name] for name in _OWN if identity.get(name)}
    return digest(canonical(own or dict(identity)))


def entry_of(record: GoldRecord, identity: str, label: str, instrument: str) -> HistoryEntry | None:
    """Return the line of a calibration; None where it failed, or nobody knows when or at which settings it was taken.

    Parameters
    ----------
    record : GoldRecord
        The calibration.
    identity : str
        See :func:`data_identity`.
    label, instrument : str
        For the reader, and the name of the microscope.
    """
    result = record.result
    if result is None or record.quality.verdict == "fail" or result.effective_camera_length_m is None:
        return None
    unknown = (record.acquired_at, record.voltage_kv, record.nominal_camera_length_m, record.frame_shape)
    if None in unknown or result.camera_length_ratio is None or instant(str(record.acquired_at)) is None:
        return None
    return HistoryEntry.model_validate(
        {
            "identity": identity,
            "label": label,
            "instrument": instrument,
            "acquired_at": record.acquired_at,
            "voltage_kv": record.voltage_kv,
            "nominal_camera_length_m": record.nominal_camera_length_m,
            "detector_pixel_um": record.detector_pixel_um,
            "frame_shape": record.frame_shape,
            "standard": record.standard,
            "revision": record.provenance.revision,
            "verdict": record.quality.verdict,
            "pixel_size": result.pixel_size.area_preserving,
            "ellipse_ratio": result.ellipse.ratio,
            "ellipse_angle_deg": result.ellipse.angle_deg,
            "effective_camera_length_m": result.effective_camera_length_m,
            "camera_length_ratio": result.camera_length_ratio,
        }
    )


def instant(acquired_at: str) -> float | None:
    """Return an ISO time in seconds since the epoch; one without a zone is taken for UTC; None if it is no time."""
    try:
        moment = datetime.fromisoformat(acquired_at)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def by_time(entries: Iterable[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    """Return ``entries`` in the order of their acquisition."""
    return tuple(sorted(entries, key=lambda one: (instant(one.acquired_at) or 0.0, one.identity)))


def same_settings(
    one: HistoryEntry, instrument: str, voltage_kv: float | None, nominal_camera_length_m: float | None
) -> bool:
    """Tell whether a calibration was taken on that microscope at that high tension and nominal camera length."""
    return (
        one.instrument == instrument
        and _close(one.voltage_kv, voltage_kv, _VOLTAGE_PART)
        and _close(one.nominal_camera_length_m, nominal_camera_length_m, _CAMERA_LENGTH_PART)
    )


def _close(a: float, b: float | None, part: float) -> bool:
    return b is not None and abs(a - b) <= part * max(abs(a), abs(b))


def in_one_series(a: HistoryEntry, b: HistoryEntry) -> bool:
    """Tell whether two calibrations are of the same settings and the same pixels, so that they should agree."""
    same_pixels = a.frame_shape == b.frame_shape and a.detector_pixel_um == b.detector_pixel_um
    return same_pixels and same_settings(a, b.instrument, b.voltage_kv, b.nominal_camera_length_m)


def previous_of(entry: HistoryEntry, history: Iterable[HistoryEntry]) -> HistoryEntry | None:
    """Return the calibration of the same series that ``entry`` is compared with, or None."""
    return last_of(
        one
        for one in history
        if one.identity != entry.identity and in_one_series(one, entry) and is_before(one, entry.acquired_at)
    )


def is_before(one: HistoryEntry, acquired_at: str) -> bool:
    """Tell whether a calibration was taken before that time."""
    when, then = instant(acquired_at), instant(one.acquired_at)
    return when is not None and then is not None and then < when


def last_of(entries: Iterable[HistoryEntry]) -> HistoryEntry | None:
    """Return the last calibration that passed; where none did, the last that carries a warning."""
    ordered = by_time(entries)
    passed = [one for one in ordered if one.verdict == "pass"]
    return (passed or ordered or (None,))[-1]
