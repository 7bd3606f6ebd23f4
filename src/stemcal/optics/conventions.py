r"""Coordinates, angles and distortions: the one place where they are stated.

Arrays
    A data set is (scan_row, scan_col, det_row, det_col). A vector is (row, col). Pixel (0, 0) has its centre at 0, so
    a frame of n pixels spans -0.5 ... n - 0.5. Masks are True where a pixel is valid.

Angles
    The angle of a vector is atan2(row, col): from the +col axis toward the +row axis, which is clockwise in a picture
    with row 0 on top. Radians in code, degrees in files and settings. ::

            +----------> col   angle 0
            |\
            | \
            |  * angle 45 deg
            v
           row   angle 90 deg

Ellipse
    The camera draws a round pattern as an elliptical one. A point of the pattern at the reciprocal vector g
    (1/angstrom, row and col) lies on the detector at ::

        centre + M @ (g / pixel_size)        M = expm([[-e1, e2], [e2, e1]]),   det M = 1

    The symmetric traceless strain (e1, e2) has no singularity for a round camera. With e = hypot(e1, e2), the ratio
    of the major to the minor axis of a drawn ring is exp(2 e) >= 1, and the angle of its major axis is
    atan2(e2, e1) / 2, in [0, pi): e1 > 0 stretches along col, e2 > 0 along the diagonal at +45 deg. Files hold the
    inverse of M, which takes a distorted offset to the round one.

Pixel size
    Area-preserving: since det M = 1, a ring of reciprocal radius q is drawn as an ellipse with the semi-axes a and b
    such that sqrt(a b) = q / pixel_size. A correction that shrinks the major axis onto the minor one (py4DSTEM, pyxem,
    ePSIC's notebooks) leaves rings of radius b, and needs the minor-axis pixel size, larger by sqrt(ratio).

py4DSTEM
    Its x is the row and its y is the column; its p_ellipse angle theta runs from +row toward +col, so that
    theta = pi/2 - angle.

Scan
    Scan coordinates are scaled to u (column) and v (row) in [-1, 1]; see ``stemcal.optics.descan``.
"""

from __future__ import annotations
