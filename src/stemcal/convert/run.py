"""The convert step: read the raw files once, write the container, the figure and the record."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.binning import BinPlan, ScanBinning, plan_binning
from stemcal.convert.blocks import BlockResult, BlockWorker, locate
from stemcal.convert.figure import draw_overview
from stemcal.convert.grow import journal_folder
from stemcal.convert.journal import Journal, journal_key, open_journal
from stemcal.convert.opening import open_alike
from stemcal.convert.outcome import Validity, conclude, judge_pixels
from stemcal.convert.preview import plan_preview
from stemcal.convert.raw_digest import Begun, RawDigest
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import ScanSums
from stemcal.errors import DataError
from stemcal.formats.container import ContainerWriter, Layout, open_container
from stemcal.formats.extras import Extras, FrameStatus, Sum
from stemcal.formats.hspy import Axis
from stemcal.formats.mask import fit_mask, read_mask
from stemcal.formats.merlin.layout import MibLayout
from stemcal.formats.microscope import units_of
from stemcal.frames.mib import MibSource, Sidecars
from stemcal.frames.plan import Block, plan_blocks
from stemcal.frames.ranks import SERIAL, World
from stemcal.frames.stream import stream_plan
from stemcal.optics.disk import NoDisk
from stemcal.records.atomic import refuse_folder, write_record
from stemcal.records.base import InputFile
from stemcal.records.convert import Binned, ConvertRecord, RawFile, VirtualDetectors
from stemcal.records.microscope import Microscope
from stemcal.records.provenance import provenance, relative_to_record, small_input
from stemcal.stages import canonical

METHOD = "lossless copy of the counts with exact integer sums in one pass"
_DATA = "_data"
_LISTENED_TOGETHER = 16
"""Frames that are decoded together for their sums: pictures may be eight times as large as the raw bits."""
_OTHER_GAP = 3
"""Gap that a mask may have where the frames have none: ePSIC's masks include their cross."""


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
    def growing(self) -> Path:
        """How far the file was converted while it grew."""
        return self.data.with_name(f"{self.name}_growing.json")

    @property
    def binned(self) -> Path:
        """The second file, with binned frames; written only where it is asked for."""
        return self.data.with_name(f"{self.name}_binned.hdf5")

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
        run = _Run(frames, paths, settings, identity, masked, detectors, binning, journal)
        record = run.write(results, worker, world) if world.rank == 0 else None
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


@dataclass(frozen=True)
class _Run:
    """Everything that is known before the pass, on the rank that writes."""

    frames: MibSource
    paths: ConvertPaths
    settings: ConvertSettings
    identity: dict[str, object]
    masked: NDArray[np.bool_]
    detectors: VirtualDetectors | NoDisk
    binning: BinPlan | None
    journal: Journal | None

    def write(self, results: Iterator[tuple[Block, BlockResult]], worker: BlockWorker, world: World) -> ConvertRecord:
        """Write the outputs; the record goes first from the disk and last onto it: where it is, all is complete."""
        frames, paths, inputs = self.frames, self.paths, self._inputs()
        refuse_folder(paths.figure)
        paths.record.unlink(missing_ok=True)
        sums = ScanSums(plan_preview(frames.scan_shape, frames.frame_shape))
        with ExitStack() as stack:
            writer = stack.enter_context(open_container(paths.data, self._layout()))
            digest = stack.enter_context(RawDigest(frames.mib.layouts, self._begun()))
            binning = self._open_binning(stack)
            self._pass(results, worker, sums, writer, digest, binning)
            for found in [*worker.collect(), *(one for rank in range(1, world.size) for one in world.recv(rank))]:
                sums.add_patterns(*found)
            raw_files = _raw_files(frames.mib.layouts, digest.finish())
            frames.mib.check_unchanged()
            pixels = judge_pixels(sums, self.masked, self.detectors, self.settings)
            parts = sums.as_sums()
            writer.finish(self._extras(pixels, parts))
            if binning is not None:
                binning[0].finish()
                binning[1].finish(self._binned_extras(pixels))
        result, quality = conclude(frames, sums, pixels, self.detectors, raw_files, self._binned())
        ok = (frames.frame_status == FrameStatus.OK).reshape(frames.scan_shape)
        draw_overview(paths.figure, paths.name, result, quality, parts, pixels.valid, ok)
        record = ConvertRecord(
            method=METHOD,
            inputs=inputs,
            quality=quality,
            provenance=provenance("convert", self.settings, self.identity),
            result=result,
        )
        write_record(paths.record, record)
        if self.journal is not None:
            self.journal.remove()
            paths.growing.unlink(missing_ok=True)
        return record

    def _begun(self) -> Begun | None:
        return None if self.journal is None else self.journal.begun()

    def _pass(
        self,
        results: Iterator[tuple[Block, BlockResult]],
        worker: BlockWorker,
        sums: ScanSums,
        writer: ContainerWriter,
        digest: RawDigest,
        binning: tuple[ScanBinning, ContainerWriter] | None,
    ) -> None:
        for index, (block, found) in enumerate(results):
            if found.records is not None:
                digest.add(found.records, worker.release)
            elif index == 0:
                digest.read_all()
            place = worker.positions[block.start : block.stop]
            writer.put(place, found.chunks)
            sums.add(place, found.sums)
            if binning is not None and found.binned is not None:
                binning[0].add(place, found.binned)

    def _open_binning(self, stack: ExitStack) -> tuple[ScanBinning, ContainerWriter] | None:
        if self.binning is None:
            self.paths.binned.unlink(missing_ok=True)
            return None
        plan, places = self.binning, self.frames.scan_map.places
        factors = (plan.scan_positions, plan.scan_positions, plan.detector_px, plan.detector_px)
        layout = Layout(f"{self.paths.name}_binned", plan.shape, self._axes(factors), plan.dtype)
        writer = stack.enter_context(open_container(self.paths.binned, layout))
        return ScanBinning(plan, np.flatnonzero(places >= 0), writer), writer

    def _layout(self) -> Layout:
        frames = self.frames
        return Layout(
            self.paths.name,
            (*frames.scan_shape, *frames.frame_shape),
            self._axes((1, 1, 1, 1)),
            frames.dtype,
            n_missing=int(np.count_nonzero(frames.scan_map.places < 0)),
            n_outside=int(frames.scan_map.outside.size),
        )

    def _axes(self, factors: tuple[int, int, int, int]) -> tuple[Axis, Axis, Axis, Axis]:
        """Return the axes: those of the scan in nm where the step is known, everything else in pixels."""
        microscope = self.frames.microscope
        step = None if microscope is None else microscope.scan_step_nm
        unit, scale = ("px", 1.0) if step is None else ("nm", step)
        names = (("scan_row", unit, scale), ("scan_col", unit, scale), ("det_row", "px", 1.0), ("det_col", "px", 1.0))
        first, second, third, fourth = (
            Axis(name, units, size * factor, size * (factor - 1) / 2)
            for (name, units, size), factor in zip(names, factors, strict=True)
        )
        return first, second, third, fourth

    def _extras(self, pixels: Validity, sums: Mapping[str, Sum]) -> Extras:
        frames = self.frames
        header, table = frames.layout.header, frames.table
        units = {key: units_of(key) for key in frames.microscope_file}
        attributes: dict[str, int | float | str | bool] = {
            "rows_flipped": True,
            "assembly": header.assembly,
            "pixel_type": header.pixel_type,
            "chip_gap_px": frames.gap_px,
            "scan_certain": frames.scan.certain,
            "first_slot": frames.scan.first_slot,
            "fly_back_cols": canonical(list(frames.scan.fly_back_cols)),
        }
        if header.counter_depth_bit is not None:
            attributes["counter_depth_bit"] = header.counter_depth_bit
        return Extras(
            valid=pixels.valid,
            dead=pixels.dead,
            hot=pixels.hot,
            frame_status=frames.frame_status,
            sequence_number=_placed(frames, table.sequence),
            exposure_ns=_placed(frames, table.exposure_ns),
            time_ns=_placed(frames, table.time_ns),
            sums=sums,
            first_header=frames.layout.header_data.rstrip(b" \0").decode("latin-1"),
            hdr=frames.hdr_text,
            microscope=frames.microscope,
            microscope_file=frames.microscope_file,
            microscope_units={key: unit for key, unit in units.items() if unit is not None},
            acquired_at=frames.acquired_at,
            identity=frames.identity,
            parameter=self._parameter(),
            attributes=attributes,
        )

    def _binned_extras(self, pixels: Validity) -> Extras:
        assert self.binning is not None
        frames = self.frames
        return Extras(
            valid=self.binning.bin_valid(pixels.valid),
            microscope=frames.microscope,
            acquired_at=frames.acquired_at,
            identity=frames.identity,
            parameter=self._parameter(),
            attributes={
                "scan_certain": frames.scan.certain,
                "bin_detector_px": self.binning.detector_px,
                "bin_scan_positions": self.binning.scan_positions,
            },
        )

    def _binned(self) -> Binned | None:
        if self.binning is None:
            return None
        return Binned(
            path=relative_to_record(self.paths.binned, self.paths.record),
            detector_px=self.binning.detector_px,
            scan_positions=self.binning.scan_positions,
            shape=self.binning.shape,
            dtype=str(self.binning.dtype),
        )

    def _parameter(self) -> str:
        made = provenance("convert", self.settings, self.identity)
        stated = {"stage": made.stage, "revision": made.revision, "settings": made.settings, "source": made.source}
        return canonical(stated)

    def _inputs(self) -> tuple[InputFile, ...]:
        frames, record = self.frames, self.paths.record
        raw = tuple(
            InputFile(role="raw", path=relative_to_record(path, record), identity=frames.identity)
            for path in frames.mib.paths
        )
        beside = (
            ("hdr", frames.sidecars.hdr),
            ("microscope", frames.sidecars.microscope),
            ("mask", None if self.settings.mask_file is None else Path(self.settings.mask_file)),
        )
        return (*raw, *(small_input(role, path, record) for role, path in beside if path is not None))


def _placed(frames: MibSource, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return per-frame ``values`` in the order of the positions, -1 where there is no frame."""
    places = frames.scan_map.places
    return np.where(places >= 0, values[places], -1)


def _raw_files(layouts: tuple[MibLayout, ...], digests: tuple[str, ...]) -> tuple[RawFile, ...]:
    return tuple(
        RawFile(name=layout.path.name, size_bytes=layout.size_bytes, n_frames=layout.n_whole_frames, sha256=digest)
        for layout, digest in zip(layouts, digests, strict=True)
    )
