from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from stemcal.config import ConfigFile
from stemcal.discover.run import Request, run_discover
from stemcal.discover.session_file import read_session_file
from stemcal.formats.merlin.writer import write_mib
from stemcal.formats.microscope import write_microscope
from stemcal.records.instrument import Bounds
from stemcal.records.manifest import Manifest
from stemcal.records.microscope import Microscope

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

BOUNDS = Bounds(voltage_kv=(30, 300), nominal_camera_length_m=(0.02, 3))

AddScan = Callable[..., Path]
Discover = Callable[..., Manifest]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "cm00001-1"
    folder.mkdir()
    return folder


@pytest.fixture
def add_scan(session: Path) -> AddScan:
    """Write one acquisition of 4 x 4 tiny frames, an hour old; any part of it can be left out."""

    def add(
        folder: str,
        *,
        minutes_ago: float = 60,
        promised: int | None = None,
        with_hdr: bool = True,
        voltage_kv: float | None = 200.0,
        camera_length_m: float = 0.2,
        frame_px: int = 8,
        **optics: float | None,
    ) -> Path:
        start = NOW - timedelta(minutes=minutes_ago)
        stamp = f"{start:%Y%m%d_%H%M%S}"
        raw = session / "Merlin" / folder / stamp / f"{stamp}_data.mib"
        raw.parent.mkdir(parents=True)
        frames = np.ones((16, frame_px, frame_px), np.uint16)
        write_mib(
            raw,
            [frames],
            assembly="1x1",
            scan_shape=(4, 4),
            frames_in_acquisition=promised,
            start_time=start,
            with_hdr=with_hdr,
        )
        if voltage_kv is not None:
            known = {"voltage_kv": voltage_kv, "nominal_camera_length_m": camera_length_m, **optics}
            write_microscope(raw.parent / f"{stamp}.hdf", Microscope.model_validate(known))
        for file in raw.parent.iterdir():
            os.utime(file, (start.timestamp(), start.timestamp()))
        return raw

    return add


@pytest.fixture
def discover(session: Path) -> Discover:
    """Run discovery as of ``NOW`` plus some seconds."""

    def run(*, later_s: float = 0.0, previous: Manifest | None = None, **discover: object) -> Manifest:
        config = ConfigFile.model_validate({"discover": discover})
        request = Request(
            session,
            session / "processing",
            config.sections(),
            config.discover,
            read_session_file(session),
            "test",
            BOUNDS,
        )
        return run_discover(request, previous=previous, clock=lambda: NOW.timestamp() + later_s)

    return run
