"""The outputs of the convert step: the container, the binned file, the figure and the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemcal.convert.binning import BinPlan, ScanBinning
from stemcal.convert.blocks import BlockResult, BlockWorker
from stemcal.convert.figure import draw_overview
from stemcal.convert.journal import Journal
from stemcal.convert.outcome import Validity, conclude, judge_pixels
from stemcal.convert.paths import ConvertPaths
from stemcal.convert.preview import plan_preview
from stemcal.convert.raw_digest import Begun, RawDigest
from stemcal.convert.settings import ConvertSettings
from stemcal.convert.sums import ScanSums
from stemcal.formats.container import ContainerWriter, Layout, open_container
from stemcal.formats.extras import Extras, FrameStatus, Sum
from stemcal.formats.hspy import Axis
from stemcal.formats.merlin.layout import MibLayout
from stemcal.formats.microscope import units_of
from stemcal.frames.mib import MibSource
from stemcal.frames.plan import Block
from stemcal.frames.ranks import World
from stemcal.optics.disk import NoDisk
from stemcal.records.atomic import refuse_folder, write_record
from stemcal.records.base import InputFile
from stemcal.records.convert import Binned, ConvertRecord, RawFile, VirtualDetectors
from stemcal.records.provenance import provenance, relative_to_record, small_input
from stemcal.stages import canonical

METHOD = "lossless copy of the counts with exact integer sums in one pass"


@dataclass(frozen=True)
class Outputs:
    """The outputs, with everything that is known of them before the pass, on the rank that writes."""

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
