"""pyxem's two ways to a ring calibration. Runs by itself, in an environment that has pyxem: it does not go with ours.

Usage: ``python pyxem_rings.py PATTERN.npz``; prints JSON ``{way: [ratio, pixel size] or message}``. One way takes the
brightest pixels of the 220 annulus, 500 of them rather than pyxem's 5000, which is more than the annulus has; the other
is the joint fit of gold rings, which starts from a plausible width and a scale within two percent.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

warnings.simplefilter("ignore")
_BRIGHTEST = 500
_BEAM_RADIUS_PX = 25


def brightest(given: Any) -> list[float]:
    """Return the ratio that ``determine_ellipse`` finds on the 220 ring, and no pixel size."""
    from pyxem.signals import Diffraction2D
    from pyxem.utils.ransac_ellipse_tools import determine_ellipse

    rows, cols = np.indices(given["mean"].shape)
    radius = np.hypot(rows - given["centre"][0], cols - given["centre"][1])
    inside = (radius > given["radii"][0]) & (radius < given["radii"][1])
    signal = Diffraction2D(np.where(inside, given["mean"], 0.0))
    *_, params, _ = determine_ellipse(signal, num_points=_BRIGHTEST, use_ransac=False, return_params=True)
    a, b = params[2:4]
    return [max(a, b) / min(a, b), math.nan]


def joint(given: Any) -> list[float]:
    """Return ratio and area-preserving pixel size of ``CalibrationGenerator.get_elliptical_distortion``."""
    from pyxem.generators import CalibrationGenerator
    from pyxem.signals import Diffraction2D

    generator = CalibrationGenerator(diffraction_pattern=Diffraction2D(np.array(given["mean"])))
    start = {"scale": 1 / float(given["pixel_size"]), "amplitude": float(np.median(given["mean"])), "spread": 1.5}
    # it takes the centre as (column, row)
    generator.get_elliptical_distortion(mask_radius=_BEAM_RADIUS_PX, center=list(given["centre"][::-1]), **start)
    scale, asymmetry = generator.ring_params[0], generator.ring_params[4]
    ratio = math.sqrt(asymmetry)
    return [max(ratio, 1 / ratio), asymmetry**0.25 / scale]


WAYS: dict[str, Callable[[Any], list[float]]] = {"determine_ellipse": brightest, "CalibrationGenerator": joint}


def main() -> None:
    """Print what each way says."""
    said: dict[str, list[float] | str] = {}
    with np.load(sys.argv[1]) as given:
        for name, way in WAYS.items():
            try:
                said[name] = way(given)
            except Exception as error:  # noqa: BLE001 - whatever a peer raises is its answer
                said[name] = f"{type(error).__name__}: {error}"[:80]
    print(json.dumps(said))


if __name__ == "__main__":
    main()
