"""One diffraction pattern from an image or array file: .tif, .png, .npy, .hspy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from stemcal.errors import DataError

_REMEDY = "give one grey-scale pattern as .tif, .png, .npy or .hspy"
_IMAGE_SUFFIXES = (".tif", ".tiff", ".png")


def is_pattern(path: Path) -> bool:
    """Return whether ``path`` holds one 2-D pattern and not a stack of frames; nothing large is read.

    A file that cannot be read is no pattern: the reader of stacks will say what is wrong with it.
    """
    suffix = path.suffix.lower()
    if suffix in _IMAGE_SUFFIXES:
        return True
    try:
        if suffix == ".npy":
            return np.ndim(np.load(path, mmap_mode="r", allow_pickle=False)) == 2
        if suffix in {".hspy", ".hdf5", ".h5"}:
            with h5py.File(path, "r") as file:
                return len(_hyperspy_data(path, file).shape) == 2
    except (OSError, ValueError, DataError):
        return False
    return False


def read_pattern(path: Path) -> NDArray[np.float64]:
    """Read one pattern.

    Parameters
    ----------
    path : Path
        ``.tif``/``.tiff``/``.png`` (grey-scale, one page), ``.npy`` (2-D) or ``.hspy`` (2-D).

    Returns
    -------
    numpy.ndarray
        (det_row, det_col), row 0 on top as stored.

    Raises
    ------
    DataError
        If the file cannot be read, or holds anything but one 2-D array of numbers.
    """
    if not path.is_file():
        raise DataError(path, "there is no such file", "check the path")
    try:
        array = np.asarray(_read(path))
    except (OSError, ValueError, UnidentifiedImageError, tifffile.TiffFileError) as error:
        raise DataError(path, f"cannot be read as a pattern ({error})", _REMEDY) from error
    pattern = np.squeeze(array)
    if pattern.ndim != 2 or pattern.dtype.kind not in "uif":
        raise DataError(path, f"holds an array of shape {array.shape} and type {array.dtype}", _REMEDY)
    return np.ascontiguousarray(pattern, dtype=np.float64)


def _read(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix in {".tif", ".tiff"}:
        return tifffile.imread(path)
    if suffix == ".png":
        with Image.open(path) as image:
            return np.asarray(image)
    if suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if suffix in {".hspy", ".hdf5", ".h5"}:
        with h5py.File(path, "r") as file:
            return _hyperspy_data(path, file)[()]
    raise DataError(path, f"files ending in {suffix!r} are not read", _REMEDY)


def _hyperspy_data(path: Path, file: h5py.File) -> h5py.Dataset:
    experiments = file.get("Experiments")
    names = list(experiments) if experiments is not None else []
    if len(names) != 1 or "data" not in experiments[names[0]]:
        raise DataError(path, f"holds {len(names)} HyperSpy signals, must be one", _REMEDY)
    return experiments[names[0]]["data"]


def write_pattern(path: Path, pattern: NDArray[np.generic]) -> None:
    """Write one pattern (det_row, det_col) as ``.tif`` or ``.npy``, values as they are.

    Raises
    ------
    DataError
        If the suffix is neither.
    """
    suffix = path.suffix.lower()
    if suffix in {".tif", ".tiff"}:
        tifffile.imwrite(path, pattern, datetime=False, software=False, metadata=None)
    elif suffix == ".npy":
        np.save(path, pattern, allow_pickle=False)
    else:
        raise DataError(path, f"files ending in {suffix!r} are not written", "name it .tif or .npy")
