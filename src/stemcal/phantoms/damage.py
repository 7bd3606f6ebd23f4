"""Damage ONE thing in a valid session; everything else, time stamps too, stays as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stemcal.formats.merlin import encode_header, inspect_mib
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.scan import ScanPlan

_LONGER = 1.35
"""Camera length that pushes 400 and beyond off the detector and is still within what a microscope may do."""

_GARBAGE = b"\xffQ\x00garbage\x00" * 8


@contextmanager
def _same_time(path: Path) -> Iterator[None]:
    """Give ``path`` its time stamp back afterwards: a damaged file that looks new would count as growing."""
    before = path.stat()
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(mib: Path, missing_bytes: int) -> None:
    """Take ``missing_bytes`` off the end of a raw file."""
    with _same_time(mib):
        os.truncate(mib, mib.stat().st_size - missing_bytes)


def cut_last_frame(mib: Path) -> None:
    """Take away the second half of the last frame."""
    truncate(mib, inspect_mib(mib).stride_bytes // 2)


def drop_last_frames(mib: Path, count: int) -> None:
    """Take away the last ``count`` frames, so that the file ends between two frames."""
    truncate(mib, inspect_mib(mib).stride_bytes * count)


def empty(mib: Path) -> None:
    """Leave a file of zero bytes."""
    truncate(mib, mib.stat().st_size)


def garble_header(mib: Path) -> None:
    """Overwrite the beginning of the first header with garbage."""
    with _same_time(mib), mib.open("r+b") as file:
        file.write(_GARBAGE)


def claim_wrong_frame_size(mib: Path) -> None:
    """Let the first header claim half the rows, so that the second frame is not where it says."""
    header = inspect_mib(mib).header
    rows, cols = header.frame_shape
    with _same_time(mib), mib.open("r+b") as file:
        file.write(encode_header(replace(header, frame_shape=(rows // 2, cols))))


def garble_hdr(mib: Path) -> None:
    """Overwrite the beginning of the ``.hdr``."""
    hdr = mib.with_suffix(".hdr")
    with _same_time(hdr), hdr.open("r+b") as file:
        file.write(_GARBAGE)


def garble_microscope_file(mib: Path) -> None:
    """Overwrite the beginning of the microscope's ``.hdf``."""
    hdf = microscope_file(mib)
    with _same_time(hdf), hdf.open("r+b") as file:
        file.write(_GARBAGE)


def remove_hdr(mib: Path) -> None:
    """Remove the ``.hdr``."""
    mib.with_suffix(".hdr").unlink()


def remove_microscope_file(mib: Path) -> None:
    """Remove the microscope's ``.hdf``."""
    microscope_file(mib).unlink()


def microscope_file(mib: Path) -> Path:
    """Return where the microscope's ``.hdf`` of a raw file stands."""
    return mib.with_name(f"{mib.stem.removesuffix('_data')}.hdf")


def without_rings(plan: SessionPlan) -> SessionPlan:
    """Return the plan with a gold scan that scatters diffusely only."""
    gold = _gold(plan)
    return plan.replacing(gold.model_copy(update={"diffuse_fraction": 1.0}))


def with_half_the_rings(plan: SessionPlan) -> SessionPlan:
    """Return the plan with a gold scan at a camera length so long that the outer half of its rings misses the detector.

    The microscope's file goes on saying the session's nominal camera length, as after a change that nobody noted.
    """
    gold = _gold(plan)
    camera = plan.camera_of(gold)
    pixel_size = camera.pixel_size_per_angstrom / _LONGER
    longer = camera.model_copy(update={"pixel_size_per_angstrom": pixel_size})
    return plan.replacing(gold.model_copy(update={"camera": longer}))


def _gold(plan: SessionPlan) -> ScanPlan:
    return next(scan for scan in plan.scans if scan.role == "gold")
