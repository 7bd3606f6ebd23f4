"""An EDX map goes with the scan of its time stamp; a changed one changes the factorisation and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from stemcal.discover.settings import DiscoverSettings
from stemcal.formats.edx import write_edx

from .conftest import NOW, AddScan, Discover


def add_map(session: Path, name: str, *, minutes_ago: float = 30, seed: int = 0) -> Path:
    path = session / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edx(path, np.random.default_rng(seed).poisson(1.0, (4, 4, 20)).astype(np.uint16), None)
    for file in path.parent.glob(f"{path.stem}.*"):
        os.utime(file, (NOW.timestamp() - 60 * minutes_ago,) * 2)
    return path


def stamp(raw: Path) -> str:
    return raw.name.removesuffix("_data.mib")


def test_a_map_is_bound_by_its_time_stamp(session: Path, add_scan: AddScan, discover: Discover) -> None:
    first, second = add_scan("sample"), add_scan("sample", minutes_ago=50)
    name = f"Merlin/sample/EDX/Map Data-Map Data - Site_{stamp(second)}.rpl"
    add_map(session, name)
    datasets = {one.mib.rpartition("/")[2]: one for one in discover().datasets.values()}
    assert datasets[first.name].edx is None
    bound = datasets[second.name].edx
    assert bound.file == name
    assert bound.size_bytes == sum(path.stat().st_size for path in (session / name).parent.iterdir())


def test_touching_changes_nothing_and_another_map_does(session: Path, add_scan: AddScan, discover: Discover) -> None:
    raw = add_scan("sample")
    name = f"sample/EDX/{stamp(raw)}.rpl"
    add_map(session, name)
    (before,) = discover().datasets.values()
    add_map(session, name, minutes_ago=20)
    (touched,) = discover().datasets.values()
    assert touched.edx == before.edx
    add_map(session, name, seed=1)
    (after,) = discover().datasets.values()
    assert after.edx != before.edx
    assert after.source == before.source


def test_the_map_in_the_nearest_folder_counts(session: Path, add_scan: AddScan, discover: Discover) -> None:
    raw = add_scan("one")
    add_map(session, f"Merlin/one/EDX/{stamp(raw)}.rpl")
    add_map(session, f"Merlin/two/EDX/{stamp(raw)}.rpl")
    (dataset,) = discover().datasets.values()
    assert dataset.edx.file.startswith("Merlin/one/")
    add_map(session, f"Merlin/one/EDX/again {stamp(raw)}.hspy")
    (dataset,) = discover().datasets.values()
    assert dataset.edx is None
    assert "keep one of them" in dataset.edx_reason


def test_a_map_that_is_still_written_or_lacks_its_raw_waits(
    session: Path, add_scan: AddScan, discover: Discover
) -> None:
    raw = add_scan("sample")
    path = add_map(session, f"EDX/{stamp(raw)}.rpl", minutes_ago=0)
    (dataset,) = discover().datasets.values()
    assert dataset.edx is not None
    numbers = path.with_suffix(".raw")
    numbers.write_bytes(numbers.read_bytes()[:-2])
    os.utime(numbers, (NOW.timestamp(),) * 2)
    (dataset,) = discover().datasets.values()
    assert dataset.edx is None
    assert "still being written" in dataset.edx_reason
    os.utime(numbers, (NOW.timestamp() - 3600,) * 2)
    os.utime(path, (NOW.timestamp() - 3600,) * 2)
    (dataset,) = discover().datasets.values()
    assert dataset.edx is not None
    numbers.unlink()
    (dataset,) = discover().datasets.values()
    assert dataset.edx is None
    assert dataset.edx_reason is None


@pytest.mark.parametrize("pattern", ["(", "no group"])
def test_a_pattern_without_a_stamp_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="edx_pattern"):
        DiscoverSettings(edx_pattern=pattern)
