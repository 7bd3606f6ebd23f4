"""What a session leaves in the history of its instrument."""

from __future__ import annotations

from pathlib import Path

from calibration_truth import gold_record

from stemcal.config import ConfigFile
from stemcal.discover.run import Request
from stemcal.discover.session_file import SessionFile
from stemcal.driver.history import remember_calibrations
from stemcal.history.file import read_history
from stemcal.records.atomic import write_record
from stemcal.records.base import Quantity
from stemcal.records.instrument import Bounds
from stemcal.records.manifest import Dataset, Manifest, RawIdentity


def dataset(name: str) -> Dataset:
    identity = RawIdentity(
        size_bytes=1,
        n_frames=1,
        first_header_sha256=name,
        first_timestamp=None,
        hdr_sha256=None,
        microscope_sha256=None,
    )
    return Dataset(
        id=name,
        label=f"Au/{name}",
        role="gold",
        role_reason="",
        verdict="ready",
        reason="",
        mib=f"{name}.mib",
        hdr=None,
        microscope_file=None,
        identity=identity,
        n_frames_expected=1,
        frame_shape=None,
        itemsize=None,
        acquired_at=None,
        microscope=None,
        stages=("convert", "gold"),
    )


def test_what_was_measured_is_remembered_once(tmp_path: Path) -> None:
    config = ConfigFile()
    bounds = Bounds(voltage_kv=(30, 300), nominal_camera_length_m=(0.02, 3))
    request = Request(
        tmp_path / "cm1-1", tmp_path / "out", config.sections(), config.discover, SessionFile(), "e02", bounds
    )
    manifest = Manifest(
        path="",
        session="..",
        instrument="e02",
        settings={},
        datasets={n: dataset(n) for n in ("good", "bad", "absent")},
    )
    good = gold_record()
    assert good.result is not None
    lengths = {
        "effective_camera_length_m": Quantity(value=0.4, sigma=1e-4, unit="m"),
        "camera_length_ratio": 2.0,
    }
    good = good.model_copy(update={"result": good.result.model_copy(update=lengths)})
    write_record(tmp_path / "out" / "good_gold.json", good)
    write_record(tmp_path / "out" / "bad_gold.json", gold_record("fail"))
    said: list[str] = []
    for _ in range(2):
        remember_calibrations(request, manifest, said.append)
    path = tmp_path / "out" / ".stemcal" / "gold-history.jsonl"
    (line,) = read_history(path)
    assert (line.label, line.instrument, line.acquired_at) == ("cm1-1/Au/good", "e02", "2026-05-12T10:00:00+00:00")
    assert said == []
    path.write_text("broken\n", encoding="utf-8")
    remember_calibrations(request, manifest, said.append)
    assert "line 1 is no calibration" in said[0]
    assert path.read_text(encoding="utf-8") == "broken\n"
