import numpy as np
import pytest
from disk_truth import disk_pattern

from stemcal.formats.extras import FrameStatus
from stemcal.frames.npy import NpySource
from stemcal.frames.ranks import World
from stemcal.geometry.aperture import NoAperture, find_aperture
from stemcal.geometry.bright_field import read_bright_field, share_pixels
from stemcal.geometry.disk_pixels import RIM
from stemcal.geometry.reading import read_scan

SCAN, DET, CENTRE, RADIUS = (24, 20), (40, 44), (19.3, 21.8), 9.2


def frames(*, electrons=2000.0, slope_px=0.0, seed=0):
    """Poisson frames of a disk that moves along the columns of the scan by ``slope_px`` in all."""
    rng = np.random.default_rng(seed)
    across = np.linspace(-0.5, 0.5, SCAN[1]) * slope_px
    patterns = [disk_pattern(DET, (CENTRE[0], CENTRE[1] + x), RADIUS, crystal="none") + 0.002 for x in across]
    return np.stack([rng.poisson(p / p.sum() * electrons, (SCAN[0], *DET)) for p in patterns], axis=1).astype(np.uint16)


@pytest.fixture
def stored(tmp_path):
    def store(array):
        path = tmp_path / f"scan{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return NpySource(path)

    return store


def test_pixels_are_the_counts_and_sums_are_exact(stored):
    data = frames()
    reading = read_scan(stored(data))
    field, sums = reading.bright_field, reading.sums
    assert field.counts.dtype == np.uint16
    rows, cols = field.det_row.astype(int), field.det_col.astype(int)
    np.testing.assert_array_equal(field.counts, np.moveaxis(data[:, :, rows, cols], 2, 0))
    assert np.hypot(rows - CENTRE[0], cols - CENTRE[1]).max() == pytest.approx(RIM * RADIUS + 0.5, abs=0.7)
    np.testing.assert_array_equal(sums.total, data.sum(axis=(2, 3)))
    np.testing.assert_array_equal(sums.segments.sum(axis=0), field.counts.sum(axis=0))
    np.testing.assert_allclose(sums.mean_pattern, data.mean(axis=(0, 1)), rtol=1e-6)
    row, col = np.indices(DET)
    np.testing.assert_allclose(sums.com_row, (data * row).sum(axis=(2, 3)) / data.sum(axis=(2, 3)), atol=1e-5)
    far = np.hypot(row - reading.aperture.centre_row_px, col - reading.aperture.centre_col_px)
    np.testing.assert_allclose(sums.adf, data[:, :, far > 1.25 * RADIUS].sum(axis=2), atol=40)
    assert reading.n_stray == 0


def test_result_does_not_depend_on_threads_or_block_order(stored, monkeypatch):
    source = stored(frames())
    one, two = read_scan(source), read_scan(source, threads=2)
    np.testing.assert_array_equal(one.bright_field.counts, two.bright_field.counts)
    for name in ("total", "com_row", "segments", "mean_pattern", "disk_col"):
        np.testing.assert_array_equal(getattr(one.sums, name), getattr(two.sums, name))


def test_binning_adds_counts_exactly_and_refuses_pixels_with_an_invalid_part(stored):
    data = frames()
    source = stored(data)
    aperture = read_scan(source).aperture
    valid = np.ones(DET, bool)
    valid[20, 22] = False
    field, _ = read_bright_field(source, aperture, valid, max_disk_radius_px=5)
    assert field.binning == 2
    first_row, first_col = (field.det_row - 0.5).astype(int), (field.det_col - 0.5).astype(int)
    whole = sum(data[:, :, first_row + i, first_col + j].astype(int) for i in (0, 1) for j in (0, 1))
    np.testing.assert_array_equal(field.counts[field.valid], np.moveaxis(whole, 2, 0)[field.valid])
    assert np.flatnonzero(~field.valid).tolist() == np.flatnonzero((first_row == 20) & (first_col == 22)).tolist()


def test_counts_beyond_16_bit_become_float32_and_stay_whole(stored):
    data = frames().astype(np.uint32)
    data[3, 4, 19, 22] = 100_001
    source = stored(data)
    field, sums = read_bright_field(source, read_scan(stored(frames())).aperture, source.valid)
    assert field.counts.dtype == np.float32
    assert field.counts[:, 3, 4].max() == 100_001
    assert sums.total[3, 4] == data[3, 4].sum()


def test_window_follows_a_descan_of_several_pixels(stored):
    reading = read_scan(stored(frames(slope_px=6.0)))
    shift = reading.bright_field.shift_px
    assert (np.ptp(shift[1]), np.ptp(shift[0])) == (6, 0)
    assert reading.aperture.edge_px < 0.75
    assert reading.aperture.radius_px == pytest.approx(RADIUS, abs=0.03)
    slope = np.polyfit(np.arange(SCAN[1]), reading.sums.disk_col.mean(axis=0), 1)[0]
    assert slope * (SCAN[1] - 1) == pytest.approx(6.0, abs=0.2)
    unmoved = find_aperture(np.mean(frames(slope_px=6.0), axis=(0, 1)))
    assert unmoved.ellipse_significant
    assert not reading.aperture.ellipse_significant


def test_hot_dead_and_flickering_pixels_are_left_out(stored):
    data = frames()
    data[:, :, 18, 20] = 0
    data[:, :, 22, 25] *= 3
    data[::2, ::2, 16, 22] += 40
    data[:, :, 21, 19] = np.rint(data[:, :, 21, 19].mean())
    field = read_scan(stored(data)).bright_field
    out = {(int(r), int(c)) for r, c in zip(field.det_row[~field.valid], field.det_col[~field.valid], strict=True)}
    assert out == {(18, 20), (22, 25), (16, 22), (21, 19)}


def test_frames_of_another_status_do_not_shape_the_disk(stored):
    data = frames()
    data[:, :3] = 500
    source = stored(data)
    source.frame_status = np.zeros(SCAN, np.uint8)
    source.frame_status[:, :3] = FrameStatus.FLY_BACK
    source.frame_status = source.frame_status.ravel()
    assert read_scan(source).aperture.radius_px == pytest.approx(RADIUS, abs=0.05)


def test_no_disk_is_a_value_with_its_reason(stored):
    refused = read_scan(stored(np.zeros((4, 4, 16, 16), np.uint16)))
    assert isinstance(refused, NoAperture)
    assert "empty" in refused.reason


class _Pair(World):
    """Two ranks in one process: what rank 0 sends waits for rank 1."""

    def __init__(self, rank, sent):
        self.rank, self.size, self._sent = rank, 2, sent

    def send(self, value, to):
        self._sent[to] = value

    def recv(self, source):
        return self._sent[self.rank - source]


def test_pixels_are_shared_among_ranks_without_loss(stored):
    field = read_scan(stored(frames())).bright_field
    box = {}
    parts = [share_pixels(field, _Pair(0, box)), share_pixels(None, _Pair(1, box))]
    for name in ("counts", "det_row", "det_col", "valid"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(field, name))
