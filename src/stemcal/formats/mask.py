"""Detector masks: one boolean image in a ``.npy`` or HDF5 file, and how it comes to fit a detector with a chip gap.

Masks are stated in the row order of everything that stemcal reads and writes, RosettaSciIO's: upside down with respect
to the ``.mib`` file. ePSIC's converter turns the rows too and applies its masks to what it converted, so its masks fit
as they are. In them True = bad, and the cross of 3 gap pixels is included (515 x 515), with one pixel on either side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stemcal.errors import DataError
from stemcal.formats.chip_gap import insert_gap, remove_gap

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
        images = [_npy_image(path)] if path.suffix.lower() == ".npy" else _hdf5_images(path)
    except (OSError, ValueError, EOFError, RuntimeError, KeyError) as error:
        raise DataError(path, f"cannot be read as a mask ({error})", _REMEDY) from error
    if len(images) != 1:
        raise DataError(path, f"holds {len(images)} images, not one", _REMEDY)
    mask = images[0]
    if mask.ndim != 2 or mask.size == 0:
        raise DataError(path, f"holds an array of shape {mask.shape}, which is not one image", _REMEDY)
    if mask.dtype.kind not in "buif" or not np.isin(mask, (0, 1)).all():
        raise DataError(path, f"holds values of type {mask.dtype} other than 0 and 1", _REMEDY)
    return mask.astype(np.bool_)


def fit_mask(mask: NDArray[np.bool_], frame_shape: tuple[int, int], gap_px: int) -> NDArray[np.bool_] | None:
    """Bring a mask with or without the chip gap to frames without or with it.

    Parameters
    ----------
    mask : ndarray of bool
        (det_row, det_col), True = valid.
    frame_shape : tuple of int
        (det_row, det_col) of the frames.
    gap_px : int
        Width of the gap in pixels that one of the two may have.

    Returns
    -------
    ndarray of bool or None
        Of ``frame_shape``, True = valid: ``mask`` itself if it fits, the gap taken out if it alone has one, the gap put
        in (not valid) if the frames alone have one. None if the sizes do not differ by the gap.

    Examples
    --------
    >>> fit_mask(np.ones((515, 515), bool), (512, 512), 3).shape
    (512, 512)
    """
    if mask.shape == frame_shape:
        return mask
    excess = (mask.shape[0] - frame_shape[0], mask.shape[1] - frame_shape[1])
    without = np.minimum(mask.shape, frame_shape)
    if gap_px < 1 or (without < 2).any() or (without % 2).any():
        return None
    if excess == (gap_px, gap_px):
        return remove_gap(mask, gap_px)
    return insert_gap(mask, gap_px) if excess == (-gap_px, -gap_px) else None


def _npy_image(path: Path) -> NDArray[Any]:
    array: Any = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive of several arrays")  # noqa: TRY004 (numpy's own word for a bad file)
    return array


def _hdf5_images(path: Path) -> list[NDArray[Any]]:
    images: list[NDArray[Any]] = []

    def collect(_name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 2:
            images.append(item[()])

    with h5py.File(path, "r") as file:
        file.visititems(collect)
    return images
