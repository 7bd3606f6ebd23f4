"""What the ``.xml`` of an EMPAD acquisition says: scan shape, steps, microscope. Software 0.51 and 1.2.2 are known.

Text in, typed record out; `stemcal.formats.empad_raw` has the frames. Three traps of the format:

- There are two blocks ``<scan_parameters>``, for the search image (``mode="search"``) and for the acquisition
  (``mode="acquire"``). Only the second belongs to the frames, and in 0.51 not even that one where ``<pix_x>`` and
  ``<pix_y>`` state a map of their own.
- 0.51 gives the field of view as the width of the scan, along each axis. 1.2.2 gives that of the longer axis, already
  multiplied by ``<scale_factor>``, which has to be taken out again. ``scan_size`` (a fraction of the field) is applied
  to neither: that is how RosettaSciIO reads them.
- The units are not stated; they are known to be V, m, ms.

The file comes from another computer: a document type (the way to entities that expand without end) is refused, a file
name in it is taken as a name beside the ``.xml`` and never as a path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree as ET

from stemcal.errors import DataError
from stemcal.records.microscope import Microscope

MAX_XML_BYTES = 4 * 2**20
"""A real one has 4 kB."""

_REMEDY = "give the .xml that the EMPAD software wrote beside its .raw"
_COUNT = re.compile(r"[0-9]{1,7}")
_RAW_NAME = re.compile(r"scan_x([0-9]{1,7})_y([0-9]{1,7})\.raw$")
_IOM = "iom_measurements"
_MODE = "acquire"

_UNITS: Mapping[str, str] = {
    "calibrated_diffraction_angle": "rad",
    "exposure_time": "ms",
    "full_scan_field_of_view/scale_factor": "",
    "full_scan_field_of_view/x": "m",
    "full_scan_field_of_view/y": "m",
    "high_voltage": "V",
    "nominal_camera_length": "m",
    "optics.get_cameralength": "m",
    "optics.get_full_scan_field_of_view": "m",
    "pix_x": "px",
    "pix_y": "px",
    "post_exposure_time": "ms",
    "scan_resolution_x": "px",
    "scan_resolution_y": "px",
    "scan_size": "",
    "source.get_voltage": "V",
    "spot_size_index": "",
}


@dataclass(frozen=True)
class Statement:
    """A place in the metadata that states a scan shape, and (scan_row, scan_col)."""

    place: str
    scan_shape: tuple[int, int]


@dataclass(frozen=True)
class EmpadXml:
    """One ``.xml``.

    Attributes
    ----------
    path : Path
        The file.
    content : bytes
        All of it.
    raw_name : str
        Name of the ``.raw`` that belongs to it, without any folder.
    statements : tuple of Statement
        Every place that states the shape of this acquisition; a series of images is one line.
    values : dict
        Every text and attribute under its place, ``iom_measurements/high_voltage``; blocks with a mode have it in
        brackets, further ones of the same name their number.
    """

    path: Path
    content: bytes
    raw_name: str
    statements: tuple[Statement, ...]
    values: Mapping[str, str]

    @property
    def version(self) -> str | None:
        """Version of the EMPAD software."""
        return self.values.get("software_version")

    @property
    def is_series(self) -> bool:
        """Whether the frames are a series of images and no scan."""
        return _is_series(self.values)

    @property
    def acquired_at(self) -> str | None:
        """Time of the acquisition as the detector's computer wrote it."""
        return self.values.get("timestamp/isoformat")

    @property
    def q_pixel_per_nm(self) -> float | None:
        """Size of a pixel in 1/nm, where the software was calibrated (0.51)."""
        return _scaled(_number(self.values, f"{_IOM}/calibrated_pixelsize"), 1e9)

    @property
    def pixel_mrad(self) -> float | None:
        """Angle of a pixel in mrad, where the software was calibrated (0.51)."""
        return _scaled(_number(self.values, f"{_IOM}/calibrated_diffraction_angle"), 1e3)


def read_xml(path: Path) -> EmpadXml:
    """Read the metadata of an EMPAD acquisition.

    Raises
    ------
    DataError
        If the file cannot be read, is too large, no XML, has a document type, or is not of an EMPAD.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_XML_BYTES + 1)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    if len(data) > MAX_XML_BYTES:
        raise DataError(path, f"is larger than {MAX_XML_BYTES} bytes, far too large for metadata", _REMEDY)
    return parse_xml(data, path)


def parse_xml(data: bytes, path: Path) -> EmpadXml:
    """Parse the content of the ``.xml`` at ``path``; see `read_xml`."""
    try:
        root = ET.fromstring(data, ET.XMLParser(target=_NoDoctype()))  # noqa: S314 (a document type is refused)
    except _DoctypeError as error:
        raise DataError(path, "has a document type declaration, which no EMPAD writes", _REMEDY) from error
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataError(path, f"cannot be read as XML ({error})", _REMEDY) from error
    values = _flatten(root)
    raw_name = re.split(r"[/\\]", values.get("raw_file/filename", ""))[-1].strip()
    if root.tag != "root" or not raw_name:
        raise DataError(path, "is XML but names no raw file as an EMPAD's does", _REMEDY)
    return EmpadXml(path, data, raw_name, _statements(values, raw_name), values)


def shape_of_name(raw_name: str) -> tuple[int, int] | None:
    """Return the (scan_row, scan_col) in a name that ends in ``scan_x32_y64.raw``: 64, 32; None if it states none."""
    named = _RAW_NAME.search(raw_name)
    return None if named is None else _shape(named[2], named[1])


def scan_step_nm(xml: EmpadXml, scan_shape: tuple[int, int]) -> tuple[float, float] | None:
    """Return the steps of the scan in nm.

    Parameters
    ----------
    xml : EmpadXml
        The metadata.
    scan_shape : tuple of int
        (scan_row, scan_col).

    Returns
    -------
    tuple of float or None
        (between rows, between columns); None for a series, or where the file states no field of view, or two of them.
    """
    field_nm, per_axis = _field_of_view_nm(xml.values)
    if field_nm is None or xml.is_series:
        return None
    rows, cols = scan_shape if per_axis else (max(scan_shape), max(scan_shape))
    return field_nm / rows, field_nm / cols


def microscope_of(xml: EmpadXml, scan_shape: tuple[int, int]) -> Microscope:
    """Return what the file says of the microscope, for a scan of ``scan_shape`` (scan_row, scan_col).

    Steps that differ along rows and columns have no place in the record and become None, as what the file leaves out.
    The scan rotation is among ``values`` only: nobody states its unit.
    """
    step = scan_step_nm(xml, scan_shape)
    isotropic = step is not None and math.isclose(*step, rel_tol=1e-6)
    values = xml.values
    scanned = not xml.is_series
    return Microscope(
        voltage_kv=_scaled(_first(values, "high_voltage", "source.get_voltage"), 1e-3),
        nominal_camera_length_m=_first(values, "nominal_camera_length", "optics.get_cameralength"),
        scan_step_nm=step[0] if step is not None and isotropic else None,
        field_of_view_nm=_field_of_view_nm(values)[0] if scanned else None,
        scan_size_px=scan_shape[0] if scanned and scan_shape[0] == scan_shape[1] else None,
        dwell_time_us=_scaled(_number(values, "exposure_time"), 1e3),
        spot_size=_first(values, "spot_size_index", "beam.get_spotsizeindex"),
    )


def units_of(key: str) -> str | None:
    """Return the unit of one of the keys of `EmpadXml.values`; "" for a plain number, None where nobody states it."""
    parts = key.split("/")
    return _UNITS.get("/".join(parts[-2:]), _UNITS.get(parts[-1]))


class _DoctypeError(Exception):
    """The document declares a type."""


class _NoDoctype(ET.TreeBuilder):
    """Builds the tree, unless the document declares a type: called before anything in the declaration is read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:  # noqa: ARG002 (expat's call)
        raise _DoctypeError


def _flatten(root: ET.Element) -> dict[str, str]:
    """Return every text and attribute by its place; the name of the root is the acquisition's."""
    found: dict[str, str] = {f"@{name}": value for name, value in root.attrib.items()}
    pending = [("", child) for child in reversed(root)]
    taken: dict[str, int] = {}
    while pending:
        folder, element = pending.pop()
        mode = element.get("mode")
        place = f"{folder}{element.tag}" + (f"[{mode}]" if mode else "")
        taken[place] = taken.get(place, 0) + 1
        if taken[place] > 1:
            place = f"{place}#{taken[place]}"
        if element.text and element.text.strip():
            found[place] = element.text.strip()
        found |= {f"{place}/{name}": value for name, value in element.attrib.items() if name != "mode"}
        pending += [(f"{place}/", child) for child in reversed(element)]
    return found


def _statements(values: Mapping[str, str], raw_name: str) -> tuple[Statement, ...]:
    """Return who states the shape; a series or a map of its own (0.51) speaks alone."""
    series = _shape("1", values.get("scan_parameters/series_count", values.get("count")))
    if _is_series(values):
        return () if series is None else (Statement("<series_count>", series),)
    own = _shape(values.get("pix_y"), values.get("pix_x"))
    if own is not None:
        return (Statement("<pix_y>, <pix_x>", own),)
    block = f"scan_parameters[{_MODE}]"
    acquired = _shape(values.get(f"{block}/scan_resolution_y"), values.get(f"{block}/scan_resolution_x"))
    named = shape_of_name(raw_name)
    spoken = ((f'<scan_parameters mode="{_MODE}">', acquired), (f"the name {raw_name}", named))
    return tuple(Statement(place, shape) for place, shape in spoken if shape is not None)


def _is_series(values: Mapping[str, str]) -> bool:
    return values.get("type") == "series" or "scan_parameters/series_count" in values


def _field_of_view_nm(values: Mapping[str, str]) -> tuple[float | None, bool]:
    """Return the full field of view in nm, and whether it is that of each axis (0.51) or of the longer one (1.2.2)."""
    both = values.get(f"{_IOM}/optics.get_full_scan_field_of_view")
    if both is not None:
        sides = [_positive(part) for part in both.strip("[]() ").split(",")]
        return (_scaled(sides[0], 1e9) if len(sides) == 2 and sides[0] == sides[1] else None), True
    block = f"{_IOM}/full_scan_field_of_view"
    x, y, scale = (_number(values, f"{block}/{name}") for name in ("x", "y", "scale_factor"))
    if x is None or scale is None or y not in {None, x}:
        return None, False
    return _scaled(x / scale, 1e9), False


def _first(values: Mapping[str, str], *names: str) -> float | None:
    """Return the first of the instrument's values that is a positive number."""
    return next((number for name in names if (number := _number(values, f"{_IOM}/{name}")) is not None), None)


def _number(values: Mapping[str, str], key: str) -> float | None:
    return _positive(values.get(key))


def _positive(text: str | None) -> float | None:
    """Return a number that is positive and finite; all quantities of interest here are."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _scaled(value: float | None, factor: float) -> float | None:
    """Change the unit; 12 digits are kept, so that 1e-8 m is 10 nm. None if the result is not positive and finite."""
    return None if value is None else _positive(f"{value * factor:.12g}")


def _shape(rows: str | None, cols: str | None) -> tuple[int, int] | None:
    sides = [int(text) if text is not None and _COUNT.fullmatch(text) else 0 for text in (rows, cols)]
    return (sides[0], sides[1]) if min(sides) > 0 else None
