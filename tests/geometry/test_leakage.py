import numpy as np

from stemcal.geometry.leakage import frequency_pairs, without_leakage
from stemcal.geometry.scan_window import Tiling, scan_window


def test_waves_that_leak_into_each_other_tile_by_tile_are_parted():
    scan, random = (48, 40), np.random.default_rng(0)
    frequencies = np.array([[0.11, 0.002], [-0.04, 0.21], [0.3, 0.17]])
    amplitudes = random.normal(size=(3, 5)) + 1j * random.normal(size=(3, 5))
    row, col = np.indices(scan)
    window, tiling = scan_window(scan), Tiling.of(scan, (4, 4))

    def transform(image, frequency):
        wave = np.exp(-2j * np.pi * (frequency[0] * row + frequency[1] * col)) * image * window
        return tiling.sums(wave)

    waves = np.exp(2j * np.pi * (frequencies[:, :1, None] * row + frequencies[:, 1:, None] * col))
    images = 2 * np.einsum("kp,kij->pij", amplitudes, waves).real
    values = np.array([[transform(image, f) for image in images] for f in frequencies]).transpose(2, 0, 1)
    ones = np.ones(scan)
    response = np.array([transform(ones, pair) for pair in frequency_pairs(frequencies)]).T.reshape(16, 3, 6)
    truth = tiling.sums(window)[:, None, None] * amplitudes
    before = np.linalg.norm(values - truth) / np.linalg.norm(truth)
    after = np.linalg.norm(without_leakage(values, response) - truth) / np.linalg.norm(truth)
    assert before > 0.05
    assert after < 1e-3
