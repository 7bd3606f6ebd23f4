"""Interference of two diffracted beams: what a strong phase object adds to the slices.

A slice at Q holds sum_g O_(g+Q) O_g* P(k - g - Q) P*(k - g) over all g. The coherent fit models the two terms with an
undiffracted beam. All others follow from the amplitudes that it finds, because a_g = O_g O_0* s and
O_(g+Q) O_g* s = a_(g+Q) a_g* / (|O_0|^2 s), where s is the sum of the window times the intensity. They are subtracted
and the fit repeated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from stemcal.geometry.coherent import SPREAD, CoherentModel
from stemcal.geometry.coherent_kernels import add_pairs

LARGEST_SOURCE = 3.0
"""A source as large as that would leave exp(-3) of a slice whose disks are displaced by their radius."""


def pairs(frequencies: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Return (n, 3): slice Q, beam g + Q and beam g, such that their frequencies add up.

    Parameters
    ----------
    frequencies : ndarray
        (K, 2) of the slices; beams 0 ... K-1 are those, K ... 2K-1 their negatives.
    tolerance : float
        Largest difference along an axis, cycles per step.
    """
    beams = np.concatenate([frequencies, -frequencies])
    wanted = beams[None, :, :] + frequencies[:, None, :]
    distance = np.abs(wanted[:, :, None, :] - beams[None, None, :, :]).max(axis=-1)
    nearest = distance.argmin(axis=-1)
    close = np.take_along_axis(distance, nearest[..., None], axis=-1)[..., 0] < tolerance
    slices, lower = np.nonzero(close)
    return np.stack([slices, nearest[slices, lower], lower], axis=1)


def reliable(amplitudes: NDArray[np.complex128], variance: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return amplitudes shrunk by how uncertain they are (Wiener), so that noise does not become a prediction."""
    power = np.abs(amplitudes) ** 2
    shrunk: NDArray[np.complex128] = amplitudes * (power / np.maximum(power + variance, 1e-300))
    return shrunk


def beams(model: CoherentModel, parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the amplitudes (2K,) O_g O_0* s of the beams at the slices' frequencies and at their negatives."""
    _, amplitudes, _, inverse = model.project(parameters)
    variance = np.einsum("kii->ki", inverse).real
    shrunk = reliable(amplitudes, variance)
    return np.concatenate([shrunk[:, 0], shrunk[:, 1].conj()])


def undiffracted(
    model: CoherentModel,
    parameters: NDArray[np.float64],
    wave: NDArray[np.complex128],
    mean: NDArray[np.float64],
    sum_window: float,
) -> float:
    """Return |O_0|^2 s: the mean intensity inside the disk less that of the diffracted disks, times the window's sum.

    Parameters
    ----------
    model : CoherentModel
        Of the slices.
    parameters : ndarray
        Of the model.
    wave : ndarray
        (2K,) amplitudes of `beams`.
    mean : ndarray
        (n_pix,) mean counts per frame of the model's pixels.
    sum_window : float
        Sum of the window over the scan.
    """
    frequencies = model.data.frequencies
    light = np.abs(model.disks(parameters, np.concatenate([frequencies, -frequencies]), np.zeros(2)))
    inside = np.hypot(model.data.row_px, model.data.col_px) < model.data.radius_px - 2 * model.data.blur_px
    direct = sum_window * float(np.median(mean[inside]))
    for _ in range(3):
        diffracted = (np.abs(wave) ** 2 @ light**2) / (direct * sum_window)
        direct = sum_window * float(np.median((mean - diffracted)[inside]))
    return direct


def interference(
    model: CoherentModel,
    parameters: NDArray[np.float64],
    wave: NDArray[np.complex128],
    direct: float,
    triples: NDArray[np.int64],
    source: float,
) -> NDArray[np.complex128]:
    """Return what pairs of diffracted beams add to every slice, (K, n_pix), in units of the noise.

    A source of finite size weakens the slice at Q by exp(-t d^2), and with it the amplitude found there, while the
    product of two weakened amplitudes belongs to a slice that is weakened by its own factor.

    Parameters
    ----------
    model, parameters, wave
        As for `undiffracted`.
    direct : float
        |O_0|^2 s.
    triples : ndarray of int64
        Of `pairs`.
    source : float
        t times the square of the aperture's radius.
    """
    data = model.data
    frequencies = np.concatenate([data.frequencies, -data.frequencies])
    shifts = frequencies @ parameters[:4].reshape(2, 2).T / data.radius_px
    weakening = source * (shifts**2).sum(axis=1)
    k, upper, lower = triples.T
    strength = np.exp(weakening[upper] + weakening[lower] - weakening[k])
    centre = parameters[4:6]
    out = np.zeros_like(data.values)
    for node in model.nodes_px:
        light = model.disks(parameters, frequencies, node) * wave[:, None]
        row = (data.row_px + node[0] - centre[0]) / data.radius_px - shifts[:, :1]
        col = (data.col_px + node[1] - centre[1]) / data.radius_px - shifts[:, 1:]
        add_pairs(light, row**2 + col**2, triples, strength, float(parameters[SPREAD]), out)
    return out * (data.weight / (direct * len(model.nodes_px)))


def source_size(
    model: CoherentModel,
    parameters: NDArray[np.float64],
    wave: NDArray[np.complex128],
    direct: float,
    triples: NDArray[np.int64],
) -> float:
    """Return the size of the source, as `interference` takes it, that leaves the smallest residual.

    Parameters
    ----------
    model, parameters, wave, direct, triples
        As for `interference`; the model's values with all interference in.
    """

    def left(source: float) -> float:
        predicted = interference(model, parameters, wave, direct, triples, source)
        return model.with_values(model.data.values - predicted).residual(parameters)

    found = minimize_scalar(left, bounds=(0.0, LARGEST_SOURCE), method="bounded", options={"xatol": 0.02})
    return float(found.x) if left(float(found.x)) < left(0.0) else 0.0
