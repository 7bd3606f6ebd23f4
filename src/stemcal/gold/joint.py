"""From a comb to the joint fit: which rings, which pixels, which weights; and the jackknife over the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemcal.gold.fit import JointFit, Sample, amplitude_noise, fit, neighbour_sample, ring_offsets, sample_of
from stemcal.gold.model import (
    COL,
    LOG_SCALE,
    LOG_WIDTH,
    N_GEOMETRY,
    ROW,
    Annulus,
    Array,
    make_annulus,
    round_radius,
    spot_shape,
)
from stemcal.gold.pattern import Powder, Sums
from stemcal.gold.search import Comb
from stemcal.gold.spots import SpotFit, SpotSample, fit_spots
from stemcal.optics.rings import PowderRing

_INNER = 0.85
"""The fit begins at this part of the first ring's radius: far enough in to see the background on its inner side."""
_OUTER = 1.045
"""and ends at this part of the last one's, before the next ring (440 after 511 is 1.089 out)."""
_KNOT_PER_ANGSTROM = 0.12
"""Distance of the background's knots: no closer than that 111 and 200 (0.066 apart) stay out of its reach."""
_KNOT_WIDTHS = 6.0
"""and no closer than so many standard deviations of a spot: nor a ring of large disks."""
_TOLERANCES = (10.0, 1.0)
"""One pass each: with the radial mean for a variance, then with the model."""
_LEAST_VARIANCE = 0.02
"""Of the median: keeps a model that dips to zero from getting all the weight."""
_SURELY_COUNTS = 20.0
_START_WIDTH_GROWTH = 0.004


@dataclass(frozen=True)
class Rings:
    """The fitted pattern.

    Attributes
    ----------
    rings : tuple of PowderRing
        Rings of the model.
    q : numpy.ndarray
        (n_rings,) where a flat detector sees them, 1/angstrom.
    annulus : Annulus
        The pixels.
    joint : JointFit
        The fit in sectors.
    best : Sample
        What the data say, the geometry from rings made of spots.
    leave_out : tuple of Sample
        What they say without each tile of the scan; () for a single pattern.
    offsets_px : numpy.ndarray
        (n_rings,) how far each ring lies outside its fitted radius.
    amplitude_noise : numpy.ndarray
        (n_rings,) standard deviation of the mean amplitudes from the scatter of the pixels about the model.
    chi_square, chi_square_background : float
        Reduced, with and without rings.
    in_spots : bool
        False where the rings could not be made of spots and the geometry is that of the fit in sectors.
    """

    rings: tuple[PowderRing, ...]
    q: Array
    annulus: Annulus
    joint: JointFit
    best: Sample
    leave_out: tuple[Sample, ...]
    offsets_px: Array
    amplitude_noise: Array
    chi_square: float
    chi_square_background: float
    in_spots: bool

    @property
    def geometry(self) -> Array:
        """(8,) see ``stemcal.gold.model``."""
        return self.best.geometry

    def model_image(self, shape: tuple[int, int]) -> Array:
        """Return the model as an image, NaN outside the annulus."""
        image = np.full(shape[0] * shape[1], np.nan)
        image[self.annulus.index] = self.joint.state.model
        return image.reshape(shape)


def start_geometry(comb: Comb, centre: tuple[float, float], spot_sd_px: float, aperture_px: float) -> Array:
    """Return the start (8,) of the joint fit: a spot of that standard deviation, an image of that aperture."""
    shape = spot_shape((aperture_px / 2 / spot_sd_px) ** 2)
    return np.array([*centre, *comb.strain, np.log(comb.scale), np.log(spot_sd_px), shape, np.log(_START_WIDTH_GROWTH)])


def fit_rings(powder: Powder, rings: tuple[PowderRing, ...], q: Array, start: Array) -> Rings | None:
    """Fit all rings jointly, then once more without each tile.

    The weights are those of Poisson counts with the fitted model as the variance: the data's own noise is not in
    them, so that they do not prefer pixels which happen to be low. They begin as the radial mean.

    Returns
    -------
    Rings or None
        ``None`` when the annulus holds fewer pixels than the model has parameters.
    """
    usable = powder.usable
    mean = powder.sums.mean
    geometry, variance = start, np.zeros(0)
    image = np.full(mean.size, np.nan)
    for tolerance in _TOLERANCES:
        annulus = _annulus(powder, usable, q, geometry, image)
        if annulus.index.size < 20 * (N_GEOMETRY + q.size + annulus.background.shape[1]):
            return None
        data = mean.ravel()[annulus.index]
        by_radius = _radial_mean(annulus, geometry, data)
        variance = np.where(np.isfinite(image[annulus.index]), image[annulus.index], by_radius)
        variance = np.maximum(variance, _LEAST_VARIANCE * max(float(np.median(by_radius)), 1e-12))
        root_weight = np.sqrt(powder.sums.exposure.ravel()[annulus.index] / variance)
        joint = fit(annulus, q, geometry, data, root_weight, tolerance=tolerance)
        geometry = joint.state.geometry
        image[annulus.index] = joint.state.model
        usable &= ~_silent(powder.sums, image)
    best, spots = sample_of(annulus, joint, root_weight), _spots(powder, image, annulus, q, joint, root_weight)
    if spots is None:
        leave_out = tuple(
            _without(powder, image, tile, drift, annulus, q, joint, root_weight)
            for tile, drift in zip(powder.tiles, powder.tile_drift, strict=True)
        )
    else:
        best, leave_out = _from_spots(best, spots, powder.tile_drift)
    chi_square = _chi_square(joint, annulus)
    return Rings(
        rings=rings,
        q=q,
        annulus=annulus,
        joint=joint,
        best=best,
        leave_out=leave_out,
        offsets_px=ring_offsets(annulus, q, joint, root_weight),
        amplitude_noise=amplitude_noise(joint.state) * np.sqrt(chi_square),
        chi_square=chi_square if spots is None else spots.chi_square,
        chi_square_background=_background_chi_square(annulus, data, root_weight),
        in_spots=spots is not None,
    )


def _annulus(powder: Powder, usable: NDArray[np.bool_], q: Array, geometry: Array, model: Array) -> Annulus:
    scale = float(np.exp(geometry[LOG_SCALE]))
    knot_px = max(_KNOT_PER_ANGSTROM * scale, _KNOT_WIDTHS * float(np.exp(geometry[LOG_WIDTH])))
    index = np.flatnonzero(usable)
    places = powder.sums.places(index, _expected_offset(powder, model)[:, index])
    return make_annulus(index, places, geometry, _INNER * q[0] * scale, _OUTER * q[-1] * scale, knot_px)


def _expected_offset(powder: Powder, model: Array) -> Array:
    """Return how far from the middle of its pixels the model alone brings the mean place of electrons, (2, n) px.

    Frames whose beam is off by d bring mu(x + d) into the pixel at x: the place weighted by counts moves by the
    covariance of d times the gradient of ln mu.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        gradient = np.stack(np.gradient(np.log(model.reshape(powder.sums.counts.shape)))).reshape(2, -1)
    return np.asarray(powder.offset_variance @ np.where(np.isfinite(gradient).all(axis=0), gradient, 0.0))


def _silent(sums: Sums, model: Array) -> NDArray[np.bool_]:
    """Return where not one count came although the model expects many: dead pixels that no mask told of."""
    expected = np.nan_to_num(model).reshape(sums.counts.shape) * sums.exposure
    return np.asarray((sums.counts == 0) & (expected > _SURELY_COUNTS))


def _radial_mean(annulus: Annulus, geometry: Array, data: Array) -> Array:
    radius = np.rint(round_radius(annulus.rows, annulus.cols, geometry)[0]).astype(np.intp)
    return np.asarray((np.bincount(radius, data) / np.maximum(np.bincount(radius), 1))[radius])


def _from_spots(sectors: Sample, spots: SpotFit, tile_drift: Sequence[Array]) -> tuple[Sample, tuple[Sample, ...]]:
    """Return what the spots say in the form of the fit in sectors, which gives the amplitudes their scale."""
    per_strength = sectors.amplitudes / np.where(spots.best.strengths > 0, spots.best.strengths, np.inf)

    def sample(said: SpotSample, drift: Array) -> Sample:
        geometry = said.geometry.copy()
        geometry[[ROW, COL]] -= drift
        return Sample(geometry, said.harmonics, said.strengths * per_strength)

    best = replace(sample(spots.best, np.zeros(2)), amplitudes=sectors.amplitudes)
    return best, tuple(map(sample, spots.leave_out, tile_drift))


def _spots(
    powder: Powder, model: Array, annulus: Annulus, q: Array, joint: JointFit, root_weight: Array
) -> SpotFit | None:
    """Refine the fit with rings that are made of spots, and without every tile."""
    expected = _expected_offset(powder, model)[:, annulus.index]
    data = powder.sums.mean.ravel()[annulus.index]
    left_out = []
    for tile in powder.tiles:
        rest = powder.sums.without(tile)
        has = rest.exposure.ravel()[annulus.index] > 0
        left_out.append((rest.places(annulus.index, expected), np.where(has, rest.mean.ravel()[annulus.index], data)))
    return fit_spots(annulus, q, joint.state.geometry, data, root_weight, left_out)


def _without(
    powder: Powder,
    model: Array,
    tile: Sums,
    drift: Array,
    annulus: Annulus,
    q: Array,
    joint: JointFit,
    root_weight: Array,
) -> Sample:
    rest = powder.sums.without(tile)
    rows, cols = rest.places(annulus.index, _expected_offset(powder, model)[:, annulus.index])
    annulus = replace(annulus, rows=rows, cols=cols)
    data = rest.mean.ravel()[annulus.index]
    weight = root_weight * (rest.exposure.ravel()[annulus.index] > 0)
    sample = neighbour_sample(annulus, q, joint.state.geometry, data, weight)
    sample.geometry[[ROW, COL]] -= drift
    return sample


def _chi_square(joint: JointFit, annulus: Annulus) -> float:
    n_linear = sum(solver.basis.shape[1] for solver in joint.state.solvers)
    freedom = max(1, annulus.index.size - n_linear - N_GEOMETRY)
    return float(joint.state.residual @ joint.state.residual) / freedom


def _background_chi_square(annulus: Annulus, data: Array, root_weight: Array) -> float:
    """Return the reduced chi-square of the background alone."""
    total = 0.0
    for part in annulus.sectors():
        basis = annulus.background[part] * root_weight[part, None]
        target = data[part] * root_weight[part]
        rest = target - basis @ np.linalg.lstsq(basis, target, rcond=1e-10)[0]
        total += float(rest @ rest)
    freedom = max(1, annulus.index.size - annulus.background.shape[1] * len(annulus.sectors()))
    return total / freedom


def jackknife_covariance(samples: list[Array]) -> Array:
    """Return the covariance (k, k) of a statistic from its leave-one-out values, each (k,).

    (n - 1) / n times the sum of squares about their mean (Efron and Stein, Ann. Statist. 9, 586 (1981)). Leaving one
    tile out never leaves a pattern too poor to fit, which fitting the tiles one by one does.
    """
    values = np.stack(samples)
    spread = values - values.mean(axis=0)
    n = len(values)
    return np.asarray((n - 1) / n * spread.T @ spread)


def alike(covariance: Array) -> Array:
    """Raise the smaller eigenvalue of a (2, 2) covariance to the mean of both.

    Sixteen tiles know a variance to a third. The two components of the strain, and of the centre, are measured by the
    same rings, so neither is believed to be known better than the two are on average.
    """
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, values.mean())) @ vectors.T)
