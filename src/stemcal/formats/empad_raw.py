"""The ``.raw`` of an EMPAD acquisition, and a writer of the pair ``.raw`` and ``.xml``.

A run of records without a header: 130 rows of 128 little-endian float32, of which the first 128 rows are the frame and
the last two the detector's own notes, which nobody documents and which are passed over. Rows stay in file order, as
RosettaSciIO reads them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.positioned import read_exactly
from stemcal.records.atomic import atomic_path
from stemcal.records.microscope import Microscope

FRAME_SHAPE = (128, 128)
RECORD_ROWS = 130
DTYPE = np.dtype("<f4")
FRAME_BYTES = FRAME_SHAPE[0] * FRAME_SHAPE[1] * DTYPE.itemsize
RECORD_BYTES = RECORD_ROWS * FRAME_SHAPE[1] * DTYPE.itemsize
SCALE_FACTOR = 0.72
"""What 1.2.2 multiplies its field of view with."""

Version = Literal["0.51", "1.2.2"]
_SOFTWARE: dict[Version, str] = {"0.51": "0.51 211118", "1.2.2": "1.2.2  (2021-08-20)"}


class RawFile:
    """The frames of one ``.raw``; any number of threads may read at once.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    DataError
        If it cannot be opened, is empty, or ends inside a frame.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor: int | None = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
        self.size_bytes = os.fstat(self._descriptor).st_size
        self.n_frames, rest = divmod(self.size_bytes, RECORD_BYTES)
        if rest or not self.n_frames:
            self.close()
            problem = f"ends inside frame {self.n_frames + 1} ({rest} of {RECORD_BYTES} bytes)" if rest else "is empty"
            raise DataError(path, problem, "copy the .raw of the EMPAD again, whole")

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return frames start:stop as (n, 128, 128), native byte order.

        Raises
        ------
        DataError
            If the file has become shorter since it was opened.
        """
        frames = np.empty((stop - start, *FRAME_SHAPE), DTYPE)
        for index, frame in enumerate(frames, start):
            target = frame.reshape(-1).view(np.uint8).data
            read_exactly(self._descriptor, self.path, target, index * RECORD_BYTES, self.size_bytes)
        return frames.astype(np.float32, copy=False)

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def write_empad(
    xml: Path,
    frames: NDArray[Any],
    *,
    version: Version = "1.2.2",
    microscope: Microscope | None = None,
    q_pixel_per_nm: float | None = None,
    raw_name: str | None = None,
    acquired_at: str = "2026-01-01T00:00:00",
) -> Path:
    """Write an acquisition as the EMPAD's software does, each file whole or not at all.

    Parameters
    ----------
    xml : Path
        The ``.xml`` to write; the ``.raw`` goes beside it.
    frames : ndarray
        (scan_row, scan_col, 128, 128), or (n, 128, 128) for a series of images, which 0.51 alone has.
    version : str
        Which software to follow.
    microscope : Microscope or None
        Voltage, camera length, exposure, spot and (of a square scan in 0.51) step are written where stated.
    q_pixel_per_nm : float or None
        Size of a pixel in 1/nm, which 0.51 alone can say.
    raw_name : str or None
        Name of the ``.raw``; the software's own (``scan_x<cols>_y<rows>.raw``) if None.
    acquired_at : str
        ISO time.

    Returns
    -------
    Path
        The ``.raw``.

    Raises
    ------
    ValueError
        If the frames are not of an EMPAD, or ``version`` cannot say what is given.
    """
    series = frames.ndim == 3
    if frames.ndim not in {3, 4} or frames.shape[-2:] != FRAME_SHAPE or frames.size == 0:
        raise ValueError(f"frames of shape {frames.shape} are not an EMPAD's: give (scan_row, scan_col, 128, 128)")
    if version != "0.51" and (series or q_pixel_per_nm is not None):
        raise ValueError(f"software {version} states neither a series nor a pixel size: ask for version 0.51")
    shape = (1, len(frames)) if series else (frames.shape[0], frames.shape[1])
    name = raw_name or (f"series_x{shape[1]}.raw" if series else f"scan_x{shape[1]}_y{shape[0]}.raw")
    root = ET.Element("root", name=xml.stem)
    ET.SubElement(root, "timestamp", isoformat=acquired_at)
    _texts(root, software_version=_SOFTWARE[version])
    ET.SubElement(root, "raw_file", filename=name)
    optics = microscope or Microscope()
    exposure = optics.dwell_time_us
    _texts(root, exposure_time=None if exposure is None else exposure / 1e3, post_exposure_time=0)
    if series:
        _texts(root, type="series", count=shape[1])
        _texts(ET.SubElement(root, "scan_parameters"), series_count=shape[1])
    else:
        _write_scan(root, shape, optics, version, q_pixel_per_nm)
    with atomic_path(xml.with_name(name)) as temporary, temporary.open("wb") as file:
        for frame in frames.reshape(-1, *FRAME_SHAPE):
            record = np.zeros((RECORD_ROWS, FRAME_SHAPE[1]), DTYPE)
            record[: FRAME_SHAPE[0]] = frame
            file.write(record.tobytes())
    with atomic_path(xml) as temporary:
        ET.ElementTree(root).write(temporary)
    return xml.with_name(name)


def _write_scan(
    root: ET.Element, shape: tuple[int, int], optics: Microscope, version: Version, q_pixel_per_nm: float | None
) -> None:
    rows, cols = shape
    if version == "0.51":
        _texts(root, type="scan", pix_x=cols, pix_y=rows)
    for mode, resolution in (("search", (64, 64)), ("acquire", shape)):
        block = ET.SubElement(root, "scan_parameters", mode=mode)
        _texts(block, scan_resolution_y=resolution[0], scan_resolution_x=resolution[1], scan_size=0.6)
    instrument = ET.SubElement(root, "iom_measurements")
    volts = None if optics.voltage_kv is None else optics.voltage_kv * 1e3
    field_m = None if optics.scan_step_nm is None else optics.scan_step_nm * 1e-9 * max(shape)
    if version == "0.51":
        texts: dict[str, object] = {
            "source.get_voltage": volts,
            "optics.get_cameralength": optics.nominal_camera_length_m,
            "beam.get_spotsizeindex": optics.spot_size,
            "optics.get_full_scan_field_of_view": f"[{field_m}, {field_m}]" if field_m and rows == cols else None,
            "calibrated_pixelsize": None if q_pixel_per_nm is None else q_pixel_per_nm * 1e-9,
        }
        _texts(instrument, **texts)
        return
    _texts(
        instrument,
        high_voltage=volts,
        nominal_camera_length=optics.nominal_camera_length_m,
        spot_size_index=optics.spot_size,
    )
    if field_m is not None:
        block = ET.SubElement(instrument, "full_scan_field_of_view")
        _texts(block, scale_factor=SCALE_FACTOR, x=field_m * SCALE_FACTOR, y=field_m * SCALE_FACTOR)


def _texts(parent: ET.Element, **values: object) -> None:
    """Append one element per value that is not None."""
    for tag, value in values.items():
        if value is not None:
            ET.SubElement(parent, tag).text = str(value)
