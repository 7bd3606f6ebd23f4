"""Names that a shell, a workflow or a page may trip over go all the way through."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from stemcal.records.frozen import read_latest

from .conftest import stemcal

pytestmark = pytest.mark.session

NAUGHTY = (
    "with space",
    'it\'s a "quote"',
    "größe µ 電子",
    "$(touch owned) `id` ;&|",
    "{one brace %s",
    "<SCRIPT>alert(1)<|SCRIPT>",
    "-rf --help",
)


def test_naughty_names_go_all_the_way(raw: Path) -> None:
    manifest_before = stemcal("discover", raw)
    assert "ready" in manifest_before
    first = read_latest(raw / "processing")
    assert first is not None
    samples = [one for one in first.datasets.values() if one.role == "sample" and one.verdict == "ready"]
    names = iter(NAUGHTY)
    renamed = []
    for one in samples:
        folder = (raw / one.mib).parent
        target = folder.parent / next(names) / next(names)
        target.parent.mkdir()
        folder.rename(target)
        renamed.append(target)
    for refused in ("two\nlines.mib", "<sample>.mib", "{dataset}.mib"):
        (renamed[0] / refused).write_bytes(b"x")
    stemcal("process", raw)
    after = read_latest(raw / "processing")
    assert after is not None
    by_mib = {one.mib: one for one in after.datasets.values()}
    for target in renamed:
        (mib,) = (
            name for name in by_mib if name.startswith(f"{target.relative_to(raw)}/") and name.endswith("_data.mib")
        )
        assert by_mib[mib].verdict == "ready"
        assert (raw / "processing" / f"{by_mib[mib].id}_polar.json").is_file()
        assert html.unescape((raw / "processing" / "session.html").read_text("utf-8")).count(target.name) >= 1
    refused = {Path(one.mib).name for one in after.datasets.values() if one.reason.endswith("; rename it")}
    assert refused == {"two\nlines.mib", "<sample>.mib", "{dataset}.mib"}
    assert not list(raw.rglob("owned"))
    assert not Path("owned").exists()
