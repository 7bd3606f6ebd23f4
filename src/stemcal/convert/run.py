"""The convert step: read the raw files once, write the container, the figure and the record."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.binning import BinPlan, plan_binning
from stemcal.convert.blocks import BlockWorker, locate
from stemcal.convert.grow import journal_folder
from stemcal.convert.journal import Journal, journal_key, open_journal
from stemcal.convert.opening import open_alike
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.preview import plan_preview
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.writing import Outputs
from stemcal.errors import DataError
from stemcal.formats.mask import fit_mask, read_mask
from stemcal.frames.mib import MibSource, Sidecars
from stemcal.frames.plan import Block, plan_blocks
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.stream import stream_plan
from stemcal.records.convert import ConvertRecord
from stemcal.records.microscope import Microscope

_LISTENED_TOGETHER = 16
"""Frames that are decoded together for their sums: pictures may be eight times as large as the raw bits."""
_OTHER_GAP = 3
"""Gap that a mask may have where the frames have none: ePSIC's masks include their cross."""


def run_convert(
    mib: Path,
    paths: ConvertPaths,
    *,
    settings: ConvertSettings,
    sidecars: Sidecars | None = None,
    scan_shape: tuple[int, int] | None = None,
    source: Mapping[str, object] | None = None,
    threads: int = 1,
    world: World = SERIAL,
    progress: Callable[[int, int], None] | None = None,
) -> ConvertRecord:
    """Convert a Merlin acquisition.

    Parameters
    ----------
    mib : Path
        The raw file, of any mode; of an acquisition in several files, any of them or the ``.hdr``.
    paths : ConvertPaths
        The outputs.
    settings : ConvertSettings
        Settings of the step.
    sidecars : Sidecars, optional
        The ``.hdr`` and the microscope's file; found beside ``mib`` if None.
    scan_shape : tuple of int, optional
        (scan_row, scan_col) as a person states it; before what ``source`` says.
    source : mapping, optional
        Identity of the raw data from the workflow; its scan shape and microscope settings are used.
    threads, world, progress :
        See `stemcal.frames.stream.stream_blocks`. The outputs do not depend on them.

    Returns
    -------
    ConvertRecord
        As written, on every rank. Its verdict is ``fail`` where no layout of the scan is certain: the frames are then
        kept as one line, and later steps refuse them.

    Raises
    ------
    DataError
        If the raw file is damaged or of a kind that is not read, changes while it is read, the stated scan shape does
        not fit, or the detector mask does not.
    OSError
        If an output cannot be written.
    """
    identity = dict(source or {})
    said_shape, said_microscope = _said(identity)
    opening = partial(
        MibSource,
        mib,
        scan_shape or said_shape,
        sidecars=sidecars,
        microscope=said_microscope,
        gap_px=settings.chip_gap_px,
        threads=threads,
    )
    frames = open_alike(mib, opening, world)
    with frames:
        if not frames.scan.certain:
            _listen(frames, threads, world)
        masked = world.bcast(_masked(settings, frames) if world.rank == 0 else None)
        detectors = world.bcast(locate(frames, masked, settings) if world.rank == 0 else None)
        journal = world.bcast(_journal(frames, paths) if world.rank == 0 else None)
        binning = world.bcast(_binning(frames, settings) if world.rank == 0 else None)
        worker = BlockWorker(
            frames,
            plan_preview(frames.scan_shape, frames.frame_shape),
            detectors,
            masked,
            binning=binning,
            journal=journal,
            keep_records=world.size == 1 and not _reads_again(journal),
        )
        results = stream_plan(_plan(frames), worker, threads=threads, world=world, progress=progress)
        if world.rank != 0:
            deque(results, maxlen=0)
            world.send(worker.collect(), 0)
        outputs = Outputs(frames, paths, settings, identity, masked, detectors, binning, journal)
        record = outputs.write(results, worker, world) if world.rank == 0 else None
    final: ConvertRecord = world.bcast(record)
    return final


def _said(source: Mapping[str, object]) -> tuple[tuple[int, int] | None, Microscope | None]:
    """Return the scan shape and the microscope's settings that discovery passed on, a person's words included."""
    raw = source.get("raw")
    if not isinstance(raw, Mapping):
        return None, None
    shape, optics = raw.get("scan_shape"), raw.get("microscope")
    return (int(shape[0]), int(shape[1])) if shape else None, Microscope.model_validate(optics) if optics else None


def _plan(frames: MibSource) -> tuple[Block, ...]:
    """Return the blocks of the pass: in the order of the file, so that it is read once and from front to back."""
    return plan_blocks(frames.mib.n_frames, frames.layout.stride_bytes)


def _journal(frames: MibSource, paths: ConvertPaths) -> Journal | None:
    """Return the frames that were converted while the file grew; None for an acquisition in several files."""
    if len(frames.mib.layouts) > 1:
        return None
    return open_journal(journal_folder(paths.data), journal_key(frames.layout, frames.gap_px), frames.mib.n_frames)


def _binning(frames: MibSource, settings: ConvertSettings) -> BinPlan | None:
    """Return how to bin, None where it is not asked for, or where nobody knows which positions are neighbours."""
    if not frames.scan.certain:
        return None
    return plan_binning(settings, frames.scan_shape, frames.frame_shape, frames.dtype)


def _reads_again(journal: Journal | None) -> bool:
    """Say whether the digest of the raw file has to be made from its beginning although frames are done."""
    return journal is not None and journal.n_frames > 0 and journal.begun() is None


def _listen(frames: MibSource, threads: int, world: World) -> None:
    """Read the total intensity of every frame, which may decide where the headers cannot: one pass more, seldom."""

    def total(block: Block) -> NDArray[np.float64]:
        counts = np.empty(block.n_frames, np.uint64)
        for start in range(block.start, block.stop, _LISTENED_TOGETHER):
            stop = min(start + _LISTENED_TOGETHER, block.stop)
            pictures = frames.mib.read(start, stop)
            counts[start - block.start : stop - block.start] = pictures.sum(axis=(1, 2), dtype=np.uint64)
        return counts.astype(np.float64)

    found = [values for _block, values in stream_plan(_plan(frames), total, threads=threads, world=world)]
    frames.hear_intensity(world.bcast(np.concatenate(found) if found else None))


def _masked(settings: ConvertSettings, frames: MibSource) -> NDArray[np.bool_]:
    """Return what the gap and the mask file leave of the detector, (det_row, det_col), True = valid."""
    if settings.mask_file is None:
        return frames.valid
    path = Path(settings.mask_file)
    mask = read_mask(path)
    valid = ~mask if settings.mask_true_is_bad else mask
    fitted = fit_mask(valid, frames.frame_shape, frames.gap_px or _OTHER_GAP)
    if fitted is None:
        problem = f"is a mask of {mask.shape[0]} x {mask.shape[1]} pixels, but the frames have"
        problem = f"{problem} {frames.frame_shape[0]} x {frames.frame_shape[1]}"
        raise DataError(path, problem, "give a mask of the detector with or without the gap between its chips")
    return frames.valid & fitted
