"""A session by hand: records and figures as the steps would leave them, one data set in every state."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from history_truth import entry
from pydantic import BaseModel

from stemcal.figures.panels import SCAN, image, profile
from stemcal.figures.style import drawing
from stemcal.nmf.run import run_nmf
from stemcal.nmf.settings import NmfSettings
from stemcal.phantoms.mixtures import write_scans
from stemcal.records.atomic import write_record
from stemcal.records.base import Flag, Provenance, Quality, Quantity, Verdict
from stemcal.records.calibration import (
    BoundEllipse,
    BoundGain,
    BoundPixelSize,
    BoundScanToCamera,
    CalibrationRecord,
    Candidate,
    Origin,
)
from stemcal.records.convert import (
    ConvertRecord,
    ConvertResult,
    FrameCounts,
    InvalidPixels,
    RawFile,
    Scan,
    VirtualDetectors,
)
from stemcal.records.failure import FailureRecord
from stemcal.records.gain import GainDose, GainPixels, GainRecord, GainResult
from stemcal.records.geometry import GeometryRecord
from stemcal.records.gold import Centre, Ellipse, GoldRecord, GoldResult, PixelSize, ScaleSearch
from stemcal.records.history import HistoryEntry
from stemcal.records.manifest import Dataset, FileVerdict, Manifest, RawIdentity, Role
from stemcal.records.microscope import Microscope
from stemcal.records.polar import PolarRecord, PolarResult
from stemcal.stages import digest, parameter

NAUGHTY = """sample "B" <script>alert('x')</script> & Ω‮µ $a_1$"""
GOLD = "Merlin/Au_xgrating/20260301_100000/20260301_100000"
OPTICS = Microscope(voltage_kv=200, nominal_camera_length_m=0.2)


def q(value: float, sigma: float | None, unit: str) -> Quantity:
    return Quantity(value=value, sigma=sigma, unit=unit)


def quality(verdict: Verdict = "pass", *messages: str) -> Quality:
    return Quality(verdict=verdict, flags=tuple(Flag(name="remark", message=message) for message in messages))


def _past(day: int, pixel_size: float, **changes: object) -> HistoryEntry:
    size = q(pixel_size, 3e-6, "1/angstrom")
    length = q(0.45461 * 0.0048213 / pixel_size, 3e-4, "m")
    values = {"pixel_size": size, "effective_camera_length_m": length, "camera_length_ratio": length.value / 0.2}
    values["ellipse_ratio"] = q(1.0183 + 2e-4 * (day % 3), 4e-4, "1")
    return entry(f"{day}", f"2026-02-{day:02}T10:00:00", **(values | changes))


PAST = (_past(3, 0.004872), _past(10, 0.004868), _past(17, 0.00487), _past(24, 0.004822, verdict="warn"))
"""The last that passed had pixels 1 % larger than this session's."""

GAIN = GainResult(
    file="x_gain.hdf5",
    file_sha256="0" * 64,
    parity="separate",
    parity_test=None,
    n_frames=4000,
    n_frames_total=4096,
    counts_per_pixel=8000.0,
    gain_spread=0.0412,
    gain_noise=0.0112,
    gain_noise_runs=0.0113,
    dispersion=1.01,
    n_resampling_blocks=16,
    pixels=GainPixels(n_valid=263000, n_masked=2060, n_dead=30, n_hot=8, n_noisy=4),
    dose=GainDose(
        degree=1, coefficients=(2.0, 0.1, 0.0), least=1.9, greatest=2.1, structure_rms=0.004, largest_patch=0.02
    ),
)


class Builder:
    """Writes one session below ``processing``."""

    def __init__(self, folder: Path) -> None:
        self.processing = folder / "cm33902-5 <b>" / "processing"
        self.datasets: dict[str, Dataset] = {}
        self.settings: dict[str, dict[str, object]] = {}

    def dataset(
        self,
        stamp: str,
        *,
        verdict: FileVerdict = "ready",
        role: Role = "sample",
        reason: str = "complete",
        **more: object,
    ) -> Dataset:
        folder = {"gold": "Au_xgrating", "vacuum": "vacuum", "gain": "gain"}.get(role, "sampleA")
        name = f"Merlin/{folder}/{stamp}/{stamp}"
        short = {"gold": ("convert", "gold"), "gain": ("convert", "gain"), "vacuum": ("convert",)}
        stages = short.get(role, ("convert", "calibration", "polar"))
        values = {
            "id": name,
            "label": f"{folder}/{stamp}",
            "role": role,
            "role_reason": "its path fits the pattern 'au[_-]?x?grat'"
            if role == "gold"
            else "its path fits no pattern",
            "verdict": verdict,
            "reason": reason,
            "mib": f"{name}_data.mib",
            "hdr": f"{name}_data.hdr",
            "microscope_file": f"{name}.hdf",
            "identity": self.identity(stamp),
            "n_frames_expected": 65536,
            "frame_shape": (515, 515),
            "itemsize": 2,
            "acquired_at": f"2026-03-01T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:]}",
            "microscope": OPTICS,
            "gold_candidates": (GOLD,) if role == "sample" else (),
            "stages": stages if verdict == "ready" else (),
            "group": "200kV_200mm_515x515" if role == "sample" and verdict == "ready" else None,
            "source": {"raw": {"identity": stamp}, "gold": []},
        }
        made = Dataset.model_validate(values | more)
        self.datasets[made.id] = made
        return made

    def identity(self, stamp: str) -> RawIdentity:
        return RawIdentity(
            size_bytes=1,
            n_frames=65536,
            first_header_sha256=digest(stamp),
            first_timestamp=None,
            hdr_sha256=None,
            microscope_sha256=None,
        )

    def provenance(self, stage: str, dataset: Dataset) -> Provenance:
        made_for = json.loads(parameter(stage, self.settings, dataset.source))
        return Provenance(stemcal_version="0.1.0", commit=None, lock_sha256=None, **made_for)

    def write(self, dataset: Dataset, stage: str, record: BaseModel) -> None:
        write_record(self.processing / f"{dataset.id}_{stage}.json", record)

    def convert(self, dataset: Dataset, said: Quality | None = None, seed: int = 0) -> None:
        disk = VirtualDetectors(
            centre_row_px=q(256.2, 0.02, "px"),
            centre_col_px=q(258.9, 0.02, "px"),
            disk_radius_px=q(18.1, 0.05, "px"),
            bright_field_px=(0, 18),
            annular_bright_field_px=(9, 18),
            annular_dark_field_px=(36, 362),
            high_angle_dark_field_px=(54, 362),
        )
        missing = 12 if seed == 3 else 0
        frames = FrameCounts(
            in_file=65536 - missing,
            positions=65536,
            ok=65536 - missing,
            missing=missing,
            fly_back=0,
            spikes=0,
            outside_scan=0,
            duplicates=0,
            unreadable=0,
            restarts=(),
            first_number=1,
        )
        result = ConvertResult(
            raw_files=(RawFile(name="x.mib", size_bytes=1, n_frames=65536 - missing, sha256=digest(dataset.id)),),
            scan_shape=(256, 256),
            scan=Scan(certain=True, probability=1.0, first_slot=0, fly_back_cols=(), candidates=(), evidence=()),
            frames=frames,
            frame_shape=(515, 515),
            chip_gap_px=3,
            dtype="uint16",
            pixel_type="U16",
            counter_depth_bit=12,
            assembly="2x2",
            rows_flipped=True,
            invalid_pixels=InvalidPixels(gap=3081, masked=0, dead=12, hot=3, total=3096),
            mean_counts_per_frame=q(18342.0 + 100 * seed, 41.0, "counts"),
            max_count=812,
            saturation=None,
            virtual_detectors=disk,
            binned=None,
            acquired_at=dataset.acquired_at,
            microscope=OPTICS,
        )
        self.write(
            dataset,
            "convert",
            ConvertRecord(
                method="one pass",
                inputs=(),
                quality=said or quality(),
                provenance=self.provenance("convert", dataset),
                result=result,
            ),
        )
        draw_overview(self.processing / f"{dataset.id}_overview.png", seed)

    def gold(self, dataset: Dataset, said: Quality | None = None) -> None:
        failed = said is not None and said.verdict == "fail"
        result = GoldResult(
            ellipse=Ellipse(ratio=q(1.0183, 0.0004, "1"), angle_deg=q(37.24, 0.61, "deg"), matrix=((1, 0), (0, 1))),
            pixel_size=PixelSize(
                area_preserving=q(0.0048213, 0.0000027, "1/angstrom"), minor_axis=q(0.0048652, 0.000003, "1/angstrom")
            ),
            effective_camera_length_m=q(0.4541, 0.0003, "m"),
            camera_length_ratio=2.27,
            centre=Centre(row=q(256.2, 0.02, "px"), col=q(258.9, 0.02, "px")),
            rings=(),
            scale_search=ScaleSearch(
                best_pixel_size_per_angstrom=0.0048,
                best_score=12,
                runner_up_pixel_size_per_angstrom=None,
                runner_up_score=None,
            ),
            ring_width_px=4,
            bright_disk_radius_px=18.0,
            threefold_distortion=q(0.0004, 0.0002, "1"),
            fourfold_distortion=q(0.0004, 0.0002, "1"),
            reduced_chi_square_without_rings=40.0,
            reduced_chi_square=1.1,
            n_patterns=100,
            n_resampling_blocks=16,
        )
        record = GoldRecord(
            method="rings",
            inputs=(),
            quality=said or quality(),
            provenance=self.provenance("gold", dataset),
            voltage_kv=200,
            nominal_camera_length_m=0.2,
            detector_pixel_um=55,
            standard="gold",
            acquired_at=dataset.acquired_at,
            frame_shape=(515, 515),
            result=None if failed else result,
        )
        self.write(dataset, "gold", record)
        draw_profiles(self.processing / f"{dataset.id}_gold.png")

    def gain(self, dataset: Dataset, said: Quality | None = None, result: GainResult | None = GAIN) -> None:
        record = GainRecord(
            method="counts over dose",
            inputs=(),
            quality=said or quality(),
            provenance=self.provenance("gain", dataset),
            voltage_kv=200.0,
            acquired_at=dataset.acquired_at,
            frame_shape=(515, 515),
            dtype="uint16",
            result=result,
        )
        self.write(dataset, "gain", record)
        draw_profiles(self.processing / f"{dataset.id}_gain.png")

    def geometry(self, dataset: Dataset, record: GeometryRecord) -> None:
        made = self.provenance("geometry", dataset)
        self.write(dataset, "geometry", record.model_copy(update={"provenance": made}))
        draw_profiles(self.processing / f"{dataset.id}_geometry.png")

    def calibration(
        self, dataset: Dataset, gain: BoundGain | None = None, geometry: BoundScanToCamera | None = None
    ) -> None:
        path = "../../Au_xgrating/20260301_100000/20260301_100000_gold.json"
        why = "the only reference at 200 kV and 0.2 m, 61 minutes apart"
        ellipse = Ellipse(ratio=q(1.0183, 0.0004, "1"), angle_deg=q(37.2, 0.6, "deg"), matrix=((1, 0), (0, 1)))
        record = CalibrationRecord(
            method="binding",
            inputs=(),
            quality=quality(),
            provenance=self.provenance("calibration", dataset),
            instrument=None,
            candidates=(Candidate(dataset="gold", path=path, chosen=True, reason=why),),
            q_pixel_size=BoundPixelSize(
                area_preserving=q(0.0048213, 0.0000027, "1/angstrom"),
                minor_axis=q(0.0048652, 0.000003, "1/angstrom"),
                source=path,
                why=why,
            ),
            ellipse=BoundEllipse(ellipse=ellipse, source=path, why=why),
            origin=Origin(
                centre_row_px=q(256.2, 0.02, "px"),
                centre_col_px=q(258.9, 0.02, "px"),
                degree=2,
                coefficients_row_px=(256.2,),
                coefficients_col_px=(258.9,),
                residual_rms_px=0.08,
                descan_range_px=1.73,
                fraction_used=0.98,
                measured_centre_px=(256.2, 258.9),
                source="own",
                why="measured on the bright disk",
            ),
            gain=gain,
            scan_to_camera=geometry,
        )
        self.write(dataset, "calibration", record)

    def fail(self, dataset: Dataset, stage: str, message: str, category: str = "data") -> None:
        text = parameter(stage, self.settings, dataset.source)
        record = FailureRecord(
            dataset=dataset.id, stage=stage, category=category, message=message, parameter_sha256=digest(text)
        )
        write_record(self.processing / f"{dataset.id}_{stage}.failure.json", record)

    def manifest(self) -> Path:
        path = self.processing / ".stemcal" / "manifest.json"
        manifest = Manifest(
            path=".stemcal/manifest.json",
            session="..",
            instrument="epsic_e02",
            settings=self.settings,
            datasets=self.datasets,
            gold_history=PAST,
            warnings=("raw/odd.txt belongs to no acquisition",),
        )
        write_record(path, manifest)
        return path


def draw_overview(path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, cols = np.mgrid[:128, :128]
    disk = np.hypot(rows - 64, cols - 65) < 8
    rings = sum(np.exp(-0.5 * ((np.hypot(rows - 64, cols - 65) - r) / 1.2) ** 2) for r in (25, 36, 44, 51))
    pattern = generator.poisson(400 * disk + 6 * rings + 30 * np.exp(-np.hypot(rows - 64, cols - 65) / 14))
    field = np.hypot(rows - 40 - 5 * seed, cols - 70) < 30 + 4 * seed
    with drawing(path, 180, 46) as figure:
        bright, dark, mean = figure.subplots(1, 3)
        image(bright, generator.poisson(200 - 60 * field), title="Bright field", colours=SCAN)
        image(dark, generator.poisson(20 + 80 * field), title="Annular dark field", colours=SCAN)
        image(mean, pattern, title="Mean pattern", scale="log")


def draw_profiles(path: Path) -> None:
    axis = np.linspace(0.2, 1.2, 300)
    with drawing(path, 180, 60) as figure:
        ax = figure.subplots()
        profile(ax, axis, np.exp(-axis) + np.exp(-0.5 * ((axis - 0.42) / 0.01) ** 2), label="mean")
        ax.set_xlabel("q / Å⁻¹")


def build(folder: Path) -> Builder:
    session = Builder(folder)
    gold = session.dataset("20260301_100000", role="gold")
    session.convert(gold)
    session.gold(gold, quality("warn", "ring 331 lies half outside the detector: it was not used"))
    for seed, stamp in enumerate(("20260301_110100", "20260301_111500", "20260301_113000")):
        scan = session.dataset(stamp, label=NAUGHTY if seed == 1 else f"sampleA/{stamp}")
        session.convert(scan, seed=seed + 1)
        session.calibration(scan)
        if seed < 2:
            session.write(scan, "polar", polar_stub(session, scan))
            draw_profiles(session.processing / f"{scan.id}_polar.png")
        else:
            session.fail(scan, "polar", "20260301_113000: no beam found in 40 % of the frames; look at its overview")
    waiting = session.dataset("20260301_114500")
    session.convert(waiting, quality("warn", "no shape in the .hdr file: 256 x 256 from the number of frames"), seed=4)
    session.dataset(
        "20260301_120000", verdict="growing", reason="it changed 40 s ago; it is taken up when quiet for 120 s"
    )
    session.dataset(
        "20260301_121500", verdict="incomplete", reason="it holds 41216 of 65536 frames; the acquisition was stopped"
    )
    session.dataset("20260301_121600", verdict="rejected", reason="it is no Merlin file: the first bytes are not MQ1")
    held = session.dataset(
        "20260301_122000", verdict="held", reason="convert refused it: no scan shape fits 65531 frames"
    )
    session.fail(held, "convert", "no scan shape fits 65531 frames; give --scan-shape")
    session.dataset(
        "20260301_093000", role="vacuum", verdict="archived", reason="its raw file is gone; outputs are kept"
    )
    mixtures = write_scans(folder / "mixtures", [(24, 30), (20, 20)])
    run_nmf(
        [prefix for prefix, _ in mixtures],
        session.processing / "nmf" / "200kV_200mm_515x515",
        settings=NmfSettings(max_components=4, n_resamplings=2),
        source={},
        progress=lambda *_: None,
    )
    return session


def polar_stub(session: Builder, dataset: Dataset) -> BaseModel:
    result = PolarResult(
        scan_shape=(256, 256),
        n_radial_bins=340,
        bin_width_px=1,
        q_pixel_size_per_angstrom=0.0048213,
        q_max_per_angstrom=1.64,
        coverage_at_q_max=0.1,
        n_empty_bins=0,
        n_positions_without_data=0,
        n_missing_means=0,
        n_missing_variances=0,
        n_origins=40,
        calibration="gold",
        calibration_group="a" * 64,
    )
    return PolarRecord(
        method="rings", inputs=(), quality=quality(), provenance=session.provenance("polar", dataset), result=result
    )


@pytest.fixture(scope="session")
def hand_made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return build(tmp_path_factory.mktemp("hand_made"))
