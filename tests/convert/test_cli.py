from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stemcal.cli import main
from stemcal.formats.merlin.writer import write_mib
from stemcal.stages import BLOCK_BYTES, Extent, memory_mb

MakeScan = Callable[..., Path]
NAUGHTY = ["with space", "quote'\"", "ütf-8 µ", "semi;colon&(x)", "%41$HOME", "new\nline"]
COMMAND = [sys.executable, "-c", "import sys; from stemcal.cli import main; sys.exit(main())", "convert"]


def child(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*COMMAND, *words, "--no-progress"]
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, capture_output=True, text=True, timeout=300, check=False, env=environment, **options
    )


def test_exit_code_and_record(
    tmp_path: Path, no_drawing: None, make_scan: MakeScan, capsys: pytest.CaptureFixture[str]
) -> None:
    mib = make_scan()
    words = ["convert", str(mib), "-o", str(tmp_path / "scan_data.hdf5"), "--threads", "1"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["scan_shape"] == [5, 6]
    assert main([*words, "--scan-shape", "4,4"]) == 1
    assert "has 30 frames (those missing included), but 4 x 4 = 16 frames are stated" in capsys.readouterr().err
    assert main([*words, "--hdr", str(tmp_path / "absent.hdr")]) == 2
    assert "absent.hdr: there is no such file" in capsys.readouterr().err
    assert main([*words, "--settings", '{"dead_pixel_min_count": 3}']) == 2
    assert "dead_pixel_min_count" in capsys.readouterr().err
    for shape in ("5", "5,x", "0,30"):
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--scan-shape", shape])


def test_sidecars_and_outputs_can_be_anywhere(tmp_path: Path, make_scan: MakeScan) -> None:
    mib = make_scan()
    hdr = mib.with_suffix(".hdr").rename(tmp_path / "other.hdr")
    optics = mib.with_name("scan.hdf").rename(tmp_path / "other.hdf")
    words = [str(mib), "-o", str(tmp_path / "a.hdf5"), "--hdr", str(hdr), "--microscope", str(optics)]
    outputs = ["--record", str(tmp_path / "r" / "r.json"), "--figure", str(tmp_path / "f" / "f.png")]
    assert main(["convert", *words, *outputs, "--threads", "1"]) == 0
    record = json.loads((tmp_path / "r" / "r.json").read_text())
    assert record["result"]["scan_shape"] == [5, 6]
    assert record["result"]["microscope"]["voltage_kv"] == 300
    assert (tmp_path / "f" / "f.png").is_file()
    assert not (tmp_path / "a_convert.json").exists()


@pytest.mark.parametrize("stem", NAUGHTY)
def test_naughty_names(tmp_path: Path, no_drawing: None, make_scan: MakeScan, stem: str) -> None:
    mib = make_scan(f"{stem}_data")
    target = tmp_path / f"out {stem}" / f"{stem}_data.hdf5"
    assert main(["convert", str(mib), "-o", str(target), "--threads", "1"]) == 0
    names = {path.name for path in target.parent.iterdir()}
    assert names == {f"{stem}_data.hdf5", f"{stem}_convert.json", f"{stem}_overview.png"}


# VmHWM and not ru_maxrss, which a child inherits from the process that started it
PEAK = """
import sys
from pathlib import Path
from stemcal.cli import main
code = main(sys.argv[1:])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print("peak MB", int(status["VmHWM"].split()[0]) // 1024)
sys.exit(code)
"""


def test_memory_is_bounded_and_does_not_grow_with_the_scan(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).poisson(0.2, (1, 256, 256)).astype(np.uint16)
    peaks = []
    for n_blocks in (6, 16):
        n_frames = n_blocks * BLOCK_BYTES // frame[0].nbytes
        write_mib(tmp_path / "a.mib", (frame for _ in range(n_frames)))
        command = [sys.executable, "-c", PEAK, "convert", str(tmp_path / "a.mib"), "-o", str(tmp_path / "a.hdf5")]
        command += ["--threads", "1", "--no-progress", "--scan-shape", f"{n_blocks},{n_frames // n_blocks}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        peak = int(done.stdout.split("peak MB")[1])
        assert peak < memory_mb("convert", Extent(n_frames, 256 * 256, 2), 1)
        peaks.append(peak)
    # 160 MiB more raw data may cost the results per position and, by chance, one more block that waits for its digest
    assert peaks[1] - peaks[0] < 24


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, make_scan: MakeScan) -> None:
    mib, folder = make_scan(), tmp_path / "out"
    folder.mkdir()

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = child(str(mib), "-o", str(folder / "a_data.hdf5"), "--threads", "1", preexec_fn=small_files)
    assert done.returncode == 1
    assert done.stderr.startswith(f"stemcal convert: {folder / 'a_data.hdf5'}: File too large; check the path")
    assert "Traceback" not in done.stderr
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(
    tmp_path: Path, make_scan: MakeScan, capsys: pytest.CaptureFixture[str]
) -> None:
    mib = make_scan()
    assert main(["convert", str(mib), "-o", str(mib / "a_data.hdf5"), "--threads", "1"]) == 1
    assert "Not a directory" in capsys.readouterr().err
