"""A valid session with ONE thing damaged: the exact sentence, and the others finish."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stemcal.phantoms import damage
from stemcal.phantoms.plan import SessionPlan
from stemcal.phantoms.session import write_session
from stemcal.records.atomic import read_record
from stemcal.records.base import Quality
from stemcal.records.calibration import CalibrationRecord
from stemcal.records.failure import FailureRecord
from stemcal.records.frozen import read_latest
from stemcal.records.gold import GoldRecord
from stemcal.records.manifest import Dataset

from .conftest import STEMCAL, digests, environment, stemcal

pytestmark = pytest.mark.session


def datasets(session: Path, role: str) -> list[Dataset]:
    manifest = read_latest(session / "processing")
    assert manifest is not None
    return [one for one in manifest.datasets.values() if one.role == role]


def ready(session: Path, role: str) -> list[Dataset]:
    stemcal("discover", session)
    return [one for one in datasets(session, role) if one.verdict == "ready"]


def first_ready(session: Path) -> Dataset:
    return ready(session, "sample")[0]


def keep_time(path: Path, action: Callable[[Path], None]) -> None:
    stat = path.stat()
    action(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (
            damage.cut_last_frame,
            "incomplete sample    {label}: {short} of {n} frames are on disk and nothing more came",
        ),
        (damage.empty, "incomplete sample    {label}: is empty: no frame was written"),
        (damage.garble_header, "rejected   sample    {label}: does not begin with a Merlin frame header (MQ1, ...)"),
        (damage.claim_wrong_frame_size, "rejected   sample    {label}: at frame "),
        (damage.remove_hdr, "warning: {mib}: has no .hdr: completeness is judged by quiet time alone"),
        (
            damage.remove_microscope_file,
            "warning: {mib}: has no microscope .hdf: voltage and camera length are unknown",
        ),
        (damage.garble_microscope_file, "warning: {mib}: its microscope .hdf cannot be read: "),
    ],
)
def test_discovery_says_what_is_wrong(raw: Path, action: Callable[[Path], None], sentence: str) -> None:
    one = first_ready(raw)
    assert one.identity is not None
    n = one.identity.n_frames
    action(raw / one.mib)
    shutil.rmtree(raw / "processing")  # the damage keeps size and time stamp, by which discovery knows a file again
    said = stemcal("discover", raw)
    assert sentence.format(label=one.label, mib=one.mib, n=n, short=n - 1) in said
    assert said.count("ready      ") >= 2


def test_a_file_that_may_not_be_read(raw: Path) -> None:
    one = first_ready(raw)
    (raw / one.mib).chmod(0)
    words = [STEMCAL, "discover", str(raw)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and setpriv is not here to take that right away")
        drop = "-dac_override,-dac_read_search"
        words = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *words]
    shutil.rmtree(raw / "processing")
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert f"{one.label}: cannot be read (Permission denied)" in done.stdout


def test_a_step_that_refuses_a_scan_holds_it_and_the_others_finish(raw: Path) -> None:
    """Somebody states a scan shape that the frames cannot have."""
    # two samples tell as much as three
    shutil.rmtree(raw / ready(raw, "sample")[-1].mib.rpartition("/")[0])
    one = first_ready(raw)
    mib = raw / one.mib
    (raw / "session.yaml").write_text(f"scan_shapes: {{'{one.mib}': [1, 3]}}\n")
    said = stemcal("process", raw, expect=1)
    (held,) = [entry for entry in datasets(raw, "sample") if entry.verdict == "held"]
    assert held.mib == one.mib
    assert held.reason.startswith("convert refused it: ")
    assert mib.name in held.reason
    assert "failed: " in said
    others = [entry for entry in datasets(raw, "sample") if entry.verdict == "ready"]
    assert all((raw / "processing" / f"{entry.id}_polar.json").is_file() for entry in others)
    assert (raw / "processing" / "nmf" / str(others[0].group) / "nmf.json").is_file()
    assert held.reason.partition("; ")[0].split(": ", 1)[1] in _text(raw / "processing" / "session.html")
    # held: the next tick does not try again, and is content
    assert "nothing to do" in stemcal("process", raw)
    # released by another word of the user
    (raw / "session.yaml").unlink()
    stemcal("process", raw)
    assert not [entry for entry in datasets(raw, "sample") if entry.verdict == "held"]
    assert not list((raw / "processing").rglob("*.failure.json"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("&#39;", "'").replace("&#34;", '"')


def test_a_full_disk_leaves_nothing_half_written_and_heals(raw: Path, processed_once: tuple[Path, str]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    done = subprocess.run(
        [STEMCAL, "process", str(raw)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        preexec_fn=limit,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "File too large" in done.stdout
    processing = raw / "processing"
    assert not list(processing.rglob("*_data.hdf5"))
    assert not list(processing.rglob("*.partial*"))
    failures = [read_record(path, FailureRecord) for path in processing.rglob("*.failure.json")]
    assert {failure.category for failure in failures} == {"environment"}
    # there is space again: nothing was held, all is made, and it is what it would have been
    stemcal("process", raw)
    assert digests(processing) == digests(processed_once[0] / "processing")


@pytest.fixture
def session_with(tmp_path: Path) -> Callable[[Callable[[SessionPlan], SessionPlan]], Path]:
    def make(change: Callable[[SessionPlan], SessionPlan]) -> Path:
        folder = tmp_path / "session"
        plan = SessionPlan.tiny()
        gold, sample = (next(scan for scan in plan.scans if scan.role == role) for role in ("gold", "sample"))
        write_session(folder, change(plan.model_copy(update={"scans": (gold, sample)})))
        return folder

    return make


def flags(quality: Quality) -> str:
    return " ".join(flag.message for flag in quality.flags)


def test_gold_without_rings_calibrates_nothing_and_says_so(
    session_with: Callable[[Callable[[SessionPlan], SessionPlan]], Path],
) -> None:
    session = session_with(damage.without_rings)
    stemcal("process", session, expect=1)
    processing = session / "processing"
    (gold,) = datasets(session, "gold")
    record = read_record(processing / f"{gold.id}_gold.json", GoldRecord)
    assert record.quality.verdict == "fail"
    assert record.result is None
    assert record.reciprocal_space_pix is None
    assert flags(record.quality) != ""
    for scan in datasets(session, "sample"):
        if (processing / f"{scan.id}_calibration.json").is_file():
            calibration = read_record(processing / f"{scan.id}_calibration.json", CalibrationRecord)
            assert calibration.quality.verdict == "fail"
            assert calibration.q_pixel_size is None
            assert scan.verdict == "held"
            assert scan.reason.startswith("polar refused it: ")
            assert not (processing / f"{scan.id}_polar.json").is_file()
    assert "nothing to do" in stemcal("process", session)


def test_gold_with_half_its_rings_off_the_detector_is_right_or_refused(
    session_with: Callable[[Callable[[SessionPlan], SessionPlan]], Path],
) -> None:
    session = session_with(damage.with_half_the_rings)
    done = subprocess.run(
        [STEMCAL, "process", str(session)], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    (gold,) = datasets(session, "gold")
    record = read_record(session / "processing" / f"{gold.id}_gold.json", GoldRecord)
    assert (record.result is None) == (record.quality.verdict == "fail")
    if record.result is not None:
        true = damage.with_half_the_rings(SessionPlan.tiny())
        scan = next(one for one in true.scans if one.role == "gold")
        expected = true.camera_of(scan).pixel_size_per_angstrom
        measured = record.result.pixel_size.area_preserving
        assert measured.sigma is not None
        assert abs(measured.value - expected) <= max(4 * measured.sigma, 1e-3 * expected)
