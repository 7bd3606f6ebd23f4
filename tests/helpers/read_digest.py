"""A scan read by any number of ranks, as one number."""

import hashlib

from stemcal.frames.npy import NpySource
from stemcal.geometry.reading import read_scan


def digest(path, world):
    """Return a digest of what was read on rank 0, None elsewhere."""
    with NpySource(path) as source:
        reading = read_scan(source, world=world, threads=world.size)
    if reading is None:
        return None
    sums = reading.sums
    parts = (reading.bright_field.counts, sums.segments, sums.mean_pattern, sums.disk_col, sums.com_row)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
