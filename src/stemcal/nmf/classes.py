"""Where each component is present, and the clusters of such positions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from stemcal.nmf.class_settings import ClassSettings

BoolArray = NDArray[np.bool_]
Loadings = NDArray[np.float32]

_HISTOGRAM_BINS = 512
_VACUUM = 0.05
"""A position with less than this part of the 99th percentile of all scattering is vacuum: shares mean nothing there."""


@dataclass(frozen=True)
class Threshold:
    """What a position has to reach to belong to a class.

    Attributes
    ----------
    value : float
        A loading, or with the criterion ``share`` a part of the scattering.
    least_sum : float
        Sum of all loadings that it needs besides.
    separability : float or None
        Part of the variance of the loadings that lies between the two groups, 0 to 1 (Otsu): 0.64 for a single bell,
        0.75 for a box, near 1 for two groups. None where no loadings differ.
    """

    value: float
    least_sum: float
    separability: float | None


def threshold(values: Loadings, sums: Loadings, settings: ClassSettings) -> Threshold:
    """Decide the threshold of one component from its loadings in all data sets.

    Parameters
    ----------
    values : ndarray
        (n_positions,) loadings, none missing.
    sums : ndarray
        (n_positions,) sums over all components.
    settings : ClassSettings
        The criterion.
    """
    parted, separability = otsu(values)
    if settings.threshold == "share":
        return Threshold(settings.share, _VACUUM * float(np.quantile(sums, 0.99)), separability)
    value = parted if settings.threshold == "otsu" else float(np.quantile(values, settings.quantile))
    return Threshold(value, 0.0, separability)


def otsu(values: Loadings) -> tuple[float, float | None]:
    """Return the value that parts ``values`` best into two groups, and how well it does.

    Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979): the threshold of largest variance between the groups, here over
    a histogram of 512 bins; how well is that variance over the whole one.
    """
    lowest, highest = float(values.min()), float(values.max())
    if not highest > lowest:
        return highest, None
    number, edges = np.histogram(values, _HISTOGRAM_BINS, (lowest, highest))
    part = number / number.sum()
    middle = (edges[:-1] + edges[1:]) / 2
    below, moment = np.cumsum(part)[:-1], np.cumsum(part * middle)[:-1]
    mean = float(part @ middle)
    between = np.where(
        (below > 0) & (below < 1), (mean * below - moment) ** 2 / np.maximum(below * (1 - below), 1e-300), 0.0
    )
    whole = float(part @ (middle - mean) ** 2)
    best = int(between.argmax())
    return float(edges[best + 1]), float(between[best]) / whole


def class_maps(loadings: Loadings, thresholds: Sequence[Threshold], settings: ClassSettings) -> BoolArray:
    """Return where each component is present, (component, scan_row, scan_col); missing positions are in no class."""
    sums = loadings.sum(axis=0)
    present = np.zeros(loadings.shape, dtype=np.bool_)
    with np.errstate(invalid="ignore", divide="ignore"):
        for index, one in enumerate(thresholds):
            measure = loadings[index] / sums if settings.threshold == "share" else loadings[index]
            present[index] = (measure >= one.value) & (sums >= one.least_sum) & (loadings[index] > 0)
    return present


@dataclass(frozen=True)
class Cluster:
    """Positions of one class that hang together.

    Attributes
    ----------
    n_positions : int
        How many.
    centre : tuple of float
        Mean (scan_row, scan_col).
    mean_loading : float
        Of the component of its class.
    """

    n_positions: int
    centre: tuple[float, float]
    mean_loading: float


def clusters(
    present: BoolArray, loading: Loadings, settings: ClassSettings
) -> tuple[NDArray[np.int32], tuple[Cluster, ...]]:
    """Find the clusters of one class by density (DBSCAN, Ester et al., KDD-96, 226 (1996)).

    Parameters
    ----------
    present : ndarray of bool
        (scan_row, scan_col).
    loading : ndarray
        (scan_row, scan_col) of the component.
    settings : ClassSettings
        Radius and number of neighbours.

    Returns
    -------
    ndarray of int32
        (scan_row, scan_col): number of the cluster, 0 = none.
    tuple of Cluster
        Number 1 first: largest first, of equal ones that whose first position comes first.
    """
    numbers = np.zeros(present.shape, dtype=np.int32)
    place = np.argwhere(present)
    if not len(place):
        return numbers, ()
    labels = DBSCAN(eps=settings.cluster_radius_px, min_samples=settings.min_neighbours).fit(place).labels_
    found, first, size = np.unique(labels, return_index=True, return_counts=True)
    named = found >= 0
    order = np.lexsort((first[named], -size[named]))
    made = []
    for number, index in enumerate(np.flatnonzero(named)[order], start=1):
        rows, cols = place[labels == found[index]].T
        numbers[rows, cols] = number
        made.append(Cluster(len(rows), (float(rows.mean()), float(cols.mean())), float(loading[rows, cols].mean())))
    return numbers, tuple(made)
