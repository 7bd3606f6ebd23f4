"""Frames of an EMPAD: the ``.raw`` and the ``.xml`` beside it, opened by either name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.empad import EmpadXml, Statement, microscope_of, read_xml, shape_of_name
from stemcal.formats.empad_raw import DTYPE, FRAME_SHAPE, RawFile
from stemcal.frames.base import BaseSource, given_shape
from stemcal.records.base import Flag

_STATE_IT = "state it with --scan-shape ROWS,COLS"


@dataclass(frozen=True)
class Pair:
    """The files of one acquisition; ``xml`` is None where the ``.raw`` stands alone."""

    raw: Path
    xml: EmpadXml | None


class EmpadSource(BaseSource):
    """The frames of an EMPAD, float32 (128, 128), in file row order as RosettaSciIO reads them.

    Parameters
    ----------
    path : Path
        The ``.xml`` or the ``.raw``.
    scan_shape : tuple of int or None
        (scan_row, scan_col) as a person states it; otherwise what the ``.xml`` states, or the name of a ``.raw`` that
        stands alone. A series of images is one line.

    Attributes
    ----------
    flags : tuple of Flag
        ``empad_xml_missing`` where there is no ``.xml``.
    xml_text : str or None
        The ``.xml`` as it stands.
    microscope_file : dict
        Every value of the ``.xml`` under its place.
    q_pixel_per_nm : float or None
        Size of a pixel in 1/nm, where the ``.xml`` says.

    Raises
    ------
    DataError
        If one of the files cannot be read, the ``.raw`` is cut or of another size than stated, or nobody states a scan
        shape that fits it.
    """

    def __init__(self, path: Path, scan_shape: tuple[int, int] | None = None) -> None:
        pair = find_pair(path)
        xml = pair.xml
        self.flags = () if xml is not None else (_alone(pair.raw),)
        self.xml_text = None if xml is None else xml.content.decode("utf-8", "replace")
        self.microscope_file: dict[str, str] = {} if xml is None else dict(xml.values)
        self.q_pixel_per_nm = None if xml is None else xml.q_pixel_per_nm
        self._raw = RawFile(pair.raw)
        try:
            n_frames = self._raw.n_frames
            stored = _stated_shape(pair, n_frames) if scan_shape is None else scan_shape
            shape = given_shape(pair.raw, n_frames, stored, stored)
            first = hashlib.sha256(self._raw.read(0, 1).astype(DTYPE).tobytes()).hexdigest()
            super().__init__(
                path,
                shape,
                FRAME_SHAPE,
                DTYPE,
                microscope=None if xml is None else microscope_of(xml, shape),
                acquired_at=None if xml is None else xml.acquired_at,
                identity={
                    "size_bytes": self._raw.size_bytes,
                    "n_frames": n_frames,
                    "first_frame_sha256": first,
                    "xml_sha256": None if xml is None else hashlib.sha256(xml.content).hexdigest(),
                },
            )
        except BaseException:
            self._raw.close()
            raise

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return frames start:stop as (n, 128, 128) float32, native byte order."""
        self.check_range(start, stop)
        return self._raw.read(start, stop)

    def close(self) -> None:
        """Release the file."""
        self._raw.close()


def find_pair(path: Path) -> Pair:
    """Return the ``.raw`` and the ``.xml`` that belong together.

    An ``.xml`` names its ``.raw``; where that has been renamed, the ``.raw`` of the same stem is taken. A ``.raw``
    belongs to the ``.xml`` in its folder that names it, else to that of the same stem.

    Raises
    ------
    DataError
        If the ``.xml`` cannot be read or its ``.raw`` is not there, or several name the same ``.raw``.
    """
    if path.suffix.lower() == ".xml":
        xml = read_xml(path)
        raw = next((one for one in (path.parent / xml.raw_name, path.with_suffix(".raw")) if _is_file(one)), None)
        if raw is None:
            raise DataError(path, f"names the raw file {xml.raw_name!r}, which is not beside it", "copy it there")
        return Pair(raw, xml)
    beside = _xml_beside(path)
    naming = [xml for xml in map(_readable, beside) if xml is not None and xml.raw_name == path.name]
    if len(naming) > 1:
        names = ", ".join(xml.path.name for xml in naming)
        raise DataError(path, f"is named as raw file by {names}", "give the .xml that belongs to it")
    if naming:
        return Pair(path, naming[0])
    same_stem = next((one for one in beside if one.stem == path.stem), None)
    return Pair(path, None if same_stem is None else read_xml(same_stem))


def _xml_beside(raw: Path) -> list[Path]:
    """Return every ``.xml`` in the folder; none where it may not be listed."""
    try:
        return sorted(one for one in raw.parent.iterdir() if one.suffix.lower() == ".xml")
    except OSError:
        return []


def _readable(path: Path) -> EmpadXml | None:
    """Read an ``.xml`` that may be of anything; None where it is not an EMPAD's."""
    try:
        return read_xml(path)
    except DataError:
        return None


def _is_file(path: Path) -> bool:
    """Say whether ``path`` is a file; a name out of a foreign file may be too long for one."""
    try:
        return path.is_file()
    except OSError:
        return False


def _stated_shape(pair: Pair, n_frames: int) -> tuple[int, int]:
    """Return the one stated shape that has ``n_frames`` frames.

    Raises
    ------
    DataError
        If nobody states a shape, none fits, or several different ones fit.
    """
    statements = _statements(pair)
    fitting = {one.scan_shape for one in statements if one.scan_shape[0] * one.scan_shape[1] == n_frames}
    if len(fitting) == 1:
        return fitting.pop()
    if not statements:
        where = "a scan shape in its name" if pair.xml is None else f"a scan shape in {pair.xml.path.name}"
        raise DataError(pair.raw, f"has {n_frames} frames, but not {where}", _STATE_IT)
    said = "; ".join(f"{one.place}: {one.scan_shape[0]} x {one.scan_shape[1]}" for one in statements)
    if fitting:
        raise DataError(pair.raw, f"has {n_frames} frames and no certain scan shape: {said}", _STATE_IT)
    remedy = f"copy it again, whole, or {_STATE_IT}"
    raise DataError(pair.raw, f"has {n_frames} frames, another number than is stated ({said})", remedy)


def _statements(pair: Pair) -> tuple[Statement, ...]:
    if pair.xml is not None:
        return pair.xml.statements
    named = shape_of_name(pair.raw.name)
    return () if named is None else (Statement(f"the name {pair.raw.name}", named),)


def _alone(raw: Path) -> Flag:
    message = f"no .xml beside {raw.name}: nothing is known of the microscope; copy it there"
    return Flag(name="empad_xml_missing", value=raw.name, message=message)
