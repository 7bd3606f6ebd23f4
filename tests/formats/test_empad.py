"""EMPAD metadata: the three real files with the values that RosettaSciIO's own tests fix, and what may be wrong."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemcal.errors import DataError
from stemcal.formats.empad import MAX_XML_BYTES, EmpadXml, microscope_of, parse_xml, read_xml, scan_step_nm, units_of
from stemcal.records.microscope import Microscope

HERE = Path("a.xml")
V122 = """<root name="a"><timestamp isoformat="2026-03-25T16:47:52"/><software_version>1.2.2</software_version>
<raw_file filename="{raw}"/>
<scan_parameters mode="search"><scan_resolution_y>{search}</scan_resolution_y>
<scan_resolution_x>{search}</scan_resolution_x></scan_parameters>
<scan_parameters mode="acquire"><scan_resolution_y>{rows}</scan_resolution_y>
<scan_resolution_x>{cols}</scan_resolution_x></scan_parameters>
<iom_measurements><full_scan_field_of_view><scale_factor>0.5</scale_factor><x>{field}</x><y>{field}</y>
</full_scan_field_of_view><high_voltage>{volts}</high_voltage></iom_measurements></root>"""


def parse(**changes: object) -> EmpadXml:
    values = {"raw": "scan_x6_y4.raw", "search": 64, "rows": 4, "cols": 6, "field": 3e-9, "volts": 200000.0}
    return parse_xml(V122.format(**(values | changes)).encode(), HERE)


def shapes(xml: EmpadXml) -> list[tuple[int, int]]:
    return [one.scan_shape for one in xml.statements]


@pytest.mark.shared
def test_the_real_map_of_0_51(shared_data: Path) -> None:
    xml = read_xml(shared_data / "empad" / "map4x4.xml")
    assert xml.version == "0.51 211118"
    assert xml.raw_name == "scan_x4_y4.raw"
    # the acquire block says 128 x 128: pix_x, pix_y are what was scanned
    assert shapes(xml) == [(4, 4)]
    assert xml.q_pixel_per_nm == pytest.approx(0.1826537, abs=1e-7)
    assert xml.pixel_mrad == pytest.approx(0.42906574)
    assert scan_step_nm(xml, (4, 4)) == pytest.approx((1141.5856, 1141.5856))
    assert microscope_of(xml, (4, 4)) == Microscope(
        voltage_kv=300.0,
        nominal_camera_length_m=0.7225,
        scan_step_nm=1141.5856626425,
        field_of_view_nm=4566.34265057,
        scan_size_px=4,
        dwell_time_us=1000.0,
        spot_size=6.0,
    )


@pytest.mark.shared
def test_the_real_scan_of_1_2_2(shared_data: Path) -> None:
    xml = read_xml(shared_data / "empad" / "EMPAD_v1.2.2_x32_y64_size0.8.xml")
    assert xml.acquired_at == "2026-03-25T16:47:52.586728"
    assert {one.scan_shape for one in xml.statements} == {(64, 32)}
    assert len(xml.statements) == 2
    assert scan_step_nm(xml, (64, 32)) == pytest.approx((27.613115, 27.613115))
    assert xml.q_pixel_per_nm is None
    microscope = microscope_of(xml, (64, 32))
    assert microscope.voltage_kv == 300.0
    assert microscope.nominal_camera_length_m == 0.369
    assert microscope.spot_size == 7.0
    assert microscope.scan_step_nm == pytest.approx(27.613115)
    assert microscope.scan_size_px is None
    # two blocks of one name: the search image is not the acquisition
    assert xml.values["scan_parameters[search]/scan_size"] == "0.8"
    assert xml.values["scan_parameters[acquire]/scan_size"] == "0.6"


@pytest.mark.shared
def test_the_real_series(shared_data: Path) -> None:
    xml = read_xml(shared_data / "empad" / "stack_images.xml")
    assert xml.raw_name == "series_x10.raw"
    assert xml.is_series
    assert shapes(xml) == [(1, 10)]
    assert scan_step_nm(xml, (1, 10)) is None
    assert microscope_of(xml, (1, 10)) == Microscope(dwell_time_us=1000.0)


@pytest.mark.shared
def test_nothing_of_the_real_files_is_lost(shared_data: Path) -> None:
    for path in (shared_data / "empad").glob("*.xml"):
        xml = read_xml(path)
        tree = ET.fromstring(path.read_text())
        texts = [element.text for element in tree.iter() if element.text and element.text.strip()]
        attributes = [value for element in tree.iter() for name, value in element.items() if name != "mode"]
        assert sorted(xml.values.values()) == sorted([text.strip() for text in texts] + attributes)
        assert len(texts) > 10


def test_the_acquire_block_counts_and_not_the_search_block() -> None:
    assert shapes(parse(search=8)) == [(4, 6), (4, 6)]
    assert shapes(parse(raw="data.raw", search=8)) == [(4, 6)]
    assert shapes(parse(raw="mine_scan_x5_y7.raw")) == [(4, 6), (7, 5)]


def test_the_step_of_1_2_2_is_that_of_the_longer_axis() -> None:
    assert scan_step_nm(parse(), (4, 6)) == pytest.approx((1.0, 1.0))
    assert microscope_of(parse(), (4, 6)) == Microscope(voltage_kv=200.0, scan_step_nm=1.0, field_of_view_nm=6.0)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many", "", "1e400", "1e308"])
def test_a_number_that_makes_no_sense_is_not_said(value: str) -> None:
    assert microscope_of(parse(field=value, volts="1" if value == "1e308" else value), (4, 6)).scan_step_nm is None
    assert shapes(parse(raw="a.raw", rows=value)) == []


def test_two_fields_of_view_are_none() -> None:
    old = """<root><raw_file filename="a.raw"/><iom_measurements><optics.get_full_scan_field_of_view>[4e-9, {}]
    </optics.get_full_scan_field_of_view></iom_measurements></root>"""
    for second, step in (("8e-9", None), ("4e-9", (2.0, 1.0)), ("x", None), ("4e-9, 4e-9", None)):
        xml = parse_xml(old.format(second).encode(), HERE)
        assert scan_step_nm(xml, (2, 4)) == (step and pytest.approx(step))
        assert microscope_of(xml, (2, 4)).scan_step_nm is None


@pytest.mark.parametrize("name", ["/etc/scan_x6_y4.raw", "../../scan_x6_y4.raw", "C:\\data\\scan_x6_y4.raw"])
def test_a_name_is_never_a_path(name: str) -> None:
    assert parse(raw=name).raw_name == "scan_x6_y4.raw"


BOMB = """<?xml version="1.0"{encoding}?><!DOCTYPE root [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><root><raw_file filename="a.raw"/><type>&c;</type></root>"""
OUTSIDE = """<!DOCTYPE root SYSTEM "file:///etc/passwd"><root><raw_file filename="a.raw"/></root>"""


@pytest.mark.parametrize(
    "data",
    [BOMB.format(encoding="").encode(), BOMB.format(encoding=' encoding="UTF-16"').encode("utf-16"), OUTSIDE.encode()],
)
def test_a_document_type_is_refused_before_it_is_read(data: bytes) -> None:
    with pytest.raises(DataError, match="document type declaration"):
        parse_xml(data, HERE)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "cannot be read as XML"),
        (b"<root><raw_file", "cannot be read as XML"),
        (b'<?xml version="1.0" encoding="klingon"?><root/>', "cannot be read as XML"),
        (b'<?xml version="1.0" encoding="utf-7"?><root/>', "cannot be read as XML"),
        (b"<root>&unknown;</root>", "cannot be read as XML"),
        (b"<root/>", "names no raw file"),
        (b'<html><raw_file filename="a.raw"/></html>', "names no raw file"),
        (b'<root><raw_file filename="folder/"/></root>', "names no raw file"),
    ],
)
def test_what_is_not_of_an_empad_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        parse_xml(data, HERE)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_xml(tmp_path / "none.xml")
    with (tmp_path / "huge.xml").open("wb") as file:
        file.truncate(MAX_XML_BYTES + 1)
    with pytest.raises(DataError, match="far too large"):
        read_xml(tmp_path / "huge.xml")


def test_units() -> None:
    assert units_of("iom_measurements/high_voltage") == "V"
    assert units_of("iom_measurements/full_scan_field_of_view/x") == "m"
    assert units_of("scan_parameters[acquire]/scan_size") == ""
    assert units_of("exposure_time") == "ms"
    assert units_of("iom_measurements/column.get_scanrotation") is None
    assert units_of("somewhere/x") is None


def accept(data: bytes) -> None:
    """Read whatever it is: a refusal is a DataError and nothing else."""
    try:
        xml = parse_xml(data, HERE)
    except DataError:
        return
    for shape in [*shapes(xml), (1, 1)]:
        microscope_of(xml, shape)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    accept(data)


@given(st.lists(st.tuples(st.integers(0, 1200), st.binary(max_size=4)), max_size=4))
def test_any_damage(damage: list[tuple[int, bytes]]) -> None:
    data = V122.format(raw="scan_x6_y4.raw", search=64, rows=4, cols=6, field=3e-9, volts=2e5).encode()
    for place, content in damage:
        data = data[:place] + content + data[place + len(content) :]
    accept(data)


@given(st.text(st.characters(codec="utf-8", exclude_characters="<>&\"'"), max_size=30))
def test_any_values(text: str) -> None:
    data = V122.format(raw=text, search=text, rows=text, cols=text, field=text, volts=text)
    accept(data.encode())
