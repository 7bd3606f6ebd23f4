"""Every mode of the detector is ready, with the picture's size; acquisitions of other detectors are listed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from stemcal.formats.empad_raw import write_empad
from stemcal.formats.merlin import write_mib

from .conftest import NOW, AddScan, Discover
from .test_discover import the_only

LONG_AGO_S = NOW.timestamp() - 2 * 86400


def make_old(session: Path) -> None:
    for file in session.rglob("*.*"):
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))


MODES = [
    *[("U01", 1, 1), ("U08", 6, 1), ("U32", 24, 4), ("U64", 24, 8)],
    *[("R64", 1, 1), ("R64", 6, 1), ("R64", 12, 2), ("R64", 24, 4)],
]


@pytest.mark.parametrize(("pixel_type", "depth_bit", "itemsize"), MODES)
@pytest.mark.parametrize("assembly", ["1x1", "2x2"])
def test_every_mode_is_ready_with_the_size_of_its_picture(
    session: Path, discover: Discover, pixel_type: str, depth_bit: int, itemsize: int, assembly: str
) -> None:
    frames = np.ones((4, 64, 128), np.uint8)
    write_mib(session / "a.mib", [frames], pixel_type=pixel_type, counter_depth_bit=depth_bit, assembly=assembly)
    make_old(session)
    dataset = the_only(discover())
    assert (dataset.verdict, dataset.reason) == ("ready", "4 whole frames")
    assert (dataset.frame_shape, dataset.itemsize) == ((64, 128), itemsize)
    assert dataset.counter_depth_bit == depth_bit
    assert dataset.identity is not None
    assert dataset.identity.n_frames == 4


def test_an_empad_acquisition_is_listed_and_left_alone(session: Path, add_scan: AddScan, discover: Discover) -> None:
    add_scan("scan")
    place = session / "EMPAD" / "Au_xgrating"
    place.mkdir(parents=True)
    write_empad(place / "acquisition_7.xml", np.ones((2, 3, 128, 128), np.float32))
    (place / "other.xml").write_text("<root/>")
    (session / "EMPAD" / "alone.xml").write_text("no XML at all")
    manifest = discover()
    assert len(manifest.datasets) == 2
    empad = manifest.datasets["EMPAD/Au_xgrating/acquisition_7"]
    assert empad.mib == "EMPAD/Au_xgrating/acquisition_7.xml"
    assert empad.verdict == "ignored"
    assert empad.reason == (
        "EMPAD files are not converted by the workflow: give the .xml to stemcal gold, calibration, polar by hand"
    )
    assert (empad.stages, empad.identity, empad.acquired_at) == ((), None, "2026-01-01T00:00:00")
    assert manifest.warnings == ()


def test_files_of_other_detectors_are_not_opened_again(session: Path, discover: Discover) -> None:
    write_empad(session / "a.xml", np.ones((1, 2, 128, 128), np.float32))
    (session / "b.xml").write_text("<root/>")
    discover()
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).endswith(".xml"):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    assert [one.verdict for one in discover(later_s=5).datasets.values()] == ["ignored"]
    assert opened == []
    os.utime(session / "b.xml")
    discover(later_s=6)
    watching = False
    assert opened == [str(session / "b.xml")]
