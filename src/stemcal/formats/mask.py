"""Detector masks: one boolean image in a ``.npy`` or HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError

_REMEDY = "give a .npy or HDF5 file with one image of booleans (or of 0 and 1)"


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a detector mask as it stands; what True means is for the caller to know.

    Parameters
    ----------
    path : Path
        ``.npy``, or HDF5 (ePSIC's have ``/data/mask``) with one data set that is an image.

    Returns
    -------
    ndarray of bool
        (det_row, det_col).

    Raises
    ------
    DataError
        If the file cannot be read or does not hold one image of booleans.
    """
    try:
        images = [np.load(path, allow_pickle=False)] if path.suffix == ".npy" else _hdf5_images(path)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path, f"cannot be read as a mask ({error})", _REMEDY) from error
    if len(images) != 1 or images[0].ndim != 2:
        raise DataError(path, f"holds {len(images)} images, not one", _REMEDY)
    mask = images[0]
    if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
        raise DataError(path, f"holds values of type {mask.dtype} other than 0 and 1", _REMEDY)
    return mask.astype(np.bool_)


def _hdf5_images(path: Path) -> list[NDArray[Any]]:
    images: list[NDArray[Any]] = []

    def collect(_name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 2:
            images.append(item[()])

    with h5py.File(path, "r") as file:
        file.visititems(collect)
    return images
