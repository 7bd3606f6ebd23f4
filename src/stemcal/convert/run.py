"""The convert step: read the raw file once, write the container, the figure and the record."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.blocks import BlockResult, block_function, locate
from stemcal.convert.figure import draw_overview
from stemcal.convert.outcome import conclude, validity
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import ScanSums
from stemcal.errors import DataError
from stemcal.formats.container import Layout, open_container
from stemcal.formats.extras import Extras, Sum
from stemcal.formats.hspy import Axis
from stemcal.formats.mask import read_mask
from stemcal.frames.mib import MibSource, Sidecars
from stemcal.frames.plan import Block
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.stream import stream_blocks
from stemcal.optics.disk import NoDisk
from stemcal.records.atomic import write_record
from stemcal.records.base import InputFile
from stemcal.records.convert import ConvertRecord, VirtualDetectors
from stemcal.records.microscope import Microscope
from stemcal.records.provenance import provenance, relative_to_record, small_input
from stemcal.stages import canonical

METHOD = "lossless copy of the counts with exact integer sums in one pass"
_DATA = "_data"


@dataclass(frozen=True)
class ConvertPaths:
    """The three outputs; ``name`` is the id of the data set."""

    data: Path
    record: Path
    figure: Path

    @classmethod
    def of(cls, data: Path, record: Path | None = None, figure: Path | None = None) -> ConvertPaths:
        """Derive what is not given from ``data``: ``x_data.hdf5`` -> ``x_convert.json``, ``x_overview.png``."""
        stem = data.stem.removesuffix(_DATA)
        default_record, default_figure = (data.with_name(f"{stem}_{end}") for end in ("convert.json", "overview.png"))
        return cls(data, record or default_record, figure or default_figure)

    @property
    def name(self) -> str:
        """Id of the data set, without folder."""
        return self.data.stem.removesuffix(_DATA)


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
    """Convert a ``.mib`` file.

    Parameters
    ----------
    mib : Path
        The raw file: U08, U16 or U32, single or quad.
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
        As written, on every rank.

    Raises
    ------
    DataError
        If the raw file is damaged, incomplete or of a kind that is not read, its scan shape is uncertain, or the
        detector mask does not fit.
    OSError
        If an output cannot be written.
    """
    identity = dict(source or {})
    said_shape, said_microscope = _said(identity)
    if mib.suffix.lower() != ".mib":
        raise DataError(mib, f"ends in {mib.suffix!r}, and only .mib files are converted", "give the raw .mib file")
    with MibSource(mib, scan_shape or said_shape, sidecars=sidecars, microscope=said_microscope) as frames:
        masked = _masked(settings, frames.frame_shape)
        detectors = world.bcast(locate(frames, masked, settings) if world.rank == 0 else None)
        results = stream_blocks(
            frames, block_function(frames, detectors, masked), threads=threads, world=world, progress=progress
        )
        if world.rank != 0:
            deque(results, maxlen=0)
        record = _write(frames, results, paths, detectors, masked, settings, identity) if world.rank == 0 else None
    final: ConvertRecord = world.bcast(record)
    return final


def _said(source: Mapping[str, object]) -> tuple[tuple[int, int] | None, Microscope | None]:
    """Return the scan shape and the microscope's settings that discovery passed on, a person's words included."""
    raw = source.get("raw")
    if not isinstance(raw, Mapping):
        return None, None
    shape, optics = raw.get("scan_shape"), raw.get("microscope")
    return (int(shape[0]), int(shape[1])) if shape else None, Microscope.model_validate(optics) if optics else None


def _masked(settings: ConvertSettings, frame_shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return what the mask file leaves of the detector, (det_row, det_col), True = valid."""
    if settings.mask_file is None:
        return np.ones(frame_shape, np.bool_)
    path = Path(settings.mask_file)
    mask = read_mask(path)
    if mask.shape != frame_shape:
        problem = f"is a mask of {mask.shape[0]} x {mask.shape[1]} pixels, but the frames have"
        problem = f"{problem} {frame_shape[0]} x {frame_shape[1]}"
        raise DataError(path, problem, "give a mask of the detector as it was read out, without gap pixels")
    return ~mask if settings.mask_true_is_bad else mask


def _write(
    frames: MibSource,
    results: Iterator[tuple[Block, BlockResult]],
    paths: ConvertPaths,
    detectors: VirtualDetectors | NoDisk,
    masked: NDArray[np.bool_],
    settings: ConvertSettings,
    identity: dict[str, object],
) -> ConvertRecord:
    """Write the outputs; the record goes first from the disk and last onto it: where it is, the step is complete."""
    paths.record.unlink(missing_ok=True)
    sums = ScanSums(frames.scan_shape, frames.frame_shape)
    sequence = np.empty(frames.n_frames, np.int64)
    with open_container(paths.data, _layout(frames, paths.name)) as writer:
        for block, found in results:
            writer.append(found.chunks)
            sums.add(block, found.sums)
            sequence[block.start : block.stop] = found.sequence
        valid = validity(sums, masked, detectors, settings)
        parts = sums.as_sums()
        writer.finish(_extras(frames, sequence, valid, parts, settings, identity))
    result, quality = conclude(frames, sums, sequence, valid, detectors)
    draw_overview(paths.figure, paths.name, result, quality, parts, valid)
    record = ConvertRecord(
        method=METHOD,
        inputs=_inputs(frames, paths.record, settings),
        quality=quality,
        provenance=provenance("convert", settings, identity),
        result=result,
    )
    write_record(paths.record, record)
    return record


def _layout(frames: MibSource, name: str) -> Layout:
    """Return the layout of the container: scan axes in nm where the step is known, everything else in pixels."""
    step = None if frames.microscope is None else frames.microscope.scan_step_nm
    unit, scale = ("px", 1.0) if step is None else ("nm", step)
    axes = (Axis("scan_row", unit, scale), Axis("scan_col", unit, scale), Axis("det_row", "px"), Axis("det_col", "px"))
    return Layout(name, (*frames.scan_shape, *frames.frame_shape), axes, frames.dtype)


def _extras(
    frames: MibSource,
    sequence: NDArray[np.int64],
    valid: NDArray[np.bool_],
    sums: Mapping[str, Sum],
    settings: ConvertSettings,
    identity: dict[str, object],
) -> Extras:
    stated = provenance("convert", settings, identity)
    made = {"stage": stated.stage, "revision": stated.revision, "settings": stated.settings, "source": stated.source}
    header = frames.layout.header
    attributes: dict[str, int | float | str | bool] = {"rows_flipped": True, "assembly": header.assembly}
    if header.counter_depth_bit is not None:
        attributes["counter_depth_bit"] = header.counter_depth_bit
    return Extras(
        valid=valid,
        frame_status=frames.frame_status,
        sequence_number=sequence,
        sums=sums,
        first_header=frames.layout.header_data.rstrip(b" \0").decode("latin-1"),
        hdr=frames.hdr_text,
        microscope=frames.microscope,
        microscope_file=frames.microscope_file,
        acquired_at=frames.acquired_at,
        identity=frames.identity,
        parameter=canonical(made),
        attributes=attributes,
    )


def _inputs(frames: MibSource, record: Path, settings: ConvertSettings) -> tuple[InputFile, ...]:
    raw = InputFile(role="raw", path=relative_to_record(frames.path, record), identity=frames.identity)
    beside = (
        ("hdr", frames.sidecars.hdr),
        ("microscope", frames.sidecars.microscope),
        ("mask", None if settings.mask_file is None else Path(settings.mask_file)),
    )
    return (raw, *(small_input(role, path, record) for role, path in beside if path is not None))
