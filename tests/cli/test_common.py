from __future__ import annotations

from pathlib import Path

import pytest

from stemcal.cli import main
from stemcal.cli.common import keep_apart
from stemcal.errors import UsageError


def test_an_output_is_no_input(tmp_path: Path) -> None:
    data, other = tmp_path / "a.hdf5", tmp_path / "b.json"
    data.touch()
    keep_apart((data, None), (other, tmp_path / "b.png"))
    (tmp_path / "link.hdf5").symlink_to(data)
    (tmp_path / "hard.hdf5").hardlink_to(data)
    for name in ("a.hdf5", "link.hdf5", "hard.hdf5"):
        with pytest.raises(UsageError, match="is read or written by this command already"):
            keep_apart((data,), (other, tmp_path / name))
    with pytest.raises(UsageError, match="is read or written by this command already"):
        keep_apart((data,), (other, other))


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "x_data.mib", "-o", "x_data.mib"],
        ["gold", "x.npy", "-o", "x.npy"],
        ["gold", "x.npy", "-o", "x.json", "--figure", "x.npy"],
        ["calibration", "x_data.hdf5", "--gold", "g.json", "-o", "g.json"],
        ["polar", "x_polar.hdf5", "--calibration", "c.json", "-o", "x"],
    ],
)
def test_no_verb_writes_over_what_it_reads(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in words:
        if "." in word:
            Path(word).write_text("precious")
    assert main(words) == 2
    assert "give another name to write to" in capsys.readouterr().err
    assert all(Path(word).read_text() == "precious" for word in words if "." in word)


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-5"])
def test_a_voltage_is_a_number_above_0(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gold", "x.npy", "-o", "x.json", f"--voltage-kv={value}"])
    assert ended.value.code == 2
    assert "is not a number above 0" in capsys.readouterr().err


def test_a_binary_file_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = tmp_path / "c.json"
    binary.write_bytes(bytes([0xFF, 0xFE, 0x00, 0x80]))
    (tmp_path / "d.npy").touch()
    words = ["polar", str(tmp_path / "d.npy"), "--calibration", str(binary), "-o", str(tmp_path / "d")]
    assert main(words) == 1
    assert "is not a CalibrationRecord record but a binary file; give the JSON file" in capsys.readouterr().err
