"""Which scans show how scan and camera lie to each other, and which of them may serve another one. Pure."""

from __future__ import annotations

from stemcal.discover.bind import agree, seconds_apart
from stemcal.discover.settings import DiscoverSettings
from stemcal.records.manifest import Dataset
from stemcal.records.microscope import Microscope

_ANGSTROM_PER_NM = 10.0
_SAME_ROTATION_DEG = 0.1


def measures_geometry(
    dataset: Dataset, settings: DiscoverSettings, *, said: bool | None, semi_angle_known: bool
) -> tuple[bool, str | None]:
    """Return whether the geometry of a data set is measured, and the reason in words.

    A focused scan at atomic resolution shows its geometry: its step is small enough, and the semi-angle of its probe
    is known, which makes angles of pixels. A person's word counts first, then the role.

    Parameters
    ----------
    dataset : Dataset
        A data set with its role and its verdict.
    settings : DiscoverSettings
        The limits.
    said : bool or None
        What ``session.yaml`` says.
    semi_angle_known : bool
        Whether the settings of the geometry state the semi-angle.
    """
    if dataset.role not in ("sample", "geometry") or dataset.verdict != "ready":
        return False, None
    if said is not None:
        return said, "geometry is measured: session.yaml says so" if said else "no geometry: session.yaml says so"
    if dataset.role == "geometry":
        return True, f"geometry is measured: it is what the data set is for, {dataset.role_reason}"
    optics = dataset.microscope or Microscope()
    obstacle = _obstacle(optics, settings, semi_angle_known=semi_angle_known)
    if obstacle is not None:
        return False, f"no geometry: {obstacle}"
    step = _ANGSTROM_PER_NM * (optics.scan_step_nm or 0.0)
    return True, f"geometry is measured: its step of {step:.3g} angstrom resolves atoms, and it is focused"


def _obstacle(optics: Microscope, settings: DiscoverSettings, *, semi_angle_known: bool) -> str | None:
    if optics.scan_step_nm is None:
        return "the step of the scan is unknown"
    step = _ANGSTROM_PER_NM * optics.scan_step_nm
    if step > settings.geometry_max_step_angstrom:
        return f"a step of {step:.3g} angstrom does not resolve atoms (at most {settings.geometry_max_step_angstrom:g})"
    if optics.convergence_semi_angle_mrad is None and not semi_angle_known:
        return "the semi-angle of the probe is unknown"
    if abs(optics.defocus_nm or 0.0) > settings.geometry_max_defocus_nm:
        return f"a defocus of {optics.defocus_nm:g} nm is not in focus (at most {settings.geometry_max_defocus_nm:g})"
    return None


def geometry_candidates(scan: Dataset, measured: tuple[Dataset, ...], settings: DiscoverSettings) -> tuple[str, ...]:
    """Return the ids of the scans whose geometry may serve ``scan``, its own first, then the nearest in time.

    They agree in high tension and nominal camera length (within the tolerances), scan rotation and detector shape.

    Parameters
    ----------
    scan : Dataset
        A sample scan that is calibrated.
    measured : tuple of Dataset
        Every data set whose geometry is measured.
    settings : DiscoverSettings
        Tolerances, and how many.
    """
    fitting = [one for one in measured if one.id == scan.id or _fits(scan, one, settings)]
    ordered = sorted(fitting, key=lambda one: (one.id != scan.id, seconds_apart(scan, one), one.id))
    return tuple(one.id for one in ordered[: settings.geometry_references])


def _fits(scan: Dataset, other: Dataset, settings: DiscoverSettings) -> bool:
    here, there = scan.microscope, other.microscope
    if here is None or there is None or scan.frame_shape != other.frame_shape:
        return False
    return (
        agree(here.voltage_kv, there.voltage_kv, settings.voltage_tolerance_percent)
        and agree(here.nominal_camera_length_m, there.nominal_camera_length_m, settings.camera_length_tolerance_percent)
        and _same_rotation(here.scan_rotation_deg, there.scan_rotation_deg)
    )


def _same_rotation(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs((a - b + 180) % 360 - 180) <= _SAME_ROTATION_DEG
